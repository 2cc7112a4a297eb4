//! The world outside of batons: servers, clients, the network, and what happens when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_topology::gtid::GtidSet;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::chance::Chance;
use super::checks::Checks;
use super::mysql::{Belongs, Commit, Flavor, Micros, Power, Server};
use super::net::{End, Net};
use super::trace::Trace;

/// After so long without a sign of life a replica gives its connection up.
const SILENCE_MAX: Micros = 8_000_000;
/// The pause before a replica tries to connect again.
const CONNECT_RETRY: Micros = 1_000_000;
/// How often connections are looked after.
const PULSE: Micros = 250_000;
/// A client gives up a write after this.
const CLIENT_PATIENCE: Micros = 1_500_000;

/// Everything but the batons. One lock: the whole simulation is one thread.
pub(crate) struct Sim {
    inner: Mutex<Inner>,
    began: Instant,
    due: Arc<Notify>,
}

/// What may happen.
#[derive(Debug)]
enum Event {
    /// What a source sent arrives at a replica.
    Ship { replica: usize, epoch: u64, set: GtidSet },
    /// An acknowledgement arrives at a source.
    Ack { source: usize, boot: u64, replica: usize, set: GtidSet },
    /// A replica has applied what it had received by now.
    Apply { replica: usize, boot: u64 },
    /// A replica tries to connect.
    Attempt { replica: usize },
    /// A replica learns that its source died.
    Reset { replica: usize, epoch: u64 },
    /// A client writes, or waits on.
    Client(usize),
    /// Connections are looked after.
    Pulse,
}

/// Somebody who writes all the time to whoever takes it.
#[derive(Debug)]
pub(crate) struct Client {
    target: usize,
    /// The server and the number of the commit that is waited for.
    inflight: Option<(usize, u64, Micros)>,
    chance: Chance,
}

/// See [`Sim`].
pub(crate) struct Inner {
    pub(crate) now: Micros,
    pub(crate) net: Net,
    /// When the network changed last.
    pub(crate) net_since: Micros,
    pub(crate) servers: Vec<Server>,
    pub(crate) trace: Trace,
    pub(crate) checks: Checks,
    clients: Vec<Client>,
    chances: Vec<Chance>,
    agenda: BTreeMap<(Micros, u64), Event>,
    events: u64,
    due: Arc<Notify>,
}

impl Sim {
    pub(crate) fn new(seed: u64, net: Net, servers: Vec<Server>, trace: Trace) -> Arc<Self> {
        let due = Arc::new(Notify::new());
        let count = servers.len();
        let chance = |number: usize| Chance::stream(seed, &format!("server {number}"));
        let mut inner = Inner {
            now: 0,
            net,
            net_since: 0,
            trace,
            checks: Checks::new(count),
            clients: Vec::new(),
            chances: (0..count).map(chance).collect(),
            servers,
            agenda: BTreeMap::new(),
            events: 0,
            due: Arc::clone(&due),
        };
        inner.later(PULSE, Event::Pulse);
        Arc::new(Self { inner: Mutex::new(inner), began: Instant::now(), due })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.now = self.now();
        inner
    }

    pub(crate) fn now(&self) -> Micros {
        self.began.elapsed().as_micros() as Micros
    }

    /// Lets time pass for servers and clients, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let next = self.lock().agenda.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = next else {
                self.due.notified().await;
                continue;
            };
            if next > self.now() {
                let at = self.began + Duration::from_micros(next);
                tokio::select! {
                    biased;
                    () = sleep_until(at) => {}
                    () = self.due.notified() => continue,
                }
            }
            let mut inner = self.lock();
            while let Some(entry) = inner.agenda.first_entry() {
                if entry.key().0 > inner.now {
                    break;
                }
                let event = inner.agenda.pop_first().map(|(_, event)| event);
                event.into_iter().for_each(|event| inner.happen(event));
            }
        }
    }

    /// Something travels; `false` when it is lost.
    pub(crate) async fn travel(&self, from: End, to: End) -> bool {
        let delay = self.lock().net.delay(from, to);
        let Some(delay) = delay else { return false };
        tokio::time::sleep(delay).await;
        // What was on its way when the link was cut is lost, too.
        !self.lock().net.is_cut(from, to)
    }
}

