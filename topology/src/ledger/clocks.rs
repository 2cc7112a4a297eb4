//! The ledger by the clock of one node.
//!
//! Whoever leads writes down when something happened by its own clock, and that may be ahead. Here
//! nothing has happened later than this node learned of it: else whoever leads next would wait for
//! hours before it fenced, blocked no more, or tried again. A clock that is behind cannot be told
//! from news that comes late.
//!
//! What holds for a while (a downtime, maintenance, a promotion rule, a pool) holds for as long here
//! as it was said: where the clocks differ, from when this node learned of it. A node that was not
//! running then, or that catches up later, cannot know when that was; there it holds by the clock that
//! wrote it, and from the start on for no longer than was said.

use std::sync::Arc;
use std::time::Duration;

use rpds::RedBlackTreeMapSync;

use crate::key::InstanceKey;
use crate::recovery::Recovery;
use crate::time::Timestamp;

use super::{Candidate, Downtime, LedgerState, Maintenance, Pool};

/// Clocks that differ by less are as good as each other, and news may be so late.
const CLOCKS_AGREE_WITHIN: Duration = Duration::from_secs(10);

/// What was set so long ago is news because this node learns of it late, not because a clock is wrong:
/// it holds by the clock that wrote it. Clocks that differ by more are told of, and are to be set.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(15 * 60);

/// A ledger as it was agreed upon, and the same by the clock here.
pub(crate) struct Known<'a> {
    pub(crate) agreed: &'a LedgerState,
    pub(crate) here: &'a LedgerState,
}

/// What was agreed upon by the clock here, which says `now`, given what was known before.
pub(crate) fn by_clock_here(
    agreed: &Arc<LedgerState>,
    before: Option<&Known<'_>>,
    now: Timestamp,
) -> Arc<LedgerState> {
    let mut here = Arc::clone(agreed);
    for (id, written) in &agreed.recoveries {
        let known = before.and_then(|it| {
            Some((it.agreed.recoveries.get(id)?.as_ref(), it.here.recoveries.get(id)?.as_ref()))
        });
        if let Some(recovery) = recovery(written, known, now) {
            Arc::make_mut(&mut here).recoveries.insert_mut(*id, Arc::new(recovery));
        }
    }
    for (key, at) in moments(agreed, before, now, |it| &it.chores) {
        Arc::make_mut(&mut here).chores.insert_mut(key, at);
    }
    for (key, at) in moments(agreed, before, now, |it| &it.scouts) {
        Arc::make_mut(&mut here).scouts.insert_mut(key, at);
    }
    for (key, it) in lasting(agreed, before, now, |it| &it.downtimes) {
        Arc::make_mut(&mut here).downtimes.insert_mut(key, it);
    }
    for (key, it) in lasting(agreed, before, now, |it| &it.maintenances) {
        Arc::make_mut(&mut here).maintenances.insert_mut(key, it);
    }
    for (key, it) in lasting(agreed, before, now, |it| &it.candidates) {
        Arc::make_mut(&mut here).candidates.insert_mut(key, it);
    }
    for (key, it) in lasting(agreed, before, now, |it| &it.pools) {
        Arc::make_mut(&mut here).pools.insert_mut(key, it);
    }
    here
}

/// The recovery by the clock here, if that differs from what was written.
fn recovery(
    written: &Recovery,
    known: Option<(&Recovery, &Recovery)>,
    now: Timestamp,
) -> Option<Recovery> {
    let begun = known.map(|(agreed, here)| (agreed.begun_at, here.begun_at));
    let ended = known.and_then(|(agreed, here)| agreed.ended_at.zip(here.ended_at));
    let begun_at = moment(written.begun_at, begun, now);
    let ended_at = written.ended_at.map(|at| moment(at, ended, now));
    let differs = begun_at != written.begun_at || ended_at != written.ended_at;
    differs.then(|| Recovery { begun_at, ended_at, ..written.clone() })
}

type Moments = RedBlackTreeMapSync<InstanceKey, Timestamp>;

/// Those moments that differ from what was written.
fn moments(
    agreed: &LedgerState,
    before: Option<&Known<'_>>,
    now: Timestamp,
    of: fn(&LedgerState) -> &Moments,
) -> Vec<(InstanceKey, Timestamp)> {
    let differing = of(agreed).iter().filter_map(|(key, written)| {
        let known = before.and_then(|it| Some((*of(it.agreed).get(key)?, *of(it.here).get(key)?)));
        let here = moment(*written, known, now);
        (here != *written).then(|| (key.clone(), here))
    });
    differing.collect()
}

/// From when until when something holds.
type Span = (Timestamp, Timestamp);

/// What holds for a while.
trait Lasting: Clone {
    fn span(&self) -> Span;
    fn with(self, span: Span) -> Self;
}

impl Lasting for Downtime {
    fn span(&self) -> Span {
        (self.begins_at, self.ends_at)
    }

    fn with(self, (begins_at, ends_at): Span) -> Self {
        Self { begins_at, ends_at, ..self }
    }
}

impl Lasting for Maintenance {
    fn span(&self) -> Span {
        (self.begins_at, self.ends_at)
    }

    fn with(self, (begins_at, ends_at): Span) -> Self {
        Self { begins_at, ends_at, ..self }
    }
}

impl Lasting for Candidate {
    fn span(&self) -> Span {
        (self.registered_at, self.expires_at)
    }

    fn with(self, (registered_at, expires_at): Span) -> Self {
        Self { registered_at, expires_at, ..self }
    }
}

impl Lasting for Pool {
    fn span(&self) -> Span {
        (self.submitted_at, self.expires_at)
    }

    fn with(self, (submitted_at, expires_at): Span) -> Self {
        Self { submitted_at, expires_at, ..self }
    }
}

/// Those that hold at other times than was written.
fn lasting<K: Ord + Clone, V: Lasting>(
    agreed: &LedgerState,
    before: Option<&Known<'_>>,
    now: Timestamp,
    of: fn(&LedgerState) -> &RedBlackTreeMapSync<K, V>,
) -> Vec<(K, V)> {
    let differing = of(agreed).iter().filter_map(|(key, written)| {
        let known = before.and_then(|it| Some((of(it.agreed).get(key)?, of(it.here).get(key)?)));
        let here = match known {
            Some((agreed, here)) if agreed.span() == written.span() => here.span(),
            _ => span(written.span(), before.is_some(), now),
        };
        (here != written.span()).then(|| (key.clone(), written.clone().with(here)))
    });
    differing.collect()
}

/// From when until when it holds here, by the clock here, what is news to this node now.
fn span((begins, ends): Span, was_running: bool, now: Timestamp) -> Span {
    let apart = now.since(begins).max(begins.since(now));
    let is_moved = was_running && apart > CLOCKS_AGREE_WITHIN && apart <= CLOCKS_APART_MAX;
    let begins_here = if is_moved { now } else { begins.min(now) };
    (begins_here, begins_here.plus(ends.since(begins)))
}

/// When something happened by the clock here: as it was known, or now at the latest.
fn moment(written: Timestamp, known: Option<(Timestamp, Timestamp)>, now: Timestamp) -> Timestamp {
    match known {
        Some((agreed, here)) if agreed == written => here,
        _ => written.min(now),
    }
}
