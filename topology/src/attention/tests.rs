use std::sync::Arc;

use super::*;
use crate::instance::{
    Channel, Facts, FailureKind, Health, HealthStatus, Instance, ProbeFailure, SourceLink,
};

const T0: Timestamp = Timestamp::from_secs(1_000);

fn at(millis: u64) -> Timestamp {
    T0.plus(Duration::from_millis(millis))
}

fn key(name: &str) -> InstanceKey {
    InstanceKey::new(name, 3306)
}

#[derive(Clone, Copy)]
struct Look {
    name: &'static str,
    is_up: bool,
    attempt: Timestamp,
    receiver: ThreadState,
}

fn up(name: &'static str, attempt: Timestamp, receiver: ThreadState) -> Look {
    Look { name, is_up: true, attempt, receiver }
}

fn down(name: &'static str, attempt: Timestamp) -> Look {
    Look { name, is_up: false, attempt, receiver: ThreadState::Running }
}

fn member(look: Look, source: Option<&str>, replicas: &[&str]) -> Member {
    let failure =
        ProbeFailure { kind: FailureKind::Connect, partial: false, message: "refused".into() };
    let mut facts = Facts::default();
    if let Some(source) = source {
        let source = SourceLink::Attached(key(source));
        let channel = Channel { source, receiver: look.receiver, ..Channel::default() };
        facts.channels.push(channel);
    }
    let health = Health {
        status: if look.is_up { HealthStatus::Valid } else { HealthStatus::Invalid(failure) },
        last_attempt: Some(look.attempt),
        own_attempt: Some(look.attempt),
        facts_from: Some(look.attempt),
        ..Health::default()
    };
    let instance =
        Instance { facts: Arc::new(facts), health, ..Instance::unprobed(key(look.name)) };
    Member {
        instance: Arc::new(instance),
        source: source.map(key),
        replicas: replicas.iter().copied().map(key).collect(),
        depth: u32::from(source.is_some()),
        is_co_primary: false,
        ancestry: Vec::new(),
        errant: Default::default(),
        errant_on_mariadb: Default::default(),
        membership: Default::default(),
    }
}

/// `a` with the replicas `b` and `c`.
fn fleet(primary: Look, replicas: [Look; 2]) -> (FleetSnapshot, ClusterId) {
    let id = ClusterId::new("a");
    let mut members = vec![member(primary, None, &["b", "c"])];
    members.extend(replicas.map(|look| member(look, Some("a"), &[])));
    let cluster = Cluster {
        id: id.clone(),
        head: key("a"),
        alias: "a".into(),
        domain: String::new(),
        members: members.into_iter().map(|member| (member.key().clone(), member)).collect(),
        analyses: Vec::new(),
        claimed_alias: String::new(),
        recheck_at: None,
    };
    let mut snapshot = FleetSnapshot::empty(Arc::default(), Arc::default(), T0);
    for key in cluster.members.keys() {
        snapshot.cluster_of.insert_mut(key.clone(), id.clone());
    }
    snapshot.clusters.insert_mut(id.clone(), Arc::new(cluster));
    (snapshot, id)
}

use crate::instance::ThreadState::{Other, Running, Stopped};

#[test]
fn whoever_loses_one_looks_at_all_that_others_look_at() {
    let dead = down("a", at(10_000));
    let receiving = |name| up(name, at(10_001), Running);
    let (mut snapshot, id) = fleet(dead, [receiving("b"), receiving("c")]);
    let mut others = (*snapshot.clusters[&id]).clone();
    others.id = ClusterId::new("o");
    let told = |number: usize, own_attempt| {
        let mut it = member(up("o", at(9_999), Stopped), None, &[]);
        let mut instance = (*it.instance).clone();
        instance.key = key(&format!("o{number:04}"));
        instance.health.own_attempt = Some(own_attempt);
        it.instance = Arc::new(instance);
        it
    };
    let lately = at(10_001).minus(snapshot.policy.poll_interval);
    let members = (0..700).map(|number| told(number, if number == 0 { lately } else { T0 }));
    others.members = members.map(|it| (it.key().clone(), it)).collect();
    for key in others.members.keys() {
        snapshot.cluster_of.insert_mut(key.clone(), others.id.clone());
    }
    snapshot.clusters.insert_mut(others.id.clone(), Arc::new(others));
    let mut watchlist = Watchlist::default();
    let looks = watchlist.review(&snapshot, &[id], at(10_001));
    assert_eq!(looks.keys.len(), 2 + 350, "a part, from all over the fleet");
    assert!(looks.keys.contains(&key("o0699")) && !looks.keys.contains(&key("o0000")));
    let looks = watchlist.due(&snapshot, at(10_100));
    assert_eq!(looks.keys, [key("b"), key("c")], "and not at once again");
    let looks = watchlist.due(&snapshot, at(10_300));
    assert!(looks.keys.len() > 300, "until it has looked at all: {}", looks.keys.len());
}

