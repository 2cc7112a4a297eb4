//! Decides when an instance is probed next.
//!
//! Healthy instances are probed at a phase of their own, so that thousands never fall on the same
//! moment and none drifts. Dead ones are tried ever more rarely, at moments of their own as well.

use std::time::Duration;

use baton_topology::key::InstanceKey;
use baton_topology::time::Timestamp;

/// How dead servers are tried again.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// By how much the pause grows from one regular try to the next. 1 keeps the poll interval.
    pub factor: f64,
    /// The pause never grows beyond this.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { factor: 1.5, cap: Duration::from_secs(30) }
    }
}

/// Since when and how often an instance has failed to answer, in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failing {
    /// When the first of these probes began.
    pub since: Timestamp,
    /// How many there were.
    pub count: u32,
}

/// How long to wait from `now` until the next probe.
pub fn pause(
    key: &InstanceKey,
    failing: Option<Failing>,
    poll: Duration,
    backoff: Backoff,
    now: Timestamp,
) -> Duration {
    match failing {
        None => until_phase(key, poll, now),
        Some(failing) => retry(key, failing, poll, backoff, now),
    }
}

fn until_phase(key: &InstanceKey, poll: Duration, now: Timestamp) -> Duration {
    let poll = i64::try_from(poll.as_micros()).unwrap_or(i64::MAX).max(1);
    let phase = i64::try_from(hash(key, 0) >> 1).unwrap_or(0) % poll;
    let past = (now.as_micros().rem_euclid(poll) - phase).rem_euclid(poll);
    Duration::from_micros(u64::try_from(poll - past).unwrap_or(0))
}

/// Grows with the time that went by, not with the tries: a failure has everybody look at once, over
/// and over, and none of that says that it will last.
fn retry(
    key: &InstanceKey,
    failing: Failing,
    poll: Duration,
    backoff: Backoff,
    now: Timestamp,
) -> Duration {
    let poll = poll.as_secs_f64();
    // Pauses that grow by the factor each add up to this.
    let grown = poll + now.since(failing.since).as_secs_f64() * (backoff.factor.max(1.0) - 1.0);
    let capped = grown.min(backoff.cap.as_secs_f64().max(poll));
    // Between three quarters and five quarters, so that servers that died together part.
    let jitter = 0.75 + (hash(key, failing.count) % 1_000) as f64 / 2_000.0;
    Duration::from_secs_f64(capped * jitter)
}

/// Between half of `at_most` and all of it, always the same for an instance: what thousands began at
/// one moment, after a start, they do not all do again at one moment.
pub(crate) fn spread(key: &InstanceKey, at_most: Duration) -> Duration {
    let half = at_most / 2;
    half + half.mul_f64((hash(key, 1) % 1_000) as f64 / 1_000.0)
}

/// FNV-1a: deterministic, so that runs can be repeated.
fn hash(key: &InstanceKey, salt: u32) -> u64 {
    let port = key.port().to_be_bytes();
    let salt = salt.to_be_bytes();
    let bytes = key.host().bytes().chain(port).chain(salt);
    let folded = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The low bits of FNV are good, the high ones are not for short texts.
    folded ^ folded.rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(5);

    fn key(n: usize) -> InstanceKey {
        InstanceKey::new(format!("db{n}"), 3306)
    }

    #[test]
    fn healthy_instances_are_probed_once_per_interval_without_drift() {
        let mut now = Timestamp::from_secs(1_000);
        let first = pause(&key(1), None, POLL, Backoff::default(), now);
        assert!(first > Duration::ZERO && first <= POLL);
        now = now.plus(first);
        for late_by in [0, 1, 70, 900] {
            let woken = now.plus(Duration::from_millis(late_by));
            let next = woken.plus(pause(&key(1), None, POLL, Backoff::default(), woken));
            assert_eq!(next, now.plus(POLL), "woken {late_by} ms late");
            now = next;
        }
    }

    #[test]
    fn what_was_begun_together_is_not_repeated_together() {
        let at_most = Duration::from_secs(300);
        let mut all: Vec<u64> = (0..1_000).map(|n| spread(&key(n), at_most).as_secs()).collect();
        all.sort_unstable();
        assert!(all[0] >= 150 && all[999] < 300, "{} to {}", all[0], all[999]);
        let in_ten_seconds = |from| all.iter().filter(|it| (from..from + 10).contains(*it)).count();
        assert!((150..290).all(|from| in_ten_seconds(from) < 120), "one in fifteen, about");
    }

    #[test]
    fn instances_spread_over_the_interval() {
        let now = Timestamp::from_secs(77);
        let mut per_tenth = [0; 10];
        for n in 0..1_000 {
            let pause = pause(&key(n), None, POLL, Backoff::default(), now);
            per_tenth[(pause.as_millis() as usize * 10 / 5_000).min(9)] += 1;
        }
        assert!(per_tenth.iter().all(|count| (60..=150).contains(count)), "{per_tenth:?}");
    }

    fn after(n: usize, seconds: i64, count: u32, backoff: Backoff) -> Duration {
        let failing = Failing { since: Timestamp::EPOCH, count };
        pause(&key(n), Some(failing), POLL, backoff, Timestamp::from_secs(seconds))
    }

    #[test]
    fn pauses_grow_while_it_fails_up_to_a_cap() {
        let backoff = Backoff { factor: 2.0, cap: Duration::from_secs(60) };
        // Tried at 0, 5, 15, 35, 75...
        for (seconds, base) in [(0, 5.0), (5, 10.0), (35, 40.0), (75, 60.0), (1 << 40, 60.0)] {
            let pause = after(1, seconds, 1, backoff).as_secs_f64();
            assert!((base * 0.75..=base * 1.25).contains(&pause), "{seconds}: {pause}");
        }
        let pauses: std::collections::BTreeSet<_> =
            (0..100).map(|n| after(n, 10, 3, backoff)).collect();
        assert!(pauses.len() > 80, "servers that died together part");
    }

    #[test]
    fn many_looks_in_a_moment_do_not_put_off_the_next() {
        let backoff = Backoff { factor: 2.0, cap: Duration::from_secs(600) };
        assert!(after(1, 1, 1_000, backoff) < Duration::from_secs(8));
    }
}
