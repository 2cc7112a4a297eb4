//! MySQL's GTID sets: intervals of sequence numbers by UUID and tag.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::Relation;
use super::intervals::{self, Interval};

/// The highest sequence number MySQL assigns: one below the end of a signed 64-bit integer.
const SEQUENCE_MAX: u64 = i64::MAX as u64 - 1;

/// The longest tag MySQL accepts.
const TAG_CHARS_MAX: usize = 32;

/// A set of MySQL transactions. Cheap to clone.
///
/// Displays canonically, as `gtid_executed` does, without line breaks: UUIDs in order, for each
/// the untagged intervals, then its tags in order.
#[derive(Clone, Default)]
pub struct GtidSet {
    /// Ordered by origin; no origin without intervals; intervals sorted, disjoint, not touching.
    runs: Arc<[Run]>,
}

/// The transactions of one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    origin: Origin,
    intervals: Vec<Interval>,
}

/// Where transactions come from: a UUID, and a tag that is empty for most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    uuid: Uuid,
    tag: Arc<str>,
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gtid {
    /// The UUID of the server (or group) that committed it first.
    pub uuid: Uuid,
    /// Its tag; empty for most.
    pub tag: Arc<str>,
    /// Its number.
    pub sequence: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tag.is_empty() {
            write!(f, "{}:{}", self.uuid, self.sequence)
        } else {
            write!(f, "{}:{}:{}", self.uuid, self.tag, self.sequence)
        }
    }
}

/// Why a text is no GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseGtidError {
    /// A part does not begin with a UUID.
    #[error("no UUID where one is expected, in {0:?}")]
    Uuid(String),
    /// A part is neither a tag nor an interval.
    #[error("neither a tag nor an interval: {0:?}")]
    Part(String),
    /// A UUID or a tag without intervals.
    #[error("no interval after {0:?}")]
    NoInterval(String),
    /// A sequence number out of range.
    #[error("sequence number out of range in {0:?}")]
    Sequence(String),
}

/// No error message repeats more of the input than this.
const QUOTE_CHARS_MAX: usize = 60;

fn quote(text: &str) -> String {
    text.chars().take(QUOTE_CHARS_MAX).collect()
}

impl GtidSet {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many transactions it holds; stops counting at the largest number there is.
    pub fn count(&self) -> u64 {
        let intervals = self.runs.iter().flat_map(|run| &run.intervals);
        intervals
            .map(|interval| interval.last - interval.first + 1)
            .fold(0, |sum: u64, count| sum.saturating_add(count))
    }

    /// Everything in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.is_empty() || Arc::ptr_eq(&self.runs, &other.runs) {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        let both = |a: &Run, b: &Run| intervals::union(&a.intervals, &b.intervals);
        merge(self, other, Keep { only_left: true, only_right: true }, both)
    }

    /// Everything in this one that is not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        if self.is_empty() || Arc::ptr_eq(&self.runs, &other.runs) {
            return Self::default();
        }
        let both = |a: &Run, b: &Run| intervals::subtract(&a.intervals, &b.intervals);
        merge(self, other, Keep { only_left: true, only_right: false }, both)
    }

    /// Everything in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        if Arc::ptr_eq(&self.runs, &other.runs) {
            return self.clone();
        }
        let both = |a: &Run, b: &Run| intervals::intersect(&a.intervals, &b.intervals);
        merge(self, other, Keep { only_left: false, only_right: false }, both)
    }

    /// Whether everything in `other` is in this one.
    pub fn contains(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.runs, &other.runs) {
            return true;
        }
        let mut ours = self.runs.iter().peekable();
        other.runs.iter().all(|wanted| {
            while ours.next_if(|run| run.origin < wanted.origin).is_some() {}
            ours.peek().is_some_and(|run| {
                run.origin == wanted.origin
                    && intervals::contains(&run.intervals, &wanted.intervals)
            })
        })
    }

    /// How this one compares with `other`.
    pub fn relation(&self, other: &Self) -> Relation {
        Relation::of(self.contains(other), other.contains(self))
    }

    /// Without the transactions of these UUIDs, whatever their tags.
    #[must_use]
    pub fn without_uuids(&self, uuids: &[Uuid]) -> Self {
        let is_kept = |run: &Run| !uuids.contains(&run.origin.uuid);
        if self.runs.iter().all(is_kept) {
            return self.clone();
        }
        Self { runs: self.runs.iter().filter(|run| is_kept(run)).cloned().collect() }
    }

    /// The first `limit` transactions one by one, in canonical order.
    pub fn iter(&self, limit: usize) -> impl Iterator<Item = Gtid> + '_ {
        let each = self.runs.iter().flat_map(|run| {
            let numbers = run.intervals.iter().flat_map(|it| it.first..=it.last);
            numbers.map(|sequence| Gtid {
                uuid: run.origin.uuid,
                tag: Arc::clone(&run.origin.tag),
                sequence,
            })
        });
        each.take(limit)
    }

    fn from_runs(mut runs: Vec<Run>) -> Self {
        runs.sort_by(|a, b| a.origin.cmp(&b.origin));
        runs.dedup_by(|next, kept| {
            let same = next.origin == kept.origin;
            if same {
                kept.intervals.append(&mut next.intervals);
            }
            same
        });
        for run in &mut runs {
            intervals::normalize(&mut run.intervals);
        }
        runs.retain(|run| !run.intervals.is_empty());
        Self { runs: runs.into() }
    }
}

