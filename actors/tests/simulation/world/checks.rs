//! The invariants, as far as they can be seen from outside, checked whenever something happens.
//!
//! They know the truth, which no baton does: so each allows for what a baton could not know yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_topology::action::Action;
use baton_topology::gtid::GtidSet;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::LedgerState;
use baton_topology::recovery::{Cause, End, Kind, Phase, Recovery};
use baton_topology::time::Timestamp;

use super::mysql::{Belongs, Flavor, Micros, Server};
use super::net::End as Place;
use super::sim::{Inner, Promise};

/// What stood like this for so long is known to whoever looks.
const KNOWN_AFTER: Micros = 4_000_000;
/// Nobody fails over what has been well for so long.
const WELL_FOR: Micros = 10_000_000;
/// A downtime begins when the fleet was looked at last.
const DOWNTIME_DOUBT: Micros = 1_500_000;
/// For so long something that was noted is a reason to act.
const NOTE_HOLDS_MICROS: i64 = 90_000_000;

/// What is known, and what was broken.
#[derive(Debug)]
pub(crate) struct Checks {
    /// What clients were told they may rely on, by semi-synchronous replication.
    pub(crate) acknowledged: GtidSet,
    /// What they were told otherwise.
    pub(crate) hoped: GtidSet,
    pub(crate) broken: Vec<String>,
    /// Whether semi-synchronous replication never gives up waiting.
    pub(crate) is_strict: bool,
    pub(crate) recoveries: u64,
    /// Until when downtimes last, by no node's clock.
    pub(crate) downtimes: BTreeMap<InstanceKey, Micros>,
    pub(crate) opened: u64,
    /// Who led in which term.
    leaders: BTreeMap<u64, usize>,
    /// The newest term in which each node led.
    terms: BTreeMap<usize, u64>,
    /// What was agreed upon, by index.
    states: BTreeMap<u64, Arc<LedgerState>>,
    /// The newest state each node knows.
    known: BTreeMap<usize, Arc<LedgerState>>,
}

