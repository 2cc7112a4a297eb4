//! The ledger of several nodes: openraft agrees on every command before it is applied.
//!
//! This folder is all there is of raft. Above the [`crate::ports::Ledger`] port nobody knows
//! whether one node decides or five. Being leader in a watch is a hint; what permits an effect on
//! a server is [`RaftNode::prove`] and an applied command of the proven term (I2).

pub mod disk;
pub mod log_store;
pub mod state_machine;
#[cfg(test)]
mod tests;
mod types;

pub use types::{Answer, ENTRY_VERSION, Envelope, Peer, SnapshotBody, Types};
