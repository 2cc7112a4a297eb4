//! Figures on HTTP itself, and those that are counted from the snapshot when somebody asks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_actors::hooks::RunningHook;
use baton_topology::analysis::catalog::PROBLEMS;
use baton_topology::recovery::aftermath::{Concern, aftermaths};
use baton_topology::recovery::breaker::breaker;
use baton_topology::recovery::gate::Runner;
use baton_topology::recovery::{End, Phase, preview};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::status::{InstanceProblem, problems};
use baton_topology::time::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::compat::code_name;

/// A route, a method and a class of statuses: all of them known beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    route: &'static str,
    method: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

/// Figures on requests.
#[derive(Clone)]
pub(crate) struct HttpMetrics {
    requests: Family<RequestLabel, Counter>,
    seconds: Family<RouteLabel, Histogram, fn() -> Histogram>,
}

fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 4.0, 9))
}

impl HttpMetrics {
    /// Registers them.
    pub(crate) fn register(registry: &Mutex<Registry>) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(buckets as fn() -> Histogram),
        };
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        let http = registry.sub_registry_with_prefix("baton_http");
        let help = "Requests answered, by route, method and class of status";
        http.register("requests", help, metrics.requests.clone());
        let help = "Time to answer, by route";
        http.register_with_unit("request_duration", help, Unit::Seconds, metrics.seconds.clone());
        metrics
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(&self, route: &'static str, method: &str, status: u16, took: Duration) {
        let method = match method {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            _ => "other",
        };
        let status = match status {
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&RequestLabel { route, method, status }).inc();
        self.seconds.get_or_create(&RouteLabel { route }).observe(took.as_secs_f64());
    }
}

/// Everything in Prometheus' text format.
pub(crate) fn render(
    registry: &Mutex<Registry>,
    fleet: &FleetSnapshot,
    hooks: &[RunningHook],
    now: Timestamp,
) -> String {
    let mut text = String::new();
    {
        let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string never fails.
        let _ = encode(&mut text, &registry);
    }
    let ours = fleet_figures(fleet, now) + &hook_figures(hooks);
    let end = text.rfind("# EOF").unwrap_or(text.len());
    text.insert_str(end, &ours);
    text
}

fn hook_figures(hooks: &[RunningHook]) -> String {
    let oldest = hooks.iter().map(|it| it.elapsed).max().unwrap_or_default().as_secs();
    let (count, (running, age)) =
        (hooks.len(), ("baton_hooks_running", "baton_hook_oldest_seconds"));
    format!(
        "# HELP {running} Hooks that run now.\n# TYPE {running} gauge\n{running} {count}\n\
         # HELP {age} How long the oldest of them has been running.\n# TYPE {age} gauge\n\
         # UNIT {age} seconds\n{age} {oldest}\n"
    )
}

fn readiness(fleet: &FleetSnapshot, now: Timestamp) -> BTreeMap<&'static str, usize> {
    let runner = Runner { uid: "".into(), node: String::new(), token: String::new() };
    let mut counts = BTreeMap::from([("ready", 0), ("not_ready", 0)]);
    for cluster in fleet.clusters.values() {
        // Whether something holds it back is not asked here.
        let found = preview::readiness_given(&[], cluster, fleet, &runner, now);
        let is_ready = found.is_some_and(|it| it.successor.is_some());
        *counts.entry(if is_ready { "ready" } else { "not_ready" }).or_default() += 1;
    }
    counts
}

fn recoveries(fleet: &FleetSnapshot) -> BTreeMap<&'static str, usize> {
    let mut counts =
        BTreeMap::from([("running", 0), ("done", 0), ("rolled_back", 0), ("stuck", 0)]);
    for recovery in fleet.ledger.recoveries.values() {
        let phase = match recovery.phase {
            Phase::Ended(End::Done) => "done",
            Phase::Ended(End::RolledBack) => "rolled_back",
            Phase::Ended(End::Stuck) => "stuck",
            _ => "running",
        };
        *counts.entry(phase).or_default() += 1;
    }
    counts
}

fn left_behind(fleet: &FleetSnapshot) -> (BTreeMap<&'static str, usize>, u64) {
    let mut counts: BTreeMap<&str, usize> = Concern::NAMES.iter().map(|it| (*it, 0)).collect();
    let mut transactions: u64 = 0;
    for left in aftermaths(fleet) {
        for concern in &left.concerns {
            *counts.entry(concern.name()).or_default() += 1;
        }
        // What was lost may be just what the former primary has.
        let most = left.concerns.iter().map(Concern::transactions).max();
        transactions = transactions.saturating_add(most.unwrap_or_default());
    }
    (counts, transactions)
}

fn fleet_figures(fleet: &FleetSnapshot, now: Timestamp) -> String {
    let mut by_problem: BTreeMap<&str, usize> =
        InstanceProblem::ALL.iter().map(|problem| (problem.as_str(), 0)).collect();
    let mut by_code: BTreeMap<&str, usize> =
        PROBLEMS.iter().map(|problem| (code_name(problem.code), 0)).collect();
    for (_, member) in fleet.members() {
        for problem in problems(member, &fleet.policy, now) {
            *by_problem.entry(problem.as_str()).or_default() += 1;
        }
    }
    for analysis in fleet.clusters.values().flat_map(|cluster| &cluster.analyses) {
        if let Some(count) = by_code.get_mut(code_name(analysis.code)) {
            *count += 1;
        }
    }
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, rows: &[(String, String)]| {
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} gauge");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let plain = |value: String| [(String::new(), value)];
    let labelled = |label: &str, counts: &BTreeMap<&str, usize>| -> Vec<(String, String)> {
        let rows = counts.iter();
        rows.map(|(value, n)| (format!("{{{label}=\"{value}\"}}"), n.to_string())).collect()
    };
    let age = now.since(fleet.at).as_secs_f64().to_string();
    gauge("baton_instances", "Instances known", &plain(fleet.instance_count().to_string()));
    gauge("baton_clusters", "Clusters known", &plain(fleet.clusters.size().to_string()));
    let help = "Instances with a problem of their own";
    gauge("baton_instances_with_problem", help, &labelled("problem", &by_problem));
    let help = "Findings of the replication analysis, by code";
    gauge("baton_analysis_findings", help, &labelled("code", &by_code));
    gauge("baton_snapshot_age_seconds", "Time since the newest snapshot", &plain(age));
    let help = "Clusters by whether somebody could take the place of their primary now";
    gauge("baton_clusters_by_readiness", help, &labelled("readiness", &readiness(fleet, now)));
    let help = "Recoveries the ledger knows, by how far they are";
    gauge("baton_recoveries", help, &labelled("phase", &recoveries(fleet)));
    let (failovers, transactions) = left_behind(fleet);
    let help = "Failovers that left something behind which no person has seen to, by what it is";
    gauge("baton_unhandled_failovers", help, &labelled("concern", &failovers));
    let help = "Transactions that such failovers lost, or that only a former primary has";
    gauge("baton_unhandled_lost_transactions", help, &plain(transactions.to_string()));
    let held = usize::from(breaker(fleet, now).is_some());
    let help = "1 while so many clusters lost their primary that nothing is done by itself";
    gauge("baton_fleet_breaker_open", help, &plain(held.to_string()));
    text
}
