//! The peer's analysis cases, each a row with a sentence, judged through the whole fleet.

mod named;

use std::sync::Arc;

use crate::analysis::{Analysis, Code, StructureWarning, catalog};
use crate::fleet::{FleetInput, advance};
use crate::gtid::Gtids;
use crate::instance::{
    BinlogFormat, Facts, FailureKind, GroupMember, Positioning, ProbeFailure, ThreadState,
};
use crate::ledger::{Downtime, LedgerState, Maintenance};
use crate::policy::Policy;
use crate::probe::ProbeResult;
use crate::snapshot::FleetSnapshot;
use crate::testing::{answered, key, primary_facts, refused, replica_facts};
use crate::time::Timestamp;
use crate::version::Version;

/// How a server fails after it answered once.
#[derive(Clone, Copy, PartialEq)]
enum Death {
    Whole,
    Partial,
    /// It answers, and the answer is no.
    Refusing,
}

struct Server {
    name: &'static str,
    facts: Facts,
    death: Option<Death>,
    was_seen: bool,
}

/// A fleet of servers, changed by name before it is looked at.
struct Scene {
    servers: Vec<Server>,
    ledger: LedgerState,
    policy: Policy,
}

impl Scene {
    /// A primary `p` with replicas `r1`, `r2`; `r1` has replicas `l1`, `l2`.
    fn healthy() -> Self {
        let below = |source: &str| replica_facts(&key(source));
        let servers = [
            ("p", primary_facts()),
            ("r1", below("p")),
            ("r2", below("p")),
            ("l1", below("r1")),
            ("l2", below("r1")),
        ];
        let servers =
            servers.map(|(name, facts)| Server { name, facts, death: None, was_seen: true });
        let servers = servers.into_iter().collect();
        Self { servers, ledger: LedgerState::default(), policy: Policy::default() }
    }

    /// A primary `p` with the single replica `r1`.
    fn pair() -> Self {
        Self::healthy().without("r2").without("l1").without("l2")
    }

    /// Co-primaries `p` and `r1`; `r2` replicates from `p`, `l1` and `l2` from `r1`.
    fn co_primaries() -> Self {
        Self::healthy().with("p", |facts| {
            facts.channels = replica_facts(&key("r1")).channels;
        })
    }

    fn without(mut self, name: &str) -> Self {
        self.servers.retain(|server| server.name != name);
        self
    }

    fn with(mut self, name: &str, change: impl Fn(&mut Facts)) -> Self {
        for server in self.servers.iter_mut().filter(|server| server.name == name) {
            change(&mut server.facts);
        }
        self
    }

    fn each(self, names: &[&str], change: impl Fn(&mut Facts)) -> Self {
        names.iter().fold(self, |scene, name| scene.with(name, &change))
    }

    fn dead(self, names: &[&str]) -> Self {
        self.dying(names, Death::Whole)
    }

    fn half_dead(self, names: &[&str]) -> Self {
        self.dying(names, Death::Partial)
    }

    fn refusing(self, names: &[&str]) -> Self {
        self.dying(names, Death::Refusing)
    }

    /// Nobody ever got an answer of it.
    fn unseen(mut self, name: &str) -> Self {
        for server in self.servers.iter_mut().filter(|server| server.name == name) {
            server.was_seen = false;
        }
        self.dead(&[name])
    }

    fn dying(mut self, names: &[&str], death: Death) -> Self {
        for server in self.servers.iter_mut().filter(|server| names.contains(&server.name)) {
            server.death = Some(death);
        }
        self
    }

    fn broken(self, names: &[&str]) -> Self {
        self.each(names, |facts| facts.channels[0].applier = ThreadState::Stopped)
    }

    /// Nothing comes from the source any more.
    fn deaf(self, names: &[&str]) -> Self {
        self.each(names, |facts| {
            facts.channels[0].receiver = ThreadState::Other;
            facts.channels[0].receiver_error.number = 2003;
        })
    }

    fn cannot_connect(self, names: &[&str], text: &'static str) -> Self {
        self.each(names, move |facts| {
            facts.channels[0].receiver = ThreadState::Other;
            facts.channels[0].receiver_error.text = text.into();
        })
    }

    fn lagging(self, names: &[&str]) -> Self {
        self.each(names, |facts| facts.channels[0].seconds_behind = Some(11))
    }

    fn delayed(self, names: &[&str]) -> Self {
        self.each(names, |facts| facts.channels[0].delay_seconds = 600)
    }

    fn downtimed(mut self, names: &[&str]) -> Self {
        for name in names {
            let downtime = Downtime {
                owner: "o".into(),
                reason: "r".into(),
                begins_at: Timestamp::EPOCH,
                ends_at: Timestamp::from_secs(1_000),
            };
            self.ledger.downtimes.insert_mut(key(name), downtime);
        }
        self
    }

