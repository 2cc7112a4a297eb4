//! Files that cannot be opened, and processes that die.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod child;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;

use baton_schema::{OpenError, Store, Write};
use baton_topology::cluster::ClusterId;
use baton_topology::ledger::Command;
use baton_topology::testing::{key, replica_facts, valid_instance};
use baton_topology::time::Timestamp;

use child::{acknowledge, child, child_of_this, child_store, kill_after, say};

/// Commands the child writes at most, should nobody kill it.
const COMMANDS_MAX: u64 = 1_000_000;
/// A user that owns nothing.
const NOBODY: u32 = 65_534;

fn write(number: u64) -> Write {
    let mut facts = replica_facts(&key("p"));
    facts.server_id = u32::try_from(number).unwrap();
    Write::Instance {
        instance: Arc::new(valid_instance("r", facts)),
        cluster: ClusterId::new("p:3306"),
    }
}

fn tag(number: u64) -> Command {
    Command::Tag { key: key("r"), name: "n".into(), value: number.to_string().into() }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    if let Some(path) = child_store() {
        let mut store = Store::open(&path).unwrap();
        let begin = store.load().unwrap().ledger.index + 1;
        for number in begin..begin + COMMANDS_MAX {
            store.write(&[write(number)]).unwrap();
            store.append_command(number, Timestamp::EPOCH, &tag(number)).unwrap();
            // Often, so that the kill falls into it now and then.
            if number % 10 == 0 {
                let state = store.load().unwrap().ledger;
                store.compact_ledger(&state).unwrap();
            }
            acknowledge(number);
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baton.sqlite");
    for round in 1..=5 {
        let process = child_of_this("nothing_acknowledged_is_lost_by_kill_9", &path);
        let acknowledged = kill_after(process, round * 37);
        let restored = Store::open(&path).unwrap().load().unwrap();
        assert!(restored.ledger.index >= acknowledged, "round {round}");
        assert!(restored.ledger.index <= acknowledged + 1, "only the last one is in doubt");
        let value = restored.ledger.tags_of(&key("r")).next().unwrap().1.to_string();
        assert_eq!(value, restored.ledger.index.to_string(), "round {round}");
        let id = u64::from(restored.instances[0].0.facts.server_id);
        assert!(id >= acknowledged, "what was written before it is there too");
    }
}

#[test]
fn two_batons_do_not_share_a_file() {
    if let Some(path) = child_store() {
        say(&Store::open(&path).unwrap_err().to_string());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baton.sqlite");
    let mut first = Store::open(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(OpenError::Locked { .. })), "in one process");
    let program = std::env::current_exe().unwrap();
    let output = child(&program, "two_batons_do_not_share_a_file", &path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("baton.sqlite is in use by another baton"), "{said}");
    first.write(&[write(1)]).unwrap();
    drop(first);
    assert_eq!(Store::open(&path).unwrap().load().unwrap().instances.len(), 1);
}

#[test]
fn what_must_not_be_written_is_named() {
    if let Some(path) = child_store() {
        say(&Store::open(&path).unwrap_err().to_string());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
    // Root may write anywhere; so a program that runs as nobody tries.
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let existing = state.join("existing.sqlite");
    drop(Store::open(&existing).unwrap());
    mode(&existing, 0o444).unwrap();
    mode(&state, 0o555).unwrap();
    mode(&program, 0o755).unwrap();
    mode(folder.path(), 0o755).unwrap();
    for (path, expected) in [
        (existing, "existing.sqlite is read-only"),
        (state.join("new.sqlite"), "new.sqlite cannot be created or opened"),
    ] {
        let mut process = child(&program, "what_must_not_be_written_is_named", &path);
        process.current_dir(folder.path());
        if fs::metadata(folder.path()).unwrap().uid() == 0 {
            process.uid(NOBODY).gid(NOBODY);
        }
        let output = process.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(expected), "{said} {}", String::from_utf8_lossy(&output.stderr));
    }
    mode(&state, 0o755).unwrap();
}

#[test]
fn a_path_that_cannot_hold_a_store_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::IsFolder { .. }), "{error}");
    let error = Store::open(&folder.path().join("nowhere/baton.sqlite")).unwrap_err();
    assert!(matches!(error, OpenError::NoFolder { .. }), "{error}");
    let path = folder.path().display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
}

#[test]
fn a_damaged_file_is_refused_and_not_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.sqlite");
    let mut store = Store::open(&whole).unwrap();
    let rows: Vec<Write> = (0..200)
        .map(|n| Write::Instance {
            instance: Arc::new(valid_instance(&format!("r{n}"), replica_facts(&key("p")))),
            cluster: ClusterId::new("p:3306"),
        })
        .collect();
    store.write(&rows).unwrap();
    drop(store);
    let bytes = fs::read(&whole).unwrap();
    let mut overwritten = bytes.clone();
    let middle = bytes.len() / 2;
    overwritten[middle..middle + 8192].fill(0xa5);
    for (case, damaged) in [
        ("something else", b"This is no database, though it is long enough.".repeat(100)),
        ("pages overwritten", overwritten),
        ("cut in half", bytes[..middle].to_vec()),
    ] {
        let path = folder.path().join("damaged.sqlite");
        fs::write(&path, &damaged).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{case}: {error:?}");
        assert!(error.to_string().contains("damaged.sqlite is damaged"), "{case}: {error}");
        assert_eq!(fs::read(&path).unwrap().len(), damaged.len(), "{case}");
        fs::remove_file(&path).unwrap();
    }
}
