//! What a recovery itself does to servers is no failure: receivers it stops, a primary it closes and
//! replicas it has not moved yet look like one, and nobody should be told of them.

use std::time::Duration;

use crate::analysis::{Analysis, Code};
use crate::ledger::LedgerState;
use crate::time::Timestamp;

/// So long after its end, what a recovery did may still be what was seen last.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// Whether a finding is of a kind that recoveries make, on a server that one is busy with, or was a
/// moment ago.
pub fn is_of_a_recovery(analysis: &Analysis, ledger: &LedgerState, now: Timestamp) -> bool {
    is_made(analysis.code)
        && ledger.recoveries.values().any(|it| {
            let is_recent = it.ended_at.is_none_or(|at| now.since(at) < SEEN_WITHIN);
            let takes_part = *it.failed() == analysis.key
                || it.successor.as_ref() == Some(&analysis.key)
                || it.replicas.contains(&analysis.key);
            is_recent && takes_part
        })
}

/// A dead server is dead, whatever is done meanwhile.
fn is_made(code: Code) -> bool {
    match code {
        Code::NoWriteablePrimary
        | Code::PrimarySingleReplicaNotReplicating
        | Code::AllPrimaryReplicasNotReplicating
        | Code::AllPrimaryReplicasNotReplicatingOrDead
        | Code::AllCoPrimaryReplicasNotReplicating
        | Code::AllIntermediateSourceReplicasFailingToConnectOrDead
        | Code::AllIntermediateSourceReplicasNotReplicating
        | Code::FirstTierReplicaFailingToConnectToPrimary
        | Code::LockedSemiSyncPrimary
        | Code::LockedSemiSyncPrimaryHypothesis
        | Code::PrimaryWithTooManySemiSyncReplicas => true,
        Code::NoProblem
        | Code::InaccessiblePrimary
        | Code::InaccessibleCoPrimary
        | Code::InaccessibleIntermediateSource
        | Code::NeverSeenPrimary
        | Code::DeadPrimaryWithoutReplicas
        | Code::DeadPrimary
        | Code::DeadPrimaryAndReplicas
        | Code::DeadPrimaryAndSomeReplicas
        | Code::UnreachablePrimaryWithLaggingReplicas
        | Code::UnreachablePrimary
        | Code::PrimarySingleReplicaDead
        | Code::DeadCoPrimary
        | Code::DeadCoPrimaryAndSomeReplicas
        | Code::UnreachableCoPrimary
        | Code::DeadIntermediateSourceWithSingleReplicaFailingToConnect
        | Code::DeadIntermediateSourceWithSingleReplica
        | Code::DeadIntermediateSource
        | Code::DeadIntermediateSourceAndSomeReplicas
        | Code::DeadIntermediateSourceAndReplicas
        | Code::UnreachableIntermediateSourceWithLaggingReplicas
        | Code::UnreachableIntermediateSource
        | Code::BinlogServerFailingToConnectToSource
        | Code::DeadGroupMemberWithReplicas
        | Code::UnreachableGroupMemberWithReplicas
        | Code::GroupWithoutMajority
        | Code::PrimaryCannotWriteBinlog
        | Code::PrimaryLostTransactions => false,
    }
}
