//! Whether a plan keeps the invariants. Written without looking at how plans are made, so that a
//! mistake there is caught here.

use std::collections::BTreeSet;

use crate::action::{Action, Threads};
use crate::key::InstanceKey;

use super::candidate::Situation;
use super::{Chain, Need, Plan, Recovery, Refused, Stage};

/// Checks a plan.
///
/// # Errors
/// With every invariant that the plan would break.
pub fn check(plan: &Plan, recovery: &Recovery, situation: &Situation<'_>) -> Result<(), Refused> {
    let mut broken = Vec::new();
    broken.extend(opens_one(plan, recovery));
    broken.extend(applies_first(plan, recovery));
    broken.extend(moves_make_sense(plan, recovery));
    broken.extend(leaves_nobody_stopped(plan, recovery, situation));
    broken.extend(touches_only_members(plan, situation));
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
        if chain.on == plan.successor {
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

fn touches_only_members(plan: &Plan, situation: &Situation<'_>) -> Vec<String> {
    let named = chains(plan).map(|chain| &chain.on).chain([&plan.successor]);
    let strangers: BTreeSet<&InstanceKey> =
        named.filter(|key| situation.cluster.member(key).is_none()).collect();
    strangers.into_iter().map(|key| format!("{key} is not in the cluster")).collect()
}
