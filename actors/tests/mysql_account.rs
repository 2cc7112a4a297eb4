//! What a server gets to know of the account, by how it is met.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its server may panic")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_actors::certificates::{Shown, Verified};
use baton_actors::mysql::{
    ConnectOptions, MySqlTarget, Password, Pinning, TlsMode, TlsOptions, TlsVerification,
};
use baton_actors::ports::ProbeTarget;
use baton_topology::instance::{Facts, FailureKind, ProbeFailure};
use baton_topology::key::InstanceKey;
use baton_topology::reading::{NameMethod, ReadingPolicy, ReplicaListing};
use support::{
    Certificates, Flavor, Heard, Options, Pretender, Server, free_port, least_grants, strip_tls,
};

const PASSWORD: &str = "hunter2";
const ALLOWS: &str = "MySQLTopologyAllowServerPublicKey";

fn options(tls: TlsOptions) -> ConnectOptions {
    ConnectOptions {
        user: "baton".to_owned(),
        password: Password::new(PASSWORD),
        connect_deadline: Duration::from_secs(20),
        probe_deadline: Duration::from_secs(20),
        reading: ReadingPolicy {
            name_method: NameMethod::AsGiven,
            replica_listing: ReplicaListing::Connections,
        },
        tls,
        ..ConnectOptions::default()
    }
}

fn mode(mode: TlsMode) -> TlsOptions {
    TlsOptions { mode, verification: TlsVerification::Skip, ..TlsOptions::default() }
}

fn watched(options: Options) -> Server {
    let server = Server::start(options);
    server.create_monitor_user("baton", PASSWORD, least_grants(server.flavor));
    server
}

fn at(port: u16) -> InstanceKey {
    InstanceKey::new("127.0.0.1", port)
}

async fn probe(target: &MySqlTarget, port: u16) -> Result<Facts, ProbeFailure> {
    target.session(&at(port)).probe().await.map(|reading| reading.facts)
}

#[tokio::test]
async fn without_tls_no_key_of_a_server_is_taken_unless_the_configuration_says_so() {
    let server = watched(Options::new(Flavor::MySql97));
    let plugin = server.value("SELECT plugin FROM mysql.user WHERE user = 'baton'");
    assert_eq!(plugin, "caching_sha2_password");
    let strict = MySqlTarget::new(options(mode(TlsMode::Off)));
    let failure = probe(&strict, server.port).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::AccessDenied);
    assert!(failure.message.contains(ALLOWS), "{}", failure.message);

    let allowed = ConnectOptions { allow_public_key: true, ..options(mode(TlsMode::Off)) };
    probe(&MySqlTarget::new(allowed), server.port).await.unwrap();
    // Now the server knows the password, and a scramble is enough.
    probe(&strict, server.port).await.unwrap();
}

#[tokio::test]
async fn a_pretender_without_tls_learns_nothing() {
    let pretender = Pretender::start(0, None);
    for tls in [TlsMode::Off, TlsMode::Preferred] {
        let failure =
            probe(&MySqlTarget::new(options(mode(tls))), pretender.port).await.unwrap_err();
        assert!(failure.message.contains(ALLOWS), "{}", failure.message);
    }
    assert_eq!(pretender.heard(), [Heard::Login, Heard::Login]);

    let allowed = ConnectOptions { allow_public_key: true, ..options(mode(TlsMode::Off)) };
    let failure = probe(&MySqlTarget::new(allowed), pretender.port).await.unwrap_err();
    assert!(failure.message.contains("Access denied"), "{}", failure.message);
    assert!(pretender.heard().contains(&Heard::AskedForKey));
    let Some(Heard::Secret(secret)) = pretender.heard().pop() else { panic!("what was allowed") };
    assert_eq!(secret.len(), 256, "as long as the key");
}

#[tokio::test]
async fn a_fleet_with_certificates_of_its_own_making_needs_no_key() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011, Flavor::MariaDb118] {
        let mut server = watched(Options::new(flavor));
        let target = MySqlTarget::new(options(TlsOptions::default()));
        for _ in 0..2 {
            let facts = probe(&target, server.port).await.unwrap();
            assert_eq!(facts.changed_certificate, None, "{flavor:?}");
        }
        let has_tls = flavor != Flavor::MariaDb1011;
        assert_eq!(target.certificates().is_known(&at(server.port)), has_tls, "{flavor:?}");
        // One that starts again is the same: MySQL keeps its certificate and asks for the password,
        // MariaDB makes another one and does not.
        server.kill_9();
        server.restart();
        let facts = probe(&target, server.port).await.unwrap();
        assert_eq!(facts.changed_certificate, None, "{flavor:?}");
    }
}

