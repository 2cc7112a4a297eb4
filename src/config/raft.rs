//! The keys of raft: names of seats, who is let in, and what must not go over a network in the clear.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use baton_topology::names::is_same_seat;

use super::reader::Reader;
use super::types::{
    Config, Listen, Raft, RaftChannel, RaftConfirmation, RaftSecret, RaftTiming, RaftTls,
};

pub(super) fn raft(r: &mut Reader<'_>) -> Raft {
    let port = r.port("DefaultRaftPort");
    let bind = seat(&r.text("RaftBind"), port);
    let advertise = r.some_text("RaftAdvertise").map_or_else(|| bind.clone(), |it| seat(&it, port));
    let mut nodes: Vec<String> = r.list("RaftNodes").iter().map(|it| seat(it, port)).collect();
    if nodes.is_empty() {
        nodes.push(advertise.clone());
    }
    let advertise = listed(advertise, &nodes, r);
    let timing = r.choice("RaftTiming", &[("near", RaftTiming::Near), ("far", RaftTiming::Far)]);
    let confirmations = [
        ("majority", RaftConfirmation::Majority),
        ("all", RaftConfirmation::All),
        ("leader", RaftConfirmation::Leader),
    ];
    let bail_out = Some(r.seconds("RaftBailOutSeconds")).filter(|it| !it.is_zero());
    let raft = Raft {
        enabled: r.flag("RaftEnabled"),
        bind,
        advertise,
        data_folder: r.path("RaftDataDir"),
        nodes,
        secret: RaftSecret::None,
        channel: RaftChannel::Made,
        timing,
        confirmation: r.choice("RaftFailureConfirmation", &confirmations),
        data_center: r.some_text("RaftDataCenter"),
        shared_probing: r.flag("RaftSharedProbing"),
        bail_out: bail_out.map(|it: Duration| it.max(Duration::from_secs(1))),
    };
    if !raft.enabled {
        return raft;
    }
    if raft.data_folder.is_none() {
        r.invalid("RaftDataDir", "is needed because RaftEnabled is true");
    }
    check_seats(&raft, r);
    let channel = match tls(r) {
        Some(tls) => RaftChannel::Given(tls),
        None if r.flag("RaftAllowPlainText") => plain_text(&raft, r),
        None => RaftChannel::Made,
    };
    Raft { secret: secret(&channel, r), channel, ..raft }
}

/// A seat with its port.
fn seat(text: &str, port: u16) -> String {
    let text = text.trim();
    let has_port = match text.rsplit_once(':') {
        // The colons of a bare IPv6 address part no port.
        Some((host, _)) => !host.contains(':') || host.ends_with(']'),
        None => false,
    };
    match (text.is_empty() || has_port, text.contains(':') && !text.starts_with('[')) {
        (true, _) => text.to_owned(),
        (false, true) => format!("[{text}]:{port}"),
        (false, false) => format!("{text}:{port}"),
    }
}

/// The seat of this node as RaftNodes has it: peers know it by that. An operator may write one name
/// with fewer labels here than there.
fn listed(advertise: String, nodes: &[String], r: &mut Reader<'_>) -> String {
    if nodes.contains(&advertise) {
        return advertise;
    }
    let mut same = nodes.iter().filter(|it| is_same_seat(it, &advertise));
    match (same.next(), same.next()) {
        (Some(only), None) => {
            r.notice(format!("RaftAdvertise: {advertise} is taken for {only} of RaftNodes"));
            only.clone()
        }
        _ => advertise,
    }
}

