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

    /// All resolutions, ordered by the name given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.canonical.iter().map(|(given, canonical)| (&**given, &**canonical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_once_and_keep_the_port() {
        let names = HostNames::default().with("db1.example.com", "db1").with("db1", "db1");
        let given = InstanceKey::new("db1.example.com", 3307);
        assert_eq!(names.resolve(&given), InstanceKey::new("db1", 3307));
        assert_eq!(names.resolve(&InstanceKey::new("db1", 3306)), InstanceKey::new("db1", 3306));
        assert_eq!(names.iter().count(), 1, "a name that stands for itself is not kept");
    }
}
