//! A deterministic simulation: batons with their raft, probes and recoveries over servers in
//! memory, on simulated time and a simulated network, all from one seed.
//!
//! First things go wrong for a while, with the invariants checked at every event. Then everything
//! heals, and the system has to get well again.
#![allow(dead_code, reason = "the test and the benchmark each use a part")]

pub(crate) mod chance;
pub(crate) mod checks;
pub(crate) mod mysql;
pub(crate) mod net;
pub(crate) mod node;
pub(crate) mod port;
pub(crate) mod script;
pub(crate) mod sim;
pub(crate) mod trace;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_actors::raft::simulated::repeat;
use baton_topology::analysis::{Analysis, Code};
use baton_topology::filter::ClusterFilter;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, Downtime, LedgerState};
use baton_topology::policy::{Policy, RecoveryPolicy};
use baton_topology::recovery::gate::{Request, Runner};
use baton_topology::recovery::preview::verdict;
use baton_topology::recovery::{
    Acknowledgement, Cause, End as RecoveryEnd, Fencing, Hooks, Phase, Recovery,
};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use mysql::{Belongs, Micros, Server};
use net::End;
use node::Nodes;
use script::{Fault, Script, Whom};
use sim::Sim;
use trace::Trace;

/// How long everything may take to be seen at the beginning.
const BEGIN_WITHIN: Micros = 40_000_000;
/// How long the system may take to get well once everything healed.
const WELL_WITHIN: Micros = 240_000_000;
/// A person looks at what does not get well by itself after this.
const PERSON_AFTER: Micros = 90_000_000;
/// Commits may wait for acknowledgements until their time-out, over and over.
const WRITTEN_WITHIN: Micros = 4_000_000;
/// How often it is looked whether all is well.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a downtime lasts that somebody asks for.
const DOWNTIME: Duration = Duration::from_secs(20);

/// How a schedule went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) broken: Vec<String>,
    pub(crate) trace: Trace,
    pub(crate) took: Micros,
    pub(crate) recoveries: u64,
    pub(crate) opened: u64,
    pub(crate) acknowledged: u64,
    /// Somebody had to acknowledge or force something.
    pub(crate) needed_a_person: bool,
    /// It did not get well by itself, and baton said so.
    pub(crate) was_left_to_people: bool,
}

/// Plays the schedule of a seed.
pub(crate) fn play(seed: u64, trace: Trace) -> Outcome {
    repeat(Some(seed));
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("there is a thread");
    let outcome = LocalSet::new().block_on(&runtime, World::play(Script::of(seed), trace));
    drop(runtime);
    repeat(None);
    outcome
}

/// Plays the schedules of all these seeds, on so many threads.
pub(crate) fn play_all(seeds: Range<u64>, threads: usize) -> Vec<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let outcome = play(seed, Trace::hashed());
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|it| it.seed);
    outcomes
}

struct World {
    script: Script,
    sim: Arc<Sim>,
    nodes: Nodes,
    needed_a_person: bool,
    was_left_to_people: bool,
}

impl World {
    async fn play(script: Script, trace: Trace) -> Outcome {
        let sim = Sim::new(script.seed, script.net(), script.servers(), trace);
        {
            let mut inner = sim.lock();
            inner.checks.is_strict = script.semi.source && script.semi.timeout_micros.is_none();
            inner.trace.note(0, || format!("{script:?}"));
            (1..inner.servers.len()).for_each(|server| inner.attempt_later(server));
            (0..2).for_each(|_| inner.add_client(script.seed));
        }
        tokio::task::spawn_local(Arc::clone(&sim).run());
        let nodes = Nodes::new(Arc::clone(&sim), &script, Arc::new(policy(&script)));
        tokio::task::spawn_local(nodes.run());
        (0..script.nodes).for_each(|node| nodes.start(node));
        let mut world =
            Self { script, sim, nodes, needed_a_person: false, was_left_to_people: false };
        world.begin().await;
        world.let_things_go_wrong().await;
        world.heal().await;
        (0..world.nodes.count()).for_each(|node| world.nodes.kill(node));
        let mut inner = world.sim.lock();
        Outcome {
            seed: world.script.seed,
            broken: std::mem::take(&mut inner.checks.broken),
            trace: std::mem::replace(&mut inner.trace, Trace::hashed()),
            took: inner.now,
            recoveries: inner.checks.recoveries,
            opened: inner.checks.opened,
            acknowledged: inner.checks.acknowledged.count(),
            needed_a_person: world.needed_a_person,
            was_left_to_people: world.was_left_to_people,
        }
    }

