//! What has to be seen to beside recoveries: primaries that hang, former primaries that come
//! back, downtimes that nobody needs any more.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::action::{Action, Threads};
use crate::analysis::Code;
use crate::binlog::BinlogCoordinates;
use crate::cluster::{Cluster, Member};
use crate::filter::any_matches;
use crate::instance::{FailureKind, HealthStatus, Positioning, ThreadState};
use crate::key::InstanceKey;
use crate::ledger::{Command, LedgerState};
use crate::snapshot::FleetSnapshot;
use crate::status::is_replicating;
use crate::time::Timestamp;

use super::machine::LOST_IN_RECOVERY;
use super::{Chain, Kind, Need, Recovery, Stage};

/// A source that does not answer hangs when its replicas have received nothing for this long.
pub const QUIET_FOR: Duration = Duration::from_millis(500);
/// Receivers of the same source are not restarted more often.
pub const RESTART_EVERY: Duration = Duration::from_secs(30);
/// A former primary that could not come back is tried again after this.
const REJOIN_EVERY: Duration = Duration::from_secs(60);
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
}

/// How far replicas of silent sources had received when that was last news.
#[derive(Debug, Clone, Default)]
pub struct Vigil {
    received: BTreeMap<InstanceKey, (Vec<BinlogCoordinates>, Timestamp)>,
}

impl Vigil {
    /// Everything there is to see to now.
    pub fn review(&mut self, fleet: &FleetSnapshot, now: Timestamp) -> Vec<Chore> {
        let mut chores = self.hung_sources(fleet, now);
        chores.extend(returned_primaries(fleet, now));
        chores.extend(outlived_downtimes(fleet, now));
        chores
    }

    /// A source that hangs keeps its connections, so its replicas do not notice. Their receivers
    /// are restarted: if they get through, all is well, and if not, everybody sees it.
    fn hung_sources(&mut self, fleet: &FleetSnapshot, now: Timestamp) -> Vec<Chore> {
        let mut chores = Vec::new();
        let mut silent = BTreeMap::new();
        for cluster in fleet.clusters.values() {
            for analysis in cluster.analyses.iter().filter(|it| may_hang(it.code)) {
                let Some(member) = cluster.member(&analysis.key) else { continue };
                if !is_without_answer(member) {
                    continue;
                }
                let positions = positions(cluster, member);
                let known = self.received.get(member.key()).filter(|(at, _)| *at == positions);
                let since = known.map_or(now, |(_, since)| *since);
                silent.insert(member.key().clone(), (positions, since));
                let is_quiet = now.since(since) >= QUIET_FOR;
                if is_quiet
                    && !analysis.skippable_due_to_downtime
                    && may_act(cluster, member, fleet)
                {
                    chores.extend(restart_receivers(cluster, member, &fleet.ledger, now));
                }
            }
        }
        self.received = silent;
        chores
    }
}

fn may_hang(code: Code) -> bool {
    matches!(
        code,
        Code::UnreachablePrimary
            | Code::UnreachablePrimaryWithLaggingReplicas
            | Code::UnreachableCoPrimary
            | Code::UnreachableIntermediateSource
            | Code::UnreachableIntermediateSourceWithLaggingReplicas
    )
}

/// Somebody who has no room for us, or does not let us in, may well serve others.
fn is_without_answer(member: &Member) -> bool {
    let status = &member.instance.health.status;
    matches!(status, HealthStatus::Invalid(failure) if failure.kind == FailureKind::Timeout)
}

fn may_act(cluster: &Cluster, member: &Member, fleet: &FleetSnapshot) -> bool {
    let policy = &fleet.policy;
    let is_primary = member.depth == 0 || member.is_co_primary;
    let filters = if is_primary { &policy.recover_primary } else { &policy.recover_intermediate };
    let is_busy =
        fleet.ledger.recoveries.values().any(|it| it.is_running() && it.cluster == cluster.id);
    !fleet.ledger.recoveries_disabled && any_matches(filters, cluster) && !is_busy
}

fn replicas<'a>(cluster: &'a Cluster, source: &Member) -> Vec<&'a Member> {
    let known = source.replicas.iter().filter_map(|key| cluster.member(key));
    known.filter(|replica| replica.instance.is_valid()).collect()
}

fn positions(cluster: &Cluster, source: &Member) -> Vec<BinlogCoordinates> {
    let channels = replicas(cluster, source).into_iter().filter_map(|replica| {
        replica.instance.facts.main_channel().map(|channel| channel.read.clone())
    });
    channels.collect()
}

