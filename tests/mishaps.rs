//! A primary dies, and something else is wrong at the same moment.

mod support;

use std::fs;
use std::time::Duration;

use serde_json::Value;
use support::{
    Baton, EVERYWHERE, Flavor, Options, PATIENCE, Server, USER, at, empower, is_writable, primary,
    shop, shop_with, until_recovered, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const FLAVORS: [Flavor; 3] = [Flavor::MySql97, Flavor::MariaDb1011, Flavor::MariaDb118];

fn watch(servers: &[Server]) -> Baton {
    let baton = Baton::start(BATON, vec![servers[0].address()], &EVERYWHERE);
    baton.until_all_valid(4);
    baton
}

fn insert(server: &Server, ids: std::ops::Range<u32>) {
    for id in ids {
        server.exec(&format!("INSERT INTO shop.orders VALUES ({id})"));
    }
}

fn has(server: &Server, id: u32) -> bool {
    let found = server.try_query(&format!("SELECT id FROM shop.orders WHERE id = {id}"));
    found.is_ok_and(|rows| !rows.is_empty())
}

fn until_has(server: &Server, id: u32) {
    wait_until(PATIENCE, "the row is there", || has(server, id).then_some(()));
}

/// One of the healthy replicas, 2 and 3, is primary, has everything, and the other follows it.
fn until_others_go_on(baton: &Baton, servers: &[Server]) -> (Value, usize) {
    let recovery = until_recovered(baton);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}\n{}", baton.log());
    let port = recovery["SuccessorKey"]["Port"].as_u64().expect("a successor");
    let successor = at(servers, port);
    let healthy = [&servers[2], &servers[3]];
    let other = healthy.iter().find(|it| it.port != successor.port).expect("another");
    assert!(healthy.iter().any(|it| it.port == successor.port), "{recovery:#}");
    assert!(is_writable(successor) && !is_writable(other));
    assert!((0..20).all(|id| has(successor, id)), "all that was written is there");
    insert(successor, 1_000..1_001);
    until_has(other, 1_000);
    (recovery, servers.iter().position(|it| it.port == successor.port).expect("it is known"))
}

#[test]
fn a_replica_that_hangs_is_left_behind_and_brought_back() {
    for flavor in FLAVORS {
        let mut servers = shop(flavor);
        let baton = watch(&servers);
        insert(&servers[0], 0..20);
        servers[1].stop_signal();
        servers[0].kill_9();
        let (recovery, _) = until_others_go_on(&baton, &servers);
        let lost = recovery["LostReplicas"].to_string();
        assert!(lost.contains(&servers[1].port.to_string()), "{recovery:#}");
        servers[1].cont_signal();
        until_has(&servers[1], 1_000);
    }
}

#[test]
fn a_replica_that_dies_too_is_brought_back_when_it_is_there_again() {
    for flavor in FLAVORS {
        let mut servers = shop(flavor);
        let baton = watch(&servers);
        insert(&servers[0], 0..20);
        servers[1].kill_9();
        servers[0].kill_9();
        until_others_go_on(&baton, &servers);
        servers[1].restart();
        until_has(&servers[1], 1_000);
    }
}

