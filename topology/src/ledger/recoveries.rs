//! Recoveries in the ledger: one per cluster at a time.

use std::sync::Arc;

use super::{LedgerState, RECOVERIES_MAX, Refusal};
use crate::key::InstanceKey;
use crate::recovery::{Acknowledgement, LOG_LINES_MAX, LogLine, Recovery};

pub(super) fn begin(
    state: &mut LedgerState,
    recovery: &Arc<Recovery>,
) -> Result<Vec<InstanceKey>, Refusal> {
    let failed = recovery.failed();
    let known = state.recoveries.values().find(|it| it.uid == recovery.uid);
    if known.is_some() {
        return Ok(vec![failed.clone()]);
    }
    let running = state.recoveries.values().find(|it| it.is_running() && it.overlaps(recovery));
    if let Some(running) = running {
        let (id, key) = (running.id, running.failed().clone());
        return Err(Refusal::RecoveryUnderWay { id, key });
    }
    make_room(state)?;
    let id = state.last_recovery_id.saturating_add(1);
    state.last_recovery_id = id;
    state.recoveries.insert_mut(id, Arc::new(Recovery { id, ..(**recovery).clone() }));
    Ok(vec![failed.clone()])
}

/// The oldest that has ended makes room; what is under way never does.
fn make_room(state: &mut LedgerState) -> Result<(), Refusal> {
    if state.recoveries.size() < RECOVERIES_MAX {
        return Ok(());
    }
    let oldest = state.recoveries.iter().find(|(_, it)| !it.is_running()).map(|(id, _)| *id);
    let Some(oldest) = oldest else {
        return Err(Refusal::TooMany { what: "recoveries", limit: RECOVERIES_MAX });
    };
    state.recoveries.remove_mut(&oldest);
    Ok(())
}

pub(super) fn update(
    state: &mut LedgerState,
    recovery: &Arc<Recovery>,
) -> Result<Vec<InstanceKey>, Refusal> {
    let id = recovery.id;
    let known = state.recoveries.get(&id).filter(|known| known.uid == recovery.uid);
    let Some(known) = known else { return Err(Refusal::NoSuchRecovery { id }) };
    if !known.is_running() && **known != **recovery {
        return Err(Refusal::NoSuchRecovery { id });
    }
    // Somebody may have acknowledged it meanwhile.
    let acknowledged = known.acknowledged.clone().or(recovery.acknowledged.clone());
    let updated = Recovery { acknowledged, ..(**recovery).clone() };
    let failed = updated.failed().clone();
    state.recoveries.insert_mut(id, Arc::new(updated));
    Ok(vec![failed])
}

pub(super) fn log(
    state: &mut LedgerState,
    id: u64,
    lines: &[LogLine],
) -> Result<Vec<InstanceKey>, Refusal> {
    let Some(known) = state.recoveries.get(&id) else {
        return Err(Refusal::NoSuchRecovery { id });
    };
    if lines.len() > LOG_LINES_MAX {
        return Err(Refusal::TooMany { what: "lines of a log", limit: LOG_LINES_MAX });
    }
    let failed = known.failed().clone();
    let known = Recovery { log: lines.to_vec(), ..(**known).clone() };
    state.recoveries.insert_mut(id, Arc::new(known));
    Ok(vec![failed])
}

pub(super) fn acknowledge(
    state: &mut LedgerState,
    ids: &[u64],
    acknowledgement: &Acknowledgement,
) -> Vec<InstanceKey> {
    let mut keys = Vec::new();
    for id in ids {
        let Some(known) = state.recoveries.get(id).filter(|it| it.acknowledged.is_none()) else {
            continue;
        };
        keys.push(known.failed().clone());
        let acknowledged = Some(acknowledgement.clone());
        let known = Recovery { acknowledged, ..(**known).clone() };
        state.recoveries.insert_mut(*id, Arc::new(known));
    }
    keys.sort();
    keys.dedup();
    keys
}
