//! Pools.

use std::collections::BTreeMap;

use baton_topology::ledger::{Command, Pool};
use baton_topology::pools;

use super::info::render;
use crate::call::Call;
use crate::compat::{KeyJson, keys};
use crate::reply::{Failure, Outcome, Reply};

pub(super) async fn submit(call: Call) -> Outcome {
    let name = call.param("pool");
    let members = pools::parse_submission(&call.fleet, call.query("instances").unwrap_or(""))
        .map_err(|error| Failure::new(error.to_string()))?;
    let count = members.len();
    let pool = Pool {
        members,
        submitted_at: call.now,
        expires_at: call.now.plus(call.fleet.policy.pool_expiry),
    };
    let command = Command::SubmitPool { name: name.into(), pool };
    let audited = format!("pool {name} has {count} instances");
    call.change("submit-pool-instances", None, audited, command).await?;
    Reply::ok(&format!("Applied {name} pool instances"), name)
}

pub(super) async fn of_cluster(call: Call) -> Outcome {
    let cluster = call.cluster(call.param("hint"))?;
    let only = call.has("pool").then(|| call.param("pool"));
    let pools: BTreeMap<String, Vec<KeyJson>> =
        pools::of_cluster(cluster, &call.fleet.ledger, call.now)
            .into_iter()
            .filter(|(name, _)| only.is_none_or(|only| *only == **name))
            .map(|(name, members)| (name.to_string(), keys(&members)))
            .collect();
    Reply::ok(&format!("Read pool instances for cluster {}", call.param("hint")), pools)
}

pub(super) async fn heuristic(call: Call) -> Outcome {
    let cluster = call.cluster(call.param("hint"))?;
    let only = call.has("pool").then(|| call.param("pool"));
    let members = pools::instances(cluster, &call.fleet.ledger, only, call.now);
    let shown = render(&call, members.into_iter().map(|member| (&**cluster, member)));
    Reply::ok(&format!("Heuristic pool instances for cluster {}", cluster.name()), shown)
}

pub(super) async fn heuristic_lag(call: Call) -> Outcome {
    let cluster = call.cluster(call.param("hint"))?;
    let only = call.has("pool").then(|| call.param("pool"));
    let members = pools::instances(cluster, &call.fleet.ledger, only, call.now);
    let lag = pools::lag_seconds(&members);
    Reply::ok(&format!("Heuristic pool lag for cluster {}", cluster.name()), lag)
}