/// I1: a supervisor restarts a crashed server within seconds, and applying what was received may take
/// longer than that.
#[test]
fn a_primary_that_is_back_before_the_others_have_applied_stays_the_only_one() {
    for flavor in FLAVORS {
        let mut servers = shop(flavor);
        let baton = watch(&servers);
        insert(&servers[0], 0..20);
        servers[1..].iter().for_each(|it| until_has(it, 19));
        let (first, replicas) = servers.split_at_mut(1);
        let all_held = |work: &mut dyn FnMut()| {
            let [a, b, c] = [0, 1, 2].map(|index| &replicas[index]);
            let table = "shop.orders";
            a.while_held(table, || b.while_held(table, || c.while_held(table, &mut *work)));
        };
        all_held(&mut || {
            insert(&first[0], 20..30);
            wait_until(PATIENCE, "all have received it", || {
                replicas.iter().all(|it| it.has_received_all_of(&first[0])).then_some(())
            });
            first[0].kill_9();
            wait_until(PATIENCE, "they are to apply what they received", || {
                let all = baton.get("/api/audit-recovery");
                let uid = all.as_array()?.first()?["UID"].as_str()?.to_owned();
                let steps = baton.get(&format!("/api/audit-recovery-steps/{uid}"));
                steps.to_string().contains(" succeeds: ").then_some(())
            });
            first[0].restart();
            let path = format!("/api/instance/{}/{}", first[0].host, first[0].port);
            baton.until(&path, "it is seen again", |it| {
                (it["IsLastCheckValid"] == true).then_some(())
            });
        });
        let recovery = until_recovered(&baton);
        assert_eq!(recovery["IsSuccessful"], false, "{recovery:#}");
        let errors = recovery["AllErrors"].to_string();
        assert!(errors.contains("answers again"), "{recovery:#}");
        assert!(is_writable(&servers[0]));
        assert!(servers[1..].iter().all(|it| !is_writable(it)), "{recovery:#}");
        insert(&servers[0], 1_000..1_001);
        servers[1..].iter().for_each(|it| until_has(it, 1_000));
    }
}

#[test]
fn a_replica_that_refuses_commands_is_left_behind() {
    let mut servers = shop(Flavor::MySql97);
    let baton = watch(&servers);
    insert(&servers[0], 0..20);
    for sql in [
        "SET GLOBAL super_read_only = OFF",
        "SET SESSION sql_log_bin = 0",
        &format!("REVOKE REPLICATION_SLAVE_ADMIN ON *.* FROM '{USER}'@'%'"),
        "SET GLOBAL super_read_only = ON",
    ] {
        servers[1].exec(sql);
    }
    servers[0].kill_9();
    let (recovery, _) = until_others_go_on(&baton, &servers);
    let errors = recovery["AllErrors"].to_string();
    assert!(errors.contains(&servers[1].port.to_string()), "it is told: {recovery:#}");
}

#[test]
fn a_replica_that_cannot_apply_is_not_promoted() {
    for flavor in FLAVORS {
        let mut servers = shop(flavor);
        let baton = watch(&servers);
        // Its applier stumbles over a row that it has already.
        servers[1].exec("SET GLOBAL read_only = OFF");
        servers[1].run_unlogged("INSERT INTO shop.orders VALUES (7)");
        servers[1].exec("SET GLOBAL read_only = ON");
        insert(&servers[0], 0..20);
        wait_until(PATIENCE, "its applier stumbles", || {
            servers[1].replica_status("", "SQL_Running").filter(|it| it == "No")
        });
        for replica in &servers[2..] {
            until_has(replica, 19);
        }
        servers[0].kill_9();
        until_others_go_on(&baton, &servers);
    }
}

#[test]
fn a_replica_whose_disk_is_full_does_not_hold_up_the_others() {
    let mut servers = shop_with(Flavor::MySql97, |index, options| match index {
        1 => options.relay_disk(2),
        _ => options,
    });
    let baton = watch(&servers);
    insert(&servers[0], 0..20);
    servers[0].exec("CREATE TABLE shop.big (id INT PRIMARY KEY, filling LONGBLOB)");
    servers[0].exec("INSERT INTO shop.big VALUES (1, REPEAT('x', 4000000))");
    for replica in &servers[2..] {
        wait_until(PATIENCE, "the others have it", || {
            (replica.value("SELECT COUNT(*) FROM shop.big") == "1").then_some(())
        });
    }
    wait_until(PATIENCE, "its disk is full", || {
        servers[1].error_log().contains("full").then_some(())
    });
    servers[0].kill_9();
    until_others_go_on(&baton, &servers);
}

