//! Where tasks and blocking work run.
//!
//! In a simulation everything of a node runs on the one task set it was started in, so that the
//! node can be stopped, or killed, whole, and a run be repeated. Otherwise tokio decides.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Starts a task.
pub(crate) fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[cfg(feature = "testing")]
    if chance::is_repeated() {
        return tokio::task::spawn_local(task);
    }
    tokio::spawn(task)
}

/// Starts a task on another runtime.
pub(crate) fn spawn_on<F>(runtime: &Handle, task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[cfg(feature = "testing")]
    if chance::is_repeated() {
        return tokio::task::spawn_local(task);
    }
    runtime.spawn(task)
}

/// Has blocking work done.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    #[cfg(feature = "testing")]
    if chance::is_repeated() {
        return tokio::task::spawn_local(async move { work() });
    }
    tokio::task::spawn_blocking(work)
}

/// Chance that can be repeated.
#[cfg(feature = "testing")]
pub(crate) mod chance {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Whether this thread plays a run that can be repeated.
    pub(crate) fn is_repeated() -> bool {
        STATE.get().is_some()
    }

    /// From now on what this thread does follows from `seed` alone; or no more.
    pub(crate) fn repeat(seed: Option<u64>) {
        STATE.set(seed);
    }

    /// The next number (SplitMix64), if runs are repeated.
    pub(crate) fn next() -> Option<u64> {
        let state = STATE.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
        STATE.set(Some(state));
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(mixed ^ (mixed >> 31))
    }
}
