use proptest::prelude::*;

use super::*;
use crate::action::Threads;
use crate::gtid::Gtids;
use crate::instance::{Facts, SourceLink};
use crate::ledger::Downtime;
use crate::recovery::gate::{Request, Runner, begin};
use crate::recovery::{Cause, Chain, Fencing, Hooks, Loss, Need, Stage};
use crate::testing::{answered, key, primary_facts, refused, replica_facts};
use crate::version::Version;

mod channels;

fn empty() -> FleetSnapshot {
    FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH)
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn probed(fleet: &FleetSnapshot, secs: i64, servers: &[(&str, Facts)]) -> Advance {
    let inputs = servers
        .iter()
        .map(|(name, facts)| FleetInput::Probed(answered(name, secs, facts.clone())))
        .collect();
    advance(fleet, inputs, at(secs))
}

fn replica(source: &str) -> Facts {
    replica_facts(&key(source))
}

fn aliased(alias: &str, mut facts: Facts) -> Facts {
    facts.suggested_cluster_alias = alias.into();
    facts
}

fn shape(fleet: &FleetSnapshot) -> Vec<String> {
    fleet
        .clusters
        .values()
        .map(|cluster| {
            let members: Vec<&str> = cluster.members.keys().map(|key| key.host()).collect();
            format!(
                "{} {} {}: {}",
                cluster.id,
                cluster.head.host(),
                cluster.alias,
                members.join(" ")
            )
        })
        .collect()
}

#[test]
fn replicas_found_before_their_source_end_up_in_its_cluster() {
    let fleet = probed(&empty(), 1, &[("b", replica("a")), ("c", replica("a"))]).snapshot;
    assert_eq!(fleet.clusters.size(), 2);
    let fleet = probed(&fleet, 2, &[("a", primary_facts())]).snapshot;
    assert_eq!(shape(&fleet), ["a:3306 a a:3306: a b c"]);
    assert!(fleet.awaited.is_empty(), "nobody waits any more");
}

#[test]
fn a_failover_keeps_identity_and_alias_with_the_new_primary() {
    let star = [("a", primary_facts()), ("b", replica("a")), ("c", replica("a"))];
    let star = star.map(|(name, facts)| (name, aliased("shop", facts)));
    let fleet = probed(&empty(), 1, &star).snapshot;
    assert_eq!(shape(&fleet), ["a:3306 a shop: a b c"]);

    let died = advance(&fleet, vec![FleetInput::Probed(refused("a", 2))], at(2)).snapshot;
    assert_eq!(shape(&died), ["a:3306 a shop: a b c"], "a dead server moves no alias");

    let promoted = [("b", primary_facts()), ("c", replica("b"))];
    let promoted = promoted.map(|(name, facts)| (name, aliased("shop", facts)));
    let after = probed(&died, 3, &promoted).snapshot;
    assert_eq!(shape(&after), ["a:3306 b shop: b c", "a:3306#2 a a:3306: a"]);
    assert_eq!(after.cluster_named("shop").unwrap().head, key("b"));
    assert_eq!(after.cluster_named("a:3306").unwrap().head, key("a"));

    let back = probed(&after, 4, &[("a", aliased("shop", primary_facts()))]).snapshot;
    assert_eq!(back.cluster_named("shop").unwrap().head, key("b"), "it does not jump back");
    let rejoined = probed(&back, 5, &[("a", aliased("shop", replica("b")))]).snapshot;
    assert_eq!(shape(&rejoined), ["a:3306 b shop: a b c"]);
}

#[test]
fn an_alias_goes_to_the_next_claimant_when_its_bearer_gives_it_up() {
    let two = [("a", aliased("shop", primary_facts())), ("b", aliased("shop", primary_facts()))];
    let fleet = probed(&empty(), 1, &two).snapshot;
    assert_eq!(shape(&fleet), ["a:3306 a shop: a", "b:3306 b b:3306: b"]);
    let fleet = probed(&fleet, 2, &[("a", aliased("other", primary_facts()))]).snapshot;
    assert_eq!(shape(&fleet), ["a:3306 a other: a", "b:3306 b shop: b"]);
}

