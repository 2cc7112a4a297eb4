//! What stands at the edge of recoveries and moves, with real servers: user processes shown and run.

mod support;

use std::fs;

use serde_json::Value;
use support::{Baton, Flavor, Options, PATIENCE, chain, empower, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");

/// The list of that name in a preview of hooks.
fn list<'a>(preview: &'a Value, name: &str) -> &'a Value {
    let lists = preview["Details"]["Lists"].as_array().expect("lists");
    lists.iter().find(|it| it["List"] == name).expect("a list of that name")
}

#[test]
fn hooks_are_shown_before_they_run_and_told_of_changed_places() {
    let servers = chain(&Options::new(Flavor::MySql97), 2);
    empower(&servers);
    let settings = [
        ("BATON_DETECTCLUSTERALIASQUERY", "SELECT 'it''s $(touch ran)'"),
        ("BATON_PREFAILOVERPROCESSES", "echo {failureClusterAlias} {failedPort} >> ran"),
        ("BATON_POSTMASTERFAILOVERPROCESSES", "touch ran {successorPort} &"),
        ("BATON_PREGRACEFULTAKEOVERPROCESSES", "touch ran {successorPort}"),
        ("BATON_POSTTAKEMASTERPROCESSES", "echo $1 $2 $ORC_SUCCESSOR_HOST $ORC_FAILED_HOST > told"),
    ];
    let baton = Baton::start(BATON, vec![servers[0].address()], &settings);
    baton.until_all_valid(3);
    let file = |name: &str| baton.folder().join(name);
    let [a, b, c] = [0, 1, 2].map(|nth: usize| servers[nth].address());

    let preview = baton.get(&format!("/api/hooks-preview/{a}"));
    assert_eq!(preview["Code"], "OK", "{preview}");
    let text = preview["Message"].as_str().expect("a text");
    assert!(text.starts_with(&format!("If {a} died now, {b} would take its place.\n")), "{text}");
    let before = list(&preview, "PreFailoverProcesses");
    let hook = &before["Hooks"][0];
    let port = servers[0].port;
    assert_eq!(hook["Shown"], format!("echo it's $(touch ran) {port} >> ran"));
    let script = hook["Script"].as_str().expect("a script");
    assert_eq!(
        script,
        format!(
            "ORC_FAILURE_CLUSTER_ALIAS='it'\\''s $(touch ran)'\nORC_FAILED_PORT='{port}'\n\
             echo \"${{ORC_FAILURE_CLUSTER_ALIAS}}\" \"${{ORC_FAILED_PORT}}\" >> ran"
        )
    );
    assert_eq!(before["Environment"]["ORC_FAILURE_TYPE"], "DeadMaster");
    assert_eq!(before["Environment"]["ORC_SUCCESSOR_HOST"], Value::Null);
    let after = list(&preview, "PostMasterFailoverProcesses");
    assert_eq!(after["Hooks"][0]["Shown"], format!("touch ran {}", servers[1].port));
    assert_eq!(after["Hooks"][0]["InBackground"], true);
    assert_eq!(after["Environment"]["ORC_IS_SUCCESSFUL"], "true");
    let takeover = list(&preview, "PreGracefulTakeoverProcesses");
    assert_eq!(takeover["Hooks"][0]["Shown"], format!("touch ran {}", servers[1].port));
    assert_eq!(takeover["Environment"]["ORC_COMMAND"], "graceful-master-takeover");
    assert!(!preview.to_string().contains(support::PASSWORD), "no secrets");

    let take = format!("/api/take-master/{}/{}", servers[2].host, servers[2].port);
    let plan = baton.get(&format!("{take}?dry_run=true"));
    let told = format!("PostTakeMasterProcesses would run with {c} {b}: echo $1 $2");
    assert!(plan["Message"].as_str().unwrap_or_default().contains(&told), "{plan}");
    assert!(!file("told").exists() && !file("ran").exists(), "nothing was run");

    let done = baton.get(&take);
    assert_eq!(done["Code"], "OK", "{done}");
    let told = wait_until(PATIENCE, "it is told", || fs::read_to_string(file("told")).ok());
    assert_eq!(told, format!("{c} {b} {c} {b}\n"));
    let audit = baton.get("/api/audit");
    let ended = audit.as_array().into_iter().flatten().find(|it| it["AuditType"] == "hook");
    let message = ended.and_then(|it| it["Message"].as_str()).unwrap_or_default();
    assert!(message.starts_with("Completed PostTakeMasterProcesses hook 1 of 1"), "{audit}");
}

#[test]
fn whoever_only_wants_to_see_gets_nothing_done() {
    let servers = chain(&Options::new(Flavor::MariaDb1011), 1);
    empower(&servers);
    let baton = Baton::start(BATON, vec![servers[0].address()], &[]);
    baton.until_all_valid(2);
    let at = |nth: usize| format!("{}/{}", servers[nth].host, servers[nth].port);
    for path in ["forget", "begin-downtime", "tag"] {
        let more = if path == "begin-downtime" { "/me/why" } else { "" };
        let answer = baton.get(&format!("/api/{path}/{}{more}?dry_run=true&tag=a", at(1)));
        let told = answer["Message"].as_str().unwrap_or_default();
        assert!(told.ends_with("takes no dry_run, and was not done"), "{answer}");
    }
    for (path, value) in [("graceful-master-takeover", "1"), ("set-read-only", "true")] {
        let plan = baton.get(&format!("/api/{path}/{}?dry_run={value}", at(0)));
        assert_eq!(
            (&plan["Code"], &plan["Details"]["DryRun"]),
            (&"OK".into(), &true.into()),
            "{plan}"
        );
    }
    assert_eq!(servers[0].value("SELECT @@global.read_only"), "0");
    assert_eq!(baton.get("/api/all-instances").as_array().map(Vec::len), Some(2));
    assert_eq!(baton.get("/api/audit-recovery"), serde_json::json!([]));
}
