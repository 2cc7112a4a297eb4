//! Who is answered next where an answer has to be computed: two at a time, and addresses in turns, so
//! that one of them that asks often delays its own questions only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::connections::Origin;

/// So many are answered at a time.
const TOGETHER_MAX: usize = 2;
/// So many of one address wait; further ones are turned away. A peer has a handful of connections.
const WAITING_MAX: usize = 32;
/// So many of all addresses wait: each keeps a connection that a peer may need. From then on the address
/// with most of them loses its newest to one that has fewer.
const ALL_WAITING_MAX: usize = 64;

/// The turns. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    under_way: usize,
    /// Those who wait, by address.
    waiting: BTreeMap<Origin, VecDeque<oneshot::Sender<Turn>>>,
    /// The addresses that have somebody waiting, the next one first.
    order: VecDeque<Origin>,
}

/// Too many of this address wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// It is its turn, as long as this lives.
#[derive(Debug)]
pub(super) struct Turn(Turns);

impl Turns {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of one of this address.
    pub(super) async fn take(&self, origin: Origin) -> Result<Turn, TooMany> {
        let called = {
            let mut queue = self.queue();
            if queue.under_way < TOGETHER_MAX {
                queue.under_way += 1;
                return Ok(Turn(self.clone()));
            }
            queue.make_room(origin)?;
            let (call, called) = oneshot::channel();
            queue.waiting.entry(origin).or_default().push_back(call);
            if !queue.order.contains(&origin) {
                queue.order.push_back(origin);
            }
            called
        };
        called.await.map_err(|_| TooMany)
    }
}

impl Queue {
    /// Lets one more of this address wait, if it may.
    fn make_room(&mut self, origin: Origin) -> Result<(), TooMany> {
        for waiting in self.waiting.values_mut() {
            waiting.retain(|it| !it.is_closed());
        }
        let count = self.waiting.get(&origin).map_or(0, VecDeque::len);
        if count >= WAITING_MAX {
            return Err(TooMany);
        }
        if self.waiting.values().map(VecDeque::len).sum::<usize>() >= ALL_WAITING_MAX {
            let most = self.waiting.values_mut().max_by_key(|it| it.len());
            let most = most.filter(|it| it.len() > count + 1).ok_or(TooMany)?;
            most.pop_back();
        }
        Ok(())
    }

    /// The next one that waits, if there is one.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        while let Some(origin) = self.order.pop_front() {
            let Some(of_origin) = self.waiting.get_mut(&origin) else { continue };
            let next = of_origin.pop_front();
            if of_origin.is_empty() {
                self.waiting.remove(&origin);
            } else {
                self.order.push_back(origin);
            }
            // An address has none left where those who waited went away.
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.under_way = queue.under_way.saturating_sub(1);
        while let Some(call) = queue.next() {
            if call.is_closed() {
                continue;
            }
            queue.under_way += 1;
            drop(queue);
            // If it is gone just now, the turn comes back and ends here like any other.
            let _ = call.send(Turn(self.0.clone()));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn at(last: u8) -> Origin {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[tokio::test]
    async fn one_that_asks_often_delays_no_other() {
        let turns = Turns::default();
        let running = [turns.take(at(1)).await.unwrap(), turns.take(at(1)).await.unwrap()];
        let mut often: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(turns.take(at(1)))).collect();
        for it in &mut often {
            assert!(futures_util::poll!(it.as_mut()).is_pending());
        }
        assert_eq!(turns.take(at(1)).await.unwrap_err(), TooMany);
        let mut other = Box::pin(turns.take(at(2)));
        assert!(futures_util::poll!(&mut other).is_pending());
        // One of the first address is called, and then the other one, before all the rest.
        drop(running);
        let called = [futures_util::poll!(often[0].as_mut()), futures_util::poll!(other.as_mut())];
        assert!(called.iter().all(std::task::Poll::is_ready), "{called:?}");
        assert!(futures_util::poll!(often[1].as_mut()).is_pending());
    }

    #[tokio::test]
    async fn many_addresses_keep_no_other_from_waiting() {
        let turns = Turns::default();
        let _running = [turns.take(at(1)).await.unwrap(), turns.take(at(1)).await.unwrap()];
        let mut many: Vec<_> =
            (0..ALL_WAITING_MAX).map(|n| Box::pin(turns.take(at((n % 4) as u8)))).collect();
        for it in &mut many {
            assert!(futures_util::poll!(it.as_mut()).is_pending());
        }
        let mut other = Box::pin(turns.take(at(9)));
        assert!(futures_util::poll!(&mut other).is_pending(), "it waits, and another does not");
        let mut turned_away = 0;
        for it in &mut many {
            turned_away += usize::from(futures_util::poll!(it.as_mut()).is_ready());
        }
        assert_eq!(turned_away, 1);
    }

    #[tokio::test]
    async fn who_waits_no_longer_takes_no_turn() {
        let turns = Turns::default();
        let running = [turns.take(at(1)).await.unwrap(), turns.take(at(1)).await.unwrap()];
        for last in 1..4 {
            let mut gone = Box::pin(turns.take(at(last)));
            assert!(futures_util::poll!(&mut gone).is_pending());
        }
        drop(running);
        let queue = turns.queue();
        assert!(queue.under_way == 0 && queue.waiting.is_empty() && queue.order.is_empty());
    }

    #[tokio::test]
    async fn all_are_called_in_the_end() {
        let turns = Turns::default();
        let first = turns.take(at(1)).await.unwrap();
        let waiting = (0..20).map(async |last| turns.take(at(last % 3)).await.map(drop));
        let waiting = futures_util::future::join_all(waiting);
        let (all, ()) = tokio::join!(waiting, async { drop(first) });
        assert_eq!(all, [Ok(()); 20]);
    }
}
