//! Ports for whatever a test starts.

use std::net::{SocketAddr as Address, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below what Linux gives outgoing connections (32768 and more), so that a server that is started again finds its port
/// as free as it left it.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

static TRIED: AtomicU32 = AtomicU32::new(0);
/// What this process has taken. A name in the kernel goes with the process, and belongs to one network, as ports do.
static TAKEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port that nobody listens on, and that no other test takes while this process lives.
pub fn free_port() -> u16 {
    // Processes begin far from each other.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(tried) % COUNT;
        let port = u16::try_from(port).expect("a port");
        if let Some(taken) = take(port) {
            TAKEN.lock().expect("nobody panicked").push(taken);
            return port;
        }
    }
    panic!("no port is free");
}

fn take(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("baton-port-{port}")).expect("a name");
    let taken = UnixListener::bind_addr(&name).ok()?;
    TcpListener::bind(Address::from(([0, 0, 0, 0], port))).ok().map(|_| taken)
}