#[test]
fn an_alias_that_people_gave_goes_before_what_servers_say() {
    let fleet = probed(&empty(), 1, &[("a", aliased("shop", primary_facts()))]).snapshot;
    let mut ledger = LedgerState::default();
    ledger.cluster_aliases.insert_mut(ClusterId::new("a:3306"), "store".into());
    let inputs = vec![FleetInput::Ledger(Arc::new(ledger))];
    let advance = advance(&fleet, inputs, at(2));
    assert_eq!(shape(&advance.snapshot), ["a:3306 a store: a"]);
    assert!(advance.snapshot.cluster_named("shop").is_none());
}

#[test]
fn only_clusters_that_something_happened_to_are_rebuilt() {
    let fleet = probed(&empty(), 1, &[("a", primary_facts()), ("x", primary_facts())]).snapshot;
    let after = probed(&fleet, 2, &[("a", primary_facts())]);
    assert_eq!(after.touched, [ClusterId::new("a:3306")]);
    let id = ClusterId::new("x:3306");
    let shared = Arc::ptr_eq(fleet.cluster(&id).unwrap(), after.snapshot.cluster(&id).unwrap());
    assert!(shared);
    assert_eq!(after.snapshot.generation, fleet.generation + 1);
}

#[test]
fn news_tell_what_is_different() {
    let star = [("a", primary_facts()), ("b", replica("a"))];
    let first = probed(&empty(), 1, &star);
    assert_eq!(first.news, [News::InstanceFound(key("a")), News::InstanceFound(key("b"))]);
    let same = probed(&first.snapshot, 2, &star);
    assert_eq!(same.news, []);

    let mut stopped = replica("a");
    stopped.channels[0].receiver = Default::default();
    let inputs =
        vec![FleetInput::Probed(refused("a", 3)), FleetInput::Probed(answered("b", 3, stopped))];
    let died = advance(&same.snapshot, inputs, at(3));
    let [News::ProblemChanged { analysis, before, .. }] = &died.news[..] else {
        panic!("one problem: {:?}", died.news)
    };
    assert_eq!((analysis.code, *before), (Code::DeadPrimary, Code::NoProblem));
    assert_eq!(analysis.since, at(3));

    let back = probed(&died.snapshot, 4, &star);
    assert_eq!(
        back.news,
        [News::ProblemVanished {
            cluster: ClusterId::new("a:3306"),
            key: key("a"),
            before: Code::DeadPrimary
        }]
    );
    let gone = advance(&back.snapshot, vec![FleetInput::Forgotten(vec![key("b")])], at(5));
    assert_eq!(gone.news, [News::InstanceLost(key("b"))]);
    assert!(gone.snapshot.instance(&key("b")).is_none());
}

#[test]
fn a_forgotten_instance_stays_forgotten_until_its_time_is_over() {
    let fleet = probed(&empty(), 1, &[("a", primary_facts())]).snapshot;
    let mut ledger = LedgerState::default();
    ledger.forgotten.insert_mut(key("a"), at(10));
    let inputs = vec![FleetInput::Ledger(Arc::new(ledger)), FleetInput::Forgotten(vec![key("a")])];
    let fleet = advance(&fleet, inputs, at(2)).snapshot;
    let late = probed(&fleet, 3, &[("a", primary_facts())]).snapshot;
    assert_eq!(late.instance_count(), 0);
    let later = probed(&late, 10, &[("a", primary_facts())]).snapshot;
    assert_eq!(later.instance_count(), 1);
}

