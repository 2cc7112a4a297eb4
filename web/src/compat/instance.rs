//! One instance as orchestrator shows it: 102 fields, several of them twice under two names.

use std::time::Duration;

use baton_topology::cluster::{Cluster, Member};
use baton_topology::instance::{
    Channel, GroupMember, Positioning, PromotionRule, SourceLink, ThreadState,
};
use baton_topology::ledger::Downtime;
use baton_topology::names::HostNames;
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::status::{
    InstanceProblem, is_last_check_valid, is_recently_checked, is_up_to_date, problems,
};
use baton_topology::time::Timestamp;
use baton_topology::version::Flavor;
use serde::Serialize;

use super::json::{
    BinlogJson, KeyJson, NullBool, NullInt, keys, quote_error, timestamp, timestamp_or_empty,
};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InstanceJson {
    key: KeyJson,
    instance_alias: String,
    uptime: u64,
    #[serde(rename = "ServerID")]
    server_id: u32,
    #[serde(rename = "ServerUUID")]
    server_uuid: String,
    version: String,
    version_comment: String,
    flavor_name: &'static str,
    read_only: bool,
    #[serde(rename = "Binlog_format")]
    binlog_format: &'static str,
    binlog_row_image: String,
    log_bin_enabled: bool,
    log_slave_updates_enabled: bool,
    log_replication_updates_enabled: bool,
    self_binlog_coordinates: BinlogJson,
    master_key: KeyJson,
    #[serde(rename = "MasterUUID")]
    master_uuid: String,
    #[serde(rename = "AncestryUUID")]
    ancestry_uuid: String,
    is_detached_master: bool,
    #[serde(rename = "Slave_SQL_Running")]
    slave_sql_running: bool,
    #[serde(rename = "ReplicationSQLThreadRuning")]
    replication_sql_thread_runing: bool,
    #[serde(rename = "Slave_IO_Running")]
    slave_io_running: bool,
    #[serde(rename = "ReplicationIOThreadRuning")]
    replication_io_thread_runing: bool,
    #[serde(rename = "ReplicationSQLThreadState")]
    replication_sql_thread_state: i8,
    #[serde(rename = "ReplicationIOThreadState")]
    replication_io_thread_state: i8,
    has_replication_filters: bool,
    #[serde(rename = "GTIDMode")]
    gtid_mode: String,
    #[serde(rename = "SupportsOracleGTID")]
    supports_oracle_gtid: bool,
    #[serde(rename = "UsingOracleGTID")]
    using_oracle_gtid: bool,
    #[serde(rename = "UsingMariaDBGTID")]
    using_mariadb_gtid: bool,
    #[serde(rename = "UsingPseudoGTID")]
    using_pseudo_gtid: bool,
    read_binlog_coordinates: BinlogJson,
    exec_binlog_coordinates: BinlogJson,
    is_detached: bool,
    relaylog_coordinates: BinlogJson,
    #[serde(rename = "LastSQLError")]
    last_sql_error: String,
    #[serde(rename = "LastIOError")]
    last_io_error: String,
    seconds_behind_master: NullInt,
    #[serde(rename = "SQLDelay")]
    sql_delay: u32,
    executed_gtid_set: String,
    gtid_purged: String,
    gtid_errant: String,
    slave_lag_seconds: NullInt,
    replication_lag_seconds: NullInt,
    slave_hosts: Vec<KeyJson>,
    replicas: Vec<KeyJson>,
    cluster_name: String,
    suggested_cluster_alias: String,
    data_center: String,
    region: String,
    physical_environment: String,
    replication_depth: u32,
    is_co_master: bool,
    has_replication_credentials: bool,
    replication_credentials_available: bool,
    semi_sync_available: bool,
    semi_sync_priority: u32,
    semi_sync_master_plugin_new_version: bool,
    semi_sync_replica_plugin_new_version: bool,
    semi_sync_master_enabled: bool,
    semi_sync_replica_enabled: bool,
    semi_sync_master_timeout: u64,
    semi_sync_master_wait_for_replica_count: u32,
    semi_sync_master_status: bool,
    semi_sync_master_clients: u32,
    semi_sync_replica_status: bool,
    last_seen_timestamp: String,
    is_last_check_valid: bool,
    is_up_to_date: bool,
    is_recently_checked: bool,
    seconds_since_last_seen: NullInt,
    #[serde(rename = "CountMySQLSnapshots")]
    count_mysql_snapshots: u8,
    is_candidate: bool,
    promotion_rule: &'static str,
    is_downtimed: bool,
    downtime_reason: String,
    downtime_owner: String,
    downtime_end_timestamp: String,
    elapsed_downtime: u64,
    unresolved_hostname: String,
    #[serde(rename = "AllowTLS")]
    allow_tls: bool,
    #[serde(flatten)]
    tls: ReplicationTlsJson,
    problems: Vec<&'static str>,
    last_discovery_latency: u64,
    replication_group_name: String,
    replication_group_is_single_primary: bool,
    replication_group_member_state: String,
    replication_group_member_role: String,
    replication_group_members: Vec<KeyJson>,
    replication_group_primary_instance_key: KeyJson,
    #[serde(rename = "QSP")]
    qsp: Empty,
}

