//! Puts the actors together and hands out the ports to reach them.

use std::sync::Arc;
use std::time::Duration;

use actix_rt::ArbiterHandle;
use baton_topology::cluster::ClusterId;
use baton_topology::crawl::Standing;
use baton_topology::fleet::{self, FleetInput};
use baton_topology::instance::Instance;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, discovered};
use baton_topology::names::HostNames;
use baton_topology::policy::Policy;
use baton_topology::snapshot::FleetSnapshot;
use tokio::sync::{broadcast, oneshot, watch};

use crate::certificates::{self, Certificates};
use crate::clock::Clock;
use crate::cluster_analysis::{self, AnalysisWorld, ClusterAnalysisActor, Happened};
use crate::discovery::resolve::HostResolver;
use crate::discovery::{self, Discover, DiscoveryActor, DiscoveryHandle, DiscoveryWorld, Roster};
use crate::lateness::Lateness;
use crate::metrics::Metrics;
use crate::ports::{
    Control, Discovery, EventSender, History, Ledger, Peers, ProbeTarget, Recoveries,
    SnapshotReader, StoreHealth,
};
use crate::probe::schedule::Backoff;
use crate::probe::{Connecting, ProbeWorld};
use crate::quorum::{Answering, Electorate, Witness};
use crate::recovery::{self, Announcer, RecoveryActor, RecoveryHandle, RecoveryWorld};
use crate::sharing::{Probing, Sharing, SharingWorld};
use crate::store::{
    self, Drain, Kept, OpenBackend, SoloLedger, StoreActor, StoreError, StoreHistory, StoreWorld,
};
use crate::strand;
use crate::supervisor::{Child, Place, Restart};

/// News that a slow subscriber may lag behind before it loses the oldest.
const EVENTS_MAX: usize = 4_096;
/// How long a clean end may take until the last writes are given up.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(3);
/// Instances that are kept in one record at the end.
const KEEP_BATCH: usize = 1_000;
/// How often what ended is dropped from the ledger.
const LEDGER_PURGE_EVERY: Duration = Duration::from_secs(60 * 60);
/// For how long what ended stays in the ledger.
const LEDGER_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often seeds are offered again, should all of them have been given up.
const SEED_EVERY: Duration = Duration::from_secs(60);

/// What the system is made of.
pub struct Options {
    /// The servers.
    pub target: Arc<dyn ProbeTarget>,
    /// What recoveries need.
    pub recovery: RecoverySetup,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The rules in force at first.
    pub policy: Arc<Policy>,
    /// Opens the store.
    pub open_store: OpenBackend,
    /// Where commands are agreed upon with other nodes; alone, in the store, when `None`.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// The nodes that agree there, if there are others.
    pub peers: Option<Arc<dyn Peers>>,
    /// Whether they share the looks at servers.
    pub probing: Probing,
    /// Instances to begin with.
    pub seeds: Vec<InstanceKey>,
    /// Where probes run; on the arbiter that starts the system when empty.
    pub arbiters: Vec<ArbiterHandle>,
    /// How dead servers are tried again.
    pub backoff: Backoff,
    /// A probe that takes longer is given up even if its session does not keep its deadlines.
    pub probe_deadline: Duration,
    /// Never more instances than this.
    pub instances_max: usize,
    /// So many servers are connected to at a time, and as many that did not answer before.
    pub connecting_max: usize,
    /// How host names are resolved before they are used; `None` takes them as they are.
    pub resolver: Option<Arc<dyn HostResolver>>,
    /// The counters.
    pub metrics: Metrics,
}

/// What recoveries need.
#[derive(Clone)]
pub struct RecoverySetup {
    /// How servers are changed.
    pub control: Arc<dyn Control>,
    /// Who tells user processes.
    pub announcer: Arc<dyn Announcer>,
    /// Makes names for recoveries that nobody ever used.
    pub uids: Arc<dyn Fn() -> Arc<str> + Send + Sync>,
    /// What this node is called.
    pub node: String,
    /// Its token.
    pub token: String,
}

