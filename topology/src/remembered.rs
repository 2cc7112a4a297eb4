//! What earlier probes of a server saw and the newest does not show any more.
//!
//! A replica that crashed may come back without its relay log, and what it had received is gone from
//! its own answers. Facts are replaced by every probe; this is what has to outlive them. It ends when
//! the server shows again what it had, or follows another source, or none; and it says nothing once
//! the source itself was seen later (see [`crate::recovery`]).
//!
//! A server without a source is remembered to have had what it lacks since it was started anew: on an
//! empty disk, or on one that lost its last writes. What people take away while it runs is their choice.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::binlog::BinlogCoordinates;
use crate::gtid::{Gtids, Relation};
use crate::instance::{Facts, Instance, Positioning, ThreadState};
use crate::membership::Listing;
use crate::probe::ProbeResult;
use crate::time::Timestamp;

/// What outlives the facts of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// It had more than it has now, from the source that it still follows, or before it was started
    /// anew where it follows none.
    pub had: Option<Had>,
    /// When the first of the probes began that did not see its receiver run; `None` while it runs.
    pub idle_since: Option<Timestamp>,
    /// It was started anew after its receiver was seen running, and was not seen to receive since.
    pub restarted: bool,
    /// What the lists of its source said of it.
    pub listing: Listing,
}

/// The most that a replica was seen to have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Had {
    /// Received or executed, by GTID.
    pub gtids: Gtids,
    /// How far it had read in its source's log.
    pub read: BinlogCoordinates,
    /// When it was last seen to have it.
    pub at: Timestamp,
    /// Of one without a source: the UUID under which it wrote then.
    pub by: Option<Uuid>,
}

