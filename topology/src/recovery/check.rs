//! Whether a plan keeps the invariants. Written without looking at how plans are made, so that a
//! mistake there is caught here.

use std::collections::BTreeSet;

use crate::action::{Action, Switch, Threads};
use crate::applied::may_lose_relay_log;
use crate::instance::ThreadState;
use crate::key::InstanceKey;
use crate::membership::Membership;

use super::candidate::Situation;
use super::{Chain, Kind, Need, Plan, Recovery, Refused, Stage};

/// Checks a plan.
///
/// # Errors
/// With every invariant that the plan would break.
pub fn check(plan: &Plan, recovery: &Recovery, situation: &Situation<'_>) -> Result<(), Refused> {
    let mut broken = Vec::new();
    broken.extend(opens_one(plan, recovery));
    broken.extend(promotes_a_replica(plan, recovery, situation));
    broken.extend(applies_first(plan, recovery));
    broken.extend(moves_make_sense(plan, recovery));
    broken.extend(leaves_nobody_stopped(plan, recovery, situation));
    broken.extend(touches_only_members(plan, situation));
    broken.extend(keeps_relay_logs(&super::plan::freeze(recovery, situation), situation));
    broken.extend(keeps_relay_logs_when_prepared(plan, situation));
    if recovery.kind == Kind::SemiSync {
        broken.extend(only_switches(plan, recovery));
        broken.extend(leaves_enough(plan, recovery, situation));
    }
    if broken.is_empty() { Ok(()) } else { Err(Refused(broken)) }
}

fn stages(plan: &Plan) -> impl Iterator<Item = &Stage> {
    plan.prepare.iter().chain([&plan.open, &plan.gather])
}

fn chains(plan: &Plan) -> impl Iterator<Item = &Chain> {
    stages(plan).flat_map(|stage| &stage.chains)
}

/// I6: nobody but the successor becomes writable, and only when it is its turn.
fn opens_one(plan: &Plan, recovery: &Recovery) -> Vec<String> {
    let mut broken = Vec::new();
    let opens = |chain: &Chain| chain.actions.contains(&Action::SetWritable);
    for chain in chains(plan).filter(|chain| opens(chain)) {
        if chain.on != plan.successor {
            broken.push(format!("I6: {} would be opened beside the successor", chain.on));
        }
    }
    let early = plan.prepare.iter().chain([&plan.gather]);
    if early.flat_map(|stage| &stage.chains).any(opens) {
        broken.push("I6: something would be opened out of turn".to_owned());
    }
    if !recovery.kind.opens() && !plan.open.chains.is_empty() {
        broken.push("I6: something would be opened where nothing has to be".to_owned());
    }
    if recovery.kind.promotes() && plan.successor == *recovery.failed() {
        broken.push(format!("I6: {} would succeed itself", plan.successor));
    }
    if plan.open.chains.len() > 1 || plan.open.chains.iter().any(|it| it.need != Need::Must) {
        broken.push("I6: opening is one thing on one server that must succeed".to_owned());
    }
    let last = plan.open.chains.iter().filter_map(|chain| chain.actions.last());
    if last.into_iter().any(|action| *action != Action::SetWritable) {
        broken.push("I6: a server would be changed after it was opened".to_owned());
    }
    broken
}

