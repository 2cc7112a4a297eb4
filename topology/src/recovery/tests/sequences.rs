//! Every sequence of what may happen: at its end nothing is stopped, at most one is open.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::*;

/// What became of the servers, as far as the machine's effects tell.
#[derive(Debug, Clone, Default)]
pub(super) struct Servers {
    pub(super) stopped: BTreeSet<InstanceKey>,
    /// Accepts writes, or may.
    pub(super) open: BTreeSet<InstanceKey>,
    follows: BTreeMap<InstanceKey, InstanceKey>,
    given_up: BTreeSet<InstanceKey>,
}

impl Servers {
    fn apply(&mut self, on: &InstanceKey, action: &Action) {
        match action {
            Action::Stop(_) => {
                self.stopped.insert(on.clone());
            }
            Action::Start(Threads::Both | Threads::Receiver) => {
                self.stopped.remove(on);
            }
            Action::ChangeSource { to, .. } => {
                self.follows.insert(on.clone(), to.clone());
            }
            Action::ForgetSource => {
                self.follows.remove(on);
                self.stopped.remove(on);
            }
            Action::Detach => {
                self.given_up.insert(on.clone());
                self.stopped.remove(on);
            }
            Action::SetWritable => {
                self.open.insert(on.clone());
            }
            Action::SetReadOnly => {
                self.open.remove(on);
            }
            _ => {}
        }
    }
}

/// How one chain ends in this sequence.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Done,
    RefusedAt(usize),
    NoAnswerAt(usize),
}

fn run(servers: &mut Servers, stage: &Stage, victim: Option<&InstanceKey>, fate: Fate) -> Vec<Ran> {
    stage
        .chains
        .iter()
        .map(|chain| {
            let is_gone = chain.on == key("p");
            let usual = if is_gone { Fate::NoAnswerAt(0) } else { Fate::Done };
            let fate = if victim == Some(&chain.on) { fate } else { usual };
            let last = chain.actions.len() - 1;
            let (until, outcome) = match fate {
                Fate::Done => (chain.actions.len(), Outcome::Done),
                Fate::RefusedAt(at) => {
                    let at = at.min(last);
                    (at, Outcome::Refused { at, error: "no".into() })
                }
                // It may have been done, so it counts as done.
                Fate::NoAnswerAt(at) => {
                    let at = at.min(last);
                    (at + 1, Outcome::NoAnswer { at, error: "gone".into() })
                }
            };
            chain.actions.iter().take(until).for_each(|action| servers.apply(&chain.on, action));
            Ran { on: chain.on.clone(), need: chain.need, outcome }
        })
        .collect()
}

/// Drives a recovery to its end; in these stages the victim meets its fate, and before the `m`-th
/// step somebody else goes on with it.
pub(super) fn drive(
    fleet: &FleetSnapshot,
    victim: &InstanceKey,
    bad_stages: Range<usize>,
    fate: Fate,
    resume_at: Option<usize>,
) -> (Recovery, Servers) {
    let situation = situation(fleet);
    let mut recovery = begin(&request(Cause::Found, None), fleet, &runner(), now()).unwrap();
    let mut servers = Servers::default();
    for replica in &recovery.replicas {
        servers.follows.insert(replica.clone(), key("p"));
    }
    let mut event = Event::Begun;
    let mut stages = 0;
    for steps in 0.. {
        assert!(steps < 60, "it comes to an end: {recovery:?}");
        let next = step(&recovery, event, &situation);
        recovery = next.recovery;
        if resume_at == Some(steps) {
            // Whoever carried the effect out died in the middle of it.
            if let Effect::Run(stage) = &next.effect {
                let died = match fate {
                    Fate::NoAnswerAt(_) => fate,
                    _ => Fate::NoAnswerAt(0),
                };
                run(&mut servers, stage, Some(victim), died);
            }
            event = Event::Resumed;
            continue;
        }
        event = match next.effect {
            Effect::Announce => Event::Announced(Ok(())),
            Effect::Look(_) => Event::Looked,
            Effect::Finish => return (recovery, servers),
            Effect::Run(stage) => {
                stages += 1;
                let victim = bad_stages.contains(&stages).then_some(victim);
                Event::Ran(run(&mut servers, &stage, victim, fate))
            }
        };
        assert!(servers.open.len() <= 1, "I6: {servers:?}");
    }
    unreachable!("the loop returns");
}

#[test]
fn whatever_fails_at_whichever_stage_nobody_stays_stopped_and_one_at_most_is_open() {
    let replicas =
        [replica("a", "1-5", "1-5"), replica("b", "1-9", "1-4"), replica("c", "1-9", "1-9")];
    let mut prefer = replicas.clone();
    prefer[0].1.promotion_rule = Some(PromotionRule::Prefer);
    let mut ends = BTreeMap::new();
    for replicas in [&replicas, &prefer] {
        let fleet = fleet_with(everywhere(), "1-9", replicas, &[]);
        let fates = (0..6).flat_map(|at| [Fate::RefusedAt(at), Fate::NoAnswerAt(at)]);
        for fate in fates.chain([Fate::Done]) {
            for victim in ["a", "b", "c", "p"].map(key) {
                for stages in (1..7).flat_map(|at| [at..at + 1, at..at + 30]) {
                    for resume in [None, Some(1), Some(2), Some(3), Some(4), Some(5), Some(6)] {
                        let (recovery, servers) =
                            drive(&fleet, &victim, stages.clone(), fate, resume);
                        let case = format!(
                            "{fate:?} of {victim} at {stages:?}, resumed at {resume:?}: {recovery:#?} {servers:?}"
                        );
                        let Phase::Ended(end) = recovery.phase else { panic!("{case}") };
                        *ends.entry(format!("{end:?}")).or_insert(0) += 1;
                        let is_open = |key: &InstanceKey| servers.open.contains(key);
                        if end == End::Done {
                            let successor = recovery.successor.clone().expect("somebody succeeded");
                            assert!(is_open(&successor), "{case}");
                        }
                        if end == End::RolledBack {
                            assert!(servers.open.is_empty(), "{case}");
                        }
                        // Who failed in the very stage that should have started it is told of.
                        let excused = |key: &InstanceKey| recovery.failed_on.contains(key);
                        let left =
                            servers.stopped.iter().find(|it| !excused(it) && **it != key("p"));
                        assert!(left.is_none() || end == End::Stuck, "I9: {left:?} {case}");
                    }
                }
            }
        }
    }
    assert!(ends["Done"] > 100 && ends["RolledBack"] > 10 && ends["Stuck"] > 10, "{ends:?}");
}

#[test]
fn a_primary_that_lives_and_cannot_be_fenced_ends_it() {
    let replicas = [replica("a", "1-9", "1-9"), replica("b", "1-9", "1-9")];
    let fleet = fleet_with(everywhere(), "1-9", &replicas, &[]);
    let (recovery, servers) = drive(&fleet, &key("p"), 1..2, Fate::RefusedAt(0), None);
    assert_eq!(recovery.phase, Phase::Ended(End::RolledBack));
    assert!(recovery.errors[0].starts_with("I1: p:3306 cannot be fenced"), "{recovery:?}");
    assert!(servers.stopped.is_empty() && servers.open.is_empty(), "{servers:?}");
}
