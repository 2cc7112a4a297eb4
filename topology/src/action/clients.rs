//! Which connections are those of clients.
//!
//! Whoever is fenced must lose everybody who could still write, and nobody else: replicas read
//! what is left to read, and the server's own threads belong to it.

use crate::reading::{RawTable, Row};

/// What the server runs by itself.
const SERVER_USERS: [&str; 2] = ["system user", "event_scheduler"];

/// Commands of replicas that read here, of MariaDB's own replication threads, of the server.
const SERVER_COMMANDS: [&str; 3] = ["Binlog Dump", "Slave_", "Daemon"];

/// The ids of the connections to end, of a processlist that `us` asked for.
pub fn to_end(processlist: &RawTable, us: &str) -> Vec<u64> {
    let clients = processlist.rows().filter(|row| is_client(row, us));
    clients.filter_map(|row| row.number("Id")).collect()
}

/// Whether a processlist holds connections of `user`. One that does not hold those of whoever
/// asked for it is no answer.
pub fn is_listed(processlist: &RawTable, user: &str) -> bool {
    processlist.rows().any(|row| row.text("User") == user)
}

/// No reason names more connections than this.
const NAMED_MAX: usize = 3;
/// Whoever asks and is asked all the time is idle for less than this.
const IDLE_FOR_SECS: u64 = 2;

/// Idle connections of `us`, which are never ended: one of them may hold a lock, such as that of a
/// backup that uses the same account. Those that are idle for longest come first.
pub fn spared(processlist: &RawTable, us: &str) -> Vec<String> {
    let idle = processlist.rows().filter_map(|row| {
        let is_idle = row.text("User") == us && row.text("Command") == "Sleep";
        let since = row.number("Time").filter(|time| is_idle && *time >= IDLE_FOR_SECS)?;
        Some((since, row.number("Id")?, row.text("Host")))
    });
    let mut idle: Vec<(u64, u64, String)> = idle.collect();
    idle.sort_by(|a, b| b.cmp(a));
    let named = idle.into_iter().take(NAMED_MAX);
    named.map(|(time, id, host)| format!("{id} from {host}, idle for {time} s")).collect()
}

/// Whether somebody is being told to refuse writes, as a processlist shows: that waits for commits
/// under way, and lets nobody else commit from then on.
pub fn is_closing(processlist: &RawTable) -> bool {
    processlist.rows().any(|row| {
        let statement = row.text("Info").to_ascii_lowercase();
        statement.contains("set global") && statement.contains("read_only")
    })
}

fn is_client(row: &Row<'_>, us: &str) -> bool {
    let (user, command) = (row.text("User"), row.text("Command"));
    user != us
        && !SERVER_USERS.contains(&user.as_str())
        && !SERVER_COMMANDS.iter().any(|prefix| command.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_ended_and_nobody_else() {
        let rows = [
            ("4", "app", "Sleep", true),
            ("5", "app", "Query", true),
            ("6", "root", "Execute", true),
            ("7", "unauthenticated user", "Connect", true),
            ("8", "baton", "Query", false),
            ("9", "repl", "Binlog Dump", false),
            ("10", "repl", "Binlog Dump GTID", false),
            ("11", "system user", "Connect", false),
            ("12", "system user", "Query", false),
            ("13", "event_scheduler", "Daemon", false),
            ("14", "system user", "Slave_IO", false),
            ("15", "", "Slave_worker", false),
            ("16", "", "Daemon", false),
        ];
        let cell = |text: &str| Some(text.as_bytes().to_vec());
        for columns in [["Id", "User", "Command"], ["ID", "USER", "COMMAND"]] {
            let table = RawTable {
                columns: columns.iter().map(|name| (*name).to_owned()).collect(),
                rows: rows.iter().map(|row| vec![cell(row.0), cell(row.1), cell(row.2)]).collect(),
            };
            let expected: Vec<u64> =
                rows.iter().filter(|row| row.3).map(|row| row.0.parse().unwrap()).collect();
            assert_eq!(to_end(&table, "baton"), expected);
            assert!(is_listed(&table, "baton") && !is_listed(&table, "nobody"));
        }
    }

    #[test]
    fn idle_connections_of_our_own_account_are_named_the_longest_first() {
        let rows = [
            ("4", "app", "Sleep", "100"),
            ("5", "baton", "Sleep", "1"),
            ("6", "baton", "Sleep", "7"),
            ("7", "baton", "Query", "9"),
            ("8", "baton", "Sleep", "30"),
            ("9", "baton", "Sleep", "5"),
            ("10", "baton", "Sleep", "6"),
        ];
        let cell = |text: &str| Some(text.as_bytes().to_vec());
        let table = RawTable {
            columns: ["Id", "User", "Command", "Time", "Host"].map(str::to_owned).into(),
            rows: rows
                .iter()
                .map(|row| vec![cell(row.0), cell(row.1), cell(row.2), cell(row.3), cell("h:1")])
                .collect(),
        };
        let expected =
            ["8 from h:1, idle for 30 s", "6 from h:1, idle for 7 s", "10 from h:1, idle for 6 s"];
        assert_eq!(spared(&table, "baton"), expected);
    }

    #[test]
    fn a_server_is_closing_while_it_is_told_to() {
        for (info, expected) in [
            (Some("SET GLOBAL super_read_only = 1, GLOBAL read_only = 1"), true),
            (Some("set global read_only = 1"), true),
            (Some("SHOW GLOBAL VARIABLES LIKE 'read_only'"), false),
            (Some("COMMIT"), false),
            (None, false),
        ] {
            let info = info.map(|text| text.as_bytes().to_vec());
            let table = RawTable {
                columns: ["Id".to_owned(), "Info".to_owned()].into(),
                rows: vec![vec![Some(b"4".to_vec()), info.clone()]],
            };
            assert_eq!(is_closing(&table), expected, "{info:?}");
        }
    }
}
