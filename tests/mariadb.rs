//! What is special about MariaDB's GTIDs and threads, and what a primary leaves behind that dies while it sends a
//! transaction: nothing that somebody has received is lost on the way.

mod support;

use std::fs;
use std::time::Duration;

use serde_json::Value;
use support::{
    Baton, EVERYWHERE, Flavor, Options, PATIENCE, Server, at, empower, is_writable,
    until_recovered, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const MARIADBS: [Flavor; 2] = [Flavor::MariaDb1011, Flavor::MariaDb118];

/// A primary with so many replicas, and a table they all have.
fn small_shop(options: impl Fn(usize) -> Options, replicas: usize) -> Vec<Server> {
    let all = (0..=replicas).map(|index| match index {
        0 => options(0),
        _ => options(index).read_only(),
    });
    let servers = Server::start_all(all);
    servers[1..].iter().for_each(|replica| replica.replicate_from(&servers[0]));
    empower(&servers);
    servers[0].exec("CREATE DATABASE shop");
    servers[0].exec("CREATE TABLE shop.orders (id INT PRIMARY KEY)");
    insert(&servers[0], 0..3);
    servers[1..].iter().for_each(|it| until_counted(it, 3));
    servers
}

fn watch(servers: &[Server], settings: &[(&str, &str)]) -> Baton {
    let settings = [&EVERYWHERE, settings].concat();
    let baton = Baton::start(BATON, vec![servers[0].address()], &settings);
    baton.until_all_valid(servers.len());
    baton
}

fn insert(server: &Server, ids: std::ops::Range<u32>) {
    for id in ids {
        server.exec(&format!("INSERT INTO shop.orders VALUES ({id})"));
    }
}

fn count(server: &Server) -> u32 {
    server.value("SELECT COUNT(*) FROM shop.orders").parse().expect("a count")
}

fn until_counted(server: &Server, rows: u32) {
    wait_until(PATIENCE, "it has all rows", || {
        let rows_there = server.try_query("SELECT COUNT(*) FROM shop.orders").ok()?;
        (rows_there.first()?.first()?.as_deref() == Some(rows.to_string().as_str())).then_some(())
    });
}

fn until_received(replica: &Server, source: &Server) {
    wait_until(PATIENCE, "it has received all", || {
        replica.has_received_all_of(source).then_some(())
    });
}

/// Writes of its own that are no secret: with the numbers after what it has, or in a domain of their own.
fn write_itself(replica: &Server, database: &str) {
    replica.exec(&format!("CREATE DATABASE {database}"));
    for table in 0..20 {
        replica.exec(&format!("CREATE TABLE {database}.t{table} (id INT)"));
    }
    replica.exec("FLUSH TABLES");
}

/// Waits until the recovery of a dead server has ended well.
fn until_succeeded<'a>(baton: &Baton, servers: &'a [Server]) -> (Value, &'a Server) {
    let recovery = baton.until("/api/audit-recovery", "a failover has ended", |all| {
        let all = all.as_array()?.iter();
        let mut dead = all.filter(|it| {
            // A takeover in peace tells of a dead primary as well.
            it["AnalysisEntry"]["CommandHint"] == ""
                && it["AnalysisEntry"]["Analysis"].as_str().is_some_and(|it| it.starts_with("Dead"))
        });
        dead.find(|it| it["RecoveryEndTimestamp"] != "").cloned()
    });
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}\n{}", baton.log());
    let successor = at(servers, recovery["SuccessorKey"]["Port"].as_u64().expect("a successor"));
    assert!(is_writable(successor));
    (recovery, successor)
}

/// I4: what the replica wrote itself has higher numbers than what it has not applied.
#[test]
fn what_a_replica_wrote_itself_does_not_hide_what_it_has_not_applied() {
    for flavor in MARIADBS {
        let mut servers = small_shop(|_| Options::new(flavor), 1);
        write_itself(&servers[1], "own");
        let baton = watch(&servers, &[]);
        servers[1].exec("STOP SLAVE SQL_THREAD");
        insert(&servers[0], 3..13);
        until_received(&servers[1], &servers[0]);
        servers[0].kill_9();
        let (_, successor) = until_succeeded(&baton, &servers);
        assert_eq!(count(successor), 13, "{flavor:?}");
    }
}

