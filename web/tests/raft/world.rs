//! Three nodes in one process, each with a raft, a system that watches nothing, and a web server.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_actors::clock::{Clock, TokioClock};
use baton_actors::hooks::HookRunner;
use baton_actors::metrics::Metrics;
use baton_actors::operations::Workshop;
use baton_actors::probe::schedule::Backoff;
use baton_actors::raft::{
    Compaction, Keys, Leadership, Plain, RaftNode, RaftSetup, Role, Secret, Standing, Timing,
};
use baton_actors::system::{self, Handles, Options};
use baton_actors::testing::{FakeFleet, FakeTarget, MemoryStore, recovery_setup};
use baton_topology::policy::Policy;
use baton_topology::time::Timestamp;
use baton_web::auth::AccessRules;
use baton_web::server::{Display, HttpOptions, Listen, Server};
use baton_web::services::{Node as NodeName, Reload, Services};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing here takes so long, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Short, for tests; long enough for a machine that does other things too.
const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_millis(400),
    election_max: Duration::from_millis(800),
    snapshot: Duration::from_secs(10),
};

pub(crate) struct Node {
    pub(crate) seat: String,
    pub(crate) raft: RaftNode,
    pub(crate) address: SocketAddr,
    server: Server,
    handles: Handles,
    _folder: TempDir,
}

/// How the nodes are set up.
#[derive(Default)]
pub(crate) struct Plan {
    /// Where all of them say their API is, if not where it is.
    pub(crate) api: Option<String>,
    pub(crate) rules: AccessRules,
    pub(crate) tls: Option<(Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>)>,
}

struct NoConfiguration;

impl Reload for NoConfiguration {
    fn reload(&self, _extra: Option<PathBuf>) -> Result<(), String> {
        Err("there is none".into())
    }
}

/// Three nodes that have a leader.
pub(crate) async fn three(plan: &Plan) -> Vec<Node> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let seats: Vec<String> =
        listeners.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
    let mut nodes = Vec::new();
    for listener in listeners {
        nodes.push(start(plan, listener, &seats).await);
    }
    for node in &nodes {
        let mut standing = node.raft.standing();
        within("a member", standing.wait_for(|it| *it == Standing::Member)).await.unwrap();
    }
    nodes
}

async fn start(plan: &Plan, listener: TcpListener, seats: &[String]) -> Node {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let seat = listener.local_addr().unwrap().to_string();
    // Its number is known before its server is there.
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    let scheme = if plan.tls.is_some() { "https" } else { "http" };
    let clock: Arc<dyn Clock> =
        Arc::new(TokioClock::starting_at(Timestamp::from_secs(1_700_000_000)));
    let raft = RaftNode::start(RaftSetup {
        folder: folder.path().to_owned(),
        name: seat.clone(),
        seats: seats.to_vec(),
        listener,
        tls: None,
        connect: Arc::new(Plain),
        keys: Keys::new(Secret::new("open sesame").unwrap()),
        api: plan.api.clone().unwrap_or(format!("{scheme}://{address}")),
        // Only its place tells them apart.
        host: format!("host{}.example", seats.iter().position(|it| *it == seat).unwrap()),
        clock: Arc::clone(&clock),
        shared_keys: BTreeMap::new(),
        kept_alone: None,
        timing: TIMING,
        compaction: Compaction::default(),
    })
    .await
    .unwrap();
    let fleet = FakeFleet::new();
    let handles = system::start(options(&fleet, Arc::clone(&clock))).await.unwrap();
    let services = services(&handles, &fleet, clock, &raft);
    drop(place);
    let options = HttpOptions {
        display: Display::default(),
        connections_max: 1_000,
        listen: Listen::Tcp(address),
        prefix: String::new(),
        status_path: "/api/status".into(),
        tls: plan.tls.as_ref().map(|(server, _)| Arc::clone(server)),
        peer_tls: plan.tls.as_ref().map(|(_, client)| Arc::clone(client)),
        rules: plan.rules.clone(),
    };
    let server = Server::start(services, options).unwrap();
    Node { seat, raft, address, server, handles, _folder: folder }
}

