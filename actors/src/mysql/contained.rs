//! A panic in the conversation with one server is that server not answering, and nothing more.
//!
//! The driver reads whatever a server sends, and has panicked over that. Here such a panic ends one
//! call. The conversation is dropped, since nobody knows what state it was left in, and the next
//! call begins another one.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use baton_topology::action::{Action, Credentials, LogQuestion};
use baton_topology::gtid::GtidSet;
use baton_topology::instance::{FailureKind, ProbeFailure};
use baton_topology::reading::RawTable;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::failure;
use crate::ports::{ActionFailure, ControlSession, Parting, ProbeSession, Reading};

/// A conversation, and how another one is begun.
struct Contained<T: ?Sized> {
    make: Box<dyn Fn() -> Box<T> + Send>,
    session: Box<T>,
    /// It panicked, and is not used any more.
    is_broken: bool,
}

impl<T: ?Sized> Contained<T> {
    fn new(make: impl Fn() -> Box<T> + Send + 'static) -> Self {
        let session = make();
        Self { make: Box::new(make), session, is_broken: false }
    }

    /// Begins another conversation if this one broke; tells whether it did.
    fn renew(&mut self) -> bool {
        if !std::mem::take(&mut self.is_broken) {
            return false;
        }
        let broken = std::mem::replace(&mut self.session, (self.make)());
        if catch_unwind(AssertUnwindSafe(move || drop(broken))).is_err() {
            tracing::error!("panic while a broken conversation with a server was dropped");
        }
        true
    }

    /// Makes a call; what it panicked over, if it did.
    async fn call<'a, R>(
        &'a mut self,
        call: impl FnOnce(&'a mut T) -> BoxFuture<'a, R>,
    ) -> Result<R, String> {
        let Self { session, is_broken, .. } = self;
        let called = AssertUnwindSafe(async move { call(session).await });
        called.catch_unwind().await.map_err(|panic| {
            *is_broken = true;
            text_of(&*panic)
        })
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no reason given".to_owned())
}

/// A panic as the caller reads it.
fn not_answered(panic: &str) -> ProbeFailure {
    let message = format!("the conversation with it broke off by a fault of baton's: {panic}");
    failure::new(FailureKind::ConnectionLost, message)
}

fn not_known(panic: &str) -> ActionFailure {
    ActionFailure::Server(not_answered(panic))
}

/// Probes whose panics stay with their server.
pub(super) struct ContainedProbe(Contained<dyn ProbeSession>);

impl ContainedProbe {
    pub(super) fn new(make: impl Fn() -> Box<dyn ProbeSession> + Send + 'static) -> Self {
        Self(Contained::new(make))
    }
}

impl ProbeSession for ContainedProbe {
    fn probe(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        self.0.renew();
        async move {
            let probed = self.0.call(|it| it.probe()).await;
            probed.unwrap_or_else(|panic| Err(not_answered(&panic)))
        }
        .boxed()
    }

    fn park(&self) -> BoxFuture<'static, Parting> {
        let parked = AssertUnwindSafe(self.0.session.park()).catch_unwind();
        async move { parked.await.unwrap_or(Parting::Refused) }.boxed()
    }
}

/// Changes whose panics stay with their server.
pub(super) struct ContainedControl {
    session: Contained<dyn ControlSession>,
    /// What another conversation has to be told again.
    lent: Option<Credentials>,
    left_alone: BTreeSet<String>,
}

impl ContainedControl {
    pub(super) fn new(make: impl Fn() -> Box<dyn ControlSession> + Send + 'static) -> Self {
        Self { session: Contained::new(make), lent: None, left_alone: BTreeSet::new() }
    }

    fn renewed(&mut self) -> &mut Contained<dyn ControlSession> {
        if self.session.renew() {
            self.session.session.leave_alone(&self.left_alone);
            if let Some(lent) = self.lent.clone() {
                self.session.session.lend(lent);
            }
        }
        &mut self.session
    }
}

impl ControlSession for ContainedControl {
    fn look(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
        async move {
            let looked = self.renewed().call(|it| it.look()).await;
            looked.unwrap_or_else(|panic| Err(not_answered(&panic)))
        }
        .boxed()
    }