#[test]
fn a_takeover_waits_for_what_a_replicas_own_writes_hide() {
    for flavor in MARIADBS {
        let servers = small_shop(|_| Options::new(flavor), 1);
        write_itself(&servers[1], "own");
        let baton = watch(&servers, &[]);
        let (host, port) = (servers[1].host.clone(), servers[1].port);
        let path = format!("/api/graceful-master-takeover-auto/shop/{host}/{port}");
        let answer = std::thread::scope(|scope| {
            let asked = servers[1].while_held("shop.orders", || {
                insert(&servers[0], 3..4);
                until_received(&servers[1], &servers[0]);
                let asked = scope.spawn(|| baton.get(&path));
                wait_until(PATIENCE, "the old primary is closed, or all is over", || {
                    // Whoever asks while it is closed may be sent away with the clients.
                    let asks = servers[0].try_query("SELECT 1 WHERE @@global.read_only = 1");
                    let is_closed = asks.is_ok_and(|rows| !rows.is_empty());
                    (asked.is_finished() || is_closed).then_some(())
                });
                asked
            });
            asked.join().expect("it answers")
        });
        assert_eq!(answer["Code"], "OK", "{answer}\n{}", baton.log());
        assert!(is_writable(&servers[1]));
        assert_eq!(count(&servers[1]), 4, "{flavor:?}");
    }
}

/// Waits until what it wrote itself is shown as errant, or nothing is.
fn until_errant(baton: &Baton, server: &Server, is_errant: bool) {
    let path = format!("/api/instance/{}/{}", server.host, server.port);
    let own = format!("0-{}-", server.server_id);
    baton.until(&path, &format!("{own} is errant: {is_errant}"), |it| {
        let errant = it["GtidErrant"].as_str()?;
        let is_so = if is_errant { errant.starts_with(&own) } else { errant.is_empty() };
        is_so.then_some(())
    });
}

/// Each server writes in a domain of its own, and replicas write a little in another.
#[test]
fn what_replicas_wrote_themselves_neither_bars_nor_spreads() {
    let flavor = Flavor::MariaDb1011;
    let options = |index| match index {
        0 => Options::new(flavor).line("gtid_domain_id=1"),
        _ => Options::new(flavor),
    };
    for dirty in [1..=2, 1..=1] {
        let mut servers = small_shop(options, 2);
        dirty.clone().for_each(|index| write_itself(&servers[index], &format!("own{index}")));
        let baton = watch(&servers, &[]);
        if dirty.end() == &1 {
            let (host, port) = (&servers[1].host, servers[1].port);
            baton.get(&format!("/api/register-candidate/{host}/{port}/prefer"));
        }
        for (index, server) in servers.iter().enumerate() {
            until_errant(&baton, server, dirty.contains(&index));
        }
        insert(&servers[0], 3..13);
        servers[1..].iter().for_each(|it| until_counted(it, 13));
        servers[0].kill_9();
        let (_, successor) = until_succeeded(&baton, &servers);
        assert_eq!(count(successor), 13);
        if dirty.end() == &1 {
            assert_eq!(successor.port, servers[2].port, "the one that wrote nothing");
            assert!(servers[2].query("SHOW DATABASES LIKE 'own%'").is_empty());
        }
        insert(successor, 100..101);
        servers[1..].iter().for_each(|it| until_counted(it, 14));
    }
}

/// What a former primary writes itself as a replica, as for a FLUSH, is no part of the place at which it
/// goes on: its source would not know that.
#[test]
fn a_former_primary_goes_on_replicating_though_it_writes_something_itself() {
    for flavor in MARIADBS {
        let servers = small_shop(|_| Options::new(flavor), 2);
        let baton = watch(&servers, &[]);
        let answer = baton.get("/api/graceful-master-takeover-auto/shop");
        assert_eq!(answer["Code"], "OK", "{answer}\n{}", baton.log());
        let port = baton.get("/api/master/shop")["Key"]["Port"].as_u64().expect("a primary");
        let successor = at(&servers, port);
        wait_until(PATIENCE, "the former primary follows", || {
            servers[0].replication_runs("").then_some(())
        });
        servers[0].exec("FLUSH TABLES; ANALYZE TABLE shop.orders");
        insert(successor, 3..13);
        until_counted(&servers[0], 13);
        servers[0].exec("STOP SLAVE; START SLAVE");
        insert(successor, 13..23);
        until_counted(&servers[0], 23);
        assert!(servers[0].replication_runs(""), "{flavor:?}");
    }
}

