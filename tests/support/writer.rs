//! Applications that write all the time, wherever they are let.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};

use super::Server;

/// The account applications write with: no privilege helps it past a read-only server.
const USER: &str = "app";
const PASSWORD: &str = "app";
/// How often each of them tries.
const EVERY: Duration = Duration::from_millis(5);
/// A write that takes longer is given up: whether it was done is not known then.
const PATIENCE: Duration = Duration::from_secs(2);

/// A write that a server acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledged {
    /// Its number; no two writes have the same.
    pub id: u64,
    /// The server's place in the list of servers.
    pub server: usize,
    /// When the acknowledgement came.
    pub at: Instant,
}

/// One writer for each server; ends when dropped.
pub struct Writers {
    done: Arc<Mutex<Vec<Acknowledged>>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Makes the table and the accounts, which have to be on the primary alone to write to.
    pub fn prepare(servers: &[Server]) {
        servers.iter().for_each(Self::admit);
        servers[0].exec("CREATE DATABASE IF NOT EXISTS shop");
        servers[0].exec("CREATE TABLE shop.writes (id BIGINT PRIMARY KEY)");
        super::wait_until(super::PATIENCE, "all have the table", || {
            let all = servers.iter().all(|it| it.try_query("SELECT * FROM shop.writes").is_ok());
            all.then_some(())
        });
    }

    /// Makes the account on one server.
    pub fn admit(server: &Server) {
        server.create_monitor_user(USER, PASSWORD, &["GRANT SELECT, INSERT ON shop.* TO {user}"]);
    }

    /// Starts to write, on every server that lets us.
    pub fn start(servers: &[Server]) -> Self {
        let done: Arc<Mutex<Vec<Acknowledged>>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new(1));
        let threads = servers.iter().enumerate().map(|(server, it)| {
            let opts = OptsBuilder::default()
                .ip_or_hostname(it.host.clone())
                .tcp_port(it.port)
                .user(Some(USER))
                .pass(Some(PASSWORD))
                .prefer_socket(false);
            let writer = Writer {
                server,
                opts: opts.into(),
                next: Arc::clone(&next),
                done: Arc::clone(&done),
                is_over: Arc::clone(&is_over),
            };
            std::thread::spawn(move || writer.run())
        });
        Self { done: Arc::clone(&done), is_over: Arc::clone(&is_over), threads: threads.collect() }
    }

    /// Everything acknowledged so far, in order of time.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        let mut all = self.done.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_by_key(|write| write.at);
        all
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

struct Writer {
    server: usize,
    opts: Opts,
    next: Arc<AtomicU64>,
    done: Arc<Mutex<Vec<Acknowledged>>>,
    is_over: Arc<AtomicBool>,
}

impl Writer {
    fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime for a writer").block_on(async {
            let mut connection: Option<Conn> = None;
            while !self.is_over.load(Ordering::Relaxed) {
                tokio::time::sleep(EVERY).await;
                let attempt = self.write(connection.take());
                if let Ok(Some(kept)) = tokio::time::timeout(PATIENCE, attempt).await {
                    connection = Some(kept);
                }
            }
        });
    }

    /// Writes once; gives the connection back while it is good for more.
    #[allow(clippy::disallowed_methods, reason = "writers live in real time")]
    async fn write(&self, connection: Option<Conn>) -> Option<Conn> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => Conn::new(self.opts.clone()).await.ok()?,
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let sql = format!("INSERT INTO shop.writes VALUES ({id})");
        match connection.query_drop(sql).await {
            Ok(()) => {
                let write = Acknowledged { id, server: self.server, at: Instant::now() };
                self.done.lock().unwrap_or_else(PoisonError::into_inner).push(write);
                Some(connection)
            }
            // Refused, as on any replica; the connection is fine.
            Err(mysql_async::Error::Server(_)) => Some(connection),
            Err(_) => None,
        }
    }
}
