use proptest::prelude::*;

use super::*;
use crate::analysis::{Analysis, Evidence};
use crate::certificate::{Fingerprint, NewPin};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn key(name: &str) -> InstanceKey {
    InstanceKey::new(name, 3306)
}

fn downtime(begins: i64, ends: i64) -> Downtime {
    Downtime {
        owner: "ann".into(),
        reason: "disk".into(),
        begins_at: at(begins),
        ends_at: at(ends),
    }
}

fn begin_downtime(name: &str, begins: i64, ends: i64) -> Command {
    Command::BeginDowntime { key: key(name), downtime: downtime(begins, ends) }
}

fn begin_maintenance(owner: &str, begins: i64, ends: i64) -> Command {
    Command::BeginMaintenance {
        key: key("a"),
        owner: owner.into(),
        reason: "upgrade".into(),
        begins_at: at(begins),
        ends_at: at(ends),
    }
}

fn candidate(rule: PromotionRule, registered: i64, expires: i64) -> Command {
    let candidate = Candidate { rule, registered_at: at(registered), expires_at: at(expires) };
    Command::RegisterCandidate { key: key("a"), candidate }
}

fn tag(host: &str, name: &str, value: &str) -> Command {
    Command::Tag { key: key(host), name: name.into(), value: value.into() }
}

fn untag(host: Option<&str>, name: &str, value: Option<&str>) -> Command {
    Command::Untag { key: host.map(key), name: name.into(), value: value.map(Into::into) }
}

fn pool(name: &str, members: Vec<InstanceKey>, expires: i64) -> Command {
    let pool = Pool { members, submitted_at: at(0), expires_at: at(expires) };
    Command::SubmitPool { name: name.into(), pool }
}

fn detected(host: &str, code: Code, when: i64) -> DetectionEntry {
    DetectionEntry {
        id: 0,
        at: at(when),
        analysis: Analysis {
            key: key(host),
            code,
            structure: Vec::new(),
            evidence: Evidence::default(),
            downtime_ends_at: None,
            replicas_downtimed: false,
            skippable_due_to_downtime: false,
            since: at(when),
        },
        cluster_name: String::new(),
        cluster_alias: String::new(),
        replicas: Vec::new(),
        node: String::new(),
        token: String::new(),
        auto_recover_primary: false,
        auto_recover_intermediate: false,
    }
}

#[test]
fn of_many_detections_those_are_recorded_that_are_no_repetition() {
    let fresh_for = Duration::from_secs(60);
    let batch = |hosts: &[&str], when| Command::RecordDetections {
        entries: hosts.iter().map(|it| Arc::new(detected(it, Code::DeadPrimary, when))).collect(),
        fresh_for,
    };
    let state = run(&[batch(&["a", "b"], 10)]);
    let (next, outcome) = apply(&state, &batch(&["b", "c", "a"], 20)).unwrap();
    assert_eq!(outcome.keys, [key("c")]);
    let ids = |host| next.detections.get(&(key(host), Code::DeadPrimary)).map(|it| (it.id, it.at));
    assert_eq!(ids("a"), Some((1, at(10))));
    assert_eq!(ids("c"), Some((3, at(20))));
    let all_repeated = apply(&next, &batch(&["a", "c"], 30)).unwrap_err();
    assert!(matches!(all_repeated, Refusal::RepeatedDetection { .. }));
}

fn detect(code: Code, when: i64, fresh_after: i64) -> Command {
    let fresh_for = at(when).since(at(fresh_after));
    Command::RecordDetections { entries: vec![Arc::new(detected("a", code, when))], fresh_for }
}

fn run(commands: &[Command]) -> LedgerState {
    commands.iter().fold(LedgerState::default(), |state, command| {
        apply(&state, command).map_or(state, |(next, _)| next)
    })
}

#[test]
fn a_refused_command_has_no_number_and_an_applied_one_has() {
    let state = run(&[begin_downtime("a", 0, 10)]);
    assert_eq!(state.index, 1);
    assert!(apply(&state, &begin_downtime("a", 10, 10)).is_err());
    let (after, _) = apply(&state, &Command::EndDowntime { key: key("nobody") }).unwrap();
    assert_eq!(after, LedgerState { index: 2, ..state });
}

