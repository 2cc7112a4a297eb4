//! Who comes back after a recovery, or gets another source: closed if it was a primary, connected,
//! and staying where it was put.

mod support;

use serde_json::Value;
use support::{
    Baton, EVERYWHERE, Flavor, Options, PATIENCE, Server, at, empower, is_writable, shop,
    shop_with, star, until_fenced, until_recovered, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const FLAVORS: [Flavor; 2] = [Flavor::MySql97, Flavor::MariaDb1011];
/// The same settings, without an account for replication.
const WITHOUT_ACCOUNT: [(&str, &str); 3] = [EVERYWHERE[0], EVERYWHERE[1], EVERYWHERE[2]];

fn watch(servers: &[Server], settings: &[(&str, &str)]) -> Baton {
    let baton = Baton::start(BATON, vec![servers[0].address()], settings);
    baton.until_all_valid(servers.len());
    baton
}

fn successor(recovery: &Value) -> u64 {
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
    recovery["SuccessorKey"]["Port"].as_u64().expect("a successor")
}

/// Waits until the newest recovery is about this server, and has ended well.
fn until_replaced(baton: &Baton, failed: &Server) -> u64 {
    baton.until("/api/audit-recovery", "it is replaced", |all| {
        let newest = all.as_array()?.first()?;
        let is_over = newest["RecoveryEndTimestamp"] != "";
        let is_it = newest["AnalysisEntry"]["AnalyzedInstanceKey"]["Port"] == failed.port;
        (is_over && is_it).then(|| successor(newest))
    })
}

/// I1: it replicates from its co-primary again, and takes itself for a primary beside it.
#[test]
fn a_co_primary_that_was_replaced_by_one_that_refused_writes_comes_back_closed() {
    for flavor in FLAVORS {
        let options = |index| match index {
            0 => Options::new(flavor),
            _ => Options::new(flavor).read_only(),
        };
        let mut servers = Server::start_all((0..2).map(options));
        servers[1].replicate_from(&servers[0]);
        servers[0].replicate_from(&servers[1]);
        empower(&servers);
        let baton = watch(&servers, &EVERYWHERE);
        servers[0].kill_9();
        assert_eq!(successor(&until_recovered(&baton)), u64::from(servers[1].port));
        servers[0].restart();
        until_fenced(&servers[0]);
        assert!(is_writable(&servers[1]), "{flavor:?}");
    }
}

/// Of two that replicate from each other the one that accepts writes is the primary: it hands over to the
/// other, there and back, and each goes on replicating from the other. By force too, where what the other
/// has is not enough for baton to do it by itself.
#[test]
fn co_primaries_hand_over_to_each_other() {
    for flavor in FLAVORS {
        let options = |index| match index {
            0 => Options::new(flavor),
            _ => Options::new(flavor).read_only(),
        };
        let mut servers = Server::start_all((0..3).map(options));
        servers[1].replicate_from(&servers[0]);
        servers[0].replicate_from(&servers[1]);
        servers[2].replicate_from(&servers[0]);
        empower(&servers);
        servers[0].exec("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY)");
        let baton = watch(&servers, &EVERYWHERE);
        for (round, (from, to)) in [(0, 1), (1, 0)].into_iter().enumerate() {
            servers[from].exec(&format!("INSERT INTO shop.orders VALUES ({round})"));
            let (host, port) = (&servers[to].host, servers[to].port);
            let path = format!("/api/graceful-master-takeover-auto/shop/{host}/{port}");
            let done = baton.get(&path);
            assert_eq!(done["Code"], "OK", "{flavor:?} {done}\n{}", baton.log());
            assert_eq!(done["Details"]["AllErrors"], serde_json::json!([""]), "{done}");
            assert!(is_writable(&servers[to]) && !is_writable(&servers[from]), "{flavor:?}");
            let source = |it: usize| servers[it].replica_status("", "Port");
            let port = |it: usize| Some(servers[it].port.to_string());
            assert_eq!((source(from), source(to)), (port(to), port(from)), "{flavor:?}");
            assert_eq!(source(2), port(to), "{flavor:?}");
            servers[to].exec(&format!("INSERT INTO shop.orders VALUES ({})", 10 + round));
            let rows = format!("{}", 2 * (round + 1));
            for server in &servers {
                wait_until(PATIENCE, "it has all rows", || {
                    (server.value("SELECT COUNT(*) FROM shop.orders") == rows).then_some(())
                });
            }
            baton.until_all_valid(servers.len());
        }
        // Both are gone, and nobody may tell: a person decides.
        servers[0].kill_9();
        baton.until_found(&servers[0], "DeadCoMaster");
        let forced = baton.until("/api/force-master-failover/shop", "the other leads", |it| {
            (it["Code"] == "OK" || is_writable(&servers[1])).then(|| it.clone())
        });
        assert!(is_writable(&servers[1]), "{flavor:?} {forced}");
    }
}

/// I1: whoever leads now was never its replica's successor, but its successor's.
#[test]
fn a_primary_whose_successor_was_replaced_too_comes_back_closed() {
    for flavor in FLAVORS {
        let mut servers = shop(flavor);
        let baton = watch(&servers, &EVERYWHERE);
        servers[0].kill_9();
        let first = until_replaced(&baton, &servers[0]);
        let first = servers.iter().position(|it| u64::from(it.port) == first).expect("one of us");
        let to = servers.iter().position(|it| it.port != servers[first].port && it.pid().is_some());
        let to = &servers[to.expect("another replica")];
        let takeover = format!("/api/graceful-master-takeover-auto/shop/{}/{}", to.host, to.port);
        let done =
            baton.until(&takeover, "it hands over", |it| (it["Code"] == "OK").then(|| it.clone()));
        assert!(is_writable(to), "{done:#}");
        servers[first].kill_9();
        servers[0].restart();
        until_fenced(&servers[0]);
    }
}

/// I1: that it has a channel to somebody does not make it a replica of its successor.
#[test]
fn a_primary_with_a_channel_that_was_left_over_comes_back_closed() {
    let options = Options::new(Flavor::MySql97);
    let mut servers = star(&options, 1);
    let stranger = [Server::start(options)];
    servers[1].exec("SET GLOBAL super_read_only = ON");
    empower(&servers);
    empower(&stranger);
    let baton = watch(&servers, &EVERYWHERE);
    let (host, port) = (&stranger[0].host, stranger[0].port);
    servers[0].exec(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{host}', SOURCE_PORT = {port}, \
         SOURCE_USER = 'nobody', SOURCE_PASSWORD = 'nothing', SOURCE_AUTO_POSITION = 1"
    ));
    servers[0].kill_9();
    successor(&until_recovered(&baton));
    servers[0].restart();
    until_fenced(&servers[0]);
    assert!(is_writable(&servers[1]));
}

