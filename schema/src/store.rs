//! The typed store on SQLite.
//!
//! One connection holds the file alone. Two kinds of durability: what is in the ledger is on disk
//! before [`Store::append_command`] returns; everything else survives the death of the process at
//! once, and a power cut up to a moment ago.

mod history;
mod ledger;
mod load;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_topology::cluster::ClusterId;
use baton_topology::instance::Facts;
use baton_topology::key::InstanceKey;
use rusqlite::{Connection, MAIN_DB, OpenFlags, TransactionBehavior};

use crate::error::{OpenError, StoreError};
use crate::migrate;
use crate::private;

pub use history::{PURGE_ROWS_MAX, Purgeable};
pub use ledger::LEDGER_ENTRIES_MAX;
pub use load::Restored;
pub use write::{TopologyRow, Write};

/// How long to wait for a file that another process holds: one that is just ending lets go.
const LOCK_WAIT: Duration = Duration::from_millis(500);
/// Statements kept prepared; more than there are in this crate.
const STATEMENTS_MAX: usize = 64;
/// What the write-ahead log shrinks to after it was larger.
const WAL_BYTES_MAX: u32 = 64 << 20;

/// Everything that outlives the process.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    /// What was written last of each instance: facts are long and often the same.
    written: HashMap<InstanceKey, Written>,
    /// The newest entry of the ledger.
    ledger_last: u64,
    /// Entries that the ledger's snapshot does not contain.
    ledger_entries: u64,
}

#[derive(Debug)]
struct Written {
    facts: Arc<Facts>,
    cluster: ClusterId,
}

impl Store {
    /// Opens the file, or makes it; brings its schema up to date; checks it; holds it alone.
    ///
    /// # Errors
    /// When any of these fails: see [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::prepare(connect(path)?, path.to_path_buf())
    }

    /// A store that ends with the process.
    ///
    /// # Errors
    /// When SQLite does not start.
    pub fn open_in_memory() -> Result<Self, OpenError> {
        let path = PathBuf::from(":memory:");
        let connection =
            Connection::open_in_memory().map_err(|source| OpenError::of(path.clone(), source))?;
        Self::prepare(connection, path)
    }

    fn prepare(mut connection: Connection, path: PathBuf) -> Result<Self, OpenError> {
        let failed = |source| OpenError::of(path.clone(), source);
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        configure(&mut connection).map_err(failed)?;
        let broken: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if broken != "ok" {
            return Err(OpenError::Damaged { path, detail: broken });
        }
        let found = migrate::version(&connection).map_err(failed)?;
        let known = migrate::SQLITE.last().map_or(0, |step| step.version);
        if found > known {
            return Err(OpenError::Newer { path, found, known });
        }
        migrate::upgrade(&mut connection, migrate::SQLITE).map_err(failed)?;
        let (ledger_last, ledger_entries) = ledger::extent(&connection).map_err(failed)?;
        Ok(Self { connection, written: HashMap::new(), ledger_last, ledger_entries })
    }
}

/// Opens a file, or makes it. Touches nothing in it yet.
pub(crate) fn connect(path: &Path) -> Result<Connection, OpenError> {
    let shown = || path.to_path_buf();
    if path.is_dir() {
        return Err(OpenError::IsFolder { path: shown() });
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(OpenError::NoFolder { path: shown() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |source| OpenError::of(shown(), source);
    // Where that is not possible SQLite says why, in its own words.
    let _ = private::create_file(path);
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // SQLite falls back to reading alone where the file allows no more.
    if connection.is_readonly(MAIN_DB).map_err(failed)? {
        return Err(OpenError::ReadOnly { path: shown() });
    }
    Ok(connection)
}

/// Sets the connection up, and takes the file for this process alone.
pub(crate) fn configure(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(LOCK_WAIT)?;
    // Before the journal mode: then no other process can ever come in between.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.transaction_with_behavior(TransactionBehavior::Exclusive)?.commit()
}

/// A value as JSON.
fn encode<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Encode { what, source })
}
