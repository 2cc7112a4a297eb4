//! Those who follow a primary that was replaced before.

use super::*;
use crate::action::Switch;

/// `a` replaced `p` while `b` did not answer. Now `b` is back, has this and is like this.
fn after_failover(
    b_has: &str,
    change: Change,
    recovery_change: fn(&mut Recovery),
) -> FleetSnapshot {
    seen_after_failover(b_has, change, recovery_change, 101_000)
}

/// The same; `b` was probed then.
fn seen_after_failover(
    b_has: &str,
    change: Change,
    recovery_change: fn(&mut Recovery),
    b_seen_at: i64,
) -> FleetSnapshot {
    let both = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")];
    let before = fleet_with(everywhere(), "1-9", &both, &["b"]);
    let begun = begin(&request(Cause::ForcedFailover, None), &before, &runner(), now()).unwrap();
    let mut done = Recovery {
        successor: Some(key("a")),
        ended_at: Some(now()),
        phase: Phase::Ended(End::Done),
        ..begun
    };
    recovery_change(&mut done);
    let command = Command::BeginRecovery { recovery: Arc::new(done) };
    let (ledger, _) = apply(&LedgerState::default(), &command).unwrap();
    let (_, a) = with(replica("a", "1-9", "1-9"), alone);
    let (_, b) = with(replica("b", b_has, b_has), change);
    let inputs = vec![
        FleetInput::Ledger(Arc::new(ledger)),
        FleetInput::Probed(answered("a", 101_000, a)),
        FleetInput::Probed(answered("b", b_seen_at, b)),
    ];
    advance(&before, inputs, Timestamp::from_secs(102)).snapshot
}

fn alone(facts: &mut Facts) {
    facts.channels.clear();
    facts.read_only = false;
}

fn same(_: &mut Facts) {}

/// What is done about `p`, and in whose cluster.
fn decided(fleet: &FleetSnapshot, cause: Cause) -> String {
    let recovery = match begin(&request(cause, None), fleet, &runner(), now()) {
        Ok(recovery) => recovery,
        Err(refused) => return format!("no: {refused}"),
    };
    let scene = super::super::scene::scene(&recovery, fleet);
    let situation = Situation {
        cluster: &scene,
        returned: None,
        ledger: &fleet.ledger,
        policy: &fleet.policy,
        now: now(),
    };
    let plan = super::super::plan::plan(&recovery, &situation).unwrap();
    super::super::check::check(&plan, &recovery, &situation).unwrap();
    let moved: Vec<&str> = plan.gather.chains.iter().map(|chain| chain.on.host()).collect();
    let is_theirs = fleet.member(&key("a")).unwrap().0.id == recovery.cluster;
    let whose = if is_theirs { "its cluster" } else { "another" };
    let (moved, successor) = (moved.join(", "), plan.successor.host());
    format!("{:?} in {whose}: {moved} below {successor}", recovery.kind)
}

/// I6: whoever was replaced once is not recovered by making somebody else a second primary.
#[test]
fn who_still_follows_a_replaced_primary_is_brought_to_the_one_that_replaced_it() {
    let cases: [(&str, FleetSnapshot, &str); 4] = [
        (
            "who has nothing of its own",
            after_failover("1-9", same, |_| {}),
            "Regroup in its cluster: b below a",
        ),
        (
            "who has more than the new primary",
            after_failover("1-10", same, |_| {}),
            "no: b:3306: b:3306 has 1 transactions that a:3306 lacks",
        ),
        ("who follows nobody any more", after_failover("1-9", alone, |_| {}), "no: "),
        (
            "a primary that was never replaced",
            after_failover("1-9", same, |it| {
                it.successor = None;
                it.phase = Phase::Ended(End::RolledBack);
                it.begun_at = Timestamp::from_secs(0);
                it.ended_at = Some(Timestamp::from_secs(1));
            }),
            "Primary",
        ),
    ];
    for (name, fleet, expected) in cases {
        for cause in [Cause::Found, Cause::Asked, Cause::ForcedFailover] {
            let decided = decided(&fleet, cause);
            assert!(decided.starts_with(expected), "{name}, {cause:?}: {decided}");
        }
    }
}

