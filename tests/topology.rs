//! Topologies of real servers, rearranged through baton.

mod support;

use serde_json::{Value, json};
use support::{Baton, Flavor, Options, PASSWORD, PATIENCE, Server, USER};
use support::{chain, least_grants, recovery_grants, star, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");

/// How the replicas of a test find their place.
fn kinds() -> [(&'static str, Options); 4] {
    [
        ("MySQL by GTID", Options::new(Flavor::MySql97)),
        ("MySQL by file and position", Options::new(Flavor::MySql97).without_gtid()),
        ("MariaDB by GTID", Options::new(Flavor::MariaDb1011)),
        ("MariaDB by file and position", Options::new(Flavor::MariaDb1011).without_gtid()),
    ]
}

/// A baton that may change these servers, and knows all of them.
fn steer(servers: &[Server], settings: &[(&str, &str)]) -> Baton {
    for server in servers {
        let grants = [least_grants(server.flavor), recovery_grants(server.flavor)].concat();
        server.create_monitor_user(USER, PASSWORD, &grants);
    }
    let seeds = servers.first().map(Server::address).into_iter().collect();
    let baton = Baton::start(BATON, seeds, settings);
    baton.until_all_valid(servers.len());
    baton
}

fn at(server: &Server) -> String {
    format!("{}/{}", server.host, server.port)
}

/// The answer to a command that succeeds.
fn done(baton: &Baton, path: &str) -> Value {
    let answer = baton.get(&format!("/api/{path}"));
    assert_eq!(answer["Code"], "OK", "{path}: {answer}\nbaton's log:\n{}", baton.log());
    answer
}

/// What a command that is refused says.
fn refused(baton: &Baton, path: &str) -> String {
    let (status, body) = baton.request("GET", &format!("/api/{path}"), "").expect("an answer");
    assert_eq!(status, 500, "{path}: {body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["Code"], "ERROR", "{path}: {answer}");
    answer["Message"].as_str().unwrap_or_default().to_owned()
}

/// The port a server replicates from, as it says itself; 0 when from nobody.
fn source_of(server: &Server) -> u16 {
    let told =
        server.replica_status("", "Source_Port").or(server.replica_status("", "Master_Port"));
    told.and_then(|port| port.parse().ok()).unwrap_or(0)
}

/// Everybody replicates from whom they should, and what is written on the primary arrives.
fn until_whole(servers: &[Server], sources: &[Option<usize>], primary: usize, round: u32) {
    for (server, source) in servers.iter().zip(sources) {
        let expected = source.map_or(0, |source| servers[source].port);
        assert_eq!(source_of(server), expected, "the source of {}", server.address());
        if source.is_some() {
            wait_until(PATIENCE, &format!("{} replicates", server.address()), || {
                server.replication_runs("").then_some(())
            });
        }
    }
    let name = format!("round_{round}");
    servers[primary].exec(&format!("CREATE DATABASE {name}"));
    for server in servers {
        wait_until(PATIENCE, &format!("{} has {name}", server.address()), || {
            let sql = format!("SHOW DATABASES LIKE '{name}'");
            (!server.query(&sql).is_empty()).then_some(())
        });
    }
}

#[test]
fn replicas_are_moved_and_miss_nothing() {
    for (kind, options) in kinds() {
        // 0 <- 1 <- 2, 1 <- 3
        let mut servers = chain(&options, 2);
        servers.push(Server::start_replica_of(&servers[1], options.clone().read_only()));
        let baton = steer(&servers, &[]);
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| at(&servers[index]));
        let mut round = 0;
        let mut moved = |path: String, sources: [Option<usize>; 4]| {
            round += 1;
            let answer = done(&baton, &path);
            until_whole(&servers, &sources, 0, round);
            let shown = baton.get("/api/all-instances");
            for (server, source) in servers.iter().zip(sources) {
                let all = shown.as_array().expect("a list");
                let it = all.iter().find(|it| it["Key"]["Port"] == server.port).expect("known");
                let expected = source.map_or(0, |source| servers[source].port);
                assert_eq!(it["MasterKey"]["Port"], expected, "{kind}: {path}: known at once");
            }
            answer
        };
        let answer = moved(format!("relocate/{c}/{d}"), [None, Some(0), Some(3), Some(1)]);
        assert_eq!(answer["Details"]["MasterKey"]["Port"], servers[3].port, "{kind}");
        moved(format!("move-up/{c}"), [None, Some(0), Some(1), Some(1)]);
        moved(format!("move-below/{d}/{c}"), [None, Some(0), Some(1), Some(2)]);
        moved(format!("relocate/{d}/{b}"), [None, Some(0), Some(1), Some(1)]);
        let answer = moved(format!("relocate-replicas/{b}/{a}"), [None, Some(0), Some(0), Some(0)]);
        assert_eq!(answer["Details"].as_array().map(Vec::len), Some(2), "{kind}: {answer}");
        let answer = moved(format!("take-siblings/{b}"), [None, Some(0), Some(1), Some(1)]);
        let message = answer["Message"].as_str().unwrap_or_default();
        assert!(message.starts_with("Took 2 siblings of"), "{kind}: {message}");
        moved(format!("move-up-replicas/{b}/"), [None, Some(0), Some(0), Some(0)]);
        moved(format!("relocate/{c}/{b}"), [None, Some(0), Some(1), Some(0)]);
        moved(format!("take-master/{c}"), [None, Some(2), Some(0), Some(0)]);
        moved(format!("repoint/{b}/{c}"), [None, Some(2), Some(0), Some(0)]);
        moved(format!("repoint-replicas/{a}/"), [None, Some(2), Some(0), Some(0)]);
        assert_eq!(baton.get("/api/maintenance"), json!([]), "{kind}: nothing stays locked");
    }
}

#[test]
fn equivalent_places_lead_back() {
    let options = Options::new(Flavor::MySql97).without_gtid();
    let servers = chain(&options, 2);
    let baton = steer(&servers, &[]);
    let [a, b, c] = [0, 1, 2].map(|index| at(&servers[index]));
    let (file, position) = servers[0].binlog_position();
    done(&baton, &format!("move-up/{c}"));
    let known = done(&baton, &format!("master-equivalent/{a}/{file}/{position}"));
    let known = &known["Details"][0];
    assert_eq!(known["Key"]["Port"], servers[1].port);
    assert_eq!(known["Coordinates"]["LogFile"], servers[1].binlog_position().0);
    done(&baton, &format!("move-equivalent/{c}/{b}"));
    until_whole(&servers, &[None, Some(0), Some(1)], 0, 1);
    // Parallel appliers tell how far they are a little later.
    let stood = known["Coordinates"]["LogPos"].clone();
    baton.until(&format!("/api/discover/{c}"), "it tells that it moved on", |answer| {
        (answer["Details"]["ExecBinlogCoordinates"]["LogPos"] != stood).then_some(())
    });
    let told = refused(&baton, &format!("move-equivalent/{c}/{a}"));
    assert!(told.starts_with("No equivalent coordinates found"), "it has moved on: {told}");
}

#[test]
fn moves_that_make_no_sense_are_refused_and_nothing_is_touched() {
    let servers = star(&Options::new(Flavor::MySql97), 2);
    let baton = steer(&servers, &[]);
    let [a, b, c] = [0, 1, 2].map(|index| at(&servers[index]));
    for (path, expected) in [
        (format!("relocate/{b}/{b}"), "instance cannot replicate from itself"),
        (format!("relocate/{a}/{b}"), "is a descendant of"),
        (format!("relocate/127.0.0.1/1/{b}"), "Cannot read instance: 127.0.0.1:1"),
        (format!("move-up/{b}"), "master is not a replica itself"),
        (format!("take-master/{b}"), "instance is not a replica"),
        (format!("move-below/{b}/{a}"), "instance is not a replica"),
        (format!("relocate-replicas/{a}/{b}?pattern=%5B"), "is no regular expression"),
        (format!("match/{b}/{c}"), "Pseudo-GTID is not supported"),
        (format!("last-pseudo-gtid/{b}"), "Pseudo-GTID is not supported"),
        (format!("regroup-replicas-bls/{a}"), "binlog servers are not supported"),
        (format!("move-equivalent/{b}/{c}"), "No equivalent coordinates found"),
        (format!("enable-gtid/{b}"), "already uses GTID"),
        (format!("start-replica/{a}"), "instance is not a replica"),
        (format!("reattach-replica/{b}"), "does not seem to be detached"),
        (format!("skip-query/{b}"), "Replication SQL thread is running"),
        (format!("gtid-errant-reset-master/{b}"), "will not operate on"),
        (format!("gtid-errant-inject-empty/{b}"), "will not operate on"),
        (format!("locate-gtid-errant/{b}"), "no errant transactions"),
        (format!("delay-replication/{b}/soon"), "Invalid number of seconds"),
        (format!("change-master-credentials/{b}"), "because replication is running"),
        (format!("can-replicate-from/{b}/{b}"), "cannot replicate from itself"),
    ] {
        let told = refused(&baton, &path);
        assert!(told.contains(expected), "{path}: {told}");
    }
    done(&baton, &format!("begin-maintenance/{c}/ann/disk"));
    let told = refused(&baton, &format!("relocate/{c}/{b}"));
    assert!(told.ends_with("is in maintenance by ann: disk"), "{told}");
    until_whole(&servers, &[None, Some(0), Some(0)], 0, 1);
}

/// Both thread states of a server, as baton shows it.
fn threads(baton: &Baton, server: &Server) -> [i64; 2] {
    let shown = baton.get(&format!("/api/instance/{}", at(server)));
    ["ReplicationIOThreadState", "ReplicationSQLThreadState"]
        .map(|name| shown[name].as_i64().unwrap_or(-9))
}

#[test]
fn replication_is_steered_on_one_server() {
    for (kind, options) in kinds() {
        let servers = star(&options, 1);
        let baton = steer(&servers, &[]);
        let (a, b) = (at(&servers[0]), at(&servers[1]));
        for (command, expected) in [
            ("stop-replica", [0, 0]),
            ("stop-replica", [0, 0]),
            ("start-slave", [1, 1]),
            ("stop-replica-nice", [0, 0]),
            ("restart-replica", [1, 1]),
            ("detach-replica", [0, 0]),
            ("reattach-replica-master-host", [1, 1]),
            ("detach-slave-master-host", [0, 0]),
            ("reattach-replica", [1, 1]),
        ] {
            let answer = done(&baton, &format!("{command}/{b}"));
            let shown = &answer["Details"];
            assert_eq!(threads(&baton, &servers[1]), expected, "{kind}: {command}");
            assert_eq!(shown["IsDetachedMaster"], command.starts_with("detach"), "{kind}");
        }
        until_whole(&servers, &[None, Some(0)], 0, 1);

        let answer = done(&baton, &format!("delay-replication/{b}/60"));
        assert_eq!(answer["Details"], 60, "{kind}");
        let shown = baton.get(&format!("/api/instance/{b}"));
        assert_eq!(
            (&shown["SQLDelay"], &shown["ReplicationSQLThreadState"]),
            (&json!(60), &json!(1))
        );
        done(&baton, &format!("delay-replication/{b}/0"));

        for (command, expected) in [("set-writeable", false), ("set-read-only", true)] {
            let answer = done(&baton, &format!("{command}/{b}"));
            assert_eq!(answer["Details"]["ReadOnly"], expected, "{kind}: {command}");
        }
        let before = servers[0].binlog_position().0;
        done(&baton, &format!("flush-binary-logs/{a}"));
        let flushed = servers[0].binlog_position().0;
        assert_ne!(before, flushed, "{kind}");
        until_whole(&servers, &[None, Some(0)], 0, 2);
        baton.until(&format!("/api/discover/{b}"), "the replica has read the new log", |answer| {
            (answer["Details"]["ReadBinlogCoordinates"]["LogFile"] == flushed).then_some(())
        });
        done(&baton, &format!("purge-binary-logs/{a}/latest"));
        let logs = servers[0].query("SHOW BINARY LOGS");
        assert_eq!(logs.len(), 1, "{kind}: {logs:?}");

        let said = done(&baton, &format!("restart-replica-statements/{b}?q=select%201"));
        let said = said["Details"].as_array().cloned().unwrap_or_default();
        assert_eq!(said.len(), 3, "{kind}: {said:?}");
        assert_eq!(said[1], "select 1", "{kind}");
        let answer = done(&baton, &format!("can-replicate-from/{b}/{a}"));
        assert_eq!(
            (&answer["Message"], &answer["Details"]["Port"]),
            (&json!("true"), &json!(servers[0].port))
        );

        done(&baton, &format!("stop-replica/{b}"));
        let answer = done(&baton, &format!("reset-replica/{b}"));
        assert_eq!(answer["Details"]["MasterKey"]["Port"], 0, "{kind}");
        assert_eq!(source_of(&servers[1]), 0, "{kind}");
    }
}

#[test]
fn gtid_is_left_and_taken_up_again() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let servers = star(&Options::new(flavor), 1);
        let baton = steer(&servers, &[]);
        let b = at(&servers[1]);
        let using = |expected: bool| {
            let shown = baton.get(&format!("/api/instance/{b}"));
            let uses = shown["UsingOracleGTID"] == true || shown["UsingMariaDBGTID"] == true;
            assert_eq!(uses, expected, "{flavor:?}");
        };
        using(true);
        until_whole(&servers, &[None, Some(0)], 0, 1);
        done(&baton, &format!("disable-gtid/{b}"));
        using(false);
        assert!(refused(&baton, &format!("disable-gtid/{b}")).ends_with("is not using GTID"));
        until_whole(&servers, &[None, Some(0)], 0, 2);
        done(&baton, &format!("enable-gtid/{b}"));
        using(true);
        until_whole(&servers, &[None, Some(0)], 0, 3);
    }
}

