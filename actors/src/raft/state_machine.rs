//! The ledger, as openraft drives it: agreed commands go in, in the same order on every node.
//!
//! Nothing but the state changes here. What follows from a command (hooks, probes) is done by who
//! watches the state, on the leader.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use baton_topology::ledger::{LedgerState, Outcome, apply};
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::watch;

use super::disk::{Disk, decode, encode};
use super::types::{
    Answer, Envelope, FIRST_VERSION, LogId, Matter, Snapshot, SnapshotBody, SnapshotMeta,
    StoredMembership, Types,
};

/// The ledger of this node. It lives in memory; snapshots of it and the log bring it back.
pub(super) struct StateMachine {
    disk: Disk,
    applied: Option<LogId>,
    membership: StoredMembership,
    state: watch::Sender<Arc<LedgerState>>,
    newest: NewestVersion,
}

/// The newest version of all commands that were applied. Clones share it.
#[derive(Clone, Default)]
pub(super) struct NewestVersion(Arc<AtomicU32>);

impl NewestVersion {
    pub(super) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed).max(FIRST_VERSION)
    }

    fn includes(&self, version: u32) {
        self.0.fetch_max(version, Ordering::Relaxed);
    }
}

impl StateMachine {
    /// An empty ledger; openraft fills it from the disk. Every state is published to `state`.
    pub(super) fn new(disk: Disk, state: watch::Sender<Arc<LedgerState>>) -> Self {
        let membership = StoredMembership::default();
        Self { disk, applied: None, membership, state, newest: NewestVersion::default() }
    }

    pub(super) fn newest(&self) -> NewestVersion {
        self.newest.clone()
    }

    fn apply_one(&self, envelope: &Envelope) -> Answer {
        self.newest.includes(envelope.version());
        let before = self.state.borrow().clone();
        match after(&before, &envelope.matter) {
            Ok((state, Outcome { keys })) => {
                self.state.send_replace(Arc::clone(&state));
                Answer::Applied { keys, state }
            }
            Err(refusal) => Answer::Refused(refusal),
        }
    }
}

/// The state after something was agreed upon, or why that changes nothing.
pub(super) fn after(
    before: &LedgerState,
    matter: &Matter,
) -> Result<(Arc<LedgerState>, Outcome), String> {
    match matter {
        Matter::Command(command) => match apply(before, command) {
            Ok((after, outcome)) => Ok((Arc::new(after), outcome)),
            Err(refusal) => Err(refusal.to_string()),
        },
        // Once, and before anything else: it takes the place of all there was.
        Matter::Ledger(state) if before.index == 0 => Ok((Arc::clone(state), Outcome::default())),
        Matter::Ledger(_) => Err("this raft has a ledger already".into()),
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotBody;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let answer = match &entry.payload {
                // It is in the state already.
                _ if self.applied >= Some(entry.log_id) => Answer::Nothing,
                EntryPayload::Blank => Answer::Nothing,
                EntryPayload::Normal(envelope) => self.apply_one(envelope),
                EntryPayload::Membership(membership) => {
                    let at = Some(entry.log_id);
                    self.membership = StoredMembership::new(at, membership.clone());
                    Answer::Nothing
                }
            };
            self.applied = self.applied.max(Some(entry.log_id));
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta =
            SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        let body = SnapshotBody { version: self.newest.get(), state: self.state.borrow().clone() };
        Builder { disk: self.disk.clone(), snapshot: Snapshot { meta, snapshot: body } }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotBody,
    ) -> io::Result<()> {
        save(&self.disk, meta, &snapshot).await?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.newest.includes(snapshot.version);
        self.state.send_replace(snapshot.state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let Some(found) = self.disk.ask(|store| store.snapshot()).await? else { return Ok(None) };
        Ok(Some(Snapshot { meta: decode(&found.meta)?, snapshot: decode(&found.body)? }))
    }
}

/// A state to be made a snapshot of. Clones of states are cheap, so commands need not wait.
pub(super) struct Builder {
    disk: Disk,
    snapshot: Snapshot,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotBody;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        save(&self.disk, &self.snapshot.meta, &self.snapshot.snapshot).await?;
        Ok(self.snapshot.clone())
    }
}

async fn save(disk: &Disk, meta: &SnapshotMeta, body: &SnapshotBody) -> io::Result<()> {
    let (meta, body) = (encode(meta)?, encode(body)?);
    disk.ask(move |store| store.save_snapshot(&meta, &body)).await
}
