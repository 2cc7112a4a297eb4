//! The shape of a plan, and how it looks before it is carried out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::script::{Next, STAGES_MAX, Script, Seen};
use super::{Refused, imagine, words};
use crate::action::{Action, Threads};
use crate::key::InstanceKey;

/// One thing to do on one server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The server.
    pub key: InstanceKey,
    /// What to do.
    pub action: Action,
}

impl Step {
    /// Makes a step.
    pub fn new(key: &InstanceKey, action: Action) -> Self {
        Self { key: key.clone(), action }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, words(&self.action))
    }
}

/// Steps that belong together: when one fails, the ones after it are not taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// The server it is about.
    pub subject: InstanceKey,
    /// What is done.
    pub script: Script,
    /// Servers whose replication is started at the end whatever happens (I9).
    pub restarts: Vec<InstanceKey>,
    /// Whether it is known beforehand that replication cannot connect: its source is dead.
    pub is_source_dead: bool,
    /// Where the subject goes back to, by GTID, should it not replicate from its next source.
    pub way_back: Option<InstanceKey>,
}

/// What is done about a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What it is called in the audit log, such as `relocate`.
    pub kind: &'static str,
    /// The server it is about.
    pub about: InstanceKey,
    /// Servers nobody else may operate on while it is carried out.
    pub locked: BTreeSet<InstanceKey>,
    /// What is done first.
    pub before: Vec<Step>,
    /// What is done then; units do not depend on one another.
    pub units: Vec<Unit>,
    /// So many units at a time.
    pub parallel: usize,
    /// Servers that `before` stopped, to be started at the end whatever happens (I9).
    pub restarts: Vec<InstanceKey>,
    /// Servers that are left out, with the reason.
    pub left_out: Vec<(InstanceKey, Refused)>,
    /// What whoever asked should know.
    pub notes: Vec<String>,
    /// What to say when all of it succeeded.
    pub message: String,
    /// The server the answer shows, where it is not the one it is about.
    pub shown: InstanceKey,
}

impl Plan {
    /// A plan of no units yet about one server.
    pub(super) fn about(kind: &'static str, about: &InstanceKey) -> Self {
        Self {
            kind,
            about: about.clone(),
            locked: BTreeSet::new(),
            before: Vec::new(),
            units: Vec::new(),
            parallel: 1,
            restarts: Vec::new(),
            left_out: Vec::new(),
            notes: Vec::new(),
            message: String::new(),
            shown: about.clone(),
        }
    }

    /// Why servers are locked, as the ledger shows it; [`super::unfinished`] reads it.
    pub fn reason(&self) -> String {
        format!("{} {}", self.kind, self.about)
    }

    /// Every server that anything is done to, or whose replicas change.
    pub fn touched(&self) -> BTreeSet<InstanceKey> {
        let mut touched = self.locked.clone();
        touched.extend(self.before.iter().map(|step| step.key.clone()));
        for unit in &self.units {
            touched.insert(unit.subject.clone());
            touched.extend(unit.restarts.iter().cloned());
            touched.extend(unit.script.servers().cloned());
        }
        touched
    }

    /// Who takes whose place, the replica first, where that is what it is about.
    pub fn places(&self) -> Option<(&InstanceKey, &InstanceKey)> {
        self.units.iter().find_map(|unit| match &unit.script {
            Script::TakeSource { replica, source, .. }
            | Script::TakeSourceByGtid { replica, source, .. } => Some((replica, source)),
            _ => None,
        })
    }

    /// What to say of it once it is done, for so many units that succeeded and those that failed.
    pub fn summary(&self, done: usize, failed: &[String]) -> String {
        let (about, shown) = (&self.about, &self.shown);
        let errors = format!("; {} errors: [{}]", failed.len(), failed.join("; "));
        match self.kind {
            "relocate-replicas" => {
                format!("Relocated {done} replicas of {about} below {shown}{errors}")
            }
            "move-replicas-gtid" => {
                format!("Moved {done} replicas of {about} below {shown} via GTID{errors}")
            }
            "move-up-replicas" => {
                format!("Moved up {done} replicas of {about} below {shown}{errors}")
            }
            "repoint-replicas" => format!("Repointed {done} replicas of {about}{errors}"),
            "take-siblings" if failed.is_empty() => format!("Took {done} siblings of {about}"),
            "take-siblings" => format!("Took {done} siblings of {about}{errors}"),
            _ if failed.is_empty() => self.message.clone(),
            _ => format!("{}{errors}", self.message),
        }
    }

    /// What would be done if the servers stood as `seen` says and did as they are told.
    pub fn preview(&self, seen: &Seen) -> Preview {
        let mut world = seen.clone();
        let mut steps: Vec<Step> = Vec::new();
        let mut does = |world: &mut Seen, step: Step| {
            imagine(world, &step);
            steps.push(step);
        };
        for step in &self.before {
            does(&mut world, step.clone());
        }
        let mut left_out: BTreeMap<InstanceKey, String> =
            self.left_out.iter().map(|(key, why)| (key.clone(), why.to_string())).collect();
        for unit in &self.units {
            for stage in 0..STAGES_MAX {
                match unit.script.next(stage, &world) {
                    Next::Act(steps) => steps.into_iter().for_each(|step| does(&mut world, step)),
                    Next::AwaitExecuted { .. } => {}
                    Next::Done => break,
                    Next::Refused(why) => {
                        left_out.insert(unit.subject.clone(), why.to_string());
                        break;
                    }
                }
            }
            for key in &unit.restarts {
                does(&mut world, Step::new(key, Action::Start(Threads::Both)));
            }
        }
        for key in &self.restarts {
            does(&mut world, Step::new(key, Action::Start(Threads::Both)));
        }
        Preview { kind: self.kind, steps, left_out, notes: self.notes.clone(), after: world }
    }
}

/// What a plan comes to, as far as can be told before.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// What it is called.
    pub kind: &'static str,
    /// What would be done, in order.
    pub steps: Vec<Step>,
    /// Servers that would be left out, with the reason.
    pub left_out: BTreeMap<InstanceKey, String>,
    /// What whoever asked should know.
    pub notes: Vec<String>,
    /// How the servers would stand afterwards.
    pub after: Seen,
}

impl std::fmt::Display for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}:", self.kind)?;
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        for (key, why) in &self.left_out {
            writeln!(f, "  {key} is left out: {why}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        Ok(())
    }
}
