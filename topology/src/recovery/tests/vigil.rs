//! Sources that do not answer, while replicas of theirs claim to receive.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::scouts;
use super::super::upkeep::{Review, Vigil};
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

/// The same fleet, with a scout on record.
fn with_scout(fleet: &FleetSnapshot, scout: &str, since: Timestamp) -> FleetSnapshot {
    let mut ledger = (*fleet.ledger).clone();
    ledger.scouts.insert_mut(key(scout), since);
    FleetSnapshot { ledger: Arc::new(ledger), ..fleet.clone() }
}

#[test]
fn a_scout_whose_sender_is_gone_is_started_by_whoever_leads() {
    let stopped = with(replica("b", "1-9", "1-9"), |it| {
        it.channels[0].receiver = ThreadState::Stopped;
    });
    let fleet = fleet_with(everywhere(), "1-9", &[stopped, receiving("c")], &[]);
    let seen = fleet.instance(&key("b")).and_then(|it| it.health.facts_from);
    let later = seen.expect("it was seen").plus(Duration::from_secs(60));
    let ago = |seconds| later.minus(Duration::from_secs(seconds));
    let (start, end) = ("start b:3306", "end");
    let told = |fleet: &FleetSnapshot, sent: &BTreeSet<InstanceKey>| -> Vec<String> {
        let mut review = Review::default();
        scouts::see_to_left_behind(fleet, sent, later, &mut review);
        let chores = review.chores.iter().map(|it| match it.stage.chains.first() {
            Some(chain) => format!("start {}", chain.on),
            None => end.to_owned(),
        });
        chores.chain(review.looks.iter().map(|it| format!("look at {it}"))).collect()
    };
    let nobody = BTreeSet::new();
    for (case, scout, since, expected) in [
        ("seen stopped since", "b", ago(60), start),
        ("not seen since", "b", ago(59), "look at b:3306"),
        ("it is on its way", "c", ago(60), end),
        ("it is nobody's any more", "gone", ago(60), end),
        ("people may have stopped it since", "b", ago(601), end),
    ] {
        assert_eq!(told(&with_scout(&fleet, scout, since), &nobody), [expected], "{case}");
    }
    let sent = BTreeSet::from([key("b")]);
    for (case, since, expected) in
        [("its sender is at it", ago(29), &[][..]), ("its sender gave up", ago(60), &[start])]
    {
        assert_eq!(told(&with_scout(&fleet, "b", since), &sent), expected, "{case}");
    }
    let review = Vigil::default().review(&with_scout(&fleet, "b", ago(60)), later);
    let Command::NoteChore { scout, .. } = &review.chores[0].note else {
        panic!("it is noted first")
    };
    assert_eq!(scout.as_ref(), Some(&key("b")), "and stays on record until it is started");
}
