//! Who may listen to events: a stream keeps a connection as long as its reader likes, so they never have
//! all of them, and neither has one address or one user all streams.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_actors::connections::Origin;

/// So many may listen at a time, however many connections there may be.
const STREAMS_MAX: usize = 1_000;

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listener {
    /// Where it connects from: a proxy in front of baton is one for all behind it.
    pub(crate) origin: Origin,
    /// Who that is, where callers are known by name.
    pub(crate) user: Option<String>,
}

/// There is no place for another stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// None at all.
    #[error("too many listen to events already")]
    All,
    /// None for this address.
    #[error("too many listen to events from this address already")]
    Origin,
    /// None for this user.
    #[error("this user listens to events too often already")]
    User,
}

/// The places there are, and who has them.
#[derive(Debug)]
pub(super) struct Seats {
    all_max: usize,
    origin_max: usize,
    user_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    origins: BTreeMap<Origin, usize>,
    users: BTreeMap<String, usize>,
}

impl Seats {
    /// Half of so many connections; half of those are for one address, and of these half for one user,
    /// because all may come through one proxy.
    pub(super) fn of(connections_max: usize) -> Arc<Self> {
        let all = (connections_max / 2).clamp(1, STREAMS_MAX);
        Arc::new(Self {
            all_max: all,
            origin_max: (all / 2).max(1),
            user_max: (all / 4).max(1),
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, for as long as the result lives.
    pub(super) fn take(self: &Arc<Self>, listener: Listener) -> Result<Seat, Full> {
        let mut taken = self.taken();
        let of_origin = taken.origins.get(&listener.origin).copied().unwrap_or_default();
        let of_user = listener.user.as_ref().and_then(|it| taken.users.get(it));
        if taken.all >= self.all_max {
            return Err(Full::All);
        }
        if listener.origin.is_some() && of_origin >= self.origin_max {
            return Err(Full::Origin);
        }
        if of_user.is_some_and(|count| *count >= self.user_max) {
            return Err(Full::User);
        }
        taken.all += 1;
        *taken.origins.entry(listener.origin).or_default() += 1;
        if let Some(user) = &listener.user {
            *taken.users.entry(user.clone()).or_default() += 1;
        }
        drop(taken);
        Ok(Seat { seats: Arc::clone(self), listener })
    }
}

/// The place of one stream.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    listener: Listener,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all = taken.all.saturating_sub(1);
        leave(&mut taken.origins, &self.listener.origin);
        if let Some(user) = &self.listener.user {
            leave(&mut taken.users, user);
        }
    }
}

fn leave<K: Ord>(counts: &mut BTreeMap<K, usize>, who: &K) {
    if let Some(count) = counts.get_mut(who) {
        *count -= 1;
        if *count == 0 {
            counts.remove(who);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn listener(last: u8, user: &str) -> Listener {
        let user = Some(user.to_owned()).filter(|it| !it.is_empty());
        Listener { origin: Some(IpAddr::from([10, 0, 0, last])), user }
    }

    #[test]
    fn neither_an_address_nor_a_user_has_all_places() {
        let seats = Seats::of(32);
        let take = |last, user: &str| seats.take(listener(last, user));
        let mut held: Vec<Seat> = (0..4).map(|_| take(1, "ann").unwrap()).collect();
        assert_eq!(take(1, "ann").unwrap_err(), Full::User);
        assert_eq!(take(2, "ann").unwrap_err(), Full::User, "from wherever");
        held.extend((0..4).map(|_| take(1, "bob").unwrap()));
        assert_eq!(take(1, "cid").unwrap_err(), Full::Origin);
        held.extend((0..8).map(|_| take(2, "").unwrap()));
        assert_eq!(take(3, "cid").unwrap_err(), Full::All);
        held.truncate(3);
        assert!(take(1, "ann").is_ok(), "whoever leaves makes room");
        held.clear();
        let taken = seats.taken();
        assert!(taken.all == 0 && taken.origins.is_empty() && taken.users.is_empty());
    }

    #[test]
    fn the_socket_of_this_machine_has_all_places() {
        let seats = Seats::of(32);
        let held: Vec<_> = (0..16).map(|_| seats.take(Listener::default())).collect();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(seats.take(Listener::default()).unwrap_err(), Full::All);
    }

    #[test]
    fn there_is_room_for_many_behind_one_proxy() {
        let seats = Seats::of(20_000);
        assert_eq!((seats.all_max, seats.origin_max, seats.user_max), (1_000, 500, 250));
        let seats = Seats::of(1);
        assert_eq!((seats.all_max, seats.origin_max, seats.user_max), (1, 1, 1));
    }
}
