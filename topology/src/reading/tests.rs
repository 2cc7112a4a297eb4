use super::*;
use crate::instance::{GroupKind, Positioning, SemiSync, SourceLink, ThreadState};
use crate::membership::{REGISTERED_MAX, Registered};

fn table(columns: &[&str], rows: &[&[Option<&str>]]) -> RawTable {
    RawTable {
        columns: columns.iter().map(|&name| name.to_owned()).collect(),
        rows: rows
            .iter()
            .map(|row| row.iter().map(|value| value.map(|text| text.as_bytes().to_vec())).collect())
            .collect(),
    }
}

#[test]
fn without_the_essential_answers_there_are_no_facts() {
    let key = InstanceKey::new("db1", 3306);
    let nothing = read(&key, &Answers::new(), ReadingPolicy::default());
    assert_eq!(nothing.unwrap_err(), ReadingError::Unanswered(Question::Basics));
    let basics = table(&["version", "server_id"], &[&[Some("8.4.0"), Some("7")]]);
    let mut answers = Answers::from([(Question::Basics, basics)]);
    let half = read(&key, &answers, ReadingPolicy::default());
    assert_eq!(half.unwrap_err(), ReadingError::Unanswered(Question::ReplicaStatus));
    answers.insert(Question::ReplicaStatus, RawTable::default());
    let (canonical, facts) = read(&key, &answers, ReadingPolicy::default()).unwrap();
    assert_eq!((canonical, facts.server_id), (key, 7));
}

/// Reads what the servers' own client prints with `\G`.
fn printed(text: &str) -> RawTable {
    let mut table = RawTable::default();
    for line in text.lines() {
        if line.starts_with("****") {
            table.rows.push(Vec::new());
        } else if let Some((name, value)) = line.split_once(':') {
            if table.rows.len() == 1 {
                table.columns.push(name.trim().to_owned());
            }
            let value = Some(value.trim()).filter(|value| *value != "NULL");
            table.rows.last_mut().unwrap().push(value.map(|text| text.as_bytes().to_vec()));
        }
    }
    table
}

const MYSQL_9_7: &str = include_str!("tests/replica_status_mysql_9_7.txt");
const MARIADB_10_11: &str = include_str!("tests/replica_status_mariadb_10_11.txt");

fn facts_of(version: &str, answers: impl IntoIterator<Item = (Question, RawTable)>) -> Facts {
    let basics = table(&["version", "server_id"], &[&[Some(version), Some("7")]]);
    let mut all =
        Answers::from([(Question::Basics, basics), (Question::ReplicaStatus, RawTable::default())]);
    all.extend(answers);
    read(&InstanceKey::new("db1", 3306), &all, ReadingPolicy::default()).unwrap().1
}

#[test]
fn channels_of_mysql_are_told_apart() {
    let facts = facts_of("9.7.4", [(Question::ReplicaStatus, printed(MYSQL_9_7))]);
    let [main, second] = facts.channels.as_slice() else { panic!("two channels") };
    assert_eq!((main.name.as_str(), second.name.as_str()), ("", "second"));
    assert_eq!(main.source, SourceLink::Attached(InstanceKey::new("127.0.0.1", 27011)));
    assert_eq!(second.source, SourceLink::Attached(InstanceKey::new("127.0.0.1", 27012)));
    assert_eq!(
        main.source_uuid.unwrap().to_string(),
        "28485baf-e566-11f1-89b8-02fc00000001",
        "the UUID of the source"
    );
    assert!(main.is_running());
    assert_eq!(
        (second.receiver, second.applier),
        (ThreadState::Running, ThreadState::Stopped),
        "only the applier of the second is stopped"
    );
    assert_eq!(main.read, BinlogCoordinates::new("binlog.000001", 1959));
    assert_eq!(main.relay, BinlogCoordinates::new("vm-relay-bin.000002", 2170));
    assert_eq!((main.seconds_behind, second.seconds_behind), (Some(0), None));
    assert_eq!(main.positioning, Positioning::AutoPosition);
    assert_eq!((main.has_filters, second.has_filters), (false, true));
    assert_eq!(main.received.to_string(), "28485baf-e566-11f1-89b8-02fc00000001:1-8");
    assert_eq!(main.user, "repl");
    assert!(main.tls.enabled);
    assert_eq!((main.tls.get_public_key, second.tls.get_public_key), (Some(true), Some(false)));
}

