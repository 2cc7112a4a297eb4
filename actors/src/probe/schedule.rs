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
    /// By how much the pause grows with each failure. 1 keeps the poll interval.
    pub factor: f64,
    /// The pause never grows beyond this.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { factor: 1.5, cap: Duration::from_secs(30) }
    }
}

/// How long to wait from `now` until the next probe, after `failures` failed ones in a row.
pub fn pause(
    key: &InstanceKey,
    failures: u32,
    poll: Duration,
    backoff: Backoff,
    now: Timestamp,
) -> Duration {
    if failures == 0 { until_phase(key, poll, now) } else { retry(key, failures, poll, backoff) }
}

fn until_phase(key: &InstanceKey, poll: Duration, now: Timestamp) -> Duration {
    let poll = i64::try_from(poll.as_micros()).unwrap_or(i64::MAX).max(1);
    let phase = i64::try_from(hash(key, 0) >> 1).unwrap_or(0) % poll;
    let past = (now.as_micros().rem_euclid(poll) - phase).rem_euclid(poll);
    Duration::from_micros(u64::try_from(poll - past).unwrap_or(0))
}

fn retry(key: &InstanceKey, failures: u32, poll: Duration, backoff: Backoff) -> Duration {
    let exponent = i32::try_from(failures - 1).unwrap_or(i32::MAX);
    let grown = poll.as_secs_f64() * backoff.factor.max(1.0).powi(exponent);
    let capped = grown.min(backoff.cap.max(poll).as_secs_f64());
    // Between three quarters and five quarters, so that servers that died together part.
    let jitter = 0.75 + (hash(key, failures) % 1_000) as f64 / 2_000.0;
    Duration::from_secs_f64(capped * jitter)
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
        let first = pause(&key(1), 0, POLL, Backoff::default(), now);
        assert!(first > Duration::ZERO && first <= POLL);
        now = now.plus(first);
        for late_by in [0, 1, 70, 900] {
            let woken = now.plus(Duration::from_millis(late_by));
            let next = woken.plus(pause(&key(1), 0, POLL, Backoff::default(), woken));
            assert_eq!(next, now.plus(POLL), "woken {late_by} ms late");
            now = next;
        }
    }

    #[test]
    fn instances_spread_over_the_interval() {
        let now = Timestamp::from_secs(77);
        let mut per_tenth = [0; 10];
        for n in 0..1_000 {
            let pause = pause(&key(n), 0, POLL, Backoff::default(), now);
            per_tenth[(pause.as_millis() as usize * 10 / 5_000).min(9)] += 1;
        }
        assert!(per_tenth.iter().all(|count| (60..=150).contains(count)), "{per_tenth:?}");
    }

    #[test]
    fn pauses_grow_with_failures_up_to_a_cap() {
        let backoff = Backoff { factor: 2.0, cap: Duration::from_secs(60) };
        for (failures, base) in [(1, 5.0), (2, 10.0), (4, 40.0), (5, 60.0), (u32::MAX, 60.0)] {
            let pause = pause(&key(1), failures, POLL, backoff, Timestamp::EPOCH).as_secs_f64();
            assert!((base * 0.75..=base * 1.25).contains(&pause), "{failures}: {pause}");
        }
        let pauses: std::collections::BTreeSet<_> =
            (0..100).map(|n| pause(&key(n), 3, POLL, backoff, Timestamp::EPOCH)).collect();
        assert!(pauses.len() > 80, "servers that died together part");
    }
}
