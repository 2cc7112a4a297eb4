//! Probes of real servers, with exactly the grants that `docs/grants.md` tells.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its server may panic")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use baton_actors::lateness::Lateness;
use baton_actors::mysql::{
    ConnectOptions, DetectionQuery, MySqlTarget, Password, TlsIdentity, TlsMode, TlsOptions,
};
use baton_actors::ports::{Control, Parting, ProbeSession, ProbeTarget};
use baton_topology::instance::{Facts, FailureKind, Positioning};
use baton_topology::key::InstanceKey;
use baton_topology::reading::{NameMethod, Question, ReadingPolicy, ReplicaListing};
use support::{Certificates, Flavor, Options, Server, least_grants, star, wait_until};

const PASSWORD: &str = "hunter2";
const PATIENCE: Duration = Duration::from_secs(20);
const FLAVORS: [Flavor; 2] = [Flavor::MySql97, Flavor::MariaDb1011];

fn options() -> ConnectOptions {
    ConnectOptions {
        user: "baton".to_owned(),
        password: Password::new(PASSWORD),
        // A busy machine is no failure of the server.
        connect_deadline: Duration::from_secs(5),
        probe_deadline: Duration::from_secs(5),
        reading: ReadingPolicy {
            name_method: NameMethod::AsGiven,
            replica_listing: ReplicaListing::Connections,
        },
        ..ConnectOptions::default()
    }
}

fn key(server: &Server) -> InstanceKey {
    InstanceKey::new(server.host.as_str(), server.port)
}

fn session(server: &Server, options: ConnectOptions) -> Box<dyn ProbeSession> {
    MySqlTarget::new(options).session(&key(server))
}

fn watched(options: Options, flavor: Flavor) -> Server {
    let server = Server::start(options);
    server.create_monitor_user("baton", PASSWORD, least_grants(flavor));
    server
}

async fn facts(session: &mut Box<dyn ProbeSession>) -> Facts {
    session.probe().await.unwrap().facts
}

#[tokio::test]
async fn a_star_is_seen_from_the_source_and_from_its_replicas() {
    for flavor in FLAVORS {
        let servers = star(&Options::new(flavor).semi_sync(), 2);
        for server in &servers {
            server.create_monitor_user("baton", PASSWORD, least_grants(flavor));
        }
        let [source, replicas @ ..] = servers.as_slice() else { panic!("a star") };
        source.exec("CREATE DATABASE meta");

        let mut of_source = session(source, options());
        // The second probe asks in one packet what the first one needed two for.
        for _ in 0..2 {
            let seen = facts(&mut of_source).await;
            assert_eq!(seen.server_id, source.server_id);
            assert_eq!(seen.version.is_mariadb(), flavor.is_mariadb());
            assert_eq!(seen.server_uuid.is_some(), flavor == Flavor::MySql97);
            assert_eq!(seen.replicas, replicas.iter().map(key).collect(), "{flavor:?}");
            assert!(seen.channels.is_empty() && seen.binlog.enabled && !seen.read_only);
            assert_eq!(seen.binlog.position.file, source.binlog_position().0);
            assert_eq!(seen.gtid.executed.to_string(), source.executed());
            assert!(seen.semi_sync.available && seen.semi_sync.source_enabled);
        }
        for replica in replicas {
            let seen = facts(&mut session(replica, options())).await;
            assert_eq!(seen.source(), Some(&key(source)), "{flavor:?}");
            let channel = seen.main_channel().unwrap();
            assert!(channel.is_running());
            assert_eq!(channel.user, "repl");
            assert_ne!(channel.positioning, Positioning::File);
            assert!(seen.replicas.is_empty());
        }
    }
}

#[tokio::test]
async fn more_sessions_than_connections_are_all_served_and_no_server_is_blamed() {
    let server = watched(Options::new(Flavor::MySql97), Flavor::MySql97);
    let target = MySqlTarget::limited(options(), 8);
    let mut sessions: Vec<_> = (0..12).map(|_| target.session(&key(&server))).collect();
    for _ in 0..3 {
        for session in &mut sessions {
            assert_eq!(facts(session).await.server_id, server.server_id);
        }
    }
    // One of eight stays free, for whatever begins: nothing is parked, and a recovery gets in.
    assert_eq!(sessions[0].park().await, Parting::Refused);
    let ask = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'baton'";
    let kept = async {
        while server.value(ask) != "7" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, kept).await.expect("those that were not kept are gone");
    target.control(&key(&server)).look().await.unwrap();
}

#[tokio::test]
async fn channels_are_told_apart() {
    for flavor in FLAVORS {
        let sources = Server::start_all([Options::new(flavor), Options::new(flavor)]);
        let server = watched(Options::new(flavor), flavor);
        server.replicate_channel("east", &sources[0]);
        server.replicate_channel("west", &sources[1]);
        let seen = facts(&mut session(&server, options())).await;
        let found: Vec<_> = seen
            .channels
            .iter()
            .map(|channel| (channel.name.as_str(), channel.source.attached().unwrap().clone()))
            .collect();
        assert_eq!(found, [("east", key(&sources[0])), ("west", key(&sources[1]))], "{flavor:?}");
    }
}

