//! What goes wrong, and when: one schedule for each seed.

use std::collections::BTreeMap;

use baton_actors::sharing::Probing;
use baton_topology::action::Threads;
use baton_topology::key::InstanceKey;

use super::chance::Chance;
use super::mysql::{Belongs, Flavor, Line, Micros, Power, Semi, Server};
use super::net::{End, Net};

/// Faults begin within this time.
const SAFETY_PHASE: Micros = 14_000_000;
/// More than this goes wrong in no schedule.
const FAULTS_MAX: u64 = 6;

/// More than this of what is ugly comes on top.
const UGLY_MAX: u64 = 2;

/// Whom a fault hits; who that is shows only then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Whoever accepts writes.
    Primary,
    Server(usize),
    /// Whoever leads.
    Leader,
    Node(usize),
}

/// Something that goes wrong, or right again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    Crash(Whom, Power),
    Restore(Whom),
    /// All servers that are gone come back.
    RestoreAll,
    Kill(Whom),
    Start(Whom),
    Freeze(Whom),
    Thaw(Whom),
    /// Nobody in `Whom`'s site reaches another site, nor is reached.
    CutSite(Whom),
    /// Nothing gets from the one to the other.
    CutOneWay(Whom, Whom),
    CutBoth(Whom, Whom),
    /// From and to all servers.
    CutFromServers(Whom),
    /// From and to all batons.
    CutFromBatons(Whom),
    HealNetwork,
    /// Of what batons tell each other, in percent.
    Lose(u64),
    /// Applying takes so long.
    Lag(Whom, Micros),
    /// A person stops the applier.
    HoldApplier(Whom),
    LetApplierGo(Whom),
    /// The same of all replicas.
    HoldAppliers,
    LetAppliersGo,
    /// A person writes on a replica.
    WriteLocally(Whom),
    /// Somebody asks for a takeover in peace.
    TakeOver,
    /// Somebody says that the primary is in downtime.
    Downtime,
    /// The leader hands over.
    Yield,
}

/// One schedule.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) sites: usize,
    pub(crate) far_micros: u64,
    /// The source of each server; the first one has none.
    pub(crate) sources: Vec<usize>,
    pub(crate) semi: Semi,
    pub(crate) flavor: Flavor,
    /// Whether a crash leaves what was received and not applied.
    pub(crate) keeps_relay_log: bool,
    /// How a replica stands that names a source that was never there, if there is one.
    pub(crate) stray: Option<Threads>,
    pub(crate) boots_read_only: bool,
    pub(crate) rejoins: bool,
    pub(crate) probing: Probing,
    /// How far the clocks of nodes are off, in milliseconds.
    pub(crate) skew_millis: Vec<i64>,
    /// The longest a write to the log of raft takes, in microseconds.
    pub(crate) disk_micros: u64,
    pub(crate) faults: Vec<(Micros, Fault)>,
}

