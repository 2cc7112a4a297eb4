//! What a failover left behind that a person has to see to: transactions that were lost, and a former
//! primary that is not known to be closed, or has what nobody else has.
//!
//! It is told until somebody acknowledges the recovery, brings the former primary back as a replica, or
//! has it forgotten. Nothing is decided here about what becomes of it.

use std::fmt;

use crate::cluster::ClusterId;
use crate::gtid::Gtids;
use crate::instance::Instance;
use crate::key::InstanceKey;
use crate::ledger::LedgerState;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

use super::former::replacement;
use super::{Cause, Kind, Recovery};

/// What one failover left behind. There is at least one concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aftermath {
    /// The recovery.
    pub recovery: u64,
    /// Its name.
    pub uid: std::sync::Arc<str>,
    /// The cluster.
    pub cluster: ClusterId,
    /// The primary that was replaced.
    pub former: InstanceKey,
    /// Who heads the cluster now.
    pub head: InstanceKey,
    /// Since when.
    pub since: Timestamp,
    /// What is the matter.
    pub concerns: Vec<Concern>,
}

/// Something a person has to see to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// The former primary is back and accepts writes.
    Writable,
    /// The former primary was not closed, and was not seen to be since: clients that reach it may write.
    NotFenced,
    /// The former primary is back and closed, and nobody leads: who replaced it is gone, or closed too.
    KeptClosed,
    /// The former primary has transactions that the new one lacks.
    Extra {
        /// How many, as far as can be told.
        count: u64,
        /// Which.
        known: String,
    },
    /// Transactions were lost when the successor was opened.
    Lost {
        /// How many; 0 where positions do not tell.
        count: u64,
        /// Which.
        known: String,
    },
}

impl Concern {
    /// All kinds of concern, as programs know them.
    pub const NAMES: [&str; 5] = [
        "FormerMasterWritable",
        "FormerMasterNotFenced",
        "FormerMasterHasExtraTransactions",
        "FailoverLostTransactions",
        "FormerMasterKeptClosed",
    ];

    /// What programs match on.
    pub const fn name(&self) -> &'static str {
        Self::NAMES[match self {
            Self::Writable => 0,
            Self::NotFenced => 1,
            Self::Extra { .. } => 2,
            Self::Lost { .. } => 3,
            Self::KeptClosed => 4,
        }]
    }

    /// How many transactions it is about; 0 where it is about none, or that cannot be told.
    pub const fn transactions(&self) -> u64 {
        match self {
            Self::Extra { count, .. } | Self::Lost { count, .. } => *count,
            Self::Writable | Self::NotFenced | Self::KeptClosed => 0,
        }
    }
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, concern) in self.concerns.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "; " })?;
            f.write_str(&self.in_words(concern))?;
        }
        Ok(())
    }
}

impl Aftermath {
    /// One concern in a sentence.
    pub fn in_words(&self, concern: &Concern) -> String {
        let (former, head) = (&self.former, &self.head);
        let number = |count: u64| match count {
            0 => "transactions".to_owned(),
            1 => "1 transaction".to_owned(),
            count => format!("{count} transactions"),
        };
        match concern {
            Concern::Writable => {
                format!("the former primary {former} accepts writes beside {head}")
            }
            Concern::NotFenced => format!(
                "the former primary {former} was not made read-only and does not answer: clients \
                 that reach it may still write to it"
            ),
            Concern::KeptClosed => format!(
                "the former primary {former} is back and refuses writes, and nobody accepts any: {head}, \
                 which replaced it and may have what it lacks, does not answer, or refuses them too"
            ),
            Concern::Extra { count, known } => format!(
                "the former primary {former} has {} that {head} lacks: {known}",
                number(*count)
            ),
            Concern::Lost { count, known } => {
                format!("{} lost when {former} was replaced: {known}", number(*count))
            }
        }
    }

    /// What people can do about it, the safest first.
    pub fn advice(&self) -> Vec<String> {
        let former = &self.former;
        let mut next = Vec::new();
        if self.concerns.iter().any(|it| matches!(it, Concern::Extra { .. })) {
            next.push(format!("See and keep them: baton client extra-transactions -i {former}"));
        }
        if self.concerns.iter().any(|it| matches!(it, Concern::NotFenced | Concern::Writable)) {
            next.push(format!("Make sure that no client reaches {former}, or shut it down."));
        }
        if self.concerns.contains(&Concern::KeptClosed) {
            let head = &self.head;
            next.push(format!(
                "Start {head} again, and see that it accepts writes (baton client set-writeable -i {head})."
            ));
            next.push(format!(
                "If {head} is lost for good, with what only it had: baton client set-writeable -i {former}"
            ));
        }
        next.push(format!(
            "Bring {former} back as a replica (baton client rejoin -i {former}), or have it \
             forgotten (baton client forget -i {former})."
        ));
        next.push(format!(
            "Acknowledge recovery {} ({}): baton client ack-cluster-recoveries -c {} -r REASON",
            self.recovery, self.uid, self.head
        ));
        next
    }
}

