//! How one node is set up.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_topology::ledger::LedgerState;
use openraft::{Config, ConfigError, SnapshotPolicy};

use super::client::Connect;
use super::keys::Keys;
use crate::clock::Clock;

/// Entries sent in one go; they are also limited by bytes.
const ENTRIES_AT_ONCE: u64 = 64;
/// A follower that lacks more than this gets a snapshot even if the entries are there.
const LAG_MAX: u64 = 5_000;
/// Pauses before a peer that could not be reached is tried again.
const PAUSES: &str = "50ms 100ms 200ms ...500ms";
/// From so many seats on a leader without majority may keep a follower loyal whom the majority
/// needs to elect another one; so it falls silent now and then.
const MANY_SEATS: usize = 4;

/// All a node needs to take part.
pub struct RaftSetup {
    /// Where `raft.db` is. A local disk.
    pub folder: PathBuf,
    /// The seat of this node, `host:port`, as its peers reach it.
    pub name: String,
    /// All seats the raft begins with, this one included. Asked for only as long as this node is
    /// no member of any raft.
    pub seats: Vec<String>,
    /// Where peers are listened to.
    pub listener: TcpListener,
    /// Encrypts what peers say, if given; `connect` must do so too ([`super::Encrypted`]). TLS 1.3 only:
    /// proofs are bound to keys that are exported from it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Opens connections to peers.
    pub connect: Arc<dyn Connect>,
    /// What all peers know.
    pub keys: Keys,
    /// Where people reach the API of this node; told to peers who ask.
    pub api: String,
    /// What this machine calls itself; told to peers who ask.
    pub host: String,
    /// What time it is; told to peers who ask.
    pub clock: Arc<dyn Clock>,
    /// What is to be configured alike on all nodes, key by key: peers are told digests of it.
    pub shared_keys: BTreeMap<String, String>,
    /// What this node kept while it ran alone, if it did: a raft that begins goes on from it.
    pub kept_alone: Option<Arc<LedgerState>>,
    /// How long things take.
    pub timing: Timing,
    /// When the log is compacted.
    pub compaction: Compaction,
}

/// How long peers are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between signs of life of a leader.
    pub heartbeat: Duration,
    /// The least a follower waits before it stands for election, beside the lease of the leader.
    pub election_min: Duration,
    /// The most it waits, and the lease of a leader.
    pub election_max: Duration,
    /// How long sending a snapshot may take.
    pub snapshot: Duration,
}

impl Timing {
    /// Nodes in one data centre or region: a new leader within three seconds or a little more.
    pub const NEAR: Self = Self {
        heartbeat: Duration::from_millis(250),
        election_min: Duration::from_millis(750),
        election_max: Duration::from_millis(1_750),
        snapshot: Duration::from_secs(10),
    };
    /// Nodes with up to 100 ms between them: five to six seconds.
    pub const FAR: Self = Self {
        heartbeat: Duration::from_millis(500),
        election_min: Duration::from_millis(2_000),
        election_max: Duration::from_millis(3_000),
        snapshot: Duration::from_secs(30),
    };
}

/// When a snapshot is made, and what is kept of the log then.
#[derive(Debug, Clone, Copy)]
pub struct Compaction {
    /// After so many entries.
    pub entries: u64,
    /// And at this interval, if there were any.
    pub every: Duration,
    /// So many of the newest entries are kept for followers that were away for a moment.
    pub keep: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { entries: 1_000, every: Duration::from_secs(60 * 60), keep: 500 }
    }
}

impl RaftSetup {
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        config(self.timing, self.compaction, self.seats.len())
    }
}

/// What openraft is told.
pub(super) fn config(
    timing: Timing,
    compaction: Compaction,
    seats: usize,
) -> Result<Config, ConfigError> {
    let millis = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
    let Timing { heartbeat, election_min, election_max, snapshot } = timing;
    let probe = millis(election_max).saturating_mul(2);
    Config {
        cluster_name: "baton".into(),
        heartbeat_interval: millis(heartbeat),
        election_timeout_min: millis(election_min),
        election_timeout_max: millis(election_max),
        install_snapshot_timeout: millis(snapshot),
        max_payload_entries: ENTRIES_AT_ONCE,
        replication_lag_threshold: LAG_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(compaction.entries),
        max_in_snapshot_log_to_keep: compaction.keep,
        backoff: PAUSES.into(),
        enable_pre_vote: Some(true),
        // A term is a fencing token: whoever comes back after a restart gets a new one.
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        quorum_loss_probe_interval: (seats >= MANY_SEATS).then_some(probe),
        ..Config::default()
    }
    .validate()
}
