//! Whether a replica is one by the word of both sides.
//!
//! Any server can say that it replicates from another one. A source lists who is connected to it. A
//! server that says so while its source lives and is read, and never stands in that list, is no
//! replica: it does not witness whether the source lives, and neither succeeds it nor feeds who does.
//!
//! Only what had the chance to stand in a list is judged by it. A source that was not read since, or
//! does not let its list be read, says nothing: then the word of the replica counts alone. Who stood in
//! the list once is a replica for as long as it names the same source, whatever becomes of its receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::graph::{Instances, source_of};
use crate::gtid::Gtids;
use crate::instance::{Facts, Instance, ThreadState};
use crate::key::InstanceKey;
use crate::names::HostNames;
use crate::remembered::received_or_executed;
use crate::time::Timestamp;
use crate::version::Flavor;

/// A source has no more replicas: a longer list counts as not read, and leads to so many servers.
pub const REGISTERED_MAX: usize = 10_000;
/// So many lists without a replica that does not change its word are enough.
const MISSES_ENOUGH: u8 = 2;
/// So many are enough whatever it says in between.
const MISSES_MANY: u8 = 6;
/// Two lists that were read in a shorter time count as one: a receiver says that it runs a moment
/// before it is registered.
const MISSES_APART: Duration = Duration::from_secs(3);

/// One replica in the list of its source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Registered {
    /// Its `server_uuid`; replicas of MariaDB tell none.
    pub server_uuid: Option<Uuid>,
    /// Its `server_id`; 0 where the list does not tell it.
    pub server_id: u32,
}

/// What the lists of its source said of a replica since it names that source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Listing {
    /// It stood in one of them.
    pub is_listed: bool,
    /// Lists without it, one after the other, while its receiver was said to run.
    missed_running: u8,
    /// The same, while its receiver did not run.
    missed_idle: u8,
    /// Lists without it in all.
    missed: u8,
    /// When the newest list without it was read.
    missed_at: Option<Timestamp>,
    /// The replica was not read since.
    waits_for_replica: bool,
}

/// What a server is to the one it says it replicates from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Membership {
    /// Its replica, as far as can be known.
    #[default]
    Replica,
    /// It has data from there, and was never seen connected: it may follow a new source, and is no
    /// witness, nor a candidate beside others.
    NeverConnected,
    /// No replica: it was never listed, though it says that it is connected, or has nothing from there.
    Unlisted,
}

impl Listing {
    /// The same, after a look at the replica found its receiver in this state. Who was missed often
    /// enough stays so, whatever it says later: only the source's list ends that.
    #[must_use]
    pub(crate) fn replica_read(&self, receiver: ThreadState) -> Self {
        let mut next = Self { waits_for_replica: false, ..self.clone() };
        let ends = match receiver {
            ThreadState::Running => &mut next.missed_idle,
            _ => &mut next.missed_running,
        };
        if *ends < MISSES_ENOUGH {
            *ends = 0;
        }
        next
    }

    /// The same, after a list was read at this time in which the replica stands, or does not.
    fn source_read(&self, is_there: bool, receiver: ThreadState, at: Timestamp) -> Self {
        if is_there {
            return Self { is_listed: true, ..Self::default() };
        }
        let is_early = self.missed_at.is_some_and(|last| at.since(last) < MISSES_APART);
        if self.waits_for_replica || is_early {
            return self.clone();
        }
        let mut next = Self {
            missed: self.missed.saturating_add(1),
            missed_at: Some(at),
            waits_for_replica: true,
            ..self.clone()
        };
        let counter = match receiver {
            ThreadState::Running => &mut next.missed_running,
            _ => &mut next.missed_idle,
        };
        *counter = counter.saturating_add(1);
        next
    }
}

