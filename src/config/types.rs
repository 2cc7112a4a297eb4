//! The configuration as the program sees it: validated, in baton's words.

use std::path::PathBuf;
use std::time::Duration;

use baton_topology::allow::DiscoveryAllow;
use baton_topology::hooks::HookPolicy;
use regex::Regex;

use super::values::Secret;

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// The process and its audit.
    pub process: Process,
    /// The HTTP server.
    pub http: Http,
    /// Where state is kept.
    pub store: Store,
    /// Connections to the watched instances.
    pub connections: Connections,
    /// Finding and probing instances.
    pub discovery: Discovery,
    /// What instances are called.
    pub names: Names,
    /// What is told apart among instances.
    pub classification: Classification,
    /// Failure detection and recovery.
    pub recovery: Recovery,
    /// User processes around recoveries.
    pub hooks: HookPolicy,
    /// Consensus among nodes.
    pub raft: Raft,
    /// Publishing primaries to key-value stores.
    pub kv: Kv,
}

/// The process and its audit.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct Process {
    pub debug: bool,
    pub audit_log_file: Option<PathBuf>,
    pub audit_retention: Duration,
    pub state_folder: PathBuf,
}

/// Where the HTTP server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A port on one host, or on every address when there is no host.
    Tcp {
        /// The host or address, without brackets.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// Who may use the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Everybody who can reach it.
    None,
    /// HTTP basic authentication.
    Basic,
    /// Basic, and a read-only user without password.
    Multi,
    /// A header set by a proxy.
    Proxy,
    /// Access tokens.
    Token,
}

/// The HTTP server.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct Http {
    pub listen: Listen,
    pub advertise: Option<String>,
    pub host_names: Vec<String>,
    /// Empty, or one leading and no trailing slash.
    pub url_prefix: String,
    pub web_message: String,
    pub remove_from_hostname_display: String,
    pub status_endpoint: String,
    pub read_only: bool,
    pub authentication: Authentication,
    pub user: String,
    pub password: Secret,
    pub user_header: String,
    pub power_users: Vec<String>,
    pub power_groups: Vec<String>,
    pub token_use_expiry: Duration,
    pub token_expiry: Duration,
    pub tls: Option<HttpTls>,
    pub verify_peers: bool,
    pub custom_identity: String,
    pub prepend_identity: String,
}

/// HTTPS.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct HttpTls {
    pub private_key_file: PathBuf,
    pub certificate_file: PathBuf,
    pub ca_file: Option<PathBuf>,
    pub client_certificates: ClientCertificates,
    pub valid_organizational_units: Vec<String>,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They need none.
    NotAsked,
    /// They need one.
    Required,
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// A SQLite file, or memory.
    Sqlite(SqliteFile),
    /// A shared MySQL database.
    Mysql(MysqlBackend),
}

/// Where SQLite keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqliteFile {
    /// Gone with the process.
    Memory,
    /// A file.
    Path(PathBuf),
}

/// A shared MySQL database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct MysqlBackend {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub credentials: Credentials,
    pub max_connections: u64,
    pub tls: TlsFiles,
    pub read_timeout: Duration,
    pub reject_read_only: bool,
}

/// Where state is kept.
#[derive(Debug, Clone)]
pub struct Store {
    /// The database.
    pub backend: Backend,
    /// Whether the schema is left as it is at start.
    pub skip_migration: bool,
}

/// A user and its password.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// When the server can.
    Preferred,
    /// Or there is no connection.
    Required,
    /// And the client shows a certificate.
    Mutual,
}

/// Files of TLS, and whether the other side's certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct TlsFiles {
    pub private_key_file: Option<PathBuf>,
    pub certificate_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub verify: bool,
    pub mutual: bool,
}

/// Connections to the watched instances.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct Connections {
    pub credentials: Credentials,
    pub tls_mode: TlsMode,
    pub tls: TlsFiles,
    pub pin_certificates: bool,
    pub allow_server_public_key: bool,
    pub connect_timeout: Duration,
    pub probe_timeout: Duration,
    pub read_timeout: Duration,
    pub default_port: u16,
    pub use_super_read_only: bool,
    pub replication_credentials_query: Option<String>,
}