/// They replicate from each other, and people opened the one that was replaced: it is the primary.
#[test]
fn a_former_primary_that_people_opened_beside_a_closed_one_is_replaced_again() {
    let below = |source: &str, is_open: bool| {
        let mut facts = replica("x", "1-9", "1-9").1;
        facts.channels[0].source = SourceLink::Attached(key(source));
        facts.read_only = !is_open;
        facts
    };
    let below_a: Change = |it| it.channels[0].source = SourceLink::Attached(key("a"));
    let decided = |a_is_open: bool, a_seen_at: i64| {
        let inputs = vec![
            FleetInput::Probed(answered("p", 300, below("a", true))),
            FleetInput::Probed(answered("a", a_seen_at, below("p", a_is_open))),
            FleetInput::Probed(refused("p", 400)),
        ];
        let fleet = after_failover("1-9", below_a, |_| {});
        let fleet = advance(&fleet, inputs, Timestamp::from_secs(500)).snapshot;
        decided(&fleet, Cause::Asked)
    };
    assert!(decided(false, 350).starts_with("CoPrimary"), "{}", decided(false, 350));
    assert!(!decided(false, 250).starts_with("CoPrimary"), "that was before");
    assert!(!decided(true, 350).starts_with("CoPrimary"), "I6: the other one is open");
}

/// The recovery itself may have moved a replica since it was probed.
#[test]
fn replicas_are_regrouped_only_once_they_were_probed_after_the_recovery() {
    for cause in [Cause::Found, Cause::Asked, Cause::RegroupAuto] {
        let early = decided(&seen_after_failover("1-9", same, |_| {}, 100), cause);
        assert!(early.contains("b:3306 has not been probed since recovery 1 ended"), "{early}");
        let later = decided(&seen_after_failover("1-9", same, |_| {}, 101), cause);
        assert_eq!(later, "Regroup in its cluster: b below a", "{cause:?}");
    }
}

#[test]
fn who_was_replaced_is_remembered_when_all_else_is_forgotten() {
    let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let ended = |uid: &str, kind: Kind| Command::BeginRecovery {
        recovery: Arc::new(Recovery {
            uid: uid.into(),
            kind,
            ended_at: Some(now()),
            phase: Phase::Ended(End::Done),
            ..begun.clone()
        }),
    };
    let days = |days: u64| now().plus(std::time::Duration::from_secs(days * 24 * 60 * 60));
    let commands = [ended("1", Kind::Rejoin), ended("2", Kind::Primary)];
    let purged = |before| {
        let all = commands.iter().chain([&before]);
        let state = all.fold(LedgerState::default(), |state, it| apply(&state, it).unwrap().0);
        state.recoveries.values().map(|it| it.kind).collect::<Vec<_>>()
    };
    assert_eq!(purged(Command::Purge { before: days(59) }), [Kind::Primary]);
    assert_eq!(purged(Command::Purge { before: days(61) }), []);
}

fn opens_acknowledging(recovery: &Recovery, fleet: &FleetSnapshot) -> bool {
    let plan = super::super::plan::plan(recovery, &situation(fleet)).unwrap();
    plan.open.chains[0].actions.contains(&Action::SetSemiSyncSource(Switch::On))
}

