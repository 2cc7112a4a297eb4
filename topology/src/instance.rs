//! What baton knows of one MySQL server: the facts it read, and how the last look at it went.
//!
//! An [`Instance`] holds no opinion. What follows from several instances (cluster, depth, errant
//! transactions) is in [`crate::cluster`]; what people said (downtime, promotion rules, tags) is
//! in [`crate::ledger`].

mod channel;
mod events;
mod failure;
mod group;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::group::{GroupKind, GroupMember};
use crate::binlog::BinlogCoordinates;
use crate::certificate::Fingerprint;
use crate::gtid::{GtidSet, Gtids, MariaDbPosition, MariaDbState};
use crate::key::InstanceKey;
use crate::membership::Registered;
use crate::remembered::Remembered;
use crate::time::Timestamp;
use crate::version::Version;

pub use events::Events;
pub use failure::{FailureKind, ProbeFailure};

/// One MySQL server as baton knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name.
    pub key: InstanceKey,
    /// What the newest probe that got answers read; all defaults when none ever did.
    pub facts: Arc<Facts>,
    /// How the newest probes went.
    pub health: Health,
    /// Since when the binary log position has not moved, as far as probes saw.
    pub binlog_unmoved_since: Option<Timestamp>,
    /// What earlier probes saw and the newest does not show any more.
    #[serde(default)]
    pub remembered: Remembered,
}

/// How the newest probes of an instance went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The verdict of the newest finished probe.
    pub status: HealthStatus,
    /// When the newest probe began.
    pub last_attempt: Option<Timestamp>,
    /// When the newest probe ended, well or not.
    pub last_check: Option<Timestamp>,
    /// When the newest successful probe began: no fact is newer than what followed this point.
    pub facts_from: Option<Timestamp>,
    /// When the newest successful probe ended: no fact is newer than this.
    pub last_seen: Option<Timestamp>,
    /// Failed probes since the newest successful one.
    pub failures: u32,
    /// How long the newest successful probe took.
    pub latency: Duration,
    /// When the newest probe of this node itself began: that one is older when another node told
    /// of the newest. Failures are always a node's own: nobody believes in one he has not seen.
    pub own_attempt: Option<Timestamp>,
    /// Since when nothing that was asked of it was answered; `None` while it answers.
    pub silent_since: Option<Timestamp>,
}

impl Health {
    /// Whether the newest look was another node's, which told of it.
    pub fn is_hearsay(&self) -> bool {
        self.own_attempt != self.last_attempt
    }
}

/// The verdict of the newest probe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum HealthStatus {
    /// Not probed since baton started; whatever is known comes from the store or from others.
    #[default]
    Unprobed,
    /// The newest probe succeeded.
    Valid,
    /// The newest probe failed.
    Invalid(ProbeFailure),
}

/// Everything one probe reads from a server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Answer of the configured instance alias query.
    pub alias: String,
    /// How long the server has been up, in seconds.
    pub uptime_seconds: u64,
    /// `server_id`.
    pub server_id: u32,
    /// `server_uuid`; MariaDB has none.
    pub server_uuid: Option<Uuid>,
    /// Version and flavour.
    pub version: Version,
    /// `version_comment`.
    pub version_comment: String,
    /// `read_only`.
    pub read_only: bool,
    /// `super_read_only`; always false on MariaDB.
    pub super_read_only: bool,
    /// The server's own binary log.
    pub binlog: BinlogFacts,
    /// GTID configuration and sets.
    pub gtid: GtidFacts,
    /// Replication channels, ordered by name; empty on a server that replicates from nobody.
    pub channels: Vec<Channel>,
    /// Named channels that are known to bring in what others write, and nothing else: they were seen
    /// beside the default channel, or on a writable server with replicas. They never place it, not
    /// even once it is closed.
    pub imports: BTreeSet<String>,
    /// Semi-synchronous replication.
    pub semi_sync: SemiSync,
    /// Group replication membership.
    pub group: Option<GroupMember>,
    /// It is in `offline_mode`: it lets nobody in who has not the `CONNECTION_ADMIN` privilege, neither
    /// applications nor replicas.
    pub offline_mode: bool,
    /// Replicas as the server itself sees them.
    pub replicas: BTreeSet<InstanceKey>,
    /// Who the replicas in its list are; `None` when it does not let the list be read, or that is too
    /// long.
    pub registered: Option<BTreeSet<Registered>>,
    /// Where the server stands.
    pub placement: Placement,
    /// Cluster alias that this server's configured query or pattern suggests.
    pub suggested_cluster_alias: String,
    /// Cluster domain that this server's configured query tells.
    pub cluster_domain: String,
    /// Promotion rule that this server's configured query tells.
    pub promotion_rule: Option<PromotionRule>,
    /// Whether credentials that replicas could use are readable on this server.
    pub replication_credentials_available: bool,
    /// Whether the account that a receiver connects with is stored, so that it can connect again after
    /// it was stopped; `None` when the server does not tell.
    pub stores_account: Option<bool>,
    /// Whether a receiver may leave its source for another one by itself
    /// (`SOURCE_CONNECTION_AUTO_FAILOVER`); `None` when the server does not tell.
    pub leaves_its_source: Option<bool>,
    /// Answer of the configured lag query, in seconds. `None`: not configured, or no answer.
    pub measured_lag_seconds: Option<u64>,
    /// Its binary log takes no more writes, so commits wait; what the server says about it.
    pub stuck_log: Option<String>,
    /// The key that it shows under TLS, if that is not the one it is known by and no authority verified
    /// it.
    pub changed_certificate: Option<Fingerprint>,
    /// How many XA transactions are prepared: they keep their locks, also when the server is replaced
    /// or restarted, until they are committed or rolled back. `None` when the server does not tell.
    pub prepared_xa: Option<u64>,
    /// Scheduled events. `None` when the server was not asked, or does not tell.
    pub events: Option<Events>,
}

