//! What is wrong between the nodes of a raft, as far as their answers tell.
//!
//! A finding changes nothing and blocks nothing: it is logged when it begins and when it ends, and
//! shown where people ask how a node is.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_topology::time::Timestamp;

use super::members::Hello;
use super::network::is_same_reason;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// Two rafts have nodes in common.
    SecondRaft,
    /// Two processes have copies of one disk.
    CopiedDisk,
    /// A node has lost what it had confirmed.
    LostEntries,
    /// A node does not answer.
    NoAnswer,
    /// Two nodes have one name.
    SharedName,
    /// The clock of a node says something else.
    Clock,
    /// A node is configured otherwise where that matters.
    OtherConfiguration,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// The seat of the node it is about.
    pub seat: String,
    /// The whole of it, for people.
    pub text: String,
}

/// What one node was last told by another.
#[derive(Debug, Clone)]
pub struct PeerReport {
    /// The name it was asked under.
    pub seat: String,
    /// Its number, if it is a member.
    pub id: Option<u64>,
    /// What it said.
    pub hello: Option<Hello>,
    /// Why it said nothing, as far as that is known.
    pub error: Option<String>,
    /// When it was asked and when it had answered, by the clock here.
    pub asked: (Timestamp, Timestamp),
}

/// Clocks that differ by more are told of. Nothing is measured by two clocks, but people read them.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(10);

/// What is wrong, as this node (`me`) sees it.
pub(super) fn find(me: &Hello, reports: &[PeerReport]) -> Vec<Finding> {
    let mut found: Vec<Finding> = reports.iter().filter_map(|it| no_answer(me, it)).collect();
    let mut processes = BTreeSet::from([me.process]);
    let answered = reports.iter().filter_map(|it| Some((it.seat.as_str(), it.hello.as_ref()?)));
    // Several names may lead to one process.
    let peers: Vec<(&str, &Hello)> =
        answered.filter(|(_, it)| processes.insert(it.process)).collect();
    found.extend(reports.iter().filter_map(clock));
    found.extend(shared_names(me, &peers));
    found.extend(peers.iter().filter_map(|(seat, it)| second_raft(me, seat, it)));
    found.extend(copied_disks(me, &peers));
    found.extend(lost_entries(me, reports));
    found.extend(peers.iter().filter_map(|(seat, it)| other_configuration(me, seat, it)));
    found
}

/// A seat of the configuration counts until a raft has begun, a member from then on.
fn no_answer(me: &Hello, report: &PeerReport) -> Option<Finding> {
    let text = report.error.clone().filter(|_| report.id.is_some() || !me.is_in_a_raft)?;
    Some(Finding { kind: FindingKind::NoAnswer, seat: report.seat.clone(), text })
}

/// What the clock of a node said when it was asked lies between what the clock here said before and
/// after, if both are right.
fn clock(report: &PeerReport) -> Option<Finding> {
    let hello = report.hello.as_ref().filter(|it| it.now > Timestamp::EPOCH)?;
    let (before, after) = report.asked;
    let (ahead, behind) = (hello.now.since(after), before.since(hello.now));
    let apart = ahead.max(behind);
    let how = if ahead > behind { "ahead of" } else { "behind" };
    let (seat, host, seconds) = (&report.seat, &hello.host, apart.as_secs());
    let text = format!(
        "the clock of {seat} (host {host}) is {seconds} s {how} the clock here: have both machines set \
         theirs by one source (NTP), and start the node again whose clock was wrong"
    );
    let kind = FindingKind::Clock;
    (apart > CLOCKS_APART_MAX).then(|| Finding { kind, seat: seat.clone(), text })
}

fn shared_names(me: &Hello, peers: &[(&str, &Hello)]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (place, (seat, one)) in peers.iter().enumerate() {
        let others = peers[place + 1..].iter().map(|(_, it)| *it).chain([me]);
        let Some(other) = others.into_iter().find(|it| it.name == one.name) else { continue };
        let text = format!(
            "two nodes call themselves {}: {} and {}; give each a RaftAdvertise of its own",
            one.name,
            machine(one),
            machine(other),
        );
        found.push(Finding { kind: FindingKind::SharedName, seat: (*seat).to_owned(), text });
    }
    found
}