/// I5: a failover does not end semi-synchronous replication, whatever closing the old primary took.
#[test]
fn who_succeeds_waits_for_acknowledgements_where_the_old_primary_did() {
    let available: Change = |it| it.semi_sync.available = true;
    let a = with(replica("a", "1-9", "1-9"), available);
    let before = fleet_with(everywhere(), "1-9", &[a], &[]);
    let p = before.instance(&key("p")).unwrap();
    let primary_that = |change: Change| {
        let (_, facts) = with(("p".into(), (*p.facts).clone()), change);
        let seen = FleetInput::Probed(answered("p", 40, facts));
        let gone = FleetInput::Probed(refused("p", 60));
        advance(&before, vec![seen, gone], now()).snapshot
    };
    let waits: Change = |it| {
        it.semi_sync.source_enabled = true;
        it.semi_sync.source_active = true;
        it.semi_sync.wait_for_replicas = 1;
    };
    let begun = |fleet| begin(&request(Cause::Found, None), fleet, &runner(), now()).unwrap();
    // What it is when it was closed does not count.
    let (waiting, closed) = (primary_that(waits), primary_that(|_| {}));
    assert!(opens_acknowledging(&begun(&waiting), &closed));
    assert!(!opens_acknowledging(&begun(&closed), &closed));
    let lapsed = primary_that(|it| it.semi_sync.source_enabled = true);
    assert!(opens_acknowledging(&begun(&lapsed), &closed));
    // Nobody has seen it yet since it was made primary itself.
    let made = Recovery {
        analysis: Analysis { key: key("q"), ..begun(&waiting).analysis },
        cluster: crate::cluster::ClusterId::new("q"),
        successor: Some(key("p")),
        ended_at: Some(now()),
        phase: Phase::Ended(End::Done),
        acknowledged: Some(Acknowledgement { at: now(), by: "x".into(), comment: "y".into() }),
        ..begun(&waiting)
    };
    let command = Command::BeginRecovery { recovery: Arc::new(made) };
    let (ledger, _) = apply(&LedgerState::default(), &command).unwrap();
    let unseen = advance(&closed, vec![FleetInput::Ledger(Arc::new(ledger))], now()).snapshot;
    assert_eq!(begun(&unseen).acknowledging, Acknowledging::By(1));
}

#[test]
fn of_two_failovers_in_a_minute_the_last_one_says_who_heads_the_cluster() {
    let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let cluster = fleet.member(&key("p")).unwrap().0.id.clone();
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let failover = |uid: &str, failed: &str, successor: &str| Command::BeginRecovery {
        recovery: Arc::new(Recovery {
            uid: uid.into(),
            analysis: Analysis { key: key(failed), ..begun.analysis.clone() },
            successor: Some(key(successor)),
            ended_at: Some(now()),
            phase: Phase::Ended(End::Done),
            ..begun.clone()
        }),
    };
    let closed: Change = |it| {
        it.channels.clear();
        it.read_only = true;
    };
    let as_primary = |change: Change| {
        let (_, a) = with(replica("a", "1-9", "1-9"), alone);
        with(("".into(), a), change).1
    };
    let (once, _) = apply(&LedgerState::default(), &failover("1", "p", "a")).unwrap();
    let (twice, _) = apply(&once, &failover("2", "a", "p")).unwrap();
    // `a` took over from `p`, hung, and gave it back; now it is awake, and closed.
    let inputs = vec![
        FleetInput::Ledger(Arc::new(once)),
        FleetInput::Probed(answered("a", 101, as_primary(same))),
    ];
    let headed_by_a = advance(&fleet, inputs, Timestamp::from_secs(102)).snapshot;
    assert_eq!(headed_by_a.member(&key("a")).unwrap().0.id, cluster);
    let inputs = vec![
        FleetInput::Ledger(Arc::new(twice)),
        FleetInput::Probed(answered("a", 103, as_primary(closed))),
        FleetInput::Probed(answered("p", 103, as_primary(same))),
    ];
    let after = advance(&headed_by_a, inputs, Timestamp::from_secs(104)).snapshot;
    assert_eq!(after.member(&key("p")).unwrap().0.id, cluster);
    let rejoin = Request { key: key("a"), ..request(Cause::Rejoin, None) };
    let recovery = begin(&rejoin, &after, &runner(), Timestamp::from_secs(102)).unwrap();
    assert_eq!(recovery.wanted, Some(key("p")));
}

#[test]
fn of_two_clusters_that_somebody_took_over_in_a_minute_the_last_one_is_its_own() {
    let fleet = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9")], &[]);
    let cluster = fleet.member(&key("p")).unwrap().0.id.clone();
    let begun = begin(&request(Cause::Found, None), &fleet, &runner(), now()).unwrap();
    let took_over = |state: &LedgerState, uid: &str, of: &str| {
        let recovery = Recovery {
            uid: uid.into(),
            cluster: crate::cluster::ClusterId::new(of),
            successor: Some(key("a")),
            ended_at: Some(now()),
            phase: Phase::Ended(End::Done),
            ..begun.clone()
        };
        apply(state, &Command::BeginRecovery { recovery: Arc::new(recovery) }).unwrap().0
    };
    for other in ["a", "z"] {
        let ledger = took_over(&LedgerState::default(), "1", other);
        let ledger = took_over(&ledger, "2", cluster.as_str());
        let (_, a) = with(replica("a", "1-9", "1-9"), alone);
        let inputs = vec![
            FleetInput::Ledger(Arc::new(ledger)),
            FleetInput::Probed(answered("a", 101, a)),
            FleetInput::Probed(refused("p", 101)),
        ];
        let after = advance(&fleet, inputs, Timestamp::from_secs(102)).snapshot;
        assert_eq!(after.member(&key("a")).unwrap().0.id, cluster);
    }
}

