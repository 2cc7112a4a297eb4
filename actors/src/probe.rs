//! Watches one instance: its connection, its schedule, its deadline.
//!
//! A probe never blocks the actor: it runs in the actor's context and hands the session back when
//! it ends. Nothing is decided here about what an instance's state means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture,
};
use baton_topology::crawl;
use baton_topology::instance::{FailureKind, ProbeFailure};
use baton_topology::key::InstanceKey;
use baton_topology::policy::Policy;
use baton_topology::probe::ProbeResult;
use baton_topology::time::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::clock::Clock;
use crate::lateness::{speaking_with, timeout};
use crate::metrics::Metrics;
use crate::ports::{Parting, ProbeSession, ProbeTarget, Reading};
use crate::sharing::Sharing;
use crate::supervisor::{Outlet, Queued, Undelivered};

pub mod schedule;
mod sighting;

use schedule::{Backoff, Failing};
pub use sighting::Sighting;

/// Messages that may wait for one probe: looks are merged, so few make sense.
pub const MAILBOX: usize = 16;
/// Callers that may wait for the next probe of one instance.
const WAITING_MAX: usize = 64;
/// Two probes of one instance begin at least this far apart, whoever asks.
const GAP_MIN: Duration = Duration::from_millis(5);
/// A parked connection that lasted this long was certainly opened.
const STOOD_AFTER: Duration = Duration::from_secs(30);
/// How soon a report that was not taken is offered again.
const RESEND_AFTER: Duration = Duration::from_millis(50);
/// What an instance leads to is told again after this time even if it did not change.
const RETELL_AFTER: Duration = Duration::from_secs(60);
/// An instance that others look at is looked at when nothing was heard of it for two intervals and
/// this.
const HEARD_LATE: Duration = Duration::from_secs(2);
/// What becomes a node's to probe is looked at within this time.
const TAKE_OVER_WITHIN: Duration = Duration::from_millis(500);
/// An instance known by hearsay only is given up after this many failures.
const HEARSAY_FAILURES_MAX: u32 = 3;

/// Look at the instance now instead of waiting for the schedule.
#[derive(Debug, Default)]
pub struct ProbeNow {
    /// Who wants to know how it went, and the canonical name.
    pub reply: Option<oneshot::Sender<Result<InstanceKey, ProbeFailure>>>,
}

impl Message for ProbeNow {
    type Result = ();
}

/// Another node looked, and saw it well.
#[derive(Debug)]
pub struct Relieved;

impl Message for Relieved {
    type Result = ();
}

/// Whoever probes the instance may be another one now.
#[derive(Debug)]
pub struct Reassigned;

impl Message for Reassigned {
    type Result = ();
}

/// From now on the instance counts as existing even if it never answers.
#[derive(Debug)]
pub struct Vouch;

impl Message for Vouch {
    type Result = ();
}

/// A probe of an instance ended.
#[derive(Debug, Clone)]
pub struct ProbeFinished(pub ProbeResult);

impl Message for ProbeFinished {
    type Result = ();
}

/// What all probes share.
#[derive(Clone)]
pub struct ProbeWorld {
    /// The servers.
    pub target: Arc<dyn ProbeTarget>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The rules in force.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// How dead servers are tried again.
    pub backoff: Backoff,
    /// A probe that takes longer is given up together with its session, should the session not
    /// keep its own deadlines.
    pub deadline: Duration,
    /// The counters.
    pub metrics: Metrics,
    /// Who wants to know how probes end.
    pub reports: Outlet<ProbeFinished>,
    /// Who follows what they find.
    pub sightings: Outlet<Sighting>,
    /// Who else looks, where looks are shared.
    pub sharing: Option<Sharing>,
    /// How many may connect at a time.
    pub connecting: Connecting,
}

/// How many probes may be connecting at a time: a fleet that is lost at once is not to be connected
/// to at once, over and over. Those of servers that were lost wait among themselves, so that a
/// thousand dead ones delay no healthy one.
#[derive(Debug, Clone)]
pub struct Connecting {
    first: Arc<Semaphore>,
    again: Arc<Semaphore>,
}

impl Connecting {
    /// At most so many at a time, and as many to servers that did not answer before.
    pub fn new(most: usize) -> Self {
        let some = || Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        Self { first: some(), again: some() }
    }
}

/// Waits for a turn, where there is one to wait for. It lasts until what is returned is dropped.
pub(crate) async fn turn(turns: Option<Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    match turns {
        // Closed it never is.
        Some(turns) => turns.acquire_owned().await.ok(),
        None => None,
    }
}

/// When a new probe begins to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstLook {
    /// After this time.
    After(Duration),
    /// At once; the probe before this one died, which is reported as a failure.
    AfterDeath,
}