#[test]
fn what_the_applier_failed_on_is_skipped_and_nothing_else() {
    let by_file = Options::new(Flavor::MariaDb1011).without_gtid();
    for options in
        [Options::new(Flavor::MySql97), Options::new(Flavor::MySql97).without_gtid(), by_file]
    {
        let servers = star(&options, 1);
        servers[0].exec("CREATE DATABASE d");
        servers[0].exec("CREATE TABLE d.t (id INT PRIMARY KEY)");
        let table = || servers[1].try_query("SELECT * FROM d.t").ok();
        wait_until(PATIENCE, "the table is there", table);
        let baton = steer(&servers, &[]);
        if servers[1].flavor.is_mariadb() {
            // Nothing less will do there.
            servers[1].exec(&format!("GRANT SUPER ON *.* TO '{USER}'@'%'"));
        }
        servers[1].exec("INSERT INTO d.t VALUES (1)");
        servers[0].exec("INSERT INTO d.t VALUES (1)");
        servers[0].exec("INSERT INTO d.t VALUES (2)");
        let b = at(&servers[1]);
        baton.until(&format!("/api/discover/{b}"), "its applier stopped", |answer| {
            (answer["Details"]["ReplicationSQLThreadState"] == 0).then_some(())
        });
        done(&baton, &format!("skip-query/{b}"));
        wait_until(PATIENCE, "it goes on", || {
            (servers[1].query("SELECT id FROM d.t").len() == 2).then_some(())
        });
        let again = refused(&baton, &format!("skip-query/{b}"));
        assert!(again.starts_with("Replication SQL thread is running"), "{again}");
    }
}

