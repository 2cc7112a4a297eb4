use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::analysis::Evidence;
use crate::filter::ClusterFilter;
use crate::fleet::{FleetInput, advance};
use crate::gtid::{GtidSet, Gtids};
use crate::instance::{Facts, FailureKind, ThreadState};
use crate::ledger::{Command, apply};
use crate::policy::Policy;
use crate::probe::ProbeResult;
use crate::recovery::gate::{Request, Runner, begin, supposed};
use crate::recovery::{Fencing, Hooks, Refused};
use crate::testing::{answered, key, primary_facts, refused, replica_facts};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// `letter@data-centre`: dead, alive, undecided, blind, unknown, silent.
fn report(number: usize, text: &str) -> Report {
    let (letter, data_center) = text.split_once('@').unwrap_or((text, ""));
    let why = || "because".to_owned();
    let said = match letter {
        "d" => Ok(Sight::Dead { why: why() }),
        "a" => Ok(Sight::Alive { why: why() }),
        "u" => Ok(Sight::Undecided { why: why() }),
        "b" => Ok(Sight::Blind { why: why() }),
        "?" => Ok(Sight::Unknown),
        "-" => Err(why()),
        other => panic!("{other} is no sight"),
    };
    Report { node: format!("n{}", number + 1), data_center: data_center.into(), said }
}

fn reports(text: &str) -> Vec<Report> {
    text.split(' ').enumerate().map(|(number, text)| report(number, text)).collect()
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Confirmed { by } => format!("yes: {}", by.join(" ")),
        Verdict::Unconfirmed(_) => "no".into(),
        Verdict::Vetoed { by } => format!("veto: {}", by.len()),
    }
}

#[test]
fn a_failure_is_one_when_most_of_those_who_can_see_anything_see_it() {
    use Agreement::{All, Leader, Majority};
    for (case, agreement, sights, expected) in [
        ("everybody sees it", Majority, "d d d", "yes: n1 n2 n3"),
        ("two of three", Majority, "d d a", "yes: n1 n2"),
        ("one of three", Majority, "d a a", "no"),
        ("half is not most", Majority, "d a -", "no"),
        ("nor is half of four", Majority, "d d a a", "no"),
        ("who does not answer does not count", Majority, "d d -", "yes: n1 n2"),
        ("who is blind does not count", Majority, "d d b", "yes: n1 n2"),
        ("the only one who can see, and the others say so", Majority, "d b b", "yes: n1"),
        ("who speaks another language is as good as blind", Majority, "d d ?", "yes: n1 n2"),
        ("who has not seen enough counts, and may yet disagree", Majority, "d u u", "no"),
        ("who has not seen enough is outvoted", Majority, "d d u", "yes: n1 n2"),
        ("I7: nobody else answers, so it may be us", Majority, "d - -", "no"),
        ("I7: nobody can see, we neither", Majority, "b b b", "no"),
        ("I7: two of five answer", Majority, "d d - - -", "no"),
        ("three of five answer and agree", Majority, "d d d - -", "yes: n1 n2 n3"),
        ("three of five answer, two agree", Majority, "d d a - -", "yes: n1 n2"),
        ("three of five answer, one agrees", Majority, "d a b - -", "no"),
        ("three of five answer, two cannot see", Majority, "d b b - -", "yes: n1"),
        ("two of two", Majority, "d d", "yes: n1 n2"),
        ("one of two answers", Majority, "d -", "no"),
        ("all have to, and do", All, "d d d", "yes: n1 n2 n3"),
        ("all have to, and one does not", All, "d d a", "no"),
        ("all have to, and one has not seen enough", All, "d d u", "no"),
        ("all that can see", All, "d d b", "yes: n1 n2"),
        ("all that answer", All, "d d -", "yes: n1 n2"),
        ("I7: all of nobody", All, "b b b", "no"),
        ("the leader is enough", Leader, "d a a", "yes: n1"),
        ("I7: but for a blind one", Leader, "b d d", "yes: n2 n3"),
    ] {
        let reports = reports(sights);
        let verdict = confirm(agreement, "", reports.len(), &reports);
        assert_eq!(said(&verdict), expected, "case: {case}: {verdict:?}");
        assert_eq!(verdict.is_confirmed(), verdict.reasons().is_empty(), "I13: {case}");
    }
}