impl Remembered {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a replica has received or executed, by GTID, without what it wrote itself on MariaDB: there
/// that hides how far it is. `gtid_slave_pos`, where it is known, is never hidden.
pub fn received_or_executed(facts: &Facts) -> Gtids {
    let received = facts.main_channel().map_or(&Gtids::None, |channel| &channel.received);
    let executed = match facts.gtid.applied() {
        applied if facts.gtid.is_told_apart() => applied,
        Gtids::MariaDb(position) => Gtids::MariaDb(position.without_server(facts.server_id)),
        other => other,
    };
    executed.union(received)
}

/// What is remembered of an instance once a probe has read `facts`.
pub fn remember(before: &Instance, facts: &Facts, result: &ProbeResult) -> Remembered {
    let is_first = before.health.last_seen.is_none();
    let follows_another = before.facts.source() != facts.source();
    let Some(channel) = facts.main_channel().filter(|_| facts.source().is_some()) else {
        return Remembered {
            had: had_before_restart(before, facts, result),
            ..Remembered::default()
        };
    };
    let idle_since = match channel.receiver {
        ThreadState::Running => None,
        _ if is_first || follows_another => Some(result.started_at),
        _ => before.remembered.idle_since.or(Some(result.started_at)),
    };
    if is_first || follows_another {
        return Remembered { idle_since, ..Remembered::default() };
    }
    let received_then =
        before.facts.main_channel().is_some_and(|it| it.receiver == ThreadState::Running);
    let is_new = received_then && started_since_seen(before, facts, result);
    Remembered {
        had: had(before, facts),
        idle_since,
        restarted: idle_since.is_some() && (is_new || before.remembered.restarted),
        listing: before.remembered.listing.replica_read(channel.receiver),
    }
}

/// Whether a server was started after it was last seen. Uptimes are in whole seconds.
fn started_since_seen(before: &Instance, facts: &Facts, result: &ProbeResult) -> bool {
    let Some(seen) = before.health.last_seen else { return false };
    let passed = result.ended_at.since(seen).as_secs();
    let expected = before.facts.uptime_seconds.saturating_add(passed);
    // 0: not known.
    before.facts.uptime_seconds > 0
        && facts.uptime_seconds <= passed
        && facts.uptime_seconds.saturating_add(1) < expected
}

/// The most it had, if that is more than it has.
fn had(before: &Instance, facts: &Facts) -> Option<Had> {
    let earlier = before.remembered.had.as_ref();
    if earlier.is_none() && *before.facts == *facts {
        return None;
    }
    let now =
        Had { gtids: received_or_executed(facts), read: read_by_position(facts), ..Had::default() };
    let newest = Had {
        gtids: received_or_executed(&before.facts),
        read: read_by_position(&before.facts),
        at: before.health.last_seen.unwrap_or(Timestamp::EPOCH),
        by: None,
    };
    most(earlier, &now, newest)
}

/// The most that a server without a source was seen to have, if it was started anew with less.
fn had_before_restart(before: &Instance, facts: &Facts, result: &ProbeResult) -> Option<Had> {
    let by = before.facts.server_uuid;
    let had = |gtids: Gtids, at| Had { gtids, at, by, ..Had::default() };
    let followed = before.facts.source().is_some() || facts.source().is_some();
    let seen = before.health.last_seen.filter(|_| !followed)?;
    let is_new = is_another(&before.facts, facts)
        || facts.uptime_seconds < before.facts.uptime_seconds
        || started_since_seen(before, facts, result);
    let earlier = before.remembered.had.as_ref();
    if earlier.is_none() && !is_new {
        return None;
    }
    let now = had(written(facts), Timestamp::EPOCH);
    let newest = if is_new { written(&before.facts) } else { Gtids::None };
    most(earlier, &now, had(newest, seen))
}

/// Whether a server goes by another identity than before, as one with a disk of its own does.
fn is_another(before: &Facts, facts: &Facts) -> bool {
    let uuids = before.server_uuid.zip(facts.server_uuid);
    uuids.is_some_and(|(then, now)| then != now) || before.server_id != facts.server_id
}

/// What a server without a source has, by GTID.
pub fn written(facts: &Facts) -> Gtids {
    match &facts.gtid.executed {
        Gtids::MariaDb(executed) => Gtids::MariaDb(executed.union(&facts.gtid.logged)),
        other => other.clone(),
    }
}

/// What it had earlier or had last, as far as it lacks some of it now.
fn most(earlier: Option<&Had>, now: &Had, newest: Had) -> Option<Had> {
    match (earlier.filter(|it| !now.covers(it)), !now.covers(&newest)) {
        (None, false) => None,
        (None, true) => Some(newest),
        (Some(earlier), false) => Some(earlier.clone()),
        (Some(earlier), true) => Some(earlier.and(newest)),
    }
}

/// How far it has read, where that is how it finds its place.
pub fn read_by_position(facts: &Facts) -> BinlogCoordinates {
    let by_file = facts.main_channel().filter(|it| it.positioning == Positioning::File);
    by_file.map(|it| it.read.clone()).unwrap_or_default()
}

impl Had {
    fn covers(&self, other: &Self) -> bool {
        let relation = self.gtids.relation(&other.gtids);
        let by_gtid = match (&self.gtids, &other.gtids) {
            (_, Gtids::None) => true,
            _ => matches!(relation, Some(Relation::Equal | Relation::Superset)),
        };
        by_gtid && (other.read.is_empty() || !self.read.is_before(&other.read))
    }

