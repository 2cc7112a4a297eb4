//! A raft node whose process dies or whose disk fails: it remembers what it acknowledged, or says
//! that it does not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod child;

use std::fs;
use std::path::Path;
use std::process::Command as Process;

use baton_schema::{OpenError, RaftOpenError, RaftStore, RaftStoreError, StoreError};

use child::{acknowledge, child_of_this, child_store, kill_after, say};

/// What the child writes at most, should nobody kill it.
const WRITES_MAX: u64 = 1_000_000;
const ME: u64 = 7;

fn number(body: &[u8]) -> u64 {
    std::str::from_utf8(body).unwrap().parse().unwrap()
}

#[test]
fn no_vote_and_no_entry_is_forgotten_by_kill_9() {
    if let Some(path) = child_store() {
        let mut store = RaftStore::open(&path, ME).unwrap();
        let begin = store.last().unwrap().map_or(1, |(entry, _)| entry + 1);
        for write in begin..begin + WRITES_MAX {
            store.save_vote(write.to_string().as_bytes()).unwrap();
            store.append(&[(write, write.to_string().into_bytes())]).unwrap();
            store.save_committed(Some(write.to_string().as_bytes())).unwrap();
            if write % 20 == 0 {
                store.save_snapshot(write.to_string().as_bytes(), &[7; 10_000]).unwrap();
                store.purge(write - 10, b"mark").unwrap();
            }
            acknowledge(write);
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft.db");
    for round in 1..=5 {
        let process = child_of_this("no_vote_and_no_entry_is_forgotten_by_kill_9", &path);
        let acknowledged = kill_after(process, round * 37);
        let mut store = RaftStore::open(&path, 99).unwrap();
        assert_eq!(store.node(), ME);
        let vote = number(&store.vote().unwrap().unwrap());
        assert!((acknowledged..=acknowledged + 1).contains(&vote), "round {round}: vote {vote}");
        let (last, body) = store.last().unwrap().unwrap();
        assert!((acknowledged..=acknowledged + 1).contains(&last), "round {round}: entry {last}");
        assert_eq!(number(&body), last);
    }
}

/// A store's files as they are on disk right now.
#[derive(Clone)]
struct Files {
    main: Vec<u8>,
    wal: Vec<u8>,
    witness: Vec<u8>,
}

impl Files {
    fn of(path: &Path) -> Self {
        let read = |suffix: &str| fs::read(format!("{}{suffix}", path.display()));
        Self {
            main: read("").unwrap(),
            wal: read("-wal").unwrap_or_default(),
            witness: read("-witness").unwrap(),
        }
    }

    /// Opens a store that has these files, and tells its vote and its newest entry.
    fn open(&self) -> Result<(Vec<u8>, u64), RaftOpenError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raft.db");
        let write = |suffix: &str, bytes: &[u8]| {
            fs::write(format!("{}{suffix}", path.display()), bytes).unwrap();
        };
        write("", &self.main);
        write("-wal", &self.wal);
        write("-witness", &self.witness);
        let mut store = RaftStore::open(&path, 99)?;
        let vote = store.vote().unwrap().unwrap_or_default();
        Ok((vote, store.last().unwrap().map_or(0, |(entry, _)| entry)))
    }
}

#[test]
fn a_last_write_that_is_cut_short_is_dropped_or_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft.db");
    let mut store = RaftStore::open(&path, ME).unwrap();
    store.append(&[(1, vec![1; 300])]).unwrap();
    store.save_vote(b"old").unwrap();
    let before = Files::of(&path);
    store.save_vote(b"new").unwrap();
    let after = Files::of(&path);
    assert!(after.wal.len() > before.wal.len(), "the last write is at the end");
    let mut cuts: Vec<usize> = (before.wal.len()..after.wal.len()).step_by(331).collect();
    cuts.extend([after.wal.len() - 1, before.wal.len() + 1]);
    for cut in cuts {
        let wal = after.wal[..cut].to_vec();
        let unacknowledged = Files { wal, ..before.clone() };
        assert_eq!(unacknowledged.open().unwrap().0, b"old", "nobody was told; cut at {cut}");
        let acknowledged = Files { witness: after.witness.clone(), ..unacknowledged };
        let error = acknowledged.open().unwrap_err();
        assert!(matches!(error, RaftOpenError::Forgot { .. }), "cut at {cut}: {error}");
        assert!(error.to_string().contains("may have forgotten a vote"), "{error}");
    }
    assert_eq!(after.open().unwrap(), (b"new".to_vec(), 1));
    let written = Files { witness: before.witness.clone(), ..after };
    assert_eq!(written.open().unwrap().0, b"new", "the witness may be behind");
}

