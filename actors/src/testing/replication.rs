//! How transactions spread among servers in memory: at once, as far as threads run.

use std::collections::VecDeque;
use std::sync::MutexGuard;

use baton_topology::binlog::BinlogCoordinates;
use baton_topology::gtid::{Gtid, GtidSet, Gtids};
use baton_topology::instance::{Channel, Positioning, ReplicationError, ThreadState};
use baton_topology::key::InstanceKey;
use uuid::Uuid;

use super::{FakeFleet, Server, State};

/// How much the binary log grows by anything.
const EVENT_BYTES: u64 = 100;

/// What a source has to give.
struct Offer {
    uuid: Option<Uuid>,
    executed: GtidSet,
    purged: GtidSet,
    position: BinlogCoordinates,
}

impl FakeFleet {
    /// Lets a server and everybody below it receive and apply what they can, and tells those who
    /// wait for it.
    pub(super) fn settle(&self, mut state: MutexGuard<'_, State>, key: &InstanceKey) {
        state.spread(key);
        drop(state);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Makes a new server one of the family of another.
    pub(super) fn adopt(&self, key: &InstanceKey, source: &InstanceKey) {
        let mut state = self.state();
        let Some(family) = state.server(source).map(|(_, server)| server.family) else { return };
        if let Some(server) = state.server_mut(key) {
            server.family = family;
        }
    }

    /// Makes two families one.
    pub(super) fn unite(&self, key: &InstanceKey, source: &InstanceKey) {
        let mut state = self.state();
        let family = |key| state.server(key).map(|(_, server)| server.family);
        let (Some(ours), Some(theirs)) = (family(key), family(source)) else { return };
        if ours != theirs {
            let all = state.servers.values_mut();
            all.filter(|server| server.family == ours).for_each(|server| server.family = theirs);
        }
    }
}

impl State {
    pub(super) fn spread(&mut self, key: &InstanceKey) {
        let mut next = VecDeque::from([self.canonical(key)]);
        let mut is_first = true;
        // Ends because sets only grow, and only growth goes on.
        while let Some(key) = next.pop_front() {
            let has_changed = self.pull(&key);
            if (has_changed || is_first)
                && let Some((_, server)) = self.server(&key)
            {
                next.extend(server.facts.replicas.iter().map(|replica| self.canonical(replica)));
            }
            is_first = false;
        }
    }

    /// Receives and applies; tells whether there was anything to apply.
    fn pull(&mut self, key: &InstanceKey) -> bool {
        let Some((_, server)) = self.server(key).filter(|(_, server)| server.lives()) else {
            return false;
        };
        let offers: Vec<_> = server.facts.channels.iter().map(|it| self.offer(it)).collect();
        let before = server.executed();
        let Some(server) = self.server_mut(key) else { return false };
        let mut executed = before.clone();
        for (channel, offer) in server.facts.channels.iter_mut().zip(offers) {
            if let Some(offer) = offer {
                receive(channel, offer, &executed);
            }
            if channel.applier == ThreadState::Running && channel.delay_seconds == 0 {
                executed = executed.union(received(channel));
                channel.executed = channel.read.clone();
            }
        }
        let has_changed = executed != before;
        if has_changed {
            server.log(executed);
        }
        has_changed
    }

    fn offer(&self, channel: &Channel) -> Option<Offer> {
        let source = channel.source.attached()?;
        let (_, source) = self.server(source).filter(|(_, server)| server.lives())?;
        let facts = &source.facts;
        facts.binlog.enabled.then(|| Offer {
            uuid: facts.server_uuid,
            executed: source.executed(),
            purged: facts.gtid.purged.clone(),
            position: facts.binlog.position.clone(),
        })
    }
}

fn receive(channel: &mut Channel, offer: Offer, executed: &GtidSet) {
    if channel.receiver != ThreadState::Running {
        return;
    }
    let had = received(channel).union(executed);
    if channel.positioning == Positioning::AutoPosition && !had.contains(&offer.purged) {
        channel.receiver = ThreadState::Stopped;
        let text = "Got fatal error 1236 from source: the source has purged required binary logs";
        channel.receiver_error = ReplicationError { number: 1236, text: text.into() };
        return;
    }
    channel.received = Gtids::MySql(received(channel).union(&offer.executed.subtract(&had)));
    channel.read = offer.position;
    channel.source_uuid = offer.uuid;
}

fn received(channel: &Channel) -> &GtidSet {
    static NOTHING: std::sync::LazyLock<GtidSet> = std::sync::LazyLock::new(GtidSet::default);
    match &channel.received {
        Gtids::MySql(set) => set,
        Gtids::None | Gtids::MariaDb(_) => &NOTHING,
    }
}

impl Server {
    pub(super) fn executed(&self) -> GtidSet {
        match &self.facts.gtid.executed {
            Gtids::MySql(set) => set.clone(),
            Gtids::None | Gtids::MariaDb(_) => GtidSet::default(),
        }
    }

    /// Executes what is in the set; all it executed is given.
    pub(super) fn log(&mut self, executed: GtidSet) {
        self.facts.gtid.executed = Gtids::MySql(executed);
        self.facts.binlog.position.position += EVENT_BYTES;
    }

    /// Writes one transaction.
    pub(super) fn write(&mut self) -> Option<Gtid> {
        let uuid = self.facts.server_uuid?;
        let executed = self.executed();
        loop {
            self.written += 1;
            let set: GtidSet = format!("{uuid}:{}", self.written).parse().ok()?;
            // Numbers that came back from elsewhere are not given twice.
            if !executed.contains(&set) {
                self.log(executed.union(&set));
                return set.iter(1).next();
            }
        }
    }
}
