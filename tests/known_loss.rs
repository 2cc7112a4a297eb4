//! Replicas that have less than somebody was seen to have are not promoted over it.

mod support;

use std::fs;

use serde_json::Value;
use support::{
    Baton, EVERYWHERE, Flavor, Options, PATIENCE, Server, empower, is_writable, until_fenced,
    until_recovered, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
/// What the replica has applied, and what is written after that.
const APPLIED: u32 = 3;
const MORE: u32 = 20;

/// How a primary and its replica replicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    SemiSync,
    Gtid,
    Position,
}

/// A primary with one replica, which has applied a few rows.
fn pair(flavor: Flavor, by: By) -> Vec<Server> {
    let mut options = Options::new(flavor).line("relay_log_recovery=ON");
    if by == By::SemiSync {
        options = options.semi_sync();
    }
    if by == By::Position {
        options = options.without_gtid();
    }
    let servers = Server::start_all([options.clone(), options.read_only()]);
    servers[1].replicate_from(&servers[0]);
    if by == By::SemiSync {
        servers[0].wait_for_acknowledgements();
    }
    empower(&servers);
    servers[0].exec("CREATE DATABASE shop");
    servers[0].exec("CREATE TABLE shop.orders (id INT PRIMARY KEY)");
    insert(&servers[0], 0..APPLIED);
    wait_until(PATIENCE, "the replica has the rows", || {
        (count(&servers[1]) == Some(APPLIED)).then_some(())
    });
    servers
}

fn insert(server: &Server, ids: std::ops::Range<u32>) {
    for id in ids {
        server.exec(&format!("INSERT INTO shop.orders VALUES ({id})"));
    }
}

fn count(server: &Server) -> Option<u32> {
    let rows = server.try_query("SELECT COUNT(*) FROM shop.orders").ok()?;
    rows.first()?.first()?.as_ref()?.parse().ok()
}

/// Stops one thread of the replica, as a person would.
fn stop(replica: &Server, thread: &str) {
    let replication = match replica.flavor {
        Flavor::MariaDb1011 => "SLAVE",
        _ => "REPLICA",
    };
    replica.exec(&format!("STOP {replication} {thread}_THREAD"));
}

/// Waits until baton has seen a position of a server, in its own log or in that of its source.
fn until_seen_at(baton: &Baton, server: &Server, whose: &str, position: &(String, u64)) {
    let path = format!("/api/instance/{}/{}", server.host, server.port);
    baton.until(&path, "baton has seen it", |it| {
        let at = &it[whose];
        (at["LogFile"] == position.0.as_str() && at["LogPos"] == position.1).then_some(())
    });
}

/// Waits until baton says why it does nothing, and finds these words in it.
fn until_refused(baton: &Baton, primary: &Server, words: &[&str]) {
    let path = format!("/api/explain/{}/{}", primary.host, primary.port);
    baton.until(&path, &format!("{words:?}"), |told| {
        let told = told.to_string();
        words.iter().all(|word| told.contains(word)).then_some(())
    });
}

fn settings(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let hook = "echo $ORC_COUNT_LOST_TRANSACTIONS of $ORC_LOST_TRANSACTIONS > told";
    let own = [("BATON_INSTANCEPOLLSECONDS", "1"), ("BATON_POSTMASTERFAILOVERPROCESSES", hook)];
    EVERYWHERE.into_iter().chain(own).chain(more.iter().copied()).collect()
}

/// The loss is in the recovery, and hooks were told.
fn assert_told(baton: &Baton, recovery: &Value, by: By) {
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}\n{}", baton.log());
    let errors = recovery["AllErrors"].to_string();
    assert!(errors.contains("transactions lost: "), "{recovery:#}");
    let told = wait_until(PATIENCE, "the hook was told", || {
        fs::read_to_string(baton.folder().join("told")).ok().filter(|it| it.ends_with('\n'))
    });
    if by != By::Position {
        assert_eq!(recovery["LostTransactionCount"], MORE, "{recovery:#}");
        assert!(told.starts_with(&format!("{MORE} of ")), "{told}");
    }
    assert!(recovery["LostTransactions"].as_str().is_some_and(|it| told.contains(it)), "{told}");
}

