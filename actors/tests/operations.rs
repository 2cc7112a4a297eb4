//! What people ask of servers, carried out over servers in memory.

mod support;

use std::sync::Arc;
use std::time::Duration;

use baton_actors::clock::TokioClock;
use baton_actors::hooks::HookRunner;
use baton_actors::operations::{Locks, Workshop};
use baton_actors::ports::{OperationError, Operations};
use baton_actors::system::Options;
use baton_actors::testing::{ActionFault, FakeFleet, FakeTarget, Fault, MemoryStore, StoreFault};
use baton_topology::hooks::{HookCommands, HookList, HookPolicy};
use baton_topology::instance::ThreadState;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::Command;
use baton_topology::policy::Policy;
use baton_topology::recovery::gate::{self, Runner};
use baton_topology::relocate::{Control, How, Request};
use baton_topology::time::Timestamp;
use support::{World, key, watch_with};

/// Who asks for everything here.
const BY: &str = "by anna from 10.0.0.9";

/// `a` above `b` and `e`, `b` above `c` and `d`.
async fn tree() -> (World, Workshop) {
    tree_with(Policy::default()).await
}

async fn tree_with(policy: Policy) -> (World, Workshop) {
    let fleet = FakeFleet::new();
    fleet.add_primary(&key("a"));
    for (name, source) in [("b", "a"), ("c", "b"), ("d", "b"), ("e", "a")] {
        fleet.add_replica(&key(name), &key(source));
    }
    let adjust = |options: &mut Options| options.policy = Arc::new(policy);
    let world = watch_with(fleet, MemoryStore::default(), &["a"], adjust).await;
    world.until_valid(&["a", "b", "c", "d", "e"]).await;
    let handles = &world.handles;
    let workshop = Workshop {
        control: Arc::new(FakeTarget(Arc::clone(&world.fleet))),
        snapshot: handles.snapshot.clone(),
        ledger: Arc::clone(&handles.ledger),
        discovery: Arc::clone(&handles.discovery),
        history: Arc::clone(&handles.history),
        clock: Arc::new(TokioClock::starting_at(Timestamp::from_secs(1_000))),
        equivalences: Arc::default(),
        hooks: HookRunner::of_process(),
        locks: Locks::default(),
    };
    (world, workshop)
}

fn relocate(replica: &str, below: &str) -> Request {
    Request::Relocate { replica: key(replica), below: key(below) }
}

fn all(of: &str, below: &str) -> Request {
    Request::RelocateReplicas { of: key(of), below: key(below), only: None, how: How::Any }
}

/// Where the published fleet has a server, and whether it replicates.
fn placed(world: &World, name: &str) -> (Option<InstanceKey>, bool) {
    let snapshot = world.snapshot();
    let (_, member) = snapshot.member(&key(name)).expect("it is known");
    let channel = member.instance.facts.main_channel();
    (member.source.clone(), channel.is_some_and(|channel| channel.is_running()))
}

fn locks(world: &World) -> usize {
    world.handles.ledger.state().borrow().maintenances.size()
}

#[actix::test]
async fn whoever_asks_next_sees_what_was_done() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    let done = workshop.perform(relocate("c", "e"), BY.into()).await.expect("it is done");
    assert_eq!(done.message, "Instance c:3306 relocated below e:3306");
    assert_eq!(placed(&world, "c"), (Some(key("e")), true));
    let done = workshop.perform(all("b", "a"), BY.into()).await.expect("it is done");
    assert_eq!(done.message, "Relocated 1 replicas of b:3306 below a:3306; 0 errors: []");
    assert_eq!(placed(&world, "d"), (Some(key("a")), true));
    assert_eq!(locks(&world), 0, "nothing stays locked");
    let audit = world.handles.history.audit(None, 0).await.expect("the store answers");
    let kinds: Vec<&str> = audit.iter().map(|it| it.entry.kind.as_str()).collect();
    assert!(kinds.contains(&"relocate-below") && kinds.contains(&"relocate-replicas"), "{kinds:?}");
    assert!(audit[0].entry.message.ends_with("(by anna from 10.0.0.9)"), "{:?}", audit[0]);
}

