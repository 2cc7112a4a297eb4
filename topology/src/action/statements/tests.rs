use proptest::prelude::*;

use super::*;
use crate::action::{Place, Secret};
use crate::gtid::MariaDbPosition;
use crate::instance::{Channel, ChannelTls, SourceLink, ThreadState};
use crate::key::InstanceKey;
use crate::version::Version;

const VERSIONS: [&str; 8] =
    ["5.7.44", "8.0.21", "8.0.22", "8.0.36", "8.4.3", "9.7.0", "10.6.18-MariaDB", "12.0.2-MariaDB"];

fn key(host: &str) -> InstanceKey {
    InstanceKey::new(host, 3306)
}

fn gtids(text: &str) -> GtidSet {
    text.parse().unwrap()
}

const UUID: &str = "00000000-0000-0000-0000-000000000001";

/// A replica of `old:3306` by GTID, both threads stopped.
fn replica(version: &str) -> Facts {
    let version = Version::parse(version, "");
    let mut facts = Facts { version, read_only: true, ..Facts::default() };
    let is_mariadb = facts.version.is_mariadb();
    let by_gtid = if is_mariadb { Positioning::MariaDbGtid } else { Positioning::AutoPosition };
    facts.gtid.mode = if is_mariadb { "" } else { "ON" }.into();
    facts.binlog.enabled = true;
    facts.leaves_its_source = (!is_mariadb).then_some(false);
    facts.channels = vec![Channel {
        source: SourceLink::Attached(key("old")),
        receiver: ThreadState::Stopped,
        applier: ThreadState::Stopped,
        executed: BinlogCoordinates::new("bin.000007", 1_234),
        positioning: by_gtid,
        user: "repl".into(),
        ..Channel::default()
    }];
    facts
}

fn by_file(version: &str) -> Facts {
    let mut facts = replica(version);
    facts.gtid.mode = if facts.version.is_mariadb() { "" } else { "OFF" }.into();
    facts.channels[0].positioning = Positioning::File;
    facts
}

fn on_channel(version: &str, name: &str) -> Facts {
    let mut facts = replica(version);
    facts.channels[0].name = name.into();
    facts
}

fn alone(version: &str) -> Facts {
    Facts { channels: Vec::new(), ..replica(version) }
}

fn given(credentials: &Credentials) -> WordingOptions {
    WordingOptions { credentials: Some(credentials.clone()), heartbeat: None }
}

fn below(place: Place) -> Action {
    Action::ChangeSource { to: key("new"), place }
}

fn said(action: &Action, facts: &Facts) -> Result<Vec<String>, String> {
    let statements = statements(action, facts, &WordingOptions::default())?;
    Ok(statements.iter().map(|statement| statement.text().to_owned()).collect())
}

/// What every one of these servers is told for an action.
fn assert_said(action: &Action, rows: &[(Facts, &[&str])]) {
    for (facts, expected) in rows {
        let said = said(action, facts);
        let expected = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(said, Ok(expected), "{action:?} on {}", facts.version);
    }
}

#[test]
fn threads_are_stopped_and_started_in_the_words_of_the_version() {
    for (threads, text) in
        [(Threads::Both, ""), (Threads::Receiver, " IO_THREAD"), (Threads::Applier, " SQL_THREAD")]
    {
        for (facts, stop, start) in [
            (replica("5.7.44"), "STOP SLAVE{} FOR CHANNEL ''", "START SLAVE{} FOR CHANNEL ''"),
            (replica("8.0.21"), "STOP SLAVE{} FOR CHANNEL ''", "START SLAVE{} FOR CHANNEL ''"),
            (replica("8.0.22"), "STOP REPLICA{} FOR CHANNEL ''", "START REPLICA{} FOR CHANNEL ''"),
            (replica("9.7.0"), "STOP REPLICA{} FOR CHANNEL ''", "START REPLICA{} FOR CHANNEL ''"),
            (
                on_channel("8.4.3", "east"),
                "STOP REPLICA{} FOR CHANNEL 'east'",
                "START REPLICA{} FOR CHANNEL 'east'",
            ),
            (replica("10.6.18-MariaDB"), "STOP SLAVE ''{}", "START SLAVE ''{}"),
            (on_channel("12.0.2-MariaDB", "east"), "STOP SLAVE 'east'{}", "START SLAVE 'east'{}"),
        ] {
            let (stop, start) = (stop.replace("{}", text), start.replace("{}", text));
            assert_eq!(said(&Action::Stop(threads), &facts), Ok(vec![stop]), "{}", facts.version);
            assert_eq!(said(&Action::Start(threads), &facts), Ok(vec![start]), "{}", facts.version);
        }
    }
}

