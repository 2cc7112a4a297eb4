//! Which cluster a tree is: identities that survive failovers, and aliases that do not jump.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::ClusterId;
use crate::graph::{Instances, Tree};
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::ledger::LedgerState;
use crate::policy::{Policy, configured_alias};

/// How good a claim a tree has to an identity some of its members had. Greater is better; the
/// order of the fields is the order of importance.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    /// A recovery just made its head the primary of that cluster.
    head_succeeded: bool,
    /// Members that had the identity.
    members: usize,
    /// The head answers.
    head_is_valid: bool,
    /// The head takes writes.
    head_is_writable: bool,
    /// The head had this identity.
    head_had_it: bool,
}

/// Gives every tree an identity, in the order of `trees`.
///
/// `before` tells which identity each instance had, `successors` which cluster a recovery has just
/// given each to head: that goes before everything, for the others follow one by one. Else an
/// identity goes to the tree that holds most
/// of those who had it, a living and writable head breaking the tie, so that it follows a failover
/// and not the dead primary. A tree that gets several keeps the one its head had, else the one most
/// of its members had. A tree that gets none is named after its head (or the source its head
/// waits for), with a number where that name is `taken`.
pub fn assign(
    trees: &[Tree],
    instances: &Instances,
    before: &BTreeMap<InstanceKey, ClusterId>,
    successors: &BTreeMap<InstanceKey, ClusterId>,
    taken: &dyn Fn(&ClusterId) -> bool,
) -> Vec<ClusterId> {
    let mut owners: BTreeMap<&ClusterId, (Claim, usize)> = BTreeMap::new();
    for (index, tree) in trees.iter().enumerate() {
        for (id, claim) in claims(tree, instances, before, successors) {
            // The earlier tree wins among equals; trees are ordered by head.
            match owners.get(id) {
                Some((best, _)) if *best >= claim => {}
                _ => {
                    owners.insert(id, (claim, index));
                }
            }
        }
    }
    let mut won: Vec<Option<(Claim, &ClusterId)>> = trees.iter().map(|_| None).collect();
    for (id, (claim, index)) in owners {
        let rank = |claim: &Claim| (claim.head_succeeded, claim.head_had_it, claim.members);
        let better = won[index].as_ref().is_none_or(|(best, _)| rank(&claim) > rank(best));
        if better {
            won[index] = Some((claim, id));
        }
    }
    let mut used: BTreeSet<ClusterId> = won.iter().flatten().map(|(_, id)| (*id).clone()).collect();
    trees
        .iter()
        .zip(won)
        .map(|(tree, won)| match won {
            Some((_, id)) => id.clone(),
            None => {
                let id = fresh(tree, &|id| used.contains(id) || taken(id));
                used.insert(id.clone());
                id
            }
        })
        .collect()
}

fn claims<'a>(
    tree: &Tree,
    instances: &Instances,
    before: &'a BTreeMap<InstanceKey, ClusterId>,
    successors: &'a BTreeMap<InstanceKey, ClusterId>,
) -> BTreeMap<&'a ClusterId, Claim> {
    let head = instances.get(&tree.head);
    let succeeded = successors.get(&tree.head);
    let mut claims: BTreeMap<&ClusterId, Claim> = BTreeMap::new();
    let claim = |id: &ClusterId| Claim {
        head_succeeded: succeeded == Some(id),
        members: 0,
        head_is_valid: head.is_some_and(|head| head.is_valid()),
        head_is_writable: head.is_some_and(|head| !head.facts.read_only),
        head_had_it: before.get(&tree.head) == Some(id),
    };
    for key in tree.nodes.keys() {
        let Some(id) = before.get(key) else { continue };
        claims.entry(id).or_insert_with(|| claim(id)).members += 1;
    }
    if let Some(id) = succeeded {
        claims.entry(id).or_insert_with(|| claim(id));
    }
    claims
}

fn fresh(tree: &Tree, is_taken: &dyn Fn(&ClusterId) -> bool) -> ClusterId {
    let awaited = tree.nodes.get(&tree.head).and_then(|node| node.source.as_ref());
    let name = awaited.filter(|source| !tree.nodes.contains_key(*source)).unwrap_or(&tree.head);
    let plain = ClusterId::new(name.to_string());
    if !is_taken(&plain) {
        return plain;
    }
    let mut number: u32 = 2;
    loop {
        let id = ClusterId::new(format!("{name}#{number}"));
        if !is_taken(&id) || number == u32::MAX {
            return id;
        }
        number += 1;
    }
}

