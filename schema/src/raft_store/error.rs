//! What goes wrong with the log of a raft node, told apart by what a person has to do about it.

use std::path::PathBuf;

use crate::error::{OpenError, StoreError};

/// Why the log of a raft node could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RaftOpenError {
    /// What may be wrong with any store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Writes that others were told of are missing.
    #[error(
        "{} has lost {} of {acknowledged} acknowledged writes, and may have forgotten a vote: move \
         it and the files beside it away, and this node joins its peers anew",
        path.display(), acknowledged.saturating_sub(*found)
    )]
    Forgot {
        /// Where.
        path: PathBuf,
        /// So many writes were acknowledged.
        acknowledged: u64,
        /// So many are there.
        found: u64,
    },
    /// The file that tells whether something is missing is missing itself, or damaged.
    #[error(
        "the witness of {} is {what}, so nobody can tell whether a vote was forgotten: move it and \
         the files beside it away, and this node joins its peers anew", path.display()
    )]
    NoWitness {
        /// Where.
        path: PathBuf,
        /// Missing or damaged.
        what: &'static str,
    },
    /// The witness cannot be read or written.
    #[error("the witness of {} cannot be read or written", path.display())]
    Witness {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why the log of a raft node does not do what it is asked. After any of these it does nothing
/// more: what is on disk is not known for sure, and a guess may be a second vote.
#[derive(Debug, thiserror::Error)]
pub enum RaftStoreError {
    /// SQLite failed.
    #[error("the log of raft failed")]
    Store(#[from] StoreError),
    /// The witness failed.
    #[error("the witness of the log of raft failed")]
    Witness(#[from] std::io::Error),
    /// Something read is not what was written.
    #[error("the log of raft is damaged: {what}")]
    Damaged {
        /// What.
        what: String,
    },
    /// Entries must follow one another.
    #[error("entry {got} of the raft log does not follow {last}")]
    Hole {
        /// The newest one stored.
        last: u64,
        /// The one to be stored.
        got: u64,
    },
    /// It failed before.
    #[error("the log of raft failed before ({reason}) and takes nothing more")]
    Stopped {
        /// Why.
        reason: String,
    },
}

impl From<rusqlite::Error> for RaftStoreError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Store(source.into())
    }
}
