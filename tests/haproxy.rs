//! HAProxy with the file of `deploy/haproxy`, in front of three real batons.

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::{Baton, Net, PATIENCE, Place, Proxy, Raft, seat_settings, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const CONFIG: &str = include_str!("../deploy/haproxy/haproxy.cfg");
/// Where the file lets people in: to the leader only, and to whoever is healthy.
const LEADER: &str = ":8080";
const HEALTHY: &str = ":8081";
/// More requests than any rota needs to come round.
const ROUNDS: usize = 30;

/// HAProxy in front of these nodes, once it has looked at all of them.
fn in_front_of(raft: &Raft) -> Proxy {
    let names = [1, 2, 3].map(|number| format!("baton{number}.example.com:3000"));
    let nodes: Vec<String> =
        raft.nodes.iter().map(|node| format!("{}:{}", node.host(), node.port)).collect();
    let replaced: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(nodes.iter().map(String::as_str)).collect();
    let proxy = Proxy::start(CONFIG, &[LEADER, HEALTHY], &replaced);
    until_up(&proxy, "baton-leader", &[raft.leader(&[0, 1, 2])]);
    until_up(&proxy, "baton", &[0, 1, 2]);
    proxy
}

/// Waits until HAProxy takes these nodes, and no others, to be up.
fn until_up(proxy: &Proxy, section: &str, nodes: &[usize]) {
    let expected: Vec<String> = nodes.iter().map(|node| format!("baton{}", node + 1)).collect();
    wait_until(PATIENCE, &format!("{section} has {expected:?}"), || {
        (proxy.up(section) == expected).then_some(())
    });
}

/// A success. On a busy machine HAProxy may find for a moment that a check takes too long.
fn get(proxy: &Proxy, port: &str, path: &str) -> String {
    wait_until(PATIENCE, path, || {
        proxy.get(port, path).filter(|(status, _)| *status == 200).map(|(_, body)| body)
    })
}

/// What the node that a request reaches tells of itself.
fn reached(proxy: &Proxy, port: &str) -> Value {
    serde_json::from_str(&get(proxy, port, "/api/raft-status")).expect("the status is JSON")
}

/// Changes something back and forth.
fn change_something(proxy: &Proxy, port: &str) {
    get(proxy, port, "/api/disable-global-recoveries");
    get(proxy, port, "/api/enable-global-recoveries");
}

/// Waits until a node knows that it hears of no majority. It answers whoever asks it all the same.
fn until_alone(node: &Baton) {
    node.until("/api/raft-status", "it is alone", |it| (it["Healthy"] == false).then_some(()));
}

#[test]
fn haproxy_finds_the_next_leader_when_one_dies() {
    let mut raft = Raft::over(BATON, &[]);
    let proxy = in_front_of(&raft);
    let old = raft.leader(&[0, 1, 2]);
    assert_eq!(reached(&proxy, LEADER)["RaftAdvertise"], raft.seats[old]);
    change_something(&proxy, LEADER);
    raft.nodes[old].kill_9();
    let others = Raft::others(old);
    let new = raft.leader(&others);
    until_up(&proxy, "baton-leader", &[new]);
    for _ in 0..ROUNDS {
        let node = reached(&proxy, LEADER);
        assert_eq!(node["RaftAdvertise"], raft.seats[new]);
        assert_eq!(node["State"], "Leader");
    }
    change_something(&proxy, LEADER);
    // Who talks to any healthy node comes as far, the dead one is asked no more.
    until_up(&proxy, "baton", &others);
    (0..ROUNDS).for_each(|_| assert_eq!(reached(&proxy, HEALTHY)["Healthy"], true));
    change_something(&proxy, HEALTHY);
    // Once it is back it is one of those that are healthy, and not asked as a leader.
    raft.nodes[old].launch();
    until_up(&proxy, "baton", &[0, 1, 2]);
    until_up(&proxy, "baton-leader", &[new]);
}

/// The file of orchestrator's documentation, in today's words.
#[test]
fn the_old_file_leads_to_the_leader_alone_too() {
    let config = include_str!("../deploy/haproxy/orchestrator.cfg");
    let mut raft = Raft::over(BATON, &[]);
    let names = [0, 1, 2].map(|number| format!("orchestrator-node-{number}.fqdn.com:3000"));
    let nodes: Vec<String> =
        raft.nodes.iter().map(|node| format!("{}:{}", node.host(), node.port)).collect();
    let replaced = names.iter().map(String::as_str).zip(nodes.iter().map(String::as_str));
    // Here each has a port of its own.
    let replaced: Vec<_> =
        replaced.chain([("default-server port 3000", "default-server")]).collect();
    let proxy = Proxy::start(config, &[":80"], &replaced);
    let until_leads = |node: usize| {
        let expected = [format!("orchestrator-node-{node}")];
        wait_until(PATIENCE, "the leader is found", || {
            (proxy.up("orchestrator") == expected).then_some(())
        });
    };
    let old = raft.leader(&[0, 1, 2]);
    until_leads(old);
    change_something(&proxy, ":80");
    raft.nodes[old].kill_9();
    let new = raft.leader(&Raft::others(old));
    until_leads(new);
    assert_eq!(reached(&proxy, ":80")["RaftAdvertise"], raft.seats[new]);
}

#[test]
fn haproxy_follows_a_leader_that_yields() {
    let raft = Raft::over(BATON, &[]);
    let proxy = in_front_of(&raft);
    let old = raft.leader(&[0, 1, 2]);
    let heir = Raft::others(old)[0];
    get(&proxy, LEADER, &format!("/api/raft-yield/{}", raft.seats[heir]));
    until_up(&proxy, "baton-leader", &[heir]);
    assert_eq!(reached(&proxy, LEADER)["RaftAdvertise"], raft.seats[heir]);
    change_something(&proxy, LEADER);
    until_up(&proxy, "baton", &[0, 1, 2]);
    change_something(&proxy, HEALTHY);
}

#[test]
fn any_healthy_node_answers_and_no_other_is_asked() {
    let raft = Raft::over(BATON, &[]);
    let proxy = in_front_of(&raft);
    let leader = raft.leader(&[0, 1, 2]);
    let one = Raft::others(leader)[0];
    let all: BTreeSet<String> = (0..ROUNDS)
        .map(|_| reached(&proxy, HEALTHY)["RaftAdvertise"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(all.iter().eq(sorted(&raft.seats)), "everybody answers: {all:?}");
    (0..3).for_each(|_| change_something(&proxy, HEALTHY));
    // One that takes no part any more still answers people, and must not.
    // Asked at the leader itself: HAProxy ends what goes through a node that it gives up.
    raft.nodes[leader].get(&format!("/api/raft-remove-peer/{}", raft.seats[one]));
    until_alone(&raft.nodes[one]);
    let rest: Vec<usize> = (0..3).filter(|it| *it != one).collect();
    until_up(&proxy, "baton", &rest);
    for _ in 0..ROUNDS {
        let node = reached(&proxy, HEALTHY);
        assert_eq!(node["Healthy"], true);
        assert_ne!(node["RaftAdvertise"], raft.seats[one]);
    }
    (0..3).for_each(|_| change_something(&proxy, HEALTHY));
    get(&proxy, HEALTHY, &format!("/api/raft-add-peer/{}", raft.seats[one]));
    until_up(&proxy, "baton", &[0, 1, 2]);
}

/// Three nodes in these places, and a leader among them.
fn apart(places: &[Place; 3]) -> Raft {
    let seats = places.each_ref().map(|place| format!("{}:10008", place.address()));
    let all = seats.join(",");
    let start = |(seat, place): (&String, &Place)| {
        let mut settings = seat_settings(seat, &all);
        settings.push(("BATON_RAFTALLOWPLAINTEXT", "true"));
        let mut node = Baton::prepare(BATON, Vec::new(), &settings).at(place);
        node.launch();
        node
    };
    let nodes = seats.iter().zip(places).map(start).collect();
    let raft = Raft { nodes, seats };
    raft.leader(&[0, 1, 2]);
    raft
}

#[test]
fn a_leader_that_lost_its_peers_is_asked_no_more_though_it_answers() {
    let mut net = Net::join();
    let places = [1, 2, 3].map(|number| net.place(&format!("node {number}")));
    let raft = apart(&places);
    let proxy = in_front_of(&raft);
    let old = raft.leader(&[0, 1, 2]);
    let [one, other] = Raft::others(old)[..] else { panic!("two others") };
    // HAProxy still reaches all three.
    net.part(&[&places[old]], &[&places[one], &places[other]]);
    let new = raft.leader(&[one, other]);
    until_alone(&raft.nodes[old]);
    until_up(&proxy, "baton-leader", &[new]);
    until_up(&proxy, "baton", &[one, other]);
    for _ in 0..ROUNDS {
        assert_eq!(reached(&proxy, LEADER)["RaftAdvertise"], raft.seats[new]);
        let node = reached(&proxy, HEALTHY);
        assert_eq!(node["Healthy"], true);
        assert_ne!(node["RaftAdvertise"], raft.seats[old]);
    }
    change_something(&proxy, LEADER);
    change_something(&proxy, HEALTHY);
    net.heal();
    until_up(&proxy, "baton", &[0, 1, 2]);
    until_up(&proxy, "baton-leader", &[raft.leader(&[0, 1, 2])]);
}

fn sorted(seats: &[String; 3]) -> Vec<&String> {
    let mut all: Vec<&String> = seats.iter().collect();
    all.sort();
    all
}