#[test]
fn errant_transactions_are_located_injected_and_dropped() {
    let servers = star(&Options::new(Flavor::MySql97), 2);
    let baton = steer(&servers, &[]);
    let (b, c) = (at(&servers[1]), at(&servers[2]));
    for server in &servers[1..] {
        server.exec("FLUSH BINARY LOGS");
        server.exec("CREATE DATABASE own");
        server.exec(
            "SET SESSION gtid_next = 'AUTOMATIC:audit'; CREATE DATABASE tagged; \
             SET SESSION gtid_next = 'AUTOMATIC'",
        );
        server.exec("FLUSH BINARY LOGS");
    }
    let errant = |path: &str| {
        baton.until(&format!("/api/instance/{path}"), "it has errant transactions", |it| {
            it["GtidErrant"].as_str().filter(|it| !it.is_empty()).map(str::to_owned)
        })
    };
    let own = servers[1].value("SELECT @@server_uuid");
    assert_eq!(errant(&b), format!("{own}:1:audit:1"));
    let located = done(&baton, &format!("locate-gtid-errant/{b}"));
    assert_eq!(located["Details"], json!(["binlog.000002"]));

    // Tags of others may be used by those who are allowed to.
    let told = refused(&baton, &format!("gtid-errant-inject-empty/{b}"));
    assert!(told.contains("you need the TRANSACTION_GTID_TAG"), "{told}");
    servers[0].exec(&format!("GRANT TRANSACTION_GTID_TAG ON *.* TO '{USER}'@'%'"));
    let answer = done(&baton, &format!("gtid-errant-inject-empty/{b}"));
    // The one without a tag may have been injected before the other was refused.
    let message = answer["Message"].as_str().unwrap_or_default();
    let expected = format!("transactions on cluster master {}", servers[0].address());
    assert!(message.starts_with("Have injected ") && message.ends_with(&expected), "{message}");
    assert!(servers[0].executed().contains(&own), "{}", servers[0].executed());
    baton.until(&format!("/api/instance/{b}"), "nothing is errant any more", |it| {
        (it["GtidErrant"] == "").then_some(())
    });

    errant(&c);
    done(&baton, &format!("gtid-errant-reset-master/{c}"));
    let own = servers[2].value("SELECT @@server_uuid");
    assert!(!servers[2].executed().contains(&own), "{}", servers[2].executed());
    baton.until(&format!("/api/instance/{c}"), "nothing is errant any more", |it| {
        (it["GtidErrant"] == "").then_some(())
    });
    until_whole(&servers, &[None, Some(0), Some(0)], 0, 1);
}

