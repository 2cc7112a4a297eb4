use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";
const B: &str = "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb";

fn set(text: &str) -> GtidSet {
    text.replace('A', A).replace('B', B).parse().unwrap()
}

fn short(set: &GtidSet) -> String {
    set.to_string().replace(A, "A").replace(B, "B")
}

#[test]
fn sets_are_printed_canonically() {
    for (text, printed) in [
        ("", ""),
        (" , ,", ""),
        ("A:1", "A:1"),
        ("A:1-1", "A:1"),
        ("A:1-5:3-9", "A:1-9"),
        ("A:1-5:6", "A:1-6"),
        ("A:7:1-3:5", "A:1-3:5:7"),
        ("B:1,\nA:1-2", "A:1-2,B:1"),
        ("A:1,A:2", "A:1-2"),
        ("A:tag:1-2:9:1-5", "A:tag:1-5:9"),
        (
            "A:1-3:tag1:1-2:4-5:7:tag2:100-101:tag3:4-5",
            "A:1-3:tag1:1-2:4-5:7:tag2:100-101:tag3:4-5",
        ),
        ("A:b:1:a:1:B:2,A:1", "A:1:a:1:b:1-2"),
        ("A:5-3", ""),
        ("A: 1 - 3 : 5", "A:1-3:5"),
        ("A:9223372036854775806", "A:9223372036854775806"),
    ] {
        let text = text.replace(":B:", ":b:");
        assert_eq!(short(&set(&text)), printed, "{text:?}");
    }
    let upper: GtidSet = format!("{}:TAG:1", A.to_uppercase()).parse().unwrap();
    assert_eq!(short(&upper), "A:tag:1");
}

#[test]
fn what_is_no_set_is_refused_by_name() {
    let long_tag = format!("{A}:{}:1", "t".repeat(33));
    for (text, expected) in [
        ("x:1", "no UUID"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:1", "no UUID"),
        ("A", "no interval"),
        ("A:", "neither"),
        ("A:0", "out of range"),
        ("A:9223372036854775807", "out of range"),
        ("A:99999999999999999999", "out of range"),
        ("A:1-", "neither"),
        ("A:-1", "neither"),
        ("A:1-2-3", "neither"),
        ("A:tag", "no interval"),
        ("A:1:tag", "no interval"),
        ("A:tag:tug:1", "no interval"),
        ("A:tä:1", "neither"),
        ("A:+1", "neither"),
        (&long_tag, "neither"),
    ] {
        let text = text.replace('A', A);
        let error = text.parse::<GtidSet>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn sets_combine() {
    for (a, b, union, subtract, intersect) in [
        ("A:1-5", "A:3-9", "A:1-9", "A:1-2", "A:3-5"),
        ("A:1-9", "A:4:6", "A:1-9", "A:1-3:5:7-9", "A:4:6"),
        ("A:1", "B:1", "A:1,B:1", "A:1", ""),
        ("A:1:t:1", "A:1", "A:1:t:1", "A:t:1", "A:1"),
        ("A:1-3:5-7", "A:2-6", "A:1-7", "A:1:7", "A:2-3:5-6"),
        ("", "A:1", "A:1", "", ""),
        ("A:1-2,B:1-9", "B:1-9", "A:1-2,B:1-9", "A:1-2", "B:1-9"),
    ] {
        let (x, y) = (set(a), set(b));
        assert_eq!(short(&x.union(&y)), union, "{a} | {b}");
        assert_eq!(short(&x.subtract(&y)), subtract, "{a} - {b}");
        assert_eq!(short(&x.intersect(&y)), intersect, "{a} & {b}");
    }
}

#[test]
fn sets_are_only_partially_ordered() {
    for (a, b, relation) in [
        ("A:1-5", "A:1-5", Relation::Equal),
        ("A:1-5", "A:2-3", Relation::Superset),
        ("A:1-5", "A:1-5,B:1", Relation::Subset),
        ("A:1-5", "A:1-4:t:1", Relation::Diverged),
        ("", "", Relation::Equal),
        ("", "B:7", Relation::Subset),
    ] {
        assert_eq!(set(a).relation(&set(b)), relation, "{a} to {b}");
    }
}

#[test]
fn transactions_are_counted_listed_and_left_out_by_origin() {
    let whole = set("A:1-3:t:5,B:1-9223372036854775806");
    assert_eq!(whole.count(), 9_223_372_036_854_775_810);
    let listed: Vec<String> =
        whole.iter(5).map(|gtid| gtid.to_string().replace(A, "A").replace(B, "B")).collect();
    assert_eq!(listed, ["A:1", "A:2", "A:3", "A:t:5", "B:1"]);
    assert_eq!(short(&whole.without_uuids(&[A.parse().unwrap()])), "B:1-9223372036854775806");
    assert_eq!(short(&set("A:1,B:1").without_uuids(&[])), "A:1,B:1");
}

type Model = BTreeSet<(u8, &'static str, u64)>;

fn arbitrary_model() -> impl Strategy<Value = Model> {
    let gtid = (0_u8..3, prop::sample::select(vec!["", "a", "b"]), 1_u64..24);
    prop::collection::btree_set(gtid, 0..60)
}

fn of_model(model: &Model) -> GtidSet {
    let parts = model.iter().map(|(uuid, tag, sequence)| {
        let uuid = Uuid::from_u128(u128::from(*uuid) + 1);
        if tag.is_empty() {
            format!("{uuid}:{sequence}")
        } else {
            format!("{uuid}:{tag}:{sequence}")
        }
    });
    parts.collect::<Vec<_>>().join(",").parse().unwrap()
}

proptest! {
    #[test]
    fn sets_behave_like_plain_sets_of_transactions(a in arbitrary_model(), b in arbitrary_model()) {
        let (x, y) = (of_model(&a), of_model(&b));
        prop_assert_eq!(x.count(), a.len() as u64);
        prop_assert_eq!(x.union(&y), of_model(&a.union(&b).cloned().collect()));
        prop_assert_eq!(x.subtract(&y), of_model(&a.difference(&b).cloned().collect()));
        prop_assert_eq!(x.intersect(&y), of_model(&a.intersection(&b).cloned().collect()));
        prop_assert_eq!(x.contains(&y), a.is_superset(&b));
        prop_assert_eq!(x == y, a == b);
        prop_assert_eq!(x.iter(usize::MAX).count(), a.len());
    }

    #[test]
    fn what_is_printed_reads_as_the_same(model in arbitrary_model()) {
        let set = of_model(&model);
        prop_assert_eq!(set.to_string().parse::<GtidSet>().unwrap(), set);
    }

    #[test]
    fn no_text_makes_parsing_panic(text in ".*") {
        let _ = text.parse::<GtidSet>();
    }

    #[test]
    fn no_nearly_right_text_makes_parsing_panic(pieces in prop::collection::vec("[0-9a-z:,\\- _]{0,12}", 0..6)) {
        let _ = format!("{A}:{}", pieces.join(":")).parse::<GtidSet>();
    }
}