#[test]
fn what_has_a_time_holds_only_within_it() {
    let state = run(&[
        begin_downtime("a", 10, 20),
        begin_maintenance("ann", 10, 20),
        candidate(PromotionRule::Prefer, 10, 20),
        pool("readers", vec![key("a")], 20),
        Command::Forget { keys: vec![key("a")], until: at(20) },
        detect(Code::DeadPrimary, 10, 0),
    ]);
    for (case, now, begun, holds) in [
        ("before it begins", at(9), false, true),
        ("when it begins", at(10), true, true),
        ("just before it ends", Timestamp::from_micros(19_999_999), true, true),
        ("when it ends", at(20), false, false),
    ] {
        assert_eq!(state.downtime_of(&key("a"), now).is_some(), begun, "downtime {case}");
        assert_eq!(state.maintenance_of(&key("a"), now).is_some(), begun, "maintenance {case}");
        let rule = state.promotion_rule(&key("a"), Some(PromotionRule::MustNot), now);
        assert_eq!(rule == PromotionRule::Prefer, holds, "rule {case}");
        assert_eq!(state.active_pools(now).count() == 1, holds, "pool {case}");
        assert_eq!(state.is_forgotten(&key("a"), now), holds, "forgotten {case}");
        let fresh = state.fresh_detection(&key("a"), Code::DeadPrimary, now);
        assert_eq!(fresh.is_some(), holds, "detection {case}");
    }
    assert_eq!(state.promotion_rule(&key("b"), None, at(10)), PromotionRule::Neutral);
}

#[test]
fn an_instance_is_maintained_once_at_a_time() {
    let state = run(&[begin_maintenance("ann", 0, 10)]);
    for (case, command, expected) in [
        ("another owner", begin_maintenance("bob", 5, 20), false),
        ("the same owner again", begin_maintenance("ann", 5, 20), false),
        ("the very same again", begin_maintenance("ann", 0, 10), true),
        ("after the end", begin_maintenance("bob", 10, 20), true),
    ] {
        assert_eq!(apply(&state, &command).is_ok(), expected, "{case}");
    }
    let ended = run(&[
        begin_maintenance("ann", 0, 10),
        Command::EndMaintenance { key: key("a") },
        begin_maintenance("bob", 5, 20),
    ]);
    let known = ended.maintenance_of(&key("a"), at(6)).unwrap();
    assert_eq!((known.id, &*known.owner), (2, "bob"));
}

#[test]
fn untag_tells_who_had_the_tag() {
    let state = run(&[tag("a", "role", "x"), tag("b", "role", "y"), tag("b", "old", "")]);
    for (case, command, expected) in [
        ("one instance", untag(Some("a"), "role", None), vec![key("a")]),
        ("one without it", untag(Some("a"), "old", None), vec![]),
        ("another value", untag(Some("a"), "role", Some("y")), vec![]),
        ("all of them", untag(None, "role", None), vec![key("a"), key("b")]),
        ("all with the value", untag(None, "role", Some("y")), vec![key("b")]),
        ("an empty value", untag(None, "old", Some("")), vec![key("b")]),
    ] {
        let (after, outcome) = apply(&state, &command).unwrap();
        assert_eq!(outcome.keys, expected, "{case}");
        let (_, again) = apply(&after, &command).unwrap();
        assert!(again.keys.is_empty(), "{case}: nothing is left to remove");
    }
    let (after, _) = apply(&state, &untag(Some("a"), "role", None)).unwrap();
    assert!(!after.tags.contains_key(&key("a")), "no tags is the same as never tagged");
    let tags: Vec<_> = state.tags_of(&key("b")).map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(tags, [("old", ""), ("role", "y")]);
}

#[test]
fn a_detection_is_repeated_only_while_it_is_fresh() {
    let state = run(&[detect(Code::DeadPrimary, 100, 40)]);
    let repeated = apply(&state, &detect(Code::DeadPrimary, 130, 70)).unwrap_err();
    assert!(matches!(repeated, Refusal::RepeatedDetection { id: 1, .. }));
    let (other, _) = apply(&state, &detect(Code::UnreachablePrimary, 130, 70)).unwrap();
    let (later, _) = apply(&other, &detect(Code::DeadPrimary, 160, 100)).unwrap();
    assert_eq!(later.detections.get(&(key("a"), Code::DeadPrimary)).unwrap().id, 3);
}

