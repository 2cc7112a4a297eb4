//! What a recovery would do: who succeeds, what they need first, and where everybody else goes.
//!
//! The same function previews a recovery from what probes saw and plans it from what was read
//! after everything stood still.

mod account;
mod acknowledgers;
mod delayed;
mod gather;
mod orphans;
mod rejoin;
mod released;
mod remarks;
mod reopen;
mod semi_sync;
mod shut_out;
mod stillness;
mod takeover;
mod unlisted;

use std::time::Duration;

use crate::action::{Action, Place, Switch, Threads, Until};
use crate::applied::{has_applied_all, loses_relay_log_when_started};
use crate::cluster::Member;
use crate::gtid::Relation;
use crate::instance::{Instance, Positioning, ThreadState};
use crate::key::InstanceKey;
use crate::relocate::{can_go_on, is_same_server};

use super::candidate::{Common, Objection, Situation, objections, rank};
use super::holding::{Holding, everything, holdings};
use super::loss::{Witnesses, acceptable, loss};
use super::{Acknowledging, Cause, Chain, Kind, Lost, Need, Phase, Plan, Recovery, Refused, Stage};

pub use account::keepers;
pub use acknowledgers::too_few;
pub(super) use delayed::delay_seconds;
pub use gather::in_turns;
pub use released::released;
use released::{holds_itself_up, wait_again};
pub use stillness::{freeze, left_alone, roll_back, untold};
pub use takeover::arrange;
pub(super) use unlisted::is_trusted;

pub(in crate::recovery) use stillness::{start_again, would_lose};

use gather::gather;
use remarks::{disabled_events, events_go_on, imports_left, prepared_xa};

/// Why whoever finds its place by file and position stays where it is.
const NEEDS_GTID: &str = "it does not use GTID, so its place in another log is not known";
/// No reason lists more than this many servers.
const NAMED_MAX: usize = 10;

/// Plans a recovery.
///
/// # Errors
/// With all reasons why nothing may be done (I3, I13).
pub fn plan(recovery: &Recovery, situation: &Situation<'_>) -> Result<Plan, Refused> {
    match recovery.kind {
        Kind::Primary | Kind::CoPrimary => promotion(recovery, situation)
            .map_err(|refused| shut_out::explained(refused, recovery, situation)),
        Kind::IntermediateSource | Kind::GroupMember => orphans::plan(recovery, situation),
        Kind::ReadOnlyPrimary => reopen::plan(recovery, situation),
        Kind::Takeover => takeover::plan(recovery, situation),
        Kind::Rejoin => rejoin::plan(recovery, situation),
        Kind::Regroup => orphans::regroup(recovery, situation),
        Kind::SemiSync => semi_sync::plan(recovery, situation),
    }
}

/// The replicas that what failed had, as far as they are known.
fn members<'a>(recovery: &Recovery, situation: &Situation<'a>) -> Vec<&'a Member> {
    let known = recovery.replicas.iter().filter_map(|key| situation.cluster.member(key));
    each_once(&known.collect::<Vec<_>>(), recovery)
}

/// A server that is known by several names is one witness, by the name that answers or was asked for.
fn each_once<'a>(members: &[&'a Member], recovery: &Recovery) -> Vec<&'a Member> {
    let rank = |index: usize, it: &Member| {
        (!it.instance.is_valid(), recovery.wanted.as_ref() != Some(it.key()), index)
    };
    let is_best = |index: usize, member: &Member| {
        let others = members.iter().enumerate();
        let mut same = others.filter(|(_, it)| is_same_server(&it.instance, &member.instance));
        same.all(|(other, it)| rank(index, member) <= rank(other, it))
    };
    let best = members.iter().enumerate().filter(|(index, it)| is_best(*index, it));
    best.map(|(_, member)| *member).collect()
}

pub(in crate::recovery) fn follow(source: &InstanceKey) -> Vec<Action> {
    move_below(source, Threads::Both)
}

/// Brings a replica below another source; its threads run then as they did before.
fn bring(member: &Member, source: &InstanceKey, recovery: &Recovery) -> Vec<Action> {
    let threads = threads_of(member, recovery);
    // Who leads by force may lack what this one received: applied, that would be errant for good.
    let is_forced = matches!(recovery.cause, Cause::ForcedFailover | Cause::ForcedTakeover);
    if is_forced || !goes_on_applying(member) {
        return move_below(source, threads);
    }
    vec![
        Action::Stop(Threads::Receiver),
        Action::ChangeSource { to: source.clone(), place: Place::Same },
        Action::Start(threads),
    ]
}

