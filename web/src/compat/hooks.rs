//! What user processes are told of a recovery, in the words their scripts know.

use baton_topology::analysis::catalog::description;
use baton_topology::filter::{ClusterFilter, any_matches};
use baton_topology::hooks::{HookContext, RecoveryFacts, Successor};
use baton_topology::recovery::Recovery;
use baton_topology::snapshot::FleetSnapshot;

use super::analysis::{code_name, command_hint};

/// Tells a recovery in the words of hooks.
pub fn hook_context(recovery: &Recovery, fleet: &FleetSnapshot) -> HookContext {
    let evidence = &recovery.analysis.evidence;
    let cluster = fleet.cluster(&recovery.cluster);
    let acts = |filters: &[ClusterFilter]| {
        cluster.is_some_and(|cluster| any_matches(filters, cluster))
            || filters.iter().any(|it| it.matches(&recovery.cluster_name, &recovery.cluster_alias))
    };
    // Who is to take over in peace is known from the beginning.
    let designated = recovery.wanted.as_ref();
    let designated = designated.filter(|_| recovery.cause.is_takeover() && recovery.is_running());
    let successor = recovery.successor.as_ref().or(designated);
    HookContext::Recovery(Box::new(RecoveryFacts {
        failure_type: code_name(recovery.analysis.code).to_owned(),
        instance_type: match evidence {
            it if it.is_co_primary => "co-master",
            it if it.is_group_member => "group-member",
            it if it.is_primary => "master",
            _ => "intermediate-master",
        }
        .to_owned(),
        is_primary: evidence.is_primary,
        is_co_primary: evidence.is_co_primary,
        description: description(recovery.analysis.code).to_owned(),
        command: command_hint(recovery.cause).to_owned(),
        failed: recovery.failed().clone(),
        cluster_name: recovery.cluster_name.clone(),
        cluster_alias: recovery.cluster_alias.clone(),
        cluster_domain: recovery.cluster_domain.clone(),
        replica_count: recovery.replicas.len(),
        is_downtimed: recovery.analysis.downtime_ends_at.is_some(),
        auto_recover_primary: acts(&fleet.policy.recover_primary),
        auto_recover_intermediate: acts(&fleet.policy.recover_intermediate),
        node_name: recovery.node.clone(),
        recovery_uid: recovery.uid.to_string(),
        is_successful: recovery.successor.is_some(),
        lost_replicas: recovery.lost.clone(),
        lost_transaction_count: recovery.loss().map_or(0, |it| it.count),
        lost_transactions: recovery.loss().map(|it| it.known.clone()).unwrap_or_default(),
        is_fenced: recovery.fenced,
        replicas: recovery.replicas.clone(),
        successor: successor.map(|key| {
            let facts = fleet.instance(key).map(|instance| &instance.facts);
            Successor {
                key: key.clone(),
                coordinates: facts.map(|it| it.binlog.position.clone()).unwrap_or_default(),
                alias: facts.map(|it| it.alias.clone()).unwrap_or_default(),
            }
        }),
    }))
}
