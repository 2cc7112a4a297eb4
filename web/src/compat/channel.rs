//! Replication channels. The old API knows only one per instance; this shape is ours, in its style.

use baton_topology::instance::{Channel, Positioning, ThreadState};
use baton_topology::names::HostNames;
use serde::Serialize;

use super::instance::source_key;
use super::json::{BinlogJson, KeyJson, NullInt};

/// One channel.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ChannelJson {
    name: String,
    /// The channel that places the instance in a topology.
    is_main: bool,
    source_key: KeyJson,
    #[serde(rename = "SourceUUID")]
    source_uuid: String,
    #[serde(rename = "IOThreadState")]
    io_thread_state: &'static str,
    #[serde(rename = "SQLThreadState")]
    sql_thread_state: &'static str,
    #[serde(rename = "LastIOError")]
    last_io_error: String,
    #[serde(rename = "LastSQLError")]
    last_sql_error: String,
    seconds_behind_source: NullInt,
    #[serde(rename = "SQLDelay")]
    sql_delay: u32,
    positioning: &'static str,
    read_binlog_coordinates: BinlogJson,
    exec_binlog_coordinates: BinlogJson,
    received_gtid_set: String,
}

impl ChannelJson {
    /// Renders a channel.
    pub(crate) fn of(channel: &Channel, is_main: bool, names: &HostNames) -> Self {
        Self {
            name: channel.name.clone(),
            is_main,
            source_key: source_key(&channel.source, names),
            source_uuid: channel.source_uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
            io_thread_state: state(channel.receiver),
            sql_thread_state: state(channel.applier),
            last_io_error: channel.receiver_error.text.clone(),
            last_sql_error: channel.applier_error.text.clone(),
            seconds_behind_source: channel.seconds_behind.into(),
            sql_delay: channel.delay_seconds,
            positioning: match channel.positioning {
                Positioning::File => "file",
                Positioning::AutoPosition => "auto_position",
                Positioning::MariaDbGtid => "mariadb_gtid",
            },
            read_binlog_coordinates: BinlogJson::binary(&channel.read),
            exec_binlog_coordinates: BinlogJson::binary(&channel.executed),
            received_gtid_set: channel.received.to_string(),
        }
    }
}

fn state(thread: ThreadState) -> &'static str {
    match thread {
        ThreadState::Absent => "absent",
        ThreadState::Stopped => "stopped",
        ThreadState::Running => "running",
        ThreadState::Other => "other",
    }
}