/// I6: a server that is about to be opened follows nobody, and looks like a former primary that
/// could come back.
#[test]
fn who_is_being_opened_is_not_brought_back_below_somebody_else() {
    let after = |phase: Phase| {
        let fleet = after_failover("1-9", same, |_| {});
        // `a` died in its turn, and `p`, which is back and closed, is about to be opened.
        let begun = begin(&request(Cause::ForcedFailover, None), &fleet, &runner(), now());
        let promoting = Recovery {
            uid: "2".into(),
            kind: Kind::Primary,
            analysis: Analysis { key: key("a"), ..begun.unwrap().analysis },
            cluster: crate::cluster::ClusterId::new("elsewhere"),
            replicas: vec![key("p")],
            ended_at: (!matches!(phase, Phase::Opening)).then(now),
            phase,
            ..fleet.ledger.recoveries.values().next().unwrap().as_ref().clone()
        };
        let command = Command::BeginRecovery { recovery: Arc::new(promoting) };
        let (ledger, _) = apply(&fleet.ledger, &command).unwrap();
        let (_, p) =
            with(("p".into(), (*fleet.instance(&key("p")).unwrap().facts).clone()), |it| {
                it.read_only = true;
            });
        let inputs =
            vec![FleetInput::Ledger(Arc::new(ledger)), FleetInput::Probed(answered("p", 103, p))];
        let fleet = advance(&fleet, inputs, Timestamp::from_secs(104)).snapshot;
        let rejoin = request(Cause::RejoinAuto, Some("b"));
        begin(&rejoin, &fleet, &runner(), now()).map(|it| it.kind)
    };
    let refused = after(Phase::Opening).unwrap_err().to_string();
    assert_eq!(refused, "recovery 2 of a:3306 is under way");
    assert_ne!(after(Phase::Ended(End::RolledBack)), Err(Refused::because(refused)));
}

/// I9: while `p` returns, `b` that still stands below it waits to be moved.
#[test]
fn the_return_of_a_former_primary_does_not_concern_its_replicas() {
    let fleet = after_failover("1-9", same, |_| {});
    let (_, p) = with(("p".into(), (*fleet.instance(&key("p")).unwrap().facts).clone()), |it| {
        it.read_only = true;
    });
    let inputs = vec![FleetInput::Probed(answered("p", 103, p))];
    let fleet = advance(&fleet, inputs, Timestamp::from_secs(104)).snapshot;
    assert_eq!(fleet.member(&key("p")).unwrap().1.replicas, [key("b")]);
    let recovery = begin(&request(Cause::RejoinAuto, None), &fleet, &runner(), now()).unwrap();
    assert!(recovery.changes(&key("p")) && !recovery.changes(&key("b")));
}

/// I8: people see first what they ask for, though a former primary is not in the cluster it comes
/// back to.
#[test]
fn what_bringing_back_a_former_primary_would_do_can_be_seen_first() {
    let fleet = after_failover("1-9", same, |_| {});
    let (_, p) = with(("p".into(), (*fleet.instance(&key("p")).unwrap().facts).clone()), |it| {
        it.read_only = true;
    });
    let inputs = vec![FleetInput::Probed(answered("p", 103, p))];
    let fleet = advance(&fleet, inputs, Timestamp::from_secs(104)).snapshot;
    let rejoin = request(Cause::Rejoin, None);
    let shown = super::super::preview::preview(&rejoin, &fleet, &runner(), now()).unwrap();
    assert_eq!((shown.kind, shown.successor), (Kind::Rejoin, key("a")));
    let follows = |it: &&String| it.contains("p:3306: ") && it.contains("replicate from a:3306");
    assert_eq!(shown.lines.iter().filter(follows).count(), 1, "{:?}", shown.lines);
}

