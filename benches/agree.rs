//! Three batons that agree: how long it takes them to find another leader, to fail over with and without one, to make a
//! change, and to take somebody back who was away for half a day. Run by `make bench`; with a part of a name after
//! `cargo bench --bench agree --`, only what is called so.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and measures real time"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::{Baton, EVERYWHERE, Flavor, PATIENCE, Server, Writers, free_seats, shop, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const NODES: usize = 3;
const RUNS: usize = 10;
const CHANGES: usize = 200;
/// One change every three seconds for twelve hours: more than a log is kept for.
const MISSED: usize = 12 * 60 * 60 / 3;
/// Pools that are submitted over and over again: a ledger holds so many only.
const POOLS: usize = 1_000;
/// So many people make changes at the same time while a node is away.
const PEOPLE: usize = 8;
/// Nobody waits longer for anything here.
const AT_MOST: Duration = Duration::from_secs(60);

fn main() {
    let wanted = std::env::args().skip(1).find(|it| !it.starts_with('-')).unwrap_or_default();
    let parts: [(&str, fn()); 6] = [
        ("leader killed", leader_killed),
        ("yield", planned_yield),
        ("change", change),
        ("absence", absence),
        ("primary killed", || failover("primary killed", Loss::Primary, 250)),
        ("both killed", || failover("leader and primary killed together", Loss::Both, 4_000)),
    ];
    for (_, part) in parts.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        part();
    }
}

/// Three nodes on loopback.
struct Raft {
    nodes: Vec<Baton>,
    seats: [String; NODES],
}

impl Raft {
    fn start(servers: &[Server]) -> Self {
        let seats: [String; NODES] = free_seats();
        let all = seats.join(",");
        let seeds: Vec<String> = servers.first().map(Server::address).into_iter().collect();
        let start = |seat: &String| {
            let own = [
                ("BATON_RAFTENABLED", "true"),
                ("BATON_RAFTDATADIR", "raft"),
                ("BATON_RAFTBIND", seat),
                ("BATON_RAFTNODES", &all),
                ("BATON_RAFTSECRET", "open sesame"),
            ];
            let settings: Vec<(&str, &str)> = EVERYWHERE.into_iter().chain(own).collect();
            Baton::start(BATON, seeds.clone(), &settings)
        };
        let nodes = seats.iter().map(start).collect();
        let raft = Self { nodes, seats };
        raft.settled();
        raft.nodes.iter().for_each(|it| it.until_all_valid(servers.len()));
        raft
    }

    /// Who leads, once all hear of it.
    fn settled(&self) -> usize {
        wait_until(AT_MOST, "all hear of one leader", || {
            let names = self.nodes.iter().map(|it| it.get("/api/raft-leader"));
            let mut names: Vec<String> = names.map(|it| it.to_string()).collect();
            names.dedup();
            let mut leaders = (0..NODES).filter(|it| leads(&self.nodes[*it]));
            leaders.next_back().filter(|_| names.len() == 1 && names[0].contains(':'))
        })
    }

    /// Who leads of these, at the moment at which a load balancer could know.
    fn leader(&self, among: &[usize]) -> usize {
        wait_until(AT_MOST, "one of them leads", || {
            among.iter().copied().find(|it| leads(&self.nodes[*it]))
        })
    }
}

fn leads(node: &Baton) -> bool {
    node.try_get("/api/leader-check").is_some_and(|(status, _)| status == 200)
}

fn but(one: usize) -> Vec<usize> {
    (0..NODES).filter(|it| *it != one).collect()
}

fn leader_killed() {
    let mut raft = Raft::start(&[]);
    let took = (0..RUNS).map(|_| {
        let old = raft.settled();
        let began = Instant::now();
        raft.nodes[old].kill_9();
        raft.leader(&but(old));
        let took = began.elapsed();
        raft.nodes[old].launch();
        took
    });
    tell("leader killed: until another one's leader-check is 200", took.collect(), "median 3500");
}

fn planned_yield() {
    let raft = Raft::start(&[]);
    let took = (0..RUNS).map(|_| {
        let old = raft.settled();
        let heir = but(old)[0];
        let began = Instant::now();
        raft.nodes[old].get(&format!("/api/raft-yield/{}", raft.seats[heir]));
        raft.leader(&[heir]);
        began.elapsed()
    });
    tell("planned yield: until the heir's leader-check is 200", took.collect(), "100");
}

