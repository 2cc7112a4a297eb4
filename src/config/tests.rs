use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use baton_topology::hooks::{HookCommands, HookList, PlaceholderStyle};
use proptest::prelude::*;

use super::*;

mod raft;

const ORCHESTRATOR: &str = include_str!("tests/orchestrator.conf.json");

/// Loads with these files and variables and nothing else.
fn load_from(files: &[(&str, &str)], env: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    load_sources(&Sources::default(), files, env)
}

fn load_sources(
    sources: &Sources,
    files: &[(&str, &str)],
    env: &[(&str, &str)],
) -> Result<Loaded, ConfigErrors> {
    let env: BTreeMap<_, _> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let read = |path: &Path| {
        files
            .iter()
            .find(|(name, _)| Path::new(name) == path)
            .map(|(_, text)| (*text).to_owned())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    load_with(&Sources { env, ..sources.clone() }, &read)
}

fn one(text: &str) -> Result<Loaded, ConfigErrors> {
    load_from(&[("orchestrator.conf.json", text)], &[("DB_PASSWORD", "hunter2")])
}

fn tcp(host: Option<&str>, port: u16) -> Listen {
    Listen::Tcp { host: host.map(str::to_owned), port }
}

#[test]
fn every_default_is_of_its_kind_and_every_name_is_there_once() {
    let mut seen = BTreeMap::new();
    for key in keys::all() {
        let default = Setting::from_text(key.kind, key.default);
        let used = matches!(key.status, Status::Used(_));
        assert!(!used || default.is_some(), "default of {}", key.name);
        assert!(seen.insert(key.name.to_lowercase(), ()).is_none(), "{} stands twice", key.name);
        if let Status::SynonymOf(of) = key.status {
            assert!(keys::find(of).is_some_and(|k| k.kind == key.kind), "{}", key.name);
        }
    }
}

#[test]
fn without_configuration_it_is_sqlite_in_the_state_folder_on_loopback() {
    let loaded = load_from(&[], &[("HOME", "/home/me")]).unwrap();
    let file = SqliteFile::Path("/home/me/.local/state/baton/baton.sqlite3".into());
    assert_eq!(loaded.config.store.backend, Backend::Sqlite(file));
    assert_eq!(loaded.config.http.listen, tcp(Some("127.0.0.1"), 3000));
    assert_eq!(loaded.config.connections.connect_timeout, Duration::from_secs(1));
    assert_eq!(loaded.config.connections.tls_mode, TlsMode::Preferred);
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.files, Vec::<PathBuf>::new());
}

