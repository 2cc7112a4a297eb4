//! The seat of this node in a raft: when it has to be given up, and what it hands over.

use std::sync::Arc;
use std::time::Duration;

use baton_actors::clock::Clock;
use baton_actors::ports::{PeerAnswer, PeerMessage, Peers, SnapshotReader, StoreHealth};
use baton_actors::raft::{RaftNode, Role, Standing};
use baton_topology::quorum::isolation;
use tokio::sync::watch;
use tokio::time::timeout;

/// A leader whose store is sick for so long lets somebody else lead.
const SICK_AT_MOST: Duration = Duration::from_secs(5);

/// A leader that lost sight of most of the servers for so long lets somebody lead who has not (I7).
const BLIND_AT_MOST: Duration = Duration::from_secs(3);
/// How often that is looked into.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long another node may take to say whether it can see.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// The seat.
pub(super) struct Seat {
    pub(super) node: RaftNode,
    pub(super) bail_out: Option<Duration>,
    pub(super) store: watch::Receiver<StoreHealth>,
    pub(super) fleet: SnapshotReader,
    pub(super) clock: Arc<dyn Clock>,
}

impl Seat {
    /// Returns why this node cannot go on, once it cannot.
    pub(super) async fn lost(&self) -> String {
        tokio::select! {
            why = self.ended() => why,
            why = self.outside() => why,
            why = self.storeless() => why,
            () = self.see() => std::future::pending().await,
        }
    }

    /// Sees to it that nobody leads who cannot see, while somebody else can. Never ends.
    async fn see(&self) {
        let mut blind_for = Duration::ZERO;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let leads = self.node.leadership().borrow().role == Role::Leader;
            let fleet = self.fleet.borrow().clone();
            let cut_off = isolation(&fleet, self.clock.now()).filter(|_| leads);
            blind_for = if cut_off.is_some() { blind_for + LOOK_EVERY } else { Duration::ZERO };
            if blind_for < BLIND_AT_MOST {
                continue;
            }
            blind_for = Duration::ZERO;
            for peer in self.node.others() {
                let message = PeerMessage::RollCall;
                let told = Peers::ask(&self.node, &peer, message, ANSWER_WITHIN).await;
                if !matches!(told, Ok(PeerAnswer::Here { cut_off: None, .. })) {
                    continue;
                }
                tracing::warn!(why = cut_off, peer, "somebody else is to lead");
                match self.node.hand_over(Some(&peer)).await {
                    Ok(()) => break,
                    Err(error) => tracing::warn!(%error, "it did not take over"),
                }
            }
        }
    }

    /// Lets somebody else lead, if this node does. Whether another node took over.
    pub(super) async fn hand_over(&self) -> bool {
        if self.node.leadership().borrow().role != Role::Leader {
            return false;
        }
        match self.node.hand_over(None).await {
            Ok(()) => tracing::info!("another node leads now"),
            Err(error) => {
                tracing::warn!(%error, "nobody took over");
                return false;
            }
        }
        true
    }

    async fn ended(&self) -> String {
        let mut failure = self.node.failure();
        let mut leadership = self.node.leadership();
        tokio::select! {
            why = failure.wait_for(Option::is_some) => {
                let why = why.ok().and_then(|why| why.clone());
                format!("raft failed on this node: {}", why.unwrap_or_default())
            }
            _ = leadership.wait_for(|it| it.role == Role::Stopped) => {
                "raft has ended on this node; see the log above".to_owned()
            }
        }
    }

    async fn outside(&self) -> String {
        let Some(at_most) = self.bail_out else { return std::future::pending().await };
        let mut standing = self.node.standing();
        loop {
            let is_member = |it: &Standing| *it == Standing::Member;
            if timeout(at_most, standing.wait_for(is_member)).await.is_err() {
                let why = match &*standing.borrow() {
                    Standing::Outside(why) => why.clone(),
                    Standing::Member => continue,
                };
                let seconds = at_most.as_secs();
                return format!(
                    "this node takes no part in the raft for {seconds} s (RaftBailOutSeconds): {why}"
                );
            }
            // Ended, then: that is told elsewhere.
            if standing.wait_for(|it| !is_member(it)).await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn storeless(&self) -> String {
        let mut health = self.store.clone();
        let is_well = |it: &StoreHealth| *it == StoreHealth::Healthy;
        let mut sick_for = Duration::ZERO;
        loop {
            if health.wait_for(|it| sick_for > Duration::ZERO || !is_well(it)).await.is_err() {
                return std::future::pending().await;
            }
            if timeout(SICK_AT_MOST, health.wait_for(is_well)).await.is_ok() {
                sick_for = Duration::ZERO;
                continue;
            }
            sick_for += SICK_AT_MOST;
            self.hand_over().await;
            if self.bail_out.is_some_and(|at_most| sick_for >= at_most) {
                let seconds = sick_for.as_secs();
                return format!(
                    "the store of this node cannot be written for {seconds} s (RaftBailOutSeconds)"
                );
            }
        }
    }
}
