//! How a primary hands over in peace: siblings move first, so that the pause is short.

use crate::action::{Action, Place, Threads, Until};
use crate::applied::may_lose_relay_log;
use crate::cluster::Member;
use crate::gtid::Gtids;
use crate::instance::{Channel, Positioning, ThreadState};
use crate::key::InstanceKey;

use super::super::candidate::{Common, Objection, Situation, objections, rank};
use super::super::holding::{everything, holdings, turned_away};
use super::super::{Cause, Chain, Loss, Need, Phase, Plan, Recovery, Refused, Stage};
use super::account::no_account;
use super::acknowledgers::{kept_back, may_acknowledge_to, too_few};
use super::shut_out::why_silent;
use super::{
    acknowledge_no_more, bring, disabled_events, events_go_on, imports_left, lost, members,
    obstacle, open, prepared_xa,
};

/// Who takes over, and the siblings' way below: all of them must get there.
///
/// # Errors
/// When there is nobody to take over, or siblings could not follow.
pub fn arrange(
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Result<(InstanceKey, Stage), Refused> {
    let designated = designated(recovery, situation)?;
    follows_back(recovery, designated)?;
    let replicas = members(recovery, situation);
    let old = situation.cluster.member(recovery.failed());
    let all = holdings(&replicas, old, &everything_of_old(recovery, situation));
    let stays = kept_back(&replicas, designated, recovery);
    let mut stage = Stage::default();
    for member in replicas.iter().filter(|it| it.key() != designated.key()) {
        // Whoever is in downtime may be left behind.
        let is_excused = situation.ledger.downtime_of(member.key(), situation.now).is_some();
        let why = if member.instance.is_valid() {
            obstacle(member, &all, designated.key(), situation)
        } else {
            Some("it does not answer".to_owned())
        };
        if member.instance.facts.source() == Some(designated.key()) {
            continue;
        }
        match why {
            // It acknowledges until the old primary is closed, and is moved after that.
            None if stays.contains(member.key()) => {}
            None => stage.chains.push(Chain {
                on: member.key().clone(),
                actions: move_applied(member, designated.key(), recovery, situation),
                need: if is_excused { Need::Should } else { Need::Must },
            }),
            Some(_) if is_excused => {}
            Some(why) => {
                return Err(Refused::because(format!(
                    "Desginated instance {} cannot take over all of its siblings. Error: {}: {why}",
                    designated.key(),
                    member.key()
                )));
            }
        }
    }
    Ok((designated.key().clone(), stage))
}

/// A sibling that would throw away what it has not applied applies it first: the old primary may die
/// before anybody else has it.
fn move_applied(
    member: &Member,
    below: &InstanceKey,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Vec<Action> {
    let facts = &member.instance.facts;
    let channel = facts.main_channel().filter(|it| it.applier == ThreadState::Running);
    let until = channel.filter(|_| may_lose_relay_log(facts)).map(|it| it.received.clone());
    let at_most = situation.policy.reasonable_maintenance_lag;
    let wait = until.map(|it| Action::WaitExecuted { until: Until::Gtids(it), at_most });
    wait.into_iter().chain(bring(member, below, recovery)).collect()
}

/// The old primary has to find its place below the new one.
fn follows_back(recovery: &Recovery, designated: &Member) -> Result<(), Refused> {
    let (old, new) = (recovery.failed(), designated.key());
    let channel = designated.instance.facts.main_channel();
    if channel.is_none_or(|it| it.positioning != Positioning::File) {
        return Ok(());
    }
    Err(Refused::because(format!(
        "{new} finds its place by file and position, and so {old} could not follow it afterwards: \
         use GTID (enable-gtid), or force-master-takeover"
    )))
}

fn everything_of_old(recovery: &Recovery, situation: &Situation<'_>) -> Gtids {
    situation.cluster.member(recovery.failed()).map(everything).unwrap_or_default()
}

/// Who takes over: the one that was named, else the best.
fn designated<'a>(recovery: &Recovery, situation: &Situation<'a>) -> Result<&'a Member, Refused> {
    let replicas = members(recovery, situation);
    let valid: Vec<&Member> =
        replicas.iter().copied().filter(|member| member.instance.is_valid()).collect();
    let old = situation.cluster.member(recovery.failed());
    let all = holdings(&valid, old, &everything_of_old(recovery, situation));
    let common = Common::of(&valid);
    let mut eligible = Vec::new();
    let mut reasons = Vec::new();
    for (member, holding) in valid.iter().zip(&all) {
        if recovery.wanted.as_ref().is_some_and(|wanted| wanted != member.key()) {
            continue;
        }
        let found = objections(member, Some(holding), &common, recovery, situation);
        // What it has not applied yet it will be waited for.
        let found: Vec<String> = found
            .iter()
            .filter(|it| **it != Objection::NotApplied)
            .map(Objection::to_string)
            .collect();
        let lag = member.instance.facts.lag_seconds();
        let limit = situation.policy.reasonable_maintenance_lag.as_secs();
        if !found.is_empty() {
            reasons.push(format!("{} cannot be promoted: {}", member.key(), found.join(", ")));
        } else if stands_still(member) {
            reasons.push(format!("Desginated instance {} is not replicating", member.key()));
        } else if lag.is_none_or(|lag| lag > limit) {
            reasons.push(format!(
                "Desginated instance {} seems to be lagging too much for this operation. Aborting.",
                member.key()
            ));
        } else {
            eligible.push((rank(member, holding, &all, recovery, situation), *member));
        }
    }
    eligible.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some((_, best)) = eligible.first() {
        return Ok(best);
    }
    if reasons.is_empty() {
        reasons.push(format!("no replica of {} answers", recovery.failed()));
    }
    Err(Refused(reasons))
}

