//! Recoveries: what is done when something is dead, and in which order.
//!
//! A recovery is data. [`gate`] says whether one may begin, [`plan`] what it would do,
//! [`check`] whether a plan keeps the invariants, and [`machine`] what comes after each event.
//! Nothing here touches a server: whoever carries out the effects is elsewhere.

pub mod aftermath;
pub mod breaker;
pub mod candidate;
pub mod check;
pub mod connection;
pub mod extra;
pub mod former;
pub mod gate;
pub mod groups;
mod holding;
mod loss;
pub mod machine;
pub mod making;
pub mod occasions;
pub mod plan;
pub mod preview;
pub mod recent;
mod returned;
pub mod scene;
pub(crate) mod scouts;
#[cfg(test)]
mod tests;
pub mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::action::{Action, Threads};
use crate::analysis::{Analysis, Code};
use crate::cluster::ClusterId;
use crate::gtid::Gtids;
use crate::key::InstanceKey;
use crate::time::Timestamp;

/// A recovery's log has no more lines than this.
pub const LOG_LINES_MAX: usize = 500;
/// A line of it is no longer than this.
pub const LOG_LINE_CHARS_MAX: usize = 2_000;

/// One recovery, from its beginning to its end: all that is needed to go on with it elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Its number in the ledger; 0 before it has one.
    pub id: u64,
    /// A name that is the same everywhere and always.
    pub uid: Arc<str>,
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's old-style name when it began.
    pub cluster_name: String,
    /// The cluster's alias when it began.
    pub cluster_alias: String,
    /// The cluster's domain when it began.
    pub cluster_domain: String,
    /// What kind of recovery it is.
    pub kind: Kind,
    /// Why it was begun.
    pub cause: Cause,
    /// The finding it is about; its key is what failed (or steps down).
    pub analysis: Analysis,
    /// Who has to succeed, if somebody said so.
    pub wanted: Option<InstanceKey>,
    /// Whether user processes run.
    pub hooks: Hooks,
    /// The direct replicas of what failed, when it began.
    pub replicas: Vec<InstanceKey>,
    /// Whether clients of what failed waited for acknowledgements when it began.
    #[serde(default)]
    pub acknowledging: Acknowledging,
    /// Threads that stood still on replicas before this began: somebody stopped them, and nobody
    /// else starts them when nothing comes of it.
    #[serde(default)]
    pub stood_still: BTreeMap<InstanceKey, Threads>,
    /// Whether what failed may go on accepting writes.
    #[serde(default)]
    pub fencing: Fencing,
    /// Whom what failed followed when it began, such as its co-primary.
    #[serde(default)]
    pub followed: Option<InstanceKey>,
    /// Who accepted writes beside what failed when it began, by intent: each followed the other.
    #[serde(default)]
    pub beside: Vec<InstanceKey>,
    /// The node that runs it.
    pub node: String,
    /// That node's token.
    pub token: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How far it is.
    pub phase: Phase,
    /// What it does; from the moment that is known.
    pub plan: Option<Plan>,
    /// Who succeeded.
    pub successor: Option<InstanceKey>,
    /// Candidates and donors that failed before anything was opened; replicas that could not be
    /// made to acknowledge, or not to.
    pub tried: Vec<InstanceKey>,
    /// How often everything was made to stand still again, because somebody did not.
    #[serde(default)]
    pub freezes: u32,
    /// How often the successor was told to open. Once it may have been, nobody else can be (I6).
    #[serde(default)]
    pub openings: u32,
    /// What failed accepted writes until it was closed, or was told to close, in this.
    #[serde(default)]
    pub closed: bool,
    /// What failed answered when it was made read-only.
    #[serde(default)]
    pub fenced: bool,
    /// Servers that were given up.
    pub lost: Vec<InstanceKey>,
    /// What went wrong on the way.
    pub errors: Vec<String>,
    /// Who refused something, or gave no answer; `errors` tells what.
    #[serde(default)]
    pub failed_on: BTreeSet<InstanceKey>,
    /// Replicas that did not get the order to stop receiving, when everything was made to stand still
    /// last: what they still receive may be acknowledged.
    #[serde(default)]
    pub untold: BTreeSet<InstanceKey>,
    /// Replicas that waited for acknowledgements themselves, such as the other co-primary of what failed,
    /// and were told not to: what they had to apply was held up by it.
    #[serde(default)]
    pub released: BTreeSet<InstanceKey>,
    /// What was done, and when.
    pub log: Vec<LogLine>,
    /// Somebody took note of it.
    pub acknowledged: Option<Acknowledgement>,
}

