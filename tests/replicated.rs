//! What people and recoveries set through one node of a raft is known to all of them.

mod support;

use serde_json::{Value, json};
use support::{Flavor, PATIENCE, Raft, Server, shop, until_recovered, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const INSTANCES: &str = "/api/all-instances";

/// Waits until each node sees it with its own eyes.
fn all_see(raft: &Raft, case: &str, path: &str, is_so: impl Fn(&Value) -> bool) {
    let path = format!("{path}?local=true");
    for node in &raft.nodes {
        node.until(&path, case, |seen| is_so(seen).then_some(()));
    }
}

fn has(list: &Value, field: &str, value: impl Into<Value>) -> bool {
    let value = value.into();
    list.as_array().is_some_and(|list| list.iter().any(|it| it[field] == value))
}

fn has_port(list: &Value, port: u16) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|it| it["Key"]["Port"] == port))
}

/// What says whether it is so, given the port of the instance it is about.
type Check = fn(&Value, u16) -> bool;

/// Commands, where one sees what they have done, and how.
fn commands(servers: &[Server]) -> Vec<(String, String, Check)> {
    let replica = format!("{}/{}", servers[3].host, servers[3].port);
    let instance = || format!("/api/instance/{replica}");
    let tags = || format!("/api/tags/{replica}");
    let pools = format!("/api/cluster-pool-instances/{}", servers[0].address());
    let all = || INSTANCES.to_owned();
    vec![
        (format!("begin-downtime/{replica}/me/why/1h"), "/api/downtimed".into(), |it, port| {
            it[0]["Key"]["Port"] == port
        }),
        (format!("end-downtime/{replica}"), "/api/downtimed".into(), |it, _| *it == json!([])),
        (format!("begin-maintenance/{replica}/me/why"), "/api/maintenance".into(), |it, port| {
            it[0]["Key"]["Port"] == port && it[0]["Owner"] == "me"
        }),
        (format!("end-maintenance/{replica}"), "/api/maintenance".into(), |it, _| *it == json!([])),
        (format!("register-candidate/{replica}/prefer"), instance(), |it, _| {
            it["PromotionRule"] == "prefer"
        }),
        (format!("tag/{replica}?tag=a=1"), tags(), |it, _| *it == json!(["a=1"])),
        (format!("tag/{replica}?tag=b"), tags(), |it, _| *it == json!(["a=1", "b="])),
        (format!("untag/{replica}?tag=b"), tags(), |it, _| *it == json!(["a=1"])),
        ("untag-all?tag=a=1".into(), tags(), |it, _| *it == json!([])),
        (
            format!("submit-pool-instances/p?instances={}", servers[3].address()),
            pools,
            |it, port| it.to_string().contains(&port.to_string()),
        ),
        (format!("register-hostname-unresolve/{replica}/virtual"), instance(), |it, _| {
            it["UnresolvedHostname"] == "virtual"
        }),
        (format!("deregister-hostname-unresolve/{replica}"), instance(), |it, _| {
            it["UnresolvedHostname"] == ""
        }),
        (format!("forget/{replica}"), all(), |it, _| it.as_array().is_some_and(|it| it.len() == 3)),
        (format!("discover/{replica}"), all(), |it, _| {
            it.as_array().is_some_and(|it| it.len() == 4)
        }),
        ("disable-global-recoveries".into(), "/api/check-global-recoveries".into(), |it, _| {
            it["Details"] == "disabled"
        }),
        ("enable-global-recoveries".into(), "/api/check-global-recoveries".into(), |it, _| {
            it["Details"] == "enabled"
        }),
        (
            format!("set-cluster-alias/{}?alias=store", servers[0].address()),
            "/api/clusters-info".into(),
            |it, _| it[0]["ClusterAlias"] == "store",
        ),
        (format!("begin-downtime/{replica}/me/why/1s"), "/api/downtimed".into(), |it, _| {
            *it == json!([])
        }),
    ]
}

#[test]
fn what_is_set_through_one_node_is_seen_on_all_of_them() {
    let servers = shop(Flavor::MariaDb1011);
    let raft = Raft::over(BATON, &servers);
    let follower = &raft.nodes[Raft::others(raft.leader(&[0, 1, 2]))[0]];
    for (command, path, is_so) in &commands(&servers) {
        wait_until(PATIENCE, command, || {
            let answer = follower.get(&format!("/api/{command}"));
            (answer["Code"] == "OK").then_some(())
        });
        all_see(&raft, command, path, |it| is_so(it, servers[3].port));
    }
}

#[test]
fn what_a_recovery_did_and_what_became_of_it_is_seen_on_all_nodes() {
    let mut servers = shop(Flavor::MariaDb1011);
    let raft = Raft::over(BATON, &servers);
    let follower = &raft.nodes[Raft::others(raft.leader(&[0, 1, 2]))[0]];
    let follower_sets = |command: &str| {
        let answer = follower.get(&format!("/api/{command}"));
        assert_eq!(answer["Code"], "OK", "{answer:#}");
    };
    let alias = format!("set-cluster-alias/{}?alias=store", servers[0].address());
    follower_sets(&alias);

    servers[0].kill_9();
    let recovery = until_recovered(follower);
    let (uid, old) = (recovery["UID"].clone(), servers[0].port);
    // Other failures may have been detected before this one, and after it.
    let detection = |seen: &Value| {
        let is_it = |it: &&Value| it["AnalysisEntry"]["Analysis"] == "DeadMaster";
        seen.as_array()?.iter().find(is_it).cloned()
    };
    let detections = "/api/audit-failure-detection";
    let first = raft.nodes[0].until(detections, "the failure", detection);
    all_see(&raft, "the failure", detections, |it| {
        detection(it).is_some_and(|it| it["Id"] == first["Id"])
    });
    all_see(&raft, "the recovery", "/api/audit-recovery", |it| has(it, "UID", uid.clone()));
    let text = uid.as_str().expect("a text");
    all_see(&raft, "its steps", &format!("/api/audit-recovery-steps/{text}"), |it| {
        it.as_array().is_some_and(|it| !it.is_empty())
    });
    all_see(&raft, "the loss", "/api/downtimed", |it| it[0]["Key"]["Port"] == old);
    all_see(&raft, "the alias", "/api/clusters-info", |it| has(it, "ClusterAlias", "store"));
    follower_sets(&format!("ack-recovery/uid/{text}?comment=seen"));
    all_see(&raft, "that somebody knows", "/api/audit-recovery", |it| {
        it[0]["Acknowledged"] == true && it[0]["AcknowledgedComment"] == "seen"
    });

    follower_sets("forget-cluster/store");
    all_see(&raft, "that one is left, which is no part of it", INSTANCES, |it| {
        it.as_array().is_some_and(|it| it.len() == 1 && it[0]["Key"]["Port"] == old)
    });
    follower_sets(&format!("forget/{}/{old}", servers[0].host));
    all_see(&raft, "that nobody is left", INSTANCES, |it| *it == json!([]));
    // Nothing they know leads there any more.
    let replica = &servers[3];
    follower_sets(&format!("discover/{}/{}", replica.host, replica.port));
    all_see(&raft, "who is there again", INSTANCES, |it| has_port(it, replica.port));
}