/// I1, I6: two trees may be what one cluster was.
#[test]
fn who_refuses_writes_is_not_opened_while_another_head_of_the_cluster_may_be_open() {
    let open: Change = |it| it.read_only = false;
    let closed: Change = |it| it.read_only = true;
    let below_p: Change = |it| {
        it.read_only = false;
        *it = Facts { channels: replica_facts(&key("p")).channels, ..it.clone() };
    };
    // `a` replaced `p`; then each was seen like this, or not at all.
    let rivals_of = |name: &str, a: Option<Change>, p: Option<Change>| {
        let fleet = after_failover("1-9", same, |_| {});
        let seen = |name: &str, change: Option<Change>| match change {
            Some(change) => {
                let facts = (*fleet.instance(&key(name)).unwrap().facts).clone();
                answered(name, 103, with((name.into(), facts), change).1)
            }
            None => refused(name, 103),
        };
        let inputs = vec![FleetInput::Probed(seen("a", a)), FleetInput::Probed(seen("p", p))];
        let fleet = advance(&fleet, inputs, Timestamp::from_secs(104)).snapshot;
        let (cluster, member) = fleet.member(&key(name)).unwrap();
        super::super::former::rivals(cluster, member, &fleet).join("; ")
    };
    assert_eq!(rivals_of("a", Some(closed), Some(open)), "p:3306 accepts writes");
    assert_eq!(rivals_of("a", Some(closed), Some(closed)), "");
    assert_eq!(rivals_of("a", Some(closed), None), "");
    let replaced = "a:3306 replaced p:3306 in recovery 1, and may be open";
    assert_eq!(rivals_of("p", None, Some(closed)), replaced);
    assert!(rivals_of("p", Some(open), Some(closed)).contains("a:3306 accepts writes"));
    assert_eq!(rivals_of("p", Some(closed), Some(closed)), "", "closed by people");
    let writable_replica = rivals_of("p", Some(below_p), Some(closed));
    assert_eq!(writable_replica, "a:3306 accepts writes", "whatever it follows");
}

/// A backup may have held it up. What MariaDB throws away the new primary gives it again, if it can.
#[test]
fn who_would_throw_away_its_relay_log_is_moved_to_who_has_all_of_it() {
    let stopped: Change = |it| {
        it.version = crate::version::Version::parse("10.11.14-MariaDB", "");
        it.server_id = 3;
        it.gtid.replicated = "0-1-5".parse().unwrap();
        let channel = &mut it.channels[0];
        channel.positioning = crate::instance::Positioning::MariaDbGtid;
        channel.received = Gtids::MariaDb("0-1-9".parse().unwrap());
        (channel.receiver, channel.applier) = (ThreadState::Stopped, ThreadState::Stopped);
    };
    let failed_there: fn(&mut Recovery) = |it| {
        it.failed_on = [key("b")].into();
        let actions = super::super::plan::follow(&key("a"));
        let chain = Chain { on: key("b"), actions, need: Need::Should };
        it.plan = Some(Plan {
            successor: key("a"),
            why: Vec::new(),
            prepare: Vec::new(),
            open: Stage::default(),
            gather: Stage { chains: vec![chain] },
            lost: Vec::new(),
            loss: Loss::default(),
        });
    };
    for (logged, is_moved) in [("0-2-12", true), ("0-2-7", false)] {
        let mut a = primary_facts();
        a.gtid.logged = logged.parse().unwrap();
        let seen = vec![FleetInput::Probed(answered("a", 101_001, a))];
        let fleet = after_failover("1-9", stopped, failed_there);
        let now = Timestamp::from_secs(103);
        let fleet = advance(&fleet, seen, now).snapshot;
        let review = super::super::upkeep::Vigil::default().review(&fleet, now);
        let moved =
            review.chores.iter().any(|it| it.why.starts_with("b:3306 could not be brought"));
        assert_eq!(moved, is_moved, "{logged}: {:?}", review.chores);
    }
}

