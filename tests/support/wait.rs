//! The one place that waits by looking again and again: for a state, never for an amount of time.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `probe` finds something, and returns it; panics with `description` when `deadline` has passed.
#[allow(clippy::disallowed_methods, reason = "real servers run on real time")]
pub fn wait_until<T>(
    deadline: Duration,
    description: &str,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {description}");
        std::thread::sleep(PAUSE);
    }
}