#[test]
fn whoever_is_near_and_sees_it_alive_has_a_veto() {
    use Agreement::{All, Majority};
    for (case, agreement, data_center, sights, expected) in [
        ("it is in another data centre", Majority, "east", "d@west d@north a@south", "yes: n1 n2"),
        ("it is in the same one", Majority, "east", "d@west d@north a@east", "veto: 1"),
        ("all are, and one sees it", Majority, "east", "d@east d@east a@east", "veto: 1"),
        (
            "it is near and cannot see either",
            Majority,
            "east",
            "d@west d@north b@east",
            "yes: n1 n2",
        ),
        ("it is near and does not answer", Majority, "east", "d@west d@north -@east", "yes: n1 n2"),
        ("nobody knows where the instance is", Majority, "", "d d a", "yes: n1 n2"),
        ("a veto goes before being too few", All, "east", "d@west - a@east", "veto: 1"),
    ] {
        let reports = reports(sights);
        let verdict = confirm(agreement, data_center, reports.len(), &reports);
        assert_eq!(said(&verdict), expected, "case: {case}: {verdict:?}");
    }
}

#[test]
fn reasons_name_the_nodes() {
    let reports = reports("d@west a@east -");
    let told = confirm(Agreement::Majority, "", 3, &reports).reasons().join("; ");
    assert_eq!(
        told,
        "1 of the 2 nodes that can see anything see it dead, 2 have to; n2 (east) sees it alive: \
         because; n3 did not answer: because"
    );
    let told = confirm(Agreement::Majority, "east", 3, &reports).reasons().join("; ");
    assert_eq!(told, "vetoed: n2 (east) sees it alive: because");
}

#[test]
fn nobody_is_waited_for_who_cannot_change_the_verdict() {
    let waits = |text: &str| -> Vec<Outstanding> {
        let names = text.split(' ').filter(|it| !it.is_empty()).enumerate();
        names
            .map(|(number, zone)| Outstanding {
                node: format!("o{number}"),
                data_center: (zone != "?").then(|| zone.trim_matches('.').to_owned()),
            })
            .collect()
    };
    for (case, zone, sights, outstanding, expected) in [
        ("nobody is left", "", "d d d", "", Some("yes: n1 n2 n3")),
        ("two of three agree, no zones", "", "d d", ".", Some("yes: n1 n2")),
        ("two of three agree, the third is elsewhere", "east", "d d", "west", Some("yes: n1 n2")),
        ("two of three agree, the third is near", "east", "d d", "east", None),
        ("two of three agree, the third may be near", "east", "d d", "?", None),
        ("one of three, two may agree", "", "d", ". .", None),
        ("three of five agree", "", "d d d", ". .", Some("yes: n1 n2 n3")),
        ("two of five agree", "", "d d", ". . .", None),
        ("vetoed", "east", "d a@east", "west", Some("veto: 1")),
        ("two of three disagree", "", "d a a", "", Some("no")),
        ("two of four disagree", "", "d a a", ".", Some("no")),
    ] {
        let (reports, outstanding) = (reports(sights), waits(outstanding));
        let nodes = reports.len() + outstanding.len();
        let verdict = settled(Agreement::Majority, zone, nodes, &reports, &outstanding);
        assert_eq!(verdict.as_ref().map(said).as_deref(), expected, "case: {case}");
    }
}

fn a_sight() -> impl Strategy<Value = String> {
    let letters = prop::sample::select(vec!["d", "a", "u", "b", "?", "-"]);
    let zones = prop::sample::select(vec!["", "east", "west"]);
    (letters, zones).prop_map(|(letter, zone)| format!("{letter}@{zone}"))
}

