//! Which names stand for the same host.
//!
//! People, replicas and servers may call one host differently. Probing tells the canonical name;
//! this map remembers it, so that `db1.example.com` in a replica's configuration and the server
//! that calls itself `db1` are one instance.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::key::InstanceKey;

/// Known resolutions, from the name given to the canonical name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostNames {
    canonical: RedBlackTreeMapSync<Arc<str>, Arc<str>>,
}

impl HostNames {
    /// The canonical key of `key`; itself when nothing else is known.
    pub fn resolve(&self, key: &InstanceKey) -> InstanceKey {
        match self.canonical.get(key.host()) {
            Some(host) => InstanceKey::new(Arc::clone(host), key.port()),
            None => key.clone(),
        }
    }

    /// Remembers that `given` stands for `canonical`. A name that stands for itself is not kept.
    #[must_use]
    pub fn with(&self, given: &str, canonical: &str) -> Self {
        let canonical = if given == canonical {
            self.canonical.remove(given)
        } else {
            self.canonical.insert(given.into(), canonical.into())
        };
        Self { canonical }
    }

    /// How many names stand for another.
    pub fn len(&self) -> usize {
        self.canonical.size()
    }

    /// Whether no name stands for another.
    pub fn is_empty(&self) -> bool {
        self.canonical.is_empty()
    }

    /// All resolutions, ordered by the name given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.canonical.iter().map(|(given, canonical)| (&**given, &**canonical))
    }
}

/// Whether one name is the other, or the leading labels of it, cut at a dot: `db-0` and
/// `db-0.db.prod`. A mere part of a name is not, and no part of an address is a name.
pub fn leads(part: &str, whole: &str) -> bool {
    let rest = whole.strip_prefix(part);
    let is_cut = rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'));
    let is_address = || whole.parse::<std::net::IpAddr>().is_ok();
    part == whole || (is_cut && !part.is_empty() && !is_address())
}

/// Whether two seats (`host:port`) are one node's, the host of one being the leading labels of the
/// other's.
pub fn is_same_seat(one: &str, other: &str) -> bool {
    match (one.rsplit_once(':'), other.rsplit_once(':')) {
        (Some((one, port)), Some((other, other_port))) => {
            port == other_port && (leads(one, other) || leads(other, one))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_labels_are_cut_at_dots() {
        for (part, whole, expected) in [
            ("db-0", "db-0.db.prod", true),
            ("db-0.db", "db-0.db.prod", true),
            ("db-0", "db-0", true),
            ("db", "db-0.db.prod", false),
            ("db-0.", "db-0.db.prod", false),
            ("db", "prod.db", false),
            ("", ".db", false),
            ("db-0", "db-0.", false),
            ("127", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
        ] {
            assert_eq!(leads(part, whole), expected, "{part} of {whole}");
        }
        for (one, other, expected) in [
            ("orc-0.ns:10008", "orc-0.ns.svc:10008", true),
            ("orc-0.ns.svc:10008", "orc-0.ns:10008", true),
            ("orc-0.ns:10008", "orc-0.ns.svc:1", false),
            ("orc-1.ns:10008", "orc-0.ns.svc:10008", false),
            ("[::1]:7", "[::1]:7", true),
        ] {
            assert_eq!(is_same_seat(one, other), expected, "{one} and {other}");
        }
    }

    #[test]
    fn names_resolve_once_and_keep_the_port() {
        let names = HostNames::default().with("db1.example.com", "db1").with("db1", "db1");
        let given = InstanceKey::new("db1.example.com", 3307);
        assert_eq!(names.resolve(&given), InstanceKey::new("db1", 3307));
        assert_eq!(names.resolve(&InstanceKey::new("db1", 3306)), InstanceKey::new("db1", 3306));
        assert_eq!(names.iter().count(), 1, "a name that stands for itself is not kept");
    }
}
