//! Names the connections that may keep a server from doing what it was told in time.

use std::time::Duration;

use baton_topology::instance::{FailureKind, ProbeFailure};

use crate::lateness::timeout;
use crate::ports::{ActionFailure, ControlSession};

/// The process list is asked for within this: it is a help, and nothing waits long for it.
const LISTED_WITHIN: Duration = Duration::from_millis(400);

/// Whether an action was begun and did not end in time.
pub(crate) fn is_late(failure: &ActionFailure) -> bool {
    match failure {
        ActionFailure::Timeout { .. } => true,
        ActionFailure::Server(failure) => failure.kind == FailureKind::Timeout,
        // What has to wait for a lock gives up shortly before the deadline.
        ActionFailure::Refused(text) => text.contains("ock wait timeout"),
        ActionFailure::Impossible(_) => false,
    }
}

/// Adds to a failure who may hold the lock that the server waits for, as a connection `aside` sees.
pub(crate) async fn with_holders(
    failure: ActionFailure,
    aside: &mut dyn ControlSession,
) -> ActionFailure {
    let holders = timeout(LISTED_WITHIN, aside.holders()).await.unwrap_or_default();
    if holders.is_empty() {
        return failure;
    }
    let add = |text: String| format!("{text} (may hold a lock: {})", holders.join("; "));
    match failure {
        ActionFailure::Refused(text) => ActionFailure::Refused(add(text)),
        ActionFailure::Impossible(text) => ActionFailure::Impossible(text),
        ActionFailure::Timeout { what, at_most } => {
            ActionFailure::Timeout { what: add(what), at_most }
        }
        ActionFailure::Server(failure) => {
            let message = add(failure.message);
            ActionFailure::Server(ProbeFailure { message, ..failure })
        }
    }
}
