//! What panics over one cluster leaves the recoveries of all others alone.
//!
//! A recovery that panicked is taken up again like one whose node died: most of what it did lies
//! behind it then. One that panics over the same thing again is not repeated for ever; it is taken
//! back, and where that panics too it ends, and a person has to look.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_topology::ledger::Command;
use baton_topology::recovery::{Recovery, Refused};
use futures_util::FutureExt;

use super::RecoveryWorld;
use super::run::{self, Entry};
use crate::mandate::Mandate;
use crate::ports::ProposeError;

/// A recovery that panicked so often is not gone on with by this node.
const BREAKS_MAX: u32 = 2;
/// Recoveries whose panics are remembered.
const REMEMBERED_MAX: usize = 100;

/// Does something; nothing if it panics. The panic itself is in the log.
pub(super) fn call<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The same of something that takes time.
pub(super) async fn contained<T>(work: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.ok()
}

/// Judges whether a recovery may begin; over what cannot be judged, none begins.
pub(super) fn judged(
    judge: impl FnOnce() -> Result<Recovery, Refused>,
) -> Result<Recovery, Refused> {
    let broken =
        || Err(Refused(vec!["it cannot be judged: a fault of baton's, see the log".into()]));
    call(judge).unwrap_or_else(broken)
}

/// How often each recovery panicked in this life of the actor.
#[derive(Clone, Default)]
pub(super) struct Breaks(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Breaks {
    /// Drives a recovery to its end, or ends it if it panicked too often.
    pub(super) fn drive(
        &self,
        world: RecoveryWorld,
        mandate: Mandate,
        recovery: Arc<Recovery>,
        entry: Entry,
    ) -> impl Future<Output = Result<Arc<Recovery>, ProposeError>> + use<> {
        let breaks = self.clone();
        async move {
            let id = recovery.id;
            let drive = run::drive(world.clone(), mandate.clone(), Arc::clone(&recovery), entry);
            if let Some(ended) = contained(drive).await {
                breaks.counts().remove(&id);
                return ended;
            }
            let times = breaks.note(id);
            tracing::error!(key = %recovery.failed(), id, times, "a recovery panicked");
            if times < BREAKS_MAX {
                let again = "it panicked, and is taken up again".to_owned();
                return Err(ProposeError::Unavailable(again));
            }
            breaks.end(&world, &mandate, id, times).await
        }
    }

    /// Has it taken back, or else a person look.
    async fn end(
        &self,
        world: &RecoveryWorld,
        mandate: &Mandate,
        id: u64,
        times: u32,
    ) -> Result<Arc<Recovery>, ProposeError> {
        let newest = world.ledger.state().borrow().recoveries.get(&id).cloned();
        let Some(newest) = newest else {
            return Err(ProposeError::Refused("it is gone".to_owned()));
        };
        let now = world.clock.now();
        if times == BREAKS_MAX
            && let Some(back) = newest.taken_back(now)
        {
            mandate.propose(Command::UpdateRecovery { recovery: Arc::new(back) }).await?;
            return Err(ProposeError::Unavailable("it panicked again, and is taken back".into()));
        }
        let ended = Arc::new(newest.broken_off(now));
        mandate.propose(Command::UpdateRecovery { recovery: Arc::clone(&ended) }).await?;
        self.counts().remove(&id);
        Ok(ended)
    }

    fn note(&self, id: u64) -> u32 {
        let mut counts = self.counts();
        if counts.len() >= REMEMBERED_MAX {
            counts.pop_first();
        }
        let times = counts.entry(id).or_default();
        *times += 1;
        *times
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<u64, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
