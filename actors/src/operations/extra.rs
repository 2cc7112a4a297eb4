//! Finds what a former primary has that its successor lacks, in its binary logs. Reads only, no
//! longer than [`SEARCH_DEADLINE`], and no more than [`Scan`] takes.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_topology::action::LogQuestion;
use baton_topology::key::InstanceKey;
use baton_topology::reading::RawTable;
use baton_topology::recovery::extra::{
    EVENTS_PER_QUESTION, Extra, Scan, commands_for_range, commands_for_set, compared_with, extra,
};
use tokio::time::{Instant, timeout_at};

use super::Workshop;
use crate::operations::crew::Crew;
use crate::ports::{ExtraTransactions, OperationError, Transactions};

/// Looking into the logs of a server takes no longer.
const SEARCH_DEADLINE: Duration = Duration::from_secs(15);
/// Binary logs begin here.
const FIRST_EVENT: u64 = 4;
/// No more logs are looked into, beginning with the newest.
const LOGS_MAX: usize = 200;

impl Workshop {
    pub(super) async fn find_extra(
        &self,
        key: InstanceKey,
        transactions: Transactions,
    ) -> Result<ExtraTransactions, OperationError> {
        let cannot =
            |why: baton_topology::recovery::Refused| OperationError::Failed(why.to_string());
        let other = compared_with(&key, &self.fleet()).map_err(cannot)?;
        // In this order: what the other one lacks then, it never got from this one.
        self.look_at(BTreeSet::from([key.clone()])).await;
        self.look_at(BTreeSet::from([other.clone()])).await;
        let fleet = self.fleet();
        let is_mariadb = fleet.instance(&other).is_some_and(|it| it.facts.version.is_mariadb());
        let state = match is_mariadb {
            true => Some(self.log_state(&other).await.map_err(OperationError::Failed)?),
            false => None,
        };
        let extra = extra(&key, &other, state.as_deref(), &fleet).map_err(cannot)?;
        let mut found = ExtraTransactions {
            key: key.clone(),
            compared_with: other,
            extra: extra.clone(),
            logs: Vec::new(),
            transactions: Vec::new(),
            commands: Vec::new(),
            notes: Vec::new(),
        };
        let deadline = Instant::now() + SEARCH_DEADLINE;
        match &extra {
            Extra::MySql(set) if set.is_empty() => return Ok(found),
            Extra::MySql(set) => {
                match timeout_at(deadline, Crew::new(self).logs_with(&key, set)).await {
                    Ok(Ok(logs)) => found.logs = logs,
                    Ok(Err(why)) => found.notes.push(why),
                    Err(_) => found.notes.push(format!("{key}: searching its logs took too long")),
                }
                found.commands = commands_for_set(&key, set, &found.logs);
                if transactions == Transactions::Listed {
                    self.scan(&mut found, deadline).await;
                }
            }
            Extra::MariaDb(_) => {
                let logs = timeout_at(deadline, self.logs_since(&key, &extra)).await;
                match logs {
                    Ok(Ok((logs, note))) => {
                        found.logs = logs;
                        found.notes.extend(note);
                    }
                    Ok(Err(why)) => found.notes.push(why),
                    Err(_) => found.notes.push(format!("{key}: searching its logs took too long")),
                }
                // Nothing else tells which they are.
                self.scan(&mut found, deadline).await;
                found.logs.retain(|log| found.transactions.iter().any(|it| it.log == *log));
                found.commands = commands_for_range(&key, &found.transactions);
            }
        }
        Ok(found)
    }

    async fn log_state(&self, key: &InstanceKey) -> Result<String, String> {
        let answer = Crew::new(self).ask(key, &LogQuestion::State).await?;
        Ok(answer.first().and_then(|row| row.at(0)).unwrap_or_default().into_owned())
    }

    /// The logs, oldest first, that begin before something that is extra ends; and what is missing.
    async fn logs_since(
        &self,
        key: &InstanceKey,
        extra: &Extra,
    ) -> Result<(Vec<String>, Option<String>), String> {
        let mut crew = Crew::new(self);
        let all = crew.ask(key, &LogQuestion::List).await?;
        let names: Vec<String> = all.rows().map(|row| row.text("Log_name")).collect();
        let mut found = Vec::new();
        for name in names.iter().rev().take(LOGS_MAX) {
            found.insert(0, name.clone());
            let events = crew.ask(key, &LogQuestion::Beginning(name.clone())).await?;
            if list(&events).is_some_and(|list| extra.begins_after(&list)) {
                return Ok((found, None));
            }
        }
        let note = format!("{key}: older binary logs, gone or not looked into, may have more");
        Ok((found, Some(note)))
    }

    /// Reads the logs that were found.
    async fn scan(&self, found: &mut ExtraTransactions, deadline: Instant) {
        let mut scan = Scan::new(found.extra.clone());
        let mut crew = Crew::new(self);
        let note = 'logs: {
            for log in &found.logs {
                let mut next = Some(FIRST_EVENT);
                while let Some(from) = next {
                    let log = log.clone();
                    let question = LogQuestion::Events {
                        log: log.clone(),
                        from,
                        at_most: EVENTS_PER_QUESTION,
                    };
                    match timeout_at(deadline, crew.ask(&found.key, &question)).await {
                        Ok(Ok(events)) => next = scan.take(&log, &events),
                        Ok(Err(why)) => break 'logs Some(why),
                        Err(_) => break 'logs Some("reading the logs took too long".to_owned()),
                    }
                    if let Some(why) = scan.limit() {
                        break 'logs Some(why);
                    }
                }
            }
            None
        };
        found.notes.extend(note);
        found.transactions = scan.finish();
    }
}

/// What came before a log of MariaDB.
fn list(events: &RawTable) -> Option<String> {
    let list = events.rows().find(|row| row.text("Event_type") == "Gtid_list");
    list.map(|row| row.text("Info"))
}
