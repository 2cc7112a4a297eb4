//! The ports between the living system and what surrounds it.
//!
//! Below: [`ProbeTarget`], which the MySQL driver and the in-memory fleet implement. Above:
//! [`Ledger`], [`Discovery`] and [`History`], through which the web and the program reach the
//! actors without knowing them; [`Operations`] changes servers for people. Readers of the fleet
//! take [`SnapshotReader`] and never wait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_topology::action::{Action, Credentials, LogQuestion};
use baton_topology::fleet::News;
use baton_topology::gtid::GtidSet;
use baton_topology::history::{
    AnalysisChange, AuditEntry, DetectionEntry, DetectionSelect, NewAuditEntry,
};
use baton_topology::instance::{Facts, Instance, ProbeFailure};
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState};
use baton_topology::quorum;
use baton_topology::reading::RawTable;
use baton_topology::recovery::extra::{ExportCommand, Extra, Transaction};
use baton_topology::recovery::{self, Recovery};
use baton_topology::relocate::{Place, Plan, Preview, Refused, Request};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use crate::certificates::Certificates;
use crate::sharing::Telling;

/// The newest published snapshot: borrow it, clone the `Arc`, never hold the borrow.
pub type SnapshotReader = watch::Receiver<Arc<FleetSnapshot>>;

/// Gives access to the servers that are watched.
pub trait ProbeTarget: Send + Sync + 'static {
    /// Makes a session for one instance. Connects to nothing yet.
    fn session(&self, key: &InstanceKey) -> Box<dyn ProbeSession>;

    /// What the servers show of themselves, where they are met under TLS.
    fn certificates(&self) -> Option<Arc<Certificates>> {
        None
    }
}

/// The conversation with one instance: at most one connection for probing, kept open, and one
/// parked connection whose end is news.
pub trait ProbeSession: Send + 'static {
    /// Reads everything there is to know, connecting first where necessary. Ends within the
    /// configured deadlines whatever the server does.
    fn probe(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>>;

    /// Opens a connection of its own and returns when that ends: at once when the server dies.
    /// Dropping the future closes it.
    fn park(&self) -> BoxFuture<'static, Parting>;
}

/// What one successful probe read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The name the server goes by, per the configured resolve method.
    pub canonical: InstanceKey,
    /// The facts.
    pub facts: Facts,
}

/// Gives the means to change servers.
pub trait Control: Send + Sync + 'static {
    /// Makes a session for one server. Connects to nothing yet.
    fn control(&self, key: &InstanceKey) -> Box<dyn ControlSession>;
}

/// A conversation in which a server is changed: one connection, opened when first needed and kept
/// until dropped.
pub trait ControlSession: Send + 'static {
    /// Reads everything there is to know, as a probe does, within the same deadlines.
    fn look(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>>;

    /// Carries out an action within `at_most`, in the words of the server's version. What the
    /// words depend on was read by the newest look; looks first if there was none, and where the
    /// source is changed.
    fn act<'a>(
        &'a mut self,
        action: &'a Action,
        at_most: Duration,
    ) -> BoxFuture<'a, Result<(), ActionFailure>>;

    /// Whether the server is about to refuse writes: it was told to, and lets nobody else commit
    /// meanwhile. `false` as well where that is not known.
    fn is_closing(&mut self) -> BoxFuture<'_, bool>;

    /// Connections that may hold a lock: who they are and what they do.
    fn holders(&mut self) -> BoxFuture<'_, Vec<String>> {
        std::future::ready(Vec::new()).boxed()
    }

    /// The binary logs, oldest first, that hold any of these transactions.
    fn logs_with<'a>(
        &'a mut self,
        transactions: &'a GtidSet,
    ) -> BoxFuture<'a, Result<Vec<String>, ActionFailure>> {
        let text = format!("binary logs cannot be searched here for {transactions}");
        Box::pin(std::future::ready(Err(ActionFailure::Impossible(text))))
    }

    /// Asks about the binary logs.
    fn ask<'a>(
        &'a mut self,
        question: &'a LogQuestion,
    ) -> BoxFuture<'a, Result<RawTable, ActionFailure>> {
        let text = format!("binary logs cannot be read here: {question:?}");
        Box::pin(std::future::ready(Err(ActionFailure::Impossible(text))))
    }

    /// The account this server replicates with, as far as it keeps that readable. To be asked of
    /// a replica before it forgets its source, for [`ControlSession::lend`].
    fn credentials(&mut self) -> BoxFuture<'_, Option<Credentials>> {
        std::future::ready(None).boxed()
    }

    /// Gives credentials to use if this server is told to replicate and has none. Without, they
    /// are asked of the configured query, or else of the source it is to have.
    fn lend(&mut self, _credentials: Credentials) {}

    /// Names channels that are known to bring in what others write: no action is about them,
    /// though the server may not tell that any more.
    fn leave_alone(&mut self, _channels: &BTreeSet<String>) {}
}

