//! The whole system with the embedded store it has in production.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_actors::clock::TokioClock;
use baton_actors::ports::StoreHealth;
use baton_actors::store::sqlite::{self, Retention};
use baton_actors::system;
use baton_actors::testing::{FakeFleet, MemoryStore};
use baton_topology::analysis::Code;
use baton_topology::history::{DetectionSelect, NewAuditEntry};
use baton_topology::ledger::Command;
use baton_topology::time::Timestamp;
use support::{World, key, star, watch_with};

const RETENTION: Retention =
    Retention { audit: Duration::from_secs(7 * 86_400), unseen: Duration::from_secs(10 * 86_400) };

/// A folder of its own that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("baton-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn watch(fleet: Arc<FakeFleet>, path: PathBuf, seeds: &[&str]) -> World {
    watch_with(fleet, MemoryStore::default(), seeds, |options| {
        options.open_store = sqlite::opener(Some(path), RETENTION, Arc::clone(&options.clock));
    })
    .await
}

#[actix::test]
async fn all_that_was_known_and_set_comes_back() {
    tokio::time::pause();
    let folder = Folder::new("restart");
    let path = folder.0.join("baton.sqlite3");
    let fleet = star();
    let world = watch(Arc::clone(&fleet), path.clone(), &["a"]).await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    fleet.kill(&key("a"));
    world.until_code("a", Code::DeadPrimary).await;
    let disable = Command::SetRecoveriesDisabled { disabled: true };
    world.handles.ledger.propose(disable).await.unwrap();
    let line = NewAuditEntry {
        at: world.snapshot().at,
        kind: "test".into(),
        key: Some(key("a")),
        cluster: None,
        message: "a line".into(),
    };
    world.handles.history.record_audit(line.clone());
    world.handles.history.snapshot_topologies().await.unwrap();
    world.handles.shutdown().await;
    let before = world.snapshot();

    let world = watch(fleet, path, &[]).await;
    let after = world.snapshot();
    assert_eq!(after.cluster_of, before.cluster_of);
    assert_eq!(after.instance(&key("b")).unwrap().facts, before.instance(&key("b")).unwrap().facts);
    assert_eq!(after.ledger, before.ledger);
    let history = &world.handles.history;
    let detections = history.detections(DetectionSelect::Page(0)).await.unwrap();
    assert!(detections.iter().any(|it| it.analysis.code == Code::DeadPrimary), "{detections:?}");
    assert!(!history.analysis_changes().await.unwrap().is_empty());
    assert_eq!(history.audit(None, 0).await.unwrap()[0].entry, line);
    assert_eq!(*world.handles.store_health.borrow(), StoreHealth::Healthy);
    world.until_code("a", Code::DeadPrimary).await;
    world.handles.shutdown().await;
}

#[actix::test]
async fn a_store_that_cannot_be_opened_is_an_error_at_the_start() {
    let folder = Folder::new("folder");
    let clock = Arc::new(TokioClock::starting_at(Timestamp::from_secs(1_700_000_000)));
    let mut options = support::options(&FakeFleet::new(), &MemoryStore::default(), &[]);
    options.open_store = sqlite::opener(Some(folder.0.clone()), RETENTION, clock);
    let refused = system::start(options).await.err().unwrap();
    assert!(refused.to_string().contains("is a folder"), "{refused}");
}
