use std::sync::Arc;

use baton_topology::fleet::{FleetInput, advance};
use baton_topology::instance::Facts;
use baton_topology::recovery::gate::Runner;
use baton_topology::testing::{answered, key, primary_facts, refused, replica_facts};

use super::*;
use crate::compat::to_go_json;

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
        clusters: clusters.map(|it| ClusterRow::of(it, fleet, &runner, now).into()).collect(),
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
