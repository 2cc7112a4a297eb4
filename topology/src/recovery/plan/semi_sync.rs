//! Which replicas acknowledge what their primary writes: enough of them when it waits in vain, or
//! exactly as many as it waits for.
//!
//! Nothing is opened and nobody moves. Whoever is to acknowledge is switched on before anybody is
//! switched off, so that the primary does not wait for want of a replica that was taken from it.

use std::cmp::Reverse;

use crate::action::{Action, Switch, Threads};
use crate::analysis::Code;
use crate::cluster::Member;
use crate::instance::SemiSync;
use crate::key::InstanceKey;
use crate::status::is_replicating;

use super::super::candidate::Situation;
use super::super::{Chain, Loss, Need, Plan, Recovery, Refused, Stage};
use super::{NAMED_MAX, members};

/// How many are to acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// As many as the primary waits for, or more.
    Enough,
    /// As many as the primary waits for: those with the highest priority.
    Exactly,
}

/// The replicas of the primary, as far as they can be spoken of.
struct Replicas<'a> {
    /// May acknowledge; whoever is first goes first.
    candidates: Vec<&'a Member>,
    /// Must not: their priority is 0.
    asynchronous: Vec<&'a Member>,
    /// Are left alone, and why.
    excluded: Vec<String>,
    /// How many acknowledge, those that are left alone too.
    acknowledging: usize,
}

/// Plans which replicas are switched.
pub(super) fn plan(recovery: &Recovery, situation: &Situation<'_>) -> Result<Plan, Refused> {
    let aim = aim(recovery, situation)?;
    let primary = waiting(recovery, situation)?;
    let replicas = Replicas::of(recovery, situation);
    let (on, off) = switches(aim, primary, &replicas)?;
    if let Some(stubborn) = off.iter().find(|member| recovery.tried.contains(member.key())) {
        let reason = format!("{} acknowledges and could not be switched off", stubborn.key());
        return Err(Refused::because(reason));
    }
    // Who failed at it may have been left without a receiver (I9).
    let mut gather = Stage::default();
    gather.chains.extend(recovery.tried.iter().map(|key| start(key.clone())));
    if on.is_empty() && off.is_empty() && gather.chains.is_empty() {
        return Err(Refused::because(format!("{} has the replicas it asks for", primary.key())));
    }
    let idle_sources = replicas.candidates.iter().filter(|it| semi_sync(it).source_enabled);
    let stages = [
        stage(idle_sources.map(|member| Chain {
            on: member.key().clone(),
            actions: vec![Action::SetSemiSyncSource(Switch::Off)],
            need: Need::Should,
        })),
        stage(on.iter().map(|member| switch(member, Switch::On))),
        stage(unlock(recovery).into_iter()),
        stage(off.iter().map(|member| switch(member, Switch::Off))),
    ];
    Ok(Plan {
        successor: primary.key().clone(),
        why: why(primary, &on, &off, replicas.excluded),
        prepare: stages.into_iter().filter(|stage| !stage.chains.is_empty()).collect(),
        open: Stage::default(),
        gather,
        lost: Vec::new(),
        loss: Loss::default(),
    })
}

/// Starts the receivers that may have been left stopped (I9). What was switched stays: whoever was
/// switched on is asked for, and nobody is switched off before enough are on.
pub(super) fn roll_back(recovery: &Recovery) -> Stage {
    let planned = recovery.plan.iter().flat_map(|plan| &plan.prepare);
    let restarted = planned
        .flat_map(|stage| &stage.chains)
        .filter(|chain| chain.actions.contains(&Action::Stop(Threads::Receiver)));
    let mut keys: Vec<_> = restarted.map(|chain| &chain.on).chain(&recovery.tried).collect();
    keys.sort();
    keys.dedup();
    Stage { chains: keys.into_iter().map(|key| start(key.clone())).collect() }
}

