//! Recoveries that somebody asks for: how they reach the actor, and who waits for their end.

use std::sync::Arc;

use actix::Message;
use baton_topology::recovery::Recovery;
use baton_topology::recovery::gate::Request;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::RecoveryActor;
use crate::ports::{RecoverError, Recoveries, deadline};
use crate::supervisor::Child;

/// Reaches the actor from outside.
pub struct RecoveryHandle {
    /// The actor.
    pub child: Child<RecoveryActor>,
}

/// Somebody wants a recovery.
#[derive(Debug)]
pub struct Recover {
    /// What of.
    pub request: Request,
    /// Who wants to know how it ended.
    pub(super) reply: Reply,
}

impl Message for Recover {
    type Result = ();
}

type Ended = Result<Arc<Recovery>, RecoverError>;

/// Who wants to know how a recovery ended.
#[derive(Debug)]
pub(super) struct Reply {
    to: oneshot::Sender<Ended>,
    /// What he calls it.
    name: Option<Arc<str>>,
}

impl Recoveries for RecoveryHandle {
    fn recover_as(
        &self,
        request: Request,
        name: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<Arc<Recovery>, RecoverError>> {
        let child = self.child.clone();
        async move {
            let (to, ended) = oneshot::channel();
            let reply = Reply { to, name };
            child.try_send(Recover { request, reply }).map_err(|_| RecoverError::Busy)?;
            match tokio::time::timeout(deadline::RECOVER, ended).await {
                Ok(Ok(ended)) => ended,
                Ok(Err(_)) | Err(_) => Err(RecoverError::Busy),
            }
        }
        .boxed()
    }
}

/// The recovery under the name by which somebody may ask for it later, also whoever leads then.
pub(super) fn named(recovery: Recovery, reply: Option<&Reply>) -> Recovery {
    let Some(name) = reply.and_then(|reply| reply.name.as_ref()) else { return recovery };
    let begun = recovery.uid.split(':').next().unwrap_or_default();
    Recovery { uid: format!("{begun}:{name}").into(), ..recovery }
}

pub(super) fn answer(reply: Option<Reply>, outcome: Ended) {
    if let Some(reply) = reply {
        // Whoever asked may have stopped waiting.
        let _ = reply.to.send(outcome);
    }
}
