//! The problems and structure warnings baton knows, as data.
//!
//! The first problem whose condition holds is the verdict, so order matters. The descriptions are
//! part of the interface: hooks and programs match on them.

use super::{Code, Evidence, StructureWarning};
use crate::policy::Policy;

/// What baton does about a problem of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// It is shown.
    Show,
    /// It is recorded as a detected failure, and nothing is done.
    Detect,
    /// It is recorded, and there is a recovery for it.
    Recover,
}

/// One problem baton knows.
#[derive(Debug)]
pub struct Problem {
    /// Its code.
    pub code: Code,
    /// What a person reads.
    pub description: &'static str,
    /// What baton does about it, where it is let.
    response: Response,
    /// Whether downtime of all replicas excuses it.
    pub excused_by_replica_downtime: bool,
    /// When it holds.
    condition: fn(&Evidence, &Policy) -> bool,
}

impl Problem {
    /// What baton does about it of its own accord, by these rules.
    pub fn response(&self, policy: &Policy) -> Response {
        let is_let = policy.enforce_exact_semi_sync_replicas || policy.recover_locked_semi_sync;
        match self.code {
            // Which replicas should acknowledge is only known where somebody said so.
            Code::LockedSemiSyncPrimary if !is_let => Response::Detect,
            _ => self.response,
        }
    }
}

/// One structure warning baton knows.
#[derive(Debug)]
pub struct Warning {
    /// Its name.
    pub warning: StructureWarning,
    /// When it holds.
    condition: fn(&Evidence) -> bool,
}

/// Problems of group members, which have no others.
const GROUPS: [Code; 3] = [
    Code::DeadGroupMemberWithReplicas,
    Code::UnreachableGroupMemberWithReplicas,
    Code::GroupWithoutMajority,
];

/// The first problem that holds.
pub fn problem(evidence: &Evidence, policy: &Policy) -> Option<&'static Problem> {
    PROBLEMS.iter().find(|problem| {
        let for_group_members = GROUPS.contains(&problem.code);
        evidence.is_group_member == for_group_members && (problem.condition)(evidence, policy)
    })
}

/// All structure warnings that hold, in catalogue order.
pub fn warnings(evidence: &Evidence) -> Vec<StructureWarning> {
    WARNINGS.iter().filter(|entry| (entry.condition)(evidence)).map(|entry| entry.warning).collect()
}

/// The catalogue entry of a code; `None` for [`Code::NoProblem`].
pub fn entry(code: Code) -> Option<&'static Problem> {
    PROBLEMS.iter().find(|problem| problem.code == code)
}

/// The description of a code; empty for [`Code::NoProblem`].
pub fn description(code: Code) -> &'static str {
    entry(code).map_or("", |problem| problem.description)
}

const fn row(
    code: Code,
    response: Response,
    description: &'static str,
    condition: fn(&Evidence, &Policy) -> bool,
) -> Problem {
    Problem { code, description, response, excused_by_replica_downtime: false, condition }
}

const fn excusable(problem: Problem) -> Problem {
    Problem { excused_by_replica_downtime: true, ..problem }
}

use Response::{Detect, Recover, Show};

/// All replicas answer, and none hears of it.
fn all_answer_none_receives(e: &Evidence) -> bool {
    e.valid_replicas == e.replicas && e.receiving_replicas == 0
}

/// Some replicas answer and some do not, and none hears of it.
fn some_answer_none_receives(e: &Evidence) -> bool {
    e.valid_replicas > 0 && e.valid_replicas < e.replicas && e.receiving_replicas == 0
}

/// All replicas answer, and none replicates.
fn all_answer_none_replicates(e: &Evidence) -> bool {
    e.valid_replicas == e.replicas && e.replicating_replicas == 0
}

/// Some replicas answer and some do not, and none replicates.
fn some_answer_none_replicates(e: &Evidence) -> bool {
    e.valid_replicas > 0 && e.valid_replicas < e.replicas && e.replicating_replicas == 0
}

/// Every replica lags, and not just because all are configured to.
fn all_lag(e: &Evidence) -> bool {
    e.lagging_replicas == e.replicas
        && e.delayed_replicas < e.replicas
        && e.replicating_replicas > 0
}

/// Nothing answered, yet replicas hear of it. Half an answer is no news while they replicate.
fn out_of_sight_but_receiving(e: &Evidence) -> bool {
    let is_half_seen = e.is_partially_valid && e.replicating_replicas > 0;
    !e.is_valid && !is_half_seen && e.receiving_replicas > 0
}

