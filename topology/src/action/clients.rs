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
/// Who has been at it for less than this is no reason for a server to be late.
const HELD_FOR_SECS: u64 = 2;
/// The same for idle connections of our own account: between two probes they are idle, too.
const OURS_HELD_FOR_SECS: u64 = 4;
/// What baton itself may be saying for long.
const OUR_STATEMENTS: [&str; 10] = [
    "do sleep",
    "set ",
    "show ",
    "stop ",
    "start ",
    "reset ",
    "change ",
    "begin not atomic",
    "select wait_for_executed_gtid_set",
    "select master_gtid_wait",
];

/// Connections that may hold a lock, of a processlist that `us` asked for: an idle one may be in a
/// transaction, or keep the tables of a backup. Those that are at it for longest come first. Whatever
/// uses the same account as baton is named as that, because baton never ends it.
pub fn holders(processlist: &RawTable, us: &str) -> Vec<String> {
    let found = processlist.rows().filter_map(|row| {
        let (user, statement) = (row.text("User"), row.text("Info"));
        let is_ours = user == us;
        let at_least = if is_ours { OURS_HELD_FOR_SECS } else { HELD_FOR_SECS };
        let since = row.number("Time").filter(|time| *time >= at_least)?;
        let is_client = is_client(&row, us) || (is_ours && !is_our_statement(&statement));
        let id: u64 = row.number("Id").filter(|_| is_client)?;
        let account = if is_ours { " (baton's own account, never ended)" } else { "" };
        let doing = match kind_of(&statement).as_str() {
            "" => format!("{} for {since} s", idle_or(&row.text("Command"))),
            kind => format!("{kind} for {since} s"),
        };
        Some((since, id, format!("thread {id}, {user}@{}{account}: {doing}", row.text("Host"))))
    });
    let mut found: Vec<(u64, u64, String)> = found.collect();
    found.sort_by(|a, b| (b.0, a.1).cmp(&(a.0, b.1)));
    found.into_iter().take(NAMED_MAX).map(|(_, _, named)| named).collect()
}

fn idle_or(command: &str) -> String {
    if command == "Sleep" { "idle".into() } else { command.to_lowercase() }
}

fn is_our_statement(statement: &str) -> bool {
    let statement = statement.trim_start().to_ascii_lowercase();
    OUR_STATEMENTS.iter().any(|it| statement.starts_with(it))
}

/// What kind of statement it is: the rest may hold what is nobody's to read.
fn kind_of(statement: &str) -> String {
    let word = statement.split_whitespace().next().unwrap_or_default();
    word.chars().take_while(char::is_ascii_alphabetic).take(20).collect::<String>().to_uppercase()
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
    fn who_may_hold_a_lock_is_named_the_longest_first() {
        let long = format!("UPDATE shop.orders\n   SET note = '{}'", "x".repeat(100));
        let rows = [
            ("4", "app", "Sleep", "1", ""),
            ("5", "baton", "Sleep", "30", ""),
            ("12", "baton", "Sleep", "3", ""),
            ("6", "baton", "Query", "9", "SET GLOBAL super_read_only = 1"),
            ("7", "baton", "Query", "40", "DO SLEEP(0.5)"),
            ("8", "app", "Query", "7", long.as_str()),
            ("9", "app", "Killed", "7", ""),
            ("10", "repl", "Binlog Dump GTID", "900", ""),
            ("11", "system user", "Query", "800", "INSERT"),
        ];
        let columns = ["Id", "User", "Command", "Time", "Info", "Host"].map(str::to_owned);
        let listed = |rows: &[(&str, &str, &str, &str, &str)]| {
            let cell = |text: &str| Some(text.as_bytes().to_vec());
            let row = |row: &(&str, &str, &str, &str, &str)| {
                [row.0, row.1, row.2, row.3, row.4, "h:1"].map(cell).to_vec()
            };
            RawTable { columns: columns.to_vec(), rows: rows.iter().map(row).collect() }
        };
        let expected = [
            "thread 5, baton@h:1 (baton's own account, never ended): idle for 30 s".to_owned(),
            "thread 8, app@h:1: UPDATE for 7 s".to_owned(),
            "thread 9, app@h:1: killed for 7 s".to_owned(),
        ];
        assert_eq!(holders(&listed(&rows), "baton"), expected);
        let many: Vec<_> = (0..9).map(|_| rows[5]).collect();
        assert_eq!(holders(&listed(&many), "baton").len(), NAMED_MAX);
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