#[test]
fn a_replica_that_comes_back_without_its_relay_log_is_promoted_by_a_person_only() {
    for (flavor, by) in [
        (Flavor::MySql97, By::SemiSync),
        (Flavor::MariaDb1011, By::SemiSync),
        (Flavor::MySql97, By::Position),
    ] {
        let mut servers = pair(flavor, by);
        let mut baton = Baton::start(BATON, vec![servers[0].address()], &settings(&[]));
        baton.until_all_valid(2);
        stop(&servers[1], "SQL");
        insert(&servers[0], APPLIED..APPLIED + MORE);
        let written = servers[0].binlog_position();
        until_seen_at(&baton, &servers[1], "ReadBinlogCoordinates", &written);
        if by == By::SemiSync {
            // What was seen outlives the one who saw it.
            baton.signal("-TERM");
            baton.wait_within(PATIENCE);
        }
        servers[1].kill_9();
        if by != By::SemiSync {
            baton.until_found(&servers[0], "MasterSingleReplicaDead");
        }
        servers[0].kill_9();
        if by == By::SemiSync {
            baton.launch();
        }
        servers[1].restart();
        let number = format!("{MORE} transactions");
        let words = match by {
            By::SemiSync => vec!["writes were acknowledged once 1 had them", number.as_str()],
            _ => vec!["FailMasterPromotionOnKnownLoss is set", "lacks"],
        };
        until_refused(&baton, &servers[0], &words);
        assert!(!is_writable(&servers[1]), "{flavor:?} {by:?}");
        let address = servers[0].address().replace(':', "/");
        let asked = baton.get(&format!("/api/recover/{address}"));
        assert_eq!(asked["Code"], "ERROR", "{asked}");
        let forced = baton.get(&format!("/api/force-master-failover/{address}"));
        assert_eq!(forced["Code"], "OK", "{forced}\n{}", baton.log());
        assert!(is_writable(&servers[1]));
        assert_eq!(count(&servers[1]), Some(APPLIED));
        assert_told(&baton, &until_recovered(&baton), by);
        if by == By::SemiSync {
            until_seen_to(&baton, &mut servers[0]);
        }
    }
}

/// The loss, and that the former primary was not closed, stay findings; when it is back with what nobody
/// else has, that is counted; a person ends it.
fn until_seen_to(baton: &Baton, former: &mut Server) {
    let number = format!("{MORE} transactions");
    let warned = |names: &'static [&'static str]| {
        baton.until("/api/replication-analysis", &format!("{names:?}"), |told| {
            let told = told.to_string();
            (told.contains(&number) && names.iter().all(|it| told.contains(it))).then_some(())
        });
        let problems = baton.get("/api/problems").to_string();
        assert!(problems.contains("unhandled_failover"), "{problems}");
        // What is worst goes first there.
        baton.until("/api/fleet", &format!("{} is told", names[0]), |fleet| {
            let fleet = fleet.to_string();
            (fleet.contains(&number) && fleet.contains(names[0])).then_some(())
        });
    };
    warned(&["FormerMasterNotFenced", "FailoverLostTransactions"]);
    former.restart();
    until_fenced(former);
    warned(&["FormerMasterHasExtraTransactions"]);
    let figures = baton.try_get("/metrics").expect("figures").1;
    assert!(figures.contains("FormerMasterHasExtraTransactions\"} 1"), "{figures}");
    assert!(figures.contains(&format!("baton_unhandled_lost_transactions {MORE}")), "{figures}");
    assert!(baton.log().contains("a person has to see to"), "{}", baton.log());
    let acknowledged = baton.get("/api/ack-recovery/cluster/shop?comment=seen");
    assert_eq!(acknowledged["Code"], "OK", "{acknowledged}");
    baton.until("/api/replication-analysis", "it is seen to", |told| {
        (!told.to_string().contains("FormerMaster")).then_some(())
    });
}

#[test]
fn a_replica_that_did_not_receive_while_its_source_went_on_is_promoted_where_that_is_let() {
    for (flavor, by, is_let) in [
        (Flavor::MySql97, By::Gtid, false),
        (Flavor::MariaDb1011, By::Gtid, true),
        (Flavor::MariaDb1011, By::Position, false),
    ] {
        let mut servers = pair(flavor, by);
        stop(&servers[1], "IO");
        let off = [("BATON_FAILMASTERPROMOTIONONKNOWNLOSS", "false")];
        let settings = settings(if is_let { &off } else { &[] });
        let baton = Baton::start(BATON, vec![servers[0].address()], &settings);
        baton.until_all_valid(2);
        insert(&servers[0], APPLIED..APPLIED + MORE);
        let written = servers[0].binlog_position();
        until_seen_at(&baton, &servers[0], "SelfBinlogCoordinates", &written);
        servers[0].kill_9();
        if is_let {
            assert_told(&baton, &until_recovered(&baton), by);
            assert!(is_writable(&servers[1]));
            continue;
        }
        until_refused(&baton, &servers[0], &["FailMasterPromotionOnKnownLoss is set", "lacks"]);
        assert!(!is_writable(&servers[1]), "{flavor:?} {by:?}");
        // It comes back, and nothing was lost.
        servers[0].restart();
        let start = if flavor == Flavor::MySql97 { "START REPLICA" } else { "START SLAVE" };
        servers[1].exec(start);
        wait_until(PATIENCE, "the replica catches up", || {
            (count(&servers[1]) == Some(APPLIED + MORE)).then_some(())
        });
        assert!(is_writable(&servers[0]));
    }
}
