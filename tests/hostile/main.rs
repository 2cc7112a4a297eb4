//! What an attacker would try: from a page in somebody's browser, and from the network.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod between;
mod door;
mod flood;
mod liars;

const BATON: &str = env!("CARGO_BIN_EXE_baton");