/// As one types it: a new connection for each.
fn change() {
    let raft = Raft::start(&[]);
    let leader = raft.settled();
    let follower = but(leader)[0];
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for number in 0..CHANGES {
        for (node, took) in [(leader, &mut direct), (follower, &mut through)] {
            let began = Instant::now();
            let done = try_submit(&raft.nodes[node], &format!("pool{number}-{node}"));
            // One that was refused is no measure of those that are made.
            took.extend(done.map(|()| began.elapsed()));
        }
    }
    let (at_leader, at_follower) = (median(&mut direct), median(&mut through));
    tell("a change, asked of the leader", direct, "median 5");
    tell("a change, asked of a follower", through, "median + 2");
    println!("through a follower: {:+.2} ms (bar 2)", at_follower - at_leader);
}

fn try_submit(node: &Baton, pool: &str) -> Option<()> {
    let path = format!("/api/submit-pool-instances/{pool}?instances=db1:3306,db2:3306");
    let (status, body) = node.try_get(&path)?;
    assert!(matches!(status, 200 | 503), "{status}: {body}");
    (status == 200).then_some(())
}

fn absence() {
    let mut raft = Raft::start(&[]);
    let leader = raft.settled();
    let away = but(leader)[0];
    raft.nodes[away].kill_9();
    std::thread::scope(|scope| {
        let node = &raft.nodes[leader];
        for person in 0..PEOPLE {
            scope.spawn(move || {
                for number in (person..MISSED).step_by(PEOPLE) {
                    // A machine that is busy with other things may keep somebody waiting.
                    wait_until(AT_MOST, "it is done", || {
                        try_submit(node, &format!("pool{}", number % POOLS))
                    });
                }
            });
        }
    });
    let leads_now = raft.leader(&but(away));
    let done = raft.nodes[leads_now].get("/api/disable-global-recoveries");
    assert_eq!(done["Code"], "OK", "{done}");
    let began = Instant::now();
    raft.nodes[away].launch();
    let knows = "/api/check-global-recoveries?local=true";
    wait_until(AT_MOST, "it has caught up", || {
        assert!(leads(&raft.nodes[leads_now]), "its return disturbs nobody");
        (raft.nodes[away].get(knows)["Details"] == "disabled").then_some(())
    });
    let took = began.elapsed();
    assert_eq!(raft.settled(), leads_now, "its return changes nothing");
    tell(&format!("back after {MISSED} changes, until it has them"), vec![took], "5000");
}

#[derive(Clone, Copy, PartialEq)]
enum Loss {
    Primary,
    Both,
}

fn failover(what: &str, loss: Loss, bar: u32) {
    let took = (0..RUNS).map(|_| outage(loss)).collect();
    tell(
        &format!("{what} (MySQL): until the first write elsewhere"),
        took,
        &format!("median {bar}"),
    );
}

fn outage(loss: Loss) -> Duration {
    let mut servers = shop(Flavor::MySql97);
    Writers::prepare(&servers);
    let mut raft = Raft::start(&servers);
    let leader = raft.settled();
    wait_until(PATIENCE, "all watch the primary", || {
        let parked = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'";
        (servers[0].query(parked).len() == NODES).then_some(())
    });
    let writers = Writers::start(&servers);
    wait_until(PATIENCE, "they write", || (writers.acknowledged().len() > 50).then_some(()));
    let began = Instant::now();
    if loss == Loss::Both {
        raft.nodes[leader].kill_9();
    }
    servers[0].kill_9();
    let first = wait_until(AT_MOST, "somebody writes elsewhere", || {
        writers.acknowledged().iter().find(|it| it.server != 0).copied()
    });
    drop(writers);
    first.at - began
}

fn median(took: &mut [Duration]) -> f64 {
    took.sort();
    let ms = |at: usize| took[at].as_secs_f64() * 1e3;
    let (low, high) = ((took.len() - 1) / 2, took.len() / 2);
    (ms(low) + ms(high)) / 2.0
}

fn tell(what: &str, mut took: Vec<Duration>, bar: &str) {
    let median = median(&mut took);
    let (min, max) = (took[0].as_secs_f64() * 1e3, took[took.len() - 1].as_secs_f64() * 1e3);
    println!("{what}: min {min:.1} ms, median {median:.1} ms, max {max:.1} ms (bar {bar})");
}
