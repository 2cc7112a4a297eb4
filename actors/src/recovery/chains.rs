//! Carries out chains of actions: all servers at once, one action after the other on each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_topology::action::{Action, Credentials};
use baton_topology::binlog::BinlogCoordinates;
use baton_topology::gtid::Gtids;
use baton_topology::instance::{Facts, FailureKind, ProbeFailure, ThreadState};
use baton_topology::key::InstanceKey;
use baton_topology::probe::ProbeResult;
use baton_topology::recovery::connection::{is_connected, repointed, why_not_connected};
use baton_topology::recovery::machine::{Outcome, Ran};
use baton_topology::recovery::{Chain, Stage};
use futures_util::future::{join_all, try_join_all};
use tokio::time::Instant;

mod close;

use self::close::close;
use crate::clock::Clock;
use crate::holders::{is_late, with_holders};
use crate::lateness::timeout;
use crate::mandate::Mandate;
use crate::ports::{ActionFailure, Control, ControlSession, ProposeError, SnapshotReader};

use super::RecoveryWorld;

/// One action takes no longer than this.
const ACTION_DEADLINE: Duration = Duration::from_secs(5);
/// An old primary that answers answers soon. Opening a new one waits no longer for it. Nor for a
/// receiver to stop: one that is connecting stops seconds later, but receives nothing any more.
const FREEZE_DEADLINE: Duration = Duration::from_millis(400);
/// A receiver that tells its source that it goes has a second for that, and runs on until then.
const TELLING_DEADLINE: Duration = Duration::from_millis(2_500);
/// What the session adds to the deadline of an action before it is given up from outside.
const GRACE: Duration = Duration::from_secs(2);
/// Applying a backlog takes no longer than this, however steadily it goes on.
const APPLY_MAX: Duration = Duration::from_secs(60 * 60);
/// So long a server waits at once; then it is asked whether it ever gets there.
const WAIT_AT_ONCE: Duration = Duration::from_secs(2);
/// A receiver that was given another source gets through to it within this.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// One that says what keeps it from that gets so long to try again.
const FAILING_FOR: Duration = Duration::from_secs(2);
/// The pause before it is looked again whether it does.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// A look takes no longer than this.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// The conversations with servers that a recovery keeps open from stage to stage.
pub(super) struct Sessions {
    control: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    snapshot: SnapshotReader,
    open: BTreeMap<InstanceKey, Box<dyn ControlSession>>,
    /// What whoever forgot its source, or never had one, replicates with.
    lent: Option<Credentials>,
    /// What servers said right before they were closed.
    seen: Vec<ProbeResult>,
}

/// Who is acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as it takes, within the deadline.
    Usual,
    /// An old primary that is dead in all likelihood. If it answers it is not, and is left as it is.
    Witness,
    /// An old primary that is dead in all likelihood, or was given up.
    Fence,
    /// A replica that is made to stand still.
    Freeze,
    /// One whose receiver tells its source first.
    FreezeTelling,
}

impl Sessions {
    pub(super) fn new(world: &RecoveryWorld) -> Self {
        let (control, clock) = (Arc::clone(&world.control), Arc::clone(&world.clock));
        let snapshot = world.snapshot.clone();
        Self { control, clock, snapshot, open: BTreeMap::new(), lent: None, seen: Vec::new() }
    }

    /// Learns what the first of these that can tell replicates with, before it forgets.
    pub(super) async fn remember_credentials(&mut self, of: &[InstanceKey]) {
        for key in of {
            let mut session = self.take(key);
            let told = timeout(LOOK_DEADLINE, session.credentials()).await;
            if told.is_ok() {
                self.open.insert(key.clone(), session);
            }
            if let Ok(Some(credentials)) = told {
                self.lent = Some(credentials);
                return;
            }
        }
    }