/// Nobody succeeds who was never listed as a replica, unless a person named it.
fn promotes_a_replica(
    plan: &Plan,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Option<String> {
    let is_named = recovery.wanted.as_ref() == Some(&plan.successor);
    let successor = situation.cluster.member(&plan.successor)?;
    let is_listed = successor.membership != Membership::Unlisted;
    (recovery.kind.promotes() && !is_named && !is_listed)
        .then(|| format!("{} was never listed as a replica by its source", plan.successor))
}

/// I4: whoever is opened has applied everything before, and that must have succeeded.
fn applies_first(plan: &Plan, recovery: &Recovery) -> Vec<String> {
    if !recovery.kind.promotes() || plan.open.chains.is_empty() {
        return Vec::new();
    }
    let own = plan.prepare.iter().flat_map(|stage| &stage.chains);
    let own: Vec<&Chain> = own.filter(|chain| chain.on == plan.successor).collect();
    let waits = |chain: &&Chain| {
        let is_wait = |action: &Action| matches!(action, Action::WaitExecuted { .. });
        chain.need == Need::Must && chain.actions.iter().any(is_wait)
    };
    // Whatever it is made to receive it has to apply too.
    let last_receives = own.iter().rposition(|chain| {
        chain.actions.iter().any(|it| matches!(it, Action::ChangeSource { .. }))
    });
    let last_waits = own.iter().rposition(waits);
    if last_waits.is_some() && last_waits >= last_receives {
        return Vec::new();
    }
    vec![format!("I4: {} would be opened before it has applied everything", plan.successor)]
}

/// Nobody follows itself, what failed, or somebody who is given up.
fn moves_make_sense(plan: &Plan, recovery: &Recovery) -> Vec<String> {
    let mut broken = Vec::new();
    let given_up: BTreeSet<&InstanceKey> = plan.lost.iter().map(|lost| &lost.key).collect();
    for chain in chains(plan) {
        for action in &chain.actions {
            let Action::ChangeSource { to, .. } = action else { continue };
            if *to == chain.on {
                broken.push(format!("{to} would follow itself"));
            }
            if to == recovery.failed() {
                broken.push(format!("{} would follow {to}, which failed", chain.on));
            }
            if given_up.contains(to) {
                broken.push(format!("{} would follow {to}, which is given up", chain.on));
            }
        }
    }
    for chain in &plan.gather.chains {
        let follows =
            |it: &Action| matches!(it, Action::ChangeSource { to, .. } if *to != plan.successor);
        if chain.actions.iter().any(follows) {
            broken.push(format!("{} would end below somebody else", chain.on));
        }
        let moves = |it: &Action| matches!(it, Action::ChangeSource { .. });
        let is_closed = plan.open.chains.is_empty() && !chain.actions.iter().any(moves);
        let only_forgets = chain.actions == [Action::ForgetSource];
        if chain.on == plan.successor && !is_closed && !only_forgets {
            broken.push("the successor would be moved after it was opened".to_owned());
        }
    }
    broken
}

/// I9: whoever was stopped gets a place, or is known to be given up.
fn leaves_nobody_stopped(
    plan: &Plan,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Vec<String> {
    let frozen = super::plan::freeze(recovery, situation);
    let stopped = frozen.chains.iter().filter(|chain| {
        chain.actions.iter().any(|it| matches!(it, Action::Stop(Threads::Receiver | Threads::Both)))
    });
    let has_place = |key: &InstanceKey| {
        *key == plan.successor
            || plan.gather.chains.iter().any(|chain| chain.on == *key)
            || plan.lost.iter().any(|lost| lost.key == *key)
    };
    let left = stopped.filter(|chain| !has_place(&chain.on));
    left.map(|chain| format!("I9: {} would stay stopped", chain.on)).collect()
}

/// The same of all that is prepared: whoever had to apply everything in a stage has nothing to lose
/// in the next one.
fn keeps_relay_logs_when_prepared(plan: &Plan, situation: &Situation<'_>) -> Vec<String> {
    let mut applied: BTreeSet<&InstanceKey> = BTreeSet::new();
    let mut broken = Vec::new();
    let waits = |chain: &&Chain| {
        let is_wait = |it: &Action| matches!(it, Action::WaitExecuted { .. });
        chain.need == Need::Must && chain.actions.iter().any(is_wait)
    };
    for stage in &plan.prepare {
        let mut left = stage.clone();
        left.chains.retain(|it| !applied.contains(&it.on));
        broken.extend(keeps_relay_logs(&left, situation));
        applied.extend(stage.chains.iter().filter(waits).map(|it| &it.on));
    }
    broken
}

/// MariaDB throws away what is received and not applied when a thread is started while none runs:
/// nobody comes to that on the way to an open server, or back.
pub(super) fn keeps_relay_logs(stage: &Stage, situation: &Situation<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for chain in &stage.chains {
        let Some(member) = situation.cluster.member(&chain.on) else { continue };
        let Some(channel) = member.instance.facts.main_channel() else { continue };
        if !may_lose_relay_log(&member.instance.facts) {
            continue;
        }
        let runs = |thread| !matches!(thread, ThreadState::Stopped | ThreadState::Absent);
        let (mut receives, mut applies) = (runs(channel.receiver), runs(channel.applier));
        for action in &chain.actions {
            match action {
                // From here on all of it is applied, or nothing more is done.
                Action::WaitExecuted { .. } => break,
                Action::Start(_) | Action::ChangeSource { .. } if !receives && !applies => {
                    broken.push(format!("I4: {} would throw away its relay log", chain.on));
                    break;
                }
                Action::Start(threads) => {
                    receives |= *threads != Threads::Applier;
                    applies |= *threads != Threads::Receiver;
                }
                Action::Stop(threads) => {
                    receives &= *threads == Threads::Applier;
                    applies &= *threads == Threads::Receiver;
                    if !receives && !applies {
                        broken.push(format!("I4: both threads of {} would stand still", chain.on));
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    broken
}

fn touches_only_members(plan: &Plan, situation: &Situation<'_>) -> Vec<String> {
    let named = chains(plan).map(|chain| &chain.on).chain([&plan.successor]);
    let strangers: BTreeSet<&InstanceKey> =
        named.filter(|key| situation.cluster.member(key).is_none()).collect();
    strangers.into_iter().map(|key| format!("{key} is not in the cluster")).collect()
}

/// Who acknowledges is all that changes, and whoever connects anew for that is connected (I9).
fn only_switches(plan: &Plan, recovery: &Recovery) -> Vec<String> {
    let mut broken = Vec::new();
    if plan.successor != *recovery.failed() {
        broken.push(format!("I6: {} would succeed a primary that is there", plan.successor));
    }
    for chain in chains(plan) {
        if chain.on == *recovery.failed() && chain.actions == [Action::WriteNothing] {
            continue;
        }
        if !recovery.replicas.contains(&chain.on) {
            broken.push(format!("{} is no replica of {}", chain.on, recovery.failed()));
        }
        let mut is_stopped = false;
        for action in &chain.actions {
            match action {
                Action::Stop(Threads::Receiver) => is_stopped = true,
                Action::Start(Threads::Receiver) => is_stopped = false,
                Action::SetSemiSyncReplica(_) | Action::SetSemiSyncSource(Switch::Off) => {}
                other => broken.push(format!("{} would be told {other:?}", chain.on)),
            }
        }
        if is_stopped {
            broken.push(format!("I9: {} would stay stopped", chain.on));
        }
    }
    broken
}

/// No replica is taken from a primary that waits for it. What one stage switches on counts from the
/// next one: within a stage nothing comes first.
fn leaves_enough(plan: &Plan, recovery: &Recovery, situation: &Situation<'_>) -> Option<String> {
    let of =
        |key: &InstanceKey| situation.cluster.member(key).map(|it| &it.instance.facts.semi_sync);
    let primary = of(recovery.failed())?;
    let switched = |stage: &Stage, to: Switch| {
        let chains = stage.chains.iter().filter(|chain| {
            let is_on = of(&chain.on).is_some_and(|it| it.replica_active);
            is_on == (to == Switch::Off) && chain.actions.contains(&Action::SetSemiSyncReplica(to))
        });
        u32::try_from(chains.count()).unwrap_or(u32::MAX)
    };
    let mut acknowledging = primary.source_clients;
    for stage in stages(plan) {
        let off = switched(stage, Switch::Off);
        let left = acknowledging.saturating_sub(off);
        if off > 0 && left < primary.wait_for_replicas {
            return Some(format!(
                "{} would wait for {} acknowledgements and {left} replicas would give one",
                recovery.failed(),
                primary.wait_for_replicas
            ));
        }
        acknowledging = left.saturating_add(switched(stage, Switch::On));
    }
    None
}
