//! baton watches real servers: what it finds, what it says of it, and when.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Baton, Flavor, Options, Server, admit, chain, co_primaries, star, wait_until};
use support::{PASSWORD, PATIENCE, USER};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
/// What is known by event is known within this, even on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
const FLAVORS: [Flavor; 2] = [Flavor::MySql97, Flavor::MariaDb1011];

fn port(instance: &Value) -> u64 {
    instance["Key"]["Port"].as_u64().unwrap_or_default()
}

fn instance(server: &Server) -> String {
    format!("/api/instance/{}/{}", server.host, server.port)
}

#[test]
fn a_chain_is_found_from_its_end_and_a_crash_is_known_at_once() {
    for flavor in FLAVORS {
        let mut servers = chain(&Options::new(flavor), 2);
        admit(&servers);
        // So seldom that no poll can be what finds the crash.
        let settings = [("BATON_INSTANCEPOLLSECONDS", "900")];
        let baton = Baton::start(BATON, vec![servers[2].address()], &settings);
        baton.until_all_valid(3);
        let drawn = baton.get(&format!("/api/topology/{}", servers[1].address()));
        let drawn = drawn["Details"].as_str().unwrap_or_default().to_owned();
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 3, "{drawn}");
        for (line, (indent, server)) in
            lines.iter().zip(["", "+ ", "  + "].into_iter().zip(&servers))
        {
            assert!(line.starts_with(&format!("{indent}{}", server.address())), "{drawn}");
            assert!(line.contains("s,ok,"), "{drawn}");
        }
        assert_eq!(baton.findings(), [""; 0]);

        let parked = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'";
        wait_until(PATIENCE, "the primary is watched", || {
            (!servers[0].query(parked).is_empty()).then_some(())
        });
        servers[0].kill_9();
        baton.until_found_within(AT_ONCE, &servers[0], "DeadMaster");
        let detected = baton.until("/api/audit-failure-detection", "it is recorded", |all| {
            let all = all.as_array()?;
            let of = |it: &&Value| it["AnalysisEntry"]["Analysis"] == "DeadMaster";
            all.iter().find(of).cloned()
        });
        assert_eq!(detected["AnalysisEntry"]["CountReplicas"], 1);
    }
}

#[test]
fn broken_lagging_and_stopped_replicas_are_told_apart() {
    for flavor in FLAVORS {
        let servers = star(&Options::new(flavor), 2);
        admit(&servers);
        servers[0].exec("CREATE DATABASE meta");
        servers[0].exec("CREATE TABLE meta.lag (seconds INT)");
        servers[0].exec("INSERT INTO meta.lag VALUES (0)");
        servers[0].exec("CREATE TABLE meta.t (id INT PRIMARY KEY)");
        let caught_up = || {
            (servers.iter().all(|it| it.try_query("SELECT * FROM meta.t").is_ok())).then_some(())
        };
        wait_until(PATIENCE, "replicas have the table", caught_up);
        servers[0].exec(&format!("GRANT SELECT ON meta.lag TO '{USER}'@'%'"));
        let seeds = vec![servers[0].address()];
        let settings = [
            ("BATON_REPLICATIONLAGQUERY", "SELECT seconds FROM meta.lag"),
            ("BATON_INSTANCEPOLLSECONDS", "1"),
        ];
        let baton = Baton::start(BATON, seeds, &settings);
        baton.until_all_valid(3);

        servers[0].exec("UPDATE meta.lag SET seconds = 77");
        baton.until("/api/problems", "lag is a problem", |all| {
            let all = all.as_array()?;
            let lagging = all.iter().find(|it| it["Problems"] == json!(["replication_lag"]))?;
            (lagging["ReplicationLagSeconds"]["Int64"] == 77).then_some(())
        });
        servers[0].exec("UPDATE meta.lag SET seconds = 0");
        baton.until("/api/problems", "the lag is gone", |all| all.is_null().then_some(()));

        // A row that only one replica has makes the same row of the source fail there.
        let broken = &servers[1];
        broken.exec("INSERT INTO meta.t VALUES (1)");
        servers[0].exec("INSERT INTO meta.t VALUES (1)");
        let error = baton.until(&instance(broken), "its applier stopped", |it| {
            let stopped = it["ReplicationSQLThreadState"] == 0;
            let error = it["LastSQLError"].as_str().filter(|error| !error.is_empty());
            error.filter(|_| stopped).map(str::to_owned)
        });
        // Parallel appliers only say that one of them failed.
        let told = error.contains("Duplicate entry") || error.contains("failed executing");
        assert!(error.starts_with('"') && told, "{error}");
        if flavor == Flavor::MySql97 {
            let errant = baton.until(&instance(broken), "its own row is errant", |it| {
                it["GtidErrant"].as_str().filter(|errant| !errant.is_empty()).map(str::to_owned)
            });
            let own = broken.value("SELECT @@server_uuid");
            assert_eq!(errant, format!("{own}:1"));
            broken.exec(
                "SET SESSION gtid_next = 'AUTOMATIC:audit'; CREATE DATABASE tagged; \
                 SET SESSION gtid_next = 'AUTOMATIC'",
            );
            baton.until(&instance(broken), "a tagged transaction is errant too", |it| {
                (it["GtidErrant"] == format!("{own}:1:audit:1")).then_some(())
            });
        }
    }
}

