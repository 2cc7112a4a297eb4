//! One node of a raft: has commands agreed upon, proves leadership, ends it. How it is put together
//! and started is in [`start`].
//!
//! Raft runs on a runtime of its own, for an actor or a web request that keeps a thread busy must
//! not cost leadership. Whatever is asked here is carried on there, even if whoever asked goes.

mod start;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use baton_topology::ledger::{Command, LedgerState};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, LinearizerOption, ReadPolicy};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::time::timeout;

pub use self::start::StartError;
#[cfg(feature = "testing")]
pub(super) use self::start::{Parts, assemble};
use super::client::CallError;
use super::disk::Disk;
use super::heirloom::{self, CarriedOver};
use super::leadership::{self, Leadership, Lookout, Role};
use super::members::{Hello, Member, Members, MembersError, Standing};
use super::network::chain;
use super::peers::Switchboard;
use super::propose;
use super::secret::Secret;
use super::setup::RaftSetup;
use super::types::{Envelope, LogId, Raft};
use super::watcher::Watched;
use crate::ports::{Applied, Ledger, ProposeError, deadline};
use crate::strand;

/// Threads of raft's own runtime.
const THREADS: usize = 2;
/// How long another node may take to take over.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);
/// How long raft may take to end.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// That this node led, at a moment after it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The term it leads in. A command that belongs to this proof is proposed with
    /// [`Ledger::propose_in`].
    pub term: u64,
}

/// Why there is no proof of leadership. None is a reason to act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotLeading {
    /// Another node leads, or none.
    #[error("this node does not lead{}", leader.as_ref().map(|it| format!("; {it} does")).unwrap_or_default())]
    Other {
        /// Which, if that is known.
        leader: Option<String>,
    },
    /// It may be the leader, but too few nodes say so.
    #[error("no majority of the nodes answers")]
    NoMajority,
    /// It leads a raft that must do nothing.
    #[error("{0}")]
    StandsBack(String),
    /// No answer in time.
    #[error("leadership was not proven within {} ms", within.as_millis())]
    Late {
        /// How long was waited.
        within: Duration,
    },
    /// Nobody took over in time from a node that wanted to lead no more.
    #[error("no other node led within {} ms", within.as_millis())]
    Kept {
        /// How long was waited.
        within: Duration,
    },
    /// Raft has ended.
    #[error("raft has ended on this node: {0}")]
    Stopped(String),
}

/// How far a node is, in entries of the log. What was applied is agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The newest entry it has.
    pub last: u64,
    /// The newest entry it has applied.
    pub applied: u64,
    /// The newest entry in its newest snapshot.
    pub snapshot: u64,
    /// The newest entry it has dropped.
    pub purged: u64,
}

/// A node of a raft. Clones are the same node.
#[derive(Clone)]
pub struct RaftNode {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    disk: Disk,
    members: Arc<Members>,
    switchboard: Arc<Switchboard>,
    state: watch::Receiver<Arc<LedgerState>>,
    leadership: watch::Receiver<Leadership>,
    lookout: Lookout,
    yields: Yields,
    standing: watch::Receiver<Standing>,
    leading: watch::Receiver<Option<u64>>,
    carried_over: watch::Receiver<CarriedOver>,
    watched: watch::Receiver<Arc<Watched>>,
    /// None where there is no network.
    server: Option<ServerHandle>,
    runtime: Own,
}

/// How many are having another node lead at the moment: it may do so long before the lease here
/// has run out.
#[derive(Default)]
pub(super) struct Yields(AtomicU32);

/// One that is under way until it is dropped.
struct Yielding<'a>(&'a Yields);

