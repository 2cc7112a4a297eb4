//! Rebuilds the clusters that something happened to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{Changes, News};
use crate::analysis::{Analysis, Code, analyze};
use crate::cluster::{Cluster, ClusterId, Member};
use crate::errant::{errant, errant_on_mariadb};
use crate::graph::{Instances, Node, Tree, neighbours, trees};
use crate::gtid::{GtidSet, MariaDbState};
use crate::identity::{assign, claimed_alias};
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::ledger::LedgerState;
use crate::membership::{compare, membership};
use crate::recovery::former::replacing;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

/// What the clusters that are being rebuilt looked like.
struct Before {
    clusters: BTreeMap<ClusterId, Arc<Cluster>>,
    identities: BTreeMap<InstanceKey, ClusterId>,
    heads: BTreeSet<InstanceKey>,
}

/// For so long after a recovery its cluster's identity follows the one who succeeded.
const SUCCESSION: Duration = Duration::from_secs(60);

/// Who was made primary just now, and of which cluster.
fn successors(ledger: &LedgerState, now: Timestamp) -> BTreeMap<InstanceKey, ClusterId> {
    let recent = ledger.recoveries.values().filter(|it| {
        it.kind.promotes() && it.ended_at.is_none_or(|ended| now.since(ended) < SUCCESSION)
    });
    // Of several recoveries of a cluster, or by the same server, the newest one counts.
    let mut successors: BTreeMap<InstanceKey, ClusterId> = BTreeMap::new();
    for recovery in recent {
        let Some(key) = &recovery.successor else { continue };
        successors.retain(|_, cluster| *cluster != recovery.cluster);
        successors.insert(key.clone(), recovery.cluster.clone());
    }
    successors
}

/// Applies `changes` to `next`; returns the rebuilt clusters and the news.
pub(super) fn rebuild(
    next: &mut FleetSnapshot,
    mut changes: Changes,
    now: Timestamp,
) -> (Vec<ClusterId>, Vec<News>) {
    let successors = successors(&next.ledger, now);
    let mut instances = affected(next, &mut changes, &successors);
    let read = changes.instances.values().flatten().map(|it| &**it);
    for replica in compare(read, &instances, &next.names) {
        instances.insert(replica.key.clone(), replica);
    }
    let before = take_apart(next, &changes);
    let trees = trees(&instances, &next.names, &before.heads);
    let taken = |id: &ClusterId| next.clusters.contains_key(id);
    let ids = assign(&trees, &instances, &before.identities, &successors, &taken);
    let mut aliases_in_motion: BTreeSet<Arc<str>> = BTreeSet::new();
    for old in before.clusters.values() {
        aliases_in_motion.insert(old.claimed_alias.as_str().into());
    }
    for (tree, id) in trees.iter().zip(&ids) {
        let cluster = build(next, tree, id, &instances, &before, now);
        aliases_in_motion.insert(cluster.claimed_alias.as_str().into());
        put_in_place(next, tree, cluster, now, &before);
    }
    let renamed = settle_aliases(next, &aliases_in_motion, &ids);
    let news = news(&before, &changes, next, &ids);
    let touched: BTreeSet<ClusterId> = ids.into_iter().chain(renamed).collect();
    (touched.into_iter().collect(), news)
}

/// All instances of the clusters to rebuild, as they are now. Marks clusters dirty that changed
/// instances link to, until no link leaves the dirty ones.
fn affected(
    next: &FleetSnapshot,
    changes: &mut Changes,
    successors: &BTreeMap<InstanceKey, ClusterId>,
) -> Instances {
    let mut queue: Vec<ClusterId> = changes.dirty.iter().cloned().collect();
    // Whoever gets an identity and whoever has it are looked at together.
    for (key, id) in successors {
        let own = next.cluster_of.get(key).filter(|own| *own != id);
        queue.extend(own.into_iter().flat_map(|own| [own.clone(), id.clone()]));
    }
    for (key, changed) in &changes.instances {
        queue.extend(next.cluster_of.get(key).cloned());
        if let Some(instance) = changed {
            let linked = neighbours(instance, &next.names);
            queue.extend(linked.filter_map(|key| next.cluster_of.get(&key).cloned()));
            let waiting = next.awaited.get(key).into_iter().flat_map(|ids| ids.iter().cloned());
            queue.extend(waiting);
        }
    }
    let mut instances = Instances::new();
    let mut collected: BTreeSet<ClusterId> = BTreeSet::new();
    while let Some(id) = queue.pop() {
        if !collected.insert(id.clone()) {
            continue;
        }
        for member in next.clusters.get(&id).iter().flat_map(|cluster| cluster.members.values()) {
            // New names may link an instance to clusters it was not linked to.
            let linked = neighbours(&member.instance, &next.names);
            queue.extend(linked.filter_map(|key| next.cluster_of.get(&key).cloned()));
            instances.insert(member.key().clone(), Arc::clone(&member.instance));
        }
    }
    changes.dirty = collected;
    for (key, changed) in &changes.instances {
        match changed {
            Some(instance) => instances.insert(key.clone(), Arc::clone(instance)),
            None => instances.remove(key),
        };
    }
    instances
}

