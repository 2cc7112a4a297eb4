//! What discovery does from time to time: forget who is not seen, look for who moved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::Context;
use baton_topology::crawl::Standing;
use baton_topology::instance::Instance;
use baton_topology::key::InstanceKey;

use super::{DiscoveryActor, Entry, Wish};
use crate::probe::FirstLook;

impl DiscoveryActor {
    pub(super) fn keep_house(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let snapshot = self.world.snapshot.borrow().clone();
        let horizon = now.minus(snapshot.policy.unseen_forget);
        let is_unseen = |key: &InstanceKey, entry: &Entry| {
            let instance = snapshot.instance(key);
            let seen = instance.and_then(|instance: &Arc<Instance>| instance.health.last_seen);
            // What was not tried since the start gets its chance first.
            seen.unwrap_or(entry.started_at) < horizon && instance.is_none_or(|it| it.is_failed())
        };
        let unseen: Vec<_> = {
            let roster = self.roster();
            let unseen = roster.iter().filter(|(key, entry)| is_unseen(key, entry));
            unseen.map(|(key, _)| key.clone()).collect()
        };
        for key in &unseen {
            tracing::info!(%key, "not seen for long and forgotten");
        }
        self.forget(unseen, ctx);
        self.end_shares();
        self.look_behind_names(ctx);
    }

    /// A dead server may live on behind one of its names, at another address.
    fn look_behind_names(&mut self, ctx: &mut Context<Self>) {
        let snapshot = self.world.snapshot.borrow().clone();
        let names = self.names();
        let mut given_by_canonical: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (given, canonical) in names.iter() {
            given_by_canonical.entry(canonical).or_default().push(given);
        }
        if given_by_canonical.is_empty() {
            return;
        }
        let dead = snapshot.members().filter(|(_, member)| member.instance.is_failed());
        for (_, member) in dead {
            let key = member.key();
            for given in given_by_canonical.get(key.host()).into_iter().flatten() {
                let given = InstanceKey::new(*given, key.port());
                let first = FirstLook::After(Duration::ZERO);
                self.start(given, Wish::of(Standing::Hearsay), first, ctx);
            }
        }
    }
}
