//! What has to be seen to beside recoveries: primaries that hang, former primaries that come
//! back, downtimes that nobody needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::action::{Action, Threads};
use crate::analysis::Code;
use crate::applied::may_lose_relay_log;
use crate::attention::is_failing_to_connect;
use crate::binlog::BinlogCoordinates;
use crate::cluster::{Cluster, Member};
use crate::filter::any_matches;
use crate::instance::{FailureKind, HealthStatus, ThreadState};
use crate::key::InstanceKey;
use crate::ledger::{Command, LedgerState};
use crate::snapshot::FleetSnapshot;
use crate::status::is_replicating;
use crate::time::Timestamp;

use super::former::{FENCE_FOR, expected_back};
use super::machine::LOST_IN_RECOVERY;
use super::plan::{start_again, would_lose};
use super::returned::Returning;
use super::{Chain, End, Kind, Need, Phase, Recovery, Stage, scouts};

/// A source that does not answer hangs when its replicas have received nothing for this long.
pub const QUIET_FOR: Duration = Duration::from_millis(300);
/// For so long the scout may try to connect.
pub const SCOUT_PATIENCE: Duration = Duration::from_millis(700);
/// A source that has not answered anything for this long hangs, if nobody gets through to it either.
/// A machine that stands still for a moment, such as one that is being moved, is given this time.
pub const HANGS_AFTER: Duration = Duration::from_millis(2_600);
/// A look that began so long before is as good as one that begins now.
const FRESH_FOR: Duration = Duration::from_millis(50);
/// No scout is sent to the same source more often.
pub const RESTART_EVERY: Duration = Duration::from_secs(30);
/// Who could not be brought to its new source is tried again after this.
const LEFT_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A downtime after a recovery lasts at least this long.
const LOST_AT_LEAST: Duration = Duration::from_secs(60);

/// Something to see to.
#[derive(Debug, Clone, PartialEq)]
pub struct Chore {
    /// What the ledger takes note of before anything is done (I2).
    pub note: Command,
    /// What is done.
    pub stage: Stage,
    /// Why, for a person.
    pub why: String,
    /// The source whose scout this is about, if it is.
    pub source: Option<InstanceKey>,
    /// What the ledger takes note of once it is done, if that is to be known.
    pub done: Option<Command>,
}

/// What there is to see to.
#[derive(Debug, Clone, Default)]
pub struct Review {
    /// What is to be done.
    pub chores: Vec<Chore>,
    /// Who is to be looked at.
    pub looks: Vec<InstanceKey>,
    /// Sources that hang, proven by a replica that cannot get through to them any more.
    pub hung: Vec<InstanceKey>,
}

/// What was learned of sources that do not answer.
#[derive(Debug, Clone, Default)]
pub struct Vigil {
    silent: BTreeMap<InstanceKey, Silent>,
    /// Scouts it sent itself, and sees to.
    sent: BTreeSet<InstanceKey>,
    /// Former primaries that came back.
    returning: Returning,
}

/// A source that does not answer, though its replicas do not notice.
#[derive(Debug, Clone)]
struct Silent {
    /// How far its replicas have received.
    received: Positions,
    /// Since when that is so.
    since: Timestamp,
    /// Since when it gives no sign of life at all.
    silent_since: Timestamp,
    /// The replica that was made to connect anew, and when.
    scout: Option<(InstanceKey, Timestamp)>,
    /// Replicas whose receiver could not be stopped: it does not notice anything any more, such as
    /// one that waits for room on its disk.
    stuck: BTreeSet<InstanceKey>,
}

impl Chore {
    /// The replica whose receiver is stopped for this, and started again.
    fn scout(&self) -> Option<&InstanceKey> {
        match &self.note {
            Command::NoteChore { scout, .. } => scout.as_ref(),
            _ => None,
        }
    }
}

impl Vigil {
    /// Everything there is to see to now.
    pub fn review(&mut self, fleet: &FleetSnapshot, now: Timestamp) -> Review {
        let mut review = Review::default();
        scouts::see_to_left_behind(fleet, &self.sent, now, &mut review);
        self.watch_silent_sources(fleet, now, &mut review);
        self.sent.extend(review.chores.iter().filter_map(Chore::scout).cloned());
        self.returning.see_to(fleet, now, &mut review);
        review.looks.extend(expected_back(fleet, now));
        review.chores.extend(outlived_downtimes(fleet, now));
        review.chores.extend(left_stopped(fleet, now));
        review
    }

