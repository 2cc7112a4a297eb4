//! Whoever writes the heartbeat that lag is measured by: on the writable server, whichever that is.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};

use super::support::Server;

/// The account of the heartbeat: no privilege helps it past a read-only server.
const USER: &str = "heartbeat";
const EVERY: Duration = Duration::from_millis(200);
/// A write that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(1);
const BEAT: &str = "REPLACE INTO test.heartbeat (id, ts, hint) VALUES (1, NOW(), '')";

/// One writer for each server; ends when dropped.
pub(super) struct Heartbeat {
    writers: Vec<(Sender<()>, JoinHandle<()>)>,
}

impl Heartbeat {
    /// Makes its account on one server.
    pub(super) fn admit(server: &Server) {
        let grants = ["GRANT SELECT, INSERT, DELETE ON test.* TO {user}"];
        server.create_monitor_user(USER, USER, &grants);
    }

    pub(super) fn start(servers: &[Server]) -> Self {
        let writers = servers.iter().map(|server| {
            let options = OptsBuilder::default()
                .ip_or_hostname(server.host.clone())
                .tcp_port(server.port)
                .user(Some(USER))
                .pass(Some(USER))
                .prefer_socket(false);
            let (end, ended) = channel();
            let beat = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("a runtime for a writer");
                let mut connection = None;
                while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    let write = beat(connection.take(), options.clone().into());
                    let write = async { tokio::time::timeout(PATIENCE, write).await };
                    connection = runtime.block_on(write).ok().flatten();
                }
            };
            (end, std::thread::spawn(beat))
        });
        Self { writers: writers.collect() }
    }
}

/// Writes once; gives the connection back while it is good for more.
async fn beat(connection: Option<Conn>, options: Opts) -> Option<Conn> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => Conn::new(options).await.ok()?,
    };
    match connection.query_drop(BEAT).await {
        // Refused, as on any replica; the connection is fine.
        Ok(()) | Err(mysql_async::Error::Server(_)) => Some(connection),
        Err(_) => None,
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        for (end, thread) in self.writers.drain(..) {
            drop(end);
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}
