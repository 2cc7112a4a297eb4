//! What other nodes saw of instances, and which of them this node is to probe.

use actix::{Context, Handler, Message};
use baton_topology::crawl::Standing;
use baton_topology::fleet::FleetInput;
use baton_topology::probe::ProbeResult;

use super::{DiscoveryActor, Wish};
use crate::probe::{ProbeActor, ProbeNow, Reassigned, Relieved};
use crate::supervisor::{Child, Queued};

/// Another node looked at an instance.
#[derive(Debug)]
pub struct SeenElsewhere(pub ProbeResult);

impl Message for SeenElsewhere {
    type Result = ();
}

/// Instances are divided among other nodes than before.
#[derive(Debug)]
pub struct DutyChanged;

impl Message for DutyChanged {
    type Result = ();
}

impl DiscoveryActor {
    /// Takes in what another node saw of an instance. Whoever sees it otherwise looks.
    fn compare(&mut self, child: &Child<ProbeActor>, told: ProbeResult, ctx: &mut Context<Self>) {
        let fleet = self.world.snapshot.borrow().clone();
        let known = fleet.instance(&told.key);
        let is_failed_here = known.is_some_and(|it| it.is_failed());
        let tried = known.and_then(|it| it.health.last_attempt);
        let is_due = tried.is_none_or(|it| self.now().since(it) >= fleet.policy.poll_interval);
        match (told.outcome.is_ok(), is_failed_here) {
            (true, false) => {
                // What does not get through costs a look.
                let _ = child.try_send(Relieved);
                self.emit(FleetInput::Relayed(told), ctx);
            }
            // A full mailbox means that looks are waiting there already.
            (true, true) if is_due => _ = child.try_send(ProbeNow::default()),
            (false, false) => _ = child.try_send(ProbeNow::default()),
            (true, true) | (false, true) => {}
        }
    }
}

impl Handler<Queued<SeenElsewhere>> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, message: Queued<SeenElsewhere>, ctx: &mut Self::Context) {
        let (SeenElsewhere(result), _handling) = message.open();
        let child = self.roster().get(&result.key).map(|entry| entry.child.clone());
        match (child, result.outcome.is_ok()) {
            // It exists, then. What it is like this node sees for itself first.
            (None, true) => self.enlist(result.key, Wish::of(Standing::Vouched), ctx),
            (None, false) => {}
            (Some(child), _) => self.compare(&child, result, ctx),
        }
    }
}

impl Handler<Queued<DutyChanged>> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, message: Queued<DutyChanged>, _ctx: &mut Self::Context) {
        let (DutyChanged, _handling) = message.open();
        for entry in self.roster().values() {
            // What does not get through finds out after its next look.
            let _ = entry.child.try_send(Reassigned);
        }
    }
}
