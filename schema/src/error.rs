//! What goes wrong with a store, told apart by what a person has to do about it.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is a folder where the file should be.
    #[error("{} is a folder; the store is a file", path.display())]
    IsFolder {
        /// Where.
        path: PathBuf,
    },
    /// The folder for the file does not exist.
    #[error("the folder of {} does not exist", path.display())]
    NoFolder {
        /// Where.
        path: PathBuf,
    },
    /// The file cannot be made or opened.
    #[error("{} cannot be created or opened: check the rights of its folder", path.display())]
    CannotOpen {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: rusqlite::Error,
    },
    /// The file, or the folder it is in, cannot be written.
    #[error("{} is read-only: baton must be able to write it and its folder", path.display())]
    ReadOnly {
        /// Where.
        path: PathBuf,
    },
    /// Another process works with the file.
    #[error("{} is in use by another baton: two must not share one file", path.display())]
    Locked {
        /// Where.
        path: PathBuf,
    },
    /// The file is not a store, or parts of it are broken.
    #[error("{} is damaged ({detail}): restore a copy, or move it away to start empty", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The disk is full.
    #[error("there is no space left for {}", path.display())]
    Full {
        /// Where.
        path: PathBuf,
    },
    /// A newer baton wrote it.
    #[error(
        "{} has schema version {found}, this baton knows versions up to {known}: \
         use the newer baton", path.display()
    )]
    Newer {
        /// Where.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// Anything else.
    #[error("{} cannot be opened", path.display())]
    Other {
        /// Where.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(crate) fn of(path: PathBuf, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::CannotOpen) => Self::CannotOpen { path, source },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, detail: source.to_string() }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path },
            _ => Self::Other { path, source },
        }
    }
}

/// Why the store could not do what was asked. Nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else works with the file at the moment.
    #[error("the store is busy")]
    Busy {
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The disk is full.
    #[error("there is no space left for the store")]
    Full {
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file became read-only.
    #[error("the store is read-only")]
    ReadOnly {
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is damaged.
    #[error("the store is damaged")]
    Damaged {
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Anything else that SQLite reports, such as input and output errors.
    #[error("the store failed")]
    Failed {
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A command must follow the one before it.
    #[error("ledger entry {got} does not follow {last}")]
    OutOfOrder {
        /// The newest one stored.
        last: u64,
        /// The one to be stored.
        got: u64,
    },
    /// Something could not be written as text.
    #[error("{what} cannot be encoded")]
    Encode {
        /// What.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// Something of the ledger cannot be read, and the ledger must not have holes.
    #[error("{what} cannot be read")]
    Decode {
        /// What.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl StoreError {
    /// Whether trying the same again in a moment may succeed without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { source },
            Some(ErrorCode::DiskFull) => Self::Full { source },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { source },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { source },
            _ => Self::Failed { source },
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Error, ffi};

    use super::*;

    fn failure(code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn errors_tell_what_a_person_has_to_do() {
        for (code, opening, transient) in [
            (ffi::SQLITE_CANTOPEN, "cannot be created or opened", false),
            (ffi::SQLITE_READONLY, "is read-only", false),
            (ffi::SQLITE_READONLY_DIRECTORY, "is read-only", false),
            (ffi::SQLITE_BUSY, "is in use by another baton", true),
            (ffi::SQLITE_LOCKED, "is in use by another baton", true),
            (ffi::SQLITE_CORRUPT, "is damaged", false),
            (ffi::SQLITE_NOTADB, "is damaged", false),
            (ffi::SQLITE_FULL, "no space left", false),
            (ffi::SQLITE_IOERR_FSYNC, "cannot be opened", false),
        ] {
            let text = OpenError::of("/state/baton.sqlite".into(), failure(code)).to_string();
            assert!(text.contains(opening) && text.contains("/state/baton.sqlite"), "{text}");
            assert_eq!(StoreError::from(failure(code)).is_transient(), transient, "{code}");
        }
    }
}
