//! Decides whom to follow from what a probe read: the way from one server to its whole tree, and to the
//! name it goes by.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::allow::Reach;
use crate::filter::HostFilters;
use crate::instance::{Facts, Instance};
use crate::key::InstanceKey;
use crate::names::HostNames;
use crate::policy::Policy;
use crate::snapshot::FleetSnapshot;

/// So often what answers is followed to another name, and from there to the next.
const RENAMES_MAX: u8 = 3;

/// Who a server says it is: its UUID, where it has one, and its server id.
pub type Identity = (Option<Uuid>, u32);

/// How sure it is that an instance exists under a name. Ordered from the least sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Somebody said so: a server about a client that looks like a replica, or a person. It is
    /// part of the fleet once it answers.
    Hearsay,
    /// A replica is configured to replicate from it, or the configuration names it. It is part of
    /// the fleet even if it never answers: a dead primary is a problem, not a rumour.
    Vouched,
}

/// A server that answers to one name and goes by another.
#[derive(Debug, Clone, Copy)]
pub struct Renaming<'a> {
    /// The name it was probed by.
    pub probed: &'a InstanceKey,
    /// The name it goes by.
    pub canonical: &'a InstanceKey,
    /// Who it says it is.
    pub identity: Identity,
    /// How many other names led to the one it was probed by.
    pub renames: u8,
    /// So many names are known at most.
    pub names_max: usize,
}

/// Why a server is not watched by the name it goes by, whatever it says; `None` if it is.
pub fn why_not_renamed(
    renaming: &Renaming<'_>,
    names: &HostNames,
    fleet: &FleetSnapshot,
) -> Option<&'static str> {
    let Renaming { probed, canonical, identity, renames, names_max } = *renaming;
    if names.resolve(canonical) != *canonical {
        // Two servers that each claim the other's name: following them would never end.
        return Some("names go in a circle");
    }
    let is_another = |it: &Arc<Instance>| {
        it.was_seen() && (it.facts.server_uuid, it.facts.server_id) != identity
    };
    if fleet.instance(canonical).is_some_and(is_another) {
        return Some("another server goes by that name");
    }
    if renames >= RENAMES_MAX {
        return Some("it goes by another name each time");
    }
    let is_full = names.len() >= names_max;
    (is_full && names.resolve(probed) == *probed).then_some("too many names are known")
}

/// Whether others replicate from an instance, by these names: then it is missed, wherever its name leads.
pub fn is_replicated_from(key: &InstanceKey, names: &HostNames, fleet: &FleetSnapshot) -> bool {
    let mut sources = fleet.members().filter_map(|(_, it)| it.instance.facts.source());
    sources.any(|source| names.resolve(source) == *key)
}

/// Whether a host is never to be probed.
pub fn is_ignored(policy: &Policy, key: &InstanceKey) -> bool {
    matches(&policy.discovery_ignore, key) || is_outside(policy, key)
}

/// Whether no server may be there, as far as its name tells.
pub fn is_outside(policy: &Policy, key: &InstanceKey) -> bool {
    policy.discovery_allow.judge(key.host()) == Reach::Outside
}

/// The instances that `facts` lead to, ordered by name.
pub fn follow(policy: &Policy, facts: &Facts) -> Vec<(InstanceKey, Standing)> {
    let mut found = BTreeMap::new();
    let replicates_as_ignored = facts.main_channel().is_some_and(|channel| {
        let users = &policy.discovery_ignore_replication_users;
        users.patterns.iter().any(|pattern| pattern.is_match(&channel.user))
    });
    if replicates_as_ignored {
        return Vec::new();
    }
    for peer in facts.membership().into_iter().flat_map(|group| &group.members) {
        found.insert(peer.clone(), Standing::Hearsay);
    }
    for replica in &facts.replicas {
        if !matches(&policy.discovery_ignore_replicas, replica) {
            found.insert(replica.clone(), Standing::Hearsay);
        }
    }
    for source in facts.channels.iter().filter_map(|channel| channel.source.attached()) {
        if !matches(&policy.discovery_ignore_sources, source) {
            found.insert(source.clone(), Standing::Vouched);
        }
    }
    found.into_iter().filter(|(key, _)| !is_ignored(policy, key)).collect()
}

fn matches(filters: &HostFilters, key: &InstanceKey) -> bool {
    let full = key.to_string();
    filters.patterns.iter().any(|pattern| pattern.is_match(key.host()) || pattern.is_match(&full))
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::allow::DiscoveryAllow;
    use crate::instance::{Channel, SourceLink};

    fn key(name: &str) -> InstanceKey {
        InstanceKey::new(name, 3306)
    }

    fn facts() -> Facts {
        let channel = Channel {
            source: SourceLink::Attached(key("up")),
            user: "repl".into(),
            ..Channel::default()
        };
        Facts {
            channels: vec![channel],
            replicas: [key("down1"), key("down2")].into(),
            ..Facts::default()
        }
    }

    #[test]
    fn filters_decide_who_is_followed() {
        let filter = |text: &str| HostFilters { patterns: vec![Regex::new(text).unwrap()] };
        let only = |text: &str| {
            let mut allow = DiscoveryAllow::default();
            allow.add(text).unwrap();
            allow
        };
        let everybody = || Policy::default();
        for (case, policy, expected) in [
            ("everybody without filters", everybody(), vec!["down1", "down2", "up"]),
            (
                "not ignored hosts",
                Policy { discovery_ignore: filter("^down1$"), ..everybody() },
                vec!["down2", "up"],
            ),
            (
                "filters see the port too",
                Policy { discovery_ignore: filter("^down1:3306$"), ..everybody() },
                vec!["down2", "up"],
            ),
            (
                "nobody where no server may be",
                Policy { discovery_allow: only("down2"), ..everybody() },
                vec!["down2"],
            ),
            (
                "not ignored replicas",
                Policy { discovery_ignore_replicas: filter("down|up"), ..everybody() },
                vec!["up"],
            ),
            (
                "not ignored sources",
                Policy { discovery_ignore_sources: filter("down|up"), ..everybody() },
                vec!["down1", "down2"],
            ),
            (
                "nobody from a replica with an ignored account",
                Policy { discovery_ignore_replication_users: filter("^repl$"), ..everybody() },
                vec![],
            ),
        ] {
            let followed: Vec<_> = follow(&policy, &facts()).into_iter().map(|(k, _)| k).collect();
            let expected: Vec<_> = expected.into_iter().map(key).collect();
            assert_eq!(followed, expected, "case: {case}");
        }
    }

    #[test]
    fn only_sources_are_vouched_for() {
        let standings: Vec<_> = follow(&Policy::default(), &facts())
            .into_iter()
            .map(|(_, standing)| standing)
            .collect();
        assert_eq!(standings, [Standing::Hearsay, Standing::Hearsay, Standing::Vouched]);
    }
}
