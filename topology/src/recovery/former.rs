//! Former primaries: who replaced them, and what is seen to when they come back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::action::Action;
use crate::cluster::{Cluster, Member};
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::ledger::{Command, LedgerState};
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

use super::upkeep::{Chore, Review};
use super::{Chain, Kind, Need, Recovery, Stage};

/// A fence that did not hold is tried again after this.
const FENCE_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Not for longer than this after the recovery.
pub const FENCE_FOR: Duration = Duration::from_secs(10 * 60);
/// How often a former primary that is gone is looked for.
const EXPECTED_BACK_EVERY: Duration = Duration::from_millis(100);
/// A former primary that could not come back is tried again after this.
const REJOIN_EVERY: Duration = Duration::from_secs(60);

/// The newest recovery that replaced an instance as the primary; `None` when it was made primary
/// again since.
pub(crate) fn replacing<'a>(key: &InstanceKey, ledger: &'a LedgerState) -> Option<&'a Recovery> {
    let about = |it: &&Arc<Recovery>| {
        it.kind.promotes()
            && it.successor.is_some()
            && (it.failed() == key || it.successor.as_ref() == Some(key))
    };
    let newest = ledger.recoveries.values().rfind(about)?;
    (newest.failed() == key).then_some(&**newest)
}

/// The same, and who heads the cluster now.
pub(super) fn replacement<'a>(
    key: &InstanceKey,
    fleet: &'a FleetSnapshot,
) -> Option<(&'a Recovery, InstanceKey)> {
    let last = replacing(key, &fleet.ledger)?;
    let cluster = fleet.cluster(&last.cluster)?;
    let primaries = cluster.primaries();
    let head = primaries.iter().map(|member| member.key()).find(|head| *head != key)?;
    Some((last, head.clone()))
}

/// The same, unless somebody opened the instance again after baton had kept it closed long enough:
/// then it is meant to be a primary of its own.
pub(super) fn replaced<'a>(
    member: &Member,
    fleet: &'a FleetSnapshot,
) -> Option<(&'a Recovery, InstanceKey)> {
    let (recovery, head) = replacement(member.key(), fleet)?;
    (!was_opened_again(member, recovery)).then_some((recovery, head))
}

fn was_opened_again(former: &Member, recovery: &Recovery) -> bool {
    let fenced_until = recovery.ended_at.unwrap_or(recovery.begun_at).plus(FENCE_FOR);
    !former.instance.facts.read_only
        && former.instance.health.facts_from.is_some_and(|seen| seen > fenced_until)
}

/// Why opening a primary that refuses writes could make two (I1, I6): others that headed the cluster
/// accept writes, or the one that replaced it may. They need not be in the cluster any more.
pub(super) fn rivals(cluster: &Cluster, member: &Member, fleet: &FleetSnapshot) -> Vec<String> {
    let key = member.key();
    let concerns = |it: &&Arc<Recovery>| {
        it.kind.promotes()
            && it.successor.is_some()
            && (it.cluster == cluster.id
                || it.failed() == key
                || it.successor.as_ref() == Some(key))
    };
    let mut reasons = BTreeSet::new();
    let mut newest = None;
    for recovery in fleet.ledger.recoveries.values().filter(concerns) {
        if recovery.failed() == key || recovery.successor.as_ref() == Some(key) {
            newest = Some(recovery);
        }
        let heads = recovery.successor.iter().chain([recovery.failed()]);
        for (_, other) in heads.filter(|it| *it != key).filter_map(|it| fleet.member(it)) {
            let is_open = other.instance.is_valid() && !other.instance.facts.read_only;
            let is_its_own = recovery.failed() == other.key() && was_opened_again(other, recovery);
            if is_open && !is_its_own {
                reasons.insert(format!("{} accepts writes", other.key()));
            }
        }
    }
    // One that answers is closed, or named already.
    if let Some(recovery) = newest
        && let Some(successor) = recovery.successor.as_ref().filter(|it| *it != key)
        && fleet.instance(successor).is_some_and(|it| !it.is_valid())
    {
        let id = recovery.id;
        reasons.insert(format!("{successor} replaced {key} in recovery {id}, and may be open"));
    }
    reasons.into_iter().collect()
}

/// A former primary that comes back still takes itself for one (I1). Unless people put it back in
/// its place: then the one that replaced it, looked at after that, accepts no writes any more.
pub(super) fn see_to_returned_primaries(
    fleet: &FleetSnapshot,
    now: Timestamp,
    review: &mut Review,
) {
    let ledger = &fleet.ledger;
    let replaced = ledger
        .recoveries
        .values()
        .filter(|it| matches!(it.kind, Kind::Primary | Kind::Takeover) && it.is_successful());
    for recovery in replaced {
        let key = recovery.failed();
        let Some((_, member)) = fleet.member(key) else { continue };
        let noted = ledger.chores.get(key).copied();
        let is_news = noted
            .is_none_or(|at| at < recovery.begun_at || is_still_coming_back(at, recovery, now));
        // Who is being opened right now is not back, but promoted.
        let is_busy = ledger.recoveries.values().any(|it| it.is_running() && it.changes(key));
        if !is_news || is_busy || !still_takes_itself_for_primary(member, recovery, fleet) {
            continue;
        }
        let successor = recovery.successor.as_ref().and_then(|key| fleet.member(key));
        let Some((_, successor)) = successor.filter(|(_, it)| it.instance.is_valid()) else {
            continue;
        };
        if successor.instance.facts.read_only && !is_closed_by_itself(successor, member, recovery) {
            continue;
        }
        let successor = &successor.instance;
        if successor.health.facts_from < member.instance.health.last_seen {
            review.looks.push(successor.key.clone());
            continue;
        }
        let actions = vec![Action::SetReadOnly, Action::KillClients];
        review.chores.push(Chore {
            note: Command::NoteChore { key: key.clone(), at: now, scout: None },
            stage: Stage { chains: vec![Chain { on: key.clone(), actions, need: Need::Should }] },
            why: format!("{key} was replaced in recovery {} and is back", recovery.id),
            source: None,
            done: None,
        });
    }
}

