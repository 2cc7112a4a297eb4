//! What is made to stand still before anything is weighed, and what is started again when nothing comes
//! of it.

use std::collections::BTreeSet;

use crate::action::{Action, Switch, Threads};
use crate::applied::{loses_relay_log_when_started, may_lose_relay_log};
use crate::cluster::Member;
use crate::gtid::Gtids;
use crate::instance::{Facts, Instance, ThreadState};
use crate::key::InstanceKey;

use super::super::candidate::Situation;
use super::super::machine::{Outcome, Ran};
use super::super::{Acknowledging, Chain, Kind, Need, Recovery, Stage};
use super::{follow, members, semi_sync, wait_again};

/// What is stopped before anything is weighed: receivers of all replicas, so that a primary that
/// still lives gets no acknowledgement for what nobody will have, and the primary itself.
pub fn freeze(recovery: &Recovery, situation: &Situation<'_>) -> Stage {
    let fence = Chain {
        on: recovery.failed().clone(),
        actions: vec![Action::SetReadOnly, Action::KillClients],
        need: Need::Should,
    };
    let mut chains = vec![fence];
    match recovery.kind {
        Kind::Primary | Kind::CoPrimary => {
            let replicas = members(recovery, situation);
            let reachable = replicas.iter().filter(|member| member.instance.is_valid());
            let stopping = reachable.filter_map(|member| {
                let actions = stop_receiving(member)?;
                Some(Chain { on: member.key().clone(), actions, need: Need::Should })
            });
            chains.extend(stopping);
        }
        Kind::Takeover => {}
        Kind::IntermediateSource
        | Kind::GroupMember
        | Kind::ReadOnlyPrimary
        | Kind::Rejoin
        | Kind::Regroup
        | Kind::SemiSync => chains.clear(),
    }
    Stage { chains }
}

/// The replicas that were not told to stop receiving, though they could be: they did not answer
/// before, or the order did not reach them.
pub fn untold(
    recovery: &Recovery,
    ran: &[Ran],
    situation: &Situation<'_>,
) -> BTreeSet<InstanceKey> {
    let is_untold = |member: &&Member| {
        let Some(actions) = stop_receiving(member) else { return false };
        match ran.iter().find(|it| it.on == *member.key()).map(|it| &it.outcome) {
            Some(Outcome::NoAnswer { at, .. }) => at + 1 < actions.len(),
            Some(Outcome::Untold { .. }) | None => true,
            Some(Outcome::Done | Outcome::Refused { .. } | Outcome::Unconnected { .. }) => false,
        }
    };
    let members = members(recovery, situation);
    members.into_iter().filter(is_untold).map(|it| it.key().clone()).collect()
}

/// How a replica is kept from receiving any more. MariaDB throws away what it has not applied once
/// both threads stand still, so there the applier runs first; whose applier cannot, is let be.
fn stop_receiving(member: &Member) -> Option<Vec<Action>> {
    let facts = &member.instance.facts;
    let stop = Action::Stop(Threads::Receiver);
    let channel = facts.main_channel().filter(|it| it.applier != ThreadState::Running);
    let Some(channel) = channel.filter(|_| may_lose_relay_log(facts)) else {
        return Some(vec![stop]);
    };
    let may_start = channel.receiver != ThreadState::Stopped && channel.applier_error.number == 0;
    may_start.then(|| vec![Action::Start(Threads::Applier), stop])
}

