//! Puts a node together and starts it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use baton_topology::ledger::LedgerState;
use openraft::Config;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::super::addresses::Addresses;
use super::super::client::Client;
use super::super::confirmed::Confirmed;
use super::super::disk::{Disk, OpenDiskError};
use super::super::heirloom;
use super::super::keys::Keys;
use super::super::leadership::{self, Heard, Leadership, Lookout};
use super::super::log_store::LogStore;
use super::super::members::{Identity, Members, Standing};
use super::super::network::{Network, chain};
use super::super::peers::Switchboard;
use super::super::reception::Receptionist;
use super::super::recover::fresh_number;
use super::super::server::{self, Office};
use super::super::setup::{Compaction, RaftSetup, Timing};
use super::super::state_machine::StateMachine;
use super::super::types::Raft;
use super::super::wakes::Wakes;
use super::super::watcher::Watcher;
use super::{Inner, Own, RaftNode, Yields};
use crate::strand;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There are no threads.
    #[error("raft gets no threads")]
    Threads(#[source] std::io::Error),
    /// What it must remember cannot be read.
    #[error(transparent)]
    Disk(#[from] OpenDiskError),
    /// The time-outs make no sense together.
    #[error("the time-outs of raft do not fit together")]
    Timing(#[source] openraft::ConfigError),
    /// What it remembers makes no sense, or the disk failed.
    #[error("raft does not start: {0}")]
    Raft(String),
    /// Peers cannot be listened to.
    #[error("raft cannot listen to its peers")]
    Listen(#[source] std::io::Error),
}

pub(super) async fn start(setup: RaftSetup, runtime: Own) -> Result<RaftNode, StartError> {
    let config = Arc::new(setup.config().map_err(StartError::Timing)?);
    let disk = open_disk(setup.folder.join("raft.db")).await?;
    let client = Client::new(setup.connect, setup.keys.clone());
    let identity = Identity {
        seats: setup.seats.into_iter().chain([setup.name.clone()]).collect(),
        name: setup.name,
        api: setup.api,
        host: setup.host,
        shared_keys: setup.shared_keys,
        clock: setup.clock,
        kept_alone: setup.kept_alone.as_ref().map_or(0, |ledger| ledger.index),
    };
    let parts = Parts {
        identity,
        kept_alone: setup.kept_alone,
        keys: setup.keys,
        timing: setup.timing,
        compaction: setup.compaction,
    };
    let (listener, tls) = (setup.listener, setup.tls);
    let serve = |office| {
        let server = server::serve(listener, tls, office)?;
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Some(handle))
    };
    assemble(parts, config, disk, client, runtime, serve).await
}

/// What a node is, wherever its log is and however its peers are reached.
pub(in super::super) struct Parts {
    pub(in super::super) identity: Identity,
    pub(in super::super) kept_alone: Option<Arc<LedgerState>>,
    pub(in super::super) keys: Keys,
    pub(in super::super) timing: Timing,
    pub(in super::super) compaction: Compaction,
}

/// Puts a node together and starts it; `serve` has its peers answered.
pub(in super::super) async fn assemble(
    parts: Parts,
    config: Arc<Config>,
    disk: Disk,
    client: Client,
    runtime: Own,
    serve: impl FnOnce(Office) -> std::io::Result<Option<ServerHandle>>,
) -> Result<RaftNode, StartError> {
    let state = watch::Sender::new(Arc::default());
    let published = state.subscribe();
    let machine = StateMachine::new(disk.clone(), state);
    let (newest, addresses) = (machine.newest(), Addresses::default());
    let confirmed = Confirmed::default();
    let network = Network::new(disk.node(), client.clone(), addresses.clone(), confirmed.clone());
    let log = LogStore::new(disk.clone());
    let raft = Raft::new(disk.node(), config, network, log, machine)
        .await
        .map_err(|error| StartError::Raft(chain(&error)))?;
    // Whoever remembers being a member knows it once it answers, and not before: until then it
    // would ask to be let in.
    raft.is_initialized().await.map_err(|error| StartError::Raft(chain(&error)))?;

    let Parts { identity, kept_alone, keys, timing, compaction } = parts;
    let switchboard = Arc::new(Switchboard::new(client.clone()));
    let members =
        Arc::new(Members::new(raft.clone(), identity, client, addresses, confirmed, newest));
    let (told, leadership) = watch::channel(Leadership::UNKNOWN);
    let (stands, standing) = watch::channel(Standing::Outside("it just started".into()));
    let (leads, leading) = watch::channel(None);
    strand::spawn(leadership::note_terms(leadership.clone(), leads));
    let heard = Heard::never();
    let reception = Arc::new(Receptionist {
        members: Arc::clone(&members),
        leadership: leadership.clone(),
        runtime: runtime.1.clone(),
    });
    let office = Office {
        raft: raft.clone(),
        keys,
        heard: heard.clone(),
        failure: disk.failure(),
        reception,
        ears: switchboard.ears.clone(),
    };
    let server = serve(office).map_err(StartError::Listen)?;
    let lookout =
        Lookout { raft: raft.clone(), heard, lease: timing.election_max, wakes: Wakes::default() };
    strand::spawn(leadership::publish(lookout.clone(), timing, told));
    strand::spawn(Arc::clone(&members).settle(leadership.clone(), stands));
    let newcomer = heirloom::Newcomer {
        members: Arc::clone(&members),
        standing: standing.clone(),
        leadership: leadership.clone(),
        state: published.clone(),
    };
    let carried_over = newcomer.bring(kept_alone);
    strand::spawn(compact(raft.clone(), compaction.every));
    let watched = Watcher::new(Arc::clone(&members), leadership.clone(), disk.failure()).begin();
    let inner = Inner {
        raft,
        disk,
        members,
        switchboard,
        state: published,
        leadership,
        lookout,
        yields: Yields::default(),
        standing,
        leading,
        carried_over,
        watched,
        server,
        runtime,
    };
    Ok(RaftNode { inner: Arc::new(inner) })
}

async fn open_disk(path: PathBuf) -> Result<Disk, StartError> {
    let opened = tokio::task::spawn_blocking(move || Disk::open(&path, fresh_number())).await;
    Ok(opened.map_err(|error| StartError::Raft(error.to_string()))??)
}

/// Makes a snapshot now and then, so that a log that hardly grows is compacted too.
async fn compact(raft: Raft, every: Duration) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        let metrics = raft.metrics().borrow_watched().clone();
        if metrics.last_applied > metrics.snapshot && raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}
