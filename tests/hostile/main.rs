//! What an attacker would try: from a page in somebody's browser, and from the network.

#[path = "../support/memory.rs"]
mod memory;
#[path = "../support/mod.rs"]
mod support;

mod account;
mod between;
mod crowd;
mod door;
mod flood;
mod liars;
mod stuck;

const BATON: &str = env!("CARGO_BIN_EXE_baton");
