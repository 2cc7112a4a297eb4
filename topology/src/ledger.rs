//! What people and baton itself have set, and the one function that changes it.
//!
//! Every change is a typed [`Command`]. Applying is deterministic: all nodes that apply the same
//! commands in the same order hold the same state. Times are part of the commands, so that
//! replaying them a month later gives the same result.

mod apply;
mod certificates;
pub(crate) mod clocks;
mod detections;
pub mod discovered;
mod limits;
mod recoveries;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use crate::analysis::Code;
use crate::certificate::{Fingerprint, NewPin, Pin};
use crate::cluster::ClusterId;
use crate::history::DetectionEntry;
use crate::instance::PromotionRule;
use crate::key::InstanceKey;
use crate::recovery::{Acknowledgement, LogLine, Recovery};
use crate::time::Timestamp;

pub use apply::{Outcome, Refusal, apply};
pub use limits::{
    ALIAS_BYTES_MAX, ENTRIES_MAX, HOST_BYTES_MAX, OWNER_BYTES_MAX, POOL_MEMBERS_MAX,
    POOL_NAME_BYTES_MAX, POOLS_MAX, REASON_BYTES_MAX, RECOVERIES_MAX, TAG_NAME_BYTES_MAX,
    TAG_VALUE_BYTES_MAX, TAGS_PER_INSTANCE_MAX,
};

/// Everything that was set. Cheap to clone: clones share what did not change.
///
/// As text, parts that are missing are empty and parts that are unknown are passed over, so that
/// nodes of neighbouring versions read each other's state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerState {
    /// The number of the last command applied; 0 before the first.
    pub index: u64,
    /// Downtimes by instance, ended ones included until they are purged.
    pub downtimes: RedBlackTreeMapSync<InstanceKey, Downtime>,
    /// Maintenance by instance.
    pub maintenances: RedBlackTreeMapSync<InstanceKey, Maintenance>,
    /// Registered promotion rules.
    pub candidates: RedBlackTreeMapSync<InstanceKey, Candidate>,
    /// Tags by instance, then name.
    pub tags: RedBlackTreeMapSync<InstanceKey, RedBlackTreeMapSync<Arc<str>, Arc<str>>>,
    /// Pools by name.
    pub pools: RedBlackTreeMapSync<Arc<str>, Pool>,
    /// Names to write into replication configuration instead of an instance's own.
    pub virtual_names: RedBlackTreeMapSync<InstanceKey, VirtualName>,
    /// Aliases people gave to clusters.
    pub cluster_aliases: RedBlackTreeMapSync<ClusterId, Arc<str>>,
    /// Instances forgotten on purpose, until when they are not discovered again.
    pub forgotten: RedBlackTreeMapSync<InstanceKey, Timestamp>,
    /// Instances that people had discovered, and when they last did: all nodes look at them.
    pub discovered: RedBlackTreeMapSync<InstanceKey, Timestamp>,
    /// Failures detected recently, by instance and code.
    #[serde(with = "detections")]
    pub detections: RedBlackTreeMapSync<(InstanceKey, Code), Detection>,
    /// Automated recoveries are switched off everywhere.
    pub recoveries_disabled: bool,
    /// Somebody decided that baton acts though many clusters failed at once; until then.
    pub breaker_released_until: Timestamp,
    /// Recoveries under way, and ended ones that still block others, by number.
    pub recoveries: RedBlackTreeMapSync<u64, Arc<Recovery>>,
    /// The number the newest recovery got; 0 before the first.
    pub last_recovery_id: u64,
    /// When baton last did something to an instance beside recoveries, such as fencing it.
    pub chores: RedBlackTreeMapSync<InstanceKey, Timestamp>,
    /// Replicas whose receiver is being made to connect anew, since when: what is stopped for that
    /// is started again, whoever leads by then (I9).
    pub scouts: RedBlackTreeMapSync<InstanceKey, Timestamp>,
    /// The keys that servers are known by, where no authority verifies them.
    pub certificates: RedBlackTreeMapSync<InstanceKey, Pin>,
    /// The number the newest maintenance got; 0 before the first.
    pub last_maintenance_id: u64,
    /// The number the newest detection got; 0 before the first.
    pub last_detection_id: u64,
}

/// An instance on which alarms are expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downtime {
    /// Who said so.
    pub owner: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    /// From when.
    pub begins_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
}

/// An instance that is being worked on: nobody else may operate on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Its number.
    pub id: u64,
    /// Who works on it.
    pub owner: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    /// From when.
    pub begins_at: Timestamp,
    /// Until when, at the latest.
    pub ends_at: Timestamp,
}

