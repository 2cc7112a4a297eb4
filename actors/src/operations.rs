//! Carries out what people ask of servers: looks, plans, locks, does it, and looks again.
//!
//! What is done, and whether, is decided in [`baton_topology::relocate`]. Here it is carried out,
//! a few servers at a time, within deadlines (I12); whatever was stopped is started again (I9),
//! and whoever asks next sees how the servers stand now. All of it belongs to one term: when that is
//! over nothing more is touched, and the locks tell the next leader what to start again.

mod crew;
mod extra;
mod hooks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_topology::history::NewAuditEntry;
use baton_topology::instance::Instance;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::Command;
use baton_topology::relocate::{
    self, Equivalences, Place, Plan, Preview, Refused, Request, Seen, Step, Unfinished,
};
use baton_topology::snapshot::FleetSnapshot;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use crate::clock::Clock;
use crate::hooks::HookRunner;
use crate::mandate::Mandate;
use crate::operations::crew::Crew;
use crate::ports::{
    Control, Discovery, ExtraTransactions, History, Ledger, OperationError, Operations, Performed,
    ProposeError, SnapshotReader, Transactions,
};
use crate::strand;

/// A server stays locked no longer than this, should its operation never end.
const LOCKED_AT_MOST: Duration = Duration::from_secs(10 * 60);
/// So many servers are looked at side by side.
const LOOKS_PARALLEL: usize = 16;
/// The pause before interrupted operations are tried again.
const RESUME_PAUSE: Duration = Duration::from_secs(1);
/// Counts operations.
static SERIAL: AtomicU64 = AtomicU64::new(0);
/// Who locks servers, as the ledger shows it.
const OWNER: &str = "baton";

/// What operations work with. Cheap to clone.
#[derive(Clone)]
pub struct Workshop {
    /// The means to change servers.
    pub control: Arc<dyn Control>,
    /// The newest fleet.
    pub snapshot: SnapshotReader,
    /// Where servers are locked.
    pub ledger: Arc<dyn Ledger>,
    /// Takes fresh looks that the fleet learns of.
    pub discovery: Arc<dyn Discovery>,
    /// Where operations are recorded.
    pub history: Arc<dyn History>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Which places in logs are known to be the same.
    pub equivalences: Arc<Mutex<Equivalences>>,
    /// Runs the user processes that are told of an operation.
    pub hooks: HookRunner,
    /// What this node has locked.
    pub locks: Locks,
}

/// The servers an operation of this node has locked, each with the term of the operation.
#[derive(Debug, Clone, Default)]
pub struct Locks(Arc<Mutex<BTreeMap<InstanceKey, u64>>>);

impl Locks {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<InstanceKey, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Operations for Workshop {
    fn perform(
        &self,
        request: Request,
        by: String,
    ) -> BoxFuture<'_, Result<Performed, OperationError>> {
        let workshop = self.clone();
        // A task of its own: what was begun is brought to its end whoever hangs up.
        let task = strand::spawn(async move { workshop.carry_out(request, &by).await });
        let died = |_| Err(OperationError::Failed("the operation broke off".into()));
        async move { task.await.unwrap_or_else(died) }.boxed()
    }

    fn rehearse(&self, request: Request) -> BoxFuture<'_, Result<Preview, OperationError>> {
        async move {
            let fleet = self.look_around(&request).await;
            let plan =
                relocate::plan(&fleet, &self.known(), &request).map_err(OperationError::Refused)?;
            let mut preview = plan.preview(&readings(&fleet, &plan));
            preview.notes.extend(self.would_tell(&plan));
            Ok(preview)
        }
        .boxed()
    }

    fn equivalents(&self, place: &Place) -> Vec<Place> {
        let known = self.known().of(place, self.clock.now());
        known.into_iter().map(|(key, at)| Place { key, at }).collect()
    }

    fn locate_errant(
        &self,
        key: InstanceKey,
    ) -> BoxFuture<'_, Result<Vec<String>, OperationError>> {
        async move {
            let fleet = self.fleet();
            let errant = fleet.member(&key).map(|(_, member)| member.errant.clone());
            let unknown = || refused(format!("Cannot read instance: {key}"));
            let errant = errant.ok_or_else(unknown)?;
            if errant.is_empty() {
                return Err(refused(format!("no errant transactions are known on {key}")));
            }
            Crew::new(self).logs_with(&key, &errant).await.map_err(OperationError::Failed)
        }
        .boxed()
    }

    fn extra_transactions(
        &self,
        key: InstanceKey,
        transactions: Transactions,
    ) -> BoxFuture<'_, Result<ExtraTransactions, OperationError>> {
        self.find_extra(key, transactions).boxed()
    }
}

fn refused(why: String) -> OperationError {
    OperationError::Refused(Refused(why))
}

