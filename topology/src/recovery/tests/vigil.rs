//! Sources that do not answer, while replicas of theirs claim to receive.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::scouts;
use super::super::upkeep::{Review, Vigil};
use super::*;
use crate::instance::{FailureKind, ProbeFailure};
use crate::probe::ProbeResult;

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

/// Stopping such a receiver would take minutes, and starting it tell nothing.
#[test]
fn a_receiver_that_waits_for_room_on_its_disk_is_not_asked() {
    let full = |name| {
        let (name, mut facts) = receiving(name);
        facts.channels[0].waits_for_disk = true;
        (name, facts)
    };
    let some = [replica("a", "1-9", "1-9"), full("b")];
    let fleet = fleet_with(everywhere(), "1-9", &some, &[]);
    assert_eq!(watch(&mut Vigil::default(), &fleet, 0, 10_000), ["p:3306 hangs"]);
    let most = [replica("a", "1-9", "1-9"), full("b"), full("c")];
    let fleet = fleet_with(everywhere(), "1-9", &most, &[]);
    assert_eq!(watch(&mut Vigil::default(), &fleet, 0, 10_000), Vec::<String>::new());
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

/// The same fleet after a look at this moment.
fn after(fleet: &FleetSnapshot, look: ProbeResult, ms: u64) -> FleetSnapshot {
    let at = now().plus(Duration::from_millis(ms));
    let look = ProbeResult { started_at: at, ended_at: at, ..look };
    advance(fleet, vec![FleetInput::Probed(look)], at).snapshot
}

/// `p`, which answered until a moment ago, stands still; its only replica was made to connect anew.
fn tested(vigil: &mut Vigil, silent_for_ms: u64) -> FleetSnapshot {
    let fleet = fleet_with(everywhere(), "1-9", &[receiving("c")], &[]);
    let p = fleet.instance(&key("p")).expect("it is known").facts.as_ref().clone();
    let fleet = after(&fleet, answered("p", 0, p), 0);
    let mut hung = refused("p", 0);
    hung.outcome = Err(ProbeFailure {
        kind: FailureKind::Timeout,
        partial: false,
        message: "no answer".into(),
    });
    hung.silent_since = Some(now().minus(Duration::from_millis(silent_for_ms)));
    let fleet = after(&fleet, hung, 0);
    assert_eq!(watch(vigil, &fleet, 0, 400), ["scout c:3306"]);
    let mut ledger = (*fleet.ledger).clone();
    ledger.chores.insert_mut(key("p"), now());
    let ledger = vec![FleetInput::Ledger(Arc::new(ledger))];
    advance(&fleet, ledger, now().plus(Duration::from_millis(400))).snapshot
}

fn connecting(number: u32) -> Facts {
    let (_, mut facts) = receiving("c");
    facts.channels[0].receiver = ThreadState::Other;
    facts.channels[0].receiver_error.number = number;
    facts
}

#[test]
fn a_primary_that_stands_still_is_given_its_time_though_it_has_one_replica() {
    for (case, silent_for_ms, hangs_at_ms) in
        [("silent from now on", 0, 2_600), ("it overslept before", 300, 2_300)]
    {
        let mut vigil = Vigil::default();
        let mut fleet = tested(&mut vigil, silent_for_ms);
        let mut hung = None;
        for ms in (500..=4_000).step_by(100) {
            fleet = after(&fleet, answered("c", 0, connecting(0)), ms);
            let review = vigil.review(&fleet, now().plus(Duration::from_millis(ms)));
            hung = hung.or((review.hung == [key("p")]).then_some(ms));
        }
        assert_eq!(hung, Some(hangs_at_ms), "{case}");
    }
}

/// Nobody who is gone says that there is no room.
#[test]
fn a_replica_that_is_told_no_proves_that_its_source_lives() {
    for (number, is_there) in [
        (1040, true),
        (1045, true),
        (3032, true),
        // It was greeted, and could not log in.
        (2026, true),
        (2061, true),
        (2003, false),
        (2013, false),
    ] {
        let mut vigil = Vigil::default();
        let mut fleet = tested(&mut vigil, 0);
        let mut hung = false;
        for ms in (500..=6_000).step_by(100) {
            fleet = after(&fleet, answered("c", 0, connecting(number)), ms);
            hung |= !vigil.review(&fleet, now().plus(Duration::from_millis(ms))).hung.is_empty();
        }
        let codes: Vec<Code> =
            fleet.clusters.values().flat_map(|it| &it.analyses).map(|it| it.code).collect();
        let expected = if is_there { Code::UnreachablePrimary } else { Code::DeadPrimary };
        assert!(codes.contains(&expected), "{number}: {codes:?}");
        assert!(!hung, "{number}: whoever is known to be dead does not hang");
    }
}

/// Neither proves that the source hangs: it has purged what the receiver asks for, or the receiver
/// itself has no account any more. What the source said proves, for as long as no other replica
/// tells, that it lives.
#[test]
fn a_receiver_that_gives_up_when_it_is_made_to_connect_is_no_proof_of_a_hang() {
    for (number, is_there) in [(1236, true), (13114, true), (13117, false)] {
        let mut vigil = Vigil::default();
        let mut fleet = tested(&mut vigil, 0);
        let mut facts = connecting(number);
        facts.channels[0].receiver = ThreadState::Stopped;
        let mut hung = false;
        for ms in (500..=9_000).step_by(100) {
            fleet = after(&fleet, answered("c", 0, facts.clone()), ms);
            hung |= !vigil.review(&fleet, now().plus(Duration::from_millis(ms))).hung.is_empty();
        }
        assert!(!hung, "{number}");
        let codes: Vec<Code> =
            fleet.clusters.values().flat_map(|it| &it.analyses).map(|it| it.code).collect();
        assert_eq!(codes.contains(&Code::UnreachablePrimary), is_there, "{number}: {codes:?}");
    }
}

/// It has used up its tries (`SOURCE_RETRY_COUNT`), and b only claims to receive.
#[test]
fn a_receiver_that_gave_up_connecting_proves_a_hang_still() {
    let mut stopped = connecting(2003);
    stopped.channels[0].receiver = ThreadState::Stopped;
    for (number, hangs) in [(2003, true), (2013, true), (1236, false), (13117, false)] {
        stopped.channels[0].receiver_error.number = number;
        let fleet = fleet_with(everywhere(), "1-9", &[receiving("b"), receiving("c")], &[]);
        let mut vigil = Vigil::default();
        assert_eq!(watch(&mut vigil, &fleet, 0, 400), ["scout c:3306"]);
        let mut fleet = fleet;
        let mut hung = false;
        for ms in (500..=9_000).step_by(100) {
            fleet = after(&fleet, answered("c", 0, stopped.clone()), ms);
            hung |= !vigil.review(&fleet, now().plus(Duration::from_millis(ms))).hung.is_empty();
        }
        assert_eq!(hung, hangs, "{number}");
    }
}

#[test]
fn a_replica_whose_account_is_not_stored_is_not_made_to_connect_anew() {
    let unstored = |name| with(receiving(name), |it| it.stores_account = Some(false));
    let fleet = fleet_with(everywhere(), "1-9", &[unstored("b"), unstored("c")], &[]);
    assert_eq!(watch(&mut Vigil::default(), &fleet, 0, 10_000), Vec::<String>::new());
    let stored = with(receiving("b"), |it| it.stores_account = Some(true));
    let fleet = fleet_with(everywhere(), "1-9", &[stored, unstored("c")], &[]);
    let told = watch(&mut Vigil::default(), &fleet, 0, 1_000);
    assert_eq!(told.first().map(String::as_str), Some("scout b:3306"));
}