#[test]
fn two_become_co_primaries() {
    let query = ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'");
    for (kind, options) in kinds() {
        let servers = star(&options, 2);
        servers[0].exec("SET GLOBAL read_only = 0");
        let baton = steer(&servers, &[query]);
        let (a, b) = (at(&servers[0]), at(&servers[1]));
        let told = refused(&baton, &format!("make-co-master/{b}"));
        assert!(told.contains("is not read-only; first make it read-only"), "{kind}: {told}");
        done(&baton, &format!("set-read-only/{b}"));
        let answer = done(&baton, &format!("make-co-master/{b}"));
        assert_eq!(answer["Details"]["IsCoMaster"], true, "{kind}: {answer}");
        until_whole(&servers, &[Some(1), Some(0), Some(0)], 0, 1);
        let told = refused(&baton, &format!("make-co-master/{b}"));
        assert!(told.contains("is already co master of"), "{kind}: {told}");
        let told = refused(&baton, &format!("take-master/{}", at(&servers[2])));
        assert!(told.contains("is co-master. Cannot take it."), "{kind}: {told}");
        done(&baton, &format!("reset-replica/{a}"));
        until_whole(&servers, &[None, Some(0), Some(0)], 0, 2);
    }
}

#[test]
fn by_gtid_replicas_go_anywhere_and_are_regrouped() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let servers = star(&Options::new(flavor), 3);
        let baton = steer(&servers, &[]);
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| at(&servers[index]));
        done(&baton, &format!("move-below-gtid/{c}/{b}"));
        until_whole(&servers, &[None, Some(0), Some(1), Some(0)], 0, 1);
        let answer = done(&baton, &format!("move-replicas-gtid/{b}/{d}"));
        assert_eq!(answer["Details"]["Port"], servers[3].port, "{flavor:?}");
        until_whole(&servers, &[None, Some(0), Some(3), Some(0)], 0, 2);
        done(&baton, &format!("relocate/{c}/{a}?dry_run=true"));
        assert_eq!(source_of(&servers[2]), servers[3].port, "{flavor:?}: nothing was done");
        done(&baton, &format!("relocate/{c}/{a}"));
        done(&baton, &format!("register-candidate/{d}/prefer"));
        let answer = done(&baton, &format!("regroup-replicas/{a}"));
        assert_eq!(answer["Details"]["Port"], servers[3].port, "{flavor:?}");
        let expected = format!("promoted replica: {}, lost: 0", servers[3].address());
        assert!(answer["Message"].as_str().unwrap_or_default().starts_with(&expected), "{answer}");
        until_whole(&servers, &[None, Some(3), Some(3), Some(0)], 0, 3);
        let shown =
            baton.get(&format!("/api/relocate-replicas/{d}/{a}?dry_run=true&pattern=nobody"));
        assert_eq!(shown["Details"]["Steps"], json!([]), "{flavor:?}: {shown}");
        let shown = baton.get(&format!("/api/relocate-replicas/{d}/{a}?dry_run=true"));
        assert_eq!(shown["Details"]["Steps"].as_array().map(Vec::len), Some(6), "{flavor:?}");
    }
}

