//! Advances the fleet: what was seen and set goes in, the next snapshot and the news come out.
//!
//! Only clusters that something happened to are rebuilt and judged again; everything else is
//! shared with the snapshot before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::action::Action;
use crate::analysis::{Analysis, Code};
use crate::cluster::ClusterId;
use crate::crawl::is_ignored;
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::ledger::LedgerState;
use crate::names::HostNames;
use crate::policy::Policy;
use crate::probe::{ProbeResult, fold};
use crate::quorum::Polls;
use crate::recovery::{Plan, Recovery};
use crate::remembered::Remembered;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

mod rebuild;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum FleetInput {
    /// A probe finished.
    Probed(ProbeResult),
    /// Another node saw an instance.
    Relayed(ProbeResult),
    /// An instance is known to exist; it was not probed yet.
    Found(InstanceKey),
    /// Instances come back from the store, with the identity of their clusters.
    Restored(Vec<(Instance, ClusterId)>),
    /// Instances were forgotten.
    Forgotten(Vec<InstanceKey>),
    /// The ledger changed.
    Ledger(Arc<LedgerState>),
    /// The configuration changed.
    Policy(Arc<Policy>),
    /// Names were learned or forgotten.
    Names(Arc<HostNames>),
    /// Other nodes were asked about a failure, or there are more or fewer of them.
    Polls(Arc<Polls>),
    /// This node gets more or less processor: the share of time its threads could not run, in
    /// percent.
    RuntimeDelay(u8),
}

/// The next state of the fleet and what is new in it.
#[derive(Debug, Clone)]
pub struct Advance {
    /// The next snapshot.
    pub snapshot: FleetSnapshot,
    /// Clusters that were rebuilt, new ones included.
    pub touched: Vec<ClusterId>,
    /// What is new, ordered by instance.
    pub news: Vec<News>,
}

/// One piece of news.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A problem appeared, or its code or structure warnings changed.
    ProblemChanged {
        /// The cluster.
        cluster: ClusterId,
        /// What is wrong now.
        analysis: Box<Analysis>,
        /// What was wrong before; `NoProblem` when nothing was.
        before: Code,
    },
    /// A problem is gone.
    ProblemVanished {
        /// The cluster it was in.
        cluster: ClusterId,
        /// The instance.
        key: InstanceKey,
        /// What was wrong.
        before: Code,
    },
    /// An instance became known.
    InstanceFound(InstanceKey),
    /// An instance was forgotten.
    InstanceLost(InstanceKey),
}

/// The clusters to rebuild, and what is different in them.
#[derive(Debug, Default)]
struct Changes {
    /// Instances that are new or different; `None` for forgotten ones.
    instances: BTreeMap<InstanceKey, Option<Arc<Instance>>>,
    /// Identities of restored instances.
    identities: BTreeMap<InstanceKey, ClusterId>,
    /// Clusters something happened to.
    dirty: BTreeSet<ClusterId>,
}

/// Returns the fleet after `inputs`, which happened in this order, as of `now`.
pub fn advance(before: &FleetSnapshot, inputs: Vec<FleetInput>, now: Timestamp) -> Advance {
    let mut next = before.clone();
    next.generation = before.generation.saturating_add(1);
    next.at = now;
    let mut changes = Changes::default();
    for input in inputs {
        take(&mut next, &mut changes, input, now);
    }
    let due = next.rechecks.keys().take_while(|(at, _)| *at <= now).map(|(_, id)| id.clone());
    changes.dirty.extend(due.collect::<Vec<_>>());
    let (touched, news) = rebuild::rebuild(&mut next, changes, now);
    Advance { snapshot: next, touched, news }
}

/// When [`advance`] should be called again though nothing happened.
pub fn recheck_at(snapshot: &FleetSnapshot) -> Option<Timestamp> {
    snapshot.rechecks.keys().next().map(|(at, _)| *at)
}

fn take(next: &mut FleetSnapshot, changes: &mut Changes, input: FleetInput, now: Timestamp) {
    match input {
        FleetInput::Probed(result) => {
            // A probe that ends after its instance was forgotten, or came to be ignored, brings
            // nothing back.
            if next.ledger.is_forgotten(&result.key, now) || is_ignored(&next.policy, &result.key) {
                return;
            }
            let result = placed(result, &next.policy);
            let instance = fold(current(next, changes, &result.key), &result);
            changes.instances.insert(result.key, Some(Arc::new(instance)));
        }
        FleetInput::Relayed(result) => relay(next, changes, result, now),
        FleetInput::Found(key) => {
            if current(next, changes, &key).is_none() && !next.ledger.is_forgotten(&key, now) {
                let instance = Instance::unprobed(key.clone());
                changes.instances.insert(key, Some(Arc::new(instance)));
            }
        }
        FleetInput::Restored(restored) => {
            // Who is ignored is never probed, and would for ever count as not looked at yet.
            let watched = |it: &(Instance, ClusterId)| !is_ignored(&next.policy, &it.0.key);
            for (mut instance, id) in restored.into_iter().filter(watched) {
                if was_made_primary_since(&instance, &next.ledger) {
                    make_primary(&mut instance);
                }
                changes.identities.insert(instance.key.clone(), id);
                changes.instances.insert(instance.key.clone(), Some(Arc::new(instance)));
            }
        }
        FleetInput::Forgotten(keys) => {
            changes.instances.extend(keys.into_iter().map(|key| (key, None)));
        }
        FleetInput::Ledger(ledger) => {
            let before = Arc::clone(&next.ledger);
            next.learn(ledger, now);
            changes.dirty.extend(concerned(next, &before));
            for key in just_opened(&before, &next.ledger) {
                if let Some(mut instance) = current(next, changes, &key).cloned() {
                    make_primary(&mut instance);
                    changes.instances.insert(key, Some(Arc::new(instance)));
                }
            }
        }
        FleetInput::Policy(policy) => {
            next.policy = policy;
            changes.dirty.extend(next.clusters.keys().cloned());
            let ignored = next.cluster_of.keys().filter(|key| is_ignored(&next.policy, key));
            changes.instances.extend(ignored.map(|key| (key.clone(), None)));
        }
        FleetInput::Names(names) => {
            next.names = names;
            changes.dirty.extend(next.clusters.keys().cloned());
        }
        FleetInput::Polls(polls) => next.polls = polls,
        FleetInput::RuntimeDelay(percent) => next.runtime_delay_percent = percent,
    }
}