/// The server's own binary log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BinlogFacts {
    /// Whether there is one.
    pub enabled: bool,
    /// Whether replicated transactions are written to it.
    pub logs_replica_updates: bool,
    /// `binlog_format`.
    pub format: BinlogFormat,
    /// `binlog_row_image`, upper case as the server tells it.
    pub row_image: String,
    /// Where the next event goes.
    pub position: BinlogCoordinates,
}

/// `binlog_format`, ordered from the least to the most demanding for a replica that logs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum BinlogFormat {
    /// Not known.
    #[default]
    Unknown,
    /// Statements.
    Statement,
    /// Statements or rows.
    Mixed,
    /// Rows.
    Row,
}

impl BinlogFormat {
    /// As the server writes it; empty when unknown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Statement => "STATEMENT",
            Self::Mixed => "MIXED",
            Self::Row => "ROW",
        }
    }

    /// Reads the server's word, in any case.
    pub fn parse(text: &str) -> Self {
        [Self::Statement, Self::Mixed, Self::Row]
            .into_iter()
            .find(|format| format.as_str().eq_ignore_ascii_case(text))
            .unwrap_or(Self::Unknown)
    }
}

/// GTID configuration and sets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GtidFacts {
    /// `gtid_mode`, upper case (`ON`, `OFF_PERMISSIVE`...); empty where there is no such variable.
    pub mode: String,
    /// Executed transactions: `gtid_executed`, or MariaDB's `gtid_current_pos`.
    pub executed: Gtids,
    /// Transactions no longer in any binary log: `gtid_purged`.
    pub purged: GtidSet,
    /// What was applied of what sources sent: MariaDB's `gtid_slave_pos`. What the server wrote
    /// itself, which `gtid_current_pos` mixes in, hides nothing here.
    pub replicated: MariaDbPosition,
    /// Where the server's own binary log ends: MariaDB's `gtid_binlog_pos`.
    pub logged: MariaDbPosition,
    /// Whose transactions its binary log had: MariaDB's `gtid_binlog_state`.
    pub logged_by: MariaDbState,
    /// MariaDB's `gtid_ignore_duplicates`: what comes by several channels counts once.
    pub ignores_duplicates: bool,
}

impl GtidFacts {
    /// Whether the server assigns MySQL's GTIDs, or could: any mode but `OFF`.
    pub fn is_supported(&self) -> bool {
        !self.mode.is_empty() && self.mode != "OFF"
    }
}

/// One replication channel.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Channel {
    /// Its name; the default channel has none.
    pub name: String,
    /// What it points at.
    pub source: SourceLink,
    /// UUID of the source, when the replica knows it.
    pub source_uuid: Option<Uuid>,
    /// The receiver (IO) thread.
    pub receiver: ThreadState,
    /// The applier (SQL) thread.
    pub applier: ThreadState,
    /// How far the receiver has read in the source's binary log.
    pub read: BinlogCoordinates,
    /// How far the applier has executed, in the source's binary log.
    pub executed: BinlogCoordinates,
    /// How far the applier has executed, in the relay log.
    pub relay: BinlogCoordinates,
    /// Transactions received: `Retrieved_Gtid_Set`, or MariaDB's `Gtid_IO_Pos`.
    pub received: Gtids,
    /// The receiver waits for room on the disk of the relay log, though it counts as running.
    pub waits_for_disk: bool,
    /// The receiver's last error.
    pub receiver_error: ReplicationError,
    /// The applier's last error.
    pub applier_error: ReplicationError,
    /// The applier says that it has read all that was received, and waits for more.
    pub has_read_all: bool,
    /// `Seconds_Behind_Source`; `None` when the server says NULL.
    pub seconds_behind: Option<u64>,
    /// Configured delay, in seconds.
    pub delay_seconds: u32,
    /// How often the receiver tries to connect before it gives up for good, 0 for ever; `None` where
    /// that is no part of the channel.
    pub connect_tries: Option<u64>,
    /// The pause between two of these tries, in seconds.
    pub connect_pause_seconds: u64,
    /// How the replica finds its place.
    pub positioning: Positioning,
    /// Whether any replication filter is set.
    pub has_filters: bool,
    /// The account it replicates with.
    pub user: String,
    /// TLS and key options (I10: kept whenever the channel is pointed elsewhere).
    pub tls: ChannelTls,
}

