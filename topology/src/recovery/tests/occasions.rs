//! What user processes would be told, and that it is what a recovery tells them.

use super::*;
use crate::recovery::occasions::occasions;

fn at(fleet: &FleetSnapshot) -> Vec<String> {
    let cluster = fleet.cluster_with(&key("p")).unwrap();
    let found = occasions(cluster, fleet, &runner(), now()).unwrap();
    let line = |it: &super::super::occasions::Occasion| {
        let Recovery { successor, wanted, cause, lost, .. } = &it.recovery;
        let name = |key: &Option<InstanceKey>| {
            key.as_ref().map_or_else(|| "-".to_owned(), |key| key.host().to_owned())
        };
        let lost: Vec<&str> = lost.iter().map(InstanceKey::host).collect();
        let running = it.recovery.is_running();
        format!(
            "{:?} {} {} {} {running} {}",
            it.list,
            name(successor),
            name(wanted),
            cause.is_takeover(),
            lost.join(",")
        )
    };
    found.iter().map(line).collect()
}

#[test]
fn every_list_is_told_what_is_known_when_it_runs() {
    let replicas = [replica("a1", "1-5", "1-5"), replica("a2", "1-9", "1-9")];
    let fleet = fleet_with(Policy::default(), "1-9", &replicas, &[]);
    assert_eq!(
        at(&fleet),
        [
            "FailureDetection - - false true ",
            "PreFailover - - false true ",
            "PostPrimaryFailover a2 - false true ",
            "PostFailover a2 - false false ",
            "PostUnsuccessfulFailover - - false false ",
            // The dead cannot hand over, but who would be designated is known.
            "PreGracefulTakeover - a2 true true ",
            "PostGracefulTakeover a2 a2 true false ",
        ]
    );
}

#[test]
fn without_a_successor_nobody_is_told_of_one() {
    let replicas = [replica("a1", "1-5", "1-5"), replica("a2", "1-4:6-9", "1-4:6-9")];
    let fleet = fleet_with(Policy::default(), "1-9", &replicas, &[]);
    assert_eq!(at(&fleet)[2], "PostPrimaryFailover - - false true ");
    assert_eq!(at(&fleet)[3], "PostFailover - - false false ");
}