/// Whether only the receiver has to be stopped for another source. MySQL's applier goes on with the
/// relay log, which is kept then, and what holds it up, such as the lock of a backup, does not hold up
/// the move: the new primary may wait for acknowledgements of this replica.
fn goes_on_applying(member: &Member) -> bool {
    let facts = &member.instance.facts;
    // That it is not to leave its source is only told to a replica that stands still.
    let stays =
        facts.leaves_its_source == Some(false) || !facts.version.is_mysql_at_least(8, 0, 23);
    !facts.version.is_mariadb()
        && stays
        && facts.main_channel().is_some_and(|it| {
            it.positioning == Positioning::AutoPosition
                && it.applier == ThreadState::Running
                && it.source.attached().is_some()
                // A new source makes it drop a relay log that has no room only when nobody applies.
                && !it.waits_for_disk
                && !it.could_not_write_relay_log()
        })
}

/// The threads of a replica that run when all is well: an applier that stands still, though no
/// recovery stopped it, is none of them.
fn threads_of(member: &Member, recovery: &Recovery) -> Threads {
    let channel = member.instance.facts.main_channel();
    let stands = channel.filter(|it| it.applier == ThreadState::Stopped);
    let has_failed = stands.is_some_and(|it| it.applier_error.number != 0);
    let stages = recovery.plan.iter().flat_map(|plan| &plan.prepare);
    let chains = stages.flat_map(|stage| &stage.chains).filter(|it| it.on == *member.key());
    let stops = |chain: &Chain| chain.actions.contains(&Action::Stop(Threads::Both));
    let was_stopped =
        matches!(recovery.stood_still.get(member.key()), Some(Threads::Applier | Threads::Both));
    let is_ours = (recovery.kind == Kind::Takeover && !was_stopped)
        || recovery.tried.contains(member.key())
        || chains.into_iter().any(stops);
    let stays = stands.is_some() && (has_failed || !is_ours);
    if stays { Threads::Receiver } else { Threads::Both }
}

fn move_below(source: &InstanceKey, threads: Threads) -> Vec<Action> {
    vec![
        Action::Stop(Threads::Both),
        Action::ChangeSource { to: source.clone(), place: Place::Gtid },
        Action::Start(threads),
    ]
}

/// Whoever has no replicas must not wait for them, or it would never apply anything again. Only
/// once it is closed and its clients are gone: those who wait would take it for an acknowledgement.
fn acknowledge_no_more(former: &Member) -> Vec<Action> {
    let waits = former.instance.facts.semi_sync.source_enabled;
    if waits { vec![Action::SetSemiSyncSource(Switch::Off)] } else { Vec::new() }
}

