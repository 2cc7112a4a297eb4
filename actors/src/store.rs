//! Keeps what is worth keeping, off the way to any decision.
//!
//! The only one that touches the backend. What is to be kept waits in a bounded queue and is
//! written in batches on a thread of its own; questions go first. When writes fail, the health
//! says so loudly, the queue waits, and they are tried again: watching never stops for the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use baton_topology::cluster::ClusterId;
use baton_topology::history::{
    AnalysisChange, AuditEntry, DetectionEntry, DetectionSelect, NewAuditEntry,
};
use baton_topology::instance::Instance;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::ports::StoreHealth;
use crate::strand;
use crate::supervisor::Queued;

mod history;
mod ledger;
pub mod sqlite;

pub use history::StoreHistory;
pub(crate) use history::ask;
pub use ledger::SoloLedger;

/// Messages that may wait for the store.
pub const MAILBOX: usize = 10_000;
/// Records that may wait to be written.
const QUEUE_MAX: usize = 10_000;
/// Questions that may wait to be answered.
const QUESTIONS_MAX: usize = 1_000;
/// Records that are written in one go.
const BATCH_MAX: usize = 500;
/// The pause after the first failed write. It doubles up to the cap.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest pause between attempts to write.
const RETRY_CAP: Duration = Duration::from_secs(15);
/// A backend that works on one thing for longer than this is reported as degraded.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// How often old rows are purged.
const PURGE_EVERY: Duration = Duration::from_secs(60 * 60);

/// Why the backend failed, for a person. The backend knows more; nobody here would act on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// What was kept when the program ended.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The instances, with the identity of their clusters.
    pub instances: Vec<(Instance, ClusterId)>,
    /// What was set.
    pub ledger: LedgerState,
    /// Host names: the name given and the name used.
    pub names: Vec<(String, String)>,
}

/// Where things are kept. Its calls block.
pub trait Backend: Send + 'static {
    /// Everything that a start continues with.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load(&mut self) -> Result<Kept, StoreError>;

    /// Writes all records, or none.
    ///
    /// # Errors
    /// When nothing was written.
    fn write(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// Makes a ledger command durable; `after` is the state it leads to.
    ///
    /// # Errors
    /// When it is not durable.
    fn append(&mut self, command: &Command, after: &LedgerState) -> Result<(), StoreError>;

    /// Drops the ledger, which a raft has gone on from.
    ///
    /// # Errors
    /// When it is still there.
    fn forget_ledger(&mut self) -> Result<(), StoreError>;

    /// Tries whether writing works.
    ///
    /// # Errors
    /// When it does not.
    fn check(&mut self) -> Result<(), StoreError>;

    /// Drops what is older than the retention allows.
    ///
    /// # Errors
    /// When that fails.
    fn purge(&mut self, now: Timestamp) -> Result<(), StoreError>;

    /// One page of the audit log, newest first.
    ///
    /// # Errors
    /// When it cannot be read.
    fn audit(&mut self, of: Option<&InstanceKey>, page: u32)
    -> Result<Vec<AuditEntry>, StoreError>;

    /// Detections, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    fn detections(&mut self, select: &DetectionSelect) -> Result<Vec<DetectionEntry>, StoreError>;

    /// Changes of verdicts, by instance and then in order of time.
    ///
    /// # Errors
    /// When they cannot be read.
    fn analysis_changes(&mut self) -> Result<Vec<AnalysisChange>, StoreError>;

    /// Writes the shape of all topologies into the history.
    ///
    /// # Errors
    /// When that fails.
    fn snapshot_topologies(&mut self, fleet: &FleetSnapshot) -> Result<(), StoreError>;
}

/// Opens the backend: at the start, and again after it died.
pub type OpenBackend = Arc<dyn Fn() -> Result<Box<dyn Backend>, StoreError> + Send + Sync>;

/// Something to keep.
#[derive(Debug, Clone)]
pub enum Record {
    /// Instances as they are now, with their clusters.
    Instances(Vec<(Arc<Instance>, ClusterId)>),
    /// Instances that are to be forgotten.
    Forget(Vec<InstanceKey>),
    /// A failure that was detected.
    Detection(Box<DetectionEntry>),
    /// Changes of verdicts.
    Changes(Vec<AnalysisChange>),
    /// A line of the audit log.
    Audit(NewAuditEntry),
    /// A host name stands for another.
    Name {
        /// The name given.
        given: String,
        /// The name used.
        canonical: String,
    },
    /// No host name stands for another any more.
    ForgetNames,
}

impl Message for Record {
    type Result = ();
}

