//! Carries openraft's questions to peers.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use openraft::RPCTypes;
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::addresses::Addresses;
use super::client::{Call, CallError, Client, Line};
use super::confirmed::Confirmed;
use super::types::{Peer, Snapshot, SnapshotBody, SnapshotMeta, Types, Vote};

pub(super) const APPEND: &str = "/raft/append";
pub(super) const VOTE: &str = "/raft/vote";
pub(super) const PRE_VOTE: &str = "/raft/pre-vote";
pub(super) const SNAPSHOT: &str = "/raft/snapshot";
pub(super) const TRANSFER: &str = "/raft/transfer";

/// Makes the ways to peers.
pub(super) struct Network {
    me: u64,
    client: Client,
    addresses: Addresses,
    confirmed: Confirmed,
    silences: Silences,
}

/// Who is silent on which path, for all ways: each election has new ones.
type Silences = Arc<Mutex<BTreeMap<(String, &'static str), Silence>>>;

/// How a peer answers on one path.
#[derive(Default)]
struct Silence {
    /// How many of the newest questions in a row got no answer.
    missed: u32,
    /// The reason that was told last, and when.
    told: Option<(String, Instant)>,
}

/// Reasons may change with every question; so often they are told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

impl Network {
    pub(super) fn new(me: u64, client: Client, addresses: Addresses, confirmed: Confirmed) -> Self {
        Self { me, client, addresses, confirmed, silences: Silences::default() }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Way {
        let (me, client, addresses) = (self.me, self.client.clone(), self.addresses.clone());
        let (name, line) = (node.name.clone(), Line::default());
        let (confirmed, silences) = (self.confirmed.clone(), Arc::clone(&self.silences));
        Way { me, target, name, client, addresses, confirmed, line, silences }
    }
}

/// The way to one peer, with a connection of its own: heartbeats, entries and snapshots each have
/// theirs, so that none waits for another.
pub(super) struct Way {
    me: u64,
    target: u64,
    /// Where `line` leads to.
    name: String,
    client: Client,
    addresses: Addresses,
    confirmed: Confirmed,
    line: Line,
    silences: Silences,
}

/// A snapshot on its way. It goes in one piece.
#[derive(Serialize, Deserialize)]
pub(super) struct Parcel {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    pub(super) body: SnapshotBody,
}

impl Way {
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &'static str,
        action: RPCTypes,
        question: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<Types>> {
        let within = option.soft_ttl();
        let name = self.addresses.of(self.target, &self.name);
        if name != self.name {
            (self.name, self.line) = (name, Line::default());
        }
        let call = Call { path, name: &self.name, to: Some(self.target), within };
        let answer = self.client.ask(&mut self.line, call, question).await;
        if answer.is_err() {
            self.addresses.lost(self.target, &self.name);
        }
        self.take_note(path, answer.as_ref().err());
        answer.map_err(|error| match error {
            CallError::Timeout { within, .. } => {
                Timeout { action, id: self.me, target: self.target, timeout: within }.into()
            }
            // Retried after a pause, whatever it is: a peer in trouble is not helped by haste.
            other => Unreachable::from_string(chain(&other)).into(),
        })
    }

    /// Tells of a peer that falls silent, and when the reason changes. One answer may be late: that is a busy machine.
    fn take_note(&self, path: &'static str, error: Option<&CallError>) {
        let mut silences = self.silences.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = silences.entry((self.name.clone(), path)).or_default();
        let Some(error) = error else {
            if std::mem::take(silence).told.is_some() {
                tracing::info!(peer = self.name, path, "answers again");
            }
            return;
        };
        silence.missed = silence.missed.saturating_add(1);
        let is_late = matches!(error, CallError::Timeout { .. });
        let reason = reason(error);
        let is_known = silence
            .told
            .as_ref()
            .is_some_and(|(told, at)| is_same_reason(told, &reason) || at.elapsed() < TOLD_EVERY);
        if !is_known && (!is_late || silence.missed > 1) {
            tracing::warn!(peer = self.name, path, error = reason, "no answer in raft");
            silence.told = Some((reason, Instant::now()));
        }
    }
}

impl RaftNetworkV2<Types> for Way {
    type SnapshotData = SnapshotBody;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let term = rpc.vote.leader_id.term;
        let before = rpc.prev_log_id.map(|at| at.index);
        let last = rpc.entries.last().map(|it| it.log_id().index).or(before);
        let answer = self.ask(APPEND, RPCTypes::AppendEntries, &rpc, &option).await?;
        let has = match &answer {
            AppendEntriesResponse::Success => last,
            AppendEntriesResponse::PartialSuccess(at) => at.map(|at| at.index),
            // openraft stops sending it anything then, or ends here, where it checks itself.
            AppendEntriesResponse::Conflict
                if before.is_some_and(|at| self.confirmed.is_lost(self.target, term, at)) =>
            {
                return Err(Unreachable::from_string("it has lost what it had confirmed").into());
            }
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => None,
        };
        if let Some(index) = has {
            self.confirmed.note(self.target, term, index);
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(VOTE, RPCTypes::Vote, &rpc, &option).await
    }

    // The default of the trait grants without asking anybody.
    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(PRE_VOTE, RPCTypes::Vote, &rpc, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let has = snapshot.meta.last_log_id.map(|at| at.index);
        let (target, term, confirmed) = (self.target, vote.leader_id.term, self.confirmed.clone());
        let parcel = Parcel { vote, meta: snapshot.meta, body: snapshot.snapshot };
        let sent = self.ask(SNAPSHOT, RPCTypes::InstallSnapshot, &parcel, &option).boxed();
        match select(sent, cancel.boxed()).await {
            Either::Left((answer, _)) => {
                if let Some(index) = has.filter(|_| answer.is_ok()) {
                    confirmed.note(target, term, index);
                }
                answer.map_err(StreamingError::from)
            }
            Either::Right((closed, _)) => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.ask(TRANSFER, RPCTypes::TransferLeader, &request, &option).await
    }
}

/// The message of an error and of all that caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why a peer gave no answer: what happened, and what was at the bottom of it. What is in between
/// depends on how far a library had come.
pub(super) fn reason(error: &CallError) -> String {
    let first = std::error::Error::source(error);
    match std::iter::successors(first, |cause| cause.source()).last() {
        Some(root) => format!("{error}: {root}"),
        None => error.to_string(),
    }
}

/// Whether two reasons differ by numbers only, such as how long ago a certificate expired.
pub(super) fn is_same_reason(one: &str, other: &str) -> bool {
    let words = |text: &str| text.chars().filter(|it| !it.is_ascii_digit()).collect::<String>();
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_news_where_its_words_change() {
        let ago = |seconds: u32| format!("certificate expired ({seconds} seconds ago)");
        assert!(is_same_reason(&ago(9), &ago(86_400)));
        assert!(!is_same_reason(&ago(9), "the secret is not ours"));
        let source = std::io::Error::other("Connection refused");
        let error = CallError::Unreachable { name: "a:1".into(), source };
        assert_eq!(reason(&error), "a:1 cannot be reached: Connection refused");
        let late = CallError::Timeout { name: "a:1".into(), within: Duration::from_secs(2) };
        assert_eq!(reason(&late), "a:1 did not answer within 2000 ms");
    }
}
