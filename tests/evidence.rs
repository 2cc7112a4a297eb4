//! What is evidence that a primary is dead, and what is not: real servers that live, but do not look it.

mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::{
    Baton, EVERYWHERE, Flavor, Options, PASSWORD, PATIENCE, Raft, Server, USER, admit, empower,
    free_seats, is_writable, seat_settings, until_fenced, until_recovered, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const FLAVORS: [Flavor; 2] = [Flavor::MySql97, Flavor::MariaDb1011];
const SHOP: &str = "shop.orders";

/// A primary with so many replicas, and a table that they all have.
fn shop(flavor: Flavor, replicas: usize) -> Vec<Server> {
    let mut servers = Server::start_all((0..=replicas).map(|index| match index {
        0 => Options::new(flavor),
        _ => Options::new(flavor).read_only(),
    }));
    let (primary, others) = servers.split_first_mut().expect("a primary");
    others.iter().for_each(|replica| replica.replicate_from(primary));
    primary.exec("CREATE DATABASE shop");
    primary.exec("CREATE TABLE shop.orders (id INT PRIMARY KEY)");
    for replica in others.iter() {
        wait_until(PATIENCE, "it has the table", || {
            replica.try_query("SELECT * FROM shop.orders").is_ok().then_some(())
        });
    }
    servers
}

/// Settings under which whatever runs leaves a line in this file.
fn hooks(log: &Path) -> Vec<(&'static str, String)> {
    let keys = [
        "BATON_ONFAILUREDETECTIONPROCESSES",
        "BATON_PREFAILOVERPROCESSES",
        "BATON_POSTFAILOVERPROCESSES",
        "BATON_POSTUNSUCCESSFULFAILOVERPROCESSES",
    ];
    let line = |key: &str| format!("echo '{key} {{failureType}}' >> {}", log.display());
    keys.into_iter().map(|key| (key, line(key))).collect()
}

fn settings<'a>(hooks: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    let own = hooks.iter().map(|(key, line)| (*key, line.as_str()));
    EVERYWHERE.into_iter().chain([("BATON_INSTANCEPOLLSECONDS", "1")]).chain(own).collect()
}

/// Nothing was begun, and nobody was told of anything.
fn nothing_was_done(baton: &Baton, log: &Path) {
    assert_eq!(baton.get("/api/audit-recovery"), Value::Array(Vec::new()), "{}", baton.log());
    let told = std::fs::read_to_string(log).unwrap_or_default();
    assert_eq!(told, "", "hooks ran");
}

/// What baton says of a server that it looked at so often in vain: everything has been judged by then.
fn until_explained(baton: &Baton, host: &str, port: u16, says: &str) {
    let path = format!("/api/explain/{host}/{port}");
    baton.until(&path, says, |it| {
        let text = it["Message"].as_str()?;
        let failures = text.split("the last ").nth(1)?.split(' ').next()?.parse::<u32>().ok()?;
        (failures >= 3 && text.contains(says)).then_some(())
    });
}

fn stop_replication(server: &Server) {
    server.exec(match server.flavor {
        Flavor::MySql97 => "STOP REPLICA",
        Flavor::MariaDb1011 | Flavor::MariaDb118 => "STOP SLAVE",
    });
}

/// Points a replica at a name that nobody has, and leaves it stopped.
fn misspell(server: &Server, host: &str, port: u16) {
    stop_replication(server);
    server.exec(&match server.flavor {
        Flavor::MySql97 => {
            format!("CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{host}', SOURCE_PORT = {port}")
        }
        Flavor::MariaDb1011 | Flavor::MariaDb118 => {
            format!("CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}")
        }
    });
}

#[test]
fn a_source_that_was_never_seen_is_shown_and_replaced_by_a_person_only() {
    for flavor in FLAVORS {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let servers = shop(flavor, 1);
        empower(&servers[1..]);
        let (host, port) = ("shop-primry.invalid", servers[0].port);
        misspell(&servers[1], host, port);
        let hooks = hooks(&log);
        let baton = Baton::start(BATON, vec![servers[1].address()], &settings(&hooks));
        baton.until_found(&servers[0], "NeverSeenMaster");
        until_explained(&baton, host, port, "was never seen");
        nothing_was_done(&baton, &log);
        assert!(is_writable(&servers[0]) && !is_writable(&servers[1]), "{flavor:?}");
        let refused = baton.get(&format!("/api/recover/{host}/{port}"));
        let message = refused["Message"].as_str().unwrap_or_default();
        assert!(message.contains("was never seen"), "{message}");
        let replica = (&servers[1].host, servers[1].port);
        let forced = baton.get(&format!("/api/force-master-failover/{}/{}", replica.0, replica.1));
        assert_eq!(forced["Code"], "OK", "{forced}\n{}", baton.log());
        assert!(is_writable(&servers[1]));
    }
}

