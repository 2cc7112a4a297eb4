//! Turns the tables a server answered with into [`Facts`].
//!
//! Servers of different makers and versions name the same things differently; here every name is
//! looked up by all its spellings, so nothing in this module needs to know who is asked. It does
//! not decide which statements are asked (that depends on the version), and holds no opinion on
//! what the facts mean. A column that is missing reads as "nothing"; only what identifies a
//! server is required.

mod channels;
mod galera;
mod group;
mod host;
mod replicas;
mod semi_sync;
mod stuck;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use uuid::Uuid;

pub use self::stuck::{DISK_FULL_MESSAGE, is_log_stuck, why_log_is_stuck};
pub use self::table::{RawTable, Row};
use crate::binlog::BinlogCoordinates;
use crate::instance::{
    BinlogFacts, BinlogFormat, Events, Facts, GtidFacts, Placement, PromotionRule,
};
use crate::key::InstanceKey;
use crate::version::Version;

/// What a server is asked. One question is one statement, whatever its text is in the dialect of
/// the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// The variables that tell who the server is and how it is set up. One row.
    Basics,
    /// The state of replication. One row for each channel.
    ReplicaStatus,
    /// Counters and states, as name and value.
    Status,
    /// Where the binary log ends.
    BinlogStatus,
    /// Variables of semi-synchronous replication, as name and value.
    SemiSyncVariables,
    /// Members of the replication group.
    GroupMembers,
    /// Name and mode of the replication group. One row.
    GroupSettings,
    /// Replicas that registered.
    ReplicaHosts,
    /// Connections that binary logs are sent to, with the UUIDs of the replicas.
    DumpThreads,
    /// The same without UUIDs, for those who may not ask that or servers that do not tell.
    Processlist,
    /// Whether credentials for replication are readable.
    Credentials,
    /// XA transactions that are prepared and neither committed nor rolled back.
    PreparedXa,
    /// How many scheduled events run, and how many do not because they came by replication. One row.
    Events,
    /// Configured: lag in seconds.
    Lag,
    /// Configured: data centre.
    DataCenter,
    /// Configured: region.
    Region,
    /// Configured: physical environment.
    Environment,
    /// Configured: alias of the instance.
    InstanceAlias,
    /// Configured: alias of the cluster.
    ClusterAlias,
    /// Configured: domain of the cluster.
    ClusterDomain,
    /// Configured: promotion rule.
    PromotionRule,
    /// Configured: priority for semi-synchronous replication.
    SemiSyncPriority,
}

impl Question {
    /// What people read when this question fails. Never the statement: that may hold secrets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Basics => "server variables",
            Self::ReplicaStatus => "replication status",
            Self::Status => "server status",
            Self::BinlogStatus => "binary log status",
            Self::SemiSyncVariables => "semi-sync variables",
            Self::GroupMembers => "group members",
            Self::GroupSettings => "group settings",
            Self::ReplicaHosts => "registered replicas",
            Self::DumpThreads => "binary log dump threads",
            Self::Processlist => "processlist",
            Self::Credentials => "replication credentials",
            Self::PreparedXa => "prepared XA transactions",
            Self::Events => "scheduled events",
            Self::Lag => "configured lag query",
            Self::DataCenter => "configured data centre query",
            Self::Region => "configured region query",
            Self::Environment => "configured environment query",
            Self::InstanceAlias => "configured instance alias query",
            Self::ClusterAlias => "configured cluster alias query",
            Self::ClusterDomain => "configured cluster domain query",
            Self::PromotionRule => "configured promotion rule query",
            Self::SemiSyncPriority => "configured semi-sync query",
        }
    }

    /// Whether a probe fails when this question does.
    pub const fn is_essential(self) -> bool {
        matches!(self, Self::Basics | Self::ReplicaStatus)
    }
}

/// The answers of one probe. A question that was not asked, or not answered, is absent.
pub type Answers = BTreeMap<Question, RawTable>;

/// Which name a server goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameMethod {
    /// The name it was addressed by.
    AsGiven,
    /// `@@hostname`.
    #[default]
    Hostname,
    /// `@@report_host`, where set.
    ReportHost,
}