/// Which origins of only one side stay in the result.
#[derive(Clone, Copy)]
struct Keep {
    only_left: bool,
    only_right: bool,
}

/// Walks both sets in order; what both have is combined by `both`.
fn merge(
    left: &GtidSet,
    right: &GtidSet,
    keep: Keep,
    both: impl Fn(&Run, &Run) -> Vec<Interval>,
) -> GtidSet {
    let mut runs = Vec::with_capacity(left.runs.len());
    let (mut at_left, mut at_right) = (0, 0);
    loop {
        let order = match (left.runs.get(at_left), right.runs.get(at_right)) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(l), Some(r)) => l.origin.cmp(&r.origin),
        };
        match order {
            Ordering::Less => {
                runs.extend(left.runs.get(at_left).filter(|_| keep.only_left).cloned());
                at_left += 1;
            }
            Ordering::Greater => {
                runs.extend(right.runs.get(at_right).filter(|_| keep.only_right).cloned());
                at_right += 1;
            }
            Ordering::Equal => {
                let intervals = both(&left.runs[at_left], &right.runs[at_right]);
                if !intervals.is_empty() {
                    runs.push(Run { origin: left.runs[at_left].origin.clone(), intervals });
                }
                at_left += 1;
                at_right += 1;
            }
        }
    }
    GtidSet { runs: runs.into() }
}

impl PartialEq for GtidSet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.runs, &other.runs) || self.runs == other.runs
    }
}

impl Eq for GtidSet {}

impl FromStr for GtidSet {
    type Err = ParseGtidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut runs = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            parse_part(part, &mut runs)?;
        }
        Ok(Self::from_runs(runs))
    }
}

/// Reads `uuid[:tag]:interval[:interval...][:tag:interval...]`.
fn parse_part(part: &str, runs: &mut Vec<Run>) -> Result<(), ParseGtidError> {
    let mut pieces = part.split(':').map(str::trim);
    let uuid =
        pieces.next().and_then(parse_uuid).ok_or_else(|| ParseGtidError::Uuid(quote(part)))?;
    let mut run = Run { origin: Origin { uuid, tag: "".into() }, intervals: Vec::new() };
    let mut has_interval = false;
    let mut has_any = false;
    for piece in pieces {
        if piece.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            let tag = parse_tag(piece).ok_or_else(|| ParseGtidError::Part(quote(piece)))?;
            if !run.origin.tag.is_empty() && !has_interval {
                return Err(ParseGtidError::NoInterval(run.origin.tag.to_string()));
            }
            let next = Run { origin: Origin { uuid, tag }, intervals: Vec::new() };
            runs.push(std::mem::replace(&mut run, next));
            has_interval = false;
        } else {
            run.intervals.extend(parse_interval(piece)?);
            has_interval = true;
            has_any = true;
        }
    }
    if !has_any || !has_interval {
        return Err(ParseGtidError::NoInterval(quote(part)));
    }
    runs.push(run);
    Ok(())
}

/// Only the form with dashes: `Uuid` itself reads several more, which MySQL never prints.
fn parse_uuid(text: &str) -> Option<Uuid> {
    const UUID_CHARS: usize = 36;
    (text.len() == UUID_CHARS).then(|| Uuid::try_parse(text).ok()).flatten()
}

fn parse_tag(text: &str) -> Option<Arc<str>> {
    let is_valid = text.len() <= TAG_CHARS_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_valid.then(|| text.to_ascii_lowercase().into())
}

/// Reads `n` or `n-m`. As in MySQL, an interval that ends before it begins is empty.
fn parse_interval(text: &str) -> Result<Option<Interval>, ParseGtidError> {
    let number = |digits: &str| {
        let digits = digits.trim();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseGtidError::Part(quote(text)));
        }
        let number =
            digits.parse::<u64>().ok().filter(|number| (1..=SEQUENCE_MAX).contains(number));
        number.ok_or_else(|| ParseGtidError::Sequence(quote(text)))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => {
            let only = number(text)?;
            (only, only)
        }
    };
    Ok((first <= last).then_some(Interval { first, last }))
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<Uuid> = None;
        for run in self.runs.iter() {
            match before {
                Some(uuid) if uuid == run.origin.uuid => {}
                Some(_) => write!(f, ",{}", run.origin.uuid)?,
                None => write!(f, "{}", run.origin.uuid)?,
            }
            before = Some(run.origin.uuid);
            if !run.origin.tag.is_empty() {
                write!(f, ":{}", run.origin.tag)?;
            }
            for interval in &run.intervals {
                if interval.first == interval.last {
                    write!(f, ":{}", interval.first)?;
                } else {
                    write!(f, ":{}-{}", interval.first, interval.last)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GtidSet({self})")
    }
}

impl Serialize for GtidSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