/// Finding and probing instances.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct Discovery {
    pub poll_interval: Duration,
    pub reasonable_check_delay: Duration,
    pub by_show_replicas: bool,
    pub seeds: Vec<String>,
    pub max_concurrency: usize,
    pub allow: DiscoveryAllow,
    pub ignore_replicas: Vec<Regex>,
    pub ignore_sources: Vec<Regex>,
    pub ignore_instances: Vec<Regex>,
    pub ignore_replication_users: Vec<Regex>,
    pub dead_poll_factor: f64,
    pub dead_poll_max: Duration,
    pub forget_unseen_after: Duration,
    pub snapshot_interval: Option<Duration>,
    pub bulk_wait_timeout: Duration,
    pub max_concurrent_moves: u64,
    pub lower_replica_version_allowed: bool,
    pub verify_replication_filters: bool,
}

/// How the name of a host is found from the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostResolve {
    /// Names stay as given.
    AsGiven,
    /// The canonical name of the resolver.
    Cname,
    /// The address.
    Ip,
}

/// How an instance says what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceResolve {
    /// It is not asked.
    AsGiven,
    /// By `@@hostname`.
    Hostname,
    /// By `@@report_host`.
    ReportHost,
}

/// What instances are called.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct Names {
    pub host: HostResolve,
    pub instance: InstanceResolve,
    pub resolve_expiry: Duration,
    pub reject: Option<Regex>,
    pub ignore_problems: Vec<Regex>,
    pub ignore_osc: Vec<Regex>,
}

/// What is told apart among instances.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct Classification {
    pub lag_query: Option<String>,
    pub cluster_alias_query: Option<String>,
    pub cluster_aliases: Vec<(Regex, String)>,
    pub cluster_domain_query: Option<String>,
    pub instance_alias_query: Option<String>,
    pub promotion_rule_query: Option<String>,
    pub data_center_pattern: Option<Regex>,
    pub data_center_query: Option<String>,
    pub region_pattern: Option<Regex>,
    pub region_query: Option<String>,
    pub environment_pattern: Option<Regex>,
    pub environment_query: Option<String>,
    pub semi_sync_enforced_query: Option<String>,
    pub reasonable_lag: Duration,
    pub reasonable_maintenance_lag: Duration,
    pub candidate_expiry: Duration,
    pub fuzzy_pool_hosts: bool,
    pub pool_expiry: Duration,
}

/// What happens when a candidate has not applied all it received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnappliedRelayLog {
    /// Nothing was configured.
    Unspecified,
    /// It is refused.
    Refuse,
    /// It applies first.
    Wait,
}

/// Failure detection and recovery.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct Recovery {
    pub primary_filters: Vec<String>,
    pub intermediate_filters: Vec<String>,
    pub ignore_instances: Vec<Regex>,
    pub never_promote: Vec<Regex>,
    pub detection_block: Duration,
    pub recovery_block: Duration,
    pub apply_promotion: bool,
    pub detach_lost_replicas: bool,
    pub detach_promoted: bool,
    pub co_primary_must_promote_other: bool,
    pub prevent_cross_data_center: bool,
    pub prevent_cross_region: bool,
    pub fail_promotion_on_lag: Option<Duration>,
    pub fail_promotion_on_known_loss: bool,
    pub unapplied_relay_log: UnappliedRelayLog,
    pub postpone_replicas_on_lag: Option<Duration>,
    pub recover_non_writeable_primary: bool,
    pub enforce_exact_semi_sync_replicas: bool,
    pub recover_locked_semi_sync: bool,
    pub reasonable_locked_semi_sync: Duration,
    pub reduce_analysis: bool,
    pub rejoin_former_primaries: bool,
    pub breaker_clusters: u64,
    pub breaker_percent: u64,
}

impl Recovery {
    /// That no cluster is recovered by itself, if none is: nobody should learn it from an outage.
    pub fn nothing_is_recovered(&self) -> Option<&'static str> {
        let is_off = self.primary_filters.is_empty() && self.intermediate_filters.is_empty();
        is_off.then_some(
            "nothing is failed over by itself: RecoverMasterClusterFilters and \
             RecoverIntermediateMasterClusterFilters name no cluster ([\"*\"] names all)",
        )
    }
}

