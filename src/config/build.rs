//! From typed values to the [`Config`]: validations, adjustments, and what this version refuses.

use std::path::Path;
use std::time::Duration;

use baton_topology::allow::{DiscoveryAllow, Reach};
use baton_topology::hooks::{HookCommands, HookList, HookPolicy, PlaceholderStyle};
use baton_topology::key::InstanceKey;

use super::cnf::client_section;
use super::files::{ReadFile, state_folder};
use super::reader::Reader;
use super::types::*;

const DEFAULT_PORT: u16 = 3000;

pub(super) fn config(r: &mut Reader<'_>, read: ReadFile<'_>) -> Config {
    let mut config = Config {
        process: process(r),
        http: http(r),
        store: store(r, read),
        connections: connections(r, read),
        discovery: discovery(r),
        names: names(r),
        classification: classification(r),
        recovery: recovery(r),
        hooks: hooks(r),
        raft: super::raft::raft(r),
        kv: kv(r),
    };
    refuse_unavailable(&config, r);
    super::raft::check_key(&mut config, r);
    super::raft::check_api(&config, r);
    config
}

/// What is understood but not built yet: the only place to lift.
fn refuse_unavailable(config: &Config, r: &mut Reader<'_>) {
    if matches!(config.store.backend, Backend::Mysql(_)) {
        let reason = "the shared MySQL backend is not available in this version; use \"sqlite\"";
        r.invalid("BackendDB", reason);
    }
}

fn process(r: &mut Reader<'_>) -> Process {
    Process {
        debug: r.flag("Debug"),
        audit_log_file: r.path("AuditLogFile"),
        audit_retention: Duration::from_secs(r.uint("AuditPurgeDays") * 86_400),
        state_folder: state_folder(r.env),
    }
}

fn http(r: &mut Reader<'_>) -> Http {
    let authentication = r.choice(
        "AuthenticationMethod",
        &[
            ("", Authentication::None),
            ("basic", Authentication::Basic),
            ("multi", Authentication::Multi),
            ("proxy", Authentication::Proxy),
            ("token", Authentication::Token),
        ],
    );
    check_access(r, authentication);
    let advertise = r.some_text("HTTPAdvertise");
    if advertise.as_deref().is_some_and(|url| !is_origin(url)) {
        r.invalid("HTTPAdvertise", "is not of the form scheme://host:port, without a path");
    }
    let url_prefix = match r.text("URLPrefix").trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    };
    Http {
        listen: listen(r, authentication),
        advertise,
        host_names: host_names(r),
        url_prefix,
        web_message: r.text("WebMessage"),
        remove_from_hostname_display: r.text("RemoveTextFromHostnameDisplay"),
        status_endpoint: r.text("StatusEndpoint"),
        read_only: r.flag("ReadOnly"),
        authentication,
        user: r.text("HTTPAuthUser"),
        password: r.secret("HTTPAuthPassword"),
        user_header: r.text("AuthUserHeader"),
        power_users: r.list("PowerAuthUsers"),
        power_groups: r.list("PowerAuthGroups"),
        token_use_expiry: r.seconds("AccessTokenUseExpirySeconds"),
        token_expiry: r.minutes("AccessTokenExpiryMinutes"),
        tls: http_tls(r),
        verify_peers: !r.flag("SSLSkipVerify"),
        custom_identity: r.text("CustomOrcIdentity"),
        prepend_identity: r.text("PrependMessagesWithOrcIdentity"),
    }
}