fn aim(recovery: &Recovery, situation: &Situation<'_>) -> Result<Aim, Refused> {
    let policy = situation.policy;
    match recovery.analysis.code {
        _ if policy.enforce_exact_semi_sync_replicas => Ok(Aim::Exactly),
        Code::LockedSemiSyncPrimary if policy.recover_locked_semi_sync => Ok(Aim::Enough),
        Code::LockedSemiSyncPrimary => Err(Refused::because(
            "neither RecoverLockedSemiSyncMaster nor EnforceExactSemiSyncReplicas is set",
        )),
        _ => Err(Refused::because("EnforceExactSemiSyncReplicas is not set")),
    }
}

/// The primary, which has to be there and to wait for somebody.
fn waiting<'a>(recovery: &Recovery, situation: &Situation<'a>) -> Result<&'a Member, Refused> {
    let failed = recovery.failed();
    let member = situation.cluster.member(failed).filter(|it| it.instance.is_valid());
    let Some(primary) = member else {
        return Err(Refused::because(format!("{failed} does not answer")));
    };
    let SemiSync { source_enabled, source_active, wait_for_replicas, .. } = *semi_sync(primary);
    if source_enabled && source_active && wait_for_replicas > 0 {
        return Ok(primary);
    }
    Err(Refused::because(format!("{failed} does not wait for acknowledgements")))
}

impl<'a> Replicas<'a> {
    fn of(recovery: &Recovery, situation: &Situation<'a>) -> Self {
        let mut found = Self {
            candidates: Vec::new(),
            asynchronous: Vec::new(),
            excluded: Vec::new(),
            acknowledging: 0,
        };
        for member in members(recovery, situation) {
            let is_ours = member.instance.facts.source() == Some(recovery.failed());
            found.acknowledging += usize::from(is_ours && acknowledges_still(member));
            if let Some(reason) = exclusion(member, recovery) {
                found.excluded.push(format!("{}: {reason}", member.key()));
            } else if semi_sync(member).priority == 0 || must_not_be_switched_on(member) {
                found.asynchronous.push(member);
            } else {
                found.candidates.push(member);
            }
        }
        found.candidates.sort_by_key(|member| {
            let priority = Reverse(semi_sync(member).priority);
            // One that has what nobody else has is no witness worth waiting for.
            let is_errant = !member.errant.is_empty();
            (is_errant, priority, situation.rule(member), member.key().clone())
        });
        found
    }
}

/// Why a replica is left as it is.
fn exclusion(member: &Member, recovery: &Recovery) -> Option<&'static str> {
    let state = semi_sync(member);
    let has_replica_side = state.available || state.replica_side_is_new || state.replica_enabled;
    if !member.instance.is_valid() {
        Some("it does not answer")
    } else if recovery.tried.contains(member.key()) && !acknowledges_still(member) {
        Some("it could not be switched")
    } else if member.instance.facts.source() != Some(recovery.failed()) {
        Some("it replicates from somebody else")
    } else if !is_replicating(&member.instance) {
        Some("it does not replicate")
    } else if !has_replica_side {
        Some("semi-sync replication is not available")
    } else if must_not_be_switched_on(member) && !acknowledges_still(member) {
        Some("it has errant transactions")
    } else {
        None
    }
}

/// It is never promoted by itself, so what only it acknowledged would be lost (I5): it is not switched
/// on, nor again if it only acknowledges until it connects anew.
fn must_not_be_switched_on(member: &Member) -> bool {
    !member.errant.is_empty() && !acknowledges(member)
}

type Switched<'a> = (Vec<&'a Member>, Vec<&'a Member>);

/// Who is switched on, and who off.
fn switches<'a>(
    aim: Aim,
    primary: &Member,
    replicas: &Replicas<'a>,
) -> Result<Switched<'a>, Refused> {
    let SemiSync { wait_for_replicas, source_clients, .. } = *semi_sync(primary);
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let candidates = &replicas.candidates;
    match aim {
        Aim::Enough => {
            let missing = count(wait_for_replicas.saturating_sub(source_clients));
            let idle = candidates.iter().copied().filter(|it| !acknowledges(it));
            let on: Vec<&Member> = idle.take(missing).collect();
            if on.len() < missing {
                return Err(too_few(primary, on.len(), missing, replicas));
            }
            Ok((on, Vec::new()))
        }
        Aim::Exactly => {
            let wanted = count(wait_for_replicas);
            // Whoever is not known may be the one to stay, and is not switched off (I3).
            if replicas.acknowledging < count(source_clients) {
                return Err(Refused::because(format!(
                    "{} has {source_clients} replicas that acknowledge, and {} of them are known",
                    primary.key(),
                    replicas.acknowledging
                )));
            }
            if candidates.len() < wanted {
                return Err(too_few(primary, candidates.len(), wanted, replicas));
            }
            let (first, rest) = candidates.split_at(wanted);
            let on = first.iter().copied().filter(|it| !acknowledges(it));
            let others = rest.iter().chain(&replicas.asynchronous).copied();
            // One that was switched off but not restarted goes on acknowledging.
            let off = others.filter(|it| semi_sync(it).replica_enabled || acknowledges_still(it));
            Ok((on.collect(), off.collect()))
        }
    }
}

