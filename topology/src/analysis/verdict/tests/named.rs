//! The cases that the peer's suites have names for, each by its name: what is shown of a cluster that
//! is like the peer's (`analysis-*` of its integration suite, and `-8033` for the words of MySQL
//! 8.0.33). Findings that a downtime excuses are left out, as the peer's command leaves them out.

use super::*;

const MIDDLE: &[&str] = &["i"];
const LEAF: &[&str] = &["l"];
const DIRECT: &[&str] = &["i", "a", "b"];
const ALL: &[&str] = &["p", "i", "l", "a", "b"];

/// A primary `p` with the replicas `i`, `a`, which does not log, and `b`; `i` has the replica `l`. All
/// log statements.
fn fleet() -> Scene {
    let below = |source: &str| replica_facts(&key(source));
    let servers = [
        ("p", primary_facts()),
        ("i", below("p")),
        ("l", below("i")),
        ("a", below("p")),
        ("b", below("p")),
    ];
    let servers = servers.map(|(name, facts)| Server { name, facts, death: None, was_seen: true });
    let servers = servers.into_iter().collect();
    let scene = Scene { servers, ledger: LedgerState::default(), policy: Policy::default() };
    scene
        .each(ALL, |facts| facts.binlog.format = BinlogFormat::Statement)
        .with("a", |facts| facts.binlog.enabled = false)
}

impl Scene {
    /// Receivers stand still.
    fn receivers_stopped(self, names: &[&str]) -> Self {
        self.each(names, |facts| facts.channels[0].receiver = ThreadState::Stopped)
    }

    /// They lag, and are to lag by `delay`.
    fn behind(self, names: &[&str], seconds: u64, delay: u32) -> Self {
        self.each(names, move |facts| {
            facts.channels[0].seconds_behind = Some(seconds);
            facts.channels[0].delay_seconds = delay;
        })
    }

    /// `p` waits for so many acknowledgements, of so many replicas; it does or has given up.
    fn semi_sync(self, waits: bool, wait_for: u32, clients: u32) -> Self {
        self.with("p", move |facts| {
            facts.semi_sync.source_enabled = true;
            facts.semi_sync.source_active = waits;
            facts.semi_sync.wait_for_replicas = wait_for;
            facts.semi_sync.source_clients = clients;
        })
    }

    /// What is shown once the primary, if it lives, has been looked at again.
    fn shown(&self) -> Vec<String> {
        let primary = &self.servers[0];
        let mut fleet = self.play();
        if primary.death.is_none() {
            let again = FleetInput::Probed(answered(primary.name, 30, primary.facts.clone()));
            fleet = advance(&fleet, vec![again], Timestamp::from_secs(30)).snapshot;
        }
        let findings = fleet.clusters.values().flat_map(|cluster| &cluster.analyses);
        let told = findings.filter(|it| !it.skippable_due_to_downtime).flat_map(|it| {
            let code = (it.code != Code::NoProblem).then(|| format!("{:?}", it.code));
            let structure = it.structure.iter().map(|warning| format!("{warning:?}"));
            let all: Vec<String> = code.into_iter().chain(structure).collect();
            all.into_iter().map(|what| format!("{} {what}", it.key.host()))
        });
        told.collect()
    }
}

