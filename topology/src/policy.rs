//! The rules a site has configured, as the pure core needs them.

use std::time::Duration;

use regex::Regex;

use crate::allow::DiscoveryAllow;
use crate::filter::{ClusterFilter, HostFilters};
use crate::hooks::HookPolicy;
use crate::instance::Placement;
use crate::quorum::Agreement;
use crate::relocate::MovePolicy;

/// The rules in force. Built from the configuration, replaced whole at reload.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How often an instance is probed.
    pub poll_interval: Duration,
    /// Limit of one probe, connecting included.
    pub probe_deadline: Duration,
    /// Grace before a check that did not come back counts as failed.
    pub reasonable_check_delay: Duration,
    /// Lag above this is a problem.
    pub reasonable_lag: Duration,
    /// Lag above this forbids planned maintenance on an instance.
    pub reasonable_maintenance_lag: Duration,
    /// How long a semi-sync primary's position must stand still before it counts as locked.
    pub reasonable_locked_semi_sync: Duration,
    /// A primary must have exactly as many semi-sync replicas as it waits for.
    pub enforce_exact_semi_sync_replicas: bool,
    /// A primary that waits for acknowledgements in vain gets replicas that acknowledge.
    pub recover_locked_semi_sync: bool,
    /// A primary with replicas that is read-only is a problem to recover from.
    pub recover_non_writeable_primary: bool,
    /// Analyse only instances that failed, fail to connect, or have replicas.
    pub reduce_analysis: bool,
    /// Clusters whose dead primaries are failed over automatically.
    pub recover_primary: Vec<ClusterFilter>,
    /// Clusters whose dead intermediate sources are recovered automatically.
    pub recover_intermediate: Vec<ClusterFilter>,
    /// How recoveries are made.
    pub recovery: RecoveryPolicy,
    /// User processes around recoveries.
    pub hooks: HookPolicy,
    /// Instances that are never analysed.
    pub recovery_ignore: HostFilters,
    /// Instances whose problems are not listed.
    pub problem_ignore: HostFilters,
    /// Instances that never count as online-schema-change control replicas.
    pub osc_ignore: HostFilters,
    /// Where servers may be.
    pub discovery_allow: DiscoveryAllow,
    /// Hosts that are never probed.
    pub discovery_ignore: HostFilters,
    /// Replicas that are not followed from their source.
    pub discovery_ignore_replicas: HostFilters,
    /// Sources that are not followed from their replicas.
    pub discovery_ignore_sources: HostFilters,
    /// Replicas that replicate as one of these accounts are not followed.
    pub discovery_ignore_replication_users: HostFilters,
    /// Aliases for clusters by regular expression on the cluster name, in order.
    pub cluster_name_to_alias: Vec<(Regex, String)>,
    /// Patterns whose first group, applied to the host name, tells the placement.
    pub placement_patterns: PlacementPatterns,
    /// How long a registered promotion rule holds.
    pub candidate_expiry: Duration,
    /// How long a pool submission holds.
    pub pool_expiry: Duration,
    /// Pool members may be given as parts of host names.
    pub fuzzy_pool_hosts: bool,
    /// How long a detected failure is not detected again.
    pub detection_block: Duration,
    /// Instances not seen for this long are forgotten.
    pub unseen_forget: Duration,
    /// How replicas are moved.
    pub moves: MovePolicy,
    /// The port of an instance that is named without one.
    pub default_port: u16,
    /// Name of this node, as analyses and health report it.
    pub node_name: String,
    /// Data centre of this node, as those of instances are named; empty when not known.
    pub node_data_center: String,
}

/// A probe may begin and be told of later than planned by this, on a machine that has other things to do.
const PROBES_LATE: Duration = Duration::from_secs(3);

impl Policy {
    /// For how long what an instance answered counts as current. Within that it is always probed again,
    /// also where another node has its turn: that one is waited for during two intervals.
    pub fn answers_hold_for(&self) -> Duration {
        let late = self.reasonable_check_delay.max(PROBES_LATE);
        self.poll_interval.saturating_mul(2).saturating_add(self.probe_deadline + late)
    }
}

/// How recoveries are made.
#[derive(Debug, Clone)]
pub struct RecoveryPolicy {
    /// Instances that are never promoted.
    pub promotion_ignore: HostFilters,
    /// A primary is not succeeded by a server in another data centre.
    pub prevent_cross_data_center: bool,
    /// A primary is not succeeded by a server in another region.
    pub prevent_cross_region: bool,
    /// A replica that lags this much is not promoted.
    pub fail_promotion_on_lag: Option<Duration>,
    /// Nobody is promoted by itself who lacks what somebody was seen to have, unless that was only on
    /// its way when the primary failed.
    pub fail_promotion_on_known_loss: bool,
    /// A replica that has not applied all it received is not promoted, rather than waited for.
    pub fail_promotion_if_applier_behind: bool,
    /// A promoted server is made writable and forgets its source.
    pub apply_promotion: bool,
    /// A promoted server that does not forget its source is detached from it.
    pub detach_promoted: bool,
    /// Replicas that are kept further behind than this get their place last.
    pub postpone_on_delay: Option<Duration>,
    /// Replicas that cannot come along are detached.
    pub detach_lost: bool,
    /// A dead co-primary is succeeded by its other, or by nobody.
    pub other_co_primary_only: bool,
    /// Replicas of an older version than their source are allowed.
    pub lower_replica_version_allowed: bool,
    /// After a recovery of a cluster, no other begins there by itself for this long.
    pub block: Duration,
    /// Former primaries with nothing of their own come back as replicas by themselves.
    pub rejoin_former_primaries: bool,
    /// How long replicas may take to apply what they received without getting any further.
    pub apply_patience: Duration,
    /// Nothing is done by itself while so many clusters have lost their primary...
    pub breaker_count: u64,
    /// ...and they are more than this share of all clusters, in percent.
    pub breaker_percent: u64,
    /// Which nodes have to see a failure before the leader acts on it.
    pub agreement: Agreement,
}

