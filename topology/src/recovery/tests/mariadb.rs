//! MariaDB: what replicas wrote themselves, domains left over, and relay logs that must not be lost.

use super::super::check::keeps_relay_logs;
use super::super::plan::{freeze, left_alone, roll_back};
use super::*;
use crate::gtid::MariaDbPosition;
use crate::instance::Positioning;
use crate::version::Version;

fn position(text: &str) -> MariaDbPosition {
    text.parse().unwrap()
}

fn maria(mut facts: Facts, id: u32, replicated: &str, logged_by: &str) -> Facts {
    facts.version = Version::parse("10.11.14-MariaDB", "");
    facts.server_id = id;
    facts.uptime_seconds = 1_000;
    facts.gtid.mode.clear();
    facts.gtid.replicated = position(replicated);
    facts.gtid.logged = position(logged_by);
    facts.gtid.logged_by = logged_by.parse().unwrap();
    facts.gtid.executed = Gtids::MariaDb(position(replicated).union(&position(logged_by)));
    facts
}

/// A replica of `p` that applied and received this, whose source does not answer. What it logged
/// last is what it wrote itself, if anything.
fn follower(
    name: &str,
    id: u32,
    applied: &str,
    logged_by: &str,
    received: &str,
) -> (String, Facts) {
    let mut facts = maria(replica_facts(&key("p")), id, applied, logged_by);
    let channel = &mut facts.channels[0];
    channel.positioning = Positioning::MariaDbGtid;
    channel.received = Gtids::MariaDb(position(received));
    channel.receiver = ThreadState::Other;
    channel.receiver_error.number = 2003;
    (name.to_owned(), facts)
}

/// A fleet in which `p`, with server id 1 and this in its log, died.
fn fleet(p: Facts, replicas: &[(String, Facts)]) -> FleetSnapshot {
    let policy = Arc::new(everywhere());
    let empty = FleetSnapshot::empty(policy, Arc::default(), Timestamp::from_secs(0));
    let mut inputs = vec![FleetInput::Probed(answered("p", 10, p))];
    let seen = replicas.iter().map(|(name, facts)| answered(name, 20, facts.clone()));
    inputs.extend(seen.map(FleetInput::Probed));
    inputs.push(FleetInput::Probed(refused("p", 30)));
    advance(&empty, inputs, now()).snapshot
}

fn primary(replicated: &str, logged_by: &str) -> Facts {
    maria(primary_facts(), 1, replicated, logged_by)
}

/// Who is promoted, what for it waits, and how many are lost.
fn weighed(p: Facts, replicas: &[(String, Facts)]) -> String {
    let fleet = fleet(p, replicas);
    let who = outcome(&fleet, &request(Cause::Found, None));
    let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    let until = plan.prepare[0].chains[0].actions.iter().find_map(|action| match action {
        Action::WaitExecuted { until: Until::Gtids(until), .. } => Some(until.to_string()),
        _ => None,
    });
    format!("{who} waits for {} and loses {}", until.unwrap_or_default(), plan.loss.count)
}

#[test]
fn what_a_replica_wrote_itself_is_neither_compared_nor_handed_on() {
    let prefer: Change = |it| it.promotion_rule = Some(PromotionRule::Prefer);
    for (case, p, replicas, expected) in [
        (
            "a flush hides nothing: it waits for all",
            primary("", "0-1-9"),
            vec![follower("a", 2, "0-1-5", "0-1-5,0-2-12", "0-1-9")],
            "a waits for 0-1-9 and loses 0",
        ),
        (
            "who wrote nothing goes first, whatever people prefer",
            primary("", "0-1-9"),
            vec![
                with(follower("a", 2, "0-1-9", "0-1-9,0-2-12", "0-1-9"), prefer),
                follower("b", 3, "0-1-9", "0-1-9", "0-1-9"),
            ],
            "b waits for 0-1-9 and loses 0",
        ),
        (
            "all wrote something, in a domain of their own",
            primary("", "1-1-9"),
            vec![
                follower("a", 2, "1-1-9", "1-1-9,0-2-3", "1-1-9"),
                follower("b", 3, "1-1-8", "1-1-8,0-3-4", "1-1-8"),
            ],
            "a waits for 1-1-9 and loses 0",
        ),
        (
            "nobody gets what he lacks from one that wrote something",
            primary("", "1-1-9"),
            vec![
                follower("a", 2, "1-1-9", "1-1-9,0-2-3", "1-1-9"),
                follower("b", 3, "1-1-8", "1-1-8", "1-1-8"),
            ],
            "a waits for 1-1-9 and loses 0",
        ),
    ] {
        assert_eq!(weighed(p, &replicas), expected, "case: {case}");
    }
}

