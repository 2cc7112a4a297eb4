//! Every way to rearrange a topology and to steer the replication of one server, as plans.
//!
//! [`plan`] answers a [`Request`] with a [`Plan`] or a [`Refused`] that says why not. A plan is made
//! of units that do not depend on one another; a unit is a [`Script`] that asks for fresh readings
//! between its steps where coordinates matter, and names the servers whose replication is started
//! again whatever happens (I9). Moving never changes credentials, TLS options, delay or filters of
//! a replica (I10), and keeps GTID where it is used.
//!
//! Whether a server is dead and who should take over is not decided here: see recoveries.

mod choose;
mod control;
mod equivalence;
mod gtid_repair;
mod imagine;
mod many;
mod plan;
mod rules;
mod script;
mod single;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeSet;

use regex::Regex;

use crate::binlog::BinlogCoordinates;
use crate::instance::GroupMember;
use crate::key::InstanceKey;
use crate::snapshot::FleetSnapshot;

pub use control::{Control, Safety};
pub use equivalence::Equivalences;
pub use imagine::imagine;
pub use plan::{Plan, Preview, Step, Unit};
pub use rules::{
    How, MovePolicy, can_move, can_move_by_gtid, can_replicate_from, is_gtid_compatible,
};
pub(crate) use rules::{can_go_on, is_same_server};
pub use script::{Next, STAGES_MAX, Script, Seen};
pub use words::words;

/// Why something is not done, for a person (I13).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A place in the binary log of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// The server.
    pub key: InstanceKey,
    /// Where.
    pub at: BinlogCoordinates,
}

/// Replicas whose `host:port` matches a pattern.
#[derive(Debug, Clone)]
pub struct Only(Regex);

impl Only {
    /// Reads a regular expression.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(pattern: &str) -> Result<Self, Refused> {
        let bad = |error| Refused(format!("pattern {pattern:?} is no regular expression: {error}"));
        crate::pattern::compile(pattern).map(Self).map_err(bad)
    }

    fn is_match(&self, key: &InstanceKey) -> bool {
        self.0.is_match(&key.to_string())
    }
}

/// What somebody wants.
#[derive(Debug, Clone)]
pub enum Request {
    /// Move a replica below another server by whatever means there are.
    Relocate {
        /// The replica.
        replica: InstanceKey,
        /// Its next source.
        below: InstanceKey,
    },
    /// Move the replicas of a server below another one.
    RelocateReplicas {
        /// The server.
        of: InstanceKey,
        /// Their next source.
        below: InstanceKey,
        /// Only those whose `host:port` matches.
        only: Option<Only>,
        /// By which means.
        how: How,
    },
    /// Put one of a server's replicas above the others.
    RegroupReplicas {
        /// The server.
        of: InstanceKey,
    },
    /// Move a replica below its source's source.
    MoveUp {
        /// The replica.
        replica: InstanceKey,
    },
    /// Move all replicas of a server one level up.
    MoveUpReplicas {
        /// The server.
        of: InstanceKey,
        /// Only those whose `host:port` matches.
        only: Option<Only>,
    },
    /// Move a replica below its sibling.
    MoveBelow {
        /// The replica.
        replica: InstanceKey,
        /// The sibling.
        sibling: InstanceKey,
    },
    /// Move a replica below a server on which the place it stands at is known.
    MoveEquivalent {
        /// The replica.
        replica: InstanceKey,
        /// Its next source.
        below: InstanceKey,
    },
    /// Move a replica below another server by GTID.
    MoveBelowGtid {
        /// The replica.
        replica: InstanceKey,
        /// Its next source.
        below: InstanceKey,
    },
    /// Name another source and change nothing else; without one, its own again.
    Repoint {
        /// The replica.
        replica: InstanceKey,
        /// Its next source.
        below: Option<InstanceKey>,
    },
    /// Name their source again to all replicas of a server.
    RepointReplicas {
        /// The server.
        of: InstanceKey,
        /// Only those whose `host:port` matches.
        only: Option<Only>,
    },
    /// Move the siblings of a replica below it.
    TakeSiblings {
        /// The replica.
        replica: InstanceKey,
    },
    /// Let a replica and its source change places.
    TakeSource {
        /// The replica.
        replica: InstanceKey,
    },
    /// Let a replica's source replicate from it too.
    MakeCoPrimary {
        /// The replica.
        replica: InstanceKey,
    },
    /// Something on one server.
    Control {
        /// The server.
        key: InstanceKey,
        /// What.
        control: Control,
    },
}

/// Works out what a request comes to in a fleet, of whose logs some places are known to be the
/// same.
///
/// # Errors
/// The reason why it is not done.
pub fn plan(
    fleet: &FleetSnapshot,
    known: &Equivalences,
    request: &Request,
) -> Result<Plan, Refused> {
    let view = choose::View { fleet, known };
    let plan = worked_out(view, request)?;
    let opens = matches!(request, Request::Control { control: Control::Writable, .. });
    if opens || !plan.locked.is_empty() {
        view.nobody_recovers(&plan.about)?;
    }
    leaves_groups_alone(view, request, &plan)?;
    Ok(plan)
}

