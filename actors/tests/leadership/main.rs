//! Several nodes over one fleet: only the leader acts, and stops where it stands once it leads no
//! more; the next one brings to its end what was begun (I2, I6, I9, I11).

mod agreement;
mod quorum;
mod sharing;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use baton_actors::clock::TokioClock;
use baton_actors::hooks::HookRunner;
use baton_actors::operations::{Locks, Workshop};
use baton_actors::ports::{OperationError, Operations, ProposeError, RecoverError};
use baton_actors::testing::{FakeFleet, Fault, MemoryStore};
use baton_topology::filter::ClusterFilter;
use baton_topology::ledger::LedgerState;
use baton_topology::policy::Policy;
use baton_topology::recovery::gate::Request;
use baton_topology::recovery::{Cause, End, Fencing, Hooks, Phase, Recovery};
use baton_topology::relocate;
use baton_topology::time::Timestamp;
use quorum::{Loss, Quorum, Seat};
use support::{World, key, star, watch_with};

const ALL: [&str; 4] = ["a", "b", "c", "d"];
const LOSSES: [Loss; 4] = [Loss::Before, Loss::After, Loss::Unanswered, Loss::Unnoticed];
/// No recovery or move asks the ledger so often.
const QUESTIONS_MAX: u64 = 100;

/// Two nodes, each with eyes of its own.
struct Nodes {
    fleet: Arc<FakeFleet>,
    quorum: Arc<Quorum>,
    worlds: Vec<World>,
}

impl Nodes {
    async fn over(fleet: Arc<FakeFleet>) -> Self {
        let quorum = Quorum::of(2);
        let mut worlds = Vec::new();
        for number in 0..2 {
            let seat = Seat { quorum: Arc::clone(&quorum), number, fleet: Arc::clone(&fleet) };
            let adjust = |options: &mut baton_actors::system::Options| {
                options.policy = Arc::new(Policy {
                    recover_primary: vec![ClusterFilter::Any],
                    recover_intermediate: vec![ClusterFilter::Any],
                    ..Policy::default()
                });
                options.ledger = Some(Arc::new(seat.clone()));
                options.recovery.control = Arc::new(seat);
                let uids = Arc::clone(&options.recovery.uids);
                options.recovery.uids = Arc::new(move || format!("{number}:{}", uids()).into());
            };
            let store = MemoryStore::default();
            let world = watch_with(Arc::clone(&fleet), store, &["a"], adjust).await;
            world.until_valid(&ALL).await;
            worlds.push(world);
        }
        // Connections are parked by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self { fleet, quorum, worlds }
    }

    fn recoveries(&self) -> Vec<Arc<Recovery>> {
        self.quorum.state.borrow().recoveries.values().cloned().collect()
    }

    async fn until(&self, what: &str, is_wanted: impl FnMut(&Arc<LedgerState>) -> bool) {
        let mut state = self.quorum.state.subscribe();
        let wanted = tokio::time::timeout(Duration::from_secs(300), state.wait_for(is_wanted));
        assert!(wanted.await.is_ok(), "not in time: {what}: {:#?}", self.recoveries());
    }

    async fn until_ended(&self, case: &str) -> Arc<Recovery> {
        self.until(case, |state| {
            let mut recoveries = state.recoveries.values();
            !state.recoveries.is_empty() && recoveries.all(|it| !it.is_running())
        })
        .await;
        self.recoveries().pop().expect("it is there")
    }

    /// A moment in which nothing is asked of anybody.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }

    async fn stop(self) {
        for world in &self.worlds {
            world.handles.shutdown().await;
        }
    }
}

