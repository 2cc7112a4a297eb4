//! The one function that changes the ledger.

use std::sync::Arc;
use std::time::Duration;

use rpds::RedBlackTreeMapSync;

use super::{
    ALIAS_BYTES_MAX, Candidate, Command, Detection, Downtime, ENTRIES_MAX, HOST_BYTES_MAX,
    LedgerState, Maintenance, OWNER_BYTES_MAX, POOL_MEMBERS_MAX, POOL_NAME_BYTES_MAX, POOLS_MAX,
    Pool, REASON_BYTES_MAX, TAG_NAME_BYTES_MAX, TAG_VALUE_BYTES_MAX, TAGS_PER_INSTANCE_MAX,
    VirtualName,
};
use super::{certificates, discovered, recoveries};
use crate::analysis::Code;
use crate::cluster::ClusterId;
use crate::history::DetectionEntry;
use crate::instance::PromotionRule;
use crate::key::InstanceKey;
use crate::time::Timestamp;

/// Who was replaced as a primary is remembered for so much longer than other things that are over:
/// whenever it comes back, it must not be taken for a primary.
const REPLACED_KEPT_FOR: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// What applying a command came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The instances it concerned, ordered by name and each once: for an untag those that had the
    /// tag, for anything else those that were named.
    pub keys: Vec<InstanceKey>,
}

/// Why a command was not applied. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A text that must say something says nothing.
    #[error("{field} is empty")]
    Empty {
        /// Which one.
        field: &'static str,
    },
    /// A text is too long.
    #[error("{field} is longer than {limit} bytes")]
    TooLong {
        /// Which one.
        field: &'static str,
        /// The limit.
        limit: usize,
    },
    /// There would be too many of something.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A name that cannot be written down and read again, such as one without port.
    #[error("{field} {text:?} is no instance")]
    NoInstance {
        /// Which one.
        field: &'static str,
        /// What it says.
        text: String,
    },
    /// An end that does not lie after the beginning.
    #[error("{what} of {key} would end before it begins")]
    EndsBeforeItBegins {
        /// Downtime, maintenance...
        what: &'static str,
        /// Of which instance (or pool).
        key: String,
    },
    /// The instance is in maintenance.
    #[error("{key} is in maintenance by {owner}: {reason}")]
    InMaintenance {
        /// The instance.
        key: InstanceKey,
        /// Who works on it.
        owner: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The rule exists but nobody may register it.
    #[error("promotion rule {} cannot be registered", rule.as_str())]
    RuleNotRegistrable {
        /// The rule.
        rule: PromotionRule,
    },
    /// Another recovery of the cluster is under way.
    #[error("recovery {id} of {key} is under way")]
    RecoveryUnderWay {
        /// Its number.
        id: u64,
        /// What it is about.
        key: InstanceKey,
    },
    /// The recovery is not known, or has ended.
    #[error("recovery {id} is not under way")]
    NoSuchRecovery {
        /// Its number.
        id: u64,
    },
    /// A text that is to be the fingerprint of a key is none.
    #[error("not the SHA-256 of a public key")]
    NoFingerprint,
    /// The same failure was detected a short time ago.
    #[error("{key} has this failure on record already, as detection {id}")]
    RepeatedDetection {
        /// The instance.
        key: InstanceKey,
        /// The failure.
        code: Code,
        /// The detection that stands.
        id: u64,
    },
}

/// Applies one command, and tells the state after it.
///
/// The same state and command give the same result on every node. All commands may be applied
/// twice: the second time leaves everything as it is but the index, or (for a detection) is
/// refused.
///
/// # Errors
/// When the command breaks a rule or a limit.
pub fn apply(state: &LedgerState, command: &Command) -> Result<(LedgerState, Outcome), Refusal> {
    let mut next = state.clone();
    let keys = change(&mut next, command)?;
    next.index = state.index.saturating_add(1);
    Ok((next, Outcome { keys }))
}

