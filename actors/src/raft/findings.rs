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
}
