//! Topologies of real servers, rearranged through baton.

mod support;

use serde_json::{Value, json};
use support::{Baton, Flavor, Options, PASSWORD, PATIENCE, Server, USER};
use support::{chain, least_grants, recovery_grants, star, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");

/// How the replicas of a test find their place.
fn kinds() -> [(&'static str, Options); 3] {
    [
        ("MySQL by GTID", Options::new(Flavor::MySql97)),
        ("MySQL by file and position", Options::new(Flavor::MySql97).without_gtid()),
        ("MariaDB by GTID", Options::new(Flavor::MariaDb1011)),
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
        (format!("move-equivalent/{b}/{c}"), "no equivalent coordinates are known"),
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
