//! From a server that baton is led to, or that stands where another one stood: the password of the account.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::BATON;
use crate::support::{
    Baton, Certificates, Flavor, Options, PATIENCE, Pretender, Server, USER, admit, strip_tls,
    wait_until,
};

fn watched() -> Server {
    let server = Server::start(Options::new(Flavor::MySql97));
    admit(std::slice::from_ref(&server));
    server
}

fn message(baton: &Baton, path: &str, port: u16) -> String {
    let answer = baton.get(&format!("/api/{path}/127.0.0.1/{port}"));
    answer["Message"].as_str().unwrap_or_default().to_owned()
}

/// Whether a file below holds these bytes.
fn holds(folder: &Path, wanted: &[u8]) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return holds(&path, wanted);
        }
        let is_log = path.file_name().is_some_and(|name| name == "log");
        let bytes = fs::read(&path).unwrap_or_default();
        !is_log && bytes.windows(wanted.len()).any(|it| it == wanted)
    })
}

/// The fleet of 9.7 with certificates of its own making needs no key; what comes in place of a server is
/// another matter, also for a baton that was restarted meanwhile.
#[test]
fn what_stands_where_a_server_stood_gets_the_password_only_if_a_person_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let theirs = Certificates::make(folder.path());
    let mut server = watched();
    let mut baton = Baton::start(BATON, vec![server.address()], &[]);
    baton.until_all_valid(1);
    wait_until(PATIENCE, "its certificate is kept", || {
        holds(baton.folder(), b"fingerprint").then_some(())
    });
    let port = server.port;
    let nothing = message(&baton, "confirm-certificate", port);
    assert!(nothing.contains("shows nothing else"), "{nothing}");
    baton.kill_9();
    server.kill_9();
    let pretender = Pretender::start(port, Some(&theirs));
    baton.launch();
    let told = wait_until(PATIENCE, "it is met", || {
        let told = message(&baton, "discover", port);
        (pretender.logins() > 0 && told.contains("confirm-certificate")).then_some(told)
    });
    assert!(!pretender.got_anything(), "{told}: {:?}", pretender.heard());

    let other = baton.get(&format!("/api/confirm-certificate/127.0.0.1/{port}?fingerprint=00"));
    assert_eq!(other["Code"], "ERROR", "{other}");
    assert!(!pretender.got_anything(), "{:?}", pretender.heard());
    let confirmed = message(&baton, "confirm-certificate", port);
    assert!(confirmed.contains("is known by what it shows now"), "{confirmed}");
    wait_until(PATIENCE, "a person said so", || pretender.got_anything().then_some(()));
    wait_until(PATIENCE, "it is in the audit", || {
        baton.get("/api/audit").to_string().contains("confirm-certificate").then_some(())
    });
}

/// A server made anew at the same address cannot be told from a stranger there, but by a person.
#[test]
fn a_server_that_was_made_anew_is_logged_in_to_once_a_person_confirms_it() {
    let mut server = watched();
    let baton = Baton::start(BATON, vec![server.address()], &[]);
    baton.until_all_valid(1);
    server.kill_9();
    let data = server.dir().join("data");
    for entry in fs::read_dir(&data).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".pem") || name == "auto.cnf" {
            fs::remove_file(entry.path()).expect("remove what it is known by");
        }
    }
    server.restart();
    wait_until(PATIENCE, "it is told", || {
        message(&baton, "discover", server.port).contains("confirm-certificate").then_some(())
    });
    let client = Command::new(BATON)
        .args(["client", "-c", "confirm-certificate", "-i", &server.address()])
        .env("ORCHESTRATOR_API", format!("http://127.0.0.1:{}/api", baton.port))
        .output()
        .expect("run the client");
    assert!(client.status.success(), "{}", String::from_utf8_lossy(&client.stderr));
    let said = String::from_utf8_lossy(&client.stdout);
    assert!(said.contains("is known by what it shows now: public key "), "{said}");
    baton.until_all_valid(1);
}

