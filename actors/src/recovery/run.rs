//! Drives one recovery: step by step, and nothing before the ledger has it (I2).
//!
//! All of it belongs to one term. When that is over, or cannot be proven, the recovery stays as it
//! is, in the ledger and on the servers, and whoever leads next takes it up.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::action::{Action, Threads};
use baton_topology::cluster::Cluster;
use baton_topology::hooks::HookList;
use baton_topology::instance::Instance;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::Command;
use baton_topology::recovery::candidate::Situation;
use baton_topology::recovery::machine::{Effect, Event, Outcome, Ran, Step, step};
use baton_topology::recovery::plan::{in_turns, keepers};
use baton_topology::recovery::scene::{moved_meanwhile, refresh, scene};
use baton_topology::recovery::{Cause, End, Fencing, Hooks, Kind, Phase, Recovery, Stage};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;

use tokio::task::JoinHandle;

use super::RecoveryWorld;
use super::chains::{Patience, Sessions};
use crate::discovery::LookNow;
use crate::hooks::HookLine;
use crate::mandate::Mandate;
use crate::ports::{Applied, ProposeError};

/// A recovery has no more steps than this. One that does not loop has far fewer.
const STEPS_MAX: usize = 200;
/// So often the ledger is asked to take note of a step before the recovery is left to whoever
/// finds it under way.
const PROPOSALS_MAX: u32 = 5;
/// The pause between those.
const PROPOSAL_PAUSE: Duration = Duration::from_millis(500);

/// Whoever waits for a recovery waits no longer than so many of these pauses for its effects to be
/// seen.
const SEEN_ROUNDS: u32 = 20;
/// One of those pauses.
const SEEN_PAUSE: Duration = Duration::from_millis(50);

/// So long user processes are waited for that are told of what is done already.
const TELLING_WITHIN: Duration = Duration::from_secs(60);

/// How this node comes to drive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It has just begun.
    Begin,
    /// Somebody else began it.
    Resume,
}

/// One recovery and the conversations it keeps.
struct Drive {
    world: RecoveryWorld,
    mandate: Mandate,
    sessions: Sessions,
    scene: Cluster,
    /// When what failed was fenced, or found to be gone.
    fenced_at: Option<Timestamp>,
}

/// Drives a recovery to its end.
pub(super) async fn drive(
    world: RecoveryWorld,
    mandate: Mandate,
    recovery: Arc<Recovery>,
    entry: Entry,
) -> Result<Arc<Recovery>, ProposeError> {
    let fleet = world.snapshot.borrow().clone();
    let sessions = Sessions::new(&world);
    let mut drive =
        Drive { world, mandate, sessions, scene: scene(&recovery, &fleet), fenced_at: None };
    let mut recovery = (*recovery).clone();
    let key = recovery.failed().clone();
    let mut event = match entry {
        Entry::Begin => {
            tracing::warn!(%key, id = recovery.id, kind = ?recovery.kind, cause = ?recovery.cause, "recovery begins");
            recovery.say(drive.world.clock.now(), &opening_line(&recovery));
            Event::Begun
        }
        Entry::Resume => {
            tracing::warn!(%key, id = recovery.id, phase = ?recovery.phase, "recovery is taken up again");
            recovery
                .say(drive.world.clock.now(), &format!("taken up again at {:?}", recovery.phase));
            let mut everybody = recovery.replicas.clone();
            everybody.push(key.clone());
            drive.look(&everybody).await;
            Event::Resumed
        }
    };
    for _ in 0..STEPS_MAX {
        let next = drive.step(&recovery, event);
        recovery = drive.keep(next.recovery, next.commands).await?;
        event = match drive.carry_out(&mut recovery, next.effect).await? {
            Some(event) => event,
            None => {
                drive.finish(&mut recovery).await;
                if recovery.cause.is_manual() {
                    drive.until_seen(&recovery).await;
                }
                return Ok(Arc::new(recovery));
            }
        };
    }
    tracing::error!(%key, id = recovery.id, "a recovery has too many steps");
    Ok(Arc::new(recovery))
}

