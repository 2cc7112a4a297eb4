//! Shares the looks at servers with the other nodes: each server is probed by one of them.
//!
//! Who probes what is decided in [`baton_topology::sharing`], by those who live. A node tells all
//! others what it saw; what it could not reach they look at themselves at once, so that nobody
//! believes in a failure it has not seen, and one of those who can reach it has it from then on. A
//! server that nobody tells of for a while everybody looks at: that the nodes disagree about who
//! lives costs looks, and never leaves a server alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_topology::instance::{Facts, ProbeFailure};
use baton_topology::key::InstanceKey;
use baton_topology::policy::Policy;
use baton_topology::probe::ProbeResult;
use baton_topology::sharing::{Prober, prober_of};
use baton_topology::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::clock::Clock;
use crate::discovery::{DutyChanged, SeenElsewhere};
use crate::ports::{PeerAnswer, PeerMessage, Peers, SnapshotReader};
use crate::supervisor::Outlet;

/// Each node tells each other one something at least this often, if only that it lives.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Who did not answer so many tellings in a row has no share any more.
const MISSED_MAX: u32 = 2;
/// One telling takes no longer than this.
const TELL_WITHIN: Duration = Duration::from_millis(500);
/// Looks told in one go.
const LOOKS_AT_ONCE: usize = 500;

/// Whether servers are divided among the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Probing {
    /// Every node probes every server.
    #[default]
    Everybody,
    /// Each server is probed by one node.
    Shared,
}

/// Shares looks with the other nodes. Clones are the same one.
#[derive(Clone)]
pub struct Sharing {
    shared: Arc<Shared>,
}

struct Shared {
    peers: Arc<dyn Peers>,
    clock: Arc<dyn Clock>,
    snapshot: SnapshotReader,
    policy: watch::Receiver<Arc<Policy>>,
    /// Those who live, this node included, in order.
    probers: watch::Sender<Arc<Vec<Prober>>>,
    /// The other nodes, by name.
    others: Mutex<BTreeMap<String, Other>>,
    /// Who takes in what others saw.
    relayed: Outlet<SeenElsewhere>,
    /// Who has to know that the division is another one.
    duty: Outlet<DutyChanged>,
}

/// What is known of one other node.
#[derive(Default)]
struct Other {
    /// Its data centre, while it answers.
    lives_in: Option<String>,
    /// What it cannot reach, as it told.
    lost: BTreeSet<InstanceKey>,
    queue: Arc<Queue>,
}

/// What one node is still to be told: the newest look at each instance.
#[derive(Default)]
struct Queue {
    looks: Mutex<BTreeMap<InstanceKey, Arc<ProbeResult>>>,
    wake: Notify,
}

impl Queue {
    /// What is told in one go.
    fn next(&self) -> Vec<Arc<ProbeResult>> {
        let mut waiting = lock(&self.looks);
        let next = || waiting.pop_first().map(|(_, look)| look);
        let looks = std::iter::from_fn(next).take(LOOKS_AT_ONCE).collect();
        if !waiting.is_empty() {
            self.wake.notify_one();
        }
        looks
    }
}

/// What one node tells another one: what it saw, if anything. Whoever answers lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Telling {
    /// Who says so.
    node: String,
    /// Said after the listener's last answer, which it gave at this time by its own clock; and how
    /// long after. It may have been on its way for long, or the listener asleep: this is all that
    /// tells how old it is at most.
    after: Option<(Timestamp, Duration)>,
    /// What it saw.
    looks: Vec<RelayedLook>,
}

impl Telling {
    /// What was seen, by the clock here, which says `now`. Nothing may seem newer than it is.
    fn heard_at(self, now: Timestamp) -> Vec<ProbeResult> {
        let told_at = self.after.map(|(answered_at, later)| answered_at.plus(later));
        // Before this node was started anew its clock may have differed.
        let Some(told_at) = told_at.filter(|it| *it <= now) else { return Vec::new() };
        self.looks.into_iter().map(|look| look.told_at(told_at)).collect()
    }
}

/// A look, told to another node. Clocks differ, so it says how long ago it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RelayedLook {
    key: InstanceKey,
    began_micros_ago: u64,
    ended_micros_ago: u64,
    outcome: Result<Arc<Facts>, ProbeFailure>,
}

