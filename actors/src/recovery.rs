//! Recovers: begins what the gate lets through, and drives it to its end.
//!
//! What a recovery does is decided in [`baton_topology::recovery`]; how its effects reach servers
//! is in `recovery/run.rs`. Everything this actor knows of a recovery is in the ledger, so that its
//! successor, after a panic or a restart, finds what is under way and goes on with it. So does the
//! same actor of another node once that leads; on a node that does not lead this one stands still.

mod asked;
mod asking;
mod chains;
mod chore;
mod contained;
mod run;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use baton_topology::analysis::Analysis;
use baton_topology::analysis::catalog::{self, Response};
use baton_topology::fleet::News;
use baton_topology::hooks::HookList;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::Command;
use baton_topology::quorum::Polls;
use baton_topology::recovery::former::{regroupable, rejoinable};
use baton_topology::recovery::gate::{self, RUNNING_MAX, Request, Runner};
use baton_topology::recovery::upkeep::{Review, Vigil};
use baton_topology::recovery::{Cause, Fencing, Hooks, Recovery};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;

pub use asked::{Recover, RecoveryHandle};

use asked::{Reply, answer, named};
use asking::Asking;
use contained::{Breaks, contained, judged};

use crate::clock::Clock;
use crate::discovery::LookNow;
use crate::hooks::HookLine;
use crate::mandate::Mandate;
use crate::metrics::Metrics;
use crate::ports::{Control, EventSender, Ledger, ProposeError, RecoverError, SnapshotReader};
use crate::quorum::{Electorate, ROLL_CALL_EVERY};
use crate::supervisor::{Outlet, Queued};

/// Messages that may wait for the actor.
pub const MAILBOX: usize = 1_000;
/// How often problems that did not change are judged again: what stood against acting may be gone.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Whoever begins to lead begins nothing for so long: it looks first. What is under way is taken up
/// at once, for that begins with a look.
const SETTLE: Duration = Duration::from_millis(300);
/// How often it is looked for what else there is to see to.
const KEEP_UP_EVERY: Duration = Duration::from_millis(100);

/// Tells user processes about a recovery.
pub trait Announcer: Send + Sync + 'static {
    /// Runs the processes of a list, each within its deadline.
    fn announce<'a>(
        &'a self,
        list: HookList,
        recovery: &'a Recovery,
        fleet: &'a FleetSnapshot,
    ) -> BoxFuture<'a, Announced>;
}

/// What user processes said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Announced {
    /// For the log of the recovery.
    pub lines: Vec<HookLine>,
    /// Why the recovery is not to go on, if one of them said so.
    pub refusal: Option<String>,
}

/// There are no user processes.
#[derive(Debug, Clone, Copy)]
pub struct Silence;

impl Announcer for Silence {
    fn announce<'a>(
        &'a self,
        _list: HookList,
        _recovery: &'a Recovery,
        _fleet: &'a FleetSnapshot,
    ) -> BoxFuture<'a, Announced> {
        std::future::ready(Announced::default()).boxed()
    }
}

/// What the actor works with.
#[derive(Clone)]
pub struct RecoveryWorld {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The newest fleet.
    pub snapshot: SnapshotReader,
    /// The news.
    pub events: EventSender,
    /// Where everything is agreed upon first.
    pub ledger: Arc<dyn Ledger>,
    /// How servers are changed.
    pub control: Arc<dyn Control>,
    /// Who looks at what was changed.
    pub looks: Outlet<LookNow>,
    /// Who tells user processes.
    pub announcer: Arc<dyn Announcer>,
    /// Makes names for recoveries that nobody ever used.
    pub uids: Arc<dyn Fn() -> Arc<str> + Send + Sync>,
    /// What this node is called.
    pub node: String,
    /// Its token.
    pub token: String,
    /// The counters.
    pub metrics: Metrics,
    /// Those who are asked whether they see a failure too; nobody, when this node is alone.
    pub electorate: Option<Electorate>,
}

impl RecoveryWorld {
    fn runner(&self) -> Runner {
        Runner { uid: (self.uids)(), node: self.node.clone(), token: self.token.clone() }
    }
}

/// A failure was recorded that was not on record.
#[derive(Debug)]
pub struct Detected(pub Box<Analysis>);

impl Message for Detected {
    type Result = ();
}

