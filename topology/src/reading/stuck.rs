//! Whether a server waits for room to write its binary log.
//!
//! MySQL and MariaDB do not fail a commit for a full disk: they wait until somebody makes room.
//! Everything else goes on, but whoever asks how far the log is waits with those who commit.

use super::RawTable;

/// The question that waits, in the words of all versions.
const QUESTIONS: [&str; 2] = ["show binary log status", "show master status"];
/// Somebody who asks and is answered is never found at it for so long.
const WAITS_FOR_SECS: u64 = 1;

/// The newest message of a full disk, where the server keeps its error log in a table and lets us
/// read it.
pub const DISK_FULL_MESSAGE: &str = "SELECT DATA FROM performance_schema.error_log \
     WHERE ERROR_CODE = 'MY-000035' ORDER BY LOGGED DESC LIMIT 1";

/// Whether a processlist shows that `us` waits for an answer to where the binary log ends.
pub fn is_log_stuck(processlist: &RawTable, us: &str) -> bool {
    processlist.rows().any(|row| {
        let statement = row.text("Info").trim_start().to_ascii_lowercase();
        row.text("User") == us
            && row.number("Time").is_some_and(|seconds: u64| seconds >= WAITS_FOR_SECS)
            && QUESTIONS.iter().any(|question| statement.starts_with(question))
    })
}

/// What is told of it: what the server said, as far as it does not change from one time to the next.
pub fn why_log_is_stuck(message: Option<&str>) -> String {
    let said = message.map(|text| text.split(". Waiting").next().unwrap_or(text).trim());
    match said.filter(|text| !text.is_empty()) {
        Some(said) => said.to_owned(),
        None => "its binary log takes no more writes: its disk may be full".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_stuck_while_whoever_asks_for_its_end_waits() {
        let cell = |text: &str| Some(text.as_bytes().to_vec());
        for (user, time, info, expected) in [
            ("baton", "1", "SHOW BINARY LOG STATUS", true),
            ("baton", "30", "SHOW MASTER STATUS", true),
            ("baton", "0", "SHOW BINARY LOG STATUS", false),
            ("app", "30", "SHOW MASTER STATUS", false),
            ("baton", "30", "SHOW PROCESSLIST", false),
        ] {
            let columns = ["Id", "User", "Time", "Info"].map(str::to_owned).to_vec();
            let rows = vec![[("7"), user, time, info].map(cell).to_vec()];
            assert_eq!(is_log_stuck(&RawTable { columns, rows }, "baton"), expected, "{info}");
        }
    }

    #[test]
    fn what_the_server_said_is_told_without_what_it_does_about_it() {
        let full = "Disk is full writing './binlog.000002' (OS errno 28 - No space left on device)";
        let said = format!("{full}. Waiting for someone to free space... Retry in 60 secs.");
        assert_eq!(why_log_is_stuck(Some(&said)), full);
        for nothing in [None, Some("")] {
            assert!(why_log_is_stuck(nothing).contains("disk may be full"));
        }
    }
}
