//! Tells in the log what failovers left behind, and when that is seen to.

use std::sync::Arc;

use baton_topology::recovery::aftermath::{Aftermath, aftermaths, may_leave_anything};
use baton_topology::snapshot::FleetSnapshot;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    left: Vec<Aftermath>,
    /// Whether the newest ledger has a failover that may leave something behind.
    may_change: bool,
}

impl Told {
    /// Tells what is new in `snapshot`, which follows upon `before`.
    pub(super) fn tell(&mut self, before: &FleetSnapshot, snapshot: &FleetSnapshot) {
        if !Arc::ptr_eq(&before.ledger, &snapshot.ledger) {
            self.may_change = may_leave_anything(&snapshot.ledger);
        }
        if !self.may_change && self.left.is_empty() {
            return;
        }
        let left = aftermaths(snapshot);
        for it in &left {
            // Numbers may grow with every look, and are not told each time.
            if !self.left.iter().any(|known| is_same(known, it)) {
                let (key, cluster, recovery) = (&it.former, &it.cluster, it.recovery);
                tracing::warn!(%key, %cluster, recovery, left = %it, "a person has to see to what a failover left behind");
            }
        }
        for it in &self.left {
            if !left.iter().any(|now| now.recovery == it.recovery) {
                let (key, recovery) = (&it.former, it.recovery);
                tracing::info!(%key, recovery, "what a failover left behind was seen to");
            }
        }
        self.left = left;
    }
}

fn is_same(one: &Aftermath, other: &Aftermath) -> bool {
    let kinds = |it: &Aftermath| it.concerns.iter().map(|it| it.name()).collect::<Vec<_>>();
    one.recovery == other.recovery && kinds(one) == kinds(other)
}
