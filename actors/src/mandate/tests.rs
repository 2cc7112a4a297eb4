use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use baton_topology::ledger::LedgerState;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;

/// A ledger that answers as it is told to.
pub(crate) struct Script {
    /// How proofs go, and how long each takes.
    proofs: Mutex<VecDeque<(Duration, Result<u64, ProposeError>)>>,
    /// How proposals go.
    proposals: Mutex<VecDeque<Result<(), ProposeError>>>,
    /// The terms in which something was proposed.
    terms: Mutex<Vec<u64>>,
    hint: watch::Sender<Option<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn deposed() -> ProposeError {
    ProposeError::NotLeading("somebody else leads".into())
}

impl Script {
    /// This node leads in term 7, and will see this when it proves that later.
    pub(crate) fn leading(later: Vec<(u64, Result<u64, ProposeError>)>) -> Arc<Self> {
        let first = (Duration::ZERO, Ok(7));
        let later = later.into_iter().map(|(millis, it)| (Duration::from_millis(millis), it));
        Arc::new(Self {
            proofs: Mutex::new(std::iter::once(first).chain(later).collect()),
            proposals: Mutex::default(),
            terms: Mutex::default(),
            hint: watch::Sender::new(Some(7)),
        })
    }

    pub(crate) async fn mandate(self: &Arc<Self>) -> Mandate {
        let ledger: Arc<dyn Ledger> = self.clone();
        Mandate::obtain(&ledger).await.unwrap()
    }

    /// Proofs that nobody has asked for yet.
    fn left(&self) -> usize {
        lock(&self.proofs).len()
    }
}

impl Ledger for Script {
    fn propose(&self, _command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        unreachable!("nothing is proposed without a term")
    }

    fn lead(&self) -> BoxFuture<'_, Result<u64, ProposeError>> {
        let (takes, answer) = lock(&self.proofs).pop_front().expect("one proof too many");
        async move {
            tokio::time::sleep(takes).await;
            answer
        }
        .boxed()
    }

    fn propose_in(
        &self,
        term: u64,
        _command: Command,
    ) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        lock(&self.terms).push(term);
        let done = lock(&self.proposals).pop_front().unwrap_or(Ok(()));
        let applied = |()| Applied { index: 1, keys: Vec::new(), state: Arc::default() };
        std::future::ready(done.map(applied)).boxed()
    }

    fn leading(&self) -> watch::Receiver<Option<u64>> {
        self.hint.subscribe()
    }

    fn state(&self) -> watch::Receiver<Arc<LedgerState>> {
        watch::Sender::default().subscribe()
    }
}

fn command() -> Command {
    Command::SetRecoveriesDisabled { disabled: true }
}

