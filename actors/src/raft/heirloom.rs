//! The ledger a node kept while it ran alone, and how a raft begins with it.
//!
//! A raft begins with the ledger of at most one of its nodes; which one is written into its first
//! entry. Until that node has handed it in, nothing else is agreed upon. What is in a raft already
//! is never replaced, so it is carried over once or not at all.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::ledger::LedgerState;
use tokio::sync::watch;
use tokio::time::sleep;

use super::leadership::Leadership;
use super::members::{Members, Standing};
use super::network::chain;
use crate::strand;

/// The pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// What became of the ledger a node kept alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarriedOver {
    /// There was none, or it waits.
    No,
    /// The raft went on from it: nobody needs it any more.
    Yes,
}

/// Why nothing is agreed upon yet, if that is so.
pub(super) fn awaited(members: &Members, state: &LedgerState) -> Option<String> {
    let (_, name) = members.heir().filter(|_| state.index == 0)?;
    Some(format!(
        "what {name} kept while it ran alone is not carried over yet: start it, or go on without \
         (raft-remove-peer)"
    ))
}

/// A node that may have kept a ledger.
pub(super) struct Newcomer {
    pub(super) members: Arc<Members>,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) state: watch::Receiver<Arc<LedgerState>>,
}

impl Newcomer {
    /// Hands the ledger in, if there is one, once this node takes part. Must be called on raft's
    /// runtime.
    pub(super) fn bring(self, ledger: Option<Arc<LedgerState>>) -> watch::Receiver<CarriedOver> {
        let (told, carried_over) = watch::channel(CarriedOver::No);
        if let Some(ledger) = ledger.filter(|it| it.index > 0) {
            strand::spawn(self.hand_in(ledger, told));
        }
        carried_over
    }

    async fn hand_in(mut self, ledger: Arc<LedgerState>, told: watch::Sender<CarriedOver>) {
        let commands = ledger.index;
        if self.standing.wait_for(|it| *it == Standing::Member).await.is_err() {
            return;
        }
        let mut said = String::new();
        loop {
            if self.members.heir().is_none_or(|(id, _)| id != self.members.id()) {
                tracing::warn!(
                    commands,
                    "the ledger this node kept while it ran alone is not carried over: the raft \
                     it came to has one"
                );
                return;
            }
            if self.state.borrow().index > 0 {
                tracing::info!(commands, "the raft goes on from what this node kept alone");
                told.send_replace(CarriedOver::Yes);
                return;
            }
            let now = self.leadership.borrow().clone();
            if let Some((id, name)) = now.leader_id.zip(now.leader)
                && let leader = self.members.address(id, &name)
                && let Err(error) = self.members.hand_in(&leader, &ledger).await
            {
                let error = chain(&error);
                if error != said {
                    tracing::warn!(leader, error, "the ledger is not carried over yet");
                    said = error;
                }
            }
            sleep(PAUSE).await;
        }
    }
}
