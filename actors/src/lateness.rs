//! How late the threads of this process run, and deadlines that do not hold it against others.
//!
//! A thread that gets no processor reads answers late that came in time. If it took that for
//! silence, a busy machine would see all its servers die at once, and every time-out would make it
//! busier still (I7). So each thread measures by how much its timers are late, and a deadline for
//! a server counts only the time in which the thread was able to run. Threads that nobody measures,
//! as in most tests, are never late.

pub mod watchdog;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use baton_topology::key::InstanceKey;
use tokio::time::{Instant, timeout_at};

use crate::metrics::Metrics;
use watchdog::StuckThread;

/// How often a thread looks at its clock.
const TICK: Duration = Duration::from_millis(20);
/// Timers are no finer than this: what is less late than this is in time.
const ON_TIME: Duration = Duration::from_millis(2);
/// However late the thread is, a deadline is stretched to no more than this many times its length.
const STRETCH_MAX: u32 = 60;
/// How often it is judged whether the process gets enough processor.
const JUDGED_EVERY: Duration = Duration::from_secs(1);
/// What is judged is the share of this much time.
const WINDOW: usize = 5;

thread_local! {
    static OWN: RefCell<Option<Arc<Meter>>> = const { RefCell::new(None) };
}

/// A deadline that passed while the thread was able to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// How late one thread is.
#[derive(Debug)]
struct Meter {
    /// What the thread is called.
    thread: String,
    /// The server whose conversation it is running right now.
    server: Mutex<Option<InstanceKey>>,
    began: Instant,
    /// What its ticks were late by, together, in microseconds.
    late_us: AtomicU64,
    /// When the next tick is due, in microseconds since the meter began.
    due_us: AtomicU64,
}

impl Meter {
    fn new() -> Self {
        let due_us = AtomicU64::new(micros(TICK));
        let thread = thread::current().name().unwrap_or("without a name").to_owned();
        let (server, began) = (Mutex::default(), Instant::now());
        Self { thread, server, began, late_us: AtomicU64::new(0), due_us }
    }

    /// Takes note of the server whose conversation runs now; returns the one before.
    fn note_server(&self, server: Option<InstanceKey>) -> Option<InstanceKey> {
        let mut noted = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *noted, server)
    }

    fn speaks_with(&self) -> Option<InstanceKey> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the thread was late by until `now`, a tick that is overdue included.
    fn late_until(&self, now: Instant) -> Duration {
        let due = self.began + Duration::from_micros(self.due_us.load(Ordering::Relaxed));
        let overdue = now.saturating_duration_since(due);
        let overdue = if overdue > ON_TIME { overdue } else { Duration::ZERO };
        Duration::from_micros(self.late_us.load(Ordering::Relaxed)) + overdue
    }

    fn tick(&self, now: Instant) {
        let late = self.late_until(now);
        self.late_us.store(micros(late), Ordering::Relaxed);
        let due = now.saturating_duration_since(self.began) + TICK;
        self.due_us.store(micros(due), Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Like tokio's, but counts only time in which this thread was able to run. What has come in by the
/// end is looked at before the time is up.
///
/// # Errors
/// When the time is up.
pub async fn timeout<F: Future>(at_most: Duration, future: F) -> Result<F::Output, Elapsed> {
    let meter = OWN.with_borrow(Clone::clone);
    let began = Instant::now();
    let late_before = meter.as_ref().map_or(Duration::ZERO, |it| it.late_until(began));
    let at_latest = began + at_most.saturating_mul(STRETCH_MAX);
    let mut end = began + at_most;
    tokio::pin!(future);
    loop {
        if let Ok(output) = timeout_at(end, &mut future).await {
            return Ok(output);
        }
        let late = meter.as_ref().map_or(Duration::ZERO, |meter| {
            meter.late_until(Instant::now()).saturating_sub(late_before)
        });
        let fair = (began + at_most + late).min(at_latest);
        if fair <= end {
            return Err(Elapsed);
        }
        // The clock may be all that moves on.
        tokio::task::yield_now().await;
        end = fair;
    }
}

/// Has a conversation run so that it is known whose it is, should it never yield again.
pub async fn speaking_with<F: Future>(server: InstanceKey, conversation: F) -> F::Output {
    tokio::pin!(conversation);
    poll_fn(|context| {
        let meter = OWN.with_borrow(Clone::clone);
        let before = meter.as_ref().map(|it| it.note_server(Some(server.clone())));
        let polled = conversation.as_mut().poll(context);
        if let (Some(meter), Some(before)) = (meter, before) {
            meter.note_server(before);
        }
        polled
    })
    .await
}

/// How late all measured threads are, and which are stuck. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lateness {
    meters: Arc<Mutex<Vec<Arc<Meter>>>>,
    stuck: Arc<Mutex<Vec<StuckThread>>>,
}

impl Lateness {
    /// Measures the thread this runs on, for good.
    pub async fn measure(self) {
        let meter = Arc::new(Meter::new());
        self.meters.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&meter));
        OWN.set(Some(Arc::clone(&meter)));
        loop {
            tokio::time::sleep(TICK).await;
            meter.tick(Instant::now());
        }
    }

    /// What the thread that was late most was late by, so far.
    fn worst(&self, before: &mut Vec<Duration>, now: Instant) -> Duration {
        let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let late: Vec<Duration> = meters.iter().map(|it| it.late_until(now)).collect();
        before.resize(late.len(), Duration::ZERO);
        let grown = late.iter().zip(before.iter()).map(|(now, before)| now.saturating_sub(*before));
        let worst = grown.max().unwrap_or_default();
        *before = late;
        worst
    }

    /// Tells over and over which share of the time the threads could not run, in percent; counts
    /// it, and says so once it is much, or no longer. The thread that lacks most counts.
    pub async fn judge(self, metrics: Metrics, mut tell: impl FnMut(u8)) {
        let mut before = Vec::new();
        let mut window: Vec<(Duration, Duration)> = Vec::new();
        let mut last = Instant::now();
        let mut was_short = false;
        loop {
            tokio::time::sleep(JUDGED_EVERY).await;
            let now = Instant::now();
            let late = self.worst(&mut before, now);
            metrics.runtime_delay_seconds.inc_by(late.as_secs_f64());
            window.push((late, now.saturating_duration_since(last)));
            last = now;
            if window.len() > WINDOW {
                window.remove(0);
            }
            let percent = share(&window);
            metrics.runtime_delay_percent.set(i64::from(percent));
            let is_short = percent >= if was_short { SHORT_PERCENT / 2 } else { SHORT_PERCENT };
            if is_short && !was_short {
                tracing::warn!(
                    percent,
                    "baton lacks processor: its threads run late; deadlines are stretched"
                );
            } else if was_short && !is_short {
                tracing::info!(percent, "baton has enough processor again");
            }
            was_short = is_short;
            tell(percent);
        }
    }
}