impl Workshop {
    /// Resumes whenever this node begins to lead; a single node does so once.
    pub async fn resume_when_leading(&self) {
        let mut leading = self.ledger.leading();
        loop {
            let term = *leading.borrow_and_update();
            if let Some(term) = term {
                while let Err(error) = self.resume().await {
                    tracing::warn!(term, %error, "interrupted operations are left as they are");
                    if *leading.borrow() != Some(term) {
                        break;
                    }
                    tokio::time::sleep(RESUME_PAUSE).await;
                }
            }
            if leading.changed().await.is_err() {
                return;
            }
        }
    }

    /// Brings to an end what was begun by a baton that died, or leads no more: its locks outlived
    /// it (I9).
    ///
    /// # Errors
    /// When this node does not lead, or not to the end.
    pub async fn resume(&self) -> Result<(), ProposeError> {
        let mandate = Mandate::obtain(&self.ledger).await?;
        let ledger = self.ledger.state().borrow().clone();
        let ours = self.locks.locked().clone();
        let left = ledger.maintenances.iter().filter(|(_, it)| &*it.owner == OWNER);
        for (key, maintenance) in left.filter(|(key, _)| ours.get(*key) != Some(&mandate.term())) {
            let Some(unfinished) = relocate::unfinished(&maintenance.reason) else { continue };
            let (what, at) = ("resume".into(), self.clock.now());
            let note = Command::NoteOperation { key: key.clone(), what, at };
            match mandate.propose(note).await {
                Ok(_) => {}
                Err(error @ ProposeError::NotLeading(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%key, %error, "an interrupted operation is left as it is");
                    continue;
                }
            }
            let outcome = match unfinished {
                Unfinished::StartAgain => Crew::acting(self, &mandate).start(key).await,
                Unfinished::LeaveAsIs => Ok(()),
            };
            // Whoever leads next starts it.
            mandate.check().await?;
            self.unlock(&mandate, &BTreeSet::from([key.clone()])).await;
            self.look_at(BTreeSet::from([key.clone()])).await;
            let message = match outcome {
                Ok(()) => format!("after a break: {}", maintenance.reason),
                Err(why) => format!("after a break: {}: {why}", maintenance.reason),
            };
            tracing::warn!(%key, message, "an operation was interrupted");
            self.record("resume", key, message);
        }
        Ok(())
    }

    fn record(&self, kind: &str, key: &InstanceKey, message: String) {
        self.history.record_audit(NewAuditEntry {
            at: self.clock.now(),
            kind: kind.to_owned(),
            key: Some(key.clone()),
            cluster: self.fleet().cluster_of.get(key).cloned(),
            message,
        });
    }

