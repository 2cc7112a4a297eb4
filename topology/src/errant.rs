//! Errant transactions: those an instance has and none of its ancestors does.
//!
//! Two probes never look at the same moment. A transaction that is missing on the source may
//! simply have been committed after the source was looked at, so it counts as errant only when a
//! look at the source that *began* after it was seen on the replica does not show it either. What
//! an ancestor wrote itself is never errant, even when that ancestor is dead and its last look is
//! old. Nor is what came by another channel than the one that places the instance: somebody wants
//! that there.

use uuid::Uuid;

use crate::gtid::{GtidSet, Gtids};
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
    }
    let seen_here = instance.health.last_seen;
    let proven = ancestors.iter().all(|ancestor| ancestor.health.facts_from >= seen_here);
    if proven { suspects } else { suspects.intersect(before) }
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
