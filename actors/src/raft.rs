//! The ledger of several nodes: openraft agrees on every command before it is applied.
//!
//! This folder is all there is of raft. Above the [`crate::ports::Ledger`] port nobody knows
//! whether one node decides or five. Being leader in a watch is a hint; what permits an effect on
//! a server is [`RaftNode::prove`] and an applied command of the proven term (I2).

mod addresses;
mod client;
mod confirmed;
mod disk;
mod door;
mod findings;
mod heirloom;
mod keys;
mod leadership;
mod log_store;
mod members;
mod network;
mod node;
mod peers;
mod proof;
mod propose;
mod reception;
mod recover;
#[cfg(feature = "testing")]
mod repeatable;
mod secret;
mod server;
mod setup;
#[cfg(feature = "testing")]
pub mod simulated;
mod state_machine;
#[cfg(test)]
mod tests;
mod turns;
mod types;
mod wakes;
mod watcher;

#[cfg(feature = "testing")]
pub use client::ask_as;
pub use client::{CallError, Connect, Connection, Encrypted, Plain, Stream};
pub use disk::OpenDiskError;
pub use findings::{Finding, FindingKind, PeerReport};
pub use heirloom::CarriedOver;
pub use keys::Keys;
pub use leadership::{Leadership, Role};
pub use members::{Hello, Member, MembersError, Standing};
pub use node::{NotLeading, Progress, Proof, RaftNode, StartError};
pub use proof::Channel;
pub use recover::{RecoverRaftError, Remains, begin_anew, remains};
pub use secret::{BadSecret, Secret};
pub use setup::{Compaction, RaftSetup, Timing};
pub use watcher::Watched;