impl Inner {
    fn later(&mut self, micros: Micros, event: Event) {
        self.events += 1;
        let key = (self.now + micros, self.events);
        if self.agenda.first_key_value().is_none_or(|(first, _)| key < *first) {
            self.due.notify_one();
        }
        self.agenda.insert(key, event);
    }

    pub(crate) fn index_of(&self, key: &baton_topology::key::InstanceKey) -> Option<usize> {
        self.servers.iter().position(|it| it.key == *key)
    }

    pub(crate) fn add_client(&mut self, seed: u64) {
        let number = self.clients.len();
        let chance = Chance::stream(seed, &format!("client {number}"));
        self.clients.push(Client { target: 0, inflight: None, chance });
        self.later(number as Micros * 7_000, Event::Client(number));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ship { replica, epoch, set } => self.arrive(replica, epoch, &set),
            Event::Ack { source, boot, replica, set } => {
                let is_there = self.servers[source].is_up()
                    && self.servers[source].boot == boot
                    && !self.net.is_cut(End::Server(replica), End::Server(source));
                if is_there {
                    self.acknowledge(source, replica, &set);
                }
            }
            Event::Apply { replica, boot } => self.apply(replica, boot),
            Event::Attempt { replica } => self.attempt(replica),
            Event::Reset { replica, epoch } => {
                let now = self.now;
                if let Some(line) = &mut self.servers[replica].channel
                    && line.epoch == epoch
                {
                    line.disconnect();
                    line.next_attempt = now + CONNECT_RETRY;
                }
            }
            Event::Client(client) => self.client(client),
            Event::Pulse => self.pulse(),
        }
    }

    /// Puts what is new onto the connections of all who replicate from a server.
    pub(crate) fn pump(&mut self, source: usize) {
        if !self.servers[source].is_up() {
            return;
        }
        let logged = self.servers[source].logged.clone();
        for replica in 0..self.servers.len() {
            let Some(line) = &mut self.servers[replica].channel else { continue };
            if line.source != source || !line.is_connected {
                continue;
            }
            let set = logged.subtract(&line.sent);
            if set.is_empty() {
                continue;
            }
            let epoch = line.epoch;
            let Some(delay) = self.net.delay(End::Server(source), End::Server(replica)) else {
                continue;
            };
            line.sent = logged.clone();
            let now = self.now;
            line.sent_until = line.sent_until.max(now + delay.as_micros() as Micros);
            let wait = line.sent_until - now;
            self.later(wait, Event::Ship { replica, epoch, set });
        }
    }

    fn arrive(&mut self, replica: usize, epoch: u64, set: &GtidSet) {
        let (now, is_up) = (self.now, self.servers[replica].is_up());
        let has = self.servers[replica].has();
        let Some(line) = &mut self.servers[replica].channel else { return };
        if line.epoch != epoch || !line.is_connected {
            return;
        }
        let source = line.source;
        if !is_up || self.net.is_cut(End::Server(source), End::Server(replica)) {
            // It waits on the way and is sent again, before what was sent after it.
            line.sent = has;
            line.epoch += 1;
            return;
        }
        line.received = line.received.union(set);
        line.heard = now;
        let server = &self.servers[replica];
        let (boot, lag) = (server.boot, server.lag_micros);
        if server.semi.replica && self.servers[source].semi.source {
            let set = server.has();
            let source_boot = self.servers[source].boot;
            if let Some(delay) = self.net.delay(End::Server(replica), End::Server(source)) {
                let ack = Event::Ack { source, boot: source_boot, replica, set };
                self.later(delay.as_micros() as Micros, ack);
            }
        }
        let lag = lag / 2 + self.chances[replica].range(0, lag);
        self.later(lag, Event::Apply { replica, boot });
    }

    fn apply(&mut self, replica: usize, boot: u64) {
        let server = &mut self.servers[replica];
        if !server.is_up() || server.boot != boot {
            return;
        }
        let Some(line) = &server.channel else { return };
        if line.applier && !server.is_applied() {
            let set = line.received.clone();
            server.apply(&set);
            self.pump(replica);
        }
    }

    /// Has a replica apply what it received, some time from now.
    pub(crate) fn apply_later(&mut self, replica: usize) {
        let (boot, lag) = (self.servers[replica].boot, self.servers[replica].lag_micros);
        self.later(lag, Event::Apply { replica, boot });
    }

    pub(crate) fn attempt_later(&mut self, replica: usize) {
        self.later(2_000, Event::Attempt { replica });
    }

    fn attempt(&mut self, replica: usize) {
        let now = self.now;
        let server = &self.servers[replica];
        let Some(line) = &server.channel else { return };
        let wants = line.receiver && line.error.is_none() && !line.is_detached;
        if !wants || line.is_connected || !server.is_up() || replica == line.source {
            return;
        }
        let source = &self.servers[line.source];
        let is_ahead = server.is_turned_away_by(source);
        let joins = self.net.joins(End::Server(replica), End::Server(line.source));
        let can = source.is_up() && joins;
        let (source, has) = (line.source, server.has());
        let Some(line) = &mut self.servers[replica].channel else { return };
        if !can {
            line.next_attempt = now + CONNECT_RETRY;
        } else if is_ahead {
            line.error = Some((1236, "the replica has more GTIDs than the source has"));
        } else {
            line.is_connected = true;
            line.epoch += 1;
            line.heard = now;
            line.sent = has;
            self.pump(source);
        }
    }

    pub(crate) fn acknowledge(&mut self, source: usize, replica: usize, set: &GtidSet) {
        let wait_for = self.servers[source].semi.wait_for as usize;
        let mut done = Vec::new();
        for (number, commit) in &mut self.servers[source].waiting {
            if set.contains(&commit.gtid) {
                commit.acknowledged_by.insert(replica);
                if commit.acknowledged_by.len() >= wait_for {
                    done.push(*number);
                }
            }
        }
        done.into_iter().for_each(|number| self.commit(source, number, Promise::Acknowledged));
    }

    /// Ends a commit and tells its client.
    fn commit(&mut self, server: usize, number: u64, promise: Promise) {
        let Some(commit) = self.servers[server].waiting.remove(&number) else { return };
        self.servers[server].execute(&commit.gtid);
        if let Some(client) = commit.client {
            self.clients[client].inflight = None;
            self.told(server, &commit.gtid, promise);
        }
    }

    fn told(&mut self, server: usize, gtid: &GtidSet, promise: Promise) {
        self.checks.told(server, gtid, promise);
        let now = self.now;
        self.trace.note(now, || format!("client told of {gtid} by db{server} ({promise:?})"));
    }

    /// Nobody is waited for any more: who is still connected is told so.
    pub(crate) fn stop_waiting(&mut self, server: usize) {
        let all: Vec<u64> = self.servers[server].waiting.keys().copied().collect();
        // Whoever is told now takes it for an acknowledgement.
        all.into_iter().for_each(|number| self.commit(server, number, Promise::Acknowledged));
    }

    pub(crate) fn kill_clients(&mut self, server: usize) {
        for commit in self.servers[server].waiting.values_mut() {
            commit.client = None;
        }
        self.leave(server);
    }

    fn leave(&mut self, server: usize) {
        for client in &mut self.clients {
            if client.inflight.is_some_and(|(at, ..)| at == server) {
                client.inflight = None;
            }
        }
    }

    /// Writes something; `None` when it is refused.
    pub(crate) fn write(&mut self, server: usize, client: Option<usize>) -> Option<u64> {
        let now = self.now;
        let it = &mut self.servers[server];
        if !it.accepts() {
            return None;
        }
        let gtid = it.next_gtid();
        let number = it.written;
        it.logged = it.logged.union(&gtid);
        if it.semi.source && !it.semi.has_lapsed {
            let acknowledged_by = std::collections::BTreeSet::new();
            it.waiting.insert(number, Commit { gtid, client, acknowledged_by, since: now });
        } else {
            it.execute(&gtid);
            if client.is_some() {
                self.told(server, &gtid, Promise::Hope);
            }
        }
        self.pump(server);
        Some(number)
    }

    fn client(&mut self, number: usize) {
        let now = self.now;
        let count = self.servers.len();
        let client = &mut self.clients[number];
        let pause = client.chance.range(20_000, 120_000);
        let mut wanders = false;
        if let Some((server, commit, since)) = client.inflight {
            if now - since > CLIENT_PATIENCE {
                client.inflight = None;
                wanders = true;
                if let Some(commit) = self.servers[server].waiting.get_mut(&commit) {
                    commit.client = None;
                }
            }
        } else {
            let target = client.target;
            match self.write(target, Some(number)) {
                Some(commit) => {
                    let is_waiting = self.servers[target].waiting.contains_key(&commit);
                    self.clients[number].inflight = is_waiting.then_some((target, commit, now));
                }
                None => wanders = true,
            }
        }
        if wanders {
            let client = &mut self.clients[number];
            client.target = client.chance.index(count);
        }
        self.later(pause, Event::Client(number));
    }

    fn pulse(&mut self) {
        let now = self.now;
        for replica in 0..self.servers.len() {
            self.look_after(replica);
        }
        for source in 0..self.servers.len() {
            self.pump(source);
            let server = &mut self.servers[source];
            if !server.is_up() || !server.semi.source {
                continue;
            }
            let oldest = server.waiting.values().map(|it| it.since).min();
            let is_over = |limit: Micros| oldest.is_some_and(|since| now - since > limit);
            if server.semi.timeout_micros.is_some_and(is_over) {
                server.semi.has_lapsed = true;
                let all: Vec<u64> = server.waiting.keys().copied().collect();
                all.into_iter().for_each(|number| self.commit(source, number, Promise::Hope));
            } else if server.semi.has_lapsed {
                let logged = server.logged.clone();
                let is_caught_up = self.servers.iter().any(|it| {
                    let line = it.channel.as_ref().filter(|line| line.source == source);
                    line.is_some_and(|line| line.is_connected)
                        && it.semi.replica
                        && it.has().contains(&logged)
                });
                self.servers[source].semi.has_lapsed = !is_caught_up;
            }
        }
        self.later(PULSE, Event::Pulse);
    }

    fn look_after(&mut self, replica: usize) {
        let now = self.now;
        let server = &self.servers[replica];
        let Some(line) = &server.channel else { return };
        if !server.is_up() || !line.receiver {
            return;
        }
        let source = &self.servers[line.source];
        let joins = self.net.joins(End::Server(replica), End::Server(line.source));
        let (is_alive, is_refused) =
            (joins && source.is_up(), joins && source.power == Power::Dead);
        let (is_connected, is_due) = (line.is_connected, now >= line.next_attempt);
        if is_connected && let Some(line) = &mut self.servers[replica].channel {
            if is_alive {
                line.heard = now;
            } else if is_refused || now - line.heard > SILENCE_MAX {
                line.disconnect();
                line.next_attempt = now;
            }
        } else if !is_connected && is_due {
            self.attempt(replica);
        }
    }

    /// Whether one server replicates from another, directly or through others.
    pub(crate) fn follows(&self, server: usize, primary: usize) -> bool {
        let mut at = server;
        for _ in 0..self.servers.len() {
            let line = self.servers[at].channel.as_ref();
            let Some(line) = line.filter(|it| it.receiver && it.applier && it.is_connected) else {
                return false;
            };
            at = line.source;
            if at == primary {
                return true;
            }
        }
        false
    }

    /// A person writes on a replica.
    pub(crate) fn write_locally(&mut self, server: usize) {
        let it = &mut self.servers[server];
        if it.is_up() && it.read_only && it.channel.is_some() {
            let gtid = it.next_gtid();
            it.execute(&gtid);
            it.local = it.local.union(&gtid);
            self.pump(server);
        }
    }

    /// A person stops an applier.
    pub(crate) fn hold_applier(&mut self, server: usize) {
        let it = &mut self.servers[server];
        if let Some(line) = it.channel.as_mut().filter(|_| it.power == Power::Up) {
            line.applier = false;
            it.is_applier_held = true;
        }
    }

    /// A person starts it again, but not where that would make the server lose something.
    pub(crate) fn let_applier_go(&mut self, server: usize) {
        let it = &mut self.servers[server];
        let Some(line) = &it.channel else { return };
        let is_safe = line.receives() || it.flavor == Flavor::MySql;
        if it.is_applier_held && it.is_up() && is_safe {
            it.is_applier_held = false;
            it.start(false, true);
            self.apply_later(server);
        }
    }

    /// A person starts a replica that stands still, where a server that accepts writes has all that
    /// this could cost.
    pub(crate) fn start_replica(&mut self, server: usize) {
        let it = &self.servers[server];
        let Some(line) = &it.channel else { return };
        let mut primaries = self.servers.iter().filter(|it| it.accepts());
        let stands = !line.receives() || !line.applier;
        if it.is_up() && stands && primaries.any(|it| it.logged.contains(&line.received)) {
            self.servers[server].start(true, true);
            self.attempt_later(server);
            self.apply_later(server);
        }
    }

    /// Takes a server away.
    pub(crate) fn crash(&mut self, server: usize, power: Power) {
        let now = self.now;
        let it = &mut self.servers[server];
        if power == Power::Hung && it.power != Power::Up {
            return;
        }
        (it.power, it.power_since) = (power, now);
        if power == Power::Hung {
            return;
        }
        if let Some(line) = &mut it.channel {
            line.disconnect();
        }
        self.leave(server);
        for commit in self.servers[server].waiting.values_mut() {
            commit.client = None;
        }
        if power != Power::Dead {
            return;
        }
        for parked in std::mem::take(&mut self.servers[server].parked) {
            // Whoever parked may have gone.
            let _ = parked.send(());
        }
        for replica in 0..self.servers.len() {
            let line = self.servers[replica].channel.as_ref();
            let line = line.filter(|line| line.source == server && line.is_connected);
            let Some(epoch) = line.map(|line| line.epoch) else { continue };
            if let Some(delay) = self.net.delay(End::Server(server), End::Server(replica)) {
                self.later(delay.as_micros() as Micros, Event::Reset { replica, epoch });
            }
        }
    }

    /// Brings a server back.
    pub(crate) fn restore(&mut self, server: usize) {
        let now = self.now;
        let it = &mut self.servers[server];
        if it.power == Power::Up || it.belongs == Belongs::Nowhere {
            return;
        }
        let was_hung = it.power == Power::Hung;
        (it.power, it.power_since) = (Power::Up, now);
        if !was_hung {
            it.boot += 1;
            it.waiting.clear();
            it.executed = it.logged.clone();
            it.is_closing = false;
            it.read_only |= it.boots_read_only;
            it.semi.has_lapsed = false;
            it.parked.clear();
            it.is_applier_held = false;
            if !it.keeps_relay_log {
                it.lose_relay_log();
            }
            if let Some(line) = &mut it.channel {
                // As without skip_replica_start.
                (line.receiver, line.applier) = (true, true);
                line.error = None;
            }
        }
        self.apply_later(server);
        self.attempt_later(server);
        self.pump(server);
    }
}

/// What a client may rely on that was told of its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Enough replicas have it.
    Acknowledged,
    /// The server has it.
    Hope,
}
