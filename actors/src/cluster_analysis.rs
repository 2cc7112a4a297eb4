//! Holds the fleet: takes in what happened, publishes snapshots and news.
//!
//! What follows from what happened is decided by [`baton_topology::fleet::advance`], who needs a
//! look by [`baton_topology::attention`]. This actor only carries out what they return. Its state
//! is the newest published snapshot, so that its successor goes on where it died.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture,
};
use baton_topology::analysis::Code;
use baton_topology::attention::Watchlist;
use baton_topology::cluster::ClusterId;
use baton_topology::fleet::{self, Advance, FleetInput, News};
use baton_topology::history::{AnalysisChange, DetectionEntry};
use baton_topology::instance::Instance;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::LedgerState;
use baton_topology::policy::Policy;
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::discovery::LookNow;
use crate::metrics::Metrics;
use crate::ports::{EventSender, Ledger};
use crate::probe::ProbeFinished;
use crate::recovery::Detected;
use crate::store::Record;
use crate::supervisor::{Outlet, Queued};

mod aftermath;
mod detections;
mod poison;

/// Messages that may wait for the analysis.
pub const MAILBOX: usize = 20_000;
/// Inputs that are taken in one go.
const BATCH_MAX: usize = 4_096;
/// How often changed instances are handed to the store.
const STORE_EVERY: Duration = Duration::from_secs(5);
/// Whoever is new is handed to it sooner: what is not there is not known after a crash.
const STORE_FOUND_AFTER: Duration = Duration::from_millis(100);
/// How many at once.
const STORE_BATCH_MAX: usize = 2_000;
/// How often the times of looks are handed to the store although nothing else changed.
const STORE_TIMES_EVERY: Duration = Duration::from_secs(60);
/// The pause after a long advance is never longer.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// Timers are not finer than this; a shorter pause is none.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// A wake-up is never closer than this, whatever is due.
const WAKE_MIN: Duration = Duration::from_millis(1);

/// Something happened to the fleet.
#[derive(Debug)]
pub struct Happened(pub FleetInput);

impl Message for Happened {
    type Result = ();
}

/// What the analysis works with.
#[derive(Clone)]
pub struct AnalysisWorld {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The newest fleet.
    pub snapshot: watch::Sender<Arc<FleetSnapshot>>,
    /// Who wants the news.
    pub events: EventSender,
    /// The rules in force.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Where detections are agreed upon.
    pub ledger: Arc<dyn Ledger>,
    /// Who looks when a look is needed now.
    pub looks: Outlet<LookNow>,
    /// Who keeps what is worth keeping.
    pub records: Outlet<Record>,
    /// Who tells user processes of failures.
    pub detections: Outlet<Detected>,
    /// The counters.
    pub metrics: Metrics,
    /// The token of this process.
    pub token: String,
}

/// Holds the fleet.
pub struct ClusterAnalysisActor {
    world: AnalysisWorld,
    inbox: Vec<FleetInput>,
    is_flush_due: bool,
    watchlist: Watchlist,
    wake: Option<(SpawnHandle, Timestamp)>,
    /// Instances whose facts the store does not have yet.
    unstored: BTreeSet<InstanceKey>,
    /// Instances that were looked at since the store last heard of them.
    looked_at: BTreeSet<InstanceKey>,
    is_store_due: bool,
    /// What was detected and is to be recorded, oldest first.
    detections: VecDeque<Arc<DetectionEntry>>,
    is_recording: bool,
    /// What looked like a failure while a recovery made it.
    held_back: BTreeSet<InstanceKey>,
    /// The newest detection the store was given.
    recorded: u64,
    /// When the newest advance ended and how long it took, all that follows from it included.
    newest_advance: (Instant, Duration),
    told: aftermath::Told,
}

impl ClusterAnalysisActor {
    /// Goes on from the newest published snapshot.
    pub fn new(world: AnalysisWorld) -> Self {
        Self {
            world,
            inbox: Vec::new(),
            is_flush_due: false,
            watchlist: Watchlist::default(),
            wake: None,
            unstored: BTreeSet::new(),
            looked_at: BTreeSet::new(),
            is_store_due: false,
            detections: VecDeque::new(),
            is_recording: false,
            held_back: BTreeSet::new(),
            recorded: 0,
            newest_advance: (Instant::now(), Duration::ZERO),
            told: aftermath::Told::default(),
        }
    }

    fn take(&mut self, input: FleetInput, ctx: &mut Context<Self>) {
        self.inbox.push(input);
        if self.inbox.len() >= BATCH_MAX {
            self.flush(ctx);
        } else if !self.is_flush_due {
            self.is_flush_due = true;
            // An advance that was long is followed by as long a pause: a large cluster under a
            // flood of looks is judged in batches, and half of the processor stays free.
            let (ended, cost) = self.newest_advance;
            let pause = cost.min(PAUSE_MAX).saturating_sub(ended.elapsed());
            let wait = async move {
                if pause >= PAUSE_MIN {
                    tokio::time::sleep(pause).await;
                }
            };
            // Runs once the mailbox is empty: whatever waits there is part of the same advance.
            ctx.spawn(wait.into_actor(self).map(|(), act, ctx| {
                act.is_flush_due = false;
                act.flush(ctx);
            }));
        }
    }

