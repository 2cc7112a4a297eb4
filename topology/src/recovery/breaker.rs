//! Whether so many clusters lost their primary at once that a person has to decide (I7).

use std::time::Duration;

use crate::cluster::{Cluster, Member};
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

/// What was seen last this much earlier or later was not lost together.
pub const LOST_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Why nothing is recovered by itself: too many clusters lost their primary within some minutes. It
/// stays so until they have one again, or a person decides; what is lost one by one does not add up.
///
/// A cluster counts only if baton ever saw a primary of it that has replicas, on either side of the
/// scale: names of hosts that do not exist, and primaries that one server makes up, neither open the breaker
/// nor keep it closed. Where there is nobody to promote, nothing has to be held back.
pub fn breaker(fleet: &FleetSnapshot, now: Timestamp) -> Option<String> {
    if now < fleet.ledger.breaker_released_until {
        return None;
    }
    let clusters = || fleet.clusters.values().filter(|it| counts(it));
    let known = clusters().count() as u64;
    let headless = lost_together(clusters().filter_map(|it| lost_at(it)).collect());
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

fn counts(cluster: &Cluster) -> bool {
    let is_replica = |key: &InstanceKey| cluster.member(key).is_some_and(Member::is_recognized);
    let primaries = cluster.primaries();
    primaries.iter().any(|it| it.instance.was_seen() && it.replicas.iter().any(is_replica))
}

/// When the last primary of a cluster was seen that has lost all it had.
fn lost_at(cluster: &Cluster) -> Option<Timestamp> {
    let primaries = cluster.primaries();
    let is_lost = |it: &Instance| it.is_failed() && it.was_seen() && it.refusal().is_none();
    let all_lost = primaries.iter().all(|member| is_lost(&member.instance));
    primaries.iter().filter_map(|it| it.instance.health.last_seen).max().filter(|_| all_lost)
}

/// The most of these that lie that close together.
fn lost_together(mut times: Vec<Timestamp>) -> u64 {
    times.sort_unstable();
    let counts = times.iter().enumerate().map(|(index, first)| {
        let later = times.iter().skip(index);
        later.take_while(|it| it.since(*first) < LOST_WITHIN).count()
    });
    counts.max().unwrap_or(0) as u64
}