#[test]
fn connections_of_mariadb_are_told_apart() {
    let facts = facts_of("10.11.14-MariaDB", [(Question::ReplicaStatus, printed(MARIADB_10_11))]);
    let [main, second] = facts.channels.as_slice() else { panic!("two connections") };
    assert_eq!((main.name.as_str(), second.name.as_str()), ("", "second"));
    assert_eq!(main.source, SourceLink::Attached(InstanceKey::new("127.0.0.1", 27001)));
    assert_eq!((main.receiver, main.applier), (ThreadState::Running, ThreadState::Stopped));
    assert_eq!(main.applier_error.number, 1396);
    assert!(main.applier_error.text.starts_with("Error 'Operation CREATE USER failed"));
    assert_eq!(main.executed, BinlogCoordinates::new("bin.000001", 628));
    assert_eq!(main.positioning, Positioning::MariaDbGtid);
    assert_eq!(second.positioning, Positioning::File);
    assert_eq!(main.received.to_string(), "0-27001-7");
    assert_eq!(second.received.to_string(), "");
    assert_eq!(main.seconds_behind, None);
    assert!(!main.tls.enabled && !main.has_filters);
}

#[test]
fn old_and_new_words_mean_the_same() {
    let old = MYSQL_9_7
        .replace("Source_", "Master_")
        .replace("Replica_", "Slave_")
        .replace("_Source", "_Master");
    let old = old.replace("Get_Master_public_key", "Get_master_public_key");
    let new = facts_of("8.0.36", [(Question::ReplicaStatus, printed(MYSQL_9_7))]);
    let old = facts_of("8.0.21", [(Question::ReplicaStatus, printed(&old))]);
    assert_eq!(old.channels, new.channels);
}

#[test]
fn channels_of_group_replication_are_no_channels() {
    let text = MYSQL_9_7.replace(": second", ": group_replication_applier");
    let facts = facts_of("8.4.0", [(Question::ReplicaStatus, printed(&text))]);
    let names: Vec<_> = facts.channels.iter().map(|channel| channel.name.as_str()).collect();
    assert_eq!(names, [""]);
}

#[test]
fn threads_are_running_stopped_or_something_else() {
    for (value, expected) in [
        ("Yes", ThreadState::Running),
        ("No", ThreadState::Stopped),
        ("Connecting", ThreadState::Other),
        ("Preparing", ThreadState::Other),
    ] {
        let text =
            MYSQL_9_7.replace("Replica_IO_Running: Yes", &format!("Replica_IO_Running: {value}"));
        let facts = facts_of("8.4.0", [(Question::ReplicaStatus, printed(&text))]);
        assert_eq!(facts.channels[0].receiver, expected, "{value}");
    }
}

#[test]
fn gtids_are_read_in_the_words_of_the_flavour() {
    let columns = ["version", "server_id", "gtid_mode", "gtid_executed", "gtid_purged"];
    let executed = "28485baf-e566-11f1-89b8-02fc00000001:1-8:tag:1-2,\n\
                    2849c3cf-e566-11f1-9aa6-02fc00000001:1-5";
    let row = [Some("9.7.4"), Some("7"), Some("on"), Some(executed), Some("")];
    let mysql = facts_of("", [(Question::Basics, table(&columns, &[&row]))]);
    assert_eq!((mysql.gtid.mode.as_str(), mysql.gtid.is_supported()), ("ON", true));
    assert_eq!(mysql.gtid.executed.to_string().replace('\n', ""), executed.replace('\n', ""));
    let row = [Some("10.11.14-MariaDB"), Some("7"), None, Some("0-27001-18,1-2-3"), None];
    let mariadb = facts_of("", [(Question::Basics, table(&columns, &[&row]))]);
    assert_eq!(mariadb.gtid.executed.to_string(), "0-27001-18,1-2-3");
    assert!(!mariadb.gtid.is_supported());

    let row = [Some("9.7.4"), Some("7"), Some("ON"), Some("garbage"), Some("")];
    let answers = Answers::from([
        (Question::Basics, table(&columns, &[&row])),
        (Question::ReplicaStatus, RawTable::default()),
    ]);
    let read = read(&InstanceKey::new("db1", 3306), &answers, ReadingPolicy::default());
    assert_eq!(read.unwrap_err(), ReadingError::BadGtids("executed GTID set"));
}

