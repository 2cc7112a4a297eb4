//! What the nodes of a raft agree upon, and the words they use for it.
//!
//! Nodes are known by two names. A *seat* is what people configure, `host:port`; a number belongs
//! to one disk for ever. A node that lost its disk comes back to its seat under another number, so
//! that nobody takes it for one that still knows whom it voted for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use baton_topology::key::InstanceKey;
use baton_topology::ledger::{COMMAND_VERSION, Command, LedgerState};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "testing")]
use super::repeatable::Runtime;
#[cfg(not(feature = "testing"))]
use openraft_rt_tokio::TokioRuntime as Runtime;

/// The version every baton understands.
pub(super) const FIRST_VERSION: u32 = 1;

openraft::declare_raft_types!(
    /// How baton uses openraft. One leader at most in a term, as the gate of recoveries needs it.
    pub(super) Types:
        D = Envelope,
        R = Answer,
        NodeId = u64,
        Node = Peer,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = Runtime,
);

pub(super) type LogId = openraft::alias::LogIdOf<Types>;
pub(super) type Vote = openraft::alias::VoteOf<Types>;
pub(super) type Entry = openraft::alias::EntryOf<Types>;
pub(super) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(super) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub(super) type Snapshot = openraft::alias::SnapshotOf<Types, SnapshotBody>;
pub(super) type RaftMetrics = openraft::RaftMetrics<Types>;
pub(super) type Raft = openraft::Raft<Types, super::state_machine::StateMachine>;

/// A member of the raft, as all of them know it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Peer {
    /// Its seat. The host is looked up at each connection.
    pub(super) name: String,
    /// Whether it was there when the raft began, with a ledger that it had kept alone.
    #[serde(default)]
    pub(super) kept_alone: bool,
    /// The raft that it is a member of, for all alike: a raft that is begun anew is another one.
    #[serde(default)]
    pub(super) raft: u64,
    /// Whether that one was begun anew by people who took the other members for lost.
    #[serde(default)]
    pub(super) begun_anew: bool,
}

/// Something on its way through the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire")]
pub(super) struct Envelope {
    version: u32,
    #[serde(flatten)]
    pub(super) matter: Matter,
}

/// What is agreed upon.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Matter {
    /// A command.
    Command(Command),
    /// What all that follows begins with: a ledger that one node kept while it ran alone.
    Ledger(Arc<LedgerState>),
}

impl Envelope {
    /// Wraps a command, in the oldest version that can say it: members that know no newer one can
    /// apply it too.
    pub(super) fn new(command: Command) -> Self {
        Self { version: command.since(), matter: Matter::Command(command) }
    }

    /// Wraps a ledger to begin with.
    pub(super) fn of_ledger(state: Arc<LedgerState>) -> Self {
        Self { version: FIRST_VERSION, matter: Matter::Ledger(state) }
    }

    /// Wraps a command as if it had come with this version.
    #[cfg(feature = "testing")]
    pub(super) fn of_version(version: u32, command: Command) -> Self {
        Self { version, matter: Matter::Command(command) }
    }

    /// What has to be understood to apply it.
    pub(super) fn version(&self) -> u32 {
        self.version
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.matter {
            Matter::Command(_) => write!(f, "a command of version {}", self.version),
            Matter::Ledger(state) => write!(f, "a ledger of {} commands", state.index),
        }
    }
}

/// Something with a version that may come from a newer node: the rest is not to be read before that
/// is known.
#[derive(Deserialize)]
struct Wire {
    version: u32,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl Wire {
    /// Reads one part, if it is there.
    fn take<T: serde::de::DeserializeOwned>(
        &mut self,
        part: &'static str,
    ) -> Result<T, Unreadable> {
        if self.version > COMMAND_VERSION {
            return Err(TooNew(self.version).into());
        }
        let found = self.rest.remove(part).ok_or(Unreadable::Missing(part))?;
        serde_json::from_value(found).map_err(Unreadable::Gibberish)
    }
}

impl TryFrom<Wire> for Envelope {
    type Error = Unreadable;

    fn try_from(mut wire: Wire) -> Result<Self, Unreadable> {
        let matter = match wire.take("ledger") {
            Ok(state) => Matter::Ledger(Arc::new(state)),
            Err(Unreadable::Missing(_)) => Matter::Command(wire.take("command")?),
            Err(error) => return Err(error),
        };
        Ok(Self { version: wire.version, matter })
    }
}

/// Something was written by a newer baton.
#[derive(Debug, thiserror::Error)]
#[error("it has version {0}, this baton knows versions up to {COMMAND_VERSION}: upgrade this node")]
pub(super) struct TooNew(pub(super) u32);

/// Why something written by another node, or by an earlier run, cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    TooNew(#[from] TooNew),
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error(transparent)]
    Gibberish(serde_json::Error),
}

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
#[serde(try_from = "Wire")]
pub(super) struct SnapshotBody {
    /// The newest version of all commands that led here.
    pub(super) version: u32,
    /// The state.
    pub(super) state: Arc<LedgerState>,
}

impl TryFrom<Wire> for SnapshotBody {
    type Error = Unreadable;

    fn try_from(mut wire: Wire) -> Result<Self, Unreadable> {
        Ok(Self { version: wire.version, state: Arc::new(wire.take("state")?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_node_wrote_is_refused_and_not_guessed() {
        let command = Command::SetRecoveriesDisabled { disabled: true };
        let text = serde_json::to_string(&Envelope::new(command.clone())).unwrap();
        let known = Matter::Command(command);
        assert_eq!(serde_json::from_str::<Envelope>(&text).unwrap().matter, known);
        let newer = text.replace("\"version\":1", "\"version\":2");
        let unknown = newer.replace("set-recoveries-disabled", "set-something-new");
        for (case, text) in [("known words", newer), ("unknown words", unknown)] {
            let error = serde_json::from_str::<Envelope>(&text).unwrap_err().to_string();
            assert!(error.contains("version 2") && error.contains("upgrade"), "{case}: {error}");
        }
        let unknown = text.replace("set-recoveries-disabled", "set-something-new");
        assert!(serde_json::from_str::<Envelope>(&unknown).is_err());
        let body = SnapshotBody { version: 1, state: Arc::default() };
        let body = serde_json::to_string(&body).unwrap();
        assert_eq!(*serde_json::from_str::<SnapshotBody>(&body).unwrap().state, Default::default());
        let newer = body.replace("\"version\":1", "\"version\":2");
        let error = serde_json::from_str::<SnapshotBody>(&newer).unwrap_err().to_string();
        assert!(error.contains("upgrade this node"), "{error}");
    }

    #[test]
    fn a_whole_ledger_goes_through_the_log_too() {
        let state = Arc::new(LedgerState { index: 7, ..LedgerState::default() });
        let text = serde_json::to_string(&Envelope::of_ledger(Arc::clone(&state))).unwrap();
        let read: Envelope = serde_json::from_str(&text).unwrap();
        assert_eq!(read, Envelope::of_ledger(state));
    }
}
