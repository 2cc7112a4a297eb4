//! Events that a server runs by a schedule of its own.

use serde::{Deserialize, Serialize};

/// How many events there are, as far as the account may see them: those of databases on which it has the
/// `EVENT` privilege.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Those that came by replication, and do not run here: `REPLICA_SIDE_DISABLED`, which older servers
    /// call `SLAVESIDE_DISABLED`. They stay so when the server becomes a primary.
    pub replica_side_disabled: u64,
    /// Those that run here.
    pub enabled: u64,
    /// Whether the event scheduler is on.
    pub is_scheduler_on: bool,
}
