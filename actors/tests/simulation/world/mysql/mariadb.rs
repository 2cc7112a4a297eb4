//! What MariaDB tells in its own words: positions instead of sets. All write in one domain, where
//! numbers go on whoever writes.

use baton_topology::gtid::{GtidSet, Gtids, MariaDbPosition};
use baton_topology::instance::Facts;
use baton_topology::version::Version;
use uuid::Uuid;

use super::{Line, Server};

/// For each server that wrote something in the set the number of its last transaction.
fn last_numbers(set: &GtidSet) -> Vec<(Uuid, u64)> {
    let text = set.to_string();
    let runs = text.split(',').filter_map(|run| {
        let (uuid, numbers) = run.trim().split_once(':')?;
        let last = numbers.rsplit([':', '-']).next()?;
        Some((uuid.parse().ok()?, last.parse().ok()?))
    });
    runs.collect()
}

pub(super) fn last_number(set: &GtidSet) -> u64 {
    last_numbers(set).into_iter().map(|(_, number)| number).max().unwrap_or_default()
}

fn server_id(uuid: Uuid) -> u128 {
    uuid.as_u128()
}

/// As in `gtid_binlog_state`. Read as a position, the furthest of all counts.
fn state(set: &GtidSet) -> String {
    let each = last_numbers(set);
    let each = each.into_iter().map(|(uuid, number)| format!("0-{}-{number}", server_id(uuid)));
    each.collect::<Vec<_>>().join(",")
}

pub(crate) fn position(set: &GtidSet) -> MariaDbPosition {
    state(set).parse().expect("it is a position")
}

/// `Gtid_IO_Pos`.
pub(super) fn received(server: &Server, line: &Line) -> MariaDbPosition {
    position(&place(server, line))
}

/// What a replica counts when it says where it is.
fn place(server: &Server, line: &Line) -> GtidSet {
    let received = server.replicated.union(&line.received);
    if line.counts_own { received.union(&server.executed) } else { received }
}

/// The source has to have the last transaction that the replica names.
pub(super) fn is_turned_away(replica: &Server, source: &Server) -> bool {
    let Some(line) = &replica.channel else { return false };
    let last = last_numbers(&place(replica, line)).into_iter().max_by_key(|(_, number)| *number);
    let Some((uuid, number)) = last else { return false };
    let named: GtidSet = format!("{uuid}:{number}").parse().expect("it is one");
    !source.logged.is_empty() && !source.logged.contains(&named)
}

/// What differs of a look at MariaDB.
pub(super) fn tell(server: &Server, facts: &mut Facts) {
    facts.version = Version::parse("10.11.14-MariaDB-log", "Debian");
    facts.server_uuid = None;
    facts.super_read_only = false;
    facts.replication_credentials_available = true;
    facts.gtid.mode = String::new();
    facts.gtid.executed = Gtids::MariaDb(position(&server.executed));
    facts.gtid.replicated = position(&server.replicated);
    facts.gtid.logged = position(&server.logged);
    facts.gtid.logged_by = state(&server.logged).parse().expect("it is a state");
    facts.semi_sync.source_side_is_new = false;
    facts.semi_sync.replica_side_is_new = false;
}
