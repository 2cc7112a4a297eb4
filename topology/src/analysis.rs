//! What is wrong with a cluster: the codes of problems and the record of one finding.
//!
//! The rules are data: see [`catalog`]. The numbers they rest on are counted in `evidence`. What
//! to do about a finding is not decided here.

pub mod catalog;
mod evidence;
mod verdict;

pub use verdict::{Verdicts, analyze};

use serde::{Deserialize, Serialize};

use crate::key::InstanceKey;
use crate::time::Timestamp;

/// One finding about one instance of a cluster, with the evidence it rests on.
///
/// `code` is [`Code::NoProblem`] when only structure warnings hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The instance the finding is about.
    pub key: InstanceKey,
    /// What is wrong.
    pub code: Code,
    /// What is unwise about the structure, in catalogue order.
    pub structure: Vec<StructureWarning>,
    /// The numbers it rests on.
    pub evidence: Evidence,
    /// The instance is downtimed, until then.
    pub downtime_ends_at: Option<Timestamp>,
    /// All of its replicas are downtimed.
    pub replicas_downtimed: bool,
    /// Downtime of the instance or its replicas means that nothing is done about it.
    pub skippable_due_to_downtime: bool,
    /// Since when this code holds without interruption.
    pub since: Timestamp,
}

/// The numbers an [`Analysis`] rests on.
///
/// "Valid" replicas answered their newest probe; "replicating" ones are valid with both threads
/// running; "receiving" ones are valid and hear of their source, whatever their applier does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// It heads its cluster: replicates from nobody, and is no group secondary.
    pub is_primary: bool,
    /// It is one of two that replicate from each other.
    pub is_co_primary: bool,
    /// It is a member of a replication group.
    pub is_group_member: bool,
    /// It is one, and sees too few of the others to go on.
    #[serde(default)]
    pub has_lost_majority: bool,
    /// It answers, and its binary log takes no more writes.
    #[serde(default)]
    pub is_log_stuck: bool,
    /// Its newest probe succeeded.
    pub is_valid: bool,
    /// Its newest probe failed but got the basic answers.
    pub is_partially_valid: bool,
    /// Its newest probe failed because of what it said: access denied, no connection left...
    #[serde(default)]
    pub is_refusing: bool,
    /// Some probe of it succeeded, however long ago.
    #[serde(default)]
    pub was_seen: bool,
    /// It is a replica that cannot connect to its source.
    pub is_failing_to_connect: bool,
    /// It hands on binary logs and holds no data.
    pub is_binlog_server: bool,
    /// It is read-only.
    pub is_read_only: bool,
    /// Steps below the head of its cluster.
    pub depth: u32,
    /// Transactions that it had before it was started anew and has no more, though replicas have them.
    #[serde(default)]
    pub lost_transactions: u64,
    /// All replicas known of it.
    pub replicas: u32,
    /// Replicas that answer.
    pub valid_replicas: u32,
    /// Replicas that answer and replicate.
    pub replicating_replicas: u32,
    /// Replicas that answer and hear of it: witnesses that it lives.
    #[serde(default)]
    pub receiving_replicas: u32,
    /// Replicas that answer and cannot connect to it.
    pub failing_to_connect_replicas: u32,
    /// Replicas in downtime.
    pub downtimed_replicas: u32,
    /// Replicas with a configured delay.
    pub delayed_replicas: u32,
    /// Replicas that lag more than is reasonable.
    pub lagging_replicas: u32,
    /// Replicas that log what they apply.
    pub logging_replicas: u32,
    /// Those that log statements.
    pub statement_logging_replicas: u32,
    /// Those that log statements or rows.
    pub mixed_logging_replicas: u32,
    /// Those that log rows.
    pub row_logging_replicas: u32,
    /// Different major versions among replicas that log.
    pub logging_major_versions: u32,
    /// Replicas that acknowledge semi-synchronously, by their configuration.
    pub semi_sync_replicas: u32,
    /// Replicas that may leave for another source by themselves.
    #[serde(default)]
    pub leaving_replicas: u32,
    /// Replicas whose receiver gives up for good when it is away for less than an hour.
    #[serde(default)]
    pub impatient_replicas: u32,
    /// All valid replicas use MySQL's GTID.
    pub mysql_gtid_topology: bool,
    /// All valid replicas use MariaDB's GTID.
    pub mariadb_gtid_topology: bool,
    /// Semi-sync as a source is enabled on it.
    pub semi_sync_enabled: bool,
    /// Semi-sync as a source is active on it.
    pub semi_sync_active: bool,
    /// Acknowledgements it waits for.
    pub semi_sync_wait_for: u32,
    /// Replicas that acknowledge to it.
    pub semi_sync_clients: u32,
    /// Its binary log has not moved for as long as it takes to call it locked.
    pub is_binlog_stale: bool,
    /// Its own GTID mode.
    pub gtid_mode: String,
    /// Lowest GTID mode among its replicas.
    pub min_replica_gtid_mode: String,
    /// Highest GTID mode among its replicas.
    pub max_replica_gtid_mode: String,
    /// Errant transactions of one of its replicas that is not in downtime; empty when none.
    pub replica_errant_gtid: String,
}

