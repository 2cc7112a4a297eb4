//! One running system over servers in memory, in paused time.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::Arc;
use std::time::Duration;

use baton_actors::clock::TokioClock;
use baton_actors::metrics::Metrics;
use baton_actors::ports::ProbeTarget;
use baton_actors::probe::schedule::Backoff;
use baton_actors::system::{self, Handles, Options};
use baton_actors::testing::{FakeFleet, FakeTarget, MemoryStore, recovery_setup};
use baton_topology::analysis::Code;
use baton_topology::key::InstanceKey;
use baton_topology::policy::Policy;
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;

pub(crate) struct World {
    pub(crate) fleet: Arc<FakeFleet>,
    pub(crate) store: MemoryStore,
    pub(crate) handles: Handles,
}

pub(crate) fn key(name: &str) -> InstanceKey {
    InstanceKey::new(name, 3306)
}

pub(crate) fn options(fleet: &Arc<FakeFleet>, store: &MemoryStore, seeds: &[&str]) -> Options {
    Options {
        target: Arc::new(FakeTarget(Arc::clone(fleet))) as Arc<dyn ProbeTarget>,
        recovery: recovery_setup(fleet),
        clock: Arc::new(TokioClock::starting_at(Timestamp::from_secs(1_700_000_000))),
        policy: Arc::new(Policy::default()),
        open_store: store.opener(),
        ledger: None,
        peers: None,
        probing: baton_actors::sharing::Probing::Everybody,
        seeds: seeds.iter().copied().map(key).collect(),
        arbiters: Vec::new(),
        backoff: Backoff::default(),
        probe_deadline: Duration::from_millis(2_500),
        instances_max: 50_000,
        connecting_max: 256,
        resolver: None,
        metrics: Metrics::new(),
    }
}

/// Starts a system that knows one seed.
pub(crate) async fn watch(fleet: Arc<FakeFleet>, seed: &str) -> World {
    watch_with(fleet, MemoryStore::default(), &[seed], |_| {}).await
}

pub(crate) async fn watch_with(
    fleet: Arc<FakeFleet>,
    store: MemoryStore,
    seeds: &[&str],
    adjust: impl FnOnce(&mut Options),
) -> World {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if !text.contains("panics on purpose") {
            eprintln_once(&text);
        }
    }));
    let mut options = options(&fleet, &store, seeds);
    adjust(&mut options);
    let handles = system::start(options).await.expect("a memory store opens");
    World { fleet, store, handles }
}

#[allow(clippy::print_stderr, reason = "a failed assertion must be readable")]
fn eprintln_once(text: &str) {
    eprintln!("{text}");
}

impl World {
    pub(crate) fn snapshot(&self) -> Arc<FleetSnapshot> {
        self.handles.snapshot.borrow().clone()
    }

    /// Waits until a snapshot is as wanted, and says how long that took.
    pub(crate) async fn until(
        &self,
        what: &str,
        is_wanted: impl FnMut(&Arc<FleetSnapshot>) -> bool,
    ) -> Duration {
        self.until_within(Duration::from_secs(120), what, is_wanted).await
    }

    pub(crate) async fn until_within(
        &self,
        limit: Duration,
        what: &str,
        is_wanted: impl FnMut(&Arc<FleetSnapshot>) -> bool,
    ) -> Duration {
        let began = tokio::time::Instant::now();
        let mut snapshot = self.handles.snapshot.clone();
        let result = tokio::time::timeout(limit, snapshot.wait_for(is_wanted)).await;
        assert!(result.is_ok(), "not within {limit:?}: {what}");
        began.elapsed()
    }

    /// Waits until all of these answered.
    pub(crate) async fn until_valid(&self, names: &[&str]) -> Duration {
        self.until(&format!("{names:?} are valid"), |fleet| {
            names.iter().all(|name| fleet.instance(&key(name)).is_some_and(|it| it.is_valid()))
        })
        .await
    }

    /// Waits until the verdict on an instance is this.
    pub(crate) async fn until_code(&self, name: &str, code: Code) -> Duration {
        self.until(&format!("{name} is {code:?}"), |fleet| code_of(fleet, name) == code).await
    }
}

pub(crate) fn code_of(fleet: &FleetSnapshot, name: &str) -> Code {
    let cluster = fleet.cluster_with(&key(name));
    let analyses = cluster.into_iter().flat_map(|cluster| &cluster.analyses);
    analyses.filter(|it| it.key == key(name)).map(|it| it.code).next().unwrap_or_default()
}

/// `a` with the replicas `b`, `c` and `d`.
pub(crate) fn star() -> Arc<FakeFleet> {
    let fleet = FakeFleet::new();
    fleet.add_primary(&key("a"));
    for name in ["b", "c", "d"] {
        fleet.add_replica(&key(name), &key("a"));
    }
    fleet
}
