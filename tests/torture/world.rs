//! The servers, how they stand, and what people do who look after them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::HEAL;
use crate::mishaps::Mishap;
use crate::shapes::{IMPORTED_DOMAIN, Shape};
use crate::support::{Baton, Flavor, Server, Writers, empower, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const SERVERS: usize = 4;
/// Rows of a megabyte each.
const LARGE_ROWS: u32 = 8;
/// A person looks at a cluster that has no primary after this.
const PERSON_AFTER: Duration = Duration::from_secs(20);
/// A replica that stands still for so long is not about to be moved.
const PLACE_LOST_AFTER: Duration = Duration::from_secs(15);
const SETTINGS: [(&str, &str); 6] = [
    ("BATON_RECOVERMASTERCLUSTERFILTERS", "*"),
    ("BATON_RECOVERINTERMEDIATEMASTERCLUSTERFILTERS", "*"),
    ("BATON_REPLICATIONCREDENTIALSQUERY", "SELECT 'repl', 'repl'"),
    ("BATON_RECOVERYPERIODBLOCKSECONDS", "1"),
    ("BATON_REJOINFORMERPRIMARIES", "true"),
    ("BATON_INSTANCEPOLLSECONDS", "1"),
];

pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) servers: Vec<Server>,
    /// Where one of them imports from.
    pub(crate) warehouse: Option<Server>,
    pub(crate) dead: Vec<usize>,
    /// Replicas whose applier people stopped.
    pub(crate) stopped: Vec<usize>,
    /// The replica that people stopped and started again a moment later.
    pub(crate) halted: Option<usize>,
    /// Replicas on which people wrote, and the databases they made there.
    pub(crate) written: Vec<(usize, String)>,
    /// How many writes of people there were.
    pub(crate) locals: u32,
    pub(crate) last_primary: usize,
    /// How often a person had to bring the old primary back.
    pub(crate) helped: u32,
    pub(crate) baton: Baton,
}

/// What applications wrote that a server has.
pub(crate) fn rows(server: &Server) -> Vec<u64> {
    let rows = server.query("SELECT id FROM shop.writes ORDER BY id");
    rows.into_iter().filter_map(|row| row.into_iter().next()??.parse().ok()).collect()
}

