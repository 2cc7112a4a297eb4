//! Primaries that import, and replicas with channels of their own.

use super::*;
use crate::instance::Channel;
use crate::recovery::holding::without_imports;

const W: &str = "00000000-0000-0000-0000-0000000000ff";

/// The same replica with a channel of its own, by which it has these transactions.
fn importing(base: (String, Facts), imported: &str) -> (String, Facts) {
    let (name, mut facts) = base;
    let Gtids::MySql(executed) = &facts.gtid.executed else { panic!("a set") };
    let imported = set(&format!("{W}:{imported}"));
    facts.gtid.executed = Gtids::MySql(executed.union(&imported));
    facts.channels[0].source_uuid = Some(P.parse().unwrap());
    facts.channels.push(Channel {
        name: "imports".into(),
        source: SourceLink::Attached(key("w")),
        source_uuid: Some(W.parse().unwrap()),
        receiver: ThreadState::Running,
        applier: ThreadState::Running,
        ..Channel::default()
    });
    (name, facts)
}

#[test]
fn what_a_replica_imports_counts_neither_for_nor_against_it() {
    for (case, replicas, expected) in [
        (
            "it is no loss",
            vec![replica("a", "1-9", "1-9"), importing(replica("b", "1-9", "1-9"), "1-5")],
            "a",
        ),
        ("nor an errant write", vec![importing(replica("a", "1-9", "1-9"), "1-5")], "a"),
        (
            "who has more of the primary goes first",
            vec![replica("a", "1-5", "1-5"), importing(replica("b", "1-9", "1-9"), "1-5")],
            "b",
        ),
    ] {
        let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
        assert_eq!(outcome(&fleet, &request(Cause::Found, None)), expected, "{case}");
    }
}

/// A primary that imports, its replica `a`, and `w`, from which it imports.
fn hub(read_only: bool, name: &str) -> FleetSnapshot {
    let (_, mut p) = importing(("p".into(), replica("p", "1-9", "1-9").1), "1-5");
    p.server_uuid = Some(P.parse().unwrap());
    p.read_only = read_only;
    p.channels.remove(0);
    p.channels[0].name = name.into();
    p.replicas = [key("a")].into();
    p.note_imports(&Default::default());
    let (_, mut a) = replica("a", "1-9", "1-9");
    let with_imports = format!("{P}:1-9,{W}:1-5");
    a.gtid.executed = Gtids::MySql(set(&with_imports));
    let (_, b) = replica("b", "1-9", "1-9");
    let mut w = primary_facts();
    w.server_uuid = Some(W.parse().unwrap());
    w.gtid.executed = Gtids::MySql(set(&format!("{W}:1-5")));
    let policy = Arc::new(everywhere());
    let empty = FleetSnapshot::empty(policy, Arc::default(), Timestamp::from_secs(0));
    let seen = [("w", 10, w), ("p", 10, p), ("a", 20, a), ("b", 20, b)];
    let mut inputs: Vec<FleetInput> =
        seen.map(|(name, at, facts)| FleetInput::Probed(answered(name, at, facts))).into();
    inputs.push(FleetInput::Probed(refused("p", 30)));
    advance(&empty, inputs, now()).snapshot
}

#[test]
fn a_primary_that_imports_is_replaced_and_what_it_imported_is_told() {
    let (_, plan) = planned(&hub(false, "imports"), &request(Cause::Found, None)).unwrap();
    assert_eq!(plan.successor, key("a"), "it has the most");
    let told = "p:3306 imports from w:3306 by channel \"imports\", and a:3306 does not";
    assert!(plan.why.iter().any(|why| why == told), "{:?}", plan.why);
}

/// I3: nobody can tell whether such a server was a primary, so its replicas do not go below the one
/// it imports from while they have what is not there.
#[test]
fn replicas_of_a_server_that_may_be_a_primary_are_not_moved_below_its_source() {
    for (case, read_only, name) in
        [("closed, by a named channel", true, "imports"), ("open", false, "")]
    {
        let fleet = hub(read_only, name);
        let told = outcome(&fleet, &request(Cause::Asked, None));
        assert!(told.starts_with("no: ") && told.contains("that w:3306 lacks"), "{case}: {told}");
    }
}

/// On MariaDB it shows by its domain, and by who wrote there.
#[test]
fn what_comes_in_by_another_channel_of_mariadb_is_no_part_of_the_comparison() {
    let position = |text: &str| text.parse::<crate::gtid::MariaDbPosition>().unwrap();
    let kept = position("0-1-7");
    for (case, had, received, expected) in [
        ("an imported domain", "0-1-9,5-50-3", "0-1-4,5-50-3", "0-1-9"),
        ("written by one of ours", "0-1-9,5-2-4", "5-50-3", "0-1-9,5-2-4"),
        ("of nobody who is known", "0-1-9,6-60-3", "5-50-3", "0-1-9,6-60-3"),
    ] {
        let mut facts = replica_facts(&key("p"));
        let mut warehouse = facts.channels[0].clone();
        warehouse.name = "warehouse".into();
        warehouse.received = Gtids::MariaDb(position(received));
        facts.channels.push(warehouse);
        let left = without_imports(&position(had), &facts, &[2, 3], &kept);
        assert_eq!(left, position(expected), "{case}");
    }
}
