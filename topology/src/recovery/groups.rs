//! Clusters that choose their primary themselves: replication groups, and Galera.
//!
//! Their members are not closed, opened or put below anybody: a group would take itself apart, or
//! somebody would be opened beside it. Replicas of a member are moved as those of any other source.

use crate::cluster::Member;
use crate::instance::{GroupKind, GroupMember};
use crate::snapshot::FleetSnapshot;

use super::{Cause, Kind, Recovery};

/// Why a recovery would meddle with a group.
pub(super) fn objection(
    recovery: &Recovery,
    member: &Member,
    fleet: &FleetSnapshot,
) -> Option<String> {
    let group = member.instance.facts.group.as_ref()?;
    let key = member.key();
    let promotes = matches!(recovery.kind, Kind::Primary | Kind::CoPrimary | Kind::Takeover);
    let is_about_head =
        promotes || matches!(recovery.kind, Kind::ReadOnlyPrimary | Kind::Rejoin | Kind::Regroup);
    if !is_about_head {
        return None;
    }
    if group.is_member() {
        // A person may give up a group of which nobody answers any more.
        let is_given_up = matches!(recovery.cause, Cause::ForcedFailover | Cause::ForcedTakeover)
            && !member.instance.is_valid()
            && other_member(group, member, fleet).is_none();
        return chooses_itself(member).filter(|_| !is_given_up);
    }
    // Who left a group and opened itself since is a primary of its own.
    let may_be_doubled = promotes && member.instance.facts.read_only;
    let other = other_member(group, member, fleet).filter(|_| may_be_doubled)?;
    Some(format!("{key} left its group {}, which goes on: {other} is a member", group.name))
}

/// Whether a server is in a group that chooses its primary itself, for a person.
pub fn chooses_itself(member: &Member) -> Option<String> {
    let group = member.instance.facts.membership()?;
    Some(format!("{} is {}", member.key(), words(group)))
}

/// What a server is, and what can be done instead.
fn words(group: &GroupMember) -> String {
    let name = &group.name;
    match group.kind {
        GroupKind::GroupReplication => format!(
            "a member of replication group {name}, which chooses its primary itself; to choose \
             another one, run on a member: SELECT group_replication_set_as_primary('its server_uuid')"
        ),
        GroupKind::Galera => {
            format!("a node of Galera cluster {name}, in which every node accepts writes")
        }
    }
}

/// Another server that answers and is in this group.
fn other_member(group: &GroupMember, member: &Member, fleet: &FleetSnapshot) -> Option<String> {
    let is_other = |other: &Member| {
        let theirs = other.instance.facts.membership();
        other.key() != member.key()
            && other.instance.is_valid()
            && theirs.is_some_and(|theirs| !theirs.name.is_empty() && theirs.name == group.name)
    };
    fleet.members().map(|(_, other)| other).find(|it| is_other(it)).map(|it| it.key().to_string())
}
