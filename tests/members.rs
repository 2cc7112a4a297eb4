//! Nodes of a raft come, are let in or not, lose what they had, and end; through the program.

mod support;

use std::io::Write;
use std::process::{Command, Output};

use support::{
    Baton, Certificates, Flavor, Options, PATIENCE, Raft, Server, admit, faketime, free_seats,
    role, seat_settings, star, told, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const ALL: [usize; 3] = [0, 1, 2];

/// Three nodes that are not started yet.
fn prepared(seats: &[String; 3]) -> Vec<Baton> {
    let all = seats.join(",");
    let prepare = |seat: &String| Baton::prepare(BATON, Vec::new(), &seat_settings(seat, &all));
    seats.iter().map(prepare).collect()
}

fn launched(seats: [String; 3], mut nodes: Vec<Baton>) -> Raft {
    nodes.iter_mut().for_each(Baton::launch);
    let raft = Raft { nodes, seats };
    raft.leader(&ALL);
    raft
}

/// Has something set, by whichever node.
fn set(node: &Baton, path: &str) {
    wait_until(PATIENCE, path, || (node.get(path)["Code"] == "OK").then_some(()));
}

/// Waits until a node has it that recoveries are switched off.
fn until_disabled(node: &Baton) {
    node.until("/api/check-global-recoveries?local=true", "it knows", |it| {
        (it["Details"] == "disabled").then_some(())
    });
}

fn until_logged(node: &Baton, text: &str) {
    wait_until(PATIENCE, text, || node.log().contains(text).then_some(()));
}

/// Has a node forget the keys it had before: those are good for a day.
fn forget_keys(node: &Baton) {
    std::fs::remove_file(node.folder().join("raft/raft.keys")).expect("it has some");
}

/// Gives a node these certificates; the next start has them.
fn encrypt(node: &mut Baton, of: &Certificates) {
    for (name, file) in [
        ("BATON_RAFTTLSCERTFILE", &of.server_cert),
        ("BATON_RAFTTLSPRIVATEKEYFILE", &of.server_key),
        ("BATON_RAFTTLSCAFILE", &of.ca),
    ] {
        node.set(&[(name, &file.display().to_string())]);
    }
}

#[test]
fn nodes_trust_those_with_the_right_certificate_and_secret_and_use_renewed_ones() {
    let folder = tempfile::tempdir().expect("a folder for certificates");
    let ours = Certificates::make(&folder.path().join("ours"));
    let theirs = Certificates::make(&folder.path().join("theirs"));
    let seats: [String; 3] = free_seats();
    let mut nodes = prepared(&seats);
    encrypt(&mut nodes[0], &ours);
    encrypt(&mut nodes[1], &ours);
    encrypt(&mut nodes[2], &theirs);
    nodes.iter_mut().for_each(Baton::launch);
    for node in &nodes {
        until_logged(node, "invalid peer certificate");
    }
    nodes[2].kill_9();
    encrypt(&mut nodes[2], &ours);
    nodes[2].set(&[("BATON_RAFTSECRET", "open barley")]);
    forget_keys(&nodes[2]);
    nodes[2].launch();
    until_logged(&nodes[2], "refuses: 403 Forbidden: the secret is not ours");
    assert!(nodes.iter().all(|node| role(node) != "Leader"), "a raft of strangers does not begin");
    nodes[2].kill_9();
    nodes[2].set(&[("BATON_RAFTSECRET", "open sesame")]);
    nodes[2].launch();
    let mut raft = Raft { nodes, seats };
    let leader = raft.leader(&ALL);
    set(&raft.nodes[leader], "/api/disable-global-recoveries");
    raft.nodes.iter().for_each(until_disabled);

    let shown = |seat: &String| {
        let asked = Command::new("openssl").args(["s_client", "-connect", seat]).output();
        String::from_utf8_lossy(&asked.expect("run openssl").stdout).into_owned()
    };
    let (old, seat) = (shown(&raft.seats[0]), raft.seats[0].clone());
    let written = |of: &Certificates| std::fs::read_to_string(&of.server_cert).expect("read it");
    assert!(old.contains(written(&ours).trim()), "{old}");
    // By the same authority; first the certificate, then its key, as tools do that.
    ours.renew_server();
    assert!(!old.contains(written(&ours).trim()));
    wait_until(PATIENCE, "the new one is shown", || {
        shown(&seat).contains(written(&ours).trim()).then_some(())
    });
    let other = Raft::others(leader)[0];
    raft.nodes[other].kill_9();
    raft.nodes[other].launch();
    raft.leader(&ALL);
    set(&raft.nodes[other], "/api/enable-global-recoveries");
}

#[test]
fn a_raft_goes_on_from_what_one_node_kept_while_it_ran_alone() {
    let seats: [String; 3] = free_seats();
    let mut nodes = prepared(&seats);
    nodes[1].set(&[("BATON_RAFTENABLED", "false")]);
    nodes[1].launch();
    set(&nodes[1], "/api/disable-global-recoveries");
    set(&nodes[1], "/api/tag/db/3306?tag=role=backup");
    nodes[1].kill_9();
    nodes[1].set(&[("BATON_RAFTENABLED", "true")]);
    let mut raft = launched(seats, nodes);
    let tags = "/api/tags/db/3306?local=true";
    for node in &raft.nodes {
        until_disabled(node);
        node.until(tags, "it knows", |it| (it[0] == "role=backup").then_some(()));
    }
    let said = "the raft goes on from what this node kept alone";
    wait_until(PATIENCE, said, || (told(&raft.nodes[1], said).len() == 1).then_some(()));

    // Should all the raft is lost some day, that old state must not come back.
    let leader = raft.leader(&ALL);
    set(&raft.nodes[leader], "/api/enable-global-recoveries");
    raft.nodes.iter_mut().for_each(Baton::kill_9);
    for node in &mut raft.nodes {
        std::fs::remove_dir_all(node.folder().join("raft")).expect("lose it");
        node.launch();
    }
    let leader = raft.leader(&ALL);
    set(&raft.nodes[leader], "/api/tag/db/3306?tag=other");
    let node = &raft.nodes[1];
    node.until(tags, "it begins with nothing", |it| {
        (*it == serde_json::json!(["other="])).then_some(())
    });
    assert_eq!(node.get("/api/check-global-recoveries")["Details"], "enabled");
}

/// `baton raft-recover` with the settings of a node.
fn recover(node: &Baton, arguments: &[&str]) -> Output {
    let settings = node.settings().iter().map(|(name, value)| (name, value));
    let mut command = Command::new(BATON);
    command.arg("raft-recover").args(arguments).current_dir(node.folder()).envs(settings);
    command.output().expect("run baton")
}

#[test]
fn a_raft_whose_majority_lost_its_disks_is_begun_anew_by_people() {
    let seats: [String; 3] = free_seats();
    let nodes = prepared(&seats);
    let mut raft = launched(seats, nodes);
    let leader = raft.leader(&ALL);
    set(&raft.nodes[leader], "/api/disable-global-recoveries");
    until_disabled(&raft.nodes[0]);
    let running = recover(&raft.nodes[0], &["--others-are-lost"]);
    let error = String::from_utf8_lossy(&running.stderr).into_owned();
    assert!(!running.status.success() && error.contains("in use"), "{error}");
    raft.nodes.iter_mut().for_each(Baton::kill_9);
    for lost in [1, 2] {
        std::fs::remove_dir_all(raft.nodes[lost].folder().join("raft")).expect("lose it");
    }
    let empty = recover(&raft.nodes[1], &["--others-are-lost"]);
    let error = String::from_utf8_lossy(&empty.stderr).into_owned();
    assert!(!empty.status.success() && error.contains("there is no raft/raft.db"), "{error}");

    let looked = recover(&raft.nodes[0], &[]);
    let text = String::from_utf8_lossy(&looked.stdout).into_owned();
    assert!(looked.status.success() && text.contains("Nothing was changed"), "{looked:?}");
    assert!(raft.seats.iter().all(|seat| text.contains(seat)), "{text}");
    let done = recover(&raft.nodes[0], &["--others-are-lost"]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && text.contains("is the only member"), "{done:?}");
    raft.nodes.iter_mut().for_each(Baton::launch);
    raft.leader(&[0]);
    until_disabled(&raft.nodes[0]);
    for lost in [1, 2] {
        until_logged(&raft.nodes[lost], "it must be added first (raft-add-peer)");
        let path = format!("/api/raft-add-peer/{}", raft.seats[lost]);
        let added = raft.nodes[0].get(&path);
        assert_eq!(added, serde_json::json!(raft.seats[lost]), "{added}");
        until_disabled(&raft.nodes[lost]);
    }
    raft.nodes[0].kill_9();
    let next = raft.leader(&[1, 2]);
    set(&raft.nodes[next], "/api/enable-global-recoveries");
}

#[test]
fn a_leader_whose_store_is_sick_hands_over_and_ends_if_that_does_not_pass() {
    let seats: [String; 3] = free_seats();
    let mut nodes = prepared(&seats);
    let elsewhere = tempfile::tempdir().expect("a folder on a disk that is well");
    let raft_folder = elsewhere.path().display().to_string();
    nodes[0].set(&[("BATON_RAFTDATADIR", &raft_folder), ("BATON_RAFTBAILOUTSECONDS", "7")]);
    let command = nodes[0].on_a_small_disk(4);
    nodes[0].spawn(command);
    nodes[1..].iter_mut().for_each(Baton::launch);
    let mut raft = Raft { nodes, seats };
    wait_until(PATIENCE, "it leads", || {
        let leader = raft.leader(&ALL);
        let path = format!("/api/raft-yield/{}", raft.seats[0]);
        // Whoever leads may change meanwhile.
        let _ = raft.nodes[leader].try_get(&path);
        (leader == 0).then_some(())
    });
    let fill = raft.nodes[0].folder_inside().join("fill");
    let mut file = std::fs::File::create(&fill).expect("create a file on the small disk");
    while file.write_all(&[0; 4096]).is_ok() {}
    // What is to be written is what people did.
    wait_until(PATIENCE, "it cannot be written", || {
        let _ = raft.nodes[0].try_get("/api/tag/db/3306?tag=a");
        raft.nodes[0].try_get("/health/ready").filter(|(status, _)| *status == 503)
    });
    let next = raft.leader(&[1, 2]);
    let handed_over = || told(&raft.nodes[0], "another node leads now").len();
    wait_until(PATIENCE, "it says so", || (handed_over() == 1).then_some(()));
    set(&raft.nodes[next], "/api/disable-global-recoveries");
    let status = raft.nodes[0].wait_within(PATIENCE);
    assert!(!status.success(), "{status}");
    let log = raft.nodes[0].log();
    let said = "the store of this node cannot be written for 10 s (RaftBailOutSeconds)";
    assert!(log.contains(said), "{log}");
}

/// More than a leader keeps in its log for those that were away for a moment.
const COMMANDS: usize = 600;

#[test]
fn a_node_that_comes_back_by_a_snapshot_knows_its_instances_still() {
    let mut servers = star(&Options::new(Flavor::MariaDb1011), 1);
    admit(&servers);
    let mut raft = Raft::over(BATON, &servers);
    let leader = raft.leader(&ALL);
    let away = Raft::others(leader)[0];
    raft.nodes[away].signal("-TERM");
    raft.nodes[away].wait_within(PATIENCE);
    let primary = format!("{}/{}", servers[0].host, servers[0].port);
    for number in 1..=COMMANDS {
        set(&raft.nodes[leader], &format!("/api/tag/{primary}?tag=number={number}"));
    }
    let made = raft.nodes[leader].get("/api/raft-snapshot");
    assert_eq!(made, serde_json::json!("snapshot created"));
    // Nobody finds them anew.
    servers.iter_mut().for_each(Server::kill_9);
    raft.nodes[away].launch();
    let newest = format!("number={COMMANDS}");
    let node = &raft.nodes[away];
    node.until(&format!("/api/tags/{primary}?local=true"), "it has everything", |it| {
        (it[0] == newest.as_str()).then_some(())
    });
    let known = node.get("/api/all-instances?local=true");
    assert_eq!(known.as_array().map(Vec::len), Some(2), "{known:#}");
}

/// Has a node lead.
fn lead(raft: &Raft, place: usize, name: &str) {
    wait_until(PATIENCE, "it leads", || {
        let leader = raft.leader(&ALL);
        // Whoever leads may change meanwhile.
        let _ = raft.nodes[leader].try_get(&format!("/api/raft-yield/{name}"));
        (leader == place).then_some(())
    });
}

/// Starts a node again that may be called otherwise now.
fn restart_as(node: &mut Baton, name: &str, all: &str) {
    node.signal("-TERM");
    assert!(node.wait_within(PATIENCE).success());
    node.set(&[("BATON_RAFTADVERTISE", name), ("BATON_RAFTNODES", all)]);
    node.launch();
}

#[test]
fn nodes_are_called_otherwise_one_by_one_and_every_one_passes_on_to_every_leader() {
    let seats: [String; 3] = free_seats();
    let names = seats.clone().map(|seat| seat.replace("127.0.0.1", "localhost"));
    let nodes = prepared(&seats);
    let mut raft = launched(seats, nodes);
    let all = names.join(",");
    for place in ALL {
        restart_as(&mut raft.nodes[place], &names[place], &all);
        for node in &raft.nodes {
            node.until("/api/raft-peers", "it is called otherwise", |it| {
                let peers = it.as_array()?;
                peers.iter().any(|it| *it == names[place].as_str()).then_some(())
            });
            set(node, "/api/enable-global-recoveries");
        }
    }
    for place in ALL {
        lead(&raft, place, &names[place]);
        for node in &raft.nodes {
            node.until("/api/raft-leader", "it knows", |it| {
                (*it == names[place].as_str()).then_some(())
            });
            set(node, "/api/disable-global-recoveries");
            assert_eq!(node.get("/api/raft-health"), "healthy");
        }
    }
    // The name of another node is not given away; the node goes on under the one it has.
    let mistaken = format!("{},{}", names[0], raft.seats[2]);
    restart_as(&mut raft.nodes[1], &names[0], &mistaken);
    until_logged(&raft.nodes[1], "give each node a RaftAdvertise of its own");
    let peers = raft.nodes[0].get("/api/raft-peers");
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(peers, serde_json::json!(expected));
    lead(&raft, 1, &names[1]);
    for node in [&raft.nodes[0], &raft.nodes[2]] {
        set(node, "/api/enable-global-recoveries");
    }
}

/// Waits until a node tells this of itself and the others.
fn until_told(node: &Baton, what: &str) {
    node.until("/api/raft-status", "it is told", |it| {
        let findings = it["Findings"].as_array()?;
        findings.iter().any(|it| it.as_str().is_some_and(|it| it.contains(what))).then_some(())
    });
}

#[test]
fn a_copied_configuration_file_begins_no_raft_that_is_a_member_short() {
    let seats: [String; 3] = free_seats();
    let mut nodes = prepared(&seats);
    // Where the second node is, with the name of the first.
    nodes[1].set(&[("BATON_RAFTADVERTISE", &seats[0])]);
    nodes.iter_mut().for_each(Baton::launch);
    let copied = format!("{} leads to host ", seats[1]);
    let both = format!(", which calls itself {}, as host ", seats[0]);
    for node in &nodes {
        until_logged(node, &copied);
        until_logged(node, &both);
        until_told(node, &both);
        let (status, body) = node.try_get("/api/raft-health").expect("it answers");
        assert!(status == 500 && body.contains(&both), "{status}: {body}");
        assert_eq!(node.get("/api/raft-peers"), serde_json::json!([]), "nothing has begun");
    }
    nodes[1].kill_9();
    nodes[1].set(&[("BATON_RAFTADVERTISE", &seats[1])]);
    nodes[1].launch();
    let mut raft = Raft { nodes, seats };
    let leader = raft.leader(&ALL);
    raft.nodes[leader].kill_9();
    let next = raft.leader(&Raft::others(leader));
    set(&raft.nodes[next], "/api/disable-global-recoveries");
}

#[test]
fn nodes_that_are_configured_otherwise_say_where_and_go_on() {
    let seats: [String; 3] = free_seats();
    let mut nodes = prepared(&seats);
    nodes[2].set(&[
        ("BATON_RECOVERMASTERCLUSTERFILTERS", "shop"),
        ("BATON_RECOVERYPERIODBLOCKSECONDS", "17"),
        ("BATON_POSTFAILOVERPROCESSES", "echo s3cret"),
    ]);
    let mut raft = launched(seats, nodes);
    let keys = "is configured otherwise than this node: PostFailoverProcesses, \
                RecoverMasterClusterFilters, RecoveryPeriodBlockSeconds";
    for (node, seat) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
        let text = format!("{} {keys}", raft.seats[seat]);
        until_told(&raft.nodes[node], &text);
        until_logged(&raft.nodes[node], &text);
        assert_eq!(raft.nodes[node].get("/api/raft-health"), "healthy");
        assert!(!raft.nodes[node].log().contains("s3cret"), "values are nobody's business");
    }
    raft.nodes[2].kill_9();
    raft.nodes[2].set(&[
        ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
        ("BATON_RECOVERYPERIODBLOCKSECONDS", "3600"),
        ("BATON_POSTFAILOVERPROCESSES", ""),
    ]);
    raft.nodes[2].launch();
    for node in &raft.nodes {
        node.until("/api/raft-status", "all is well", |it| {
            it["Findings"].as_array()?.is_empty().then_some(())
        });
    }
    until_logged(&raft.nodes[0], "that is wrong no more");
}

