//! What is done once more: standing still, opening, and where siblings are when nothing came of it.

use super::*;
use crate::probe::fold;

type Situated = (Recovery, Cluster);

/// A recovery from the death of `p` in some phase, and what it sees.
fn in_phase(
    cause: Cause,
    phase: Phase,
    replicas: [(String, Facts); 2],
) -> (FleetSnapshot, Situated) {
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let fleet = if cause.is_takeover() { answering(&fleet) } else { fleet };
    let recovery = begin(&request(cause, None), &fleet, &runner(), now()).unwrap();
    let scene = super::super::scene::scene(&recovery, &fleet);
    let recovery = Recovery { phase, ..recovery };
    (fleet, (recovery, scene))
}

fn next(fleet: &FleetSnapshot, at: &Situated, event: Event) -> Step {
    let ledger = &fleet.ledger;
    let policy = &fleet.policy;
    step(&at.0, event, &Situation { cluster: &at.1, returned: None, ledger, policy, now: now() })
}

/// All do what they are told; but `p` is gone.
fn everybody_done(stage: &Stage) -> Vec<Ran> {
    let gone = || Outcome::NoAnswer { at: 0, error: "gone".into() };
    let done = |it: &Chain| Ran {
        on: it.on.clone(),
        need: it.need,
        outcome: if it.on == key("p") { gone() } else { Outcome::Done },
    };
    stage.chains.iter().map(done).collect()
}

/// I5: a server that was told to stop, and started anew, acknowledges again.
#[test]
fn who_receives_again_is_stopped_again_and_does_not_count_in_the_end() {
    let cases: [(&str, Change, bool); 6] = [
        ("it stands still", |it| it.channels[0].receiver = ThreadState::Stopped, false),
        ("it receives", |it| it.channels[0].receiver = ThreadState::Running, true),
        ("it connects, and was told to stop", |_| {}, false),
        ("it connects since it was started", |it| it.uptime_seconds = 1, true),
        ("it connects, and does not tell since when it runs", |it| it.uptime_seconds = 0, false),
        (
            "it was started and stands still",
            |it| {
                it.uptime_seconds = 1;
                it.channels[0].receiver = ThreadState::Stopped;
            },
            false,
        ),
    ];
    for (case, change, is_stopped_again) in cases {
        let acknowledging: Change = |it| it.semi_sync.replica_enabled = true;
        let replicas = ["a", "b"].map(|name| with(replica(name, "1-9", "1-9"), acknowledging));
        let (_, b) = with(replicas[1].clone(), change);
        let (fleet, mut at) = in_phase(Cause::Found, Phase::Weighing, replicas);
        super::super::scene::refresh(&mut at.1, &[answered("b", 101, b)]);
        at.0.acknowledging = Acknowledging::By(1);
        let mut freezes = 0;
        let mut then = next(&fleet, &at, Event::Looked);
        while let (Phase::Freezing, Effect::Run(stage)) = (then.recovery.phase, &then.effect) {
            assert!(stage.chains.iter().any(|it| it.on == key("b")), "{case}");
            freezes += 1;
            at.0 = then.recovery.clone();
            then = next(&fleet, &at, Event::Ran(everybody_done(stage)));
            assert_eq!(then.recovery.phase, Phase::Weighing, "{case}");
            at.0 = then.recovery;
            then = next(&fleet, &at, Event::Looked);
        }
        assert_eq!(freezes, if is_stopped_again { 2 } else { 0 }, "{case}");
        let errors = then.recovery.errors.join("; ");
        let is_refused = errors.contains("writes were acknowledged once 1 had them");
        assert_eq!(is_refused, is_stopped_again, "{case}: {errors}");
    }
}

