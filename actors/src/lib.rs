//! The living system: supervised actors, the MySQL driver and the ports they work through.

pub mod certificates;
pub mod clock;
pub mod cluster_analysis;
pub mod connections;
pub mod discovery;
mod holders;
pub mod hooks;
pub mod lateness;
pub mod listening;
mod mandate;
pub mod metrics;
pub mod mysql;
pub mod operations;
pub mod ports;
pub mod probe;
pub mod quorum;
pub mod raft;
pub mod recovery;
pub mod sharing;
pub mod store;
mod strand;
pub mod supervisor;
pub mod system;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod unread;
