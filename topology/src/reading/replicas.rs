//! The replicas of a source, as it sees them itself.
//!
//! There are two lists. Registrations tell a port, and a host only where `report_host` is set.
//! Connections tell the address they come from, but no port. The server UUID joins the two where
//! the server tells it (MySQL with performance schema); elsewhere they are joined only where no
//! mistake is possible, and the source's own port stands in for a port that cannot be known.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::table::Row;
use super::{Answers, Question, RawTable, ReplicaListing, host};
use crate::key::InstanceKey;
use crate::membership::{REGISTERED_MAX, Registered};

/// One registered replica.
#[derive(Debug, Clone)]
struct Registration {
    uuid: String,
    host: String,
    port: u16,
}

/// One connection that a binary log is sent to.
#[derive(Debug, Clone)]
struct Connection {
    uuid: String,
    host: String,
}

/// Lists the replicas of the server that goes by the name `source`; the first [`REGISTERED_MAX`] of them.
pub(super) fn read(
    source: &InstanceKey,
    answers: &Answers,
    listing: ReplicaListing,
) -> BTreeSet<InstanceKey> {
    let mut keys = all(source, answers, listing);
    while keys.len() > REGISTERED_MAX {
        keys.pop_last();
    }
    keys
}

fn all(source: &InstanceKey, answers: &Answers, listing: ReplicaListing) -> BTreeSet<InstanceKey> {
    let mut registrations = registrations(source, answers.get(&Question::ReplicaHosts));
    let table = answers.get(&Question::DumpThreads).or(answers.get(&Question::Processlist));
    let connections = connections(source, table);
    if answers.contains_key(&Question::DumpThreads) {
        registrations.retain(|it| is_backed(it, &connections));
    }
    if listing == ReplicaListing::Registrations {
        let is_named = |it: &Registration| !it.host.is_empty() && it.port > 0;
        let (named, others): (Vec<_>, Vec<_>) = registrations.iter().cloned().partition(is_named);
        if !named.is_empty() {
            let keys = named.iter().map(|it| InstanceKey::new(it.host.as_str(), it.port));
            let mut keys: BTreeSet<_> = keys.collect();
            if !others.is_empty() {
                keys.extend(unnamed(source, &named, &others, connections));
            }
            return keys;
        }
    }
    if connections.is_empty() {
        return registered_only(source, &registrations);
    }
    join(source, &registrations, &connections)
}

/// Who the replicas are that registered, and those that a binary log is sent to; `None` where the list
/// of those that registered cannot be read, or is too long.
pub(super) fn registered(answers: &Answers) -> Option<BTreeSet<Registered>> {
    let table = answers.get(&Question::ReplicaHosts)?;
    let tells_ids = table.columns.iter().any(|it| it.eq_ignore_ascii_case("Server_id"));
    let uuid = |text: String| Uuid::parse_str(text.trim()).ok().filter(|it| !it.is_nil());
    let by_list = table.rows().map(|row| Registered {
        server_uuid: uuid(row.text_any(&["Replica_UUID", "Slave_UUID"])),
        server_id: row.number("Server_id").unwrap_or(0),
    });
    let threads = answers.get(&Question::DumpThreads).into_iter().flat_map(RawTable::rows);
    let by_thread = threads.filter_map(|row| {
        Some(Registered { server_uuid: Some(uuid(row.text("Replica_UUID"))?), server_id: 0 })
    });
    let all: BTreeSet<Registered> = by_list.chain(by_thread).take(REGISTERED_MAX + 1).collect();
    (tells_ids && all.len() <= REGISTERED_MAX).then_some(all)
}

/// Whether a replica that registered may be one that is connected. Everybody who may replicate can
/// register anything; where connections are told with their UUIDs, one without leads nowhere.
fn is_backed(registration: &Registration, connections: &[Connection]) -> bool {
    connections.iter().any(|it| {
        it.uuid.is_empty() || registration.uuid.is_empty() || it.uuid == registration.uuid
    })
}

/// Those who registered without a name, by the connections that are left once everybody with a name
/// has one. Where it is not certain which ones are left, they stay unknown.
fn unnamed(
    source: &InstanceKey,
    named: &[Registration],
    others: &[Registration],
    mut connections: Vec<Connection>,
) -> BTreeSet<InstanceKey> {
    for registration in named {
        let uuid = &registration.uuid;
        let own = connections.iter().position(|it| !it.uuid.is_empty() && it.uuid == *uuid);
        let alike = || connections.iter().position(|it| it.host == registration.host);
        if let Some(index) = own.or_else(alike) {
            connections.remove(index);
        }
    }
    connections
        .retain(|it| !named.iter().any(|named| !it.uuid.is_empty() && named.uuid == it.uuid));
    let is_known = |it: &Connection| others.iter().any(|other| other.uuid == it.uuid);
    if connections.len() > others.len() {
        connections.retain(|it| !it.uuid.is_empty() && is_known(it));
    }
    join(source, others, &connections)
}

