//! What the living system counts about itself, for Prometheus.
//!
//! Labels are bounded: an actor's type and a failure's kind, never the name of an instance.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_topology::instance::FailureKind;
use baton_topology::quorum::Verdict;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The label of everything that is counted per actor type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActorLabel {
    /// The type, such as `probe`.
    pub actor: &'static str,
}

/// The label of failed probes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabel {
    /// The kind of failure.
    pub kind: &'static str,
}

/// The label of what was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DroppedLabel {
    /// What: `store_write`, `audit`, `discovery`, `named_instance`, `report`.
    pub what: &'static str,
}

/// The label of questions to other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerdictLabel {
    /// `confirmed`, `unconfirmed` or `vetoed`.
    pub verdict: &'static str,
}

/// The counters of one actor type.
#[derive(Debug, Clone)]
pub struct ActorMetrics {
    /// How many are alive.
    pub alive: Gauge,
    /// How often one had to be rebuilt.
    pub restarts: Counter,
    /// Messages that wait.
    pub mailbox: Gauge,
    /// Messages accepted.
    pub messages: Counter,
    /// How long handling one message takes.
    pub handling_seconds: Histogram,
}

/// All metrics of the living system. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    alive: Family<ActorLabel, Gauge>,
    restarts: Family<ActorLabel, Counter>,
    mailbox: Family<ActorLabel, Gauge>,
    messages: Family<ActorLabel, Counter>,
    handling: Family<ActorLabel, Histogram, fn() -> Histogram>,
    /// Probes begun.
    pub probe_attempts: Counter,
    /// Failed probes by kind.
    probe_failures: Family<FailureLabel, Counter>,
    /// How long probes take, failed ones included.
    pub probe_seconds: Histogram,
    /// Writes that wait for the store.
    pub store_queue: Gauge,
    /// How long one batch of writes takes.
    pub store_write_seconds: Histogram,
    /// 1 while the store cannot be written.
    pub store_degraded: Gauge,
    /// What was dropped because a queue was full.
    dropped: Family<DroppedLabel, Counter>,
    /// The generation of the newest snapshot.
    pub snapshot_generation: Gauge,
    /// When the newest snapshot was published, in seconds since the epoch.
    pub snapshot_published: Gauge<f64, std::sync::atomic::AtomicU64>,
    /// How long one analysis of what changed takes.
    pub analysis_seconds: Histogram,
    /// Time in which threads of this process were not able to run, those that lacked most.
    pub runtime_delay_seconds: Counter<f64, std::sync::atomic::AtomicU64>,
    /// The same as a share of the last seconds, in percent.
    pub runtime_delay_percent: Gauge,
    /// Threads of this process that stopped turning.
    pub runtime_stuck_threads: Gauge,
    /// Questions to the other nodes, by what came of them.
    polls: Family<VerdictLabel, Counter>,
    /// How long they take.
    poll_seconds: Histogram,
}

