//! What a failover would lose, and whether it may.
//!
//! Who was ever seen to have something is remembered: the old primary by its last facts, replicas by
//! theirs and by what they had before they came back with less. What was seen on a replica counts only
//! while the old primary was not seen since: after that, its own word is the newer one.
//!
//! The last few writes that a primary was seen to have and that were still on their way when it died
//! are what asynchronous replication is known to lose: told, and no reason to leave a cluster without
//! primary. Whoever did not receive any more before that, or lost what it had, is another matter.

use crate::binlog::BinlogCoordinates;
use crate::cluster::Member;
use crate::errant::imported;
use crate::gtid::{GtidSet, Gtids};
use crate::key::InstanceKey;
use crate::remembered::{Had, read_by_position, received_or_executed};
use crate::time::Timestamp;

use super::candidate::Situation;
use super::holding::{Holding, holdings};
use super::plan::{delay_seconds, may_have_acknowledged};
use super::{Acknowledging, Cause, Loss, Recovery, Refused};

/// The key that lets baton accept a known loss by itself.
const KEY: &str = "FailMasterPromotionOnKnownLoss";
/// What a person can do.
const FORCE: &str = "force-master-failover accepts that loss";

/// Everybody that had to do with the writes of a primary.
pub(super) struct Witnesses<'a> {
    /// The old primary, if it was ever seen.
    pub(super) failed: Option<&'a Member>,
    /// What it had when it was last seen.
    pub(super) source_had: &'a Gtids,
    /// Its replicas that answer and stand still.
    pub(super) reachable: &'a [&'a Member],
    /// Those that do not.
    pub(super) silent: &'a [&'a Member],
    /// Those of the reachable that stay behind on purpose, are not waited for, and have what the
    /// successor lacks.
    pub(super) ahead: &'a [&'a Member],
}

impl Witnesses<'_> {
    fn replicas(&self) -> impl Iterator<Item = &Member> {
        self.reachable.iter().chain(self.silent).copied()
    }

    fn source_seen(&self) -> Option<Timestamp> {
        self.failed.and_then(|it| it.instance.health.facts_from)
    }

    /// Whether a replica lacks something of what it had, and its source still has that.
    fn is_short_of(&self, had: &Had, member: &Member) -> bool {
        let facts = &member.instance.facts;
        let still_there = common(&had.gtids, self.source_had);
        let written = self.failed.map(|it| &it.instance.facts.binlog.position);
        let read_there = match written {
            Some(written) if written.is_before(&had.read) => written,
            _ => &had.read,
        };
        read_by_position(facts).is_before(read_there)
            || !lacks(&still_there, &received_or_executed(facts)).is_empty()
    }

    /// Whether a replica may have had what nobody can tell any more: it came back with less than it
    /// had, or was started anew with an empty relay log while it received.
    fn has_forgotten(&self, member: &Member, loss: &Loss) -> bool {
        let remembered = &member.instance.remembered;
        let lost_some = remembered.had.as_ref().is_some_and(|had| {
            let is_newest = Some(had.at) > self.source_seen();
            // What the source does not have either was taken back on purpose, and what it was seen to
            // have later the successor has, or it is the loss.
            is_newest || (!loss.is_empty() && self.is_short_of(had, member))
        });
        let was_emptied = remembered.restarted
            && remembered.idle_since > self.source_seen()
            && relay_log_is_empty(member);
        lost_some || was_emptied
    }
}

/// Whether a replica received until its source failed. It did not if the source was seen to live
/// after the replica was seen not to receive.
pub(super) fn was_receiving(member: &Member, failed: Option<&Member>) -> bool {
    let seen = failed.and_then(|it| it.instance.health.facts_from);
    member.instance.remembered.idle_since.is_none_or(|idle| seen < Some(idle))
}