/// Takes in what another node saw of an instance this one knows. Nothing goes back in time, and in
/// trouble a node believes its own eyes alone.
fn relay(next: &mut FleetSnapshot, changes: &mut Changes, result: ProbeResult, now: Timestamp) {
    let Some(before) = current(next, changes, &result.key) else { return };
    let is_older = before.health.last_attempt > Some(result.started_at);
    let is_unwanted =
        next.ledger.is_forgotten(&result.key, now) || is_ignored(&next.policy, &result.key);
    if result.outcome.is_err() || before.is_failed() || is_older || is_unwanted {
        return;
    }
    let before = before.clone();
    let result = placed(result, &next.policy);
    let mut instance = fold(Some(&before), &result);
    instance.health.own_attempt = before.health.own_attempt;
    changes.instances.insert(result.key, Some(Arc::new(instance)));
}

/// Those who forgot their source and were opened, as a recovery tells. Whoever dies before it is seen
/// as a primary would else be taken for the replica that it was.
fn just_opened(old: &LedgerState, new: &LedgerState) -> Vec<InstanceKey> {
    let opened = different(&old.recoveries, &new.recoveries).filter_map(|id| {
        let (before, after) = (old.recoveries.get(id)?, new.recoveries.get(id)?);
        let opens = |plan: &Plan| {
            let mut actions = plan.open.chains.iter().flat_map(|chain| &chain.actions);
            actions.any(|action| *action == Action::ForgetSource)
        };
        let is_news = before.successor.is_none() && after.plan.as_ref().is_some_and(opens);
        after.successor.clone().filter(|_| is_news)
    });
    opened.collect()
}

fn make_primary(instance: &mut Instance) {
    let facts = Arc::make_mut(&mut instance.facts);
    facts.forget_source();
    facts.read_only = false;
    instance.remembered = Remembered::default();
}

/// Whether a recovery made a primary of an instance after what is kept of it was seen. The ledger
/// is newer than the store: whoever died right after that would else come back as a replica.
fn was_made_primary_since(instance: &Instance, ledger: &LedgerState) -> bool {
    let key = &instance.key;
    let concerns = |recovery: &&Arc<Recovery>| {
        recovery.kind.promotes()
            && (recovery.successor.as_ref() == Some(key) || recovery.failed() == key)
    };
    let newest = ledger.recoveries.values().filter(concerns).max_by_key(|it| it.begun_at);
    newest.is_some_and(|it| {
        it.successor.as_ref() == Some(key) && instance.health.last_seen <= it.ended_at
    })
}

/// Completes the placement of an instance by the patterns on its host name, where there are any.
fn placed(mut result: ProbeResult, policy: &Policy) -> ProbeResult {
    if !policy.placement_patterns.is_empty()
        && let Ok(facts) = &mut result.outcome
    {
        let facts = Arc::make_mut(facts);
        policy.placement_patterns.complete(&mut facts.placement, result.key.host());
    }
    result
}

fn current<'a>(
    next: &'a FleetSnapshot,
    changes: &'a Changes,
    key: &InstanceKey,
) -> Option<&'a Instance> {
    match changes.instances.get(key) {
        Some(changed) => changed.as_deref(),
        None => next.instance(key).map(|instance| &**instance),
    }
}

/// The clusters whose findings or aliases depend on what differs between the ledgers.
fn concerned(next: &FleetSnapshot, old: &LedgerState) -> Vec<ClusterId> {
    let ledger = &next.ledger;
    let downtimes = different(&old.downtimes, &ledger.downtimes);
    let maintenances = different(&old.maintenances, &ledger.maintenances);
    let by_instance =
        downtimes.chain(maintenances).filter_map(|key| next.cluster_of.get(key).cloned());
    let aliases = different(&old.cluster_aliases, &ledger.cluster_aliases)
        .filter(|id| next.clusters.contains_key(id))
        .cloned();
    let recovered = different(&old.recoveries, &ledger.recoveries)
        .filter_map(|id| ledger.recoveries.get(id))
        .map(|recovery| recovery.cluster.clone());
    by_instance.chain(aliases).chain(recovered).collect()
}

/// The keys whose values differ, or that only one of the maps has.
fn different<'a, K: Ord + Clone, V: PartialEq>(
    old: &'a rpds::RedBlackTreeMapSync<K, V>,
    new: &'a rpds::RedBlackTreeMapSync<K, V>,
) -> impl Iterator<Item = &'a K> {
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    changed.map(|(key, _)| key).chain(gone)
}

#[cfg(test)]
mod tests;
