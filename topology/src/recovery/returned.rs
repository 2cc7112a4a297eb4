//! Former primaries that come back and still take themselves for one: they are fenced (I1), while
//! somebody leads in their stead.
//!
//! Who leads is found by following the ledger from successor to successor, and from there what
//! people did since. Nothing is decided here about how a former primary becomes a replica.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::action::Action;
use crate::cluster::Member;
use crate::instance::{Facts, Instance};
use crate::key::InstanceKey;
use crate::ledger::Command;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

use super::connection::is_connected;
use super::former::{FENCE_FOR, all_replaced, is_where_it_was};
use super::upkeep::{Chore, Review};
use super::{Chain, Kind, Need, Recovery, Stage};

/// A fence that did not hold is tried again after this.
const FENCE_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// So much later is noted that a fence holds: who opens the server after that means it.
const HOLDS: Duration = Duration::from_millis(1);
/// No chain of sources or successors is followed any further.
const STEPS_MAX: usize = 1_000;

/// Former primaries that came back.
#[derive(Debug, Clone, Default)]
pub(super) struct Returning {
    /// Since when they are fenced.
    fenced: BTreeMap<InstanceKey, Timestamp>,
    /// Whether they were open at the first look after this recovery replaced them.
    found_open: BTreeMap<InstanceKey, (u64, bool)>,
    /// Those that do not answer.
    away: BTreeSet<InstanceKey>,
    /// Those that were open whenever they were looked at since they came back, and when that was.
    open_since_back: BTreeMap<InstanceKey, Option<Timestamp>>,
    /// When those were told to close whose successor was away, until they are away again.
    told: BTreeMap<InstanceKey, Timestamp>,
}

impl Returning {
    /// Fences those that came back writable. Unless people put one back in its place: then whoever
    /// leads, looked at after that, accepts no writes any more, or follows it.
    pub(super) fn see_to(&mut self, fleet: &FleetSnapshot, now: Timestamp, review: &mut Review) {
        self.fenced.retain(|_, since| now.since(*since) < FENCE_FOR);
        let replaced = all_replaced(&fleet.ledger);
        self.found_open.retain(|key, _| replaced.contains_key(key));
        self.away.retain(|key| replaced.contains_key(key));
        self.open_since_back.retain(|key, _| replaced.contains_key(key));
        let chores = &fleet.ledger.chores;
        let holds = |key: &InstanceKey, told: Timestamp| chores.get(key) == Some(&told.plus(HOLDS));
        self.open_since_back.retain(|key, _| !self.told.get(key).is_some_and(|at| holds(key, *at)));
        self.told.retain(|key, _| replaced.contains_key(key));
        for (key, recovery) in &replaced {
            let Some((_, member)) = fleet.member(key) else { continue };
            let came_open = self.came_back_open(member, recovery, now);
            self.note_return(member, recovery);
            if !is_open_since(member, recovery) || !self.is_due(member, recovery, fleet, now) {
                continue;
            }
            let last = last_of(recovery, &replaced);
            if let Some(successor) = absent_successor(member, recovery, last, fleet) {
                // It may lead where baton does not see it, and has what the former primary lacks.
                let Some(back_at) = self.open_since_back.get(*key).copied() else { continue };
                if successor.instance.health.last_attempt < back_at {
                    review.looks.push(successor.key().clone());
                    continue;
                }
                self.fenced.entry((*key).clone()).or_insert(now);
                self.told.insert((*key).clone(), now);
                let at = now.plus(HOLDS);
                let done = Some(Command::NoteChore { key: (*key).clone(), at, scout: None });
                review.chores.push(Chore { done, ..fence(member, recovery, now) });
                continue;
            }
            let Some(leader) = leader(member, last, fleet) else { continue };
            // Two that accepted writes side by side were meant to.
            let is_meant = recovery.successor.as_ref() == Some(leader.key())
                && recovery.beside.contains(leader.key());
            let is_primary = takes_itself_for_primary(member, recovery, leader, came_open, fleet);
            if is_meant || !is_primary {
                continue;
            }
            if leader.instance.health.facts_from < member.instance.health.last_seen {
                review.looks.push(leader.key().clone());
                continue;
            }
            self.fenced.entry((*key).clone()).or_insert(now);
            review.chores.push(fence(member, recovery, now));
        }
    }

    /// Whether it was open when it was first seen again: then nobody opened it since. Long after the
    /// recovery that cannot be told by who has only just begun to look.
    fn came_back_open(&mut self, member: &Member, recovery: &Recovery, now: Timestamp) -> bool {
        let Instance { facts, health, .. } = &*member.instance;
        if !member.instance.is_valid() || health.facts_from <= recovery.ended_at {
            return false;
        }
        let found = self.found_open.entry(member.key().clone()).or_default();
        if found.0 != recovery.id {
            let is_recent = recovery.ended_at.is_some_and(|ended| now.since(ended) < FENCE_FOR);
            *found = (recovery.id, is_recent && !is_closed(facts));
        }
        found.1
    }

