//! Turns the configuration into what the parts of baton take: the only place where both are known.

mod raft;
mod tls;
mod units;
mod unverified;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use baton_actors::clock::Clock;
use baton_actors::discovery::resolve::{ByAddress, ByCanonicalName, HostResolver};
use baton_actors::mysql::{
    ConnectOptions, CredentialsQuery, DetectionQuery, Password, Pinning, ReplicationCredentials,
    TlsIdentity, TlsMode, TlsOptions, TlsVerification,
};
use baton_actors::store::OpenBackend;
use baton_actors::store::sqlite::{self, Retention};
use baton_topology::filter::{ClusterFilter, HostFilters};
use baton_topology::instance::Placement;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::LedgerState;
use baton_topology::policy::{PlacementPatterns, Policy, RecoveryPolicy};
use baton_topology::quorum::Agreement;
use baton_topology::reading::{NameMethod, Question, ReadingPolicy, ReplicaListing};
use baton_topology::relocate::MovePolicy;
use regex::Regex;

use crate::config::{self, Config};

pub use raft::{RaftKey, raft_setup};
pub use tls::{peer_tls, server_tls};

/// Slack of the probe actors' own deadline over those of the driver.
const PROBE_SLACK: Duration = Duration::from_millis(500);

/// The rules of the pure core.
///
/// # Errors
/// When a cluster filter is no filter; the configuration checks that first.
pub fn policy(config: &Config, node_name: &str) -> Result<Arc<Policy>, regex::Error> {
    let hosts = |patterns: &[Regex]| HostFilters { patterns: patterns.to_vec() };
    let clusters = |filters: &[String]| -> Result<Vec<ClusterFilter>, regex::Error> {
        filters.iter().map(|filter| ClusterFilter::parse(filter)).collect()
    };
    let config::Config { discovery, names, classification, recovery, connections, .. } = config;
    Ok(Arc::new(Policy {
        poll_interval: discovery.poll_interval,
        probe_deadline: probe_deadline(config),
        reasonable_check_delay: discovery.reasonable_check_delay,
        reasonable_lag: classification.reasonable_lag,
        reasonable_maintenance_lag: classification.reasonable_maintenance_lag,
        reasonable_locked_semi_sync: recovery.reasonable_locked_semi_sync,
        enforce_exact_semi_sync_replicas: recovery.enforce_exact_semi_sync_replicas,
        recover_locked_semi_sync: recovery.recover_locked_semi_sync,
        recover_non_writeable_primary: recovery.recover_non_writeable_primary,
        reduce_analysis: recovery.reduce_analysis,
        recover_primary: clusters(&recovery.primary_filters)?,
        recover_intermediate: clusters(&recovery.intermediate_filters)?,
        recovery: recovery_policy(config),
        hooks: config.hooks.clone(),
        recovery_ignore: hosts(&recovery.ignore_instances),
        problem_ignore: hosts(&names.ignore_problems),
        osc_ignore: hosts(&names.ignore_osc),
        discovery_allow: discovery.allow.clone(),
        discovery_ignore: hosts(&discovery.ignore_instances),
        discovery_ignore_replicas: hosts(&discovery.ignore_replicas),
        discovery_ignore_sources: hosts(&discovery.ignore_sources),
        discovery_ignore_replication_users: hosts(&discovery.ignore_replication_users),
        cluster_name_to_alias: classification.cluster_aliases.clone(),
        placement_patterns: PlacementPatterns {
            data_center: classification.data_center_pattern.clone(),
            region: classification.region_pattern.clone(),
            environment: classification.environment_pattern.clone(),
        },
        candidate_expiry: classification.candidate_expiry,
        pool_expiry: classification.pool_expiry,
        fuzzy_pool_hosts: classification.fuzzy_pool_hosts,
        detection_block: recovery.detection_block,
        unseen_forget: discovery.forget_unseen_after,
        moves: MovePolicy {
            verify_filters: discovery.verify_replication_filters,
            parallel: usize::try_from(discovery.max_concurrent_moves).unwrap_or(usize::MAX),
            ..MovePolicy::default()
        },
        default_port: connections.default_port,
        node_name: node_name.to_owned(),
        node_data_center: node_data_center(config),
    }))
}