fn handling_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 4.0, 9))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers all families in a new registry.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Arc::default(),
            alive: Family::default(),
            restarts: Family::default(),
            mailbox: Family::default(),
            messages: Family::default(),
            handling: Family::new_with_constructor(handling_buckets as fn() -> Histogram),
            probe_attempts: Counter::default(),
            probe_failures: Family::default(),
            probe_seconds: Histogram::new(exponential_buckets(0.000_5, 2.5, 11)),
            store_queue: Gauge::default(),
            store_write_seconds: Histogram::new(exponential_buckets(0.000_1, 4.0, 9)),
            store_degraded: Gauge::default(),
            dropped: Family::default(),
            snapshot_generation: Gauge::default(),
            snapshot_published: Gauge::default(),
            analysis_seconds: handling_buckets(),
            runtime_delay_seconds: Counter::default(),
            runtime_delay_percent: Gauge::default(),
            runtime_stuck_threads: Gauge::default(),
            polls: Family::default(),
            poll_seconds: Histogram::new(exponential_buckets(0.000_5, 2.5, 9)),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let root = registry.sub_registry_with_prefix("baton");
        let r = root.sub_registry_with_prefix("actor");
        r.register("alive", "Actors alive, by type", self.alive.clone());
        r.register("restarts", "Actors rebuilt after they died, by type", self.restarts.clone());
        r.register("mailbox_messages", "Messages that wait, by type", self.mailbox.clone());
        r.register("messages", "Messages accepted, by type", self.messages.clone());
        let help = "Time to handle one message, by type";
        r.register_with_unit("handling", help, Unit::Seconds, self.handling.clone());
        let r = root.sub_registry_with_prefix("probe");
        r.register("attempts", "Probes begun", self.probe_attempts.clone());
        r.register("failures", "Probes failed, by kind", self.probe_failures.clone());
        let help = "Time one probe takes, failed ones included";
        r.register_with_unit("duration", help, Unit::Seconds, self.probe_seconds.clone());
        let r = root.sub_registry_with_prefix("store");
        r.register("queue_writes", "Writes that wait for the store", self.store_queue.clone());
        let help = "Time one batch of writes takes";
        r.register_with_unit("write", help, Unit::Seconds, self.store_write_seconds.clone());
        r.register("degraded", "1 while the store cannot be written", self.store_degraded.clone());
        root.register("dropped", "Dropped because a queue was full", self.dropped.clone());
        let r = root.sub_registry_with_prefix("quorum");
        let help = "Questions to the other nodes whether they see a failure, by the outcome";
        r.register("polls", help, self.polls.clone());
        let help = "Time until they have answered, or it is known what they say";
        r.register_with_unit("poll", help, Unit::Seconds, self.poll_seconds.clone());
        let r = root.sub_registry_with_prefix("snapshot");
        let help = "Generation of the newest snapshot";
        r.register("generation", help, self.snapshot_generation.clone());
        let help = "When the newest snapshot was published, since the epoch";
        r.register_with_unit(
            "published_timestamp",
            help,
            Unit::Seconds,
            self.snapshot_published.clone(),
        );
        let r = root.sub_registry_with_prefix("runtime");
        let help = "Time in which a thread of baton could not run, for lack of processor";
        r.register_with_unit("delay", help, Unit::Seconds, self.runtime_delay_seconds.clone());
        let help = "Share of the last seconds in which a thread of baton could not run";
        r.register("delay_percent", help, self.runtime_delay_percent.clone());
        let help = "Threads of baton that stopped turning: their servers are not probed";
        r.register("stuck_threads", help, self.runtime_stuck_threads.clone());
        let help = "Time to analyse what changed";
        root.register_with_unit("analysis", help, Unit::Seconds, self.analysis_seconds.clone());
    }

    /// The registry: encode it for `/metrics`, or register more in it.
    pub fn registry(&self) -> Arc<Mutex<Registry>> {
        Arc::clone(&self.registry)
    }

    /// The counters of one actor type.
    pub fn actor(&self, actor: &'static str) -> ActorMetrics {
        let label = ActorLabel { actor };
        ActorMetrics {
            alive: self.alive.get_or_create(&label).clone(),
            restarts: self.restarts.get_or_create(&label).clone(),
            mailbox: self.mailbox.get_or_create(&label).clone(),
            messages: self.messages.get_or_create(&label).clone(),
            handling_seconds: self.handling.get_or_create(&label).clone(),
        }
    }

    /// Counts a failed probe.
    pub fn probe_failed(&self, kind: FailureKind) {
        self.probe_failures.get_or_create(&FailureLabel { kind: kind.as_str() }).inc();
    }

    /// Counts a question to the other nodes.
    pub fn polled(&self, verdict: &Verdict, took: Duration) {
        let verdict = match verdict {
            Verdict::Confirmed { .. } => "confirmed",
            Verdict::Unconfirmed(_) => "unconfirmed",
            Verdict::Vetoed { .. } => "vetoed",
        };
        self.polls.get_or_create(&VerdictLabel { verdict }).inc();
        self.poll_seconds.observe(took.as_secs_f64());
    }

    /// Counts what was dropped.
    pub fn dropped(&self, what: &'static str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.dropped.get_or_create(&DroppedLabel { what }).inc_by(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_in_prometheus_words() {
        let metrics = Metrics::new();
        metrics.actor("probe").restarts.inc();
        metrics.probe_failed(FailureKind::Timeout);
        metrics.actor("probe").handling_seconds.observe(0.001);
        let mut text = String::new();
        let registry = metrics.registry();
        let registry = registry.lock().unwrap();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "baton_actor_restarts_total{actor=\"probe\"} 1",
            "baton_probe_failures_total{kind=\"timeout\"} 1",
            "baton_actor_handling_seconds_count{actor=\"probe\"} 1",
            "# UNIT baton_probe_duration_seconds seconds",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
