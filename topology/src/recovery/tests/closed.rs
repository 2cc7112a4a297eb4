//! A primary that refuses writes is opened, unless there is a reason why it does.

use super::*;

/// `p` is read-only with the replicas `a` and `b`; then everybody is looked at again.
fn verdict(again: &[(&str, Change)]) -> String {
    let mut p = primary_facts();
    p.read_only = true;
    let running: Change = |it| it.channels[0].receiver = ThreadState::Running;
    let [a, b] = ["a", "b"].map(|name| with(replica(name, "1-9", "1-9"), running).1);
    let before = [("p", p), ("a", a), ("b", b)];
    let policy = Policy { recover_non_writeable_primary: true, ..everywhere() };
    let empty = FleetSnapshot::empty(Arc::new(policy), Arc::default(), Timestamp::from_secs(0));
    let seen = before.clone().map(|(name, facts)| FleetInput::Probed(answered(name, 20, facts)));
    let fleet = advance(&empty, seen.into(), now()).snapshot;
    let request = request(Cause::Found, None);
    let recovery = match begin(&request, &fleet, &runner(), now()) {
        Ok(recovery) => recovery,
        Err(refused) => return format!("not begun: {refused}"),
    };
    let mut scene = super::super::scene::scene(&recovery, &fleet);
    let seen = again.iter().map(|(name, change)| {
        let (_, mut facts) = before.iter().find(|(it, _)| it == name).unwrap().clone();
        change(&mut facts);
        answered(name, 90, facts)
    });
    super::super::scene::refresh(&mut scene, &seen.collect::<Vec<_>>());
    let now = Situation { cluster: &scene, ..situation(&fleet) };
    match super::super::plan::plan(&recovery, &now) {
        Ok(plan) => format!("{} is opened", plan.successor.host()),
        Err(refused) => refused.to_string(),
    }
}

#[test]
fn a_closed_primary_is_opened_while_it_is_one() {
    let elsewhere: Change = |it| it.channels[0].source = SourceLink::Attached(key("x"));
    let follows: Change = |it| it.channels = replica("p", "1-9", "1-9").1.channels;
    let open: Change = |it| it.read_only = false;
    for (case, again, expected) in [
        ("nothing changed", vec![], "p is opened"),
        ("one replica went elsewhere", vec![("a", elsewhere)], "p is opened"),
        (
            "all replicas went elsewhere",
            vec![("a", elsewhere), ("b", elsewhere)],
            "nobody replicates from p:3306 any more",
        ),
        ("it became a replica", vec![("p", follows)], "p:3306 replicates from p:3306 now"),
        ("another was opened", vec![("b", open)], "b:3306 accepts writes already"),
    ] {
        assert_eq!(verdict(&again), expected, "{case}");
    }
}
