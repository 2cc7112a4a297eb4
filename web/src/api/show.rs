//! What the dashboard is made from: the whole fleet in rows, and what changes in it.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use baton_topology::cluster::Cluster;
use baton_topology::key::InstanceKey;
use baton_topology::recovery::{Cause, Fencing, Hooks, gate, preview};
use baton_topology::relocate::{self, Equivalences, How};
use serde::Serialize;

use crate::auth::Verdict;
use crate::call::Call;
use crate::compat::to_go_json;
use crate::events::Full;
use crate::reply::{Failure, Outcome, Reply};

pub(super) async fn fleet(call: Call) -> Outcome {
    let whole = call.events.whole(call.fleet.generation).await;
    let whole = whole.ok_or_else(|| Failure::later("this node ends"))?;
    Ok(match call.takes_gzip() {
        true => Reply::gzip(whole.gzip.clone()),
        false => Reply::json(whole.plain.clone()),
    })
}

/// The header by which browsers and libraries say what they have read.
const LAST_EVENT: &str = "last-event-id";

pub(super) async fn events(call: Call) -> Outcome {
    let header = call.headers.iter().find(|(name, _)| name == LAST_EVENT);
    let known = header.map(|(_, value)| value.as_str()).or(call.query("last-event-id"));
    let known = known.filter(|it| !it.is_empty()).map(str::to_owned);
    let full = |full: Full| {
        let failure = Failure::later(full.to_string());
        failure.with_status(StatusCode::SERVICE_UNAVAILABLE)
    };
    Ok(Reply::events(call.events.stream(known, call.listener).map_err(full)?))
}

/// Who asks, and what he may do.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SessionJson<'a> {
    user: &'a str,
    may_write: bool,
    /// Why he may not.
    why: &'static str,
    /// The node that was asked.
    node: &'a str,
    version: &'a str,
    /// For everybody to read.
    message: &'a str,
    /// What is left out of names of instances where they are shown.
    left_out_of_names: &'a str,
}

pub(super) async fn session(call: Call) -> Outcome {
    let node = &call.services.node;
    let why = match call.may_write {
        Verdict::Allowed => "",
        Verdict::ReadOnly => "this baton is configured to be read-only (ReadOnly)",
        Verdict::CrossSite | Verdict::ForeignName => "pages of another site may change nothing",
        Verdict::ManyUsers => "the request names several users",
        Verdict::Denied | Verdict::Unauthenticated => match call.user.as_deref() {
            None | Some("") => "nobody is logged in who may change anything",
            Some(_) => "this user may look at everything and change nothing",
        },
    };
    Reply::bare(&SessionJson {
        user: call.user.as_deref().unwrap_or_default(),
        may_write: why.is_empty(),
        why,
        node: &node.hostname,
        version: &node.version,
        message: &call.display.message,
        left_out_of_names: &call.display.left_out_of_names,
    })
}

/// Whether something may be dropped somewhere.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VerdictJson {
    allowed: bool,
    /// Why not.
    why: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TargetJson {
    key: String,
    #[serde(flatten)]
    verdict: VerdictJson,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TargetsJson {
    /// Whether it, or its replicas, may go below each of the others of the cluster.
    targets: Vec<TargetJson>,
    /// Whether it may take the primary's place in a planned takeover.
    promote: VerdictJson,
}

impl VerdictJson {
    fn of<T>(result: Result<T, impl ToString>) -> Self {
        match result {
            Ok(_) => Self { allowed: true, why: String::new() },
            Err(why) => Self { allowed: false, why: why.to_string() },
        }
    }
}

/// Where an instance may go, and why not where it may not, as far as what probes saw still holds.
pub(super) async fn move_targets(call: Call) -> Outcome {
    let (cluster, member) = call.member()?;
    let moves_replicas = match call.query("what") {
        None | Some("instance") => false,
        Some("replicas") => true,
        Some(other) => return Err(Failure::new(format!("what: {other}: instance, or replicas"))),
    };
    let key = member.key();
    let known = Equivalences::default();
    let verdict = |target: &InstanceKey| {
        let is_there =
            if moves_replicas { target == key } else { member.source.as_ref() == Some(target) };
        if is_there {
            return VerdictJson::of::<()>(Err("that is where it is"));
        }
        let (of, below) = (key.clone(), target.clone());
        let request = match moves_replicas {
            true => relocate::Request::RelocateReplicas { of, below, only: None, how: How::Any },
            false => relocate::Request::Relocate { replica: of, below },
        };
        VerdictJson::of(relocate::plan(&call.fleet, &known, &request))
    };
    let targets = cluster
        .members
        .keys()
        .map(|target| TargetJson { key: target.to_string(), verdict: verdict(target) });
    Reply::bare(&TargetsJson { targets: targets.collect(), promote: promotion(&call, key) })
}

/// Whether it may take the place of its source, which has to be the primary.
fn promotion(call: &Call, key: &InstanceKey) -> VerdictJson {
    let refuse = |why: String| VerdictJson::of::<()>(Err(why));
    let Some((cluster, member)) = call.fleet.member(key) else {
        return refuse(format!("{key} is not known"));
    };
    let heads = cluster.primaries();
    let [primary] = heads.as_slice() else {
        return refuse(format!("{} has not exactly one primary", cluster.alias));
    };
    if member.source.as_ref() != Some(primary.key()) {
        return refuse(format!("{key} does not replicate directly from {}", primary.key()));
    }
    let request = gate::Request {
        key: primary.key().clone(),
        cause: Cause::TakeoverAuto,
        wanted: Some(key.clone()),
        hooks: Hooks::Run,
        fencing: Fencing::Required,
    };
    VerdictJson::of(preview::preview(&request, &call.fleet, &call.runner(), call.now))
}

/// Who would take over in every cluster is worked out no more often.
const READINESS_EVERY: Duration = Duration::from_secs(5);

/// Who would take the place of a cluster's primary if that died now.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReadinessRow {
    /// The identity of the cluster.
    cluster: String,
    /// Nobody when it is empty.
    successor: String,
    /// Why nobody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    obstacles: Vec<String>,
    /// Why baton would not act by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held_back_by: Vec<String>,
    /// Transactions that could be lost, as far as is known.
    possible_loss: u64,
}

pub(super) async fn readiness(call: Call) -> Outcome {
    let runner = call.runner();
    let row = |held_back: &[String], cluster: &Arc<Cluster>| {
        let found = preview::readiness_given(held_back, cluster, &call.fleet, &runner, call.now)?;
        Some(ReadinessRow {
            cluster: cluster.id.to_string(),
            successor: found.successor.as_ref().map(ToString::to_string).unwrap_or_default(),
            obstacles: found.obstacles,
            held_back_by: found.held_back_by,
            possible_loss: found.possible_loss,
        })
    };
    let make = || {
        let held_back = gate::all_held_back(&call.fleet, call.now);
        let clusters = call.fleet.clusters.values();
        let rows: Vec<ReadinessRow> = clusters.filter_map(|it| row(&held_back, it)).collect();
        to_go_json(&rows)
    };
    let rows = call.readiness.get(call.now, READINESS_EVERY, make)?;
    Ok(Reply::json(Bytes::copy_from_slice(rows.as_bytes())))
}
