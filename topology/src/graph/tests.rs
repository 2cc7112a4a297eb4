use proptest::prelude::*;

use super::*;
use crate::instance::{Facts, GroupMember};
use crate::testing::{key, primary_facts, replica_facts, valid_instance};

fn instances(links: &[(&str, Option<&str>)]) -> Instances {
    links
        .iter()
        .map(|(name, source)| {
            let facts = match source {
                Some(source) => replica_facts(&key(source)),
                None => primary_facts(),
            };
            (key(name), Arc::new(valid_instance(name, facts)))
        })
        .collect()
}

fn heads_and_depths(trees: &[Tree]) -> Vec<(String, Vec<(String, u32)>)> {
    let host = |key: &InstanceKey| key.host().to_owned();
    trees
        .iter()
        .map(|tree| {
            let nodes = tree.nodes.iter().map(|(key, node)| (host(key), node.depth)).collect();
            (host(&tree.head), nodes)
        })
        .collect()
}

#[test]
fn instances_form_trees() {
    type Case<'a> =
        (&'a str, &'a [(&'a str, Option<&'a str>)], &'a [(&'a str, &'a [(&'a str, u32)])]);
    let cases: [Case<'_>; 6] = [
        (
            "a star",
            &[("a", None), ("b", Some("a")), ("c", Some("a"))],
            &[("a", &[("a", 0), ("b", 1), ("c", 1)])],
        ),
        (
            "a chain",
            &[("c", Some("b")), ("b", Some("a")), ("a", None)],
            &[("a", &[("a", 0), ("b", 1), ("c", 2)])],
        ),
        ("two clusters", &[("a", None), ("b", None)], &[("a", &[("a", 0)]), ("b", &[("b", 0)])]),
        ("an orphan heads itself", &[("b", Some("a"))], &[("b", &[("b", 0)])]),
        (
            "co-primaries",
            &[("a", Some("b")), ("b", Some("a")), ("c", Some("b"))],
            &[("a", &[("a", 0), ("b", 1), ("c", 2)])],
        ),
        ("a server that names itself", &[("a", Some("a"))], &[("a", &[("a", 0)])]),
    ];
    for (case, links, expected) in cases {
        let found = trees(&instances(links), &HostNames::default(), &BTreeSet::new());
        let expected: Vec<(String, Vec<(String, u32)>)> = expected
            .iter()
            .map(|(head, nodes)| {
                (head.to_string(), nodes.iter().map(|(n, d)| (n.to_string(), *d)).collect())
            })
            .collect();
        assert_eq!(heads_and_depths(&found), expected, "case: {case}");
    }
}

#[test]
fn a_ring_keeps_the_head_it_had() {
    let ring = instances(&[("a", Some("b")), ("b", Some("a"))]);
    let before = BTreeSet::from([key("b")]);
    let found = trees(&ring, &HostNames::default(), &before);
    assert_eq!(found[0].head, key("b"));
    assert!(found[0].nodes.values().all(|node| node.is_co_primary));
}

#[test]
fn a_longer_ring_has_a_head_and_no_co_primaries() {
    let ring = instances(&[("a", Some("b")), ("b", Some("c")), ("c", Some("a"))]);
    let found = trees(&ring, &HostNames::default(), &BTreeSet::new());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].head, key("a"));
    assert!(found[0].nodes.values().all(|node| !node.is_co_primary));
}

#[test]
fn a_source_is_known_by_any_of_its_names() {
    let names = HostNames::default().with("a.example.com", "a");
    let links = instances(&[("a", None), ("b", Some("a.example.com"))]);
    let found = trees(&links, &names, &BTreeSet::new());
    assert_eq!(found.len(), 1);
    assert!(found[0].unknown_sources.is_empty());
    assert_eq!(found[0].nodes[&key("b")].source, Some(key("a")));
}

#[test]
fn an_unknown_source_is_remembered() {
    let links = instances(&[("b", Some("a")), ("c", Some("b"))]);
    let found = trees(&links, &HostNames::default(), &BTreeSet::new());
    assert_eq!(found[0].unknown_sources, BTreeSet::from([key("a")]));
    assert_eq!(found[0].head, key("b"));
}

fn member(name: &str, role: &str) -> (InstanceKey, Arc<Instance>) {
    let group = GroupMember {
        name: "g".into(),
        is_single_primary: true,
        state: "ONLINE".into(),
        role: role.into(),
        members: BTreeSet::from([key("a"), key("b"), key("c")]),
        primary: Some(key("c")),
        ..GroupMember::default()
    };
    let facts = Facts { group: Some(group), ..primary_facts() };
    (key(name), Arc::new(valid_instance(name, facts)))
}

