//! Decides whether a failure that the leader found is confirmed by the other nodes.
//!
//! [`look`] says what one node sees of an instance with its own eyes, [`confirm`] what follows from
//! what all of them say, [`isolation`] whether a node has reason to doubt its own eyes (I7). Who
//! leads, and how the others are asked, is not decided here. Nor is anything confirmed that a
//! server says of itself: that it is read-only, or waits for acknowledgements.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::instance::{Health, HealthStatus, Instance, ProbeFailure};
use crate::key::InstanceKey;
use crate::recovery::{Cause, Kind, Recovery};
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

/// A failed look that ended so long before the question still counts. One at a server that nobody
/// reaches takes longer than a question may.
pub const FAILED_COUNTS_FOR: Duration = Duration::from_secs(2);
/// An answer counts for so long after it was asked for.
pub const POLL_COUNTS_FOR: Duration = Duration::from_secs(2);
/// A node that lost fewer servers than this at once makes nothing of it: two may share a switch.
pub const LOST_MIN: usize = 3;
/// A node that could not run for this share of the last seconds, in percent, takes what it sees for
/// its own lateness.
pub const RUNTIME_DELAY_PERCENT_MAX: u8 = 90;
/// What became of older questions is forgotten.
const POLL_KEPT_FOR: Duration = Duration::from_secs(600);
/// Of more instances than this the outcome is not kept.
const POLLS_MAX: usize = 1_000;

/// Which nodes have to see a failure before the leader acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Agreement {
    /// The leader; nobody else is asked.
    Leader,
    /// More than half of the nodes that can see anything.
    #[default]
    Majority,
    /// All nodes that can see anything.
    All,
}

/// What the leader wants to know of the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The instance that seems to be dead.
    pub key: InstanceKey,
    /// The recovery it would be.
    pub kind: Kind,
    /// Replicas the leader does not see: whoever sees one of them receive sees the instance alive.
    #[serde(default)]
    pub unseen: Vec<InstanceKey>,
}

/// What a node sees of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "sees", rename_all = "kebab-case")]
pub enum Sight {
    /// It is dead.
    Dead {
        /// What the node saw.
        why: String,
    },
    /// It lives.
    Alive {
        /// What the node saw.
        why: String,
    },
    /// The node can see, but has not seen enough yet.
    Undecided {
        /// What it waits for.
        why: String,
    },
    /// The node cannot tell: it is cut off itself, or does not know the instance.
    Blind {
        /// What is the matter.
        why: String,
    },
    /// Something that only newer nodes know. As good as blind.
    #[serde(other)]
    Unknown,
}

/// What one node sees, or why it did not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The node.
    pub node: String,
    /// Its data centre; empty when not known.
    pub data_center: String,
    /// What it said; or why it said nothing.
    pub said: Result<Sight, String>,
}

/// A node that may still answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outstanding {
    /// The node.
    pub node: String,
    /// Its data centre, if it ever told.
    pub data_center: Option<String>,
}

/// What follows from what the nodes said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The failure is one.
    Confirmed {
        /// The nodes that see it.
        by: Vec<String>,
    },
    /// Too few see it; why.
    Unconfirmed(Vec<String>),
    /// Somebody in the same data centre sees it alive.
    Vetoed {
        /// Who, and what they see.
        by: Vec<String>,
    },
}

impl Verdict {
    /// Whether the leader may act.
    pub fn is_confirmed(&self) -> bool {
        matches!(self, Self::Confirmed { .. })
    }

    /// What stands against it; nothing when it is confirmed.
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Confirmed { .. } => Vec::new(),
            Self::Unconfirmed(reasons) => reasons.clone(),
            Self::Vetoed { by } => by.iter().map(|it| format!("vetoed: {it}")).collect(),
        }
    }
}

/// One question to the nodes, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// What was asked about.
    pub question: Question,
    /// When.
    pub asked_at: Timestamp,
    /// What everybody said, by name.
    pub reports: Vec<Report>,
    /// What follows.
    pub verdict: Verdict,
}

