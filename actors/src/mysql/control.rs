//! Changes one server over one connection: sends the words for an action and reads how it went.
//!
//! What the words are is decided in [`baton_topology::action`]. Nothing is ever sent twice: a
//! connection that breaks while an action runs leaves it open whether it is done.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_topology::action::{
    self, Action, Credentials, Expectation, LIST_EVERYBODY, LogQuestion, LogSearch, Statement,
    Threads, Until, Waited, WordingOptions,
};
use baton_topology::gtid::GtidSet;
use baton_topology::instance::{Channel, Facts, FailureKind, ProbeFailure, ThreadState};
use baton_topology::reading::{RawTable, Row};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mysql_async::{Error, ServerError};
use tokio::time::Instant;
use tracing::debug;

use super::ReplicationCredentials;
use super::failure::{self, Phase};
use super::session::{Live, MySqlSession};
use crate::lateness::timeout;
use crate::ports::{ActionFailure, ControlSession, ProbeSession, Reading};

/// A wait ends this long before the deadline, so that the server's own answer is in by then.
const ANSWER_TAKES: Duration = Duration::from_millis(100);

/// A wait for a place in a log ends so long before the deadline: there may be more to ask then.
const QUESTIONS_TAKE: Duration = Duration::from_millis(600);
/// How long after the first look whether a server has nothing left comes the second.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Who has not stopped by then may wait for the rest of a transaction.
const STOPS_WITHIN: Duration = Duration::from_millis(300);
/// The same, where it is known before that a thread does not stop.
const STOPS_AT_ONCE_WITHIN: Duration = Duration::from_millis(20);

/// What MySQL keeps of the account it replicates with.
const KEPT_CREDENTIALS: &str = "SELECT * FROM mysql.slave_master_info ORDER BY Channel_name";

/// `ER_NO_SUCH_THREAD`: whom we want to end is gone already.
const NO_SUCH_THREAD: u16 = 1094;

/// A conversation in which a server is changed.
pub(super) struct MySqlControl {
    session: MySqlSession,
    /// What the newest look read.
    facts: Option<Facts>,
    /// Whether an action changed which channels there are.
    is_outdated: bool,
    /// Whether the server was told what it was asked to do last.
    is_told: bool,
    lent: Option<Credentials>,
    /// Channels that no action is about.
    imports: BTreeSet<String>,
}

impl MySqlControl {
    pub(super) fn new(session: MySqlSession) -> Self {
        let imports = BTreeSet::new();
        Self { session, facts: None, is_outdated: false, is_told: false, lent: None, imports }
    }

    async fn look_now(&mut self) -> Result<Reading, ProbeFailure> {
        let mut reading = self.session.probe().await?;
        reading.facts.note_imports(&self.imports);
        self.imports.extend(reading.facts.imports.iter().cloned());
        self.facts = Some(reading.facts.clone());
        self.is_outdated = false;
        Ok(reading)
    }

    async fn act_by(&mut self, action: &Action, deadline: Instant) -> Result<(), ActionFailure> {
        let is_about_source = is_about_source(action);
        let is_outdated = self.is_outdated && *action == Action::ForgetSource;
        let must_look = self.facts.is_none() || is_about_source || is_outdated;
        if must_look {
            self.look_now().await.map_err(ActionFailure::Server)?;
        }
        let facts = self.facts.clone().unwrap_or_default();
        let options = WordingOptions {
            credentials: self.credentials_for(action, &facts).await,
            heartbeat: self.heartbeat_for(action, &facts).await,
        };
        let clamped = clamped(action, deadline);
        let action = clamped.as_ref().unwrap_or(action);
        let statements =
            action::statements(action, &facts, &options).map_err(ActionFailure::Impossible)?;
        if statements.is_empty() {
            return Ok(());
        }
        // Taken: whatever goes wrong, a connection in an unknown state is not used again.
        let mut live = self.session.take().await.map_err(ActionFailure::Server)?;
        self.is_told = true;
        self.is_outdated |= is_about_source || *action == Action::ForgetSource;
        let mut prelude = Some(prelude(deadline));
        for statement in &statements {
            debug!(statement = statement.shown(), "changing a server");
            let outcome = match statement.expects() {
                Expectation::Nothing if is_stop(action) => {
                    let aside = self.session.again();
                    let stop = (statement, action);
                    run_and_end_waits(&mut live, prelude.take(), stop, aside, &facts).await
                }
                Expectation::Nothing => run(&mut live, prelude.take(), statement).await,
                Expectation::Processlist => self.end_clients(&mut live, statement).await,
                Expectation::ExecutedGtids | Expectation::ReachedPosition => {
                    wait(&mut live, statement, action).await
                }
            };
            match outcome {
                Ok(()) => {}
                Err(Failed::TooLate(failure)) => {
                    self.session.give_back(live);
                    let is_done = self.has_nothing_left(action).await;
                    return if is_done { Ok(()) } else { Err(failure) };
                }
                Err(Failed::Otherwise(failure)) => return Err(failure),
            }
        }
        self.session.give_back(live);
        Ok(())
    }

