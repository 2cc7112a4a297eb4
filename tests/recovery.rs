//! baton recovers real servers: who succeeds, what is kept, and what it says of it.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{
    Baton, EVERYWHERE, Flavor, Options, PATIENCE, Server, at, empower, is_writable, primary, shop,
    star, until_fenced, until_recovered, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const FLAVORS: [Flavor; 3] = [Flavor::MySql97, Flavor::MariaDb1011, Flavor::MariaDb118];
#[test]
fn a_killed_primary_is_replaced_and_nothing_is_lost() {
    for flavor in FLAVORS {
        let mut servers = shop(flavor);
        let baton = Baton::start(BATON, vec![servers[0].address()], &EVERYWHERE);
        baton.until_all_valid(4);
        for id in 0..50 {
            servers[0].exec(&format!("INSERT INTO shop.orders VALUES ({id})"));
        }
        wait_until(PATIENCE, "somebody has received it", || {
            servers[1..].iter().any(|it| it.has_received_all_of(&servers[0])).then_some(())
        });
        let old = servers[0].port;
        servers[0].kill_9();
        let recovery = until_recovered(&baton);
        assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
        assert_eq!(recovery["AnalysisEntry"]["Analysis"], "DeadMaster");
        let successor = recovery["SuccessorKey"]["Port"].as_u64().expect("a successor");
        assert_eq!(
            baton.until("/api/master/shop", "it heads the cluster", |it| {
                it["Key"]["Port"].as_u64().filter(|port| *port == successor)
            }),
            successor
        );
        let new = at(&servers, successor);
        assert!(is_writable(new));
        let written: u32 = new.value("SELECT COUNT(*) FROM shop.orders").parse().expect("a count");
        assert_eq!(written, 50, "nothing of what replicas had is lost");
        new.exec("INSERT INTO shop.orders VALUES (1000)");
        for other in servers[1..].iter().filter(|it| u64::from(it.port) != successor) {
            wait_until(PATIENCE, "the others follow", || {
                let found = other.query("SELECT id FROM shop.orders WHERE id = 1000");
                (!found.is_empty()).then_some(())
            });
            assert!(!is_writable(other), "one accepts writes");
        }
        let down = baton.get("/api/downtimed");
        assert_eq!(down[0]["Key"]["Port"], u64::from(old));
        assert_eq!(down[0]["DowntimeReason"], "lost-in-recovery");
        let uid = recovery["UID"].as_str().expect("a name");
        let steps = baton.get(&format!("/api/audit-recovery-steps/{uid}"));
        let told = steps.to_string();
        assert!(told.contains("succeeds") && told.contains("done"), "{steps:#}");

        // The old primary still takes itself for one when it comes back.
        servers[0].restart();
        until_fenced(&servers[0]);
        let home = format!("/api/rejoin/{}/{}", servers[0].host, servers[0].port);
        let back = baton.until(&home, "it is back", |it| (it["Code"] == "OK").then(|| it.clone()));
        assert!(back["Message"].as_str().unwrap_or_default().contains("replicates from"), "{back}");
        at(&servers, successor).exec("INSERT INTO shop.orders VALUES (2000)");
        wait_until(PATIENCE, "the old primary replicates", || {
            let found = servers[0].query("SELECT id FROM shop.orders WHERE id = 2000");
            (!found.is_empty()).then_some(())
        });
        let acknowledged = baton.get("/api/ack-recovery/cluster/shop?comment=seen");
        assert_eq!(acknowledged["Code"], "OK", "{acknowledged}");
        assert_eq!(
            baton.get(&format!("/api/audit-recovery/uid/{uid}"))[0]["AcknowledgedComment"],
            "seen"
        );
    }
}

