//! The topologies that are tortured: those that people have, not only those that are drawn.

use std::time::Duration;

use crate::HEAL;
use crate::support::{Flavor, Options, Server, wait_until};
use crate::world::World;

/// The channel on which a server imports from elsewhere.
pub(crate) const IMPORTS: &str = "imports";
/// The server that has that channel.
pub(crate) const IMPORTER: usize = 0;

/// The GTID domain of what it imports, on MariaDB.
pub(crate) const IMPORTED_DOMAIN: &str = "9";

/// How the servers replicate from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A primary with three replicas.
    Star,
    /// One of the replicas is below another.
    Chain,
    /// The primary and one of its replicas replicate from each other.
    CoPrimaries,
    /// The first primary also replicates from a server elsewhere, by a named channel.
    Imports,
    /// Each server of MariaDB writes in a GTID domain of its own.
    Domains,
}

use Shape::{Chain, CoPrimaries, Domains, Imports, Star};

impl Shape {
    fn all(flavor: Flavor) -> &'static [Shape] {
        match flavor {
            Flavor::MySql97 => &[Star, Chain, CoPrimaries, Imports],
            Flavor::MariaDb1011 | Flavor::MariaDb118 => {
                &[Star, Chain, CoPrimaries, Imports, Domains]
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Star => "star",
            Chain => "chain",
            CoPrimaries => "co-primaries",
            Imports => "imports",
            Domains => "domains",
        }
    }

    /// The one that is named, or else the seed's. Seed 1 is the star.
    pub(crate) fn chosen(seed: u64, flavor: Flavor, named: Option<&str>) -> Shape {
        let all = Self::all(flavor);
        let Some(named) = named else {
            return all[(seed.saturating_sub(1) % all.len() as u64) as usize];
        };
        let found = all.iter().find(|it| it.name() == named);
        *found.unwrap_or_else(|| {
            let names: Vec<&str> = all.iter().map(|it| it.name()).collect();
            panic!("SHAPE={named}: one of {}", names.join(", "))
        })
    }

    /// How server number `index` is started. Every server boots read-only: only baton opens one.
    pub(crate) fn options(self, flavor: Flavor, index: usize) -> Options {
        let options = Options::new(flavor)
            .semi_sync()
            .line("loose-rpl_semi_sync_source_timeout=600000")
            .line("loose-rpl_semi_sync_master_timeout=600000")
            .read_only();
        match self {
            Domains => options.line(&format!("gtid_domain_id={}", index + 1)),
            // MariaDB asks for that where two servers replicate from each other.
            CoPrimaries if flavor.is_mariadb() => {
                options.line(&format!("gtid_domain_id={}", index + 1))
            }
            // A replica that imports would be turned away by a primary that has less of it.
            Imports if flavor.is_mariadb() => options.line("gtid_ignore_duplicates=ON"),
            _ => options,
        }
    }

    /// The server to import from, if there is one. It waits for acknowledgements too, for a moment: a
    /// replica of MySQL that acknowledges cannot have one source that does and another that does not.
    pub(crate) fn warehouse(self, flavor: Flavor) -> Option<Server> {
        let options = Options::new(flavor)
            .semi_sync()
            .line("loose-rpl_semi_sync_source_timeout=100")
            .line("loose-rpl_semi_sync_master_timeout=100");
        let options = match flavor {
            Flavor::MySql97 => options,
            _ => options.line(&format!("gtid_domain_id={IMPORTED_DOMAIN}")),
        };
        (self == Imports).then(|| Server::start(options))
    }

    /// Who replicates from whom at the beginning.
    pub(crate) fn connect(self, servers: &[Server], warehouse: Option<&Server>) {
        for (index, replica) in servers.iter().enumerate().skip(1) {
            let source = if self == Chain && index == 3 { 1 } else { 0 };
            replica.replicate_from(&servers[source]);
        }
        if let Some(warehouse) = warehouse {
            servers[IMPORTER].replicate_channel(IMPORTS, warehouse);
            warehouse.wait_for_acknowledgements();
        }
    }
}

impl World {
    /// Failovers flatten every topology: people make it what it was.
    #[allow(clippy::disallowed_methods, reason = "baton looks at servers in real time")]
    pub(crate) fn reshape(&mut self) {
        let Some(primary) = self.primary() else { return };
        if let Some(warehouse) = &self.warehouse {
            warehouse.exec("INSERT INTO stock.items VALUES ()");
        }
        let below: Vec<usize> = self.directly_below(primary);
        match (self.shape, below.as_slice()) {
            (Chain, [first, .., last]) if below.len() + 1 == self.servers.len() => {
                let [replica, source] =
                    [last, first].map(|it| self.servers[*it].address().replace(':', "/"));
                // Where that is refused, all stays as it was.
                let _ = self.baton.try_get(&format!("/api/relocate/{replica}/{source}"));
                let whole = || (self.follows(*last, primary)).then_some(());
                wait_until(HEAL, "the replica that was relocated replicates", whole);
                // Until baton has looked at the primary again, the replica is one that acknowledged to
                // it: should the primary die before that, a person has to decide.
                std::thread::sleep(Duration::from_millis(2_500));
            }
            (CoPrimaries, [first, ..]) if self.source_of(primary).is_none() => {
                self.servers[primary].replicate_from(&self.servers[*first]);
            }
            _ => {}
        }
    }

    fn directly_below(&self, primary: usize) -> Vec<usize> {
        let all = 0..self.servers.len();
        all.filter(|it| self.source_of(*it) == Some(primary)).collect()
    }

    /// What people do when the import stopped, as it does on MySQL when only one of two sources waits for
    /// acknowledgements.
    pub(crate) fn start_import(&self) {
        let importer = &self.servers[IMPORTER];
        if !importer.flavor.is_mariadb() && !importer.replication_runs(IMPORTS) {
            let _ = importer.try_query(&format!("START REPLICA FOR CHANNEL '{IMPORTS}'"));
        }
    }

    /// Why the import from elsewhere is not whole; `None` when it is.
    pub(crate) fn import_trouble(&self) -> Option<String> {
        let warehouse = self.warehouse.as_ref()?;
        let importer = &self.servers[IMPORTER];
        if !importer.replication_runs(IMPORTS) {
            let told = ["Last_IO_Error", "Last_SQL_Error"]
                .map(|column| importer.replica_status(IMPORTS, column).unwrap_or_default());
            return Some(format!("the import does not run: {told:?}"));
        }
        let count = |server: &Server| server.value("SELECT COUNT(*) FROM stock.items");
        let (has, wanted) = (count(importer), count(warehouse));
        (has != wanted).then(|| format!("{has} of {wanted} rows are imported"))
    }

    /// A server that was built anew imports again.
    pub(crate) fn import_again(&self, index: usize) {
        if let Some(warehouse) = self.warehouse.as_ref().filter(|_| index == IMPORTER) {
            self.servers[index].replicate_channel(IMPORTS, warehouse);
        }
    }
}
