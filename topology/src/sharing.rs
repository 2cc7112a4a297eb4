//! Divides the instances among the nodes that live, so that each is probed once.
//!
//! By rendezvous: every node gives every instance a number, and the highest one probes it. All who
//! know the same nodes come to the same division without asking anybody, and when a node goes only
//! what it probed moves. A node in the data centre of an instance goes before all others. Whether
//! somebody lives, and what follows from what was seen, is not decided here.

use serde::{Deserialize, Serialize};

use crate::key::InstanceKey;

/// A node that takes part, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Prober {
    /// Its name.
    pub node: String,
    /// Its data centre; empty when not known.
    pub data_center: String,
}

/// Who probes an instance that is in `data_center` (empty when not known). `None` when nobody
/// takes part.
pub fn prober_of<'a>(
    key: &InstanceKey,
    data_center: &str,
    probers: impl IntoIterator<Item = &'a Prober>,
) -> Option<&'a Prober> {
    let is_near = |it: &Prober| !data_center.is_empty() && it.data_center == data_center;
    probers.into_iter().max_by_key(|it| (is_near(it), weight(key, &it.node), &it.node))
}

/// Deterministic, and alike on all nodes of all versions.
fn weight(key: &InstanceKey, node: &str) -> u64 {
    let port = key.port().to_be_bytes();
    let bytes = node.bytes().chain([0]).chain(key.host().bytes()).chain(port);
    let mut mixed = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // FNV alone hardly stirs its high bits, and they decide.
    for factor in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn prober(node: &str, data_center: &str) -> Prober {
        Prober { node: node.into(), data_center: data_center.into() }
    }

    fn key(number: usize) -> InstanceKey {
        InstanceKey::new(format!("db{number}.example.com"), 3306)
    }

    #[test]
    fn whoever_is_near_goes_first() {
        let nodes = [prober("n1", "east"), prober("n2", "west"), prober("n3", "")];
        for number in 0..100 {
            let at = |zone| prober_of(&key(number), zone, &nodes).unwrap().node.as_str();
            assert_eq!((at("east"), at("west")), ("n1", "n2"));
            assert_eq!(at("north"), at(""), "nobody is near, so anybody will do");
        }
        assert_eq!(prober_of(&key(1), "east", &[]), None);
    }

    #[test]
    fn shares_are_about_equal() {
        let nodes = ["n1", "n2", "n3"].map(|node| prober(node, ""));
        let mut shares = BTreeMap::<&str, usize>::new();
        for number in 0..3_000 {
            *shares.entry(&prober_of(&key(number), "", &nodes).unwrap().node).or_default() += 1;
        }
        assert_eq!(shares.len(), 3);
        assert!(shares.values().all(|share| (900..=1_100).contains(share)), "{shares:?}");
    }

    fn nodes() -> impl Strategy<Value = Vec<Prober>> {
        let zone = || prop::sample::select(vec!["", "east", "west"]);
        (btree_set("[a-z]{1,6}", 1..7), vec(zone(), 7)).prop_map(|(names, zones)| {
            names.iter().zip(zones).map(|(name, zone)| prober(name, zone)).collect()
        })
    }

    proptest! {
        #[test]
        fn every_instance_has_one_prober_whoever_asks(
            nodes in nodes(),
            zone in prop::sample::select(vec!["", "east", "west", "north"]),
            number in 0_usize..1_000,
            turn in any::<prop::sample::Index>(),
        ) {
            let chosen = prober_of(&key(number), zone, &nodes).cloned();
            prop_assert!(chosen.as_ref().is_some_and(|it| nodes.contains(it)));
            let mut turned = nodes.clone();
            turned.rotate_left(turn.index(nodes.len()));
            prop_assert_eq!(prober_of(&key(number), zone, &turned).cloned(), chosen);
        }

        #[test]
        fn when_a_node_goes_only_what_it_probed_moves(
            nodes in nodes(),
            zone in prop::sample::select(vec!["", "east", "west", "north"]),
            number in 0_usize..1_000,
            gone in any::<prop::sample::Index>(),
        ) {
            let before = prober_of(&key(number), zone, &nodes).cloned();
            let mut fewer = nodes.clone();
            let gone = fewer.remove(gone.index(nodes.len()));
            let after = prober_of(&key(number), zone, &fewer).cloned();
            if before.as_ref() != Some(&gone) {
                prop_assert_eq!(after, before, "and when one comes, only to it");
            }
        }
    }
}