/// Waits until a node says this of the node at a seat, or nothing.
fn until_said_of(node: &Baton, seat: &str, what: Option<&str>) {
    node.until("/api/raft-nodes", "it is said of the node", |it| {
        let of_seat = it.as_array()?.iter().find(|it| it["Seat"] == seat)?;
        let said = of_seat["Findings"].as_array()?;
        let is_so = match what {
            Some(what) => said.iter().any(|it| it.as_str().is_some_and(|it| it.contains(what))),
            None => said.is_empty(),
        };
        is_so.then_some(())
    });
}

#[test]
fn why_a_node_is_left_out_is_told_anew_whenever_that_changes() {
    let folder = tempfile::tempdir().expect("a folder for certificates");
    let ours = Certificates::make(&folder.path().join("ours"));
    let own = Certificates::make(&folder.path().join("own"));
    let seats: [String; 3] = free_seats();
    let mut nodes = prepared(&seats);
    nodes.iter_mut().for_each(|node| encrypt(node, &ours));
    let mut raft = launched(seats, nodes);
    // Of the same authority, but with files of its own.
    for name in ["ca.pem", "ca-key.pem"] {
        let copied = std::fs::copy(
            folder.path().join("ours").join(name),
            folder.path().join("own").join(name),
        );
        copied.expect("copy the authority");
    }
    let [first, second, third] = &mut raft.nodes[..] else { panic!("there are three") };
    let seat = raft.seats[2].as_str();
    let mut left_out = |make: &dyn Fn(), secret: &str, expected: &str| {
        third.kill_9();
        make();
        encrypt(third, &own);
        third.set(&[("BATON_RAFTSECRET", secret)]);
        forget_keys(third);
        third.launch();
        for node in [&*first, &*second] {
            until_said_of(node, seat, Some(expected));
            until_logged(node, expected);
        }
    };
    left_out(&|| own.renew_server_as_expired(), "open sesame", "peer certificate: Expired");
    left_out(&|| own.renew_server_for("elsewhere.example"), "open sesame", "not valid for name");
    left_out(&|| own.renew_server(), "open barley", "403 Forbidden: the secret is not ours");
    third.kill_9();
    for node in [&*first, &*second] {
        until_said_of(node, seat, Some("Connection refused"));
        until_logged(node, "Connection refused");
    }
    third.set(&[("BATON_RAFTSECRET", "open sesame")]);
    third.launch();
    for node in [&*first, &*second] {
        until_said_of(node, seat, None);
        until_logged(node, "that is wrong no more");
    }
}