/// Without any list of connections, what registered is all there is to go by.
fn registered_only(source: &InstanceKey, registrations: &[Registration]) -> BTreeSet<InstanceKey> {
    let named = registrations.iter().filter(|registration| !registration.host.is_empty());
    named.map(|r| InstanceKey::new(r.host.as_str(), port_or(source, r.port))).collect()
}

fn join(
    source: &InstanceKey,
    registrations: &[Registration],
    connections: &[Connection],
) -> BTreeSet<InstanceKey> {
    let by_uuid: BTreeMap<&str, u16> = registrations
        .iter()
        .filter(|registration| !registration.uuid.is_empty())
        .map(|registration| (registration.uuid.as_str(), registration.port))
        .collect();
    let ports: BTreeSet<u16> =
        registrations.iter().map(|registration| port_or(source, registration.port)).collect();
    let hosts: BTreeSet<&str> =
        connections.iter().map(|connection| connection.host.as_str()).collect();

    let mut keys = BTreeSet::new();
    for connection in connections {
        let host = connection.host.as_str();
        let registered: BTreeSet<u16> = match by_uuid.get(connection.uuid.as_str()) {
            Some(port) => BTreeSet::from([port_or(source, *port)]),
            None => ports_of_host(source, registrations, host),
        };
        // All on one host: every registered port is a port of that host.
        let is_unmistakable = hosts.len() == 1 || ports.len() == 1;
        if !registered.is_empty() {
            keys.extend(registered.iter().map(|port| InstanceKey::new(host, *port)));
        } else if is_unmistakable && !ports.is_empty() {
            keys.extend(ports.iter().map(|port| InstanceKey::new(host, *port)));
        } else {
            keys.insert(InstanceKey::new(host, source.port()));
        }
    }
    keys
}

/// The ports of the registrations under this host name.
fn ports_of_host(
    source: &InstanceKey,
    registrations: &[Registration],
    host: &str,
) -> BTreeSet<u16> {
    let same = registrations.iter().filter(|registration| registration.host == host);
    same.map(|registration| port_or(source, registration.port)).collect()
}

fn port_or(source: &InstanceKey, port: u16) -> u16 {
    if port > 0 { port } else { source.port() }
}

fn registrations(source: &InstanceKey, table: Option<&RawTable>) -> Vec<Registration> {
    let read = |row: Row<'_>| Registration {
        uuid: row.text_any(&["Replica_UUID", "Slave_UUID"]).to_ascii_lowercase(),
        // MariaDB fills in the address of the connection where report_host is not set.
        host: seen_from_afar(source, host::told(&row.text("Host")).unwrap_or_default()).to_owned(),
        port: row.number("Port").unwrap_or(0),
    };
    table.map(|table| table.rows().map(read).collect()).unwrap_or_default()
}

fn connections(source: &InstanceKey, table: Option<&RawTable>) -> Vec<Connection> {
    let Some(table) = table else { return Vec::new() };
    let mut connections = Vec::new();
    for row in table.rows() {
        // SHOW PROCESSLIST lists everybody.
        if row.get("Command").is_some_and(|command| !command.starts_with("Binlog Dump")) {
            continue;
        }
        let (address, host) = (row.text("Address"), row.text("Host"));
        let host = if address.is_empty() { strip_port(host.trim()) } else { address.trim() };
        let Some(host) = host::told(host) else { continue };
        let uuid = row.text("Replica_UUID").to_ascii_lowercase();
        connections.push(Connection { uuid, host: seen_from_afar(source, host).to_owned() });
    }
    connections
}

/// A replica that connects over loopback runs beside its source, and only there does the address
/// mean that host.
fn seen_from_afar<'a>(source: &'a InstanceKey, host: &'a str) -> &'a str {
    if is_loopback(host) { source.host() } else { host }
}

/// Processlists show `host:port` with the client's port, which is of no use to anybody.
fn strip_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(host, |(address, _)| address);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            // `::1` alone is an address; `::1:40112` is an address with a client's port, which
            // servers write without brackets.
            let is_bare_v6 = host.parse::<std::net::Ipv6Addr>().is_ok()
                && name.parse::<std::net::Ipv6Addr>().is_err();
            if is_bare_v6 { host } else { name }
        }
        _ => host,
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
