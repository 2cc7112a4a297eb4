//! Carries out chains of actions: all servers at once, one action after the other on each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_topology::action::{Action, Credentials, Switch};
use baton_topology::gtid::Gtids;
use baton_topology::instance::{Facts, FailureKind, ProbeFailure};
use baton_topology::key::InstanceKey;
use baton_topology::probe::ProbeResult;
use baton_topology::recovery::machine::{Outcome, Ran};
use baton_topology::recovery::{Chain, Stage};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::lateness::timeout;
use crate::mandate::Mandate;
use crate::ports::{ActionFailure, Control, ControlSession, ProposeError};

/// One action takes no longer than this.
const ACTION_DEADLINE: Duration = Duration::from_secs(5);
/// An old primary that answers answers soon. Opening a new one waits no longer for it. Nor for a
/// receiver to stop: one that is connecting stops seconds later, but receives nothing any more.
const FREEZE_DEADLINE: Duration = Duration::from_millis(400);
/// A receiver that tells its source that it goes has a second for that, and runs on until then.
const TELLING_DEADLINE: Duration = Duration::from_millis(2_500);
/// How often clients are sent away while a server is being closed to writes.
const SEND_AWAY_EVERY: Duration = Duration::from_millis(20);
/// So often they are, before the server stops to wait for acknowledgements.
const GIVE_UP_ACKNOWLEDGEMENTS_AFTER: u32 = 4;
/// What the session adds to the deadline of an action before it is given up from outside.
const GRACE: Duration = Duration::from_secs(2);
/// Applying a backlog takes no longer than this, however steadily it goes on.
const APPLY_MAX: Duration = Duration::from_secs(60 * 60);
/// A look takes no longer than this.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// The conversations with servers that a recovery keeps open from stage to stage.
pub(super) struct Sessions {
    control: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    open: BTreeMap<InstanceKey, Box<dyn ControlSession>>,
    /// What whoever forgot its source, or never had one, replicates with.
    lent: Option<Credentials>,
}

/// Who is acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as it takes, within the deadline.
    Usual,
    /// An old primary that is dead in all likelihood.
    Fence,
    /// A replica that is made to stand still.
    Freeze,
    /// One whose receiver tells its source first.
    FreezeTelling,
}

impl Sessions {
    pub(super) fn new(control: Arc<dyn Control>, clock: Arc<dyn Clock>) -> Self {
        Self { control, clock, open: BTreeMap::new(), lent: None }
    }

    /// Learns what a replica replicates with, before it forgets.
    pub(super) async fn remember_credentials(&mut self, of: &InstanceKey) {
        let mut session = self.take(of);
        if let Ok(Some(credentials)) = timeout(LOOK_DEADLINE, session.credentials()).await {
            self.lent = Some(credentials);
        }
        self.open.insert(of.clone(), session);
    }

