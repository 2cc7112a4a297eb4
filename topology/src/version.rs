//! Server versions, parsed: never compared as text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Who made the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Flavor {
    /// Oracle's MySQL, and everything that says nothing else of itself.
    MySql,
    /// MariaDB.
    MariaDb,
    /// Percona Server.
    Percona,
    /// MaxScale's binlog router, which hands on binary logs and holds no data.
    MaxScale,
    /// Not known (yet).
    #[default]
    Unknown,
}

/// A server version: `@@version` with the flavour that it and `@@version_comment` tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Version {
    text: String,
    numbers: (u16, u16, u16),
    flavor: Flavor,
}

impl Version {
    /// Reads `@@version` and `@@version_comment`. Never fails: what cannot be read is 0.0.0.
    pub fn parse(text: &str, comment: &str) -> Self {
        // MariaDB hides itself behind 5.5.5- in the handshake of older protocols.
        let shown = text.strip_prefix("5.5.5-").unwrap_or(text);
        let mut numbers = shown
            .split(|c: char| !c.is_ascii_digit())
            .take(3)
            .map(|digits| digits.parse::<u16>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        let numbers = (next(), next(), next());
        let flavor = if text.is_empty() {
            Flavor::Unknown
        } else if contains_ignore_case(text, "maxscale") {
            Flavor::MaxScale
        } else if contains_ignore_case(text, "mariadb") || contains_ignore_case(comment, "mariadb")
        {
            Flavor::MariaDb
        } else if contains_ignore_case(comment, "percona") {
            Flavor::Percona
        } else {
            Flavor::MySql
        };
        Self { text: shown.to_owned(), numbers, flavor }
    }

    /// The version as the server tells it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Who made the server.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// Major, minor and patch number.
    pub fn numbers(&self) -> (u16, u16, u16) {
        self.numbers
    }

    /// The part replication compatibility is judged by: `(8, 4)` of 8.4.3.
    pub fn major(&self) -> (u16, u16) {
        (self.numbers.0, self.numbers.1)
    }

    /// Whether this is MySQL or Percona Server (not MariaDB) of at least the given version.
    pub fn is_mysql_at_least(&self, major: u16, minor: u16, patch: u16) -> bool {
        matches!(self.flavor, Flavor::MySql | Flavor::Percona)
            && self.numbers >= (major, minor, patch)
    }

    /// Whether this is MariaDB, of this release or a newer one.
    pub fn is_mariadb_at_least(&self, major: u16, minor: u16) -> bool {
        self.is_mariadb() && self.major() >= (major, minor)
    }

    /// Whether this is MariaDB.
    pub fn is_mariadb(&self) -> bool {
        self.flavor == Flavor::MariaDb
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hint = match self.flavor {
            Flavor::Percona => "percona",
            Flavor::MariaDb => "mariadb",
            Flavor::MySql | Flavor::MaxScale | Flavor::Unknown => "",
        };
        (&self.text, hint).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, hint) = <(String, String)>::deserialize(deserializer)?;
        Ok(Self::parse(&text, &hint))
    }
}

fn contains_ignore_case(text: &str, needle: &str) -> bool {
    text.to_ascii_lowercase().contains(needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_flavours_are_recognised() {
        for (text, comment, numbers, flavor) in [
            ("9.7.4-2", "(Debian)", (9, 7, 4), Flavor::MySql),
            ("8.4.3-3", "Percona Server (GPL)", (8, 4, 3), Flavor::Percona),
            ("5.7.44-log", "MySQL Community Server", (5, 7, 44), Flavor::MySql),
            ("10.11.14-MariaDB-0+deb12u2", "Debian 12", (10, 11, 14), Flavor::MariaDb),
            ("5.5.5-10.6.18-MariaDB", "", (10, 6, 18), Flavor::MariaDb),
            ("12.0.2", "MariaDB Server", (12, 0, 2), Flavor::MariaDb),
            ("2.5.1-maxscale", "", (2, 5, 1), Flavor::MaxScale),
            ("", "", (0, 0, 0), Flavor::Unknown),
            ("strange", "", (0, 0, 0), Flavor::MySql),
        ] {
            let version = Version::parse(text, comment);
            assert_eq!((version.numbers(), version.flavor()), (numbers, flavor), "{text}");
        }
    }

    #[test]
    fn mariadb_ten_is_not_newer_than_mysql_eight() {
        let maria = Version::parse("10.11.14-MariaDB", "");
        let mysql = Version::parse("8.0.36", "");
        assert!(!maria.is_mysql_at_least(8, 0, 0));
        assert!(mysql.is_mysql_at_least(8, 0, 14));
        assert!(!mysql.is_mysql_at_least(8, 4, 0));
        assert!(Version::parse("10.0.0", "").is_mysql_at_least(9, 0, 0));
    }

    #[test]
    fn a_stored_version_comes_back_whole() {
        for (text, comment) in
            [("8.4.3", "Percona Server"), ("12.0.2", "MariaDB Server"), ("9.7.4", "x")]
        {
            let version = Version::parse(text, comment);
            let json = serde_json::to_string(&version).unwrap();
            assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), version);
        }
    }
}
