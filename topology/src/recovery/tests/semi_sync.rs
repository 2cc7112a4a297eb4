//! Who acknowledges what a primary writes: who is switched on, who off, and when nothing is done.

use super::*;
use crate::action::Switch;

/// A replica of `p` that replicates, with this semi-sync priority; `+` acknowledges, `-` does not.
fn replica(name: &str, state: char, priority: u32) -> (String, Facts) {
    let mut facts = replica_facts(&key("p"));
    facts.semi_sync.available = true;
    facts.semi_sync.priority = priority;
    facts.semi_sync.replica_enabled = state == '+';
    facts.semi_sync.replica_active = state == '+';
    (name.to_owned(), facts)
}

/// The rules of a site that wants exactly as many as are waited for.
fn exactly() -> Policy {
    Policy { enforce_exact_semi_sync_replicas: true, ..Policy::default() }
}

/// The rules of a site that wants enough.
fn enough() -> Policy {
    Policy { recover_locked_semi_sync: true, ..Policy::default() }
}

/// A fleet whose primary `p` has waited for `wait_for` acknowledgements for a while and gets those
/// of the replicas that give one.
fn fleet(policy: Policy, wait_for: u32, replicas: &[(String, Facts)]) -> FleetSnapshot {
    let clients = replicas.iter().filter(|(_, facts)| facts.semi_sync.replica_active).count();
    let mut p = primary_facts();
    p.semi_sync.available = true;
    p.semi_sync.source_enabled = true;
    p.semi_sync.source_active = true;
    p.semi_sync.wait_for_replicas = wait_for;
    p.semi_sync.source_clients = u32::try_from(clients).unwrap();
    let empty = FleetSnapshot::empty(Arc::new(policy), Arc::default(), Timestamp::from_secs(0));
    let looked = |at_secs: i64| {
        let servers = replicas.iter().map(|(name, facts)| (name.as_str(), facts));
        let servers = servers.chain([("p", &p)]);
        let seen = servers.map(|(name, facts)| answered(name, at_secs, facts.clone()));
        seen.map(FleetInput::Probed).collect()
    };
    let suspected = advance(&empty, looked(10), Timestamp::from_secs(10)).snapshot;
    advance(&suspected, looked(99), now()).snapshot
}

/// Who is switched in which stage, such as `+a | -b -c`; or the refusal.
fn switched(fleet: &FleetSnapshot) -> String {
    let plan = match planned(fleet, &request(Cause::Found, None)) {
        Ok((recovery, plan)) => {
            assert_eq!(recovery.kind, Kind::SemiSync);
            plan
        }
        Err(refused) => return format!("no: {refused}"),
    };
    assert_eq!(plan.successor, key("p"));
    assert!(plan.open.chains.is_empty() && plan.gather.chains.is_empty(), "I6: {plan:?}");
    let word = |chain: &Chain| {
        let host = chain.on.host();
        match chain.actions.as_slice() {
            [Action::SetSemiSyncSource(Switch::Off)] => format!("!{host}"),
            [Action::WriteNothing] => format!("write {host}"),
            [
                Action::SetSemiSyncReplica(to),
                Action::Stop(Threads::Receiver),
                Action::Start(Threads::Receiver),
            ] => format!("{}{host}", if *to == Switch::On { '+' } else { '-' }),
            other => panic!("I9: {other:?}"),
        }
    };
    let stages = plan.prepare.iter();
    let words = stages.map(|it| it.chains.iter().map(word).collect::<Vec<_>>().join(" "));
    words.collect::<Vec<_>>().join(" | ")
}

