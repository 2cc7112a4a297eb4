//! Replicas that wait for acknowledgements themselves, and are held up by it.

use crate::action::{Action, Switch};
use crate::applied::has_applied_all;
use crate::cluster::Member;
use crate::key::InstanceKey;

use super::super::{Recovery, Stage};

/// Whether what a replica has to apply waits for acknowledgements: it is told to ask its own replicas
/// for them, and they may be gone, as what failed is for its other co-primary.
pub(super) fn holds_itself_up(member: &Member) -> bool {
    member.instance.facts.semi_sync.source_enabled && !has_applied_all(&member.instance.facts)
}

/// One that was kept from that waits again once its place is settled.
pub(super) fn wait_again(key: &InstanceKey, recovery: &Recovery) -> Option<Action> {
    recovery.released.contains(key).then_some(Action::SetSemiSyncSource(Switch::On))
}

/// Those that are kept from that by what is prepared.
pub fn released(prepare: &[Stage]) -> impl Iterator<Item = InstanceKey> {
    let chains = prepare.iter().flat_map(|stage| &stage.chains);
    let released = chains.filter(|it| it.actions.contains(&Action::SetSemiSyncSource(Switch::Off)));
    released.map(|it| it.on.clone())
}
