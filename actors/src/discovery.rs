//! Knows which instances exist, and keeps one probe for each.
//!
//! It starts and retires probes and crawls from what they read. Whether somebody is followed is
//! decided in [`baton_topology::crawl`], what an instance's state means in the analysis.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use actix_rt::ArbiterHandle;
use baton_topology::crawl::{self, Identity, Renaming, Standing};
use baton_topology::fleet::FleetInput;
use baton_topology::instance::ProbeFailure;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::LedgerState;
use baton_topology::names::HostNames;
use baton_topology::time::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::cluster_analysis::Happened;
use crate::ports::SnapshotReader;
use crate::probe::{self, FirstLook, ProbeActor, ProbeNow, ProbeWorld, Sighting};
use crate::store::Record;
use crate::supervisor::{Child, Outlet, Place, Queued, Restart};

mod ask;
mod handle;
mod housekeeping;
pub mod resolve;
pub mod share;
mod told;

pub use handle::DiscoveryHandle;
use resolve::HostResolver;
use share::Shares;
pub use told::{DutyChanged, SeenElsewhere};

/// Messages that may wait for discovery.
pub const MAILBOX: usize = 20_000;
/// News for the analysis that may wait while that is busy or being rebuilt.
const UNSENT_MAX: usize = 100_000;
/// How soon what was not taken is offered again.
const RESEND_AFTER: Duration = Duration::from_millis(50);
/// How long new names are gathered before the analysis hears of them.
const NAMES_AFTER: Duration = Duration::from_millis(20);
/// How often names of dead servers are looked behind, and unseen instances forgotten.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(10);
/// Known instances begin to be probed this far apart after a start, within one poll interval.
const RESTORE_SPREAD: Duration = Duration::from_micros(500);

/// Watch an instance and follow what it leads to.
#[derive(Debug)]
pub struct Discover {
    /// The instance, by any name.
    pub key: InstanceKey,
    /// How sure it is that it exists.
    pub standing: Standing,
    /// Who wants to know how the first look went, and the canonical name.
    pub reply: Option<oneshot::Sender<Result<InstanceKey, ProbeFailure>>>,
}

impl Message for Discover {
    type Result = ();
}

/// Look at these instances now.
#[derive(Debug)]
pub struct LookNow(pub Vec<InstanceKey>);

impl Message for LookNow {
    type Result = ();
}

/// Forget all resolutions of names.
#[derive(Debug)]
pub struct ForgetNames;

impl Message for ForgetNames {
    type Result = ();
}

/// The probes, which outlive the actor that keeps them.
pub type Roster = Arc<Mutex<BTreeMap<InstanceKey, Entry>>>;

/// One probe.
#[derive(Debug)]
pub struct Entry {
    child: Child<ProbeActor>,
    counts: Arc<AtomicBool>,
    /// The server that named it first, if that is why it is watched.
    named_by: Option<InstanceKey>,
    started_at: Timestamp,
    /// How many other names led to it, each the one before it.
    renames: u8,
    /// Set once the name it goes by is not followed.
    keeps_name: Arc<AtomicBool>,
}

/// Ends all probes.
pub(crate) fn retire_all(roster: &Roster) {
    for (_, entry) in std::mem::take(&mut *roster.lock().unwrap_or_else(PoisonError::into_inner)) {
        entry.child.retire();
    }
}

/// What discovery works with.
#[derive(Clone)]
pub struct DiscoveryWorld {
    /// What all probes share.
    pub probes: ProbeWorld,
    /// The probes there are.
    pub roster: Roster,
    /// Where probes run; on discovery's own arbiter when empty.
    pub arbiters: Vec<ArbiterHandle>,
    /// Never more probes than this.
    pub instances_max: usize,
    /// What people have set.
    pub ledger: watch::Receiver<Arc<LedgerState>>,
    /// The newest fleet.
    pub snapshot: SnapshotReader,
    /// Resolutions, published.
    pub names: watch::Sender<Arc<HostNames>>,
    /// How host names are resolved before they are used; `None` takes them as they are.
    pub resolver: Option<Arc<dyn HostResolver>>,
    /// Who wants to know what exists.
    pub news: Outlet<Happened>,
    /// Who keeps the names.
    pub records: Outlet<Record>,
}

