//! How many connections to servers this process may have open at a time.
//!
//! Each takes three descriptors: the driver's end, the gate's, and the one to the server. Without a
//! bound of their own, connections to servers would take what callers and files need; and what
//! fails for lack of descriptors must never look like a server that does not answer (I7).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_topology::instance::{FailureKind, ProbeFailure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure;
use crate::lateness::timeout;

/// Open files that one connection takes.
pub const DESCRIPTORS_EACH: u64 = 3;

/// This part of all connections is for those that begin: probes of servers whose connection was
/// not kept, and recoveries.
const FREE_PART: usize = 8;

/// How long one waits for another to end. Shorter than any deadline to connect, so that this is
/// what is told.
const WAIT: Duration = Duration::from_millis(400);

/// Places for connections.
pub(super) struct Slots {
    all: usize,
    free: Arc<Semaphore>,
    was_told: AtomicBool,
}

impl Slots {
    pub(super) fn new(all: usize) -> Self {
        let all = all.clamp(FREE_PART, Semaphore::MAX_PERMITS);
        Self { all, free: Arc::new(Semaphore::new(all)), was_told: AtomicBool::new(false) }
    }

    /// Takes a place for a connection that begins.
    pub(super) async fn take(&self) -> Result<OwnedSemaphorePermit, ProbeFailure> {
        let taken = timeout(WAIT, Arc::clone(&self.free).acquire_owned()).await;
        taken.ok().and_then(Result::ok).ok_or_else(|| {
            let message = format!(
                "baton cannot connect: all of its {} connections to servers are in use; raise its limit on \
                 open files",
                self.all
            );
            failure::new(FailureKind::Local, message)
        })
    }

    /// Whether there is room to keep the connections that are open, and so many more.
    pub(super) fn has_room(&self, more: usize) -> bool {
        let has_room = self.free.available_permits() >= self.all / FREE_PART + more;
        if !has_room && !self.was_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                connections = self.all,
                descriptors_each = DESCRIPTORS_EACH,
                "more servers than connections: some are closed after each probe, which costs processor \
                 time; raise the limit on open files (LimitNOFILE)"
            );
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_are_kept_while_some_are_free_and_one_too_many_is_no_answer_of_a_server() {
        let slots = Slots::new(16);
        let mut taken = Vec::new();
        for at in 0..16 {
            assert_eq!(slots.has_room(0), at <= 14, "{at} taken");
            assert_eq!(slots.has_room(1), at <= 13, "{at} taken");
            taken.push(slots.take().await.unwrap());
        }
        let failure = slots.take().await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Local, "{}", failure.message);
        taken.truncate(14);
        assert!(slots.has_room(0) && slots.take().await.is_ok());
    }
}