#[test]
fn a_receiver_that_tells_its_source_that_it_goes_has_a_second_for_that() {
    for (version, enabled, active, tells) in [
        ("10.11.14-MariaDB", true, true, true),
        ("10.11.14-MariaDB", true, false, true),
        // Switched off, and not restarted since.
        ("10.11.14-MariaDB", false, true, true),
        ("10.11.14-MariaDB", false, false, false),
        ("10.3.3-MariaDB", true, true, true),
        ("10.3.2-MariaDB", true, true, false),
        ("9.7.0", true, true, false),
    ] {
        let mut facts = replica(version);
        facts.semi_sync.replica_enabled = enabled;
        facts.semi_sync.replica_active = active;
        for (threads, may_tell) in
            [(Threads::Both, true), (Threads::Receiver, true), (Threads::Applier, false)]
        {
            let said = said(&Action::Stop(threads), &facts).unwrap();
            let is_limited = said[0].contains("rpl_semi_sync_slave_kill_conn_timeout = 1;");
            assert_eq!((said.len(), is_limited), (1, tells && may_tell), "{version} {threads:?}");
        }
        let forgotten = said(&Action::ForgetSource, &facts).unwrap();
        assert_eq!(forgotten[0].contains("BEGIN NOT ATOMIC"), tells, "{version}");
    }
}

#[test]
fn replication_runs_up_to_a_place() {
    let until = Action::StartUntil(BinlogCoordinates::new("bin.000007", 99));
    const OLD: &str = "UNTIL MASTER_LOG_FILE = 'bin.000007', MASTER_LOG_POS = 99";
    const NEW: &str = "UNTIL SOURCE_LOG_FILE = 'bin.000007', SOURCE_LOG_POS = 99";
    assert_said(
        &until,
        &[
            (by_file("5.7.44"), &[&format!("START SLAVE {OLD} FOR CHANNEL ''")]),
            (by_file("8.0.22"), &[&format!("START REPLICA {OLD} FOR CHANNEL ''")]),
            (on_channel("9.7.0", "east"), &[&format!("START REPLICA {NEW} FOR CHANNEL 'east'")]),
            (by_file("10.11.14-MariaDB"), &[&format!("START SLAVE '' {OLD}")]),
        ],
    );
}

#[test]
fn credentials_are_renewed() {
    let mut credentials =
        Credentials { user: "r2".into(), password: Secret::new("x'y"), tls: ChannelTls::default() };
    credentials.tls.enabled = true;
    credentials.tls.ca_file = "/ca.pem".into();
    let given = given(&credentials);
    for (version, expected) in [
        (
            "5.7.44",
            "CHANGE MASTER TO MASTER_USER = 'r2', MASTER_PASSWORD = 'x''y', MASTER_SSL = 1, \
             MASTER_SSL_CA = '/ca.pem' FOR CHANNEL ''",
        ),
        (
            "9.7.0",
            "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'r2', SOURCE_PASSWORD = 'x''y', \
             SOURCE_SSL = 1, SOURCE_SSL_CA = '/ca.pem' FOR CHANNEL ''",
        ),
        (
            "10.11.14-MariaDB",
            "CHANGE MASTER '' TO MASTER_USER = 'r2', MASTER_PASSWORD = 'x''y', MASTER_SSL = 1, \
             MASTER_SSL_CA = '/ca.pem'",
        ),
    ] {
        let renew = Action::RenewCredentials;
        let said = statements(&renew, &replica(version), &given).unwrap();
        assert_eq!(said[0].text(), expected);
        assert!(!said[0].shown().contains("x''y"));
        assert!(statements(&renew, &replica(version), &WordingOptions::default()).is_err());
        assert!(statements(&renew, &alone(version), &given).is_err());
    }
}

#[test]
fn new_credentials_do_not_open_a_secure_connection() {
    // I10
    let credentials = Credentials {
        user: "r2".into(),
        password: Secret::new("x"),
        tls: ChannelTls { enabled: true, cert: "/new.pem".into(), ..ChannelTls::default() },
    };
    let open = Credentials { tls: ChannelTls::default(), ..credentials.clone() };
    let mut facts = replica("9.7.0");
    facts.channels[0].tls = ChannelTls {
        enabled: true,
        ca_file: "/ca.pem".into(),
        cert: "/old.pem".into(),
        verify_server_cert: Some(true),
        version: "TLSv1.3".into(),
        public_key_path: "/rsa.pem".into(),
        get_public_key: Some(false),
        ..ChannelTls::default()
    };
    for (credentials, cert) in [(credentials, "/new.pem"), (open, "/old.pem")] {
        let said = statements(&Action::RenewCredentials, &facts, &given(&credentials)).unwrap();
        let expected = format!(
            "SOURCE_SSL = 1, SOURCE_SSL_CA = '/ca.pem', SOURCE_SSL_CERT = '{cert}', \
             SOURCE_SSL_VERIFY_SERVER_CERT = 1, SOURCE_TLS_VERSION = 'TLSv1.3', \
             SOURCE_PUBLIC_KEY_PATH = '/rsa.pem', GET_SOURCE_PUBLIC_KEY = 0 FOR CHANNEL ''"
        );
        assert!(said[0].text().ends_with(&expected), "{}", said[0].text());
    }
}

