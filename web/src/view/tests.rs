use std::sync::Arc;

use baton_topology::analysis::Code;
use baton_topology::fleet::{FleetInput, advance};
use baton_topology::gtid::Gtids;
use baton_topology::instance::{Facts, ThreadState};
use baton_topology::recovery::gate::Runner;
use baton_topology::testing::{answered, key, primary_facts, refused, replica_facts};

use super::*;
use crate::compat::{code_name, to_go_json};
use baton_topology::recovery::aftermath::aftermaths;

fn fleet(inputs: Vec<FleetInput>) -> FleetSnapshot {
    let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
    advance(&empty, inputs, Timestamp::from_secs(20)).snapshot
}

fn all(fleet: &FleetSnapshot) -> Rows {
    let runner = Runner { uid: "".into(), node: "n".into(), token: "t".into() };
    let now = Timestamp::from_secs(20);
    let (clusters, members) = (fleet.clusters.values(), fleet.members());
    Rows {
        state: Some(State::of(fleet, now)),
        clusters: clusters
            .map(|it| ClusterRow::of(it, (fleet, &aftermaths(fleet)), &runner, now).into())
            .collect(),
        instances: members
            .map(|(it, member)| InstanceRow::of(it, member, fleet, now).into())
            .collect(),
        ..Rows::none(fleet, now)
    }
}

fn probed(name: &str, facts: Facts) -> FleetInput {
    FleetInput::Probed(answered(name, 10, facts))
}

#[test]
fn rows_say_what_is_out_of_the_ordinary() {
    let replica = Facts { server_id: 2, ..replica_facts(&key("p")) };
    let fleet = fleet(vec![
        probed("p", primary_facts()),
        probed("r", replica),
        FleetInput::Probed(refused("p", 12)),
    ]);
    let rows = serde_json::to_value(all(&fleet)).unwrap();
    assert_eq!(rows["State"]["RecoveriesDisabled"], false);
    let cluster = &rows["Clusters"][0];
    assert_eq!((&cluster["Name"], &cluster["Size"]), (&"p:3306".into(), &2.into()));
    let finding = &cluster["Findings"][0];
    assert_eq!(finding["Code"], "UnreachableMaster");
    assert_eq!(finding["Severity"], "critical");
    let evidence = "p:3306 does not answer; its only replica answers and replicates";
    assert_eq!(finding["Evidence"], evidence);
    let [primary, replica] = [0, 1].map(|at| &rows["Instances"][at]);
    assert_eq!(primary["State"], "down");
    assert_eq!(primary["LastSeen"], "1970-01-01T00:00:10.000Z");
    assert_eq!(primary["Failure"], "connection refused");
    let expected = serde_json::json!({
        "Key": "r:3306", "Cluster": "p:3306", "Source": "p:3306", "Depth": 1, "Role": "replica",
        "State": "ok", "Replication": "running", "Lag": 0, "ReadOnly": true, "Version": "8.4.3",
        "ServerId": 2, "Positioning": "gtid", "Feeds": true,
    });
    assert_eq!(*replica, expected);
}

#[test]
fn hostile_names_come_out_harmless() {
    let alias = "<script>alert('&')</script>\u{202e}\"".to_owned();
    let fleet = fleet(vec![probed("<b>", Facts { alias, ..primary_facts() })]);
    let json = to_go_json(&all(&fleet)).unwrap();
    assert!(!json.contains(['<', '>', '&', '\n']), "{json}");
}

/// A server that executed these transactions of the first primary, and is called so by others.
fn with_gtids(facts: Facts, number: u32, executed: &str) -> Facts {
    let uuid = |number: u32| format!("00000000-0000-0000-0000-{number:012}");
    let mut facts = Facts { server_id: number, uptime_seconds: 1_000, ..facts };
    facts.server_uuid = uuid(number).parse().ok();
    let executed = executed.replace("p:", &format!("{}:", uuid(1))).replace("own", &uuid(number));
    facts.gtid.executed = Gtids::MySql(executed.parse().unwrap());

    facts
}

