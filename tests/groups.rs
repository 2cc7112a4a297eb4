//! Servers that choose their primary themselves: Group Replication and Galera, with replicas that
//! are no members.

mod support;

use serde_json::Value;
use support::{
    Baton, Flavor, Options, PASSWORD, PATIENCE, Server, USER, empower, free_port, is_writable,
    least_grants, recovery_grants, servers_folder, until_recovered, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const SETTINGS: [(&str, &str); 3] = [
    ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
    ("BATON_RECOVERINTERMEDIATEMASTERCLUSTERFILTERS", "*"),
    ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'"),
];

fn with_plugin(options: Options, own: u16, seeds: &[u16]) -> Options {
    let seeds: Vec<String> = seeds.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    options
        .line("plugin-load-add=group_replication.so")
        .line("loose-group_replication_group_name=aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa")
        .line("loose-group_replication_start_on_boot=OFF")
        .line("loose-group_replication_recovery_get_public_key=ON")
        .line("loose-group_replication_unreachable_majority_timeout=0")
        .line(&format!("loose-group_replication_local_address=127.0.0.1:{own}"))
        .line(&format!("loose-group_replication_group_seeds={}", seeds.join(",")))
}

/// A group of two without performance data, and a replica of the second one that is no member.
fn group() -> Vec<Server> {
    let mysql = || Options::new(Flavor::MySql97).without_performance_schema();
    let ports = [free_port(), free_port()];
    let members = ports.map(|own| with_plugin(mysql(), own, &ports));
    let servers = Server::start_all(members.into_iter().chain([mysql().read_only()]));
    empower(&servers);
    for (index, member) in servers[..2].iter().enumerate() {
        member.run_unlogged(&format!(
            "GRANT SELECT ON performance_schema.replication_group_members TO '{USER}'@'%'"
        ));
        member.exec(
            "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'repl', SOURCE_PASSWORD = 'repl' \
             FOR CHANNEL 'group_replication_recovery'",
        );
        let begins = if index == 0 { "ON" } else { "OFF" };
        member.exec(&format!("SET GLOBAL group_replication_bootstrap_group = {begins}"));
        member.exec("START GROUP_REPLICATION");
        member.exec("SET GLOBAL group_replication_bootstrap_group = OFF");
        wait_until(PATIENCE, "it is a member", || {
            let sql = "SELECT COUNT(*) FROM performance_schema.replication_group_members \
                       WHERE MEMBER_STATE = 'ONLINE'";
            (member.value(sql) == (index + 1).to_string()).then_some(())
        });
    }
    servers[0].exec("CREATE DATABASE shop");
    servers[0].exec("CREATE TABLE shop.t (id INT PRIMARY KEY)");
    servers[2].replicate_from(&servers[1]);
    servers
}

fn below(baton: &Baton, server: &Server, source: &Server) {
    let path = format!("/api/instance/{}/{}", server.host, server.port);
    baton.until(&path, "it stands where it should", |it| {
        (it["MasterKey"]["Port"] == source.port).then_some(())
    });
}

fn message(answer: &Value) -> String {
    answer["Message"].as_str().unwrap_or_default().to_owned()
}

/// Nothing that touches members is begun; a member that dies or hangs is left to its group, and its
/// replica goes to another one.
#[test]
fn a_group_is_left_to_itself_and_replicas_of_members_move_on() {
    for hangs in [false, true] {
        let mut servers = group();
        let baton = Baton::start(BATON, vec![servers[2].address()], &SETTINGS);
        baton.until_all_valid(3);
        let [p, s, _] = [0, 1, 2].map(|it| format!("{}/{}", servers[it].host, servers[it].port));
        let head = servers[0].address();
        baton.until(&format!("/api/instance/{s}"), "both are in one cluster", |it| {
            (it["ClusterName"] == head).then_some(())
        });
        below(&baton, &servers[2], &servers[1]);
        for path in [
            format!("/api/graceful-master-takeover/{head}/{s}"),
            format!("/api/graceful-master-takeover-auto/{head}/{s}"),
            format!("/api/force-master-failover/{p}"),
            format!("/api/force-master-takeover/{head}/{s}"),
            format!("/api/rejoin/{s}"),
        ] {
            let told = message(&baton.get(&path));
            assert!(told.contains("group_replication_set_as_primary"), "{path}: {told}");
        }
        let told = message(&baton.get(&format!("/api/set-writeable/{s}")));
        assert!(told.contains("chooses its primary itself"), "{told}");
        let ready = baton.get(&format!("/api/failover-readiness/{head}"));
        assert!(ready.to_string().contains("group_replication_set_as_primary"), "{ready}");
        assert!(is_writable(&servers[0]) && !is_writable(&servers[1]));

        if hangs {
            servers[1].stop_signal();
        } else {
            servers[1].kill_9();
        }
        let recovery = until_recovered(&baton);
        assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
        let code = recovery["AnalysisEntry"]["Analysis"].clone();
        assert_eq!(code, "DeadReplicationGroupMemberWithReplicas", "{recovery:#}");
        below(&baton, &servers[2], &servers[0]);
        wait_until(PATIENCE, "it replicates from the other member", || {
            servers[2].replication_runs("").then_some(())
        });
        assert!(!is_writable(&servers[2]), "nobody is opened beside the group");
        baton.until_found(&servers[0], "ReplicationGroupWithoutMajority");
    }
}

#[test]
fn a_primary_that_only_has_the_plugin_is_failed_over() {
    let ports = [free_port(), free_port(), free_port()];
    let options = ports.iter().enumerate().map(|(index, own)| {
        let options = Options::new(Flavor::MySql97);
        let options = if index > 0 { options.read_only() } else { options };
        with_plugin(options, *own, &ports)
    });
    let mut servers = Server::start_all(options);
    servers[1..].iter().for_each(|it| it.replicate_from(&servers[0]));
    empower(&servers);
    let baton = Baton::start(BATON, vec![servers[0].address()], &SETTINGS);
    baton.until_all_valid(3);
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
    assert_eq!(recovery["AnalysisEntry"]["Analysis"], "DeadMaster");
}

const CLUSTER: &str = "bbbbbbbb-bbbb-11ee-bbbb-bbbbbbbbbbbb";

/// Two nodes on loopback, and a replica of the first.
fn galera(shares_gtids: bool) -> Vec<Server> {
    let provider = servers_folder().join("galera/root/usr/lib/galera/libgalera_smm.so");
    let ports = [[free_port(), free_port()], [free_port(), free_port()]];
    let sql = [free_port(), free_port()];
    let node = |index: usize| {
        let [group, transfer] = ports[index];
        let address = if index == 0 { String::new() } else { format!("127.0.0.1:{}", ports[0][0]) };
        let mode = if shares_gtids { "ON" } else { "OFF" };
        Options::new(Flavor::MariaDb1011)
            .server_id(if shares_gtids { 700 } else { 700 + u32::try_from(index).unwrap_or(0) })
            .line("wsrep_on=ON")
            .line(&format!("wsrep_provider={}", provider.display()))
            .line(&format!("wsrep_cluster_address=gcomm://{address}"))
            .line(&format!("wsrep_node_address=127.0.0.1:{group}"))
            .line(&format!("port={}", sql[index]))
            .line(&format!("wsrep_node_incoming_address=127.0.0.1:{}", sql[index]))
            .line(&format!(
                "wsrep_provider_options=gmcast.listen_addr=tcp://127.0.0.1:{group};\
                 ist.recv_addr=127.0.0.1:{transfer};gcache.size=8M;pc.weight={}",
                index + 1
            ))
            .line("wsrep_sst_method=skip")
            // Nobody needs a transfer: each joins with all that there is, one view after the other.
            .data_file(
                "grastate.dat",
                &format!(
                    "# GALERA saved state\nversion: 2.1\nuuid: {CLUSTER}\nseqno: {index}\n\
                     safe_to_bootstrap: 1\n"
                ),
            )
            .line("innodb_autoinc_lock_mode=2")
            .line(&format!("wsrep_gtid_mode={mode}"))
            .line("wsrep_gtid_domain_id=9")
    };
    let mut servers = Vec::new();
    for (index, port) in sql.iter().enumerate().take(2) {
        let mut server = Server::start(node(index));
        server.port = *port;
        wait_until(PATIENCE, "the node is in the cluster", || {
            let state = server.try_query("SHOW STATUS LIKE 'wsrep_local_state_comment'").ok()?;
            (state.first()?.get(1)?.as_deref() == Some("Synced")).then_some(())
        });
        servers.push(server);
    }
    let replica = Server::start(Options::new(Flavor::MariaDb1011).read_only());
    replica.replicate_from(&servers[0]);
    servers.push(replica);
    // Accounts go to all nodes, whatever is logged.
    servers[0].exec(&format!("CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'"));
    for grant in [least_grants(Flavor::MariaDb1011), recovery_grants(Flavor::MariaDb1011)].concat()
    {
        servers[0].exec(&grant.replace("{user}", &format!("'{USER}'@'%'")));
    }
    servers[0].exec("CREATE DATABASE shop");
    servers[0].exec("CREATE TABLE shop.t (id INT PRIMARY KEY)");
    servers
}

#[test]
fn nobody_is_opened_beside_a_galera_cluster() {
    for shares_gtids in [false, true] {
        let mut servers = galera(shares_gtids);
        let baton = Baton::start(BATON, vec![servers[0].address()], &SETTINGS);
        baton.until_all_valid(3);
        let [p, r] = [0, 2].map(|it| format!("{}/{}", servers[it].host, servers[it].port));
        below(&baton, &servers[2], &servers[0]);
        let takeover = format!("/api/graceful-master-takeover-auto/{}/{r}", servers[0].address());
        let told = message(&baton.get(&takeover));
        assert!(told.contains("Galera cluster"), "{told}");
        servers[0].exec("INSERT INTO shop.t VALUES (1)");
        wait_until(PATIENCE, "the replica has it", || {
            let found = servers[2].try_query("SELECT * FROM shop.t").ok()?;
            (!found.is_empty()).then_some(())
        });
        servers[0].kill_9();
        baton.until_found(&servers[0], "DeadReplicationGroupMemberWithReplicas");
        if shares_gtids {
            below(&baton, &servers[2], &servers[1]);
        } else {
            let explained = message(&baton.get(&format!("/api/explain/{p}")));
            assert!(explained.contains("wsrep_gtid_mode"), "{explained}");
        }
        let told = message(&baton.get(&format!("/api/force-master-failover/{p}")));
        assert!(told.contains("Galera cluster"), "{told}");
        assert!(!is_writable(&servers[2]), "nobody is opened beside the cluster");
    }
}
