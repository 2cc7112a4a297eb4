//! Clusters as orchestrator lists them.

use baton_topology::cluster::Cluster;
use baton_topology::filter::any_matches;
use baton_topology::policy::Policy;
use baton_topology::snapshot::FleetSnapshot;
use serde::Serialize;

/// A cluster in one line.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClusterInfoJson {
    pub(super) cluster_name: String,
    pub(super) cluster_alias: String,
    pub(super) cluster_domain: String,
    pub(super) count_instances: usize,
    pub(super) heuristic_lag: u64,
    pub(super) has_automated_master_recovery: bool,
    pub(super) has_automated_intermediate_master_recovery: bool,
}

impl ClusterInfoJson {
    /// A cluster of which only the names are known.
    pub(super) fn named(name: &str, alias: &str) -> Self {
        Self {
            cluster_name: name.to_owned(),
            cluster_alias: alias.to_owned(),
            cluster_domain: String::new(),
            count_instances: 0,
            heuristic_lag: 0,
            has_automated_master_recovery: false,
            has_automated_intermediate_master_recovery: false,
        }
    }

    /// Renders a cluster.
    pub(crate) fn of(cluster: &Cluster, policy: &Policy) -> Self {
        Self {
            cluster_name: cluster.name(),
            cluster_alias: cluster.alias.clone(),
            cluster_domain: cluster.domain.clone(),
            count_instances: cluster.members.len(),
            // Declared and never filled by the peer; what it would say is asked of its own route.
            heuristic_lag: 0,
            has_automated_master_recovery: any_matches(&policy.recover_primary, cluster),
            has_automated_intermediate_master_recovery: any_matches(
                &policy.recover_intermediate,
                cluster,
            ),
        }
    }
}

/// All clusters, ordered by name.
pub(crate) fn cluster_infos(fleet: &FleetSnapshot) -> Vec<ClusterInfoJson> {
    let mut infos: Vec<ClusterInfoJson> = fleet
        .clusters
        .values()
        .map(|cluster| ClusterInfoJson::of(cluster, &fleet.policy))
        .collect();
    infos.sort_by(|a, b| a.cluster_name.cmp(&b.cluster_name));
    infos
}
