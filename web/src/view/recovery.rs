//! One recovery in a list, or while it runs.

use baton_topology::recovery::{End, Phase, Recovery};
use serde::Serialize;

use super::{is_default, moment};
use crate::compat::code_name;

/// Those of a recovery that is over are shown with it only if they are not more.
const STEPS_MAX: usize = 40;

/// One recovery.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RecoveryRow {
    pub(crate) id: u64,
    uid: String,
    /// The identity of its cluster.
    cluster: String,
    cluster_name: String,
    cluster_alias: String,
    /// Such as `primary` or `takeover`.
    kind: serde_json::Value,
    /// Such as `found` or `asked`.
    cause: serde_json::Value,
    code: &'static str,
    /// The instance it is about.
    failed: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    successor: String,
    /// `announcing`, `freezing`... or how it ended: `done`, `rolled back`, `stuck`.
    phase: &'static str,
    node: String,
    begun_at: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ended_at: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    /// Servers that could not come along.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    acknowledged: bool,
    /// Why this successor, and what it may cost; only while it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<String>,
    /// What was done so far; of a long one only while it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
}

/// Something a recovery did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Step {
    at: String,
    text: String,
}

impl RecoveryRow {
    /// A recovery as the ledger has it.
    pub(crate) fn of(recovery: &std::sync::Arc<Recovery>) -> Self {
        let row = Self {
            id: recovery.id,
            uid: recovery.uid.to_string(),
            cluster: recovery.cluster.to_string(),
            cluster_name: recovery.cluster_name.clone(),
            cluster_alias: recovery.cluster_alias.clone(),
            kind: serde_json::to_value(recovery.kind).unwrap_or_default(),
            cause: serde_json::to_value(recovery.cause).unwrap_or_default(),
            code: code_name(recovery.analysis.code),
            failed: recovery.failed().to_string(),
            successor: recovery.successor.as_ref().map(ToString::to_string).unwrap_or_default(),
            phase: phase(recovery.phase),
            node: recovery.node.clone(),
            begun_at: moment(recovery.begun_at),
            ended_at: recovery.ended_at.map(moment).unwrap_or_default(),
            errors: recovery.errors.clone(),
            lost: recovery.lost.iter().map(ToString::to_string).collect(),
            acknowledged: recovery.acknowledged.is_some(),
            ..Self::default()
        };
        if !recovery.is_running() && recovery.log.len() > STEPS_MAX {
            return row;
        }
        let steps = recovery.log.iter();
        let plan = recovery.plan.as_ref().filter(|_| recovery.is_running());
        Self {
            why: plan.map(|plan| plan.why.clone()).unwrap_or_default(),
            // Readers of events share them, whatever they may do: nothing of it is for writers only.
            steps: steps
                .map(|line| Step { at: moment(line.at), text: line.text.clone() })
                .collect(),
            ..row
        }
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Announcing => "announcing",
        Phase::Arranging => "arranging",
        Phase::Freezing => "freezing",
        Phase::Weighing => "weighing",
        Phase::Preparing { .. } => "preparing",
        Phase::Opening => "opening",
        Phase::Gathering => "gathering",
        Phase::RollingBack => "rolling back",
        Phase::Ended(End::Done) => "done",
        Phase::Ended(End::RolledBack) => "rolled back",
        Phase::Ended(End::Stuck) => "stuck",
    }
}