fn an_agreement() -> impl Strategy<Value = Agreement> {
    prop::sample::select(vec![Agreement::Leader, Agreement::Majority, Agreement::All])
}

fn numbered(texts: &[String]) -> Vec<Report> {
    texts.iter().enumerate().map(|(number, text)| report(number, text)).collect()
}

fn is(given: &Report, letter: &str) -> bool {
    report(0, letter).said == given.said
}

proptest! {
    #[test]
    fn nothing_is_confirmed_by_nobody_by_a_minority_or_against_a_neighbour(
        agreement in an_agreement(),
        texts in vec(a_sight(), 1..8),
    ) {
        let reports = numbered(&texts);
        let verdict = confirm(agreement, "east", reports.len(), &reports);
        let count = |letters: &[&str]| {
            reports.iter().filter(|it| letters.iter().any(|letter| is(it, letter))).count()
        };
        if let Verdict::Confirmed { by } = &verdict {
            prop_assert!(count(&["d"]) > 0, "I7");
            prop_assert_eq!(by.len(), count(&["d"]));
            prop_assert!(count(&["-"]) * 2 < reports.len(), "I7: cut off from the others");
            prop_assert!(!reports.iter().any(|it| it.data_center == "east" && is(it, "a")));
            if agreement != Agreement::Leader {
                prop_assert!(count(&["d"]) > count(&["a", "u"]));
            }
            if agreement == Agreement::All {
                prop_assert_eq!(count(&["a", "u"]), 0);
            }
        } else {
            prop_assert!(!verdict.reasons().is_empty(), "I13");
        }
    }

    #[test]
    fn another_who_sees_it_dead_never_takes_a_confirmation_away(
        agreement in an_agreement(),
        texts in vec(a_sight(), 1..8),
        which in any::<prop::sample::Index>(),
    ) {
        let before = numbered(&texts);
        let mut after = before.clone();
        after[which.index(texts.len())].said = Ok(Sight::Dead { why: "now I see".into() });
        let nodes = before.len();
        let was = confirm(agreement, "east", nodes, &before).is_confirmed();
        prop_assert!(!was || confirm(agreement, "east", nodes, &after).is_confirmed());
    }

    #[test]
    fn what_is_settled_stays_so_whatever_the_rest_says(
        agreement in an_agreement(),
        heard in vec(a_sight(), 1..5),
        rest in vec(a_sight(), 0..4),
        known in vec(any::<bool>(), 4),
    ) {
        let all = numbered(&[heard.clone(), rest].concat());
        let (heard, rest) = all.split_at(heard.len());
        let outstanding: Vec<Outstanding> = rest
            .iter()
            .zip(known)
            .map(|(it, known)| Outstanding {
                node: it.node.clone(),
                data_center: known.then(|| it.data_center.clone()),
            })
            .collect();
        let in_the_end = confirm(agreement, "east", all.len(), &all);
        if let Some(early) = settled(agreement, "east", all.len(), heard, &outstanding) {
            prop_assert_eq!(early.is_confirmed(), in_the_end.is_confirmed());
        }
    }
}

/// `p` with the replicas `r1`, `r2` and `r3`, all seen a moment before 100.
fn star() -> Vec<ProbeResult> {
    let replicas = ["r1", "r2", "r3"].map(|name| answered(name, 98, replica_facts(&key("p"))));
    [answered("p", 98, primary_facts())].into_iter().chain(replicas).collect()
}

fn fleet_of(policy: Policy, looks: impl IntoIterator<Item = ProbeResult>) -> FleetSnapshot {
    let empty = FleetSnapshot::empty(Arc::new(policy), Arc::default(), at(0));
    advance(&empty, looks.into_iter().map(FleetInput::Probed).collect(), at(100)).snapshot
}

fn fleet(looks: Vec<ProbeResult>) -> FleetSnapshot {
    fleet_of(Policy::default(), star().into_iter().chain(looks))
}

