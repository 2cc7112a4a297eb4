//! What stands at the edge of recoveries and moves, with real servers: user processes shown and run.

mod support;

use std::fs;

use serde_json::Value;
use support::{Baton, Flavor, Options, PATIENCE, chain, empower, star, wait_until};

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
    // Its file is there before it is over.
    baton.until("/api/audit", "the hook has ended", |audit| {
        let ended = audit.as_array()?.iter().find(|it| it["AuditType"] == "hook")?;
        let message = ended["Message"].as_str()?;
        message.starts_with("Completed PostTakeMasterProcesses hook 1 of 1").then_some(())
    });
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

/// A primary that was replaced, came back, and wrote this before it was fenced.
fn with_extra(flavor: Flavor, statements: &[&str]) -> (Vec<support::Server>, Baton) {
    let mut servers = star(&Options::new(flavor), 2);
    empower(&servers);
    servers[0].exec("CREATE DATABASE shop");
    servers[0].exec("CREATE TABLE shop.orders (id INT PRIMARY KEY, what VARCHAR(99))");
    let settings = [
        ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
        ("BATON_DETECTCLUSTERALIASQUERY", "SELECT 'shop'"),
        ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'"),
    ];
    let all = servers.iter().map(support::Server::address).collect();
    let mut baton = Baton::start(BATON, all, &settings);
    baton.until_all_valid(3);
    servers[0].kill_9();
    baton.until("/api/audit-recovery", "a recovery has succeeded", |all| {
        let newest = all.as_array()?.first()?;
        (newest["RecoveryEndTimestamp"] != "" && newest["IsSuccessful"] == true).then_some(())
    });
    let primary = baton.get("/api/master/shop")["Key"]["Port"].as_u64();
    let new = servers.iter().find(|it| Some(u64::from(it.port)) == primary).expect("a successor");
    new.exec("INSERT INTO shop.orders VALUES (1, 'on the new one')");
    baton.kill_9();
    servers[0].restart();
    statements.iter().for_each(|statement| servers[0].exec(statement));
    baton.launch();
    (servers, baton)
}

#[test]
fn what_a_former_primary_has_of_its_own_can_be_read_and_kept() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let (servers, baton) = with_extra(
            flavor,
            &[
                "INSERT INTO shop.orders VALUES (7, 'extra')",
                "FLUSH BINARY LOGS",
                "CREATE TABLE shop.extra (id INT)",
            ],
        );
        let former = &servers[0];
        let at = format!("{}/{}", former.host, former.port);
        let path = format!("/api/extra-transactions/{at}?events=true");
        let is_there = |it: &Value| {
            let is_whole = it["Details"]["Notes"] == serde_json::json!([]);
            (it["Details"]["Count"] == 2 && is_whole).then(|| it.clone())
        };
        let found = baton.until(&path, "there are some", is_there);
        let details = &found["Details"];
        let logs = details["BinaryLogs"].as_array().expect("logs");
        assert_eq!(logs.len(), 2, "{found:#}");
        let transactions = details["Transactions"].as_array().expect("transactions");
        let events: Vec<String> = transactions.iter().map(|it| it["Events"].to_string()).collect();
        assert!(events[0].contains("shop.orders"), "{events:#?}");
        assert!(events[1].contains("CREATE TABLE shop.extra"), "{events:#?}");
        assert_eq!(transactions[1]["BinaryLog"], logs[1]);
        let text = found["Message"].as_str().unwrap_or_default();
        assert!(text.starts_with(&format!("{} has 2 transactions", former.address())), "{text}");

        let hint = format!("baton client extra-transactions -i {}", former.address());
        baton.until(&format!("/api/rejoin/{at}"), "it is refused with a hint", |refused| {
            refused["Message"].as_str()?.contains(&hint).then_some(())
        });

        let commands = details["Commands"].as_array().expect("commands");
        let first = commands[0]["Command"].as_str().unwrap_or_default();
        // Fencing sends clients away, and this is one.
        if let Some(read) = wait_until(PATIENCE, first, || read_by(first)) {
            assert!(read.contains("### INSERT INTO `shop`.`orders`"), "{first}\n{read}");
            assert!(read.contains("'extra'") && !read.contains("on the new one"), "{read}");
        }
        let other = servers.iter().find(|it| it.port != former.port).expect("a replica");
        let at = format!("{}/{}", other.host, other.port);
        let nothing = baton.get(&format!("/api/extra-transactions/{at}"));
        let told = nothing["Message"].as_str().unwrap_or_default();
        assert!(told.contains("has nothing that") || nothing["Code"] == "ERROR", "{nothing}");
    }
}

/// What a command line prints, as the administrator of the test servers: nothing where the program
/// is not installed, `None` when it fails.
fn read_by(line: &str) -> Option<Option<String>> {
    let (program, rest) = line.split_once(' ').expect("a program with arguments");
    let home = std::env::var("HOME").unwrap_or_default();
    let folder = std::env::var("BATON_SERVERS").unwrap_or(format!("{home}/.cache/baton/servers"));
    let folder = std::path::PathBuf::from(folder);
    // The unpacked programs run through their own loader and libraries.
    let root = folder.join("mysql-9.7/root/usr");
    let libraries = root.join("lib/x86_64-linux-gnu");
    let loader = libraries.join("ld-linux-x86-64.so.2");
    let program = match loader.exists() && program == "mysqlbinlog" {
        true => format!(
            "{} --library-path {}:{} {}",
            loader.display(),
            libraries.display(),
            root.join("lib/mysql/private").display(),
            root.join("bin/mysqlbinlog").display()
        ),
        false => program.to_owned(),
    };
    let line = format!("{program} --user=root {rest}");
    let run = std::process::Command::new("bash").args(["-c", &line]).output();
    let ended = run.expect("run bash");
    if ended.status.code() == Some(127) {
        return Some(None);
    }
    let out = String::from_utf8_lossy(&ended.stdout).into_owned();
    ended.status.success().then_some(Some(out))
}

#[test]
fn whoever_asks_twice_for_a_recovery_is_told_of_the_one_there_was() {
    let mut servers = star(&Options::new(Flavor::MariaDb1011), 2);
    empower(&servers);
    let settings = [("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'")];
    let baton = Baton::start(BATON, vec![servers[0].address()], &settings);
    baton.until_all_valid(3);
    let recover = format!("/api/recover/{}/{}", servers[0].host, servers[0].port);
    assert_eq!(baton.get(&recover)["Code"], "ERROR", "nothing is wrong");
    servers[0].kill_9();
    baton.until_found(&servers[0], "DeadMaster");
    let first = baton.get(&recover);
    assert_eq!(first["Code"], "OK", "{first}");
    let second = baton.get(&recover);
    assert_eq!(
        (&second["Code"], &second["Details"]),
        (&"OK".into(), &first["Details"]),
        "{second}"
    );
    let key = &first["Details"];
    let other = servers[1..].iter().find(|it| key["Port"] != it.port).expect("who did not succeed");
    let late = baton.get(&format!("{recover}/{}/{}", other.host, other.port));
    assert_eq!(late["Details"], first["Details"], "{late}");
    let told = late["Message"].as_str().unwrap_or_default();
    assert!(told.ends_with(&format!("succeeded, not {}", other.address())), "{late}");
    let named =
        format!("{recover}/{}/{}", key["Hostname"].as_str().unwrap_or_default(), key["Port"]);
    assert_eq!(baton.get(&named)["Details"], first["Details"]);
    assert_eq!(baton.get("/api/audit-recovery").as_array().map(Vec::len), Some(1));
}
