//! The whole system over servers in memory, in paused time.

mod support;

use std::sync::Arc;
use std::time::Duration;

use baton_actors::discovery::resolve::HostResolver;
use baton_actors::discovery::share::{NAMED_CONNECTING_MAX, NAMED_MAX};
use baton_actors::ports::{DiscoverError, ProposeError, StoreHealth};
use baton_actors::system::Options;
use baton_actors::testing::{FakeFleet, Fault, MemoryStore, StoreFault};
use baton_topology::analysis::Code;
use baton_topology::fleet::News;
use baton_topology::history::{DetectionSelect, NewAuditEntry};
use baton_topology::instance::FailureKind;
use baton_topology::ledger::Command;
use baton_topology::policy::Policy;
use baton_topology::snapshot::FleetSnapshot;
use futures_util::future::BoxFuture;
use prometheus_client::encoding::text::encode;
use support::{code_of, key, star, watch, watch_with};

#[actix::test]
async fn a_tree_is_found_from_any_of_its_servers() {
    tokio::time::pause();
    for seed in ["a", "b", "c", "d"] {
        let fleet = FakeFleet::new();
        fleet.add_primary(&key("a"));
        fleet.add_replica(&key("b"), &key("a"));
        fleet.add_replica(&key("c"), &key("b"));
        fleet.add_replica(&key("d"), &key("a"));
        let world = watch(fleet, seed).await;
        let took = world.until_valid(&["a", "b", "c", "d"]).await;
        assert!(took < Duration::from_secs(1), "from {seed} it took {took:?}");
        let snapshot = world.snapshot();
        assert_eq!(snapshot.clusters.size(), 1, "from {seed}");
        assert_eq!(snapshot.member(&key("c")).unwrap().1.depth, 2);
    }
}

#[actix::test]
async fn co_primaries_are_one_cluster() {
    tokio::time::pause();
    let fleet = FakeFleet::new();
    fleet.add_primary(&key("a"));
    fleet.add_primary(&key("b"));
    fleet.point(&key("a"), &key("b"));
    fleet.point(&key("b"), &key("a"));
    let world = watch(fleet, "a").await;
    world.until_valid(&["a", "b"]).await;
    let snapshot = world.snapshot();
    assert_eq!(snapshot.clusters.size(), 1);
    assert!(snapshot.members().all(|(_, member)| member.is_co_primary));
}

#[actix::test]
async fn a_killed_primary_is_known_dead_without_waiting_for_any_interval() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    // Far from the next regular probe of anybody.
    for offset in [0, 700, 1_900, 3_300] {
        tokio::time::sleep(Duration::from_millis(offset)).await;
        world.fleet.kill(&key("a"));
        let took = world.until_code("a", Code::DeadPrimary).await;
        // The servers of this fleet notice after 40 ms.
        assert!(took < Duration::from_millis(65), "it took {took:?}");
        world.fleet.set_fault(&key("a"), Fault::None);
        world.until_valid(&["a", "b", "c", "d"]).await;
        world.until_code("a", Code::NoProblem).await;
        // Let it be parked again.
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
}

#[actix::test]
async fn a_hung_server_is_known_by_its_deadline() {
    tokio::time::pause();
    for (fault, limit) in [(Fault::Hung, 1_000), (Fault::HungForever, 2_500)] {
        let world = watch(star(), "a").await;
        world.until_valid(&["a", "b", "c", "d"]).await;
        world.fleet.set_fault(&key("b"), fault);
        let poll = Policy::default().poll_interval;
        let limit = poll + Duration::from_millis(limit + 10);
        world
            .until_within(limit, "b is known to hang", |fleet| {
                fleet.instance(&key("b")).is_some_and(|it| it.is_failed())
            })
            .await;
        world.fleet.set_fault(&key("b"), Fault::None);
        world.until_valid(&["b"]).await;
        world.handles.shutdown().await;
    }
}