/// A registered promotion rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The rule.
    pub rule: PromotionRule,
    /// When it was last registered.
    pub registered_at: Timestamp,
    /// When it stops to hold.
    pub expires_at: Timestamp,
}

/// A named set of instances, as somebody submitted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its members.
    pub members: Vec<InstanceKey>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it stops to hold.
    pub expires_at: Timestamp,
}

/// A name that stands for an instance in replication configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualName {
    /// The name.
    pub hostname: Arc<str>,
    /// When it was registered.
    pub registered_at: Timestamp,
}

/// A failure that was detected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Its number.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Until when the same failure counts as a repetition; it is not purged before.
    #[serde(default)]
    pub fresh_until: Timestamp,
    /// What was seen then, for every node's record.
    #[serde(default)]
    pub entry: Option<Arc<DetectionEntry>>,
}

/// The newest version of commands this baton knows. See [`Command::since`].
pub const COMMAND_VERSION: u32 = 1;

/// One change to the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Command {
    /// Begin, prolong or shorten a downtime.
    BeginDowntime {
        /// The instance.
        key: InstanceKey,
        /// The downtime.
        #[serde(flatten)]
        downtime: Downtime,
    },
    /// End a downtime.
    EndDowntime {
        /// The instance.
        key: InstanceKey,
    },
    /// Begin maintenance; refused while the instance is in maintenance, whoever began it. Saying
    /// the very same again changes nothing.
    BeginMaintenance {
        /// The instance.
        key: InstanceKey,
        /// Who.
        owner: Arc<str>,
        /// Why.
        reason: Arc<str>,
        /// From when.
        begins_at: Timestamp,
        /// Until when, at the latest.
        ends_at: Timestamp,
    },
    /// End maintenance.
    EndMaintenance {
        /// The instance.
        key: InstanceKey,
    },
    /// Register a promotion rule.
    RegisterCandidate {
        /// The instance.
        key: InstanceKey,
        /// The rule and how long it holds.
        #[serde(flatten)]
        candidate: Candidate,
    },
    /// Set a tag, replacing its value.
    Tag {
        /// The instance.
        key: InstanceKey,
        /// The tag's name.
        name: Arc<str>,
        /// The tag's value; may be empty.
        value: Arc<str>,
    },
    /// Remove a tag from one instance, or from all.
    Untag {
        /// The instance; all of them when `None`.
        key: Option<InstanceKey>,
        /// The tag's name.
        name: Arc<str>,
        /// Only where it has this value.
        value: Option<Arc<str>>,
    },
    /// Replace the members of a pool.
    SubmitPool {
        /// The pool's name.
        name: Arc<str>,
        /// Its members.
        #[serde(flatten)]
        pool: Pool,
    },
    /// Register a virtual name.
    RegisterVirtualName {
        /// The instance.
        key: InstanceKey,
        /// The name.
        #[serde(flatten)]
        name: VirtualName,
    },
    /// Remove a virtual name.
    DeregisterVirtualName {
        /// The instance.
        key: InstanceKey,
    },
    /// Give a cluster an alias; an empty one takes it back.
    SetClusterAlias {
        /// The cluster.
        cluster: ClusterId,
        /// The alias.
        alias: Arc<str>,
    },
    /// Forget instances, and do not discover them again before then.
    Forget {
        /// The instances.
        keys: Vec<InstanceKey>,
        /// Until when.
        until: Timestamp,
    },
    /// Have all nodes discover an instance, even one that was forgotten.
    Discover {
        /// The instance.
        key: InstanceKey,
        /// When somebody said so.
        at: Timestamp,
    },
    /// Record that failures were detected. Those whose last detection is still fresh are left out;
    /// refused when all of them are.
    RecordDetections {
        /// What was seen. Each gets its number here.
        entries: Vec<Arc<DetectionEntry>>,
        /// For so long another detection of the same failure is a repetition.
        fresh_for: Duration,
    },
    /// Switch automated recoveries off or on everywhere.
    SetRecoveriesDisabled {
        /// Off or on.
        disabled: bool,
    },
    /// Act though many clusters failed at once, until then.
    ReleaseBreaker {
        /// Until when.
        until: Timestamp,
    },
    /// Begin a recovery; refused while another one of the same cluster is under way.
    BeginRecovery {
        /// The recovery. It gets its number here.
        recovery: Arc<Recovery>,
    },
    /// Take note of how far a recovery is; refused once it has ended.
    UpdateRecovery {
        /// The recovery as it is now.
        recovery: Arc<Recovery>,
    },
    /// Replace the log of a recovery, ended or not.
    LogRecovery {
        /// Its number.
        id: u64,
        /// All lines.
        lines: Vec<LogLine>,
    },
    /// Take note that something is done to an instance beside recoveries.
    NoteChore {
        /// The instance.
        key: InstanceKey,
        /// When.
        at: Timestamp,
        /// The replica whose receiver is stopped for that, and started again.
        #[serde(default)]
        scout: Option<InstanceKey>,
    },
    /// Take note that the receiver of a scout was started again, or is nobody's business any more.
    EndScout {
        /// The scout.
        key: InstanceKey,
    },
    /// Take note that somebody has something done to an instance. Changes nothing: that it was
    /// agreed upon is all that counts (I2).
    NoteOperation {
        /// The instance.
        key: InstanceKey,
        /// What, such as `stop-replica`.
        what: Arc<str>,
        /// When.
        at: Timestamp,
    },
    /// Acknowledge recoveries: they block no others any more.
    AcknowledgeRecoveries {
        /// Their numbers.
        ids: Vec<u64>,
        /// By whom, when, and why.
        acknowledgement: Acknowledgement,
    },
    /// Drop everything that ended, expired or stopped to be fresh by this point.
    Purge {
        /// The point.
        before: Timestamp,
    },
    /// Discovered instances were seen, and are remembered for longer.
    RenewDiscovered {
        /// Which ones.
        keys: Vec<InstanceKey>,
        /// When.
        at: Timestamp,
    },
    /// Drop the discovered instances that were not renewed since this point. Whoever watches them
    /// goes on.
    DropDiscovered {
        /// The point.
        before: Timestamp,
    },
    /// Pin the keys that servers showed, where none is pinned or an authority verified another one.
    PinCertificates {
        /// What was shown.
        pins: Vec<NewPin>,
        /// When.
        at: Timestamp,
    },
    /// Pin another key of a server, or none, because a person says that it is right.
    ConfirmCertificate {
        /// The instance.
        key: InstanceKey,
        /// The key; `None`: it offers no TLS any more.
        fingerprint: Option<Fingerprint>,
        /// When.
        at: Timestamp,
    },
}

