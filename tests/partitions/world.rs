//! Machines with a baton or a server each, in data centres, and what is asked of them in all tests.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Acknowledged, Baton, EVERYWHERE, Flavor, Net, Options, PATIENCE, Place, Server, Writers, at,
    empower, is_writable, until_fenced, wait_until,
};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const RAFT_PORT: u16 = 10_008;
/// How long a machine that may be stopped or gone is waited for.
const GLANCE: Duration = Duration::from_millis(500);

/// What a world is made of.
pub(crate) struct Plan<'a> {
    pub(crate) flavor: Flavor,
    pub(crate) batons: usize,
    /// For all batons, beside what all tests set.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    /// The primary never acknowledges a write before a replica has it.
    pub(crate) semi_sync: bool,
    /// The raft of each baton has a disk of its own of so many KiB.
    pub(crate) raft_disk: Option<u32>,
}

impl Plan<'_> {
    pub(crate) fn three(flavor: Flavor) -> Self {
        Self { flavor, batons: 3, settings: &[], semi_sync: true, raft_disk: None }
    }
}

/// Three servers, the second one the primary; and batons, of which number `n` is in the same data centre as server `n`.
pub(crate) struct World {
    pub(crate) batons: Vec<Baton>,
    pub(crate) servers: Vec<Server>,
    /// Where the batons are.
    pub(crate) seats: Vec<Place>,
    /// Where the servers are.
    pub(crate) homes: Vec<Place>,
    pub(crate) net: Net,
}

/// The primary at the beginning, and its data centre.
pub(crate) const PRIMARY: usize = 1;

/// What [`World::begun`] says of those that did nothing.
pub(crate) const NOTHING: BTreeSet<u64> = BTreeSet::new();

impl World {
    /// Starts everything, and waits until all know all and one baton leads.
    pub(crate) fn start(plan: &Plan<'_>) -> Self {
        let mut net = Net::join();
        let homes: Vec<Place> = (1..=3).map(|it| net.place(&format!("server{it}"))).collect();
        let seats: Vec<Place> =
            (1..=plan.batons).map(|it| net.place(&format!("baton{it}"))).collect();
        for seat in &seats {
            net.call(seat.name(), seat);
        }
        let servers = shop(plan, &homes);
        let all: Vec<String> =
            seats.iter().map(|seat| format!("{}:{RAFT_PORT}", seat.name())).collect();
        let all = all.join(",");
        let seeds = vec![servers[PRIMARY].address()];
        let batons = seats.iter().map(|seat| {
            let bind = format!("{}:{RAFT_PORT}", seat.address());
            let advertise = format!("{}:{RAFT_PORT}", seat.name());
            let mut settings = EVERYWHERE.to_vec();
            settings.extend([
                ("BATON_RAFTENABLED", "true"),
                ("BATON_RAFTDATADIR", "raft"),
                ("BATON_RAFTBIND", &bind),
                ("BATON_RAFTADVERTISE", &advertise),
                ("BATON_RAFTNODES", &all),
                ("BATON_RAFTSECRET", "open sesame"),
                ("BATON_RAFTALLOWPLAINTEXT", "true"),
                ("BATON_REJOINFORMERPRIMARIES", "true"),
                ("BATON_INSTANCEPOLLSECONDS", "1"),
            ]);
            settings.extend(plan.settings);
            let baton = Baton::prepare(BATON, seeds.clone(), &settings).at(seat);
            if let Some(kibibytes) = plan.raft_disk {
                seat.small_disk(&baton.folder().join("raft"), kibibytes);
            }
            baton
        });
        let mut batons: Vec<Baton> = batons.collect();
        batons.iter_mut().for_each(Baton::launch);
        let world = Self { batons, servers, seats, homes, net };
        world.leader(&world.all());
        world.batons.iter().for_each(|it| it.until_all_valid(3));
        world
    }

