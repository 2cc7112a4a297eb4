//! A network of a test's own: places, each with an address, connected by a wire that can be cut, slowed and made lossy.
//!
//! A place is a network namespace whose only way out is a tunnel, which `socat` connects to the wire. The wire is a
//! thread of the test that passes packets on: what it forgets is lost, what it keeps for a while is late. So no kernel
//! module is needed, and a link can be cut in one direction only. Everything ends with the test, however it ends:
//! places are processes that the kernel kills with the thread that made them, and namespaces end with their last one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, SocketAddrUnix, sendto};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use super::{PATIENCE, wait_until};

/// All addresses begin like this; the last number is the place's own.
const PREFIX: [u8; 3] = [10, 77, 0];
/// The longest the wire sleeps: how late it notices that the test is over.
const NAP: Duration = Duration::from_millis(20);
/// Larger than any packet of a tunnel.
const PACKET_MAX: usize = 8192;

/// A machine: a namespace with one address.
#[derive(Debug, Clone)]
pub struct Place {
    name: String,
    number: u8,
    pid: u32,
}

impl Place {
    /// Where others reach it.
    pub fn address(&self) -> String {
        let [a, b, c] = PREFIX;
        format!("{a}.{b}.{c}.{}", self.number)
    }

    /// What the test calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs there, in `folder`; the program and its arguments are still to be added. It ends with the
    /// thread that starts it.
    pub fn command(&self, folder: &Path) -> Command {
        let namespaces = format!("/proc/{}/ns", self.pid);
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={namespaces}/net"))
            .arg(format!("--mount={namespaces}/mnt"))
            .arg(format!("--wdns={}", folder.display()))
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--"]);
        command
    }

    /// Runs a script there, to its end; returns what it printed.
    pub fn run(&self, script: &str) -> String {
        let output = self.command(Path::new("/")).args(["sh", "-ec", script]).output();
        let output = output.expect("run nsenter (util-linux)");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Gives `folder` a disk of its own of so many KiB, which only those who run here see.
    pub fn small_disk(&self, folder: &Path, kibibytes: u32) {
        let folder = folder.display();
        self.run(&format!(
            "mkdir -p {folder} && mount -t tmpfs -o size={kibibytes}k,mode=777 tmpfs {folder}"
        ));
    }
}

/// The places of one test and the wire between them.
pub struct Net {
    folder: TempDir,
    wire: Arc<Wire>,
    carrier: Option<JoinHandle<()>>,
    places: Vec<Child>,
    hosts: BTreeMap<String, String>,
    test: Option<Place>,
}

impl Net {
    /// A network with one place so far: the one the calling thread moves to, from which it reaches all others. What it
    /// starts from now on, threads too, is there.
    pub fn join() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "namespaces need root: run the tests as root, or in `unshare --map-root-user`"
        );
        let folder = tempfile::Builder::new().prefix("baton-net-").tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("wire")).expect("the wire's socket");
        let wire = Arc::new(Wire {
            socket,
            folder: folder.path().to_owned(),
            links: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let carrier = Arc::clone(&wire);
        let carrier = Some(std::thread::spawn(move || Carrier::new(carrier).run()));
        let (places, hosts) = (Vec::new(), BTreeMap::new());
        let mut net = Self { folder, wire, carrier, places, hosts, test: None };
        net.write_hosts();
        let here = net.place("the test");
        let namespace = fs::File::open(format!("/proc/{}/ns/net", here.pid)).expect("it is there");
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&namespace),
            Some(LinkNameSpaceType::Network),
        )
        .expect("move to the test's own place");
        net.test = Some(here);
        net
    }

    /// Where the test itself is.
    pub fn test(&self) -> Place {
        self.test.clone().expect("it has joined")
    }

    /// One more place. All reach it.
    pub fn place(&mut self, name: &str) -> Place {
        let number = u8::try_from(self.places.len() + 1).expect("fewer than 255 places");
        let mine = self.folder.path().join(number.to_string());
        let log = self.folder.path().join(format!("{number}.log"));
        let output = fs::File::create(&log).expect("create a log");
        let [a, b, c] = PREFIX;
        let (hosts, wire) = (self.hosts_file(), self.folder.path().join("wire"));
        let script = format!(
            "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 || true; \
             echo 1000 >/proc/sys/net/unix/max_dgram_qlen; \
             ip link set lo up; mount --bind {hosts} /etc/hosts; \
             exec socat TUN:{a}.{b}.{c}.{number}/24,tun-type=tun,iff-no-pi,tun-name=wire,up \
             UNIX-SENDTO:{wire},bind={mine}",
            hosts = hosts.display(),
            wire = wire.display(),
            mine = mine.display(),
        );
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--mount", "sh", "-ec"])
            .arg(script)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("share the log"))
            .stderr(output)
            .spawn()
            .expect("start a place through setpriv and unshare (util-linux)");
        wait_until(PATIENCE, "a place is connected", || {
            let ended = child.try_wait().expect("look at the place");
            assert!(ended.is_none(), "{}", fs::read_to_string(&log).unwrap_or_default());
            mine.exists().then_some(())
        });
        let place = Place { name: name.to_owned(), number, pid: child.id() };
        self.places.push(child);
        place
    }

    /// From now on all places find `host` at this one.
    pub fn call(&mut self, host: &str, place: &Place) {
        self.hosts.insert(host.to_owned(), place.address());
        self.write_hosts();
    }

    fn hosts_file(&self) -> PathBuf {
        self.folder.path().join("hosts")
    }

    /// In place, because the file is mounted.
    fn write_hosts(&self) {
        let line = |(name, address): (&String, &String)| format!("{address} {name}\n");
        let text: String = self.hosts.iter().map(line).collect();
        fs::write(self.hosts_file(), format!("127.0.0.1 localhost\n{text}")).expect("write hosts");
    }

    /// Nothing that `from` send reaches `to` any more; the other direction is as it was.
    pub fn cut(&self, from: &[&Place], to: &[&Place]) {
        self.change(from, to, |link| link.is_cut = true);
    }

    /// Nothing passes between these any more.
    pub fn part(&self, some: &[&Place], others: &[&Place]) {
        self.cut(some, others);
        self.cut(others, some);
    }

    /// Packets between these take so long, each way.
    pub fn slow(&self, some: &[&Place], others: &[&Place], each_way: Duration) {
        self.change(some, others, |link| link.delay = each_way);
        self.change(others, some, |link| link.delay = each_way);
    }

    /// So many of a hundred packets between these are lost, each way.
    pub fn lose(&self, some: &[&Place], others: &[&Place], percent: u8) {
        self.change(some, others, |link| link.lost_percent = percent);
        self.change(others, some, |link| link.lost_percent = percent);
    }

    /// Everything passes at once again.
    pub fn heal(&self) {
        self.wire.links().clear();
    }

    fn change(&self, from: &[&Place], to: &[&Place], change: impl Fn(&mut Link)) {
        let mut links = self.wire.links();
        for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
            if from.number != to.number {
                change(links.entry((from.number, to.number)).or_default());
            }
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.wire.is_over.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            // If it panicked it has said so.
            let _ = carrier.join();
        }
        for place in &mut self.places {
            // One that has ended already is what we want.
            let _ = place.kill();
            let _ = place.wait();
        }
    }
}

