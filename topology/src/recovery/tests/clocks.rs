//! Recoveries that another node began, whose clock may differ.

use super::*;
use crate::instance::PromotionRule;
use crate::ledger::{Candidate, Downtime, Pool};
use crate::recovery::former::rejoinable;
use crate::recovery::gate::{ROLLED_BACK_BLOCK, blocking};
use crate::recovery::upkeep::Vigil;

/// A recovery that was over at once, begun `ahead` seconds after the clock here says.
fn ledger(fleet: &FleetSnapshot, kind: Kind, ahead: i64) -> Arc<LedgerState> {
    let begun = begin(&request(Cause::Asked, None), fleet, &runner(), now()).unwrap();
    let begun_at = Timestamp::from_secs(100 + ahead);
    let ended = Phase::Ended(End::Done);
    let recovery = Recovery { kind, begun_at, ended_at: Some(begun_at), phase: ended, ..begun };
    let command = Command::BeginRecovery { recovery: Arc::new(recovery) };
    Arc::new(apply(&LedgerState::default(), &command).unwrap().0)
}

#[test]
fn a_recovery_blocks_no_longer_than_is_set_from_when_this_node_learned_of_it() {
    let both = [replica("a", "1-9", "1-9"), replica("c", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &both, &[]);
    let block = i64::try_from(fleet.policy.recovery.block.as_secs()).unwrap();
    let short = i64::try_from(ROLLED_BACK_BLOCK.as_secs()).unwrap();
    assert!(block > short);
    for (case, kind, ahead, lasts) in [
        ("clocks agree", Kind::Primary, 0, block),
        ("it began a while ago", Kind::Primary, -50, block - 50),
        ("its clock was ahead by a moment", Kind::Primary, 1, block),
        ("its clock was ahead by a day", Kind::Primary, 86_400, block),
        ("nobody was promoted", Kind::Regroup, 0, short),
        ("nobody was promoted, its clock was ahead", Kind::Regroup, 86_400, short),
    ] {
        let ledger = ledger(&fleet, kind, ahead);
        let asking = Recovery { id: 0, ..(**ledger.recoveries.get(&1).unwrap()).clone() };
        let told = |before: &FleetSnapshot, at: i64| {
            let inputs = vec![FleetInput::Ledger(Arc::clone(&ledger))];
            advance(before, inputs, Timestamp::from_secs(at)).snapshot
        };
        let learned = told(&fleet, 100);
        // That the ledger goes on changes nothing.
        let learned = told(&learned, 130);
        let restarted = FleetSnapshot::empty(Arc::clone(&fleet.policy), Arc::clone(&ledger), now());
        for (how, fleet) in [("learned", &learned), ("from the store", &restarted)] {
            let is_blocked = |at: i64| blocking(&asking, fleet, Timestamp::from_secs(at)).is_some();
            assert!(is_blocked(100 + lasts - 1), "case: {case}, {how}");
            assert!(!is_blocked(100 + lasts), "case: {case}, {how}");
        }
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// What the next leader does whose clock is right, after `p` was replaced by `a` under one whose
/// clock was ahead: `p` is back at 200 and writable, was fenced at 202, and is writable still.
#[test]
fn a_former_primary_is_fenced_and_comes_back_in_time_whatever_the_former_leaders_clock_said() {
    for ahead in [0, 1, 60, 3_600, 86_400] {
        let replicas = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")];
        let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
        let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
        let done = |kind, begun_at: i64| Recovery {
            kind,
            uid: begun_at.to_string().into(),
            begun_at: at(begun_at + ahead),
            ended_at: Some(at(begun_at + 1 + ahead)),
            phase: Phase::Ended(End::Done),
            successor: Some(key("a")),
            ..begun.clone()
        };
        let agree = |ledger: &LedgerState, command| Arc::new(apply(ledger, &command).unwrap().0);
        let begin = |ledger: &LedgerState, recovery| {
            agree(ledger, Command::BeginRecovery { recovery: Arc::new(recovery) })
        };
        let told = |fleet: &FleetSnapshot, ledger: &Arc<LedgerState>, p: Facts, secs: i64| {
            let mut a = replica("a", "1-9", "1-9").1;
            a.channels.clear();
            a.read_only = false;
            let below_a: Change = |it| it.channels[0].source = SourceLink::Attached(key("a"));
            let b = with(replica("b", "1-9", "1-9"), below_a).1;
            let inputs = vec![
                FleetInput::Ledger(Arc::clone(ledger)),
                FleetInput::Probed(answered("p", secs - 1, p)),
                FleetInput::Probed(answered("a", secs, a)),
                FleetInput::Probed(answered("b", secs, b)),
            ];
            advance(fleet, inputs, at(secs)).snapshot
        };
        let fenced = |fleet: &FleetSnapshot, secs: i64| {
            let chores = Vigil::default().review(fleet, at(secs)).chores;
            chores.iter().any(|it| it.stage.chains.iter().any(|chain| chain.on == key("p")))
        };

        let replaced = begin(&LedgerState::default(), done(Kind::Primary, 100));
        let away = advance(&fleet, vec![FleetInput::Ledger(Arc::clone(&replaced))], at(101));
        let back = told(&away.snapshot, &replaced, primary_facts(), 200);
        assert!(fenced(&back, 200), "I1: {ahead} s ahead");

        let note = Command::NoteChore { key: key("p"), at: at(202 + ahead), scout: None };
        let noted = agree(&replaced, note);
        let open = told(&back, &noted, primary_facts(), 203);
        assert!(!fenced(&open, 203), "it was fenced a moment ago: {ahead} s ahead");
        let open = told(&open, &noted, primary_facts(), 205);
        assert!(fenced(&open, 205), "I1: it did not hold: {ahead} s ahead");
        let late = told(&open, &noted, primary_facts(), 800);
        assert!(!fenced(&late, 800), "whoever opens it so much later means it: {ahead} s ahead");

        let closed = || Facts { read_only: true, ..primary_facts() };
        let rejoining = begin(&noted, done(Kind::Rejoin, 300));
        let tried = told(&open, &rejoining, closed(), 300);
        let again = |secs| {
            let mut fleet = told(&tried, &rejoining, closed(), secs);
            Arc::make_mut(&mut fleet.policy).recovery.rejoin_former_primaries = true;
            rejoinable(&fleet, at(secs)).contains(&key("p"))
        };
        assert!(!again(359), "{ahead} s ahead");
        assert!(again(360), "{ahead} s ahead");
    }
}

/// I9: its last step down was not taken, and nobody else sees to it.
#[test]
fn who_did_not_answer_at_the_end_of_a_takeover_comes_back_as_well() {
    let replicas = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    for (failed_on, expected) in [(vec![key("p")], vec![key("p")]), (vec![], vec![])] {
        let recovery = Arc::new(Recovery {
            kind: Kind::Takeover,
            ended_at: Some(now()),
            phase: Phase::Ended(End::Done),
            successor: Some(key("a")),
            failed_on: failed_on.into_iter().collect(),
            ..begun.clone()
        });
        let ledger =
            apply(&LedgerState::default(), &Command::BeginRecovery { recovery }).unwrap().0;
        let opened = with(replica("a", "1-9", "1-9"), |it| {
            it.channels.clear();
            it.read_only = false;
        });
        let inputs = vec![
            FleetInput::Ledger(Arc::new(ledger)),
            FleetInput::Probed(answered("a", 200, opened.1)),
            FleetInput::Probed(answered("p", 200, Facts { read_only: true, ..primary_facts() })),
        ];
        let mut fleet = advance(&fleet, inputs, at(201)).snapshot;
        assert_eq!(rejoinable(&fleet, at(201)), [], "where the configuration wants that");
        Arc::make_mut(&mut fleet.policy).recovery.rejoin_former_primaries = true;
        assert_eq!(rejoinable(&fleet, at(201)), expected);
    }
}

#[test]
fn what_was_set_holds_at_once_and_as_long_as_was_said_whatever_the_leaders_clock_says() {
    let both = [replica("a", "1-9", "1-9"), replica("c", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &both, &[]);
    let holds = |fleet: &FleetSnapshot, secs: i64| {
        let (ledger, now) = (&fleet.ledger, at(secs));
        let rule = ledger.promotion_rule(&key("a"), None, now);
        let all = [
            ledger.downtime_of(&key("a"), now).is_some(),
            ledger.maintenance_of(&key("a"), now).is_some(),
            rule == PromotionRule::Prefer,
            ledger.active_pools(now).count() == 1,
        ];
        assert!(all.iter().all(|it| *it == all[0]), "{secs}: {all:?}");
        all[0]
    };
    let lasts = 240;
    // `ahead`: what the clock says of the one that leads when it is 10,000 here.
    for (case, ahead, ends_here) in [
        ("the clocks agree", 0, 10_000 + lasts),
        ("news may take a moment", -9, 9_991 + lasts),
        ("a little ahead", 5, 10_000 + lasts),
        ("behind by more than it lasts", -300, 10_000 + lasts),
        ("ahead by more than it lasts", 300, 10_000 + lasts),
        ("ahead by a day", 86_400, 10_000 + lasts),
        ("behind by a quarter of an hour", -900, 10_000 + lasts),
    ] {
        let (begins_at, ends_at) = (at(10_000 + ahead), at(10_000 + ahead + lasts));
        let (owner, reason) = (Arc::<str>::from("ann"), Arc::<str>::from("disk"));
        let downtime =
            Downtime { owner: Arc::clone(&owner), reason: Arc::clone(&reason), begins_at, ends_at };
        let rule = PromotionRule::Prefer;
        let candidate = Candidate { rule, registered_at: begins_at, expires_at: ends_at };
        let pool = Pool { members: vec![key("a")], submitted_at: begins_at, expires_at: ends_at };
        let commands = [
            Command::BeginDowntime { key: key("a"), downtime },
            Command::BeginMaintenance { key: key("a"), owner, reason, begins_at, ends_at },
            Command::RegisterCandidate { key: key("a"), candidate },
            Command::SubmitPool { name: "p".into(), pool },
        ];
        let ledger =
            commands.iter().fold(LedgerState::default(), |state, it| apply(&state, it).unwrap().0);
        let ledger = Arc::new(ledger);
        let told = |fleet: &FleetSnapshot, ledger: &Arc<LedgerState>, secs: i64| {
            let told = vec![FleetInput::Ledger(Arc::clone(ledger))];
            advance(fleet, told, at(secs)).snapshot
        };
        let learned = told(&fleet, &ledger, 10_000);
        // That the ledger goes on changes nothing.
        let tag = Command::Tag { key: key("a"), name: "n".into(), value: "v".into() };
        let after = Arc::new(apply(&ledger, &tag).unwrap().0);
        let later = told(&learned, &after, 10_100);
        for fleet in [&learned, &later] {
            assert!(holds(fleet, 10_000), "case: {case}");
            assert!(holds(fleet, ends_here - 1), "case: {case}");
            assert!(!holds(fleet, ends_here), "case: {case}");
        }
        // Who starts in the middle of it keeps it no longer than it lasts.
        let started =
            FleetSnapshot::empty(Arc::clone(&fleet.policy), Arc::clone(&after), at(10_100));
        assert!(!holds(&started, 10_100 + lasts), "case: {case}");
        assert_eq!(holds(&started, 10_100), ahead >= -9, "case: {case}");
    }
}

/// A node that is added, or was away, learns of what ended days ago: that does not begin anew.
#[test]
fn what_was_over_long_ago_stays_over_on_a_node_that_catches_up() {
    let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let at = Timestamp::from_secs;
    let text = Arc::<str>::from("x");
    let (begins_at, ends_at) = (at(10_000), at(10_000 + 8 * 3_600));
    let downtime = Downtime { owner: Arc::clone(&text), reason: text, begins_at, ends_at };
    let command = Command::BeginDowntime { key: key("a"), downtime };
    let ledger = Arc::new(apply(&LedgerState::default(), &command).unwrap().0);
    let now = at(10_000 + 24 * 3_600);
    let told = vec![FleetInput::Ledger(ledger)];
    let learned = advance(&fleet, told, now).snapshot;
    assert!(learned.ledger.downtime_of(&key("a"), now).is_none());
}
