//! Asking for an instance that is not watched yet, or only just begins to be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use baton_topology::crawl::Standing;
use baton_topology::key::InstanceKey;

use super::resolve::HostResolver;
use super::{DiscoveryActor, RESEND_AFTER, Reply, Wish};
use crate::probe::{FirstLook, ProbeNow, Vouch, turn};
use crate::supervisor::Undelivered;

/// So many may ask for an instance while its name is being resolved; more are told to ask again.
const WAITING_MAX: usize = 100;
/// How long a name may take to resolve.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

impl DiscoveryActor {
    /// Passes on to an existing probe what was asked for. One that is only just starting hears of
    /// it a little later, as long as somebody waits for the answer.
    pub(super) fn poke(
        &mut self,
        key: InstanceKey,
        standing: Standing,
        reply: Reply,
        ctx: &mut Context<Self>,
    ) {
        let roster = self.roster();
        let Some(entry) = roster.get(&key) else { return };
        if standing == Standing::Vouched && !entry.counts.load(Ordering::Relaxed) {
            // Whoever vouches does so again after its next probe.
            let _ = entry.child.try_send(Vouch);
        }
        if reply.is_none() {
            return;
        }
        // A full mailbox closes the channel, which tells the caller.
        let sent = entry.child.try_send(ProbeNow { reply });
        if let Err(Undelivered::Down(ProbeNow { reply: Some(reply) })) = sent {
            ctx.run_later(RESEND_AFTER, move |act, ctx| {
                if !reply.is_closed() {
                    let wish = Wish { reply: Some(reply), ..Wish::of(standing) };
                    act.enlist(key, wish, ctx);
                }
            });
        }
    }

    /// Resolves a host before its first probe. Whoever asks for it meanwhile waits for the same
    /// answer.
    pub(super) fn look_up(
        &mut self,
        resolver: Arc<dyn HostResolver>,
        given: InstanceKey,
        wish: Wish,
        ctx: &mut Context<Self>,
    ) {
        let turns = wish.named_by.as_ref().map(|namer| self.shares.turns(namer));
        let waiting = self.resolving.entry(given.clone()).or_default();
        if waiting.len() < WAITING_MAX {
            waiting.push(wish);
        }
        if waiting.len() > 1 {
            return;
        }
        let host = given.host().to_owned();
        let answer = async move {
            let _turn = turn(turns).await;
            tokio::time::timeout(RESOLVE_DEADLINE, resolver.resolve(&host)).await
        };
        ctx.spawn(answer.into_actor(self).map(move |answer, act, ctx| {
            let waiting = act.resolving.remove(&given).unwrap_or_default();
            let key = match answer {
                Ok(Ok(host)) if host != given.host() => {
                    if act.learn(&given, host.as_str()) {
                        act.tell_names(ctx);
                    }
                    InstanceKey::new(host, given.port())
                }
                Ok(Ok(_)) => given,
                // Probing will tell more than a resolver that has no answer.
                Ok(Err(_)) | Err(_) => given,
            };
            for wish in waiting {
                act.start(key.clone(), wish, FirstLook::After(Duration::ZERO), ctx);
            }
        }));
    }
}