/// I12
#[actix::test]
async fn a_thousand_dead_or_hung_servers_never_delay_a_healthy_one() {
    tokio::time::pause();
    let fleet = FakeFleet::new();
    fleet.add_primary(&key("a"));
    let faults =
        [Fault::Dead, Fault::Hung, Fault::HungForever, Fault::Slow(Duration::from_secs(2))];
    for n in 0..1_000 {
        let name = key(&format!("r{n}"));
        fleet.add_replica(&name, &key("a"));
        fleet.set_fault(&name, faults[n % faults.len()]);
    }
    fleet.add_replica(&key("z"), &key("a"));
    let world = watch(fleet, "z").await;
    world.until_valid(&["a", "z"]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = world.fleet.probes_of(&key("z"));
    tokio::time::sleep(Duration::from_secs(25)).await;
    let probes = world.fleet.probes_of(&key("z")) - before;
    assert!((5..=6).contains(&probes), "{probes} probes in 25 s at one per 5 s");
}

/// I12: one server names more than may be watched for its word, and none of those answers.
#[actix::test]
async fn a_server_that_names_others_without_end_keeps_nobody_else_waiting() {
    tokio::time::pause();
    let fleet = star();
    fleet.add_primary(&key("liar"));
    let named: Vec<_> = (0..NAMED_MAX + 100).map(|n| key(&format!("no{n}"))).collect();
    for name in &named {
        fleet.add_primary(name);
        fleet.set_fault(name, Fault::Hung);
    }
    fleet.edit(&key("liar"), |facts| facts.replicas = named.into_iter().collect());
    let few = |options: &mut Options| options.connecting_max = 2 * NAMED_CONNECTING_MAX;
    let world = watch_with(fleet, MemoryStore::default(), &["liar"], few).await;
    world.until_valid(&["liar"]).await;
    let watched = || usize::try_from(world.handles.metrics.actor("probe").alive.get()).unwrap();
    while watched() <= NAMED_MAX {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.handles.discovery.discover(key("a")).await.unwrap();
    let took = world.until_valid(&["a", "b", "c", "d"]).await;
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(watched() <= NAMED_MAX + 5, "{} are watched", watched());
    let (mut text, registry) = (String::new(), world.handles.metrics.registry());
    encode(&mut text, &registry.lock().unwrap()).unwrap();
    assert!(text.contains("baton_dropped_total{what=\"named_instance\"}"), "{text}");
}

#[actix::test]
async fn no_more_servers_are_connected_to_at_once_than_may_be() {
    tokio::time::pause();
    let fleet = FakeFleet::new();
    let seeds: Vec<String> = (0..10).map(|n| format!("h{n}")).collect();
    for name in &seeds {
        fleet.add_primary(&key(name));
        fleet.set_fault(&key(name), Fault::Hung);
    }
    let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
    let one = |options: &mut Options| options.connecting_max = 2;
    let world = watch_with(fleet, MemoryStore::default(), &seeds, one).await;
    let probed = || seeds.iter().map(|name| world.fleet.probes_of(&key(name))).sum::<u64>();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(probed(), 2, "each takes a second");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(probed() > 2);
}

#[actix::test]
async fn dead_servers_are_tried_ever_more_rarely_until_something_shows_they_live() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    world.fleet.kill(&key("b"));
    world.fleet.edit(&key("a"), |facts| {
        facts.replicas.remove(&key("b"));
    });
    tokio::time::sleep(Duration::from_secs(300)).await;
    let before = world.fleet.probes_of(&key("b"));
    tokio::time::sleep(Duration::from_secs(300)).await;
    let tries = world.fleet.probes_of(&key("b")) - before;
    assert!((8..=14).contains(&tries), "{tries} tries in 300 s");

    world.fleet.set_fault(&key("b"), Fault::None);
    world.fleet.edit(&key("a"), |facts| {
        facts.replicas.insert(key("b"));
    });
    let took = world.until_valid(&["b"]).await;
    // Its source is probed every five seconds and tells; it is not looked at twice within that time.
    assert!(took <= Duration::from_millis(10_100), "it took {took:?}");

    world.fleet.kill(&key("b"));
    tokio::time::sleep(Duration::from_secs(300)).await;
    world.fleet.set_fault(&key("b"), Fault::None);
    let instance = world.handles.discovery.discover(key("b")).await.unwrap();
    assert!(instance.is_valid(), "somebody asked");
}

#[actix::test]
async fn what_baton_could_not_ask_is_held_against_no_server() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    let all = ["a", "b", "c", "d"];
    world.until_valid(&all).await;
    for name in all {
        world.fleet.set_fault(&key(name), Fault::NotAsked);
    }
    let before = world.fleet.probes_of(&key("a"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.fleet.probes_of(&key("a")) >= before + 11, "it goes on trying");
    let fleet = world.snapshot();
    for name in all {
        assert!(!fleet.instance(&key(name)).unwrap().is_failed(), "{name}");
        assert_eq!(code_of(&fleet, name), Code::NoProblem, "{name}");
    }
    world.fleet.kill(&key("a"));
    for name in &all[1..] {
        world.fleet.set_fault(&key(name), Fault::None);
    }
    world.until_code("a", Code::DeadPrimary).await;
}

#[actix::test]
async fn thousands_of_panics_in_probes_leave_the_others_alone() {
    tokio::time::pause();
    let fleet = star();
    let fragile: Vec<_> = (0..20).map(|n| key(&format!("r{n}"))).collect();
    for name in &fragile {
        fleet.add_replica(name, &key("a"));
    }
    let world = watch(fleet, "a").await;
    world.until("all are there", |fleet| fleet.instance_count() == 24).await;
    for name in &fragile {
        world.fleet.set_fault(name, Fault::Panics);
    }
    let is_failed = |name| {
        move |fleet: &Arc<FleetSnapshot>| fleet.instance(name).is_some_and(|it| it.is_failed())
    };
    world.until("a panic is known as a failure", is_failed(&fragile[7])).await;
    // Each is rebuilt once a minute in the end.
    let before = world.fleet.probes_of(&key("d"));
    tokio::time::sleep(Duration::from_secs(2 * 60 * 60)).await;
    let deaths: u64 = fragile.iter().map(|name| world.fleet.probes_of(name)).sum();
    assert!(deaths > 2_000, "{deaths} deaths");
    let probes = world.fleet.probes_of(&key("d")) - before;
    assert!((1_438..=1_442).contains(&probes), "{probes} probes of a healthy one in two hours");
    world.fleet.set_fault(&fragile[7], Fault::None);
    world.until_valid(&["r7"]).await;
}

#[actix::test]
async fn analysis_and_discovery_die_and_go_on_from_what_was_published() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    let actors = world.handles.actors.clone();
    for round in 1..=100 {
        actors.analysis.kill();
        actors.discovery.kill();
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(actors.analysis.restarts(), round);
        assert_eq!(actors.discovery.restarts(), round);
        assert_eq!(world.snapshot().instance_count(), 4, "nothing was forgotten");
    }
    world.fleet.kill(&key("a"));
    let took = world.until_code("a", Code::DeadPrimary).await;
    assert!(took < Duration::from_millis(65), "it took {took:?}");
    assert_eq!(world.fleet.parked_on(&key("a")), 0);
}

