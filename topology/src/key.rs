//! The name of an instance: host and port.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names one MySQL server: the host as clients write it, and the port.
///
/// Cheap to clone. Displays and serialises as `host:port`; IPv6 literals are put in brackets.
/// Ordered by host, then port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    host: Arc<str>,
    port: u16,
}

/// Why a text is not an instance key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// There is no host in front of the port.
    #[error("no host name in {0:?}")]
    NoHost(String),
    /// The port is missing and no default was given, or it is not a number in 1..=65535.
    #[error("invalid port in {0:?}")]
    InvalidPort(String),
}

impl InstanceKey {
    /// Makes a key; the host is taken as it is.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The host name or address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Parses `host`, `host:port`, `[v6]:port`; `default_port` stands in for a missing port.
    ///
    /// # Errors
    /// When there is no host, or the port is not a number in 1..=65535.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, ParseKeyError> {
        let text = text.trim();
        let no_host = || ParseKeyError::NoHost(text.to_owned());
        let bad_port = || ParseKeyError::InvalidPort(text.to_owned());
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, tail) = rest.split_once(']').ok_or_else(no_host)?;
            match tail.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if tail.is_empty() => (host, None),
                None => return Err(bad_port()),
            }
        } else {
            match text.rsplit_once(':') {
                // More than one colon without brackets can only be a bare IPv6 address.
                Some((head, _)) if head.contains(':') => match text.parse::<Ipv6Addr>() {
                    Ok(_) => (text, None),
                    Err(_) => return Err(bad_port()),
                },
                Some((head, port)) => (head, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(no_host());
        }
        let port = match port {
            Some(digits) => digits.parse::<u16>().ok().filter(|port| *port > 0),
            None => default_port,
        };
        port.map(|port| Self::new(host, port)).ok_or_else(bad_port)
    }
}

impl FromStr for InstanceKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, None)
    }
}

impl fmt::Display for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for InstanceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InstanceKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_printed_alike() {
        for (text, host, port) in [
            ("db1:3306", "db1", 3306),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[::1]:3306", "::1", 3306),
            (" db1:3306 ", "db1", 3306),
        ] {
            let key: InstanceKey = text.parse().unwrap();
            assert_eq!((key.host(), key.port()), (host, port), "{text}");
            assert_eq!(key.to_string(), text.trim());
        }
    }

    #[test]
    fn a_missing_port_needs_a_default() {
        assert_eq!(InstanceKey::parse("db1", Some(3306)), Ok(InstanceKey::new("db1", 3306)));
        assert_eq!(InstanceKey::parse("::1", Some(3306)), Ok(InstanceKey::new("::1", 3306)));
        for text in
            ["", ":3306", "db1", "db1:", "db1:0", "db1:65536", "db1:x", "[::1", "[::1]x", "a:b:1"]
        {
            assert!(text.parse::<InstanceKey>().is_err(), "{text:?} is no key");
        }
    }
}
