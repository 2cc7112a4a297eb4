//! The running parts, and how they are started, reloaded and ended.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_rt::Arbiter;
use anyhow::Context;
use baton_actors::clock::{Clock, TokioClock};
use baton_actors::hooks::HookRunner;
use baton_actors::lateness::Lateness;
use baton_actors::lateness::watchdog::Watchdog;
use baton_actors::metrics::Metrics;
use baton_actors::mysql::MySqlTarget;
use baton_actors::operations::{Locks, Workshop};
use baton_actors::ports::{Ledger, Peers};
use baton_actors::probe::schedule::Backoff;
use baton_actors::raft::{CarriedOver, RaftNode};
use baton_actors::sharing::Probing;
use baton_actors::system::{self, Handles, RecoverySetup};
use baton_topology::allow::Reach;
use baton_topology::key::InstanceKey;
use baton_topology::time::Timestamp;
use baton_web::auth::{AccessRules, Authentication};
use baton_web::origin::HostNames;
use baton_web::server::{Display, HttpOptions, Listen, Server};
use baton_web::services::{Node, Reload, Services};
use tokio::task::spawn_local;
use uuid::Uuid;

use super::ServeOptions;
use super::announcer::HookAnnouncer;
use super::descriptors::Descriptors;
use super::names;
use super::seat::Seat;
use crate::config::{self, Config, Loaded};
use crate::wiring;

/// Never more instances than this are watched.
const INSTANCES_MAX: usize = 50_000;
/// Threads that probes run on.
const PROBE_THREADS: usize = 2;
/// Within this the other nodes know of a new leader, by its first entry. Until then they pass requests on to
/// this one, which is to say that it leads no more, and not to hang up: nobody knew what became of those.
const KNOWN_WITHIN: Duration = Duration::from_millis(250);

/// The running parts.
pub(super) struct Service {
    handles: Handles,
    server: Arc<Server>,
    pub(super) reloader: Arc<Reloader>,
    arbiters: Vec<Arbiter>,
    watchdog: Watchdog,
    seat: Option<Seat>,
}

impl Service {
    /// Starts everything.
    pub(super) async fn start(options: &ServeOptions, loaded: Loaded) -> anyhow::Result<Self> {
        let config = &loaded.config;
        let descriptors = Descriptors::raise();
        let node_name = gethostname::gethostname().to_string_lossy().into_owned();
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(wall_clock()));
        let (metrics, token) = (Metrics::new(), random_text());
        let arbiters: Vec<Arbiter> = (0..PROBE_THREADS).map(|_| Arbiter::new()).collect();
        let seeds = seeds(config, options)?;
        let policy = wiring::policy(config, &node_name).context("cluster filters")?;
        let connect = wiring::connect_options(config);
        let raft = start_raft(&loaded, Arc::clone(&clock)).await?;
        let hooks = hook_runner(&loaded, descriptors);
        let connections = descriptors.connections(config.raft.enabled);
        let target = Arc::new(MySqlTarget::limited(connect, connections));
        let handles = system::start(system::Options {
            target: target.clone(),
            recovery: recovery_setup(target.clone(), &hooks, &node_name, &token),
            clock: Arc::clone(&clock),
            policy,
            open_store: wiring::open_store(config, Arc::clone(&clock))?,
            ledger: raft.clone().map(|node| Arc::new(node) as Arc<dyn Ledger>),
            peers: raft.clone().map(|node| Arc::new(node) as Arc<dyn Peers>),
            probing: if config.raft.shared_probing { Probing::Shared } else { Probing::Everybody },
            seeds,
            arbiters: arbiters.iter().map(Arbiter::handle).collect(),
            backoff: backoff(config),
            probe_deadline: wiring::probe_deadline(config),
            instances_max: INSTANCES_MAX,
            connecting_max: config.discovery.max_concurrency,
            resolver: wiring::resolver(config),
            metrics: metrics.clone(),
        })
        .await
        .context("cannot open the store")?;

