//! What a unit of a plan does, stage by stage, over fresh readings of its servers.
//!
//! A stage follows from the number of stages before it and from what the servers tell then; it has
//! no memory of its own. Starting replication again at the end is not part of a script: whoever
//! carries it out does that whatever happens (I9).

use std::collections::BTreeMap;
use std::time::Duration;

use super::Refused;
use super::control::received;
use super::plan::Step;
use crate::action::{Action, Place, Threads, Until};
use crate::binlog::BinlogCoordinates;
use crate::gtid::{GtidSet, Gtids, Relation};
use crate::instance::{Channel, Instance};
use crate::key::InstanceKey;
use crate::status::is_replicating;

/// Servers as they were read for a stage.
pub type Seen = BTreeMap<InstanceKey, Instance>;

/// No script has more stages than this.
pub const STAGES_MAX: usize = 8;

/// What a unit does.
#[derive(Debug, Clone, PartialEq)]
pub enum Script {
    /// These steps, in order.
    Steps(Vec<Step>),
    /// A replica goes below a server that must have got as far as it has: MariaDB refuses to serve
    /// a replica that is ahead of its source.
    MoveBehind {
        /// The replica.
        replica: InstanceKey,
        /// Its next source.
        below: InstanceKey,
        /// For so long the next source may take.
        at_most: Duration,
    },
    /// A replica goes below a server on which the place it stands at is known.
    MoveEquivalent {
        /// The replica.
        replica: InstanceKey,
        /// Its next source.
        below: InstanceKey,
        /// Where it has to stand.
        from: BinlogCoordinates,
        /// The same place in the log of its next source.
        to: BinlogCoordinates,
    },
    /// A replica goes one level up, by file and position: it runs up to where its stopped source
    /// stands, and goes on from there at the source's source.
    MoveUp {
        /// The replica.
        replica: InstanceKey,
        /// Its source, which stands still.
        source: InstanceKey,
        /// The source's source.
        above: InstanceKey,
    },
    /// A replica goes below its sibling, by file and position: whoever is behind runs up to where
    /// the other stands.
    MoveBelow {
        /// The replica.
        replica: InstanceKey,
        /// The sibling.
        sibling: InstanceKey,
    },
    /// A replica and its source change places, by file and position.
    TakeSource {
        /// The replica.
        replica: InstanceKey,
        /// Its source.
        source: InstanceKey,
        /// The source's source; may be dead.
        above: InstanceKey,
    },
    /// A replica and its source change places, by GTID: what the stopped source has, the replica
    /// executes before it goes up.
    TakeSourceByGtid {
        /// The replica.
        replica: InstanceKey,
        /// Its source.
        source: InstanceKey,
        /// The source's source; may be dead.
        above: InstanceKey,
        /// For so long the replica may take to execute it.
        at_most: Duration,
    },
    /// The source of a replica follows it from where its log ends.
    Follow {
        /// The one that follows.
        follower: InstanceKey,
        /// The one that is followed.
        leader: InstanceKey,
    },
    /// A replica stops with everything applied that it received.
    StopApplied {
        /// The replica.
        replica: InstanceKey,
        /// For so long it may take.
        at_most: Duration,
    },
    /// A server without replicas drops its binary logs, and with them transactions of its own.
    DropErrant {
        /// The server.
        key: InstanceKey,
        /// The transactions.
        errant: GtidSet,
    },
    /// A replica goes on by file and position where it stands.
    LeaveGtid {
        /// The replica.
        replica: InstanceKey,
        /// Its source.
        source: InstanceKey,
    },
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// These steps: in order on each server, servers side by side.
    Act(Vec<Step>),
    /// Wait until the applier of a server has come to a place in its source's log.
    AwaitExecuted {
        /// The server.
        key: InstanceKey,
        /// The place.
        until: BinlogCoordinates,
    },
    /// Nothing: it is done.
    Done,
    /// What the servers tell forbids to go on.
    Refused(Refused),
}