/// Where this node is: as it says, or as an instance of its name would be placed.
fn node_data_center(config: &Config) -> String {
    let raft = &config.raft;
    if let Some(name) = &raft.data_center {
        return name.clone();
    }
    let host = raft.advertise.rsplit_once(':').map_or("", |(host, _)| host);
    let patterns = PlacementPatterns {
        data_center: config.classification.data_center_pattern.clone(),
        ..PlacementPatterns::default()
    };
    let mut placement = Placement::default();
    patterns.complete(&mut placement, host);
    placement.data_center
}

fn recovery_policy(config: &Config) -> RecoveryPolicy {
    let config::Config { discovery, classification, recovery, .. } = config;
    RecoveryPolicy {
        promotion_ignore: HostFilters { patterns: recovery.never_promote.clone() },
        prevent_cross_data_center: recovery.prevent_cross_data_center,
        prevent_cross_region: recovery.prevent_cross_region,
        fail_promotion_on_lag: recovery.fail_promotion_on_lag,
        fail_promotion_on_known_loss: recovery.fail_promotion_on_known_loss,
        fail_promotion_if_applier_behind: recovery.unapplied_relay_log
            == config::UnappliedRelayLog::Refuse,
        apply_promotion: recovery.apply_promotion,
        detach_promoted: recovery.detach_promoted,
        postpone_on_delay: recovery.postpone_replicas_on_lag,
        detach_lost: recovery.detach_lost_replicas,
        other_co_primary_only: recovery.co_primary_must_promote_other,
        lower_replica_version_allowed: discovery.lower_replica_version_allowed,
        block: recovery.recovery_block,
        rejoin_former_primaries: recovery.rejoin_former_primaries,
        apply_patience: classification.reasonable_lag,
        breaker_count: recovery.breaker_clusters,
        breaker_percent: recovery.breaker_percent,
        agreement: match config.raft.confirmation {
            config::RaftConfirmation::Leader => Agreement::Leader,
            config::RaftConfirmation::Majority => Agreement::Majority,
            config::RaftConfirmation::All => Agreement::All,
        },
    }
}

/// Limit of one probe, connecting included: what the driver gets, and a moment more.
pub fn probe_deadline(config: &Config) -> Duration {
    let config::Connections { connect_timeout, probe_timeout, .. } = &config.connections;
    *connect_timeout + *probe_timeout + PROBE_SLACK
}

/// How the watched servers are reached, and what they are asked.
pub fn connect_options(config: &Config) -> ConnectOptions {
    let config::Connections { credentials, replication_credentials_query, .. } =
        &config.connections;
    ConnectOptions {
        user: credentials.user.clone(),
        password: Password::new(credentials.password.reveal()),
        connect_deadline: config.connections.connect_timeout,
        probe_deadline: config.connections.probe_timeout,
        tls: tls_options(&config.connections),
        allow_public_key: config.connections.allow_server_public_key,
        allow: config.discovery.allow.clone(),
        queries: detection_queries(&config.classification),
        reading: ReadingPolicy {
            name_method: match config.names.instance {
                config::InstanceResolve::AsGiven => NameMethod::AsGiven,
                config::InstanceResolve::Hostname => NameMethod::Hostname,
                config::InstanceResolve::ReportHost => NameMethod::ReportHost,
            },
            replica_listing: if config.discovery.by_show_replicas {
                ReplicaListing::Registrations
            } else {
                ReplicaListing::Connections
            },
        },
        replication_credentials: match replication_credentials_query {
            Some(text) => ReplicationCredentials::ByQuery(CredentialsQuery::new(text)),
            None => ReplicationCredentials::AsReplicasKeepThem,
        },
    }
}

