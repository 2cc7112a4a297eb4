//! Carries out steps on servers, over connections of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_topology::action::{Action, LogQuestion, Place, Threads};
use baton_topology::binlog::BinlogCoordinates;
use baton_topology::gtid::GtidSet;
use baton_topology::instance::{Channel, Facts, Instance, ThreadState};
use baton_topology::key::InstanceKey;
use baton_topology::probe::{ProbeResult, fold};
use baton_topology::reading::RawTable;
use baton_topology::relocate::{Next, STAGES_MAX, Script, Seen, Step, Unit};
use futures_util::future::join_all;

use super::Workshop;
use crate::holders::{is_late, with_holders};
use crate::lateness::timeout;
use crate::mandate::Mandate;
use crate::ports::{ActionFailure, ControlSession};

/// One action takes no longer, but for those that wait by intent.
const ACTION_DEADLINE: Duration = Duration::from_secs(30);
/// The same of one that stops an applier: where that has the beginning of a transaction only, MySQL
/// gives the rest a minute to come before the thread ends, and the account may lack the right to end
/// it sooner.
const STOP_DEADLINE: Duration = Duration::from_secs(70);
/// One look takes no longer.
const LOOK_DEADLINE: Duration = Duration::from_secs(15);
/// A session that does not keep its deadline is given up so much later.
const SLACK: Duration = Duration::from_secs(1);
/// For so long threads may take to run after they were started.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether something came about.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Sessions with the servers of one unit.
pub(super) struct Crew {
    workshop: Workshop,
    /// Without one it only looks.
    mandate: Option<Mandate>,
    sessions: BTreeMap<InstanceKey, Box<dyn ControlSession>>,
}

type Done = Result<(), String>;

impl Crew {
    pub(super) fn new(workshop: &Workshop) -> Self {
        Self { workshop: workshop.clone(), mandate: None, sessions: BTreeMap::new() }
    }

    /// One that may change servers.
    pub(super) fn acting(workshop: &Workshop, mandate: &Mandate) -> Self {
        Self { mandate: Some(mandate.clone()), ..Self::new(workshop) }
    }

    /// Carries out a unit. Whatever happens, what it stopped is started again (I9).
    pub(super) async fn run(mut self, unit: &Unit) -> Done {
        let mut outcome = self.stages(unit).await;
        for key in &unit.restarts {
            if let (Err(first), Err(why)) = (&outcome, self.may_start(unit, key).await) {
                outcome = Err(format!("{first}; {why}"));
                continue;
            }
            let started = if unit.is_source_dead && *key == unit.subject {
                self.act(Step::new(key, Action::Start(Threads::Both))).await
            } else {
                self.start(key).await
            };
            let started = match (started, &unit.way_back) {
                (Err(why), Some(back)) if outcome.is_ok() && *key == unit.subject => {
                    Err(self.go_back(key, back, why).await)
                }
                (started, _) => started,
            };
            // What went wrong first says more.
            outcome = outcome.and(started);
        }
        outcome
    }

    /// A replica that does not replicate where it was moved to is moved back.
    async fn go_back(&mut self, key: &InstanceKey, to: &InstanceKey, why: String) -> String {
        let change = Action::ChangeSource { to: to.clone(), place: Place::Gtid };
        let steps = [Action::Stop(Threads::Both), change];
        let steps = steps.into_iter().map(|action| Step::new(key, action)).collect();
        let back = match self.take(steps).await {
            Ok(()) => self.start(key).await,
            failed => failed,
        };
        match back {
            Ok(()) => format!("{why}; it is back below {to}"),
            Err(also) => format!("{why}; going back below {to} failed too: {also}"),
        }
    }

    async fn may_start(&mut self, unit: &Unit, key: &InstanceKey) -> Done {
        if !matches!(unit.script, Script::DropErrant { .. }) {
            return Ok(());
        }
        let seen = self.look(std::iter::once(key)).await?;
        unit.script.may_start(&seen, key).map_err(|why| why.to_string())
    }

    async fn stages(&mut self, unit: &Unit) -> Done {
        for stage in 0..STAGES_MAX {
            let seen = match unit.script.needs_readings() {
                true => self.look(unit.script.servers()).await?,
                false => Seen::new(),
            };
            match unit.script.next(stage, &seen) {
                Next::Act(steps) => {
                    self.take(steps.clone()).await?;
                    self.workshop.learn(&steps, &seen);
                }
                Next::AwaitExecuted { key, until } => self.arrive(&key, &until).await?,
                Next::Done => return Ok(()),
                Next::Refused(why) => return Err(why.to_string()),
            }
        }
        Err(format!("{}: more than {STAGES_MAX} stages", unit.subject))
    }