    fn flush(&mut self, ctx: &mut Context<Self>) {
        let inputs = std::mem::take(&mut self.inbox);
        let now = self.world.clock.now();
        let before = self.world.snapshot.borrow().clone();
        let (probed, forgotten) = concerned(&inputs);
        let began = Instant::now();
        let Advance { snapshot, touched, news } =
            poison::advance(&before, inputs, now, fleet::advance);
        self.world.metrics.analysis_seconds.observe(began.elapsed().as_secs_f64());
        let snapshot = Arc::new(snapshot);
        self.publish(&snapshot);
        self.told.tell(&before, &snapshot);
        self.note_for_store(&before, &snapshot, probed, forgotten);
        for item in news {
            self.announce(&snapshot, item, now, ctx);
        }
        self.detect_held_back(&snapshot, now, ctx);
        let looks = self.watchlist.review(&snapshot, &touched, now);
        if !looks.keys.is_empty() {
            // What does not get through is due again in the next round.
            let _ = self.world.looks.try_send(LookNow(looks.keys));
        }
        self.wake_at(earlier(fleet::recheck_at(&snapshot), looks.again_at), now, ctx);
        self.newest_advance = (Instant::now(), began.elapsed());
    }

    fn publish(&self, snapshot: &Arc<FleetSnapshot>) {
        let generation = i64::try_from(snapshot.generation).unwrap_or(i64::MAX);
        self.world.metrics.snapshot_generation.set(generation);
        self.world.metrics.snapshot_published.set(snapshot.at.as_micros() as f64 / 1e6);
        self.world.snapshot.send_replace(Arc::clone(snapshot));
    }

    fn wake_at(&mut self, at: Option<Timestamp>, now: Timestamp, ctx: &mut Context<Self>) {
        if self.wake.as_ref().map(|(_, set)| *set) == at {
            return;
        }
        if let Some((timer, _)) = self.wake.take() {
            ctx.cancel_future(timer);
        }
        self.wake = at.map(|at| {
            let timer = ctx.run_later(at.since(now).max(WAKE_MIN), |act, ctx| {
                act.wake = None;
                act.woken(ctx);
            });
            (timer, at)
        });
    }

    /// Time passed: findings may have to be judged again, or looks may be due.
    fn woken(&mut self, ctx: &mut Context<Self>) {
        let now = self.world.clock.now();
        let snapshot = self.world.snapshot.borrow().clone();
        if fleet::recheck_at(&snapshot).is_some_and(|at| at <= now) {
            self.flush(ctx);
            return;
        }
        let looks = self.watchlist.due(&snapshot, now);
        if !looks.keys.is_empty() {
            let _ = self.world.looks.try_send(LookNow(looks.keys));
        }
        self.wake_at(earlier(fleet::recheck_at(&snapshot), looks.again_at), now, ctx);
    }

    fn announce(
        &mut self,
        snapshot: &Arc<FleetSnapshot>,
        news: News,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) {
        match &news {
            News::ProblemChanged { cluster, analysis, before } => {
                let (key, code) = (&analysis.key, analysis.code);
                if code != *before {
                    tracing::warn!(%key, %cluster, ?code, ?before, "problem");
                    self.record_change(key, code, snapshot, now);
                    self.detect(snapshot, cluster, analysis, now, ctx);
                }
            }
            News::ProblemVanished { cluster, key, before } => {
                // What only had a warning about its structure had no problem.
                if *before != Code::NoProblem {
                    tracing::info!(%key, %cluster, ?before, "problem is gone");
                    self.record_change(key, Code::NoProblem, snapshot, now);
                }
            }
            News::InstanceFound(key) => {
                tracing::info!(%key, "instance found");
                self.store_soon(ctx);
            }
            News::InstanceLost(key) => tracing::info!(%key, "instance forgotten"),
        }
        // Nobody listening is no error.
        let _ = self.world.events.send(Arc::new(news));
    }

    /// The change log is about instances that others depend on.
    fn record_change(
        &self,
        key: &InstanceKey,
        code: Code,
        snapshot: &FleetSnapshot,
        now: Timestamp,
    ) {
        if snapshot.member(key).is_some_and(|(_, member)| !member.replicas.is_empty()) {
            let change = AnalysisChange { at: now, key: key.clone(), code };
            self.record(Record::Changes(vec![change]));
        }
    }

    fn record(&self, record: Record) {
        if self.world.records.try_send(record).is_err() {
            self.world.metrics.dropped("store_write", 1);
        }
    }