/// Whether waiting for it would be in vain, while nobody may write. What somebody stopped is not
/// started behind his back.
fn stands_still(member: &Member) -> bool {
    let channel = member.instance.facts.main_channel();
    channel.is_some_and(|it| [it.receiver, it.applier].contains(&ThreadState::Stopped))
}

/// Plans the takeover itself. The old primary stands still when this counts: what it has then is
/// what the successor must have.
pub(super) fn plan(recovery: &Recovery, situation: &Situation<'_>) -> Result<Plan, Refused> {
    let old = recovery.failed();
    let Some(primary) = situation.cluster.member(old) else {
        return Err(Refused::because(format!("{old} is not known")));
    };
    if !primary.instance.is_valid() {
        return Err(Refused::because(format!("{old} does not answer")));
    }
    let successor = designated(recovery, situation)?;
    let at_most = situation.policy.reasonable_maintenance_lag;
    let until = match everything(primary) {
        Gtids::None => Until::Source(primary.instance.facts.binlog.position.clone()),
        // Whatever it follows besides: what it wrote is in its log, and it is closed by now.
        Gtids::MariaDb(set) => {
            Until::Gtids(Gtids::MariaDb(set.union(&primary.instance.facts.gtid.logged)))
        }
        set => Until::Gtids(set),
    };
    let wait = Chain {
        on: successor.key().clone(),
        actions: vec![Action::WaitExecuted { until, at_most }],
        need: Need::Must,
    };
    let mut actions = acknowledge_no_more(primary);
    let stays_out = no_account(primary);
    if primary.source.as_ref() == Some(successor.key()) {
        // They stay co-primaries: each replicates from the other.
        let runs = primary.instance.facts.main_channel().is_some_and(Channel::is_running);
        if recovery.cause == Cause::TakeoverAuto && !runs {
            actions.push(Action::Start(Threads::Both));
        }
    } else if stays_out.is_none() {
        if primary.instance.facts.main_channel().is_some() {
            actions.push(Action::Stop(Threads::Both));
        }
        actions.push(Action::ChangeSource { to: successor.key().clone(), place: Place::Gtid });
        if recovery.cause == Cause::TakeoverAuto {
            actions.push(Action::Start(Threads::Both));
        }
    }
    let is_told = !actions.is_empty();
    let step_down = is_told.then(|| Chain { on: old.clone(), actions, need: Need::Should });
    let siblings = left_to_move(primary, successor, recovery, situation);
    let mut why = vec![format!("{} takes over from {old}", successor.key())];
    why.extend(imports_left(primary, successor.key()));
    why.extend(prepared_xa(primary, successor.key()));
    why.extend(disabled_events(successor).into_iter().chain(events_go_on(primary)));
    why.extend(turned_away(primary, successor));
    let silent = members(recovery, situation);
    let silent = silent.iter().filter(|member| !member.instance.is_valid());
    let silent = silent.map(|member| lost(member, &why_silent(member)));
    let mut plan = Plan {
        successor: successor.key().clone(),
        why,
        prepare: vec![Stage { chains: vec![wait] }],
        open: Stage {
            chains: open(successor.key(), None, recovery, situation).into_iter().collect(),
        },
        gather: Stage { chains: siblings.into_iter().chain(step_down).collect() },
        lost: stays_out.map(|why| lost(primary, &why)).into_iter().chain(silent).collect(),
        loss: Loss::default(),
    };
    plan.why.extend(too_few(&plan, situation));
    Ok(plan)
}

/// The ways of the siblings that went on acknowledging to the old primary until it was closed.
fn left_to_move(
    old: &Member,
    successor: &Member,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Vec<Chain> {
    let replicas = members(recovery, situation);
    let all = holdings(&replicas, Some(old), &everything(old));
    let stays = kept_back(&replicas, successor, recovery);
    // By now those that did not stay are gone; once it is closed, nobody may say that it acknowledges.
    let has_stayed = |it: &Member| match recovery.phase {
        Phase::Weighing => may_acknowledge_to(it, old.key()),
        _ => stays.contains(it.key()),
    };
    let left = replicas.iter().filter(|it| {
        it.key() != successor.key()
            && has_stayed(it)
            && obstacle(it, &all, successor.key(), situation).is_none()
    });
    let chain = |it: &&Member| Chain {
        on: it.key().clone(),
        actions: move_applied(it, successor.key(), recovery, situation),
        need: Need::Should,
    };
    left.map(chain).collect()
}