/// Waits until baton says that nobody leads, and how a person decides that.
fn until_nobody_leads(baton: &Baton) {
    baton.until("/api/replication-analysis", "it is told that nobody leads", |all| {
        all.to_string().contains("FormerMasterKeptClosed").then_some(())
    });
    baton.until("/api/fleet", "and what people can do", |fleet| {
        fleet.to_string().contains("set-writeable -i").then_some(())
    });
}

/// I1, I5: of two, the one that replaced the other dies as well, and the other comes back alone. It
/// lacks what was acknowledged meanwhile, so a person decides, or the other one comes back.
#[test]
fn a_former_primary_that_comes_back_alone_after_its_successor_died_is_closed() {
    for flavor in FLAVORS {
        let mut servers = star(&Options::new(flavor), 1);
        empower(&servers);
        servers[0].exec("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY)");
        let baton = watch(&servers, &EVERYWHERE);
        servers[0].kill_9();
        assert_eq!(successor(&until_recovered(&baton)), u64::from(servers[1].port));
        wait_until(PATIENCE, "it has all", || {
            servers[1].try_query("INSERT INTO shop.orders VALUES (1)").is_ok().then_some(())
        });
        servers[1].kill_9();
        baton.until_found(&servers[1], "DeadMasterWithoutReplicas");
        servers[0].restart();
        until_fenced(&servers[0]);
        until_nobody_leads(&baton);
        if flavor == Flavor::MySql97 {
            servers[1].restart();
            wait_until(PATIENCE, "who replaced it leads again", || {
                is_writable(&servers[1]).then_some(())
            });
            baton.until("/api/replication-analysis", "somebody leads", |all| {
                (!all.to_string().contains("FormerMasterKeptClosed")).then_some(())
            });
            assert!(!is_writable(&servers[0]), "{}", baton.log());
            continue;
        }
        let set = format!("/api/set-writeable/{}/{}", servers[0].host, servers[0].port);
        let done = baton.get(&set);
        assert_eq!(done["Code"], "OK", "{done}");
        // Nobody closes it again: it is looked at several times.
        baton.until("/api/replication-analysis", "it leads", |all| {
            (!all.to_string().contains("FormerMasterKeptClosed")).then_some(())
        });
        let path = format!("/api/instance/{}/{}", servers[0].host, servers[0].port);
        for _ in 0..3 {
            let before = baton.get(&path)["Uptime"].clone();
            baton
                .until(&path, "it is looked at again", |it| (it["Uptime"] != before).then_some(()));
        }
        assert!(is_writable(&servers[0]), "{}", baton.log());
    }
}

