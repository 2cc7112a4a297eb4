//! Errant transactions: those an instance has and none of its ancestors does.
//!
//! Two probes never look at the same moment. A transaction that is missing on the source may
//! simply have been committed after the source was looked at, so it counts as errant only when a
//! look at the source that *began* after it was seen on the replica does not show it either. What
//! an ancestor wrote itself is never errant, even when that ancestor is dead and its last look is
//! old.

use crate::gtid::{GtidSet, Gtids};
use crate::instance::Instance;

/// Returns the errant transactions of `instance`.
///
/// `ancestors` are its sources, nearest first; `ancestor_uuids` are their UUIDs and group names,
/// and its own UUID when it is a co-primary. `before` is what was errant at the last look: while
/// the ancestors have not been looked at again, only what was errant stays errant.
pub fn errant(
    instance: &Instance,
    ancestors: &[&Instance],
    ancestor_uuids: &[uuid::Uuid],
    before: &GtidSet,
) -> GtidSet {
    let Gtids::MySql(executed) = &instance.facts.gtid.executed else {
        return GtidSet::default();
    };
    if ancestors.is_empty() || executed.is_empty() {
        return GtidSet::default();
    }
    let mut suspects = executed.without_uuids(ancestor_uuids);
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
