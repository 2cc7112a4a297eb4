//! baton decides who acknowledges: enough when a primary waits in vain, exactly as many as it
//! waits for where that is wanted.

mod support;

use serde_json::{Value, json};
use support::{Baton, Flavor, Options, PATIENCE, Server, empower, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const FLAVORS: [Flavor; 3] = [Flavor::MySql97, Flavor::MariaDb1011, Flavor::MariaDb118];

/// A primary that never stops waiting, with three replicas that acknowledge.
fn shop(flavor: Flavor) -> Vec<Server> {
    let options = Options::new(flavor)
        .semi_sync()
        .line("loose-rpl_semi_sync_source_timeout=600000")
        .line("loose-rpl_semi_sync_master_timeout=600000");
    let servers = Server::start_all(
        std::iter::once(options.clone()).chain(std::iter::repeat_n(options.read_only(), 3)),
    );
    servers[1..].iter().for_each(|replica| replica.replicate_from(&servers[0]));
    empower(&servers);
    servers[0].exec("CREATE DATABASE shop");
    servers[0].exec("CREATE TABLE shop.orders (id INT PRIMARY KEY)");
    servers[0].wait_for_acknowledgements();
    until_acknowledged_by(&servers[0], 3);
    wait_until(PATIENCE, "all have the table", || {
        let all = servers.iter().all(|it| it.try_query("SELECT * FROM shop.orders").is_ok());
        all.then_some(())
    });
    servers
}

/// A status variable of semi-sync, by its name without what says source or replica.
fn status(server: &Server, side: &str, name: &str) -> String {
    let side = match (server.flavor, side) {
        (Flavor::MySql97, side) => side,
        (Flavor::MariaDb1011 | Flavor::MariaDb118, "source") => "master",
        (Flavor::MariaDb1011 | Flavor::MariaDb118, _) => "slave",
    };
    let rows = server.query(&format!("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_{side}_{name}'"));
    rows[0][1].clone().unwrap_or_default()
}

/// The variable that says whether a replica acknowledges.
fn flag(server: &Server) -> &'static str {
    match server.flavor {
        Flavor::MySql97 => "@@global.rpl_semi_sync_replica_enabled",
        Flavor::MariaDb1011 | Flavor::MariaDb118 => "@@global.rpl_semi_sync_slave_enabled",
    }
}

/// Both by its variable and by what its receiver told the source.
fn acknowledges(server: &Server) -> bool {
    let is_enabled = server.value(&format!("SELECT {}", flag(server))) == "1";
    let is_active = status(server, "replica", "status") == "ON";
    assert_eq!(is_enabled, is_active, "the flag of {} is lived by", server.address());
    is_active
}

fn until_acknowledged_by(primary: &Server, count: u32) {
    wait_until(PATIENCE, &format!("{count} acknowledge"), || {
        (status(primary, "source", "clients") == count.to_string()).then_some(())
    });
}

/// Takes the flag away from a replica, as an operator would.
fn acknowledge_no_more(replica: &Server) {
    let [stop, start] = match replica.flavor {
        Flavor::MySql97 => ["STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD"],
        Flavor::MariaDb1011 | Flavor::MariaDb118 => {
            ["STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD"]
        }
    };
    replica.exec(&format!("SET {} = 0", flag(replica)));
    replica.exec(stop);
    replica.exec(start);
}

/// The query that gives servers, in their order, these priorities.
fn priorities(servers: &[Server], priorities: [u32; 4]) -> String {
    let cases: Vec<String> = std::iter::zip(servers, priorities)
        .map(|(server, priority)| format!("WHEN {} THEN {priority}", server.port))
        .collect();
    format!("SELECT CASE @@port {} END", cases.join(" "))
}

fn start(servers: &[Server], query: &str, settings: &[(&str, &str)]) -> Baton {
    let mut all = vec![
        ("BATON_INSTANCEPOLLSECONDS", "1"),
        ("BATON_REASONABLELOCKEDSEMISYNCMASTERSECONDS", "2"),
        ("BATON_DETECTCLUSTERALIASQUERY", "SELECT 'shop'"),
        ("BATON_DETECTSEMISYNCENFORCEDQUERY", query),
    ];
    all.extend(settings);
    Baton::start(BATON, vec![servers[0].address()], &all)
}

/// Waits until a recovery has ended, and returns it.
fn until_recovered(baton: &Baton) -> Value {
    baton.until("/api/audit-recovery", "a recovery has ended", |all| {
        let newest = all.as_array()?.first()?.clone();
        (newest["RecoveryEndTimestamp"] != "").then_some(newest)
    })
}

/// Everybody replicates what the primary writes.
fn until_all_have(servers: &[Server], id: u32) {
    for server in servers {
        wait_until(PATIENCE, "everybody replicates", || {
            let found = server.query(&format!("SELECT id FROM shop.orders WHERE id = {id}"));
            (!found.is_empty()).then_some(())
        });
    }
}

