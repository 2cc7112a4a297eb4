//! Real servers are changed, each action twice, with exactly the grants that `docs/grants.md`
//! tells.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its server may panic")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use baton_actors::mysql::{
    ConnectOptions, CredentialsQuery, MySqlTarget, Password, ReplicationCredentials,
};
use baton_actors::ports::{ActionFailure, Control, ControlSession};
use baton_topology::action::{Action, Place, Switch, Threads, Until};
use baton_topology::binlog::BinlogCoordinates;
use baton_topology::gtid::{GtidSet, Gtids};
use baton_topology::instance::{Channel, Facts, FailureKind, Positioning, SourceLink, ThreadState};
use baton_topology::key::InstanceKey;
use baton_topology::reading::{NameMethod, ReadingPolicy, ReplicaListing};
use mysql_async::prelude::Queryable;
use support::{Flavor, Options, Server, least_grants, recovery_grants, star, wait_until};

const PASSWORD: &str = "hunter2";
const PATIENCE: Duration = Duration::from_secs(20);
const FLAVORS: [Flavor; 2] = [Flavor::MySql97, Flavor::MariaDb1011];

fn options() -> ConnectOptions {
    ConnectOptions {
        user: "baton".to_owned(),
        password: Password::new(PASSWORD),
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

fn admit(server: &Server) {
    let grants = [least_grants(server.flavor), recovery_grants(server.flavor)].concat();
    server.create_monitor_user("baton", PASSWORD, &grants);
}

fn admitted(options: Options) -> Server {
    let server = Server::start(options);
    admit(&server);
    server
}

/// A source and replicas, all with the account.
fn admitted_star(options: &Options, replicas: usize) -> Vec<Server> {
    let servers = star(options, replicas);
    servers.iter().for_each(admit);
    servers
}

fn control(server: &Server) -> Box<dyn ControlSession> {
    control_with(server, options())
}

fn control_with(server: &Server, options: ConnectOptions) -> Box<dyn ControlSession> {
    MySqlTarget::new(options).control(&key(server))
}

type Session = Box<dyn ControlSession>;

async fn act(session: &mut Session, action: &Action) {
    session.act(action, PATIENCE).await.unwrap_or_else(|error| panic!("{action:?}: {error:?}"));
}

/// Carries an action out twice, in one session and in a new one.
async fn act_twice(session: &mut Session, server: &Server, action: &Action) {
    act(session, action).await;
    act(session, action).await;
    act(&mut control(server), action).await;
}

async fn facts(session: &mut Session) -> Facts {
    session.look().await.unwrap().facts
}

async fn channel(session: &mut Session) -> Channel {
    facts(session).await.main_channel().cloned().unwrap_or_default()
}

/// Looks until both threads of the main channel are in these states.
async fn until_threads(session: &mut Session, receiver: ThreadState, applier: ThreadState) {
    for _ in 0..10_000 {
        let now = channel(session).await;
        if (now.receiver, now.applier) == (receiver, applier) {
            return;
        }
    }
    panic!("threads are not {receiver:?} and {applier:?}: {:?}", channel(session).await);
}

fn write(server: &Server) {
    server.exec("CREATE DATABASE IF NOT EXISTS w");
    server.exec("CREATE TABLE IF NOT EXISTS w.w (n INT AUTO_INCREMENT PRIMARY KEY)");
    server.exec("INSERT INTO w.w VALUES ()");
}

fn until_same(source: &Server, replica: &Server) {
    wait_until(PATIENCE, "the replica has what the source has", || {
        (source.executed() == replica.executed()).then_some(())
    });
}

fn below(server: &Server, place: Place) -> Action {
    Action::ChangeSource { to: key(server), place }
}

#[tokio::test]
async fn threads_are_stopped_and_started() {
    use ThreadState::{Running, Stopped};
    for flavor in FLAVORS {
        let servers = admitted_star(&Options::new(flavor), 1);
        let mut session = control(&servers[1]);
        for (action, receiver, applier) in [
            (Action::Stop(Threads::Receiver), Stopped, Running),
            (Action::Start(Threads::Both), Running, Running),
            (Action::Stop(Threads::Applier), Running, Stopped),
            (Action::Stop(Threads::Both), Stopped, Stopped),
            (Action::Start(Threads::Applier), Stopped, Running),
            (Action::Start(Threads::Receiver), Running, Running),
        ] {
            act_twice(&mut session, &servers[1], &action).await;
            until_threads(&mut session, receiver, applier).await;
        }
        // On who replicates from nobody.
        let mut session = control(&servers[0]);
        act_twice(&mut session, &servers[0], &Action::Stop(Threads::Both)).await;
        let refused = session.act(&Action::Start(Threads::Both), PATIENCE).await;
        assert!(matches!(refused, Err(ActionFailure::Refused(_))), "{refused:?}");
    }
}

/// How often a replica wants a sign of life, in seconds.
fn heartbeat(replica: &Server) -> f64 {
    let told = match replica.flavor {
        Flavor::MySql97 => replica.value(
            "SELECT HEARTBEAT_INTERVAL FROM performance_schema.replication_connection_configuration",
        ),
        Flavor::MariaDb1011 | Flavor::MariaDb118 => {
            let row = replica.query("SHOW STATUS LIKE 'Slave_heartbeat_period'").remove(0);
            row[1].clone().unwrap_or_default()
        }
    };
    told.parse().unwrap()
}

#[tokio::test]
async fn a_replica_is_moved_and_keeps_everything_else() {
    for flavor in FLAVORS {
        let servers = admitted_star(&Options::new(flavor), 2);
        let [source, sibling, replica] = servers.as_slice() else { panic!("a star") };
        let mut session = control(replica);
        act(&mut session, &Action::Stop(Threads::Both)).await;
        act_twice(&mut session, replica, &Action::SetDelay { seconds: 1 }).await;
        write(source);
        until_same(source, sibling);
        let (file, position) = sibling.binlog_position();
        let here = BinlogCoordinates::new(file, position);
        for (place, positioning) in [
            (Place::Same, None),
            (Place::Gtid, None),
            (Place::File(here), Some(Positioning::File)),
            (Place::Same, Some(Positioning::File)),
            (Place::Gtid, None),
        ] {
            let before = channel(&mut session).await;
            act_twice(&mut session, replica, &below(sibling, place.clone())).await;
            let after = channel(&mut session).await;
            assert_eq!(heartbeat(replica), 1.0, "{flavor:?}");
            assert_eq!(after.source, SourceLink::Attached(key(sibling)));
            assert_eq!((after.user.as_str(), after.delay_seconds), ("repl", 1));
            let is_by_file = positioning == Some(Positioning::File);
            assert_eq!(after.positioning == Positioning::File, is_by_file, "{flavor:?} {place:?}");
            if place == Place::Same && is_by_file {
                assert_eq!(before.executed, after.executed);
            }
        }
        act_twice(&mut session, replica, &Action::SetDelay { seconds: 0 }).await;
        act(&mut session, &Action::Start(Threads::Both)).await;
        write(source);
        until_same(source, replica);
    }
}

#[tokio::test]
async fn tls_options_survive_a_move() {
    let servers = admitted_star(&Options::new(Flavor::MySql97), 1);
    let replica = &servers[1];
    let mut session = control(replica);
    act(&mut session, &Action::Stop(Threads::Both)).await;
    // After the session looked: what somebody else changed meanwhile counts.
    replica.exec(
        "CHANGE REPLICATION SOURCE TO SOURCE_SSL = 1, SOURCE_SSL_CA = '/no/it''s a ca', \
         SOURCE_SSL_CERT = '/no/cert', SOURCE_SSL_KEY = '/no/key', SOURCE_SSL_CIPHER = 'AES', \
         SOURCE_SSL_VERIFY_SERVER_CERT = 1, SOURCE_TLS_VERSION = 'TLSv1.3', \
         SOURCE_TLS_CIPHERSUITES = 'TLS_AES_128_GCM_SHA256', SOURCE_HEARTBEAT_PERIOD = 7, \
         SOURCE_PUBLIC_KEY_PATH = '/no/rsa'",
    );
    let columns = "SSL_ALLOWED, SSL_CA_FILE, SSL_CERTIFICATE, SSL_KEY, SSL_CIPHER, \
         SSL_VERIFY_SERVER_CERTIFICATE, TLS_VERSION, TLS_CIPHERSUITES, PUBLIC_KEY_PATH, \
         GET_PUBLIC_KEY, USER, CONNECTION_RETRY_INTERVAL, HEARTBEAT_INTERVAL";
    let table = "performance_schema.replication_connection_configuration";
    let before = replica.query(&format!("SELECT {columns} FROM {table}"));
    act(&mut session, &below(replica, Place::Same)).await;
    assert_eq!(channel(&mut session).await.source, SourceLink::Attached(key(replica)));
    assert_eq!(replica.query(&format!("SELECT {columns} FROM {table}")), before);
}

#[tokio::test]
async fn tls_options_survive_a_move_on_mariadb_too() {
    let servers = admitted_star(&Options::new(Flavor::MariaDb1011), 1);
    let replica = &servers[1];
    let mut session = control(replica);
    act(&mut session, &Action::Stop(Threads::Both)).await;
    replica.exec(
        "CHANGE MASTER TO MASTER_SSL = 1, MASTER_SSL_CA = '/no/it''s a ca', \
         MASTER_SSL_CAPATH = '/no/capath', MASTER_SSL_CERT = '/no/cert', \
         MASTER_SSL_KEY = '/no/key', MASTER_SSL_CIPHER = 'AES', MASTER_SSL_CRL = '/no/crl', \
         MASTER_SSL_CRLPATH = '/no/crlpath', MASTER_SSL_VERIFY_SERVER_CERT = 1",
    );
    let before = channel(&mut session).await.tls;
    assert!(before.enabled && before.verify_server_cert == Some(true), "{before:?}");
    act(&mut session, &below(replica, Place::Same)).await;
    let after = channel(&mut session).await;
    assert_eq!((after.source, after.tls), (SourceLink::Attached(key(replica)), before));
}

#[tokio::test]
async fn a_source_is_detached_and_found_again() {
    for flavor in FLAVORS {
        for options in [Options::new(flavor), Options::new(flavor).without_gtid()] {
            let servers = admitted_star(&options, 1);
            let [source, replica] = servers.as_slice() else { panic!("a star") };
            let mut session = control(replica);
            act(&mut session, &Action::Stop(Threads::Both)).await;
            let before = channel(&mut session).await;
            act_twice(&mut session, replica, &Action::Detach).await;
            let detached = channel(&mut session).await;
            assert_eq!(detached.source, SourceLink::Detached(key(source)));
            act_twice(&mut session, replica, &Action::Reattach).await;
            let after = channel(&mut session).await;
            assert_eq!(after.source, SourceLink::Attached(key(source)));
            assert_eq!(after.user, before.user);
            if before.positioning == Positioning::File {
                assert_eq!(after.executed, before.executed);
            }
            act(&mut session, &Action::Start(Threads::Both)).await;
            write(source);
            until_threads(&mut session, ThreadState::Running, ThreadState::Running).await;
            wait_until(PATIENCE, "it replicates", || {
                replica.try_query("SELECT n FROM w.w").ok().filter(|rows| !rows.is_empty())
            });
        }
    }
}

#[tokio::test]
async fn a_server_without_credentials_gets_those_of_its_new_source() {
    let flavor = Flavor::MySql97;
    let servers = admitted_star(&Options::new(flavor), 2);
    let [source, replica, third] = servers.as_slice() else { panic!("a star") };
    let mut of_replica = control(replica);
    let lent = of_replica.credentials().await.unwrap();
    assert_eq!((lent.user.as_str(), lent.password.expose()), ("repl", "repl"));

    // The source becomes a replica of its replica.
    let mut session = control(source);
    act_twice(&mut session, source, &below(replica, Place::Gtid)).await;
    act(&mut session, &Action::Start(Threads::Both)).await;
    until_threads(&mut session, ThreadState::Running, ThreadState::Running).await;
    assert_eq!(channel(&mut session).await.user, "repl");
    act_twice(&mut session, source, &Action::ForgetSource).await;
    assert!(facts(&mut session).await.channels.is_empty());

    // Nobody it could ask has any.
    act_twice(&mut of_replica, replica, &Action::ForgetSource).await;
    let none = session.act(&below(replica, Place::Gtid), PATIENCE).await;
    assert!(matches!(none, Err(ActionFailure::Impossible(_))), "{none:?}");
    session.lend(control(third).credentials().await.unwrap());
    act(&mut session, &below(replica, Place::Gtid)).await;
    act(&mut session, &Action::Start(Threads::Both)).await;
    until_threads(&mut session, ThreadState::Running, ThreadState::Running).await;
}

#[tokio::test]
async fn credentials_come_from_the_configured_query() {
    for flavor in FLAVORS {
        let servers = admitted_star(&Options::new(flavor), 1);
        let [source, replica] = servers.as_slice() else { panic!("a star") };
        write(source);
        until_same(source, replica);
        let query = CredentialsQuery::new("SELECT 'repl', 'repl'");
        let by_query = || ConnectOptions {
            replication_credentials: ReplicationCredentials::ByQuery(query.clone()),
            ..options()
        };
        let mut session = control_with(replica, by_query());
        act(&mut session, &Action::ForgetSource).await;
        let lost = control(source).act(&below(replica, Place::Gtid), PATIENCE).await;
        assert!(matches!(lost, Err(ActionFailure::Impossible(_))), "{flavor:?} {lost:?}");
        let mut session = control_with(source, by_query());
        act(&mut session, &below(replica, Place::Gtid)).await;
        act(&mut session, &Action::RenewCredentials).await;
        act(&mut session, &Action::Start(Threads::Both)).await;
        until_threads(&mut session, ThreadState::Running, ThreadState::Running).await;
        // What it wrote as a primary is not asked for again.
        write(replica);
        until_same(replica, source);
    }
}

#[tokio::test]
async fn a_server_is_closed_and_opened() {
    for flavor in FLAVORS {
        let server = admitted(Options::new(flavor));
        let mut session = control(&server);
        for (action, is_closed) in
            [(Action::SetReadOnly, true), (Action::SetWritable, false), (Action::SetReadOnly, true)]
        {
            act_twice(&mut session, &server, &action).await;
            let facts = facts(&mut session).await;
            assert_eq!(facts.read_only, is_closed, "{flavor:?}");
            assert_eq!(facts.super_read_only, is_closed && flavor == Flavor::MySql97);
        }
    }
}

/// How a client gets in, once it has its account.
fn client_of(server: &Server) -> mysql_async::Opts {
    let opts = mysql_async::OptsBuilder::default().ip_or_hostname(server.host.clone());
    opts.tcp_port(server.port).user(Some("app")).pass(Some("app")).into()
}

/// I5: who stops to wait for acknowledgements before the server closes lets others take their place.
#[tokio::test]
async fn a_server_that_waits_to_be_closed_is_told_from_one_that_was_not_told_to() {
    for flavor in FLAVORS {
        let server = admitted(Options::new(flavor).semi_sync());
        server.exec("CREATE USER 'app'@'%' IDENTIFIED BY 'app'");
        server.exec("GRANT ALL ON *.* TO 'app'@'%'");
        server.exec("CREATE DATABASE shop");
        let mut aside = control(&server);
        act(&mut aside, &Action::SetSemiSyncSource(Switch::On)).await;
        let mut client = mysql_async::Conn::new(client_of(&server)).await.unwrap();
        // Nobody acknowledges it.
        let commit =
            tokio::spawn(async move { client.query_drop("CREATE DATABASE waits").await.is_ok() });
        let is_waiting = || {
            let rows = server.query("SHOW PROCESSLIST");
            let text = |row: &support::Row| row[6].clone().unwrap_or_default().to_lowercase();
            rows.iter().any(|row| text(row).contains("semi-sync ack"))
        };
        for rounds in 0.. {
            if is_waiting() {
                break;
            }
            assert!(rounds < 200 && !commit.is_finished(), "{flavor:?}: the commit does not wait");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!aside.is_closing().await, "{flavor:?}");
        let mut closing = control(&server);
        let closing =
            tokio::spawn(async move { closing.act(&Action::SetReadOnly, PATIENCE).await });
        for rounds in 0.. {
            if aside.is_closing().await {
                break;
            }
            assert!(rounds < 200 && !closing.is_finished(), "{flavor:?}: nobody waits to close it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        act(&mut aside, &Action::SetSemiSyncSource(Switch::Off)).await;
        closing.await.unwrap().unwrap();
        assert!(commit.await.unwrap() && !aside.is_closing().await, "{flavor:?}");
    }
}

#[tokio::test]
async fn clients_lose_their_connections_and_replicas_do_not() {
    for flavor in FLAVORS {
        let servers = admitted_star(&Options::new(flavor), 1);
        let [source, replica] = servers.as_slice() else { panic!("a star") };
        source.exec("CREATE USER 'app'@'%' IDENTIFIED BY 'app'");
        until_same(source, replica);
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(mysql_async::Conn::new(client_of(source)).await.unwrap());
        }
        let mut session = control(source);
        let dumps = || {
            let rows = source.query("SHOW PROCESSLIST");
            let dump = |row: &&support::Row| row[4].as_deref().unwrap_or("").starts_with("Binlog");
            rows.iter().filter(dump).map(|row| row[0].clone()).collect::<Vec<_>>()
        };
        let before = dumps();
        assert_eq!(before.len(), 1);
        act_twice(&mut session, source, &Action::KillClients).await;
        for client in &mut clients {
            assert!(client.query_drop("SELECT 1").await.is_err(), "{flavor:?}");
        }
        assert_eq!(dumps(), before);
        write(source);
        until_same(source, replica);
    }
}

#[tokio::test]
async fn a_client_that_may_not_be_ended_is_reported_and_the_others_are_ended() {
    let server = admitted(Options::new(Flavor::MySql97));
    server.exec("CREATE USER 'app'@'%' IDENTIFIED BY 'app'");
    server.exec("GRANT SYSTEM_USER ON *.* TO 'app'@'%'");
    let mut mighty = mysql_async::Conn::new(client_of(&server)).await.unwrap();
    server.exec("REVOKE SYSTEM_USER ON *.* FROM 'app'@'%'");
    let mut other = mysql_async::Conn::new(client_of(&server)).await.unwrap();
    let told = control(&server).act(&Action::KillClients, PATIENCE).await;
    let Err(ActionFailure::Refused(text)) = told else { panic!("{told:?}") };
    assert!(text.starts_with("1 of 2 clients are still connected: error 1095"), "{text}");
    mighty.query_drop("SELECT 1").await.unwrap();
    assert!(other.query_drop("SELECT 1").await.is_err());
}

#[tokio::test]
async fn what_a_connection_does_is_ended() {
    for flavor in FLAVORS {
        let server = admitted(Options::new(flavor));
        server.exec("CREATE USER 'app'@'%' IDENTIFIED BY 'app'");
        let mut session = control(&server);
        let mut client = mysql_async::Conn::new(client_of(&server)).await.unwrap();
        // Longer than any test may take, or until that is ended.
        let sleeper = client.query_drop("DO SLEEP(1000)");
        let killer = async {
            let id = loop {
                let rows = server.query("SHOW PROCESSLIST");
                let sleeping = rows
                    .iter()
                    .find(|row| row[7].as_deref().is_some_and(|it| it.contains("SLEEP")));
                match sleeping {
                    Some(row) => break row[0].clone().unwrap().parse().unwrap(),
                    None => tokio::task::yield_now().await,
                }
            };
            act(&mut session, &Action::KillQuery { id }).await;
        };
        let (_, ()) = futures_util::join!(sleeper, killer);
        act(&mut session, &Action::KillQuery { id: 4_000_000 }).await;
    }
}

#[tokio::test]
async fn waiting_ends_with_the_transaction_or_the_time() {
    for flavor in FLAVORS {
        let servers = admitted_star(&Options::new(flavor), 1);
        let [source, replica] = servers.as_slice() else { panic!("a star") };
        let mut session = control(replica);
        let short = Duration::from_millis(1_200);
        let wait = |until: &Until, at_most| Action::WaitExecuted { until: until.clone(), at_most };
        write(source);
        let executed = facts(&mut control(source)).await.gtid.executed;
        act(&mut session, &wait(&Until::Gtids(executed.clone()), PATIENCE)).await;
        act_twice(&mut session, replica, &wait(&Until::Gtids(executed), PATIENCE)).await;
        let (file, position) = source.binlog_position();
        let here = Until::Source(BinlogCoordinates::new(file, position));
        act_twice(&mut session, replica, &wait(&here, PATIENCE)).await;

        act(&mut session, &Action::Stop(Threads::Receiver)).await;
        write(source);
        let executed = Until::Gtids(facts(&mut control(source)).await.gtid.executed);
        let (file, position) = source.binlog_position();
        let beyond = Until::Source(BinlogCoordinates::new(file, position));
        for (until, at_most, deadline) in
            [(&executed, short, PATIENCE), (&executed, PATIENCE, short), (&beyond, short, PATIENCE)]
        {
            let late = session.act(&wait(until, at_most), deadline).await;
            assert!(matches!(late, Err(ActionFailure::Timeout { .. })), "{flavor:?} {late:?}");
        }
        act(&mut session, &Action::Stop(Threads::Applier)).await;
        let pointless = session.act(&wait(&beyond, PATIENCE), PATIENCE).await;
        assert!(matches!(pointless, Err(ActionFailure::Refused(_))), "{flavor:?} {pointless:?}");

        // What it wrote itself is executed, too.
        let own = Until::Gtids(facts(&mut control(source)).await.gtid.executed);
        act(&mut control(source), &wait(&own, PATIENCE)).await;
    }
}

#[tokio::test]
async fn semi_sync_is_switched() {
    for flavor in FLAVORS {
        let server = admitted(Options::new(flavor).semi_sync());
        let mut session = control(&server);
        for switch in [Switch::On, Switch::Off, Switch::On] {
            act_twice(&mut session, &server, &Action::SetSemiSyncSource(switch)).await;
            act_twice(&mut session, &server, &Action::SetSemiSyncReplica(switch)).await;
            let seen = facts(&mut session).await.semi_sync;
            let is_on = switch == Switch::On;
            assert_eq!((seen.source_enabled, seen.replica_enabled), (is_on, is_on), "{flavor:?}");
        }
    }
    let without = admitted(Options::new(Flavor::MySql97));
    let mut session = control(&without);
    act_twice(&mut session, &without, &Action::SetSemiSyncSource(Switch::Off)).await;
    let refused = session.act(&Action::SetSemiSyncSource(Switch::On), PATIENCE).await;
    assert!(matches!(refused, Err(ActionFailure::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn errant_transactions_are_filled_in_or_forgotten() {
    let server = admitted(Options::new(Flavor::MySql97));
    server.exec("GRANT TRANSACTION_GTID_TAG ON *.* TO 'baton'@'%'");
    server.exec("RESET BINARY LOGS AND GTIDS");
    let mut session = control(&server);
    let errant = "00000000-0000-0000-0000-0000000000aa:1-3:red:7";
    let errant: GtidSet = errant.parse().unwrap();
    act_twice(&mut session, &server, &Action::InjectEmpty(errant.clone())).await;
    write(&server);
    let executed = facts(&mut session).await.gtid.executed;
    let Gtids::MySql(executed) = executed else { panic!("{executed:?}") };
    assert!(executed.contains(&errant));

    let (first, _) = server.binlog_position();
    act(&mut session, &Action::FlushBinaryLogs).await;
    write(&server);
    let (second, _) = server.binlog_position();
    let newest = facts(&mut session).await.gtid.executed;
    let Gtids::MySql(newest) = newest else { panic!("{newest:?}") };
    for (wanted, logs) in [
        (&errant, vec![&first]),
        (&newest.subtract(&executed), vec![&second]),
        (&newest, vec![&first, &second]),
        (&GtidSet::default(), vec![]),
    ] {
        let found = session.logs_with(wanted).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), logs, "{wanted:?}");
    }
    act(&mut session, &Action::PurgeBinaryLogs { to: second }).await;
    let purged = session.logs_with(&errant).await;
    assert!(matches!(purged, Err(ActionFailure::Refused(_))), "{purged:?}");

    let rest = executed.subtract(&errant);
    let reset = Action::ResetBinaryLogs { purged: rest.clone() };
    act_twice(&mut session, &server, &reset).await;
    let seen = facts(&mut session).await.gtid;
    assert_eq!((seen.executed, seen.purged), (Gtids::MySql(rest.clone()), rest));
    act(&mut session, &Action::ResetBinaryLogs { purged: GtidSet::default() }).await;
    assert_eq!(server.executed(), "");

    // A server that is closed to everybody takes them too.
    act(&mut session, &Action::SetReadOnly).await;
    act(&mut session, &Action::InjectEmpty(errant.clone())).await;
    assert_eq!(facts(&mut session).await.gtid.executed, Gtids::MySql(errant));
}

#[tokio::test]
async fn binary_logs_are_flushed_and_purged() {
    for flavor in FLAVORS {
        let server = admitted(Options::new(flavor));
        let mut session = control(&server);
        let (first, _) = server.binlog_position();
        act(&mut session, &Action::FlushBinaryLogs).await;
        let (second, _) = server.binlog_position();
        assert_ne!(first, second, "{flavor:?}");
        let purge = Action::PurgeBinaryLogs { to: second.clone() };
        act_twice(&mut session, &server, &purge).await;
        assert_eq!(server.query("SHOW BINARY LOGS")[0][0].as_deref(), Some(second.as_str()));
        let gone = session.act(&Action::PurgeBinaryLogs { to: first }, PATIENCE).await;
        assert!(matches!(gone, Err(ActionFailure::Refused(_))), "{flavor:?} {gone:?}");
    }
}

#[tokio::test]
async fn an_event_is_skipped_where_there_are_no_gtids() {
    for flavor in FLAVORS {
        let servers = admitted_star(&Options::new(flavor).without_gtid(), 1);
        let [source, replica] = servers.as_slice() else { panic!("a star") };
        write(source);
        wait_until(PATIENCE, "it replicates", || {
            replica.try_query("SELECT n FROM w.w").ok().filter(|rows| !rows.is_empty())
        });
        let mut session = control(replica);
        replica.exec("INSERT INTO w.w VALUES (2)");
        write(source);
        until_threads(&mut session, ThreadState::Running, ThreadState::Stopped).await;
        if flavor.is_mariadb() {
            let refused = session.act(&Action::SkipEvent, PATIENCE).await;
            assert!(matches!(refused, Err(ActionFailure::Refused(_))), "{refused:?}");
            replica.exec("GRANT SUPER ON *.* TO 'baton'@'%'");
            session = control(replica);
        }
        act_twice(&mut session, replica, &Action::SkipEvent).await;
        act(&mut session, &Action::Start(Threads::Applier)).await;
        write(source);
        let caught_up = || (replica.value("SELECT MAX(n) FROM w.w") == "3").then_some(());
        wait_until(PATIENCE, "it goes on", caught_up);
    }
}

#[tokio::test]
async fn replication_runs_up_to_a_place_and_stops_there() {
    for flavor in FLAVORS {
        let servers = admitted_star(&Options::new(flavor).without_gtid(), 1);
        let [source, replica] = servers.as_slice() else { panic!("a star") };
        let mut session = control(replica);
        act(&mut session, &Action::Stop(Threads::Both)).await;
        write(source);
        let (file, position) = source.binlog_position();
        let here = BinlogCoordinates::new(file, position);
        write(source);
        act_twice(&mut session, replica, &Action::StartUntil(here.clone())).await;
        until_threads(&mut session, ThreadState::Running, ThreadState::Stopped).await;
        assert_eq!(channel(&mut session).await.executed, here, "{flavor:?}");
        assert_eq!(replica.query("SELECT n FROM w.w").len(), 1);
    }
}

#[tokio::test]
async fn the_channel_that_places_a_server_is_the_one_that_is_changed() {
    for flavor in FLAVORS {
        let sources = Server::start_all(std::iter::repeat_n(Options::new(flavor), 3));
        let only = "o'clock; east";
        for (name, other) in [(only, None), ("", Some("west"))] {
            let server = admitted(Options::new(flavor).read_only());
            match name {
                "" => server.replicate_from(&sources[0]),
                name => server.replicate_channel(&name.replace('\'', "''"), &sources[0]),
            }
            if let Some(other) = other {
                server.replicate_channel(other, &sources[1]);
            }
            let mut session = control(&server);
            act(&mut session, &Action::Stop(Threads::Both)).await;
            act(&mut session, &below(&sources[2], Place::Same)).await;
            act_twice(&mut session, &server, &Action::SetDelay { seconds: 5 }).await;
            let seen = facts(&mut session).await;
            let shown: Vec<_> =
                seen.channels.iter().map(|it| (it.name.as_str(), it.is_running())).collect();
            let kept = || other.into_iter().map(|other| (other, true));
            let expected: Vec<_> = std::iter::once((name, false)).chain(kept()).collect();
            assert_eq!(shown, expected, "{flavor:?}");
            assert_eq!(seen.source(), Some(&key(&sources[2])), "{flavor:?} {name:?}");
            act(&mut session, &Action::ForgetSource).await;
            let seen = facts(&mut session).await;
            let left: Vec<_> =
                seen.channels.iter().map(|it| (it.name.as_str(), it.is_running())).collect();
            assert_eq!(left, kept().collect::<Vec<_>>(), "{flavor:?} {name:?}");
        }
    }
}

#[tokio::test]
async fn a_server_in_trouble_is_told_by_deadline_and_by_kind() {
    for flavor in FLAVORS {
        let mut server = admitted(Options::new(flavor));
        let mut session = control(&server);
        act(&mut session, &Action::SetWritable).await;
        let deadline = Duration::from_secs(1);
        server.stop_signal();
        // First on the connection that stands, then on a new one.
        for _ in 0..2 {
            let hung = session.act(&Action::SetReadOnly, deadline).await;
            let is_known = matches!(&hung, Err(ActionFailure::Server(failure))
                if failure.kind == FailureKind::Timeout);
            assert!(is_known, "{flavor:?} {hung:?}");
        }
        server.cont_signal();
        act(&mut session, &Action::SetReadOnly).await;
        server.kill_9();
        let dead = session.act(&Action::SetWritable, deadline).await;
        assert!(matches!(dead, Err(ActionFailure::Server(_))), "{flavor:?} {dead:?}");
    }
}

/// The ids of our connections.
fn ours(server: &Server) -> Vec<String> {
    let rows = server.query("SHOW PROCESSLIST");
    let ours = rows.iter().filter(|row| row[1].as_deref() == Some("baton"));
    ours.filter_map(|row| row[0].clone()).collect()
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_lay_idle_is_no_failure() {
    for flavor in FLAVORS {
        let server = admitted(Options::new(flavor));
        let mut session = control(&server);
        act(&mut session, &Action::SetWritable).await;
        ours(&server).iter().for_each(|id| server.exec(&format!("KILL {id}")));
        let gone = || ours(&server).is_empty().then_some(());
        wait_until(PATIENCE, "the connection is gone", gone);
        // Long enough that nobody takes the connection for granted.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(60)).await;
        tokio::time::resume();
        act(&mut session, &Action::SetReadOnly).await;
    }
}

#[tokio::test]
async fn an_action_whose_connection_breaks_is_not_sent_again() {
    for flavor in FLAVORS {
        let servers = admitted_star(&Options::new(flavor), 1);
        let [source, replica] = servers.as_slice() else { panic!("a star") };
        act(&mut control(replica), &Action::Stop(Threads::Both)).await;
        write(source);
        let until = Until::Gtids(facts(&mut control(source)).await.gtid.executed);
        let wait = Action::WaitExecuted { until, at_most: PATIENCE };
        let mut session = control(replica);
        let killer = async {
            let waiting = loop {
                let rows = replica.query("SHOW PROCESSLIST");
                let waits =
                    |row: &&support::Row| row[7].as_deref().is_some_and(|it| it.contains("WAIT"));
                match rows.iter().find(waits) {
                    Some(row) => break row[0].clone().unwrap(),
                    None => tokio::task::yield_now().await,
                }
            };
            replica.exec(&format!("KILL {waiting}"));
        };
        let (lost, ()) = futures_util::join!(session.act(&wait, PATIENCE), killer);
        assert!(matches!(lost, Err(ActionFailure::Server(_))), "{flavor:?} {lost:?}");
        // Who was killed takes a moment to go; somebody new would stay.
        support::wait_until(PATIENCE, "nobody of us is left", || {
            ours(replica).is_empty().then_some(())
        });
    }
}

#[tokio::test]
async fn what_waits_for_a_lock_gives_up_and_does_not_happen_later() {
    for flavor in FLAVORS {
        let server = admitted(Options::new(flavor));
        server.exec("CREATE USER 'app'@'%' IDENTIFIED BY 'app'");
        server.exec("GRANT ALL ON *.* TO 'app'@'%'");
        let mut holder = mysql_async::Conn::new(client_of(&server)).await.unwrap();
        write(&server);
        holder.query_drop("LOCK TABLES w.w WRITE").await.unwrap();
        let mut session = control(&server);
        let locked = session.act(&Action::SetReadOnly, Duration::from_millis(2_500)).await;
        assert!(matches!(locked, Err(ActionFailure::Refused(_))), "{flavor:?} {locked:?}");
        holder.query_drop("UNLOCK TABLES").await.unwrap();
        assert!(!facts(&mut session).await.read_only, "{flavor:?}");
        act(&mut session, &Action::SetReadOnly).await;
    }
}

#[tokio::test]
async fn whoever_may_only_look_is_refused() {
    for flavor in FLAVORS {
        let server = Server::start(Options::new(flavor));
        server.create_monitor_user("baton", PASSWORD, least_grants(flavor));
        let mut session = control(&server);
        let refused = session.act(&Action::SetReadOnly, PATIENCE).await;
        let Err(ActionFailure::Refused(text)) = refused else { panic!("{refused:?}") };
        assert!(text.starts_with("error 1227"), "{text}");
        assert!(!facts(&mut session).await.read_only);
    }
}
