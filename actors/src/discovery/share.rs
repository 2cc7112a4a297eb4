//! How much of discovery one server has that names others.
//!
//! A server leads to others: its replicas, its sources, its group. Whatever it names, it neither fills the
//! fleet nor keeps those waiting that others named.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Context;
use baton_topology::crawl::Standing;
use baton_topology::key::InstanceKey;
use tokio::sync::Semaphore;

use super::{DiscoveryActor, Wish};

/// So many instances are watched at most because one server named them. What it names beyond that is
/// counted, and told once.
pub const NAMED_MAX: usize = 5_000;
/// So many of those that one server named, and that never answered, are resolved or connected to at once.
pub const NAMED_CONNECTING_MAX: usize = 32;

/// The servers that named instances which are watched.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeMap<InstanceKey, Share>);

#[derive(Debug)]
struct Share {
    turns: Arc<Semaphore>,
    /// That it names too many was told.
    is_told: bool,
}

impl Shares {
    fn of(&mut self, namer: &InstanceKey) -> &mut Share {
        self.0.entry(namer.clone()).or_insert_with(|| Share {
            turns: Arc::new(Semaphore::new(NAMED_CONNECTING_MAX)),
            is_told: false,
        })
    }

    /// Where those wait for their turn that a server named.
    pub(super) fn turns(&mut self, namer: &InstanceKey) -> Arc<Semaphore> {
        Arc::clone(&self.of(namer).turns)
    }
}

impl DiscoveryActor {
    /// Follows what a server leads to, as far as its share allows: sources first.
    pub(super) fn follow(
        &mut self,
        namer: &InstanceKey,
        mut named: Vec<(InstanceKey, Standing)>,
        ctx: &mut Context<Self>,
    ) {
        named.sort_by_key(|(_, standing)| Reverse(*standing));
        let mut taken = None;
        let mut refused = 0;
        for (key, standing) in named {
            let wish = Wish::of(standing);
            let canonical = self.names().resolve(&key);
            if canonical == *namer || self.roster().contains_key(&canonical) {
                self.enlist(key, wish, ctx);
                continue;
            }
            let taken = taken.get_or_insert_with(|| self.count_named_by(namer));
            if *taken >= NAMED_MAX {
                refused += 1;
                continue;
            }
            *taken += 1;
            self.enlist(key, Wish { named_by: Some(namer.clone()), ..wish }, ctx);
        }
        if refused > 0 {
            self.world.probes.metrics.dropped("named_instance", refused);
            if !std::mem::replace(&mut self.shares.of(namer).is_told, true) {
                tracing::warn!(
                    %namer, refused, most = NAMED_MAX,
                    "a server names too many others; those beyond its share are not followed"
                );
            }
        }
    }

    fn count_named_by(&self, namer: &InstanceKey) -> usize {
        let is_its = |named_by: &Option<InstanceKey>| named_by.as_ref() == Some(namer);
        let watched = self.roster().values().filter(|it| is_its(&it.named_by)).count();
        let resolving = self.resolving.values().flatten();
        watched + resolving.filter(|it| is_its(&it.named_by)).count()
    }

    /// Forgets servers that nothing is watched for any more.
    pub(super) fn end_shares(&mut self) {
        let roster = self.world.roster.clone();
        let roster = roster.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let in_use: std::collections::BTreeSet<&InstanceKey> =
            roster.values().filter_map(|it| it.named_by.as_ref()).collect();
        self.shares.0.retain(|namer, _| in_use.contains(namer));
    }
}