/// Removes the dirty clusters from `next`.
fn take_apart(next: &mut FleetSnapshot, changes: &Changes) -> Before {
    let mut before = Before {
        clusters: BTreeMap::new(),
        identities: changes.identities.clone(),
        heads: BTreeSet::new(),
    };
    for id in &changes.dirty {
        let Some(cluster) = next.clusters.get(id).cloned() else { continue };
        next.clusters.remove_mut(id);
        for member in cluster.members.values() {
            before.identities.insert(member.key().clone(), id.clone());
            next.cluster_of.remove_mut(member.key());
            let source = member.source.as_ref().filter(|key| !cluster.members.contains_key(*key));
            if let Some(source) = source {
                stop_waiting(next, source, id);
            }
        }
        if let Some(at) = cluster.recheck_at {
            next.rechecks.remove_mut(&(at, id.clone()));
        }
        before.heads.insert(cluster.head.clone());
        before.clusters.insert(id.clone(), cluster);
    }
    before
}

fn stop_waiting(next: &mut FleetSnapshot, source: &InstanceKey, id: &ClusterId) {
    let Some(waiting) = next.awaited.get(source) else { return };
    let mut waiting = (**waiting).clone();
    waiting.remove(id);
    if waiting.is_empty() {
        next.awaited.remove_mut(source);
    } else {
        next.awaited.insert_mut(source.clone(), Arc::new(waiting));
    }
}

fn build(
    next: &FleetSnapshot,
    tree: &Tree,
    id: &ClusterId,
    instances: &Instances,
    before: &Before,
    now: Timestamp,
) -> Cluster {
    let mut members = BTreeMap::new();
    for (key, node) in &tree.nodes {
        let Some(instance) = instances.get(key) else { continue };
        let member = member(instance, node, tree, (instances, next), before);
        members.insert(key.clone(), member);
    }
    let claimed_alias = match instances.get(&tree.head) {
        Some(head) => {
            let others = members.values().map(|member: &Member| &*member.instance);
            claimed_alias(id, head, others, &next.ledger, &next.policy)
        }
        None => String::new(),
    };
    let domain =
        instances.get(&tree.head).map(|head| head.facts.cluster_domain.clone()).unwrap_or_default();
    let mut cluster = Cluster {
        id: id.clone(),
        head: tree.head.clone(),
        alias: String::new(),
        claimed_alias,
        domain,
        members,
        analyses: Vec::new(),
        recheck_at: None,
    };
    let earlier: Vec<Analysis> = findings_before(before, tree.nodes.keys()).cloned().collect();
    let verdicts = analyze(&cluster, &earlier, &next.ledger, &next.policy, now);
    cluster.analyses = verdicts.analyses;
    cluster.recheck_at = verdicts.recheck_at;
    cluster
}

fn findings_before<'a>(
    before: &'a Before,
    keys: impl Iterator<Item = &'a InstanceKey>,
) -> impl Iterator<Item = &'a Analysis> {
    keys.filter_map(|key| {
        let cluster = before.clusters.get(before.identities.get(key)?)?;
        cluster.analyses.iter().find(|analysis| analysis.key == *key)
    })
}

