//! Former primaries that come back writable: fenced, unless people put them back.

use super::*;
use crate::recovery::upkeep::Vigil;

/// Seconds into the story: `p` fails at 30, is replaced by `a`, is back and looked at until 200.
const BACK: i64 = 200;

/// What there is to see to when `a` was last looked at then and accepts writes or not.
fn seen_to(successor_seen: i64, read_only: bool) -> (Vec<String>, Vec<String>) {
    seen_to_after(&[], successor_seen, if read_only { closed } else { open })
}

fn open(a: &mut Facts) {
    a.channels.clear();
    a.read_only = false;
}

fn closed(a: &mut Facts) {
    a.channels.clear();
}

fn started_anew(a: &mut Facts) {
    closed(a);
    a.uptime_seconds = 50;
}

/// The same, if more recoveries of `p` followed, and `a` is like this.
fn seen_to_after(more: &[Kind], successor_seen: i64, a: Change) -> (Vec<String>, Vec<String>) {
    let below_a: Change = |it| it.channels[0].source = SourceLink::Attached(key("a"));
    seen_to_among(more, successor_seen, a, below_a)
}

/// The same, and `b` is like this.
fn seen_to_among(
    more: &[Kind],
    successor_seen: i64,
    a: Change,
    b: Change,
) -> (Vec<String>, Vec<String>) {
    let replicas = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let done = Recovery {
        successor: Some(key("a")),
        ended_at: Some(now()),
        phase: Phase::Ended(End::Done),
        ..begun
    };
    let begun = std::iter::once(done.clone())
        .chain(more.iter().map(|kind| Recovery { kind: *kind, ..done.clone() }))
        .enumerate()
        .map(|(number, it)| Recovery { uid: number.to_string().into(), ..it });
    let ledger = begun.fold(LedgerState::default(), |ledger, recovery| {
        let command = Command::BeginRecovery { recovery: Arc::new(recovery) };
        apply(&ledger, &command).unwrap().0
    });
    let [a, b] = [("a", a), ("b", b)].map(|(name, it)| with(replica(name, "1-9", "1-9"), it).1);
    let later = Timestamp::from_secs(BACK + 50);
    let inputs = vec![
        FleetInput::Ledger(Arc::new(ledger)),
        FleetInput::Probed(answered("a", successor_seen, a)),
        FleetInput::Probed(answered("b", successor_seen, b)),
        FleetInput::Probed(answered("p", BACK, primary_facts())),
    ];
    let fleet = advance(&fleet, inputs, later).snapshot;
    let review = Vigil::default().review(&fleet, later);
    let fenced = review.chores.iter().flat_map(|chore| &chore.stage.chains);
    let fenced = fenced.map(|chain| chain.on.host().to_owned()).collect();
    (fenced, review.looks.iter().map(|key| key.host().to_owned()).collect())
}

#[test]
fn a_former_primary_is_fenced_only_while_its_successor_is_one() {
    let names = |names: &[&str]| names.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    for (case, successor_seen, read_only, expected) in [
        ("the successor was writable, but before", BACK - 1, false, (names(&[]), names(&["a"]))),
        ("the successor is writable still", BACK + 2, false, (names(&["p"]), names(&[]))),
        ("the successor was closed: people did that", BACK + 2, true, (names(&[]), names(&[]))),
    ] {
        assert_eq!(seen_to(successor_seen, read_only), expected, "{case}");
    }
}

#[test]
fn a_former_primary_is_fenced_though_its_replicas_were_brought_to_the_new_one_meanwhile() {
    let fenced = vec!["p".to_owned()];
    assert_eq!(seen_to_after(&[Kind::Regroup], BACK + 2, open).0, fenced, "I1");
    assert_eq!(seen_to_after(&[Kind::Rejoin], BACK + 2, open).0, [""; 0], "it was a replica");
}

/// I1: what was written to a successor that is closed since its own restart is not given up for
/// what a former primary takes meanwhile.
#[test]
fn a_former_primary_is_fenced_though_its_successor_came_up_closed() {
    let fenced = vec!["p".to_owned()];
    assert_eq!(seen_to_after(&[], BACK + 2, started_anew).0, fenced);
    assert_eq!(seen_to_after(&[], BACK + 2, closed).0, [""; 0], "people closed it");
    let still_below_p: Change = |_| {};
    let put_back = seen_to_among(&[], BACK + 2, started_anew, still_below_p).0;
    assert_eq!(put_back, [""; 0], "b follows the former primary");
}

#[test]
fn what_is_taken_back_because_its_primary_is_back_or_its_leader_gone_says_so() {
    let replicas = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let back = vec![FleetInput::Probed(answered("p", 50, primary_facts()))];
    let fleet = advance(&fleet, back, now()).snapshot;
    let takeover = Recovery { kind: Kind::Takeover, cause: Cause::Takeover, ..begun.clone() };
    for (recovery, why) in [(begun, "p:3306 answers again"), (takeover, "who led it is gone")] {
        for phase in [Phase::Announcing, Phase::Freezing, Phase::Weighing] {
            let recovery = Recovery { phase, ..recovery.clone() };
            let next = step(&recovery, Event::Resumed, &situation(&fleet)).recovery;
            assert_eq!(next.phase, Phase::RollingBack, "{phase:?}");
            assert!(next.errors.iter().any(|it| it.contains(why)), "I13: {:?}", next.errors);
        }
    }
}