/// An object without fields.
#[derive(Debug, Clone, Default, Serialize)]
struct Empty {}

#[derive(Debug, Clone, Default, Serialize)]
struct ReplicationTlsJson {
    #[serde(rename = "ReplicationSSLCAFile")]
    ca_file: String,
    #[serde(rename = "ReplicationSSLCAPath")]
    ca_path: String,
    #[serde(rename = "ReplicationSSLCert")]
    cert: String,
    #[serde(rename = "ReplicationSSLCipher")]
    cipher: String,
    #[serde(rename = "ReplicationSSLCRLFile")]
    crl_file: String,
    #[serde(rename = "ReplicationSSLCRLPath")]
    crl_path: String,
    #[serde(rename = "ReplicationSSLKey")]
    key: String,
    #[serde(rename = "ReplicationSSLVerifyServerCert")]
    verify_server_cert: NullBool,
    #[serde(rename = "ReplicationTLSVersion")]
    version: String,
    #[serde(rename = "ReplicationTLSCiphersuites")]
    ciphersuites: String,
    #[serde(rename = "ReplicationSourcePublicKeyPath")]
    public_key_path: String,
    #[serde(rename = "ReplicationGetSourcePublicKey")]
    get_public_key: NullBool,
}

impl ReplicationTlsJson {
    fn of(channel: &Channel) -> Self {
        let tls = channel.tls.clone();
        Self {
            ca_file: tls.ca_file,
            ca_path: tls.ca_path,
            cert: tls.cert,
            cipher: tls.cipher,
            crl_file: tls.crl_file,
            crl_path: tls.crl_path,
            key: tls.key,
            verify_server_cert: tls.verify_server_cert.into(),
            version: tls.version,
            ciphersuites: tls.ciphersuites,
            public_key_path: tls.public_key_path,
            get_public_key: tls.get_public_key.into(),
        }
    }
}

impl InstanceJson {
    /// Adds a problem that is not one of the instance alone.
    pub(crate) fn with_problem(mut self, problem: &'static str) -> Self {
        self.problems.push(problem);
        self
    }