/// Watches one instance.
pub struct ProbeActor {
    key: InstanceKey,
    world: ProbeWorld,
    first: FirstLook,
    /// The instance is part of the fleet even when it does not answer: it once did, or somebody
    /// vouches for it. Shared with the probes that come after this one's death.
    counts: Arc<AtomicBool>,
    /// Whether it goes by the name it is probed by, whatever it says.
    keeps_name: Arc<AtomicBool>,
    /// Where it waits together with all others that the same server named, until it has answered.
    share: Option<Arc<Semaphore>>,
    /// Away while a probe runs.
    session: Option<Box<dyn ProbeSession>>,
    activity: Activity,
    last_began: Option<Timestamp>,
    /// Whether any probe has ended.
    has_ended: bool,
    failing: Option<Failing>,
    /// When the parked connection should have said something, if it did not.
    silent_since: Option<Timestamp>,
    timer: Option<SpawnHandle>,
    parked: Option<SpawnHandle>,
    unsent: Option<ProbeFinished>,
    waiting: Vec<oneshot::Sender<Result<InstanceKey, ProbeFailure>>>,
    told: Option<(Sighting, Timestamp)>,
}

/// What the probe is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Idle,
    Probing,
    /// Somebody asked for another look while one is under way.
    ProbingAndAgain,
}

type Outcome = Result<Reading, ProbeFailure>;

impl ProbeActor {
    /// A probe of `key` that has not looked yet.
    pub fn new(
        key: InstanceKey,
        counts: Arc<AtomicBool>,
        first: FirstLook,
        world: ProbeWorld,
    ) -> Self {
        Self {
            key,
            world,
            first,
            counts,
            keeps_name: Arc::default(),
            share: None,
            session: None,
            activity: Activity::Idle,
            last_began: None,
            has_ended: false,
            failing: None,
            silent_since: None,
            timer: None,
            parked: None,
            unsent: None,
            waiting: Vec::new(),
            told: None,
        }
    }

    /// Tells a caller how the first look goes.
    #[must_use]
    pub fn answering(
        mut self,
        reply: Option<oneshot::Sender<Result<InstanceKey, ProbeFailure>>>,
    ) -> Self {
        self.waiting.extend(reply);
        self
    }

    /// Has it report what it reads under the name it is probed by, whatever the server says, while this is
    /// set.
    #[must_use]
    pub fn keeping_its_name(mut self, keeps: Arc<AtomicBool>) -> Self {
        self.keeps_name = keeps;
        self
    }

    /// Has it wait, until it has answered, for a turn among all that the same server named.
    #[must_use]
    pub fn waiting_its_turn(mut self, turns: Option<Arc<Semaphore>>) -> Self {
        self.share = turns;
        self
    }

    fn look_now(&mut self, ctx: &mut Context<Self>) {
        if self.activity != Activity::Idle {
            self.activity = Activity::ProbingAndAgain;
            return;
        }
        let now = self.world.clock.now();
        let gap = self.last_began.map_or(GAP_MIN, |began| now.since(began));
        if gap < GAP_MIN {
            self.look_in(GAP_MIN - gap, ctx);
        } else {
            self.begin(now, ctx);
        }
    }

    fn look_in(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = Some(ctx.run_later(pause, |act, ctx| {
            act.timer = None;
            act.look_now(ctx);
        }));
    }

    fn begin(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.activity = Activity::Probing;
        self.last_began = Some(now);
        self.world.metrics.probe_attempts.inc();
        let mut session =
            self.session.take().unwrap_or_else(|| self.world.target.session(&self.key));
        let deadline = self.world.deadline;
        let share = self.share.clone();
        let turn = self.turn_to_connect();
        let clock = Arc::clone(&self.world.clock);
        let key = self.key.clone();
        let probe = async move {
            let share = self::turn(share).await;
            let turn = self::turn(turn).await;
            // Waiting for a turn says nothing of the server.
            let began = if share.is_some() || turn.is_some() { clock.now() } else { now };
            match timeout(deadline, speaking_with(key, session.probe())).await {
                Ok(outcome) => (began, Some(session), outcome),
                // The session is in an unknown state: it is not used again.
                Err(_) => (began, None, Err(overdue(deadline))),
            }
        };
        let ended = move |(began, session, outcome), act: &mut Self, ctx: &mut Context<Self>| {
            act.session = session;
            act.has_ended = true;
            act.ended(began, outcome, ctx);
        };
        ctx.spawn(probe.into_actor(self).map(ended));
    }

    /// Where this probe waits for its turn, if it has to connect, as far as is known here.
    fn turn_to_connect(&self) -> Option<Arc<Semaphore>> {
        let connecting = &self.world.connecting;
        match (self.failing.is_some(), self.has_ended) {
            (true, _) => Some(Arc::clone(&connecting.again)),
            (false, false) => Some(Arc::clone(&connecting.first)),
            (false, true) => None,
        }
    }

