//! Whether one server may replicate from another, and whether a replica may be moved at all.
//!
//! Each answer but yes has a reason that a person can read (I13). Nothing here looks at the place
//! of a server in its topology: see [`super::choose`].

use crate::gtid::Gtids;
use crate::instance::{Facts, Instance, Positioning};
use crate::policy::Policy;
use crate::status::{excess_lag_seconds, is_replica, is_replicating};

use super::Refused;

/// How replicas are moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovePolicy {
    /// A replica without filters does not go below one with filters.
    pub verify_filters: bool,
    /// So many replicas are moved at a time.
    pub parallel: usize,
    /// How long a replica may take to get to where another one stands.
    pub catch_up: std::time::Duration,
}

impl Default for MovePolicy {
    /// What holds without any configuration.
    fn default() -> Self {
        Self { verify_filters: false, parallel: 5, catch_up: std::time::Duration::from_secs(30) }
    }
}

/// By which means a replica finds its place below another source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By whatever it uses.
    Any,
    /// By GTID.
    Gtid,
}

/// Whether `replica` can replicate from `source`.
///
/// # Errors
/// The reason why it cannot.
pub fn can_replicate_from(
    replica: &Instance,
    source: &Instance,
    policy: &Policy,
    how: How,
) -> Result<(), Refused> {
    let (ours, theirs) = (&*replica.facts, &*source.facts);
    let (key, source_key) = (&replica.key, &source.key);
    if key == source_key {
        return refuse(format!("instance cannot replicate from itself: {key}"));
    }
    if !theirs.binlog.enabled {
        return refuse(format!("instance does not have binary logs enabled: {source_key}"));
    }
    if is_replica(source) && !theirs.binlog.logs_replica_updates {
        return refuse(format!("instance does not have log_slave_updates enabled: {source_key}"));
    }
    can_read(replica, source, policy)?;
    if ours.server_id == theirs.server_id {
        let id = ours.server_id;
        return refuse(format!("Identical server id: {source_key}, {key} both have {id}"));
    }
    if let (Some(uuid), true) = (ours.server_uuid, ours.server_uuid == theirs.server_uuid) {
        return refuse(format!("Identical server UUID: {source_key}, {key} both have {uuid}"));
    }
    let (delay, source_delay) = (delay(ours), delay(theirs));
    let tolerated = policy.reasonable_maintenance_lag.as_secs();
    if source_delay > delay && u64::from(source_delay) > tolerated {
        return refuse(format!(
            "{source_key} has higher SQL_Delay ({source_delay} seconds) than {key} does ({delay} seconds)"
        ));
    }
    match how {
        How::Any => Ok(()),
        How::Gtid => has_all_it_needs(replica, source),
    }
}

/// Whether a replica that finds its place by GTID could go on below another source, whatever that
/// source is doing now.
///
/// # Errors
/// The reason why it could not.
pub(crate) fn can_go_on(
    replica: &Instance,
    source: &Instance,
    policy: &Policy,
) -> Result<(), Refused> {
    let (ours, theirs) = (&replica.facts.version, &source.facts.version);
    if ours.is_mariadb() != theirs.is_mariadb() {
        return refuse(format!("{} is of another kind: {theirs}", source.key));
    }
    if is_same_server(replica, source) {
        return refuse(format!("{} is {} under another name", replica.key, source.key));
    }
    if source.facts.offline_mode {
        return refuse(format!("{} is in offline_mode and lets no replica in", source.key));
    }
    can_read(replica, source, policy)?;
    has_all_it_needs(replica, source)
}

/// Whether two names are of one server. MariaDB has no UUID to tell that by.
pub(crate) fn is_same_server(one: &Instance, other: &Instance) -> bool {
    let uuid = one.facts.server_uuid;
    uuid.is_some() && uuid == other.facts.server_uuid
}