#[test]
fn purging_drops_only_what_is_over() {
    let state = run(&[
        begin_downtime("a", 0, 10),
        begin_downtime("b", 0, 11),
        detect(Code::DeadPrimary, 6, 0),
        tag("a", "kept", ""),
        Command::Forget { keys: vec![key("a"), key("b")], until: at(10) },
        Command::Purge { before: at(10) },
    ]);
    assert_eq!(state.downtimes.keys().collect::<Vec<_>>(), [&key("b")]);
    assert_eq!(state.detections.size(), 1, "it is fresh until 12");
    assert!(state.forgotten.is_empty());
    assert_eq!(state.tags.size(), 1);
}

#[test]
fn the_rest_is_set_and_taken_back() {
    let name = VirtualName { hostname: "vip".into(), registered_at: at(0) };
    let cluster = ClusterId::new("a:3306");
    let set = [
        Command::RegisterVirtualName { key: key("a"), name },
        Command::SetClusterAlias { cluster: cluster.clone(), alias: "orders".into() },
        Command::Forget { keys: vec![key("b"), key("a"), key("b")], until: at(9) },
        Command::SetRecoveriesDisabled { disabled: true },
    ];
    let state = run(&set);
    assert_eq!(state.virtual_names.size(), 1);
    assert_eq!(state.cluster_aliases.get(&cluster).unwrap().as_ref(), "orders");
    assert!(state.recoveries_disabled);
    let (_, outcome) = apply(&state, &set[2]).unwrap();
    assert_eq!(outcome.keys, [key("a"), key("b")], "each once, ordered");
    let mut all = set.to_vec();
    all.extend([
        Command::DeregisterVirtualName { key: key("a") },
        Command::SetClusterAlias { cluster, alias: "".into() },
        Command::Discover { key: key("a"), at: at(5) },
        Command::Discover { key: key("b"), at: at(6) },
        Command::SetRecoveriesDisabled { disabled: false },
    ]);
    let known = run(&all);
    assert_eq!(known.forgotten.size(), 0, "whoever has it discovered means it");
    assert_eq!(known.discovered.get(&key("b")), Some(&at(6)));
    all.extend([set[2].clone(), Command::Purge { before: at(9) }]);
    assert_eq!(run(&all), LedgerState { index: 11, ..LedgerState::default() });
}

#[test]
fn limits_and_rules_are_refused_by_name() {
    let long = "x".repeat(REASON_BYTES_MAX + 1);
    let mut wordy = downtime(0, 1);
    wordy.reason = long.as_str().into();
    let crowd = (0..=POOL_MEMBERS_MAX).map(|n| key(&n.to_string())).collect();
    for (command, expected) in [
        (Command::BeginDowntime { key: key("a"), downtime: wordy }, "reason is longer than"),
        (begin_downtime("a", 5, 5), "downtime of a:3306 would end before it begins"),
        (begin_downtime(&long, 0, 5), "host name is longer than"),
        (begin_maintenance("", 0, 5), "owner is empty"),
        (candidate(PromotionRule::Must, 0, 5), "promotion rule must cannot be registered"),
        (candidate(PromotionRule::Prefer, 5, 5), "promotion rule of a:3306"),
        (tag("a", "", "x"), "tag name is empty"),
        (tag("a", &long, "x"), "tag name is longer than"),
        (tag("a", "x", &long), "tag value is longer than"),
        (pool("p", crowd, 5), "members of a pool"),
        (pool("", vec![], 5), "pool name is empty"),
        (pool("p", vec![InstanceKey::new("a", 0)], 5), "\"a:0\" is no instance"),
        (Command::Forget { keys: vec![key("")], until: at(1) }, "\":3306\" is no instance"),
    ] {
        let refusal = apply(&LedgerState::default(), &command).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal:?} names {expected:?}");
    }
}

#[test]
fn an_instance_bears_so_many_tags() {
    let tags: Vec<Command> =
        (0..TAGS_PER_INSTANCE_MAX).map(|n| tag("a", &format!("t{n}"), "")).collect();
    let state = run(&tags);
    assert!(apply(&state, &tag("a", "one-more", "")).is_err());
    assert!(apply(&state, &tag("a", "t0", "changed")).is_ok(), "a tag it has may change");
}

