//! Batches of writes.

use std::sync::Arc;

use baton_topology::analysis::Code;
use baton_topology::cluster::ClusterId;
use baton_topology::history::{AnalysisChange, DetectionEntry, NewAuditEntry};
use baton_topology::instance::{Facts, Instance};
use baton_topology::key::InstanceKey;
use baton_topology::time::Timestamp;
use rusqlite::Transaction;

use super::{Store, Written, encode};
use crate::error::StoreError;

/// Something to keep.
#[derive(Debug, Clone)]
pub enum Write {
    /// An instance as it is now.
    Instance {
        /// The instance.
        instance: Arc<Instance>,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// An instance is known no longer. Its history stays.
    ForgetInstance(InstanceKey),
    /// A line of the audit log.
    Audit(NewAuditEntry),
    /// A failure that was detected; replaces the one of the same number.
    Detection(Box<DetectionEntry>),
    /// The verdict on an instance changed.
    AnalysisChange(AnalysisChange),
    /// A host name stands for another.
    Resolution {
        /// The name given.
        name: String,
        /// The name used.
        canonical: String,
        /// When this was found out.
        at: Timestamp,
    },
    /// No host name stands for another any more.
    ForgetResolutions,
    /// The shape of all topologies at one moment.
    TopologySnapshot {
        /// When.
        at: Timestamp,
        /// All instances.
        rows: Vec<TopologyRow>,
    },
}

/// One instance in the history of topologies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyRow {
    /// The instance.
    pub key: InstanceKey,
    /// What it replicated from.
    pub source: Option<InstanceKey>,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its version.
    pub version: String,
}

impl Store {
    /// Keeps all of these, or none.
    ///
    /// # Errors
    /// When anything could not be written.
    pub fn write(&mut self, batch: &[Write]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        // What the batch itself writes counts before what earlier ones wrote; it becomes true
        // only with the commit.
        let mut latest = std::collections::HashMap::new();
        for write in batch {
            match write {
                Write::Instance { instance, cluster } => {
                    let known = match latest.get(&instance.key) {
                        Some(known) => Option::as_ref(known),
                        None => self.written.get(&instance.key),
                    };
                    if known.is_none_or(|known| {
                        known.cluster != *cluster || !same_facts(&known.facts, &instance.facts)
                    }) {
                        write_facts(&transaction, instance, cluster)?;
                        let written = Written {
                            facts: Arc::clone(&instance.facts),
                            cluster: cluster.clone(),
                        };
                        latest.insert(instance.key.clone(), Some(written));
                    }
                    write_health(&transaction, instance)?;
                }
                Write::ForgetInstance(key) => {
                    forget(&transaction, key)?;
                    latest.insert(key.clone(), None);
                }
                other => write_other(&transaction, other)?,
            }
        }
        transaction.commit()?;
        for (key, written) in latest {
            match written {
                Some(written) => self.written.insert(key, written),
                None => self.written.remove(&key),
            };
        }
        Ok(())
    }

    /// Tries whether writing works, by writing something nobody reads.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_writable(&mut self) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        let number: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        // SQLite does not write what does not change.
        transaction.pragma_update(None, "user_version", number.wrapping_add(1))?;
        Ok(transaction.commit()?)
    }
}

/// Whether facts are the same but for the uptime, which always changes and is kept elsewhere.
fn same_facts(one: &Arc<Facts>, other: &Arc<Facts>) -> bool {
    if Arc::ptr_eq(one, other) || one == other {
        return true;
    }
    if one.uptime_seconds == other.uptime_seconds || one.gtid != other.gtid {
        return false;
    }
    Facts { uptime_seconds: one.uptime_seconds, ..Facts::clone(other) } == **one
}

fn write_facts(
    transaction: &Transaction<'_>,
    instance: &Instance,
    cluster: &ClusterId,
) -> Result<(), StoreError> {
    let facts = encode("facts", &instance.facts)?;
    transaction
        .prepare_cached(
            "INSERT INTO instances (instance, cluster, facts, first_seen) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (instance) DO UPDATE SET cluster = excluded.cluster,
             facts = excluded.facts, first_seen = COALESCE(first_seen, excluded.first_seen)",
        )?
        .execute((
            instance.key.to_string(),
            cluster.as_str(),
            facts,
            instance.health.last_seen.map(Timestamp::as_micros),
        ))?;
    Ok(())
}