/// People made a primary of a replica and left its old source in place, which baton never knew.
#[test]
fn a_hand_made_primary_is_left_alone_by_one_baton_and_by_three() {
    for flavor in FLAVORS {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut servers = shop(flavor, 2);
        let old = servers[0].port;
        stop_replication(&servers[1]);
        let (reset, open) = match flavor {
            Flavor::MySql97 => ("RESET REPLICA", "SET GLOBAL super_read_only = OFF"),
            Flavor::MariaDb1011 | Flavor::MariaDb118 => {
                ("RESET SLAVE", "SET GLOBAL read_only = OFF")
            }
        };
        servers[1].exec(reset);
        servers[1].exec(open);
        servers[1].exec("SET GLOBAL read_only = OFF");
        stop_replication(&servers[2]);
        servers[2].replicate_from(&servers[1]);
        servers[0].kill_9();
        empower(&servers[1..]);
        let hooks = hooks(&log);
        let seeds = vec![servers[1].address()];
        let alone = Baton::start(BATON, seeds.clone(), &settings(&hooks));
        let seats: [String; 3] = free_seats();
        let all = seats.join(",");
        let node = |seat: &String| {
            let extra = settings(&hooks);
            let settings = seat_settings(seat, &all);
            Baton::start(BATON, seeds.clone(), &[settings, extra].concat())
        };
        let nodes = seats.iter().map(node).collect();
        let raft = Raft { nodes, seats: seats.clone() };
        let leader = raft.leader(&[0, 1, 2]);
        for baton in [&alone, &raft.nodes[leader]] {
            baton.until_found(&servers[0], "NeverSeenMaster");
            until_explained(baton, &servers[0].host, old, "was never seen");
            nothing_was_done(baton, &log);
        }
        assert!(is_writable(&servers[1]) && !is_writable(&servers[2]), "{flavor:?}");
    }
}

/// How a primary says no to baton.
#[derive(Debug, Clone, Copy, PartialEq)]
enum No {
    /// The password is another one.
    AccessDenied,
    /// The account is locked.
    Locked,
    /// Only administrators are let in.
    OfflineMode,
}

impl No {
    fn begin(self, server: &Server) {
        match self {
            Self::AccessDenied => server
                .run_unlogged(&format!("ALTER USER '{USER}'@'%' IDENTIFIED BY 'another-s3cret'")),
            Self::Locked => {
                server.run_unlogged(&format!("ALTER USER '{USER}'@'%' ACCOUNT LOCK"));
            }
            Self::OfflineMode => server.exec("SET GLOBAL offline_mode = ON"),
        }
        server.end_connections_of(USER);
    }

    fn end(self, server: &Server) {
        match self {
            Self::AccessDenied => {
                server.run_unlogged(&format!("ALTER USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'"))
            }
            Self::Locked => {
                server.run_unlogged(&format!("ALTER USER '{USER}'@'%' ACCOUNT UNLOCK"));
            }
            Self::OfflineMode => server.exec("SET GLOBAL offline_mode = OFF"),
        }
    }
}

/// D13: its replica, stopped on purpose, is no witness; but nobody who is gone says no.
#[test]
fn a_primary_that_says_no_lives_and_a_replica_that_people_stopped_stays_stopped() {
    for (flavor, no) in [
        (Flavor::MySql97, No::AccessDenied),
        (Flavor::MySql97, No::OfflineMode),
        (Flavor::MariaDb1011, No::AccessDenied),
        (Flavor::MariaDb1011, No::Locked),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let servers = shop(flavor, 1);
        if no == No::OfflineMode {
            // An account that may only look is none of those that are let in.
            admit(&servers[..1]);
            empower(&servers[1..]);
        } else {
            empower(&servers);
        }
        let hooks = hooks(&log);
        let baton = Baton::start(BATON, vec![servers[0].address()], &settings(&hooks));
        baton.until_all_valid(2);
        stop_replication(&servers[1]);
        baton.until_found(&servers[0], "MasterSingleReplicaNotReplicating");
        no.begin(&servers[0]);
        baton.until_found(&servers[0], "InaccessibleMaster");
        until_explained(&baton, &servers[0].host, servers[0].port, "lives, though");
        no.end(&servers[0]);
        baton.until_found(&servers[0], "MasterSingleReplicaNotReplicating");
        nothing_was_done(&baton, &log);
        assert!(is_writable(&servers[0]) && !is_writable(&servers[1]), "{flavor:?} {no:?}");
        assert!(!servers[1].replication_runs(""), "people stopped it");
        let receiver = servers[1].replica_status("", "IO_Running");
        assert_eq!(receiver.as_deref(), Some("No"), "{flavor:?} {no:?}");
    }
}

