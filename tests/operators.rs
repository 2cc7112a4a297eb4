//! What the operators of others ask, call by call: Percona's, bitpoke's and KubeBlocks'. Over servers in memory, whose
//! names are those that a cluster gives to pods: the name of a pod, its service, its namespace.

#[path = "support/memory.rs"]
mod memory;
mod support;

use std::process::Command;
use std::time::Duration;

use baton_web::auth::AccessRules;
use baton_web::server::Display;
use memory::{Memory, Plan};
use serde_json::Value;
use support::{Baton, Net, PATIENCE, http, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");

/// One cluster of three.
fn operated() -> Memory {
    Memory::start(Plan {
        clusters: 1,
        size: |_| 3,
        poll_interval: Duration::from_millis(500),
        rules: AccessRules::default(),
        display: Display::default(),
    })
}

/// Status and JSON.
fn ask(memory: &Memory, path: &str) -> (u16, Value) {
    let address = format!("127.0.0.1:{}", memory.port);
    let (status, body) = http::get(&address, path, "").expect("an answer");
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

fn answer(memory: &Memory, path: &str) -> Value {
    ask(memory, path).1
}

/// A wrapped answer that is well.
fn done(memory: &Memory, path: &str) -> Value {
    let (status, answer) = ask(memory, path);
    assert_eq!((status, &answer["Code"]), (200, &Value::from("OK")), "{path}: {answer}");
    answer
}

/// The message of a wrapped error.
fn refused(memory: &Memory, path: &str) -> String {
    let (status, answer) = ask(memory, path);
    assert_eq!((status, &answer["Code"]), (500, &Value::from("ERROR")), "{path}: {answer}");
    answer["Message"].as_str().unwrap_or_default().to_owned()
}

fn until_healthy(memory: &Memory) {
    wait_until(PATIENCE, "all replicate", || {
        let all = answer(memory, "/api/all-instances");
        let is_well = |it: &Value| it["Problems"].as_array().is_some_and(Vec::is_empty);
        all.as_array().is_some_and(|all| all.len() == 3 && all.iter().all(is_well)).then_some(())
    });
}

/// Name and host of a server, as the name of its pod and as the cluster knows it.
fn pod(number: usize) -> (String, String) {
    let host = memory::server(0, number).host().to_owned();
    (host.split('.').next().unwrap_or_default().to_owned(), host)
}

#[test]
#[allow(clippy::too_many_lines, reason = "its calls, in the order it makes them")]
fn every_call_of_perconas_operator_is_answered() {
    let memory = operated();
    until_healthy(&memory);
    let [(_, primary), (heir_pod, heir), (other_pod, other)] = [0, 1, 2].map(pod);

    assert_eq!(answer(&memory, "/api/master/cluster0")["Key"]["Hostname"], primary);
    let cluster = answer(&memory, "/api/cluster/cluster0");
    assert_eq!(cluster.as_array().map(Vec::len), Some(3));
    let all = answer(&memory, "/api/all-instances");
    assert_eq!(all[0]["Key"]["Hostname"], primary, "in the order of a search");
    for field in
        ["InstanceAlias", "MasterKey", "Replicas", "ReadOnly", "IsLastCheckValid", "Problems"]
            .into_iter()
            .chain([
                "IsDowntimed",
                "DowntimeReason",
                "ExecBinlogCoordinates",
                "ClusterName",
                "ExecutedGtidSet",
            ])
    {
        assert!(all[1].get(field).is_some(), "{field}");
    }
    assert_eq!(answer(&memory, &format!("/api/instance/{heir_pod}/3306"))["Key"]["Hostname"], heir);
    done(&memory, &format!("/api/discover/{heir}/3306"));
    done(&memory, &format!("/api/stop-replica/{heir}/3306"));
    done(&memory, &format!("/api/start-replica/{heir}/3306"));
    done(&memory, &format!("/api/set-writeable/{primary}/3306"));
    until_healthy(&memory);

    // A switchover as it makes one: the old primary in downtime, the new one by the name of its pod.
    let downtime = "percona-server-mysql-operator/graceful-switchover/600s";
    let begun = done(&memory, &format!("/api/begin-downtime/{primary}/3306/{downtime}"));
    assert_eq!(begun["Details"]["Hostname"], primary);
    assert_eq!(answer(&memory, "/api/downtimed")[0]["DowntimeReason"], "graceful-switchover");
    let path = format!("/api/graceful-master-takeover-auto/cluster0/{heir_pod}/3306");
    assert_eq!(done(&memory, &path)["Details"]["SuccessorKey"]["Hostname"], heir);
    done(&memory, &format!("/api/end-downtime/{primary}/3306"));
    wait_until(PATIENCE, "it is the primary", || {
        (answer(&memory, "/api/master/cluster0")["Key"]["Hostname"] == heir).then_some(())
    });

    let recoveries = answer(&memory, "/api/audit-recovery/alias/cluster0?unacknowledged=true");
    let recovery = &recoveries[0];
    let uid = recovery["UID"].as_str().expect("a name");
    assert_eq!(recovery["AnalysisEntry"]["CommandHint"], "graceful-master-takeover");
    assert_eq!(recovery["AnalysisEntry"]["AnalyzedInstanceKey"]["Hostname"], primary);
    assert_ne!(recovery["RecoveryEndTimestamp"], "");
    done(&memory, &format!("/api/ack-recovery/uid/{uid}?comment=switchover+done"));
    let open = answer(&memory, "/api/audit-recovery/alias/cluster0?unacknowledged=true");
    assert_eq!(open.as_array().map(Vec::len), Some(0), "{open}");

    let registered = done(&memory, &format!("/api/register-candidate/{other_pod}/3306/prefer"));
    assert_eq!(registered["Details"]["Hostname"], other);
    for (path, text) in [
        ("/api/master/nobody", "Unable to determine cluster name"),
        ("/api/raft-state", "not running with raft setup"),
        ("/api/raft-add-peer/cluster1-orc-3.ns.svc:10008", "not running with raft setup"),
        ("/api/raft-remove-peer/cluster1-orc-3.ns.svc:10008", "not running with raft setup"),
        ("/api/begin-downtime/nobody/3306/me/why/10s", "nobody:3306 not found"),
        ("/api/register-candidate/nobody/3306/prefer", "nobody:3306 not found"),
        ("/api/forget/nobody/3306", "nobody:3306 not found"),
        // A mere part of a name says whom to read, and never whom to change.
        ("/api/forget/cluster0/3306", "cluster0:3306 not found"),
        ("/api/begin-downtime/cluster0/3306/me/why/10s", "cluster0:3306 not found"),
        ("/api/graceful-master-takeover-auto/cluster0/cluster0/3306", "cluster0:3306"),
    ] {
        let message = refused(&memory, path);
        assert!(message.contains(text), "{path}: {message}");
    }
    for path in ["/api/lb-check", "/api/leader-check"] {
        assert_eq!(ask(&memory, path).0, 200, "{path}");
    }
    done(&memory, "/api/health");
    done(&memory, &format!("/api/refresh/{other}/3306"));
    assert_eq!(
        done(&memory, &format!("/api/forget/{other_pod}/3306"))["Details"]["Hostname"],
        other
    );
}

#[test]
fn every_call_of_bitpokes_operator_is_answered() {
    let memory = operated();
    until_healthy(&memory);
    let (_, primary) = pod(0);
    let (_, replica) = pod(1);
    done(&memory, &format!("/api/discover/{replica}/3306"));
    assert_eq!(answer(&memory, "/api/master/cluster0")["Key"]["Hostname"], primary);
    assert!(refused(&memory, "/api/master/nobody").contains("Unable to determine cluster name"));
    assert_eq!(answer(&memory, "/api/cluster/cluster0").as_array().map(Vec::len), Some(3));
    done(&memory, &format!("/api/set-read-only/{primary}/3306"));
    done(&memory, &format!("/api/set-writeable/{primary}/3306"));
    done(&memory, &format!("/api/begin-maintenance/{replica}/3306/operator/upgrade"));
    let maintenance = answer(&memory, "/api/maintenance");
    assert_eq!(maintenance[0]["Key"]["Hostname"], replica);
    assert_eq!(maintenance[0]["Owner"], "operator");
    done(&memory, &format!("/api/end-maintenance/{replica}/3306"));
    assert_eq!(answer(&memory, "/api/maintenance").as_array().map(Vec::len), Some(0));
    done(&memory, &format!("/api/graceful-master-takeover-auto/cluster0/{replica}/3306"));
    for path in ["/api/audit-recovery/cluster/cluster0", "/api/audit-recovery/cluster0"] {
        let recoveries = answer(&memory, path);
        let id = recoveries[0]["Id"].as_u64().unwrap_or_else(|| panic!("{path}: {recoveries}"));
        done(&memory, &format!("/api/ack-recovery/{id}?comment=seen"));
    }
    assert!(refused(&memory, "/api/raft-health").contains("not running with raft setup"));
    done(&memory, &format!("/api/forget/{replica}/3306"));
}

#[test]
fn every_command_of_kubeblocks_is_understood() {
    let memory = operated();
    until_healthy(&memory);
    let api = format!("http://127.0.0.1:{}/api", memory.port);
    let [(_, primary), (_, replica), (_, other)] = [0, 1, 2].map(pod);
    let [primary, replica, other] = [primary, replica, other].map(|host| format!("{host}:3306"));
    let says = |line: &str| {
        let line = line.replace("PRIMARY", &primary).replace("REPLICA", &replica);
        let mut command = Command::new(BATON);
        command.arg("client").args(line.replace("OTHER", &other).split(' '));
        let output = command.env("ORCHESTRATOR_API", &api).output().expect("run the client");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {said} {errors}");
        said
    };
    for (line, expected) in [
        ("-c discover -i REPLICA", replica.clone()),
        ("-c which-cluster -i REPLICA", primary.clone()),
        ("-c which-cluster-alias -i REPLICA", "cluster0".to_owned()),
        ("-c which-cluster-master -i REPLICA", primary.clone()),
        ("-c which-master -i REPLICA", primary.clone()),
        ("-c which-replicas -i PRIMARY", format!("{replica}\n{other}")),
        ("-c which-cluster-instances -i REPLICA", format!("{primary}\n{replica}\n{other}")),
        ("-c all-instances", format!("{primary}\n{replica}\n{other}")),
        ("-c instance -i REPLICA", replica.clone()),
        ("-c register-candidate -i REPLICA -R prefer", replica.clone()),
        ("-c replication-analysis", String::new()),
        ("-c graceful-master-takeover-auto -a cluster0 -d REPLICA", replica.clone()),
        ("-c forget -i OTHER", String::new()),
        ("-c forget-cluster -a cluster0", String::new()),
    ] {
        assert_eq!(says(line), expected, "{line}");
    }
}

#[test]
fn who_the_primaries_are_is_told_as_pairs() {
    let memory = operated();
    until_healthy(&memory);
    let (_, primary) = pod(0);
    for path in ["/api/submit-masters-to-kv-stores", "/api/submit-masters-to-kv-stores/cluster0"] {
        let told = done(&memory, path);
        assert_eq!(told["Details"][0]["Key"], "mysql/master/cluster0");
        assert_eq!(told["Details"][0]["Value"], format!("{primary}:3306"));
        assert_eq!(told["Message"], "Submitted 3 masters", "pairs are counted, as the peer does");
    }
    refused(&memory, "/api/submit-masters-to-kv-stores/nobody");
}

/// The names of one pod: its own, that of its service, and that of the headless one for all.
fn pod_names(index: usize) -> [String; 5] {
    ["", ".ns", ".ns.svc", ".cluster1-orc.ns", ".cluster1-orc.ns.svc"]
        .map(|rest| format!("cluster1-orc-{index}{rest}"))
}

/// A pod as Percona's operator makes it, told of `count` nodes.
fn node_pod(net: &mut Net, index: usize, count: usize) -> Baton {
    let [name, in_namespace, service, headless, _] = pod_names(index);
    let place = net.place(&name);
    pod_names(index).iter().for_each(|name| net.call(name, &place));
    assert!(service.starts_with(&in_namespace));
    let nodes: Vec<String> =
        (0..count).map(|index| format!("{}:10008", pod_names(index)[2])).collect();
    let mut baton = Baton::prepare(BATON, Vec::new(), &[]).at(&place);
    let api = format!("http://{in_namespace}:{}", baton.port);
    baton.set(&[
        ("BATON_RAFTENABLED", "true"),
        ("BATON_RAFTDATADIR", "raft"),
        ("BATON_RAFTADVERTISE", &in_namespace),
        ("BATON_RAFTBIND", &headless),
        ("BATON_RAFTNODES", &nodes.join(",")),
        ("BATON_HTTPADVERTISE", &api),
        ("BATON_RAFTSECRET", "open sesame"),
        ("BATON_RAFTALLOWPLAINTEXT", "true"),
    ]);
    baton.launch();
    baton
}

/// Waits until a pod knows so many members, by the names of their services.
fn until_peers(pod: &Baton, expected: &[usize]) {
    let names: Vec<String> =
        expected.iter().map(|index| format!("{}:10008", pod_names(*index)[2])).collect();
    pod.until("/api/raft-peers", "these take part", |it| {
        (*it == serde_json::json!(names)).then_some(())
    });
}

/// Has something done through whichever pod, and waits until it is.
fn until_done(pod: &Baton, path: &str) {
    wait_until(PATIENCE, path, || pod.try_get(path).filter(|(status, _)| *status == 200));
}

#[test]
fn peers_of_a_raft_are_added_and_removed_by_every_name_that_an_operator_has_for_a_pod() {
    let mut net = Net::join();
    let mut pods: Vec<Baton> = (0..3).map(|index| node_pod(&mut net, index, 3)).collect();
    for one in &pods {
        until_peers(one, &[0, 1, 2]);
        one.until("/api/raft-health", "it is ready", |it| (*it == "healthy").then_some(()));
    }
    pods.push(node_pod(&mut net, 3, 4));
    let port = |name: &str| format!("{name}:10008");
    let [name, in_namespace, service, headless, full] = pod_names(3);
    // By the name of the pod alone, and with the port of raft.
    let all = [name, port(&in_namespace), port(&service), port(&headless), port(&full)];
    for (turn, spelling) in all.iter().enumerate() {
        // Whichever pod is asked, it is the leader who does it.
        let asked = &pods[turn % 3];
        until_done(asked, &format!("/api/raft-add-peer/{spelling}"));
        pods.iter().for_each(|one| until_peers(one, &[0, 1, 2, 3]));
        pods[3].until("/api/raft-health", "it takes part", |it| (*it == "healthy").then_some(()));
        let other = &all[(turn + 2) % all.len()];
        until_done(asked, &format!("/api/raft-remove-peer/{other}"));
        pods[..3].iter().for_each(|one| until_peers(one, &[0, 1, 2]));
        pods[3].until("/api/raft-status", "it is out", |it| (it["Healthy"] == false).then_some(()));
    }
    until_done(&pods[0], &format!("/api/raft-add-peer/{}", all[4]));
    pods.iter().for_each(|one| until_peers(one, &[0, 1, 2, 3]));

    // One that is gone is meant by labels alone: those of its service, in full or cut at a dot.
    pods[3].kill_9();
    for stranger in [all[4].as_str(), "cluster1-orc:10008", "cluster1-orc-4"] {
        pods[0].until(&format!("/api/raft-remove-peer/{stranger}"), "it is refused", |it| {
            let message = it["Message"].as_str()?;
            message.contains("is no member; it must be added first").then_some(())
        });
    }
    until_done(&pods[1], "/api/raft-remove-peer/cluster1-orc-3");
    pods[..3].iter().for_each(|one| until_peers(one, &[0, 1, 2]));

    // Leadership is given to a pod by its name.
    for index in [2, 0, 1] {
        let name = &pod_names(index)[0];
        pods[index].until("/api/raft-state", "it leads", |it| {
            for other in &pods[..3] {
                // Only the leader can, and who that is may change meanwhile.
                let _ = other.try_get(&format!("/api/raft-yield/{name}"));
            }
            (*it == "Leader").then_some(())
        });
        pods[..3].iter().for_each(|one| until_done(one, "/api/enable-global-recoveries"));
    }
    pods[1].kill_9();
    until_done(&pods[0], "/api/disable-global-recoveries");
    until_done(&pods[2], "/api/disable-global-recoveries");
}
