//! Who leads, as far as this node can tell. A hint for people and load balancers, never permission.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, ServerState};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::types::Raft;

/// What one node is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads, and a majority confirmed that within the last lease.
    Leader,
    /// It hears of a leader.
    Follower,
    /// It hears of no leader, or leads without a majority.
    Candidate,
    /// It gets everything and has no vote; or has not joined yet.
    Learner,
    /// It takes no part any more.
    Stopped,
}

/// Who leads, as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// What this node is.
    pub role: Role,
    /// The newest term it knows.
    pub term: u64,
    /// The seat of the leader, while this node hears of one.
    pub leader: Option<String>,
}

impl Leadership {
    pub(super) const UNKNOWN: Self = Self { role: Role::Learner, term: 0, leader: None };
}

/// When this node last heard of a leader it follows. openraft keeps naming a leader that is long
/// gone until somebody else is elected.
#[derive(Debug, Clone)]
pub(super) struct Heard(Arc<watch::Sender<Option<Instant>>>);

impl Heard {
    pub(super) fn never() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    pub(super) fn now(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    fn within(&self, lease: Duration) -> bool {
        self.0.borrow().is_some_and(|at| at.elapsed() <= lease)
    }
}

/// Publishes changes until raft ends.
pub(super) async fn publish(
    raft: Raft,
    heard: Heard,
    heartbeat: Duration,
    lease: Duration,
    leadership: watch::Sender<Leadership>,
) {
    let mut metrics = raft.server_metrics();
    let mut heard_again = heard.0.subscribe();
    // Silence is no event.
    let mut tick = interval(heartbeat);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = look(&raft, &heard, lease);
        let has_ended = now.role == Role::Stopped;
        leadership.send_if_modified(|before| {
            let is_news = *before != now;
            if is_news {
                tracing::info!(role = ?now.role, term = now.term, leader = now.leader, "raft");
                *before = now;
            }
            is_news
        });
        if has_ended {
            return;
        }
        tokio::select! {
            changed = metrics.changed() => {
                if changed.is_err() {
                    leadership.send_modify(|it| {
                        it.role = Role::Stopped;
                        it.leader = None;
                    });
                    return;
                }
            }
            _ = heard_again.changed() => {}
            _ = tick.tick() => {}
        }
    }
}

fn look(raft: &Raft, heard: &Heard, lease: Duration) -> Leadership {
    // Cloned at once: holding it holds raft up.
    let metrics = raft.metrics().borrow_watched().clone();
    let leader_name = || {
        let leader = metrics.current_leader?;
        metrics.membership_config.membership().get_node(&leader).map(|node| node.name.clone())
    };
    let is_confirmed = || metrics.last_quorum_acked.is_some_and(|at| at.elapsed() <= lease);
    let (role, leader) = match metrics.state {
        _ if metrics.running_state.is_err() => (Role::Stopped, None),
        ServerState::Shutdown => (Role::Stopped, None),
        ServerState::Leader if is_confirmed() => (Role::Leader, leader_name()),
        ServerState::Leader | ServerState::Candidate => (Role::Candidate, None),
        ServerState::Follower if heard.within(lease) && metrics.current_leader.is_some() => {
            (Role::Follower, leader_name())
        }
        ServerState::Follower => (Role::Candidate, None),
        ServerState::Learner if heard.within(lease) => (Role::Learner, leader_name()),
        ServerState::Learner => (Role::Learner, None),
    };
    Leadership { role, term: metrics.current_term, leader }
}
