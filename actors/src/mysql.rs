//! Speaks MySQL to the servers that are watched, and only that: what answers mean is read in
//! [`baton_topology::reading`], when to ask is up to the probe actors.

mod connection;
mod contained;
mod control;
mod dialect;
mod failure;
mod gate;
mod names;
mod park;
mod queries;
mod session;
mod slots;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_topology::allow::DiscoveryAllow;
use baton_topology::key::InstanceKey;
use baton_topology::reading::ReadingPolicy;
use mysql_async::OptsBuilder;
use tokio::sync::watch;

pub use self::queries::{CredentialsQuery, DetectionQuery};
pub use self::slots::DESCRIPTORS_EACH;
use crate::certificates::{Certificates, Fingerprint, Judgement};
use crate::ports::{Control, ControlSession, ProbeSession, ProbeTarget};

/// The largest packet that is read. A GTID set of a hundred thousand intervals fits many times;
/// a server that talks nonsense cannot make us reserve more.
const MAX_PACKET_BYTES: usize = 16 << 20;

/// After this much silence the kernel asks whether the host is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);

/// How the servers are reached and what they are asked.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Account.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// Limit of one attempt to connect: name, network, TLS and authentication together.
    pub connect_deadline: Duration,
    /// Limit of one probe on an established connection.
    pub probe_deadline: Duration,
    /// Transport security.
    pub tls: TlsOptions,
    /// Whether a server without TLS may be sent the password under a key that it sends itself.
    pub allow_public_key: bool,
    /// Where servers may be.
    pub allow: DiscoveryAllow,
    /// The configured queries.
    pub queries: Vec<DetectionQuery>,
    /// How names and replicas are read.
    pub reading: ReadingPolicy,
    /// Where credentials for replication come from.
    pub replication_credentials: ReplicationCredentials,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            user: String::new(),
            password: Password::default(),
            connect_deadline: Duration::from_secs(1),
            probe_deadline: Duration::from_secs(1),
            tls: TlsOptions::default(),
            allow_public_key: false,
            allow: DiscoveryAllow::default(),
            queries: Vec::new(),
            reading: ReadingPolicy::default(),
            replication_credentials: ReplicationCredentials::default(),
        }
    }
}

/// A password. It cannot be printed, not even by mistake.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Transport security.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Whether TLS is used.
    pub mode: TlsMode,
    /// Certificates that server certificates are checked against; the public ones when absent.
    pub ca_file: Option<PathBuf>,
    /// The certificate baton shows: mutual TLS.
    pub identity: Option<TlsIdentity>,
    /// Whether server certificates are checked.
    pub verification: TlsVerification,
    /// Whether the password goes only to servers that show the key they showed first, where
    /// certificates are not checked.
    pub pinning: Pinning,
}

/// Whether TLS is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// Where the server offers it. Without a CA file this is a guard against eavesdroppers only,
    /// so certificates are not checked.
    #[default]
    Preferred,
    /// Always; servers that do not offer it are not spoken to.
    Required,
}

/// Whether server certificates are checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsVerification {
    /// Signature and name.
    #[default]
    Full,
    /// Not at all.
    Skip,
}

/// Whether servers whose certificates are not checked are known by their keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pinning {
    /// They are.
    #[default]
    On,
    /// Any key will do.
    Off,
}

/// A certificate and its key, both as files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// Certificate chain.
    pub cert_file: PathBuf,
    /// Private key.
    pub key_file: PathBuf,
}

/// Where credentials for replication come from, for servers that have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ReplicationCredentials {
    /// From the replicas themselves, where they keep them readable: MySQL does, in
    /// `mysql.slave_master_info`; MariaDB does not.
    #[default]
    AsReplicasKeepThem,
    /// From a configured query, so they are always at hand.
    ByQuery(CredentialsQuery),
}

/// Access to real servers.
pub struct MySqlTarget {
    shared: watch::Sender<Arc<Shared>>,
}

/// What all sessions share.
pub(crate) struct Shared {
    options: ConnectOptions,
    opts: OptsBuilder,
    connector: gate::Connector,
    certificates: Arc<Certificates>,
    names: names::Names,
    slots: Arc<slots::Slots>,
}

impl MySqlTarget {
    /// Prepares access. Certificate files are read at the first connection that needs them.
    pub fn new(options: ConnectOptions) -> Self {
        Self::limited(options, usize::MAX)
    }

    /// The same, with at most so many connections at a time.
    pub fn limited(options: ConnectOptions, connections_max: usize) -> Self {
        // Somebody else may have chosen a provider already, and that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let slots = Arc::new(slots::Slots::new(connections_max));
        let shared = Shared::new(options, Arc::default(), slots);
        Self { shared: watch::Sender::new(Arc::new(shared)) }
    }

    /// Puts other options in force. Sessions take them on, with a new connection, at their next
    /// probe.
    pub fn set_options(&self, options: ConnectOptions) {
        let certificates = self.certificates();
        let slots = Arc::clone(&self.shared.borrow().slots);
        self.shared.send_replace(Arc::new(Shared::new(options, certificates, slots)));
    }

    /// What the servers show of themselves.
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.shared.borrow().certificates)
    }
}

impl Shared {
    fn new(
        options: ConnectOptions,
        certificates: Arc<Certificates>,
        slots: Arc<slots::Slots>,
    ) -> Self {
        let opts = OptsBuilder::default()
            .user(Some(options.user.as_str()))
            .pass(Some(options.password.0.as_str()))
            // Everything that would otherwise be asked of the server at each connection.
            .prefer_socket(false)
            .max_allowed_packet(Some(MAX_PACKET_BYTES))
            .wait_timeout(Some(0))
            .stmt_cache_size(0);
        let connector = gate::Connector::new(options.tls.clone());
        Self { options, opts, connector, certificates, names: names::Names::new(), slots }
    }
}

impl Shared {
    /// How a key that a server proved to hold compares with what it is known by.
    fn judge(&self, key: &InstanceKey, fingerprint: &Fingerprint) -> Judgement {
        if self.options.tls.pinning == Pinning::Off || !self.options.tls.is_unchecked() {
            return Judgement::Same;
        }
        self.certificates.judge(key, fingerprint)
    }
}

impl ProbeTarget for MySqlTarget {
    fn certificates(&self) -> Option<Arc<Certificates>> {
        Some(MySqlTarget::certificates(self))
    }

    fn session(&self, key: &InstanceKey) -> Box<dyn ProbeSession> {
        let (key, newest) = (key.clone(), self.shared.subscribe());
        Box::new(contained::ContainedProbe::new(move || {
            Box::new(session::MySqlSession::new(key.clone(), newest.clone()))
        }))
    }
}

impl Control for MySqlTarget {
    fn control(&self, key: &InstanceKey) -> Box<dyn ControlSession> {
        let (key, newest) = (key.clone(), self.shared.subscribe());
        Box::new(contained::ContainedControl::new(move || {
            let session = session::MySqlSession::new(key.clone(), newest.clone());
            Box::new(control::MySqlControl::new(session))
        }))
    }
}

impl TlsOptions {
    /// Whether any certificate will do.
    fn is_unchecked(&self) -> bool {
        self.verification == TlsVerification::Skip
            || (self.mode == TlsMode::Preferred && self.ca_file.is_none())
    }
}
