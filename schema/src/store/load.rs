//! What a restart begins with.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::analysis::Code;
use baton_topology::cluster::ClusterId;
use baton_topology::instance::{Facts, Health, HealthStatus, Instance};
use baton_topology::key::InstanceKey;
use baton_topology::ledger::LedgerState;
use baton_topology::remembered::Remembered;
use baton_topology::time::Timestamp;
use rusqlite::{Connection, Row};

use super::{Store, ledger};
use crate::error::StoreError;

/// All that was known and set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Restored {
    /// Instances with their clusters, by name. None counts as probed yet.
    pub instances: Vec<(Instance, ClusterId)>,
    /// What people and baton itself have set.
    pub ledger: LedgerState,
    /// Host names: the name given and the name used.
    pub resolutions: Vec<(String, String)>,
    /// The last verdict on each instance.
    pub last_codes: Vec<(InstanceKey, Code)>,
    /// What could not be read and was passed over, for the log.
    pub notes: Vec<String>,
}

impl Store {
    /// Reads back everything a restart needs.
    ///
    /// # Errors
    /// When the store cannot be read, or the ledger has a hole. Single instances that cannot be
    /// read are watched anew and named in the notes.
    pub fn load(&self) -> Result<Restored, StoreError> {
        let mut restored = Restored::default();
        restored.ledger = ledger::replay(&self.connection, &mut restored.notes)?;
        restored.instances = instances(&self.connection, &mut restored.notes)?;
        let mut statement =
            self.connection.prepare("SELECT name, canonical FROM resolutions ORDER BY name")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        restored.resolutions = rows.collect::<Result<_, _>>()?;
        let mut statement = self.connection.prepare("SELECT instance, code FROM last_codes")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (key, code): (String, String) = (row.get(0)?, row.get(1)?);
            if let (Ok(key), Ok(code)) = (key.parse(), serde_json::from_str(&code)) {
                restored.last_codes.push((key, code));
            }
        }
        Ok(restored)
    }
}

fn instances(
    connection: &Connection,
    notes: &mut Vec<String>,
) -> Result<Vec<(Instance, ClusterId)>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT i.instance, i.cluster, i.facts, h.last_attempt, h.last_check, h.facts_from,
                h.last_seen, COALESCE(h.failures, 0), COALESCE(h.latency_micros, 0),
                h.binlog_unmoved_since, COALESCE(h.uptime_seconds, 0), h.remembered
         FROM instances i LEFT JOIN instance_health h USING (instance) ORDER BY i.instance",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let Ok(key) = name.parse::<InstanceKey>() else {
            notes.push(format!("{name:?} is no instance and is passed over"));
            continue;
        };
        let cluster = ClusterId::new(row.get::<_, String>(1)?);
        let facts = match serde_json::from_str::<Facts>(&row.get::<_, String>(2)?) {
            Ok(mut facts) => {
                facts.uptime_seconds = row.get::<_, i64>(10)?.try_into().unwrap_or(0);
                facts
            }
            Err(error) => {
                notes.push(format!("what was known of {key} cannot be read: {error}"));
                Facts::default()
            }
        };
        let remembered = match row.get::<_, Option<String>>(11)?.map(|it| serde_json::from_str(&it))
        {
            Some(Ok(remembered)) => remembered,
            Some(Err(error)) => {
                notes.push(format!("what {key} had before cannot be read: {error}"));
                Remembered::default()
            }
            None => Remembered::default(),
        };
        let instance = Instance {
            key,
            facts: Arc::new(facts),
            health: health(row)?,
            binlog_unmoved_since: time(row, 9)?,
            remembered,
        };
        found.push((instance, cluster));
    }
    Ok(found)
}

fn health(row: &Row<'_>) -> rusqlite::Result<Health> {
    Ok(Health {
        // Whatever it was before: nobody has looked since.
        status: HealthStatus::Unprobed,
        last_attempt: time(row, 3)?,
        last_check: time(row, 4)?,
        facts_from: time(row, 5)?,
        last_seen: time(row, 6)?,
        failures: row.get(7)?,
        latency: Duration::from_micros(row.get::<_, i64>(8)?.try_into().unwrap_or(0)),
        own_attempt: time(row, 3)?,
        silent_since: None,
    })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}