/// What is to keep people out keeps them out, or nothing starts.
fn check_access(r: &mut Reader<'_>, authentication: Authentication) {
    let asks_for_password = matches!(authentication, Authentication::Basic | Authentication::Multi);
    if asks_for_password && r.text("HTTPAuthUser").is_empty() {
        r.invalid("HTTPAuthUser", "is empty, so nobody could log in");
    }
    if asks_for_password && r.secret("HTTPAuthPassword").is_empty() {
        r.invalid("HTTPAuthPassword", "is empty, so everybody who knows the user could log in");
    }
    if authentication == Authentication::Proxy && !r.is_given("PowerAuthUsers") {
        r.invalid(
            "PowerAuthUsers",
            "is not given: name the users who may change things, or [\"*\"] for everybody, also \
             for requests that did not come through the proxy",
        );
    }
    let (tls, mutual) = (r.flag("UseSSL"), r.flag("UseMutualTLS"));
    if mutual && !tls {
        r.invalid("UseMutualTLS", "needs UseSSL: without it nobody is asked for a certificate");
    }
    if mutual && r.path("SSLCAFile").is_none() {
        r.invalid("SSLCAFile", "is needed because UseMutualTLS is true");
    }
    if !r.list("SSLValidOUs").is_empty() && !mutual {
        r.invalid("SSLValidOUs", "needs UseMutualTLS: without it nobody shows a certificate");
    }
}

