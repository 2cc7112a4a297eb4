//! Host names to addresses, anew for each connection: behind a stable name the address may change.
//!
//! The system's resolver blocks a thread for each name and cannot be cut short. So there are only
//! so many look-ups at a time, and a resolver that does not answer in time is made up for by what
//! it said last: servers that are well stay so while their name server is down.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::lateness::timeout;

/// Look-ups at a time.
const LOOKUPS_MAX: usize = 64;
/// Names whose last answer is remembered; all are forgotten where that is too few.
const KNOWN_MAX: usize = 100_000;

/// Resolves names, and remembers the last answer for each.
pub(super) struct Names {
    slots: Arc<Semaphore>,
    known: Mutex<HashMap<String, Vec<IpAddr>>>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { slots: Arc::new(Semaphore::new(LOOKUPS_MAX)), known: Mutex::default() }
    }

    /// The addresses of a host. What was known before counts only if there is no answer within
    /// `patience`: an answer that there is no such host is an answer.
    pub(super) async fn resolve(&self, host: &str, patience: Duration) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        match timeout(patience, self.look_up(host.to_owned())).await {
            Ok(found) => {
                let found = found?;
                let mut known = self.known();
                if known.len() >= KNOWN_MAX {
                    known.clear();
                }
                known.insert(host.to_owned(), found.clone());
                Ok(found)
            }
            Err(_) => self.known().get(host).cloned().ok_or_else(|| {
                io::Error::new(io::ErrorKind::TimedOut, "the name server does not answer")
            }),
        }
    }

    async fn look_up(&self, host: String) -> io::Result<Vec<IpAddr>> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(io::Error::other)?;
        // A task of its own: when the caller has run out of patience, the thread is still
        // blocked, and its slot must be, too.
        let looking = tokio::spawn(async move {
            let found = tokio::net::lookup_host((host, 0)).await;
            drop(slot);
            found.map(|addresses| addresses.map(|address| address.ip()).collect())
        });
        looking.await.map_err(io::Error::other)?
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<IpAddr>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_name_server_is_made_up_for_by_what_it_said_last() {
        let names = Names::new();
        let loopback = names.resolve("localhost", Duration::from_secs(5)).await.unwrap();
        assert!(loopback.iter().all(IpAddr::is_loopback) && !loopback.is_empty());

        let all = u32::try_from(LOOKUPS_MAX).unwrap();
        let _hung = Arc::clone(&names.slots).acquire_many_owned(all).await.unwrap();
        tokio::time::pause();
        let patience = Duration::from_secs(1);
        assert_eq!(names.resolve("localhost", patience).await.unwrap(), loopback);
        assert_eq!(names.resolve("10.0.0.7", patience).await.unwrap().len(), 1);
        let unheard_of = names.resolve("db1.local", patience).await.unwrap_err();
        assert_eq!(unheard_of.kind(), io::ErrorKind::TimedOut);
    }
}
