//! What the nodes of a raft know each other by: nothing that has to be configured, or what operators
//! choose, and how one is changed for another while requests go on.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use support::{
    Baton, Certificates, EVERYWHERE, Net, PATIENCE, Raft, free_seats, http, role, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const ALL: [usize; 3] = [0, 1, 2];

/// The configuration of orchestrator's guide to raft, to the letter but for the three hosts.
const GUIDE: &str = r#"{
  "RaftEnabled": true,
  "RaftDataDir": "/var/lib/orchestrator",
  "RaftBind": "<ip.or.fqdn.of.this.orchestrator.node>",
  "DefaultRaftPort": 10008,
  "RaftNodes": [
    "<ip.or.fqdn.of.orchestrator.node1>",
    "<ip.or.fqdn.of.orchestrator.node2>",
    "<ip.or.fqdn.of.orchestrator.node3>"
  ],
  "BackendDB": "sqlite",
  "SQLite3DataFile": "/var/lib/orchestrator/orchestrator.db"
}"#;

/// The three machines of the guide, and a node on each; each has a `/var/lib` of its own.
fn guided(net: &mut Net) -> Vec<Baton> {
    let places = ["node1.example.com", "node2.example.com", "node3.example.com"].map(|host| {
        let place = net.place(host);
        net.call(host, &place);
        place.run("mount -t tmpfs of-its-own /var/lib");
        (host, place)
    });
    let start = |(host, place): &(&str, support::Place)| {
        let mut text = GUIDE.replace("<ip.or.fqdn.of.this.orchestrator.node>", host);
        for (number, (host, _)) in places.iter().enumerate() {
            text = text.replace(&format!("<ip.or.fqdn.of.orchestrator.node{}>", number + 1), host);
        }
        let mut baton = Baton::prepare(BATON, Vec::new(), &[]).at(place);
        let file = baton.folder().join("orchestrator.conf.json");
        std::fs::write(&file, text).expect("write the configuration");
        let mut command = baton.command();
        command.arg("--config").arg(&file);
        baton.spawn(command);
        wait_until(PATIENCE, "it answers", || baton.try_get("/health/live"));
        baton
    };
    places.iter().map(start).collect()
}

#[test]
fn the_raft_of_the_guide_starts_as_it_is_written() {
    let mut net = Net::join();
    let mut nodes = guided(&mut net);
    let set = |node: &Baton, path: &str| {
        wait_until(PATIENCE, path, || node.try_get(path).filter(|(status, _)| *status == 200));
    };
    for node in &nodes {
        node.until("/api/raft-health", "it takes part", |it| (*it == "healthy").then_some(()));
        set(node, "/api/disable-global-recoveries");
    }
    for node in &nodes {
        node.until("/api/check-global-recoveries?local=true", "it knows", |it| {
            (it["Details"] == "disabled").then_some(())
        });
    }
    nodes[0].kill_9();
    nodes[1..].iter().for_each(|node| set(node, "/api/enable-global-recoveries"));
}

/// Three nodes on loopback that were told of no secret.
fn unconfigured(more: &[(&str, &str)]) -> Raft {
    let seats: [String; 3] = free_seats();
    let all = seats.join(",");
    let start = |seat: &String| {
        let own = [
            ("BATON_RAFTENABLED", "true"),
            ("BATON_RAFTDATADIR", "raft"),
            ("BATON_RAFTBIND", seat.as_str()),
            ("BATON_RAFTNODES", &all),
        ];
        Baton::start(BATON, Vec::new(), &[&EVERYWHERE[..], &own, more].concat())
    };
    let nodes = seats.iter().map(start).collect();
    let raft = Raft { nodes, seats };
    until_healthy(&raft);
    raft
}

fn until_healthy(raft: &Raft) {
    for node in &raft.nodes {
        node.until("/api/raft-health", "it takes part", |it| (*it == "healthy").then_some(()));
    }
}

/// Does something to one node after the other, while requests through the others go on. They find
/// both of them of use, once there is a leader where that one changes.
fn roll(raft: &mut Raft, what: &str, change: impl Fn(&mut Baton)) {
    for place in ALL {
        let others: Vec<String> = ALL
            .iter()
            .filter(|it| **it != place)
            .map(|it| format!("{}:{}", raft.nodes[*it].host(), raft.nodes[*it].port))
            .collect();
        let (is_over, done) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) || done.load(Ordering::SeqCst) < 2 {
                    for address in &others {
                        wait_until(PATIENCE, &format!("{what}: {address} is of use"), || {
                            let answer = http::get(address, "/api/enable-global-recoveries", "");
                            answer.filter(|(status, _)| *status == 200)
                        });
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
            change(&mut raft.nodes[place]);
            until_healthy(raft);
            is_over.store(true, Ordering::SeqCst);
        });
    }
    for (node, seat) in raft.nodes.iter().zip(&raft.seats) {
        for sign in [
            "the secret is not ours",
            "has no key of ours",
            "somebody without a key of ours",
            "invalid peer certificate",
        ] {
            assert!(!node.log().contains(sign), "{what}: {seat}: {sign}: {}", node.log());
        }
    }
    assert_eq!(raft.nodes.iter().filter(|it| role(it) == "Leader").count(), 1, "{what}");
}