#[actix::test]
async fn forgotten_instances_stay_forgotten_until_then_and_are_found_again() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    let mut events = world.handles.events.subscribe();
    let clock = world.snapshot().at;
    let forget =
        Command::Forget { keys: vec![key("b")], until: clock.plus(Duration::from_secs(15)) };
    world.handles.ledger.propose(forget).await.unwrap();
    world.until("b is gone", |fleet| fleet.instance(&key("b")).is_none()).await;
    assert_eq!(*events.recv().await.unwrap(), News::InstanceLost(key("b")));
    let refused = world.handles.discovery.discover(key("b")).await;
    assert_eq!(refused, Err(DiscoverError::Forgotten(key("b"))));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.snapshot().instance(&key("b")).is_none());
    let took = world.until_valid(&["b"]).await;
    assert!(took < Duration::from_secs(65), "its source tells again: {took:?}");
}

#[actix::test]
async fn what_somebody_had_discovered_through_another_node_is_found_at_once() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    let until = world.snapshot().at.plus(Duration::from_secs(15));
    let propose = |command| world.handles.ledger.propose(command);
    propose(Command::Forget { keys: vec![key("b")], until }).await.unwrap();
    world.until("b is gone", |fleet| fleet.instance(&key("b")).is_none()).await;
    for name in ["b", "nowhere"] {
        propose(Command::Discover { key: key(name), at: world.snapshot().at }).await.unwrap();
    }
    let took = world.until_valid(&["b"]).await;
    assert!(took < Duration::from_millis(500), "{took:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.snapshot().instance(&key("nowhere")).is_none(), "it does not exist");
}

