//! What the leader finds is a failure when the other nodes see it too (I7), each with eyes that may
//! be cut off from a server, and each on a line that may be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_actors::clock::{Clock, TokioClock};
use baton_actors::ports::{
    Ear, Parting, PeerAnswer, PeerError, PeerMessage, Peers, ProbeSession, ProbeTarget, Reading,
};
use baton_actors::sharing::Probing;
use baton_actors::system::Options;
use baton_actors::testing::{FakeFleet, FakeTarget, MemoryStore};
use baton_topology::analysis::Code;
use baton_topology::filter::ClusterFilter;
use baton_topology::instance::{FailureKind, ProbeFailure, ThreadState};
use baton_topology::key::InstanceKey;
use baton_topology::policy::Policy;
use baton_topology::quorum::Verdict;
use baton_topology::recovery::gate::Request;
use baton_topology::recovery::{Cause, Fencing, Hooks, Recovery};
use baton_topology::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use super::quorum::{Quorum, Seat};
use super::support::{World, key, star, watch_with};

/// The way to another node takes so long, there and back.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// How one node sees servers.
pub(crate) struct Eyes {
    fleet: Arc<FakeFleet>,
    /// Whom it does not see at all.
    shut: watch::Sender<BTreeSet<InstanceKey>>,
    /// Whether it notices by itself that a connection broke.
    is_watchful: bool,
}

impl Eyes {
    pub(crate) fn close(&self, name: &str) {
        self.shut.send_modify(|shut| {
            shut.insert(key(name));
        });
    }
}

struct Target(Arc<Eyes>);

impl ProbeTarget for Target {
    fn session(&self, key: &InstanceKey) -> Box<dyn ProbeSession> {
        let inner = FakeTarget(Arc::clone(&self.0.fleet)).session(key);
        Box::new(Glance { inner, eyes: Arc::clone(&self.0), key: key.clone() })
    }
}

struct Glance {
    inner: Box<dyn ProbeSession>,
    eyes: Arc<Eyes>,
    key: InstanceKey,
}

impl ProbeSession for Glance {
    fn probe(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        if self.eyes.shut.borrow().contains(&self.key) {
            let message = "no route to host".into();
            let failure = ProbeFailure { kind: FailureKind::Connect, partial: false, message };
            return std::future::ready(Err(failure)).boxed();
        }
        self.inner.probe()
    }

    fn park(&self) -> BoxFuture<'static, Parting> {
        if !self.eyes.is_watchful {
            return std::future::pending().boxed();
        }
        let (inner, key) = (self.inner.park(), self.key.clone());
        let mut shut = self.eyes.shut.subscribe();
        async move {
            tokio::select! {
                parting = inner => parting,
                Ok(_) = shut.wait_for(|shut| shut.contains(&key)) => Parting::Broken,
            }
        }
        .boxed()
    }
}

/// The lines between the nodes.
#[derive(Default)]
pub(crate) struct Exchange {
    ears: Mutex<BTreeMap<usize, Arc<dyn Ear>>>,
    /// Nodes nobody reaches.
    pub(crate) cut: Mutex<BTreeSet<usize>>,
    /// Nodes of a version that does not understand questions.
    old: Mutex<BTreeSet<usize>>,
    /// Questions about instances, and who was asked.
    asked: Mutex<Vec<(usize, InstanceKey)>>,
}

struct Line {
    exchange: Arc<Exchange>,
    number: usize,
    nodes: usize,
}

fn name(number: usize) -> String {
    format!("n{number}")
}

impl Peers for Line {
    fn name(&self) -> String {
        name(self.number)
    }

    fn others(&self) -> Vec<String> {
        (0..self.nodes).filter(|it| *it != self.number).map(name).collect()
    }

