//! The demo: a real topology under writes, a crash, and what baton does about it.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a demo prints, and shows how long things really take"
)]

#[path = "mod.rs"]
mod support;

use std::io::IsTerminal;
use std::time::Instant;

use serde_json::Value;
use support::{Baton, Flavor, Options, PATIENCE, Server, Writers, empower, wait_until};

const REPLICAS: usize = 4;

fn main() {
    // Examples are built into a folder beside the program.
    let here = std::env::current_exe().expect("know where the demo lies");
    let folder = here.parent().and_then(std::path::Path::parent).expect("lie in a folder");
    let program = folder.join("baton");
    let started = Instant::now();
    println!("starting {} MySQL 9.7 servers in a private folder", REPLICAS + 1);
    let mut servers = topology();
    empower(&servers);
    Writers::prepare(&servers);
    println!("they run and replicate, after {:.1} s\n", started.elapsed().as_secs_f64());

    println!("$ baton serve --discover {}", servers[0].address());
    let settings = [
        ("BATON_DETECTCLUSTERALIASQUERY", "SELECT 'shop'"),
        ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
        ("BATON_RECOVERINTERMEDIATEMASTERCLUSTERFILTERS", "*"),
    ];
    let known = Instant::now();
    let baton = Baton::start(program, vec![servers[0].address()], &settings);
    baton.until_all_valid(REPLICAS + 1);
    let took = known.elapsed().as_millis();
    println!("baton started and found the whole topology from one server in {took} ms:\n");
    draw(&baton);

    let writers = Writers::start(&servers);
    wait_until(PATIENCE, "they write", || (writers.acknowledged().len() > 50).then_some(()));
    println!("applications write all the time\n$ kill -9 the primary, {}", servers[0].address());
    let killed = Instant::now();
    servers[0].kill_9();
    let first = wait_until(PATIENCE, "somebody else accepts writes", || {
        writers.acknowledged().into_iter().find(|write| write.server != 0)
    });
    let took = (first.at - killed).as_millis();
    println!(
        "after {took} ms the first write is accepted by {}\n",
        servers[first.server].address()
    );
    let recovery = baton.until("/api/audit-recovery", "the recovery has ended", |all| {
        let newest = all.as_array()?.first()?.clone();
        (newest["RecoveryEndTimestamp"] != "").then_some(newest)
    });
    tell(&baton, &recovery);
    baton.until("/api/master/shop", "the others follow", |it| {
        (it["Replicas"].as_array()?.len() == 2 || it["Replicas"].as_array()?.len() == 3)
            .then_some(())
    });
    draw(&baton);

    println!("$ start the old primary again: it still takes itself for one");
    servers[0].restart();
    wait_until(PATIENCE, "it is fenced", || {
        // Whoever asks at that moment may be sent away with the clients.
        let answer = servers[0].try_query("SELECT @@global.super_read_only").ok()?;
        (answer.first()?.first()?.as_deref() == Some("1")).then_some(())
    });
    println!("baton made it read-only on sight; what it has of its own is told, or it comes back:");
    let home = format!("/api/rejoin/{}/{}", servers[0].host, servers[0].port);
    println!("$ baton client api -path rejoin/{}/{}", servers[0].host, servers[0].port);
    let answer = baton.get(&home);
    println!("  {}\n", wrap(answer["Message"].as_str().unwrap_or_default()));
    baton.until_all_valid(REPLICAS + 1);
    draw(&baton);
    drop(writers);
    stay(&baton);
}

/// A primary; below it two replicas, the first of which has two of its own.
fn topology() -> Vec<Server> {
    let primary = Options::new(Flavor::MySql97);
    let replicas = std::iter::repeat_n(primary.clone().read_only(), REPLICAS);
    let servers = Server::start_all(std::iter::once(primary).chain(replicas));
    for (replica, source) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
        servers[replica].replicate_from(&servers[source]);
    }
    servers
}

/// Draws the topology once all replicas have connected.
fn draw(baton: &Baton) {
    let drawn = baton.until("/api/topology-tabulated/shop", "all replicate", |answer| {
        let drawn = answer["Details"].as_str()?.to_owned();
        (!drawn.contains("nonreplicating")).then_some(drawn)
    });
    println!("{drawn}\n");
}

/// What was done, step by step.
fn tell(baton: &Baton, recovery: &Value) {
    println!("what baton did, from its audit:");
    let uid = recovery["UID"].as_str().unwrap_or_default();
    let steps = baton.get(&format!("/api/audit-recovery-steps/{uid}"));
    for step in steps.as_array().into_iter().flatten() {
        println!("  - {}", wrap(step["Message"].as_str().unwrap_or_default()));
    }
    println!();
}

/// Breaks a sentence so that it fits into 80 columns.
fn wrap(text: &str) -> String {
    const COLUMNS: usize = 74;
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        if column > 0 && column + word.len() >= COLUMNS {
            wrapped.push_str("\n    ");
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += word.len();
    }
    wrapped
}

/// Leaves everything running for whoever watches.
fn stay(baton: &Baton) {
    let url = format!("http://127.0.0.1:{}", baton.port);
    println!("open: {url}/ui/");
    println!("try:  curl -s {url}/api/clusters-info");
    println!("      curl -s {url}/api/replication-analysis");
    println!("      curl -s {url}/metrics");
    if std::env::var_os("DEMO_EXIT").is_some() || !std::io::stdin().is_terminal() {
        return;
    }
    println!("\nall of it stays up until you press Ctrl-C");
    let ended = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = ended {
        // Should signals not be had, the demo ends here, which is as good.
        let _ = runtime.block_on(tokio::signal::ctrl_c());
    }
    println!("\ncleaning up");
}
