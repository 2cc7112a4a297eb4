//! Figures on probing, in the shapes that collectors of the peer's figures read.
//!
//! They come from the newest probe of each instance; everything there is to know over time is at
//! `/metrics`.

use std::time::Duration;

use baton_topology::instance::{HealthStatus, Instance};
use serde::Serialize;

use crate::call::Call;
use crate::compat::timestamp;
use crate::reply::{Failure, Outcome, Reply};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProbeJson {
    timestamp: String,
    hostname: String,
    port: u16,
    backend_latency_seconds: f64,
    instance_latency_seconds: f64,
    total_latency_seconds: f64,
    err: Option<String>,
}

pub(super) async fn discovery_raw(call: Call) -> Outcome {
    let seconds = seconds(&call)?;
    let mut probes: Vec<&Instance> = recent(&call, seconds).collect();
    probes.sort_by_key(|instance| instance.health.last_check);
    let shown = probes.into_iter().map(|instance| ProbeJson {
        timestamp: instance.health.last_check.map(timestamp).unwrap_or_default(),
        hostname: instance.key.host().to_owned(),
        port: instance.key.port(),
        // Nothing is written on the way of a probe.
        backend_latency_seconds: 0.0,
        instance_latency_seconds: instance.health.latency.as_secs_f64(),
        total_latency_seconds: instance.health.latency.as_secs_f64(),
        err: match &instance.health.status {
            HealthStatus::Invalid(failure) => Some(failure.message.clone()),
            HealthStatus::Unprobed | HealthStatus::Valid => None,
        },
    });
    Reply::bare(&shown.collect::<Vec<_>>())
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProbesJson {
    first_seen: String,
    last_seen: String,
    count_distinct_instance_keys: usize,
    count_distinct_ok_instance_keys: usize,
    count_distinct_failed_instance_keys: usize,
    failed_discoveries: usize,
    successful_discoveries: usize,
    mean_total_seconds: f64,
    mean_backend_seconds: f64,
    mean_instance_seconds: f64,
    failed_mean_total_seconds: f64,
    failed_mean_backend_seconds: f64,
    failed_mean_instance_seconds: f64,
    max_total_seconds: f64,
    max_backend_seconds: f64,
    max_instance_seconds: f64,
    failed_max_total_seconds: f64,
    failed_max_backend_seconds: f64,
    failed_max_instance_seconds: f64,
    median_total_seconds: f64,
    median_backend_seconds: f64,
    median_instance_seconds: f64,
    failed_median_total_seconds: f64,
    failed_median_backend_seconds: f64,
    failed_median_instance_seconds: f64,
    p95_total_seconds: f64,
    p95_backend_seconds: f64,
    p95_instance_seconds: f64,
    failed_p95_total_seconds: f64,
    failed_p95_backend_seconds: f64,
    failed_p95_instance_seconds: f64,
}

pub(super) async fn discovery_aggregated(call: Call) -> Outcome {
    let seconds = seconds(&call)?;
    let probes: Vec<&Instance> = recent(&call, seconds).collect();
    let (ok, failed): (Vec<&Instance>, Vec<&Instance>) =
        probes.iter().copied().partition(|instance| instance.is_valid());
    let spread = |probes: &[&Instance]| Spread::of(probes.iter().map(|it| it.health.latency));
    let (good, bad) = (spread(&ok), spread(&failed));
    let times = || probes.iter().filter_map(|instance| instance.health.last_check);
    Reply::bare(&ProbesJson {
        first_seen: times().min().map(timestamp).unwrap_or_default(),
        last_seen: times().max().map(timestamp).unwrap_or_default(),
        count_distinct_instance_keys: probes.len(),
        count_distinct_ok_instance_keys: ok.len(),
        count_distinct_failed_instance_keys: failed.len(),
        failed_discoveries: failed.len(),
        successful_discoveries: ok.len(),
        mean_total_seconds: good.mean,
        mean_instance_seconds: good.mean,
        max_total_seconds: good.max,
        max_instance_seconds: good.max,
        median_total_seconds: good.median,
        median_instance_seconds: good.median,
        p95_total_seconds: good.p95,
        p95_instance_seconds: good.p95,
        failed_mean_total_seconds: bad.mean,
        failed_mean_instance_seconds: bad.mean,
        failed_max_total_seconds: bad.max,
        failed_max_instance_seconds: bad.max,
        failed_median_total_seconds: bad.median,
        failed_median_instance_seconds: bad.median,
        failed_p95_total_seconds: bad.p95,
        failed_p95_instance_seconds: bad.p95,
        ..ProbesJson::default()
    })
}

/// No probe waits in a queue: each instance has an actor of its own.
pub(super) async fn queue_raw(call: Call) -> Outcome {
    seconds(&call)?;
    Reply::bare(&[(); 0])
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct QueueJson {
    active_min_entries: f64,
    active_mean_entries: f64,
    active_median_entries: f64,
    active_p95_entries: f64,
    active_max_entries: f64,
    queued_min_entries: f64,
    queued_mean_entries: f64,
    queued_median_entries: f64,
    queued_p95_entries: f64,
    queued_max_entries: f64,
}

pub(super) async fn queue_aggregated(call: Call) -> Outcome {
    seconds(&call)?;
    Reply::bare(&QueueJson::default())
}

/// Instances are written in batches behind the analysis; what there is to know of that is at
/// `/metrics` (`baton_store_*`). No single batch is kept.
pub(super) async fn write_buffer_raw(call: Call) -> Outcome {
    seconds(&call)?;
    Reply::bare(&[(); 0])
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct WriteBufferJson {
    instance_write_buffer_size: u64,
    instance_flush_interval_milliseconds: u64,
    count_instances: u64,
    max_instances: f64,
    mean_instances: f64,
    median_instances: f64,
    p95_instances: f64,
    max_wait_seconds: f64,
    mean_wait_seconds: f64,
    median_wait_seconds: f64,
    p95_wait_seconds: f64,
    max_write_seconds: f64,
    mean_write_seconds: f64,
    median_write_seconds: f64,
    p95_write_seconds: f64,
}

pub(super) async fn write_buffer_aggregated(call: Call) -> Outcome {
    seconds(&call)?;
    Reply::bare(&WriteBufferJson::default())
}

/// No decision asks the store anything, so there are no queries to measure.
pub(super) async fn backend_query_raw(call: Call) -> Outcome {
    seconds(&call)?;
    Reply::bare(&[(); 0])
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct BackendQueryJson {
    count: u64,
    max_latency_seconds: f64,
    mean_latency_seconds: f64,
    median_latency_seconds: f64,
    p95_latency_seconds: f64,
    max_wait_seconds: f64,
    mean_wait_seconds: f64,
    median_wait_seconds: f64,
    p95_wait_seconds: f64,
}

pub(super) async fn backend_query_aggregated(call: Call) -> Outcome {
    seconds(&call)?;
    Reply::bare(&BackendQueryJson::default())
}

fn seconds(call: &Call) -> Result<Duration, Failure> {
    let text = call.param("seconds");
    let number = text.parse::<u32>();
    let number = number.map_err(|_| Failure::new(format!("Invalid number of seconds: {text}")))?;
    Ok(Duration::from_secs(u64::from(number)))
}

fn recent(call: &Call, within: Duration) -> impl Iterator<Item = &Instance> {
    let oldest = call.now.minus(within);
    let instances = call.fleet.members().map(|(_, member)| &*member.instance);
    instances.filter(move |instance| instance.health.last_check.is_some_and(|at| at >= oldest))
}

#[derive(Debug, Default, PartialEq)]
struct Spread {
    mean: f64,
    median: f64,
    p95: f64,
    max: f64,
}

impl Spread {
    fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut seconds: Vec<f64> = durations.map(|it| it.as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        let Some(max) = seconds.last().copied() else { return Self::default() };
        let at = |percent: usize| seconds[(seconds.len() - 1) * percent / 100];
        let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
        Self { mean, median: at(50), p95: at(95), max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_tell_the_middle_and_the_ends() {
        let spread = Spread::of((1..=100).map(Duration::from_secs));
        assert_eq!(spread, Spread { mean: 50.5, median: 50.0, p95: 95.0, max: 100.0 });
        assert_eq!(Spread::of(std::iter::empty()), Spread::default());
    }
}
