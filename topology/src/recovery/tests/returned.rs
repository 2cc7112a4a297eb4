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

/// Who is fenced, and how much of it is done, when these replaced each other one after the other
/// and everybody is seen like this after that.
fn fenced_after(
    replaced: &[(Kind, &str, &str, BendRecovery)],
    seen: &[(&str, Option<Facts>)],
) -> Vec<String> {
    fenced_in_the_end(replaced, &[seen])
}

/// The same, when they are seen several times, a second apart.
fn fenced_in_the_end(
    replaced: &[(Kind, &str, &str, BendRecovery)],
    looks: &[&[(&str, Option<Facts>)]],
) -> Vec<String> {
    fences(replaced, looks, false).pop().unwrap_or_default()
}

/// Who is fenced after each look, and whether that is noted, as it is where it is carried out.
fn fences(
    replaced: &[(Kind, &str, &str, BendRecovery)],
    looks: &[&[(&str, Option<Facts>)]],
    is_carried_out: bool,
) -> Vec<Vec<String>> {
    let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let mut ledger =
        replaced.iter().enumerate().fold(LedgerState::default(), |ledger, (number, it)| {
            let (kind, failed, successor, bend) = it;
            let at = Timestamp::from_secs(100 + i64::try_from(number).unwrap());
            let mut recovery = Recovery {
                uid: number.to_string().into(),
                kind: *kind,
                analysis: Analysis { key: key(failed), ..begun.analysis.clone() },
                successor: Some(key(successor)),
                begun_at: at,
                ended_at: Some(at),
                phase: Phase::Ended(End::Done),
                ..begun.clone()
            };
            bend(&mut recovery);
            apply(&ledger, &Command::BeginRecovery { recovery: Arc::new(recovery) }).unwrap().0
        });
    let facts_of_b = with(replica("b", "1-9", "1-9"), |it| {
        it.channels[0].source = SourceLink::Attached(key("a"));
    });
    let opened = vec![
        FleetInput::Ledger(Arc::new(ledger.clone())),
        FleetInput::Probed(answered("a", 103, like(None, true))),
        FleetInput::Probed(answered("b", 103, facts_of_b.1)),
    ];
    let mut fleet = advance(&fleet, opened, Timestamp::from_secs(104)).snapshot;
    let mut vigil = Vigil::default();
    let mut all = Vec::new();
    for (second, seen) in (0..).zip(looks) {
        let later = Timestamp::from_secs(BACK + 50 + second);
        let probed = |(name, facts): &(&str, Option<Facts>)| {
            let at = second + if *name == "p" { BACK } else { BACK + 2 };
            FleetInput::Probed(match facts {
                Some(facts) => answered(name, at, facts.clone()),
                None => refused(name, at),
            })
        };
        fleet = advance(&fleet, seen.iter().map(probed).collect(), later).snapshot;
        let review = vigil.review(&fleet, later);
        let chains = review.chores.iter().flat_map(|chore| &chore.stage.chains);
        all.push(chains.map(|it| format!("{} {:?}", it.on.host(), it.actions)).collect());
        let noted = review.chores.iter().flat_map(|it| std::iter::once(&it.note).chain(&it.done));
        for command in noted.filter(|_| is_carried_out) {
            ledger = apply(&ledger, command).unwrap().0;
            ledger.index += 1;
        }
        let input = vec![FleetInput::Ledger(Arc::new(ledger.clone()))];
        fleet = advance(&fleet, input, later.plus(Duration::from_millis(500))).snapshot;
    }
    all
}

#[test]
fn a_former_primary_that_people_put_below_the_new_one_and_opened_stays_open() {
    let below_a = |is_open| [("p", Some(like(Some("a"), is_open))), ("a", Some(like(None, true)))];
    let once: [(Kind, &str, &str, BendRecovery); 1] = [(Kind::Primary, "p", "a", |_| {})];
    let fenced = fenced_in_the_end(&once, &[&below_a(false), &below_a(true)]);
    assert!(fenced.is_empty(), "{fenced:?}");
}