fn promotion(recovery: &Recovery, situation: &Situation<'_>) -> Result<Plan, Refused> {
    let (replicas, doubtful) = unlisted::told_apart(members(recovery, situation), recovery);
    let (reachable, silent): (Vec<&Member>, Vec<&Member>) = replicas
        .iter()
        .partition(|it| it.instance.is_valid() && stands_still(it, recovery, situation));
    let failed = situation.cluster.member(recovery.failed());
    let unknown = failed.map_or(0, |it| unknown_acknowledgers(it, &replicas));
    enough_in_sight(recovery, reachable.len(), &silent, unknown)
        .map_err(|refused| unlisted::explained(refused, &doubtful, recovery, situation))?;
    let source_had = failed.map(everything).unwrap_or_default();
    let all = holdings(&reachable, failed, &source_had);
    let aside = delayed::set_aside(&reachable, recovery, situation);
    let (ready, has) = delayed::others(&reachable, &all, &aside);
    let foremost = foremost(&has, recovery)?;
    let (candidate, donor, why) = choose(recovery, situation, &ready, &has, foremost)?;
    let kept: Vec<&Holding> = std::iter::once(candidate).chain(donor).collect();
    let ahead = delayed::ahead(&aside, &all, &kept);
    let witnesses = Witnesses {
        failed,
        source_had: &source_had,
        reachable: &reachable,
        silent: &silent,
        ahead: &ahead,
    };
    let loss = loss(&kept, &all, &witnesses, situation);
    acceptable(&loss, &candidate.key, recovery, &witnesses, situation)?;
    let mut lost: Vec<Lost> = silent.iter().map(|it| lost(it, &shut_out::why_silent(it))).collect();
    let mut followers = Vec::new();
    for member in reachable.iter().filter(|it| it.key() != &candidate.key) {
        match obstacle(member, &all, &candidate.key, situation) {
            Some(why) => lost.push(self::lost(member, &why)),
            None => followers.push(*member),
        }
    }
    let mut why = why;
    why.extend(delayed::told(&aside, &ahead));
    why.extend(unlisted::left_out(&doubtful, recovery, situation));
    for member in doubtful {
        match unlisted::obstacle(member, &candidate.key, situation) {
            Some(why) => lost.push(self::lost(member, &why)),
            None => followers.push(member),
        }
    }
    lost.sort_by(|a, b| a.key.cmp(&b.key));
    why.extend(failed.into_iter().flat_map(|it| imports_left(it, &candidate.key)));
    why.extend(failed.and_then(|it| prepared_xa(it, &candidate.key)));
    why.extend(situation.cluster.member(&candidate.key).and_then(disabled_events));
    let prepare = prepare(candidate, donor, situation);
    let mut recovery = recovery.clone();
    recovery.released.extend(released(&prepare));
    let open = open(&candidate.key, donor, &recovery, situation);
    let mut plan = Plan {
        successor: candidate.key.clone(),
        why,
        prepare,
        open: Stage { chains: open.into_iter().collect() },
        gather: gather(
            &candidate.key,
            &followers,
            &reachable,
            (&lost, &ahead),
            &recovery,
            situation,
        ),
        lost,
        loss,
    };
    plan.why.extend(too_few(&plan, situation));
    Ok(plan)
}

/// Once everybody was stopped, whoever still receives could acknowledge what nobody else will have.
/// So could whoever was started anew since, and tries to connect; somebody else who does was told
/// to stop, and only takes its time, unless that order did not reach it.
fn stands_still(member: &Member, recovery: &Recovery, situation: &Situation<'_>) -> bool {
    let facts = &member.instance.facts;
    let since = situation.now.since(recovery.begun_at).as_secs() + 1;
    let receiver = facts.main_channel().map_or(ThreadState::Absent, |it| it.receiver);
    recovery.phase != Phase::Weighing
        || match receiver {
            ThreadState::Running => false,
            ThreadState::Stopped | ThreadState::Absent => true,
            // 0: not known.
            ThreadState::Other => {
                !recovery.untold.contains(member.key())
                    && (facts.uptime_seconds == 0 || facts.uptime_seconds > since)
            }
        }
}

/// Whether somebody who was stopped does not stand still.
pub fn receives_again(recovery: &Recovery, situation: &Situation<'_>) -> bool {
    matches!(recovery.kind, Kind::Primary | Kind::CoPrimary)
        && unlisted::told_apart(members(recovery, situation), recovery)
            .0
            .iter()
            .any(|it| it.instance.is_valid() && !stands_still(it, recovery, situation))
}

/// Whether so many witnesses are there that nothing that was acknowledged can be missed (I3, I5).
fn enough_in_sight(
    recovery: &Recovery,
    reachable: usize,
    silent: &[&Member],
    unknown: usize,
) -> Result<(), Refused> {
    let is_forced = matches!(recovery.cause, Cause::ForcedFailover | Cause::ForcedTakeover);
    if reachable == 0 {
        return Err(Refused::because("none of the replicas answers"));
    }
    let all = reachable + silent.len();
    if reachable * 2 < all && !is_forced {
        return Err(Refused::because(format!(
            "only {reachable} of {all} replicas answer: the others may have more"
        )));
    }
    let waits_for = match recovery.acknowledging {
        Acknowledging::By(count) => count,
        Acknowledging::Off | Acknowledging::Lapsed => 0,
    };
    let silent = silent.iter().filter(|it| may_have_acknowledged(it, recovery.failed())).count();
    if waits_for > 0 && silent >= waits_for as usize && !is_forced {
        return Err(Refused::because(format!(
            "{silent} of {all} replicas do not answer, and writes were acknowledged once \
             {waits_for} had them: those may have what nobody else has (forget those that are gone \
             for good)"
        )));
    }
    if unknown > 0 && waits_for > 0 && silent + unknown >= waits_for as usize && !is_forced {
        return Err(Refused::because(format!(
            "writes were acknowledged by {unknown} replicas that are not known here (without \
             report_host, or not let in): those may have what nobody else has"
        )));
    }
    Ok(())
}

