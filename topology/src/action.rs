//! What can be done to a server, and what has to be said to it for that.
//!
//! Whether something should be done is not decided here: that is up to recoveries and commands.
//! An [`Action`] may be repeated: the second time changes nothing.

mod appliers;
mod clients;
mod credentials;
mod logs;
mod statements;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::binlog::BinlogCoordinates;
use crate::gtid::{GtidSet, Gtids};
use crate::key::InstanceKey;

pub use self::appliers::{LIST_RECEIVERS, have_nothing_left, list_appliers, out_of_room, waiting};
pub use self::clients::{holders, is_closing, is_listed, to_end};
pub use self::credentials::{Credentials, Secret};
pub use self::logs::{LogQuestion, LogSearch};
pub use self::statements::{
    EXECUTED_GTIDS, Expectation, INJECTED_MAX, LIST_BINARY_LOGS, LIST_EVERYBODY, PREVIOUS_GTIDS,
    Statement, Waited, WordingOptions, ask_heartbeat, beginning_of_log, heartbeat, statements,
};

/// One thing to do on one server. Replication is that of the main channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Stop threads of replication.
    Stop(Threads),
    /// Start threads of replication.
    Start(Threads),
    /// Start both threads, the applier to stop by itself right at this place in the source's log.
    /// Does not wait for it to get there.
    StartUntil(BinlogCoordinates),
    /// Replicate from another server; both threads must stand still. Keeps TLS options, channel,
    /// delay, filters and credentials (I10). A server that has no credentials of its own and none
    /// by query takes those that `to` keeps: it was a replica of the same account. They are no part of an
    /// action, which is stored and shown.
    ChangeSource {
        /// The server.
        to: InstanceKey,
        /// Where in its log to begin.
        place: Place,
    },
    /// Replicate with the account and the TLS files that the configured query tells; both threads
    /// must stand still. Impossible where no query is configured.
    RenewCredentials,
    /// Name another source without anything else, so that the server replicates from nobody but
    /// can be brought back. Both threads must stand still.
    Detach,
    /// Undo that. Both threads must stand still.
    Reattach,
    /// Stop replicating for good and forget the source.
    ForgetSource,
    /// Refuse writes, also of privileged accounts where the server knows how.
    SetReadOnly,
    /// Accept writes.
    SetWritable,
    /// End the connections of clients: not those of replicas, of the server itself, or our own.
    KillClients,
    /// Wait until all of this is executed.
    WaitExecuted {
        /// What: transactions, or a place in the source's log.
        until: Until,
        /// Not longer than this.
        at_most: Duration,
    },
    /// Switch acknowledging as a source on or off.
    SetSemiSyncSource(Switch),
    /// Switch acknowledging as a replica on or off; the receiver has to be restarted for it.
    SetSemiSyncReplica(Switch),
    /// Stay behind the source by so many seconds; the applier must stand still.
    SetDelay {
        /// Seconds.
        seconds: u32,
    },
    /// Execute nothing under these identifiers, so that replicas have them too.
    InjectEmpty(GtidSet),
    /// Empty the binary logs and the set of what was executed, then set what counts as purged.
    ResetBinaryLogs {
        /// What counts as executed afterwards.
        purged: GtidSet,
    },
    /// Write something to the binary log that changes nothing: replicas acknowledge it as they do a
    /// write, and with it all that was written before.
    WriteNothing,
    /// Begin a new binary log.
    FlushBinaryLogs,
    /// Drop binary logs before this one.
    PurgeBinaryLogs {
        /// The first to stay.
        to: String,
    },
    /// Pass over the event that the applier stopped at, at its next start; only where there are no
    /// GTIDs.
    SkipEvent,
    /// End what a connection is doing.
    KillQuery {
        /// The connection.
        id: u64,
    },
}

/// Threads of replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Threads {
    /// Receiver and applier.
    Both,
    /// The receiver (IO thread).
    Receiver,
    /// The applier (SQL thread).
    Applier,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// How a replica finds its place in another source's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// As it does now: by GTID if it uses GTID, else where it is.
    Same,
    /// By GTID, of the server's flavour.
    Gtid,
    /// By file and position, giving up GTID.
    File(BinlogCoordinates),
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// Transactions.
    Gtids(Gtids),
    /// A place in the source's log.
    Source(BinlogCoordinates),
}