#[test]
fn files_that_are_missing_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft.db");
    let mut store = RaftStore::open(&path, ME).unwrap();
    store.save_vote(b"a vote").unwrap();
    let whole = Files::of(&path);
    drop(store);
    let no_log = Files { wal: Vec::new(), ..whole.clone() };
    let nothing = Files { main: Vec::new(), ..no_log.clone() };
    for (case, files) in [("the write-ahead log", no_log), ("everything", nothing)] {
        let error = files.open().unwrap_err();
        assert!(matches!(error, RaftOpenError::Forgot { .. }), "{case}: {error}");
    }
    for (what, witness) in [("damaged", Vec::new()), ("damaged", vec![7; 12])] {
        let error = Files { witness, ..whole.clone() }.open().unwrap_err();
        assert!(error.to_string().contains("witness of"), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    fs::remove_file(format!("{}-witness", path.display())).unwrap();
    let error = RaftStore::open(&path, ME).unwrap_err();
    assert!(matches!(error, RaftOpenError::NoWitness { what: "missing", .. }), "{error}");
    fs::remove_file(&path).unwrap();
    assert_eq!(RaftStore::open(&path, 8).unwrap().node(), 8, "an empty disk is another node");
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft.db");
    let mut store = RaftStore::open(&path, ME).unwrap();
    let entries: Vec<_> = (1..=20).map(|entry| (entry, vec![b'e'; 200])).collect();
    store.append(&entries).unwrap();
    store.save_snapshot(b"meta", &[b's'; 3000]).unwrap();
    store.save_vote(b"the vote").unwrap();
    let open = Files::of(&path);
    drop(store);
    let closed = Files::of(&path);
    let expected = (b"the vote".to_vec(), 20);
    let mut found = 0;
    for (case, files) in [("open", open), ("closed", closed)] {
        assert_eq!(files.open().unwrap(), expected, "{case}");
        for position in (0..files.main.len() + files.wal.len()).step_by(257) {
            let mut damaged = files.clone();
            match position.checked_sub(files.main.len()) {
                None => damaged.main[position] ^= 4,
                Some(position) => damaged.wal[position] ^= 4,
            }
            match damaged.open() {
                Ok(read) => assert_eq!(read, expected, "{case}: byte {position}"),
                Err(_) => found += 1,
            }
        }
    }
    assert!(found > 40, "most of it is in use: {found}");
}

#[test]
fn two_nodes_do_not_share_a_file_nor_use_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft.db");
    let _first = RaftStore::open(&path, ME).unwrap();
    let error = RaftStore::open(&path, ME).unwrap_err();
    assert!(matches!(error, RaftOpenError::Store(OpenError::Locked { .. })), "{error}");
    let other = folder.path().join("other.db");
    fs::write(&other, "This is no database, though it is long enough.".repeat(100)).unwrap();
    let error = RaftStore::open(&other, ME).unwrap_err();
    assert!(matches!(error, RaftOpenError::Store(OpenError::Damaged { .. })), "{error}");
}

/// This test program, on a disk of two mebibytes.
fn on_a_small_disk(test: &str, folder: &Path) -> Process {
    let plain = child_of_this(test, &folder.join("raft.db"));
    let mount = format!("mount -t tmpfs -o size=2m small '{}' && exec \"$@\"", folder.display());
    let id = Process::new("id").arg("-u").output().unwrap();
    let mut process = Process::new("unshare");
    process.arg(if id.stdout == b"0\n" { "-m" } else { "-rm" }).args(["sh", "-c", &mount, "sh"]);
    process.arg(plain.get_program()).args(plain.get_args());
    process.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    process
}

#[test]
fn a_full_disk_stops_the_node_and_costs_nothing_acknowledged() {
    let test = "a_full_disk_stops_the_node_and_costs_nothing_acknowledged";
    let Some(path) = child_store() else {
        let folder = tempfile::tempdir().unwrap();
        let output = on_a_small_disk(test, folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("nothing was lost"), "{said} {complained}");
        return;
    };
    let mut store = RaftStore::open(&path, ME).unwrap();
    let filler = path.with_file_name("filler");
    fs::write(&filler, vec![0; 1 << 20]).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        let entry = acknowledged + 1;
        store.save_vote(entry.to_string().as_bytes()).unwrap();
        match store.append(&[(entry, vec![7; 20_000])]) {
            Ok(()) => acknowledged = entry,
            Err(error) => break error,
        }
    };
    let full = |error: &RaftStoreError| {
        matches!(error, RaftStoreError::Store(StoreError::Full { .. } | StoreError::Failed { .. }))
    };
    assert!(full(&error), "{error:?}");
    fs::remove_file(&filler).unwrap();
    let refused = store.save_vote(b"later").unwrap_err();
    assert!(matches!(refused, RaftStoreError::Stopped { .. }), "though there is room: {refused}");
    drop(store);
    let mut store = RaftStore::open(&path, ME).unwrap();
    assert_eq!(number(&store.vote().unwrap().unwrap()), acknowledged + 1);
    assert_eq!(store.last().unwrap().unwrap().0, acknowledged);
    say("nothing was lost");
}