impl Poll {
    /// One line for a log that people read.
    pub fn line(&self) -> String {
        let said: Vec<String> = self.reports.iter().map(words).collect();
        let said = said.join("; ");
        match &self.verdict {
            Verdict::Confirmed { by } => format!("confirmed by {}: {said}", by.join(", ")),
            Verdict::Unconfirmed(_) => format!("not confirmed: {said}"),
            Verdict::Vetoed { .. } => format!("vetoed: {said}"),
        }
    }
}

/// What the nodes were asked lately.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Polls {
    /// How many nodes have a vote, this one included; none or one when it is alone.
    pub nodes: usize,
    /// The newest outcome for each instance.
    pub newest: BTreeMap<InstanceKey, Arc<Poll>>,
}

impl Polls {
    /// The same, with one more outcome; what is long ago is forgotten.
    #[must_use]
    pub fn with(&self, poll: Poll) -> Self {
        let now = poll.asked_at;
        let mut newest = self.newest.clone();
        newest.retain(|_, poll| now.since(poll.asked_at) < POLL_KEPT_FOR);
        while newest.len() >= POLLS_MAX {
            newest.pop_first();
        }
        newest.insert(poll.question.key.clone(), Arc::new(poll));
        Self { nodes: self.nodes, newest }
    }
}

/// What one node sees of an instance, and whom it has to look at to see more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What it sees.
    pub sight: Sight,
    /// Empty once nothing more is to be seen.
    pub wanted: Vec<InstanceKey>,
}

/// What a node sees of an instance, given that it was asked at `asked_at`.
///
/// That an instance lives is only said after a look that began since; that it is dead also after
/// one that failed a moment before.
pub fn look(question: &Question, fleet: &FleetSnapshot, asked_at: Timestamp) -> Look {
    let settled = |sight| Look { sight, wanted: Vec::new() };
    if let Some(why) = isolation(fleet, asked_at) {
        return settled(Sight::Blind { why });
    }
    let key = &question.key;
    let Some((cluster, member)) = fleet.member(key) else {
        return settled(Sight::Blind { why: format!("{key} is not known here") });
    };
    if !member.instance.was_seen() {
        return settled(Sight::Blind { why: format!("{key} was never seen from here") });
    }
    let why = match seen(&member.instance, asked_at) {
        Seen::Answering => return settled(Sight::Alive { why: "it answers".into() }),
        Seen::Failing(failure) => {
            let mut findings = cluster.analyses.iter().filter(|it| it.key == *key);
            let finds_the_same = findings.any(|it| Kind::of(it.code) == Some(question.kind));
            // Half an answer may be the last one; a no is as good as a yes.
            if failure.kind.is_answer() || (failure.partial && !finds_the_same) {
                let why = format!("it is there: {}", failure.message);
                return settled(Sight::Alive { why });
            }
            failure.message.clone()
        }
        Seen::NotYet => {
            let why = "no look at it has ended yet".into();
            return Look { sight: Sight::Undecided { why }, wanted: vec![key.clone()] };
        }
    };
    let witnesses = question.unseen.iter().filter_map(|it| fleet.instance(it));
    let mut wanted = Vec::new();
    for witness in witnesses {
        match seen(witness, asked_at) {
            Seen::Answering if receives_from(witness, key) => {
                let why = format!("{} still receives from it", witness.key);
                return settled(Sight::Alive { why });
            }
            Seen::Answering | Seen::Failing(_) => {}
            Seen::NotYet => wanted.push(witness.key.clone()),
        }
    }
    match wanted.first() {
        None => settled(Sight::Dead { why }),
        Some(witness) => {
            let why = format!("no look at its replica {witness} has ended yet");
            Look { sight: Sight::Undecided { why }, wanted }
        }
    }
}

/// What the newest look of this node says.
enum Seen<'a> {
    Answering,
    Failing(&'a ProbeFailure),
    NotYet,
}

fn seen(instance: &Instance, asked_at: Timestamp) -> Seen<'_> {
    let health = &instance.health;
    match &health.status {
        HealthStatus::Valid if health.own_attempt >= Some(asked_at) => Seen::Answering,
        HealthStatus::Invalid(failure)
            if health.last_check >= Some(asked_at.minus(FAILED_COUNTS_FOR)) =>
        {
            Seen::Failing(failure)
        }
        HealthStatus::Unprobed | HealthStatus::Valid | HealthStatus::Invalid(_) => Seen::NotYet,
    }
}