/// Recovers.
pub struct RecoveryActor {
    world: RecoveryWorld,
    /// What this life of the actor begins or drives.
    busy: BTreeSet<InstanceKey>,
    vigil: Vigil,
    /// The term it knows this node to lead in.
    term: Option<u64>,
    /// Nothing begins before: what the leader before this one did has to be seen first.
    settled_at: Timestamp,
    /// What the other nodes said lately.
    polls: Arc<Polls>,
    /// Who is asked about, and who is not asked about again yet.
    asking: Asking,
    /// Recoveries that panicked.
    breaks: Breaks,
}

impl RecoveryActor {
    /// Knows nothing: what is under way is in the ledger.
    pub fn new(world: RecoveryWorld) -> Self {
        let term = *world.ledger.leading().borrow();
        let polls = Arc::clone(&world.snapshot.borrow().polls);
        Self {
            world,
            busy: BTreeSet::new(),
            vigil: Vigil::default(),
            term,
            settled_at: Timestamp::EPOCH,
            polls,
            asking: Asking::default(),
            breaks: Breaks::default(),
        }
    }

    fn listen(&mut self, mut news: broadcast::Receiver<Arc<News>>, ctx: &mut Context<Self>) {
        let next = async move {
            let item = news.recv().await;
            (item, news)
        };
        ctx.spawn(next.into_actor(self).map(|(item, news), act, ctx| {
            match item {
                Ok(item) => {
                    if let News::ProblemChanged { analysis, .. } = &*item {
                        act.consider(&analysis.key, ctx);
                    }
                }
                // Whatever was missed is found by the next sweep.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
            act.listen(news, ctx);
        }));
    }

    /// Looks at everything: what is under way and driven by nobody, and what could begin.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        if !self.leads() {
            return;
        }
        let fleet = self.world.snapshot.borrow().clone();
        let orphans = fleet.ledger.recoveries.values().filter(|it| it.is_running());
        for recovery in orphans.map(Arc::clone).collect::<Vec<_>>() {
            if !self.busy.contains(recovery.failed()) {
                self.take_up(&recovery, ctx);
            }
        }
        let rejoining = rejoinable(&fleet, self.world.clock.now());
        let rejoining = rejoining.into_iter().map(|key| (key, Cause::RejoinAuto));
        let regrouping = regroupable(&fleet).into_iter().map(|key| (key, Cause::RegroupAuto));
        for (key, cause) in rejoining.chain(regrouping) {
            let (hooks, fencing) = (Hooks::Skip, Fencing::Required);
            self.attempt(&Request { key, cause, wanted: None, hooks, fencing }, ctx);
        }
        let recoverable = fleet.clusters.values().flat_map(|cluster| &cluster.analyses);
        let recoverable = recoverable.filter(|analysis| {
            catalog::entry(analysis.code)
                .is_some_and(|it| it.response(&fleet.policy) == Response::Recover)
        });
        for key in recoverable.map(|analysis| analysis.key.clone()).collect::<Vec<_>>() {
            self.consider(&key, ctx);
        }
    }

    /// Sees to what is not a recovery.
    fn keep_up(&mut self, ctx: &mut Context<Self>) {
        if !self.leads() || !self.is_settled() {
            return;
        }
        let fleet = self.world.snapshot.borrow().clone();
        let Review { chores, looks, hung } = self.vigil.review(&fleet, self.world.clock.now());
        for chore in chores {
            let (world, source) = (self.world.clone(), chore.source.clone());
            let done = contained(chore::do_chore(world, chore, fleet.ledger.index));
            ctx.spawn(done.into_actor(self).map(move |stuck, act, _ctx| {
                if let (Some(source), Some(scout)) = (source, stuck.flatten()) {
                    act.vigil.is_stuck(&source, scout);
                }
            }));
        }
        if !looks.is_empty() {
            // What does not get through is asked for again.
            let _ = self.world.looks.try_send(LookNow(looks));
        }
        for key in hung {
            let cause = Cause::Hung;
            self.attempt(
                &Request {
                    key,
                    cause,
                    wanted: None,
                    hooks: Hooks::Run,
                    fencing: Fencing::Required,
                },
                ctx,
            );
        }
    }

    /// Begins a recovery of its own accord, where it may.
    fn consider(&mut self, key: &InstanceKey, ctx: &mut Context<Self>) {
        let (key, cause) = (key.clone(), Cause::Found);
        self.attempt(
            &Request { key, cause, wanted: None, hooks: Hooks::Run, fencing: Fencing::Required },
            ctx,
        );
    }

    fn attempt(&mut self, request: &Request, ctx: &mut Context<Self>) {
        let key = &request.key;
        if self.busy.contains(key) {
            return;
        }
        // Of those that have begun the gate says so; these may be about to.
        if self.busy.len() >= RUNNING_MAX {
            tracing::debug!(%key, running = self.busy.len(), "no recovery: too many are under way");
            return;
        }
        if !self.leads() || !self.is_settled() {
            return;
        }
        self.count_nodes();
        match self.judge(request) {
            Ok(_) => self.begin(request.clone(), None, ctx),
            Err(error) => {
                tracing::debug!(%key, %error, "no recovery");
                self.ask_others(request, ctx);
            }
        }
    }

    /// Whether this node leads, as far as it knows. Whoever begins to lead looks at what others
    /// changed meanwhile.
    fn leads(&mut self) -> bool {
        let term = *self.world.ledger.leading().borrow();
        if term != self.term {
            self.term = term;
            self.vigil = Vigil::default();
            self.settled_at = self.world.clock.now().plus(SETTLE);
            let ledger = self.world.ledger.state().borrow().clone();
            let touched = |it: &Arc<Recovery>| [&[it.failed().clone()], &*it.replicas].concat();
            let keys: BTreeSet<_> = ledger.recoveries.values().flat_map(touched).collect();
            self.asking = Asking::default();
            if term.is_some() && !keys.is_empty() {
                // What does not get through is found by the next probe.
                let _ = self.world.looks.try_send(LookNow(keys.into_iter().collect()));
            }
        }
        term.is_some()
    }

    fn is_settled(&self) -> bool {
        self.world.clock.now() >= self.settled_at
    }

    /// Judges by what is published, and by the newest ledger: that may be ahead of it, on a node
    /// that has just begun to lead above all.
    fn judge(&self, request: &Request) -> Result<Recovery, RecoverError> {
        self.judge_given(request, &self.polls)
    }

    /// The same, had the other nodes said this.
    fn judge_given(&self, request: &Request, polls: &Arc<Polls>) -> Result<Recovery, RecoverError> {
        let world = &self.world;
        let fleet = world.snapshot.borrow().clone();
        let fleet = FleetSnapshot { polls: Arc::clone(polls), ..(*fleet).clone() };
        let ledger = world.ledger.state().borrow().clone();
        let now = world.clock.now();
        let refused = |refused: baton_topology::recovery::Refused| RecoverError::Refused(refused.0);
        if ledger.index > fleet.ledger.index {
            let mut newest = fleet.clone();
            newest.learn(ledger, now);
            judged(|| gate::begin(request, &newest, &world.runner(), now)).map_err(refused)?;
        }
        judged(|| gate::begin(request, &fleet, &world.runner(), now)).map_err(refused)
    }

    /// Proves that this node leads, judges, has the ledger agree, and then drives.
    fn begin(&mut self, request: Request, reply: Option<Reply>, ctx: &mut Context<Self>) {
        self.busy.insert(request.key.clone());
        let ledger = Arc::clone(&self.world.ledger);
        let proven = async move { Mandate::obtain(&ledger).await };
        ctx.spawn(proven.into_actor(self).map(move |proven, act, ctx| {
            let judged = proven
                .map_err(RecoverError::from)
                .and_then(|mandate| Ok((act.judge(&request)?, mandate)));
            match judged {
                Ok((recovery, mandate)) => {
                    let recovery = named(act.attested(recovery), reply.as_ref());
                    act.agree(recovery, mandate, reply, ctx);
                }
                Err(error) => act.let_be(&request.key, error, reply),
            }
        }));
    }

    fn agree(
        &mut self,
        recovery: Recovery,
        mandate: Mandate,
        reply: Option<Reply>,
        ctx: &mut Context<Self>,
    ) {
        let (key, uid) = (recovery.failed().clone(), Arc::clone(&recovery.uid));
        let command = Command::BeginRecovery { recovery: Arc::new(recovery) };
        let agreed = async move { mandate.propose(command).await.map(|it| (it, mandate)) };
        ctx.spawn(agreed.into_actor(self).map(move |agreed, act, ctx| {
            let begun = agreed.map_err(RecoverError::from).and_then(|(applied, mandate)| {
                let begun = applied.state.recoveries.values().find(|it| it.uid == uid);
                let begun = begun.map(|it| (Arc::clone(it), mandate));
                begun.ok_or_else(|| RecoverError::Refused(vec!["it is gone".into()]))
            });
            match begun {
                Ok((recovery, mandate)) => {
                    act.drive(recovery, mandate, run::Entry::Begin, reply, ctx);
                }
                Err(error) => {
                    tracing::warn!(%key, %error, "a recovery did not begin");
                    act.let_be(&key, error, reply);
                }
            }
        }));
    }

    fn let_be(&mut self, key: &InstanceKey, error: RecoverError, reply: Option<Reply>) {
        self.busy.remove(key);
        answer(reply, Err(error));
    }

    /// Goes on with what somebody else began, as it is once this node has proven that it leads.
    fn take_up(&mut self, recovery: &Recovery, ctx: &mut Context<Self>) {
        let (key, id, begun_at) = (recovery.failed().clone(), recovery.id, recovery.begun_at);
        self.busy.insert(key.clone());
        let ledger = Arc::clone(&self.world.ledger);
        let proven = async move {
            let mandate = Mandate::obtain(&ledger).await?;
            let known = ledger.state().borrow().recoveries.get(&id).cloned();
            // By the clock here: so is what was seen since.
            let here = |it: Arc<Recovery>| Arc::new(Recovery { begun_at, ..(*it).clone() });
            Ok::<_, ProposeError>(known.filter(|it| it.is_running()).map(|it| (here(it), mandate)))
        };
        ctx.spawn(proven.into_actor(self).map(move |proven, act, ctx| match proven {
            Ok(Some((recovery, mandate))) => {
                act.drive(recovery, mandate, run::Entry::Resume, None, ctx);
            }
            Ok(None) => {
                act.busy.remove(&key);
            }
            Err(error) => {
                tracing::warn!(%key, %error, "a recovery is not taken up");
                act.busy.remove(&key);
            }
        }));
    }

    fn drive(
        &mut self,
        recovery: Arc<Recovery>,
        mandate: Mandate,
        entry: run::Entry,
        reply: Option<Reply>,
        ctx: &mut Context<Self>,
    ) {
        let key = recovery.failed().clone();
        let driven = self.breaks.drive(self.world.clone(), mandate, recovery, entry);
        ctx.spawn(driven.into_actor(self).map(move |ended, act, _ctx| {
            act.busy.remove(&key);
            if let Err(error @ ProposeError::NotLeading(_)) = &ended {
                tracing::warn!(%key, %error, "a recovery is left to whoever leads next");
            }
            answer(reply, ended.map_err(RecoverError::from));
        }));
    }
}