/// Lets a write that waits go when the test fails: it would wait for the write.
struct Release<'a>(&'a Server);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let side = if self.0.flavor == Flavor::MySql97 { "source" } else { "master" };
            self.0.exec(&format!("SET GLOBAL rpl_semi_sync_{side}_enabled = OFF"));
        }
    }
}

#[test]
fn a_primary_that_waits_in_vain_gets_the_next_replica_by_priority_and_its_write_goes_through() {
    for flavor in FLAVORS {
        let servers = shop(flavor);
        servers[1..].iter().for_each(acknowledge_no_more);
        until_acknowledged_by(&servers[0], 0);
        std::thread::scope(|scope| {
            let write = scope.spawn(|| servers[0].exec("INSERT INTO shop.orders VALUES (1)"));
            let _release = Release(&servers[0]);
            wait_until(PATIENCE, "the write waits", || {
                (status(&servers[0], "source", "wait_sessions") == "1").then_some(())
            });
            let query = priorities(&servers, [0, 0, 1, 2]);
            let on = [("BATON_RECOVERLOCKEDSEMISYNCMASTER", "true")];
            let baton = start(&servers, &query, &on);
            let recovery = until_recovered(&baton);
            assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
            assert_eq!(recovery["AnalysisEntry"]["Analysis"], "LockedSemiSyncMaster");
            assert_eq!(recovery["SuccessorKey"]["Port"], servers[0].port);
            assert_eq!(recovery["Type"], "MasterRecovery");
            assert_eq!(recovery["LostReplicas"], json!([]));
            write.join().expect("the write goes through");
            baton.until("/api/replication-analysis", "nothing is wrong any more", |answer| {
                (!answer.to_string().contains("SemiSync")).then_some(())
            });
        });
        let acknowledging: Vec<bool> = servers[1..].iter().map(acknowledges).collect();
        assert_eq!(acknowledging, [false, false, true], "{flavor:?}: the first by priority");
        until_acknowledged_by(&servers[0], 1);
        servers[0].exec("INSERT INTO shop.orders VALUES (2)");
        until_all_have(&servers, 2);
        assert_eq!(servers[0].value("SELECT @@global.read_only"), "0");
    }
}

#[test]
fn of_too_many_that_acknowledge_exactly_as_many_as_are_waited_for_stay() {
    for flavor in FLAVORS {
        let servers = shop(flavor);
        let (wait_for, expected) = match flavor {
            Flavor::MySql97 => (2, [true, false, true]),
            // It always waits for one.
            Flavor::MariaDb1011 | Flavor::MariaDb118 => (1, [false, false, true]),
        };
        if flavor == Flavor::MySql97 {
            servers[0].exec("SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = 2");
        }
        let query = priorities(&servers, [0, 1, 0, 2]);
        let baton = start(&servers, &query, &[("BATON_ENFORCEEXACTSEMISYNCREPLICAS", "true")]);
        let recovery = until_recovered(&baton);
        assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
        assert_eq!(recovery["AnalysisEntry"]["Analysis"], "MasterWithTooManySemiSyncReplicas");
        let acknowledging: Vec<bool> = servers[1..].iter().map(acknowledges).collect();
        assert_eq!(acknowledging, expected, "{flavor:?}: those with the highest priority");
        until_acknowledged_by(&servers[0], wait_for);
        servers[0].exec("INSERT INTO shop.orders VALUES (1)");
        until_all_have(&servers, 1);
        // Somebody switches one on again: not so soon, and not for a person either.
        let again = format!("/api/enable-semi-sync-replica/{}", servers[2].address());
        let done = baton.get(&again.replace(":", "/"));
        assert_eq!(done["Code"], "OK", "{done}");
        baton.until_found(&servers[0], "MasterWithTooManySemiSyncReplicas");
        let (host, port) = (&servers[0].host, servers[0].port);
        let explained = baton.get(&format!("/api/explain/{host}/{port}")).to_string();
        assert!(explained.contains("is not long ago and not acknowledged"), "{explained}");
        let asked = baton.get(&format!("/api/recover/{host}/{port}")).to_string();
        assert!(asked.contains("is not long ago and not acknowledged"), "{asked}");
        assert!(acknowledges(&servers[2]));
    }
}

