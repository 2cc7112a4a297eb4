//! A fleet of servers in memory, for tests and benchmarks: replication, faults, no network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_topology::action::Action;
use baton_topology::binlog::BinlogCoordinates;
use baton_topology::gtid::{Gtid, GtidSet, Gtids};
use baton_topology::instance::{
    BinlogFormat, Channel, Facts, FailureKind, Positioning, ProbeFailure, ReplicationError,
    SourceLink, ThreadState,
};
use baton_topology::key::InstanceKey;
use baton_topology::membership::Registered;
use baton_topology::version::Version;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

mod control;
mod obey;
mod replication;
mod setup;
mod store;

pub use control::ActionFault;
pub use setup::recovery_setup;
pub use store::{Disk, MemoryStore, StoreFault};

use crate::ports::{Parting, ProbeSession, ProbeTarget, Reading};

/// What is the matter with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Nobody listens.
    Dead,
    /// It accepts and says nothing; the session keeps its deadline of a second.
    Hung,
    /// It says nothing and the session forgets its deadline.
    HungForever,
    /// It refuses the credentials.
    AccessDenied,
    /// baton has no open file left to ask it.
    NotAsked,
    /// It answers something that is not MySQL.
    Garbage,
    /// It answers late.
    Slow(Duration),
    /// Looking at it panics.
    Panics,
}

/// The deadline that sessions of the fleet keep.
pub const SESSION_DEADLINE: Duration = Duration::from_secs(1);

/// How long replicas need to notice that their source died.
pub const NOTICE_AFTER: Duration = Duration::from_millis(40);

/// Servers in memory. Names that nobody added are unknown hosts.
///
/// Replicas receive and apply at once, as far as their threads run; what they have is a set of
/// GTIDs. A killed server keeps what it has and comes back with it.
#[derive(Debug, Default)]
pub struct FakeFleet {
    state: Mutex<State>,
    /// Grows whenever somebody may have executed something, or died.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    servers: BTreeMap<InstanceKey, Server>,
    aliases: BTreeMap<InstanceKey, InstanceKey>,
    /// Every action that reached a server, in order.
    actions: Vec<(InstanceKey, Action)>,
    /// Servers that an action opened while another of their family was open.
    two_writable: Vec<(InstanceKey, InstanceKey)>,
}

#[derive(Debug)]
struct Server {
    facts: Facts,
    fault: Fault,
    /// Since when nobody listens.
    dead_since: Option<Instant>,
    /// Grows whenever parked connections break.
    breaks: watch::Sender<u64>,
    probes: u64,
    /// Servers that ever replicated from one another are of one family.
    family: u32,
    /// How many transactions were written here.
    written: u64,
    /// How many actions reached it.
    acts: u64,
    /// What goes wrong, by the number of the action.
    action_faults: BTreeMap<u64, ActionFault>,
}

impl Server {
    /// Whether it does anything at all.
    fn lives(&self) -> bool {
        !matches!(self.fault, Fault::Dead | Fault::Hung | Fault::HungForever)
    }

    fn set_fault(&mut self, fault: Fault) {
        self.fault = fault;
        self.dead_since = (fault == Fault::Dead).then(Instant::now);
        if fault == Fault::Dead {
            self.breaks.send_modify(|breaks| *breaks += 1);
        }
    }

    fn is_writable(&self) -> bool {
        self.lives() && !self.facts.read_only
    }
}

impl State {
    fn canonical(&self, given: &InstanceKey) -> InstanceKey {
        self.aliases.get(given).unwrap_or(given).clone()
    }

    fn server(&self, given: &InstanceKey) -> Option<(&InstanceKey, &Server)> {
        self.servers.get_key_value(self.aliases.get(given).unwrap_or(given))
    }

    /// Who of the replicas that a server knows is connected to it.
    fn registered(&self, source: &InstanceKey, facts: &Facts) -> BTreeSet<Registered> {
        let replicas = facts.replicas.iter().filter_map(|key| self.server(key));
        let connected = replicas.filter(|(_, replica)| {
            let mut channels = replica.facts.channels.iter();
            replica.lives()
                && channels.any(|it| {
                    let named = it.source.attached().map(|key| self.canonical(key));
                    it.receiver == ThreadState::Running && named.as_ref() == Some(source)
                })
        });
        let registered = connected.map(|(_, replica)| Registered {
            server_uuid: replica.facts.server_uuid,
            server_id: replica.facts.server_id,
        });
        registered.collect()
    }