impl Default for RecoveryPolicy {
    /// What holds without any configuration.
    fn default() -> Self {
        Self {
            promotion_ignore: HostFilters::default(),
            prevent_cross_data_center: false,
            prevent_cross_region: false,
            fail_promotion_on_lag: None,
            fail_promotion_on_known_loss: true,
            fail_promotion_if_applier_behind: false,
            apply_promotion: true,
            detach_promoted: false,
            postpone_on_delay: None,
            detach_lost: true,
            other_co_primary_only: true,
            lower_replica_version_allowed: false,
            block: Duration::from_secs(60 * 60),
            rejoin_former_primaries: false,
            apply_patience: Duration::from_secs(10),
            breaker_count: 5,
            breaker_percent: 50,
            agreement: Agreement::Majority,
        }
    }
}

/// Patterns whose first group, applied to the host name, tells the placement.
#[derive(Debug, Clone, Default)]
pub struct PlacementPatterns {
    /// Data centre.
    pub data_center: Option<Regex>,
    /// Region.
    pub region: Option<Regex>,
    /// Physical environment.
    pub environment: Option<Regex>,
}

impl PlacementPatterns {
    /// Fills in what the server's own queries did not tell, from its host name.
    pub fn complete(&self, placement: &mut Placement, host: &str) {
        let fill = |pattern: &Option<Regex>, text: &mut String| {
            let Some(pattern) = pattern.as_ref().filter(|_| text.is_empty()) else { return };
            if let Some(found) = pattern.captures(host).and_then(|groups| groups.get(1)) {
                *text = found.as_str().to_owned();
            }
        };
        fill(&self.data_center, &mut placement.data_center);
        fill(&self.region, &mut placement.region);
        fill(&self.environment, &mut placement.environment);
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.data_center.is_none() && self.region.is_none() && self.environment.is_none()
    }
}

impl Default for Policy {
    /// What holds without any configuration.
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(5),
            probe_deadline: Duration::from_millis(2_500),
            reasonable_check_delay: Duration::from_secs(1),
            reasonable_lag: Duration::from_secs(10),
            reasonable_maintenance_lag: Duration::from_secs(20),
            reasonable_locked_semi_sync: Duration::from_secs(10),
            enforce_exact_semi_sync_replicas: false,
            recover_locked_semi_sync: false,
            recover_non_writeable_primary: false,
            reduce_analysis: true,
            recover_primary: Vec::new(),
            recover_intermediate: Vec::new(),
            recovery: RecoveryPolicy::default(),
            hooks: HookPolicy::default(),
            recovery_ignore: HostFilters::default(),
            problem_ignore: HostFilters::default(),
            osc_ignore: HostFilters::default(),
            discovery_allow: DiscoveryAllow::default(),
            discovery_ignore: HostFilters::default(),
            discovery_ignore_replicas: HostFilters::default(),
            discovery_ignore_sources: HostFilters::default(),
            discovery_ignore_replication_users: HostFilters::default(),
            cluster_name_to_alias: Vec::new(),
            placement_patterns: PlacementPatterns::default(),
            candidate_expiry: Duration::from_secs(60 * 60),
            pool_expiry: Duration::from_secs(60 * 60),
            fuzzy_pool_hosts: true,
            detection_block: Duration::from_secs(60 * 60),
            unseen_forget: Duration::from_secs(240 * 60 * 60),
            moves: MovePolicy::default(),
            default_port: 3306,
            node_name: String::new(),
            node_data_center: String::new(),
        }
    }
}

/// The alias configured for a cluster of this name, if a pattern matches; the first one wins.
pub fn configured_alias<'a>(policy: &'a Policy, cluster_name: &str) -> Option<&'a str> {
    policy
        .cluster_name_to_alias
        .iter()
        .find(|(pattern, _)| pattern.is_match(cluster_name))
        .map(|(_, alias)| alias.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_of_a_pattern_tells_the_placement() {
        let pattern = |text: &str| Regex::new(text).ok();
        let patterns = PlacementPatterns {
            data_center: pattern("[.]([^.]+)[.]example[.]com"),
            region: pattern("no group"),
            environment: None,
        };
        let mut placement = Placement::default();
        patterns.complete(&mut placement, "db1.east.example.com");
        assert_eq!((placement.data_center.as_str(), placement.region.as_str()), ("east", ""));
        let mut told = Placement { data_center: "west".into(), ..Placement::default() };
        patterns.complete(&mut told, "db1.east.example.com");
        assert_eq!(told.data_center, "west", "what a query says goes first");
    }

    #[test]
    fn the_first_alias_pattern_that_matches_wins() {
        let rule = |pattern: &str, alias: &str| (Regex::new(pattern).unwrap(), alias.to_owned());
        let policy = Policy {
            cluster_name_to_alias: vec![rule("^db1", "one"), rule("^db", "any")],
            ..Policy::default()
        };
        assert_eq!(configured_alias(&policy, "db1:3306"), Some("one"));
        assert_eq!(configured_alias(&policy, "db2:3306"), Some("any"));
        assert_eq!(configured_alias(&policy, "x:3306"), None);
    }
}
