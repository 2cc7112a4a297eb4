//! Positions in binary and relay logs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A position in a binary or relay log. An empty file name means "none".
///
/// Deliberately not `Ord`: two positions only compare when they belong to the same server's logs,
/// which the type does not know. See [`BinlogCoordinates::is_before`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BinlogCoordinates {
    /// Log file name, such as `mysql-bin.000012`.
    pub file: String,
    /// Byte offset in the file.
    pub position: u64,
}

impl BinlogCoordinates {
    /// Makes coordinates.
    pub fn new(file: impl Into<String>, position: u64) -> Self {
        Self { file: file.into(), position }
    }

    /// Whether there is no position at all.
    pub fn is_empty(&self) -> bool {
        self.file.is_empty()
    }

    /// Whether `self` comes before `other`. Only meaningful for logs of one and the same server.
    ///
    /// Files compare by the number behind the last dot (`.999999` comes before `.1000000`).
    pub fn is_before(&self, other: &Self) -> bool {
        (self.file_number(), &self.file, self.position)
            < (other.file_number(), &other.file, other.position)
    }

    fn file_number(&self) -> u64 {
        self.file.rsplit_once('.').and_then(|(_, digits)| digits.parse().ok()).unwrap_or(0)
    }
}

impl fmt::Display for BinlogCoordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_compare_by_number_and_not_by_text() {
        let at = BinlogCoordinates::new;
        assert!(at("bin.999999", 9).is_before(&at("bin.1000000", 4)));
        assert!(at("bin.000001", 4).is_before(&at("bin.000001", 5)));
        assert!(!at("bin.000001", 5).is_before(&at("bin.000001", 5)));
        assert!(!at("bin.000002", 4).is_before(&at("bin.000001", 900)));
    }
}