fn member(
    instance: &Arc<Instance>,
    node: &Node,
    tree: &Tree,
    (instances, fleet): (&Instances, &FleetSnapshot),
    before: &Before,
) -> Member {
    let ancestors = ancestors(&instance.key, tree, instances);
    let mut uuids: Vec<Uuid> = ancestors.iter().filter_map(|it| it.facts.server_uuid).collect();
    uuids.extend(ancestors.iter().filter_map(|it| group_uuid(it)));
    uuids.extend(group_uuid(instance));
    // What they import comes down from them.
    let imports = ancestors.iter().flat_map(|it| it.facts.other_channels());
    uuids.extend(imports.filter_map(|channel| channel.source_uuid));
    let others = instance.facts.other_channels().filter_map(|channel| {
        let source = fleet.names.resolve(channel.source.attached()?);
        instances.get(&source).or_else(|| fleet.instance(&source)).map(|it| &**it)
    });
    let others: Vec<&Instance> = others.collect();
    if node.is_co_primary {
        uuids.extend(instance.facts.server_uuid);
    }
    let earlier = before
        .identities
        .get(&instance.key)
        .and_then(|id| before.clusters.get(id))
        .and_then(|cluster| cluster.member(&instance.key));
    let (none, none_on_mariadb) = (GtidSet::default(), MariaDbState::default());
    let errant_before = earlier.map_or(&none, |member| &member.errant);
    Member {
        instance: Arc::clone(instance),
        source: node.source.clone(),
        membership: membership(instance, ancestors.first().copied()),
        replicas: node.replicas.clone(),
        depth: node.depth,
        is_co_primary: node.is_co_primary,
        ancestry: ancestry(instance, &ancestors),
        errant: errant(instance, &ancestors, &uuids, &others, errant_before),
        errant_on_mariadb: if node.is_co_primary {
            none_on_mariadb
        } else {
            let errant_before = earlier.map_or(&none_on_mariadb, |it| &it.errant_on_mariadb);
            let beside = beside(&instance.key, node, tree, instances);
            errant_on_mariadb(instance, &ancestors, beside, errant_before)
        },
    }
}

/// The other replicas of an instance's source.
fn beside<'a>(
    key: &'a InstanceKey,
    node: &'a Node,
    tree: &'a Tree,
    instances: &'a Instances,
) -> impl Iterator<Item = &'a Instance> {
    let source = node.source.as_ref().and_then(|source| tree.nodes.get(source));
    let siblings = source.into_iter().flat_map(|source| &source.replicas);
    siblings.filter(move |it| *it != key).filter_map(|it| instances.get(it)).map(|it| &**it)
}

/// The sources above an instance, nearest first, each once.
fn ancestors<'a>(key: &InstanceKey, tree: &Tree, instances: &'a Instances) -> Vec<&'a Instance> {
    let mut ancestors: Vec<&Instance> = Vec::new();
    let mut at = key;
    while let Some(source) = tree.nodes.get(at).and_then(|node| node.source.as_ref()) {
        let Some(instance) = instances.get(source) else { break };
        if source == key || ancestors.iter().any(|seen| seen.key == *source) {
            break;
        }
        ancestors.push(instance);
        at = source;
    }
    ancestors
}

fn group_uuid(instance: &Instance) -> Option<Uuid> {
    instance.facts.group.as_ref().and_then(|group| group.name.parse().ok())
}

/// UUIDs from the top down to the instance itself, then its group's name.
fn ancestry(instance: &Instance, ancestors: &[&Instance]) -> Vec<Arc<str>> {
    let uuid = |instance: &Instance| instance.facts.server_uuid.map(|uuid| uuid.to_string());
    let above = ancestors.iter().rev().filter_map(|ancestor| uuid(ancestor));
    let group = instance.facts.group.as_ref().map(|group| group.name.clone());
    above.chain(uuid(instance)).chain(group).map(Arc::from).collect()
}

fn put_in_place(
    next: &mut FleetSnapshot,
    tree: &Tree,
    cluster: Cluster,
    now: Timestamp,
    before: &Before,
) {
    debug_assert!(cluster.recheck_at.is_none_or(|at| at > now), "what is due was just done");
    for key in cluster.members.keys() {
        next.cluster_of.insert_mut(key.clone(), cluster.id.clone());
    }
    for source in &tree.unknown_sources {
        let mut waiting = next.awaited.get(source).map(|ids| (**ids).clone()).unwrap_or_default();
        waiting.insert(cluster.id.clone());
        next.awaited.insert_mut(source.clone(), Arc::new(waiting));
    }
    if let Some(at) = cluster.recheck_at {
        next.rechecks.insert_mut((at, cluster.id.clone()), ());
    }
    // The alias it had stays until aliases are settled.
    let alias = before.clusters.get(&cluster.id).map(|old| old.alias.clone()).unwrap_or_default();
    next.clusters.insert_mut(cluster.id.clone(), Arc::new(Cluster { alias, ..cluster }));
}

