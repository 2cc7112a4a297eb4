//! What comes after what in a recovery.
//!
//! Each step gives the next state of the recovery, what the ledger has to hold before anything
//! else happens (I2), and one effect to carry out. Going on in the middle, on this node or
//! another, is one more event.

use std::time::Duration;

use crate::action::Action;
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::ledger::{Command, Downtime};

use super::candidate::Situation;
use super::check::check;
use super::plan::{
    arrange, freeze, left_alone, plan, receives_again, released, roll_back, too_few, untold,
};
use super::{Cause, End, Fencing, Kind, Need, Phase, Plan, Recovery, Refused, Stage};

/// So many candidates are tried before a recovery gives up.
pub const TRIES_MAX: usize = 3;
/// So often everything is made to stand still again.
const FREEZES_MAX: u32 = 2;
/// So often the same successor is told to open before a person has to look.
const OPENINGS_MAX: u32 = 5;
/// So many errors are kept.
const ERRORS_MAX: usize = 100;
/// Downtime of what was lost in a recovery bears this reason; programs look for it.
pub const LOST_IN_RECOVERY: &str = "lost-in-recovery";
/// How long that downtime lasts.
const LOST_FOR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Something that happened to a recovery.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It is in the ledger.
    Begun,
    /// User processes were told; or one of them said no.
    Announced(Result<(), String>),
    /// A stage ended.
    Ran(Vec<Ran>),
    /// Everybody was looked at: the situation is fresh.
    Looked,
    /// Somebody goes on with it, after everybody was looked at.
    Resumed,
}

/// How the chain of one server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The server.
    pub on: InstanceKey,
    /// Whether it had to succeed.
    pub need: Need,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a chain ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was done.
    Done,
    /// One action was refused or could not even be tried: it and the rest were not done.
    Refused {
        /// Which action.
        at: usize,
        /// What was said.
        error: String,
    },
    /// All of it was done, but it does not get through to the source it was given.
    Unconnected {
        /// What it says.
        error: String,
    },
    /// One action never reached the server: it and the rest were not done.
    Untold {
        /// What happened.
        error: String,
    },
    /// One action got no answer: whether it was done is not known, the rest was not.
    NoAnswer {
        /// Which action.
        at: usize,
        /// What happened.
        error: String,
    },
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell user processes that it begins.
    Announce,
    /// Carry out a stage.
    Run(Stage),
    /// Look at these.
    Look(Vec<InstanceKey>),
    /// Nothing: tell user processes that it is over.
    Finish,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The recovery from now on. In the ledger before the effect is carried out.
    pub recovery: Recovery,
    /// What else the ledger has to take note of.
    pub commands: Vec<Command>,
    /// What is to be done.
    pub effect: Effect,
}

/// Returns what follows from an event.
pub fn step(recovery: &Recovery, event: Event, situation: &Situation<'_>) -> Step {
    let mut next = recovery.clone();
    match (recovery.phase, event) {
        (Phase::Announcing, Event::Begun) if recovery.kind == Kind::Takeover => {
            begin_takeover(next, situation)
        }
        (Phase::Announcing, Event::Begun) => to(next, Phase::Announcing, Effect::Announce),
        (Phase::Announcing, Event::Announced(Ok(()))) => begin_freezing(next, situation),
        (Phase::Announcing, Event::Announced(Err(reason))) => {
            note(&mut next, reason);
            // Before a takeover is announced, siblings were moved.
            if recovery.kind == Kind::Takeover {
                return begin_rolling_back(next, situation);
            }
            end(next, End::RolledBack, situation)
        }
        (Phase::Arranging, Event::Ran(ran)) => arranged(next, &ran, situation),
        (Phase::Freezing, Event::Ran(ran)) => frozen(next, &ran, situation),
        (Phase::Weighing, Event::Looked) => weighed(next, situation),
        (Phase::Preparing { stage }, Event::Ran(ran)) => prepared(next, stage, &ran, situation),
        (Phase::Opening, Event::Ran(ran)) => opened(next, &ran, situation),
        (Phase::Gathering, Event::Ran(ran)) => {
            note_failures(&mut next, &ran);
            // Who has its place is not left behind, whatever it refused before.
            ran.iter().filter(|it| has_place(it)).for_each(|it| {
                next.failed_on.remove(&it.on);
            });
            end(next, if brought(&ran) { End::Done } else { End::Stuck }, situation)
        }
        (Phase::RollingBack, Event::Looked) => roll_back_now(next, situation),
        (Phase::RollingBack, Event::Ran(ran)) => rolled_back(next, &ran, situation),
        (Phase::Ended(_), _) => to(next, recovery.phase, Effect::Finish),
        (_, Event::Resumed) => resume(next, situation),
        (phase, event) => {
            // Whoever drives this mixed something up. Nothing is safer than to go back, while nobody
            // was told to open.
            note(&mut next, format!("{event:?} does not belong to {phase:?}"));
            match may_be_open(&next) {
                true => stuck(next, situation),
                false => begin_rolling_back(next, situation),
            }
        }
    }
}