/// I1: preparing takes its time, in which a primary that was gone may be back.
#[test]
fn nobody_is_opened_beside_a_primary_that_came_back_meanwhile() {
    let open: Change = |_| {};
    let closed: Change = |it| it.read_only = true;
    let opens = vec![Phase::Opening];
    let fenced_twice = vec![Phase::Freezing, Phase::Freezing, Phase::RollingBack];
    for (case, cause, seen, expected) in [
        ("nobody saw it since", Cause::Found, None, opens.clone()),
        ("it is back and closed", Cause::Found, Some(closed), opens.clone()),
        ("it is back and open", Cause::Found, Some(open), vec![Phase::RollingBack]),
        ("it hung and is open", Cause::Hung, Some(open), vec![Phase::RollingBack]),
        (
            "people want another one, whatever it does",
            Cause::ForcedFailover,
            Some(open),
            fenced_twice,
        ),
        ("people want another one, and it is closed", Cause::ForcedFailover, Some(closed), opens),
    ] {
        let replicas = ["a", "b"].map(|name| replica(name, "1-9", "1-9"));
        let (fleet, mut at) = in_phase(Cause::Found, Phase::Weighing, replicas);
        at.0.cause = cause;
        let returned = seen.map(|change| {
            let p = with(("p".into(), primary_facts()), change).1;
            fold(None, &answered("p", 101, p))
        });
        let next = |at: &Situated, event| {
            let FleetSnapshot { ledger, policy, .. } = &fleet;
            let returned = returned.as_ref();
            step(&at.0, event, &Situation { cluster: &at.1, returned, ledger, policy, now: now() })
        };
        let mut then = next(&at, Event::Looked);
        let mut phases = Vec::new();
        while then.recovery.phase != Phase::Opening && then.recovery.is_running() {
            at.0 = then.recovery.clone();
            let event = match &then.effect {
                Effect::Run(stage) => Event::Ran(everybody_done(stage)),
                _ => Event::Looked,
            };
            then = next(&at, event);
            if !matches!(then.recovery.phase, Phase::Weighing | Phase::Preparing { .. }) {
                phases.push(then.recovery.phase);
            }
        }
        phases.retain(|it| !matches!(it, Phase::Ended(_)));
        assert_eq!(phases, expected, "{case}");
        let errors = then.recovery.errors.join("; ");
        assert_eq!(errors.contains("p:3306 answers again"), phases != [Phase::Opening], "{case}");
    }
}

/// I1, I6: whoever may have been opened is the only one who may be, and not while the old one is.
#[test]
fn an_opening_without_an_answer_is_tried_again_behind_a_new_fence() {
    let no_answer = |stage: &Stage, at: usize| {
        let outcome = Outcome::NoAnswer { at, error: "gone".into() };
        vec![Ran { on: stage.chains[0].on.clone(), need: Need::Must, outcome }]
    };
    let refused = |stage: &Stage, at: usize| {
        let outcome = Outcome::Refused { at, error: "no".into() };
        vec![Ran { on: stage.chains[0].on.clone(), need: Need::Must, outcome }]
    };
    let stopped = |name| {
        with(replica(name, "1-9", "1-9"), |it| it.channels[0].receiver = ThreadState::Stopped)
    };
    let replicas = || [stopped("a"), stopped("b")];
    let (fleet, mut at) = in_phase(Cause::Found, Phase::Weighing, replicas());
    let mut then = next(&fleet, &at, Event::Looked);
    at.0 = then.recovery;
    let Effect::Run(stage) = then.effect else { panic!("{:?}", at.0) };
    then = next(&fleet, &at, Event::Ran(everybody_done(&stage)));
    let Effect::Run(open) = then.effect else { panic!("{:?}", at.0) };
    at.0 = then.recovery;
    assert_eq!((at.0.phase, open.chains[0].on.host()), (Phase::Opening, "a"));
    let last = open.chains[0].actions.len() - 1;
    let begun = at.0.clone();

    let mut openings = 1;
    let mut answer = no_answer(&open, last);
    loop {
        then = next(&fleet, &at, Event::Ran(answer));
        at.0 = then.recovery;
        if at.0.phase != Phase::Freezing {
            break;
        }
        let Effect::Run(fence) = then.effect else { panic!("{:?}", at.0) };
        assert!(fence.chains.iter().any(|it| it.actions.contains(&Action::SetReadOnly)));
        then = next(&fleet, &at, Event::Ran(everybody_done(&fence)));
        assert_eq!((then.recovery.phase, then.effect), (Phase::Opening, Effect::Run(open.clone())));
        at.0 = then.recovery;
        openings += 1;
        // That it refuses now says nothing of what it did before.
        answer = if openings % 2 == 0 { refused(&open, 0) } else { no_answer(&open, 0) };
    }
    assert_eq!((at.0.phase, openings), (Phase::Ended(End::Stuck), 5));

    let again = next(&fleet, &(begun.clone(), at.1.clone()), Event::Resumed);
    assert_eq!(again.recovery.phase, Phase::Freezing, "whoever goes on fences first");
    assert_eq!(again.recovery.openings, 1);
    let mut taken_up = begun.clone();
    taken_up.say(now(), "taken up again");
    let mut scene = at.1.clone();
    let seen = |change: Change| answered("a", 101, with(replica("a", "1-9", "1-9"), change).1);
    super::super::scene::refresh(&mut scene, &[seen(|it| it.channels.clear())]);
    let told = next(&fleet, &(taken_up.clone(), scene.clone()), Event::Resumed);
    assert_eq!(told.recovery.openings, 1, "it was told");
    super::super::scene::refresh(&mut scene, &[seen(|_| {})]);
    let anew = next(&fleet, &(taken_up, scene), Event::Resumed);
    assert_eq!((anew.recovery.openings, anew.recovery.plan), (0, None), "it was never told");
    let Effect::Run(fence) = &again.effect else { panic!("{again:?}") };
    let lives = Outcome::Refused { at: 0, error: "no".into() };
    let ran = fence.chains.iter().map(|it| Ran {
        on: it.on.clone(),
        need: it.need,
        outcome: if it.on == key("p") { lives.clone() } else { Outcome::Done },
    });
    let ran = ran.collect();
    let end = next(&fleet, &(again.recovery, at.1.clone()), Event::Ran(ran));
    assert_eq!(end.recovery.phase, Phase::Ended(End::Stuck), "I1");

    let mixed_up = next(&fleet, &(begun.clone(), at.1.clone()), Event::Looked);
    assert_eq!(mixed_up.recovery.phase, Phase::Ended(End::Stuck), "I6");
    let first = next(&fleet, &(begun, at.1), Event::Ran(refused(&open, last)));
    assert_eq!(first.recovery.phase, Phase::Weighing, "it did not open: somebody else may");
    assert_eq!((first.recovery.openings, first.recovery.tried), (0, vec![key("a")]));
}

