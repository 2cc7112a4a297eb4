//! A majority of the disks is lost.

use std::path::Path;
use std::sync::Arc;

use baton_actors::ports::Ledger;
use baton_actors::raft::{
    Finding, FindingKind, MembersError, RaftNode, RecoverRaftError, Watched, begin_anew, remains,
};

use crate::PROOF;
use crate::members::stands_outside;
use crate::world::{PATIENCE, World, has, tag, within};

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

async fn finds(node: &RaftNode, kind: FindingKind, seat: &str) -> String {
    let is_so = |it: &Finding| it.kind == kind && it.seat == seat;
    let mut watched = node.watched();
    let found = watched.wait_for(|it| it.findings.iter().any(is_so));
    let watched = within(&format!("{kind:?} of {seat}"), found).await.unwrap().clone();
    watched.findings.iter().find(|it| is_so(it)).unwrap().text.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_begun_anew_while_the_others_live_stands_back_and_all_are_told() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    world.commit(1).await;
    world.kill("a:1").await;
    begin_anew(&world.folder("a:1"), "a:1").unwrap();
    let others = ["b:1".to_owned(), "c:1".to_owned()];
    world.leader_among(&others).await;
    let anew = world.start("a:1").await;
    for (node, seat) in
        [(&anew, "b:1"), (&anew, "c:1"), (&world.node("b:1"), "a:1"), (&world.node("c:1"), "a:1")]
    {
        let text = finds(node, FindingKind::SecondRaft, seat).await;
        assert!(text.starts_with("a second raft exists: "), "{text}");
    }
    let mut watched = anew.watched();
    within("a leader", watched.wait_for(|it| it.stands_back.is_some())).await.unwrap();
    let refused = anew.prove(PROOF).await.unwrap_err();
    assert!(refused.to_string().contains("the one before it lives"), "{refused}");
    world.commit_among(&others, 2).await;

    // With an empty disk it is let in again.
    world.kill("a:1").await;
    world.wipe("a:1");
    let node = world.start("a:1").await;
    world.all_members().await;
    world.commit(3).await;
    world.all_have(&world.except(&[]), 3).await;
    for node in [&node, &world.node("b:1"), &world.node("c:1")] {
        let mut watched = node.watched();
        let is_well = |it: &Arc<Watched>| it.findings.is_empty() && !it.reports.is_empty();
        within("all is well", watched.wait_for(is_well)).await.unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_a_disk_is_found_out_and_takes_no_part_any_more() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    let name = world.commit(1).await;
    let old = world.except(&[&name])[0].clone();
    world.kill(&old).await;
    copy(&world.folder(&old), &world.folder("copy"));
    world.start(&old).await;
    for number in 2..20 {
        world.commit(number).await;
    }
    world.all_have(&world.except(&[]), 19).await;
    let leader = world.leader().await.0;
    // Whoever leads may have changed; it has to be known what was confirmed.
    world.commit(20).await;
    world.all_have(&world.except(&[]), 20).await;
    world.kill(&old).await;
    world.wipe(&old);
    copy(&world.folder("copy"), &world.folder(&old));
    let node = world.start(&old).await;
    let mut failure = node.failure();
    let why = within("it is told", failure.wait_for(Option::is_some)).await.unwrap().clone();
    let lost = format!("{old} has lost entries that it had confirmed, up to ");
    assert!(why.clone().unwrap().starts_with(&lost), "{why:?}");
    let told = finds(&world.node(&leader), FindingKind::LostEntries, &old).await;
    assert!(told.starts_with(&lost), "{told}");
    world.kill(&old).await;
    world.wipe(&old);
    world.start(&old).await;
    world.all_members().await;
    world.all_have(&world.except(&[]), 20).await;
    let mut watched = world.node(&leader).watched();
    within("all is well", watched.wait_for(|it| it.findings.is_empty())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_with_copies_of_one_disk_are_found_out_and_the_second_gets_no_name() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    world.commit(1).await;
    world.kill("c:1").await;
    copy(&world.folder("c:1"), &world.folder("d:1"));
    let first = world.start("c:1").await;
    let second = world.start("d:1").await;
    assert_eq!(first.id(), second.id());
    for (node, seat) in [(&first, "c:1"), (&second, "d:1")] {
        let text = finds(node, FindingKind::CopiedDisk, seat).await;
        for host in ["host-of-c:1", "host-of-d:1"] {
            assert!(text.contains(host), "{text}");
        }
    }
    let (_, leader) = world.leader().await;
    let refused = leader.add_peer("d:1").await;
    if let Err(error) = refused {
        assert!(matches!(error, MembersError::TwoProcesses { .. }), "{error}");
    }
    let names = || leader.members().into_iter().map(|it| it.name).collect::<Vec<_>>();
    assert_eq!(names(), ["a:1", "b:1", "c:1"]);
    world.commit(2).await;
    world.all_have(&["c:1".to_owned()], 2).await;
    world.kill("d:1").await;
    // What is left of it must not ask any more.
    drop(second);
    let mut watched = first.watched();
    within("all is well", watched.wait_for(|it| it.findings.is_empty())).await.unwrap();
}
