//! Records of the past, as the store keeps them and the web shows them.

use serde::{Deserialize, Serialize};

use crate::analysis::{Analysis, Code};
use crate::cluster::ClusterId;
use crate::key::InstanceKey;
use crate::time::Timestamp;

/// How many rows a page of history has.
pub const HISTORY_PAGE_ROWS: u32 = 20;

/// Which detections are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetectionSelect {
    /// A page of all.
    Page(u32),
    /// The one with that number.
    Id(u64),
    /// A page of those of one cluster alias.
    Alias(String, u32),
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number.
    pub id: u64,
    /// The line.
    pub entry: NewAuditEntry,
}

/// A line of the audit log before it has a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAuditEntry {
    /// When.
    pub at: Timestamp,
    /// What was done, such as `discover` or `begin-downtime`.
    pub kind: String,
    /// To which instance, if to one.
    pub key: Option<InstanceKey>,
    /// In which cluster, when known.
    pub cluster: Option<ClusterId>,
    /// The story.
    pub message: String,
}

/// A failure that was detected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectionEntry {
    /// Its number.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What was found.
    pub analysis: Analysis,
    /// The cluster's old-style name then.
    pub cluster_name: String,
    /// The cluster's alias then.
    pub cluster_alias: String,
    /// The replicas the failed instance had.
    pub replicas: Vec<InstanceKey>,
    /// The node that detected it.
    pub node: String,
    /// The token of its process.
    #[serde(default)]
    pub token: String,
    /// Whether dead primaries of the cluster were failed over by themselves then.
    #[serde(default)]
    pub auto_recover_primary: bool,
    /// Whether its intermediate sources were recovered by themselves.
    #[serde(default)]
    pub auto_recover_intermediate: bool,
}

/// One change of the verdict on an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnalysisChange {
    /// When.
    pub at: Timestamp,
    /// The instance.
    pub key: InstanceKey,
    /// The verdict from then on.
    pub code: Code,
}