fn restart(node: &mut Baton, settings: &[(&str, &str)]) {
    node.signal("-TERM");
    assert!(node.wait_within(PATIENCE).success());
    node.set(settings);
    node.launch();
}

const FORGOTTEN: &str = "former ones are good no more";

/// Waits until the former key is good no more on any node; so often it has been so.
fn until_forgotten(raft: &Raft, times: usize) {
    for node in &raft.nodes {
        wait_until(PATIENCE, "the former key is forgotten", || {
            (node.log().matches(FORGOTTEN).count() >= times).then_some(())
        });
    }
}

#[test]
fn keys_are_changed_one_node_after_the_other_and_back() {
    let mut raft = unconfigured(&[]);
    let (password, secret) = ("BATON_MYSQLTOPOLOGYPASSWORD", "BATON_RAFTSECRET");
    for (times, (what, settings)) in [
        ("another password of the account", (password, "a newer one")),
        ("a secret of the operator's", (secret, "open sesame")),
        ("another one", (secret, "open barley")),
        ("none again", (secret, "")),
    ]
    .into_iter()
    .enumerate()
    {
        roll(&mut raft, what, |node| restart(node, &[settings]));
        until_forgotten(&raft, times + 1);
    }
    // Whoever has only what was good before is a stranger by now.
    raft.nodes[2].kill_9();
    std::fs::remove_dir_all(raft.nodes[2].folder().join("raft")).expect("forget it all");
    raft.nodes[2].set(&[(secret, "open sesame")]);
    raft.nodes[2].launch();
    wait_until(PATIENCE, "it is refused", || {
        raft.nodes[2].log().contains("403 Forbidden: the secret is not ours").then_some(())
    });
    let (status, _) = raft.nodes[2].try_get("/api/raft-health").expect("an answer");
    assert_eq!(status, 500);
}

#[test]
fn certificates_are_given_to_one_node_after_the_other_and_taken_away() {
    let folder = tempfile::tempdir().expect("a folder for certificates");
    let ours = Certificates::make(folder.path());
    let [certificate, key, authority] =
        [&ours.server_cert, &ours.server_key, &ours.ca].map(|it| it.display().to_string());
    let mut raft = unconfigured(&[("BATON_RAFTSECRET", "open sesame")]);
    let with = |optional| {
        [
            ("BATON_RAFTTLSCERTFILE", certificate.as_str()),
            ("BATON_RAFTTLSPRIVATEKEYFILE", key.as_str()),
            ("BATON_RAFTTLSCAFILE", authority.as_str()),
            ("BATON_RAFTTLSOPTIONAL", optional),
        ]
    };
    let without = [
        ("BATON_RAFTTLSCERTFILE", ""),
        ("BATON_RAFTTLSPRIVATEKEYFILE", ""),
        ("BATON_RAFTTLSCAFILE", ""),
        ("BATON_RAFTTLSOPTIONAL", "false"),
    ];
    roll(&mut raft, "certificates are shown", |node| restart(node, &with("true")));
    roll(&mut raft, "certificates are asked for", |node| restart(node, &with("false")));
    // From here on one without is no peer.
    restart(&mut raft.nodes[1], &without);
    wait_until(PATIENCE, "it is refused", || {
        raft.nodes[0].log().contains("invalid peer certificate").then_some(())
    });
    restart(&mut raft.nodes[1], &with("false"));
    until_healthy(&raft);
    raft.nodes.iter().for_each(Baton::forget_log);
    roll(&mut raft, "certificates are not asked for", |node| restart(node, &with("true")));
    roll(&mut raft, "certificates are taken away", |node| restart(node, &without));
}

#[test]
fn a_reload_after_the_password_was_changed_parts_no_nodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("account.cnf");
    let write = |password: &str| {
        let text = format!("[client]\nuser=orc\npassword={password}\n");
        std::fs::write(&file, text).expect("write the account");
    };
    write("of old");
    let mut raft =
        unconfigured(&[("BATON_MYSQLTOPOLOGYCREDENTIALSCONFIGFILE", &file.to_string_lossy())]);
    write("of late");
    for place in ALL {
        let (status, body) =
            raft.nodes[place].try_get("/api/reload-configuration").expect("an answer");
        assert_eq!(status, 200, "{body}");
        // Nobody notices: each of these is passed on to the leader, whose peers have to confirm it.
        for node in raft.nodes.iter().cycle().take(30) {
            let (status, body) = node.try_get("/api/enable-global-recoveries").expect("an answer");
            assert_eq!(status, 200, "{body}");
        }
    }
    until_forgotten(&raft, 1);
    // What they have by now is the new one: one that starts with it is let in.
    roll(&mut raft, "they start again", |node| restart(node, &[]));
    // A reload must not leave nodes without anything they have in common.
    write("");
    let (status, body) = raft.nodes[0].try_get("/api/reload-configuration").expect("an answer");
    assert!(status == 500 && body.contains("MySQLTopologyPassword"), "{status}: {body}");
    until_healthy(&raft);
    let names: BTreeSet<String> = raft.seats.iter().cloned().collect();
    let peers = raft.nodes[0].get("/api/raft-peers");
    assert_eq!(peers, serde_json::json!(names));
}