/// What is found about a primary that is dead, and has executed `p:1-9`. Each replica has this
/// state, or none if it does not answer, and has executed these.
fn dead(replicas: &[(&str, Option<ThreadState>, &str)]) -> serde_json::Value {
    let mut inputs = vec![probed("p", with_gtids(primary_facts(), 1, "p:1-9"))];
    for (number, (name, receiver, executed)) in (2..).zip(replicas) {
        let mut facts = with_gtids(replica_facts(&key("p")), number, executed);
        let channel = &mut facts.channels[0];
        channel.received.clone_from(&facts.gtid.executed);
        // All received until it died.
        channel.receiver = ThreadState::Running;
        inputs.push(probed(name, facts.clone()));
        facts.channels[0].receiver = receiver.unwrap_or(ThreadState::Running);
        inputs.push(FleetInput::Probed(answered(name, 11, facts)));
        if receiver.is_none() {
            inputs.push(FleetInput::Probed(refused(name, 12)));
        }
    }
    inputs.push(FleetInput::Probed(refused("p", 12)));
    let rows = serde_json::to_value(all(&fleet(inputs))).unwrap();
    rows["Clusters"][0]["Findings"][0].clone()
}

#[test]
fn a_failure_says_why_it_is_left_alone_and_what_people_can_do() {
    let (connecting, running) = (Some(ThreadState::Other), Some(ThreadState::Running));
    for (case, replicas, code, held_back_by, next) in [
        (
            "baton may not",
            &[("a", connecting, "p:1-9"), ("b", connecting, "p:1-9")][..],
            Code::DeadPrimary,
            &["RecoverMasterClusterFilters does not name this cluster"][..],
            &[
                "Recover by hand: a:3306 takes the place of p:3306. Nothing that is known of would be lost.",
            ][..],
        ),
        (
            "something would be lost",
            &[("a", connecting, "p:1-8"), ("b", connecting, "p:1-8")],
            Code::DeadPrimary,
            &["RecoverMasterClusterFilters does not"],
            &["Recover by hand: a:3306 takes the place of p:3306. 1 transaction could be lost."],
        ),
        (
            "nobody is fit",
            &[("a", connecting, "p:1-9,own:1"), ("b", connecting, "p:1-9,own:1")],
            Code::DeadPrimary,
            &["RecoverMasterClusterFilters does not", "a:3306 cannot be promoted", "b:3306 cannot"],
            &["Start p:3306 again", "Or remove what stands in the way, and recover by hand"],
        ),
        (
            "nobody is left",
            &[],
            Code::DeadPrimaryWithoutReplicas,
            &["nothing replicates from it"],
            &["Start p:3306 again", "If it is gone for good"],
        ),
        (
            "nobody answers",
            &[("a", None, "p:1-9")],
            Code::DeadPrimaryAndReplicas,
            &["nobody is promoted whom baton does not reach"],
            &["See whether this node still reaches their network", "Start p:3306 again, or one"],
        ),
        (
            "somebody hears it",
            &[("a", running, "p:1-9"), ("b", connecting, "p:1-9")],
            Code::UnreachablePrimary,
            &["it may well be alive"],
            &[
                "clients still reach p:3306",
                "Only if p:3306 is gone for good: force a failover to a",
            ],
        ),
    ] {
        let found = dead(replicas);
        assert_eq!(
            (&found["Code"], &found["Severity"]),
            (&code_name(code).into(), &"critical".into()),
            "{case}"
        );
        for (field, expected) in [("HeldBackBy", held_back_by), ("Next", next)] {
            let said = found[field].as_array().unwrap();
            assert_eq!(said.len(), expected.len(), "{case}: {said:?}");
            for (said, expected) in said.iter().zip(expected) {
                assert!(said.as_str().unwrap().contains(expected), "{case}: {said}: {expected}");
            }
        }
        assert_eq!(found["ByHand"] == true, next[0].starts_with("Recover by hand"), "{case}");
    }
}