#[test]
fn followers_with_a_wrong_password_are_reported() {
    let mut servers = shop(Flavor::MySql97);
    let baton = watch(&servers);
    insert(&servers[0], 0..20);
    for replica in &servers[1..] {
        until_has(replica, 19);
        replica.exec("SET GLOBAL super_read_only = OFF");
        replica.run_unlogged("ALTER USER 'repl'@'%' IDENTIFIED BY 'another'");
        replica.exec("SET GLOBAL super_read_only = ON");
    }
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
    let successor = at(&servers, recovery["SuccessorKey"]["Port"].as_u64().expect("a successor"));
    assert!(is_writable(successor));
    let errors = recovery["AllErrors"].to_string();
    for other in servers[1..].iter().filter(|it| it.port != successor.port) {
        let named = format!("{}: its receiver does not connect", other.address());
        assert!(errors.contains(&named), "I13: {errors}");
    }
    let late = Duration::from_secs(20);
    baton.until_found_within(late, successor, "AllMasterReplicasNotReplicating");
}

/// I3, I5: only one replica has the last writes, and it cannot apply them.
#[test]
fn what_only_a_broken_relay_log_has_is_given_up_by_a_person_only() {
    let mut servers = shop(Flavor::MySql97);
    let baton = watch(&servers);
    insert(&servers[0], 0..10);
    for replica in &servers[1..] {
        until_has(replica, 9);
    }
    servers[1].exec("STOP REPLICA SQL_THREAD");
    servers[2].exec("STOP REPLICA IO_THREAD");
    servers[3].exec("STOP REPLICA IO_THREAD");
    insert(&servers[0], 10..20);
    wait_until(PATIENCE, "it has received all", || {
        let received = servers[1].replica_status("", "Retrieved_Gtid_Set")?;
        let source = servers[0].executed().replace('\n', "");
        let missing = format!(
            "SELECT GTID_SUBTRACT('{source}', CONCAT(@@global.gtid_executed, ',{received}'))"
        );
        servers[1].value(&missing).is_empty().then_some(())
    });
    for entry in fs::read_dir(servers[1].dir().join("data")).expect("its data").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("relay.0") {
            let log = fs::OpenOptions::new().write(true).open(entry.path()).expect("open it");
            log.set_len(4).expect("cut it off");
        }
    }
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    assert_eq!(recovery["IsSuccessful"], false, "{recovery:#}");
    assert!(servers[1..].iter().all(|it| !is_writable(it)), "nobody was opened");
    let errors = recovery["AllErrors"].to_string();
    assert!(errors.contains("accepts that loss"), "{recovery:#}");

    let (host, port) = (servers[2].host.clone(), servers[2].port);
    let forced = baton.get(&format!("/api/force-master-takeover/shop/{host}/{port}"));
    assert_eq!(forced["Code"], "OK", "{forced}\n{}", baton.log());
    assert!(is_writable(&servers[2]) && has(&servers[2], 9) && !has(&servers[2], 10));
    assert_eq!(primary(&baton), Some(u64::from(port)));
}

/// A primary whose writes wait for one of two replicas for as long as that takes.
fn acknowledged_shop(flavor: Flavor, change: fn(usize, Options) -> Options) -> Vec<Server> {
    let options = |index| {
        let waiting = Options::new(flavor)
            .semi_sync()
            .line("loose-rpl_semi_sync_source_timeout=600000")
            .line("loose-rpl_semi_sync_master_timeout=600000");
        change(index, if index == 0 { waiting } else { waiting.read_only() })
    };
    let servers = Server::start_all((0..3).map(options));
    servers[1..].iter().for_each(|replica| replica.replicate_from(&servers[0]));
    empower(&servers);
    servers[0].exec("CREATE DATABASE shop");
    servers[0].exec("CREATE TABLE shop.orders (id INT PRIMARY KEY)");
    servers[0].wait_for_acknowledgements();
    until_acknowledged_by(&servers[0], 2);
    wait_until(PATIENCE, "all have the table", || {
        let all = servers.iter().all(|it| it.try_query("SELECT * FROM shop.orders").is_ok());
        all.then_some(())
    });
    servers
}

fn until_acknowledged_by(primary: &Server, count: u32) {
    let side = if primary.flavor == Flavor::MySql97 { "source" } else { "master" };
    let clients = format!("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_{side}_clients'");
    wait_until(PATIENCE, &format!("{count} acknowledge"), || {
        (primary.query(&clients)[0][1] == Some(count.to_string())).then_some(())
    });
}

