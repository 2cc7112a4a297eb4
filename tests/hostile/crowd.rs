//! One server of every bad kind in a fleet: all others are watched and failed over as if it were not there.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_actors::certificates::Certificates as KnownKeys;
use baton_actors::mysql::{ConnectOptions, MySqlTarget, Password};
use baton_actors::ports::{Parting, ProbeSession, ProbeTarget, Reading};
use baton_actors::probe::schedule::Backoff;
use baton_actors::testing::FakeTarget;
use baton_topology::filter::ClusterFilter;
use baton_topology::instance::ProbeFailure;
use baton_topology::key::InstanceKey;
use baton_topology::reading::{NameMethod, ReadingPolicy};
use baton_web::auth::AccessRules;
use baton_web::server::Display;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::memory::{self, Beside, Memory, Plan};
use crate::support::{Certificates, Kind, Lies, PATIENCE, StandIn, free_port, http, wait_until};

const CLUSTERS: usize = 20;
const SIZE: usize = 3;
/// How many of the clusters are failed over before there is anything bad, to compare.
const QUIET: usize = 3;
const INTERVAL: Duration = Duration::from_secs(3);
const WATCHED_FOR: Duration = Duration::from_secs(30);
const REPLICAS: usize = 1_000;
/// The driver keeps up to 128 buffers for packets, of up to 4 MiB each, and every packet may be read into another
/// one: that is where most of it goes. With MYSQL_ASYNC_BUFFER_SIZE_CAP=65536 in the environment it is 44 MiB.
const GROWTH_MAX_MIB: u64 = 200;

/// When each healthy server was probed.
#[derive(Default)]
struct Diary(Mutex<BTreeMap<InstanceKey, (Instant, Duration)>>);

impl Diary {
    #[allow(clippy::disallowed_methods, reason = "servers on the wire run on real time")]
    fn note(&self, key: &InstanceKey) {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, longest) = all.entry(key.clone()).or_insert((now, Duration::ZERO));
        *longest = (*longest).max(now.duration_since(*last));
        *last = now;
    }

    /// Begins to measure.
    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The longest time between two probes of one server, the time since the newest included.
    #[allow(clippy::disallowed_methods, reason = "servers on the wire run on real time")]
    fn longest(&self) -> (usize, Duration) {
        let now = Instant::now();
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let longest =
            |(last, longest): &(Instant, Duration)| now.duration_since(*last).max(*longest);
        (all.len(), all.values().map(longest).max().unwrap_or_default())
    }
}

/// Servers in memory, and others on the wire.
struct Both {
    memory: FakeTarget,
    wire: MySqlTarget,
    diary: Arc<Diary>,
}

struct Noted {
    session: Box<dyn ProbeSession>,
    key: InstanceKey,
    diary: Arc<Diary>,
}

impl ProbeTarget for Both {
    fn session(&self, key: &InstanceKey) -> Box<dyn ProbeSession> {
        if !key.host().ends_with(".example.com") {
            return self.wire.session(key);
        }
        let (session, diary) = (self.memory.session(key), Arc::clone(&self.diary));
        Box::new(Noted { session, key: key.clone(), diary })
    }

    fn certificates(&self) -> Option<Arc<KnownKeys>> {
        ProbeTarget::certificates(&self.wire)
    }
}

impl ProbeSession for Noted {
    fn probe(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        self.diary.note(&self.key);
        self.session.probe().boxed()
    }

    fn park(&self) -> BoxFuture<'static, Parting> {
        self.session.park()
    }
}

fn start(diary: &Arc<Diary>, bad: &[u16]) -> Memory {
    let options = ConnectOptions {
        user: "baton".to_owned(),
        password: Password::new("not to be told"),
        reading: ReadingPolicy { name_method: NameMethod::AsGiven, ..ReadingPolicy::default() },
        ..ConnectOptions::default()
    };
    let diary = Arc::clone(diary);
    let plan = Plan {
        clusters: CLUSTERS,
        size: |_| SIZE,
        poll_interval: INTERVAL,
        rules: AccessRules::default(),
        display: Display::default(),
    };
    let beside = Beside {
        reach: Box::new(move |memory| {
            Arc::new(Both { memory, wire: MySqlTarget::new(options), diary })
        }),
        // Nobody listens there yet.
        seeds: bad.iter().map(|port| InstanceKey::new("127.0.0.1", *port)).collect(),
        more: 10_000,
        threads: 2,
        recovered: vec![ClusterFilter::Any],
        // The bad ones are tried as often as those that answer.
        tries: Backoff { factor: 1.0, cap: INTERVAL },
    };
    Memory::start_beside(plan, beside)
}

fn ask(memory: &Memory, path: &str) -> serde_json::Value {
    let answer = http::get(&format!("127.0.0.1:{}", memory.port), path, "");
    let (_, body) = answer.expect("an answer");
    serde_json::from_str(&body).unwrap_or_default()
}

/// Kills the primary of a cluster, and tells how long nobody took its place.
#[allow(clippy::disallowed_methods, reason = "servers on the wire run on real time")]
fn fail_over(memory: &Memory, cluster: usize) -> Duration {
    let primary = memory::server(cluster, 0);
    let began = Instant::now();
    memory.fleet.kill(&primary);
    let what = format!("cluster {cluster} has another primary");
    wait_until(PATIENCE, &what, || {
        let writable = memory.fleet.writable();
        (1..SIZE).any(|it| writable.contains(&memory::server(cluster, it))).then_some(())
    });
    began.elapsed()
}

