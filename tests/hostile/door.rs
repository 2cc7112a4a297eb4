//! At the front door: the HTTP API, and who is let in.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::BATON;
use crate::flood::connect_from;
use crate::support::{
    Baton, EVERYWHERE, Flavor, PATIENCE, play_with, shop, until_recovered, wait_until,
};

const WRITE: &str = "/api/tag/h/1?tag=a";

fn start(settings: &[(&str, &str)]) -> Baton {
    Baton::start(BATON, Vec::new(), settings)
}

#[test]
fn pages_of_other_sites_change_nothing_and_read_nothing() {
    let baton = start(&[("BATON_HTTPHOSTNAMES", "baton.test")]);
    play_with("strangers.mjs", &[baton.port], &[], |wish| panic!("nobody grants {wish}"));
}

/// What curl and the HTTP clients of Python and Node.js send by themselves is what a program sends.
#[test]
fn programs_change_things_as_ever() {
    let baton = start(&[]);
    let url = |name: &str| format!("http://127.0.0.1:{}/api/tag/{name}/1?tag=a", baton.port);
    let python =
        |name: &str| format!("import urllib.request as it; it.urlopen({:?}).read()", url(name));
    let node = |name: &str| format!("require('http').get({:?}, (it) => it.resume())", url(name));
    let fetch = |name: &str| format!("fetch({:?}).then((it) => it.text())", url(name));
    for (name, program, arguments) in [
        ("curl", "curl", vec!["-sS".to_owned(), url("curl")]),
        ("python", "python3", vec!["-c".to_owned(), python("python")]),
        ("node", "node", vec!["-e".to_owned(), node("node")]),
        ("fetch", "node", vec!["-e".to_owned(), fetch("fetch")]),
    ] {
        let ended = Command::new(program).args(arguments).output().expect("run the client");
        assert!(ended.status.success(), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(baton.get(&format!("/api/tags/{name}/1")), json!(["a="]), "{name}");
    }
}

#[test]
fn asking_for_a_head_changes_nothing() {
    let baton = start(&[]);
    let (head, _) = baton.exchange("HEAD", WRITE, "").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    assert_eq!(baton.get("/api/tags/h/1"), json!([]));
    let (head, _) = baton.exchange("HEAD", "/api/clusters-info", "").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("x-content-type-options: nosniff"), "{head}");
}

#[test]
fn a_failed_login_is_told_and_counted_and_a_change_says_whose_it_was() {
    let settings = [
        ("BATON_AUTHENTICATIONMETHOD", "basic"),
        ("BATON_HTTPAUTHUSER", "ann"),
        ("BATON_HTTPAUTHPASSWORD", "s3cret"),
    ];
    let baton = start(&settings);
    let (ann, wrong) =
        ("Authorization: Basic YW5uOnMzY3JldA==\r\n", "Authorization: Basic YW5uOng=\r\n");
    let get = |path: &str, headers: &str| baton.request("GET", path, headers).expect("an answer");
    assert_eq!(get(WRITE, wrong).0, 401);
    assert_eq!(get(WRITE, "").0, 401, "who gives no password has not guessed one");
    let figures = get("/metrics", ann).1;
    assert!(figures.contains("baton_http_failed_logins_total 1\n"), "{figures}");
    let log = baton.log();
    assert!(log.contains("failed login") && log.contains("by ann from 127.0.0.1"), "{log}");
    let tagged = format!("{ann}X-Forwarded-For: 10.0.0.7\r\n");
    assert_eq!(get(WRITE, &tagged).0, 200);
    let audit = wait_until(PATIENCE, "the change is in the audit", || {
        Some(get("/api/audit", ann).1).filter(|it| it.contains("\"tag\""))
    });
    assert!(audit.contains("by ann from 127.0.0.1, for 10.0.0.7"), "{audit}");
}

