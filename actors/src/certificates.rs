//! What servers show of themselves under TLS: the key that each was met with first is remembered, in
//! memory at once and in the ledger for all nodes and for good.
//!
//! The ledger decides: what it holds replaces what this node met by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use baton_topology::certificate::Fingerprint;
use baton_topology::certificate::NewPin;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState};
use ring::digest;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::ports::Ledger;

/// So many are recorded at once.
const PINS_AT_ONCE: usize = 512;
/// What the ledger could not take is offered again after this.
const RECORD_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The fingerprint of a public key, as DER.
pub fn fingerprint_of(key: &[u8]) -> Fingerprint {
    let mut fingerprint = [0; 32];
    for (byte, of) in fingerprint.iter_mut().zip(digest::digest(&digest::SHA256, key).as_ref()) {
        *byte = *of;
    }
    Fingerprint::of_digest(fingerprint)
}

/// What a server shows that is not what it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Another key.
    Key(Fingerprint),
    /// It offers no TLS.
    NoTls,
}

/// Whether a certificate was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// It was not.
    No,
    /// By an authority of the configuration.
    ByAuthority,
}

/// How a key compares with what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The server was never met.
    First,
    /// It is the known one.
    Same,
    /// It is another one.
    Changed {
        /// The known one.
        before: Fingerprint,
    },
}

/// The keys of all servers, and what some show instead.
#[derive(Debug, Default)]
pub struct Certificates {
    known: Mutex<BTreeMap<InstanceKey, Known>>,
    news: Notify,
}

#[derive(Debug)]
struct Known {
    fingerprint: Fingerprint,
    verified: Verified,
    /// The ledger has it.
    is_recorded: bool,
    /// What was shown last, if that was something else.
    shown: Option<Shown>,
}

impl Certificates {
    fn known(&self) -> MutexGuard<'_, BTreeMap<InstanceKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server ever was logged in to under TLS.
    pub fn is_known(&self, key: &InstanceKey) -> bool {
        self.known().contains_key(key)
    }

    /// How a key compares with what is known of the server.
    pub fn judge(&self, key: &InstanceKey, fingerprint: &Fingerprint) -> Judgement {
        match self.known().get(key) {
            None => Judgement::First,
            Some(known) if known.fingerprint == *fingerprint => Judgement::Same,
            Some(known) => Judgement::Changed { before: known.fingerprint.clone() },
        }
    }

    /// Takes note that a known server shows something else, for a person to confirm.
    pub fn note(&self, key: &InstanceKey, shown: Shown) {
        if let Some(known) = self.known().get_mut(key) {
            known.shown = Some(shown);
        }
    }

    /// What a known server showed last, if that was something else.
    pub fn shown(&self, key: &InstanceKey) -> Option<Shown> {
        self.known().get(key)?.shown.clone()
    }

    /// Takes note of a login under TLS. The first one of a server decides what it is known by.
    pub fn logged_in(&self, key: &InstanceKey, fingerprint: &Fingerprint, verified: Verified) {
        let mut all = self.known();
        match all.get_mut(key) {
            Some(known) if known.fingerprint == *fingerprint => known.shown = None,
            Some(known) if verified == Verified::No => {
                known.shown = Some(Shown::Key(fingerprint.clone()));
            }
            _ => {
                let fingerprint = fingerprint.clone();
                let known = Known { fingerprint, verified, is_recorded: false, shown: None };
                all.insert(key.clone(), known);
                self.news.notify_one();
            }
        }
    }

    /// Goes by the ledger from now on.
    pub fn adopt(&self, ledger: &LedgerState) {
        let mut all = self.known();
        all.retain(|key, known| !known.is_recorded || ledger.certificates.contains_key(key));
        for (key, pin) in ledger.certificates.iter() {
            match all.get_mut(key) {
                Some(known) if known.fingerprint == pin.fingerprint => known.is_recorded = true,
                // An authority verified another one: that is yet to be recorded.
                Some(known) if known.verified == Verified::ByAuthority && !known.is_recorded => {}
                _ => {
                    let fingerprint = pin.fingerprint.clone();
                    let (verified, is_recorded) = (Verified::No, true);
                    let known = Known { fingerprint, verified, is_recorded, shown: None };
                    all.insert(key.clone(), known);
                }
            }
        }
    }