#[actix::test]
async fn a_rehearsal_says_what_would_be_done_and_does_nothing() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    let preview = workshop.rehearse(relocate("c", "e")).await.expect("it could be done");
    assert_eq!(
        preview.to_string(),
        "relocate-below:\n  c:3306: stop replication\n  \
         c:3306: replicate from e:3306, by GTID\n  c:3306: start replication\n"
    );
    assert_eq!(world.fleet.actions(), []);
    let refused = workshop.rehearse(relocate("b", "c")).await;
    assert!(matches!(refused, Err(OperationError::Refused(_))), "{refused:?}");
}

#[actix::test]
async fn whatever_fails_what_was_stopped_is_started_again() {
    tokio::time::pause();
    // I9: the first two actions on c are to stop it and to change its source.
    for (nth, fault) in [
        (1, ActionFault::Refuse),
        (1, ActionFault::LoseAfter),
        (1, ActionFault::HangForever),
        (2, ActionFault::Refuse),
        (2, ActionFault::LoseBefore),
        (2, ActionFault::LoseAfter),
        (2, ActionFault::Hang),
        (2, ActionFault::HangForever),
    ] {
        let (world, workshop) = tree().await;
        world.fleet.fail_action(&key("c"), nth, fault.clone());
        let outcome = workshop.perform(relocate("c", "e"), BY.into()).await;
        assert!(matches!(outcome, Err(OperationError::Failed(_))), "{nth} {fault:?}: {outcome:?}");
        assert!(placed(&world, "c").1, "{nth} {fault:?}: c replicates");
        assert_eq!(locks(&world), 0, "{nth} {fault:?}");
    }
}

#[actix::test]
async fn one_replica_that_fails_does_not_hold_up_the_others() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    world.fleet.fail_action(&key("c"), 2, ActionFault::Refuse);
    let done = workshop.perform(all("b", "e"), BY.into()).await.expect("one was moved");
    assert_eq!(done.done, [key("d")]);
    assert_eq!(done.failed.len(), 1);
    assert!(done.message.starts_with("Relocated 1 replicas of b:3306 below e:3306; 1 errors: [c"));
    assert_eq!(placed(&world, "c"), (Some(key("b")), true));
    assert_eq!(placed(&world, "d"), (Some(key("e")), true));
}

#[actix::test]
async fn a_replica_that_does_not_replicate_where_it_went_goes_back() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    // The third action on c is to start it below its new source.
    world.fleet.fail_action(&key("c"), 3, ActionFault::Refuse);
    let told =
        workshop.perform(relocate("c", "e"), BY.into()).await.expect_err("it does not start there");
    assert!(told.to_string().ends_with("; it is back below b:3306"), "{told}");
    assert_eq!(placed(&world, "c"), (Some(key("b")), true));
}

#[actix::test]
async fn a_server_that_is_worked_on_is_left_alone() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    let now = Timestamp::from_secs(0);
    let maintenance = Command::BeginMaintenance {
        key: key("d"),
        owner: "ann".into(),
        reason: "a new disk".into(),
        begins_at: now,
        ends_at: now.plus(Duration::from_secs(1_000_000_000)),
    };
    world.handles.ledger.propose(maintenance).await.expect("it is free");
    let refused =
        workshop.perform(all("b", "a"), BY.into()).await.expect_err("d is in maintenance");
    assert_eq!(refused.to_string(), "d:3306 is in maintenance by ann: a new disk");
    assert_eq!(world.fleet.actions(), [], "nothing was done");
    assert_eq!(locks(&world), 1, "only ann's lock is left");
}

#[actix::test]
async fn an_operation_outlives_whoever_asked_for_it() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    world.fleet.set_fault(&key("c"), Fault::Slow(Duration::from_millis(100)));
    let impatient = workshop.perform(relocate("c", "e"), BY.into());
    let hung_up = tokio::time::timeout(Duration::from_millis(250), impatient).await;
    assert!(hung_up.is_err(), "it takes longer than that");
    world
        .until_within(Duration::from_secs(30), "it is done all the same", |fleet| {
            fleet.member(&key("c")).is_some_and(|(_, it)| it.source == Some(key("e")))
        })
        .await;
}

#[actix::test]
async fn a_stop_may_wait_a_minute_for_the_rest_of_a_transaction() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    world.fleet.fail_action(&key("d"), 1, ActionFault::Hang);
    let began = tokio::time::Instant::now();
    let stop = Request::Control { key: key("d"), control: Control::Stop };
    workshop.perform(stop, BY.into()).await.expect_err("it never stops");
    assert!(began.elapsed() > Duration::from_secs(60), "{:?}", began.elapsed());
}