/// How many acknowledged to a primary when it was seen last, beyond those who are known to do so or
/// were never seen.
fn unknown_acknowledgers(primary: &Member, replicas: &[&Member]) -> usize {
    let source = primary.key();
    let has_moved = |it: &Instance| it.is_valid() && it.facts.source() != Some(source);
    let may_be = |it: &&&Member| {
        acknowledges(&it.instance)
            || (may_have_acknowledged(it, source) && !has_moved(&it.instance))
    };
    let known = replicas.iter().filter(may_be).count();
    let clients = usize::try_from(primary.instance.facts.semi_sync.source_clients);
    clients.unwrap_or(usize::MAX).saturating_sub(known)
}

fn acknowledges(replica: &Instance) -> bool {
    let semi_sync = &replica.facts.semi_sync;
    semi_sync.replica_enabled || semi_sync.replica_active
}

/// Whether a replica acknowledges as far as is known: it was seen to, or was never seen below that
/// source, or may have forgotten when it was started anew. For one that does not, such as a remote one
/// that is asynchronous on purpose, no commit waited. Had that changed since, its primary would have
/// told how many acknowledge.
pub(super) fn may_have_acknowledged(replica: &Member, source: &InstanceKey) -> bool {
    let instance = &replica.instance;
    acknowledges(instance)
        || instance.facts.source() != Some(source)
        || instance.health.facts_from.is_none()
        || instance.remembered.restarted
        || instance.remembered.had.is_some()
}

/// The replica that has all that any of them has.
fn foremost<'a>(all: &'a [Holding], recovery: &Recovery) -> Result<&'a Holding, Refused> {
    if let Some(found) = all.iter().find(|one| all.iter().all(|other| one.covers(other))) {
        return Ok(found);
    }
    // Who names the successor accepts that what only others have is lost.
    let named = recovery.wanted.as_ref().filter(|_| recovery.cause == Cause::ForcedTakeover);
    if let Some(named) = all.iter().find(|one| Some(&one.key) == named) {
        return Ok(named);
    }
    let mut reasons = Vec::new();
    for (index, one) in all.iter().enumerate() {
        for other in all.iter().skip(index + 1) {
            let reason = match one.relation(other) {
                Some(Relation::Diverged) => {
                    format!("{} and {} each have what the other lacks", one.key, other.key)
                }
                None => format!("what {} and {} have cannot be compared", one.key, other.key),
                Some(_) => continue,
            };
            reasons.push(reason);
        }
    }
    reasons.truncate(NAMED_MAX);
    if reasons.is_empty() {
        reasons.push("no replica has all that the others have".to_owned());
    }
    Err(Refused(reasons))
}

type Choice<'a> = (&'a Holding, Option<&'a Holding>, Vec<String>);

