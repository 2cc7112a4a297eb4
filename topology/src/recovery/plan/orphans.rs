//! Where the replicas of a dead intermediate source, of a dead group member, or of a primary that
//! was replaced before, go.

use std::cmp::Reverse;

use crate::cluster::Member;
use crate::instance::{Positioning, PromotionRule};

use super::super::candidate::Situation;
use super::super::{Chain, Kind, Loss, Need, Plan, Recovery, Refused, Stage};
use super::rejoin::nothing_of_its_own;
use super::{NEEDS_GTID, bring, lost, members, misfit};

/// Plans new places: below a sibling in the same data centre and environment, a sibling
/// elsewhere, or the source of what failed, in this order.
pub(super) fn plan(recovery: &Recovery, situation: &Situation<'_>) -> Result<Plan, Refused> {
    let failed = recovery.failed();
    let orphans = members(recovery, situation);
    let Some(member) = situation.cluster.member(failed) else {
        return Err(Refused::because(format!("{failed} is not known")));
    };
    let places = places(member, recovery, situation);
    let mut reasons = Vec::new();
    for place in &places {
        // Whoever may have been a primary of its own that only imported from there: its replicas
        // have what nobody there has (I3).
        let facts = &member.instance.facts;
        let is_named = facts.main_channel().is_some_and(|it| !it.name.is_empty());
        let is_doubtful =
            member.source.as_ref() == Some(place.key()) && (is_named || !facts.read_only);
        let own = |orphan: &Member| {
            let own = nothing_of_its_own(orphan, place).err().filter(|_| is_doubtful)?;
            Some(own.to_string())
        };
        let obstacle = |orphan: &Member| obstacle(orphan, place, situation).or_else(|| own(orphan));
        match take_in(place, &orphans, recovery, obstacle) {
            Ok(plan) => return Ok(plan),
            Err(Refused(obstacles)) => reasons.extend(obstacles),
        }
    }
    if places.is_empty() {
        reasons.push(format!(
            "there is nobody else in the cluster whom replicas of {failed} could follow"
        ));
    }
    Err(Refused(reasons))
}

/// Plans how those whom a recovery did not reach follow the one that replaced their source. Who
/// has something of its own stays where it is: a person has to look at it (I3).
pub(super) fn regroup(recovery: &Recovery, situation: &Situation<'_>) -> Result<Plan, Refused> {
    let failed = recovery.failed();
    let primary = recovery.wanted.as_ref().and_then(|key| situation.cluster.member(key));
    let Some(primary) = primary.filter(|it| it.instance.is_valid()) else {
        return Err(Refused::because(format!("whoever replaced {failed} does not answer")));
    };
    // A co-primary that was promoted goes on following the other one.
    let mut stragglers = members(recovery, situation);
    stragglers.retain(|it| it.key() != primary.key());
    if stragglers.is_empty() {
        return Err(Refused::because(format!("nobody is left below {failed}")));
    }
    take_in(primary, &stragglers, recovery, |orphan| {
        let own = || nothing_of_its_own(orphan, primary).err().map(|it| it.to_string());
        obstacle(orphan, primary, situation).or_else(own)
    })
}

/// Moves those who have no obstacle.
fn take_in(
    place: &Member,
    orphans: &[&Member],
    recovery: &Recovery,
    obstacle: impl Fn(&Member) -> Option<String>,
) -> Result<Plan, Refused> {
    let mut chains = Vec::new();
    let mut left = Vec::new();
    for orphan in orphans {
        match obstacle(orphan) {
            None => chains.push(Chain {
                on: orphan.key().clone(),
                actions: bring(orphan, place.key(), recovery),
                need: Need::Should,
            }),
            Some(why) => left.push(lost(orphan, &why)),
        }
    }
    if chains.is_empty() {
        return Err(Refused(left.iter().map(|it| format!("{}: {}", it.key, it.why)).collect()));
    }
    Ok(Plan {
        successor: place.key().clone(),
        why: vec![format!("{} can take {} of {}", place.key(), chains.len(), orphans.len())],
        prepare: Vec::new(),
        open: Stage::default(),
        gather: Stage { chains },
        lost: left,
        loss: Loss::default(),
    })
}

/// Who could take them, the best first.
fn places<'a>(failed: &Member, recovery: &Recovery, situation: &Situation<'a>) -> Vec<&'a Member> {
    let takes = |member: &&Member| {
        let facts = &member.instance.facts;
        let is_orphan = recovery.replicas.contains(member.key());
        let is_chosen = recovery.wanted.as_ref().is_none_or(|wanted| wanted == member.key());
        let gets_nothing = facts.main_channel().is_none() && facts.membership().is_none();
        let hands_on = facts.binlog.enabled && (facts.binlog.logs_replica_updates || gets_nothing);
        member.key() != failed.key()
            && !is_orphan
            && is_chosen
            && hands_on
            && member.instance.is_valid()
            && situation.ledger.maintenance_of(member.key(), situation.now).is_none()
            && facts
                .membership()
                .is_none_or(|group| group.state == "ONLINE" && !group.has_lost_majority)
    };
    let is_source = |member: &Member| failed.source.as_ref() == Some(member.key());
    let is_sibling = |member: &Member| match recovery.kind {
        Kind::GroupMember => group(member).is_some() && group(member) == group(failed),
        _ => failed.source.is_some() && member.source == failed.source,
    };
    let may_promote = |member: &Member| situation.rule(member) != PromotionRule::MustNot;
    let rank = |member: &Member| {
        let (own, lost) = (&member.instance.facts.placement, &failed.instance.facts.placement);
        (
            is_source(member),
            own.data_center != lost.data_center || own.environment != lost.environment,
            situation.rule(member),
            Reverse(member.replicas.len()),
            member.key().clone(),
        )
    };
    let mut found: Vec<&Member> = situation
        .cluster
        .members
        .values()
        .filter(takes)
        .filter(|it| is_source(it) || (is_sibling(it) && may_promote(it)))
        .collect();
    found.sort_by_key(|member| rank(member));
    found
}

fn group(member: &Member) -> Option<&str> {
    member.instance.facts.membership().map(|group| group.name.as_str())
}

fn obstacle(orphan: &Member, place: &Member, situation: &Situation<'_>) -> Option<String> {
    if !orphan.instance.is_valid() {
        return Some("it does not answer".to_owned());
    }
    let channel = orphan.instance.facts.main_channel();
    if channel.is_none_or(|it| it.positioning == Positioning::File) {
        return Some(NEEDS_GTID.to_owned());
    }
    let group = place.instance.facts.membership();
    if let Some(group) = group.filter(|group| group.has_own_gtids) {
        return Some(format!(
            "the nodes of Galera cluster {} log transactions under GTIDs of their own \
             (wsrep_gtid_mode), so its place in another one's log is not known",
            group.name
        ));
    }
    misfit(orphan, place, situation)
}