    /// Looks once more at those whom a stage gave another source: whoever does not get through to it
    /// in time is told of.
    pub(super) async fn until_connected(&mut self, stage: &Stage, ran: &mut [Ran]) {
        let is_done = |ran: &[Ran], key: &InstanceKey| {
            ran.iter().any(|it| it.on == *key && it.outcome == Outcome::Done)
        };
        let mut left: BTreeMap<InstanceKey, String> = repointed(stage)
            .into_iter()
            .filter(|key| is_done(ran, key))
            .map(|key| (key, "it does not tell whether it is connected".to_owned()))
            .collect();
        let began = Instant::now();
        while !left.is_empty() {
            let keys: Vec<InstanceKey> = left.keys().cloned().collect();
            let mut all_fail = true;
            for seen in self.look_until(&keys, began + CONNECTED_WITHIN).await {
                match seen.outcome {
                    Ok(facts) if is_connected(&facts) => drop(left.remove(&seen.key)),
                    Ok(facts) => {
                        all_fail &=
                            facts.main_channel().is_none_or(|it| it.receiver_error.number > 0);
                        left.insert(seen.key, why_not_connected(&facts));
                    }
                    Err(_) => all_fail = false,
                }
            }
            let at_most = if all_fail { FAILING_FOR } else { CONNECTED_WITHIN };
            if left.is_empty() || began.elapsed() >= at_most {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        for it in ran.iter_mut() {
            if let Some(error) = left.remove(&it.on) {
                it.outcome = Outcome::Unconnected { error };
            }
        }
    }

    /// What servers said right before they were closed, since this was asked last.
    pub(super) fn seen(&mut self) -> Vec<ProbeResult> {
        std::mem::take(&mut self.seen)
    }

    fn take(&mut self, key: &InstanceKey) -> Box<dyn ControlSession> {
        let new = || {
            let mut session = self.control.control(key);
            if let Some(known) = self.snapshot.borrow().instance(key) {
                session.leave_alone(&known.facts.imports);
            }
            session
        };
        let mut session = self.open.remove(key).unwrap_or_else(new);
        if let Some(credentials) = &self.lent {
            session.lend(credentials.clone());
        }
        session
    }

    /// Carries out a stage; `patience` says how long each server is waited for. Stops where it
    /// stands once the mandate is over, and touches nothing any more.
    pub(super) async fn run(
        &mut self,
        mandate: &Mandate,
        stage: &Stage,
        patience: impl Fn(&InstanceKey) -> Patience,
    ) -> Result<Vec<Ran>, ProposeError> {
        let started: Vec<_> = stage
            .chains
            .iter()
            .map(|chain| {
                let (aside, clock) = (self.control.control(&chain.on), Arc::clone(&self.clock));
                let session = self.take(&chain.on);
                carry_out(
                    mandate,
                    chain,
                    session,
                    Aside { session: aside, clock },
                    patience(&chain.on),
                )
            })
            .collect();
        let ended = tokio::select! {
            biased;
            error = mandate.lost() => return Err(error),
            ended = try_join_all(started) => ended?,
        };
        let mut ran = Vec::new();
        for (session, outcome, seen) in ended {
            self.seen.extend(seen);
            // Whoever broke off is spoken to anew.
            if outcome.outcome == Outcome::Done {
                self.open.insert(outcome.on.clone(), session);
            }
            ran.push(outcome);
        }
        Ok(ran)
    }

    /// Looks at all of them at once.
    pub(super) async fn look(&mut self, keys: &[InstanceKey]) -> Vec<ProbeResult> {
        self.look_until(keys, Instant::now() + LOOK_DEADLINE).await
    }

    async fn look_until(&mut self, keys: &[InstanceKey], until: Instant) -> Vec<ProbeResult> {
        let clock = Arc::clone(&self.clock);
        let looks = keys.iter().map(|key| (key.clone(), self.take(key))).map(|(key, session)| {
            let clock = Arc::clone(&clock);
            async move {
                let started_at = clock.now();
                let (session, outcome) = look(session, until).await;
                let ended_at = clock.now();
                let silent_since = None;
                (session, ProbeResult { key, started_at, ended_at, outcome, silent_since })
            }
        });
        let looks: Vec<_> = looks.collect();
        let mut seen = Vec::new();
        for (session, result) in join_all(looks).await {
            if result.outcome.is_ok() {
                self.open.insert(result.key.clone(), session);
            }
            seen.push(result);
        }
        seen
    }
}

type Looked = Result<Arc<Facts>, ProbeFailure>;

fn silent(at_most: Duration) -> ProbeFailure {
    let message = format!("no answer within {} ms", at_most.as_millis());
    ProbeFailure { kind: FailureKind::Timeout, partial: false, message }
}

async fn look(
    mut session: Box<dyn ControlSession>,
    until: Instant,
) -> (Box<dyn ControlSession>, Looked) {
    let at_most = until.saturating_duration_since(Instant::now());
    let outcome = match timeout(at_most, session.look()).await {
        Ok(outcome) => outcome.map(|reading| Arc::new(reading.facts)),
        Err(_) => Err(silent(at_most)),
    };
    (session, outcome)
}

/// A second conversation with a server: while it is being closed, or does not do what it was told.
struct Aside {
    session: Box<dyn ControlSession>,
    clock: Arc<dyn Clock>,
}

type CarriedOut = (Box<dyn ControlSession>, Ran, Option<ProbeResult>);

async fn carry_out(
    mandate: &Mandate,
    chain: &Chain,
    mut session: Box<dyn ControlSession>,
    mut aside: Aside,
    patience: Patience,
) -> Result<CarriedOut, ProposeError> {
    let mut outcome = Outcome::Done;
    let mut seen = None;
    for (at, action) in chain.actions.iter().enumerate() {
        mandate.check().await?;
        let done = match (action, patience) {
            (Action::SetReadOnly, _) if chain.actions.get(at + 1) == Some(&Action::KillClients) => {
                let closing = close(mandate, &chain.on, &mut *session, &mut aside, patience);
                let (looked, closed) = closing.await;
                seen = looked;
                closed
            }
            (Action::WaitExecuted { at_most, .. }, _) => {
                wait_executed(&mut *session, action, *at_most).await
            }
            (Action::Stop(_), Patience::FreezeTelling) => {
                act(&mut *session, action, TELLING_DEADLINE).await
            }
            _ => act(&mut *session, action, patience.at_most()).await,
        };
        if let Err(failure) = done {
            // Of a server that is being closed it is told already; nothing else waits for a failover.
            let is_held_up = *action != Action::SetReadOnly && patience == Patience::Usual;
            let failure = match is_held_up && (is_late(&failure) || *action == Action::KillClients)
            {
                true => with_holders(failure, &mut *aside.session).await,
                false => failure,
            };
            let answered = seen.as_ref().is_some_and(|seen| seen.outcome.is_ok());
            outcome = classify(at, action, failure, patience, answered);
            break;
        }
    }
    Ok((session, Ran { on: chain.on.clone(), need: chain.need, outcome }, seen))
}

impl Patience {
    fn at_most(self) -> Duration {
        match self {
            Self::Usual => ACTION_DEADLINE,
            Self::Witness | Self::Fence | Self::Freeze | Self::FreezeTelling => FREEZE_DEADLINE,
        }
    }
}

async fn act(
    session: &mut dyn ControlSession,
    action: &Action,
    at_most: Duration,
) -> Result<(), ActionFailure> {
    match timeout(at_most + GRACE, session.act(action, at_most)).await {
        Ok(done) => done,
        Err(_) => Err(ActionFailure::Timeout { what: format!("{action:?}"), at_most }),
    }
}

/// Waits as long as it gets on: only who stands still for all of `patience` is given up.
async fn wait_executed(
    session: &mut dyn ControlSession,
    action: &Action,
    patience: Duration,
) -> Result<(), ActionFailure> {
    let at_once = patience.min(WAIT_AT_ONCE);
    let rounds = (APPLY_MAX.as_millis() / at_once.as_millis().max(1)).max(1);
    let mut before: Option<Progress> = None;
    let mut stands_for = Duration::ZERO;
    for _ in 0..rounds {
        match act(session, action, at_once).await {
            Err(ActionFailure::Timeout { what, .. }) => {
                let now = progress(session).await;
                stands_for = if now == before { stands_for + at_once } else { Duration::ZERO };
                let is_over = now.as_ref().is_none_or(|it| it.applier == ThreadState::Stopped);
                if is_over || stands_for >= patience {
                    return Err(ActionFailure::Timeout { what, at_most: patience });
                }
                before = now;
            }
            ended => return ended,
        }
    }
    Err(ActionFailure::Timeout { what: "applying everything".into(), at_most: APPLY_MAX })
}

#[derive(PartialEq)]
struct Progress {
    applied: Gtids,
    executed: BinlogCoordinates,
    applier: ThreadState,
}

/// How far a replica has applied.
async fn progress(session: &mut dyn ControlSession) -> Option<Progress> {
    let reading = timeout(LOOK_DEADLINE, session.look()).await.ok()?.ok()?;
    let channel = reading.facts.main_channel().cloned().unwrap_or_default();
    Some(Progress {
        applied: reading.facts.gtid.applied(),
        executed: channel.executed,
        applier: channel.applier,
    })
}

fn classify(
    at: usize,
    action: &Action,
    failure: ActionFailure,
    patience: Patience,
    answered: bool,
) -> Outcome {
    let error = failure.to_string();
    match failure {
        failure if answered && is_late(&failure) => {
            Outcome::Refused { at, error: format!("it answers, and does not close: {error}") }
        }
        ActionFailure::Refused(_) | ActionFailure::Impossible(_) => Outcome::Refused { at, error },
        // It is known that it did not come about, or (an old primary) that it lives.
        ActionFailure::Timeout { .. }
            if patience == Patience::Fence || matches!(action, Action::WaitExecuted { .. }) =>
        {
            Outcome::Refused { at, error }
        }
        ActionFailure::Timeout { .. } => Outcome::NoAnswer { at, error },
        // Its receiver may go on to acknowledge (I5).
        ActionFailure::Server(failure)
            if matches!(action, Action::Stop(_)) && failure.kind == FailureKind::Connect =>
        {
            Outcome::Untold { error }
        }
        // The server does not let us in, or baton itself could not ask.
        ActionFailure::Server(failure) if !failure.is_silence() => Outcome::Refused { at, error },
        ActionFailure::Server(_) => Outcome::NoAnswer { at, error },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use baton_topology::action::Threads;
    use baton_topology::recovery::Need;
    use baton_topology::testing::key;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::clock::TokioClock;
    use crate::mandate::tests::Script;
    use crate::ports::Reading;

    /// A conversation in which everything takes its time, and what it was asked for.
    struct Slow(&'static str, Arc<Mutex<Vec<String>>>);

    impl Slow {
        async fn does(&self, what: &str) {
            self.1.lock().unwrap().push(format!("{}: {what}", self.0));
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    impl ControlSession for Slow {
        fn look(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
            async {
                self.does("looks").await;
                Ok(Reading { canonical: key("p"), facts: Facts::default() })
            }
            .boxed()
        }

        fn act<'a>(
            &'a mut self,
            action: &'a Action,
            _at_most: Duration,
        ) -> BoxFuture<'a, Result<(), ActionFailure>> {
            async move {
                self.does(&format!("{action:?}")).await;
                Ok(())
            }
            .boxed()
        }

        fn is_closing(&mut self) -> BoxFuture<'_, bool> {
            std::future::ready(true).boxed()
        }
    }

    fn aside(session: impl ControlSession) -> Aside {
        let clock = TokioClock::starting_at(baton_topology::time::Timestamp::EPOCH);
        Aside { session: Box::new(session), clock: Arc::new(clock) }
    }

    /// I1: it was found dead, and lives.
    #[tokio::test(start_paused = true)]
    async fn who_was_found_dead_and_answers_is_left_as_it_is() {
        let mandate = Script::leading(vec![(0, Ok(7)); 20]).mandate().await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let session = Box::new(Slow("closes", Arc::clone(&told)));
        let beside = aside(Slow("aside", Arc::clone(&told)));
        let actions = vec![Action::SetReadOnly, Action::KillClients];
        let chain = Chain { on: key("p"), actions, need: Need::Should };
        let ran = carry_out(&mandate, &chain, session, beside, Patience::Witness).await;
        let (_, ran, seen) = ran.unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(ran.outcome, Outcome::Refused { at: 0, .. }), "{ran:?}");
        assert!(seen.is_some_and(|it| it.outcome.is_ok()));
        assert_eq!(*told.lock().unwrap(), ["closes: looks"]);
    }

    /// Answers, and does not close.
    struct Locked;

    impl ControlSession for Locked {
        fn look(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
            let reading = Reading { canonical: key("p"), facts: Facts::default() };
            std::future::ready(Ok(reading)).boxed()
        }

        fn act<'a>(
            &'a mut self,
            _action: &'a Action,
            at_most: Duration,
        ) -> BoxFuture<'a, Result<(), ActionFailure>> {
            async move {
                tokio::time::sleep(at_most).await;
                Err(ActionFailure::Server(silent(at_most)))
            }
            .boxed()
        }

        fn is_closing(&mut self) -> BoxFuture<'_, bool> {
            std::future::ready(false).boxed()
        }