/// A node by its machine and its number.
pub(super) fn machine(node: &Hello) -> String {
    format!("host {} (node {})", node.host, node.id)
}

fn other_configuration(me: &Hello, seat: &str, peer: &Hello) -> Option<Finding> {
    // A release may know keys that the other one does not.
    let differs = |(key, digest): &(&String, &String)| {
        peer.keys.get(*key).is_some_and(|theirs| theirs != *digest)
    };
    let keys: Vec<&str> = me.keys.iter().filter(differs).map(|(key, _)| key.as_str()).collect();
    let text = format!("{seat} is configured otherwise than this node: {}", keys.join(", "));
    let kind = FindingKind::OtherConfiguration;
    (!keys.is_empty()).then(|| Finding { kind, seat: seat.to_owned(), text })
}

fn second_raft(me: &Hello, seat: &str, peer: &Hello) -> Option<Finding> {
    let is_another = peer.raft != 0 && me.raft != 0 && peer.raft != me.raft;
    let led = match &peer.leader {
        Some(leader) => format!("which {leader} leads"),
        None => "without a leader at the moment".to_owned(),
    };
    let text = format!(
        "a second raft exists: {seat} (host {}) is a member of another one than this node, {led}; both \
         may act on the same servers: end the nodes of the wrong one, empty their RaftDataDir, start \
         them, and let them in to the other one (raft-add-peer)",
        peer.host
    );
    let kind = FindingKind::SecondRaft;
    is_another.then(|| Finding { kind, seat: seat.to_owned(), text })
}

/// Why nothing may be done in the name of this raft: it was begun anew because others were taken for
/// lost, and these are there, with a leader.
pub(super) fn stands_back(me: &Hello, reports: &[PeerReport]) -> Option<String> {
    let hellos = reports.iter().filter_map(|it| it.hello.as_ref());
    let mut others = hellos.filter(|it| it.raft != 0 && it.raft != me.raft && !it.begun_anew);
    let other = others.find(|it| me.begun_anew && it.leader.is_some())?;
    Some(format!(
        "this raft was begun anew, but the one before it lives: {} is led by {}",
        other.name,
        other.leader.as_deref().unwrap_or_default()
    ))
}

fn copied_disks(me: &Hello, peers: &[(&str, &Hello)]) -> Vec<Finding> {
    let all = std::iter::once((me.name.as_str(), me)).chain(peers.iter().copied());
    let all: Vec<(&str, &Hello)> = all.collect();
    let mut found = Vec::new();
    for (place, (seat, one)) in all.iter().enumerate() {
        for (_, other) in all[place + 1..].iter().filter(|(_, it)| it.id == one.id) {
            found.push(copied_disk(seat, one.id, &one.host, &other.host));
        }
    }
    found
}

/// Two processes, on these machines, have one number.
pub(super) fn copied_disk(seat: &str, id: u64, host: &str, other: &str) -> Finding {
    let text = format!(
        "two processes have copies of one disk (node {id}), on host {host} and on host {other}: end one \
         of them, empty its RaftDataDir, and start it under a RaftAdvertise of its own"
    );
    Finding { kind: FindingKind::CopiedDisk, seat: seat.to_owned(), text }
}

/// What the leader knows of members that lost something: told by it, and by whoever it concerns.
fn lost_entries(me: &Hello, reports: &[PeerReport]) -> Vec<Finding> {
    let finding = |seat: &str, index: u64| Finding {
        kind: FindingKind::LostEntries,
        seat: seat.to_owned(),
        text: format!(
            "{seat} has lost entries that it had confirmed, up to {index}: its RaftDataDir is an older \
             copy, and it may have forgotten a vote; end it, empty RaftDataDir, and start it"
        ),
    };
    let leads = |it: &&Hello| it.leader_id == Some(it.id) && it.raft == me.raft;
    let mut leaders = reports.iter().filter_map(|it| it.hello.as_ref()).filter(leads);
    let own = leaders.find_map(|it| it.lost.get(&me.id)).map(|index| finding(&me.name, *index));
    let of_others = me.lost.iter().filter_map(|(id, index)| {
        let report = reports.iter().find(|it| it.id == Some(*id))?;
        Some(finding(&report.seat, *index))
    });
    own.into_iter().chain(of_others).collect()
}