/// Semi-sync is on and waits for more acknowledgements than there can be.
pub(super) fn waits_for_acknowledgements(e: &Evidence) -> bool {
    e.semi_sync_enabled
        && e.semi_sync_active
        && e.semi_sync_wait_for > 0
        && e.semi_sync_clients < e.semi_sync_wait_for
}

/// Neither at the top nor in a ring of two: rows for rings come first.
fn is_below(e: &Evidence) -> bool {
    !e.is_primary
}

/// Every problem, in the order they are judged.
pub static PROBLEMS: [Problem; 38] = [
    // Whoever answers lives, even if the answer is no.
    row(
        Code::InaccessiblePrimary,
        Show,
        "Master answers orchestrator but does not let it in; it is alive",
        |e, _| e.is_primary && e.is_refusing,
    ),
    row(
        Code::InaccessibleCoPrimary,
        Show,
        "Co-master answers orchestrator but does not let it in; it is alive",
        |e, _| e.is_co_primary && e.is_refusing,
    ),
    row(
        Code::InaccessibleIntermediateSource,
        Show,
        "Intermediate master answers orchestrator but does not let it in; it is alive",
        |e, _| is_below(e) && e.is_refusing && e.replicas > 0,
    ),
    row(
        Code::PrimaryCannotWriteBinlog,
        Detect,
        "Master answers but cannot write its binary log, such as on a full disk; commits wait",
        |e, _| e.is_primary && e.is_log_stuck && !e.is_read_only,
    ),
    // What nobody has ever seen cannot be seen to be gone.
    row(
        Code::NeverSeenPrimary,
        Show,
        "Master has never been reached by orchestrator; whether it is alive is not known",
        |e, _| e.is_primary && !e.is_valid && !e.was_seen && e.replicas > 0,
    ),
    row(
        Code::DeadPrimaryWithoutReplicas,
        Show,
        "Master cannot be reached by orchestrator and has no replica",
        |e, _| e.is_primary && !e.is_valid && e.replicas == 0,
    ),
    row(
        Code::DeadPrimary,
        Recover,
        "Master cannot be reached by orchestrator and none of its replicas is replicating",
        |e, _| e.is_primary && !e.is_valid && all_answer_none_receives(e),
    ),
    row(
        Code::DeadPrimaryAndReplicas,
        Detect,
        "Master cannot be reached by orchestrator and none of its replicas is replicating",
        |e, _| e.is_primary && !e.is_valid && e.replicas > 0 && e.valid_replicas == 0,
    ),
    row(
        Code::DeadPrimaryAndSomeReplicas,
        Recover,
        "Master cannot be reached by orchestrator; some of its replicas are unreachable and none of its reachable replicas is replicating",
        |e, _| e.is_primary && !e.is_valid && some_answer_none_receives(e),
    ),
    row(
        Code::UnreachablePrimaryWithLaggingReplicas,
        Detect,
        "Master cannot be reached by orchestrator and all of its replicas are lagging",
        |e, _| e.is_primary && !e.is_valid && all_lag(e),
    ),
    row(
        Code::UnreachablePrimary,
        Detect,
        "Master cannot be reached by orchestrator but it has replicating replicas; possibly a network/host issue",
        |e, _| {
            let half_seen = !e.is_valid
                && e.is_partially_valid
                && e.failing_to_connect_replicas > 0
                && e.valid_replicas > 0
                && e.replicating_replicas > 0;
            e.is_primary && (out_of_sight_but_receiving(e) || half_seen)
        },
    ),
    // Before the one that is opened: whoever came back empty must not be.
    row(
        Code::PrimaryLostTransactions,
        Show,
        "Master came back with less than it had, such as with an empty disk; its replicas have more than it",
        |e, _| {
            let is_released_first = waits_for_acknowledgements(e) && !e.is_read_only;
            e.is_primary && e.is_valid && e.lost_transactions > 0 && !is_released_first
        },
    ),
    // Before those about semi-sync: nobody waits for acknowledgements where nobody may write.
    row(Code::NoWriteablePrimary, Recover, "Master with replicas is read_only", |e, policy| {
        policy.recover_non_writeable_primary
            && e.is_primary
            && e.is_valid
            && e.is_read_only
            && e.replicating_replicas > 0
    }),
    row(
        Code::LockedSemiSyncPrimary,
        Recover,
        "Semi sync master is locked since it doesn't get enough replica acknowledgements",
        |e, _| e.is_primary && waits_for_acknowledgements(e) && e.is_binlog_stale,
    ),
    row(
        Code::LockedSemiSyncPrimaryHypothesis,
        Show,
        "Semi sync master seems to be locked, more samplings needed to validate",
        |e, _| e.is_primary && waits_for_acknowledgements(e),
    ),
    row(
        Code::PrimaryWithTooManySemiSyncReplicas,
        Recover,
        "Semi sync master has more semi sync replicas than configured",
        |e, policy| {
            policy.enforce_exact_semi_sync_replicas
                && e.is_primary
                && e.semi_sync_enabled
                && e.semi_sync_active
                && e.semi_sync_wait_for > 0
                && e.semi_sync_clients > e.semi_sync_wait_for
        },
    ),
    row(
        Code::PrimarySingleReplicaNotReplicating,
        Show,
        "Master is reachable but its single replica is not replicating",
        |e, _| e.is_primary && e.is_valid && e.replicas == 1 && all_answer_none_replicates(e),
    ),
    excusable(row(
        Code::PrimarySingleReplicaDead,
        Show,
        "Master is reachable but its single replica is dead",
        |e, _| e.is_primary && e.is_valid && e.replicas == 1 && e.valid_replicas == 0,
    )),
    excusable(row(
        Code::AllPrimaryReplicasNotReplicating,
        Detect,
        "Master is reachable but none of its replicas is replicating",
        |e, _| e.is_primary && e.is_valid && e.replicas > 1 && all_answer_none_replicates(e),
    )),
    excusable(row(
        Code::AllPrimaryReplicasNotReplicatingOrDead,
        Detect,
        "Master is reachable but none of its replicas is replicating",
        |e, _| e.is_primary && e.is_valid && e.replicas > 1 && some_answer_none_replicates(e),
    )),
    row(
        Code::DeadCoPrimary,
        Recover,
        "Co-master cannot be reached by orchestrator and none of its replicas is replicating",
        |e, _| e.is_co_primary && !e.is_valid && e.replicas > 0 && all_answer_none_receives(e),
    ),
    row(
        Code::DeadCoPrimaryAndSomeReplicas,
        Recover,
        "Co-master cannot be reached by orchestrator; some of its replicas are unreachable and none of its reachable replicas is replicating",
        |e, _| e.is_co_primary && !e.is_valid && some_answer_none_receives(e),
    ),
    row(
        Code::UnreachableCoPrimary,
        Show,
        "Co-master cannot be reached by orchestrator but it has replicating replicas; possibly a network/host issue",
        |e, _| e.is_co_primary && out_of_sight_but_receiving(e),
    ),
    excusable(row(
        Code::AllCoPrimaryReplicasNotReplicating,
        Show,
        "Co-master is reachable but none of its replicas is replicating",
        |e, _| e.is_co_primary && e.is_valid && e.replicas > 0 && e.replicating_replicas == 0,
    )),
    excusable(row(
        Code::DeadIntermediateSourceWithSingleReplicaFailingToConnect,
        Recover,
        "Intermediate master cannot be reached by orchestrator and its (single) replica is failing to connect",
        |e, _| {
            is_below(e)
                && !e.is_valid
                && e.replicas == 1
                && e.failing_to_connect_replicas == e.replicas
                && all_answer_none_receives(e)
        },
    )),
    excusable(row(
        Code::DeadIntermediateSourceWithSingleReplica,
        Show,
        "Intermediate master cannot be reached by orchestrator and its (single) replica is not replicating",
        |e, _| is_below(e) && !e.is_valid && e.replicas == 1 && all_answer_none_receives(e),
    )),
    row(
        Code::DeadIntermediateSource,
        Recover,
        "Intermediate master cannot be reached by orchestrator and none of its replicas is replicating",
        |e, _| is_below(e) && !e.is_valid && e.replicas > 1 && all_answer_none_receives(e),
    ),
    excusable(row(
        Code::DeadIntermediateSourceAndSomeReplicas,
        Recover,
        "Intermediate master cannot be reached by orchestrator; some of its replicas are unreachable and none of its reachable replicas is replicating",
        |e, _| is_below(e) && !e.is_valid && some_answer_none_receives(e),
    )),
    excusable(row(
        Code::DeadIntermediateSourceAndReplicas,
        Detect,
        "Intermediate master cannot be reached by orchestrator and all of its replicas are unreachable",
        |e, _| is_below(e) && !e.is_valid && e.replicas > 0 && e.valid_replicas == 0,
    )),
    row(
        Code::UnreachableIntermediateSourceWithLaggingReplicas,
        Detect,
        "Intermediate master cannot be reached by orchestrator and all of its replicas are lagging",
        |e, _| is_below(e) && !e.is_valid && all_lag(e),
    ),
    row(
        Code::UnreachableIntermediateSource,
        Show,
        "Intermediate master cannot be reached by orchestrator but it has replicating replicas; possibly a network/host issue",
        |e, _| is_below(e) && out_of_sight_but_receiving(e),
    ),
    excusable(row(
        Code::AllIntermediateSourceReplicasFailingToConnectOrDead,
        Recover,
        "Intermediate master is reachable but all of its replicas are failing to connect",
        |e, _| {
            is_below(e)
                && e.is_valid
                && e.replicas > 1
                && e.replicating_replicas == 0
                && e.failing_to_connect_replicas > 0
                && e.failing_to_connect_replicas == e.valid_replicas
        },
    )),
    excusable(row(
        Code::AllIntermediateSourceReplicasNotReplicating,
        Show,
        "Intermediate master is reachable but none of its reachable replicas is replicating",
        |e, _| {
            is_below(e)
                && e.is_valid
                && e.replicas > 0
                && e.valid_replicas > 0
                && e.replicating_replicas == 0
        },
    )),
    row(
        Code::BinlogServerFailingToConnectToSource,
        Show,
        "Binlog server is unable to connect to its master",
        |e, _| e.is_binlog_server && e.is_failing_to_connect,
    ),
    row(
        Code::FirstTierReplicaFailingToConnectToPrimary,
        Show,
        "1st tier replica (directly replicating from topology master) is unable to connect to the master",
        |e, _| e.depth == 1 && e.is_failing_to_connect,
    ),
    row(
        Code::DeadGroupMemberWithReplicas,
        Recover,
        "Group member is unreachable and all its reachable replicas are not replicating",
        |e, _| !e.is_valid && !e.is_refusing && e.replicas > 0 && e.receiving_replicas == 0,
    ),
    row(
        Code::UnreachableGroupMemberWithReplicas,
        Show,
        "Group member cannot be reached but it has replicating replicas; possibly a network/host issue",
        |e, _| !e.is_refusing && out_of_sight_but_receiving(e),
    ),
    row(
        Code::GroupWithoutMajority,
        Detect,
        "Group member sees too few of the other members and accepts no writes",
        |e, _| e.is_valid && e.has_lost_majority,
    ),
];

