//! What became of requests that change something, by the name their client gave them.
//!
//! A client whose connection broke must not ask again: what it asked for may be under way. It asks
//! what became of it instead. Nor is anything done twice that somebody on the way sends twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::http::header::HeaderMap;

/// The header in which a client names its request.
pub(crate) const REQUEST_ID: &str = "baton-request-id";
/// Requests that are remembered.
const REMEMBERED_MAX: usize = 1_000;
/// Longer answers are not kept.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Names of requests, in characters.
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 8..=64;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is under way.
    Running,
    /// It was answered so.
    Answered {
        /// With this status.
        status: u16,
        /// With this; nothing, if that was too long to be kept.
        body: Option<Arc<str>>,
    },
}

/// The newest requests.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    fates: BTreeMap<String, Fate>,
    order: VecDeque<String>,
}

impl Requests {
    /// A request begins; or it did so before.
    pub(crate) fn begin(&self, name: &str) -> Result<(), Fate> {
        let mut remembered = self.remembered();
        if let Some(fate) = remembered.fates.get(name) {
            return Err(fate.clone());
        }
        if remembered.order.len() >= REMEMBERED_MAX
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.fates.remove(&oldest);
        }
        remembered.order.push_back(name.to_owned());
        remembered.fates.insert(name.to_owned(), Fate::Running);
        Ok(())
    }

    /// It was answered.
    pub(crate) fn end(&self, name: &str, status: u16, body: Option<&str>) {
        let body = body.filter(|it| it.len() <= ANSWER_BYTES_MAX).map(Arc::from);
        if let Some(fate) = self.remembered().fates.get_mut(name) {
            *fate = Fate::Answered { status, body };
        }
    }

    /// What became of a request, if this node knows.
    pub(crate) fn fate(&self, name: &str) -> Option<Fate> {
        self.remembered().fates.get(name).cloned()
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name a client gave its request, if it did.
pub(crate) fn name_in(headers: &HeaderMap) -> Result<Option<String>, String> {
    let Some(said) = headers.get(REQUEST_ID) else { return Ok(None) };
    let is_fine = |text: &&str| {
        let mut characters = text.chars();
        NAME_LENGTH.contains(&text.len())
            && characters.all(|it| it.is_ascii_alphanumeric() || it == '-')
    };
    match said.to_str().ok().filter(is_fine) {
        Some(name) => Ok(Some(name.to_owned())),
        None => Err(format!(
            "{REQUEST_ID} wants {} to {} letters, digits and dashes",
            NAME_LENGTH.start(),
            NAME_LENGTH.end()
        )),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_request_is_begun_once_and_remembered_for_a_while() {
        let requests = Requests::default();
        assert_eq!(requests.begin("one"), Ok(()));
        assert_eq!(requests.begin("one"), Err(Fate::Running));
        requests.end("one", 200, Some("{}"));
        let answered = Fate::Answered { status: 200, body: Some("{}".into()) };
        assert_eq!(requests.begin("one"), Err(answered.clone()));
        assert_eq!(requests.fate("one"), Some(answered));
        requests.end("nobody", 200, None);
        assert_eq!(requests.fate("nobody"), None);
        for number in 0..REMEMBERED_MAX {
            assert_eq!(requests.begin(&number.to_string()), Ok(()));
        }
        assert_eq!(requests.fate("one"), None, "the oldest is forgotten");
        requests.end("7", 500, Some(&"x".repeat(ANSWER_BYTES_MAX + 1)));
        assert_eq!(requests.fate("7"), Some(Fate::Answered { status: 500, body: None }));
    }

    #[test]
    fn names_are_what_fits_into_a_path() {
        let name = |value: Option<&str>| {
            let request = TestRequest::default();
            let request = match value {
                Some(value) => request.insert_header((REQUEST_ID, value)),
                None => request,
            };
            name_in(request.to_http_request().headers())
        };
        assert_eq!(name(None), Ok(None));
        assert_eq!(name(Some("0123-abcd")), Ok(Some("0123-abcd".into())));
        for bad in ["", "short", "with blank", "a/b/c/d/e/f", &"x".repeat(65)] {
            assert!(name(Some(bad)).is_err(), "{bad:?}");
        }
    }
}