    fn ask(
        &self,
        peer: &str,
        message: PeerMessage,
        within: Duration,
    ) -> BoxFuture<'static, Result<PeerAnswer, PeerError>> {
        let number: usize = peer.trim_start_matches('n').parse().expect("a number");
        if let PeerMessage::Look(question) = &message {
            self.exchange.asked.lock().expect("it is whole").push((number, question.key.clone()));
        }
        let (exchange, mine) = (Arc::clone(&self.exchange), self.number);
        let silence = || PeerError::Unanswered("no answer in time".into());
        let answer = async move {
            tokio::time::sleep(ROUND_TRIP / 2).await;
            let is_cut = |number| exchange.cut.lock().expect("it is whole").contains(number);
            if is_cut(&number) || is_cut(&mine) {
                std::future::pending::<()>().await;
            }
            if exchange.old.lock().expect("it is whole").contains(&number) {
                return Err(PeerError::NotUnderstood("404".into()));
            }
            let ear = exchange.ears.lock().expect("it is whole").get(&number).cloned();
            let answer = ear.ok_or_else(silence)?.hear(message).await.ok_or_else(silence);
            tokio::time::sleep(ROUND_TRIP / 2).await;
            answer
        };
        async move { tokio::time::timeout(within, answer).await.unwrap_or_else(|_| Err(silence())) }
            .boxed()
    }

    fn answer_with(&self, ear: Arc<dyn Ear>) {
        self.exchange.ears.lock().expect("it is whole").insert(self.number, ear);
    }
}

/// Nodes that decide together, of which the first one leads.
pub(crate) struct Nodes {
    pub(crate) fleet: Arc<FakeFleet>,
    quorum: Arc<Quorum>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) eyes: Vec<Arc<Eyes>>,
    pub(crate) worlds: Vec<World>,
    clock: Arc<dyn Clock>,
}

/// One node that is to be.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) data_center: &'static str,
    pub(crate) is_watchful: bool,
    pub(crate) poll_interval: Duration,
    pub(crate) probing: Probing,
}

pub(crate) const WATCHFUL: Plan = Plan {
    data_center: "",
    is_watchful: true,
    poll_interval: Duration::from_secs(5),
    probing: Probing::Everybody,
};
/// It notices nothing by itself for a long time.
const DROWSY: Plan =
    Plan { is_watchful: false, poll_interval: Duration::from_secs(3_600), ..WATCHFUL };

impl Nodes {
    pub(crate) async fn of(plans: &[Plan]) -> Self {
        let fleet = star();
        fleet.edit(&key("a"), |facts| facts.placement.data_center = "east".into());
        let (quorum, exchange) = (Quorum::of(plans.len()), Arc::<Exchange>::default());
        let (mut worlds, mut all_eyes) = (Vec::new(), Vec::new());
        let start = Timestamp::from_secs(1_700_000_000);
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(start));
        for (number, plan) in plans.iter().cloned().enumerate() {
            let shut = watch::Sender::default();
            let fleet = Arc::clone(&fleet);
            let eyes = Arc::new(Eyes { fleet, shut, is_watchful: plan.is_watchful });
            let fleet = Arc::clone(&eyes.fleet);
            let seat = Seat { quorum: Arc::clone(&quorum), number, fleet: Arc::clone(&fleet) };
            let line = Line { exchange: Arc::clone(&exchange), number, nodes: plans.len() };
            let sight = Arc::clone(&eyes);
            let its_clock = Arc::clone(&clock);
            let adjust = move |options: &mut Options| {
                options.policy = Arc::new(Policy {
                    recover_primary: vec![ClusterFilter::Any],
                    poll_interval: plan.poll_interval,
                    node_data_center: plan.data_center.into(),
                    ..Policy::default()
                });
                options.target = Arc::new(Target(sight));
                options.ledger = Some(Arc::new(seat.clone()));
                options.peers = Some(Arc::new(line));
                options.probing = plan.probing;
                options.clock = its_clock;
                options.recovery.control = Arc::new(seat);
            };
            let world = watch_with(fleet, MemoryStore::default(), &["a"], adjust).await;
            world.until_valid(&["a", "b", "c", "d"]).await;
            worlds.push(world);
            all_eyes.push(eyes);
        }
        // Connections are parked by then, and the roll was called.
        tokio::time::sleep(Duration::from_secs(30)).await;
        Self { fleet, quorum, exchange, eyes: all_eyes, worlds, clock }
    }

    async fn three() -> Self {
        tokio::time::pause();
        Self::of(&[WATCHFUL, WATCHFUL, WATCHFUL]).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn stop(self) {
        for world in &self.worlds {
            world.handles.shutdown().await;
        }
    }

    /// The replicas lose their source, though it lives.
    pub(crate) fn cut_replicas_off(&self) {
        for name in ["b", "c", "d"] {
            self.fleet.edit(&key(name), |facts| {
                let channel = &mut facts.channels[0];
                channel.receiver = ThreadState::Other;
                channel.receiver_error.number = 2003;
                channel.receiver_error.text = "error connecting to source".into();
            });
        }
    }

    fn recoveries(&self) -> Vec<Arc<Recovery>> {
        self.quorum.state.borrow().recoveries.values().cloned().collect()
    }

    /// How long it takes until a recovery begins; `None` when none does within a minute.
    pub(crate) async fn until_begun(&self) -> Option<Duration> {
        let began = Instant::now();
        let mut state = self.quorum.state.subscribe();
        let begun = state.wait_for(|state| !state.recoveries.is_empty());
        let begun = tokio::time::timeout(Duration::from_secs(60), begun).await;
        begun.is_ok().then(|| began.elapsed())
    }

    /// What the leader makes known of what the others said.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let fleet = self.worlds[0].snapshot();
        fleet.polls.newest.get(&key("a")).map(|it| it.verdict.clone())
    }

    fn told(&self) -> String {
        self.verdict().map(|it| it.reasons().join("; ")).unwrap_or_default()
    }

    /// How often anybody was asked about the primary.
    fn questions(&self) -> usize {
        self.exchange
            .asked
            .lock()
            .expect("it is whole")
            .iter()
            .filter(|(_, it)| *it == key("a"))
            .count()
    }
}

