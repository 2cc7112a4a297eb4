//! Puts instances into trees: who replicates from whom, who is at the top, how deep everyone is.
//!
//! Every instance has at most one source, so a connected group of instances has one top or one
//! ring; members of a replication group are connected as well. This module knows nothing of
//! cluster identities or aliases: see [`crate::identity`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::instance::{GroupMember, Instance};
use crate::key::InstanceKey;
use crate::names::HostNames;

/// Instances by name.
pub type Instances = BTreeMap<InstanceKey, Arc<Instance>>;

/// One connected group of instances as a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The instance at the top; in a ring, the one that stands for it.
    pub head: InstanceKey,
    /// All instances.
    pub nodes: BTreeMap<InstanceKey, Node>,
    /// Sources that are named by members and not known as instances.
    pub unknown_sources: BTreeSet<InstanceKey>,
}

/// An instance's place in a [`Tree`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// What it replicates from, known or not.
    pub source: Option<InstanceKey>,
    /// Known instances that replicate from it.
    pub replicas: Vec<InstanceKey>,
    /// Steps below the head.
    pub depth: u32,
    /// It and its source replicate from each other.
    pub is_co_primary: bool,
}

/// What an instance replicates from, by canonical name: the source of its main channel, or for a
/// secondary of a replication group that has none, the group's primary.
pub fn source_of(instance: &Instance, names: &HostNames) -> Option<InstanceKey> {
    let group_primary = || {
        let group = instance.facts.membership()?;
        if group.is_primary() { None } else { group.primary.as_ref() }
    };
    let source = instance.facts.source().or_else(group_primary)?;
    let source = names.resolve(source);
    (source != instance.key).then_some(source)
}

/// The known or unknown instances that belong to the same cluster as `instance` by what it says.
pub fn neighbours<'a>(
    instance: &'a Instance,
    names: &'a HostNames,
) -> impl Iterator<Item = InstanceKey> + 'a {
    let group = instance.facts.membership().into_iter();
    let peers = group.flat_map(|group| group.members.iter()).map(|key| names.resolve(key));
    source_of(instance, names).into_iter().chain(peers)
}

/// Whether a server that names another one as a member of its group is believed: the other names it too, by
/// whatever name. Before that one was seen, or where it may not know who the others are, nothing
/// speaks against it. Members forget one that is gone, or cut off, within seconds, and one without a
/// UUID may be known by another address: of those the name of the group has to do.
fn are_in_one_group(
    instance: &Instance,
    peer: &Instance,
    instances: &Instances,
    names: &HostNames,
) -> bool {
    if !peer.was_seen() {
        return true;
    }
    let Some(group) = peer.facts.membership() else { return false };
    let uuid = instance.facts.server_uuid;
    let has_this_uuid = |it: &Arc<Instance>| uuid.is_some() && it.facts.server_uuid == uuid;
    let is_this = |named: &InstanceKey| {
        let named = names.resolve(named);
        named == instance.key || instances.get(&named).is_some_and(has_this_uuid)
    };
    let is_of_that_group = |own: &GroupMember| {
        let is_same = !own.name.is_empty() && (own.kind, &own.name) == (group.kind, &group.name);
        is_same && (instance.is_failed() || own.has_lost_majority || uuid.is_none())
    };
    let is_believed = instance.facts.source().is_none()
        && instance.facts.membership().is_some_and(is_of_that_group);
    is_believed || group.members.is_empty() || group.members.iter().any(is_this)
}

/// Whether what a server says of another one links the two. Its source it may choose; a group has
/// two sides.
fn is_linked(
    instance: &Instance,
    peer: &Instance,
    instances: &Instances,
    names: &HostNames,
) -> bool {
    let is_source = instance.facts.source().map(|it| names.resolve(it)).as_ref() == Some(&peer.key);
    is_source || are_in_one_group(instance, peer, instances, names)
}

/// Groups `instances` into trees, ordered by head.
///
/// `preferred_heads` breaks the tie in rings and groups without a single top: a cluster keeps the
/// head it had. Otherwise the first by name stands for the ring.
pub fn trees(
    instances: &Instances,
    names: &HostNames,
    preferred_heads: &BTreeSet<InstanceKey>,
) -> Vec<Tree> {
    let mut links: BTreeMap<&InstanceKey, BTreeSet<&InstanceKey>> = BTreeMap::new();
    for instance in instances.values() {
        for neighbour in neighbours(instance, names) {
            if let Some((neighbour, peer)) = instances.get_key_value(&neighbour)
                && is_linked(instance, peer, instances, names)
            {
                links.entry(&instance.key).or_default().insert(neighbour);
                links.entry(neighbour).or_default().insert(&instance.key);
            }
        }
    }
    let mut seen: BTreeSet<&InstanceKey> = BTreeSet::new();
    let mut trees = Vec::new();
    for start in instances.keys() {
        if !seen.insert(start) {
            continue;
        }
        let mut group: BTreeSet<&InstanceKey> = BTreeSet::from([start]);
        let mut queue = vec![start];
        while let Some(key) = queue.pop() {
            for neighbour in links.get(key).into_iter().flatten() {
                if seen.insert(neighbour) {
                    group.insert(neighbour);
                    queue.push(neighbour);
                }
            }
        }
        trees.push(tree_of(start, &group, instances, names, preferred_heads));
    }
    trees.sort_by(|a, b| a.head.cmp(&b.head));
    trees
}

