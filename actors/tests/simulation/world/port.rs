//! How a baton reaches servers: over the network, and as late as that lets it.

use std::sync::Arc;
use std::time::Duration;

use baton_actors::ports::{
    ActionFailure, Control, ControlSession, Parting, ProbeSession, ProbeTarget, Reading,
};
use baton_topology::action::{Action, Switch, Threads, Until};
use baton_topology::gtid::Gtids;
use baton_topology::instance::{FailureKind, ProbeFailure};
use baton_topology::key::InstanceKey;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::mysql::mariadb::position;
use super::mysql::{Flavor, Line, Power, Server};
use super::net::End;
use super::sim::{Inner, Sim};

/// How long an answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether what is waited for has come about.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// One baton's way to all servers.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) sim: Arc<Sim>,
    pub(crate) node: usize,
}

struct Session {
    reach: Reach,
    key: InstanceKey,
}

impl ProbeTarget for Reach {
    fn session(&self, key: &InstanceKey) -> Box<dyn ProbeSession> {
        Box::new(Session { reach: self.clone(), key: key.clone() })
    }
}

impl Control for Reach {
    fn control(&self, key: &InstanceKey) -> Box<dyn ControlSession> {
        Box::new(Session { reach: self.clone(), key: key.clone() })
    }
}

fn failure(kind: FailureKind, message: &str) -> ProbeFailure {
    ProbeFailure { kind, partial: false, message: message.into() }
}

fn silence() -> ProbeFailure {
    failure(FailureKind::Timeout, "no answer in time")
}

impl Session {
    fn me(&self) -> End {
        End::Node(self.reach.node)
    }

    fn index(&self) -> Result<usize, ProbeFailure> {
        let unknown = || failure(FailureKind::Connect, "unknown host");
        self.reach.sim.lock().index_of(&self.key).ok_or_else(unknown)
    }

    /// Gets as far as the server, and tells which one that is.
    async fn go(&self, patience: Duration) -> Result<usize, ProbeFailure> {
        let server = self.index()?;
        let sim = &self.reach.sim;
        if !sim.travel(self.me(), End::Server(server)).await {
            tokio::time::sleep(patience).await;
            return Err(silence());
        }
        let power = sim.lock().servers[server].power;
        match power {
            Power::Up => Ok(server),
            Power::Dead => {
                self.back(server, patience).await?;
                Err(failure(FailureKind::Connect, "connection refused"))
            }
            Power::Hung | Power::Gone => {
                tokio::time::sleep(patience).await;
                Err(silence())
            }
        }
    }

    async fn back(&self, server: usize, patience: Duration) -> Result<(), ProbeFailure> {
        if self.reach.sim.travel(End::Server(server), self.me()).await {
            return Ok(());
        }
        tokio::time::sleep(patience).await;
        Err(silence())
    }

    async fn read(&self) -> Result<Reading, ProbeFailure> {
        let server = self.go(ANSWER_WITHIN).await?;
        let facts = {
            let inner = self.reach.sim.lock();
            inner.servers[server].facts(&inner.servers, inner.now)
        };
        self.back(server, ANSWER_WITHIN).await?;
        Ok(Reading { canonical: self.key.clone(), facts })
    }

    async fn carry_out(&self, action: &Action, at_most: Duration) -> Result<(), ActionFailure> {
        let server = self.go(at_most).await.map_err(ActionFailure::Server)?;
        let done = self.done(server, action, at_most).await;
        self.back(server, at_most).await.map_err(ActionFailure::Server)?;
        done
    }

    /// What the server does when the action has reached it.
    async fn done(
        &self,
        server: usize,
        action: &Action,
        at_most: Duration,
    ) -> Result<(), ActionFailure> {
        let sim = &self.reach.sim;
        let boot = sim.lock().servers[server].boot;
        match action {
            Action::SetReadOnly => {
                let _closing = Closing::begin(sim, server);
                let is_closed = |it: &mut Server| {
                    let is_still = it.waiting.is_empty();
                    it.read_only |= is_still;
                    is_still
                };
                self.until(server, boot, at_most, is_closed).await
            }
            Action::WaitExecuted { until: Until::Gtids(Gtids::MySql(set)), at_most: limit } => {
                let is_there = |it: &mut Server| it.executed.contains(set);
                self.until(server, boot, at_most.min(*limit), is_there).await
            }
            Action::WaitExecuted { until: Until::Gtids(Gtids::MariaDb(at)), at_most: limit } => {
                let is_there = |it: &mut Server| position(&it.replicated).contains(at);
                self.until(server, boot, at_most.min(*limit), is_there).await
            }
            Action::Stop(threads) => {
                let pause = sim.lock().stop(server, *threads);
                tokio::time::sleep(pause).await;
                Ok(())
            }
            other => {
                let mut inner = sim.lock();
                inner.obey(self.reach.node, server, other)
            }
        }
    }