    /// Takes note of whether it came back open. Once it was seen closed, or below somebody, whoever opens
    /// it means it.
    fn note_return(&mut self, member: &Member, recovery: &Recovery) {
        let (key, instance) = (member.key(), &member.instance);
        if instance.is_failed() && instance.refusal().is_none() {
            let came_open = self.open_since_back.remove(key).is_some();
            let was_open =
                instance.health.facts_from > recovery.ended_at && !is_closed(&instance.facts);
            // Open, and not since it came back: a person opened it, and one lost probe changes nothing.
            if came_open || !was_open {
                self.away.insert(key.clone());
                self.told.remove(key);
            }
        } else if instance.is_valid() {
            let is_open = !is_closed(&instance.facts) && is_where_it_was(member, recovery);
            if self.away.remove(key) && is_open {
                self.open_since_back.insert(key.clone(), instance.health.last_seen);
            }
            if !is_open {
                self.open_since_back.remove(key);
            }
        }
    }

    fn is_due(
        &self,
        member: &Member,
        recovery: &Recovery,
        fleet: &FleetSnapshot,
        now: Timestamp,
    ) -> bool {
        let (ledger, key) = (&fleet.ledger, member.key());
        // Who is being opened right now is not back, but promoted.
        if ledger.recoveries.values().any(|it| it.is_running() && it.changes(key)) {
            return false;
        }
        let Some(noted) = ledger.chores.get(key).copied() else { return true };
        // A fence that did not hold is tried again, for a while: whoever opens the server again
        // after that means it. That it was restarted means nothing.
        let since = recovery.ended_at.unwrap_or(recovery.begun_at);
        let since = self.fenced.get(key).map_or(since, |it| since.max(*it));
        // One that was closed while its successor was away was opened by people: they were told how.
        let was_held = self.told.get(key).is_some_and(|told| noted == told.plus(HOLDS));
        let is_still_coming_back =
            (!was_held && now.since(since) < FENCE_FOR) || is_up_since(&member.instance, noted);
        noted < recovery.begun_at || (is_still_coming_back && now.since(noted) >= FENCE_AGAIN_AFTER)
    }
}

fn fence(member: &Member, recovery: &Recovery, now: Timestamp) -> Chore {
    let key = member.key();
    let mut actions = vec![Action::SetReadOnly];
    // Clients of one that refuses writes read.
    if !member.instance.facts.read_only {
        actions.push(Action::KillClients);
    }
    Chore {
        note: Command::NoteChore { key: key.clone(), at: now, scout: None },
        stage: Stage { chains: vec![Chain { on: key.clone(), actions, need: Need::Should }] },
        why: format!("{key} was replaced in recovery {} and is back", recovery.id),
        source: None,
        done: None,
    }
}

/// Whether somebody could write to it, seen since it was replaced.
fn is_open_since(member: &Member, recovery: &Recovery) -> bool {
    let Instance { facts, health, .. } = &*member.instance;
    member.instance.is_valid() && health.facts_from > recovery.ended_at && !is_closed(facts)
}

/// On MySQL, privileged accounts write to a server that is only `read_only`: so it is after a
/// restart, whatever was set before.
fn is_closed(facts: &Facts) -> bool {
    facts.read_only && (facts.super_read_only || facts.version.is_mariadb())
}

/// The recovery that made whoever leads: the one that replaced the former primary, or its
/// successor, and so on. Each is newer than the one before.
fn last_of<'a>(
    recovery: &'a Recovery,
    replaced: &BTreeMap<&InstanceKey, &'a Recovery>,
) -> &'a Recovery {
    let mut last = recovery;
    for _ in 0..STEPS_MAX {
        let next = last.successor.as_ref().and_then(|successor| replaced.get(successor));
        match next.filter(|it| it.id > last.id) {
            Some(next) => last = next,
            None => break,
        }
    }
    last
}

/// Who leads in the stead of a former primary; `None` while that cannot be told, or if it is the
/// former primary itself.
fn leader<'a>(former: &Member, last: &Recovery, fleet: &'a FleetSnapshot) -> Option<&'a Member> {
    let successor = last.successor.as_ref().and_then(|key| fleet.member(key));
    let Some((_, successor)) = successor.filter(|(_, it)| it.instance.is_valid()) else {
        return head(former, last, fleet);
    };
    let above = above(successor, fleet);
    let follows_former = above.iter().any(|it| it.key() == former.key());
    if !successor.instance.facts.read_only {
        // Whoever forgot its source and follows the former primary now was put there by people.
        let is_put_below = follows_former && forgot_its_source(last);
        return (!is_put_below).then_some(successor);
    }
    if is_closed_by_itself(successor, former, last) {
        return Some(successor);
    }
    // People put somebody else in its place.
    let top = above.last().copied().filter(|_| !follows_former)?;
    (top.instance.is_valid() && !top.instance.facts.read_only).then_some(top)
}