    /// What the ledger lacks.
    fn unrecorded(&self) -> Vec<NewPin> {
        let all = self.known();
        // What the ledger could not read again would keep the others out of it.
        let is_sound = |key: &InstanceKey| key.to_string().parse().as_ref() == Ok(key);
        let unrecorded = all.iter().filter(|(key, known)| !known.is_recorded && is_sound(key));
        let pin = |(key, known): (&InstanceKey, &Known)| NewPin {
            key: key.clone(),
            fingerprint: known.fingerprint.clone(),
            verified: known.verified == Verified::ByAuthority,
        };
        unrecorded.map(pin).take(PINS_AT_ONCE).collect()
    }
}

/// Follows the ledger, and has it remember what it lacks while this node leads. Never ends.
pub(crate) async fn keep(
    certificates: Arc<Certificates>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
) {
    let (mut state, mut leading) = (ledger.state(), ledger.leading());
    loop {
        let newest = state.borrow_and_update().clone();
        certificates.adopt(&newest);
        let leads = leading.borrow_and_update().is_some();
        let pins = if leads { certificates.unrecorded() } else { Vec::new() };
        if !pins.is_empty() {
            let command = Command::PinCertificates { pins, at: clock.now() };
            match ledger.propose(command).await {
                Ok(applied) => certificates.adopt(&applied.state),
                Err(error) => {
                    tracing::debug!(%error, "certificates of servers are not recorded yet");
                    tokio::time::sleep(RECORD_AGAIN_AFTER).await;
                }
            }
            continue;
        }
        let is_over = tokio::select! {
            changed = state.changed() => changed.is_err(),
            changed = leading.changed() => changed.is_err(),
            () = certificates.news.notified() => false,
        };
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use baton_topology::certificate::Pin;
    use baton_topology::time::Timestamp;

    use super::*;

    fn key(port: u16) -> InstanceKey {
        InstanceKey::new("db", port)
    }

    fn print(text: &str) -> Fingerprint {
        fingerprint_of(text.as_bytes())
    }

    fn ledger(pins: &[(u16, &str)]) -> LedgerState {
        let mut state = LedgerState::default();
        for (port, text) in pins {
            let pin = Pin { fingerprint: print(text), since: Timestamp::EPOCH };
            state.certificates.insert_mut(key(*port), pin);
        }
        state
    }

    #[test]
    fn the_first_key_decides_and_another_waits_for_a_person() {
        let all = Certificates::default();
        assert_eq!(all.judge(&key(1), &print("a")), Judgement::First);
        all.logged_in(&key(1), &print("a"), Verified::No);
        assert_eq!(all.judge(&key(1), &print("a")), Judgement::Same);
        all.logged_in(&key(1), &print("b"), Verified::No);
        assert_eq!(all.judge(&key(1), &print("b")), Judgement::Changed { before: print("a") });
        assert_eq!(all.shown(&key(1)), Some(Shown::Key(print("b"))));
        all.adopt(&ledger(&[(1, "b")]));
        assert_eq!(all.judge(&key(1), &print("b")), Judgement::Same);
        assert_eq!(all.shown(&key(1)), None);
    }

    #[test]
    fn what_an_authority_verified_replaces_what_is_known() {
        let all = Certificates::default();
        all.adopt(&ledger(&[(1, "a")]));
        all.logged_in(&key(1), &print("b"), Verified::ByAuthority);
        all.adopt(&ledger(&[(1, "a"), (2, "c")]));
        let pins = all.unrecorded();
        assert_eq!(pins.len(), 1);
        assert!(pins[0].verified && pins[0].fingerprint == print("b"));
    }

    #[test]
    fn the_ledger_decides_over_what_a_node_met_by_itself() {
        let all = Certificates::default();
        all.logged_in(&key(1), &print("mine"), Verified::No);
        all.logged_in(&key(2), &print("mine"), Verified::No);
        all.adopt(&ledger(&[(1, "theirs")]));
        assert!(matches!(all.judge(&key(1), &print("mine")), Judgement::Changed { .. }));
        assert_eq!(all.unrecorded().len(), 1, "the other one is yet to be recorded");
        all.adopt(&ledger(&[(1, "theirs"), (2, "mine")]));
        assert!(all.unrecorded().is_empty());
        all.adopt(&ledger(&[]));
        assert!(!all.is_known(&key(1)) && !all.is_known(&key(2)), "forgotten");
    }
}
