//! Whether so many clusters lost their primary at once that a person has to decide (I7).

use std::time::Duration;

use crate::cluster::Cluster;
use crate::instance::Instance;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

/// What was seen last longer ago was not lost together with what is lost now.
pub const LOST_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Why nothing is recovered by itself: too many clusters lost their primary within the last minutes.
///
/// A cluster counts only if baton ever saw a primary of it, on either side of the scale: names of
/// hosts that do not exist neither open the breaker nor keep it closed.
pub fn breaker(fleet: &FleetSnapshot, now: Timestamp) -> Option<String> {
    if now < fleet.ledger.breaker_released_until {
        return None;
    }
    let mut known = 0_u64;
    let mut headless = 0_u64;
    for cluster in fleet.clusters.values() {
        known += u64::from(cluster.primaries().iter().any(|it| it.instance.was_seen()));
        headless += u64::from(is_headless(cluster, now));
    }
    let policy = &fleet.policy.recovery;
    let is_open = headless >= policy.breaker_count.max(1)
        && headless.saturating_mul(100) > known.saturating_mul(policy.breaker_percent);
    is_open.then(|| {
        format!(
            "{headless} of {known} clusters lost their primary within {} min: a person has to decide",
            LOST_WITHIN.as_secs() / 60
        )
    })
}

/// Whether every primary is lost, and one of them lately.
fn is_headless(cluster: &Cluster, now: Timestamp) -> bool {
    let primaries = cluster.primaries();
    let is_lost = |it: &Instance| it.is_failed() && it.was_seen() && it.refusal().is_none();
    let is_recent =
        |it: &Instance| it.health.last_seen.is_some_and(|at| now.since(at) < LOST_WITHIN);
    !primaries.is_empty()
        && primaries.iter().all(|member| is_lost(&member.instance))
        && primaries.iter().any(|member| is_recent(&member.instance))
}