#[tokio::test]
async fn replicas_are_found_without_performance_schema() {
    let flavor = Flavor::MySql97;
    let source = watched(Options::new(flavor).without_performance_schema(), flavor);
    let replica = Server::start_replica_of(&source, Options::new(flavor));
    let seen = facts(&mut session(&source, options())).await;
    assert_eq!(seen.replicas, [key(&replica)].into());
}

#[tokio::test]
async fn refusals_cost_their_answer_and_nothing_else() {
    for (flavor, grant) in [
        (Flavor::MySql97, "GRANT REPLICATION CLIENT ON *.* TO {user}"),
        (Flavor::MariaDb1011, "GRANT SLAVE MONITOR ON *.* TO {user}"),
    ] {
        let server = Server::start(Options::new(flavor));
        server.create_monitor_user("baton", PASSWORD, &[grant]);
        let queries = [
            (Question::DataCenter, "SELECT 'dc1'"),
            (Question::Region, "SELECT region FROM nowhere.to_be_found"),
            (Question::Environment, "SELECT 'it''s; here' -- really"),
            (Question::InstanceAlias, "SELECT 'one'; SELECT 'two'"),
            (Question::PromotionRule, "SELECT 'prefer'"),
            (Question::Lag, "SELECT 2.5"),
            (Question::ClusterAlias, "DO 1"),
        ];
        let queries = queries.iter().filter_map(|(q, text)| DetectionQuery::new(*q, text));
        let options = ConnectOptions { queries: queries.collect(), ..options() };
        let mut session = session(&server, options);
        for _ in 0..2 {
            let seen = facts(&mut session).await;
            assert_eq!(seen.placement.data_center, "dc1");
            assert_eq!(seen.placement.region, "");
            assert_eq!(seen.placement.environment, "it's; here");
            assert_eq!(seen.alias, "one");
            assert_eq!(seen.promotion_rule.unwrap().as_str(), "prefer");
            assert_eq!(seen.measured_lag_seconds, Some(2));
            assert_eq!(seen.suggested_cluster_alias, "");
        }
    }
}

#[tokio::test]
async fn without_the_essential_grant_a_probe_fails_in_part_until_it_is_granted() {
    for flavor in FLAVORS {
        let server = Server::start(Options::new(flavor));
        server.create_monitor_user("baton", PASSWORD, &[]);
        let mut session = session(&server, options());
        let failure = session.probe().await.unwrap_err();
        assert_eq!((failure.kind, failure.partial), (FailureKind::Query, true), "{failure:?}");
        assert!(failure.message.starts_with("replication status: error 1227"), "{failure:?}");
        for grant in least_grants(flavor) {
            server.run_unlogged(&grant.replace("{user}", "'baton'@'%'"));
        }
        session.probe().await.expect("it is granted now");
    }
}

#[tokio::test]
async fn a_wrong_password_is_named_but_never_shown() {
    for flavor in FLAVORS {
        let server = watched(Options::new(flavor), flavor);
        let options = ConnectOptions { password: Password::new("opensesame"), ..options() };
        let failure = session(&server, options).probe().await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::AccessDenied);
        assert!(!format!("{failure:?}").contains("opensesame"), "{failure:?}");
    }
}