fn ask(unseen: &[&str]) -> Question {
    let unseen = unseen.iter().copied().map(key).collect();
    Question { key: key("p"), kind: Kind::Primary, unseen }
}

fn denied(name: &str, secs: i64) -> ProbeResult {
    let mut result = refused(name, secs);
    result.outcome = Err(ProbeFailure {
        kind: FailureKind::AccessDenied,
        partial: false,
        message: "access denied".into(),
    });
    result
}

fn cut_off(name: &str, secs: i64) -> ProbeResult {
    let mut facts = replica_facts(&key("p"));
    facts.channels[0].receiver = ThreadState::Other;
    answered(name, secs, facts)
}

#[test]
fn a_node_says_what_it_saw_itself_since_it_was_asked() {
    let receiving = || replica_facts(&key("p"));
    let no_looks: Vec<&str> = Vec::new();
    for (case, looks, unseen, expected, wanted) in [
        ("it saw it before it was asked", vec![], vec![], "undecided", vec!["p"]),
        ("it saw it since", vec![answered("p", 102, primary_facts())], vec![], "alive", vec![]),
        ("it was refused since", vec![refused("p", 101)], vec![], "dead", vec![]),
        ("it was refused a moment before", vec![refused("p", 99)], vec![], "dead", vec![]),
        ("it was refused long before", vec![refused("p", 97)], vec![], "undecided", vec!["p"]),
        ("somebody is there", vec![denied("p", 101)], vec![], "alive", vec![]),
        (
            "somebody is there, though nobody replicates from it any more",
            vec![denied("p", 101), cut_off("r1", 101), cut_off("r2", 101), cut_off("r3", 101)],
            vec![],
            "alive",
            vec![],
        ),
        (
            "a replica that the leader does not see still receives",
            vec![refused("p", 101), answered("r1", 102, receiving())],
            vec!["r1"],
            "alive",
            vec![],
        ),
        (
            "one that it does see may not have noticed yet",
            vec![refused("p", 101), answered("r1", 102, receiving())],
            vec![],
            "dead",
            vec![],
        ),
        (
            "a replica that the leader does not see was not looked at since",
            vec![refused("p", 101)],
            vec!["r1", "r2"],
            "undecided",
            vec!["r1", "r2"],
        ),
        (
            "replicas that the leader does not see are gone or lost it too",
            vec![refused("p", 101), refused("r1", 101), cut_off("r2", 102)],
            vec!["r1", "r2", "nobody"],
            "dead",
            no_looks.clone(),
        ),
    ] {
        let question = ask(&unseen);
        let looked = look(&question, &fleet(looks), at(100));
        let sees = match &looked.sight {
            Sight::Dead { .. } => "dead",
            Sight::Alive { .. } => "alive",
            Sight::Undecided { .. } => "undecided",
            Sight::Blind { .. } | Sight::Unknown => "blind",
        };
        assert_eq!(sees, expected, "case: {case}: {looked:?}");
        let wanted: Vec<InstanceKey> = wanted.into_iter().map(key).collect();
        assert_eq!(looked.wanted, wanted, "case: {case}");
    }
}

#[test]
fn a_node_speaks_only_of_what_it_saw_itself() {
    let fleet = fleet(vec![]);
    let told = FleetInput::Relayed(answered("p", 103, primary_facts()));
    let told = advance(&fleet, vec![told], at(103)).snapshot;
    assert!(told.instance(&key("p")).unwrap().health.last_attempt > Some(at(100)));
    let looked = look(&ask(&[]), &told, at(100));
    assert!(matches!(looked.sight, Sight::Undecided { .. }), "{looked:?}");
    assert_eq!(looked.wanted, [key("p")]);
}

#[test]
fn a_node_that_does_not_know_the_instance_or_is_cut_off_is_blind() {
    let stranger = Question { key: key("x"), ..ask(&[]) };
    assert!(matches!(look(&stranger, &fleet(vec![]), at(100)).sight, Sight::Blind { .. }));
    let all_gone = ["p", "r1", "r2"].map(|name| refused(name, 101)).to_vec();
    let looked = look(&ask(&[]), &fleet(all_gone), at(100));
    assert!(matches!(looked.sight, Sight::Blind { .. }), "I7: {looked:?}");
}