/// What a cluster would be called: what people set, else what the head says, else what another
/// member says (the first by name), else what the configuration's patterns say. Empty when nobody
/// says anything.
pub fn claimed_alias<'a>(
    id: &ClusterId,
    head: &Instance,
    mut members: impl Iterator<Item = &'a Instance>,
    ledger: &LedgerState,
    policy: &Policy,
) -> String {
    if let Some(alias) = ledger.cluster_aliases.get(id) {
        return alias.to_string();
    }
    let suggestion = |instance: &Instance| {
        let alias = &instance.facts.suggested_cluster_alias;
        (!alias.is_empty()).then(|| alias.clone())
    };
    suggestion(head)
        .or_else(|| members.find_map(suggestion))
        .or_else(|| configured_alias(policy, &head.key.to_string()).map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::graph::trees;
    use crate::instance::HealthStatus;
    use crate::names::HostNames;
    use crate::testing::{key, primary_facts, replica_facts, valid_instance};

    fn instance(name: &str, source: Option<&str>) -> Instance {
        let facts = match source {
            Some(source) => replica_facts(&key(source)),
            None => primary_facts(),
        };
        valid_instance(name, facts)
    }

    fn dead(mut instance: Instance) -> Instance {
        instance.health.status = HealthStatus::Unprobed;
        instance
    }

    fn ids(instances: Vec<Instance>, before: &[(&str, &str)], taken: &[&str]) -> Vec<String> {
        let instances: Instances = instances
            .into_iter()
            .map(|instance| (instance.key.clone(), Arc::new(instance)))
            .collect();
        let trees = trees(&instances, &HostNames::default(), &BTreeSet::new());
        let before = before.iter().map(|(name, id)| (key(name), ClusterId::new(*id))).collect();
        let taken = |id: &ClusterId| taken.contains(&id.as_str());
        assign(&trees, &instances, &before, &BTreeMap::new(), &taken)
            .iter()
            .zip(&trees)
            .map(|(id, tree)| format!("{}={id}", tree.head.host()))
            .collect()
    }

    #[test]
    fn an_identity_follows_the_failover_and_not_the_dead_primary() {
        let all = [("a", "X"), ("b", "X"), ("c", "X")];
        let after = vec![dead(instance("a", None)), instance("b", None), instance("c", Some("b"))];
        assert_eq!(ids(after, &all, &["X"]), ["a=a:3306", "b=X"]);
    }

    #[test]
    fn of_two_halves_the_living_and_writable_one_keeps_the_identity() {
        let pair = [("a", "X"), ("b", "X")];
        let failed_over = vec![dead(instance("a", None)), instance("b", None)];
        assert_eq!(ids(failed_over, &pair, &["X"]), ["a=a:3306", "b=X"]);
        let mut detached = instance("b", None);
        Arc::make_mut(&mut detached.facts).read_only = true;
        assert_eq!(ids(vec![instance("a", None), detached], &pair, &["X"]), ["a=X", "b=b:3306"]);
    }

    #[test]
    fn joining_a_cluster_takes_on_its_identity() {
        let before = [("a", "X"), ("b", "b:3306")];
        let joined = vec![instance("a", None), instance("b", Some("a"))];
        assert_eq!(ids(joined, &before, &["X", "b:3306"]), ["a=X"]);
    }

    #[test]
    fn a_new_cluster_is_named_after_its_head_or_the_source_it_waits_for() {
        assert_eq!(ids(vec![instance("a", None)], &[], &[]), ["a=a:3306"]);
        assert_eq!(ids(vec![instance("b", Some("a"))], &[], &[]), ["b=a:3306"]);
        assert_eq!(ids(vec![instance("a", None)], &[], &["a:3306"]), ["a=a:3306#2"]);
        let two = vec![instance("b", Some("a")), instance("c", Some("a"))];
        assert_eq!(ids(two, &[], &[]), ["b=a:3306", "c=a:3306#2"]);
    }
}