/// A recovery may begin so long before what it is from is recorded as detected.
const BEGINS_BEFORE: Duration = Duration::from_secs(5);

impl Recovery {
    /// The instance it is about.
    pub fn failed(&self) -> &InstanceKey {
        &self.analysis.key
    }

    /// Whether it is from a failure of this instance that was detected at `at`, and counts as the
    /// same failure until `until`. A planned takeover is from none, whatever its analysis is called.
    pub fn is_from(
        &self,
        (key, code): (&InstanceKey, Code),
        at: Timestamp,
        until: Timestamp,
    ) -> bool {
        self.kind != Kind::Takeover
            && self.failed() == key
            && self.analysis.code == code
            && (at.minus(BEGINS_BEFORE)..until).contains(&self.begun_at)
    }

    /// Whether it may change a server.
    pub fn changes(&self, key: &InstanceKey) -> bool {
        self.changed().any(|it| it == key)
    }

    fn changed(&self) -> impl Iterator<Item = &InstanceKey> {
        let successor = self.plan.as_ref().map(|plan| &plan.successor);
        let chosen = self.wanted.iter().chain(successor).chain(&self.successor);
        // Where nobody is opened, whoever takes others in is not touched.
        let opened = chosen.filter(|_| self.kind.opens());
        std::iter::once(self.failed()).chain(&self.replicas).chain(opened)
    }

    /// Whether two recoveries get in each other's way. The clusters alone do not tell: a server
    /// that is about to be opened follows nobody, and makes a cluster of its own for a moment.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.cluster == other.cluster || self.changed().any(|key| other.changes(key))
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        self.ended_at.is_none()
    }

    /// Whether it was begun only because what failed did not answer. Who answers after all lives, and
    /// is left as it is; but for one that may have been replaced already.
    pub fn ends_when_it_answers(&self) -> bool {
        let is_ours = matches!(self.cause, Cause::Found | Cause::Hung | Cause::Asked);
        is_ours && self.kind.promotes() && self.openings == 0
    }

    /// The threads of a replica that did not stand still before: those are started again (I9).
    pub fn start_again(&self, key: &InstanceKey) -> Option<Threads> {
        match self.stood_still.get(key) {
            None => Some(Threads::Both),
            Some(Threads::Receiver) => Some(Threads::Applier),
            Some(Threads::Applier) => Some(Threads::Receiver),
            Some(Threads::Both) => None,
        }
    }

    /// Adds a line to the log. The log of a recovery is bounded, and so is each line.
    pub fn say(&mut self, at: Timestamp, text: &str) {
        self.say_to_writers(at, text, "");
    }

    /// The same, with an end that only those read who may change something.
    pub fn say_to_writers(&mut self, at: Timestamp, text: &str, for_writers: &str) {
        if self.log.len() < LOG_LINES_MAX {
            let text: String = text.chars().take(LOG_LINE_CHARS_MAX).collect();
            let rest = LOG_LINE_CHARS_MAX - text.chars().count();
            let for_writers = for_writers.chars().take(rest).collect();
            self.log.push(LogLine { at, text, for_writers });
        }
    }

    /// The same, taken back: going on with it panics again and again, and what it stopped is started
    /// again (I9). `None` where it is being taken back already, or where the successor may be open.
    #[must_use]
    pub fn taken_back(&self, now: Timestamp) -> Option<Self> {
        if self.openings > 0 || matches!(self.phase, Phase::RollingBack | Phase::Gathering) {
            return None;
        }
        let mut back = self.clone();
        back.tell_fault(now, "it is taken back");
        back.phase = Phase::RollingBack;
        Some(back)
    }

    /// The same, ended where it stands: it cannot even be taken back.
    #[must_use]
    pub fn broken_off(&self, now: Timestamp) -> Self {
        let mut ended = self.clone();
        ended.tell_fault(
            now,
            "look at every server of the cluster, what was stopped may still be stopped",
        );
        ended.ended_at = Some(now);
        ended.phase = Phase::Ended(End::Stuck);
        ended
    }

    fn tell_fault(&mut self, now: Timestamp, so: &str) {
        let phase = self.phase;
        let why =
            format!("a fault of baton's at {phase:?} keeps it from going on (see the log): {so}");
        self.say(now, &why);
        self.errors.push(why);
    }

    /// What is known to be lost with it; `None` before the successor was opened, and when that is
    /// nothing.
    pub fn loss(&self) -> Option<&Loss> {
        let plan = self.plan.as_ref().filter(|_| self.successor.is_some())?;
        Some(&plan.loss).filter(|it| !it.is_empty())
    }

    /// Whether it came to a good end.
    pub fn is_successful(&self) -> bool {
        self.phase == Phase::Ended(End::Done)
    }
}

