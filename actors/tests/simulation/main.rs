//! Seeded schedules of everything going wrong, with the invariants checked at every event.
//!
//! `SEED=7` plays one of them and prints what happened.

mod world;

use world::trace::Trace;
use world::{Outcome, play, play_all};

/// So many schedules are played with every test run; the benchmark plays more.
const SCHEDULES: u64 = 60;

fn told(outcome: &Outcome) -> String {
    let Outcome { seed, broken, .. } = outcome;
    format!("seed {seed}: {}; replay it with SEED={seed}", broken.join("; "))
}

#[test]
fn whatever_goes_wrong_no_invariant_is_broken_and_all_gets_well_again() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        let outcome = play(seed, Trace::full());
        panic!("{}\n{}", outcome.trace.lines().join("\n"), told(&outcome));
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes = play_all(1..SCHEDULES + 1, threads);
    let broken: Vec<String> =
        outcomes.iter().filter(|it| !it.broken.is_empty()).map(told).collect();
    assert!(broken.is_empty(), "{} of {SCHEDULES}:\n{}", broken.len(), broken.join("\n"));
    // It is no simulation of nothing.
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    assert!(sum(|it| it.opened) > SCHEDULES / 10, "hardly anybody was ever opened");
    let left = sum(|it| u64::from(it.was_left_to_people));
    assert!(left <= SCHEDULES / 20, "{left} were left to people");
    assert!(sum(|it| it.acknowledged) > SCHEDULES * 10, "hardly anything was ever written");
}

#[test]
fn a_seed_always_plays_the_same() {
    for seed in 1..=10 {
        let (one, other) = (play(seed, Trace::hashed()), play(seed, Trace::hashed()));
        let sum = |it: &Outcome| (it.trace.hash(), it.trace.events(), it.took);
        assert_eq!(sum(&one), sum(&other), "seed {seed}");
    }
}
