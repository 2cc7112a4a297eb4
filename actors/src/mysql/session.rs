//! The conversation with one instance, probe by probe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_topology::action::LIST_EVERYBODY;
use baton_topology::instance::{FailureKind, ProbeFailure};
use baton_topology::key::InstanceKey;
use baton_topology::reading::{self, Answers, DISK_FULL_MESSAGE, Question, RawTable};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mysql_async::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use super::connection::{Answer, Connection};
use super::dialect::Dialect;
use super::failure::{self, Phase};
use super::queries::Packing;
use super::{ReplicationCredentials, Shared, park};
use crate::certificates::{Fingerprint, Judgement};
use crate::lateness::timeout;
use crate::ports::{Parting, ProbeSession, Reading};
use crate::probe::schedule::spread;

/// A question that a server refused is not put to it again for this long, or half of that.
const REFUSAL_HOLDS: Duration = Duration::from_secs(300);

/// What changes seldom and is not needed to judge a server is asked this often.
const SELDOM_EVERY: Duration = Duration::from_secs(10);

/// What that is.
const SELDOM: [Question; 2] = [Question::PreparedXa, Question::Events];

/// For so long after an answer a connection is taken to stand without asking.
const PROVEN_FOR: Duration = Duration::from_millis(500);

/// What every server is asked in the first packet.
const FIRST_PACKET: [Question; 8] = [
    Question::Basics,
    Question::ReplicaStatus,
    Question::Status,
    Question::BinlogStatus,
    Question::SemiSyncVariables,
    Question::GroupMembers,
    Question::ReplicaHosts,
    Question::Credentials,
];

/// Probes one instance over one connection.
pub(super) struct MySqlSession {
    key: InstanceKey,
    newest: watch::Receiver<Arc<Shared>>,
    shared: Arc<Shared>,
    live: Option<Live>,
    /// The newest answer was due and did not come: the server may wait for room on its disk.
    doubts_log: bool,
}

/// An established connection, and what was learned on it.
pub(super) struct Live {
    pub(super) connection: Connection,
    /// When it was last known to stand.
    proven: Instant,
    dialect: Dialect,
    refused: BTreeMap<Question, Instant>,
    /// When what was refused is asked again.
    refusal_holds: Duration,
    /// Whether the server had replicas last time: then they are asked for in the first packet.
    is_source: bool,
    /// The answers to what is asked seldom, and when it was asked.
    seldom: Option<(Instant, Vec<(Question, RawTable)>)>,
}

/// One probe under way.
#[derive(Default)]
struct Progress {
    answers: Answers,
    /// The first essential question that was refused, and what the server said.
    refusal: Option<ProbeFailure>,
    /// Why the binary log takes no more writes.
    stuck_log: Option<String>,
}

impl MySqlSession {
    pub(super) fn new(key: InstanceKey, newest: watch::Receiver<Arc<Shared>>) -> Self {
        let shared = newest.borrow().clone();
        Self { key, newest, shared, live: None, doubts_log: false }
    }

    /// Takes on options that were changed since the last probe.
    fn refresh(&mut self) {
        let newest = self.newest.borrow_and_update().clone();
        if !Arc::ptr_eq(&newest, &self.shared) {
            self.shared = newest;
            self.live = None;
        }
    }

    /// The options in force.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// A session of the same kind for another server.
    pub(super) fn beside(&self, key: &InstanceKey) -> Self {
        Self::new(key.clone(), self.newest.clone())
    }

    /// Another conversation with the same server.
    pub(super) fn again(&self) -> Self {
        self.beside(&self.key)
    }

    /// Lends out the connection, or a new one. One that lay idle is asked first whether it still
    /// stands, as what is sent on it must not be sent twice.
    pub(super) async fn take(&mut self) -> Result<Live, ProbeFailure> {
        self.refresh();
        if let Some(mut live) = self.live.take() {
            let is_fresh = live.proven.elapsed() < PROVEN_FOR;
            let deadline = self.shared.options.connect_deadline;
            if is_fresh || matches!(timeout(deadline, live.connection.ping()).await, Ok(Ok(()))) {
                return Ok(live);
            }
        }
        self.connect().await
    }

    /// Takes back a connection that stands.
    pub(super) fn give_back(&mut self, live: Live) {
        self.live = Some(Live { proven: Instant::now(), ..live });
    }

    async fn probe_once(&mut self) -> Result<Reading, ProbeFailure> {
        // Taken, so that a probe that is cut off leaves no half-read connection behind.
        if let Some(live) = self.live.take().filter(|live| !live.is_due_for_another_try()) {
            match self.talk(live).await {
                // Servers and those between close idle connections; that is no news yet. If
                // the server is gone, the next attempt knows at once.
                Err(failure) if failure.kind == FailureKind::ConnectionLost && !failure.partial => {
                }
                outcome => return outcome,
            }
        }
        let live = self.connect().await?;
        self.talk(live).await
    }

