use super::*;
use crate::fleet::{FleetInput, advance};
use crate::snapshot::FleetSnapshot;
use crate::testing::{answered, key, primary_facts, replica_facts};

const P: u128 = 0xaa;
const X: u128 = 0xbb;

/// What was read, in this order, some seconds apart.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "a test has few of them")]
enum Read {
    /// The source, with this list.
    Source(Option<Vec<Registered>>),
    /// The replica.
    Replica(Facts),
}

fn source() -> Facts {
    let mut facts = primary_facts();
    facts.server_uuid = Some(Uuid::from_u128(P));
    facts.gtid.executed = gtids(P);
    facts
}

fn gtids(uuid: u128) -> Gtids {
    Gtids::MySql(format!("{}:1-9", Uuid::from_u128(uuid)).parse().unwrap())
}

/// A server with nothing of the source's that says it replicates from there.
fn claims(receiver: ThreadState) -> Facts {
    let mut facts = replica_facts(&key("p"));
    facts.server_uuid = Some(Uuid::from_u128(X));
    facts.server_id = 9;
    facts.gtid.executed = gtids(X);
    facts.channels[0].receiver = receiver;
    facts
}

fn entry(uuid: Option<u128>, server_id: u32) -> Registered {
    Registered { server_uuid: uuid.map(Uuid::from_u128), server_id }
}

/// The same over and over.
fn times(count: usize, reads: &[Read]) -> Vec<Read> {
    std::iter::repeat_n(reads, count).flatten().cloned().collect()
}

fn with_list(list: &[Registered]) -> Read {
    Read::Source(Some(list.to_vec()))
}

/// A list without anybody, read after the replica says this.
fn missed(facts: &Facts) -> [Read; 2] {
    [Read::Replica(facts.clone()), with_list(&[])]
}

fn advanced(fleet: &FleetSnapshot, name: &str, at: i64, facts: Facts) -> FleetSnapshot {
    let input = FleetInput::Probed(answered(name, at, facts));
    advance(fleet, vec![input], Timestamp::from_secs(at)).snapshot
}

fn fleet_after(apart: i64, all: &[Read]) -> FleetSnapshot {
    let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
    let mut fleet = advanced(&empty, "p", 10, source());
    for (at, read) in (20..).step_by(usize::try_from(apart).unwrap()).zip(all.iter().cloned()) {
        fleet = match read {
            Read::Replica(facts) => advanced(&fleet, "x", at, facts),
            Read::Source(list) => {
                let registered = list.map(|list| list.into_iter().collect());
                advanced(&fleet, "p", at, Facts { registered, ..source() })
            }
        };
    }
    fleet
}

fn after(apart: i64, all: &[Read]) -> Membership {
    fleet_after(apart, all).member(&key("x")).unwrap().1.membership
}

use ThreadState::{Other, Running, Stopped};

#[test]
fn who_says_it_is_connected_and_is_never_listed_is_no_replica() {
    let runs = claims(Running);
    let twice = [missed(&runs), missed(&runs)].concat();
    assert_eq!(after(5, &twice), Membership::Unlisted);
    assert_eq!(after(5, &twice[..3]), Membership::Replica, "it had one chance");
    assert_eq!(after(1, &twice), Membership::Replica, "both lists were read at once");
    let unread = times(4, &[Read::Replica(runs.clone()), Read::Source(None)]);
    assert_eq!(after(5, &unread), Membership::Replica, "the list cannot be read");
    let unlooked = [&missed(&runs)[..], &[with_list(&[]), with_list(&[])]].concat();
    assert_eq!(after(5, &unlooked), Membership::Replica, "it was not read in between");
    let then = |facts: Facts| [&twice[..], &[Read::Replica(facts)]].concat();
    assert_eq!(after(5, &then(claims(Other))), Membership::Unlisted, "whatever it says later");
    let elsewhere = Facts { channels: replica_facts(&key("q")).channels, ..claims(Running) };
    assert_eq!(after(5, &then(elsewhere)), Membership::Replica, "it names another source");
    let listed = [&twice[..], &[with_list(&[entry(Some(X), 9)])]].concat();
    assert_eq!(after(5, &listed), Membership::Replica, "it is listed at last");
}

#[test]
fn who_was_listed_once_stays_a_replica_whatever_becomes_of_it() {
    for receiver in [Running, Other, Stopped] {
        let once = [Read::Replica(claims(Running)), with_list(&[entry(Some(X), 9)])];
        let gone = times(8, &missed(&claims(receiver)));
        assert_eq!(after(5, &[&once[..], &gone].concat()), Membership::Replica, "{receiver:?}");
    }
}