#[actix::test]
async fn what_was_discovered_is_remembered_while_it_is_seen_and_not_for_ever() {
    tokio::time::pause();
    let world = watch_with(star(), MemoryStore::default(), &["a"], |options| {
        options.policy = Arc::new(Policy {
            unseen_forget: Duration::from_secs(3 * 60 * 60),
            // A day has few of these.
            poll_interval: Duration::from_secs(60),
            ..(*options.policy).clone()
        });
    })
    .await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    for name in ["b", "nowhere"] {
        let command = Command::Discover { key: key(name), at: world.snapshot().at };
        world.handles.ledger.propose(command).await.unwrap();
    }
    for (hours, remembered) in [(2, [true, true]), (3, [true, false]), (20, [true, false])] {
        tokio::time::sleep(Duration::from_secs(60 * 60 * hours)).await;
        let known = world.handles.ledger.state().borrow().discovered.clone();
        let is_known = ["b", "nowhere"].map(|name| known.contains_key(&key(name)));
        assert_eq!(is_known, remembered, "{hours} hours later");
    }
}

#[actix::test]
async fn a_restart_goes_on_with_all_that_was_known_and_set() {
    tokio::time::pause();
    let store = MemoryStore::default();
    let fleet = star();
    let world = watch_with(Arc::clone(&fleet), store.clone(), &["a"], |_| {}).await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    let disable = Command::SetRecoveriesDisabled { disabled: true };
    world.handles.ledger.propose(disable).await.unwrap();
    let identity = world.snapshot().cluster_of.get(&key("c")).cloned();
    world.handles.shutdown().await;
    let probes = fleet.probes_of(&key("a"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fleet.probes_of(&key("a")), probes, "after the end nobody is probed");

    // No seed: what is known comes from the store.
    fleet.kill(&key("a"));
    let world = watch_with(fleet, store, &[], |_| {}).await;
    let snapshot = world.snapshot();
    assert_eq!(snapshot.instance_count(), 4);
    assert_eq!(snapshot.cluster_of.get(&key("c")).cloned(), identity);
    assert!(snapshot.ledger.recoveries_disabled);
    world.until_code("a", Code::DeadPrimary).await;
}

#[actix::test]
async fn whoever_was_found_is_in_the_store_at_once() {
    tokio::time::pause();
    let store = MemoryStore::default();
    let world = watch_with(star(), store.clone(), &["a"], |_| {}).await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(store.disk().instances.len(), 4);
    world.handles.shutdown().await;
}

#[actix::test]
async fn a_failing_store_is_loud_and_watching_goes_on() {
    tokio::time::pause();
    for fault in [StoreFault::Full, StoreFault::Panics] {
        let world = watch(star(), "a").await;
        world.until_valid(&["a", "b", "c", "d"]).await;
        world.store.disk().fault = fault;
        let mut health = world.handles.store_health.clone();
        health.wait_for(|health| *health != StoreHealth::Healthy).await.unwrap();

        world.fleet.kill(&key("a"));
        let took = world.until_code("a", Code::DeadPrimary).await;
        assert!(took < Duration::from_millis(65), "{fault:?}: {took:?}");
        let disable = Command::SetRecoveriesDisabled { disabled: true };
        let refused = world.handles.ledger.propose(disable.clone()).await;
        assert!(matches!(refused, Err(ProposeError::Unavailable(_))), "{fault:?}: {refused:?}");
        assert!(!world.snapshot().ledger.recoveries_disabled);

        world.store.disk().fault = StoreFault::None;
        health.wait_for(|health| *health == StoreHealth::Healthy).await.unwrap();
        world.handles.ledger.propose(disable).await.unwrap();
        let changes = world.handles.history.analysis_changes().await.unwrap();
        if fault == StoreFault::Full {
            assert!(
                changes.iter().any(|change| change.code == Code::DeadPrimary),
                "what could not be written was kept: {changes:?}"
            );
        }
        world.handles.shutdown().await;
    }
}

#[actix::test]
async fn when_hundreds_die_at_once_each_detection_is_recorded_also_by_a_store_that_was_full() {
    const CLUSTERS: usize = 270;
    tokio::time::pause();
    let fleet = FakeFleet::new();
    let names: Vec<(String, String)> =
        (0..CLUSTERS).map(|n| (format!("a{n}"), format!("b{n}"))).collect();
    for (primary, replica) in &names {
        fleet.add_primary(&key(primary));
        fleet.add_replica(&key(replica), &key(primary));
    }
    let seeds: Vec<&str> = names.iter().map(|(primary, _)| primary.as_str()).collect();
    let world = watch_with(fleet, MemoryStore::default(), &seeds, |_| {}).await;
    let all: Vec<&str> = names.iter().flat_map(|(a, b)| [a.as_str(), b.as_str()]).collect();
    world.until_valid(&all).await;
    world.store.disk().fault = StoreFault::Full;
    for primary in &seeds {
        world.fleet.kill(&key(primary));
    }
    world
        .until("all are dead", |fleet| {
            seeds.iter().all(|name| code_of(fleet, name) == Code::DeadPrimary)
        })
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.store.disk().fault = StoreFault::None;
    let mut ledger = world.handles.ledger.state();
    let is_dead = |entry: &&Arc<baton_topology::history::DetectionEntry>| {
        entry.analysis.code == Code::DeadPrimary
    };
    let complete = ledger.wait_for(|state| {
        state.detections.values().filter_map(|it| it.entry.as_ref()).filter(is_dead).count()
            == CLUSTERS
    });
    let complete = tokio::time::timeout(Duration::from_secs(60), complete).await;
    assert!(complete.is_ok(), "some were never recorded");
}

#[actix::test]
async fn detections_are_recorded_once_while_they_are_fresh() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    for _ in 0..3 {
        world.fleet.kill(&key("a"));
        world.until_code("a", Code::DeadPrimary).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.fleet.set_fault(&key("a"), Fault::None);
        world.until_code("a", Code::NoProblem).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let detections = world.handles.history.detections(DetectionSelect::Page(0)).await.unwrap();
    let dead: Vec<_> =
        detections.iter().filter(|it| it.analysis.code == Code::DeadPrimary).collect();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].replicas, [key("b"), key("c"), key("d")]);
    assert!(dead[0].id > 0);
    let changes = world.handles.history.analysis_changes().await.unwrap();
    let deaths = changes.iter().filter(|change| change.code == Code::DeadPrimary).count();
    assert_eq!(deaths, 3, "the change log has all of them");
}