fn to(mut recovery: Recovery, phase: Phase, effect: Effect) -> Step {
    recovery.phase = phase;
    Step { recovery, commands: Vec::new(), effect }
}

fn note(recovery: &mut Recovery, error: String) {
    if recovery.errors.len() < ERRORS_MAX {
        recovery.errors.push(error);
    }
}

fn note_failures(recovery: &mut Recovery, ran: &[Ran]) {
    for Ran { on, outcome, .. } in ran {
        if let Outcome::Refused { error, .. }
        | Outcome::NoAnswer { error, .. }
        | Outcome::Untold { error } = outcome
        {
            note(recovery, format!("{on}: {error}"));
            recovery.failed_on.insert(on.clone());
        }
        // It was done: doing it again would change nothing.
        if let Outcome::Unconnected { error } = outcome {
            note(recovery, format!("{on}: {error}"));
        }
    }
}

/// Whether everything that had to succeed did.
fn held(ran: &[Ran]) -> bool {
    ran.iter().all(|it| it.need == Need::Should || it.outcome == Outcome::Done)
}

/// Whether everybody has a place: whoever does not get through to it yet tries again by itself.
fn brought(ran: &[Ran]) -> bool {
    ran.iter().all(|it| it.need == Need::Should || has_place(it))
}

fn has_place(ran: &Ran) -> bool {
    matches!(ran.outcome, Outcome::Done | Outcome::Unconnected { .. })
}

fn begin_takeover(mut recovery: Recovery, situation: &Situation<'_>) -> Step {
    match arrange(&recovery, situation) {
        Ok((designated, stage)) => {
            // Whoever was chosen once stays chosen, wherever siblings are by then.
            recovery.wanted = Some(designated);
            to(recovery, Phase::Arranging, Effect::Run(stage))
        }
        Err(Refused(reasons)) => {
            reasons.into_iter().for_each(|reason| note(&mut recovery, reason));
            end(recovery, End::RolledBack, situation)
        }
    }
}

fn arranged(mut recovery: Recovery, ran: &[Ran], situation: &Situation<'_>) -> Step {
    note_failures(&mut recovery, ran);
    if !held(ran) {
        return begin_rolling_back(recovery, situation);
    }
    to(recovery, Phase::Announcing, Effect::Announce)
}

fn begin_freezing(mut recovery: Recovery, situation: &Situation<'_>) -> Step {
    // In the ledger before it is done: whoever goes on sees it closed, and must know who did that.
    let failed = situation.cluster.member(recovery.failed());
    let is_open = failed.is_some_and(|it| it.instance.is_valid() && !it.instance.facts.read_only);
    let replaces = matches!(recovery.kind, Kind::Primary | Kind::CoPrimary);
    let is_to_close = !recovery.ends_when_it_answers() && !may_be_open(&recovery);
    recovery.closed |= replaces && is_open && is_to_close;
    let stage = freeze(&recovery, situation);
    if !stage.chains.is_empty() {
        return to(recovery, Phase::Freezing, Effect::Run(stage));
    }
    match may_be_open(&recovery) {
        true => open(recovery),
        false => begin_weighing(recovery),
    }
}

