//! Real MySQL and MariaDB servers for tests, the demo and the benchmark.
//!
//! `install-servers` (beside this file) puts the programs and a prepared data directory in place; a [`Server`] is a
//! copy of that directory, a process, and a free port on loopback. Its process ends with the process that started it.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each user of the harness needs another part of it"
)]

mod baton;
mod clock;
mod fleet;
pub mod http;
mod net;
mod options;
mod play;
mod port;
mod pretender;
mod proxy;
mod raft;
mod replication;
mod server;
mod shop;
mod stand_in;
mod tls;
mod wait;
mod writer;

pub use baton::{Baton, PASSWORD, PATIENCE, USER, admit, empower, least_grants, recovery_grants};
pub use clock::faketime;
pub use fleet::{Fleet, chain, co_primaries, star};
pub use net::{Net, Place};
pub use options::{Flavor, Options};
pub use play::{browser_tools, play_with};
pub use port::free_port;
pub use pretender::{Heard, Pretender, strip_tls};
pub use proxy::{Proxy, haproxy};
pub use raft::{Raft, free_seats, role, seat_settings, told};
pub use server::{Row, Server, servers_folder};
pub use shop::{
    EVERYWHERE, at, is_writable, primary, shop, shop_with, until_fenced, until_recovered,
};
pub use stand_in::{Kind, Lies, StandIn};
pub use tls::Certificates;
pub use wait::wait_until;
pub use writer::{Acknowledged, Writers};