#[test]
fn a_replica_that_uses_gtid_is_only_told_where() {
    const NEW: &str = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'new', SOURCE_PORT = 3306, \
                       SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1 FOR CHANNEL ''";
    const MIDDLE: &str = "CHANGE MASTER TO MASTER_HOST = 'new', MASTER_PORT = 3306, \
                          MASTER_SSL = 0, GET_MASTER_PUBLIC_KEY = 1 FOR CHANNEL ''";
    const OLD: &str = "CHANGE MASTER TO MASTER_HOST = 'new', MASTER_PORT = 3306, MASTER_SSL = 0 \
                       FOR CHANNEL ''";
    assert_said(
        &below(Place::Same),
        &[
            (replica("5.7.44"), &[OLD]),
            (replica("8.0.22"), &[MIDDLE]),
            (replica("8.0.23"), &[NEW]),
            (replica("8.4.3"), &[NEW]),
            (replica("9.7.0"), &[NEW]),
            (
                replica("10.11.14-MariaDB"),
                &["CHANGE MASTER '' TO MASTER_HOST = 'new', MASTER_PORT = 3306, MASTER_SSL = 0"],
            ),
            (
                on_channel("12.0.2-MariaDB", "east"),
                &[
                    "CHANGE MASTER 'east' TO MASTER_HOST = 'new', MASTER_PORT = 3306, MASTER_SSL = 0",
                ],
            ),
        ],
    );
}

#[test]
fn a_replica_that_uses_files_is_told_its_place_again() {
    assert_said(
        &below(Place::Same),
        &[
            (
                by_file("5.7.44"),
                &["CHANGE MASTER TO MASTER_HOST = 'new', MASTER_PORT = 3306, \
                   MASTER_LOG_FILE = 'bin.000007', MASTER_LOG_POS = 1234, \
                   MASTER_SSL = 0 FOR CHANNEL ''"],
            ),
            (
                by_file("9.7.0"),
                &["CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'new', SOURCE_PORT = 3306, \
                   SOURCE_LOG_FILE = 'bin.000007', SOURCE_LOG_POS = 1234, \
                   SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1 FOR CHANNEL ''"],
            ),
            (
                by_file("10.11.14-MariaDB"),
                &["CHANGE MASTER '' TO MASTER_HOST = 'new', MASTER_PORT = 3306, \
                   MASTER_LOG_FILE = 'bin.000007', MASTER_LOG_POS = 1234, \
                   MASTER_SSL = 0"],
            ),
        ],
    );
    let mut running = by_file("9.7.0");
    running.channels[0].applier = ThreadState::Running;
    let mut lost = by_file("9.7.0");
    lost.channels[0].executed = BinlogCoordinates::default();
    for (facts, reason) in [(running, "stand still"), (lost, "not known")] {
        assert!(said(&below(Place::Same), &facts).unwrap_err().contains(reason));
    }
}

#[test]
fn a_replica_changes_to_gtid_and_back() {
    assert_said(
        &below(Place::Gtid),
        &[
            (
                Facts { gtid: replica("5.7.44").gtid, ..by_file("5.7.44") },
                &["CHANGE MASTER TO MASTER_HOST = 'new', MASTER_PORT = 3306, \
                   MASTER_AUTO_POSITION = 1, MASTER_SSL = 0 FOR CHANNEL ''"],
            ),
            (
                replica("9.7.0"),
                &["CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'new', SOURCE_PORT = 3306, \
                   SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1 \
                   FOR CHANNEL ''"],
            ),
            (
                by_file("10.11.14-MariaDB"),
                &["CHANGE MASTER '' TO MASTER_HOST = 'new', MASTER_PORT = 3306, \
                   MASTER_USE_GTID = slave_pos, MASTER_SSL = 0"],
            ),
            (
                replica("10.11.14-MariaDB"),
                &["CHANGE MASTER '' TO MASTER_HOST = 'new', MASTER_PORT = 3306, MASTER_SSL = 0"],
            ),
        ],
    );
    assert_said(
        &below(Place::File(BinlogCoordinates::new("bin.000009", 4))),
        &[
            (
                replica("9.7.0"),
                &["CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'new', SOURCE_PORT = 3306, \
                   SOURCE_LOG_FILE = 'bin.000009', SOURCE_LOG_POS = 4, SOURCE_AUTO_POSITION = 0, \
                   SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1 FOR CHANNEL ''"],
            ),
            (
                replica("10.11.14-MariaDB"),
                &["CHANGE MASTER '' TO MASTER_HOST = 'new', MASTER_PORT = 3306, \
                   MASTER_LOG_FILE = 'bin.000009', MASTER_LOG_POS = 4, MASTER_USE_GTID = no, \
                   MASTER_SSL = 0"],
            ),
        ],
    );
    let off = said(&below(Place::Gtid), &by_file("9.7.0"));
    assert_eq!(off, Err("it does not use GTIDs: gtid_mode is OFF".into()));
}