#[test]
fn what_is_in_nobodys_log_does_not_count_and_what_comes_in_does() {
    for (case, p, replicas, expected) in [
        (
            "a domain that is in nobody's log",
            primary("5-9-77", "0-1-9"),
            vec![
                follower("a", 2, "0-1-9,7-3-40", "0-1-9", "0-1-9,7-3-40"),
                follower("b", 3, "0-1-9,8-3-41", "0-1-9", "0-1-9,8-3-41"),
            ],
            "a waits for 0-1-9 and loses 0",
        ),
        (
            "a domain that comes in counts, wherever it is logged",
            primary("", ""),
            vec![
                follower("a", 2, "0-1-9", "", "0-1-9"),
                follower("b", 3, "0-1-9", "0-1-9", "0-1-9,7-4-1"),
            ],
            "b waits for 0-1-9,7-4-1 and loses 0",
        ),
        (
            "what a replica wrote as the primary it was is everybody's",
            primary("0-2-9", "0-2-9"),
            vec![
                follower("a", 2, "0-1-4", "0-1-4,0-2-9", "0-2-9"),
                follower("b", 3, "0-2-9", "0-1-4,0-2-9", "0-2-9"),
            ],
            "a waits for 0-2-9 and loses 0",
        ),
        (
            "the primary emptied its log: what was before is no loss",
            primary("0-3-100", "0-1-9"),
            vec![follower("a", 2, "0-1-8", "0-1-8", "0-1-8")],
            "a waits for 0-1-8 and loses 1",
        ),
    ] {
        assert_eq!(weighed(p, &replicas), expected, "case: {case}");
    }
}

#[test]
fn own_writes_of_the_one_that_is_promoted_are_told() {
    let replicas = [follower("a", 2, "0-1-9", "0-1-9,0-2-12", "0-1-9")];
    let (_, plan) =
        planned(&fleet(primary("", "0-1-9"), &replicas), &request(Cause::Found, None)).unwrap();
    assert!(plan.why.iter().any(|it| it.contains("0-2-12")), "{:?}", plan.why);
}

/// Both threads of a MariaDB replica never stand still while something is unapplied, on the way or back.
#[test]
fn no_relay_log_is_thrown_away() {
    use ThreadState::{Other, Running, Stopped};
    let stop = Action::Stop(Threads::Receiver);
    let start = Action::Start(Threads::Applier);
    for (case, receiver, applier, error, received, frozen, back) in [
        ("it applies", Running, Running, 0, "0-1-9", vec![stop.clone()], Some(Threads::Both)),
        (
            "stopped, with something left",
            Running,
            Stopped,
            0,
            "0-1-9",
            vec![start, stop.clone()],
            Some(Threads::Receiver),
        ),
        (
            "stopped, with nothing left",
            Running,
            Stopped,
            0,
            "0-1-5",
            vec![stop.clone()],
            Some(Threads::Receiver),
        ),
        (
            "failed, with something left",
            Other,
            Stopped,
            1062,
            "0-1-9",
            vec![],
            Some(Threads::Receiver),
        ),
        (
            "failed, with nothing left",
            Other,
            Stopped,
            1062,
            "0-1-5",
            vec![stop],
            Some(Threads::Receiver),
        ),
        ("both stand still", Stopped, Stopped, 0, "0-1-9", vec![], None),
    ] {
        let mut one = follower("a", 2, "0-1-5", "0-1-5", received);
        let channel = &mut one.1.channels[0];
        (channel.receiver, channel.applier) = (receiver, applier);
        channel.applier_error.number = error;
        let other = follower("b", 3, "0-1-9", "0-1-9", "0-1-9");
        let fleet = fleet(primary("", "0-1-9"), &[one, other]);
        let situation = situation(&fleet);
        let recovery = begin(&request(Cause::ForcedFailover, None), &fleet, &runner(), now());
        let recovery = recovery.unwrap();
        let of = |stage: &Stage| {
            let chain = stage.chains.iter().find(|it| it.on == key("a"));
            chain.map(|it| it.actions.clone()).unwrap_or_default()
        };
        let stage = freeze(&recovery, &situation);
        assert_eq!(of(&stage), frozen, "case: {case}");
        assert_eq!(keeps_relay_logs(&stage, &situation), Vec::<String>::new(), "case: {case}");
        let stage = roll_back(&recovery, &situation);
        let expected: Vec<Action> = back.map(Action::Start).into_iter().collect();
        assert_eq!(of(&stage), expected, "case: {case}");
        assert_eq!(keeps_relay_logs(&stage, &situation), Vec::<String>::new(), "case: {case}");
        let is_left = left_alone(&recovery, &situation) == [key("a")];
        assert_eq!(is_left, back.is_none(), "case: {case}");
    }
}

