//! The harness of real servers, tested by itself.

mod support;

use std::time::Duration;

use support::{Certificates, Flavor, Options, Server, chain, co_primaries, star, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn replicates(fleet: &[Server], from: usize, to: usize) {
    let table = format!("d.t{from}{to}");
    fleet[from].exec("CREATE DATABASE IF NOT EXISTS d");
    fleet[from].exec(&format!("CREATE TABLE {table} (id INT PRIMARY KEY)"));
    wait_until(SOON, "the table reaches the other server", || {
        fleet[to].try_query(&format!("SELECT * FROM {table}")).ok()
    });
}

fn a_server_survives_what_tests_do_to_it(flavor: Flavor, version: &str) {
    let mut server = Server::start(Options::new(flavor));
    assert!(server.value("SELECT VERSION()").starts_with(version));
    assert_eq!(server.query("SELECT NULL, 'a'"), [vec![None, Some("a".to_owned())]]);
    assert_eq!(server.executed(), "", "a fresh server has no transactions");

    server.create_monitor_user("watcher", "secret", &["GRANT REPLICATION CLIENT ON *.* TO {user}"]);
    assert_eq!(server.executed(), "", "an account for watching is no transaction");

    server.exec("CREATE DATABASE kept");
    server.kill_9();
    assert!(server.try_query("SELECT 1").is_err());
    server.restart();
    assert_eq!(server.query("SHOW DATABASES LIKE 'kept'").len(), 1);

    server.stop_signal();
    let pid = server.pid().expect("a hung server has a process");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("read its status");
    assert!(status.contains("State:\tT"), "{status}");
    server.cont_signal();
    assert_eq!(server.value("SELECT 1"), "1");
    server.restart();

    let dir = server.dir().to_owned();
    let last_pid = server.pid().expect("it runs");
    drop(server);
    assert!(!dir.exists());
    assert!(!std::path::Path::new(&format!("/proc/{last_pid}")).exists());
}

#[test]
fn mysql_survives_what_tests_do_to_it() {
    a_server_survives_what_tests_do_to_it(Flavor::MySql97, "9.7");
}

#[test]
fn mariadb_survives_what_tests_do_to_it() {
    a_server_survives_what_tests_do_to_it(Flavor::MariaDb1011, "10.11");
}

#[test]
fn a_newer_mariadb_survives_what_tests_do_to_it() {
    a_server_survives_what_tests_do_to_it(Flavor::MariaDb118, "11.8");
}

#[test]
fn a_mysql_star_replicates_by_gtid() {
    let fleet = star(&Options::new(Flavor::MySql97).semi_sync(), 2);
    replicates(&fleet, 0, 1);
    replicates(&fleet, 0, 2);
    assert_eq!(fleet[0].query("SHOW REPLICAS").len(), 2);
    let clients = fleet[0].query("SHOW STATUS LIKE 'Rpl_semi_sync_source_clients'");
    assert_eq!(clients[0][1].as_deref(), Some("2"), "both replicas acknowledge");
    let uuids: std::collections::BTreeSet<String> =
        fleet.iter().map(|server| server.value("SELECT @@server_uuid")).collect();
    assert_eq!(uuids.len(), 3, "every copy has its own UUID");
    assert_eq!(fleet[1].replica_status("", "Source_Port"), Some(fleet[0].port.to_string()));
}

#[test]
fn a_mariadb_chain_replicates_by_gtid() {
    let fleet = chain(&Options::new(Flavor::MariaDb1011).semi_sync(), 2);
    replicates(&fleet, 0, 2);
}

#[test]
fn a_mariadb_replica_follows_file_and_position_on_a_named_connection() {
    let options = Options::new(Flavor::MariaDb1011).without_gtid();
    let source = Server::start(options.clone());
    let replica = Server::start(options.read_only());
    replica.replicate_channel("reports", &source);
    assert_eq!(replica.replica_status("reports", "Using_Gtid").as_deref(), Some("No"));
    replicates(&[source, replica], 0, 1);
}

#[test]
fn co_primaries_without_gtid_replicate_both_ways() {
    let fleet = co_primaries(&Options::new(Flavor::MySql97).without_gtid());
    replicates(&fleet, 0, 1);
    replicates(&fleet, 1, 0);
}

#[test]
fn mysql_replicates_on_a_named_channel_and_speaks_tls() {
    let folder = std::env::temp_dir().join(format!("baton-tls-{}", std::process::id()));
    let certificates = Certificates::make(&folder);
    let options = Options::new(Flavor::MySql97).tls(&certificates);
    let source = Server::start(options.clone());
    let replica = Server::start(options.without_performance_schema().read_only());
    replica.replicate_channel("reports", &source);
    assert!(replica.replication_runs("reports"));
    assert_eq!(source.value("SELECT @@ssl_ca"), certificates.ca.display().to_string());
    assert_eq!(replica.value("SELECT @@performance_schema"), "0");
    std::fs::remove_dir_all(folder).expect("remove the certificates");
}
