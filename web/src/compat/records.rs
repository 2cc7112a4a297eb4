//! Records of the past and of what was set, as orchestrator shows them.

use std::collections::BTreeMap;

use baton_topology::analysis::Code;
use baton_topology::history::{AnalysisChange, AuditEntry, DetectionEntry};
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{LedgerState, Maintenance};
use baton_topology::recovery::{Kind, Recovery};
use baton_topology::time::Timestamp;
use serde::Serialize;

use super::analysis::{AnalysisJson, code_name};
use super::cluster::ClusterInfoJson;
use super::json::{BinlogJson, KeyJson, keys, sql_timestamp, timestamp};

impl ClusterInfoJson {
    /// What a detection keeps of its cluster.
    pub(super) fn of_detection(detection: &DetectionEntry) -> Self {
        Self {
            has_automated_master_recovery: detection.auto_recover_primary,
            has_automated_intermediate_master_recovery: detection.auto_recover_intermediate,
            ..Self::named(&detection.cluster_name, &detection.cluster_alias)
        }
    }
}

/// One line of the audit log.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AuditJson {
    audit_id: u64,
    audit_timestamp: String,
    audit_type: String,
    audit_instance_key: KeyJson,
    message: String,
}

impl From<AuditEntry> for AuditJson {
    fn from(audit: AuditEntry) -> Self {
        let AuditEntry { id, entry } = audit;
        Self {
            audit_id: id,
            audit_timestamp: timestamp(entry.at),
            audit_type: entry.kind,
            audit_instance_key: entry.key.as_ref().map(KeyJson::from).unwrap_or_default(),
            message: entry.message,
        }
    }
}

/// Maintenance on an instance.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MaintenanceJson {
    maintenance_id: u64,
    key: KeyJson,
    begin_timestamp: String,
    seconds_elapsed: u64,
    is_active: bool,
    owner: String,
    reason: String,
}

impl MaintenanceJson {
    /// Renders maintenance in force.
    pub(crate) fn of(key: &InstanceKey, maintenance: &Maintenance, now: Timestamp) -> Self {
        Self {
            maintenance_id: maintenance.id,
            key: key.into(),
            begin_timestamp: timestamp(maintenance.begins_at),
            seconds_elapsed: now.since(maintenance.begins_at).as_secs(),
            is_active: true,
            owner: maintenance.owner.to_string(),
            reason: maintenance.reason.to_string(),
        }
    }
}

/// A registered promotion rule.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CandidateJson {
    hostname: String,
    port: u16,
    promotion_rule: &'static str,
    last_suggested_string: String,
    promotion_rule_expiry: String,
}

/// All rules that hold, ordered by instance.
pub(crate) fn candidates(ledger: &LedgerState, now: Timestamp) -> Vec<CandidateJson> {
    let holding = ledger.candidates.iter().filter(|(_, candidate)| now < candidate.expires_at);
    holding
        .map(|(key, candidate)| CandidateJson {
            hostname: key.host().to_owned(),
            port: key.port(),
            promotion_rule: candidate.rule.as_str(),
            last_suggested_string: timestamp(candidate.registered_at),
            promotion_rule_expiry: timestamp(candidate.expires_at),
        })
        .collect()
}

/// A recovery, or a detected failure in the same shape.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RecoveryJson {
    id: u64,
    #[serde(rename = "UID")]
    uid: String,
    analysis_entry: AnalysisJson,
    successor_key: Option<KeyJson>,
    successor_alias: String,
    successor_binlog_coordinates: Option<BinlogJson>,
    is_active: bool,
    is_successful: bool,
    lost_replicas: Vec<KeyJson>,
    /// How many transactions are known to be lost; not there when none are.
    #[serde(skip_serializing_if = "is_zero")]
    lost_transaction_count: u64,
    /// Which those are.
    #[serde(skip_serializing_if = "String::is_empty")]
    lost_transactions: String,
    participating_instance_keys: Vec<KeyJson>,
    all_errors: Option<Vec<String>>,
    recovery_start_timestamp: String,
    recovery_end_timestamp: String,
    processing_node_hostname: String,
    processing_node_token: String,
    acknowledged: bool,
    acknowledged_at: String,
    acknowledged_by: String,
    acknowledged_comment: String,
    last_detection_id: u64,
    related_recovery_id: u64,
    r#type: String,
    recovery_type: String,
}

