//! Which of several replication channels says where a server stands.

use super::*;
use crate::instance::Channel;
use crate::status::problems;

fn channel(name: &str, source: &str) -> Channel {
    let name = name.to_owned();
    Channel { name, ..replica(source).channels.remove(0) }
}

/// A server with these channels, as name and source.
fn server(read_only: bool, channels: &[(&str, &str)]) -> Facts {
    let channels = channels.iter().map(|(name, source)| channel(name, source)).collect();
    let mut facts = Facts { channels, read_only, ..primary_facts() };
    facts.note_imports(&BTreeSet::new());
    facts
}

fn with_replicas(mut facts: Facts, replicas: &[&str]) -> Facts {
    facts.replicas = replicas.iter().map(|name| key(name)).collect();
    facts.note_imports(&BTreeSet::new());
    facts
}

fn source_of(fleet: &FleetSnapshot, name: &str) -> Option<String> {
    let (_, member) = fleet.member(&key(name)).unwrap();
    member.source.as_ref().map(|key| key.host().to_owned())
}

#[test]
fn the_default_channel_places_a_server_or_the_only_one_where_nobody_may_write() {
    for (case, facts, expected) in [
        (
            "the default one, whatever else there is",
            server(true, &[("", "a"), ("x", "w")]),
            Some("a"),
        ),
        ("also on a writable server", server(false, &[("", "a"), ("x", "w")]), Some("a")),
        ("a named one alone, of a replica", server(true, &[("main", "a")]), Some("a")),
        ("not that of a writable server", server(false, &[("main", "a")]), None),
        ("none of several named ones", server(true, &[("x", "a"), ("y", "w")]), None),
    ] {
        let fleet = probed(&empty(), 1, &[("a", primary_facts()), ("b", facts)]).snapshot;
        assert_eq!(source_of(&fleet, "b").as_deref(), expected, "{case}");
    }
}

#[test]
fn a_primary_that_imports_stays_one_also_once_it_is_closed() {
    let open = with_replicas(server(false, &[("imports", "w")]), &["b"]);
    let seen = [("w", primary_facts()), ("a", open), ("b", replica("a"))];
    let fleet = probed(&empty(), 1, &seen).snapshot;
    assert_eq!(shape(&fleet), ["a:3306 a a:3306: a b", "w:3306 w w:3306: w"]);
    let closed = with_replicas(server(true, &[("imports", "w")]), &["b"]);
    let fleet = probed(&fleet, 2, &[("a", closed)]).snapshot;
    assert_eq!(source_of(&fleet, "a"), None, "whoever fenced it did not move it");
    let left = server(true, &[("imports", "w")]);
    let fleet = probed(&fleet, 3, &[("a", left)]).snapshot;
    assert_eq!(source_of(&fleet, "a"), None, "nor when its replicas are gone");
    let back = server(true, &[("", "b"), ("imports", "w")]);
    let fleet = probed(&fleet, 4, &[("a", back)]).snapshot;
    assert_eq!(source_of(&fleet, "a").as_deref(), Some("b"));
}

#[test]
fn who_opens_a_replica_with_a_named_channel_is_told_and_may_close_it_again() {
    let named = |read_only| server(read_only, &[("main", "a")]);
    let fleet = probed(&empty(), 1, &[("a", primary_facts()), ("b", named(true))]).snapshot;
    let told = |fleet: &FleetSnapshot| {
        let (_, member) = fleet.member(&key("b")).unwrap();
        let found = problems(member, &fleet.policy, at(2));
        found.into_iter().map(|it| it.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(told(&fleet), [""; 0]);
    let fleet = probed(&fleet, 2, &[("b", named(false))]).snapshot;
    assert_eq!(source_of(&fleet, "b"), None);
    assert_eq!(told(&fleet), ["writable_with_only_a_named_channel"]);
    let fleet = probed(&fleet, 3, &[("b", named(true))]).snapshot;
    assert_eq!(source_of(&fleet, "b").as_deref(), Some("a"));
}

#[test]
fn what_came_by_another_channel_is_not_errant() {
    let warehouse = uuid::Uuid::from_u128(7);
    let beyond = uuid::Uuid::from_u128(8);
    let importing = |executed_set: &str, received: &str| {
        let mut facts = executed(server(true, &[("", "a"), ("x", "w")]), NEW, executed_set);
        facts.channels[1].source_uuid = Some(warehouse);
        facts.channels[1].received = Gtids::MySql(received.parse().unwrap());
        facts
    };
    for (case, all, received, expected) in [
        ("by its source", format!("{OLD}:1-5,{warehouse}:1-9"), String::new(), String::new()),
        (
            "by a source above that",
            format!("{OLD}:1-5,{beyond}:1"),
            format!("{beyond}:1"),
            String::new(),
        ),
        ("by nobody", format!("{OLD}:1-5,{beyond}:1"), String::new(), format!("{beyond}:1")),
        ("by itself", format!("{OLD}:1-5,{NEW}:1"), format!("{NEW}:1"), format!("{NEW}:1")),
    ] {
        let fleet = probed(&empty(), 10, &[("b", importing(&all, &received))]).snapshot;
        let source = executed(primary_facts(), OLD, &format!("{OLD}:1-5"));
        let fleet = probed(&fleet, 12, &[("a", source.clone())]).snapshot;
        assert_eq!(errant_of(&fleet, "b"), expected, "{case}");
        // Nor is it below somebody who has it that way.
        let below = executed(replica("b"), "00000000-0000-0000-0000-0000000000cc", &all);
        let fleet = probed(&fleet, 14, &[("c", below)]).snapshot;
        let fleet =
            probed(&fleet, 16, &[("b", importing(&all, &received)), ("a", source)]).snapshot;
        assert_eq!(errant_of(&fleet, "c"), "", "{case}");
    }
}