fn too_few(primary: &Member, found: usize, needed: usize, replicas: &Replicas<'_>) -> Refused {
    let SemiSync { wait_for_replicas, source_clients, .. } = semi_sync(primary);
    let mut reasons = vec![format!(
        "{} waits for {wait_for_replicas} acknowledgements and {source_clients} replicas give one: \
         {needed} are needed and {found} can be had",
        primary.key()
    )];
    if replicas.asynchronous.iter().any(|it| semi_sync(it).priority == 0) {
        let key = "DetectSemiSyncEnforcedQuery";
        let none = replicas.asynchronous.iter().filter(|it| semi_sync(it).priority == 0);
        let keys = none.take(NAMED_MAX);
        let keys: Vec<String> = keys.map(|member| member.key().to_string()).collect();
        reasons.push(format!("{key} gives {} no priority above 0", keys.join(", ")));
    }
    reasons.extend(replicas.excluded.iter().take(NAMED_MAX).cloned());
    Refused(reasons)
}

/// The flag counts from the moment the receiver connects: a replica may bear it and not live by it.
fn acknowledges(member: &Member) -> bool {
    semi_sync(member).replica_enabled && acknowledges_still(member)
}

fn acknowledges_still(member: &Member) -> bool {
    semi_sync(member).replica_active
}

fn semi_sync(member: &Member) -> &SemiSync {
    &member.instance.facts.semi_sync
}

fn stage(chains: impl Iterator<Item = Chain>) -> Stage {
    Stage { chains: chains.collect() }
}

/// A replica that has what its source waits for is not sent it again, and never acknowledges it,
/// unless it acknowledges something later.
fn unlock(recovery: &Recovery) -> Option<Chain> {
    let is_locked = recovery.analysis.code == Code::LockedSemiSyncPrimary;
    let on = recovery.failed().clone();
    is_locked.then(|| Chain { on, actions: vec![Action::WriteNothing], need: Need::Should })
}

/// The receiver tells its source only once whether it acknowledges: when it connects. The applier
/// runs on, so that what was received stays, on MariaDB too (I5).
fn switch(member: &Member, to: Switch) -> Chain {
    let restart = [Action::Stop(Threads::Receiver), Action::Start(Threads::Receiver)];
    let actions = std::iter::once(Action::SetSemiSyncReplica(to)).chain(restart).collect();
    Chain { on: member.key().clone(), actions, need: Need::Must }
}

fn start(on: InstanceKey) -> Chain {
    Chain { on, actions: vec![Action::Start(Threads::Receiver)], need: Need::Should }
}

fn why(primary: &Member, on: &[&Member], off: &[&Member], excluded: Vec<String>) -> Vec<String> {
    let SemiSync { wait_for_replicas, source_clients, .. } = semi_sync(primary);
    let mut why = vec![format!(
        "{} waits for {wait_for_replicas} acknowledgements and {source_clients} replicas give one",
        primary.key()
    )];
    let line = |member: &Member, verb: &str| {
        let priority = semi_sync(member).priority;
        format!("{} {verb} from now on (priority {priority})", member.key())
    };
    why.extend(on.iter().map(|member| line(member, "acknowledges")));
    why.extend(off.iter().map(|member| line(member, "does not acknowledge")));
    why.extend(excluded.into_iter().map(|reason| format!("left alone: {reason}")));
    why.truncate(NAMED_MAX);
    why
}
