//! One connection: how it comes about, how questions travel on it, and how it ends.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use baton_topology::allow::Reach;
use baton_topology::instance::{FailureKind, ProbeFailure};
use baton_topology::key::InstanceKey;
use baton_topology::reading::{Question, RawTable};
use baton_topology::version::Version;
use futures_util::FutureExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, ServerError, Value};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::dialect::{Dialect, PerformanceSchema};
use super::failure::{self, Phase};
use super::{Shared, gate};
use crate::certificates::Fingerprint;

/// An established connection. Closed when dropped, at once and whatever the server does.
pub(super) struct Connection {
    conn: Option<Conn>,
    fingerprint: Option<Fingerprint>,
    /// Dropped after the driver has said goodbye.
    _lifeline: oneshot::Sender<()>,
    _slot: OwnedSemaphorePermit,
}

/// What became of one question.
pub(super) type Answer = (Question, Result<RawTable, ServerError>);

impl Connection {
    /// Connects and authenticates. The caller sets the deadline.
    pub(super) async fn open(
        shared: &Arc<Shared>,
        key: &InstanceKey,
    ) -> Result<Self, ProbeFailure> {
        let addresses = resolve(shared, key).await?;
        let slot = shared.slots.take().await?;
        let gate::Opened { conn, fingerprint, lifeline } =
            gate::open(shared, key, &addresses).await?;
        Ok(Self { conn: Some(conn), fingerprint, _lifeline: lifeline, _slot: slot })
    }

    /// The public key that the server proved to hold; `None` without TLS.
    pub(super) fn fingerprint(&self) -> Option<&Fingerprint> {
        self.fingerprint.as_ref()
    }

    /// Asks the server what it is.
    pub(super) async fn greet(&mut self) -> Result<Dialect, ProbeFailure> {
        let answers = self.ask(&[(Question::Basics, Dialect::GREETING)]).await;
        let answers = answers.map_err(|error| failure::of(&error, Phase::Talking))?;
        let table = match answers.into_iter().next() {
            Some((_, Ok(table))) => table,
            Some((_, Err(refusal))) => return Err(failure::of_server(&refusal)),
            None => return Err(senseless()),
        };
        let row = table.first().ok_or_else(senseless)?;
        let text = |index| row.at(index).unwrap_or_default();
        let performance_schema =
            if text(2) == "1" { PerformanceSchema::On } else { PerformanceSchema::Off };
        Ok(Dialect::new(Version::parse(&text(0), &text(1)), performance_schema))
    }

    /// Asks all statements, in one packet as long as none is refused: after a refusal a server
    /// ignores the rest of a packet, so the rest is sent again without the refused one.
    pub(super) async fn ask(&mut self, asked: &[(Question, &str)]) -> Result<Vec<Answer>, Error> {
        let conn = self.conn.as_mut().ok_or(DriverError::ConnectionClosed)?;
        let mut answers: Vec<Answer> = Vec::with_capacity(asked.len());
        let mut budget = Budget::default();
        // Each round settles at least one statement.
        while let Some(rest) = asked.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            if let Some(refusal) = ask_packet(conn, rest, &mut answers, &mut budget).await?
                && let Some((question, _)) = asked.get(answers.len())
            {
                answers.push((*question, Err(refusal)));
            }
        }
        Ok(answers)
    }

    /// Asks one statement of which nobody knows how many results it has; the first one counts.
    /// The inner error is the server's refusal.
    pub(super) async fn query(
        &mut self,
        statement: &str,
    ) -> Result<Result<RawTable, ServerError>, Error> {
        let conn = self.conn.as_mut().ok_or(DriverError::ConnectionClosed)?;
        let mut result = match conn.query_iter(statement).await {
            Ok(result) => result,
            Err(Error::Server(refusal)) => return Ok(Err(refusal)),
            Err(error) => return Err(error),
        };
        let table = read_table(&mut result, &mut Budget::default()).await;
        if let Err(error @ Error::Other(_)) = table {
            // There is more than is read.
            return Err(error);
        }
        let rest = result.drop_result().await;
        match (table, rest) {
            (Ok(table), Ok(())) => Ok(Ok(table)),
            (Err(Error::Server(refusal)), Ok(()) | Err(Error::Server(_)))
            | (Ok(_), Err(Error::Server(refusal))) => Ok(Err(refusal)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Asks whether the server is still there.
    pub(super) async fn ping(&mut self) -> Result<(), Error> {
        let conn = self.conn.as_mut().ok_or(DriverError::ConnectionClosed)?;
        conn.ping().await
    }

    /// Runs statements whose results do not matter.
    pub(super) async fn run(&mut self, statement: &str) -> Result<(), Error> {
        let conn = self.conn.as_mut().ok_or(DriverError::ConnectionClosed)?;
        conn.query_drop(statement).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Left to itself, the driver would go on reading in the background until the last
        // answer is in, which from a hung server is never.
        if let Some(conn) = self.conn.take() {
            let _ = conn.disconnect().now_or_never();
        }
    }
}

/// Sends statements in one packet and appends the answers; returns what the server said to the
/// first one it refused.
async fn ask_packet(
    conn: &mut Conn,
    asked: &[(Question, &str)],
    answers: &mut Vec<Answer>,
    budget: &mut Budget,
) -> Result<Option<ServerError>, Error> {
    // The line break ends a comment that a statement may end with.
    let packet = asked.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("\n;");
    let mut result = match conn.query_iter(packet).await {
        Ok(result) => result,
        Err(Error::Server(refusal)) => return Ok(Some(refusal)),
        Err(error) => return Err(error),
    };
    for (question, _) in asked {
        match read_table(&mut result, budget).await {
            Ok(table) => answers.push((*question, Ok(table))),
            Err(Error::Server(refusal)) => return Ok(Some(refusal)),
            Err(error) => return Err(error),
        }
    }
    // More results than statements: whatever came is the answer to who knows what.
    if result.is_empty() { Ok(None) } else { Err(unexpected()) }
}

/// How much is read of the answers to one packet. A server has no reason to tell more, and one that
/// does is not let to fill the memory.
struct Budget {
    bytes: usize,
    rows: usize,
}

/// Several sets of a hundred thousand intervals fit.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// A server has at most 100,000 connections (`max_connections`).
const ANSWER_ROWS_MAX: usize = 200_000;

#[derive(Debug, thiserror::Error)]
#[error("the server answers with more than {ANSWER_BYTES_MAX} bytes or {ANSWER_ROWS_MAX} rows")]
pub(super) struct TooLong;

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: ANSWER_BYTES_MAX, rows: ANSWER_ROWS_MAX }
    }
}