#[tokio::test]
async fn tls_is_used_as_configured() {
    let folder = std::env::temp_dir().join(format!("baton-tls-{}", std::process::id()));
    let ours = Certificates::make(&folder.join("ours"));
    let theirs = Certificates::make(&folder.join("theirs"));
    let server = watched(Options::new(Flavor::MySql97).tls(&ours), Flavor::MySql97);
    server.exec("ALTER USER 'baton'@'%' REQUIRE X509");
    let identity =
        TlsIdentity { cert_file: ours.client_cert.clone(), key_file: ours.client_key.clone() };
    let tls = |mode, ca: &Certificates, identity: Option<&TlsIdentity>| TlsOptions {
        mode,
        ca_file: Some(ca.ca.clone()),
        identity: identity.cloned(),
        ..TlsOptions::default()
    };
    let mutual = Some(&identity);
    for (case, tls, expected) in [
        ("mutual", tls(TlsMode::Required, &ours, mutual), None),
        ("preferred", tls(TlsMode::Preferred, &ours, mutual), None),
        ("no certificate", tls(TlsMode::Required, &ours, None), Some(FailureKind::AccessDenied)),
        ("no TLS", tls(TlsMode::Off, &ours, mutual), Some(FailureKind::AccessDenied)),
        ("another CA", tls(TlsMode::Required, &theirs, mutual), Some(FailureKind::Tls)),
    ] {
        let outcome = session(&server, ConnectOptions { tls, ..options() }).probe().await;
        assert_eq!(outcome.err().map(|failure| failure.kind), expected, "{case}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn tls_is_preferred_but_not_at_any_price() {
    let flavor = Flavor::MariaDb1011;
    let server = watched(Options::new(flavor), flavor);
    for (mode, expected) in
        [(TlsMode::Preferred, None), (TlsMode::Required, Some(FailureKind::Tls))]
    {
        let tls = TlsOptions { mode, ..TlsOptions::default() };
        let outcome = session(&server, ConnectOptions { tls, ..options() }).probe().await;
        assert_eq!(outcome.err().map(|failure| failure.kind), expected, "{mode:?}");
    }
}

#[tokio::test]
async fn a_hung_server_is_known_by_deadline() {
    for flavor in FLAVORS {
        let server = watched(Options::new(flavor), flavor);
        // Long enough for a busy machine, short enough to wait for it four times.
        let deadline = Duration::from_secs(1);
        let options =
            ConnectOptions { connect_deadline: deadline, probe_deadline: deadline, ..options() };
        let mut session = session(&server, options);
        session.probe().await.unwrap();
        server.stop_signal();
        // First on the connection that stands, then on a new one.
        for _ in 0..2 {
            assert_eq!(session.probe().await.unwrap_err().kind, FailureKind::Timeout);
        }
        server.cont_signal();
        session.probe().await.unwrap();
    }
}

/// Takes the thread away from everybody else, a while at a time.
#[allow(clippy::disallowed_methods, reason = "the thread is to be blocked")]
async fn hog(at_a_time: Duration) {
    loop {
        std::thread::sleep(at_a_time);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[actix::test]
async fn a_thread_that_gets_no_processor_takes_no_server_for_silent() {
    let server = watched(Options::new(Flavor::MySql97), Flavor::MySql97);
    let deadline = Duration::from_millis(300);
    let options =
        ConnectOptions { connect_deadline: deadline, probe_deadline: deadline, ..options() };
    tokio::task::spawn_local(Lateness::default().measure());
    tokio::task::yield_now().await;
    tokio::task::spawn_local(hog(deadline / 2));
    let mut session = session(&server, options);
    for _ in 0..3 {
        session.probe().await.unwrap();
    }
    server.stop_signal();
    assert_eq!(session.probe().await.unwrap_err().kind, FailureKind::Timeout, "it is silent");
    server.cont_signal();
}

#[tokio::test]
async fn a_server_that_closed_the_idle_connection_is_no_failure() {
    for flavor in FLAVORS {
        let server = watched(Options::new(flavor), flavor);
        let mut session = session(&server, options());
        session.probe().await.unwrap();
        for connection in connections(&server) {
            server.exec(&format!("KILL {connection}"));
        }
        wait_until(PATIENCE, "the connection is gone", || {
            connections(&server).is_empty().then_some(())
        });
        session.probe().await.unwrap();
    }
}

// Waiting blocks one of the threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_connection_ends_with_its_server_and_with_its_future() {
    for flavor in FLAVORS {
        let mut server = watched(Options::new(flavor), flavor);
        let target = session(&server, options());
        let parked = tokio::spawn(target.park());
        // Connected is not asleep yet: only a connection that was parked can break.
        let asleep = || (connections_running(&server, "DO SLEEP%").len() == 1).then_some(());
        wait_until(PATIENCE, "it sleeps", asleep);
        parked.abort();
        assert!(parked.await.unwrap_err().is_cancelled());
        let gone = || connections(&server).is_empty().then_some(());
        wait_until(PATIENCE, "the server noticed", gone);

        let parked = tokio::spawn(target.park());
        // Connected is not asleep yet: only a connection that was parked can break.
        let asleep = || (connections_running(&server, "DO SLEEP%").len() == 1).then_some(());
        wait_until(PATIENCE, "it sleeps again", asleep);
        server.kill_9();
        assert_eq!(parked.await.unwrap(), Parting::Broken, "{flavor:?}");
        assert_eq!(target.park().await, Parting::Refused);
    }
}

#[tokio::test]
async fn a_parked_connection_that_is_woken_is_not_parked_again_at_once() {
    for flavor in FLAVORS {
        let server = watched(Options::new(flavor), flavor);
        let parked = session(&server, options()).park();
        let killer = async {
            while connections_running(&server, "DO SLEEP%").is_empty() {
                tokio::task::yield_now().await;
            }
            for connection in connections_running(&server, "DO SLEEP%") {
                server.exec(&format!("KILL QUERY {connection}"));
            }
        };
        let (parting, ()) = futures_util::join!(parked, killer);
        assert_eq!(parting, Parting::Refused, "{flavor:?}");
    }
}

/// The ids of our connections.
fn connections(server: &Server) -> Vec<String> {
    connections_running(server, "%")
}

/// The ids of our connections with a statement like this.
fn connections_running(server: &Server, statement: &str) -> Vec<String> {
    let table = match server.flavor {
        Flavor::MySql97 => "performance_schema.processlist",
        Flavor::MariaDb1011 | Flavor::MariaDb118 => "information_schema.processlist",
    };
    let rows = server.query(&format!(
        "SELECT id FROM {table} WHERE user = 'baton' AND COALESCE(info, '') LIKE '{statement}'"
    ));
    rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect()
}