#[test]
fn an_orchestrator_file_loads_as_it_is() {
    let loaded = one(ORCHESTRATOR).unwrap();
    let config = &loaded.config;
    assert_eq!(config.http.listen, tcp(None, 3000));
    assert_eq!(config.connections.credentials.user, "ci");
    assert_eq!(config.connections.credentials.password.reveal(), "hunter2");
    assert_eq!(config.discovery.poll_interval, Duration::from_secs(1));
    assert_eq!(config.discovery.seeds, ["127.0.0.1:10111"]);
    assert_eq!(config.names.instance, InstanceResolve::ReportHost);
    assert_eq!(config.recovery.recovery_block, Duration::from_secs(5));
    assert_eq!(config.recovery.primary_filters, ["*"]);
    assert_eq!(config.kv.cluster_primary_prefix, "mysql/master/");
    assert!(config.recovery.detach_lost_replicas);
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|w| w.contains("agents and seeds are not carried over")));
    assert!(warnings.iter().any(|w| w.contains("ListenAddress :3000 lets other machines in")));
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table with a row for each case")]
fn what_is_wrong_is_named_with_file_key_and_value() {
    for (case, text, expected) in [
        (
            "a text for a number",
            r#"{"InstancePollSeconds": "5"}"#,
            r#"orchestrator.conf.json: InstancePollSeconds must be a whole number, not "5""#,
        ),
        (
            "a number for a text",
            r#"{"MySQLTopologyUser": 5}"#,
            "MySQLTopologyUser must be a text, not 5",
        ),
        (
            "a secret is not shown",
            r#"{"MySQLTopologyPassword": 4711}"#,
            "MySQLTopologyPassword must be a text, not ****",
        ),
        (
            "a negative number",
            r#"{"AuditPurgeDays": -1}"#,
            "AuditPurgeDays must be a whole number, not -1",
        ),
        (
            "a text for a list",
            r#"{"DiscoverySeeds": "a:1"}"#,
            r#"must be a list of texts, not "a:1""#,
        ),
        ("broken JSON", r#"{"Debug": tru"#, "orchestrator.conf.json: "),
        (
            "both answers to unapplied relay logs",
            r#"{"FailMasterPromotionIfSQLThreadNotUpToDate": true, "DelayMasterPromotionIfSQLThreadNotUpToDate": true}"#,
            "cannot be true together",
        ),
        (
            "a lag limit without a lag query",
            r#"{"FailMasterPromotionOnLagMinutes": 1}"#,
            "needs ReplicationLagQuery",
        ),
        (
            "two lag queries",
            r#"{"SlaveLagQuery": "select 1", "ReplicationLagQuery": "select 2"}"#,
            "SlaveLagQuery: contradicts ReplicationLagQuery",
        ),
        (
            "two limits to postpone",
            r#"{"PostponeSlaveRecoveryOnLagMinutes": 1, "PostponeReplicaRecoveryOnLagMinutes": 2}"#,
            "contradicts PostponeReplicaRecoveryOnLagMinutes",
        ),
        (
            "the shared backend",
            r#"{"BackendDB": "mysql"}"#,
            "the shared MySQL backend is not available in this version",
        ),
        ("its host alone", r#"{"MySQLOrchestratorHost": "db"}"#, "not available in this version"),
        (
            "a raft of others",
            r#"{"RaftEnabled": true, "RaftDataDir": "/d", "RaftNodes": ["a", "b"]}"#,
            "RaftNodes: does not name this node, 127.0.0.1:10008",
        ),
        (
            "a raft with half of TLS",
            r#"{"RaftEnabled": true, "RaftDataDir": "/d", "RaftTLSCertFile": "/c"}"#,
            "RaftTLSCAFile: is needed",
        ),
        (
            "two secrets",
            r#"{"RaftEnabled": true, "RaftDataDir": "/d", "RaftSecret": "s",
                "RaftSecretFile": "/s"}"#,
            "RaftSecretFile: contradicts RaftSecret",
        ),
        (
            "a node that nobody reaches",
            r#"{"RaftEnabled": true, "RaftDataDir": "/d", "RaftBind": "0.0.0.0"}"#,
            "RaftAdvertise: \"0.0.0.0:10008\" is no address",
        ),
        (
            "a node named twice",
            r#"{"RaftEnabled": true, "RaftDataDir": "/d", "RaftAdvertise": "a",
                "RaftNodes": ["a", "a:10008"]}"#,
            "RaftNodes: names a node twice",
        ),
        (
            "an unknown confirmation",
            r#"{"RaftFailureConfirmation": "me"}"#,
            r#""me" is none of "majority", "all", "leader""#,
        ),
        ("an unknown distance", r#"{"RaftTiming": "here"}"#, r#""here" is none of"#),
        ("raft without a folder", r#"{"RaftEnabled": true}"#, "RaftDataDir: is needed"),
        ("an advertised path", r#"{"HTTPAdvertise": "http://h:1/x"}"#, "scheme://host:port"),
        ("nobody to log in", r#"{"AuthenticationMethod": "basic"}"#, "nobody could log in"),
        (
            "a password that is misspelt",
            r#"{"AuthenticationMethod": "multi", "HTTPAuthUser": "a", "HTTPAuthPasword": "p"}"#,
            "HTTPAuthPassword: is empty",
        ),
        (
            "a proxy that lets everybody do everything",
            r#"{"AuthenticationMethod": "proxy"}"#,
            "PowerAuthUsers: is not given",
        ),
        (
            "a URL as a name",
            r#"{"HTTPHostNames": ["https://a"]}"#,
            r#""https://a" is no host name"#,
        ),
        ("every name", r#"{"HTTPHostNames": ["*"]}"#, r#""*" is no host name"#),
        ("certificates without TLS", r#"{"UseMutualTLS": true}"#, "UseMutualTLS: needs UseSSL"),
        (
            "certificates of nobody",
            r#"{"UseSSL": true, "SSLPrivateKeyFile": "k", "SSLCertFile": "c",
            "UseMutualTLS": true}"#,
            "SSLCAFile: is needed",
        ),
        (
            "units of certificates that nobody shows",
            r#"{"SSLValidOUs": ["ops"]}"#,
            "SSLValidOUs: needs UseMutualTLS",
        ),
        ("an unknown method", r#"{"AuthenticationMethod": "oauth"}"#, r#""oauth" is none of"#),
        ("a shrinking interval", r#"{"DeadInstancePollSecondsMultiplyFactor": 0.5}"#, "at least 1"),
        (
            "too short a longest interval",
            r#"{"DeadInstancePollSecondsMax": 1}"#,
            "InstancePollSeconds",
        ),
        (
            "a place with bits too many",
            r#"{"DiscoveryAllow": ["10.0.0.0/8", "10.0.0.1/8"]}"#,
            r#"DiscoveryAllow: "10.0.0.1/8" is no host"#,
        ),
        (
            "a seed elsewhere",
            r#"{"DiscoveryAllow": [".example.com"], "DiscoverySeeds": ["a.example.com", "b"]}"#,
            r#"DiscoverySeeds: "b" is outside DiscoveryAllow"#,
        ),
        ("mutual TLS without a certificate", r#"{"MySQLTopologyTLS": "mutual"}"#, "needs both"),
        (
            "two answers to TLS",
            r#"{"MySQLTopologyTLS": "off", "MySQLTopologyUseMutualTLS": true}"#,
            "contradicts MySQLTopologyUseMutualTLS",
        ),
        ("an unset variable", r#"{"HTTPAuthPassword": "${NOPE}"}"#, "NOPE is not set"),
        (
            "a missing credentials file",
            r#"{"MySQLTopologyCredentialsConfigFile": "/nope"}"#,
            "cannot read /nope",
        ),
    ] {
        let errors = one(text).err().unwrap_or_else(|| panic!("case: {case}: loaded"));
        assert!(errors.to_string().contains(expected), "case: {case}: {errors}");
    }
}

#[test]
fn seats_of_a_raft_have_ports_and_a_raft_of_one_needs_no_secret() {
    let of = |text: &str| one(text).expect("it is good").config.raft;
    let three = of(r#"{"RaftEnabled": true, "RaftDataDir": "/d", "DefaultRaftPort": 7,
        "RaftBind": "0.0.0.0", "RaftAdvertise": "a", "RaftNodes": ["a:7", "b", "::1", "[::2]:8"],
        "RaftSecret": "s", "RaftAllowPlainText": true, "RaftTiming": "far",
        "RaftBailOutSeconds": 0}"#);
    assert_eq!(three.bind, "0.0.0.0:7");
    assert_eq!(three.advertise, "a:7");
    assert_eq!(three.nodes, ["a:7", "b:7", "[::1]:7", "[::2]:8"]);
    assert_eq!((three.timing, three.bail_out), (RaftTiming::Far, None));
    let alone = of(r#"{"RaftEnabled": true, "RaftDataDir": "/d"}"#);
    assert_eq!(alone.nodes, ["127.0.0.1:10008"]);
    assert_eq!(alone.secret, RaftSecret::None);
}

#[test]
fn what_an_operator_of_kubernetes_generates_starts() {
    let generated = r#"{
        "BackendDB": "sqlite", "SQLite3DataFile": "/d/orc.db", "ListenAddress": ":3000",
        "HostnameResolveMethod": "none", "MySQLHostnameResolveMethod": "@@report_host",
        "HTTPAdvertise": "http://cluster1-orc-0.ns:3000", "RaftAdvertise": "cluster1-orc-0.ns",
        "RaftBind": "cluster1-orc-0.cluster1-orc.ns", "RaftEnabled": true, "RaftDataDir": "/d",
        "RaftEnabledSingleNode": false, "RaftNodes": ["cluster1-orc-0.ns.svc:10008",
        "cluster1-orc-1.ns.svc:10008", "cluster1-orc-2.ns.svc:10008"],
        "AuthenticationMethod": "multi", "HTTPAuthUser": "orchestrator", "HTTPAuthPassword": "p",
        "MySQLTopologyCredentialsConfigFile": "/etc/orc-topology.cnf",
        "MySQLTopologyUseMutualTLS": true, "MySQLTopologySSLSkipVerify": true,
        "MySQLTopologySSLCertFile": "/tls.crt", "MySQLTopologySSLPrivateKeyFile": "/tls.key",
        "ReplicationLagQuery": "SELECT CAST(n AS UNSIGNED INTEGER) FROM heartbeat",
        "FailMasterPromotionOnLagMinutes": 10, "RecoverMasterClusterFilters": [".*"],
        "PreFailoverProcesses": ["handler failover -command '{command}' -uid {recoveryUID}"],
        "ProcessesShellCommand": "sh"}"#;
    let files = [
        ("orchestrator.conf.json", generated),
        ("/etc/orc-topology.cnf", "[client]\nuser=orchestrator\npassword=\"a\\\"b\\\\c#d\"\n"),
    ];
    let config = load_from(&files, &[]).unwrap().config;
    assert_eq!(config.raft.advertise, "cluster1-orc-0.ns.svc:10008");
    assert_eq!(config.raft.secret, RaftSecret::Credentials);
    assert_eq!(config.connections.credentials.password.reveal(), "a\"b\\c#d");
    assert_eq!(config.connections.tls_mode, TlsMode::Mutual);
    let patience = config.hooks.timeout_of(HookList::PreFailover);
    assert!(patience > Duration::from_secs(6 * 60 * 60 + 4 * 60), "{patience:?}");
}

#[test]
fn a_seat_may_be_written_with_fewer_labels_than_in_the_list() {
    let of = |advertise: &str| {
        one(&format!(
            r#"{{"RaftEnabled": true, "RaftDataDir": "/d", "RaftBind": "0.0.0.0",
            "RaftAdvertise": "{advertise}", "RaftSecret": "s", "RaftAllowPlainText": true,
            "HTTPAdvertise": "http://a:3000", "RaftNodes": ["cluster1-orc-0.ns.svc:10008",
            "cluster1-orc-1.ns.svc:10008", "cluster1-orc-2.ns.svc:10008"]}}"#
        ))
    };
    let loaded = of("cluster1-orc-0.ns").unwrap();
    assert_eq!(loaded.config.raft.advertise, "cluster1-orc-0.ns.svc:10008");
    let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|it| it.contains("is taken for cluster1-orc-0.ns.svc")), "{told:?}");
    for stranger in ["cluster1-orc.ns", "cluster1-orc-3.ns", "cluster1-orc-0.ns:1", "cluster1"] {
        let refused = of(stranger).unwrap_err().to_string();
        assert!(refused.contains("does not name this node"), "{stranger}: {refused}");
    }
}

#[test]
fn an_api_that_the_other_nodes_do_not_reach_is_told() {
    let raft = r#""RaftEnabled": true, "RaftDataDir": "/d", "RaftBind": "0.0.0.0",
        "RaftAdvertise": "a", "RaftNodes": ["a", "b"], "RaftSecret": "s", "RaftAllowPlainText": true"#;
    for (case, more, is_told) in [
        ("by default", "", true),
        ("on purpose", r#", "ListenAddress": "127.0.0.1:80""#, true),
        ("listening to others", r#", "ListenAddress": ":80""#, false),
        ("authenticated", r#", "AuthenticationMethod": "proxy", "PowerAuthUsers": ["ann"]"#, false),
        ("advertised", r#", "HTTPAdvertise": "https://a:443""#, false),
        (
            "all on one machine",
            r#", "RaftNodes": ["127.0.0.1:1", "127.0.0.1:2"],
            "RaftAdvertise": "127.0.0.1:1""#,
            false,
        ),
        ("no raft", r#", "RaftEnabled": false"#, false),
    ] {
        let mut all: serde_json::Value = serde_json::from_str(&format!("{{{raft}}}")).unwrap();
        let more: serde_json::Value =
            serde_json::from_str(&format!("{{{}}}", more.trim_start_matches(','))).unwrap();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let loaded = one(&all.to_string()).unwrap();
        let told = loaded.warnings.iter().any(|it| it.to_string().contains("cannot pass requests"));
        assert_eq!(told, is_told, "case: {case}");
    }
}

#[test]
fn all_errors_are_reported_together() {
    let errors = one(r#"{"Debug": 1, "UseSSL": "yes", "BackendDB": "paper"}"#).unwrap_err();
    assert_eq!(errors.0.len(), 3, "{errors}");
}

#[test]
fn a_line_of_a_broken_toml_file_is_not_quoted() {
    let text = "MySQLTopologyPassword = \"hunter2";
    let errors = load_from(&[("baton.toml", text)], &[]).unwrap_err().to_string();
    assert!(errors.contains("baton.toml") && errors.contains("line 1"), "{errors}");
    assert!(!errors.contains("hunter2"), "{errors}");
}

#[test]
fn unknown_and_ignored_keys_are_warnings() {
    for (case, text, expected) in [
        ("a slip", r#"{"InstancePolSeconds": 5}"#, "did you mean InstancePollSeconds?"),
        ("nothing like it", r#"{"Zzz": 5}"#, "unknown key Zzz"),
        ("ignored", r#"{"GraphiteAddr": "x"}"#, "GraphiteAddr is ignored: metrics are served"),
        ("a deadline of zero", r#"{"MySQLConnectTimeoutSeconds": 0}"#, "would wait forever"),
        ("too large a transaction", r#"{"ConsulMaxKVsPerTransaction": 99}"#, "64 is used"),
    ] {
        let loaded = one(text).unwrap();
        let all: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(all.iter().any(|w| w.contains(expected)), "case: {case}: {all:?}");
    }
}

#[test]
fn what_orchestrator_took_starts_with_a_warning_that_says_what_became_of_it() {
    for (case, text, expected) in [
        ("a word of its own", r#"{"HostnameResolveMethod": "fqdn"}"#, "none is used"),
        ("another", r#"{"MySQLHostnameResolveMethod": "evil"}"#, "none is used"),
        ("a class of Go", r#"{"DataCenterPattern": "db[\\w-.]"}"#, r#"is read as "db[\\w\\-.]""#),
        ("a brace", r#"{"PromotionIgnoreHostnameFilters": ["a{"]}"#, r#"is read as "a\\{""#),
        ("quoted", r#"{"RegionPattern": "\\Qa.b\\E"}"#, r#"is read as "a\\.b""#),
        ("no pattern", r#"{"DataCenterPattern": "("}"#, "is ignored, as orchestrator did"),
        (
            "a look-around",
            r#"{"RecoverMasterClusterFilters": ["(?!test).*"]}"#,
            "is not a regular expression (there are no look-arounds",
        ),
        ("an alias", r#"{"RecoverMasterClusterFilters": ["alias~=("]}"#, "is ignored"),
        ("an alias by pattern", r#"{"ClusterNameToAlias": {"(": "x"}}"#, "is ignored"),
        ("an unset variable", r#"{"MySQLTopologyPassword": "${NOPE}"}"#, "it is empty"),
        ("text after the last brace", r#"{"Debug": false} trailing {"#, "is left out"),
        ("twice", r#"{"Debug": true, "Debug": false}"#, "Debug is given more than once (Debug)"),
        ("two spellings", r#"{"DEBUG": true, "debug": false}"#, "(DEBUG and debug); the later"),
        ("unsigned", r#"{"ReplicationLagQuery": "select cast(1 as UNSIGNED)"}"#, "is read as 0"),
        ("a raft of one", r#"{"RaftEnabledSingleNode": true}"#, "RaftEnabledSingleNode is ignored"),
    ] {
        let loaded = one(text).unwrap_or_else(|errors| panic!("case: {case}: {errors}"));
        let all: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(matches!(&all[..], [it] if it.contains(expected)), "case: {case}: {all:#?}");
    }
}

#[test]
fn words_for_names_mean_what_they_meant() {
    let names = |text: &str| one(text).unwrap().config.names;
    for (word, expected) in [
        ("default", InstanceResolve::Hostname),
        ("hostname", InstanceResolve::Hostname),
        ("@@HOSTNAME", InstanceResolve::Hostname),
        ("report_host", InstanceResolve::ReportHost),
        ("none", InstanceResolve::AsGiven),
        ("evil", InstanceResolve::AsGiven),
    ] {
        let found = names(&format!(r#"{{"MySQLHostnameResolveMethod": "{word}"}}"#)).instance;
        assert_eq!(found, expected, "{word}");
    }
    assert_eq!(names(r#"{"HostnameResolveMethod": "CNAME"}"#).host, HostResolve::Cname);
    assert_eq!(names(r#"{"HostnameResolveMethod": "fqdn"}"#).host, HostResolve::AsGiven);
}

#[test]
fn the_later_of_two_spellings_counts_and_null_never_does() {
    let message = |text: &str| one(text).unwrap().config.http.web_message;
    assert_eq!(message(r#"{"WebMessage": "a", "webmessage": "b"}"#), "b");
    assert_eq!(message(r#"{"webmessage": "b", "WebMessage": "a"}"#), "a");
    assert_eq!(message(r#"{"WebMessage": "a", "webmessage": null}"#), "a");
    for (text, expected) in [
        ("WebMessage = 'a'\nweb_message = 'b'", "b"),
        ("web_message = 'b'\nWebMessage = 'a'", "a"),
        ("WebMessage_x = 1\nweb_message = 'b'\nDebug = true\nWebMessage = 'a'", "a"),
    ] {
        let loaded = load_from(&[("baton.toml", text)], &[]).unwrap();
        assert_eq!(loaded.config.http.web_message, expected, "{text}");
        let told = loaded.warnings.iter().filter(|it| it.to_string().contains("more than once"));
        assert_eq!(told.count(), 1, "{text}");
    }
    let trailing = one("\u{feff}{\"WebMessage\": \"a\"}\n\n").unwrap();
    assert_eq!(trailing.warnings, []);
}

#[test]
fn a_filter_that_is_no_pattern_matches_nothing_more_than_its_name() {
    let text =
        r#"{"RecoverMasterClusterFilters": ["(?!x).*", "alias~=(", "alias~=[\\w-.]+", "*"]}"#;
    let recovery = one(text).unwrap().config.recovery;
    assert_eq!(recovery.primary_filters, ["(?!x).*", r"alias~=[\w-.]+", "*"]);
    assert_eq!(recovery.nothing_is_recovered(), None);
    assert!(one("{}").unwrap().config.recovery.nothing_is_recovered().is_some());
}

#[test]
fn a_credentials_file_may_name_variables() {
    let files = [
        ("orchestrator.conf.json", r#"{"MySQLTopologyCredentialsConfigFile": "/my.cnf"}"#),
        ("/my.cnf", "[Client]\nUser=orc # who\nPassword=${ORC_TOPOLOGY_PASSWORD}\n"),
    ];
    let loaded = load_from(&files, &[("ORC_TOPOLOGY_PASSWORD", "s#cret")]).unwrap();
    let credentials = &loaded.config.connections.credentials;
    assert_eq!((credentials.user.as_str(), credentials.password.reveal()), ("orc", "s#cret"));
    let unset = load_from(&files, &[]).unwrap();
    let told: Vec<_> = unset.warnings.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|it| it.contains("/my.cnf: password: the environment")), "{told:?}");
    assert!(unset.config.connections.credentials.password.is_empty());
}

#[test]
fn a_long_poll_interval_is_no_contradiction_to_a_default() {
    let loaded = load_from(&[], &[("BATON_INSTANCEPOLLSECONDS", "900")]).unwrap();
    assert_eq!(loaded.config.discovery.dead_poll_max, Duration::from_secs(900));
}

#[test]
fn what_nothing_acts_on_yet_is_told() {
    let files = [("orchestrator.conf.json", r#"{"AuditLogFile": "/x"}"#)];
    let loaded = load_from(&files, &[]).unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings[0].contains("AuditLogFile is checked, but nothing"), "{warnings:?}");
}

#[test]
fn later_sources_come_over_earlier_ones() {
    let files = [
        (
            "/etc/orchestrator.conf.json",
            r#"{"instancepollseconds": 2, "AuthUserHeader": "etc", "ClusterNameToAlias": {"a.b": "x"}}"#,
        ),
        (
            "orchestrator.conf.json",
            r#"{"AuthUserHeader": "here", "Debug": null, "ClusterNameToAlias": {"c": "y"}}"#,
        ),
        ("baton.toml", "instance_poll_seconds = 3\n[ClusterNameToAlias]\nc = 'z'\n"),
    ];
    let env = [("BATON_DISCOVERY_SEEDS", "a:1, b:2"), ("BATON_DEBUG", "1"), ("BATON_LOG", "x")];
    let loaded = load_from(&files, &env).unwrap();
    assert_eq!(loaded.config.discovery.poll_interval, Duration::from_secs(3));
    assert_eq!(loaded.config.discovery.seeds, ["a:1", "b:2"]);
    assert_eq!(loaded.config.http.user_header, "here");
    assert!(loaded.config.process.debug);
    let aliases = &loaded.config.classification.cluster_aliases;
    let aliases: Vec<_> =
        aliases.iter().map(|(name, alias)| (name.as_str(), alias.as_str())).collect();
    assert_eq!(aliases, [("a.b", "x"), ("c", "z")]);
    assert_eq!(loaded.files.len(), 3);
    assert_eq!(loaded.warnings, []);
    let of = |name| loaded.effective_config().into_iter().find(|k| k.key == name).unwrap();
    assert_eq!(of("InstancePollSeconds").origin, Origin::File("baton.toml".into()));
    assert_eq!(of("Debug").origin, Origin::Environment("BATON_DEBUG".into()));
    assert_eq!(of("UseSSL").origin, Origin::Default);
}

#[test]
fn an_explicit_file_stands_alone_and_must_exist() {
    let files = [("baton.toml", "Debug = true"), ("/x.json", r#"{"WebMessage": "x"}"#)];
    let mut sources = Sources { explicit_file: Some("/x.json".into()), ..Sources::default() };
    let loaded = load_sources(&sources, &files, &[]).unwrap();
    assert!(!loaded.config.process.debug && loaded.config.http.web_message == "x");
    sources.explicit_file = Some("/nope.json".into());
    assert!(load_sources(&sources, &files, &[]).is_err());
}

#[test]
fn an_extra_file_is_gone_after_the_next_load() {
    let files =
        [("baton.toml", "WebMessage = 'base'"), ("/step.json", r#"{"WebMessage": "step"}"#)];
    let step = Sources { extra_file: Some("/step.json".into()), ..Sources::default() };
    assert_eq!(load_sources(&step, &files, &[]).unwrap().config.http.web_message, "step");
    assert_eq!(load_from(&files, &[]).unwrap().config.http.web_message, "base");
}

#[test]
fn values_are_adjusted_as_operators_of_orchestrator_expect() {
    let block = |text: &str| one(text).unwrap().config.recovery.recovery_block.as_secs();
    assert_eq!(block("{}"), 3600);
    assert_eq!(block(r#"{"RecoveryPeriodBlockMinutes": 2}"#), 3600);
    assert_eq!(block(r#"{"RecoveryPeriodBlockMinutes": 2, "RecoveryPeriodBlockSeconds": 0}"#), 120);
    let detach = |text: &str| one(text).unwrap().config.recovery.detach_lost_replicas;
    assert!(!detach(r#"{"DetachLostSlavesAfterMasterFailover": false}"#));
    assert!(!detach(r#"{"DetachLostReplicasAfterMasterFailover": false}"#));
    let lag = one(r#"{"SlaveLagQuery": "select 1"}"#).unwrap().config.classification.lag_query;
    assert_eq!(lag.as_deref(), Some("select 1"));
    let prefix = one(r#"{"URLPrefix": "db/"}"#).unwrap().config.http.url_prefix;
    assert_eq!(prefix, "/db");
    let locked = one(r#"{"ReasonableReplicationLagSeconds": 7}"#).unwrap().config.recovery;
    assert_eq!(locked.reasonable_locked_semi_sync, Duration::from_secs(7));
}

#[test]
fn it_listens_to_others_only_with_authentication_or_when_told() {
    for (case, text, expected) in [
        (
            "authenticated",
            r#"{"AuthenticationMethod": "proxy", "PowerAuthUsers": ["ann"]}"#,
            tcp(None, 3000),
        ),
        ("told", r#"{"ListenAddress": "0.0.0.0:80"}"#, tcp(Some("0.0.0.0"), 80)),
        ("IPv6", r#"{"ListenAddress": "[::1]:80"}"#, tcp(Some("::1"), 80)),
        ("socket", r#"{"ListenSocket": "/s"}"#, Listen::Unix("/s".into())),
    ] {
        assert_eq!(one(text).unwrap().config.http.listen, expected, "case: {case}");
    }
}

#[test]
fn what_a_hostile_server_could_read_is_told_until_it_is_bounded() {
    for (text, told) in [
        ("{}", Some("can read the password of MySQLTopologyUser: no authority")),
        (r#"{"MySQLTopologyTLS": "required"}"#, None),
        (r#"{"MySQLTopologySSLCAFile": "/ca"}"#, None),
        (
            r#"{"MySQLTopologySSLCAFile": "/ca", "MySQLTopologySSLSkipVerify": true}"#,
            Some("no authority verifies"),
        ),
        (r#"{"DiscoveryAllow": ["10.0.0.0/8"]}"#, None),
        (r#"{"MySQLTopologyTLS": "off"}"#, Some("are not encrypted")),
        (
            r#"{"MySQLTopologyTLS": "off", "MySQLTopologyAllowServerPublicKey": true}"#,
            Some("MySQLTopologyAllowServerPublicKey is true"),
        ),
    ] {
        let found = one(text).unwrap().config.account_at_risk();
        match told {
            None => assert_eq!(found, None, "{text}"),
            Some(told) => assert!(found.is_some_and(|it| it.contains(told)), "{text}: {found:?}"),
        }
    }
}

#[test]
fn tls_follows_the_old_keys_unless_the_new_one_is_given() {
    for (text, mode, verify) in [
        ("{}", TlsMode::Preferred, false),
        (r#"{"MySQLTopologySSLCAFile": "/ca"}"#, TlsMode::Preferred, true),
        (r#"{"MySQLTopologyUseMixedTLS": false}"#, TlsMode::Off, true),
        (r#"{"MySQLTopologyTLS": "Required"}"#, TlsMode::Required, true),
        (
            r#"{"MySQLTopologyTLS": "required", "MySQLTopologySSLSkipVerify": true}"#,
            TlsMode::Required,
            false,
        ),
        (
            r#"{"MySQLTopologyUseMutualTLS": true, "MySQLTopologySSLCertFile": "c", "MySQLTopologySSLPrivateKeyFile": "k"}"#,
            TlsMode::Mutual,
            true,
        ),
    ] {
        let connections = one(text).unwrap().config.connections;
        assert_eq!((connections.tls_mode, connections.tls.verify), (mode, verify), "{text}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let files = [
        (
            "baton.toml",
            "MySQLTopologyCredentialsConfigFile = '/my.cnf'\nHTTPAuthPassword = 'hunter2'\nConsulAclToken = '${T}'\nConsulAddress = 'c:1'",
        ),
        ("/my.cnf", "[mysqld]\nuser=no\n[client]\nuser = me\npassword = \"hunter2\"\n"),
    ];
    let loaded = load_from(&files, &[("T", "hunter2")]).unwrap();
    assert_eq!(loaded.config.connections.credentials.user, "me");
    assert_eq!(loaded.config.connections.credentials.password.reveal(), "hunter2");
    assert_eq!(loaded.config.kv.consul.as_ref().unwrap().token.reveal(), "hunter2");
    let shown = format!("{loaded:?} {:?}", loaded.effective_config());
    assert!(!shown.contains("hunter2"));
}

#[test]
fn keys_that_wait_for_a_restart_are_listed() {
    let old = one(r#"{"WebMessage": "a", "URLPrefix": "x"}"#).unwrap();
    let new = one(r#"{"WebMessage": "b", "URLPrefix": "y", "Debug": true}"#).unwrap();
    assert_eq!(diff_needing_restart(&old, &new), ["Debug", "URLPrefix"]);
    assert_eq!(diff_needing_restart(&old, &old), Vec::<&str>::new());
}

#[test]
fn the_reference_is_in_step_with_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference(), "run UPDATE_DOCS=1 cargo test -p baton");
}

#[test]
fn each_list_of_hooks_has_its_key() {
    let names = [
        (HookList::FailureDetection, "OnFailureDetectionProcesses"),
        (HookList::PreGracefulTakeover, "PreGracefulTakeoverProcesses"),
        (HookList::PreFailover, "PreFailoverProcesses"),
        (HookList::PostPrimaryFailover, "PostMasterFailoverProcesses"),
        (HookList::PostIntermediateFailover, "PostIntermediateMasterFailoverProcesses"),
        (HookList::PostFailover, "PostFailoverProcesses"),
        (HookList::PostUnsuccessfulFailover, "PostUnsuccessfulFailoverProcesses"),
        (HookList::PostGracefulTakeover, "PostGracefulTakeoverProcesses"),
        (HookList::PostTakePrimary, "PostTakeMasterProcesses"),
    ];
    let keys: Vec<_> =
        names.iter().map(|(_, key)| format!("{key:?}: [\"do {key}, now\"]")).collect();
    let loaded = one(&format!("{{{}}}", keys.join(","))).unwrap();
    assert_eq!(loaded.warnings, []);
    for (list, name) in names {
        let expected =
            HookCommands { name: name.to_owned(), commands: vec![format!("do {name}, now")] };
        assert_eq!(loaded.config.hooks.lists[&list], expected);
    }
}

#[test]
fn hooks_are_quoted_and_have_a_deadline_unless_told_otherwise() {
    let hooks = one("{}").unwrap().config.hooks;
    assert_eq!((hooks.shell.as_str(), hooks.timeout.as_secs()), ("bash", 86_400));
    assert_eq!(hooks.timeout_of(HookList::PreFailover).as_secs(), 86_400);
    assert_eq!(hooks.timeout_of(HookList::FailureDetection).as_secs(), 60);
    assert_eq!(hooks.placeholders, PlaceholderStyle::Quoted);
    let told = r#"{"ProcessesShellCommand": "sh", "HookTimeoutSeconds": 0,
        "UnquotedHookPlaceholders": true}"#;
    let loaded = one(told).unwrap();
    let hooks = &loaded.config.hooks;
    let told = (hooks.shell.as_str(), hooks.timeout.as_secs());
    assert_eq!(told, ("sh", 86_400), "nothing is endless");
    assert_eq!(hooks.placeholders, PlaceholderStyle::Verbatim);
    assert_eq!(loaded.warnings.len(), 2, "both are told");
    let env = [("BATON_HOOK_TIMEOUT_SECONDS", "5"), ("BATON_PRE_FAILOVER_PROCESSES", "a, b")];
    let hooks = load_from(&[], &env).unwrap().config.hooks;
    assert_eq!(hooks.timeout_of(HookList::PostFailover).as_secs(), 5);
    assert_eq!(hooks.timeout_of(HookList::FailureDetection).as_secs(), 5);
    let hour = load_from(&[], &[("BATON_HOOK_TIMEOUT_SECONDS", "3600")]).unwrap().config.hooks;
    assert_eq!(hour.timeout_of(HookList::FailureDetection).as_secs(), 3_600);
    assert_eq!(hooks.lists[&HookList::PreFailover].commands, ["a", "b"]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        name in prop::sample::select(vec!["orchestrator.conf.json", "baton.toml"]),
    ) {
        let _ = load_from(&[(name, &String::from_utf8_lossy(&bytes))], &[]);
    }

    #[test]
    fn no_value_of_any_key_makes_it_panic(
        key in prop::sample::select(keys::all().map(|key| key.name).collect::<Vec<_>>()),
        value in prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<u64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| n.to_string()),
            "[a-z:/$*(\\[\\]{}]{0,12}".prop_map(|text| format!("{text:?}")),
            Just("[\"a\", 1]".to_owned()),
            Just("{\"a\": {\"b\": []}}".to_owned()),
            Just("null".to_owned()),
        ],
    ) {
        let _ = one(&format!("{{{key:?}: {value}}}"));
        let _ = load_from(&[], &[(&format!("BATON_{key}"), &value)]);
    }
}

#[test]
fn the_example_is_understood_to_the_last_key() {
    let example = include_str!("../../deploy/baton.example.toml");
    let env = [("TOPOLOGY_PASSWORD", "s3cret")];
    let loaded = load_from(&[("/etc/baton.toml", example)], &env).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.discovery.seeds, ["db1.example.com:3306"]);
    assert_eq!(loaded.config.connections.credentials.password.reveal(), "s3cret");
}
