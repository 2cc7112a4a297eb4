//! What one raft node must never forget: its vote, its log and its newest snapshot, in a SQLite
//! file of their own.
//!
//! What a call wrote is on disk when the call returns. Bodies are bytes that mean nothing here.
//! After the first failure nothing is read or written any more: nobody knows what is on disk then,
//! and a node that guesses may vote twice.

mod error;
#[cfg(test)]
mod tests;
mod witness;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use crate::error::OpenError;
use crate::{migrate, store};

pub use error::{RaftOpenError, RaftStoreError};
use witness::{Found, Witness};

/// Tells our files from other SQLite files.
const APPLICATION_ID: i32 = 0x6274_7266;
/// Statements kept prepared; more than there are in this module.
const STATEMENTS_MAX: usize = 32;

const NODE: &str = "node";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const SEQUENCE: &str = "sequence";

/// The log of one raft node. Whoever uses it gives it a thread of its own.
#[derive(Debug)]
pub struct RaftStore {
    connection: Connection,
    witness: Witness,
    node: u64,
    /// Acknowledged writes so far.
    sequence: u64,
    /// Why nothing is done any more.
    stopped: Option<String>,
}

/// A snapshot as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftSnapshot {
    /// What it is.
    pub meta: Vec<u8>,
    /// What it contains.
    pub body: Vec<u8>,
}

impl RaftStore {
    /// Opens the file, or makes it; checks all of it; holds it alone. A file that is made belongs
    /// to the node `fresh_node` for ever: an identity is that of a disk, so a node that lost its
    /// disk is another one.
    ///
    /// # Errors
    /// When any of these fails, or something that was acknowledged is missing.
    pub fn open(path: &Path, fresh_node: u64) -> Result<Self, RaftOpenError> {
        let mut connection = store::connect(path)?;
        let (node, sequence) = prepare(&mut connection, path, fresh_node)?;
        let unreadable = |source| RaftOpenError::Witness { path: path.to_path_buf(), source };
        let no_witness = |what| RaftOpenError::NoWitness { path: path.to_path_buf(), what };
        match witness::read(path).map_err(unreadable)? {
            // The first start, or one that was interrupted.
            Found::Nothing | Found::Damaged if sequence == 0 => {}
            Found::Nothing => return Err(no_witness("missing")),
            Found::Damaged => return Err(no_witness("damaged")),
            Found::Count(acknowledged) if acknowledged > sequence => {
                let path = path.to_path_buf();
                return Err(RaftOpenError::Forgot { path, acknowledged, found: sequence });
            }
            Found::Count(_) => {}
        }
        let witness = Witness::start(path, sequence).map_err(unreadable)?;
        let mut store = Self { connection, witness, node, sequence, stopped: None };
        if sequence == 0 {
            // From here on a file that is rolled back to nothing is noticed.
            store.write(|_| Ok(())).map_err(|error| damaged(path, &error))?;
        }
        store.verify().map_err(|error| damaged(path, &error))?;
        Ok(store)
    }

    /// A log in memory, for simulations: it lives as long as this value does.
    ///
    /// # Errors
    /// When SQLite has no memory.
    #[cfg(feature = "testing")]
    pub fn in_memory(node: u64) -> Result<Self, RaftOpenError> {
        let path = Path::new(":memory:");
        let failed = |source| OpenError::of(path.to_path_buf(), source);
        let mut connection = Connection::open_in_memory().map_err(failed)?;
        let (node, sequence) = prepare(&mut connection, path, node)?;
        Ok(Self { connection, witness: Witness::needless(), node, sequence, stopped: None })
    }

    /// The node this file belongs to.
    pub fn node(&self) -> u64 {
        self.node
    }

