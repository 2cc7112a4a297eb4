//! The whole actor system over 10,000 servers in memory, each probed once a second: what one probe
//! costs in processor time from schedule to published snapshot, and what an instance costs in
//! memory.
//!
//! Run with `cargo bench -p baton-actors --bench fleet`. Arguments: instances, seconds.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use baton_actors::clock::TokioClock;
use baton_actors::metrics::Metrics;
use baton_actors::probe::schedule::Backoff;
use baton_actors::system::{self, Handles, Options};
use baton_actors::testing::{FakeFleet, FakeTarget, MemoryStore, recovery_setup};
use baton_topology::key::InstanceKey;
use baton_topology::policy::Policy;
use baton_topology::time::Timestamp;

const CLUSTER_SIZE: usize = 10;
/// Linux counts processor time in hundredths of a second, and memory in pages of this size.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4_096;

fn main() -> std::io::Result<()> {
    // cargo bench passes `--bench`.
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let instances = numbers.next().unwrap_or(10_000);
    let seconds = numbers.next().unwrap_or(10);
    actix_rt::System::new().block_on(run(instances, seconds as u64))
}

async fn run(instances: usize, seconds: u64) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let (fleet, seeds) = fleet_of(instances);
    let memory_before = resident_bytes();
    let options = Options {
        target: Arc::new(FakeTarget(Arc::clone(&fleet))),
        recovery: recovery_setup(&fleet),
        clock: Arc::new(TokioClock::starting_at(Timestamp::from_secs(1_700_000_000))),
        policy: Arc::new(Policy { poll_interval: Duration::from_secs(1), ..Policy::default() }),
        open_store: MemoryStore::default().opener(),
        ledger: None,
        peers: None,
        probing: baton_actors::sharing::Probing::Everybody,
        seeds: seeds.clone(),
        arbiters: Vec::new(),
        backoff: Backoff::default(),
        probe_deadline: Duration::from_secs(3),
        instances_max: instances,
        connecting_max: 256,
        resolver: None,
        metrics: Metrics::new(),
    };
    let began = tokio::time::Instant::now();
    let handles = system::start(options).await.map_err(std::io::Error::other)?;
    let mut snapshot = handles.snapshot.clone();
    let is_complete = snapshot.wait_for(|fleet| fleet.instance_count() >= instances);
    is_complete.await.map_err(std::io::Error::other)?;
    writeln!(out, "{instances} instances found in {:?}", began.elapsed())?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let memory = resident_bytes().saturating_sub(memory_before);
    let per_instance = memory / instances as u64;
    writeln!(out, "memory: {} MiB, {per_instance} bytes per instance", memory >> 20)?;
    measure(&mut out, "quiet fleet", &handles, seconds).await?;
    let writer = actix_rt::spawn(write_everywhere(fleet, seeds));
    measure(&mut out, "every primary writes", &handles, seconds).await?;
    writer.abort();
    handles.shutdown().await;
    Ok(())
}

fn fleet_of(instances: usize) -> (Arc<FakeFleet>, Vec<InstanceKey>) {
    let fleet = FakeFleet::new();
    let mut primaries = Vec::new();
    for n in 0..instances {
        let key = InstanceKey::new(format!("db{n:05}.example.com"), 3306);
        match primaries.last() {
            Some(primary) if n % CLUSTER_SIZE != 0 => fleet.add_replica(&key, primary),
            _ => {
                fleet.add_primary(&key);
                primaries.push(key);
            }
        }
    }
    (fleet, primaries)
}

async fn write_everywhere(fleet: Arc<FakeFleet>, primaries: Vec<InstanceKey>) {
    loop {
        for primary in &primaries {
            fleet.write(primary);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn measure(
    out: &mut impl Write,
    case: &str,
    handles: &Handles,
    seconds: u64,
) -> std::io::Result<()> {
    let generation = handles.snapshot.borrow().generation;
    let probes = handles.metrics.probe_attempts.get();
    let processor = processor_seconds();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let probes = handles.metrics.probe_attempts.get() - probes;
    let processor = processor_seconds() - processor;
    let generations = handles.snapshot.borrow().generation - generation;
    writeln!(
        out,
        "{case}: {probes} probes and {generations} snapshots in {seconds} s, {:.1} us of processor \
         per probe, {:.0} % of one core",
        processor * 1e6 / probes.max(1) as f64,
        processor * 100.0 / seconds as f64,
    )
}

fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields are counted from behind the name, which may contain anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
