//! Thousands of seeded schedules of everything going wrong: batons with raft, probes and recoveries
//! over servers in memory, on simulated time. No invariant may be broken, and afterwards everything
//! has to get well.
//!
//! Run with `cargo bench -p baton-actors --bench simulate`. Arguments: schedules, first seed. With
//! `SEED=7` that schedule alone is played, and told.

#[path = "../tests/simulation/world/mod.rs"]
mod world;

use std::io::Write;
use std::thread;
use std::time::Duration;

use world::trace::Trace;
use world::{Outcome, play, play_all};

/// Seeds that are named one by one at most.
const NAMED_MAX: usize = 50;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        let outcome = play(seed, Trace::full());
        for line in outcome.trace.lines() {
            writeln!(out, "{line}")?;
        }
        return end(&mut out, &[outcome]);
    }
    // cargo bench passes `--bench`.
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let count: u64 = numbers.next().unwrap_or(10_000);
    let first: u64 = numbers.next().unwrap_or(1);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let began = tokio::time::Instant::now();
    let outcomes = play_all(first..first + count, threads);
    let took = began.elapsed();
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let hours = Duration::from_micros(sum(|it| it.took)).as_secs_f64() / 3_600.0;
    let seconds = took.as_secs_f64();
    writeln!(out, "simulate: {count} schedules, seeds {first} to {}", first + count - 1)?;
    writeln!(out, "  {hours:.1} h of their time in {seconds:.1} s, {threads} threads")?;
    writeln!(out, "  {:.1} schedules/s", count as f64 / seconds)?;
    writeln!(
        out,
        "  {} events, {} recoveries, {} servers opened, {} commits acknowledged",
        sum(|it| it.trace.events()),
        sum(|it| it.recoveries),
        sum(|it| it.opened),
        sum(|it| it.acknowledged),
    )?;
    writeln!(out, "  {} needed a person", sum(|it| u64::from(it.needed_a_person)))?;
    let left = sum(|it| u64::from(it.was_left_to_people));
    writeln!(out, "  {left} did not get well by themselves, and baton said so")?;
    end(&mut out, &outcomes)
}

fn end(out: &mut impl Write, outcomes: &[Outcome]) -> std::io::Result<()> {
    let broken: Vec<&Outcome> = outcomes.iter().filter(|it| !it.broken.is_empty()).collect();
    writeln!(out, "  {} broke an invariant", broken.len())?;
    for Outcome { seed, broken, .. } in broken.iter().take(NAMED_MAX) {
        writeln!(out, "    SEED={seed}: {}", broken.join("; "))?;
    }
    if broken.is_empty() { Ok(()) } else { Err(std::io::Error::other("an invariant was broken")) }
}