fn opening_line(recovery: &Recovery) -> String {
    let failed = recovery.failed();
    let what = match recovery.kind {
        Kind::Primary => format!("{failed}, the primary, is to be replaced"),
        Kind::CoPrimary => format!("{failed}, a co-primary, is to be replaced"),
        Kind::IntermediateSource | Kind::GroupMember => {
            format!("the replicas of {failed} are to get another source")
        }
        Kind::ReadOnlyPrimary => format!("{failed} refuses writes, and is to accept them"),
        Kind::Takeover => format!("{failed} is to hand over"),
        Kind::Rejoin => format!("{failed} is to come back as a replica"),
        Kind::Regroup => format!("who still follows {failed} is to follow the new primary"),
        Kind::SemiSync => format!("{failed} is to have as many acknowledging replicas as it needs"),
    };
    let why = match recovery.cause {
        Cause::Found | Cause::RejoinAuto | Cause::RegroupAuto => "baton acts by itself",
        Cause::Hung => "it hangs, and baton acts by itself",
        _ if recovery.fencing == Fencing::Waived => {
            "somebody gave it up, and accepts that it may go on accepting writes"
        }
        Cause::ForcedFailover | Cause::ForcedTakeover => "somebody gave it up",
        Cause::Asked | Cause::Takeover | Cause::TakeoverAuto | Cause::Rejoin => {
            "somebody asked for it"
        }
    };
    format!("{what}: {why}")
}

impl Drive {
    fn situation<'a>(&'a self, recovery: &Recovery, fleet: &'a FleetSnapshot) -> Situation<'a> {
        let failed = fleet.instance(recovery.failed()).map(|it| &**it);
        let is_since = |it: &&Instance| {
            let said_no = it.health.last_attempt.filter(|_| it.refusal().is_some());
            self.fenced_at.is_some() && it.health.facts_from.max(said_no) > self.fenced_at
        };
        Situation {
            cluster: &self.scene,
            returned: failed.filter(is_since),
            ledger: &fleet.ledger,
            policy: &fleet.policy,
            now: self.world.clock.now(),
        }
    }

    fn step(&self, recovery: &Recovery, event: Event) -> Step {
        let fleet = self.world.snapshot.borrow().clone();
        let situation = self.situation(recovery, &fleet);
        let mut next = step(recovery, event, &situation);
        if next.recovery.phase != recovery.phase {
            next.recovery.say(situation.now, &phase_line(&next.recovery));
        }
        next
    }

    /// Has the ledger take note of where the recovery is. It may say no only when it has lost it,
    /// or the term is over.
    async fn keep(
        &self,
        recovery: Recovery,
        commands: Vec<Command>,
    ) -> Result<Recovery, ProposeError> {
        let update = Command::UpdateRecovery { recovery: Arc::new(recovery.clone()) };
        self.insist(update).await?;
        for command in commands {
            self.insist(command).await?;
        }
        Ok(recovery)
    }

    async fn insist(&self, command: Command) -> Result<Applied, ProposeError> {
        let mut tries = 1;
        loop {
            match self.mandate.propose(command.clone()).await {
                Ok(applied) => return Ok(applied),
                Err(error @ (ProposeError::Refused(_) | ProposeError::NotLeading(_))) => {
                    return Err(error);
                }
                Err(error) if tries >= PROPOSALS_MAX => {
                    tracing::error!(%error, "a recovery stands still: the ledger cannot be written");
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(%error, "the ledger cannot be written; again");
                    tries += 1;
                    tokio::time::sleep(PROPOSAL_PAUSE).await;
                }
            }
        }
    }

    async fn look(&mut self, keys: &[InstanceKey]) {
        let seen = self.sessions.look(keys).await;
        refresh(&mut self.scene, &seen);
    }

