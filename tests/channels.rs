//! Servers with more than one replication channel: where they stand, and that nothing touches the
//! channels that are none of baton's business.

mod support;

use serde_json::Value;
use support::{
    Baton, Flavor, Options, PATIENCE, Server, at, empower, is_writable, until_fenced,
    until_recovered, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const FLAVORS: [Flavor; 2] = [Flavor::MySql97, Flavor::MariaDb1011];
const SETTINGS: [(&str, &str); 3] = [
    ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
    ("BATON_RECOVERINTERMEDIATEMASTERCLUSTERFILTERS", "*"),
    ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'"),
];

/// Started at once; on MariaDB each with a GTID domain of its own.
fn servers(flavor: Flavor, read_only: &[bool]) -> Vec<Server> {
    Server::start_all(read_only.iter().enumerate().map(|(index, read_only)| {
        let mut options = Options::new(flavor);
        if flavor == Flavor::MariaDb1011 && !read_only {
            options = options.line(&format!("gtid_domain_id={index}"));
        }
        if flavor == Flavor::MariaDb1011 {
            // Who imports would be turned away by a source that has less of it.
            options = options.line("gtid_ignore_duplicates=ON");
        }
        if *read_only { options.read_only() } else { options }
    }))
}

fn until_there(server: &Server, table: &str, id: u32) {
    wait_until(PATIENCE, &format!("{} has {id} in {table}", server.address()), || {
        let found = server.try_query(&format!("SELECT id FROM {table} WHERE id = {id}"));
        found.is_ok_and(|rows| !rows.is_empty()).then_some(())
    });
}

/// Port and state of a channel, as the server itself tells.
fn channel(server: &Server, name: &str) -> Option<(u16, bool)> {
    let port = server.replica_status(name, "Source_Port")?;
    Some((port.parse().ok()?, server.replication_runs(name)))
}

fn until_channel(server: &Server, name: &str, source: &Server) {
    wait_until(PATIENCE, &format!("{} replicates by {name:?}", server.address()), || {
        (channel(server, name) == Some((source.port, true))).then_some(())
    });
}

fn instance(baton: &Baton, server: &Server) -> Value {
    baton.get(&format!("/api/instance/{}/{}", server.host, server.port))
}

/// Waits until baton has the server below the other, or at the top.
fn until_placed(baton: &Baton, server: &Server, source: Option<&Server>) {
    let path = format!("/api/instance/{}/{}", server.host, server.port);
    let expected = source.map_or(0, |source| source.port);
    baton.until(&path, "it stands where it should", |it| {
        (it["MasterKey"]["Port"] == expected).then_some(())
    });
}

/// A primary imports from a warehouse; one of its replicas does, from another one.
#[test]
fn what_a_server_imports_is_neither_its_place_nor_moved() {
    for flavor in FLAVORS {
        let mut all = servers(flavor, &[false, true, true, false, false]);
        empower(&all);
        let (replicas, warehouses) = (1..3, [&all[3], &all[4]]);
        replicas.for_each(|index| all[index].replicate_from(&all[0]));
        all[0].replicate_channel("imports", warehouses[0]);
        all[2].replicate_channel("extra", warehouses[1]);
        for (index, name) in [(0, "shop"), (3, "stock"), (4, "extra")] {
            all[index].exec(&format!("CREATE DATABASE {name}"));
            all[index].exec(&format!("CREATE TABLE {name}.t (id INT PRIMARY KEY)"));
            all[index].exec(&format!("INSERT INTO {name}.t VALUES (1)"));
        }
        all[1..3].iter().for_each(|it| until_there(it, "stock.t", 1));
        until_there(&all[2], "extra.t", 1);

        let baton = Baton::start(BATON, vec![all[0].address()], &SETTINGS);
        baton.until_all_valid(5);
        for (index, source) in [(0, None), (1, Some(0)), (2, Some(0)), (3, None), (4, None)] {
            until_placed(&baton, &all[index], source.map(|source: usize| &all[source]));
        }
        assert_eq!(instance(&baton, &all[2])["GtidErrant"], "", "it is there on purpose");

        // In peace, there and back.
        let takeover = |to: &Server, of: &Server| {
            let path = format!(
                "/api/graceful-master-takeover-auto/{}/{}/{}",
                of.address(),
                to.host,
                to.port
            );
            let answer = baton.get(&path);
            assert_eq!(answer["Code"], "OK", "{answer}\n{}", baton.log());
        };
        for (new, old) in [(1, 0), (0, 1)] {
            takeover(&all[new], &all[old]);
            assert!(is_writable(&all[new]) && !is_writable(&all[old]));
            until_channel(&all[old], "", &all[new]);
            until_channel(&all[2], "", &all[new]);
            until_placed(&baton, &all[new], None);
            until_placed(&baton, &all[old], Some(&all[new]));
            until_channel(&all[0], "imports", &all[3]);
            until_channel(&all[2], "extra", &all[4]);
        }

        // And by force.
        all[0].exec("INSERT INTO shop.t VALUES (2)");
        all[1..3].iter().for_each(|it| until_there(it, "shop.t", 2));
        all[0].kill_9();
        let successor = &all[1];
        baton.until("/api/audit-recovery", "the other one would bring its imports along", |it| {
            let newest = it.as_array()?.first()?;
            let is_by_force = newest["RecoveryEndTimestamp"] != ""
                && newest["SuccessorKey"]["Port"] == successor.port;
            (is_by_force && newest["IsSuccessful"] == true).then_some(())
        });
        assert!(is_writable(successor));
        until_channel(&all[2], "", successor);
        until_channel(&all[2], "extra", &all[4]);
        successor.exec("INSERT INTO shop.t VALUES (3)");
        until_there(&all[2], "shop.t", 3);

        // The old one comes back, goes on importing, and is made a replica of the new one.
        all[0].restart();
        until_fenced(&all[0]);
        until_placed(&baton, &all[0], None);
        until_channel(&all[0], "imports", &all[3]);
        all[3].exec("INSERT INTO stock.t VALUES (4)");
        until_there(&all[0], "stock.t", 4);
        let home = format!("/api/rejoin/{}/{}", all[0].host, all[0].port);
        baton.until(&home, "it is back", |it| (it["Code"] == "OK").then_some(()));
        until_channel(&all[0], "", &all[1]);
        until_channel(&all[0], "imports", &all[3]);
        until_there(&all[0], "shop.t", 3);
        assert!(is_writable(&all[3]) && is_writable(&all[4]), "nobody touched the warehouses");
        assert_eq!(all[3].replica_status("", "Source_Port"), None);
    }
}

/// People give their only channel a name.
#[test]
fn replicas_whose_only_channel_has_a_name_are_replicas() {
    for flavor in FLAVORS {
        let mut all = servers(flavor, &[false, true, true]);
        empower(&all);
        all[1..].iter().for_each(|it| it.replicate_channel("main", &all[0]));
        all[0].exec("CREATE DATABASE shop");
        all[0].exec("CREATE TABLE shop.t (id INT PRIMARY KEY)");
        let baton = Baton::start(BATON, vec![all[0].address()], &SETTINGS);
        baton.until_all_valid(3);
        all[1..].iter().for_each(|it| until_placed(&baton, it, Some(&all[0])));
        all[0].exec("INSERT INTO shop.t VALUES (1)");
        all[1..].iter().for_each(|it| until_there(it, "shop.t", 1));
        all[0].kill_9();
        let recovery = until_recovered(&baton);
        assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
        let successor = recovery["SuccessorKey"]["Port"].as_u64().expect("a successor");
        let successor = at(&all, successor);
        let other = all[1..].iter().find(|it| it.port != successor.port).expect("another");
        assert!(is_writable(successor) && !is_writable(other));
        until_channel(other, "main", successor);
        assert_eq!(other.replica_status("", "Source_Port"), None, "no channel was added");
        successor.exec("INSERT INTO shop.t VALUES (2)");
        until_there(other, "shop.t", 2);
        until_placed(&baton, other, Some(successor));
    }
}