/// How a source's replicas are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplicaListing {
    /// By the addresses their connections come from.
    #[default]
    Connections,
    /// By the host and port they registered with, where they did; else as above.
    Registrations,
}

/// What else a reading depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadingPolicy {
    /// Which name a server goes by.
    pub name_method: NameMethod,
    /// How a source's replicas are found.
    pub replica_listing: ReplicaListing,
}

/// Why answers make no facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// Nothing can be known without this.
    #[error("the server did not answer the question for its {}", .0.name())]
    Unanswered(Question),
    /// The server did not tell what it is.
    #[error("the server's answer lacks {0}")]
    Lacks(&'static str),
    /// A GTID set cannot be read.
    #[error("the server's {0} is not a GTID set")]
    BadGtids(&'static str),
}

/// Turns answers into facts, and tells the name the server goes by.
///
/// # Errors
/// When the essential answers are missing or make no sense.
pub fn read(
    addressed_as: &InstanceKey,
    answers: &Answers,
    policy: ReadingPolicy,
) -> Result<(InstanceKey, Facts), ReadingError> {
    let basics = answers.get(&Question::Basics).and_then(RawTable::first);
    let basics = basics.ok_or(ReadingError::Unanswered(Question::Basics))?;
    let status = answers
        .get(&Question::ReplicaStatus)
        .ok_or(ReadingError::Unanswered(Question::ReplicaStatus))?;

    let canonical = canonical_key(addressed_as, &basics, policy.name_method);
    let comment = basics.text("version_comment");
    let version = Version::parse(&basics.text("version"), &comment);
    if version.as_str().is_empty() {
        return Err(ReadingError::Lacks("version"));
    }
    let server_uuid = basics.get("server_uuid").and_then(|text| Uuid::parse_str(&text).ok());
    let mut facts = Facts {
        alias: answer_text(answers, Question::InstanceAlias),
        uptime_seconds: status_number(answers, "Uptime"),
        server_id: basics.number("server_id").ok_or(ReadingError::Lacks("server_id"))?,
        server_uuid,
        version_comment: comment,
        read_only: is_read_only(&basics),
        super_read_only: basics.flag("super_read_only"),
        binlog: binlog(&basics, answers),
        gtid: gtid(&basics, version.is_mariadb())?,
        channels: channels::read(status, version.is_mariadb())?,
        imports: BTreeSet::new(),
        semi_sync: semi_sync::read(answers),
        group: group::read(answers, server_uuid)
            .or_else(|| group::by_status(answers, is_read_only(&basics)))
            .or_else(|| galera::read(&canonical, answers)),
        offline_mode: answers
            .get(&Question::SemiSyncVariables)
            .and_then(|table| table.lookup("offline_mode"))
            .is_some_and(|value| table::is_on(&value)),
        replicas: replicas::read(&canonical, answers, policy.replica_listing),
        registered: replicas::registered(answers),
        placement: Placement {
            data_center: answer_text(answers, Question::DataCenter),
            region: answer_text(answers, Question::Region),
            environment: answer_text(answers, Question::Environment),
        },
        suggested_cluster_alias: answer_text(answers, Question::ClusterAlias),
        cluster_domain: answer_text(answers, Question::ClusterDomain),
        promotion_rule: PromotionRule::parse(&answer_text(answers, Question::PromotionRule)),
        replication_credentials_available: answer_text(answers, Question::Credentials) == "1",
        stores_account: stores_account(answers),
        leaves_its_source: leaves_its_source(answers),
        measured_lag_seconds: measured_lag(answers),
        stuck_log: None,
        changed_certificate: None,
        prepared_xa: answers.get(&Question::PreparedXa).map(|table| table.rows.len() as u64),
        events: events(answers),
        version,
    };
    facts.note_imports(&BTreeSet::new());
    Ok((canonical, facts))
}

fn events(answers: &Answers) -> Option<Events> {
    let row = answers.get(&Question::Events)?.first()?;
    Some(Events {
        replica_side_disabled: row.number("replica_side_disabled")?,
        enabled: row.number("enabled")?,
        is_scheduler_on: row.flag("scheduler"),
    })
}

/// More seconds than this are what is left of a negative number.
const MOST_OF_LAG: f64 = i64::MAX as f64;

/// The name a server goes by. The port is the one it was addressed by: it may be a forwarded one
/// that the server itself knows nothing of.
fn canonical_key(addressed_as: &InstanceKey, basics: &Row<'_>, method: NameMethod) -> InstanceKey {
    let told = match method {
        NameMethod::AsGiven => String::new(),
        NameMethod::Hostname => basics.text("hostname"),
        NameMethod::ReportHost => basics.text("report_host"),
    };
    let told = host::told(&told).map(|told| InstanceKey::new(told, addressed_as.port()));
    told.unwrap_or_else(|| addressed_as.clone())
}

/// MariaDB 12 knows several degrees of read-only (`READ_ONLY`, `NO_LOCK`...) besides on and off.
fn is_read_only(basics: &Row<'_>) -> bool {
    let value = basics.text("read_only");
    !(value.is_empty() || value == "0" || value.eq_ignore_ascii_case("off"))
}

fn binlog(basics: &Row<'_>, answers: &Answers) -> BinlogFacts {
    let position = answers
        .get(&Question::BinlogStatus)
        .and_then(RawTable::first)
        .map(|row| BinlogCoordinates::new(row.text("File"), row.number("Position").unwrap_or(0)));
    BinlogFacts {
        enabled: basics.flag("log_bin"),
        logs_replica_updates: basics.flag("log_replica_updates"),
        format: BinlogFormat::parse(&basics.text("binlog_format")),
        row_image: basics.text("binlog_row_image").to_ascii_uppercase(),
        position: position.unwrap_or_default(),
    }
}

fn gtid(basics: &Row<'_>, is_mariadb: bool) -> Result<GtidFacts, ReadingError> {
    let executed = basics.text("gtid_executed");
    Ok(GtidFacts {
        mode: basics.text("gtid_mode").to_ascii_uppercase(),
        executed: table::gtids(&executed, is_mariadb, "executed GTID set")?,
        purged: table::parse_gtids(&basics.text("gtid_purged"), "purged GTID set")?,
        replicated: table::position(basics, "gtid_slave_pos")?,
        logged: table::position(basics, "gtid_binlog_pos")?,
        logged_by: table::position(basics, "gtid_binlog_state")?,
        ignores_duplicates: basics.flag("gtid_ignore_duplicates"),
    })
}

/// Whether `mysql.slave_master_info` holds an account, where it can be read.
fn stores_account(answers: &Answers) -> Option<bool> {
    let answered = answers.get(&Question::Credentials)?;
    Some(answered.first()?.at(0)?.trim() == "1")
}

/// The second column, where there is one: 1 where any channel does, NULL where there are none.
fn leaves_its_source(answers: &Answers) -> Option<bool> {
    let table = answers.get(&Question::Credentials)?;
    let told = table.first().filter(|_| table.columns.len() > 1)?.at(1);
    Some(told.is_some_and(|value| value.trim() == "1"))
}

/// The one value a configured query answers with.
fn answer_text(answers: &Answers, question: Question) -> String {
    let value = answers.get(&question).and_then(RawTable::first).and_then(|row| row.at(0));
    value.map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// A value of the status table, or 0.
fn status_number<T: FromStr + Default>(answers: &Answers, name: &str) -> T {
    let value = answers.get(&Question::Status).and_then(|table| table.lookup(name));
    value.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

/// Lag queries answer with whole or fractional seconds; clocks that disagree make them negative,
/// and where they are unsigned, that wraps around.
fn measured_lag(answers: &Answers) -> Option<u64> {
    let text = answer_text(answers, Question::Lag);
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite())?;
    // The cast saturates, which is what is wanted at both ends.
    Some(if seconds > MOST_OF_LAG { 0 } else { seconds.max(0.0) as u64 })
}