/// A server of MariaDB that finds its place by GTID empties it at every start; one of MySQL that
/// recovered its relay log tells of no transaction in it.
fn relay_log_is_empty(member: &Member) -> bool {
    let facts = &member.instance.facts;
    let Some(channel) = facts.main_channel() else { return false };
    match &channel.received {
        Gtids::MySql(received) if !received.is_empty() => false,
        Gtids::MariaDb(received) => match &facts.gtid.executed {
            Gtids::MariaDb(executed) => executed.contains(received),
            _ => true,
        },
        _ => channel.read == channel.executed || channel.read.is_empty(),
    }
}

/// Something that somebody was seen to have and the successor lacks.
#[derive(Debug, Clone, Default)]
struct Missing {
    known: String,
    count: u64,
}

impl Missing {
    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

fn lacks(was: &Gtids, is: &Gtids) -> Missing {
    match (was, is) {
        (Gtids::MySql(was), Gtids::MySql(is)) => {
            let missing = was.subtract(is);
            Missing { known: missing.to_string(), count: missing.count() }
        }
        (Gtids::MySql(was), _) => Missing { known: was.to_string(), count: was.count() },
        (Gtids::MariaDb(was), Gtids::MariaDb(is)) => match was.count_ahead_of(is) {
            0 => Missing::default(),
            count => Missing { known: format!("up to {was}"), count },
        },
        _ => Missing::default(),
    }
}

/// What both have.
fn common(one: &Gtids, other: &Gtids) -> Gtids {
    match (one, other) {
        (Gtids::MySql(one), Gtids::MySql(other)) => Gtids::MySql(one.intersect(other)),
        // A position stands for everything up to it.
        (Gtids::MariaDb(a), Gtids::MariaDb(b)) if b.contains(a) => one.clone(),
        (Gtids::MariaDb(_), Gtids::MariaDb(_)) => other.clone(),
        _ => Gtids::None,
    }
}

/// What one replica was seen to have since its source was seen last.
struct Seen {
    key: InstanceKey,
    gtids: Gtids,
    read: BinlogCoordinates,
}

fn seen_on(member: &Member, held: &Holding, witnesses: &Witnesses<'_>) -> Option<Seen> {
    let instance = &member.instance;
    let is_newest = |at: Option<Timestamp>| at > witnesses.source_seen();
    let now = is_newest(instance.health.last_seen);
    let had = instance.remembered.had.as_ref().filter(|had| is_newest(Some(had.at)));
    if !now && had.is_none() {
        return None;
    }
    let mut gtids = if now { held.received().clone() } else { Gtids::None };
    let channel = instance.facts.main_channel().filter(|_| now);
    let mut read = channel.map(|it| it.read.clone()).unwrap_or_default();
    if let Some(had) = had {
        gtids = gtids.union(&counted(&had.gtids, member, witnesses));
        if read.is_before(&had.read) {
            read = had.read.clone();
        }
    }
    Some(Seen { key: member.key().clone(), gtids, read })
}

/// What counts of what a replica had: nothing that it imported, or wrote itself; and no domain of
/// MariaDB that is in nobody's log.
fn counted(had: &Gtids, member: &Member, witnesses: &Witnesses<'_>) -> Gtids {
    match had {
        Gtids::MySql(set) => {
            let own = without_own(set, member, witnesses.source_had);
            Gtids::MySql(own.subtract(&imported(&member.instance.facts, &[])))
        }
        Gtids::MariaDb(had) => {
            let family = || witnesses.replicas().chain(witnesses.failed);
            let logs = || family().map(|it| &it.instance.facts.gtid.logged_by);
            let knows_logs = logs().any(|it| !it.is_empty());
            let is_logged = |domain| logs().any(|it| it.has_domain(domain));
            Gtids::MariaDb(had.filtered(|it| !knows_logs || is_logged(it.domain)))
        }
        Gtids::None => Gtids::None,
    }
}

/// Without what only this replica wrote.
fn without_own(set: &GtidSet, member: &Member, source_had: &Gtids) -> GtidSet {
    let own = member.instance.facts.server_uuid;
    let others = set.without_uuids(own.as_slice());
    let shared = match source_had {
        Gtids::MySql(source_had) => set.intersect(source_had),
        _ => GtidSet::default(),
    };
    others.union(&shared).subtract(&member.errant)
}

/// What would be lost if these were all that is kept: the successor, and who feeds it.
pub(super) fn loss(
    kept: &[&Holding],
    all: &[Holding],
    witnesses: &Witnesses<'_>,
    situation: &Situation<'_>,
) -> Loss {
    let seen = witnesses.failed.and_then(|member| member.instance.health.last_seen);
    let remark = match seen {
        None => "the old primary was never seen".to_owned(),
        Some(seen) => {
            let age = situation.now.since(seen).as_millis();
            format!("the old primary was last seen {age} ms before; later writes are not known")
        }
    };
    let by_position = kept.first().is_some_and(|it| !it.uses_gtid());
    let replicas: Vec<&Member> = witnesses.replicas().collect();
    let held = holdings(&replicas, witnesses.failed, witnesses.source_had);
    let seen = replicas.iter().zip(&held);
    let seen: Vec<Seen> = seen.filter_map(|(it, held)| seen_on(it, held, witnesses)).collect();
    let compare = |gtids: &Gtids, read: &BinlogCoordinates| match gtids {
        // Where places are found by position, a relay log does not count in MariaDB's GTIDs.
        Gtids::MySql(set) if !set.is_empty() => lacks(gtids, &received(kept)),
        Gtids::MariaDb(_) if !by_position => lacks(gtids, &received(kept)),
        _ if by_position => behind(read, kept),
        _ => Missing::default(),
    };
    let mut on: Vec<InstanceKey> = seen
        .iter()
        .filter(|it| !compare(&it.gtids, &it.read).is_empty())
        .map(|it| it.key.clone())
        .collect();
    on.sort();
    let written = witnesses.failed.map(|it| it.instance.facts.binlog.position.clone());
    let mut furthest = written.unwrap_or_default();
    let mut there_was = witnesses.source_had.clone();
    // Whoever is reachable and not kept is given up on purpose.
    let given_up = all.iter().map(|it| (it.received().clone(), it.read().clone()));
    for (gtids, read) in seen.into_iter().map(|it| (it.gtids, it.read)).chain(given_up) {
        there_was = there_was.union(&gtids);
        if furthest.is_before(&read) {
            furthest = read;
        }
    }
    let Missing { known, count } = compare(&there_was, &furthest);
    Loss { known, count, remark, on, kept: received(kept) }
}

fn received(kept: &[&Holding]) -> Gtids {
    kept.iter().fold(Gtids::None, |has, it| has.union(it.received()))
}

/// How far it has not read in its source's log.
fn behind(furthest: &BinlogCoordinates, kept: &[&Holding]) -> Missing {
    let read = kept.first().map(|it| it.read().clone()).unwrap_or_default();
    if furthest.is_empty() || !read.is_before(furthest) {
        return Missing::default();
    }
    // How many transactions that is, the position does not tell.
    Missing { known: format!("from {read} to {furthest}"), count: 0 }
}

/// Whether a loss may be accepted: never of what was acknowledged (I5), and otherwise only as the
/// configuration says. A person may.
pub(super) fn acceptable(
    loss: &Loss,
    successor: &InstanceKey,
    recovery: &Recovery,
    witnesses: &Witnesses<'_>,
    situation: &Situation<'_>,
) -> Result<(), Refused> {
    let is_forced = matches!(recovery.cause, Cause::ForcedFailover | Cause::ForcedTakeover);
    if is_forced {
        return Ok(());
    }
    // Started anew, they may not acknowledge any more: what they show now says nothing of before.
    let forgetful: Vec<&&Member> =
        witnesses.reachable.iter().filter(|it| witnesses.has_forgotten(it, loss)).collect();
    let may_have = |it: &&&Member| may_have_acknowledged(it, recovery.failed());
    let silent = witnesses.silent.iter().filter(may_have).count();
    let doubtful = forgetful.len() + silent;
    if let Acknowledging::By(count @ 1..) = recovery.acknowledging
        && let Some(first) = forgetful.first()
        && doubtful >= count as usize
    {
        let who = forgotten(first);
        let rest = if loss.is_empty() {
            String::new()
        } else {
            format!("; {}", lacks_what(loss, successor, recovery))
        };
        return Err(Refused::because(format!(
            "{who}, and writes were acknowledged once {count} had them{rest}; {FORCE}"
        )));
    }
    if let Acknowledging::By(count @ 1..) = recovery.acknowledging {
        let late: Vec<&&Member> = witnesses.ahead.iter().filter(may_have).collect();
        if let Some(first) = late.first().filter(|_| doubtful + late.len() >= count as usize) {
            let (key, delay) = (first.key(), delay_seconds(first));
            let what = lacks_what(loss, successor, recovery);
            return Err(Refused::because(format!(
                "{what}; {key} received it, is delayed by {delay} s on purpose and not waited for, and \
                 writes were acknowledged once {count} had them; {FORCE}"
            )));
        }
    }
    let is_set = situation.policy.recovery.fail_promotion_on_known_loss;
    // The key lets go of what is gone, not of what a server still has.
    let may_by_key = !is_set && witnesses.ahead.is_empty();
    if loss.is_empty() || is_tail(loss, witnesses) || may_by_key {
        return Ok(());
    }
    let what = lacks_what(loss, successor, recovery);
    let why = match witnesses.ahead.first() {
        None => format!("{KEY} is set"),
        Some(late) => format!(
            "{} received it, is delayed by {} s on purpose and not waited for",
            late.key(),
            delay_seconds(late)
        ),
    };
    Err(Refused::because(format!("{what}, and {why}; {FORCE}")))
}

/// Whether what is lost was still on its way when the old primary failed: somebody received to the end,
/// and the successor has all that this one has. What a delayed replica received beyond that may count
/// as well.
fn is_tail(loss: &Loss, witnesses: &Witnesses<'_>) -> bool {
    let is_ahead = |key: &InstanceKey| witnesses.ahead.iter().any(|it| it.key() == key);
    let was_on_its_way = witnesses.ahead.is_empty() || keeps_what_was_seen(loss, witnesses);
    loss.on.iter().all(is_ahead)
        && was_on_its_way
        && witnesses.reachable.iter().any(|it| {
            !is_ahead(it.key())
                && was_receiving(it, witnesses.failed)
                && !witnesses.has_forgotten(it, loss)
        })
}

/// Whether all that the old primary was seen to have is kept: what is lost came after that.
fn keeps_what_was_seen(loss: &Loss, witnesses: &Witnesses<'_>) -> bool {
    let is_known = match witnesses.source_had {
        Gtids::MySql(set) => !set.is_empty(),
        Gtids::MariaDb(position) => !position.is_empty(),
        Gtids::None => false,
    };
    is_known && lacks(witnesses.source_had, &loss.kept).is_empty()
}

fn forgotten(member: &Member) -> String {
    let key = member.key();
    match member.instance.remembered.had {
        Some(_) => format!("{key} came back with less than it had"),
        None => format!(
            "{key} was started anew and its relay log is empty: what it had received is not known"
        ),
    }
}

fn lacks_what(loss: &Loss, successor: &InstanceKey, recovery: &Recovery) -> String {
    let who = whose(loss, recovery.failed());
    format!("{successor} lacks {} that {who} seen to have: {}", loss.amount(), loss.known)
}

fn whose(loss: &Loss, failed: &InstanceKey) -> String {
    match loss.on.as_slice() {
        [] => format!("{failed} was"),
        [one] => format!("{one} was"),
        many => {
            let many: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("{} were", many.join(" and "))
        }
    }
}