#[actix::test]
async fn threads_that_do_not_run_after_all_are_an_error() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    world.fleet.kill(&key("e"));
    let request = Request::Repoint { replica: key("c"), below: Some(key("e")) };
    workshop.perform(request, BY.into()).await.expect("its source may be dead");
    let stop = Request::Control { key: key("d"), control: Control::Stop };
    workshop.perform(stop, BY.into()).await.expect("it stops");
    assert_eq!(placed(&world, "d"), (Some(key("b")), false));
    world.fleet.kill(&key("b"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = Request::Control { key: key("d"), control: Control::Start };
    let told =
        workshop.perform(start, BY.into()).await.expect_err("its source is dead").to_string();
    assert!(told.starts_with("d:3306: instance is not replicating"), "{told}");
    let applier = |world: &World| {
        let snapshot = world.snapshot();
        let instance = snapshot.instance(&key("d")).expect("known").clone();
        instance.facts.main_channel().map(|channel| channel.applier)
    };
    assert_eq!(applier(&world), Some(ThreadState::Running), "what can run does");
}

#[actix::test]
async fn what_a_dead_baton_left_stopped_and_locked_is_started_and_free() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    // As if it had died between stopping and starting.
    for name in ["c", "d"] {
        let stop = Request::Control { key: key(name), control: Control::Stop };
        workshop.perform(stop, BY.into()).await.expect("it stops");
    }
    let now = Timestamp::from_secs(0);
    for (name, owner, reason) in
        [("c", "baton", "relocate-below c:3306"), ("d", "ann", "relocate-below d:3306")]
    {
        let command = Command::BeginMaintenance {
            key: key(name),
            owner: owner.into(),
            reason: reason.into(),
            begins_at: now,
            ends_at: now.plus(Duration::from_secs(1_000_000_000)),
        };
        world.handles.ledger.propose(command).await.expect("it is free");
    }
    workshop.resume().await.expect("this node leads");
    assert!(placed(&world, "c").1, "its own work is brought to an end");
    assert!(!placed(&world, "d").1, "ann's is not touched");
    assert_eq!(locks(&world), 1);
}

#[actix::test]
async fn a_server_is_moved_by_one_at_a_time() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    let (one, other) = (workshop.clone(), workshop.clone());
    let both = tokio::join!(
        one.perform(relocate("c", "e"), BY.into()),
        other.perform(relocate("c", "a"), BY.into())
    );
    let refused = match both {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused.to_string(),
        neither => panic!("one of them wins: {neither:?}"),
    };
    assert_eq!(refused, "c:3306 is in maintenance by baton: relocate-below c:3306");
    assert_eq!(locks(&world), 0);
    assert!(placed(&world, "c").1);
}

#[actix::test]
async fn what_a_recovery_is_about_to_place_is_left_to_it() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    let fleet = world.snapshot();
    let runner = Runner { uid: "1".into(), node: "n".into(), token: "t".into() };
    let now = Timestamp::from_secs(1_000);
    let recovery = gate::supposed(&key("b"), &fleet, &runner, now).expect("b is known");
    let begin = Command::BeginRecovery { recovery: Arc::new(recovery) };
    // The recovery begins while c is slow to change its source.
    world.fleet.set_fault(&key("c"), Fault::Slow(Duration::from_millis(200)));
    let begun = async {
        while world.fleet.actions_on(&key("c")).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.handles.ledger.propose(begin).await.expect("the ledger takes it");
    };
    let (outcome, ()) = tokio::join!(workshop.perform(relocate("c", "e"), BY.into()), begun);
    let left = "c:3306 is left to recovery 1 of b:3306, which is under way";
    let refused = outcome.expect_err("a recovery is under way").to_string();
    assert!(refused.starts_with(left), "{refused}");
    world
        .until("the recovery is over", |it| {
            it.ledger.recoveries.values().all(|it| !it.is_running())
        })
        .await;
    world.until("c replicates", |_| placed(&world, "c").1).await;
}

