//! Where members are reached.
//!
//! A member is its number. The name it was agreed upon under may lead nowhere any more, because its
//! configuration was changed; until the new name is agreed upon as well, it is reached where it was
//! found. openraft keeps the connections to members whose name changes, so they ask here each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::members::Member;

/// The names of members, by number. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Addresses(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    agreed: BTreeMap<u64, String>,
    /// Where a member answered under a name that is not agreed upon.
    found: BTreeMap<u64, String>,
}

impl Addresses {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are the members that were agreed upon.
    pub(super) fn agree(&self, members: &[Member]) {
        let mut known = self.known();
        known.agreed = members.iter().map(|it| (it.id, it.name.clone())).collect();
        let Known { agreed, found } = &mut *known;
        found.retain(|id, name| agreed.get(id).is_some_and(|agreed| agreed != name));
    }

    /// The node of this number answered under this name, and not under the one that was agreed upon:
    /// two that answer are two processes with copies of one disk, and one of them is the member.
    pub(super) fn found(&self, id: u64, name: &str) {
        let mut known = self.known();
        if known.agreed.get(&id).is_some_and(|agreed| agreed != name) {
            known.found.insert(id, name.to_owned());
        }
    }

    /// The node of this number answers under the name that was agreed upon.
    pub(super) fn is_as_agreed(&self, id: u64) {
        self.known().found.remove(&id);
    }

    /// The node of this number does not answer under this name.
    pub(super) fn lost(&self, id: u64, name: &str) {
        let mut known = self.known();
        if known.found.get(&id).is_some_and(|found| found == name) {
            known.found.remove(&id);
        }
    }

    /// The name to reach a node by, `name` being the one that the caller knows it under.
    pub(super) fn of(&self, id: u64, name: &str) -> String {
        let known = self.known();
        let newest = known.found.get(&id).or_else(|| known.agreed.get(&id));
        newest.map_or_else(|| name.to_owned(), String::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_reached_where_it_was_found_until_that_is_agreed_upon() {
        let addresses = Addresses::default();
        let agree = |name: &str| {
            addresses.agree(&[Member { name: name.into(), id: 1, is_voter: true }]);
        };
        assert_eq!(addresses.of(1, "given:1"), "given:1");
        addresses.found(1, "nobody:1");
        assert_eq!(addresses.of(1, "given:1"), "given:1", "it is no member");
        agree("old:1");
        assert_eq!(addresses.of(1, "given:1"), "old:1");
        addresses.found(1, "new:1");
        assert_eq!(addresses.of(1, "old:1"), "new:1");
        agree("old:1");
        assert_eq!(
            addresses.of(1, "old:1"),
            "new:1",
            "that something else was agreed upon is no news"
        );
        addresses.lost(1, "old:1");
        assert_eq!(addresses.of(1, "old:1"), "new:1");
        addresses.lost(1, "new:1");
        assert_eq!(addresses.of(1, "old:1"), "old:1");
        addresses.found(1, "new:1");
        addresses.is_as_agreed(1);
        assert_eq!(addresses.of(1, "old:1"), "old:1");
        addresses.found(1, "new:1");
        agree("new:1");
        addresses.lost(1, "new:1");
        assert_eq!(addresses.of(1, "old:1"), "new:1");
    }
}