/// A group decides whom its members follow, and who of them accepts writes.
fn leaves_groups_alone(
    view: choose::View<'_>,
    request: &Request,
    plan: &Plan,
) -> Result<(), Refused> {
    let in_group = |key: &InstanceKey| {
        let facts = &view.instance(key).ok()?.facts;
        facts.membership().map(|group| (facts, group))
    };
    if let Request::Control { key, control } = request {
        let is_secondary = |(_, group): &(_, &GroupMember)| !group.is_primary();
        return match in_group(key).filter(is_secondary) {
            Some((_, group)) if *control == Control::Writable => Err(Refused(format!(
                "{key} is a secondary of replication group {}, which chooses its primary itself",
                group.name
            ))),
            _ => Ok(()),
        };
    }
    let gets_source =
        |key: &&InstanceKey| in_group(key).is_some_and(|(facts, _)| facts.main_channel().is_none());
    match plan.locked.iter().find(gets_source) {
        None => Ok(()),
        Some(key) => Err(Refused(format!(
            "{key} is a member of a group and replicates from nobody else: it gets no other source"
        ))),
    }
}

fn worked_out(view: choose::View<'_>, request: &Request) -> Result<Plan, Refused> {
    match request {
        Request::Relocate { replica, below } => single::relocate(view, replica, below),
        Request::MoveBelowGtid { replica, below } => single::move_by_gtid(view, replica, below),
        Request::MoveUp { replica } => single::move_up(view, replica),
        Request::MoveBelow { replica, sibling } => single::move_below(view, replica, sibling),
        Request::MoveEquivalent { replica, below } => single::move_equivalent(view, replica, below),
        Request::Repoint { replica, below } => single::repoint(view, replica, below.as_ref()),
        Request::TakeSource { replica } => single::take_source(view, replica),
        Request::MakeCoPrimary { replica } => single::make_co_primary(view, replica),
        Request::RelocateReplicas { of, below, only, how } => {
            many::relocate_replicas(view, of, below, only.as_ref(), *how)
        }
        Request::RegroupReplicas { of } => many::regroup(view, of),
        Request::MoveUpReplicas { of, only } => many::move_up(view, of, only.as_ref()),
        Request::RepointReplicas { of, only } => many::repoint(view, of, only.as_ref()),
        Request::TakeSiblings { replica } => many::take_siblings(view, replica),
        Request::Control { key, control } => control::plan(view, key, control),
    }
}

/// What is done about a server that was locked for an operation that nobody brought to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// Replication is started: wherever a move was interrupted, the server stands where it may
    /// go on.
    StartAgain,
    /// It is left as it is.
    LeaveAsIs,
}

/// What to do about a server that was left locked for this reason; `None` when the reason is none
/// of an operation.
pub fn unfinished(reason: &str) -> Option<Unfinished> {
    let (kind, about) = reason.split_once(' ')?;
    about.parse::<InstanceKey>().ok()?;
    match kind {
        "relocate-below" | "relocate-replicas" | "regroup-replicas" | "move-up"
        | "move-up-replicas" | "move-below" | "move-below-gtid" | "move-equivalent"
        | "move-replicas-gtid" | "repoint" | "repoint-replicas" | "take-siblings"
        | "take-master" | "make-co-master" | "enable-gtid" | "disable-gtid"
        | "reattach-replica" => Some(Unfinished::StartAgain),
        // It was not to replicate, or it is not certain that it may.
        "detach-replica" | "reset-replica" | "gtid-errant-reset-master" => {
            Some(Unfinished::LeaveAsIs)
        }
        _ => None,
    }
}

/// The servers that have to be looked at before a request is planned: some first, others after
/// them. Sources come last, because only a later look at them proves transactions errant.
pub fn looked_at(fleet: &FleetSnapshot, request: &Request) -> [BTreeSet<InstanceKey>; 2] {
    let source = |key: &InstanceKey| fleet.member(key).and_then(|(_, it)| it.source.clone());
    let replicas = |key: &InstanceKey| {
        fleet.member(key).map(|(_, it)| it.replicas.clone()).unwrap_or_default()
    };
    let named = named(request);
    let mut first: BTreeSet<InstanceKey> = named.iter().map(|key| (*key).clone()).collect();
    let mut then = BTreeSet::new();
    if let Request::Control { key, control } = request {
        if control.minds_others() {
            first.extend(replicas(key));
            then.extend(source(key));
        }
    } else {
        for key in named {
            let source_key = source(key);
            then.extend(source_key.as_ref().and_then(source));
            if matches!(request, Request::TakeSiblings { .. }) {
                first.extend(source_key.iter().flat_map(replicas));
            }
            then.extend(source_key);
            first.extend(replicas(key));
        }
    }
    first.retain(|key| fleet.cluster_of.contains_key(key));
    then.retain(|key| fleet.cluster_of.contains_key(key));
    [first, then]
}

fn named(request: &Request) -> Vec<&InstanceKey> {
    match request {
        Request::Relocate { replica, below }
        | Request::MoveBelow { replica, sibling: below }
        | Request::MoveBelowGtid { replica, below }
        | Request::MoveEquivalent { replica, below }
        | Request::RelocateReplicas { of: replica, below, .. } => vec![replica, below],
        Request::Repoint { replica, below } => std::iter::once(replica).chain(below).collect(),
        Request::RegroupReplicas { of: key }
        | Request::MoveUp { replica: key }
        | Request::MoveUpReplicas { of: key, .. }
        | Request::RepointReplicas { of: key, .. }
        | Request::TakeSiblings { replica: key }
        | Request::TakeSource { replica: key }
        | Request::MakeCoPrimary { replica: key }
        | Request::Control { key, .. } => vec![key],
    }
}