#[actix::test]
async fn a_leader_that_is_deposed_at_any_step_of_a_recovery_does_nothing_more_and_the_next_ends_it()
{
    tokio::time::pause();
    for loss in LOSSES {
        for nth in 1..=QUESTIONS_MAX {
            let case = format!("{loss:?} at question {nth}");
            let nodes = Nodes::over(star()).await;
            let fleet = Arc::clone(&nodes.fleet);
            fleet.write(&key("a"));
            let had = fleet.executed(&key("a"));
            nodes.quorum.lose_at(nth, loss);
            fleet.kill(&key("a"));
            let recovery = nodes.until_ended(&case).await;
            nodes.settle().await;
            assert_eq!(nodes.quorum.trespasses(), [""; 0], "I2: {case}");
            assert_eq!(fleet.two_writable(), [], "I6: {case}");
            assert_eq!(nodes.recoveries().len(), 1, "I11: {case}: {:#?}", nodes.recoveries());
            assert_eq!(recovery.phase, Phase::Ended(End::Done), "{case}: {recovery:#?}");
            let successor = recovery.successor.clone().expect("somebody succeeded");
            assert_eq!(fleet.writable(), std::slice::from_ref(&successor), "{case}");
            assert!(fleet.executed(&successor).contains(&had), "{case}");
            fleet.write(&successor);
            for name in ["b", "c", "d"] {
                let same = fleet.executed(&key(name)) == fleet.executed(&successor);
                assert!(same, "I9: {case}: {name}");
            }
            let was_lost = nodes.quorum.was_lost();
            nodes.stop().await;
            if !was_lost {
                assert!(nth > 8, "a recovery asks more often: {case}");
                break;
            }
        }
    }
}

#[actix::test]
async fn a_leader_that_is_deposed_after_any_action_does_nothing_more_and_the_next_ends_it() {
    tokio::time::pause();
    for loss in [Loss::After, Loss::Unnoticed] {
        for actions in 1..=12 {
            let case = format!("{loss:?} after {actions} actions");
            let nodes = Nodes::over(star()).await;
            let fleet = Arc::clone(&nodes.fleet);
            fleet.write(&key("a"));
            let had = fleet.executed(&key("a"));
            fleet.kill(&key("a"));
            let mut changes = fleet.changes();
            while fleet.actions().len() < actions {
                let more = tokio::time::timeout(Duration::from_secs(20), changes.changed()).await;
                if more.is_err() {
                    break;
                }
            }
            nodes.quorum.depose(loss);
            let recovery = nodes.until_ended(&case).await;
            nodes.settle().await;
            assert_eq!(nodes.quorum.trespasses(), [""; 0], "I2: {case}");
            assert_eq!(fleet.two_writable(), [], "I6: {case}");
            let successor = recovery.successor.clone().expect("somebody succeeded");
            assert_eq!(fleet.writable(), std::slice::from_ref(&successor), "{case}");
            assert!(fleet.executed(&successor).contains(&had), "{case}");
            nodes.stop().await;
        }
    }
}

#[actix::test]
async fn a_scout_whose_leader_is_deposed_at_any_moment_is_started_by_the_next() {
    tokio::time::pause();
    for loss in LOSSES {
        for actions in 1..=2 {
            let case = format!("{loss:?} after {actions} actions");
            let nodes = Nodes::over(star()).await;
            let fleet = Arc::clone(&nodes.fleet);
            fleet.set_fault(&key("a"), Fault::Hung);
            let mut changes = fleet.changes();
            while fleet.actions().len() < actions {
                let more = tokio::time::timeout(Duration::from_secs(20), changes.changed()).await;
                assert!(more.is_ok(), "{case}: {:?}", fleet.actions());
            }
            nodes.quorum.depose(loss);
            // It was a moment's weakness: nobody has to be replaced.
            fleet.set_fault(&key("a"), Fault::None);
            nodes.until(&case, |state| state.scouts.is_empty()).await;
            nodes.settle().await;
            assert_eq!(nodes.quorum.trespasses(), [""; 0], "I2: {case}");
            for name in ["b", "c", "d"] {
                let snapshot = nodes.worlds[1].snapshot();
                let channel = snapshot.instance(&key(name)).and_then(|it| it.facts.main_channel());
                assert!(channel.is_some_and(|it| it.is_running()), "I9: {case}: {name}");
            }
            nodes.stop().await;
        }
    }
}

