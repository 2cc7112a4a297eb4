//! A test that runs part of itself in a process of its own: one that is killed, or is somebody else.

#![allow(dead_code, reason = "each user needs another part of it")]

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tells a test that it is the child of another one, and where its store is.
const CHILD: &str = "BATON_STORE_TEST_CHILD";

/// A test program, made to run one test only.
pub(crate) fn child(program: &Path, test: &str, store: &Path) -> Command {
    let mut process = Command::new(program);
    process.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, store);
    process
}

/// This test program, made to run one test only.
pub(crate) fn child_of_this(test: &str, store: &Path) -> Command {
    child(&std::env::current_exe().unwrap(), test, store)
}

/// The store, if this is the child.
pub(crate) fn child_store() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Tells whoever started this process.
pub(crate) fn say(text: &str) {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\n{text}").unwrap();
    stdout.flush().unwrap();
}

/// Tells what is not to be forgotten.
pub(crate) fn acknowledge(number: u64) {
    say(&format!("acknowledged {number}"));
}

/// Runs a child until it has acknowledged so many numbers, and kills it. The last number it told.
pub(crate) fn kill_after(mut process: Command, acknowledgements: u64) -> u64 {
    let mut process = process.stdout(Stdio::piped()).spawn().unwrap();
    let (mut seen, mut acknowledged) = (0, 0);
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        let Some(number) = line.strip_prefix("acknowledged ") else { continue };
        acknowledged = number.parse().unwrap();
        seen += 1;
        if seen == acknowledgements {
            process.kill().unwrap();
        }
    }
    process.wait().unwrap();
    assert!(seen >= acknowledgements, "the child ended by itself after {seen}");
    acknowledged
}
