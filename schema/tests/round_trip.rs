//! What is written is read again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use baton_schema::{
    LEDGER_ENTRIES_MAX, PURGE_ROWS_MAX, Purgeable, Store, StoreError, TopologyRow, Write,
};
use baton_topology::analysis::{Analysis, Code, Evidence};
use baton_topology::binlog::BinlogCoordinates;
use baton_topology::cluster::ClusterId;
use baton_topology::history::{AnalysisChange, DetectionEntry, DetectionSelect, NewAuditEntry};
use baton_topology::instance::{Facts, GroupMember, Health, HealthStatus, Instance};
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState, apply};
use baton_topology::membership::Listing;
use baton_topology::remembered::{Had, Remembered};
use baton_topology::testing::{key, primary_facts, replica_facts, valid_instance};
use baton_topology::time::Timestamp;
use proptest::prelude::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn cluster() -> ClusterId {
    ClusterId::new("p:3306")
}

fn keep(instance: Instance) -> Write {
    Write::Instance { instance: Arc::new(instance), cluster: cluster() }
}

fn tag(value: &str) -> Command {
    Command::Tag { key: key("a"), name: "n".into(), value: value.into() }
}

fn detection(id: u64, alias: &str) -> DetectionEntry {
    DetectionEntry {
        id,
        at: at(1),
        analysis: Analysis {
            key: key("p"),
            code: Code::DeadPrimary,
            structure: vec![],
            evidence: Evidence { replicas: 3, ..Evidence::default() },
            downtime_ends_at: None,
            replicas_downtimed: false,
            skippable_due_to_downtime: false,
            since: at(1),
        },
        cluster_name: "p:3306".into(),
        cluster_alias: alias.into(),
        replicas: vec![key("r")],
        node: "node1".into(),
        token: "t1".into(),
        auto_recover_primary: true,
        auto_recover_intermediate: false,
    }
}

fn change(name: &str, secs: i64, code: Code) -> AnalysisChange {
    AnalysisChange { at: at(secs), key: key(name), code }
}

fn audit(secs: i64, of: Option<InstanceKey>) -> NewAuditEntry {
    let cluster = of.is_some().then(cluster);
    NewAuditEntry {
        at: at(secs),
        kind: "discover".into(),
        key: of,
        cluster,
        message: "ü'\"".into(),
    }
}

/// What a restart makes of an instance.
fn restarted(instance: &Instance) -> Instance {
    let health = Health { status: HealthStatus::Unprobed, ..instance.health.clone() };
    Instance { health, ..instance.clone() }
}

#[test]
fn instances_come_back_unprobed_with_all_that_was_known() {
    let mut store = Store::open_in_memory().unwrap();
    let mut instance = valid_instance("r", replica_facts(&key("p")));
    instance.health.last_seen = Some(at(5));
    instance.health.failures = 2;
    instance.health.latency = Duration::from_micros(1234);
    instance.binlog_unmoved_since = Some(at(3));
    let had = Had { read: BinlogCoordinates::new("bin.000003", 157), at: at(4), ..Had::default() };
    let mut listing = Listing::default();
    listing.is_listed = true;
    instance.remembered =
        Remembered { had: Some(had), idle_since: Some(at(5)), restarted: true, listing };
    store.write(&[keep(instance.clone()), keep(valid_instance("p", primary_facts()))]).unwrap();
    let restored = store.load().unwrap();
    assert_eq!(restored.instances[1], (restarted(&instance), cluster()));
    assert_eq!(restored.instances.len(), 2);
    assert!(restored.notes.is_empty());
    store.write(&[Write::ForgetInstance(key("p"))]).unwrap();
    assert_eq!(store.load().unwrap().instances, [(restarted(&instance), cluster())]);
}