#[test]
fn who_is_looked_at_right_after_a_primary_failed() {
    let dead = down("a", T0);
    for (case, primary, replicas, expected) in [
        (
            "nobody when all is well",
            up("a", T0, Running),
            [up("b", T0, Running), up("c", T0, Running)],
            vec![],
        ),
        (
            "replicas that still receive",
            dead,
            [up("b", at(1), Running), up("c", at(1), Stopped)],
            vec!["b"],
        ),
        (
            "all that were not asked since",
            dead,
            [up("b", T0, Stopped), up("c", T0, Running)],
            vec!["b", "c"],
        ),
        (
            "nobody once none receives",
            dead,
            [up("b", at(1), Stopped), up("c", at(1), Stopped)],
            vec![],
        ),
        (
            "who is connecting will know soon",
            dead,
            [up("b", at(1), Other), up("c", at(1), Stopped)],
            vec!["b"],
        ),
        (
            "not those that are dead themselves",
            dead,
            [down("b", T0), up("c", at(1), Running)],
            vec!["c"],
        ),
    ] {
        let (snapshot, id) = fleet(primary, replicas);
        // Looks at T0 are from before the suspicion, those at 1 ms are not.
        let looks = Watchlist::default().review(&snapshot, &[id], at(1));
        let expected: Vec<_> = expected.into_iter().map(key).collect();
        assert_eq!(looks.keys, expected, "case: {case}");
        assert_eq!(looks.again_at.is_some(), !expected.is_empty(), "case: {case}");
    }
}

#[test]
fn looks_slow_down_and_end() {
    let (snapshot, id) =
        fleet(down("a", T0), [up("b", at(90_000), Running), up("c", at(90_000), Other)]);
    let mut watchlist = Watchlist::default();
    let mut looks = watchlist.review(&snapshot, &[id], T0);
    let (mut quick, mut slow) = (0, 0);
    while let Some(now) = looks.again_at {
        looks = watchlist.due(&snapshot, now);
        assert!(looks.keys.contains(&key("b")));
        *(if now.since(T0) < QUICK_FOR { &mut quick } else { &mut slow }) += 1;
    }
    assert!((100..=200).contains(&quick), "{quick} quick looks");
    assert!((100..=120).contains(&slow), "{slow} slow looks");
}

#[test]
fn a_suspect_that_answers_is_none_any_more() {
    let (dead, id) = fleet(down("a", T0), [up("b", at(9), Running), up("c", at(9), Running)]);
    let (back, _) =
        fleet(up("a", at(20), Running), [up("b", at(9), Running), up("c", at(9), Running)]);
    let mut watchlist = Watchlist::default();
    assert!(watchlist.review(&dead, std::slice::from_ref(&id), at(1)).again_at.is_some());
    assert_eq!(watchlist.review(&back, &[id], at(30)), Looks::default());
}

#[test]
fn a_replica_that_receives_is_a_sign_of_life_once_per_poll_interval() {
    let id_of = |primary| fleet(primary, [up("b", at(60_000), Running), up("c", T0, Other)]);
    // The first look at the witnesses is over long ago.
    let mut watchlist = Watchlist::default();
    let (snapshot, id) = id_of(down("a", T0));
    watchlist.review(&snapshot, std::slice::from_ref(&id), T0);
    while let Some(now) = watchlist.due(&snapshot, at(60_000)).again_at {
        watchlist.due(&snapshot, now);
    }
    let looks = watchlist.review(&snapshot, std::slice::from_ref(&id), at(60_001));
    assert_eq!(looks.keys, [key("a")], "it was last tried a minute ago");
    let (snapshot, _) = id_of(down("a", at(59_999)));
    let looks = watchlist.review(&snapshot, &[id], at(60_001));
    assert_eq!(looks.keys, [], "it was tried a moment ago");
}

