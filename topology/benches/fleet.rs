//! One changed instance in a fleet of 10,000: folded, re-analysed, ready to publish.
//!
//! Run by `make bench`. The bar is 200 microseconds.

use std::hint::black_box;
use std::sync::Arc;

use baton_topology::fleet::{FleetInput, advance};
use baton_topology::instance::{Facts, SourceLink};
use baton_topology::key::InstanceKey;
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::testing::{answered, primary_facts, refused, replica_facts};
use baton_topology::time::Timestamp;
use criterion::{Criterion, criterion_group, criterion_main};

const CLUSTERS: usize = 2_000;
const REPLICAS: usize = 4;

fn uuid_of(cluster: usize, server: usize) -> String {
    format!("{cluster:08x}-0000-0000-0000-{server:012x}")
}

fn with_gtid(mut facts: Facts, cluster: usize, server: usize, upto: u64) -> Facts {
    facts.server_uuid = uuid_of(cluster, server).parse().ok();
    let set = format!("{}:1-{upto}", uuid_of(cluster, 0));
    facts.gtid.executed = match set.parse() {
        Ok(set) => baton_topology::gtid::Gtids::MySql(set),
        Err(_) => baton_topology::gtid::Gtids::None,
    };
    facts
}

fn fleet() -> FleetSnapshot {
    let mut inputs = Vec::new();
    for cluster in 0..CLUSTERS {
        let source = format!("c{cluster:04}-p");
        let primary = with_gtid(primary_facts(), cluster, 0, 1_000);
        inputs.push(FleetInput::Probed(answered(&source, 10, primary)));
        for replica in 1..=REPLICAS {
            let facts = replica_facts(&InstanceKey::new(source.as_str(), 3306));
            let facts = with_gtid(facts, cluster, replica, 1_000);
            inputs.push(FleetInput::Probed(answered(
                &format!("c{cluster:04}-r{replica}"),
                10,
                facts,
            )));
        }
    }
    let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
    advance(&empty, inputs, Timestamp::from_secs(10)).snapshot
}

fn benches(criterion: &mut Criterion) {
    let fleet = fleet();
    assert_eq!(fleet.instance_count(), CLUSTERS * (REPLICAS + 1));
    let (publisher, reader) = tokio::sync::watch::channel(Arc::new(fleet.clone()));
    let now = Timestamp::from_secs(11);
    let mut measure = |name: &str, input: FleetInput| {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let next = advance(&fleet, vec![input.clone()], now);
                publisher.send_replace(Arc::new(next.snapshot));
            });
        });
    };
    measure("fleet/primary_dies", FleetInput::Probed(refused("c1000-p", 11)));
    let advanced = with_gtid(primary_facts(), 1000, 0, 1_001);
    measure("fleet/primary_moves_on", FleetInput::Probed(answered("c1000-p", 11, advanced)));
    let mut moved = replica_facts(&InstanceKey::new("c0001-p", 3306));
    moved.channels[0].source = SourceLink::Attached(InstanceKey::new("c1500-p", 3306));
    measure("fleet/replica_changes_cluster", FleetInput::Probed(answered("c0001-r2", 11, moved)));
    black_box(reader.borrow().generation);
}

criterion_group!(group, benches);
criterion_main!(group);
