//! Plays of `tests/browser` in a real browser.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Where the browser's libraries lie; `install-browser` puts them there.
pub fn browser_tools() -> PathBuf {
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

/// Plays one against the batons on these ports, and fails as it fails. What it wants done it says on its output, one
/// JSON object a line, and waits for the answer on its input.
#[allow(clippy::print_stdout, reason = "what a play says belongs to the test's output")]
pub fn play_with(
    name: &str,
    ports: &[u16],
    servers: &[String],
    mut fulfil: impl FnMut(&Value) -> Value,
) {
    let urls: Vec<String> = ports.iter().map(|it| format!("http://127.0.0.1:{it}")).collect();
    let mut node = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "node"])
        .arg(root().join("tests/browser").join(name))
        .env("BATONS", json!(urls).to_string())
        .env("SERVERS", json!(servers).to_string())
        .env("TOOLS", browser_tools())
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
                let answer = fulfil(&wish);
                writeln!(input, "{answer}").expect("answer the play");
            }
            _ => println!("{line}"),
        }
    }
    let status = node.wait().expect("wait for the play");
    assert!(status.success(), "{name} ended with {status}");
}
