//! What the nodes of a raft know each other by.

use super::*;

/// As orchestrator's guide has it, and with an account for the servers.
const GUIDE: &str = r#"
  "RaftEnabled": true,
  "RaftDataDir": "/var/lib/orchestrator",
  "RaftBind": "node1.example.com",
  "DefaultRaftPort": 10008,
  "RaftNodes": [
    "node1.example.com",
    "node2.example.com",
    "node3.example.com"
  ],
  "BackendDB": "sqlite",
  "SQLite3DataFile": "/var/lib/orchestrator/orchestrator.db",
"#;

fn guide(more: &str) -> Result<Loaded, ConfigErrors> {
    one(&format!("{{{GUIDE} {more}}}"))
}

#[test]
fn the_guides_raft_is_safe_as_it_is_written() {
    let loaded = guide(r#""MySQLTopologyUser": "orc", "MySQLTopologyPassword": "p""#).unwrap();
    let raft = &loaded.config.raft;
    assert_eq!(raft.secret, RaftSecret::Credentials);
    assert!(matches!(raft.channel, RaftChannel::Made), "{:?}", raft.channel);
    assert!(!loaded.warnings.iter().any(|it| it.to_string().contains("RaftAllowPlainText")));
    // However the password comes.
    for (files, env) in [
        (vec![("/my.cnf", "[client]\nuser=orc\npassword=p\n")], vec![]),
        (vec![], vec![("BATON_MYSQLTOPOLOGYPASSWORD", "p")]),
        (vec![], vec![("BATON_MYSQLTOPOLOGYPASSWORD", "${P}"), ("P", "p")]),
    ] {
        let file =
            files.first().map_or("", |_| r#""MySQLTopologyCredentialsConfigFile": "/my.cnf","#);
        let text = format!(r#"{{{GUIDE} {file} "MySQLTopologyUser": "orc"}}"#);
        let files = [vec![("orchestrator.conf.json", text.as_str())], files].concat();
        let config = load_from(&files, &env).unwrap().config;
        assert_eq!(config.raft.secret, RaftSecret::Credentials, "{env:?}");
        assert_eq!(config.connections.credentials.password.reveal(), "p");
    }
}

#[test]
fn nodes_that_share_nothing_are_told_what_they_could_share() {
    for (case, more) in [
        ("no password", r#""MySQLTopologyUser": "orc""#),
        ("an empty one", r#""MySQLTopologyUser": "orc", "MySQLTopologyPassword": """#),
        ("an unset one", r#""MySQLTopologyPassword": "${NOWHERE}""#),
    ] {
        let error = guide(more).unwrap_err().to_string();
        for key in ["RaftSecret: is needed", "RaftSecretFile", "MySQLTopologyPassword"] {
            assert!(error.contains(key), "{case}: {error}");
        }
    }
    let plain = guide(r#""MySQLTopologyPassword": "p", "RaftAllowPlainText": true"#);
    let error = plain.unwrap_err().to_string();
    assert!(error.contains("RaftSecret: is needed") && error.contains("PlainText"), "{error}");
}

#[test]
fn a_secret_that_is_given_and_empty_is_no_choice() {
    for text in ["", "${EMPTY}"] {
        let text = format!(r#"{{{GUIDE} "RaftSecret": "{text}", "MySQLTopologyPassword": "p"}}"#);
        let files = [("orchestrator.conf.json", text.as_str())];
        let error = load_from(&files, &[("EMPTY", "")]).unwrap_err().to_string();
        assert!(error.contains("RaftSecret: is empty; leave it out"), "{error}");
    }
    // Nobody leaves out a variable that a script sets to nothing.
    let text = format!(r#"{{{GUIDE} "MySQLTopologyPassword": "p"}}"#);
    let files = [("orchestrator.conf.json", text.as_str())];
    let config = load_from(&files, &[("BATON_RAFTSECRET", "")]).unwrap().config;
    assert_eq!(config.raft.secret, RaftSecret::Credentials);
}

#[test]
fn what_is_the_operators_own_stays_so() {
    let tls = r#""RaftTLSCertFile": "/c", "RaftTLSPrivateKeyFile": "/k", "RaftTLSCAFile": "/ca""#;
    let secret = r#""RaftSecret": "s", "MySQLTopologyPassword": "p""#;
    let of = |more: &str| guide(more).unwrap().config.raft;
    let own = of(secret);
    assert!(matches!(own.secret, RaftSecret::Text(_)), "{:?}", own.secret);
    assert!(matches!(own.channel, RaftChannel::Made), "{:?}", own.channel);
    let given = of(&format!("{secret}, {tls}"));
    assert!(matches!(given.channel, RaftChannel::Given(RaftTls { optional: false, .. })));
    let optional = guide(&format!(r#"{secret}, {tls}, "RaftTLSOptional": true"#)).unwrap();
    assert!(optional.warnings.iter().any(|it| it.to_string().contains("take it away")));
    let channel = optional.config.raft.channel;
    assert!(matches!(channel, RaftChannel::Given(RaftTls { optional: true, .. })));
    let plain = guide(&format!(r#"{secret}, "RaftAllowPlainText": true"#)).unwrap();
    assert!(matches!(plain.config.raft.channel, RaftChannel::PlainText));
    assert!(plain.warnings.iter().any(|it| it.to_string().starts_with("RaftAllowPlainText")));
    let alone = guide(&format!(r#"{secret}, "RaftTLSOptional": true"#)).unwrap_err().to_string();
    assert!(alone.contains("RaftTLSOptional: makes no sense without RaftTLSCertFile"), "{alone}");
}