impl Command {
    /// The version of baton's commands that knows this one, as it stands, to the letter and with
    /// the effect it has here. Nodes of several versions work on one ledger while they are
    /// upgraded one by one: whatever any of them cannot apply must not be agreed upon. A new
    /// command, a new part of an old one, and an old one with another effect need a new version.
    pub fn since(&self) -> u32 {
        // All of them are in the first version there is.
        1
    }
}

impl LedgerState {
    /// The downtime in force at `now`.
    pub fn downtime_of(&self, key: &InstanceKey, now: Timestamp) -> Option<&Downtime> {
        self.downtimes.get(key).filter(|it| it.begins_at <= now && now < it.ends_at)
    }

    /// The maintenance in force at `now`.
    pub fn maintenance_of(&self, key: &InstanceKey, now: Timestamp) -> Option<&Maintenance> {
        self.maintenances.get(key).filter(|it| it.begins_at <= now && now < it.ends_at)
    }

    /// How welcome an instance is as the next primary: what somebody registered, while that
    /// holds, goes before what the server's configured query tells.
    pub fn promotion_rule(
        &self,
        key: &InstanceKey,
        detected: Option<PromotionRule>,
        now: Timestamp,
    ) -> PromotionRule {
        let registered = self.candidates.get(key).filter(|it| now < it.expires_at);
        registered.map(|it| it.rule).or(detected).unwrap_or_default()
    }

    /// An instance's tags: names with values, ordered by name.
    pub fn tags_of(&self, key: &InstanceKey) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.tags.get(key).into_iter().flat_map(|tags| tags.iter())
    }

    /// The pools that hold at `now`, ordered by name.
    pub fn active_pools(&self, now: Timestamp) -> impl Iterator<Item = (&Arc<str>, &Pool)> {
        self.pools.iter().filter(move |(_, pool)| now < pool.expires_at)
    }

    /// Whether the instance was forgotten on purpose and is not to be discovered again yet.
    pub fn is_forgotten(&self, key: &InstanceKey, now: Timestamp) -> bool {
        self.forgotten.get(key).is_some_and(|until| now < *until)
    }

    /// The detection that makes the same failure a repetition at `now`.
    pub fn fresh_detection(
        &self,
        key: &InstanceKey,
        code: Code,
        now: Timestamp,
    ) -> Option<&Detection> {
        self.detections.get(&(key.clone(), code)).filter(|it| now < it.fresh_until)
    }
}
