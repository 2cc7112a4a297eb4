//! What the web works with: ports of the living system, and what the node is called.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use baton_actors::certificates::Certificates;
use baton_actors::clock::Clock;
use baton_actors::hooks::HookRunner;
use baton_actors::lateness::Lateness;
use baton_actors::ports::{
    Discovery, History, Ledger, Operations, Recoveries, SnapshotReader, StoreHealth,
};
use baton_topology::recovery::gate::Runner;
use baton_topology::time::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

/// Everything handlers reach.
#[derive(Clone)]
pub struct Services {
    /// The newest fleet.
    pub snapshot: SnapshotReader,
    /// What people set.
    pub ledger: Arc<dyn Ledger>,
    /// Which instances are watched.
    pub discovery: Arc<dyn Discovery>,
    /// What is done about problems.
    pub recoveries: Arc<dyn Recoveries>,
    /// The past.
    pub history: Arc<dyn History>,
    /// What servers show of themselves under TLS.
    pub certificates: Arc<Certificates>,
    /// Changes servers.
    pub operations: Arc<dyn Operations>,
    /// Which user processes run.
    pub hooks: HookRunner,
    /// How the store is doing.
    pub store_health: watch::Receiver<StoreHealth>,
    /// Which threads are stuck.
    pub lateness: Lateness,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Reads the configuration again.
    pub reloader: Arc<dyn Reload>,
    /// Where all metrics are registered.
    pub registry: Arc<Mutex<Registry>>,
    /// The node.
    pub node: Node,
    /// The raft it takes part in, if it does.
    pub raft: Option<baton_actors::raft::RaftNode>,
}

impl Services {
    /// Who would run a recovery that is only supposed.
    pub(crate) fn runner(&self) -> Runner {
        let Node { hostname, token, .. } = &self.node;
        Runner { uid: "".into(), node: hostname.clone(), token: token.clone() }
    }
}

/// What the node is called.
#[derive(Debug, Clone)]
pub struct Node {
    /// Host name.
    pub hostname: String,
    /// A random text of this process.
    pub token: String,
    /// Version of the program.
    pub version: String,
    /// Where state is kept, in words.
    pub backend: String,
    /// When it started.
    pub started_at: Timestamp,
}

/// Reads the configuration again, all or nothing.
pub trait Reload: Send + Sync + 'static {
    /// Loads the configuration, with `extra` laid over its files, and puts it in force.
    ///
    /// # Errors
    /// What is wrong with it, for a person; the old configuration stays in force.
    fn reload(&self, extra: Option<PathBuf>) -> Result<(), String>;
}
