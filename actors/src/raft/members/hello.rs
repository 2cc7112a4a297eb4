//! What nodes tell of themselves.

use std::collections::{BTreeMap, BTreeSet};

use baton_topology::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a node tells about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hello {
    /// Its number.
    pub id: u64,
    /// The process: one number at two processes is a copied disk.
    #[serde(default)]
    pub process: u64,
    /// Its seat.
    pub name: String,
    /// The newest version of commands it understands.
    #[serde(default)]
    pub entries: u32,
    /// What its machine calls itself.
    #[serde(default)]
    pub host: String,
    /// How many commands there are in the ledger it kept while it ran alone.
    #[serde(default)]
    pub kept_alone: u64,
    /// Where people reach its API.
    #[serde(default)]
    pub api: String,
    /// What its clock says.
    #[serde(default)]
    pub now: Timestamp,
    /// Its release; empty where it is too old to tell.
    #[serde(default)]
    pub version: String,
    /// Whether it knows of a raft.
    pub is_in_a_raft: bool,
    /// The seat of the leader, if it knows one.
    pub leader: Option<String>,
    /// The number of the leader, if it knows one.
    #[serde(default)]
    pub leader_id: Option<u64>,
    /// The seats it was told of.
    #[serde(default)]
    pub seats: BTreeSet<String>,
    /// The numbers of all members of the raft it knows of.
    #[serde(default)]
    pub members: BTreeSet<u64>,
    /// The raft it takes part in; 0 if none.
    #[serde(default)]
    pub raft: u64,
    /// Whether people began that one anew because they took other members for lost.
    #[serde(default)]
    pub begun_anew: bool,
    /// Members that have lost what they had confirmed to this node, which leads, and up to where.
    #[serde(default)]
    pub lost: BTreeMap<u64, u64>,
    /// Digests of what is to be configured alike on all nodes, by key.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
}

/// Who asks others about themselves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Caller {
    pub(in super::super) id: u64,
    pub(in super::super) process: u64,
    pub(in super::super) host: String,
}

/// A node that wants to be a member, or to be called otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Newcomer {
    /// Its number.
    pub(in super::super) id: u64,
    /// Its seat.
    pub(in super::super) name: String,
    /// What its machine calls itself.
    pub(in super::super) host: String,
}
