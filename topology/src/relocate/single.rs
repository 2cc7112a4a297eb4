//! Plans that move one replica.

use super::choose::{
    Means, View, by_gtid_is_possible, change, errant_note, may_relocate, means, unit,
};
use super::plan::{Plan, Step, Unit};
use super::rules::{
    How, can_move, can_move_by_gtid, can_replicate_from, is_gtid_compatible, uses_gtid,
};
use super::{Refused, Script};
use crate::action::{Action, Place, Threads};
use crate::cluster::Member;
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::status::is_replica;

pub(super) fn relocate(
    view: View<'_>,
    replica: &InstanceKey,
    below: &InstanceKey,
) -> Result<Plan, Refused> {
    let (member, target) = (view.member(replica)?, view.member(below)?);
    let means = means(view, member, target)?;
    Ok(moved("relocate-below", view, member, target, means))
}

pub(super) fn move_by_gtid(
    view: View<'_>,
    replica: &InstanceKey,
    below: &InstanceKey,
) -> Result<Plan, Refused> {
    let (member, target) = (view.member(replica)?, view.member(below)?);
    may_relocate(view, member, target)?;
    let (ours, theirs) = (&member.instance.facts, &target.instance.facts);
    if !is_gtid_compatible(ours, theirs) && !could_use_gtid(member, target) {
        return Err(Refused(format!(
            "Instances {replica}, {below} not GTID compatible or not using GTID"
        )));
    }
    by_gtid_is_possible(view, member, target)?;
    Ok(moved("move-below-gtid", view, member, target, Means::Gtid))
}

/// Whether a replica that goes by file and position could go by GTID.
pub(super) fn could_use_gtid(replica: &Member, source: &Member) -> bool {
    let (ours, theirs) = (&replica.instance.facts, &source.instance.facts);
    is_replica(&replica.instance)
        && !uses_gtid(ours)
        && ((ours.gtid.mode == "ON" && theirs.gtid.mode == "ON")
            || (ours.version.is_mariadb() && theirs.version.is_mariadb()))
}

pub(super) fn move_up(view: View<'_>, replica: &InstanceKey) -> Result<Plan, Refused> {
    let (member, source) = view.replica(replica)?;
    let source = view.member(source)?;
    if !is_replica(&source.instance) {
        return Err(Refused(format!("master is not a replica itself: {}", source.key())));
    }
    let (_, above) = view.replica(source.key())?;
    if above == replica {
        return Err(Refused(format!("{replica} and {} are co-masters", source.key())));
    }
    let above = view.member(above)?;
    can_replicate_from(&member.instance, &above.instance, view.policy(), How::Any)?;
    let means = if is_gtid_compatible(&member.instance.facts, &above.instance.facts) {
        by_gtid_is_possible(view, member, above)?;
        Means::Gtid
    } else {
        can_move(&member.instance, view.policy())?;
        can_move_by_gtid(&source.instance)?;
        Means::MoveUp
    };
    Ok(moved("move-up", view, member, above, means))
}

pub(super) fn move_equivalent(
    view: View<'_>,
    replica: &InstanceKey,
    below: &InstanceKey,
) -> Result<Plan, Refused> {
    let (member, source) = view.replica(replica)?;
    let target = view.member(below)?;
    may_relocate(view, member, target)?;
    can_move_by_gtid(&member.instance)?;
    can_replicate_from(&member.instance, &target.instance, view.policy(), How::Any)?;
    if view.equivalent(member, below).is_none() {
        let at = member.instance.facts.main_channel().map(|channel| channel.executed.to_string());
        return Err(Refused(format!(
            "No equivalent coordinates found for {replica} replicating from {source} at {}",
            at.unwrap_or_default()
        )));
    }
    Ok(moved("move-equivalent", view, member, target, Means::Equivalent))
}

pub(super) fn move_below(
    view: View<'_>,
    replica: &InstanceKey,
    sibling: &InstanceKey,
) -> Result<Plan, Refused> {
    let (member, source) = view.replica(replica)?;
    let (other, other_source) = view.replica(sibling)?;
    if source != other_source || replica == sibling {
        return Err(Refused(format!("instances are not siblings: {replica}, {sibling}")));
    }
    can_replicate_from(&member.instance, &other.instance, view.policy(), How::Any)?;
    may_relocate(view, member, other)?;
    let means = if is_gtid_compatible(&member.instance.facts, &other.instance.facts) {
        by_gtid_is_possible(view, member, other)?;
        Means::Gtid
    } else {
        can_move(&member.instance, view.policy())?;
        can_move(&other.instance, view.policy())?;
        Means::MoveBelow
    };
    Ok(moved("move-below", view, member, other, means))
}

/// The plan that moves a replica, once it is known how.
fn moved(
    kind: &'static str,
    view: View<'_>,
    replica: &Member,
    below: &Member,
    means: Means,
) -> Plan {
    let (key, below_key) = (replica.key(), below.key());
    let unit = unit(view, replica, below, means);
    let mut plan = Plan::about(kind, key);
    plan.locked = unit.restarts.iter().cloned().collect();
    plan.message = match kind {
        "relocate-below" => format!("Instance {key} relocated below {below_key}"),
        "move-equivalent" => {
            format!("Instance {key} relocated via equivalence coordinates below {below_key}")
        }
        "move-up" => format!("Instance {key} moved up"),
        "move-below-gtid" => format!("Instance {key} moved below {below_key} via GTID"),
        _ => format!("Instance {key} moved below {below_key}"),
    };
    if means == Means::Gtid {
        plan.notes.extend(errant_note(replica, below_key));
    }
    plan.units.push(unit);
    plan
}