impl RelayedLook {
    fn of(result: &ProbeResult, now: Timestamp) -> Self {
        let ago = |at| u64::try_from(now.since(at).as_micros()).unwrap_or(u64::MAX);
        Self {
            key: result.key.clone(),
            began_micros_ago: ago(result.started_at),
            ended_micros_ago: ago(result.ended_at),
            outcome: result.outcome.clone(),
        }
    }

    /// The look by the clock here, if it was told at `told_at`, or later.
    fn told_at(self, told_at: Timestamp) -> ProbeResult {
        let ago = |micros| told_at.minus(Duration::from_micros(micros));
        ProbeResult {
            key: self.key,
            started_at: ago(self.began_micros_ago),
            ended_at: ago(self.ended_micros_ago),
            outcome: self.outcome,
            silent_since: None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What sharing works with.
pub struct SharingWorld {
    /// The other nodes.
    pub peers: Arc<dyn Peers>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The newest fleet: it says where servers are.
    pub snapshot: SnapshotReader,
    /// The rules in force: they say where this node is.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Who takes in what others saw.
    pub relayed: Outlet<SeenElsewhere>,
    /// Who has to know that the division is another one.
    pub duty: Outlet<DutyChanged>,
}

impl Sharing {
    /// Everything is this node's until it hears of others.
    pub fn new(world: SharingWorld) -> Self {
        let SharingWorld { peers, clock, snapshot, policy, relayed, duty } = world;
        let shared = Shared {
            peers,
            clock,
            snapshot,
            policy,
            probers: watch::Sender::default(),
            others: Mutex::default(),
            relayed,
            duty,
        };
        let sharing = Self { shared: Arc::new(shared) };
        sharing.review();
        sharing
    }

    /// Those who live, this node included.
    pub fn probers(&self) -> watch::Receiver<Arc<Vec<Prober>>> {
        self.shared.probers.subscribe()
    }

    /// Whether this node probes an instance.
    pub fn is_mine(&self, key: &InstanceKey) -> bool {
        let snapshot = self.shared.snapshot.borrow().clone();
        let place = snapshot.instance(key).map(|it| it.facts.placement.data_center.as_str());
        let probers = self.shared.probers.borrow().clone();
        let others = lock(&self.shared.others);
        let sees_it = |it: &&Prober| others.get(&it.node).is_none_or(|it| !it.lost.contains(key));
        let able = probers.iter().filter(sees_it);
        let prober = prober_of(key, place.unwrap_or_default(), able);
        prober.is_none_or(|it| it.node == self.shared.peers.name())
    }

    /// Tells the others what this node saw, soon; what it could not reach, at once.
    pub fn tell(&self, result: &ProbeResult) {
        let is_failure = result.outcome.is_err();
        let result = Arc::new(result.clone());
        for other in lock(&self.shared.others).values() {
            let mut looks = lock(&other.queue.looks);
            looks.insert(result.key.clone(), Arc::clone(&result));
            if is_failure || looks.len() >= LOOKS_AT_ONCE {
                other.queue.wake.notify_one();
            }
        }
    }

    /// Takes in what another node saw, and says when that was.
    pub fn hear(&self, telling: Telling) -> Timestamp {
        let now = self.shared.clock.now();
        if self.shared.peers.others().contains(&telling.node) {
            self.note_lost(&telling.node, &telling.looks);
            for look in telling.heard_at(now) {
                // A full mailbox: whoever is not told of looks for itself before long.
                let _ = self.shared.relayed.try_send(SeenElsewhere(look));
            }
        }
        now
    }

    /// Remembers what another node does not reach: somebody else has to look at that.
    fn note_lost(&self, node: &str, looks: &[RelayedLook]) {
        let fleet = self.shared.snapshot.borrow().clone();
        let mut others = lock(&self.shared.others);
        let lost = &mut others.entry(node.to_owned()).or_default().lost;
        for look in looks {
            if look.outcome.is_ok() {
                lost.remove(&look.key);
            } else if lost.insert(look.key.clone()) {
                lost.retain(|key| fleet.instance(key).is_some());
            }
        }
    }

    /// Takes note of where a node lives, if it does.
    fn note_life(&self, node: &str, lives_in: Option<String>) {
        if let Some(other) = lock(&self.shared.others).get_mut(node) {
            other.lives_in = lives_in;
        }
        self.review();
    }

    /// Judges anew who lives, and says so when that changed.
    fn review(&self) {
        let shared = &self.shared;
        let me = Prober {
            node: shared.peers.name(),
            data_center: shared.policy.borrow().node_data_center.clone(),
        };
        let mut probers: Vec<Prober> = {
            let others = lock(&shared.others);
            let prober = |(node, other): (&String, &Other)| {
                Some(Prober { node: node.clone(), data_center: other.lives_in.clone()? })
            };
            others.iter().filter_map(prober).chain([me]).collect()
        };
        probers.sort();
        let is_news = shared.probers.send_if_modified(|before| {
            let is_news = **before != probers;
            if is_news {
                *before = Arc::new(probers.clone());
            }
            is_news
        });
        if is_news {
            let nodes: Vec<&str> = probers.iter().map(|it| it.node.as_str()).collect();
            tracing::info!(?nodes, "servers are divided among these nodes");
            // Should it not get through, the next look of each server finds out.
            let _ = shared.duty.try_send(DutyChanged);
        }
    }

    /// Keeps telling the others, whoever they are, until the task is dropped.
    pub async fn run(self) {
        let mut tellers: BTreeMap<String, Teller> = BTreeMap::new();
        let mut tick = interval(TELL_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let others = self.shared.peers.others();
            tellers.retain(|peer, _| others.contains(peer));
            lock(&self.shared.others).retain(|peer, _| others.contains(peer));
            self.review();
            for peer in others {
                tellers.entry(peer.clone()).or_insert_with(|| {
                    let mut known = lock(&self.shared.others);
                    let queue = Arc::clone(&known.entry(peer.clone()).or_default().queue);
                    Teller(tokio::task::spawn_local(self.clone().keep_telling(peer, queue)))
                });
            }
        }
    }

    async fn keep_telling(self, peer: String, queue: Arc<Queue>) {
        // What the other one's clock said, and this one's when it answered.
        let mut answered: Option<(Timestamp, Timestamp)> = None;
        let mut missed = 0;
        loop {
            let looks = if answered.is_some() {
                // Failures do not wait for company.
                let _ = timeout(TELL_EVERY, queue.wake.notified()).await;
                queue.next()
            } else {
                sleep(TELL_EVERY).await;
                Vec::new()
            };
            let now = self.shared.clock.now();
            let message = PeerMessage::Seen(Telling {
                node: self.shared.peers.name(),
                after: answered.map(|(theirs, ours)| (theirs, now.since(ours))),
                looks: looks.iter().map(|it| RelayedLook::of(it, now)).collect(),
            });
            match self.shared.peers.ask(&peer, message, TELL_WITHIN).await {
                Ok(PeerAnswer::Heard { data_center, at }) => {
                    answered = Some((at, self.shared.clock.now()));
                    missed = 0;
                    self.note_life(&peer, Some(data_center));
                }
                // What was to be told is lost: by the time it comes back it is old.
                Ok(_) | Err(_) => {
                    answered = None;
                    missed += 1;
                    if missed == MISSED_MAX {
                        self.note_life(&peer, None);
                    }
                }
            }
        }
    }
}

/// Tells one node until it is dropped.
struct Teller(JoinHandle<()>);

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn nothing_that_is_told_seems_newer_than_it_is() {
        let look = ProbeResult {
            key: InstanceKey::new("db1", 3306),
            started_at: at(1_003),
            ended_at: at(1_004),
            outcome: Ok(Arc::default()),
            silent_since: None,
        };
        let telling = |after| Telling {
            node: "n2".into(),
            after,
            looks: vec![RelayedLook::of(&look, at(1_007))],
        };
        let began = |after, now| {
            let looks = telling(after).heard_at(at(now));
            looks.first().map(|it| (it.started_at, it.ended_at))
        };
        let later = Duration::from_secs(2);
        let expected = Some((at(98), at(99)));
        for (case, after, now, expected) in [
            ("it was told at once", Some((at(100), later)), 102, expected),
            ("it slept for a while", Some((at(100), later)), 160, expected),
            ("its clock was set back", Some((at(100), later)), 101, None),
            ("nobody knows when", None, 102, None),
        ] {
            assert_eq!(began(after, now), expected, "case: {case}");
        }
    }
}
