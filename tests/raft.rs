//! Three batons, each with a store and eyes of its own: one leads, and only that one acts (I2).

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use support::{
    Baton, Flavor, PATIENCE, Raft, Server, at, free_seats, is_writable, role, seat_settings, shop,
    told, until_recovered, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");

/// The one that accepts writes, of those that run.
fn writable(servers: &[Server]) -> Vec<u16> {
    let running = servers.iter().filter(|it| it.pid().is_some());
    running.filter(|it| is_writable(it)).map(|it| it.port).collect()
}

#[test]
fn when_leader_and_primary_die_together_the_next_leader_fails_over() {
    let mut servers = shop(Flavor::MySql97);
    let mut raft = Raft::over(BATON, &servers);
    let old = raft.leader(&[0, 1, 2]);
    servers[0].exec("INSERT INTO shop.orders VALUES (1)");
    raft.nodes[old].kill_9();
    servers[0].kill_9();
    let others = Raft::others(old);
    let new = raft.leader(&others);
    let recovery = until_recovered(&raft.nodes[new]);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
    let successor = recovery["SuccessorKey"]["Port"].as_u64().expect("a successor");
    assert_eq!(writable(&servers), [u16::try_from(successor).expect("a port")]);
    let kept = at(&servers, successor).query("SELECT id FROM shop.orders WHERE id = 1");
    assert_eq!(kept.len(), 1, "what replicas had is not lost");
    for node in others.iter().filter(|it| **it != new) {
        let seen = until_recovered(&raft.nodes[*node]);
        assert_eq!(seen["UID"], recovery["UID"], "all nodes know of it");
        assert!(told(&raft.nodes[*node], "recovery begins").is_empty(), "one of them acts");
    }
}

#[test]
fn a_leader_that_was_stopped_does_nothing_when_it_wakes() {
    let mut servers = shop(Flavor::MariaDb1011);
    let raft = Raft::over(BATON, &servers);
    let old = raft.leader(&[0, 1, 2]);
    raft.nodes[old].signal("-STOP");
    let others = Raft::others(old);
    let new = raft.leader(&others);
    servers[0].kill_9();
    let recovery = until_recovered(&raft.nodes[new]);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
    let successor = recovery["SuccessorKey"]["Port"].as_u64().expect("a successor");
    // Two primaries are lost to it at once: the old one, and the one it has never seen as such.
    at(&servers, successor).exec("INSERT INTO shop.orders VALUES (1)");
    raft.nodes[old].signal("-CONT");
    wait_until(PATIENCE, "it follows", || (role(&raft.nodes[old]) == "Follower").then_some(()));
    let seen = until_recovered(&raft.nodes[old]);
    assert_eq!(seen["UID"], recovery["UID"], "it learns what the others did");
    for message in ["recovery begins", "recovery is taken up again", "seeing to it"] {
        assert!(told(&raft.nodes[old], message).is_empty(), "{message}");
    }
    assert_eq!(writable(&servers), [u16::try_from(successor).expect("a port")]);
}

#[test]
fn a_leader_that_is_told_to_end_hands_over_first() {
    let mut raft = Raft::over(BATON, &[]);
    let old = raft.leader(&[0, 1, 2]);
    raft.nodes[old].signal("-TERM");
    let status = raft.nodes[old].wait_within(PATIENCE);
    assert!(status.success(), "{status}");
    assert_eq!(told(&raft.nodes[old], "another node leads now").len(), 1);
    raft.leader(&Raft::others(old));
}

#[test]
fn who_cannot_take_part_ends_and_says_why() {
    let [one, other] = free_seats();
    let all = format!("{one},{other}");
    let mut settings = seat_settings(&one, &all);
    settings.push(("BATON_RAFTBAILOUTSECONDS", "1"));
    let mut alone = Baton::prepare(BATON, Vec::new(), &settings);
    let command = alone.command();
    alone.spawn(command);
    assert!(!alone.wait_within(PATIENCE).success());
    let log = alone.log();
    assert!(log.contains("takes no part in the raft for 1 s (RaftBailOutSeconds)"), "{log}");
    assert!(log.contains(&other), "it says whom it misses: {log}");
}

#[test]
fn a_raft_of_one_keeps_what_was_set_and_refuses_a_damaged_log() {
    let [seat] = free_seats();
    let mut settings = seat_settings(&seat, &seat);
    settings.retain(|(key, _)| *key != "BATON_RAFTSECRET");
    let mut alone = Baton::start(BATON, Vec::new(), &settings);
    let set = || alone.get("/api/disable-global-recoveries");
    wait_until(PATIENCE, "it leads", || (set()["Code"] == "OK").then_some(()));
    alone.kill_9();
    alone.launch();
    alone.until("/api/check-global-recoveries", "it is still so", |it| {
        (it["Details"] == "disabled").then_some(())
    });
    alone.kill_9();
    // What SQLite would make good from this file without a word is gone too.
    std::fs::remove_file(alone.folder().join("raft/raft.db-wal")).expect("it was not closed");
    std::fs::write(alone.folder().join("raft/raft.db"), "no database").expect("it is writable");
    let command = alone.command();
    alone.spawn(command);
    assert!(!alone.wait_within(PATIENCE).success());
    let log = alone.log();
    assert!(log.contains("raft does not start"), "{log}");
}

#[test]
fn a_change_that_reaches_a_follower_is_made_by_the_leader_and_known_to_all() {
    let raft = Raft::over(BATON, &[]);
    let leader = raft.leader(&[0, 1, 2]);
    let follower = &raft.nodes[Raft::others(leader)[0]];
    let done = || follower.get("/api/disable-global-recoveries");
    wait_until(PATIENCE, "it is done", || (done()["Code"] == "OK").then_some(()));
    for node in &raft.nodes {
        node.until("/api/check-global-recoveries?local=true", "it knows", |it| {
            (it["Details"] == "disabled").then_some(())
        });
    }
}

/// Connections that are open, and asked, while nobody answers.
const WAITING: usize = 12;

/// The answers to requests that waited until a process went on.
fn answers_on_waking(node: &Baton, path: &str, wake: impl FnOnce()) -> Vec<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: baton\r\nConnection: close\r\n\r\n");
    let mut waiting: Vec<TcpStream> = (0..WAITING)
        .map(|_| {
            let mut stream = TcpStream::connect((node.host(), node.port)).expect("a backlog");
            stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
            stream.write_all(request.as_bytes()).expect("room for it");
            stream
        })
        .collect();
    wake();
    let answer = |stream: &mut TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let status = text.split(' ').nth(1).and_then(|it| it.parse().ok());
        let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        (status.expect("a status"), body.to_owned())
    };
    waiting.iter_mut().map(answer).collect()
}