    async fn connect(&self) -> Result<Live, ProbeFailure> {
        let deadline = self.shared.options.connect_deadline;
        let connecting = async {
            let mut connection = Connection::open(&self.shared, &self.key).await?;
            let dialect = connection.greet().await?;
            let proven = Instant::now();
            let refused = BTreeMap::new();
            let (is_source, seldom) = (false, None);
            let refusal_holds = spread(&self.key, REFUSAL_HOLDS);
            Ok(Live { connection, proven, dialect, refused, refusal_holds, is_source, seldom })
        };
        timeout(deadline, connecting).await.unwrap_or_else(|_| {
            let within = deadline.as_millis();
            let message = format!("no connection within {within} ms: {}", failure::IO_TIMEOUT);
            Err(failure::new(FailureKind::Timeout, message))
        })
    }

    /// Asks everything and reads the answers. Keeps the connection unless it is damaged, or lacks
    /// rights.
    async fn talk(&mut self, mut live: Live) -> Result<Reading, ProbeFailure> {
        let deadline = self.shared.options.probe_deadline;
        let mut progress = Progress::default();
        let shared = &self.shared;
        let conversation = async {
            if self.doubts_log {
                progress.stuck_log = live.why_log_is_stuck(&shared.options.user).await?;
            }
            live.converse(shared, &mut progress).await
        };
        let finished = timeout(deadline, conversation).await;
        let partial = progress.answers.contains_key(&Question::Basics);
        let failed = match finished {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(failure::of(&error, Phase::Talking)),
            Err(_) => {
                let within = deadline.as_millis();
                let message = format!("no answer within {within} ms: {}", failure::IO_TIMEOUT);
                Some(failure::new(FailureKind::Timeout, message))
            }
        };
        if let Some(failed) = failed {
            self.doubts_log |= failed.kind == FailureKind::Timeout;
            return Err(ProbeFailure { partial, ..failed });
        }
        if let Some(refusal) = progress.refusal {
            // What is granted later holds for new connections only.
            return Err(ProbeFailure { partial, ..refusal });
        }
        self.give_back(live);
        self.doubts_log = progress.stuck_log.is_some();
        let mut reading = self.interpret(&progress.answers)?;
        reading.facts.stuck_log = progress.stuck_log;
        // MariaDB makes itself another one at each start, and is logged in to by scrambles.
        if !reading.facts.version.is_mariadb() {
            reading.facts.changed_certificate = self.changed_certificate();
        }
        Ok(reading)
    }

    /// The key that the server proved to hold, if it is known by another one.
    fn changed_certificate(&self) -> Option<Fingerprint> {
        let shown = self.live.as_ref()?.connection.fingerprint()?;
        let judgement = self.shared.judge(&self.key, shown);
        matches!(judgement, Judgement::Changed { .. }).then(|| shown.clone())
    }

    fn interpret(&self, answers: &Answers) -> Result<Reading, ProbeFailure> {
        let read = reading::read(&self.key, answers, self.shared.options.reading);
        let (canonical, mut facts) = read.map_err(|error| ProbeFailure {
            kind: FailureKind::Protocol,
            partial: true,
            message: error.to_string(),
        })?;
        if let ReplicationCredentials::ByQuery(_) = self.shared.options.replication_credentials {
            facts.replication_credentials_available = true;
        }
        Ok(Reading { canonical, facts })
    }
}

impl ProbeSession for MySqlSession {
    fn probe(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        self.refresh();
        async move {
            let outcome = self.probe_once().await;
            if !self.shared.slots.has_room(0) {
                self.live = None;
            }
            outcome
        }
        .boxed()
    }

    fn park(&self) -> BoxFuture<'static, Parting> {
        park::park(self.newest.borrow().clone(), self.key.clone()).boxed()
    }
}

impl Live {
    /// Rights that were granted since something was refused hold for new connections only. Few have
    /// the right to see prepared XA transactions, say: no connection is renewed for what is asked seldom.
    fn is_due_for_another_try(&self) -> bool {
        let refused = self.refused.iter().filter(|(question, _)| !SELDOM.contains(question));
        refused.into_iter().any(|(_, since)| since.elapsed() >= self.refusal_holds)
    }

