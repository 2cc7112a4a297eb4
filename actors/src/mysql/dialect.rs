//! How a server wants to be asked: the text of each question in the dialect of its version.
//!
//! Only what can change between versions is decided here; what the answers mean is read in
//! [`baton_topology::reading`], which knows all spellings.

use baton_topology::reading::Question;
use baton_topology::version::Version;

/// Variables all servers have.
macro_rules! common_variables {
    () => {
        "SELECT @@global.hostname hostname, @@global.report_host report_host, \
         @@global.version version, @@global.version_comment version_comment, \
         @@global.server_id server_id, @@global.read_only read_only, @@global.log_bin log_bin, \
         @@global.binlog_format binlog_format, @@global.binlog_row_image binlog_row_image"
    };
}

/// Variables all versions of MySQL have.
macro_rules! mysql_variables {
    ($log_replica_updates:literal) => {
        concat!(
            common_variables!(),
            ", @@global.server_uuid server_uuid, @@global.super_read_only super_read_only, \
             @@global.gtid_mode gtid_mode, @@global.gtid_executed gtid_executed, \
             @@global.gtid_purged gtid_purged, @@global.",
            $log_replica_updates,
            " log_replica_updates"
        )
    };
}

/// `SHOW GLOBAL STATUS`, but only what is read. Names a server does not have are just absent.
const STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime', \
     'Rpl_semi_sync_source_status', 'Rpl_semi_sync_source_clients', \
     'Rpl_semi_sync_replica_status', 'Rpl_semi_sync_master_status', \
     'Rpl_semi_sync_master_clients', 'Rpl_semi_sync_slave_status', 'wsrep_cluster_status', \
     'wsrep_provider_name', 'wsrep_local_state_comment', 'wsrep_cluster_state_uuid', \
     'wsrep_incoming_addresses', 'group_replication_primary_member', \
     'Gr_last_consensus_end_timestamp')";

/// Those of semi-synchronous replication, whether the nodes of a Galera cluster share GTIDs, and
/// whether the server lets anybody in.
const REPLICATION_VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE \
     Variable_name LIKE 'rpl\\_semi\\_sync\\_%' OR \
     Variable_name IN ('wsrep_gtid_mode', 'offline_mode')";

/// Rows only on members: MySQL keeps the table, empty, without the plugin.
const GROUP_MEMBERS: &str = "SELECT MEMBER_ID member_id, MEMBER_HOST member_host, \
     MEMBER_PORT member_port, MEMBER_STATE member_state, MEMBER_ROLE member_role \
     FROM performance_schema.replication_group_members";

/// These variables are there only with the plugin.
const GROUP_SETTINGS: &str = "SELECT @@global.group_replication_group_name group_name, \
     @@global.group_replication_single_primary_mode single_primary";

/// Joined with the user variable in which a replica leaves its UUID, by the name old and new
/// replicas give it.
const DUMP_THREADS: &str = "SELECT t.PROCESSLIST_HOST Address, v.VARIABLE_VALUE Replica_UUID \
     FROM performance_schema.threads t \
     LEFT JOIN performance_schema.user_variables_by_thread v \
     ON v.THREAD_ID = t.THREAD_ID AND v.VARIABLE_NAME IN ('replica_uuid', 'slave_uuid') \
     WHERE t.PROCESSLIST_COMMAND IN ('Binlog Dump', 'Binlog Dump GTID')";

/// Open to everybody; others' connections show to those with the PROCESS privilege.
const PROCESSLIST: &str = "SELECT HOST Host FROM performance_schema.processlist \
     WHERE COMMAND IN ('Binlog Dump', 'Binlog Dump GTID')";

const PROCESSLIST_MARIADB: &str = "SELECT HOST Host FROM information_schema.PROCESSLIST \
     WHERE COMMAND IN ('Binlog Dump', 'Binlog Dump GTID')";

/// Since 8.0, MySQL tells those with the `XA_RECOVER_ADMIN` privilege.
const PREPARED_XA: &str = "XA RECOVER";

/// Shows the events of databases on which the account has the `EVENT` privilege. Those that were made
/// here and are disabled on replicas are meant to be.
macro_rules! events {
    () => {
        "SELECT COUNT(IF(STATUS LIKE '%SIDE_DISABLED' AND ORIGINATOR <> @@global.server_id, 1, NULL)) \
         replica_side_disabled, COUNT(IF(STATUS = 'ENABLED', 1, NULL)) enabled, @@global.event_scheduler scheduler \
         FROM information_schema.EVENTS"
    };
}

/// What is known of a server from its greeting on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialect {
    version: Version,
    performance_schema: PerformanceSchema,
}

/// Whether a server collects performance data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PerformanceSchema {
    On,
    Off,
}

impl Dialect {
    /// The first question on every connection.
    pub(super) const GREETING: &'static str =
        "SELECT @@global.version, @@global.version_comment, @@global.performance_schema";

    pub(super) fn new(version: Version, performance_schema: PerformanceSchema) -> Self {
        Self { version, performance_schema }
    }

