//! Recoveries decided by tables: who is promoted, what is refused, and in which order it goes.

use std::sync::Arc;

use super::candidate::Situation;
use super::gate::{Request, Runner, begin};
use super::machine::{Effect, Event, Outcome, Ran, Step, step};
use super::*;
use crate::action::{Threads, Until};
use crate::cluster::Cluster;
use crate::fleet::{FleetInput, advance};
use crate::gtid::{GtidSet, Gtids};
use crate::instance::{Facts, PromotionRule, SourceLink, ThreadState};
use crate::ledger::{Command, LedgerState, apply};
use crate::policy::Policy;
use crate::snapshot::FleetSnapshot;
use crate::testing::{answered, key, primary_facts, refused, replica_facts};

mod aftermath;
mod again;
mod alive;
mod breaker;
mod channels;
mod clocks;
mod closed;
mod donors;
mod gathering;
mod groups;
mod liars;
mod loss;
mod making;
mod mariadb;
mod occasions;
mod recent;
mod replaced;
mod returned;
mod semi_sync;
mod sequences;
mod shut_out;
mod vigil;

const P: &str = "00000000-0000-0000-0000-0000000000aa";

fn now() -> Timestamp {
    Timestamp::from_secs(100)
}

fn set(text: &str) -> GtidSet {
    text.parse().unwrap()
}

fn of_p(intervals: &str) -> Gtids {
    Gtids::MySql(if intervals.is_empty() {
        GtidSet::default()
    } else {
        set(&format!("{P}:{intervals}"))
    })
}

fn uuid(name: &str) -> uuid::Uuid {
    let digit = u128::from(*name.as_bytes().last().unwrap());
    uuid::Uuid::from_u128(0x1000 + digit)
}

/// A replica of `p` that received and executed these transactions of it, and stands still.
fn replica(name: &str, received: &str, executed: &str) -> (String, Facts) {
    let mut facts = replica_facts(&key("p"));
    facts.server_uuid = Some(uuid(name));
    facts.uptime_seconds = 1_000;
    facts.gtid.executed = of_p(executed);
    let channel = &mut facts.channels[0];
    channel.received = of_p(received);
    channel.receiver = ThreadState::Other;
    channel.receiver_error.number = 2003;
    channel.receiver_error.text = "error connecting to source".into();
    (name.to_owned(), facts)
}

/// A fleet in which the primary `p` died, having executed `p_had`, and these are its replicas.
fn fleet_with(
    policy: Policy,
    p_had: &str,
    replicas: &[(String, Facts)],
    silent: &[&str],
) -> FleetSnapshot {
    let mut p = primary_facts();
    p.server_uuid = Some(P.parse().unwrap());
    p.gtid.executed = of_p(p_had);
    let empty = FleetSnapshot::empty(Arc::new(policy), Arc::default(), Timestamp::from_secs(0));
    let mut inputs = vec![FleetInput::Probed(answered("p", 10, p))];
    let seen = replicas.iter().map(|(name, facts)| answered(name, 20, facts.clone()));
    inputs.extend(seen.map(FleetInput::Probed));
    inputs.extend(silent.iter().chain(&["p"]).map(|it| FleetInput::Probed(refused(it, 30))));
    advance(&empty, inputs, now()).snapshot
}

/// The same, but `p` answers again, with what it had.
fn answering(fleet: &FleetSnapshot) -> FleetSnapshot {
    let facts = (*fleet.instance(&key("p")).unwrap().facts).clone();
    advance(fleet, vec![FleetInput::Probed(answered("p", 90, facts))], now()).snapshot
}

fn runner() -> Runner {
    Runner { uid: "1:x".into(), node: "n1".into(), token: "t".into() }
}

fn request(cause: Cause, wanted: Option<&str>) -> Request {
    Request {
        key: key("p"),
        cause,
        wanted: wanted.map(key),
        hooks: Hooks::Run,
        fencing: Fencing::Required,
    }
}