    /// Renders a member of a cluster as of `now`.
    #[allow(clippy::too_many_lines, reason = "one line for each of a hundred fields")]
    pub(crate) fn of(
        fleet: &FleetSnapshot,
        cluster: &Cluster,
        member: &Member,
        now: Timestamp,
    ) -> Self {
        let instance = &*member.instance;
        let facts = &*instance.facts;
        let none = Channel::default();
        let main = facts.main_channel();
        let channel = main.unwrap_or(&none);
        let semi_sync = &facts.semi_sync;
        let downtime = fleet.ledger.downtime_of(&instance.key, now);
        let rule = fleet.ledger.promotion_rule(&instance.key, facts.promotion_rule, now);
        let is_candidate = matches!(rule, PromotionRule::Must | PromotionRule::Prefer);
        let no_group = GroupMember::default();
        let group = facts.group.as_ref().unwrap_or(&no_group);
        let replicas = resolved(&facts.replicas, &fleet.names);
        let last_seen = instance.health.last_seen;
        let text = |text: &str| text.to_owned();
        Self {
            key: (&instance.key).into(),
            instance_alias: text(&facts.alias),
            uptime: facts.uptime_seconds,
            server_id: facts.server_id,
            server_uuid: facts.server_uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
            version: text(facts.version.as_str()),
            version_comment: text(&facts.version_comment),
            flavor_name: flavor_name(facts.version.flavor()),
            read_only: facts.read_only,
            binlog_format: facts.binlog.format.as_str(),
            binlog_row_image: text(&facts.binlog.row_image),
            log_bin_enabled: facts.binlog.enabled,
            log_slave_updates_enabled: facts.binlog.logs_replica_updates,
            log_replication_updates_enabled: facts.binlog.logs_replica_updates,
            self_binlog_coordinates: BinlogJson::binary(&facts.binlog.position),
            master_key: source_key(&channel.source, &fleet.names),
            master_uuid: channel.source_uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
            ancestry_uuid: member.ancestry.join(","),
            is_detached_master: matches!(channel.source, SourceLink::Detached(_)),
            slave_sql_running: channel.applier == ThreadState::Running,
            replication_sql_thread_runing: channel.applier == ThreadState::Running,
            slave_io_running: channel.receiver == ThreadState::Running,
            replication_io_thread_runing: channel.receiver == ThreadState::Running,
            replication_sql_thread_state: thread_state(main.map(|channel| channel.applier)),
            replication_io_thread_state: thread_state(main.map(|channel| channel.receiver)),
            has_replication_filters: channel.has_filters,
            gtid_mode: text(&facts.gtid.mode),
            supports_oracle_gtid: facts.gtid.is_supported(),
            using_oracle_gtid: channel.positioning == Positioning::AutoPosition,
            using_mariadb_gtid: channel.positioning == Positioning::MariaDbGtid,
            using_pseudo_gtid: false,
            read_binlog_coordinates: BinlogJson::binary(&channel.read),
            exec_binlog_coordinates: BinlogJson::binary(&channel.executed),
            is_detached: false,
            relaylog_coordinates: BinlogJson::relay(&channel.relay),
            last_sql_error: quote_error(&channel.applier_error.text),
            last_io_error: quote_error(&channel.receiver_error.text),
            seconds_behind_master: channel.seconds_behind.into(),
            sql_delay: channel.delay_seconds,
            executed_gtid_set: facts.gtid.executed.to_string(),
            gtid_purged: facts.gtid.purged.to_string(),
            gtid_errant: member.errant_text(),
            slave_lag_seconds: facts.lag_seconds().into(),
            replication_lag_seconds: facts.lag_seconds().into(),
            slave_hosts: replicas.clone(),
            replicas,
            cluster_name: cluster.name(),
            suggested_cluster_alias: text(&cluster.claimed_alias),
            data_center: text(&facts.placement.data_center),
            region: text(&facts.placement.region),
            physical_environment: text(&facts.placement.environment),
            replication_depth: member.depth,
            is_co_master: member.is_co_primary,
            has_replication_credentials: !channel.user.is_empty(),
            replication_credentials_available: facts.replication_credentials_available,
            semi_sync_available: semi_sync.available,
            semi_sync_priority: semi_sync.priority,
            semi_sync_master_plugin_new_version: semi_sync.source_side_is_new,
            semi_sync_replica_plugin_new_version: semi_sync.replica_side_is_new,
            semi_sync_master_enabled: semi_sync.source_enabled,
            semi_sync_replica_enabled: semi_sync.replica_enabled,
            semi_sync_master_timeout: semi_sync.source_timeout_ms,
            semi_sync_master_wait_for_replica_count: semi_sync.wait_for_replicas,
            semi_sync_master_status: semi_sync.source_active,
            semi_sync_master_clients: semi_sync.source_clients,
            semi_sync_replica_status: semi_sync.replica_active,
            last_seen_timestamp: timestamp_or_empty(last_seen),
            is_last_check_valid: is_last_check_valid(instance, &fleet.policy, now),
            is_up_to_date: is_up_to_date(instance, &fleet.policy, now),
            is_recently_checked: is_recently_checked(instance, &fleet.policy, now),
            seconds_since_last_seen: last_seen.map(|seen| now.since(seen).as_secs()).into(),
            count_mysql_snapshots: 0,
            is_candidate,
            promotion_rule: rule.as_str(),
            is_downtimed: downtime.is_some(),
            downtime_reason: downtime.map(|it| it.reason.to_string()).unwrap_or_default(),
            downtime_owner: downtime.map(|it| it.owner.to_string()).unwrap_or_default(),
            downtime_end_timestamp: downtime.map(|it| timestamp(it.ends_at)).unwrap_or_default(),
            elapsed_downtime: downtime.map(|it| elapsed_nanos(it, now)).unwrap_or_default(),
            unresolved_hostname: fleet
                .ledger
                .virtual_names
                .get(&instance.key)
                .map(|name| name.hostname.to_string())
                .unwrap_or_default(),
            allow_tls: channel.tls.enabled,
            tls: ReplicationTlsJson::of(channel),
            problems: problems(member, &fleet.policy, now)
                .into_iter()
                .map(InstanceProblem::as_str)
                .collect(),
            last_discovery_latency: nanos(instance.health.latency),
            replication_group_name: text(&group.name),
            replication_group_is_single_primary: group.is_single_primary,
            replication_group_member_state: text(&group.state),
            replication_group_member_role: text(&group.role),
            replication_group_members: resolved(&group.members, &fleet.names),
            replication_group_primary_instance_key: group
                .primary
                .as_ref()
                .map(|key| KeyJson::from(&fleet.names.resolve(key)))
                .unwrap_or_default(),
            qsp: Empty {},
        }
    }
}

