//! The in-memory fleet as a target of actions, and what can go wrong with them.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::action::{Action, Until};
use baton_topology::gtid::{GtidSet, Gtids};
use baton_topology::instance::{FailureKind, ProbeFailure, ThreadState};
use baton_topology::key::InstanceKey;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::{FakeFleet, FakeTarget, Fault, SESSION_DEADLINE, State, failure};
use crate::ports::{ActionFailure, Control, ControlSession, Reading};

/// What goes wrong with an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionFault {
    /// The server refuses it; it is not done.
    Refuse,
    /// The connection breaks before it is done.
    LoseBefore,
    /// The connection breaks after it is done.
    LoseAfter,
    /// Nothing happens until the time is up; it is not done.
    Hang,
    /// Nothing happens, and the session forgets the time too.
    HangForever,
    /// The server dies instead.
    Die,
    /// The server does it and dies.
    DieAfter,
    /// Whoever asks panics.
    Panic,
}

impl FakeFleet {
    /// Lets the `nth` action of a server from now on fail; the next one is the first.
    pub fn fail_action(&self, key: &InstanceKey, nth: u64, fault: ActionFault) {
        if let Some(server) = self.state().server_mut(key) {
            server.action_faults.insert(server.acts + nth, fault);
        }
    }

    /// Every action that reached a server, in order, whatever became of it.
    pub fn actions(&self) -> Vec<(InstanceKey, Action)> {
        self.state().actions.clone()
    }

    /// The actions that reached one server, in order.
    pub fn actions_on(&self, key: &InstanceKey) -> Vec<Action> {
        let state = self.state();
        let key = state.canonical(key);
        let of_it = state.actions.iter().filter(|(on, _)| *on == key);
        of_it.map(|(_, action)| action.clone()).collect()
    }

    /// The servers that accept writes now.
    pub fn writable(&self) -> Vec<InstanceKey> {
        let state = self.state();
        let open = state.servers.iter().filter(|(_, server)| server.is_writable());
        open.map(|(key, _)| key.clone()).collect()
    }

    /// Every time an action opened a server while another, that ever replicated from it or was
    /// replicated by it (through others too), was open: the opened one and the other (I6).
    pub fn two_writable(&self) -> Vec<(InstanceKey, InstanceKey)> {
        self.state().two_writable.clone()
    }

    /// Carries out an action that reached the server.
    fn carry_out(&self, key: &InstanceKey, action: &Action) -> Result<(), ActionFailure> {
        let mut state = self.state();
        let done = state.obey(key, action);
        self.settle(state, key);
        done
    }

    /// Notes an action; tells what goes wrong with it.
    fn arrive(&self, key: &InstanceKey, action: &Action) -> Option<ActionFault> {
        let mut state = self.state();
        let key = state.canonical(key);
        let server = state.server_mut(&key)?;
        server.acts += 1;
        let fault = server.action_faults.remove(&server.acts);
        state.actions.push((key, action.clone()));
        fault
    }

    async fn act(
        &self,
        key: &InstanceKey,
        action: &Action,
        at_most: Duration,
    ) -> Result<(), ActionFailure> {
        self.reach(key, at_most).await?;
        match self.arrive(key, action) {
            None => {}
            Some(ActionFault::Refuse) => {
                return Err(ActionFailure::Refused("error 1105: refused on purpose".into()));
            }
            Some(ActionFault::LoseBefore) => return Err(lost()),
            Some(ActionFault::LoseAfter) => {
                self.carry_out(key, action)?;
                return Err(lost());
            }
            Some(ActionFault::Hang) => {
                tokio::time::sleep(at_most).await;
                return Err(too_late(at_most));
            }
            Some(ActionFault::HangForever) => std::future::pending().await,
            Some(ActionFault::Panic) => panic!("on purpose, over {key}"),
            Some(ActionFault::Die) => {
                self.kill(key);
                return Err(lost());
            }
            Some(ActionFault::DieAfter) => {
                self.carry_out(key, action)?;
                self.kill(key);
                return Err(lost());
            }
        }
        if let Action::WaitExecuted { until, at_most: limit } = action {
            return self.wait(key, until, at_most.min(*limit)).await;
        }
        self.carry_out(key, action)
    }