/// Whoever replaced a former primary last, if it does not answer and nobody else leads as far as is
/// seen. Replicas that the recovery could not reach may still follow the former primary; whom people
/// put below it since says that it is meant to lead. So are two that accepted writes side by side.
fn absent_successor<'a>(
    former: &Member,
    recovery: &Recovery,
    last: &Recovery,
    fleet: &'a FleetSnapshot,
) -> Option<&'a Member> {
    let (_, successor) = fleet.member(last.successor.as_ref()?)?;
    let was_left = |it: &InstanceKey| recovery.lost.contains(it) || recovery.failed_on.contains(it);
    let is_meant = last.id == recovery.id && recovery.beside.contains(successor.key());
    let is_absent = successor.instance.is_failed()
        && successor.key() != former.key()
        && !is_meant
        && head(former, last, fleet).is_none()
        && former.replicas.iter().all(was_left);
    is_absent.then_some(successor)
}

/// Who heads the cluster by what is seen, when nothing is seen of whoever baton put there.
fn head<'a>(former: &Member, last: &Recovery, fleet: &'a FleetSnapshot) -> Option<&'a Member> {
    let primaries = fleet.cluster(&last.cluster)?.primaries();
    primaries.into_iter().find(|it| {
        it.key() != former.key()
            && it.instance.is_valid()
            && !it.instance.facts.read_only
            && !it.replicas.is_empty()
            && above(it, fleet).iter().all(|above| above.key() != former.key())
    })
}

/// Those above a server, the nearest first, each once.
fn above<'a>(member: &Member, fleet: &'a FleetSnapshot) -> Vec<&'a Member> {
    let known = |key: &Option<InstanceKey>| Some(fleet.member(key.as_ref()?)?.1);
    let mut found: Vec<&Member> = Vec::new();
    let mut next = known(&member.source);
    while let Some(it) = next {
        let is_known = found.iter().any(|seen| seen.key() == it.key());
        if is_known || it.key() == member.key() || found.len() >= STEPS_MAX {
            break;
        }
        found.push(it);
        next = known(&it.source);
    }
    found
}

fn forgot_its_source(recovery: &Recovery) -> bool {
    let opened = recovery.plan.iter().flat_map(|plan| &plan.open.chains);
    opened.flat_map(|chain| &chain.actions).any(|it| *it == Action::ForgetSource)
}

/// Whoever replaced a primary, was started anew since, and refuses writes for that alone: others
/// follow it, and nobody the former primary. If people had put that back, somebody would.
fn is_closed_by_itself(successor: &Member, former: &Member, last: &Recovery) -> bool {
    let Instance { facts, health, .. } = &*successor.instance;
    let up_for = Duration::from_secs(facts.uptime_seconds);
    let known_for = health.facts_from.map_or(Duration::ZERO, |seen| seen.since(last.begun_at));
    up_for <= known_for + Duration::from_secs(1)
        && facts.source().is_none()
        && !successor.replicas.is_empty()
        && former.replicas.is_empty()
}

/// Whether it was started after this. In doubt it was not: uptimes are whole seconds, and 0 is not
/// known.
fn is_up_since(instance: &Instance, at: Timestamp) -> bool {
    let up_for = Duration::from_secs(instance.facts.uptime_seconds);
    let seen = instance.health.facts_from.filter(|_| !up_for.is_zero());
    seen.is_some_and(|seen| seen > at && up_for + Duration::from_secs(1) <= seen.since(at))
}

/// Whoever was given another place, and gets through to its source, is a replica. But one below whoever
/// leads is closed if it came back open: it may have had that place before it was replaced, unseen, and
/// its clients with it. And a fence is forgotten by a restart.
fn takes_itself_for_primary(
    member: &Member,
    recovery: &Recovery,
    leader: &Member,
    came_open: bool,
    fleet: &FleetSnapshot,
) -> bool {
    let mut rejoined = fleet.ledger.recoveries.values().filter(|it| {
        it.id > recovery.id
            && it.kind == Kind::Rejoin
            && it.is_successful()
            && it.failed() == member.key()
    });
    let was_rejoined = rejoined.next().is_some();
    let has_place = !is_where_it_was(member, recovery) && is_connected(&member.instance.facts);
    if !has_place && !was_rejoined {
        return true;
    }
    let ended = recovery.ended_at.unwrap_or(recovery.begun_at);
    let is_open = (came_open && !was_rejoined) || is_up_since(&member.instance, ended);
    is_open && above(member, fleet).iter().any(|it| it.key() == leader.key())
}
