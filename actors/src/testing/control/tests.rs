//! The servers in memory must behave like real ones, or tests over them prove nothing.

use baton_topology::action::{Place, Switch, Threads};
use baton_topology::gtid::GtidSet;
use baton_topology::instance::SourceLink;

use super::*;

const AT_MOST: Duration = Duration::from_secs(5);

fn key(name: &str) -> InstanceKey {
    InstanceKey::new(name, 3306)
}

/// `a` with the replicas `b` and `c`, and `d` below `c`.
fn fleet() -> Arc<FakeFleet> {
    let fleet = FakeFleet::new();
    fleet.add_primary(&key("a"));
    for (name, source) in [("b", "a"), ("c", "a"), ("d", "c")] {
        fleet.add_replica(&key(name), &key(source));
    }
    fleet
}

async fn act(fleet: &Arc<FakeFleet>, name: &str, action: Action) -> Result<(), ActionFailure> {
    FakeTarget(Arc::clone(fleet)).control(&key(name)).act(&action, AT_MOST).await
}

fn below(name: &str, place: Place) -> Action {
    Action::ChangeSource { to: key(name), place }
}

fn sets(fleet: &FakeFleet) -> Vec<u64> {
    ["a", "b", "c", "d"].iter().map(|name| fleet.executed(&key(name)).count()).collect()
}

