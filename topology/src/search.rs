//! Finds instances by what people type.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::cluster::{Cluster, Member};
use crate::key::InstanceKey;
use crate::names::leads;
use crate::snapshot::FleetSnapshot;

/// Instances that match `text`, those highest up first, then those with most replicas, then by
/// name.
///
/// Host name, cluster name, version, version comment and suggested alias match by part, in any
/// case; server id and port match whole.
pub fn search<'a>(fleet: &'a FleetSnapshot, text: &str) -> Vec<(&'a Arc<Cluster>, &'a Member)> {
    let needle = text.to_lowercase();
    let number: Option<u32> = text.parse().ok();
    let mut found: Vec<_> = fleet
        .members()
        .filter(|(cluster, member)| matches(cluster, member, &needle, number))
        .collect();
    found.sort_by_key(|(_, member)| {
        (member.depth, Reverse(member.replicas.len()), member.key().clone())
    });
    found
}

fn matches(cluster: &Cluster, member: &Member, needle: &str, number: Option<u32>) -> bool {
    let facts = &member.instance.facts;
    let contains = |text: &str| text.to_lowercase().contains(needle);
    contains(&member.key().to_string())
        || contains(&cluster.name())
        || contains(facts.version.as_str())
        || contains(&facts.version_comment)
        || contains(&facts.suggested_cluster_alias)
        || number.is_some_and(|number| {
            number == facts.server_id || number == u32::from(member.key().port())
        })
}

/// The known instance people mean by a key that need not be exact: itself, or the only one with
/// that port whose host name contains the given text. Addresses are always meant exactly.
pub fn fuzzy_match(fleet: &FleetSnapshot, key: &InstanceKey) -> InstanceKey {
    let is_address = key.host().parse::<std::net::IpAddr>().is_ok();
    if is_address || fleet.cluster_of.contains_key(key) || key.host().is_empty() {
        return key.clone();
    }
    let mut candidates = fleet
        .cluster_of
        .keys()
        .filter(|known| known.port() == key.port() && known.host().contains(key.host()));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => only.clone(),
        _ => key.clone(),
    }
}

/// The known instance that a command may act on: the one of that very name, else the only one with
/// that port of whose host name it is the leading labels, as the name of a pod is of its own. A mere
/// part of a name never says whom a command is for.
pub fn target(fleet: &FleetSnapshot, key: &InstanceKey) -> InstanceKey {
    if fleet.cluster_of.contains_key(key) {
        return key.clone();
    }
    let mut candidates = fleet
        .cluster_of
        .keys()
        .filter(|known| known.port() == key.port() && leads(key.host(), known.host()));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => only.clone(),
        _ => key.clone(),
    }
}

/// The cluster people mean by a hint: an alias or a name, else `host[:port]` of any member,
/// exactly or as [`fuzzy_match`] finds it.
pub fn cluster_by_hint<'a>(fleet: &'a FleetSnapshot, hint: &str) -> Option<&'a Arc<Cluster>> {
    if let Some(cluster) = fleet.cluster_named(hint) {
        return Some(cluster);
    }
    let key = InstanceKey::parse(hint, Some(fleet.policy.default_port)).ok()?;
    let key = fleet.names.resolve(&key);
    fleet.cluster_with(&key).or_else(|| fleet.cluster_with(&fuzzy_match(fleet, &key)))
}

/// The head of every cluster that takes writes: the first of its primaries that is not read-only
/// and was seen at its newest probe.
pub fn writable_primaries(fleet: &FleetSnapshot) -> Vec<(&Arc<Cluster>, &Member)> {
    fleet
        .clusters
        .values()
        .filter_map(|cluster| {
            let mut heads = cluster.primaries().into_iter();
            let writable =
                heads.find(|head| head.instance.is_valid() && !head.instance.facts.read_only)?;
            Some((cluster, writable))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{FleetInput, advance};
    use crate::instance::Facts;
    use crate::testing::{answered, primary_facts, replica_facts};
    use crate::time::Timestamp;

    fn fleet() -> FleetSnapshot {
        let primary = InstanceKey::new("db1.prod", 3306);
        let named = Facts { suggested_cluster_alias: "shop".into(), ..primary_facts() };
        let probes = [
            ("db1.prod", named),
            ("db2.prod", Facts { server_id: 77, ..replica_facts(&primary) }),
            ("other", Facts { version_comment: "Source distribution".into(), ..primary_facts() }),
        ];
        let probes = probes.map(|(name, facts)| FleetInput::Probed(answered(name, 1, facts)));
        let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
        advance(&empty, probes.into(), Timestamp::from_secs(1)).snapshot
    }

    #[test]
    fn search_matches_parts_of_names_and_whole_numbers() {
        let fleet = fleet();
        for (text, expected) in [
            ("db2", "db2.prod"),
            ("PROD", "db1.prod db2.prod"),
            ("77", "db2.prod"),
            ("7", ""),
            ("3306", "db1.prod other db2.prod"),
            ("8.4", "db1.prod other db2.prod"),
            ("source dist", "other"),
            ("shop", "db1.prod"),
            ("db1.prod:3306", "db1.prod db2.prod"),
        ] {
            let found = search(&fleet, text);
            let names: Vec<&str> = found.iter().map(|(_, it)| it.key().host()).collect();
            assert_eq!(names.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn a_part_of_a_name_is_enough_when_only_one_is_meant() {
        let fleet = fleet();
        let key = |host: &str| InstanceKey::new(host, 3306);
        for (given, meant) in [("db2", "db2.prod"), ("prod", "prod"), ("127.0.0.1", "127.0.0.1")] {
            assert_eq!(fuzzy_match(&fleet, &key(given)), key(meant), "{given}");
        }
        for hint in ["shop", "db1.prod:3306", "db1.prod", "db2:3306", "db2"] {
            let found = cluster_by_hint(&fleet, hint).map(|cluster| cluster.alias.as_str());
            assert_eq!(found, Some("shop"), "{hint}");
        }
        assert!(cluster_by_hint(&fleet, "prod").is_none());
        assert!(cluster_by_hint(&fleet, "").is_none());
    }

    #[test]
    fn a_command_is_for_whoever_is_named_by_its_leading_labels() {
        let fleet = fleet();
        let key = |host: &str, port| InstanceKey::new(host, port);
        for (given, port, meant) in [
            ("db2", 3306, "db2.prod"),
            ("db2.prod", 3306, "db2.prod"),
            ("other", 3306, "other"),
            ("db", 3306, "db"),
            ("prod", 3306, "prod"),
            ("db2", 3307, "db2"),
            ("", 3306, ""),
        ] {
            assert_eq!(target(&fleet, &key(given, port)), key(meant, port), "{given}:{port}");
        }
    }

    #[test]
    fn every_cluster_has_at_most_one_writable_primary_listed() {
        let names: Vec<String> =
            writable_primaries(&fleet()).iter().map(|(_, it)| it.key().to_string()).collect();
        assert_eq!(names, ["db1.prod:3306", "other:3306"]);
    }
}