/// What happens to packets from one place to another.
#[derive(Debug, Default, Clone, Copy)]
struct Link {
    is_cut: bool,
    delay: Duration,
    lost_percent: u8,
}

struct Wire {
    socket: UnixDatagram,
    folder: PathBuf,
    links: Mutex<BTreeMap<(u8, u8), Link>>,
    is_over: AtomicBool,
}

impl Wire {
    fn links(&self) -> MutexGuard<'_, BTreeMap<(u8, u8), Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A packet that is on its way: when it arrives, its turn among those that arrive then, for whom, and what.
type OnItsWay = Reverse<(Instant, u64, u8, Vec<u8>)>;

/// Carries packets until the test is over.
struct Carrier {
    wire: Arc<Wire>,
    late: BinaryHeap<OnItsWay>,
    turn: u64,
    chance: u64,
}

impl Carrier {
    fn new(wire: Arc<Wire>) -> Self {
        Self { wire, late: BinaryHeap::new(), turn: 0, chance: 0x2545_f491_4f6c_dd1d }
    }

    #[allow(clippy::disallowed_methods, reason = "packets travel in real time")]
    fn run(mut self) {
        let mut packet = [0; PACKET_MAX];
        while !self.wire.is_over.load(Ordering::Relaxed) {
            let next = self.late.peek().map(|Reverse((due, ..))| *due);
            let until = next.map_or(NAP, |due| due.saturating_duration_since(Instant::now()));
            let nap = until.clamp(Duration::from_micros(500), NAP);
            self.wire.socket.set_read_timeout(Some(nap)).expect("set a time-out");
            // Nothing may have come: then it is time for those that are late.
            if let Ok(length) = self.wire.socket.recv(&mut packet) {
                self.take(&packet[..length], Instant::now());
            }
            let now = Instant::now();
            while self.late.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
                let Some(Reverse((_, _, to, packet))) = self.late.pop() else { break };
                self.hand_over(to, &packet);
            }
        }
    }

    /// What to do with an IPv4 packet; everything else is not for us.
    fn take(&mut self, packet: &[u8], now: Instant) {
        let Some([from @ .., to_a, to_b, to_c, to]) = packet.get(12..20) else { return };
        if packet[0] >> 4 != 4 || [*to_a, *to_b, *to_c] != PREFIX {
            return;
        }
        let link = self.wire.links().get(&(from[3], *to)).copied().unwrap_or_default();
        if link.is_cut || self.draw() < u64::from(link.lost_percent) {
            return;
        }
        if link.delay.is_zero() {
            return self.hand_over(*to, packet);
        }
        self.turn += 1;
        self.late.push(Reverse((now + link.delay, self.turn, *to, packet.to_vec())));
    }

    /// A number below 100, the same ones in each run.
    fn draw(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % 100
    }

    /// A place that is gone or takes nothing more loses it, as on any wire.
    fn hand_over(&self, to: u8, packet: &[u8]) {
        let address = SocketAddrUnix::new(self.wire.folder.join(to.to_string()));
        let address = address.expect("a short path");
        let _ = sendto(&self.wire.socket, packet, SendFlags::DONTWAIT, &address);
    }
}