fn prefer(baton: &Baton, server: &Server) {
    let (host, port) = (&server.host, server.port);
    let done = baton.get(&format!("/api/register-candidate/{host}/{port}/prefer"));
    assert_eq!(done["Code"], "OK", "{done}");
}

/// The global read lock of a backup holds up its applier, and the new primary waits for its
/// acknowledgements.
#[test]
fn a_replica_that_is_being_backed_up_follows_the_next_primary_and_acknowledges() {
    for flavor in FLAVORS {
        let mut servers = acknowledged_shop(flavor, |_, options| options);
        let baton = Baton::start(BATON, vec![servers[0].address()], &EVERYWHERE);
        baton.until_all_valid(3);
        prefer(&baton, &servers[1]);
        let (first, replicas) = servers.split_at_mut(1);
        replicas[1].while_backed_up(|| {
            insert(&first[0], 0..20);
            wait_until(PATIENCE, "both have received it", || {
                replicas.iter().all(|it| it.has_received_all_of(&first[0])).then_some(())
            });
            first[0].kill_9();
            let recovery = until_recovered(&baton);
            assert_eq!(recovery["IsSuccessful"], true, "{flavor:?}: {recovery:#}");
            assert_eq!(recovery["SuccessorKey"]["Port"], replicas[0].port, "{recovery:#}");
            let errors = recovery["AllErrors"].to_string();
            if flavor.is_mariadb() {
                // Its receiver gets another source only while its applier stands still, too.
                assert!(errors.contains("may hold a lock: thread "), "it is named: {errors}");
                return;
            }
            assert_eq!(errors, r#"[""]"#, "{recovery:#}");
            until_acknowledged_by(&replicas[0], 1);
            insert(&replicas[0], 100..101);
            assert!(!has(&replicas[1], 19), "it is still held up");
        });
        if flavor.is_mariadb() {
            insert(&servers[1], 100..101);
        }
        until_has(&servers[2], 100);
        assert!((0..20).all(|id| has(&servers[2], id)));
    }
}

/// I5: one of the two that may have acknowledged stands in the middle of a write to a full disk. What it
/// has received counts, and so it holds up nothing.
#[test]
fn a_replica_whose_disk_is_full_is_a_witness_under_semi_sync() {
    let mut servers = acknowledged_shop(Flavor::MySql97, |index, options| match index {
        2 => options.relay_disk(2),
        _ => options,
    });
    let baton = Baton::start(BATON, vec![servers[0].address()], &EVERYWHERE);
    baton.until_all_valid(3);
    insert(&servers[0], 0..20);
    servers[0].exec("CREATE TABLE shop.big (id INT PRIMARY KEY, filling LONGBLOB)");
    servers[0].exec("INSERT INTO shop.big VALUES (1, REPEAT('x', 4000000))");
    wait_until(PATIENCE, "its disk is full", || {
        servers[2].error_log().contains("full").then_some(())
    });
    until_problem(&baton, &servers[2], "relay_log_disk_full");
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}\n{}", baton.log());
    assert_eq!(recovery["SuccessorKey"]["Port"], servers[1].port, "{recovery:#}");
    assert!(is_writable(&servers[1]) && !is_writable(&servers[2]));
    assert!((0..20).all(|id| has(&servers[1], id)), "all that was acknowledged is there");
    assert_eq!(servers[1].value("SELECT COUNT(*) FROM shop.big"), "1");
}

fn until_problem(baton: &Baton, server: &Server, problem: &str) {
    let path = format!("/api/instance/{}/{}", server.host, server.port);
    baton.until(&path, problem, |it| {
        let problems = it["Problems"].as_array()?;
        problems.iter().any(|it| it == problem).then_some(())
    });
}

/// Ends a server, so that what waits for it ends, too.
struct Ends(u32);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").args(["-9", &self.0.to_string()]).status();
    }
}