#[test]
fn a_reload_does_not_open_the_door() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("baton.json");
    let set = |text: &str| std::fs::write(&file, text).expect("write the configuration");
    set(
        r#"{"AuthenticationMethod": "basic", "HTTPAuthUser": "ann", "HTTPAuthPassword": "s3cret"}"#,
    );
    let mut baton = Baton::prepare(BATON, Vec::new(), &[]);
    let mut command = baton.command();
    command.arg("--config").arg(&file);
    baton.spawn(command);
    wait_until(PATIENCE, "it asks for a password", || {
        baton.try_get(WRITE).filter(|(status, _)| *status == 401)
    });
    let ann = "Authorization: Basic YW5uOnMzY3JldA==\r\n";
    for (text, why) in [
        ("{}", "AuthenticationMethod: is switched off by a restart only"),
        (
            r#"{"AuthenticationMethod": "basic", "HTTPAuthUser": "ann", "HTTPAuthPasword": "x"}"#,
            "HTTPAuthPassword: is empty",
        ),
    ] {
        set(text);
        let (status, body) =
            baton.request("GET", "/api/reload-configuration", ann).expect("an answer");
        assert!(status == 500 && body.contains(why), "{status} {body}");
        assert_eq!(baton.try_get(WRITE).expect("an answer").0, 401);
        assert_eq!(baton.request("GET", WRITE, ann).expect("an answer").0, 200);
    }
}