fn change(state: &mut LedgerState, command: &Command) -> Result<Vec<InstanceKey>, Refusal> {
    match command {
        Command::BeginDowntime { key, downtime } => begin_downtime(state, key, downtime),
        Command::EndDowntime { key } => {
            state.downtimes.remove_mut(key);
            Ok(vec![key.clone()])
        }
        Command::BeginMaintenance { key, owner, reason, begins_at, ends_at } => {
            let wanted = maintenance(state, owner, reason, *begins_at, *ends_at);
            begin_maintenance(state, key, wanted)
        }
        Command::EndMaintenance { key } => {
            state.maintenances.remove_mut(key);
            Ok(vec![key.clone()])
        }
        Command::RegisterCandidate { key, candidate } => register(state, key, candidate),
        Command::Tag { key, name, value } => tag(state, key, name, value),
        Command::Untag { key, name, value } => {
            Ok(untag(state, key.as_ref(), name, value.as_deref()))
        }
        Command::SubmitPool { name, pool } => submit_pool(state, name, pool),
        Command::RegisterVirtualName { key, name } => register_name(state, key, name),
        Command::DeregisterVirtualName { key } => {
            state.virtual_names.remove_mut(key);
            Ok(vec![key.clone()])
        }
        Command::SetClusterAlias { cluster, alias } => set_alias(state, cluster, alias),
        Command::Forget { keys, until } => forget(state, keys, *until),
        Command::Discover { key, at } => discover(state, key, *at),
        Command::RecordDetections { entries, fresh_for } => {
            record_detections(state, entries, *fresh_for)
        }
        Command::SetRecoveriesDisabled { disabled } => {
            state.recoveries_disabled = *disabled;
            Ok(Vec::new())
        }
        Command::ReleaseBreaker { until } => {
            state.breaker_released_until = *until;
            Ok(Vec::new())
        }
        Command::BeginRecovery { recovery } => recoveries::begin(state, recovery),
        Command::UpdateRecovery { recovery } => recoveries::update(state, recovery),
        Command::NoteOperation { key, what, at: _ } => note_operation(key, what),
        Command::NoteChore { key, at, scout } => note_chore(state, key, *at, scout.as_ref()),
        Command::EndScout { key } => {
            state.scouts.remove_mut(key);
            Ok(vec![key.clone()])
        }
        Command::LogRecovery { id, lines } => recoveries::log(state, *id, lines),
        Command::AcknowledgeRecoveries { ids, acknowledgement } => {
            Ok(recoveries::acknowledge(state, ids, acknowledgement))
        }
        Command::Purge { before } => {
            purge(state, *before);
            Ok(Vec::new())
        }
        Command::RenewDiscovered { keys, at } => {
            discovered::renew(state, keys, *at);
            Ok(Vec::new())
        }
        Command::DropDiscovered { before } => {
            drop_where(&mut state.discovered, |at| at <= before);
            Ok(Vec::new())
        }
        Command::PinCertificates { pins, at } => certificates::pin(state, pins, *at),
        Command::ConfirmCertificate { key, fingerprint, at } => {
            certificates::confirm(state, key, fingerprint.as_ref(), *at)
        }
    }
}

fn discover(
    state: &mut LedgerState,
    key: &InstanceKey,
    at: Timestamp,
) -> Result<Vec<InstanceKey>, Refusal> {
    check_key(key)?;
    discovered::remember(state, key, at);
    Ok(vec![key.clone()])
}

fn note_operation(key: &InstanceKey, what: &str) -> Result<Vec<InstanceKey>, Refusal> {
    check_key(key)?;
    check_text("operation", what, REASON_BYTES_MAX)?;
    Ok(vec![key.clone()])
}

fn note_chore(
    state: &mut LedgerState,
    key: &InstanceKey,
    at: Timestamp,
    scout: Option<&InstanceKey>,
) -> Result<Vec<InstanceKey>, Refusal> {
    check_key(key)?;
    if let Some(scout) = scout {
        check_key(scout)?;
        insert(&mut state.scouts, scout, at, "scouts")?;
    }
    insert(&mut state.chores, key, at, "instances with chores")?;
    Ok(vec![key.clone()])
}