#[test]
fn enough_are_switched_on_in_order_of_priority_rule_and_name() {
    let prefer: Change = |it| it.promotion_rule = Some(PromotionRule::Prefer);
    let unheeded: Change = |it| it.semi_sync.replica_enabled = true;
    let waits: Change = |it| it.semi_sync.source_enabled = true;
    for (case, wait_for, replicas, expected) in [
        ("by priority", 1, vec![replica("a", '-', 1), replica("b", '-', 2)], "+b | write p"),
        (
            "then by promotion rule",
            1,
            vec![replica("a", '-', 1), with(replica("b", '-', 1), prefer)],
            "+b | write p",
        ),
        ("then by name", 1, vec![replica("b", '-', 1), replica("a", '-', 1)], "+a | write p"),
        (
            "as many as are missing",
            2,
            vec![replica("a", '+', 9), replica("b", '-', 2), replica("c", '-', 3)],
            "+c | write p",
        ),
        (
            "who bears the flag and was not restarted since does not acknowledge yet",
            1,
            vec![with(replica("a", '-', 1), unheeded)],
            "+a | write p",
        ),
        (
            "who waits itself, without being a primary, does not any more",
            1,
            vec![replica("a", '-', 2), with(replica("b", '-', 1), waits)],
            "!b | +a | write p",
        ),
    ] {
        let found = fleet(enough(), wait_for, &replicas);
        assert_eq!(switched(&found), expected, "case: {case}");
        let mut reversed = replicas.clone();
        reversed.reverse();
        let found = fleet(enough(), wait_for, &reversed);
        assert_eq!(switched(&found), expected, "reversed: {case}");
    }
}

#[test]
fn exactly_those_with_the_highest_priority_acknowledge_and_on_goes_before_off() {
    let flagged: Change = |it| it.semi_sync.replica_active = true;
    for (case, wait_for, replicas, expected) in [
        (
            "one too many: the lower priority",
            1,
            vec![replica("a", '+', 1), replica("b", '+', 2)],
            "-a",
        ),
        (
            "without a priority nobody acknowledges",
            1,
            vec![replica("a", '+', 1), replica("b", '+', 0), replica("c", '-', 0)],
            "-b",
        ),
        (
            "better ones take over from those who do",
            1,
            vec![replica("a", '+', 1), replica("b", '+', 1), replica("c", '-', 2)],
            "+c | -a -b",
        ),
        ("a primary that waits in vain", 1, vec![replica("a", '-', 1)], "+a | write p"),
        (
            "a flag that was taken away without a restart still counts",
            1,
            vec![replica("a", '+', 2), with(replica("b", '-', 1), flagged)],
            "-b",
        ),
    ] {
        let found = fleet(exactly(), wait_for, &replicas);
        assert_eq!(switched(&found), expected, "case: {case}");
    }
}

#[test]
fn what_would_be_switched_can_be_read_before() {
    let stopped: Change = |it| it.channels[0].receiver = ThreadState::Stopped;
    let servers = [replica("a", '-', 1), with(replica("b", '-', 2), stopped)];
    let fleet = fleet(enough(), 1, &servers);
    let asked = request(Cause::Asked, None);
    let shown = super::super::preview::preview(&asked, &fleet, &runner(), now()).unwrap();
    assert_eq!(
        shown.lines,
        [
            "p:3306 stays the primary",
            "p:3306 waits for 1 acknowledgements and 0 replicas give one",
            "a:3306 acknowledges from now on (priority 1)",
            "left alone: b:3306: it does not replicate",
            "1. a:3306: acknowledge, stop receiver, start receiver",
            "2. p:3306: write something that changes nothing (if it can)",
        ]
    );
}

