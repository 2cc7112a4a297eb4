//! Picks transactions out of a binary log, event by event, within limits (I12).

use crate::reading::RawTable;

use super::Extra;

/// So many events are asked for at a time.
pub const EVENTS_PER_QUESTION: u32 = 200;
/// No more transactions are picked.
const TRANSACTIONS_MAX: usize = 200;
/// No more events of one are kept, and no more of each than this.
const EVENTS_MAX: usize = 20;
const EVENT_CHARS_MAX: usize = 300;
/// No more events are read.
const READ_MAX: u64 = 500_000;
/// What belongs to no transaction.
const FRAME: [&str; 9] = [
    "Format_desc",
    "Previous_gtids",
    "Gtid_list",
    "Binlog_checkpoint",
    "Start_encryption",
    "Rotate",
    "Stop",
    "Incident",
    "Heartbeat",
];

/// A transaction in a binary log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its name.
    pub gtid: String,
    /// The log.
    pub log: String,
    /// Where it begins.
    pub begins_at: u64,
    /// Where it ends.
    pub ends_at: u64,
    /// The first of its events, each in a line. Rows are not decoded.
    pub events: Vec<String>,
    /// How many more there are.
    pub more: usize,
}

/// What was picked so far.
#[derive(Debug)]
pub struct Scan {
    extra: Extra,
    found: Vec<Transaction>,
    /// The last of `found` is still being read.
    is_open: bool,
    read: u64,
}

impl Scan {
    /// Picks what is extra.
    pub fn new(extra: Extra) -> Self {
        Self { extra, found: Vec::new(), is_open: false, read: 0 }
    }

    /// Takes events of a log. Returns where to go on; `None` at its end.
    pub fn take(&mut self, log: &str, events: &RawTable) -> Option<u64> {
        let mut next = None;
        for event in events.rows() {
            let (Some(at), Some(end)) = (event.number("Pos"), event.number("End_log_pos")) else {
                continue;
            };
            self.read += 1;
            self.event(log, (at, end), &event.text("Event_type"), &event.text("Info"));
            next = Some(end).filter(|end| *end > at);
        }
        let is_full = events.rows.len() >= EVENTS_PER_QUESTION as usize;
        if !is_full {
            self.is_open = false;
        }
        next.filter(|_| is_full)
    }

    fn event(&mut self, log: &str, (at, end): (u64, u64), kind: &str, info: &str) {
        if let Some(gtid) = gtid(info) {
            let is_wanted = self.extra.has(gtid) && self.found.len() < TRANSACTIONS_MAX;
            self.is_open = is_wanted;
            if is_wanted {
                self.found.push(Transaction {
                    gtid: gtid.to_owned(),
                    log: log.to_owned(),
                    begins_at: at,
                    ends_at: end,
                    events: Vec::new(),
                    more: 0,
                });
            }
            return;
        }
        let is_frame = FRAME.contains(&kind);
        self.is_open &= !is_frame;
        let Some(open) = self.found.last_mut().filter(|_| self.is_open) else { return };
        open.ends_at = end;
        if open.events.len() < EVENTS_MAX {
            let line = format!("{kind} {info}");
            open.events.push(line.chars().take(EVENT_CHARS_MAX).collect());
        } else {
            open.more += 1;
        }
    }

    /// Why it must not go on, if so.
    pub fn limit(&self) -> Option<String> {
        if self.found.len() >= TRANSACTIONS_MAX && !self.is_open {
            return Some(format!("only the first {TRANSACTIONS_MAX} transactions are shown"));
        }
        let is_over = self.read >= READ_MAX;
        is_over.then(|| format!("only {READ_MAX} events were read, from the oldest on"))
    }

    /// The transactions, in the order of the logs.
    pub fn finish(self) -> Vec<Transaction> {
        self.found
    }
}

/// The transaction that an event begins, by what the server says of the event.
fn gtid(info: &str) -> Option<&str> {
    if let Some(rest) = info.strip_prefix("SET @@SESSION.GTID_NEXT= '") {
        return rest.split('\'').next();
    }
    let rest = info.strip_prefix("BEGIN ").unwrap_or(info);
    rest.strip_prefix("GTID ")?.split_whitespace().next()
}
