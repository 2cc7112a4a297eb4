//! Does what is done beside recoveries: scouts, fences of former primaries, replicas left behind.

use baton_topology::action::{Action, Threads};
use baton_topology::instance::ThreadState;
use baton_topology::key::InstanceKey;
use baton_topology::recovery::machine::{Outcome, Ran};
use baton_topology::recovery::upkeep::Chore;
use baton_topology::recovery::{Chain, Need, Stage};

use super::RecoveryWorld;
use super::chains::{Patience, Sessions};
use crate::discovery::LookNow;
use crate::mandate::Mandate;
use crate::ports::ProposeError;

/// Does something beside recoveries: noted first, then done, then looked at. Tells of a scout whose
/// receiver does not stop. Not done if the ledger is not the one by which it was judged, `index`.
pub(super) async fn do_chore(
    world: RecoveryWorld,
    chore: Chore,
    index: u64,
) -> Option<InstanceKey> {
    let Chore { note, stage, why, source, done } = chore;
    let agreed = async {
        let mandate = Mandate::obtain(&world.ledger).await?;
        if world.ledger.state().borrow().index != index {
            // What is more is part of the next look.
            return Ok(None);
        }
        mandate.propose(note).await.map(|_| Some(mandate))
    };
    let mandate = match agreed.await {
        Ok(Some(mandate)) => mandate,
        Err(error) => {
            tracing::warn!(why, %error, "cannot see to it");
            return None;
        }
        Ok(None) => return None,
    };
    tracing::warn!(why, "seeing to it");
    if stage.chains.is_empty() {
        return None;
    }
    let mut sessions = Sessions::new(&world);
    let mut failed = None;
    let ran = sessions.run(&mandate, &stage, |_| Patience::Usual).await;
    let mut is_through = ran.is_ok();
    for Ran { on, outcome, .. } in ran.unwrap_or_else(|error| stopped(&why, &error)) {
        if let Outcome::Refused { error, .. }
        | Outcome::NoAnswer { error, .. }
        | Outcome::Untold { error } = outcome
        {
            tracing::error!(%on, error, why, "could not be seen to");
            failed = Some(on);
        }
    }
    let keys: Vec<InstanceKey> = stage.chains.iter().map(|chain| chain.on.clone()).collect();
    // What does not get through is found by the next probe.
    let _ = world.looks.try_send(LookNow(keys));
    let stuck = match (failed, source) {
        (None, _) => None,
        (Some(_), None) => {
            is_through = false;
            None
        }
        (Some(scout), Some(source)) => {
            let is_stuck = has_stuck_receiver(&mut sessions, &scout).await;
            is_through = start_again(&world, &mandate, &mut sessions, &scout, &source).await;
            is_stuck.then_some(scout)
        }
    };
    if let Some(done) = done.filter(|_| is_through)
        && let Err(error) = mandate.propose(done).await
    {
        // Whoever looks at it later finds that it is done.
        tracing::warn!(why, %error, "that it is done is not agreed upon");
    }
    stuck
}

fn stopped(why: &str, error: &ProposeError) -> Vec<Ran> {
    tracing::warn!(why, %error, "not seen to any further");
    Vec::new()
}

/// It answers, and what it was told to stop runs on.
async fn has_stuck_receiver(sessions: &mut Sessions, scout: &InstanceKey) -> bool {
    let seen = sessions.look(std::slice::from_ref(scout)).await;
    let facts = seen.iter().find_map(|it| it.outcome.as_ref().ok());
    let channel = facts.and_then(|facts| facts.main_channel());
    channel.is_some_and(|channel| channel.receiver == ThreadState::Running)
}

/// A scout that may have been stopped and not started is started (I9), unless a recovery has it.
/// Whether it is on its way.
async fn start_again(
    world: &RecoveryWorld,
    mandate: &Mandate,
    sessions: &mut Sessions,
    scout: &InstanceKey,
    source: &InstanceKey,
) -> bool {
    let ledger = world.ledger.state().borrow().clone();
    if ledger.recoveries.values().any(|it| it.is_running() && it.failed() == source) {
        return false;
    }
    let actions = vec![Action::Start(Threads::Receiver)];
    let chain = Chain { on: scout.clone(), actions, need: Need::Should };
    let stage = Stage { chains: vec![chain] };
    let ran = sessions.run(mandate, &stage, |_| Patience::Freeze).await;
    let mut is_on_its_way = ran.is_ok();
    for Ran { on, outcome, .. } in ran.unwrap_or_else(|error| stopped("start again", &error)) {
        if outcome != Outcome::Done {
            is_on_its_way = false;
            tracing::error!(%on, ?outcome, "the receiver of a replica may be left stopped");
        }
    }
    is_on_its_way
}