/// Logs what begins, what changes and what ends.
pub(super) fn log_changes(before: &[Finding], now: &[Finding]) {
    let is_about =
        |one: &Finding, other: &Finding| (one.kind, &one.seat) == (other.kind, &other.seat);
    for finding in now {
        let mut same = before.iter().filter(|it| is_about(finding, it));
        if !same.any(|it| is_same_reason(&it.text, &finding.text)) {
            let (seat, why) = (&finding.seat, &finding.text);
            tracing::warn!(seat, why, "something is wrong between nodes");
        }
    }
    for finding in before.iter().filter(|it| !now.iter().any(|other| is_about(it, other))) {
        tracing::info!(seat = finding.seat, what = finding.text, "that is wrong no more");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A node of a number, on a machine of that name.
    fn node(id: u64, name: &str) -> Hello {
        Hello { id, process: id, name: name.into(), host: format!("host{id}"), ..Hello::default() }
    }

    fn told(seat: &str, hello: Hello) -> PeerReport {
        let (id, hello, error) = (Some(hello.id), Some(hello), None);
        PeerReport { seat: seat.into(), id, hello, error, asked: Default::default() }
    }

    fn texts(me: &Hello, reports: &[PeerReport]) -> Vec<String> {
        find(me, reports).into_iter().map(|it| it.text).collect()
    }

    #[test]
    fn who_does_not_answer_is_told_with_the_reason() {
        let silent = |id, error: Option<&str>| {
            let error = error.map(str::to_owned);
            PeerReport { seat: "b:1".into(), id, hello: None, error, asked: Default::default() }
        };
        let refused = Some("b:1 cannot be reached: Connection refused");
        let begun = Hello { is_in_a_raft: true, ..node(1, "a:1") };
        for (case, me, report, expected) in [
            ("a member", &begun, silent(Some(2), refused), refused),
            ("it was late once", &begun, silent(Some(2), None), None),
            ("a seat that is no member", &begun, silent(None, refused), None),
            ("a seat before anything began", &node(1, "a:1"), silent(None, refused), refused),
        ] {
            let expected: Vec<String> = expected.map(str::to_owned).into_iter().collect();
            assert_eq!(texts(me, &[report]), expected, "case: {case}");
        }
    }

    #[test]
    fn a_clock_is_wrong_where_the_time_of_the_question_cannot_explain_it() {
        let at = Timestamp::from_secs;
        for (case, asked, says, expected) in [
            ("the same", (100, 100), 100, None),
            ("a little ahead", (100, 100), 110, None),
            ("too far ahead", (100, 100), 111, Some("11 s ahead of")),
            ("too far behind", (100, 101), 40, Some("60 s behind")),
            ("it answered late", (100, 130), 130, None),
            ("it was asked late", (100, 130), 100, None),
            ("late, and wrong all the same", (100, 130), 200, Some("70 s ahead of")),
            ("it is too old to tell", (100, 100), 0, None),
        ] {
            let hello = Hello { now: at(says), ..node(2, "b:1") };
            let report = PeerReport { asked: (at(asked.0), at(asked.1)), ..told("b:1", hello) };
            let found = texts(&node(1, "a:1"), &[report]);
            let expected: Vec<String> = expected
                .map(|how| format!("the clock of b:1 (host host2) is {how} the clock here"))
                .into_iter()
                .collect();
            let is_so = found.iter().zip(&expected).all(|(one, other)| one.starts_with(other));
            assert!(is_so && found.len() == expected.len(), "case: {case}: {found:?}");
        }
    }

    #[test]
    fn nodes_of_one_name_are_both_named() {
        let (a, b, c) = (node(1, "a:1"), node(2, "b:1"), node(3, "c:1"));
        let copy = node(2, "a:1");
        let both = "two nodes call themselves a:1: ";
        let way = "; give each a RaftAdvertise of its own";
        for (case, me, reports, expected) in [
            (
                "all have names of their own",
                &a,
                [told("b:1", b.clone()), told("c:1", c.clone())],
                None,
            ),
            (
                "two names lead to one node",
                &a,
                [told("c:1", c.clone()), told("c.x:1", c.clone())],
                None,
            ),
            (
                "this node",
                &a,
                [told("b:1", copy.clone()), told("c:1", c.clone())],
                Some("host host2 (node 2) and host host1 (node 1)"),
            ),
            (
                "two others",
                &c,
                [told("a:1", a.clone()), told("b:1", copy.clone())],
                Some("host host1 (node 1) and host host2 (node 2)"),
            ),
        ] {
            let expected: Vec<String> =
                expected.map(|those| format!("{both}{those}{way}")).into_iter().collect();
            assert_eq!(texts(me, &reports), expected, "case: {case}");
        }
    }

    #[test]
    fn keys_that_differ_are_named_where_both_know_them() {
        let with = |id: u64, keys: &[(&str, &str)]| {
            let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            Hello { keys: keys.iter().map(own).collect(), ..node(id, &format!("{id}:1")) }
        };
        let me = with(1, &[("A", "1"), ("B", "2"), ("C", "3")]);
        for (theirs, expected) in [
            (with(2, &[("A", "1"), ("B", "2"), ("C", "3")]), None),
            (with(2, &[("A", "1"), ("D", "2")]), None),
            (
                with(2, &[("A", "1"), ("B", "3"), ("C", "4")]),
                Some("2:1 is configured otherwise than this node: B, C".to_owned()),
            ),
        ] {
            let expected: Vec<String> = expected.into_iter().collect();
            assert_eq!(texts(&me, &[told("2:1", theirs)]), expected);
        }
    }

    #[test]
    fn two_rafts_copies_of_a_disk_and_what_was_lost_are_told_of() {
        let of = |raft: u64, it: Hello| Hello { raft, ..it };
        let leader =
            |it: Hello| Hello { leader_id: Some(it.id), leader: Some(it.name.clone()), ..it };
        let (a, b) = (node(1, "a:1"), node(2, "b:1"));
        let copy = Hello { process: 9, host: "host9".into(), ..a.clone() };
        let lost = |of: u64, it: Hello| Hello { lost: BTreeMap::from([(of, 7)]), ..it };
        let entries = "has lost entries that it had confirmed, up to 7";
        let lost_by = |seat: &str| Some(format!("{seat} {entries}"));
        for (case, me, peer, expected) in [
            ("one raft", of(5, a.clone()), of(5, b.clone()), None),
            ("it is in none yet", of(5, a.clone()), b.clone(), None),
            ("another raft", of(5, a.clone()), leader(of(6, b.clone())),
                Some("a second raft exists: b:1 (host host2) is a member of another one than this node, which b:1 leads".to_owned())),
            ("another raft without leader", of(5, a.clone()), of(6, b.clone()),
                Some("a second raft exists: b:1 (host host2) is a member of another one than this node, without".to_owned())),
            ("a copied disk, under another name", a.clone(), Hello { name: "c:1".into(), ..copy.clone() },
                Some("two processes have copies of one disk (node 1), on host host1 and on host host9".to_owned())),
            ("this node leads", leader(lost(2, a.clone())), b.clone(), lost_by("b:1")),
            ("the other one leads", a.clone(), leader(lost(1, b.clone())), lost_by("a:1")),
            ("the other one led once", a.clone(), lost(1, b.clone()), None),
            ("the other one leads another raft", of(5, a.clone()), leader(lost(1, b.clone())), None),
        ] {
            let seat = peer.name.clone();
            let found = texts(&me, &[told(&seat, peer)]);
            let is_so = found.iter().zip(&expected).all(|(one, other)| one.starts_with(other));
            assert!(is_so && found.len() == expected.iter().len(), "case: {case}: {found:#?}");
        }
    }
}