/// It answers everything but where its binary log ends, and nobody takes its place.
#[test]
fn a_primary_whose_disk_is_full_is_told_as_such() {
    for flavor in FLAVORS {
        let servers = shop_with(flavor, |index, options| match index {
            0 => options.relay_disk(4).line("log_bin=../relay/binlog"),
            _ => options,
        });
        if flavor == Flavor::MySql97 {
            let grant = "GRANT SELECT ON performance_schema.error_log TO";
            servers[0].run_unlogged(&format!("{grant} '{USER}'@'%'"));
        }
        let baton = watch(&servers);
        servers[0].exec("CREATE TABLE shop.big (id INT PRIMARY KEY, filling LONGBLOB)");
        // Small ones: MariaDB 11.8 refuses a big transaction that finds no room for its cache.
        let insert = |id: u32| format!("INSERT INTO shop.big VALUES ({id}, REPEAT('x', 20000))");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..1_000).try_for_each(|id| servers[0].try_query(&insert(id)).map(drop))
            });
            let _ends = Ends(servers[0].pid().expect("it runs"));
            baton.until_found(&servers[0], "MasterCannotWriteBinlog");
            let told = baton.get("/api/fleet").to_string();
            let expected = match flavor {
                Flavor::MySql97 => "Disk is full writing",
                Flavor::MariaDb1011 | Flavor::MariaDb118 => "its disk may be full",
            };
            assert!(told.contains(expected), "{flavor:?}: {told}");
            assert_eq!(baton.get("/api/audit-recovery"), serde_json::json!([]), "{flavor:?}");
            assert!(servers[1..].iter().all(|it| !is_writable(it)));
        });
    }
}

/// Prepared XA transactions outlive who prepared them, and keep their locks on the next primary.
#[test]
fn prepared_xa_transactions_are_told_before_a_takeover_and_a_late_commit_after_it() {
    for flavor in FLAVORS {
        let servers = shop(flavor);
        if flavor == Flavor::MySql97 {
            servers.iter().for_each(|it| {
                it.exec("SET GLOBAL super_read_only = OFF");
                it.run_unlogged(&format!("GRANT XA_RECOVER_ADMIN ON *.* TO '{USER}'@'%'"));
            });
            servers[1..].iter().for_each(|it| it.exec("SET GLOBAL super_read_only = ON"));
        }
        servers[0]
            .exec("XA START 'x'; INSERT INTO shop.orders VALUES (500); XA END 'x'; XA PREPARE 'x'");
        let baton = watch(&servers);
        baton.until("/api/fleet", "it is counted", |it| {
            it.to_string().contains(r#""PreparedXa":1"#).then_some(())
        });
        let told = "1 XA transactions are prepared on";
        let shown = baton.get("/api/graceful-master-takeover-auto/shop?dry_run=true");
        assert!(shown.to_string().contains(told), "{flavor:?}: {shown}");
        let done = baton.get("/api/graceful-master-takeover-auto/shop");
        assert_eq!(done["Code"], "OK", "{flavor:?}: {done}\n{}", baton.log());
        let recovery = until_recovered(&baton);
        let uid = recovery["UID"].as_str().expect("its name");
        let steps = baton.get(&format!("/api/audit-recovery-steps/{uid}")).to_string();
        assert!(steps.contains(told), "{flavor:?}: {steps}");
        let successor = at(&servers, primary(&baton).expect("a primary"));
        assert!(!has(successor, 500));
        // A coordinator commits on the old primary, which read_only does not keep from it: on MySQL
        // whatever it may, on MariaDB if it is privileged.
        servers[0].exec("XA COMMIT 'x'");
        assert!(has(&servers[0], 500) && !has(successor, 500), "{flavor:?}");
        let old = servers[0].address().replace(':', "/");
        baton.until(&format!("/api/instance/{old}"), "the late commit is told", |it| {
            let is_told = it["Problems"].to_string().contains("errant_gtid");
            (is_told && it["GtidErrant"] != "").then_some(())
        });
        successor.exec("XA COMMIT 'x'");
        servers.iter().for_each(|it| until_has(it, 500));
    }
}