    async fn until(
        &self,
        server: usize,
        boot: u64,
        at_most: Duration,
        mut is_so: impl FnMut(&mut Server) -> bool,
    ) -> Result<(), ActionFailure> {
        let rounds = at_most.as_millis() / LOOK_EVERY.as_millis();
        for _ in 0..=rounds {
            {
                let mut inner = self.reach.sim.lock();
                let it = &mut inner.servers[server];
                if it.boot != boot || matches!(it.power, Power::Dead | Power::Gone) {
                    let lost = failure(FailureKind::ConnectionLost, "the connection broke");
                    return Err(ActionFailure::Server(lost));
                }
                if it.is_up() && is_so(it) {
                    return Ok(());
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(ActionFailure::Timeout { what: "it".into(), at_most })
    }
}

/// A server that was told to refuse writes accepts no new ones. It ends that, one way or the other,
/// also when whoever told it dies meanwhile.
struct Closing {
    sim: Arc<Sim>,
    server: usize,
    boot: u64,
}

impl Closing {
    fn begin(sim: &Arc<Sim>, server: usize) -> Self {
        let mut inner = sim.lock();
        inner.servers[server].is_closing = true;
        Self { sim: Arc::clone(sim), server, boot: inner.servers[server].boot }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let mut inner = self.sim.lock();
        let it = &mut inner.servers[self.server];
        if it.boot == self.boot {
            it.read_only |= it.waiting.is_empty();
            it.is_closing = false;
        }
    }
}

impl ProbeSession for Session {
    fn probe(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        self.read().boxed()
    }

    fn park(&self) -> BoxFuture<'static, Parting> {
        let (reach, server, me) = (self.reach.clone(), self.index(), self.me());
        async move {
            let Ok(server) = server else { return Parting::Refused };
            if !reach.sim.travel(me, End::Server(server)).await {
                tokio::time::sleep(ANSWER_WITHIN).await;
                return Parting::Refused;
            }
            let (parked, ended) = oneshot::channel();
            {
                let mut inner = reach.sim.lock();
                if !inner.servers[server].is_up() {
                    return Parting::Refused;
                }
                inner.servers[server].parked.push(parked);
            }
            // Either way it is over.
            let _ = ended.await;
            // Nobody says so when the link is cut.
            if !reach.sim.travel(End::Server(server), me).await {
                std::future::pending::<()>().await;
            }
            Parting::Broken
        }
        .boxed()
    }
}

impl ControlSession for Session {
    fn look(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        self.read().boxed()
    }

    fn act<'a>(
        &'a mut self,
        action: &'a Action,
        at_most: Duration,
    ) -> BoxFuture<'a, Result<(), ActionFailure>> {
        async move {
            let (node, key) = (self.reach.node, self.key.clone());
            {
                let mut inner = self.reach.sim.lock();
                let now = inner.now;
                inner.trace.note(now, || format!("node {node} tells {key}: {action:?}"));
                inner.check_action(node, &key, action);
            }
            let done = self.carry_out(action, at_most).await;
            let mut inner = self.reach.sim.lock();
            let now = inner.now;
            inner.trace.note(now, || format!("node {node} told {key}: {action:?}: {done:?}"));
            done
        }
        .boxed()
    }

    fn is_closing(&mut self) -> BoxFuture<'_, bool> {
        async move {
            let Ok(server) = self.go(ANSWER_WITHIN).await else { return false };
            let is_closing = self.reach.sim.lock().servers[server].is_closing;
            self.back(server, ANSWER_WITHIN).await.is_ok() && is_closing
        }
        .boxed()
    }
}

fn refused(text: &str) -> Result<(), ActionFailure> {
    Err(ActionFailure::Refused(text.into()))
}

impl Inner {
    /// Stops threads; a receiver that is connecting takes its time to end.
    fn stop(&mut self, server: usize, threads: Threads) -> Duration {
        let Some(line) = &mut self.servers[server].channel else { return Duration::ZERO };
        let is_connecting = line.receiver && !line.is_connected && line.error.is_none();
        if threads != Threads::Applier {
            line.receiver = false;
            line.error = None;
            line.disconnect();
        }
        if threads != Threads::Receiver {
            line.applier = false;
        }
        let is_slow = is_connecting && threads != Threads::Applier && self.now.is_multiple_of(3);
        Duration::from_millis(if is_slow { 900 } else { 1 })
    }

    fn obey(&mut self, node: usize, server: usize, action: &Action) -> Result<(), ActionFailure> {
        match action {
            Action::Start(threads) => {
                let it = &mut self.servers[server];
                if it.channel.is_none() {
                    return refused("error 1200: the server is not configured as replica");
                }
                it.start(*threads != Threads::Applier, *threads != Threads::Receiver);
                self.attempt_later(server);
                self.apply_later(server);
                Ok(())
            }
            Action::ChangeSource { to, .. } => {
                let Some(source) = self.index_of(to) else { return refused("unknown host") };
                let it = &mut self.servers[server];
                if it.channel.as_ref().is_some_and(|line| line.receiver || line.applier) {
                    return refused("error 3021: it cannot be done with a running replica");
                }
                let (epoch, counts_own) = match &it.channel {
                    Some(line) => (line.epoch + 1, line.counts_own),
                    None => (0, it.flavor == Flavor::MariaDb),
                };
                // What was received and not applied is dropped.
                it.channel = Some(Line { epoch, counts_own, ..Line::to(source) });
                Ok(())
            }
            Action::Detach | Action::Reattach => {
                if let Some(line) = &mut self.servers[server].channel {
                    line.is_detached = *action == Action::Detach;
                    line.disconnect();
                }
                Ok(())
            }
            Action::ForgetSource => {
                self.check_forgetting(node, server);
                self.servers[server].channel = None;
                Ok(())
            }
            Action::SetWritable => {
                self.check_opening(node, server);
                self.servers[server].read_only = false;
                self.net_since = self.net_since.max(self.now);
                Ok(())
            }
            Action::KillClients => {
                self.kill_clients(server);
                Ok(())
            }
            Action::SetSemiSyncSource(switch) => {
                self.servers[server].semi.source = *switch == Switch::On;
                if *switch == Switch::Off {
                    self.stop_waiting(server);
                }
                Ok(())
            }
            Action::SetSemiSyncReplica(switch) => {
                self.servers[server].semi.replica = *switch == Switch::On;
                Ok(())
            }
            Action::WriteNothing => {
                self.write(server, None);
                Ok(())
            }
            Action::KillQuery { .. } | Action::FlushBinaryLogs => Ok(()),
            other => Err(ActionFailure::Impossible(format!("{other:?} is not played here"))),
        }
    }
}