#[test]
fn semi_sync_is_read_by_old_and_new_names() {
    let two = |rows: &[(&str, &str)]| RawTable {
        columns: vec!["Variable_name".to_owned(), "Value".to_owned()],
        rows: rows
            .iter()
            .map(|(name, value)| {
                vec![Some(name.as_bytes().to_vec()), Some(value.as_bytes().to_vec())]
            })
            .collect(),
    };
    let mysql = facts_of(
        "9.7.4",
        [
            (
                Question::SemiSyncVariables,
                two(&[
                    ("rpl_semi_sync_replica_enabled", "OFF"),
                    ("rpl_semi_sync_source_enabled", "ON"),
                    ("rpl_semi_sync_source_timeout", "18446744073709551615"),
                    ("rpl_semi_sync_source_wait_for_replica_count", "2"),
                ]),
            ),
            (
                Question::Status,
                two(&[
                    ("Rpl_semi_sync_source_clients", "3"),
                    ("Rpl_semi_sync_source_status", "ON"),
                    ("Rpl_semi_sync_replica_status", "OFF"),
                    ("Uptime", "98"),
                ]),
            ),
        ],
    );
    assert_eq!(mysql.uptime_seconds, 98);
    assert_eq!(
        mysql.semi_sync,
        SemiSync {
            available: true,
            source_side_is_new: true,
            replica_side_is_new: true,
            source_enabled: true,
            source_timeout_ms: u64::MAX,
            wait_for_replicas: 2,
            source_active: true,
            source_clients: 3,
            ..SemiSync::default()
        }
    );
    let mariadb = facts_of(
        "10.11.14-MariaDB",
        [(
            Question::SemiSyncVariables,
            two(&[
                ("rpl_semi_sync_master_enabled", "OFF"),
                ("rpl_semi_sync_master_timeout", "10000"),
                ("rpl_semi_sync_slave_enabled", "ON"),
            ]),
        )],
    );
    assert_eq!(
        mariadb.semi_sync,
        SemiSync {
            available: true,
            replica_enabled: true,
            source_timeout_ms: 10000,
            wait_for_replicas: 1,
            ..SemiSync::default()
        }
    );
    let without_plugins = facts_of("8.4.0", [(Question::SemiSyncVariables, two(&[]))]);
    assert_eq!(without_plugins.semi_sync, SemiSync::default());
}

#[test]
fn a_member_of_a_group_knows_its_primary() {
    const ME: &str = "28485baf-e566-11f1-89b8-02fc00000001";
    const OTHER: &str = "2849c3cf-e566-11f1-9aa6-02fc00000001";
    let names = ["member_id", "member_host", "member_port", "member_state", "member_role"];
    let members = table(
        &names,
        &[
            &[Some(OTHER), Some("db2"), Some("3307"), Some("ONLINE"), Some("PRIMARY")],
            &[Some(ME), Some("db1"), Some("3306"), Some("RECOVERING"), Some("SECONDARY")],
        ],
    );
    let settings = table(&["group_name", "single_primary"], &[&[Some("g"), Some("1")]]);
    let basics =
        table(&["version", "server_id", "server_uuid"], &[&[Some("8.4.0"), Some("7"), Some(ME)]]);
    let answers = [
        (Question::Basics, basics),
        (Question::GroupMembers, members),
        (Question::GroupSettings, settings),
    ];
    let group = facts_of("8.4.0", answers).group.unwrap();
    assert_eq!((group.state.as_str(), group.role.as_str()), ("RECOVERING", "SECONDARY"));
    assert_eq!(group.primary, Some(InstanceKey::new("db2", 3307)));
    assert_eq!((group.name.as_str(), group.members.len()), ("g", 2));
    let outsider = facts_of("8.4.0", [(Question::GroupMembers, RawTable::default())]);
    assert_eq!(outsider.group, None);
}