/// Without authentication only this machine may connect, unless the operator says otherwise.
fn listen(r: &mut Reader<'_>, authentication: Authentication) -> Listen {
    if let Some(socket) = r.path("ListenSocket") {
        return Listen::Unix(socket);
    }
    let Some(address) = r.some_text("ListenAddress") else {
        let host = (authentication == Authentication::None).then(|| "127.0.0.1".to_owned());
        return Listen::Tcp { host, port: DEFAULT_PORT };
    };
    let parsed = address.rsplit_once(':').and_then(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let host = Some(bare.to_owned()).filter(|h| !h.is_empty());
        Some((host, port.parse::<u16>().ok()?))
    });
    let Some((host, port)) = parsed else {
        r.invalid("ListenAddress", format!("{address:?} is not of the form host:port or :port"));
        return Listen::Tcp { host: None, port: DEFAULT_PORT };
    };
    let local = host.as_deref().is_some_and(|h| {
        h == "localhost" || h.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    if authentication == Authentication::None && !local {
        r.notice(format!(
            "ListenAddress {address} lets other machines in and AuthenticationMethod is not set: \
             whoever reaches it can change the topology"
        ));
    }
    Listen::Tcp { host, port }
}

fn host_names(r: &mut Reader<'_>) -> Vec<String> {
    let names = r.list("HTTPHostNames");
    for name in &names {
        let host = name.strip_prefix("*.").unwrap_or(name);
        let is_of_name = |it: char| it.is_alphanumeric() || matches!(it, '-' | '_' | '.');
        if host.is_empty() || !host.chars().all(is_of_name) {
            let reason =
                format!("{name:?} is no host name: want ops.example.com, or *.example.com");
            r.invalid("HTTPHostNames", reason);
        }
    }
    names
}

fn is_origin(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let Some((host, port)) = rest.rsplit_once(':') else { return false };
    matches!(scheme, "http" | "https")
        && !host.is_empty()
        && !host.contains('/')
        && port.parse::<u16>().is_ok()
}

fn http_tls(r: &mut Reader<'_>) -> Option<HttpTls> {
    if !r.flag("UseSSL") {
        return None;
    }
    let (key, certificate) = (r.path("SSLPrivateKeyFile"), r.path("SSLCertFile"));
    if key.is_none() {
        r.invalid("SSLPrivateKeyFile", "is needed because UseSSL is true");
    }
    if certificate.is_none() {
        r.invalid("SSLCertFile", "is needed because UseSSL is true");
    }
    let mutual = r.flag("UseMutualTLS");
    Some(HttpTls {
        private_key_file: key?,
        certificate_file: certificate?,
        ca_file: r.path("SSLCAFile"),
        client_certificates: if mutual {
            ClientCertificates::Required
        } else {
            ClientCertificates::NotAsked
        },
        valid_organizational_units: r.list("SSLValidOUs"),
    })
}

fn store(r: &mut Reader<'_>, read: ReadFile<'_>) -> Store {
    let named = r.text("BackendDB").to_ascii_lowercase();
    let host = r.text("MySQLOrchestratorHost");
    let backend = match named.as_str() {
        "" if host.is_empty() => sqlite(r),
        "" | "mysql" => mysql_backend(r, host, read),
        // orchestrator takes any text with sqlite in it, and "sqlite3" is common.
        name if name.contains("sqlite") => sqlite(r),
        _ => {
            r.invalid("BackendDB", format!("{named:?} is neither \"sqlite\" nor \"mysql\""));
            sqlite(r)
        }
    };
    Store { backend, skip_migration: r.flag("SkipOrchestratorDatabaseUpdate") }
}

fn sqlite(r: &Reader<'_>) -> Backend {
    Backend::Sqlite(match r.some_text("SQLite3DataFile") {
        Some(text) if text.contains(":memory:") => SqliteFile::Memory,
        Some(text) => SqliteFile::Path(text.into()),
        None => SqliteFile::Path(state_folder(r.env).join("baton.sqlite3")),
    })
}

fn mysql_backend(r: &mut Reader<'_>, host: String, read: ReadFile<'_>) -> Backend {
    Backend::Mysql(MysqlBackend {
        host,
        port: r.port("MySQLOrchestratorPort"),
        database: r.text("MySQLOrchestratorDatabase"),
        credentials: credentials(
            r,
            read,
            "MySQLOrchestratorCredentialsConfigFile",
            ("MySQLOrchestratorUser", "MySQLOrchestratorPassword"),
        ),
        max_connections: r.uint("MySQLOrchestratorMaxPoolConnections"),
        tls: TlsFiles {
            private_key_file: r.path("MySQLOrchestratorSSLPrivateKeyFile"),
            certificate_file: r.path("MySQLOrchestratorSSLCertFile"),
            ca_file: r.path("MySQLOrchestratorSSLCAFile"),
            verify: !r.flag("MySQLOrchestratorSSLSkipVerify"),
            mutual: r.flag("MySQLOrchestratorUseMutualTLS"),
        },
        read_timeout: r.deadline("MySQLOrchestratorReadTimeoutSeconds", Duration::from_secs(30)),
        reject_read_only: r.flag("MySQLOrchestratorRejectReadOnly"),
    })
}

fn credentials(
    r: &mut Reader<'_>,
    read: ReadFile<'_>,
    file_key: &'static str,
    (user_key, password_key): (&str, &str),
) -> Credentials {
    let mut credentials = Credentials { user: r.text(user_key), password: r.secret(password_key) };
    let Some(path) = r.some_text(file_key) else { return credentials };
    match read(Path::new(&path)) {
        Ok(text) => {
            let found = client_section(&text, r.env);
            found.notices.iter().for_each(|it| r.notice(format!("{path}: {it}")));
            credentials.user = found.user.unwrap_or(credentials.user);
            credentials.password = found.password.unwrap_or(credentials.password);
        }
        Err(error) => r.invalid(file_key, format!("cannot read {path}: {error}")),
    }
    credentials
}

fn connections(r: &mut Reader<'_>, read: ReadFile<'_>) -> Connections {
    let tls_mode = tls_mode(r);
    let ca_file = r.path("MySQLTopologySSLCAFile");
    let skip = r.flag("MySQLTopologySSLSkipVerify");
    let tls = TlsFiles {
        private_key_file: r.path("MySQLTopologySSLPrivateKeyFile"),
        certificate_file: r.path("MySQLTopologySSLCertFile"),
        // Servers sign their own certificates by default: "preferred" encrypts and cannot verify.
        verify: !skip && (tls_mode != TlsMode::Preferred || ca_file.is_some()),
        ca_file,
        mutual: tls_mode == TlsMode::Mutual,
    };
    if tls.mutual && (tls.private_key_file.is_none() || tls.certificate_file.is_none()) {
        let reason = "mutual TLS to the instances needs both MySQLTopologySSLCertFile and \
                      MySQLTopologySSLPrivateKeyFile";
        r.invalid("MySQLTopologySSLCertFile", reason);
    }
    Connections {
        credentials: credentials(
            r,
            read,
            "MySQLTopologyCredentialsConfigFile",
            ("MySQLTopologyUser", "MySQLTopologyPassword"),
        ),
        tls_mode,
        tls,
        pin_certificates: r.flag("MySQLTopologyPinCertificates"),
        allow_server_public_key: r.flag("MySQLTopologyAllowServerPublicKey"),
        connect_timeout: r.deadline("MySQLConnectTimeoutSeconds", Duration::from_secs(1)),
        probe_timeout: r.deadline("MySQLDiscoveryReadTimeoutSeconds", Duration::from_secs(1)),
        read_timeout: r.deadline("MySQLTopologyReadTimeoutSeconds", Duration::from_secs(600)),
        default_port: r.port("DefaultInstancePort"),
        use_super_read_only: r.flag("UseSuperReadOnly"),
        replication_credentials_query: r.some_text("ReplicationCredentialsQuery"),
    }
}

fn tls_mode(r: &mut Reader<'_>) -> TlsMode {
    let old_mutual = r.flag("MySQLTopologyUseMutualTLS");
    if r.some_text("MySQLTopologyTLS").is_none() {
        return match (old_mutual, r.flag("MySQLTopologyUseMixedTLS")) {
            (true, _) => TlsMode::Mutual,
            (false, true) => TlsMode::Preferred,
            (false, false) => TlsMode::Off,
        };
    }
    let mode = r.choice(
        "MySQLTopologyTLS",
        &[
            ("off", TlsMode::Off),
            ("preferred", TlsMode::Preferred),
            ("required", TlsMode::Required),
            ("mutual", TlsMode::Mutual),
        ],
    );
    if old_mutual && mode != TlsMode::Mutual {
        r.invalid("MySQLTopologyTLS", "contradicts MySQLTopologyUseMutualTLS, which is true");
    }
    mode
}

fn discovery(r: &mut Reader<'_>) -> Discovery {
    let poll_interval = r.deadline("InstancePollSeconds", Duration::from_secs(5));
    let dead_poll_factor = r.float("DeadInstancePollSecondsMultiplyFactor");
    if dead_poll_factor < 1.0 {
        r.invalid("DeadInstancePollSecondsMultiplyFactor", "must be at least 1");
    }
    let mut dead_poll_max = r.seconds("DeadInstancePollSecondsMax");
    if dead_poll_max < poll_interval {
        if r.is_given("DeadInstancePollSecondsMax") {
            r.invalid("DeadInstancePollSecondsMax", "must be at least InstancePollSeconds");
        }
        // A default that nobody chose gives way to what somebody did.
        dead_poll_max = poll_interval;
    }
    Discovery {
        poll_interval,
        reasonable_check_delay: r.seconds("ReasonableInstanceCheckSeconds"),
        by_show_replicas: r.flag("DiscoverByShowSlaveHosts"),
        seeds: r.list("DiscoverySeeds"),
        max_concurrency: usize::try_from(r.uint("DiscoveryMaxConcurrency").max(1))
            .unwrap_or(usize::MAX),
        allow: discovery_allow(r),
        ignore_replicas: r.patterns("DiscoveryIgnoreReplicaHostnameFilters"),
        ignore_sources: r.patterns("DiscoveryIgnoreMasterHostnameFilters"),
        ignore_instances: r.patterns("DiscoveryIgnoreHostnameFilters"),
        ignore_replication_users: r.patterns("DiscoveryIgnoreReplicationUsernameFilters"),
        dead_poll_factor,
        dead_poll_max,
        forget_unseen_after: r.hours("UnseenInstanceForgetHours"),
        snapshot_interval: nonzero(r.hours("SnapshotTopologiesIntervalHours")),
        bulk_wait_timeout: r.seconds("InstanceBulkOperationsWaitTimeoutSeconds"),
        max_concurrent_moves: r.uint("MaxConcurrentReplicaOperations").max(1),
        lower_replica_version_allowed: r.flag("LowerReplicaVersionAllowed"),
        verify_replication_filters: r.flag("VerifyReplicationFilters"),
    }
}

/// Where servers may be. Seeds are no exception: one outside is a slip in one of the two keys.
fn discovery_allow(r: &mut Reader<'_>) -> DiscoveryAllow {
    let mut allow = DiscoveryAllow::default();
    for text in r.list("DiscoveryAllow") {
        if let Err(error) = allow.add(&text) {
            r.invalid("DiscoveryAllow", error.to_string());
        }
    }
    let default_port = r.port("DefaultInstancePort");
    for text in r.list("DiscoverySeeds") {
        // What is no instance is told of elsewhere.
        let seed = InstanceKey::parse(&text, Some(default_port)).ok();
        if seed.is_some_and(|it| allow.judge(it.host()) == Reach::Outside) {
            r.invalid("DiscoverySeeds", format!("{text:?} is outside DiscoveryAllow"));
        }
    }
    allow
}

fn nonzero(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|d| !d.is_zero())
}

