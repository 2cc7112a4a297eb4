//! A shop: a primary with three replicas, and baton that may recover it.

use serde_json::Value;

use super::{Baton, Flavor, Options, PATIENCE, Server, empower, wait_until};

/// Settings that let baton recover whatever it finds.
pub const EVERYWHERE: [(&str, &str); 4] = [
    ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
    ("BATON_RECOVERINTERMEDIATEMASTERCLUSTERFILTERS", "*"),
    ("BATON_DETECTCLUSTERALIASQUERY", "SELECT 'shop'"),
    ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'"),
];

/// A primary with three replicas, and a table they all have.
pub fn shop(flavor: Flavor) -> Vec<Server> {
    shop_with(flavor, |_, options| options)
}

/// The same, with options of its own for each server.
pub fn shop_with(flavor: Flavor, change: fn(usize, Options) -> Options) -> Vec<Server> {
    let options = |index| match index {
        0 => change(0, Options::new(flavor)),
        _ => change(index, Options::new(flavor).read_only()),
    };
    let servers = Server::start_all((0..4).map(options));
    servers[1..].iter().for_each(|replica| replica.replicate_from(&servers[0]));
    empower(&servers);
    servers[0].exec("CREATE DATABASE shop");
    servers[0].exec("CREATE TABLE shop.orders (id INT PRIMARY KEY)");
    wait_until(PATIENCE, "all have the table", || {
        let all = servers.iter().all(|it| it.try_query("SELECT * FROM shop.orders").is_ok());
        all.then_some(())
    });
    servers
}

/// The port of the primary, as baton has it.
pub fn primary(baton: &Baton) -> Option<u64> {
    let answer = baton.get("/api/master/shop");
    answer["Key"]["Port"].as_u64()
}

/// The server on a port.
pub fn at(servers: &[Server], port: u64) -> &Server {
    servers.iter().find(|it| u64::from(it.port) == port).expect("a server of this test")
}

/// Waits until a recovery has ended, and returns it.
pub fn until_recovered(baton: &Baton) -> Value {
    baton.until("/api/audit-recovery", "a recovery has ended", |all| {
        let newest = all.as_array()?.first()?.clone();
        (newest["RecoveryEndTimestamp"] != "").then_some(newest)
    })
}

/// Whether it accepts writes; it has to answer. Whoever asks while it is fenced may be sent away with the
/// clients, and asks again.
pub fn is_writable(server: &Server) -> bool {
    wait_until(PATIENCE, "it says whether it accepts writes", || {
        let answer = server.try_query("SELECT @@global.read_only").ok()?;
        Some(answer.first()?.first()?.as_deref() == Some("0"))
    })
}

/// Waits until it refuses writes. Whoever asks while it is fenced may be sent away with the clients.
pub fn until_fenced(server: &Server) {
    wait_until(PATIENCE, "it is fenced", || {
        let answer = server.try_query("SELECT @@global.read_only").ok()?;
        (answer.first()?.first()?.as_deref() == Some("1")).then_some(())
    });
}