/// What a replication channel points at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SourceLink {
    /// Nothing, or the `_` that a reset leaves.
    #[default]
    None,
    /// A source.
    Attached(InstanceKey),
    /// A source, detached reversibly: its host is written with `//` in front.
    Detached(InstanceKey),
}

impl SourceLink {
    /// The prefix of a host name that marks a reversibly detached source.
    pub const DETACHED_PREFIX: &'static str = "//";

    /// Reads the host and port of replication status.
    pub fn from_host_port(host: &str, port: u16) -> Self {
        let host = host.trim();
        if let Some(detached) = host.strip_prefix(Self::DETACHED_PREFIX) {
            Self::Detached(InstanceKey::new(detached, port))
        } else if host.is_empty() || host == "_" || port == 0 {
            Self::None
        } else {
            Self::Attached(InstanceKey::new(host, port))
        }
    }

    /// The source this channel replicates from, unless it is detached.
    pub fn attached(&self) -> Option<&InstanceKey> {
        match self {
            Self::Attached(key) => Some(key),
            Self::None | Self::Detached(_) => None,
        }
    }
}

/// The state of a replication thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ThreadState {
    /// There is no such thread: the server is no replica.
    #[default]
    Absent,
    /// Stopped.
    Stopped,
    /// Running.
    Running,
    /// Something in between, such as connecting.
    Other,
}

/// The last error of a replication thread; number 0 and no text when there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicationError {
    /// MySQL's error number.
    pub number: u32,
    /// MySQL's error text.
    pub text: String,
}

/// How a replica finds its place in the source's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Positioning {
    /// By file and position.
    #[default]
    File,
    /// By MySQL's GTID auto-position.
    AutoPosition,
    /// By MariaDB's GTID, `slave_pos` or `current_pos`.
    MariaDbGtid,
}

/// TLS and key options of a replication channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelTls {
    /// Whether the replica uses TLS towards its source.
    pub enabled: bool,
    /// CA file.
    pub ca_file: String,
    /// CA directory.
    pub ca_path: String,
    /// Certificate file.
    pub cert: String,
    /// Cipher list.
    pub cipher: String,
    /// Revocation list file.
    pub crl_file: String,
    /// Revocation list directory.
    pub crl_path: String,
    /// Private key file.
    pub key: String,
    /// Whether the source's certificate is verified.
    pub verify_server_cert: Option<bool>,
    /// TLS versions.
    pub version: String,
    /// TLS 1.3 cipher suites.
    pub ciphersuites: String,
    /// File with the source's RSA public key.
    pub public_key_path: String,
    /// Whether the public key is asked of the source.
    pub get_public_key: Option<bool>,
}

/// Semi-synchronous replication as the server tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SemiSync {
    /// Both sides are available (plugins loaded, or built in).
    pub available: bool,
    /// The source side uses the new variable names (`rpl_semi_sync_source_*`).
    pub source_side_is_new: bool,
    /// The replica side uses the new variable names (`rpl_semi_sync_replica_*`).
    pub replica_side_is_new: bool,
    /// Enabled as a source.
    pub source_enabled: bool,
    /// Enabled as a replica.
    pub replica_enabled: bool,
    /// How long a source waits for acknowledgements, in milliseconds.
    pub source_timeout_ms: u64,
    /// How many acknowledgements a source waits for.
    pub wait_for_replicas: u32,
    /// Active as a source.
    pub source_active: bool,
    /// Replicas that acknowledge.
    pub source_clients: u32,
    /// Active as a replica.
    pub replica_active: bool,
    /// Answer of the configured semi-sync query: 0 is asynchronous, higher goes first.
    pub priority: u32,
}

/// Where a server stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Data centre.
    pub data_center: String,
    /// Region.
    pub region: String,
    /// Physical environment, such as `production`.
    pub environment: String,
}

/// How welcome an instance is as the next primary. Ordered best first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PromotionRule {
    /// Must be promoted; known to the order of rules but cannot be registered.
    Must,
    /// Promoted before others.
    Prefer,
    /// No opinion.
    #[default]
    Neutral,
    /// Promoted only when nobody better is there.
    PreferNot,
    /// Never promoted.
    MustNot,
}

