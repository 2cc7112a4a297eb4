//! How much of what a replica received it has applied.
//!
//! Judged by whole transactions: of one whose end never came, because its source died while it was
//! sent, there is nothing to apply. By GTID that is what was received and is not executed; by file
//! and position, where the log only says how far it was read, an applier that has read all and
//! waits for more has nothing left.
//!
//! On MariaDB only `gtid_slave_pos` tells it: `gtid_current_pos` also counts what the server wrote
//! itself, which may have any number and would hide what is still to be applied.

use crate::gtid::{Gtids, MariaDbGtid, MariaDbPosition};
use crate::instance::{Facts, GtidFacts, Positioning, ThreadState};

impl GtidFacts {
    /// What was applied of what sources sent.
    pub fn applied(&self) -> Gtids {
        if self.is_told_apart() {
            Gtids::MariaDb(self.replicated.clone())
        } else {
            self.executed.clone()
        }
    }

    /// Whether the server told what it applied and what it logged.
    pub fn is_told_apart(&self) -> bool {
        !self.replicated.is_empty() || !self.logged.is_empty()
    }
}

/// What of a position a MariaDB server has yet to apply. What it wrote itself it has, though it
/// would wait for that in vain.
pub fn pending(facts: &Facts, position: &MariaDbPosition) -> MariaDbPosition {
    let gtids = &facts.gtid;
    if !gtids.is_told_apart() {
        let is_there = matches!(&gtids.executed, Gtids::MariaDb(it) if it.contains(position));
        return if is_there { MariaDbPosition::default() } else { position.clone() };
    }
    position.filtered(|gtid| !has_applied(facts, gtid))
}

fn has_applied(facts: &Facts, gtid: MariaDbGtid) -> bool {
    let gtids = &facts.gtid;
    let is_its_own = gtid.server_id == facts.server_id
        // Its log may have been emptied since.
        && gtids.logged_by.last_of(gtid.domain, gtid.server_id).is_none_or(|it| it >= gtid.sequence);
    is_its_own || gtids.replicated.contains(&MariaDbPosition::from(gtid))
}

/// Whether everything that came on the main channel is applied.
pub fn has_applied_all(facts: &Facts) -> bool {
    let Some(channel) = facts.main_channel() else { return true };
    match (channel.positioning, &channel.received, &facts.gtid.executed) {
        (Positioning::MariaDbGtid, Gtids::MariaDb(received), _) => {
            pending(facts, received).is_empty()
        }
        (Positioning::AutoPosition, Gtids::MySql(received), Gtids::MySql(executed)) => {
            executed.contains(received)
        }
        _ => {
            let waits = channel.applier == ThreadState::Running && channel.has_read_all;
            waits || channel.read == channel.executed
        }
    }
}

/// Whether the server would throw away what it has not applied as soon as a thread is started while
/// both stand still: MariaDB does, where it finds its place by GTID. Its source may be gone, and
/// nobody else may have it.
pub fn may_lose_relay_log(facts: &Facts) -> bool {
    let channel = facts.main_channel();
    channel.is_some_and(|it| it.positioning == Positioning::MariaDbGtid) && !has_applied_all(facts)
}

/// Whether starting any thread would throw that away now.
pub fn loses_relay_log_when_started(facts: &Facts) -> bool {
    let stands = |thread| matches!(thread, ThreadState::Stopped | ThreadState::Absent);
    let channel = facts.main_channel();
    channel.is_some_and(|it| stands(it.receiver) && stands(it.applier)) && may_lose_relay_log(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::BinlogCoordinates;
    use crate::testing::{key, replica_facts};
    use crate::version::Version;

    fn position(text: &str) -> MariaDbPosition {
        text.parse().unwrap()
    }

    /// A replica with server id 2 that applied, logged, and received this.
    fn replica(replicated: &str, logged_by: &str, received: &str) -> Facts {
        let mut facts = replica_facts(&key("p"));
        facts.version = Version::parse("10.11.14-MariaDB", "");
        facts.server_id = 2;
        facts.gtid.replicated = position(replicated);
        facts.gtid.logged_by = logged_by.parse().unwrap();
        facts.gtid.logged = position(logged_by);
        facts.channels[0].positioning = Positioning::MariaDbGtid;
        facts.channels[0].received = Gtids::MariaDb(position(received));
        facts
    }

    #[test]
    fn nothing_that_a_replica_wrote_itself_hides_what_it_has_not_applied() {
        for (case, replicated, logged_by, received, left) in [
            ("all is applied", "0-1-5", "0-1-5", "0-1-5", ""),
            ("two are left", "0-1-3", "0-1-3", "0-1-5", "0-1-5"),
            ("two are left, and it wrote as many", "0-1-3", "0-1-3,0-2-5", "0-1-5", "0-1-5"),
            ("two are left, and it wrote more", "0-1-3", "0-1-3,0-2-9", "0-1-5", "0-1-5"),
            ("one domain of two is left", "0-1-5,7-1-1", "", "0-1-5,7-1-2", "7-1-2"),
            ("a domain it has nothing of", "0-1-5", "", "0-1-5,7-1-2", "7-1-2"),
            ("it began where it wrote last", "0-1-3", "0-1-3,0-2-9", "0-2-9", ""),
            ("the same, and its log was emptied", "0-1-3", "", "0-2-9", ""),
            ("an earlier server had its number", "0-1-3", "0-2-4", "0-2-9", "0-2-9"),
            ("the same number of another", "0-3-5", "", "0-1-5", "0-1-5"),
        ] {
            let facts = replica(replicated, logged_by, received);
            assert_eq!(pending(&facts, &position(received)).to_string(), left, "{case}");
            assert_eq!(has_applied_all(&facts), left.is_empty(), "{case}");
            assert_eq!(may_lose_relay_log(&facts), !left.is_empty(), "{case}");
        }
    }

    #[test]
    fn what_never_ended_is_not_waited_for() {
        let mut facts = replica("0-1-5", "0-1-5", "0-1-5");
        let channel = &mut facts.channels[0];
        channel.read = BinlogCoordinates::new("bin.000001", 900);
        channel.executed = BinlogCoordinates::new("bin.000001", 500);
        assert!(has_applied_all(&facts), "by GTID");
        facts.channels[0].positioning = Positioning::File;
        assert!(!has_applied_all(&facts), "by position: it may still be at it");
        facts.channels[0].has_read_all = true;
        assert!(has_applied_all(&facts), "by position: it waits for more");
        facts.channels[0].applier = ThreadState::Stopped;
        assert!(!has_applied_all(&facts), "what it said before it stopped tells nothing");
    }

    #[test]
    fn a_relay_log_is_lost_when_a_thread_starts_where_none_runs() {
        use ThreadState::{Other, Running, Stopped};
        for (receiver, applier, is_lost) in [
            (Stopped, Stopped, true),
            (Other, Stopped, false),
            (Running, Stopped, false),
            (Stopped, Running, false),
        ] {
            let mut facts = replica("0-1-3", "", "0-1-5");
            (facts.channels[0].receiver, facts.channels[0].applier) = (receiver, applier);
            assert_eq!(loses_relay_log_when_started(&facts), is_lost, "{receiver:?} {applier:?}");
            facts.channels[0].positioning = Positioning::File;
            assert!(!loses_relay_log_when_started(&facts), "by position it is kept");
        }
    }
}
