//! Real servers, the real program: how long nobody can write when a primary dies, hangs, or hands
//! over in peace. Run by `make bench`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and measures real time"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::{Acknowledged, Baton, Flavor, Options, Server, Writers, empower};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const RUNS: usize = 10;
const REPLICAS: usize = 3;
const SETTINGS: [(&str, &str); 3] = [
    ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
    ("BATON_DETECTCLUSTERALIASQUERY", "SELECT 'shop'"),
    ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'"),
];

/// What happens to the primary.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Killed,
    Hung,
    /// And its replicas acknowledge.
    HungInSemiSync,
    HandsOver,
}

fn main() {
    println!("writers try every 5 ms on each of {} servers; {RUNS} runs each", REPLICAS + 1);
    for (fate, flavor, bar) in [
        (Fate::Killed, Flavor::MySql97, 200),
        (Fate::Killed, Flavor::MariaDb1011, 120),
        (Fate::Hung, Flavor::MySql97, 4_000),
        (Fate::HungInSemiSync, Flavor::MySql97, 4_000),
        (Fate::Hung, Flavor::MariaDb1011, 4_000),
        (Fate::HungInSemiSync, Flavor::MariaDb1011, 4_000),
        (Fate::HandsOver, Flavor::MySql97, 100),
    ] {
        let mut took: Vec<Duration> = (0..RUNS).map(|_| outage(flavor, fate)).collect();
        took.sort();
        let ms = |at: usize| took[at].as_secs_f64() * 1e3;
        let (min, median, max) = (ms(0), (ms(RUNS / 2 - 1) + ms(RUNS / 2)) / 2.0, ms(RUNS - 1));
        println!(
            "{fate:?}, {flavor:?}: nobody could write for min {min:.0} ms, median {median:.0} ms \
             (bar {bar}), max {max:.0} ms"
        );
    }
}

fn outage(flavor: Flavor, fate: Fate) -> Duration {
    let mut servers = shop(flavor, fate);
    let baton = Baton::start(BATON, vec![servers[0].address()], &SETTINGS);
    baton.until_all_valid(REPLICAS + 1);
    support::wait_until(support::PATIENCE, "the primary is watched", || {
        let parked = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'";
        (!servers[0].query(parked).is_empty()).then_some(())
    });
    let writers = Writers::start(&servers);
    support::wait_until(support::PATIENCE, "they write", || {
        (writers.acknowledged().len() > 50).then_some(())
    });
    let began = Instant::now();
    match fate {
        Fate::Killed => servers[0].kill_9(),
        Fate::Hung | Fate::HungInSemiSync => servers[0].stop_signal(),
        Fate::HandsOver => {
            let answer = baton.get("/api/graceful-master-takeover-auto/shop");
            assert_eq!(answer["Code"], "OK", "{answer}");
        }
    }
    let elsewhere = |write: &&Acknowledged| write.server != 0;
    let first = support::wait_until(Duration::from_secs(60), "somebody writes elsewhere", || {
        writers.acknowledged().iter().find(elsewhere).copied()
    });
    let all = writers.acknowledged();
    drop(writers);
    let kept: Vec<u64> = ids(&servers[first.server]);
    let lost = all.iter().filter(|it| it.server != 0 && !kept.contains(&it.id)).count();
    assert_eq!(lost, 0, "what the new primary acknowledged it has");
    match fate {
        Fate::Killed | Fate::Hung | Fate::HungInSemiSync => first.at - began,
        Fate::HandsOver => {
            let before: Vec<u64> = all.iter().filter(|it| it.server == 0).map(|it| it.id).collect();
            assert!(before.iter().all(|id| kept.contains(id)), "in peace nothing is lost");
            let last = all.iter().rfind(|it| it.server == 0).map_or(began, |it| it.at);
            first.at - last
        }
    }
}

fn ids(server: &Server) -> Vec<u64> {
    let rows = server.query("SELECT id FROM shop.writes ORDER BY id");
    rows.into_iter().filter_map(|row| row.into_iter().next()??.parse().ok()).collect()
}

fn shop(flavor: Flavor, fate: Fate) -> Vec<Server> {
    let acknowledges = matches!(fate, Fate::HungInSemiSync);
    let plain = Options::new(flavor);
    let options = if acknowledges { plain.semi_sync() } else { plain };
    let replicas = std::iter::repeat_n(options.clone().read_only(), REPLICAS);
    let servers = Server::start_all(std::iter::once(options).chain(replicas));
    servers[1..].iter().for_each(|replica| replica.replicate_from(&servers[0]));
    empower(&servers);
    Writers::prepare(&servers);
    if acknowledges {
        servers[0].wait_for_acknowledgements();
    }
    servers
}