#[test]
fn a_downtime_lasts_as_long_as_was_said_on_a_node_whose_clock_is_minutes_ahead_too() {
    let servers = star(&Options::new(Flavor::MariaDb1011), 1);
    admit(&servers);
    let seats: [String; 3] = free_seats();
    let all = seats.join(",");
    let library = faketime();
    let ahead = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME", "+300s"),
        // Clocks that only count are not set by anybody.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let start = |(place, seat): (usize, &String)| {
        let own = seat_settings(seat, &all);
        let settings = if place == 2 { [&own[..], &ahead[..]].concat() } else { own };
        Baton::start(BATON, vec![servers[0].address()], &settings)
    };
    let nodes: Vec<Baton> = seats.iter().enumerate().map(start).collect();
    let raft = Raft { nodes, seats };
    for node in &raft.nodes {
        node.until_all_valid(servers.len());
    }
    for (node, of, how) in [(0, 2, "s ahead of the clock here"), (2, 1, "s behind the clock here")]
    {
        until_said_of(&raft.nodes[node], &raft.seats[of], Some(how));
        until_logged(&raft.nodes[node], how);
    }
    // Whoever leads: by the clock of the one it is over before it is heard of elsewhere, by those of
    // the others it would last more than twice as long on that one.
    let (host, port) = (&servers[0].host, servers[0].port);
    for leader in [0, 2] {
        lead(&raft, leader, &raft.seats[leader]);
        set(&raft.nodes[leader], &format!("/api/begin-downtime/{host}/{port}/ann/disk/240s"));
        for node in &raft.nodes {
            node.until(
                &format!("/api/instance/{host}/{port}?local=true"),
                "it is in downtime",
                |it| (it["IsDowntimed"] == true).then_some(()),
            );
        }
        set(&raft.nodes[leader], &format!("/api/end-downtime/{host}/{port}"));
        for node in &raft.nodes {
            node.until(&format!("/api/instance/{host}/{port}?local=true"), "it is over", |it| {
                (it["IsDowntimed"] == false).then_some(())
            });
        }
    }
}

