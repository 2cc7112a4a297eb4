//! Sources that do not answer, while replicas of theirs claim to receive.

use std::time::Duration;

use super::super::upkeep::Vigil;
use super::*;
use crate::instance::{FailureKind, ProbeFailure};

fn receiving(name: &str) -> (String, Facts) {
    with(replica(name, "1-9", "1-9"), |it| {
        it.channels[0].receiver = ThreadState::Running;
        it.channels[0].receiver_error = Default::default();
    })
}

/// Reviews every 100 ms for so long; what was done, in order.
fn watch(vigil: &mut Vigil, fleet: &FleetSnapshot, from_ms: u64, for_ms: u64) -> Vec<String> {
    let mut told = Vec::new();
    for passed in (from_ms..=from_ms + for_ms).step_by(100) {
        let review = vigil.review(fleet, now().plus(Duration::from_millis(passed)));
        told.extend(review.chores.iter().map(|it| format!("scout {}", it.stage.chains[0].on)));
        told.extend(review.looks.iter().map(|it| format!("look at {it}")));
        told.extend(review.hung.iter().map(|it| format!("{it} hangs")));
    }
    told.dedup();
    told
}

#[test]
fn a_replica_that_cannot_tell_does_not_hold_up_those_that_can() {
    let replicas = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9"), receiving("c")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let mut vigil = Vigil::default();
    // As long as it is not known that its receiver is stuck, c may be right.
    let told = watch(&mut vigil, &fleet, 0, 10_000);
    assert_eq!(told, ["scout c:3306", "look at c:3306"]);
    vigil.is_stuck(&key("p"), key("c"));
    assert_eq!(watch(&mut vigil, &fleet, 10_100, 100), ["p:3306 hangs"]);
}

#[test]
fn those_that_cannot_tell_are_no_majority() {
    let replicas = [replica("a", "1-9", "1-9"), receiving("b"), receiving("c")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let mut vigil = Vigil::default();
    let told = watch(&mut vigil, &fleet, 0, 10_000);
    assert_eq!(told, ["scout c:3306", "look at c:3306"]);
    vigil.is_stuck(&key("p"), key("c"));
    // b may be right still, and so is asked next.
    let told = watch(&mut vigil, &fleet, 30_000, 10_000);
    assert_eq!(told, ["scout b:3306", "look at b:3306"]);
    vigil.is_stuck(&key("p"), key("b"));
    assert_eq!(watch(&mut vigil, &fleet, 60_000, 10_000), Vec::<String>::new());
}

#[test]
fn who_has_no_room_for_us_may_serve_others() {
    let mut full = refused("p", 60);
    full.outcome = Err(ProbeFailure {
        kind: FailureKind::TooManyConnections,
        partial: false,
        message: "too many connections".into(),
    });
    let replicas = [replica("a", "1-9", "1-9"), receiving("b")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let fleet = advance(&fleet, vec![FleetInput::Probed(full)], now()).snapshot;
    assert_eq!(watch(&mut Vigil::default(), &fleet, 0, 10_000), Vec::<String>::new());
}
