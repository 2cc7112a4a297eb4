//! Keeps things in the embedded SQLite store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_schema::{OpenError, PURGE_ROWS_MAX, Purgeable, Store, TopologyRow, Write};
use baton_topology::history::{AnalysisChange, AuditEntry, DetectionEntry, DetectionSelect};
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;

use super::{Backend, Kept, OpenBackend, Record, StoreError};
use crate::clock::Clock;

/// How long rows of the past are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// The audit log, detections and shapes of topologies.
    pub audit: Duration,
    /// Changes of verdicts and host names.
    pub unseen: Duration,
}

/// One purge deletes so many times [`PURGE_ROWS_MAX`] rows of each kind at most; the rest waits for
/// the next one, so that the store's thread comes back to its queue.
const PURGE_ROUNDS_MAX: u32 = 20;

struct Sqlite {
    store: Store,
    retention: Retention,
    clock: Arc<dyn Clock>,
}

/// Opens the store in a file, or in memory when there is none.
pub fn opener(path: Option<PathBuf>, retention: Retention, clock: Arc<dyn Clock>) -> OpenBackend {
    Arc::new(move || {
        let store = match &path {
            Some(path) => Store::open(path),
            None => Store::open_in_memory(),
        };
        let store = store.map_err(|error: OpenError| StoreError(chain(&error)))?;
        let clock = Arc::clone(&clock);
        Ok(Box::new(Sqlite { store, retention, clock }) as Box<dyn Backend>)
    })
}

/// The ledger in a file that nothing has opened; `None` when there is no such file.
///
/// # Errors
/// When it cannot be read.
pub fn kept_ledger(path: &Path) -> Result<Option<LedgerState>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let store = Store::open(path).map_err(|error: OpenError| StoreError(chain(&error)))?;
    store.ledger().map(Some).map_err(failed)
}

/// The message of an error and of all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn failed(error: baton_schema::StoreError) -> StoreError {
    StoreError(chain(&error))
}

/// What the store writes for one record.
fn writes(record: &Record, at: Timestamp) -> Vec<Write> {
    match record {
        Record::Instances(rows) => rows
            .iter()
            .map(|(instance, cluster)| Write::Instance {
                instance: Arc::clone(instance),
                cluster: cluster.clone(),
            })
            .collect(),
        Record::Forget(keys) => keys.iter().cloned().map(Write::ForgetInstance).collect(),
        Record::Detection(entry) => vec![Write::Detection(entry.clone())],
        Record::Changes(changes) => changes.iter().cloned().map(Write::AnalysisChange).collect(),
        Record::Audit(entry) => vec![Write::Audit(entry.clone())],
        Record::Name { given, canonical } => {
            vec![Write::Resolution { name: given.clone(), canonical: canonical.clone(), at }]
        }
        Record::ForgetNames => vec![Write::ForgetResolutions],
    }
}

impl Backend for Sqlite {
    fn load(&mut self) -> Result<Kept, StoreError> {
        let restored = self.store.load().map_err(failed)?;
        for note in &restored.notes {
            tracing::warn!(note, "part of the store was passed over");
        }
        Ok(Kept {
            instances: restored.instances,
            ledger: restored.ledger,
            names: restored.resolutions,
        })
    }

    fn write(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let batch: Vec<_> = records.iter().flat_map(|record| writes(record, now)).collect();
        self.store.write(&batch).map_err(failed)
    }

    fn append(&mut self, command: &Command, after: &LedgerState) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.store.append_command(after.index, now, command).map_err(failed)?;
        if self.store.should_compact_ledger()
            && let Err(error) = self.store.compact_ledger(after)
        {
            // The command is durable; the next one tries to compact again.
            tracing::warn!(error = chain(&error), "cannot compact the ledger");
        }
        Ok(())
    }

    fn forget_ledger(&mut self) -> Result<(), StoreError> {
        self.store.forget_ledger().map_err(failed)
    }

    fn check(&mut self) -> Result<(), StoreError> {
        self.store.check_writable().map_err(failed)
    }

    fn purge(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for what in Purgeable::ALL {
            let kept_for = match what {
                Purgeable::Audit | Purgeable::Detections | Purgeable::TopologyHistory => {
                    self.retention.audit
                }
                Purgeable::AnalysisChanges | Purgeable::Resolutions => self.retention.unseen,
            };
            let before = now.minus(kept_for);
            for _ in 0..PURGE_ROUNDS_MAX {
                if self.store.purge(what, before).map_err(failed)? < PURGE_ROWS_MAX {
                    break;
                }
            }
        }
        Ok(())
    }

    fn audit(
        &mut self,
        of: Option<&InstanceKey>,
        page: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        self.store.audit(of, page).map_err(failed)
    }

    fn detections(&mut self, select: &DetectionSelect) -> Result<Vec<DetectionEntry>, StoreError> {
        self.store.detections(select).map_err(failed)
    }

    fn analysis_changes(&mut self) -> Result<Vec<AnalysisChange>, StoreError> {
        self.store.analysis_changes().map_err(failed)
    }

    fn snapshot_topologies(&mut self, fleet: &FleetSnapshot) -> Result<(), StoreError> {
        let rows = fleet
            .members()
            .map(|(cluster, member)| TopologyRow {
                key: member.key().clone(),
                source: member.source.clone(),
                cluster: cluster.id.clone(),
                version: member.instance.facts.version.to_string(),
            })
            .collect();
        let snapshot = Write::TopologySnapshot { at: fleet.at, rows };
        self.store.write(&[snapshot]).map_err(failed)
    }
}
