//! What the nodes of a raft agree upon, and the words they use for it.
//!
//! Nodes are known by two names. A *seat* is what people configure, `host:port`; a number belongs
//! to one disk for ever. A node that lost its disk comes back to its seat under another number, so
//! that nobody takes it for one that still knows whom it voted for.

use std::fmt;
use std::sync::Arc;

use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState};
use serde::{Deserialize, Serialize};

/// The newest version of what is written into the log. A node refuses what it does not know: it
/// stays behind until it is upgraded, instead of applying something else than its peers.
pub(super) const ENTRY_VERSION: u32 = 1;

openraft::declare_raft_types!(
    /// How baton uses openraft. One leader at most in a term, as the gate of recoveries needs it.
    pub(super) Types:
        D = Envelope,
        R = Answer,
        NodeId = u64,
        Node = Peer,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub(super) type LogId = openraft::alias::LogIdOf<Types>;
pub(super) type Vote = openraft::alias::VoteOf<Types>;
pub(super) type Entry = openraft::alias::EntryOf<Types>;
pub(super) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(super) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub(super) type Snapshot = openraft::alias::SnapshotOf<Types, SnapshotBody>;
pub(super) type Raft = openraft::Raft<Types, super::state_machine::StateMachine>;

/// A member of the raft, as all of them know it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Peer {
    /// Its seat. The host is looked up at each connection.
    pub(super) name: String,
}

/// A command on its way through the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire")]
pub(super) struct Envelope {
    version: u32,
    /// The command.
    pub(super) command: Command,
}

impl Envelope {
    /// Wraps a command.
    pub(super) fn new(command: Command) -> Self {
        Self { version: ENTRY_VERSION, command }
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a command of version {}", self.version)
    }
}

/// An envelope that may come from a newer node.
#[derive(Deserialize)]
struct Wire {
    version: u32,
    command: Command,
}

impl TryFrom<Wire> for Envelope {
    type Error = TooNew;

    fn try_from(wire: Wire) -> Result<Self, TooNew> {
        let Wire { version, command } = wire;
        if version > ENTRY_VERSION { Err(TooNew(version)) } else { Ok(Self { version, command }) }
    }
}

/// Something was written by a newer baton.
#[derive(Debug, thiserror::Error)]
#[error("it has version {0}, this baton knows versions up to {ENTRY_VERSION}: upgrade this node")]
pub(super) struct TooNew(u32);

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It was none of ours.
    Nothing,
    /// The command was applied.
    Applied {
        /// The instances it concerned.
        keys: Vec<InstanceKey>,
        /// The state right after it.
        state: Arc<LedgerState>,
    },
    /// The ledger's rules refuse the command, on every node alike.
    Refused(String),
}

/// Everything that was agreed upon up to one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WireBody")]
pub(super) struct SnapshotBody {
    version: u32,
    /// The state.
    pub(super) state: Arc<LedgerState>,
}

impl SnapshotBody {
    /// Wraps a state.
    pub(super) fn new(state: Arc<LedgerState>) -> Self {
        Self { version: ENTRY_VERSION, state }
    }
}

#[derive(Deserialize)]
struct WireBody {
    version: u32,
    state: Arc<LedgerState>,
}

impl TryFrom<WireBody> for SnapshotBody {
    type Error = TooNew;

    fn try_from(wire: WireBody) -> Result<Self, TooNew> {
        let WireBody { version, state } = wire;
        if version > ENTRY_VERSION { Err(TooNew(version)) } else { Ok(Self { version, state }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_node_wrote_is_refused_and_not_guessed() {
        let command = Command::SetRecoveriesDisabled { disabled: true };
        let text = serde_json::to_string(&Envelope::new(command.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Envelope>(&text).unwrap().command, command);
        let newer = text.replace("\"version\":1", "\"version\":2");
        let error = serde_json::from_str::<Envelope>(&newer).unwrap_err();
        assert!(error.to_string().contains("upgrade this node"), "{error}");
        let unknown = text.replace("set-recoveries-disabled", "set-something-new");
        assert!(serde_json::from_str::<Envelope>(&unknown).is_err());
        let body = serde_json::to_string(&SnapshotBody::new(Arc::default())).unwrap();
        assert_eq!(*serde_json::from_str::<SnapshotBody>(&body).unwrap().state, Default::default());
        let newer = body.replace("\"version\":1", "\"version\":2");
        assert!(serde_json::from_str::<SnapshotBody>(&newer).is_err());
    }
}