type BendRecovery = fn(&mut Recovery);

/// Follows somebody, and accepts writes or not; on MySQL, whatever is not writable is closed to all.
fn like(follows: Option<&str>, is_open: bool) -> Facts {
    let mut facts = follows.map_or_else(primary_facts, |source| replica_facts(&key(source)));
    facts.read_only = !is_open;
    facts.super_read_only = !is_open;
    facts.uptime_seconds = 1_000;
    facts
}

fn connecting(mut facts: Facts) -> Facts {
    facts.channels[0].receiver = ThreadState::Other;
    facts
}

fn just_started(facts: Facts) -> Facts {
    Facts { uptime_seconds: 20, ..facts }
}

/// I1: whatever it replicates from, and however often its successors were replaced since.
#[test]
#[allow(clippy::too_many_lines, reason = "a table with a row for each case")]
fn whoever_was_replaced_in_whatever_way_is_fenced_when_it_comes_back() {
    const FENCED: &str = "p [SetReadOnly, KillClients]";
    let as_is: BendRecovery = |_| {};
    let followed_a: BendRecovery = |it| it.followed = Some(key("a"));
    let beside_a: BendRecovery = |it| {
        it.followed = Some(key("a"));
        it.beside = vec![key("a")];
    };
    let followed_x: BendRecovery = |it| it.followed = Some(key("x"));
    let forgot: BendRecovery = |it| {
        let chain = Chain {
            on: key("a"),
            actions: vec![Action::ForgetSource, Action::SetWritable],
            need: Need::Must,
        };
        it.plan = Some(Plan {
            successor: key("a"),
            why: Vec::new(),
            prepare: Vec::new(),
            open: Stage { chains: vec![chain] },
            gather: Stage::default(),
            lost: Vec::new(),
            loss: Loss::default(),
        });
    };
    let open = || like(None, true);
    let closed = || like(None, false);
    let below = |source| like(Some(source), false);
    let open_below = |source| like(Some(source), true);
    use Kind::{CoPrimary, Primary, ReadOnlyPrimary, Rejoin, Takeover};
    let once = [(Primary, "p", "a", as_is)];
    let twice = [(Primary, "p", "a", as_is), (Takeover, "a", "b", as_is)];
    for (case, replaced, seen, expected) in [
        ("a primary", &once[..], vec![("p", open()), ("a", open())], vec![FENCED]),
        (
            "its successor was replaced too, and is a replica",
            &twice[..],
            vec![("p", open()), ("a", below("b")), ("b", open())],
            vec![FENCED],
        ),
        (
            "each of them was replaced by the other once: the last one leads",
            &[(Primary, "p", "a", as_is), (Primary, "a", "p", as_is)],
            vec![("p", open()), ("a", below("p"))],
            vec![],
        ),
        (
            "a co-primary, by one that refused writes",
            &[(CoPrimary, "p", "a", followed_a)],
            vec![("p", open_below("a")), ("a", open_below("p"))],
            vec![FENCED],
        ),
        (
            "a co-primary, by one that accepted writes beside it",
            &[(CoPrimary, "p", "a", beside_a)],
            vec![("p", open_below("a")), ("a", open_below("p"))],
            vec![],
        ),
        (
            "the same, and that one was replaced by somebody else",
            &[(CoPrimary, "p", "a", beside_a), (Primary, "a", "b", as_is)],
            vec![("p", open_below("a")), ("a", below("b")), ("b", open())],
            vec![FENCED],
        ),
        (
            "with a channel that was left over",
            &[(Primary, "p", "a", followed_x)],
            vec![("p", open_below("x")), ("a", open())],
            vec![FENCED],
        ),
        (
            "with a channel that nobody knew of, which does not get through",
            &once[..],
            vec![("p", connecting(open_below("x"))), ("a", open())],
            vec![FENCED],
        ),
        (
            "put below another source by people",
            &once[..],
            vec![("p", just_started(open_below("x"))), ("a", open())],
            vec![],
        ),
        (
            "it came back open, and had that place unseen",
            &once[..],
            vec![("p", open_below("a")), ("a", open())],
            vec![FENCED],
        ),
        (
            "a former primary that handed over was started anew",
            &[(Takeover, "p", "a", as_is)],
            vec![("p", just_started(open_below("a"))), ("a", open())],
            vec![FENCED],
        ),
        (
            "the same, after it came back below the leader",
            &[(Primary, "p", "a", as_is), (Rejoin, "p", "a", as_is)],
            vec![("p", just_started(open_below("a"))), ("a", open())],
            vec![FENCED],
        ),
        (
            "people put it back and the successor below it, which still accepts writes",
            &[(Primary, "p", "a", forgot)],
            vec![("p", open()), ("a", open_below("p"))],
            vec![],
        ),
        (
            "people put somebody else above its successor",
            &once[..],
            vec![("p", open()), ("a", below("z")), ("z", open())],
            vec![FENCED],
        ),
        (
            "it was opened by baton since",
            &[(Primary, "p", "a", as_is), (ReadOnlyPrimary, "p", "p", as_is)],
            vec![("p", open()), ("a", open())],
            vec![],
        ),
        ("it is closed", &once[..], vec![("p", closed()), ("a", open())], vec![]),
        (
            "accounts that may do all write to it",
            &once[..],
            vec![("p", Facts { super_read_only: false, ..closed() }), ("a", open())],
            vec!["p [SetReadOnly]"],
        ),
    ] {
        let seen: Vec<_> = seen.into_iter().map(|(name, facts)| (name, Some(facts))).collect();
        assert_eq!(fenced_after(replaced, &seen), expected, "{case}");
    }
    let gone = [("a", None), ("p", Some(open())), ("b", Some(open()))];
    assert_eq!(fenced_after(&twice, &gone), [FENCED], "its successor was replaced, and is gone");
    let led = [
        ("a", Some(below("b"))),
        ("p", Some(open())),
        ("b", Some(open())),
        ("c", Some(below("b"))),
        ("a", None),
    ];
    assert_eq!(fenced_after(&once, &led), [FENCED], "its successor is gone, and another leads");
}

