//! GTID set operations on sets of 1,000 intervals. Run by `make bench`.

use std::hint::black_box;

use baton_topology::gtid::GtidSet;
use criterion::{Criterion, criterion_group, criterion_main};

const ORIGINS: u32 = 10;
const INTERVALS: u64 = 100;

/// `ORIGINS` times `INTERVALS` intervals of `length`, one every 20 numbers.
fn text(length: u64) -> String {
    let parts = (0..ORIGINS).map(|origin| {
        let intervals = (0..INTERVALS).map(|n| format!("{}-{}", n * 20 + 1, n * 20 + length));
        let intervals: Vec<String> = intervals.collect();
        format!("{origin:08x}-0000-0000-0000-000000000000:{}", intervals.join(":"))
    });
    parts.collect::<Vec<_>>().join(",")
}

fn benches(criterion: &mut Criterion) {
    let (long, short) = (text(15), text(7));
    let (a, b): (GtidSet, GtidSet) = match (long.parse(), short.parse()) {
        (Ok(a), Ok(b)) => (a, b),
        (a, b) => unreachable!("sets are well-formed: {a:?} {b:?}"),
    };
    assert!(a.contains(&b));
    criterion.bench_function("gtid/parse", |it| it.iter(|| black_box(&long).parse::<GtidSet>()));
    criterion.bench_function("gtid/print", |it| it.iter(|| black_box(&a).to_string()));
    criterion.bench_function("gtid/union", |it| it.iter(|| black_box(&a).union(black_box(&b))));
    criterion
        .bench_function("gtid/subtract", |it| it.iter(|| black_box(&a).subtract(black_box(&b))));
    criterion
        .bench_function("gtid/contains", |it| it.iter(|| black_box(&a).contains(black_box(&b))));
}

criterion_group!(group, benches);
criterion_main!(group);