fn restart_receivers(
    cluster: &Cluster,
    source: &Member,
    ledger: &LedgerState,
    now: Timestamp,
) -> Option<Chore> {
    let last = ledger.chores.get(source.key()).copied();
    if last.is_some_and(|last| now.since(last) < RESTART_EVERY) {
        return None;
    }
    let restart =
        replicas(cluster, source).into_iter().filter(|it| may_restart(it)).map(|it| Chain {
            on: it.key().clone(),
            actions: vec![Action::Stop(Threads::Receiver), Action::Start(Threads::Receiver)],
            need: Need::Should,
        });
    let chains: Vec<Chain> = restart.collect();
    (!chains.is_empty()).then(|| Chore {
        note: Command::NoteChore { key: source.key().clone(), at: now },
        stage: Stage { chains },
        why: format!("{} does not answer and nothing comes from it", source.key()),
    })
}

/// A receiver that runs. MariaDB's throws away what is not applied yet when it finds its place by
/// GTID, and what it threw away may be nowhere else.
fn may_restart(replica: &Member) -> bool {
    let Some(channel) = replica.instance.facts.main_channel() else { return false };
    let is_applied = channel.read == channel.executed;
    channel.receiver == ThreadState::Running
        && (channel.positioning != Positioning::MariaDbGtid || is_applied)
}

/// A former primary that comes back still takes itself for one (I1).
fn returned_primaries(fleet: &FleetSnapshot, now: Timestamp) -> Vec<Chore> {
    let ledger = &fleet.ledger;
    let replaced = ledger
        .recoveries
        .values()
        .filter(|it| matches!(it.kind, Kind::Primary | Kind::Takeover) && it.is_successful());
    let mut chores = Vec::new();
    for recovery in replaced {
        let key = recovery.failed();
        let Some((_, member)) = fleet.member(key) else { continue };
        let noted = ledger.chores.get(key).copied();
        let is_news = noted.is_none_or(|at| at < recovery.begun_at);
        if is_news && still_takes_itself_for_primary(member, recovery, fleet) {
            let actions = vec![Action::SetReadOnly, Action::KillClients];
            chores.push(Chore {
                note: Command::NoteChore { key: key.clone(), at: now },
                stage: Stage {
                    chains: vec![Chain { on: key.clone(), actions, need: Need::Should }],
                },
                why: format!("{key} was replaced in recovery {} and is back", recovery.id),
            });
        }
    }
    chores
}

/// Only of the newest recovery that says so: whoever was made primary again since is one.
fn still_takes_itself_for_primary(
    member: &Member,
    recovery: &Recovery,
    fleet: &FleetSnapshot,
) -> bool {
    let key = member.key();
    let promoted_since = fleet.ledger.recoveries.values().any(|other| {
        other.id > recovery.id && (other.successor.as_ref() == Some(key) || other.failed() == key)
    });
    let facts = &member.instance.facts;
    let seen_since = member.instance.health.facts_from > recovery.ended_at;
    let successor = recovery.successor.as_ref().and_then(|key| fleet.instance(key));
    let is_replaced = successor.is_some_and(|it| it.is_valid() && !it.facts.read_only);
    member.instance.is_valid()
        && seen_since
        && !facts.read_only
        && facts.source().is_none()
        && is_replaced
        && !promoted_since
}

/// Former primaries that could come back as replicas, where the configuration wants that.
pub fn rejoinable(fleet: &FleetSnapshot, now: Timestamp) -> Vec<InstanceKey> {
    if !fleet.policy.recovery.rejoin_former_primaries {
        return Vec::new();
    }
    let recoveries = &fleet.ledger.recoveries;
    let was_tried = |key: &InstanceKey| {
        recoveries.values().any(|it| {
            it.kind == Kind::Rejoin && it.failed() == key && now.since(it.begun_at) < REJOIN_EVERY
        })
    };
    let replaced = recoveries.values().filter(|it| it.kind == Kind::Primary && it.is_successful());
    let mut keys: Vec<InstanceKey> = replaced
        .filter(|it| {
            fleet.instance(it.failed()).is_some_and(|former| {
                former.is_valid() && former.facts.read_only && former.facts.source().is_none()
            })
        })
        .map(|it| it.failed().clone())
        .filter(|key| !was_tried(key))
        .collect();
    keys.sort();
    keys.dedup();
    keys
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
    })
    .collect()
}
