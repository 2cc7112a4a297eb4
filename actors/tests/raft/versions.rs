//! Nodes of several versions, as they are while people upgrade one after the other.

use baton_actors::ports::ProposeError;

use crate::strangers::told;
use crate::world::{World, tag, within};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_cannot_apply_is_not_agreed_upon() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    let (name, leader) = world.leader().await;
    leader.propose_of_version(1, tag(1)).await.unwrap();
    let before = leader.progress().last;
    let too_new = |result: Result<_, ProposeError>| match result {
        Err(ProposeError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    };
    let others = world.except(&[&name]);
    let expected = "all members must understand commands of version 2: upgrade ";
    let all = "a:1 (version 1), b:1 (version 1), c:1 (version 1)";
    let why = too_new(leader.propose_of_version(2, tag(2)).await);
    assert_eq!(why, format!("{expected}{all}"));
    assert_eq!(leader.progress().last, before, "it is not in the log");

    // What a member said stands while it is silent: it comes back as it went.
    world.kill(&others[0]).await;
    let why = too_new(leader.propose_of_version(2, tag(2)).await);
    assert_eq!(why, format!("{expected}{all}"));
    world.commit(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_said_what_it_understands_may_be_too_old() {
    let mut world = World::running(&["a:1", "b:1", "c:1"]).await;
    for seat in ["a:1", "b:1", "c:1"] {
        world.kill(seat).await;
    }
    world.start("a:1").await;
    world.start("b:1").await;
    world.commit(1).await;
    let (_, leader) = world.leader().await;
    let error = leader.propose_of_version(2, tag(2)).await.unwrap_err().to_string();
    assert!(error.ends_with("c:1 (it does not answer)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_apply_what_it_does_not_know_ends_and_says_so() {
    let entries = r#"{"vote":{"leader_id":{"term":1000,"voted_for":1},"committed":true},
        "prev_log_id":null,"leader_commit":null,"entries":[{"log_id":{"leader_id":1000,"index":9},
        "payload":{"Normal":{"version":2,"command":{"op":"make-coffee"}}}}]}"#;
    let snapshot = r#"{"body":{"version":2,"state":{"coffee":[1]}},
        "vote":{"leader_id":{"term":1000,"voted_for":1},"committed":true},"meta":{}}"#;
    for (path, body) in [("/raft/append", entries), ("/raft/snapshot", snapshot)] {
        let world = World::running(&["a:1", "b:1", "c:1"]).await;
        let name = world.commit(1).await;
        let old = world.except(&[&name])[0].clone();
        let node = world.node(&old);
        let gibberish = body.replace("\"version\":2", "\"version\":{}");
        let to = Some(node.id());
        let answer = told(&world, (&old, to), path, &gibberish).await.unwrap_err();
        assert!(answer.contains("400 Bad Request"), "{answer}");
        assert_eq!(*node.failure().borrow(), None, "who sends gibberish is no newer leader");

        let answer = told(&world, (&old, to), path, body).await.unwrap_err();
        assert!(answer.contains("400 Bad Request") && answer.contains("upgrade"), "{answer}");
        let mut failure = node.failure();
        let why = within("it is said", failure.wait_for(Option::is_some)).await.unwrap().clone();
        let why = why.unwrap();
        assert!(why.contains("version 2") && why.ends_with("upgrade this node"), "{why}");
    }
}
