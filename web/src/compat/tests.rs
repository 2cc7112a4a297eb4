//! Answers of the peer, recorded on four MySQL 9.7 servers, against what we render of the same facts.

use std::collections::BTreeSet;
use std::sync::Arc;

use baton_topology::binlog::BinlogCoordinates;
use baton_topology::filter::ClusterFilter;
use baton_topology::fleet::{FleetInput, advance};
use baton_topology::gtid::Gtids;
use baton_topology::instance::{Channel, Facts, ReplicationError, SourceLink, ThreadState};
use baton_topology::key::InstanceKey;
use baton_topology::policy::Policy;
use baton_topology::probe::ProbeResult;
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::testing::{primary_facts, refused, replica_facts};
use baton_topology::time::Timestamp;
use baton_topology::version::Version;

use super::{AnalysisJson, InstanceJson, NodeName, to_go_json};

/// 2026-11-21T02:43:46Z.
const SEEN_AT: i64 = 1_795_229_026;

fn key(port: u16) -> InstanceKey {
    InstanceKey::new("127.0.0.1", port)
}

fn common(mut facts: Facts, port: u16, uptime_seconds: u64) -> Facts {
    facts.uptime_seconds = uptime_seconds;
    facts.server_id = u32::from(port);
    let digit = (port % 10).to_string();
    let (four, twelve) = (digit.repeat(4), digit.repeat(12));
    facts.server_uuid = format!("000{port}-{four}-{four}-{four}-{twelve}").parse().ok();
    facts.version = Version::parse("9.7.4-2", "(Debian)");
    facts.version_comment = "(Debian)".into();
    facts.binlog.row_image = "FULL".into();
    facts.binlog.position = BinlogCoordinates::new("mybin.000001", 158);
    facts.gtid.executed = Gtids::MySql(Default::default());
    facts.semi_sync.available = true;
    facts.semi_sync.source_timeout_ms = 1_000_000_000;
    facts.semi_sync.wait_for_replicas = 1;
    facts.suggested_cluster_alias = "ci".into();
    facts
}

fn primary() -> Facts {
    let replicas = BTreeSet::from([key(10112), key(10113), key(10114)]);
    common(Facts { replicas, ..primary_facts() }, 10111, 12)
}

fn replica(port: u16) -> Facts {
    let mut facts = common(replica_facts(&key(10111)), port, 14);
    facts.replication_credentials_available = true;
    let channel = &mut facts.channels[0];
    channel.source_uuid = "00010111-1111-1111-1111-111111111111".parse().ok();
    channel.read = BinlogCoordinates::new("mybin.000001", 158);
    channel.executed = BinlogCoordinates::new("mybin.000001", 158);
    channel.relay = BinlogCoordinates::new("vm-relay-bin.000002", 367);
    channel.user = "repl".into();
    channel.tls.enabled = true;
    facts
}

fn answered(port: u16, facts: Facts) -> FleetInput {
    FleetInput::Probed(ProbeResult {
        key: key(port),
        started_at: Timestamp::from_secs(SEEN_AT - 1),
        ended_at: Timestamp::from_secs(SEEN_AT),
        outcome: Ok(Arc::new(facts)),
        silent_since: None,
    })
}

fn fleet() -> FleetSnapshot {
    let policy = Policy { recover_intermediate: vec![ClusterFilter::Any], ..Policy::default() };
    let empty = FleetSnapshot::empty(Arc::new(policy), Arc::default(), Timestamp::EPOCH);
    let mut inputs = vec![answered(10111, primary())];
    inputs.extend([10112, 10113, 10114].map(|port| answered(port, replica(port))));
    advance(&empty, inputs, Timestamp::from_secs(SEEN_AT)).snapshot
}

fn rendered(fleet: &FleetSnapshot, port: u16) -> String {
    let (cluster, member) = fleet.member(&key(port)).unwrap();
    let now = Timestamp::from_secs(SEEN_AT + 1);
    to_go_json(&InstanceJson::of(fleet, cluster, member, now)).unwrap()
}

#[test]
fn instances_are_rendered_to_the_byte() {
    assert_eq!(rendered(&fleet(), 10111), include_str!("golden/primary.json").trim_end());
    assert_eq!(rendered(&fleet(), 10112), include_str!("golden/replica.json").trim_end());
}

#[test]
fn a_dead_primary_is_rendered_to_the_byte() {
    let broken = |port: u16| {
        let mut facts = replica(port);
        let error = "Error reconnecting to source 'repl@127.0.0.1:10111'.";
        facts.channels[0] = Channel {
            receiver: ThreadState::Other,
            receiver_error: ReplicationError { number: 2003, text: error.into() },
            seconds_behind: None,
            ..facts.channels[0].clone()
        };
        answered(port, facts)
    };
    let mut death = refused("x", SEEN_AT + 1);
    death.key = key(10111);
    let mut inputs = vec![FleetInput::Probed(death)];
    inputs.extend([10112, 10113, 10114].map(broken));
    let fleet = advance(&fleet(), inputs, Timestamp::from_secs(SEEN_AT + 1)).snapshot;
    let (cluster, member) = fleet.member(&key(10111)).unwrap();
    let node = NodeName { hostname: "vm", token: "token" };
    let now = Timestamp::from_secs(SEEN_AT + 2);
    let shown = AnalysisJson::of(&fleet, cluster, member, &cluster.analyses[0], node, now);
    assert_eq!(to_go_json(&shown).unwrap(), include_str!("golden/dead_primary.json").trim_end());
}

#[test]
fn hostile_names_come_out_harmless() {
    let mut facts = primary();
    facts.alias = "<script>alert('&')</script>\u{202e}\"".into();
    facts.version_comment = "x".repeat(255);
    facts.channels = vec![Channel {
        source: SourceLink::from_host_port("//<b>", 1),
        ..replica(10112).channels[0].clone()
    }];
    let fleet = advance(
        &FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH),
        vec![answered(10111, facts)],
        Timestamp::from_secs(SEEN_AT),
    );
    let shown = rendered(&fleet.snapshot, 10111);
    assert!(!shown.contains(['<', '>', '&']), "{shown}");
    let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(read["InstanceAlias"], "<script>alert('&')</script>\u{202e}\"");
    assert_eq!(read["MasterKey"]["Hostname"], "//<b>");
    assert_eq!(read["IsDetachedMaster"], true);
}
