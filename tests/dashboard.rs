//! The dashboard in a real browser, against baton and real servers.
//!
//! What happens in the browser is played by `tests/browser/*.mjs`. A play tells on its output what
//! it wants done to the servers, one JSON object a line, and waits for the answer on its input.

#[path = "support/memory.rs"]
mod memory;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use baton_topology::key::InstanceKey;
use baton_topology::version::Version;
use memory::{Memory, Plan};
use serde_json::{Value, json};
use support::{
    Baton, EVERYWHERE, Flavor, Options, Raft, Server, browser_tools, play_with, shop, shop_with,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Plays a file of `tests/browser` with these, and fails as it fails.
fn play(name: &str, batons: &mut [Baton], servers: &mut [Server]) {
    let ports: Vec<u16> = batons.iter().map(|baton| baton.port).collect();
    let addresses: Vec<String> = servers.iter().map(Server::address).collect();
    play_with(name, &ports, &addresses, |wish| fulfil(wish, batons, servers));
}

/// Does to the servers, or to baton, what a play wants.
fn fulfil(wish: &Value, batons: &mut [Baton], servers: &mut [Server]) -> Value {
    let number = |of: &str| usize::try_from(wish[of].as_u64().unwrap_or_default());
    let (at, baton) = (number("server").unwrap_or_default(), number("baton").unwrap_or_default());
    let text = wish["sql"].as_str().unwrap_or_default();
    match wish["do"].as_str().unwrap_or_default() {
        "kill" => servers[at].kill_9(),
        "restart" => servers[at].restart(),
        "exec" => servers[at].exec(text),
        "exec unlogged" => servers[at].run_unlogged(text),
        "ask" => return json!(servers[at].value(text)),
        "stop baton" => batons[baton].kill_9(),
        "hold hooks" => fs::write(batons[baton].folder().join("held"), "").expect("a file"),
        "let hooks go" => fs::remove_file(batons[baton].folder().join("held")).expect("the file"),
        "start baton" => batons[baton].launch(),
        other => panic!("nobody knows how to {other:?}"),
    }
    json!("done")
}

#[test]
fn types_are_right() {
    let checked = Command::new(browser_tools().join("node_modules/.bin/tsc"))
        .args(["-p", "tests/browser/tsconfig.json"])
        .current_dir(root())
        .output()
        .expect("run tsc");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn whoever_may_only_look_sees_everything_even_of_ten_thousand() {
    let memory = Memory::start(Plan::onlooked(Duration::from_secs(60)));
    play_with("onlooker.mjs", &[memory.port], &[], |wish| match wish["do"].as_str() {
        Some("kill") => json!(memory.fleet.kill(&memory::server(7, 0))),
        other => panic!("nobody knows how to {other:?}"),
    });
}

/// Plays something over four clusters in memory.
fn play_in_memory(name: &str) {
    let memory = Memory::start(Plan::handled());
    play_with(name, &[memory.port], &[], |wish| {
        let number = |at: usize| {
            usize::try_from(wish["server"][at].as_u64().unwrap_or_default()).expect("a number")
        };
        let key = memory::server(number(0), number(1));
        let (text, fleet) = (wish["text"].as_str().unwrap_or_default(), &memory.fleet);
        match wish["do"].as_str().unwrap_or_default() {
            "kill" => fleet.kill(&key),
            "write" => {
                fleet.edit(&key, |it| it.read_only = false);
                assert!(fleet.write(&key).is_some(), "{key} takes no writes");
                fleet.edit(&key, |it| it.read_only = true);
            }
            "lag" => {
                fleet.edit(&key, |it| it.channels[0].seconds_behind = wish["seconds"].as_u64())
            }
            "call" => fleet.edit(&key, |it| {
                it.alias = text.into();
                it.version = Version::parse("8.0.36", text);
            }),
            "add" => fleet.add_replica(&InstanceKey::new(text, 3306), &key),
            other => panic!("nobody knows how to {other:?}"),
        }
        json!("done")
    });
}

#[test]
fn what_no_machine_has_is_shown_as_well() {
    play_in_memory("memory.mjs");
}

#[test]
fn what_people_see_elsewhere_they_find_here() {
    play_in_memory("views.mjs");
}

/// Plays something over a shop in which baton recovers what it finds.
fn play_in_shop(name: &str) {
    let plugins = |_, options: Options| {
        let source = options.line("plugin-load-add=semisync_source.so");
        source.line("plugin-load-add=semisync_replica.so")
    };
    let mut servers = shop_with(Flavor::MySql97, plugins);
    let hook = ("BATON_POSTMASTERFAILOVERPROCESSES", "echo the pager was told of {failedHost}");
    // It runs for as long as the play says.
    let held = "while test -e held; do sleep 0.1; done";
    let held = ("BATON_POSTGRACEFULTAKEOVERPROCESSES", held);
    let settings = [&EVERYWHERE[..], &[("BATON_URLPREFIX", "/ops"), hook, held]].concat();
    let baton = Baton::start(BATON, vec![servers[0].address()], &settings);
    play(name, &mut [baton], &mut servers);
}

#[test]
fn people_see_and_do_everything() {
    let name = std::env::var("PLAY").unwrap_or_else(|_| "dashboard.mjs".to_owned());
    play_in_shop(&name);
}

#[test]
fn every_operation_is_done_from_a_menu() {
    play_in_shop("operations.mjs");
}

#[test]
fn people_recover_by_hand() {
    play_in_shop("recoveries.mjs");
}

#[test]
fn pages_go_on_when_another_node_leads() {
    let mut servers = shop(Flavor::MySql97);
    let mut raft = Raft::over(BATON, &servers);
    // The play finds out by itself who leads.
    raft.leader(&[0, 1, 2]);
    play("leader.mjs", &mut raft.nodes, &mut servers);
}