    async fn search_logs(&mut self, wanted: &GtidSet) -> Result<Vec<String>, ActionFailure> {
        if self.facts.is_none() {
            self.look_now().await.map_err(ActionFailure::Server)?;
        }
        if self.facts.as_ref().is_none_or(|facts| !facts.gtid.is_supported()) {
            let text = "only binary logs of MySQL with GTIDs can be searched";
            return Err(ActionFailure::Impossible(text.into()));
        }
        let mut live = self.session.take().await.map_err(ActionFailure::Server)?;
        let executed = query(&mut live, action::EXECUTED_GTIDS).await?;
        let executed = executed.first().and_then(|row| row.at(0)).unwrap_or_default();
        let mut search = LogSearch::new(wanted, gtids(&executed)?);
        let logs = query(&mut live, action::LIST_BINARY_LOGS).await?;
        let names: Vec<String> = logs.rows().map(|row| row.text("Log_name")).collect();
        for name in names.iter().rev() {
            if search.is_complete() {
                break;
            }
            let events = query(&mut live, &action::beginning_of_log(name)).await?;
            let is_wanted = |row: &Row<'_>| row.text("Event_type") == action::PREVIOUS_GTIDS;
            let before = events.rows().find(is_wanted).map(|row| row.text("Info"));
            search.examine(name, gtids(&before.unwrap_or_default())?);
        }
        self.session.give_back(live);
        search.finish().map_err(ActionFailure::Refused)
    }

