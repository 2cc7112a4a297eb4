//! What became of a request, for a client that did not hear the answer.

use std::sync::Arc;

use baton_topology::recovery::Recovery;
use serde::Serialize;
use serde_json::Value;

use crate::asked::Fate;
use crate::call::Call;
use crate::reply::{Outcome, Reply, read_back};

use super::recover::told_later;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FateJson {
    /// `running`, `finished`, or `unknown`.
    state: &'static str,
    /// The status of the answer, once there is one.
    status: Option<u16>,
    /// The answer; nothing if it was too long to be kept.
    answer: Value,
    /// The recovery that was begun by it.
    #[serde(rename = "RecoveryUID")]
    recovery_uid: String,
}

/// What the ledger knows is known to every node, and outlives the one that was asked.
pub(super) async fn outcome(call: Call) -> Outcome {
    let name = call.param("id");
    let recovery = named(&call, name);
    let recovery_uid = recovery.map(|it| it.uid.to_string()).unwrap_or_default();
    let running = |message: &str| {
        let (status, answer, recovery_uid) = (None, Value::Null, recovery_uid.clone());
        Reply::ok(message, FateJson { state: "running", status, answer, recovery_uid })
    };
    let finished = |status: u16, answer: Value| {
        let (status, recovery_uid) = (Some(status), recovery_uid.clone());
        Reply::ok("it has ended", FateJson { state: "finished", status, answer, recovery_uid })
    };
    match (recovery, call.requests.fate(name)) {
        (Some(recovery), _) if recovery.is_running() => {
            running(&format!("recovery {} is under way", recovery.id))
        }
        (_, Some(Fate::Running)) => running("it is under way"),
        (None, Some(Fate::Answered { status, body })) => {
            finished(status, body.and_then(|it| serde_json::from_str(&it).ok()).unwrap_or_default())
        }
        (Some(recovery), _) => {
            let (status, text) = read_back(&told_later(&call, recovery));
            finished(status, serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default())
        }
        (None, None) => {
            let fate =
                FateJson { state: "unknown", status: None, answer: Value::Null, recovery_uid };
            Reply::ok("nobody here knows of that request", fate)
        }
    }
}

/// The newest recovery that was asked for under this name.
fn named<'a>(call: &'a Call, name: &str) -> Option<&'a Arc<Recovery>> {
    let ending = format!(":{name}");
    call.fleet.ledger.recoveries.values().rfind(|it| it.uid.ends_with(&ending))
}
