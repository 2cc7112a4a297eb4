//! Brings a store's schema to the newest version, one numbered step after the other.

use rusqlite::{Connection, TransactionBehavior};

/// One step.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The version after it; the first is 1.
    pub version: u32,
    /// What it is about.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// All steps for SQLite, in order.
pub const SQLITE: &[Migration] = &[
    Migration { version: 1, name: "initial", sql: include_str!("../sqlite/0001_initial.sql") },
    Migration {
        version: 2,
        name: "remembered",
        sql: include_str!("../sqlite/0002_remembered.sql"),
    },
];

/// All steps for the log of a raft node, in order.
pub const RAFT: &[Migration] =
    &[Migration { version: 1, name: "initial", sql: include_str!("../raft/0001_initial.sql") }];

/// The version a store has; 0 when it is empty.
///
/// # Errors
/// When it cannot be read.
pub fn version(connection: &Connection) -> rusqlite::Result<u32> {
    if !connection.table_exists(None, "schema_version")? {
        return Ok(0);
    }
    connection.query_row("SELECT COALESCE(MAX(version), 0) FROM schema_version", [], |r| r.get(0))
}

/// Takes the steps that are missing, each in a transaction of its own.
///
/// # Errors
/// When a step fails; the steps before it stay done, it itself leaves nothing behind.
pub fn upgrade(connection: &mut Connection, steps: &[Migration]) -> rusqlite::Result<()> {
    let current = version(connection)?;
    for step in steps.iter().filter(|step| step.version > current) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        transaction.execute_batch(step.sql)?;
        transaction.execute(
            "INSERT INTO schema_version (version, name) VALUES (?1, ?2)",
            (step.version, step.name),
        )?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = Migration { version: 2, name: "broken", sql: "CREATE TABLE x (y); NONSENSE" };
        let fixed = Migration { version: 2, name: "fixed", sql: "CREATE TABLE x (y)" };
        assert!(upgrade(&mut connection, &[SQLITE[0], broken]).is_err());
        assert_eq!(version(&connection).unwrap(), 1);
        upgrade(&mut connection, &[SQLITE[0], fixed]).unwrap();
        assert_eq!(version(&connection).unwrap(), 2);
    }
}