fn is_over(done: &Result<(), ProposeError>) -> bool {
    matches!(done, Err(ProposeError::NotLeading(_)))
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_a_mandate_who_cannot_prove_that_it_leads() {
    let unproven = Script::leading(vec![]);
    lock(&unproven.proofs)[0].1 = Err(deposed());
    let (elsewhere, led_before) = (Script::leading(vec![]), Script::leading(vec![]));
    elsewhere.hint.send_replace(None);
    led_before.hint.send_replace(Some(6));
    for (case, script) in [
        ("there is no proof", unproven),
        ("the proof is of a moment ago, and nobody leads by now", elsewhere),
        ("the proof is of another term", led_before),
    ] {
        let ledger: Arc<dyn Ledger> = script.clone();
        let refused = Mandate::obtain(&ledger).await.map(|it| it.term());
        assert!(matches!(refused, Err(ProposeError::NotLeading(_))), "case: {case}: {refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_hint_may_come_a_moment_after_the_proof() {
    let script = Script::leading(vec![]);
    script.hint.send_replace(None);
    let ledger: Arc<dyn Ledger> = script.clone();
    let hint = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        script.hint.send_replace(Some(7));
    };
    let (mandate, ()) = tokio::join!(Mandate::obtain(&ledger), hint);
    assert_eq!(mandate.unwrap().term(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_mandate_is_over_for_good_once_a_proof_fails() {
    for (case, later) in [
        ("somebody else leads", Err(deposed())),
        ("this node leads again, in another term", Ok(8)),
        ("nobody knows", Err(ProposeError::Timeout)),
    ] {
        let script = Script::leading(vec![(0, later), (0, Ok(7))]);
        let mandate = script.mandate().await;
        assert!(mandate.prove().await.is_err(), "case: {case}");
        assert!(is_over(&mandate.prove().await), "case: {case}");
        assert!(is_over(&mandate.check().await), "case: {case}");
        assert!(mandate.propose(command()).await.is_err(), "case: {case}");
        assert_eq!(script.left(), 1, "nobody is asked any more: {case}");
        assert!(lock(&script.terms).is_empty(), "nothing is proposed any more: {case}");
        let ended = timeout(Duration::from_secs(1), mandate.lost()).await;
        assert!(ended.is_ok(), "whoever waits for the end is told: {case}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_proofs_at_the_same_time_the_one_that_failed_is_right() {
    let script = Script::leading(vec![(50, Ok(7)), (10, Err(deposed()))]);
    let mandate = script.mandate().await;
    let other = mandate.clone();
    let (one, two) = tokio::join!(mandate.prove(), other.prove());
    assert!(one.is_ok() && two.is_err(), "{one:?} {two:?}");
    assert!(is_over(&mandate.check().await));
}

#[tokio::test(start_paused = true)]
async fn a_proof_holds_for_a_moment_from_when_it_was_asked_for() {
    let script = Script::leading(vec![(400, Ok(7)), (0, Err(deposed()))]);
    lock(&script.proofs)[0].0 = Duration::from_millis(400);
    let mandate = script.mandate().await;
    mandate.check().await.unwrap();
    assert_eq!(script.left(), 2, "the one it began with is fresh");
    tokio::time::advance(Duration::from_millis(100)).await;
    mandate.check().await.unwrap();
    assert_eq!(script.left(), 1, "that one was old, and is replaced");
    mandate.check().await.unwrap();
    assert_eq!(script.left(), 1, "the new one is fresh");
    tokio::time::advance(Duration::from_millis(100)).await;
    assert!(is_over(&mandate.check().await), "its answer took most of its time");
}

#[tokio::test(start_paused = true)]
async fn proposals_are_of_its_term_and_end_it_when_another_leads() {
    let script = Script::leading(vec![(0, Ok(7))]);
    let mandate = script.mandate().await;
    for (case, answer, goes_on) in [
        ("agreed", Ok(()), true),
        ("nobody knows", Err(ProposeError::Timeout), true),
        ("another one leads", Err(deposed()), false),
    ] {
        lock(&script.proposals).push_back(answer);
        let _ = mandate.propose(command()).await;
        assert_eq!(mandate.check().await.is_ok(), goes_on, "case: {case}");
    }
    assert!(mandate.propose(command()).await.is_err());
    assert_eq!(*lock(&script.terms), [7, 7, 7], "the last one was not proposed");
}

#[tokio::test(start_paused = true)]
async fn whoever_hears_that_it_does_not_lead_stops_though_it_leads_again_later() {
    for hint in [None, Some(8)] {
        let script = Script::leading(vec![(0, Ok(7))]);
        let mandate = script.mandate().await;
        let waits = timeout(Duration::from_secs(3_600), mandate.lost()).await;
        assert!(waits.is_err(), "it leads");
        script.hint.send_replace(hint);
        let ended = timeout(Duration::from_secs(1), mandate.lost()).await;
        assert!(ended.is_ok(), "{hint:?}");
        script.hint.send_replace(Some(7));
        assert!(is_over(&mandate.prove().await), "{hint:?}");
        assert_eq!(script.left(), 1, "{hint:?}");
    }
}