        fn holders(&mut self) -> BoxFuture<'_, Vec<String>> {
            std::future::ready(vec!["thread 8, app@h:1: idle for 30 s".to_owned()]).boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_keep_a_replica_from_stopping_is_named() {
        let mandate = Script::leading(vec![(0, Ok(7)); 20]).mandate().await;
        let actions = vec![Action::Stop(Threads::Both)];
        let chain = Chain { on: key("a"), actions, need: Need::Should };
        for (patience, is_named) in [(Patience::Usual, true), (Patience::Freeze, false)] {
            let (session, beside) = (Box::new(Locked), aside(Locked));
            let ran = carry_out(&mandate, &chain, session, beside, patience).await;
            let (_, ran, _) = ran.unwrap_or_else(|error| panic!("{error}"));
            let Outcome::NoAnswer { error, .. } = ran.outcome else { panic!("{ran:?}") };
            assert_eq!(error.contains("(may hold a lock: thread 8, app@h:1"), is_named, "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_and_does_not_close_in_time_lives() {
        let mandate = Script::leading(vec![(0, Ok(7)); 1_000]).mandate().await;
        let actions = vec![Action::SetReadOnly, Action::KillClients];
        let chain = Chain { on: key("p"), actions, need: Need::Should };
        for patience in [Patience::Fence, Patience::Usual] {
            let (session, beside) = (Box::new(Locked), aside(Locked));
            let ran = carry_out(&mandate, &chain, session, beside, patience).await;
            let (_, ran, _) = ran.unwrap_or_else(|error| panic!("{error}"));
            assert!(matches!(ran.outcome, Outcome::Refused { at: 0, .. }), "{ran:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_sent_away_while_whoever_closes_the_server_is_still_logging_in() {
        let mandate = Script::leading(vec![(0, Ok(7)); 20]).mandate().await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut session = Slow("closes", Arc::clone(&told));
        let mut beside = aside(Slow("aside", Arc::clone(&told)));
        let (seen, closed) =
            close(&mandate, &key("p"), &mut session, &mut beside, Patience::Fence).await;
        assert!(closed.is_ok() && seen.is_some_and(|it| it.outcome.is_ok()));
        let expected = ["closes: looks", "closes: SetReadOnly", "aside: KillClients"];
        assert_eq!(*told.lock().unwrap(), expected);
    }

    /// Takes every question, and answers none.
    struct Hung;

    impl ControlSession for Hung {
        fn look(&mut self) -> BoxFuture<'_, Result<Reading, ProbeFailure>> {
            std::future::pending().boxed()
        }

        fn act<'a>(
            &'a mut self,
            _action: &'a Action,
            _at_most: Duration,
        ) -> BoxFuture<'a, Result<(), ActionFailure>> {
            std::future::pending().boxed()
        }

        fn is_closing(&mut self) -> BoxFuture<'_, bool> {
            std::future::pending().boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_primary_that_hangs_is_not_waited_for_and_did_not_refuse() {
        let mandate = Script::leading(vec![(0, Ok(7)); 20]).mandate().await;
        let began = Instant::now();
        let mut beside = aside(Hung);
        let (seen, closed) =
            close(&mandate, &key("p"), &mut Hung, &mut beside, Patience::Fence).await;
        assert!(seen.is_some_and(|it| it.outcome.is_err()));
        assert_eq!(began.elapsed(), FREEZE_DEADLINE);
        let failure = closed.unwrap_err();
        let outcome = classify(0, &Action::SetReadOnly, failure, Patience::Fence, false);
        assert!(matches!(outcome, Outcome::NoAnswer { at: 0, .. }), "{outcome:?}");
    }

    #[test]
    fn only_a_stop_that_did_not_reach_its_server_was_not_told() {
        let failed = |kind| ActionFailure::Server(ProbeFailure { kind, ..silent(ACTION_DEADLINE) });
        let of = |action, kind| classify(0, &action, failed(kind), Patience::Freeze, false);
        let (stop, close) = (|| Action::Stop(Threads::Receiver), Action::SetReadOnly);
        assert!(matches!(of(stop(), FailureKind::Connect), Outcome::Untold { .. }));
        assert!(matches!(of(stop(), FailureKind::Timeout), Outcome::NoAnswer { at: 0, .. }));
        assert!(matches!(of(close, FailureKind::Connect), Outcome::NoAnswer { at: 0, .. }), "I1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_tells_its_source_is_waited_for_and_nothing_else_of_its_server() {
        let mandate = Script::leading(vec![(0, Ok(7)); 20]).mandate().await;
        for (action, patience, expected) in [
            (Action::Stop(Threads::Receiver), Patience::FreezeTelling, TELLING_DEADLINE),
            (Action::Stop(Threads::Receiver), Patience::Freeze, FREEZE_DEADLINE),
            (Action::SetReadOnly, Patience::FreezeTelling, FREEZE_DEADLINE),
        ] {
            let chain = Chain { on: key("a"), actions: vec![action.clone()], need: Need::Should };
            let (began, beside) = (Instant::now(), aside(Hung));
            let ran = carry_out(&mandate, &chain, Box::new(Hung), beside, patience).await;
            assert!(ran.is_ok_and(|(_, ran, _)| ran.outcome != Outcome::Done));
            assert_eq!(began.elapsed(), expected + GRACE, "{action:?}");
        }
    }
}