#[test]
fn a_purged_source_and_errant_transactions_are_told() {
    let mut servers = star(&Options::new(Flavor::MySql97), 3);
    servers[0].exec("CREATE DATABASE first");
    let has =
        |server: &Server| (!server.query("SHOW DATABASES LIKE 'first'").is_empty()).then_some(());
    wait_until(PATIENCE, "replicas have it", || servers[1..].iter().try_for_each(has));
    let baton = steer(&servers, &[]);
    let [b, c, d] = [1, 2, 3].map(|index| at(&servers[index]));
    // c stands still, and b purges what c will need.
    done(&baton, &format!("stop-replica/{c}"));
    servers[0].exec("CREATE DATABASE second");
    let has = || (!servers[1].query("SHOW DATABASES LIKE 'second'").is_empty()).then_some(());
    wait_until(PATIENCE, "b has it", has);
    servers[1].exec("FLUSH BINARY LOGS");
    servers[1].exec("PURGE BINARY LOGS TO 'binlog.000002'");
    let told = refused(&baton, &format!("relocate/{c}/{b}"));
    assert!(told.contains("has purged transactions that"), "{told}");
    let told = refused(&baton, &format!("can-replicate-from-gtid/{c}/{b}"));
    assert!(told.contains("has purged transactions that"), "{told}");
    done(&baton, &format!("start-replica/{c}"));

    servers[3].exec("CREATE DATABASE own");
    let own = servers[3].value("SELECT @@server_uuid");
    baton.until(&format!("/api/instance/{d}"), "it has errant transactions", |it| {
        (it["GtidErrant"] == format!("{own}:1")).then_some(())
    });
    let answer = done(&baton, &format!("relocate/{d}/{b}"));
    let message = answer["Message"].as_str().unwrap_or_default();
    assert!(message.contains("has errant transactions that"), "{message}");
    assert_eq!(source_of(&servers[3]), servers[1].port);

    // Its source dies: it is pointed at the dead one and back, and everything says so.
    servers[1].kill_9();
    baton.until(&format!("/api/instance/{b}"), "it is known dead", |it| {
        (it["IsLastCheckValid"] == false).then_some(())
    });
    let told = refused(&baton, &format!("restart-replica/{d}"));
    assert!(told.contains("instance is not replicating"), "{told}");
    done(&baton, &format!("repoint/{d}/{b}"));
    done(&baton, &format!("relocate/{d}/{}", at(&servers[0])));
    assert_eq!(threads(&baton, &servers[3]), [1, 1]);
}

