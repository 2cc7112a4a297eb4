//! Batons: the real system over the real raft, each in a task set of its own, so that it can be
//! killed or stopped whole.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use baton_actors::clock::TokioClock;
use baton_actors::metrics::Metrics;
use baton_actors::ports::Ledger;
use baton_actors::probe::schedule::Backoff;
use baton_actors::raft::simulated::{self, Letter, Memory, Reply, Wire};
use baton_actors::raft::{Compaction, RaftNode, Timing};
use baton_actors::recovery::Silence;
use baton_actors::system::{self, Handles, Options, RecoverySetup};
use baton_actors::testing::MemoryStore;
use baton_topology::policy::Policy;
use baton_topology::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::chance::Chance;
use super::net::End;
use super::port::Reach;
use super::script::Script;
use super::sim::Sim;

/// When everything begins, by the clocks of the nodes.
const EPOCH_SECONDS: i64 = 1_700_000_000;

type Question = (Letter, oneshot::Sender<Reply>);

/// Where letters to each node go.
#[derive(Default)]
struct Office(Mutex<Vec<Option<mpsc::UnboundedSender<Question>>>>);

impl Office {
    fn boxes(&self) -> MutexGuard<'_, Vec<Option<mpsc::UnboundedSender<Question>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node's way to its peers.
struct Post {
    sim: Arc<Sim>,
    office: Arc<Office>,
    node: usize,
}

fn seat(node: usize) -> String {
    format!("n{node}:10008")
}

impl Wire for Post {
    fn carry(&self, letter: Letter) -> BoxFuture<'static, Option<Reply>> {
        let (sim, office, me) = (Arc::clone(&self.sim), Arc::clone(&self.office), self.node);
        async move {
            let count = office.boxes().len();
            let to = (0..count).find(|node| seat(*node) == letter.to)?;
            let (here, there) = (End::Node(me), End::Node(to));
            if !sim.travel(here, there).await {
                std::future::pending::<()>().await;
            }
            let inbox = office.boxes()[to].clone()?;
            if sim.lock().net.doubles(here, there) {
                // Nobody reads the second answer.
                let _ = inbox.send((letter.clone(), oneshot::channel().0));
            }
            let (reply, answer) = oneshot::channel();
            inbox.send((letter, reply)).ok()?;
            let answer = answer.await.ok()?;
            if !sim.travel(there, here).await {
                std::future::pending::<()>().await;
            }
            Some(answer)
        }
        .boxed()
    }
}

/// What is known of the present life of a node.
#[derive(Default)]
pub(crate) struct Life {
    pub(crate) raft: Option<RaftNode>,
    pub(crate) handles: Option<Handles>,
}

struct Body {
    /// None while it is dead.
    set: Option<LocalSet>,
    is_frozen: bool,
    life: Arc<Mutex<Life>>,
    lives: u64,
    memory: Memory,
    store: MemoryStore,
}

/// All nodes.
pub(crate) struct Nodes {
    sim: Arc<Sim>,
    script: Script,
    policy: Arc<Policy>,
    office: Arc<Office>,
    bodies: Rc<RefCell<Vec<Body>>>,
    waker: Rc<RefCell<Option<Waker>>>,
}

impl Nodes {
    pub(crate) fn new(sim: Arc<Sim>, script: &Script, policy: Arc<Policy>) -> Self {
        let office = Arc::new(Office::default());
        office.boxes().resize_with(script.nodes, || None);
        let body = |node: usize| {
            let chance = Chance::stream(script.seed, &format!("disk {node}"));
            let (chance, most) = (Mutex::new(chance), script.disk_micros);
            let pause = move || {
                let mut chance = chance.lock().unwrap_or_else(PoisonError::into_inner);
                Duration::from_micros(chance.range(0, most))
            };
            Body {
                set: None,
                is_frozen: false,
                life: Arc::default(),
                lives: 0,
                memory: Memory::of(node as u64 + 1, Arc::new(pause)).expect("there is memory"),
                store: MemoryStore::default(),
            }
        };
        let bodies = (0..script.nodes).map(body).collect();
        Self {
            sim,
            script: script.clone(),
            policy,
            office,
            bodies: Rc::new(RefCell::new(bodies)),
            waker: Rc::default(),
        }
    }

    /// Lets all nodes live that are not stopped, for ever; always in the same order.
    pub(crate) fn run(&self) -> impl Future<Output = ()> + use<> {
        let (bodies, waker) = (Rc::clone(&self.bodies), Rc::clone(&self.waker));
        poll_fn(move |context| {
            *waker.borrow_mut() = Some(context.waker().clone());
            for body in bodies.borrow_mut().iter_mut().filter(|it| !it.is_frozen) {
                if let Some(set) = &mut body.set {
                    // It may have nothing to do any more.
                    let _ = Pin::new(set).poll(context);
                }
            }
            Poll::Pending
        })
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.script.nodes
    }

    pub(crate) fn is_alive(&self, node: usize) -> bool {
        self.bodies.borrow()[node].set.is_some()
    }

    pub(crate) fn handles(&self, node: usize) -> Option<Handles> {
        let life = Arc::clone(&self.bodies.borrow()[node].life);
        let life = life.lock().unwrap_or_else(PoisonError::into_inner);
        life.handles.clone()
    }

    pub(crate) fn raft(&self, node: usize) -> Option<RaftNode> {
        let life = Arc::clone(&self.bodies.borrow()[node].life);
        let life = life.lock().unwrap_or_else(PoisonError::into_inner);
        life.raft.clone()
    }

