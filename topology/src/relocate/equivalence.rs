//! Which places in the logs of different servers are the same.
//!
//! When a replica that stands still goes from one source to another by file and position, both
//! places mean the same. What is known of that is a help, never a need: it is kept in memory, for
//! an hour, and used only by who asks for it. A server whose logs were reset by others counts from
//! the beginning again, and its places are not what they were.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::script::Seen;
use super::{Place as At, Step};
use crate::action::{Action, Place};
use crate::binlog::BinlogCoordinates;
use crate::key::InstanceKey;
use crate::names::HostNames;
use crate::time::Timestamp;

/// So many pairs are remembered.
const PAIRS_MAX: usize = 1_000;
/// For so long.
const LASTS: Duration = Duration::from_secs(60 * 60);

/// Pairs of places that are the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Equivalences {
    pairs: VecDeque<(Timestamp, At, At)>,
}

impl Equivalences {
    /// Remembers that two places are the same.
    pub fn note(&mut self, one: At, other: At, now: Timestamp) {
        self.pairs.retain(|(_, known, same)| (known, same) != (&one, &other));
        if self.pairs.len() >= PAIRS_MAX {
            self.pairs.pop_front();
        }
        self.pairs.push_back((now, one, other));
    }

    /// Remembers what follows from steps that were taken on servers that stood as `seen` says.
    pub fn learn(&mut self, steps: &[Step], seen: &Seen, names: &HostNames, now: Timestamp) {
        for step in steps {
            if let Action::ResetBinaryLogs { .. } = &step.action {
                self.pairs.retain(|(_, one, other)| one.key != step.key && other.key != step.key);
            }
            let Action::ChangeSource { to, place: Place::File(at) } = &step.action else {
                continue;
            };
            let channel = seen.get(&step.key).and_then(|it| it.facts.main_channel());
            let Some(channel) = channel else { continue };
            let Some(source) = channel.source.attached() else { continue };
            let before = At { key: names.resolve(source), at: channel.executed.clone() };
            if before.key != *to && !before.at.is_empty() {
                self.note(before, At { key: to.clone(), at: at.clone() }, now);
            }
        }
    }

    /// All places that are the same as this one, itself left out: one on each server.
    pub fn of(&self, place: &At, now: Timestamp) -> BTreeMap<InstanceKey, BinlogCoordinates> {
        let fresh = |noted: &Timestamp| now.since(*noted) <= LASTS;
        let mut found = vec![place.clone()];
        let mut next = 0;
        while let Some(place) = found.get(next).cloned() {
            next += 1;
            for (_, one, other) in self.pairs.iter().filter(|(noted, ..)| fresh(noted)) {
                for (from, to) in [(one, other), (other, one)] {
                    if *from == place && !found.iter().any(|it| it.key == to.key) {
                        found.push(to.clone());
                    }
                }
            }
        }
        found.into_iter().skip(1).map(|it| (it.key, it.at)).collect()
    }
}
