//! The ledger by the clock of one node.
//!
//! Whoever leads writes down when something happened by its own clock, and that may be ahead. Here
//! nothing has happened later than this node learned of it: else whoever leads next would wait for
//! hours before it fenced, blocked no more, or tried again. A clock that is behind cannot be told
//! from news that comes late.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::key::InstanceKey;
use crate::recovery::Recovery;
use crate::time::Timestamp;

use super::{Downtime, LedgerState, Maintenance};

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
    // What was set holds at once.
    for (key, written) in agreed.downtimes.iter().filter(|(_, it)| it.begins_at > now) {
        let downtime = Downtime { begins_at: now, ..written.clone() };
        Arc::make_mut(&mut here).downtimes.insert_mut(key.clone(), downtime);
    }
    for (key, written) in agreed.maintenances.iter().filter(|(_, it)| it.begins_at > now) {
        let maintenance = Maintenance { begins_at: now, ..written.clone() };
        Arc::make_mut(&mut here).maintenances.insert_mut(key.clone(), maintenance);
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

/// When something happened by the clock here: as it was known, or now at the latest.
fn moment(written: Timestamp, known: Option<(Timestamp, Timestamp)>, now: Timestamp) -> Timestamp {
    match known {
        Some((agreed, here)) if agreed == written => here,
        _ => written.min(now),
    }
}