#[test]
fn a_node_that_lost_most_of_the_fleet_at_once_is_isolated() {
    let others = |count: usize| -> Vec<ProbeResult> {
        (0..count).map(|n| answered(&format!("x{n}"), 98, primary_facts())).collect()
    };
    let lost = |names: &[&str]| -> Vec<ProbeResult> {
        names.iter().map(|name| refused(name, 99)).collect()
    };
    let long_ago = |names: &[&str]| -> Vec<ProbeResult> {
        let seen = names.iter().map(|name| answered(name, 10, primary_facts()));
        seen.chain(names.iter().map(|name| refused(name, 20))).collect()
    };
    for (case, more, expected) in [
        ("nothing is lost", vec![], false),
        ("the primary", lost(&["p"]), false),
        ("half of the fleet", lost(&["p", "r1"]), false),
        ("I7: three of four", lost(&["p", "r1", "r2"]), true),
        ("I7: everything", lost(&["p", "r1", "r2", "r3"]), true),
        ("three of seven", [others(3), lost(&["p", "r1", "r2"])].concat(), false),
        ("I7: four of seven", [others(3), lost(&["p", "r1", "r2", "r3"])].concat(), true),
        (
            "one, and three that were gone long before",
            [long_ago(&["y1", "y2", "y3"]), lost(&["p"])].concat(),
            false,
        ),
        (
            "I7: three of the four that were still there",
            [long_ago(&["y1", "y2"]), lost(&["p", "r1", "r2"])].concat(),
            true,
        ),
        (
            "three of four, but they answered",
            vec![denied("p", 99), denied("r1", 99), denied("r2", 99)],
            false,
        ),
    ] {
        let fleet = fleet(more);
        let isolated = isolation(&fleet, at(100));
        assert_eq!(isolated.is_some(), expected, "case: {case}: {isolated:?}");
    }
}

#[test]
fn what_others_see_does_not_make_a_node_believe_its_own_eyes() {
    let names = ["x1", "x2", "x3", "x4"];
    let own = |secs| names.map(|name| FleetInput::Probed(answered(name, secs, primary_facts())));
    let told = || names.map(|name| FleetInput::Relayed(answered(name, 99, primary_facts())));
    let lost = || ["p", "r1", "r2"].map(|name| FleetInput::Probed(refused(name, 99)));
    for (case, seen, expected) in [
        ("it saw them itself", own(98), false),
        ("I7: it saw them itself long ago", own(50), true),
        ("it saw them itself no longer ago than if it was not told", own(91), false),
    ] {
        let inputs = seen.into_iter().chain(told()).chain(lost()).collect();
        let fleet = advance(&fleet(vec![]), inputs, at(100)).snapshot;
        let isolated = isolation(&fleet, at(100));
        assert_eq!(isolated.is_some(), expected, "case: {case}: {isolated:?}");
    }
}

#[test]
fn two_of_two_servers_may_share_a_switch() {
    let pair = vec![answered("p", 98, primary_facts()), refused("p", 99)];
    let replica = [answered("r", 98, replica_facts(&key("p"))), refused("r", 99)];
    let fleet = fleet_of(Policy::default(), pair.into_iter().chain(replica));
    assert_eq!(isolation(&fleet, at(100)), None);
}

#[test]
fn a_node_that_hardly_runs_takes_what_it_sees_for_its_own_lateness() {
    let fleet = fleet(Vec::new());
    for (percent, is_isolated) in [(0, false), (75, false), (89, false), (90, true), (100, true)] {
        let inputs = vec![FleetInput::RuntimeDelay(percent)];
        let late = advance(&fleet, inputs, at(100)).snapshot;
        let why = isolation(&late, at(100));
        assert_eq!(why.is_some(), is_isolated, "{percent} %: {why:?}");
    }
}