    fn server_mut(&mut self, given: &InstanceKey) -> Option<&mut Server> {
        self.servers.get_mut(self.aliases.get(given).unwrap_or(given))
    }
}

impl FakeFleet {
    /// No servers.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Sessions panic on purpose, though never while they hold the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a writable server that replicates from nobody.
    pub fn add_primary(&self, key: &InstanceKey) {
        let mut state = self.state();
        let server_id = u32::try_from(state.servers.len() + 1).unwrap_or(u32::MAX);
        let mut facts = Facts {
            server_id,
            server_uuid: Some(Uuid::from_u128(server_id.into())),
            version: Version::parse("8.4.3", "MySQL Community Server - GPL"),
            ..Facts::default()
        };
        facts.binlog.enabled = true;
        facts.binlog.logs_replica_updates = true;
        facts.binlog.format = BinlogFormat::Row;
        facts.binlog.position = BinlogCoordinates::new("bin.000001", 4);
        facts.gtid.mode = "ON".into();
        facts.gtid.executed = Gtids::MySql(GtidSet::default());
        let server = Server {
            facts,
            fault: Fault::None,
            dead_since: None,
            breaks: watch::Sender::new(0),
            probes: 0,
            family: server_id,
            written: 0,
            acts: 0,
            action_faults: BTreeMap::new(),
        };
        state.servers.insert(key.clone(), server);
    }

    /// Adds a read-only replica of a server. It has what its source has.
    pub fn add_replica(&self, key: &InstanceKey, source: &InstanceKey) {
        self.add_primary(key);
        self.adopt(key, source);
        self.edit(key, |facts| facts.read_only = true);
        self.point(key, source);
    }

    /// Makes a server replicate from another.
    pub fn point(&self, key: &InstanceKey, source: &InstanceKey) {
        self.unite(key, source);
        self.edit(source, |facts| {
            facts.replicas.insert(key.clone());
        });
        self.edit(key, |facts| {
            facts.channels = vec![Channel {
                source: SourceLink::Attached(source.clone()),
                receiver: ThreadState::Running,
                applier: ThreadState::Running,
                positioning: Positioning::AutoPosition,
                received: Gtids::MySql(GtidSet::default()),
                seconds_behind: Some(0),
                ..Channel::default()
            }];
        });
    }

    /// Lets a name stand for a server from now on.
    pub fn alias(&self, name: &InstanceKey, server: &InstanceKey) {
        self.state().aliases.insert(name.clone(), server.clone());
    }

    /// Changes what a server tells, and how it is set up; what that sets free is replicated.
    pub fn edit(&self, key: &InstanceKey, change: impl FnOnce(&mut Facts)) {
        let mut state = self.state();
        if let Some(server) = state.server_mut(key) {
            change(&mut server.facts);
            self.settle(state, key);
        }
    }

    /// Writes on a server and returns the transaction: `None` when it refuses writes or does not
    /// answer.
    pub fn write(&self, key: &InstanceKey) -> Option<Gtid> {
        let mut state = self.state();
        let server = state.server_mut(key).filter(|server| server.is_writable())?;
        let written = server.write()?;
        self.settle(state, key);
        Some(written)
    }

    /// The transactions a server has executed; nothing for one that nobody added.
    pub fn executed(&self, key: &InstanceKey) -> GtidSet {
        self.state().server(key).map(|(_, server)| server.executed()).unwrap_or_default()
    }

    /// Kills a server: nobody listens and its connections break at once.
    pub fn kill(&self, key: &InstanceKey) {
        self.set_fault(key, Fault::Dead);
    }

    /// Brings a server back, or breaks it in another way.
    pub fn set_fault(&self, key: &InstanceKey, fault: Fault) {
        let mut state = self.state();
        if let Some(server) = state.server_mut(key) {
            server.set_fault(fault);
            self.settle(state, key);
        }
    }

