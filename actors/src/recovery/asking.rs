//! Has the other nodes asked about a failure before a recovery of it begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use baton_topology::key::InstanceKey;
use baton_topology::quorum::{self, Poll, Polls, Verdict};
use baton_topology::recovery::Recovery;
use baton_topology::recovery::gate::Request;
use baton_topology::time::Timestamp;

use super::RecoveryActor;
use crate::mandate::Mandate;
use crate::ports::ProposeError;
use crate::quorum::Ballot;

/// The pause before the same is asked again, at first; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// It is never longer.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Who was asked about so long ago is asked about as if it were the first time.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// Questions under way, and pauses between them. At most one question about an instance.
#[derive(Default)]
pub(super) struct Asking(BTreeMap<InstanceKey, Asked>);

struct Asked {
    tries: u32,
    /// Until then it is not asked again; `None` while nobody has answered.
    pause_until: Option<Timestamp>,
}

impl Asking {
    /// Whether it may be asked now; if so, it counts as being asked.
    fn begin(&mut self, key: &InstanceKey, now: Timestamp) -> bool {
        let is_over = |it: &Asked| it.pause_until.is_some_and(|it| now.since(it) > FORGET_AFTER);
        self.0.retain(|_, asked| !is_over(asked));
        let asked = self
            .0
            .entry(key.clone())
            .or_insert(Asked { tries: 0, pause_until: Some(Timestamp::EPOCH) });
        if asked.pause_until.is_none_or(|until| now < until) {
            return false;
        }
        asked.pause_until = None;
        true
    }

    /// The answer is there. Returns the pause before the next question.
    fn end(&mut self, key: &InstanceKey, now: Timestamp) -> Duration {
        let Some(asked) = self.0.get_mut(key) else { return PAUSE_MIN };
        let pause = PAUSE_MIN.saturating_mul(1 << asked.tries.min(10)).min(PAUSE_MAX);
        asked.tries += 1;
        asked.pause_until = Some(now.plus(pause));
        pause
    }
}

impl RecoveryActor {
    /// Takes note of how many nodes there are.
    pub(super) fn count_nodes(&mut self) {
        let Some(electorate) = &self.world.electorate else { return };
        let nodes = electorate.nodes();
        if self.polls.nodes != nodes {
            self.polls = Arc::new(Polls { nodes, ..(*self.polls).clone() });
            electorate.publish(&self.polls);
        }
    }

    /// Keeps the ways to the others open while this node leads.
    pub(super) fn call_roll(&mut self, ctx: &mut Context<Self>) {
        let leads = self.world.ledger.leading().borrow().is_some();
        if let Some(electorate) = self.world.electorate.clone().filter(|_| leads) {
            ctx.spawn(async move { electorate.call_roll().await }.into_actor(self));
        }
    }

    /// Asks the other nodes, if that is all that a recovery waits for. That this node leads is
    /// proven meanwhile.
    pub(super) fn ask_others(&mut self, request: &Request, ctx: &mut Context<Self>) {
        let Some(electorate) = self.world.electorate.clone() else { return };
        let Ok(recovery) = self.judge_given(request, &Arc::default()) else { return };
        let now = self.world.clock.now();
        if !quorum::is_subject(&recovery) || !self.asking.begin(&request.key, now) {
            return;
        }
        let fleet = self.world.snapshot.borrow().clone();
        let ballot = Ballot { question: quorum::question(&recovery, &fleet), fleet };
        let (ledger, clock) = (Arc::clone(&self.world.ledger), Arc::clone(&self.world.clock));
        let asked = async move {
            let (poll, mandate) = tokio::join!(electorate.poll(ballot), Mandate::obtain(&ledger));
            let took = clock.now().since(poll.asked_at);
            (poll, took, mandate)
        };
        let request = request.clone();
        ctx.spawn(asked.into_actor(self).map(move |(poll, took, mandate), act, ctx| {
            act.world.metrics.polled(&poll.verdict, took);
            act.answered(&request, poll, mandate, ctx);
        }));
    }

    fn answered(
        &mut self,
        request: &Request,
        poll: Poll,
        mandate: Result<Mandate, ProposeError>,
        ctx: &mut Context<Self>,
    ) {
        let key = &request.key;
        let is_confirmed = poll.verdict.is_confirmed();
        self.note(poll);
        let pause = self.asking.end(key, self.world.clock.now());
        if self.busy.contains(key) {
            return;
        }
        if is_confirmed
            && let Ok(mandate) = mandate
            && let Ok(recovery) = self.judge(request)
        {
            self.busy.insert(key.clone());
            self.agree(self.attested(recovery), mandate, None, ctx);
            return;
        }
        let request = request.clone();
        // Whatever else changes meanwhile is news, and leads here sooner.
        ctx.run_later(pause, move |act, ctx| act.attempt(&request, ctx));
    }

    /// Keeps what the others said. It is told when it is not what they said before.
    fn note(&mut self, poll: Poll) {
        let key = poll.question.key.clone();
        let before = self.polls.newest.get(&key).map(|it| &it.verdict);
        if before != Some(&poll.verdict) {
            match &poll.verdict {
                Verdict::Confirmed { .. } => {
                    tracing::info!(%key, said = poll.line(), "a failure is confirmed");
                }
                Verdict::Unconfirmed(_) | Verdict::Vetoed { .. } => {
                    tracing::warn!(%key, said = poll.line(), "a failure is not confirmed");
                }
            }
        }
        self.polls = Arc::new(self.polls.with(poll));
        if let Some(electorate) = &self.world.electorate {
            electorate.publish(&self.polls);
        }
    }

    /// The same recovery, with what the other nodes said of it in its log.
    pub(super) fn attested(&self, mut recovery: Recovery) -> Recovery {
        let poll = self.polls.newest.get(recovery.failed());
        if let Some(poll) = poll.filter(|it| {
            quorum::is_subject(&recovery)
                && recovery.begun_at.since(it.asked_at) <= quorum::POLL_COUNTS_FOR
        }) {
            recovery.say(self.world.clock.now(), &poll.line());
        }
        recovery
    }
}