fn frozen(mut recovery: Recovery, ran: &[Ran], situation: &Situation<'_>) -> Step {
    let fence = ran.iter().find(|it| it.on == *recovery.failed()).map(|it| it.outcome.clone());
    recovery.closed |= may_have_closed(fence.as_ref(), &recovery, situation);
    // Who takes its time to stop was told, who refuses goes on.
    let refuses =
        |it: &&Ran| it.on != *recovery.failed() && matches!(it.outcome, Outcome::Refused { .. });
    let refused: Vec<Ran> = ran.iter().filter(refuses).cloned().collect();
    note_failures(&mut recovery, &refused);
    recovery.untold = untold(&recovery, ran, situation);
    recovery.fenced |= match &fence {
        Some(Outcome::Done) => true,
        // Who was closed may still have clients, but writes no more.
        Some(Outcome::Refused { at, .. } | Outcome::NoAnswer { at, .. }) => *at > 0,
        Some(Outcome::Unconnected { .. } | Outcome::Untold { .. }) | None => false,
    };
    match fence {
        Some(Outcome::Refused { at: 0, error }) => {
            // It lives, and cannot be made to refuse writes (I1).
            let failed = recovery.failed();
            let error = format!("I1: {failed} cannot be fenced: {error}{}", way_out(&recovery));
            note(&mut recovery, error);
            match (may_be_open(&recovery), recovery.fencing) {
                (true, Fencing::Required) => stuck(recovery, situation),
                (true, Fencing::Waived) => open(recovery),
                (false, Fencing::Required) => begin_rolling_back(recovery, situation),
                // Somebody answers for that (I8).
                (false, Fencing::Waived) => begin_weighing(recovery),
            }
        }
        // Who can be closed is not gone.
        Some(Outcome::Done) if recovery.ends_when_it_answers() => {
            note_answers_again(&mut recovery);
            begin_rolling_back(recovery, situation)
        }
        _ if may_be_open(&recovery) => open(recovery),
        Some(Outcome::NoAnswer { error, .. }) if recovery.kind == Kind::Takeover => {
            let error = format!("{}: {error}", recovery.failed());
            note(&mut recovery, error);
            begin_rolling_back(recovery, situation)
        }
        // Gone, or fenced. Who could not be stopped does not answer when it is looked at.
        _ => begin_weighing(recovery),
    }
}

/// Whether what failed accepted writes and was told not to: it may obey later, even if it has not.
fn may_have_closed(
    fence: Option<&Outcome>,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> bool {
    let was_told = match fence {
        Some(Outcome::Done) => true,
        Some(Outcome::Refused { .. }) => !recovery.ends_when_it_answers(),
        Some(Outcome::NoAnswer { at, .. }) => *at > 0,
        Some(Outcome::Unconnected { .. } | Outcome::Untold { .. }) | None => false,
    };
    let failed = situation.cluster.member(recovery.failed());
    was_told && failed.is_some_and(|it| it.instance.is_valid() && !it.instance.facts.read_only)
}

/// What a person can do who wants another primary beside one that lives.
fn way_out(recovery: &Recovery) -> &'static str {
    match (recovery.cause, recovery.fencing) {
        (Cause::ForcedFailover | Cause::ForcedTakeover, Fencing::Required) => {
            "; unfenced=true has another one opened all the same"
        }
        _ => "",
    }
}

fn begin_weighing(recovery: Recovery) -> Step {
    let mut keys = recovery.replicas.clone();
    // Nobody waits for what is dead; what steps down has the last word.
    let kinds = [Kind::Takeover, Kind::ReadOnlyPrimary, Kind::Rejoin, Kind::SemiSync];
    if kinds.contains(&recovery.kind) {
        keys.push(recovery.failed().clone());
    }
    if matches!(recovery.kind, Kind::Rejoin | Kind::Regroup) {
        keys.extend(recovery.wanted.clone());
    }
    to(recovery, Phase::Weighing, Effect::Look(keys))
}