    /// Tells of every change of a server, until the fleet is gone.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How often a server was probed.
    pub fn probes_of(&self, key: &InstanceKey) -> u64 {
        self.state().server(key).map_or(0, |(_, server)| server.probes)
    }

    /// How many connections are parked on a server.
    pub fn parked_on(&self, key: &InstanceKey) -> usize {
        self.state().server(key).map_or(0, |(_, server)| server.breaks.receiver_count())
    }

    fn begin(&self, key: &InstanceKey) -> Fault {
        self.state().server_mut(key).map_or(Fault::Dead, |server| {
            server.probes += 1;
            server.fault
        })
    }

    fn read(&self, key: &InstanceKey) -> Result<Reading, ProbeFailure> {
        let state = self.state();
        let Some((canonical, server)) = state.server(key) else {
            return Err(failure(FailureKind::Connect, "unknown host"));
        };
        let mut facts = server.facts.clone();
        facts.registered = Some(state.registered(canonical, &facts));
        for channel in &mut facts.channels {
            let source = channel.source.attached().and_then(|source| state.server(source));
            let dead_since = source.and_then(|(_, source)| source.dead_since);
            let is_noticed = dead_since.is_some_and(|since| since.elapsed() >= NOTICE_AFTER);
            if source.is_none() || is_noticed {
                channel.receiver = ThreadState::Other;
                channel.seconds_behind = None;
                let text = "Error reconnecting to source: error connecting to source".into();
                channel.receiver_error = ReplicationError { number: 2003, text };
            }
        }
        Ok(Reading { canonical: canonical.clone(), facts })
    }
}

fn failure(kind: FailureKind, message: &str) -> ProbeFailure {
    ProbeFailure { kind, partial: false, message: message.into() }
}

/// The fleet as a target of probes.
#[derive(Debug, Clone)]
pub struct FakeTarget(pub Arc<FakeFleet>);

impl ProbeTarget for FakeTarget {
    fn session(&self, key: &InstanceKey) -> Box<dyn ProbeSession> {
        Box::new(FakeSession { fleet: Arc::clone(&self.0), key: key.clone() })
    }
}

#[derive(Debug)]
struct FakeSession {
    fleet: Arc<FakeFleet>,
    key: InstanceKey,
}

impl FakeFleet {
    /// Reads a server in the state it is in.
    async fn look(&self, key: &InstanceKey, fault: Fault) -> Result<Reading, ProbeFailure> {
        match fault {
            Fault::None => self.read(key),
            Fault::Dead => Err(failure(FailureKind::Connect, "connection refused")),
            Fault::Hung => {
                tokio::time::sleep(SESSION_DEADLINE).await;
                Err(failure(FailureKind::Timeout, "no answer within 1 s"))
            }
            Fault::HungForever => std::future::pending().await,
            Fault::AccessDenied => Err(failure(FailureKind::AccessDenied, "access denied")),
            Fault::NotAsked => Err(failure(FailureKind::Local, "too many open files")),
            Fault::Garbage => Err(failure(FailureKind::Protocol, "this is not MySQL")),
            Fault::Slow(time) => {
                tokio::time::sleep(time).await;
                self.read(key)
            }
            Fault::Panics => panic!("the probe panics on purpose"),
        }
    }
}

impl ProbeSession for FakeSession {
    fn probe(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        async move {
            let fault = self.fleet.begin(&self.key);
            self.fleet.look(&self.key, fault).await
        }
        .boxed()
    }

    fn park(&self) -> BoxFuture<'static, Parting> {
        let state = self.fleet.state();
        let Some((_, server)) = state.server(&self.key) else {
            return std::future::ready(Parting::Refused).boxed();
        };
        if server.dead_since.is_some() {
            return std::future::ready(Parting::Refused).boxed();
        }
        let mut breaks = server.breaks.subscribe();
        async move {
            match breaks.changed().await {
                Ok(()) => Parting::Broken,
                Err(_) => Parting::Expired,
            }
        }
        .boxed()
    }
}