    /// A scout answers, but its receiver does not stop: it cannot say anything about its source.
    pub fn is_stuck(&mut self, source: &InstanceKey, scout: InstanceKey) {
        if let Some(silent) = self.silent.get_mut(source) {
            silent.scout = None;
            silent.stuck.insert(scout);
        }
    }

    /// A source that hangs keeps its connections, so its replicas do not notice. One of them, the
    /// scout, is made to connect anew: if it gets through, all is well. If it does not, nobody would.
    /// Only one, because a receiver that is connecting takes seconds to stop.
    fn watch_silent_sources(&mut self, fleet: &FleetSnapshot, now: Timestamp, review: &mut Review) {
        let mut silent = BTreeMap::new();
        for cluster in fleet.clusters.values() {
            for analysis in cluster.analyses.iter().filter(|it| may_hang(it.code)) {
                let Some(source) = cluster.member(&analysis.key) else { continue };
                let is_ours =
                    !analysis.skippable_due_to_downtime && may_act(cluster, source, fleet);
                if is_ours && is_without_answer(source) {
                    let before = self.silent.get(source.key());
                    let now_known = watch(cluster, source, before, (&fleet.ledger, now), review);
                    silent.insert(source.key().clone(), now_known);
                }
            }
        }
        self.silent = silent;
    }
}

fn watch(
    cluster: &Cluster,
    source: &Member,
    before: Option<&Silent>,
    (ledger, now): (&LedgerState, Timestamp),
    review: &mut Review,
) -> Silent {
    let received = positions(cluster, source);
    let mut silent = match before {
        Some(before) if !before.is_outdated_by(&received) => Silent { received, ..before.clone() },
        // Something came through: it lives, whatever it does not tell us.
        _ => Silent {
            received,
            since: now,
            silent_since: match before {
                Some(_) => now,
                None => source.instance.health.silent_since.unwrap_or(now).min(now),
            },
            scout: None,
            stuck: BTreeSet::new(),
        },
    };
    let waiting = replicas(cluster, source).into_iter().filter(|it| waits_for_disk(it));
    silent.stuck.extend(waiting.map(|it| it.key().clone()));
    let hangs_from = silent.silent_since.plus(HANGS_AFTER);
    match &silent.scout {
        None if is_given_up(cluster, source, &silent.stuck) => {
            review.hung.push(source.key().clone());
        }
        None if now.since(silent.since) >= QUIET_FOR => {
            if let Some((scout, chore)) = send_scout(cluster, source, (ledger, now), &silent.stuck)
            {
                silent.scout = Some((scout, now));
                review.chores.push(chore);
            }
        }
        Some((scout, sent)) if now >= hangs_from.max(sent.plus(SCOUT_PATIENCE)) => {
            // The newest look may be older than its time was up.
            let due = hangs_from.max(sent.plus(SCOUT_PATIENCE)).minus(FRESH_FOR);
            let scout = cluster.member(scout).filter(|it| it.instance.is_valid());
            let is_fresh = |it: &&Member| it.instance.health.facts_from >= Some(due);
            match scout {
                // What ended it is no silence of its source.
                Some(scout) if is_fresh(&scout) && has_given_up(scout) => {
                    silent.stuck.insert(scout.key().clone());
                    silent.scout = None;
                }
                Some(scout) if is_fresh(&scout) && !hears_source(scout) => {
                    review.hung.push(source.key().clone());
                }
                Some(scout) => review.looks.push(scout.key().clone()),
                None => silent.scout = None,
            }
        }
        _ => {}
    }
    silent
}

/// Its receiver notices nothing any more.
fn waits_for_disk(replica: &Member) -> bool {
    replica.instance.facts.main_channel().is_some_and(|it| it.waits_for_disk)
}

/// Whether all that can tell have lost the source, and those that cannot are not more.
fn is_given_up(cluster: &Cluster, source: &Member, stuck: &BTreeSet<InstanceKey>) -> bool {
    let (mute, witnesses): (Vec<&Member>, Vec<&Member>) =
        replicas(cluster, source).into_iter().partition(|it| stuck.contains(it.key()));
    !mute.is_empty()
        && witnesses.len() >= mute.len()
        && witnesses.iter().all(|it| is_failing_to_connect(it))
}

fn may_hang(code: Code) -> bool {
    Kind::when_hung(code).is_some()
}