impl RecoveryJson {
    /// Renders a detected failure, whether it still counts, and `answer`: the recovery from it, or 0.
    pub(crate) fn of_detection(detection: &DetectionEntry, is_active: bool, answer: u64) -> Self {
        Self {
            id: detection.id,
            related_recovery_id: answer,
            analysis_entry: AnalysisJson::of_detection(detection),
            is_active,
            recovery_start_timestamp: timestamp(detection.at),
            processing_node_hostname: detection.node.clone(),
            processing_node_token: detection.token.clone(),
            ..Self::default()
        }
    }
}

impl RecoveryJson {
    /// Renders a recovery; `active_since` is the oldest beginning that still blocks others.
    pub(crate) fn of(recovery: &Recovery, active_since: Timestamp, ledger: &LedgerState) -> Self {
        let failed = (recovery.failed().clone(), recovery.analysis.code);
        let (key, code) = &failed;
        let detection = ledger
            .detections
            .get(&failed)
            .filter(|known| recovery.is_from((key, *code), known.at, known.fresh_until))
            .map_or(0, |known| known.id);
        let successor = recovery.successor.as_ref().map(KeyJson::from);
        let acknowledged = recovery.acknowledged.as_ref();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            id: recovery.id,
            uid: recovery.uid.to_string(),
            analysis_entry: AnalysisJson::of_recovery(recovery),
            // Programs look for an empty host, not for nothing.
            successor_key: Some(successor.unwrap_or_default()),
            is_active: recovery.is_running()
                || (acknowledged.is_none() && recovery.begun_at >= active_since),
            is_successful: recovery.is_successful(),
            lost_replicas: keys(&recovery.lost),
            lost_transaction_count: recovery.loss().map_or(0, |it| it.count),
            lost_transactions: recovery.loss().map(|it| it.known.clone()).unwrap_or_default(),
            participating_instance_keys: keys(participants(recovery)),
            all_errors: Some(match recovery.errors.is_empty() {
                true => vec![String::new()],
                false => recovery.errors.clone(),
            }),
            recovery_start_timestamp: timestamp(recovery.begun_at),
            recovery_end_timestamp: recovery.ended_at.map(sql_timestamp).unwrap_or_default(),
            processing_node_hostname: recovery.node.clone(),
            processing_node_token: recovery.token.clone(),
            acknowledged: acknowledged.is_some(),
            acknowledged_at: acknowledged.map(|it| sql_timestamp(it.at)).unwrap_or_default(),
            acknowledged_by: text(acknowledged.map(|it| &*it.by)),
            acknowledged_comment: text(acknowledged.map(|it| &*it.comment)),
            last_detection_id: detection,
            r#type: kind_name(recovery.kind).to_owned(),
            recovery_type: match recovery.kind {
                Kind::Primary | Kind::CoPrimary | Kind::Takeover => "MasterRecoveryGTID",
                _ => "NotMasterRecovery",
            }
            .to_owned(),
            ..Self::default()
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Primary | Kind::ReadOnlyPrimary | Kind::Takeover | Kind::Rejoin | Kind::SemiSync => {
            "MasterRecovery"
        }
        Kind::CoPrimary => "CoMasterRecovery",
        Kind::IntermediateSource | Kind::Regroup => "IntermediateMasterRecovery",
        Kind::GroupMember => "ReplicationGroupMemberRecovery",
    }
}

/// Everybody a recovery had to do with, each once.
fn participants(recovery: &Recovery) -> Vec<&InstanceKey> {
    let mut keys: Vec<&InstanceKey> = recovery.replicas.iter().collect();
    keys.push(recovery.failed());
    keys.extend(&recovery.successor);
    keys.sort();
    keys.dedup();
    keys
}

