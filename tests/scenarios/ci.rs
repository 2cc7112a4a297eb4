//! The cluster `ci`: four servers, a baton that watches them, and the client people drive it with.
//!
//! Servers are called 10111 (the primary), 10112, 10113 and 10114, as in orchestrator's tests. They listen on any free
//! ports; what is said to the client and what it says is translated.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::heartbeat::Heartbeat;
use super::support::{Baton, Flavor, Options, PASSWORD, PATIENCE, Server, USER, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
/// The call name of the first server; the others follow.
const FIRST: u16 = 10111;

/// Ends baton before the servers, so that its log does not end with their end.
pub(super) struct Ci {
    pub(super) baton: Baton,
    _heartbeat: Heartbeat,
    /// The servers by their call names: 10111 first.
    pub(super) servers: Vec<Server>,
    client: PathBuf,
}

/// The topology every scenario begins with.
pub(super) const WHOLE: &str = "127.0.0.1:10111|0s|ok
+ 127.0.0.1:10112|0s|ok
+ 127.0.0.1:10113|0s|ok
+ 127.0.0.1:10114|0s|ok";

impl Ci {
    pub(super) fn start() -> Self {
        Self::start_with(&Options::new(Flavor::MySql97))
    }

    /// Boots four servers, makes them a star, and waits until baton sees it.
    pub(super) fn start_with(options: &Options) -> Self {
        let options = options
            .clone()
            .line("read_only=ON")
            .line("replica_net_timeout=2")
            .line("plugin-load-add=semisync_source.so")
            .line("plugin-load-add=semisync_replica.so")
            .line("loose-rpl_semi_sync_source_timeout=60000")
            .without_performance_schema();
        let mut servers = Server::start_all(std::iter::repeat_n(options, 4));
        // Trees are drawn in order of ports.
        servers.sort_by_key(|server| server.port);
        for server in &servers {
            let all = ["GRANT ALL PRIVILEGES ON *.* TO {user} WITH GRANT OPTION"];
            server.create_monitor_user(USER, PASSWORD, &all);
            Heartbeat::admit(server);
        }
        deploy(&servers);
        let settings = [("BATON_MYSQLHOSTNAMERESOLVEMETHOD", "@@report_host")];
        let mut baton = Baton::prepare(BATON, vec![servers[0].address()], &settings);
        let client = baton.folder().join("orchestrator-client");
        std::os::unix::fs::symlink(BATON, &client).expect("name the client");
        let log = baton.folder().join("recovery.log");
        let base = base(&servers, &log.display().to_string());
        fs::write(baton.folder().join("orchestrator.conf.json"), base.to_string())
            .expect("write the configuration");
        baton.launch();
        let heartbeat = Heartbeat::start(&servers);
        let ci = Self { baton, _heartbeat: heartbeat, servers, client };
        ci.until_topology(WHOLE);
        ci
    }

    /// The server with this call name.
    pub(super) fn server(&self, name: u16) -> &Server {
        &self.servers[usize::from(name - FIRST)]
    }

    /// Text about call names as text about real ports.
    fn outward(&self, text: &str) -> String {
        self.translated(text, |name, port| (name, port))
    }

    /// Text about real ports as text about call names.
    pub(super) fn inward(&self, text: &str) -> String {
        self.translated(text, |name, port| (port, name))
    }

    fn translated(&self, text: &str, pair: impl Fn(u16, u16) -> (u16, u16)) -> String {
        let mut text = text.to_owned();
        for (name, server) in (FIRST..).zip(&self.servers) {
            let (from, to) = pair(name, server.port);
            text = text.replace(&from.to_string(), &to.to_string());
        }
        text
    }

    fn run(&self, line: &str) -> (bool, String, String) {
        let line = self.outward(line);
        let output = Command::new(&self.client)
            .args(line.split(' '))
            .env("ORCHESTRATOR_API", format!("http://127.0.0.1:{}/api", self.baton.port))
            .env_remove("BATON_API")
            .output()
            .expect("run the client");
        let text = |bytes: &[u8]| self.inward(String::from_utf8_lossy(bytes).trim_end());
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// What the client prints for a command that succeeds.
    pub(super) fn says(&self, line: &str) -> String {
        let (succeeds, out, error) = self.run(line);
        assert!(succeeds, "{line}: {out} {error}");
        assert_eq!(error, "", "{line}");
        out
    }

    /// What the client says for a command that fails.
    pub(super) fn refuses(&self, line: &str) -> String {
        let (succeeds, out, error) = self.run(line);
        assert!(!succeeds, "{line}: {out}");
        error
    }

    /// Asks until the answer is this.
    pub(super) fn until_says(&self, line: &str, expected: &str) {
        let mut last = String::new();
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(PATIENCE, line, || {
                last = self.run(line).1;
                (last == expected).then_some(())
            });
        }));
        assert!(asked.is_ok(), "{line}:\n{last}\ninstead of\n{expected}");
    }

    /// Name, lag and state of everybody, without padding; a lag that is hardly one is none.
    pub(super) fn topology(&self) -> String {
        let table = self.run("-c topology-tabulated -a ci").1;
        let lines = table.lines().map(|line| {
            let cells: Vec<&str> = line.split('|').take(3).map(str::trim_end).collect();
            let [name, lag, state] = cells[..] else { return line.to_owned() };
            let lag = lag.trim_start();
            format!("{name}|{}|{state}", if lag == "1s" { "0s" } else { lag })
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Waits for a topology.
    pub(super) fn until_topology(&self, expected: &str) {
        let mut last = String::new();
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(PATIENCE, "the topology", || {
                last = self.topology();
                (last == expected).then_some(())
            });
        }));
        assert!(seen.is_ok(), "the topology is\n{last}\ninstead of\n{expected}");
    }

    /// An instance as the API shows it.
    pub(super) fn instance(&self, name: u16) -> Value {
        let port = self.server(name).port;
        self.baton.get(&format!("/api/instance/127.0.0.1/{port}"))
    }

    /// Waits until an instance is as it should be.
    pub(super) fn until_instance(&self, name: u16, what: &str, is: impl Fn(&Value) -> bool) {
        wait_until(PATIENCE, &format!("{name}: {what}"), || is(&self.instance(name)).then_some(()));
    }

    /// Stops replication on a server, and waits until the primary has written more.
    pub(super) fn leave_behind(&self, names: &[u16]) {
        for name in names {
            assert_eq!(self.says(&format!("-c stop-replica -i 127.0.0.1:{name}")), ours(*name));
        }
        let stood: Vec<String> = names.iter().map(|name| self.server(*name).executed()).collect();
        wait_until(PATIENCE, "the primary goes on", || {
            let ahead = self.servers[0].executed();
            stood.iter().all(|it| *it != ahead).then_some(())
        });
    }

    /// Lays a configuration over the base, as a scenario does.
    pub(super) fn configure(&self, over: &Value) {
        let file = self.baton.folder().join("over.json");
        fs::write(&file, over.to_string()).expect("write the configuration");
        // Nothing that others may write is taken for one.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("keep it");
        let path = format!("reload-configuration?config={}", file.display());
        self.says(&format!("-c api -P {path}"));
    }

    /// Instances that are given up, and nobody else.
    pub(super) fn lost(&self) -> String {
        let all = self.baton.get("/api/downtimed");
        let all = all.as_array().cloned().unwrap_or_default();
        assert!(all.iter().all(|it| it["DowntimeReason"] == "lost-in-recovery"), "{all:#?}");
        self.says("-c downtimed")
    }

    /// What orchestrator's tests do between two scenarios that leave ruins: every server starts anew, with another
    /// history, in its old place, and nobody tells baton before it is done.
    pub(super) fn redeploy(&mut self) {
        for server in &mut self.servers {
            if server.try_query("SELECT 1").is_err() {
                server.kill_9();
                server.restart();
            }
        }
        // Replicas that are put below one that baton still takes for dead are brought to who replaced it.
        self.baton.until_all_valid(self.servers.len());
        deploy(&self.servers);
        self.tidy_up();
        for name in FIRST..FIRST + 4 {
            self.says(&format!("-c discover -i 127.0.0.1:{name}"));
        }
        self.until_topology(WHOLE);
        assert_eq!(self.says("-c which-cluster-master -a ci"), ours(FIRST));
        assert_eq!(self.says("-c all-instances").lines().count(), 4);
        // What baton did about a primary it found closed on the way is no reason to wait.
        self.says("-c ack-all-recoveries -r test");
    }

    /// What orchestrator's tests do between any two scenarios.
    pub(super) fn tidy_up(&self) {
        self.says("-c api -P reload-configuration");
        self.says("-c ack-all-recoveries -r test");
        for name in FIRST..FIRST + 4 {
            self.run(&format!("-c end-downtime -i 127.0.0.1:{name}"));
            self.says(&format!("-c register-candidate -i 127.0.0.1:{name} -R neutral"));
        }
    }
}

