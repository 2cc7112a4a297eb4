//! How a raft begins, and how nodes come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_actors::ports::Ledger;
use baton_actors::raft::{
    Finding, FindingKind, Member, MembersError, RaftNode, Role, Standing, Watched,
};

use crate::world::{World, tag, within};

fn voters(members: &[Member]) -> Vec<&str> {
    members.iter().filter(|it| it.is_voter).map(|it| it.name.as_str()).collect()
}

pub(crate) async fn stands_outside(node: &RaftNode, because: &str) {
    let mut standing = node.standing();
    let told = |it: &Standing| matches!(it, Standing::Outside(why) if why.contains(because));
    within(because, standing.wait_for(told)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_begins_when_all_its_seats_are_taken() {
    let mut world = World::of(&["a:1", "b:1", "c:1"]);
    let first = world.start("a:1").await;
    let second = world.start("b:1").await;
    stands_outside(&first, "c:1 cannot be reached").await;
    stands_outside(&second, "c:1 cannot be reached").await;
    assert!(first.members().is_empty());
    assert!(first.propose(tag(1)).await.is_err());
    world.start("c:1").await;
    world.all_members().await;
    let (_, leader) = world.leader().await;
    assert_eq!(voters(&leader.members()), ["a:1", "b:1", "c:1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_is_a_raft_too() {
    let world = World::running(&["a:1"]).await;
    let (_, leader) = world.leader().await;
    leader.propose(tag(1)).await.unwrap();
    let error = leader.remove_peer("a:1").await.unwrap_err();
    assert!(matches!(error, MembersError::LastOne { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_were_told_of_other_seats_begin_nothing() {
    let mut world = World::of(&["a:1", "b:1"]);
    let mut setup = world.setup("b:1");
    setup.seats.push("c:1".to_owned());
    let other = RaftNode::start(setup).await.unwrap();
    let node = world.start("a:1").await;
    stands_outside(&node, "b:1 was told of other seats").await;
    other.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_takes_its_seat_as_somebody_else() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    let leader = world.commit(1).await;
    let lost = world.except(&[&leader])[0].clone();
    let old = world.node(&lost).id();
    world.kill(&lost).await;
    world.wipe(&lost);
    world.commit(2).await;
    let node = world.start(&lost).await;
    assert_ne!(node.id(), old, "nobody takes it for one that remembers its votes");
    world.all_members().await;
    world.commit(3).await;
    world.all_have(&world.except(&[]), 3).await;
    let mut state = node.standing();
    within("a seat", state.wait_for(|it| *it == Standing::Member)).await.unwrap();
    let (_, leader) = world.leader().await;
    within("the old one is gone", async {
        while leader.members().len() != 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let members = leader.members();
    assert_eq!(voters(&members), ["a:1", "b:1", "c:1"]);
    assert!(members.iter().any(|it| it.id == node.id()) && members.iter().all(|it| it.id != old));
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_added_and_removed_at_run_time() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    world.commit(1).await;
    let fourth = world.start("d:1").await;
    stands_outside(&fourth, "must be added first").await;
    let (name, leader) = world.leader().await;
    let follower = world.node(&world.except(&[&name, "d:1"])[0]);
    assert!(follower.add_peer("d:1").await.is_err(), "only the leader can");
    leader.add_peer("d:1").await.unwrap();
    leader.add_peer("d:1").await.unwrap();
    world.all_members().await;
    assert_eq!(voters(&leader.members()), ["a:1", "b:1", "c:1", "d:1"]);
    world.all_have(&["d:1".to_owned()], 1).await;

    leader.remove_peer("d:1").await.unwrap();
    assert_eq!(voters(&leader.members()), ["a:1", "b:1", "c:1"]);
    let error = leader.remove_peer("d:1").await.unwrap_err();
    assert!(matches!(error, MembersError::NoMember { .. }), "{error}");
    world.kill("d:1").await;
    world.commit(2).await;

    // A leader that removes itself leaves the others with a leader.
    let (name, leader) = world.leader().await;
    leader.remove_peer(&name).await.unwrap();
    let others = world.except(&[&name]);
    world.commit_among(&others, 3).await;
    let (_, next) = world.leader_among(&others).await;
    assert_eq!(voters(&next.members()), others);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_while_it_was_away_is_told_so_and_comes_back_when_it_is_added() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    let leader = world.commit(1).await;
    let [away, _] = &world.except(&[&leader])[..] else { panic!("there are three") };
    world.kill(away).await;
    world.node(&leader).remove_peer(away).await.unwrap();
    // What it remembers is that it is a member.
    let node = world.start(away).await;
    assert_eq!(node.members().len(), 3);
    stands_outside(&node, "it was removed, says ").await;
    let (_, leader) = world.leader().await;
    leader.add_peer(away).await.unwrap();
    let mut standing = node.standing();
    within("a seat", standing.wait_for(|it| *it == Standing::Member)).await.unwrap();
    world.all_have(std::slice::from_ref(away), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_makes_no_sense_is_refused_in_clear_words() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    world.commit(1).await;
    let (name, leader) = world.leader().await;
    let others = world.except(&[&name]);
    let told = |error: MembersError| error.to_string();
    let unknown = told(leader.add_peer("nobody:1").await.unwrap_err());
    assert_eq!(unknown, "nobody:1 cannot be reached");
    let stranger = told(leader.remove_peer("nobody:1").await.unwrap_err());
    assert!(stranger.starts_with("nobody:1 is no member"), "{stranger}");
    // Two at a time wait for one another; what is so already stays so.
    let (one, other, itself) = futures_util::join!(
        leader.add_peer(&others[0]),
        leader.add_peer(&others[0]),
        leader.add_peer(&name)
    );
    assert!(one.is_ok() && other.is_ok() && itself.is_ok(), "{one:?} {other:?} {itself:?}");
    assert_eq!(voters(&leader.members()), ["a:1", "b:1", "c:1"]);

    // The two that were left could never agree on anything, not even on going back.
    world.kill(&others[0]).await;
    let refused = told(leader.remove_peer(&others[1]).await.unwrap_err());
    assert!(refused.starts_with("of the 2 that would have a vote only 1 answer"), "{refused}");
    assert_eq!(voters(&leader.members()), ["a:1", "b:1", "c:1"]);
    world.commit(2).await;
    leader.remove_peer(&others[0]).await.unwrap();
    leader.remove_peer(&others[1]).await.unwrap();
    let last = told(leader.remove_peer(&name).await.unwrap_err());
    assert_eq!(last, format!("{name} is the last one, and a raft of nobody agrees on nothing"));
    world.commit_among(&[name], 3).await;
}

/// Waits until all nodes know these members by name.
async fn all_know(world: &World, names: &[&str]) {
    for (seat, node) in &world.nodes {
        within(seat, async {
            while voters(&node.members()) != names {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_called_otherwise_one_by_one_and_stay_who_they_are() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    world.commit(1).await;
    let ids: Vec<u64> = world.nodes.values().map(RaftNode::id).collect();
    let mut names = ["a:1", "b:1", "c:1"];
    for (place, name) in ["a.new:1", "b.new:1", "c.new:1"].into_iter().enumerate() {
        world.kill(names[place]).await;
        world.rename(names[place], name);
        names[place] = name;
        world.start(name).await;
        all_know(&world, &names).await;
        world.commit(2 + u32::try_from(place).unwrap()).await;
        world.all_have(&world.except(&[]), 2 + u32::try_from(place).unwrap()).await;
    }
    assert_eq!(world.nodes.values().map(RaftNode::id).collect::<Vec<_>>(), ids);
    for name in names {
        let node = world.node(name);
        let led = async {
            // An election may come in between.
            while node.leadership().borrow().role != Role::Leader {
                let _ = world.leader().await.1.hand_over(Some(name)).await;
                tokio::task::yield_now().await;
            }
        };
        within(name, led).await;
        world.kill(name).await;
        let rest = world.except(&[]);
        world.commit_among(&rest, 10).await;
        world.start(name).await;
        all_know(&world, &names).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_all_called_otherwise_at_once_find_each_other() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    world.commit(1).await;
    for name in ["a", "b", "c"] {
        world.kill(&format!("{name}:1")).await;
        world.rename(&format!("{name}:1"), &format!("{name}.new:1"));
    }
    for name in ["a", "b", "c"] {
        world.start(&format!("{name}.new:1")).await;
    }
    world.commit(2).await;
    world.all_have(&world.except(&[]), 2).await;
    all_know(&world, &["a.new:1", "b.new:1", "c.new:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_another_members_is_not_given_to_a_second_one() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    world.commit(1).await;
    let (name, leader) = world.leader().await;
    let [one, other] = &world.except(&[&name])[..] else { panic!("there are three") };
    world.kill(one).await;
    world.kill(other).await;
    // Nobody answers for the other one but this node.
    std::fs::rename(world.folder(one), world.folder("kept")).unwrap();
    std::fs::rename(world.folder(other), world.folder("away")).unwrap();
    std::fs::rename(world.folder("kept"), world.folder(other)).unwrap();
    world.start(other).await;
    let error = within("it is heard of", async {
        loop {
            // It votes, so there is a leader; who may be called otherwise only by somebody else.
            let (_, leader) = world.leader().await;
            match leader.add_peer(other).await {
                Err(error @ MembersError::NameTaken { .. }) => return error.to_string(),
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let way = format!("or remove the other one first (raft-remove-peer/{other})");
    assert!(error.contains(&way), "{error}");
    assert_eq!(voters(&leader.members()), ["a:1", "b:1", "c:1"]);
    within("it is removed", async {
        while world.leader().await.1.remove_peer(other).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut names = vec![name.as_str(), other.as_str()];
    names.sort_unstable();
    all_know(&world, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_configuration_begins_no_raft_and_both_nodes_are_named() {
    let mut world = World::of(&["a:1", "b:1", "c:1"]);
    let first = world.start("a:1").await;
    let third = world.start("c:1").await;
    // Where `b:1` is, and called as the first one.
    let mut copied = world.setup("b:1");
    "a:1".clone_into(&mut copied.name);
    let copy = RaftNode::start(copied).await.unwrap();
    let (here, there) = (first.id(), copy.id());
    let one = format!("host host-of-a:1 (node {here})");
    let other = format!("host host-of-b:1 (node {there})");
    for (node, because) in [
        (&first, format!("b:1 leads to {other}, which calls itself a:1, as {one} does")),
        (&third, format!("b:1 leads to {other}, which calls itself a:1, as {one} does")),
        (&copy, format!("b:1 leads to {other}, which calls itself a:1, as {one} does")),
    ] {
        stands_outside(node, &because).await;
        assert!(node.members().is_empty());
    }
    copy.halt().await;
    world.start("b:1").await;
    world.all_members().await;
    world.commit(1).await;

    // One that comes later is let in neither.
    world.kill("c:1").await;
    let mut copied = world.setup("c:1");
    copied.folder = world.folder("other");
    std::fs::create_dir_all(&copied.folder).unwrap();
    "a:1".clone_into(&mut copied.name);
    let copy = RaftNode::start(copied).await.unwrap();
    stands_outside(&copy, "a:1 leads to another node (host host-of-a:1)").await;
    let mut watched = first.watched();
    let both = format!("two nodes call themselves a:1: host host-of-c:1 (node {})", copy.id());
    let told = |it: &Arc<Watched>| it.findings.iter().any(|it| it.text.starts_with(&both));
    within("both are named", watched.wait_for(told)).await.unwrap();
    copy.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_configured_otherwise_say_which_keys_differ_and_go_on() {
    let mut world = World::of(&["a:1", "b:1", "c:1"]);
    let keys = |value: &str| BTreeMap::from([("RecoveryFilters".to_owned(), value.to_owned())]);
    for (name, value) in [("a:1", "x"), ("b:1", "x"), ("c:1", "y")] {
        world.shared_keys.insert(name.to_owned(), keys(value));
        world.start(name).await;
    }
    world.all_members().await;
    world.commit(1).await;
    let finds = async |name: &str, expected: &[&str]| {
        let expected: Vec<String> = expected
            .iter()
            .map(|it| format!("{it} is configured otherwise than this node: RecoveryFilters"))
            .collect();
        let mut watched = world.node(name).watched();
        let is_so = |it: &Arc<Watched>| {
            it.findings.iter().map(|it| it.text.clone()).collect::<Vec<_>>() == expected
        };
        within(name, watched.wait_for(is_so)).await.unwrap();
    };
    finds("a:1", &["c:1"]).await;
    finds("c:1", &["a:1", "b:1"]).await;
    world.node("c:1").set_shared_keys(&keys("x"));
    for name in ["a:1", "b:1", "c:1"] {
        finds(name, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_minutes_off_is_told_of_by_all_until_it_is_right() {
    let mut world = World::of(&["a:1", "b:1", "c:1"]);
    world.ahead.insert("c:1".to_owned(), Duration::from_secs(300));
    for name in ["a:1", "b:1", "c:1"] {
        world.start(name).await;
    }
    world.all_members().await;
    let finds = async |name: &str, expected: &[(&str, &str)]| {
        let mut watched = world.node(name).watched();
        let is_so = |it: &Arc<Watched>| {
            let clocks = it.findings.iter().filter(|it| it.kind == FindingKind::Clock);
            let all: Vec<&Finding> = clocks.collect();
            all.len() == expected.len()
                && all
                    .iter()
                    .zip(expected)
                    .all(|(it, (seat, how))| it.seat == *seat && it.text.contains(how))
        };
        within(name, watched.wait_for(is_so)).await.unwrap();
    };
    finds("a:1", &[("c:1", "ahead of the clock here")]).await;
    finds("b:1", &[("c:1", "ahead of the clock here")]).await;
    finds("c:1", &[("a:1", "behind the clock here"), ("b:1", "behind the clock here")]).await;
    world.kill("c:1").await;
    world.ahead.clear();
    world.start("c:1").await;
    for name in ["a:1", "b:1", "c:1"] {
        let mut watched = world.node(name).watched();
        let is_so = |it: &Arc<Watched>| !it.reports.is_empty() && it.findings.is_empty();
        within(name, watched.wait_for(is_so)).await.unwrap();
    }
}
