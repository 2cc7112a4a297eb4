//! What replicas have received, compared.

use crate::binlog::BinlogCoordinates;
use crate::cluster::Member;
use crate::gtid::{GtidSet, Gtids, Relation};
use crate::instance::Positioning;
use crate::key::InstanceKey;

/// What one replica has received from the source they share, applied or not.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Holding {
    pub(super) key: InstanceKey,
    /// Everything received, without what only this replica wrote.
    received: Gtids,
    /// Transactions of its own that nobody else is to have.
    pub(super) errant: GtidSet,
    /// How far it has read in its source's log.
    read: BinlogCoordinates,
    executed: BinlogCoordinates,
    uses_gtid: bool,
}

/// Everything a server has, applied or waiting in its relay log.
pub(super) fn everything(member: &Member) -> Gtids {
    let facts = &member.instance.facts;
    let received = facts.main_channel().map_or(&Gtids::None, |channel| &channel.received);
    facts.gtid.executed.union(received)
}

/// What each of the replicas has. `source_had` is what their source had when it was last seen.
pub(super) fn holdings(replicas: &[&Member], source_had: &Gtids) -> Vec<Holding> {
    let errant: Vec<GtidSet> =
        replicas.iter().map(|member| own_writes(member, replicas, source_had)).collect();
    let holding = |(member, errant): (&&Member, GtidSet)| {
        let facts = &member.instance.facts;
        let received = match everything(member) {
            Gtids::MySql(set) => Gtids::MySql(set.subtract(&errant)),
            other => other,
        };
        let channel = facts.main_channel();
        Holding {
            key: member.key().clone(),
            received,
            errant,
            read: channel.map(|it| it.read.clone()).unwrap_or_default(),
            executed: channel.map(|it| it.executed.clone()).unwrap_or_default(),
            // Who was about to be opened has forgotten its source, not what it has.
            uses_gtid: channel.map_or(facts.gtid.executed != Gtids::None, |it| {
                it.positioning != Positioning::File
            }),
        }
    };
    replicas.iter().zip(errant).map(holding).collect()
}

/// What a replica wrote itself: proven errant before, or under its own name and nowhere else. A
/// co-primary that accepts writes is there to write.
fn own_writes(member: &Member, all: &[&Member], source_had: &Gtids) -> GtidSet {
    if member.is_co_primary && !member.instance.facts.read_only {
        return member.errant.clone();
    }
    let (Gtids::MySql(had), Some(uuid)) = (everything(member), member.instance.facts.server_uuid)
    else {
        return member.errant.clone();
    };
    let mut own = had.subtract(&had.without_uuids(&[uuid]));
    if let Gtids::MySql(source_had) = source_had {
        own = own.subtract(source_had);
    }
    for other in all.iter().filter(|other| other.key() != member.key()) {
        if let Gtids::MySql(theirs) = everything(other) {
            own = own.subtract(&theirs);
        }
    }
    own.union(&member.errant)
}

impl Holding {
    /// How what this one has compares with what another has; `None` when that cannot be told.
    pub(super) fn relation(&self, other: &Self) -> Option<Relation> {
        if self.uses_gtid && other.uses_gtid {
            return self.received.relation(&other.received);
        }
        if self.read.is_empty() || other.read.is_empty() {
            return None;
        }
        Some(if self.read.is_before(&other.read) {
            Relation::Subset
        } else if other.read.is_before(&self.read) {
            Relation::Superset
        } else {
            Relation::Equal
        })
    }

    /// Whether this one has all that another has.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.key == other.key
            || matches!(self.relation(other), Some(Relation::Equal | Relation::Superset))
    }

    /// Whether it finds its place by GTID.
    pub(super) fn uses_gtid(&self) -> bool {
        self.uses_gtid
    }

    /// What it has received.
    pub(super) fn received(&self) -> &Gtids {
        &self.received
    }

    /// How far it has read in its source's log.
    pub(super) fn read(&self) -> &BinlogCoordinates {
        &self.read
    }

    /// Whether it has applied all that it has received, as far as its source's log tells.
    pub(super) fn is_applied(&self) -> bool {
        self.read == self.executed
    }
}