fn receives_from(replica: &Instance, source: &InstanceKey) -> bool {
    let channel = replica.facts.main_channel();
    channel.is_some_and(|it| it.hears_source() && it.source.attached() == Some(source))
}

/// Why a node should not believe what it sees: it hardly got to run, or it lost most of the fleet at
/// the same moment, and that is more likely its own doing (I7). Servers in downtime are not counted, nor those that were
/// gone before. Not looked into while somebody has released the breaker.
pub fn isolation(fleet: &FleetSnapshot, now: Timestamp) -> Option<String> {
    if now < fleet.ledger.breaker_released_until {
        return None;
    }
    if fleet.runtime_delay_percent >= RUNTIME_DELAY_PERCENT_MAX {
        return Some(format!(
            "this node was not able to run for {} % of the last seconds: it lacks processor, or a \
             thread of it is stuck, and may be late itself",
            fleet.runtime_delay_percent
        ));
    }
    // Nobody is looked at less often, and a look may take a while.
    let moment = fleet.policy.poll_interval * 2;
    let is_seen = |it: &Health| !it.is_hearsay() || it.own_attempt >= Some(now.minus(moment));
    let mut valid = 0;
    let mut lost = Vec::new();
    for (_, member) in fleet.members() {
        match &member.instance.health.status {
            // What others see says nothing of this node's own eyes.
            HealthStatus::Valid => valid += usize::from(is_seen(&member.instance.health)),
            HealthStatus::Invalid(failure) if !failure.kind.is_answer() => {
                let is_expected = fleet.ledger.downtime_of(member.key(), now).is_some();
                lost.extend(member.instance.health.last_seen.filter(|_| !is_expected));
            }
            HealthStatus::Unprobed | HealthStatus::Invalid(_) => {}
        }
    }
    if lost.len() < LOST_MIN {
        return None;
    }
    lost.sort_unstable();
    lost.iter().enumerate().find_map(|(before, began)| {
        let at_once = lost[before..].iter().filter(|it| it.since(*began) <= moment).count();
        let were_there = valid + lost.len() - before;
        (at_once >= LOST_MIN && at_once * 2 > were_there).then(|| {
            format!(
                "this node lost sight of {at_once} of {were_there} servers at once: it may be cut \
                 off itself"
            )
        })
    })
}

/// What follows from what the nodes said of an instance in `data_center`. `nodes` have a vote; one
/// that does not answer is not counted among those that can see, but if too few answer the leader
/// may be the one who is cut off (I7).
pub fn confirm(
    agreement: Agreement,
    data_center: &str,
    nodes: usize,
    reports: &[Report],
) -> Verdict {
    let is_near = |it: &&Report| !data_center.is_empty() && it.data_center == data_center;
    let sees_it_alive = |it: &&Report| matches!(it.said, Ok(Sight::Alive { .. }));
    let vetoes: Vec<String> =
        reports.iter().filter(is_near).filter(sees_it_alive).map(words).collect();
    if !vetoes.is_empty() {
        return Verdict::Vetoed { by: vetoes };
    }
    let answered = reports.iter().filter(|it| it.said.is_ok()).count();
    let mut reasons = Vec::new();
    if answered * 2 <= nodes {
        reasons.push(format!(
            "only {answered} of {nodes} nodes answered in time: this one may be cut off itself"
        ));
    }
    let can_see = reports.iter().filter(|it| {
        use Sight::{Alive, Dead, Undecided};
        matches!(it.said, Ok(Dead { .. } | Alive { .. } | Undecided { .. }))
    });
    let can_see = can_see.count();
    let agreeing = reports.iter().filter(|it| matches!(it.said, Ok(Sight::Dead { .. })));
    let by: Vec<String> = agreeing.map(|it| it.node.clone()).collect();
    let wanted = match agreement {
        Agreement::Leader => 1,
        Agreement::Majority => can_see / 2 + 1,
        Agreement::All => can_see.max(1),
    };
    if by.len() < wanted {
        reasons.push(match can_see {
            0 => "no node can see anything".to_owned(),
            _ => format!(
                "{} of the {can_see} nodes that can see anything see it dead, {wanted} have to",
                by.len()
            ),
        });
    }
    if reasons.is_empty() {
        return Verdict::Confirmed { by };
    }
    let dissent = |it: &&Report| !matches!(it.said, Ok(Sight::Dead { .. }));
    reasons.extend(reports.iter().filter(dissent).map(words));
    Verdict::Unconfirmed(reasons)
}