impl Actor for RecoveryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.listen(self.world.events.subscribe(), ctx);
        ctx.run_interval(SWEEP_EVERY, Self::sweep);
        ctx.run_interval(KEEP_UP_EVERY, Self::keep_up);
        ctx.run_interval(ROLL_CALL_EVERY, Self::call_roll);
    }
}

impl Handler<Queued<Recover>> for RecoveryActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Recover>, ctx: &mut Self::Context) {
        let (Recover { request, reply }, _handling) = message.open();
        if self.busy.contains(&request.key) {
            let reason = format!("a recovery of {} is under way", request.key);
            return answer(Some(reply), Err(RecoverError::Refused(vec![reason])));
        }
        self.begin(request, Some(reply), ctx);
    }
}

impl Handler<Queued<Detected>> for RecoveryActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Detected>, ctx: &mut Self::Context) {
        let (Detected(analysis), _handling) = message.open();
        let world = self.world.clone();
        let fleet = world.snapshot.borrow().clone();
        let key = analysis.key.clone();
        let now = world.clock.now();
        let detection = || gate::detection(*analysis, &fleet, &world.runner(), now);
        let Some(recovery) = contained::call(detection).flatten() else {
            return;
        };
        let told = contained(async move {
            let told = world.announcer.announce(HookList::FailureDetection, &recovery, &fleet);
            for line in told.await.lines {
                tracing::info!(%key, line = line.text, "failure detection");
            }
        });
        ctx.spawn(told.map(|_told| ()).into_actor(self));
    }
}