#[test]
fn nobody_else_reads_what_is_stored() {
    let mut baton = Baton::prepare(BATON, Vec::new(), &[]);
    let inner = baton.folder().join("made/by/baton");
    baton.set(&[("BATON_SQLITE3DATAFILE", &inner.join("baton.sqlite3").to_string_lossy())]);
    baton.launch();
    assert_eq!(baton.request("GET", WRITE, "").expect("an answer").0, 200);
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&inner), 0o700);
    let files: Vec<_> = std::fs::read_dir(&inner).expect("a folder").collect();
    assert!(files.len() >= 2, "the file, and what is written ahead: {files:?}");
    for file in files {
        let path = file.expect("a file").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn it_takes_as_many_files_as_it_may_have() {
    let mut baton = Baton::prepare(BATON, Vec::new(), &[]);
    let inner = baton.command();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=256:2000", "--"]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    baton.spawn(command);
    wait_until(PATIENCE, "it answers", || baton.try_get("/health/live"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", baton.pid())).expect("limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let words: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(words[3..5], ["2000", "2000"], "soft and hard: {files}");
}

/// A request that never gets its whole head or body keeps neither its connection nor anybody else.
#[test]
fn whoever_does_not_go_on_is_hung_up_on() {
    const EACH: usize = 100;
    let baton = start(&[]);
    let halves = [
        "",
        "GET /api/clusters HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        "POST /api/tag/h/1?tag=a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nhalf",
        "POST /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    let mut open: Vec<TcpStream> = (0..EACH * halves.len())
        .map(|number| {
            let mut stream = TcpStream::connect(("127.0.0.1", baton.port)).expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
            stream.write_all(halves[number % halves.len()].as_bytes()).expect("send");
            stream
        })
        .collect();
    assert_eq!(baton.get("/api/lb-check"), "OK", "others are answered meanwhile");
    for stream in &mut open {
        let mut answer = Vec::new();
        // Its end is what counts: closed with or without an answer.
        let ended = stream.read_to_end(&mut answer);
        let timed_out = |it: &std::io::Error| it.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!ended.as_ref().is_err_and(timed_out), "{ended:?}");
    }
}

/// Reads until there is nothing more to come; what was read. Fails if that takes too long.
fn rest(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
    let mut read = Vec::new();
    // It may be closed in whatever way.
    let ended = stream.read_to_end(&mut read);
    let timed_out = |it: &std::io::Error| it.kind() == std::io::ErrorKind::WouldBlock;
    assert!(!ended.as_ref().is_err_and(timed_out), "it is kept: {ended:?}");
    String::from_utf8_lossy(&read).into_owned()
}

#[test]
fn each_request_of_a_connection_has_to_come_in_time() {
    const ASK: &str = "GET /api/lb-check HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let baton = start(&[]);
    let halves = ["", "G", "GET /api/lb-check HTTP/1.1\r\nHost: 127.0.0.1\r\n"];
    let mut open = halves.map(|half| {
        let mut stream = TcpStream::connect(("127.0.0.1", baton.port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        for _ in 0..2 {
            stream.write_all(ASK.as_bytes()).expect("send");
            let mut answer = String::new();
            while !answer.contains("\r\n\r\n\"OK\"") {
                let mut piece = [0; 1_024];
                let read = stream.read(&mut piece).expect("it is kept between requests");
                assert!(read > 0, "it is kept between requests: {answer}");
                answer.push_str(&String::from_utf8_lossy(&piece[..read]));
            }
        }
        stream.write_all(half.as_bytes()).expect("send");
        stream
    });
    for stream in &mut open {
        rest(stream);
    }
}

/// At 1,024 files there are 256 connections: 128 of them may be streams, 64 for one address.
#[test]
fn one_address_takes_neither_all_connections_nor_all_streams() {
    let mut baton = Baton::prepare(BATON, Vec::new(), &[]).with_files(1_024);
    baton.launch();
    let ask = |last: u8| {
        let mut stream = connect_from(last, baton.port).expect("a connection");
        write!(stream, "GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect("send");
        let mut status = [0; 12];
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream.read_exact(&mut status).expect("an answer");
        (stream, String::from_utf8_lossy(&status[9..]).into_owned())
    };
    let mut held = Vec::new();
    for last in [2, 3] {
        for number in 0..64 {
            let (stream, status) = ask(last);
            assert_eq!(status, "200", "stream {number} of 127.0.0.{last}");
            held.push(stream);
        }
        let (mut stream, status) = ask(last);
        assert_eq!(status, "503", "one more of 127.0.0.{last}");
        let why = rest(&mut stream);
        assert!(why.contains("listen to events"), "{why}");
    }
    assert_eq!(baton.get("/api/lb-check"), "OK", "there is room for questions");
    held.truncate(100);
    wait_until(PATIENCE, "whoever leaves makes room", || {
        let (stream, status) = ask(3);
        (status == "200").then_some(stream)
    });
}

#[test]
fn what_hooks_are_and_say_is_for_those_who_may_write() {
    let mut servers = shop(Flavor::MySql97);
    let own = [
        ("BATON_AUTHENTICATIONMETHOD", "proxy"),
        ("BATON_AUTHUSERHEADER", "X-Forwarded-User"),
        ("BATON_POWERAUTHUSERS", "ann"),
        ("BATON_PREFAILOVERPROCESSES", "echo said-$((6*7)) # {failedPort}"),
    ];
    let baton = Baton::start(BATON, vec![servers[0].address()], &[&EVERYWHERE[..], &own].concat());
    baton.until_all_valid(servers.len());
    let ann = "X-Forwarded-User: ann\r\n";
    let mut events = TcpStream::connect(("127.0.0.1", baton.port)).expect("a connection");
    write!(events, "GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{ann}\r\n")
        .expect("send");
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    let steps = format!("/api/audit-recovery-steps/{}", recovery["UID"].as_str().expect("a name"));
    let told = |headers: &str| baton.request("GET", &steps, headers).expect("an answer").1;
    let (writer, reader) = (told(ann), told("X-Forwarded-User: bob\r\n"));
    for (case, text) in [("command", "echo said-$"), ("output", "said-42")] {
        assert!(writer.contains(text), "{case}: {writer}");
        assert!(!reader.contains("said-"), "{case}: {reader}");
    }
    assert!(reader.contains("Completed PreFailoverProcesses hook 1 of 1"), "{reader}");
    for path in ["/api/audit-recovery", "/api/fleet", "/api/audit"] {
        let (_, text) = baton.request("GET", path, "").expect("an answer");
        assert!(!text.contains("said-"), "{path}: {text}");
    }
    // Streams are shared by all who read, so they tell nothing of it to anybody.
    let mut streamed = String::new();
    while !streamed.contains("Completed PreFailoverProcesses hook") {
        let mut part = [0; 4_096];
        let read = events.read(&mut part).expect("more of the stream");
        assert!(read > 0, "it ended: {streamed}");
        streamed.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    baton.signal("-TERM");
    streamed.push_str(&rest(&mut events));
    assert!(!streamed.contains("said-"), "{streamed}");
}