    fn take(&mut self, key: &InstanceKey) -> Box<dyn ControlSession> {
        let mut session = self.open.remove(key).unwrap_or_else(|| self.control.control(key));
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
                let aside = self.control.control(&chain.on);
                carry_out(mandate, chain, self.take(&chain.on), aside, patience(&chain.on))
            })
            .collect();
        let ended = tokio::select! {
            biased;
            error = mandate.lost() => return Err(error),
            ended = try_join_all(started) => ended?,
        };
        let mut ran = Vec::new();
        for (session, outcome) in ended {
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
        let clock = Arc::clone(&self.clock);
        let looks = keys.iter().map(|key| (key.clone(), self.take(key))).map(|(key, session)| {
            let clock = Arc::clone(&clock);
            async move {
                let started_at = clock.now();
                let (session, outcome) = look(session).await;
                let ended_at = clock.now();
                (session, ProbeResult { key, started_at, ended_at, outcome })
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

async fn look(mut session: Box<dyn ControlSession>) -> (Box<dyn ControlSession>, Looked) {
    let outcome = match timeout(LOOK_DEADLINE, session.look()).await {
        Ok(outcome) => outcome.map(|reading| Arc::new(reading.facts)),
        Err(_) => Err(silent(LOOK_DEADLINE)),
    };
    (session, outcome)
}

async fn carry_out(
    mandate: &Mandate,
    chain: &Chain,
    mut session: Box<dyn ControlSession>,
    aside: Box<dyn ControlSession>,
    patience: Patience,
) -> Result<(Box<dyn ControlSession>, Ran), ProposeError> {
    let mut aside = Some(aside);
    let mut outcome = Outcome::Done;
    for (at, action) in chain.actions.iter().enumerate() {
        mandate.check().await?;
        let done = match (action, patience) {
            (Action::SetReadOnly, _) if chain.actions.get(at + 1) == Some(&Action::KillClients) => {
                let at_most = match patience {
                    Patience::Usual => ACTION_DEADLINE,
                    Patience::Fence | Patience::Freeze | Patience::FreezeTelling => FREEZE_DEADLINE,
                };
                close(mandate, &mut *session, aside.take(), at_most).await
            }
            (Action::WaitExecuted { at_most, .. }, _) => {
                wait_executed(&mut *session, action, *at_most).await
            }
            (Action::Stop(_), Patience::FreezeTelling) => {
                act(&mut *session, action, TELLING_DEADLINE).await
            }
            (_, Patience::Fence | Patience::Freeze | Patience::FreezeTelling) => {
                act(&mut *session, action, FREEZE_DEADLINE).await
            }
            (_, Patience::Usual) => act(&mut *session, action, ACTION_DEADLINE).await,
        };
        if let Err(failure) = done {
            outcome = classify(at, action, failure, patience);
            break;
        }
    }
    Ok((session, Ran { on: chain.on.clone(), need: chain.need, outcome }))
}

/// Makes a server refuse writes. Clients whose commits wait would hold that up, so over a
/// connection aside they are sent away while it waits for its turn; from then on nobody else gets
/// to commit. Who waits for the acknowledgement of a replica waits on even so: that is given up
/// last, when nobody is left who could take it for one (I5): not before the server has heard that it
/// is to close, for until then others take the places of those who were sent away.
async fn close(
    mandate: &Mandate,
    session: &mut dyn ControlSession,
    aside: Option<Box<dyn ControlSession>>,
    at_most: Duration,
) -> Result<(), ActionFailure> {
    let end = Instant::now() + at_most;
    let is_in = Notify::new();
    let closing = async {
        let looked = timeout(at_most, session.look()).await;
        looked.unwrap_or_else(|_| Err(silent(at_most))).map_err(ActionFailure::Server)?;
        is_in.notify_one();
        let left = end.saturating_duration_since(Instant::now());
        act(session, &Action::SetReadOnly, left).await
    };
    let sending_away = async {
        let Some(mut aside) = aside else { return };
        // A server lists whoever is only logging in as nobody's, to be sent away: that may be us.
        is_in.notified().await;
        let mut waits = true;
        for round in 1_u32.. {
            tokio::time::sleep(SEND_AWAY_EVERY).await;
            if mandate.check().await.is_err() {
                return;
            }
            // Whoever is left is tried again, and told of by the action that follows.
            let _ = aside.act(&Action::KillClients, at_most).await;
            let is_due = waits && round >= GIVE_UP_ACKNOWLEDGEMENTS_AFTER;
            if is_due && timeout(at_most, aside.is_closing()).await == Ok(true) {
                waits = false;
                let off = Action::SetSemiSyncSource(Switch::Off);
                // Where there is no such thing nobody waits for it.
                let _ = aside.act(&off, at_most).await;
            }
        }
    };
    tokio::pin!(closing);
    tokio::select! {
        biased;
        closed = &mut closing => closed,
        () = sending_away => closing.await,
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
    let rounds = (APPLY_MAX.as_millis() / patience.as_millis().max(1)).max(1);
    let mut before: Option<Progress> = None;
    for _ in 0..rounds {
        match act(session, action, patience).await {
            Err(ActionFailure::Timeout { what, at_most }) => {
                let now = progress(session).await;
                if now.is_none() || now == before {
                    return Err(ActionFailure::Timeout { what, at_most });
                }
                before = now;
            }
            ended => return ended,
        }
    }
    Err(ActionFailure::Timeout { what: "applying everything".into(), at_most: APPLY_MAX })
}

type Progress = (Gtids, baton_topology::binlog::BinlogCoordinates);

/// How far a replica has applied.
async fn progress(session: &mut dyn ControlSession) -> Option<Progress> {
    let reading = timeout(LOOK_DEADLINE, session.look()).await.ok()?.ok()?;
    let channel = reading.facts.main_channel().map(|it| it.executed.clone());
    Some((reading.facts.gtid.executed, channel.unwrap_or_default()))
}

fn classify(at: usize, action: &Action, failure: ActionFailure, patience: Patience) -> Outcome {
    let error = failure.to_string();
    match failure {
        ActionFailure::Refused(_) | ActionFailure::Impossible(_) => Outcome::Refused { at, error },
        // It is known that it did not come about, or (an old primary) that it lives.
        ActionFailure::Timeout { .. }
            if patience == Patience::Fence || matches!(action, Action::WaitExecuted { .. }) =>
        {
            Outcome::Refused { at, error }
        }
        ActionFailure::Timeout { .. } => Outcome::NoAnswer { at, error },
        ActionFailure::Server(failure) => match failure.kind {
            FailureKind::Connect | FailureKind::ConnectionLost | FailureKind::Timeout => {
                Outcome::NoAnswer { at, error }
            }
            // Somebody is there, and does not let us in.
            FailureKind::AccessDenied
            | FailureKind::TooManyConnections
            | FailureKind::Tls
            | FailureKind::Protocol
            | FailureKind::Query => Outcome::Refused { at, error },
        },
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

    #[tokio::test(start_paused = true)]
    async fn nobody_is_sent_away_while_whoever_closes_the_server_is_still_logging_in() {
        let mandate = Script::leading(vec![(0, Ok(7)); 20]).mandate().await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut session = Slow("closes", Arc::clone(&told));
        let aside = Slow("aside", Arc::clone(&told));
        close(&mandate, &mut session, Some(Box::new(aside)), FREEZE_DEADLINE).await.unwrap();
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
        let aside: Box<dyn ControlSession> = Box::new(Hung);
        let failure = close(&mandate, &mut Hung, Some(aside), FREEZE_DEADLINE).await.unwrap_err();
        assert_eq!(began.elapsed(), FREEZE_DEADLINE);
        let outcome = classify(0, &Action::SetReadOnly, failure, Patience::Fence);
        assert!(matches!(outcome, Outcome::NoAnswer { at: 0, .. }), "{outcome:?}");
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
            let (began, aside) = (Instant::now(), Box::new(Hung));
            let ran = carry_out(&mandate, &chain, Box::new(Hung), aside, patience).await;
            assert!(ran.is_ok_and(|(_, ran)| ran.outcome != Outcome::Done));
            assert_eq!(began.elapsed(), expected + GRACE, "{action:?}");
        }
    }
}
