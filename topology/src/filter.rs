//! Filters on clusters and hosts, as the configuration writes them.

use regex::Regex;

/// One entry of a cluster filter list.
#[derive(Debug, Clone)]
pub enum ClusterFilter {
    /// `*`: every cluster.
    Any,
    /// `alias=x`.
    Alias(String),
    /// `alias~=regex`.
    AliasPattern(Regex),
    /// A name or alias to the letter, or a regular expression on the name.
    NameOrAlias {
        /// The text as configured.
        text: String,
        /// The text as a regular expression on the cluster name, when it is one.
        pattern: Option<Regex>,
    },
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
}