        let (lateness, watchdog) = watch_threads(&arbiters, &handles)?;
        let reloader = Arc::new(Reloader {
            options: options.clone(),
            node_name: node_name.clone(),
            handles: handles.clone(),
            target: Arc::clone(&target),
            current: Mutex::new(loaded.clone()),
            raft_key: Mutex::new(wiring::RaftKey::of(&loaded.config)),
            server: Mutex::new(None),
            raft: raft.clone(),
        });
        let services = Services {
            snapshot: handles.snapshot.clone(),
            ledger: Arc::clone(&handles.ledger),
            discovery: Arc::clone(&handles.discovery),
            recoveries: Arc::clone(&handles.recoveries),
            history: Arc::clone(&handles.history),
            certificates: Arc::clone(&handles.certificates),
            operations: operations(&handles, target, hooks.clone(), &clock),
            hooks,
            store_health: handles.store_health.clone(),
            lateness,
            clock: Arc::clone(&clock),
            reloader: reloader.clone(),
            registry: metrics.registry(),
            node: node(config, node_name, token, clock.now()),
            raft: raft.clone(),
        };
        let server = Arc::new(start_server(config, services, descriptors)?);
        reloader.server.lock().unwrap_or_else(PoisonError::into_inner).replace(server.clone());
        if let Some(node) = &raft {
            spawn_local(forget_ledger(node.clone(), handles.clone()));
        }
        let seat = raft.map(|node| seat(node, config, &handles, clock));
        Ok(Self { handles, server, reloader, arbiters, watchdog, seat })
    }

    /// Returns why this node cannot go on, if that comes about.
    pub(super) async fn lost(&self) -> String {
        match &self.seat {
            Some(seat) => seat.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Lets another node lead, if this one does, and returns once the others know that.
    pub(super) async fn hand_over(&self) {
        if let Some(seat) = &self.seat
            && seat.hand_over().await
        {
            tokio::time::sleep(KNOWN_WITHIN).await;
        }
    }

    /// Ends everything: no more requests, no more probes, everything written.
    pub(super) async fn stop(&self) {
        self.watchdog.end();
        self.server.stop().await;
        self.handles.shutdown().await;
        if let Some(seat) = &self.seat {
            seat.node.halt().await;
        }
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
    }
}

/// This node, as it is told of.
fn node(config: &Config, hostname: String, token: String, started_at: Timestamp) -> Node {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Node { hostname, token, version, backend: wiring::backend_name(config), started_at }
}

/// What runs hooks: they do not get to know what baton does.
fn hook_runner(loaded: &Loaded, descriptors: Descriptors) -> HookRunner {
    HookRunner::of_process().without(&loaded.secrets()).with_descriptors(descriptors.inherited)
}

/// Measures how late the threads run on which servers are spoken to, and notices those that are stuck.
fn watch_threads(arbiters: &[Arbiter], handles: &Handles) -> anyhow::Result<(Lateness, Watchdog)> {
    let lateness = Lateness::default();
    spawn_local(lateness.clone().measure());
    for arbiter in arbiters {
        arbiter.spawn(lateness.clone().measure());
    }
    spawn_local(system::judge_lateness(lateness.clone(), handles.clone()));
    let watchdog = lateness.watch(handles.metrics.clone()).context("cannot start a thread")?;
    Ok((lateness, watchdog))
}

/// The instances to begin with.
fn seeds(config: &Config, options: &ServeOptions) -> anyhow::Result<Vec<InstanceKey>> {
    let (seeds, refused) = wiring::seeds(config, &options.discover);
    if let Some(text) = refused.first() {
        anyhow::bail!("{text:?} is no instance: want host or host:port");
    }
    let allow = &config.discovery.allow;
    match seeds.iter().find(|seed| allow.judge(seed.host()) == Reach::Outside) {
        Some(seed) => anyhow::bail!("{seed} is outside DiscoveryAllow"),
        None => Ok(seeds),
    }
}

/// This node of the raft, if it is to be one.
async fn start_raft(loaded: &Loaded, clock: Arc<dyn Clock>) -> anyhow::Result<Option<RaftNode>> {
    match wiring::raft_setup(loaded, clock)? {
        Some(setup) => Ok(Some(RaftNode::start(setup).await.context("raft does not start")?)),
        None => Ok(None),
    }
}

/// What was kept alone is dropped once the raft went on from it: it must not come back, should a
/// raft begin here another time.
async fn forget_ledger(node: RaftNode, handles: Handles) {
    let mut carried_over = node.carried_over();
    if carried_over.wait_for(|it| *it == CarriedOver::Yes).await.is_err() {
        return;
    }
    if let Err(error) = handles.forget_ledger().await {
        tracing::warn!(%error, "the ledger kept alone is still in the store");
    }
}

fn start_server(
    config: &Config,
    services: Services,
    descriptors: Descriptors,
) -> anyhow::Result<Server> {
    let options = http_options(config, &services.node.hostname, descriptors.share())?;
    let listen = options.listen.clone();
    let server = Server::start(services, options)
        .with_context(|| format!("cannot listen on {}", shown(&listen)))?;
    server.addresses().iter().for_each(|address| tracing::info!(%address, "listening"));
    Ok(server)
}

/// How often servers that do not answer are looked at.
fn backoff(config: &Config) -> Backoff {
    Backoff { factor: config.discovery.dead_poll_factor, cap: config.discovery.dead_poll_max }
}

fn seat(node: RaftNode, config: &Config, handles: &Handles, clock: Arc<dyn Clock>) -> Seat {
    Seat {
        node,
        bail_out: config.raft.bail_out,
        store: handles.store_health.clone(),
        fleet: handles.snapshot.clone(),
        clock,
    }
}

/// What changes servers.
fn operations(
    handles: &Handles,
    control: Arc<MySqlTarget>,
    hooks: HookRunner,
    clock: &Arc<dyn Clock>,
) -> Arc<Workshop> {
    let workshop = Arc::new(Workshop {
        control,
        snapshot: handles.snapshot.clone(),
        ledger: Arc::clone(&handles.ledger),
        discovery: Arc::clone(&handles.discovery),
        history: Arc::clone(&handles.history),
        clock: Arc::clone(clock),
        equivalences: Arc::default(),
        hooks,
        locks: Locks::default(),
    });
    let interrupted = Arc::clone(&workshop);
    spawn_local(async move { interrupted.resume_when_leading().await });
    workshop
}

/// A text that nobody can guess.
fn random_text() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

fn recovery_setup(
    target: Arc<MySqlTarget>,
    hooks: &HookRunner,
    node: &str,
    token: &str,
) -> RecoverySetup {
    let uid = || {
        let nanos = u128::from(wall_clock().as_micros().unsigned_abs()) * 1_000;
        format!("{nanos}:{}", random_text()).into()
    };
    RecoverySetup {
        control: target,
        announcer: Arc::new(HookAnnouncer::new(hooks.clone())),
        uids: Arc::new(uid),
        node: node.to_owned(),
        token: token.to_owned(),
    }
}

/// The wall clock, read once: everything after counts from here.
#[allow(clippy::disallowed_methods, reason = "somebody has to read the wall clock, once")]
fn wall_clock() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::EPOCH.plus(since_epoch.unwrap_or_default())
}

