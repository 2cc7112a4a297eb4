//! Who acknowledges while a primary hands over, and once somebody succeeded.
//!
//! Which replicas should acknowledge is people's choice, and none is switched on here. But commits that
//! wait for more acknowledgements than there can be are told, and a primary that is about to hand over
//! keeps those it waits for.

use std::collections::BTreeSet;

use crate::action::{Action, Switch, Threads};
use crate::cluster::Member;
use crate::key::InstanceKey;

use super::super::candidate::Situation;
use super::super::{Acknowledging, Plan, Recovery};

/// The siblings of who takes over that stay where they are until the old primary is closed: moved
/// before that, they would leave it with fewer acknowledgements than it waits for, and its commits would
/// stand still while user processes run.
pub(super) fn kept_back(
    replicas: &[&Member],
    designated: &Member,
    recovery: &Recovery,
) -> BTreeSet<InstanceKey> {
    let Acknowledging::By(count) = recovery.acknowledging else { return BTreeSet::new() };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let needed = count.saturating_sub(usize::from(acknowledges_to(designated, recovery.failed())));
    let others = replicas.iter().filter(|it| it.key() != designated.key());
    let others = others.filter(|it| acknowledges_to(it, recovery.failed()));
    others.take(needed).map(|it| it.key().clone()).collect()
}

fn acknowledges_to(member: &Member, source: &InstanceKey) -> bool {
    may_acknowledge_to(member, source) && member.instance.facts.semi_sync.replica_active
}

/// Whether a replica follows this source and is set up to acknowledge.
pub(super) fn may_acknowledge_to(member: &Member, source: &InstanceKey) -> bool {
    let facts = &member.instance.facts;
    let semi_sync = &facts.semi_sync;
    member.instance.is_valid()
        && facts.source() == Some(source)
        && (semi_sync.replica_enabled || semi_sync.replica_active)
}

/// Why commits on a successor will wait: fewer of those that follow it by this plan acknowledge than it
/// waits for. `None` where enough do, where it waits for none, or is not opened.
pub fn too_few(plan: &Plan, situation: &Situation<'_>) -> Option<String> {
    let successor = situation.cluster.member(&plan.successor)?;
    let semi_sync = &successor.instance.facts.semi_sync;
    let opening = || plan.open.chains.iter().flat_map(|it| &it.actions);
    let switches = |to: Switch| opening().any(|it| *it == Action::SetSemiSyncSource(to));
    let is_opened = opening().any(|it| *it == Action::SetWritable);
    let waits = semi_sync.source_enabled || switches(Switch::On);
    let needed = usize::try_from(semi_sync.wait_for_replicas).unwrap_or(usize::MAX);
    let following = situation.cluster.members.values().filter(|it| follows(it, plan));
    let count = following.filter(|it| it.instance.facts.semi_sync.replica_enabled).count();
    (is_opened && waits && count < needed).then(|| {
        let (key, seconds) = (&plan.successor, semi_sync.source_timeout_ms / 1_000);
        format!(
            "{key} waits for {needed} acknowledgements and {count} of those that follow it give one: \
             its commits wait for up to {seconds} s. Have more replicas acknowledge \
             (RecoverLockedSemiSyncMaster does that), or {key} wait for fewer"
        )
    })
}

/// Whether a server replicates from the successor once the plan is carried out.
fn follows(member: &Member, plan: &Plan) -> bool {
    let own = plan.gather.chains.iter().filter(|it| it.on == *member.key());
    let own: Vec<&Action> = own.flat_map(|it| &it.actions).collect();
    let is_moved =
        own.iter().any(|it| matches!(it, Action::ChangeSource { to, .. } if *to == plan.successor));
    let is_started =
        own.iter().any(|it| matches!(it, Action::Start(Threads::Both | Threads::Receiver)));
    let is_there = member.instance.is_valid()
        && member.instance.facts.source() == Some(&plan.successor)
        && member.key() != &plan.successor;
    (is_moved && is_started) || (own.is_empty() && is_there)
}