/// Left over in `gtid_slave_pos` from what the server replicated once; nobody will ever send it.
#[test]
fn a_domain_in_nobodys_log_does_not_count() {
    let mut servers = small_shop(|_| Options::new(Flavor::MariaDb1011), 2);
    servers[0].exec("SET GLOBAL gtid_slave_pos = '9-77-77'");
    servers[1].exec("STOP SLAVE");
    let applied = servers[1].value("SELECT @@global.gtid_slave_pos");
    servers[1].exec(&format!("SET GLOBAL gtid_slave_pos = '{applied},8-66-66'"));
    servers[1].exec("START SLAVE");
    let baton = watch(&servers, &[]);
    let take_over = |new: &Server| {
        let path = format!("/api/graceful-master-takeover-auto/shop/{}/{}", new.host, new.port);
        let answer = baton.get(&path);
        assert_eq!(answer["Code"], "OK", "{answer}\n{}", baton.log());
        baton.until("/api/master/shop", "it heads the cluster", |it| {
            (it["Key"]["Port"] == new.port).then_some(())
        });
    };
    take_over(&servers[1]);
    insert(&servers[1], 3..4);
    [&servers[0], &servers[2]].into_iter().for_each(|it| until_counted(it, 4));
    baton.until_all_valid(3);
    let old = servers[1].address();
    servers[1].kill_9();
    let (recovery, successor) = until_succeeded(&baton, &servers);
    let successor_port = successor.port;
    let uid = recovery["UID"].as_str().expect("a name");
    let steps = baton.get(&format!("/api/audit-recovery-steps/{uid}")).to_string();
    assert!(!steps.contains("-66-66") && !steps.contains("-77-77"), "no loss is told: {steps}");
    servers[1].restart();
    let home = format!("/api/rejoin/{}", old.replace(':', "/"));
    baton.until(&home, "it is back", |it| (it["Code"] == "OK").then_some(()));
    insert(at(&servers, u64::from(successor_port)), 10..11);
    until_counted(&servers[1], 5);
}

/// Its applier fails while everybody waits for it, and its receiver is stopped by then: whatever is started would make
/// the server throw away the rest.
#[test]
fn a_relay_log_outlives_an_applier_that_fails_on_the_way() {
    for flavor in MARIADBS {
        let mut servers = small_shop(|_| Options::new(flavor), 1);
        let baton = watch(&servers, &[("BATON_RECOVERYPERIODBLOCKSECONDS", "1")]);
        servers[1].exec("SET GLOBAL read_only = OFF");
        servers[1].run_unlogged("INSERT INTO shop.orders VALUES (50)");
        servers[1].exec("SET GLOBAL read_only = ON");
        servers[1].exec("STOP SLAVE SQL_THREAD");
        insert(&servers[0], 3..103);
        until_received(&servers[1], &servers[0]);
        let received = servers[1].replica_status("", "Gtid_IO_Pos");
        servers[0].kill_9();
        let recovery = until_recovered(&baton);
        assert_eq!(recovery["IsSuccessful"], false, "{recovery:#}");
        wait_until(PATIENCE, "the primary is tried again, or never will be", || {
            let all = baton.get("/api/audit-recovery");
            let ended = all.as_array()?.iter().filter(|it| it["RecoveryEndTimestamp"] != "");
            let log = baton.log();
            (ended.count() > 1 || log.contains("applier stopped over error")).then_some(())
        });
        assert!(!is_writable(&servers[1]), "{}", baton.log());
        assert_eq!(servers[1].replica_status("", "Gtid_IO_Pos"), received, "{}", baton.log());
        assert!(recovery["AllErrors"].to_string().contains("throws"), "{recovery:#}");

        // With its source there is nothing to lose any more.
        servers[0].restart();
        servers[1].run_unlogged("DELETE FROM shop.orders WHERE id = 50");
        servers[1].exec("START SLAVE");
        until_counted(&servers[1], 103);
        assert!(is_writable(&servers[0]) && !is_writable(&servers[1]));
    }
}