fn http_options(
    config: &Config,
    node_name: &str,
    connections_max: usize,
) -> anyhow::Result<HttpOptions> {
    let http = &config.http;
    let tls = http.tls.as_ref().map(wiring::server_tls).transpose()?;
    let peer_tls = http.tls.as_ref().map(wiring::peer_tls).transpose()?;
    Ok(HttpOptions {
        listen: listen(&http.listen)?,
        connections_max,
        prefix: http.url_prefix.clone(),
        status_path: http.status_endpoint.clone(),
        tls,
        peer_tls,
        rules: access_rules(config, node_name),
        display: display(config),
    })
}

fn listen(listen: &config::Listen) -> anyhow::Result<Listen> {
    match listen {
        config::Listen::Unix(path) => Ok(Listen::Unix(path.clone())),
        config::Listen::Tcp { host: None, port } => {
            Ok(Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port)))
        }
        config::Listen::Tcp { host: Some(host), port } => {
            let mut addresses = (host.as_str(), *port)
                .to_socket_addrs()
                .with_context(|| format!("ListenAddress: cannot resolve {host}"))?;
            let address = addresses.next();
            let address =
                address.with_context(|| format!("ListenAddress: {host} has no address"))?;
            Ok(Listen::Tcp(address))
        }
    }
}

fn shown(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => path.display().to_string(),
    }
}

fn display(config: &Config) -> Display {
    let http = &config.http;
    Display {
        message: http.web_message.clone(),
        left_out_of_names: http.remove_from_hostname_display.clone(),
    }
}

