//! When so much is lost at once that a person decides.

use std::time::Duration;

use super::super::breaker::{LOST_WITHIN, breaker};
use super::*;

#[test]
fn when_everything_fails_at_once_a_person_decides() {
    let mut inputs = Vec::new();
    for cluster in 0..8 {
        let (primary, replica) = (format!("p{cluster}"), format!("r{cluster}"));
        inputs.push(FleetInput::Probed(answered(&primary, 10, primary_facts())));
        let mut facts = replica_facts(&key(&primary));
        facts.channels[0].receiver = ThreadState::Other;
        inputs.push(FleetInput::Probed(answered(&replica, 20, facts)));
    }
    let empty =
        FleetSnapshot::empty(Arc::new(everywhere()), Arc::default(), Timestamp::from_secs(0));
    let fleet = advance(&empty, inputs, now()).snapshot;
    let after = |dead: usize, ledger: LedgerState| {
        let lost = (0..dead).map(|it| FleetInput::Probed(refused(&format!("p{it}"), 30)));
        let ledger = FleetInput::Ledger(Arc::new(ledger));
        let inputs = std::iter::once(ledger).chain(lost).collect();
        let fleet = advance(&fleet, inputs, now()).snapshot;
        let request = Request {
            key: key("p0"),
            cause: Cause::Found,
            wanted: None,
            hooks: Hooks::Run,
            fencing: Fencing::Required,
        };
        begin(&request, &fleet, &runner(), now()).map_or_else(|it| it.to_string(), |_| "ok".into())
    };
    assert_eq!(after(4, LedgerState::default()), "ok", "half of them");
    let held = after(5, LedgerState::default());
    assert_eq!(
        held, "5 of 8 clusters lost their primary within 15 min: a person has to decide",
        "I7"
    );
    let until = now().plus(std::time::Duration::from_secs(60));
    let released = Command::ReleaseBreaker { until };
    let (released, _) = apply(&LedgerState::default(), &released).unwrap();
    assert_eq!(after(5, released), "ok");
}

/// A fleet of so many clusters of two that are all seen at 10 s.
fn clusters(count: usize) -> FleetSnapshot {
    let empty =
        FleetSnapshot::empty(Arc::new(everywhere()), Arc::default(), Timestamp::from_secs(0));
    let both = (0..count).flat_map(|it| {
        let primary = format!("p{it}");
        let replica = answered(&format!("r{it}"), 10, replica_facts(&key(&primary)));
        [answered(&primary, 10, primary_facts()), replica]
    });
    advance(&empty, both.map(FleetInput::Probed).collect(), now()).snapshot
}

/// The same, after these did not answer.
fn without(fleet: &FleetSnapshot, names: impl Iterator<Item = String>) -> FleetSnapshot {
    let lost = names.map(|it| FleetInput::Probed(refused(&it, 30)));
    advance(fleet, lost.collect(), now()).snapshot
}

#[test]
fn hosts_that_never_answered_neither_open_the_breaker_nor_keep_it_closed() {
    let fleet = clusters(8);
    let strangers = without(&fleet, (0..30).map(|it| format!("nowhere{it}")));
    assert_eq!(breaker(&strangers, now()), None);
    let mass = without(&strangers, (0..5).map(|it| format!("p{it}")));
    let expected = "5 of 8 clusters lost their primary within 15 min: a person has to decide";
    assert_eq!(breaker(&mass, now()).as_deref(), Some(expected));
}

/// One server may name as many others as it likes, and have them answer once.
#[test]
fn primaries_without_replicas_neither_open_the_breaker_nor_keep_it_closed() {
    let alone = (0..40).map(|it| answered(&format!("e{it}"), 10, primary_facts()));
    let fleet = advance(&clusters(8), alone.map(FleetInput::Probed).collect(), now()).snapshot;
    assert_eq!(breaker(&without(&fleet, (0..40).map(|it| format!("e{it}"))), now()), None);
    let mass = without(&fleet, (0..5).map(|it| format!("p{it}")));
    let expected = "5 of 8 clusters lost their primary within 15 min: a person has to decide";
    assert_eq!(breaker(&mass, now()).as_deref(), Some(expected));
}

#[test]
fn what_is_lost_together_stays_so_and_what_is_lost_one_by_one_does_not_add_up() {
    let fleet = without(&clusters(8), (0..5).map(|it| format!("p{it}")));
    assert!(breaker(&fleet, Timestamp::from_secs(100_000)).is_some(), "a person has to decide");
    // The first two were seen until later than the others.
    let apart = |passed: Duration| {
        let at = 10 + i64::try_from(passed.as_secs()).unwrap();
        let seen = ["p0", "p1"].map(|it| FleetInput::Probed(answered(it, at, primary_facts())));
        let fleet = advance(&clusters(8), seen.into(), now()).snapshot;
        let lost = (0..5).map(|it| FleetInput::Probed(refused(&format!("p{it}"), at + 10)));
        let fleet = advance(&fleet, lost.collect(), now()).snapshot;
        breaker(&fleet, now()).is_some()
    };
    assert!(apart(LOST_WITHIN - Duration::from_secs(1)));
    assert!(!apart(LOST_WITHIN));
}