#[actix::test]
async fn what_everybody_sees_is_confirmed_by_one_question_to_each() {
    let nodes = Nodes::three().await;
    nodes.fleet.kill(&key("a"));
    let took = nodes.until_begun().await.expect("everybody sees it");
    let notice = baton_actors::testing::NOTICE_AFTER;
    assert!(took <= notice + ROUND_TRIP + Duration::from_millis(40), "{took:?}");
    assert_eq!(nodes.questions(), 2, "{:?}", nodes.exchange.asked);
    let log = nodes.recoveries()[0].log.clone();
    let said = |text: &str| log.iter().any(|line| line.text.contains(text));
    assert!(said("confirmed by n") && said("n1 sees it dead: connection refused"), "{log:#?}");
}

#[actix::test]
async fn what_only_the_leader_sees_is_no_failure_until_the_others_see_it_too() {
    let nodes = Nodes::three().await;
    nodes.eyes[0].close("a");
    nodes.cut_replicas_off();
    nodes.worlds[0].until_code("a", Code::DeadPrimary).await;
    assert_eq!(nodes.until_begun().await, None, "I7: {:#?}", nodes.recoveries());
    assert_eq!(nodes.fleet.actions(), []);
    let told = nodes.told();
    assert!(told.contains("n1 sees it alive") && told.contains("n2 sees it alive"), "{told}");
    let questions = nodes.questions();
    assert!((20..=80).contains(&questions), "asked again, and ever more rarely: {questions}");

    nodes.eyes[1].close("a");
    nodes.eyes[2].close("a");
    let took = nodes.until_begun().await.expect("all see it");
    assert!(took <= Duration::from_secs(3), "{took:?}");
}

#[actix::test]
async fn a_node_that_has_not_noticed_looks_at_once() {
    tokio::time::pause();
    let nodes = Nodes::of(&[WATCHFUL, DROWSY, DROWSY]).await;
    nodes.fleet.kill(&key("a"));
    let took = nodes.until_begun().await.expect("they look");
    assert!(took <= Duration::from_millis(150), "{took:?}");
    assert_eq!(nodes.questions(), 2);
}