fn tls_options(connections: &config::Connections) -> TlsOptions {
    let files = &connections.tls;
    let identity = match (&files.certificate_file, &files.private_key_file) {
        (Some(cert_file), Some(key_file)) => {
            Some(TlsIdentity { cert_file: cert_file.clone(), key_file: key_file.clone() })
        }
        _ => None,
    };
    TlsOptions {
        mode: match connections.tls_mode {
            config::TlsMode::Off => TlsMode::Off,
            config::TlsMode::Preferred => TlsMode::Preferred,
            config::TlsMode::Required | config::TlsMode::Mutual => TlsMode::Required,
        },
        ca_file: files.ca_file.clone(),
        identity,
        verification: if files.verify { TlsVerification::Full } else { TlsVerification::Skip },
        pinning: if connections.pin_certificates { Pinning::On } else { Pinning::Off },
    }
}

fn detection_queries(classification: &config::Classification) -> Vec<DetectionQuery> {
    let configured = [
        (Question::Lag, &classification.lag_query),
        (Question::DataCenter, &classification.data_center_query),
        (Question::Region, &classification.region_query),
        (Question::Environment, &classification.environment_query),
        (Question::InstanceAlias, &classification.instance_alias_query),
        (Question::ClusterAlias, &classification.cluster_alias_query),
        (Question::ClusterDomain, &classification.cluster_domain_query),
        (Question::PromotionRule, &classification.promotion_rule_query),
        (Question::SemiSyncPriority, &classification.semi_sync_enforced_query),
    ];
    configured
        .into_iter()
        .filter_map(|(question, text)| DetectionQuery::new(question, text.as_deref()?))
        .collect()
}

/// How host names are resolved before they are used; `None` takes them as they are.
pub fn resolver(config: &Config) -> Option<Arc<dyn HostResolver>> {
    match config.names.host {
        config::HostResolve::Cname => Some(Arc::new(ByCanonicalName)),
        config::HostResolve::Ip => Some(Arc::new(ByAddress)),
        _ => None,
    }
}

/// Opens the store, again after each time it was lost.
///
/// # Errors
/// When the folder it lies in cannot be made.
pub fn open_store(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<OpenBackend> {
    let path = match &config.store.backend {
        config::Backend::Sqlite(config::SqliteFile::Memory) => None,
        config::Backend::Sqlite(config::SqliteFile::Path(path)) => Some(path.clone()),
        // The configuration refuses this backend already.
        config::Backend::Mysql(_) => anyhow::bail!("the MySQL backend is not available"),
    };
    if let Some(folder) = path.as_deref().and_then(Path::parent) {
        baton_schema::private::create_folder(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let retention = Retention {
        audit: config.process.audit_retention,
        unseen: config.discovery.forget_unseen_after,
    };
    Ok(sqlite::opener(path, retention, clock))
}

/// The ledger this node kept while it ran alone, if it did.
///
/// # Errors
/// When it cannot be read.
fn kept_alone(config: &Config) -> anyhow::Result<Option<Arc<LedgerState>>> {
    let config::Backend::Sqlite(config::SqliteFile::Path(path)) = &config.store.backend else {
        return Ok(None);
    };
    let kept = sqlite::kept_ledger(path).with_context(|| path.display().to_string())?;
    Ok(kept.filter(|ledger| ledger.index > 0).map(Arc::new))
}

/// Where state is kept, in words.
pub fn backend_name(config: &Config) -> String {
    match &config.store.backend {
        config::Backend::Sqlite(config::SqliteFile::Memory) => ":memory:".to_owned(),
        config::Backend::Sqlite(config::SqliteFile::Path(path)) => path.display().to_string(),
        config::Backend::Mysql(mysql) => {
            format!("{}:{}/{}", mysql.host, mysql.port, mysql.database)
        }
    }
}

/// The instances discovery begins with: those of the configuration, then those of the command
/// line. What is no instance is returned as it was written.
pub fn seeds(config: &Config, also: &[String]) -> (Vec<InstanceKey>, Vec<String>) {
    let mut seeds = Vec::new();
    let mut refused = Vec::new();
    for text in config.discovery.seeds.iter().chain(also) {
        match InstanceKey::parse(text, Some(config.connections.default_port)) {
            Ok(key) => seeds.push(key),
            Err(_) => refused.push(text.clone()),
        }
    }
    (seeds, refused)
}