/// From this share on baton says that it lacks processor.
const SHORT_PERCENT: u8 = 50;

fn share(window: &[(Duration, Duration)]) -> u8 {
    let late: f64 = window.iter().map(|(late, _)| late.as_secs_f64()).sum();
    let all: f64 = window.iter().map(|(_, all)| all.as_secs_f64()).sum();
    if all > 0.0 { (late / all * 100.0).clamp(0.0, 100.0) as u8 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts measuring this thread, and returns once it is.
    async fn measured() -> Lateness {
        let lateness = Lateness::default();
        tokio::task::spawn_local(lateness.clone().measure());
        tokio::time::sleep(TICK * 2).await;
        lateness
    }

    #[allow(clippy::disallowed_methods, reason = "the thread is to be blocked")]
    fn block(at_most: Duration) {
        std::thread::sleep(at_most);
    }

    const DEADLINE: Duration = Duration::from_millis(100);

    /// Two steps: the first takes a moment, the second ends after that.
    async fn conversation() -> &'static str {
        tokio::time::sleep(DEADLINE / 4).await;
        tokio::time::sleep(DEADLINE / 4).await;
        "answered"
    }

    async fn blocked_meanwhile<T>(waiting: impl Future<Output = T>) -> T {
        let blocking = async {
            tokio::task::yield_now().await;
            block(DEADLINE * 3);
        };
        let (waited, ()) = tokio::join!(waiting, blocking);
        waited
    }

    #[actix::test]
    async fn time_in_which_the_thread_could_not_run_does_not_count() {
        let plain = blocked_meanwhile(tokio::time::timeout(DEADLINE, conversation())).await;
        assert!(plain.is_err(), "by the clock it is late");
        let _lateness = measured().await;
        let fair = blocked_meanwhile(timeout(DEADLINE, conversation())).await;
        assert_eq!(fair, Ok("answered"));
    }

    #[actix::test]
    async fn silence_is_silence_however_late_the_thread_is() {
        let _lateness = measured().await;
        let began = Instant::now();
        let silent = blocked_meanwhile(timeout(DEADLINE, std::future::pending::<()>())).await;
        assert_eq!(silent, Err(Elapsed));
        let since = began.elapsed();
        assert!(since >= DEADLINE * 3 + DEADLINE / 2, "it has its time once the thread runs again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_is_not_measured_is_never_late() {
        let began = Instant::now();
        assert_eq!(timeout(DEADLINE, std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(began.elapsed(), DEADLINE);
    }

    #[test]
    fn the_share_is_that_of_all_that_went_by() {
        let ms = Duration::from_millis;
        assert_eq!(share(&[]), 0);
        assert_eq!(share(&[(ms(0), ms(1_000)), (ms(500), ms(1_000))]), 25);
        assert_eq!(share(&[(ms(10_000), ms(10_000)), (ms(0), ms(1_000))]), 90);
        assert_eq!(share(&[(ms(2_000), ms(1_000))]), 100);
    }
}
