//! Several nodes' ledger in memory, whose leadership passes on when a test wants.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use baton_actors::ports::{
    ActionFailure, Applied, Control, ControlSession, Ledger, ProposeError, Reading,
};
use baton_actors::testing::{FakeFleet, FakeTarget};
use baton_topology::action::{Action, Credentials};
use baton_topology::instance::ProbeFailure;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState, Outcome, apply};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

/// So long after it lost leadership without noticing a node may still act.
const GRACE: Duration = Duration::from_millis(500);

/// How a leader loses its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Before what it asked is done, and it knows.
    Before,
    /// After what it asked is done, and it knows.
    After,
    /// After what it asked is done, and it gets no answer.
    Unanswered,
    /// After what it asked is done, and it notices only when it asks again.
    Unnoticed,
}

/// The nodes, and which one leads.
pub(crate) struct Quorum {
    core: Mutex<Core>,
    pub(crate) state: watch::Sender<Arc<LedgerState>>,
    hints: Vec<watch::Sender<Option<u64>>>,
}

struct Core {
    /// Nobody for a moment, when the one who leads does not notice: it was confirmed just before.
    leader: Option<usize>,
    term: u64,
    lost_at: Option<Instant>,
    /// The leader is asked so often until it is deposed.
    until_loss: Option<(u64, Loss)>,
    trespasses: Vec<String>,
}

impl Quorum {
    /// So many nodes, of which the first one leads.
    pub(crate) fn of(nodes: usize) -> Arc<Self> {
        let hint = |node| watch::Sender::new((node == 0).then_some(1));
        let core = Core {
            leader: Some(0),
            term: 1,
            lost_at: None,
            until_loss: None,
            trespasses: Vec::new(),
        };
        Arc::new(Self {
            core: Mutex::new(core),
            state: watch::Sender::new(Arc::default()),
            hints: (0..nodes).map(hint).collect(),
        })
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().expect("nobody panics while holding it")
    }

    /// The leader is deposed the `nth` time it asks for something from now on.
    pub(crate) fn lose_at(&self, nth: u64, loss: Loss) {
        self.core().until_loss = Some((nth, loss));
    }

    /// Whether that came about.
    pub(crate) fn was_lost(&self) -> bool {
        self.core().lost_at.is_some()
    }

    /// What was done to servers by nodes that did not lead.
    pub(crate) fn trespasses(&self) -> Vec<String> {
        self.core().trespasses.clone()
    }

    /// Another node leads from now on, or as soon as it can.
    pub(crate) fn depose(self: &Arc<Self>, loss: Loss) {
        let before = {
            let mut core = self.core();
            core.lost_at = Some(Instant::now());
            core.leader.take().expect("somebody leads")
        };
        let after = (before + 1) % self.hints.len();
        if loss != Loss::Unnoticed {
            self.hints[before].send_replace(None);
            self.crown(after);
            return;
        }
        let quorum = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            quorum.crown(after);
        });
    }

    fn crown(&self, node: usize) {
        let term = {
            let mut core = self.core();
            core.leader = Some(node);
            core.term += 1;
            core.term
        };
        self.hints[node].send_replace(Some(term));
    }

    /// Whether this question is the one at which leadership is lost.
    fn is_last(&self, node: usize) -> Option<Loss> {
        let mut core = self.core();
        if core.leader != Some(node) {
            return None;
        }
        let (left, loss) = core.until_loss?;
        core.until_loss = (left > 1).then_some((left - 1, loss));
        (left <= 1).then_some(loss)
    }

    fn term_of(&self, node: usize) -> Option<u64> {
        let core = self.core();
        (core.leader == Some(node)).then_some(core.term)
    }

    fn note(&self, node: usize, what: String) {
        let mut core = self.core();
        let is_late = core.lost_at.is_none_or(|at| at.elapsed() >= GRACE);
        let knows = self.hints[node].borrow().is_none();
        if core.leader != Some(node) && (is_late || knows) {
            core.trespasses.push(what);
        }
    }
}

/// One node's access to the ledger, and to servers.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) quorum: Arc<Quorum>,
    pub(crate) number: usize,
    pub(crate) fleet: Arc<FakeFleet>,
}

impl Seat {
    /// Has something done by the leader, which may be deposed meanwhile.
    fn ask<T>(&self, act: impl FnOnce(u64) -> Result<T, ProposeError>) -> Result<T, ProposeError> {
        let last = self.quorum.is_last(self.number);
        if last == Some(Loss::Before) {
            self.quorum.depose(Loss::Before);
        }
        let done = match self.quorum.term_of(self.number) {
            Some(term) => act(term),
            None => {
                // By now it knows.
                self.quorum.hints[self.number].send_replace(None);
                Err(ProposeError::NotLeading("this node does not lead".into()))
            }
        };
        match last {
            Some(Loss::Before) | None => done,
            Some(loss) => {
                self.quorum.depose(loss);
                if loss == Loss::Unanswered { Err(ProposeError::Timeout) } else { done }
            }
        }
    }

    fn commit(&self, command: &Command) -> Result<Applied, ProposeError> {
        let before = self.quorum.state.borrow().clone();
        let (after, Outcome { keys }) =
            apply(&before, command).map_err(|why| ProposeError::Refused(why.to_string()))?;
        let state = Arc::new(after);
        self.quorum.state.send_replace(Arc::clone(&state));
        Ok(Applied { index: state.index, keys, state })
    }
}

impl Ledger for Seat {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        async move { self.ask(|_| self.commit(&command)) }.boxed()
    }

    fn lead(&self) -> BoxFuture<'_, Result<u64, ProposeError>> {
        async move { self.ask(Ok) }.boxed()
    }

    fn propose_in(
        &self,
        wanted: u64,
        command: Command,
    ) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        let over = || Err(ProposeError::NotLeading("the term is over".into()));
        async move { self.ask(|term| if term == wanted { self.commit(&command) } else { over() }) }
            .boxed()
    }

    fn leading(&self) -> watch::Receiver<Option<u64>> {
        self.quorum.hints[self.number].subscribe()
    }

    fn state(&self) -> watch::Receiver<Arc<LedgerState>> {
        self.quorum.state.subscribe()
    }
}

impl Control for Seat {
    fn control(&self, key: &InstanceKey) -> Box<dyn ControlSession> {
        let inner = FakeTarget(Arc::clone(&self.fleet)).control(key);
        Box::new(Watched { inner, seat: self.clone(), key: key.clone() })
    }
}

/// A session that is watched for what it should not do.
struct Watched {
    inner: Box<dyn ControlSession>,
    seat: Seat,
    key: InstanceKey,
}

impl ControlSession for Watched {
    fn look(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        self.inner.look()
    }

    fn act<'a>(
        &'a mut self,
        action: &'a Action,
        at_most: Duration,
    ) -> BoxFuture<'a, Result<(), ActionFailure>> {
        async move {
            let what = format!("node {}: {}: {action:?}", self.seat.number, self.key);
            self.seat.quorum.note(self.seat.number, what);
            // On a network everything takes a moment.
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.inner.act(action, at_most).await
        }
        .boxed()
    }

    fn is_closing(&mut self) -> BoxFuture<'_, bool> {
        self.inner.is_closing()
    }

    fn credentials(&mut self) -> BoxFuture<'_, Option<Credentials>> {
        self.inner.credentials()
    }

    fn lend(&mut self, credentials: Credentials) {
        self.inner.lend(credentials);
    }
}
