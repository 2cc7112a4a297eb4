//! What people had discovered, and how long the ledger remembers it.
//!
//! Nodes that were away, or come with an empty disk, learn of it here; whoever watches an instance
//! goes on without. So what is still seen stays for ever, what nobody has seen for as long as makes
//! an instance forgotten goes, and when there is no room what was renewed last of all makes some.

use std::time::Duration;

use crate::key::InstanceKey;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

use super::{Command, ENTRIES_MAX, LedgerState};

/// What is seen is renewed so often, at the most.
const RENEW_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// And so often in the time after which it is forgotten, at the least.
const RENEWALS_MIN: u32 = 4;
/// Instances renewed by one command: it has to reach the other nodes within a heartbeat.
const RENEWED_AT_ONCE: usize = 1_000;

/// Remembers an instance. Whoever has it discovered means it, forgotten or not.
pub(super) fn remember(state: &mut LedgerState, key: &InstanceKey, at: Timestamp) {
    let known = &mut state.discovered;
    if known.size() >= ENTRIES_MAX && !known.contains_key(key) {
        let oldest = known.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            known.remove_mut(&oldest);
        }
    }
    known.insert_mut(key.clone(), at);
    state.forgotten.remove_mut(key);
}

/// Remembers those for longer that are remembered at all: who was forgotten meanwhile stays so.
pub(super) fn renew(state: &mut LedgerState, keys: &[InstanceKey], at: Timestamp) {
    for key in keys {
        if state.discovered.get(key).is_some_and(|before| *before < at) {
            state.discovered.insert_mut(key.clone(), at);
        }
    }
}