/// Its disk is replaced, and it is back before anybody misses it: the replicas have what it lost, keep
/// it, and one of them takes over when a person says so.
#[test]
fn a_primary_that_comes_back_empty_unseen_is_told_of_and_nothing_is_wiped() {
    const ROWS: &str = "SELECT COUNT(*) FROM shop.orders";
    for (flavor, keeps_its_uuid) in
        [(Flavor::MySql97, false), (Flavor::MySql97, true), (Flavor::MariaDb1011, false)]
    {
        let mut servers = star(&Options::new(flavor), 2);
        servers[1..].iter().for_each(|it| it.exec("SET GLOBAL read_only = ON"));
        empower(&servers);
        servers[0].exec("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY)");
        servers[0].exec("INSERT INTO shop.orders VALUES (1), (2), (3)");
        for replica in &servers[1..] {
            wait_until(PATIENCE, "it has all rows", || {
                let rows = replica.try_query(ROWS).ok()?;
                (rows.first()?.first()?.as_deref() == Some("3")).then_some(())
            });
        }
        // An empty server makes itself another certificate.
        let own =
            [("BATON_INSTANCEPOLLSECONDS", "1"), ("BATON_MYSQLTOPOLOGYPINCERTIFICATES", "false")];
        let settings = [&EVERYWHERE[..], &own].concat();
        let baton = watch(&servers, &settings);
        let path = format!("/api/instance/{}/{}", servers[0].host, servers[0].port);
        let told = servers[0].executed();
        baton.until(&path, "its transactions were seen", |it| {
            (it["ExecutedGtidSet"] == told.as_str() || flavor.is_mariadb()).then_some(())
        });
        baton.signal("-STOP");
        let identity = servers[0].dir().join("data/auto.cnf");
        let uuid = std::fs::read_to_string(&identity);
        servers[0].start_empty();
        if keeps_its_uuid {
            servers[0].shutdown();
            std::fs::write(&identity, uuid.expect("its UUID")).expect("keep the UUID");
            servers[0].restart();
        }
        empower(&servers[..1]);
        baton.signal("-CONT");
        baton.until_found(&servers[0], "MasterLostTransactions");
        for replica in &servers[1..] {
            assert_eq!(replica.value(ROWS), "3", "{flavor:?} {keeps_its_uuid}");
        }
        assert_eq!(baton.get("/api/audit-recovery"), serde_json::json!([]), "{}", baton.log());
        if !keeps_its_uuid {
            let to = &servers[1];
            let path = format!("/api/force-master-takeover/shop/{}/{}", to.host, to.port);
            let done = baton.get(&path);
            assert!(is_writable(to), "{flavor:?} {done:#}\n{}", baton.log());
            assert_eq!(to.value(ROWS), "3");
            until_fenced(&servers[0]);
        }
    }
}

/// I1: accounts with SUPER write to a server that is only `read_only`.
#[test]
fn a_former_primary_that_starts_read_only_is_closed_to_everybody() {
    let mut servers = shop_with(Flavor::MySql97, |index, options| match index {
        0 => options.line("read_only=ON"),
        _ => options,
    });
    servers[0].exec("SET GLOBAL read_only = OFF");
    let baton = watch(&servers, &EVERYWHERE);
    servers[0].kill_9();
    successor(&until_recovered(&baton));
    servers[0].restart();
    wait_until(PATIENCE, "it is closed to everybody", || {
        (servers[0].value("SELECT @@global.super_read_only") == "1").then_some(())
    });
}

/// The new primary has forgotten its account; other replicas have not.
#[test]
fn a_former_primary_comes_back_with_the_account_that_another_replica_keeps() {
    let mut servers = shop(Flavor::MySql97);
    let baton = watch(&servers, &WITHOUT_ACCOUNT);
    servers[0].kill_9();
    let new = successor(&until_recovered(&baton));
    servers[0].restart();
    until_fenced(&servers[0]);
    let home = format!("/api/rejoin/{}/{}", servers[0].host, servers[0].port);
    baton.until(&home, "it is back", |it| (it["Code"] == "OK").then_some(()));
    at(&servers, new).exec("INSERT INTO shop.orders VALUES (1)");
    wait_until(PATIENCE, "it replicates", || {
        let found = servers[0].query("SELECT id FROM shop.orders WHERE id = 1");
        (!found.is_empty()).then_some(())
    });
}