#[test]
fn a_raft_begun_anew_while_the_others_live_changes_nothing_and_all_say_so() {
    let seats: [String; 3] = free_seats();
    let nodes = prepared(&seats);
    let mut raft = launched(seats, nodes);
    raft.nodes[0].kill_9();
    let done = recover(&raft.nodes[0], &["--others-are-lost"]);
    assert!(done.status.success(), "{done:?}");
    raft.leader(&[1, 2]);
    raft.nodes[0].launch();
    let second = "a second raft exists: ";
    for node in &raft.nodes {
        until_told(node, second);
        until_logged(node, second);
    }
    raft.nodes[0].until("/api/raft-health", "it is not healthy", |it| {
        let details = it["Details"].as_array()?;
        details.iter().any(|it| it.as_str().is_some_and(|it| it.starts_with(second))).then_some(())
    });
    let refused = raft.nodes[0].get("/api/disable-global-recoveries");
    let why = "this raft was begun anew, but the one before it lives";
    assert!(refused.to_string().contains(why), "{refused}");
    for place in [1, 2] {
        set(&raft.nodes[place], "/api/disable-global-recoveries");
    }
    raft.nodes[0].kill_9();
    std::fs::remove_dir_all(raft.nodes[0].folder().join("raft")).expect("empty it");
    raft.nodes[0].launch();
    until_disabled(&raft.nodes[0]);
    for node in &raft.nodes {
        node.until("/api/raft-status", "all is well", |it| {
            it["Findings"].as_array()?.is_empty().then_some(())
        });
    }
}