#[test]
fn group_secondaries_stand_below_their_primary() {
    let group = Instances::from([
        member("a", "SECONDARY"),
        member("b", "SECONDARY"),
        member("c", "PRIMARY"),
    ]);
    let found = trees(&group, &HostNames::default(), &BTreeSet::new());
    assert_eq!(
        heads_and_depths(&found),
        [("c".to_owned(), vec![("a".into(), 1), ("b".into(), 1), ("c".into(), 0)])]
    );
}

/// One server must not glue clusters together that do not know it.
#[test]
fn a_group_has_two_sides() {
    let liar = |role| {
        let (_, instance) = member("liar", role);
        let mut instance = (*instance).clone();
        let facts = Arc::make_mut(&mut instance.facts);
        facts.server_uuid = Some(uuid::Uuid::from_u128(9));
        if let Some(group) = &mut facts.group {
            group.members = ["a", "b", "liar", "never"].map(key).into();
            group.primary = Some(key("a"));
        }
        (key("liar"), Arc::new(instance))
    };
    let tops = |all: &Instances| -> Vec<String> {
        let found = trees(all, &HostNames::default(), &BTreeSet::new());
        assert!(found.iter().all(|it| it.unknown_sources.is_empty()), "{found:?}");
        found.iter().map(|it| it.head.host().to_owned()).collect()
    };
    for role in ["PRIMARY", "SECONDARY"] {
        let mut all = instances(&[("a", None), ("b", None), ("x", Some("a"))]);
        all.extend([liar(role)]);
        assert_eq!(tops(&all), ["a", "b", "liar"], "{role}");
        let group =
            ["a", "b", "c"].map(|it| member(it, if it == "c" { "PRIMARY" } else { "SECONDARY" }));
        let all = group.into_iter().chain([liar(role)]).collect();
        assert_eq!(tops(&all), ["c", "liar"], "{role}: no group of other servers either");
    }
    // Who is gone is forgotten by its group within seconds, and its replicas look for another member.
    let [mut a, mut c, mut d] = ["a", "c", "d"].map(|it| (*member(it, "SECONDARY").1).clone());
    for it in [&mut a, &mut c] {
        let group = &mut Arc::make_mut(&mut it.facts).group;
        group.as_mut().unwrap().members = ["a", "c"].map(key).into();
    }
    let failure = crate::testing::refused("d", 20).outcome.unwrap_err();
    d.health.status = crate::instance::HealthStatus::Invalid(failure);
    let all = [a, c, d].map(|it| (it.key.clone(), Arc::new(it))).into();
    assert_eq!(tops(&all).len(), 1);
    // One that is known by another name than the one its group knows is no liar.
    let mut other = (*member("a", "SECONDARY").1).clone();
    let facts = Arc::make_mut(&mut other.facts);
    facts.server_uuid = Some(uuid::Uuid::from_u128(7));
    let mut again = other.clone();
    again.key = key("10.0.0.1");
    let [b, c] = [member("b", "SECONDARY"), member("c", "PRIMARY")];
    let all = [b, c, (key("a"), Arc::new(other)), (key("10.0.0.1"), Arc::new(again))].into();
    assert_eq!(tops(&all), ["c"]);
}

proptest! {
    #[test]
    fn every_instance_is_in_exactly_one_tree(sources in prop::collection::vec(prop::option::of(0_usize..12), 1..12)) {
        let names: Vec<String> = (0..sources.len()).map(|n| format!("h{n:02}")).collect();
        let links: Vec<(String, Option<String>)> = sources
            .iter()
            .enumerate()
            .map(|(n, source)| (names[n].clone(), source.map(|s| format!("h{s:02}"))))
            .collect();
        let borrowed: Vec<(&str, Option<&str>)> =
            links.iter().map(|(n, s)| (n.as_str(), s.as_deref())).collect();
        let found = trees(&instances(&borrowed), &HostNames::default(), &BTreeSet::new());
        let mut all: Vec<InstanceKey> =
            found.iter().flat_map(|tree| tree.nodes.keys().cloned()).collect();
        all.sort();
        prop_assert_eq!(all, names.iter().map(|name| key(name)).collect::<Vec<_>>());
        for tree in &found {
            prop_assert_eq!(tree.nodes[&tree.head].depth, 0);
            for (name, node) in &tree.nodes {
                let parent = node.source.as_ref().and_then(|source| tree.nodes.get(source));
                if let Some(parent) = parent {
                    prop_assert!(
                        *name == tree.head || node.depth == parent.depth + 1,
                        "{} is one below its source", name
                    );
                }
            }
        }
    }
}
