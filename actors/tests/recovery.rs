//! Recoveries over servers in memory, in paused time: what is lost, who is open, who replicates.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_actors::ports::Control;
use baton_actors::testing::{ActionFault, FakeFleet, FakeTarget, MemoryStore};
use baton_topology::action::{Action, Threads};
use baton_topology::filter::ClusterFilter;
use baton_topology::instance::PromotionRule;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::LedgerState;
use baton_topology::policy::Policy;
use baton_topology::recovery::gate::Request;
use baton_topology::recovery::{Cause, End, Fencing, Hooks, Phase, Recovery};
use support::{World, key, star, watch_with};

const ALL: [&str; 4] = ["a", "b", "c", "d"];

fn everywhere() -> Policy {
    Policy {
        recover_primary: vec![ClusterFilter::Any],
        recover_intermediate: vec![ClusterFilter::Any],
        ..Policy::default()
    }
}

async fn acting(fleet: Arc<FakeFleet>) -> World {
    acting_on(fleet, MemoryStore::default()).await
}

async fn acting_on(fleet: Arc<FakeFleet>, store: MemoryStore) -> World {
    let world =
        watch_with(fleet, store, &["a"], |options| options.policy = Arc::new(everywhere())).await;
    world.until_valid(&ALL).await;
    // Connections are parked by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world
}

async fn until_ledger(
    world: &World,
    what: &str,
    mut is_wanted: impl FnMut(&LedgerState) -> bool,
) -> Duration {
    let began = tokio::time::Instant::now();
    let mut state = world.handles.ledger.state();
    let wanted = state.wait_for(|state| is_wanted(state));
    let result = tokio::time::timeout(Duration::from_secs(300), wanted).await;
    assert!(result.is_ok(), "not in time: {what}: {:#?}", recoveries(world));
    began.elapsed()
}

fn recoveries(world: &World) -> Vec<Arc<Recovery>> {
    world.handles.ledger.state().borrow().recoveries.values().cloned().collect()
}

async fn until_ended(world: &World) -> Arc<Recovery> {
    until_ledger(world, "a recovery ended", |state| {
        state.recoveries.values().any(|it| !it.is_running())
    })
    .await;
    recoveries(world).into_iter().next_back().expect("it is there")
}

/// Everybody who lives follows the one who accepts writes, and has what was acknowledged.
fn assert_whole(world: &World, successor: &str, case: &str) {
    let fleet = &world.fleet;
    assert_eq!(fleet.two_writable(), [], "I6: {case}");
    assert!(fleet.writable().contains(&key(successor)), "{case}: {:?}", fleet.writable());
}

#[actix::test]
async fn a_dead_primary_is_replaced_at_once_and_nothing_is_lost() {
    tokio::time::pause();
    let fleet = star();
    for _ in 0..5 {
        fleet.write(&key("a"));
    }
    let world = acting(Arc::clone(&fleet)).await;
    let had = fleet.executed(&key("a"));
    fleet.kill(&key("a"));
    let began = tokio::time::Instant::now();
    until_ledger(&world, "somebody succeeded", |state| {
        state.recoveries.values().any(|it| it.successor.is_some())
    })
    .await;
    // The servers of this fleet notice after 40 ms.
    assert!(began.elapsed() < Duration::from_millis(70), "it took {:?}", began.elapsed());
    let recovery = until_ended(&world).await;
    assert_eq!(recovery.phase, Phase::Ended(End::Done), "{recovery:#?}");
    let successor = recovery.successor.clone().expect("somebody succeeded");
    assert_eq!(successor, key("b"));
    assert_whole(&world, "b", "");
    assert!(fleet.executed(&successor).contains(&had));
    fleet.write(&successor).expect("it accepts writes");
    world
        .until("the others follow it", |fleet| {
            ["c", "d"].iter().all(|name| {
                fleet.instance(&key(name)).is_some_and(|it| it.facts.source() == Some(&key("b")))
            })
        })
        .await;
    assert_eq!(fleet.executed(&key("c")), fleet.executed(&successor));
    let ledger = world.handles.ledger.state().borrow().clone();
    let now = world.snapshot().at;
    let downtime = ledger.downtime_of(&key("a"), now).expect("the old primary is in downtime");
    assert_eq!(&*downtime.reason, "lost-in-recovery");
    assert!(ledger.downtime_of(&successor, now).is_none());
}