    /// Carries out an effect and tells what came of it; `None` at the end. What cannot be taken
    /// back needs a proof that is newer than the step.
    async fn carry_out(
        &mut self,
        recovery: &mut Recovery,
        effect: Effect,
    ) -> Result<Option<Event>, ProposeError> {
        Ok(match effect {
            Effect::Announce => {
                self.mandate.prove().await?;
                // A hook may take a day, and another node may lead by then: it tells them again.
                let told = tokio::select! {
                    biased;
                    error = self.mandate.lost() => return Err(error),
                    told = self.announce_begin(recovery) => told,
                };
                Some(Event::Announced(told))
            }
            Effect::Look(keys) => {
                self.look(&keys).await;
                Some(Event::Looked)
            }
            Effect::Run(stage) => {
                self.mandate.prove().await?;
                let ran = self.run(recovery, &stage).await?;
                let now = self.world.clock.now();
                for Ran { on, outcome, .. } in &ran {
                    let line = match outcome {
                        Outcome::Done => continue,
                        Outcome::Refused { error, .. }
                        | Outcome::NoAnswer { error, .. }
                        | Outcome::Untold { error }
                        | Outcome::Unconnected { error } => {
                            format!("{on}: {error}")
                        }
                    };
                    recovery.say(now, &line);
                }
                Some(Event::Ran(ran))
            }
            Effect::Finish => None,
        })
    }

    async fn run(
        &mut self,
        recovery: &mut Recovery,
        stage: &Stage,
    ) -> Result<Vec<Ran>, ProposeError> {
        let failed = recovery.failed().clone();
        let is_dead = matches!(recovery.kind, Kind::Primary | Kind::CoPrimary);
        let is_freezing = recovery.phase == Phase::Freezing;
        let fleet = self.world.snapshot.borrow().clone();
        // Whoever did not answer before is not waited for either.
        let tells = |key: &InstanceKey| {
            fleet.instance(key).is_some_and(|it| it.is_valid() && it.facts.tells_its_source())
        };
        let fence = fence_patience(recovery, &fleet);
        let patience = |key: &InstanceKey| match is_dead {
            true if *key == failed => fence,
            true if is_freezing && tells(key) => Patience::FreezeTelling,
            true if is_freezing => Patience::Freeze,
            _ => Patience::Usual,
        };
        self.learn_credentials(recovery, &fleet).await;
        if recovery.phase != Phase::Gathering {
            let ran = self.sessions.run(&self.mandate, stage, patience).await;
            refresh(&mut self.scene, &self.sessions.seen());
            if is_freezing {
                self.fenced_at = Some(self.world.clock.now());
            }
            let mut ran = ran?;
            if recovery.phase == Phase::Arranging {
                self.sessions.until_connected(stage, &mut ran).await;
            }
            return Ok(ran);
        }
        // Whoever sends clients to the new primary does not wait for the others to follow it.
        self.ask_for_looks(recovery);
        let list = match recovery.kind {
            Kind::Primary | Kind::CoPrimary | Kind::Takeover => Some(HookList::PostPrimaryFailover),
            Kind::IntermediateSource
            | Kind::GroupMember
            | Kind::ReadOnlyPrimary
            | Kind::Rejoin
            | Kind::Regroup
            | Kind::SemiSync => None,
        };
        let told = list.map(|list| Telling::begin(&self.world, vec![list], recovery));
        let fleet = self.world.snapshot.borrow().clone();
        let [first, last] = in_turns(stage, &self.situation(recovery, &fleet));
        let (sessions, mandate) = (&mut self.sessions, &self.mandate);
        let run = async {
            let mut ran = sessions.run(mandate, &first, patience).await?;
            ran.extend(sessions.run(mandate, &last, patience).await?);
            sessions.until_connected(stage, &mut ran).await;
            Ok::<_, ProposeError>(ran)
        };
        let ran = run.await?;
        if let Some(told) = told {
            let lines = told.lines().await;
            let now = self.world.clock.now();
            lines.iter().for_each(|it| recovery.say_to_writers(now, &it.text, &it.for_writers));
        }
        self.ask_for_looks(recovery);
        Ok(ran)
    }