/// What another node of a raft met, or nobody yet: the one that is asked looks itself.
#[test]
fn what_is_confirmed_was_looked_at_by_the_node_that_is_asked() {
    let mut server = watched();
    let seldom = [("BATON_INSTANCEPOLLSECONDS", "3600")];
    let baton = Baton::start(BATON, vec![server.address()], &seldom);
    baton.until_all_valid(1);
    server.kill_9();
    for entry in fs::read_dir(server.dir().join("data")).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".pem") {
            fs::remove_file(entry.path()).expect("remove what it is known by");
        }
    }
    server.restart();
    let confirmed = message(&baton, "confirm-certificate", server.port);
    assert!(confirmed.contains("is known by what it shows now: public key "), "{confirmed}");
    baton.until_all_valid(1);
}

/// What stands between a server and baton takes the offer of TLS out: the server is not logged in to, and is told
/// with the way out.
#[test]
fn a_server_that_offers_tls_no_more_is_a_problem_with_a_way_out() {
    let server = watched();
    let is_active = Arc::new(AtomicBool::new(false));
    let port = strip_tls(&server.address(), Arc::clone(&is_active));
    let seeds = vec![format!("127.0.0.1:{port}")];
    let baton = Baton::start(BATON, seeds, &[("BATON_INSTANCEPOLLSECONDS", "1")]);
    baton.until_all_valid(1);
    is_active.store(true, Ordering::SeqCst);
    // The connection that stands is not given up for that.
    let ours = format!("SELECT id FROM performance_schema.processlist WHERE user = '{USER}'");
    for id in server.query(&ours).into_iter().flatten().flatten() {
        server.exec(&format!("KILL {id}"));
    }
    let path = format!("/api/instance/127.0.0.1/{port}");
    baton.until(&path, "it is told", |it| {
        let problems = it["Problems"].as_array()?;
        let is_told = |told: &str| problems.iter().any(|it| it == told);
        (is_told("last_check_invalid") && is_told("tls_not_offered_any_more")).then_some(())
    });
    let confirmed = message(&baton, "confirm-certificate", port);
    assert!(confirmed.contains("is known by what it shows now: no TLS"), "{confirmed}");
    baton.until_all_valid(1);
}

#[test]
fn discovery_leads_nowhere_that_is_not_allowed() {
    let server = watched();
    let pretender = Pretender::start(0, None);
    let lure = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.2', SOURCE_PORT = {}, SOURCE_USER = 'x', \
         SOURCE_PASSWORD = 'x'",
        pretender.port
    );
    server.exec(&lure);
    let every = ("BATON_INSTANCEPOLLSECONDS", "1");
    let allow = [every, ("BATON_DISCOVERYALLOW", "127.0.0.1,.example.com")];
    let bound = Baton::start(BATON, vec![server.address()], &allow);
    bound.until_all_valid(1);
    let refused = bound.get(&format!("/api/discover/127.0.0.2/{}", pretender.port));
    assert!(refused.to_string().contains("outside DiscoveryAllow"), "{refused}");
    let by_name = bound.get(&format!("/api/discover/localhost/{}", server.port));
    let by_name = by_name["Message"].as_str().unwrap_or_default();
    assert!(by_name.contains("Instance discovered"), "it is in the network: {by_name}");
    assert_eq!(pretender.heard(), []);
    assert!(!bound.log().contains("DiscoveryAllow (docs/grants.md)"), "{}", bound.log());

    let free = Baton::start(BATON, vec![server.address()], &[every]);
    wait_until(PATIENCE, "it is led there", || (pretender.logins() > 0).then_some(()));
    assert!(!pretender.got_anything(), "{:?}", pretender.heard());
    assert!(free.log().contains("bound discovery with DiscoveryAllow"), "{}", free.log());
}