/// Carries out what people ask of servers.
pub trait Operations: Send + Sync + 'static {
    /// Carries out a request; the audit says by whom. It goes on to its end even if nobody waits for
    /// it any more.
    fn perform(
        &self,
        request: Request,
        by: String,
    ) -> BoxFuture<'_, Result<Performed, OperationError>>;

    /// Works out what would be done, and does nothing.
    fn rehearse(&self, request: Request) -> BoxFuture<'_, Result<Preview, OperationError>>;

    /// The places in other servers' logs that are known to be the same as this one.
    fn equivalents(&self, place: &Place) -> Vec<Place>;

    /// The binary logs of an instance that hold its errant transactions.
    fn locate_errant(&self, key: InstanceKey)
    -> BoxFuture<'_, Result<Vec<String>, OperationError>>;

    /// What an instance has that whoever replaced it lacks.
    fn extra_transactions(
        &self,
        key: InstanceKey,
        transactions: Transactions,
    ) -> BoxFuture<'_, Result<ExtraTransactions, OperationError>>;
}

/// Whether binary logs are read for the transactions in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transactions {
    /// They are, within limits.
    Listed,
    /// Only where nothing else tells which transactions there are.
    Counted,
}

/// What an instance has that another lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtraTransactions {
    /// The instance.
    pub key: InstanceKey,
    /// The other.
    pub compared_with: InstanceKey,
    /// What is extra.
    pub extra: Extra,
    /// The binary logs it is in, oldest first.
    pub logs: Vec<String>,
    /// The transactions, as far as they were read.
    pub transactions: Vec<Transaction>,
    /// What somebody can do with them.
    pub commands: Vec<ExportCommand>,
    /// What could not be found out.
    pub notes: Vec<String>,
}

/// A request that was carried out.
#[derive(Debug, Clone)]
pub struct Performed {
    /// What was done, in words; also what failed, where other parts succeeded.
    pub message: String,
    /// The plan that was followed.
    pub plan: Plan,
    /// The servers it succeeded for.
    pub done: Vec<InstanceKey>,
    /// The servers it failed for, with the reason.
    pub failed: Vec<(InstanceKey, String)>,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// It makes no sense or is not safe; nothing was done.
    #[error("{0}")]
    Refused(Refused),
    /// Somebody else works on one of its servers, or the ledger cannot be written; nothing was
    /// done.
    #[error("{0}")]
    Locked(ProposeError),
    /// It was begun and failed. What was stopped is started again.
    #[error("{0}")]
    Failed(String),
}

/// Why an action was not carried out, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionFailure {
    /// The server could not be reached or stopped answering: it may or may not be done.
    #[error("{}", .0.message)]
    Server(ProbeFailure),
    /// The server refused; it is not done.
    #[error("{0}")]
    Refused(String),
    /// This server cannot do that; nothing was tried.
    #[error("{0}")]
    Impossible(String),
    /// It did not come about in time; it may still.
    #[error("not within {} ms: {what}", at_most.as_millis())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        at_most: Duration,
    },
}

/// How a parked connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// It stood and then broke: the server may be dead.
    Broken,
    /// It stood, and the server should have said something so long ago: it may hang.
    Silent(Duration),
    /// It could not be opened.
    Refused,
    /// It ran out in peace and may be opened again.
    Expired,
}