    /// Takes steps: in order on each server, servers side by side.
    pub(super) async fn take(&mut self, steps: Vec<Step>) -> Done {
        let mut lanes: BTreeMap<InstanceKey, Vec<Step>> = BTreeMap::new();
        for step in steps {
            lanes.entry(step.key.clone()).or_default().push(step);
        }
        let lanes = lanes.into_iter().map(|(key, steps)| {
            let mut session = self.session(&key);
            let (workshop, mandate) = (self.workshop.clone(), self.mandate.clone());
            async move {
                for step in steps {
                    let done = act(&workshop, mandate.as_ref(), &mut session, step).await;
                    if let Err(why) = done {
                        return (key, session, Err(why));
                    }
                }
                (key, session, Ok(()))
            }
        });
        let lanes: Vec<_> = lanes.collect();
        let mut outcome = Ok(());
        for (key, session, done) in join_all(lanes).await {
            self.sessions.insert(key, session);
            outcome = outcome.and(done);
        }
        outcome
    }

    async fn act(&mut self, step: Step) -> Done {
        self.take(vec![step]).await
    }

    /// Starts replication and waits until it runs.
    pub(super) async fn start(&mut self, key: &InstanceKey) -> Done {
        self.act(Step::new(key, Action::Start(Threads::Both))).await?;
        let running = timeout(
            START_PATIENCE,
            self.until(key, |channel| match runs(channel) {
                Runs::Yes => Some(Ok(())),
                Runs::NotYet => None,
                Runs::No(why) => Some(Err(format!("{key}: replication does not run: {why}"))),
            }),
        )
        .await;
        match running {
            Ok(outcome) => outcome,
            Err(_) => {
                let told = self.read(key).await.ok();
                let channel = told.as_ref().and_then(Facts::main_channel);
                let why = channel.map_or(String::new(), |it| it.receiver_error.text.clone());
                Err(format!("{key}: instance is not replicating; causing error: {why}"))
            }
        }
    }

    /// Waits until the applier has come to a place in its source's log.
    async fn arrive(&mut self, key: &InstanceKey, place: &BinlogCoordinates) -> Done {
        let at_most = self.workshop.fleet().policy.moves.catch_up;
        let arrived = self.until(key, |channel| {
            if !channel.executed.is_before(place) {
                return Some(Ok(()));
            }
            let error = &channel.applier_error.text;
            (!error.is_empty()).then(|| Err(format!("{key}: its applier failed: {error}")))
        });
        let late = |_| Err(format!("{key} did not come to {place} of its source's log in time"));
        timeout(at_most, arrived).await.unwrap_or_else(late)
    }

