//! Groups of servers that choose their primary themselves.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::key::InstanceKey;

/// What kind of group a server is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupKind {
    /// MySQL's Group Replication.
    #[default]
    GroupReplication,
    /// Galera: MariaDB Cluster, Percona XtraDB Cluster.
    Galera,
}

/// Membership in a replication group, or a Galera cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupMember {
    /// What kind of group it is.
    pub kind: GroupKind,
    /// Whether it sees too few others to go on.
    pub has_lost_majority: bool,
    /// Whether it logs what all members have under GTIDs of its own, so that a replica does not find
    /// its place below another member. Never so in group replication.
    pub has_own_gtids: bool,
    /// Group name, a UUID.
    pub name: String,
    /// Whether the group has one primary at a time.
    pub is_single_primary: bool,
    /// `ONLINE`, `RECOVERING`, `OFFLINE`, `ERROR`, `UNREACHABLE`.
    pub state: String,
    /// `PRIMARY` or `SECONDARY`; empty when not known.
    pub role: String,
    /// All members that this member sees.
    pub members: BTreeSet<InstanceKey>,
    /// The primary that this member sees, in a single-primary group.
    pub primary: Option<InstanceKey>,
}

impl GroupMember {
    /// Whether the server counts as a member: any state but `OFFLINE`, which a server is in that
    /// has the plugin and never joined, or left.
    pub fn is_member(&self) -> bool {
        self.state != "OFFLINE"
    }

    /// Whether this member is a primary of its group.
    pub fn is_primary(&self) -> bool {
        self.is_member() && self.role == "PRIMARY"
    }
}
