//! The storage against openraft's own expectations.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::watch;

use super::disk::Disk;
use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::types::Types;

struct Builder;

impl StoreBuilder<Types, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<Types>> {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("raft.db"), 1).unwrap();
        let machine = StateMachine::new(disk.clone(), watch::Sender::new(Arc::default()));
        Ok((folder, LogStore::new(disk), machine))
    }
}

#[test]
fn the_storage_is_as_openraft_expects_it() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(Builder)).unwrap();
}
