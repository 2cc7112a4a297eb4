//! How a server is closed: looked at first, then made to refuse writes while its clients are sent away.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::action::{Action, Switch};
use baton_topology::key::InstanceKey;
use baton_topology::probe::ProbeResult;
use tokio::time::Instant;

use super::{ACTION_DEADLINE, Aside, Patience, act, silent};
use crate::holders::with_holders;
use crate::lateness::timeout;
use crate::mandate::Mandate;
use crate::ports::{ActionFailure, ControlSession};

/// How often clients are sent away while a server is being closed to writes.
const SEND_AWAY_EVERY: Duration = Duration::from_millis(20);
/// So often they are, before the server stops to wait for acknowledgements.
const GIVE_UP_ACKNOWLEDGEMENTS_AFTER: u32 = 4;

/// What a server says before it is closed, and whether it closed. Who is dead in all likelihood has
/// little time to answer; who answers lives, and has all the time that a server needs.
pub(super) async fn close(
    mandate: &Mandate,
    on: &InstanceKey,
    session: &mut dyn ControlSession,
    aside: &mut Aside,
    patience: Patience,
) -> (Option<ProbeResult>, Result<(), ActionFailure>) {
    let Aside { session: aside, clock } = aside;
    let (began, started_at) = (Instant::now(), clock.now());
    let looked = timeout(patience.at_most(), session.look()).await;
    let looked = looked.unwrap_or_else(|_| Err(silent(patience.at_most())));
    let outcome = looked.map(|reading| Arc::new(reading.facts));
    let failure = outcome.as_ref().err().cloned();
    let (key, ended_at, silent_since) = (on.clone(), clock.now(), None);
    let seen = ProbeResult { key, started_at, ended_at, outcome, silent_since };
    let closed = match failure {
        Some(failure) => Err(ActionFailure::Server(failure)),
        None if patience == Patience::Witness => {
            Err(ActionFailure::Refused("it answers again, and is left as it is".into()))
        }
        None => {
            let end = began + ACTION_DEADLINE;
            match close_now(mandate, session, &mut **aside, end).await {
                Ok(()) => Ok(()),
                Err(failure) => Err(with_holders(failure, &mut **aside).await),
            }
        }
    };
    (Some(seen), closed)
}

/// Makes a server refuse writes. Clients whose commits wait would hold that up, so over a
/// connection aside they are sent away while it waits for its turn; from then on nobody else gets
/// to commit. Who waits for the acknowledgement of a replica waits on even so: that is given up
/// last, when nobody is left who could take it for one (I5): not before the server has heard that it
/// is to close, for until then others take the places of those who were sent away.
///
/// A server lists whoever is only logging in as nobody's, to be sent away: `session` is logged in.
async fn close_now(
    mandate: &Mandate,
    session: &mut dyn ControlSession,
    aside: &mut dyn ControlSession,
    end: Instant,
) -> Result<(), ActionFailure> {
    let at_most = end.saturating_duration_since(Instant::now());
    let closing = act(session, &Action::SetReadOnly, at_most);
    let sending_away = async {
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