fn options(fleet: &Arc<FakeFleet>, clock: Arc<dyn Clock>) -> Options {
    Options {
        target: Arc::new(FakeTarget(Arc::clone(fleet))),
        recovery: recovery_setup(fleet),
        clock,
        policy: Arc::new(Policy::default()),
        open_store: MemoryStore::default().opener(),
        ledger: None,
        peers: None,
        probing: baton_actors::sharing::Probing::Everybody,
        seeds: Vec::new(),
        arbiters: Vec::new(),
        backoff: Backoff::default(),
        probe_deadline: Duration::from_millis(2_500),
        instances_max: 100,
        connecting_max: 256,
        resolver: None,
        metrics: Metrics::new(),
    }
}

fn services(
    handles: &Handles,
    fleet: &Arc<FakeFleet>,
    clock: Arc<dyn Clock>,
    raft: &RaftNode,
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
        locks: baton_actors::operations::Locks::default(),
    };
    Services {
        raft: Some(raft.clone()),
        snapshot: handles.snapshot.clone(),
        // Each its own: what is told apart here is who was asked.
        ledger: Arc::clone(&handles.ledger),
        discovery: Arc::clone(&handles.discovery),
        recoveries: Arc::clone(&handles.recoveries),
        history: Arc::clone(&handles.history),
        certificates: Arc::clone(&handles.certificates),
        hooks: operations.hooks.clone(),
        operations: Arc::new(operations),
        store_health: handles.store_health.clone(),
        lateness: baton_actors::lateness::Lateness::default(),
        reloader: Arc::new(NoConfiguration),
        registry: handles.metrics.registry(),
        node: NodeName {
            hostname: "host".into(),
            token: "token".into(),
            version: "1".into(),
            backend: "memory".into(),
            started_at: clock.now(),
        },
        clock,
    }
}

impl Node {
    /// Ends its part in the raft, and nothing else.
    pub(crate) async fn leave(&self) {
        self.raft.halt().await;
    }

    pub(crate) async fn until(&self, what: &str, is_so: impl FnMut(&Leadership) -> bool) {
        let mut leadership = self.raft.leadership();
        within(what, leadership.wait_for(is_so)).await.unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, more: &str) -> Answer {
        let text = self.talk(&request(method, path, more)).await.unwrap();
        Answer::of(&text)
    }

    /// Sends a request, and reads to the end of the connection.
    pub(crate) async fn talk(&self, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        read_all(stream).await
    }

    pub(crate) async fn stop(&self) {
        self.server.stop().await;
        self.raft.halt().await;
        self.handles.shutdown().await;
    }
}

/// A request without a body; `more` are lines that end with a line feed, and what follows them.
pub(crate) fn request(method: &str, path: &str, more: &str) -> String {
    let more = if more.contains("\r\n\r\n") { more.to_owned() } else { format!("{more}\r\n") };
    format!("{method} {path} HTTP/1.1\r\nHost: baton\r\nConnection: close\r\n{more}")
}

pub(crate) async fn read_all(mut stream: impl AsyncReadExt + Unpin) -> io::Result<String> {
    let mut text = Vec::new();
    within("an answer", stream.read_to_end(&mut text)).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.starts_with(&format!("{header}:")))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Why a node that does not lead refuses: the message itself is what programs look for.
    pub(crate) fn why(&self) -> String {
        assert_eq!(self.message(), "Unauthorized");
        self.json()["Details"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn message(&self) -> String {
        let json = self.json();
        assert_eq!(json["Code"], "ERROR", "{json}");
        json["Message"].as_str().unwrap().to_owned()
    }
}

/// The one that leads, and the others, who know it.
pub(crate) async fn by_role(nodes: &[Node]) -> (&Node, Vec<&Node>) {
    let leads = nodes.iter().map(|node| {
        Box::pin(async move {
            node.until("a leader", |now| now.role == Role::Leader).await;
            node
        })
    });
    let (leader, ..) = futures_util::future::select_all(leads).await;
    let others: Vec<&Node> = nodes.iter().filter(|it| it.seat != leader.seat).collect();
    for other in &others {
        other.until("it knows", |now| now.leader.as_ref() == Some(&leader.seat)).await;
    }
    (leader, others)
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

pub(crate) async fn stop(nodes: Vec<Node>) {
    for node in &nodes {
        node.stop().await;
    }
}