#[test]
fn what_cannot_be_had_is_refused_with_reasons() {
    let stopped: Change = |it| it.channels[0].receiver = ThreadState::Stopped;
    let without: Change = |it| it.semi_sync.available = false;
    for (case, policy, wait_for, replicas, expected) in [
        (
            "nobody said what to do",
            Policy::default(),
            1,
            vec![replica("a", '-', 1)],
            "neither RecoverLockedSemiSyncMaster nor EnforceExactSemiSyncReplicas is set",
        ),
        (
            "no priorities",
            enough(),
            1,
            vec![replica("a", '-', 0)],
            "1 are needed and 0 can be had; DetectSemiSyncEnforcedQuery gives a:3306 no priority",
        ),
        (
            "too few for exactly: nobody is taken away either",
            exactly(),
            1,
            vec![replica("a", '+', 0), replica("b", '+', 0)],
            "1 are needed and 0 can be had",
        ),
        (
            "who does not replicate",
            enough(),
            1,
            vec![with(replica("a", '-', 1), stopped)],
            "a:3306: it does not replicate",
        ),
        (
            "who has no plugin",
            enough(),
            1,
            vec![with(replica("a", '-', 1), without)],
            "a:3306: semi-sync replication is not available",
        ),
        (
            "one is not enough for two",
            enough(),
            2,
            vec![replica("a", '-', 1), with(replica("b", '-', 1), stopped)],
            "2 are needed and 1 can be had; b:3306: it does not replicate",
        ),
    ] {
        let refused = switched(&fleet(policy, wait_for, &replicas));
        assert!(
            refused.starts_with("no: ") && refused.contains(expected),
            "I13: {case}: {refused}"
        );
    }
}

#[test]
fn nobody_is_switched_off_while_one_that_acknowledges_is_not_known() {
    let known = fleet(exactly(), 1, &[replica("a", '+', 1), replica("b", '+', 2)]);
    assert_eq!(switched(&known), "-a");
    let mut p = known.instance(&key("p")).unwrap().facts.as_ref().clone();
    p.semi_sync.source_clients = 3;
    let seen = vec![FleetInput::Probed(answered("p", 99, p))];
    let more = advance(&known, seen, now()).snapshot;
    let expected = "no: p:3306 has 3 replicas that acknowledge, and 2 of them are known";
    assert_eq!(switched(&more), expected, "I3, I13");
}

#[test]
fn it_needs_no_cluster_filter_but_heeds_everything_else_also_for_a_person() {
    let before = fleet(enough(), 1, &[replica("a", '-', 1), replica("b", '-', 2)]);
    let why = |commands: &[Command], request: &Request| {
        let ledger = commands
            .iter()
            .fold(LedgerState::default(), |state, command| apply(&state, command).unwrap().0);
        let fleet = advance(&before, vec![FleetInput::Ledger(Arc::new(ledger))], now()).snapshot;
        begin(request, &fleet, &runner(), now()).map_or_else(|it| it.to_string(), |_| "ok".into())
    };
    let (found, asked) = (request(Cause::Found, None), request(Cause::Asked, None));
    assert_eq!(why(&[], &found), "ok", "no filter names the cluster");
    let disabled = [Command::SetRecoveriesDisabled { disabled: true }];
    assert_eq!(why(&disabled, &found), "recoveries are disabled globally");
    assert_eq!(why(&disabled, &asked), "ok", "I8");
    let (begins_at, ends_at) = (now(), now().plus(std::time::Duration::from_secs(60)));
    let downtime =
        crate::ledger::Downtime { owner: "me".into(), reason: "x".into(), begins_at, ends_at };
    let downtimed = [Command::BeginDowntime { key: key("p"), downtime }];
    assert_eq!(why(&downtimed, &found), "p:3306 is in downtime");
    assert_eq!(why(&downtimed, &asked), "ok", "I8");

    let not_long_ago = |kind, failed: &str, successor: &str, phase| {
        let mut done = begin(&found, &before, &runner(), now()).unwrap();
        done.analysis.key = key(failed);
        done.cluster = before.cluster_of.get(&key("a")).unwrap().clone();
        if failed == "x" {
            done.cluster = crate::cluster::ClusterId::new("another");
        }
        let ended = Recovery { kind, successor: Some(key(successor)), phase, ..done };
        let ended_at = Some(now().minus(SECONDS_61));
        let ended = Recovery { begun_at: now().minus(SECONDS_61), ended_at, ..ended };
        [Command::BeginRecovery { recovery: Arc::new(ended) }]
    };
    let done = Phase::Ended(End::Done);
    for (case, earlier, is_held) in [
        ("of the same cluster", not_long_ago(Kind::SemiSync, "p", "p", done), true),
        (
            "of the same cluster, another kind",
            not_long_ago(Kind::IntermediateSource, "a", "b", done),
            false,
        ),
        ("one that made it primary", not_long_ago(Kind::Primary, "x", "p", done), false),
    ] {
        for request in [&found, &asked] {
            let held = why(&earlier, request);
            let is_met = held.contains("is not long ago and not acknowledged");
            assert_eq!(is_met, is_held, "{case}: {held}");
        }
    }
    let taken_back = not_long_ago(Kind::SemiSync, "p", "p", Phase::Ended(End::RolledBack));
    assert_eq!(why(&taken_back, &found), "ok", "what came to nothing is tried again");
}

