//! Replicas that stay behind on purpose: nobody waits until they have applied what they received.
//!
//! A relay log cannot be handed on without being applied, and to apply it at once would take from people
//! what they keep such a replica for. So what only a delayed replica received counts as lost: see
//! [`super::super::loss`].

use crate::applied::has_applied_all;
use crate::cluster::Member;
use crate::key::InstanceKey;

use super::super::Recovery;
use super::super::candidate::Situation;
use super::super::holding::Holding;

/// Those that are delayed for longer than the lag that counts as usual, and have not applied all they
/// received. None of them where there is nobody else, or where it was asked for.
pub(super) fn set_aside<'a>(
    reachable: &[&'a Member],
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Vec<&'a Member> {
    let usual = situation.policy.reasonable_lag.as_secs();
    let is_late = |member: &&Member| {
        delay_seconds(member) > usual
            && !has_applied_all(&member.instance.facts)
            && recovery.wanted.as_ref() != Some(member.key())
    };
    let late: Vec<&Member> = reachable.iter().copied().filter(is_late).collect();
    if late.len() == reachable.len() { Vec::new() } else { late }
}

/// The others, and what they have.
pub(super) fn others<'a>(
    reachable: &[&'a Member],
    all: &[Holding],
    aside: &[&Member],
) -> (Vec<&'a Member>, Vec<Holding>) {
    let is_aside = |key: &InstanceKey| aside.iter().any(|it| it.key() == key);
    let both = reachable.iter().copied().zip(all.iter().cloned());
    both.filter(|(member, _)| !is_aside(member.key())).unzip()
}

/// Those of them that have what neither the successor nor its donor has.
pub(super) fn ahead<'a>(
    aside: &[&'a Member],
    all: &[Holding],
    kept: &[&Holding],
) -> Vec<&'a Member> {
    let is_ahead = |member: &&Member| {
        let own = all.iter().find(|it| it.key == *member.key());
        own.is_some_and(|own| !kept.iter().any(|it| it.covers(own)))
    };
    aside.iter().copied().filter(is_ahead).collect()
}

/// Says who is not waited for, and whether that costs something.
pub(super) fn told(aside: &[&Member], ahead: &[&Member]) -> Vec<String> {
    let line = |member: &&Member| {
        let (key, delay) = (member.key(), delay_seconds(member));
        let cost = match ahead.iter().any(|it| it.key() == key) {
            true => ", though it received what nobody else has: that is lost",
            false => "",
        };
        format!("{key} is delayed by {delay} s on purpose, so it is not waited for{cost}")
    };
    aside.iter().map(line).collect()
}

/// How far a replica stays behind on purpose.
pub(in super::super) fn delay_seconds(member: &Member) -> u64 {
    member.instance.facts.main_channel().map_or(0, |it| u64::from(it.delay_seconds))
}