/// Compares what replicas say with the lists of those sources that were just read, and returns the
/// replicas of which more is known now.
pub(crate) fn compare<'a>(
    read: impl Iterator<Item = &'a Instance>,
    instances: &Instances,
    names: &HostNames,
) -> Vec<Arc<Instance>> {
    let lists = |it: &&Instance| it.is_valid() && tells_its_replicas(&it.facts);
    let sources: BTreeMap<&InstanceKey, &Instance> =
        read.filter(lists).map(|source| (&source.key, source)).collect();
    if sources.is_empty() {
        return Vec::new();
    }
    let mut compared = Vec::new();
    let mut addresses: BTreeMap<&InstanceKey, BTreeSet<InstanceKey>> = BTreeMap::new();
    let is_open = |it: &&Arc<Instance>| {
        it.is_valid() && it.facts.source().is_some() && !it.remembered.listing.is_listed
    };
    for replica in instances.values().filter(is_open) {
        let source = source_of(replica, names).and_then(|key| sources.get(&key).copied());
        let Some(source) = source else { continue };
        let addresses = addresses.entry(&source.key).or_insert_with(|| {
            source.facts.replicas.iter().map(|key| names.resolve(key)).collect()
        });
        let is_there = stands_in_list(replica, source, addresses, instances, names);
        let receiver = receiver(&replica.facts);
        let at = source.health.facts_from.unwrap_or(Timestamp::EPOCH);
        let listing = replica.remembered.listing.source_read(is_there, receiver, at);
        if listing != replica.remembered.listing {
            let mut replica = (**replica).clone();
            replica.remembered.listing = listing;
            compared.push(Arc::new(replica));
        }
    }
    compared
}

/// MaxScale lists in its own way.
fn tells_its_replicas(facts: &Facts) -> bool {
    facts.registered.is_some() && facts.version.flavor() != Flavor::MaxScale
}

fn receiver(facts: &Facts) -> ThreadState {
    facts.main_channel().map_or(ThreadState::Absent, |channel| channel.receiver)
}

/// Whether a replica stands in the list of its source: by its address, by its UUID, or where the list
/// tells no UUID by its server id, unless that is the one of another replica that stands there by its
/// address.
fn stands_in_list(
    replica: &Instance,
    source: &Instance,
    addresses: &BTreeSet<InstanceKey>,
    instances: &Instances,
    names: &HostNames,
) -> bool {
    let Facts { server_id, server_uuid, .. } = *replica.facts;
    let mut registered = source.facts.registered.iter().flatten();
    let by_uuid = |it: &Registered| server_uuid.is_some() && it.server_uuid == server_uuid;
    let by_id = |it: &Registered| it.server_uuid.is_none() && it.server_id == server_id;
    let is_anothers = || {
        let mut others = addresses.iter().filter_map(|key| instances.get(key));
        others.any(|other| {
            other.key != replica.key
                && other.facts.server_id == server_id
                && source_of(other, names).as_ref() == Some(&source.key)
        })
    };
    addresses.contains(&replica.key)
        || registered.clone().any(by_uuid)
        || (registered.any(by_id) && !is_anothers())
}

/// What a server is to the one that it says is its source, as far as lists tell.
pub(crate) fn membership(replica: &Instance, source: Option<&Instance>) -> Membership {
    let listing = &replica.remembered.listing;
    let facts = &replica.facts;
    let Some(source) = source.filter(|_| facts.source().is_some()) else {
        return Membership::Replica;
    };
    let is_idle = listing.missed_idle >= MISSES_ENOUGH || listing.missed >= MISSES_MANY;
    if listing.is_listed || facts.version.flavor() == Flavor::MaxScale {
        Membership::Replica
    } else if listing.missed_running >= MISSES_ENOUGH {
        Membership::Unlisted
    } else if !is_idle {
        Membership::Replica
    } else if has_data_of(replica, source) {
        Membership::NeverConnected
    } else {
        Membership::Unlisted
    }
}

/// Whether a replica was connected to a source once, by what it tells: it knows its UUID, or has
/// transactions that it has.
fn has_data_of(replica: &Instance, source: &Instance) -> bool {
    let (ours, theirs) = (&*replica.facts, &*source.facts);
    let known = ours.main_channel().and_then(|channel| channel.source_uuid);
    if known.is_some() && known == theirs.server_uuid {
        return true;
    }
    match (received_or_executed(ours), received_or_executed(theirs)) {
        (Gtids::MySql(ours), Gtids::MySql(theirs)) => !ours.intersect(&theirs).is_empty(),
        (Gtids::MariaDb(ours), _) => ours
            .iter()
            .any(|it| theirs.gtid.logged_by.last_of(it.domain, it.server_id) >= Some(it.sequence)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