/// I1, I5: who replaced it is gone, or merely out of sight, and may have acknowledged what it lacks.
#[test]
fn a_former_primary_that_comes_back_open_while_its_successor_is_away_is_fenced() {
    const FENCED: &str = "p [SetReadOnly, KillClients]";
    let as_is: BendRecovery = |_| {};
    let beside_a: BendRecovery = |it| it.beside = vec![key("a")];
    let left_b: BendRecovery = |it| it.lost = vec![key("b")];
    let open = || Some(like(None, true));
    let closed = || Some(like(None, false));
    let below_p = || Some(like(Some("p"), false));
    let away: &[(&str, Option<Facts>)] = &[("p", None), ("a", None), ("b", None)];
    let back = |p: Option<Facts>| vec![("p", p), ("a", None)];
    let with_b = vec![("b", below_p()), ("p", open()), ("a", None)];
    let p_alone = || vec![("p", open())];
    let seldom = vec![away.to_vec(), p_alone(), vec![("a", None)], vec![], vec![], p_alone()];
    for (case, bend, looks, expected) in [
        ("it comes back open", as_is, vec![away.to_vec(), back(open())], vec![FENCED]),
        ("it was never seen to be away", as_is, vec![back(open())], vec![]),
        ("people open it again", as_is, vec![away.to_vec(), back(closed()), back(open())], vec![]),
        (
            "people open it again, and one probe is lost",
            as_is,
            vec![away.to_vec(), back(closed()), back(open()), away.to_vec(), back(open())],
            vec![],
        ),
        ("its successor is tried less often", as_is, seldom, vec![FENCED]),
        ("they accepted writes side by side", beside_a, vec![away.to_vec(), back(open())], vec![]),
        ("people put another below it", as_is, vec![away.to_vec(), with_b.clone()], vec![]),
        ("one that was left behind", left_b, vec![away.to_vec(), with_b], vec![FENCED]),
    ] {
        let looks: Vec<&[(&str, Option<Facts>)]> = looks.iter().map(|it| &it[..]).collect();
        let replaced = [(Kind::Primary, "p", "a", bend)];
        assert_eq!(fenced_in_the_end(&replaced, &looks), expected, "{case}");
    }
}

