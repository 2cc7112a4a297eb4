//! Replicas that answer, and are not logged in to as they do not show what they are known by.

use super::*;
use crate::instance::FailureKind;

/// `p` is lost, `a` answers, and `b` fails in this way; both acknowledged what `p` wrote, or neither did.
fn fleet(kind: FailureKind, acknowledged: bool) -> FleetSnapshot {
    let mut p = primary_facts();
    p.server_uuid = Some(P.parse().unwrap());
    p.gtid.executed = of_p("1-9");
    p.semi_sync.source_enabled = acknowledged;
    p.semi_sync.source_active = acknowledged;
    p.semi_sync.wait_for_replicas = u32::from(acknowledged);
    p.replicas = ["a", "b"].map(key).into();
    let mut inputs = vec![FleetInput::Probed(answered("p", 10, p))];
    for name in ["a", "b"] {
        let (_, mut facts) = replica(name, "1-9", "1-9");
        facts.semi_sync.replica_enabled = acknowledged;
        facts.semi_sync.replica_active = acknowledged;
        inputs.push(FleetInput::Probed(answered(name, 20, facts)));
    }
    let mut shut_out = refused("b", 30);
    if let Err(failure) = &mut shut_out.outcome {
        failure.kind = kind;
    }
    inputs.extend([FleetInput::Probed(refused("p", 30)), FleetInput::Probed(shut_out)]);
    let empty = FleetSnapshot::empty(Arc::new(everywhere()), Arc::default(), Timestamp::EPOCH);
    advance(&empty, inputs, now()).snapshot
}

#[test]
fn a_failover_that_is_refused_for_want_of_them_says_so_and_the_way_out() {
    for (kind, reason) in [
        (FailureKind::CertificateChanged, "b:3306: it shows another certificate than before"),
        (FailureKind::TlsWithdrawn, "b:3306: it offered TLS before and does not any more"),
    ] {
        let told = outcome(&fleet(kind, true), &request(Cause::Found, None));
        assert!(told.starts_with("no: 1 of 2 replicas do not answer"), "{told}");
        assert!(told.contains(reason), "{told}");
        assert!(told.contains("confirm-certificate -i b:3306"), "{told}");
        let (_, plan) = planned(&fleet(kind, false), &request(Cause::Found, None)).unwrap();
        assert_eq!(plan.successor, key("a"));
        assert!(plan.lost[0].why.contains("confirm-certificate -i b:3306"), "{:?}", plan.lost);
    }
    let told = outcome(&fleet(FailureKind::Timeout, true), &request(Cause::Found, None));
    assert!(told.starts_with("no: 1 of 2 replicas do not answer"), "{told}");
    assert!(!told.contains("confirm-certificate"), "{told}");
}