    fn known(&self) -> Equivalences {
        self.equivalences.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers what follows from steps that were taken.
    fn learn(&self, steps: &[Step], seen: &Seen) {
        let (names, now) = (Arc::clone(&self.fleet().names), self.clock.now());
        let mut known = self.equivalences.lock().unwrap_or_else(PoisonError::into_inner);
        known.learn(steps, seen, &names, now);
    }

    fn fleet(&self) -> Arc<FleetSnapshot> {
        self.snapshot.borrow().clone()
    }

    async fn carry_out(&self, request: Request, by: &str) -> Result<Performed, OperationError> {
        let mandate = Mandate::obtain(&self.ledger).await.map_err(OperationError::Locked)?;
        let fleet = self.look_around(&request).await;
        let plan =
            relocate::plan(&fleet, &self.known(), &request).map_err(OperationError::Refused)?;
        self.lock(&mandate, &plan).await?;
        let plan = match self.plan_again(&request, &plan).await {
            Ok(plan) => plan,
            Err(refused) => {
                self.unlock(&mandate, &plan.locked).await;
                return Err(OperationError::Refused(refused));
            }
        };
        tracing::info!(kind = plan.kind, about = %plan.about, "operation begun");
        let (done, failed) = self.work(&mandate, &plan).await;
        self.unlock(&mandate, &plan.locked).await;
        self.look_at(plan.touched()).await;
        let performed = self.conclude(plan, done, failed, by)?;
        self.tell(&performed.plan).await;
        Ok(performed)
    }

    /// Somebody else may have moved the servers before they were locked.
    async fn plan_again(&self, request: &Request, plan: &Plan) -> Result<Plan, Refused> {
        if plan.locked.is_empty() {
            return Ok(plan.clone());
        }
        let fleet = self.look_around(request).await;
        let again = relocate::plan(&fleet, &self.known(), request)?;
        if again.locked.is_subset(&plan.locked) {
            return Ok(Plan { locked: plan.locked.clone(), ..again });
        }
        Err(Refused(format!("{}: its surroundings changed meanwhile; try again", plan.about)))
    }

    /// Looks at the servers a request is about, and at those next to them.
    async fn look_around(&self, request: &Request) -> Arc<FleetSnapshot> {
        for keys in relocate::looked_at(&self.fleet(), request) {
            self.look_at(keys).await;
        }
        self.fleet()
    }

    /// The fleet learns how these servers stand now. One that does not answer is known by that.
    async fn look_at(&self, keys: BTreeSet<InstanceKey>) {
        let looks = keys.into_iter().map(|key| self.discovery.discover(key));
        stream::iter(looks).buffer_unordered(LOOKS_PARALLEL).for_each(|_| async {}).await;
    }

    /// Keeps others from operating on the servers of a plan, or gives back those it got. Where
    /// nobody has to be kept from anything, the ledger only takes note.
    async fn lock(&self, mandate: &Mandate, plan: &Plan) -> Result<(), OperationError> {
        let reason: Arc<str> = plan.reason().into();
        let now = self.clock.now();
        if plan.locked.is_empty() {
            // Nothing is done to a server that was not agreed upon (I2).
            let (key, what) = (plan.about.clone(), plan.kind.into());
            let note = Command::NoteOperation { key, what, at: now };
            return mandate.propose(note).await.map(drop).map_err(OperationError::Locked);
        }
        // The ledger takes the very same said twice as said once; no two operations say it.
        let serial = Duration::from_micros(SERIAL.fetch_add(1, Ordering::Relaxed));
        let ends_at = now.plus(LOCKED_AT_MOST).plus(serial);
        let mut locked = BTreeSet::new();
        for key in &plan.locked {
            let command = Command::BeginMaintenance {
                key: key.clone(),
                owner: OWNER.into(),
                reason: Arc::clone(&reason),
                begins_at: now,
                ends_at,
            };
            self.locks.locked().insert(key.clone(), mandate.term());
            if let Err(error) = mandate.propose(command).await {
                self.locks.locked().remove(key);
                self.unlock(mandate, &locked).await;
                return Err(OperationError::Locked(error));
            }
            locked.insert(key.clone());
        }
        Ok(())
    }

    async fn unlock(&self, mandate: &Mandate, keys: &BTreeSet<InstanceKey>) {
        for key in keys {
            let command = Command::EndMaintenance { key: key.clone() };
            if let Err(error) = mandate.propose(command).await {
                tracing::warn!(%key, %error, "cannot end maintenance; it will run out");
            }
            self.locks.locked().remove(key);
        }
    }

    /// Does what is planned; the servers it succeeded for and those it failed for.
    async fn work(
        &self,
        mandate: &Mandate,
        plan: &Plan,
    ) -> (Vec<InstanceKey>, Vec<(InstanceKey, String)>) {
        let mut done = Vec::new();
        let mut failed: Vec<(InstanceKey, String)> =
            plan.left_out.iter().map(|(key, why)| (key.clone(), why.to_string())).collect();
        let mut crew = Crew::acting(self, mandate);
        let prepared = crew.take(plan.before.clone()).await;
        match prepared {
            Ok(()) => {
                let units = plan.units.clone().into_iter().map(|unit| {
                    let crew = Crew::acting(self, mandate);
                    async move { (unit.subject.clone(), crew.run(&unit).await) }
                });
                let mut ended = stream::iter(units).buffer_unordered(plan.parallel.max(1));
                while let Some((subject, outcome)) = ended.next().await {
                    match outcome {
                        Ok(()) => done.push(subject),
                        Err(why) => failed.push((subject, why)),
                    }
                }
            }
            Err(why) => failed.push((plan.about.clone(), why)),
        }
        for key in &plan.restarts {
            if let Err(why) = crew.start(key).await {
                failed.push((key.clone(), why));
            }
        }
        done.sort();
        (done, failed)
    }

    fn conclude(
        &self,
        plan: Plan,
        done: Vec<InstanceKey>,
        failed: Vec<(InstanceKey, String)>,
        by: &str,
    ) -> Result<Performed, OperationError> {
        let reasons: Vec<String> = failed.iter().map(|(_, why)| why.clone()).collect();
        let is_failed = done.is_empty() && !failed.is_empty();
        let mut message = plan.summary(done.len(), &reasons);
        if is_failed {
            message = reasons.join("; ");
        } else if !plan.notes.is_empty() {
            message = format!("{message} ({})", plan.notes.join("; "));
        }
        let outcome = if is_failed { "failed: " } else { "" };
        self.record(plan.kind, &plan.about, format!("{outcome}{message} ({by})"));
        if is_failed {
            tracing::warn!(kind = plan.kind, about = %plan.about, message, "operation failed");
            return Err(OperationError::Failed(message));
        }
        tracing::info!(kind = plan.kind, about = %plan.about, message, "operation done");
        Ok(Performed { message, plan, done, failed })
    }
}

/// How the servers of a plan stand, as the fleet knows them.
fn readings(fleet: &FleetSnapshot, plan: &Plan) -> Seen {
    let known = |key: InstanceKey| {
        let instance: Instance = (**fleet.instance(&key)?).clone();
        Some((key, instance))
    };
    plan.touched().into_iter().filter_map(known).collect()
}
