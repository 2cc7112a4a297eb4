//! How a server is started.

use super::{Certificates, Place};

/// The servers that are tested against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    MySql97,
    MariaDb1011,
    MariaDb118,
}

impl Flavor {
    pub fn is_mariadb(self) -> bool {
        self != Flavor::MySql97
    }
}

/// How a server is started. Everything is on loopback, small, with a binary log.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) flavor: Flavor,
    pub(super) server_id: Option<u32>,
    pub(super) host: String,
    pub(super) report_host: Option<String>,
    pub(super) report_port: Option<u16>,
    pub(super) gtid: bool,
    pub(super) semi_sync: bool,
    pub(super) relay_disk: Option<u32>,
    pub(super) place: Option<Place>,
    pub(super) lines: Vec<String>,
    pub(super) files: Vec<(String, String)>,
}

impl Options {
    pub fn new(flavor: Flavor) -> Options {
        Options {
            flavor,
            server_id: None,
            host: "127.0.0.1".to_owned(),
            report_host: None,
            report_port: None,
            gtid: true,
            semi_sync: false,
            relay_disk: None,
            place: None,
            lines: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Without it every server of this process gets the next number.
    #[must_use]
    pub fn server_id(mut self, id: u32) -> Options {
        self.server_id = Some(id);
        self
    }

    /// What the server tells its source; by default where it really listens.
    #[must_use]
    pub fn report(mut self, host: &str, port: u16) -> Options {
        self.report_host = Some(host.to_owned());
        self.report_port = Some(port);
        self
    }

    /// MySQL without GTID; on MariaDB, whose GTIDs are always there, replicas then follow file and position.
    #[must_use]
    pub fn without_gtid(mut self) -> Options {
        self.gtid = false;
        self
    }

    #[must_use]
    pub fn read_only(self) -> Options {
        let mysql = self.flavor == Flavor::MySql97;
        let read_only = self.line("read_only=ON");
        if mysql { read_only.line("super_read_only=ON") } else { read_only }
    }

    #[must_use]
    pub fn without_performance_schema(self) -> Options {
        self.line("performance_schema=OFF")
    }

    /// Semi-synchronous replication: replicas acknowledge, and in a star, a chain or co-primaries whoever has a replica
    /// waits for it. For a server of its own see [`Server::wait_for_acknowledgements`](super::Server).
    #[must_use]
    pub fn semi_sync(mut self) -> Options {
        self.semi_sync = true;
        match self.flavor {
            Flavor::MySql97 => self
                .line("plugin-load-add=semisync_source.so")
                .line("plugin-load-add=semisync_replica.so")
                .line("loose-rpl_semi_sync_replica_enabled=ON"),
            Flavor::MariaDb1011 | Flavor::MariaDb118 => self.line("rpl_semi_sync_slave_enabled=ON"),
        }
    }

    /// Relay logs get a disk of their own, of so many MiB.
    #[must_use]
    pub fn relay_disk(mut self, mebibytes: u32) -> Options {
        self.relay_disk = Some(mebibytes);
        self
    }

    /// It runs in a place of its own and listens there.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Options {
        self.host = place.address();
        self.place = Some(place.clone());
        self
    }

    #[must_use]
    pub fn tls(self, certificates: &Certificates) -> Options {
        self.line(&format!("ssl-ca={}", certificates.ca.display()))
            .line(&format!("ssl-cert={}", certificates.server_cert.display()))
            .line(&format!("ssl-key={}", certificates.server_key.display()))
    }

    /// A file in the data directory.
    #[must_use]
    pub fn data_file(mut self, name: &str, text: &str) -> Options {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// One more line of `my.cnf`; a later line wins over an earlier one.
    #[must_use]
    pub fn line(mut self, line: &str) -> Options {
        self.lines.push(line.to_owned());
        self
    }
}
