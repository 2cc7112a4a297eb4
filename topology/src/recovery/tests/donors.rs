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

/// The other co-primary of what failed, say: its applier waits for acknowledgements of a server that
/// is gone.
#[test]
fn who_is_held_up_by_its_own_replicas_waits_for_none_until_it_has_a_place() {
    use crate::action::Switch;
    let waits: Change = |it| {
        it.semi_sync.available = true;
        it.semi_sync.source_enabled = true;
    };
    let must_not: Change = |it| it.promotion_rule = Some(PromotionRule::MustNot);
    let switches = |chains: &[Chain], on: &str| -> Vec<Switch> {
        let own = chains.iter().filter(|it| it.on == key(on)).flat_map(|it| &it.actions);
        let switch = |it: &Action| match it {
            Action::SetSemiSyncSource(switch) => Some(*switch),
            _ => None,
        };
        own.filter_map(switch).collect()
    };
    for (case, a, expected) in [
        ("it has to apply something", with(replica("a", "1-9", "1-6"), waits), true),
        ("it has applied everything", with(replica("a", "1-9", "1-9"), waits), false),
    ] {
        let off = if expected { vec![Switch::Off] } else { vec![] };
        let on = if expected { vec![Switch::On] } else { vec![] };
        let fleet = fleet_with(everywhere(), "1-9", std::slice::from_ref(&a), &[]);
        let (recovery, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
        assert_eq!(switches(&plan.prepare[0].chains, "a"), off, "{case}");
        assert_eq!(switches(&plan.open.chains, "a"), on, "{case}");
        // It gives what it has to whom it may not succeed.
        let replicas = [with(a.clone(), must_not), replica("b", "1-5", "1-5")];
        let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
        let (mut again, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
        assert_eq!(switches(&plan.prepare[0].chains, "a"), off, "{case}");
        assert_eq!(switches(&plan.open.chains, "a"), [], "{case}");
        assert_eq!(switches(&plan.gather.chains, "a"), on, "{case}");
        again.released = super::super::plan::released(&plan.prepare).collect();
        let back = super::super::plan::roll_back(&again, &situation(&fleet));
        assert_eq!(switches(&back.chains, "a"), on, "{case}");
        assert_eq!(recovery.kind, Kind::Primary);
        // It waits again as well where people open it themselves.
        let mut policy = everywhere();
        policy.recovery.apply_promotion = false;
        let fleet = fleet_with(policy, "1-9", std::slice::from_ref(&a), &[]);
        let (_, plan) = planned(&fleet, &request(Cause::Found, None)).unwrap();
        assert_eq!(switches(&plan.gather.chains, "a"), on, "{case}");
    }
}
