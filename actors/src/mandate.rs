//! The leave to change servers: that this node leads, in one term, proven and proven again.
//!
//! Whoever changes servers holds a mandate, asks it before each action, and stops where it stands
//! once the mandate is over: the next leader finds what is under way in the ledger (I2). A mandate
//! never comes back; a node that leads again obtains another one.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::ledger::Command;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::ports::{Applied, Ledger, ProposeError, deadline};

/// A proof that was asked for so long ago is no proof any more. Nobody else is elected within twice
/// this time after a majority confirmed a leader.
const FRESH_FOR: Duration = Duration::from_millis(500);

/// The leave to change servers. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Mandate {
    ledger: Arc<dyn Ledger>,
    term: u64,
    /// When the newest proof was asked for; `None` once there was none to be had.
    proof: Arc<watch::Sender<Option<Instant>>>,
}

impl Mandate {
    /// Proves that this node leads.
    pub(crate) async fn obtain(ledger: &Arc<dyn Ledger>) -> Result<Self, ProposeError> {
        let asked_at = Instant::now();
        let term = ledger.lead().await?;
        // The hint comes a moment after the fact, and ends the mandate when it says otherwise.
        let mut leading = ledger.leading();
        let hinted = leading.wait_for(|hint| *hint == Some(term));
        if !matches!(timeout(deadline::PROVE, hinted).await, Ok(Ok(_))) {
            return Err(is_over(term));
        }
        let proof = Arc::new(watch::Sender::new(Some(asked_at)));
        Ok(Self { ledger: Arc::clone(ledger), term, proof })
    }

    /// The term it is for.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// Has the ledger agree, in this term.
    pub(crate) async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        if self.proof.borrow().is_none() {
            return Err(self.is_over());
        }
        let done = self.ledger.propose_in(self.term, command).await;
        if matches!(done, Err(ProposeError::NotLeading(_))) {
            self.proof.send_replace(None);
        }
        done
    }

    /// Proves anew that this node leads in this term.
    pub(crate) async fn prove(&self) -> Result<(), ProposeError> {
        if self.proof.borrow().is_none() {
            return Err(self.is_over());
        }
        let asked_at = Instant::now();
        let proven = match self.ledger.lead().await {
            Ok(term) if term == self.term => Ok(()),
            Ok(_) => Err(self.is_over()),
            Err(error) => Err(error),
        };
        let proof = proven.is_ok().then_some(asked_at);
        // Of two that prove at the same time, the one that failed is right.
        self.proof.send_modify(|known| *known = known.and(proof));
        proven
    }

    /// As [`Mandate::prove`], where the newest proof is not fresh.
    pub(crate) async fn check(&self) -> Result<(), ProposeError> {
        let proof = *self.proof.borrow();
        match proof {
            Some(asked_at) if asked_at.elapsed() < FRESH_FOR => Ok(()),
            _ => self.prove().await,
        }
    }

    /// Returns once the mandate is over, as far as this node can tell without asking anybody.
    pub(crate) async fn lost(&self) -> ProposeError {
        let mut proof = self.proof.subscribe();
        let mut leading = self.ledger.leading();
        tokio::select! {
            biased;
            // What cannot change any more does not end a mandate.
            Ok(_) = proof.wait_for(Option::is_none) => {}
            Ok(_) = leading.wait_for(|term| *term != Some(self.term)) => {}
        }
        self.proof.send_replace(None);
        self.is_over()
    }

    fn is_over(&self) -> ProposeError {
        is_over(self.term)
    }
}

fn is_over(term: u64) -> ProposeError {
    ProposeError::NotLeading(format!("this node does not lead in term {term} any more"))
}

#[cfg(test)]
pub(crate) mod tests;
