//! The port through which people and programs reach the past.

use baton_topology::history::{
    AnalysisChange, AuditEntry, DetectionEntry, DetectionSelect, NewAuditEntry,
};
use baton_topology::key::InstanceKey;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{Backend, Question, Record, StoreActor, StoreError};
use crate::metrics::Metrics;
use crate::ports::{History, HistoryError, SnapshotReader, deadline};
use crate::supervisor::Child;

/// Asks the store by message.
#[derive(Clone)]
pub struct StoreHistory {
    pub(crate) store: Child<StoreActor>,
    pub(crate) snapshot: SnapshotReader,
    pub(crate) metrics: Metrics,
}

/// Has the backend do something and waits for the answer.
pub(crate) async fn ask<T: Send + 'static>(
    store: &Child<StoreActor>,
    question: impl FnOnce(&mut dyn Backend) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (reply, answer) = oneshot::channel();
    let question = Question(Box::new(move |backend| {
        let result = question(backend);
        let verdict = result.as_ref().map(|_| ()).map_err(Clone::clone);
        // Whoever asked may have stopped waiting.
        let _ = reply.send(result);
        verdict
    }));
    let gone = || StoreError("the store has no room for another question".into());
    store.try_send(question).map_err(|_| gone())?;
    answer.await.unwrap_or_else(|_| Err(StoreError("the store died over this question".into())))
}

impl StoreHistory {
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Backend) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, HistoryError>> {
        async move {
            match tokio::time::timeout(deadline::HISTORY, ask(&self.store, question)).await {
                Ok(answer) => answer.map_err(|error| HistoryError::Store(error.to_string())),
                Err(_) => Err(HistoryError::Timeout),
            }
        }
        .boxed()
    }
}

impl History for StoreHistory {
    fn audit(
        &self,
        of: Option<InstanceKey>,
        page: u32,
    ) -> BoxFuture<'_, Result<Vec<AuditEntry>, HistoryError>> {
        self.ask(move |backend| backend.audit(of.as_ref(), page))
    }

    fn detections(
        &self,
        select: DetectionSelect,
    ) -> BoxFuture<'_, Result<Vec<DetectionEntry>, HistoryError>> {
        self.ask(move |backend| backend.detections(&select))
    }

    fn analysis_changes(&self) -> BoxFuture<'_, Result<Vec<AnalysisChange>, HistoryError>> {
        self.ask(|backend| backend.analysis_changes())
    }

    fn snapshot_topologies(&self) -> BoxFuture<'_, Result<(), HistoryError>> {
        let fleet = self.snapshot.borrow().clone();
        self.ask(move |backend| backend.snapshot_topologies(&fleet))
    }

    fn record_audit(&self, entry: NewAuditEntry) {
        if self.store.try_send(Record::Audit(entry)).is_err() {
            self.metrics.dropped("audit", 1);
        }
    }
}