const SECONDS_61: std::time::Duration = std::time::Duration::from_secs(61);

#[test]
fn a_failover_is_not_held_back_because_replicas_were_switched() {
    let replicas = [super::replica("a", "1-9", "1-9"), super::replica("b", "1-9", "1-9")];
    let dead = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let found = request(Cause::Found, None);
    let begun = begin(&found, &dead, &runner(), now()).unwrap();
    let why = |kind| {
        let phase = Phase::Ended(End::Done);
        let ended = Recovery { kind, phase, ended_at: Some(now()), ..begun.clone() };
        let earlier = Command::BeginRecovery { recovery: Arc::new(ended) };
        let (ledger, _) = apply(&LedgerState::default(), &earlier).unwrap();
        let fleet = advance(&dead, vec![FleetInput::Ledger(Arc::new(ledger))], now()).snapshot;
        begin(&found, &fleet, &runner(), now()).map_or_else(|it| it.to_string(), |_| "ok".into())
    };
    assert_eq!(why(Kind::SemiSync), "ok");
    assert!(why(Kind::ReadOnlyPrimary).contains("is not long ago"));
}

#[test]
fn a_bent_plan_is_refused() {
    let servers = [replica("a", '+', 1), replica("b", '+', 1), replica("c", '-', 2)];
    let fleet = fleet(exactly(), 1, &servers);
    let (recovery, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    let bends: [(&str, Bend); 8] = [
        ("I6: something would be opened where nothing has to be", |plan| {
            plan.open.chains.push(Chain {
                on: key("p"),
                actions: vec![Action::SetWritable],
                need: Need::Must,
            });
        }),
        ("I6: a:3306 would succeed a primary that is there", |plan| plan.successor = key("a")),
        ("I9: c:3306 would stay stopped", |plan| {
            plan.prepare[0].chains[0].actions.truncate(2);
        }),
        ("p:3306 would wait for 1 acknowledgements and 0 replicas would give one", |plan| {
            plan.prepare.remove(0);
        }),
        ("p:3306 would wait for 1 acknowledgements and 0 replicas would give one", |plan| {
            plan.prepare.reverse();
        }),
        ("p:3306 would wait for 1 acknowledgements and 0 replicas would give one", |plan| {
            let off = plan.prepare.remove(1);
            plan.prepare[0].chains.extend(off.chains);
        }),
        ("p:3306 is no replica of p:3306", |plan| plan.prepare[0].chains[0].on = key("p")),
        ("c:3306 would be told Detach", |plan| {
            plan.prepare[0].chains[0].actions.push(Action::Detach);
        }),
    ];
    for (expected, bend) in bends {
        let mut bent = plan.clone();
        bend(&mut bent);
        let verdict = super::super::check::check(&bent, &recovery, &situation(&fleet));
        let text = verdict.map_or_else(|refused| refused.to_string(), |()| "accepted".into());
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

/// Steps until an effect that is none of these, answering what is asked.
fn until_run(
    fleet: &FleetSnapshot,
    mut recovery: Recovery,
    mut event: Event,
) -> (Recovery, Effect) {
    for _ in 0..10 {
        let next = step(&recovery, event, &situation(fleet));
        recovery = next.recovery;
        event = match next.effect {
            Effect::Announce => Event::Announced(Ok(())),
            Effect::Look(ref keys) => {
                assert!(keys.contains(&key("p")), "the primary itself is looked at: {keys:?}");
                Event::Looked
            }
            effect => return (recovery, effect),
        };
    }
    panic!("nothing comes of it: {recovery:?}");
}

fn hosts(effect: &Effect) -> Vec<&str> {
    let Effect::Run(stage) = effect else { panic!("{effect:?}") };
    stage.chains.iter().map(|chain| chain.on.host()).collect()
}

#[test]
fn when_one_cannot_be_switched_the_next_is_and_the_first_gets_its_receiver_back() {
    let fleet = fleet(enough(), 1, &[replica("a", '-', 2), replica("b", '-', 1)]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let (recovery, effect) = until_run(&fleet, begun, Event::Begun);
    assert_eq!(hosts(&effect), ["a"]);
    let no_answer = Outcome::NoAnswer { at: 1, error: "gone".into() };
    let ran = vec![Ran { on: key("a"), need: Need::Must, outcome: no_answer }];
    let (recovery, effect) = until_run(&fleet, recovery, Event::Ran(ran));
    assert_eq!(hosts(&effect), ["b"], "{recovery:?}");
    let ran = vec![Ran { on: key("b"), need: Need::Must, outcome: Outcome::Done }];
    let (recovery, effect) = until_run(&fleet, recovery, Event::Ran(ran));
    assert_eq!(hosts(&effect), ["p"], "what waits is acknowledged with what comes after it");
    let no_answer = Outcome::NoAnswer { at: 0, error: "late".into() };
    let ran = vec![Ran { on: key("p"), need: Need::Should, outcome: no_answer }];
    let (recovery, effect) = until_run(&fleet, recovery, Event::Ran(ran));
    assert_eq!((recovery.phase, effect), (Phase::Opening, Effect::Run(Stage::default())), "I6");
    let (recovery, effect) = until_run(&fleet, recovery, Event::Ran(Vec::new()));
    assert_eq!(hosts(&effect), ["a"], "I9: {recovery:?}");
    assert!(
        matches!(&effect, Effect::Run(it) if it.chains[0].actions == [Action::Start(Threads::Receiver)])
    );
    assert_eq!(recovery.successor, Some(key("p")));
}

#[test]
fn whoever_goes_on_in_the_middle_starts_the_receivers_that_were_stopped() {
    let servers = [replica("a", '-', 2), replica("b", '-', 1)];
    let before = fleet(enough(), 1, &servers);
    let begun = begin(&request(Cause::Found, None), &before, &runner(), now()).unwrap();
    let (recovery, effect) = until_run(&before, begun, Event::Begun);
    assert_eq!(recovery.phase, Phase::Preparing { stage: 0 });
    let stopped: Change = |it| {
        it.semi_sync.replica_enabled = true;
        it.channels[0].receiver = ThreadState::Stopped;
    };
    let [a, b] = servers;
    let after = fleet(enough(), 1, &[with(a, stopped), b]);
    let resumed = step(&recovery, Event::Resumed, &situation(&after));
    assert_eq!(resumed.recovery.phase, recovery.phase);
    assert_eq!(resumed.effect, effect, "I9, I11");
    // Whoever mixes something up has the receivers started at least.
    let mixed_up = step(&recovery, Event::Looked, &situation(&after));
    assert_eq!(mixed_up.recovery.phase, Phase::RollingBack);
    assert_eq!(hosts(&mixed_up.effect), ["a"], "I9");
}

#[test]
fn who_cannot_be_switched_off_is_told_of() {
    let fleet = fleet(exactly(), 1, &[replica("a", '+', 2), replica("b", '+', 1)]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let (recovery, effect) = until_run(&fleet, begun, Event::Begun);
    assert_eq!(hosts(&effect), ["b"]);
    let refused = Outcome::Refused { at: 0, error: "no".into() };
    let ran = vec![Ran { on: key("b"), need: Need::Must, outcome: refused }];
    let (recovery, effect) = until_run(&fleet, recovery, Event::Ran(ran));
    assert_eq!((recovery.phase, hosts(&effect)), (Phase::RollingBack, vec!["b"]));
    let told = "b:3306 acknowledges and could not be switched off";
    assert!(recovery.errors.iter().any(|it| it == told), "I13: {recovery:?}");
}

#[test]
fn whatever_happens_while_replicas_are_switched_nobody_stays_stopped_and_nothing_is_opened() {
    let servers = [replica("a", '+', 1), replica("b", '+', 1), replica("c", '-', 2)];
    let found = fleet(exactly(), 1, &servers);
    let mut ends = std::collections::BTreeMap::new();
    let fates =
        (0..3).flat_map(|at| [sequences::Fate::RefusedAt(at), sequences::Fate::NoAnswerAt(at)]);
    for fate in fates.chain([sequences::Fate::Done]) {
        for victim in ["a", "b", "c"].map(key) {
            for stage in 1..5 {
                for resume in std::iter::once(None).chain((1..8).map(Some)) {
                    let (recovery, servers) =
                        sequences::drive(&found, &victim, stage..stage + 1, fate, resume);
                    let case = format!(
                        "{fate:?} of {victim} at {stage}, resumed at {resume:?}: {recovery:#?} {servers:?}"
                    );
                    let Phase::Ended(end) = recovery.phase else { panic!("{case}") };
                    *ends.entry(format!("{end:?}")).or_insert(0) += 1;
                    assert!(servers.open.is_empty(), "I6: {case}");
                    assert!(servers.stopped.is_empty(), "I9: {case}");
                    if resume.is_some() && matches!(fate, sequences::Fate::Done) {
                        assert_eq!(end, End::Done, "I11: {case}");
                    }
                }
            }
        }
    }
    assert!(ends["Done"] > 100 && ends["RolledBack"] > 10, "{ends:?}");
}

/// I5: what only it acknowledged would be lost, because it is never promoted by itself.
#[test]
fn who_has_errant_transactions_is_not_switched_on_to_acknowledge() {
    let errant: Change = |it| {
        it.gtid.executed = Gtids::MySql(set("22222222-2222-2222-2222-222222222222:1"));
    };
    let known = |policy: Policy, replicas: &[(String, Facts)]| {
        let fleet = fleet(policy, 1, replicas);
        // The proof is a look at the primary that began later.
        let p = (*fleet.instance(&key("p")).unwrap().facts).clone();
        let inputs = vec![FleetInput::Probed(answered("p", 105, p))];
        advance(&fleet, inputs, Timestamp::from_secs(105)).snapshot
    };
    let bad = |state| with(replica("a", state, 9), errant);
    for (case, policy, replicas, expected) in [
        ("enough", enough(), vec![bad('-'), replica("b", '-', 1)], "+b | write p"),
        ("exactly", exactly(), vec![bad('-'), replica("b", '-', 1)], "+b | write p"),
        ("one too many", exactly(), vec![bad('+'), replica("b", '+', 1)], "-a"),
    ] {
        assert_eq!(switched(&known(policy, &replicas)), expected, "case: {case}");
    }
    let refused = switched(&known(enough(), &[bad('-')]));
    assert!(refused.contains("a:3306: it has errant transactions"), "I13: {refused}");
}

/// A primary that hands over keeps as many as it waits for until it is closed: user processes may take
/// long, and its clients write meanwhile.
#[test]
fn siblings_that_are_waited_for_move_once_the_old_primary_is_closed() {
    for (case, wait_for, to, before, after) in [
        ("the successor is enough", 1, "a", vec!["b", "c"], vec!["p"]),
        ("one more is needed", 2, "a", vec!["c"], vec!["b", "p"]),
        ("the successor does not acknowledge", 1, "c", vec!["b"], vec!["a", "p"]),
    ] {
        let replicas = [replica("a", '+', 1), replica("b", '+', 1), replica("c", '-', 1)];
        let fleet = fleet(everywhere(), wait_for, &replicas);
        let asked = request(Cause::TakeoverAuto, Some(to));
        let begun = begin(&asked, &fleet, &runner(), now()).unwrap();
        let (recovery, effect) = until_run(&fleet, begun, Event::Begun);
        assert_eq!(recovery.phase, Phase::Arranging, "{case}");
        assert_eq!(hosts(&effect), before, "{case}");
        // Those have moved since.
        let below: Change = |it| it.channels[0].source = SourceLink::Attached(key("a"));
        let below_c: Change = |it| it.channels[0].source = SourceLink::Attached(key("c"));
        let moved = before.iter().map(|name| {
            let (_, facts) = replicas.iter().find(|(it, _)| it == name).unwrap().clone();
            let there = with((String::new(), facts), if to == "a" { below } else { below_c });
            FleetInput::Probed(answered(name, 100, there.1))
        });
        let fleet = advance(&fleet, moved.collect(), now()).snapshot;
        let weighing = Recovery { phase: Phase::Weighing, ..recovery };
        let plan = super::super::plan::plan(&weighing, &situation(&fleet)).unwrap();
        super::super::check::check(&plan, &weighing, &situation(&fleet)).unwrap();
        let last: Vec<&str> = plan.gather.chains.iter().map(|it| it.on.host()).collect();
        assert_eq!(last, after, "{case}");
    }
}

/// The new primary would wait for acknowledgements that nobody gives: no recovery says that it is well.
#[test]
fn a_successor_that_waits_for_more_than_acknowledge_is_told_of() {
    let follows = |state: char, name: &str| {
        let (_, mut facts) = super::replica(name, "1-9", "1-9");
        facts.semi_sync = replica(name, state, 1).1.semi_sync;
        facts.semi_sync.wait_for_replicas = 1;
        facts.semi_sync.source_timeout_ms = 1_000_000;
        (name.to_owned(), facts)
    };
    for (case, others, expected) in [
        ("another acknowledges", vec![follows('+', "b")], false),
        ("the other is asynchronous", vec![follows('-', "b")], true),
        ("there is no other", vec![], true),
    ] {
        let replicas: Vec<_> = std::iter::once(follows('+', "a")).chain(others).collect();
        let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
        let begun = begin(&request(Cause::Found, Some("a")), &fleet, &runner(), now()).unwrap();
        for (acknowledging, expected) in
            [(Acknowledging::By(1), expected), (Acknowledging::Off, false)]
        {
            let recovery = Recovery { acknowledging, ..begun.clone() };
            let plan = super::super::plan::plan(&recovery, &situation(&fleet)).unwrap();
            let says = |texts: &[String]| {
                let about = "a:3306 waits for 1 acknowledgements and 0 of those";
                texts.iter().any(|it| it.contains(about) && it.contains("up to 1000 s"))
            };
            assert_eq!(says(&plan.why), expected, "{case}: {:?}", plan.why);
            let opening =
                Recovery { phase: Phase::Opening, plan: Some(plan), openings: 1, ..recovery };
            let ran = Ran { on: key("a"), need: Need::Must, outcome: Outcome::Done };
            let open = step(&opening, Event::Ran(vec![ran]), &situation(&fleet)).recovery;
            assert_eq!(says(&open.errors), expected, "{case}: {:?}", open.errors);
        }
    }
}