#[test]
fn a_replica_that_is_connecting_is_looked_at_again_soon() {
    let well = up("a", T0, Running);
    let (snapshot, id) = fleet(well, [up("b", T0, Other), up("c", T0, Running)]);
    let mut watchlist = Watchlist::default();
    let first = watchlist.review(&snapshot, std::slice::from_ref(&id), T0);
    assert_eq!(first, Looks { keys: vec![], again_at: Some(at(50)) });
    let mut looks = Vec::new();
    let mut next = first.again_at;
    while let Some(now) = next {
        let due = watchlist.due(&snapshot, now);
        assert_eq!(due.keys, [key("b")]);
        looks.push(now.since(T0).as_millis());
        next = due.again_at;
    }
    assert_eq!(looks, [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800]);

    let (connected, _) = fleet(well, [up("b", at(60), Running), up("c", T0, Running)]);
    let mut watchlist = Watchlist::default();
    watchlist.review(&snapshot, std::slice::from_ref(&id), T0);
    assert_eq!(watchlist.review(&connected, std::slice::from_ref(&id), at(60)), Looks::default());
    let again = watchlist.review(&snapshot, &[id], at(20_000));
    assert_eq!(again.again_at, Some(at(20_050)), "what comes again is new");
}

#[test]
fn who_cannot_connect_is_left_to_regular_probes() {
    let well = up("a", T0, Running);
    let mut failing = member(up("b", T0, Other), Some("a"), &[]);
    let mut instance = (*failing.instance).clone();
    let mut facts = (*instance.facts).clone();
    facts.channels[0].receiver_error.number = 2003;
    instance.facts = Arc::new(facts);
    failing.instance = Arc::new(instance);
    let (mut refused, id) = fleet(well, [up("b", T0, Other), up("c", T0, Running)]);
    let mut cluster = (*refused.clusters[&id]).clone();
    cluster.members.insert(key("b"), failing);
    refused.clusters.insert_mut(id.clone(), Arc::new(cluster));
    let (silent, _) = fleet(down("a", T0), [up("b", at(1), Other), up("c", at(1), Stopped)]);
    let (absent, _) = fleet(well, [down("b", T0), up("c", T0, Running)]);
    for (case, snapshot) in
        [("refused", refused), ("to a dead source", silent), ("dead itself", absent)]
    {
        let mut watchlist = Watchlist::default();
        watchlist.review(&snapshot, std::slice::from_ref(&id), at(1));
        assert_eq!(watchlist.connecting.len(), 0, "{case}");
    }
}

#[test]
fn the_list_of_a_source_is_read_once_its_replica_says_that_it_connected() {
    let asked = |membership, receiver, read_at| {
        let source = up("a", at(1_000), Stopped);
        let (mut snapshot, id) =
            fleet(source, [up("b", at(read_at), receiver), up("c", T0, Stopped)]);
        let mut cluster = (*snapshot.clusters[&id]).clone();
        if let Some(replica) = cluster.members.get_mut(&key("b")) {
            replica.membership = membership;
        }
        snapshot.clusters.insert_mut(id.clone(), Arc::new(cluster));
        Watchlist::default().review(&snapshot, &[id], at(2_000)).keys
    };
    use Membership::{NeverConnected, Replica, Unlisted};
    assert_eq!(asked(NeverConnected, Running, 1_500), [key("a")]);
    assert_eq!(asked(NeverConnected, Running, 900), [], "it was read since");
    assert_eq!(asked(NeverConnected, Stopped, 1_500), []);
    for known in [Replica, Unlisted] {
        assert_eq!(asked(known, Running, 1_500), [], "more is known of it: {known:?}");
    }
}