    /// The statement for a question; `None` when this server cannot be asked that.
    pub(super) fn statement(&self, question: Question) -> Option<&'static str> {
        match question {
            // Before that a second is the least that a lock is waited for, which is a probe's time.
            Question::Events
                if self.version.is_mariadb() && !self.version.is_mariadb_at_least(10, 3) =>
            {
                None
            }
            _ if self.version.is_mariadb() => mariadb(question),
            _ => self.mysql(question),
        }
    }

    fn mysql(&self, question: Question) -> Option<&'static str> {
        let has_new_words = self.version.is_mysql_at_least(8, 0, 22);
        let has_schema = self.performance_schema == PerformanceSchema::On;
        Some(match question {
            Question::Basics if self.version.is_mysql_at_least(8, 0, 26) => {
                mysql_variables!("log_replica_updates")
            }
            Question::Basics => mysql_variables!("log_slave_updates"),
            Question::ReplicaStatus if has_new_words => "SHOW REPLICA STATUS",
            Question::ReplicaStatus => "SHOW SLAVE STATUS",
            Question::Status => STATUS,
            Question::BinlogStatus if self.version.is_mysql_at_least(8, 2, 0) => {
                "SHOW BINARY LOG STATUS"
            }
            Question::BinlogStatus => "SHOW MASTER STATUS",
            Question::SemiSyncVariables => REPLICATION_VARIABLES,
            // The server keeps this table even where it collects no performance data.
            Question::GroupMembers if self.version.is_mysql_at_least(8, 0, 2) => GROUP_MEMBERS,
            Question::GroupSettings => GROUP_SETTINGS,
            Question::ReplicaHosts if has_new_words => "SHOW REPLICAS",
            Question::ReplicaHosts => "SHOW SLAVE HOSTS",
            Question::DumpThreads if has_schema => DUMP_THREADS,
            Question::Processlist if has_schema && has_new_words => PROCESSLIST,
            // Lists everybody. Filtering in information_schema.processlist is no way out: it
            // holds up the whole server while it reads.
            Question::Processlist => "SHOW PROCESSLIST",
            Question::Credentials if self.version.is_mysql_at_least(8, 0, 23) => {
                "SELECT COUNT(*) > 0 AND MAX(User_name) != '' readable, \
                 MAX(Source_connection_auto_failover) leaves_its_source \
                 FROM mysql.slave_master_info"
            }
            Question::Credentials => {
                "SELECT COUNT(*) > 0 AND MAX(User_name) != '' FROM mysql.slave_master_info"
            }
            Question::PreparedXa => PREPARED_XA,
            // Older ones open a table for that, which somebody may have locked.
            Question::Events if self.version.is_mysql_at_least(8, 0, 0) => events!(),
            _ => return None,
        })
    }
}

fn mariadb(question: Question) -> Option<&'static str> {
    Some(match question {
        Question::Basics => concat!(
            common_variables!(),
            ", @@global.gtid_current_pos gtid_executed, @@global.gtid_slave_pos gtid_slave_pos, \
             @@global.gtid_binlog_pos gtid_binlog_pos, \
             @@global.gtid_binlog_state gtid_binlog_state, \
             @@global.gtid_ignore_duplicates gtid_ignore_duplicates, \
             @@global.log_slave_updates log_replica_updates"
        ),
        Question::ReplicaStatus => "SHOW ALL SLAVES STATUS",
        Question::Status => STATUS,
        Question::BinlogStatus => "SHOW MASTER STATUS",
        Question::SemiSyncVariables => REPLICATION_VARIABLES,
        Question::ReplicaHosts => "SHOW SLAVE HOSTS",
        Question::Processlist => PROCESSLIST_MARIADB,
        Question::PreparedXa => PREPARED_XA,
        // Not to be held up by who has locked the table of events.
        Question::Events => concat!("SET STATEMENT lock_wait_timeout = 0 FOR ", events!()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(version: &str, comment: &str, schema: PerformanceSchema) -> Dialect {
        Dialect::new(Version::parse(version, comment), schema)
    }

    #[test]
    fn every_version_is_asked_in_its_own_words() {
        use PerformanceSchema::{Off, On};
        for (version, question, expected) in [
            ("5.7.44-log", Question::ReplicaStatus, "SHOW SLAVE STATUS"),
            ("8.0.21", Question::ReplicaStatus, "SHOW SLAVE STATUS"),
            ("8.0.22", Question::ReplicaStatus, "SHOW REPLICA STATUS"),
            ("9.7.0", Question::ReplicaStatus, "SHOW REPLICA STATUS"),
            ("10.11.14-MariaDB", Question::ReplicaStatus, "SHOW ALL SLAVES STATUS"),
            ("8.0.36", Question::BinlogStatus, "SHOW MASTER STATUS"),
            ("8.4.0", Question::BinlogStatus, "SHOW BINARY LOG STATUS"),
            ("12.0.2-MariaDB", Question::BinlogStatus, "SHOW MASTER STATUS"),
            ("8.0.36", Question::ReplicaHosts, "SHOW REPLICAS"),
            ("5.7.44", Question::ReplicaHosts, "SHOW SLAVE HOSTS"),
        ] {
            let statement = dialect(version, "", On).statement(question);
            assert_eq!(statement, Some(expected), "{version}");
        }
        let without_schema = dialect("9.7.0", "", Off);
        assert_eq!(without_schema.statement(Question::Processlist), Some("SHOW PROCESSLIST"));
        assert_eq!(without_schema.statement(Question::DumpThreads), None);
        assert_eq!(without_schema.statement(Question::GroupMembers), Some(GROUP_MEMBERS));
    }

    #[test]
    fn no_mysql_is_ever_asked_for_the_information_schema_processlist() {
        for version in ["5.7.44", "8.0.11", "8.0.36", "8.4.3", "9.7.0"] {
            for schema in [PerformanceSchema::On, PerformanceSchema::Off] {
                let text = dialect(version, "", schema).statement(Question::Processlist).unwrap();
                assert!(!text.to_lowercase().contains("information_schema"), "{version}");
            }
        }
    }
}
