//! Real servers, the real program: a primary that stands still for half a second to two and a half
//! and goes on is not replaced. Run by `make bench`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and measures real time"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::thread::sleep;
use std::time::Duration;

use support::{Baton, Flavor, Options, Server, Writers, empower};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const STALLS: u32 = 25;
const SETTINGS: [(&str, &str); 3] = [
    ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
    ("BATON_DETECTCLUSTERALIASQUERY", "SELECT 'shop'"),
    ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'"),
];
/// By then a failover that was begun is known.
const AFTERWARDS: Duration = Duration::from_millis(2_500);

fn main() {
    for (flavor, replicas, acknowledge) in [
        (Flavor::MySql97, 1, false),
        (Flavor::MySql97, 3, true),
        (Flavor::MariaDb1011, 1, false),
        (Flavor::MariaDb1011, 3, true),
    ] {
        let servers = shop(flavor, replicas, acknowledge);
        let baton = Baton::start(BATON, vec![servers[0].address()], &SETTINGS);
        baton.until_all_valid(replicas + 1);
        let _writers = Writers::start(&servers);
        let mut replaced = 0;
        for at in 0..STALLS {
            sleep(AFTERWARDS);
            servers[0].stop_signal();
            sleep(Duration::from_millis(500) + Duration::from_secs(2) * at / (STALLS - 1));
            servers[0].cont_signal();
            sleep(AFTERWARDS);
            let recoveries = baton.get("/api/audit-recovery");
            replaced = recoveries.as_array().map_or(0, Vec::len);
            if replaced > 0 {
                println!("  {}: {}", at, recoveries[0]["AnalysisEntry"]["Analysis"]);
                break;
            }
        }
        println!(
            "{flavor:?}, {replicas} replicas, semi-sync {acknowledge}: {STALLS} stalls of 0.5 to 2.5 s, \
             {replaced} failovers (bar 0)"
        );
    }
}

fn shop(flavor: Flavor, replicas: usize, acknowledge: bool) -> Vec<Server> {
    let plain = Options::new(flavor);
    let options = if acknowledge { plain.semi_sync() } else { plain };
    let others = std::iter::repeat_n(options.clone().read_only(), replicas);
    let servers = Server::start_all(std::iter::once(options).chain(others));
    servers[1..].iter().for_each(|replica| replica.replicate_from(&servers[0]));
    empower(&servers);
    Writers::prepare(&servers);
    if acknowledge {
        servers[0].wait_for_acknowledgements();
    }
    servers
}