/// The address of a server by its call name.
pub(super) fn ours(name: u16) -> String {
    format!("127.0.0.1:{name}")
}

/// A star with a history that begins now. Everybody may be anything.
fn deploy(servers: &[Server]) {
    // Nobody is to look like a primary that was closed while others follow it: baton would open it.
    for server in servers {
        ["STOP REPLICA", "RESET REPLICA ALL"].iter().for_each(|sql| server.exec(sql));
    }
    for server in servers {
        for sql in [
            "SET GLOBAL super_read_only = OFF",
            "SET GLOBAL read_only = ON",
            "SET GLOBAL rpl_semi_sync_source_enabled = OFF",
            "SET GLOBAL rpl_semi_sync_replica_enabled = OFF",
            // What they hold may differ by now.
            "DROP DATABASE IF EXISTS test",
            "RESET BINARY LOGS AND GTIDS",
        ] {
            // baton may be closing the former primary right now, once more.
            wait_until(PATIENCE, sql, || {
                server.try_query("SET GLOBAL super_read_only = OFF").ok()?;
                server.try_query(sql).ok()
            });
        }
    }
    // baton may be closing it right now, once more.
    let write = |sql: &str| {
        wait_until(PATIENCE, sql, || {
            servers[0].try_query("SET GLOBAL read_only = OFF").ok()?;
            servers[0].try_query(sql).ok()
        });
    };
    write("CREATE DATABASE test");
    servers[1..].iter().for_each(|replica| replica.replicate_from(&servers[0]));
    write(
        "CREATE TABLE test.heartbeat \
         (id INT PRIMARY KEY, ts TIMESTAMP NOT NULL, hint VARCHAR(64) NOT NULL)",
    );
    write("REPLACE INTO test.heartbeat VALUES (1, NOW(), '')");
    wait_until(PATIENCE, "everybody has the heartbeat", || {
        let has = |it: &Server| it.try_query("SELECT id FROM test.heartbeat WHERE id = 1").ok();
        servers.iter().all(|it| has(it).is_some_and(|rows| !rows.is_empty())).then_some(())
    });
}