    /// Learns what whoever is to replicate without an account of its own could replicate with.
    async fn learn_credentials(&mut self, recovery: &Recovery, fleet: &FleetSnapshot) {
        let keepers: Vec<InstanceKey> = match (recovery.phase, recovery.kind) {
            // Not while writes pause.
            (Phase::Arranging, _) => recovery.wanted.iter().cloned().collect(),
            (Phase::Opening, Kind::Rejoin) => keepers(recovery, fleet),
            (Phase::Opening, kind) if !matches!(kind, Kind::Takeover | Kind::SemiSync) => {
                let plan = recovery.plan.iter();
                plan.map(|plan| plan.successor.clone()).collect()
            }
            _ => Vec::new(),
        };
        self.sessions.remember_credentials(&keepers).await;
    }

    /// The sooner everybody sees what was changed, the better.
    fn ask_for_looks(&self, recovery: &Recovery) {
        let mut keys = recovery.replicas.clone();
        keys.push(recovery.failed().clone());
        // What does not get through is found by the next probe.
        let _ = self.world.looks.try_send(LookNow(keys));
    }

    /// Whoever asked for it sees at the next question that it is done: waits a moment until
    /// everybody was looked at since, and replicas tell their lag again.
    async fn until_seen(&mut self, recovery: &Recovery) {
        let plan = recovery.plan.as_ref();
        let followers = plan.into_iter().flat_map(|plan| &plan.gather.chains);
        let start = Action::Start(Threads::Both);
        let followers: Vec<(InstanceKey, bool)> = followers
            .map(|chain| (chain.on.clone(), chain.actions.last() == Some(&start)))
            .collect();
        let is_seen = |fleet: &FleetSnapshot| {
            followers.iter().all(|(key, replicates)| {
                fleet.instance(key).is_none_or(|it| {
                    it.health.facts_from >= recovery.ended_at
                        && (!replicates || it.facts.lag_seconds().is_some())
                })
            })
        };
        for _ in 0..SEEN_ROUNDS {
            let fleet = self.world.snapshot.borrow().clone();
            if is_seen(&fleet) {
                return;
            }
            self.ask_for_looks(recovery);
            tokio::time::sleep(SEEN_PAUSE).await;
        }
    }

    async fn announce_begin(&self, recovery: &mut Recovery) -> Result<(), String> {
        let lists: &[HookList] = match recovery.kind {
            Kind::Takeover => &[HookList::PreGracefulTakeover, HookList::PreFailover],
            // Nothing fails over.
            Kind::SemiSync => &[],
            _ => &[HookList::PreFailover],
        };
        for list in lists {
            let told = announce(&self.world, *list, recovery).await;
            let now = self.world.clock.now();
            told.lines
                .iter()
                .for_each(|it| recovery.say_to_writers(now, &it.text, &it.for_writers));
            if let Some(refusal) = told.refusal {
                return Err(refusal);
            }
        }
        let fleet = self.world.snapshot.borrow().clone();
        moved_meanwhile(recovery, &self.scene, &fleet).map_or(Ok(()), Err)
    }

    /// Tells user processes that it is over. What they say changes nothing any more, but is kept.
    async fn finish(&mut self, recovery: &mut Recovery) {
        self.ask_for_looks(recovery);
        let is_successful = recovery.is_successful();
        let key = recovery.failed();
        let successor = recovery.successor.as_ref().map(ToString::to_string);
        let errors = recovery.errors.join("; ");
        tracing::warn!(%key, id = recovery.id, phase = ?recovery.phase, successor, errors, "recovery ended");
        let mut lists = Vec::new();
        if is_successful && matches!(recovery.kind, Kind::IntermediateSource | Kind::GroupMember) {
            lists.push(HookList::PostIntermediateFailover);
        }
        lists.push(match is_successful {
            true => HookList::PostFailover,
            false => HookList::PostUnsuccessfulFailover,
        });
        if recovery.kind == Kind::Takeover && is_successful {
            lists.push(HookList::PostGracefulTakeover);
        }
        let lines = Telling::begin(&self.world, lists, recovery).lines().await;
        if lines.is_empty() {
            return;
        }
        let now = self.world.clock.now();
        lines.iter().for_each(|it| recovery.say_to_writers(now, &it.text, &it.for_writers));
        let id = recovery.id;
        let command = Command::LogRecovery { id, lines: recovery.log.clone() };
        if let Err(error) = self.mandate.propose(command).await {
            tracing::warn!(id, %error, "the last lines of a recovery's log are lost");
        }
    }
}

