//! Filters on clusters and hosts, as the configuration writes them.

use std::fmt;

use regex::Regex;

use crate::cluster::Cluster;
use crate::key::InstanceKey;
use crate::pattern;

/// One entry of a cluster filter list.
#[derive(Debug, Clone)]
pub enum ClusterFilter {
    /// `*`: every cluster.
    Any,
    /// `alias=x`.
    Alias(String),
    /// `alias~=regex`.
    AliasPattern {
        /// The expression as configured.
        written: String,
        /// What it means.
        pattern: Regex,
    },
    /// A name or alias to the letter, or a regular expression on the name.
    NameOrAlias {
        /// The text as configured.
        text: String,
        /// The text as a regular expression on the cluster name, when it is one.
        pattern: Option<Regex>,
    },
}

impl ClusterFilter {
    /// Reads one entry.
    ///
    /// # Errors
    /// When what follows `alias~=` is no regular expression.
    pub fn parse(text: &str) -> Result<Self, regex::Error> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(written) = text.strip_prefix("alias~=") {
            let pattern = pattern::compile(written)?;
            return Ok(Self::AliasPattern { written: written.to_owned(), pattern });
        }
        if let Some(alias) = text.strip_prefix("alias=") {
            return Ok(Self::Alias(alias.to_owned()));
        }
        let pattern = if text.is_empty() { None } else { pattern::compile(text).ok() };
        Ok(Self::NameOrAlias { text: text.to_owned(), pattern })
    }

    /// Whether the cluster of that old-style name and alias is meant.
    pub fn matches(&self, name: &str, alias: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Alias(wanted) => wanted == alias,
            Self::AliasPattern { pattern, .. } => pattern.is_match(alias),
            Self::NameOrAlias { text, pattern } => {
                text == name
                    || text == alias
                    || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
            }
        }
    }
}

impl fmt::Display for ClusterFilter {
    /// As it was configured.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Alias(alias) => write!(f, "alias={alias}"),
            Self::AliasPattern { written, .. } => write!(f, "alias~={written}"),
            Self::NameOrAlias { text, .. } => f.write_str(text),
        }
    }
}

/// Whether any of the filters means the cluster.
pub fn any_matches(filters: &[ClusterFilter], cluster: &Cluster) -> bool {
    let name = cluster.name();
    filters.iter().any(|filter| filter.matches(&name, &cluster.alias))
}

/// A list of regular expressions on host names (or `host:port`). Empty matches nothing.
#[derive(Debug, Clone, Default)]
pub struct HostFilters {
    /// The patterns.
    pub patterns: Vec<Regex>,
}

impl HostFilters {
    /// Whether any pattern matches the text.
    pub fn matches(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_match(text))
    }

    /// Whether any pattern matches the instance's `host:port`.
    pub fn matches_key(&self, key: &InstanceKey) -> bool {
        !self.patterns.is_empty() && self.matches(&key.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_filters_match_as_they_are_written() {
        for (filter, name, alias, expected) in [
            ("*", "db1:3306", "shop", true),
            ("db1:3306", "db1:3306", "shop", true),
            ("shop", "db1:3306", "shop", true),
            ("alias=shop", "db1:3306", "shop", true),
            ("alias=sho", "db1:3306", "shop", false),
            ("alias~=^sh", "db1:3306", "shop", true),
            ("alias~=^op", "db1:3306", "shop", false),
            ("^db[0-9]", "db1:3306", "shop", true),
            ("sho", "db1:3306", "shop", false),
            ("", "db1:3306", "shop", false),
            ("(", "db1:3306", "shop", false),
        ] {
            let parsed = ClusterFilter::parse(filter).unwrap();
            assert_eq!(parsed.matches(name, alias), expected, "{filter:?} on {name} ({alias})");
            assert_eq!(parsed.to_string(), filter, "it prints as it was written");
        }
        assert!(ClusterFilter::parse("alias~=(").is_err());
    }

    #[test]
    fn host_filters_match_host_and_port() {
        let filters = HostFilters { patterns: vec![Regex::new("^db.:3307$").unwrap()] };
        assert!(filters.matches_key(&InstanceKey::new("db1", 3307)));
        assert!(!filters.matches_key(&InstanceKey::new("db1", 3306)));
        assert!(!HostFilters::default().matches_key(&InstanceKey::new("db1", 3306)));
    }
}