/// I13: nobody can read the password that another server of MariaDB replicates with.
#[test]
fn that_an_old_primary_stays_out_for_want_of_an_account_is_said_before_and_after() {
    let servers = star(&Options::new(Flavor::MariaDb1011), 1);
    servers[1].exec("SET GLOBAL read_only = ON");
    empower(&servers);
    let baton = watch(&servers, &WITHOUT_ACCOUNT);
    let to = &servers[1];
    let path = format!("/api/graceful-master-takeover-auto/shop/{}/{}", to.host, to.port);
    let says = |answer: &Value| {
        let text = answer.to_string();
        text.contains("has no account to replicate with") && text.contains("it stays out")
    };
    let dry = baton.get(&format!("{path}?dry_run=true"));
    assert!(dry["Code"] == "OK" && says(&dry), "{dry:#}");
    let done = baton.get(&path);
    let message = done["Message"].as_str().unwrap_or_default();
    assert!(message.starts_with("graceful-master-takeover: successor promoted; "), "{done:#}");
    assert!(done["Code"] == "OK" && says(&done), "{done:#}");
    assert!(is_writable(&servers[1]) && !is_writable(&servers[0]));
    let home = format!("/api/rejoin/{}/{}?dry_run=true", servers[0].host, servers[0].port);
    let refused = baton.until(&home, "it is seen closed", |it| says(it).then(|| it.clone()));
    assert_eq!(refused["Code"], "ERROR", "{refused:#}");
}

/// Its account was known to the old source, which let it in without more.
#[test]
fn replicas_without_tls_connect_to_a_source_that_does_not_know_their_account_yet() {
    let mut servers = shop(Flavor::MySql97);
    for replica in &servers[1..] {
        replica.exec("STOP REPLICA");
        // TLS is what newer servers begin with.
        replica.exec("CHANGE REPLICATION SOURCE TO SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 0");
        replica.exec("START REPLICA");
        wait_until(PATIENCE, "it is known", || replica.replication_runs("").then_some(()));
        // Whoever was let in with a key before is let in without one.
        replica.exec("FLUSH LOCAL PRIVILEGES");
        assert_eq!(replica.replica_status("", "Get_Source_public_key").as_deref(), Some("0"));
    }
    let baton = watch(&servers, &EVERYWHERE);
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    let new = successor(&recovery);
    for other in servers[1..].iter().filter(|it| u64::from(it.port) != new) {
        let error = || other.replica_status("", "Last_IO_Error");
        assert!(other.replication_runs(""), "{:?} {recovery:#}", error());
    }
}

/// A replica that leaves its source by itself, and one that gives up, are told of; and both stay
/// where they are put.
#[test]
fn replicas_that_would_not_stay_are_told_of_and_stay_where_they_are_put() {
    let servers = shop(Flavor::MySql97);
    servers[2].exec("STOP REPLICA");
    servers[2].exec(
        "CHANGE REPLICATION SOURCE TO SOURCE_RETRY_COUNT = 10, SOURCE_CONNECT_RETRY = 60, \
         SOURCE_CONNECTION_AUTO_FAILOVER = 1",
    );
    let (host, port) = (&servers[0].host, servers[0].port);
    servers[2].exec(&format!(
        "SELECT asynchronous_connection_failover_add_source('', '{host}', {port}, '', 50)"
    ));
    servers[2].exec("START REPLICA");
    let baton = watch(&servers, &EVERYWHERE);
    baton.until("/api/replication-analysis", "both are told of", |it| {
        let told = it.to_string();
        let is_told = |name: &str| told.contains(&format!("{name}StructureWarning"));
        (is_told("ReplicasMayLeave") && is_told("ReplicasGiveUp")).then_some(())
    });
    let new = &servers[1];
    let path = format!("/api/graceful-master-takeover-auto/shop/{}/{}", new.host, new.port);
    let done = baton.get(&path);
    assert_eq!(done["Code"], "OK", "{done:#}");
    for server in [&servers[0], &servers[2]] {
        let kept = server.query(
            "SELECT Port, Retry_count, Source_connection_auto_failover FROM mysql.slave_master_info",
        );
        let kept: Vec<_> = kept[0].iter().flatten().cloned().collect();
        assert_eq!(kept, [new.port.to_string(), "86400".to_owned(), "0".to_owned()]);
    }
}