#[test]
fn who_never_connects_is_no_replica_unless_it_has_data_from_there() {
    let with = |change: fn(&mut Facts)| {
        let mut facts = claims(Other);
        change(&mut facts);
        let reads = [missed(&facts), missed(&facts)].concat();
        let mut later = facts;
        later.channels[0].receiver = Running;
        let said_later = [&reads[..], &[Read::Replica(later)]].concat();
        assert_eq!(after(5, &reads), after(5, &said_later), "its word does not change that");
        after(5, &reads)
    };
    assert_eq!(with(|_| {}), Membership::Unlisted);
    assert_eq!(with(|it| it.channels[0].receiver = Stopped), Membership::Unlisted);
    let knows: fn(&mut Facts) = |it| it.channels[0].source_uuid = Some(Uuid::from_u128(P));
    assert_eq!(with(knows), Membership::NeverConnected);
    assert_eq!(with(|it| it.gtid.executed = gtids(P)), Membership::NeverConnected);
}

#[test]
fn changing_its_word_all_the_time_does_not_help() {
    let both = [missed(&claims(Running)), missed(&claims(Other))].concat();
    assert_eq!(after(5, &times(2, &both)), Membership::Replica);
    assert_eq!(after(5, &times(3, &both)), Membership::Unlisted);
}

#[test]
fn replicas_are_known_by_their_uuid_or_where_there_is_none_by_their_server_id() {
    let twice = |facts: &Facts, list: &[Registered]| {
        let reads = times(2, &[Read::Replica(facts.clone()), with_list(list)]);
        after(5, &reads)
    };
    let (mysql, mariadb) = (claims(Running), Facts { server_uuid: None, ..claims(Running) });
    for (case, facts, list, expected) in [
        ("its UUID", &mysql, entry(Some(X), 0), Membership::Replica),
        ("its id, of MariaDB's list", &mysql, entry(None, 9), Membership::Replica),
        ("its id, and another's UUID", &mysql, entry(Some(7), 9), Membership::Unlisted),
        ("another's id", &mysql, entry(None, 8), Membership::Unlisted),
        ("its id, and no UUIDs", &mariadb, entry(None, 9), Membership::Replica),
        ("its id, and a UUID", &mariadb, entry(Some(7), 9), Membership::Unlisted),
    ] {
        assert_eq!(twice(facts, &[list]), expected, "case: {case}");
    }
}

#[test]
fn an_address_in_the_list_is_enough_and_takes_the_server_id_with_it() {
    let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
    let mariadb = Facts { server_uuid: None, ..claims(Running) };
    let mut fleet = advanced(&empty, "p", 10, source());
    for at in [20, 30, 40] {
        let registered = Some([entry(None, 9)].into());
        let list = Facts { registered, replicas: [key("r")].into(), ..source() };
        fleet = advanced(&fleet, "r", at, mariadb.clone());
        fleet = advanced(&fleet, "x", at, mariadb.clone());
        fleet = advanced(&fleet, "p", at + 5, list);
    }
    let of = |name| fleet.member(&key(name)).unwrap().1.membership;
    assert_eq!((of("r"), of("x")), (Membership::Replica, Membership::Unlisted));
}

#[test]
fn what_lists_said_outlives_a_restart() {
    let listed = [Read::Replica(claims(Running)), with_list(&[entry(Some(X), 9)])];
    let unlisted = [missed(&claims(Running)), missed(&claims(Running))].concat();
    for reads in [&listed[..], &unlisted] {
        let fleet = fleet_after(5, reads);
        let stored: Vec<_> = fleet
            .members()
            .map(|(cluster, member)| {
                let text = serde_json::to_string(&*member.instance).unwrap();
                (serde_json::from_str(&text).unwrap(), cluster.id.clone())
            })
            .collect();
        let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
        let input = vec![FleetInput::Restored(stored)];
        let again = advance(&empty, input, Timestamp::from_secs(100)).snapshot;
        let of = |fleet: &FleetSnapshot| fleet.member(&key("x")).unwrap().1.membership;
        assert_eq!(of(&again), of(&fleet));
        let listing =
            |fleet: &FleetSnapshot| fleet.instance(&key("x")).unwrap().remembered.listing.clone();
        assert_eq!(listing(&again), listing(&fleet));
    }
}
