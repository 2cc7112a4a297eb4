//! Begins a raft anew from what one disk remembers, when a majority of the others is lost for good.
//!
//! Nothing does this by itself: only people know that the others are lost, and not just away. What
//! was agreed upon by the lost ones alone is gone. What this disk has and nobody may have agreed to
//! is kept, because nobody can tell any more. The new raft has one member, under a new number, so
//! that no node of the old one can speak to it, should one turn up after all.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_schema::{RaftOpenError, RaftStore, RaftStoreError};
use baton_topology::ledger::LedgerState;
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use uuid::Uuid;

use super::disk::{decode, encode};
use super::state_machine::after;
use super::types::{
    Entry, FIRST_VERSION, LogId, Peer, SnapshotBody, SnapshotMeta, StoredMembership, Vote,
};

/// The files of a log; the first must be there.
const FILES: [&str; 4] = ["raft.db", "raft.db-witness", "raft.db-wal", "raft.db-shm"];
/// The lost ones may have gone on to later terms, which nobody may lead in again.
const TERMS_LEFT_OUT: u64 = 1_000;
/// Folders with older logs, at most.
const ASIDE_MAX: u32 = 1_000;

/// What one disk remembers of a raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// The members it knows of, by seat.
    pub members: Vec<String>,
    /// The newest term it knows.
    pub term: u64,
    /// The newest entry it has: of several disks that are left, the best has most.
    pub last: u64,
    /// How many commands have been applied to the ledger it has.
    pub commands: u64,
}

/// Why a raft was not begun anew. Nothing was changed, but for files moved aside in the last step.
#[derive(Debug, thiserror::Error)]
pub enum RecoverRaftError {
    /// There is no log.
    #[error("there is no {}", path.display())]
    Nothing {
        /// Where it should be.
        path: PathBuf,
    },
    /// It cannot be opened, such as because a node runs on it.
    #[error(transparent)]
    Open(#[from] RaftOpenError),
    /// It cannot be read or written.
    #[error("the log of raft cannot be read or written")]
    Store(#[from] RaftStoreError),
    /// What is in it makes no sense here.
    #[error("the log of raft cannot be used")]
    Content(#[source] io::Error),
    /// It belongs to nobody.
    #[error("{} never took part in a raft: start it, and it joins", path.display())]
    Empty {
        /// The log.
        path: PathBuf,
    },
    /// Files cannot be moved.
    #[error("cannot put the new log into {}", folder.display())]
    Move {
        /// Where to.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// All that is needed to go on.
struct Memory {
    term: u64,
    last: LogId,
    membership: StoredMembership,
    body: SnapshotBody,
}

impl Memory {
    fn remains(&self) -> Remains {
        let mut members: Vec<String> =
            self.membership.nodes().map(|(_, peer)| peer.name.clone()).collect();
        members.sort();
        let commands = self.body.state.index;
        Remains { members, term: self.term, last: self.last.index, commands }
    }
}

/// Tells what the disk of a node that does not run remembers. Changes nothing.
///
/// # Errors
/// When that cannot be told.
pub fn remains(folder: &Path) -> Result<Remains, RecoverRaftError> {
    Ok(read(&folder.join(FILES[0]))?.remains())
}

/// Begins a raft anew, of which the node at `seat` is the only member, with what its disk
/// remembers. The old log is moved aside. Returns what was there, and where that is now.
///
/// # Errors
/// When it was not begun.
pub fn begin_anew(folder: &Path, seat: &str) -> Result<(Remains, PathBuf), RecoverRaftError> {
    let memory = read(&folder.join(FILES[0]))?;
    let remains = memory.remains();
    let cannot = |source| RecoverRaftError::Move { folder: folder.to_path_buf(), source };
    let fresh = tempfile::tempdir_in(folder).map_err(cannot)?;
    write(&fresh.path().join(FILES[0]), memory, seat)?;
    let aside = free_folder(folder).map_err(cannot)?;
    baton_schema::private::create_folder(&aside).map_err(cannot)?;
    move_all(folder, &aside).and_then(|()| move_all(fresh.path(), folder)).map_err(cannot)?;
    std::fs::File::open(folder).and_then(|it| it.sync_all()).map_err(cannot)?;
    Ok((remains, aside))
}

fn free_folder(folder: &Path) -> io::Result<PathBuf> {
    let mut names = (1..=ASIDE_MAX).map(|number| folder.join(format!("before-recovery-{number}")));
    names.find(|it| !it.exists()).ok_or_else(|| io::Error::other("too many older logs are kept"))
}

fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for file in FILES.iter().filter(|file| from.join(file).exists()) {
        std::fs::rename(from.join(file), to.join(file))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Memory, RecoverRaftError> {
    if !path.exists() {
        return Err(RecoverRaftError::Nothing { path: path.to_path_buf() });
    }
    let content = RecoverRaftError::Content;
    let mut store = RaftStore::open(path, fresh_number())?;
    let vote: Option<Vote> =
        store.vote()?.map(|body| decode(&body)).transpose().map_err(content)?;
    let mut last: Option<LogId> = None;
    let mut membership = StoredMembership::default();
    let mut body = SnapshotBody { version: FIRST_VERSION, state: Arc::new(LedgerState::default()) };
    if let Some(snapshot) = store.snapshot()? {
        let meta: SnapshotMeta = decode(&snapshot.meta).map_err(content)?;
        body = decode(&snapshot.body).map_err(content)?;
        (last, membership) = (meta.last_log_id, meta.last_membership);
    }
    for (_, bytes) in store.entries(0, u64::MAX, usize::MAX)? {
        let entry: Entry = decode(&bytes).map_err(content)?;
        let at = entry.log_id();
        if last >= Some(at) {
            continue;
        }
        last = Some(at);
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(members) => {
                membership = StoredMembership::new(Some(at), members);
            }
            EntryPayload::Normal(envelope) => {
                body.version = body.version.max(envelope.version());
                // What the rules refuse was refused when it was agreed upon, too.
                if let Ok((state, _)) = after(&body.state, &envelope.matter) {
                    body.state = state;
                }
            }
        }
    }
    let last = last.ok_or_else(|| RecoverRaftError::Empty { path: path.to_path_buf() })?;
    let voted_in = vote.map_or(0, |vote| vote.leader_id.term);
    let term = voted_in.max(last.committed_leader_id().term);
    Ok(Memory { term, last, membership, body })
}

fn write(path: &Path, memory: Memory, seat: &str) -> Result<(), RecoverRaftError> {
    let content = RecoverRaftError::Content;
    let Memory { term, last, body, .. } = memory;
    let mut store = RaftStore::open(path, fresh_number())?;
    let node = store.node();
    let peer =
        Peer { name: seat.to_owned(), kept_alone: false, raft: fresh_number(), begun_anew: true };
    let nodes = BTreeMap::from([(node, peer)]);
    let members = openraft::Membership::new(vec![BTreeSet::from([node])], nodes);
    let members = members.map_err(|error| content(io::Error::other(error)))?;
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), members),
    };
    let vote = Vote::new(term.saturating_add(TERMS_LEFT_OUT), node);
    store.save_vote(&encode(&vote).map_err(content)?)?;
    store.save_snapshot(&encode(&meta).map_err(content)?, &encode(&body).map_err(content)?)?;
    let mark = encode(&last).map_err(content)?;
    store.purge(last.index, &mark)?;
    Ok(store.save_committed(Some(&mark))?)
}

/// A number for a disk. Fits into the numbers of every language that reads JSON.
pub(super) fn fresh_number() -> u64 {
    let (fresh, _) = Uuid::new_v4().as_u64_pair();
    fresh >> 11
}