#[test]
fn a_restored_copy_of_a_whole_folder_is_found_out() {
    let seats: [String; 3] = free_seats();
    let nodes = prepared(&seats);
    let mut raft = launched(seats, nodes);
    // Of a node that has nothing yet, nothing can be lost.
    until_logged(&raft.nodes[2], "this node is a member of the raft");
    lead(&raft, 0, &raft.seats[0]);
    let folder = raft.nodes[2].folder().join("raft");
    let copy = raft.nodes[2].folder().join("copy");
    let copied = |from: &std::path::Path, to: &std::path::Path| {
        let done = Command::new("cp").arg("-r").args([from, to]).status().expect("run cp");
        assert!(done.success());
    };
    raft.nodes[2].kill_9();
    copied(&folder, &copy);
    raft.nodes[2].launch();
    set(&raft.nodes[0], "/api/disable-global-recoveries");
    until_disabled(&raft.nodes[2]);
    raft.nodes[2].kill_9();
    std::fs::remove_dir_all(&folder).expect("lose it");
    copied(&copy, &folder);
    // It may find out before it answers.
    let command = raft.nodes[2].command();
    raft.nodes[2].spawn(command);
    assert!(!raft.nodes[2].wait_within(PATIENCE).success(), "it takes no part any more");
    let lost = format!("{} has lost entries that it had confirmed", raft.seats[2]);
    until_logged(&raft.nodes[2], &lost);
    until_logged(&raft.nodes[0], &lost);
    until_told(&raft.nodes[0], &lost);
    assert_eq!(raft.leader(&ALL[..2]), 0, "nobody else is concerned");
    std::fs::remove_dir_all(&folder).expect("empty it");
    raft.nodes[2].launch();
    until_disabled(&raft.nodes[2]);
    for node in &raft.nodes {
        node.until("/api/raft-status", "all is well", |it| {
            it["Findings"].as_array()?.is_empty().then_some(())
        });
    }
}