/// I9: `b` was too busy to stop when `a` took over from `p`.
#[test]
fn who_was_stopped_and_not_moved_is_moved_later() {
    let stopped: Change = |it| {
        it.channels[0].receiver = ThreadState::Stopped;
        it.channels[0].receiver_error = Default::default();
    };
    let running: Change = |it| it.channels[0].receiver = ThreadState::Running;
    let moved: Change = |it| {
        it.channels[0].source = SourceLink::Attached(key("a"));
        it.channels[0].receiver = ThreadState::Stopped;
    };
    let failed_there: fn(&mut Recovery) = |it| {
        it.failed_on = [key("b")].into();
        let chain = Chain {
            on: key("b"),
            actions: super::super::plan::follow(&key("a")),
            need: Need::Should,
        };
        it.plan = Some(Plan {
            successor: key("a"),
            why: Vec::new(),
            prepare: Vec::new(),
            open: Stage::default(),
            gather: Stage { chains: vec![chain] },
            lost: Vec::new(),
            loss: Loss::default(),
        });
    };
    let done = |change: Change, recovery_change: fn(&mut Recovery), at: i64| {
        let fleet = after_failover("1-9", change, recovery_change);
        let now = Timestamp::from_secs(at);
        let review = super::super::upkeep::Vigil::default().review(&fleet, now);
        review.chores.into_iter().map(|it| it.why).collect::<Vec<_>>()
    };
    let rolled_back: fn(&mut Recovery) = |it| {
        it.failed_on = [key("b")].into();
        it.phase = Phase::Ended(End::RolledBack);
        it.successor = None;
    };
    let started = ["b:3306 could not be started again in recovery 1"];
    assert_eq!(done(stopped, rolled_back, 102), started);
    assert!(done(running, rolled_back, 102).is_empty(), "somebody started it");
    let why = ["b:3306 could not be brought to a:3306 in recovery 1"];
    let nothing: [&str; 0] = [];
    assert_eq!(done(stopped, failed_there, 102), why);
    let fleet = after_failover("1-9", stopped, failed_there);
    let (key, owner, reason) = (key("b"), "x".into(), "y".into());
    let (begins_at, ends_at) = (now(), now().plus(std::time::Duration::from_secs(60)));
    let lock = Command::BeginMaintenance { key, owner, reason, begins_at, ends_at };
    let (ledger, _) = apply(&fleet.ledger, &lock).unwrap();
    let inputs = vec![FleetInput::Ledger(Arc::new(ledger))];
    let fleet = advance(&fleet, inputs, Timestamp::from_secs(102)).snapshot;
    let review = super::super::upkeep::Vigil::default().review(&fleet, Timestamp::from_secs(102));
    assert!(review.chores.is_empty(), "somebody works on it: {:?}", review.chores);
    assert_eq!(done(moved, failed_there, 102), why, "it only was not started");
    assert_eq!(done(running, failed_there, 102), nothing, "somebody started it");
    assert_eq!(done(stopped, |_| {}, 102), nothing, "the recovery did not stop it");
    assert_eq!(done(stopped, failed_there, 1_000), nothing, "that is long ago");
}

/// `a` was opened first, its receiver stopped later than that, and the order to forget got no answer:
/// it may have found `p` again, which people made its replica meanwhile.
#[test]
fn a_new_primary_that_could_not_forget_the_old_one_forgets_it_later() {
    let not_forgotten: fn(&mut Recovery) = |it| {
        it.failed_on = [key("a")].into();
        let actions = vec![Action::ForgetSource];
        let chain = Chain { on: key("a"), actions, need: Need::Should };
        it.plan = Some(Plan {
            successor: key("a"),
            why: Vec::new(),
            prepare: Vec::new(),
            open: Stage::default(),
            gather: Stage { chains: vec![chain] },
            lost: Vec::new(),
            loss: Loss::default(),
        });
    };
    for (receiver, source, is_told) in [
        (ThreadState::Running, "p", true),
        (ThreadState::Stopped, "p", true),
        (ThreadState::Running, "elsewhere", false),
    ] {
        let mut a = replica("a", "1-9", "1-9").1;
        a.read_only = false;
        a.channels[0].receiver = receiver;
        a.channels[0].source = SourceLink::Attached(key(source));
        let seen = vec![FleetInput::Probed(answered("a", 101_001, a))];
        let fleet = after_failover("1-9", same, not_forgotten);
        let now = Timestamp::from_secs(103);
        let fleet = advance(&fleet, seen, now).snapshot;
        let review = super::super::upkeep::Vigil::default().review(&fleet, now);
        let told = review.chores.iter().any(|it| it.why.starts_with("a:3306 could not forget p"));
        assert_eq!(told, is_told, "{receiver:?} {source}: {:?}", review.chores);
    }
}

