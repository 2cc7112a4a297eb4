//! One cluster in a list, and the sentences that say what is wrong with it.

use baton_topology::analysis::catalog::{self, Response};
use baton_topology::analysis::{Analysis, Code, Evidence};
use baton_topology::cluster::Cluster;
use baton_topology::filter::any_matches;
use baton_topology::key::InstanceKey;
use baton_topology::policy::Policy;
use baton_topology::recovery::aftermath::{Aftermath, Concern};
use baton_topology::recovery::gate::Runner;
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;
use serde::Serialize;

use super::advice::advice;
use super::{is_default, moment};
use crate::compat::{code_name, warning_name};

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClusterRow {
    /// Its identity: the same for ever.
    pub(crate) id: String,
    /// Its old-style name: the head's `host:port`.
    name: String,
    alias: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    /// Its writable heads, or those that should be, the first one first.
    primaries: Vec<String>,
    size: usize,
    /// baton replaces a dead primary by itself, as far as the configuration goes.
    recovers_primary: bool,
    /// The same for intermediate sources.
    recovers_intermediate: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Finding {
    key: String,
    code: &'static str,
    /// `critical`, `warning` or `notice`.
    severity: &'static str,
    /// What that means, in the words programs know.
    description: &'static str,
    /// What it rests on.
    evidence: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    structure: Vec<&'static str>,
    since: String,
    /// Until when alarms are expected.
    #[serde(skip_serializing_if = "String::is_empty")]
    downtime_until: String,
    /// Why baton does nothing about it by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held_back_by: Vec<String>,
    /// What it does about it, where it does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    would: Vec<String>,
    /// It does it for a person who asks, though not by itself.
    #[serde(skip_serializing_if = "is_default")]
    by_hand: bool,
    /// What people can do about it, the safest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    next: Vec<String>,
    /// Nothing is done about it because of downtime.
    #[serde(skip_serializing_if = "is_default")]
    skipped: bool,
}

impl ClusterRow {
    /// A cluster as of `now`, seen by the node that would recover it; `left` is what failovers left
    /// behind anywhere.
    pub(crate) fn of(
        cluster: &Cluster,
        (fleet, left): (&FleetSnapshot, &[Aftermath]),
        runner: &Runner,
        now: Timestamp,
    ) -> Self {
        let policy = &fleet.policy;
        let primaries = cluster.primaries();
        Self {
            id: cluster.id.to_string(),
            name: cluster.name(),
            alias: cluster.alias.clone(),
            domain: cluster.domain.clone(),
            primaries: primaries.iter().map(|it| it.key().to_string()).collect(),
            size: cluster.members.len(),
            recovers_primary: any_matches(&policy.recover_primary, cluster),
            recovers_intermediate: any_matches(&policy.recover_intermediate, cluster),
            findings: cluster
                .analyses
                .iter()
                .map(|it| Finding::of(it, policy).with_verdict(it, fleet, runner, now))
                .chain(left.iter().filter(|it| it.cluster == cluster.id).map(Finding::left))
                .collect(),
        }
    }
}

impl Finding {
    fn of(analysis: &Analysis, policy: &Policy) -> Self {
        let structure = analysis.structure.iter().map(|it| warning_name(*it)).collect();
        let ends_at = analysis.downtime_ends_at;
        Self {
            key: analysis.key.to_string(),
            code: code_name(analysis.code),
            severity: severity(analysis.code, policy),
            description: catalog::description(analysis.code),
            evidence: match analysis.code {
                Code::NoProblem => String::new(),
                _ => evidence(&analysis.key, &analysis.evidence),
            },
            structure,
            since: moment(analysis.since),
            downtime_until: ends_at.map(moment).unwrap_or_default(),
            skipped: analysis.skippable_due_to_downtime,
            ..Self::default()
        }
    }

    /// What a failover left behind.
    fn left(aftermath: &Aftermath) -> Self {
        let first = aftermath.concerns.first();
        let is_critical = |it: &Concern| matches!(it, Concern::Writable | Concern::KeptClosed);
        let is_critical = aftermath.concerns.iter().any(is_critical);
        Self {
            key: aftermath.former.to_string(),
            code: first.map_or("", Concern::name),
            severity: if is_critical { "critical" } else { "warning" },
            description: "What a failover left behind has to be seen to by a person",
            evidence: aftermath.to_string(),
            since: moment(aftermath.since),
            held_back_by: vec!["a person has to see to it".to_owned()],
            next: aftermath.advice(),
            ..Self::default()
        }
    }

    /// Adds what is done about it, or why nothing is, and what people can do.
    fn with_verdict(
        self,
        analysis: &Analysis,
        fleet: &FleetSnapshot,
        runner: &Runner,
        now: Timestamp,
    ) -> Self {
        let entry = catalog::entry(analysis.code);
        let Some(response) = entry.map(|problem| problem.response(&fleet.policy)) else {
            return self;
        };
        let told = advice(analysis, response, fleet, runner, now);
        let (would, held_back_by) = (told.would, told.held_back_by);
        Self { would, held_back_by, by_hand: told.by_hand, next: told.next, ..self }
    }
}

fn severity(code: Code, policy: &Policy) -> &'static str {
    match catalog::entry(code).map(|problem| problem.response(policy)) {
        Some(Response::Recover) => "critical",
        // Nobody writes to it any more, whether or not somebody could take its place.
        Some(_) if code == Code::DeadPrimaryWithoutReplicas => "critical",
        // A primary nobody reaches is as bad as a dead one, however sure baton is of it.
        Some(Response::Detect) => "critical",
        Some(Response::Show) => "warning",
        None => "notice",
    }
}

/// What a finding rests on, in a sentence.
fn evidence(key: &InstanceKey, evidence: &Evidence) -> String {
    let answers = match (evidence.is_valid, evidence.is_partially_valid) {
        (true, _) => "answers",
        _ if evidence.is_refusing => "answers, but does not let baton in",
        (false, true) => "answers only in part",
        (false, false) => "does not answer",
    };
    let lost = match evidence.lost_transactions {
        0 => String::new(),
        count => format!(", and has lost {count} transactions that a replica has"),
    };
    let answers = format!("{answers}{lost}");
    let Evidence { replicas, valid_replicas, replicating_replicas, .. } = evidence;
    let failing = evidence.failing_to_connect_replicas;
    match replicas {
        0 if evidence.is_failing_to_connect => {
            format!("{key} {answers}, and cannot connect to its source")
        }
        0 => format!("{key} {answers}, and has no replicas"),
        1 => {
            let seen = if *valid_replicas == 1 { "answers" } else { "does not answer" };
            let follows = match (replicating_replicas, failing) {
                (1, _) => "replicates",
                (_, 0) => "does not replicate",
                _ => "cannot connect to it",
            };
            format!("{key} {answers}; its only replica {seen} and {follows}")
        }
        _ => {
            let failing = match failing {
                0 => String::new(),
                _ => format!(", {failing} cannot connect to it"),
            };
            format!(
                "{key} {answers}; of its {replicas} replicas {valid_replicas} answer and \
                 {replicating_replicas} replicate{failing}"
            )
        }
    }
}
