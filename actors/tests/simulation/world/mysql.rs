//! MySQL servers as far as a failover sees them: GTID sets received and executed, acknowledgements,
//! who accepts writes, threads of replication, and all the ways to be gone.
//!
//! Replication is asynchronous: what a server logs is shipped to whoever is connected, received
//! some moments later, acknowledged, and applied later still. With semi-synchronous replication a
//! client is told of a commit once enough replicas have it. A crash keeps what was logged; what was
//! received and not applied it may lose.

pub(crate) mod mariadb;

use std::collections::{BTreeMap, BTreeSet};

use baton_topology::binlog::BinlogCoordinates;
use baton_topology::gtid::{GtidSet, Gtids};
use baton_topology::instance::{
    BinlogFormat, Channel, Facts, Positioning, ReplicationError, SourceLink, ThreadState,
};
use baton_topology::key::InstanceKey;
use baton_topology::membership::Registered;
use baton_topology::version::Version;
use uuid::Uuid;

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    MySql,
    /// Without the rest of its relay log once both threads stand still and one is started.
    MariaDb,
}

/// Where a server belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// To the cluster that everything is about.
    Here,
    /// It is the source that a stray names, and was never there.
    Nowhere,
    /// It names a source that was never there.
    Astray,
}

/// Microseconds since the beginning.
pub(crate) type Micros = u64;

/// Whether a server is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    Up,
    /// The process stands still; the machine goes on accepting connections.
    Hung,
    /// The process is gone, and the machine says so.
    Dead,
    /// The machine is gone, and nobody says anything.
    Gone,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) key: InstanceKey,
    pub(crate) number: usize,
    pub(crate) uuid: Uuid,
    pub(crate) flavor: Flavor,
    pub(crate) belongs: Belongs,
    /// Whether a crash leaves what was received and not applied.
    pub(crate) keeps_relay_log: bool,
    /// A person stopped its applier.
    pub(crate) is_applier_held: bool,
    /// What people wrote on it while it was a replica.
    pub(crate) local: GtidSet,
    /// What it applied of what sources sent.
    pub(crate) replicated: GtidSet,
    pub(crate) power: Power,
    pub(crate) power_since: Micros,
    /// Grows with each start.
    pub(crate) boot: u64,
    pub(crate) read_only: bool,
    /// Whether my.cnf says that it is closed after a start; otherwise it is as it was before.
    pub(crate) boots_read_only: bool,
    /// What is visible, and what is in the binary log.
    pub(crate) executed: GtidSet,
    pub(crate) logged: GtidSet,
    pub(crate) written: u64,
    pub(crate) semi: Semi,
    /// Commits that wait for acknowledgements, by number.
    pub(crate) waiting: BTreeMap<u64, Commit>,
    /// Somebody waits until nobody commits any more; new commits wait behind.
    pub(crate) is_closing: bool,
    pub(crate) channel: Option<Line>,
    /// How long applying takes.
    pub(crate) lag_micros: Micros,
    /// Connections that are parked here.
    pub(crate) parked: Vec<tokio::sync::oneshot::Sender<()>>,
}

/// Semi-synchronous replication.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Semi {
    pub(crate) source: bool,
    pub(crate) replica: bool,
    pub(crate) wait_for: u32,
    pub(crate) timeout_micros: Option<Micros>,
    pub(crate) has_lapsed: bool,
}

/// A commit that waits.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) gtid: GtidSet,
    /// The client, as long as it is connected.
    pub(crate) client: Option<usize>,
    pub(crate) acknowledged_by: BTreeSet<usize>,
    pub(crate) since: Micros,
}

/// The replication channel of a replica.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) source: usize,
    pub(crate) is_detached: bool,
    pub(crate) receiver: bool,
    pub(crate) applier: bool,
    pub(crate) is_connected: bool,
    /// It finds its place by what it wrote itself as well, as a former primary of MariaDB.
    pub(crate) counts_own: bool,
    /// Grows whenever a connection ends: what was on its way over it is void.
    pub(crate) epoch: u64,
    pub(crate) received: GtidSet,
    /// What the source has put onto this connection.
    pub(crate) sent: GtidSet,
    /// When the last of that arrives: nothing overtakes it.
    pub(crate) sent_until: Micros,
    pub(crate) heard: Micros,
    pub(crate) next_attempt: Micros,
    pub(crate) error: Option<(u32, &'static str)>,
}