fn tree_of(
    start: &InstanceKey,
    group: &BTreeSet<&InstanceKey>,
    instances: &Instances,
    names: &HostNames,
    preferred_heads: &BTreeSet<InstanceKey>,
) -> Tree {
    let mut nodes: BTreeMap<InstanceKey, Node> = BTreeMap::new();
    let mut unknown_sources = BTreeSet::new();
    for &key in group {
        let placed = |instance: &Arc<Instance>| {
            let is_believed = |source: &InstanceKey| {
                instances.get(source).is_none_or(|it| is_linked(instance, it, instances, names))
            };
            source_of(instance, names).filter(is_believed)
        };
        let source = instances.get(key).and_then(placed);
        nodes.insert(key.clone(), Node { source, ..Node::default() });
    }
    let sources: Vec<(InstanceKey, InstanceKey)> =
        nodes.iter().filter_map(|(key, node)| Some((key.clone(), node.source.clone()?))).collect();
    for (key, source) in &sources {
        match nodes.get_mut(source) {
            Some(node) => node.replicas.push(key.clone()),
            None => {
                unknown_sources.insert(source.clone());
            }
        }
    }
    for (key, source) in &sources {
        let mutual = nodes.get(source).is_some_and(|node| node.source.as_ref() == Some(key));
        if let Some(node) = nodes.get_mut(key) {
            node.is_co_primary = mutual;
        }
    }
    let tops = tops(&nodes);
    let head = head(&tops, instances, preferred_heads).unwrap_or_else(|| start.clone());
    assign_depths(&mut nodes, &head, &tops);
    Tree { head, nodes, unknown_sources }
}

/// The instances nothing is above of: those without a known source, and all members of rings.
fn tops(nodes: &BTreeMap<InstanceKey, Node>) -> BTreeSet<InstanceKey> {
    let known_source = |key: &InstanceKey| {
        nodes
            .get(key)
            .and_then(|node| node.source.as_ref())
            .filter(|source| nodes.contains_key(*source))
    };
    nodes
        .keys()
        .filter(|start| {
            let mut key = *start;
            // Whoever meets himself going up is in a ring; nobody's way up is longer than all.
            for _ in 0..nodes.len() {
                match known_source(key) {
                    None => return key == *start,
                    Some(source) if source == *start => return true,
                    Some(source) => key = source,
                }
            }
            false
        })
        .cloned()
        .collect()
}

/// The top that stands for the group: a group's primary, else the head it had, else the first.
fn head(
    tops: &BTreeSet<InstanceKey>,
    instances: &Instances,
    preferred_heads: &BTreeSet<InstanceKey>,
) -> Option<InstanceKey> {
    let is_group_primary = |key: &InstanceKey| {
        let group = instances.get(key).and_then(|instance| instance.facts.membership());
        group.is_some_and(|group| group.is_primary())
    };
    let preference = |key: &&InstanceKey| (!is_group_primary(key), !preferred_heads.contains(*key));
    // The first of equals wins, and `tops` is ordered by name.
    tops.iter().min_by_key(preference).cloned()
}

fn assign_depths(
    nodes: &mut BTreeMap<InstanceKey, Node>,
    head: &InstanceKey,
    tops: &BTreeSet<InstanceKey>,
) {
    let mut seen: BTreeSet<InstanceKey> = BTreeSet::from([head.clone()]);
    let mut queue: VecDeque<(InstanceKey, u32)> = VecDeque::from([(head.clone(), 0)]);
    let mut other_tops = tops.iter().filter(|top| *top != head);
    loop {
        let Some((key, depth)) = queue.pop_front() else {
            match other_tops.find(|top| !seen.contains(*top)) {
                Some(top) => {
                    seen.insert(top.clone());
                    queue.push_back((top.clone(), 0));
                    continue;
                }
                None => return,
            }
        };
        let Some(node) = nodes.get_mut(&key) else { continue };
        node.depth = depth;
        for replica in node.replicas.clone() {
            if seen.insert(replica.clone()) {
                queue.push_back((replica, depth.saturating_add(1)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