/// Whether the replica understands what the source writes.
fn can_read(replica: &Instance, source: &Instance, policy: &Policy) -> Result<(), Refused> {
    let (ours, theirs) = (&*replica.facts, &*source.facts);
    let (key, source_key) = (&replica.key, &source.key);
    let is_older = ours.version.major() < theirs.version.major();
    if is_older && !policy.recovery.lower_replica_version_allowed {
        return refuse(format!(
            "instance {key} has version {}, which is lower than {} on {source_key}",
            ours.version, theirs.version
        ));
    }
    let logs = ours.binlog.enabled && ours.binlog.logs_replica_updates;
    if logs && ours.binlog.format < theirs.binlog.format {
        return refuse(format!(
            "Cannot replicate from {} binlog format on {source_key} to {} on {key}",
            theirs.binlog.format.as_str(),
            ours.binlog.format.as_str()
        ));
    }
    if policy.moves.verify_filters && has_filters(theirs) && !has_filters(ours) {
        return refuse(format!("{source_key} has replication filters"));
    }
    Ok(())
}

/// Whether the source still has every transaction that the replica lacks.
fn has_all_it_needs(replica: &Instance, source: &Instance) -> Result<(), Refused> {
    let (key, source_key) = (&replica.key, &source.key);
    let group = source.facts.membership().filter(|group| group.has_own_gtids);
    let is_there = replica.facts.source() == Some(source_key);
    if let Some(group) = group.filter(|_| !is_there) {
        return refuse(format!(
            "the nodes of Galera cluster {} log transactions under GTIDs of their own \
             (wsrep_gtid_mode), so the place of {key} in the log of {source_key} is not known",
            group.name
        ));
    }
    let Gtids::MySql(executed) = &replica.facts.gtid.executed else { return Ok(()) };
    let missing = source.facts.gtid.purged.subtract(executed);
    if missing.is_empty() {
        return Ok(());
    }
    refuse(format!(
        "{source_key} has purged transactions that {key} needs: {}",
        shortened(&missing.to_string())
    ))
}

/// Whether both find each other's place by GTID: `replica` uses it and `source` knows its kind.
pub fn is_gtid_compatible(replica: &Facts, source: &Facts) -> bool {
    match replica.main_channel().map(|channel| channel.positioning) {
        Some(Positioning::AutoPosition) => source.gtid.is_supported(),
        Some(Positioning::MariaDbGtid) => source.version.is_mariadb(),
        Some(Positioning::File) | None => false,
    }
}

/// Whether the replica finds its place by GTID.
pub(super) fn uses_gtid(facts: &Facts) -> bool {
    let positioning = facts.main_channel().map(|channel| channel.positioning);
    positioning.is_some_and(|positioning| positioning != Positioning::File)
}

/// Whether a replica may be moved by file and position, for which it must replicate soundly.
///
/// # Errors
/// The reason why it may not.
pub fn can_move(replica: &Instance, policy: &Policy) -> Result<(), Refused> {
    can_move_by_gtid(replica)?;
    let key = &replica.key;
    if !is_replicating(replica) {
        return refuse(format!("{key}: instance is not replicating"));
    }
    // A delayed replica lags by intent.
    let Some(lag) = excess_lag_seconds(replica) else {
        return refuse(format!("{key}: cannot determine replication lag"));
    };
    if lag > policy.reasonable_maintenance_lag.as_secs() {
        return refuse(format!("{key}: lags too much"));
    }
    Ok(())
}

/// Whether a replica may be moved by GTID: it is enough that it answers.
///
/// # Errors
/// The reason why it may not.
pub fn can_move_by_gtid(replica: &Instance) -> Result<(), Refused> {
    if replica.is_valid() {
        return Ok(());
    }
    refuse(format!("{}: last check invalid", replica.key))
}

fn has_filters(facts: &Facts) -> bool {
    facts.channels.iter().any(|channel| channel.has_filters)
}

fn delay(facts: &Facts) -> u32 {
    facts.main_channel().map_or(0, |channel| channel.delay_seconds)
}

fn refuse<T>(reason: String) -> Result<T, Refused> {
    Err(Refused(reason))
}

/// GTID sets may be very long; a message shows their beginning.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 300;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