#[actix::test]
async fn whoever_is_near_and_sees_the_primary_alive_has_a_veto_while_it_can_be_reached() {
    tokio::time::pause();
    let [west, north, east] =
        ["west", "north", "east"].map(|data_center| Plan { data_center, ..WATCHFUL });
    let nodes = Nodes::of(&[west, north, east]).await;
    nodes.eyes[0].close("a");
    nodes.eyes[1].close("a");
    nodes.cut_replicas_off();
    assert_eq!(nodes.until_begun().await, None, "{:#?}", nodes.recoveries());
    assert!(matches!(nodes.verdict(), Some(Verdict::Vetoed { .. })), "{:?}", nodes.verdict());
    assert!(nodes.told().contains("vetoed: n2 (east) sees it alive"), "{}", nodes.told());

    nodes.exchange.cut.lock().expect("it is whole").insert(2);
    assert!(nodes.until_begun().await.is_some(), "its data centre is cut off: {}", nodes.told());
}

#[actix::test]
async fn who_does_not_answer_is_waited_for_no_longer_than_is_told() {
    tokio::time::pause();
    let plan = |data_center| Plan { data_center, ..WATCHFUL };
    for (case, plans, at_most) in [
        ("it may have a veto", [plan("west"), plan("west"), plan("east")], 700),
        ("it is elsewhere", [plan("west"), plan("west"), plan("west")], 150),
    ] {
        let nodes = Nodes::of(&plans).await;
        nodes.exchange.cut.lock().expect("it is whole").insert(2);
        nodes.fleet.kill(&key("a"));
        let took = nodes.until_begun().await.expect("two of three are enough");
        assert!(took <= Duration::from_millis(at_most), "{case}: {took:?}");
    }
}

#[actix::test]
async fn a_leader_whom_nobody_answers_does_nothing() {
    let nodes = Nodes::three().await;
    nodes.exchange.cut.lock().expect("it is whole").extend([1, 2]);
    nodes.fleet.kill(&key("a"));
    assert_eq!(nodes.until_begun().await, None, "I7");
    assert!(nodes.told().contains("only 1 of 3 nodes answered"), "{}", nodes.told());
    assert_eq!(nodes.fleet.actions(), []);

    // A person may decide, and need not wait for the answers.
    let request = Request {
        key: key("a"),
        cause: Cause::Asked,
        wanted: None,
        hooks: Hooks::Run,
        fencing: Fencing::Required,
    };
    let done = nodes.worlds[0].handles.recoveries.recover(request).await;
    assert!(done.is_ok_and(|it| it.is_successful()), "I8");
}

#[actix::test]
async fn nodes_of_an_older_version_cannot_be_asked_and_do_not_stand_in_the_way() {
    let nodes = Nodes::three().await;
    nodes.exchange.old.lock().expect("it is whole").extend([1, 2]);
    nodes.fleet.kill(&key("a"));
    assert!(nodes.until_begun().await.is_some(), "{}", nodes.told());
}

#[actix::test]
async fn nodes_that_lost_most_of_the_fleet_are_no_evidence() {
    let nodes = Nodes::three().await;
    // Of four servers they see one.
    for eyes in &nodes.eyes[1..] {
        for name in ["a", "b", "c"] {
            eyes.close(name);
        }
    }
    // The leader sees no more: it may itself be cut off.
    for name in ["a", "b", "c"] {
        nodes.eyes[0].close(name);
    }
    nodes.cut_replicas_off();
    nodes.worlds[0].until_code("a", Code::DeadPrimaryAndSomeReplicas).await;
    assert_eq!(nodes.until_begun().await, None, "I7: {:#?}", nodes.recoveries());
    assert_eq!(nodes.fleet.actions(), []);
}

#[actix::test]
async fn a_peer_that_is_cut_off_from_the_fleet_has_no_say() {
    let nodes = Nodes::three().await;
    for name in ["a", "b", "c"] {
        nodes.eyes[2].close(name);
    }
    // One who sees it alive, and one who sees nothing: the leader has no majority.
    nodes.eyes[0].close("a");
    nodes.cut_replicas_off();
    assert_eq!(nodes.until_begun().await, None, "I7");
    let told = nodes.told();
    assert!(told.contains("n2 cannot tell: this node lost sight of 3 of 4 servers"), "{told}");
    assert!(told.contains("1 of the 2 nodes that can see anything"), "{told}");
}