#[actix::test]
async fn a_node_that_does_not_lead_refuses_and_says_who_may() {
    tokio::time::pause();
    let nodes = Nodes::over(star()).await;
    let request = Request {
        key: key("a"),
        cause: Cause::TakeoverAuto,
        wanted: Some(key("c")),
        hooks: Hooks::Run,
        fencing: Fencing::Required,
    };
    let refused = nodes.worlds[1].handles.recoveries.recover(request.clone()).await;
    assert!(
        matches!(refused, Err(RecoverError::Ledger(ProposeError::NotLeading(_)))),
        "{refused:?}"
    );
    assert_eq!(nodes.fleet.actions(), []);
    let done = nodes.worlds[0].handles.recoveries.recover(request).await.expect("it leads");
    assert_eq!(done.phase, Phase::Ended(End::Done));
    nodes.settle().await;
    assert_eq!(nodes.quorum.trespasses(), [""; 0]);
}

#[actix::test]
async fn a_failure_that_nobody_recorded_is_recorded_by_the_next_leader() {
    tokio::time::pause();
    let nodes = Nodes::over(star()).await;
    nodes.quorum.lose_at(1, Loss::Before);
    nodes.fleet.kill(&key("d"));
    nodes.fleet.kill(&key("a"));
    nodes.until("it is recorded", |state| state.last_detection_id > 0).await;
    assert!(nodes.quorum.was_lost());
}

fn workshop(nodes: &Nodes, number: usize) -> Workshop {
    let handles = &nodes.worlds[number].handles;
    let (quorum, fleet) = (Arc::clone(&nodes.quorum), Arc::clone(&nodes.fleet));
    Workshop {
        control: Arc::new(Seat { quorum, number, fleet }),
        snapshot: handles.snapshot.clone(),
        ledger: Arc::clone(&handles.ledger),
        discovery: Arc::clone(&handles.discovery),
        history: Arc::clone(&handles.history),
        clock: Arc::new(TokioClock::starting_at(Timestamp::from_secs(1_000))),
        equivalences: Arc::default(),
        hooks: HookRunner::of_process(),
        locks: Locks::default(),
    }
}

#[actix::test]
async fn a_move_whose_leader_is_deposed_at_any_step_is_stopped_and_the_next_leader_starts_what_stands()
 {
    tokio::time::pause();
    for loss in LOSSES {
        for nth in 1..=QUESTIONS_MAX {
            let case = format!("{loss:?} at question {nth}");
            let nodes = Nodes::over(star()).await;
            let workshops = [workshop(&nodes, 0), workshop(&nodes, 1)];
            for it in workshops.clone() {
                tokio::task::spawn_local(async move { it.resume_when_leading().await });
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            nodes.quorum.lose_at(nth, loss);
            let request = relocate::Request::Relocate { replica: key("c"), below: key("b") };
            let outcome = workshops[0].perform(request, String::from("by anybody")).await;
            let was_lost = nodes.quorum.was_lost();
            if !was_lost {
                assert!(outcome.is_ok(), "{case}: {outcome:?}");
                assert!(nth > 3, "a move asks more often: {case}");
                nodes.stop().await;
                break;
            }
            if let Err(error) = &outcome {
                let is_told =
                    matches!(error, OperationError::Locked(_) | OperationError::Failed(_));
                assert!(is_told, "{case}: {error:?}");
            }
            nodes.settle().await;
            assert_eq!(nodes.quorum.trespasses(), [""; 0], "I2: {case}");
            let state = nodes.quorum.state.borrow().clone();
            assert_eq!(state.maintenances.size(), 0, "{case}: nothing stays locked");
            let world = &nodes.worlds[1];
            let snapshot = world.snapshot();
            let channel = snapshot.instance(&key("c")).and_then(|it| it.facts.main_channel());
            assert!(channel.is_some_and(|it| it.is_running()), "I9: {case}");
            nodes.stop().await;
        }
    }
}
