//! Errant transactions: those an instance has and none of its ancestors does.
//!
//! Two probes never look at the same moment. A transaction that is missing on the source may
//! simply have been committed after the source was looked at, so it counts as errant only when a
//! look at the source that *began* after it was seen on the replica does not show it either. What
//! an ancestor wrote itself is never errant, even when that ancestor is dead and its last look is
//! old; nor is what it had before it came back with less. Nor is what came by another channel than the
//! one that places the instance: somebody wants that there.
//!
//! MariaDB's numbers do not tell whether somebody else's transaction came from the source. What they
//! tell is what a replica logged under its own server id; its source and the replicas beside it have
//! that too if it wrote it as a primary.

use uuid::Uuid;

use crate::gtid::{GtidSet, Gtids, MariaDbGtid, MariaDbState};
use crate::instance::{Facts, Instance};

/// Returns the errant transactions of `instance`.
///
/// `ancestors` are its sources, nearest first; `ancestor_uuids` are their UUIDs and group names,
/// and its own UUID when it is a co-primary. `others` are the known sources of its other channels.
/// `before` is what was errant at the last look: while the ancestors have not been looked at again,
/// only what was errant stays errant.
pub fn errant(
    instance: &Instance,
    ancestors: &[&Instance],
    ancestor_uuids: &[Uuid],
    others: &[&Instance],
    before: &GtidSet,
) -> GtidSet {
    let Gtids::MySql(executed) = &instance.facts.gtid.executed else {
        return GtidSet::default();
    };
    if ancestors.is_empty() || executed.is_empty() {
        return GtidSet::default();
    }
    let mut suspects = executed.without_uuids(ancestor_uuids);
    suspects = suspects.subtract(&imported(&instance.facts, &[]));
    let own = instance.facts.server_uuid;
    for other in others {
        if let Gtids::MySql(theirs) = &other.facts.gtid.executed {
            suspects = suspects.subtract(&theirs.without_uuids(own.as_slice()));
        }
    }
    for ancestor in ancestors {
        if suspects.is_empty() {
            return suspects;
        }
        if let Gtids::MySql(theirs) = &ancestor.facts.gtid.executed {
            suspects = suspects.subtract(theirs);
        }
        // It came from there, though the ancestor lost it since; so did what the ancestor itself wrote
        // after the last look at it.
        if let Some((Gtids::MySql(had), by)) =
            ancestor.remembered.had.as_ref().map(|it| (&it.gtids, it.by))
        {
            suspects = suspects.subtract(had);
            let by = by.filter(|by| own != Some(*by));
            suspects = suspects.without_uuids(by.as_slice());
        }
    }
    let seen_here = instance.health.last_seen;
    let proven = ancestors.iter().all(|ancestor| ancestor.health.facts_from >= seen_here);
    if proven { suspects } else { suspects.intersect(before) }
}

/// What a replica of MariaDB wrote under its own server id, and neither its `ancestors` nor the
/// replicas beside it have: the last one of each domain. `before` is what was errant at the last look.
pub fn errant_on_mariadb<'a>(
    instance: &Instance,
    ancestors: &[&Instance],
    mut beside: impl Iterator<Item = &'a Instance>,
    before: &MariaDbState,
) -> MariaDbState {
    let Facts { gtid, server_id, .. } = &*instance.facts;
    let is_looked_at = |it: &&Instance| !it.facts.gtid.logged_by.is_empty();
    if gtid.logged_by.is_empty() || ancestors.is_empty() || !ancestors.iter().all(is_looked_at) {
        return MariaDbState::default();
    }
    let is_missing_above = |gtid| !ancestors.iter().any(|it| has_on_mariadb(&it.facts, gtid));
    // A former primary has such ones by right, and a source that was made of a backup since does not
    // know of them: what others wrote comes after them.
    let is_newest = |it: MariaDbGtid| {
        let later = |other: MariaDbGtid| other.domain == it.domain && other.sequence > it.sequence;
        gtid.logged_by.filtered(later).is_empty()
    };
    let was_errant = |it: MariaDbGtid| before.last_of(it.domain, it.server_id) == Some(it.sequence);
    let own = gtid.logged_by.filtered(|it| {
        it.server_id == *server_id && is_missing_above(it) && (is_newest(it) || was_errant(it))
    });
    if own.is_empty() {
        return own;
    }
    let beside: Vec<&Instance> = beside.by_ref().collect();
    let suspects = own.filtered(|gtid| !beside.iter().any(|it| has_on_mariadb(&it.facts, gtid)));
    let seen_here = instance.health.last_seen;
    let proven = ancestors.iter().all(|ancestor| ancestor.health.facts_from >= seen_here);
    if proven {
        return suspects;
    }
    suspects.filtered(was_errant)
}

fn has_on_mariadb(facts: &Facts, gtid: MariaDbGtid) -> bool {
    let MariaDbGtid { domain, server_id, sequence } = gtid;
    let is_last = |it: MariaDbGtid| it.domain == domain && it.server_id == server_id;
    let logs_all = facts.binlog.enabled && facts.binlog.logs_replica_updates;
    facts.gtid.logged_by.last_of(domain, server_id) >= Some(sequence)
        || facts.gtid.replicated.iter().any(|it| is_last(it) && it.sequence >= sequence)
        // Whose log does not have what it replicates cannot tell.
        || (!logs_all && facts.gtid.replicated.last_of(domain) >= Some(sequence))
}

/// What a server has by other channels than its main one, as far as it tells: what their sources
/// wrote, and what these channels have received. Nothing that it, its main source or one of `ours`
/// wrote.
pub fn imported(facts: &Facts, ours: &[Uuid]) -> GtidSet {
    let Gtids::MySql(executed) = &facts.gtid.executed else { return GtidSet::default() };
    let main = facts.main_channel().and_then(|channel| channel.source_uuid);
    let ours: Vec<Uuid> = ours.iter().copied().chain(main).chain(facts.server_uuid).collect();
    let mut imported = GtidSet::default();
    for channel in facts.other_channels() {
        if let Some(uuid) = channel.source_uuid {
            imported = imported.union(&executed.subtract(&executed.without_uuids(&[uuid])));
        }
        if let Gtids::MySql(received) = &channel.received {
            imported = imported.union(received);
        }
    }
    imported.without_uuids(&ours)
}
