//! A primary dies, and something else is wrong at the same moment.

mod support;

use std::fs;
use std::time::Duration;

use serde_json::Value;
use support::{
    Baton, EVERYWHERE, Flavor, PATIENCE, Server, USER, at, is_writable, primary, shop, shop_with,
    until_recovered, wait_until,
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
