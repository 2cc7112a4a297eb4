//! Nodes of a raft that live in a simulation: on the thread of whoever starts them, their logs in
//! memory, their peers behind a [`Wire`]. Everything else is what runs outside, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::web::Bytes;
use baton_schema::{RaftOpenError, RaftStore};
use baton_topology::time::Timestamp;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use hyper::StatusCode;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::client::{Call, CallError, Client};
use super::disk::Disk;
use super::keys::Keys;
use super::members::Identity;
use super::node::{Own, Parts, RaftNode, StartError, assemble};
use super::secret::Secret;
use super::server::Window;
use super::setup::{Compaction, Timing, config};
use crate::clock::Clock;
use crate::strand::chance;

/// From now on what happens on this thread follows from `seed` alone, and all tasks of a node are
/// part of the task set it was started in; or no more, for `None`.
pub fn repeat(seed: Option<u64>) {
    chance::repeat(seed);
}

/// What a node remembers over its own death.
#[derive(Clone)]
pub struct Memory {
    store: Arc<Mutex<RaftStore>>,
    /// How long each access takes.
    pause: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Memory {
    /// An empty one for the node of this number.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn of(
        node: u64,
        pause: Arc<dyn Fn() -> Duration + Send + Sync>,
    ) -> Result<Self, RaftOpenError> {
        let store = Arc::new(Mutex::new(RaftStore::in_memory(node)?));
        Ok(Self { store, pause })
    }

    pub(super) fn store(&self) -> MutexGuard<'_, RaftStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pause(&self) -> Duration {
        (self.pause)()
    }
}

/// A question of one node to another.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The seat that is asked.
    pub to: String,
    /// What kind of question it is.
    pub path: &'static str,
    /// The number of the node that is meant, if only that one may answer.
    meant: Option<u64>,
    body: Bytes,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply(Result<Bytes, (u16, String)>);

/// Carries questions to peers and their answers back.
pub trait Wire: Send + Sync + 'static {
    /// The answer; `None` when the connection cannot be opened, or broke. May take for ever.
    fn carry(&self, letter: Letter) -> BoxFuture<'static, Option<Reply>>;
}

/// Answers the questions of peers. To be dropped with the node.
#[derive(Clone)]
pub struct Door(Window);

impl Door {
    /// Answers.
    pub fn answer(&self, letter: Letter) -> LocalBoxFuture<'static, Reply> {
        let window = self.0.clone();
        Box::pin(async move { Reply(window.answer(letter.path, letter.meant, letter.body).await) })
    }
}

/// Tells no peer what time it is.
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }
}

/// How a simulated node is set up.
pub struct Setup {
    /// Its seat.
    pub name: String,
    /// All seats.
    pub seats: Vec<String>,
    /// What it remembers.
    pub memory: Memory,
    /// The way to its peers.
    pub wire: Arc<dyn Wire>,
    /// How long things take.
    pub timing: Timing,
    /// When the log is compacted.
    pub compaction: Compaction,
}

/// Starts a node in the current task set.
///
/// # Errors
/// As [`RaftNode::start`].
pub async fn start(setup: Setup) -> Result<(RaftNode, Door), StartError> {
    let Setup { name, seats, memory, wire, timing, compaction } = setup;
    let config = config(timing, compaction, seats.len()).map_err(StartError::Timing)?;
    let disk = Disk::simulated(&memory);
    // Nobody is asked for it here.
    let keys = Keys::new(Secret::of_nobody());
    let client = Client::over(wire, keys.clone());
    let own = Own(None, Handle::current());
    let identity = Identity {
        api: name.clone(),
        host: name.clone(),
        seats: seats.into_iter().chain([name.clone()]).collect(),
        name,
        shared_keys: BTreeMap::new(),
        clock: Arc::new(NoClock),
        kept_alone: 0,
    };
    let parts = Parts { identity, kept_alone: None, keys, timing, compaction };
    let mut door = None;
    let serve = |office| {
        door = Some(Door(Window::of(office)));
        Ok(None)
    };
    let node = assemble(parts, Arc::new(config), disk, client, own, serve).await?;
    let door = door.ok_or_else(|| StartError::Raft("it has no door".into()))?;
    Ok((node, door))
}

pub(super) async fn ask<A: DeserializeOwned>(
    wire: &dyn Wire,
    call: Call<'_>,
    body: Bytes,
) -> Result<A, CallError> {
    let name = || call.name.to_owned();
    let gibberish = |source| CallError::Gibberish { name: name(), source };
    let letter = Letter { to: name(), path: call.path, meant: call.to, body };
    let late = |_| CallError::Timeout { name: name(), within: call.within };
    match timeout(call.within, wire.carry(letter)).await.map_err(late)? {
        Some(Reply(Ok(answer))) => serde_json::from_slice(&answer).map_err(gibberish),
        Some(Reply(Err((status, text)))) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            Err(CallError::Refused { name: name(), status, text })
        }
        None => {
            let source = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            Err(CallError::Unreachable { name: name(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::runtime::Builder;
    use tokio::task::LocalSet;

    use super::*;
    use crate::ports::Ledger;

    /// Nobody is there.
    struct Nobody;

    impl Wire for Nobody {
        fn carry(&self, _: Letter) -> BoxFuture<'static, Option<Reply>> {
            Box::pin(std::future::ready(None))
        }
    }

    #[test]
    fn a_node_that_leads_and_has_nothing_to_do_does_nothing() {
        let (told, done) = mpsc::channel();
        std::thread::spawn(move || {
            repeat(Some(1));
            let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
            LocalSet::new().block_on(&runtime.unwrap(), async {
                let setup = Setup {
                    name: "a:1".into(),
                    seats: vec!["a:1".into()],
                    memory: Memory::of(1, Arc::new(|| Duration::ZERO)).unwrap(),
                    wire: Arc::new(Nobody),
                    timing: Timing::NEAR,
                    compaction: Compaction::default(),
                };
                let (node, _door) = start(setup).await.unwrap();
                node.leading().wait_for(Option::is_some).await.unwrap();
                // Time only passes here while nobody is busy.
                tokio::time::sleep(Duration::from_secs(60)).await;
                told.send(()).unwrap();
            });
        });
        let waited = done.recv_timeout(Duration::from_secs(20));
        assert!(waited.is_ok(), "it never rests");
    }
}
