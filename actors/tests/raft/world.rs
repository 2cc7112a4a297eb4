//! Several nodes in one process, on loopback, over a network whose links can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use baton_actors::clock::{Clock, TokioClock};
use baton_actors::ports::{Applied, Ledger, ProposeError};
use baton_actors::raft::{
    Compaction, Connect, Connection, Keys, Leadership, RaftNode, RaftSetup, Role, Secret, Standing,
    Timing,
};
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState};
use baton_topology::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, select_all};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
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
const SECRET: &str = "open sesame";

/// What all nodes know. It is made once: that takes a while.
pub(crate) fn secret() -> Secret {
    static MADE: LazyLock<Secret> = LazyLock::new(|| Secret::new(SECRET).unwrap());
    MADE.clone()
}

/// The network: where everybody is, and which ways are cut.
#[derive(Default)]
pub(crate) struct Net {
    addresses: Mutex<BTreeMap<String, SocketAddr>>,
    cut: Mutex<BTreeSet<(String, String)>>,
}

impl Net {
    fn is_cut(&self, from: &str, to: &str) -> bool {
        self.cut.lock().unwrap().contains(&(from.to_owned(), to.to_owned()))
    }

    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        self.addresses.lock().unwrap()[name]
    }

    /// What one says, the other does not hear any more.
    pub(crate) fn cut_one_way(&self, from: &str, to: &str) {
        self.cut.lock().unwrap().insert((from.to_owned(), to.to_owned()));
    }

    /// Whoever is looked for under this name is found there.
    pub(crate) fn is_at(&self, name: &str, address: SocketAddr) {
        self.addresses.lock().unwrap().insert(name.to_owned(), address);
    }

    /// Cuts some off from all others, both ways.
    pub(crate) fn isolate(&self, some: &[&str]) {
        let names: Vec<String> = self.addresses.lock().unwrap().keys().cloned().collect();
        let (inside, outside): (Vec<_>, Vec<_>) =
            names.iter().partition(|name| some.contains(&name.as_str()));
        for one in inside {
            for other in &outside {
                self.cut_one_way(one, other);
                self.cut_one_way(other, one);
            }
        }
    }

    pub(crate) fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }
}

/// The network as one node has it.
pub(crate) struct Wire {
    pub(crate) net: Arc<Net>,
    pub(crate) from: String,
}

impl Connect for Wire {
    fn connect(&self, name: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let (net, from, to) = (Arc::clone(&self.net), self.from.clone(), name.to_owned());
        let address = net.addresses.lock().unwrap().get(name).copied();
        async move {
            if net.is_cut(&from, &to) || net.is_cut(&to, &from) {
                std::future::pending::<()>().await;
            }
            let unknown = || io::Error::new(io::ErrorKind::NotFound, "no such host");
            let stream = TcpStream::connect(address.ok_or_else(unknown)?).await?;
            stream.set_nodelay(true)?;
            Ok(Connection::plain(Link { stream, net, from, to }))
        }
        .boxed()
    }
}

/// A connection that falls silent when its way is cut.
struct Link {
    stream: TcpStream,
    net: Arc<Net>,
    from: String,
    to: String,
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.net.is_cut(&self.to, &self.from) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.net.is_cut(&self.from, &self.to) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

pub(crate) struct World {
    pub(crate) net: Arc<Net>,
    folder: TempDir,
    pub(crate) nodes: BTreeMap<String, RaftNode>,
    seats: Vec<String>,
    pub(crate) compaction: Compaction,
    /// Ledgers that nodes kept while they ran alone.
    pub(crate) kept_alone: BTreeMap<String, Arc<LedgerState>>,
    /// What is configured, by node.
    pub(crate) shared_keys: BTreeMap<String, BTreeMap<String, String>>,
    clock: TokioClock,
    /// How far the clocks of nodes are ahead.
    pub(crate) ahead: BTreeMap<String, Duration>,
}

/// A clock that is wrong.
struct Ahead {
    clock: TokioClock,
    by: Duration,
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.clock.now().plus(self.by)
    }
}

impl World {
    /// Seats, and nobody there.
    pub(crate) fn of(seats: &[&str]) -> Self {
        // In memory where that is possible: that disks may be slow is not what is tested here.
        let memory = tempfile::tempdir_in("/dev/shm");
        Self::in_folder(memory.or_else(|_| tempfile::tempdir()).unwrap(), seats)
    }

    pub(crate) fn in_folder(folder: TempDir, seats: &[&str]) -> Self {
        Self {
            net: Arc::default(),
            folder,
            nodes: BTreeMap::new(),
            seats: seats.iter().map(|&seat| seat.to_owned()).collect(),
            compaction: Compaction::default(),
            kept_alone: BTreeMap::new(),
            shared_keys: BTreeMap::new(),
            clock: TokioClock::starting_at(Timestamp::from_secs(1_800_000_000)),
            ahead: BTreeMap::new(),
        }
    }

    /// Everybody there, and a leader.
    pub(crate) async fn running(seats: &[&str]) -> Self {
        let mut world = Self::of(seats);
        for seat in seats {
            world.start(seat).await;
        }
        world.all_members().await;
        world
    }