/// Knows which instances exist.
pub struct DiscoveryActor {
    world: DiscoveryWorld,
    /// Names that are being resolved, and who asked for what they lead to.
    resolving: BTreeMap<InstanceKey, Vec<Wish>>,
    /// The servers that named what is watched.
    shares: Shares,
    /// The ledger as far as it was followed.
    followed: Arc<LedgerState>,
    unsent: VecDeque<FleetInput>,
    are_names_due: bool,
    next_arbiter: usize,
}

type Reply = Option<oneshot::Sender<Result<InstanceKey, ProbeFailure>>>;

/// Why an instance is to be watched.
struct Wish {
    /// How sure it is that it exists.
    standing: Standing,
    /// The server that named it, if that is why.
    named_by: Option<InstanceKey>,
    /// How many names led to it.
    renames: u8,
    /// Who waits for the first look.
    reply: Reply,
}

impl Wish {
    /// Nobody waits, and no server is asked to answer for it.
    fn of(standing: Standing) -> Self {
        Self { standing, named_by: None, renames: 0, reply: None }
    }
}

impl DiscoveryActor {
    /// Takes over the probes there are.
    pub fn new(world: DiscoveryWorld) -> Self {
        Self {
            world,
            resolving: BTreeMap::new(),
            shares: Shares::default(),
            followed: Arc::default(),
            unsent: VecDeque::new(),
            are_names_due: false,
            next_arbiter: 0,
        }
    }