/// Sleeps on a connection of an account that is nobody special, until it is told to stop.
fn sleep_as_client(server: &Server) {
    use mysql_async::prelude::Queryable;
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname(server.host.clone())
        .tcp_port(server.port)
        .user(Some("app"))
        .pass(Some("app"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut connection = mysql_async::Conn::new(options).await.expect("it is let in");
        // Killed while it slept, it may have been answered or refused.
        let _ = connection.query_drop("SELECT SLEEP(60) AS marked").await;
    });
}

#[test]
fn semi_sync_is_switched_and_queries_are_killed() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let servers = star(&Options::new(flavor).semi_sync(), 1);
        let baton = steer(&servers, &[]);
        let (a, b) = (at(&servers[0]), at(&servers[1]));
        for (command, field, server, expected) in [
            ("disable-semi-sync-master", "SemiSyncMasterEnabled", &a, false),
            ("enable-semi-sync-source", "SemiSyncMasterEnabled", &a, true),
            ("disable-semi-sync-replica", "SemiSyncReplicaStatus", &b, false),
            ("enable-semi-sync-replica", "SemiSyncReplicaStatus", &b, true),
        ] {
            let answer = done(&baton, &format!("{command}/{server}"));
            assert_eq!(answer["Details"][field], expected, "{flavor:?}: {command}");
        }
        until_whole(&servers, &[None, Some(0)], 0, 1);
        baton.until(&format!("/api/discover/{a}"), "the replica acknowledges again", |answer| {
            (answer["Details"]["SemiSyncMasterClients"] == 1).then_some(())
        });
        servers[0].exec("CREATE USER 'app'@'%' IDENTIFIED BY 'app'");
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| sleep_as_client(&servers[0]));
            let find = "SELECT id FROM information_schema.processlist \
                        WHERE info LIKE 'SELECT SLEEP(60) AS marked'";
            let id = wait_until(PATIENCE, "it sleeps", || {
                Some(servers[0].value(find)).filter(|id| !id.is_empty())
            });
            done(&baton, &format!("kill-query/{a}/{id}"));
            sleeper.join().expect("it ends");
        });
        let told = refused(&baton, &format!("kill-query/{a}/everything"));
        assert!(told.starts_with("Invalid process id"), "{told}");
    }
}

#[test]
fn credentials_come_from_the_query() {
    let query =
        ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT user, password FROM meta.replication");
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let servers = star(&Options::new(flavor), 1);
        servers[0].exec("CREATE DATABASE meta");
        servers[0].exec("CREATE TABLE meta.replication (user VARCHAR(20), password VARCHAR(20))");
        servers[0].exec("INSERT INTO meta.replication VALUES ('other', 'secret')");
        servers[0].exec("CREATE USER 'other'@'%' IDENTIFIED BY 'secret'");
        servers[0].exec("GRANT REPLICATION SLAVE ON *.* TO 'other'@'%'");
        let there = || {
            servers[1].try_query("SELECT * FROM meta.replication").ok().filter(|it| !it.is_empty())
        };
        wait_until(PATIENCE, "it is everywhere", there);
        let baton = steer(&servers, &[query]);
        for server in &servers {
            server.exec(&format!("GRANT SELECT ON meta.replication TO '{USER}'@'%'"));
        }
        let b = at(&servers[1]);
        done(&baton, &format!("stop-replica/{b}"));
        done(&baton, &format!("change-master-credentials/{b}"));
        done(&baton, &format!("start-replica/{b}"));
        let user = servers[1]
            .replica_status("", "Source_User")
            .or(servers[1].replica_status("", "Master_User"));
        assert_eq!(user.as_deref(), Some("other"), "{flavor:?}");
        assert!(!baton.log().contains("secret'"), "passwords do not appear in logs");
    }
}