    fn act<'a>(
        &'a mut self,
        action: &'a Action,
        at_most: Duration,
    ) -> BoxFuture<'a, Result<(), ActionFailure>> {
        async move {
            let acted = self.renewed().call(|it| it.act(action, at_most)).await;
            acted.unwrap_or_else(|panic| Err(not_known(&panic)))
        }
        .boxed()
    }

    fn is_closing(&mut self) -> BoxFuture<'_, bool> {
        async move { self.renewed().call(|it| it.is_closing()).await.unwrap_or(false) }.boxed()
    }

    fn holders(&mut self) -> BoxFuture<'_, Vec<String>> {
        async move { self.renewed().call(|it| it.holders()).await.unwrap_or_default() }.boxed()
    }

    fn logs_with<'a>(
        &'a mut self,
        transactions: &'a GtidSet,
    ) -> BoxFuture<'a, Result<Vec<String>, ActionFailure>> {
        async move {
            let found = self.renewed().call(|it| it.logs_with(transactions)).await;
            found.unwrap_or_else(|panic| Err(not_known(&panic)))
        }
        .boxed()
    }

    fn ask<'a>(
        &'a mut self,
        question: &'a LogQuestion,
    ) -> BoxFuture<'a, Result<RawTable, ActionFailure>> {
        async move {
            let answered = self.renewed().call(|it| it.ask(question)).await;
            answered.unwrap_or_else(|panic| Err(not_known(&panic)))
        }
        .boxed()
    }

    fn credentials(&mut self) -> BoxFuture<'_, Option<Credentials>> {
        async move { self.renewed().call(|it| it.credentials()).await.unwrap_or_default() }.boxed()
    }

    fn lend(&mut self, credentials: Credentials) {
        self.lent = Some(credentials.clone());
        self.renewed().session.lend(credentials);
    }

    fn leave_alone(&mut self, channels: &BTreeSet<String>) {
        self.left_alone.clone_from(channels);
        self.renewed().session.leave_alone(channels);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Panics on purpose, as often as it is told; tells what each conversation was told.
    struct Panicking {
        number: u32,
        panics: Arc<AtomicU32>,
        told: Arc<Mutex<Vec<String>>>,
    }

    impl Panicking {
        fn answer(&self) -> BoxFuture<'static, ()> {
            let panics = Arc::clone(&self.panics);
            async move {
                tokio::task::yield_now().await;
                let left = panics.load(Ordering::Relaxed);
                if left > 0 {
                    panics.store(left - 1, Ordering::Relaxed);
                    panic!("on purpose");
                }
            }
            .boxed()
        }
    }

    impl ProbeSession for Panicking {
        fn probe(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
            let (answer, number) = (self.answer(), self.number);
            async move {
                answer.await;
                Err(failure::new(FailureKind::Connect, format!("conversation {number}")))
            }
            .boxed()
        }

        fn park(&self) -> BoxFuture<'static, Parting> {
            self.answer().map(|()| Parting::Expired).boxed()
        }
    }

    impl ControlSession for Panicking {
        fn look(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
            self.probe()
        }

        fn act<'a>(
            &'a mut self,
            _action: &'a Action,
            _at_most: Duration,
        ) -> BoxFuture<'a, Result<(), ActionFailure>> {
            self.answer().map(Ok).boxed()
        }

        fn is_closing(&mut self) -> BoxFuture<'_, bool> {
            self.answer().map(|()| true).boxed()
        }

        fn leave_alone(&mut self, channels: &BTreeSet<String>) {
            let told = format!("{}: {}", self.number, channels.iter().cloned().collect::<String>());
            self.told.lock().unwrap().push(told);
        }
    }

    struct Fixture {
        panics: Arc<AtomicU32>,
        told: Arc<Mutex<Vec<String>>>,
    }

    impl Fixture {
        fn new(panics: u32) -> Self {
            Self { panics: Arc::new(AtomicU32::new(panics)), told: Arc::default() }
        }

        fn make(&self) -> impl Fn() -> Panicking + Send + 'static {
            let (panics, told) = (Arc::clone(&self.panics), Arc::clone(&self.told));
            let numbers = AtomicU32::new(1);
            move || Panicking {
                number: numbers.fetch_add(1, Ordering::Relaxed),
                panics: Arc::clone(&panics),
                told: Arc::clone(&told),
            }
        }
    }

    #[tokio::test]
    async fn a_probe_that_panics_is_a_server_that_does_not_answer() {
        let make = Fixture::new(1).make();
        let mut probe = ContainedProbe::new(move || Box::new(make()));
        let failure = probe.probe().await.unwrap_err();
        assert!(failure.message.ends_with("on purpose"), "{}", failure.message);
        assert!(!failure.is_answer(), "it proves nothing about the server");
        let again = probe.probe().await.unwrap_err();
        assert_eq!(again.message, "conversation 2", "with another conversation");
        assert_eq!(probe.probe().await.unwrap_err().message, "conversation 2", "which is kept");
    }

    #[tokio::test]
    async fn a_parked_connection_that_panics_is_one_that_was_not_opened() {
        let make = Fixture::new(1).make();
        let probe = ContainedProbe::new(move || Box::new(make()));
        assert_eq!(probe.park().await, Parting::Refused);
        assert_eq!(probe.park().await, Parting::Expired);
    }

    #[tokio::test]
    async fn an_action_that_panics_may_or_may_not_be_done_and_what_is_left_alone_stays_so() {
        let fixture = Fixture::new(2);
        let make = fixture.make();
        let mut control = ContainedControl::new(move || Box::new(make()));
        control.leave_alone(&BTreeSet::from(["imports".to_owned()]));
        let action = Action::SetReadOnly;
        let outcome = control.act(&action, Duration::from_secs(1)).await;
        assert!(matches!(outcome, Err(ActionFailure::Server(_))), "{outcome:?}");
        assert!(!control.is_closing().await, "it is not known");
        assert!(control.is_closing().await);
        assert_eq!(*fixture.told.lock().unwrap(), ["1: imports", "2: imports", "3: imports"]);
    }
}