#[test]
fn tls_options_and_keys_are_said_again() {
    let tls = ChannelTls {
        enabled: true,
        ca_file: "/ca.pem".into(),
        ca_path: "/ca".into(),
        cert: "/cert.pem".into(),
        cipher: "AES".into(),
        crl_file: "/crl.pem".into(),
        crl_path: "/crl".into(),
        key: "/key.pem".into(),
        verify_server_cert: Some(true),
        version: "TLSv1.2,TLSv1.3".into(),
        ciphersuites: "TLS_AES_128_GCM_SHA256".into(),
        public_key_path: "/rsa.pem".into(),
        get_public_key: Some(false),
    };
    const COMMON: &str = "CHANGE_PORT = 3306, CHANGE_SSL = 1, CHANGE_SSL_CA = '/ca.pem', \
         CHANGE_SSL_CAPATH = '/ca', CHANGE_SSL_CERT = '/cert.pem', CHANGE_SSL_CIPHER = 'AES', \
         CHANGE_SSL_CRL = '/crl.pem', CHANGE_SSL_CRLPATH = '/crl', CHANGE_SSL_KEY = '/key.pem', \
         CHANGE_SSL_VERIFY_SERVER_CERT = 1";
    const VERSION: &str = ", CHANGE_TLS_VERSION = 'TLSv1.2,TLSv1.3'";
    const SUITES: &str = ", CHANGE_TLS_CIPHERSUITES = 'TLS_AES_128_GCM_SHA256'";
    const KEYS: &str = ", CHANGE_PUBLIC_KEY_PATH = '/rsa.pem', GET_CHANGE_PUBLIC_KEY = 0";
    for (version, prefix, extra) in [
        ("5.7.44", "MASTER", vec![VERSION]),
        ("8.0.18", "MASTER", vec![VERSION, KEYS]),
        ("8.0.22", "MASTER", vec![VERSION, SUITES, KEYS]),
        ("9.7.0", "SOURCE", vec![VERSION, SUITES, KEYS]),
        ("10.11.14-MariaDB", "MASTER", vec![]),
    ] {
        let mut facts = replica(version);
        facts.channels[0].tls = tls.clone();
        let expected = format!("{COMMON}{}", extra.concat()).replace("CHANGE", prefix);
        let said = said(&below(Place::Same), &facts).unwrap();
        assert!(said[0].contains(&expected), "{version}: {}\nlacks {expected}", said[0]);
    }
    let mut open = replica("9.7.0");
    open.channels[0].tls = ChannelTls { get_public_key: Some(true), ..ChannelTls::default() };
    let said = said(&below(Place::Same), &open).unwrap();
    assert!(said[0].contains("SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1"), "{said:?}");
    // An account that the old source knew has to prove itself at the new one.
    open.channels[0].tls = ChannelTls { get_public_key: Some(false), ..ChannelTls::default() };
    let said = super::statements(&below(Place::Same), &open, &WordingOptions::default()).unwrap();
    assert!(said[0].text().contains("SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1"), "{said:?}");
}

#[test]
fn a_receiver_is_told_to_stay_with_the_source_it_is_given() {
    let impatient = |version: &str, leaves: Option<bool>| {
        let mut facts = replica(version);
        facts.leaves_its_source = leaves;
        facts.channels[0].connect_tries = Some(10);
        facts.channels[0].connect_pause_seconds = 60;
        facts
    };
    let list = "SOURCE_CONNECTION_AUTO_FAILOVER = 0";
    for (case, facts, expected, unexpected) in [
        ("it has a list", impatient("9.7.0", Some(true)), list, "nothing"),
        ("it does not tell", impatient("9.7.0", None), list, "nothing"),
        ("it has none", impatient("9.7.0", Some(false)), "SOURCE_RETRY_COUNT = 86400", list),
        ("it knows of none", impatient("8.0.22", None), "MASTER_RETRY_COUNT = 86400", "AUTO_FAIL"),
        ("it has neither", replica("9.7.0"), "SOURCE_HOST", "_COUNT"),
        ("it has neither, and no list", replica("9.7.0"), "SOURCE_HOST", list),
        ("MariaDB", replica("10.11.14-MariaDB"), "MASTER_HOST", "RETRY_COUNT"),
    ] {
        for action in [below(Place::Same), Action::Detach] {
            let said = said(&action, &facts).unwrap();
            let is_told = said[0].contains(expected) && !said[0].contains(unexpected);
            assert!(is_told, "{case}: {said:?}");
        }
    }
}

