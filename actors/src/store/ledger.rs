//! The ledger of a single node: applied here, durable in the local store.

use std::sync::Arc;

use baton_topology::ledger::{Command, LedgerState, Outcome, apply};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, oneshot, watch};

use super::StoreActor;
use super::history::ask;
use crate::ports::{Applied, Ledger, ProposeError, StoreHealth, deadline};
use crate::supervisor::Child;

/// Agrees with nobody but the disk.
#[derive(Clone)]
pub struct SoloLedger {
    inner: Arc<Inner>,
}

struct Inner {
    state: watch::Sender<Arc<LedgerState>>,
    /// One command at a time.
    turn: Mutex<()>,
    store: Child<StoreActor>,
    health: watch::Receiver<StoreHealth>,
    leading: watch::Sender<Option<u64>>,
}

/// A single node leads from beginning to end.
const TERM: u64 = 1;

impl SoloLedger {
    /// Goes on from `state`.
    pub fn new(
        state: LedgerState,
        store: Child<StoreActor>,
        health: watch::Receiver<StoreHealth>,
    ) -> Self {
        let state = watch::Sender::new(Arc::new(state));
        let leading = watch::Sender::new(Some(TERM));
        let inner = Inner { state, turn: Mutex::new(()), store, health, leading };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    async fn commit(&self, command: Command) -> Result<Applied, ProposeError> {
        let _turn = self.turn.lock().await;
        if let StoreHealth::Degraded { reason } = &*self.health.borrow() {
            return Err(ProposeError::Unavailable(reason.clone()));
        }
        let before = self.state.borrow().clone();
        let (after, Outcome { keys }) = apply(&before, &command)
            .map_err(|refusal| ProposeError::Refused(refusal.to_string()))?;
        let after = Arc::new(after);
        let durable = Arc::clone(&after);
        ask(&self.store, move |backend| backend.append(&command, &durable))
            .await
            .map_err(|error| ProposeError::Unavailable(error.to_string()))?;
        self.state.send_replace(Arc::clone(&after));
        Ok(Applied { index: after.index, keys, state: after })
    }
}

impl Ledger for SoloLedger {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        let (reply, answer) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        // Goes on should the caller stop waiting: what became durable must be published too.
        tokio::spawn(async move {
            let _ = reply.send(inner.commit(command).await);
        });
        async move {
            match tokio::time::timeout(deadline::PROPOSE, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) | Err(_) => Err(ProposeError::Timeout),
            }
        }
        .boxed()
    }

    fn lead(&self) -> BoxFuture<'_, Result<u64, ProposeError>> {
        std::future::ready(Ok(TERM)).boxed()
    }

    fn propose_in(
        &self,
        _term: u64,
        command: Command,
    ) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        self.propose(command)
    }

    fn leading(&self) -> watch::Receiver<Option<u64>> {
        self.inner.leading.subscribe()
    }

    fn state(&self) -> watch::Receiver<Arc<LedgerState>> {
        self.inner.state.subscribe()
    }
}
