//! What a replica proves itself with at its source.

use std::fmt;

use crate::instance::ChannelTls;
use crate::reading::RawTable;

/// An account for replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// How the connection is secured.
    pub tls: ChannelTls,
}

impl Credentials {
    /// Reads the answer of the configured query: user, password, and where TLS is used CA file,
    /// certificate file and key file. `None` when it names nobody.
    pub fn from_query(answer: &RawTable) -> Option<Self> {
        let row = answer.first()?;
        let text = |index| row.at(index).map(|text| text.trim().to_owned()).unwrap_or_default();
        let (ca_file, cert, key) = (text(2), text(3), text(4));
        let enabled = [&ca_file, &cert, &key].iter().any(|file| !file.is_empty());
        let tls = ChannelTls { enabled, ca_file, cert, key, ..ChannelTls::default() };
        // A password may begin or end with a space.
        let password = Secret::new(row.at(1).unwrap_or_default());
        Some(Self { user: text(0), password, tls }).filter(|found| !found.user.is_empty())
    }

    /// Reads MySQL's `mysql.slave_master_info`, of whatever version.
    pub fn from_metadata(table: &RawTable) -> Option<Self> {
        let row = table.rows().find(|row| !row.text("User_name").is_empty())?;
        let flag = |column| row.get(column).map(|_| row.flag(column));
        Some(Self {
            user: row.text("User_name"),
            password: Secret::new(row.text("User_password")),
            tls: ChannelTls {
                enabled: row.flag("Enabled_ssl"),
                ca_file: row.text("Ssl_ca"),
                ca_path: row.text("Ssl_capath"),
                cert: row.text("Ssl_cert"),
                cipher: row.text("Ssl_cipher"),
                crl_file: row.text("Ssl_crl"),
                crl_path: row.text("Ssl_crlpath"),
                key: row.text("Ssl_key"),
                verify_server_cert: flag("Ssl_verify_server_cert"),
                version: row.text("Tls_version"),
                ciphersuites: row.text("Tls_ciphersuites"),
                public_key_path: row.text("Public_key_path"),
                get_public_key: flag("Get_public_key"),
            },
        })
    }
}

/// A text that cannot be printed, stored or serialised, not even by mistake.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[&str], row: &[&str]) -> RawTable {
        RawTable {
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            rows: vec![row.iter().map(|text| Some(text.as_bytes().to_vec())).collect()],
        }
    }

    #[test]
    fn credentials_are_read_and_never_printed() {
        let columns = ["a", "b", "c", "d", "e"];
        let read = |row: &[&str]| Credentials::from_query(&table(&columns, row));
        let open = read(&["repl", " hunter2"]).unwrap();
        assert_eq!((open.user.as_str(), open.password.expose()), ("repl", " hunter2"));
        assert!(!open.tls.enabled && !format!("{open:?}").contains("hunter2"));
        let secure = read(&["repl", "x", "/ca.pem", "", ""]).unwrap();
        assert!(secure.tls.enabled && secure.tls.ca_file == "/ca.pem");
        assert_eq!(read(&["", "x"]), None);
        assert_eq!(Credentials::from_query(&RawTable::default()), None);

        let kept = table(
            &["User_name", "User_password", "Enabled_ssl", "Ssl_ca", "Get_public_key"],
            &["repl", "hunter2", "1", "/ca.pem", "0"],
        );
        let kept = Credentials::from_metadata(&kept).unwrap();
        assert_eq!(kept.tls.get_public_key, Some(false));
        assert!(kept.tls.enabled && kept.tls.verify_server_cert.is_none());
        assert_eq!(Credentials::from_metadata(&table(&["User_name"], &[""])), None);
    }
}
