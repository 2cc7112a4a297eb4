//! Replication channels, from `SHOW REPLICA STATUS`, `SHOW SLAVE STATUS` or MariaDB's
//! `SHOW ALL SLAVES STATUS`.

use uuid::Uuid;

use super::table::{self, RawTable, Row, is_on};
use super::{ReadingError, host};
use crate::binlog::BinlogCoordinates;
use crate::instance::{
    Channel, ChannelTls, Positioning, ReplicationError, SourceLink, ThreadState,
};

/// Group replication's own channels: they follow the group, not a source.
const GROUP_CHANNEL_PREFIX: &str = "group_replication_";

/// What an applier that waits for more says, in whatever words besides.
const READ_ALL: &str = "has read all relay log";

/// What a receiver says that waits for room on its disk. A MariaDB server does not get to tell.
const WAITS_FOR_DISK: &str = "Waiting for disk space";

/// Columns that are empty unless a replication filter is set.
const FILTERS: [&str; 9] = [
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Rewrite_DB",
    "Replicate_Do_Domain_Ids",
    "Replicate_Ignore_Domain_Ids",
];

/// MySQL has at most 256 channels; more than this are not read.
const CHANNELS_MAX: usize = 1_000;

/// Reads all channels, ordered by name.
pub(super) fn read(status: &RawTable, is_mariadb: bool) -> Result<Vec<Channel>, ReadingError> {
    let mut channels = status
        .rows()
        .filter(|row| !channel_name(row).starts_with(GROUP_CHANNEL_PREFIX))
        .take(CHANNELS_MAX)
        .map(|row| channel(&row, is_mariadb))
        .collect::<Result<Vec<_>, _>>()?;
    channels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(channels)
}

fn channel_name(row: &Row<'_>) -> String {
    row.text_any(&["Channel_Name", "Connection_name"])
}

fn channel(row: &Row<'_>, is_mariadb: bool) -> Result<Channel, ReadingError> {
    let host = row.text_any(&["Source_Host", "Master_Host"]);
    let port = row.number_any(&["Source_Port", "Master_Port"]).unwrap_or(0);
    let received = row.text_any(&["Retrieved_Gtid_Set", "Gtid_IO_Pos"]);
    let seconds_behind = row.number_any::<i64>(&["Seconds_Behind_Source", "Seconds_Behind_Master"]);
    Ok(Channel {
        name: channel_name(row),
        source: SourceLink::from_host_port(&host::of_source(&host), port),
        source_uuid: row
            .get_any(&["Source_UUID", "Master_UUID"])
            .and_then(|text| Uuid::parse_str(&text).ok()),
        receiver: thread_state(row, &["Replica_IO_Running", "Slave_IO_Running"]),
        applier: thread_state(row, &["Replica_SQL_Running", "Slave_SQL_Running"]),
        read: coordinates(
            row,
            &["Source_Log_File", "Master_Log_File"],
            &["Read_Source_Log_Pos", "Read_Master_Log_Pos"],
        ),
        executed: coordinates(
            row,
            &["Relay_Source_Log_File", "Relay_Master_Log_File"],
            &["Exec_Source_Log_Pos", "Exec_Master_Log_Pos"],
        ),
        relay: coordinates(row, &["Relay_Log_File"], &["Relay_Log_Pos"]),
        received: table::gtids(&received, is_mariadb, "received GTID set")?,
        waits_for_disk: row
            .get_any(&["Replica_IO_State", "Slave_IO_State"])
            .is_some_and(|state| state.contains(WAITS_FOR_DISK)),
        receiver_error: error(row, "Last_IO_Errno", "Last_IO_Error"),
        applier_error: error(row, "Last_SQL_Errno", "Last_SQL_Error"),
        has_read_all: row
            .get_any(&["Replica_SQL_Running_State", "Slave_SQL_Running_State"])
            .is_some_and(|state| state.contains(READ_ALL)),
        seconds_behind: seconds_behind.map(|seconds| u64::try_from(seconds).unwrap_or(0)),
        delay_seconds: row.number("SQL_Delay").unwrap_or(0),
        connect_tries: row.number_any(&["Source_Retry_Count", "Master_Retry_Count"]),
        connect_pause_seconds: row.number("Connect_Retry").unwrap_or(0),
        positioning: positioning(row),
        has_filters: FILTERS.iter().any(|name| row.get(name).is_some_and(|text| !text.is_empty())),
        user: row.text_any(&["Source_User", "Master_User"]),
        tls: tls(row),
    })
}

fn thread_state(row: &Row<'_>, columns: &[&str]) -> ThreadState {
    match row.get_any(columns) {
        None => ThreadState::Absent,
        Some(text) if text.eq_ignore_ascii_case("yes") => ThreadState::Running,
        Some(text) if text.eq_ignore_ascii_case("no") => ThreadState::Stopped,
        Some(_) => ThreadState::Other,
    }
}

fn coordinates(row: &Row<'_>, file: &[&str], position: &[&str]) -> BinlogCoordinates {
    BinlogCoordinates::new(row.text_any(file), row.number_any(position).unwrap_or(0))
}

fn error(row: &Row<'_>, number: &str, text: &str) -> ReplicationError {
    ReplicationError { number: row.number(number).unwrap_or(0), text: row.text(text) }
}

fn positioning(row: &Row<'_>) -> Positioning {
    if row.flag("Auto_Position") {
        Positioning::AutoPosition
    } else if row.get("Using_Gtid").is_some_and(|using| !using.eq_ignore_ascii_case("no")) {
        Positioning::MariaDbGtid
    } else {
        Positioning::File
    }
}

fn tls(row: &Row<'_>) -> ChannelTls {
    let optional_flag =
        |columns: &[&str]| row.get_any(columns).filter(|v| !v.is_empty()).map(|v| is_on(&v));
    ChannelTls {
        // "Ignored" means asked for, on a server built without TLS.
        enabled: row
            .get_any(&["Source_SSL_Allowed", "Master_SSL_Allowed"])
            .is_some_and(|value| is_on(&value)),
        ca_file: row.text_any(&["Source_SSL_CA_File", "Master_SSL_CA_File"]),
        ca_path: row.text_any(&["Source_SSL_CA_Path", "Master_SSL_CA_Path"]),
        cert: row.text_any(&["Source_SSL_Cert", "Master_SSL_Cert"]),
        cipher: row.text_any(&["Source_SSL_Cipher", "Master_SSL_Cipher"]),
        crl_file: row.text_any(&["Source_SSL_Crl", "Master_SSL_Crl"]),
        crl_path: row.text_any(&["Source_SSL_Crlpath", "Master_SSL_Crlpath"]),
        key: row.text_any(&["Source_SSL_Key", "Master_SSL_Key"]),
        verify_server_cert: optional_flag(&[
            "Source_SSL_Verify_Server_Cert",
            "Master_SSL_Verify_Server_Cert",
        ]),
        version: row.text_any(&["Source_TLS_Version", "Master_TLS_Version"]),
        ciphersuites: row.text_any(&["Source_TLS_Ciphersuites", "Master_TLS_Ciphersuites"]),
        public_key_path: row.text_any(&["Source_public_key_path", "Master_public_key_path"]),
        get_public_key: optional_flag(&["Get_Source_public_key", "Get_master_public_key"]),
    }
}
