//! What a raft node finds again.

use super::*;

fn body(number: u64) -> Vec<u8> {
    format!("body {number}").into_bytes()
}

fn bodies(numbers: std::ops::RangeInclusive<u64>) -> Vec<(u64, Vec<u8>)> {
    numbers.map(|number| (number, body(number))).collect()
}

fn snapshot() -> RaftSnapshot {
    RaftSnapshot { meta: b"what it is".to_vec(), body: b"everything".to_vec() }
}

#[test]
fn everything_is_found_again_by_the_same_node() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft.db");
    let mut store = RaftStore::open(&path, 7).unwrap();
    assert_eq!((store.node(), store.vote().unwrap(), store.last().unwrap()), (7, None, None));
    store.save_vote(b"first").unwrap();
    store.save_vote(b"second").unwrap();
    store.append(&bodies(1..=9)).unwrap();
    store.truncate(8).unwrap();
    store.purge(3, b"through 3").unwrap();
    store.save_committed(Some(b"5")).unwrap();
    store.save_snapshot(b"an older one", b"less").unwrap();
    store.save_snapshot(&snapshot().meta, &snapshot().body).unwrap();
    for again in 0..2 {
        drop(store);
        store = RaftStore::open(&path, 8).unwrap();
        assert_eq!(store.node(), 7, "again {again}: an identity is for life");
        assert_eq!(store.vote().unwrap().unwrap(), b"second");
        assert_eq!(store.entries(0, u64::MAX, usize::MAX).unwrap(), bodies(4..=7));
        assert_eq!(store.entries(5, 7, usize::MAX).unwrap(), bodies(5..=6));
        for (room, until) in [(0, 4), (11, 4), (12, 5), (24, 7), (25, 7)] {
            let found = store.entries(4, u64::MAX, room).unwrap();
            assert_eq!(found, bodies(4..=until), "within {room} bytes");
        }
        assert_eq!(store.last().unwrap().unwrap(), (7, body(7)));
        assert_eq!(store.purged().unwrap().unwrap(), b"through 3");
        assert_eq!(store.committed().unwrap().unwrap(), b"5");
        assert_eq!(store.snapshot().unwrap().unwrap(), snapshot());
    }
    store.save_committed(None).unwrap();
    assert_eq!(store.committed().unwrap(), None);
}

#[test]
fn an_append_is_all_or_nothing_and_leaves_no_hole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft.db");
    let mut store = RaftStore::open(&path, 7).unwrap();
    store.append(&bodies(1..=3)).unwrap();
    let mut with_hole = bodies(4..=5);
    with_hole.extend(bodies(7..=8));
    let error = store.append(&with_hole).unwrap_err();
    assert!(matches!(error, RaftStoreError::Hole { last: 5, got: 7 }), "{error}");
    drop(store);
    let mut store = RaftStore::open(&path, 7).unwrap();
    assert_eq!(store.entries(0, u64::MAX, usize::MAX).unwrap(), bodies(1..=3));
    assert!(store.append(&bodies(3..=3)).is_err(), "nor is anything replaced");
}

#[test]
fn after_a_failure_nothing_is_done_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = RaftStore::open(&folder.path().join("raft.db"), 7).unwrap();
    store.save_vote(b"a vote").unwrap();
    store.append(&bodies(1..=3)).unwrap();
    // As if a disk had changed it.
    store.connection.execute("UPDATE log SET body = x'00' WHERE entry = 2", []).unwrap();
    let error = store.entries(0, 9, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("entry 2 is not what was written"), "{error}");
    for error in [
        store.vote().map(|_| ()).unwrap_err(),
        store.save_vote(b"another").unwrap_err(),
        store.append(&bodies(4..=4)).unwrap_err(),
        store.save_committed(None).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("takes nothing more") && text.contains("entry 2"), "{text}");
    }
}

#[test]
fn another_kind_of_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baton.sqlite");
    drop(crate::Store::open(&path).unwrap());
    let error = RaftStore::open(&path, 7).unwrap_err();
    assert!(error.to_string().contains("it is no log of raft"), "{error}");
    let path = folder.path().join("raft.db");
    drop(RaftStore::open(&path, 7).unwrap());
    Connection::open(&path)
        .unwrap()
        .execute("INSERT INTO schema_version VALUES (9, 'newer')", [])
        .unwrap();
    let error = RaftStore::open(&path, 7).unwrap_err();
    assert!(matches!(error, RaftOpenError::Store(OpenError::Newer { found: 9, .. })), "{error}");
}
