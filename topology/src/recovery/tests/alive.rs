//! What failed may live: whoever answers is left as it is, and what people stopped stays stopped.

use super::*;
use crate::instance::{FailureKind, ProbeFailure};

type Situated = (FleetSnapshot, Recovery, Cluster);

/// A recovery from the death of `p` that makes everybody stand still.
fn freezing(request: &Request, replicas: &[(String, Facts)]) -> Situated {
    let fleet = fleet_with(everywhere(), "1-9", replicas, &[]);
    let mut recovery = begin(request, &fleet, &runner(), now()).unwrap();
    recovery.phase = Phase::Freezing;
    let cluster = super::super::scene::scene(&recovery, &fleet);
    (fleet, recovery, cluster)
}

/// What follows when `p` was seen like this, and the fence ended so.
fn fenced(at: &Situated, seen: Option<Change>, outcome: Outcome) -> Step {
    let (fleet, recovery, cluster) = at;
    let mut cluster = cluster.clone();
    let seen = seen.map(|change| answered("p", 99, with(("p".into(), primary_facts()), change).1));
    super::super::scene::refresh(&mut cluster, &seen.into_iter().collect::<Vec<_>>());
    let ran = |on, outcome| Ran { on, need: Need::Should, outcome };
    let stopped = recovery.replicas.iter().map(|it| ran(it.clone(), Outcome::Done));
    let ran = std::iter::once(ran(key("p"), outcome)).chain(stopped).collect();
    step(recovery, Event::Ran(ran), &Situation { cluster: &cluster, ..situation(fleet) })
}

/// What is done on whom.
fn told(step: &Step) -> Vec<(&str, &[Action])> {
    let Effect::Run(stage) = &step.effect else { return Vec::new() };
    stage.chains.iter().map(|chain| (chain.on.host(), &*chain.actions)).collect()
}

fn refused_fence() -> Outcome {
    Outcome::Refused { at: 0, error: "it answers, and does not close".into() }
}

/// I1: nobody is opened beside it, and it is as it was before.
#[test]
fn whoever_was_found_dead_and_can_be_closed_is_opened_again() {
    let replicas = [replica("a", "1-9", "1-9")];
    let open: Change = |_| {};
    let closed: Change = |it| it.read_only = true;
    let waits: Change = |it| it.semi_sync.source_enabled = true;
    let start: &[Action] = &[Action::Start(Threads::Both)];
    let opens: &[Action] = &[Action::SetWritable];
    for cause in [Cause::Found, Cause::Asked] {
        for (case, seen, expected) in [
            ("it accepted writes", open, vec![("p", opens), ("a", start)]),
            ("it refused writes before", closed, vec![("a", start)]),
        ] {
            let at = freezing(&request(cause, None), &replicas);
            let then = fenced(&at, Some(seen), Outcome::Done);
            assert_eq!(then.recovery.phase, Phase::RollingBack, "{cause:?}: {case}");
            assert_eq!(told(&then), expected, "{cause:?}: {case}");
            let why = then.recovery.errors.join("; ");
            assert!(why.contains("p:3306 answers again"), "I13: {why}");
        }
    }
    let mut at = freezing(&request(Cause::Found, None), &replicas);
    at.1.acknowledging = Acknowledging::Lapsed;
    let then = fenced(&at, Some(waits), Outcome::Done);
    let as_before = [Action::SetSemiSyncSource(crate::action::Switch::On), Action::SetWritable];
    assert_eq!(told(&then)[0].1, as_before, "closing it may have switched that off");
}

