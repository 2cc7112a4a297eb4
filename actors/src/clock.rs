//! Time, asked for instead of taken.

use baton_topology::time::Timestamp;

/// Tells what time it is.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine, driven by tokio: in paused tests it moves only when they say so.
///
/// It reads the wall clock once and then counts monotonically, so that a stepped wall clock never
/// makes a server look dead.
#[derive(Debug, Clone)]
pub struct TokioClock {
    started: tokio::time::Instant,
    wall: Timestamp,
}

impl TokioClock {
    /// A clock that reads `wall` now.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { started: tokio::time::Instant::now(), wall }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.wall.plus(self.started.elapsed())
    }
}
