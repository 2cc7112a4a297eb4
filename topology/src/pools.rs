//! Pools: named sets of instances that load balancers submit.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::{Cluster, Member};
use crate::key::{InstanceKey, ParseKeyError};
use crate::ledger::LedgerState;
use crate::search::fuzzy_match;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;
use crate::version::Flavor;

/// Reads a submission: instances separated by commas, empty parts ignored. Parts of host names are
/// completed where the policy allows it and only one instance is meant.
///
/// # Errors
/// When a part is no instance.
pub fn parse_submission(
    fleet: &FleetSnapshot,
    text: &str,
) -> Result<Vec<InstanceKey>, ParseKeyError> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let mut members = Vec::new();
    for part in parts {
        let key = InstanceKey::parse(part, Some(fleet.policy.default_port))?;
        let key = fleet.names.resolve(&key);
        let key = if fleet.policy.fuzzy_pool_hosts { fuzzy_match(fleet, &key) } else { key };
        if !members.contains(&key) {
            members.push(key);
        }
    }
    Ok(members)
}

/// The pools that have members in the cluster, with those members, ordered by name.
pub fn of_cluster(
    cluster: &Cluster,
    ledger: &LedgerState,
    now: Timestamp,
) -> BTreeMap<Arc<str>, Vec<InstanceKey>> {
    ledger
        .pools
        .iter()
        .filter(|(_, pool)| now < pool.expires_at)
        .filter_map(|(name, pool)| {
            let here = pool.members.iter().filter(|key| cluster.members.contains_key(*key));
            let mut members: Vec<InstanceKey> = here.cloned().collect();
            members.sort();
            (!members.is_empty()).then(|| (Arc::clone(name), members))
        })
        .collect()
}

/// The members of the cluster's pools (or of one of them) that answer, ordered by name.
pub fn instances<'a>(
    cluster: &'a Cluster,
    ledger: &LedgerState,
    pool: Option<&str>,
    now: Timestamp,
) -> Vec<&'a Member> {
    let mut keys: Vec<InstanceKey> = of_cluster(cluster, ledger, now)
        .into_iter()
        .filter(|(name, _)| pool.is_none_or(|pool| *pool == **name))
        .flat_map(|(_, members)| members)
        .collect();
    keys.sort();
    keys.dedup();
    let members = keys.iter().filter_map(|key| cluster.member(key));
    members
        .filter(|member| {
            member.instance.is_valid() && member.instance.facts.version.flavor() != Flavor::MaxScale
        })
        .collect()
}

/// The most any of these instances lags, in seconds.
pub fn lag_seconds(members: &[&Member]) -> u64 {
    members.iter().filter_map(|member| member.instance.facts.lag_seconds()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{FleetInput, advance};
    use crate::ledger::Pool;
    use crate::testing::{answered, key, primary_facts, refused, replica_facts};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn fleet() -> FleetSnapshot {
        let mut slow = replica_facts(&key("p.prod"));
        slow.channels[0].seconds_behind = Some(7);
        let inputs = vec![
            FleetInput::Probed(answered("p.prod", 1, primary_facts())),
            FleetInput::Probed(answered("r1.prod", 1, slow.clone())),
            FleetInput::Probed(answered("r2.prod", 1, slow)),
            FleetInput::Probed(refused("r2.prod", 2)),
        ];
        let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
        advance(&empty, inputs, at(2)).snapshot
    }

    #[test]
    fn submissions_are_completed_and_each_counts_once() {
        let fleet = fleet();
        let members = parse_submission(&fleet, "r1, r1.prod:3306,,unknown:1").unwrap();
        assert_eq!(members, [key("r1.prod"), InstanceKey::new("unknown", 1)]);
        assert!(parse_submission(&fleet, "r1:x").is_err());
    }

    #[test]
    fn pools_show_members_of_the_cluster_until_they_expire() {
        let fleet = fleet();
        let cluster = fleet.clusters.values().next().unwrap();
        let mut ledger = LedgerState::default();
        let pool = Pool {
            members: vec![key("r2.prod"), key("r1.prod"), key("elsewhere")],
            submitted_at: at(0),
            expires_at: at(60),
        };
        ledger.pools.insert_mut("readers".into(), pool);
        let pools = of_cluster(cluster, &ledger, at(3));
        assert_eq!(pools["readers"], [key("r1.prod"), key("r2.prod")]);
        let names = |pool: Option<&str>, now| -> Vec<String> {
            let found = instances(cluster, &ledger, pool, at(now));
            found.iter().map(|member| member.key().to_string()).collect()
        };
        assert_eq!(names(None, 3), ["r1.prod:3306"], "the other one does not answer");
        assert_eq!(names(Some("writers"), 3), [""; 0]);
        assert_eq!(names(None, 60), [""; 0]);
        assert_eq!(lag_seconds(&instances(cluster, &ledger, None, at(3))), 7);
    }
}