#[test]
fn every_change_of_an_instance_is_kept_however_small() {
    let mut store = Store::open_in_memory().unwrap();
    let mut instance = valid_instance("r", primary_facts());
    let mut change = |case: &str, instance: &Instance, cluster: &ClusterId| {
        let instance = Arc::new(instance.clone());
        let write = Write::Instance { instance: Arc::clone(&instance), cluster: cluster.clone() };
        store.write(&[write]).unwrap();
        let expected = [(restarted(&instance), cluster.clone())];
        assert_eq!(store.load().unwrap().instances, expected, "{case}");
    };
    change("new", &instance, &cluster());
    instance.health.last_check = Some(at(9));
    change("another time", &instance, &cluster());
    Arc::make_mut(&mut instance.facts).uptime_seconds = 77;
    change("another uptime", &instance, &cluster());
    Arc::make_mut(&mut instance.facts).read_only = true;
    Arc::make_mut(&mut instance.facts).uptime_seconds = 78;
    change("another fact", &instance, &cluster());
    change("another cluster", &instance, &ClusterId::new("q:3306"));
}

#[test]
fn an_instance_may_be_forgotten_and_found_in_one_batch() {
    let mut store = Store::open_in_memory().unwrap();
    let instance = valid_instance("r", primary_facts());
    store.write(&[keep(instance.clone())]).unwrap();
    store.write(&[Write::ForgetInstance(key("r")), keep(instance.clone())]).unwrap();
    assert_eq!(store.load().unwrap().instances, [(restarted(&instance), cluster())]);
    store.write(&[keep(instance), Write::ForgetInstance(key("r"))]).unwrap();
    assert!(store.load().unwrap().instances.is_empty());
}

#[test]
fn the_ledger_is_replayed_with_and_without_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baton.sqlite");
    let mut state = LedgerState::default();
    for round in 0..3 {
        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.load().unwrap().ledger, state, "round {round}");
        for number in 0..=LEDGER_ENTRIES_MAX / 2 {
            let command = tag(&number.to_string());
            (state, _) = apply(&state, &command).unwrap();
            store.append_command(state.index, at(1), &command).unwrap();
        }
        assert_eq!(store.load().unwrap().ledger, state);
        assert_eq!(store.should_compact_ledger(), round == 1);
        if store.should_compact_ledger() {
            store.compact_ledger(&state).unwrap();
            assert!(!store.should_compact_ledger());
        }
    }
}

#[test]
fn the_ledger_has_no_holes() {
    let mut store = Store::open_in_memory().unwrap();
    store.append_command(1, at(1), &tag("1")).unwrap();
    for index in [0, 1, 3] {
        let error = store.append_command(index, at(1), &tag("x")).unwrap_err();
        assert!(matches!(error, StoreError::OutOfOrder { last: 1, .. }), "{error}");
    }
    // A state from elsewhere may be ahead.
    store.compact_ledger(&LedgerState { index: 50, ..LedgerState::default() }).unwrap();
    store.append_command(51, at(1), &tag("51")).unwrap();
    assert_eq!(store.load().unwrap().ledger.index, 51);
}

#[test]
fn the_audit_log_is_read_in_pages_newest_first() {
    let mut store = Store::open_in_memory().unwrap();
    let batch: Vec<Write> =
        (1..=45).map(|n| Write::Audit(audit(n, (n % 3 == 0).then(|| key("a"))))).collect();
    store.write(&batch).unwrap();
    for (case, of, page, first, count) in [
        ("the newest", None, 0, 45, 20),
        ("the last page", None, 2, 5, 5),
        ("beyond", None, 3, 0, 0),
        ("far beyond", None, u32::MAX, 0, 0),
        ("of one instance", Some(key("a")), 0, 45, 15),
        ("of nobody", Some(key("b")), 0, 0, 0),
    ] {
        let found = store.audit(of.as_ref(), page).unwrap();
        assert_eq!(found.len(), count, "{case}");
        assert_eq!(found.first().map_or(0, |entry| entry.id), first, "{case}");
    }
    assert_eq!(store.audit(Some(&key("a")), 0).unwrap()[0].entry, audit(45, Some(key("a"))));
}

