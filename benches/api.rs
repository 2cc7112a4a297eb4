//! What the API and the dashboard cost while servers in memory are watched: how long answers take among 1,000 instances
//! that are looked at once a second, what 200 open streams of events cost, how long all rows of 10,000 take, and how
//! long a browser needs to show them. Run by `make bench`; with a part of a name after `cargo bench --bench api --`,
//! only what is called so.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and measures real time"
)]

#[path = "../tests/support/memory.rs"]
mod memory;
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton_web::auth::AccessRules;
use baton_web::server::Display;
use memory::{Memory, Plan};

const CALLS: usize = 500;
const STREAMS: usize = 200;
/// For so long streams are open.
const LISTENED: Duration = Duration::from_secs(15);
/// Linux counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;
/// What the thread is called that changes the servers.
const WRITING: &str = "writing";
/// The first argument of the process that listens to events, before the port and how many streams.
const LISTEN: &str = "listen-to-events";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [LISTEN, port, streams] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return listen(port, streams.parse().expect("a number"));
    }
    let wanted = arguments.into_iter().find(|it| !it.starts_with('-')).unwrap_or_default();
    let parts: [(&str, fn()); 4] =
        [("answers", answers), ("streams", streams), ("rows", rows), ("page", page)];
    for (_, part) in parts.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        part();
    }
}

fn thousand() -> Memory {
    Memory::start(Plan {
        clusters: 100,
        size: |_| 10,
        poll_interval: Duration::from_secs(1),
        rules: AccessRules::default(),
        display: Display::default(),
    })
}

/// Does something while every primary writes twice a second, and every second ten replicas begin to lag or catch up.
fn while_busy<T>(memory: &Memory, act: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = std::thread::Builder::new().name(WRITING.to_owned());
        let writer = writing.spawn_scoped(scope, || {
            let mut turn = 0;
            while !is_over.load(Ordering::Relaxed) {
                memory.primaries.iter().for_each(|it| drop(memory.fleet.write(it)));
                for cluster in (turn / 2 % 10..100).step_by(10) {
                    let lag = if turn / 20 % 2 == 0 { 60 } else { 0 };
                    memory.fleet.edit(&memory::server(cluster, 1), |facts| {
                        facts.channels[0].seconds_behind = Some(lag);
                    });
                }
                turn += 1;
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        writer.expect("a thread");
        let done = act();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

fn answers() {
    let memory = thousand();
    while_busy(&memory, || {
        std::thread::sleep(Duration::from_secs(3));
        for (name, path) in [
            ("clusters-info", "/api/clusters-info"),
            ("one cluster", "/api/cluster/alias/cluster7"),
            ("problems", "/api/problems"),
            ("all rows", "/api/fleet"),
        ] {
            let took = (0..CALLS).map(|_| {
                // Not all in the same moment of a second.
                std::thread::sleep(Duration::from_millis(7));
                ask(&memory, path, "").0
            });
            tell(&format!("1,000 instances, {name}"), took.collect(), "p99 20");
        }
    });
}

/// How long the answer took, and how long it is.
fn ask(memory: &Memory, path: &str, headers: &str) -> (Duration, usize) {
    let began = Instant::now();
    let address = format!("127.0.0.1:{}", memory.port);
    let mut stream = TcpStream::connect(&address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n")
        .expect("it hears");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..100]));
    (began.elapsed(), answer.len())
}

fn streams() {
    let memory = thousand();
    while_busy(&memory, || {
        std::thread::sleep(Duration::from_secs(3));
        let none = face_share();
        let [one, all] = [1, STREAMS].map(|streams| {
            let _listener = Listener::start(memory.port, streams);
            std::thread::sleep(Duration::from_secs(2));
            face_share() - none
        });
        println!(
            "streams of events, in percent of a core: the first {one:.1}, {STREAMS} of them {all:.1} (bar 5)"
        );
    });
}

/// Percent of a core that the threads use that face the outside: all but those that watch, and write to, the servers.
fn face_share() -> f64 {
    let before = face_seconds();
    std::thread::sleep(LISTENED);
    (face_seconds() - before) * 100.0 / LISTENED.as_secs_f64()
}

fn face_seconds() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let texts = threads.filter_map(|it| std::fs::read_to_string(it.path().join("stat")).ok());
    let seconds = texts.filter_map(|stat| {
        // Fields are counted from behind the name, which may contain anything.
        let (name, fields) = stat.rsplit_once(')')?;
        if [memory::WATCHING, WRITING].iter().any(|it| name.ends_with(it)) {
            return None;
        }
        let ticks = fields.split_whitespace().skip(11).take(2);
        Some(ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND)
    });
    seconds.sum()
}

/// Another process that listens: what that costs is not baton's.
struct Listener(Child);

impl Listener {
    fn start(port: u16, streams: usize) -> Self {
        let program = std::env::current_exe().expect("this program");
        let child =
            Command::new(program).args([LISTEN, &port.to_string(), &streams.to_string()]).spawn();
        Self(child.expect("it starts"))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listen(port: &str, streams: usize) {
    let address = format!("127.0.0.1:{port}");
    std::thread::scope(|scope| {
        for _ in 0..streams {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(&address).expect("it listens");
                write!(stream, "GET /api/events HTTP/1.1\r\nHost: {address}\r\n\r\n")
                    .expect("it hears");
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
}

fn rows() {
    let memory = Memory::start(Plan::onlooked(Duration::from_secs(5)));
    let first = ask(&memory, "/api/fleet", "").0;
    println!("10,000 instances, all rows, the first time: {:.1} ms", first.as_secs_f64() * 1e3);
    for (name, headers) in [("plain", ""), ("compressed", "Accept-Encoding: gzip\r\n")] {
        let mut bytes = 0;
        let took = (0..20).map(|_| {
            let (took, length) = ask(&memory, "/api/fleet", headers);
            bytes = length;
            took
        });
        let took = took.collect();
        tell(&format!("10,000 instances, all rows, {name}, {bytes} bytes"), took, "none");
    }
}

fn page() {
    let memory = Memory::start(Plan::onlooked(Duration::from_secs(5)));
    support::play_with("onlooker.mjs", &[memory.port], &[], |wish| panic!("{wish}"));
    println!("bars: shown 1000 ms, searched 100 ms, no task over 50 ms");
}

fn tell(what: &str, mut took: Vec<Duration>, bar: &str) {
    took.sort();
    let ms = |share: usize| took[(took.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.1} ms, p99 {:.1} ms (bar {bar})", ms(50), ms(99));
}
