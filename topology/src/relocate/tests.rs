//! Plans and refusals, by tables.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::action::{self, Action, Switch, Threads};
use crate::binlog::BinlogCoordinates;
use crate::fleet::{FleetInput, advance};
use crate::gtid::Gtids;
use crate::instance::{BinlogFormat, Facts, GroupMember, Instance, Positioning, ThreadState};
use crate::ledger::LedgerState;
use crate::policy::Policy;
use crate::testing::{answered, key, primary_facts, refused, replica_facts, valid_instance};
use crate::time::Timestamp;
use crate::version::Version;

/// How the replicas of a test find their place.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Gtid,
    MariaDbGtid,
    File,
}

const BYS: [By; 3] = [By::Gtid, By::MariaDbGtid, By::File];

/// Servers with what they tell, in the order they were written.
struct Servers(Vec<(String, Facts)>);

/// `a>b` is a replica `a` of `b`; `a` alone replicates from nobody. All stand at the same place:
/// the log of each ends at its number, and each has executed all of its source's log.
fn servers(by: By, text: &str) -> Servers {
    let names: Vec<(&str, Option<&str>)> = text
        .split_whitespace()
        .map(|word| match word.split_once('>') {
            Some((name, source)) => (name, Some(source)),
            None => (word, None),
        })
        .collect();
    let number = |name: &str| names.iter().position(|(it, _)| *it == name).unwrap_or(99) as u64;
    let end = |name: &str| BinlogCoordinates::new(format!("{name}.000001"), 100 + number(name));
    let facts = names.iter().map(|(name, source)| {
        let mut facts = match source {
            Some(source) => replica_facts(&key(source)),
            None => primary_facts(),
        };
        facts.server_id = u32::try_from(number(name)).unwrap() + 1;
        facts.binlog.position = end(name);
        if by == By::MariaDbGtid {
            facts.version = Version::parse("10.11.6-MariaDB", "");
            facts.gtid.mode.clear();
            facts.gtid.executed = Gtids::MariaDb("0-1-100".parse().unwrap());
        } else {
            facts.gtid.executed = Gtids::MySql(format!("{}:1-100", uuid(1)).parse().unwrap());
        }
        if by == By::File {
            facts.gtid.mode = "OFF".into();
        }
        if let (Some(channel), Some(source)) = (facts.channels.first_mut(), source) {
            channel.read = end(source);
            channel.executed = end(source);
            channel.positioning = match by {
                By::Gtid => Positioning::AutoPosition,
                By::MariaDbGtid => Positioning::MariaDbGtid,
                By::File => Positioning::File,
            };
        }
        ((*name).to_owned(), facts)
    });
    Servers(facts.collect())
}

fn uuid(number: u8) -> String {
    format!("00000000-0000-0000-0000-0000000000{number:02}")
}

impl Servers {
    fn with(mut self, name: &str, change: impl FnOnce(&mut Facts)) -> Self {
        let found = self.0.iter_mut().find(|(it, _)| it == name);
        change(&mut found.unwrap().1);
        self
    }

    fn fleet_where(&self, policy: Policy, dead: &[&str]) -> FleetSnapshot {
        let now = Timestamp::from_secs(1_000);
        let ledger = Arc::new(LedgerState::default());
        let empty = FleetSnapshot::empty(Arc::new(policy), ledger, now);
        let mut inputs: Vec<FleetInput> = Vec::new();
        // Sources last: errant transactions are proven only by looks that began later.
        let mut at = 900;
        for (name, facts) in self.0.iter().rev() {
            at += 5;
            inputs.push(FleetInput::Probed(answered(name, at, facts.clone())));
        }
        inputs.extend(dead.iter().map(|name| FleetInput::Probed(refused(name, 999))));
        advance(&empty, inputs, now).snapshot
    }

    fn fleet(&self) -> FleetSnapshot {
        self.fleet_where(Policy::default(), &[])
    }
}

fn plan(fleet: &FleetSnapshot, request: &Request) -> Result<Plan, Refused> {
    super::plan(fleet, &Equivalences::default(), request)
}

fn seen(fleet: &FleetSnapshot) -> Seen {
    fleet.members().map(|(_, it)| (it.key().clone(), (*it.instance).clone())).collect()
}

