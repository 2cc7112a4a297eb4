//! A leader that dies between two sets of members.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use baton_topology::time::Timestamp;
use futures_util::future::select_all;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use tokio::time::timeout;

use crate::clock::TokioClock;
use crate::raft::types::Peer;
use crate::raft::{Compaction, Keys, Plain, RaftNode, RaftSetup, Role, Secret, Standing, Timing};

const PATIENCE: Duration = Duration::from_secs(60);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

async fn start(folder: &Path, listener: TcpListener, seats: &[String]) -> RaftNode {
    let name = listener.local_addr().unwrap().to_string();
    let folder = folder.join(name.replace(':', "-"));
    std::fs::create_dir_all(&folder).unwrap();
    let setup = RaftSetup {
        folder,
        name,
        seats: seats.to_vec(),
        listener,
        tls: None,
        connect: Arc::new(Plain),
        keys: Keys::new(Secret::new("open sesame").unwrap()),
        api: String::new(),
        host: String::new(),
        clock: Arc::new(TokioClock::starting_at(Timestamp::EPOCH)),
        shared_keys: BTreeMap::new(),
        kept_alone: None,
        timing: Timing {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(800),
            snapshot: Duration::from_secs(10),
        },
        compaction: Compaction::default(),
    };
    RaftNode::start(setup).await.unwrap()
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let seat = listener.local_addr().unwrap().to_string();
    (listener, seat)
}

/// Whether a node knows of two sets of members.
fn is_between(node: &RaftNode) -> bool {
    let metrics = node.insides().0.server_metrics().borrow_watched().clone();
    metrics.membership_config.get_joint_config().len() > 1
}

async fn until(what: &str, node: &RaftNode, is_so: impl Fn(&RaftNode) -> bool) {
    within(what, async {
        let mut metrics = node.insides().0.server_metrics();
        while !is_so(node) {
            metrics.changed().await.unwrap();
        }
    })
    .await;
}

async fn leader(nodes: &[RaftNode]) -> usize {
    let leads = nodes.iter().enumerate().map(|(place, node)| {
        Box::pin(async move {
            let mut leadership = node.leadership();
            leadership.wait_for(|it| it.role == Role::Leader).await.unwrap();
            place
        })
    });
    within("a leader", select_all(leads)).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_leader_died_between_two_sets_of_members_is_ended_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (listeners, seats): (Vec<_>, Vec<_>) = (0..3).map(|_| listener()).unzip();
    let mut nodes = Vec::new();
    for listener in listeners {
        nodes.push(start(folder.path(), listener, &seats).await);
    }
    for node in &nodes {
        let mut standing = node.standing();
        within("a member", standing.wait_for(|it| *it == Standing::Member)).await.unwrap();
    }
    let (extra, name) = listener();
    let fourth = start(folder.path(), extra, &[seats[0].clone()]).await;
    let old = nodes.remove(leader(&nodes).await);
    {
        let (raft, members) = old.insides();
        let _held = members.hold_changes().await;
        let peer = Peer { name, ..Peer::default() };
        within("it learns", raft.add_learner(fourth.id(), peer, true)).await.unwrap();
        let voters = ChangeMembers::AddVoterIds([fourth.id()].into());
        // Both steps are taken by one call, so the second one is cut off by dropping that.
        let mut change = Box::pin(raft.change_membership(voters, false));
        let between = until("two sets", &old, is_between);
        tokio::select! {
            biased;
            () = between => {}
            done = &mut change => panic!("it was too fast: {done:?}"),
        }
        drop(change);
        let others = nodes.iter().chain([&fourth]);
        for node in others {
            until("it knows of two sets", node, is_between).await;
        }
        old.halt().await;
    }
    nodes.push(fourth);
    let next = &nodes[leader(&nodes).await];
    until("one set", next, |node| !is_between(node)).await;
    assert_eq!(next.members().iter().filter(|it| it.is_voter).count(), 4);
    for node in &nodes {
        node.halt().await;
    }
}