#[test]
fn the_end_of_a_downtime_is_noticed_without_a_probe() {
    let fleet = probed(&empty(), 1, &[("a", primary_facts()), ("b", replica("a"))]).snapshot;
    let fleet = advance(&fleet, vec![FleetInput::Probed(refused("a", 2))], at(2)).snapshot;
    let mut ledger = LedgerState::default();
    let downtime =
        Downtime { owner: "o".into(), reason: "r".into(), begins_at: at(2), ends_at: at(60) };
    ledger.downtimes.insert_mut(key("a"), downtime);
    let fleet = advance(&fleet, vec![FleetInput::Ledger(Arc::new(ledger))], at(3)).snapshot;
    let skippable = |fleet: &FleetSnapshot| {
        fleet.clusters.values().next().unwrap().analyses[0].skippable_due_to_downtime
    };
    assert!(skippable(&fleet));
    assert_eq!(recheck_at(&fleet), Some(at(60)));
    let fleet = advance(&fleet, Vec::new(), at(60)).snapshot;
    assert!(!skippable(&fleet));
    assert_eq!(recheck_at(&fleet), None);
}

#[test]
fn who_is_ignored_is_not_waited_for() {
    let star = [("a", primary_facts()), ("b", replica("a")), ("c", replica("a"))];
    let fleet = probed(&empty(), 1, &star).snapshot;
    let ignoring = Policy {
        discovery_ignore: crate::filter::HostFilters {
            patterns: vec![regex::Regex::new("^c").unwrap()],
        },
        ..Policy::default()
    };
    let reloaded = advance(&fleet, vec![FleetInput::Policy(Arc::new(ignoring.clone()))], at(2));
    assert_eq!(shape(&reloaded.snapshot), ["a:3306 a a:3306: a b"]);
    assert_eq!(reloaded.news, [News::InstanceLost(key("c"))]);
    let late = probed(&reloaded.snapshot, 3, &[("c", replica("a"))]);
    assert_eq!(late.snapshot.instance_count(), 2, "a probe under way brings it not back");

    let restored = fleet.members().map(|(cluster, member)| {
        let mut instance = (*member.instance).clone();
        instance.health.status = Default::default();
        (instance, cluster.id.clone())
    });
    let restored = FleetInput::Restored(restored.collect());
    let start = FleetSnapshot::empty(Arc::new(ignoring), Arc::default(), at(4));
    let restarted = advance(&start, vec![restored], at(4)).snapshot;
    let mut stopped = replica("a");
    stopped.channels[0].receiver = Default::default();
    let inputs =
        vec![FleetInput::Probed(refused("a", 5)), FleetInput::Probed(answered("b", 5, stopped))];
    let judged = advance(&restarted, inputs, at(5)).snapshot;
    let code = judged.clusters.values().flat_map(|it| &it.analyses).map(|it| it.code).next();
    assert_eq!(code, Some(Code::DeadPrimary), "the ignored replica holds nothing up");
}

const OLD: &str = "11111111-1111-1111-1111-111111111111";
const NEW: &str = "22222222-2222-2222-2222-222222222222";

fn executed(mut facts: Facts, own: &str, set: &str) -> Facts {
    facts.server_uuid = Some(own.parse().unwrap());
    facts.gtid.executed = Gtids::MySql(set.parse().unwrap());
    facts
}

fn errant_of(fleet: &FleetSnapshot, name: &str) -> String {
    let (_, member) = fleet.member(&key(name)).unwrap();
    member.errant_text()
}

#[test]
fn errant_is_only_what_a_later_look_at_the_source_does_not_show() {
    let source = |set: &str| executed(primary_facts(), OLD, set);
    let below = |set: &str| executed(replica("a"), NEW, set);
    let third = "33333333-3333-3333-3333-333333333333";
    let more = format!("{OLD}:1-9,{third}:1");

    let fleet = probed(&empty(), 10, &[("a", source(&format!("{OLD}:1-5")))]).snapshot;
    let fleet = probed(&fleet, 12, &[("b", below(&more))]).snapshot;
    assert_eq!(errant_of(&fleet, "b"), "", "the source was looked at before");
    let shown = probed(&fleet, 14, &[("a", source(&more))]).snapshot;
    assert_eq!(errant_of(&shown, "b"), "", "the source had it all along");
    let missing = probed(&fleet, 14, &[("a", source(&format!("{OLD}:1-9")))]).snapshot;
    assert_eq!(errant_of(&missing, "b"), format!("{third}:1"), "the source does not have it");
    let seen_again = probed(&missing, 16, &[("b", below(&more))]).snapshot;
    assert_eq!(errant_of(&seen_again, "b"), format!("{third}:1"), "it stays errant");
    let cured = probed(&seen_again, 17, &[("a", source(&more))]).snapshot;
    assert_eq!(errant_of(&cured, "b"), "");
}