/// Where commands are agreed upon. Solo, raft and shared backends implement it.
pub trait Ledger: Send + Sync + 'static {
    /// Proposes a command; returns once it is durable and applied, or was refused.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>>;

    /// Proves that this node may act, at a moment after it was asked, and that it has applied
    /// everything that was agreed upon before. Returns the term in which it may. Ends within
    /// [`deadline::PROVE`].
    fn lead(&self) -> BoxFuture<'_, Result<u64, ProposeError>>;

    /// Proposes a command that may only be applied in this term.
    fn propose_in(
        &self,
        term: u64,
        command: Command,
    ) -> BoxFuture<'_, Result<Applied, ProposeError>>;

    /// The term in which this node leads, as far as it knows: a hint, never permission.
    fn leading(&self) -> watch::Receiver<Option<u64>>;

    /// The newest state.
    fn state(&self) -> watch::Receiver<Arc<LedgerState>>;
}

/// A command that was applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Its number in the ledger.
    pub index: u64,
    /// Instances it concerned, for commands that select them (untag, forget).
    pub keys: Vec<InstanceKey>,
    /// The state right after it.
    pub state: Arc<LedgerState>,
}

/// Why a command was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The ledger's rules refuse it; nothing changed.
    #[error("{0}")]
    Refused(String),
    /// Another node decides, or none, or the term is over; nothing changed.
    #[error("{0}")]
    NotLeading(String),
    /// It could not be made durable; nothing changed.
    #[error("the ledger cannot be written: {0}")]
    Unavailable(String),
    /// No answer in time; it may or may not be applied.
    #[error("the ledger did not answer in time")]
    Timeout,
}

/// Which instances are watched.
pub trait Discovery: Send + Sync + 'static {
    /// Probes an instance now and follows what it finds from there. Returns the instance by its
    /// canonical name once it is part of a published snapshot.
    fn discover(&self, key: InstanceKey) -> BoxFuture<'_, Result<Arc<Instance>, DiscoverError>>;

    /// Asks for the same without waiting for the result.
    ///
    /// # Errors
    /// When the queue is full, or the host is ignored by configuration.
    fn discover_later(&self, key: InstanceKey) -> Result<(), DiscoverError>;

    /// The canonical key of a name people use.
    fn resolve(&self, key: &InstanceKey) -> InstanceKey;

    /// All known resolutions, from the name given to the name used.
    fn resolutions(&self) -> Vec<(String, String)>;

    /// Forgets all resolutions.
    fn reset_resolutions(&self);
}

/// Why an instance could not be discovered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoverError {
    /// The host matches an ignore filter.
    #[error("{0} is ignored by configuration")]
    Ignored(InstanceKey),
    /// No server may be there.
    #[error("{0} is outside DiscoveryAllow")]
    Outside(InstanceKey),
    /// It was forgotten a moment ago.
    #[error("{0} was forgotten on purpose and is not discovered again yet")]
    Forgotten(InstanceKey),
    /// The probe failed.
    #[error("{key}: {}", failure.message)]
    Probe {
        /// The instance.
        key: InstanceKey,
        /// Why.
        failure: ProbeFailure,
    },
    /// Too much is waiting already, or no answer came in time.
    #[error("discovery of {0} did not answer in time: i/o timeout")]
    Busy(InstanceKey),
}

/// What is done about problems.
pub trait Recoveries: Send + Sync + 'static {
    /// Recovers, and returns the recovery once it has ended, however that was.
    fn recover(
        &self,
        request: recovery::gate::Request,
    ) -> BoxFuture<'_, Result<Arc<Recovery>, RecoverError>> {
        self.recover_as(request, None)
    }

    /// The same, under a name that nobody else gives: the UID of the recovery ends with it, so that
    /// it is found by whoever asked, also when another node leads.
    fn recover_as(
        &self,
        request: recovery::gate::Request,
        name: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<Arc<Recovery>, RecoverError>>;
}

/// Why there is no recovery, or nobody knows how it ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// It may not begin.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] ProposeError),
    /// Too much is going on, or it takes very long: see the audit of recoveries.
    #[error("no answer in time; see the audit of recoveries")]
    Busy,
}