/// Whether there is any failover that may leave something behind.
pub fn may_leave_anything(ledger: &LedgerState) -> bool {
    ledger.recoveries.values().any(|it| may_leave_something(it))
}

/// What failovers left behind, oldest first.
pub fn aftermaths(fleet: &FleetSnapshot) -> Vec<Aftermath> {
    let open = fleet.ledger.recoveries.values().filter(|it| may_leave_something(it));
    open.filter_map(|recovery| aftermath(recovery, fleet)).collect()
}

fn may_leave_something(recovery: &Recovery) -> bool {
    matches!(recovery.kind, Kind::Primary | Kind::CoPrimary)
        && recovery.successor.is_some()
        && recovery.ended_at.is_some()
        && recovery.acknowledged.is_none()
}

fn aftermath(recovery: &Recovery, fleet: &FleetSnapshot) -> Option<Aftermath> {
    let key = recovery.failed();
    // Whoever was forgotten, was made primary again, or was replaced once more since is handled, or told
    // of with the newer recovery.
    let former = fleet.instance(key)?;
    let (newest, head) = replacement(key, fleet)?;
    if newest.id != recovery.id {
        return None;
    }
    // Also one that followed when it was seen last, and has died since.
    let is_back = former.is_valid() || former.health.facts_from > recovery.ended_at;
    let follows = is_back && former.facts.source().is_some();
    let mut concerns = if follows { Vec::new() } else { of_former(former, recovery, &head, fleet) };
    if let Some(loss) = recovery.loss().filter(|_| !follows || came_back_by_itself(recovery, fleet))
    {
        concerns.push(Concern::Lost { count: loss.count, known: loss.known.clone() });
    }
    if concerns.is_empty() {
        return None;
    }
    Some(Aftermath {
        recovery: recovery.id,
        uid: recovery.uid.clone(),
        cluster: recovery.cluster.clone(),
        former: key.clone(),
        head,
        since: recovery.ended_at.unwrap_or(recovery.begun_at),
        concerns,
    })
}

/// Then no person has seen what it cost.
fn came_back_by_itself(recovery: &Recovery, fleet: &FleetSnapshot) -> bool {
    fleet.ledger.recoveries.values().any(|it| {
        it.id > recovery.id && it.cause == Cause::RejoinAuto && it.failed() == recovery.failed()
    })
}

fn of_former(
    former: &Instance,
    recovery: &Recovery,
    head: &InstanceKey,
    fleet: &FleetSnapshot,
) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let was_seen = former.health.facts_from > recovery.ended_at;
    match was_seen {
        true if !former.facts.read_only => concerns.push(Concern::Writable),
        false if !recovery.fenced => concerns.push(Concern::NotFenced),
        true if former.is_valid() && leads_nobody(head, fleet) => {
            concerns.push(Concern::KeptClosed);
        }
        _ => {}
    }
    let extra = was_seen.then(|| extra(former, recovery, head, fleet)).flatten();
    concerns.extend(extra);
    concerns
}

/// Whether a primary is gone, or refuses writes, and no replica of it answers that could replace it.
fn leads_nobody(head: &InstanceKey, fleet: &FleetSnapshot) -> bool {
    let answers = |key: &InstanceKey| fleet.instance(key).is_some_and(|it| it.is_valid());
    fleet.member(head).is_some_and(|(_, it)| {
        let is_gone = it.instance.is_failed() && it.instance.refusal().is_none();
        let is_closed = it.instance.is_valid() && it.instance.facts.read_only;
        (is_gone || is_closed) && !it.replicas.iter().any(answers)
    })
}

/// What the former primary wrote that the new one lacks.
fn extra(
    former: &Instance,
    recovery: &Recovery,
    head: &InstanceKey,
    fleet: &FleetSnapshot,
) -> Option<Concern> {
    let kept = recovery.plan.as_ref().map_or(&Gtids::None, |plan| &plan.loss.kept);
    let head = &fleet.instance(head)?.facts.gtid.executed;
    match (&former.facts.gtid.executed, head, kept) {
        (Gtids::MySql(ours), Gtids::MySql(theirs), _) => {
            let extra = ours.subtract(theirs);
            let count = extra.count();
            (count > 0).then(|| Concern::Extra { count, known: extra.to_string() })
        }
        // A position says nothing of who wrote what lies before it: what counts is how far it got
        // beyond what its successor had of it.
        (Gtids::MariaDb(ours), Gtids::MariaDb(_), Gtids::MariaDb(kept)) => {
            let own = ours.of_server(former.facts.server_id);
            let count = own.count_ahead_of(kept);
            (count > 0)
                .then(|| Concern::Extra { count, known: format!("up to {own}, after {kept}") })
        }
        _ => None,
    }
}