fn set_alias(
    state: &mut LedgerState,
    cluster: &ClusterId,
    alias: &Arc<str>,
) -> Result<Vec<InstanceKey>, Refusal> {
    if alias.is_empty() {
        state.cluster_aliases.remove_mut(cluster);
        return Ok(Vec::new());
    }
    check_text("alias", alias, ALIAS_BYTES_MAX)?;
    check_text("cluster", cluster.as_str(), ALIAS_BYTES_MAX)?;
    insert(&mut state.cluster_aliases, cluster, Arc::clone(alias), "cluster aliases")?;
    Ok(Vec::new())
}

fn begin_downtime(
    state: &mut LedgerState,
    key: &InstanceKey,
    downtime: &Downtime,
) -> Result<Vec<InstanceKey>, Refusal> {
    check_key(key)?;
    check_text("owner", &downtime.owner, OWNER_BYTES_MAX)?;
    check_text("reason", &downtime.reason, REASON_BYTES_MAX)?;
    check_order("downtime", key, downtime.begins_at, downtime.ends_at)?;
    insert(&mut state.downtimes, key, downtime.clone(), "downtimes")?;
    Ok(vec![key.clone()])
}

fn maintenance(
    state: &LedgerState,
    owner: &Arc<str>,
    reason: &Arc<str>,
    begins_at: Timestamp,
    ends_at: Timestamp,
) -> Maintenance {
    let id = state.last_maintenance_id.saturating_add(1);
    Maintenance { id, owner: Arc::clone(owner), reason: Arc::clone(reason), begins_at, ends_at }
}

fn begin_maintenance(
    state: &mut LedgerState,
    key: &InstanceKey,
    wanted: Maintenance,
) -> Result<Vec<InstanceKey>, Refusal> {
    check_key(key)?;
    check_text("owner", &wanted.owner, OWNER_BYTES_MAX)?;
    check_text("reason", &wanted.reason, REASON_BYTES_MAX)?;
    check_order("maintenance", key, wanted.begins_at, wanted.ends_at)?;
    if let Some(known) = state.maintenances.get(key) {
        if *known == (Maintenance { id: known.id, ..wanted.clone() }) {
            return Ok(vec![key.clone()]);
        }
        // Even its owner waits: one owner may run two operations that must not meet. The known
        // one need not have begun yet; clocks of nodes differ.
        if wanted.begins_at < known.ends_at {
            let (owner, reason) = (Arc::clone(&known.owner), Arc::clone(&known.reason));
            return Err(Refusal::InMaintenance { key: key.clone(), owner, reason });
        }
    }
    let id = wanted.id;
    insert(&mut state.maintenances, key, wanted, "maintenances")?;
    state.last_maintenance_id = id;
    Ok(vec![key.clone()])
}

fn register(
    state: &mut LedgerState,
    key: &InstanceKey,
    candidate: &Candidate,
) -> Result<Vec<InstanceKey>, Refusal> {
    check_key(key)?;
    if candidate.rule == PromotionRule::Must {
        return Err(Refusal::RuleNotRegistrable { rule: candidate.rule });
    }
    check_order("promotion rule", key, candidate.registered_at, candidate.expires_at)?;
    insert(&mut state.candidates, key, candidate.clone(), "promotion rules")?;
    Ok(vec![key.clone()])
}

