//! Whether a recovery may begin.
//!
//! A person's command passes the same gate as baton's own decision; what it overrides is said
//! here, and nowhere else (I8).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::action::Threads;
use crate::analysis::{Analysis, Code};
use crate::cluster::{Cluster, Member};
use crate::filter::any_matches;
use crate::instance::{Instance, ThreadState};
use crate::key::InstanceKey;
use crate::ledger::LedgerState;
use crate::membership::Membership;
use crate::quorum::{isolation, unconfirmed};
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

use super::breaker::breaker;
use super::candidate::Situation;
use super::check::check;
use super::former::{not_probed_since, replaced, replacement, rivals};
use super::machine::LOST_IN_RECOVERY;
use super::plan::plan;
use super::scene::scene;
use super::scouts::{is_under_test, may_be_stopped_for_test};
use super::{Acknowledging, Cause, End, Fencing, Hooks, Kind, Phase, Recovery, Refused};

/// A recovery that changed nothing for good is tried again after this: what stood against it may
/// be gone, and nobody may be there to say so.
pub const ROLLED_BACK_BLOCK: Duration = Duration::from_secs(60);
/// No more recoveries than this run at the same time of baton's own accord; the rest begins when one
/// of them ends.
pub const RUNNING_MAX: usize = 64;

/// Who runs a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// A name for the recovery that nobody ever used.
    pub uid: Arc<str>,
    /// The node.
    pub node: String,
    /// Its token.
    pub token: String,
}

/// What somebody, or baton itself, wants to recover from.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The instance.
    pub key: InstanceKey,
    /// Why.
    pub cause: Cause,
    /// Who has to succeed, if that is said.
    pub wanted: Option<InstanceKey>,
    /// Whether user processes run.
    pub hooks: Hooks,
    /// Whether what failed may go on accepting writes.
    pub fencing: Fencing,
}

/// Makes the recovery that a request asks for, if it may begin.
///
/// # Errors
/// With all reasons against it (I13).
pub fn begin(
    request: &Request,
    fleet: &FleetSnapshot,
    runner: &Runner,
    now: Timestamp,
) -> Result<Recovery, Refused> {
    let Some((cluster, member)) = fleet.member(&request.key) else {
        return Err(Refused::because(format!("{} is not known", request.key)));
    };
    let analysis = subject(request, cluster, now)?;
    let kind = match request.cause {
        Cause::Found | Cause::Hung | Cause::Asked => Kind::of(analysis.code),
        Cause::ForcedFailover | Cause::ForcedTakeover => Some(Kind::Primary),
        Cause::Takeover | Cause::TakeoverAuto => Some(Kind::Takeover),
        Cause::Rejoin | Cause::RejoinAuto => Some(Kind::Rejoin),
        Cause::RegroupAuto => Some(Kind::Regroup),
    };
    let Some(kind) = kind else {
        return Err(Refused::because(format!("there is no recovery for {:?}", analysis.code)));
    };
    let recovery = draft(request, kind, analysis, (cluster, member), runner, now);
    let (recovery, cluster) = settled(recovery, cluster, member, fleet)?;
    if let Some(why) = super::groups::objection(&recovery, member, fleet) {
        return Err(Refused::because(why));
    }
    let reasons = match request.cause {
        Cause::Found | Cause::Hung => {
            let mut reasons = held_back(&recovery, cluster, fleet, now);
            reasons.extend(unconfirmed(&recovery, fleet, now));
            reasons
        }
        // Nothing failed, so there is nothing for others to confirm.
        Cause::RegroupAuto => held_back(&recovery, cluster, fleet, now),
        // Whoever asks again and again would have receivers restarted again and again.
        _ if kind == Kind::SemiSync => {
            busy(&recovery, fleet).into_iter().chain(flapping(&recovery, fleet, now)).collect()
        }
        _ => busy(&recovery, fleet).into_iter().collect(),
    };
    if !reasons.is_empty() {
        return Err(Refused(reasons));
    }
    // What cannot work out is refused before anything is touched.
    let scene = scene(&recovery, fleet);
    let situation = Situation {
        cluster: &scene,
        returned: None,
        ledger: &fleet.ledger,
        policy: &fleet.policy,
        now,
    };
    let mut settled = recovery.clone();
    if recovery.kind == Kind::Takeover {
        settled.wanted = Some(super::plan::arrange(&recovery, &situation)?.0);
    }
    let plan = plan(&settled, &situation)?;
    check(&plan, &settled, &situation).map(|()| recovery)
}