impl Config {
    /// What a hostile server that baton is led to could learn of the account, if nothing bounds that.
    pub fn account_at_risk(&self) -> Option<&'static str> {
        let Connections { tls_mode, tls, allow_server_public_key, .. } = &self.connections;
        if !self.discovery.allow.is_empty() {
            return None;
        }
        match (tls_mode, tls.verify, allow_server_public_key) {
            (TlsMode::Off, _, true) => Some(
                "any server that discovery leads to, and whatever stands between, can read the password of \
                 MySQLTopologyUser: MySQLTopologyAllowServerPublicKey is true and nothing is encrypted. \
                 Set MySQLTopologyTLS and MySQLTopologySSLCAFile, or bound discovery with DiscoveryAllow \
                 (docs/grants.md)",
            ),
            (TlsMode::Off, _, false) => Some(
                "connections to the servers are not encrypted: who reads the network sees what is told \
                 there and can try passwords offline. Set MySQLTopologyTLS and MySQLTopologySSLCAFile, and \
                 bound discovery with DiscoveryAllow (docs/grants.md)",
            ),
            (_, false, _) => Some(
                "a hostile server that discovery leads to, such as one that registers as a replica, can \
                 read the password of MySQLTopologyUser: no authority verifies certificates. Set \
                 MySQLTopologySSLCAFile, or bound discovery with DiscoveryAllow (docs/grants.md)",
            ),
            (_, true, _) => None,
        }
    }

    /// That a server which could learn of the account could be a node of the raft too.
    pub fn raft_at_risk(&self) -> Option<&'static str> {
        let is_shared = self.raft.enabled && self.raft.secret == RaftSecret::Credentials;
        (is_shared && self.account_at_risk().is_some()).then_some(
            "whoever can read that password and reaches the raft port can take part in the raft: give \
             the nodes a RaftSecret of their own (docs/grants.md)",
        )
    }
}

/// Consensus among nodes.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct Raft {
    pub enabled: bool,
    pub bind: String,
    /// The seat of this node, with its port.
    pub advertise: String,
    pub data_folder: Option<PathBuf>,
    /// All seats, with their ports; this node's included.
    pub nodes: Vec<String>,
    pub secret: RaftSecret,
    pub channel: RaftChannel,
    pub timing: RaftTiming,
    pub confirmation: RaftConfirmation,
    pub data_center: Option<String>,
    pub shared_probing: bool,
    pub bail_out: Option<Duration>,
}

/// What the nodes of a raft know each other by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RaftSecret {
    /// Nobody else is to be let in.
    None,
    /// The account for the watched servers, which they all have.
    Credentials,
    /// This.
    Text(Secret),
    /// What this file holds.
    File(PathBuf),
}

/// How what the nodes of a raft say is protected on the network.
#[derive(Debug, Clone)]
pub enum RaftChannel {
    /// TLS with certificates that are made at each start; who the other end is, its key proves.
    Made,
    /// TLS with certificates of the operator's.
    Given(RaftTls),
    /// Not at all.
    PlainText,
}

/// Certificates of the operator's.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct RaftTls {
    pub certificate_file: PathBuf,
    pub private_key_file: PathBuf,
    pub ca_file: PathBuf,
    /// Whether nodes without such a certificate are let in, if they prove the key.
    pub optional: bool,
}

/// How far apart the nodes of a raft are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the value of the same name")]
pub enum RaftTiming {
    Near,
    Far,
}

/// Which nodes of a raft have to see a failure before the leader acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the value of the same name")]
pub enum RaftConfirmation {
    Leader,
    Majority,
    All,
}

/// Publishing primaries to key-value stores.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct Kv {
    /// With exactly one slash at its end.
    pub cluster_primary_prefix: String,
    pub consul: Option<Consul>,
    pub zookeeper: Option<String>,
}

/// Consul.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the key of the same meaning in keys.rs")]
pub struct Consul {
    pub address: String,
    pub scheme: String,
    pub token: Secret,
    pub cross_data_center: bool,
    pub transactions: bool,
    pub max_keys_per_transaction: u64,
}