/// The commands, in order, that renew what `fleet` sees, and drop what nobody has seen for long.
pub fn review(fleet: &FleetSnapshot, now: Timestamp) -> Vec<Command> {
    let forget_after = fleet.policy.unseen_forget;
    let renewed_by = now.minus(RENEW_AFTER.min(forget_after / RENEWALS_MIN));
    let known = &fleet.ledger.discovered;
    let is_seen = |key: &InstanceKey| {
        fleet.instance(&fleet.names.resolve(key)).is_some_and(|it| it.is_valid())
    };
    let seen = known.iter().filter(|(key, at)| **at <= renewed_by && is_seen(key));
    let seen: Vec<InstanceKey> = seen.map(|(key, _)| key.clone()).collect();
    let renewals = seen
        .chunks(RENEWED_AT_ONCE)
        .map(|keys| Command::RenewDiscovered { keys: keys.to_vec(), at: now });
    let before = now.minus(forget_after);
    let is_lost = |(key, at): (&InstanceKey, &Timestamp)| *at <= before && !is_seen(key);
    let drop = known.iter().any(is_lost).then_some(Command::DropDiscovered { before });
    renewals.chain(drop).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fleet::{FleetInput, advance};
    use crate::ledger::apply;
    use crate::names::HostNames;
    use crate::policy::Policy;
    use crate::testing::{answered, key, primary_facts, refused};

    const DAY: i64 = 24 * 60 * 60;
    /// Instances are forgotten after ten days.
    const NOW: i64 = 100 * DAY;

    fn days_ago(days: i64) -> Timestamp {
        Timestamp::from_secs(NOW - days * DAY)
    }

    fn apply_all(state: LedgerState, commands: &[Command]) -> LedgerState {
        commands.iter().fold(state, |state, command| apply(&state, command).unwrap().0)
    }

    fn discover(name: &str, days: i64) -> Command {
        Command::Discover { key: key(name), at: days_ago(days) }
    }

    /// What is remembered of instances that were discovered so many days ago, after a review by a
    /// node that sees `up`, does not reach `down`, and knows nothing of anybody else.
    fn reviewed(known: &[(&str, i64)]) -> Vec<(String, Timestamp)> {
        let commands: Vec<_> = known.iter().map(|(name, days)| discover(name, *days)).collect();
        let ledger = apply_all(LedgerState::default(), &commands);
        let (now, policy) = (days_ago(0), Arc::new(Policy::default()));
        let fleet = FleetSnapshot::empty(policy, Arc::new(ledger.clone()), now);
        let inputs = vec![
            FleetInput::Probed(answered("up", NOW, primary_facts())),
            FleetInput::Found(key("down")),
            FleetInput::Probed(refused("down", NOW)),
            FleetInput::Names(Arc::new(HostNames::default().with("alias", "up"))),
        ];
        let fleet = advance(&fleet, inputs, now).snapshot;
        let ledger = apply_all(ledger, &review(&fleet, now));
        ledger.discovered.iter().map(|(key, at)| (key.host().to_owned(), *at)).collect()
    }

    #[test]
    fn what_is_seen_is_remembered_and_what_nobody_saw_for_long_is_not() {
        for (case, name, days, left) in [
            ("it is new", "up", 0, Some(0)),
            ("it was renewed today", "up", 1, Some(0)),
            ("it was not renewed for long, but it is there", "up", 30, Some(0)),
            ("it is there by another name", "alias", 30, Some(0)),
            ("it is away", "down", 9, Some(9)),
            ("it is away for long", "down", 10, None),
            ("nobody ever saw it", "nowhere", 9, Some(9)),
            ("nobody ever saw it, and will not", "nowhere", 10, None),
        ] {
            let expected = left.map(|days| (name.to_owned(), days_ago(days)));
            assert_eq!(reviewed(&[(name, days)]), Vec::from_iter(expected), "case: {case}");
        }
        let fresh = reviewed(&[("up", 0), ("down", 0)]);
        assert_eq!(fresh.len(), 2, "one does not cost the other its place");
    }

    #[test]
    fn pods_that_come_under_new_names_every_day_leave_no_more_than_those_of_ten_days() {
        let mut ledger = apply_all(LedgerState::default(), &[discover("up", 365)]);
        for days in (0..=364).rev() {
            let now = days_ago(days);
            ledger = apply_all(ledger, &[discover(&format!("pod-{days}"), days)]);
            let policy = Arc::new(Policy::default());
            let fleet = FleetSnapshot::empty(policy, Arc::new(ledger.clone()), now);
            let seen = answered("up", now.as_secs(), primary_facts());
            let fleet = advance(&fleet, vec![FleetInput::Probed(seen)], now).snapshot;
            ledger = apply_all(ledger, &review(&fleet, now));
        }
        assert_eq!(ledger.discovered.size(), 11);
        assert!(ledger.discovered.contains_key(&key("up")), "it is there all the time");
    }

    #[test]
    fn who_was_forgotten_meanwhile_is_not_remembered_again() {
        let renew = Command::RenewDiscovered { keys: vec![key("up")], at: days_ago(0) };
        let forget = Command::Forget { keys: vec![key("up")], until: days_ago(-1) };
        let after = apply_all(LedgerState::default(), &[discover("up", 2), forget, renew]);
        assert_eq!(after.discovered.size(), 0);
        assert!(after.is_forgotten(&key("up"), days_ago(0)));
    }

    #[test]
    fn there_is_always_room_and_who_was_renewed_last_makes_it() {
        let mut full = LedgerState::default();
        for number in 0..ENTRIES_MAX {
            full.discovered.insert_mut(key(&format!("h{number}")), days_ago(2));
        }
        full.discovered.insert_mut(key("h7"), days_ago(3));
        let again = apply_all(full.clone(), &[discover("h8", 0)]);
        assert_eq!(again.discovered.size(), ENTRIES_MAX);
        assert!(again.discovered.contains_key(&key("h7")), "h8 has a place already");
        let more = apply_all(again, &[discover("new", 0)]);
        assert_eq!(more.discovered.size(), ENTRIES_MAX);
        assert!(more.discovered.contains_key(&key("new")));
        assert!(!more.discovered.contains_key(&key("h7")));
    }

    #[test]
    fn many_are_renewed_by_several_commands() {
        let (now, mut ledger) = (days_ago(0), LedgerState::default());
        let names: Vec<String> = (0..RENEWED_AT_ONCE + 1).map(|n| format!("h{n}")).collect();
        for name in &names {
            ledger.discovered.insert_mut(key(name), days_ago(20));
        }
        let policy = Arc::new(Policy::default());
        let fleet = FleetSnapshot::empty(policy, Arc::new(ledger.clone()), now);
        let seen = names.iter().map(|it| answered(it, NOW, primary_facts()));
        let fleet = advance(&fleet, seen.map(FleetInput::Probed).collect(), now).snapshot;
        let commands = review(&fleet, now);
        assert_eq!(commands.len(), 2);
        let after = apply_all(ledger, &commands);
        assert!(after.discovered.values().all(|at| *at == now));
        let fleet = FleetSnapshot { ledger: Arc::new(after), ..fleet };
        assert_eq!(review(&fleet, now), [], "nothing is left to be done");
    }
}
