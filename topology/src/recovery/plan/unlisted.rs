//! What becomes of servers that say they replicate from what failed, and that it never listed.

use super::super::candidate::Situation;
use super::super::{Recovery, Refused};
use super::rejoin::nothing_of_its_own;
use super::{NAMED_MAX, NEEDS_GTID, misfit};
use crate::cluster::Member;
use crate::instance::Positioning;
use crate::key::InstanceKey;

/// Whether what a member has counts: its source listed it, as far as is known, or a person named it.
pub(in crate::recovery) fn is_trusted(member: &Member, recovery: &Recovery) -> bool {
    member.is_recognized() || recovery.wanted.as_ref() == Some(member.key())
}

/// Why a replica that was never seen connected cannot follow the successor. What it has was not
/// compared with what others have, so it must not have anything of its own.
pub(super) fn obstacle(
    member: &Member,
    successor: &InstanceKey,
    situation: &Situation<'_>,
) -> Option<String> {
    if !member.instance.is_valid() {
        return Some("it does not answer".to_owned());
    }
    let channel = member.instance.facts.main_channel();
    if channel.is_none_or(|it| it.positioning == Positioning::File) {
        return Some(NEEDS_GTID.to_owned());
    }
    let successor = situation.cluster.member(successor)?;
    let own = || nothing_of_its_own(member, successor).err().map(|it| it.to_string());
    misfit(member, successor, situation).or_else(own)
}

/// Those that are neither witnesses nor candidates, in words.
pub(super) fn left_out(recovery: &Recovery, situation: &Situation<'_>) -> Vec<String> {
    let failed = recovery.failed();
    let claimants = situation
        .cluster
        .members
        .values()
        .filter(|it| it.source.as_ref() == Some(failed) && !is_trusted(it, recovery));
    let words = claimants
        .map(|it| format!("{} does not count: {failed} never listed it as a replica", it.key()));
    words.take(NAMED_MAX).collect()
}

/// A refusal that says as well who does not count, and what a person can do.
pub(super) fn explained(
    refused: Refused,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Refused {
    let mut left_out = left_out(recovery, situation);
    if !left_out.is_empty() {
        left_out.push("force-master-takeover promotes one of those all the same".to_owned());
    }
    Refused(refused.0.into_iter().chain(left_out).collect())
}
