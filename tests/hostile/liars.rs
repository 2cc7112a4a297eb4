//! Servers that say of themselves and of others what is not so.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use serde_json::Value;

use crate::BATON;
use crate::support::{
    Baton, EVERYWHERE, Flavor, Options, PATIENCE, Server, empower, is_writable, star,
    until_recovered, wait_until,
};

/// More clusters than the fleet breaker needs.
const NOWHERE: u16 = 30;

fn start(seeds: &[String]) -> Baton {
    let settings = [&EVERYWHERE[..], &[("BATON_INSTANCEPOLLSECONDS", "1")]].concat();
    Baton::start(BATON, seeds.to_vec(), &settings)
}

fn problems(answer: &Value) -> Vec<&str> {
    answer["Problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Waits until baton says that a server's source never listed it.
fn until_unlisted(baton: &Baton, server: &Server) {
    let path = format!("/api/instance/{}/{}", server.host, server.port);
    baton.until(&path, "it is said not to be listed", |it| {
        problems(it).contains(&"not_listed_by_its_source").then_some(())
    });
}

/// A server with data of its own.
fn of_another_cluster(flavor: Flavor) -> Server {
    let server = Server::start(Options::new(flavor));
    server.exec("CREATE DATABASE other");
    server
}

#[test]
fn a_server_of_another_cluster_neither_blocks_a_failover_nor_succeeds() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let mut servers = star(&Options::new(flavor), 1);
        let claimant = of_another_cluster(flavor);
        let (host, port) = (servers[0].host.clone(), servers[0].port);
        // The source turns it away, which else is a sign that it lives.
        match flavor {
            Flavor::MySql97 => {
                claimant.exec(&format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{host}', SOURCE_PORT = {port}, \
                     SOURCE_USER = 'repl', SOURCE_PASSWORD = 'wrong', GET_SOURCE_PUBLIC_KEY = 1, \
                     SOURCE_AUTO_POSITION = 1"
                ));
                claimant.exec("START REPLICA");
                // And it names hosts that do not exist.
                for number in 0..NOWHERE {
                    claimant.exec(&format!(
                        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', \
                         SOURCE_PORT = {} FOR CHANNEL 'nowhere{number}'",
                        number + 1
                    ));
                }
            }
            _ => {
                claimant.exec(&format!(
                    "CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}, \
                     MASTER_USER = 'repl', MASTER_PASSWORD = 'wrong', MASTER_USE_GTID = slave_pos"
                ));
                claimant.exec("START SLAVE");
            }
        }
        wait_until(PATIENCE, "it is turned away", || {
            (claimant.replica_status("", "Last_IO_Errno")? == "1045").then_some(())
        });
        servers.push(claimant);
        empower(&servers);
        let baton = start(&[servers[0].address(), servers[2].address()]);
        until_unlisted(&baton, &servers[2]);
        if flavor == Flavor::MySql97 {
            baton.until("/api/all-instances", "all that it names are known", |it| {
                let failed = it.as_array()?.iter().filter(|it| it["IsLastCheckValid"] == false);
                (failed.count() >= usize::from(NOWHERE)).then_some(())
            });
            let breaker = baton.get("/api/fleet-breaker");
            assert_eq!(breaker["Details"], "closed", "{breaker}");
        }
        servers[0].kill_9();
        let recovery = until_recovered(&baton);
        assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
        assert_eq!(recovery["SuccessorKey"]["Port"], servers[1].port, "{recovery:#}");
        assert!(is_writable(&servers[1]));
        let named = servers[2].replica_status("", "Port");
        assert_eq!(named, Some(port.to_string()), "it is left alone");
    }
}

/// Passes connections on to a port of loopback that may change: each goes where it began.
struct Detour {
    port: u16,
    to: Arc<AtomicU16>,
}

impl Detour {
    fn to(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let to = Arc::new(AtomicU16::new(server.port));
        let target = Arc::clone(&to);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Where nobody listens, the connection ends here.
                if let Ok(there) = TcpStream::connect(("127.0.0.1", target.load(Ordering::Relaxed)))
                {
                    pass_on(&stream, &there);
                    pass_on(&there, &stream);
                }
            }
        });
        Self { port, to }
    }

    fn lead_to(&self, server: &Server) {
        self.to.store(server.port, Ordering::Relaxed);
    }
}

fn pass_on(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().expect("share"), to.try_clone().expect("share"));
    thread::spawn(move || {
        // Either end may go at any time.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

fn replicate_over(replica: &Server, port: u16) {
    replica.exec(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
         SOURCE_USER = 'repl', SOURCE_PASSWORD = 'repl', GET_SOURCE_PUBLIC_KEY = 1, \
         SOURCE_CONNECT_RETRY = 1, SOURCE_HEARTBEAT_PERIOD = 1, SOURCE_AUTO_POSITION = 1"
    ));
    replica.exec("START REPLICA");
    wait_until(PATIENCE, "it replicates", || replica.replication_runs("").then_some(()));
}

/// Its receiver runs, and goes on running: what it is connected to is another server.
#[test]
fn a_receiver_that_runs_and_is_not_listed_is_no_sign_of_life() {
    let flavor = Flavor::MySql97;
    let options = [
        Options::new(flavor),
        Options::new(flavor).read_only(),
        Options::new(flavor),
        Options::new(flavor).read_only(),
    ];
    let mut servers = Server::start_all(options);
    empower(&servers);
    servers[2].exec("CREATE DATABASE other");
    let detour = Detour::to(&servers[2]);
    replicate_over(&servers[3], detour.port);
    detour.lead_to(&servers[0]);
    replicate_over(&servers[1], detour.port);
    let baton = start(&[format!("127.0.0.1:{}", detour.port), servers[3].address()]);
    until_unlisted(&baton, &servers[3]);
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery:#}");
    assert_eq!(recovery["SuccessorKey"]["Port"], servers[1].port, "{recovery:#}");
    assert!(is_writable(&servers[1]) && servers[3].replication_runs(""));
}
