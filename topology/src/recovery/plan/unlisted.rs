//! What becomes of servers that say they replicate from what failed, and that it never listed.

use super::super::candidate::Situation;
use super::super::{Recovery, Refused};
use super::rejoin::nothing_of_its_own;
use super::{NAMED_MAX, NEEDS_GTID, misfit};
use crate::cluster::Member;
use crate::instance::Positioning;
use crate::key::InstanceKey;
use crate::membership::Membership;

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

/// Those that count, and those that do not: replicas that were never seen connected, as long as another
/// one answers. Where none does, there is nobody else to go by.
pub(super) fn told_apart<'a>(
    members: Vec<&'a Member>,
    recovery: &Recovery,
) -> (Vec<&'a Member>, Vec<&'a Member>) {
    let is_there = |it: &&Member| is_trusted(it, recovery) && it.instance.is_valid();
    if !members.iter().any(is_there) {
        return (members, Vec::new());
    }
    members.into_iter().partition(|it| is_trusted(it, recovery))
}

/// Those that are neither witnesses nor candidates, in words.
pub(super) fn left_out(
    doubtful: &[&Member],
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Vec<String> {
    let failed = recovery.failed();
    let claimants = situation.cluster.members.values().filter(|it| {
        it.source.as_ref() == Some(failed)
            && it.membership == Membership::Unlisted
            && !is_trusted(it, recovery)
    });
    let keys = claimants.chain(doubtful.iter().copied()).map(Member::key);
    keys.map(|key| format!("{key} does not count: {failed} never listed it as a replica"))
        .take(NAMED_MAX)
        .collect()
}

/// A refusal that says as well who does not count, and what a person can do.
pub(super) fn explained(
    refused: Refused,
    doubtful: &[&Member],
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Refused {
    let mut left_out = left_out(doubtful, recovery, situation);
    if !left_out.is_empty() {
        left_out.push("force-master-takeover promotes one of those all the same".to_owned());
    }
    Refused(refused.0.into_iter().chain(left_out).collect())
}