/// The host of a seat.
fn host(seat: &str) -> &str {
    let host = seat.rsplit_once(':').map_or(seat, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_seat(seat: &str) -> bool {
    let port = seat.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    !host(seat).is_empty() && port.is_some_and(|port| port > 0)
}

fn is_loopback(seat: &str) -> bool {
    let host = host(seat);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn check_seats(raft: &Raft, r: &mut Reader<'_>) {
    if raft.bind.is_empty() {
        r.invalid("RaftBind", "is needed because RaftEnabled is true");
        return;
    }
    if !is_seat(&raft.bind) {
        r.invalid("RaftBind", format!("{:?} is not of the form host:port", raft.bind));
    }
    if let Some(bad) = raft.nodes.iter().find(|it| !is_seat(it)) {
        r.invalid("RaftNodes", format!("{bad:?} is not of the form host or host:port"));
    }
    let is_anywhere = host(&raft.advertise).parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    if is_anywhere || !is_seat(&raft.advertise) {
        let reason = format!("{:?} is no address that peers could reach", raft.advertise);
        r.invalid("RaftAdvertise", reason);
    }
    if !raft.nodes.contains(&raft.advertise) {
        let reason = format!("does not name this node, {} (RaftAdvertise)", raft.advertise);
        r.invalid("RaftNodes", reason);
    }
    if raft.nodes.iter().collect::<BTreeSet<_>>().len() != raft.nodes.len() {
        r.invalid("RaftNodes", "names a node twice");
    }
}

fn secret(channel: &RaftChannel, r: &mut Reader<'_>) -> RaftSecret {
    let (text, file) = (r.secret("RaftSecret"), r.path("RaftSecretFile"));
    if text.is_empty() && r.is_in_file("RaftSecret") {
        // Nodes would take the account for their key, and the operator would not know.
        r.invalid(
            "RaftSecret",
            "is empty; leave it out, if nodes are to know each other by MySQLTopologyPassword",
        );
    }
    match (text.is_empty(), file) {
        (false, Some(_)) => {
            r.invalid("RaftSecretFile", "contradicts RaftSecret; give one of them");
            RaftSecret::None
        }
        (false, None) => RaftSecret::Text(text),
        (true, Some(file)) => RaftSecret::File(file),
        // A password of people's is not proven where others read along, or change what they read.
        (true, None) if matches!(channel, RaftChannel::PlainText) => RaftSecret::None,
        (true, None) => RaftSecret::Credentials,
    }
}

/// Nodes that share no secret of their own share the account for the watched servers.
pub(super) fn check_key(config: &mut Config, r: &mut Reader<'_>) {
    let raft = &mut config.raft;
    if !raft.enabled {
        return;
    }
    let has_password = !config.connections.credentials.password.is_empty();
    if raft.secret == RaftSecret::Credentials && !has_password {
        raft.secret = RaftSecret::None;
    }
    // Alone, nobody is to be let in.
    if raft.secret != RaftSecret::None
        || raft.nodes.len() <= 1
        || r.path("RaftSecretFile").is_some()
    {
        return;
    }
    r.invalid(
        "RaftSecret",
        match raft.channel {
            RaftChannel::PlainText => {
                "is needed (or RaftSecretFile) because RaftNodes names other nodes, and \
                 RaftAllowPlainText has them talk without TLS"
            }
            _ => {
                "is needed (or RaftSecretFile) because RaftNodes names other nodes, and \
                 MySQLTopologyPassword, from which their key could be made, is empty (so is that of \
                 MySQLTopologyCredentialsConfigFile)"
            }
        },
    );
}

const TLS_FILES: [&str; 3] = ["RaftTLSCertFile", "RaftTLSPrivateKeyFile", "RaftTLSCAFile"];

fn tls(r: &mut Reader<'_>) -> Option<RaftTls> {
    let files = TLS_FILES.map(|key| r.path(key));
    let optional = r.flag("RaftTLSOptional");
    if files.iter().all(Option::is_none) {
        if optional {
            r.invalid(
                "RaftTLSOptional",
                format!("makes no sense without {}", TLS_FILES.join(", ")),
            );
        }
        return None;
    }
    if optional {
        r.notice(
            "RaftTLSOptional: nodes without a certificate of RaftTLSCAFile are let in if they prove \
             the secret; take it away once all of them have one",
        );
    }
    for (key, file) in TLS_FILES.iter().zip(&files) {
        if file.is_none() {
            r.invalid(key, format!("is needed with the others of {}", TLS_FILES.join(", ")));
        }
    }
    let [certificate_file, private_key_file, ca_file] = files;
    Some(RaftTls {
        certificate_file: certificate_file?,
        private_key_file: private_key_file?,
        ca_file: ca_file?,
        optional,
    })
}

/// Nodes pass on to the leader what they are asked, so its API has to be within their reach.
pub(super) fn check_api(config: &Config, r: &mut Reader<'_>) {
    let Config { raft, http, .. } = config;
    let Listen::Tcp { host: Some(host), .. } = &http.listen else { return };
    let is_apart = raft.enabled && raft.nodes.iter().any(|it| !is_loopback(it));
    if is_apart && is_loopback(&format!("{host}:0")) && http.advertise.is_none() {
        r.notice(
            "ListenAddress: the API is for this machine only (as it is without \
             AuthenticationMethod), so the other nodes of the raft cannot pass requests on to \
             this one while it leads; listen where they reach it, or give HTTPAdvertise",
        );
    }
}

fn plain_text(raft: &Raft, r: &mut Reader<'_>) -> RaftChannel {
    let is_local = is_loopback(&raft.bind) && raft.nodes.iter().all(|it| is_loopback(it));
    if !is_local {
        r.notice(
            "RaftAllowPlainText: whoever can read the network between the nodes can read the ledger, \
             and whoever can change what goes over it can take part; without this key, nodes speak \
             TLS, and nothing else has to be configured for that",
        );
    }
    RaftChannel::PlainText
}
