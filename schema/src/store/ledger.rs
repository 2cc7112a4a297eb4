//! The ledger on disk: a snapshot and the entries since.

use baton_topology::ledger::{Command, LedgerState, apply};
use baton_topology::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::{Store, encode};
use crate::error::StoreError;

/// Entries beyond which the ledger is worth compacting: replaying so many takes milliseconds.
pub const LEDGER_ENTRIES_MAX: u64 = 1000;

impl Store {
    /// Appends a command. When this returns, it is on disk.
    ///
    /// # Errors
    /// When it could not be written, or `index` does not follow the newest entry.
    pub fn append_command(
        &mut self,
        index: u64,
        at: Timestamp,
        command: &Command,
    ) -> Result<(), StoreError> {
        if index != self.ledger_last.saturating_add(1) {
            return Err(StoreError::OutOfOrder { last: self.ledger_last, got: index });
        }
        let text = encode("a command", command)?;
        self.on_disk(|transaction| {
            let sql = "INSERT INTO ledger_entries (entry, at, command) VALUES (?1, ?2, ?3)";
            let row = (signed(index), at.as_micros(), &text);
            transaction.prepare_cached(sql)?.execute(row).map(|_| ())
        })?;
        self.ledger_last = index;
        self.ledger_entries = self.ledger_entries.saturating_add(1);
        Ok(())
    }

    /// Whether so many entries came in that [`Store::compact_ledger`] should be called.
    pub fn should_compact_ledger(&self) -> bool {
        self.ledger_entries >= LEDGER_ENTRIES_MAX
    }

    /// Replaces the entries up to `state` by `state`, which may also be ahead of them: a state
    /// received from another node.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn compact_ledger(&mut self, state: &LedgerState) -> Result<(), StoreError> {
        let text = encode("the ledger", state)?;
        self.on_disk(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO ledger_snapshot (id, entry, state) VALUES (1, ?1, ?2)",
                (signed(state.index), &text),
            )?;
            let sql = "DELETE FROM ledger_entries WHERE entry <= ?1";
            transaction.execute(sql, [signed(state.index)]).map(|_| ())
        })?;
        (self.ledger_last, self.ledger_entries) = extent(&self.connection)?;
        Ok(())
    }

    /// What was set, without anything else that is stored.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ledger(&self) -> Result<LedgerState, StoreError> {
        // What today's rules refuse was told when it was read for use.
        replay(&self.connection, &mut Vec::new())
    }

    /// Drops the ledger: another one goes on from it.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn forget_ledger(&mut self) -> Result<(), StoreError> {
        self.on_disk(|transaction| {
            transaction.execute("DELETE FROM ledger_entries", [])?;
            transaction.execute("DELETE FROM ledger_snapshot", []).map(|_| ())
        })?;
        (self.ledger_last, self.ledger_entries) = extent(&self.connection)?;
        Ok(())
    }

    /// Runs a transaction whose end is the moment its content is on disk.
    fn on_disk(
        &mut self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        let done = self.connection.transaction().and_then(|transaction| {
            work(&transaction)?;
            transaction.commit()
        });
        // What is on disk stays there; should this fail, later writes are only slower.
        let _ = self.connection.pragma_update(None, "synchronous", "NORMAL");
        done.map_err(StoreError::from)
    }
}

/// The newest entry, and how many there are beside the snapshot.
pub(super) fn extent(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    connection.query_row(
        "SELECT MAX(COALESCE((SELECT MAX(entry) FROM ledger_entries), 0),
                    COALESCE((SELECT entry FROM ledger_snapshot), 0)),
                (SELECT COUNT(*) FROM ledger_entries)",
        [],
        |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))),
    )
}

/// Reads the ledger back. Entries that today's rules refuse are named in `notes`.
pub(super) fn replay(
    connection: &Connection,
    notes: &mut Vec<String>,
) -> Result<LedgerState, StoreError> {
    let text: Option<String> = connection
        .query_row("SELECT state FROM ledger_snapshot", [], |row| row.get(0))
        .optional()?;
    let mut state: LedgerState = match text {
        Some(text) => serde_json::from_str(&text).map_err(|source| StoreError::Decode {
            what: "the snapshot of the ledger".to_owned(),
            source,
        })?,
        None => LedgerState::default(),
    };
    let sql = "SELECT entry, command FROM ledger_entries WHERE entry > ?1 ORDER BY entry";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([signed(state.index)])?;
    while let Some(row) = rows.next()? {
        let index = unsigned(row.get(0)?);
        let text: String = row.get(1)?;
        let command: Command = serde_json::from_str(&text).map_err(|source| {
            StoreError::Decode { what: format!("ledger entry {index}"), source }
        })?;
        match apply(&state, &command) {
            Ok((next, _)) => state = next,
            // Accepted once, refused by the rules of this version: it counts, without effect.
            Err(refusal) => notes.push(format!("ledger entry {index} has no effect: {refusal}")),
        }
        state.index = index;
    }
    Ok(state)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
