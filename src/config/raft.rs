//! The keys of raft: names of seats, who is let in, and what must not go over a network in the clear.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use baton_topology::names::is_same_seat;

use super::reader::Reader;
use super::types::{Config, Listen, Raft, RaftConfirmation, RaftSecret, RaftTiming, RaftTls};

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
        tls: None,
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
    let raft = Raft { secret: secret(&raft, r), tls: tls(r), ..raft };
    check_secrecy(&raft, r);
    raft
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

fn secret(raft: &Raft, r: &mut Reader<'_>) -> RaftSecret {
    let (text, file) = (r.secret("RaftSecret"), r.path("RaftSecretFile"));
    match (text.is_empty(), file) {
        (false, Some(_)) => {
            r.invalid("RaftSecretFile", "contradicts RaftSecret; give one of them");
            RaftSecret::None
        }
        (false, None) => RaftSecret::Text(text),
        (true, Some(file)) => RaftSecret::File(file),
        (true, None) => {
            // Alone, nobody is to be let in.
            if raft.nodes.len() > 1 {
                let reason = "is needed (or RaftSecretFile) because RaftNodes names other nodes";
                r.invalid("RaftSecret", reason);
            }
            RaftSecret::None
        }
    }
}

const TLS_FILES: [&str; 3] = ["RaftTLSCertFile", "RaftTLSPrivateKeyFile", "RaftTLSCAFile"];

fn tls(r: &mut Reader<'_>) -> Option<RaftTls> {
    let files = TLS_FILES.map(|key| r.path(key));
    if files.iter().all(Option::is_none) {
        return None;
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

fn check_secrecy(raft: &Raft, r: &mut Reader<'_>) {
    let is_local = is_loopback(&raft.bind) && raft.nodes.iter().all(|it| is_loopback(it));
    if raft.tls.is_some() || is_local || TLS_FILES.iter().any(|key| r.path(key).is_some()) {
        return;
    }
    if r.flag("RaftAllowPlainText") {
        r.notice(
            "RaftAllowPlainText: whoever can read the network between the nodes can read their \
             secret, and then depose the leader",
        );
        return;
    }
    let reason = "is needed, with RaftTLSPrivateKeyFile and RaftTLSCAFile, because raft does not \
                  stay on this machine; or say RaftAllowPlainText";
    r.invalid("RaftTLSCertFile", reason);
}