/// The node that says it leads.
fn leading(raft: &Raft) -> usize {
    let says = |node: &Baton| node.try_get("/api/leader-check").is_some_and(|it| it.0 == 200);
    wait_until(PATIENCE, "one leads", || raft.nodes.iter().position(says))
}

#[test]
fn a_leader_woken_from_a_stop_is_not_taken_for_one_and_tells_nothing_stale() {
    let raft = Raft::over(BATON, &[]);
    let (leads, setting) = ("/api/leader-check", "/api/check-global-recoveries");
    for (path, set, stale) in
        [(leads, "disable", "OK"), (setting, "enable", "disabled"), (leads, "disable", "OK")]
    {
        let old = leading(&raft);
        raft.nodes[old].signal("-STOP");
        let new = raft.leader(&Raft::others(old));
        let change = || raft.nodes[new].get(&format!("/api/{set}-global-recoveries"));
        wait_until(PATIENCE, "it is set", || (change()["Code"] == "OK").then_some(()));
        let wake = || raft.nodes[old].signal("-CONT");
        let answers = answers_on_waking(&raft.nodes[old], path, wake);
        let is_stale = |(status, body): &(u16, String)| *status == 200 && body.contains(stale);
        // What it passes on to the new leader is right, and so is to know of no leader.
        assert!(!answers.iter().any(is_stale), "{path}: {answers:?}");
        wait_until(PATIENCE, "it follows", || {
            (raft.nodes[old].get("/api/raft-state") == "Follower").then_some(())
        });
    }
}

/// A planned takeover, asked for by the client of all nodes of a raft.
fn takeover(raft: &Raft, servers: &[Server]) -> Command {
    let urls: Vec<String> =
        raft.nodes.iter().map(|node| format!("http://{}:{}", node.host(), node.port)).collect();
    let mut command = Command::new(BATON);
    command.args(["client", "graceful-master-takeover-auto", "-i", &servers[0].address()]);
    command.args(["-d", &servers[1].address()]).env("ORCHESTRATOR_API", urls.join(" "));
    command.env_remove("BATON_API").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_takeover_whose_leader_dies_is_asked_for_once_and_its_end_is_told() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let servers = shop(flavor);
        let slow = [("BATON_PREGRACEFULTAKEOVERPROCESSES", "sleep 2")];
        let mut raft = Raft::over_with(BATON, &servers, &slow);
        let old = leading(&raft);
        let client = takeover(&raft, &servers).spawn().expect("run the client");
        let begun = |node: &Baton| {
            let all = node.get("/api/audit-recovery?local=true");
            all.as_array().and_then(|it| it.first().cloned())
        };
        let recovery = wait_until(PATIENCE, "it has begun", || begun(&raft.nodes[old]));
        raft.nodes[old].kill_9();
        let output = client.wait_with_output().expect("the client ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("Unauthorized"), "{said}");
        let new = raft.leader(&Raft::others(old));
        let all = raft.nodes[new].get("/api/audit-recovery");
        let all = all.as_array().expect("a list");
        assert_eq!(all.len(), 1, "it was asked for once: {all:#?}");
        assert_eq!(all[0]["UID"], recovery["UID"]);
        // Whichever way the next leader ended it: what the client says is what is so.
        let (succeeded, primary) = (output.status.success(), writable(&servers));
        let expected = if succeeded { servers[1].port } else { servers[0].port };
        assert_eq!(primary, [expected], "{said}");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!succeeded || told.contains(&servers[1].port.to_string()), "{told}");
    }
}