fn names(r: &mut Reader<'_>) -> Names {
    use HostResolve::{AsGiven, Cname, Ip};
    let host =
        [("none", AsGiven), ("default", AsGiven), ("", AsGiven), ("cname", Cname), ("ip", Ip)];
    let instance = [
        ("none", InstanceResolve::AsGiven),
        ("", InstanceResolve::AsGiven),
        ("default", InstanceResolve::Hostname),
        ("hostname", InstanceResolve::Hostname),
        ("@@hostname", InstanceResolve::Hostname),
        ("report_host", InstanceResolve::ReportHost),
        ("@@report_host", InstanceResolve::ReportHost),
    ];
    Names {
        host: r.lenient_choice("HostnameResolveMethod", &host, ("none", AsGiven)),
        instance: r.lenient_choice(
            "MySQLHostnameResolveMethod",
            &instance,
            ("none", InstanceResolve::AsGiven),
        ),
        resolve_expiry: r.minutes("ExpiryHostnameResolvesMinutes"),
        reject: r.pattern("RejectHostnameResolvePattern"),
        ignore_problems: r.patterns("ProblemIgnoreHostnameFilters"),
        ignore_osc: r.patterns("OSCIgnoreHostnameFilters"),
    }
}

fn classification(r: &mut Reader<'_>) -> Classification {
    if r.some_text("ReplicationLagQuery").is_some_and(|it| it.to_lowercase().contains("unsigned")) {
        r.notice(
            "ReplicationLagQuery: UNSIGNED makes a lag below zero enormous, so an answer of more \
             than 9223372036854775807 is read as 0; an answer that is no number counts as none, \
             and the server's own estimate is used",
        );
    }
    let aliases = r.map("ClusterNameToAlias");
    let cluster_aliases = aliases
        .into_iter()
        .filter_map(|(name, alias)| Some((r.compile("ClusterNameToAlias", &name)?, alias)))
        .collect();
    Classification {
        lag_query: r.some_text("ReplicationLagQuery"),
        cluster_alias_query: r.some_text("DetectClusterAliasQuery"),
        cluster_aliases,
        cluster_domain_query: r.some_text("DetectClusterDomainQuery"),
        instance_alias_query: r.some_text("DetectInstanceAliasQuery"),
        promotion_rule_query: r.some_text("DetectPromotionRuleQuery"),
        data_center_pattern: r.pattern("DataCenterPattern"),
        data_center_query: r.some_text("DetectDataCenterQuery"),
        region_pattern: r.pattern("RegionPattern"),
        region_query: r.some_text("DetectRegionQuery"),
        environment_pattern: r.pattern("PhysicalEnvironmentPattern"),
        environment_query: r.some_text("DetectPhysicalEnvironmentQuery"),
        semi_sync_enforced_query: r.some_text("DetectSemiSyncEnforcedQuery"),
        reasonable_lag: r.seconds("ReasonableReplicationLagSeconds"),
        reasonable_maintenance_lag: r.seconds("ReasonableMaintenanceReplicationLagSeconds"),
        candidate_expiry: r.minutes("CandidateInstanceExpireMinutes"),
        fuzzy_pool_hosts: r.flag("SupportFuzzyPoolHostnames"),
        pool_expiry: r.minutes("InstancePoolExpiryMinutes"),
    }
}