#[actix::test]
async fn errant_transactions_are_dropped_at_the_second_try() {
    tokio::time::pause();
    let (world, workshop) = tree().await;
    world.fleet.edit(&key("c"), |it| (it.read_only, it.super_read_only) = (false, false));
    let own = world.fleet.write(&key("c")).expect("it is a transaction");
    world
        .until("its own transaction is errant", |fleet| {
            fleet.member(&key("c")).is_some_and(|(_, it)| !it.errant.is_empty())
        })
        .await;
    // The connection breaks before it is done.
    world.fleet.fail_action(&key("c"), 2, ActionFault::LoseBefore);
    let request = Request::Control { key: key("c"), control: Control::ErrantResetLogs };
    let failed =
        workshop.perform(request.clone(), BY.into()).await.expect_err("the connection broke");
    assert!(!failed.to_string().contains("is left stopped"), "nothing was lost yet: {failed}");
    assert!(placed(&world, "c").1);
    workshop.perform(request, BY.into()).await.expect("the second time it works");
    let executed = world.fleet.executed(&key("c")).to_string();
    assert!(!executed.contains(&own.uuid.to_string()), "{executed}");
}

#[actix::test]
async fn nothing_is_done_that_the_ledger_did_not_agree_to() {
    // I2
    tokio::time::pause();
    let (world, workshop) = tree().await;
    let stop = Request::Control { key: key("c"), control: Control::Stop };
    let before = world.handles.ledger.state().borrow().index;
    workshop.perform(stop.clone(), BY.into()).await.expect("it stops");
    assert!(world.handles.ledger.state().borrow().index > before);
    let acted = world.fleet.actions().len();
    world.store.disk().fault = StoreFault::Full;
    for request in [stop, relocate("d", "e")] {
        let refused = workshop.perform(request, BY.into()).await;
        assert!(matches!(refused, Err(OperationError::Locked(_))), "{refused:?}");
    }
    assert_eq!(world.fleet.actions().len(), acted);
}

#[actix::test]
async fn who_took_whose_place_is_told_once_it_is_done() {
    tokio::time::pause();
    let folder = tempfile::tempdir().expect("a folder");
    let told = folder.path().join("told");
    let tell = format!("echo $1 $2 $ORC_SUCCESSOR_HOST $ORC_FAILED_HOST >> {}", told.display());
    let commands = HookCommands {
        name: "PostTakeMasterProcesses".into(),
        commands: vec!["echo no; exit 3".into(), tell.clone()],
    };
    let lists = [(HookList::PostTakePrimary, commands)].into();
    let hooks = HookPolicy { timeout: Duration::from_secs(20), lists, ..HookPolicy::default() };
    let (world, workshop) = tree_with(Policy { hooks, ..Policy::default() }).await;
    let take = |name| Request::TakeSource { replica: key(name) };
    // Processes live in real time.
    tokio::time::resume();

    let preview = workshop.rehearse(take("c")).await.expect("it could be done");
    let notes = [
        "PostTakeMasterProcesses would run with c:3306 b:3306: echo no; exit 3".to_owned(),
        format!("PostTakeMasterProcesses would run with c:3306 b:3306: {tell}"),
    ];
    assert_eq!(preview.notes, notes);
    workshop.perform(take("b"), BY.into()).await.expect_err("its source is the primary");
    workshop.perform(relocate("d", "e"), BY.into()).await.expect("nobody took a place");
    assert!(!told.exists(), "nothing was done yet that they are told of");

    let done = workshop.perform(take("c"), BY.into()).await.expect("what they say changes nothing");
    assert_eq!(done.message, "c:3306 took its master b:3306");
    assert_eq!(placed(&world, "b"), (Some(key("c")), true));
    let line = std::fs::read_to_string(&told).expect("the second one ran");
    assert_eq!(line, "c:3306 b:3306 c:3306 b:3306\n");
    // What is kept of them is written beside.
    let mut lines: Vec<String> = Vec::new();
    let both_are_kept = async {
        while lines.len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let audit = world.handles.history.audit(None, 0).await.expect("the store answers");
            let hooks = audit.into_iter().filter(|it| it.entry.kind == "hook");
            lines = hooks.map(|it| it.entry.message.to_string()).collect();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), both_are_kept).await.expect("both are kept");
    lines.sort_unstable();
    let [completed, failed] = &lines[..] else { panic!("one line each: {lines:?}") };
    assert!(completed.starts_with("Completed PostTakeMasterProcesses hook 2 of 2"), "{completed}");
    // Everybody reads the audit, and not everybody what hooks write.
    assert!(failed.contains("hook 1 of 2 failed after") && failed.ends_with("exit status 3"));
}
