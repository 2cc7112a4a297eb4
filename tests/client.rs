//! The client as scripts use it: what goes where, and how it ends.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::mpsc;

const BATON: &str = env!("CARGO_BIN_EXE_baton");

/// The status of a service that hangs up instead of answering.
const HANGS_UP: u16 = 0;

/// A service that answers each path in its own way, and tells what it was asked.
struct Service {
    url: String,
    asked: mpsc::Receiver<String>,
}

fn service(answer: impl Fn(&str) -> (u16, &'static str) + Send + 'static) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (tell, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let first = request.lines().next().unwrap_or_default();
            let (status, body) = answer(first);
            let login =
                request.lines().find(|line| line.to_lowercase().starts_with("authorization"));
            // A test that has ended listens no more.
            let _ = tell.send(format!("{first}{}", login.unwrap_or_default()));
            if status == HANGS_UP {
                continue;
            }
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body.as_bytes());
        }
    });
    Service { url, asked }
}

fn client(api: &str, args: &[&str]) -> Output {
    Command::new(BATON)
        .arg("client")
        .args(args)
        .env("ORCHESTRATOR_API", api)
        .env_remove("BATON_API")
        .output()
        .expect("run the client")
}

fn shown(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn answers_go_to_standard_output_and_refusals_to_standard_error() {
    let service = service(|request| match request {
        it if it.contains("/api/tags/") => (200, r#"["a=","b=c"]"#),
        it if it.contains("/api/instance/") => {
            (500, r#"{"Code":"ERROR","Message":"Cannot  read 'it'","Details":null}"#)
        }
        _ => (200, "[]"),
    });
    let good = shown(&client(&service.url, &["-c", "tags", "-i", "db1"]));
    assert_eq!(good, ("a=\nb=c".to_owned(), String::new(), Some(0)));
    let bad = shown(&client(&service.url, &["-c", "which-master", "-i", "db1"]));
    assert_eq!(bad, (String::new(), "Cannot read it".to_owned(), Some(1)));
    let asked: Vec<String> = service.asked.try_iter().collect();
    assert!(asked.iter().any(|it| it == "GET /api/tags/db1/3306 HTTP/1.1"), "{asked:?}");
}

#[test]
fn of_several_endpoints_the_leader_is_asked() {
    let follower = service(|_| (404, r#""Not leader""#));
    let leader = service(|_| (200, r#""OK""#));
    let both = format!("{} {}", follower.url, leader.url);
    let (out, _, code) = shown(&client(&both, &["which-api"]));
    assert_eq!((out, code), (format!("{}/api", leader.url), Some(0)));
    let (_, error, code) = shown(&client(&format!("{0} {0}", follower.url), &["clusters"]));
    assert!(error.starts_with("Cannot determine leader from"), "{error}");
    assert_eq!(code, Some(1));
}

#[test]
fn an_endpoint_that_is_gone_does_not_hide_one_that_reaches_the_leader() {
    let passes_on = service(|request| match request {
        it if it.contains("/api/routed-leader-check") => (200, r#""OK""#),
        it if it.contains("/api/leader-check") => (404, r#""Not leader""#),
        _ => (200, r#"["shop"]"#),
    });
    let both = format!("http://127.0.0.1:1 {}", passes_on.url);
    let (out, _, code) = shown(&client(&both, &["tags", "-i", "db1"]));
    assert_eq!((out.as_str(), code), ("shop", Some(0)));
    let (out, _, code) = shown(&client(&passes_on.url, &["api", "-P", "leader-check"]));
    assert_eq!((out.as_str(), code), (r#""Not leader""#, Some(0)), "that is an answer");
}

#[test]
fn a_closed_door_is_told_without_the_password() {
    let service = service(|_| (401, "Not Authorized"));
    let args = ["clusters", "-b", "me:s3cret"];
    let (out, error, code) = shown(&client(&service.url, &args));
    assert!(error.starts_with("Cannot access orchestrator at"), "{error}");
    assert!(!error.contains("s3cret") && out.is_empty());
    assert_eq!(code, Some(1));
    let asked = service.asked.try_iter().next().unwrap_or_default();
    assert!(asked.starts_with("HEAD /api") && asked.contains("Basic bWU6czNjcmV0"), "{asked}");
}

#[test]
fn an_answer_that_is_no_json_is_asked_for_again() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let service = service(|request| match request.starts_with("HEAD") {
        true => (200, ""),
        false if ASKED.fetch_add(1, Ordering::Relaxed) < 2 => (502, "<html>bad gateway</html>"),
        false => (200, r#"[{"ClusterName":"db1:3306"}]"#),
    });
    let (out, _, code) = shown(&client(&service.url, &["clusters"]));
    assert_eq!((out.as_str(), code), ("db1:3306", Some(0)));
}

#[test]
fn the_old_styles_of_calling_work() {
    let service = service(|_| (200, r#"{"Code":"OK","Message":"","Details":"enabled"}"#));
    let old = Command::new(BATON)
        .args(["-c", "check-global-recoveries"])
        .env("ORCHESTRATOR_API", &service.url)
        .output()
        .expect("run it");
    assert_eq!(shown(&old).0, "enabled");
    let folder = std::env::temp_dir().join(format!("baton-client-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let link = folder.join("orchestrator-client");
    std::os::unix::fs::symlink(BATON, &link).expect("a link");
    let named = Command::new(&link)
        .args(["-c", "check-global-recoveries", "-U", &service.url])
        .output()
        .expect("run it");
    let _ = std::fs::remove_dir_all(&folder);
    assert_eq!(shown(&named), ("enabled".to_owned(), String::new(), Some(0)));
}

#[test]
fn commands_without_a_server_are_refused_under_raft_and_the_client_is_named() {
    let service = service(|_| (200, r#"{"Code":"OK","Message":"","Details":"enabled"}"#));
    let run = |args: &[&str], api: &str| {
        let mut command = Command::new(BATON);
        command.args(args).env_remove("BATON_API").env("ORCHESTRATOR_API", api);
        for (name, value) in [
            ("BATON_RAFTENABLED", "true"),
            ("BATON_RAFTDATADIR", "/nowhere"),
            ("BATON_RAFTBIND", "b1.example"),
            ("BATON_RAFTNODES", "b1.example,b2.example"),
            ("BATON_RAFTSECRET", "open sesame"),
            ("BATON_RAFTALLOWPLAINTEXT", "true"),
        ] {
            command.env(name, value);
        }
        shown(&command.output().expect("run it"))
    };
    let (out, error, code) = run(&["-c", "check-global-recoveries"], "");
    assert_eq!((out.as_str(), code), ("", Some(1)));
    for part in [
        "-c is refused under raft",
        "http://b1.example:3000/api http://b2.example:3000/api",
        "orchestrator-client -c check-global-recoveries",
        "--ignore-raft-setup",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let told = run(&["-c", "check-global-recoveries"], &service.url);
    assert_eq!(told, ("enabled".to_owned(), String::new(), Some(0)), "somebody said whom to ask");
    let told = run(&["-c", "check-global-recoveries", "-U", &service.url], "");
    assert_eq!(told.0, "enabled");
    let (out, _, code) = run(&["--ignore-raft-setup", "-c", "help"], "");
    assert!(out.contains("recover") && code == Some(0), "{out}");
}

/// What a service was asked for, but for whether it lets one in.
fn asked_for(service: &Service) -> Vec<String> {
    let all = service.asked.try_iter().filter(|it| !it.starts_with("HEAD"));
    all.map(|it| it.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_dry_run_prints_the_plan_and_asks_only_who_knows_of_plans() {
    let baton = service(|request| match request {
        it if it.contains("/api/recover/") => {
            (500, r#"{"Code":"ERROR","Message":"no problem","Details":{"Port":1}}"#)
        }
        _ => (200, r#"{"Code":"OK","Message":"relocate:\n  a: stop\n","Details":{"DryRun":true}}"#),
    });
    let plan = shown(&client(&baton.url, &["relocate", "-i", "a", "-d", "b", "--dry-run"]));
    assert_eq!(plan, ("relocate:\n  a: stop".to_owned(), String::new(), Some(0)));
    assert_eq!(
        asked_for(&baton),
        ["/api/fleet-breaker", "/api/relocate/a/3306/b/3306?dry_run=true"]
    );
    let (_, error, code) = shown(&client(&baton.url, &["-c", "recover", "-i", "a", "-dry-run"]));
    assert_eq!((error.as_str(), code), ("no problem", Some(1)));
    let forget = shown(&client(&baton.url, &["forget", "-i", "a", "--dry-run"]));
    let said = "forget takes no --dry-run; see help";
    assert_eq!(forget, (String::new(), said.to_owned(), Some(1)));

    let orchestrator = service(|request| match request {
        it if it.contains("fleet-breaker") => (404, "404 page not found"),
        _ => (200, r#"{"Code":"OK","Message":"it is done","Details":null}"#),
    });
    let args = ["relocate", "-i", "a", "-d", "b", "--dry-run"];
    let (out, error, code) = shown(&client(&orchestrator.url, &args));
    assert!(out.is_empty() && error.contains("not a service"), "{error}");
    assert_eq!(code, Some(1));
    assert_eq!(asked_for(&orchestrator), ["/api/fleet-breaker"]);
}

#[test]
fn what_only_baton_has_is_asked_for_and_printed_as_text() {
    let service = service(|request| match request {
        it if it.contains("/api/fleet-breaker") => {
            (200, r#"{"Code":"OK","Message":"3 of 4 clusters","Details":"open"}"#)
        }
        it if it.contains("/api/rejoin/") => {
            let refused = r#"{"Code":"ERROR","Message":"db1 has 2 transactions","Details":null}"#;
            (500, refused)
        }
        it if it.contains("/api/failover-readiness/") => (
            200,
            r#"{"Code":"OK","Message":"b would","Details":{"Why":["it has all"],"PossibleLoss":0}}"#,
        ),
        _ => (200, r#"{"Code":"OK","Message":"one\ntwo","Details":{"Lines":[]}}"#),
    });
    let run = |args: &[&str]| shown(&client(&service.url, args));
    let good = |text: &str| (text.to_owned(), String::new(), Some(0));
    assert_eq!(run(&["fleet-breaker"]), good("open\n3 of 4 clusters"));
    assert_eq!(run(&["failover-readiness", "-a", "shop"]), good("b would\n  it has all"));
    assert_eq!(run(&["explain", "-i", "a"]), good("one\ntwo"));
    assert_eq!(run(&["hooks-preview", "-i", "a:3306"]), good("one\ntwo"));
    let rejoin = run(&["rejoin", "-i", "db1"]);
    assert_eq!(rejoin, (String::new(), "db1 has 2 transactions".to_owned(), Some(1)));
    assert_eq!(
        asked_for(&service),
        [
            "/api/fleet-breaker",
            "/api/failover-readiness/shop",
            "/api/explain/a/3306",
            "/api/hooks-preview/a:3306",
            "/api/rejoin/db1/3306",
        ]
    );
}

#[test]
fn help_fits_a_terminal() {
    let help = shown(&client("http://127.0.0.1:9", &["help"])).0;
    let wide: Vec<&str> = help.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    assert!(help.contains("--dry-run") && help.contains(" *recover "), "{help}");
}

const TAKEOVER: [&str; 4] = ["-c", "graceful-master-takeover", "-a", "shop"];

/// How often something was asked for that begins like this.
fn times(asked: &[String], beginning: &str) -> usize {
    asked.iter().filter(|it| it.starts_with(beginning)).count()
}

#[test]
fn a_write_is_sent_once_and_what_became_of_it_is_asked() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let finished = r#"{"Code":"OK","Message":"","Details":{"State":"finished","Status":200,
        "Answer":{"Code":"OK","Message":"","Details":{"SuccessorKey":{"Hostname":"b","Port":1}}}}}"#;
    let running = r#"{"Code":"OK","Message":"","Details":{"State":"running"}}"#;
    let outcome = move |request: &str| -> (u16, &'static str) {
        if request.contains("/api/request-outcome/") {
            let is_first = ASKED.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
            return (200, if is_first { running } else { finished });
        }
        (HANGS_UP, "")
    };
    let hangs_up = service(outcome);
    let gateway = service(move |request| match outcome(request) {
        (HANGS_UP, _) => (502, "<html>bad gateway</html>"),
        answer => answer,
    });
    let passes_on = service(move |request| match outcome(request) {
        (HANGS_UP, _) => {
            (502, r#"{"Code":"ERROR","Message":"the leader was asked","Details":null}"#)
        }
        answer => answer,
    });
    for (case, service) in [("hangs up", hangs_up), ("html", gateway), ("502", passes_on)] {
        let told = shown(&client(&service.url, &TAKEOVER));
        assert_eq!(told, ("b:1".to_owned(), String::new(), Some(0)), "{case}");
        let asked = asked_for(&service);
        assert_eq!(times(&asked, "/api/graceful-master-takeover/shop"), 1, "{case}: {asked:?}");
        assert_eq!(times(&asked, "/api/request-outcome/"), 2, "{case}: {asked:?}");
    }
}

#[test]
fn a_write_that_nobody_knows_of_is_not_sent_again_and_said_to_be_in_doubt() {
    // orchestrator has no such route; a baton that was restarted does not know.
    let old = service(|request| match request {
        it if it.contains("/api/request-outcome/") => (404, "404 page not found"),
        _ => (HANGS_UP, ""),
    });
    let (out, error, code) = shown(&client(&old.url, &TAKEOVER));
    assert!(out.is_empty() && error.contains("nobody knows what became of"), "{error}");
    assert!(error.contains("look first") && !error.contains("Unauthorized"), "{error}");
    assert_eq!(code, Some(1));
    assert_eq!(times(&asked_for(&old), "/api/graceful-master-takeover/shop"), 1);
}
