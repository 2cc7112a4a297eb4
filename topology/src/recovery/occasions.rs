//! When user processes would run if the primary of a cluster died now, and what they would be told.
//!
//! Nothing is run, and nothing is decided: recoveries are only supposed.

use crate::analysis::Code;
use crate::cluster::Cluster;
use crate::hooks::HookList;
use crate::key::InstanceKey;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

use super::candidate::Situation;
use super::gate::{self, Runner};
use super::plan::{arrange, plan};
use super::{Cause, End, Kind, Phase, Recovery};

/// A list, and the recovery as it would stand when the list runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    /// Which processes.
    pub list: HookList,
    /// What they are told of.
    pub recovery: Recovery,
}

/// All lists that are run when the primary of a cluster dies, and those of a planned takeover, in
/// the order they run. Without a successor those that need one know of none. `None` when the
/// cluster has no primary.
pub fn occasions(
    cluster: &Cluster,
    fleet: &FleetSnapshot,
    runner: &Runner,
    now: Timestamp,
) -> Option<Vec<Occasion>> {
    let primary = cluster.primaries().first()?.key().clone();
    let begun = failure(&primary, cluster, fleet, runner, now)?;
    let situation =
        Situation { cluster, returned: None, ledger: &fleet.ledger, policy: &fleet.policy, now };
    let mut won = begun.clone();
    if let Ok(plan) = plan(&begun, &situation) {
        won.lost = plan.lost.into_iter().map(|lost| lost.key).collect();
        won.successor = Some(plan.successor);
        won.phase = Phase::Gathering;
    }
    let over = ended(&won, End::Done, now);
    let lost = ended(&begun, End::RolledBack, now);
    let mut takeover =
        Recovery { kind: Kind::Takeover, cause: Cause::TakeoverAuto, ..begun.clone() };
    takeover.wanted = arrange(&takeover, &situation).ok().map(|(designated, _)| designated);
    let mut taken_over = ended(&takeover, End::Done, now);
    taken_over.successor = takeover.wanted.clone();
    let all = [
        (HookList::FailureDetection, begun.clone()),
        (HookList::PreFailover, begun),
        (HookList::PostPrimaryFailover, won),
        (HookList::PostFailover, over),
        (HookList::PostUnsuccessfulFailover, lost),
        (HookList::PreGracefulTakeover, takeover),
        (HookList::PostGracefulTakeover, taken_over),
    ];
    Some(all.into_iter().map(|(list, recovery)| Occasion { list, recovery }).collect())
}

/// The recovery from what is found of a primary, or else from its death.
fn failure(
    primary: &InstanceKey,
    cluster: &Cluster,
    fleet: &FleetSnapshot,
    runner: &Runner,
    now: Timestamp,
) -> Option<Recovery> {
    let mut recovery = gate::supposed(primary, fleet, runner, now)?;
    let promotes = |code| Kind::of(code).is_some_and(Kind::promotes);
    let found = cluster.analyses.iter().find(|it| it.key == *primary && promotes(it.code));
    match found {
        Some(found) => recovery.analysis = found.clone(),
        None if recovery.kind == Kind::CoPrimary => {
            recovery.analysis.code = Code::DeadCoPrimary;
            recovery.analysis.evidence.is_co_primary = true;
        }
        None => {}
    }
    Some(recovery)
}

fn ended(recovery: &Recovery, how: End, now: Timestamp) -> Recovery {
    Recovery { phase: Phase::Ended(how), ended_at: Some(now), ..recovery.clone() }
}
