//! A baton in this process over servers in memory: as many of them as nobody has on one machine.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "each user needs another part of it; somebody has to read the clock"
)]
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_rt::Arbiter;
use baton_actors::clock::{Clock, TokioClock};
use baton_actors::hooks::HookRunner;
use baton_actors::lateness::Lateness;
use baton_actors::lateness::watchdog::Watchdog;
use baton_actors::metrics::Metrics;
use baton_actors::operations::{Locks, Workshop};
use baton_actors::ports::ProbeTarget;
use baton_actors::probe::schedule::Backoff;
use baton_actors::system::{self, Handles, Options};
use baton_actors::testing::{FakeFleet, FakeTarget, MemoryStore, recovery_setup};
use baton_topology::filter::ClusterFilter;
use baton_topology::key::InstanceKey;
use baton_topology::policy::{PlacementPatterns, Policy};
use baton_topology::time::Timestamp;
use baton_web::auth::AccessRules;
use baton_web::server::{Display, HttpOptions, Listen, Server};
use baton_web::services::{Node, Reload, Services};
use regex::Regex;
use tokio::sync::oneshot;

/// What the thread is called that looks at the servers.
pub const WATCHING: &str = "watching";

/// The baton. Ends when it is dropped.
pub struct Memory {
    /// The port it answers on.
    pub port: u16,
    /// Its servers.
    pub fleet: Arc<FakeFleet>,
    /// One of each cluster.
    pub primaries: Vec<InstanceKey>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What it watches, and how.
pub struct Plan {
    /// How many clusters.
    pub clusters: usize,
    /// How many servers one has.
    pub size: fn(usize) -> usize,
    /// How often each server is looked at.
    pub poll_interval: Duration,
    /// Who may do what.
    pub rules: AccessRules,
    /// What the pages say of their own.
    pub display: Display,
}

impl Plan {
    /// Ten thousand servers at which people may only look.
    pub fn onlooked(poll_interval: Duration) -> Self {
        Self {
            clusters: 1_000,
            size: |cluster| if cluster == 8 { 30 } else { 10 },
            poll_interval,
            rules: AccessRules { read_only: true, ..AccessRules::default() },
            display: Display {
                message: "<b>drill</b> at noon".into(),
                left_out_of_names: ".example.com".into(),
            },
        }
    }

    /// Four clusters in which people do things: of five, thirty, one and four.
    pub fn handled() -> Self {
        Self {
            clusters: 4,
            size: |cluster| [5, 30, 1, 4][cluster % 4],
            poll_interval: Duration::from_millis(500),
            rules: AccessRules::default(),
            display: Display::default(),
        }
    }
}

/// How servers are reached, given how those in memory are.
pub type Reach = Box<dyn FnOnce(FakeTarget) -> Arc<dyn ProbeTarget> + Send>;

/// What there is beside the servers in memory.
pub struct Beside {
    /// How all servers are reached.
    pub reach: Reach,
    /// Servers that are watched as well, whether or not they answer.
    pub seeds: Vec<InstanceKey>,
    /// So many servers more may be found.
    pub more: usize,
    /// Threads of their own on which servers are probed.
    pub threads: usize,
    /// Clusters whose dead primaries are replaced.
    pub recovered: Vec<ClusterFilter>,
    /// How servers that do not answer are tried again.
    pub tries: Backoff,
}

impl Default for Beside {
    fn default() -> Self {
        Self {
            reach: Box::new(|fleet| Arc::new(fleet)),
            seeds: Vec::new(),
            more: 0,
            threads: 0,
            recovered: Vec::new(),
            tries: Backoff::default(),
        }
    }
}

/// So many servers may join those there are at the beginning.
const MORE_MAX: usize = 20;

impl Memory {
    /// Starts, and returns once all servers are found.
    pub fn start(plan: Plan) -> Self {
        Self::start_beside(plan, Beside::default())
    }