#[test]
fn a_member_that_may_not_be_asked_is_known_by_its_status() {
    let told = |name: &str, value: &str| {
        let status = table(&["Variable_name", "Value"], &[&[Some(name), Some(value)]]);
        (Question::Status, status)
    };
    let took_part = told("Gr_last_consensus_end_timestamp", "2026-11-30 07:23:07.197287");
    for (case, answers, expected) in [
        ("it took part", vec![took_part.clone()], Some("PRIMARY")),
        (
            "it tells its primary",
            vec![told("group_replication_primary_member", "x")],
            Some("PRIMARY"),
        ),
        ("it never did", vec![told("Gr_last_consensus_end_timestamp", "")], None),
        ("it says who is", vec![took_part, (Question::GroupMembers, RawTable::default())], None),
    ] {
        let facts = facts_of("8.4.0", answers);
        assert_eq!(facts.membership().map(|group| group.role.as_str()), expected, "{case}");
    }
}

#[test]
fn half_a_group_has_no_majority() {
    const IDS: [&str; 3] = [
        "28485baf-e566-11f1-89b8-02fc00000001",
        "2849c3cf-e566-11f1-9aa6-02fc00000001",
        "2849c3cf-e566-11f1-9aa6-02fc00000002",
    ];
    let names = ["member_id", "member_host", "member_port", "member_state", "member_role"];
    for (states, expected) in [
        (&["ONLINE"][..], false),
        (&["ONLINE", "ONLINE"], false),
        (&["ONLINE", "UNREACHABLE"], true),
        (&["ONLINE", "UNREACHABLE", "ONLINE"], false),
        (&["ONLINE", "UNREACHABLE", "UNREACHABLE"], true),
    ] {
        let rows: Vec<_> = states
            .iter()
            .zip(IDS)
            .map(|(state, id)| [Some(id), Some("db"), Some("3306"), Some(*state), None])
            .enumerate()
            .map(|(n, row)| [row[0], Some(["a", "b", "c"][n]), row[2], row[3], row[4]])
            .collect();
        let rows: Vec<&[_]> = rows.iter().map(|row| &row[..]).collect();
        let basics = table(
            &["version", "server_id", "server_uuid"],
            &[&[Some("8.4.0"), Some("7"), Some(IDS[0])]],
        );
        let answers = [(Question::Basics, basics), (Question::GroupMembers, table(&names, &rows))];
        let group = facts_of("8.4.0", answers).group.unwrap();
        assert_eq!(group.has_lost_majority, expected, "{states:?}");
    }
}

#[test]
fn a_galera_node_knows_its_cluster() {
    let pairs = |pairs: &[[&str; 2]]| {
        let rows: Vec<_> = pairs.iter().map(|pair| pair.map(Some)).collect();
        let rows: Vec<&[_]> = rows.iter().map(|row| &row[..]).collect();
        table(&["Variable_name", "Value"], &rows)
    };
    let node = |component: &str, state: &str, mode: &str| {
        let status = pairs(&[
            ["wsrep_local_state_comment", state],
            ["wsrep_incoming_addresses", "127.0.0.1:24201,,db1:3306"],
            ["wsrep_cluster_state_uuid", "bbbbbbbb-bbbb-11ee-bbbb-bbbbbbbbbbbb"],
            ["wsrep_cluster_status", component],
            ["wsrep_provider_name", "Galera"],
        ]);
        let variables = pairs(&[["wsrep_gtid_mode", mode]]);
        let answers = [(Question::Status, status), (Question::SemiSyncVariables, variables)];
        facts_of("10.11.14-MariaDB", answers).group.unwrap()
    };
    let group = node("Primary", "Synced", "OFF");
    assert_eq!((group.kind, group.state.as_str()), (GroupKind::Galera, "ONLINE"));
    assert_eq!(group.members.len(), 2);
    assert!(group.is_primary() && group.has_own_gtids && !group.has_lost_majority);
    assert!(!node("Primary", "Synced", "ON").has_own_gtids);
    assert_eq!(node("Primary", "Joining: receiving State Transfer", "ON").state, "RECOVERING");
    let alone = node("non-Primary", "Initialized", "ON");
    assert!(alone.has_lost_majority && alone.is_member());
    let plain = pairs(&[["wsrep_cluster_status", "Disconnected"], ["wsrep_provider_name", ""]]);
    assert_eq!(facts_of("10.11.14-MariaDB", [(Question::Status, plain)]).group, None);
}

