//! The cluster as a recovery sees it: who was there when it began, with the newest facts.
//!
//! While a recovery moves servers about, they change clusters; the recovery goes on knowing them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::probe::{ProbeResult, fold};
use crate::snapshot::FleetSnapshot;

use super::Recovery;

/// Everybody a recovery has to do with, as the fleet knows them.
pub fn scene(recovery: &Recovery, fleet: &FleetSnapshot) -> Cluster {
    let mut scene = fleet.cluster(&recovery.cluster).map_or_else(
        || Cluster {
            id: recovery.cluster.clone(),
            head: recovery.failed().clone(),
            alias: recovery.cluster_alias.clone(),
            claimed_alias: String::new(),
            domain: recovery.cluster_domain.clone(),
            members: BTreeMap::new(),
            analyses: Vec::new(),
            recheck_at: None,
        },
        |cluster| (**cluster).clone(),
    );
    let named = recovery.replicas.iter().chain([recovery.failed()]).chain(&recovery.wanted);
    for key in named {
        if let Some((_, member)) = fleet.member(key) {
            scene.members.entry(key.clone()).or_insert_with(|| member.clone());
        }
    }
    scene
}

/// Brings in what was just seen. Nobody comes or goes, whatever it says.
pub fn refresh(scene: &mut Cluster, seen: &[ProbeResult]) {
    for result in seen {
        if let Some(member) = scene.members.get_mut(&result.key) {
            member.instance = Arc::new(fold(Some(&member.instance), result));
        }
    }
}