    /// All batons.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.batons.len()).collect()
    }

    /// All batons but these.
    pub(crate) fn but(&self, these: &[usize]) -> Vec<usize> {
        self.all().into_iter().filter(|it| !these.contains(it)).collect()
    }

    /// The machines of these batons and servers.
    pub(crate) fn places(&self, batons: &[usize], servers: &[usize]) -> Vec<&Place> {
        let seats = batons.iter().map(|it| &self.seats[*it]);
        seats.chain(servers.iter().map(|it| &self.homes[*it])).collect()
    }

    /// Cuts these off from all others; only the test reaches both sides.
    pub(crate) fn isolate(&self, batons: &[usize], servers: &[usize]) {
        let others: Vec<usize> = (0..3).filter(|it| !servers.contains(it)).collect();
        self.net.part(&self.places(batons, servers), &self.places(&self.but(batons), &others));
    }

    /// Which of these load balancers would take for the leader, once it is one.
    pub(crate) fn leader(&self, among: &[usize]) -> usize {
        wait_until(PATIENCE, "one of them leads", || {
            among.iter().copied().find(|it| self.batons[*it].leads())
        })
    }

    /// Hands leadership to this one.
    pub(crate) fn lead(&self, wanted: usize) {
        let seat = self.seats[wanted].name();
        wait_until(PATIENCE, "it takes over", || {
            let leader = self.leader(&self.all());
            (leader == wanted).then_some(()).or_else(|| {
                self.batons[leader].try_get(&format!("/api/raft-yield/{seat}"));
                None
            })
        });
    }

    /// The leader's term, as that node has it.
    pub(crate) fn term(&self, node: usize) -> u64 {
        let told = self.batons[node].told("raft");
        told.last().and_then(|line| line["term"].as_u64()).expect("it has said so")
    }

    /// Waits until these hear of one and the same leader.
    pub(crate) fn until_agreed(&self, among: &[usize]) -> usize {
        wait_until(PATIENCE, "all hear of one leader", || {
            let names = among.iter().map(|it| self.batons[*it].try_get("/api/raft-leader"));
            let mut names: Vec<(u16, String)> = names.collect::<Option<_>>()?;
            names.dedup();
            let [(200, name)] = &names[..] else { return None };
            self.seats.iter().position(|seat| name.contains(&format!("{}:", seat.name())))
        })
    }

    /// Nobody takes this one for the leader any more, and it refuses changes.
    pub(crate) fn until_powerless(&self, node: usize) {
        let baton = &self.batons[node];
        wait_until(PATIENCE, "it is no leader any more", || (!baton.leads()).then_some(()));
        self.refuses(node);
    }

    /// It changes nothing, and says when to ask again.
    pub(crate) fn refuses(&self, node: usize) {
        let answer = self.batons[node].exchange("GET", "/api/enable-global-recoveries", "");
        let (head, body) = answer.expect("it answers");
        assert!(head.starts_with("HTTP/1.1 503"), "{head}\n{body}");
        assert!(head.to_lowercase().contains("retry-after"), "{head}");
        assert!(!self.batons[node].leads());
    }

    /// A change is made, by whoever leads, when this one is asked.
    pub(crate) fn until_changed_through(&self, node: usize) {
        wait_until(PATIENCE, "a change is made", || {
            let (status, _) = self.batons[node].try_get("/api/enable-global-recoveries")?;
            (status == 200).then_some(())
        });
    }

    /// The recoveries these have begun or gone on with, beside those that bring a former primary back: they change
    /// servers (I2).
    pub(crate) fn begun(&self, by: &[usize]) -> BTreeSet<u64> {
        let told = |nodes: &[usize], message: &str| -> Vec<Value> {
            nodes.iter().flat_map(|node| self.batons[*node].told(message)).collect()
        };
        let id = |line: &Value| line["id"].as_u64().expect("recoveries have numbers");
        let begins = told(&self.all(), "recovery begins");
        let harmless: BTreeSet<u64> =
            begins.iter().filter(|it| it["kind"] == "Rejoin").map(id).collect();
        let messages = ["recovery begins", "recovery is taken up again"];
        let all: BTreeSet<u64> =
            messages.iter().flat_map(|it| told(by, it)).map(|it| id(&it)).collect();
        &all - &harmless
    }

    /// Waits until this node knows that the end of a primary was recovered from, and how. An attempt that changed
    /// nothing may have come before: on a busy machine not everybody answers in time.
    pub(crate) fn until_recovered(&self, node: usize, failed: usize) -> Value {
        let port = self.servers[failed].port;
        self.batons[node].until("/api/audit-recovery", "it is recovered", |all| {
            let is_it = |it: &&Value| {
                is_promotion(it) && it["AnalysisEntry"]["AnalyzedInstanceKey"]["Port"] == port
            };
            all.as_array()?.iter().find(is_it).cloned()
        })
    }

    /// How often a primary was made, as this node knows it.
    pub(crate) fn promotions(&self, node: usize) -> usize {
        let all = self.batons[node].get("/api/audit-recovery");
        all.as_array().map_or(0, |all| all.iter().filter(|it| is_promotion(it)).count())
    }

    /// Waits until this node sees that a server is in trouble, whether or not it leads.
    pub(crate) fn until_seen_by(&self, node: usize, server: usize, code: &str) {
        let port = self.servers[server].port;
        self.batons[node].until("/api/replication-analysis?local=true", code, |it| {
            let is_it =
                |it: &Value| it["Analysis"] == code && it["AnalyzedInstanceKey"]["Port"] == port;
            it["Details"].as_array()?.iter().any(is_it).then_some(())
        });
    }

    /// Waits until this node finds something that is told in all these words, or in none of them any more.
    pub(crate) fn until_told(&self, node: usize, words: &[&str], wanted: bool) {
        let path = "/api/replication-analysis?local=true";
        self.batons[node].until(path, &format!("{words:?}: {wanted}"), |told| {
            let told = told.to_string();
            words.iter().all(|word| told.contains(word) == wanted).then_some(())
        });
    }

    /// Where a node shows nothing to a person though a failover left something behind.
    pub(crate) fn all_is_well_on(&self, node: usize) -> Option<String> {
        [
            "/api/problems?local=true",
            "/api/replication-analysis?local=true",
            "/api/fleet?local=true",
        ]
        .into_iter()
        .find(|path| {
            let told = self.batons[node].get(path).to_string();
            !told.contains("FormerMaster") && !told.contains("unhandled_failover")
        })
        .map(|path| format!("{path} of node {node} says that all is well"))
    }

    /// The server that was promoted.
    pub(crate) fn successor(&self, recovery: &Value) -> usize {
        let port = recovery["SuccessorKey"]["Port"].as_u64().expect("a successor");
        let port = at(&self.servers, port).port;
        self.servers.iter().position(|it| it.port == port).expect("one of ours")
    }

    /// Those that accept writes, of those that run.
    pub(crate) fn writable(&self) -> Vec<usize> {
        let runs = |it: &usize| self.servers[*it].pid().is_some();
        (0..3).filter(runs).filter(|it| is_writable(&self.servers[*it])).collect()
    }

    /// Writes one row and waits until these have it.
    pub(crate) fn write(&self, to: usize, id: u32, have_it: &[usize]) {
        self.servers[to].exec(&format!("INSERT INTO shop.orders VALUES ({id})"));
        for server in have_it.iter().map(|it| &self.servers[*it]) {
            wait_until(PATIENCE, "it replicates", || {
                let sql = format!("SELECT id FROM shop.orders WHERE id = {id}");
                let rows = server.try_query(&sql).ok()?;
                (!rows.is_empty()).then_some(())
            });
        }
    }

    /// Waits until the former primary is closed and follows its successor.
    pub(crate) fn until_rejoined(&self, former: usize, successor: usize) {
        until_fenced(&self.servers[former]);
        wait_until(PATIENCE, "it follows its successor", || {
            let source = self.servers[former].replica_status("", "Source_Host")?;
            let follows = source == self.servers[successor].host;
            (follows && self.servers[former].replication_runs("")).then_some(())
        });
        assert_eq!(self.writable(), [successor], "one accepts writes (I6)");
    }

    /// What applications were promised holds: whoever acknowledges does so after all others have ended (I6), and the
    /// primary of today has everything (I5).
    pub(crate) fn holds(&self, writers: Writers, primary: usize) {
        let all = writers.acknowledged();
        drop(writers);
        let mut turns: Vec<usize> = all.iter().map(|write| write.server).collect();
        turns.dedup();
        assert_eq!(turns, [PRIMARY, primary], "one after the other, and never again");
        let rows = self.servers[primary].query("SELECT id FROM shop.writes");
        let kept: Vec<u64> = rows.iter().filter_map(|row| row[0].as_ref()?.parse().ok()).collect();
        let is_lost = |write: &&Acknowledged| !kept.contains(&write.id);
        let lost: Vec<&Acknowledged> = all.iter().filter(is_lost).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
}