/// What happened in the past. Asked of the store, so every call may fail or time out.
pub trait History: Send + Sync + 'static {
    /// One page of the audit log, newest first; of one instance when given.
    fn audit(
        &self,
        of: Option<InstanceKey>,
        page: u32,
    ) -> BoxFuture<'_, Result<Vec<AuditEntry>, HistoryError>>;

    /// Detections, newest first.
    fn detections(
        &self,
        select: DetectionSelect,
    ) -> BoxFuture<'_, Result<Vec<DetectionEntry>, HistoryError>>;

    /// Changes of analysis, by instance and then in order of time.
    fn analysis_changes(&self) -> BoxFuture<'_, Result<Vec<AnalysisChange>, HistoryError>>;

    /// Writes the shape of all topologies into the history.
    fn snapshot_topologies(&self) -> BoxFuture<'_, Result<(), HistoryError>>;

    /// Appends to the audit log without waiting. A full queue drops the entry and counts it.
    fn record_audit(&self, entry: NewAuditEntry);
}

/// Why history could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
    /// No answer in time.
    #[error("the store did not answer in time")]
    Timeout,
}

/// How the store is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoreHealth {
    /// Writes succeed.
    #[default]
    Healthy,
    /// Writes fail; watching goes on, what is set cannot be kept.
    Degraded {
        /// Why, for a person.
        reason: String,
    },
}

/// The nodes that decide together with this one.
pub trait Peers: Send + Sync + 'static {
    /// What they know this node by.
    fn name(&self) -> String;

    /// The others that have a vote, by name.
    fn others(&self) -> Vec<String>;

    /// Says something to one of them. Ends within `within`.
    fn ask(
        &self,
        peer: &str,
        message: PeerMessage,
        within: Duration,
    ) -> BoxFuture<'static, Result<PeerAnswer, PeerError>>;

    /// Who answers for this node from now on.
    fn answer_with(&self, ear: Arc<dyn Ear>);
}

/// Answers other nodes.
pub trait Ear: Send + Sync + 'static {
    /// The answer; `None` when there is none.
    fn hear(&self, message: PeerMessage) -> BoxFuture<'static, Option<PeerAnswer>>;
}

/// What nodes say to each other. Older nodes do not understand what was added later, and say so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerMessage {
    /// What do you see of this?
    Look(quorum::Question),
    /// Are you there, and where is that?
    RollCall,
    /// This is what I saw.
    Seen(Telling),
}

/// What they answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerAnswer {
    /// This.
    Sees {
        /// The data centre of the node; empty when not known.
        data_center: String,
        /// What it sees.
        sight: quorum::Sight,
    },
    /// I know what you saw.
    Heard {
        /// The data centre of the node; empty when not known.
        data_center: String,
        /// When it heard that, by its own clock.
        at: Timestamp,
    },
    /// I am.
    Here {
        /// The data centre of the node; empty when not known.
        data_center: String,
        /// Why it does not believe its own eyes, if it does not.
        #[serde(default)]
        cut_off: Option<String>,
    },
}

/// Why a node has no answer of another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It cannot be reached, or not in time.
    #[error("{0}")]
    Unanswered(String),
    /// It is of a version that does not know this message, or answers in words that this one does
    /// not know.
    #[error("{0}")]
    NotUnderstood(String),
}

/// Where news come from. A subscriber that is too slow loses the oldest ones and is told so.
pub type EventSender = broadcast::Sender<Arc<News>>;

/// Deadlines of calls through these ports.
pub mod deadline {
    use super::Duration;

    /// A ledger command.
    pub const PROPOSE: Duration = Duration::from_secs(10);
    /// A proof of leadership.
    pub const PROVE: Duration = Duration::from_secs(2);
    /// A question to the store.
    pub const HISTORY: Duration = Duration::from_secs(10);
    /// A recovery that somebody waits for.
    pub const RECOVER: Duration = Duration::from_secs(10 * 60);
    /// A synchronous discovery.
    pub const DISCOVER: Duration = Duration::from_secs(15);
}