/// No commit waited for one that does not acknowledge, such as a remote one, so it bars nothing when it is
/// gone; and once it acknowledges it does.
#[test]
fn an_asynchronous_replica_that_is_gone_bars_no_failover() {
    for (flavor, is_asynchronous) in
        [(Flavor::MySql97, true), (Flavor::MariaDb1011, true), (Flavor::MySql97, false)]
    {
        let mut servers = shop(flavor);
        if is_asynchronous {
            acknowledge_no_more(&servers[3]);
            until_acknowledged_by(&servers[0], 2);
        }
        let baton = start(
            &servers,
            "SELECT 0",
            &[
                ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
                ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'"),
            ],
        );
        baton.until_all_valid(4);
        servers[3].kill_9();
        let gone = format!("/api/instance/{}/{}", servers[3].host, servers[3].port);
        baton.until(&gone, "it is known to be gone", |it| {
            (it["IsLastCheckValid"] == false).then_some(())
        });
        until_acknowledged_by(&servers[0], 2);
        let primary = format!("/api/instance/{}/{}", servers[0].host, servers[0].port);
        baton.until(&primary, "that fewer acknowledge is known", |it| {
            (it["SemiSyncMasterClients"] == 2).then_some(())
        });
        for id in 0..10 {
            servers[0].exec(&format!("INSERT INTO shop.orders VALUES ({id})"));
        }
        servers[0].kill_9();
        if !is_asynchronous {
            let path = format!("/api/explain/{}/{}", servers[0].host, servers[0].port);
            baton.until(&path, "it says why it does nothing", |it| {
                it.to_string().contains("forget those that are gone for good").then_some(())
            });
            continue;
        }
        let recovery = until_recovered(&baton);
        assert_eq!(recovery["IsSuccessful"], true, "{flavor:?} {recovery:#}\n{}", baton.log());
        let successor = recovery["SuccessorKey"]["Port"].as_u64();
        let successor = servers.iter().find(|it| Some(u64::from(it.port)) == successor);
        let rows = successor.expect("one of us").value("SELECT COUNT(*) FROM shop.orders");
        assert_eq!(rows, "10", "{flavor:?}: what was acknowledged is there");
    }
}

/// What is waited for twice: the successor and one more acknowledge, a third does not.
fn twice(flavor: Flavor) -> Vec<Server> {
    let servers = shop(flavor);
    acknowledge_no_more(&servers[3]);
    until_acknowledged_by(&servers[0], 2);
    for server in &servers {
        server.exec("SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = 2");
    }
    servers
}

/// Clients write while user processes run, and once it is over.
#[test]
fn a_primary_that_waits_for_two_hands_over_without_standing_still_meanwhile() {
    let servers = twice(Flavor::MySql97);
    let hook = "touch begun; while [ ! -e go ]; do sleep 0.1; done";
    let settings = [
        ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
        ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'"),
        ("BATON_PREGRACEFULTAKEOVERPROCESSES", hook),
    ];
    let baton = start(&servers, "SELECT 1", &settings);
    baton.until_all_valid(servers.len());
    let to = &servers[1];
    let path = format!("/api/graceful-master-takeover-auto/shop/{}/{}", to.host, to.port);
    std::thread::scope(|scope| {
        let done = scope.spawn(|| baton.get(&path));
        wait_until(PATIENCE, "the hook runs", || {
            baton.folder().join("begun").exists().then_some(())
        });
        let write = scope.spawn(|| servers[0].exec("INSERT INTO shop.orders VALUES (1)"));
        let release = Release(&servers[0]);
        wait_until(PATIENCE, "it is acknowledged, though siblings move", || {
            write.is_finished().then_some(())
        });
        std::fs::write(baton.folder().join("go"), "").expect("let it go on");
        let done = done.join().expect("an answer");
        assert_eq!(done["Code"], "OK", "{done:#}\n{}", baton.log());
        drop(release);
    });
    until_acknowledged_by(to, 2);
    to.exec("INSERT INTO shop.orders VALUES (2)");
    until_all_have(&servers, 2);
    for server in &servers {
        assert_eq!(server.value("SELECT COUNT(*) FROM shop.orders"), "2", "{}", server.address());
    }
}

/// The only one that acknowledged succeeds, and nobody is left who acknowledges to it: it is told, and
/// who lets baton decide has another one switched on.
#[test]
fn a_new_primary_that_nobody_acknowledges_to_is_told_of_and_helped_where_that_is_let() {
    for flavor in FLAVORS {
        let mut servers = shop(flavor);
        servers[2..].iter().for_each(acknowledge_no_more);
        until_acknowledged_by(&servers[0], 1);
        let query = priorities(&servers, [1, 1, 1, 1]);
        let settings = [
            ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
            ("BATON_RECOVERLOCKEDSEMISYNCMASTER", "true"),
        ];
        let baton = start(&servers, &query, &settings);
        baton.until_all_valid(servers.len());
        let path =
            format!("/api/register-candidate/{}/{}/prefer", servers[1].host, servers[1].port);
        assert_eq!(baton.get(&path)["Code"], "OK");
        servers[0].kill_9();
        let recovery = until_recovered(&baton);
        assert_eq!(recovery["SuccessorKey"]["Port"], servers[1].port, "{recovery:#}");
        let errors = recovery["AllErrors"].to_string();
        assert!(errors.contains("waits for 1 acknowledgements and 0 of those"), "{errors}");
        std::thread::scope(|scope| {
            let write = scope.spawn(|| servers[1].exec("INSERT INTO shop.orders VALUES (1)"));
            let release = Release(&servers[1]);
            wait_until(PATIENCE, "another one acknowledges, and the write goes through", || {
                write.is_finished().then_some(())
            });
            drop(release);
        });
        until_all_have(&servers[1..], 1);
    }
}
