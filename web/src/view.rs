//! The fleet as the dashboard sees it: one compact row for each instance, cluster and recovery.
//!
//! A row holds what a list or a tree shows, and nothing that moves while all is well: two rows are
//! equal when nobody could tell them apart on a page. What else there is to know of one instance is
//! asked of the API. Rows are written the same way into `/api/fleet` and `/api/events`.

mod advice;
mod cluster;
mod instance;
mod recovery;

use std::sync::Arc;

use baton_topology::recovery::breaker;
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;
use serde::Serialize;

pub(crate) use cluster::ClusterRow;
pub(crate) use instance::InstanceRow;
pub(crate) use recovery::RecoveryRow;

/// Recoveries that are shown with the fleet, the newest ones; all others are in the audit.
pub(crate) const RECOVERIES_MAX: usize = 20;

/// Rows, and what holds for all of them. In an event: those that are different now.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Rows {
    /// The number of the snapshot they were taken from.
    pub(crate) generation: u64,
    /// When that was.
    pub(crate) at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<State>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) clusters: Vec<Arc<ClusterRow>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) instances: Vec<Arc<InstanceRow>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) recoveries: Vec<RecoveryRow>,
    /// Identities of clusters that are no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gone_clusters: Vec<String>,
    /// Names of instances that are known no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gone_instances: Vec<String>,
}

/// What holds for the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    /// The number of the last command of the ledger.
    ledger_index: u64,
    /// Automated recoveries are switched off everywhere.
    recoveries_disabled: bool,
    /// Why nothing is done by itself though it is switched on: too much failed at once.
    breaker: String,
    /// How many nodes have a vote; none or one where this one is alone.
    nodes: usize,
}

impl State {
    /// As of `now`.
    pub(crate) fn of(fleet: &FleetSnapshot, now: Timestamp) -> Self {
        Self {
            ledger_index: fleet.ledger.index,
            recoveries_disabled: fleet.ledger.recoveries_disabled,
            breaker: breaker::breaker(fleet, now).unwrap_or_default(),
            nodes: fleet.polls.nodes,
        }
    }
}

impl Rows {
    /// The beginning of an event.
    pub(crate) fn none(fleet: &FleetSnapshot, now: Timestamp) -> Self {
        Self { generation: fleet.generation, at: moment(now), ..Self::default() }
    }

    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.is_none()
            && self.clusters.is_empty()
            && self.instances.is_empty()
            && self.recoveries.is_empty()
            && self.gone_clusters.is_empty()
            && self.gone_instances.is_empty()
    }
}

/// The recoveries that are shown with the fleet, newest first.
pub(crate) fn newest_recoveries(
    fleet: &FleetSnapshot,
) -> impl Iterator<Item = &Arc<baton_topology::recovery::Recovery>> {
    let mut all: Vec<_> = fleet.ledger.recoveries.values().collect();
    all.sort_by_key(|recovery| std::cmp::Reverse(recovery.id));
    all.into_iter().take(RECOVERIES_MAX)
}

/// Whether there is nothing to say: what is empty, no or 0 is left out of rows.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A point in time, in UTC, with milliseconds: pages count seconds from it.
pub(crate) fn moment(at: Timestamp) -> String {
    match chrono::DateTime::from_timestamp_micros(at.as_micros()) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