#[actix::test]
async fn names_lead_to_the_server_behind_them_and_follow_it_when_it_moves() {
    tokio::time::pause();
    let fleet = FakeFleet::new();
    fleet.add_primary(&key("10.0.0.1"));
    fleet.alias(&key("pod-0"), &key("10.0.0.1"));
    let world = watch(Arc::clone(&fleet), "pod-0").await;
    world.until_valid(&["10.0.0.1"]).await;
    assert_eq!(world.handles.discovery.resolve(&key("pod-0")), key("10.0.0.1"));
    assert_eq!(world.snapshot().instance_count(), 1, "the name is no instance");
    let found = world.handles.discovery.discover(key("pod-0")).await.unwrap();
    assert_eq!(found.key, key("10.0.0.1"));

    fleet.kill(&key("10.0.0.1"));
    fleet.add_primary(&key("10.0.0.2"));
    fleet.alias(&key("pod-0"), &key("10.0.0.2"));
    let took = world.until_valid(&["10.0.0.2"]).await;
    assert!(took <= Duration::from_secs(20), "it took {took:?}");
    world.until("the old address is gone", |fleet| fleet.instance_count() == 1).await;
    assert_eq!(world.handles.discovery.resolutions(), [("pod-0".into(), "10.0.0.2".into())]);
    world.handles.shutdown().await;

    let world = watch_with(fleet, world.store, &[], |_| {}).await;
    assert_eq!(world.handles.discovery.resolve(&key("pod-0")), key("10.0.0.2"), "names are kept");
    world.handles.discovery.reset_resolutions();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.handles.discovery.resolutions(), []);
    assert!(world.store.disk().names.is_empty());
}

