//! Plans that move several replicas.

use super::choose::{Means, View, change, errant_note, means, running, unit};
use super::plan::{Plan, Step};
use super::rules::{How, can_move, can_move_by_gtid, can_replicate_from, is_gtid_compatible};
use super::single::could_use_gtid;
use super::{Only, Refused};
use crate::action::{Action, Place, Threads};
use crate::cluster::Member;
use crate::gtid::{Gtids, Relation};
use crate::instance::PromotionRule;
use crate::key::InstanceKey;

pub(super) fn relocate_replicas(
    view: View<'_>,
    of: &InstanceKey,
    below: &InstanceKey,
    only: Option<&Only>,
    how: How,
) -> Result<Plan, Refused> {
    if of == below {
        return repoint(view, of, only);
    }
    let (source, target) = (view.member(of)?, view.member(below)?);
    let kind = match how {
        How::Any => "relocate-replicas",
        How::Gtid => "move-replicas-gtid",
    };
    let mut plan = Plan::about(kind, of);
    plan.shown = below.clone();
    plan.parallel = view.policy().moves.parallel;
    for replica in matching(view.replicas(source), only) {
        if replica.key() == below {
            continue;
        }
        if view.is_descendant(below, replica.key()) {
            return Err(Refused(format!("{kind}: {below} is a descendant of {}", replica.key())));
        }
        match means_by(view, replica, target, how) {
            Ok(means) => add(&mut plan, view, replica, target, means),
            Err(why) => plan.left_out.push((replica.key().clone(), why)),
        }
    }
    if plan.units.is_empty() && !plan.left_out.is_empty() {
        return Err(nobody_moves(&plan, below));
    }
    Ok(plan)
}

fn means_by(view: View<'_>, replica: &Member, target: &Member, how: How) -> Result<Means, Refused> {
    let (ours, theirs) = (&replica.instance.facts, &target.instance.facts);
    if how == How::Gtid && !is_gtid_compatible(ours, theirs) {
        if could_use_gtid(replica, target) {
            super::choose::by_gtid_is_possible(view, replica, target)?;
            return Ok(Means::Gtid);
        }
        let (key, below) = (replica.key(), target.key());
        return Err(Refused(format!(
            "Instances {key}, {below} not GTID compatible or not using GTID"
        )));
    }
    means(view, replica, target)
}

fn nobody_moves(plan: &Plan, below: &InstanceKey) -> Refused {
    let reasons: Vec<String> = plan.left_out.iter().map(|(_, why)| why.to_string()).collect();
    Refused(format!(
        "Relocating {} replicas of {} below {below} turns to be too complex; please do it \
         manually. Additional Errors: {}",
        reasons.len(),
        plan.about,
        reasons.join("; ")
    ))
}

fn add(plan: &mut Plan, view: View<'_>, replica: &Member, target: &Member, means: Means) {
    let unit = unit(view, replica, target, means);
    if unit.restarts.len() > 1 {
        // Units that stop the same server would disturb one another.
        plan.parallel = 1;
    }
    plan.locked.extend(unit.restarts.iter().cloned());
    if means == Means::Gtid {
        plan.notes.extend(errant_note(replica, target.key()));
    }
    plan.units.push(unit);
}

fn matching<'a>(replicas: Vec<&'a Member>, only: Option<&Only>) -> Vec<&'a Member> {
    let is_meant = |it: &&Member| only.is_none_or(|only| only.is_match(it.key()));
    replicas.into_iter().filter(is_meant).collect()
}

pub(super) fn repoint(
    view: View<'_>,
    of: &InstanceKey,
    only: Option<&Only>,
) -> Result<Plan, Refused> {
    let source = view.member(of)?;
    let mut plan = Plan::about("repoint-replicas", of);
    plan.parallel = view.policy().moves.parallel;
    for replica in matching(view.replicas(source), only) {
        match can_move_by_gtid(&replica.instance) {
            Ok(()) => {
                plan.locked.insert(replica.key().clone());
                plan.units.push(change(view, replica, of, Place::Same));
            }
            Err(why) => plan.left_out.push((replica.key().clone(), why)),
        }
    }
    Ok(plan)
}

pub(super) fn take_siblings(view: View<'_>, replica: &InstanceKey) -> Result<Plan, Refused> {
    let (_, source) = view.replica(replica)?;
    let plan = relocate_replicas(view, source, replica, None, How::Any)?;
    Ok(Plan { kind: "take-siblings", about: replica.clone(), shown: replica.clone(), ..plan })
}

