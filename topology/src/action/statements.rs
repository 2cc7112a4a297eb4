//! What has to be said to a server for an action, in the dialect of its version.
//!
//! Texts are built from names that servers told us, so everything that is not a number is quoted,
//! and in a way that holds whatever the server's `sql_mode` says of backslashes. A channel is
//! always named, the default one too: without a name, MySQL means all of them.

mod source;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

pub use self::text::Statement;
use self::text::quoted;
use super::{Action, Credentials, Switch, Threads, Until};
use crate::applied;
use crate::binlog::BinlogCoordinates;
use crate::gtid::{GtidSet, Gtids};
use crate::instance::{Facts, Positioning};
use crate::reading::{RawTable, Row};
use crate::version::Flavor;

/// At most so many empty transactions are made at once: with more, something else is wrong.
pub const INJECTED_MAX: u64 = 10_000;

/// Lists all connections, where the better list does not answer.
pub const LIST_EVERYBODY: &str = "SHOW PROCESSLIST";

/// Lists the binary logs, oldest first.
pub const LIST_BINARY_LOGS: &str = "SHOW BINARY LOGS";

/// All that a server has executed, in MySQL's words.
pub const EXECUTED_GTIDS: &str = "SELECT @@global.gtid_executed";

/// Shows the beginning of a binary log: one of these events tells what came before it.
pub fn beginning_of_log(name: &str) -> String {
    format!("SHOW BINLOG EVENTS IN {} LIMIT 4", quoted(name))
}

/// Shows events of a binary log.
pub(super) fn events_of_log(name: &str, from: u64, at_most: u32) -> String {
    format!("SHOW BINLOG EVENTS IN {} FROM {from} LIMIT {at_most}", quoted(name))
}

/// The kind of event that tells what came before a binary log.
pub const PREVIOUS_GTIDS: &str = "Previous_gtids";

/// How many seconds a receiver that goes takes at most to tell its source.
const TELLING_TIME: &str = "rpl_semi_sync_slave_kill_conn_timeout";

/// What the answer to a statement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// There is none.
    Nothing,
    /// Whether a wait for GTIDs ended well.
    ExecutedGtids,
    /// Whether a wait for a position ended well.
    ReachedPosition,
    /// Connections, of which those of clients are to be ended.
    Processlist,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// It is executed.
    Reached,
    /// Not in time.
    TooLate,
    /// The server does not wait for that, as nothing would come of it.
    Pointless,
}

impl Expectation {
    /// Judges the one value a wait answers with; `None` is NULL.
    pub fn judge(self, value: Option<&str>) -> Waited {
        match (self, value.map(|text| text.trim().parse::<i64>())) {
            // MySQL says 1 when the time is up, MariaDB -1.
            (Self::ExecutedGtids, Some(Ok(0))) => Waited::Reached,
            (Self::ExecutedGtids, Some(Ok(1 | -1))) => Waited::TooLate,
            // How many events were waited for.
            (Self::ReachedPosition, Some(Ok(0..))) => Waited::Reached,
            (Self::ReachedPosition, Some(Ok(-1))) => Waited::TooLate,
            // NULL: no applier runs that could get there.
            _ => Waited::Pointless,
        }
    }
}

/// What words may need besides the facts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WordingOptions {
    /// An account for replication: used only where the server has none, or where it is to be
    /// renewed.
    pub credentials: Option<Credentials>,
    /// How often the source of the main channel gives a sign of life. Servers forget it when they
    /// are told something else.
    pub heartbeat: Option<Duration>,
}

