//! TLS through the whole program: towards watched servers, and towards callers.

mod support;

use std::process::Command;

use support::{Baton, Certificates, Flavor, Options, Server, USER, admit};

const BATON: &str = env!("CARGO_BIN_EXE_baton");

#[test]
fn servers_are_watched_and_callers_answered_under_tls() {
    let folder = tempfile::tempdir().expect("a folder for certificates");
    let ours = Certificates::make(&folder.path().join("ours"));
    let theirs = Certificates::make(&folder.path().join("theirs"));
    let server = Server::start(Options::new(Flavor::MySql97).tls(&ours));
    admit(std::slice::from_ref(&server));
    server.exec(&format!("ALTER USER '{USER}'@'%' REQUIRE SSL"));
    let seeds = vec![server.address()];
    let path = |path: &std::path::Path| path.display().to_string();

    let ca = path(&ours.ca);
    let settings =
        [("BATON_MYSQLTOPOLOGYTLS", "required"), ("BATON_MYSQLTOPOLOGYSSLCAFILE", ca.as_str())];
    let baton = Baton::start(BATON, seeds, &settings);
    baton.until_all_valid(1);

    let discover = format!("/api/discover/{}/{}", server.host, server.port);
    let wrong = path(&theirs.ca);
    for (reason, settings) in [
        (
            "invalid peer certificate",
            [
                ("BATON_MYSQLTOPOLOGYTLS", "required"),
                ("BATON_MYSQLTOPOLOGYSSLCAFILE", wrong.as_str()),
            ],
        ),
        (
            "Access denied",
            [("BATON_MYSQLTOPOLOGYTLS", "off"), ("BATON_MYSQLTOPOLOGYSSLCAFILE", ca.as_str())],
        ),
    ] {
        let stranger = Baton::start(BATON, Vec::new(), &settings);
        let answer = stranger.get(&discover);
        assert_eq!(answer["Code"], "ERROR", "{reason}: {answer}");
        assert!(answer["Message"].as_str().unwrap_or_default().contains(reason), "{answer}");
    }

    let (certificate, key) = (path(&ours.server_cert), path(&ours.server_key));
    let settings = [
        ("BATON_USESSL", "true"),
        ("BATON_SSLCERTFILE", certificate.as_str()),
        ("BATON_SSLPRIVATEKEYFILE", key.as_str()),
    ];
    let mut secure = Baton::prepare(BATON, Vec::new(), &settings);
    let mut child = secure.command().spawn().expect("start baton");
    let url = format!("https://127.0.0.1:{}/api/lb-check", secure.port);
    support::wait_until(support::PATIENCE, "it answers under TLS", || {
        let asked =
            Command::new("curl").args(["-s", "--cacert", &ca, &url]).output().expect("run curl");
        (asked.stdout == b"\"OK\"").then_some(())
    });
    let other =
        Command::new("curl").args(["-s", "--cacert", &wrong, &url]).status().expect("run curl");
    assert!(!other.success(), "who trusts another authority does not trust it");
    child.kill().expect("end baton");
    child.wait().expect("bury baton");
    secure.kill_9();
}

#[test]
fn callers_of_other_units_are_not_let_in() {
    let folder = tempfile::tempdir().expect("a folder for certificates");
    let ours = Certificates::make(folder.path());
    let path = |path: &std::path::Path| path.display().to_string();
    let (ca, certificate, key) = (path(&ours.ca), path(&ours.server_cert), path(&ours.server_key));
    let settings = [
        ("BATON_USESSL", "true"),
        ("BATON_USEMUTUALTLS", "true"),
        ("BATON_SSLVALIDOUS", "dba,ops"),
        ("BATON_SSLCAFILE", ca.as_str()),
        ("BATON_SSLCERTFILE", certificate.as_str()),
        ("BATON_SSLPRIVATEKEYFILE", key.as_str()),
    ];
    let mut secure = Baton::prepare(BATON, Vec::new(), &settings);
    let command = secure.command();
    secure.spawn(command);
    let url = format!("https://127.0.0.1:{}/api/lb-check", secure.port);
    let ask = |shown: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--cacert", &ca, &url]).args(shown);
        curl.output().expect("run curl").stdout
    };
    let of = |(certificate, key): (std::path::PathBuf, std::path::PathBuf)| {
        ask(&["--cert", &path(&certificate), "--key", &path(&key)])
    };
    support::wait_until(support::PATIENCE, "it lets its own unit in", || {
        (of(ours.client_of("ops")) == b"\"OK\"").then_some(())
    });
    assert_eq!(of(ours.client_of("dba")), b"\"OK\"");
    assert_eq!(of(ours.client_of("sales")), b"", "another unit");
    assert_eq!(of((ours.client_cert.clone(), ours.client_key.clone())), b"", "of no unit");
    assert_eq!(ask(&[]), b"", "without a certificate");
}

/// Nothing can be agreed with such a certificate, so it counts as none, but only where none is verified.
#[test]
fn a_server_with_a_certificate_of_version_1_is_watched_where_nothing_is_verified() {
    let folder = tempfile::tempdir().expect("a folder for certificates");
    let old = Certificates::make(folder.path());
    old.renew_server_as_version_1();
    let server = Server::start(Options::new(Flavor::MySql97).tls(&old));
    admit(std::slice::from_ref(&server));
    let baton = Baton::start(BATON, vec![server.address()], &[]);
    baton.until_all_valid(1);
    let ca = old.ca.display().to_string();
    let strict = [("BATON_MYSQLTOPOLOGYSSLCAFILE", ca.as_str())];
    let stranger = Baton::start(BATON, Vec::new(), &strict);
    let answer = stranger.get(&format!("/api/discover/{}/{}", server.host, server.port));
    let message = answer["Message"].as_str().unwrap_or_default();
    assert!(answer["Code"] == "ERROR" && message.contains("X.509 version 1"), "{answer}");
}