/// The ports of a running system. Cheap to clone.
#[derive(Clone)]
pub struct Handles {
    /// The newest fleet.
    pub snapshot: SnapshotReader,
    /// What people set.
    pub ledger: Arc<dyn Ledger>,
    /// Which instances are watched.
    pub discovery: Arc<dyn Discovery>,
    /// What is done about problems.
    pub recoveries: Arc<dyn Recoveries>,
    /// The past.
    pub history: Arc<dyn History>,
    /// What servers show of themselves under TLS.
    pub certificates: Arc<Certificates>,
    /// The news.
    pub events: EventSender,
    /// How the store is doing.
    pub store_health: watch::Receiver<StoreHealth>,
    /// The counters.
    pub metrics: Metrics,
    policy: watch::Sender<Arc<Policy>>,
    /// The actors, for whoever has to know them: tests, mostly.
    pub actors: Actors,
}

/// The supervised actors.
#[derive(Debug, Clone)]
pub struct Actors {
    /// Holds the fleet.
    pub analysis: Child<ClusterAnalysisActor>,
    /// Keeps the probes.
    pub discovery: Child<DiscoveryActor>,
    /// Recovers.
    pub recovery: Child<RecoveryActor>,
    /// Keeps what is worth keeping.
    pub store: Child<StoreActor>,
    roster: Roster,
}

impl Actors {
    fn are_up(&self) -> bool {
        self.analysis.current().is_some()
            && self.discovery.current().is_some()
            && self.recovery.current().is_some()
            && self.store.current().is_some()
    }
}

impl Handles {
    /// Puts other rules in force.
    pub fn set_policy(&self, policy: Arc<Policy>) {
        self.policy.send_replace(policy);
    }

    /// Drops the ledger in the store, which a raft has gone on from.
    ///
    /// # Errors
    /// When it is still there.
    pub async fn forget_ledger(&self) -> Result<(), StoreError> {
        store::ask(&self.actors.store, |backend| backend.forget_ledger()).await
    }

    /// Ends watching and writes what is not written yet.
    pub async fn shutdown(&self) {
        self.actors.recovery.retire();
        self.actors.discovery.retire();
        discovery::retire_all(&self.actors.roster);
        self.actors.analysis.retire();
        self.keep_everything();
        let (reply, written) = oneshot::channel();
        let is_written = self.actors.store.try_send(Drain(reply)).is_ok()
            && matches!(tokio::time::timeout(SHUTDOWN_DEADLINE, written).await, Ok(Ok(())));
        if !is_written {
            tracing::warn!("the store did not write everything before the end");
        }
        self.actors.store.retire();
    }

    /// Changes are gathered for some seconds before they are kept; now there is no later.
    fn keep_everything(&self) {
        let snapshot = self.snapshot.borrow().clone();
        let rows: Vec<_> = snapshot
            .members()
            .map(|(cluster, member)| (Arc::clone(&member.instance), cluster.id.clone()))
            .collect();
        for rows in rows.chunks(KEEP_BATCH) {
            if self.actors.store.try_send(store::Record::Instances(rows.to_vec())).is_err() {
                self.metrics.dropped("store_write", 1);
            }
        }
    }
}

/// Starts the system on the current arbiter.
///
/// # Errors
/// When the store cannot be opened or read. What goes wrong later is survived.
pub async fn start(options: Options) -> Result<Handles, StoreError> {
    let open = Arc::clone(&options.open_store);
    let opened = strand::spawn_blocking(move || {
        let mut backend = open()?;
        let kept = backend.load()?;
        Ok((backend, kept))
    });
    let (backend, kept) =
        opened.await.unwrap_or_else(|_| Err(StoreError("opening the store panicked".into())))?;

    let metrics = options.metrics.clone();
    let actors = Actors {
        analysis: Child::new(cluster_analysis::MAILBOX, Restart::CORE, metrics.actor("analysis")),
        discovery: Child::new(discovery::MAILBOX, Restart::CORE, metrics.actor("discovery")),
        recovery: Child::new(recovery::MAILBOX, Restart::CORE, metrics.actor("recovery")),
        store: Child::new(store::MAILBOX, Restart::CORE, metrics.actor("store")),
        roster: Roster::default(),
    };
    let health = watch::Sender::new(StoreHealth::Healthy);
    let store_health = health.subscribe();
    let Kept { instances, ledger, names } = kept;
    let names = names
        .iter()
        .fold(HostNames::default(), |names, (given, canonical)| names.with(given, canonical));
    let names = Arc::new(names);
    let ledger = match &options.ledger {
        Some(shared) => Arc::clone(shared),
        None => Arc::new(SoloLedger::new(ledger, actors.store.clone(), health.subscribe())),
    };
    follow_certificates(&options, &ledger);
    let fleet = restored(&options, instances, &ledger, Arc::clone(&names));
    let snapshot = watch::Sender::new(Arc::new(fleet));
    start_store(&actors, &options, backend, health);

    let names = watch::Sender::new(names);
    let handles = connect(&options, actors, &snapshot, &names, ledger, store_health);
    start_watching(&options, &handles, names, snapshot);
    // Whoever gets the handles finds the actors there.
    while !handles.actors.are_up() {
        tokio::task::yield_now().await;
    }
    tokio::task::spawn_local(purge_ledger(handles.clone(), Arc::clone(&options.clock)));
    tokio::task::spawn_local(sow(handles.clone(), options.seeds));
    Ok(handles)
}