/// Returns what to send, in order and on one connection, or why this server cannot do that.
///
/// `facts` must be newer than what they are about: under file positions, the place of a replica
/// is told by them, so its threads must have stopped before they were read.
///
/// # Errors
/// With the reason, when a server of this kind or in this state cannot do that.
pub fn statements(
    action: &Action,
    facts: &Facts,
    options: &WordingOptions,
) -> Result<Vec<Statement>, String> {
    let words = Words::of(facts, options)?;
    Ok(match action {
        Action::Stop(threads) => vec![words.stop(*threads)],
        Action::Start(threads) => vec![words.threads("START", *threads)],
        Action::StartUntil(at) => vec![words.start_until(at)],
        Action::ChangeSource { to, place } => vec![words.change_source(to, place)?],
        Action::RenewCredentials => vec![words.renew_credentials()?],
        Action::Detach => words.detach()?.into_iter().collect(),
        Action::Reattach => words.reattach()?.into_iter().collect(),
        Action::ForgetSource => {
            vec![words.stop(Threads::Both), words.on_channel("RESET", " ALL")]
        }
        Action::SetReadOnly if words.is_mariadb => vec!["SET GLOBAL read_only = 1".into()],
        Action::SetReadOnly => vec!["SET GLOBAL super_read_only = 1".into()],
        Action::SetWritable if words.is_mariadb => vec!["SET GLOBAL read_only = 0".into()],
        Action::SetWritable => {
            vec!["SET GLOBAL super_read_only = 0, GLOBAL read_only = 0".into()]
        }
        Action::KillClients => vec![words.list_clients()],
        Action::WaitExecuted { until, at_most } => words.wait(until, *at_most)?,
        Action::SetSemiSyncSource(switch) => words.semi_sync_source(*switch),
        Action::SetSemiSyncReplica(switch) => words.semi_sync_replica(*switch),
        Action::SetDelay { seconds } => vec![words.set_delay(*seconds)],
        Action::InjectEmpty(set) => words.inject(set)?,
        Action::ResetBinaryLogs { purged } => words.reset_binary_logs(purged)?,
        // There is no such table, and none is needed.
        Action::WriteNothing => vec!["FLUSH TABLES baton.nothing".into()],
        Action::FlushBinaryLogs => vec!["FLUSH BINARY LOGS".into()],
        Action::PurgeBinaryLogs { to } => {
            vec![format!("PURGE BINARY LOGS TO {}", quoted(to)).into()]
        }
        Action::SkipEvent => words.skip_event()?,
        Action::KillQuery { id } => vec![format!("KILL QUERY {id}").into()],
    })
}

/// The words of one server.
struct Words<'a> {
    facts: &'a Facts,
    options: &'a WordingOptions,
    /// The name of the main channel.
    channel: &'a str,
    is_mariadb: bool,
}

impl<'a> Words<'a> {
    fn of(facts: &'a Facts, options: &'a WordingOptions) -> Result<Self, String> {
        let is_mariadb = match facts.version.flavor() {
            Flavor::MariaDb => true,
            Flavor::MySql | Flavor::Percona => false,
            Flavor::MaxScale => return Err("a binlog router has no such commands".into()),
            Flavor::Unknown => return Err("it is not known what kind of server this is".into()),
        };
        let channel = facts.main_channel().map_or("", |channel| channel.name.as_str());
        Ok(Self { facts, options, channel, is_mariadb })
    }

    /// Whether this is MySQL of at least this version.
    fn since(&self, major: u16, minor: u16, patch: u16) -> bool {
        self.facts.version.is_mysql_at_least(major, minor, patch)
    }