/// Whom it is about in the end, and in which cluster.
fn settled<'a>(
    mut recovery: Recovery,
    cluster: &'a Cluster,
    member: &Member,
    fleet: &'a FleetSnapshot,
) -> Result<(Recovery, &'a Cluster), Refused> {
    recovery.acknowledging = acknowledging(member, &fleet.ledger);
    recovery.stood_still = standing_still(cluster, member, &fleet.ledger, recovery.begun_at);
    let replaced = replaced(member, fleet);
    match (recovery.kind, replaced) {
        (Kind::Rejoin, _) => {
            // They come along with it, untouched.
            recovery.replicas.clear();
            if recovery.wanted.is_none() {
                recovery.wanted = replacement(member.key(), fleet).map(|(_, head)| head);
            }
        }
        (Kind::Regroup, None) => {
            return Err(Refused::because(format!("{} was not replaced", member.key())));
        }
        // There is a primary: another one would make two (I6).
        (Kind::Regroup | Kind::Primary | Kind::CoPrimary, Some((replaced, head))) => {
            if member.replicas.is_empty() {
                let (id, key) = (replaced.id, member.key());
                return Err(Refused::because(format!(
                    "{key} was replaced in recovery {id}, and {head} is the primary now"
                )));
            }
            if let Some(why) = not_probed_since(replaced, member, fleet) {
                return Err(Refused::because(why));
            }
            recovery.replicas.extend(unseen_replicas(member, fleet));
            let theirs = fleet.member(&head).map_or(cluster, |(theirs, _)| theirs);
            return Ok((regrouping(recovery, theirs, head), theirs));
        }
        (Kind::Primary | Kind::CoPrimary, None) => {
            recovery.replicas.extend(unseen_replicas(member, fleet));
        }
        (Kind::ReadOnlyPrimary, _) => {
            let rivals = rivals(cluster, member, fleet);
            if !rivals.is_empty() {
                return Err(Refused(rivals));
            }
        }
        _ => {}
    }
    Ok((recovery, cluster))
}

/// Threads of its replicas that somebody else has stopped: not baton, which starts them itself.
fn standing_still(
    cluster: &Cluster,
    member: &Member,
    ledger: &LedgerState,
    now: Timestamp,
) -> BTreeMap<InstanceKey, Threads> {
    let is_left_behind = |key: &InstanceKey| {
        let newest = ledger.recoveries.values().rfind(|it| it.changes(key));
        newest.is_some_and(|it| it.failed_on.contains(key))
    };
    let replicas = member.replicas.iter().filter_map(|key| cluster.member(key));
    let standing = replicas.filter(|it| !is_left_behind(it.key())).filter_map(|it| {
        let channel = it.instance.facts.main_channel()?;
        let is_tested = may_be_stopped_for_test(it.key(), member.key(), ledger, now);
        let receiver = channel.receiver == ThreadState::Stopped && !is_tested;
        let threads = match (receiver, channel.applier == ThreadState::Stopped) {
            (true, true) => Threads::Both,
            (true, false) => Threads::Receiver,
            (false, true) => Threads::Applier,
            (false, false) => return None,
        };
        Some((it.key().clone(), threads))
    });
    standing.collect()
}