/// What this process has in memory.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1_024
}

/// The process in which the bad servers are: what they need themselves is not what baton needs.
struct Crowd(Child);

/// Tells that process the ports, the first of which nobody listens on.
const PORTS: &str = "BATON_TEST_CROWD";

impl Crowd {
    fn start(ports: &[u16]) -> Crowd {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--exact", "--nocapture", "crowd::the_bad_servers"]);
        command.env(PORTS, ports.join(","));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Crowd(child.expect("start the bad servers"))
    }

    /// Ends them; tells how often somebody connected to each kind.
    fn end(mut self) -> BTreeMap<String, usize> {
        drop(self.0.stdin.take());
        let mut told = String::new();
        let stdout = self.0.stdout.as_mut().expect("their output");
        stdout.read_to_string(&mut told).expect("read it");
        let met = told.lines().filter_map(|line| line.strip_prefix("met ")?.split_once(' '));
        met.map(|(kind, count)| (kind.to_owned(), count.parse().unwrap_or(0))).collect()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // They may have ended by themselves.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves in a process of its own that the other test starts; nothing to do for all others.
#[test]
#[allow(clippy::print_stdout, reason = "it tells who started it")]
fn the_bad_servers() {
    let Ok(ports) = std::env::var(PORTS) else { return };
    let ports: Vec<u16> = ports.split(',').filter_map(|it| it.parse().ok()).collect();
    let (nowhere, ports) = ports.split_first().expect("ports");
    let source = memory::server(QUIET, 0);
    // The servers in memory are numbered in the order in which they are made.
    let uuid = format!("00000000-0000-0000-0000-{:012x}", QUIET * SIZE + 1);
    let source = (source.host().to_owned(), source.port());
    let lies = Lies { uuid, source, nowhere: *nowhere, replicas: REPLICAS };
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = ["one", "other"].map(|it| Certificates::make(&folder.path().join(it)));
    let kinds = Kind::ALL.into_iter().zip(ports);
    let all: Vec<StandIn> = kinds
        .map(|(kind, port)| StandIn::start(kind, *port, lies.clone(), certificates.to_vec()))
        .collect();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    for it in &all {
        println!("met {:?} {}", it.kind, it.connections());
    }
}

/// No text of an answer is longer than this, in bytes.
const TEXT_MAX: usize = 8 << 10;

fn longest_text(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(all) => all.iter().map(longest_text).max().unwrap_or(0),
        serde_json::Value::Object(all) => all.values().map(longest_text).max().unwrap_or(0),
        _ => 0,
    }
}

#[test]
#[allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures")]
fn one_bad_server_of_every_kind_delays_and_stops_no_other() {
    let diary = Arc::new(Diary::default());
    let ports: Vec<u16> = (0..=Kind::ALL.len()).map(|_| free_port()).collect();
    let memory = start(&diary, &ports[1..]);
    let until_valid = |count: usize| {
        wait_until(PATIENCE, "all healthy servers are seen", || {
            let all = ask(&memory, "/api/all-instances");
            let is_seen = |it: &&serde_json::Value| {
                let host = it["Key"]["Hostname"].as_str().unwrap_or_default();
                host.ends_with(".example.com") && it["IsLastCheckValid"] == true
            };
            (all.as_array()?.iter().filter(is_seen).count() >= count).then_some(())
        });
    };
    until_valid(CLUSTERS * SIZE);
    let quiet: Vec<Duration> = (0..QUIET).map(|it| fail_over(&memory, it)).collect();

    let grown_over_time = || {
        let before = resident_mib();
        std::thread::sleep(WATCHED_FOR);
        resident_mib().saturating_sub(before)
    };
    let grown_without = grown_over_time();
    let bad = Crowd::start(&ports);
    diary.clear();
    let grown = grown_over_time();
    let (probed, longest) = diary.longest();
    println!(
        "{} bad servers for {WATCHED_FOR:?}: {probed} healthy servers probed, at most {longest:?} apart \
         (interval {INTERVAL:?}); {grown} MiB more, {grown_without} MiB before they came",
        Kind::ALL.len()
    );
    assert!(probed >= CLUSTERS * SIZE - QUIET, "{probed} were probed");
    assert!(longest <= INTERVAL * 3, "a healthy server was not probed for {longest:?}");
    assert!(grown < grown_without + GROWTH_MAX_MIB, "{grown} MiB more, {grown_without} without");
    let all = ask(&memory, "/api/all-instances");
    let known = all.as_array().map_or(0, Vec::len);
    assert!(known >= CLUSTERS * SIZE + Kind::ALL.len(), "they are shown: {known}");
    assert!(longest_text(&all) <= TEXT_MAX, "a text of {} bytes", longest_text(&all));
    assert_eq!(ask(&memory, "/api/health")["Code"], "OK");

    let crowded: Vec<Duration> = (QUIET..CLUSTERS).map(|it| fail_over(&memory, it)).collect();
    let worst = |all: &[Duration]| all.iter().max().copied().unwrap_or_default();
    println!("failover: {:?} before, {:?} among them", worst(&quiet), worst(&crowded));
    assert_eq!(memory.fleet.two_writable(), []);
    let met = bad.end();
    for kind in Kind::ALL {
        assert!(
            met.get(&format!("{kind:?}")).is_some_and(|it| *it > 0),
            "{kind:?} was met: {met:?}"
        );
    }
}