    fn roster(&self) -> MutexGuard<'_, BTreeMap<InstanceKey, Entry>> {
        self.world.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.world.probes.clock.now()
    }

    fn names(&self) -> Arc<HostNames> {
        self.world.names.borrow().clone()
    }

    /// Watches `given` under its canonical name, unless rules or limits forbid it. A caller that
    /// waits for a refused one is told by its channel closing.
    fn enlist(&mut self, given: InstanceKey, wish: Wish, ctx: &mut Context<Self>) {
        let key = self.names().resolve(&given);
        if self.roster().contains_key(&key) {
            self.poke(key, wish.standing, wish.reply, ctx);
            return;
        }
        match self.world.resolver.clone() {
            Some(resolver) if key == given => self.look_up(resolver, key, wish, ctx),
            _ => self.start(key, wish, FirstLook::After(Duration::ZERO), ctx),
        }
    }

    /// Starts a probe, unless there is one, or rules or limits forbid it.
    fn start(&mut self, key: InstanceKey, wish: Wish, first: FirstLook, ctx: &mut Context<Self>) {
        let now = self.now();
        let is_forbidden = crawl::is_ignored(&self.world.probes.policy.borrow(), &key)
            || self.world.ledger.borrow().is_forgotten(&key, now);
        let count = self.roster().len();
        if is_forbidden {
            return;
        }
        if count >= self.world.instances_max {
            self.world.probes.metrics.dropped("discovery", 1);
            return;
        }
        if self.roster().contains_key(&key) {
            self.poke(key, wish.standing, wish.reply, ctx);
        } else {
            let entry = self.build(&key, wish, first, now);
            self.roster().insert(key, entry);
        }
    }

    fn build(
        &mut self,
        key: &InstanceKey,
        wish: Wish,
        first: FirstLook,
        started_at: Timestamp,
    ) -> Entry {
        let Wish { standing, named_by, renames, mut reply } = wish;
        let turns = named_by.as_ref().map(|namer| self.shares.turns(namer));
        let world = self.world.probes.clone();
        let child = Child::new(probe::MAILBOX, Restart::PROBE, world.metrics.actor("probe"));
        let counts = Arc::new(AtomicBool::new(standing == Standing::Vouched));
        let place = match self.world.arbiters.get(self.next_arbiter) {
            Some(arbiter) => Place::On(arbiter.clone()),
            None => Place::Here,
        };
        self.next_arbiter = (self.next_arbiter + 1) % self.world.arbiters.len().max(1);
        let mut first = first;
        let (key, shared) = (key.clone(), Arc::clone(&counts));
        let keeps_name = Arc::new(AtomicBool::new(false));
        let kept = Arc::clone(&keeps_name);
        child.start(&place, move || {
            let first = std::mem::replace(&mut first, FirstLook::AfterDeath);
            let probe = ProbeActor::new(key.clone(), Arc::clone(&shared), first, world.clone());
            let probe = probe.keeping_its_name(Arc::clone(&kept));
            probe.answering(reply.take()).waiting_its_turn(turns.clone())
        });
        Entry { child, counts, named_by, started_at, renames, keeps_name }
    }

    fn retire(&mut self, key: &InstanceKey) {
        if let Some(entry) = self.roster().remove(key) {
            entry.child.retire();
        }
    }

    /// Retires probes and lets the fleet forget their instances.
    fn forget(&mut self, keys: Vec<InstanceKey>, ctx: &mut Context<Self>) {
        for key in &keys {
            self.retire(key);
        }
        if !keys.is_empty() {
            self.emit(FleetInput::Forgotten(keys), ctx);
        }
    }

    fn emit(&mut self, news: FleetInput, ctx: &mut Context<Self>) {
        self.unsent.push_back(news);
        if self.unsent.len() > UNSENT_MAX {
            self.unsent.pop_front();
            self.world.probes.metrics.dropped("discovery", 1);
        }
        if self.unsent.len() == 1 {
            self.send(ctx);
        }
    }

    /// Sends in order; what does not get through is offered again.
    fn send(&mut self, ctx: &mut Context<Self>) {
        while let Some(news) = self.unsent.pop_front() {
            if let Err(undelivered) = self.world.news.try_send(Happened(news)) {
                self.unsent.push_front(undelivered.into_inner().0);
                ctx.run_later(RESEND_AFTER, Self::send);
                return;
            }
        }
    }

    fn learn(&mut self, given: &InstanceKey, canonical: &str) -> bool {
        let names = self.names();
        let learned = Arc::new(names.with(given.host(), canonical));
        let is_new = learned != names;
        if is_new {
            self.world.names.send_replace(learned);
            let (given, canonical) = (given.host().to_owned(), canonical.to_owned());
            self.record(Record::Name { given, canonical });
        }
        is_new
    }

    /// Tells the analysis about new names a little later: each telling has it look at the whole
    /// fleet, and names come in swarms.
    fn tell_names(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.are_names_due, true) {
            ctx.run_later(NAMES_AFTER, |act, ctx| {
                act.are_names_due = false;
                let names = act.names();
                act.emit(FleetInput::Names(names), ctx);
            });
        }
    }

    fn record(&self, record: Record) {
        if self.world.records.try_send(record).is_err() {
            self.world.probes.metrics.dropped("store_write", 1);
        }
    }

    /// An instance answered to `probed` but goes by `canonical`. Whether it is watched by that name.
    fn rename(
        &mut self,
        probed: &InstanceKey,
        canonical: InstanceKey,
        identity: Identity,
        ctx: &mut Context<Self>,
    ) -> bool {
        let snapshot = self.world.snapshot.borrow().clone();
        let earlier = self.roster().get(probed).map(|it| (it.named_by.clone(), it.renames));
        let (named_by, renames) = earlier.unwrap_or_default();
        let names_max = self.world.instances_max.saturating_mul(2);
        let renaming = Renaming { probed, canonical: &canonical, identity, renames, names_max };
        if let Some(why) = crawl::why_not_renamed(&renaming, &self.names(), &snapshot) {
            let roster = self.roster();
            if roster.get(probed).is_some_and(|it| !it.keeps_name.swap(true, Ordering::Relaxed)) {
                tracing::warn!(%probed, %canonical, why, "the name a server goes by is not followed");
            }
            return false;
        }
        let before = self.names().resolve(probed);
        if self.learn(probed, canonical.host()) {
            tracing::info!(%probed, %canonical, "name resolved");
            self.tell_names(ctx);
        }
        let mut gone = BTreeSet::from([probed.clone()]);
        // The name led elsewhere before: what it led to moved here, unless that still answers.
        gone.insert(before);
        let names = self.names();
        let is_gone = |key: &InstanceKey| {
            let is_failed = |key| snapshot.instance(key).is_none_or(|it| it.is_failed());
            let is_missed = |key| crawl::is_replicated_from(key, &names, &snapshot);
            *key != canonical && (key == probed || (is_failed(key) && !is_missed(key)))
        };
        self.forget(gone.into_iter().filter(is_gone).collect(), ctx);
        let renames = renames.saturating_add(1);
        let wish = Wish { named_by, renames, ..Wish::of(Standing::Vouched) };
        self.start(canonical, wish, FirstLook::After(Duration::ZERO), ctx);
        true
    }

    /// Starts probes for everything the fleet knows, spread over a moment.
    fn restore(&mut self, ctx: &mut Context<Self>) {
        let snapshot = self.world.snapshot.borrow().clone();
        let poll = snapshot.policy.poll_interval;
        let mut delay = Duration::ZERO;
        for (_, member) in snapshot.members() {
            if !self.roster().contains_key(member.key()) {
                let first = FirstLook::After(delay);
                self.start(member.key().clone(), Wish::of(Standing::Vouched), first, ctx);
                delay = (delay + RESTORE_SPREAD).min(poll);
            }
        }
    }

    fn watch_ledger(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let ledger = self.world.ledger.borrow_and_update().clone();
        let forgotten: Vec<_> = {
            let roster = self.roster();
            let keys = ledger.forgotten.keys().filter(|key| ledger.is_forgotten(key, now));
            keys.filter(|key| roster.contains_key(*key)).cloned().collect()
        };
        self.forget(forgotten, ctx);
        let before = std::mem::replace(&mut self.followed, Arc::clone(&ledger));
        let is_new = |(key, at): &(&_, &_)| before.discovered.get(*key) != Some(*at);
        let news = ledger.discovered.iter().filter(is_new);
        for (key, _) in news {
            // Somebody saw it from another node. Whether it is to be seen from here, time will tell.
            self.enlist(key.clone(), Wish::of(Standing::Hearsay), ctx);
        }
        let mut changes = self.world.ledger.clone();
        let changed = async move { changes.changed().await.is_ok() };
        ctx.spawn(changed.into_actor(self).map(|is_open, act, ctx| {
            if is_open {
                act.watch_ledger(ctx);
            }
        }));
    }
}

