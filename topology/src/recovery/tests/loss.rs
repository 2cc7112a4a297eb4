//! What somebody was seen to have is not forgotten: who has less is promoted by people only.

use super::*;
use crate::binlog::BinlogCoordinates;
use crate::instance::Positioning;

const FILE: &str = "bin.000003";

/// A look at one server: its name, when, and what it answered.
type Look = (&'static str, i64, Option<Facts>);

fn mariadb(position: &str) -> Gtids {
    Gtids::MariaDb(position.parse().unwrap())
}

fn p(had: Gtids, acknowledging: u32) -> Facts {
    let mut facts = primary_facts();
    facts.server_uuid = Some(P.parse().unwrap());
    facts.gtid.executed = had;
    facts.semi_sync.source_enabled = acknowledging > 0;
    facts.semi_sync.source_active = acknowledging > 0;
    facts.semi_sync.wait_for_replicas = acknowledging;
    facts
}

/// A replica with these sets, which receives or not, up for so long.
fn r(name: &str, has: [Gtids; 2], receiver: ThreadState, uptime_seconds: u64) -> Facts {
    let (_, mut facts) = replica(name, "", "");
    let [received, executed] = has;
    facts.server_id = u32::from(*name.as_bytes().last().unwrap());
    facts.gtid.executed = executed;
    facts.uptime_seconds = uptime_seconds;
    let channel = &mut facts.channels[0];
    channel.positioning = match received {
        Gtids::MariaDb(_) => Positioning::MariaDbGtid,
        _ => Positioning::AutoPosition,
    };
    channel.received = received;
    channel.receiver = receiver;
    facts
}

fn seen(policy: Policy, looks: Vec<Look>) -> FleetSnapshot {
    let empty = FleetSnapshot::empty(Arc::new(policy), Arc::default(), Timestamp::from_secs(0));
    let inputs = looks.into_iter().map(|(name, at, facts)| {
        FleetInput::Probed(match facts {
            Some(facts) => answered(name, at, facts),
            None => refused(name, at),
        })
    });
    // One after the other, as they come.
    inputs.fold(empty, |fleet, input| advance(&fleet, vec![input], now()).snapshot)
}

fn lossy() -> Policy {
    let mut policy = everywhere();
    policy.recovery.fail_promotion_on_known_loss = false;
    policy
}

fn told(policy: Policy, looks: &[Look], cause: Cause) -> String {
    outcome(&seen(policy, looks.to_vec()), &request(cause, None))
}

use ThreadState::{Other, Running, Stopped};

/// Both die; the replica returns first, and what it had received and not applied is gone.
fn double_crash(had: Gtids, less: [Gtids; 2], acknowledging: u32) -> Vec<Look> {
    let before = [had.clone(), less[1].clone()];
    vec![
        ("p", 10, Some(p(had, acknowledging))),
        ("a", 20, Some(r("a", before, Running, 1_000))),
        ("p", 30, None),
        ("a", 30, None),
        ("a", 40, Some(r("a", less, Other, 5))),
    ]
}

#[test]
fn a_replica_that_came_back_without_its_relay_log_is_opened_by_a_person_only() {
    for (had, less, number) in [
        (of_p("1-1003"), [of_p(""), of_p("1-3")], "1000 transactions"),
        (mariadb("0-1-1003"), [mariadb("0-1-3"), mariadb("0-1-3")], "1000 transactions"),
        (mariadb("0-1-1003"), [Gtids::None, mariadb("0-1-3")], "1000 transactions"),
    ] {
        for acknowledging in [0, 1] {
            let looks = double_crash(had.clone(), less.clone(), acknowledging);
            let refused = told(everywhere(), &looks, Cause::Found);
            assert!(refused.starts_with("no: ") && refused.contains(number), "{refused}");
            assert!(refused.contains("force-master-failover accepts that loss"), "{refused}");
            let why = match acknowledging {
                0 => "FailMasterPromotionOnKnownLoss is set",
                _ => "writes were acknowledged once 1 had them",
            };
            assert!(refused.contains(why), "{refused}");
            let asked = told(everywhere(), &looks, Cause::Asked);
            assert_eq!(asked, refused, "I8");
            let let_through = told(lossy(), &looks, Cause::Found);
            assert_eq!(let_through == "a", acknowledging == 0, "I5: {let_through}");
            let fleet = seen(everywhere(), looks);
            let (_, plan) = planned(&fleet, &request(Cause::ForcedFailover, None)).unwrap();
            assert_eq!((plan.successor, plan.loss.count), (key("a"), 1000));
            assert_eq!(plan.loss.on, [key("a")], "it was seen there after its source");
        }
    }
}

#[test]
fn it_is_refused_whichever_of_the_two_was_seen_last() {
    for acknowledging in [0, 1] {
        let mut looks = double_crash(of_p("1-1003"), [of_p(""), of_p("1-3")], acknowledging);
        looks.insert(2, ("p", 25, Some(p(of_p("1-1003"), acknowledging))));
        let refused = told(everywhere(), &looks, Cause::Found);
        assert!(refused.contains("1000 transactions that p:3306 was seen"), "{refused}");
    }
}

/// It had applied all that it was seen to have, but what it had received since nobody knows.
#[test]
fn whoever_acknowledged_and_lost_its_relay_log_unseen_is_no_witness() {
    let mariadb = || [mariadb("0-1-9"), mariadb("0-1-9")];
    for (case, has, expected) in [
        ("MySQL, emptied", [of_p(""), of_p("1-9")], false),
        ("MySQL, it still has it", [of_p("1-9"), of_p("1-9")], true),
        ("MariaDB empties it at every start", mariadb(), false),
    ] {
        let before = match has[1] {
            Gtids::MariaDb(_) => mariadb(),
            _ => [of_p("1-9"), of_p("1-9")],
        };
        let looks = |restarted: Facts, acknowledging| {
            let had = before[1].clone();
            vec![
                ("p", 10, Some(p(had, acknowledging))),
                ("a", 20, Some(r("a", before.clone(), Running, 1_000))),
                ("p", 30, None),
                ("a", 40, Some(restarted)),
            ]
        };
        let restarted = || r("a", has.clone(), Other, 5);
        let answer = told(everywhere(), &looks(restarted(), 1), Cause::Found);
        assert_eq!(answer == "a", expected, "case: {case}: {answer}");
        assert_eq!(told(everywhere(), &looks(restarted(), 0), Cause::Found), "a", "{case}");
        let still_up = r("a", has.clone(), Other, 1_020);
        let answer = told(everywhere(), &looks(still_up, 1), Cause::Found);
        // Who empties its relay log while it is up has less than it had.
        let has_less = matches!(&has[0], Gtids::MySql(set) if set.is_empty()) && has[1] == of_p("");
        assert_eq!(answer == "a", !has_less, "case: {case}, up all the time: {answer}");
        let mut seen_later = looks(restarted(), 1);
        seen_later.insert(3, ("a", 35, Some(r("a", before.clone(), Other, 1_015))));
        let answer = told(everywhere(), &seen_later, Cause::Found);
        assert_eq!(answer, "a", "case: {case}: nothing came after its source was gone");
    }
}

#[test]
fn who_did_not_receive_while_its_source_went_on_is_not_opened_over_what_it_lacks() {
    let stopped = |at: i64| ("a", at, Some(r("a", [of_p("1-3"), of_p("1-3")], Stopped, 1_000)));
    let receiving = |at: i64| ("a", at, Some(r("a", [of_p("1-3"), of_p("1-3")], Running, 1_000)));
    let failing = |at: i64| ("a", at, Some(r("a", [of_p("1-3"), of_p("1-3")], Other, 1_000)));
    let on = |at: i64| ("p", at, Some(p(of_p("1-1003"), 0)));
    let b = |at: i64| ("b", at, Some(r("b", [of_p("1-1003"), of_p("1-1003")], Other, 1_000)));
    for (case, looks, expected) in [
        ("stopped for long", vec![stopped(10), on(20), ("p", 30, None)], "1000 transactions"),
        ("trying for long", vec![failing(10), on(20), ("p", 30, None)], "1000 transactions"),
        ("it came after that", vec![on(10), receiving(20), ("p", 30, None), failing(40)], "a"),
        ("on its way", vec![receiving(10), on(20), ("p", 30, None), failing(40)], "a"),
        ("another has it", vec![stopped(10), on(20), b(20), ("p", 30, None)], "b"),
        (
            "it lacks nothing",
            vec![stopped(20), ("p", 19, Some(p(of_p("1-3"), 0))), ("p", 30, None)],
            "a",
        ),
    ] {
        let answer = told(everywhere(), &looks, Cause::Found);
        let is_met =
            if expected.len() == 1 { answer == expected } else { answer.contains(expected) };
        assert!(is_met, "case: {case}: {answer}");
        let open = told(lossy(), &looks, Cause::Found);
        assert!(!open.starts_with("no: "), "case: {case}: {open}");
    }
}

#[test]
fn positions_in_the_log_of_the_source_are_remembered_too() {
    let at = |position: u64| BinlogCoordinates::new(FILE, position);
    let source = |position| {
        let mut facts = p(Gtids::None, 0);
        facts.binlog.position = at(position);
        facts
    };
    let reading = |position, receiver, uptime| {
        // As MySQL answers where gtid_mode is off.
        let mut facts = r("a", [of_p(""), of_p("")], receiver, uptime);
        facts.channels[0].positioning = Positioning::File;
        facts.channels[0].read = at(position);
        facts.channels[0].executed = at(position);
        facts
    };
    for (case, looks, expected) in [
        (
            "its relay log is gone",
            vec![
                ("p", 10, Some(source(900))),
                ("a", 20, Some(reading(900, Running, 1_000))),
                ("p", 30, None),
                ("a", 40, Some(reading(400, Other, 5))),
            ],
            "from bin.000003:400 to bin.000003:900",
        ),
        (
            "its relay log is gone, and its source was seen after that",
            vec![
                ("a", 10, Some(reading(900, Running, 1_000))),
                ("a", 15, None),
                ("p", 20, Some(source(900))),
                ("p", 30, None),
                // Up for longer than it is seen that it was started anew.
                ("a", 40, Some(reading(400, Other, 1_030))),
            ],
            "from bin.000003:400 to bin.000003:900",
        ),
        (
            "its source began a new log and it has all of that",
            vec![
                ("a", 10, Some(reading(900, Running, 1_000))),
                ("p", 20, Some(source(400))),
                ("p", 30, None),
                ("a", 40, Some(reading(400, Other, 1_030))),
            ],
            "a",
        ),
        (
            "it was stopped for long",
            vec![
                ("a", 10, Some(reading(400, Stopped, 1_000))),
                ("p", 20, Some(source(900))),
                ("p", 30, None),
            ],
            "from bin.000003:400 to bin.000003:900",
        ),
        (
            "it has all",
            vec![
                ("p", 10, Some(source(900))),
                ("a", 20, Some(reading(900, Other, 1_000))),
                ("p", 30, None),
            ],
            "a",
        ),
    ] {
        let answer = told(everywhere(), &looks, Cause::Found);
        let is_met =
            if expected.len() == 1 { answer == expected } else { answer.contains(expected) };
        assert!(is_met, "case: {case}: {answer}");
    }
}

/// A cluster that people built anew, or from a backup, is not held to what it was.
#[test]
fn memory_ends_once_the_source_is_seen_without_it() {
    let has = |text| [of_p(text), of_p(text)];
    for acknowledging in [0, 1] {
        let mut looks = vec![
            ("p", 10, Some(p(of_p("1-1003"), acknowledging))),
            ("a", 20, Some(r("a", has("1-1003"), Running, 1_000))),
            ("a", 30, Some(r("a", has("1-5"), Running, 5))),
            ("p", 40, Some(p(of_p("1-5"), acknowledging))),
            ("p", 50, None),
            ("a", 51, Some(r("a", has("1-5"), Other, 26))),
        ];
        assert_eq!(told(everywhere(), &looks, Cause::Found), "a");
        looks.remove(3);
        let held = told(everywhere(), &looks, Cause::Found);
        assert!(held.contains("998 transactions"), "until then it is not: {held}");
    }
}

/// A replica that is rebuilt from a backup while its source lives is no reason to wait: another has all.
#[test]
fn a_replica_that_is_being_rebuilt_holds_up_nobody() {
    let has = |text| [of_p(text), of_p(text)];
    let looks = vec![
        ("p", 10, Some(p(of_p("1-100"), 1))),
        ("a", 10, Some(r("a", has("1-100"), Running, 1_000))),
        ("b", 10, Some(r("b", has("1-100"), Running, 1_000))),
        ("b", 20, Some(r("b", has("1-50"), Running, 5))),
        ("p", 30, Some(p(of_p("1-200"), 1))),
        ("p", 40, None),
        ("a", 41, Some(r("a", has("1-200"), Other, 1_031))),
        ("b", 41, Some(r("b", has("1-60"), Other, 26))),
    ];
    assert_eq!(told(everywhere(), &looks, Cause::Found), "a");
    let mut unseen = looks;
    unseen.remove(4);
    let refused = told(everywhere(), &unseen, Cause::Found);
    assert!(refused.contains("b:3306 came back with less than it had"), "I5: {refused}");
}

#[test]
fn what_a_silent_replica_was_seen_to_have_last_counts() {
    let looks = vec![
        ("p", 10, Some(p(of_p("1-3"), 0))),
        ("a", 20, Some(r("a", [of_p("1-5"), of_p("1-5")], Other, 1_000))),
        ("b", 20, Some(r("b", [of_p("1-9"), of_p("1-9")], Other, 1_000))),
        ("p", 30, None),
        ("b", 30, None),
    ];
    let refused = told(everywhere(), &looks, Cause::Found);
    assert!(refused.contains("4 transactions that b:3306 was seen to have"), "{refused}");
    assert_eq!(told(lossy(), &looks, Cause::Found), "a -b");
}

#[test]
fn an_unknown_lag_objects_where_there_is_a_limit() {
    let mut limited = everywhere();
    limited.recovery.fail_promotion_on_lag = Some(std::time::Duration::from_secs(60));
    let null = |receiver, applier| {
        let mut facts = r("a", [of_p("1-9"), of_p("1-9")], receiver, 1_000);
        facts.channels[0].seconds_behind = None;
        facts.channels[0].applier = applier;
        facts
    };
    let unapplied = || {
        let mut facts = null(Other, Running);
        facts.gtid.executed = of_p("1-8");
        facts
    };
    let p = || p(of_p("1-9"), 0);
    for (case, looks, expected) in [
        (
            "it received to the end",
            vec![("p", 10, Some(p())), ("a", 20, Some(null(Other, Running)))],
            "a",
        ),
        (
            "not for long",
            vec![("a", 10, Some(null(Stopped, Running))), ("p", 20, Some(p()))],
            "is not known",
        ),
        (
            "it has not applied all",
            vec![("p", 10, Some(p())), ("a", 20, Some(unapplied()))],
            "is not known",
        ),
    ] {
        let mut looks = looks;
        looks.push(("p", 30, None));
        let answer = told(limited.clone(), &looks, Cause::Found);
        assert!(answer == expected || answer.contains(expected), "case: {case}: {answer}");
        assert_eq!(told(everywhere(), &looks, Cause::Found), "a", "no limit: {case}");
    }
}

#[test]
fn what_is_lost_is_told_once_the_successor_is_open() {
    let mut looks = double_crash(of_p("1-1003"), [of_p(""), of_p("1-3")], 0);
    looks.truncate(5);
    let fleet = seen(lossy(), looks);
    let (recovery, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    let opening = Recovery { phase: Phase::Opening, plan: Some(plan), openings: 1, ..recovery };
    assert_eq!(opening.loss(), None);
    let ran = Ran { on: key("a"), need: Need::Must, outcome: Outcome::Done };
    let open = step(&opening, Event::Ran(vec![ran]), &situation(&fleet)).recovery;
    assert_eq!(open.errors, [format!("1000 transactions lost: {P}:4-1003")]);
    assert_eq!(open.loss().map(|it| it.count), Some(1000));
}

/// `d` stays behind on purpose, and received one more than `a`, which received until its source died.
fn with_a_delayed_one(delay: u32, applied: &str, bend: fn(&mut Facts, &mut Facts)) -> Vec<Look> {
    let mut a = r("a", [of_p("1-8"), of_p("1-8")], Other, 1_000);
    let mut d = r("d", [of_p("1-9"), of_p(applied)], Other, 1_000);
    d.channels[0].delay_seconds = delay;
    bend(&mut a, &mut d);
    vec![
        ("p", 10, Some(p(of_p("1-8"), u32::from(a.semi_sync.replica_enabled)))),
        ("a", 20, Some(a)),
        ("d", 20, Some(d)),
        ("p", 30, None),
    ]
}

#[test]
fn a_replica_that_is_delayed_on_purpose_is_not_waited_for() {
    let same = |_: &mut Facts, _: &mut Facts| {};
    let both: fn(&mut Facts, &mut Facts) = |a, d| {
        for it in [a, d] {
            it.semi_sync.replica_enabled = true;
            it.semi_sync.replica_active = true;
        }
    };
    let only_a: fn(&mut Facts, &mut Facts) = |a, _| {
        a.semi_sync.replica_enabled = true;
        a.semi_sync.replica_active = true;
    };
    for (case, looks, expected) in [
        ("it was on its way", with_a_delayed_one(3_600, "1-2", same), "a"),
        ("the delay has passed", with_a_delayed_one(3_600, "1-9", same), "a<-d"),
        ("it soon has", with_a_delayed_one(5, "1-2", same), "a<-d"),
        ("writes were acknowledged, not by it", with_a_delayed_one(3_600, "1-2", only_a), "a"),
        (
            "writes were acknowledged once it had them",
            with_a_delayed_one(3_600, "1-2", both),
            "no: a:3306 lacks 1 transaction that d:3306 was seen to have",
        ),
    ] {
        let answer = told(everywhere(), &looks, Cause::Found);
        assert!(answer == expected || answer.starts_with(expected), "case: {case}: {answer}");
        let by_key = told(lossy(), &looks, Cause::Found);
        assert_eq!(by_key, answer, "case: {case}: I5 needs no key");
        if answer.starts_with("no: ") {
            assert!(answer.contains("delayed by 3600 s on purpose"), "{answer}");
            assert!(answer.contains("force-master-failover accepts that loss"), "{answer}");
            assert_eq!(told(everywhere(), &looks, Cause::ForcedFailover), "a");
        }
    }
}

/// What was seen on the old primary while the other did not receive is no tail of its last writes.
#[test]
fn what_a_delayed_replica_has_beyond_one_that_was_stopped_is_lost_by_a_person_only() {
    let stopped: fn(&mut Facts, &mut Facts) = |a, _| a.channels[0].receiver = Stopped;
    let mut looks = with_a_delayed_one(3_600, "1-2", stopped);
    looks.insert(3, ("p", 25, Some(p(of_p("1-9"), 0))));
    let refused = told(everywhere(), &looks, Cause::Found);
    assert!(refused.contains("1 transaction") && refused.contains("on purpose"), "{refused}");
    // The key is about what is gone, and a server has this.
    assert_eq!(told(lossy(), &looks, Cause::Found), refused);
    assert_eq!(told(everywhere(), &looks, Cause::ForcedFailover), "a");
    // I5: who acknowledged it was seen before its source was.
    let acknowledged: fn(&mut Facts, &mut Facts) = |a, d| {
        a.channels[0].receiver = Stopped;
        d.semi_sync.replica_enabled = true;
    };
    let mut looks = with_a_delayed_one(3_600, "1-2", acknowledged);
    looks.insert(3, ("p", 25, Some(p(of_p("1-9"), 1))));
    let refused = told(lossy(), &looks, Cause::Found);
    assert!(refused.contains("writes were acknowledged once 1 had them"), "{refused}");
}

/// I4, I9: nobody is told to apply it, and what only it received is dropped, or it would be errant.
#[test]
fn what_only_a_delayed_replica_received_is_told_to_be_lost_and_dropped() {
    let fleet = seen(everywhere(), with_a_delayed_one(3_600, "1-2", |_, _| {}));
    let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    assert_eq!((plan.loss.count, plan.loss.on.as_slice()), (1, &[key("d")][..]));
    assert!(plan.why.iter().any(|it| it.contains("d:3306 is delayed by 3600 s")), "{:?}", plan.why);
    let waits = plan.prepare.iter().flat_map(|it| &it.chains).filter(|it| it.on == key("d"));
    assert_eq!(waits.count(), 0);
    let follows = plan.gather.chains.iter().find(|it| it.on == key("d")).unwrap();
    let place = crate::action::Place::Gtid;
    let moved = [
        Action::Stop(Threads::Both),
        Action::ChangeSource { to: key("a"), place },
        Action::Start(Threads::Both),
    ];
    assert_eq!(follows.actions, moved);
}