/// Something to do with the backend right away. It answers through a channel of its own; what it
/// returns says whether the backend works.
pub struct Question(pub Ask);

/// What a question does with the backend.
pub type Ask = Box<dyn FnOnce(&mut dyn Backend) -> Result<(), StoreError> + Send>;

impl Message for Question {
    type Result = ();
}

/// Tell when everything that waits is written. The channel closes when that fails.
#[derive(Debug)]
pub struct Drain(pub oneshot::Sender<()>);

impl Message for Drain {
    type Result = ();
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Question")
    }
}

/// What the store works with.
#[derive(Clone)]
pub struct StoreWorld {
    /// Opens the backend.
    pub open: OpenBackend,
    /// How the store is doing, published.
    pub health: watch::Sender<StoreHealth>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The counters.
    pub metrics: Metrics,
}

/// Keeps what is worth keeping.
pub struct StoreActor {
    world: StoreWorld,
    /// Away while it works, and after it died.
    backend: Option<Box<dyn Backend>>,
    work: Work,
    records: VecDeque<Record>,
    questions: VecDeque<Question>,
    drains: Vec<oneshot::Sender<()>>,
    is_purge_due: bool,
    failures: u32,
}

/// What the store is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Idle,
    Busy {
        since: Instant,
    },
    /// Writes failed and are tried again later. Questions are answered meanwhile.
    Pausing,
}

/// One go at the backend.
struct Job {
    backend: Option<Box<dyn Backend>>,
    open: OpenBackend,
    questions: Vec<Question>,
    records: Vec<Record>,
    purge_at: Option<Timestamp>,
    attempt: Attempt,
}

/// Whether a job tries to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Write,
    /// Also tries whether writing works although there is nothing to write.
    WriteAndCheck,
    /// Only questions.
    No,
}

/// How a job went.
struct Outcome {
    backend: Option<Box<dyn Backend>>,
    /// What was not written.
    unwritten: Vec<Record>,
    result: Result<(), StoreError>,
}

impl Job {
    /// Blocks.
    fn run(self) -> Outcome {
        let mut backend = match self.backend.map_or_else(|| (self.open)(), Ok) {
            Ok(backend) => backend,
            Err(error) => {
                let unwritten = self.records;
                return Outcome { backend: None, unwritten, result: Err(error) };
            }
        };
        let mut result = Ok(());
        for question in self.questions {
            result = result.and((question.0)(backend.as_mut()));
        }
        let mut unwritten = Vec::new();
        if !self.records.is_empty()
            && let Err(error) = backend.write(&self.records)
        {
            unwritten = self.records;
            result = Err(error);
        }
        if self.attempt == Attempt::WriteAndCheck {
            result = result.and(backend.check());
        }
        if let Some(now) = self.purge_at {
            result = result.and(backend.purge(now));
        }
        Outcome { backend: Some(backend), unwritten, result }
    }
}

impl StoreActor {
    /// Keeps things in `backend`; opens one when there is none.
    pub fn new(backend: Option<Box<dyn Backend>>, world: StoreWorld) -> Self {
        Self {
            world,
            backend,
            work: Work::Idle,
            records: VecDeque::new(),
            questions: VecDeque::new(),
            drains: Vec::new(),
            is_purge_due: false,
            failures: 0,
        }
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        let attempt = match self.work {
            Work::Busy { .. } => return,
            Work::Pausing => Attempt::No,
            Work::Idle if self.failures > 0 => Attempt::WriteAndCheck,
            Work::Idle => Attempt::Write,
        };
        let count = if attempt == Attempt::No { 0 } else { self.records.len().min(BATCH_MAX) };
        let is_nothing_to_do = self.questions.is_empty()
            && (attempt == Attempt::No
                || (count == 0 && !self.is_purge_due && attempt == Attempt::Write));
        if is_nothing_to_do {
            self.answer_drains(attempt);
            return;
        }
        let purge_at =
            (self.is_purge_due && attempt == Attempt::Write).then(|| self.world.clock.now());
        self.is_purge_due &= purge_at.is_none();
        let job = Job {
            backend: self.backend.take(),
            open: Arc::clone(&self.world.open),
            questions: self.questions.drain(..).collect(),
            records: self.records.drain(..count).collect(),
            purge_at,
            attempt,
        };
        let resume = if attempt == Attempt::No { Work::Pausing } else { Work::Idle };
        let began = Instant::now();
        self.work = Work::Busy { since: began };
        let done = strand::spawn_blocking(move || job.run());
        ctx.spawn(done.into_actor(self).map(move |outcome, act, ctx| {
            act.work = resume;
            act.world.metrics.store_write_seconds.observe(began.elapsed().as_secs_f64());
            act.done(outcome.ok(), attempt, ctx);
            act.pump(ctx);
        }));
    }

