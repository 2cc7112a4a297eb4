//! Many connections that are of no use to anybody, while others want answers and a primary dies.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use crate::BATON;
use crate::support::{
    Baton, EVERYWHERE, Flavor, PATIENCE, Raft, free_seats, seat_settings, shop, told,
    until_recovered, wait_until,
};

/// What a baton may have open: what distributions give programs that ask for nothing.
const FILES: u32 = 1_024;
/// So many strangers try to connect at a time.
const TOGETHER: usize = 50;
/// Together they come back so often in a second: on a small machine, the kernel's part of that is all
/// that would be measured otherwise.
const COME_BACK_A_SECOND: usize = 300;
/// They have as many addresses.
const ADDRESSES: usize = 8;

async fn connect(last: u8, port: u16) -> io::Result<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0)))?;
    socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await
}

/// A connection from another address of this machine.
pub(crate) fn connect_from(last: u8, port: u16) -> io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stream = runtime.block_on(connect(last, port))?.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Strangers, each with a connection on which it says what it says and waits; whoever is hung up on comes
/// again after a while.
struct Flood {
    came: Arc<AtomicUsize>,
    count: usize,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn begin(port: u16, count: usize, say: &'static [&'static str]) -> Self {
        let (came, connecting) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(TOGETHER)));
        let (end, ended) = oneshot::channel();
        let all = Arc::clone(&came);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                for number in 0..count {
                    let (came, connecting) = (Arc::clone(&all), Arc::clone(&connecting));
                    let last = 2 + u8::try_from(number % ADDRESSES).expect("a small number");
                    let away = Duration::from_millis((1_000 * count / COME_BACK_A_SECOND) as u64);
                    tokio::spawn(async move {
                        let mut is_first = true;
                        loop {
                            let place = connecting.acquire().await;
                            let stream = timeout(PATIENCE, connect(last, port)).await;
                            drop(place);
                            if std::mem::take(&mut is_first) {
                                came.fetch_add(1, Ordering::SeqCst);
                            }
                            if let Ok(Ok(mut stream)) = stream {
                                let _ = stream.write_all(say[number % say.len()].as_bytes()).await;
                                let _ = stream.read_to_end(&mut Vec::new()).await;
                            }
                            sleep(away).await;
                        }
                    });
                }
                let _ = ended.await;
            });
        });
        Self { came, count, end: Some(end), thread: Some(thread) }
    }

    fn until_all_came(&self) {
        wait_until(PATIENCE * 6, "all strangers have come", || {
            (self.came.load(Ordering::SeqCst) == self.count).then_some(())
        });
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// So many connections this process may have, beside what else it needs.
fn connections_max() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("raise the limit");
    maximum.map_or(usize::MAX, |it| usize::try_from(it).expect("a limit")).saturating_sub(1_000)
}

#[allow(clippy::print_stdout, clippy::disallowed_methods, reason = "the figure is what is wanted")]
fn answers(baton: &Baton, what: &str) {
    let mut took: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(baton.get("/api/lb-check"), "OK", "{what}");
            begun.elapsed()
        })
        .collect();
    took.sort();
    let [middle, late, last] = [took[100], took[198], took[199]];
    println!("{what}: answered within {middle:.1?}, p99 {late:.1?}, at most {last:.1?}");
    // The bar is 100 ms, on a machine that does nothing else.
    assert!(late < Duration::from_secs(5), "{what}: p99 {late:?}");
}

#[test]
fn ten_thousand_connections_of_no_use_keep_nobody_from_answers_or_a_failover() {
    const SAY: &[&str] = &[
        "",
        "GET /api/clusters HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        "POST /api/clusters HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nhalf",
    ];
    let mut servers = shop(Flavor::MySql97);
    let seeds = vec![servers[0].address()];
    let mut baton = Baton::prepare(BATON, seeds, &EVERYWHERE).with_files(FILES);
    baton.launch();
    baton.until_all_valid(servers.len());
    answers(&baton, "alone");
    let flood = Flood::begin(baton.port, connections_max().min(10_000), SAY);
    answers(&baton, "while strangers come");
    flood.until_all_came();
    answers(&baton, "among strangers");
    servers[0].kill_9();
    let recovery = until_recovered(&baton);
    assert_eq!(recovery["IsSuccessful"], true, "{recovery}");
    answers(&baton, "after the failover");
    drop(flood);
}

/// Strangers at the ports of all nodes, while the nodes agree on something again and again; whether any
/// of them saw another leader or another term.
fn is_disturbed(raft: &Raft) -> bool {
    let told_so_far = || raft.nodes.iter().map(|it| told(it, "raft").len()).collect::<Vec<_>>();
    let before = told_so_far();
    let of_each = (connections_max() / 3).min(1_300);
    let flood = |seat: &String| {
        let port = seat.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Flood::begin(port.expect("a port"), of_each, &["", "POST /raft/vote HTTP/1.1\r\n"])
    };
    let floods: Vec<Flood> = raft.seats.iter().map(flood).collect();
    let agree = || {
        for node in &raft.nodes {
            // Passed on to the leader, and agreed upon by a majority.
            wait_until(PATIENCE, "they agree", || {
                node.try_get("/api/enable-global-recoveries").filter(|(status, _)| *status == 200)
            });
        }
    };
    agree();
    floods.iter().for_each(Flood::until_all_came);
    for _ in 0..50 {
        agree();
    }
    told_so_far() != before
}

#[test]
fn silent_connections_at_the_port_of_raft_cost_no_leader() {
    /// A machine that is busy with something else costs a leader as well.
    const TRIES: usize = 3;
    let seats: [String; 3] = free_seats();
    let all = seats.join(",");
    let start = |seat: &String| {
        let settings = [seat_settings(seat, &all), vec![("BATON_RAFTTIMING", "far")]].concat();
        let mut node = Baton::prepare(BATON, Vec::new(), &settings).with_files(FILES);
        node.launch();
        node
    };
    let raft = Raft { nodes: seats.iter().map(start).collect(), seats: seats.clone() };
    let is_kept = (0..TRIES).any(|_| {
        raft.leader(&[0, 1, 2]);
        for node in &raft.nodes {
            node.until("/api/raft-health", "it takes part", |it| (*it == "healthy").then_some(()));
        }
        !is_disturbed(&raft)
    });
    assert!(is_kept, "a role, a term or a leader changed each time");
}