impl Budget {
    fn spend(&mut self, rows: usize, bytes: usize) -> Result<(), Error> {
        let left = (self.rows.checked_sub(rows), self.bytes.checked_sub(bytes));
        let (Some(rows), Some(bytes)) = left else { return Err(Error::Other(Box::new(TooLong))) };
        *self = Self { bytes, rows };
        Ok(())
    }
}

/// Reads one result set.
async fn read_table(
    result: &mut mysql_async::QueryResult<'_, '_, mysql_async::TextProtocol>,
    budget: &mut Budget,
) -> Result<RawTable, Error> {
    let columns = result.columns();
    let mut rows = Vec::new();
    while let Some(row) = result.next().await? {
        let row: Vec<Option<Vec<u8>>> = row.unwrap_raw().into_iter().map(bytes).collect();
        budget.spend(1, size_of_row(&row))?;
        rows.push(row);
    }
    // No columns at all, not even none of them: there was no such result.
    let columns = columns.ok_or_else(unexpected)?;
    let columns: Vec<_> = columns.iter().map(|it| it.name_str().into_owned()).collect();
    budget.spend(0, columns.iter().map(String::len).sum())?;
    Ok(RawTable { columns, rows })
}

/// What a row takes up here: values that are NULL are short on the wire, and no shorter than others here.
fn size_of_row(row: &[Option<Vec<u8>>]) -> usize {
    size_of_val(row) + row.iter().flatten().map(Vec::len).sum::<usize>()
}

fn bytes(value: Option<Value>) -> Option<Vec<u8>> {
    match value {
        Some(Value::Bytes(bytes)) => Some(bytes),
        None | Some(Value::NULL) => None,
        // The text protocol knows only texts; this is for completeness.
        Some(other) => Some(other.as_sql(true).into_bytes()),
    }
}

fn unexpected() -> Error {
    DriverError::UnexpectedPacket { payload: Vec::new() }.into()
}

fn senseless() -> ProbeFailure {
    failure::new(FailureKind::Protocol, "the server does not tell its version".to_owned())
}

async fn resolve(shared: &Shared, key: &InstanceKey) -> Result<Vec<IpAddr>, ProbeFailure> {
    // Half the time, so that the other half is left for an address known from before.
    let patience = shared.options.connect_deadline / 2;
    let reach = shared.options.allow.judge(key.host());
    if reach == Reach::Outside {
        return Err(outside(key));
    }
    let mut addresses = shared.names.resolve(key.host(), patience).await.map_err(|error| {
        let kind = match error.kind() {
            _ if failure::is_ours(&error) => FailureKind::Local,
            io::ErrorKind::TimedOut => FailureKind::Timeout,
            _ => FailureKind::Connect,
        };
        failure::new(kind, format!("cannot resolve {}: {error}", key.host()))
    })?;
    if reach == Reach::ByAddress {
        addresses.retain(|address| shared.options.allow.has_address(*address));
    }
    if addresses.is_empty() { Err(outside(key)) } else { Ok(addresses) }
}

/// Where baton does not go is not known to be dead.
fn outside(key: &InstanceKey) -> ProbeFailure {
    let message = format!("{key} is outside DiscoveryAllow and is not connected to");
    failure::new(FailureKind::AccessDenied, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_null_have_a_size() {
        assert!(size_of_row(&vec![None; 1_000]) >= 8_000);
        assert!(size_of_row(&[Some(vec![0; 1_000])]) >= 1_000);
    }

    #[test]
    fn answers_have_a_limit_of_bytes_and_of_rows() {
        for (rows, bytes) in [(1, 0), (0, 1)] {
            let mut budget = Budget::default();
            budget.spend(ANSWER_ROWS_MAX, ANSWER_BYTES_MAX).unwrap();
            budget.spend(0, 0).unwrap();
            let error = budget.spend(rows, bytes).unwrap_err();
            let failure = failure::of(&error, Phase::Talking);
            assert!(failure.message.contains("more than 16777216 bytes"), "{}", failure.message);
        }
    }
}
