//! What readers have been told, and what is different now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baton_topology::cluster::{Cluster, ClusterId, Member};
use baton_topology::key::InstanceKey;
use baton_topology::recovery::Recovery;
use baton_topology::recovery::aftermath::{Aftermath, aftermaths};
use baton_topology::recovery::gate::Runner;
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;

use super::whole::WholeJson;
use crate::view::{ClusterRow, InstanceRow, RecoveryRow, Rows, State, moment, newest_recoveries};

/// How much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// What the snapshot does not share with the one before.
    Changed,
    /// Everything: some of what is shown changes by the passing of time alone.
    All,
}

/// What readers have been told.
pub(super) struct Seen {
    runner: Runner,
    fleet: Option<Arc<FleetSnapshot>>,
    clusters: BTreeMap<ClusterId, Arc<ClusterRow>>,
    instances: BTreeMap<InstanceKey, Arc<InstanceRow>>,
    recoveries: BTreeMap<u64, Arc<Recovery>>,
    /// What failovers left behind.
    left: Vec<Aftermath>,
    state: State,
    /// When that was.
    at: Timestamp,
}

impl Seen {
    /// Nothing yet; `runner` is the node that would recover.
    pub(super) fn new(runner: Runner) -> Self {
        Self {
            runner,
            fleet: None,
            clusters: BTreeMap::new(),
            instances: BTreeMap::new(),
            recoveries: BTreeMap::new(),
            left: Vec::new(),
            state: State::default(),
            at: Timestamp::EPOCH,
        }
    }

    /// Everything readers have been told, up to the event of this name.
    pub(super) fn whole(&self, event: String) -> WholeJson<'_> {
        let newest_first = self.recoveries.values().rev();
        WholeJson {
            token: &self.runner.token,
            node: &self.runner.node,
            event,
            generation: self.generation(),
            at: moment(self.at),
            state: &self.state,
            clusters: self.clusters.values().map(|row| &**row).collect(),
            instances: self.instances.values().map(|row| &**row).collect(),
            recoveries: newest_first.map(RecoveryRow::of).collect(),
        }
    }

    /// The number of the newest snapshot that was looked at.
    pub(super) fn generation(&self) -> u64 {
        self.fleet.as_ref().map_or(0, |fleet| fleet.generation)
    }

    /// What is different in `fleet`; readers are taken to be told of it.
    pub(super) fn advance(
        &mut self,
        fleet: &Arc<FleetSnapshot>,
        look: Look,
        now: Timestamp,
    ) -> Rows {
        self.at = now;
        let before = self.fleet.replace(Arc::clone(fleet));
        let before = before.as_deref();
        let is_same_ledger = before.is_some_and(|it| Arc::ptr_eq(&it.ledger, &fleet.ledger));
        let is_same_policy = before.is_some_and(|it| Arc::ptr_eq(&it.policy, &fleet.policy));
        let look = if is_same_ledger && is_same_policy { look } else { Look::All };
        let mut rows = Rows::none(fleet, now);
        let left = aftermaths(fleet);
        // A former primary may be in another cluster than the one that it left something in.
        let has_left = |id: &ClusterId| self.left.iter().chain(&left).any(|it| it.cluster == *id);
        let suspects: BTreeSet<ClusterId> =
            fleet.clusters.keys().filter(|id| has_left(id)).cloned().collect();
        for cluster in fleet.clusters.values() {
            let known = before.and_then(|it| it.clusters.get(&cluster.id));
            let is_same = known.is_some_and(|known| Arc::ptr_eq(known, cluster));
            if !is_same || look == Look::All || suspects.contains(&cluster.id) {
                let before = known.map(|it| &**it);
                self.compare(cluster, before, (fleet, &left), (look, now), &mut rows);
            }
        }
        self.left = left;
        self.let_go(fleet, &mut rows);
        if !is_same_ledger {
            self.compare_recoveries(fleet, &mut rows);
        }
        let state = State::of(fleet, now);
        if state != self.state {
            self.state = state.clone();
            rows.state = Some(state);
        }
        rows
    }

    fn compare(
        &mut self,
        cluster: &Cluster,
        before: Option<&Cluster>,
        (fleet, left): (&FleetSnapshot, &[Aftermath]),
        (look, now): (Look, Timestamp),
        rows: &mut Rows,
    ) {
        let row = ClusterRow::of(cluster, (fleet, left), &self.runner, now);
        if self.clusters.get(&cluster.id).is_none_or(|known| **known != row) {
            let row = Arc::new(row);
            self.clusters.insert(cluster.id.clone(), Arc::clone(&row));
            rows.clusters.push(row);
        }
        for (key, member) in &cluster.members {
            let known = before.and_then(|it| it.member(key));
            if look == Look::Changed && known.is_some_and(|known| is_untouched(known, member)) {
                continue;
            }
            let row = InstanceRow::of(cluster, member, fleet, now);
            if self.instances.get(key).is_none_or(|known| **known != row) {
                let row = Arc::new(row);
                self.instances.insert(key.clone(), Arc::clone(&row));
                rows.instances.push(row);
            }
        }
    }

    /// Tells of what is no more.
    fn let_go(&mut self, fleet: &FleetSnapshot, rows: &mut Rows) {
        if self.clusters.len() > fleet.clusters.size() {
            self.clusters.retain(|id, row| {
                let stays = fleet.clusters.contains_key(id);
                if !stays {
                    rows.gone_clusters.push(row.id.clone());
                }
                stays
            });
        }
        if self.instances.len() > fleet.instance_count() {
            self.instances.retain(|key, row| {
                let stays = fleet.cluster_of.contains_key(key);
                if !stays {
                    rows.gone_instances.push(row.key.clone());
                }
                stays
            });
        }
    }

    fn compare_recoveries(&mut self, fleet: &FleetSnapshot, rows: &mut Rows) {
        let mut shown = BTreeSet::new();
        for recovery in newest_recoveries(fleet) {
            shown.insert(recovery.id);
            let known = self.recoveries.get(&recovery.id);
            if known.is_none_or(|known| !Arc::ptr_eq(known, recovery)) {
                self.recoveries.insert(recovery.id, Arc::clone(recovery));
                rows.recoveries.push(RecoveryRow::of(recovery));
            }
        }
        self.recoveries.retain(|id, _| shown.contains(id));
    }
}