/// It was closed as its successor was away, and people opened it as they were told to.
#[test]
fn what_people_opened_is_not_closed_when_its_successor_is_back() {
    let p = |is_open| ("p", Some(like(None, is_open)));
    let (a_away, a_back) = (("a", None), ("a", Some(like(None, true))));
    let away = vec![("p", None), a_away.clone(), ("b", None)];
    let alone = |is_open| vec![p(is_open), a_away.clone()];
    let beside = || vec![p(true), a_back.clone()];
    let begin = vec![away.clone(), alone(true), alone(false), alone(false)];
    let opened = [&begin[..], &[alone(true), beside(), beside(), beside()]].concat();
    let again = [begin, vec![away, beside(), beside()]].concat();
    for (case, looks, expected) in [("they mean it", opened, 1), ("it was away again", again, 2)] {
        let looks: Vec<&[(&str, Option<Facts>)]> = looks.iter().map(|it| &it[..]).collect();
        let replaced: [(Kind, &str, &str, BendRecovery); 1] = [(Kind::Primary, "p", "a", |_| {})];
        let fenced = fences(&replaced, &looks, true);
        let fenced = fenced.concat();
        assert_eq!(fenced.len(), expected, "{case}: {fenced:?}");
    }
}

#[test]
fn a_recovery_remembers_who_accepted_writes_beside_what_failed() {
    for (other_is_open, beside) in [(true, vec![key("a")]), (false, vec![])] {
        let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
        let mut p = like(Some("a"), true);
        p.gtid.executed = of_p("1-9");
        let mut a = replica("a", "1-9", "1-9").1;
        a.read_only = !other_is_open;
        let inputs = vec![
            FleetInput::Probed(answered("p", 40, p)),
            FleetInput::Probed(answered("a", 40, a)),
            FleetInput::Probed(refused("p", 50)),
        ];
        let fleet = advance(&fleet, inputs, now()).snapshot;
        let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
        assert_eq!(begun.kind, Kind::CoPrimary);
        assert_eq!((begun.followed, begun.beside), (Some(key("a")), beside));
    }
}

/// Whoever opens it again means it, but a restart means nothing.
#[test]
fn a_fence_that_was_forgotten_in_a_restart_is_put_up_again_however_late() {
    let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let done = Recovery {
        successor: Some(key("a")),
        ended_at: Some(now()),
        phase: Phase::Ended(End::Done),
        ..begun
    };
    let day = 24 * 60 * 60;
    let at = Timestamp::from_secs(day);
    let commands = [
        Command::BeginRecovery { recovery: Arc::new(done) },
        Command::NoteChore { key: key("p"), at, scout: None },
    ];
    let ledger =
        commands.iter().fold(LedgerState::default(), |it, command| apply(&it, command).unwrap().0);
    for (case, uptime, expected) in
        [("opened by people", u64::try_from(day).unwrap(), 0), ("started since", 20, 1)]
    {
        let p = Facts { uptime_seconds: uptime, ..like(None, true) };
        let inputs = vec![
            FleetInput::Ledger(Arc::new(ledger.clone())),
            FleetInput::Probed(answered("p", day + 100, p)),
            FleetInput::Probed(answered("a", day + 102, like(None, true))),
        ];
        let later = Timestamp::from_secs(day + 103);
        let fleet = advance(&fleet, inputs, later).snapshot;
        let review = Vigil::default().review(&fleet, later);
        assert_eq!(review.chores.len(), expected, "{case}");
    }
}
