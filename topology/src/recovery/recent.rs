//! What was recovered from a moment ago needs no second recovery: whoever asks again is told so.
//!
//! The Percona client asks twice for every `recover`.

use std::time::Duration;

use crate::analysis::catalog::{self, Response};
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

use super::{Kind, Recovery};

/// So long ago is a moment ago.
const MOMENT: Duration = Duration::from_secs(60);

/// The newest recovery from the failure of an instance, if it was successful a moment ago, nothing
/// is wrong with the instance any more that could be recovered from, and its successor still stands
/// in for it. Whoever wants somebody else to succeed comes too late, and is told who did.
pub fn recovered_just_now<'a>(
    key: &InstanceKey,
    fleet: &'a FleetSnapshot,
    now: Timestamp,
) -> Option<&'a Recovery> {
    let newest = fleet.ledger.recoveries.values().rfind(|it| it.failed() == key)?;
    let is_failure = matches!(
        newest.kind,
        Kind::Primary | Kind::CoPrimary | Kind::IntermediateSource | Kind::GroupMember
    );
    let successor = newest.successor.as_ref()?;
    let is_recent = newest.ended_at.is_some_and(|ended| now.since(ended) <= MOMENT);
    if !is_failure || !newest.is_successful() || !is_recent {
        return None;
    }
    let is_wrong = fleet.member(key).is_some_and(|(cluster, _)| {
        let recoverable = cluster.analyses.iter().filter(|it| {
            catalog::entry(it.code)
                .is_some_and(|problem| problem.response(&fleet.policy) == Response::Recover)
        });
        recoverable.into_iter().any(|it| it.key == *key)
    });
    let is_opened = newest.kind.promotes() && fleet.policy.recovery.apply_promotion;
    let stands_in = |it: &Instance| it.is_valid() && !(is_opened && it.facts.read_only);
    let is_there = fleet.instance(successor).is_some_and(|it| stands_in(it));
    (!is_wrong && is_there).then_some(newest)
}