    /// Looks at the main channel of a server again and again.
    async fn until(
        &mut self,
        key: &InstanceKey,
        mut settled: impl FnMut(&Channel) -> Option<Done>,
    ) -> Done {
        loop {
            let facts = self.read(key).await?;
            let Some(channel) = facts.main_channel() else {
                return Err(format!("instance is not a replica: {key}"));
            };
            if let Some(outcome) = settled(channel) {
                return outcome;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How servers stand now.
    async fn look(&mut self, keys: impl Iterator<Item = &InstanceKey>) -> Result<Seen, String> {
        let mut seen = Seen::new();
        for key in keys {
            let started_at = self.workshop.clock.now();
            let facts = self.read(key).await?;
            let ended_at = self.workshop.clock.now();
            let outcome = Ok(Arc::new(facts));
            let (name, silent_since) = (key.clone(), None);
            let probe = ProbeResult { key: name, started_at, ended_at, outcome, silent_since };
            let before = self.workshop.fleet().instance(key).map(|it| (**it).clone());
            let instance: Instance = fold(before.as_ref(), &probe);
            seen.insert(key.clone(), instance);
        }
        Ok(seen)
    }

    async fn read(&mut self, key: &InstanceKey) -> Result<Facts, String> {
        let mut session = self.session(key);
        let read = timeout(LOOK_DEADLINE, session.look()).await;
        self.sessions.insert(key.clone(), session);
        match read {
            Ok(Ok(reading)) => Ok(reading.facts),
            Ok(Err(failure)) => Err(format!("{key}: {}", failure.message)),
            Err(_) => Err(format!("{key} does not answer")),
        }
    }

    /// The binary logs of a server that hold any of these transactions.
    pub(super) async fn logs_with(
        mut self,
        key: &InstanceKey,
        transactions: &GtidSet,
    ) -> Result<Vec<String>, String> {
        let mut session = self.session(key);
        let found = timeout(ACTION_DEADLINE, session.logs_with(transactions)).await;
        let late = |_| Err(ActionFailure::Refused("it does not answer".into()));
        found.unwrap_or_else(late).map_err(|why| format!("{key}: {why}"))
    }

    /// Asks a server about its binary logs.
    pub(super) async fn ask(
        &mut self,
        key: &InstanceKey,
        question: &LogQuestion,
    ) -> Result<RawTable, String> {
        let mut session = self.session(key);
        let answer = timeout(ACTION_DEADLINE, session.ask(question)).await;
        self.sessions.insert(key.clone(), session);
        let late = |_| Err(ActionFailure::Refused("it does not answer".into()));
        answer.unwrap_or_else(late).map_err(|why| format!("{key}: {why}"))
    }

    fn session(&mut self, key: &InstanceKey) -> Box<dyn ControlSession> {
        let new = || {
            let mut session = self.workshop.control.control(key);
            if let Some(known) = self.workshop.fleet().instance(key) {
                session.leave_alone(&known.facts.imports);
            }
            session
        };
        self.sessions.remove(key).unwrap_or_else(new)
    }
}

async fn act(
    workshop: &Workshop,
    mandate: Option<&Mandate>,
    session: &mut Box<dyn ControlSession>,
    step: Step,
) -> Done {
    let Step { key, action } = step;
    let mandate = mandate.ok_or_else(|| format!("{key} may only be looked at"))?;
    mandate.check().await.map_err(|error| format!("{key}: {error}"))?;
    leave_to_recovery(workshop, &key)?;
    let action = by_virtual_name(workshop, action);
    let at_most = match &action {
        Action::WaitExecuted { at_most, .. } => *at_most,
        Action::Stop(Threads::Both | Threads::Applier) | Action::ForgetSource => STOP_DEADLINE,
        _ => ACTION_DEADLINE,
    };
    let what = baton_topology::relocate::words(&action);
    tracing::debug!(%key, what, "step");
    let done = tokio::select! {
        biased;
        error = mandate.lost() => return Err(format!("{key}: {what}: {error}")),
        done = timeout(at_most + SLACK, session.act(&action, at_most)) => done,
    };
    match done {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) if is_late(&failure) => {
            let mut aside = workshop.control.control(&key);
            Err(format!("{key}: {what}: {}", with_holders(failure, &mut *aside).await))
        }
        Ok(Err(failure)) => Err(format!("{key}: {what}: {failure}")),
        Err(_) => Err(format!("{key}: {what}: no answer within {} s", at_most.as_secs())),
    }
}

/// A recovery is about to give a server its place: whoever moved it meanwhile would undo that.
fn leave_to_recovery(workshop: &Workshop, key: &InstanceKey) -> Done {
    let ledger = workshop.ledger.state().borrow().clone();
    let recovery = ledger.recoveries.values().find(|it| it.is_running() && it.changes(key));
    recovery.map_or(Ok(()), |it| {
        Err(format!("{key} is left to recovery {} of {}, which is under way", it.id, it.failed()))
    })
}

/// A source is named as somebody registered it to be named.
fn by_virtual_name(workshop: &Workshop, action: Action) -> Action {
    let Action::ChangeSource { to, place } = action else { return action };
    let ledger = workshop.ledger.state().borrow().clone();
    let to = match ledger.virtual_names.get(&to) {
        Some(name) => InstanceKey::new(Arc::clone(&name.hostname), to.port()),
        None => to,
    };
    Action::ChangeSource { to, place }
}

/// Whether a channel replicates.
enum Runs {
    Yes,
    NotYet,
    No(String),
}

fn runs(channel: &Channel) -> Runs {
    if channel.is_running() {
        return Runs::Yes;
    }
    let error = &channel.applier_error.text;
    if channel.applier != ThreadState::Running && !error.is_empty() {
        return Runs::No(error.clone());
    }
    // A receiver that stopped by itself will not try again.
    let error = &channel.receiver_error.text;
    if channel.receiver == ThreadState::Stopped && !error.is_empty() {
        return Runs::No(error.clone());
    }
    Runs::NotYet
}