/// Whether a row of it could not be different, everything outside of the cluster being the same.
fn is_untouched(before: &Member, now: &Member) -> bool {
    Arc::ptr_eq(&before.instance, &now.instance)
        && before.source == now.source
        && before.depth == now.depth
        && before.is_co_primary == now.is_co_primary
        && before.replicas.is_empty() == now.replicas.is_empty()
        && before.errant == now.errant
        && before.errant_on_mariadb == now.errant_on_mariadb
}

#[cfg(test)]
mod tests {
    use baton_topology::fleet::{FleetInput, advance};
    use baton_topology::ledger::{Command, apply};
    use baton_topology::testing::{answered, key, primary_facts, refused, replica_facts};

    use super::*;

    fn next(fleet: &FleetSnapshot, inputs: Vec<FleetInput>, now: i64) -> Arc<FleetSnapshot> {
        Arc::new(advance(fleet, inputs, Timestamp::from_secs(now)).snapshot)
    }

    fn probed(name: &str, at: i64) -> FleetInput {
        let facts = match name {
            "p" => primary_facts(),
            _ => baton_topology::instance::Facts { server_id: 2, ..replica_facts(&key("p")) },
        };
        FleetInput::Probed(answered(name, at, facts))
    }

    fn told(rows: &Rows) -> String {
        let rows = serde_json::to_value(rows).unwrap();
        let names = |list: &str, field: &str| -> Vec<String> {
            let list = rows[list].as_array().cloned().unwrap_or_default();
            list.iter().map(|it| it[field].as_str().unwrap_or_default().to_owned()).collect()
        };
        let gone: Vec<String> = rows["GoneInstances"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|it| format!("-{}", it.as_str().unwrap_or_default()))
            .collect();
        [names("Clusters", "Alias"), names("Instances", "Key"), gone].concat().join(" ")
    }

    #[test]
    fn only_what_looks_different_is_told() {
        let runner = Runner { uid: "".into(), node: "n".into(), token: "t".into() };
        let mut seen = Seen::new(runner);
        let at = Timestamp::from_secs;
        let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
        let fleet = next(&empty, vec![probed("p", 10), probed("r", 10)], 10);
        let rows = seen.advance(&fleet, Look::All, at(10));
        assert_eq!(told(&rows), "p:3306 p:3306 r:3306", "all of it at first");

        let fleet = next(&fleet, vec![probed("p", 11), probed("r", 11)], 11);
        let rows = seen.advance(&fleet, Look::Changed, at(11));
        assert!(rows.is_empty(), "a look that finds what it found before is no news");

        let fleet = next(&fleet, vec![FleetInput::Probed(refused("r", 12))], 12);
        let rows = seen.advance(&fleet, Look::Changed, at(12));
        assert_eq!(told(&rows), "p:3306 r:3306", "the cluster has a finding, the instance is down");

        let downtime = baton_topology::ledger::Downtime {
            owner: "ann".into(),
            reason: "work".into(),
            begins_at: at(13),
            ends_at: at(20),
        };
        let command = Command::BeginDowntime { key: key("p"), downtime };
        let (ledger, _) = apply(&fleet.ledger, &command).unwrap();
        let fleet = next(&fleet, vec![FleetInput::Ledger(Arc::new(ledger))], 13);
        let rows = seen.advance(&fleet, Look::Changed, at(13));
        assert!(told(&rows).contains("p:3306"), "what people set is shown: {}", told(&rows));
        assert!(rows.state.is_some());

        let rows = seen.advance(&fleet, Look::Changed, at(21));
        assert!(rows.is_empty(), "nobody looked for what time alone changes");
        let rows = seen.advance(&fleet, Look::All, at(21));
        assert!(told(&rows).contains("p:3306"), "now somebody did: {}", told(&rows));

        let fleet = next(&fleet, vec![FleetInput::Forgotten(vec![key("r")])], 22);
        let rows = seen.advance(&fleet, Look::Changed, at(22));
        assert!(told(&rows).ends_with("-r:3306"), "{}", told(&rows));
    }
}