    /// What the names of options of replication begin with.
    fn prefix(&self) -> &'static str {
        if self.since(8, 0, 23) { "SOURCE" } else { "MASTER" }
    }

    /// `STOP REPLICA` and its like.
    fn on_channel(&self, verb: &str, rest: &str) -> Statement {
        let channel = quoted(self.channel);
        if self.is_mariadb {
            return format!("{verb} SLAVE {channel}{rest}").into();
        }
        let replica = if self.since(8, 0, 22) { "REPLICA" } else { "SLAVE" };
        format!("{verb} {replica}{rest} FOR CHANNEL {channel}").into()
    }

    fn threads(&self, verb: &str, threads: Threads) -> Statement {
        let threads = match threads {
            Threads::Both => "",
            Threads::Receiver => " IO_THREAD",
            Threads::Applier => " SQL_THREAD",
        };
        self.on_channel(verb, threads)
    }

    /// A receiver that tells its source that it goes gets a second for that, instead of what is
    /// set: its source may not answer. The server itself sets that again, whatever becomes of us.
    fn stop(&self, threads: Threads) -> Statement {
        let stop = self.threads("STOP", threads);
        if !self.facts.tells_its_source() || threads == Threads::Applier {
            return stop;
        }
        // Whoever finds one second found that of somebody else who is at it.
        let restore =
            format!("SET GLOBAL {TELLING_TIME} = IF(usual = 1, @@GLOBAL.{TELLING_TIME}, usual)");
        format!(
            "BEGIN NOT ATOMIC \
             DECLARE usual BIGINT UNSIGNED DEFAULT @@GLOBAL.{TELLING_TIME}; \
             DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN {restore}; RESIGNAL; END; \
             SET GLOBAL {TELLING_TIME} = 1; {}; {restore}; END",
            stop.text()
        )
        .into()
    }

    fn start_until(&self, at: &BinlogCoordinates) -> Statement {
        let source = self.prefix();
        let (file, position) = (quoted(&at.file), at.position);
        let until = format!(" UNTIL {source}_LOG_FILE = {file}, {source}_LOG_POS = {position}");
        self.on_channel("START", &until)
    }

    fn list_clients(&self) -> Statement {
        // Filtering in information_schema.processlist would hold up a MySQL server while it reads.
        let text = if self.is_mariadb {
            "SELECT ID, USER, COMMAND FROM information_schema.PROCESSLIST"
        } else if self.since(8, 0, 22) {
            "SELECT ID, USER, COMMAND FROM performance_schema.processlist"
        } else {
            LIST_EVERYBODY
        };
        Statement::from(text).expecting(Expectation::Processlist)
    }

    fn wait(&self, until: &Until, at_most: Duration) -> Result<Vec<Statement>, String> {
        let (text, expects) = match until {
            Until::Gtids(Gtids::None) => return Ok(Vec::new()),
            Until::Gtids(Gtids::MySql(set)) if !self.is_mariadb => {
                let (set, seconds) = (quoted(&set.to_string()), self.patience(at_most));
                let text = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET({set}, {seconds})");
                (text, Expectation::ExecutedGtids)
            }
            Until::Gtids(Gtids::MariaDb(position)) if self.is_mariadb => {
                // What the server wrote itself is executed, but would be waited for in vain.
                let pending = applied::pending(self.facts, position);
                if pending.is_empty() {
                    return Ok(Vec::new());
                }
                let (position, seconds) = (quoted(&pending.to_string()), fractional(at_most));
                let text = format!("SELECT MASTER_GTID_WAIT({position}, {seconds})");
                (text, Expectation::ExecutedGtids)
            }
            Until::Gtids(_) => return Err("these are GTIDs of another kind of server".into()),
            Until::Source(at) => {
                (self.wait_for_position(at, at_most), Expectation::ReachedPosition)
            }
        };
        Ok(vec![Statement::from(text).expecting(expects)])
    }

    fn wait_for_position(&self, at: &BinlogCoordinates, at_most: Duration) -> String {
        let function = if self.since(8, 0, 26) { "SOURCE_POS_WAIT" } else { "MASTER_POS_WAIT" };
        let seconds = self.patience(at_most);
        let (file, channel) = (quoted(&at.file), quoted(self.channel));
        format!("SELECT {function}({file}, {}, {seconds}, {channel})", at.position)
    }

    /// Where fractions of a second may be cut off, to 0, which means "for ever", whole ones.
    fn patience(&self, at_most: Duration) -> String {
        if self.since(8, 0, 0) { fractional(at_most) } else { whole(at_most) }
    }

    fn semi_sync_source(&self, switch: Switch) -> Vec<Statement> {
        let state = &self.facts.semi_sync;
        let side = if state.source_side_is_new { "source" } else { "master" };
        self.semi_sync(side, state.source_enabled, switch)
    }

    fn semi_sync_replica(&self, switch: Switch) -> Vec<Statement> {
        let state = &self.facts.semi_sync;
        let side = if state.replica_side_is_new { "replica" } else { "slave" };
        self.semi_sync(side, state.replica_enabled, switch)
    }

    fn semi_sync(&self, side: &str, is_enabled: bool, switch: Switch) -> Vec<Statement> {
        // A server without the plugin does not know the variable, and has it off.
        if switch == Switch::Off && !self.facts.semi_sync.available && !is_enabled {
            return Vec::new();
        }
        let value = u8::from(switch == Switch::On);
        vec![format!("SET GLOBAL rpl_semi_sync_{side}_enabled = {value}").into()]
    }

    fn inject(&self, set: &GtidSet) -> Result<Vec<Statement>, String> {
        if self.is_mariadb {
            return Err("MariaDB has no empty transactions under a given GTID".into());
        }
        let count = set.count();
        if count > INJECTED_MAX {
            return Err(format!("{count} empty transactions are more than {INJECTED_MAX}"));
        }
        let each = set.iter(usize::try_from(count).unwrap_or(usize::MAX)).map(|gtid| {
            // In one packet. A transaction that is there already is passed over by the server.
            let gtid = quoted(&gtid.to_string());
            format!("SET SESSION gtid_next = {gtid}; BEGIN; COMMIT").into()
        });
        let last = Statement::from("SET SESSION gtid_next = 'AUTOMATIC'");
        Ok(each.chain([last]).collect())
    }

    fn reset_binary_logs(&self, purged: &GtidSet) -> Result<Vec<Statement>, String> {
        if self.is_mariadb {
            return Err("MariaDB has no set of purged GTIDs".into());
        }
        let is_new = self.since(8, 2, 0);
        let reset = if is_new { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
        let mut statements = vec![reset.into()];
        if !purged.is_empty() {
            let purged = quoted(&purged.to_string());
            statements.push(format!("SET GLOBAL gtid_purged = {purged}").into());
        }
        Ok(statements)
    }

    fn skip_event(&self) -> Result<Vec<Statement>, String> {
        let positioning = self.facts.main_channel().map(|channel| channel.positioning);
        let has_gtids =
            positioning.is_some_and(|it| it != Positioning::File) || self.facts.gtid.mode == "ON";
        if has_gtids {
            return Err("events cannot be skipped by count where there are GTIDs".into());
        }
        let mut statements = Vec::new();
        if self.is_mariadb && !self.channel.is_empty() {
            let channel = quoted(self.channel);
            statements.push(format!("SET SESSION default_master_connection = {channel}").into());
        }
        let side = if self.since(8, 0, 26) { "replica" } else { "slave" };
        statements.push(format!("SET GLOBAL sql_{side}_skip_counter = 1").into());
        Ok(statements)
    }
}

