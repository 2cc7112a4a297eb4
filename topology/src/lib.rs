//! The pure domain of baton: instances, GTID sets, clusters, analysis and the ledger.
//!
//! Everything here is a function from data to data. There is deliberately no I/O, no clock, no
//! randomness and no async runtime in this crate (I14): `now` is always an argument.

pub mod action;
pub mod allow;
pub mod analysis;
pub mod applied;
pub mod ascii;
pub mod attention;
pub mod binlog;
pub mod certificate;
pub mod cluster;
pub mod crawl;
pub mod errant;
pub mod filter;
pub mod fleet;
pub mod graph;
pub mod gtid;
pub mod heuristics;
pub mod history;
pub mod hooks;
pub mod identity;
pub mod instance;
pub mod key;
pub mod ledger;
pub mod membership;
pub mod names;
pub mod pattern;
pub mod policy;
pub mod pools;
pub mod probe;
pub mod quorum;
pub mod reading;
pub mod recovery;
pub mod relocate;
pub mod remembered;
pub mod search;
pub mod sharing;
pub mod snapshot;
pub mod status;
pub mod tags;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod version;
