//! A store in memory that fails on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_topology::cluster::ClusterId;
use baton_topology::history::{AnalysisChange, AuditEntry, DetectionEntry, DetectionSelect};
use baton_topology::instance::Instance;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;

use crate::store::{Backend, Kept, OpenBackend, Record, StoreError};

/// What is the matter with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreFault {
    /// Nothing.
    #[default]
    None,
    /// It cannot be written.
    Full,
    /// Writing panics.
    Panics,
}

/// Keeps things in memory, for all backends opened from it: what a disk would do.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
}

/// What a [`MemoryStore`] holds.
#[derive(Debug, Default)]
pub struct Disk {
    /// What is the matter.
    pub fault: StoreFault,
    /// Instances with their clusters.
    pub instances: BTreeMap<InstanceKey, (Instance, ClusterId)>,
    /// What was set.
    pub ledger: LedgerState,
    /// Host names: the name given and the name used.
    pub names: BTreeMap<String, String>,
    /// Detections, oldest first.
    pub detections: Vec<DetectionEntry>,
    /// Changes of verdicts, oldest first.
    pub changes: Vec<AnalysisChange>,
    /// The audit log, oldest first.
    pub audit: Vec<AuditEntry>,
    /// How often it was opened.
    pub opened: u32,
}

impl MemoryStore {
    /// What it holds.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens backends.
    pub fn opener(&self) -> OpenBackend {
        let store = self.clone();
        Arc::new(move || {
            store.disk().opened += 1;
            Ok(Box::new(store.clone()) as Box<dyn Backend>)
        })
    }

    fn writable(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let disk = self.disk();
        match disk.fault {
            StoreFault::None => Ok(disk),
            StoreFault::Full => Err(StoreError("the disk is full".into())),
            StoreFault::Panics => panic!("the store panics on purpose"),
        }
    }
}

impl Backend for MemoryStore {
    fn load(&mut self) -> Result<Kept, StoreError> {
        let disk = self.disk();
        let instances = disk.instances.values().cloned().collect();
        let names = disk.names.clone().into_iter().collect();
        Ok(Kept { instances, ledger: disk.ledger.clone(), names })
    }

    fn write(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut disk = self.writable()?;
        for record in records {
            match record.clone() {
                Record::Instances(rows) => {
                    for (instance, cluster) in rows {
                        let row = ((*instance).clone(), cluster);
                        disk.instances.insert(instance.key.clone(), row);
                    }
                }
                Record::Forget(keys) => {
                    disk.instances.retain(|key, _| !keys.contains(key));
                }
                Record::Detection(entry) => {
                    disk.detections.retain(|known| known.id != entry.id);
                    disk.detections.push(*entry);
                }
                Record::Changes(changes) => disk.changes.extend(changes),
                Record::Name { given, canonical } => {
                    disk.names.insert(given, canonical);
                }
                Record::ForgetNames => disk.names.clear(),
                Record::Audit(entry) => {
                    let id = disk.audit.len() as u64 + 1;
                    disk.audit.push(AuditEntry { id, entry });
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, _: &Command, after: &LedgerState) -> Result<(), StoreError> {
        self.writable()?.ledger = after.clone();
        Ok(())
    }

    fn forget_ledger(&mut self) -> Result<(), StoreError> {
        self.writable()?.ledger = LedgerState::default();
        Ok(())
    }

    fn check(&mut self) -> Result<(), StoreError> {
        self.writable().map(|_| ())
    }

    fn purge(&mut self, _: Timestamp) -> Result<(), StoreError> {
        self.writable().map(|_| ())
    }

    fn audit(&mut self, of: Option<&InstanceKey>, _: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let disk = self.disk();
        let wanted = |line: &&AuditEntry| of.is_none() || line.entry.key.as_ref() == of;
        Ok(disk.audit.iter().rev().filter(wanted).cloned().collect())
    }

    fn detections(&mut self, _: &DetectionSelect) -> Result<Vec<DetectionEntry>, StoreError> {
        Ok(self.disk().detections.iter().rev().cloned().collect())
    }

    fn analysis_changes(&mut self) -> Result<Vec<AnalysisChange>, StoreError> {
        Ok(self.disk().changes.clone())
    }

    fn snapshot_topologies(&mut self, _: &FleetSnapshot) -> Result<(), StoreError> {
        self.writable().map(|_| ())
    }
}
