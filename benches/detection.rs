//! Real servers, the real program: from `kill -9` of a primary to the problem in the API, and what
//! watching costs while nothing happens. Run by `make bench`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and measures real time"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::{Baton, Flavor, Options, admit, star};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const RUNS: usize = 10;
const REPLICAS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(1);
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Clock ticks of the kernel's accounting, per second.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    println!(
        "kill -9 of a primary with {REPLICAS} replicas until DeadMaster is in the API, {RUNS} runs"
    );
    for (flavor, bar_ms) in [(Flavor::MySql97, 100), (Flavor::MariaDb1011, 50)] {
        let mut took: Vec<Duration> = (0..RUNS).map(|_| detection(flavor)).collect();
        took.sort();
        let ms = |at: usize| took[at].as_secs_f64() * 1e3;
        let (min, median, max) = (ms(0), (ms(RUNS / 2 - 1) + ms(RUNS / 2)) / 2.0, ms(RUNS - 1));
        println!(
            "{flavor:?}: min {min:.0} ms, median {median:.0} ms (bar {bar_ms}), max {max:.0} ms"
        );
    }
    idle();
}

fn detection(flavor: Flavor) -> Duration {
    let mut servers = star(&Options::new(flavor), REPLICAS);
    admit(&servers);
    let baton = Baton::watch(BATON, &servers);
    baton.until_all_valid(REPLICAS + 1);
    // The parked connection is opened once the primary is known to have replicas.
    support::wait_until(support::PATIENCE, "the primary is watched", || {
        let parked = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'";
        (!servers[0].query(parked).is_empty()).then_some(())
    });
    let killed = Instant::now();
    servers[0].kill_9();
    let wanted = format!("{} DeadMaster", servers[0].port);
    while !baton.findings().contains(&wanted) {
        assert!(killed.elapsed() < support::PATIENCE, "it is never found");
        std::thread::sleep(LOOK_EVERY);
    }
    killed.elapsed()
}

fn idle() {
    let servers = star(&Options::new(Flavor::MySql97), REPLICAS);
    admit(&servers);
    let baton = Baton::watch(BATON, &servers);
    baton.until_all_valid(REPLICAS + 1);
    let (before, started) = (cpu_seconds(baton.pid()), Instant::now());
    std::thread::sleep(IDLE_FOR);
    let share = (cpu_seconds(baton.pid()) - before) / started.elapsed().as_secs_f64() * 100.0;
    let resident = resident_mib(baton.pid());
    println!(
        "watching {} idle servers: {share:.2} % of a core (bar 1), {resident:.1} MiB resident (bar 30)",
        REPLICAS + 1
    );
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("baton runs");
    // Behind the name, which may hold blanks: utime and stime are fields 14 and 15.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("baton runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
