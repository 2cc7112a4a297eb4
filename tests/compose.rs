//! The servers of `deploy/compose`, set up by its script, watched with its secrets and failed over; in processes.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::{
    Baton, EVERYWHERE, Flavor, Options, PATIENCE, Server, is_writable, servers_folder,
    until_recovered, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");

/// Runs the script that the image of a server runs once, when it is new.
fn set_up(server: &Server, source: Option<&Server>, folder: &Path) {
    // Its client finds the server as it does in the container: without being told where.
    let client = servers_folder().join("mysql-9.7/bin/mysql");
    let socket = server.dir().join("s");
    let stand_in = format!(
        "#!/bin/sh\nexec {} --no-defaults --socket={} \"$@\"\n",
        client.display(),
        socket.display()
    );
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).expect("a folder");
    fs::write(bin.join("mysql"), stand_in).expect("write it");
    fs::set_permissions(bin.join("mysql"), fs::Permissions::from_mode(0o755)).expect("make it run");
    // What the harness has put into its servers is not in an image.
    server.run_unlogged("DROP USER repl@'%'");
    let path = std::env::var("PATH").expect("a path");
    let mut script = Command::new(deploy("mysql-init"));
    script.env("PATH", format!("{}:{path}", bin.display())).env("SECRETS", folder.join("secrets"));
    if let Some(source) = source {
        script.env("SOURCE", &source.host).env("SOURCE_PORT", source.port.to_string());
    }
    let done = script.output().expect("run the script");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn deploy(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose").join(path)
}

#[test]
fn the_servers_of_the_composition_replicate_and_are_failed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(deploy("make-secrets"), folder.path().join("make-secrets")).expect("copy");
    let made = Command::new(folder.path().join("make-secrets")).status().expect("run it");
    assert!(made.success());
    let mut servers = Server::start_all((0..4).map(|_| Options::new(Flavor::MySql97)));
    let (primary, replicas) = servers.split_first_mut().expect("four servers");
    set_up(primary, None, folder.path());
    for replica in replicas.iter_mut() {
        set_up(replica, Some(primary), folder.path());
        // The image starts the server proper after that.
        replica.restart();
        assert!(!is_writable(replica), "it was told for good");
        assert_eq!(replica.value("SELECT @@global.gtid_executed"), "", "nothing of its own");
    }
    primary.exec("CREATE DATABASE shop");
    let secrets = folder.path().join("secrets/topology.cnf").display().to_string();
    let mut settings = EVERYWHERE.to_vec();
    settings.retain(|(key, _)| *key != "BATON_REPLICATIONCREDENTIALSQUERY");
    settings.push(("BATON_MYSQLTOPOLOGYCREDENTIALSCONFIGFILE", &secrets));
    let baton = Baton::start(BATON, vec![primary.address()], &settings);
    baton.until_all_valid(4);
    for replica in &servers[1..] {
        wait_until(PATIENCE, "it replicates", || {
            (replica.value("SHOW DATABASES LIKE 'shop'") == "shop").then_some(())
        });
    }
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
    let successor = recovery["SuccessorKey"]["Port"].as_u64().expect("a successor");
    let writable = servers[1..].iter().filter(|it| is_writable(it)).map(|it| u64::from(it.port));
    assert_eq!(writable.collect::<Vec<_>>(), [successor]);
}