#[test]
fn the_heartbeat_is_said_again_with_every_change() {
    let options =
        WordingOptions { heartbeat: Some(Duration::from_millis(2_500)), ..Default::default() };
    for (version, expected) in [
        ("5.7.44", "MASTER_HEARTBEAT_PERIOD = 2.500"),
        ("9.7.0", "SOURCE_HEARTBEAT_PERIOD = 2.500"),
        ("10.11.14-MariaDB", "MASTER_HEARTBEAT_PERIOD = 2.500"),
    ] {
        for action in [below(Place::Same), Action::Detach, Action::SetDelay { seconds: 1 }] {
            let said = statements(&action, &replica(version), &options).unwrap();
            assert!(said[0].text().contains(expected), "{version}: {said:?}");
        }
    }
    let cell = |text: &str| Some(text.as_bytes().to_vec());
    let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mysql = RawTable { columns: columns(&["Heartbeat"]), rows: vec![vec![cell("2.5")]] };
    let seen = heartbeat(&mysql, &replica("9.7.0"));
    assert_eq!(seen, Some(Duration::from_millis(2_500)));
    assert_eq!(heartbeat(&RawTable::default(), &replica("9.7.0")), None);
    let maria = RawTable {
        columns: columns(&["Connection_name", "Slave_heartbeat_period"]),
        rows: vec![vec![cell("west"), cell("9.0")], vec![cell("east"), cell("0.000")]],
    };
    let seen = heartbeat(&maria, &on_channel("10.11.14-MariaDB", "east"));
    assert_eq!(seen, Some(Duration::ZERO));
}

#[test]
fn a_server_without_credentials_is_given_some_that_nobody_reads() {
    let credentials = Credentials {
        user: "repl".into(),
        password: Secret::new("hunter2"),
        tls: ChannelTls::default(),
    };
    let given = given(&credentials);
    let place = below(Place::Gtid);
    for (version, before, after) in [
        (
            "5.7.44",
            "CHANGE MASTER TO MASTER_HOST = 'new', MASTER_PORT = 3306, MASTER_USER = 'repl', \
             MASTER_PASSWORD = ",
            ", MASTER_AUTO_POSITION = 1, MASTER_RETRY_COUNT = 86400 FOR CHANNEL ''",
        ),
        (
            "9.7.0",
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'new', SOURCE_PORT = 3306, \
             SOURCE_USER = 'repl', SOURCE_PASSWORD = ",
            ", SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_RETRY_COUNT = 86400 \
             FOR CHANNEL ''",
        ),
        (
            "10.11.14-MariaDB",
            "CHANGE MASTER '' TO MASTER_HOST = 'new', MASTER_PORT = 3306, MASTER_USER = 'repl', \
             MASTER_PASSWORD = ",
            ", MASTER_USE_GTID = slave_pos, MASTER_DEMOTE_TO_SLAVE = 1",
        ),
        (
            "10.6.21-MariaDB",
            "CHANGE MASTER '' TO MASTER_HOST = 'new', MASTER_PORT = 3306, MASTER_USER = 'repl', \
             MASTER_PASSWORD = ",
            ", MASTER_USE_GTID = current_pos",
        ),
    ] {
        let said = statements(&place, &alone(version), &given).unwrap();
        assert_eq!(said[0].text(), format!("{before}'hunter2'{after}"));
        assert_eq!(said[0].shown(), format!("{before}'***'{after}"));
        assert!(!format!("{said:?} {credentials:?}").contains("hunter2"));
        let none = statements(&place, &alone(version), &WordingOptions::default()).unwrap_err();
        assert!(none.contains("no credentials"), "{none}");
        // Another replica told that it has no TLS.
        let tls = ChannelTls { verify_server_cert: Some(false), ..ChannelTls::default() };
        let told = super::statements(
            &place,
            &alone(version),
            &self::given(&Credentials { tls, ..credentials.clone() }),
        );
        assert!(told.unwrap()[0].text().contains("_SSL = 0"), "{version}");
        // Who has some keeps them.
        let said = statements(&place, &replica(version), &given).unwrap();
        assert!(!said[0].text().contains("PASSWORD"), "{said:?}");
    }
}