fn recovery(r: &mut Reader<'_>) -> Recovery {
    let refuse = r.flag("FailMasterPromotionIfSQLThreadNotUpToDate");
    let wait = r.flag("DelayMasterPromotionIfSQLThreadNotUpToDate");
    let unapplied_relay_log = match (refuse, wait) {
        (true, true) => {
            let other = "DelayMasterPromotionIfSQLThreadNotUpToDate";
            r.invalid(
                "FailMasterPromotionIfSQLThreadNotUpToDate",
                format!("cannot be true together with {other}"),
            );
            UnappliedRelayLog::Refuse
        }
        (true, false) => UnappliedRelayLog::Refuse,
        (false, true) => UnappliedRelayLog::Wait,
        (false, false) => UnappliedRelayLog::Unspecified,
    };
    let fail_promotion_on_lag = nonzero(r.minutes("FailMasterPromotionOnLagMinutes"));
    if fail_promotion_on_lag.is_some() && r.some_text("ReplicationLagQuery").is_none() {
        r.invalid("FailMasterPromotionOnLagMinutes", "needs ReplicationLagQuery to be set");
    }
    let by_minutes =
        r.is_given("RecoveryPeriodBlockSeconds") && r.uint("RecoveryPeriodBlockSeconds") == 0;
    let recovery_block = if by_minutes {
        r.minutes("RecoveryPeriodBlockMinutes")
    } else {
        r.seconds("RecoveryPeriodBlockSeconds")
    };
    let locked = nonzero(r.seconds("ReasonableLockedSemiSyncMasterSeconds"));
    let primary_filters = cluster_filters(r, "RecoverMasterClusterFilters");
    let intermediate_filters = cluster_filters(r, "RecoverIntermediateMasterClusterFilters");
    Recovery {
        primary_filters,
        intermediate_filters,
        ignore_instances: r.patterns("RecoveryIgnoreHostnameFilters"),
        never_promote: r.patterns("PromotionIgnoreHostnameFilters"),
        detection_block: r.minutes("FailureDetectionPeriodBlockMinutes"),
        recovery_block,
        apply_promotion: r.flag("ApplyMySQLPromotionAfterMasterFailover"),
        detach_lost_replicas: r.flag("DetachLostReplicasAfterMasterFailover"),
        detach_promoted: r.flag("MasterFailoverDetachReplicaMasterHost"),
        co_primary_must_promote_other: r.flag("CoMasterRecoveryMustPromoteOtherCoMaster"),
        prevent_cross_data_center: r.flag("PreventCrossDataCenterMasterFailover"),
        prevent_cross_region: r.flag("PreventCrossRegionMasterFailover"),
        fail_promotion_on_lag,
        fail_promotion_on_known_loss: r.flag("FailMasterPromotionOnKnownLoss"),
        unapplied_relay_log,
        postpone_replicas_on_lag: nonzero(r.minutes("PostponeReplicaRecoveryOnLagMinutes")),
        recover_non_writeable_primary: r.flag("RecoverNonWriteableMaster"),
        enforce_exact_semi_sync_replicas: r.flag("EnforceExactSemiSyncReplicas"),
        recover_locked_semi_sync: r.flag("RecoverLockedSemiSyncMaster"),
        reasonable_locked_semi_sync: locked
            .unwrap_or_else(|| r.seconds("ReasonableReplicationLagSeconds")),
        reduce_analysis: r.flag("ReduceReplicationAnalysisCount"),
        rejoin_former_primaries: r.flag("RejoinFormerPrimaries"),
        breaker_clusters: r.uint("FleetBreakerClusters"),
        breaker_percent: r.uint("FleetBreakerPercent"),
    }
}