fn weighed(mut recovery: Recovery, situation: &Situation<'_>) -> Step {
    if recovery.freezes < FREEZES_MAX && receives_again(&recovery, situation) {
        recovery.freezes += 1;
        return begin_freezing(recovery, situation);
    }
    let checked = plan(&recovery, situation)
        .and_then(|plan| check(&plan, &recovery, situation).map(|()| plan));
    match checked {
        Ok(plan) => {
            recovery.lost = plan.lost.iter().map(|lost| lost.key.clone()).collect();
            begin_preparing(recovery, plan, 0, situation)
        }
        Err(Refused(reasons)) => {
            reasons.into_iter().for_each(|reason| note(&mut recovery, reason));
            begin_rolling_back(recovery, situation)
        }
    }
}

fn begin_preparing(
    mut recovery: Recovery,
    plan: Plan,
    stage: usize,
    situation: &Situation<'_>,
) -> Step {
    let effect = plan.prepare.get(stage).cloned();
    if recovery.kind.promotes() {
        recovery.released.extend(released(&plan.prepare));
    }
    recovery.plan = Some(plan);
    match effect {
        Some(work) => to(recovery, Phase::Preparing { stage }, Effect::Run(work)),
        None => begin_opening(recovery, situation),
    }
}

/// Somebody was told to open: nobody else can be (I6).
fn may_be_open(recovery: &Recovery) -> bool {
    recovery.openings > 0
}

/// Preparing may have taken long, and what was gone when it was to be fenced may be back since: then
/// nobody is opened beside it (I1), and whoever can tell that it is needed no more goes back.
fn begin_opening(mut recovery: Recovery, situation: &Situation<'_>) -> Step {
    let is_open = |it: &&Instance| it.refusal().is_some() || (it.is_valid() && !it.facts.read_only);
    let returned = situation.returned.filter(is_open);
    let is_allowed = recovery.fencing == Fencing::Waived;
    let replaces = matches!(recovery.kind, Kind::Primary | Kind::CoPrimary);
    if returned.is_none() || is_allowed || !replaces {
        return open(recovery);
    }
    if !recovery.ends_when_it_answers() && recovery.freezes < FREEZES_MAX {
        recovery.freezes += 1;
        return begin_freezing(recovery, situation);
    }
    note_answers_again(&mut recovery);
    begin_rolling_back(recovery, situation)
}

fn note_answers_again(recovery: &mut Recovery) {
    let why = format!("{} answers again", recovery.failed());
    note(recovery, why);
}

fn open(mut recovery: Recovery) -> Step {
    recovery.openings += 1;
    let open = recovery.plan.as_ref().map(|plan| plan.open.clone()).unwrap_or_default();
    to(recovery, Phase::Opening, Effect::Run(open))
}

fn prepared(mut recovery: Recovery, stage: usize, ran: &[Ran], situation: &Situation<'_>) -> Step {
    let Some(plan) = recovery.plan.clone() else { return begin_rolling_back(recovery, situation) };
    note_failures(&mut recovery, ran);
    if held(ran) {
        return begin_preparing(recovery, plan, stage + 1, situation);
    }
    let failed = ran.iter().filter(|it| it.need == Need::Must && it.outcome != Outcome::Done);
    let mut failed: Vec<InstanceKey> = failed.map(|it| it.on.clone()).collect();
    // A candidate that waits for a donor that fails is not to blame.
    if failed.iter().any(|key| *key != plan.successor) {
        failed.retain(|key| *key != plan.successor);
    }
    try_another(recovery, failed, situation)
}