const fn warn(warning: StructureWarning, condition: fn(&Evidence) -> bool) -> Warning {
    Warning { warning, condition }
}

/// Every structure warning, in the order they are listed.
pub static WARNINGS: [Warning; 12] = [
    warn(StructureWarning::NoLoggingReplicas, |e| {
        e.is_primary && e.logging_replicas == 0 && e.replicas > 1
    }),
    warn(StructureWarning::NoFailoverSupport, |e| {
        e.is_primary && e.replicas > 1 && !e.mysql_gtid_topology && !e.mariadb_gtid_topology
    }),
    warn(StructureWarning::StatementAndMixedLoggingReplicas, |e| {
        e.is_primary && e.statement_logging_replicas > 0 && e.mixed_logging_replicas > 0
    }),
    warn(StructureWarning::StatementAndRowLoggingReplicas, |e| {
        e.is_primary && e.statement_logging_replicas > 0 && e.row_logging_replicas > 0
    }),
    warn(StructureWarning::MixedAndRowLoggingReplicas, |e| {
        e.is_primary && e.mixed_logging_replicas > 0 && e.row_logging_replicas > 0
    }),
    warn(StructureWarning::MultipleMajorVersionsLoggingReplicas, |e| {
        e.is_primary && e.logging_major_versions > 1
    }),
    warn(StructureWarning::DifferentGtidModes, |e| {
        e.replicas > 0
            && (e.gtid_mode != e.min_replica_gtid_mode || e.gtid_mode != e.max_replica_gtid_mode)
    }),
    warn(StructureWarning::ErrantGtid, |e| !e.replica_errant_gtid.is_empty()),
    warn(StructureWarning::NoWriteablePrimary, |e| e.is_primary && e.is_read_only),
    warn(StructureWarning::NotEnoughValidSemiSyncReplicas, |e| {
        e.is_primary
            && e.semi_sync_enabled
            && !e.semi_sync_active
            && e.semi_sync_wait_for > 0
            && e.semi_sync_clients < e.semi_sync_wait_for
    }),
    warn(StructureWarning::ReplicasMayLeave, |e| e.leaving_replicas > 0),
    warn(StructureWarning::ReplicasGiveUp, |e| e.impatient_replicas > 0),
];
