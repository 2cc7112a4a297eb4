//! A conversation that never yields: it takes its thread with it, which is told, and what was known is not taken
//! for current.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_actors::ports::{Parting, ProbeSession, ProbeTarget, Reading};
use baton_actors::testing::FakeTarget;
use baton_topology::filter::ClusterFilter;
use baton_topology::instance::ProbeFailure;
use baton_topology::key::InstanceKey;
use baton_web::auth::AccessRules;
use baton_web::server::Display;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::memory::{self, Beside, Memory, Plan};
use crate::support::{PATIENCE, http, wait_until};

const CLUSTERS: usize = 4;
const SIZE: usize = 3;

/// Servers in memory, one of which may keep the thread that probes it.
struct Keeping {
    fleet: FakeTarget,
    keeps: Arc<AtomicBool>,
    server: InstanceKey,
}

struct Kept {
    session: Box<dyn ProbeSession>,
    keeps: Arc<AtomicBool>,
}

impl ProbeTarget for Keeping {
    fn session(&self, key: &InstanceKey) -> Box<dyn ProbeSession> {
        let session = self.fleet.session(key);
        if *key != self.server {
            return session;
        }
        Box::new(Kept { session, keeps: Arc::clone(&self.keeps) })
    }
}

impl ProbeSession for Kept {
    #[allow(clippy::disallowed_methods, reason = "it blocks the thread on purpose")]
    fn probe(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        async move {
            while self.keeps.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.session.probe().await
        }
        .boxed()
    }

    fn park(&self) -> BoxFuture<'static, Parting> {
        self.session.park()
    }
}

fn text(memory: &Memory, path: &str) -> String {
    let answer = http::get(&format!("127.0.0.1:{}", memory.port), path, "");
    answer.expect("an answer").1
}

fn ask(memory: &Memory, path: &str) -> Value {
    serde_json::from_str(&text(memory, path)).unwrap_or_default()
}

/// Those that are shown to have answered the newest probe.
fn valid(memory: &Memory) -> usize {
    let all = ask(memory, "/api/all-instances");
    let is_valid = |it: &&Value| it["IsLastCheckValid"] == true;
    all.as_array().map_or(0, |all| all.iter().filter(is_valid).count())
}

#[test]
fn a_thread_that_stopped_turning_is_told_and_what_it_knew_is_not_taken_for_current() {
    let keeps = Arc::new(AtomicBool::new(false));
    let server = memory::server(1, 2);
    let (keeping, kept) = (Arc::clone(&keeps), server.clone());
    let plan = Plan {
        clusters: CLUSTERS,
        size: |_| SIZE,
        poll_interval: Duration::from_secs(1),
        rules: AccessRules::default(),
        display: Display::default(),
    };
    let beside = Beside {
        reach: Box::new(move |fleet| Arc::new(Keeping { fleet, keeps: keeping, server: kept })),
        threads: 2,
        recovered: vec![ClusterFilter::Any],
        ..Beside::default()
    };
    let memory = Memory::start_beside(plan, beside);
    let all = CLUSTERS * SIZE;
    wait_until(PATIENCE, "all are seen", || (valid(&memory) == all).then_some(()));
    assert_eq!(ask(&memory, "/api/health")["Code"], "OK");

    keeps.store(true, Ordering::Relaxed);
    let told = wait_until(PATIENCE * 3, "the stuck thread is told", || {
        let health = ask(&memory, "/api/health");
        (health["Code"] == "ERROR").then_some(health)
    });
    let message = told["Message"].as_str().unwrap_or_default();
    assert!(message.contains("has been stuck for"), "{told}");
    assert!(message.contains(&format!("in the conversation with {server}")), "{told}");
    assert!(text(&memory, "/metrics").contains("baton_runtime_stuck_threads 1"));
    wait_until(PATIENCE, "half of the fleet is outdated", || {
        (valid(&memory) <= all / 2).then_some(())
    });
    let (host, port) = (server.host(), server.port());
    let shown = ask(&memory, &format!("/api/instance/{host}/{port}"));
    for field in ["IsLastCheckValid", "IsUpToDate", "IsRecentlyChecked"] {
        assert_eq!(shown[field], false, "{field}: {shown:#}");
    }
    assert_eq!(shown["Problems"][0], "not_recently_checked", "{shown:#}");
    // Nobody is taken for dead for it.
    let found = ask(&memory, "/api/replication-analysis");
    assert_eq!(found["Details"].as_array().map(Vec::len), Some(0), "{found:#}");
    assert_eq!(ask(&memory, "/api/audit-recovery"), Value::Array(Vec::new()));
    let primaries: Vec<_> = (0..CLUSTERS).map(|it| memory::server(it, 0)).collect();
    assert_eq!(memory.fleet.writable(), primaries);

    keeps.store(false, Ordering::Relaxed);
    wait_until(PATIENCE, "it turns again", || {
        let is_well = ask(&memory, "/api/health")["Code"] == "OK";
        (is_well && valid(&memory) == all).then_some(())
    });
}