/// I9: siblings that were arranged below the one who was to take over come back.
#[test]
fn what_a_takeover_arranged_is_taken_back() {
    let running: Change = |it| it.channels[0].receiver = ThreadState::Running;
    let both = ["a", "b"].map(|name| with(replica(name, "1-9", "1-9"), running));
    let seen_below_a = |it: &mut Facts| it.channels[0].source = SourceLink::Attached(key("a"));
    for phase in [Phase::Arranging, Phase::Announcing, Phase::Freezing] {
        let (fleet, mut at) = in_phase(Cause::TakeoverAuto, phase, both.clone());
        let event = match phase {
            Phase::Announcing => Event::Announced(Err("no".into())),
            _ => Event::Ran(vec![Ran {
                on: key("p"),
                need: Need::Must,
                outcome: Outcome::NoAnswer { at: 0, error: "gone".into() },
            }]),
        };
        let then = next(&fleet, &at, event);
        let everybody = vec![key("a"), key("b"), key("p")];
        assert_eq!(
            (then.recovery.phase, then.effect),
            (Phase::RollingBack, Effect::Look(everybody))
        );
        let mut b = both[1].1.clone();
        seen_below_a(&mut b);
        super::super::scene::refresh(&mut at.1, &[answered("b", 101, b)]);
        at.0 = then.recovery;
        let then = next(&fleet, &at, Event::Looked);
        let Effect::Run(stage) = then.effect else { panic!("{:?}", then.recovery) };
        let of = |name: &str| {
            let chain = stage.chains.iter().find(|it| it.on == key(name)).unwrap();
            chain.actions.clone()
        };
        assert_eq!(of("b"), super::super::plan::follow(&key("p")), "{phase:?}");
        assert_eq!(of("a"), [Action::Start(Threads::Both)], "{phase:?}");
    }
}