    fn ended(&mut self, started_at: Timestamp, outcome: Outcome, ctx: &mut Context<Self>) {
        let ended_at = self.world.clock.now();
        self.world.metrics.probe_seconds.observe(ended_at.since(started_at).as_secs_f64());
        let reply = match outcome {
            Ok(reading) => self.answered(started_at, ended_at, reading, ctx),
            Err(failure) => self.failed(started_at, ended_at, failure, ctx),
        };
        for waiting in self.waiting.drain(..) {
            // Whoever asked may have stopped waiting.
            let _ = waiting.send(reply.clone());
        }
        let wanted_again = self.activity == Activity::ProbingAndAgain;
        self.activity = Activity::Idle;
        if wanted_again {
            self.look_now(ctx);
        } else {
            self.look_by_schedule(ended_at, ctx);
        }
    }

    fn look_by_schedule(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let poll = self.world.policy.borrow().poll_interval;
        let pause = if self.is_watched_by_another() {
            poll * 2 + HEARD_LATE
        } else {
            schedule::pause(&self.key, self.failing, poll, self.world.backoff, now)
        };
        self.look_in(pause, ctx);
    }

    /// Whether this node need not look. In trouble it does.
    fn is_watched_by_another(&self) -> bool {
        let sharing = self.world.sharing.as_ref();
        self.failing.is_none() && sharing.is_some_and(|it| !it.is_mine(&self.key))
    }

    fn answered(
        &mut self,
        started_at: Timestamp,
        ended_at: Timestamp,
        reading: Reading,
        ctx: &mut Context<Self>,
    ) -> Result<InstanceKey, ProbeFailure> {
        self.failing = None;
        self.share = None;
        self.silent_since = None;
        let Reading { canonical, facts } = reading;
        let follow = crawl::follow(&self.world.policy.borrow(), &facts);
        let sighting = Sighting::Answered {
            probed: self.key.clone(),
            canonical: canonical.clone(),
            identity: (facts.server_uuid, facts.server_id),
            follow,
        };
        self.tell(sighting, ended_at);
        let keeps_name = self.keeps_name.load(Ordering::Relaxed);
        let canonical = if keeps_name { self.key.clone() } else { canonical };
        // Under another name it is somebody else's to report.
        if canonical == self.key {
            self.counts.store(true, Ordering::Relaxed);
            if facts.replicas.is_empty() || self.is_watched_by_another() {
                self.unpark(ctx);
            } else {
                self.park(ctx);
            }
            let outcome = Ok(Arc::new(facts));
            let key = self.key.clone();
            let silent_since = None;
            self.report(ProbeResult { key, started_at, ended_at, outcome, silent_since }, ctx);
        }
        Ok(canonical)
    }

    fn failed(
        &mut self,
        started_at: Timestamp,
        ended_at: Timestamp,
        failure: ProbeFailure,
        ctx: &mut Context<Self>,
    ) -> Result<InstanceKey, ProbeFailure> {
        if failure.kind == FailureKind::Local {
            self.world.metrics.probe_failed(failure.kind);
            tracing::debug!(key = %self.key, %failure.message, "not probed");
            return Err(failure);
        }
        let failing = self.failing.get_or_insert(Failing { since: started_at, count: 0 });
        failing.count = failing.count.saturating_add(1);
        let failures = failing.count;
        self.world.metrics.probe_failed(failure.kind);
        tracing::debug!(key = %self.key, failures, %failure.message, "probe failed");
        if self.counts.load(Ordering::Relaxed) {
            let outcome = Err(failure.clone());
            let key = self.key.clone();
            let silent_since = self.silent_since;
            self.report(ProbeResult { key, started_at, ended_at, outcome, silent_since }, ctx);
        } else if failures >= HEARSAY_FAILURES_MAX {
            // Should this not get through, the next failure says it again.
            let _ = self.world.sightings.try_send(Sighting::GivenUp(self.key.clone()));
        }
        Err(failure)
    }

    fn tell(&mut self, sighting: Sighting, now: Timestamp) {
        let is_known = self
            .told
            .as_ref()
            .is_some_and(|(told, at)| *told == sighting && now.since(*at) < RETELL_AFTER);
        // What does not get through is told again after the next probe.
        if !is_known && self.world.sightings.try_send(sighting.clone()).is_ok() {
            self.told = Some((sighting, now));
        }
    }

    fn report(&mut self, result: ProbeResult, ctx: &mut Context<Self>) {
        if let Some(sharing) = &self.world.sharing {
            sharing.tell(&result);
        }
        let is_resend_due = self.unsent.is_some();
        match self.world.reports.try_send(ProbeFinished(result)) {
            Ok(()) => self.unsent = None,
            // Only the newest is worth keeping: a later look knows more than an earlier one.
            Err(Undelivered::Full(report) | Undelivered::Down(report)) => {
                self.world.metrics.dropped("report", usize::from(is_resend_due));
                self.unsent = Some(report);
                if !is_resend_due {
                    ctx.run_later(RESEND_AFTER, Self::resend);
                }
            }
        }
    }

