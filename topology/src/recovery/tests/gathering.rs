//! What becomes of everybody else, as the configuration wants it.

use std::time::Duration;

use super::*;
use crate::policy::RecoveryPolicy;
use crate::recovery::plan::in_turns;

fn policy(recovery: RecoveryPolicy) -> Policy {
    Policy { recovery, ..everywhere() }
}

fn on_successor(policy: Policy) -> (bool, Vec<Action>) {
    let replicas = [replica("a1", "1-9", "1-9"), replica("a2", "1-5", "1-5")];
    let fleet = fleet_with(policy, "1-9", &replicas, &[]);
    let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
    assert_eq!(plan.successor, key("a1"));
    assert!(plan.gather.chains.iter().any(|chain| chain.on == key("a2")), "a2 follows");
    let own = plan.gather.chains.iter().filter(|chain| chain.on == plan.successor);
    (plan.open.chains.is_empty(), own.flat_map(|chain| chain.actions.clone()).collect())
}

#[test]
fn who_is_promoted_but_not_opened_keeps_its_source_or_is_detached() {
    let opened = RecoveryPolicy::default;
    let closed = || RecoveryPolicy { apply_promotion: false, ..opened() };
    let detach = vec![Action::Stop(Threads::Both), Action::Detach];
    for (case, recovery, is_closed, expected) in [
        ("it forgot its source", opened(), false, vec![]),
        (
            "there is nothing to detach from",
            RecoveryPolicy { detach_promoted: true, ..opened() },
            false,
            vec![],
        ),
        // I9: its receiver was stopped.
        ("it connects again", closed(), true, vec![Action::Start(Threads::Receiver)]),
        ("detached", RecoveryPolicy { detach_promoted: true, ..closed() }, true, detach),
    ] {
        assert_eq!(on_successor(policy(recovery)), (is_closed, expected), "{case}");
    }
}

#[test]
fn replicas_that_are_kept_far_behind_get_their_place_last() {
    let delayed = |name: &str, seconds: u32| {
        let (name, mut facts) = replica(name, "1-9", "1-9");
        facts.channels[0].delay_seconds = seconds;
        (name, facts)
    };
    let replicas = [delayed("a1", 0), delayed("a2", 3600), delayed("a3", 60), delayed("a4", 61)];
    for (limit, last) in [
        (None, vec![]),
        (Some(60), vec!["a2", "a4"]),
        (Some(3600), vec![]),
        (Some(600), vec!["a2"]),
    ] {
        let postpone_on_delay = limit.map(Duration::from_secs);
        let recovery = RecoveryPolicy { postpone_on_delay, ..RecoveryPolicy::default() };
        let fleet = fleet_with(policy(recovery), "1-9", &replicas, &[]);
        let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
        let [first, postponed] = in_turns(&plan.gather, &situation(&fleet));
        let names: Vec<&str> = postponed.chains.iter().map(|it| it.on.host()).collect();
        assert_eq!(names, last, "{limit:?}");
        assert_eq!(first.chains.len() + postponed.chains.len(), plan.gather.chains.len());
    }
}

/// The lock of a backup holds up an applier, and would hold up the move of the whole replica.
#[test]
fn only_the_receiver_of_a_replica_is_stopped_where_its_applier_can_go_on() {
    let moved = |change: Change| {
        let mut a2 = replica("a2", "1-5", "1-5");
        a2.1.version = crate::version::Version::parse("9.7.0", "");
        a2.1.leaves_its_source = Some(false);
        let replicas = [replica("a1", "1-9", "1-9"), with(a2, change)];
        let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
        let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
        let own = plan.gather.chains.iter().find(|chain| chain.on == key("a2")).unwrap();
        own.actions.clone()
    };
    let change = |place| Action::ChangeSource { to: key("a1"), place };
    let (stop, start) = (Action::Stop, Action::Start);
    let expected =
        [stop(Threads::Receiver), change(crate::action::Place::Same), start(Threads::Both)];
    assert_eq!(moved(|_| {}), expected);
    let whole = |threads| {
        [stop(Threads::Both), change(crate::action::Place::Gtid), start(threads)].to_vec()
    };
    let stands = moved(|it| it.channels[0].applier = ThreadState::Stopped);
    assert_eq!(stands, whole(Threads::Receiver));
    // MySQL changes that only while both stand still.
    assert_eq!(moved(|it| it.leaves_its_source = Some(true)), whole(Threads::Both));
    assert_eq!(moved(|it| it.leaves_its_source = None), whole(Threads::Both));
    assert_eq!(moved(|it| it.channels[0].waits_for_disk = true), whole(Threads::Both));
}

#[test]
fn prepared_xa_transactions_of_a_primary_are_told_of() {
    let told = |prepared_xa: Option<u64>| {
        let replicas = [replica("a", "1-9", "1-9")];
        let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
        let p = (*fleet.instance(&key("p")).unwrap().facts).clone();
        let seen = answered("p", 35, Facts { prepared_xa, ..p });
        let looks = vec![FleetInput::Probed(seen), FleetInput::Probed(refused("p", 40))];
        let fleet = advance(&fleet, looks, now()).snapshot;
        let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
        plan.why.iter().any(|it| it.starts_with("2 XA transactions are prepared on p:3306"))
    };
    assert!(told(Some(2)) && !told(Some(0)) && !told(None));
}