/// I9: `p` is back and closed, and `b` found it before anybody could bring it to `a`.
#[test]
fn who_still_follows_a_former_primary_that_is_back_is_brought_to_the_new_one() {
    let running: Change = |it| it.channels[0].receiver = ThreadState::Running;
    let lost: fn(&mut Recovery) = |it| it.lost = vec![key("b")];
    let back_after = |b_has: &str, change: Change, recovery_change: fn(&mut Recovery)| {
        let fleet = after_failover(b_has, running, recovery_change);
        let mut p = primary_facts();
        p.read_only = true;
        p.gtid.executed = of_p("1-9");
        change(&mut p);
        let inputs = vec![FleetInput::Probed(answered("p", 103_000, p))];
        advance(&fleet, inputs, Timestamp::from_secs(104)).snapshot
    };
    let back = |b_has: &str, change: Change| back_after(b_has, change, lost);
    let brought = "Regroup in its cluster: b below a";
    let fleet = back("1-9", same);
    assert_eq!(super::super::former::regroupable(&fleet), [key("p")]);
    assert_eq!(decided(&fleet, Cause::RegroupAuto), brought);
    let fleet = back("1-12", same);
    let refused = decided(&fleet, Cause::RegroupAuto);
    assert!(refused.starts_with("no: ") && refused.contains("lacks"), "I3: {refused}");
    let follows_a: Change = |p| {
        p.channels = replica("p", "1-9", "1-9").1.channels;
        p.channels[0].source = SourceLink::Attached(key("a"));
    };
    let none: [InstanceKey; 0] = [];
    let put_there = back_after("1-9", same, |_| {});
    assert_eq!(super::super::former::regroupable(&put_there), none, "people did that");
    let tried = back_after("1-9", same, |it| it.failed_on = [key("b")].into());
    assert_eq!(super::super::former::regroupable(&tried), [key("p")]);
    for (case, change) in [
        ("it is open: fenced first", (|it| it.read_only = false) as Change),
        ("a replica", follows_a),
    ] {
        let fleet = back("1-9", change);
        assert_eq!(super::super::former::regroupable(&fleet), none, "{case}");
    }
    let disabled = Command::SetRecoveriesDisabled { disabled: true };
    let fleet = back("1-9", same);
    let (ledger, _) = apply(&fleet.ledger, &disabled).unwrap();
    let inputs = vec![FleetInput::Ledger(Arc::new(ledger))];
    let fleet = advance(&fleet, inputs, Timestamp::from_secs(105)).snapshot;
    let refused = decided(&fleet, Cause::RegroupAuto);
    assert!(refused.contains("disabled globally"), "{refused}");
}

/// The new primary forgot its account when it was promoted; its replicas keep theirs.
#[test]
fn whoever_may_keep_an_account_for_a_former_primary_is_asked_for_it() {
    let below_a: Change = |it| it.channels[0].source = SourceLink::Attached(key("a"));
    let fleet = after_failover("1-9", below_a, |_| {});
    let back = |change: Change| {
        let facts = (*fleet.instance(&key("p")).unwrap().facts).clone();
        let (_, p) = with(("p".into(), facts), change);
        let inputs = vec![FleetInput::Probed(answered("p", 103, p))];
        let fleet = advance(&fleet, inputs, Timestamp::from_secs(104)).snapshot;
        let recovery = begin(&request(Cause::Rejoin, None), &fleet, &runner(), now());
        super::super::plan::keepers(&recovery.unwrap(), &fleet)
    };
    assert_eq!(back(|it| it.read_only = true), [key("a"), key("b")]);
}