/// Whoever replaced a primary, was started anew since, and refuses writes for that alone: others
/// follow it, and nobody the former primary. If people had put that back, somebody would.
fn is_closed_by_itself(successor: &Member, former: &Member, recovery: &Recovery) -> bool {
    let Instance { facts, health, .. } = &*successor.instance;
    let up_for = Duration::from_secs(facts.uptime_seconds);
    let known_for = health.facts_from.map_or(Duration::ZERO, |seen| seen.since(recovery.begun_at));
    up_for <= known_for + Duration::from_secs(1)
        && facts.source().is_none()
        && !successor.replicas.is_empty()
        && former.replicas.is_empty()
}

/// A fence that did not hold is tried again, for a while: whoever opens the server again after
/// that means it.
fn is_still_coming_back(fenced_at: Timestamp, recovery: &Recovery, now: Timestamp) -> bool {
    let since = recovery.ended_at.unwrap_or(recovery.begun_at);
    now.since(fenced_at) >= FENCE_AGAIN_AFTER && now.since(since) < FENCE_FOR
}

/// Former primaries that are gone: whoever comes back as one must not serve clients for long.
pub(super) fn expected_back(fleet: &FleetSnapshot, now: Timestamp) -> Vec<InstanceKey> {
    let recent = fleet.ledger.recoveries.values().filter(|it| {
        it.kind == Kind::Primary
            && it.is_successful()
            && it.ended_at.is_some_and(|ended| now.since(ended) < FENCE_FOR)
    });
    let is_due = |key: &&InstanceKey| {
        fleet.instance(key).is_some_and(|former| {
            let attempt = former.health.last_attempt;
            former.is_failed() && attempt.is_none_or(|at| now.since(at) >= EXPECTED_BACK_EVERY)
        })
    };
    let mut keys: Vec<InstanceKey> = recent.map(|it| it.failed()).filter(is_due).cloned().collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Only of the newest recovery that says so: whoever was made primary again since is one.
fn still_takes_itself_for_primary(
    member: &Member,
    recovery: &Recovery,
    fleet: &FleetSnapshot,
) -> bool {
    let key = member.key();
    // That its replicas were brought to the new primary says nothing of what it takes itself for.
    let promoted_since = fleet.ledger.recoveries.values().any(|other| {
        other.id > recovery.id
            && other.kind != Kind::Regroup
            && (other.successor.as_ref() == Some(key) || other.failed() == key)
    });
    let facts = &member.instance.facts;
    let seen_since = member.instance.health.facts_from > recovery.ended_at;
    member.instance.is_valid()
        && seen_since
        && !facts.read_only
        && facts.source().is_none()
        && !promoted_since
}

/// Former primaries that could come back as replicas, where the configuration wants that.
pub fn rejoinable(fleet: &FleetSnapshot, now: Timestamp) -> Vec<InstanceKey> {
    if !fleet.policy.recovery.rejoin_former_primaries {
        return Vec::new();
    }
    let recoveries = &fleet.ledger.recoveries;
    let was_tried_since = |replaced: &Recovery| {
        recoveries.values().any(|it| {
            it.kind == Kind::Rejoin
                && it.failed() == replaced.failed()
                && it.id > replaced.id
                && now.since(it.begun_at) < REJOIN_EVERY
        })
    };
    let is_back = |it: &&Recovery| {
        fleet.instance(it.failed()).is_some_and(|former| {
            former.is_valid() && former.facts.read_only && former.facts.source().is_none()
        })
    };
    let mut keys: Vec<InstanceKey> = recoveries
        .values()
        .map(|it| &**it)
        .filter(|it| it.kind == Kind::Primary && it.is_successful())
        .filter(is_back)
        .filter(|it| !was_tried_since(it))
        .map(|it| it.failed().clone())
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Former primaries that are back and closed, and that some still follow whom the recovery could not
/// reach. Who replaced them has to be open. Whom people put there later stays there.
pub fn regroupable(fleet: &FleetSnapshot) -> Vec<InstanceKey> {
    let is_left_behind = |key: &InstanceKey| {
        let Some((_, former)) = fleet.member(key) else { return false };
        let instance = &former.instance;
        let Some((recovery, head)) = replacement(key, fleet) else { return false };
        let was_left =
            |it: &&InstanceKey| recovery.lost.contains(it) || recovery.failed_on.contains(*it);
        let mut left = former.replicas.iter().filter(was_left);
        instance.is_valid()
            && instance.facts.read_only
            && instance.facts.source().is_none()
            && left.any(|it| fleet.instance(it).is_some_and(|it| it.is_valid()))
            && fleet.instance(&head).is_some_and(|head| head.is_valid() && !head.facts.read_only)
    };
    let replaced = fleet.ledger.recoveries.values().filter(|it| it.kind.promotes());
    let keys: BTreeSet<&InstanceKey> = replaced.map(|it| it.failed()).collect();
    keys.into_iter().filter(|key| is_left_behind(key)).cloned().collect()
}