fn resolved<'a>(
    named: impl IntoIterator<Item = &'a baton_topology::key::InstanceKey>,
    names: &HostNames,
) -> Vec<KeyJson> {
    let mut resolved: Vec<_> = named.into_iter().map(|key| names.resolve(key)).collect();
    resolved.sort();
    resolved.dedup();
    keys(&resolved)
}

/// What an instance replicates from; a detached source keeps its mark.
pub(super) fn source_key(link: &SourceLink, names: &HostNames) -> KeyJson {
    match link {
        SourceLink::None => KeyJson::default(),
        SourceLink::Attached(key) => (&names.resolve(key)).into(),
        SourceLink::Detached(key) => {
            KeyJson::of_parts(format!("{}{}", SourceLink::DETACHED_PREFIX, key.host()), key.port())
        }
    }
}

fn flavor_name(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MySql => "MySQL",
        Flavor::MariaDb => "MariaDB",
        Flavor::Percona => "Percona",
        Flavor::MaxScale => "MaxScale",
        Flavor::Unknown => "unknown",
    }
}

fn thread_state(state: Option<ThreadState>) -> i8 {
    match state.unwrap_or_default() {
        ThreadState::Absent => -1,
        ThreadState::Stopped => 0,
        ThreadState::Running => 1,
        ThreadState::Other => 2,
    }
}

fn elapsed_nanos(downtime: &Downtime, now: Timestamp) -> u64 {
    nanos(now.since(downtime.begins_at))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
