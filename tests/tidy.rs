//! The rules of the house that a compiler does not enforce.

#![allow(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may depend on inside the workspace. Anything else is a layering error.
const LAYERS: [(&str, &[&str]); 5] = [
    ("topology", &[]),
    ("schema", &["topology"]),
    ("actors", &["schema", "topology"]),
    // Reads come from snapshots, history and writes go through the ports: the web never sees SQL.
    ("web", &["actors", "topology"]),
    (".", &["web", "actors", "schema", "topology"]),
];

/// Libraries the pure core may use: none of them does I/O, reads a clock or rolls dice.
const PURE: [&str; 6] = ["regex", "rpds", "serde", "serde_json", "thiserror", "uuid"];

/// What the pure core must not know of: runtimes, I/O, clocks, chance, unordered maps (I14).
const IMPURE: [&str; 17] = [
    "tokio::",
    "actix",
    "mysql_async",
    "rusqlite",
    "tracing::",
    "rand::",
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "std::env",
    "TcpStream",
    "UdpSocket",
    "Instant::now",
    "SystemTime",
    "HashMap",
    "HashSet",
];

/// Names of the old API that must not leave the edges.
const OLD_NAMES: [&str; 6] = [
    "MasterKey",
    "ReplicationIOThreadRuning",
    "SlaveHosts",
    "DeadMaster",
    "IsCoMaster",
    "Slave_IO_Running",
];

/// Where old names are at home: the old JSON, the old configuration and client, and what servers
/// of older versions call things themselves.
const EDGES: [&str; 5] =
    ["web/src/compat", "src/config", "src/cli", "topology/src/reading", "actors/src/mysql"];

/// No file grows beyond this; tests stand apart and may be longer.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn source_files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in ["topology/src", "schema/src", "actors/src", "web/src", "src"] {
        collect(&root().join(folder), &mut files);
    }
    assert!(files.len() > 20, "the sources are where this test looks for them");
    files
}

fn collect(folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(root()).unwrap().display().to_string();
            files.push((shown, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The names in one section of a manifest.
fn dependencies(manifest: &str, section: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == section;
        } else if inside && line.starts_with(|first: char| first.is_ascii_alphabetic()) {
            names.push(line.split([' ', '.', '=']).next().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn crates_depend_only_downwards() {
    for (krate, allowed) in LAYERS {
        let manifest = fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
        for name in dependencies(&manifest, "[dependencies]") {
            let Some(member) = name.strip_prefix("baton-") else { continue };
            assert!(allowed.contains(&member), "{krate} must not depend on {member}");
        }
    }
}

#[test]
fn the_core_is_pure() {
    let manifest = fs::read_to_string(root().join("topology/Cargo.toml")).unwrap();
    for name in dependencies(&manifest, "[dependencies]") {
        assert!(PURE.contains(&name.as_str()), "the core takes on {name}: is that pure?");
    }
    for (path, text) in source_files() {
        if path.starts_with("topology/") {
            for word in IMPURE {
                assert!(!text.contains(word), "{path} knows of {word}");
            }
        }
    }
}

#[test]
fn files_stay_readable() {
    for (path, text) in source_files() {
        let lines = text.lines().count();
        let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
        assert!(is_test || lines <= LINES_MAX, "{path} has {lines} lines: is it one thing?");
    }
}

#[test]
fn old_names_stay_at_the_edges() {
    for (path, text) in source_files() {
        if EDGES.iter().any(|edge| path.starts_with(edge)) {
            continue;
        }
        for name in OLD_NAMES {
            assert!(!text.contains(name), "{path} speaks of {name}");
        }
    }
}

#[test]
fn decision_records_are_numbered_without_gaps() {
    let mut names: Vec<String> = fs::read_dir(root().join("docs/adr"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for (index, name) in names.iter().enumerate() {
        let number = format!("{:04}-", index + 1);
        assert!(name.starts_with(&number), "{name} should start with {number}");
    }
}