/// Nobody is promoted: whoever still follows the former primary follows the new one.
fn regrouping(recovery: Recovery, cluster: &Cluster, head: InstanceKey) -> Recovery {
    Recovery {
        kind: Kind::Regroup,
        hooks: Hooks::Skip,
        wanted: Some(head),
        cluster: cluster.id.clone(),
        cluster_name: cluster.name(),
        cluster_alias: cluster.alias.clone(),
        cluster_domain: cluster.domain.clone(),
        ..recovery
    }
}

fn draft(
    request: &Request,
    kind: Kind,
    analysis: Analysis,
    (cluster, member): (&Cluster, &Member),
    runner: &Runner,
    now: Timestamp,
) -> Recovery {
    Recovery {
        id: 0,
        uid: Arc::clone(&runner.uid),
        cluster: cluster.id.clone(),
        cluster_name: cluster.name(),
        cluster_alias: cluster.alias.clone(),
        cluster_domain: cluster.domain.clone(),
        kind,
        cause: request.cause,
        analysis,
        wanted: request.wanted.clone(),
        hooks: request.hooks,
        replicas: replicas(cluster, member, request.wanted.as_ref()),
        acknowledging: Acknowledging::Off,
        stood_still: BTreeMap::new(),
        fencing: request.fencing,
        followed: member.source.clone(),
        beside: writable_beside(member, cluster),
        node: runner.node.clone(),
        token: runner.token.clone(),
        begun_at: now,
        ended_at: None,
        phase: Phase::Announcing,
        plan: None,
        successor: None,
        tried: Vec::new(),
        freezes: 0,
        openings: 0,
        closed: false,
        fenced: false,
        lost: Vec::new(),
        errors: Vec::new(),
        failed_on: BTreeSet::new(),
        untold: BTreeSet::new(),
        released: BTreeSet::new(),
        log: Vec::new(),
        acknowledged: None,
    }
}

/// Who accepted writes beside a writable server when both were last seen, and was meant to: whoever
/// is in a ring with it.
fn writable_beside(member: &Member, cluster: &Cluster) -> Vec<InstanceKey> {
    let is_open = |it: &&Member| !it.instance.facts.read_only;
    let mut ring: Vec<&Member> = Vec::new();
    let mut at = member.source.as_ref().and_then(|key| cluster.member(key));
    while let Some(above) =
        at.filter(|it| ring.len() < cluster.members.len() && it.key() != member.key())
    {
        ring.push(above);
        at = above.source.as_ref().and_then(|key| cluster.member(key));
    }
    if at.is_none_or(|it| it.key() != member.key()) || !is_open(&member) {
        return Vec::new();
    }
    ring.into_iter().filter(is_open).map(|it| it.key().clone()).collect()
}

/// Whether a primary waits for acknowledgements. Who was opened after it was seen last goes on as
/// the one before it did (I5).
fn acknowledging(member: &Member, ledger: &LedgerState) -> Acknowledging {
    let seen = member.instance.health.facts_from;
    let semi_sync = &member.instance.facts.semi_sync;
    let opened_since = ledger.recoveries.values().rfind(|it| {
        it.kind.promotes() && it.successor.as_ref() == Some(member.key()) && it.ended_at >= seen
    });
    match opened_since {
        Some(opened) => opened.acknowledging,
        None if semi_sync.source_active => Acknowledging::By(semi_sync.wait_for_replicas),
        None if semi_sync.source_enabled => Acknowledging::Lapsed,
        None => Acknowledging::Off,
    }
}

/// The recovery there would be if a primary died now.
pub fn supposed(
    key: &InstanceKey,
    fleet: &FleetSnapshot,
    runner: &Runner,
    now: Timestamp,
) -> Option<Recovery> {
    let (cluster, member) = fleet.member(key)?;
    let kind = if member.is_co_primary { Kind::CoPrimary } else { Kind::Primary };
    let request = Request {
        key: key.clone(),
        cause: Cause::Found,
        wanted: None,
        hooks: Hooks::Run,
        fencing: Fencing::Required,
    };
    let recovery = draft(&request, kind, forced(key, now), (cluster, member), runner, now);
    let mut replicas = recovery.replicas.clone();
    replicas.extend(unseen_replicas(member, fleet));
    Some(Recovery { acknowledging: acknowledging(member, &fleet.ledger), replicas, ..recovery })
}