#[test]
fn a_failover_that_waited_for_a_hook_undoes_nothing_that_people_did_meanwhile() {
    let both = ["a", "b"].map(|name| replica(name, "1-9", "1-9"));
    let (fleet, (recovery, scene)) = in_phase(Cause::Found, Phase::Announcing, both.clone());
    let seen = |source: &str| {
        let mut b = both[1].1.clone();
        b.channels[0].source = SourceLink::Attached(key(source));
        let probed = FleetInput::Probed(answered("b", 200, b));
        let fleet = advance(&fleet, vec![probed], Timestamp::from_secs(200)).snapshot;
        super::super::scene::moved_meanwhile(&recovery, &scene, &fleet)
    };
    assert_eq!(seen("p"), None, "nobody did anything");
    let moved = "b:3306 does not follow p:3306 any more: somebody acted meanwhile";
    assert_eq!(seen("a").as_deref(), Some(moved));
}

/// I13: one after the other begins when there is room for it.
#[test]
fn who_waits_because_many_recoveries_are_under_way_is_told_so() {
    use super::super::gate::RUNNING_MAX;
    let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let beside = |running: usize| {
        let mut ledger = (*fleet.ledger).clone();
        for id in 1..=running as u64 {
            let analysis = Analysis { key: key(&format!("other{id}")), ..begun.analysis.clone() };
            let cluster = crate::cluster::ClusterId::new(format!("other{id}"));
            let other = Recovery { id, analysis, cluster, replicas: Vec::new(), ..begun.clone() };
            ledger.recoveries.insert_mut(id, Arc::new(other));
        }
        FleetSnapshot { ledger: Arc::new(ledger), ..fleet.clone() }
    };
    assert!(
        begin(&request(Cause::Found, None), &beside(RUNNING_MAX - 1), &runner(), now()).is_ok()
    );
    let many = beside(RUNNING_MAX);
    let refused = begin(&request(Cause::Found, None), &many, &runner(), now()).unwrap_err();
    assert!(refused.to_string().contains("64 recoveries are under way"), "{refused}");
    assert!(begin(&request(Cause::Asked, None), &many, &runner(), now()).is_ok(), "a person may");
}

/// I5: a replica that connects and was not told to stop may receive again, and acknowledge.
#[test]
fn who_was_not_told_to_stop_does_not_stand_still() {
    let connecting =
        |name| with(replica(name, "1-9", "1-9"), |it| it.channels[0].receiver = ThreadState::Other);
    let of_b = |outcome: Option<Outcome>| {
        let replicas = [replica("a", "1-9", "1-9"), connecting("b")];
        let (fleet, at) = in_phase(Cause::Found, Phase::Freezing, replicas);
        let told = |on, outcome| Ran { on: key(on), need: Need::Should, outcome };
        let gone = Outcome::NoAnswer { at: 0, error: "gone".into() };
        let mut ran = vec![told("p", gone), told("a", Outcome::Done)];
        ran.extend(outcome.map(|it| told("b", it)));
        next(&fleet, &at, Event::Ran(ran)).recovery
    };
    let late = Outcome::NoAnswer { at: 0, error: "it takes its time".into() };
    let unreached = Outcome::Untold { error: "no connection".into() };
    for (case, outcome, is_told) in [
        ("it stops", Some(Outcome::Done), true),
        ("it takes its time", Some(late), true),
        ("the order did not reach it", Some(unreached), false),
        ("it did not answer before", None, false),
    ] {
        let recovery = of_b(outcome);
        assert_eq!(recovery.untold.is_empty(), is_told, "{case}");
        assert!(recovery.failed_on.is_empty() && recovery.errors.is_empty(), "{case}");
    }
}

/// I9: what people stop later is theirs.
#[test]
fn who_got_its_place_in_the_end_is_not_left_behind() {
    let replicas = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")];
    let (fleet, (recovery, scene)) = in_phase(Cause::Found, Phase::Gathering, replicas);
    let recovery = Recovery { failed_on: [key("b")].into(), ..recovery };
    let outcomes = [
        (Outcome::Done, false),
        (Outcome::Unconnected { error: "not yet".into() }, false),
        (Outcome::Refused { at: 0, error: "no".into() }, true),
    ];
    for (outcome, is_left) in outcomes {
        let ran = Ran { on: key("b"), need: Need::Should, outcome };
        let at = (recovery.clone(), scene.clone());
        let ended = next(&fleet, &at, Event::Ran(vec![ran])).recovery;
        assert_eq!(ended.failed_on.contains(&key("b")), is_left, "{:?}", ended.errors);
    }
}