/// Starts again what a recovery that did not open anything has stopped (I9), and nothing else: an
/// applier that stands still failed, or was stopped by somebody.
pub fn roll_back(recovery: &Recovery, situation: &Situation<'_>) -> Stage {
    let failed = recovery.failed();
    let back = |member: &&Member| {
        let start = start_again(member, recovery);
        let actions: Vec<Action> = if member.instance.facts.source() == Some(failed) {
            start.into_iter().collect()
        } else {
            let is_start = |it: &Action| matches!(it, Action::Start(_));
            follow(failed).into_iter().filter(|it| !is_start(it)).chain(start).collect()
        };
        let actions: Vec<Action> =
            actions.into_iter().chain(wait_again(member.key(), recovery)).collect();
        let is_touched = !actions.is_empty();
        is_touched.then(|| Chain { on: member.key().clone(), actions, need: Need::Should })
    };
    let may_start = |member: &&Member| {
        was_touched(member, recovery) && !is_left_alone(member, recovery, situation)
    };
    let mut chains = Vec::new();
    match recovery.kind {
        Kind::Primary | Kind::CoPrimary | Kind::Takeover => {
            // Nobody took its place: who accepted writes before this does so again. A primary that was
            // closed before, or is dead, is not opened by us.
            let reopened = match recovery.kind {
                Kind::Takeover => Some(Need::Must),
                _ => recovery.closed.then_some(Need::Should),
            };
            chains.extend(reopened.map(|need| Chain {
                on: failed.clone(),
                actions: reopen_old(recovery),
                need,
            }));
            let members = members(recovery, situation);
            // Only who was told to forget its source has none and had one.
            let had_source = |it: &&&Member| {
                let chosen = recovery.plan.as_ref().map(|plan| &plan.successor);
                it.instance.facts.main_channel().is_some()
                    || chosen == Some(it.key())
                    || recovery.tried.contains(it.key())
            };
            let touched = members.iter().filter(|it| may_start(it));
            chains.extend(touched.filter(had_source).filter_map(back));
        }
        Kind::SemiSync => return semi_sync::roll_back(recovery),
        Kind::IntermediateSource
        | Kind::GroupMember
        | Kind::ReadOnlyPrimary
        | Kind::Rejoin
        | Kind::Regroup => {}
    }
    Stage { chains }
}

/// Whom a rollback leaves as it stands, because starting anything would make it throw away what it
/// has not applied, and its source is not there to send that again.
pub fn left_alone(recovery: &Recovery, situation: &Situation<'_>) -> Vec<InstanceKey> {
    if !matches!(recovery.kind, Kind::Primary | Kind::CoPrimary | Kind::Takeover) {
        return Vec::new();
    }
    let members = members(recovery, situation);
    let left = members.iter().filter(|it| is_left_alone(it, recovery, situation));
    left.map(|it| it.key().clone()).collect()
}

fn is_left_alone(member: &Member, recovery: &Recovery, situation: &Situation<'_>) -> bool {
    let facts = &member.instance.facts;
    let failed = situation.cluster.member(recovery.failed());
    let source = situation.returned.or(failed.map(|it| &*it.instance));
    facts.source() == Some(recovery.failed()) && would_lose(facts, source)
}

/// Whether a replica would throw away what it has not applied if it was started, and its source
/// could not give it that again.
pub(in crate::recovery) fn would_lose(facts: &Facts, source: Option<&Instance>) -> bool {
    let has_it = |source: &Instance| {
        let received = facts.main_channel().map(|channel| &channel.received);
        source.is_valid()
            && matches!(received, Some(Gtids::MariaDb(it)) if source.facts.gtid.logged.contains(it))
    };
    loses_relay_log_when_started(facts) && !source.is_some_and(has_it)
}

/// Starts those threads of a replica that ran before (I9), but for an applier that failed since.
pub(in crate::recovery) fn start_again(member: &Member, recovery: &Recovery) -> Option<Action> {
    let channel = member.instance.facts.main_channel();
    let has_failed = channel
        .is_some_and(|it| it.applier == ThreadState::Stopped && it.applier_error.number != 0);
    let threads = match (recovery.start_again(member.key())?, has_failed) {
        (Threads::Applier, true) => return None,
        (Threads::Both, true) => Threads::Receiver,
        (threads, _) => threads,
    };
    Some(Action::Start(threads))
}

/// Who has not answered since the recovery began was not changed by it; and if what is known of it
/// is that it follows somebody else, that is none of our business.
fn was_touched(member: &Member, recovery: &Recovery) -> bool {
    member.instance.facts.source() == Some(recovery.failed())
        || member.instance.health.facts_from >= Some(recovery.begun_at)
}

/// Closing it may have switched off that it waits for acknowledgements.
fn reopen_old(recovery: &Recovery) -> Vec<Action> {
    let waited = recovery.acknowledging != Acknowledging::Off;
    let acknowledge = waited.then_some(Action::SetSemiSyncSource(Switch::On));
    acknowledge.into_iter().chain([Action::SetWritable]).collect()
}