    fn and(&self, other: Self) -> Self {
        let further = if self.read.is_before(&other.read) { other.read } else { self.read.clone() };
        let gtids = self.gtids.union(&other.gtids);
        Self { gtids, read: further, at: self.at.max(other.at), by: self.by.or(other.by) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fold;
    use crate::testing::{answered, key, primary_facts, refused, replica_facts};

    const P: &str = "00000000-0000-0000-0000-0000000000aa";

    fn mysql(intervals: &str) -> Gtids {
        Gtids::MySql(format!("{P}:{intervals}").parse().unwrap())
    }

    fn mariadb(position: &str) -> Gtids {
        Gtids::MariaDb(position.parse().unwrap())
    }

    fn replica(received: Gtids) -> Facts {
        let mut facts = replica_facts(&key("p"));
        facts.server_id = 2;
        facts.uptime_seconds = 1_000;
        facts.channels[0].received = received;
        facts
    }

    fn seen(all: &[(i64, Facts)]) -> Instance {
        let fold_one = |before: Option<Instance>, (at, facts): &(i64, Facts)| {
            Some(fold(before.as_ref(), &answered("r", *at, facts.clone())))
        };
        all.iter().fold(None, fold_one).unwrap()
    }

    /// What looks at an instance, ten seconds apart, leave of what it was seen to have, and since when.
    fn check_had(case: &str, looks: Vec<Facts>, expected: Option<(&str, i64)>) {
        let looks: Vec<(i64, Facts)> = (10..).step_by(10).zip(looks).collect();
        let had = seen(&looks).remembered.had;
        let place = |read: &BinlogCoordinates| match read.is_empty() {
            true => String::new(),
            false => read.to_string(),
        };
        let told = had.map(|it| (format!("{}{}", it.gtids, place(&it.read)), it.at));
        match (told, expected) {
            (Some((text, at)), Some((ending, seen_at))) => {
                assert!(text.ends_with(ending), "case: {case}: {text}");
                assert_eq!(at, Timestamp::from_secs(seen_at), "case: {case}");
            }
            (told, expected) => {
                assert_eq!(told.is_some(), expected.is_some(), "case: {case}: {told:?}");
            }
        }
    }

    #[test]
    fn whoever_shows_less_than_before_is_remembered_to_have_had_it() {
        let set = |numbers: &str| replica(mysql(numbers));
        let nothing = || replica(Gtids::None);
        let other_source =
            |gtids| Facts { channels: replica_facts(&key("q")).channels, ..replica(gtids) };
        let reset = |gtids| Facts { channels: Vec::new(), ..replica(gtids) };
        let had = Some(("aa:1-9", 10));
        check_had("it goes on", vec![set("1-5"), set("1-9")], None);
        check_had("it lost some", vec![set("1-9"), set("1-3")], had);
        check_had("again and again", vec![set("1-9"), set("1-3"), set("1-4")], had);
        check_had("and gets it again", vec![set("1-9"), set("1-3"), set("1-9")], None);
        check_had("it shows nothing", vec![set("1-9"), nothing()], had);
        check_had("it follows another", vec![set("1-9"), other_source(mysql("1-3"))], None);
        check_had("it follows nobody", vec![set("1-9"), reset(mysql("1-3"))], None);
    }

    #[test]
    fn mariadbs_own_writes_are_no_part_of_what_it_is_remembered_to_have_had() {
        let mine = |gtids: &str| {
            let mut facts = replica(mariadb("0-1-9"));
            facts.gtid.executed = mariadb(gtids);
            facts
        };
        let applied = |position: &str| {
            let mut facts = replica(Gtids::None);
            facts.gtid.executed = mariadb("0-2-11");
            facts.gtid.replicated = position.parse().unwrap();
            facts
        };
        let had = Some(("0-1-9", 10));
        check_had("lost", vec![replica(mariadb("0-1-9")), replica(mariadb("0-1-3"))], had);
        check_had("what it wrote itself", vec![mine("0-2-11"), mine("0-1-9")], None);
        check_had("nor does that hide it", vec![applied("0-1-9"), applied("0-1-3")], had);
    }

    #[test]
    fn by_position_it_is_remembered_up_to_where_it_had_read() {
        let file = |at: u64| {
            let mut facts = replica(Gtids::None);
            facts.channels[0].positioning = Positioning::File;
            facts.channels[0].read = BinlogCoordinates::new("bin.000002", at);
            facts
        };
        check_had("back", vec![file(500), file(400)], Some(("bin.000002:500", 10)));
        check_had("onwards", vec![file(500), file(501)], None);
    }

    #[test]
    fn it_is_known_since_when_nobody_receives_and_who_was_started_anew_meanwhile() {
        let with = |receiver: ThreadState, uptime_seconds: u64| {
            let mut facts = replica(mysql("1-9"));
            facts.channels[0].receiver = receiver;
            Facts { uptime_seconds, ..facts }
        };
        use ThreadState::{Other, Running, Stopped};
        for (case, looks, idle_since, restarted) in [
            ("it runs", vec![with(Running, 100)], None, false),
            ("never seen to run", vec![with(Stopped, 100)], Some(9), false),
            (
                "stopped",
                vec![with(Running, 100), with(Stopped, 110), with(Other, 120)],
                Some(19),
                false,
            ),
            ("and started", vec![with(Stopped, 100), with(Running, 110)], None, false),
            ("started anew", vec![with(Running, 100), with(Other, 3)], Some(19), true),
            (
                "and for longer",
                vec![with(Running, 100), with(Other, 3), with(Other, 13)],
                Some(19),
                true,
            ),
            (
                "and receives",
                vec![with(Running, 100), with(Other, 3), with(Running, 13)],
                None,
                false,
            ),
            ("it had stopped before", vec![with(Stopped, 100), with(Other, 3)], Some(9), false),
        ] {
            let looks: Vec<(i64, Facts)> = (10..).step_by(10).zip(looks).collect();
            let Remembered { idle_since: since, restarted: was, .. } = seen(&looks).remembered;
            assert_eq!(
                (since, was),
                (idle_since.map(Timestamp::from_secs), restarted),
                "case: {case}"
            );
        }
    }

    #[test]
    fn a_primary_is_remembered_to_have_had_what_it_lacks_since_it_was_started_anew() {
        let primary = |executed: Gtids, server: u128, uptime_seconds: u64| {
            let mut facts = Facts { uptime_seconds, ..primary_facts() };
            facts.server_uuid = Some(uuid::Uuid::from_u128(server));
            facts.gtid.executed = executed;
            facts
        };
        let (all, some) = (|| mysql("1-9"), || mysql("1-3"));
        let had = Some(("aa:1-9", 10));
        check_had("it goes on", vec![primary(some(), 1, 90), primary(all(), 1, 100)], None);
        check_had("emptied", vec![primary(all(), 1, 90), primary(mysql("1-1"), 2, 95)], had);
        check_had("the last writes", vec![primary(all(), 1, 90), primary(some(), 1, 3)], had);
        check_had("people took it", vec![primary(all(), 1, 90), primary(some(), 1, 100)], None);
        let restored = vec![primary(all(), 1, 90), primary(some(), 2, 3), primary(all(), 2, 13)];
        check_had("it was restored", restored, None);
        let later = vec![primary(all(), 1, 90), primary(some(), 2, 3), primary(some(), 2, 13)];
        check_had("it stays so", later, had);
        let below = vec![primary(all(), 1, 90), primary(some(), 2, 3), replica(some())];
        check_had("it was made a replica", below, None);
        let on_mariadb = vec![
            primary(mariadb("0-1-9"), 0, 90),
            primary(Gtids::MariaDb("".parse().unwrap()), 0, 3),
        ];
        check_had("MariaDB", on_mariadb, Some(("0-1-9", 10)));
    }

    #[test]
    fn failed_probes_forget_nothing_and_primaries_remember_nothing() {
        let seen = seen(&[(10, replica(mysql("1-9"))), (20, replica(mysql("1-3")))]);
        let lost = fold(Some(&seen), &refused("r", 30));
        assert_eq!(lost.remembered, seen.remembered);
        let head = fold(Some(&seen), &answered("r", 40, primary_facts()));
        assert!(head.remembered.is_empty());
    }
}
