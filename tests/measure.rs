//! Temporary: stalls and hangs, measured.
#![allow(clippy::all, clippy::print_stdout, clippy::disallowed_methods)]
mod support;
use std::time::{Duration, Instant};
use support::{
    Baton, EVERYWHERE, Flavor, Options, PATIENCE, Server, empower, is_writable, wait_until,
};
const BATON: &str = env!("CARGO_BIN_EXE_baton");

fn pair(flavor: Flavor, replicas: usize, semi: bool) -> Vec<Server> {
    let with = |o: Options| if semi { o.semi_sync() } else { o };
    let servers = Server::start_all((0..=replicas).map(|i| match i {
        0 => with(Options::new(flavor)),
        _ => with(Options::new(flavor).read_only()),
    }));
    servers[1..].iter().for_each(|it| it.replicate_from(&servers[0]));
    if semi {
        servers[0].wait_for_acknowledgements();
    }
    empower(&servers);
    servers
}

#[test]
#[allow(clippy::all, clippy::pedantic, clippy::disallowed_methods, clippy::print_stdout)]
fn hangs() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        for (replicas, semi) in [(1, false), (2, false), (1, true), (2, true)] {
            for round in 0..2 {
                let servers = pair(flavor, replicas, semi);
                let baton = Baton::start(BATON, vec![servers[0].address()], &EVERYWHERE);
                baton.until_all_valid(replicas + 1);
                std::thread::sleep(Duration::from_millis(1000 + round * 170));
                let t = Instant::now();
                servers[0].stop_signal();
                wait_until(PATIENCE, "opened", || {
                    servers[1..].iter().any(|it| is_writable(it)).then_some(())
                });
                println!(
                    "MEASURE hang {flavor:?} replicas {replicas} semi {semi}: {:?}",
                    t.elapsed()
                );
            }
        }
    }
}

#[test]
#[allow(clippy::all, clippy::pedantic, clippy::disallowed_methods, clippy::print_stdout)]
fn stalls() {
    for (n, (flavor, replicas, semi)) in [
        (Flavor::MySql97, 1, false),
        (Flavor::MariaDb1011, 1, false),
        (Flavor::MySql97, 2, true),
        (Flavor::MySql97, 1, true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut lost = 0;
        let mut begun = 0;
        for round in 0..5u64 {
            let servers = pair(flavor, replicas, semi);
            let baton = Baton::start(BATON, vec![servers[0].address()], &EVERYWHERE);
            baton.until_all_valid(replicas + 1);
            std::thread::sleep(Duration::from_millis(900 + round * 131 + n as u64 * 37));
            servers[0].stop_signal();
            std::thread::sleep(Duration::from_millis(1900 + round * 130));
            servers[0].cont_signal();
            std::thread::sleep(Duration::from_millis(2500));
            if servers[1..].iter().any(|it| is_writable(it)) {
                lost += 1;
            }
            if baton.get("/api/audit-recovery") != serde_json::json!([]) {
                begun += 1;
                println!("{}", baton.log());
            }
        }
        println!(
            "MEASURE stalls {flavor:?} replicas {replicas} semi {semi}: lost {lost} begun {begun} of 5"
        );
    }
}