fn errant() -> Scene {
    let set = |text: &str| Gtids::MySql(text.parse().unwrap());
    let shared = "22222222-2222-2222-2222-222222222222:1-9";
    let own = "44444444-4444-4444-4444-444444444444:1-2";
    fleet()
        .each(ALL, move |facts| facts.gtid.executed = set(shared))
        .with("i", move |facts| facts.gtid.executed = set(&format!("{shared},{own}")))
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table with a row for each case")]
fn every_case_that_the_peer_names_is_judged_as_it_says() {
    let cases: Vec<(&str, Scene, &[&str])> = vec![
        (
            "all-intermediate-master-replicas-not-replicating",
            fleet().broken(LEAF),
            &["i AllIntermediateSourceReplicasNotReplicating"],
        ),
        (
            "all-master-replicas-not-replicating",
            fleet().broken(DIRECT),
            &["p AllPrimaryReplicasNotReplicating"],
        ),
        (
            "all-master-replicas-not-replicating-or-dead",
            fleet().broken(DIRECT).dead(&["a", "b"]),
            &["p AllPrimaryReplicasNotReplicatingOrDead"],
        ),
        (
            "dead-intermediate-master-and-replicas",
            fleet().dead(&["i", "l"]),
            &["i DeadIntermediateSourceAndReplicas"],
        ),
        (
            "dead-intermediate-master-with-single-replica",
            fleet().dead(MIDDLE).receivers_stopped(LEAF),
            &["i DeadIntermediateSourceWithSingleReplica"],
        ),
        (
            "dead-intermediate-master-with-single-replica-failing-to-connect",
            fleet().dead(MIDDLE).cannot_connect(LEAF, OLD_WORDS),
            &["i DeadIntermediateSourceWithSingleReplicaFailingToConnect"],
        ),
        (
            "dead-intermediate-master-with-single-replica-failing-to-connect-8033",
            fleet().dead(MIDDLE).cannot_connect(LEAF, NEW_WORDS),
            &["i DeadIntermediateSourceWithSingleReplicaFailingToConnect"],
        ),
        ("dead-master", fleet().dead(&["p"]).receivers_stopped(DIRECT), &["p DeadPrimary"]),
        (
            "dead-master-and-some-replicas",
            fleet().dead(&["p", "a", "b"]).receivers_stopped(MIDDLE),
            &["p DeadPrimaryAndSomeReplicas"],
        ),
        (
            "dead-master-partial-success",
            fleet().half_dead(&["p"]).receivers_stopped(DIRECT),
            &["p DeadPrimary"],
        ),
        ("errant-gtid", errant(), &["p ErrantGtid"]),
        ("errant-gtid-downtimed", errant().downtimed(MIDDLE), &[]),
        (
            "first-tier-replica-failing-to-connect",
            fleet().cannot_connect(MIDDLE, OLD_WORDS),
            &["i FirstTierReplicaFailingToConnectToPrimary"],
        ),
        (
            "first-tier-replica-failing-to-connect-8033",
            fleet().cannot_connect(MIDDLE, NEW_WORDS),
            &["i FirstTierReplicaFailingToConnectToPrimary"],
        ),
        (
            "major-versions",
            fleet().with("b", |facts| facts.version = Version::parse("9.7.4", "")),
            &["p MultipleMajorVersionsLoggingReplicas"],
        ),
        (
            "no-failover-support",
            fleet().each(DIRECT, |facts| facts.channels[0].positioning = Positioning::File),
            &["p NoFailoverSupport"],
        ),
        ("no-failure", fleet(), &[]),
        (
            "no-logging-replicas",
            fleet().each(ALL, |facts| facts.binlog.logs_replica_updates = false),
            &["p NoLoggingReplicas"],
        ),
        ("no-problem-downtime", fleet().broken(LEAF).downtimed(LEAF), &[]),
        (
            "no-writeable-master",
            fleet().with("p", |facts| facts.read_only = true),
            &["p NoWriteablePrimary"],
        ),
        (
            "row-statement",
            fleet().with("b", |facts| facts.binlog.format = BinlogFormat::Row),
            &["p StatementAndRowLoggingReplicas"],
        ),
        (
            "semi-sync-locked-master",
            fleet().semi_sync(true, 2, 1).dead(&["a"]),
            &["p LockedSemiSyncPrimary"],
        ),
        (
            "semi-sync-locked-master-hypothesis",
            fleet().semi_sync(true, 2, 1).dead(&["a"]).policy(|policy| {
                policy.reasonable_locked_semi_sync = std::time::Duration::from_secs(60);
            }),
            &["p LockedSemiSyncPrimaryHypothesis"],
        ),
        (
            "semi-sync-no-valid-replicas",
            fleet()
                .semi_sync(false, 1, 0)
                .each(ALL, |facts| facts.semi_sync.replica_enabled = true),
            &["p NotEnoughValidSemiSyncReplicas"],
        ),
        (
            "semi-sync-not-enough-valid-replicas",
            fleet().semi_sync(false, 2, 1),
            &["p NotEnoughValidSemiSyncReplicas"],
        ),
        (
            "semi-sync-not-enough-valid-replicas-invalid",
            fleet().semi_sync(false, 2, 1).dead(&["a"]),
            &["p NotEnoughValidSemiSyncReplicas"],
        ),
        ("semi-sync-ok", fleet().semi_sync(true, 2, 2), &[]),
        (
            "unreachable-intermediate-master",
            fleet().dead(MIDDLE),
            &["i UnreachableIntermediateSource"],
        ),
        ("unreachable-intermediate-master-partial-success", fleet().half_dead(MIDDLE), &[]),
        (
            "unreachable-intermediate-master-with-lagging-replicas",
            fleet().dead(MIDDLE).behind(LEAF, 60, 0),
            &["i UnreachableIntermediateSourceWithLaggingReplicas"],
        ),
        ("unreachable-master", fleet().dead(&["p"]), &["p UnreachablePrimary"]),
        (
            "unreachable-master-not-lagging-replicas",
            fleet().dead(&["p"]).behind(&["l", "a", "b"], 60, 0),
            &["p UnreachablePrimary"],
        ),
        ("unreachable-master-partial-success", fleet().half_dead(&["p"]), &[]),
        (
            "unreachable-master-partial-success-broken-replica",
            fleet().half_dead(&["p"]).cannot_connect(MIDDLE, OLD_WORDS),
            &["p UnreachablePrimary", "i FirstTierReplicaFailingToConnectToPrimary"],
        ),
        (
            "unreachable-master-partial-success-broken-replica-8033",
            fleet().half_dead(&["p"]).cannot_connect(MIDDLE, NEW_WORDS),
            &["p UnreachablePrimary", "i FirstTierReplicaFailingToConnectToPrimary"],
        ),
        (
            "unreachable-master-with-delayed-replicas",
            fleet().dead(&["p"]).behind(DIRECT, 600, 600),
            &["p UnreachablePrimary"],
        ),
        (
            "unreachable-master-with-lagging-replicas",
            fleet().dead(&["p"]).behind(DIRECT, 60, 0),
            &["p UnreachablePrimaryWithLaggingReplicas"],
        ),
        (
            "unreachable-master-with-lagging-replicas-and-delayed-replicas",
            fleet().dead(&["p"]).behind(&["i", "a"], 600, 0).behind(&["b"], 600, 600),
            &["p UnreachablePrimaryWithLaggingReplicas"],
        ),
    ];
    assert_eq!(cases.len(), 38, "cases that the peer has");
    for (name, scene, expected) in cases {
        assert_eq!(scene.shown(), expected, "{name}");
    }
}