/// Somebody who has no room for us, or does not let us in, may well serve others.
fn is_without_answer(member: &Member) -> bool {
    let HealthStatus::Invalid(failure) = &member.instance.health.status else { return false };
    matches!(failure.kind, FailureKind::Timeout | FailureKind::Connect)
}

fn may_act(cluster: &Cluster, member: &Member, fleet: &FleetSnapshot) -> bool {
    let policy = &fleet.policy;
    let is_in_group = member.instance.facts.membership().is_some();
    let is_primary = (member.depth == 0 || member.is_co_primary) && !is_in_group;
    let filters = if is_primary { &policy.recover_primary } else { &policy.recover_intermediate };
    let is_busy = fleet
        .ledger
        .recoveries
        .values()
        .any(|it| it.is_running() && (it.cluster == cluster.id || it.changes(member.key())));
    !fleet.ledger.recoveries_disabled && any_matches(filters, cluster) && !is_busy
}

fn replicas<'a>(cluster: &'a Cluster, source: &Member) -> Vec<&'a Member> {
    let known = source.replicas.iter().filter_map(|key| cluster.member(key));
    known.filter(|it| it.instance.is_valid() && it.is_recognized()).collect()
}

type Positions = BTreeMap<InstanceKey, BinlogCoordinates>;

fn positions(cluster: &Cluster, source: &Member) -> Positions {
    let channels = replicas(cluster, source).into_iter().filter_map(|replica| {
        let channel = replica.instance.facts.main_channel()?;
        Some((replica.key().clone(), channel.read.clone()))
    });
    channels.collect()
}

impl Silent {
    /// Whether a replica has received something since. Not the scout: it may begin anew elsewhere.
    fn is_outdated_by(&self, received: &Positions) -> bool {
        let is_scout = |key: &InstanceKey| self.scout.as_ref().is_some_and(|(it, _)| it == key);
        let mut others = received.iter().filter(|(key, _)| !is_scout(key));
        others.any(|(key, at)| self.received.get(key).is_some_and(|before| before != at))
    }
}

/// The scout and what it does: the one that is least likely to be promoted.
fn send_scout(
    cluster: &Cluster,
    source: &Member,
    (ledger, now): (&LedgerState, Timestamp),
    stuck: &BTreeSet<InstanceKey>,
) -> Option<(InstanceKey, Chore)> {
    let last = ledger.chores.get(source.key()).copied();
    if last.is_some_and(|last| now.since(last) < RESTART_EVERY) {
        return None;
    }
    let able = |it: &&Member| may_restart(it) && !stuck.contains(it.key());
    let scout = replicas(cluster, source).into_iter().filter(able).max_by_key(|it| {
        let rule = ledger.promotion_rule(it.key(), it.instance.facts.promotion_rule, now);
        (rule, it.key().clone())
    })?;
    let actions = vec![Action::Stop(Threads::Receiver), Action::Start(Threads::Receiver)];
    let chain = Chain { on: scout.key().clone(), actions, need: Need::Should };
    let chore = Chore {
        note: scouts::note(source.key(), scout.key(), now),
        stage: Stage { chains: vec![chain] },
        why: format!("{} does not answer: {} tries to connect", source.key(), scout.key()),
        source: Some(source.key().clone()),
        done: Some(Command::EndScout { key: scout.key().clone() }),
    };
    Some((scout.key().clone(), chore))
}

fn hears_source(replica: &Member) -> bool {
    replica.instance.facts.main_channel().is_some_and(|channel| channel.hears_source())
}

fn has_given_up(replica: &Member) -> bool {
    replica.instance.facts.main_channel().is_some_and(|channel| channel.has_given_up())
}

/// A receiver that runs. MariaDB's throws away what is not applied yet when it finds its place by
/// GTID, and what it threw away may be nowhere else; one that was given its account when it was
/// started (`START REPLICA USER`) does not connect without.
fn may_restart(replica: &Member) -> bool {
    let facts = &replica.instance.facts;
    facts.main_channel().is_some_and(|it| it.receiver == ThreadState::Running)
        && !may_lose_relay_log(facts)
        && facts.stores_account != Some(false)
}

