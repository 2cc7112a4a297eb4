//! One connection to the port of raft, from the first word to the last: only one that has proven a key
//! gets further than this.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::rt::net::TcpStream;

use super::keys::Keys;
use super::proof::{Answer, Answerer, Channel};
use super::secret::Secret;
use crate::connections::Timed;

/// The state of a connection.
pub(super) struct Door {
    /// None where it is encrypted and what its ends have in common is not known: nobody gets in.
    channel: Option<Channel>,
    state: Mutex<State>,
}

enum State {
    Fresh,
    /// It was told how many keys there are: these.
    ToldKeys(Vec<Secret>),
    Asked(Answerer),
    /// It has proven this one.
    Open(Secret),
    Shut,
}

/// This one is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

impl Door {
    /// That of a connection as actix has it.
    pub(super) fn of(connection: &dyn Any) -> Self {
        let encrypted = connection.downcast_ref::<TlsStream<Timed<TcpStream>>>();
        let channel = match encrypted {
            Some(tls) => Channel::of_tls(tls.get_ref().1).ok(),
            None => connection.downcast_ref::<Timed<TcpStream>>().map(|_| Channel::Plain),
        };
        Self { channel, state: Mutex::new(State::Fresh) }
    }

    /// Whether the other end has proven a key that is good still.
    pub(super) fn is_open(&self, keys: &Keys) -> bool {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open(secret) => keys.all().contains(secret),
            _ => false,
        }
    }

    /// Whether the other end has proven a key once, which may be good no more by now.
    pub(super) fn was_opened(&self) -> bool {
        matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Open(_))
    }

    /// Answers the offers of the other end. Takes milliseconds of computing. It gets to do so once, or
    /// twice if it could not know how many keys there are.
    pub(super) fn answer(&self, keys: &Keys, offers: &str) -> Result<Answer, Refused> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *state, State::Shut);
        let channel = self.channel.ok_or(Refused)?;
        let (secrets, is_first) = match before {
            State::Fresh => (keys.all(), true),
            // One of them may be good no more since; that is seen when it is used.
            State::ToldKeys(secrets) => (secrets, false),
            State::Asked(_) | State::Open(_) | State::Shut => return Err(Refused),
        };
        let (answer, answerer) = Answerer::new(&secrets, channel, offers).map_err(|_| Refused)?;
        *state = match answerer {
            Some(answerer) => State::Asked(answerer),
            None if is_first => State::ToldKeys(secrets),
            None => return Err(Refused),
        };
        Ok(answer)
    }

    /// Lets the other end in if it proves a key.
    pub(super) fn confirm(&self, proofs: &str) -> Result<Answer, Refused> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Asked(answerer) = std::mem::replace(&mut *state, State::Shut) else {
            return Err(Refused);
        };
        let (answer, secret) = answerer.confirm(proofs).map_err(|_| Refused)?;
        *state = State::Open(secret);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use baton_topology::time::Timestamp;

    use super::super::proof::Asker;
    use super::*;
    use crate::clock::TokioClock;

    fn door() -> Door {
        Door { channel: Some(Channel::Plain), state: Mutex::new(State::Fresh) }
    }

    fn offers(secret: &Secret, columns: usize) -> (Asker, String) {
        let asker = Asker::new(vec![secret.clone()], columns);
        let offers = asker.offers().to_owned();
        (asker, offers)
    }

    #[test]
    fn it_opens_to_a_proof_and_to_nothing_else_and_is_tried_once() {
        let (secret, other) = (Secret::of_nobody(), Secret::of_nobody());
        let keys = Keys::new(secret.clone());
        for (case, guess, is_let_in) in [("right", &secret, true), ("wrong", &other, false)] {
            let door = door();
            let (asker, offers) = offers(guess, 1);
            let Ok(Answer::Offers(answered)) = door.answer(&keys, &offers) else {
                panic!("{case}")
            };
            assert!(!door.is_open(&keys));
            let (proofs, _) = asker.prove(Channel::Plain, &answered).unwrap();
            assert_eq!(door.confirm(&proofs).is_ok(), is_let_in, "{case}");
            assert_eq!(door.is_open(&keys), is_let_in, "{case}");
            assert!(!door.is_open(&Keys::new(other.clone())), "{case}: good no more");
            assert_eq!(door.was_opened(), is_let_in, "{case}: and yet it is no stranger");
            assert_eq!(door.confirm(&proofs), Err(Refused), "{case}: not twice");
            assert!(!door.is_open(&keys), "whoever goes on like that is none of us");
        }
        let door = door();
        assert_eq!(door.confirm("AAAA"), Err(Refused), "nothing was asked");
        let (_, offers) = offers(&secret, 1);
        assert_eq!(door.answer(&keys, &offers), Err(Refused), "and there is no second try");
    }

    #[test]
    fn it_is_asked_again_only_by_one_that_could_not_know_better() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TokioClock::starting_at(Timestamp::EPOCH));
        let open = |secret: &Secret| {
            Keys::kept_in(folder.path(), secret.clone(), Arc::clone(&clock) as Arc<_>)
        };
        let secret = Secret::of_nobody();
        open(&Secret::of_nobody());
        let keys = open(&secret);
        let door = door();
        let (narrow, wide) = (offers(&secret, 1).1, offers(&secret, 2).1);
        assert_eq!(door.answer(&keys, &narrow), Ok(Answer::Keys(2)));
        // The former key may be forgotten meanwhile.
        let one = Keys::new(secret.clone());
        assert!(matches!(door.answer(&one, &wide), Ok(Answer::Offers(_))));
        assert_eq!(door.answer(&keys, &wide), Err(Refused));
        let door = self::door();
        assert_eq!(door.answer(&keys, &narrow), Ok(Answer::Keys(2)));
        assert_eq!(door.answer(&keys, &narrow), Err(Refused));
    }

    #[test]
    fn an_encrypted_connection_of_unknown_keys_lets_nobody_in() {
        let secret = Secret::of_nobody();
        let door = Door::of(&"no connection at all");
        let (_, offers) = offers(&secret, 1);
        assert_eq!(door.answer(&Keys::new(secret), &offers), Err(Refused));
    }
}
