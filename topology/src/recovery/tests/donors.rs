//! Replicas that have what the successor lacks, and cannot give it.

use super::*;

/// `a` may not be promoted and has more than `b`; its relay log cannot be applied.
fn after_the_donor_failed(cause: Cause, wanted: Option<&str>) -> Step {
    let must_not: Change = |it| it.promotion_rule = Some(PromotionRule::MustNot);
    let replicas = [with(replica("a", "1-9", "1-6"), must_not), replica("b", "1-5", "1-5")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let (mut recovery, plan) = planned(&fleet, &request(cause, wanted)).unwrap();
    assert_eq!(plan.successor, key("b"));
    assert_eq!(plan.loss.count, 0);
    let ran: Vec<Ran> = plan.prepare[0]
        .chains
        .iter()
        .map(|chain| Ran {
            on: chain.on.clone(),
            need: chain.need,
            outcome: match chain.on.host() {
                "a" => Outcome::Refused { at: 0, error: "relay log read failure".into() },
                _ => Outcome::Done,
            },
        })
        .collect();
    recovery.phase = Phase::Preparing { stage: 0 };
    recovery.plan = Some(plan);
    let next = step(&recovery, Event::Ran(ran), &situation(&fleet));
    assert_eq!(next.recovery.tried, [key("a")], "b is not to blame");
    step(&next.recovery, Event::Looked, &situation(&fleet))
}

/// I3, I5: what a replica received and cannot give is not lost without a person's word.
#[test]
fn nobody_is_opened_without_what_only_a_broken_replica_has() {
    for (cause, wanted) in
        [(Cause::Found, None), (Cause::ForcedFailover, None), (Cause::Asked, Some("b"))]
    {
        let next = after_the_donor_failed(cause, wanted);
        assert_eq!(next.recovery.phase, Phase::RollingBack, "{cause:?}");
        let errors = next.recovery.errors.join("; ");
        assert!(errors.contains("b:3306 lacks what a:3306 has"), "{cause:?}: {errors}");
        assert!(errors.contains("relay log read failure"), "{cause:?}: {errors}");
    }
}

#[test]
fn who_names_the_successor_accepts_that_and_is_told_how_much_it_is() {
    let next = after_the_donor_failed(Cause::ForcedTakeover, Some("b"));
    let plan = next.recovery.plan.unwrap();
    assert_eq!((plan.successor, plan.loss.count), (key("b"), 4));
    assert_eq!(plan.loss.known, format!("{P}:6-9"));
    assert!(plan.why[0].contains("lacks what only a:3306 has"), "{:?}", plan.why);
}
