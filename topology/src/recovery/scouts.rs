//! Scouts that were left behind.
//!
//! A replica whose source does not answer is made to connect anew: its receiver is stopped and
//! started. Whoever does that may die, or lead no more, right between the two. The ledger knows of
//! each scout until it is on its way again; whoever leads starts those that it did not send itself.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::action::{Action, Threads};
use crate::instance::{Instance, ThreadState};
use crate::key::InstanceKey;
use crate::ledger::{Command, LedgerState};
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

use super::plan::would_lose;
use super::upkeep::{Chore, Review};
use super::{Chain, Need, Stage};

/// So long a replica that is made to connect anew counts as it did before: whoever waits for it has
/// an answer by then.
pub(crate) const TESTED_FOR: Duration = Duration::from_secs(5);
/// A look at a receiver that stood still for the test may be taken in this much later, when the ledger
/// says that it was started again.
const STANDS_FOR: Duration = Duration::from_secs(2);
/// By then whoever sent a scout has started it, or has not.
const SENT_FOR: Duration = Duration::from_secs(30);
/// A receiver that stands still for so long may have been stopped by people since.
const OURS_FOR: Duration = Duration::from_secs(10 * 60);

/// What the ledger takes note of before a scout of `source` is sent.
pub(super) fn note(source: &InstanceKey, scout: &InstanceKey, at: Timestamp) -> Command {
    Command::NoteChore { key: source.clone(), at, scout: Some(scout.clone()) }
}

/// Whether the receiver of a replica stands still or connects because it was made to, and nothing
/// came of that yet. What it says then it was told to say: that is no evidence about its source.
pub(crate) fn is_under_test(
    replica: &Instance,
    source: &InstanceKey,
    ledger: &LedgerState,
    now: Timestamp,
) -> bool {
    let Some(channel) = replica.facts.main_channel() else { return false };
    let is_ours = may_be_stopped_for_test(&replica.key, source, ledger, now);
    test_ends_at(source, ledger).is_some_and(|end| now < end)
        && (channel.is_connecting() || (is_ours && channel.receiver == ThreadState::Stopped))
}

/// Whether a receiver that stands still was stopped by baton, to find out whether its source is there.
pub(crate) fn may_be_stopped_for_test(
    replica: &InstanceKey,
    source: &InstanceKey,
    ledger: &LedgerState,
    now: Timestamp,
) -> bool {
    let began = ledger.chores.get(source);
    ledger.scouts.contains_key(replica) || began.is_some_and(|at| now < at.plus(STANDS_FOR))
}

/// Until when what is said of a source by whoever was made to connect anew is not counted.
pub(crate) fn test_ends_at(source: &InstanceKey, ledger: &LedgerState) -> Option<Timestamp> {
    ledger.chores.get(source).map(|began| began.plus(TESTED_FOR))
}

/// Starts scouts that somebody else sent and may not have started.
pub(super) fn see_to_left_behind(
    fleet: &FleetSnapshot,
    sent: &BTreeSet<InstanceKey>,
    now: Timestamp,
    review: &mut Review,
) {
    let ledger = &fleet.ledger;
    for (key, since) in &ledger.scouts {
        let is_under_way = sent.contains(key) && now.since(*since) < SENT_FOR;
        // A recovery starts whatever it stopped itself.
        let is_taken = ledger.maintenance_of(key, now).is_some()
            || ledger.recoveries.values().any(|it| it.is_running() && it.changes(key));
        if is_under_way || is_taken {
            continue;
        }
        let instance = fleet.instance(key);
        let is_over = instance.is_none() || now.since(*since) >= OURS_FOR;
        let seen = instance.filter(|it| it.is_valid() && it.health.facts_from >= Some(*since));
        let receiver = seen.and_then(|it| it.facts.main_channel()).map(|it| it.receiver);
        let source = seen.and_then(|it| it.facts.source()).and_then(|it| fleet.instance(it));
        let loses = seen.is_some_and(|it| would_lose(&it.facts, source.map(|it| &**it)));
        match (is_over, seen.is_some(), receiver) {
            (false, false, _) => review.looks.push(key.clone()),
            // Its applier stopped meanwhile: started now, it would throw away what it has not applied.
            (false, true, Some(ThreadState::Stopped)) if loses => {}
            (false, true, Some(ThreadState::Stopped)) => review.chores.push(start(key, now)),
            _ => review.chores.push(end(key)),
        }
    }
}

fn start(key: &InstanceKey, now: Timestamp) -> Chore {
    let actions = vec![Action::Start(Threads::Receiver)];
    Chore {
        note: note(key, key, now),
        stage: Stage { chains: vec![Chain { on: key.clone(), actions, need: Need::Should }] },
        why: format!("the receiver of {key} was stopped for a moment, and not started again"),
        source: None,
        done: Some(end_of(key)),
    }
}

fn end(key: &InstanceKey) -> Chore {
    Chore {
        note: end_of(key),
        stage: Stage::default(),
        why: format!("the receiver of {key} was started again"),
        source: None,
        done: None,
    }
}

fn end_of(key: &InstanceKey) -> Command {
    Command::EndScout { key: key.clone() }
}