/// Servers that were connected to a primary when it was seen last, and have not answered since they
/// became its replicas. They may have acknowledged what nobody else has, and go on doing so (I5).
fn unseen_replicas(primary: &Member, fleet: &FleetSnapshot) -> Vec<InstanceKey> {
    let seen = primary.instance.health.facts_from;
    // Whoever only imports from it is no replica of it.
    let imports = |it: &Instance| {
        let mut sources = it.facts.other_channels().filter_map(|other| other.source.attached());
        sources.any(|source| fleet.names.resolve(source) == *primary.key())
    };
    let is_unseen = |key: &&InstanceKey| {
        !primary.replicas.contains(key)
            && !primary.instance.facts.group.iter().any(|it| it.members.contains(key))
            && fleet
                .instance(key)
                .is_some_and(|it| !it.is_valid() && it.health.facts_from < seen && !imports(it))
    };
    primary.instance.facts.replicas.iter().filter(is_unseen).cloned().collect()
}

/// Everything that keeps baton from beginning a recovery of its own accord.
pub fn held_back(
    recovery: &Recovery,
    cluster: &Cluster,
    fleet: &FleetSnapshot,
    now: Timestamp,
) -> Vec<String> {
    let mut reasons = held_back_alone(recovery, cluster, fleet, now);
    reasons.extend(all_held_back(fleet, now));
    reasons
}

/// The same, without what holds back the whole fleet.
pub fn held_back_alone(
    recovery: &Recovery,
    cluster: &Cluster,
    fleet: &FleetSnapshot,
    now: Timestamp,
) -> Vec<String> {
    let mut reasons: Vec<String> = busy(recovery, fleet).into_iter().collect();
    reasons.extend(not_by_itself(recovery, cluster, fleet, now));
    reasons
}

/// What keeps baton from beginning anything of its own accord. Looks at every instance there is.
pub fn all_held_back(fleet: &FleetSnapshot, now: Timestamp) -> Vec<String> {
    let reasons = [breaker(fleet, now), isolation(fleet, now), too_many_running(fleet)];
    reasons.into_iter().flatten().collect()
}

fn too_many_running(fleet: &FleetSnapshot) -> Option<String> {
    let running = fleet.ledger.recoveries.values().filter(|it| it.is_running()).count();
    (running >= RUNNING_MAX).then(|| {
        format!("{running} recoveries are under way, and no more than {RUNNING_MAX} run at once")
    })
}

/// What user processes are told about a failure that was detected, whether or not there is a
/// recovery for it: a recovery that is not one. `None` when the instance is not known any more.
pub fn detection(
    analysis: Analysis,
    fleet: &FleetSnapshot,
    runner: &Runner,
    now: Timestamp,
) -> Option<Recovery> {
    let (cluster, member) = fleet.member(&analysis.key)?;
    let kind = Kind::of(analysis.code).unwrap_or(Kind::Primary);
    let key = analysis.key.clone();
    let request = Request {
        key,
        cause: Cause::Found,
        wanted: None,
        hooks: Hooks::Run,
        fencing: Fencing::Required,
    };
    Some(draft(&request, kind, analysis, (cluster, member), runner, now))
}