#[test]
fn downtime_and_a_released_breaker_end_isolation() {
    let gone = fleet(["p", "r1", "r2"].map(|name| refused(name, 99)).to_vec());
    assert!(isolation(&gone, at(100)).is_some());
    let after = |command: Command| {
        let ledger = apply(&gone.ledger, &command).unwrap().0;
        FleetSnapshot { ledger: Arc::new(ledger), ..gone.clone() }
    };
    let released = after(Command::ReleaseBreaker { until: at(200) });
    assert_eq!(isolation(&released, at(100)), None, "I8: a person has decided");
    assert!(isolation(&released, at(200)).is_some());
}

/// `p` died, its replicas say so, and everything may be recovered.
fn dead_primary(policy: Policy) -> FleetSnapshot {
    let policy = Policy { recover_primary: vec![ClusterFilter::Any], ..policy };
    let mut looks = star();
    looks.push(refused("p", 99));
    looks.extend(["r1", "r2", "r3"].map(|name| {
        let mut facts = replica_facts(&key("p"));
        cut_off_with_all(&mut facts);
        answered(name, 100, facts)
    }));
    fleet_of(policy, looks)
}

fn cut_off_with_all(facts: &mut Facts) {
    let all: GtidSet = "00000000-0000-0000-0000-0000000000aa:1-5".parse().unwrap();
    facts.gtid.executed = Gtids::MySql(all.clone());
    facts.channels[0].received = Gtids::MySql(all);
    facts.channels[0].receiver = ThreadState::Other;
    facts.channels[0].receiver_error.number = 2003;
    facts.channels[0].receiver_error.text = "error connecting to source".into();
}

fn runner() -> Runner {
    Runner { uid: "1:x".into(), node: "n1".into(), token: "t".into() }
}

fn attempt(fleet: &FleetSnapshot, cause: Cause, secs: i64) -> Result<Recovery, Refused> {
    let request = Request {
        key: key("p"),
        cause,
        wanted: None,
        hooks: Hooks::Run,
        fencing: Fencing::Required,
    };
    begin(&request, fleet, &runner(), at(secs))
}

fn polled(fleet: &FleetSnapshot, nodes: usize, sights: &str) -> FleetSnapshot {
    let reports = reports(sights);
    let verdict = confirm(Agreement::Majority, "", nodes, &reports);
    let poll = Poll { question: ask(&[]), asked_at: at(100), reports, verdict };
    let polls = Polls { nodes, ..Polls::default() }.with(poll);
    FleetSnapshot { polls: Arc::new(polls), ..fleet.clone() }
}

#[test]
fn the_gate_wants_what_baton_found_confirmed() {
    let alone = dead_primary(Policy::default());
    let told = |fleet: &FleetSnapshot, cause, secs| match attempt(fleet, cause, secs) {
        Ok(_) => "begins".to_owned(),
        Err(refused) => refused.to_string(),
    };
    assert_eq!(told(&alone, Cause::Found, 100), "begins", "nobody is there to be asked");
    let among = |nodes| {
        let polls = Arc::new(Polls { nodes, ..Polls::default() });
        FleetSnapshot { polls, ..alone.clone() }
    };
    assert_eq!(told(&among(1), Cause::Found, 100), "begins", "a raft of one");
    assert!(told(&among(3), Cause::Found, 100).contains("not asked yet"));
    assert_eq!(told(&among(3), Cause::Asked, 100), "begins", "a person sees to it");
    assert_eq!(told(&among(3), Cause::ForcedFailover, 100), "begins");
    let confirmed = polled(&alone, 3, "d d -");
    assert_eq!(told(&confirmed, Cause::Found, 101), "begins");
    assert!(told(&confirmed, Cause::Found, 103).contains("3 s old"));
    let told_why = told(&polled(&alone, 3, "d a a"), Cause::Found, 100);
    assert!(told_why.contains("n2 sees it alive") && told_why.contains("n3"), "{told_why}");
    let mut policy = Policy::default();
    policy.recovery.agreement = Agreement::Leader;
    let trusting = FleetSnapshot { polls: among(3).polls, ..dead_primary(policy) };
    assert_eq!(told(&trusting, Cause::Found, 100), "begins");
}