/// What is wrong with an instance.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Nothing.
    #[default]
    NoProblem,
    /// A primary answers, but not what it is asked: it does not let us in, or has no room.
    InaccessiblePrimary,
    /// The same of a co-primary.
    InaccessibleCoPrimary,
    /// The same of an intermediate source.
    InaccessibleIntermediateSource,
    /// What replicas call their source never answered: it may be dead, misspelt or out of our reach.
    NeverSeenPrimary,
    /// A primary without replicas does not answer.
    DeadPrimaryWithoutReplicas,
    /// A primary does not answer and no replica replicates.
    DeadPrimary,
    /// Neither a primary nor any replica answers.
    DeadPrimaryAndReplicas,
    /// A primary and some replicas do not answer, the others do not replicate.
    DeadPrimaryAndSomeReplicas,
    /// A primary does not answer and all its replicas lag.
    UnreachablePrimaryWithLaggingReplicas,
    /// A primary does not answer but replicas still replicate.
    UnreachablePrimary,
    /// A primary waits for acknowledgements it does not get.
    LockedSemiSyncPrimary,
    /// A primary may be waiting for acknowledgements.
    LockedSemiSyncPrimaryHypothesis,
    /// A primary has more semi-sync replicas than configured.
    PrimaryWithTooManySemiSyncReplicas,
    /// A primary with replicas is read-only, and that is to be recovered from.
    NoWriteablePrimary,
    /// The only replica of a primary does not replicate.
    PrimarySingleReplicaNotReplicating,
    /// The only replica of a primary does not answer.
    PrimarySingleReplicaDead,
    /// All replicas of a primary answer, none replicates.
    AllPrimaryReplicasNotReplicating,
    /// Of a primary's replicas some do not answer, the others do not replicate.
    AllPrimaryReplicasNotReplicatingOrDead,
    /// A co-primary does not answer and no replica replicates.
    DeadCoPrimary,
    /// A co-primary and some replicas do not answer, the others do not replicate.
    DeadCoPrimaryAndSomeReplicas,
    /// A co-primary does not answer but replicas still replicate.
    UnreachableCoPrimary,
    /// No replica of a co-primary replicates.
    AllCoPrimaryReplicasNotReplicating,
    /// An intermediate source does not answer, its only replica fails to connect.
    DeadIntermediateSourceWithSingleReplicaFailingToConnect,
    /// An intermediate source does not answer, its only replica does not replicate.
    DeadIntermediateSourceWithSingleReplica,
    /// An intermediate source does not answer and no replica replicates.
    DeadIntermediateSource,
    /// An intermediate source and some replicas do not answer, the others do not replicate.
    DeadIntermediateSourceAndSomeReplicas,
    /// Neither an intermediate source nor any replica answers.
    DeadIntermediateSourceAndReplicas,
    /// An intermediate source does not answer and all its replicas lag.
    UnreachableIntermediateSourceWithLaggingReplicas,
    /// An intermediate source does not answer but replicas still replicate.
    UnreachableIntermediateSource,
    /// No replica of an intermediate source can connect to it.
    AllIntermediateSourceReplicasFailingToConnectOrDead,
    /// No replica of an intermediate source replicates.
    AllIntermediateSourceReplicasNotReplicating,
    /// A binlog server cannot connect to its source.
    BinlogServerFailingToConnectToSource,
    /// A direct replica of the primary cannot connect to it.
    FirstTierReplicaFailingToConnectToPrimary,
    /// A group member does not answer and no replica of it replicates.
    DeadGroupMemberWithReplicas,
    /// A group member does not answer but replicas still replicate from it.
    UnreachableGroupMemberWithReplicas,
    /// A group member answers and sees too few others: it accepts no writes.
    GroupWithoutMajority,
    /// A primary answers and cannot write its binary log, such as on a full disk: commits wait.
    PrimaryCannotWriteBinlog,
    /// A primary was started anew with less than it had, such as on an empty disk, and its replicas have
    /// more than it.
    PrimaryLostTransactions,
}

/// What is unwise about the structure around an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StructureWarning {
    /// No replica of a primary logs what it applies.
    NoLoggingReplicas,
    /// Nothing lets replicas of a primary be re-pointed safely.
    NoFailoverSupport,
    /// Replicas that log statements beside replicas that log mixed.
    StatementAndMixedLoggingReplicas,
    /// Replicas that log statements beside replicas that log rows.
    StatementAndRowLoggingReplicas,
    /// Replicas that log mixed beside replicas that log rows.
    MixedAndRowLoggingReplicas,
    /// Replicas that log with different major versions.
    MultipleMajorVersionsLoggingReplicas,
    /// GTID modes differ between an instance and its replicas.
    DifferentGtidModes,
    /// A replica has errant transactions.
    ErrantGtid,
    /// A primary is read-only.
    NoWriteablePrimary,
    /// A primary has fewer semi-sync replicas than it waits for.
    NotEnoughValidSemiSyncReplicas,
    /// Replicas may leave an instance for another source of a list, which nobody is told of.
    ReplicasMayLeave,
    /// Receivers give up for good when an instance is away for a while.
    ReplicasGiveUp,
}