fn everywhere() -> Policy {
    Policy {
        recover_primary: vec![crate::filter::ClusterFilter::Any],
        recover_intermediate: vec![crate::filter::ClusterFilter::Any],
        ..Policy::default()
    }
}

fn situation(fleet: &FleetSnapshot) -> Situation<'_> {
    let cluster = fleet.cluster_with(&key("p")).unwrap();
    Situation { cluster, returned: None, ledger: &fleet.ledger, policy: &fleet.policy, now: now() }
}

fn planned(fleet: &FleetSnapshot, request: &Request) -> Result<(Recovery, Plan), Refused> {
    let recovery = begin(request, fleet, &runner(), now())?;
    let plan = super::plan::plan(&recovery, &situation(fleet))?;
    super::check::check(&plan, &recovery, &situation(fleet))?;
    Ok((recovery, plan))
}

/// The successor and, after an arrow, who feeds it; or the refusal.
fn outcome(fleet: &FleetSnapshot, request: &Request) -> String {
    match planned(fleet, request) {
        Ok((_, plan)) => {
            let fed = plan.prepare.get(1).and_then(|stage| {
                stage.chains[0].actions.iter().find_map(|action| match action {
                    Action::ChangeSource { to, .. } => Some(format!("<-{}", to.host())),
                    _ => None,
                })
            });
            let lost: Vec<&str> = plan.lost.iter().map(|lost| lost.key.host()).collect();
            let lost =
                if lost.is_empty() { String::new() } else { format!(" -{}", lost.join("-")) };
            format!("{}{}{lost}", plan.successor.host(), fed.unwrap_or_default())
        }
        Err(refused) => format!("no: {refused}"),
    }
}

type Change = fn(&mut Facts);
type Bend = fn(&mut Plan);

fn with(base: (String, Facts), change: Change) -> (String, Facts) {
    let (name, mut facts) = base;
    change(&mut facts);
    (name, facts)
}

#[test]
fn what_a_writable_co_primary_wrote_does_not_stand_against_it() {
    let own = format!("{P}:1-9,{}:1-4", uuid("a"));
    let (_, mut a) = replica("a", "1-9", "1-9");
    a.gtid.executed = Gtids::MySql(set(&own));
    let (_, b) = replica("b", "1-9", "1-9");
    for (case, read_only, expected) in
        [("it is there to write", false, "a"), ("it is not", true, "no: a:3306 cannot be promoted")]
    {
        a.read_only = read_only;
        let mut p = replica_facts(&key("a"));
        p.server_uuid = Some(P.parse().unwrap());
        p.gtid.executed = of_p("1-9");
        let policy = Arc::new(everywhere());
        let empty = FleetSnapshot::empty(policy, Arc::default(), Timestamp::from_secs(0));
        let seen = [("p", 10, p), ("a", 20, a.clone()), ("b", 20, b.clone())];
        let mut inputs: Vec<FleetInput> =
            seen.map(|(name, at, facts)| FleetInput::Probed(answered(name, at, facts))).into();
        inputs.push(FleetInput::Probed(refused("p", 30)));
        let fleet = advance(&empty, inputs, now()).snapshot;
        let told = outcome(&fleet, &request(Cause::Found, None));
        assert!(told.starts_with(expected), "{case}: {told}");
        if let Ok((_, plan)) = planned(&fleet, &request(Cause::Found, None)) {
            let goes_on = [Action::Start(Threads::Receiver), Action::SetWritable];
            assert_eq!(plan.open.chains[0].actions, goes_on, "I9");
        }
    }
}

#[test]
fn who_was_stopped_is_not_waited_for_by_a_takeover() {
    let stopped: [(Change, &str); 3] = [
        (|it| it.channels[0].receiver = ThreadState::Stopped, "no: "),
        (|it| it.channels[0].applier = ThreadState::Stopped, "no: "),
        (|_| {}, "a"),
    ];
    for (change, expected) in stopped {
        let running: Change = |it| it.channels[0].receiver = ThreadState::Running;
        let a = with(with(replica("a", "1-9", "1-9"), running), change);
        let fleet = answering(&fleet_with(everywhere(), "1-9", &[a], &[]));
        let ready = begin(&request(Cause::Takeover, Some("a")), &fleet, &runner(), now());
        match ready {
            Ok(_) => assert_eq!(expected, "a"),
            Err(refused) => assert_eq!(
                (expected, refused.to_string().as_str()),
                ("no: ", "Desginated instance a:3306 is not replicating")
            ),
        }
    }
}