fn tag(
    state: &mut LedgerState,
    key: &InstanceKey,
    name: &Arc<str>,
    value: &Arc<str>,
) -> Result<Vec<InstanceKey>, Refusal> {
    check_key(key)?;
    check_text("tag name", name, TAG_NAME_BYTES_MAX)?;
    check_length("tag value", value, TAG_VALUE_BYTES_MAX)?;
    let mut tags = state.tags.get(key).cloned().unwrap_or_default();
    if tags.size() >= TAGS_PER_INSTANCE_MAX && !tags.contains_key(name) {
        return Err(Refusal::TooMany {
            what: "tags on one instance",
            limit: TAGS_PER_INSTANCE_MAX,
        });
    }
    tags.insert_mut(Arc::clone(name), Arc::clone(value));
    insert(&mut state.tags, key, tags, "instances with tags")?;
    Ok(vec![key.clone()])
}

fn untag(
    state: &mut LedgerState,
    only: Option<&InstanceKey>,
    name: &Arc<str>,
    value: Option<&str>,
) -> Vec<InstanceKey> {
    let bears = |key: &InstanceKey| {
        let found = state.tags.get(key).and_then(|tags| tags.get(name));
        found.is_some_and(|found| value.is_none_or(|value| **found == *value))
    };
    let keys: Vec<InstanceKey> = match only {
        Some(key) => std::iter::once(key).filter(|key| bears(key)).cloned().collect(),
        None => state.tags.keys().filter(|key| bears(key)).cloned().collect(),
    };
    for key in &keys {
        let rest = state.tags.get(key).map(|tags| tags.remove(name));
        match rest {
            // No tags left is the same as never tagged.
            Some(tags) if !tags.is_empty() => state.tags.insert_mut(key.clone(), tags),
            _ => {
                state.tags.remove_mut(key);
            }
        }
    }
    keys
}

fn submit_pool(
    state: &mut LedgerState,
    name: &Arc<str>,
    pool: &Pool,
) -> Result<Vec<InstanceKey>, Refusal> {
    check_text("pool name", name, POOL_NAME_BYTES_MAX)?;
    if pool.members.len() > POOL_MEMBERS_MAX {
        return Err(Refusal::TooMany { what: "members of a pool", limit: POOL_MEMBERS_MAX });
    }
    pool.members.iter().try_for_each(check_key)?;
    check_order("pool", name, pool.submitted_at, pool.expires_at)?;
    if state.pools.size() >= POOLS_MAX && !state.pools.contains_key(name) {
        return Err(Refusal::TooMany { what: "pools", limit: POOLS_MAX });
    }
    let mut members = pool.members.clone();
    members.sort();
    members.dedup();
    state.pools.insert_mut(Arc::clone(name), pool.clone());
    Ok(members)
}

fn register_name(
    state: &mut LedgerState,
    key: &InstanceKey,
    name: &VirtualName,
) -> Result<Vec<InstanceKey>, Refusal> {
    check_key(key)?;
    check_text("host name", &name.hostname, HOST_BYTES_MAX)?;
    insert(&mut state.virtual_names, key, name.clone(), "virtual names")?;
    Ok(vec![key.clone()])
}

fn forget(
    state: &mut LedgerState,
    keys: &[InstanceKey],
    until: Timestamp,
) -> Result<Vec<InstanceKey>, Refusal> {
    keys.iter().try_for_each(check_key)?;
    let mut keys = keys.to_vec();
    keys.sort();
    keys.dedup();
    for key in &keys {
        insert(&mut state.forgotten, key, until, "forgotten instances")?;
        state.discovered.remove_mut(key);
        state.certificates.remove_mut(key);
    }
    Ok(keys)
}

fn record_detections(
    state: &mut LedgerState,
    entries: &[Arc<DetectionEntry>],
    fresh_for: Duration,
) -> Result<Vec<InstanceKey>, Refusal> {
    let mut recorded = Vec::new();
    let mut refused = None;
    for entry in entries {
        match record_detection(state, entry, fresh_for) {
            Ok(()) => recorded.push(entry.analysis.key.clone()),
            // One that cannot be recorded is no reason to lose the others.
            Err(refusal) => refused = Some(refusal),
        }
    }
    match refused {
        Some(refusal) if recorded.is_empty() => Err(refusal),
        _ => Ok(recorded),
    }
}