    fn resend(&mut self, ctx: &mut Context<Self>) {
        if let Some(report) = self.unsent.take()
            && let Err(undelivered) = self.world.reports.try_send(report)
        {
            self.unsent = Some(undelivered.into_inner());
            ctx.run_later(RESEND_AFTER, Self::resend);
        }
    }

    fn park(&mut self, ctx: &mut Context<Self>) {
        if self.parked.is_some() {
            return;
        }
        let Some(session) = &self.session else { return };
        let since = self.world.clock.now();
        let parked = speaking_with(self.key.clone(), session.park());
        let parting = parked.into_actor(self).map(move |parting, act, ctx| {
            act.parked = None;
            let stood = act.world.clock.now().since(since);
            // A server that shuts down in good order may end the connection with a refusal. All
            // others are opened again after the next successful probe.
            let is_news = match parting {
                Parting::Broken | Parting::Silent(_) => true,
                Parting::Refused => stood >= STOOD_AFTER,
                Parting::Expired => false,
            };
            if let Parting::Silent(for_so_long) = parting {
                act.silent_since = Some(act.world.clock.now().minus(for_so_long));
            }
            if is_news {
                tracing::debug!(key = %act.key, "parked connection broke");
                act.look_now(ctx);
            }
        });
        self.parked = Some(ctx.spawn(parting));
    }

    fn unpark(&mut self, ctx: &mut Context<Self>) {
        if let Some(parked) = self.parked.take() {
            ctx.cancel_future(parked);
        }
    }

    fn report_own_death(&mut self, ctx: &mut Context<Self>) {
        let now = self.world.clock.now();
        let failure = ProbeFailure {
            kind: FailureKind::Protocol,
            partial: false,
            message: "the probe died while it looked; see the log".into(),
        };
        let outcome = Err(failure);
        let key = self.key.clone();
        let (started_at, ended_at, silent_since) = (now, now, None);
        self.report(ProbeResult { key, started_at, ended_at, outcome, silent_since }, ctx);
    }
}

fn overdue(deadline: Duration) -> ProbeFailure {
    ProbeFailure {
        kind: FailureKind::Timeout,
        partial: false,
        message: format!("no answer within {} ms", deadline.as_millis()),
    }
}

impl Actor for ProbeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        match self.first {
            FirstLook::After(pause) if pause.is_zero() => self.look_now(ctx),
            FirstLook::After(pause) => self.look_in(pause, ctx),
            FirstLook::AfterDeath => {
                tracing::error!(key = %self.key, "the probe of this instance died and was rebuilt");
                if self.counts.load(Ordering::Relaxed) {
                    self.report_own_death(ctx);
                }
                self.look_now(ctx);
            }
        }
    }
}

impl Handler<Queued<ProbeNow>> for ProbeActor {
    type Result = ();

    fn handle(&mut self, message: Queued<ProbeNow>, ctx: &mut Self::Context) {
        let (message, _handling) = message.open();
        // Beyond the limit the caller is told by its channel closing.
        if let Some(reply) = message.reply
            && self.waiting.len() < WAITING_MAX
        {
            self.waiting.push(reply);
        }
        self.look_now(ctx);
    }
}

impl Handler<Queued<Relieved>> for ProbeActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Relieved>, ctx: &mut Self::Context) {
        let (Relieved, _handling) = message.open();
        // The first look is everybody's own.
        let has_looked = self.last_began.is_some() && self.activity == Activity::Idle;
        if has_looked && self.is_watched_by_another() {
            self.unpark(ctx);
            self.look_by_schedule(self.world.clock.now(), ctx);
        }
    }
}

impl Handler<Queued<Reassigned>> for ProbeActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Reassigned>, ctx: &mut Self::Context) {
        let (Reassigned, _handling) = message.open();
        if self.last_began.is_none() || self.activity != Activity::Idle || self.failing.is_some() {
            return;
        }
        let now = self.world.clock.now();
        if self.is_watched_by_another() {
            self.unpark(ctx);
            self.look_by_schedule(now, ctx);
        } else if self.parked.is_none() {
            let backoff = self.world.backoff;
            self.look_in(schedule::pause(&self.key, None, TAKE_OVER_WITHIN, backoff, now), ctx);
        }
    }
}

impl Handler<Queued<Vouch>> for ProbeActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Vouch>, ctx: &mut Self::Context) {
        let (Vouch, _handling) = message.open();
        // A failure that was kept back is worth telling now.
        if !self.counts.swap(true, Ordering::Relaxed) && self.failing.is_some() {
            self.look_now(ctx);
        }
    }
}
