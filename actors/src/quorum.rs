//! Asks the other nodes whether they see a failure too, and answers them.
//!
//! What an answer is and what follows from the answers is decided in [`baton_topology::quorum`].
//! A node answers by looks of its own: where it has not looked yet it looks at once, for being
//! asked is reason enough to be suspicious. All of that ends within [`ANSWER_WITHIN`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_topology::fleet::FleetInput;
use baton_topology::policy::Policy;
use baton_topology::quorum::{
    self, Look, Outstanding, Poll, Polls, Question, Report, Sight, settled,
};
use baton_topology::snapshot::FleetSnapshot;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, select_all};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::cluster_analysis::Happened;
use crate::discovery::LookNow;
use crate::ports::{Ear, PeerAnswer, PeerError, PeerMessage, Peers, SnapshotReader};
use crate::sharing::Sharing;
use crate::supervisor::Outlet;

/// So long the others are waited for. Who has not answered by then does not count.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// So long a node looks before it answers what it knows; the rest is for the way.
const LOOK_FOR: Duration = Duration::from_millis(300);
/// Connections to the others are used at least this often, so that they are open when it matters.
pub const ROLL_CALL_EVERY: Duration = Duration::from_secs(20);

/// Looks for others.
#[derive(Clone)]
pub struct Witness {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The newest fleet.
    pub snapshot: SnapshotReader,
    /// Who looks.
    pub looks: Outlet<LookNow>,
}

impl Witness {
    /// Why this node does not believe its own eyes, if it does not (I7).
    fn cut_off(&self) -> Option<String> {
        quorum::isolation(&self.snapshot.borrow().clone(), self.clock.now())
    }

    /// What this node sees, once it has looked; or what it has seen so far, when that takes long.
    pub async fn look(&self, question: &Question) -> Sight {
        let asked_at = self.clock.now();
        let until = Instant::now() + LOOK_FOR;
        let mut snapshot = self.snapshot.clone();
        let mut asked_for = Vec::new();
        loop {
            let fleet = snapshot.borrow_and_update().clone();
            let Look { sight, wanted } = quorum::look(question, &fleet, asked_at);
            if wanted.is_empty() {
                return sight;
            }
            if wanted.iter().any(|key| !asked_for.contains(key)) {
                // What does not get through stays unseen, and is asked for the next time.
                let _ = self.looks.try_send(LookNow(wanted.clone()));
                asked_for.extend(wanted);
            }
            if !matches!(timeout_at(until, snapshot.changed()).await, Ok(Ok(()))) {
                return sight;
            }
        }
    }
}

/// Answers the other nodes.
pub struct Answering {
    /// Who looks.
    pub witness: Witness,
    /// The rules in force: they say where this node is.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Who takes in what others saw, where looks are shared.
    pub sharing: Option<Sharing>,
}

impl Ear for Answering {
    fn hear(&self, message: PeerMessage) -> BoxFuture<'static, Option<PeerAnswer>> {
        let witness = self.witness.clone();
        let data_center = self.policy.borrow().node_data_center.clone();
        let sharing = self.sharing.clone();
        async move {
            Some(match message {
                PeerMessage::Seen(telling) => {
                    let at = sharing?.hear(telling);
                    PeerAnswer::Heard { data_center, at }
                }
                PeerMessage::RollCall => {
                    let cut_off = witness.cut_off();
                    PeerAnswer::Here { data_center, cut_off }
                }
                PeerMessage::Look(question) => {
                    let sight = witness.look(&question).await;
                    tracing::debug!(key = %question.key, ?sight, "asked by the leader");
                    PeerAnswer::Sees { data_center, sight }
                }
            })
        }
        .boxed()
    }
}

/// All nodes that have a vote, as the leader asks them.
#[derive(Clone)]
pub struct Electorate {
    peers: Arc<dyn Peers>,
    witness: Witness,
    /// Where the others are, as they told the last time.
    places: Arc<Mutex<BTreeMap<String, String>>>,
    /// Who publishes what became of it.
    news: Outlet<Happened>,
}

/// What a poll is about.
pub struct Ballot {
    /// What is asked.
    pub question: Question,
    /// The fleet by which it is asked.
    pub fleet: Arc<FleetSnapshot>,
}