    fn note_for_store(
        &mut self,
        before: &FleetSnapshot,
        after: &FleetSnapshot,
        probed: Vec<InstanceKey>,
        forgotten: Vec<InstanceKey>,
    ) {
        if !forgotten.is_empty() {
            for key in &forgotten {
                self.unstored.remove(key);
                self.looked_at.remove(key);
            }
            self.record(Record::Forget(forgotten));
        }
        for key in probed {
            let facts = |fleet: &FleetSnapshot| {
                fleet.member(&key).map(|(cluster, member)| {
                    (cluster.id.clone(), Arc::clone(&member.instance.facts))
                })
            };
            let is_same = match (facts(before), facts(after)) {
                (Some((id_before, before)), Some((id_after, after))) => {
                    id_before == id_after && Arc::ptr_eq(&before, &after)
                }
                (_, None) => continue,
                (None, Some(_)) => false,
            };
            if is_same { &mut self.looked_at } else { &mut self.unstored }.insert(key);
        }
    }

    fn store_soon(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.is_store_due, true) {
            ctx.run_later(STORE_FOUND_AFTER, |act, ctx| {
                act.is_store_due = false;
                act.hand_to_store(ctx);
            });
        }
    }

    fn hand_to_store(&mut self, _ctx: &mut Context<Self>) {
        let snapshot = self.world.snapshot.borrow().clone();
        let keys: Vec<_> = self.unstored.iter().take(STORE_BATCH_MAX).cloned().collect();
        let rows: Vec<(Arc<Instance>, ClusterId)> = keys
            .iter()
            .filter_map(|key| snapshot.member(key))
            .map(|(cluster, member)| (Arc::clone(&member.instance), cluster.id.clone()))
            .collect();
        if keys.is_empty() || self.world.records.try_send(Record::Instances(rows)).is_err() {
            // Nothing is lost: they stay noted and go with the next batch.
            return;
        }
        for key in &keys {
            self.unstored.remove(key);
            self.looked_at.remove(key);
        }
    }

    fn hand_times_to_store(&mut self, _ctx: &mut Context<Self>) {
        self.unstored.append(&mut self.looked_at);
    }

    fn watch_ledger(
        &mut self,
        mut changes: watch::Receiver<Arc<LedgerState>>,
        ctx: &mut Context<Self>,
    ) {
        let state = changes.borrow_and_update().clone();
        self.record_detections(&state);
        self.take(FleetInput::Ledger(state), ctx);
        let changed = async move { changes.changed().await.map(|()| changes) };
        ctx.spawn(changed.into_actor(self).map(|changes, act, ctx| {
            if let Ok(changes) = changes {
                act.watch_ledger(changes, ctx);
            }
        }));
    }

    /// What was found before this node began to lead may have been recorded by nobody.
    fn watch_leadership(
        &mut self,
        mut changes: watch::Receiver<Option<u64>>,
        ctx: &mut Context<Self>,
    ) {
        let changed = async move { changes.changed().await.map(|()| changes) };
        ctx.spawn(changed.into_actor(self).map(|changes, act, ctx| {
            let Ok(changes) = changes else { return };
            let snapshot = act.world.snapshot.borrow().clone();
            let now = act.world.clock.now();
            for (id, cluster) in &snapshot.clusters {
                for analysis in &cluster.analyses {
                    act.detect(&snapshot, id, analysis, now, ctx);
                }
            }
            act.watch_leadership(changes, ctx);
        }));
    }

    fn watch_policy(&mut self, mut changes: watch::Receiver<Arc<Policy>>, ctx: &mut Context<Self>) {
        let policy = changes.borrow_and_update().clone();
        if !Arc::ptr_eq(&policy, &self.world.snapshot.borrow().policy) {
            self.take(FleetInput::Policy(policy), ctx);
        }
        let changed = async move { changes.changed().await.map(|()| changes) };
        ctx.spawn(changed.into_actor(self).map(|changes, act, ctx| {
            if let Ok(changes) = changes {
                act.watch_policy(changes, ctx);
            }
        }));
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// The instances that were probed, and those that were forgotten.
fn concerned(inputs: &[FleetInput]) -> (Vec<InstanceKey>, Vec<InstanceKey>) {
    let mut probed = Vec::new();
    let mut forgotten = Vec::new();
    for input in inputs {
        match input {
            FleetInput::Probed(result) | FleetInput::Relayed(result) => {
                probed.push(result.key.clone());
            }
            FleetInput::Forgotten(keys) => forgotten.extend(keys.iter().cloned()),
            _ => {}
        }
    }
    (probed, forgotten)
}

impl Actor for ClusterAnalysisActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.watch_policy(self.world.policy.clone(), ctx);
        self.watch_ledger(self.world.ledger.state(), ctx);
        self.watch_leadership(self.world.ledger.leading(), ctx);
        ctx.run_interval(STORE_EVERY, Self::hand_to_store);
        ctx.run_interval(STORE_TIMES_EVERY, Self::hand_times_to_store);
    }
}

impl Handler<Queued<ProbeFinished>> for ClusterAnalysisActor {
    type Result = ();

    fn handle(&mut self, message: Queued<ProbeFinished>, ctx: &mut Self::Context) {
        let (ProbeFinished(result), _handling) = message.open();
        self.take(FleetInput::Probed(result), ctx);
    }
}

impl Handler<Queued<Happened>> for ClusterAnalysisActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Happened>, ctx: &mut Self::Context) {
        let (Happened(input), _handling) = message.open();
        self.take(input, ctx);
    }
}
