//! What holds of every plan, whatever the topology and the request.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A tree of up to six servers, or one with co-primaries at its top: who replicates from whom.
fn trees() -> impl Strategy<Value = String> {
    let parents = prop::collection::vec(any::<prop::sample::Index>(), 0..NAMES.len());
    (parents, any::<bool>()).prop_map(|(parents, is_ring)| {
        let mut words = vec!["a".to_owned()];
        for (index, parent) in parents.iter().enumerate() {
            let own = index + 1;
            if own < NAMES.len() {
                words.push(format!("{}>{}", NAMES[own], NAMES[parent.index(own)]));
            }
        }
        if is_ring && words.len() > 1 {
            words[0] = "a>b".to_owned();
            words[1] = "b>a".to_owned();
        }
        words.join(" ")
    })
}

fn moves() -> impl Strategy<Value = Request> {
    let name = || prop::sample::select(&NAMES[..]).prop_map(key);
    let two = || (name(), name());
    prop_oneof![
        two().prop_map(|(replica, below)| Request::Relocate { replica, below }),
        two().prop_map(|(replica, below)| Request::MoveBelowGtid { replica, below }),
        two().prop_map(|(replica, sibling)| Request::MoveBelow { replica, sibling }),
        two().prop_map(|(of, below)| Request::RelocateReplicas {
            of,
            below,
            only: None,
            how: How::Any
        }),
        name().prop_map(|replica| Request::MoveUp { replica }),
        name().prop_map(|of| Request::MoveUpReplicas { of, only: None }),
        name().prop_map(|of| Request::RegroupReplicas { of }),
        name().prop_map(|replica| Request::TakeSiblings { replica }),
        name().prop_map(|replica| Request::TakeSource { replica }),
        name().prop_map(|replica| Request::MakeCoPrimary { replica }),
    ]
}

/// Whether everybody still gets to a primary, or to the two that replicate from each other.
fn is_whole(world: &Seen, ring: bool) -> bool {
    world.keys().all(|start| {
        let mut at = start.clone();
        for _ in 0..=world.len() {
            match world.get(&at).and_then(|it| it.facts.source()) {
                None => return true,
                Some(source) => at = source.clone(),
            }
        }
        // It went in circles: only two at the top may.
        let source = |key: &InstanceKey| world.get(key).and_then(|it| it.facts.source()).cloned();
        ring && source(&at).and_then(|it| source(&it)) == Some(at)
    })
}

fn stopped(world: &Seen) -> Vec<&InstanceKey> {
    let stands = |it: &&Instance| it.facts.main_channel().is_some_and(|it| !it.is_running());
    world.values().filter(stands).map(|it| &it.key).collect()
}

fn again(world: Seen) -> Servers {
    Servers(world.into_values().map(|it| (it.key.host().into(), (*it.facts).clone())).collect())
}

proptest! {
    #[test]
    fn no_move_loses_a_server_opens_one_or_leaves_one_stopped(
        tree in trees(),
        by in prop::sample::select(&BYS[..]),
        request in moves(),
    ) {
        let fleet = servers(by, &tree).fleet();
        let found = match plan(&fleet, &request) {
            Ok(found) => found,
            Err(why) => {
                prop_assert!(!why.to_string().is_empty());
                return Ok(());
            }
        };
        let preview = found.preview(&seen(&fleet));
        let touched = found.touched();
        for step in &preview.steps {
            prop_assert!(touched.contains(&step.key), "{step}");
            prop_assert!(step.action != Action::SetWritable, "I6");
            if let (Action::ChangeSource { to, place }, true) = (&step.action, by != By::File) {
                prop_assert!(*to != step.key, "{step}");
                prop_assert!(!matches!(place, action::Place::File(_)), "GTID is kept: {step}");
            }
        }
        prop_assert_eq!(stopped(&preview.after), Vec::<&InstanceKey>::new(), "I9");
        let ring = tree.starts_with("a>") || matches!(request, Request::MakeCoPrimary { .. });
        prop_assert!(is_whole(&preview.after, ring), "{:?}: {}", request, outcome(&fleet, &found));
    }

    #[test]
    fn planning_twice_is_planning_once(
        tree in trees(),
        by in prop::sample::select(&BYS[..]),
        request in moves(),
    ) {
        // I11. Moves that name a direction rather than an end go on in that direction.
        let names_an_end = matches!(
            request,
            Request::Relocate { .. } | Request::RelocateReplicas { .. } | Request::TakeSiblings { .. }
        );
        let fleet = servers(by, &tree).fleet();
        let Ok(first) = plan(&fleet, &request) else { return Ok(()) };
        let after = first.preview(&seen(&fleet)).after;
        let second_fleet = again(after.clone()).fleet();
        if names_an_end
            && let Ok(second) = plan(&second_fleet, &request)
        {
            let twice = second.preview(&seen(&second_fleet)).after;
            let sources = |world: &Seen| -> Vec<Option<InstanceKey>> {
                world.values().map(|it| it.facts.source().cloned()).collect()
            };
            prop_assert_eq!(sources(&twice), sources(&after));
        }
    }

    #[test]
    fn the_order_in_which_servers_were_found_does_not_matter(
        tree in trees(),
        by in prop::sample::select(&BYS[..]),
        request in moves(),
    ) {
        let there = servers(by, &tree);
        let back = Servers(there.0.iter().rev().cloned().collect());
        prop_assert_eq!(plan(&there.fleet(), &request), plan(&back.fleet(), &request));
    }
}
