//! Servers that say they replicate from a primary, and that it never listed.

use super::*;
use crate::analysis::Code;
use crate::membership::{Membership, Registered};

/// How often everybody was read before the primary died, and when it was lost.
const LOOKS: i64 = 3;
const LOST_AT: i64 = 90;

fn is_listed(name: &str) -> Registered {
    Registered { server_uuid: Some(uuid(name)), server_id: 0 }
}

/// A server of another cluster that says it replicates from `p`.
fn claimant(name: &str, receiver: ThreadState) -> (String, Facts) {
    let (name, mut facts) = replica(name, "", "");
    let own = format!("{}:1-50", uuid(&name));
    facts.gtid.executed = Gtids::MySql(set(&own));
    facts.channels[0].receiver = receiver;
    (name, facts)
}

/// `p` lived, listed these of its replicas, and is gone; all others say of it what they say.
fn fleet(
    listed: &[&str],
    replicas: &[(String, Facts)],
    later: &[(String, Facts)],
) -> FleetSnapshot {
    let mut p = primary_facts();
    p.server_uuid = Some(P.parse().unwrap());
    p.gtid.executed = of_p("1-9");
    p.registered = Some(listed.iter().map(|name| is_listed(name)).collect());
    let mut fleet = FleetSnapshot::empty(Arc::new(everywhere()), Arc::default(), now());
    for look in 0..LOOKS {
        let at = 10 + 10 * look;
        let seen = replicas.iter().map(|(name, facts)| answered(name, at, facts.clone()));
        let seen: Vec<FleetInput> = seen.map(FleetInput::Probed).collect();
        fleet = advance(&fleet, seen, Timestamp::from_secs(at)).snapshot;
        let read = FleetInput::Probed(answered("p", at + 5, p.clone()));
        fleet = advance(&fleet, vec![read], Timestamp::from_secs(at + 5)).snapshot;
    }
    let mut inputs = vec![FleetInput::Probed(refused("p", LOST_AT))];
    let seen = later.iter().map(|(name, facts)| answered(name, LOST_AT + 1, facts.clone()));
    inputs.extend(seen.map(FleetInput::Probed));
    advance(&fleet, inputs, now()).snapshot
}

fn code(fleet: &FleetSnapshot) -> Code {
    let cluster = fleet.cluster_with(&key("p")).unwrap();
    cluster.analyses.iter().find(|it| it.key == key("p")).unwrap().code
}

fn found() -> Request {
    request(Cause::Found, None)
}

#[test]
fn a_claimant_neither_blocks_a_failover_nor_succeeds() {
    let a = || replica("a", "1-9", "1-9");
    let denied = || {
        with(claimant("x", ThreadState::Other), |it| {
            it.channels[0].receiver_error.number = 1045;
        })
    };
    let ahead = with(claimant("x", ThreadState::Running), |it| it.gtid.executed = of_p("1-99"));
    for (case, x) in [
        ("it says that it receives", claimant("x", ThreadState::Running)),
        ("and that it has more than all others", ahead),
        ("it is not let in by the source, which so seems to live", denied()),
        ("it tries to connect", claimant("x", ThreadState::Other)),
        ("it was never started", claimant("x", ThreadState::Stopped)),
    ] {
        let fleet = fleet(&["a"], &[a(), x], &[]);
        assert_eq!(fleet.member(&key("x")).unwrap().1.membership, Membership::Unlisted, "{case}");
        assert_eq!(code(&fleet), Code::DeadPrimary, "case: {case}");
        assert_eq!(outcome(&fleet, &found()), "a", "case: {case}");
        let (recovery, plan) = planned(&fleet, &found()).unwrap();
        assert!(!recovery.replicas.contains(&key("x")), "it is left alone: {case}");
        assert!(plan.why.iter().any(|it| it.contains("x:3306 does not count")), "{:?}", plan.why);
    }
}

#[test]
fn a_silent_claimant_has_acknowledged_nothing() {
    let replicas = [replica("a", "1-9", "1-9"), claimant("x", ThreadState::Running)];
    let before = fleet(&["a"], &replicas, &[]);
    let silent = vec![FleetInput::Probed(refused("x", LOST_AT + 2))];
    let after = advance(&before, silent, now()).snapshot;
    assert_eq!((code(&after), outcome(&after, &found())), (Code::DeadPrimary, "a".to_owned()));
}

#[test]
fn a_primary_with_claimants_alone_has_no_replicas() {
    let x = with(claimant("x", ThreadState::Running), |it| it.gtid.executed = of_p("1-9"));
    let fleet = fleet(&[], &[x], &[]);
    assert_eq!(code(&fleet), Code::DeadPrimaryWithoutReplicas);
    assert_eq!(outcome(&fleet, &request(Cause::ForcedTakeover, Some("x"))), "x", "I8: by name");
    let (recovery, plan) = planned(&fleet, &request(Cause::ForcedTakeover, Some("x"))).unwrap();
    let unnamed = Recovery { wanted: None, ..recovery };
    let verdict = super::super::check::check(&plan, &unnamed, &situation(&fleet));
    assert!(verdict.unwrap_err().to_string().contains("never listed"), "nobody else may be");
}

#[test]
fn who_was_never_connected_follows_and_does_not_count() {
    let a = || replica("a", "1-9", "1-9");
    let idle = |had: &str| replica("x", "", had);
    let behind = fleet(&["a"], &[a(), idle("1-5")], &[]);
    assert_eq!(behind.member(&key("x")).unwrap().1.membership, Membership::NeverConnected);
    let (_, plan) = planned(&behind, &found()).unwrap();
    assert_eq!(plan.successor, key("a"));
    assert!(plan.gather.chains.iter().any(|it| it.on == key("x")), "it follows");
    let forged = fleet(&["a"], &[a(), idle("1-99")], &[]);
    let (_, plan) = planned(&forged, &found()).unwrap();
    assert_eq!(plan.successor, key("a"));
    assert_eq!(plan.lost.iter().map(|it| &it.key).collect::<Vec<_>>(), [&key("x")]);
    let says_later = with(idle("1-5"), |it| it.channels[0].receiver = ThreadState::Running);
    let lies = fleet(&["a"], &[a(), idle("1-5")], &[says_later]);
    assert_eq!(code(&lies), Code::DeadPrimary, "its word is no sign of life");
    assert_eq!(outcome(&lies, &found()), "a");
    let alone = fleet(&[], &[idle("1-9")], &[]);
    assert_eq!(outcome(&alone, &found()), "x", "there is nobody else to go by");
    let silent = fleet(&["a"], &[a(), idle("1-9"), claimant("y", ThreadState::Running)], &[]);
    let gone = ["a", "x"].map(|name| FleetInput::Probed(refused(name, LOST_AT + 2)));
    let silent = advance(&silent, gone.into(), now()).snapshot;
    let forced = outcome(&silent, &request(Cause::ForcedFailover, None));
    assert!(forced.contains("none of the replicas answers"), "{forced}");
    assert!(forced.contains("y:3306 does not count"), "{forced}");
}

#[test]
fn without_a_list_or_a_living_source_the_word_of_replicas_counts() {
    let replicas = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")];
    let plain = fleet_with(everywhere(), "1-9", &replicas, &[]);
    assert_eq!(outcome(&plain, &found()), "a");
    let receives = with(replica("b", "1-9", "1-9"), |it| {
        it.channels[0].receiver = ThreadState::Running;
    });
    let witness = fleet_with(everywhere(), "1-9", &[replica("a", "1-9", "1-9"), receives], &[]);
    assert_eq!(code(&witness), Code::UnreachablePrimary);
}
