//! The storage against openraft's own expectations.

use std::sync::Arc;

use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState};
use futures_util::stream;
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_std::LeaderId;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, StorageError};
use tempfile::TempDir;
use tokio::sync::watch;

use super::disk::Disk;
use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::types::{Entry, Envelope, LogId, Types};

mod joint;

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

fn machine(folder: &TempDir, name: &str) -> (StateMachine, watch::Receiver<Arc<LedgerState>>) {
    let disk = Disk::open(&folder.path().join(name), 1).unwrap();
    let (state, seen) = watch::channel(Arc::default());
    (StateMachine::new(disk, state), seen)
}

/// Tags and untags, some of which are refused.
fn log() -> Vec<Entry> {
    let command = |index: u64| match index % 5 {
        0 => Command::Untag { key: None, name: "n".into(), value: None },
        1 => Command::Tag {
            key: InstanceKey::new("db", 3306),
            name: "".into(),
            value: "refused".into(),
        },
        2 => Command::SetRecoveriesDisabled { disabled: index.is_multiple_of(2) },
        _ => Command::Tag {
            key: InstanceKey::new(format!("db{}", index % 7).as_str(), 3306),
            name: "n".into(),
            value: index.to_string().into(),
        },
    };
    let entry = |index| {
        let at = LogId::new(LeaderId::new(1, 1).to_committed(), index);
        Entry::new(at, EntryPayload::Normal(Envelope::new(command(index))))
    };
    (1..=40).map(entry).collect()
}

async fn apply(machine: &mut StateMachine, entries: &[Entry]) {
    let entries = entries.iter().cloned().map(|entry| Ok((entry, None)));
    machine.apply(stream::iter(entries.collect::<Vec<_>>())).await.unwrap();
}

#[tokio::test]
async fn the_same_log_makes_the_same_state_however_it_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let log = log();
    let (mut first, expected) = machine(&folder, "first");
    for entry in &log {
        apply(&mut first, std::slice::from_ref(entry)).await;
    }
    let expected = expected.borrow().clone();
    assert!(expected.index > 20 && expected.index < 40, "some were refused: {}", expected.index);

    let (mut second, seen) = machine(&folder, "second");
    apply(&mut second, &log[..25]).await;
    apply(&mut second, &log[10..25]).await;
    let snapshot = second.get_snapshot_builder().await.build_snapshot().await.unwrap();
    apply(&mut second, &log[20..]).await;
    assert_eq!(*seen.borrow(), expected, "what is applied already changes nothing");

    let (mut third, seen) = machine(&folder, "third");
    third.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    apply(&mut third, &log).await;
    assert_eq!(*seen.borrow(), expected, "nor does what is in the snapshot");
    let kept = third.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(kept.meta, snapshot.meta);
}