    /// Whether a place in a log is never reached, because the source died in the middle of a
    /// transaction, and all before that is applied. It must have been read up to there, and while it
    /// receives, more may come. Asked twice: a thread that was just given work may not say so yet.
    async fn has_nothing_left(&mut self, action: &Action) -> bool {
        let Action::WaitExecuted { until: Until::Source(place), .. } = action else { return false };
        let mut before = None;
        for _ in 0..2 {
            let Ok(Reading { facts, .. }) = self.look_now().await else { return false };
            let channel = facts.main_channel().filter(|it| it.receiver != ThreadState::Running);
            let has_read = |it: &&Channel| it.has_read_all && !it.read.is_before(place);
            let Some(channel) = channel.filter(has_read) else { return false };
            let list = action::list_appliers(&facts);
            let appliers = read_if_possible(&mut self.session, list).await;
            let is_idle = appliers.as_ref().is_some_and(action::have_nothing_left);
            let moved = before.as_ref().is_some_and(|it| *it != channel.executed);
            if !is_idle || moved {
                return false;
            }
            before = Some(channel.executed.clone());
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        true
    }

    /// Ends the connections of clients, all that let themselves be ended.
    async fn end_clients(&self, live: &mut Live, listing: &Statement) -> Result<(), Failed> {
        let us = self.session.shared().options.user.as_str();
        let listed = query(live, listing.text()).await;
        let listed = match listed {
            Ok(table) if action::is_listed(&table, us) => table,
            // Refused, or empty because the server keeps no such table.
            Ok(_) | Err(Failed::Otherwise(ActionFailure::Refused(_))) => {
                query(live, LIST_EVERYBODY).await?
            }
            Err(failure) => return Err(failure),
        };
        let mut refusals = Vec::new();
        let ids = action::to_end(&listed, us);
        for id in &ids {
            match live.connection.run(&format!("KILL {id}")).await {
                Ok(()) => {}
                Err(Error::Server(refusal)) if refusal.code == NO_SUCH_THREAD => {}
                Err(Error::Server(refusal)) => refusals.push(failure::server_text(&refusal)),
                Err(error) => return Err(failed(&error).into()),
            }
        }
        match refusals.first() {
            None => Ok(()),
            Some(first) => {
                let (kept, all) = (refusals.len(), ids.len());
                let text = format!("{kept} of {all} clients are still connected: {first}");
                Err(ActionFailure::Refused(text).into())
            }
        }
    }

    /// The heartbeat period, for an action that makes the server forget it.
    async fn heartbeat_for(&mut self, action: &Action, facts: &Facts) -> Option<Duration> {
        let changes = is_about_source(action) || matches!(action, Action::SetDelay { .. });
        let has_one = changes && facts.main_channel().is_some();
        let question = has_one.then(|| action::ask_heartbeat(facts))?;
        let answer = read_if_possible(&mut self.session, &question).await?;
        action::heartbeat(&answer, facts)
    }

    /// Credentials for an action that may need some.
    async fn credentials_for(&mut self, action: &Action, facts: &Facts) -> Option<Credentials> {
        let to = match action {
            Action::RenewCredentials => None,
            Action::ChangeSource { to, .. } if lacks_credentials(facts) => Some(to),
            _ => return None,
        };
        if to.is_some() && self.lent.is_some() {
            return self.lent.clone();
        }
        if let ReplicationCredentials::ByQuery(query) =
            self.session.shared().options.replication_credentials.clone()
        {
            let here = read_if_possible(&mut self.session, query.text()).await;
            let here = here.as_ref().and_then(Credentials::from_query);
            if here.is_some() || to.is_none() {
                return here;
            }
            // The table it reads may not have got here.
            let there = read_if_possible(&mut self.session.beside(to?), query.text()).await;
            return there.as_ref().and_then(Credentials::from_query);
        }
        let mut source = self.session.beside(to?);
        let kept = read_if_possible(&mut source, KEPT_CREDENTIALS).await;
        kept.as_ref().and_then(Credentials::from_metadata)
    }
}

impl ControlSession for MySqlControl {
    fn look(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        self.look_now().boxed()
    }

    fn act<'a>(
        &'a mut self,
        action: &'a Action,
        at_most: Duration,
    ) -> BoxFuture<'a, Result<(), ActionFailure>> {
        async move {
            let deadline = Instant::now() + at_most;
            self.is_told = false;
            let acted =
                timeout(at_most, self.act_by(action, deadline)).await.unwrap_or_else(|_| {
                    let text = format!("no answer within {} ms", at_most.as_millis());
                    Err(ActionFailure::Server(failure::new(FailureKind::Timeout, text)))
                });
            match acted {
                Err(ActionFailure::Server(failure))
                    if matches!(action, Action::Stop(_)) && !self.is_told =>
                {
                    Err(ActionFailure::Server(untold(failure)))
                }
                acted => acted,
            }
        }
        .boxed()
    }

    fn is_closing(&mut self) -> BoxFuture<'_, bool> {
        async move {
            let deadline = self.session.shared().options.probe_deadline;
            let reading = read_if_possible(&mut self.session, LIST_EVERYBODY);
            let listed = timeout(deadline, reading).await.ok().flatten();
            listed.is_some_and(|table| action::is_closing(&table))
        }
        .boxed()
    }

    fn holders(&mut self) -> BoxFuture<'_, Vec<String>> {
        async move {
            let deadline = self.session.shared().options.probe_deadline;
            let us = self.session.shared().options.user.clone();
            let reading = read_if_possible(&mut self.session, LIST_EVERYBODY);
            let listed = timeout(deadline, reading).await.ok().flatten();
            listed.map(|table| action::holders(&table, &us)).unwrap_or_default()
        }
        .boxed()
    }

    fn logs_with<'a>(
        &'a mut self,
        transactions: &'a GtidSet,
    ) -> BoxFuture<'a, Result<Vec<String>, ActionFailure>> {
        self.search_logs(transactions).boxed()
    }

    fn ask<'a>(
        &'a mut self,
        question: &'a LogQuestion,
    ) -> BoxFuture<'a, Result<RawTable, ActionFailure>> {
        async move {
            let mut live = self.session.take().await.map_err(ActionFailure::Server)?;
            let answer = query(&mut live, &question.statement()).await?;
            self.session.give_back(live);
            Ok(answer)
        }
        .boxed()
    }

    fn credentials(&mut self) -> BoxFuture<'_, Option<Credentials>> {
        async move {
            let deadline = self.session.shared().options.probe_deadline;
            let reading = read_if_possible(&mut self.session, KEPT_CREDENTIALS);
            let kept = timeout(deadline, reading).await.ok().flatten();
            kept.as_ref().and_then(Credentials::from_metadata)
        }
        .boxed()
    }

    fn lend(&mut self, credentials: Credentials) {
        self.lent = Some(credentials);
    }

    fn leave_alone(&mut self, channels: &BTreeSet<String>) {
        self.imports.extend(channels.iter().cloned());
    }
}