#[test]
fn a_plan_that_would_throw_a_relay_log_away_is_caught() {
    use ThreadState::{Running, Stopped};
    for (receiver, applier, actions, is_caught) in [
        (Stopped, Stopped, vec![Action::Start(Threads::Applier)], true),
        (Running, Stopped, vec![Action::Stop(Threads::Receiver)], true),
        (Stopped, Running, vec![Action::Stop(Threads::Both)], true),
        (Stopped, Running, vec![Action::Start(Threads::Receiver)], false),
        (
            Stopped,
            Running,
            vec![
                Action::WaitExecuted {
                    until: Until::Gtids(Gtids::MariaDb(position("0-1-9"))),
                    at_most: std::time::Duration::from_secs(1),
                },
                Action::Stop(Threads::Both),
            ],
            false,
        ),
    ] {
        let mut one = follower("a", 2, "0-1-5", "0-1-5", "0-1-9");
        (one.1.channels[0].receiver, one.1.channels[0].applier) = (receiver, applier);
        let fleet = fleet(primary("", "0-1-9"), &[one]);
        let chain = Chain { on: key("a"), actions, need: Need::Must };
        let stage = Stage { chains: vec![chain] };
        let broken = keeps_relay_logs(&stage, &situation(&fleet));
        assert_eq!(!broken.is_empty(), is_caught, "{stage:?}: {broken:?}");
    }
}

/// Who has what nobody else has, and cannot apply it without losing it, keeps everybody from being opened.
#[test]
fn nobody_is_opened_with_less_than_what_stands_still_somewhere() {
    let mut still = follower("a", 2, "0-1-3", "0-1-3", "0-1-103");
    still.1.channels[0].receiver = ThreadState::Stopped;
    still.1.channels[0].applier = ThreadState::Stopped;
    let alone = outcome(
        &fleet(primary("", "0-1-103"), std::slice::from_ref(&still)),
        &request(Cause::Asked, None),
    );
    assert!(alone.contains("throws away"), "{alone}");
    let other = follower("b", 3, "0-1-50", "0-1-50", "0-1-50");
    let told =
        outcome(&fleet(primary("", "0-1-103"), &[still, other]), &request(Cause::Asked, None));
    assert!(told.starts_with("no: ") && told.contains("b:3306 lacks what a:3306 has"), "{told}");
}

#[test]
fn an_applier_that_people_stopped_stays_stopped_below_the_next_primary() {
    let mut stopped = follower("b", 3, "0-1-9", "0-1-9", "0-1-9");
    stopped.1.channels[0].applier = ThreadState::Stopped;
    let replicas = [follower("a", 2, "0-1-9", "0-1-9", "0-1-9"), stopped];
    let (_, plan) =
        planned(&fleet(primary("", "0-1-9"), &replicas), &request(Cause::Found, None)).unwrap();
    let of_b = plan.gather.chains.iter().find(|it| it.on == key("b")).unwrap();
    assert_eq!(of_b.actions.last(), Some(&Action::Start(Threads::Receiver)));
}

/// A receiver that is connecting to a server that does not answer takes seconds to stop: nobody waits
/// for that. One that refuses to stop may receive again, and is forgotten first.
#[test]
fn a_receiver_that_takes_long_to_stop_is_forgotten_after_the_opening() {
    let mariadb = |version: &str| {
        let (name, mut facts) = follower("a", 2, "0-1-9", "0-1-9", "0-1-9");
        facts.version = Version::parse(version, "");
        fleet(primary("", "0-1-9"), &[(name, facts)])
    };
    let mysql = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let late = vec![Action::SetWritable];
    let first = vec![Action::ForgetSource, Action::SetWritable];
    for (fleet, was_told, opening) in [
        (mariadb("11.8.9-MariaDB"), true, &late),
        (mariadb("10.11.14-MariaDB"), true, &late),
        (mysql.clone(), true, &late),
        (mysql, false, &first),
    ] {
        let mut recovery = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
        recovery.phase = Phase::Weighing;
        if !was_told {
            recovery.failed_on.insert(key("a"));
        }
        let plan = super::super::plan::plan(&recovery, &situation(&fleet)).unwrap();
        super::super::check::check(&plan, &recovery, &situation(&fleet)).unwrap();
        assert_eq!(plan.open.chains[0].actions, *opening);
        let own = plan.gather.chains.iter().find(|it| it.on == key("a"));
        let forgets = own.map(|it| (it.actions.as_slice(), it.need));
        let expected = ([Action::ForgetSource].as_slice(), Need::Should);
        assert_eq!(forgets, (opening == &late).then_some(expected));
    }
}

