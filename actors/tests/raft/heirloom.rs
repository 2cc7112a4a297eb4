//! What a node kept while it ran alone, and the raft it comes to.

use std::io;
use std::sync::Arc;

use baton_actors::ports::{Ledger, ProposeError};
use baton_actors::raft::{CarriedOver, Connect, Connection};
use baton_topology::ledger::{LedgerState, apply};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::members::stands_outside;
use crate::world::{World, has, tag, within};

/// A ledger that somebody kept alone.
fn ledger(numbers: std::ops::RangeInclusive<u32>) -> Arc<LedgerState> {
    let state = LedgerState { last_recovery_id: 12, ..LedgerState::default() };
    Arc::new(numbers.fold(state, |state, number| apply(&state, &tag(number)).unwrap().0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_goes_on_from_what_one_of_its_nodes_kept_alone_and_does_so_once() {
    let seats = ["a:1", "b:1", "c:1"];
    let mut world = World::of(&seats);
    world.kept_alone.insert("b:1".to_owned(), ledger(1..=5));
    for seat in seats {
        world.start(seat).await;
    }
    world.all_members().await;
    let mut carried_over = world.node("b:1").carried_over();
    within("it is", carried_over.wait_for(|it| *it == CarriedOver::Yes)).await.unwrap();
    world.all_have(&world.except(&[]), 5).await;
    world.commit(6).await;
    world.all_have(&world.except(&[]), 6).await;
    for seat in seats {
        let state = world.node(seat).state().borrow().clone();
        assert_eq!((state.index, state.last_recovery_id), (6, 12), "{seat}");
        world.kill(seat).await;
    }
    for seat in seats {
        world.start(seat).await;
    }
    world.commit(7).await;
    world.all_have(&world.except(&[]), 7).await;
    let mut carried_over = world.node("b:1").carried_over();
    within("it was", carried_over.wait_for(|it| *it == CarriedOver::Yes)).await.unwrap();
    assert_eq!(world.node("b:1").state().borrow().index, 7, "nothing went back to what was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_kept_something_alone_people_choose_one() {
    let seats = ["a:1", "b:1", "c:1"];
    let mut world = World::of(&seats);
    for seat in ["a:1", "c:1"] {
        world.kept_alone.insert(seat.to_owned(), ledger(1..=5));
    }
    for seat in seats {
        world.start(seat).await;
    }
    for seat in seats {
        let node = world.node(seat);
        stands_outside(&node, "a:1 and c:1 each have a ledger that they kept").await;
        assert!(node.members().is_empty());
    }
    world.kill("c:1").await;
    world.kept_alone.remove("c:1");
    world.start("c:1").await;
    world.all_members().await;
    world.all_have(&world.except(&[]), 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_raft_has_is_not_replaced_by_what_a_newcomer_kept_alone() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    world.commit(1).await;
    world.kept_alone.insert("d:1".to_owned(), ledger(1..=50));
    let newcomer = world.start("d:1").await;
    world.leader().await.1.add_peer("d:1").await.unwrap();
    world.all_members().await;
    world.commit(2).await;
    world.all_have(&world.except(&[]), 2).await;
    assert!(!has(&newcomer.state().borrow(), 3));
    assert_eq!(*newcomer.carried_over().borrow(), CarriedOver::No, "it stays in its store");
}

/// Reaches nobody.
struct Nowhere;

impl Connect for Nowhere {
    fn connect(&self, _name: &str) -> BoxFuture<'static, io::Result<Connection>> {
        std::future::pending().boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_agreed_upon_before_that_until_people_go_on_without() {
    let mut world = World::of(&["a:1", "b:1", "c:1"]);
    world.start("a:1").await;
    world.start("c:1").await;
    world.kept_alone.insert("b:1".to_owned(), ledger(1..=5));
    let mut setup = world.setup("b:1");
    setup.connect = Arc::new(Nowhere);
    world.start_with(setup).await;
    world.all_members().await;
    let able = world.except(&["b:1"]);
    let (_, leader) = world.leader_among(&able).await;
    match leader.propose(tag(1)).await {
        Err(ProposeError::Unavailable(why)) => {
            assert!(why.starts_with("what b:1 kept while it ran alone"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    leader.remove_peer("b:1").await.unwrap();
    world.commit_among(&able, 1).await;
    world.all_have(&able, 1).await;
}