#[test]
fn an_isolated_node_begins_nothing_of_its_own_accord() {
    let fleet = dead_primary(Policy::default());
    let more = ["x1", "x2", "x3"].map(|name| answered(name, 98, primary_facts())).to_vec();
    let gone = ["x1", "x2", "x3"].map(|name| refused(name, 99)).to_vec();
    let inputs = more.into_iter().chain(gone).map(FleetInput::Probed).collect();
    let fleet = advance(&fleet, inputs, at(100)).snapshot;
    let refused = attempt(&fleet, Cause::Found, 100).unwrap_err().to_string();
    assert!(refused.contains("lost sight of 4 of 7 servers"), "I7: {refused}");
    assert!(attempt(&fleet, Cause::ForcedFailover, 100).is_ok(), "I8");
}

#[test]
fn only_what_could_not_be_reached_is_asked_about() {
    let fleet = dead_primary(Policy::default());
    let recovery = attempt(&fleet, Cause::Found, 100).unwrap();
    for (case, kind, cause, is_valid, expected) in [
        ("a dead primary", Kind::Primary, Cause::Found, false, true),
        ("one that hangs", Kind::Primary, Cause::Hung, false, true),
        ("a dead co-primary", Kind::CoPrimary, Cause::Found, false, true),
        ("a dead intermediate source", Kind::IntermediateSource, Cause::Found, false, true),
        (
            "one that answers, but not to replicas",
            Kind::IntermediateSource,
            Cause::Found,
            true,
            false,
        ),
        ("a dead group member", Kind::GroupMember, Cause::Found, false, true),
        ("a read-only primary", Kind::ReadOnlyPrimary, Cause::Found, true, false),
        ("a locked primary", Kind::SemiSync, Cause::Found, true, false),
        ("what follows a replaced primary", Kind::Regroup, Cause::Found, false, false),
        ("what a person asks for", Kind::Primary, Cause::Asked, false, false),
        ("what a person forces", Kind::Primary, Cause::ForcedFailover, false, false),
    ] {
        let mut subject = Recovery { kind, cause, ..recovery.clone() };
        subject.analysis.evidence = Evidence { is_valid, ..Evidence::default() };
        assert_eq!(is_subject(&subject), expected, "case: {case}");
    }
    let primary = supposed(&key("p"), &fleet, &runner(), at(100)).unwrap();
    assert_eq!(question(&primary, &fleet), ask(&[]));
    let gone = advance(&fleet, vec![FleetInput::Probed(refused("r2", 100))], at(100)).snapshot;
    assert_eq!(question(&primary, &gone), ask(&["r2"]));
    let hung = Recovery { cause: Cause::Hung, ..primary };
    assert_eq!(question(&hung, &gone), ask(&[]), "replicas of a server that hangs do not notice");
}

#[test]
fn what_nodes_say_is_understood_by_older_and_newer_ones() {
    let dead = Sight::Dead { why: "refused".into() };
    let text = serde_json::to_string(&dead).unwrap();
    assert_eq!(text, r#"{"sees":"dead","why":"refused"}"#);
    assert_eq!(serde_json::from_str::<Sight>(&text).unwrap(), dead);
    let newer = r#"{"sees":"double","why":"new glasses"}"#;
    assert_eq!(serde_json::from_str::<Sight>(newer).unwrap(), Sight::Unknown);
    let question = r#"{"key":"p:3306","kind":"primary","more":1}"#;
    let text = serde_json::to_string(&ask(&[])).unwrap();
    let short = text.replace(r#","unseen":[]"#, r#","more":1"#);
    assert_eq!(serde_json::from_str::<Question>(&short).unwrap(), ask(&[]), "{question}");
}
