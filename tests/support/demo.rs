//! The demo: a real topology, a crash, and what baton says of it.
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
use support::{Baton, Flavor, Options, Server, admit};

const REPLICAS: usize = 4;

fn main() {
    // Examples are built into a folder beside the program.
    let here = std::env::current_exe().expect("know where the demo lies");
    let folder = here.parent().and_then(std::path::Path::parent).expect("lie in a folder");
    let program = folder.join("baton");
    let started = Instant::now();
    println!("starting {} MySQL 9.7 servers in a private folder", REPLICAS + 1);
    let mut servers = topology();
    admit(&servers);
    println!("they run and replicate, after {:.1} s\n", started.elapsed().as_secs_f64());

    println!("$ baton serve --discover {}", servers[0].address());
    let settings = [("BATON_DETECTCLUSTERALIASQUERY", "SELECT 'shop'")];
    let known = Instant::now();
    let baton = Baton::start(program, vec![servers[0].address()], &settings);
    baton.until_all_valid(REPLICAS + 1);
    let took = known.elapsed().as_millis();
    println!("baton started and found the whole topology from one server in {took} ms:\n");
    draw(&baton);

    println!("$ kill -9 the primary, {}", servers[0].address());
    let killed = Instant::now();
    servers[0].kill_9();
    baton.until_found(&servers[0], "DeadMaster");
    let took = killed.elapsed().as_millis();
    println!("after {took} ms baton says:\n");
    explain(&baton.get("/api/replication-analysis"));
    draw(&baton);

    println!("$ start it again");
    servers[0].restart();
    baton.until("/api/replication-analysis", "all is well again", |answer| {
        answer["Details"].as_array()?.is_empty().then_some(())
    });
    println!("all is well again:\n");
    draw(&baton);
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

fn draw(baton: &Baton) {
    let drawn = baton.get("/api/topology-tabulated/shop");
    println!("{}\n", drawn["Details"].as_str().unwrap_or_default());
}

fn explain(answer: &Value) {
    for finding in answer["Details"].as_array().into_iter().flatten() {
        let key = &finding["AnalyzedInstanceKey"];
        let host = key["Hostname"].as_str().unwrap_or_default();
        let code = finding["Analysis"].as_str().unwrap_or_default();
        let text = finding["Description"].as_str().unwrap_or_default();
        println!("  {host}:{} {code}", key["Port"]);
        println!("    {}", wrap(text));
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