impl Script {
    /// The servers it deals with.
    pub fn servers(&self) -> impl Iterator<Item = &InstanceKey> {
        let (steps, servers): (&[Step], Vec<&InstanceKey>) = match self {
            Self::Steps(steps) => (steps, Vec::new()),
            Self::MoveUp { replica, source, .. }
            | Self::TakeSource { replica, source, .. }
            | Self::TakeSourceByGtid { replica, source, .. } => (&[], vec![replica, source]),
            Self::MoveBelow { replica, sibling: other }
            | Self::MoveBehind { replica, below: other, .. } => (&[], vec![replica, other]),
            Self::Follow { follower, leader } => (&[], vec![follower, leader]),
            Self::LeaveGtid { replica: key, .. }
            | Self::MoveEquivalent { replica: key, .. }
            | Self::StopApplied { replica: key, .. }
            | Self::DropErrant { key, .. } => (&[], vec![key]),
        };
        steps.iter().map(|step| &step.key).chain(servers)
    }

    /// Whether its stages depend on what the servers tell then.
    pub fn needs_readings(&self) -> bool {
        !matches!(self, Self::Steps(_))
    }

    /// Whether replication may be started on a server after the script broke off.
    ///
    /// # Errors
    /// When the server would apply everything a second time.
    pub fn may_start(&self, seen: &Seen, key: &InstanceKey) -> Result<(), Refused> {
        let Self::DropErrant { .. } = self else { return Ok(()) };
        match &instance(seen, key)?.facts.gtid.executed {
            Gtids::MySql(executed) if !executed.is_empty() => Ok(()),
            _ => Err(Refused(format!(
                "{key} has lost the set of what it executed and is left stopped: set gtid_purged \
                 before it replicates again"
            ))),
        }
    }

    /// What to do after `done` stages.
    pub fn next(&self, done: usize, seen: &Seen) -> Next {
        let next = match self {
            Self::Steps(steps) if done == 0 => Ok(Next::Act(steps.clone())),
            Self::Steps(_) => Ok(Next::Done),
            Self::MoveBehind { replica, below, at_most } => {
                move_behind(done, seen, replica, below, *at_most)
            }
            Self::MoveEquivalent { replica, below, from, to } => match done {
                0 => Ok(Next::Act(vec![stop(replica)])),
                1 => stands_at(seen, replica, from)
                    .map(|()| Next::Act(vec![change(replica, below, to)])),
                _ => Ok(Next::Done),
            },
            Self::MoveUp { replica, source, above } => move_up(done, seen, replica, source, above),
            Self::MoveBelow { replica, sibling } => move_below(done, seen, replica, sibling),
            Self::TakeSource { replica, source, above } => {
                take_source(done, seen, replica, source, above)
            }
            Self::TakeSourceByGtid { replica, source, above, at_most } => {
                take_source_by_gtid(done, seen, [replica, source, above], *at_most)
            }
            Self::Follow { follower, leader } => follow(done, seen, follower, leader),
            Self::StopApplied { replica, at_most } => stop_applied(done, seen, replica, *at_most),
            Self::DropErrant { key, errant } => drop_errant(done, seen, key, errant),
            Self::LeaveGtid { replica, source } => leave_gtid(done, seen, replica, source),
        };
        next.unwrap_or_else(Next::Refused)
    }
}

type Staged = Result<Next, Refused>;

fn move_behind(
    done: usize,
    seen: &Seen,
    replica: &InstanceKey,
    below: &InstanceKey,
    at_most: Duration,
) -> Staged {
    match done {
        0 => Ok(Next::Act(vec![stop(replica)])),
        1 => {
            let ours = instance(seen, replica)?.facts.gtid.applied();
            let next = instance(seen, below)?;
            let theirs = next.facts.gtid.applied().union(&logged(next));
            let relation = theirs.relation(&ours);
            if !matches!(relation, Some(Relation::Subset | Relation::Diverged)) {
                return Ok(Next::Act(Vec::new()));
            }
            if !is_replicating(next) {
                return Err(Refused(format!(
                    "{below} lacks transactions that {replica} has: {ours}"
                )));
            }
            let until = Until::Gtids(ours);
            Ok(Next::Act(vec![Step::new(below, Action::WaitExecuted { until, at_most })]))
        }
        2 => {
            let action = Action::ChangeSource { to: below.clone(), place: Place::Gtid };
            Ok(Next::Act(vec![Step::new(replica, action)]))
        }
        _ => Ok(Next::Done),
    }
}

