//! Who sends a request, as the audit tells it, and what happens to who guesses passwords.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use baton_topology::time::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::proxy::PASSED_ON_BY;

/// Of what a client says of itself, so much is kept.
const SAID_LENGTH_MAX: usize = 100;
/// How long a failed login takes.
const SLOWED_BY: Duration = Duration::from_secs(1);
/// From an address with so many failed logins under way, no password is tried any more.
const TOGETHER_MAX: u32 = 10;
/// Failed logins are told in the log at most so often.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Who sends a request: the user if known, the address it comes from, and what the request itself
/// says of whom it was forwarded by and for, which nobody has proven.
pub(crate) fn caller(user: Option<&str>, peer: Option<IpAddr>, headers: &HeaderMap) -> String {
    let short = |text: &str| -> String {
        text.chars().filter(|it| !it.is_control()).take(SAID_LENGTH_MAX).collect()
    };
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(short);
    let mut text = format!("by {}", short(user.unwrap_or("anybody")));
    match peer {
        Some(address) => text.push_str(&format!(" from {address}")),
        None => text.push_str(" from this machine"),
    }
    if let Some(node) = said(PASSED_ON_BY) {
        text.push_str(&format!(", forwarded by {node}"));
    }
    if let Some(client) = said("x-forwarded-for") {
        text.push_str(&format!(", for {client}"));
    }
    text
}

/// Logins that failed: counted, told in the log, slowed.
pub(crate) struct FailedLogins {
    count: Counter,
    /// How many are under way, by address; none where that is a socket of this machine.
    under_way: Mutex<BTreeMap<Option<IpAddr>, u32>>,
    told: Mutex<Told>,
}

/// Ends one that is under way, also if nobody waits for the answer.
struct Over<'a> {
    logins: &'a FailedLogins,
    peer: Option<IpAddr>,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        let mut under_way = self.logins.under_way();
        if let Some(count) = under_way.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.peer);
            }
        }
    }
}

#[derive(Default)]
struct Told {
    at: Option<Timestamp>,
    since: u64,
}

impl FailedLogins {
    /// Registers the metric.
    pub(crate) fn register(registry: &Mutex<Registry>) -> Self {
        let count = Counter::default();
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        let http = registry.sub_registry_with_prefix("baton_http");
        http.register("failed_logins", "Requests with a wrong user or password", count.clone());
        Self { count, under_way: Mutex::default(), told: Mutex::default() }
    }

    /// Whether an address tries too many passwords at a time.
    pub(crate) fn are_too_many(&self, peer: Option<IpAddr>) -> bool {
        self.under_way().get(&peer).is_some_and(|count| *count >= TOGETHER_MAX)
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<Option<IpAddr>, u32>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failed login, and returns when it may be answered.
    pub(crate) async fn note(&self, caller: &str, peer: Option<IpAddr>, now: Timestamp) {
        self.count.inc();
        if let Some(count) = self.is_to_be_told(now) {
            tracing::warn!(caller, count, "failed login");
        }
        *self.under_way().entry(peer).or_default() += 1;
        let _over = Over { logins: self, peer };
        actix_web::rt::time::sleep(SLOWED_BY).await;
    }

    /// How many there were since the log was told, if it is to be told again.
    fn is_to_be_told(&self, now: Timestamp) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.since += 1;
        if told.at.is_some_and(|at| now.since(at) < TOLD_EVERY) {
            return None;
        }
        told.at = Some(now);
        Some(std::mem::take(&mut told.since))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_caller_is_told_as_far_as_it_is_known() {
        let plain = TestRequest::default().to_http_request();
        let passed_on = TestRequest::default()
            .insert_header((PASSED_ON_BY, "b:10008"))
            .insert_header(("x-forwarded-for", "10.0.0.7, 10.0.0.8"))
            .to_http_request();
        let long = TestRequest::default().insert_header(("x-forwarded-for", "x".repeat(5_000)));
        let long = long.to_http_request();
        let peer = Some(IpAddr::from([10, 0, 0, 9]));
        assert_eq!(caller(None, None, plain.headers()), "by anybody from this machine");
        assert_eq!(caller(Some("ann"), peer, plain.headers()), "by ann from 10.0.0.9");
        assert_eq!(
            caller(Some("ann"), peer, passed_on.headers()),
            "by ann from 10.0.0.9, forwarded by b:10008, for 10.0.0.7, 10.0.0.8"
        );
        assert!(caller(Some(&"\u{1b}[2J".repeat(999)), peer, long.headers()).len() < 300);
        assert_eq!(caller(Some("a\u{1b}\nb"), None, plain.headers()), "by ab from this machine");
    }

    #[actix_web::test]
    async fn an_address_tries_a_few_passwords_at_a_time() {
        tokio::time::pause();
        let logins = FailedLogins::register(&Mutex::new(Registry::default()));
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([10, 0, 0, last])));
        let noted = (0..TOGETHER_MAX).map(|_| logins.note("", one, Timestamp::EPOCH));
        let mut noted = std::pin::pin!(futures_util::future::join_all(noted));
        assert!(futures_util::poll!(&mut noted).is_pending());
        assert!(logins.are_too_many(one) && !logins.are_too_many(other));
        noted.await;
        assert!(!logins.are_too_many(one), "they are over");
        assert!(logins.under_way().is_empty());
    }

    #[test]
    fn a_flood_of_failed_logins_does_not_flood_the_log() {
        let logins = FailedLogins::register(&Mutex::new(Registry::default()));
        let at = |seconds| Timestamp::EPOCH.plus(Duration::from_secs(seconds));
        assert_eq!(logins.is_to_be_told(at(0)), Some(1));
        assert_eq!(logins.is_to_be_told(at(1)), None);
        assert_eq!(logins.is_to_be_told(at(9)), None);
        assert_eq!(logins.is_to_be_told(at(10)), Some(3));
        assert_eq!(logins.is_to_be_told(at(11)), None);
    }
}
