//! MariaDB's GTID positions: for each replication domain the last transaction.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Relation;

/// A position such as `0-1-100,1-2-7`: for each domain who wrote the last transaction, and its
/// number. Numbers grow within a domain, whoever writes, so a position stands for everything up to
/// it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct MariaDbPosition {
    domains: Arc<BTreeMap<u32, Last>>,
}

/// The last transaction of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Last {
    server_id: u32,
    sequence: u64,
}

/// One transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MariaDbGtid {
    /// The replication domain.
    pub domain: u32,
    /// Who wrote it.
    pub server_id: u32,
    /// Its number within the domain.
    pub sequence: u64,
}

/// A `gtid_binlog_state`: for each domain the last transaction of each server that wrote in it.
/// Unlike a position it tells whose transactions there are. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct MariaDbState {
    last: Arc<BTreeMap<(u32, u32), u64>>,
}

/// Why a text is no MariaDB position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not of the form domain-server-sequence: {0:?}")]
pub struct ParseMariaDbError(String);

impl MariaDbPosition {
    /// Whether it stands for nothing at all.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Whether everything up to `other` is also up to this one, judged by sequence numbers. The
    /// same number from another server is another transaction.
    ///
    /// A position tells only the last transaction of a domain: that the histories before it are
    /// the same, it cannot tell.
    pub fn contains(&self, other: &Self) -> bool {
        other.domains.iter().all(|(domain, theirs)| {
            let ours = self.domains.get(domain);
            ours.is_some_and(|ours| ours.sequence > theirs.sequence || ours == theirs)
        })
    }

    /// How this one compares with `other`. The same number from different servers is divergence:
    /// each wrote a transaction the other does not have.
    pub fn relation(&self, other: &Self) -> Relation {
        Relation::of(self.contains(other), other.contains(self))
    }

    /// The further of both in each domain.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut domains = (*self.domains).clone();
        for (domain, theirs) in other.domains.iter() {
            let ours = domains.entry(*domain).or_insert(*theirs);
            if theirs.sequence > ours.sequence {
                *ours = *theirs;
            }
        }
        Self { domains: Arc::new(domains) }
    }

    /// The last transaction of each domain.
    pub fn iter(&self) -> impl Iterator<Item = MariaDbGtid> + '_ {
        self.domains.iter().map(|(domain, last)| MariaDbGtid {
            domain: *domain,
            server_id: last.server_id,
            sequence: last.sequence,
        })
    }

    /// The number of the last transaction of a domain.
    pub fn last_of(&self, domain: u32) -> Option<u64> {
        self.domains.get(&domain).map(|last| last.sequence)
    }

    /// Without the domains whose last transaction is not to be kept.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(MariaDbGtid) -> bool) -> Self {
        let kept = self
            .iter()
            .filter(|gtid| keep(*gtid))
            .map(|gtid| (gtid.domain, Last { server_id: gtid.server_id, sequence: gtid.sequence }));
        Self { domains: Arc::new(kept.collect()) }
    }

    /// Without what this server wrote itself last, in any domain.
    #[must_use]
    pub fn without_server(&self, server_id: u32) -> Self {
        if self.domains.values().all(|last| last.server_id != server_id) {
            return self.clone();
        }
        let others = self.domains.iter().filter(|(_, last)| last.server_id != server_id);
        Self { domains: Arc::new(others.map(|(domain, last)| (*domain, *last)).collect()) }
    }

    /// Only what this server wrote last, of all domains.
    #[must_use]
    pub fn of_server(&self, server_id: u32) -> Self {
        let own = self.domains.iter().filter(|(_, last)| last.server_id == server_id);
        Self { domains: Arc::new(own.map(|(domain, last)| (*domain, *last)).collect()) }
    }

    /// How many transactions this one is ahead of `other`, over all domains. An upper bound:
    /// numbers may have been skipped.
    pub fn count_ahead_of(&self, other: &Self) -> u64 {
        let ahead = self.domains.iter().map(|(domain, ours)| {
            let theirs = other.domains.get(domain).map_or(0, |theirs| theirs.sequence);
            ours.sequence.saturating_sub(theirs)
        });
        ahead.fold(0, u64::saturating_add)
    }
}

impl From<MariaDbGtid> for MariaDbPosition {
    fn from(gtid: MariaDbGtid) -> Self {
        let last = Last { server_id: gtid.server_id, sequence: gtid.sequence };
        Self { domains: Arc::new(BTreeMap::from([(gtid.domain, last)])) }
    }
}

impl FromStr for MariaDbPosition {
    type Err = ParseMariaDbError;

    /// Of several entries for one domain the furthest counts, as in `gtid_binlog_state`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut domains: BTreeMap<u32, Last> = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (domain, last) = parse_part(part)
                .ok_or_else(|| ParseMariaDbError(part.chars().take(60).collect()))?;
            let known = domains.entry(domain).or_insert(last);
            if last.sequence > known.sequence {
                *known = last;
            }
        }
        Ok(Self { domains: Arc::new(domains) })
    }
}