fn move_up(
    done: usize,
    seen: &Seen,
    replica: &InstanceKey,
    source: &InstanceKey,
    above: &InstanceKey,
) -> Staged {
    match done {
        0 => Ok(Next::Act(vec![stop(source), stop(replica)])),
        1 => run_up_to(seen, replica, log_end(seen, source)?),
        2 => await_arrival(seen, replica, log_end(seen, source)?),
        3 => Ok(Next::Act(vec![stop(replica)])),
        4 => {
            stands_at(seen, replica, log_end(seen, source)?)?;
            let from = executed(seen, source)?;
            Ok(Next::Act(vec![change(replica, above, from)]))
        }
        _ => Ok(Next::Done),
    }
}

fn take_source(
    done: usize,
    seen: &Seen,
    replica: &InstanceKey,
    source: &InstanceKey,
    above: &InstanceKey,
) -> Staged {
    match done {
        // The replica goes up first; then its log ends where the source has to begin.
        0..=4 => move_up(done, seen, replica, source, above),
        5 => {
            let from = log_end(seen, replica)?;
            Ok(Next::Act(vec![change(source, replica, from)]))
        }
        _ => Ok(Next::Done),
    }
}

fn take_source_by_gtid(
    done: usize,
    seen: &Seen,
    [replica, source, above]: [&InstanceKey; 3],
    at_most: Duration,
) -> Staged {
    let change = |key: &InstanceKey, to: &InstanceKey| {
        Step::new(key, Action::ChangeSource { to: to.clone(), place: Place::Same })
    };
    match done {
        0 => Ok(Next::Act(vec![stop(source)])),
        1 => {
            let source = instance(seen, source)?;
            let until = Until::Gtids(match logged(source) {
                Gtids::None => source.facts.gtid.executed.clone(),
                logged => logged,
            });
            let wait = Step::new(replica, Action::WaitExecuted { until, at_most });
            Ok(Next::Act(vec![wait, stop(replica)]))
        }
        2 => Ok(Next::Act(vec![change(replica, above), change(source, replica)])),
        _ => Ok(Next::Done),
    }
}

fn move_below(done: usize, seen: &Seen, replica: &InstanceKey, sibling: &InstanceKey) -> Staged {
    match done {
        0 => Ok(Next::Act(vec![stop(replica), stop(sibling)])),
        1 => {
            let (ours, theirs) = (executed(seen, replica)?, executed(seen, sibling)?);
            if ours.is_before(theirs) {
                run_up_to(seen, replica, theirs)
            } else {
                run_up_to(seen, sibling, ours)
            }
        }
        2 => {
            let (ours, theirs) = (executed(seen, replica)?, executed(seen, sibling)?);
            // Whoever was behind runs; it cannot run past the other.
            let (behind, until) =
                if ours.is_before(theirs) { (replica, theirs) } else { (sibling, ours) };
            await_arrival(seen, behind, until)
        }
        3 => Ok(Next::Act(vec![stop(replica), stop(sibling)])),
        4 => {
            stands_at(seen, replica, executed(seen, sibling)?)?;
            let from = log_end(seen, sibling)?;
            Ok(Next::Act(vec![change(replica, sibling, from)]))
        }
        _ => Ok(Next::Done),
    }
}

fn follow(done: usize, seen: &Seen, follower: &InstanceKey, leader: &InstanceKey) -> Staged {
    match done {
        0 => {
            let from = log_end(seen, leader)?;
            let mut steps = Vec::new();
            if seen.get(follower).is_some_and(|it| it.facts.main_channel().is_some()) {
                steps.push(stop(follower));
            }
            steps.push(change(follower, leader, from));
            Ok(Next::Act(steps))
        }
        _ => Ok(Next::Done),
    }
}

fn stop_applied(done: usize, seen: &Seen, replica: &InstanceKey, at_most: Duration) -> Staged {
    match done {
        0 => Ok(Next::Act(vec![
            // In this order: MariaDB throws away what is not applied once none of them runs.
            Step::new(replica, Action::Start(Threads::Applier)),
            Step::new(replica, Action::Stop(Threads::Receiver)),
        ])),
        1 => {
            let channel = instance(seen, replica)?.facts.main_channel();
            let channel = channel.ok_or_else(|| not_a_replica(replica))?;
            let until = received(channel);
            let wait = Step::new(replica, Action::WaitExecuted { until, at_most });
            Ok(Next::Act(vec![wait, stop(replica)]))
        }
        _ => Ok(Next::Done),
    }
}