#[test]
fn a_source_is_detached_reversibly() {
    assert_said(
        &Action::Detach,
        &[
            (
                replica("9.7.0"),
                &["CHANGE REPLICATION SOURCE TO SOURCE_HOST = '//old' FOR CHANNEL ''"],
            ),
            (
                by_file("8.0.21"),
                &["CHANGE MASTER TO MASTER_HOST = '//old', MASTER_LOG_FILE = 'bin.000007', \
                   MASTER_LOG_POS = 1234 FOR CHANNEL ''"],
            ),
            (replica("10.11.14-MariaDB"), &["CHANGE MASTER '' TO MASTER_HOST = '//old'"]),
        ],
    );
    assert_said(&Action::Reattach, &[(replica("9.7.0"), &[])]);
    let detached = |version| {
        let mut facts = replica(version);
        facts.channels[0].source = SourceLink::Detached(key("old"));
        facts
    };
    assert_said(
        &Action::Reattach,
        &[
            (
                detached("9.7.0"),
                &["CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'old' FOR CHANNEL ''"],
            ),
            (detached("10.11.14-MariaDB"), &["CHANGE MASTER '' TO MASTER_HOST = 'old'"]),
        ],
    );
    assert_said(&Action::Detach, &[(detached("9.7.0"), &[])]);
    // One that logs nothing cannot be told to go by its log.
    let mut unlogged = alone("10.11.14-MariaDB");
    unlogged.binlog.enabled = false;
    let credentials = Credentials {
        user: "repl".into(),
        password: Secret::new("hunter2"),
        tls: ChannelTls::default(),
    };
    let placed = statements(&below(Place::Gtid), &unlogged, &given(&credentials)).unwrap();
    assert!(placed[0].text().contains("MASTER_USE_GTID = current_pos"), "{placed:?}");
    // What it wrote while it was detached counts, too.
    let back = said(&below(Place::Gtid), &detached("10.11.14-MariaDB")).unwrap();
    assert!(back[0].contains("MASTER_USE_GTID = current_pos"), "{back:?}");
    for action in [Action::Detach, Action::Reattach] {
        assert_eq!(said(&action, &alone("9.7.0")), Err("it replicates from nobody".into()));
    }
}

#[test]
fn a_source_is_forgotten() {
    assert_said(
        &Action::ForgetSource,
        &[
            (
                on_channel("5.7.44", "east"),
                &["STOP SLAVE FOR CHANNEL 'east'", "RESET SLAVE ALL FOR CHANNEL 'east'"],
            ),
            (
                replica("9.7.0"),
                &["STOP REPLICA FOR CHANNEL ''", "RESET REPLICA ALL FOR CHANNEL ''"],
            ),
            (replica("10.11.14-MariaDB"), &["STOP SLAVE ''", "RESET SLAVE '' ALL"]),
        ],
    );
}

#[test]
fn servers_are_closed_and_opened() {
    for version in VERSIONS {
        let facts = alone(version);
        let (closed, open) = if facts.version.is_mariadb() {
            ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0")
        } else {
            (
                "SET GLOBAL super_read_only = 1",
                "SET GLOBAL super_read_only = 0, GLOBAL read_only = 0",
            )
        };
        assert_said(&Action::SetReadOnly, &[(facts.clone(), &[closed])]);
        assert_said(&Action::SetWritable, &[(facts, &[open])]);
    }
}

#[test]
fn waits_are_said_in_the_words_of_the_version() {
    let wait = |until| Action::WaitExecuted { until, at_most: Duration::from_millis(2_500) };
    let mysql = wait(Until::Gtids(Gtids::MySql(gtids(&format!("{UUID}:1-5")))));
    let text = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{UUID}:1-5', 2.500)");
    let old = text.replace("2.500", "2");
    assert_said(&mysql, &[(replica("5.7.44"), &[&old]), (replica("9.7.0"), &[&text])]);
    assert!(said(&mysql, &replica("10.11.14-MariaDB")).is_err());

    let maria = wait(Until::Gtids(Gtids::MariaDb("0-1-5".parse().unwrap())));
    let mut done = replica("10.11.14-MariaDB");
    done.gtid.executed = Gtids::MariaDb("0-2-6".parse::<MariaDbPosition>().unwrap());
    assert_said(
        &maria,
        &[(replica("10.11.14-MariaDB"), &["SELECT MASTER_GTID_WAIT('0-1-5', 2.500)"]), (done, &[])],
    );
    assert!(said(&maria, &replica("9.7.0")).is_err());

    assert_said(
        &wait(Until::Source(BinlogCoordinates::new("bin.000007", 99))),
        &[
            (by_file("5.7.44"), &["SELECT MASTER_POS_WAIT('bin.000007', 99, 2, '')"]),
            (by_file("8.0.25"), &["SELECT MASTER_POS_WAIT('bin.000007', 99, 2.500, '')"]),
            (
                on_channel("9.7.0", "east"),
                &["SELECT SOURCE_POS_WAIT('bin.000007', 99, 2.500, 'east')"],
            ),
            (by_file("10.6.18-MariaDB"), &["SELECT MASTER_POS_WAIT('bin.000007', 99, 2, '')"]),
        ],
    );
    assert_said(&wait(Until::Gtids(Gtids::None)), &[(replica("9.7.0"), &[])]);
    let at_once = Action::WaitExecuted {
        until: Until::Source(BinlogCoordinates::new("bin.000007", 99)),
        at_most: Duration::ZERO,
    };
    assert_said(
        &at_once,
        &[
            (by_file("9.7.0"), &["SELECT SOURCE_POS_WAIT('bin.000007', 99, 0.001, '')"]),
            (by_file("5.7.44"), &["SELECT MASTER_POS_WAIT('bin.000007', 99, 1, '')"]),
        ],
    );
}