fn access_rules(config: &Config, node_name: &str) -> AccessRules {
    let http = &config.http;
    let user = || http.user.clone();
    let password = || http.password.reveal().to_owned();
    let authentication = match http.authentication {
        config::Authentication::None => Authentication::None,
        config::Authentication::Basic => {
            Authentication::Basic { user: user(), password: password() }
        }
        config::Authentication::Multi => {
            Authentication::Multi { user: user(), password: password() }
        }
        config::Authentication::Proxy => Authentication::Proxy {
            header: http.user_header.clone(),
            powerful: http.power_users.clone(),
        },
        config::Authentication::Token => Authentication::None,
    };
    // Nothing in this version makes tokens, so nobody has one and nobody may write.
    let nobody_may = http.authentication == config::Authentication::Token;
    AccessRules {
        authentication,
        read_only: http.read_only || nobody_may,
        host_names: host_names(config, node_name),
    }
}

/// What this node is called: browsers that pass a request through another node use that one's name.
fn host_names(config: &Config, node_name: &str) -> HostNames {
    let http = &config.http;
    let listen = match &http.listen {
        config::Listen::Tcp { host, .. } => host.as_deref(),
        config::Listen::Unix(_) => None,
    };
    let advertised = http.advertise.iter().filter_map(|url| url.split_once("://"));
    let seats = std::iter::once(&config.raft.advertise).chain(&config.raft.nodes);
    let machine = names::of_machine(node_name);
    let own = machine
        .iter()
        .map(String::as_str)
        .chain(listen)
        .chain(advertised.map(|(_, authority)| authority))
        .chain(seats.map(String::as_str));
    HostNames::new(own, http.host_names.iter().map(String::as_str))
}

/// Reads the configuration again, all or nothing.
pub(super) struct Reloader {
    options: ServeOptions,
    node_name: String,
    handles: Handles,
    target: Arc<MySqlTarget>,
    current: Mutex<Loaded>,
    /// What the nodes of a raft know each other by.
    raft_key: Mutex<wiring::RaftKey>,
    server: Mutex<Option<Arc<Server>>>,
    raft: Option<RaftNode>,
}

impl Reload for Reloader {
    fn reload(&self, extra: Option<PathBuf>) -> Result<(), String> {
        let mut sources = self.options.sources();
        sources.extra_file = extra.clone();
        let read = |path: &Path| match &extra {
            Some(named) if named == path => config::read_trusted(path),
            _ => std::fs::read_to_string(path),
        };
        let loaded = config::load_with(&sources, &read).map_err(|errors| {
            tracing::error!("the configuration is not reloaded: {errors}");
            errors.to_string()
        })?;
        let policy = wiring::policy(&loaded.config, &self.node_name)
            .map_err(|error| format!("cluster filters: {error}"))?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        keeps_asking(&current.config, &loaded.config).inspect_err(|why| {
            tracing::error!("the configuration is not reloaded: {why}");
        })?;
        let mut raft_key = self.raft_key.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = raft_key.renewed(&loaded.config).map_err(|error| {
            tracing::error!("the configuration is not reloaded: {error:#}");
            format!("{error:#}")
        })?;
        super::warn_of(&loaded);
        for key in config::diff_needing_restart(&current, &loaded) {
            tracing::warn!(key, "changed, and takes effect at the next start");
        }
        self.handles.set_policy(policy);
        self.target.set_options(wiring::connect_options(&loaded.config));
        if let Some(raft) = &self.raft {
            raft.set_shared_keys(&loaded.shared_keys());
            if let Some(renewed) = renewed {
                raft.set_secret(raft_key.keep(renewed));
            }
        }
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = &*server {
            server.set_rules(access_rules(&loaded.config, &self.node_name));
            server.set_display(display(&loaded.config));
        }
        *current = loaded;
        tracing::info!("configuration reloaded");
        Ok(())
    }
}

/// A file that lost a line must not open the API to everybody.
fn keeps_asking(current: &Config, new: &Config) -> Result<(), String> {
    let asks = |config: &Config| config.http.authentication != config::Authentication::None;
    if asks(current) && !asks(new) {
        return Err("AuthenticationMethod: is switched off by a restart only".to_owned());
    }
    Ok(())
}
