//! What servers are told exactly: TLS options stay, semi-sync is switched and shown.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::ci::{Ci, WHOLE, ours};
use super::support::{Certificates, Flavor, Options, PATIENCE, wait_until};

/// Everything 10114 was told since the log was switched on that changes its source.
fn changes(ci: &Ci) -> String {
    let sql = "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log \
               WHERE CONVERT(argument USING utf8mb4) LIKE 'CHANGE REPLICATION SOURCE TO%' \
               ORDER BY event_time LIMIT 1";
    ci.server(10114).value(sql).to_lowercase()
}

/// Empties the general log of 10114.
fn forget(ci: &Ci) {
    for sql in ["SET GLOBAL general_log = OFF", "SET GLOBAL log_output = 'TABLE'"] {
        ci.server(10114).exec(sql);
    }
    ci.server(10114).exec("TRUNCATE TABLE mysql.general_log");
    ci.server(10114).exec("SET GLOBAL general_log = ON");
}

/// An RSA key of nobody.
fn public_key(folder: &Path) -> PathBuf {
    let key = folder.join("public.pem");
    let script = format!("openssl genrsa 2048 | openssl rsa -pubout -out {}", key.display());
    let made = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
    assert!(made.expect("run openssl").success(), "{script}");
    key
}

#[test]
fn options_of_replication_are_stated_again_with_every_change() {
    // I10
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(folder.path());
    let ci = Ci::start_with(&Options::new(Flavor::MySql97).tls(&certificates));
    let rich = ci.server(10114);
    rich.exec("STOP REPLICA");
    rich.exec(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_SSL = 1, SOURCE_SSL_CA = '{}', \
         SOURCE_SSL_VERIFY_SERVER_CERT = 1, SOURCE_TLS_VERSION = 'TLSv1.2,TLSv1.3'",
        certificates.ca.display()
    ));
    rich.exec("START REPLICA");
    wait_until(PATIENCE, "it replicates", || rich.replication_runs("").then_some(()));
    ci.says("-c discover -i 127.0.0.1:10114");

    // change-replication-preserve-tls-options
    forget(&ci);
    ci.says("-c relocate -i 127.0.0.1:10114 -d 127.0.0.1:10112");
    let told = changes(&ci);
    for fragment in ["source_ssl_ca", "source_ssl_verify_server_cert"] {
        assert!(told.contains(fragment), "{fragment} in {told}");
    }
    ci.says("-c relocate -i 127.0.0.1:10114 -d 127.0.0.1:10111");

    // change-master-credentials-preserve-tls
    ci.configure(&json!({"ReplicationCredentialsQuery":
        "SELECT 'repl' AS user, 'repl' AS password, '' AS sslCaCert, '' AS sslCert, '' AS sslKey"}));
    rich.exec("STOP REPLICA");
    let key = public_key(folder.path());
    let change =
        format!("CHANGE REPLICATION SOURCE TO SOURCE_PUBLIC_KEY_PATH = '{}'", key.display());
    rich.exec(&change);
    forget(&ci);
    ci.says("-c change-master-credentials -i 127.0.0.1:10114");
    let told = changes(&ci);
    for fragment in [
        "source_user",
        "source_ssl_ca",
        "source_ssl_verify_server_cert",
        "source_tls_version",
        "source_public_key_path",
        "get_source_public_key",
    ] {
        assert!(told.contains(fragment), "{fragment} in {told}");
    }
    rich.exec("START REPLICA");
    ci.until_topology(WHOLE);
}

#[test]
fn semi_sync_is_switched_shown_and_missed() {
    let ci = Ci::start();

    // semi-sync
    ci.says("-c enable-semi-sync-master -i 127.0.0.1:10111");
    for name in [10112, 10113, 10114] {
        let said = ci.says(&format!("-c enable-semi-sync-replica -i 127.0.0.1:{name}"));
        assert_eq!(said, ours(name));
    }
    // What was committed before anybody acknowledged waits for something that is acknowledged.
    ci.servers[0].exec("CREATE DATABASE acknowledged");
    let version = ci.servers[0].value("SELECT @@version");
    let expected = format!(
        "127.0.0.1:10111   [0s,ok,{version},rw,ROW,>>,GTID,semi:master]
+ 127.0.0.1:10112 [0s,ok,{version},ro,ROW,>>,GTID,semi:replica]
+ 127.0.0.1:10113 [0s,ok,{version},ro,ROW,>>,GTID,semi:replica]
+ 127.0.0.1:10114 [0s,ok,{version},ro,ROW,>>,GTID,semi:replica]"
    );
    ci.until_says("-c topology -a ci", &expected);
    for name in [10113, 10114] {
        ci.says(&format!("-c disable-semi-sync-replica -i 127.0.0.1:{name}"));
    }

    // analysis-locked-semi-sync-master
    ci.says("-c disable-semi-sync-replica -i 127.0.0.1:10112");
    let found = |code: &str| format!("127.0.0.1:10111 (cluster 127.0.0.1:10111): {code}");
    ci.until_says("-c replication-analysis", &found("LockedSemiSyncMasterHypothesis"));
    ci.until_says("-c replication-analysis", &found("LockedSemiSyncMaster"));
    ci.says("-c disable-semi-sync-master -i 127.0.0.1:10111");
    ci.until_says("-c replication-analysis", "");
    ci.until_topology(WHOLE);
}
