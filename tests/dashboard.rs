//! The dashboard in a real browser, against baton and real servers.
//!
//! What happens in the browser is played by `tests/browser/*.mjs`. A play tells on its output what
//! it wants done to the servers, one JSON object a line, and waits for the answer on its input.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Baton, EVERYWHERE, Flavor, Raft, Server, shop};

const BATON: &str = env!("CARGO_BIN_EXE_baton");

/// Where the browser's libraries lie; `tests/support/install-browser` puts them there.
fn tools() -> std::path::PathBuf {
    let installed = Command::new(root().join("tests/support/install-browser"))
        .stderr(Stdio::inherit())
        .output()
        .expect("run install-browser");
    assert!(installed.status.success(), "install-browser failed");
    String::from_utf8_lossy(&installed.stdout).trim().into()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Plays a file of `tests/browser`, and fails as it fails.
#[allow(clippy::print_stdout, reason = "what a play says belongs to the test's output")]
fn play(name: &str, batons: &mut [Baton], servers: &mut [Server]) {
    let addresses: Vec<String> = servers.iter().map(Server::address).collect();
    let urls = batons.iter().map(|baton| format!("http://127.0.0.1:{}", baton.port));
    let urls: Vec<String> = urls.collect();
    let mut node = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "node"])
        .arg(root().join("tests/browser").join(name))
        .env("BATONS", json!(urls).to_string())
        .env("SERVERS", json!(addresses).to_string())
        .env("TOOLS", tools())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start node");
    let mut input = node.stdin.take().expect("talk to the play");
    let output = BufReader::new(node.stdout.take().expect("hear the play"));
    for line in output.lines() {
        let line = line.expect("hear the play");
        match serde_json::from_str::<Value>(&line) {
            Ok(wish) if wish.is_object() => {
                let answer = fulfil(&wish, batons, servers);
                writeln!(input, "{answer}").expect("answer the play");
            }
            _ => println!("{line}"),
        }
    }
    let status = node.wait().expect("wait for the play");
    assert!(status.success(), "{name} ended with {status}");
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
        "ask" => return json!(servers[at].value(text)),
        "stop baton" => batons[baton].kill_9(),
        "start baton" => batons[baton].launch(),
        other => panic!("nobody knows how to {other:?}"),
    }
    json!("done")
}

#[test]
fn types_are_right() {
    let tools = tools();
    let checked = Command::new(tools.join("node_modules/.bin/tsc"))
        .args(["-p", "tests/browser/tsconfig.json"])
        .current_dir(root())
        .output()
        .expect("run tsc");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn whoever_may_only_look_sees_everything_even_of_ten_thousand() {
    let settings = [
        ("BATON_READONLY", "true"),
        ("BATON_WEBMESSAGE", "<b>drill</b> at noon"),
        ("BATON_REMOVETEXTFROMHOSTNAMEDISPLAY", ".example.com"),
    ];
    let baton = Baton::start(BATON, Vec::new(), &settings);
    play("onlooker.mjs", &mut [baton], &mut []);
}

#[test]
fn people_see_and_do_everything() {
    let mut servers = shop(Flavor::MySql97);
    let settings = [&EVERYWHERE[..], &[("BATON_URLPREFIX", "/ops")]].concat();
    let baton = Baton::start(BATON, vec![servers[0].address()], &settings);
    let name = std::env::var("PLAY").unwrap_or_else(|_| "dashboard.mjs".to_owned());
    play(&name, &mut [baton], &mut servers);
}

#[test]
fn pages_go_on_when_another_node_leads() {
    let mut servers = shop(Flavor::MySql97);
    let mut raft = Raft::over(BATON, &servers);
    // The play finds out by itself who leads.
    raft.leader(&[0, 1, 2]);
    play("leader.mjs", &mut raft.nodes, &mut servers);
}