#[test]
fn a_server_goes_by_the_name_the_policy_says() {
    let key = InstanceKey::new("10.0.0.7", 13306);
    let basics = table(
        &["version", "server_id", "hostname", "report_host"],
        &[&[Some("8.4.0"), Some("7"), Some("db1.local"), None]],
    );
    let answers =
        Answers::from([(Question::Basics, basics), (Question::ReplicaStatus, RawTable::default())]);
    for (case, name_method, expected) in [
        ("as given", NameMethod::AsGiven, "10.0.0.7:13306"),
        ("by its own name, but at the given port", NameMethod::Hostname, "db1.local:13306"),
        ("report_host is not set", NameMethod::ReportHost, "10.0.0.7:13306"),
    ] {
        let policy = ReadingPolicy { name_method, ..ReadingPolicy::default() };
        assert_eq!(read(&key, &answers, policy).unwrap().0.to_string(), expected, "{case}");
    }
}

#[test]
fn answers_of_configured_queries_are_read_leniently() {
    for (answer, expected) in [
        (Some("3.7"), Some(3)),
        (Some("-2"), Some(0)),
        (Some(" 12 "), Some(12)),
        (Some("18446744073709551615"), Some(0)),
        (Some("18446744073709551600"), Some(0)),
        (Some("soon"), None),
        (Some("nan"), None),
        (None, None),
    ] {
        let facts = facts_of("8.4.0", [(Question::Lag, table(&["lag"], &[&[answer]]))]);
        assert_eq!(facts.measured_lag_seconds, expected, "{answer:?}");
    }
    let facts = facts_of(
        "8.4.0",
        [
            (Question::PromotionRule, table(&["rule"], &[&[Some("prefer_not")]])),
            (Question::DataCenter, table(&["dc"], &[&[Some("dc1")], &[Some("dc2")]])),
            (Question::Region, RawTable::default()),
        ],
    );
    assert_eq!(facts.promotion_rule, Some(PromotionRule::PreferNot));
    assert_eq!(
        (facts.placement.data_center.as_str(), facts.placement.region.as_str()),
        ("dc1", "")
    );
}