/// The finding a request is about.
fn subject(request: &Request, cluster: &Cluster, now: Timestamp) -> Result<Analysis, Refused> {
    let found = cluster.analyses.iter().find(|it| it.key == request.key);
    let is_recoverable = |it: &&Analysis| Kind::of(it.code).is_some();
    match request.cause {
        Cause::Found | Cause::Asked => found.filter(is_recoverable).cloned().ok_or_else(|| {
            let member = cluster.member(&request.key);
            let why = member
                .and_then(|member| no_evidence(&member.instance))
                .unwrap_or_else(|| format!("{} has no problem to recover from", request.key));
            Refused::because(why)
        }),
        Cause::Hung => {
            let hung = found.and_then(|it| Some((it, Kind::when_hung(it.code)?)));
            let (it, code) = hung.ok_or_else(|| {
                Refused::because(format!("{} does not hang any more", request.key))
            })?;
            Ok(Analysis { code, ..it.clone() })
        }
        Cause::Rejoin | Cause::RejoinAuto | Cause::RegroupAuto => {
            Ok(Analysis { code: Code::NoProblem, ..forced(&request.key, now) })
        }
        // Whatever is seen, it is treated as dead.
        _ => Ok(found.cloned().map_or_else(
            || forced(&request.key, now),
            |it| Analysis { code: Code::DeadPrimary, ..it },
        )),
    }
}

/// Why it cannot be known that an instance is dead, however little it answers.
fn no_evidence(instance: &Instance) -> Option<String> {
    let key = &instance.key;
    if let Some(failure) = instance.refusal() {
        return Some(format!("{key} lives, though it does not let us in: {}", failure.message));
    }
    (instance.is_failed() && !instance.was_seen()).then(|| {
        format!(
            "{key} was never seen: it may be alive under another name, or out of our reach; \
             whoever knows better can force it"
        )
    })
}

/// The replicas of a server. Who is in its group and follows nobody else is none, nor is whom it never
/// listed, unless a person named that one.
fn replicas(cluster: &Cluster, member: &Member, named: Option<&InstanceKey>) -> Vec<InstanceKey> {
    let is_replica = |key: &&InstanceKey| {
        let is_listed = |it: &Member| it.membership != Membership::Unlisted || Some(*key) == named;
        let known = cluster.member(key);
        known.is_none_or(|it| is_listed(it) && !it.instance.facts.follows_its_group())
    };
    member.replicas.iter().filter(is_replica).cloned().collect()
}

fn forced(key: &InstanceKey, now: Timestamp) -> Analysis {
    Analysis {
        key: key.clone(),
        code: Code::DeadPrimary,
        structure: Vec::new(),
        evidence: crate::analysis::Evidence { is_primary: true, ..Default::default() },
        downtime_ends_at: None,
        replicas_downtimed: false,
        skippable_due_to_downtime: false,
        since: now,
    }
}

/// One recovery at a time of a cluster, and of a server.
fn busy(recovery: &Recovery, fleet: &FleetSnapshot) -> Option<String> {
    let mut recoveries = fleet.ledger.recoveries.values();
    let is_head_in_doubt =
        |it: &Recovery| recovery.wanted.as_ref().is_some_and(|head| it.changes(head));
    let running =
        recoveries.find(|it| it.is_running() && (it.overlaps(recovery) || is_head_in_doubt(it)))?;
    Some(format!("recovery {} of {} is under way", running.id, running.failed()))
}