impl Line {
    pub(crate) fn to(source: usize) -> Self {
        Self {
            source,
            is_detached: false,
            receiver: false,
            applier: false,
            is_connected: false,
            counts_own: false,
            epoch: 0,
            received: GtidSet::default(),
            sent: GtidSet::default(),
            sent_until: 0,
            heard: 0,
            next_attempt: 0,
            error: None,
        }
    }

    /// Whether the receiver runs, or tries to.
    pub(crate) fn receives(&self) -> bool {
        self.receiver && self.error.is_none()
    }

    pub(crate) fn disconnect(&mut self) {
        self.is_connected = false;
        self.epoch += 1;
    }
}

fn place(count: u64) -> BinlogCoordinates {
    BinlogCoordinates::new("bin.000001", 4 + 100 * count)
}

impl Server {
    pub(crate) fn new(number: usize, semi: Semi) -> Self {
        Self {
            key: InstanceKey::new(format!("db{number}").as_str(), 3306),
            number,
            uuid: Uuid::from_u128(number as u128 + 1),
            flavor: Flavor::MySql,
            belongs: Belongs::Here,
            keeps_relay_log: true,
            is_applier_held: false,
            local: GtidSet::default(),
            replicated: GtidSet::default(),
            power: Power::Up,
            power_since: 0,
            boot: 1,
            read_only: true,
            boots_read_only: true,
            executed: GtidSet::default(),
            logged: GtidSet::default(),
            written: 0,
            semi,
            waiting: BTreeMap::new(),
            is_closing: false,
            channel: None,
            lag_micros: 3_000,
            parked: Vec::new(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.power == Power::Up
    }

    pub(crate) fn accepts(&self) -> bool {
        self.is_up() && !self.read_only && !self.is_closing
    }

    /// How it stands, in a line.
    pub(crate) fn told(&self) -> String {
        let Self { key, power, read_only, semi, .. } = self;
        let waits = self.waiting.len();
        let open = if *read_only { "closed" } else { "open" };
        let follows = self.channel.as_ref().map(|line| {
            let Line { source, receiver, applier, is_connected, error, .. } = line;
            format!(
                "follows db{source}, receiver {receiver}, applier {applier}, connected \
                 {is_connected}, {error:?}, received {}",
                line.received
            )
        });
        let logged = &self.logged;
        format!("{key}: {power:?}, {open}, {waits} wait, {semi:?}, has {logged}, {follows:?}")
    }

    /// Everything it has, applied or not.
    pub(crate) fn has(&self) -> GtidSet {
        match &self.channel {
            Some(line) => self.logged.union(&line.received),
            None => self.logged.clone(),
        }
    }

    /// Whether everything received is applied.
    pub(crate) fn is_applied(&self) -> bool {
        self.channel.as_ref().is_none_or(|line| self.executed.contains(&line.received))
    }

    pub(crate) fn next_gtid(&mut self) -> GtidSet {
        if self.flavor == Flavor::MariaDb {
            self.written = self.written.max(mariadb::last_number(&self.logged));
        }
        loop {
            self.written += 1;
            let set: GtidSet =
                format!("{}:{}", self.uuid, self.written).parse().expect("it is one");
            if !self.has().contains(&set) {
                return set;
            }
        }
    }

    /// Applies what was received.
    pub(crate) fn apply(&mut self, set: &GtidSet) {
        self.replicated = self.replicated.union(&set.without_uuids(&[self.uuid]));
        self.execute(set);
    }

    /// Throws away what was received and not applied.
    pub(crate) fn lose_relay_log(&mut self) {
        if let Some(line) = &mut self.channel {
            line.received = GtidSet::default();
            line.disconnect();
        }
    }

    /// Starts threads. MariaDB begins its relay log anew where none runs.
    pub(crate) fn start(&mut self, receiver: bool, applier: bool) {
        let stands = self.channel.as_ref().is_some_and(|line| !line.receives() && !line.applier);
        if stands && self.flavor == Flavor::MariaDb {
            self.lose_relay_log();
        }
        if let Some(line) = &mut self.channel {
            line.receiver |= receiver;
            line.applier |= applier;
            line.error = None;
        }
    }

    /// What of `source` it may lack, or has and may not have, so that it is turned away.
    pub(crate) fn is_turned_away_by(&self, source: &Server) -> bool {
        match self.flavor {
            Flavor::MySql => {
                let has = self.has();
                let theirs = has.subtract(&has.without_uuids(&[source.uuid]));
                !source.logged.contains(&theirs)
            }
            Flavor::MariaDb => mariadb::is_turned_away(self, source),
        }
    }

    /// Executes what is logged by itself.
    pub(crate) fn execute(&mut self, set: &GtidSet) {
        self.executed = self.executed.union(set);
        self.logged = self.logged.union(set);
    }

    /// How it stands in the list of its source.
    fn registered(&self) -> Registered {
        let server_uuid = (self.flavor == Flavor::MySql).then_some(self.uuid);
        Registered { server_uuid, server_id: self.number as u32 + 1 }
    }

    /// What a look tells; `sources` are all servers.
    pub(crate) fn facts(&self, all: &[Server], now: Micros) -> Facts {
        let replicas: Vec<&Server> = all
            .iter()
            .filter(|it| {
                it.channel.as_ref().is_some_and(|line| {
                    line.source == self.number && line.is_connected && it.power != Power::Dead
                })
            })
            .collect();
        let mut facts = Facts {
            uptime_seconds: 1 + (now - self.power_since) / 1_000_000,
            server_id: self.number as u32 + 1,
            server_uuid: Some(self.uuid),
            version: Version::parse("8.4.3", "MySQL Community Server - GPL"),
            read_only: self.read_only,
            super_read_only: self.read_only,
            replicas: replicas.iter().map(|it| it.key.clone()).collect(),
            registered: Some(replicas.iter().map(|it| it.registered()).collect()),
            ..Facts::default()
        };
        facts.binlog.enabled = true;
        facts.binlog.logs_replica_updates = true;
        facts.binlog.format = BinlogFormat::Row;
        facts.binlog.position = place(self.logged.count());
        facts.gtid.mode = "ON".into();
        facts.gtid.executed = Gtids::MySql(self.executed.clone());
        facts.semi_sync.available = true;
        facts.semi_sync.source_side_is_new = true;
        facts.semi_sync.replica_side_is_new = true;
        facts.semi_sync.source_enabled = self.semi.source;
        facts.semi_sync.replica_enabled = self.semi.replica;
        facts.semi_sync.source_timeout_ms =
            self.semi.timeout_micros.map_or(u64::from(u32::MAX), |micros| micros / 1_000);
        facts.semi_sync.wait_for_replicas = self.semi.wait_for;
        facts.semi_sync.source_active = self.semi.source && !self.semi.has_lapsed;
        let acknowledging = replicas.iter().filter(|it| it.semi.replica).count();
        facts.semi_sync.source_clients = acknowledging as u32;
        if self.flavor == Flavor::MariaDb {
            mariadb::tell(self, &mut facts);
        }
        if let Some(line) = &self.channel {
            let source = &all[line.source];
            facts.semi_sync.replica_active =
                line.is_connected && self.semi.replica && source.semi.source;
            facts.channels = vec![self.channel_facts(line, source)];
        }
        facts
    }

    fn channel_facts(&self, line: &Line, source: &Server) -> Channel {
        let receiver = match (line.receiver && line.error.is_none(), line.is_connected) {
            (false, _) => ThreadState::Stopped,
            (true, true) => ThreadState::Running,
            (true, false) => ThreadState::Other,
        };
        let failed = ReplicationError {
            number: 2003,
            text: "Error connecting to source: can't connect".into(),
        };
        let link = match line.is_detached {
            true => SourceLink::Detached(source.key.clone()),
            false => SourceLink::Attached(source.key.clone()),
        };
        let is_behind = !self.is_applied();
        let is_mariadb = self.flavor == Flavor::MariaDb;
        Channel {
            source: link,
            source_uuid: (!is_mariadb).then_some(source.uuid),
            receiver,
            applier: if line.applier { ThreadState::Running } else { ThreadState::Stopped },
            read: place(self.has().count()),
            executed: place(self.executed.count()),
            received: match self.flavor {
                Flavor::MySql => Gtids::MySql(line.received.clone()),
                Flavor::MariaDb => Gtids::MariaDb(mariadb::received(self, line)),
            },
            receiver_error: match line.error {
                Some((number, text)) => ReplicationError { number, text: text.into() },
                None if receiver == ThreadState::Other => failed,
                None => ReplicationError::default(),
            },
            seconds_behind: line.is_connected.then_some(u64::from(is_behind)),
            positioning: match self.flavor {
                Flavor::MySql => Positioning::AutoPosition,
                Flavor::MariaDb => Positioning::MariaDbGtid,
            },
            user: "repl".into(),
            ..Channel::default()
        }
    }
}