#[test]
fn detections_are_found_by_page_number_and_alias() {
    let mut store = Store::open_in_memory().unwrap();
    let batch: Vec<Write> = (1..=25)
        .map(|id| Write::Detection(Box::new(detection(id, if id < 3 { "old" } else { "new" }))))
        .collect();
    store.write(&batch).unwrap();
    let ids = |select| -> Vec<u64> {
        store.detections(&select).unwrap().into_iter().map(|it| it.id).collect()
    };
    assert_eq!(ids(DetectionSelect::Page(1)), [5, 4, 3, 2, 1]);
    assert_eq!(ids(DetectionSelect::Alias("old".into(), 0)), [2, 1]);
    assert_eq!(ids(DetectionSelect::Id(99)), [0; 0]);
    assert_eq!(store.detections(&DetectionSelect::Id(7)).unwrap(), [detection(7, "new")]);
}

#[test]
fn verdicts_are_told_by_instance_and_the_last_one_outlives_the_purge() {
    let mut store = Store::open_in_memory().unwrap();
    let (a1, a2) = (change("a", 1, Code::DeadPrimary), change("a", 9, Code::NoProblem));
    let b1 = change("b", 5, Code::UnreachablePrimary);
    let batch = [&a1, &b1, &a2].map(|it| Write::AnalysisChange(it.clone()));
    store.write(&batch).unwrap();
    assert_eq!(store.analysis_changes().unwrap(), [a1, a2.clone(), b1]);
    store.purge(Purgeable::AnalysisChanges, at(9)).unwrap();
    assert_eq!(store.analysis_changes().unwrap(), [a2]);
    let codes = store.load().unwrap().last_codes;
    assert_eq!(codes, [(key("a"), Code::NoProblem), (key("b"), Code::UnreachablePrimary)]);
}

#[test]
fn names_are_replaced_and_forgotten() {
    let mut store = Store::open_in_memory().unwrap();
    let name = |to: &str| Write::Resolution { name: "vip".into(), canonical: to.into(), at: at(1) };
    store.write(&[name("db1"), name("db2")]).unwrap();
    assert_eq!(store.load().unwrap().resolutions, [("vip".into(), "db2".into())]);
    store.write(&[Write::ForgetResolutions]).unwrap();
    assert!(store.load().unwrap().resolutions.is_empty());
}

#[test]
fn purging_deletes_the_old_and_only_so_much_at_once() {
    let mut store = Store::open_in_memory().unwrap();
    let row = |n: u32| TopologyRow {
        key: InstanceKey::new(format!("r{n}"), 3306),
        source: (n > 0).then(|| key("p")),
        cluster: cluster(),
        version: "8.4.3".into(),
    };
    let rows: Vec<TopologyRow> = (0..=PURGE_ROWS_MAX).map(row).collect();
    store
        .write(&[
            Write::TopologySnapshot { at: at(1), rows },
            Write::TopologySnapshot { at: at(10), rows: vec![row(0)] },
            Write::Audit(audit(1, None)),
            Write::Detection(Box::new(detection(1, ""))),
            Write::AnalysisChange(change("a", 1, Code::DeadPrimary)),
            Write::Resolution { name: "a".into(), canonical: "b".into(), at: at(1) },
        ])
        .unwrap();
    let mut purged = |what, before| store.purge(what, at(before)).unwrap();
    for what in Purgeable::ALL {
        assert_eq!(purged(what, 1), 0, "{what:?}: nothing is that old");
    }
    for what in Purgeable::ALL {
        let expected = if what == Purgeable::TopologyHistory { PURGE_ROWS_MAX } else { 1 };
        assert_eq!(purged(what, 2), expected, "{what:?}");
    }
    assert_eq!(purged(Purgeable::TopologyHistory, 2), 1, "the rest");
    assert_eq!(purged(Purgeable::TopologyHistory, 11), 1);
}

#[test]
fn trying_to_write_changes_nothing() {
    let mut store = Store::open_in_memory().unwrap();
    let before = store.load().unwrap();
    store.check_writable().unwrap();
    assert_eq!(store.load().unwrap(), before);
}