#[test]
fn a_hung_primary_is_known_by_deadline_and_comes_back() {
    for flavor in FLAVORS {
        let mut servers = star(&Options::new(flavor), 1);
        admit(&servers);
        let baton = Baton::watch(BATON, &servers);
        baton.until_all_valid(2);
        servers[0].stop_signal();
        // One poll interval until somebody asks, then the deadlines of connecting and probing.
        baton.until_found_within(Duration::from_secs(12), &servers[0], "UnreachableMaster");
        let well = |answer: &Value| (answer["Details"] == json!([])).then_some(());
        servers[0].cont_signal();
        baton.until("/api/replication-analysis", "it answers again", well);
        servers[0].kill_9();
        baton.until_found(&servers[0], "DeadMaster");
        servers[0].restart();
        baton.until("/api/replication-analysis", "it is back", well);
    }
}

#[test]
fn several_that_die_at_once_are_told_apart() {
    for flavor in FLAVORS {
        // 0 <- 1, 0 <- 2, 1 <- 3, 1 <- 4
        let mut servers = star(&Options::new(flavor), 2);
        for _ in 0..2 {
            servers.push(Server::start_replica_of(&servers[1], Options::new(flavor).read_only()));
        }
        admit(&servers);
        let baton = Baton::watch(BATON, &servers);
        baton.until_all_valid(5);
        servers[1].kill_9();
        baton.until_found_within(AT_ONCE, &servers[1], "DeadIntermediateMaster");
        servers[1].restart();
        let nothing = || baton.findings().is_empty().then_some(());
        wait_until(PATIENCE, "the intermediate source is back", nothing);

        for server in &mut servers[..3] {
            server.kill_9();
        }
        let all = format!("{} DeadMasterAndReplicas", servers[0].port);
        let below = format!("{} DeadIntermediateMaster", servers[1].port);
        wait_until(PATIENCE, "all of it is found", || {
            let found = baton.findings();
            (found.contains(&all) && found.contains(&below)).then_some(())
        });
        for server in &mut servers[..3] {
            server.restart();
        }
        wait_until(PATIENCE, "all are back", nothing);
        baton.until_all_valid(5);
    }
}

#[test]
fn co_primaries_semi_sync_and_read_only_are_shown() {
    for flavor in FLAVORS {
        let servers = co_primaries(&Options::new(flavor).semi_sync());
        admit(&servers);
        let baton = Baton::watch(BATON, &servers);
        baton.until_all_valid(2);
        baton.until("/api/all-instances", "both are co-primaries", |all| {
            let all = all.as_array()?;
            all.iter().all(|it| it["IsCoMaster"] == true).then_some(())
        });
        // Each acknowledges the other's writes.
        for server in &servers {
            baton.until(&instance(server), "semi-sync is shown", |it| {
                let on = ["Available", "MasterEnabled", "MasterStatus", "ReplicaStatus"];
                let is_on = |name: &&str| it[format!("SemiSync{name}")] == true;
                (on.iter().all(is_on)
                    && it["SemiSyncReplicaEnabled"] == true
                    && it["SemiSyncMasterClients"] == 1
                    && it["SemiSyncMasterWaitForReplicaCount"] == 1)
                    .then_some(())
            });
        }
    }
    let servers = star(&Options::new(Flavor::MySql97), 1);
    admit(&servers);
    servers[0].exec("SET GLOBAL read_only = 1");
    let baton = Baton::watch(BATON, &servers);
    baton.until("/api/replication-analysis", "the read-only primary is warned of", |answer| {
        let finding = answer["Details"].as_array()?.first()?.clone();
        let warned = finding["StructureAnalysis"] == json!(["NoWriteableMasterStructureWarning"]);
        (warned && finding["Analysis"] == "NoProblem").then_some(())
    });
}

#[test]
fn channels_are_shown_and_never_confused() {
    for flavor in FLAVORS {
        let options = std::iter::repeat_n(Options::new(flavor), 3);
        let servers = Server::start_all(options);
        servers[2].replicate_channel("east", &servers[0]);
        servers[2].replicate_channel("west", &servers[1]);
        admit(&servers);
        let baton = Baton::start(BATON, vec![servers[2].address()], &[]);
        let path = format!("/api/channels/{}/{}", servers[2].host, servers[2].port);
        let shown = baton.until(&path, "both channels run", |channels| {
            let channels = channels.as_array()?;
            let runs =
                |it: &Value| it["IOThreadState"] == "running" && it["SQLThreadState"] == "running";
            (channels.len() == 2 && channels.iter().all(runs)).then(|| channels.clone())
        });
        for (channel, name, source, is_main) in
            [(&shown[0], "east", &servers[0], false), (&shown[1], "west", &servers[1], false)]
        {
            assert_eq!(channel["Name"], name);
            assert_eq!(channel["SourceKey"]["Port"], source.port);
            assert_eq!(channel["IsMain"], is_main);
        }
        let placed = baton.get(&instance(&servers[2]));
        assert_eq!(placed["MasterKey"]["Hostname"], "", "it imports, and is nobody's replica");
        baton.until_all_valid(3);
    }
}

