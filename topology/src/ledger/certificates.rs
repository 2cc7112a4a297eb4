//! The keys that servers are known by.

use super::apply::{Refusal, check_key, insert};
use super::{ENTRIES_MAX, LedgerState};
use crate::certificate::{Fingerprint, NewPin, Pin};
use crate::key::InstanceKey;
use crate::time::Timestamp;

/// Pins what was seen. The first key of an instance stays until a person or an authority says
/// otherwise.
pub(super) fn pin(
    state: &mut LedgerState,
    pins: &[NewPin],
    at: Timestamp,
) -> Result<Vec<InstanceKey>, Refusal> {
    for NewPin { key, fingerprint, verified } in pins {
        check(key, fingerprint)?;
        let known = state.certificates.get(key);
        if known.is_none_or(|it| *verified && it.fingerprint != *fingerprint) {
            make_room(state);
            let pin = Pin { fingerprint: fingerprint.clone(), since: at };
            insert(&mut state.certificates, key, pin, "certificates")?;
        }
    }
    Ok(pins.iter().map(|pin| pin.key.clone()).collect())
}

/// Takes on what a person confirmed: another key, or that there is no TLS.
pub(super) fn confirm(
    state: &mut LedgerState,
    key: &InstanceKey,
    fingerprint: Option<&Fingerprint>,
    at: Timestamp,
) -> Result<Vec<InstanceKey>, Refusal> {
    check_key(key)?;
    match fingerprint {
        None => {
            state.certificates.remove_mut(key);
        }
        Some(fingerprint) => {
            check(key, fingerprint)?;
            let pin = Pin { fingerprint: fingerprint.clone(), since: at };
            insert(&mut state.certificates, key, pin, "certificates")?;
        }
    }
    Ok(vec![key.clone()])
}

/// Hosts that have a new name each time would fill the ledger for ever: the oldest gives way.
fn make_room(state: &mut LedgerState) {
    if state.certificates.size() < ENTRIES_MAX {
        return;
    }
    let oldest = state.certificates.iter().min_by_key(|(_, pin)| pin.since);
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        state.certificates.remove_mut(&key);
    }
}

fn check(key: &InstanceKey, fingerprint: &Fingerprint) -> Result<(), Refusal> {
    check_key(key)?;
    if fingerprint.is_well_formed() { Ok(()) } else { Err(Refusal::NoFingerprint) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Command, apply};
    use crate::testing::key;

    fn fingerprint(byte: u8) -> Fingerprint {
        Fingerprint::of_digest([byte; 32])
    }

    fn pinned(state: &LedgerState, pins: &[(&str, u8, bool)]) -> LedgerState {
        let pins = pins.iter().map(|(name, byte, verified)| NewPin {
            key: key(name),
            fingerprint: fingerprint(*byte),
            verified: *verified,
        });
        let command = Command::PinCertificates { pins: pins.collect(), at: Timestamp::EPOCH };
        apply(state, &command).unwrap().0
    }

    fn known(state: &LedgerState, name: &str) -> Option<Fingerprint> {
        state.certificates.get(&key(name)).map(|pin| pin.fingerprint.clone())
    }

    #[test]
    fn the_first_key_stays_until_a_person_or_an_authority_says_otherwise() {
        let first = pinned(&LedgerState::default(), &[("a", 1, false), ("b", 1, false)]);
        let later = pinned(&first, &[("a", 2, false), ("b", 2, true)]);
        assert_eq!(known(&later, "a"), Some(fingerprint(1)));
        assert_eq!(known(&later, "b"), Some(fingerprint(2)));
        let confirm = |shown| {
            let at = Timestamp::EPOCH;
            let command = Command::ConfirmCertificate { key: key("a"), fingerprint: shown, at };
            known(&apply(&later, &command).unwrap().0, "a")
        };
        assert_eq!(confirm(Some(fingerprint(3))), Some(fingerprint(3)));
        assert_eq!(confirm(None), None);
    }

    #[test]
    fn what_is_forgotten_is_met_anew() {
        let first = pinned(&LedgerState::default(), &[("a", 1, false)]);
        let forget = Command::Forget { keys: vec![key("a")], until: Timestamp::EPOCH };
        assert_eq!(known(&apply(&first, &forget).unwrap().0, "a"), None);
    }

    #[test]
    fn only_fingerprints_are_pinned() {
        let odd: Fingerprint = serde_json::from_str("\"x\"").unwrap();
        let pins = vec![NewPin { key: key("a"), fingerprint: odd, verified: false }];
        let command = Command::PinCertificates { pins, at: Timestamp::EPOCH };
        let refused = apply(&LedgerState::default(), &command).unwrap_err();
        assert_eq!(refused, Refusal::NoFingerprint);
    }
}
