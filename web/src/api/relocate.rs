//! Rearranging topologies. All that changes something can be rehearsed: `?dry_run=true` answers
//! with what would be done, and nothing is.

use baton_actors::ports::{OperationError, Performed};
use baton_topology::binlog::BinlogCoordinates;
use baton_topology::key::InstanceKey;
use baton_topology::relocate::{How, Only, Place, Request};

use crate::call::Call;
use crate::compat::{InstanceJson, KeyJson, PlaceJson, PreviewJson};
use crate::reply::{Failure, Outcome, Reply};

/// What the details of an answer are.
pub(super) enum Details {
    /// The server it is about.
    Instance,
    /// The servers it succeeded for.
    Moved,
    /// The name of the server that others are below of now.
    KeyOfSource,
    /// A number.
    Number(u32),
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        Self::new(error.to_string())
    }
}

/// Carries out a request, or tells what it would come to.
pub(super) async fn perform(call: &Call, request: Request, details: Details) -> Outcome {
    let operations = &call.services.operations;
    if call.is_dry_run() {
        let preview = operations.rehearse(request).await?;
        return Reply::ok(&preview.to_string(), PreviewJson::from(&preview));
    }
    let performed = operations.perform(request, call.caller.clone()).await?;
    let Performed { message, plan, done, .. } = &performed;
    match details {
        Details::Instance => Reply::ok(message, shown(call, &plan.about)),
        Details::Moved => {
            let moved: Vec<_> = done.iter().filter_map(|key| shown(call, key)).collect();
            Reply::ok(message, moved)
        }
        Details::KeyOfSource => Reply::ok(message, KeyJson::from(&plan.shown)),
        Details::Number(number) => Reply::ok(message, number),
    }
}

/// A server as the fleet knows it now.
fn shown(call: &Call, key: &InstanceKey) -> Option<InstanceJson> {
    let fleet = call.services.snapshot.borrow().clone();
    let (cluster, member) = fleet.member(key)?;
    Some(InstanceJson::of(&fleet, cluster, member, call.services.clock.now()))
}

/// The replicas that are meant, if not all.
fn only(call: &Call) -> Result<Option<Only>, Failure> {
    let pattern = call.query("pattern").filter(|it| !it.is_empty());
    pattern.map(Only::parse).transpose().map_err(|why| Failure::new(why.to_string()))
}

pub(super) async fn relocate(call: Call) -> Outcome {
    let request = Request::Relocate { replica: call.key()?, below: call.below()? };
    perform(&call, request, Details::Instance).await
}

pub(super) async fn relocate_replicas(call: Call) -> Outcome {
    let (of, below, only) = (call.key()?, call.below()?, only(&call)?);
    let request = Request::RelocateReplicas { of, below, only, how: How::Any };
    perform(&call, request, Details::Moved).await
}

pub(super) async fn regroup(call: Call) -> Outcome {
    perform(&call, Request::RegroupReplicas { of: call.key()? }, Details::KeyOfSource).await
}

pub(super) async fn move_up(call: Call) -> Outcome {
    perform(&call, Request::MoveUp { replica: call.key()? }, Details::Instance).await
}

pub(super) async fn move_up_replicas(call: Call) -> Outcome {
    let request = Request::MoveUpReplicas { of: call.key()?, only: only(&call)? };
    perform(&call, request, Details::Moved).await
}

pub(super) async fn move_below(call: Call) -> Outcome {
    let request = Request::MoveBelow { replica: call.key()?, sibling: call.below()? };
    perform(&call, request, Details::Instance).await
}

pub(super) async fn move_equivalent(call: Call) -> Outcome {
    let request = Request::MoveEquivalent { replica: call.key()?, below: call.below()? };
    perform(&call, request, Details::Instance).await
}

pub(super) async fn equivalents(call: Call) -> Outcome {
    let (key, text) = (call.key()?, call.param("position"));
    let invalid = |_| Failure::new(format!("Invalid position: {text}"));
    let at = BinlogCoordinates::new(call.param("file"), text.parse().map_err(invalid)?);
    let found = call.services.operations.equivalents(&Place { key: key.clone(), at });
    let message = format!("Found {} equivalent coordinates for {key}", found.len());
    if found.is_empty() {
        return Reply::ok(&message, ());
    }
    Reply::ok(&message, found.iter().map(PlaceJson::from).collect::<Vec<_>>())
}

pub(super) async fn repoint(call: Call) -> Outcome {
    let request = Request::Repoint { replica: call.key()?, below: Some(call.below()?) };
    perform(&call, request, Details::Instance).await
}

pub(super) async fn repoint_replicas(call: Call) -> Outcome {
    let request = Request::RepointReplicas { of: call.key()?, only: only(&call)? };
    perform(&call, request, Details::Moved).await
}

pub(super) async fn make_co_primary(call: Call) -> Outcome {
    perform(&call, Request::MakeCoPrimary { replica: call.key()? }, Details::Instance).await
}

pub(super) async fn take_siblings(call: Call) -> Outcome {
    perform(&call, Request::TakeSiblings { replica: call.key()? }, Details::Instance).await
}

pub(super) async fn take_source(call: Call) -> Outcome {
    perform(&call, Request::TakeSource { replica: call.key()? }, Details::Instance).await
}

pub(super) async fn move_below_gtid(call: Call) -> Outcome {
    let request = Request::MoveBelowGtid { replica: call.key()?, below: call.below()? };
    perform(&call, request, Details::Instance).await
}

pub(super) async fn move_replicas_gtid(call: Call) -> Outcome {
    let (of, below, only) = (call.key()?, call.below()?, only(&call)?);
    let request = Request::RelocateReplicas { of, below, only, how: How::Gtid };
    perform(&call, request, Details::KeyOfSource).await
}

/// Events are not compared between logs.
pub(super) async fn no_pseudo_gtid(call: Call) -> Outcome {
    let what = call.route.split('/').next().unwrap_or_default();
    let text = "Pseudo-GTID is not supported; use GTID, or move by file and position";
    Err(Failure::new(format!("{what}: {text}")))
}

pub(super) async fn no_binlog_servers(call: Call) -> Outcome {
    let what = call.route.split('/').next().unwrap_or_default();
    Err(Failure::new(format!("{what}: binlog servers are not supported")))
}
