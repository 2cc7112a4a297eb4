# Thin: every target is a command that can be typed by hand. Nicer tools are used where present.
SHELL := /bin/bash
CARGO ?= cargo
RUST_NEEDED := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: demo test torture bench verify advisories fix rust

demo: rust
	tests/support/install-servers
	tests/support/demo

test: rust
	tests/support/install-servers
	tests/support/install-browser >/dev/null
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) test --workspace --doc -q && $(CARGO) nextest run --workspace; \
	else \
	  $(CARGO) test --workspace -- --test-threads=2; \
	fi

# Everything goes wrong for a while: make torture SEED=7 MINUTES=30 FLAVOR=mariadb SHAPE=co-primaries
SEED ?= 1
MINUTES ?= 5
torture: rust
	tests/support/install-servers
	SEED=$(SEED) MINUTES=$(MINUTES) FLAVOR=$(FLAVOR) SHAPE=$(SHAPE) MISHAP=$(MISHAP) $(CARGO) test --test torture -- --nocapture

bench: rust
	tests/support/install-servers
	$(CARGO) bench --workspace

# Read-only. The advisory database needs a network, so it is not asked.
verify: rust
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps
	tests/support/install-servers tools
	tests/support/check-dependencies

# Known weaknesses and withdrawn versions of what baton is built from. Needs cargo-deny and a network.
advisories: rust
	$(CARGO) deny check advisories

fix: rust
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

rust:
	@command -v $(CARGO) >/dev/null || { \
	  echo "baton needs Rust $(RUST_NEEDED) or newer (cargo, rustc, clippy, rustfmt) on the PATH, and there is none." >&2; \
	  echo "Install it with rustup; a distribution's own packages are often too old." >&2; exit 1; }
	@have=$$(rustc --version | cut -d' ' -f2 | cut -d- -f1); \
	  printf '%s\n%s\n' "$(RUST_NEEDED)" "$$have" | sort -VC || { \
	  echo "baton needs Rust $(RUST_NEEDED) or newer; this is $$have. Update it (rustup update)." >&2; exit 1; }
