//! An answer that is dear to make, kept for a while: however many ask, it is made once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_topology::time::Timestamp;

/// The answer, and when it was last begun to be made.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    state: Mutex<(Timestamp, Option<Arc<str>>)>,
}

impl Kept {
    /// The answer, made anew when it is older than `at_most`. While somebody makes it, others get
    /// the one before.
    pub(crate) fn get<E>(
        &self,
        now: Timestamp,
        at_most: Duration,
        make: impl FnOnce() -> Result<String, E>,
    ) -> Result<Arc<str>, E> {
        {
            let mut state = self.state();
            if let (begun, Some(answer)) = &*state
                && now.since(*begun) <= at_most
            {
                return Ok(Arc::clone(answer));
            }
            state.0 = now;
        }
        let answer: Arc<str> = make()?.into();
        self.state().1 = Some(Arc::clone(&answer));
        Ok(answer)
    }

    fn state(&self) -> MutexGuard<'_, (Timestamp, Option<Arc<str>>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_in_a_while() {
        let kept = Kept::default();
        let ask = |second: i64, text: &str| {
            let make = || Ok::<_, ()>(text.to_owned());
            let now = Timestamp::from_secs(second);
            kept.get(now, Duration::from_secs(5), make).unwrap().to_string()
        };
        assert_eq!(ask(100, "one"), "one");
        assert_eq!(ask(105, "two"), "one");
        assert_eq!(ask(106, "three"), "three");
    }
}