    /// Gets as far as the server in the state it is in.
    async fn reach(&self, key: &InstanceKey, at_most: Duration) -> Result<(), ActionFailure> {
        let fault = self.state().server(key).map_or(Fault::Dead, |(_, server)| server.fault);
        let kind_and_text = match fault {
            Fault::None => return Ok(()),
            Fault::Dead => (FailureKind::Connect, "connection refused"),
            Fault::AccessDenied => (FailureKind::AccessDenied, "access denied"),
            Fault::NotAsked => (FailureKind::Local, "too many open files"),
            Fault::Garbage => (FailureKind::Protocol, "this is not MySQL"),
            Fault::HungForever => std::future::pending().await,
            Fault::Panics => panic!("the action panics on purpose"),
            Fault::Slow(time) if time < at_most => {
                tokio::time::sleep(time).await;
                let lives = self.state().server(key).is_some_and(|(_, server)| server.lives());
                return if lives { Ok(()) } else { Err(lost()) };
            }
            Fault::Slow(_) | Fault::Hung => {
                tokio::time::sleep(at_most).await;
                return Err(too_late(at_most));
            }
        };
        Err(ActionFailure::Server(failure(kind_and_text.0, kind_and_text.1)))
    }

    async fn wait(
        &self,
        key: &InstanceKey,
        until: &Until,
        at_most: Duration,
    ) -> Result<(), ActionFailure> {
        let mut changes = self.changes.subscribe();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                if let Some(done) = self.state().has_executed(key, until) {
                    return done;
                }
                // The fleet outlives the session, and with it the sender.
                let _ = changes.changed().await;
            }
        };
        let what = match until {
            Until::Gtids(gtids) => gtids.to_string(),
            Until::Source(at) => at.to_string(),
        };
        timeout(at_most, waiting).await.unwrap_or(Err(ActionFailure::Timeout { what, at_most }))
    }
}

impl State {
    /// Whether all of this is executed; `None` when not yet.
    fn has_executed(&self, key: &InstanceKey, until: &Until) -> Option<Result<(), ActionFailure>> {
        let Some((_, server)) = self.server(key).filter(|(_, server)| server.fault != Fault::Dead)
        else {
            return Some(Err(lost()));
        };
        if !server.lives() {
            return None;
        }
        let is_done = match until {
            Until::Gtids(Gtids::MySql(set)) => server.executed().contains(set),
            Until::Gtids(Gtids::None) => true,
            Until::Gtids(Gtids::MariaDb(_)) => {
                let text = "this server has no GTIDs of MariaDB";
                return Some(Err(ActionFailure::Impossible(text.into())));
            }
            Until::Source(at) => match server.facts.main_channel() {
                Some(channel) if !channel.executed.is_before(at) => true,
                Some(channel) if channel.applier == ThreadState::Running => false,
                _ => {
                    let text = "the applier does not run";
                    return Some(Err(ActionFailure::Refused(text.into())));
                }
            },
        };
        is_done.then_some(Ok(()))
    }
}

fn lost() -> ActionFailure {
    ActionFailure::Server(failure(FailureKind::ConnectionLost, "the connection broke"))
}

fn too_late(at_most: Duration) -> ActionFailure {
    let text = format!("no answer within {} ms", at_most.as_millis());
    ActionFailure::Server(failure(FailureKind::Timeout, &text))
}

impl Control for FakeTarget {
    fn control(&self, key: &InstanceKey) -> Box<dyn ControlSession> {
        Box::new(FakeControl { fleet: Arc::clone(&self.0), key: key.clone() })
    }
}

#[derive(Debug)]
struct FakeControl {
    fleet: Arc<FakeFleet>,
    key: InstanceKey,
}

impl ControlSession for FakeControl {
    fn look(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        let fault = self.fleet.state().server(&self.key).map_or(Fault::Dead, |(_, it)| it.fault);
        async move { self.fleet.look(&self.key, fault).await }.boxed()
    }

    fn act<'a>(
        &'a mut self,
        action: &'a Action,
        at_most: Duration,
    ) -> BoxFuture<'a, Result<(), ActionFailure>> {
        self.fleet.act(&self.key, action, at_most).boxed()
    }

    /// A server in memory closes at once.
    fn is_closing(&mut self) -> BoxFuture<'_, bool> {
        std::future::ready(true).boxed()
    }

    /// A server in memory has all it executed in its newest binary log.
    fn logs_with<'a>(
        &'a mut self,
        transactions: &'a GtidSet,
    ) -> BoxFuture<'a, Result<Vec<String>, ActionFailure>> {
        async move {
            self.fleet.reach(&self.key, SESSION_DEADLINE).await?;
            let state = self.fleet.state();
            let found = state.server(&self.key);
            let found = found.filter(|(_, it)| !it.executed().intersect(transactions).is_empty());
            Ok(found.map(|(_, it)| it.facts.binlog.position.file.clone()).into_iter().collect())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