impl Actor for DiscoveryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.restore(ctx);
        // The one before this may have died before it told.
        self.tell_names(ctx);
        self.watch_ledger(ctx);
        ctx.run_interval(HOUSEKEEPING_EVERY, Self::keep_house);
    }
}

impl Handler<Queued<Discover>> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Discover>, ctx: &mut Self::Context) {
        let (Discover { key, standing, reply }, _handling) = message.open();
        self.enlist(key, Wish { reply, ..Wish::of(standing) }, ctx);
    }
}

impl Handler<Queued<Sighting>> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Sighting>, ctx: &mut Self::Context) {
        let (sighting, _handling) = message.open();
        match sighting {
            Sighting::Answered { probed, canonical, identity, follow } => {
                // A probe that was retired meanwhile has no say.
                if !self.roster().contains_key(&probed) {
                    return;
                }
                let is_known =
                    canonical == probed || self.rename(&probed, canonical.clone(), identity, ctx);
                let namer = if is_known { canonical } else { probed };
                self.follow(&namer, follow, ctx);
            }
            Sighting::GivenUp(key) => {
                tracing::debug!(%key, "never answered and given up");
                self.retire(&key);
            }
        }
    }
}

impl Handler<Queued<LookNow>> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, message: Queued<LookNow>, _ctx: &mut Self::Context) {
        let (LookNow(keys), _handling) = message.open();
        let roster = self.roster();
        for entry in keys.iter().filter_map(|key| roster.get(key)) {
            // A full mailbox means that looks are waiting there already.
            let _ = entry.child.try_send(ProbeNow::default());
        }
    }
}

impl Handler<Queued<ForgetNames>> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, message: Queued<ForgetNames>, ctx: &mut Self::Context) {
        let (ForgetNames, _handling) = message.open();
        self.world.names.send_replace(Arc::default());
        self.record(Record::ForgetNames);
        self.tell_names(ctx);
    }
}
