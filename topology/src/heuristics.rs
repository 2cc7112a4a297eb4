//! Rules of thumb: which replicas an online schema change should watch, and how far a cluster lags.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::cluster::{Cluster, Member};
use crate::key::InstanceKey;
use crate::policy::Policy;
use crate::version::Flavor;

/// So many replicas of a tier are watched per data centre, and per intermediate source.
const WATCHED_PER_GROUP: usize = 2;

/// The replicas whose lag an online schema change should watch.
///
/// Of the first tier: per data centre the two busiest (most replicas, then most lag); of those that
/// have replicas, their two busiest replicas each; of the third tier: per data centre the two
/// busiest. Binlog servers, instances that do not answer and ignored hosts are left out. In this
/// order, nobody twice.
pub fn osc_replicas<'a>(cluster: &'a Cluster, policy: &Policy) -> Vec<&'a Member> {
    let first = per_data_center(of_depth(cluster, policy, 1));
    let second = first.iter().flat_map(|source| {
        let replicas = source.replicas.iter().filter_map(|key| cluster.member(key));
        busiest(replicas.filter(|replica| is_watchable(replica, policy)).collect())
    });
    let second: Vec<&Member> = second.collect();
    let third = per_data_center(of_depth(cluster, policy, 3));
    let mut seen: Vec<&InstanceKey> = Vec::new();
    let mut result = Vec::new();
    for member in first.into_iter().chain(second).chain(third) {
        if !seen.contains(&member.key()) {
            seen.push(member.key());
            result.push(member);
        }
    }
    result
}

/// The most any of the replicas worth watching lags, in seconds.
pub fn heuristic_lag_seconds(cluster: &Cluster, policy: &Policy) -> u64 {
    let lags = osc_replicas(cluster, policy);
    lags.iter().filter_map(|member| member.instance.facts.lag_seconds()).max().unwrap_or(0)
}

fn of_depth<'a>(cluster: &'a Cluster, policy: &Policy, depth: u32) -> Vec<&'a Member> {
    let tier = cluster.members.values().filter(|member| member.depth == depth);
    tier.filter(|member| is_watchable(member, policy)).collect()
}

fn is_watchable(member: &Member, policy: &Policy) -> bool {
    member.instance.is_valid()
        && member.instance.facts.version.flavor() != Flavor::MaxScale
        && !policy.osc_ignore.matches(member.key().host())
}

fn per_data_center(members: Vec<&Member>) -> Vec<&Member> {
    let mut centers: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
    for member in members {
        centers.entry(&member.instance.facts.placement.data_center).or_default().push(member);
    }
    centers.into_values().flat_map(busiest).collect()
}

fn busiest(mut members: Vec<&Member>) -> Vec<&Member> {
    members.sort_by_key(|member| {
        let lag = member.instance.facts.lag_seconds();
        (Reverse(member.replicas.len()), Reverse(lag), member.key().clone())
    });
    members.truncate(WATCHED_PER_GROUP);
    members
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fleet::{FleetInput, advance};
    use crate::instance::Facts;
    use crate::snapshot::FleetSnapshot;
    use crate::testing::{answered, key, primary_facts, refused, replica_facts};
    use crate::time::Timestamp;

    fn below(source: &str, data_center: &str, lag: u64) -> Facts {
        let mut facts = replica_facts(&key(source));
        facts.placement.data_center = data_center.into();
        facts.channels[0].seconds_behind = Some(lag);
        facts
    }

    #[test]
    fn two_of_each_tier_and_data_center_are_watched() {
        let probes = [
            ("p", primary_facts()),
            ("a1", below("p", "east", 0)),
            ("a2", below("p", "east", 5)),
            ("a3", below("p", "east", 9)),
            ("b1", below("p", "west", 1)),
            ("c1", below("a1", "east", 0)),
            ("c2", below("a1", "east", 40)),
            ("c3", below("a1", "east", 3)),
            ("d1", below("c3", "east", 2)),
            ("dead", below("p", "west", 90)),
        ];
        let probes = probes.map(|(name, facts)| FleetInput::Probed(answered(name, 1, facts)));
        let mut probes = Vec::from(probes);
        probes.push(FleetInput::Probed(refused("dead", 2)));
        let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
        let fleet = advance(&empty, probes, Timestamp::from_secs(2)).snapshot;
        let cluster = fleet.clusters.values().next().unwrap();
        let names: Vec<&str> =
            osc_replicas(cluster, &fleet.policy).iter().map(|it| it.key().host()).collect();
        assert_eq!(names, ["a1", "a3", "b1", "c3", "c2", "d1"]);
        assert_eq!(heuristic_lag_seconds(cluster, &fleet.policy), 40);
    }
}