#[actix::test]
async fn one_that_others_replicate_from_is_not_forgotten_for_a_name_that_leads_elsewhere() {
    tokio::time::pause();
    let fleet = FakeFleet::new();
    for name in ["v", "x"] {
        fleet.add_primary(&key(name));
    }
    fleet.add_replica(&key("w"), &key("v"));
    fleet.alias(&key("name"), &key("v"));
    let world = watch(Arc::clone(&fleet), "name").await;
    world.until_valid(&["v", "w"]).await;
    fleet.kill(&key("v"));
    fleet.alias(&key("name"), &key("x"));
    world.until_valid(&["x"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let snapshot = world.snapshot();
    assert!(snapshot.instance(&key("v")).is_some_and(|it| it.was_seen() && it.is_failed()));
}

#[actix::test]
async fn the_name_of_another_server_is_not_taken_over() {
    tokio::time::pause();
    let fleet = FakeFleet::new();
    fleet.add_primary(&key("v"));
    let world = watch(Arc::clone(&fleet), "v").await;
    world.until_valid(&["v"]).await;
    // Whatever answers to `name` calls itself `v`, and is not the one that was seen there.
    fleet.edit(&key("v"), |facts| facts.server_uuid = Some(uuid::Uuid::from_u128(77)));
    fleet.alias(&key("name"), &key("v"));
    // Who asked is told what it calls itself.
    let _ = world.handles.discovery.discover(key("name")).await;
    assert_eq!(world.handles.discovery.resolve(&key("name")), key("name"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let shown = world.snapshot().instance(&key("name")).is_some_and(|it| it.is_valid());
    assert!(shown, "it keeps the name it was reached by");
    // Once it answers under that name itself, it is the same.
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.handles.discovery.resolve(&key("name")), key("v"));
    assert!(world.snapshot().instance(&key("name")).is_none());
}

#[actix::test]
async fn a_server_with_another_name_each_time_is_not_followed_for_ever() {
    tokio::time::pause();
    let fleet = FakeFleet::new();
    for number in 0..9 {
        fleet.add_primary(&key(&format!("n{number}")));
    }
    for number in 0..8 {
        fleet.alias(&key(&format!("n{number}")), &key(&format!("n{}", number + 1)));
    }
    let world = watch(Arc::clone(&fleet), "n0").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.handles.discovery.resolutions().len() <= 3);
    assert!(fleet.probes_of(&key("n8")) == 0, "{:?}", world.handles.discovery.resolutions());
}

#[actix::test]
async fn names_in_a_circle_do_not_keep_anybody_busy() {
    tokio::time::pause();
    let fleet = FakeFleet::new();
    fleet.add_primary(&key("a"));
    fleet.add_primary(&key("b"));
    // Asked as `x`, the server says `y`; asked as `y`, it says `x`.
    fleet.alias(&key("x"), &key("a"));
    let world = watch(Arc::clone(&fleet), "x").await;
    world.until_valid(&["a"]).await;
    fleet.alias(&key("a"), &key("x"));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fleet.probes_of(&key("b")) == 0);
    assert!(world.handles.actors.discovery.depth() < 10);
}

#[actix::test]
async fn who_never_answered_is_no_instance_unless_somebody_vouches() {
    tokio::time::pause();
    let fleet = FakeFleet::new();
    fleet.add_primary(&key("a"));
    fleet.edit(&key("a"), |facts| {
        facts.replicas.insert(key("backup-client"));
    });
    fleet.add_replica(&key("b"), &key("a"));
    fleet.add_replica(&key("orphan"), &key("b"));
    fleet.point(&key("orphan"), &key("gone"));
    let world = watch(fleet, "orphan").await;
    world
        .until("the source of a replica is known although it never answered", |fleet| {
            fleet.instance(&key("gone")).is_some_and(|it| it.is_failed())
        })
        .await;
    let failed = world.handles.discovery.discover(key("nowhere")).await;
    assert!(
        matches!(&failed, Err(DiscoverError::Probe { failure, .. }) if failure.kind == FailureKind::Connect),
        "{failed:?}"
    );
    world.handles.discovery.discover(key("a")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let snapshot = world.snapshot();
    assert!(snapshot.instance(&key("nowhere")).is_none());
    assert!(snapshot.instance(&key("backup-client")).is_none());
    assert!(snapshot.instance(&key("b")).is_some());
}

#[actix::test]
async fn instances_that_are_not_seen_for_long_are_forgotten() {
    tokio::time::pause();
    let world = watch_with(star(), MemoryStore::default(), &["a"], |options| {
        let policy = Policy { unseen_forget: Duration::from_secs(60 * 60), ..Policy::default() };
        options.policy = Arc::new(policy);
    })
    .await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    world.fleet.kill(&key("b"));
    world.fleet.edit(&key("a"), |facts| {
        facts.replicas.remove(&key("b"));
    });
    tokio::time::sleep(Duration::from_secs(59 * 60)).await;
    assert!(world.snapshot().instance(&key("b")).is_some());
    tokio::time::sleep(Duration::from_secs(2 * 60)).await;
    assert!(world.snapshot().instance(&key("b")).is_none());
    assert_eq!(world.snapshot().instance_count(), 3);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!world.store.disk().instances.contains_key(&key("b")), "the store forgot it too");
}

#[actix::test]
async fn another_policy_is_in_force_at_once() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    let policy = Policy { poll_interval: Duration::from_secs(1), ..Policy::default() };
    world.handles.set_policy(Arc::new(policy));
    world.until("it is published", |fleet| fleet.policy.poll_interval.as_secs() == 1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = world.fleet.probes_of(&key("b"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.fleet.probes_of(&key("b")) - before, 10);
}

#[actix::test]
async fn audit_lines_are_kept_without_waiting() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    let line = NewAuditEntry {
        at: world.snapshot().at,
        kind: "discover".into(),
        key: Some(key("a")),
        cluster: None,
        message: "found".into(),
    };
    world.handles.history.record_audit(line.clone());
    let audit = world.handles.history.audit(Some(key("a")), 0).await.unwrap();
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0].entry, line);
    assert_eq!(code_of(&world.snapshot(), "a"), Code::NoProblem);
}