    /// Starts with more than the servers in memory, and returns once those are found.
    pub fn start_beside(plan: Plan, beside: Beside) -> Self {
        let (fleet, primaries) = servers(&plan);
        let (tell, told) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let seeds = primaries.clone();
        let watched = Arc::clone(&fleet);
        let watching = std::thread::Builder::new().name(WATCHING.to_owned());
        let thread = watching.spawn(move || {
            actix_rt::System::new().block_on(async move {
                let running = serve(&watched, seeds, &plan, beside).await;
                tell.send(running.port).expect("somebody waits");
                let _ = ended.await;
                running.watchdog.end();
                running.server.stop().await;
                running.handles.shutdown().await;
                for arbiter in &running.arbiters {
                    arbiter.stop();
                }
            });
        });
        let thread = thread.expect("a thread");
        let port = told.recv().expect("it starts");
        Self { port, fleet, primaries, end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A server of a cluster.
pub fn server(cluster: usize, number: usize) -> InstanceKey {
    InstanceKey::new(format!("db{number}.cluster{cluster}.dc{}.example.com", number % 3), 3306)
}

fn servers(plan: &Plan) -> (Arc<FakeFleet>, Vec<InstanceKey>) {
    let fleet = FakeFleet::new();
    let primaries = (0..plan.clusters).map(|cluster| {
        let primary = server(cluster, 0);
        fleet.add_primary(&primary);
        let alias = format!("cluster{cluster}");
        fleet.edit(&primary, |facts| facts.suggested_cluster_alias = alias);
        (1..(plan.size)(cluster)).for_each(|it| fleet.add_replica(&server(cluster, it), &primary));
        primary
    });
    let primaries = primaries.collect();
    (fleet, primaries)
}

struct NoConfiguration;

impl Reload for NoConfiguration {
    fn reload(&self, _extra: Option<PathBuf>) -> Result<(), String> {
        Err("there is none".into())
    }
}

struct Running {
    handles: Handles,
    server: Server,
    arbiters: Vec<Arbiter>,
    watchdog: Watchdog,
    port: u16,
}

async fn serve(
    fleet: &Arc<FakeFleet>,
    seeds: Vec<InstanceKey>,
    plan: &Plan,
    beside: Beside,
) -> Running {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970");
    let clock: Arc<dyn Clock> =
        Arc::new(TokioClock::starting_at(Timestamp::EPOCH.plus(since_epoch)));
    let expected: usize = (0..plan.clusters).map(plan.size).sum();
    let pattern = |text| Regex::new(text).expect("a pattern");
    let policy = Policy {
        poll_interval: plan.poll_interval,
        recover_primary: beside.recovered,
        placement_patterns: PlacementPatterns {
            data_center: Some(pattern(r"\.(dc\d)\.")),
            ..PlacementPatterns::default()
        },
        ..Policy::default()
    };
    let (arbiters, lateness) = threads(beside.threads);
    let metrics = Metrics::new();
    let watchdog = lateness.watch(metrics.clone()).expect("a thread");
    let options = Options {
        target: (beside.reach)(FakeTarget(Arc::clone(fleet))),
        recovery: recovery_setup(fleet),
        clock: Arc::clone(&clock),
        policy: Arc::new(policy),
        open_store: MemoryStore::default().opener(),
        ledger: None,
        peers: None,
        probing: baton_actors::sharing::Probing::Everybody,
        seeds: seeds.into_iter().chain(beside.seeds).collect(),
        arbiters: arbiters.iter().map(Arbiter::handle).collect(),
        backoff: beside.tries,
        probe_deadline: Duration::from_secs(3),
        instances_max: expected + MORE_MAX + beside.more,
        connecting_max: 256,
        resolver: None,
        metrics,
    };
    let handles = system::start(options).await.expect("the system starts");
    let mut snapshot = handles.snapshot.clone();
    let found = snapshot.wait_for(|it| it.instance_count() >= expected);
    found.await.expect("all servers are found");
    let address = SocketAddr::from(([127, 0, 0, 1], crate::support::free_port()));
    let options = HttpOptions {
        connections_max: 1_000,
        listen: Listen::Tcp(address),
        prefix: String::new(),
        status_path: "/api/status".into(),
        tls: None,
        peer_tls: None,
        rules: plan.rules.clone(),
        display: plan.display.clone(),
    };
    let services = services(&handles, fleet, clock, lateness);
    let server = Server::start(services, options).expect("it listens");
    Running { handles, server, arbiters, watchdog, port: address.port() }
}

/// Threads to probe on; measured, as is this one.
fn threads(count: usize) -> (Vec<Arbiter>, Lateness) {
    let lateness = Lateness::default();
    actix_rt::spawn(lateness.clone().measure());
    let arbiters: Vec<Arbiter> = (0..count).map(|_| Arbiter::new()).collect();
    for arbiter in &arbiters {
        arbiter.spawn(lateness.clone().measure());
    }
    (arbiters, lateness)
}

fn services(
    handles: &Handles,
    fleet: &Arc<FakeFleet>,
    clock: Arc<dyn Clock>,
    lateness: Lateness,
) -> Services {
    let operations = Workshop {
        control: Arc::new(FakeTarget(Arc::clone(fleet))),
        snapshot: handles.snapshot.clone(),
        ledger: Arc::clone(&handles.ledger),
        discovery: Arc::clone(&handles.discovery),
        history: Arc::clone(&handles.history),
        clock: Arc::clone(&clock),
        equivalences: Arc::default(),
        hooks: HookRunner::of_process(),
        locks: Locks::default(),
    };
    Services {
        raft: None,
        snapshot: handles.snapshot.clone(),
        ledger: Arc::clone(&handles.ledger),
        discovery: Arc::clone(&handles.discovery),
        recoveries: Arc::clone(&handles.recoveries),
        history: Arc::clone(&handles.history),
        certificates: Arc::clone(&handles.certificates),
        hooks: operations.hooks.clone(),
        operations: Arc::new(operations),
        store_health: handles.store_health.clone(),
        lateness,
        reloader: Arc::new(NoConfiguration),
        registry: handles.metrics.registry(),
        node: Node {
            hostname: "host".into(),
            token: "token".into(),
            version: "1".into(),
            backend: "memory".into(),
            started_at: clock.now(),
        },
        clock,
    }
}
