//! Who reaches whom, and how long that takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::chance::Chance;

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// A baton.
    Node(usize),
    /// A MySQL server.
    Server(usize),
}

/// The network between batons and servers. Clients are beside it: they reach everybody always.
#[derive(Debug)]
pub(crate) struct Net {
    seed: u64,
    sites: BTreeMap<End, usize>,
    cut: BTreeSet<(End, End)>,
    streams: BTreeMap<(End, End), Chance>,
    /// In percent, of what batons tell each other.
    pub(crate) loss: u64,
    /// Between two sites, in microseconds.
    pub(crate) far_micros: u64,
}

impl Net {
    pub(crate) fn of(seed: u64, sites: BTreeMap<End, usize>, far_micros: u64) -> Self {
        let (cut, streams) = (BTreeSet::new(), BTreeMap::new());
        Self { seed, sites, cut, streams, loss: 0, far_micros }
    }

    pub(crate) fn site(&self, end: End) -> usize {
        self.sites.get(&end).copied().unwrap_or_default()
    }

    /// Nothing gets from the one to the other any more. Back it may.
    pub(crate) fn cut(&mut self, from: End, to: End) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.loss = 0;
    }

    pub(crate) fn is_cut(&self, from: End, to: End) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Whether both hear each other.
    pub(crate) fn joins(&self, one: End, other: End) -> bool {
        !self.is_cut(one, other) && !self.is_cut(other, one)
    }

    fn stream(&mut self, from: End, to: End) -> &mut Chance {
        let seed = self.seed;
        let new = || Chance::stream(seed, &format!("{from:?}{to:?}"));
        self.streams.entry((from, to)).or_insert_with(new)
    }

    /// How long something is on its way; `None` when it never gets there.
    pub(crate) fn delay(&mut self, from: End, to: End) -> Option<Duration> {
        let is_far = self.site(from) != self.site(to);
        let far = if is_far { self.far_micros } else { 0 };
        let is_between_batons = matches!((from, to), (End::Node(_), End::Node(_)));
        let loss = if is_between_batons { self.loss } else { 0 };
        let stream = self.stream(from, to);
        let mut micros = stream.range(200, 1_500) + far;
        // Now and then something is held up.
        if stream.happens(2) {
            micros += stream.range(0, 40_000);
        }
        let is_lost = stream.happens(loss);
        (!is_lost && !self.is_cut(from, to)).then(|| Duration::from_micros(micros))
    }

    /// Whether something arrives twice.
    pub(crate) fn doubles(&mut self, from: End, to: End) -> bool {
        self.stream(from, to).happens(1)
    }
}