    /// The newest vote.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn vote(&mut self) -> Result<Option<Vec<u8>>, RaftStoreError> {
        self.read(|connection| fact(connection, VOTE))
    }

    /// Keeps a vote.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn save_vote(&mut self, body: &[u8]) -> Result<(), RaftStoreError> {
        self.write(|transaction| set_fact(transaction, VOTE, body))?;
        let synced = self.witness.sync().map_err(RaftStoreError::from);
        self.note(synced)
    }

    /// How far the log was known to be committed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn committed(&mut self) -> Result<Option<Vec<u8>>, RaftStoreError> {
        self.read(|connection| fact(connection, COMMITTED))
    }

    /// Keeps how far the log is committed. A power cut may lose this one, for the peers know.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn save_committed(&mut self, body: Option<&[u8]>) -> Result<(), RaftStoreError> {
        self.read(|connection| {
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            let done = match body {
                Some(body) => set_fact(connection, COMMITTED, body),
                None => remove_fact(connection, COMMITTED),
            };
            connection.pragma_update(None, "synchronous", "FULL")?;
            done
        })
    }

    /// The mark of what was purged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn purged(&mut self) -> Result<Option<Vec<u8>>, RaftStoreError> {
        self.read(|connection| fact(connection, PURGED))
    }

    /// Appends entries: all of them, or none.
    ///
    /// # Errors
    /// When they could not be written, or would leave a hole.
    pub fn append(&mut self, entries: &[(u64, Vec<u8>)]) -> Result<(), RaftStoreError> {
        self.write(|transaction| {
            let last: Option<i64> =
                transaction.query_row("SELECT MAX(entry) FROM log", [], |row| row.get(0))?;
            let mut last = last.map(unsigned);
            let sql = "INSERT INTO log (entry, body, checksum) VALUES (?1, ?2, ?3)";
            let mut statement = transaction.prepare_cached(sql)?;
            for (entry, body) in entries {
                if let Some(last) = last.filter(|last| last.saturating_add(1) != *entry) {
                    return Err(RaftStoreError::Hole { last, got: *entry });
                }
                let checksum = checksum(&entry.to_be_bytes(), body);
                statement.execute((signed(*entry), body, checksum))?;
                last = Some(*entry);
            }
            Ok(())
        })
    }

    /// The entries from `from` on that are below `below`: as many as fit into `bytes`, and at
    /// least one if there is one.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn entries(
        &mut self,
        from: u64,
        below: u64,
        bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, RaftStoreError> {
        self.read(|connection| {
            let sql = "SELECT entry, body, checksum FROM log WHERE entry >= ?1 AND entry < ?2
                       ORDER BY entry";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query((signed(from), signed(below)))?;
            let mut entries = Vec::new();
            let mut room = bytes;
            while let Some(row) = rows.next()? {
                let (number, body) = entry(row)?;
                if body.len() > room && !entries.is_empty() {
                    break;
                }
                room = room.saturating_sub(body.len());
                entries.push((number, body));
            }
            Ok(entries)
        })
    }

    /// The newest entry.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last(&mut self) -> Result<Option<(u64, Vec<u8>)>, RaftStoreError> {
        self.read(|connection| {
            let sql = "SELECT entry, body, checksum FROM log ORDER BY entry DESC LIMIT 1";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            rows.next()?.map(entry).transpose()
        })
    }

    /// Drops the entries from `from` on.
    ///
    /// # Errors
    /// When that could not be written.
    pub fn truncate(&mut self, from: u64) -> Result<(), RaftStoreError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM log WHERE entry >= ?1", [signed(from)])?;
            Ok(())
        })
    }

    /// Drops the entries up to and including `through`, and remembers that by `mark`.
    ///
    /// # Errors
    /// When that could not be written.
    pub fn purge(&mut self, through: u64, mark: &[u8]) -> Result<(), RaftStoreError> {
        self.write(|transaction| {
            set_fact(transaction, PURGED, mark)?;
            transaction.execute("DELETE FROM log WHERE entry <= ?1", [signed(through)])?;
            Ok(())
        })
    }

    /// The newest snapshot: what it is, and its body.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn snapshot(&mut self) -> Result<Option<RaftSnapshot>, RaftStoreError> {
        self.read(|connection| {
            let sql = "SELECT meta, body, checksum FROM snapshot WHERE id = 1";
            let found: Option<(Vec<u8>, Vec<u8>, u32)> = connection
                .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((meta, body, sum)) = found else { return Ok(None) };
            check("the snapshot", sum, checksum(&meta, &body))?;
            Ok(Some(RaftSnapshot { meta, body }))
        })
    }

    /// Replaces the snapshot.
    ///
    /// # Errors
    /// When it could not be written; the one before stands.
    pub fn save_snapshot(&mut self, meta: &[u8], body: &[u8]) -> Result<(), RaftStoreError> {
        self.write(|transaction| {
            let sql = "INSERT OR REPLACE INTO snapshot (id, meta, body, checksum)
                       VALUES (1, ?1, ?2, ?3)";
            transaction.execute(sql, (meta, body, checksum(meta, body)))?;
            Ok(())
        })
    }

    /// Reads everything once: whatever is damaged is found now and not in the middle of an
    /// election.
    fn verify(&mut self) -> Result<(), RaftStoreError> {
        let entries = self.entries(0, u64::MAX, usize::MAX)?;
        for pair in entries.windows(2) {
            if let [(last, _), (got, _)] = pair
                && last.saturating_add(1) != *got
            {
                return Err(RaftStoreError::Hole { last: *last, got: *got });
            }
        }
        self.vote()?;
        self.committed()?;
        self.purged()?;
        self.snapshot().map(|_| ())
    }

    fn read<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, RaftStoreError>,
    ) -> Result<T, RaftStoreError> {
        self.refuse_if_stopped()?;
        let done = work(&self.connection);
        self.note(done)
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, RaftStoreError>,
    ) -> Result<T, RaftStoreError> {
        self.refuse_if_stopped()?;
        let sequence = self.sequence.saturating_add(1);
        let done = commit(&mut self.connection, sequence, work).and_then(|value| {
            self.sequence = sequence;
            self.witness.note(sequence)?;
            Ok(value)
        });
        self.note(done)
    }

    fn refuse_if_stopped(&self) -> Result<(), RaftStoreError> {
        let Some(reason) = self.stopped.clone() else { return Ok(()) };
        Err(RaftStoreError::Stopped { reason })
    }

    /// Takes note of a failure, for good.
    fn note<T>(&mut self, done: Result<T, RaftStoreError>) -> Result<T, RaftStoreError> {
        if let Err(error) = &done {
            let causes = std::iter::successors(std::error::Error::source(error), |it| it.source());
            let reason = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
            self.stopped.get_or_insert(reason);
        }
        done
    }
}