#[actix::test]
async fn the_queue_of_a_store_that_cannot_write_is_bounded() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    world.store.disk().fault = StoreFault::Full;
    let mut health = world.handles.store_health.clone();
    let line = NewAuditEntry {
        at: world.snapshot().at,
        kind: "flood".into(),
        key: None,
        cluster: None,
        message: String::new(),
    };
    for _ in 0..50 {
        for _ in 0..1_000 {
            world.handles.history.record_audit(line.clone());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    health.wait_for(|health| *health != StoreHealth::Healthy).await.unwrap();
    assert!(world.handles.metrics.store_queue.get() <= 10_000);
    world.store.disk().fault = StoreFault::None;
    health.wait_for(|health| *health == StoreHealth::Healthy).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.handles.metrics.store_queue.get(), 0);
    let kept = world.store.disk().audit.len();
    assert!((5_000..=10_000).contains(&kept), "{kept} lines were kept");
}

#[actix::test]
async fn what_happened_while_the_analysis_was_dead_is_known_as_soon_as_it_is_back() {
    tokio::time::pause();
    let world = watch(star(), "a").await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    // Dead for longer and longer: up to five seconds.
    for _ in 0..12 {
        world.handles.actors.analysis.kill();
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    world.handles.actors.analysis.kill();
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.fleet.kill(&key("a"));
    let took = world.until_code("a", Code::DeadPrimary).await;
    assert!(took < Duration::from_millis(5_200), "as soon as it is back: {took:?}");
    let found = world.handles.discovery.discover(key("b")).await.unwrap();
    assert!(found.is_valid());
}

/// Knows every host by another name.
struct Suffix;

impl HostResolver for Suffix {
    fn resolve(&self, host: &str) -> BoxFuture<'_, std::io::Result<String>> {
        let short = host.trim_end_matches(".example.com").to_owned();
        Box::pin(
            async move { if short == "lost" { std::future::pending().await } else { Ok(short) } },
        )
    }
}