#[test]
fn what_a_dead_source_wrote_last_is_not_errant() {
    let fleet = [
        ("a", executed(primary_facts(), OLD, &format!("{OLD}:1-5"))),
        ("b", executed(replica("a"), NEW, &format!("{OLD}:1-5"))),
    ];
    let fleet = probed(&empty(), 10, &fleet).snapshot;
    let later = executed(replica("a"), NEW, &format!("{OLD}:1-8"));
    let inputs =
        vec![FleetInput::Probed(refused("a", 12)), FleetInput::Probed(answered("b", 12, later))];
    let fleet = advance(&fleet, inputs, at(12)).snapshot;
    assert_eq!(errant_of(&fleet, "b"), "");
}

#[test]
fn own_writes_of_a_replica_are_errant_and_those_of_a_co_primary_are_not() {
    let source = executed(primary_facts(), OLD, &format!("{OLD}:1-5"));
    let below = executed(replica("a"), NEW, &format!("{OLD}:1-5,{NEW}:1"));
    let fleet = probed(&empty(), 10, &[("b", below.clone())]).snapshot;
    let fleet = probed(&fleet, 12, &[("a", source.clone())]).snapshot;
    assert_eq!(errant_of(&fleet, "b"), format!("{NEW}:1"));
    let ring = Facts { channels: replica("b").channels, ..source };
    let fleet = probed(&fleet, 14, &[("a", ring)]).snapshot;
    assert_eq!(errant_of(&fleet, "b"), "");
}

/// A server of MariaDB that logged and applied this.
fn mariadb(mut facts: Facts, server_id: u32, logged_by: &str, replicated: &str) -> Facts {
    facts.version = Version::parse("10.11.14-MariaDB", "");
    facts.server_id = server_id;
    facts.gtid.logged_by = logged_by.parse().unwrap();
    facts.gtid.replicated = replicated.parse().unwrap();
    facts
}

#[test]
fn what_a_replica_of_mariadb_wrote_under_its_own_server_id_is_errant() {
    let third = |logged: &str| mariadb(replica("a"), 3, logged, "0-1-5");
    for (case, source, below, beside, expected) in [
        ("nothing", "0-1-5", "0-1-5", "0-1-5", ""),
        ("it wrote a little", "0-1-9", "0-1-5,0-2-6", "0-1-5", "0-2-6"),
        ("the source wrote on", "0-1-99", "0-1-5,0-2-6", "0-1-5", "0-2-6"),
        ("in a domain of its own", "1-1-9", "1-1-5,2-2-1", "1-1-5", "2-2-1"),
        ("it was primary once", "0-1-9,0-2-6", "0-1-5,0-2-6", "0-1-5", ""),
        ("it was, and wrote one more", "0-1-9,0-2-6", "0-1-5,0-2-7", "0-1-5", "0-2-7"),
        ("it was, before the logs of its source were emptied", "0-1-9", "0-2-6", "0-2-6", ""),
        (
            "it was, before the backup that its source was made of",
            "0-1-81",
            "0-2-50,0-1-80",
            "0-1-81",
            "",
        ),
        ("the source tells nothing", "", "0-1-5,0-2-6", "", ""),
        ("what others wrote", "0-1-9", "0-1-5,0-7-7", "0-1-5", ""),
    ] {
        let look = |fleet: &FleetSnapshot, secs, name: &str, facts| {
            probed(fleet, secs, &[(name, facts)]).snapshot
        };
        let fleet = look(&empty(), 10, "a", mariadb(primary_facts(), 1, source, ""));
        let fleet = look(&fleet, 12, "c", third(beside));
        let fleet = look(&fleet, 12, "b", mariadb(replica("a"), 2, below, "0-1-5"));
        assert_eq!(errant_of(&fleet, "b"), "", "{case}: the source was looked at before");
        let fleet = look(&fleet, 14, "a", mariadb(primary_facts(), 1, source, ""));
        assert_eq!(errant_of(&fleet, "b"), expected, "{case}");
        let fleet = look(&fleet, 16, "b", mariadb(replica("a"), 2, below, "0-1-5"));
        assert_eq!(errant_of(&fleet, "b"), expected, "{case}: it stays so");
    }
}