/// The filters that can match anything. One that is no pattern matches as a name, but for an
/// explicit pattern.
fn cluster_filters(r: &mut Reader<'_>, key: &'static str) -> Vec<String> {
    let filters = r.list(key);
    let can_match = |filter: &String| match filter.strip_prefix("alias~=") {
        Some(pattern) => r.compile(key, pattern).is_some(),
        None if filter == "*" || filter.starts_with("alias=") => true,
        None => {
            let _ = r.compile(key, filter);
            true
        }
    };
    filters.into_iter().filter(can_match).collect()
}

/// Each list of hooks and the key it is configured by.
const HOOK_LISTS: [(HookList, &str); 9] = [
    (HookList::FailureDetection, "OnFailureDetectionProcesses"),
    (HookList::PreGracefulTakeover, "PreGracefulTakeoverProcesses"),
    (HookList::PreFailover, "PreFailoverProcesses"),
    (HookList::PostPrimaryFailover, "PostMasterFailoverProcesses"),
    (HookList::PostIntermediateFailover, "PostIntermediateMasterFailoverProcesses"),
    (HookList::PostFailover, "PostFailoverProcesses"),
    (HookList::PostUnsuccessfulFailover, "PostUnsuccessfulFailoverProcesses"),
    (HookList::PostGracefulTakeover, "PostGracefulTakeoverProcesses"),
    (HookList::PostTakePrimary, "PostTakeMasterProcesses"),
];

