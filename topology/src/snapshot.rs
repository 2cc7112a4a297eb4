//! The whole fleet at one moment: immutable, cheap to clone, numbered.

use std::collections::BTreeSet;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::cluster::{Cluster, ClusterId, Member};
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::ledger::LedgerState;
use crate::ledger::clocks::{Known, by_clock_here};
use crate::names::HostNames;
use crate::policy::Policy;
use crate::quorum::Polls;
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
    /// What people and baton itself have set. Nothing in it has happened later than this node
    /// learned of it, whatever the clock said of the node that led.
    pub ledger: Arc<LedgerState>,
    /// The rules in force.
    pub policy: Arc<Policy>,
    /// What other nodes said of failures that this one found.
    pub polls: Arc<Polls>,
    /// Which share of the last seconds threads of this node were not able to run, in percent.
    pub runtime_delay_percent: u8,
    /// The ledger as it was agreed upon, in the times of those who wrote it.
    pub agreed: Arc<LedgerState>,
}

impl FleetSnapshot {
    /// An empty fleet under `policy`.
    pub fn empty(policy: Arc<Policy>, ledger: Arc<LedgerState>, at: Timestamp) -> Self {
        Self {
            generation: 0,
            at,
            clusters: RedBlackTreeMapSync::new_sync(),
            cluster_of: RedBlackTreeMapSync::new_sync(),
            alias_owners: RedBlackTreeMapSync::new_sync(),
            awaited: RedBlackTreeMapSync::new_sync(),
            rechecks: RedBlackTreeMapSync::new_sync(),
            names: Arc::default(),
            ledger: by_clock_here(&ledger, None, at),
            policy,
            polls: Arc::default(),
            runtime_delay_percent: 0,
            agreed: ledger,
        }
    }

    /// Goes on with what was agreed upon, learned at `now`.
    pub fn learn(&mut self, agreed: Arc<LedgerState>, now: Timestamp) {
        let before = Known { agreed: &self.agreed, here: &self.ledger };
        self.ledger = by_clock_here(&agreed, Some(&before), now);
        self.agreed = agreed;
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