#[test]
fn servers_that_refuse_or_talk_nonsense_say_why_and_disturb_nobody() {
    let servers = star(&Options::new(Flavor::MySql97), 1);
    admit(&servers);
    let nonsense = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = |listener: &std::net::TcpListener| listener.local_addr().expect("bound");
    let (nonsense_at, silent_at) = (address(&nonsense), address(&silent));
    std::thread::spawn(move || {
        use std::io::Write;
        for stream in nonsense.incoming().flatten() {
            let mut stream = stream;
            // Whoever hung up already does not want it.
            let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n");
        }
    });
    let baton = Baton::watch(BATON, &servers);
    baton.until_all_valid(2);
    for (at, expected) in [(nonsense_at, "MySQL"), (silent_at, "within")] {
        let answer = baton.get(&format!("/api/discover/127.0.0.1/{}", at.port()));
        assert_eq!(answer["Code"], "ERROR", "{answer}");
        let message = answer["Message"].as_str().unwrap_or_default();
        assert!(message.contains(expected) && !message.contains(PASSWORD), "{message}");
    }
    let settings = [("BATON_MYSQLTOPOLOGYPASSWORD", "wrong")];
    let stranger = Baton::start(BATON, Vec::new(), &settings);
    let answer = stranger.get(&format!("/api/discover/127.0.0.1/{}", servers[0].port));
    let message = answer["Message"].as_str().unwrap_or_default();
    assert!(message.contains("Access denied"), "{message}");
    assert!(!stranger.log().contains("wrong"), "passwords do not appear in logs");
    baton.until_all_valid(2);
    assert!(!baton.log().contains(PASSWORD), "passwords do not appear in logs");
}

#[test]
fn what_was_set_survives_a_power_cut() {
    let servers = star(&Options::new(Flavor::MariaDb1011), 1);
    admit(&servers);
    let mut baton = Baton::watch(BATON, &servers);
    baton.until_all_valid(2);
    let at = format!("{}/{}", servers[1].host, servers[1].port);
    for path in [
        format!("/api/begin-downtime/{at}/me/for%20a%20reason/1h"),
        format!("/api/tag/{at}?tag=role%3Dbackup"),
        format!("/api/register-candidate/{at}/prefer"),
        format!("/api/begin-maintenance/{at}/me/work"),
        format!("/api/submit-pool-instances/readers?instances={}", servers[1].address()),
        format!("/api/set-cluster-alias/{}?alias=shop", servers[0].address()),
    ] {
        let (status, body) = baton.request("POST", &path, "").expect("an answer");
        assert_eq!(status, 200, "{path}: {body}");
    }
    baton.kill_9();
    baton.launch();
    baton.until_all_valid(2);
    let shown = baton.get(&instance(&servers[1]));
    assert_eq!(shown["DowntimeReason"], "for a reason");
    assert_eq!(shown["PromotionRule"], "prefer");
    assert_eq!(port(&baton.get("/api/maintenance")[0]), u64::from(servers[1].port));
    assert_eq!(baton.get(&format!("/api/tags/{at}")), json!(["role=backup"]));
    let pools = baton.get("/api/cluster-pool-instances/shop");
    assert_eq!(pools["Details"]["readers"][0]["Port"], servers[1].port);

    let mut second = Baton::prepare(BATON, Vec::new(), &[]);
    let mut command = second.command();
    command.env("XDG_STATE_HOME", baton.folder());
    second.spawn(command);
    assert!(!second.wait_within(AT_ONCE).success(), "two batons on one store");
    assert!(second.log().contains("baton.sqlite3"), "{}", second.log());

    let broken = r#"{"ReadOnly": true, "InstancePollSeconds": "x"}"#;
    std::fs::write(baton.folder().join("orchestrator.conf.json"), broken).expect("write");
    baton.signal("-HUP");
    wait_until(PATIENCE, "the bad file is refused", || {
        baton.log().contains("InstancePollSeconds").then_some(())
    });
    baton.until_all_valid(2);
    let untag = format!("/api/untag/{at}?tag=role");
    let (status, body) = baton.request("POST", &untag, "").expect("an answer");
    assert_eq!(status, 200, "nothing of the bad file is in force: {body}");
    baton.signal("-TERM");
    assert!(baton.wait_within(Duration::from_secs(5)).success());
}