impl Script {
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = Chance::stream(seed, "script");
        let nodes = if chance.happens(85) { 3 } else { 5 };
        let servers = chance.range(3, 6) as usize;
        let sources = (0..servers).map(|number| match number {
            0 | 1 => 0,
            // A chain now and then.
            _ if number + 1 == servers && chance.happens(20) => 1,
            _ => 0,
        });
        let sources: Vec<usize> = sources.collect();
        let direct = sources.iter().skip(1).filter(|it| **it == 0).count();
        let wait_for = if direct >= 3 && chance.happens(20) { 2 } else { 1 };
        let mut ugly = Chance::stream(seed, "ugly");
        let flavor = if ugly.happens(40) { Flavor::MariaDb } else { Flavor::MySql };
        let wait_for = if flavor == Flavor::MariaDb { 1 } else { wait_for };
        let is_on = chance.happens(75);
        let timeout_micros = chance.happens(15).then_some(2_000_000);
        let semi =
            Semi { source: is_on, replica: is_on, wait_for, timeout_micros, has_lapsed: false };
        let sites = if chance.happens(40) { 3 } else { 1 };
        let mut script = Self {
            seed,
            nodes,
            sites,
            far_micros: chance.pick(&[2_000, 10_000, 40_000]),
            sources,
            semi,
            flavor,
            keeps_relay_log: flavor == Flavor::MySql && ugly.happens(50),
            stray: ugly
                .happens(15)
                .then(|| ugly.pick(&[Threads::Both, Threads::Applier, Threads::Receiver])),
            boots_read_only: chance.happens(60),
            rejoins: chance.happens(60),
            probing: if Chance::stream(seed, "probing").happens(30) {
                Probing::Shared
            } else {
                Probing::Everybody
            },
            skew_millis: (0..nodes).map(|_| chance.range(0, 4_000) as i64 - 2_000).collect(),
            disk_micros: chance.pick(&[100, 2_000, 8_000]),
            faults: Vec::new(),
        };
        let mut at = chance.range(0, 1_500_000);
        for _ in 0..chance.range(1, FAULTS_MAX + 1) {
            script.add_fault(at, &mut chance);
            at += chance.pick(&[20_000, 200_000, 800_000, 3_000_000, 6_000_000]);
            at += chance.range(0, at / 4 + 1);
            if at > SAFETY_PHASE {
                break;
            }
        }
        for _ in 0..ugly.range(0, UGLY_MAX + 1) {
            let at = ugly.range(0, SAFETY_PHASE);
            script.add_ugly_fault(at, &mut ugly);
        }
        script.faults.sort_by_key(|(at, _)| *at);
        script
    }

    /// What people do to servers, and what comes in pairs. Often the primary dies soon after that.
    fn add_ugly_fault(&mut self, at: Micros, chance: &mut Chance) {
        use Fault::*;
        let server = self.server(chance);
        let later = at + chance.pick(&[300_000, 1_500_000, 5_000_000]);
        let faults = match chance.range(0, 100) {
            0..25 => vec![(at, HoldAppliers), (later + 5_000_000, LetAppliersGo)],
            25..45 => vec![(at, HoldApplier(server)), (later + 5_000_000, LetApplierGo(server))],
            45..70 => vec![(at, WriteLocally(server))],
            // A replica dies with the primary, and is back first.
            _ => {
                let dies = at + chance.range(0, 400_000);
                let crash = |whom| Crash(whom, Power::Dead);
                let mut faults = vec![(at, crash(Whom::Primary)), (dies, crash(server))];
                faults.push((later.max(dies), Restore(server)));
                faults
            }
        };
        let is_alone = faults.len() < 3 && chance.happens(60);
        self.faults.extend(faults);
        if is_alone {
            let dies = at + chance.range(100_000, 2_500_000);
            self.faults.push((dies, Crash(Whom::Primary, Power::Dead)));
        }
    }

    fn add_fault(&mut self, at: Micros, chance: &mut Chance) {
        use Fault::*;
        let until = at + chance.pick(&[300_000, 1_200_000, 4_000_000, 9_000_000]);
        let server = self.server(chance);
        let node = self.node(chance);
        let power = chance.pick(&[Power::Dead, Power::Dead, Power::Gone, Power::Hung]);
        let (begins, ends) = match chance.range(0, 100) {
            0..25 => (Crash(Whom::Primary, power), None),
            25..37 => (Crash(server, power), Some(Restore(server))),
            37..47 => (Kill(node), Some(Start(node))),
            47..54 => (Freeze(node), Some(Thaw(node))),
            54..62 => (CutSite(server), Some(HealNetwork)),
            62..68 => {
                let ends = [self.server(chance), self.node(chance), Whom::Primary];
                (CutBoth(chance.pick(&ends), self.node(chance)), Some(HealNetwork))
            }
            68..73 => {
                let ends = [self.server(chance), self.node(chance), Whom::Primary];
                let (one, other) = (chance.pick(&ends), chance.pick(&ends));
                (CutOneWay(one, other), Some(HealNetwork))
            }
            73..78 => (CutFromServers(node), Some(HealNetwork)),
            78..83 => {
                (CutFromBatons(chance.pick(&[Whom::Primary, server, node])), Some(HealNetwork))
            }
            83..87 => (CutBoth(Whom::Primary, server), Some(HealNetwork)),
            87..90 => (Lose(chance.pick(&[5, 20])), Some(HealNetwork)),
            90..94 => (Lag(server, chance.pick(&[300_000, 2_000_000])), Some(Lag(server, 3_000))),
            94..97 => (TakeOver, None),
            97..98 => (Downtime, None),
            _ => (Yield, None),
        };
        self.faults.push((at, begins));
        if let Crash(Whom::Primary, _) = begins
            && chance.happens(30)
        {
            self.faults.push((at + chance.range(0, 60_000), Kill(Whom::Leader)));
        }
        if matches!(begins, Crash(Whom::Primary, _)) && chance.happens(40) {
            self.faults.push((at + chance.range(20_000, 6_000_000), RestoreAll));
        }
        // Whoever is not brought back here is when everything heals.
        if let Some(ends) = ends {
            self.faults.push((until, ends));
        }
    }

    fn server(&self, chance: &mut Chance) -> Whom {
        Whom::Server(chance.index(self.sources.len()))
    }

    fn node(&self, chance: &mut Chance) -> Whom {
        if chance.happens(50) { Whom::Leader } else { Whom::Node(chance.index(self.nodes)) }
    }

    pub(crate) fn net(&self) -> Net {
        let nodes = (0..self.nodes).map(|it| (End::Node(it), it % self.sites));
        let servers = (0..self.count()).map(|it| (End::Server(it), it % self.sites));
        let sites: BTreeMap<End, usize> = nodes.chain(servers).collect();
        Net::of(self.seed, sites, self.far_micros)
    }

    pub(crate) fn servers(&self) -> Vec<Server> {
        let mut servers: Vec<Server> = Vec::new();
        for (number, source) in self.sources.iter().enumerate() {
            let mut server = Server::new(number, self.semi);
            server.boots_read_only = self.boots_read_only;
            server.read_only = number > 0;
            if number > 0 {
                let line = Line { receiver: true, applier: true, ..Line::to(*source) };
                server.channel = Some(line);
            }
            servers.push(server);
        }
        if let Some(threads) = self.stray {
            let mut nowhere = Server::new(servers.len(), self.semi);
            (nowhere.belongs, nowhere.power) = (Belongs::Nowhere, Power::Gone);
            let mut stray = Server::new(servers.len() + 1, self.semi);
            stray.belongs = Belongs::Astray;
            let (receiver, applier) = (threads != Threads::Applier, threads != Threads::Receiver);
            stray.channel = Some(Line { receiver, applier, ..Line::to(nowhere.number) });
            servers.extend([nowhere, stray]);
        }
        for server in &mut servers {
            server.flavor = self.flavor;
            server.keeps_relay_log = self.keeps_relay_log;
        }
        servers
    }

    /// Whom batons are told of: nothing leads from the others to a stray.
    pub(crate) fn seeds(&self) -> Vec<InstanceKey> {
        let numbers = [Some(0), self.stray.map(|_| self.sources.len() + 1)];
        let keys = numbers.into_iter().flatten();
        keys.map(|it| InstanceKey::new(format!("db{it}").as_str(), 3306)).collect()
    }

    /// How many servers there are.
    fn count(&self) -> usize {
        self.sources.len() + if self.stray.is_some() { 2 } else { 0 }
    }
}
