//! What becomes of everybody else once somebody succeeded.

use crate::action::{Action, Threads};
use crate::cluster::Member;
use crate::key::InstanceKey;

use super::super::candidate::Situation;
use super::super::{Chain, Kind, Lost, Need, Recovery, Stage};
use super::{bring, forgets_later, move_below, threads_of, wait_again};

/// Followers get the successor as their source; who cannot come along is given up.
pub(super) fn gather(
    successor: &InstanceKey,
    followers: &[&Member],
    reachable: &[&Member],
    (lost, ahead): (&[Lost], &[&Member]),
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Stage {
    let chain = |on: &InstanceKey, actions| Chain { on: on.clone(), actions, need: Need::Should };
    let follow = followers.iter().map(|member| {
        // What it received and the successor lacks is given up: applied, it would be errant for good.
        let mut actions = match ahead.iter().any(|it| it.key() == member.key()) {
            true => move_below(successor, threads_of(member, recovery)),
            false => bring(member, successor, recovery),
        };
        actions.extend(wait_again(member.key(), recovery));
        chain(member.key(), actions)
    });
    let is_reachable = |key: &InstanceKey| reachable.iter().any(|member| member.key() == key);
    let give_up = lost.iter().filter(|it| is_reachable(&it.key)).map(|it| {
        let mut actions = if situation.policy.recovery.detach_lost {
            vec![Action::Stop(Threads::Both), Action::Detach]
        } else {
            vec![Action::Start(Threads::Receiver)]
        };
        actions.extend(wait_again(&it.key, recovery));
        chain(&it.key, actions)
    });
    let own = own_source(successor, recovery, situation).map(|actions| chain(successor, actions));
    Stage { chains: follow.chain(give_up).chain(own).collect() }
}

/// A successor that is not opened keeps its source, to which it connects again (I9), or it is kept
/// from that should the old primary come back.
fn own_source(
    successor: &InstanceKey,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Option<Vec<Action>> {
    let policy = &situation.policy.recovery;
    if policy.apply_promotion {
        let member = situation.cluster.member(successor)?;
        return forgets_later(member, recovery).then(|| vec![Action::ForgetSource]);
    }
    let mut actions = if policy.detach_promoted && recovery.kind == Kind::Primary {
        vec![Action::Stop(Threads::Both), Action::Detach]
    } else {
        vec![Action::Start(Threads::Receiver)]
    };
    actions.extend(wait_again(successor, recovery));
    Some(actions)
}

/// Parts a stage into what is done at once, and what is done after that: replicas that are kept
/// far behind on purpose wait until everybody else has a place.
pub fn in_turns(stage: &Stage, situation: &Situation<'_>) -> [Stage; 2] {
    let is_postponed = |chain: &Chain| {
        let limit = situation.policy.recovery.postpone_on_delay;
        let member = situation.cluster.member(&chain.on);
        let channel = member.and_then(|it| it.instance.facts.main_channel());
        let delay = channel.map_or(0, |it| u64::from(it.delay_seconds));
        limit.is_some_and(|limit| delay > limit.as_secs())
    };
    let (last, first) = stage.chains.iter().cloned().partition(is_postponed);
    [Stage { chains: first }, Stage { chains: last }]
}