#[actix::test]
async fn whoever_has_more_gives_it_to_whom_people_prefer() {
    tokio::time::pause();
    let fleet = star();
    fleet.edit(&key("d"), |facts| facts.promotion_rule = Some(PromotionRule::Prefer));
    let world = acting(Arc::clone(&fleet)).await;
    // The preferred one stopped receiving some writes ago.
    let mut session = FakeTarget(Arc::clone(&fleet)).control(&key("d"));
    let stop = Action::Stop(Threads::Receiver);
    session.act(&stop, Duration::from_secs(1)).await.expect("it stops");
    for _ in 0..5 {
        fleet.write(&key("a"));
    }
    let had = fleet.executed(&key("a"));
    fleet.kill(&key("a"));
    let recovery = until_ended(&world).await;
    assert_eq!(recovery.successor, Some(key("d")), "{recovery:#?}");
    assert!(fleet.executed(&key("d")).contains(&had), "it got what it lacked");
    assert_whole(&world, "d", "");
}

#[actix::test]
async fn whatever_fails_in_the_middle_nothing_is_lost_and_one_is_open() {
    tokio::time::pause();
    let faults = [
        ActionFault::Refuse,
        ActionFault::LoseBefore,
        ActionFault::LoseAfter,
        ActionFault::Hang,
        ActionFault::Die,
        ActionFault::DieAfter,
    ];
    for fault in faults {
        for name in ["b", "c", "d"] {
            for nth in 1..=5 {
                let case = format!("{fault:?} at action {nth} of {name}");
                let fleet = star();
                let world = acting(Arc::clone(&fleet)).await;
                fleet.write(&key("a"));
                let had = fleet.executed(&key("a"));
                fleet.fail_action(&key(name), nth, fault.clone());
                fleet.kill(&key("a"));
                let recovery = until_ended(&world).await;
                assert_eq!(fleet.two_writable(), [], "I6: {case}");
                if let Some(successor) = &recovery.successor {
                    assert!(fleet.executed(successor).contains(&had), "{case}");
                }
                let is_open = recovery.successor.is_some();
                let is_told = recovery.phase == Phase::Ended(End::Stuck);
                assert!(is_open || is_told, "{case}: {recovery:#?}");
                world.handles.shutdown().await;
            }
        }
    }
}

#[actix::test]
async fn a_recovery_interrupted_after_any_action_is_brought_to_its_end() {
    tokio::time::pause();
    for interrupted_after in 1..=12 {
        let case = format!("interrupted after {interrupted_after} actions");
        let fleet = star();
        let world = acting(Arc::clone(&fleet)).await;
        fleet.write(&key("a"));
        let had = fleet.executed(&key("a"));
        fleet.kill(&key("a"));
        let mut changes = fleet.changes();
        while fleet.actions().len() < interrupted_after {
            let more = tokio::time::timeout(Duration::from_secs(20), changes.changed()).await;
            if more.is_err() {
                break;
            }
        }
        world.handles.actors.recovery.kill();
        let recovery = until_ended(&world).await;
        assert_eq!(recovery.phase, Phase::Ended(End::Done), "{case}: {recovery:#?}");
        let successor = recovery.successor.clone().expect("somebody succeeded");
        assert_eq!(fleet.two_writable(), [], "I6: {case}");
        assert_eq!(fleet.writable(), std::slice::from_ref(&successor), "{case}");
        assert!(fleet.executed(&successor).contains(&had), "{case}");
        fleet.write(&successor);
        for name in ["b", "c", "d"] {
            assert_eq!(fleet.executed(&key(name)), fleet.executed(&successor), "{case}: {name}");
        }
        world.handles.shutdown().await;
    }
}

#[actix::test]
async fn in_peace_the_pause_is_short_and_nothing_is_lost() {
    tokio::time::pause();
    for (cause, follows) in [(Cause::TakeoverAuto, true), (Cause::Takeover, false)] {
        let fleet = star();
        let world = acting(Arc::clone(&fleet)).await;
        fleet.write(&key("a"));
        let request = Request {
            key: key("a"),
            cause,
            wanted: Some(key("c")),
            hooks: Hooks::Run,
            fencing: Fencing::Required,
        };
        let recovery = world.handles.recoveries.recover(request).await.expect("it is done");
        assert_eq!(recovery.phase, Phase::Ended(End::Done), "{recovery:#?}");
        assert_eq!(fleet.writable(), [key("c")]);
        assert_eq!(fleet.two_writable(), [], "I6");
        fleet.write(&key("c")).expect("it accepts writes");
        for name in ["b", "d"] {
            assert_eq!(fleet.executed(&key(name)), fleet.executed(&key("c")), "{name}");
        }
        let old = fleet.executed(&key("a")) == fleet.executed(&key("c"));
        assert_eq!(old, follows, "{cause:?}");
        world.handles.shutdown().await;
    }
}

