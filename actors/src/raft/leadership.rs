//! Who leads, as far as this node can tell. A hint for people and load balancers, never permission.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, ServerState};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::setup::Timing;
use super::types::Raft;
use super::wakes::Wakes;

/// Who answered none of so many heartbeats is not asked to take over while somebody else can.
const HEARTBEATS_MISSED_MAX: u32 = 3;

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
    /// The number of the leader: its name may change.
    pub leader_id: Option<u64>,
}

impl Leadership {
    pub(super) const UNKNOWN: Self =
        Self { role: Role::Learner, term: 0, leader: None, leader_id: None };
}

/// When this node last heard of a leader it follows. openraft keeps naming a leader that is long
/// gone until somebody else is elected.
#[derive(Debug, Clone)]
pub(super) struct Heard(Arc<watch::Sender<Option<Instant>>>);

/// What tells who leads, whenever that is asked.
#[derive(Clone)]
pub(super) struct Lookout {
    pub(super) raft: Raft,
    pub(super) heard: Heard,
    /// How long a leader may rely on what a majority confirmed.
    pub(super) lease: Duration,
    pub(super) wakes: Wakes,
}

impl Heard {
    pub(super) fn never() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    pub(super) fn now(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    fn at(&self) -> Option<Instant> {
        *self.0.borrow()
    }
}

/// Publishes changes until raft ends.
pub(super) async fn publish(
    lookout: Lookout,
    timing: Timing,
    leadership: watch::Sender<Leadership>,
) {
    // Not those of the server alone: that a majority confirmed it is no change of those.
    let mut metrics = lookout.raft.metrics();
    let mut heard_again = lookout.heard.0.subscribe();
    // Silence is no event.
    let mut tick = interval(timing.heartbeat);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = lookout.look();
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
            biased;
            changed = metrics.changed() => {
                if changed.is_err() {
                    leadership.send_modify(|it| {
                        it.role = Role::Stopped;
                        it.leader = None;
                        it.leader_id = None;
                    });
                    return;
                }
            }
            _ = heard_again.changed() => {}
            _ = tick.tick() => {}
        }
    }
}

/// Publishes the term in which this node leads, while it does.
pub(super) async fn note_terms(
    mut leadership: watch::Receiver<Leadership>,
    terms: watch::Sender<Option<u64>>,
) {
    loop {
        let term = {
            let now = leadership.borrow_and_update();
            (now.role == Role::Leader).then_some(now.term)
        };
        terms.send_if_modified(|before| std::mem::replace(before, term) != term);
        if leadership.changed().await.is_err() {
            terms.send_replace(None);
            return;
        }
    }
}

impl Lookout {
    /// Who leads at this moment. What was published may be from before this process was stopped,
    /// or its machine was asleep: whoever tells others has to look again.
    pub(super) fn look(&self) -> Leadership {
        // Cloned at once: holding it holds raft up.
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let awake_for = self.wakes.newest().map(|woken| woken.elapsed());
        let counts = |ago: &Duration| awake_for.is_none_or(|awake| *ago < awake);
        let heard = self.heard.at().map(|at| at.elapsed()).filter(counts);
        let role = role(&Signs {
            state: if metrics.running_state.is_ok() {
                metrics.state
            } else {
                ServerState::Shutdown
            },
            voters: membership.voter_ids().count(),
            confirmed: metrics.last_quorum_acked.map(|at| at.elapsed()).filter(counts),
            heard: heard.filter(|_| metrics.current_leader.is_some()),
            lease: self.lease,
        });
        let is_known = match role {
            Role::Leader | Role::Follower => true,
            Role::Learner => heard.is_some_and(|ago| ago <= self.lease),
            Role::Candidate | Role::Stopped => false,
        };
        let leader = metrics.current_leader.filter(|_| is_known);
        let found = leader.and_then(|id| Some((id, membership.get_node(&id)?.name.clone())));
        let (leader_id, leader) = found.unzip();
        Leadership { role, term: metrics.current_term, leader, leader_id }
    }
}

/// What tells the role of a node.
struct Signs {
    /// What openraft calls it.
    state: ServerState,
    voters: usize,
    /// How long ago a majority confirmed that it leads.
    confirmed: Option<Duration>,
    /// How long ago it heard of a leader.
    heard: Option<Duration>,
    lease: Duration,
}

fn role(signs: &Signs) -> Role {
    let is_fresh = |ago: Option<Duration>| ago.is_some_and(|ago| ago <= signs.lease);
    match signs.state {
        ServerState::Shutdown => Role::Stopped,
        // It is the majority, and asks nobody.
        ServerState::Leader if signs.voters <= 1 => Role::Leader,
        ServerState::Leader if is_fresh(signs.confirmed) => Role::Leader,
        ServerState::Follower if is_fresh(signs.heard) => Role::Follower,
        ServerState::Leader | ServerState::Follower | ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
    }
}

/// How welcome a node is as the next leader: one that answered within the last few heartbeats goes
/// before one that may be dead, and then whoever has most of the log.
pub(super) fn welcome<T>(heard: Option<Duration>, heartbeat: Duration, has: T) -> (bool, T) {
    (heard.is_some_and(|ago| ago <= heartbeat.saturating_mul(HEARTBEATS_MISSED_MAX)), has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_answers_takes_over_before_whoever_has_more() {
        let beat = Duration::from_millis(250);
        let heard = |millis| Some(Duration::from_millis(millis));
        for (case, best, other) in [
            ("it has more", (heard(0), 9), (heard(0), 8)),
            ("the other one may be dead, and has as much", (heard(750), 9), (heard(751), 9)),
            ("the other one may be dead, though it had more", (heard(10), 8), (heard(751), 9)),
            ("the other one never answered", (heard(10), 8), (None, 9)),
            ("nobody answers", (None, 9), (None, 8)),
        ] {
            let rank = |(heard, has)| welcome(heard, beat, has);
            assert!(rank(best) > rank(other), "case: {case}");
        }
    }

    #[test]
    fn a_role_ends_with_the_lease() {
        let lease = Duration::from_secs(2);
        let (fresh, stale) = (Some(lease), Some(lease + Duration::from_millis(1)));
        let signs =
            |state, voters, confirmed, heard| Signs { state, voters, confirmed, heard, lease };
        use ServerState::{Candidate, Follower, Leader, Learner, Shutdown};
        for (case, signs, expected) in [
            ("confirmed by a majority", signs(Leader, 3, fresh, None), Role::Leader),
            ("cut off", signs(Leader, 3, stale, None), Role::Candidate),
            ("not confirmed yet", signs(Leader, 3, None, None), Role::Candidate),
            ("alone", signs(Leader, 1, stale, None), Role::Leader),
            ("hears a leader", signs(Follower, 3, None, fresh), Role::Follower),
            ("hears nobody any more", signs(Follower, 3, None, stale), Role::Candidate),
            ("never heard anybody", signs(Follower, 3, None, None), Role::Candidate),
            ("stands for election", signs(Candidate, 3, fresh, fresh), Role::Candidate),
            ("has no vote", signs(Learner, 3, None, fresh), Role::Learner),
            ("has ended", signs(Shutdown, 1, fresh, fresh), Role::Stopped),
        ] {
            assert_eq!(role(&signs), expected, "case: {case}");
        }
    }
}