/// How a statement failed, and with it the state of the connection.
enum Failed {
    /// A wait ran out: the connection is fine.
    TooLate(ActionFailure),
    /// Anything else.
    Otherwise(ActionFailure),
}

impl From<Failed> for ActionFailure {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::TooLate(failure) | Failed::Otherwise(failure) => failure,
        }
    }
}

impl From<ActionFailure> for Failed {
    fn from(failure: ActionFailure) -> Self {
        Self::Otherwise(failure)
    }
}

/// A thread that was not told to stop goes on, which is to be known. That a server did not answer in
/// time says less.
fn untold(failure: ProbeFailure) -> ProbeFailure {
    if failure.is_answer() {
        failure
    } else {
        ProbeFailure { kind: FailureKind::Connect, ..failure }
    }
}

/// Whether the words repeat what the server says of its source. That must be what it says now: how
/// far it is, and what somebody else may have changed.
fn is_about_source(action: &Action) -> bool {
    matches!(
        action,
        Action::ChangeSource { .. } | Action::RenewCredentials | Action::Detach | Action::Reattach
    )
}

fn lacks_credentials(facts: &Facts) -> bool {
    facts.main_channel().is_none_or(|channel| channel.user.is_empty())
}

/// A wait that ends before the deadline does.
fn clamped(action: &Action, deadline: Instant) -> Option<Action> {
    let Action::WaitExecuted { until, at_most } = action else { return None };
    let left = deadline.saturating_duration_since(Instant::now());
    let reserve = match until {
        Until::Gtids(_) => ANSWER_TAKES.min(left / 4),
        Until::Source(_) => QUESTIONS_TAKE.min(left / 2),
    };
    let at_most = (*at_most).min(left.saturating_sub(reserve));
    Some(Action::WaitExecuted { until: until.clone(), at_most })
}

/// Goes in front of the first statement, in the same packet: strings are read as we write them,
/// and what has to wait for a lock gives up in time.
fn prelude(deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now() + ANSWER_TAKES);
    format!("SET SESSION sql_mode = '', lock_wait_timeout = {}", left.as_secs().max(1))
}

async fn run(
    live: &mut Live,
    prelude: Option<String>,
    statement: &Statement,
) -> Result<(), Failed> {
    let packet = match prelude {
        Some(prelude) => format!("{prelude}; {}", statement.text()),
        None => statement.text().to_owned(),
    };
    match live.connection.run(&packet).await {
        Ok(()) => Ok(()),
        Err(Error::Server(refusal)) if refusal.code == NO_SUCH_THREAD => Ok(()),
        Err(error) => Err(failed(&error).into()),
    }
}

fn is_stop(action: &Action) -> bool {
    matches!(action, Action::ForgetSource | Action::Stop(Threads::Both | Threads::Receiver))
}

/// Whether appliers stop for good, or to go on elsewhere: what their source never sent the end of is
/// not waited for.
fn stops_appliers(action: &Action) -> bool {
    matches!(action, Action::ForgetSource | Action::Stop(Threads::Both))
}

