//! Which binary logs hold given transactions. Each log begins with the set of all that came
//! before it, so what it holds is what the next one begins with, less that.

use crate::gtid::GtidSet;

use super::statements::{LIST_BINARY_LOGS, beginning_of_log, events_of_log};

/// What a server is asked about its binary logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogQuestion {
    /// Which there are.
    List,
    /// How one begins.
    Beginning(String),
    /// Some of the events of one.
    Events {
        /// The log.
        log: String,
        /// Where the first of them begins.
        from: u64,
        /// No more than this.
        at_most: u32,
    },
    /// What is in them, in MariaDB's words.
    State,
}

impl LogQuestion {
    /// What has to be said to the server.
    pub fn statement(&self) -> String {
        match self {
            Self::List => LIST_BINARY_LOGS.to_owned(),
            Self::Beginning(log) => beginning_of_log(log),
            Self::Events { log, from, at_most } => events_of_log(log, *from, *at_most),
            Self::State => "SELECT @@global.gtid_binlog_state".to_owned(),
        }
    }
}

/// A search from the newest log back to the oldest that matters.
#[derive(Debug)]
pub struct LogSearch {
    wanted: GtidSet,
    /// All transactions up to the end of the log that is examined next.
    until: GtidSet,
    found: Vec<String>,
    is_complete: bool,
}

impl LogSearch {
    /// Begins a search on a server that executed this.
    pub fn new(wanted: &GtidSet, executed: GtidSet) -> Self {
        let is_complete = wanted.intersect(&executed).is_empty();
        Self { wanted: wanted.clone(), until: executed, found: Vec::new(), is_complete }
    }

    /// Whether no older log can hold any.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Takes the next older log, and what came before it.
    pub fn examine(&mut self, name: &str, before: GtidSet) {
        if !self.until.subtract(&before).intersect(&self.wanted).is_empty() {
            self.found.push(name.to_owned());
        }
        self.is_complete = before.intersect(&self.wanted).is_empty();
        self.until = before;
    }

    /// The logs, oldest first.
    ///
    /// # Errors
    /// When some of the transactions were in logs that are gone.
    pub fn finish(mut self) -> Result<Vec<String>, String> {
        if !self.is_complete {
            let gone = self.until.intersect(&self.wanted);
            return Err(format!("binary logs that are purged held {gone}"));
        }
        self.found.reverse();
        Ok(self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &str) -> GtidSet {
        let uuid = "00000000-0000-0000-0000-000000000001";
        if numbers.is_empty() {
            GtidSet::default()
        } else {
            format!("{uuid}:{numbers}").parse().unwrap()
        }
    }

    #[test]
    fn logs_are_searched_from_the_newest_back() {
        let logs = [("c", "1-20"), ("b", "1-10"), ("a", "1-4")];
        for (wanted, expected, examined) in [
            ("25", Ok(vec!["c"]), 1),
            ("20:25", Ok(vec!["b", "c"]), 2),
            ("5", Ok(vec!["a"]), 3),
            ("11:7", Ok(vec!["a", "b"]), 3),
            ("99", Ok(vec![]), 0),
            ("", Ok(vec![]), 0),
            ("4:25", Err("4"), 3),
        ] {
            let mut search = LogSearch::new(&set(wanted), set("1-30"));
            let mut count = 0;
            for (name, before) in logs {
                if search.is_complete() {
                    break;
                }
                search.examine(name, set(before));
                count += 1;
            }
            match (search.finish(), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{wanted}"),
                (Err(text), Err(gone)) => assert!(text.ends_with(gone), "{text}"),
                (found, _) => panic!("{wanted}: {found:?}"),
            }
            assert_eq!(count, examined, "{wanted}");
        }
    }
}