#[test]
fn facts_that_another_version_wrote_are_read_as_far_as_possible() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baton.sqlite");
    let mut store = Store::open(&path).unwrap();
    store.write(&["a", "b", "c"].map(|name| keep(valid_instance(name, primary_facts())))).unwrap();
    drop(store);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let set = "UPDATE instances SET facts = ?2 WHERE instance = ?1";
    let newer = r#"{"server_id": 7, "channels": [{"name": "x", "new": 1}], "new": {"y": []}}"#;
    connection.execute(set, ("a:3306", newer)).unwrap();
    connection.execute(set, ("b:3306", r#"{"server_id": "seven"}"#)).unwrap();
    drop(connection);
    let restored = Store::open(&path).unwrap().load().unwrap();
    let facts: Vec<&Facts> = restored.instances.iter().map(|(it, _)| &*it.facts).collect();
    assert_eq!((facts[0].server_id, facts[0].channels[0].name.as_str()), (7, "x"));
    assert_eq!(facts[1], &Facts::default(), "known by name, to be probed");
    assert_eq!(facts[2], &primary_facts());
    assert_eq!(restored.notes.len(), 1);
    assert!(restored.notes[0].contains("b:3306"), "{:?}", restored.notes);
}

prop_compose! {
    fn any_facts()(
        texts in proptest::array::uniform4(any::<String>()),
        numbers in any::<(u32, u32, u64)>(),
        flags in any::<[bool; 3]>(),
        uuid in any::<u128>(),
        group in any::<bool>(),
        lag in proptest::option::of(any::<u64>()),
    ) -> Facts {
        let [alias, comment, error, position] = texts;
        let uuid = uuid::Uuid::from_u128(uuid);
        let mut facts = replica_facts(&InstanceKey::new("fe80::1", 3307));
        facts.alias = alias;
        facts.version_comment = comment;
        facts.server_id = numbers.0;
        facts.uptime_seconds = numbers.2 >> 1;
        facts.server_uuid = Some(uuid);
        facts.read_only = flags[0];
        facts.binlog.position.file = position;
        facts.measured_lag_seconds = lag;
        facts.channels[0].receiver_error.text = error;
        facts.channels[0].receiver_error.number = numbers.1;
        facts.channels[0].tls.verify_server_cert = flags[1].then_some(flags[2]);
        facts.replicas = [key("r1"), key("r2")].into();
        facts.gtid.purged = format!("{uuid}:1-{}", numbers.1.max(1)).parse().unwrap();
        facts.group = group.then(|| GroupMember {
            members: [key("m")].into(),
            primary: flags[0].then(|| key("m")),
            ..GroupMember::default()
        });
        facts
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_instance_comes_back(facts in any_facts(), seen in proptest::option::of(any::<i64>())) {
        let mut store = Store::open_in_memory().unwrap();
        let mut instance = valid_instance("x", facts);
        instance.health.last_seen = seen.map(Timestamp::from_micros);
        store.write(&[keep(instance.clone())]).unwrap();
        prop_assert_eq!(&store.load().unwrap().instances, &[(restarted(&instance), cluster())]);
    }
}

#[test]
fn a_ledger_that_went_elsewhere_is_dropped_and_another_one_may_begin() {
    let mut store = Store::open_in_memory().unwrap();
    let (first, _) = apply(&LedgerState::default(), &tag("1")).unwrap();
    let (second, _) = apply(&first, &tag("2")).unwrap();
    store.append_command(1, at(1), &tag("1")).unwrap();
    store.compact_ledger(&first).unwrap();
    store.append_command(2, at(2), &tag("2")).unwrap();
    assert_eq!(store.ledger().unwrap(), second);
    store.forget_ledger().unwrap();
    assert_eq!(store.ledger().unwrap(), LedgerState::default());
    store.append_command(1, at(3), &tag("1")).unwrap();
    assert_eq!(store.load().unwrap().ledger, first);
}