fn parse_part(part: &str) -> Option<(u32, Last)> {
    // Rust would read a plus sign; no server writes one.
    if !part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return None;
    }
    let mut numbers = part.split('-');
    let domain = numbers.next()?.parse().ok()?;
    let server_id = numbers.next()?.parse().ok()?;
    let sequence = numbers.next()?.parse().ok()?;
    numbers.next().is_none().then_some((domain, Last { server_id, sequence }))
}

impl MariaDbState {
    /// Whether nothing was logged.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// The number of the last transaction that a server wrote in a domain.
    pub fn last_of(&self, domain: u32, server_id: u32) -> Option<u64> {
        self.last.get(&(domain, server_id)).copied()
    }

    /// Whether anybody wrote in a domain.
    pub fn has_domain(&self, domain: u32) -> bool {
        self.last.range((domain, 0)..=(domain, u32::MAX)).next().is_some()
    }

    /// Only the entries that are to be kept.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(MariaDbGtid) -> bool) -> Self {
        let kept = self.iter().filter(|gtid| keep(*gtid));
        let kept = kept.map(|gtid| ((gtid.domain, gtid.server_id), gtid.sequence));
        Self { last: Arc::new(kept.collect()) }
    }

    /// The last transaction of each server in each domain.
    pub fn iter(&self) -> impl Iterator<Item = MariaDbGtid> + '_ {
        self.last.iter().map(|((domain, server_id), sequence)| MariaDbGtid {
            domain: *domain,
            server_id: *server_id,
            sequence: *sequence,
        })
    }
}

impl FromStr for MariaDbState {
    type Err = ParseMariaDbError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut last: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (domain, of) = parse_part(part)
                .ok_or_else(|| ParseMariaDbError(part.chars().take(60).collect()))?;
            let known = last.entry((domain, of.server_id)).or_insert(of.sequence);
            *known = of.sequence.max(*known);
        }
        Ok(Self { last: Arc::new(last) })
    }
}

impl fmt::Display for MariaDbGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server_id, self.sequence)
    }
}

impl fmt::Display for MariaDbState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{gtid}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for MariaDbState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MariaDbState({self})")
    }
}

impl Serialize for MariaDbState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MariaDbState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for MariaDbPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (domain, last)) in self.domains.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{}-{}", last.server_id, last.sequence)?;
        }
        Ok(())
    }
}

impl fmt::Debug for MariaDbPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MariaDbPosition({self})")
    }
}

impl Serialize for MariaDbPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MariaDbPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(text: &str) -> MariaDbPosition {
        text.parse().unwrap()
    }

    #[test]
    fn positions_print_in_order_of_domain() {
        for (text, printed) in [
            ("", ""),
            ("0-1-100", "0-1-100"),
            ("7-2-3, 0-1-100", "0-1-100,7-2-3"),
            ("0-1-5,0-2-9,0-3-7", "0-2-9"),
        ] {
            assert_eq!(position(text).to_string(), printed, "{text:?}");
        }
        for text in
            ["0-1", "0-1-2-3", "a-1-2", "0-1-", "-0-1-2", "0-+1-2", "0-1-99999999999999999999"]
        {
            assert!(text.parse::<MariaDbPosition>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn positions_compare_domain_by_domain() {
        for (ours, theirs, relation, ahead) in [
            ("0-1-5", "0-1-5", Relation::Equal, 0),
            ("0-1-5", "0-1-6", Relation::Subset, 0),
            ("0-2-7", "0-1-6", Relation::Superset, 1),
            ("0-1-5", "0-2-5", Relation::Diverged, 0),
            ("0-1-5,1-1-1", "0-1-6", Relation::Diverged, 1),
            ("0-1-5,1-1-1", "0-1-5", Relation::Superset, 1),
            ("", "0-1-5", Relation::Subset, 0),
        ] {
            let (ours, theirs) = (position(ours), position(theirs));
            assert_eq!(ours.relation(&theirs), relation, "{ours} to {theirs}");
            assert_eq!(ours.count_ahead_of(&theirs), ahead, "{ours} to {theirs}");
            let contains = matches!(relation, Relation::Equal | Relation::Superset);
            assert_eq!(ours.contains(&theirs), contains, "{ours} to {theirs}");
        }
        assert_eq!(
            position("0-1-5,2-1-1").union(&position("0-3-9,1-1-1")).to_string(),
            "0-3-9,1-1-1,2-1-1"
        );
    }

    #[test]
    fn a_state_tells_whose_transactions_there_are() {
        let state: MariaDbState = "0-1-5, 0-2-9,0-1-3,7-2-1".parse().unwrap();
        assert_eq!(state.to_string(), "0-1-5,0-2-9,7-2-1");
        assert_eq!(state.last_of(0, 1), Some(5));
        assert_eq!(state.last_of(7, 1), None);
        assert!(state.has_domain(7) && !state.has_domain(1));
        assert!("0-1".parse::<MariaDbState>().is_err());
        assert!("".parse::<MariaDbState>().unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_parsing_panic(text in ".*") {
            let _ = text.parse::<MariaDbPosition>();
            let _ = text.parse::<MariaDbState>();
        }

        #[test]
        fn what_is_printed_reads_as_the_same(text in "([0-3]-[1-3]-[0-9]{1,4}(,[0-3]-[1-3]-[0-9]{1,4}){0,5})?") {
            let read = position(&text);
            prop_assert_eq!(position(&read.to_string()), read);
        }
    }
}
