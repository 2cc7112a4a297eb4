//! Everything goes wrong, over and over, while applications write: no acknowledged write is ever
//! lost, and never do two servers accept writes. `SEED` and `MINUTES` say what and for how long,
//! `FLAVOR=mariadb` on which servers.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Baton, Flavor, Options, Server, Writers, empower, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const SERVERS: usize = 4;
/// How long baton may take to put one thing right, on a busy machine, dead servers included.
const HEAL: Duration = Duration::from_secs(90);
const SETTINGS: [(&str, &str); 7] = [
    ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
    ("BATON_RECOVERINTERMEDIATEMASTERCLUSTERFILTERS", "*"),
    ("BATON_DETECTCLUSTERALIASQUERY", "SELECT 'shop'"),
    ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'"),
    ("BATON_RECOVERYPERIODBLOCKSECONDS", "1"),
    ("BATON_REJOINFORMERPRIMARIES", "true"),
    ("BATON_INSTANCEPOLLSECONDS", "1"),
];

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    PrimaryDies,
    PrimaryHangs,
    ReplicaDies,
    ReplicationStops,
    BatonDies,
    PrimaryAndBatonDie,
    HandOver,
}

const MISHAPS: [Mishap; 7] = [
    Mishap::PrimaryDies,
    Mishap::PrimaryHangs,
    Mishap::ReplicaDies,
    Mishap::ReplicationStops,
    Mishap::BatonDies,
    Mishap::PrimaryAndBatonDie,
    Mishap::HandOver,
];

/// Numbers that follow from a seed (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("it is small")
    }
}

struct World {
    servers: Vec<Server>,
    dead: Vec<usize>,
    baton: Baton,
}