/// The verdict, if nothing that could still be said would change it.
pub fn settled(
    agreement: Agreement,
    data_center: &str,
    nodes: usize,
    reports: &[Report],
    outstanding: &[Outstanding],
) -> Option<Verdict> {
    let supposing = |said: &dyn Fn() -> Result<Sight, String>| {
        let rest = outstanding.iter().map(|it| Report {
            node: it.node.clone(),
            data_center: it.data_center.clone().unwrap_or_else(|| data_center.to_owned()),
            said: said(),
        });
        let mut all: Vec<Report> = reports.iter().cloned().chain(rest).collect();
        // Whose answer came first is no news.
        all.sort_by(|a, b| a.node.cmp(&b.node));
        confirm(agreement, data_center, nodes, &all)
    };
    let why = || "not waited for".to_owned();
    let silent = supposing(&|| Err(why()));
    let alive = supposing(&|| Ok(Sight::Alive { why: why() }));
    let dead = supposing(&|| Ok(Sight::Dead { why: why() }));
    let is_confirmed = silent.is_confirmed() && alive.is_confirmed();
    (is_confirmed || !dead.is_confirmed()).then_some(silent)
}

/// What a node said, in words.
fn words(report: &Report) -> String {
    let Report { node, data_center, said } = report;
    let zone = if data_center.is_empty() { String::new() } else { format!(" ({data_center})") };
    match said {
        Ok(Sight::Dead { why }) => format!("{node}{zone} sees it dead: {why}"),
        Ok(Sight::Alive { why }) => format!("{node}{zone} sees it alive: {why}"),
        Ok(Sight::Undecided { why }) => format!("{node}{zone} is not sure yet: {why}"),
        Ok(Sight::Blind { why }) => format!("{node}{zone} cannot tell: {why}"),
        Ok(Sight::Unknown) => format!("{node}{zone} says something that is not understood here"),
        Err(why) => format!("{node}{zone} did not answer: {why}"),
    }
}

/// Whether others are asked before a recovery begins: what baton found because it could not reach a
/// server. Not what people ask for, nor what servers that answer say of themselves or others.
pub fn is_subject(recovery: &Recovery) -> bool {
    matches!(recovery.cause, Cause::Found | Cause::Hung)
        && !recovery.analysis.evidence.is_valid
        && matches!(
            recovery.kind,
            Kind::Primary | Kind::CoPrimary | Kind::IntermediateSource | Kind::GroupMember
        )
}

/// Why a recovery may not begin yet, as far as the other nodes are concerned.
pub fn unconfirmed(recovery: &Recovery, fleet: &FleetSnapshot, now: Timestamp) -> Vec<String> {
    let is_alone = fleet.polls.nodes <= 1;
    if is_alone || fleet.policy.recovery.agreement == Agreement::Leader || !is_subject(recovery) {
        return Vec::new();
    }
    match fleet.polls.newest.get(recovery.failed()) {
        None => vec!["the other nodes were not asked yet whether they see it too".into()],
        Some(poll) if poll.verdict.is_confirmed() => match now.since(poll.asked_at) {
            ago if ago <= POLL_COUNTS_FOR && poll.question.kind == recovery.kind => Vec::new(),
            ago => vec![format!(
                "what the other nodes confirmed is {} s old: they have to be asked again",
                ago.as_secs()
            )],
        },
        Some(poll) => poll.verdict.reasons(),
    }
}

/// What is asked about a recovery that is to begin.
pub fn question(recovery: &Recovery, fleet: &FleetSnapshot) -> Question {
    let is_unseen = |key: &&InstanceKey| fleet.instance(key).is_some_and(|it| !it.is_valid());
    let unseen = match recovery.cause {
        // Replicas of a server that hangs do not notice.
        Cause::Hung => Vec::new(),
        _ => recovery.replicas.iter().filter(is_unseen).cloned().collect(),
    };
    Question { key: recovery.failed().clone(), kind: recovery.kind, unseen }
}

#[cfg(test)]
mod tests;