/// Decides who bears each of the aliases in motion, and names all clusters concerned. Returns the
/// clusters whose alias changed.
fn settle_aliases(
    next: &mut FleetSnapshot,
    aliases_in_motion: &BTreeSet<Arc<str>>,
    rebuilt: &[ClusterId],
) -> Vec<ClusterId> {
    let mut concerned: BTreeSet<ClusterId> = rebuilt.iter().cloned().collect();
    for alias in aliases_in_motion.iter().filter(|alias| !alias.is_empty()) {
        let owner = next.alias_owners.get(alias).cloned();
        let claims = |id: &ClusterId| {
            next.clusters.get(id).is_some_and(|cluster| *cluster.claimed_alias == **alias)
        };
        if owner.as_ref().is_some_and(claims) {
            continue;
        }
        let heir = heir(next, alias);
        concerned.extend(owner.into_iter().chain(heir.clone()));
        match heir {
            Some(id) => next.alias_owners.insert_mut(Arc::clone(alias), id),
            None => {
                next.alias_owners.remove_mut(alias);
            }
        }
    }
    let mut renamed = Vec::new();
    for id in concerned {
        let Some(cluster) = next.clusters.get(&id) else { continue };
        let owns = next.alias_owners.get(cluster.claimed_alias.as_str()) == Some(&id);
        let alias = if owns { cluster.claimed_alias.clone() } else { cluster.name() };
        if alias != cluster.alias {
            let cluster = Cluster { alias, ..(**cluster).clone() };
            next.clusters.insert_mut(id.clone(), Arc::new(cluster));
            renamed.push(id);
        }
    }
    renamed
}

/// Who gets an alias that nobody bears: whoever is headed by a primary that was replaced goes last;
/// of the others the claimant with a living, writable head goes first, then the biggest, then the
/// first by identity.
fn heir(next: &FleetSnapshot, alias: &str) -> Option<ClusterId> {
    next.clusters
        .values()
        .filter(|cluster| cluster.claimed_alias == alias)
        .min_by_key(|cluster| {
            let head = cluster.member(&cluster.head).map(|member| &member.instance);
            let lives = head.is_some_and(|head| head.is_valid() && !head.facts.read_only);
            let size = std::cmp::Reverse(cluster.members.len());
            let was_replaced = replacing(&cluster.head, &next.ledger).is_some();
            (was_replaced, !lives, size, cluster.id.clone())
        })
        .map(|cluster| cluster.id.clone())
}

fn news(before: &Before, changes: &Changes, next: &FleetSnapshot, ids: &[ClusterId]) -> Vec<News> {
    let mut news = Vec::new();
    for (key, changed) in &changes.instances {
        let was_known =
            before.identities.contains_key(key) && !changes.identities.contains_key(key);
        match changed {
            Some(_) if !was_known => news.push(News::InstanceFound(key.clone())),
            None if was_known => news.push(News::InstanceLost(key.clone())),
            Some(_) | None => {}
        }
    }
    let old_findings: BTreeMap<&InstanceKey, (&ClusterId, &Analysis)> = before
        .clusters
        .iter()
        .flat_map(|(id, cluster)| cluster.analyses.iter().map(move |it| (&it.key, (id, it))))
        .collect();
    let mut still_wrong: BTreeSet<&InstanceKey> = BTreeSet::new();
    let rebuilt = ids.iter().filter_map(|id| next.clusters.get(id));
    for (cluster, analysis) in
        rebuilt.flat_map(|cluster| cluster.analyses.iter().map(move |it| (cluster, it)))
    {
        still_wrong.insert(&analysis.key);
        let old = old_findings.get(&analysis.key).map(|(_, old)| old);
        let same =
            |old: &&&Analysis| (old.code, &old.structure) == (analysis.code, &analysis.structure);
        if old.filter(same).is_none() {
            news.push(News::ProblemChanged {
                cluster: cluster.id.clone(),
                analysis: Box::new(analysis.clone()),
                before: old.map_or(Code::NoProblem, |old| old.code),
            });
        }
    }
    for (key, (id, old)) in old_findings {
        if !still_wrong.contains(key) {
            news.push(News::ProblemVanished {
                cluster: id.clone(),
                key: key.clone(),
                before: old.code,
            });
        }
    }
    news
}