#[test]
fn answers_to_waits_are_judged() {
    use Expectation::{ExecutedGtids, ReachedPosition};
    for (expectation, answer, expected) in [
        (ExecutedGtids, Some("0"), Waited::Reached),
        (ExecutedGtids, Some("1"), Waited::TooLate),
        (ExecutedGtids, Some("-1"), Waited::TooLate),
        (ExecutedGtids, None, Waited::Pointless),
        (ReachedPosition, Some("0"), Waited::Reached),
        (ReachedPosition, Some("17"), Waited::Reached),
        (ReachedPosition, Some("-1"), Waited::TooLate),
        (ReachedPosition, None, Waited::Pointless),
        (ReachedPosition, Some("nonsense"), Waited::Pointless),
    ] {
        assert_eq!(expectation.judge(answer), expected, "{expectation:?} {answer:?}");
    }
}

#[test]
fn semi_sync_is_switched_by_the_names_the_server_knows() {
    let mut new = replica("9.7.0");
    new.semi_sync.available = true;
    new.semi_sync.source_side_is_new = true;
    new.semi_sync.replica_side_is_new = true;
    let mut old = replica("8.0.36");
    old.semi_sync.available = true;
    let mut half = old.clone();
    half.semi_sync.replica_side_is_new = true;
    assert_said(
        &Action::SetSemiSyncSource(Switch::On),
        &[
            (new.clone(), &["SET GLOBAL rpl_semi_sync_source_enabled = 1"]),
            (half.clone(), &["SET GLOBAL rpl_semi_sync_master_enabled = 1"]),
            (replica("10.11.14-MariaDB"), &["SET GLOBAL rpl_semi_sync_master_enabled = 1"]),
        ],
    );
    assert_said(
        &Action::SetSemiSyncReplica(Switch::Off),
        &[
            (new, &["SET GLOBAL rpl_semi_sync_replica_enabled = 0"]),
            (half, &["SET GLOBAL rpl_semi_sync_replica_enabled = 0"]),
            (old, &["SET GLOBAL rpl_semi_sync_slave_enabled = 0"]),
            // Without the plugin it is off already.
            (replica("9.7.0"), &[]),
        ],
    );
}

#[test]
fn empty_transactions_are_injected_one_by_one_and_not_without_end() {
    let set = gtids(&format!("{UUID}:3:red:7-8"));
    assert_said(
        &Action::InjectEmpty(set.clone()),
        &[(
            replica("9.7.0"),
            &[
                &format!("SET SESSION gtid_next = '{UUID}:3'; BEGIN; COMMIT"),
                &format!("SET SESSION gtid_next = '{UUID}:red:7'; BEGIN; COMMIT"),
                &format!("SET SESSION gtid_next = '{UUID}:red:8'; BEGIN; COMMIT"),
                "SET SESSION gtid_next = 'AUTOMATIC'",
            ],
        )],
    );
    let all = Action::InjectEmpty(gtids(&format!("{UUID}:1-{INJECTED_MAX}")));
    assert!(said(&all, &replica("9.7.0")).is_ok());
    let more = Action::InjectEmpty(gtids(&format!("{UUID}:1-{}", INJECTED_MAX + 1)));
    assert!(said(&more, &replica("9.7.0")).unwrap_err().contains("10001"));
    assert!(said(&Action::InjectEmpty(set), &replica("10.11.14-MariaDB")).is_err());
}

#[test]
fn binary_logs_are_reset_flushed_and_purged() {
    let reset = |purged: &str| Action::ResetBinaryLogs { purged: gtids(purged) };
    let purged = format!("SET GLOBAL gtid_purged = '{UUID}:1-5'");
    assert_said(
        &reset(&format!("{UUID}:1-5")),
        &[
            (replica("5.7.44"), &["RESET MASTER", &purged]),
            (replica("8.0.36"), &["RESET MASTER", &purged]),
            (replica("8.4.3"), &["RESET BINARY LOGS AND GTIDS", &purged]),
        ],
    );
    assert_said(&reset(""), &[(replica("9.7.0"), &["RESET BINARY LOGS AND GTIDS"])]);
    assert!(said(&reset(""), &replica("10.11.14-MariaDB")).is_err());
    for version in VERSIONS {
        let nothing = "FLUSH TABLES baton.nothing";
        assert_said(&Action::WriteNothing, &[(replica(version), &[nothing])]);
        assert_said(&Action::FlushBinaryLogs, &[(replica(version), &["FLUSH BINARY LOGS"])]);
        assert_said(
            &Action::PurgeBinaryLogs { to: "bin.000007".into() },
            &[(replica(version), &["PURGE BINARY LOGS TO 'bin.000007'"])],
        );
        assert_said(&Action::KillQuery { id: 7 }, &[(replica(version), &["KILL QUERY 7"])]);
    }
}

