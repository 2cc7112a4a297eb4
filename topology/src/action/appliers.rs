//! What the threads of replication say that they are doing.
//!
//! A source that dies while it sends a transaction leaves a part of it: whoever applies that waits
//! for the rest, and MySQL holds up whoever tells it to stop, for a minute. What cannot be waited
//! for is only told apart from work that takes long by asking every thread.

use crate::instance::Facts;
use crate::reading::{RawTable, Row};

/// What the thread says that hands out work, when there is nothing left to hand out.
const READ_ALL: &str = "has read all relay log";
/// What a thread says that applies, while it has nothing to do.
const WAITS: [&str; 2] =
    ["Waiting for an event from Coordinator", "Waiting for work from SQL thread"];

/// Lists the receivers of MySQL; the answer is for [`out_of_room`].
pub const LIST_RECEIVERS: &str = "SELECT PROCESSLIST_ID Id, PROCESSLIST_STATE State \
     FROM performance_schema.threads WHERE NAME IN ('thread/sql/replica_io', 'thread/sql/slave_io')";

/// Receivers that wait for room on their disk: MySQL waits with them when it is to stop them, for
/// minutes. Ended, one keeps what it has received.
pub fn out_of_room(receivers: &RawTable) -> Vec<u64> {
    let stuck = receivers.rows().filter(|row| row.text("State") == "Waiting for disk space");
    stuck.filter_map(|row| row.number("Id")).collect()
}

/// Lists the threads that apply; the answer is for [`have_nothing_left`] and [`waiting`].
pub fn list_appliers(facts: &Facts) -> &'static str {
    if facts.version.is_mariadb() {
        "SELECT ID Id, COMMAND Name, STATE State FROM information_schema.PROCESSLIST \
         WHERE COMMAND IN ('Slave_SQL', 'Slave_worker')"
    } else {
        "SELECT PROCESSLIST_ID Id, NAME Name, PROCESSLIST_STATE State \
         FROM performance_schema.threads WHERE NAME IN ('thread/sql/replica_sql', \
         'thread/sql/replica_worker', 'thread/sql/slave_sql', 'thread/sql/slave_worker')"
    }
}

/// Whether all of them wait for more, and there are any.
pub fn have_nothing_left(appliers: &RawTable) -> bool {
    let is_idle = |row: &Row<'_>| {
        let state = row.text("State");
        if is_worker(row) { is_waiting(&state) } else { state.contains(READ_ALL) }
    };
    appliers.rows().any(|row| !is_worker(&row)) && appliers.rows().all(|row| is_idle(&row))
}

/// Those that wait for more to apply.
pub fn waiting(appliers: &RawTable) -> Vec<u64> {
    let workers = appliers.rows().filter(|row| is_worker(row) && is_waiting(&row.text("State")));
    workers.filter_map(|row| row.number("Id")).collect()
}

fn is_waiting(state: &str) -> bool {
    WAITS.iter().any(|it| state.starts_with(it))
}

fn is_worker(row: &Row<'_>) -> bool {
    row.text("Name").to_ascii_lowercase().ends_with("_worker")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, &str)]) -> RawTable {
        let cell = |text: &str| Some(text.as_bytes().to_vec());
        let row = |(id, (name, state)): (usize, &(&str, &str))| {
            vec![cell(&id.to_string()), cell(name), cell(state)]
        };
        RawTable {
            columns: ["Id", "Name", "State"].map(str::to_owned).to_vec(),
            rows: rows.iter().enumerate().map(row).collect(),
        }
    }

    #[test]
    fn only_receivers_that_wait_for_room_are_ended() {
        let states = [
            ("thread/sql/replica_io", "Waiting for disk space"),
            ("thread/sql/replica_io", "Waiting for source to send event"),
            ("thread/sql/replica_io", "Queueing source event to the relay log"),
        ];
        assert_eq!(out_of_room(&table(&states)), [0]);
    }

    #[test]
    fn whoever_still_works_has_something_left() {
        let read_all = "Replica has read all relay log; waiting for more updates";
        let waits = "Waiting for an event from Coordinator";
        let (sql, worker) = ("thread/sql/replica_sql", "thread/sql/replica_worker");
        for (case, rows, nothing_left, waiting_ids) in [
            ("nobody", vec![], false, vec![]),
            (
                "one thread alone",
                vec![("Slave_SQL", "Slave has read all relay log; waiting")],
                true,
                vec![],
            ),
            ("it reads", vec![("Slave_SQL", "Reading event from the relay log")], false, vec![]),
            ("all wait", vec![(sql, read_all), (worker, waits), (worker, waits)], true, vec![1, 2]),
            (
                "one applies what was handed out",
                vec![
                    (sql, read_all),
                    (worker, "Applying batch of row changes (write)"),
                    (worker, waits),
                ],
                false,
                vec![2],
            ),
            (
                "more is to be handed out",
                vec![(sql, "Waiting for worker"), (worker, waits)],
                false,
                vec![1],
            ),
            ("workers alone tell nothing", vec![(worker, waits)], false, vec![0]),
        ] {
            let table = table(&rows);
            assert_eq!(have_nothing_left(&table), nothing_left, "{case}");
            assert_eq!(waiting(&table), waiting_ids, "{case}");
        }
    }
}
