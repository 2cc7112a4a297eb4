//! What nodes ask each other beside what openraft has them ask: over the same port, with the same
//! keys, on connections of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::StatusCode;

use super::client::{Call, CallError, Client, Line};
use super::network::chain;
use super::node::RaftNode;
use crate::ports::{Ear, PeerAnswer, PeerError, PeerMessage, Peers};
use crate::strand;

pub(super) const PEER: &str = "/raft/peer";

/// Who answers peers, once there is somebody.
#[derive(Clone, Default)]
pub(super) struct Ears(Arc<OnceLock<Arc<dyn Ear>>>);

impl Ears {
    /// The answer to a message, unless nobody is there yet to give one.
    pub(super) fn hear(
        &self,
        message: PeerMessage,
    ) -> Option<BoxFuture<'static, Option<PeerAnswer>>> {
        self.0.get().map(|ear| ear.hear(message))
    }
}

/// The connections to peers that are kept for the next question.
pub(super) struct Switchboard {
    client: Client,
    lines: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Line>>>>,
    pub(super) ears: Ears,
}

impl Switchboard {
    pub(super) fn new(client: Client) -> Self {
        Self { client, lines: Mutex::default(), ears: Ears::default() }
    }

    fn line(&self, peer: &str) -> Arc<tokio::sync::Mutex<Line>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lines.entry(peer.to_owned()).or_default())
    }

    async fn ask(&self, call: Call<'_>, message: &PeerMessage) -> Result<PeerAnswer, CallError> {
        match self.line(call.name).try_lock() {
            Ok(mut line) => self.client.ask(&mut line, call, message).await,
            // Somebody else is talking; nobody waits for that.
            Err(_) => self.client.ask_once(call, message).await,
        }
    }
}

impl Peers for RaftNode {
    fn name(&self) -> String {
        self.agreed_name()
    }

    fn others(&self) -> Vec<String> {
        let voters = self.members().into_iter().filter(|it| it.is_voter && it.id != self.id());
        voters.map(|it| it.name).collect()
    }

    fn ask(
        &self,
        peer: &str,
        message: PeerMessage,
        within: Duration,
    ) -> BoxFuture<'static, Result<PeerAnswer, PeerError>> {
        let found = self.members().into_iter().find(|it| it.name == peer);
        let Some(member) = found else {
            let text = format!("{peer} is no member any more");
            return std::future::ready(Err(PeerError::Unanswered(text))).boxed();
        };
        let switchboard = self.switchboard();
        let asked = strand::spawn_on(self.runtime(), async move {
            let call = Call { path: PEER, name: &member.name, to: Some(member.id), within };
            switchboard.ask(call, &message).await.map_err(|error| reason(&error))
        });
        asked
            .map(|asked| {
                asked.unwrap_or_else(|error| Err(PeerError::Unanswered(error.to_string())))
            })
            .boxed()
    }

    fn answer_with(&self, ear: Arc<dyn Ear>) {
        // The first one stays: there is one system to a node.
        let _ = self.switchboard().ears.0.set(ear);
    }
}

fn reason(error: &CallError) -> PeerError {
    match error {
        CallError::Refused { status: StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, .. }
        | CallError::Gibberish { .. } => PeerError::NotUnderstood(chain(error)),
        other => PeerError::Unanswered(chain(other)),
    }
}