#[test]
fn a_former_primary_is_compared_by_who_wrote_what() {
    use crate::recovery::holding::extra_of_mariadb;
    for (case, former, primary_log, extra) in [
        ("it has nothing else", "0-1-9", "0-1-9,0-2-20", Some("")),
        (
            "its last two came to nobody, though others wrote since",
            "0-1-11",
            "0-1-9,0-2-20",
            Some("0-1-11"),
        ),
        ("a domain of its own", "0-1-9,4-1-1", "0-1-9,0-2-20", Some("4-1-1")),
        ("the other's log was emptied", "0-1-9", "0-2-20", Some("")),
        ("its log is not known", "", "0-1-9", None),
    ] {
        let old = primary("6-7-1", former);
        let new = maria(primary_facts(), 2, "", primary_log);
        let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::from_secs(0));
        let seen = [("p", old), ("a", new)];
        let inputs = seen.map(|(name, facts)| FleetInput::Probed(answered(name, 10, facts)));
        let fleet = advance(&empty, inputs.into(), now()).snapshot;
        let member = |name| fleet.member(&key(name)).unwrap().1;
        let told = extra_of_mariadb(member("p"), member("a")).map(|it| it.join(","));
        assert_eq!(told.as_deref(), extra, "{case}");
    }
}

/// MySQL waits a minute for the rest of a transaction whose source died while it sent it.
#[test]
fn an_applier_that_does_not_stop_is_no_reason_against_a_candidate() {
    let mut a = replica("a", "1-9", "1-9");
    let channel = &mut a.1.channels[0];
    channel.receiver = ThreadState::Stopped;
    channel.has_read_all = true;
    channel.read = crate::binlog::BinlogCoordinates::new("bin.000002", 700);
    channel.executed = crate::binlog::BinlogCoordinates::new("bin.000002", 500);
    let fleet = fleet_with(everywhere(), "1-9", std::slice::from_ref(&a), &[]);
    let (mut recovery, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    assert_eq!(plan.open.chains[0].actions, [Action::ForgetSource, Action::SetWritable]);
    recovery.phase = Phase::Opening;
    recovery.openings = 1;
    recovery.plan = Some(plan);
    let late = Outcome::NoAnswer { at: 0, error: "no answer within 5000 ms".into() };
    let ran = Ran { on: key("a"), need: Need::Must, outcome: late };
    let next = step(&recovery, Event::Ran(vec![ran]), &situation(&fleet));
    assert_eq!((next.recovery.phase, next.recovery.openings), (Phase::Weighing, 0));
    assert_eq!(next.recovery.tried, [key("a")]);
    let next = step(&next.recovery, Event::Looked, &situation(&fleet));
    let plan = next.recovery.plan.clone().unwrap();
    assert_eq!(plan.open.chains[0].actions, [Action::SetWritable]);
    assert_eq!(plan.gather.chains[0].actions, [Action::ForgetSource]);
    // Whoever else has everything goes first, and who did not answer for other reasons not at all.
    let others = [(true, "b"), (false, "no: ")];
    for (is_clean, expected) in others {
        let mut a = a.clone();
        a.1.channels[0].has_read_all = is_clean;
        let mut all = vec![a];
        all.extend(is_clean.then(|| replica("b", "1-9", "1-9")));
        let fleet = fleet_with(everywhere(), "1-9", &all, &[]);
        let mut recovery = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
        recovery.tried.push(key("a"));
        let told = match super::super::plan::plan(&recovery, &situation(&fleet)) {
            Ok(plan) => plan.successor.host().to_owned(),
            Err(refused) => format!("no: {refused}"),
        };
        assert!(told.starts_with(expected), "{told}");
    }
}