fn is_promotion(recovery: &Value) -> bool {
    recovery["RecoveryType"] == "MasterRecoveryGTID" && recovery["IsSuccessful"] == true
}

impl Baton {
    /// Whether a load balancer would send people here.
    pub(crate) fn leads(&self) -> bool {
        let address = format!("{}:{}", self.host(), self.port).parse().expect("an address");
        // A machine that is gone does not even refuse.
        let is_there = std::net::TcpStream::connect_timeout(&address, GLANCE).is_ok();
        is_there && self.try_get("/api/leader-check").is_some_and(|(status, _)| status == 200)
    }

    /// Lines of its log that say this.
    pub(crate) fn told(&self, message: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }
}

/// A primary and two replicas that all have a table.
fn shop(plan: &Plan<'_>, homes: &[Place]) -> Vec<Server> {
    let options = Options::new(plan.flavor)
        .semi_sync()
        .line("loose-rpl_semi_sync_source_timeout=600000")
        .line("loose-rpl_semi_sync_master_timeout=600000");
    let servers = Server::start_all(homes.iter().enumerate().map(|(index, home)| {
        let options = options.clone().at(home);
        if index == PRIMARY { options } else { options.read_only() }
    }));
    let primary = &servers[PRIMARY];
    for index in [0, 2] {
        servers[index].replicate_from(primary);
    }
    empower(&servers);
    servers.iter().for_each(Writers::admit);
    primary.exec("CREATE DATABASE shop");
    primary.exec("CREATE TABLE shop.orders (id INT PRIMARY KEY)");
    primary.exec("CREATE TABLE shop.writes (id BIGINT PRIMARY KEY)");
    if plan.semi_sync {
        primary.wait_for_acknowledgements();
    }
    wait_until(PATIENCE, "all have the tables", || {
        let all = servers.iter().all(|it| it.try_query("SELECT * FROM shop.writes").is_ok());
        all.then_some(())
    });
    servers
}