/// `a>b` for each server after the plan, in order of name; `-` for one that does not run.
fn outcome(fleet: &FleetSnapshot, plan: &Plan) -> String {
    let after = plan.preview(&seen(fleet)).after;
    let shown = after.values().map(|it| {
        let Some(channel) = it.facts.main_channel() else { return it.key.host().to_owned() };
        let source = channel.source.attached().map_or("?", |source| source.host());
        let runs = if channel.is_running() { ">" } else { "-" };
        format!("{}{runs}{source}", it.key.host())
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn moved(servers: &Servers, request: &Request) -> Result<String, String> {
    let fleet = servers.fleet();
    plan(&fleet, request).map(|plan| outcome(&fleet, &plan)).map_err(|why| why.to_string())
}

fn relocate(replica: &str, below: &str) -> Request {
    Request::Relocate { replica: key(replica), below: key(below) }
}

fn relocate_replicas(of: &str, below: &str) -> Request {
    let (of, below) = (key(of), key(below));
    Request::RelocateReplicas { of, below, only: None, how: How::Any }
}

fn control(name: &str, control: Control) -> Request {
    Request::Control { key: key(name), control }
}

#[test]
fn replicas_end_where_they_are_told_to() {
    let chain = "a b>a c>b d>b";
    let only_c = Only::parse("^c:").unwrap();
    for by in BYS {
        for (case, text, request, expected) in [
            ("one level up", chain, relocate("c", "a"), "a b>a c>a d>b"),
            ("below a sibling", chain, relocate("c", "d"), "a b>a c>d d>b"),
            ("where it is already", chain, relocate("c", "b"), chain),
            ("all replicas up", chain, relocate_replicas("b", "a"), "a b>a c>a d>a"),
            ("all but the target", chain, relocate_replicas("b", "c"), "a b>a c>b d>c"),
            ("all stay", chain, relocate_replicas("b", "b"), chain),
            ("nobody there", chain, relocate_replicas("d", "a"), chain),
            ("up", chain, Request::MoveUp { replica: key("c") }, "a b>a c>a d>b"),
            (
                "below",
                chain,
                Request::MoveBelow { replica: key("c"), sibling: key("d") },
                "a b>a c>d d>b",
            ),
            (
                "all up",
                chain,
                Request::MoveUpReplicas { of: key("b"), only: None },
                "a b>a c>a d>a",
            ),
            (
                "some up",
                chain,
                Request::MoveUpReplicas { of: key("b"), only: Some(only_c.clone()) },
                "a b>a c>a d>b",
            ),
            (
                "siblings",
                "a b>a c>a d>a",
                Request::TakeSiblings { replica: key("b") },
                "a b>a c>b d>b",
            ),
            ("places", chain, Request::TakeSource { replica: key("c") }, "a b>c c>a d>b"),
            ("both ways", "a b>a", Request::MakeCoPrimary { replica: key("b") }, "a>b b>a"),
            (
                "anywhere",
                chain,
                Request::Repoint { replica: key("d"), below: Some(key("a")) },
                "a b>a c>b d>a",
            ),
            ("its own", chain, Request::Repoint { replica: key("d"), below: None }, chain),
            ("their own", chain, Request::RepointReplicas { of: key("b"), only: None }, chain),
        ] {
            let expected = Ok(expected.to_owned());
            assert_eq!(moved(&servers(by, text), &request), expected, "{case}, {by:?}");
        }
    }
}

#[test]
fn only_gtid_carries_a_replica_anywhere() {
    let text = "a b>a c>a d>b e>c";
    for by in [By::Gtid, By::MariaDbGtid] {
        let done = moved(&servers(by, text), &relocate("d", "e"));
        assert_eq!(done, Ok("a b>a c>a d>e e>c".to_owned()), "{by:?}");
        let done = moved(&servers(by, text), &relocate_replicas("b", "e"));
        assert_eq!(done, Ok("a b>a c>a d>e e>c".to_owned()), "{by:?}");
        let request = Request::MoveBelowGtid { replica: key("e"), below: key("a") };
        assert_eq!(moved(&servers(by, text), &request), Ok("a b>a c>a d>b e>a".into()));
    }
    let refused = moved(&servers(By::File, text), &relocate("d", "e"));
    let expected = "Relocating d:3306 below e:3306 turns to be too complex; please do it manually";
    assert_eq!(refused, Err(expected.to_owned()));
    let refused = moved(&servers(By::File, text), &relocate_replicas("b", "e")).unwrap_err();
    assert!(refused.starts_with("Relocating 1 replicas of b:3306 below e:3306 turns"), "{refused}");
    assert!(refused.contains("Additional Errors: Relocating d:3306"), "{refused}");
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn moves_are_refused_with_their_reason() {
    type Change = fn(&mut Facts);
    let cases: [(&str, &str, Change, Request, &str); 17] = [
        (
            "itself",
            "b",
            |_| {},
            relocate("b", "b"),
            "b:3306 cannot replicate from b:3306. Reason: instance cannot replicate from itself: b:3306",
        ),
        ("nobody", "b", |_| {}, relocate("x", "b"), "Cannot read instance: x:3306"),
        (
            "its own replica",
            "b",
            |_| {},
            relocate("b", "c"),
            "relocate: c:3306 is a descendant of b:3306",
        ),
        (
            "no log",
            "d",
            |it| it.binlog.enabled = false,
            relocate("c", "d"),
            "c:3306 cannot replicate from d:3306. Reason: instance does not have binary logs \
             enabled: d:3306",
        ),
        (
            "no updates in the log",
            "d",
            |it| it.binlog.logs_replica_updates = false,
            relocate("c", "d"),
            "c:3306 cannot replicate from d:3306. Reason: instance does not have \
             log_slave_updates enabled: d:3306",
        ),
        (
            "too new",
            "d",
            |it| it.version = Version::parse("9.0.1", ""),
            relocate("c", "d"),
            "c:3306 cannot replicate from d:3306. Reason: instance c:3306 has version 8.4.3, \
             which is lower than 9.0.1 on d:3306",
        ),
        (
            "too demanding a format",
            "c",
            |it| it.binlog.format = BinlogFormat::Statement,
            relocate("c", "d"),
            "c:3306 cannot replicate from d:3306. Reason: Cannot replicate from ROW binlog \
             format on d:3306 to STATEMENT on c:3306",
        ),
        (
            "the same number",
            "d",
            |it| it.server_id = 3,
            relocate("c", "d"),
            "c:3306 cannot replicate from d:3306. Reason: Identical server id: d:3306, c:3306 \
             both have 3",
        ),
        (
            "later than it wants to be",
            "d",
            |it| it.channels[0].delay_seconds = 3_600,
            relocate("c", "d"),
            "c:3306 cannot replicate from d:3306. Reason: d:3306 has higher SQL_Delay (3600 \
             seconds) than c:3306 does (0 seconds)",
        ),
        (
            "purged what it needs",
            "d",
            |it| it.gtid.purged = format!("{}:1-101", uuid(1)).parse().unwrap(),
            relocate("c", "d"),
            "c:3306 cannot replicate from d:3306. Reason: d:3306 has purged transactions that \
             c:3306 needs: 00000000-0000-0000-0000-000000000001:101",
        ),
        (
            "a group's secondary",
            "c",
            |it| it.group = Some(member("SECONDARY")),
            relocate("c", "d"),
            "relocate: c:3306 is a secondary replication group member, hence it cannot be \
             relocated",
        ),
        (
            "a group of its own",
            "d",
            |it| it.group = Some(member("PRIMARY")),
            relocate("d", "c"),
            "",
        ),
        (
            "a binlog server",
            "d",
            |it| it.version = Version::parse("8.4.3-maxscale", ""),
            relocate("c", "d"),
            "d:3306 is a binlog server; these are not moved",
        ),
        (
            "up from the top",
            "b",
            |_| {},
            Request::MoveUp { replica: key("b") },
            "master is not a replica itself: a:3306",
        ),
        (
            "up as the top",
            "a",
            |_| {},
            Request::MoveUp { replica: key("a") },
            "instance is not a replica: a:3306",
        ),
        (
            "no sibling",
            "a",
            |_| {},
            Request::MoveBelow { replica: key("c"), sibling: key("b") },
            "instances are not siblings: c:3306, b:3306",
        ),
        (
            "takes a primary",
            "b",
            |_| {},
            Request::TakeSource { replica: key("b") },
            "instance is not a replica: a:3306",
        ),
    ];
    for (case, name, change, request, expected) in cases {
        let told = moved(&servers(By::Gtid, "a b>a c>b d>b").with(name, change), &request);
        let told = told.err().unwrap_or_default();
        assert_eq!(told, expected, "{case}");
    }
}

fn member(role: &str) -> GroupMember {
    GroupMember {
        name: "g".into(),
        state: "ONLINE".into(),
        role: role.into(),
        ..GroupMember::default()
    }
}

#[test]
fn groups_are_not_torn_apart() {
    let group = servers(By::Gtid, "a b>a c>a")
        .with("b", |it| it.group = Some(member("PRIMARY")))
        .with("c", |it| it.group = Some(member("SECONDARY")));
    let told = moved(&group, &relocate("b", "c")).unwrap_err();
    assert!(
        told.ends_with("cannot be relocated below c:3306, a member of its own group"),
        "{told}"
    );
    let told = moved(&group, &relocate("c", "b")).unwrap_err();
    assert!(told.contains("is a secondary replication group member"), "{told}");
    let led = servers(By::Gtid, "a b>a").with("a", |it| it.group = Some(member("PRIMARY")));
    let told = moved(&led, &Request::MakeCoPrimary { replica: key("b") }).unwrap_err();
    assert!(told.contains("gets no other source"), "{told}");
    let open = Request::Control { key: key("c"), control: Control::Writable };
    let told = moved(&group, &open).unwrap_err();
    assert!(told.contains("which chooses its primary itself"), "{told}");
    let gone = GroupMember { state: "OFFLINE".into(), ..member("SECONDARY") };
    let left = servers(By::Gtid, "a b>a c>a").with("c", |it| it.group = Some(gone));
    assert_eq!(moved(&left, &relocate("c", "b")), Ok("a b>a c>b".to_owned()));
}

#[test]
fn moves_by_file_and_position_need_sound_replicas() {
    type Change = fn(&mut Facts);
    let cases: [(&str, &str, Change, &str); 5] = [
        (
            "its receiver stands",
            "c",
            |it| it.channels[0].receiver = ThreadState::Stopped,
            "c:3306: instance is not replicating",
        ),
        (
            "the sibling's applier stands",
            "d",
            |it| it.channels[0].applier = ThreadState::Stopped,
            "d:3306: instance is not replicating",
        ),
        (
            "nobody knows how late it is",
            "c",
            |it| it.channels[0].seconds_behind = None,
            "c:3306: cannot determine replication lag",
        ),
        (
            "it is too late",
            "c",
            |it| it.channels[0].seconds_behind = Some(21),
            "c:3306: lags too much",
        ),
        (
            "it is as late as it should be",
            "c",
            |it| (it.channels[0].seconds_behind, it.channels[0].delay_seconds) = (Some(60), 60),
            "",
        ),
    ];
    for (case, name, change, expected) in cases {
        let servers = servers(By::File, "a b>a c>b d>b").with(name, change);
        let told = moved(&servers, &relocate("c", "d")).err().unwrap_or_default();
        assert_eq!(told, expected, "{case}");
    }
    let servers = servers(By::Gtid, "a b>a c>b d>b");
    let fleet = servers.fleet_where(Policy::default(), &["c"]);
    let told = plan(&fleet, &relocate("c", "d")).unwrap_err();
    assert_eq!(told.to_string(), "c:3306: last check invalid", "by GTID it has to answer at least");
}

#[test]
fn lower_versions_and_filters_are_up_to_the_policy() {
    let policy = |allowed: bool, verify: bool| {
        let mut policy = Policy::default();
        policy.recovery.lower_replica_version_allowed = allowed;
        policy.moves.verify_filters = verify;
        policy
    };
    let replica = valid_instance("r", Facts { server_id: 7, ..replica_facts(&key("x")) });
    let newer = Facts { version: Version::parse("9.0.0", ""), ..primary_facts() };
    let newer = valid_instance("s", newer);
    let filtered = Facts { server_id: 8, ..replica_facts(&key("x")) };
    let mut filtered = valid_instance("f", filtered);
    Arc::make_mut(&mut filtered.facts).channels[0].has_filters = true;
    let can = |source: &Instance, policy: &Policy| {
        can_replicate_from(&replica, source, policy, How::Any).is_ok()
    };
    assert!(!can(&newer, &policy(false, false)));
    assert!(can(&newer, &policy(true, false)));
    assert!(can(&filtered, &policy(false, false)));
    assert!(!can(&filtered, &policy(false, true)));
}

fn steps(fleet: &FleetSnapshot, request: &Request) -> Vec<String> {
    let plan = plan(fleet, request).unwrap();
    plan.preview(&seen(fleet)).steps.iter().map(ToString::to_string).collect()
}

#[test]
fn by_file_and_position_a_replica_goes_on_exactly_where_it_stood() {
    // c is behind d in the log of b.
    let servers =
        servers(By::File, "a b>a c>b d>b").with("c", |it| it.channels[0].executed.position = 50);
    let fleet = servers.fleet();
    assert_eq!(
        steps(&fleet, &relocate("c", "d")),
        [
            "c:3306: stop replication",
            "d:3306: stop replication",
            "c:3306: replicate until b.000001:101 of the source's log",
            "c:3306: stop replication",
            "d:3306: stop replication",
            "c:3306: replicate from d:3306, from d.000001:103 on",
            "c:3306: start replication",
            "d:3306: start replication",
        ]
    );
    assert_eq!(
        steps(&fleet, &relocate("d", "c"))[2],
        "c:3306: replicate until b.000001:101 of the source's log",
        "whoever is behind runs, also when it is the one that stays"
    );
    assert_eq!(
        steps(&fleet, &Request::MoveUp { replica: key("c") }),
        [
            "b:3306: stop replication",
            "c:3306: stop replication",
            "c:3306: replicate until b.000001:101 of the source's log",
            "c:3306: stop replication",
            "c:3306: replicate from a:3306, from a.000001:100 on",
            "c:3306: start replication",
            "b:3306: start replication",
        ]
    );
    assert_eq!(
        steps(&fleet, &Request::TakeSource { replica: key("d") }),
        [
            "b:3306: stop replication",
            "d:3306: stop replication",
            "d:3306: stop replication",
            "d:3306: replicate from a:3306, from a.000001:100 on",
            "b:3306: replicate from d:3306, from d.000001:103 on",
            "d:3306: start replication",
            "b:3306: start replication",
        ]
    );
}

#[test]
fn all_replicas_go_up_past_a_source_that_stands_still_once() {
    let servers = servers(By::File, "a b>a c>b d>b");
    let request = Request::MoveUpReplicas { of: key("b"), only: None };
    let fleet = servers.fleet();
    let found = plan(&fleet, &request).unwrap();
    assert_eq!(found.restarts, [key("b")]);
    assert!(found.units.iter().all(|unit| !unit.restarts.contains(&key("b"))));
    let shown = steps(&fleet, &request);
    assert_eq!(shown.first().map(String::as_str), Some("b:3306: stop replication"));
    assert_eq!(shown.last().map(String::as_str), Some("b:3306: start replication"));
}

#[test]
fn a_replica_that_went_past_its_place_is_not_moved() {
    let fleet = servers(By::File, "a b>a c>b").fleet();
    let found = plan(&fleet, &Request::MoveUp { replica: key("c") }).unwrap();
    let mut world = seen(&fleet);
    let c = world.get_mut(&key("c")).unwrap();
    Arc::make_mut(&mut c.facts).channels[0].executed.position = 500;
    let Next::Refused(why) = found.units[0].script.next(1, &world) else { panic!("it goes on") };
    let told = "c:3306 has gone past b.000001:101 already: it is at b.000001:500";
    assert_eq!(why.to_string(), told);
    let Next::Refused(why) = found.units[0].script.next(4, &world) else { panic!("it goes on") };
    assert!(why.to_string().contains("should stand at b.000001:101"), "{why}");
}

#[test]
fn what_was_stopped_is_started_and_what_stood_stays() {
    // I9: whatever a plan stops and did not find stopped is named among its restarts.
    let text = "a b>a c>b d>b e>a";
    for by in BYS {
        for request in [
            relocate("c", "d"),
            relocate("c", "a"),
            relocate_replicas("b", "a"),
            Request::TakeSource { replica: key("c") },
            Request::TakeSiblings { replica: key("b") },
            Request::MakeCoPrimary { replica: key("b") },
            control("b", Control::Restart),
            control("b", Control::Delay(5)),
        ] {
            let fleet = servers(by, text).fleet();
            let plan = plan(&fleet, &request).unwrap();
            let mut stopped: Vec<InstanceKey> = Vec::new();
            for step in plan.preview(&seen(&fleet)).steps {
                match step.action {
                    Action::Stop(_) => stopped.push(step.key),
                    Action::Start(_) => stopped.retain(|key| *key != step.key),
                    _ => {}
                }
            }
            assert_eq!(stopped, [], "{request:?}, {by:?}");
        }
    }
    let stand = |it: &mut Facts| it.channels[0].receiver = ThreadState::Stopped;
    let fleet = servers(By::File, text).with("b", stand).fleet();
    let plan = plan(&fleet, &relocate("c", "a")).unwrap();
    assert_eq!(plan.units[0].restarts, [key("c")], "the source stood before");
}

#[test]
fn moving_twice_is_moving_once() {
    for by in BYS {
        let fleet = servers(by, "a b>a c>b d>b").fleet();
        let request = relocate("c", "d");
        let after = plan(&fleet, &request).unwrap().preview(&seen(&fleet)).after;
        let again = Servers(
            after.into_values().map(|it| (it.key.host().to_owned(), (*it.facts).clone())).collect(),
        );
        assert_eq!(moved(&again, &request), Ok("a b>a c>d d>b".to_owned()), "{by:?}");
        let shown = steps(&again.fleet(), &request);
        assert_eq!(shown.len(), 3, "stop, name the same source, start: {shown:?}");
    }
}

#[test]
fn errant_transactions_are_said_and_not_forbidden() {
    let own = format!("{}:1-100,{}:1-3", uuid(1), uuid(2));
    let servers = servers(By::Gtid, "a b>a c>b d>b")
        .with("c", |it| it.gtid.executed = Gtids::MySql(own.parse().unwrap()));
    let fleet = servers.fleet();
    let notes = plan(&fleet, &relocate("c", "d")).unwrap().notes;
    assert_eq!(
        notes,
        [format!("c:3306 has errant transactions that d:3306 may not have: {}:1-3", uuid(2))]
    );
    assert!(plan(&fleet, &relocate("d", "a")).unwrap().notes.is_empty());
}

#[test]
fn replicas_are_regrouped_below_the_one_that_has_everything() {
    let request = Request::RegroupReplicas { of: key("a") };
    let text = "a b>a c>a d>a";
    let has = |text: &str| {
        let set = Gtids::MySql(text.parse().unwrap());
        move |it: &mut Facts| it.gtid.executed = set
    };
    let (less, more) = (format!("{}:1-90", uuid(1)), format!("{}:1-110", uuid(1)));
    let other = format!("{}:1-100,{}:1", uuid(1), uuid(3));
    let behind = servers(By::Gtid, text).with("b", has(&less)).with("d", has(&more));
    let fleet = behind.fleet_where(Policy::default(), &["a"]);
    let found = plan(&fleet, &request).unwrap();
    assert_eq!(outcome(&fleet, &found), "a b>d c>d d>a");
    assert_eq!(found.message, "promoted replica: d:3306, lost: 0, trivial: 0, pseudo-gtid: 0");
    let diverged = servers(By::Gtid, text).with("b", has(&more)).with("d", has(&other));
    let fleet = diverged.fleet_where(Policy::default(), &["a"]);
    let why = plan(&fleet, &request).unwrap_err().to_string();
    assert!(why.starts_with("No replica of a:3306 can be above the others"), "I3: {why}");
    let why = moved(&servers(By::File, text), &request).unwrap_err();
    assert!(why.starts_with("No solution path found for a:3306"), "{why}");
}

#[test]
fn co_primaries_are_made_only_of_what_may_be_one() {
    let make = Request::MakeCoPrimary { replica: key("b") };
    let writable = servers(By::Gtid, "a b>a").with("b", |it| it.read_only = false);
    let told = moved(&writable, &make).unwrap_err();
    assert!(told.starts_with("instance b:3306 is not read-only"), "{told}");
    let told = moved(&servers(By::Gtid, "a>b b>a"), &make).unwrap_err();
    assert_eq!(told, "instance b:3306 is already co master of a:3306");
    let request = Request::MakeCoPrimary { replica: key("c") };
    let told = moved(&servers(By::Gtid, "a b>a c>b"), &request).unwrap_err();
    assert!(told.starts_with("master b:3306 already has a master: a:3306"), "{told}");
    let both = servers(By::Gtid, "a>b b>a c>a").with("b", |it| it.read_only = false);
    let told = moved(&both, &request).unwrap_err();
    assert!(told.contains("already has a co-master: b:3306, and it is writable"), "{told}");
    let both = servers(By::Gtid, "a>b b>a c>a");
    assert_eq!(moved(&both, &request), Ok("a>c b>a c>a".to_owned()));
}

#[test]
fn a_dead_source_does_not_keep_replicas_from_being_pointed_at_it() {
    let fleet = servers(By::File, "a b>a c>b").fleet_where(Policy::default(), &["b"]);
    let request = Request::Repoint { replica: key("c"), below: None };
    let found = plan(&fleet, &request).unwrap();
    assert!(found.units[0].is_source_dead);
    let unknown = Request::Repoint { replica: key("c"), below: Some(key("z")) };
    assert!(plan(&fleet, &unknown).unwrap().units[0].is_source_dead);
}

#[test]
fn one_server_does_as_it_is_told() {
    let delayed = |it: &mut Facts| it.channels[0].delay_seconds = 60;
    let stop_and = |rest: &str| format!("stop replication, {rest}");
    for (case, by, command, expected) in [
        ("start", By::Gtid, Control::Start, "start replication".to_owned()),
        ("stop", By::Gtid, Control::Stop, "stop replication".to_owned()),
        ("restart", By::Gtid, Control::Restart, stop_and("start replication")),
        ("reset", By::Gtid, Control::Reset, stop_and("forget the source")),
        ("detach", By::Gtid, Control::Detach, stop_and("detach from the source, reversibly")),
        (
            "leave GTID",
            By::Gtid,
            Control::DisableGtid,
            stop_and("replicate from a:3306, from a.000001:100 on, start replication"),
        ),
        (
            "nice",
            By::File,
            Control::StopNice,
            "start the applier, stop the receiver, wait until a.000001:100 of the source's log is \
             executed, at most 30 s, stop replication"
                .to_owned(),
        ),
        (
            "delay",
            By::Gtid,
            Control::Delay(5),
            stop_and("stay 5 s behind the source, start replication"),
        ),
        ("no more delay", By::Gtid, Control::Delay(0), String::new()),
        ("read-only", By::Gtid, Control::ReadOnly, "refuse writes".to_owned()),
        ("writable", By::Gtid, Control::Writable, "accept writes".to_owned()),
        ("flush", By::Gtid, Control::FlushLogs, "begin a new binary log".to_owned()),
        ("kill", By::Gtid, Control::KillQuery(7), "end connection 7".to_owned()),
    ] {
        let shown = steps(&servers(by, "a b>a").fleet(), &control("b", command));
        let shown: Vec<&str> = shown.iter().filter_map(|it| it.strip_prefix("b:3306: ")).collect();
        assert_eq!(shown.join(", "), expected, "{case}");
    }
    let fleet = servers(By::Gtid, "a b>a").with("b", delayed).fleet();
    let shown = steps(&fleet, &control("b", Control::StopNice));
    assert_eq!(shown, ["b:3306: stop replication"], "a delayed one is not waited for");
}

#[test]
fn acknowledging_is_told_to_the_source_by_connecting_again() {
    let can = |it: &mut Facts| it.semi_sync.available = true;
    let run = |servers: Servers| {
        let fleet = servers.with("b", can).fleet();
        let shown = steps(&fleet, &control("b", Control::SemiSyncReplica(Switch::On)));
        shown.join(", ").replace("b:3306: ", "")
    };
    let both = servers(By::Gtid, "a b>a");
    let told = "semi-sync as a replica: on, stop the receiver, start replication";
    assert_eq!(run(both), told);
    let stop = |it: &mut Facts| it.channels[0].applier = ThreadState::Stopped;
    let told = "semi-sync as a replica: on, stop the receiver, start the receiver";
    assert_eq!(run(servers(By::Gtid, "a b>a").with("b", stop)), told, "the applier stays stopped");
    let stop = |it: &mut Facts| {
        it.channels[0].applier = ThreadState::Stopped;
        it.channels[0].receiver = ThreadState::Stopped;
    };
    let told = "semi-sync as a replica: on";
    assert_eq!(run(servers(By::Gtid, "a b>a").with("b", stop)), told);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn one_server_is_refused_with_the_reason() {
    type Change = fn(&mut Facts);
    let nothing: Change = |_| {};
    let purge = |safety| Control::PurgeLogs { to: "latest".into(), safety };
    let cases: [(&str, By, &str, Change, Control, &str); 16] = [
        ("no replica", By::Gtid, "a", nothing, Control::Start, "instance is not a replica: a:3306"),
        ("not there", By::Gtid, "a", nothing, Control::Reset, "instance is not a replica: a:3306"),
        (
            "not detached",
            By::Gtid,
            "b",
            nothing,
            Control::Reattach,
            "instance does not seem to be detached: b:3306",
        ),
        ("has it", By::Gtid, "b", nothing, Control::EnableGtid, "b:3306 already uses GTID"),
        ("has it not", By::File, "b", nothing, Control::DisableGtid, "b:3306 is not using GTID"),
        (
            "cannot",
            By::File,
            "b",
            nothing,
            Control::EnableGtid,
            "Cannot enable GTID on b:3306: it and a:3306 must both have GTIDs switched on",
        ),
        (
            "runs",
            By::Gtid,
            "b",
            nothing,
            Control::RenewCredentials,
            "changeMasterToCredentials: cannot change credentials on b:3306 because replication is \
             running",
        ),
        (
            "applier runs",
            By::Gtid,
            "b",
            nothing,
            Control::SkipQuery,
            "Replication SQL thread is running on b:3306",
        ),
        (
            "nothing failed",
            By::Gtid,
            "b",
            |it| it.channels[0].applier = ThreadState::Stopped,
            Control::SkipQuery,
            "No SQL error on b:3306",
        ),
        (
            "no errant",
            By::Gtid,
            "b",
            nothing,
            Control::ErrantResetLogs,
            "gtid-errant-reset-master will not operate on b:3306 because no errant GTID is found",
        ),
        (
            "no errant to inject",
            By::Gtid,
            "b",
            nothing,
            Control::ErrantInjectEmpty,
            "gtid-errant-inject-empty will not operate on b:3306 because no errant GTID is found",
        ),
        (
            "no errant on MariaDB",
            By::File,
            "b",
            |it| it.version = crate::version::Version::parse("10.11.6-MariaDB", ""),
            Control::ErrantResetLogs,
            "gtid-errant-reset-master will not operate on b:3306 because no errant GTID is found",
        ),
        (
            "no GTID",
            By::File,
            "b",
            nothing,
            Control::ErrantResetLogs,
            "gtid-errant-reset-master requested for b:3306 but it is not using oracle-gtid",
        ),
        (
            "no semi-sync",
            By::Gtid,
            "b",
            nothing,
            Control::SemiSyncReplica(Switch::On),
            "semi-sync replication is not available on b:3306",
        ),
        (
            "a replica is behind",
            By::File,
            "a",
            |it| it.binlog.position.file = "a.000007".into(),
            purge(Safety::Checked),
            "Unsafe to purge binary logs on a:3306 up to a.000007 because replica b:3306 has only \
             reached a.000001:100",
        ),
        (
            "whatever replicas read",
            By::File,
            "a",
            |it| it.binlog.position.file = "a.000007".into(),
            purge(Safety::Overridden),
            "",
        ),
    ];
    for (case, by, name, change, command, expected) in cases {
        let told = moved(&servers(by, "a b>a").with(name, change), &control(name, command));
        assert_eq!(told.err().unwrap_or_default(), expected, "{case}");
    }
}

#[test]
fn detaching_is_undone_by_reattaching() {
    let fleet = servers(By::Gtid, "a b>a").fleet();
    let detached = plan(&fleet, &control("b", Control::Detach)).unwrap();
    assert_eq!(outcome(&fleet, &detached), "a b-?");
    let after = detached.preview(&seen(&fleet)).after;
    let facts = after.into_values().map(|it| (it.key.host().to_owned(), (*it.facts).clone()));
    let detached = Servers(facts.collect());
    let again = moved(&detached, &control("b", Control::Detach));
    assert_eq!(again, Err("instance already detached: b:3306".to_owned()));
    assert_eq!(moved(&detached, &control("b", Control::Reattach)), Ok("a b>a".to_owned()));
    let stopped = moved(&detached, &control("b", Control::Start));
    assert_eq!(stopped, Err("b:3306 is detached from its source".to_owned()));
}

/// A replica whose applier failed after it received `received`, with this error.
fn failed(received: &str, error: &str) -> Servers {
    let received = received.parse().unwrap();
    servers(By::Gtid, "a b>a").with("b", |it| {
        let channel = &mut it.channels[0];
        channel.applier = ThreadState::Stopped;
        channel.received = Gtids::MySql(received);
        channel.applier_error.text = error.to_owned();
    })
}

#[test]
fn the_transaction_that_failed_is_skipped_and_no_other() {
    let (one, two) = (uuid(1), uuid(2));
    let plain = "Error 'Duplicate entry' on query";
    let named = format!("Worker 1 failed executing transaction '{two}:5' at source log b.1");
    for (case, received, error, expected) in [
        ("the first that is missing", format!("{one}:90-120"), plain, Ok(format!("{one}:101"))),
        (
            "the one that is named",
            format!("{one}:90-120,{two}:3-9"),
            named.as_str(),
            Ok(format!("{two}:5")),
        ),
        ("of two origins", format!("{one}:90-120,{two}:3-9"), plain, Err(())),
        ("named but executed", format!("{one}:90-101"), named.as_str(), Ok(format!("{one}:101"))),
        ("nothing is missing", format!("{one}:90-100"), plain, Err(())),
    ] {
        let fleet = failed(&received, error).fleet();
        let found = plan(&fleet, &control("b", Control::SkipQuery));
        let injected = found.map_err(|_| ()).map(|plan| {
            let steps = plan.preview(&seen(&fleet)).steps;
            let injected = steps.iter().find_map(|step| match &step.action {
                Action::InjectEmpty(set) => Some(set.to_string()),
                _ => None,
            });
            injected.unwrap_or_default()
        });
        assert_eq!(injected, expected, "{case}");
    }
}

#[test]
fn errant_transactions_are_dropped_or_made_known() {
    let own = format!("{}:1-100,{}:1-3", uuid(1), uuid(2));
    let has_own = |it: &mut Facts| it.gtid.executed = Gtids::MySql(own.parse().unwrap());
    let fleet = servers(By::Gtid, "a b>a").with("b", has_own).fleet();
    let dropped = steps(&fleet, &control("b", Control::ErrantResetLogs));
    assert_eq!(
        dropped,
        [
            "b:3306: stop replication".to_owned(),
            format!("b:3306: reset binary logs, with {}:1-100 as purged", uuid(1)),
            "b:3306: start replication".to_owned(),
        ]
    );
    let injected = plan(&fleet, &control("b", Control::ErrantInjectEmpty)).unwrap();
    assert_eq!(injected.message, "Have injected 3 transactions on cluster master a:3306");
    let shown = injected.preview(&seen(&fleet)).steps[0].to_string();
    assert_eq!(shown, format!("a:3306: execute nothing as {}:1-3", uuid(2)));
    let has_own = |it: &mut Facts| it.gtid.executed = Gtids::MySql(own.parse().unwrap());
    let above = servers(By::Gtid, "a b>a c>b").with("b", has_own);
    let told = moved(&above, &control("b", Control::ErrantResetLogs)).unwrap_err();
    assert!(told.contains("because it has 1 replicas"), "{told}");
}

#[test]
fn plans_name_every_server_they_touch_and_lock_those_they_move() {
    let fleet = servers(By::File, "a b>a c>b d>b").fleet();
    for (request, locked) in [
        (relocate("c", "d"), "c d"),
        (Request::MoveUp { replica: key("c") }, "b c"),
        (relocate_replicas("b", "a"), "b c d"),
        (control("c", Control::Detach), "c"),
        (control("c", Control::Stop), ""),
    ] {
        let plan = plan(&fleet, &request).unwrap();
        let names: Vec<&str> = plan.locked.iter().map(|key| key.host()).collect();
        assert_eq!(names.join(" "), locked, "{request:?}");
        let touched = plan.touched();
        let preview = plan.preview(&seen(&fleet));
        assert!(preview.steps.iter().all(|step| touched.contains(&step.key)), "{request:?}");
    }
}

#[test]
fn a_change_of_source_keeps_gtid_where_it_is_used() {
    for by in [By::Gtid, By::MariaDbGtid] {
        let fleet = servers(by, "a b>a c>b d>b").fleet();
        for request in [
            relocate("c", "a"),
            relocate("c", "d"),
            Request::MoveUp { replica: key("c") },
            Request::TakeSource { replica: key("c") },
            relocate_replicas("b", "a"),
        ] {
            for step in plan(&fleet, &request).unwrap().preview(&seen(&fleet)).steps {
                if let Action::ChangeSource { place, .. } = step.action {
                    assert!(
                        matches!(place, action::Place::Same | action::Place::Gtid),
                        "{request:?} {by:?}"
                    );
                }
            }
        }
    }
    let waits = MovePolicy::default().catch_up;
    assert_eq!(waits, Duration::from_secs(30));
    assert_eq!(words(&Action::Stop(Threads::Applier)), "stop the applier");
}

#[test]
fn every_plan_that_locks_says_what_to_do_if_nobody_ends_it() {
    let errant = format!("{}:1-100,{}:1", uuid(1), uuid(2));
    let fleet = servers(By::Gtid, "a b>a c>b d>b e>a")
        .with("d", |it| it.gtid.executed = Gtids::MySql(errant.parse().unwrap()))
        .fleet();
    let (start, leave) = (Some(Unfinished::StartAgain), Some(Unfinished::LeaveAsIs));
    for (request, expected) in [
        (relocate("c", "d"), start),
        (relocate_replicas("b", "a"), start),
        (Request::RegroupReplicas { of: key("b") }, start),
        (Request::MoveUp { replica: key("c") }, start),
        (Request::MoveUpReplicas { of: key("b"), only: None }, start),
        (Request::MoveBelow { replica: key("c"), sibling: key("d") }, start),
        (Request::MoveBelowGtid { replica: key("c"), below: key("d") }, start),
        (Request::Repoint { replica: key("c"), below: None }, start),
        (Request::RepointReplicas { of: key("b"), only: None }, start),
        (Request::TakeSiblings { replica: key("c") }, start),
        (Request::TakeSource { replica: key("c") }, start),
        (Request::MakeCoPrimary { replica: key("e") }, start),
        (control("c", Control::DisableGtid), start),
        (control("c", Control::Detach), leave),
        (control("c", Control::Reset), leave),
        (control("d", Control::ErrantResetLogs), leave),
    ] {
        let plan = plan(&fleet, &request).unwrap();
        assert!(!plan.locked.is_empty(), "{request:?}");
        assert_eq!(unfinished(&plan.reason()), expected, "{request:?}");
    }
    for reason in ["", "a new disk", "relocate-below", "relocate-below me", "rest db1:3306"] {
        assert_eq!(unfinished(reason), None, "{reason:?} is somebody's own");
    }
}

#[test]
fn a_server_that_lost_its_set_is_not_started() {
    let fleet = servers(By::Gtid, "a b>a").fleet();
    let script = Script::DropErrant { key: key("b"), errant: Default::default() };
    let mut world = seen(&fleet);
    assert_eq!(script.may_start(&world, &key("b")), Ok(()));
    let b = world.get_mut(&key("b")).unwrap();
    Arc::make_mut(&mut b.facts).gtid.executed = Gtids::MySql(Default::default());
    assert!(script.may_start(&world, &key("b")).is_err());
    let other = Script::Steps(Vec::new());
    assert_eq!(other.may_start(&world, &key("b")), Ok(()));
}

#[test]
fn mariadb_replicas_go_only_below_who_got_as_far() {
    let at = |position: &str| {
        let executed = Gtids::MariaDb(position.parse().unwrap());
        move |it: &mut Facts| it.gtid.executed = executed
    };
    let text = "a b>a c>a";
    let behind = servers(By::MariaDbGtid, text).with("c", at("0-1-90")).fleet();
    assert_eq!(
        steps(&behind, &relocate("b", "c")),
        [
            "b:3306: stop replication",
            "c:3306: wait until 0-1-100 is executed, at most 30 s",
            "b:3306: replicate from c:3306, by GTID",
            "b:3306: start replication",
        ]
    );
    let own = servers(By::MariaDbGtid, "a b>a c>b").with("c", at("0-1-100,1-9-1")).fleet();
    let plan = plan(&own, &relocate("c", "a")).unwrap();
    assert_eq!(
        plan.preview(&seen(&own)).left_out.values().next().map(String::as_str),
        Some("a:3306 lacks transactions that c:3306 has: 0-1-100,1-9-1")
    );
}

#[test]
fn no_move_throws_away_what_only_a_relay_log_has() {
    let received = |it: &mut Facts| {
        it.gtid.replicated = "0-1-100".parse().unwrap();
        it.channels[0].received = Gtids::MariaDb("0-1-105".parse().unwrap());
    };
    let at = |position: &'static str| {
        move |it: &mut Facts| it.gtid.replicated = position.parse().unwrap()
    };
    for (case, dead, other_has, is_refused) in [
        ("its source sends it again", vec![], "0-1-100", false),
        ("nobody has it", vec!["a"], "0-1-100", true),
        ("the next source has it", vec!["a"], "0-1-105", false),
    ] {
        let servers = servers(By::MariaDbGtid, "a b>a c>a").with("b", received);
        let fleet = servers.with("c", at(other_has)).fleet_where(Policy::default(), &dead);
        let told = plan(&fleet, &relocate("b", "c")).map(|_| ()).map_err(|why| why.to_string());
        let is_told = told.as_ref().is_err_and(|it| it.contains("throws it away"));
        assert_eq!(is_told, is_refused, "{case}: {told:?}");
    }
}

#[test]
fn a_cluster_that_is_being_recovered_is_left_alone() {
    use crate::recovery::gate::{Runner, supposed};
    let mut fleet = servers(By::Gtid, "a b>a c>a").fleet();
    let runner = Runner { uid: "1".into(), node: "n".into(), token: "t".into() };
    let recovery = supposed(&key("a"), &fleet, &runner, fleet.at).unwrap();
    let command = crate::ledger::Command::BeginRecovery { recovery: Arc::new(recovery.clone()) };
    let (ledger, _) = crate::ledger::apply(&fleet.ledger, &command).unwrap();
    let ended = crate::recovery::Recovery { id: 1, ended_at: Some(fleet.at), ..recovery };
    let command = crate::ledger::Command::UpdateRecovery { recovery: Arc::new(ended) };
    let (after, _) = crate::ledger::apply(&ledger, &command).unwrap();
    fleet.ledger = Arc::new(ledger);
    for (request, is_left_alone) in [
        (relocate("b", "c"), true),
        (control("b", Control::Writable), true),
        (control("b", Control::Detach), true),
        (control("b", Control::Start), false),
        (control("b", Control::ReadOnly), false),
    ] {
        let told = plan(&fleet, &request).err().map(|why| why.to_string());
        let is_refused =
            told.is_some_and(|why| why.contains("is in a cluster that is being recovered"));
        assert_eq!(is_refused, is_left_alone, "{request:?}");
    }
    fleet.ledger = Arc::new(after);
    assert!(plan(&fleet, &relocate("b", "c")).is_ok(), "it has ended");
}

#[test]
fn a_second_writable_server_is_told_of() {
    let fleet = servers(By::Gtid, "a b>a").fleet();
    let notes = plan(&fleet, &control("b", Control::Writable)).unwrap().notes;
    assert_eq!(notes, ["also writable in its cluster: a:3306"]);
    assert!(plan(&fleet, &control("a", Control::Writable)).unwrap().notes.is_empty());
}

#[test]
fn places_that_are_known_to_be_the_same_carry_a_replica_over() {
    // d and e are far apart: only what was learned leads there.
    let fleet = servers(By::File, "a b>a c>a d>b e>c").fleet();
    let request = Request::MoveEquivalent { replica: key("d"), below: key("e") };
    let told = plan(&fleet, &request).unwrap_err().to_string();
    let expected = "No equivalent coordinates found for d:3306 replicating from b:3306 at \
                    b.000001:101";
    assert_eq!(told, expected);

    let mut known = Equivalences::default();
    let at = |name: &str, position| Place {
        key: key(name),
        at: BinlogCoordinates::new(format!("{name}.000001"), position),
    };
    let now = fleet.at;
    known.note(at("b", 101), at("a", 77), now);
    known.note(at("e", 5), at("a", 77), now);
    known.note(at("b", 101), at("a", 77), now);
    assert_eq!(known.of(&at("b", 101), now).len(), 2);
    assert_eq!(known.of(&at("b", 102), now).len(), 0);
    let later = now.plus(Duration::from_secs(3_601));
    assert_eq!(known.of(&at("b", 101), later).len(), 0, "it is too long ago");
    let found = super::plan(&fleet, &known, &request).unwrap();
    let shown: Vec<String> =
        found.preview(&seen(&fleet)).steps.iter().map(ToString::to_string).collect();
    assert_eq!(shown[1], "d:3306: replicate from e:3306, from e.000001:5 on", "{request:?}");
    let mut moved_on = seen(&fleet);
    let d = moved_on.get_mut(&key("d")).unwrap();
    Arc::make_mut(&mut d.facts).channels[0].executed.position += 1;
    let next = found.units[0].script.next(1, &moved_on);
    assert!(matches!(next, Next::Refused(_)), "it stands elsewhere: {next:?}");
    let reset = Step::new(&key("a"), Action::ResetBinaryLogs { purged: Default::default() });
    known.learn(&[reset], &seen(&fleet), &fleet.names, now);
    assert_eq!(known.of(&at("b", 101), now).len(), 0, "a counts from the beginning again");
}

#[test]
fn moves_by_file_and_position_teach_which_places_are_the_same() {
    let fleet = servers(By::File, "a b>a c>b d>b").fleet();
    let mut known = Equivalences::default();
    let found = plan(&fleet, &relocate("c", "a")).unwrap();
    let world = seen(&fleet);
    known.learn(&found.preview(&world).steps, &world, &fleet.names, fleet.at);
    let stood = Place { key: key("b"), at: BinlogCoordinates::new("b.000001", 101) };
    let same = known.of(&stood, fleet.at);
    assert_eq!(same.get(&key("a")), Some(&BinlogCoordinates::new("a.000001", 100)));
    let request = Request::MoveEquivalent { replica: key("d"), below: key("a") };
    assert!(super::plan(&fleet, &known, &request).is_ok(), "d stands where c stood");
}

mod properties;