/// What keeps baton from acting of its own accord.
fn not_by_itself(
    recovery: &Recovery,
    cluster: &Cluster,
    fleet: &FleetSnapshot,
    now: Timestamp,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let policy = &fleet.policy;
    if fleet.ledger.recoveries_disabled {
        reasons.push("recoveries are disabled globally".to_owned());
    }
    let (filters, name) = match recovery.kind {
        Kind::IntermediateSource | Kind::GroupMember => {
            (&policy.recover_intermediate, "RecoverIntermediateMasterClusterFilters")
        }
        _ => (&policy.recover_primary, "RecoverMasterClusterFilters"),
    };
    // Some are switched on by keys of their own.
    let by_cluster = !matches!(recovery.kind, Kind::ReadOnlyPrimary | Kind::SemiSync);
    if by_cluster && !any_matches(filters, cluster) {
        reasons.push(format!("{name} does not name this cluster"));
    }
    let downtime = fleet.ledger.downtime_of(recovery.failed(), now);
    // Who was replaced is in downtime for just that.
    let is_ours = recovery.kind == Kind::Regroup
        && downtime.is_some_and(|it| &*it.reason == LOST_IN_RECOVERY);
    if recovery.analysis.skippable_due_to_downtime && !is_ours {
        reasons.push(format!("{} is in downtime", recovery.failed()));
    }
    if let Some(maintenance) = fleet.ledger.maintenance_of(recovery.failed(), now) {
        reasons.push(format!("it is in maintenance by {}", maintenance.owner));
    }
    if policy.recovery_ignore.matches(recovery.failed().host()) {
        reasons.push("RecoveryIgnoreHostnameFilters leaves it out".to_owned());
    }
    reasons.extend(fleet.instance(recovery.failed()).and_then(|it| no_evidence(it)));
    reasons.extend(tested(recovery, fleet, now));
    reasons.extend(flapping(recovery, fleet, now));
    reasons
}

/// The ledger may know of a test that the finding does not know of yet.
fn tested(recovery: &Recovery, fleet: &FleetSnapshot, now: Timestamp) -> Option<String> {
    let (failed, ledger) = (recovery.failed(), &fleet.ledger);
    if recovery.cause != Cause::Found || recovery.analysis.evidence.is_valid {
        return None;
    }
    let replicas = recovery.replicas.iter().filter_map(|key| fleet.instance(key));
    let mut tested = replicas.filter(|it| is_under_test(it, failed, ledger, now));
    tested.next().map(|it| format!("{} is just finding out whether {failed} is there", it.key))
}

fn flapping(recovery: &Recovery, fleet: &FleetSnapshot, now: Timestamp) -> Option<String> {
    let it = blocking(recovery, fleet, now)?;
    Some(format!("recovery {} of {} is not long ago and not acknowledged", it.id, it.failed()))
}

/// The recovery that keeps another one from beginning by itself: of the same cluster, or one that
/// made the failed instance what it was.
pub fn blocking<'a>(
    recovery: &Recovery,
    fleet: &'a FleetSnapshot,
    now: Timestamp,
) -> Option<&'a Recovery> {
    if recovery.kind == Kind::Regroup {
        return last_regrouping(recovery, fleet, now);
    }
    let block = |it: &Recovery| match it.phase {
        Phase::Ended(End::RolledBack) => fleet.policy.recovery.block.min(ROLLED_BACK_BLOCK),
        _ => fleet.policy.recovery.block,
    };
    fleet.ledger.recoveries.values().map(|it| &**it).find(|it| {
        // What was done in peace says nothing about flapping, and who acknowledges nothing about
        // who is primary; nor the other way round: a new primary may be the one that waits in vain.
        let is_other = match it.kind {
            Kind::Takeover | Kind::Rejoin | Kind::Regroup => true,
            Kind::SemiSync => recovery.kind != Kind::SemiSync,
            _ => recovery.kind == Kind::SemiSync,
        };
        !is_other
            && it.acknowledged.is_none()
            && now.since(it.ended_at.unwrap_or(it.begun_at)) < block(it)
            && (it.cluster == recovery.cluster || it.successor.as_ref() == Some(recovery.failed()))
    })
}

/// Nobody can be promoted too often by it, but what does not help is not done over and over.
fn last_regrouping<'a>(
    recovery: &Recovery,
    fleet: &'a FleetSnapshot,
    now: Timestamp,
) -> Option<&'a Recovery> {
    fleet.ledger.recoveries.values().map(|it| &**it).find(|it| {
        it.kind == Kind::Regroup
            && it.failed() == recovery.failed()
            && now.since(it.begun_at) < ROLLED_BACK_BLOCK
    })
}
