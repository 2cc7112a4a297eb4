//! A raft of several nodes, over a real network stack: they agree, whatever happens to one of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod chaos;
mod heirloom;
mod lost;
mod members;
mod strangers;
mod trouble;
mod versions;
mod world;

use std::time::Duration;

use baton_actors::ports::{Ledger, ProposeError};
use baton_actors::raft::{Compaction, NotLeading, Role};
use baton_topology::ledger::Command;

use world::{PATIENCE, World, has, hears_of, instance, is_unavailable, tag, within};

/// Patience with a proof.
const PROOF: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_agree_and_a_refused_command_changes_nothing_anywhere() {
    let world = World::running(&["a:1", "b:1", "c:1"]).await;
    let (name, leader) = world.leader().await;
    let applied = leader.propose(tag(1)).await.unwrap();
    assert!(has(&applied.state, 1) && applied.keys == [instance()]);
    let bad = Command::Tag { key: instance(), name: "".into(), value: "".into() };
    let refused = leader.propose(bad).await.unwrap_err();
    assert!(matches!(refused, ProposeError::Refused(_)), "{refused:?}");
    let next = leader.propose(tag(2)).await.unwrap();
    assert_eq!(next.index, applied.index + 1);
    world.all_have(&world.except(&[]), 2).await;
    for other in world.except(&[&name]) {
        let node = world.node(&other);
        assert_eq!(*node.state().borrow(), next.state, "{other} has the same state");
        hears_of(&node, &name).await;
        let error = node.propose(tag(3)).await.unwrap_err().to_string();
        assert!(error.contains(&format!("{name} does")), "{error}");
        let error = node.prove(PROOF).await.unwrap_err();
        assert_eq!(error, NotLeading::Other { leader: Some(name.clone()) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_is_replaced_and_nothing_agreed_is_lost() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    let old = world.commit(1).await;
    let term = world.node(&old).prove(PROOF).await.unwrap().term;
    world.kill(&old).await;
    let (_, leader) = world.leader().await;
    let proof = leader.prove(PROOF).await.unwrap();
    assert!(proof.term > term, "a term has one leader");
    assert!(has(&leader.state().borrow(), 1));
    leader.propose_in(proof.term, tag(2)).await.unwrap();
    let again = world.start(&old).await;
    world.commit(3).await;
    world.all_have(&world.except(&[]), 3).await;
    assert!(has(&again.state().borrow(), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_proves_nothing_and_changes_nothing() {
    let world = World::running(&["a:1", "b:1", "c:1"]).await;
    let name = world.commit(1).await;
    let old = world.node(&name);
    let term = old.prove(PROOF).await.unwrap().term;
    world.net.isolate(&[&name]);
    let error = old.prove(PROOF).await.unwrap_err();
    assert!(matches!(error, NotLeading::NoMajority | NotLeading::Late { .. }), "{error:?}");
    let mut leadership = old.leadership();
    within("it knows", leadership.wait_for(|it| it.role != Role::Leader)).await.unwrap();
    assert_eq!(leadership.borrow().leader, None, "it claims no leadership, and knows no leader");
    let refused = old.propose(tag(9)).await;
    assert!(is_unavailable(&refused), "at once and for sure: {refused:?}");
    assert!(is_unavailable(&old.propose_in(term, tag(9)).await));

    let others = world.except(&[&name]);
    world.commit_among(&others, 2).await;
    world.net.heal();
    let (new, leader) = world.leader_among(&others).await;
    hears_of(&old, &new).await;
    world.all_have(&world.except(&[]), 2).await;
    assert!(is_unavailable(&leader.propose_in(term, tag(9)).await), "the old term is over");
    assert!(!has(&leader.state().borrow(), 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_comes_back_by_log_or_snapshot_and_disturbs_nobody() {
    for (case, keep) in [("by log", 10_000), ("by snapshot", 5)] {
        let mut world = World::of(&["a:1", "b:1", "c:1"]);
        world.compaction = Compaction { entries: 30, keep, every: PATIENCE };
        for name in ["a:1", "b:1", "c:1"] {
            world.start(name).await;
        }
        world.all_members().await;
        let name = world.commit(1).await;
        let away = world.except(&[&name])[0].clone();
        world.net.isolate(&[&away]);
        let follower = world.node(&away);
        let mut leadership = follower.leadership();
        within(&away, leadership.wait_for(|it| it.leader.is_none())).await.unwrap();
        let others = world.except(&[&away]);
        for number in 2..=80 {
            world.commit_among(&others, number).await;
        }
        let (leader, _) = world.leader_among(&others).await;
        let term = world.node(&leader).leadership().borrow().term;
        world.net.heal();
        world.all_have(&[away], 80).await;
        let seen = hears_of(&follower, &leader).await;
        assert_eq!((case, seen.term), (case, term), "nobody had to be elected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_may_end_and_come_back_as_who_they_were() {
    let seats = ["a:1", "b:1", "c:1"];
    let mut world = World::running(&seats).await;
    world.commit(1).await;
    let (_, leader) = world.leader().await;
    leader.snapshot().await.unwrap();
    world.commit(2).await;
    let ids: Vec<u64> = seats.iter().map(|seat| world.node(seat).id()).collect();
    let members = leader.members();
    for seat in seats {
        world.kill(seat).await;
    }
    for seat in seats {
        let node = world.start(seat).await;
        assert!(has(&node.state().borrow(), 1), "{seat} need not ask anybody for what it knew");
    }
    let (_, leader) = world.leader().await;
    leader.prove(PROOF).await.unwrap();
    assert!(has(&leader.state().borrow(), 2), "snapshot and log were replayed");
    assert_eq!(leader.members(), members);
    assert_eq!(seats.map(|seat| world.node(seat).id()).to_vec(), ids);
    world.commit(3).await;
    world.all_have(&world.except(&[]), 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_outlive_two_and_do_nothing_without_three() {
    let seats = ["a:1", "b:1", "c:1", "d:1", "e:1"];
    let world = World::running(&seats).await;
    let name = world.commit(1).await;
    let friend = world.except(&[&name])[0].clone();
    world.net.isolate(&[&name, &friend]);
    let others = world.except(&[&name, &friend]);
    world.commit_among(&others, 2).await;
    for minority in [&name, &friend] {
        let node = world.node(minority);
        let mut leadership = node.leadership();
        within(minority, leadership.wait_for(|it| it.leader.is_none())).await.unwrap();
        assert!(is_unavailable(&node.propose(tag(9)).await), "{minority}");
        assert!(node.prove(PROOF).await.is_err(), "{minority}");
    }
    world.net.heal();
    world.commit(3).await;
    world.all_have(&world.except(&[]), 3).await;
    assert!(!has(&world.node(&name).state().borrow(), 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_majority_does_not_keep_others_from_electing() {
    let world = World::running(&["a:1", "b:1", "c:1", "d:1", "e:1"]).await;
    let name = world.commit(1).await;
    let others = world.except(&[&name]);
    let (friend, away) = (&others[0], &others[1]);
    // One follower hears the leader and everybody else, and would be loyal for ever; the others
    // are one too few.
    world.net.isolate(&[away]);
    for enemy in &others[2..] {
        world.net.cut_one_way(&name, enemy);
        world.net.cut_one_way(enemy, &name);
    }
    let majority = [friend.clone(), others[2].clone(), others[3].clone()];
    world.commit_among(&majority, 2).await;
    world.all_have(&majority, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_hardly_grows_is_compacted_too() {
    let mut world = World::of(&["a:1"]);
    world.compaction = Compaction { entries: 1_000, every: Duration::from_millis(50), keep: 0 };
    let node = world.start("a:1").await;
    world.all_members().await;
    world.commit(1).await;
    within("a snapshot", async {
        while node.progress().purged < node.progress().applied {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.kill("a:1").await;
    let node = world.start("a:1").await;
    assert!(has(&node.state().borrow(), 1), "the snapshot alone brings it back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_only_hears_is_no_trouble() {
    let world = World::running(&["a:1", "b:1", "c:1"]).await;
    let name = world.commit(1).await;
    let deaf = world.except(&[&name])[0].clone();
    for other in world.except(&[&deaf]) {
        world.net.cut_one_way(&deaf, &other);
    }
    let term = world.node(&name).leadership().borrow().term;
    for number in 2..30 {
        world.commit_among(&world.except(&[&deaf]), number).await;
    }
    world.net.heal();
    world.all_have(&world.except(&[]), 29).await;
    assert_eq!(world.node(&name).leadership().borrow().term, term);
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_when_asked_and_when_a_leader_ends() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    let name = world.commit(1).await;
    let heir = world.except(&[&name])[1].clone();
    let follower = world.node(&heir);
    assert!(follower.hand_over(None).await.is_err(), "what it does not have");
    within("the heir", async {
        // An election may come in between.
        while follower.leadership().borrow().role != Role::Leader {
            let (_, leader) = world.leader().await;
            let _ = leader.hand_over(Some(&heir)).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.nodes.remove(&heir).unwrap().stop().await;
    world.commit(2).await;
    world.all_have(&world.except(&[]), 2).await;
}