fn drop_errant(done: usize, seen: &Seen, key: &InstanceKey, errant: &GtidSet) -> Staged {
    match done {
        0 => Ok(Next::Act(vec![stop(key)])),
        1 => {
            let Gtids::MySql(executed) = &instance(seen, key)?.facts.gtid.executed else {
                return Err(Refused(format!("{key} does not tell what it has executed")));
            };
            let purged = executed.subtract(errant);
            Ok(Next::Act(vec![Step::new(key, Action::ResetBinaryLogs { purged })]))
        }
        _ => Ok(Next::Done),
    }
}

fn leave_gtid(done: usize, seen: &Seen, replica: &InstanceKey, source: &InstanceKey) -> Staged {
    match done {
        0 => Ok(Next::Act(vec![stop(replica)])),
        1 => {
            let from = executed(seen, replica)?;
            if from.is_empty() {
                return Err(Refused(format!("{replica} does not know where it stands")));
            }
            Ok(Next::Act(vec![change(replica, source, from)]))
        }
        _ => Ok(Next::Done),
    }
}

/// What is in the log of a MariaDB server, which its replicas get.
fn logged(instance: &Instance) -> Gtids {
    let gtids = &instance.facts.gtid;
    if gtids.is_told_apart() { Gtids::MariaDb(gtids.logged.clone()) } else { Gtids::None }
}

/// Lets a server run up to a place, unless it is there.
fn run_up_to(seen: &Seen, key: &InstanceKey, place: &BinlogCoordinates) -> Staged {
    let at = executed(seen, key)?;
    if place.is_before(at) {
        return Err(Refused(format!("{key} has gone past {place} already: it is at {at}")));
    }
    if at == place {
        return Ok(Next::Act(Vec::new()));
    }
    Ok(Next::Act(vec![Step::new(key, Action::StartUntil(place.clone()))]))
}

fn await_arrival(seen: &Seen, key: &InstanceKey, place: &BinlogCoordinates) -> Staged {
    if executed(seen, key)? == place {
        return Ok(Next::Act(Vec::new()));
    }
    Ok(Next::AwaitExecuted { key: key.clone(), until: place.clone() })
}

/// The other place is only right for a server that stands exactly here.
fn stands_at(seen: &Seen, key: &InstanceKey, place: &BinlogCoordinates) -> Result<(), Refused> {
    let at = executed(seen, key)?;
    if at == place {
        return Ok(());
    }
    Err(Refused(format!("{key} should stand at {place} of its source's log and stands at {at}")))
}

/// Where the binary log of a server ends.
fn log_end<'a>(seen: &'a Seen, key: &InstanceKey) -> Result<&'a BinlogCoordinates, Refused> {
    let position = &instance(seen, key)?.facts.binlog.position;
    if position.is_empty() {
        return Err(Refused(format!("instance does not have binary logs enabled: {key}")));
    }
    Ok(position)
}

/// How far a server has executed its source's log.
fn executed<'a>(seen: &'a Seen, key: &InstanceKey) -> Result<&'a BinlogCoordinates, Refused> {
    let channel: Option<&Channel> = instance(seen, key)?.facts.main_channel();
    Ok(&channel.ok_or_else(|| not_a_replica(key))?.executed)
}

fn not_a_replica(key: &InstanceKey) -> Refused {
    Refused(format!("instance is not a replica: {key}"))
}

fn instance<'a>(seen: &'a Seen, key: &InstanceKey) -> Result<&'a Instance, Refused> {
    seen.get(key).ok_or_else(|| Refused(format!("{key} was not read")))
}

fn stop(key: &InstanceKey) -> Step {
    Step::new(key, Action::Stop(Threads::Both))
}

fn change(key: &InstanceKey, to: &InstanceKey, from: &BinlogCoordinates) -> Step {
    let place = Place::File(from.clone());
    Step::new(key, Action::ChangeSource { to: to.clone(), place })
}