fn hooks(r: &mut Reader<'_>) -> HookPolicy {
    let lists = HOOK_LISTS
        .iter()
        .map(|(list, key)| (*list, HookCommands { name: (*key).to_owned(), commands: r.list(key) }))
        .collect();
    let standard = HookPolicy::default();
    let timeout = r.deadline("HookTimeoutSeconds", standard.timeout);
    let placeholders = if r.flag("UnquotedHookPlaceholders") {
        r.notice(
            "UnquotedHookPlaceholders: whoever can name a server or a cluster can run commands \
             as the account of baton",
        );
        PlaceholderStyle::Verbatim
    } else {
        PlaceholderStyle::Quoted
    };
    HookPolicy {
        shell: r.some_text("ProcessesShellCommand").unwrap_or(standard.shell),
        detection_timeout: match r.is_given("HookTimeoutSeconds") {
            true => timeout,
            false => standard.detection_timeout,
        },
        timeout,
        placeholders,
        lists,
    }
}

fn kv(r: &mut Reader<'_>) -> Kv {
    let prefix = r.text("KVClusterMasterPrefix");
    let given = r.uint("ConsulMaxKVsPerTransaction");
    let max_keys_per_transaction = given.clamp(5, 64);
    if given != max_keys_per_transaction {
        r.notice(format!(
            "ConsulMaxKVsPerTransaction: {given} is not within 5 to 64, \
             {max_keys_per_transaction} is used"
        ));
    }
    let transactions =
        r.choice("ConsulKVStoreProvider", &[("consul", false), ("", false), ("consul-txn", true)]);
    Kv {
        cluster_primary_prefix: format!("{}/", prefix.trim_end_matches('/')),
        consul: r.some_text("ConsulAddress").map(|address| Consul {
            address,
            scheme: r.text("ConsulScheme"),
            token: r.secret("ConsulAclToken"),
            cross_data_center: r.flag("ConsulCrossDataCenterDistribution"),
            transactions,
            max_keys_per_transaction,
        }),
        zookeeper: r.some_text("ZkAddress"),
    }
}