#[actix::test]
async fn a_takeover_that_fails_leaves_everything_as_it_was() {
    tokio::time::pause();
    for nth in 1..=4 {
        for fault in [ActionFault::Refuse, ActionFault::Hang] {
            for name in ["a", "b", "c"] {
                let case = format!("{fault:?} at action {nth} of {name}");
                let fleet = star();
                let world = acting(Arc::clone(&fleet)).await;
                fleet.fail_action(&key(name), nth, fault.clone());
                let request = Request {
                    key: key("a"),
                    cause: Cause::TakeoverAuto,
                    wanted: Some(key("c")),
                    hooks: Hooks::Run,
                    fencing: Fencing::Required,
                };
                let recovery = world.handles.recoveries.recover(request).await.expect("it ends");
                assert_eq!(fleet.two_writable(), [], "I6: {case}");
                match recovery.phase {
                    Phase::Ended(End::Done) => assert_eq!(fleet.writable(), [key("c")], "{case}"),
                    Phase::Ended(End::RolledBack) => {
                        assert_eq!(fleet.writable(), [key("a")], "{case}: {recovery:#?}");
                        fleet.write(&key("a")).expect("it accepts writes");
                        for other in ["b", "c", "d"] {
                            let same = fleet.executed(&key(other)) == fleet.executed(&key("a"));
                            let told = recovery.errors.iter().any(|it| it.starts_with(other));
                            assert!(same || told, "{case}: {other} {recovery:#?}");
                        }
                    }
                    other => assert_eq!(other, Phase::Ended(End::Stuck), "{case}"),
                }
                world.handles.shutdown().await;
            }
        }
    }
}

#[actix::test]
async fn a_replica_that_is_kept_far_behind_gets_its_place_after_all_others() {
    tokio::time::pause();
    let fleet = star();
    // Without the key it would be among the first: names are in order.
    fleet.edit(&key("c"), |facts| facts.channels[0].delay_seconds = 3600);
    let mut policy = everywhere();
    policy.recovery.postpone_on_delay = Some(Duration::from_secs(60));
    let world = watch_with(Arc::clone(&fleet), MemoryStore::default(), &["a"], |options| {
        options.policy = Arc::new(policy);
    })
    .await;
    world.until_valid(&ALL).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    fleet.kill(&key("a"));
    let recovery = until_ended(&world).await;
    assert_eq!(recovery.phase, Phase::Ended(End::Done), "{recovery:#?}");
    let moved: Vec<_> = fleet
        .actions()
        .into_iter()
        .filter(|(_, action)| matches!(action, Action::ChangeSource { .. }))
        .map(|(on, _)| on)
        .collect();
    assert_eq!(moved, [key("d"), key("c")]);
}

#[actix::test]
async fn a_recovery_that_panics_again_and_again_is_left_to_people_and_harms_no_other() {
    tokio::time::pause();
    let fleet = star();
    fleet.add_primary(&key("x"));
    fleet.add_replica(&key("y"), &key("x"));
    fleet.add_replica(&key("z"), &key("x"));
    let world = watch_with(Arc::clone(&fleet), MemoryStore::default(), &["a", "x"], |options| {
        options.policy = Arc::new(everywhere());
    })
    .await;
    world.until_valid(&["a", "b", "c", "d", "x", "y", "z"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for replica in ["b", "c", "d"] {
        (1..100).for_each(|nth| fleet.fail_action(&key(replica), nth, ActionFault::Panic));
    }
    fleet.kill(&key("a"));
    until_ledger(&world, "it was left to people", |state| {
        state.recoveries.values().any(|it| it.phase == Phase::Ended(End::Stuck))
    })
    .await;
    fleet.kill(&key("x"));
    until_ledger(&world, "the other cluster is recovered", |state| {
        state.recoveries.values().any(|it| it.phase == Phase::Ended(End::Done))
    })
    .await;
    let stuck = recoveries(&world).into_iter().find(|it| *it.failed() == key("a"));
    let stuck = stuck.expect("it is there");
    assert!(stuck.errors.iter().any(|it| it.contains("a fault of baton's")), "{stuck:#?}");
}

#[actix::test]
async fn a_recovery_that_panics_twice_is_taken_back_and_stops_nothing_for_good() {
    tokio::time::pause();
    let fleet = star();
    let world = watch_with(Arc::clone(&fleet), MemoryStore::default(), &["a"], |options| {
        options.policy = Arc::new(everywhere());
    })
    .await;
    world.until_valid(&ALL).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // While all are made to stand still, and once more when it is taken up again.
    (1..=2).for_each(|nth| fleet.fail_action(&key("d"), nth, ActionFault::Panic));
    fleet.kill(&key("a"));
    until_ledger(&world, "it was taken back", |state| {
        state.recoveries.values().any(|it| it.phase == Phase::Ended(End::RolledBack))
    })
    .await;
    let back = recoveries(&world).into_iter().next().expect("it is there");
    assert!(back.errors.iter().any(|it| it.contains("a fault of baton's")), "{back:#?}");
    let started: BTreeSet<InstanceKey> = fleet
        .actions()
        .into_iter()
        .filter(|(_, action)| matches!(action, Action::Start(_)))
        .map(|(on, _)| on)
        .collect();
    assert_eq!(started, ["b", "c", "d"].map(key).into(), "I9");
}
