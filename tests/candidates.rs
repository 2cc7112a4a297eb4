//! Which replica is promoted where several could be: one that is ready to serve.

mod support;

use support::{
    Baton, EVERYWHERE, Flavor, PATIENCE, Server, at, is_writable, shop, until_recovered, wait_until,
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
