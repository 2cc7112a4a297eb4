//! Pages of the past, and its end.

use baton_topology::cluster::ClusterId;
use baton_topology::history::{
    AnalysisChange, AuditEntry, DetectionEntry, DetectionSelect, HISTORY_PAGE_ROWS, NewAuditEntry,
};
use baton_topology::key::InstanceKey;
use baton_topology::time::Timestamp;
use rusqlite::{Params, Row};

use super::Store;
use crate::error::StoreError;

/// Rows one call of [`Store::purge`] deletes at most, so that nothing waits long behind it.
pub const PURGE_ROWS_MAX: u32 = 10_000;
/// Changes of verdicts that are told at most, the newest ones.
const CHANGES_MAX: u32 = 50_000;

/// History that is kept for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purgeable {
    /// The audit log.
    Audit,
    /// Detections.
    Detections,
    /// Changes of verdicts.
    AnalysisChanges,
    /// Host names.
    Resolutions,
    /// Shapes of topologies.
    TopologyHistory,
}

impl Purgeable {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Audit,
        Self::Detections,
        Self::AnalysisChanges,
        Self::Resolutions,
        Self::TopologyHistory,
    ];

    const fn table(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Detections => "detections",
            Self::AnalysisChanges => "analysis_changes",
            Self::Resolutions => "resolutions",
            Self::TopologyHistory => "topology_history",
        }
    }
}

impl Store {
    /// One page of the audit log, newest first; of one instance when given. Pages begin with 0.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn audit(
        &self,
        of: Option<&InstanceKey>,
        page: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = match of {
            Some(_) => {
                "SELECT id, at, kind, instance, cluster, message FROM audit
                 WHERE instance = ?3 ORDER BY id DESC LIMIT ?1 OFFSET ?2"
            }
            None => {
                "SELECT id, at, kind, instance, cluster, message FROM audit
                 WHERE ?3 IS NULL ORDER BY id DESC LIMIT ?1 OFFSET ?2"
            }
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let page = (HISTORY_PAGE_ROWS, offset(page), of.map(ToString::to_string));
        let rows = statement.query_map(page, audit_entry)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Detections, newest first. Pages begin with 0.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn detections(&self, select: &DetectionSelect) -> Result<Vec<DetectionEntry>, StoreError> {
        match select {
            DetectionSelect::Page(page) => self.read_detections(
                "SELECT detection FROM detections ORDER BY id DESC LIMIT ?1 OFFSET ?2",
                (HISTORY_PAGE_ROWS, offset(*page)),
            ),
            DetectionSelect::Id(id) => self.read_detections(
                "SELECT detection FROM detections WHERE id = ?1",
                [i64::try_from(*id).unwrap_or(i64::MAX)],
            ),
            DetectionSelect::Alias(alias, page) => self.read_detections(
                "SELECT detection FROM detections WHERE cluster_alias = ?3
                 ORDER BY id DESC LIMIT ?1 OFFSET ?2",
                (HISTORY_PAGE_ROWS, offset(*page), alias),
            ),
        }
    }

    fn read_detections(
        &self,
        sql: &str,
        params: impl Params,
    ) -> Result<Vec<DetectionEntry>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            // One that another version wrote must not hide the others.
            found.extend(serde_json::from_str::<DetectionEntry>(&row.get::<_, String>(0)?).ok());
        }
        Ok(found)
    }

    /// Changes of verdicts, by instance and then in order of time.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn analysis_changes(&self) -> Result<Vec<AnalysisChange>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT instance, at, code FROM
             (SELECT * FROM analysis_changes ORDER BY id DESC LIMIT ?1)
             ORDER BY instance, at, id",
        )?;
        let mut rows = statement.query([CHANGES_MAX])?;
        let mut changes = Vec::new();
        while let Some(row) = rows.next()? {
            let (key, code): (String, String) = (row.get(0)?, row.get(2)?);
            if let (Ok(key), Ok(code)) = (key.parse(), serde_json::from_str(&code)) {
                changes.push(AnalysisChange { at: Timestamp::from_micros(row.get(1)?), key, code });
            }
        }
        Ok(changes)
    }

    /// Deletes what is older than `before`, at most [`PURGE_ROWS_MAX`] rows, the oldest first;
    /// tells how many. When it is that many, there may be more.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn purge(&mut self, what: Purgeable, before: Timestamp) -> Result<u32, StoreError> {
        let table = what.table();
        let sql = format!(
            "DELETE FROM {table} WHERE rowid IN
             (SELECT rowid FROM {table} WHERE at < ?1 ORDER BY at LIMIT ?2)"
        );
        let deleted =
            self.connection.prepare_cached(&sql)?.execute((before.as_micros(), PURGE_ROWS_MAX))?;
        Ok(u32::try_from(deleted).unwrap_or(PURGE_ROWS_MAX))
    }
}

fn offset(page: u32) -> i64 {
    i64::from(page).saturating_mul(i64::from(HISTORY_PAGE_ROWS))
}

fn audit_entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let key: Option<String> = row.get(3)?;
    let cluster: Option<String> = row.get(4)?;
    let id: i64 = row.get(0)?;
    Ok(AuditEntry {
        id: u64::try_from(id).unwrap_or(0),
        entry: NewAuditEntry {
            at: Timestamp::from_micros(row.get(1)?),
            kind: row.get(2)?,
            key: key.and_then(|key| key.parse().ok()),
            cluster: cluster.map(ClusterId::new),
            message: row.get(5)?,
        },
    })
}