    fn seldom_questions(&self) -> &'static [Question] {
        let is_due = self.seldom.as_ref().is_none_or(|(at, _)| at.elapsed() >= SELDOM_EVERY);
        if is_due { &SELDOM } else { &[] }
    }

    /// Between two times the last answers stand, but of what was refused since.
    fn remember_seldom(&mut self, progress: &mut Progress) {
        let answers = &mut progress.answers;
        let told = SELDOM.iter().filter_map(|it| Some((*it, answers.get(it)?.clone())));
        let told: Vec<(Question, RawTable)> = told.collect();
        if !told.is_empty() {
            self.seldom = Some((Instant::now(), told));
        } else if let Some((_, told)) = &self.seldom {
            answers.extend(told.iter().filter(|(it, _)| !self.refused.contains_key(it)).cloned());
        }
    }

    /// One packet with what every server is asked, a second one with what is configured and
    /// what the first one gave reason to ask.
    async fn converse(&mut self, shared: &Shared, progress: &mut Progress) -> Result<(), Error> {
        let holds = self.refusal_holds;
        self.refused.retain(|it, since| !SELDOM.contains(it) || since.elapsed() < holds);
        let mut first = FIRST_PACKET.to_vec();
        if self.is_source || self.refused.contains_key(&Question::ReplicaHosts) {
            first.push(self.connection_listing());
        }
        if progress.stuck_log.is_some() {
            first.retain(|question| *question != Question::BinlogStatus);
        }
        let first = self.statements(&first);
        let answers = self.connection.ask(&first).await?;
        self.settle(answers, progress);

        let registered = progress.answers.get(&Question::ReplicaHosts);
        self.is_source = registered.is_some_and(|table| !table.rows.is_empty());
        let may_be_source = self.is_source || registered.is_none();
        let mut second = Vec::new();
        if may_be_source && !has_connections(progress) {
            second.push(self.connection_listing());
        }
        let members = progress.answers.get(&Question::GroupMembers);
        if members.is_some_and(|table| !table.rows.is_empty()) {
            second.push(Question::GroupSettings);
        }
        second.extend(self.seldom_questions());
        let mut second: Vec<(Question, &str)> = self.statements(&second);
        let configured = &shared.options.queries;
        let wanted = configured.iter().filter(|q| !self.refused.contains_key(&q.question()));
        let (together, alone): (Vec<_>, Vec<_>) =
            wanted.partition(|query| query.packing() == Packing::Shared);
        second.extend(together.iter().map(|query| (query.question(), query.text())));
        let answers = self.connection.ask(&second).await?;
        self.settle(answers, progress);
        for query in alone {
            let answer = self.connection.query(query.text()).await?;
            self.settle(vec![(query.question(), answer)], progress);
        }
        if may_be_source && !has_connections(progress) {
            // Only when the better listing was refused just now.
            let last = self.statements(&[self.connection_listing()]);
            let answers = self.connection.ask(&last).await?;
            self.settle(answers, progress);
        }
        self.remember_seldom(progress);
        Ok(())
    }

    /// Why the binary log takes no more writes, if it does not: then what asks where it ends is not
    /// answered, and is not asked another time while it is waited for.
    async fn why_log_is_stuck(&mut self, us: &str) -> Result<Option<String>, Error> {
        let listed = self.connection.query(LIST_EVERYBODY).await?;
        if !listed.is_ok_and(|table| reading::is_log_stuck(&table, us)) {
            return Ok(None);
        }
        // Who may not read it, or has no such table, says so, and that is all.
        let message = self.connection.query(DISK_FULL_MESSAGE).await?.ok();
        let message = message.as_ref().and_then(|table| table.first()?.at(0));
        Ok(Some(reading::why_log_is_stuck(message.as_deref())))
    }

    /// The best question for the connections of replicas that this server answers.
    fn connection_listing(&self) -> Question {
        let best = Question::DumpThreads;
        if self.refused.contains_key(&best) || self.dialect.statement(best).is_none() {
            Question::Processlist
        } else {
            best
        }
    }

    /// The statements for those questions that this server can be asked and did not refuse.
    fn statements(&self, questions: &[Question]) -> Vec<(Question, &'static str)> {
        questions
            .iter()
            .filter(|question| !self.refused.contains_key(question))
            .filter_map(|question| Some((*question, self.dialect.statement(*question)?)))
            .collect()
    }

    fn settle(&mut self, answers: Vec<Answer>, progress: &mut Progress) {
        for (question, answer) in answers {
            match answer {
                Ok(mut table) => {
                    table.cut();
                    progress.answers.insert(question, table);
                }
                Err(refusal) if question.is_essential() => {
                    let failed = failure::of_server(&refusal);
                    let message = format!("{}: {}", question.name(), failed.message);
                    progress.refusal.get_or_insert(ProbeFailure { message, ..failed });
                }
                Err(refusal) => {
                    let reason = failure::server_text(&refusal);
                    debug!(question = question.name(), reason, "the server refused a question");
                    self.refused.insert(question, Instant::now());
                }
            }
        }
    }
}

fn has_connections(progress: &Progress) -> bool {
    let answers = &progress.answers;
    answers.contains_key(&Question::DumpThreads) || answers.contains_key(&Question::Processlist)
}