/// What servers are known by is known before the first one is spoken to.
fn follow_certificates(options: &Options, ledger: &Arc<dyn Ledger>) {
    let Some(certificates) = options.target.certificates() else { return };
    certificates.adopt(&ledger.state().borrow());
    let (ledger, clock) = (Arc::clone(ledger), Arc::clone(&options.clock));
    tokio::task::spawn_local(certificates::keep(certificates, ledger, clock));
}

/// The fleet as it was kept.
fn restored(
    options: &Options,
    instances: Vec<(Instance, ClusterId)>,
    ledger: &Arc<dyn Ledger>,
    names: Arc<HostNames>,
) -> FleetSnapshot {
    let now = options.clock.now();
    let ledger = ledger.state().borrow().clone();
    let empty = FleetSnapshot::empty(Arc::clone(&options.policy), ledger, now);
    let empty = FleetSnapshot { names, ..empty };
    if instances.is_empty() {
        return empty;
    }
    fleet::advance(&empty, vec![FleetInput::Restored(instances)], now).snapshot
}

fn start_store(
    actors: &Actors,
    options: &Options,
    backend: Box<dyn store::Backend>,
    health: watch::Sender<StoreHealth>,
) {
    let world = StoreWorld {
        open: Arc::clone(&options.open_store),
        health,
        clock: Arc::clone(&options.clock),
        metrics: options.metrics.clone(),
    };
    // Only the first life has it; later ones open their own.
    let mut backend = Some(backend);
    actors.store.start(&Place::Here, move || StoreActor::new(backend.take(), world.clone()));
}

fn connect(
    options: &Options,
    actors: Actors,
    snapshot: &watch::Sender<Arc<FleetSnapshot>>,
    names: &watch::Sender<Arc<HostNames>>,
    ledger: Arc<dyn Ledger>,
    store_health: watch::Receiver<StoreHealth>,
) -> Handles {
    let policy = watch::Sender::new(Arc::clone(&options.policy));
    let discovery = DiscoveryHandle {
        child: actors.discovery.clone(),
        snapshot: snapshot.subscribe(),
        names: names.subscribe(),
        policy: policy.subscribe(),
        ledger: ledger.state(),
        clock: Arc::clone(&options.clock),
    };
    let history = StoreHistory {
        store: actors.store.clone(),
        snapshot: snapshot.subscribe(),
        metrics: options.metrics.clone(),
    };
    let (events, _) = broadcast::channel(EVENTS_MAX);
    Handles {
        snapshot: snapshot.subscribe(),
        ledger,
        discovery: Arc::new(discovery),
        recoveries: Arc::new(RecoveryHandle { child: actors.recovery.clone() }),
        history: Arc::new(history),
        certificates: options.target.certificates().unwrap_or_default(),
        events,
        store_health,
        metrics: options.metrics.clone(),
        policy,
        actors,
    }
}