#[tokio::test]
async fn a_server_that_poses_as_another_gets_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = Certificates::make(folder.path());
    let mut server = watched(Options::new(Flavor::MySql97));
    let target = MySqlTarget::new(options(TlsOptions::default()));
    probe(&target, server.port).await.unwrap();
    let before = target.certificates();

    server.kill_9();
    let pretender = Pretender::start(server.port, Some(&theirs));
    let failure = probe(&target, server.port).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::CertificateChanged);
    assert!(failure.message.contains("confirm-certificate"), "{}", failure.message);
    assert!(pretender.logins() > 0 && !pretender.got_anything(), "{:?}", pretender.heard());
    let shown = before.shown(&at(server.port));
    let Some(Shown::Key(shown)) = shown else { panic!("it is remembered for a person: {shown:?}") };
    assert!(failure.message.contains(shown.as_str()), "{}", failure.message);

    // What it would get otherwise.
    let unpinned = TlsOptions { pinning: Pinning::Off, ..TlsOptions::default() };
    target.set_options(options(unpinned));
    let failure = probe(&target, server.port).await.unwrap_err();
    assert!(failure.message.contains("Access denied"), "{}", failure.message);
    let secret = format!("{PASSWORD}\0").into_bytes();
    assert_eq!(pretender.heard().pop(), Some(Heard::Secret(secret)));
}

/// Renewed on a server that runs: a scramble is enough there, and tells nothing.
#[tokio::test]
async fn a_renewed_certificate_is_told_and_keeps_no_server_out_that_needs_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path());
    let server = watched(Options::new(Flavor::MySql97).tls(&certificates));
    let target = MySqlTarget::new(options(TlsOptions::default()));
    assert_eq!(probe(&target, server.port).await.unwrap().changed_certificate, None);
    certificates.renew_server();
    server.exec("ALTER INSTANCE RELOAD TLS");
    let shown = probe(&target, server.port).await.unwrap().changed_certificate;
    let shown = shown.expect("it is told");
    server.exec("FLUSH PRIVILEGES");
    let failure = probe(&target, server.port).await.unwrap_err();
    assert!(failure.message.contains("confirm-certificate"), "{}", failure.message);
    // An authority says that it is right.
    let ca = TlsOptions { ca_file: Some(certificates.ca.clone()), ..TlsOptions::default() };
    target.set_options(options(ca));
    probe(&target, server.port).await.unwrap();
    target.set_options(options(TlsOptions::default()));
    assert_eq!(probe(&target, server.port).await.unwrap().changed_certificate, None);
    target.certificates().logged_in(&at(server.port), &shown, Verified::No);
    assert_eq!(target.certificates().shown(&at(server.port)), None);
}

#[tokio::test]
async fn what_offered_tls_once_is_not_spoken_to_without() {
    let server = watched(Options::new(Flavor::MySql97));
    let is_active = Arc::new(AtomicBool::new(false));
    let port = strip_tls(&server.address(), Arc::clone(&is_active));
    let target = MySqlTarget::new(options(TlsOptions::default()));
    probe(&target, port).await.unwrap();
    is_active.store(true, Ordering::SeqCst);
    let failure = probe(&target, port).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TlsWithdrawn);
    assert!(failure.message.contains("confirm-certificate"), "{}", failure.message);
    assert_eq!(target.certificates().shown(&at(port)), Some(Shown::NoTls));
    // One that never did is, as far as scrambles go.
    let fresh = MySqlTarget::new(options(TlsOptions::default()));
    probe(&fresh, port).await.unwrap();
    is_active.store(false, Ordering::SeqCst);
    probe(&target, port).await.unwrap();
}

#[tokio::test]
async fn a_server_of_the_same_name_is_another_one_at_another_port() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = Certificates::make(folder.path());
    let target = MySqlTarget::new(options(TlsOptions::default()));
    let pretender = Pretender::start(free_port(), Some(&theirs));
    // Nothing is known of it: that is what `DiscoveryAllow` and an authority are for.
    probe(&target, pretender.port).await.unwrap_err();
    assert!(pretender.got_anything());
    assert!(!target.certificates().is_known(&at(pretender.port)), "it never let us in");
}
