//! Decides whom to follow from what a probe read: the way from one server to its whole tree.

use std::collections::BTreeMap;

use crate::allow::Reach;
use crate::filter::HostFilters;
use crate::instance::Facts;
use crate::key::InstanceKey;
use crate::policy::Policy;

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
