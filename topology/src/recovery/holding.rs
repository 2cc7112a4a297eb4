//! What replicas have received, compared.
//!
//! What a replica wrote itself is no part of that. By MySQL's GTIDs it shows by its UUID. MariaDB
//! numbers it on within a domain, as if it came after what others wrote: there it is told apart by
//! who wrote it, and only what somebody else has as well counts.

use uuid::Uuid;

use crate::binlog::BinlogCoordinates;
use crate::cluster::Member;
use crate::errant::imported;
use crate::gtid::{GtidSet, Gtids, MariaDbGtid, MariaDbPosition, Relation};
use crate::instance::{Facts, Positioning};
use crate::key::InstanceKey;

/// What one replica has received from the source they share, applied or not.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Holding {
    pub(super) key: InstanceKey,
    /// Everything received from there, without what only this replica wrote or imports.
    received: Gtids,
    /// Transactions of its own that nobody else is to have.
    pub(super) errant: GtidSet,
    /// The same on MariaDB, in words: the last one of each domain.
    pub(super) own: Option<String>,
    /// How far it has read in its source's log.
    read: BinlogCoordinates,
    uses_gtid: bool,
}

/// Everything a server has, applied or waiting in its relay log, without what a replica wrote
/// itself where that cannot be told from what others wrote.
pub(super) fn everything(member: &Member) -> Gtids {
    let facts = &member.instance.facts;
    let received = facts.main_channel().map_or(&Gtids::None, |channel| &channel.received);
    if !facts.gtid.is_told_apart() {
        return facts.gtid.executed.union(received);
    }
    // A primary gives what is in its log. What it applied when it was a replica is in there too, or
    // was taken out with all that was: nobody will ever get that from it.
    if facts.main_channel().is_none() && facts.binlog.enabled {
        return Gtids::MariaDb(facts.gtid.logged.clone());
    }
    let had = received_by_mariadb(member);
    // So does one that accepts writes, whatever it follows besides.
    let gives = facts.binlog.enabled && !facts.read_only;
    Gtids::MariaDb(if gives { had.union(&facts.gtid.logged) } else { had })
}

/// What a MariaDB server applied, or has in its relay log, of what others wrote.
fn received_by_mariadb(member: &Member) -> MariaDbPosition {
    let facts = &member.instance.facts;
    let gtids = &facts.gtid;
    let mut had = gtids.replicated.clone();
    if writes_for_others(member) && facts.binlog.logs_replica_updates {
        had = had.filtered(|it| gtids.logged_by.has_domain(it.domain)).union(&gtids.logged);
    }
    match facts.main_channel().map(|channel| &channel.received) {
        Some(Gtids::MariaDb(received)) => {
            let by_others = received.filtered(|it| it.server_id != facts.server_id);
            let is_new = |it: MariaDbGtid| gtids.replicated.last_of(it.domain) < Some(it.sequence);
            had.union(&by_others.filtered(is_new))
        }
        _ => had,
    }
}

/// A co-primary that accepts writes is there to write.
fn writes_for_others(member: &Member) -> bool {
    member.is_co_primary && !member.instance.facts.read_only
}

/// What each of the replicas has. `source` is what they share, as it was last seen, and
/// `source_had` what it had then.
pub(super) fn holdings(
    replicas: &[&Member],
    source: Option<&Member>,
    source_had: &Gtids,
) -> Vec<Holding> {
    let errant: Vec<GtidSet> =
        replicas.iter().map(|member| own_writes(member, replicas, source_had)).collect();
    let family: Vec<&Member> = replicas.iter().copied().chain(source).collect();
    let facts = || replicas.iter().map(|member| &member.instance.facts);
    let sources = facts().filter_map(|it| it.main_channel()?.source_uuid);
    let uuids: Vec<Uuid> = sources.chain(facts().filter_map(|it| it.server_uuid)).collect();
    let ids: Vec<u32> = family.iter().map(|it| it.instance.facts.server_id).collect();
    let holding = |(member, errant): (&&Member, GtidSet)| {
        let facts = &member.instance.facts;
        let imported = match source_had {
            Gtids::MySql(had) => imported(facts, &uuids).subtract(had),
            _ => imported(facts, &uuids),
        };
        let received = match everything(member) {
            Gtids::MySql(set) => Gtids::MySql(set.subtract(&errant).subtract(&imported)),
            Gtids::MariaDb(had) => {
                let had = shared(&had, member, &family);
                Gtids::MariaDb(match source_had {
                    Gtids::MariaDb(kept) => without_imports(&had, facts, &ids, kept),
                    _ => had,
                })
            }
            Gtids::None => Gtids::None,
        };
        let channel = facts.main_channel();
        Holding {
            key: member.key().clone(),
            received,
            errant,
            own: own_of_mariadb(member, &family),
            read: channel.map(|it| it.read.clone()).unwrap_or_default(),
            // Who was about to be opened has forgotten its source, not what it has.
            uses_gtid: channel.map_or(facts.gtid.executed != Gtids::None, |it| {
                it.positioning != Positioning::File
            }),
        }
    };
    replicas.iter().zip(errant).map(holding).collect()
}

