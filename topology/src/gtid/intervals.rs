//! Sorted lists of disjoint intervals, and what one does with two of them in one pass.

/// An interval of sequence numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Sorts and merges what overlaps or touches. Numbers stay below `u64::MAX`, so `+ 1` is safe.
pub(super) fn normalize(intervals: &mut Vec<Interval>) {
    if !intervals.is_sorted_by_key(|interval| interval.first) {
        intervals.sort_unstable_by_key(|interval| interval.first);
    }
    intervals.dedup_by(|next, kept| {
        let touches = next.first <= kept.last + 1;
        if touches {
            kept.last = kept.last.max(next.last);
        }
        touches
    });
}

/// Everything in `a` or `b`.
pub(super) fn union(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let from_left = match (left.peek(), right.peek()) {
            (Some(l), Some(r)) => l.first <= r.first,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        merged.extend(if from_left { left.next() } else { right.next() });
    }
    normalize(&mut merged);
    merged
}

/// Everything in `a` that is not in `b`.
pub(super) fn subtract(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut rest = Vec::with_capacity(a.len());
    let mut at = 0;
    for interval in a {
        while b.get(at).is_some_and(|hole| hole.last < interval.first) {
            at += 1;
        }
        let mut first = interval.first;
        let mut hole_at = at;
        while let Some(hole) = b.get(hole_at).filter(|hole| hole.first <= interval.last) {
            if hole.first > first {
                rest.push(Interval { first, last: hole.first - 1 });
            }
            first = first.max(hole.last + 1);
            hole_at += 1;
        }
        if first <= interval.last {
            rest.push(Interval { first, last: interval.last });
        }
    }
    rest
}

/// Everything in both.
pub(super) fn intersect(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut both = Vec::new();
    let (mut at_a, mut at_b) = (0, 0);
    while let (Some(left), Some(right)) = (a.get(at_a), b.get(at_b)) {
        let first = left.first.max(right.first);
        let last = left.last.min(right.last);
        if first <= last {
            both.push(Interval { first, last });
        }
        if left.last <= right.last { at_a += 1 } else { at_b += 1 }
    }
    both
}

/// Whether everything in `b` is in `a`.
pub(super) fn contains(a: &[Interval], b: &[Interval]) -> bool {
    let mut at = 0;
    b.iter().all(|wanted| {
        while a.get(at).is_some_and(|held| held.last < wanted.first) {
            at += 1;
        }
        a.get(at).is_some_and(|held| held.first <= wanted.first && wanted.last <= held.last)
    })
}
