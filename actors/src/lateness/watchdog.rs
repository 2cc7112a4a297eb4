//! Notices a measured thread that stopped turning, and with which server it was speaking.
//!
//! A conversation that never yields stops everything else on its thread, and the thread cannot say so
//! itself. So a thread of its own looks whether the others tick. Time in which that one could not run
//! either does not count: then the machine lacks processor, or the process was stopped.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use baton_topology::key::InstanceKey;
use tokio::time::Instant;

use super::{Lateness, Meter};
use crate::metrics::Metrics;

/// How often the threads are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A thread that did not turn for so long is told of.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);

/// A thread that does not turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckThread {
    /// Its name.
    pub thread: String,
    /// The server it was speaking with when it stopped, if it was.
    pub server: Option<InstanceKey>,
    /// For how long it has not turned, at least.
    pub stuck_for: Duration,
}

impl fmt::Display for StuckThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { thread, server, stuck_for } = self;
        write!(f, "thread {thread} has been stuck for {} s", stuck_for.as_secs())?;
        match server {
            Some(server) => write!(f, " in the conversation with {server}"),
            None => Ok(()),
        }
    }
}

/// Looks after the threads until it is dropped.
#[derive(Debug)]
pub struct Watchdog {
    end: Sender<()>,
}

impl Watchdog {
    /// Ends it: threads that are about to be ended are not stuck.
    pub fn end(&self) {
        // It may have ended already.
        let _ = self.end.send(());
    }
}

impl Lateness {
    /// Begins to look after the threads that are measured.
    ///
    /// # Errors
    /// When there can be no thread for that.
    pub fn watch(&self, metrics: Metrics) -> io::Result<Watchdog> {
        let (end, ended) = channel();
        let lateness = self.clone();
        let builder = thread::Builder::new().name("watchdog".to_owned());
        builder.spawn(move || lateness.look_after(&metrics, &ended))?;
        Ok(Watchdog { end })
    }

    /// The threads that do not turn.
    pub fn stuck(&self) -> Vec<StuckThread> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look_after(&self, metrics: &Metrics, ended: &Receiver<()>) {
        let mut watched = Vec::new();
        let mut last = Instant::now();
        while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            let now = Instant::now();
            let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let stuck = look(&mut watched, &meters, now.saturating_duration_since(last));
            last = now;
            metrics.runtime_stuck_threads.set(i64::try_from(stuck.len()).unwrap_or(i64::MAX));
            *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = stuck;
        }
    }
}

/// What was seen of one thread.
#[derive(Debug, Clone, Default)]
struct Watched {
    /// The tick it waited for.
    due_us: u64,
    /// How long it has waited for that.
    still_for: Duration,
    is_told: bool,
}

/// Looks at all threads, `since_last` after the look before, and tells in the log which of them stopped
/// turning or turn again.
fn look(
    watched: &mut Vec<Watched>,
    meters: &[Arc<Meter>],
    since_last: Duration,
) -> Vec<StuckThread> {
    // A look that is late itself says that nothing ran.
    let counted = if since_last < LOOK_EVERY * 2 { LOOK_EVERY } else { Duration::ZERO };
    watched.resize(meters.len(), Watched::default());
    let mut stuck = Vec::new();
    for (seen, meter) in watched.iter_mut().zip(meters) {
        let due_us = meter.due_us.load(Ordering::Relaxed);
        if due_us != seen.due_us {
            if seen.is_told {
                tracing::info!(thread = %meter.thread, "a stuck thread of baton turns again");
            }
            *seen = Watched { due_us, ..Watched::default() };
            continue;
        }
        seen.still_for += counted;
        if seen.still_for < STUCK_AFTER {
            continue;
        }
        let told = StuckThread {
            thread: meter.thread.clone(),
            server: meter.speaks_with(),
            stuck_for: seen.still_for,
        };
        if !std::mem::replace(&mut seen.is_told, true) {
            let server = told.server.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::error!(
                thread = %told.thread,
                server,
                "a thread of baton stopped turning: the servers that it probes are not probed any more, and \
                 this node does nothing by itself. Restart it; what keeps it away from a server is \
                 DiscoveryIgnoreHostnameFilters"
            );
        }
        stuck.push(told);
    }
    stuck
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use actix_rt::Arbiter;

    use super::super::speaking_with;
    use super::*;

    fn looks() -> usize {
        usize::try_from(STUCK_AFTER.as_millis() / LOOK_EVERY.as_millis()).unwrap()
    }

    #[allow(clippy::disallowed_methods, reason = "the thread is to be blocked")]
    fn block_until(is_released: &AtomicBool) {
        while !is_released.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    async fn until(mut is_so: impl FnMut() -> bool) {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[actix::test]
    async fn a_conversation_that_never_yields_is_told_with_its_server() {
        let (lateness, arbiter) = (Lateness::default(), Arbiter::new());
        let is_released = Arc::new(AtomicBool::new(false));
        let is_blocked = Arc::new(AtomicBool::new(false));
        arbiter.spawn(lateness.clone().measure());
        let meters = || lateness.meters.lock().unwrap().clone();
        until(|| !meters().is_empty()).await;
        let key = InstanceKey::new("db", 3306);
        let (released, blocked) = (Arc::clone(&is_released), Arc::clone(&is_blocked));
        arbiter.spawn(speaking_with(key.clone(), async move {
            blocked.store(true, Ordering::Relaxed);
            block_until(&released);
        }));
        until(|| is_blocked.load(Ordering::Relaxed)).await;

        let mut watched = Vec::new();
        let mut seen = || look(&mut watched, &meters(), LOOK_EVERY);
        for number in 0..looks() {
            assert_eq!(seen(), [], "look {number}");
        }
        let stuck = seen();
        assert_eq!(stuck.len(), 1);
        assert_eq!(stuck[0].server, Some(key));
        assert!(stuck[0].to_string().ends_with("in the conversation with db:3306"), "{}", stuck[0]);

        is_released.store(true, Ordering::Relaxed);
        until(|| seen().is_empty()).await;
        assert_eq!(meters()[0].speaks_with(), None);
        arbiter.stop();
    }

    #[test]
    fn time_in_which_the_watchdog_could_not_run_does_not_count() {
        let meters = [Arc::new(Meter::new())];
        let mut watched = Vec::new();
        for _ in 0..looks() * 3 {
            assert_eq!(look(&mut watched, &meters, LOOK_EVERY * 4), []);
        }
        for _ in 0..looks() {
            look(&mut watched, &meters, LOOK_EVERY);
        }
        assert_eq!(look(&mut watched, &meters, LOOK_EVERY).len(), 1, "it does not tick at all");
    }
}