#[test]
fn state_of_another_version_is_read() {
    let text = r#"{"index":7,"from_the_future":{"x":1},"detections":
        [{"key":"a:3306","code":"dead-primary","id":3,"at":5,"new":true}]}"#;
    let state: LedgerState = serde_json::from_str(text).unwrap();
    assert_eq!((state.index, state.detections.size()), (7, 1));
}

fn any_command() -> impl Strategy<Value = Command> {
    let name = || prop_oneof![Just("a"), Just("b"), Just("fe80::1")];
    let word = || prop_oneof![Just(""), Just("x"), Just("ü \"y\"")];
    let code = prop_oneof![Just(Code::DeadPrimary), Just(Code::UnreachablePrimary)];
    let rule = prop_oneof![Just(PromotionRule::Must), Just(PromotionRule::PreferNot)];
    let time = || 0..30_i64;
    prop_oneof![
        (name(), time(), time()).prop_map(|(n, from, to)| begin_downtime(n, from, to)),
        name().prop_map(|n| Command::EndDowntime { key: key(n) }),
        (word(), time(), time()).prop_map(|(w, from, to)| begin_maintenance(w, from, to)),
        name().prop_map(|n| Command::EndMaintenance { key: key(n) }),
        (rule, time(), time()).prop_map(|(r, from, to)| candidate(r, from, to)),
        (name(), word(), word()).prop_map(|(n, t, v)| tag(n, t, v)),
        (proptest::option::of(name()), word(), proptest::option::of(word()))
            .prop_map(|(n, t, v)| untag(n, t, v)),
        (word(), name(), time()).prop_map(|(w, n, to)| pool(w, vec![key(n)], to)),
        (name(), word()).prop_map(|(n, w)| Command::RegisterVirtualName {
            key: key(n),
            name: VirtualName { hostname: w.into(), registered_at: at(0) },
        }),
        name().prop_map(|n| Command::DeregisterVirtualName { key: key(n) }),
        (name(), word()).prop_map(|(n, w)| Command::SetClusterAlias {
            cluster: ClusterId::new(n),
            alias: w.into(),
        }),
        (name(), time()).prop_map(|(n, to)| Command::Forget { keys: vec![key(n)], until: at(to) }),
        (name(), time()).prop_map(|(n, when)| Command::Discover { key: key(n), at: at(when) }),
        (code, time(), time()).prop_map(|(c, when, after)| detect(c, when, after)),
        any::<bool>().prop_map(|disabled| Command::SetRecoveriesDisabled { disabled }),
        time().prop_map(|before| Command::Purge { before: at(before) }),
        (name(), time())
            .prop_map(|(n, when)| Command::RenewDiscovered { keys: vec![key(n)], at: at(when) }),
        time().prop_map(|before| Command::DropDiscovered { before: at(before) }),
        (name(), any::<[u8; 1]>(), any::<bool>()).prop_map(|(n, [byte], verified)| {
            let fingerprint = Fingerprint::of_digest([byte; 32]);
            let pins = vec![NewPin { key: key(n), fingerprint, verified }];
            Command::PinCertificates { pins, at: at(1) }
        }),
        name().prop_map(|n| Command::ConfirmCertificate {
            key: key(n),
            fingerprint: None,
            at: at(1)
        }),
    ]
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(
        history in proptest::collection::vec(any_command(), 0..40), command in any_command(),
    ) {
        let state = run(&history);
        if let Ok((once, _)) = apply(&state, &command)
            && let Ok((twice, _)) = apply(&once, &command)
        {
            let is_detection = matches!(command, Command::RecordDetections { .. });
            if !is_detection {
                prop_assert_eq!(LedgerState { index: once.index, ..twice }, once);
            }
        }
    }

    #[test]
    fn a_replay_from_text_gives_the_same_state(
        history in proptest::collection::vec(any_command(), 0..40), cut in 0..40_usize,
    ) {
        let text = serde_json::to_string(&history).unwrap();
        let read: Vec<Command> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &history);
        let state = run(&history);
        // A snapshot anywhere in between, written and read, does not change the end.
        let (before, after) = history.split_at(cut.min(history.len()));
        let text = serde_json::to_string(&run(before)).unwrap();
        let mut replayed: LedgerState = serde_json::from_str(&text).unwrap();
        for command in after {
            if let Ok((next, _)) = apply(&replayed, command) {
                replayed = next;
            }
        }
        prop_assert_eq!(replayed, state);
    }
}