    fn is_broken(&self) -> bool {
        !self.sim.lock().checks.broken.is_empty()
    }

    /// Everybody is seen by everybody, and somebody leads.
    async fn begin(&self) {
        let servers: Vec<_> = {
            let inner = self.sim.lock();
            let there = inner.servers.iter().filter(|it| it.belongs != Belongs::Nowhere);
            there.map(|it| it.key.clone()).collect()
        };
        while self.sim.now() < BEGIN_WITHIN {
            let sees = |node: usize| {
                let Some(handles) = self.nodes.handles(node) else { return false };
                let fleet = handles.snapshot.borrow().clone();
                servers.iter().all(|key| fleet.instance(key).is_some_and(|it| it.is_valid()))
            };
            if (0..self.nodes.count()).all(sees) && self.nodes.leaders().len() == 1 {
                let now = self.sim.now();
                self.sim.lock().trace.note(now, || "everybody is seen".into());
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.sim.lock().is_broken("begin", "not everybody is seen".into());
    }

    async fn let_things_go_wrong(&mut self) {
        let began = self.sim.now();
        for (at, fault) in self.script.faults.clone() {
            let wait = (began + at).saturating_sub(self.sim.now());
            tokio::time::sleep(Duration::from_micros(wait)).await;
            if self.is_broken() {
                return;
            }
            self.go_wrong(fault);
        }
        // The last one has its time, too.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    fn who(&self, whom: Whom) -> Option<End> {
        let inner = self.sim.lock();
        match whom {
            Whom::Server(server) => Some(End::Server(server)),
            Whom::Node(node) => Some(End::Node(node)),
            Whom::Primary => {
                inner.servers.iter().find(|it| !it.read_only).map(|it| End::Server(it.number))
            }
            Whom::Leader => {
                drop(inner);
                self.nodes.leaders().first().map(|node| End::Node(*node))
            }
        }
    }

    fn everybody(&self) -> Vec<End> {
        let servers = (0..self.script.sources.len()).map(End::Server);
        (0..self.nodes.count()).map(End::Node).chain(servers).collect()
    }

    fn cut(&self, one: End, others: impl IntoIterator<Item = End>) {
        let mut inner = self.sim.lock();
        inner.net_since = inner.now;
        for other in others.into_iter().filter(|other| *other != one) {
            inner.net.cut(one, other);
            inner.net.cut(other, one);
        }
    }

    fn go_wrong(&self, fault: Fault) {
        let now = self.sim.now();
        self.sim.lock().trace.note(now, || format!("{fault:?}"));
        match fault {
            Fault::Crash(whom, power) => {
                if let Some(End::Server(server)) = self.who(whom) {
                    self.sim.lock().crash(server, power);
                }
            }
            Fault::Restore(whom) => {
                if let Some(End::Server(server)) = self.who(whom) {
                    self.sim.lock().restore(server);
                }
            }
            Fault::RestoreAll => {
                (0..self.script.sources.len()).for_each(|it| self.sim.lock().restore(it));
            }
            Fault::Lag(whom, micros) => {
                if let Some(End::Server(server)) = self.who(whom) {
                    self.sim.lock().servers[server].lag_micros = micros;
                }
            }
            Fault::HoldApplier(whom) | Fault::LetApplierGo(whom) | Fault::WriteLocally(whom) => {
                let Some(End::Server(server)) = self.who(whom) else { return };
                let mut inner = self.sim.lock();
                match fault {
                    Fault::HoldApplier(_) => inner.hold_applier(server),
                    Fault::LetApplierGo(_) => inner.let_applier_go(server),
                    _ => inner.write_locally(server),
                }
            }
            Fault::HoldAppliers => {
                (0..self.script.sources.len()).for_each(|it| self.sim.lock().hold_applier(it));
            }
            Fault::LetAppliersGo => self.let_appliers_go(),
            Fault::Kill(whom) | Fault::Freeze(whom) => {
                if let Some(End::Node(node)) = self.who(whom) {
                    match fault {
                        Fault::Kill(_) => self.nodes.kill(node),
                        _ => self.nodes.freeze(node),
                    }
                }
            }
            // Who leads is not who was hit: all are brought back.
            Fault::Start(_) => (0..self.nodes.count()).for_each(|it| self.nodes.start(it)),
            Fault::Thaw(_) => (0..self.nodes.count()).for_each(|it| self.nodes.thaw(it)),
            Fault::Lose(percent) => self.sim.lock().net.loss = percent,
            Fault::HealNetwork => {
                let mut inner = self.sim.lock();
                inner.net_since = inner.now;
                inner.net.heal();
            }
            Fault::TakeOver | Fault::Downtime | Fault::Yield => self.ask(fault),
            _ => self.cut_network(fault),
        }
    }

    fn let_appliers_go(&self) {
        (0..self.script.sources.len()).for_each(|it| self.sim.lock().let_applier_go(it));
    }

    fn cut_network(&self, fault: Fault) {
        let nodes = (0..self.nodes.count()).map(End::Node);
        let servers = (0..self.script.sources.len()).map(End::Server);
        match fault {
            Fault::CutSite(whom) => {
                let Some(end) = self.who(whom) else { return };
                let site = self.sim.lock().net.site(end);
                let is_in = |end: &End| self.sim.lock().net.site(*end) == site;
                let (inside, outside): (Vec<End>, Vec<End>) =
                    self.everybody().into_iter().partition(is_in);
                inside.into_iter().for_each(|end| self.cut(end, outside.clone()));
            }
            Fault::CutOneWay(one, other) => {
                if let (Some(one), Some(other)) = (self.who(one), self.who(other)) {
                    let mut inner = self.sim.lock();
                    inner.net_since = inner.now;
                    inner.net.cut(one, other);
                }
            }
            Fault::CutBoth(one, other) => {
                if let (Some(one), Some(other)) = (self.who(one), self.who(other)) {
                    self.cut(one, [other]);
                }
            }
            Fault::CutFromServers(whom) => {
                if let Some(end) = self.who(whom) {
                    self.cut(end, servers);
                }
            }
            Fault::CutFromBatons(whom) => {
                if let Some(end) = self.who(whom) {
                    self.cut(end, nodes);
                }
            }
            _ => {}
        }
    }

    /// Somebody asks the leader for something. What comes of it shows in the ledger.
    fn ask(&self, fault: Fault) {
        let Some(End::Node(node)) = self.who(Whom::Leader) else { return };
        let (Some(handles), Some(raft)) = (self.nodes.handles(node), self.nodes.raft(node)) else {
            return;
        };
        let Some(End::Server(primary)) = self.who(Whom::Primary) else { return };
        let key = self.sim.lock().servers[primary].key.clone();
        if fault == Fault::Downtime {
            let mut sim = self.sim.lock();
            let until = sim.now + DOWNTIME.as_micros() as Micros;
            sim.checks.downtimes.insert(key.clone(), until);
        }
        self.nodes.ask(node, async move {
            match fault {
                Fault::TakeOver => {
                    let cause = Cause::TakeoverAuto;
                    let request = Request {
                        key,
                        cause,
                        wanted: None,
                        hooks: Hooks::Skip,
                        fencing: Fencing::Required,
                    };
                    let _ = handles.recoveries.recover(request).await;
                }
                Fault::Downtime => {
                    let now = handles.snapshot.borrow().at;
                    let downtime = Downtime {
                        owner: "somebody".into(),
                        reason: "maintenance".into(),
                        begins_at: now,
                        ends_at: now.plus(DOWNTIME),
                    };
                    let _ = handles.ledger.propose(Command::BeginDowntime { key, downtime }).await;
                }
                _ => {
                    let _ = raft.hand_over(None).await;
                }
            }
        });
    }

    /// Everything that is gone comes back; then all has to get well.
    async fn heal(&mut self) {
        if self.is_broken() {
            return;
        }
        let healed_at = {
            let mut inner = self.sim.lock();
            let now = inner.now;
            inner.trace.note(now, || "everything heals".into());
            inner.net_since = now;
            inner.net.heal();
            for server in 0..inner.servers.len() {
                inner.servers[server].lag_micros = 3_000;
                inner.restore(server);
            }
            now
        };
        for node in 0..self.nodes.count() {
            self.nodes.start(node);
            self.nodes.thaw(node);
        }
        let mut wrong = Vec::new();
        let (mut quiet, mut told, mut told_at) = (0, 0, None);
        while self.sim.now() - healed_at < WELL_WITHIN {
            tokio::time::sleep(LOOK_EVERY).await;
            self.let_appliers_go();
            if self.is_broken() {
                return;
            }
            let now_told = self.sim.lock().checks.told_count();
            wrong = self.what_is_wrong();
            let now = self.sim.now();
            told_at = if now_told > told { Some(now) } else { told_at };
            let is_written = told_at.is_some_and(|at| now - at < WRITTEN_WITHIN);
            quiet = if wrong.is_empty() && is_written { quiet + 1 } else { 0 };
            told = now_told;
            if quiet >= 6 {
                return;
            }
            if self.sim.now() - healed_at > PERSON_AFTER {
                self.look_personally();
            }
        }
        self.note_how_it_stands();
        self.was_left_to_people = self.is_left_to_people(&wrong);
        if self.was_left_to_people {
            return;
        }
        self.sim.lock().is_broken("liveness", wrong.join("; "));
    }

    /// A recovery says that a person has to look; or what failed stands alone since a recovery of
    /// it that came to nothing, and says whom it could not put back; or all are where they should
    /// be, and commits wait for more replicas than are left, because the others have something of
    /// their own.
    fn is_left_to_people(&self, wrong: &[String]) -> bool {
        let fleets = self.nodes.leaders().into_iter().filter_map(|it| self.nodes.handles(it));
        let is_stuck = |it: &Recovery| it.phase == Phase::Ended(RecoveryEnd::Stuck);
        let is_half_back = |it: &Recovery| {
            it.phase == Phase::Ended(RecoveryEnd::RolledBack)
                && it.tried.iter().any(|tried| it.failed_on.contains(tried))
                && *wrong == [stands_alone(it.failed())]
        };
        let is_locked = |it: &Analysis| {
            matches!(it.code, Code::LockedSemiSyncPrimary | Code::LockedSemiSyncPrimaryHypothesis)
        };
        fleets.map(|it| it.snapshot.borrow().clone()).any(|fleet| {
            let mut analyses = fleet.clusters.values().flat_map(|it| &it.analyses);
            fleet.ledger.recoveries.values().any(|it| is_stuck(it) || is_half_back(it))
                || (wrong.is_empty() && analyses.any(is_locked))
        })
    }

    /// For whoever reads the trace of a schedule that does not end well.
    fn note_how_it_stands(&self) {
        let mut inner = self.sim.lock();
        let mut lines: Vec<String> = inner.servers.iter().map(Server::told).collect();
        for fleet in self.nodes.leaders().into_iter().filter_map(|it| self.nodes.handles(it)) {
            let fleet = fleet.snapshot.borrow().clone();
            for analysis in fleet.clusters.values().flat_map(|it| &it.analyses) {
                let runner = Runner { uid: "x".into(), node: "n".into(), token: "t".into() };
                let verdict = verdict(&analysis.key, &fleet, &runner, fleet.at).join("; ");
                lines.push(format!("{}: {:?}: {verdict}", analysis.key, analysis.code));
            }
        }
        let now = inner.now;
        lines.into_iter().for_each(|line| inner.trace.note(now, || line));
    }

    /// Everything that is not as it should be once nothing goes wrong any more.
    fn what_is_wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let leaders = self.nodes.leaders();
        let ledger = match leaders.as_slice() {
            [leader] => self.nodes.raft(*leader).map(|raft| {
                use baton_actors::ports::Ledger;
                raft.state().borrow().clone()
            }),
            _ => {
                wrong.push(format!("{leaders:?} lead"));
                None
            }
        };
        for recovery in ledger.iter().flat_map(|it| it.recoveries.values()) {
            if recovery.is_running() {
                wrong.push(format!("recovery {} is {:?}", recovery.id, recovery.phase));
            }
        }
        let inner = self.sim.lock();
        for node in 0..self.nodes.count() {
            if self.nodes.handles(node).is_none() {
                wrong.push(format!("node {node} is not there"));
            }
        }
        let open: Vec<_> = inner.servers.iter().filter(|it| it.accepts()).collect();
        let [primary] = open.as_slice() else {
            wrong.push(format!("{} servers accept writes", open.len()));
            return wrong;
        };
        if inner.checks.is_strict && !primary.executed.contains(&inner.checks.acknowledged) {
            wrong.push(format!("{} lacks what was acknowledged", primary.key));
        }
        let others = inner.servers.iter().filter(|it| it.belongs == Belongs::Here);
        for server in others.filter(|it| it.number != primary.number) {
            // What nobody else has keeps a former primary out, and people are told.
            let has_extra = !primary.logged.contains(&server.logged);
            let follows = inner.follows(server.number, primary.number);
            let was_replaced = ledger.as_ref().is_some_and(|ledger| {
                ledger.recoveries.values().any(|it| *it.failed() == server.key)
            });
            // Who could not come along is told to be lost, and left to people.
            let is_lost = ledger.as_ref().is_some_and(|ledger| {
                ledger.recoveries.values().any(|it| it.lost.contains(&server.key))
            });
            let is_out = server.channel.is_none() && server.read_only && was_replaced;
            if !server.read_only {
                wrong.push(format!("{} is not closed", server.key));
            } else if !(follows || has_extra || is_lost || (is_out && !self.script.rejoins)) {
                wrong.push(stands_alone(&server.key));
            }
        }
        wrong
    }

    /// A person opens who leads by the newest failover, where no server accepts writes: it came back
    /// closed, and none of the others has all that it has.
    fn open_personally(&self, ledger: &LedgerState) {
        let mut inner = self.sim.lock();
        let newest = ledger.recoveries.values().rev().find_map(|it| it.successor.clone());
        let Some(server) = newest.and_then(|key| inner.index_of(&key)) else { return };
        if inner.servers.iter().all(|it| !it.accepts()) && inner.servers[server].channel.is_none() {
            inner.servers[server].read_only = false;
            let now = inner.now;
            inner.trace.note(now, || format!("a person opens db{server}"));
        }
    }

    /// A person acknowledges what blocks, and gives up a primary that nobody replaced.
    fn look_personally(&mut self) {
        let is_round = (self.sim.now() / 1_000_000).is_multiple_of(20);
        let Some(End::Node(node)) = self.who(Whom::Leader).filter(|_| is_round) else { return };
        let Some(handles) = self.nodes.handles(node) else { return };
        self.needed_a_person = true;
        self.open_personally(&handles.ledger.state().borrow().clone());
        (0..self.script.sources.len()).for_each(|it| self.sim.lock().start_replica(it));
        let ledger = handles.ledger.state().borrow().clone();
        let ids: Vec<u64> = ledger
            .recoveries
            .values()
            .filter(|it| it.acknowledged.is_none() && !it.is_running())
            .map(|it| it.id)
            .collect();
        let at = handles.snapshot.borrow().at;
        let acknowledgement = Acknowledgement { at, by: "somebody".into(), comment: "ok".into() };
        self.nodes.ask(node, async move {
            let command = Command::AcknowledgeRecoveries { ids, acknowledgement };
            let _ = handles.ledger.propose(command).await;
        });
    }
}

fn stands_alone(key: &InstanceKey) -> String {
    format!("I9: {key} does not replicate")
}

fn policy(script: &Script) -> Policy {
    Policy {
        recover_primary: vec![ClusterFilter::Any],
        recover_intermediate: vec![ClusterFilter::Any],
        recover_non_writeable_primary: true,
        recovery: RecoveryPolicy {
            block: Duration::from_secs(20),
            rejoin_former_primaries: script.rejoins,
            ..RecoveryPolicy::default()
        },
        ..Policy::default()
    }
}