fn record_detection(
    state: &mut LedgerState,
    entry: &DetectionEntry,
    fresh_for: Duration,
) -> Result<(), Refusal> {
    let (key, code, at) = (&entry.analysis.key, entry.analysis.code, entry.at);
    check_key(key)?;
    let subject = (key.clone(), code);
    let fresh_after = at.minus(fresh_for);
    let is_same = |known: &Detection| {
        known.at == at && known.entry.as_ref().is_some_and(|it| it.node == entry.node)
    };
    let is_repeated = |known: &&Detection| known.at > fresh_after || is_same(known);
    if let Some(known) = state.detections.get(&subject).filter(is_repeated) {
        return Err(Refusal::RepeatedDetection { key: key.clone(), code, id: known.id });
    }
    let id = state.last_detection_id.saturating_add(1);
    let entry = Some(Arc::new(DetectionEntry { id, ..entry.clone() }));
    let detection = Detection { id, at, fresh_until: at.plus(fresh_for), entry };
    insert(&mut state.detections, &subject, detection, "detections")?;
    state.last_detection_id = id;
    Ok(())
}

fn purge(state: &mut LedgerState, before: Timestamp) {
    drop_where(&mut state.downtimes, |it| it.ends_at <= before);
    drop_where(&mut state.maintenances, |it| it.ends_at <= before);
    drop_where(&mut state.candidates, |it| it.expires_at <= before);
    drop_where(&mut state.pools, |it| it.expires_at <= before);
    drop_where(&mut state.forgotten, |until| *until <= before);
    drop_where(&mut state.detections, |it| it.fresh_until <= before);
    // As long as it is known who was replaced: who was closed once is not closed again for that.
    drop_where(&mut state.chores, |at| at.plus(REPLACED_KEPT_FOR) <= before);
    drop_where(&mut state.scouts, |at| *at <= before);
    drop_where(&mut state.recoveries, |it| {
        let kept_for = if it.kind.promotes() { REPLACED_KEPT_FOR } else { Duration::ZERO };
        it.ended_at.is_some_and(|ended| ended.plus(kept_for) <= before)
    });
}

fn drop_where<K: Ord + Clone, V>(map: &mut RedBlackTreeMapSync<K, V>, ended: impl Fn(&V) -> bool) {
    let keys: Vec<K> =
        map.iter().filter(|(_, value)| ended(value)).map(|(key, _)| key.clone()).collect();
    for key in keys {
        map.remove_mut(&key);
    }
}

pub(super) fn insert<K: Ord + Clone, V>(
    map: &mut RedBlackTreeMapSync<K, V>,
    key: &K,
    value: V,
    what: &'static str,
) -> Result<(), Refusal> {
    if map.size() >= ENTRIES_MAX && !map.contains_key(key) {
        return Err(Refusal::TooMany { what, limit: ENTRIES_MAX });
    }
    map.insert_mut(key.clone(), value);
    Ok(())
}

/// A key that does not survive being written and read would make the ledger unreadable.
pub(super) fn check_key(key: &InstanceKey) -> Result<(), Refusal> {
    check_length("host name", key.host(), HOST_BYTES_MAX)?;
    let text = key.to_string();
    if text.parse().as_ref() == Ok(key) {
        return Ok(());
    }
    Err(Refusal::NoInstance { field: "instance", text })
}

fn check_text(field: &'static str, text: &str, limit: usize) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(Refusal::Empty { field });
    }
    check_length(field, text, limit)
}

fn check_length(field: &'static str, text: &str, limit: usize) -> Result<(), Refusal> {
    if text.len() > limit {
        return Err(Refusal::TooLong { field, limit });
    }
    Ok(())
}

fn check_order(
    what: &'static str,
    key: &impl ToString,
    begins_at: Timestamp,
    ends_at: Timestamp,
) -> Result<(), Refusal> {
    if begins_at < ends_at {
        return Ok(());
    }
    Err(Refusal::EndsBeforeItBegins { what, key: key.to_string() })
}