impl PromotionRule {
    /// The word people and programs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Prefer => "prefer",
            Self::Neutral => "neutral",
            Self::PreferNot => "prefer_not",
            Self::MustNot => "must_not",
        }
    }

    /// Reads the word; `None` when it is none of the five.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Must, Self::Prefer, Self::Neutral, Self::PreferNot, Self::MustNot]
            .into_iter()
            .find(|rule| rule.as_str() == text)
    }
}

impl Facts {
    /// The channel that places this server in a tree: the default channel. Some people name the
    /// only one there is, so that counts where nobody may write; on a writable server it brings
    /// in what others write, and the server is a primary. Other channels are shown and kept.
    pub fn main_channel(&self) -> Option<&Channel> {
        let default = self.channels.iter().find(|channel| channel.name.is_empty());
        default.or(match self.channels.as_slice() {
            [only] if self.read_only && !self.imports.contains(&only.name) => Some(only),
            _ => None,
        })
    }

    /// All channels but the main one.
    pub fn other_channels(&self) -> impl Iterator<Item = &Channel> {
        let main = self.main_channel().map(|channel| channel.name.as_str());
        self.channels.iter().filter(move |channel| Some(channel.name.as_str()) != main)
    }

    /// Takes note of the channels that only bring in what others write, by what is read now and
    /// what was `known` before: who is closed does not tell any more what it took itself for.
    pub fn note_imports(&mut self, known: &BTreeSet<String>) {
        let is_sure = self.channels.iter().any(|channel| channel.name.is_empty())
            || (!self.read_only && !self.replicas.is_empty());
        let named = self.channels.iter().map(|channel| &channel.name).filter(|it| !it.is_empty());
        self.imports = named.filter(|it| is_sure || known.contains(*it)).cloned().collect();
    }

    /// What becomes of it once it has forgotten its source: other channels stay.
    pub fn forget_source(&mut self) {
        let main = self.main_channel().map(|channel| channel.name.clone());
        self.channels.retain(|channel| Some(&channel.name) != main.as_ref());
        self.imports.extend(self.channels.iter().map(|channel| channel.name.clone()));
    }

    /// The source of the main channel, unless detached.
    pub fn source(&self) -> Option<&InstanceKey> {
        self.main_channel().and_then(|channel| channel.source.attached())
    }

    /// Whether its receiver, when it stops, first tells its source over a connection of its own: so
    /// it is on MariaDB where it acknowledges, since that became part of the server in 10.3.3. A
    /// source that does not answer keeps it for as long as that may take.
    pub fn tells_its_source(&self) -> bool {
        let does = self.version.is_mariadb() && self.version.numbers() >= (10, 3, 3);
        does && (self.semi_sync.replica_enabled || self.semi_sync.replica_active)
    }

    /// Its membership in a running group.
    pub fn membership(&self) -> Option<&GroupMember> {
        self.group.as_ref().filter(|group| group.is_member())
    }

    /// Whether it has no source but its group: it is nobody's replica, whoever is primary.
    pub fn follows_its_group(&self) -> bool {
        self.membership().is_some() && self.source().is_none()
    }

    /// Lag in seconds: the configured query's answer, else the main channel's own.
    pub fn lag_seconds(&self) -> Option<u64> {
        self.measured_lag_seconds
            .or_else(|| self.main_channel().and_then(|channel| channel.seconds_behind))
    }
}

impl Instance {
    /// An instance of which nothing is known but its name.
    pub fn unprobed(key: InstanceKey) -> Self {
        Self {
            key,
            facts: Arc::default(),
            health: Health::default(),
            binlog_unmoved_since: None,
            remembered: Remembered::default(),
        }
    }

    /// Whether the newest probe succeeded.
    pub fn is_valid(&self) -> bool {
        self.health.status == HealthStatus::Valid
    }

    /// Whether the newest probe failed. Not the opposite of [`Instance::is_valid`]: an instance
    /// that was not probed yet is neither.
    pub fn is_failed(&self) -> bool {
        matches!(self.health.status, HealthStatus::Invalid(_))
    }

    /// Whether any probe ever succeeded: what was never seen may be anything, or nothing.
    pub fn was_seen(&self) -> bool {
        self.health.last_seen.is_some()
    }

    /// What the server said instead of letting us look: then it lives.
    pub fn refusal(&self) -> Option<&ProbeFailure> {
        match &self.health.status {
            HealthStatus::Invalid(failure) if failure.kind.is_answer() => Some(failure),
            _ => None,
        }
    }

    /// Whether the newest probe failed but got the basic answers.
    pub fn is_partially_valid(&self) -> bool {
        matches!(&self.health.status, HealthStatus::Invalid(failure) if failure.partial)
    }
}