/// What counts of a MariaDB replica's position: what it wrote itself once, and others have; but no
/// domain that is in nobody's log, left over from whatever the server replicated before.
fn shared(had: &MariaDbPosition, member: &Member, family: &[&Member]) -> MariaDbPosition {
    let facts = &member.instance.facts;
    if !facts.gtid.is_told_apart() {
        return had.clone();
    }
    // Not its log, should it have forgotten its source already: its own writes may come last there.
    let had = received_by_mariadb(member);
    let is_known =
        |it: MariaDbGtid| it.server_id == facts.server_id && others_have(it, member, family);
    let had = had.union(&facts.gtid.logged.filtered(is_known));
    let knows_logs = family.iter().any(|it| !it.instance.facts.gtid.logged_by.is_empty());
    had.filtered(|gtid| {
        let domain = gtid.domain;
        let is_logged =
            || family.iter().any(|it| it.instance.facts.gtid.logged_by.has_domain(domain));
        let comes_in = || facts.gtid.replicated.last_of(domain) < Some(gtid.sequence);
        !knows_logs || is_logged() || comes_in()
    })
}

/// Whether anybody else has this transaction of a member.
fn others_have(gtid: MariaDbGtid, member: &Member, family: &[&Member]) -> bool {
    let others = family.iter().filter(|other| other.key() != member.key());
    let mut others = others.map(|other| &other.instance.facts.gtid);
    others.any(|it| {
        it.logged_by.last_of(gtid.domain, gtid.server_id) >= Some(gtid.sequence)
            || it.replicated.iter().any(|last| {
                (last.domain, last.server_id) == (gtid.domain, gtid.server_id)
                    && last.sequence >= gtid.sequence
            })
    })
}

/// What a MariaDB replica wrote itself and nobody else has.
fn own_of_mariadb(member: &Member, family: &[&Member]) -> Option<String> {
    if writes_for_others(member) {
        return None;
    }
    let facts = &member.instance.facts;
    let own = facts.gtid.logged_by.iter().filter(|it| it.server_id == facts.server_id);
    let own = own.filter(|it| !others_have(*it, member, family));
    let own: Vec<String> = own.map(|it| it.to_string()).collect();
    (!own.is_empty()).then(|| own.join(","))
}

/// What a former primary of MariaDB has that a primary lacks: for each domain and server the last
/// transaction in its log that the other has not got. Empty where there is none; `None` where its
/// log is not known.
pub(super) fn extra_of_mariadb(former: &Member, primary: &Member) -> Option<Vec<String>> {
    let (ours, theirs) = (&former.instance.facts.gtid, &primary.instance.facts.gtid);
    if ours.logged_by.is_empty() || !theirs.is_told_apart() {
        return None;
    }
    let had = theirs.replicated.union(&theirs.logged);
    // What it imports goes on coming, and is nobody's to lose.
    let imports = |it: &MariaDbGtid| has_imported(&former.instance.facts, *it);
    let extra = ours.logged_by.iter().filter(|it| !imports(it)).filter(|it| {
        match theirs.logged_by.last_of(it.domain, it.server_id) {
            Some(last) => last < it.sequence,
            // Its log was emptied, or it does not log what it replicates.
            None => had.last_of(it.domain) < Some(it.sequence),
        }
    });
    Some(extra.map(|it| it.to_string()).collect())
}

/// Whether a transaction of MariaDB came to a server by another channel than its main one: such a
/// channel has last received what the same server wrote in the same domain.
fn has_imported(facts: &Facts, gtid: MariaDbGtid) -> bool {
    let is_from_there =
        |last: MariaDbGtid| (last.domain, last.server_id) == (gtid.domain, gtid.server_id);
    facts.other_channels().any(|channel| match &channel.received {
        Gtids::MariaDb(received) => received.iter().any(is_from_there),
        _ => false,
    })
}

/// What a MariaDB server has, without the domains in which it imports what others than `ours`, by
/// their server ids, write; but all of what `kept` has.
pub(super) fn without_imports(
    had: &MariaDbPosition,
    facts: &Facts,
    ours: &[u32],
    kept: &MariaDbPosition,
) -> MariaDbPosition {
    had.filtered(|it| {
        let is_ours = ours.contains(&it.server_id) || kept.last_of(it.domain).is_some();
        is_ours || !has_imported(facts, it)
    })
}

/// Why MariaDB would turn a replica away: what it imports is ahead of what the source has of it.
pub(super) fn turned_away(replica: &Member, source: &Member) -> Option<String> {
    let (ours, theirs) = (&replica.instance.facts, &source.instance.facts.gtid);
    if ours.gtid.ignores_duplicates {
        return None;
    }
    let imports = |it: &MariaDbGtid| has_imported(ours, *it);
    let ahead = ours.gtid.replicated.iter().filter(imports).find(|it| {
        theirs.logged_by.has_domain(it.domain)
            && theirs.logged_by.last_of(it.domain, it.server_id) < Some(it.sequence)
    })?;
    Some(format!(
        "{} imports by another channel and is at {ahead} there, which {} does not have: MariaDB turns \
         it away (error 1236) unless gtid_ignore_duplicates is ON",
        replica.key(),
        source.key()
    ))
}

/// What a replica wrote itself: proven errant before, or under its own name and nowhere else.
fn own_writes(member: &Member, all: &[&Member], source_had: &Gtids) -> GtidSet {
    if writes_for_others(member) {
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
}