/// One line of a recovery's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub text: String,
    /// How the text goes on for those who may change something: commands of hooks, and what they wrote.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub for_writers: String,
}

/// What kind of recovery it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A primary is replaced by one of its replicas.
    Primary,
    /// One of two co-primaries is replaced by the other.
    CoPrimary,
    /// The replicas of an intermediate source get another one.
    IntermediateSource,
    /// The replicas of a group member get another one.
    GroupMember,
    /// A primary is made writable.
    ReadOnlyPrimary,
    /// A primary hands over to one of its replicas in peace.
    Takeover,
    /// A former primary follows the one that replaced it.
    Rejoin,
    /// Replicas that a former primary still has follow the one that replaced it.
    Regroup,
    /// Replicas of a primary are made to acknowledge, or not to.
    SemiSync,
}

impl Kind {
    /// The recovery there is for a problem.
    pub fn of(code: Code) -> Option<Self> {
        Some(match code {
            Code::DeadPrimary | Code::DeadPrimaryAndSomeReplicas => Self::Primary,
            Code::DeadCoPrimary | Code::DeadCoPrimaryAndSomeReplicas => Self::CoPrimary,
            Code::DeadIntermediateSource
            | Code::DeadIntermediateSourceAndSomeReplicas
            | Code::DeadIntermediateSourceWithSingleReplicaFailingToConnect
            | Code::AllIntermediateSourceReplicasFailingToConnectOrDead => Self::IntermediateSource,
            Code::DeadGroupMemberWithReplicas => Self::GroupMember,
            Code::NoWriteablePrimary => Self::ReadOnlyPrimary,
            Code::LockedSemiSyncPrimary | Code::PrimaryWithTooManySemiSyncReplicas => {
                Self::SemiSync
            }
            _ => return None,
        })
    }

    /// The problem there is when a source that some replicas still wait for hangs: it is as good
    /// as dead.
    pub fn when_hung(code: Code) -> Option<Code> {
        Some(match code {
            Code::UnreachablePrimary | Code::UnreachablePrimaryWithLaggingReplicas => {
                Code::DeadPrimary
            }
            Code::UnreachableCoPrimary => Code::DeadCoPrimary,
            Code::UnreachableIntermediateSource
            | Code::UnreachableIntermediateSourceWithLaggingReplicas => {
                Code::DeadIntermediateSource
            }
            Code::UnreachableGroupMemberWithReplicas => Code::DeadGroupMemberWithReplicas,
            _ => return None,
        })
    }

    /// Whether a server is opened for writes.
    pub fn opens(self) -> bool {
        matches!(self, Self::Primary | Self::CoPrimary | Self::ReadOnlyPrimary | Self::Takeover)
    }

    /// Whether a replica takes the place of a primary.
    pub fn promotes(self) -> bool {
        matches!(self, Self::Primary | Self::CoPrimary | Self::Takeover)
    }
}

/// Why a recovery was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// baton found the problem and the configuration lets it act.
    Found,
    /// baton found that a source hangs.
    Hung,
    /// Somebody asked to recover from a problem that baton sees too.
    Asked,
    /// Somebody gave up a primary, whatever baton sees of it.
    ForcedFailover,
    /// Somebody gave up a primary and named its successor.
    ForcedTakeover,
    /// A planned takeover; the old primary is left stopped.
    Takeover,
    /// A planned takeover; the old primary replicates again by itself.
    TakeoverAuto,
    /// Somebody wants a former primary back, as a replica.
    Rejoin,
    /// The configuration wants former primaries back, as replicas.
    RejoinAuto,
    /// A former primary is back, and others still follow it.
    RegroupAuto,
}

