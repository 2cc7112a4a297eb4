//! Recoveries there were, and are: their audit, what blocks others, and acknowledging them.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::analysis::catalog::{self, Response};
use baton_topology::history::HISTORY_PAGE_ROWS;
use baton_topology::ledger::Command;
use baton_topology::quorum::{isolation, unconfirmed};
use baton_topology::recovery::gate::{self, blocking};
use baton_topology::recovery::{Acknowledgement, Recovery};

use crate::auth::Verdict;
use crate::call::Call;
use crate::compat::{BlockedJson, Reader, RecoveryJson, recovery_steps};
use crate::reply::{Failure, Outcome, Reply};

/// A recovery that ended within this counts as recent.
const RECENT: Duration = Duration::from_secs(5 * 60);

/// Who acknowledges where nobody says who he is.
const ANYBODY: &str = "api";

/// All recoveries the ledger knows, newest first.
fn newest_first(call: &Call) -> impl Iterator<Item = &Arc<Recovery>> {
    let mut all: Vec<&Arc<Recovery>> = call.fleet.ledger.recoveries.values().collect();
    all.sort_by_key(|recovery| std::cmp::Reverse(recovery.id));
    all.into_iter()
}

fn render<'a>(call: &Call, recoveries: impl Iterator<Item = &'a Arc<Recovery>>) -> Outcome {
    let active_since = call.now.minus(call.fleet.policy.recovery.block);
    let shown = recoveries.map(|it| RecoveryJson::of(it, active_since, &call.fleet.ledger));
    Reply::bare(&shown.collect::<Vec<_>>())
}

/// Whether a recovery is of the cluster somebody names: by its name or alias then or now.
fn is_of(call: &Call, recovery: &Recovery, cluster: &str) -> bool {
    recovery.cluster_name == cluster
        || recovery.cluster_alias == cluster
        || call.cluster(cluster).is_ok_and(|found| found.id == recovery.cluster)
}

pub(super) async fn list(call: Call) -> Outcome {
    let only_open = call.query("unacknowledged") == Some("true");
    let only_active = call.query("activeOnly") == Some("true");
    let number = |name| {
        let text = call.param(name);
        text.parse::<u64>().map_err(|_| Failure::new(format!("Invalid recovery id: {text}")))
    };
    let id = if call.has("id") { Some(number("id")?) } else { None };
    let page = if id.is_some() || call.has("uid") { 0 } else { call.page() };
    let rows = HISTORY_PAGE_ROWS as usize;
    let found = newest_first(&call)
        .filter(|it| id.is_none_or(|id| it.id == id))
        .filter(|it| !call.has("uid") || *it.uid == *call.param("uid"))
        .filter(|it| !call.has("cluster") || is_of(&call, it, call.param("cluster")))
        .filter(|it| !call.has("alias") || it.cluster_alias == call.param("alias"))
        .filter(|it| !only_open || it.acknowledged.is_none())
        .filter(|it| !only_active || it.is_running())
        .skip((page as usize).saturating_mul(rows))
        .take(rows);
    render(&call, found)
}

pub(super) async fn steps(call: Call) -> Outcome {
    let found = newest_first(&call).find(|it| *it.uid == *call.param("uid"));
    let reader = match call.may_write {
        Verdict::Allowed => Reader::Writer,
        _ => Reader::Anybody,
    };
    Reply::bare(&found.map(|recovery| recovery_steps(recovery, reader)).unwrap_or_default())
}

pub(super) async fn active(call: Call) -> Outcome {
    let cluster = call.param("cluster");
    let running = newest_first(&call).filter(|it| it.is_running() && is_of(&call, it, cluster));
    render(&call, running)
}

pub(super) async fn recent(call: Call) -> Outcome {
    let key = if call.has("host") { Some(call.key()?) } else { None };
    let since = call.now.minus(RECENT);
    let found = newest_first(&call)
        .filter(|it| it.ended_at.is_none_or(|ended| ended >= since))
        .filter(|it| key.as_ref().is_none_or(|key| it.failed() == key))
        .filter(|it| !call.has("cluster") || is_of(&call, it, call.param("cluster")));
    render(&call, found)
}