impl Electorate {
    /// The nodes behind `peers`, and this one, which looks as `witness` does.
    pub fn new(peers: Arc<dyn Peers>, witness: Witness, news: Outlet<Happened>) -> Self {
        Self { peers, witness, places: Arc::default(), news }
    }

    /// How many have a vote.
    pub fn nodes(&self) -> usize {
        self.peers.others().len() + 1
    }

    /// Lets everybody read what became of questions.
    pub fn publish(&self, polls: &Arc<Polls>) {
        // What does not get through goes with the next one; the leader knows it anyway.
        let _ = self.news.try_send(Happened(FleetInput::Polls(Arc::clone(polls))));
    }

    /// Asks everybody at once, and waits no longer than somebody may change the outcome.
    pub async fn poll(&self, ballot: Ballot) -> Poll {
        let Ballot { question, fleet } = ballot;
        let asked_at = self.witness.clock.now();
        let agreement = fleet.policy.recovery.agreement;
        let place = fleet.instance(&question.key).map(|it| it.facts.placement.data_center.clone());
        let place = place.unwrap_or_default();
        let others = self.peers.others();
        let nodes = others.len() + 1;
        let mut waiting: Vec<BoxFuture<'_, Report>> =
            others.iter().map(|peer| self.ask(peer, &question).boxed()).collect();
        waiting.push(self.own(&question, &fleet.policy).boxed());
        let mut outstanding: Vec<Outstanding> =
            others.iter().map(|peer| self.outstanding(peer)).collect();
        let me = Outstanding {
            node: self.peers.name(),
            data_center: Some(fleet.policy.node_data_center.clone()),
        };
        outstanding.push(me);
        let mut reports = Vec::new();
        loop {
            let (report, _, rest) = select_all(waiting).await;
            waiting = rest;
            outstanding.retain(|it| it.node != report.node);
            reports.push(report);
            if let Some(verdict) = settled(agreement, &place, nodes, &reports, &outstanding) {
                drop(waiting);
                reports.sort_by(|a, b| a.node.cmp(&b.node));
                return Poll { question, asked_at, reports, verdict };
            }
        }
    }

    /// What this node says: it saw which replicas it does not see.
    async fn own(&self, question: &Question, policy: &Policy) -> Report {
        let question = Question { unseen: Vec::new(), ..question.clone() };
        Report {
            node: self.peers.name(),
            data_center: policy.node_data_center.clone(),
            said: Ok(self.witness.look(&question).await),
        }
    }

    async fn ask(&self, peer: &str, question: &Question) -> Report {
        let message = PeerMessage::Look(question.clone());
        let (data_center, said) = match self.peers.ask(peer, message, ANSWER_WITHIN).await {
            Ok(PeerAnswer::Sees { data_center, sight }) => {
                self.note(peer, &data_center);
                (data_center, Ok(sight))
            }
            Ok(PeerAnswer::Here { data_center, .. } | PeerAnswer::Heard { data_center, .. }) => {
                (data_center, Ok(Sight::Unknown))
            }
            // It answered, and cannot say anything of what it sees.
            Err(PeerError::NotUnderstood(why)) => (String::new(), Ok(Sight::Blind { why })),
            Err(PeerError::Unanswered(why)) => (String::new(), Err(why)),
        };
        Report { node: peer.to_owned(), data_center, said }
    }

    fn note(&self, peer: &str, data_center: &str) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(peer.to_owned(), data_center.to_owned());
    }

    fn outstanding(&self, peer: &str) -> Outstanding {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Outstanding { node: peer.to_owned(), data_center: places.get(peer).cloned() }
    }

    /// Opens the ways to the others, and learns where they are.
    pub async fn call_roll(&self) {
        let calls = self.peers.others().into_iter().map(|peer| async move {
            let called = self.peers.ask(&peer, PeerMessage::RollCall, ANSWER_WITHIN).await;
            if let Ok(PeerAnswer::Here { data_center, .. }) = called {
                self.note(&peer, &data_center);
            }
        });
        join_all(calls).await;
    }
}