/// The best replica that has everything, or can get it.
fn choose<'a>(
    recovery: &Recovery,
    situation: &Situation<'_>,
    reachable: &[&Member],
    all: &'a [Holding],
    foremost: &'a Holding,
) -> Result<Choice<'a>, Refused> {
    let common = Common::of(reachable);
    let wanted = wanted(recovery, situation);
    let mut eligible = Vec::new();
    let mut reasons = Vec::new();
    for (member, holding) in reachable.iter().zip(all) {
        if wanted.as_ref().is_some_and(|wanted| wanted != member.key()) {
            continue;
        }
        let found = objections(member, Some(holding), &common, recovery, situation);
        if found.is_empty() {
            eligible.push((rank(member, holding, all, recovery, situation), holding));
        } else {
            let found: Vec<String> = found.iter().map(Objection::to_string).collect();
            reasons.push(format!("{} cannot be promoted: {}", member.key(), found.join(", ")));
        }
    }
    if let Some(wanted) = wanted.filter(|wanted| !reachable.iter().any(|it| it.key() == wanted)) {
        reasons.push(format!("{wanted} is no replica of {} that answers", recovery.failed()));
    }
    eligible.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, candidate) in eligible {
        if candidate.covers(foremost) {
            let mut why = vec![format!("{} has all that any replica has", candidate.key)];
            if let Some(own) = &candidate.own {
                why.push(format!(
                    "{} also has transactions of its own, and so has nobody better: {own}",
                    candidate.key
                ));
            }
            why.append(&mut reasons);
            return Ok((candidate, None, why));
        }
        let may_give = |it: &&Holding| it.key != candidate.key && !recovery.tried.contains(&it.key);
        let donor = donors(reachable, all, foremost).find(may_give);
        match donor.filter(|_| candidate.uses_gtid()) {
            Some(donor) => {
                let mut why = vec![format!(
                    "{} goes first and gets what it lacks from {}",
                    candidate.key, donor.key
                )];
                why.append(&mut reasons);
                return Ok((candidate, Some(donor), why));
            }
            // Who names the successor accepts that what only others have is lost.
            None if recovery.cause == Cause::ForcedTakeover => {
                let mut why = vec![format!(
                    "{} was named, and lacks what only {} has",
                    candidate.key, foremost.key
                )];
                why.append(&mut reasons);
                return Ok((candidate, None, why));
            }
            None => reasons.push(format!(
                "{} lacks what {} has, and cannot get it from there; force-master-takeover to it \
                 accepts that loss",
                candidate.key, foremost.key
            )),
        }
    }
    reasons.truncate(NAMED_MAX);
    Err(Refused(reasons))
}

/// Who is to succeed, if that is settled.
fn wanted(recovery: &Recovery, situation: &Situation<'_>) -> Option<InstanceKey> {
    if recovery.wanted.is_some() {
        return recovery.wanted.clone();
    }
    if recovery.kind != Kind::CoPrimary || !situation.policy.recovery.other_co_primary_only {
        return None;
    }
    let replicas = members(recovery, situation);
    replicas.iter().find(|member| member.is_co_primary).map(|member| member.key().clone())
}

/// Who has everything and can hand it on.
fn donors<'a>(
    reachable: &[&Member],
    all: &'a [Holding],
    foremost: &'a Holding,
) -> impl Iterator<Item = &'a Holding> {
    reachable.iter().zip(all).filter_map(move |(member, holding)| {
        let binlog = &member.instance.facts.binlog;
        let hands_on = binlog.enabled && binlog.logs_replica_updates;
        let channel = member.instance.facts.main_channel();
        let is_whole = channel.is_some_and(|it| !it.has_filters && it.applier_error.number == 0);
        let is_clean = holding.errant.is_empty() && holding.own.is_none() && holding.uses_gtid();
        let goes_on = !loses_relay_log_when_started(&member.instance.facts);
        (hands_on && is_whole && is_clean && goes_on && holding.covers(foremost)).then_some(holding)
    })
}

/// Why a replica cannot follow the successor.
fn obstacle(
    member: &Member,
    all: &[Holding],
    successor: &InstanceKey,
    situation: &Situation<'_>,
) -> Option<String> {
    let uses_gtid = all.iter().any(|it| it.key == *member.key() && it.uses_gtid());
    if !uses_gtid {
        return Some(NEEDS_GTID.to_owned());
    }
    let successor = situation.cluster.member(successor)?;
    misfit(member, successor, situation)
}

/// Why a replica that finds its place by GTID could not go on below another source.
fn misfit(member: &Member, source: &Member, situation: &Situation<'_>) -> Option<String> {
    can_go_on(&member.instance, &source.instance, situation.policy).err().map(|why| why.0)
}

fn lost(member: &Member, why: &str) -> Lost {
    Lost { key: member.key().clone(), why: why.to_owned() }
}

/// Lets the candidate get and apply everything there is (I4).
fn prepare(candidate: &Holding, donor: Option<&Holding>, situation: &Situation<'_>) -> Vec<Stage> {
    let at_most = situation.policy.recovery.apply_patience;
    let first = [Some(candidate), donor].into_iter().flatten();
    let first: Vec<Chain> =
        first.filter_map(|holding| apply_everything(holding, situation, at_most)).collect();
    let mut stages = Vec::new();
    if !first.is_empty() {
        stages.push(Stage { chains: first });
    }
    if let Some(donor) = donor {
        let mut actions = follow(&donor.key);
        actions.push(Action::WaitExecuted { until: everything_of(donor), at_most });
        actions.push(Action::Stop(Threads::Both));
        let chain = Chain { on: candidate.key.clone(), actions, need: Need::Must };
        stages.push(Stage { chains: vec![chain] });
    }
    stages
}