impl Yields {
    fn begin(&self) -> Yielding<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Yielding(self)
    }

    fn are_under_way(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Yielding<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A runtime that may be dropped anywhere.
pub(super) struct Own(pub(super) Option<Runtime>, pub(super) Handle);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl RaftNode {
    /// Starts a node, and returns once it answers its peers. See [`RaftNode::standing`] for
    /// whether it takes part.
    ///
    /// # Errors
    /// When it cannot; nothing is left running then.
    pub async fn start(setup: RaftSetup) -> Result<Self, StartError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("raft")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let handle = runtime.handle().clone();
        let own = Own(Some(runtime), handle.clone());
        let started = handle.spawn(start::start(setup, own)).await;
        started.unwrap_or_else(|error| Err(StartError::Raft(error.to_string())))
    }

    /// The number of this node: that of its disk.
    pub fn id(&self) -> u64 {
        *self.inner.raft.node_id()
    }

    /// The seat of this node, as it is configured; members may know it by another one still.
    pub fn seat(&self) -> &str {
        self.inner.members.seat()
    }

    /// What the members call this node.
    pub(super) fn agreed_name(&self) -> String {
        self.inner.members.agreed_name()
    }

    pub(super) fn switchboard(&self) -> Arc<Switchboard> {
        Arc::clone(&self.inner.switchboard)
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.inner.runtime.1
    }

    /// Who leads, as far as this node can tell: a hint.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// The same, as of this moment: what was published last may be from before this process was
    /// stopped, or its machine was asleep.
    pub fn leadership_now(&self) -> Leadership {
        self.inner.lookout.look()
    }

    /// Whether this node leads at this moment: a majority confirmed it within the lease, and it is
    /// not giving leadership away.
    pub fn leads_now(&self) -> bool {
        !self.inner.yields.are_under_way() && self.leadership_now().role == Role::Leader
    }

    /// Whether this node takes part.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing.clone()
    }

    /// Why this node cannot take part any more, once that is so: its log failed, or it is too old
    /// for what its peers agree upon. The program should end then.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.inner.disk.failed()
    }

    /// Whether the raft went on from what this node kept while it ran alone.
    pub fn carried_over(&self) -> watch::Receiver<CarriedOver> {
        self.inner.carried_over.clone()
    }

    /// What the newest round of questions to all nodes found.
    pub fn watched(&self) -> watch::Receiver<Arc<Watched>> {
        self.inner.watched.clone()
    }

    /// Tells peers from now on that this is what is configured; see [`RaftSetup::shared_keys`].
    pub fn set_shared_keys(&self, keys: &BTreeMap<String, String>) {
        self.inner.members.set_shared_keys(keys);
    }

    /// Knows its peers by this from now on, and by the one before for a while; see [`super::Keys`].
    pub fn set_secret(&self, secret: Secret) {
        self.inner.members.set_secret(secret);
    }

    /// Proves that this node leads, by asking a majority, and has applied everything that was
    /// agreed upon before it was asked.
    ///
    /// # Errors
    /// When it does not lead, or cannot prove it in time.
    pub async fn prove(&self, within: Duration) -> Result<Proof, NotLeading> {
        if let Some(why) = self.stands_back(within).await {
            return Err(NotLeading::StandsBack(why));
        }
        let inner = Arc::clone(&self.inner);
        let option = LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(within);
        let proven = strand::spawn_on(&self.inner.runtime.1, async move {
            let proof = timeout(within, inner.raft.ensure_linearizable(option)).await;
            match proof {
                Ok(Ok(read)) => Ok(Proof { term: read.committed_leader_id().term }),
                Ok(Err(error)) => Err(propose::not_leading(error)),
                Err(_) => Err(NotLeading::Late { within }),
            }
        });
        proven.await.unwrap_or_else(|error| Err(NotLeading::Stopped(error.to_string())))
    }

    /// Why nothing may be done in the name of this raft, if that is so. One that was begun anew has
    /// to ask first whether the one before it lives.
    async fn stands_back(&self, within: Duration) -> Option<String> {
        let mut watched = self.watched();
        if self.inner.members.raft_of().begun_anew
            && !matches!(timeout(within, watched.wait_for(|it| it.has_begun)).await, Ok(Ok(_)))
        {
            return Some("this raft was begun anew, and the others were not asked yet".to_owned());
        }
        watched.borrow().stands_back.clone()
    }

    /// Proposes a command as if only batons of this version could apply it.
    ///
    /// # Errors
    /// As [`Ledger::propose`].
    #[cfg(feature = "testing")]
    pub async fn propose_of_version(
        &self,
        version: u32,
        command: Command,
    ) -> Result<Applied, ProposeError> {
        self.commit(None, Envelope::of_version(version, command)).await
    }

    async fn commit(&self, term: Option<u64>, envelope: Envelope) -> Result<Applied, ProposeError> {
        let raft = self.inner.raft.clone();
        let members = Arc::clone(&self.inner.members);
        if let Some(why) = heirloom::awaited(&members, &self.inner.state.borrow()) {
            return Err(ProposeError::Unavailable(why));
        }
        let lease = self.inner.raft.config().election_timeout_max;
        let patience = Duration::from_millis(lease).min(deadline::PROPOSE);
        let committed = strand::spawn_on(&self.inner.runtime.1, async move {
            let understood = members.understand(envelope.version()).await;
            understood.map_err(|error| ProposeError::Unavailable(error.to_string()))?;
            let committed = propose::commit(&raft, term, envelope, patience);
            timeout(deadline::PROPOSE, committed).await.unwrap_or(Err(ProposeError::Timeout))
        });
        committed.await.unwrap_or(Err(ProposeError::Timeout))
    }

    #[cfg(test)]
    pub(super) fn insides(&self) -> (&Raft, &Members) {
        (&self.inner.raft, &self.inner.members)
    }

    /// Everybody who takes part, by seat.
    pub fn members(&self) -> Vec<Member> {
        self.inner.members.list()
    }

    /// How far this node is.
    pub fn progress(&self) -> Progress {
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        let index = |at: Option<LogId>| at.map_or(0, |at| at.index);
        Progress {
            last: metrics.last_log_index.unwrap_or(0),
            applied: index(metrics.last_applied),
            snapshot: index(metrics.snapshot),
            purged: index(metrics.purged),
        }
    }

    /// Asks whoever has a seat about itself.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn ask(&self, name: &str) -> Result<Hello, CallError> {
        self.inner.members.hello(name).await
    }

    /// Asks a member about itself, wherever it is by now.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn ask_member(&self, member: &Member) -> Result<Hello, CallError> {
        self.inner.members.hello_of(member).await
    }

    /// Gives whoever has a seat a vote. Only the leader can.
    ///
    /// # Errors
    /// When that fails.
    pub async fn add_peer(&self, name: &str) -> Result<(), MembersError> {
        let (members, name) = (Arc::clone(&self.inner.members), name.to_owned());
        let done = strand::spawn_on(&self.inner.runtime.1, async move { members.add(&name).await });
        done.await.unwrap_or_else(|error| Err(MembersError::Raft(error.to_string())))
    }

    /// Takes a seat away. Only the leader can.
    ///
    /// # Errors
    /// When that fails.
    pub async fn remove_peer(&self, name: &str) -> Result<(), MembersError> {
        let (members, name) = (Arc::clone(&self.inner.members), name.to_owned());
        let done =
            strand::spawn_on(&self.inner.runtime.1, async move { members.remove(&name).await });
        done.await.unwrap_or_else(|error| Err(MembersError::Raft(error.to_string())))
    }

    /// Has another node lead: the one at this seat, or of those that answer whichever has most of
    /// the log. Returns once another one leads.
    ///
    /// # Errors
    /// When this node does not lead, there is nobody else, or nobody took over in time.
    pub async fn hand_over(&self, to: Option<&str>) -> Result<(), NotLeading> {
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        let Some(replication) = metrics.replication else {
            let leader = self.inner.leadership.borrow().leader.clone();
            return Err(NotLeading::Other { leader });
        };
        let heartbeat = Duration::from_millis(self.inner.raft.config().heartbeat_interval);
        let welcome = |id: u64| {
            let heard = metrics.heartbeat.as_ref().and_then(|it| it.get(&id).copied().flatten());
            let has = replication.get(&id).copied().flatten();
            leadership::welcome(heard.map(|at| at.elapsed()), heartbeat, has)
        };
        let heir = self
            .members()
            .into_iter()
            .filter(|it| it.is_voter && it.id != self.id())
            .filter(|it| to.is_none_or(|to| it.name == to))
            .max_by_key(|it| welcome(it.id));
        let Some(heir) = heir else { return Err(NotLeading::NoMajority) };
        let _yielding = self.inner.yields.begin();
        let told = self.inner.raft.trigger().transfer_leader(heir.id).await;
        told.map_err(|error| NotLeading::Stopped(chain(&error)))?;
        let mut leadership = self.leadership();
        let term = metrics.current_term;
        let taken = leadership.wait_for(|now| now.term > term && now.leader.is_some());
        match timeout(HAND_OVER_WITHIN, taken).await {
            Ok(_) => Ok(()),
            Err(_) => Err(NotLeading::Kept { within: HAND_OVER_WITHIN }),
        }
    }

    /// Has a snapshot made soon.
    ///
    /// # Errors
    /// When raft has ended.
    pub async fn snapshot(&self) -> Result<(), NotLeading> {
        let told = self.inner.raft.trigger().snapshot().await;
        told.map_err(|error| NotLeading::Stopped(chain(&error)))
    }

    /// Ends this node, after another one leads where that is possible. Its file is closed when
    /// this returns.
    pub async fn stop(&self) {
        if self.inner.leadership.borrow().role == Role::Leader {
            // Nobody may be there to take over.
            let _ = self.hand_over(None).await;
        }
        self.halt().await;
    }

    /// Ends this node at once.
    pub async fn halt(&self) {
        let inner = Arc::clone(&self.inner);
        let ended = strand::spawn_on(&self.inner.runtime.1, async move {
            if let Some(server) = &inner.server {
                server.stop(false).await;
            }
            if timeout(STOP_WITHIN, inner.raft.shutdown()).await.is_err() {
                tracing::warn!("raft does not end");
            }
            inner.disk.close().await;
        });
        // It has ended, however it did.
        let _ = ended.await;
    }
}

impl Ledger for RaftNode {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        self.commit(None, Envelope::new(command)).boxed()
    }

    fn lead(&self) -> BoxFuture<'_, Result<u64, ProposeError>> {
        async move {
            let proof = self.prove(deadline::PROVE).await;
            proof.map(|it| it.term).map_err(|error| ProposeError::NotLeading(error.to_string()))
        }
        .boxed()
    }

    fn propose_in(
        &self,
        term: u64,
        command: Command,
    ) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        self.commit(Some(term), Envelope::new(command)).boxed()
    }

    fn leading(&self) -> watch::Receiver<Option<u64>> {
        self.inner.leading.clone()
    }

    fn state(&self) -> watch::Receiver<Arc<LedgerState>> {
        self.inner.state.clone()
    }
}