fn start_watching(
    options: &Options,
    handles: &Handles,
    names: watch::Sender<Arc<HostNames>>,
    snapshot: watch::Sender<Arc<FleetSnapshot>>,
) {
    let actors = &handles.actors;
    let analysis = AnalysisWorld {
        clock: Arc::clone(&options.clock),
        snapshot,
        events: handles.events.clone(),
        policy: handles.policy.subscribe(),
        ledger: Arc::clone(&handles.ledger),
        looks: actors.discovery.outlet(),
        records: actors.store.outlet(),
        detections: actors.recovery.outlet(),
        metrics: handles.metrics.clone(),
        token: options.recovery.token.clone(),
    };
    actors.analysis.start(&Place::Here, move || ClusterAnalysisActor::new(analysis.clone()));
    let sharing = sharing(options, handles);
    let recovery = RecoveryWorld {
        clock: Arc::clone(&options.clock),
        snapshot: handles.snapshot.clone(),
        events: handles.events.clone(),
        ledger: Arc::clone(&handles.ledger),
        control: Arc::clone(&options.recovery.control),
        looks: actors.discovery.outlet(),
        announcer: Arc::clone(&options.recovery.announcer),
        uids: Arc::clone(&options.recovery.uids),
        node: options.recovery.node.clone(),
        token: options.recovery.token.clone(),
        metrics: handles.metrics.clone(),
        electorate: electorate(options, handles, sharing.clone()),
    };
    actors.recovery.start(&Place::Here, move || RecoveryActor::new(recovery.clone()));
    let probes = ProbeWorld {
        target: Arc::clone(&options.target),
        clock: Arc::clone(&options.clock),
        policy: handles.policy.subscribe(),
        backoff: options.backoff,
        deadline: options.probe_deadline,
        metrics: handles.metrics.clone(),
        reports: actors.analysis.outlet(),
        sightings: actors.discovery.outlet(),
        sharing,
        connecting: Connecting::new(options.connecting_max),
    };
    let discovery = DiscoveryWorld {
        probes,
        roster: Arc::clone(&actors.roster),
        arbiters: options.arbiters.clone(),
        instances_max: options.instances_max,
        ledger: handles.ledger.state(),
        snapshot: handles.snapshot.clone(),
        names,
        resolver: options.resolver.clone(),
        news: actors.analysis.outlet(),
        records: actors.store.outlet(),
    };
    actors.discovery.start(&Place::Here, move || DiscoveryActor::new(discovery.clone()));
}

/// Shares the looks at servers with other nodes from here on, where that is wanted.
fn sharing(options: &Options, handles: &Handles) -> Option<Sharing> {
    let peers = options.peers.clone().filter(|_| options.probing == Probing::Shared)?;
    let sharing = Sharing::new(SharingWorld {
        peers,
        clock: Arc::clone(&options.clock),
        snapshot: handles.snapshot.clone(),
        policy: handles.policy.subscribe(),
        relayed: handles.actors.discovery.outlet(),
        duty: handles.actors.discovery.outlet(),
    });
    tokio::task::spawn_local(sharing.clone().run());
    Some(sharing)
}

/// All nodes that decide together, this one included, which answers the others from here on.
fn electorate(
    options: &Options,
    handles: &Handles,
    sharing: Option<Sharing>,
) -> Option<Electorate> {
    let peers = options.peers.clone()?;
    let witness = Witness {
        clock: Arc::clone(&options.clock),
        snapshot: handles.snapshot.clone(),
        looks: handles.actors.discovery.outlet(),
    };
    let policy = handles.policy.subscribe();
    peers.answer_with(Arc::new(Answering { witness: witness.clone(), policy, sharing }));
    Some(Electorate::new(peers, witness, handles.actors.analysis.outlet()))
}

/// Offers the seeds, and again while none of the fleet is known: they may have been forgotten.
async fn sow(handles: Handles, seeds: Vec<InstanceKey>) {
    while !seeds.is_empty() {
        for key in &seeds {
            let discover = Discover { key: key.clone(), standing: Standing::Vouched, reply: None };
            // What does not get through is offered with the next round.
            let _ = handles.actors.discovery.try_send(discover);
        }
        tokio::time::sleep(SEED_EVERY).await;
    }
}

/// Judges over and over whether this node gets enough processor, and takes note of it in the fleet:
/// one that does not is not to believe what it sees (I7).
pub async fn judge_lateness(lateness: Lateness, handles: Handles) {
    let analysis = handles.actors.analysis.outlet();
    let mut told = 0;
    let tell = move |percent| {
        // Smaller changes change nothing.
        let is_news = told / 10 != percent / 10;
        if is_news && analysis.try_send(Happened(FleetInput::RuntimeDelay(percent))).is_ok() {
            told = percent;
        }
    };
    lateness.judge(handles.metrics.clone(), tell).await;
}

async fn purge_ledger(handles: Handles, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(LEDGER_PURGE_EVERY).await;
        if handles.ledger.leading().borrow().is_none() {
            continue;
        }
        let now = clock.now();
        let purge = Command::Purge { before: now.minus(LEDGER_RETENTION) };
        let fleet = handles.snapshot.borrow().clone();
        for command in std::iter::once(purge).chain(discovered::review(&fleet, now)) {
            if let Err(error) = handles.ledger.propose(command).await {
                tracing::warn!(%error, "cannot purge the ledger");
                break;
            }
        }
    }
}