    /// Those that believe to lead.
    pub(crate) fn leaders(&self) -> Vec<usize> {
        let leads = |node: &usize| {
            self.is_alive(*node)
                && self.raft(*node).is_some_and(|raft| raft.leading().borrow().is_some())
        };
        (0..self.count()).filter(leads).collect()
    }

    /// Has something done by a node, if it lives.
    pub(crate) fn ask(&self, node: usize, task: impl Future<Output = ()> + 'static) {
        if let Some(set) = &self.bodies.borrow()[node].set {
            set.spawn_local(task);
        }
        self.wake();
    }

    /// `kill -9`.
    pub(crate) fn kill(&self, node: usize) {
        self.office.boxes()[node] = None;
        let (set, life) = {
            let mut bodies = self.bodies.borrow_mut();
            let body = &mut bodies[node];
            (body.set.take(), std::mem::take(&mut body.life))
        };
        drop((set, life));
        self.sim.lock().forgets(node);
    }

    pub(crate) fn freeze(&self, node: usize) {
        self.bodies.borrow_mut()[node].is_frozen = true;
    }

    pub(crate) fn thaw(&self, node: usize) {
        self.bodies.borrow_mut()[node].is_frozen = false;
        self.wake();
    }

    /// Starts a node that is dead.
    pub(crate) fn start(&self, node: usize) {
        if self.is_alive(node) {
            return;
        }
        let set = LocalSet::new();
        let mut bodies = self.bodies.borrow_mut();
        let body = &mut bodies[node];
        body.lives += 1;
        body.is_frozen = false;
        let setup = simulated::Setup {
            name: seat(node),
            seats: (0..self.script.nodes).map(seat).collect(),
            memory: body.memory.clone(),
            wire: Arc::new(Post {
                sim: Arc::clone(&self.sim),
                office: Arc::clone(&self.office),
                node,
            }),
            timing: Timing::NEAR,
            compaction: Compaction { entries: 40, keep: 10, ..Compaction::default() },
        };
        let options = self.options(node, body.lives, &body.store);
        let (sim, office) = (Arc::clone(&self.sim), Arc::clone(&self.office));
        let life = Arc::clone(&body.life);
        set.spawn_local(live(node, sim, office, setup, options, life));
        body.set = Some(set);
        drop(bodies);
        self.wake();
    }

    fn options(&self, node: usize, lives: u64, store: &MemoryStore) -> Options {
        let reach = Reach { sim: Arc::clone(&self.sim), node };
        let skew = self.script.skew_millis[node] * 1_000;
        let base = Timestamp::from_micros(EPOCH_SECONDS * 1_000_000 + skew);
        let wall = base.plus(Duration::from_micros(self.sim.now()));
        let begun = std::sync::atomic::AtomicU64::new(0);
        let uids = move || {
            let number = begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            format!("{node}-{lives}-{number}").into()
        };
        Options {
            target: Arc::new(reach.clone()),
            recovery: RecoverySetup {
                control: Arc::new(reach),
                announcer: Arc::new(Silence),
                uids: Arc::new(uids),
                node: format!("n{node}"),
                token: format!("token {node}"),
            },
            clock: Arc::new(TokioClock::starting_at(wall)),
            policy: Arc::clone(&self.policy),
            open_store: store.opener(),
            ledger: None,
            peers: None,
            probing: self.script.probing,
            seeds: self.script.seeds(),
            arbiters: Vec::new(),
            backoff: Backoff::default(),
            probe_deadline: Duration::from_millis(2_500),
            instances_max: 1_000,
            connecting_max: 256,
            resolver: None,
            metrics: Metrics::new(),
        }
    }
}

async fn live(
    node: usize,
    sim: Arc<Sim>,
    office: Arc<Office>,
    setup: simulated::Setup,
    mut options: Options,
    life: Arc<Mutex<Life>>,
) {
    let (raft, door) = match simulated::start(setup).await {
        Ok(started) => started,
        Err(error) => {
            sim.lock().is_broken("raft", format!("node {node} does not start: {error}"));
            return;
        }
    };
    let (inbox, mut questions) = mpsc::unbounded_channel();
    office.boxes()[node] = Some(inbox);
    tokio::task::spawn_local(watch_ledger(node, Arc::clone(&sim), raft.clone()));
    tokio::task::spawn_local(watch_leading(node, Arc::clone(&sim), raft.clone()));
    life.lock().unwrap_or_else(PoisonError::into_inner).raft = Some(raft.clone());
    options.peers = Some(Arc::new(raft.clone()));
    options.ledger = Some(Arc::new(raft));
    tokio::task::spawn_local(async move {
        let handles = system::start(options).await.expect("a store in memory opens");
        life.lock().unwrap_or_else(PoisonError::into_inner).handles = Some(handles);
    });
    while let Some((letter, reply)) = questions.recv().await {
        let door = door.clone();
        tokio::task::spawn_local(async move {
            // Whoever asked may be gone.
            let _ = reply.send(door.answer(letter).await);
        });
    }
}

async fn watch_ledger(node: usize, sim: Arc<Sim>, raft: RaftNode) {
    let mut state = raft.state();
    loop {
        let now = state.borrow_and_update().clone();
        if now.index > 0 {
            sim.lock().applied(node, &now);
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

async fn watch_leading(node: usize, sim: Arc<Sim>, raft: RaftNode) {
    let mut leading = raft.leading();
    loop {
        let term = *leading.borrow_and_update();
        if let Some(term) = term {
            sim.lock().leads(node, term);
        }
        if leading.changed().await.is_err() {
            return;
        }
    }
}
