//! A majority of the disks is lost.

use baton_actors::ports::Ledger;
use baton_actors::raft::{RecoverRaftError, begin_anew, remains};

use crate::members::stands_outside;
use crate::world::{PATIENCE, World, has, tag};

#[tokio::test(flavor = "multi_thread")]
async fn people_begin_a_raft_anew_from_the_disk_that_is_left() {
    let seats = ["a:1", "b:1", "c:1"];
    let mut world = World::running(&seats).await;
    world.commit(1).await;
    world.leader().await.1.snapshot().await.unwrap();
    world.commit(2).await;
    world.all_have(&world.except(&[]), 2).await;
    let term = world.leader().await.1.leadership().borrow().term;
    let running = remains(&world.folder("b:1")).unwrap_err();
    assert!(matches!(running, RecoverRaftError::Open(_)), "a node runs on it: {running}");
    let old = world.node("b:1").id();
    for seat in seats {
        world.kill(seat).await;
    }
    // One of the lost disks turns up again, later.
    world.wipe("c:1");
    let there = remains(&world.folder("b:1")).unwrap();
    assert_eq!((&there.members[..], there.commands), (&seats.map(String::from)[..], 2));
    assert!(there.term >= term, "{there:?}");

    let (done, aside) = begin_anew(&world.folder("b:1"), "b:1").unwrap();
    assert_eq!(done, there);
    assert_eq!(remains(&aside).unwrap(), there, "the old log is still there");
    let node = world.start("b:1").await;
    world.leader().await;
    let proof = node.prove(PATIENCE).await.unwrap();
    assert!(proof.term > there.term + 1_000, "no term is led in twice");
    assert!(has(&node.state().borrow(), 2), "what it had is kept");
    assert_ne!(node.id(), old, "nobody of the old raft can speak to it");
    world.commit(3).await;

    world.start("a:1").await;
    let fresh = world.start("c:1").await;
    stands_outside(&fresh, "c:1 is no member; it must be added first").await;
    node.add_peer("c:1").await.unwrap();
    world.commit_among(&["b:1".into(), "c:1".into()], 4).await;
    world.all_have(&["b:1".into(), "c:1".into()], 4).await;
    assert!(!has(&world.node("a:1").state().borrow(), 3), "it is of another raft");
    world.kill("a:1").await;
    world.wipe("a:1");
    world.start("a:1").await;
    world.leader_among(&["b:1".into(), "c:1".into()]).await.1.add_peer("a:1").await.unwrap();
    world.commit(5).await;
    world.all_have(&world.except(&[]), 5).await;
    assert_eq!(node.members().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_nothing_nothing_begins() {
    let mut world = World::of(&["a:1", "b:1"]);
    let error = begin_anew(&world.folder("a:1"), "a:1").unwrap_err();
    assert!(matches!(error, RecoverRaftError::Nothing { .. }), "{error}");
    let node = world.start("a:1").await;
    stands_outside(&node, "b:1 cannot be reached").await;
    assert!(node.propose(tag(1)).await.is_err());
    world.kill("a:1").await;
    let error = begin_anew(&world.folder("a:1"), "a:1").unwrap_err();
    assert!(matches!(error, RecoverRaftError::Empty { .. }), "{error}");
    world.start("a:1").await;
    world.start("b:1").await;
    world.all_members().await;
}
