//! Judges every instance of a cluster by the catalogue.

use super::evidence::{gather, locked_at};
use super::{Analysis, Code, Evidence, catalog};
use crate::cluster::{Cluster, Member};
use crate::instance::HealthStatus;
use crate::ledger::LedgerState;
use crate::policy::Policy;
use crate::recovery::scouts::test_ends_at;
use crate::time::Timestamp;

/// What was found in a cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdicts {
    /// Findings: primaries first, then the cluster's head, then by replicas, most first, then by
    /// name. Instances about which there is nothing to say are left out.
    pub analyses: Vec<Analysis>,
    /// When the passing of time alone may change the findings.
    pub recheck_at: Option<Timestamp>,
}

/// Judges every instance of `cluster`; `cluster.analyses` is not looked at, `before` is.
///
/// An instance that was not probed yet, or has such a replica, is not judged: baton just started,
/// and a verdict on half the evidence would be wrong.
pub fn analyze(
    cluster: &Cluster,
    before: &[Analysis],
    ledger: &LedgerState,
    policy: &Policy,
    now: Timestamp,
) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for member in cluster.members.values() {
        let earlier = before.iter().find(|analysis| analysis.key == *member.key());
        let downtime_end = ledger.downtime_of(member.key(), now).map(|downtime| downtime.ends_at);
        let maintenance_end =
            ledger.maintenance_of(member.key(), now).map(|maintenance| maintenance.ends_at);
        if is_judged(cluster, member, policy) && maintenance_end.is_none() {
            let evidence = gather(cluster, member, earlier, ledger, policy, now);
            let analysis = judge(member, evidence, earlier, downtime_end, policy, now);
            verdicts.analyses.extend(analysis);
        }
        let found = verdicts.analyses.last().filter(|found| found.key == *member.key());
        let lock_end = found
            .filter(|found| found.code == Code::LockedSemiSyncPrimaryHypothesis)
            .and_then(|found| locked_at(&member.instance, Some(found), policy));
        let test_end = test_ends_at(member.key(), ledger).filter(|at| *at > now);
        let next = [downtime_end, maintenance_end, lock_end, test_end].into_iter().flatten();
        verdicts.recheck_at = next.chain(verdicts.recheck_at).min();
    }
    verdicts.analyses.sort_by_key(|found| {
        let is_head = found.key == cluster.head;
        let replicas = std::cmp::Reverse(found.evidence.replicas);
        (!found.evidence.is_primary, !is_head, replicas, found.key.clone())
    });
    verdicts
}

fn is_judged(cluster: &Cluster, member: &Member, policy: &Policy) -> bool {
    let is_known = |member: &Member| member.instance.health.status != HealthStatus::Unprobed;
    is_known(member)
        && member.replicas.iter().filter_map(|key| cluster.member(key)).all(is_known)
        && !policy.recovery_ignore.matches(member.key().host())
}

fn judge(
    member: &Member,
    evidence: Evidence,
    earlier: Option<&Analysis>,
    downtime_ends_at: Option<Timestamp>,
    policy: &Policy,
    now: Timestamp,
) -> Option<Analysis> {
    // Commits wait there for ever, though it has nobody whom that could concern.
    let is_locked = evidence.is_primary && catalog::waits_for_acknowledgements(&evidence);
    let is_of_interest = !evidence.is_valid
        || evidence.is_failing_to_connect
        || evidence.replicas > 0
        || evidence.has_lost_majority
        || evidence.is_log_stuck
        || (is_locked && !evidence.is_read_only);
    if policy.reduce_analysis && !is_of_interest {
        return None;
    }
    let problem = catalog::problem(&evidence, policy);
    let structure = catalog::warnings(&evidence);
    let code = problem.map_or(Code::NoProblem, |problem| problem.code);
    if code == Code::NoProblem && structure.is_empty() {
        return None;
    }
    let replicas_downtimed =
        evidence.replicas > 0 && evidence.downtimed_replicas == evidence.replicas;
    let excused = problem.is_some_and(|problem| problem.excused_by_replica_downtime);
    let since = earlier.filter(|earlier| earlier.code == code).map_or(now, |earlier| earlier.since);
    Some(Analysis {
        key: member.key().clone(),
        code,
        structure,
        evidence,
        downtime_ends_at,
        replicas_downtimed,
        skippable_due_to_downtime: downtime_ends_at.is_some() || (replicas_downtimed && excused),
        since,
    })
}

#[cfg(test)]
mod tests;