#[tokio::test(start_paused = true)]
async fn transactions_go_as_far_as_threads_run() {
    let fleet = fleet();
    fleet.write(&key("a")).unwrap();
    assert_eq!(sets(&fleet), [1, 1, 1, 1]);
    act(&fleet, "b", Action::Stop(Threads::Receiver)).await.unwrap();
    act(&fleet, "c", Action::Stop(Threads::Applier)).await.unwrap();
    fleet.write(&key("a")).unwrap();
    assert_eq!(sets(&fleet), [2, 1, 1, 1]);
    fleet.kill(&key("a"));
    act(&fleet, "b", Action::Start(Threads::Both)).await.unwrap();
    act(&fleet, "c", Action::Start(Threads::Both)).await.unwrap();
    assert_eq!(sets(&fleet), [2, 1, 2, 2], "only c had received it");
    fleet.set_fault(&key("a"), Fault::None);
    assert_eq!(sets(&fleet), [2, 2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn only_open_servers_are_written() {
    let fleet = fleet();
    assert_eq!(fleet.write(&key("b")), None);
    act(&fleet, "a", Action::SetReadOnly).await.unwrap();
    assert_eq!((fleet.write(&key("a")), fleet.writable()), (None, vec![]));
    act(&fleet, "b", Action::SetWritable).await.unwrap();
    assert!(fleet.write(&key("b")).is_some());
    assert_eq!(fleet.two_writable(), []);
    act(&fleet, "a", Action::SetWritable).await.unwrap();
    assert_eq!(fleet.two_writable(), [(key("a"), key("b"))]);
    fleet.add_primary(&key("of-another-cluster"));
    act(&fleet, "of-another-cluster", Action::SetWritable).await.unwrap();
    assert_eq!(fleet.two_writable().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_is_moved_and_drops_what_it_had_not_applied() {
    let fleet = fleet();
    act(&fleet, "c", Action::Stop(Threads::Applier)).await.unwrap();
    fleet.write(&key("a")).unwrap();
    let running = act(&fleet, "c", below("b", Place::Same)).await;
    assert!(matches!(running, Err(ActionFailure::Refused(_))), "{running:?}");
    act(&fleet, "c", Action::Stop(Threads::Both)).await.unwrap();
    act(&fleet, "c", below("d", Place::Same)).await.unwrap();
    act(&fleet, "c", Action::Start(Threads::Both)).await.unwrap();
    assert_eq!(sets(&fleet), [1, 1, 0, 0]);
    act(&fleet, "c", Action::Stop(Threads::Both)).await.unwrap();
    act(&fleet, "c", below("b", Place::Gtid)).await.unwrap();
    act(&fleet, "c", Action::Start(Threads::Both)).await.unwrap();
    assert_eq!(sets(&fleet), [1, 1, 1, 1]);
    let seen = FakeTarget(Arc::clone(&fleet)).control(&key("b")).look().await.unwrap();
    assert_eq!(seen.facts.replicas, [key("c")].into());
}

#[tokio::test(start_paused = true)]
async fn a_detached_replica_comes_back_and_a_forgetful_one_does_not() {
    let fleet = fleet();
    act(&fleet, "b", Action::Stop(Threads::Both)).await.unwrap();
    for (action, link) in [
        (Action::Detach, SourceLink::Detached(key("a"))),
        (Action::Detach, SourceLink::Detached(key("a"))),
        (Action::Reattach, SourceLink::Attached(key("a"))),
        (Action::Reattach, SourceLink::Attached(key("a"))),
    ] {
        act(&fleet, "b", action).await.unwrap();
        let seen = FakeTarget(Arc::clone(&fleet)).control(&key("b")).look().await.unwrap();
        assert_eq!(seen.facts.main_channel().unwrap().source, link);
    }
    act(&fleet, "b", Action::ForgetSource).await.unwrap();
    assert!(act(&fleet, "b", Action::Start(Threads::Both)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_without_what_was_purged_cannot_follow() {
    let fleet = fleet();
    let written = fleet.write(&key("a")).unwrap();
    fleet.add_replica(&key("e"), &key("b"));
    assert_eq!(fleet.executed(&key("e")).count(), 1);
    let all: GtidSet = written.to_string().parse().unwrap();
    act(&fleet, "b", Action::ResetBinaryLogs { purged: all }).await.unwrap();
    for action in [
        Action::Stop(Threads::Both),
        Action::ResetBinaryLogs { purged: GtidSet::default() },
        below("b", Place::Gtid),
        Action::Start(Threads::Both),
    ] {
        act(&fleet, "e", action).await.unwrap();
    }
    let seen = FakeTarget(Arc::clone(&fleet)).control(&key("e")).look().await.unwrap();
    assert_eq!(seen.facts.main_channel().unwrap().receiver_error.number, 1236);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_transaction_or_the_time_or_the_server() {
    let fleet = fleet();
    act(&fleet, "b", Action::Stop(Threads::Applier)).await.unwrap();
    let written = fleet.write(&key("a")).unwrap();
    let wait = move || Action::WaitExecuted {
        until: Until::Gtids(Gtids::MySql(written.to_string().parse().unwrap())),
        at_most: Duration::from_secs(1),
    };
    act(&fleet, "c", wait()).await.unwrap();
    let late = act(&fleet, "b", wait()).await;
    assert!(matches!(late, Err(ActionFailure::Timeout { .. })), "{late:?}");
    let waiter = tokio::spawn({
        let fleet = Arc::clone(&fleet);
        async move { act(&fleet, "b", wait()).await }
    });
    tokio::task::yield_now().await;
    act(&fleet, "b", Action::Start(Threads::Applier)).await.unwrap();
    waiter.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn actions_fail_as_told_and_are_noted() {
    let fleet = fleet();
    let on = || Action::SetSemiSyncSource(Switch::On);
    for (fault, is_done, is_alive) in [
        (ActionFault::Refuse, false, true),
        (ActionFault::LoseBefore, false, true),
        (ActionFault::LoseAfter, true, true),
        (ActionFault::Hang, false, true),
        (ActionFault::Die, false, false),
        (ActionFault::DieAfter, true, false),
    ] {
        fleet.set_fault(&key("b"), Fault::None);
        fleet.edit(&key("b"), |facts| facts.semi_sync.source_enabled = false);
        fleet.fail_action(&key("b"), 2, fault.clone());
        act(&fleet, "b", Action::KillClients).await.unwrap();
        act(&fleet, "b", on()).await.unwrap_err();
        assert_eq!(fleet.state().server(&key("b")).unwrap().1.lives(), is_alive, "{fault:?}");
        fleet.set_fault(&key("b"), Fault::None);
        let seen = FakeTarget(Arc::clone(&fleet)).control(&key("b")).look().await.unwrap();
        assert_eq!(seen.facts.semi_sync.source_enabled, is_done, "{fault:?}");
    }
    assert_eq!(fleet.actions_on(&key("b")).len(), 12);
    assert_eq!(fleet.actions()[..2], [(key("b"), Action::KillClients), (key("b"), on())]);
}