/// Nothing was opened: another candidate, without those that failed, if there may be one.
fn try_another(
    mut recovery: Recovery,
    without: Vec<InstanceKey>,
    situation: &Situation<'_>,
) -> Step {
    recovery.tried.extend(without);
    recovery.plan = None;
    recovery.openings = 0;
    if recovery.kind == Kind::Takeover || recovery.tried.len() >= TRIES_MAX {
        return begin_rolling_back(recovery, situation);
    }
    begin_weighing(recovery)
}

fn opened(mut recovery: Recovery, ran: &[Ran], situation: &Situation<'_>) -> Step {
    let Some(plan) = recovery.plan.clone() else { return stuck(recovery, situation) };
    note_failures(&mut recovery, ran);
    let outcome = ran.iter().find(|it| it.on == plan.successor).map(|it| &it.outcome);
    let last = plan.open.chains.first().map_or(0, |chain| chain.actions.len().saturating_sub(1));
    let was_told = recovery.openings > 1;
    match outcome {
        Some(Outcome::Refused { .. }) if !was_told => {
            try_another(recovery, vec![plan.successor], situation)
        }
        Some(Outcome::NoAnswer { at, .. }) if *at < last && !was_told => {
            try_another(recovery, vec![plan.successor], situation)
        }
        Some(Outcome::Untold { .. }) if !was_told => {
            try_another(recovery, vec![plan.successor], situation)
        }
        // It may accept writes, or not: nobody else can be opened now (I6), and this one only
        // while the old one is closed (I1).
        Some(Outcome::Refused { .. } | Outcome::NoAnswer { .. } | Outcome::Untold { .. })
            if recovery.openings < OPENINGS_MAX =>
        {
            begin_freezing(recovery, situation)
        }
        Some(Outcome::Refused { .. } | Outcome::NoAnswer { .. } | Outcome::Untold { .. }) => {
            stuck(recovery, situation)
        }
        None if !plan.open.chains.is_empty() => stuck(recovery, situation),
        Some(Outcome::Done | Outcome::Unconnected { .. }) | None => {
            recovery.successor = Some(plan.successor.clone());
            if let Some(loss) = recovery.loss().cloned() {
                note(&mut recovery, format!("{} lost: {}", loss.amount(), loss.known));
            }
            too_few(&plan, situation).into_iter().for_each(|why| note(&mut recovery, why));
            let commands = after_opening(&recovery, situation);
            let step = to(recovery, Phase::Gathering, Effect::Run(plan.gather));
            Step { commands, ..step }
        }
    }
}

/// What was given up is in downtime from now on, and whoever succeeded is not.
fn after_opening(recovery: &Recovery, situation: &Situation<'_>) -> Vec<Command> {
    let mut commands = Vec::new();
    if matches!(recovery.kind, Kind::Primary | Kind::CoPrimary) {
        for key in std::iter::once(recovery.failed()).chain(&recovery.lost) {
            let downtime = Downtime {
                owner: recovery.node.as_str().into(),
                reason: LOST_IN_RECOVERY.into(),
                begins_at: situation.now,
                ends_at: situation.now.plus(LOST_FOR),
            };
            commands.push(Command::BeginDowntime { key: key.clone(), downtime });
        }
    }
    if recovery.kind == Kind::Rejoin {
        commands.push(Command::EndDowntime { key: recovery.failed().clone() });
    } else if let Some(successor) = &recovery.successor
        && situation.ledger.downtime_of(successor, situation.now).is_some()
    {
        commands.push(Command::EndDowntime { key: successor.clone() });
    }
    commands
}

fn begin_rolling_back(recovery: Recovery, situation: &Situation<'_>) -> Step {
    // Where siblings were arranged to was not looked at yet.
    let was_looked =
        !matches!(recovery.phase, Phase::Arranging | Phase::Announcing | Phase::Freezing);
    if recovery.kind != Kind::Takeover || was_looked {
        return roll_back_now(recovery, situation);
    }
    let mut keys = recovery.replicas.clone();
    keys.push(recovery.failed().clone());
    to(recovery, Phase::RollingBack, Effect::Look(keys))
}

