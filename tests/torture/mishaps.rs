//! What goes wrong.

use std::process::Command;

use crate::support::{Flavor, wait_until};
use crate::world::{World, accepts_writes};
use crate::{Chance, HEAL};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    PrimaryDies,
    PrimaryHangs,
    ReplicaDies,
    ReplicationStops,
    BatonDies,
    PrimaryAndBatonDie,
    HandOver,
    /// The appliers of all replicas stand still when the primary dies; their receivers run.
    AppliersStop,
    /// Somebody wrote on a replica before the primary dies.
    LocalWrites,
    /// A replica dies with the primary, and comes back first.
    DoubleCrash,
    /// Whoever took the primary's place dies at once.
    SuccessorDies,
    /// The primary dies in the middle of a transaction of many megabytes.
    LargeTransaction,
}

pub(crate) const MISHAPS: [Mishap; 12] = [
    Mishap::PrimaryDies,
    Mishap::PrimaryHangs,
    Mishap::ReplicaDies,
    Mishap::ReplicationStops,
    Mishap::BatonDies,
    Mishap::PrimaryAndBatonDie,
    Mishap::HandOver,
    Mishap::AppliersStop,
    Mishap::LocalWrites,
    Mishap::DoubleCrash,
    Mishap::SuccessorDies,
    Mishap::LargeTransaction,
];

impl Mishap {
    /// Whether baton may rightly leave it to people: what a replica had that died with the primary,
    /// and came back without its relay log, is not known; a replica of MariaDB throws it away when both
    /// its threads are stopped, too; and a baton that is killed knows of servers what it stored some
    /// seconds before.
    pub(crate) fn may_need_a_person(self, flavor: Flavor) -> bool {
        match self {
            Self::DoubleCrash | Self::SuccessorDies | Self::PrimaryAndBatonDie => true,
            Self::ReplicationStops => flavor.is_mariadb(),
            _ => false,
        }
    }
}

impl World {
    #[allow(clippy::disallowed_methods, reason = "servers hang and die in real time")]
    pub(crate) fn go_wrong(&mut self, mishap: Mishap, chance: &mut Chance) {
        let Some(primary) = self.primary() else { return };
        self.last_primary = primary;
        let replica = self.replica(primary, chance);
        match mishap {
            Mishap::PrimaryDies => self.kill(primary),
            Mishap::PrimaryHangs => self.hang(primary),
            Mishap::ReplicaDies => self.kill(replica),
            Mishap::ReplicationStops => {
                self.servers[replica].exec("STOP REPLICA");
                std::thread::sleep(std::time::Duration::from_millis(300));
                self.kill(primary);
                // What people stopped is started by people.
                let _ = self.servers[replica].try_query("START REPLICA");
                self.halted = Some(replica);
            }
            Mishap::BatonDies => self.restart_baton(),
            Mishap::PrimaryAndBatonDie => {
                self.kill(primary);
                std::thread::sleep(chance.millis_below(150));
                self.restart_baton();
            }
            Mishap::HandOver => {
                // It may be refused; then everything is as it was.
                let _ = self.baton.try_get("/api/graceful-master-takeover-auto/shop");
            }
            Mishap::AppliersStop => {
                for index in (0..self.servers.len()).filter(|index| *index != primary) {
                    self.servers[index].exec("STOP REPLICA SQL_THREAD");
                    self.stopped.push(index);
                }
                std::thread::sleep(chance.millis_below(900));
                self.kill(primary);
            }
            Mishap::LocalWrites => {
                let leaf = self.leaf(primary, chance);
                self.write_locally(leaf);
                std::thread::sleep(chance.millis_below(2_500));
                self.kill(primary);
            }
            Mishap::DoubleCrash => {
                self.kill(primary);
                std::thread::sleep(chance.millis_below(100));
                self.kill(replica);
                std::thread::sleep(chance.millis_below(3_000));
                self.revive(replica);
            }
            Mishap::SuccessorDies => {
                self.kill(primary);
                let successor = self.until_another_is_primary(primary);
                std::thread::sleep(chance.millis_below(400));
                self.last_primary = successor;
                self.kill(successor);
            }
            Mishap::LargeTransaction => self.kill_while_it_writes(primary, chance),
        }
    }

    fn hang(&mut self, primary: usize) {
        self.servers[primary].stop_signal();
        // While it hangs it cannot be asked: it counts as dead until it wakes.
        self.dead.push(primary);
        self.until_another_is_primary(primary);
        self.servers[primary].cont_signal();
        self.dead.retain(|index| *index != primary);
        let fenced = || accepts_writes(&self.servers[primary]).filter(|open| !open);
        wait_until(HEAL, "the former primary is fenced when it wakes", fenced);
    }

    fn replica(&self, primary: usize, chance: &mut Chance) -> usize {
        let others: Vec<usize> =
            (0..self.servers.len()).filter(|index| *index != primary).collect();
        others[chance.below(others.len())]
    }

    /// A replica from which no other replicates: what is written there spreads to none.
    fn leaf(&self, primary: usize, chance: &mut Chance) -> usize {
        let all = 0..self.servers.len();
        let sources: Vec<usize> = all.clone().filter_map(|it| self.source_of(it)).collect();
        let leaves: Vec<usize> = all.filter(|it| *it != primary && !sources.contains(it)).collect();
        leaves[chance.below(leaves.len())]
    }

    fn write_locally(&mut self, index: usize) {
        self.locals += 1;
        let database = format!("local{}", self.locals);
        let server = &self.servers[index];
        if !server.flavor.is_mariadb() {
            server.exec("SET GLOBAL super_read_only = OFF");
        }
        server.exec(&format!("CREATE DATABASE {database}"));
        server.exec(&format!("CREATE TABLE {database}.t (id INT)"));
        server.exec("FLUSH TABLES");
        if !server.flavor.is_mariadb() {
            server.exec("SET GLOBAL super_read_only = ON");
        }
        self.written.push((index, database));
    }

    #[allow(clippy::disallowed_methods, reason = "a server dies in real time")]
    fn kill_while_it_writes(&mut self, primary: usize, chance: &mut Chance) {
        let server = &self.servers[primary];
        let pid = server.pid().expect("it runs");
        self.locals += 1;
        let write = format!(
            "UPDATE shop.large SET filling = REPEAT(CHAR(65 + {} % 26), 1000000)",
            self.locals
        );
        std::thread::scope(|scope| {
            // It ends when the server dies, if not before.
            scope.spawn(|| server.try_query(&write));
            std::thread::sleep(chance.millis_below(500));
            let kill = Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).status();
            assert!(kill.expect("run kill").success());
        });
        self.kill(primary);
    }

    fn restart_baton(&mut self) {
        self.baton.kill_9();
        self.baton.launch();
    }
}
