//! The port through which people and programs reach discovery.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::crawl::{self, Standing};
use baton_topology::instance::Instance;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::LedgerState;
use baton_topology::names::HostNames;
use baton_topology::policy::Policy;
use baton_topology::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use super::{Discover, DiscoveryActor, ForgetNames};
use crate::clock::Clock;
use crate::ports::{DiscoverError, Discovery, SnapshotReader, deadline};
use crate::supervisor::Child;

/// An instance may say that it goes by another name, and that one by another, this often.
const HOPS_MAX: usize = 3;
/// How long a new look may take to become part of a snapshot.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);

/// Reaches the discovery actor by message.
#[derive(Clone)]
pub struct DiscoveryHandle {
    pub(crate) child: Child<DiscoveryActor>,
    pub(crate) snapshot: SnapshotReader,
    pub(crate) names: watch::Receiver<Arc<HostNames>>,
    pub(crate) policy: watch::Receiver<Arc<Policy>>,
    pub(crate) ledger: watch::Receiver<Arc<LedgerState>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl DiscoveryHandle {
    fn refusal(&self, key: &InstanceKey) -> Option<DiscoverError> {
        if crawl::is_outside(&self.policy.borrow(), key) {
            return Some(DiscoverError::Outside(key.clone()));
        }
        if crawl::is_ignored(&self.policy.borrow(), key) {
            return Some(DiscoverError::Ignored(key.clone()));
        }
        let is_forgotten = self.ledger.borrow().is_forgotten(key, self.clock.now());
        is_forgotten.then(|| DiscoverError::Forgotten(key.clone()))
    }

    async fn look(&self, given: InstanceKey) -> Result<Arc<Instance>, DiscoverError> {
        let asked_at = self.clock.now();
        let mut key = self.resolve(&given);
        for _ in 0..HOPS_MAX {
            if let Some(refusal) = self.refusal(&key) {
                return Err(refusal);
            }
            let (reply, answer) = oneshot::channel();
            let discover =
                Discover { key: key.clone(), standing: Standing::Hearsay, reply: Some(reply) };
            let busy = || DiscoverError::Busy(key.clone());
            self.child.try_send(discover).map_err(|_| busy())?;
            match answer.await {
                Err(_) => return Err(busy()),
                Ok(Err(failure)) => return Err(DiscoverError::Probe { key, failure }),
                Ok(Ok(canonical)) if canonical == key => {
                    return self.published(&key, asked_at).await;
                }
                Ok(Ok(canonical)) => key = canonical,
            }
        }
        Err(DiscoverError::Busy(given))
    }

    async fn published(
        &self,
        key: &InstanceKey,
        asked_at: Timestamp,
    ) -> Result<Arc<Instance>, DiscoverError> {
        let mut snapshot = self.snapshot.clone();
        let is_there = |instance: &&Arc<Instance>| {
            instance.health.last_attempt.is_some_and(|attempt| attempt >= asked_at)
        };
        let found = snapshot.wait_for(|it| it.instance(key).filter(is_there).is_some());
        match tokio::time::timeout(PUBLISH_DEADLINE, found).await {
            Ok(Ok(snapshot)) => snapshot.instance(key).cloned(),
            Ok(Err(_)) | Err(_) => None,
        }
        .ok_or_else(|| DiscoverError::Busy(key.clone()))
    }
}

impl Discovery for DiscoveryHandle {
    fn discover(&self, key: InstanceKey) -> BoxFuture<'_, Result<Arc<Instance>, DiscoverError>> {
        async move {
            let busy = DiscoverError::Busy(key.clone());
            tokio::time::timeout(deadline::DISCOVER, self.look(key)).await.unwrap_or(Err(busy))
        }
        .boxed()
    }

    fn discover_later(&self, key: InstanceKey) -> Result<(), DiscoverError> {
        if let Some(refusal) = self.refusal(&self.resolve(&key)) {
            return Err(refusal);
        }
        let discover = Discover { key: key.clone(), standing: Standing::Hearsay, reply: None };
        self.child.try_send(discover).map_err(|_| DiscoverError::Busy(key))
    }

    fn resolve(&self, key: &InstanceKey) -> InstanceKey {
        self.names.borrow().resolve(key)
    }

    fn resolutions(&self) -> Vec<(String, String)> {
        let names = self.names.borrow();
        names.iter().map(|(given, canonical)| (given.into(), canonical.into())).collect()
    }

    fn reset_resolutions(&self) {
        // A full queue keeps the names a little longer; the caller may ask again.
        let _ = self.child.try_send(ForgetNames);
    }
}
