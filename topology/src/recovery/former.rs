//! Former primaries: who replaced them, and which of them could come back as replicas. Those that
//! come back as primaries are fenced in `returned`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{Cluster, Member};
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::ledger::LedgerState;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

use super::{Kind, Recovery};

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
        it.kind.opens()
            && it.successor.is_some()
            && (it.failed() == key || it.successor.as_ref() == Some(key))
    };
    let newest = ledger.recoveries.values().rfind(about)?;
    replaces(newest, key).then_some(&**newest)
}

fn replaces(recovery: &Recovery, key: &InstanceKey) -> bool {
    recovery.kind.promotes() && recovery.failed() == key
}

/// All that were replaced and not made primary again since, and the recovery that did it.
pub(super) fn all_replaced(ledger: &LedgerState) -> BTreeMap<&InstanceKey, &Recovery> {
    let mut newest: BTreeMap<&InstanceKey, &Recovery> = BTreeMap::new();
    for recovery in ledger.recoveries.values().filter(|it| it.kind.opens()) {
        let Some(successor) = &recovery.successor else { continue };
        newest.insert(recovery.failed(), recovery);
        newest.insert(successor, recovery);
    }
    newest.retain(|key, recovery| replaces(recovery, key));
    newest
}

/// Whether nobody gave a former primary another place: it follows nobody, or whom it followed when
/// it was replaced, such as its co-primary.
pub(super) fn is_where_it_was(former: &Member, recovery: &Recovery) -> bool {
    former.source.is_none() || former.source == recovery.followed
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

/// The same, unless somebody opened the instance again: after baton had kept it closed long enough it is
/// meant to be a primary of its own, and beside a head that is closed it is the primary.
pub(super) fn replaced<'a>(
    member: &Member,
    fleet: &'a FleetSnapshot,
) -> Option<(&'a Recovery, InstanceKey)> {
    let (recovery, head) = replacement(member.key(), fleet)?;
    let leads = fleet.instance(&head).is_some_and(|head| leads_again(member, recovery, head));
    (!leads && !was_opened_again(member, recovery)).then_some((recovery, head))
}

/// Whether a former primary was seen open since it was replaced, and who heads the cluster follows it,
/// closed, after that: people opened it.
fn leads_again(former: &Member, recovery: &Recovery, head: &Instance) -> bool {
    let Instance { facts, health, .. } = &*former.instance;
    !facts.read_only
        && health.facts_from > recovery.ended_at
        && head.is_valid()
        && head.facts.read_only
        && head.facts.source() == Some(&former.instance.key)
        && head.health.facts_from >= health.facts_from
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

/// Why the replicas of a former primary are not moved yet: what is known of one of them is older than
/// the end of the recovery that replaced the primary, which may have moved it.
pub(super) fn not_probed_since(
    recovery: &Recovery,
    former: &Member,
    fleet: &FleetSnapshot,
) -> Option<String> {
    let ended = recovery.ended_at.unwrap_or(recovery.begun_at);
    let is_outdated = |it: &&InstanceKey| {
        fleet.instance(it).is_some_and(|it| it.is_valid() && it.health.facts_from < Some(ended))
    };
    let key = former.replicas.iter().find(is_outdated)?;
    Some(format!("{key} has not been probed since recovery {} ended", recovery.id))
}

/// Former primaries that are gone: whoever comes back as one must not serve clients for long.
pub(super) fn expected_back(fleet: &FleetSnapshot, now: Timestamp) -> Vec<InstanceKey> {
    let recent = fleet.ledger.recoveries.values().filter(|it| {
        it.kind.promotes()
            && it.successor.is_some()
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
        fleet.member(it.failed()).is_some_and(|(_, former)| {
            former.instance.is_valid()
                && former.instance.facts.read_only
                && is_where_it_was(former, it)
                && follows_nobody_who_leads(former, fleet)
        })
    };
    // After a planned takeover it was brought below the new one, unless it did not answer just then.
    let was_left = |it: &Recovery| match it.kind {
        Kind::Primary | Kind::CoPrimary => true,
        Kind::Takeover => it.failed_on.contains(it.failed()),
        _ => false,
    };
    all_replaced(&fleet.ledger)
        .into_values()
        .filter(|it| was_left(it) && it.is_successful())
        .filter(is_back)
        .filter(|it| !was_tried_since(it))
        .map(|it| it.failed().clone())
        .collect()
}

/// A co-primary that is back replicates from whoever replaced it all the while.
fn follows_nobody_who_leads(former: &Member, fleet: &FleetSnapshot) -> bool {
    let source = former.source.as_ref();
    source.is_none_or(|it| replacement(former.key(), fleet).is_none_or(|(_, head)| head != *it))
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
            && is_where_it_was(former, recovery)
            && left.any(|it| fleet.instance(it).is_some_and(|it| it.is_valid()))
            && fleet.instance(&head).is_some_and(|head| head.is_valid() && !head.facts.read_only)
    };
    let replaced = fleet.ledger.recoveries.values().filter(|it| it.kind.promotes());
    let keys: BTreeSet<&InstanceKey> = replaced.map(|it| it.failed()).collect();
    keys.into_iter().filter(|key| is_left_behind(key)).cloned().collect()
}
