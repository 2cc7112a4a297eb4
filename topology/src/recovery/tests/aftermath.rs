//! What a failover left behind is told until a person has seen to it.

use super::*;
use crate::recovery::aftermath::aftermaths;

const BACK: i64 = 140;

/// `a` replaced `p`, which was closed or not; then this happened.
fn left(
    change: fn(&mut Recovery),
    p_later: Option<Facts>,
    more: &[fn(&Recovery) -> FleetInput],
) -> Vec<String> {
    let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let (begun, plan) = planned(&fleet, &request(Cause::ForcedFailover, None)).unwrap();
    let mut done = Recovery {
        id: 1,
        successor: Some(key("a")),
        plan: Some(plan),
        ended_at: Some(now()),
        phase: Phase::Ended(End::Done),
        ..begun
    };
    change(&mut done);
    let begin = Command::BeginRecovery { recovery: Arc::new(done.clone()) };
    let (ledger, _) = apply(&LedgerState::default(), &begin).unwrap();
    let mut a = with(replica("a", "1-9", "1-9"), |it| it.channels.clear()).1;
    a.read_only = false;
    let kept = done.plan.as_ref().map(|plan| plan.loss.kept.clone());
    a.gtid.executed = kept.unwrap_or_default();
    let mut inputs =
        vec![FleetInput::Ledger(Arc::new(ledger)), FleetInput::Probed(answered("a", BACK, a))];
    inputs.extend(p_later.map(|facts| FleetInput::Probed(answered("p", BACK, facts))));
    inputs.extend(more.iter().map(|it| it(&done)));
    let later = Timestamp::from_secs(BACK + 10);
    let fleet = advance(&fleet, inputs, later).snapshot;
    aftermaths(&fleet).iter().map(ToString::to_string).collect()
}

fn acknowledged(recovery: &Recovery) -> FleetInput {
    let begin = Command::BeginRecovery { recovery: Arc::new(recovery.clone()) };
    let (ledger, _) = apply(&LedgerState::default(), &begin).unwrap();
    let acknowledgement = Acknowledgement { at: now(), by: "me".into(), comment: "seen".into() };
    let command = Command::AcknowledgeRecoveries { ids: vec![1], acknowledgement };
    FleetInput::Ledger(Arc::new(apply(&ledger, &command).unwrap().0))
}

fn forgotten(_: &Recovery) -> FleetInput {
    FleetInput::Forgotten(vec![key("p")])
}

fn died_since(_: &Recovery) -> FleetInput {
    FleetInput::Probed(refused("p", BACK + 5))
}

fn successor_died(_: &Recovery) -> FleetInput {
    FleetInput::Probed(refused("a", BACK + 5))
}

fn back(had: Gtids, read_only: bool) -> Option<Facts> {
    let mut p = primary_facts();
    p.server_uuid = Some(P.parse().unwrap());
    p.server_id = 1;
    p.gtid.executed = had;
    p.read_only = read_only;
    Some(p)
}

fn rejoined(had: Gtids) -> Option<Facts> {
    let mut p = replica_facts(&key("a"));
    p.gtid.executed = had;
    p.read_only = true;
    Some(p)
}

#[test]
fn whoever_was_replaced_is_told_of_until_somebody_has_seen_to_it() {
    let fenced: fn(&mut Recovery) = |it| it.fenced = true;
    let open: fn(&mut Recovery) = |_| ();
    let lossy: fn(&mut Recovery) = |it| {
        it.fenced = true;
        let loss = &mut it.plan.as_mut().unwrap().loss;
        (loss.count, loss.known) = (3, format!("{P}:7-9"));
    };
    let mariadb: fn(&mut Recovery) = |it| {
        it.fenced = true;
        let kept = Gtids::MariaDb("0-1-187".parse().unwrap());
        it.plan.as_mut().unwrap().loss.kept = kept;
    };
    let mysql = || of_p("1-1322");
    for (case, recovery, later, more, expected) in [
        ("closed, and away", fenced, None, vec![], ""),
        ("not closed, and away", open, None, vec![], "may still write to it"),
        ("acknowledged", open, None, vec![acknowledged as fn(&Recovery) -> FleetInput], ""),
        ("forgotten", open, None, vec![forgotten as _], ""),
        ("closed later", open, back(of_p("1-9"), true), vec![], ""),
        ("back and open", open, back(of_p("1-9"), false), vec![], "accepts writes beside a:3306"),
        ("with more", open, back(mysql(), true), vec![], "has 1313 transactions that a:3306 lacks"),
        ("seen to", open, back(mysql(), true), vec![acknowledged as _], ""),
        ("rejoined", lossy, rejoined(of_p("1-9")), vec![], ""),
        ("rejoined, and died since", lossy, rejoined(of_p("1-1322")), vec![died_since as _], ""),
        (
            "nobody leads",
            fenced,
            back(of_p("1-9"), true),
            vec![successor_died as _],
            "refuses writes, and nobody accepts any: a:3306",
        ),
        ("both are gone", fenced, None, vec![successor_died as _], ""),
        ("lost", lossy, None, vec![], "3 transactions lost when p:3306 was replaced"),
        ("lost and back", lossy, back(of_p("1-9"), true), vec![], "3 transactions lost"),
    ] {
        let told = left(recovery, later, &more).join("|");
        let is_met = if expected.is_empty() { told.is_empty() } else { told.contains(expected) };
        assert!(is_met, "case: {case}: {told:?}");
    }
    let at = |position: &str| back(Gtids::MariaDb(position.parse().unwrap()), true);
    let told = left(mariadb, at("0-1-1500"), &[]).join("|");
    assert!(told.contains("has 1313 transactions"), "{told}");
    // What came from elsewhere is not its own.
    assert_eq!(left(mariadb, at("0-1-187,5-9-77"), &[]), [""; 0]);
}