/// One line of a recovery's log.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RecoveryStepJson {
    id: u64,
    #[serde(rename = "RecoveryUID")]
    recovery_uid: String,
    audit_at: String,
    message: String,
}

/// Who reads the log of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// One that may change nothing.
    Anybody,
    /// One that may change something: it is told the commands of hooks too, and what they wrote.
    Writer,
}

/// The log of a recovery, oldest line first.
pub(crate) fn recovery_steps(recovery: &Recovery, reader: Reader) -> Vec<RecoveryStepJson> {
    let lines = recovery.log.iter().zip(1..).map(|(line, id)| RecoveryStepJson {
        id,
        recovery_uid: recovery.uid.to_string(),
        audit_at: timestamp(line.at),
        message: match reader {
            Reader::Anybody => line.text.clone(),
            Reader::Writer => format!("{}{}", line.text, line.for_writers),
        },
    });
    lines.collect()
}

/// A recovery that does not begin because of an earlier one.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BlockedJson {
    failed_instance_key: KeyJson,
    cluster_name: String,
    analysis: &'static str,
    last_blocked_timestamp: String,
    /// 0 where it is not a recovery that stands against it.
    blocking_recovery_id: u64,
    /// What else does; the peer knows of nothing else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

impl BlockedJson {
    /// Renders one.
    pub(crate) fn of(
        key: &InstanceKey,
        cluster_name: String,
        code: Code,
        blocking: u64,
        now: Timestamp,
    ) -> Self {
        Self {
            failed_instance_key: key.into(),
            cluster_name,
            analysis: code_name(code),
            last_blocked_timestamp: timestamp(now),
            blocking_recovery_id: blocking,
            reasons: Vec::new(),
        }
    }

    /// The same, with what else stands against it.
    #[must_use]
    pub(crate) fn because(self, reasons: Vec<String>) -> Self {
        Self { reasons, ..self }
    }
}

/// The verdicts on one instance over time.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ChangelogJson {
    analyzed_instance_key: KeyJson,
    changelog: Vec<String>,
}

/// Changes by instance; `None` when there are none, as the peer has it.
pub(crate) fn changelogs(changes: Vec<AnalysisChange>) -> Option<Vec<ChangelogJson>> {
    let mut by_key: BTreeMap<InstanceKey, Vec<String>> = BTreeMap::new();
    for change in changes {
        let line = format!("{};{},", timestamp(change.at), code_name(change.code));
        by_key.entry(change.key).or_default().push(line);
    }
    let logs = by_key
        .into_iter()
        .map(|(key, changelog)| ChangelogJson { analyzed_instance_key: (&key).into(), changelog });
    let logs: Vec<ChangelogJson> = logs.collect();
    (!logs.is_empty()).then_some(logs)
}

/// How the node is.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HealthJson {
    pub(crate) healthy: bool,
    pub(crate) hostname: String,
    pub(crate) token: String,
    pub(crate) is_active_node: bool,
    pub(crate) active_node: NodeJson,
    /// Go's errors do not marshal: an error shows as an empty object.
    pub(crate) error: Option<BTreeMap<(), ()>>,
    pub(crate) available_nodes: Option<Vec<NodeJson>>,
    pub(crate) raft_leader: String,
    pub(crate) is_raft_leader: bool,
    #[serde(rename = "RaftLeaderURI")]
    pub(crate) raft_leader_uri: String,
    pub(crate) raft_advertise: String,
    pub(crate) raft_healthy_members: Option<Vec<String>>,
    /// What is wrong between the nodes; the peer has nothing like it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) raft_findings: Vec<String>,
}

/// One node.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NodeJson {
    pub(crate) hostname: String,
    pub(crate) token: String,
    pub(crate) app_version: String,
    pub(crate) first_seen_active: String,
    pub(crate) last_seen_active: String,
    pub(crate) extra_info: String,
    pub(crate) command: String,
    #[serde(rename = "DBBackend")]
    pub(crate) db_backend: String,
    pub(crate) last_reported: &'static str,
}

/// Go's zero time.
pub(crate) const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