/// Whether it accepts writes; `None` when it does not say, such as when we are sent away with its
/// clients.
pub(crate) fn accepts_writes(server: &Server) -> Option<bool> {
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

fn open(server: &Server) {
    if server.flavor == Flavor::MySql97 {
        server.exec("SET GLOBAL super_read_only = OFF");
    }
    server.exec("SET GLOBAL read_only = OFF");
}

fn prepare(servers: &[Server], warehouse: Option<&Server>) {
    empower(servers);
    Writers::prepare(servers);
    servers[0].exec("CREATE TABLE shop.large (id INT PRIMARY KEY, filling LONGBLOB)");
    for id in 1..=LARGE_ROWS {
        servers[0].exec(&format!("INSERT INTO shop.large VALUES ({id}, REPEAT('x', 1000000))"));
    }
    if let Some(warehouse) = warehouse {
        empower(std::slice::from_ref(warehouse));
        warehouse.exec("CREATE DATABASE stock");
        warehouse.exec("CREATE TABLE stock.items (id INT AUTO_INCREMENT PRIMARY KEY)");
    }
}

impl World {
    pub(crate) fn new(flavor: Flavor, shape: Shape) -> Self {
        let servers = Server::start_all((0..SERVERS).map(|index| shape.options(flavor, index)));
        let warehouse = shape.warehouse(flavor);
        open(&servers[0]);
        shape.connect(&servers, warehouse.as_ref());
        servers[0].wait_for_acknowledgements();
        prepare(&servers, warehouse.as_ref());
        let elsewhere = warehouse.as_ref().map_or(0, |it| it.server_id);
        let alias = format!("SELECT IF(@@server_id = {elsewhere}, 'stock', 'shop')");
        let settings =
            [&SETTINGS[..], &[("BATON_DETECTCLUSTERALIASQUERY", alias.as_str())]].concat();
        let baton = Baton::start(BATON, vec![servers[0].address()], &settings);
        baton.until_all_valid(SERVERS + usize::from(warehouse.is_some()));
        let mut world = Self {
            shape,
            servers,
            warehouse,
            dead: Vec::new(),
            stopped: Vec::new(),
            halted: None,
            written: Vec::new(),
            locals: 0,
            last_primary: 0,
            helped: 0,
            baton,
        };
        world.reshape();
        world
    }

    /// The one that accepts writes; panics when there are two.
    pub(crate) fn primary(&self) -> Option<usize> {
        let alive = (0..SERVERS).filter(|index| !self.dead.contains(index));
        let open: Vec<usize> = alive.filter(|index| is_writable(&self.servers[*index])).collect();
        assert!(open.len() <= 1, "two accept writes: {open:?}\n{}", self.story());
        open.first().copied()
    }

    pub(crate) fn kill(&mut self, index: usize) {
        self.servers[index].kill_9();
        self.dead.push(index);
    }

    pub(crate) fn revive(&mut self, index: usize) {
        self.servers[index].restart();
        self.dead.retain(|it| *it != index);
        // An applier that was stopped runs again after a restart.
        self.stopped.retain(|it| *it != index);
    }

    #[allow(clippy::disallowed_methods, reason = "real servers take real time")]
    pub(crate) fn until_another_is_primary(&self, old: usize) -> usize {
        let deadline = Instant::now() + HEAL;
        loop {
            match self.primary().filter(|primary| *primary != old) {
                Some(primary) => return primary,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
            assert!(Instant::now() < deadline, "{old} is not replaced: {}", self.story());
        }
    }

    /// Waits for a primary, brings the dead back, and waits until all replicate from it.
    pub(crate) fn until_whole(&mut self, mishap: Mishap) {
        let primary = self.until_there_is_a_primary(mishap);
        // What one co-primary writes, the other one has.
        let is_clean = self.shape == Shape::CoPrimaries
            || self.written.iter().all(|(written, _)| *written != primary);
        assert!(is_clean, "a replica with writes of its own is promoted: {}", self.story());
        for index in std::mem::take(&mut self.dead) {
            self.revive(index);
        }
        for index in (0..SERVERS).filter(|index| *index != primary) {
            self.bring_back(index, primary);
        }
        self.stopped.clear();
        self.halted = None;
        self.written.clear();
        wait_until(HEAL, &format!("{mishap:?}: baton sees it whole"), || {
            let port = self.baton.get("/api/master/shop")["Key"]["Port"].as_u64()?;
            let leads = port == u64::from(self.servers[primary].port);
            (leads && self.are_seen_to_replicate(primary)).then_some(())
        });
        assert_eq!(self.primary(), Some(primary), "{}", self.story());
    }

    /// Whether baton has seen all replicas receive: what one has that was started anew and not seen since
    /// is rightly not known to it.
    fn are_seen_to_replicate(&self, primary: usize) -> bool {
        let all = self.baton.get("/api/all-instances");
        let runs = |it: &Value| {
            it["IsLastCheckValid"] == true
                && it["ReplicationIOThreadRuning"] == true
                && it["ReplicationSQLThreadRuning"] == true
        };
        let seen = |port: u16| {
            let mut all = all.as_array().into_iter().flatten();
            all.any(|it| it["Key"]["Port"] == port && runs(it))
        };
        (0..SERVERS).filter(|it| *it != primary).all(|it| seen(self.servers[it].port))
    }

    #[allow(clippy::disallowed_methods, reason = "real servers take real time")]
    fn until_there_is_a_primary(&mut self, mishap: Mishap) -> usize {
        let began = Instant::now();
        let may_need_a_person = mishap.may_need_a_person(self.servers[0].flavor);
        while began.elapsed() < PERSON_AFTER || !may_need_a_person {
            if let Some(primary) = self.primary() {
                return primary;
            }
            assert!(began.elapsed() < HEAL, "{mishap:?}: there is no primary: {}", self.story());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.help(mishap)
    }

    /// What a person does where baton does nothing, because something may be lost or whoever leads came
    /// back closed: bring all back, make the one that leads wait for acknowledgements again, and open it.
    #[allow(clippy::print_stderr, reason = "torture says what it did")]
    fn help(&mut self, mishap: Mishap) -> usize {
        self.helped += 1;
        let path = self.servers[self.last_primary].address().replace(':', "/");
        let explained = self.baton.try_get(&format!("/api/explain/{path}"));
        eprintln!("{mishap:?}: a person helps: {}", explained.map(|it| it.1).unwrap_or_default());
        for index in std::mem::take(&mut self.dead) {
            self.revive(index);
        }
        wait_until(HEAL, "whoever leads by now is opened, or another server is", || {
            let opened = self.primary();
            if opened.is_none() {
                let leads = self.baton.get("/api/master/shop")["Key"]["Port"].as_u64()?;
                let leads = self.servers.iter().find(|it| u64::from(it.port) == leads)?;
                // What it was told while it ran it has forgotten.
                leads.wait_for_acknowledgements();
                let path = leads.address().replace(':', "/");
                self.baton.try_get(&format!("/api/set-writeable/{path}"));
            }
            opened
        })
    }

    /// The server that another one replicates from, if it is one of these.
    pub(crate) fn source_of(&self, index: usize) -> Option<usize> {
        let port = self.servers[index].replica_status("", "Port")?;
        (0..SERVERS).find(|it| self.servers[*it].port.to_string() == port)
    }

    /// Whether a server gets everything from the primary, maybe through others.
    pub(crate) fn follows(&self, index: usize, primary: usize) -> bool {
        let mut at = index;
        for _ in 0..SERVERS {
            if at == primary {
                return true;
            }
            match self.source_of(at).filter(|_| self.servers[at].replication_runs("")) {
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
        loop {
            let is_spoiled = self.was_written_on(index, primary)
                || self.has_writes_of_its_own(index, primary)
                || (deadline - Instant::now() < HEAL - PLACE_LOST_AFTER
                    && self.has_lost_its_place(index));
            if is_spoiled {
                return self.rebuild(index, primary);
            }
            if self.follows(index, primary) {
                return;
            }
            self.start_what_people_stopped(index);
            assert!(Instant::now() < deadline, "{index} does not follow: {}", self.story());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A crash in the middle of a change leaves a place that cannot be read again (error 1201 of MariaDB,
    /// 1872 of MySQL), until a person begins anew.
    fn has_lost_its_place(&self, index: usize) -> bool {
        let server = &self.servers[index];
        let stands = |column| server.replica_status("", column).is_some_and(|it| it == "No");
        let number = if server.flavor.is_mariadb() { "1201" } else { "1872" };
        stands("IO_Running")
            && stands("SQL_Running")
            && server
                .try_query("START REPLICA")
                .is_err_and(|error| error.to_string().contains(number))
    }

    /// Not where both threads stand still: a server of MariaDB would throw its relay log away.
    fn start_what_people_stopped(&self, index: usize) {
        let server = &self.servers[index];
        let is = |column, wanted: &str| {
            server.replica_status("", column).is_some_and(|state| state == wanted)
        };
        // It may be started or moved by baton at this very moment.
        if self.stopped.contains(&index) && is("IO_Running", "Yes") && is("SQL_Running", "No") {
            let _ = server.try_query("START REPLICA SQL_THREAD");
        }
        // What baton saw them stop it leaves stopped, though they started it a moment later.
        if self.halted == Some(index) && is("IO_Running", "No") && is("SQL_Running", "Yes") {
            let _ = server.try_query("START REPLICA IO_THREAD");
        }
    }

    /// Whether it has what people wrote there, and the primary has not.
    fn was_written_on(&self, index: usize, primary: usize) -> bool {
        let has = |server: usize, database: &str| {
            let found =
                self.servers[server].try_query(&format!("SHOW DATABASES LIKE '{database}'"));
            found.map(|rows| !rows.is_empty())
        };
        self.written.iter().any(|(_, database)| {
            matches!((has(index, database), has(primary, database)), (Ok(true), Ok(false)))
        })
    }

    /// It is left to people: it is no replica, or its source has no use for it, or it has rows that
    /// nobody acknowledged.
    fn has_writes_of_its_own(&self, index: usize, primary: usize) -> bool {
        let (server, source) = (&self.servers[index], &self.servers[primary]);
        let is_replica = server.replica_status("", "Port").is_some();
        if is_replica && self.follows(index, primary) {
            return self.has_other_rows(index, primary);
        }
        match server.flavor {
            Flavor::MySql97 => {
                let executed = |it: &Server| it.executed().replace('\n', "");
                let imported = self.warehouse.as_ref().map(executed).unwrap_or_default();
                let (own, theirs) = (executed(server), executed(source));
                let covered = format!("SELECT GTID_SUBTRACT('{own}', '{theirs},{imported}') = ''");
                !is_replica && source.value(&covered) == "0"
            }
            Flavor::MariaDb1011 | Flavor::MariaDb118 if is_replica => server
                .replica_status("", "Last_IO_Error")
                .is_some_and(|error| error.contains("not in the master's binlog")),
            Flavor::MariaDb1011 | Flavor::MariaDb118 => {
                let [own, theirs] = [server, source].map(logged_by);
                let mut own = own.iter().filter(|((domain, _), _)| domain != IMPORTED_DOMAIN);
                own.any(|(writer, number)| theirs.get(writer) < Some(number))
            }
        }
    }

    /// Whether it has rows, for a while, that the primary does not have.
    #[allow(clippy::disallowed_methods, reason = "real servers take real time")]
    fn has_other_rows(&self, index: usize, primary: usize) -> bool {
        // A replica may have what its source is about to commit.
        (0..4).all(|_| {
            let own = rows(&self.servers[index]);
            std::thread::sleep(Duration::from_millis(100));
            let theirs = rows(&self.servers[primary]);
            own.iter().any(|id| theirs.binary_search(id).is_err())
        })
    }

    fn rebuild(&mut self, index: usize, primary: usize) {
        self.servers[index].start_empty();
        let (server, source) = (&self.servers[index], &self.servers[primary]);
        empower(std::slice::from_ref(server));
        Writers::admit(server);
        server.replicate_from(source);
        self.import_again(index);
        let wanted = rows(source);
        wait_until(HEAL, "who was built anew has what its source had", || {
            let has = server.try_query("SELECT MAX(id) FROM shop.writes").ok()?;
            let last = has.first()?.first()?.as_deref()?.parse::<u64>().ok()?;
            (Some(&last) >= wanted.last()).then_some(())
        });
    }

    /// How all servers stand, and what baton said.
    pub(crate) fn story(&self) -> String {
        let status = |(index, server): (usize, &Server)| {
            let path = format!("/api/explain/127.0.0.1/{}", server.port);
            let believed = self.baton.try_get(&path).map(|(_, body)| body).unwrap_or_default();
            if self.dead.contains(&index) {
                return format!("{}: dead, or hung\n{believed}", server.port);
            }
            let told = ["Port", "IO_Running", "SQL_Running", "Last_IO_Error", "Last_SQL_Error"]
                .map(|column| server.replica_status("", column).unwrap_or_default());
            let executed = server.executed().replace('\n', "");
            let open = is_writable(server);
            format!("{}: writable {open}, {told:?}, {executed}\n{believed}", server.port)
        };
        let servers: Vec<String> = self.servers.iter().enumerate().map(status).collect();
        format!("{}\n{}", servers.join("\n"), self.baton.log())
    }
}

/// Number of the last transaction of each writer in each domain, as the log of a MariaDB has them.
fn logged_by(server: &Server) -> BTreeMap<(String, String), u64> {
    let state = server.value("SELECT @@global.gtid_binlog_state");
    let entries = state.split(',').filter_map(|entry| {
        let mut parts = entry.trim().split('-').map(str::to_owned);
        let writer = (parts.next()?, parts.next()?);
        Some((writer, parts.next()?.parse().ok()?))
    });
    entries.collect()
}