/// I1, I8: only who names it gets another primary beside one that cannot be closed.
#[test]
fn whoever_lives_and_cannot_be_closed_is_replaced_by_name_only() {
    let replicas = [replica("a", "1-9", "1-9")];
    let open: Change = |_| {};
    for cause in [Cause::Found, Cause::ForcedFailover] {
        let at = freezing(&request(cause, None), &replicas);
        let then = fenced(&at, Some(open), refused_fence());
        assert_eq!(then.recovery.phase, Phase::RollingBack, "{cause:?}");
        let why = then.recovery.errors.join("; ");
        assert!(why.starts_with("I1: p:3306 cannot be fenced"), "{why}");
        let is_forced = cause == Cause::ForcedFailover;
        assert_eq!(why.contains("unfenced=true"), is_forced, "{why}");
        let is_reopened = told(&then).contains(&("p", &[Action::SetWritable]));
        assert_eq!(is_reopened, is_forced, "it may close late only if it was told to");
    }
    let named = Request { fencing: Fencing::Waived, ..request(Cause::ForcedFailover, None) };
    let mut at = freezing(&named, &replicas);
    let then = fenced(&at, Some(open), refused_fence());
    assert_eq!(then.recovery.phase, Phase::Weighing);
    assert!(then.recovery.errors[0].starts_with("I1: "), "it is told: {:?}", then.recovery.errors);
    at.1 = then.recovery;
    let then = step(&at.1, Event::Looked, &Situation { cluster: &at.2, ..situation(&at.0) });
    assert_eq!(then.recovery.phase, Phase::Preparing { stage: 0 });
}

/// I9: nothing is started that was not stopped by this.
#[test]
fn what_people_stopped_stays_stopped_when_nothing_comes_of_a_recovery() {
    let stop = |receiver: bool, applier: bool| {
        let (name, mut facts) = replica("a", "1-9", "1-9");
        let channel = &mut facts.channels[0];
        if receiver {
            channel.receiver = ThreadState::Stopped;
        }
        if applier {
            channel.applier = ThreadState::Stopped;
        }
        (name, facts)
    };
    let start = |threads| vec![Action::Start(threads)];
    for (case, receiver, applier, expected) in [
        ("nothing", false, false, start(Threads::Both)),
        ("the receiver", true, false, start(Threads::Applier)),
        ("the applier", false, true, start(Threads::Receiver)),
        ("both", true, true, Vec::new()),
    ] {
        let replicas = [stop(receiver, applier), replica("b", "1-9", "1-9")];
        let at = freezing(&request(Cause::Found, None), &replicas);
        let then = fenced(&at, None, refused_fence());
        let all = told(&then);
        let of = |name: &str| all.iter().find(|it| it.0 == name).map(|it| it.1.to_vec());
        assert_eq!(of("a").unwrap_or_default(), expected, "{case}");
        assert_eq!(of("b"), Some(start(Threads::Both)), "{case}");
    }
    // Whoever finds out whether its source is there was stopped by baton.
    let fleet = fleet_with(everywhere(), "1-9", &[stop(true, false)], &[]);
    let mut ledger = (*fleet.ledger).clone();
    ledger.scouts.insert_mut(key("a"), now());
    let fleet = FleetSnapshot { ledger: Arc::new(ledger), ..fleet };
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    assert!(begun.stood_still.is_empty(), "{begun:?}");
}

#[test]
fn what_was_never_seen_or_says_no_is_not_recovered_from_but_by_force() {
    let replicas = [replica("a", "1-9", "1-9")];
    let seen = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let empty = FleetSnapshot::empty(Arc::new(everywhere()), Arc::default(), Timestamp::EPOCH);
    let (name, facts) = &replicas[0];
    let looks = [answered(name, 20, facts.clone()), refused("p", 30)];
    let unseen = advance(&empty, looks.map(FleetInput::Probed).into(), now()).snapshot;
    let mut full = refused("p", 60);
    full.outcome = Err(ProbeFailure {
        kind: FailureKind::TooManyConnections,
        partial: false,
        message: "Too many connections".into(),
    });
    let full = advance(&seen, vec![FleetInput::Probed(full)], now()).snapshot;
    for (fleet, why) in
        [(&unseen, "was never seen"), (&full, "lives, though it does not let us in")]
    {
        for cause in [Cause::Found, Cause::Asked] {
            let refusal = begin(&request(cause, None), fleet, &runner(), now()).unwrap_err();
            assert!(refusal.to_string().contains(why), "{cause:?}: {refusal}");
        }
        let forced = outcome(fleet, &request(Cause::ForcedFailover, None));
        assert_eq!(forced, "a", "a person knows better");
        let supposed = super::super::gate::supposed(&key("p"), fleet, &runner(), now()).unwrap();
        let cluster = fleet.cluster_with(&key("p")).unwrap();
        let held = super::super::gate::held_back(&supposed, cluster, fleet, now()).join("; ");
        assert!(held.contains(why), "readiness promises nothing: {held}");
    }
}