/// Writes one row after another on a server while `work` is done, and tells how many.
fn while_written(server: &Server, work: impl FnOnce()) -> u64 {
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !is_over.load(order) {
                server.exec(&format!("INSERT INTO d.t VALUES ({written})"));
                written += 1;
            }
            written
        });
        // A failed assertion must not leave the writer running for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, order);
        let written = writer.join().expect("every write succeeds");
        outcome.map_or_else(|panic| std::panic::resume_unwind(panic), |()| written)
    })
}

#[test]
fn under_writes_no_row_is_lost_or_applied_twice() {
    for (kind, options) in kinds() {
        // 0 <- 1 <- 2, 1 <- 3
        let mut servers = chain(&options, 2);
        servers.push(Server::start_replica_of(&servers[1], options.clone()));
        servers[0].exec("CREATE DATABASE d");
        // No key: a row that is applied twice is there twice.
        servers[0].exec("CREATE TABLE d.t (id INT)");
        let baton = steer(&servers, &[]);
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| at(&servers[index]));
        let written = while_written(&servers[0], || {
            for path in [
                format!("move-below/{c}/{d}"),
                format!("relocate/{c}/{b}"),
                format!("take-master/{c}"),
                format!("move-up/{b}"),
                format!("take-siblings/{b}"),
                format!("move-up-replicas/{b}"),
                format!("relocate/{d}/{c}"),
                format!("stop-replica-nice/{d}"),
                format!("start-replica/{d}"),
                format!("relocate/{d}/{a}"),
            ] {
                done(&baton, &path);
            }
        });
        assert!(written > 10, "{kind}: {written} rows");
        for server in &servers {
            let all = format!("{written} rows on {}, {kind}", server.address());
            wait_until(PATIENCE, &all, || {
                let count = server.value("SELECT COUNT(*) FROM d.t");
                (count == written.to_string()).then_some(())
            });
            let distinct = server.value("SELECT COUNT(DISTINCT id) FROM d.t");
            assert_eq!(distinct, written.to_string(), "{all}");
        }
    }
}

#[test]
fn an_interrupted_move_leaves_everybody_replicating() {
    // I9, by file and position, where replicas stand still for a while.
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let servers = star(&Options::new(flavor).without_gtid(), 2);
        servers[0].exec("CREATE DATABASE d");
        servers[0].exec("CREATE TABLE d.t (id INT PRIMARY KEY)");
        let has = |server: &Server| server.try_query("SELECT * FROM d.t").ok().map(drop);
        wait_until(PATIENCE, "replicas have the table", || servers.iter().try_for_each(has));
        let mut baton = steer(&servers, &[]);
        let [b, c] = [1, 2].map(|index| at(&servers[index]));
        servers[1].while_held("d.t", || {
            servers[0].exec("INSERT INTO d.t VALUES (1)");
            wait_until(PATIENCE, "the other replica has the row", || {
                (!servers[2].query("SELECT * FROM d.t").is_empty()).then_some(())
            });
            // b cannot get to where c stands; nobody waits for the answer.
            let mut hung_up = std::net::TcpStream::connect(("127.0.0.1", baton.port)).expect("up");
            let head = format!("GET /api/move-below/{b}/{c} HTTP/1.1\r\nHost: x\r\n\r\n");
            std::io::Write::write_all(&mut hung_up, head.as_bytes()).expect("it is sent");
            baton.until("/api/maintenance", "both are locked", |all| {
                (all.as_array()?.len() == 2).then_some(())
            });
            wait_until(PATIENCE, "c stands still", || {
                (!servers[2].replication_runs("")).then_some(())
            });
            let told = refused(&baton, &format!("repoint-replicas/{}", at(&servers[0])));
            assert!(told.contains("is in maintenance by baton: move-below"), "{told}");
            baton.kill_9();
        });
        baton.launch();
        baton.until("/api/maintenance", "nothing stays locked", |all| {
            all.as_array()?.is_empty().then_some(())
        });
        until_whole(&servers, &[None, Some(0), Some(0)], 0, 1);
        done(&baton, &format!("move-below/{b}/{c}"));
        until_whole(&servers, &[None, Some(2), Some(0)], 0, 2);
        assert_eq!(servers[1].value("SELECT COUNT(*) FROM d.t"), "1", "{flavor:?}");
    }
}

