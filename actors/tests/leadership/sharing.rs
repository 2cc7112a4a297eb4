//! Servers that are divided among the nodes: each is probed by one, known to all, and looked at by
//! everybody when it is in trouble.

use std::time::Duration;

use baton_actors::sharing::Probing;
use baton_topology::quorum::Verdict;

use super::agreement::{Nodes, Plan, WATCHFUL};
use super::support::key;

const ALL: [&str; 4] = ["a", "b", "c", "d"];
const SHARED: Plan = Plan { probing: Probing::Shared, ..WATCHFUL };

impl Nodes {
    /// Looks at a server so far, whoever made them.
    fn looks_at(&self, name: &str) -> u64 {
        self.fleet.probes_of(&key(name))
    }

    /// How long ago a node last heard of a server.
    fn heard_ago(&self, node: usize, name: &str) -> Duration {
        let fleet = self.worlds[node].snapshot();
        let seen = fleet.instance(&key(name)).and_then(|it| it.health.last_seen);
        self.now().since(seen.expect("it was seen"))
    }
}

#[actix::test]
async fn each_server_is_probed_by_one_node_and_known_to_all() {
    tokio::time::pause();
    let nodes = Nodes::of(&[SHARED, SHARED, SHARED]).await;
    let before = ALL.map(|name| nodes.looks_at(name));
    tokio::time::sleep(Duration::from_secs(60)).await;
    for (name, before) in ALL.into_iter().zip(before) {
        let looks = nodes.looks_at(name) - before;
        assert!((11..=15).contains(&looks), "{name} was looked at {looks} times in 12 intervals");
        let mut own = 0;
        for node in 0..3 {
            let ago = nodes.heard_ago(node, name);
            assert!(ago <= Duration::from_secs(7), "node {node} heard of {name} {ago:?} ago");
            let fleet = nodes.worlds[node].snapshot();
            let health = &fleet.instance(&key(name)).unwrap().health;
            own += usize::from(!health.is_hearsay());
        }
        assert_eq!(own, 1, "{name}");
    }
    assert_eq!(nodes.fleet.parked_on(&key("a")), 1, "one waits for its end");
}

#[actix::test]
async fn the_share_of_a_node_that_dies_moves_at_once() {
    tokio::time::pause();
    for gone in 0..3 {
        let nodes = Nodes::of(&[SHARED, SHARED, SHARED]).await;
        nodes.exchange.cut.lock().expect("it is whole").insert(gone);
        ALL.iter().for_each(|name| nodes.eyes[gone].close(name));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(nodes.fleet.parked_on(&key("a")), 1, "somebody else waits for its end");
        tokio::time::sleep(Duration::from_secs(20)).await;
        for node in (0..3).filter(|it| *it != gone) {
            for name in ALL {
                let ago = nodes.heard_ago(node, name);
                assert!(ago <= Duration::from_secs(7), "node {node} heard of {name} {ago:?} ago");
            }
        }
        nodes.stop().await;
    }
}

#[actix::test]
async fn a_server_in_trouble_is_looked_at_by_everybody() {
    tokio::time::pause();
    let nodes = Nodes::of(&[SHARED, SHARED, SHARED]).await;
    nodes.fleet.kill(&key("a"));
    let took = nodes.until_begun().await.expect("everybody sees it");
    assert!(took <= Duration::from_millis(300), "{took:?}");
    for world in &nodes.worlds {
        world
            .until("it sees that for itself", |fleet| {
                let health = &fleet.instance(&key("a")).unwrap().health;
                health.failures > 0 && !health.is_hearsay()
            })
            .await;
    }
}

#[actix::test]
async fn what_its_prober_has_lost_is_probed_by_somebody_who_has_not() {
    tokio::time::pause();
    for blind in 0..3 {
        let nodes = Nodes::of(&[SHARED, SHARED, SHARED]).await;
        nodes.eyes[blind].close("a");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(nodes.fleet.parked_on(&key("a")), 1, "one that sees it waits for its end");
        tokio::time::sleep(Duration::from_secs(20)).await;
        for node in (0..3).filter(|it| *it != blind) {
            let ago = nodes.heard_ago(node, "a");
            assert!(ago <= Duration::from_secs(7), "node {node} heard of it {ago:?} ago");
        }
        nodes.fleet.kill(&key("a"));
        let took = nodes.until_begun().await.expect("two of three see it");
        assert!(took <= Duration::from_millis(300), "{blind} is blind: {took:?}");
        nodes.stop().await;
    }
}

#[actix::test]
async fn what_the_prober_alone_has_lost_is_not_lost() {
    tokio::time::pause();
    for blind in 0..3 {
        let nodes = Nodes::of(&[SHARED, SHARED, SHARED]).await;
        nodes.eyes[blind].close("a");
        nodes.cut_replicas_off();
        assert_eq!(nodes.until_begun().await, None, "I7: {:#?}", nodes.verdict());
        for node in (0..3).filter(|it| *it != blind) {
            let fleet = nodes.worlds[node].snapshot();
            assert!(fleet.instance(&key("a")).unwrap().is_valid(), "node {node}");
        }
        if blind == 0 {
            assert!(matches!(nodes.verdict(), Some(Verdict::Unconfirmed(_))));
        }
        nodes.stop().await;
    }
}
