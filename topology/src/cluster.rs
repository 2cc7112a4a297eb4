//! One replication cluster: a tree of instances under a primary, seen at one moment.
//!
//! This module holds the shape. How instances are put into clusters is in [`crate::graph`]; which
//! problems a cluster has is in [`crate::analysis`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::analysis::Analysis;
use crate::gtid::{GtidSet, MariaDbState};
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::membership::Membership;
use crate::time::Timestamp;

/// The stable identity of a cluster. It survives failovers, renames and restarts.
///
/// It is the name of the instance that headed the cluster when it was first seen, which says
/// nothing about who heads it now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(Arc<str>);

impl ClusterId {
    /// Makes an identity of a text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One cluster at one moment. Immutable once published.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its identity.
    pub id: ClusterId,
    /// The instance that gives the cluster its old-style name: the topmost one.
    pub head: InstanceKey,
    /// What people call it. Equals the name when nobody said anything else, or when another
    /// cluster has that alias already.
    pub alias: String,
    /// What it would be called if no other cluster had that alias already; empty when nobody said
    /// anything.
    pub claimed_alias: String,
    /// Its domain; empty when not known.
    pub domain: String,
    /// All instances, by name.
    pub members: BTreeMap<InstanceKey, Member>,
    /// What is wrong; empty when all is well. Ordered as [`crate::analysis::analyze`] orders.
    pub analyses: Vec<Analysis>,
    /// When the passing of time alone may change the findings.
    pub recheck_at: Option<Timestamp>,
}

impl Cluster {
    /// The old-style cluster name: the head's `host:port`.
    pub fn name(&self) -> String {
        self.head.to_string()
    }

    /// The member of that name.
    pub fn member(&self, key: &InstanceKey) -> Option<&Member> {
        self.members.get(key)
    }

    /// The writable heads and co-primaries: members at depth 0 or in a co-primary pair, the
    /// writable ones first, then by depth, then by name.
    pub fn primaries(&self) -> Vec<&Member> {
        let mut heads: Vec<&Member> = self
            .members
            .values()
            .filter(|member| member.depth == 0 || member.is_co_primary)
            .collect();
        heads.sort_by_key(|member| {
            (member.instance.facts.read_only, member.depth, member.instance.key.clone())
        });
        heads
    }
}

/// An instance in its cluster, with what follows from the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The instance itself.
    pub instance: Arc<Instance>,
    /// The instance it replicates from (or, for a group secondary, its group's primary) by its
    /// canonical name. Not necessarily a member: nobody may have seen it yet.
    pub source: Option<InstanceKey>,
    /// What it is to that instance, by the word of both.
    pub membership: Membership,
    /// The known instances that say they replicate from it, ordered by name.
    pub replicas: Vec<InstanceKey>,
    /// Steps down from the head, which is at 0.
    pub depth: u32,
    /// It and another instance replicate from each other.
    pub is_co_primary: bool,
    /// UUIDs of its ancestors from the top, then its own, then its group's name.
    pub ancestry: Vec<Arc<str>>,
    /// Transactions that none of its ancestors has, proven by looks at the ancestors that began
    /// after these transactions were seen here.
    pub errant: GtidSet,
    /// The same on MariaDB, as far as the instance wrote them itself: the last one of each domain.
    pub errant_on_mariadb: MariaDbState,
}

impl Member {
    /// The instance's name.
    pub fn key(&self) -> &InstanceKey {
        &self.instance.key
    }

    /// Whether it is a replica of its source by the word of both, as far as can be known.
    pub fn is_recognized(&self) -> bool {
        self.membership == Membership::Replica
    }

    /// Whether it has errant transactions.
    pub fn is_errant(&self) -> bool {
        !self.errant.is_empty() || !self.errant_on_mariadb.is_empty()
    }

    /// Its errant transactions in the words of its flavour: MySQL's set, or MariaDB's last one of
    /// each domain.
    pub fn errant_text(&self) -> String {
        if self.errant.is_empty() {
            return self.errant_on_mariadb.to_string();
        }
        self.errant.to_string()
    }
}