#[test]
fn one_that_dies_in_the_middle_does_not_take_the_other_along() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let mut servers = star(&Options::new(flavor).without_gtid(), 2);
        servers[0].exec("CREATE DATABASE d");
        servers[0].exec("CREATE TABLE d.t (id INT PRIMARY KEY)");
        let has = |server: &Server| server.try_query("SELECT * FROM d.t").ok().map(drop);
        wait_until(PATIENCE, "replicas have the table", || servers.iter().try_for_each(has));
        let baton = steer(&servers, &[]);
        let [b, c] = [1, 2].map(|index| at(&servers[index]));
        let mut third = servers.pop().expect("there are three");
        std::thread::scope(|scope| {
            let asked = servers[1].while_held("d.t", || {
                servers[0].exec("INSERT INTO d.t VALUES (1)");
                wait_until(PATIENCE, "the other replica has the row", || {
                    (!third.query("SELECT * FROM d.t").is_empty()).then_some(())
                });
                let asked = scope.spawn(|| refused(&baton, &format!("move-below/{b}/{c}")));
                wait_until(PATIENCE, "c stands still", || {
                    (!third.replication_runs("")).then_some(())
                });
                third.kill_9();
                asked
            });
            let told = asked.join().expect("baton answers");
            let of_the_dead = format!("{}: ", third.address());
            assert!(told.contains(&of_the_dead), "{told}");
        });
        until_whole(&servers, &[None, Some(0)], 0, 1);
        third.restart();
        servers.push(third);
        assert_eq!(source_of(&servers[2]), servers[0].port, "{flavor:?}");
        done(&baton, &format!("start-replica/{c}"));
        until_whole(&servers, &[None, Some(0), Some(0)], 0, 2);
        assert_eq!(baton.get("/api/maintenance"), json!([]), "{flavor:?}");
    }
}

#[test]
fn what_cannot_be_done_is_told_and_leaves_everybody_replicating() {
    let settings = [("BATON_MYSQLDISCOVERYREADTIMEOUTSECONDS", "1")];
    let mut servers = star(&Options::new(Flavor::MySql97), 4);
    let baton = steer(&servers, &settings);
    let [a, b, c, d] = [0, 1, 2, 3].map(|index| at(&servers[index]));

    // d hangs, another one is dead: the rest is moved.
    servers[3].stop_signal();
    servers[4].kill_9();
    let answer = done(&baton, &format!("relocate-replicas/{a}/{b}"));
    let message = answer["Message"].as_str().unwrap_or_default();
    assert!(message.starts_with(&format!("Relocated 1 replicas of {}", servers[0].address())));
    assert!(message.contains("; 2 errors: ["), "{message}");
    servers[3].cont_signal();
    servers[4].restart();
    baton.until_all_valid(5);
    until_whole(&servers, &[None, Some(0), Some(1), Some(0), Some(0)], 0, 1);

    // The account for replication is not what it was on b.
    servers[1].exec("SET GLOBAL super_read_only = 0");
    servers[1].exec("SET GLOBAL read_only = 0");
    servers[1].exec("SET SESSION sql_log_bin = 0; ALTER USER 'repl'@'%' IDENTIFIED BY 'other'");
    let told = refused(&baton, &format!("relocate/{d}/{b}"));
    assert!(
        told.contains("instance is not replicating") && told.contains("Access denied"),
        "{told}"
    );
    assert!(told.ends_with(&format!("; it is back below {}", servers[0].address())), "{told}");
    assert_eq!(source_of(&servers[3]), servers[0].port);
    assert_eq!(threads(&baton, &servers[3]), [1, 1]);

    // The right to change servers is taken away.
    servers[3].exec("SET GLOBAL super_read_only = 0");
    let revoke = format!("REVOKE REPLICATION_SLAVE_ADMIN ON *.* FROM '{USER}'@'%'");
    servers[3].exec(&format!("SET SESSION sql_log_bin = 0; {revoke}"));
    let told = refused(&baton, &format!("relocate/{d}/{c}"));
    assert!(told.contains("stop replication: error 1227: Access denied"), "{told}");
    assert_eq!(threads(&baton, &servers[3]), [1, 1]);
    assert_eq!(baton.get("/api/maintenance"), json!([]));
}
