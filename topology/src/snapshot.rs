//! The whole fleet at one moment: immutable, cheap to clone, numbered.

use std::collections::BTreeSet;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::cluster::{Cluster, ClusterId, Member};
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::ledger::LedgerState;
use crate::names::HostNames;
use crate::policy::Policy;
use crate::quorum::Polls;
use crate::recovery::Recovery;
use crate::time::Timestamp;

/// The fleet as readers see it. All parts belong to the same moment.
///
/// Cloning shares everything; replacing one cluster in a fleet of thousands copies a few nodes.
#[derive(Debug, Clone)]
pub struct FleetSnapshot {
    /// Grows by one with every published snapshot.
    pub generation: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Clusters by identity.
    pub clusters: RedBlackTreeMapSync<ClusterId, Arc<Cluster>>,
    /// The cluster of every known instance.
    pub cluster_of: RedBlackTreeMapSync<InstanceKey, ClusterId>,
    /// The cluster that bears each alias; only aliases that somebody gave.
    pub alias_owners: RedBlackTreeMapSync<Arc<str>, ClusterId>,
    /// Sources that are named by instances and not known, with the clusters that wait for them.
    pub awaited: RedBlackTreeMapSync<InstanceKey, Arc<BTreeSet<ClusterId>>>,
    /// When the passing of time alone may change findings, and where.
    pub rechecks: RedBlackTreeMapSync<(Timestamp, ClusterId), ()>,
    /// Which names stand for the same host.
    pub names: Arc<HostNames>,
    /// What people and baton itself have set.
    pub ledger: Arc<LedgerState>,
    /// The rules in force.
    pub policy: Arc<Policy>,
    /// What other nodes said of failures that this one found.
    pub polls: Arc<Polls>,
    /// Recoveries that had not begun yet by the clock here when this node learned of them, and
    /// when that was.
    pub early: RedBlackTreeMapSync<u64, Timestamp>,
}

impl FleetSnapshot {
    /// An empty fleet under `policy`.
    pub fn empty(policy: Arc<Policy>, ledger: Arc<LedgerState>, at: Timestamp) -> Self {
        let early = early(&RedBlackTreeMapSync::new_sync(), &ledger, at);
        Self {
            generation: 0,
            at,
            clusters: RedBlackTreeMapSync::new_sync(),
            cluster_of: RedBlackTreeMapSync::new_sync(),
            alias_owners: RedBlackTreeMapSync::new_sync(),
            awaited: RedBlackTreeMapSync::new_sync(),
            rechecks: RedBlackTreeMapSync::new_sync(),
            names: Arc::default(),
            ledger,
            policy,
            polls: Arc::default(),
            early,
        }
    }

    /// Goes on with what was agreed upon by `now`.
    pub fn learn(&mut self, ledger: Arc<LedgerState>, now: Timestamp) {
        self.early = early(&self.early, &ledger, now);
        self.ledger = ledger;
    }

    /// When a recovery began by the clock here, at the latest. That of the node that began it may
    /// be ahead, and nobody is to wait for that.
    pub fn begun_at(&self, recovery: &Recovery) -> Timestamp {
        let learned_at = self.early.get(&recovery.id).copied();
        learned_at.map_or(recovery.begun_at, |at| at.min(recovery.begun_at))
    }

    /// The cluster of that identity.
    pub fn cluster(&self, id: &ClusterId) -> Option<&Arc<Cluster>> {
        self.clusters.get(id)
    }

    /// The cluster an instance belongs to.
    pub fn cluster_with(&self, key: &InstanceKey) -> Option<&Arc<Cluster>> {
        self.cluster_of.get(key).and_then(|id| self.clusters.get(id))
    }

    /// The cluster that people mean by a name or alias: an alias that somebody gave goes before a
    /// name.
    pub fn cluster_named(&self, text: &str) -> Option<&Arc<Cluster>> {
        if let Some(id) = self.alias_owners.get(text) {
            return self.clusters.get(id);
        }
        let head = text.parse::<InstanceKey>().ok()?;
        self.cluster_with(&head).filter(|cluster| cluster.head == head)
    }

    /// An instance in its cluster.
    pub fn member(&self, key: &InstanceKey) -> Option<(&Arc<Cluster>, &Member)> {
        let cluster = self.cluster_with(key)?;
        Some((cluster, cluster.member(key)?))
    }

    /// An instance.
    pub fn instance(&self, key: &InstanceKey) -> Option<&Arc<Instance>> {
        self.member(key).map(|(_, member)| &member.instance)
    }

    /// All members with their clusters, ordered by cluster identity, then name.
    pub fn members(&self) -> impl Iterator<Item = (&Arc<Cluster>, &Member)> {
        self.clusters
            .values()
            .flat_map(|cluster| cluster.members.values().map(move |member| (cluster, member)))
    }

    /// How many instances are known.
    pub fn instance_count(&self) -> usize {
        self.cluster_of.size()
    }
}

/// Recoveries of `ledger` that were early when they were first seen, given those seen so far.
fn early(
    seen: &RedBlackTreeMapSync<u64, Timestamp>,
    ledger: &LedgerState,
    now: Timestamp,
) -> RedBlackTreeMapSync<u64, Timestamp> {
    let at =
        |it: &Recovery| seen.get(&it.id).copied().or_else(|| (it.begun_at > now).then_some(now));
    ledger.recoveries.iter().filter_map(|(id, it)| Some((*id, at(it)?))).collect()
}