    pub(crate) fn setup(&self, name: &str) -> RaftSetup {
        let folder = self.folder(name);
        std::fs::create_dir_all(&folder).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        self.net.addresses.lock().unwrap().insert(name.to_owned(), address);
        RaftSetup {
            folder,
            name: name.to_owned(),
            seats: self.seats.clone(),
            listener,
            tls: None,
            connect: Arc::new(Wire { net: Arc::clone(&self.net), from: name.to_owned() }),
            keys: Keys::new(secret()),
            api: format!("http://{name}"),
            host: format!("host-of-{name}"),
            clock: Arc::new(Ahead {
                clock: self.clock.clone(),
                by: self.ahead.get(name).copied().unwrap_or_default(),
            }),
            shared_keys: self.shared_keys.get(name).cloned().unwrap_or_default(),
            kept_alone: self.kept_alone.get(name).cloned(),
            timing: TIMING,
            compaction: self.compaction,
        }
    }

    /// Starts a node, at an address that nobody knew before.
    pub(crate) async fn start(&mut self, name: &str) -> RaftNode {
        self.start_with(self.setup(name)).await
    }

    pub(crate) async fn start_with(&mut self, setup: RaftSetup) -> RaftNode {
        let name = setup.name.clone();
        let node = RaftNode::start(setup).await.unwrap();
        self.nodes.insert(name, node.clone());
        node
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Ends a node without a word to anybody.
    pub(crate) async fn kill(&mut self, name: &str) {
        self.nodes.remove(name).unwrap().halt().await;
    }

    /// Gives the disk of a node that is not running another name, and all nodes that start from now
    /// on.
    pub(crate) fn rename(&mut self, before: &str, name: &str) {
        std::fs::rename(self.folder(before), self.folder(name)).unwrap();
        self.seats.retain(|it| it != before);
        self.seats.push(name.to_owned());
        self.net.addresses.lock().unwrap().remove(before);
    }

    /// Takes the disk of a node that is not running.
    pub(crate) fn wipe(&self, name: &str) {
        std::fs::remove_dir_all(self.folder(name)).unwrap();
    }

    pub(crate) fn node(&self, name: &str) -> RaftNode {
        self.nodes[name].clone()
    }

    pub(crate) fn except(&self, names: &[&str]) -> Vec<String> {
        self.nodes.keys().filter(|name| !names.contains(&name.as_str())).cloned().collect()
    }

    pub(crate) async fn all_members(&self) {
        for (name, node) in &self.nodes {
            let mut standing = node.standing();
            within(name, standing.wait_for(|it| *it == Standing::Member)).await.unwrap();
        }
    }

    /// Whoever of these leads, once one does.
    pub(crate) async fn leader_among(&self, names: &[String]) -> (String, RaftNode) {
        let leads = names.iter().map(|name| {
            let node = self.node(name);
            let name = name.clone();
            async move {
                let mut leadership = node.leadership();
                leadership.wait_for(|it| it.role == Role::Leader).await.unwrap();
                (name, node)
            }
            .boxed()
        });
        within("a leader", select_all(leads)).await.0
    }

    pub(crate) async fn leader(&self) -> (String, RaftNode) {
        self.leader_among(&self.except(&[])).await
    }

    /// Has everybody apply a tag, and tells who led. Whoever leads may change meanwhile.
    pub(crate) async fn commit(&self, number: u32) -> String {
        self.commit_among(&self.except(&[]), number).await
    }

    pub(crate) async fn commit_among(&self, names: &[String], number: u32) -> String {
        let committed = async {
            loop {
                let (name, node) = self.leader_among(names).await;
                match node.propose(tag(number)).await {
                    Ok(_) => return name,
                    // Somebody else may lead by now.
                    Err(ProposeError::NotLeading(_) | ProposeError::Timeout) => {
                        tokio::task::yield_now().await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        within("a commit", committed).await
    }

    /// Waits until all of these have applied a tag.
    pub(crate) async fn all_have(&self, names: &[String], number: u32) {
        for name in names {
            let mut state = self.node(name).state();
            within(name, state.wait_for(|state| has(state, number))).await.unwrap();
        }
    }
}

pub(crate) fn instance() -> InstanceKey {
    InstanceKey::new("db", 3306)
}

/// A command that can be told from all others.
pub(crate) fn tag(number: u32) -> Command {
    let value = number.to_string().into();
    Command::Tag { key: instance(), name: "number".into(), value }
}

/// Whether the tag is there, or a later one.
pub(crate) fn has(state: &LedgerState, number: u32) -> bool {
    let value = state.tags_of(&instance()).next().map(|(_, value)| value.parse().unwrap_or(0));
    value.is_some_and(|value: u32| value >= number)
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

pub(crate) async fn hears_of(node: &RaftNode, leader: &str) -> Leadership {
    let mut leadership: watch::Receiver<Leadership> = node.leadership();
    within(leader, leadership.wait_for(|it| it.leader.as_deref() == Some(leader)))
        .await
        .unwrap()
        .clone()
}

pub(crate) fn is_unavailable(result: &Result<Applied, ProposeError>) -> bool {
    matches!(result, Err(ProposeError::NotLeading(_) | ProposeError::Unavailable(_)))
}