#[actix::test]
async fn names_are_resolved_before_they_are_used_where_the_configuration_says_so() {
    tokio::time::pause();
    let fleet = FakeFleet::new();
    fleet.add_primary(&key("a"));
    fleet.add_replica(&key("b"), &key("a.example.com"));
    fleet.add_replica(&key("c"), &key("b.example.com"));
    fleet.edit(&key("a"), |facts| {
        facts.replicas.insert(key("lost.example.com"));
    });
    let world = watch_with(fleet, MemoryStore::default(), &["c.example.com"], |options| {
        options.resolver = Some(Arc::new(Suffix));
    })
    .await;
    world.until_valid(&["a", "b", "c"]).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let snapshot = world.snapshot();
    assert_eq!(snapshot.clusters.size(), 1);
    assert_eq!(snapshot.instance_count(), 3, "a name that does not resolve is no instance");
    assert_eq!(world.handles.discovery.resolve(&key("b.example.com")), key("b"));
}

/// Takes its time.
struct Slow;

impl HostResolver for Slow {
    fn resolve(&self, host: &str) -> BoxFuture<'_, std::io::Result<String>> {
        let host = host.to_owned();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(host)
        })
    }
}

#[actix::test]
async fn whoever_asks_for_an_instance_whose_name_is_being_resolved_waits_for_it_as_well() {
    tokio::time::pause();
    let world = watch_with(star(), MemoryStore::default(), &["a"], |options| {
        options.resolver = Some(Arc::new(Slow));
    })
    .await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    let until = world.snapshot().at.plus(Duration::from_secs(15));
    let propose = |command| world.handles.ledger.propose(command);
    propose(Command::Forget { keys: vec![key("b")], until }).await.unwrap();
    world.until("b is gone", |fleet| fleet.instance(&key("b")).is_none()).await;
    // Every node looks for it once this is agreed upon, and so do those who ask.
    propose(Command::Discover { key: key("b"), at: world.snapshot().at }).await.unwrap();
    let discovery = &world.handles.discovery;
    let (one, other) = tokio::join!(discovery.discover(key("b")), discovery.discover(key("b")));
    assert!(one.unwrap().is_valid() && other.unwrap().is_valid());
}

#[actix::test]
async fn probes_run_on_the_arbiters_they_are_given() {
    // In real time: paused time is of one thread only.
    let arbiters = [actix_rt::Arbiter::new(), actix_rt::Arbiter::new()];
    let world = watch_with(star(), MemoryStore::default(), &["a"], |options| {
        options.arbiters = arbiters.iter().map(actix_rt::Arbiter::handle).collect();
        let policy = Policy { poll_interval: Duration::from_millis(50), ..Policy::default() };
        options.policy = Arc::new(policy);
    })
    .await;
    world.until_valid(&["a", "b", "c", "d"]).await;
    world.fleet.set_fault(&key("c"), Fault::Panics);
    world
        .until("a panic over there is known here", |fleet| {
            fleet.instance(&key("c")).is_some_and(|it| it.is_failed())
        })
        .await;
    world.fleet.kill(&key("a"));
    world.until_code("a", Code::DeadPrimaryAndSomeReplicas).await;
    world.handles.shutdown().await;
    for arbiter in arbiters {
        arbiter.stop();
        arbiter.join().unwrap();
    }
}
