//! What members confirmed to have, to this node while it led.
//!
//! Whoever has less than that later has lost it: its disk was replaced by an older copy of itself.
//! Nobody may count on it any more, for it may have forgotten whom it voted for, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// By the number of a member. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Confirmed(Arc<Mutex<BTreeMap<u64, Mark>>>);

/// What one member confirmed in a term: what an earlier leader sent may have been replaced since.
#[derive(Default)]
struct Mark {
    term: u64,
    index: u64,
    is_lost: bool,
}

impl Confirmed {
    fn marks(&self) -> MutexGuard<'_, BTreeMap<u64, Mark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member has everything up to this entry.
    pub(super) fn note(&self, id: u64, term: u64, index: u64) {
        let mut marks = self.marks();
        let mark = marks.entry(id).or_default();
        if mark.term < term {
            *mark = Mark { term, index, is_lost: false };
        }
        if mark.term == term && mark.index <= index {
            (mark.index, mark.is_lost) = (index, false);
        }
    }

    /// A member does not have this entry; whether it had confirmed it.
    pub(super) fn is_lost(&self, id: u64, term: u64, index: u64) -> bool {
        let mut marks = self.marks();
        let Some(mark) = marks.get_mut(&id) else { return false };
        let is_lost = mark.term == term && index <= mark.index;
        mark.is_lost |= is_lost;
        is_lost
    }

    /// The members that lost something, and up to which entry they had everything.
    pub(super) fn lost(&self, term: u64) -> BTreeMap<u64, u64> {
        let marks = self.marks();
        let lost = marks.iter().filter(|(_, it)| it.is_lost && it.term == term);
        lost.map(|(id, it)| (*id, it.index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_lacks_what_it_confirmed_in_a_term_has_lost_it_until_it_has_it_again() {
        let confirmed = Confirmed::default();
        assert!(!confirmed.is_lost(1, 5, 1), "it never confirmed anything");
        confirmed.note(1, 5, 10);
        confirmed.note(1, 5, 9);
        assert!(!confirmed.is_lost(1, 5, 11), "it never had that");
        assert!(confirmed.lost(5).is_empty());
        assert!(confirmed.is_lost(1, 5, 10));
        assert_eq!(confirmed.lost(5), BTreeMap::from([(1, 10)]));
        confirmed.note(1, 5, 3);
        assert_eq!(confirmed.lost(5), BTreeMap::from([(1, 10)]));
        confirmed.note(1, 5, 10);
        assert!(confirmed.lost(5).is_empty());
        assert!(confirmed.is_lost(1, 5, 10));
        assert!(!confirmed.is_lost(1, 6, 10), "in another term that says nothing");
        assert!(confirmed.lost(6).is_empty());
        confirmed.note(1, 6, 4);
        assert!(!confirmed.is_lost(1, 6, 10), "another leader may have replaced it");
        confirmed.note(1, 5, 20);
        assert!(!confirmed.is_lost(1, 6, 10));
    }
}
