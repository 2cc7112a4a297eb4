//! The node itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use baton_actors::ports::StoreHealth;
use baton_actors::raft::Role;

use crate::call::Call;
use crate::compat::{HealthJson, NodeJson, ZERO_TIME, timestamp};
use crate::raft::Raft;
use crate::reply::{Failure, Outcome, Reply};

pub(super) async fn headers(call: Call) -> Outcome {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &call.headers {
        headers.entry(canonical_name(name)).or_default().push(value.clone());
    }
    Reply::bare(&headers)
}

/// A header's name as Go writes it: `X-Forwarded-User`.
fn canonical_name(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
    });
    words.collect::<Vec<_>>().join("-")
}

pub(super) async fn health(call: Call) -> Outcome {
    let store = call.services.store_health.borrow().clone();
    let stuck = call.services.lateness.stuck();
    let node = &call.services.node;
    let shown = NodeJson {
        hostname: node.hostname.clone(),
        token: node.token.clone(),
        app_version: node.version.clone(),
        first_seen_active: timestamp(node.started_at),
        last_seen_active: timestamp(call.now),
        db_backend: node.backend.clone(),
        last_reported: ZERO_TIME,
        ..NodeJson::default()
    };
    let active =
        NodeJson { app_version: String::new(), db_backend: String::new(), ..shown.clone() };
    let mut health = HealthJson {
        healthy: store == StoreHealth::Healthy && stuck.is_empty(),
        hostname: node.hostname.clone(),
        token: node.token.clone(),
        is_active_node: true,
        active_node: active,
        available_nodes: Some(vec![shown]),
        ..HealthJson::default()
    };
    if let Some(raft) = &call.raft {
        tell_of(raft, &mut health).await;
    }
    let reasons: Vec<String> = match store {
        StoreHealth::Healthy => stuck.iter().map(ToString::to_string).collect(),
        StoreHealth::Degraded { reason } => vec![reason],
    };
    if reasons.is_empty() {
        return Reply::ok("Application node is healthy", health);
    }
    health.error = Some(BTreeMap::new());
    let message = format!("Application node is unhealthy {}", reasons.join("; "));
    Err(Failure::new(message).with_details(&health))
}

/// Adds who leads, and who else is there.
async fn tell_of(raft: &Raft, health: &mut HealthJson) {
    let now = raft.leadership();
    let leads = now.role == Role::Leader;
    health.raft_leader_uri = raft.shown_api(&now).await;
    health.raft_findings = raft.troubles();
    raft.seat().clone_into(&mut health.raft_advertise);
    if leads {
        // Only the leader asks the others.
        health.raft_healthy_members = Some(raft.healthy_members().await);
    }
    let leader = now.leader.unwrap_or_default();
    health.is_active_node = leads;
    health.is_raft_leader = leads;
    health.active_node = NodeJson {
        hostname: leader.clone(),
        first_seen_active: String::new(),
        last_seen_active: String::new(),
        token: String::new(),
        ..std::mem::take(&mut health.active_node)
    };
    health.raft_leader = leader;
}

/// The process is there.
pub(super) async fn ok(_call: Call) -> Outcome {
    Reply::bare(&"OK")
}

pub(super) async fn reload_configuration(call: Call) -> Outcome {
    let extra = call.query("config").filter(|path| !path.is_empty()).map(PathBuf::from);
    if extra.as_ref().is_some_and(|path| !path.is_absolute()) {
        return Err(Failure::new("config: want an absolute path"));
    }
    call.services.reloader.reload(extra).map_err(Failure::new)?;
    call.audit("reload-configuration", None, "configuration reloaded".to_owned());
    Reply::ok("Config reloaded", ())
}

pub(super) async fn reload_cluster_alias(_call: Call) -> Outcome {
    Err(Failure::new("This API call has been retired"))
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct CachedName {
    object: String,
    expiration: i64,
}

pub(super) async fn resolve_cache(call: Call) -> Outcome {
    let cached = call.services.discovery.resolutions().into_iter();
    // Resolutions do not expire by time: they hold until the server says otherwise.
    let cached = cached.map(|(given, object)| (given, CachedName { object, expiration: 0 }));
    Reply::ok("Cache retrieved", cached.collect::<BTreeMap<_, _>>())
}

pub(super) async fn reset_resolve_cache(call: Call) -> Outcome {
    call.services.discovery.reset_resolutions();
    call.audit("reset-hostname-resolve-cache", None, String::new());
    Reply::ok("Hostname cache cleared", ())
}

#[cfg(test)]
mod tests {
    use super::canonical_name;

    #[test]
    fn header_names_are_written_as_go_writes_them() {
        for (name, canonical) in
            [("x-forwarded-user", "X-Forwarded-User"), ("HOST", "Host"), ("", "")]
        {
            assert_eq!(canonical_name(name), canonical);
        }
    }
}
