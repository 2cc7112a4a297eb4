//! Answers peers in the name of this node.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::ledger::LedgerState;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::leadership::Leadership;
use super::members::{Caller, Members, Newcomer};
use super::network::chain;
use super::propose;
use super::server::Reception;
use super::types::Envelope;
use crate::strand;

/// For so long a leader that was just elected may be unsure; whoever asked asks again.
const UNSURE_FOR: Duration = Duration::from_millis(250);

/// Answers peers.
pub(super) struct Receptionist {
    pub(super) members: Arc<Members>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) runtime: Handle,
}

impl Reception for Receptionist {
    fn hello(&self, caller: Caller) -> BoxFuture<'static, serde_json::Value> {
        let members = Arc::clone(&self.members);
        members.is_asked_by(caller);
        let now = self.leadership.borrow().clone();
        let hello = async move { members.about(&now).await };
        hello.map(|hello| serde_json::to_value(hello).unwrap_or_default()).boxed()
    }

    fn carry_over(&self, ledger: LedgerState) -> BoxFuture<'static, Result<(), String>> {
        let raft = self.members.raft().clone();
        async move {
            let envelope = Envelope::of_ledger(Arc::new(ledger));
            let agreed = propose::commit(&raft, None, envelope, UNSURE_FOR).await;
            agreed.map(|_| ()).map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn join(&self, newcomer: Newcomer) -> BoxFuture<'static, Result<(), String>> {
        let members = Arc::clone(&self.members);
        // To its end, even if whoever asked waits no more.
        let added = strand::spawn_on(&self.runtime, async move {
            members.join(&newcomer).await.map_err(|error| chain(&error))
        });
        added.map(|added| added.unwrap_or_else(|error| Err(error.to_string()))).boxed()
    }
}
