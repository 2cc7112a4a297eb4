//! Sets of global transaction identifiers: MySQL's, with tags, and MariaDB's positions.
//!
//! Sets are only partially ordered. Two servers may each have what the other lacks, so there is
//! deliberately no `Ord`: ask for the [`Relation`].

mod intervals;
mod mariadb;
mod mysql;

use serde::{Deserialize, Serialize};

pub use mariadb::{MariaDbGtid, MariaDbPosition, MariaDbState, ParseMariaDbError};
pub use mysql::{Gtid, GtidSet, ParseGtidError};

/// What a server has, in the words of its flavour.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Gtids {
    /// The server has no GTIDs, or none were read.
    #[default]
    None,
    /// MySQL and Percona Server.
    MySql(GtidSet),
    /// MariaDB.
    MariaDb(MariaDbPosition),
}

impl Gtids {
    /// How what `self` has compares with what `other` has; `None` when they are of different
    /// kinds, or one of them is not known.
    pub fn relation(&self, other: &Self) -> Option<Relation> {
        match (self, other) {
            (Self::MySql(ours), Self::MySql(theirs)) => Some(ours.relation(theirs)),
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => Some(ours.relation(theirs)),
            _ => None,
        }
    }

    /// Everything that either has. Of different kinds, `self` counts, unless nothing is known of it.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MySql(ours), Self::MySql(theirs)) => Self::MySql(ours.union(theirs)),
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => Self::MariaDb(ours.union(theirs)),
            (Self::None, theirs) => theirs.clone(),
            (ours, _) => ours.clone(),
        }
    }
}

impl std::fmt::Display for Gtids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::MySql(set) => set.fmt(f),
            Self::MariaDb(position) => position.fmt(f),
        }
    }
}

/// How two sets compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Both have the same.
    Equal,
    /// The other has all of this one and more.
    Subset,
    /// This one has all of the other and more.
    Superset,
    /// Each has what the other lacks.
    Diverged,
}

impl Relation {
    /// The relation of sets of which this one lacks nothing (or something), and the other too.
    fn of(has_all_of_other: bool, other_has_all: bool) -> Self {
        match (has_all_of_other, other_has_all) {
            (true, true) => Self::Equal,
            (true, false) => Self::Superset,
            (false, true) => Self::Subset,
            (false, false) => Self::Diverged,
        }
    }
}
