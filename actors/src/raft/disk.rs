//! The one thread that touches the log of this node.
//!
//! Work waits in one bounded queue and is done in order, so what was appended is read by whoever
//! asks after that. Once something fails nothing more is done: see [`Disk::failed`].

use std::io;
use std::path::Path;
use std::sync::Arc;

use baton_schema::{RaftOpenError, RaftStore, RaftStoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};

use super::network::chain;
use super::types::Types;

/// Work that may wait; whoever has more waits with it.
const QUEUE_MAX: usize = 1_000;
/// The first byte of all bodies. What follows is JSON.
const BODY_VERSION: u8 = 1;

type Work = Box<dyn FnOnce(&mut RaftStore) + Send>;

enum Job {
    Work(Work),
    /// Close the file.
    Close(oneshot::Sender<()>),
}

/// The way to the log of this node. Clones share the thread.
#[derive(Clone)]
pub(super) struct Disk {
    jobs: mpsc::Sender<Job>,
    failure: Failure,
    node: u64,
}

/// Why this node takes no part any more, once that is so. Clones share it.
#[derive(Clone)]
pub(super) struct Failure(Arc<watch::Sender<Option<String>>>);

impl Failure {
    fn none() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Takes note of it: the first one is why all later ones happen.
    pub(super) fn note(&self, error: &dyn std::error::Error) {
        let text = chain(error);
        self.0.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                tracing::error!(error = text, "raft failed; this node takes no part any more");
                *known = Some(text);
            }
            is_first
        });
    }
}

impl Disk {
    /// Opens the log in a file, or makes it for a node of the number `fresh_node`. Blocks.
    ///
    /// # Errors
    /// When it cannot be opened, or the system gives no thread.
    pub(super) fn open(path: &Path, fresh_node: u64) -> Result<Self, OpenDiskError> {
        let mut store = RaftStore::open(path, fresh_node)?;
        let node = store.node();
        let (jobs, mut queue) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new().name("raft-log".into()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                match job {
                    Job::Work(work) => work(&mut store),
                    Job::Close(closed) => {
                        drop(store);
                        // Whoever waited may have gone.
                        let _ = closed.send(());
                        return;
                    }
                }
            }
        })?;
        Ok(Self { jobs, failure: Failure::none(), node })
    }

    /// A log in memory that outlives the node. The work is done by a task of the node, one after
    /// the other, each after a pause: what still waits when the node is killed is lost.
    #[cfg(feature = "testing")]
    pub(super) fn simulated(memory: &super::simulated::Memory) -> Self {
        let (jobs, mut queue) = mpsc::channel(QUEUE_MAX);
        let memory = memory.clone();
        let node = memory.store().node();
        tokio::task::spawn_local(async move {
            while let Some(job) = queue.recv().await {
                tokio::time::sleep(memory.pause()).await;
                match job {
                    Job::Work(work) => work(&mut memory.store()),
                    Job::Close(closed) => {
                        // Whoever waited may have gone.
                        let _ = closed.send(());
                        return;
                    }
                }
            }
        });
        Self { jobs, failure: Failure::none(), node }
    }

    /// The number of this node.
    pub(super) fn node(&self) -> u64 {
        self.node
    }

    /// Why this node does nothing more, once that is so. It must stop then.
    pub(super) fn failed(&self) -> watch::Receiver<Option<String>> {
        self.failure.0.subscribe()
    }

    /// Where to take note of what this node cannot go on after.
    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    /// Has work done, and waits for its result.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut RaftStore) -> Result<T, RaftStoreError> + Send + 'static,
    ) -> io::Result<T> {
        let (reply, answer) = oneshot::channel();
        let failure = self.failure.clone();
        let job: Work = Box::new(move |store| {
            // Whoever asked may have gone; a failure is news nevertheless.
            let _ = reply.send(note(&failure, work(store)));
        });
        self.jobs.send(Job::Work(job)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Queues entries, and has `done` called once they are on disk, or are not.
    pub(super) async fn append(
        &self,
        entries: Vec<(u64, Vec<u8>)>,
        done: openraft::storage::IOFlushed<Types>,
    ) -> io::Result<()> {
        let failure = self.failure.clone();
        let job: Work =
            Box::new(move |store| done.io_completed(note(&failure, store.append(&entries))));
        self.jobs.send(Job::Work(job)).await.map_err(|_| closed())
    }

    /// Closes the file, once all that was asked before is done.
    pub(super) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Close(reply)).await.is_ok() {
            // Closed either way.
            let _ = answer.await;
        }
    }
}

/// Why the log of this node cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenDiskError {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] RaftOpenError),
    /// There is no thread for it.
    #[error("no thread can be started for the log of raft")]
    Thread(#[from] io::Error),
}

fn note<T>(failure: &Failure, result: Result<T, RaftStoreError>) -> io::Result<T> {
    result.map_err(|error| {
        failure.note(&error);
        io::Error::other(error)
    })
}

fn closed() -> io::Error {
    io::Error::other("the log of raft is closed")
}

/// A value as a body.
pub(super) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut body = vec![BODY_VERSION];
    serde_json::to_writer(&mut body, value)?;
    Ok(body)
}

/// The value of a body.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    match body.split_first() {
        Some((&BODY_VERSION, text)) => Ok(serde_json::from_slice(text)?),
        Some((version, _)) => Err(io::Error::other(format!(
            "the log of raft has entries of version {version}: use the newer baton"
        ))),
        None => Err(io::Error::other("the log of raft has an empty entry")),
    }
}