    fn done(&mut self, outcome: Option<Outcome>, attempt: Attempt, ctx: &mut Context<Self>) {
        let result = match outcome {
            Some(Outcome { backend, unwritten, result }) => {
                self.backend = backend;
                for record in unwritten.into_iter().rev() {
                    self.records.push_front(record);
                }
                result
            }
            // What it was writing when it panicked is dropped: it may be the reason.
            None => {
                self.world.metrics.dropped("store_write", 1);
                Err(StoreError("the backend panicked and is opened again".into()))
            }
        };
        self.note_depth();
        match result {
            Ok(()) if attempt == Attempt::No => {}
            Ok(()) => {
                self.failures = 0;
                self.set_health(StoreHealth::Healthy);
            }
            Err(error) => {
                self.set_health(StoreHealth::Degraded { reason: error.to_string() });
                if self.work != Work::Pausing {
                    self.pause(ctx);
                }
            }
        }
    }

    /// Nothing is being written. That is the answer, unless writing failed.
    fn answer_drains(&mut self, attempt: Attempt) {
        for drain in self.drains.drain(..) {
            if attempt == Attempt::Write {
                // Whoever waited may have gone.
                let _ = drain.send(());
            }
        }
    }

    fn pause(&mut self, ctx: &mut Context<Self>) {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        self.work = Work::Pausing;
        let pause = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_CAP);
        ctx.run_later(pause, Self::resume);
    }

    fn resume(&mut self, ctx: &mut Context<Self>) {
        if self.work == Work::Pausing {
            self.work = Work::Idle;
            self.pump(ctx);
        } else {
            // A question is being answered right now.
            ctx.run_later(RETRY_FIRST, Self::resume);
        }
    }

    fn set_health(&self, health: StoreHealth) {
        let is_degraded = health != StoreHealth::Healthy;
        self.world.metrics.store_degraded.set(i64::from(is_degraded));
        let is_news = self.world.health.send_if_modified(|before| {
            let is_news = *before != health;
            *before = health.clone();
            is_news
        });
        match health {
            StoreHealth::Degraded { reason } if is_news => {
                tracing::error!(reason, "the store is degraded: what is set now cannot be kept");
            }
            StoreHealth::Healthy if is_news => tracing::info!("the store works again"),
            _ => {}
        }
    }

    fn note_depth(&self) {
        let depth = i64::try_from(self.records.len()).unwrap_or(i64::MAX);
        self.world.metrics.store_queue.set(depth);
    }

    fn check_stuck(&mut self, _ctx: &mut Context<Self>) {
        if let Work::Busy { since } = self.work
            && since.elapsed() >= STUCK_AFTER
        {
            let reason = format!("the backend does not answer for {} s", since.elapsed().as_secs());
            self.failures = self.failures.max(1);
            self.set_health(StoreHealth::Degraded { reason });
        }
    }
}

impl Actor for StoreActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(STUCK_AFTER / 2, Self::check_stuck);
        ctx.run_interval(PURGE_EVERY, |act, ctx| {
            act.is_purge_due = true;
            act.pump(ctx);
        });
        if self.backend.is_none() {
            self.failures = 1;
            self.pump(ctx);
        }
    }
}

impl Handler<Queued<Record>> for StoreActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Record>, ctx: &mut Self::Context) {
        let (record, _handling) = message.open();
        if self.records.len() >= QUEUE_MAX {
            // The oldest is the least interesting; newer looks at instances follow anyway.
            self.records.pop_front();
            self.world.metrics.dropped("store_write", 1);
        }
        self.records.push_back(record);
        self.note_depth();
        self.pump(ctx);
    }
}

impl Handler<Queued<Drain>> for StoreActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Drain>, ctx: &mut Self::Context) {
        let (Drain(reply), _handling) = message.open();
        if self.drains.len() < QUESTIONS_MAX {
            self.drains.push(reply);
        }
        self.pump(ctx);
    }
}

impl Handler<Queued<Question>> for StoreActor {
    type Result = ();

    fn handle(&mut self, message: Queued<Question>, ctx: &mut Self::Context) {
        let (question, _handling) = message.open();
        if self.questions.len() >= QUESTIONS_MAX {
            // Dropping it closes its channel, which tells whoever asked.
            self.world.metrics.dropped("store_question", 1);
            return;
        }
        self.questions.push_back(question);
        self.pump(ctx);
    }
}
