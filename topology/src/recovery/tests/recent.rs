//! Whoever asks for a recovery twice.

use super::*;
use crate::recovery::recent::recovered_just_now;

/// `a` replaced `p` at second 100 and has `c`; `p` and the recovery are like this at `at` seconds.
fn afterwards(
    at: i64,
    change: fn(&mut Recovery),
    a_changes: fn(&mut Facts),
    p_has_replicas: bool,
) -> FleetSnapshot {
    let both = [replica("a", "1-9", "1-9"), replica("c", "1-9", "1-9")];
    let before = fleet_with(everywhere(), "1-9", &both, &[]);
    let begun = begin(&request(Cause::Asked, None), &before, &runner(), now()).unwrap();
    let mut done = Recovery {
        successor: Some(key("a")),
        ended_at: Some(now()),
        phase: Phase::Ended(End::Done),
        ..begun
    };
    change(&mut done);
    let command = Command::BeginRecovery { recovery: Arc::new(done) };
    let (ledger, _) = apply(&LedgerState::default(), &command).unwrap();
    let (_, mut a) = replica("a", "1-9", "1-9");
    a.channels.clear();
    a.read_only = false;
    a_changes(&mut a);
    let mut inputs = vec![FleetInput::Ledger(Arc::new(ledger))];
    inputs.push(FleetInput::Probed(answered("a", 100_500, a)));
    if !p_has_replicas {
        let c = replica_facts(&key("a"));
        inputs.push(FleetInput::Probed(answered("c", 100_500, c)));
    }
    advance(&before, inputs, Timestamp::from_secs(at)).snapshot
}

#[test]
fn a_recovery_of_a_moment_ago_is_told_again_as_long_as_nothing_is_wrong() {
    let same: fn(&mut Recovery) = |_| {};
    let fine: fn(&mut Facts) = |_| {};
    let rolled_back: fn(&mut Recovery) = |it| it.phase = Phase::Ended(End::RolledBack);
    let takeover: fn(&mut Recovery) = |it| it.kind = Kind::Takeover;
    let closed: fn(&mut Facts) = |facts| facts.read_only = true;
    for (case, fleet, at, expected) in [
        ("a moment ago", afterwards(101, same, fine, false), 101, true),
        ("at the last second", afterwards(160, same, fine, false), 160, true),
        ("longer ago", afterwards(161, same, fine, false), 161, false),
        ("it failed", afterwards(101, rolled_back, fine, false), 101, false),
        ("nothing had failed", afterwards(101, takeover, fine, false), 101, false),
        ("the successor is closed", afterwards(101, same, closed, false), 101, false),
        ("a replica is left behind", afterwards(101, same, fine, true), 101, false),
    ] {
        let now = Timestamp::from_secs(at);
        let found = recovered_just_now(&key("p"), &fleet, now);
        assert_eq!(found.is_some(), expected, "{case}");
    }
    let before = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    assert!(recovered_just_now(&key("p"), &before, now()).is_none(), "never before");
}

#[test]
fn a_recovery_is_from_what_was_detected_when_it_began_and_a_takeover_from_nothing() {
    let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let takeover = Recovery { kind: Kind::Takeover, ..begun.clone() };
    let (p, a) = (key("p"), key("a"));
    for (case, recovery, key, code, at, until, expected) in [
        ("at once", &begun, &p, Code::DeadPrimary, 100, 3700, true),
        ("recorded after it began", &begun, &p, Code::DeadPrimary, 105, 3705, true),
        ("detected later", &begun, &p, Code::DeadPrimary, 106, 3706, false),
        ("no longer the same failure", &begun, &p, Code::DeadPrimary, 50, 100, false),
        ("of another", &begun, &a, Code::DeadPrimary, 100, 3700, false),
        ("another failure", &begun, &p, Code::UnreachablePrimary, 100, 3700, false),
        ("planned, right before it died", &takeover, &p, Code::DeadPrimary, 104, 3704, false),
    ] {
        let (at, until) = (Timestamp::from_secs(at), Timestamp::from_secs(until));
        assert_eq!(recovery.is_from((key, code), at, until), expected, "{case}");
    }
}