/// I1, I8: whoever answers and cannot be closed is replaced by name only.
#[test]
fn a_primary_that_cannot_be_closed_is_replaced_by_name_only() {
    for flavor in FLAVORS {
        let servers = shop(flavor, 2);
        empower(&servers);
        servers[0].exec(&format!("GRANT SELECT, LOCK TABLES ON shop.* TO '{USER}'@'%'"));
        let baton = Baton::start(BATON, vec![servers[0].address()], &EVERYWHERE);
        baton.until_all_valid(3);
        let force = |more: &str| {
            let (host, port) = (&servers[0].host, servers[0].port);
            baton.get(&format!("/api/force-master-failover/{host}/{port}{more}"))
        };
        // Nobody ends the connections of baton's own account.
        servers[0].while_kept_by((USER, PASSWORD), SHOP, || {
            let refused = force("");
            assert_eq!(refused["Code"], "ERROR", "{refused}");
            let message = refused["Message"].as_str().unwrap_or_default();
            assert!(message.contains("I1: ") && message.contains("unfenced=true"), "{message}");
            let holder = format!("{USER}@");
            for told in ["may hold a lock: thread ", &holder, "baton's own account", "idle for "] {
                assert!(message.contains(told), "the holder is named: {message}");
            }
            assert!(is_writable(&servers[0]), "it is as it was");
            assert!(servers[1..].iter().all(|it| !is_writable(it)));
            for replica in &servers[1..] {
                wait_until(PATIENCE, "it replicates again", || {
                    replica.replication_runs("").then_some(())
                });
            }
            let done = force("?unfenced=true");
            assert_eq!(done["Code"], "OK", "{done}\n{}", baton.log());
            assert_eq!(servers[1..].iter().filter(|it| is_writable(it)).count(), 1);
        });
        until_fenced(&servers[0]);
    }
}

#[test]
fn a_primary_that_stands_still_for_a_moment_stays_the_primary_though_it_has_one_replica() {
    for flavor in FLAVORS {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let servers = shop(flavor, 1);
        empower(&servers);
        let hooks: Vec<_> =
            hooks(&log).into_iter().filter(|(key, _)| !key.contains("DETECTION")).collect();
        let baton = Baton::start(BATON, vec![servers[0].address()], &settings(&hooks));
        baton.until_all_valid(2);
        servers[0].stop_signal();
        wait_until(PATIENCE, "its replica is made to connect anew", || {
            baton.log().contains("tries to connect").then_some(())
        });
        servers[0].cont_signal();
        wait_until(PATIENCE, "all is well again", || {
            let is_wrong = |it: &String| it.contains("Unreachable") || it.contains("Dead");
            let is_well = !baton.findings().iter().any(is_wrong) && servers[1].replication_runs("");
            is_well.then_some(())
        });
        nothing_was_done(&baton, &log);
        assert!(is_writable(&servers[0]) && !is_writable(&servers[1]), "{flavor:?}");
    }
}

#[test]
fn a_hung_primary_is_replaced_within_seconds_though_it_has_one_replica() {
    for flavor in FLAVORS {
        let servers = shop(flavor, 1);
        empower(&servers);
        let baton = Baton::start(BATON, vec![servers[0].address()], &EVERYWHERE);
        baton.until_all_valid(2);
        servers[0].stop_signal();
        // On an idle machine it takes 3 s, and never less than a primary is given to come back.
        wait_until(Duration::from_secs(8), "the replica is opened", || {
            is_writable(&servers[1]).then_some(())
        });
        let recovery = until_recovered(&baton);
        assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
        servers[0].cont_signal();
        until_fenced(&servers[0]);
    }
}
