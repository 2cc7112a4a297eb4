//! What an attacker would try: from a page in somebody's browser, and from the network.

#[path = "../support/mod.rs"]
mod support;

mod between;
mod door;

const BATON: &str = env!("CARGO_BIN_EXE_baton");