impl Checks {
    pub(crate) fn new(_servers: usize) -> Self {
        Self {
            acknowledged: GtidSet::default(),
            hoped: GtidSet::default(),
            broken: Vec::new(),
            is_strict: true,
            recoveries: 0,
            downtimes: BTreeMap::new(),
            opened: 0,
            leaders: BTreeMap::new(),
            terms: BTreeMap::new(),
            states: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    pub(crate) fn told(&mut self, _server: usize, gtid: &GtidSet, promise: Promise) {
        match promise {
            Promise::Acknowledged => self.acknowledged = self.acknowledged.union(gtid),
            Promise::Hope => self.hoped = self.hoped.union(gtid),
        }
    }
}

impl Inner {
    pub(crate) fn is_broken(&mut self, invariant: &str, what: String) {
        let line = format!("{invariant}: {what} (at {:.3} ms)", self.now as f64 / 1_000.0);
        let now = self.now;
        self.trace.note(now, || format!("BROKEN {line}"));
        self.checks.broken.push(line);
    }

    /// A node believes that it leads.
    pub(crate) fn leads(&mut self, node: usize, term: u64) {
        let now = self.now;
        self.trace.note(now, || format!("node {node} leads in term {term}"));
        self.checks.terms.insert(node, term);
        let first = *self.checks.leaders.entry(term).or_insert(node);
        if first != node {
            self.is_broken("I6", format!("nodes {first} and {node} both lead in term {term}"));
        }
    }

    /// A node that was killed knows nothing.
    pub(crate) fn forgets(&mut self, node: usize) {
        self.checks.known.remove(&node);
        self.checks.terms.remove(&node);
    }

    /// A node applied something.
    pub(crate) fn applied(&mut self, node: usize, state: &Arc<LedgerState>) {
        self.checks.known.insert(node, Arc::clone(state));
        if let Some(known) = self.checks.states.get(&state.index) {
            if **known != **state {
                let index = state.index;
                self.is_broken("raft", format!("node {node} holds another state at {index}"));
            }
            return;
        }
        let now = self.now;
        self.trace.note(now, || format!("agreed upon {}: by node {node}", state.index));
        let before = self.checks.states.range(..state.index).next_back().map(|(_, it)| it.clone());
        let before = before.unwrap_or_default();
        self.checks.states.insert(state.index, Arc::clone(state));
        for (id, recovery) in state.recoveries.iter() {
            match before.recoveries.get(id) {
                None => self.began(recovery, &before),
                Some(known) if known.phase != recovery.phase => self.went_on(recovery),
                Some(_) => {}
            }
        }
        self.check_overlaps(state);
    }

    fn check_overlaps(&mut self, state: &LedgerState) {
        let running: Vec<&Arc<Recovery>> =
            state.recoveries.values().filter(|it| it.is_running()).collect();
        for (number, one) in running.iter().enumerate() {
            for other in &running[number + 1..] {
                if one.overlaps(other) {
                    let text = format!("recoveries {} and {} at the same time", one.id, other.id);
                    self.is_broken("I6", text);
                }
            }
        }
    }

    fn began(&mut self, recovery: &Recovery, before: &LedgerState) {
        self.checks.recoveries += 1;
        let now = self.now;
        let Recovery { id, kind, cause, node, begun_at, .. } = recovery;
        let failed = recovery.failed();
        self.trace
            .note(now, || format!("recovery {id} begins: {kind:?} of {failed}, {cause:?}, {node}"));
        if !matches!(cause, Cause::Found | Cause::Hung) {
            return;
        }
        if before.recoveries_disabled {
            self.is_broken("gate", format!("recovery {id} began though recoveries are off"));
        }
        if before.maintenance_of(failed, *begun_at).is_some() {
            self.is_broken(
                "gate",
                format!("recovery {id} began though {failed} is in maintenance"),
            );
        }
        // Clocks differ between nodes, and each takes a downtime for as long as it lasts.
        let until = self.checks.downtimes.get(failed);
        let is_over = until.is_none_or(|until| now + DOWNTIME_DOUBT >= *until);
        let is_in_downtime = before.downtimes.contains_key(failed) && !is_over;
        if is_in_downtime && *kind != Kind::Regroup {
            self.is_broken("gate", format!("recovery {id} began though {failed} is in downtime"));
        }
        if matches!(kind, Kind::Primary | Kind::CoPrimary) {
            self.check_death(recovery);
        }
    }

    /// I7: what is well is not failed over, whatever one node sees.
    fn check_death(&mut self, recovery: &Recovery) {
        let Some(failed) = self.index_of(recovery.failed()) else { return };
        let server = &self.servers[failed];
        if server.belongs == Belongs::Nowhere {
            let text = format!("{} was given up, and was never seen", recovery.failed());
            return self.is_broken("D13", text);
        }
        let is_old = self.now.saturating_sub(server.power_since.max(self.net_since)) > WELL_FOR;
        let replicas: Vec<usize> =
            recovery.replicas.iter().filter_map(|key| self.index_of(key)).collect();
        let fed = replicas.iter().filter(|replica| {
            let line = self.servers[**replica].channel.as_ref();
            line.is_some_and(|line| line.source == failed && line.is_connected)
        });
        let fed = fed.count();
        if server.is_up() && is_old && fed * 2 > replicas.len() {
            let text = format!("{} was given up: it is up, and feeds {fed}", recovery.failed());
            self.is_broken("I7", text);
        }
    }

    fn went_on(&mut self, recovery: &Recovery) {
        let now = self.now;
        let Recovery { id, phase, errors, .. } = recovery;
        self.trace.note(now, || format!("recovery {id}: {phase:?} {errors:?}"));
        let failed = matches!(phase, Phase::Ended(End::RolledBack | End::Stuck));
        if failed && errors.is_empty() {
            self.is_broken("I13", format!("recovery {id} ended as {phase:?} without a reason"));
        }
        if *phase == Phase::Opening && recovery.kind.promotes() && recovery.plan.is_none() {
            self.is_broken("I2", format!("recovery {id} opens without a plan"));
        }
    }

    /// I2: only who leads acts, and only on what was agreed upon.
    pub(crate) fn check_action(&mut self, node: usize, key: &InstanceKey, action: &Action) {
        let term = self.checks.terms.get(&node).copied();
        let newest = self.checks.leaders.last_key_value().map(|(term, who)| (*term, *who));
        if term.is_none() || newest.is_some_and(|(newest, _)| Some(newest) > term) {
            let text = format!(
                "node {node} (term {term:?}) tells {key} to {action:?}; {newest:?} leads by then"
            );
            self.is_broken("I2", text);
        }
        let Some(state) = self.checks.known.get(&node).cloned() else {
            return self.is_broken("I2", format!("node {node} acts and knows nothing"));
        };
        let is_agreed = |recovery: &&Arc<Recovery>| {
            recovery.is_running()
                && (recovery.changes(key)
                    || recovery.plan.as_ref().is_some_and(|plan| {
                        let stages = plan.prepare.iter().chain([&plan.open, &plan.gather]);
                        stages.flat_map(|stage| &stage.chains).any(|chain| chain.on == *key)
                    }))
        };
        let newest = state.chores.values().max().copied().unwrap_or(Timestamp::EPOCH);
        let last = state.recoveries.values().map(|it| it.begun_at).max();
        let base = newest.max(last.unwrap_or(Timestamp::EPOCH)).as_micros();
        let is_noted = |key: &InstanceKey| {
            state.chores.get(key).is_some_and(|at| base - at.as_micros() < NOTE_HOLDS_MICROS)
        };
        // What a scout does is noted of its source, whose replica it may not be any more.
        let is_scout = matches!(action, Action::Stop(_) | Action::Start(_))
            && state.chores.keys().any(is_noted);
        let is_agreed =
            state.recoveries.values().any(|it| is_agreed(&it)) || is_noted(key) || is_scout;
        if !is_agreed {
            self.is_broken("I2", format!("nobody agreed that {key} is told to {action:?}"));
        }
    }

    /// I4: what was received is applied before it is thrown away.
    pub(crate) fn check_forgetting(&mut self, node: usize, server: usize) {
        if !self.servers[server].is_applied() {
            let text = format!("node {node} lets db{server} forget what it has not applied");
            self.is_broken("I4", text);
        }
    }

    /// I1, I4, I5, I6: what must hold when a server is opened.
    pub(crate) fn check_opening(&mut self, node: usize, server: usize) {
        self.checks.opened += 1;
        let it = &self.servers[server];
        let missing = self.checks.acknowledged.subtract(&it.executed);
        let is_applied = it.is_applied();
        let is_lossy = self.checks.is_strict && !missing.is_empty();
        let has = |other: &Server| other.number != server && other.logged.contains(&it.local);
        let is_errant = !it.local.is_empty() && !self.servers.iter().any(has);
        // MariaDB's may be opened, where there is no better one.
        let is_spoiled = is_errant && it.flavor == Flavor::MySql;
        let is_stray = it.belongs != Belongs::Here;
        if is_stray {
            self.is_broken("D13", format!("db{server} is opened, whose source was never seen"));
        }
        if is_spoiled {
            self.is_broken("errant", format!("db{server} is opened, on which people wrote"));
        }
        if !is_applied {
            self.is_broken("I4", format!("db{server} is opened with unapplied transactions"));
        }
        if is_lossy {
            let text = format!("db{server} is opened and lacks {missing}, which was acknowledged");
            self.is_broken("I5", text);
        }
        let open = self.servers.iter().filter(|other| {
            let since = other.power_since.max(self.net_since);
            other.number != server
                && other.accepts()
                && self.net.joins(Place::Node(node), Place::Server(other.number))
                && self.now.saturating_sub(since) > KNOWN_AFTER
        });
        let open: Vec<String> = open.map(|it| it.key.to_string()).collect();
        if !open.is_empty() {
            let text = format!("node {node} opens db{server} while {} is open", open.join(", "));
            self.is_broken("I1", text);
        }
    }
}

impl Checks {
    /// How many commits clients were told of.
    pub(crate) fn told_count(&self) -> u64 {
        self.acknowledged.count() + self.hoped.count()
    }
}
