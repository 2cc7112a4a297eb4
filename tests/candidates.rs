//! Which replica is promoted where several could be: one that is ready to serve.

mod support;

use support::{
    Baton, EVERYWHERE, Flavor, PATIENCE, Server, USER, at, is_writable, shop, until_recovered,
    wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");

/// The replica that would be promoted if all were alike.
fn first_by_name(servers: &[Server]) -> usize {
    (1..servers.len()).min_by_key(|it| servers[*it].port).expect("replicas")
}

fn watch(servers: &[Server]) -> Baton {
    let settings = [&EVERYWHERE[..], &[("BATON_INSTANCEPOLLSECONDS", "1")]].concat();
    let baton = Baton::start(BATON, vec![servers[0].address()], &settings);
    baton.until_all_valid(servers.len());
    baton
}

/// Waits until baton has this of a server.
fn until_shown(
    baton: &Baton,
    server: &Server,
    what: &str,
    is: impl Fn(&serde_json::Value) -> bool,
) {
    let path = format!("/api/instance/{}/{}", server.host, server.port);
    baton.until(&path, what, |it| is(it).then_some(()));
}

/// Everybody but administrators is sent away there, applications and replicas alike.
#[test]
fn a_replica_in_offline_mode_is_not_promoted_and_follows() {
    let mut servers = shop(Flavor::MySql97);
    let offline = first_by_name(&servers);
    let baton = watch(&servers);
    servers[offline].exec("SET GLOBAL offline_mode = ON");
    until_shown(&baton, &servers[offline], "it is in offline_mode", |it| {
        it["Problems"].to_string().contains("offline_mode")
    });
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}\n{}", baton.log());
    let successor = recovery["SuccessorKey"]["Port"].to_string();
    assert_ne!(successor, servers[offline].port.to_string(), "{recovery:#}");
    assert!(!is_writable(&servers[offline]));
    wait_until(PATIENCE, "it follows", || {
        (servers[offline].replica_status("", "Port")? == successor).then_some(())
    });
}

/// All have received everything; the first by name would have to apply it first, for who knows how long.
/// (On MariaDB an applier that stands still is started before receivers are stopped.)
#[test]
fn a_replica_that_has_applied_goes_before_one_that_has_not() {
    let mut servers = shop(Flavor::MySql97);
    let late = first_by_name(&servers);
    let baton = watch(&servers);
    servers[late].exec("STOP REPLICA SQL_THREAD");
    for id in 0..10 {
        servers[0].exec(&format!("INSERT INTO shop.orders VALUES ({id})"));
    }
    for server in &servers[1..] {
        wait_until(PATIENCE, "it has received all", || {
            server.has_received_all_of(&servers[0]).then_some(())
        });
    }
    until_shown(&baton, &servers[late], "its applier stands still", |it| {
        it["ReplicationSQLThreadRuning"] == false
    });
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}\n{}", baton.log());
    let successor = recovery["SuccessorKey"]["Port"].as_u64().expect("a successor");
    assert_ne!(successor, u64::from(servers[late].port), "{recovery:#}");
    let rows = at(&servers, successor).value("SELECT COUNT(*) FROM shop.orders");
    assert_eq!(rows, "10");
}

/// Has a replica stay behind on purpose, as a person would.
fn delay(replica: &Server, seconds: u32) {
    match replica.flavor {
        Flavor::MySql97 => {
            replica.exec("STOP REPLICA SQL_THREAD");
            replica.exec(&format!("CHANGE REPLICATION SOURCE TO SOURCE_DELAY = {seconds}"));
            replica.exec("START REPLICA SQL_THREAD");
        }
        Flavor::MariaDb1011 | Flavor::MariaDb118 => {
            replica.exec("STOP SLAVE");
            replica.exec(&format!("CHANGE MASTER TO MASTER_DELAY = {seconds}"));
            replica.exec("START SLAVE");
        }
    }
}