/// Those whom a recovery stopped and could not bring to their new source, such as one that was too
/// busy to stop in time, are brought there as soon as they let us (I9). So are those that it could
/// not start again when nothing came of it.
fn left_stopped(fleet: &FleetSnapshot, now: Timestamp) -> Vec<Chore> {
    let recoveries = &fleet.ledger.recoveries;
    let recent = recoveries
        .values()
        .filter(|it| it.ended_at.is_some_and(|ended| now.since(ended) < FENCE_FOR));
    let mut chores = Vec::new();
    for recovery in recent {
        for (chain, why) in unfinished(recovery, fleet) {
            let key = &chain.on;
            let is_taken = fleet.ledger.maintenance_of(key, now).is_some()
                || recoveries.values().any(|it| it.id > recovery.id && it.changes(key));
            let noted = fleet.ledger.chores.get(key).copied();
            let is_due = noted.is_none_or(|at| now.since(at) >= LEFT_AGAIN_AFTER);
            if !is_taken && is_due && stands_where_it_was_left(&chain, recovery, fleet) {
                chores.push(Chore {
                    note: Command::NoteChore { key: key.clone(), at: now, scout: None },
                    stage: Stage { chains: vec![chain] },
                    why,
                    source: None,
                    done: None,
                });
            }
        }
    }
    chores
}

/// What a recovery meant to do with those that it had stopped, and why that is done now.
fn unfinished(recovery: &Recovery, fleet: &FleetSnapshot) -> Vec<(Chain, String)> {
    let id = recovery.id;
    if recovery.phase == Phase::Ended(End::RolledBack) && recovery.kind.promotes() {
        let start = |key: &InstanceKey| {
            let actions = vec![start_again(fleet.member(key)?.1, recovery)?];
            let why = format!("{key} could not be started again in recovery {id}");
            Some((Chain { on: key.clone(), actions, need: Need::Should }, why))
        };
        return recovery.replicas.iter().filter_map(start).collect();
    }
    let Some(plan) = recovery.plan.as_ref().filter(|_| recovery.is_successful()) else {
        return Vec::new();
    };
    let successor = &plan.successor;
    let is_outdated = fleet
        .ledger
        .recoveries
        .values()
        .any(|later| later.id > id && later.changes(successor) && later.kind != Kind::Rejoin);
    if is_outdated || fleet.instance(successor).is_none_or(|it| !it.is_valid()) {
        return Vec::new();
    }
    let why = |key: &InstanceKey| {
        if key == successor {
            format!("{key} could not forget {} in recovery {id}", recovery.failed())
        } else {
            format!("{key} could not be brought to {successor} in recovery {id}")
        }
    };
    plan.gather.chains.iter().map(|chain| (chain.clone(), why(&chain.on))).collect()
}

/// It answers, the recovery could not do with it what it meant to, and it stands still since. A new
/// primary that could not forget the old one may even have connected to it again.
fn stands_where_it_was_left(chain: &Chain, recovery: &Recovery, fleet: &FleetSnapshot) -> bool {
    let key = &chain.on;
    let Some((_, member)) = fleet.member(key) else { return false };
    let forgets = chain.actions == [Action::ForgetSource];
    let (instance, failed) = (&member.instance, recovery.failed());
    let channel = instance.facts.main_channel();
    let source = instance.facts.source();
    // Whoever it is to receive from gives it again what it throws away.
    let next = if recovery.is_successful() { recovery.successor.as_ref() } else { None };
    let next = fleet.instance(next.unwrap_or(failed));
    instance.is_valid()
        && instance.health.facts_from > recovery.ended_at
        && recovery.failed_on.contains(key)
        && (source == Some(failed) || source == recovery.successor.as_ref())
        && channel.is_some_and(|it| forgets || it.receiver == ThreadState::Stopped)
        && (source != Some(failed) || !would_lose(&instance.facts, next.map(|it| &**it)))
}

/// Whoever replicates again is lost no more.
fn outlived_downtimes(fleet: &FleetSnapshot, now: Timestamp) -> Vec<Chore> {
    let lost = fleet.ledger.downtimes.iter().filter(|(_, downtime)| {
        &*downtime.reason == LOST_IN_RECOVERY
            && now < downtime.ends_at
            && now.since(downtime.begins_at) >= LOST_AT_LEAST
    });
    let back = lost.filter(|(key, _)| {
        fleet.instance(key).is_some_and(|it| it.is_valid() && is_replicating(it))
    });
    back.map(|(key, _)| Chore {
        note: Command::EndDowntime { key: key.clone() },
        stage: Stage::default(),
        why: format!("{key} replicates again"),
        source: None,
        done: None,
    })
    .collect()
}