#[test]
fn what_a_co_primary_of_mariadb_wrote_is_not_errant() {
    let ring = |source: &str, id| mariadb(replica(source), id, &format!("0-1-5,0-{id}-9"), "");
    let fleet = probed(&empty(), 10, &[("b", ring("a", 2))]).snapshot;
    let fleet = probed(&fleet, 12, &[("a", ring("b", 1))]).snapshot;
    assert_eq!(errant_of(&fleet, "b"), "");
    assert_eq!(errant_of(&fleet, "a"), "");
}

proptest! {
    /// However probes, deaths and re-pointing follow each other, the indices agree.
    #[test]
    fn the_indices_agree_after_any_history(steps in prop::collection::vec((0_usize..6, 0_usize..8), 1..60)) {
        let name = |n: usize| format!("h{n}");
        let mut fleet = empty();
        for (n, (server, what)) in steps.into_iter().enumerate() {
            let secs = i64::try_from(n).unwrap() + 1;
            let server = name(server);
            let input = match what {
                6 => FleetInput::Probed(refused(&server, secs)),
                7 => FleetInput::Forgotten(vec![key(&server)]),
                source => {
                    let mut facts = replica(&name(source));
                    if source == 5 {
                        facts.channels[0].source = SourceLink::None;
                    }
                    FleetInput::Probed(answered(&server, secs, facts))
                }
            };
            fleet = advance(&fleet, vec![input], at(secs)).snapshot;
            let in_clusters: usize = fleet.clusters.values().map(|it| it.members.len()).sum();
            prop_assert_eq!(in_clusters, fleet.instance_count());
            for (cluster, member) in fleet.members() {
                prop_assert_eq!(fleet.cluster_of.get(member.key()), Some(&cluster.id));
                prop_assert!(cluster.members.contains_key(&cluster.head));
                if let Some(source) = &member.source {
                    let known = fleet.cluster_of.get(source);
                    prop_assert!(known.is_none() || known == Some(&cluster.id));
                    let waits = fleet.awaited.get(source).is_some_and(|ids| ids.contains(&cluster.id));
                    prop_assert_eq!(waits, known.is_none());
                }
            }
        }
    }
}

#[test]
fn what_another_node_saw_is_taken_in_where_own_eyes_do_not_say_otherwise() {
    let told = |uptime_seconds, secs| {
        FleetInput::Relayed(answered("db1", secs, Facts { uptime_seconds, ..primary_facts() }))
    };
    let after = |inputs: Vec<FleetInput>| {
        let fleet = advance(&empty(), inputs, at(100)).snapshot;
        let instance = fleet.instance(&key("db1")).cloned();
        instance.map(|it| (it.is_valid(), it.facts.uptime_seconds, it.health.is_hearsay()))
    };
    let own = || FleetInput::Probed(answered("db1", 10, primary_facts()));
    let lost = || FleetInput::Probed(refused("db1", 20));
    let gone = || FleetInput::Relayed(refused("db1", 30));
    for (case, inputs, expected) in [
        ("it is not known here", vec![told(7, 30)], None),
        ("it is newer", vec![own(), told(7, 30)], Some((true, 7, true))),
        ("it is older", vec![own(), told(7, 5)], Some((true, 0, false))),
        ("own looks go on", vec![own(), told(7, 19), lost()], Some((false, 7, false))),
        ("own eyes say otherwise", vec![own(), lost(), told(7, 30)], Some((false, 0, false))),
        ("a failure is believed when it was seen", vec![own(), gone()], Some((true, 0, false))),
    ] {
        assert_eq!(after(inputs), expected, "case: {case}");
    }
}