/// User processes that are told of what is done already: it does not depend on them, so nobody waits
/// for them for as long as they may take. Dropped before that, they are ended.
struct Telling {
    telling: Option<JoinHandle<Vec<HookLine>>>,
}

impl Telling {
    fn begin(world: &RecoveryWorld, lists: Vec<HookList>, recovery: &Recovery) -> Self {
        let (world, recovery) = (world.clone(), recovery.clone());
        let telling = tokio::task::spawn_local(async move {
            let mut lines = Vec::new();
            for list in lists {
                lines.extend(announce(&world, list, &recovery).await.lines);
            }
            lines
        });
        Self { telling: Some(telling) }
    }

    /// What they said, or that they still run.
    async fn lines(mut self) -> Vec<HookLine> {
        // Held until then: whoever drops this while it waits ends them.
        let Some(telling) = self.telling.as_mut() else { return Vec::new() };
        let told = tokio::time::timeout(TELLING_WITHIN, telling).await;
        self.telling = None;
        told.map(Result::unwrap_or_default).unwrap_or_else(|_| {
            let text = format!(
                "user processes still run after {} s, and are not waited for any longer; what \
                 becomes of them is in the log of this node",
                TELLING_WITHIN.as_secs()
            );
            vec![HookLine { text, for_writers: String::new() }]
        })
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(telling) = &self.telling {
            telling.abort();
        }
    }
}

fn fence_patience(recovery: &Recovery, fleet: &FleetSnapshot) -> Patience {
    let is_there = fleet.instance(recovery.failed()).is_some_and(|it| it.is_valid());
    match recovery.ends_when_it_answers() {
        true => Patience::Witness,
        // Whoever was there a moment ago is waited for: it would be open beside the new one.
        false if is_there => Patience::Usual,
        false => Patience::Fence,
    }
}

async fn announce(world: &RecoveryWorld, list: HookList, recovery: &Recovery) -> super::Announced {
    if recovery.hooks == Hooks::Skip {
        return super::Announced::default();
    }
    let fleet = world.snapshot.borrow().clone();
    world.announcer.announce(list, recovery, &fleet).await
}

fn phase_line(recovery: &Recovery) -> String {
    let plan = recovery.plan.as_ref();
    match recovery.phase {
        Phase::Announcing => "telling user processes".into(),
        Phase::Arranging => "moving siblings below the one who takes over".into(),
        Phase::Freezing => "stopping receivers and fencing the old primary".into(),
        Phase::Weighing => "weighing what everybody has".into(),
        Phase::Preparing { stage: 0 } if recovery.kind == Kind::SemiSync => {
            plan.map_or_else(String::new, |plan| plan.why.join("; "))
        }
        Phase::Preparing { stage } if recovery.kind == Kind::SemiSync => {
            format!("going on with stage {}", stage + 1)
        }
        Phase::Opening | Phase::Gathering if recovery.kind == Kind::SemiSync => {
            "everybody is switched".into()
        }
        Phase::Preparing { stage: 0 } => plan.map_or_else(String::new, |plan| {
            let why = plan.why.join("; ");
            let loss = match plan.loss.is_empty() {
                true => String::new(),
                false => format!("; {} may be lost: {}", plan.loss.amount(), plan.loss.known),
            };
            format!("{} succeeds: {why}{loss}", plan.successor)
        }),
        Phase::Preparing { stage } => format!("preparing the successor, stage {}", stage + 1),
        Phase::Opening => {
            plan.map_or_else(String::new, |plan| format!("opening {}", plan.successor))
        }
        Phase::Gathering => "the successor accepts writes; gathering the others".into(),
        Phase::RollingBack => format!("rolling back: {}", recovery.errors.join("; ")),
        Phase::Ended(End::Done) => "done".into(),
        Phase::Ended(End::RolledBack) => {
            format!("nothing was changed for good: {}", recovery.errors.join("; "))
        }
        Phase::Ended(End::Stuck) => {
            format!("stuck, a person has to look: {}", recovery.errors.join("; "))
        }
    }
}