fn everything_of(holding: &Holding) -> Until {
    if holding.uses_gtid() {
        Until::Gtids(holding.received().clone())
    } else {
        Until::Source(holding.read().clone())
    }
}

/// Always waits, even where everything seems to be applied: it costs a round trip, and is true.
fn apply_everything(
    holding: &Holding,
    situation: &Situation<'_>,
    at_most: Duration,
) -> Option<Chain> {
    let member = situation.cluster.member(&holding.key)?;
    let channel = member.instance.facts.main_channel()?;
    let mut actions = Vec::new();
    if holds_itself_up(member) {
        actions.push(Action::SetSemiSyncSource(Switch::Off));
    }
    if channel.applier != ThreadState::Running {
        actions.push(Action::Start(Threads::Applier));
    }
    actions.push(Action::WaitExecuted { until: everything_of(holding), at_most });
    Some(Chain { on: holding.key.clone(), actions, need: Need::Must })
}

/// Opens a server for writes; `None` where the configuration leaves that to user processes.
fn open(
    successor: &InstanceKey,
    donor: Option<&Holding>,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Option<Chain> {
    if !situation.policy.recovery.apply_promotion && recovery.kind != Kind::Takeover {
        return None;
    }
    let member = situation.cluster.member(successor);
    let semi_sync = member.map(|it| &it.instance.facts.semi_sync);
    let is_other = match recovery.kind {
        Kind::CoPrimary => member.is_some_and(|it| it.is_co_primary),
        Kind::Takeover => recovery.followed.as_ref() == Some(successor),
        _ => false,
    };
    let mut actions = Vec::new();
    if !is_other && !member.is_some_and(|it| forgets_later(it, recovery)) {
        actions.push(Action::ForgetSource);
    } else if is_other && donor.is_none() && recovery.kind == Kind::CoPrimary {
        // It goes on replicating from its other, should that come back (I9).
        actions.push(Action::Start(Threads::Receiver));
    }
    let waited = recovery.acknowledging != Acknowledging::Off;
    let is_off = semi_sync.is_some_and(|it| it.available && !it.source_enabled);
    let wait = (waited && is_off).then_some(Action::SetSemiSyncSource(Switch::On));
    actions.extend(wait_again(successor, recovery).or(wait));
    actions.push(Action::SetWritable);
    Some(Chain { on: successor.clone(), actions, need: Need::Must })
}

/// Whether it forgets its source only after it was opened, because a thread of it takes seconds, or a
/// minute, to stop, though nothing comes of it any more.
fn forgets_later(member: &Member, recovery: &Recovery) -> bool {
    recovery.kind == Kind::Primary
        && (connects_in_vain(member, recovery) || waits_in_vain(member, recovery))
}

/// It was told to forget and did not answer: the applier of MySQL holds a part of a transaction whose
/// end never came, and waits for the rest. All before that is applied.
pub(super) fn waits_in_vain(member: &Member, recovery: &Recovery) -> bool {
    let facts = &member.instance.facts;
    let was_told = recovery.tried.contains(member.key());
    let waits = facts.main_channel().is_some_and(|it| {
        it.receiver == ThreadState::Stopped && it.has_read_all && it.read != it.executed
    });
    was_told && waits && !facts.version.is_mariadb() && has_applied_all(facts)
}

/// The receiver was told to stop and still tries to connect. It receives nothing any more, but MySQL
/// lets go of it after two seconds, and MariaDB 11 not before its time-out.
fn connects_in_vain(member: &Member, recovery: &Recovery) -> bool {
    let facts = &member.instance.facts;
    let stops = facts.main_channel().is_some_and(|it| it.receiver == ThreadState::Other);
    let key = member.key();
    let was_told = !recovery.untold.contains(key) && !recovery.failed_on.contains(key);
    stops && recovery.phase == Phase::Weighing && was_told
}
