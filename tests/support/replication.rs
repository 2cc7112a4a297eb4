//! What a server replicates, and how far it is.

use std::time::Duration;

use super::{
    options::{Flavor, Options},
    server::{Server, text},
    wait_until,
};

/// How long a replica's threads may take to run.
const REPLICATION_MAX: Duration = Duration::from_secs(20);

impl Server {
    /// Starts a server that replicates from `source`.
    pub fn start_replica_of(source: &Server, options: Options) -> Server {
        let replica = Server::start(options);
        replica.replicate_from(source);
        replica
    }

    /// Replicates from `source` on the default channel and waits until both threads run.
    pub fn replicate_from(&self, source: &Server) {
        self.replicate_channel("", source);
    }

    /// The same on a named channel (a connection name, on MariaDB).
    pub fn replicate_channel(&self, channel: &str, source: &Server) {
        let endpoint = (source.host.as_str(), source.port);
        let statements = match self.flavor {
            Flavor::MySql97 => self.mysql_change_source(channel, endpoint, source),
            Flavor::MariaDb1011 | Flavor::MariaDb118 => {
                self.mariadb_change_master(channel, endpoint, source)
            }
        };
        statements.iter().for_each(|sql| self.exec(sql));
        let description = format!("{} replicates from {}", self.address(), source.address());
        wait_until(REPLICATION_MAX, &description, || self.replication_runs(channel).then_some(()));
    }

    fn mysql_change_source(
        &self,
        channel: &str,
        (host, port): (&str, u16),
        source: &Server,
    ) -> [String; 2] {
        let position = if self.gtid {
            "SOURCE_AUTO_POSITION = 1".to_owned()
        } else {
            let (file, position) = source.binlog_position();
            format!("SOURCE_LOG_FILE = '{file}', SOURCE_LOG_POS = {position}")
        };
        [
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{host}', SOURCE_PORT = {port}, \
                 SOURCE_USER = 'repl', SOURCE_PASSWORD = 'repl', GET_SOURCE_PUBLIC_KEY = 1, \
                 SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400, SOURCE_HEARTBEAT_PERIOD = 1, \
                 {position} FOR CHANNEL '{channel}'"
            ),
            format!("START REPLICA FOR CHANNEL '{channel}'"),
        ]
    }

    fn mariadb_change_master(
        &self,
        channel: &str,
        (host, port): (&str, u16),
        source: &Server,
    ) -> [String; 2] {
        let position = if self.gtid {
            "MASTER_USE_GTID = slave_pos".to_owned()
        } else {
            let (file, position) = source.binlog_position();
            format!("MASTER_USE_GTID = no, MASTER_LOG_FILE = '{file}', MASTER_LOG_POS = {position}")
        };
        [
            format!(
                "CHANGE MASTER '{channel}' TO MASTER_HOST = '{host}', MASTER_PORT = {port}, \
                 MASTER_USER = 'repl', MASTER_PASSWORD = 'repl', MASTER_CONNECT_RETRY = 1, \
                 MASTER_HEARTBEAT_PERIOD = 1, {position}"
            ),
            format!("START SLAVE '{channel}'"),
        ]
    }

    /// Makes commits wait for a replica's acknowledgement. Only where replicas are: a server without any would hold
    /// every commit, those it replicates too, until its time-out.
    pub fn wait_for_acknowledgements(&self) {
        match self.flavor {
            Flavor::MySql97 => self.exec("SET GLOBAL rpl_semi_sync_source_enabled = ON"),
            Flavor::MariaDb1011 | Flavor::MariaDb118 => {
                self.exec("SET GLOBAL rpl_semi_sync_master_enabled = ON")
            }
        }
    }

    /// File and position of the newest event in the binary log.
    pub fn binlog_position(&self) -> (String, u64) {
        let sql = match self.flavor {
            Flavor::MySql97 => "SHOW BINARY LOG STATUS",
            Flavor::MariaDb1011 | Flavor::MariaDb118 => "SHOW MASTER STATUS",
        };
        let row = self.query(sql).into_iter().next().expect("the binary log is on");
        let field = |index: usize| row[index].clone().expect("file and position are known");
        (field(0), field(1).parse().expect("a position is a number"))
    }

    /// Whether it has received all that its source has written. It need not have applied it.
    pub fn has_received_all_of(&self, source: &Server) -> bool {
        let name = match self.flavor {
            Flavor::MySql97 => "Source",
            Flavor::MariaDb1011 | Flavor::MariaDb118 => "Master",
        };
        let read = |column: &str| self.replica_status("", column);
        let (file, position) = source.binlog_position();
        read(&format!("{name}_Log_File")) == Some(file)
            && read(&format!("Read_{name}_Log_Pos")) == Some(position.to_string())
    }

    /// Whether both threads of a channel run.
    pub fn replication_runs(&self, channel: &str) -> bool {
        ["IO_Running", "SQL_Running"]
            .iter()
            .all(|thread| self.replica_status(channel, thread).is_some_and(|state| state == "Yes"))
    }

    /// A column of the replica status, named without its `Replica_`, `Slave_`, `Source_` or `Master_`.
    pub fn replica_status(&self, channel: &str, column: &str) -> Option<String> {
        let sql = match self.flavor {
            Flavor::MySql97 => format!("SHOW REPLICA STATUS FOR CHANNEL '{channel}'"),
            Flavor::MariaDb1011 | Flavor::MariaDb118 => format!("SHOW SLAVE '{channel}' STATUS"),
        };
        let rows = self.run(&[&sql]).ok()?;
        let row = rows.first()?;
        let bare = |name: &str| {
            let prefixes = ["Replica_", "Slave_", "Source_", "Master_"];
            prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name).to_owned()
        };
        let wanted = bare(column);
        let index = row.columns_ref().iter().position(|it| bare(&it.name_str()) == wanted)?;
        text(row.as_ref(index)?)
    }

    /// Everything this server has committed: its GTID set, or MariaDB's current position.
    pub fn executed(&self) -> String {
        match self.flavor {
            Flavor::MySql97 => self.value("SELECT @@global.gtid_executed"),
            Flavor::MariaDb1011 | Flavor::MariaDb118 => {
                self.value("SELECT @@global.gtid_current_pos")
            }
        }
    }
}