/// The configuration of orchestrator's system tests, without what is about other machines.
fn base(servers: &[Server], log: &str) -> Value {
    let port = |name: u16| servers[usize::from(name - FIRST)].port;
    let (a, b, c, d) = (port(10111), port(10112), port(10113), port(10114));
    let told = |text: &str| json!([format!("echo '{text}' >> {log}")]);
    json!({
        "InstancePollSeconds": 1,
        "MySQLConnectTimeoutSeconds": 1,
        "DefaultInstancePort": 3306,
        "HostnameResolveMethod": "none",
        "ReasonableMaintenanceReplicationLagSeconds": 20,
        "ReplicationLagQuery": "SELECT TIMESTAMPDIFF(SECOND, ts, NOW()) FROM test.heartbeat",
        "DetectClusterAliasQuery": "SELECT 'ci'",
        "DetectDataCenterQuery": format!(
            "SELECT CASE @@port WHEN {a} THEN 'dc-east-1' WHEN {b} THEN 'dc-east-1' \
             WHEN {c} THEN 'dc-east-2' WHEN {d} THEN 'dc-west' END"
        ),
        "DetectRegionQuery": format!("SELECT IF(@@port = {d}, 'rgn-west', 'rgn-east')"),
        "DetectPhysicalEnvironmentQuery": "SELECT 'prod'",
        "ReduceReplicationAnalysisCount": false,
        "FailureDetectionPeriodBlockMinutes": 5,
        "FailMasterPromotionOnLagMinutes": 1,
        "RecoverNonWriteableMaster": true,
        "RecoveryPeriodBlockSeconds": 5,
        "RecoverMasterClusterFilters": ["*"],
        "RecoverIntermediateMasterClusterFilters": ["*"],
        "OnFailureDetectionProcesses": told("found {failureType} on {failureCluster}"),
        "PreGracefulTakeoverProcesses": told("handing over {failureCluster}"),
        "PreFailoverProcesses": told("recovering from {failureType} on {failureCluster}"),
        "PostFailoverProcesses": told("recovered from {failureType} on {failureCluster}"),
        "PostMasterFailoverProcesses":
            told("{failedHost}:{failedPort} replaced by {successorHost}:{successorPort}"),
        "PostIntermediateMasterFailoverProcesses":
            told("{failedHost}:{failedPort} left for {successorHost}:{successorPort}"),
        "PostGracefulTakeoverProcesses": told("handed over"),
        "CoMasterRecoveryMustPromoteOtherCoMaster": true,
        "DetachLostSlavesAfterMasterFailover": true,
        "ApplyMySQLPromotionAfterMasterFailover": true,
        "PreventCrossDataCenterMasterFailover": false,
        "PreventCrossRegionMasterFailover": true,
        "MasterFailoverDetachReplicaMasterHost": false,
    })
}
