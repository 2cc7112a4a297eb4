//! Notices that the machine was asleep: suspended, as laptops and virtual machines are.
//!
//! The clock by which leases are measured stands still then, while the others go on and choose
//! another leader. What was confirmed before the machine woke up confirms nothing afterwards. A
//! process that is merely stopped needs nothing of this: that clock goes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Reading two clocks takes a moment, in which others may have the processor.
const READING_MAX: Duration = Duration::from_millis(20);

/// When this machine woke up, as far as anybody looked. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Wakes(Arc<Mutex<Sleep>>);

#[derive(Debug, Default)]
struct Sleep {
    /// How long the machine has slept since it was booted, at least.
    asleep: Option<Duration>,
    /// When it was noticed that it had slept again.
    woken: Option<Instant>,
}

impl Wakes {
    /// When the machine was last found to have slept: whatever is older counts for nothing.
    pub(super) fn newest(&self) -> Option<Instant> {
        let mut sleep = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // First the one that counts sleep: a pause between the two looks like less of it, not more.
        let with_sleep = read(ClockId::Boottime);
        let without = read(ClockId::Monotonic);
        sleep.note(with_sleep.saturating_sub(without), Instant::now());
        sleep.woken
    }
}

impl Sleep {
    fn note(&mut self, asleep: Duration, now: Instant) {
        let known = *self.asleep.get_or_insert(asleep);
        if asleep > known + READING_MAX {
            self.woken = Some(now);
        }
        self.asleep = Some(known.max(asleep));
    }
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_noticed_and_a_slow_reading_is_none() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let millis = Duration::from_millis;
        let mut sleep = Sleep::default();
        for (case, asleep, now, woken) in [
            ("it slept before anybody looked", 5_000, 0, None),
            ("it is awake", 5_000, 1, None),
            ("the reading was interrupted", 4_700, 2, None),
            ("and not any more", 5_001, 3, None),
            ("it slept for a minute", 65_000, 4, Some(4)),
            ("it is awake again", 65_000, 5, Some(4)),
            ("interrupted again", 64_000, 6, Some(4)),
            ("it slept for a moment", 65_100, 7, Some(7)),
        ] {
            sleep.note(millis(asleep), at(now));
            assert_eq!(sleep.woken, woken.map(at), "case: {case}");
        }
    }

    #[test]
    fn a_machine_that_is_awake_is_not_found_asleep() {
        let wakes = Wakes::default();
        for _ in 0..1_000 {
            assert_eq!(wakes.newest(), None);
        }
    }
}