/// It received one transaction more than the others, and would apply it in an hour.
#[test]
fn a_delayed_replica_that_received_more_does_not_hold_up_a_failover() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        for is_known in [false, true] {
            let mut servers = shop(flavor);
            let (late, others) = (3, [1, 2]);
            delay(&servers[late], 3_600);
            // Nothing is looked at again by itself, or all the time.
            let polls = [("BATON_INSTANCEPOLLSECONDS", if is_known { "1" } else { "600" })];
            let settings = [&EVERYWHERE[..], &polls].concat();
            let baton = Baton::start(BATON, vec![servers[0].address()], &settings);
            baton.until_all_valid(servers.len());
            let stop = match flavor {
                Flavor::MySql97 => "STOP REPLICA IO_THREAD",
                Flavor::MariaDb1011 | Flavor::MariaDb118 => "STOP SLAVE IO_THREAD",
            };
            others.iter().for_each(|it| servers[*it].exec(stop));
            if is_known {
                others.iter().for_each(|it| {
                    until_shown(&baton, &servers[*it], "its receiver stands still", |it| {
                        it["ReplicationIOThreadRuning"] == false
                    });
                });
            }
            servers[0].exec("INSERT INTO shop.orders VALUES (1)");
            wait_until(PATIENCE, "it has received it", || {
                servers[late].has_received_all_of(&servers[0]).then_some(())
            });
            let position = servers[0].binlog_position();
            if is_known {
                until_shown(&baton, &servers[0], "it was seen", |it| {
                    it["SelfBinlogCoordinates"]["LogPos"] == position.1
                });
            }
            servers[0].kill_9();
            if is_known {
                let path = format!("/api/explain/{}/{}", servers[0].host, servers[0].port);
                baton.until(&path, "it says what would be lost", |told| {
                    let told = told.to_string();
                    let words = ["1 transaction", "force-master-failover accepts that loss"];
                    words.iter().all(|it| told.contains(it)).then_some(())
                });
                assert!(others.iter().all(|it| !is_writable(&servers[*it])), "{flavor:?}");
                let forced = baton.get("/api/force-master-failover/shop");
                assert_eq!(forced["Code"], "OK", "{forced:#}\n{}", baton.log());
            }
            let recovery = until_successful(&baton);
            assert_eq!(recovery["LostTransactionCount"], 1, "{recovery:#}");
            let successor = recovery["SuccessorKey"]["Port"].as_u64().expect("a successor");
            let successor = at(&servers, successor);
            assert!(is_writable(successor) && successor.port != servers[late].port, "{flavor:?}");
            wait_until(PATIENCE, "it follows, as late as before", || {
                let port = servers[late].replica_status("", "Port")?;
                let delay = servers[late].replica_status("", "SQL_Delay")?;
                (port == successor.port.to_string() && delay == "3600").then_some(())
            });
        }
    }
}

/// Waits until somebody was promoted.
fn until_successful(baton: &Baton) -> serde_json::Value {
    baton.until("/api/audit-recovery", "somebody was promoted", |all| {
        let all = all.as_array()?;
        let done = |it: &&serde_json::Value| {
            it["IsSuccessful"] == true && it["RecoveryEndTimestamp"] != ""
        };
        all.iter().find(done).cloned()
    })
}

/// They came by replication, so the server does not run them, and does not begin to when it is opened.
#[test]
fn events_that_do_not_run_on_a_new_primary_are_told_of_until_somebody_enables_them() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let servers = shop(flavor);
        servers[0].exec("SET GLOBAL event_scheduler = ON");
        servers[0].exec(
            "CREATE EVENT shop.nightly ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' \
             DO DELETE FROM shop.orders",
        );
        servers[0].exec(&format!("GRANT EVENT ON *.* TO '{USER}'@'%'"));
        for server in &servers[1..] {
            wait_until(PATIENCE, "it has the event", || {
                let there = "SELECT 1 FROM information_schema.EVENTS WHERE EVENT_NAME = 'nightly'";
                (!server.query(there).is_empty()).then_some(())
            });
        }
        let baton = watch(&servers);
        let told = "1 scheduled events came to";
        let path = "/api/graceful-master-takeover-auto/shop";
        let shown = baton.until(&format!("{path}?dry_run=true"), "it is told before", |it| {
            it.to_string().contains(told).then(|| it.to_string())
        });
        let goes_on = "1 scheduled events run on";
        assert_eq!(shown.contains(goes_on), flavor.is_mariadb(), "{flavor:?}: {shown}");
        let done = baton.get(path);
        assert_eq!(done["Code"], "OK", "{flavor:?}: {done}\n{}", baton.log());
        let port = done["Details"]["SuccessorKey"]["Port"].as_u64().expect("a successor");
        let successor = at(&servers, port);
        let problem = "events_disabled_by_replication";
        until_shown(&baton, successor, "it is a problem there", |it| {
            it["Problems"].to_string().contains(problem)
        });
        successor.exec("ALTER EVENT shop.nightly ENABLE");
        until_shown(&baton, successor, "it is none any more", |it| {
            it["ReadOnly"] == false && !it["Problems"].to_string().contains(problem)
        });
    }
}