/// Asks for the heartbeat of the main channel; the answer is for [`heartbeat`].
pub fn ask_heartbeat(facts: &Facts) -> String {
    if facts.version.is_mariadb() {
        return "SHOW ALL SLAVES STATUS".into();
    }
    let channel = facts.main_channel().map_or("", |channel| channel.name.as_str());
    let channel = quoted(channel);
    format!("SELECT Heartbeat FROM mysql.slave_master_info WHERE Channel_name = {channel}")
}

/// Reads the heartbeat of the main channel.
pub fn heartbeat(answer: &RawTable, facts: &Facts) -> Option<Duration> {
    let channel = facts.main_channel()?;
    let of_channel =
        |row: &Row<'_>| row.get("Connection_name").is_none_or(|name| name == channel.name.as_str());
    let row = answer.rows().find(of_channel)?;
    let seconds: f64 = row.number_any(&["Heartbeat", "Slave_heartbeat_period"])?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Seconds with milliseconds, and never 0, which means "for ever".
fn fractional(time: Duration) -> String {
    seconds(time.max(Duration::from_millis(1)))
}

/// Seconds with milliseconds.
fn seconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
}

/// Whole seconds, for those who read nothing else; never 0.
fn whole(time: Duration) -> String {
    time.as_secs().max(1).to_string()
}
