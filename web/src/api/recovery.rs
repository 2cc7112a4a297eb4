//! What was found to be wrong, now and before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_topology::filter::ClusterFilter;
use baton_topology::history::{DetectionEntry, DetectionSelect};
use baton_topology::ledger::{Command, LedgerState};
use baton_topology::recovery::Recovery;
use baton_topology::recovery::aftermath::aftermaths;

use crate::call::Call;
use crate::compat::{AnalysisJson, RecoveryJson, changelogs};
use crate::reply::{Failure, Outcome, Reply};

pub(super) async fn analysis(call: Call) -> Outcome {
    let key = if call.has("host") { Some(call.key()?) } else { None };
    let of = if call.has("hint") { Some(call.hinted_cluster()?.id.clone()) } else { None };
    let mut found = Vec::new();
    for cluster in call.fleet.clusters.values() {
        if of.as_ref().is_some_and(|id| cluster.id != *id) {
            continue;
        }
        for analysis in &cluster.analyses {
            let Some(member) = cluster.member(&analysis.key) else { continue };
            if key.as_ref().is_none_or(|key| analysis.key == *key) {
                found.push((
                    analysis,
                    AnalysisJson::of(&call.fleet, cluster, member, analysis, call.node(), call.now),
                ));
            }
        }
    }
    let left = aftermaths(&call.fleet);
    let left = left.iter().filter(|it| {
        of.as_ref().is_none_or(|id| it.cluster == *id)
            && key.as_ref().is_none_or(|key| it.former == *key || it.head == *key)
    });
    let left: Vec<AnalysisJson> =
        left.map(|it| AnalysisJson::of_left(&call.fleet, it, call.node(), call.now)).collect();
    // Primaries of all clusters come before everybody else; within, as each cluster orders.
    found.sort_by_key(|(analysis, _)| !analysis.evidence.is_primary);
    let shown: Vec<AnalysisJson> = found.into_iter().map(|(_, shown)| shown).chain(left).collect();
    Reply::ok("Analysis", shown)
}

pub(super) async fn changelog(call: Call) -> Outcome {
    Reply::bare(&changelogs(call.services.history.analysis_changes().await?))
}

pub(super) async fn filters(call: Call) -> Outcome {
    let policy = &call.fleet.policy;
    let clusters = |filters: &[ClusterFilter]| -> Vec<String> {
        filters.iter().map(ToString::to_string).collect()
    };
    let hosts = policy.recovery_ignore.patterns.iter().map(|it| it.as_str().to_owned()).collect();
    let details = BTreeMap::from([
        ("RecoverIntermediateMasterClusterFilters", clusters(&policy.recover_intermediate)),
        ("RecoverMasterClusterFilters", clusters(&policy.recover_primary)),
        ("RecoveryIgnoreHostnameFilters", hosts),
    ]);
    Reply::ok("Automated recovery configuration details", details)
}

pub(super) async fn detections(call: Call) -> Outcome {
    let page = call.page();
    list(&call, DetectionSelect::Page(page)).await
}

pub(super) async fn detections_by_id(call: Call) -> Outcome {
    let id = call.param("id");
    let number = id.parse().map_err(|_| Failure::new(format!("Invalid detection id: {id}")))?;
    list(&call, DetectionSelect::Id(number)).await
}

pub(super) async fn detections_by_alias(call: Call) -> Outcome {
    let select = DetectionSelect::Alias(call.param("alias").to_owned(), call.page());
    list(&call, select).await
}

async fn list(call: &Call, select: DetectionSelect) -> Outcome {
    let found = call.services.history.detections(select).await?;
    let (fleet, block) = (&call.fleet, call.fleet.policy.detection_block);
    let active_since = call.now.minus(block);
    let shown = found.iter().map(|it| {
        let answer = answer_to(it, block, &fleet.ledger).map_or(0, |recovery| recovery.id);
        // Whoever acknowledges what was done about it has seen it.
        let is_seen = fleet.ledger.recoveries.values().any(|recovery| {
            let acknowledged = recovery.acknowledged.as_ref();
            *recovery.failed() == it.analysis.key && acknowledged.is_some_and(|ack| ack.at >= it.at)
        });
        RecoveryJson::of_detection(it, it.at >= active_since && !is_seen, answer)
    });
    Reply::bare(&shown.collect::<Vec<_>>())
}

/// The first recovery from a detected failure, begun before it would have been detected anew.
fn answer_to<'a>(
    detection: &DetectionEntry,
    block: Duration,
    ledger: &'a LedgerState,
) -> Option<&'a Arc<Recovery>> {
    let subject = (&detection.analysis.key, detection.analysis.code);
    let until = detection.at.plus(block);
    let is_answer = |it: &&Arc<Recovery>| it.is_from(subject, detection.at, until);
    ledger.recoveries.values().filter(is_answer).min_by_key(|it| it.begun_at)
}

pub(super) async fn check_global(call: Call) -> Outcome {
    let state = if call.fleet.ledger.recoveries_disabled { "disabled" } else { "enabled" };
    Reply::ok(&format!("Global recoveries {state}"), state)
}

pub(super) async fn disable_global(call: Call) -> Outcome {
    set_global(&call, true).await
}

pub(super) async fn enable_global(call: Call) -> Outcome {
    set_global(&call, false).await
}

async fn set_global(call: &Call, disabled: bool) -> Outcome {
    let state = if disabled { "disabled" } else { "enabled" };
    let kind = if disabled { "disable-global-recoveries" } else { "enable-global-recoveries" };
    let command = Command::SetRecoveriesDisabled { disabled };
    call.change(kind, None, String::new(), command).await?;
    Reply::ok(&format!("Globally {state} recoveries"), state)
}

#[cfg(test)]
mod tests {
    use baton_topology::analysis::Code;
    use baton_topology::analysis::catalog::PROBLEMS;

    use crate::compat::code_name;

    #[test]
    fn every_code_has_a_name_of_its_own() {
        let mut names: Vec<&str> = PROBLEMS.iter().map(|problem| code_name(problem.code)).collect();
        names.push(code_name(Code::NoProblem));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROBLEMS.len() + 1);
    }
}