#[test]
fn a_takeover_in_peace_loses_nothing_and_can_be_taken_back() {
    for flavor in FLAVORS {
        let servers = shop(flavor);
        let baton = Baton::start(BATON, vec![servers[0].address()], &EVERYWHERE);
        baton.until_all_valid(4);
        let hint = "/api/graceful-master-takeover";
        let refused = baton.get(&format!("{hint}/shop"));
        let message = refused["Message"].as_str().unwrap_or_default();
        assert!(
            message.contains("GracefulMasterTakeover: target instance not indicated"),
            "{message}"
        );
        let to = |server: &Server| format!("{hint}-auto/shop/{}/{}", server.host, server.port);
        let dry = baton.get(&format!("{}?dry_run=true", to(&servers[2])));
        assert_eq!(dry["Code"], "OK", "{dry}");
        assert_eq!(primary(&baton), Some(u64::from(servers[0].port)), "nothing was done");

        for (number, (new, old)) in [(2, 0), (0, 2)].into_iter().enumerate() {
            servers[old].exec(&format!("INSERT INTO shop.orders VALUES ({number})"));
            let answer = baton.get(&to(&servers[new]));
            assert_eq!(
                answer["Message"], "graceful-master-takeover: successor promoted",
                "{answer}"
            );
            assert!(is_writable(&servers[new]) && !is_writable(&servers[old]));
            servers[new].exec(&format!("INSERT INTO shop.orders VALUES ({})", 100 + number));
            for other in &servers {
                wait_until(PATIENCE, "everybody follows", || {
                    let sql = format!("SELECT id FROM shop.orders WHERE id = {}", 100 + number);
                    (!other.query(&sql).is_empty()).then_some(())
                });
            }
            baton.until("/api/master/shop", "it heads the cluster", |it| {
                (it["Key"]["Port"] == servers[new].port).then_some(())
            });
        }
        assert_eq!(baton.get("/api/downtimed"), json!([]));
    }
}

#[test]
fn a_hung_primary_is_replaced_and_fenced_when_it_wakes() {
    let servers = shop(Flavor::MySql97);
    let baton = Baton::start(BATON, vec![servers[0].address()], &EVERYWHERE);
    baton.until_all_valid(4);
    servers[0].stop_signal();
    let recovery = until_recovered(&baton);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
    servers[0].cont_signal();
    until_fenced(&servers[0]);
    let writable = servers.iter().filter(|it| is_writable(it)).count();
    assert_eq!(writable, 1);
}

#[test]
fn hooks_are_told_and_may_refuse() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut servers = shop(Flavor::MariaDb1011);
    let say = |list: &str| {
        format!(
            "echo '{list} {{failureType}} {{failedHost}}:{{failedPort}} {{successorPort}}' >> {}",
            log.display()
        )
    };
    let (found, before) = (say("found"), say("before"));
    let (after, done) = (say("after"), say("done"));
    let mut settings = EVERYWHERE.to_vec();
    settings.extend([
        ("BATON_ONFAILUREDETECTIONPROCESSES", found.as_str()),
        ("BATON_PREFAILOVERPROCESSES", before.as_str()),
        ("BATON_POSTMASTERFAILOVERPROCESSES", after.as_str()),
        ("BATON_POSTFAILOVERPROCESSES", done.as_str()),
    ]);
    let baton = Baton::start(BATON, vec![servers[0].address()], &settings);
    baton.until_all_valid(4);
    let old = servers[0].address();
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    let successor = recovery["SuccessorKey"]["Port"].as_u64().expect("a successor");
    let told = wait_until(PATIENCE, "all hooks ran", || {
        let told = std::fs::read_to_string(&log).ok()?;
        told.contains("done").then_some(told)
    });
    // That it could not be reached may be found first.
    let mut lines: Vec<&str> = told.lines().filter(|it| !it.contains("Unreachable")).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            format!("after DeadMaster {old} {successor}"),
            format!("before DeadMaster {old} {{successorPort}}"),
            format!("done DeadMaster {old} {successor}"),
            format!("found DeadMaster {old} {{successorPort}}"),
        ]
    );
}

