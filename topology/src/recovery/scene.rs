//! The cluster as a recovery sees it: who was there when it began, with the newest facts.
//!
//! While a recovery moves servers about, they change clusters; the recovery goes on knowing them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::{Cluster, Member};
use crate::gtid::{GtidSet, MariaDbState};
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::membership::Membership;
use crate::probe::{ProbeResult, fold};
use crate::snapshot::FleetSnapshot;

use super::{Kind, Recovery};

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
        let known = || fleet.member(key).map(|(_, member)| member.clone());
        let member = || known().unwrap_or_else(|| unseen(key, recovery));
        scene.members.entry(key.clone()).or_insert_with(member);
    }
    scene
}

/// Whoever goes on with a recovery may never have seen some of those it is about: they are silent
/// until they are looked at, not absent.
fn unseen(key: &InstanceKey, recovery: &Recovery) -> Member {
    let is_replica = recovery.replicas.contains(key);
    Member {
        instance: Arc::new(Instance::unprobed(key.clone())),
        source: is_replica.then(|| recovery.failed().clone()),
        membership: Membership::default(),
        replicas: Vec::new(),
        depth: u32::from(is_replica),
        is_co_primary: false,
        ancestry: Vec::new(),
        errant: GtidSet::default(),
        errant_on_mariadb: MariaDbState::default(),
    }
}

/// Brings in what was just seen. Nobody comes or goes, whatever it says.
pub fn refresh(scene: &mut Cluster, seen: &[ProbeResult]) {
    for result in seen {
        if let Some(member) = scene.members.get_mut(&result.key) {
            member.instance = Arc::new(fold(Some(&member.instance), result));
        }
    }
}

/// Why a failover ends before anything is done: a replica that followed what failed was moved
/// elsewhere while hooks ran, so people took matters into their own hands.
pub fn moved_meanwhile(
    recovery: &Recovery,
    scene: &Cluster,
    fleet: &FleetSnapshot,
) -> Option<String> {
    if !matches!(recovery.kind, Kind::Primary | Kind::CoPrimary) {
        return None;
    }
    let failed = recovery.failed();
    let followed =
        |key: &&InstanceKey| scene.member(key).is_some_and(|it| it.source.as_ref() == Some(failed));
    let is_elsewhere = |key: &&InstanceKey| {
        fleet.member(key).is_some_and(|(_, it)| {
            it.instance.is_valid()
                && it.instance.health.facts_from > Some(recovery.begun_at)
                && it.source.as_ref() != Some(failed)
        })
    };
    let moved = recovery.replicas.iter().filter(followed).find(is_elsewhere)?;
    Some(format!("{moved} does not follow {failed} any more: somebody acted meanwhile"))
}
