//! What a former primary has that its successor lacks: which transactions, where they are logged,
//! and how somebody reads them.
//!
//! MySQL names transactions, so a set says it all. A position of MariaDB tells only the last
//! transaction of a domain; there the successor's log state decides, which has the last one of
//! each domain *and* server. Nothing is decided about what becomes of them.

mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::gtid::{GtidSet, Gtids};
use crate::key::InstanceKey;
use crate::snapshot::FleetSnapshot;

use super::Refused;
use super::former::replacement;
use super::holding::everything;

pub use scan::{EVENTS_PER_QUESTION, Scan, Transaction};

/// The last transactions of each domain and server that a server of MariaDB has logged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogState(BTreeMap<(u32, u32), u64>);

impl LogState {
    /// Reads `gtid_binlog_state`, or the list at the beginning of a log. What is no entry of it is
    /// no transaction.
    pub fn parse(text: &str) -> Self {
        let text = text.trim().trim_start_matches('[').trim_end_matches(']');
        let mut last: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for (writer, number) in text.split(',').filter_map(numbered) {
            let known = last.entry(writer).or_default();
            *known = number.max(*known);
        }
        Self(last)
    }

    fn holds(&self, (writer, number): ((u32, u32), u64)) -> bool {
        self.0.get(&writer).is_some_and(|last| *last >= number)
    }
}

/// `domain-server-number`.
fn numbered(text: &str) -> Option<((u32, u32), u64)> {
    let mut parts = text.trim().split('-');
    let (domain, server) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let number = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(((domain, server), number))
}

/// How to tell what is extra.
#[derive(Debug, Clone, PartialEq)]
pub enum Extra {
    /// Exactly these.
    MySql(GtidSet),
    /// All but what the other has logged.
    MariaDb(LogState),
}

impl Extra {
    /// Whether a transaction is extra.
    pub fn has(&self, gtid: &str) -> bool {
        match self {
            Self::MySql(extra) => {
                gtid.parse::<GtidSet>().is_ok_and(|it| !it.intersect(extra).is_empty())
            }
            Self::MariaDb(state) => numbered(gtid).is_some_and(|it| !state.holds(it)),
        }
    }

    /// Whether a log that begins with this list, and all before it, have nothing that is extra.
    pub fn begins_after(&self, list: &str) -> bool {
        match self {
            Self::MySql(extra) => {
                list.parse::<GtidSet>().is_ok_and(|before| before.intersect(extra).is_empty())
            }
            Self::MariaDb(state) => {
                LogState::parse(list).0.into_iter().all(|last| state.holds(last))
            }
        }
    }
}

/// Whom an instance is compared with: who replaced it, or else the primary of its cluster.
///
/// # Errors
/// When there is nobody.
pub fn compared_with(key: &InstanceKey, fleet: &FleetSnapshot) -> Result<InstanceKey, Refused> {
    let Some((cluster, _)) = fleet.member(key) else {
        return Err(Refused::because(format!("Cannot read instance: {key}")));
    };
    let primaries = cluster.primaries();
    let head = primaries.iter().map(|it| it.key()).find(|head| *head != key).cloned();
    let successor = replacement(key, fleet).map(|(_, head)| head);
    successor.or(head).ok_or_else(|| {
        Refused::because(format!("nobody replaced {key}: there is no primary to compare it with"))
    })
}

/// What an instance has that another lacks, by the newest looks at both; the later one should be
/// that at the other. `state` is what one of MariaDB said of its log.
///
/// # Errors
/// When it cannot be told.
pub fn extra(
    key: &InstanceKey,
    other: &InstanceKey,
    state: Option<&str>,
    fleet: &FleetSnapshot,
) -> Result<Extra, Refused> {
    let known = |key| {
        let member = fleet.member(key).map(|(_, member)| member);
        let member = member.filter(|it| it.instance.is_valid());
        member.ok_or_else(|| Refused::because(format!("{key} does not answer")))
    };
    match (everything(known(key)?), everything(known(other)?), state) {
        (Gtids::MySql(ours), Gtids::MySql(theirs), _) => Ok(Extra::MySql(ours.subtract(&theirs))),
        (Gtids::MariaDb(_), Gtids::MariaDb(_), Some(state)) => {
            Ok(Extra::MariaDb(LogState::parse(state)))
        }
        _ => Err(Refused::because(format!(
            "what {key} and {other} have cannot be compared without GTID"
        ))),
    }
}

/// What there is to do with extra transactions, and the command for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportCommand {
    /// What for.
    pub purpose: &'static str,
    /// The line for a shell.
    pub line: String,
}

/// The lines that read and keep the transactions of a set, which these logs hold. They ask for no
/// password: that is up to the option files of whoever runs them.
pub fn commands_for_set(key: &InstanceKey, extra: &GtidSet, logs: &[String]) -> Vec<ExportCommand> {
    if logs.is_empty() || extra.is_empty() {
        return Vec::new();
    }
    let logs: Vec<String> = logs.iter().map(|log| word(log)).collect();
    let base = format!("mysqlbinlog {} --include-gtids={extra}", remote(key));
    export(key, &base, &logs.join(" "))
}

/// The lines that read and keep what one log holds from the first to the last of these
/// transactions.
pub fn commands_for_range(key: &InstanceKey, transactions: &[Transaction]) -> Vec<ExportCommand> {
    let mut ranges: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for Transaction { log, begins_at, ends_at, .. } in transactions {
        let range = ranges.entry(log).or_insert((*begins_at, *ends_at));
        *range = (range.0.min(*begins_at), range.1.max(*ends_at));
    }
    let lines = ranges.into_iter().flat_map(|(log, (from, to))| {
        let remote = remote(key);
        let base = format!("mariadb-binlog {remote} --start-position={from} --stop-position={to}");
        export(key, &base, &word(log))
    });
    lines.collect()
}

fn remote(key: &InstanceKey) -> String {
    format!("--read-from-remote-server --host={} --port={}", word(key.host()), key.port())
}

fn export(key: &InstanceKey, base: &str, logs: &str) -> Vec<ExportCommand> {
    let file = word(&format!("extra-{}-{}.sql", key.host(), key.port()));
    vec![
        ExportCommand {
            purpose: "read",
            line: format!("{base} --base64-output=DECODE-ROWS --verbose {logs}"),
        },
        // Appends: several logs are kept one after the other.
        ExportCommand { purpose: "keep", line: format!("{base} {logs} >> {file}") },
    ]
}

/// One word for a shell, whatever is in it.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
