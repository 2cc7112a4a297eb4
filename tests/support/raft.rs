//! Three batons of one raft, on loopback.

use serde_json::Value;

use super::{Baton, EVERYWHERE, PATIENCE, Server, free_port, wait_until};

/// Addresses that nobody listens on.
pub fn free_seats<const N: usize>() -> [String; N] {
    [(); N].map(|()| format!("127.0.0.1:{}", free_port()))
}

/// The settings of one node.
pub fn seat_settings<'a>(seat: &'a str, all: &'a str) -> Vec<(&'a str, &'a str)> {
    let own = [
        ("BATON_RAFTENABLED", "true"),
        ("BATON_RAFTDATADIR", "raft"),
        ("BATON_RAFTBIND", seat),
        ("BATON_RAFTNODES", all),
        ("BATON_RAFTSECRET", "open sesame"),
    ];
    EVERYWHERE.into_iter().chain(own).collect()
}

/// Three nodes.
pub struct Raft {
    /// The nodes, in the order of their seats.
    pub nodes: Vec<Baton>,
    /// Where each is for the others.
    pub seats: [String; 3],
}

impl Raft {
    /// Three nodes that know one of these servers, and a leader among them.
    pub fn over(program: &str, servers: &[Server]) -> Self {
        Self::over_with(program, servers, &[])
    }

    /// The same, with further settings.
    pub fn over_with(program: &str, servers: &[Server], settings: &[(&str, &str)]) -> Self {
        let seats: [String; 3] = free_seats();
        let all = seats.join(",");
        let seeds: Vec<String> = servers.first().map(Server::address).into_iter().collect();
        let start = |seat: &String| {
            let settings = [&seat_settings(seat, &all), settings].concat();
            Baton::start(program, seeds.clone(), &settings)
        };
        let nodes: Vec<Baton> = seats.iter().map(start).collect();
        let raft = Self { nodes, seats };
        raft.leader(&[0, 1, 2]);
        for node in &raft.nodes {
            node.until_all_valid(servers.len());
        }
        raft
    }

    /// Which of these leads, once one does.
    pub fn leader(&self, among: &[usize]) -> usize {
        wait_until(PATIENCE, "one of them leads", || {
            among.iter().copied().find(|it| role(&self.nodes[*it]) == "Leader")
        })
    }

    /// Those beside the leader.
    pub fn others(leader: usize) -> Vec<usize> {
        (0..3).filter(|it| *it != leader).collect()
    }
}

/// Lines of the log that say this.
pub fn told(node: &Baton, message: &str) -> Vec<Value> {
    let log = node.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

/// What a node last said it is.
pub fn role(node: &Baton) -> String {
    let newest = told(node, "raft").pop();
    newest.and_then(|line| line["role"].as_str().map(str::to_owned)).unwrap_or_default()
}