pub(super) fn repoint(
    view: View<'_>,
    replica: &InstanceKey,
    below: Option<&InstanceKey>,
) -> Result<Plan, Refused> {
    let (member, source) = view.replica(replica)?;
    let below = below.unwrap_or(source);
    if below == replica {
        return Err(Refused(format!("repoint: cannot repoint {replica} below itself")));
    }
    can_move_by_gtid(&member.instance)?;
    // The next source may be dead, or not known at all; if it is known, it has to make sense.
    if let Ok(target) = view.member(below) {
        may_relocate(view, member, target)?;
        if target.instance.is_valid() {
            can_replicate_from(&member.instance, &target.instance, view.policy(), How::Any)?;
        }
    }
    let mut plan = Plan::about("repoint", replica);
    plan.locked.insert(replica.clone());
    plan.units.push(change(view, member, below, Place::Same));
    plan.message = format!("Instance {replica} repointed below {below}");
    if below != source && !uses_gtid(&member.instance.facts) {
        plan.notes
            .push(format!("{replica} goes on at the same coordinates, in the log of {below}"));
    }
    Ok(plan)
}

pub(super) fn take_source(view: View<'_>, replica: &InstanceKey) -> Result<Plan, Refused> {
    let (member, source) = view.replica(replica)?;
    let source = view.member(source)?;
    let source_key = source.key();
    if source.is_co_primary {
        return Err(Refused(format!("{source_key} is co-master. Cannot take it.")));
    }
    let (_, above) = view.replica(source_key)?;
    can_move_by_gtid(&member.instance)?;
    can_move_by_gtid(&source.instance)?;
    can_replicate_from(&source.instance, &member.instance, view.policy(), How::Any)?;
    let is_known = view.instance(above).is_ok_and(Instance::is_valid);
    let both_use_gtid = is_gtid_compatible(&member.instance.facts, &source.instance.facts)
        && is_gtid_compatible(&source.instance.facts, &member.instance.facts);
    let script = if both_use_gtid {
        by_gtid_is_possible(view, source, member)?;
        Script::TakeSourceByGtid {
            replica: replica.clone(),
            source: source_key.clone(),
            above: above.clone(),
            at_most: view.policy().moves.catch_up,
        }
    } else {
        Script::TakeSource {
            replica: replica.clone(),
            source: source_key.clone(),
            above: above.clone(),
        }
    };
    let mut plan = Plan::about("take-master", replica);
    let restarts = vec![replica.clone(), source_key.clone()];
    plan.locked = restarts.iter().cloned().collect();
    plan.notes.extend(errant_note(member, above));
    plan.units.push(Unit {
        subject: replica.clone(),
        script,
        restarts,
        is_source_dead: !is_known,
        way_back: None,
    });
    plan.message = format!("{replica} took its master {source_key}");
    Ok(plan)
}

pub(super) fn make_co_primary(view: View<'_>, replica: &InstanceKey) -> Result<Plan, Refused> {
    let (member, source) = view.replica(replica)?;
    let source = view.member(source)?;
    let source_key = source.key();
    if source.source.as_ref() == Some(replica) {
        return Err(Refused(format!("instance {replica} is already co master of {source_key}")));
    }
    can_move(&member.instance, view.policy())?;
    can_move_by_gtid(&source.instance)?;
    if !member.instance.facts.read_only {
        return Err(Refused(format!(
            "instance {replica} is not read-only; first make it read-only before making it co-master"
        )));
    }
    may_follow(view, source)?;
    can_replicate_from(&source.instance, &member.instance, view.policy(), How::Any)?;
    let by_gtid = uses_gtid(&member.instance.facts)
        && (source.instance.facts.version.is_mariadb() || source.instance.facts.gtid.mode == "ON");
    let script = if by_gtid {
        can_replicate_from(&source.instance, &member.instance, view.policy(), How::Gtid)?;
        let mut steps = Vec::new();
        if source.instance.facts.main_channel().is_some() {
            steps.push(Step::new(source_key, Action::Stop(Threads::Both)));
        }
        let action = Action::ChangeSource { to: replica.clone(), place: Place::Gtid };
        steps.push(Step::new(source_key, action));
        Script::Steps(steps)
    } else {
        Script::Follow { follower: source_key.clone(), leader: replica.clone() }
    };
    let mut plan = Plan::about("make-co-master", replica);
    plan.locked = [replica.clone(), source_key.clone()].into();
    plan.notes.extend(errant_note(member, source_key));
    let restarts = vec![source_key.clone()];
    plan.units.push(Unit {
        subject: replica.clone(),
        script,
        restarts,
        is_source_dead: false,
        way_back: None,
    });
    plan.message = format!("Instance made co-master: {replica}");
    Ok(plan)
}

/// A source gets a co-primary only if it follows nobody, or one that can be left.
fn may_follow(view: View<'_>, source: &Member) -> Result<(), Refused> {
    let key = source.key();
    let Some(current) = &source.source else { return Ok(()) };
    if !source.is_co_primary {
        return Err(Refused(format!(
            "master {key} already has a master: {current}; it cannot get a co-master"
        )));
    }
    match view.instance(current) {
        Ok(other) if other.is_valid() && !other.facts.read_only => Err(Refused(format!(
            "master {key} already has a co-master: {current}, and it is writable"
        ))),
        _ => Ok(()),
    }
}