#[test]
fn delays_are_set_and_events_skipped() {
    assert_said(
        &Action::SetDelay { seconds: 60 },
        &[
            (replica("5.7.44"), &["CHANGE MASTER TO MASTER_DELAY = 60 FOR CHANNEL ''"]),
            (replica("9.7.0"), &["CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 60 FOR CHANNEL ''"]),
            (replica("10.11.14-MariaDB"), &["CHANGE MASTER '' TO MASTER_DELAY = 60"]),
        ],
    );
    let mut named = by_file("10.11.14-MariaDB");
    named.channels[0].name = "east".into();
    assert_said(
        &Action::SkipEvent,
        &[
            (by_file("8.0.25"), &["SET GLOBAL sql_slave_skip_counter = 1"]),
            (by_file("9.7.0"), &["SET GLOBAL sql_replica_skip_counter = 1"]),
            (by_file("10.11.14-MariaDB"), &["SET GLOBAL sql_slave_skip_counter = 1"]),
            (
                named,
                &[
                    "SET SESSION default_master_connection = 'east'",
                    "SET GLOBAL sql_slave_skip_counter = 1",
                ],
            ),
        ],
    );
    assert!(said(&Action::SkipEvent, &replica("9.7.0")).is_err());
    assert!(said(&Action::SkipEvent, &replica("10.11.14-MariaDB")).is_err());
}

#[test]
fn no_mysql_is_asked_for_the_information_schema_processlist() {
    for version in VERSIONS {
        let facts = replica(version);
        let text = said(&Action::KillClients, &facts).unwrap().remove(0).to_lowercase();
        assert_eq!(text.contains("information_schema"), facts.version.is_mariadb(), "{version}");
    }
}

#[test]
fn a_router_of_binary_logs_and_a_stranger_are_told_nothing() {
    for version in ["2.5.1-maxscale", ""] {
        assert!(said(&Action::SetReadOnly, &replica(version)).is_err(), "{version:?}");
    }
}

/// What is left of a statement without its literals; `None` if one does not end. Read as a server
/// does that takes backslashes for escapes, or one that does not.
fn without_literals(text: &str, has_escapes: bool) -> Option<String> {
    let mut rest = String::new();
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        rest.push(next);
        if next != '\'' {
            continue;
        }
        loop {
            match chars.next()? {
                '\\' if has_escapes => drop(chars.next()?),
                '\'' if chars.next_if_eq(&'\'').is_none() => break,
                _ => {}
            }
        }
    }
    Some(rest)
}

proptest! {
    #[test]
    fn no_name_breaks_out_of_its_quotes(
        name in r#"[a-z'\\"`;# ]{0,12}|.*"#, version in prop::sample::select(&VERSIONS[..])
    ) {
        let hostile = |name: &str| {
            let mut facts = by_file(version);
            let channel = &mut facts.channels[0];
            channel.name = name.into();
            channel.source = SourceLink::Attached(key(name));
            channel.executed = BinlogCoordinates::new(format!("{name}."), 4);
            channel.tls = ChannelTls {
                enabled: true,
                ca_file: format!("{name}."),
                public_key_path: format!("{name}."),
                ..ChannelTls::default()
            };
            facts
        };
        let place = Place::File(BinlogCoordinates::new(format!("{name}."), 4));
        let until = Until::Source(BinlogCoordinates::new(name.clone(), 4));
        for action in [
            Action::Stop(Threads::Both),
            Action::ChangeSource { to: key(&name), place: Place::Same },
            Action::ChangeSource { to: key(&name), place },
            Action::Detach,
            Action::ForgetSource,
            Action::SetDelay { seconds: 1 },
            Action::PurgeBinaryLogs { to: name.clone() },
            Action::WaitExecuted { until, at_most: Duration::from_secs(1) },
        ] {
            let harmless = said(&action, &hostile("name")).unwrap();
            for (said, harmless) in said(&action, &hostile(&name)).unwrap().iter().zip(harmless) {
                for has_escapes in [true, false] {
                    let bare = without_literals(said, has_escapes);
                    let expected = without_literals(&harmless, has_escapes);
                    prop_assert_eq!(bare, expected, "{}", said);
                }
            }
        }
    }
}