pub(super) fn move_up(
    view: View<'_>,
    of: &InstanceKey,
    only: Option<&Only>,
) -> Result<Plan, Refused> {
    let (source, above) = view.replica(of)?;
    let above = view.member(above)?;
    let mut plan = Plan::about("move-up-replicas", of);
    plan.shown = above.key().clone();
    plan.parallel = view.policy().moves.parallel;
    let mut is_source_stopped = false;
    for replica in matching(view.replicas(source), only) {
        if replica.key() == above.key() {
            continue;
        }
        let means = match up_by(view, replica, source, above) {
            Ok(means) => means,
            Err(why) => {
                plan.left_out.push((replica.key().clone(), why));
                continue;
            }
        };
        let mut unit = unit(view, replica, above, means);
        if means == Means::MoveUp {
            // The source stands still for all of them; no single one starts it again.
            is_source_stopped = true;
            unit.restarts.retain(|key| key != of);
        } else {
            plan.notes.extend(errant_note(replica, above.key()));
        }
        plan.locked.insert(replica.key().clone());
        plan.units.push(unit);
    }
    if is_source_stopped {
        plan.before.push(Step::new(of, Action::Stop(Threads::Both)));
        plan.restarts.extend(running(view, of));
        plan.locked.insert(of.clone());
    }
    if plan.units.is_empty() && !plan.left_out.is_empty() {
        return Err(nobody_moves(&plan, above.key()));
    }
    Ok(plan)
}

fn up_by(
    view: View<'_>,
    replica: &Member,
    source: &Member,
    above: &Member,
) -> Result<Means, Refused> {
    can_replicate_from(&replica.instance, &above.instance, view.policy(), How::Any)?;
    if is_gtid_compatible(&replica.instance.facts, &above.instance.facts) {
        super::choose::by_gtid_is_possible(view, replica, above)?;
        return Ok(Means::Gtid);
    }
    can_move(&replica.instance, view.policy())?;
    can_move_by_gtid(&source.instance)?;
    Ok(Means::MoveUp)
}

pub(super) fn regroup(view: View<'_>, of: &InstanceKey) -> Result<Plan, Refused> {
    let source = view.member(of)?;
    let replicas = view.replicas(source);
    let (valid, lost): (Vec<&Member>, Vec<&Member>) =
        replicas.into_iter().partition(|replica| replica.instance.is_valid());
    if valid.is_empty() {
        return Err(Refused(format!("No replicas found for {of}")));
    }
    if let Some(other) = valid.iter().find(|it| !super::rules::uses_gtid(&it.instance.facts)) {
        return Err(Refused(format!(
            "No solution path found for {of}: {} does not use GTID, and replicas are regrouped by \
             GTID only",
            other.key()
        )));
    }
    let chosen = choose(view, source, &valid)?;
    let mut plan = Plan::about("regroup-replicas", of);
    plan.shown = chosen.key().clone();
    plan.parallel = view.policy().moves.parallel;
    for replica in valid.iter().filter(|it| it.key() != chosen.key()) {
        match means(view, replica, chosen) {
            Ok(means) => add(&mut plan, view, replica, chosen, means),
            Err(why) => plan.left_out.push((replica.key().clone(), why)),
        }
    }
    let is_dead = |replica: &&Member| Refused(format!("{}: last check invalid", replica.key()));
    plan.left_out.extend(lost.iter().map(|replica| (replica.key().clone(), is_dead(replica))));
    plan.message = format!(
        "promoted replica: {}, lost: {}, trivial: 0, pseudo-gtid: 0",
        chosen.key(),
        plan.left_out.len()
    );
    Ok(plan)
}

/// The replica that goes above the others: one that may, preferred ones first. While the source
/// lives, all replicas get everything from it; once it is dead, only one that has all that any of
/// them has will do (I3).
fn choose<'a>(
    view: View<'_>,
    source: &Member,
    replicas: &[&'a Member],
) -> Result<&'a Member, Refused> {
    let rule = |it: &Member| {
        let detected = it.instance.facts.promotion_rule;
        view.fleet.ledger.promotion_rule(it.key(), detected, view.fleet.at)
    };
    let stands = |it: &&&'a Member| {
        let others = replicas.iter().filter(|other| other.key() != it.key());
        let mut others = others.map(|other| {
            can_replicate_from(&other.instance, &it.instance, view.policy(), How::Any)
        });
        others.all(|can| can.is_ok()) && rule(it) != PromotionRule::MustNot
    };
    let has_all = |it: &&&'a Member| {
        source.instance.is_valid()
            || replicas.iter().all(|other| {
                let ours = &it.instance.facts.gtid.executed;
                let relation = ours.relation(&other.instance.facts.gtid.executed);
                matches!(relation, Some(Relation::Equal | Relation::Superset))
            })
    };
    let errant = |it: &Member| !it.errant.is_empty();
    let ahead = |it: &Member| match &it.instance.facts.gtid.executed {
        Gtids::MySql(set) => u64::MAX - set.count(),
        Gtids::MariaDb(_) | Gtids::None => 0,
    };
    let best = replicas
        .iter()
        .filter(stands)
        .filter(has_all)
        .min_by_key(|it| (errant(it), rule(it), ahead(it), it.key().clone()));
    best.copied().ok_or_else(|| {
        Refused(format!(
            "No replica of {} can be above the others: none may, or each lacks what another has",
            source.key()
        ))
    })
}