impl Cause {
    /// Whether a person asked for it.
    pub fn is_manual(self) -> bool {
        !matches!(self, Self::Found | Self::Hung | Self::RejoinAuto | Self::RegroupAuto)
    }

    /// Whether it is a planned takeover.
    pub fn is_takeover(self) -> bool {
        matches!(self, Self::Takeover | Self::TakeoverAuto)
    }
}

/// Whether clients are told of a commit only when replicas have it (semi-synchronous replication).
/// Closing a primary may have to switch that off, so it is kept from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledging {
    /// It is not.
    #[default]
    Off,
    /// It was meant to be, but went on without acknowledgements.
    Lapsed,
    /// So many replicas had every write before its client was told.
    By(u32),
}

/// Whether another server may be opened though what failed answers and cannot be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fencing {
    /// It may not (I1).
    #[default]
    Required,
    /// Somebody named it, and answers for two that accept writes (I8).
    Waived,
}

/// Whether user processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hooks {
    /// They do.
    Run,
    /// They do not.
    Skip,
}

/// How far a recovery is. Each phase is in the ledger before anything of it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// User processes are told before anything is done.
    Announcing,
    /// A planned takeover: siblings move below the one who takes over.
    Arranging,
    /// What is there is made to stand still: receivers stop, the old primary is fenced.
    Freezing,
    /// What everybody has is read again and weighed.
    Weighing,
    /// The successor gets and applies all that there is.
    Preparing {
        /// Which stage of that.
        stage: usize,
    },
    /// The successor is opened for writes.
    Opening,
    /// Everybody else gets a place.
    Gathering,
    /// What was stopped is started again, because this did not work out.
    RollingBack,
    /// It is over.
    Ended(End),
}

/// How a recovery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Well.
    Done,
    /// Nothing was changed for good, and what was stopped was started again.
    RolledBack,
    /// A person has to look: see the errors.
    Stuck,
}

/// What a recovery does once everything stands still.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Who succeeds: the new primary, or the new source of orphaned replicas.
    pub successor: InstanceKey,
    /// Why this one: one sentence each.
    pub why: Vec<String>,
    /// Before the successor is opened, one stage after the other; all must succeed.
    pub prepare: Vec<Stage>,
    /// Opens the successor.
    pub open: Stage,
    /// Afterwards, for everybody else.
    pub gather: Stage,
    /// Who cannot come along, and why.
    pub lost: Vec<Lost>,
    /// What may be lost, as far as can be known.
    pub loss: Loss,
}

/// Things that are done at the same time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Stage {
    /// One for each server.
    pub chains: Vec<Chain>,
}

/// Things that are done on one server, one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// The server.
    pub on: InstanceKey,
    /// What is done.
    pub actions: Vec<Action>,
    /// Whether the stage fails when this does.
    pub need: Need,
}

/// Whether something must succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Without it there is no going on.
    Must,
    /// It is an error to be told, and no more.
    Should,
}

/// A server that cannot come along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The server.
    pub key: InstanceKey,
    /// Why.
    pub why: String,
}

/// What may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Loss {
    /// Transactions somebody was seen to have and nobody who can be reached has;
    /// empty when there are none.
    pub known: String,
    /// How many that are.
    pub count: u64,
    /// What more there is to say, such as how old that knowledge is.
    pub remark: String,
    /// Replicas that were seen to have some of it.
    #[serde(default)]
    pub on: Vec<InstanceKey>,
    /// What the successor has of what the old primary wrote.
    #[serde(default)]
    pub kept: Gtids,
}

impl Loss {
    /// Whether nothing is known to be lost.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.count == 0
    }

    /// How much it is: by position, the number of transactions cannot be told.
    pub fn amount(&self) -> String {
        match self.count {
            0 => "transactions".to_owned(),
            1 => "1 transaction".to_owned(),
            count => format!("{count} transactions"),
        }
    }
}

/// Somebody took note of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Arc<str>,
    /// With which words.
    pub comment: Arc<str>,
}

/// Why nothing is done (I13). Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Refused(pub Vec<String>);

impl Refused {
    /// A refusal for one reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(vec![reason.into()])
    }
}