#[test]
fn read_only_has_more_words_than_on_and_off() {
    for (value, expected) in
        [("0", false), ("1", true), ("OFF", false), ("READ_ONLY_NO_LOCK", true), ("", false)]
    {
        let basics = table(
            &["version", "server_id", "read_only"],
            &[&[Some("12.1-MariaDB"), Some("7"), Some(value)]],
        );
        assert_eq!(facts_of("", [(Question::Basics, basics)]).read_only, expected, "{value}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table with a row for each case")]
fn replicas_are_found_by_connection_and_registration() {
    const A: &str = "28485baf-e566-11f1-89b8-02fc00000001";
    const B: &str = "2849c3cf-e566-11f1-9aa6-02fc00000001";
    let registered = |rows: &[[&str; 3]]| {
        let rows: Vec<_> = rows.iter().map(|row| row.map(Some)).collect();
        let rows: Vec<&[_]> = rows.iter().map(|row| &row[..]).collect();
        table(&["Host", "Port", "Replica_UUID"], &rows)
    };
    let threads = |rows: &[[&str; 2]]| {
        let rows: Vec<_> = rows.iter().map(|row| row.map(Some)).collect();
        let rows: Vec<&[_]> = rows.iter().map(|row| &row[..]).collect();
        (Question::DumpThreads, table(&["Address", "Replica_UUID"], &rows))
    };
    let list = |rows: &[&str]| {
        let rows: Vec<_> = rows.iter().map(|host| [Some(*host)]).collect();
        let rows: Vec<&[_]> = rows.iter().map(|row| &row[..]).collect();
        (Question::Processlist, table(&["Host"], &rows))
    };
    let by_connection = ReplicaListing::Connections;
    let by_registration = ReplicaListing::Registrations;
    for (case, listing, registered, connected, expected) in [
        ("nobody", by_connection, registered(&[]), list(&[]), vec![]),
        (
            "the UUID joins address and port",
            by_connection,
            registered(&[["", "3307", A], ["", "3308", B]]),
            threads(&[["10.0.0.1", A], ["10.0.0.2", B]]),
            vec!["10.0.0.1:3307", "10.0.0.2:3308"],
        ),
        (
            "a registration without a connection leads nowhere",
            by_registration,
            registered(&[["a.local", "3307", A], ["evil.local", "3308", B]]),
            threads(&[["10.0.0.1", A]]),
            vec!["a.local:3307"],
        ),
        (
            "nor does the only one",
            by_connection,
            registered(&[["evil.local", "3308", B]]),
            threads(&[]),
            vec![],
        ),
        (
            "unless connections are not told with UUIDs",
            by_registration,
            registered(&[["a.local", "3307", A], ["b.local", "3308", B]]),
            list(&["10.0.0.1:50111"]),
            vec!["a.local:3307", "b.local:3308"],
        ),
        (
            "without UUIDs, one host has all the ports",
            by_connection,
            registered(&[["", "3307", A], ["", "3308", B]]),
            list(&["10.0.0.1:50111", "10.0.0.1:50112"]),
            vec!["10.0.0.1:3307", "10.0.0.1:3308"],
        ),
        (
            "without UUIDs, one port is the port of all hosts",
            by_connection,
            registered(&[["", "3307", A], ["", "3307", B]]),
            list(&["10.0.0.1:50111", "10.0.0.2:50112"]),
            vec!["10.0.0.1:3307", "10.0.0.2:3307"],
        ),
        (
            "where it cannot be known, the port is the source's own",
            by_connection,
            registered(&[["", "3307", A], ["", "3308", B]]),
            list(&["10.0.0.1:50111", "10.0.0.2:50112"]),
            vec!["10.0.0.1:3306", "10.0.0.2:3306"],
        ),
        (
            "a host that registered under the name it connects from tells its port",
            by_connection,
            registered(&[["a.local", "3307", ""], ["b.local", "3308", ""]]),
            list(&["a.local:50111", "b.local:50112"]),
            vec!["a.local:3307", "b.local:3308"],
        ),
        (
            "several on a host that registered by name, and one elsewhere",
            by_connection,
            registered(&[
                ["a.local", "3307", ""],
                ["a.local", "3308", ""],
                ["b.local", "3309", ""],
            ]),
            list(&["a.local:50111", "a.local:50112", "b.local:50113"]),
            vec!["a.local:3307", "a.local:3308", "b.local:3309"],
        ),
        (
            "over loopback means beside the source",
            by_connection,
            registered(&[["", "3307", A]]),
            threads(&[["localhost", A]]),
            vec!["db1:3307"],
        ),
        (
            "addresses of version 6 come with a client's port, too",
            by_connection,
            registered(&[]),
            list(&["2001:db8::7:50111", "::1:50112"]),
            vec!["[2001:db8::7]:3306", "db1:3306"],
        ),
        (
            "registrations first, where asked for",
            by_registration,
            registered(&[["a.local", "3307", A]]),
            threads(&[["10.0.0.1", A]]),
            vec!["a.local:3307"],
        ),
        (
            "and whoever has no name, by its UUID",
            by_registration,
            registered(&[["a.local", "3307", A], ["", "3308", B]]),
            threads(&[["10.0.0.1", A], ["10.0.0.2", B]]),
            vec!["a.local:3307", "10.0.0.2:3308"],
        ),
        (
            "or as the only one that is left",
            by_registration,
            registered(&[["a.local", "3307", ""], ["", "3308", ""]]),
            list(&["a.local:50111", "10.0.0.2:50112"]),
            vec!["a.local:3307", "10.0.0.2:3308"],
        ),
        (
            "unless it is not certain who that is",
            by_registration,
            registered(&[["a.local", "3307", ""], ["", "3308", ""]]),
            list(&["10.0.0.1:50111", "10.0.0.2:50112"]),
            vec!["a.local:3307"],
        ),
        (
            "registrations without a host are none",
            by_registration,
            registered(&[["", "3307", A]]),
            threads(&[["10.0.0.1", A]]),
            vec!["10.0.0.1:3307"],
        ),
    ] {
        let source = InstanceKey::new("db1", 3306);
        let answers = Answers::from([(Question::ReplicaHosts, registered), connected]);
        let found = replicas::read(&source, &answers, listing);
        let found: std::collections::BTreeSet<_> = found.iter().map(ToString::to_string).collect();
        let expected = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn a_list_of_replicas_tells_who_they_are_unless_it_cannot_be_read_or_has_no_end() {
    const A: &str = "00000000-0000-0000-0000-00000000000a";
    const B: &str = "00000000-0000-0000-0000-00000000000b";
    let registered = |answers| facts_of("8.4.0", answers).registered;
    let entry = |uuid: Option<&str>, server_id| Registered {
        server_uuid: uuid.map(|it| it.parse().unwrap()),
        server_id,
    };
    let rows: [&[Option<&str>]; 2] = [&[Some("7"), Some(A)], &[Some("8"), Some("")]];
    let list = || table(&["Server_Id", "Replica_UUID"], &rows);
    let threads = || table(&["Address", "Replica_UUID"], &[&[Some("10.0.0.1"), Some(B)]]);
    let both = vec![(Question::ReplicaHosts, list()), (Question::DumpThreads, threads())];
    let expected = [entry(Some(A), 7), entry(None, 8), entry(Some(B), 0)];
    assert_eq!(registered(both), Some(expected.into()));
    assert_eq!(registered(vec![(Question::DumpThreads, threads())]), None, "not the list itself");
    let nameless = table(&["Host"], &[&[Some("a")]]);
    assert_eq!(registered(vec![(Question::ReplicaHosts, nameless)]), None, "it tells nobody");
    let ids: Vec<String> = (0..=REGISTERED_MAX).map(|it| it.to_string()).collect();
    let rows: Vec<[Option<&str>; 2]> =
        ids.iter().map(|id| [Some(id.as_str()), Some("h")]).collect();
    let rows: Vec<&[Option<&str>]> = rows.iter().map(|row| &row[..]).collect();
    let endless = table(&["Server_Id", "Host"], &rows);
    assert_eq!(registered(vec![(Question::ReplicaHosts, endless)]), None);
    let ports: Vec<[Option<&str>; 3]> =
        ids.iter().map(|id| [Some("1"), Some("h"), Some(id.as_str())]).collect();
    let ports: Vec<&[Option<&str>]> = ports.iter().map(|row| &row[..]).collect();
    let endless = table(&["Server_Id", "Host", "Port"], &ports);
    let replicas = facts_of("8.4.0", [(Question::ReplicaHosts, endless)]).replicas;
    assert_eq!(replicas.len(), REGISTERED_MAX);
}

proptest::proptest! {
    #[test]
    fn nothing_a_server_says_makes_reading_panic(
        columns in proptest::collection::vec(
            proptest::sample::select(vec![
                "version", "server_id", "Source_Host", "Source_Port", "Host", "Port", "member_id",
                "Variable_name", "Value", "Seconds_Behind_Source", "gtid_executed", "Channel_Name",
            ]),
            0..12,
        ),
        rows in proptest::collection::vec(
            proptest::collection::vec(
                proptest::option::of(proptest::collection::vec(proptest::num::u8::ANY, 0..12)),
                0..14,
            ),
            0..4,
        ),
    ) {
        let raw = RawTable { columns: columns.iter().map(|&c| c.to_owned()).collect(), rows };
        let questions = [
            Question::Basics, Question::ReplicaStatus, Question::Status, Question::BinlogStatus,
            Question::SemiSyncVariables, Question::GroupMembers, Question::ReplicaHosts,
            Question::Processlist, Question::Lag,
        ];
        let answers: Answers = questions.iter().map(|q| (*q, raw.clone())).collect();
        let _ = read(&InstanceKey::new("db1", 3306), &answers, ReadingPolicy::default());
    }
}