/// The same. An applier that waits for the rest of a transaction holds up MySQL's stop for a minute,
/// and so does a receiver that waits for room on its disk: they are ended over a connection aside. One
/// that works is not.
async fn run_and_end_waits(
    live: &mut Live,
    prelude: Option<String>,
    (statement, action): (&Statement, &Action),
    mut aside: MySqlSession,
    facts: &Facts,
) -> Result<(), Failed> {
    let is_out_of_room = facts.channels.iter().any(|channel| channel.waits_for_disk);
    let patience = if is_out_of_room { STOPS_AT_ONCE_WITHIN } else { STOPS_WITHIN };
    let running = run(live, prelude, statement);
    tokio::pin!(running);
    if let Ok(done) = timeout(patience, &mut running).await {
        return done;
    }
    if !facts.version.is_mariadb() {
        let mut stuck = Vec::new();
        if is_out_of_room {
            let list = read_if_possible(&mut aside, action::LIST_RECEIVERS).await;
            stuck.extend(list.as_ref().map(action::out_of_room).unwrap_or_default());
        }
        if stops_appliers(action) {
            let list = read_if_possible(&mut aside, action::list_appliers(facts)).await;
            stuck.extend(list.as_ref().map(action::waiting).unwrap_or_default());
        }
        for id in stuck {
            debug!(id, "ending a thread of replication that waits for what does not come");
            let Ok(mut live) = aside.take().await else { break };
            // Where that is not allowed the stop takes its time.
            if live.connection.run(&format!("KILL {id}")).await.is_ok() {
                aside.give_back(live);
            }
        }
    }
    running.await
}

async fn wait(live: &mut Live, statement: &Statement, action: &Action) -> Result<(), Failed> {
    let table = query(live, statement.text()).await?;
    let value = table.first().and_then(|row| row.at(0));
    match statement.expects().judge(value.as_deref()) {
        Waited::Reached => Ok(()),
        Waited::TooLate => Err(Failed::TooLate(too_late(action))),
        Waited::Pointless => {
            let text = "nothing comes of waiting: no applier runs that could get there";
            Err(ActionFailure::Refused(text.into()).into())
        }
    }
}

fn too_late(action: &Action) -> ActionFailure {
    let (what, at_most) = match action {
        Action::WaitExecuted { until: Until::Gtids(gtids), at_most } => {
            (gtids.to_string(), *at_most)
        }
        Action::WaitExecuted { until: Until::Source(at), at_most } => (at.to_string(), *at_most),
        _ => (String::new(), Duration::ZERO),
    };
    ActionFailure::Timeout { what, at_most }
}

async fn query(live: &mut Live, text: &str) -> Result<RawTable, Failed> {
    match live.connection.query(text).await {
        Ok(Ok(table)) => Ok(table),
        Ok(Err(refusal)) => Err(refused(&refusal).into()),
        Err(error) => Err(failed(&error).into()),
    }
}

/// Asks for what is a help where it can be had; who cannot do without says so.
async fn read_if_possible(session: &mut MySqlSession, text: &str) -> Option<RawTable> {
    let mut live = session.take().await.ok()?;
    let answer = live.connection.query(text).await.ok()?;
    session.give_back(live);
    match answer {
        Ok(table) => Some(table),
        Err(refusal) => {
            let reason = failure::server_text(&refusal);
            debug!(reason, "the server refused a question about its replication");
            None
        }
    }
}

fn gtids(text: &str) -> Result<GtidSet, ActionFailure> {
    text.parse().map_err(|_| {
        let text = "the server's answer is no GTID set".to_owned();
        ActionFailure::Server(failure::new(FailureKind::Protocol, text))
    })
}

fn failed(error: &Error) -> ActionFailure {
    match error {
        Error::Server(refusal) => refused(refusal),
        other => ActionFailure::Server(failure::of(other, Phase::Talking)),
    }
}

/// What the server says instead of doing it; unless it says that it is going away.
fn refused(refusal: &ServerError) -> ActionFailure {
    let failure = failure::of_server(refusal);
    if failure.kind == FailureKind::ConnectionLost {
        ActionFailure::Server(failure)
    } else {
        ActionFailure::Refused(failure.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_could_not_be_told_was_not_reached_unless_it_said_no() {
        let kind = |kind| untold(failure::new(kind, String::new())).kind;
        assert_eq!(kind(FailureKind::Timeout), FailureKind::Connect);
        assert_eq!(kind(FailureKind::ConnectionLost), FailureKind::Connect);
        assert_eq!(kind(FailureKind::AccessDenied), FailureKind::AccessDenied);
        assert_eq!(kind(FailureKind::Local), FailureKind::Connect, "it was not told either");
    }
}