#[test]
fn the_one_with_everything_succeeds_or_feeds_whom_people_prefer() {
    let prefer: Change = |it| it.promotion_rule = Some(PromotionRule::Prefer);
    let prefer_not: Change = |it| it.promotion_rule = Some(PromotionRule::PreferNot);
    let must_not: Change = |it| it.promotion_rule = Some(PromotionRule::MustNot);
    let silent_log: Change = |it| it.binlog.enabled = false;
    for (case, replicas, expected) in [
        ("all equal: by name", vec![replica("b", "1-9", "1-9"), replica("a", "1-9", "1-9")], "a"),
        (
            "the most advanced by what it received, not applied",
            vec![replica("a", "1-8", "1-8"), replica("b", "1-9", "1-3")],
            "b",
        ),
        (
            "a preferred one that is behind is fed",
            vec![with(replica("a", "1-5", "1-5"), prefer), replica("b", "1-9", "1-9")],
            "a<-b",
        ),
        (
            "who must not be promoted still feeds",
            vec![with(replica("a", "1-9", "1-9"), must_not), replica("b", "1-5", "1-5")],
            "b<-a",
        ),
        (
            "who is rather not promoted goes last",
            vec![with(replica("a", "1-9", "1-9"), prefer_not), replica("b", "1-5", "1-5")],
            "b<-a",
        ),
        (
            "who writes no log can neither be promoted nor feed",
            vec![with(replica("a", "1-9", "1-9"), silent_log), replica("b", "1-5", "1-5")],
            "no: a:3306 cannot be promoted: it writes no binary log; \
             b:3306 lacks what a:3306 has, and cannot get it from there; force-master-takeover to it accepts that loss",
        ),
        (
            "who writes no log follows",
            vec![with(replica("a", "1-5", "1-5"), silent_log), replica("b", "1-9", "1-9")],
            "b",
        ),
        (
            "each has what the other lacks",
            vec![replica("a", "1-5", "1-5"), replica("b", "1-3:7-8", "1-3")],
            "no: a:3306 and b:3306 each have what the other lacks",
        ),
    ] {
        check_outcome(case, replicas, expected);
    }
}

/// Who succeeds, whatever the order in which replicas are known.
fn check_outcome(case: &str, mut replicas: Vec<(String, Facts)>, expected: &str) {
    for order in ["in order", "reversed"] {
        let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
        let told = outcome(&fleet, &request(Cause::Found, None));
        assert_eq!(told, expected, "case: {case}, {order}");
        replicas.reverse();
    }
}

#[test]
fn who_is_ready_to_serve_goes_before_who_is_not() {
    let prefer: Change = |it| it.promotion_rule = Some(PromotionRule::Prefer);
    let offline: Change = |it| it.offline_mode = true;
    let late: Change = |it| it.channels[0].seconds_behind = Some(3_600);
    for (case, replicas, expected) in [
        (
            "of those that received the same, the one that need not apply it first",
            vec![with(replica("a", "1-9", "1-3"), late), replica("b", "1-9", "1-9")],
            "b",
        ),
        (
            "but whom people prefer goes first",
            vec![with(with(replica("a", "1-9", "1-3"), late), prefer), replica("b", "1-9", "1-9")],
            "a",
        ),
        (
            "who lets only administrators in follows",
            vec![with(replica("a", "1-9", "1-9"), offline), replica("b", "1-9", "1-9")],
            "b",
        ),
        (
            "and is not promoted where there is no other",
            vec![with(replica("a", "1-9", "1-9"), offline)],
            "no: a:3306 cannot be promoted: it is in offline_mode and lets neither applications nor \
             replicas in",
        ),
    ] {
        check_outcome(case, replicas, expected);
    }
}