/// A recovery that replaces `p`, as it begins.
fn failover(fleet: &FleetSnapshot) -> Recovery {
    let cause = Cause::ForcedFailover;
    let request = Request {
        key: key("p"),
        cause,
        wanted: None,
        hooks: Hooks::Skip,
        fencing: Fencing::Required,
    };
    let runner = Runner { uid: "x".into(), node: "n".into(), token: "t".into() };
    Recovery { id: 1, ..begin(&request, fleet, &runner, at(11)).unwrap() }
}

/// What is stored is some seconds old: of `b` and `c` it tells that they follow `p` still.
#[test]
fn after_a_restart_an_alias_stays_with_the_primary_that_replaced_another() {
    let names = ["p", "a", "b", "c"];
    let facts = |name: &str| match name {
        "p" => primary_facts(),
        _ => replica("p"),
    };
    let servers = names.map(|name| (name, aliased("shop", facts(name))));
    let fleet = probed(&empty(), 10, &servers).snapshot;
    let done = Recovery {
        successor: Some(key("a")),
        ended_at: Some(at(12)),
        phase: crate::recovery::Phase::Ended(crate::recovery::End::Done),
        ..failover(&probed(&empty(), 10, &servers[..2]).snapshot)
    };
    let recoveries = LedgerState::default().recoveries.insert(1, Arc::new(done));
    let ledger = LedgerState { recoveries, ..LedgerState::default() };
    let restored = names.map(|name| {
        let id = if name == "p" { "p:3306#2" } else { "p:3306" };
        let mut instance = Instance::clone(fleet.instance(&key(name)).unwrap());
        instance.health.status = crate::instance::HealthStatus::Unprobed;
        (instance, ClusterId::new(id))
    });
    let began = FleetSnapshot::empty(Arc::default(), Arc::new(ledger), at(15));
    let fleet = advance(&began, vec![FleetInput::Restored(restored.into())], at(15)).snapshot;
    assert_eq!(fleet.cluster_named("shop").unwrap().head, key("a"));
}

/// Whoever dies right after it was opened is a primary that died, though nobody saw it as one.
#[test]
fn who_was_opened_is_a_primary_before_it_is_seen_as_one() {
    let fleet = probed(&empty(), 10, &[("p", primary_facts()), ("a", replica("p"))]).snapshot;
    let opening = |action: Action, successor: Option<&str>| {
        let begun = failover(&fleet);
        let chain = Chain { on: key("a"), actions: vec![action], need: Need::Must };
        let plan = Plan {
            successor: key("a"),
            why: Vec::new(),
            prepare: Vec::new(),
            open: Stage { chains: vec![chain] },
            gather: Stage::default(),
            lost: Vec::new(),
            loss: Loss::default(),
        };
        Recovery { id: 1, plan: Some(plan), successor: successor.map(key), ..begun }
    };
    let told = |action: Action| {
        let ledger = |recovery: Recovery| {
            let recoveries = LedgerState::default().recoveries.insert(1, Arc::new(recovery));
            FleetInput::Ledger(Arc::new(LedgerState { recoveries, ..LedgerState::default() }))
        };
        let before = ledger(opening(action.clone(), None));
        let fleet = advance(&fleet, vec![before], at(12)).snapshot;
        let after = ledger(opening(action, Some("a")));
        let fleet = advance(&fleet, vec![after], at(13)).snapshot;
        let a = fleet.instance(&key("a")).unwrap();
        (a.facts.source().cloned(), a.facts.read_only)
    };
    assert_eq!(told(Action::ForgetSource), (None, false));
    let (source, _) = told(Action::Start(Threads::Receiver));
    assert_eq!(source, Some(key("p")), "a co-primary goes on following");
}