fn write_health(transaction: &Transaction<'_>, instance: &Instance) -> Result<(), StoreError> {
    let health = &instance.health;
    let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
    let remembered = Some(&instance.remembered).filter(|it| !it.is_empty());
    let remembered = remembered.map(|it| encode("what is remembered", it)).transpose()?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO instance_health (instance, last_attempt, last_check,
             facts_from, last_seen, failures, latency_micros, binlog_unmoved_since,
             uptime_seconds, remembered) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute((
            instance.key.to_string(),
            micros(health.last_attempt),
            micros(health.last_check),
            micros(health.facts_from),
            micros(health.last_seen),
            health.failures,
            i64::try_from(health.latency.as_micros()).unwrap_or(i64::MAX),
            micros(instance.binlog_unmoved_since),
            i64::try_from(instance.facts.uptime_seconds).unwrap_or(i64::MAX),
            remembered,
        ))?;
    Ok(())
}

fn forget(transaction: &Transaction<'_>, key: &InstanceKey) -> Result<(), StoreError> {
    // Its health goes with it.
    for sql in
        ["DELETE FROM instances WHERE instance = ?1", "DELETE FROM last_codes WHERE instance = ?1"]
    {
        transaction.prepare_cached(sql)?.execute([key.to_string()])?;
    }
    Ok(())
}

fn write_other(transaction: &Transaction<'_>, write: &Write) -> Result<(), StoreError> {
    match write {
        // Handled by the caller, who knows what was written before.
        Write::Instance { .. } | Write::ForgetInstance(_) => {}
        Write::Audit(entry) => {
            let sql = "INSERT INTO audit (at, kind, instance, cluster, message)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            transaction.prepare_cached(sql)?.execute((
                entry.at.as_micros(),
                &entry.kind,
                entry.key.as_ref().map(ToString::to_string),
                entry.cluster.as_ref().map(ClusterId::as_str),
                &entry.message,
            ))?;
        }
        Write::Detection(entry) => {
            let sql = "INSERT OR REPLACE INTO detections (id, at, cluster_alias, detection)
                       VALUES (?1, ?2, ?3, ?4)";
            let text = encode("a detection", entry)?;
            let id = i64::try_from(entry.id).unwrap_or(i64::MAX);
            let row = (id, entry.at.as_micros(), &entry.cluster_alias, text);
            transaction.prepare_cached(sql)?.execute(row)?;
        }
        Write::AnalysisChange(change) => write_change(transaction, change)?,
        Write::Resolution { name, canonical, at } => {
            let sql = "INSERT OR REPLACE INTO resolutions (name, canonical, at)
                       VALUES (?1, ?2, ?3)";
            transaction.prepare_cached(sql)?.execute((name, canonical, at.as_micros()))?;
        }
        Write::ForgetResolutions => {
            transaction.prepare_cached("DELETE FROM resolutions")?.execute([])?;
        }
        Write::TopologySnapshot { at, rows } => {
            let sql = "INSERT INTO topology_history (at, instance, source, cluster, version)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut statement = transaction.prepare_cached(sql)?;
            for row in rows {
                statement.execute((
                    at.as_micros(),
                    row.key.to_string(),
                    row.source.as_ref().map(ToString::to_string),
                    row.cluster.as_str(),
                    &row.version,
                ))?;
            }
        }
    }
    Ok(())
}

fn write_change(transaction: &Transaction<'_>, change: &AnalysisChange) -> Result<(), StoreError> {
    let (instance, code) = (change.key.to_string(), code_text(change.code)?);
    let sql = "INSERT INTO analysis_changes (instance, at, code) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(sql)?.execute((&instance, change.at.as_micros(), &code))?;
    // Apart, for the history is purged and the last word is not.
    let sql = "INSERT OR REPLACE INTO last_codes (instance, code) VALUES (?1, ?2)";
    transaction.prepare_cached(sql)?.execute((&instance, &code))?;
    Ok(())
}

/// The code as a word in quotes, as it stands in all other texts.
fn code_text(code: Code) -> Result<String, StoreError> {
    encode("a code", &code)
}