#[test]
fn a_replica_that_wrote_something_itself_is_never_promoted() {
    let mut errant = replica("a", "1-9", "1-9");
    let own = format!("{}:1-2", uuid("a"));
    errant.1.gtid.executed = Gtids::MySql(set(&format!("{P}:1-9,{own}")));
    let replicas = [errant.clone(), replica("b", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    assert_eq!(outcome(&fleet, &request(Cause::Found, None)), "b");
    let alone = [errant, replica("b", "1-7", "1-7")];
    let fleet = fleet_with(everywhere(), "1-9", &alone, &[]);
    let refused = outcome(&fleet, &request(Cause::Found, None));
    assert!(refused.contains("errant transactions") && refused.contains(&own), "{refused}");
}

#[test]
fn places_and_lags_object_before_anything_is_moved() {
    let west: Change = |it| it.placement.data_center = "west".into();
    let far: Change = |it| it.placement.region = "far".into();
    let lagging: Change = |it| it.measured_lag_seconds = Some(61);
    let dc: fn(&mut Policy) = |policy| policy.recovery.prevent_cross_data_center = true;
    let region: fn(&mut Policy) = |policy| policy.recovery.prevent_cross_region = true;
    let lag: fn(&mut Policy) = |policy| {
        policy.recovery.fail_promotion_on_lag = Some(std::time::Duration::from_secs(60));
    };
    for (rule, change, expected) in [
        (dc, west, "PreventCrossDataCenterMasterFailover"),
        (region, far, "PreventCrossRegionMasterFailover"),
        (lag, lagging, "lags by 61 s"),
    ] {
        let both =
            [with(replica("a", "1-9", "1-9"), change), with(replica("b", "1-9", "1-9"), change)];
        let mut policy = everywhere();
        rule(&mut policy);
        let fleet = fleet_with(policy.clone(), "1-9", &both, &[]);
        let refused = outcome(&fleet, &request(Cause::Found, None));
        assert!(refused.starts_with("no: ") && refused.contains(expected), "{refused}");
        let one = [with(replica("a", "1-9", "1-9"), change), replica("b", "1-5", "1-5")];
        let fleet = fleet_with(policy, "1-9", &one, &[]);
        assert_eq!(outcome(&fleet, &request(Cause::Found, None)), "b<-a", "the next candidate");
    }
}

#[test]
fn what_cannot_be_seen_is_not_guessed() {
    let acknowledging: Change = |it| it.semi_sync.replica_enabled = true;
    let four =
        |change: Change| ["a", "b", "c", "d"].map(|name| with(replica(name, "1-9", "1-9"), change));
    let seen = |silent: &[&str], change: Change, replicas: Change| {
        let fleet = fleet_with(everywhere(), "1-9", &four(replicas), silent);
        let mut p = fleet.instance(&key("p")).unwrap().facts.as_ref().clone();
        change(&mut p);
        let again =
            vec![FleetInput::Probed(answered("p", 40, p)), FleetInput::Probed(refused("p", 50))];
        let fleet = advance(&fleet, again, now()).snapshot;
        outcome(&fleet, &request(Cause::Asked, None))
    };
    let with_silent = |silent: &[&str], change: Change| seen(silent, change, acknowledging);
    let nothing: Change = |_| ();
    assert_eq!(with_silent(&["d"], nothing), "a -d");
    assert_eq!(with_silent(&["c", "d"], nothing), "a -c-d");
    let few = with_silent(&["b", "c", "d"], nothing);
    assert!(few.contains("only 1 of 4 replicas answer"), "I3: {few}");
    let acknowledged: Change = |it| {
        it.semi_sync.source_enabled = true;
        it.semi_sync.source_active = true;
        it.semi_sync.wait_for_replicas = 1;
    };
    let unsafe_now = with_silent(&["d"], acknowledged);
    assert!(unsafe_now.contains("writes were acknowledged once 1 had them"), "I5: {unsafe_now}");
    assert!(unsafe_now.contains("forget those that are gone"), "{unsafe_now}");
    assert_eq!(with_silent(&[], acknowledged), "a");
    let asynchronous = seen(&["d"], acknowledged, nothing);
    assert_eq!(asynchronous, "a -d", "nobody waited for it");
    let one_more: Change = |it| {
        it.semi_sync.source_enabled = true;
        it.semi_sync.source_active = true;
        it.semi_sync.wait_for_replicas = 1;
        it.semi_sync.source_clients = 1;
    };
    // One server by two names is one witness.
    let same_as_a: Change = |it| it.server_uuid = Some(uuid("a"));
    let [a, b, c, d] = four(nothing);
    let twice = [a, with(b, same_as_a), c, d];
    let fleet = fleet_with(everywhere(), "1-9", &twice, &["c", "d"]);
    let few = outcome(&fleet, &request(Cause::Asked, None));
    assert!(few.contains("only 1 of 3 replicas answer"), "I3: {few}");
    let fleet = fleet_with(everywhere(), "1-9", &twice, &[]);
    let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    let moved: Vec<&str> = plan.gather.chains.iter().map(|it| it.on.host()).collect();
    assert_eq!((plan.successor.host(), moved), ("a", vec!["c", "d"]), "none follows itself");
    let unknown = seen(&["d"], one_more, nothing);
    assert!(
        unknown.contains("acknowledged by 1 replicas that are not known here"),
        "I5: {unknown}"
    );
}

#[test]
fn baton_acts_by_itself_only_where_it_may() {
    let replicas = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let found = request(Cause::Found, None);
    assert!(begin(&found, &fleet, &runner(), now()).is_ok());
    let nowhere = fleet_with(Policy::default(), "1-9", &replicas, &[]);
    let refused = begin(&found, &nowhere, &runner(), now()).unwrap_err().to_string();
    assert!(refused.contains("RecoverMasterClusterFilters"), "{refused}");
    let asked = request(Cause::Asked, None);
    assert!(begin(&asked, &nowhere, &runner(), now()).is_ok(), "a person may");

    let with = |commands: &[Command]| {
        let ledger = commands
            .iter()
            .fold(LedgerState::default(), |state, command| apply(&state, command).unwrap().0);
        advance(&fleet, vec![FleetInput::Ledger(Arc::new(ledger))], now()).snapshot
    };
    let why = |fleet: &FleetSnapshot, request: &Request| {
        begin(request, fleet, &runner(), now()).map_or_else(|it| it.to_string(), |_| "ok".into())
    };
    let disabled = with(&[Command::SetRecoveriesDisabled { disabled: true }]);
    assert_eq!(why(&disabled, &found), "recoveries are disabled globally");
    assert_eq!(why(&disabled, &asked), "ok");

    let mut before = begin(&found, &fleet, &runner(), now()).unwrap();
    before.begun_at = now().minus(std::time::Duration::from_secs(60));
    let begun = Command::BeginRecovery { recovery: Arc::new(before.clone()) };
    let running = with(std::slice::from_ref(&begun));
    assert_eq!(why(&running, &found).split(';').next(), Some("recovery 1 of p:3306 is under way"));
    assert_eq!(why(&running, &asked), "recovery 1 of p:3306 is under way");
    let ended =
        Recovery { id: 1, ended_at: Some(now()), phase: Phase::Ended(End::Done), ..before.clone() };
    let update = Command::UpdateRecovery { recovery: Arc::new(ended) };
    let blocked = with(&[begun.clone(), update.clone()]);
    assert_eq!(why(&blocked, &found), "recovery 1 of p:3306 is not long ago and not acknowledged");
    assert_eq!(why(&blocked, &asked), "ok");
    let acknowledgement = Acknowledgement { at: now(), by: "me".into(), comment: "ok".into() };
    let ack = Command::AcknowledgeRecoveries { ids: vec![1], acknowledgement };
    assert_eq!(why(&with(&[begun, update, ack]), &found), "ok");
}

#[test]
fn a_person_names_the_successor_and_is_told_what_stands_against_it() {
    let must_not: Change = |it| it.promotion_rule = Some(PromotionRule::MustNot);
    let replicas = [
        with(replica("a", "1-9", "1-9"), must_not),
        replica("b", "1-5", "1-5"),
        replica("c", "1-9", "1-9"),
    ];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let asked = |wanted| outcome(&fleet, &request(Cause::Asked, Some(wanted)));
    assert_eq!(asked("b"), "b<-a");
    assert_eq!(asked("a"), "no: a:3306 cannot be promoted: its promotion rule is must_not");
    assert_eq!(asked("z"), "no: z:3306 is no replica of p:3306 that answers");
}

#[test]
fn what_may_be_lost_is_said_before() {
    let replicas = [replica("a", "1-7", "1-7"), replica("b", "1-5", "1-5")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    assert_eq!((plan.loss.known.as_str(), plan.loss.count), (format!("{P}:8-9").as_str(), 2));
    assert!(plan.loss.remark.contains("last seen 90000 ms before"), "{}", plan.loss.remark);
}

#[test]
fn everything_is_applied_before_anything_is_opened() {
    let mut stopped = replica("a", "1-9", "1-4");
    stopped.1.channels[0].applier = ThreadState::Stopped;
    let fleet = fleet_with(everywhere(), "1-9", &[stopped, replica("b", "1-7", "1-7")], &[]);
    let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    let chain = &plan.prepare[0].chains[0];
    assert_eq!(chain.actions[0], Action::Start(Threads::Applier));
    let Action::WaitExecuted { until, .. } = &chain.actions[1] else { panic!("{chain:?}") };
    assert_eq!(*until, Until::Gtids(of_p("1-9")));
    assert_eq!(plan.open.chains[0].actions, [Action::ForgetSource, Action::SetWritable]);
    let moved: Vec<&str> = plan.gather.chains.iter().map(|chain| chain.on.host()).collect();
    assert_eq!(moved, ["b"]);
}

#[test]
fn replicas_without_gtid_are_promoted_only_alone() {
    let file: Change = |it| {
        it.gtid.mode = "OFF".into();
        it.channels[0].positioning = crate::instance::Positioning::File;
        it.channels[0].read = crate::binlog::BinlogCoordinates::new("bin.000002", 700);
        it.channels[0].executed = crate::binlog::BinlogCoordinates::new("bin.000002", 500);
    };
    let alone = [with(replica("a", "", ""), file)];
    let fleet = fleet_with(everywhere(), "", &alone, &[]);
    let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    let until = Until::Source(crate::binlog::BinlogCoordinates::new("bin.000002", 700));
    let wait = Action::WaitExecuted { until, at_most: Policy::default().recovery.apply_patience };
    assert_eq!(plan.prepare[0].chains[0].actions, [wait]);
    let two = [with(replica("a", "", ""), file), with(replica("b", "", ""), file)];
    let fleet = fleet_with(everywhere(), "", &two, &[]);
    assert_eq!(outcome(&fleet, &request(Cause::Found, None)), "a -b");
}

#[test]
fn a_checked_plan_that_is_bent_is_refused() {
    let replicas =
        [replica("a", "1-9", "1-9"), replica("b", "1-5", "1-5"), replica("c", "1-5", "1-5")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let (recovery, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    let bends: [(&str, Bend); 6] = [
        ("I4", |plan| plan.prepare.clear()),
        ("I6", |plan| plan.gather.chains[0].actions.push(Action::SetWritable)),
        ("I6", |plan| plan.open.chains[0].actions.push(Action::FlushBinaryLogs)),
        ("I9", |plan| plan.gather.chains.clear()),
        ("not in the cluster", |plan| plan.gather.chains[0].on = key("x")),
        ("which failed", |plan| {
            plan.gather.chains[0].actions = super::plan::follow(&key("p"));
        }),
    ];
    for (expected, bend) in bends {
        let mut bent = plan.clone();
        bend(&mut bent);
        let verdict = super::check::check(&bent, &recovery, &situation(&fleet));
        let text = verdict.map_or_else(|refused| refused.to_string(), |()| "accepted".into());
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn who_was_made_primary_comes_back_from_the_store_as_one() {
    let replicas = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let done = Recovery {
        successor: Some(key("a")),
        ended_at: Some(now()),
        phase: Phase::Ended(End::Done),
        ..begun
    };
    let command = Command::BeginRecovery { recovery: Arc::new(done) };
    let (ledger, _) = apply(&LedgerState::default(), &command).unwrap();
    let empty = FleetSnapshot::empty(Arc::new(everywhere()), Arc::new(ledger), now());
    // What was kept was seen before: both still replicate from the old primary.
    let kept = ["a", "b"].map(|name| {
        let instance = fleet.instance(&key(name)).unwrap();
        ((**instance).clone(), fleet.cluster_of.get(&key(name)).unwrap().clone())
    });
    let restored = advance(&empty, vec![FleetInput::Restored(kept.to_vec())], now()).snapshot;
    let source = |name| restored.instance(&key(name)).unwrap().facts.source().cloned();
    assert_eq!((source("a"), source("b")), (None, Some(key("p"))));
}

#[test]
fn who_was_never_seen_here_is_silent_and_not_absent() {
    let three = ["a", "b", "c"].map(|name| replica(name, "1-9", "1-9"));
    let there = fleet_with(everywhere(), "1-9", &three, &[]);
    let begun = begin(&request(Cause::Found, None), &there, &runner(), now()).unwrap();
    // Another node, or this one after a restart, knows the primary and one replica.
    let [a, ..] = three;
    let here = fleet_with(everywhere(), "1-9", &[a], &[]);
    let cluster = super::scene::scene(&begun, &here);
    let situation = Situation {
        cluster: &cluster,
        returned: None,
        ledger: &here.ledger,
        policy: &here.policy,
        now: now(),
    };
    let refused = super::plan::plan(&begun, &situation).unwrap_err().to_string();
    assert!(refused.contains("only 1 of 3 replicas answer"), "I3, I5: {refused}");
    // Until they are looked at.
    let mut cluster = cluster.clone();
    let seen: Vec<_> =
        ["b", "c"].map(|name| answered(name, 90, replica(name, "1-9", "1-9").1)).into();
    super::scene::refresh(&mut cluster, &seen);
    let situation = Situation { cluster: &cluster, ..situation };
    let plan = super::plan::plan(&begun, &situation).unwrap();
    assert_eq!((plan.gather.chains.len(), plan.lost.len()), (2, 0));
}

/// I5: a server that was put below the primary and refuses us since, such as for want of rights,
/// acknowledges like any other.
#[test]
fn who_was_connected_to_the_primary_and_has_not_answered_since_is_silent() {
    let outcome_with = |c: Facts, c_seen_at: i64, is_valid: bool, is_listed: bool| {
        let mut p = primary_facts();
        p.server_uuid = Some(P.parse().unwrap());
        p.gtid.executed = of_p("1-9");
        p.semi_sync.source_enabled = true;
        p.semi_sync.source_active = true;
        p.semi_sync.wait_for_replicas = 1;
        p.replicas = ["a", "b"].map(key).into();
        if is_listed {
            p.replicas.insert(key("c"));
        }
        let [(_, a), (_, b)] = ["a", "b"].map(|name| replica(name, "1-9", "1-9"));
        let mut inputs = vec![
            FleetInput::Probed(answered("c", c_seen_at, c)),
            FleetInput::Probed(answered("p", 10, p)),
            FleetInput::Probed(answered("a", 20, a)),
            FleetInput::Probed(answered("b", 20, b)),
            FleetInput::Probed(refused("p", 30)),
        ];
        if !is_valid {
            inputs.push(FleetInput::Probed(refused("c", 30)));
        }
        let policy = Arc::new(everywhere());
        let empty = FleetSnapshot::empty(policy, Arc::default(), Timestamp::from_secs(0));
        let fleet = advance(&empty, inputs, now()).snapshot;
        let told = outcome(&fleet, &request(Cause::Found, None));
        let forced = planned(&fleet, &request(Cause::ForcedFailover, None)).unwrap().0;
        (told, super::plan::roll_back(&forced, &situation(&fleet)).chains.len())
    };
    let alone = primary_facts;
    let elsewhere = || replica_facts(&key("q"));
    let no = "no: 1 of 3 replicas do not answer";
    for (case, c, seen_at, is_valid, is_listed, expected) in [
        ("it was alone before", alone(), 5, false, true, no),
        ("it followed somebody else before", elsewhere(), 5, false, true, no),
        ("it was not connected", alone(), 5, false, false, "a"),
        ("it answers, and has moved on", elsewhere(), 5, true, true, "a"),
        ("it was seen alone after that", alone(), 15, false, true, "a"),
    ] {
        let (told, rolled_back) = outcome_with(c, seen_at, is_valid, is_listed);
        assert!(told.starts_with(expected), "{case}: {told}");
        assert_eq!(rolled_back, 2, "{case}: it was not touched");
    }
}

#[test]
fn who_needs_what_the_successor_has_purged_cannot_come_along() {
    let purged: Change = |it| it.gtid.purged = set(&format!("{P}:1-5"));
    let replicas = [
        with(replica("a", "1-9", "1-9"), purged),
        replica("b", "1-9", "1-9"),
        replica("c", "1-3", "1-3"),
    ];
    let rule: Change = |it| it.promotion_rule = Some(PromotionRule::Prefer);
    let [a, b, c] = replicas;
    let fleet = fleet_with(everywhere(), "1-9", &[with(a, rule), b, c], &[]);
    assert_eq!(outcome(&fleet, &request(Cause::Found, None)), "a -c");
}

#[test]
fn nobody_hands_over_where_the_old_primary_could_not_follow() {
    let by_file: Change = |it| {
        let channel = &mut it.channels[0];
        channel.positioning = crate::instance::Positioning::File;
        channel.receiver = ThreadState::Running;
        channel.receiver_error = Default::default();
        channel.seconds_behind = Some(0);
    };
    let fleet = fleet_with(everywhere(), "1-9", &[with(replica("a", "1-9", "1-9"), by_file)], &[]);
    let refused = begin(&request(Cause::Takeover, None), &fleet, &runner(), now()).unwrap_err();
    assert!(refused.to_string().starts_with("a:3306 finds its place by file"), "{refused}");
}

#[test]
fn orphans_of_an_intermediate_source_go_to_a_sibling() {
    let sub = |name: &str| {
        let (name, mut facts) = replica(name, "1-9", "1-9");
        facts.channels[0].source = SourceLink::Attached(key("i"));
        (name, facts)
    };
    let running: Change = |it| {
        it.channels[0].receiver = ThreadState::Running;
        it.channels[0].receiver_error = Default::default();
    };
    let mut replicas = vec![with(replica("i", "1-9", "1-9"), running)];
    replicas.push(with(replica("s", "1-9", "1-9"), running));
    replicas.extend([sub("x"), sub("y")]);
    let mut fleet = fleet_with(everywhere(), "1-9", &replicas, &["i"]);
    let mut p = fleet.instance(&key("p")).unwrap().facts.as_ref().clone();
    p.read_only = false;
    fleet = advance(&fleet, vec![FleetInput::Probed(answered("p", 60, p))], now()).snapshot;
    let request = Request {
        key: key("i"),
        cause: Cause::Found,
        wanted: None,
        hooks: Hooks::Run,
        fencing: Fencing::Required,
    };
    let (recovery, plan) = planned(&fleet, &request).unwrap();
    assert_eq!(recovery.kind, Kind::IntermediateSource);
    assert_eq!(plan.successor, key("s"));
    let moved: Vec<&str> = plan.gather.chains.iter().map(|chain| chain.on.host()).collect();
    assert_eq!(moved, ["x", "y"]);
    assert!(plan.open.chains.is_empty() && plan.lost.is_empty());
}
