//! Has a command agreed upon, and tells apart what is refused from what nobody knows.

use std::time::Duration;

use openraft::ServerState;
use openraft::alias::CommittedLeaderIdOf;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResponse;
use tokio::time::{Instant, timeout_at};

use super::network::chain;
use super::node::NotLeading;
use super::types::{Answer, Envelope, Raft, Types};
use crate::ports::{Applied, ProposeError};

/// Proposes a command until it is applied, refused, or in doubt. A leader that was just elected
/// refuses everything until a majority has answered it once; for that `patience` is shown.
pub(super) async fn commit(
    raft: &Raft,
    term: Option<u64>,
    envelope: Envelope,
    patience: Duration,
) -> Result<Applied, ProposeError> {
    let until = Instant::now() + patience;
    loop {
        let mut metrics = raft.metrics();
        let before = metrics.borrow_and_update().clone();
        if let Err(fatal) = &before.running_state {
            return Err(ProposeError::Unavailable(chain(fatal)));
        }
        match write(raft, term, envelope.clone()).await? {
            Ok(response) => return applied(response),
            Err(ClientWriteError::ForwardToLeader(_))
                if before.state == ServerState::Leader && before.last_quorum_acked.is_none() =>
            {
                let Ok(Ok(())) = timeout_at(until, metrics.changed()).await else {
                    return Err(ProposeError::NotLeading(NotLeading::NoMajority.to_string()));
                };
            }
            Err(error) => return Err(refused(error)),
        }
    }
}

/// The outer error: nobody knows whether it will be applied.
async fn write(
    raft: &Raft,
    term: Option<u64>,
    envelope: Envelope,
) -> Result<Result<ClientWriteResponse<Types>, ClientWriteError<Types>>, ProposeError> {
    let (responder, complete) = ProgressResponder::complete_only();
    let mut request = raft.write(envelope).responder(responder);
    if let Some(term) = term {
        request = request.with_leader(CommittedLeaderIdOf::<Types>::new(term));
    }
    request.await.map_err(|fatal| ProposeError::Unavailable(chain(&fatal)))?;
    complete.await.map_err(|_| ProposeError::Timeout)
}

fn applied(response: ClientWriteResponse<Types>) -> Result<Applied, ProposeError> {
    match response.data {
        Answer::Applied { keys, state } => Ok(Applied { index: state.index, keys, state }),
        Answer::Refused(why) => Err(ProposeError::Refused(why)),
        Answer::Nothing => Err(ProposeError::Timeout),
    }
}

fn refused(error: ClientWriteError<Types>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(to) => ProposeError::NotLeading(other(to).to_string()),
        // It may have been agreed upon by others nevertheless.
        ClientWriteError::LogEntryDiscarded(_) => ProposeError::Timeout,
        error @ (ClientWriteError::ChangeMembershipError(_)
        | ClientWriteError::PreconditionFailed(_)) => ProposeError::Unavailable(chain(&error)),
    }
}

fn other(to: ForwardToLeader<Types>) -> NotLeading {
    match to.leader_node {
        Some(node) => NotLeading::Other { leader: Some(node.name) },
        None => NotLeading::Other { leader: None },
    }
}

pub(super) fn not_leading(error: RaftError<Types, LinearizableReadError<Types>>) -> NotLeading {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => other(to),
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => NotLeading::NoMajority,
        RaftError::Fatal(fatal) => NotLeading::Stopped(chain(&fatal)),
    }
}