fn roll_back_now(mut recovery: Recovery, situation: &Situation<'_>) -> Step {
    for key in left_alone(&recovery, situation) {
        let why = format!(
            "{key} is left as it is: it has received what it has not applied, and MariaDB throws \
             that away when its replication is started"
        );
        if !recovery.errors.contains(&why) {
            note(&mut recovery, why);
        }
        // It is started once its source is back (I9).
        recovery.failed_on.insert(key);
    }
    let stage = roll_back(&recovery, situation);
    if stage.chains.is_empty() {
        return end(recovery, End::RolledBack, situation);
    }
    to(recovery, Phase::RollingBack, Effect::Run(stage))
}

fn rolled_back(mut recovery: Recovery, ran: &[Ran], situation: &Situation<'_>) -> Step {
    note_failures(&mut recovery, ran);
    if held(ran) {
        return end(recovery, End::RolledBack, situation);
    }
    stuck(recovery, situation)
}

fn stuck(recovery: Recovery, situation: &Situation<'_>) -> Step {
    end(recovery, End::Stuck, situation)
}

fn end(mut recovery: Recovery, how: End, situation: &Situation<'_>) -> Step {
    recovery.ended_at = Some(situation.now);
    to(recovery, Phase::Ended(how), Effect::Finish)
}

/// Goes on in the middle. What was begun in peace, or what nobody needs any more, is taken back.
fn resume(mut recovery: Recovery, situation: &Situation<'_>) -> Step {
    let failed = situation.cluster.member(recovery.failed()).map(|it| &it.instance);
    let answers = failed.is_some_and(|it| it.is_valid() || it.refusal().is_some());
    if may_be_open(&recovery) && is_as_it_was(&recovery, situation) {
        recovery.openings = 0;
        recovery.plan = None;
    }
    let is_back = answers && recovery.ends_when_it_answers();
    match recovery.phase {
        Phase::Opening | Phase::Freezing if may_be_open(&recovery) => {
            begin_freezing(recovery, situation)
        }
        Phase::Gathering => {
            let gather = recovery.plan.as_ref().map(|plan| plan.gather.clone()).unwrap_or_default();
            to(recovery, Phase::Gathering, Effect::Run(gather))
        }
        // Each of these restarts receivers: who has begun it ends it, or they stay stopped (I9).
        Phase::Preparing { stage } if recovery.kind == Kind::SemiSync => match recovery.plan.take()
        {
            Some(plan) => begin_preparing(recovery, plan, stage, situation),
            None => begin_weighing(recovery),
        },
        Phase::RollingBack => roll_back_now(recovery, situation),
        _ if is_back => {
            note_answers_again(&mut recovery);
            begin_rolling_back(recovery, situation)
        }
        _ if recovery.kind == Kind::Takeover => {
            let why = "who led it is gone: what was done in peace is taken back";
            note(&mut recovery, why.to_owned());
            begin_rolling_back(recovery, situation)
        }
        Phase::Announcing => to(recovery, Phase::Announcing, Effect::Announce),
        _ => begin_freezing(recovery, situation),
    }
}

/// Whether the successor was not even told to forget its source, which comes before opening it: who
/// led may have died before that.
fn is_as_it_was(recovery: &Recovery, situation: &Situation<'_>) -> bool {
    let Some(plan) = recovery.plan.as_ref() else { return false };
    let forgets =
        plan.open.chains.iter().any(|it| it.actions.first() == Some(&Action::ForgetSource));
    let successor = situation.cluster.member(&plan.successor).map(|it| &it.instance);
    let taken_up_at = recovery.log.last().map(|line| line.at);
    recovery.phase != Phase::Gathering
        && forgets
        && taken_up_at.is_some()
        && successor.is_some_and(|it| {
            it.is_valid()
                && it.health.facts_from >= taken_up_at
                && it.facts.read_only
                && it.facts.source() == Some(recovery.failed())
        })
}