fn setting(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
#[allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "torture takes real time, and says what it did"
)]
fn nothing_acknowledged_is_lost_and_one_server_accepts_writes() {
    let seed = setting("SEED", 1.0);
    let minutes = setting("MINUTES", 0.7);
    let flavor = match std::env::var("FLAVOR").as_deref() {
        Ok("mariadb") => Flavor::MariaDb1011,
        _ => Flavor::MySql97,
    };
    eprintln!("SEED={seed} MINUTES={minutes} {flavor:?}");
    let mut world = World::new(flavor);
    let writers = Writers::start(&world.servers);
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15 ^ (seed as u64).wrapping_mul(0xD129_0D3F));
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut count = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200 + chance.below(1_500) as u64));
        let mishap = MISHAPS[chance.below(MISHAPS.len())];
        let began = Instant::now();
        world.go_wrong(mishap, &mut chance);
        world.until_whole(mishap);
        count += 1;
        eprintln!("{count} {mishap:?}: whole again after {:.1?}", began.elapsed());
        if began.elapsed() > Duration::from_secs(20) {
            eprintln!("{}", world.story());
        }
    }
    world.until_whole(Mishap::HandOver);
    let acknowledged = writers.acknowledged();
    drop(writers);
    let primary = world.primary().expect("there is a primary");
    let kept = ids(&world.servers[primary]);
    let lost: Vec<_> =
        acknowledged.iter().filter(|it| kept.binary_search(&it.id).is_err()).collect();
    eprintln!("{} writes acknowledged, {} lost, {count} mishaps", acknowledged.len(), lost.len());
    assert!(lost.is_empty(), "SEED={seed}: {lost:?}\n{}", world.story());
    assert!(count > 0 && !acknowledged.is_empty());
    let deadline = Instant::now() + HEAL;
    for replica in &world.servers {
        while ids(replica) != kept {
            let late = Instant::now() > deadline;
            assert!(!late, "{} has not got everything: {}", replica.port, world.story());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let recoveries = world.baton.get("/api/audit-recovery");
    let open = recoveries.as_array().into_iter().flatten();
    let open: Vec<&Value> = open.filter(|it| it["RecoveryEndTimestamp"] == "").collect();
    assert!(open.is_empty(), "no recovery is left unresolved: {open:?}");
}

fn ids(server: &Server) -> Vec<u64> {
    let rows = server.query("SELECT id FROM shop.writes ORDER BY id");
    rows.into_iter().filter_map(|row| row.into_iter().next()??.parse().ok()).collect()
}

/// Whether it accepts writes; `None` when it does not say, such as when we are sent away with its
/// clients.
fn accepts_writes(server: &Server) -> Option<bool> {
    let sql = match server.flavor {
        Flavor::MySql97 => "SELECT @@global.read_only = 0 OR @@global.super_read_only = 0",
        Flavor::MariaDb1011 | Flavor::MariaDb118 => "SELECT @@global.read_only = 0",
    };
    let rows = server.try_query(sql).ok()?;
    Some(rows.first()?.first()?.as_deref()? == "1")
}

fn is_writable(server: &Server) -> bool {
    accepts_writes(server) == Some(true)
}

impl World {
    fn new(flavor: Flavor) -> Self {
        // Whoever boots refuses writes: only who was made primary takes them.
        let options = Options::new(flavor)
            .semi_sync()
            .line("loose-rpl_semi_sync_source_timeout=600000")
            .line("loose-rpl_semi_sync_master_timeout=600000")
            .read_only();
        let servers = Server::start_all(std::iter::repeat_n(options, SERVERS));
        if flavor == Flavor::MySql97 {
            servers[0].exec("SET GLOBAL super_read_only = OFF");
        }
        servers[0].exec("SET GLOBAL read_only = OFF");
        servers[1..].iter().for_each(|replica| replica.replicate_from(&servers[0]));
        servers[0].wait_for_acknowledgements();
        empower(&servers);
        Writers::prepare(&servers);
        let baton = Baton::start(BATON, vec![servers[0].address()], &SETTINGS);
        baton.until_all_valid(SERVERS);
        Self { servers, dead: Vec::new(), baton }
    }

    /// The one that accepts writes; panics when there are two.
    fn primary(&self) -> Option<usize> {
        let alive = (0..SERVERS).filter(|index| !self.dead.contains(index));
        let open: Vec<usize> = alive.filter(|index| is_writable(&self.servers[*index])).collect();
        assert!(open.len() <= 1, "two accept writes: {open:?}\n{}", self.story());
        open.first().copied()
    }

    fn replica(&self, primary: usize, chance: &mut Chance) -> usize {
        let others: Vec<usize> = (0..SERVERS).filter(|index| *index != primary).collect();
        others[chance.below(others.len())]
    }

    #[allow(clippy::disallowed_methods, reason = "a server hangs for real time")]
    fn go_wrong(&mut self, mishap: Mishap, chance: &mut Chance) {
        let Some(primary) = self.primary() else { return };
        let replica = self.replica(primary, chance);
        match mishap {
            Mishap::PrimaryDies => self.kill(primary),
            Mishap::PrimaryHangs => {
                self.servers[primary].stop_signal();
                // While it hangs nobody can ask it: it counts as dead until it wakes.
                self.dead.push(primary);
                self.until_somebody_else_is_primary(primary);
                self.servers[primary].cont_signal();
                self.dead.retain(|index| *index != primary);
                let fenced = || accepts_writes(&self.servers[primary]).filter(|open| !open);
                wait_until(HEAL, "who wakes up is fenced", fenced);
            }
            Mishap::ReplicaDies => self.kill(replica),
            Mishap::ReplicationStops => {
                self.servers[replica].exec("STOP REPLICA");
                std::thread::sleep(Duration::from_millis(300));
                self.kill(primary);
                // Whoever does not replicate is not started by anybody but us.
                let _ = self.servers[replica].try_query("START REPLICA");
            }
            Mishap::BatonDies => self.restart_baton(),
            Mishap::PrimaryAndBatonDie => {
                self.kill(primary);
                std::thread::sleep(Duration::from_millis(chance.below(150) as u64));
                self.restart_baton();
            }
            Mishap::HandOver => {
                // It may be refused; then everything is as it was.
                let _ = self.baton.try_get("/api/graceful-master-takeover-auto/shop");
            }
        }
    }

    fn kill(&mut self, index: usize) {
        self.servers[index].kill_9();
        self.dead.push(index);
    }

    fn restart_baton(&mut self) {
        self.baton.kill_9();
        self.baton.launch();
    }

    fn until_somebody_else_is_primary(&self, old: usize) {
        wait_until(HEAL, "somebody succeeds the one that hangs", || {
            self.primary().filter(|primary| *primary != old)
        });
    }

    /// Waits for a primary, brings the dead back, and waits until all replicate from it.
    fn until_whole(&mut self, mishap: Mishap) {
        let story = format!("{mishap:?}: somebody accepts writes");
        let primary = wait_until(HEAL, &story, || self.primary());
        for index in std::mem::take(&mut self.dead) {
            self.servers[index].restart();
        }
        for index in (0..SERVERS).filter(|index| *index != primary) {
            self.bring_back(index, primary);
        }
        wait_until(HEAL, &format!("{mishap:?}: baton sees it whole"), || {
            let port = self.baton.get("/api/master/shop")["Key"]["Port"].as_u64()?;
            (port == u64::from(self.servers[primary].port)).then_some(())
        });
        assert_eq!(self.primary(), Some(primary), "{}", self.story());
    }

    /// Whether a server gets everything from the primary, maybe through others.
    fn follows(&self, index: usize, primary: usize) -> bool {
        let mut at = index;
        for _ in 0..SERVERS {
            if at == primary {
                return true;
            }
            let server = &self.servers[at];
            let Some(port) = server.replica_status("", "Port") else { return false };
            let source = (0..SERVERS).find(|it| self.servers[*it].port.to_string() == port);
            match source.filter(|_| server.replication_runs("")) {
                Some(source) => at = source,
                None => return false,
            }
        }
        false
    }

    /// A server follows the primary, by baton's doing; one that has writes of its own is rebuilt.
    #[allow(clippy::disallowed_methods, reason = "real servers take real time")]
    fn bring_back(&mut self, index: usize, primary: usize) {
        let deadline = Instant::now() + HEAL;
        while !self.follows(index, primary) {
            assert!(Instant::now() < deadline, "{index} does not follow: {}", self.story());
            if self.has_writes_of_its_own(index, primary) {
                self.rebuild(index, primary);
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// It waits for somebody to look at it: no replica, or one that its source has no use for.
    fn has_writes_of_its_own(&self, index: usize, primary: usize) -> bool {
        let (server, source) = (&self.servers[index], &self.servers[primary]);
        let is_replica = server.replica_status("", "Port").is_some();
        match server.flavor {
            Flavor::MySql97 => {
                let [own, theirs] = [server, source].map(|it| it.executed().replace('\n', ""));
                let covered = format!("SELECT GTID_SUBTRACT('{own}', '{theirs}') = ''");
                !is_replica && source.value(&covered) == "0"
            }
            Flavor::MariaDb1011 if is_replica => server
                .replica_status("", "Last_IO_Error")
                .is_some_and(|error| error.contains("not in the master's binlog")),
            Flavor::MariaDb1011 | Flavor::MariaDb118 => {
                let number =
                    |it: &Server| -> Option<u64> { it.executed().rsplit('-').next()?.parse().ok() };
                number(server) > number(source)
            }
        }
    }

    fn rebuild(&mut self, index: usize, primary: usize) {
        self.servers[index].start_empty();
        let (server, source) = (&self.servers[index], &self.servers[primary]);
        empower(std::slice::from_ref(server));
        Writers::admit(server);
        server.replicate_from(source);
    }

    /// How all servers stand, and what baton said.
    fn story(&self) -> String {
        let status = |(index, server): (usize, &Server)| {
            if self.dead.contains(&index) {
                return format!("{}: dead, or hung", server.port);
            }
            let told = ["Port", "IO_Running", "SQL_Running", "Last_IO_Error", "Last_SQL_Error"]
                .map(|column| server.replica_status("", column).unwrap_or_default());
            let executed = server.executed().replace('\n', "");
            let path = format!("/api/explain/127.0.0.1/{}", server.port);
            let believed = self.baton.try_get(&path).map(|(_, body)| body).unwrap_or_default();
            let open = is_writable(server);
            format!("{}: writable {open}, {told:?}, {executed}\n{believed}", server.port)
        };
        let servers: Vec<String> = self.servers.iter().enumerate().map(status).collect();
        format!("{}\n{}", servers.join("\n"), self.baton.log())
    }
}