/// What would be recovered from by itself, were it not for an earlier recovery, or for what other
/// nodes see.
pub(super) async fn blocked(call: Call) -> Outcome {
    let fleet = &call.fleet;
    let mut blocked = Vec::new();
    for cluster in fleet.clusters.values() {
        let name = call.param("cluster");
        if call.has("cluster") && cluster.name() != name && cluster.alias != name {
            continue;
        }
        let recoverable = cluster.analyses.iter().filter(|it| {
            catalog::entry(it.code)
                .is_some_and(|problem| problem.response(&fleet.policy) == Response::Recover)
        });
        for analysis in recoverable {
            let runner = call.runner();
            let Some(supposed) = gate::detection(analysis.clone(), fleet, &runner, call.now) else {
                continue;
            };
            let by = blocking(&supposed, fleet, call.now).map(|it| it.id);
            let mut reasons = unconfirmed(&supposed, fleet, call.now);
            reasons.extend(isolation(fleet, call.now));
            if by.is_none() && reasons.is_empty() {
                continue;
            }
            let (key, code) = (&analysis.key, analysis.code);
            let entry = BlockedJson::of(key, cluster.name(), code, by.unwrap_or(0), call.now);
            blocked.push(entry.because(reasons));
        }
    }
    Reply::bare(&blocked)
}

pub(super) async fn acknowledge(call: Call) -> Outcome {
    let comment = call.query("comment").unwrap_or_default().trim().to_owned();
    if comment.is_empty() {
        return Err(Failure::new("No acknowledge comment given"));
    }
    let (ids, message, details) = chosen(&call)?;
    let acknowledgement = Acknowledgement {
        at: call.now,
        by: call.user.as_deref().unwrap_or(ANYBODY).into(),
        comment: comment.as_str().into(),
    };
    let command = Command::AcknowledgeRecoveries { ids, acknowledgement };
    call.change("acknowledge-recovery", None, format!("{details}: {comment}"), command).await?;
    match message {
        "Acknowledged recovery" => {
            let id: serde_json::Value =
                details.parse::<u64>().map_or_else(|_| details.into(), Into::into);
            Reply::ok(message, id)
        }
        "Acknowledged instance recoveries" => {
            Reply::ok(message, crate::compat::KeyJson::from(&call.key()?))
        }
        "Acknowledged all recoveries" => Reply::ok(message, comment),
        _ => Reply::ok(message, details),
    }
}

/// The recoveries somebody means, what is said of them, and what they were named by.
fn chosen(call: &Call) -> Result<(Vec<u64>, &'static str, String), Failure> {
    let ids = |wanted: &dyn Fn(&Recovery) -> bool| -> Vec<u64> {
        let all = call.fleet.ledger.recoveries.values();
        all.filter(|it| it.acknowledged.is_none() && wanted(it)).map(|it| it.id).collect()
    };
    if call.has("alias") || call.has("hint") {
        let hint = if call.has("alias") { call.param("alias") } else { call.param("hint") };
        let cluster = call.cluster(hint)?;
        let (id, alias) = (&cluster.id, &cluster.alias);
        let of_it = |it: &Recovery| it.cluster == *id || it.cluster_alias == *alias;
        return Ok((ids(&of_it), "Acknowledged cluster recoveries", cluster.name()));
    }
    if call.has("host") {
        let key = call.key()?;
        let of_it = |it: &Recovery| *it.failed() == key;
        return Ok((ids(&of_it), "Acknowledged instance recoveries", key.to_string()));
    }
    if call.has("uid") {
        let uid = call.param("uid");
        let of_it = |it: &Recovery| *it.uid == *uid;
        return Ok((ids(&of_it), "Acknowledged recovery", uid.to_owned()));
    }
    if call.has("id") {
        let text = call.param("id");
        let id: u64 =
            text.parse().map_err(|_| Failure::new(format!("Invalid recovery id: {text}")))?;
        return Ok((ids(&|it| it.id == id), "Acknowledged recovery", text.to_owned()));
    }
    Ok((ids(&|_| true), "Acknowledged all recoveries", String::new()))
}