/// Brings a file up to date, and tells whose it is and how many writes it acknowledged.
fn prepare(
    connection: &mut Connection,
    path: &Path,
    fresh_node: u64,
) -> Result<(u64, u64), OpenError> {
    let failed = |source| OpenError::of(path.to_path_buf(), source);
    store::configure(connection).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let detail = |detail: String| OpenError::Damaged { path: path.to_path_buf(), detail };
    let broken: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if broken != "ok" {
        return Err(detail(broken));
    }
    let tables: i64 = connection
        .query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    if tables > 0 && id != APPLICATION_ID {
        return Err(detail("it is no log of raft".into()));
    }
    let found = migrate::version(connection).map_err(failed)?;
    let known = migrate::RAFT.last().map_or(0, |step| step.version);
    if found > known {
        return Err(OpenError::Newer { path: path.to_path_buf(), found, known });
    }
    migrate::upgrade(connection, migrate::RAFT).map_err(failed)?;
    identify(connection, fresh_node).map_err(|error| detail(error.to_string()))
}

/// Reads the node and the number of writes; a file that knows neither is new.
fn identify(connection: &mut Connection, fresh_node: u64) -> Result<(u64, u64), RaftStoreError> {
    match (number(connection, NODE)?, number(connection, SEQUENCE)?) {
        (Some(node), Some(sequence)) => Ok((node, sequence)),
        (None, None) => {
            commit(connection, 0, |transaction| {
                set_fact(transaction, NODE, &fresh_node.to_be_bytes())
            })?;
            Ok((fresh_node, 0))
        }
        _ => Err(RaftStoreError::Damaged { what: "its identity is incomplete".into() }),
    }
}

/// Writes in one transaction, which is on disk when this returns.
fn commit<T>(
    connection: &mut Connection,
    sequence: u64,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, RaftStoreError>,
) -> Result<T, RaftStoreError> {
    let transaction = connection.transaction()?;
    let value = work(&transaction)?;
    set_fact(&transaction, SEQUENCE, &sequence.to_be_bytes())?;
    transaction.commit()?;
    Ok(value)
}

fn damaged(path: &Path, error: &RaftStoreError) -> RaftOpenError {
    let causes = std::iter::successors(std::error::Error::source(error), |it| it.source());
    let detail = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    RaftOpenError::Store(OpenError::Damaged { path: PathBuf::from(path), detail })
}

fn number(connection: &Connection, name: &str) -> Result<Option<u64>, RaftStoreError> {
    let Some(body) = fact(connection, name)? else { return Ok(None) };
    let bytes: Result<[u8; 8], _> = body.try_into();
    let damaged = |_| RaftStoreError::Damaged { what: format!("{name} is no number") };
    bytes.map(|bytes| Some(u64::from_be_bytes(bytes))).map_err(damaged)
}

fn fact(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, RaftStoreError> {
    let mut statement =
        connection.prepare_cached("SELECT body, checksum FROM facts WHERE name = ?1")?;
    let found: Option<(Vec<u8>, u32)> =
        statement.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((body, sum)) = found else { return Ok(None) };
    check(name, sum, checksum(name.as_bytes(), &body))?;
    Ok(Some(body))
}

fn set_fact(connection: &Connection, name: &str, body: &[u8]) -> Result<(), RaftStoreError> {
    let sql = "INSERT OR REPLACE INTO facts (name, body, checksum) VALUES (?1, ?2, ?3)";
    let row = (name, body, checksum(name.as_bytes(), body));
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

fn remove_fact(connection: &Connection, name: &str) -> Result<(), RaftStoreError> {
    connection.prepare_cached("DELETE FROM facts WHERE name = ?1")?.execute([name])?;
    Ok(())
}

fn entry(row: &Row<'_>) -> Result<(u64, Vec<u8>), RaftStoreError> {
    let (entry, body): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
    let entry = unsigned(entry);
    check(&format!("entry {entry}"), row.get(2)?, checksum(&entry.to_be_bytes(), &body))?;
    Ok((entry, body))
}

fn check(what: &str, found: u32, expected: u32) -> Result<(), RaftStoreError> {
    if found == expected {
        return Ok(());
    }
    Err(RaftStoreError::Damaged { what: format!("{what} is not what was written") })
}

/// Of a body and of where it belongs, so that bodies that changed places are found too.
fn checksum(place: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(place);
    hasher.update(body);
    hasher.finalize()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