/// What was received of a transaction whose end never came is nothing to wait for: MySQL's applier does wait, for a
/// minute.
#[test]
fn a_primary_of_mysql_that_dies_while_it_sends_a_transaction_is_replaced() {
    dies_while_it_sends(Flavor::MySql97);
}

#[test]
fn a_primary_of_mariadb_that_dies_while_it_sends_a_transaction_is_replaced() {
    dies_while_it_sends(Flavor::MariaDb1011);
}

fn dies_while_it_sends(flavor: Flavor) {
    const UP_TO_DATE: (&str, &str) = ("BATON_FAILMASTERPROMOTIONIFSQLTHREADNOTUPTODATE", "true");
    for (options, settings) in
        [(Options::new(flavor), vec![]), (Options::new(flavor).without_gtid(), vec![UP_TO_DATE])]
    {
        let mut servers = small_shop(|_| options.clone(), 1);
        let baton = watch(&servers, &settings);
        servers[0]
            .exec("CREATE TABLE shop.big (id INT AUTO_INCREMENT PRIMARY KEY, filling LONGBLOB)");
        servers[0].exec("INSERT INTO shop.big (filling) VALUES (REPEAT('x', 1000000))");
        for _ in 0..4 {
            servers[0].exec("INSERT INTO shop.big (filling) SELECT filling FROM shop.big");
        }
        until_received(&servers[1], &servers[0]);
        let before = relay_bytes(&servers[1]);
        std::thread::scope(|scope| {
            let all = "INSERT INTO shop.big (filling) SELECT b.filling FROM shop.big b, (SELECT 1 UNION SELECT 2) c";
            let pid = servers[0].pid().expect("it runs");
            let (first, replica) = (&servers[0], &servers[1]);
            let writing = scope.spawn(move || first.try_query(all));
            wait_until(PATIENCE, "a part of it is received", || {
                (relay_bytes(replica) > before + 2_000_000).then_some(())
            });
            let kill =
                std::process::Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).status();
            assert!(kill.expect("run kill").success());
            let _ = writing.join();
        });
        servers[0].kill_9();
        let (_, successor) = until_succeeded(&baton, &servers);
        assert_eq!(count(successor), 3);
        let big: u32 = successor.value("SELECT COUNT(*) FROM shop.big").parse().expect("a count");
        assert!(big == 16 || big == 48, "all of a transaction or nothing: {big}");
        insert(successor, 100..101);
    }
}

fn relay_bytes(replica: &Server) -> u64 {
    let files = fs::read_dir(replica.dir().join("data")).expect("its data").flatten();
    let relays = files.filter(|it| it.file_name().to_string_lossy().starts_with("relay."));
    relays.filter_map(|it| it.metadata().ok()).map(|it| it.len()).sum()
}

/// Its only replica is made to connect anew, and MariaDB 11.8 does not let go of a receiver that is connecting.
#[test]
fn a_hung_primary_with_one_replica_is_replaced() {
    for flavor in MARIADBS {
        let servers = small_shop(|_| Options::new(flavor), 1);
        let baton = watch(&servers, &[]);
        insert(&servers[0], 3..13);
        until_counted(&servers[1], 13);
        servers[0].stop_signal();
        let started = std::time::Duration::from_secs(20);
        wait_until(started, "the replica is opened", || is_writable(&servers[1]).then_some(()));
        let (_, successor) = until_succeeded(&baton, &servers);
        assert_eq!(count(successor), 13);
        insert(successor, 100..101);
        // When it lives again its replica is none any more, and it is closed.
        servers[0].cont_signal();
        support::until_fenced(&servers[0]);
        wait_until(Duration::from_secs(60), "it follows nobody", || {
            servers[1].replica_status("", "Master_Host").is_none().then_some(())
        });
        assert!(is_writable(&servers[1]));
        assert_eq!(count(&servers[1]), 14);
    }
}