    fn policy(mut self, change: impl Fn(&mut Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    /// Everybody answers, at second 10.
    fn look(&self) -> FleetSnapshot {
        let ledger = Arc::new(self.ledger.clone());
        let policy = Arc::new(self.policy.clone());
        let fleet = FleetSnapshot::empty(policy, ledger, Timestamp::EPOCH);
        let answers = self
            .servers
            .iter()
            .filter(|server| server.was_seen)
            .map(|server| FleetInput::Probed(answered(server.name, 10, server.facts.clone())));
        advance(&fleet, answers.collect(), Timestamp::from_secs(10)).snapshot
    }

    /// Everybody answers, then the dead ones die; the fleet as of second 20.
    fn play(&self) -> FleetSnapshot {
        let deaths = self.servers.iter().filter_map(|server| {
            let failure = ProbeFailure {
                kind: match server.death? {
                    Death::Refusing => FailureKind::TooManyConnections,
                    Death::Whole | Death::Partial => FailureKind::Timeout,
                },
                partial: server.death? == Death::Partial,
                message: String::new(),
            };
            let result = refused(server.name, 20);
            Some(FleetInput::Probed(ProbeResult { outcome: Err(failure), ..result }))
        });
        advance(&self.look(), deaths.collect(), Timestamp::from_secs(20)).snapshot
    }

    fn findings(&self) -> Vec<Analysis> {
        let fleet = self.play();
        fleet.clusters.values().flat_map(|cluster| cluster.analyses.clone()).collect()
    }

    fn codes(&self) -> Vec<(String, Code)> {
        let wrong = |finding: &Analysis| finding.code != Code::NoProblem;
        self.findings()
            .iter()
            .filter(|finding| wrong(finding))
            .map(|finding| (finding.key.host().to_owned(), finding.code))
            .collect()
    }

    fn warnings(&self) -> Vec<StructureWarning> {
        let structure = |finding: &Analysis| finding.structure.clone();
        self.findings().iter().flat_map(structure).collect()
    }
}

const OLD_WORDS: &str = "error connecting to master 'repl@p:3306' - retry-time: 1";
const NEW_WORDS: &str = "Error reconnecting to source 'repl@p:3306'. This was attempt 1/10";
const ALL_BELOW: &[&str] = &["r1", "r2"];
const LEAVES: &[&str] = &["l1", "l2"];

/// A sentence, the scene, and who is found to have which problem.
type Case = (&'static str, Scene, &'static [(&'static str, Code)]);

#[test]
#[allow(clippy::too_many_lines, reason = "a table with a row for each case")]
fn the_verdict_follows_from_who_answers_and_who_replicates() {
    use Code::*;
    let cases: Vec<Case> = vec![
        ("all is well", Scene::healthy(), &[]),
        ("downtime alone is no problem", Scene::healthy().downtimed(&["p", "r1", "r2"]), &[]),
        (
            "a lone primary dies",
            Scene::pair().without("r1").dead(&["p"]),
            &[("p", DeadPrimaryWithoutReplicas)],
        ),
        (
            "the primary dies and replicas notice",
            Scene::healthy().dead(&["p"]).deaf(ALL_BELOW),
            &[("p", DeadPrimary)],
        ),
        (
            "the primary answers in part and replicas notice",
            Scene::healthy().half_dead(&["p"]).deaf(ALL_BELOW),
            &[("p", DeadPrimary)],
        ),
        (
            "everything under the primary dies too",
            Scene::healthy().dead(&["p", "r1", "r2", "l1", "l2"]),
            &[("p", DeadPrimaryAndReplicas), ("r1", DeadIntermediateSourceAndReplicas)],
        ),
        (
            "appliers are stopped, receivers run: they hear it",
            Scene::healthy().dead(&["p"]).broken(ALL_BELOW),
            &[("p", UnreachablePrimary)],
        ),
        (
            "the same of the only replica",
            Scene::pair().dead(&["p"]).broken(&["r1"]),
            &[("p", UnreachablePrimary)],
        ),
        (
            "one that hears it is enough",
            Scene::healthy().dead(&["p"]).broken(&["r1"]).deaf(&["r2"]),
            &[("p", UnreachablePrimary)],
        ),
        (
            "a replica is told that it is not let in",
            Scene::pair().dead(&["p"]).deaf(&["r1"]).each(&["r1"], |facts| {
                facts.channels[0].receiver_error.number = 1040;
            }),
            &[("p", UnreachablePrimary)],
        ),
        (
            "it answers in part while appliers are stopped",
            Scene::healthy().half_dead(&["p"]).broken(ALL_BELOW),
            &[("p", UnreachablePrimary)],
        ),
        (
            "the primary says no, and nobody hears it",
            Scene::healthy().refusing(&["p"]).deaf(ALL_BELOW),
            &[("p", InaccessiblePrimary)],
        ),
        (
            "the primary says no to us alone",
            Scene::healthy().refusing(&["p"]),
            &[("p", InaccessiblePrimary)],
        ),
        (
            "a co-primary says no",
            Scene::co_primaries().refusing(&["p"]).deaf(ALL_BELOW),
            &[("p", InaccessibleCoPrimary)],
        ),
        (
            "an intermediate says no",
            Scene::healthy().refusing(&["r1"]).deaf(LEAVES),
            &[("r1", InaccessibleIntermediateSource)],
        ),
        (
            "an intermediate is gone for us, appliers below are stopped",
            Scene::healthy().dead(&["r1"]).broken(LEAVES),
            &[("r1", UnreachableIntermediateSource)],
        ),
        (
            "what was never seen",
            Scene::healthy().unseen("p").deaf(ALL_BELOW),
            &[("p", NeverSeenPrimary)],
        ),
        (
            "what was never seen, whoever hears it",
            Scene::healthy().unseen("p"),
            &[("p", NeverSeenPrimary)],
        ),
        (
            "one replica dies with the primary",
            Scene::healthy().dead(&["p", "r2"]).deaf(&["r1"]),
            &[("p", DeadPrimaryAndSomeReplicas)],
        ),
        (
            "the primary is gone and all lag",
            Scene::healthy().dead(&["p"]).lagging(ALL_BELOW),
            &[("p", UnreachablePrimaryWithLaggingReplicas)],
        ),
        (
            "one of the lagging ones is delayed on purpose",
            Scene::healthy().dead(&["p"]).lagging(ALL_BELOW).delayed(&["r1"]),
            &[("p", UnreachablePrimaryWithLaggingReplicas)],
        ),
        (
            "all of the lagging ones are delayed on purpose",
            Scene::healthy().dead(&["p"]).lagging(ALL_BELOW).delayed(ALL_BELOW),
            &[("p", UnreachablePrimary)],
        ),
        (
            "the primary is gone and only one lags",
            Scene::healthy().dead(&["p"]).lagging(&["r1"]),
            &[("p", UnreachablePrimary)],
        ),
        (
            "the primary is gone for us alone",
            Scene::healthy().dead(&["p"]),
            &[("p", UnreachablePrimary)],
        ),
        ("the primary is slow and replicas are fine", Scene::healthy().half_dead(&["p"]), &[]),
        (
            "the primary is slow and a replica cannot connect",
            Scene::healthy().half_dead(&["p"]).cannot_connect(&["r2"], OLD_WORDS),
            &[("p", UnreachablePrimary), ("r2", FirstTierReplicaFailingToConnectToPrimary)],
        ),
        (
            "the same in new words",
            Scene::healthy().half_dead(&["p"]).cannot_connect(&["r2"], NEW_WORDS),
            &[("p", UnreachablePrimary), ("r2", FirstTierReplicaFailingToConnectToPrimary)],
        ),
        (
            "a replica cannot connect to a healthy primary",
            Scene::healthy().cannot_connect(&["r2"], OLD_WORDS),
            &[("r2", FirstTierReplicaFailingToConnectToPrimary)],
        ),
        (
            "the same in new words, healthy",
            Scene::healthy().cannot_connect(&["r2"], NEW_WORDS),
            &[("r2", FirstTierReplicaFailingToConnectToPrimary)],
        ),
        (
            "the only replica is broken",
            Scene::pair().broken(&["r1"]),
            &[("p", PrimarySingleReplicaNotReplicating)],
        ),
        (
            "the only replica is dead",
            Scene::pair().dead(&["r1"]),
            &[("p", PrimarySingleReplicaDead)],
        ),
        (
            "no replica replicates",
            Scene::healthy().broken(ALL_BELOW),
            &[("p", AllPrimaryReplicasNotReplicating)],
        ),
        (
            "no replica replicates, one is dead",
            Scene::healthy().broken(&["r1"]).dead(&["r2"]),
            &[("p", AllPrimaryReplicasNotReplicatingOrDead)],
        ),
        (
            "a co-primary dies",
            Scene::co_primaries().dead(&["p"]).deaf(ALL_BELOW),
            &[("p", DeadCoPrimary)],
        ),
        (
            "a co-primary dies with a replica",
            Scene::co_primaries().dead(&["p", "r2"]).deaf(&["r1"]),
            &[("p", DeadCoPrimaryAndSomeReplicas)],
        ),
        (
            "a co-primary is gone for us alone",
            Scene::co_primaries().dead(&["p"]),
            &[("p", UnreachableCoPrimary)],
        ),
        (
            "nothing under a co-primary replicates",
            Scene::co_primaries().broken(ALL_BELOW),
            &[("p", AllCoPrimaryReplicasNotReplicating)],
        ),
        (
            "an intermediate dies, its only replica cannot connect",
            Scene::healthy().without("l2").dead(&["r1"]).cannot_connect(&["l1"], OLD_WORDS),
            &[("r1", DeadIntermediateSourceWithSingleReplicaFailingToConnect)],
        ),
        (
            "the same in new words, intermediate",
            Scene::healthy().without("l2").dead(&["r1"]).cannot_connect(&["l1"], NEW_WORDS),
            &[("r1", DeadIntermediateSourceWithSingleReplicaFailingToConnect)],
        ),
        (
            "an intermediate dies, its only replica is broken",
            Scene::healthy().without("l2").dead(&["r1"]).deaf(&["l1"]),
            &[("r1", DeadIntermediateSourceWithSingleReplica)],
        ),
        (
            "an intermediate dies",
            Scene::healthy().dead(&["r1"]).deaf(LEAVES),
            &[("r1", DeadIntermediateSource)],
        ),
        (
            "an intermediate dies with a replica",
            Scene::healthy().dead(&["r1", "l1"]).deaf(&["l2"]),
            &[("r1", DeadIntermediateSourceAndSomeReplicas)],
        ),
        (
            "an intermediate dies with all replicas",
            Scene::healthy().dead(&["r1", "l1", "l2"]),
            &[("r1", DeadIntermediateSourceAndReplicas)],
        ),
        (
            "an intermediate is gone and all below lag",
            Scene::healthy().dead(&["r1"]).lagging(LEAVES),
            &[("r1", UnreachableIntermediateSourceWithLaggingReplicas)],
        ),
        (
            "an intermediate is gone for us alone",
            Scene::healthy().dead(&["r1"]),
            &[("r1", UnreachableIntermediateSource)],
        ),
        ("an intermediate is slow and replicas are fine", Scene::healthy().half_dead(&["r1"]), &[]),
        (
            "nothing below an intermediate can connect",
            Scene::healthy().cannot_connect(LEAVES, OLD_WORDS),
            &[("r1", AllIntermediateSourceReplicasFailingToConnectOrDead)],
        ),
        (
            "one below an intermediate is dead, the other cannot connect",
            Scene::healthy().cannot_connect(&["l1"], NEW_WORDS).dead(&["l2"]),
            &[("r1", AllIntermediateSourceReplicasFailingToConnectOrDead)],
        ),
        (
            "nothing below an intermediate replicates",
            Scene::healthy().broken(LEAVES),
            &[("r1", AllIntermediateSourceReplicasNotReplicating)],
        ),
        ("the only leaf of a chain dies", Scene::healthy().without("l2").dead(&["l1"]), &[]),
    ];
    for (case, scene, expected) in cases {
        let expected: Vec<(String, Code)> =
            expected.iter().map(|(name, code)| ((*name).to_owned(), *code)).collect();
        // Leaves and other victims of the same failure are of no interest to these rows.
        let found: Vec<(String, Code)> = scene
            .codes()
            .into_iter()
            .filter(|(name, code)| {
                expected.iter().any(|(wanted, _)| wanted == name)
                    || !matches!(code, DeadIntermediateSourceAndReplicas)
            })
            .collect();
        assert_eq!(found, expected, "case: {case}");
    }
}

/// The receiver of the only replica is made to connect anew, to see whether it gets through.
#[test]
fn a_receiver_under_test_counts_as_it_did_before() {
    use Code::{DeadPrimary, UnreachablePrimary};
    let connecting: fn(&mut Facts) = |it| it.channels[0].receiver = ThreadState::Other;
    let stopped: fn(&mut Facts) = |it| it.channels[0].receiver = ThreadState::Stopped;
    let refused_there: fn(&mut Facts) = |it| {
        it.channels[0].receiver = ThreadState::Other;
        it.channels[0].receiver_error.number = 2003;
    };
    let judge = |replica: fn(&mut Facts), tested_at: Option<i64>, is_scout: bool| {
        let mut ledger = LedgerState::default();
        if let Some(at) = tested_at.map(Timestamp::from_secs) {
            ledger.chores.insert_mut(key("p"), at);
        }
        if is_scout {
            ledger.scouts.insert_mut(key("r1"), Timestamp::from_secs(19));
        }
        let inputs =
            vec![FleetInput::Ledger(Arc::new(ledger)), FleetInput::Probed(refused("p", 20))];
        let seen = Scene::pair().with("r1", replica).look();
        advance(&seen, inputs, Timestamp::from_secs(20)).snapshot
    };
    let codes = |fleet: &FleetSnapshot| -> Vec<Code> {
        fleet.clusters.values().flat_map(|it| &it.analyses).map(|it| it.code).collect()
    };
    for (case, replica, tested_at, is_scout, expected) in [
        ("nobody made it connect", connecting, None, false, DeadPrimary),
        ("it connects", connecting, Some(19), false, UnreachablePrimary),
        ("it did long ago", connecting, Some(14), false, DeadPrimary),
        ("it could not", refused_there, Some(19), false, DeadPrimary),
        ("it stands still for it", stopped, Some(19), true, UnreachablePrimary),
        ("a look at it comes late", stopped, Some(19), false, UnreachablePrimary),
        ("people stopped it", stopped, Some(17), false, DeadPrimary),
    ] {
        assert_eq!(codes(&judge(replica, tested_at, is_scout)), [expected], "{case}");
    }
    let fleet = judge(connecting, Some(19), false);
    let over = crate::fleet::recheck_at(&fleet).expect("it is judged again");
    assert_eq!(over, Timestamp::from_secs(24));
    let later = advance(&fleet, Vec::new(), over).snapshot;
    assert_eq!(codes(&later), [DeadPrimary], "and that is not for ever");
}

#[test]
fn a_semi_sync_primary_counts_as_locked_only_when_it_stays_so() {
    let waiting = |clients: u32| {
        Scene::healthy().with("p", move |facts| {
            facts.semi_sync.source_enabled = true;
            facts.semi_sync.source_active = true;
            facts.semi_sync.wait_for_replicas = 1;
            facts.semi_sync.source_clients = clients;
        })
    };
    assert_eq!(waiting(1).codes(), []);
    let scene = waiting(0);
    let suspected = scene.look();
    let finding = |fleet: &FleetSnapshot| {
        fleet.clusters.values().next().unwrap().analyses.first().map(|finding| finding.code)
    };
    assert_eq!(finding(&suspected), Some(Code::LockedSemiSyncPrimaryHypothesis));
    let at = crate::fleet::recheck_at(&suspected).unwrap();
    assert_eq!(at, Timestamp::from_secs(20), "ten seconds after the first suspicion");

    let early = advance(&suspected, Vec::new(), Timestamp::from_secs(19)).snapshot;
    assert_eq!(finding(&early), Some(Code::LockedSemiSyncPrimaryHypothesis));
    let locked = advance(&suspected, Vec::new(), at).snapshot;
    assert_eq!(finding(&locked), Some(Code::LockedSemiSyncPrimary));
    let probed = |fleet: &FleetSnapshot, secs, position| {
        let mut facts = scene.servers[0].facts.clone();
        facts.binlog.position.position = position;
        let input = vec![FleetInput::Probed(answered("p", secs, facts))];
        advance(fleet, input, Timestamp::from_secs(secs)).snapshot
    };
    let still = probed(&locked, 25, 4);
    assert_eq!(finding(&still), Some(Code::LockedSemiSyncPrimary), "it stays locked");
    let moved = probed(&still, 30, 99);
    assert_eq!(finding(&moved), Some(Code::LockedSemiSyncPrimaryHypothesis), "it moved after all");
}

/// Nobody waits for acknowledgements where nobody may write; and whoever does has no replicas at all.
#[test]
fn a_closed_primary_is_not_called_locked_and_one_without_replicas_is() {
    let waits = |facts: &mut Facts| {
        facts.semi_sync.source_enabled = true;
        facts.semi_sync.source_active = true;
        facts.semi_sync.wait_for_replicas = 3;
        facts.semi_sync.source_clients = 0;
    };
    let closed = move |facts: &mut Facts| {
        waits(facts);
        facts.read_only = true;
    };
    let locked = [("p".to_owned(), Code::LockedSemiSyncPrimary)];
    let opens = Policy { recover_non_writeable_primary: true, ..Policy::default() };
    let scene = Scene { policy: opens, ..Scene::pair().with("p", closed) };
    assert_eq!(scene.codes(), [("p".to_owned(), Code::NoWriteablePrimary)]);
    assert_eq!(Scene::pair().with("p", closed).codes(), locked, "nobody is to open it");
    assert_eq!(Scene::pair().without("r1").with("p", waits).codes(), locked);
    assert_eq!(Scene::pair().without("r1").with("p", closed).codes(), []);
}

#[test]
fn a_locked_primary_is_only_shown_and_recorded_unless_somebody_says_what_to_do() {
    let locked = catalog::entry(Code::LockedSemiSyncPrimary).unwrap();
    for (case, policy, expected) in [
        ("nobody said", Policy::default(), catalog::Response::Detect),
        (
            "enough",
            Policy { recover_locked_semi_sync: true, ..Policy::default() },
            catalog::Response::Recover,
        ),
        (
            "exactly",
            Policy { enforce_exact_semi_sync_replicas: true, ..Policy::default() },
            catalog::Response::Recover,
        ),
    ] {
        assert_eq!(locked.response(&policy), expected, "case: {case}");
    }
}

#[test]
fn semi_sync_and_read_only_verdicts_depend_on_policy() {
    let many = Scene::healthy().with("p", |facts| {
        facts.semi_sync.source_enabled = true;
        facts.semi_sync.source_active = true;
        facts.semi_sync.wait_for_replicas = 1;
        facts.semi_sync.source_clients = 2;
    });
    assert_eq!(many.codes(), []);
    let many = many.policy(|policy| policy.enforce_exact_semi_sync_replicas = true);
    assert_eq!(many.codes(), [("p".to_owned(), Code::PrimaryWithTooManySemiSyncReplicas)]);

    let read_only = Scene::healthy().with("p", |facts| facts.read_only = true);
    assert_eq!(read_only.codes(), []);
    assert_eq!(read_only.warnings(), [StructureWarning::NoWriteablePrimary]);
    let read_only = read_only.policy(|policy| policy.recover_non_writeable_primary = true);
    assert_eq!(read_only.codes(), [("p".to_owned(), Code::NoWriteablePrimary)]);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table with a row for each case")]
fn structure_warnings_tell_what_will_hurt_later() {
    use StructureWarning::*;
    let format = |format| move |facts: &mut Facts| facts.binlog.format = format;
    let off = |facts: &mut Facts| {
        facts.gtid.mode = "OFF".into();
        facts.channels.iter_mut().for_each(|it| it.positioning = Positioning::File);
    };
    let semi_sync = |clients: u32| {
        move |facts: &mut Facts| {
            facts.semi_sync.source_enabled = true;
            facts.semi_sync.wait_for_replicas = 2;
            facts.semi_sync.source_clients = clients;
        }
    };
    let all = ["p", "r1", "r2", "l1", "l2"];
    let cases: Vec<(&str, Scene, &[StructureWarning])> = vec![
        ("nothing", Scene::healthy(), &[]),
        (
            "no replica logs",
            Scene::healthy().each(ALL_BELOW, |facts| facts.binlog.logs_replica_updates = false),
            &[NoLoggingReplicas],
        ),
        ("no GTID at all", Scene::healthy().each(&all, off), &[NoFailoverSupport]),
        (
            "statements beside rows",
            Scene::healthy().with("r1", format(BinlogFormat::Statement)),
            &[StatementAndRowLoggingReplicas],
        ),
        (
            "statements beside mixed",
            Scene::healthy()
                .with("r1", format(BinlogFormat::Statement))
                .with("r2", format(BinlogFormat::Mixed)),
            &[StatementAndMixedLoggingReplicas],
        ),
        (
            "mixed beside rows",
            Scene::healthy().with("r1", format(BinlogFormat::Mixed)),
            &[MixedAndRowLoggingReplicas],
        ),
        (
            "two major versions",
            Scene::healthy().with("r1", |facts| facts.version = Version::parse("9.7.4", "")),
            &[MultipleMajorVersionsLoggingReplicas],
        ),
        (
            "two patch levels are fine",
            Scene::healthy().with("r1", |facts| facts.version = Version::parse("8.4.9", "")),
            &[],
        ),
        (
            "a replica with another GTID mode",
            Scene::healthy().with("r2", |facts| facts.gtid.mode = "ON_PERMISSIVE".into()),
            &[DifferentGtidModes],
        ),
        (
            "too few semi-sync replicas",
            Scene::healthy().with("p", semi_sync(1)),
            &[NotEnoughValidSemiSyncReplicas],
        ),
        ("enough semi-sync replicas", Scene::healthy().with("p", semi_sync(2)), &[]),
        (
            "a replica with a list of sources",
            Scene::healthy().with("r1", |facts| facts.leaves_its_source = Some(true)),
            &[ReplicasMayLeave],
        ),
        (
            "the replica of a newer server with its defaults: ten tries, a minute apart",
            Scene::healthy().with("r1", |facts| {
                facts.channels[0].connect_tries = Some(10);
                facts.channels[0].connect_pause_seconds = 60;
            }),
            &[ReplicasGiveUp],
        ),
        (
            "a replica that tries for long, and one that tries for ever",
            Scene::healthy()
                .with("r1", |facts| {
                    facts.channels[0].connect_tries = Some(86_400);
                    facts.channels[0].connect_pause_seconds = 1;
                })
                .with("r2", |facts| facts.channels[0].connect_tries = Some(0)),
            &[],
        ),
        (
            "no semi-sync replica at all",
            Scene::healthy().with("p", semi_sync(0)),
            &[NotEnoughValidSemiSyncReplicas],
        ),
    ];
    for (case, scene, expected) in cases {
        assert_eq!(scene.warnings(), expected, "case: {case}");
    }
}

#[test]
fn an_errant_replica_is_warned_of_unless_it_is_in_downtime() {
    let with_gtid = |scene: Scene| {
        let set = |text: &str| Gtids::MySql(text.parse().unwrap());
        let own = "22222222-2222-2222-2222-222222222222";
        let scene = scene.with("p", move |facts| facts.gtid.executed = set(&format!("{own}:1")));
        scene.with("r2", move |facts| facts.gtid.executed = set(&format!("{own}:1-2")))
    };
    // The proof is a look at the source that began after the errant transaction was seen.
    let warned = |scene: &Scene| {
        let facts = scene.servers[0].facts.clone();
        let later = vec![FleetInput::Probed(answered("p", 20, facts))];
        let fleet = advance(&scene.look(), later, Timestamp::from_secs(20)).snapshot;
        let warnings = fleet.clusters.values().flat_map(|it| it.analyses.clone());
        warnings.flat_map(|it| it.structure).collect::<Vec<_>>()
    };
    assert_eq!(warned(&with_gtid(Scene::healthy())), [StructureWarning::ErrantGtid]);
    assert_eq!(warned(&with_gtid(Scene::healthy()).downtimed(&["r2"])), []);
}

/// Whoever came back empty is no healthy primary, must not be opened, and its replicas, which have
/// what it lost, are not errant for that.
#[test]
fn a_primary_that_came_back_with_less_than_its_replicas_have_is_told_of() {
    let set = |text: &str| Gtids::MySql(text.parse().unwrap());
    let [old, new, third] = [1, 2, 3].map(|it: u128| uuid::Uuid::from_u128(it));
    let look = |fleet: &FleetSnapshot, name: &str, at, facts: &Facts| {
        let input = vec![FleetInput::Probed(answered(name, at, facts.clone()))];
        advance(fleet, input, Timestamp::from_secs(at)).snapshot
    };
    let found = |fleet: &FleetSnapshot| {
        let all = fleet.clusters.values().flat_map(|it| it.analyses.clone());
        let all = all.map(|it| (it.code, it.structure, it.evidence.lost_transactions));
        all.collect::<Vec<_>>()
    };
    for (case, replica_has, after, expected) in [
        ("its replica has all", format!("{old}:1-9"), 1, Some(9)),
        ("and more than was seen", format!("{old}:1-12"), 1, Some(9)),
        ("and something of its own", format!("{old}:1-9,{third}:1"), 1, Some(9)),
        ("its replica lost it too", String::new(), 1, None),
        ("it was not started anew", format!("{old}:1-9"), 200, None),
    ] {
        let scene = Scene::pair()
            .policy(|policy| policy.recover_non_writeable_primary = true)
            .with("p", |facts| {
                facts.uptime_seconds = 100;
                facts.server_uuid = Some(old);
                facts.gtid.executed = set(&format!("{old}:1-9"));
            })
            .with("r1", |facts| facts.gtid.executed = set(&replica_has));
        let mut p = scene.servers[0].facts.clone();
        (p.uptime_seconds, p.read_only) = (after, true);
        p.server_uuid = Some(if after < 100 { new } else { old });
        p.gtid.executed = set(&format!("{new}:1"));
        let fleet = look(&scene.look(), "p", 20, &p);
        let fleet = look(&fleet, "r1", 21, &scene.servers[1].facts);
        let fleet = look(&fleet, "p", 25, &Facts { uptime_seconds: after + 5, ..p });
        let found = found(&fleet);
        let is_found = found.iter().any(|(code, _, _)| *code == Code::PrimaryLostTransactions);
        assert_eq!(is_found, expected.is_some(), "case: {case}: {found:?}");
        if let Some(count) = expected {
            let (_, structure, lost) = &found[0];
            assert_eq!(*lost, count, "case: {case}");
            let errant = structure.contains(&StructureWarning::ErrantGtid);
            assert_eq!(errant, replica_has.contains(&third.to_string()), "case: {case}");
        }
    }
}

#[test]
fn downtime_excuses_and_maintenance_silences() {
    let broken = || Scene::healthy().broken(ALL_BELOW);
    let skippable =
        |scene: &Scene| scene.findings().first().map(|finding| finding.skippable_due_to_downtime);
    assert_eq!(skippable(&broken()), Some(false));
    assert_eq!(skippable(&broken().downtimed(&["p"])), Some(true));
    assert_eq!(skippable(&broken().downtimed(&["r1"])), Some(false));
    assert_eq!(skippable(&broken().downtimed(ALL_BELOW)), Some(true));
    let dead = Scene::healthy().dead(&["p"]).deaf(ALL_BELOW).downtimed(ALL_BELOW);
    assert_eq!(skippable(&dead), Some(false), "a dead primary is never excused by its replicas");

    let mut in_maintenance = broken();
    let maintenance = Maintenance {
        id: 1,
        owner: "o".into(),
        reason: "r".into(),
        begins_at: Timestamp::EPOCH,
        ends_at: Timestamp::from_secs(1_000),
    };
    in_maintenance.ledger.maintenances.insert_mut(key("p"), maintenance);
    assert_eq!(in_maintenance.codes(), []);
}

#[test]
fn ignored_hosts_are_not_judged() {
    let scene = Scene::healthy().dead(&["p"]).policy(|policy| {
        policy.recovery_ignore.patterns = vec![regex::Regex::new("^p$").unwrap()];
    });
    assert_eq!(scene.codes(), []);
}

#[test]
fn group_members_are_judged_by_their_own_rule_only() {
    let in_group = |facts: &mut Facts| {
        facts.group = Some(GroupMember {
            name: "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa".into(),
            state: "ONLINE".into(),
            role: "PRIMARY".into(),
            is_single_primary: true,
            ..GroupMember::default()
        });
    };
    let scene = Scene::healthy().with("p", in_group).dead(&["p"]).deaf(ALL_BELOW);
    assert_eq!(scene.codes(), [("p".to_owned(), Code::DeadGroupMemberWithReplicas)]);
    let scene = Scene::healthy().with("p", in_group).broken(ALL_BELOW);
    assert_eq!(scene.codes(), []);
    let scene = Scene::healthy().with("p", in_group).dead(&["p"]);
    assert_eq!(scene.codes(), [("p".to_owned(), Code::UnreachableGroupMemberWithReplicas)]);
    let alone = |facts: &mut Facts| {
        in_group(facts);
        facts.group.as_mut().unwrap().has_lost_majority = true;
    };
    assert_eq!(
        Scene::healthy().with("p", alone).codes(),
        [("p".to_owned(), Code::GroupWithoutMajority)]
    );
}

#[test]
fn the_mere_plugin_makes_no_group_member() {
    let loaded = |facts: &mut Facts| {
        facts.group = Some(GroupMember { state: "OFFLINE".into(), ..GroupMember::default() });
    };
    let scene = Scene::healthy().with("p", loaded).with("r1", loaded).dead(&["p"]).deaf(ALL_BELOW);
    assert_eq!(scene.codes(), [("p".to_owned(), Code::DeadPrimary)]);
}

#[test]
fn nobody_is_judged_on_half_the_evidence() {
    let fleet = Scene::healthy().play();
    let restored: Vec<_> = fleet
        .members()
        .map(|(cluster, member)| {
            let mut instance = (*member.instance).clone();
            instance.health.status = Default::default();
            (instance, cluster.id.clone())
        })
        .collect();
    let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
    let now = Timestamp::from_secs(30);
    let restarted = advance(&empty, vec![FleetInput::Restored(restored)], now).snapshot;
    let died = advance(&restarted, vec![FleetInput::Probed(refused("p", 31))], now).snapshot;
    assert!(died.clusters.values().all(|cluster| cluster.analyses.is_empty()));
}

#[test]
fn primaries_come_first_then_those_with_most_replicas() {
    let scene = Scene::healthy().dead(&["p", "r1"]).deaf(&["r2", "l1", "l2"]);
    let order: Vec<String> = scene.codes().into_iter().map(|(name, _)| name).collect();
    assert_eq!(order, ["p", "r1"]);
}

#[test]
fn every_code_has_one_entry_and_a_description() {
    let mut seen = std::collections::BTreeSet::new();
    for problem in &catalog::PROBLEMS {
        assert!(seen.insert(problem.code), "{:?} stands twice", problem.code);
        assert!(!problem.description.is_empty());
        assert_eq!(catalog::description(problem.code), problem.description);
    }
    assert_eq!(catalog::description(Code::NoProblem), "");
}