/// The flow of an operator that has a hook fetch what is missing before a failover: hooks may take long, a person can end
/// one, a failed one is tried again once it is acknowledged, and whoever is registered meanwhile is promoted.
#[test]
fn a_hook_before_a_failover_decides_who_succeeds() {
    for flavor in FLAVORS {
        let mut servers = star(&Options::new(flavor), 2);
        empower(&servers);
        let mut baton = Baton::prepare(BATON, vec![servers[0].address()], &EVERYWHERE);
        let hook = format!(
            "test -e tried || {{ touch tried; exec sleep 1000; }}; \
             ORCHESTRATOR_API=http://127.0.0.1:{}/api {BATON} client -c register-candidate -i {} -R prefer",
            baton.port,
            servers[2].address()
        );
        baton.set(&[("BATON_PREFAILOVERPROCESSES", hook.as_str())]);
        baton.launch();
        baton.until_all_valid(3);
        servers[0].kill_9();
        let running = baton.until("/api/running-hooks", "the hook runs", |it| it.get(0).cloned());
        assert_eq!(running["List"], "PreFailoverProcesses");
        assert_eq!(running["TimeoutSeconds"], 86_400);
        let figures = baton.try_get("/metrics").expect("figures").1;
        assert!(figures.contains("\nbaton_hooks_running 1\n"), "{figures}");
        let id = running["Id"].as_u64().expect("its number");
        // Ended any sooner, it would not know next time that it was tried.
        let tried = baton.folder().join("tried");
        wait_until(PATIENCE, "the hook sleeps", || tried.exists().then_some(()));
        let ended = baton.get(&format!("/api/end-hook/{id}"));
        assert_eq!(ended["Code"], "OK", "{ended}");
        let failed = until_recovered(&baton);
        assert_eq!(failed["IsSuccessful"], false, "{failed:#}");
        assert!(failed["AllErrors"].to_string().contains("ended by a person"), "{failed:#}");
        let follows = |it: &Server| it.replica_status("", "IO_Running").is_some();
        assert!(servers[1..].iter().all(follows), "nothing was changed");
        let uid = failed["UID"].as_str().expect("a name");
        let acknowledged = baton.get(&format!("/api/ack-recovery/uid/{uid}?comment=try+again"));
        assert_eq!(acknowledged["Code"], "OK", "{acknowledged}");
        let recovery = baton.until("/api/audit-recovery", "it is tried again", |all| {
            let newest = all.get(0)?;
            let is_over = newest["RecoveryEndTimestamp"] != "";
            (is_over && newest["UID"] != failed["UID"]).then(|| newest.clone())
        });
        assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
        assert_eq!(recovery["SuccessorKey"]["Port"], u64::from(servers[2].port));
        assert!(is_writable(&servers[2]));
    }
}

#[test]
fn who_may_not_act_says_why() {
    let mut servers = star(&Options::new(Flavor::MariaDb1011), 2);
    empower(&servers);
    let baton = Baton::start(BATON, vec![servers[0].address()], &[]);
    baton.until_all_valid(3);
    let cluster = servers[0].address();
    let ready = baton.get(&format!("/api/failover-readiness/{cluster}"));
    assert_eq!(ready["Code"], "OK", "{ready}");
    assert!(ready["Details"]["HeldBackBy"].to_string().contains("RecoverMasterClusterFilters"));
    let (host, port) = (servers[0].host.clone(), servers[0].port);
    let refused = baton.get(&format!("/api/recover/{host}/{port}"));
    let message = refused["Message"].as_str().unwrap_or_default();
    assert!(message.starts_with("Recovery not attempted"), "{message}");
    servers[0].kill_9();
    baton.until_found_within(Duration::from_secs(5), &servers[0], "DeadMaster");
    let explained = baton.get(&format!("/api/explain/{host}/{port}"));
    let message = explained["Message"].as_str().unwrap_or_default();
    assert!(
        message.contains("DeadMaster") && message.contains("does not name this cluster"),
        "{message}"
    );
    let done = baton.get(&format!("/api/recover/{host}/{port}"));
    assert_eq!(done["Message"], format!("Recovery executed on {cluster}"), "{done}");
    let successor = done["Details"]["Port"].as_u64().expect("a successor");
    assert!(is_writable(at(&servers, successor)));
}
