//! Everything at once, from a seed: links break, nodes die and come back, disks are lost. What was
//! acknowledged stays, what was refused never happened, and a term has one leader.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_actors::ports::{Ledger, ProposeError};
use baton_actors::raft::RaftNode;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::{Command, LedgerState};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::world::{World, within};

const SEATS: [&str; 3] = ["a:1", "b:1", "c:1"];
/// How many things happen; `STEPS` in the environment says otherwise.
const STEPS: u32 = 15;
/// What nobody answers within this is in doubt.
const MOMENT: Duration = Duration::from_millis(700);

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

fn key(number: u32) -> InstanceKey {
    InstanceKey::new(format!("db{number}").as_str(), 3306)
}

fn mark(number: u32) -> Command {
    Command::Tag { key: key(number), name: "n".into(), value: "".into() }
}

fn has(state: &LedgerState, number: u32) -> bool {
    state.tags_of(&key(number)).next().is_some()
}

/// What is known of the past.
#[derive(Default)]
struct Past {
    next: u32,
    acknowledged: BTreeSet<u32>,
    refused: BTreeSet<u32>,
    leaders: BTreeMap<u64, String>,
}

impl Past {
    /// Has every node try to prove that it leads, and to change something; all at the same time.
    async fn try_all(&mut self, world: &World) {
        let tries = world.nodes.iter().map(|(name, node)| {
            self.next += 2;
            attempt(name.clone(), node.clone(), self.next)
        });
        for (name, number, term, [plain, fenced]) in join_all(tries.collect::<Vec<_>>()).await {
            for (number, result) in [(number, plain), (number + 1, fenced)] {
                match result {
                    Some(Ok(())) => self.acknowledged.insert(number),
                    Some(Err(ProposeError::NotLeading(_) | ProposeError::Unavailable(_))) => {
                        self.refused.insert(number)
                    }
                    Some(Err(ProposeError::Refused(why))) => panic!("{why}"),
                    Some(Err(ProposeError::Timeout)) | None => false,
                };
            }
            if let Some(term) = term {
                let known = self.leaders.entry(term).or_insert_with(|| name.clone());
                assert_eq!(*known, name, "two leaders of term {term}");
            }
        }
    }
}

type Tried = (String, u32, Option<u64>, [Option<Result<(), ProposeError>>; 2]);

async fn attempt(name: String, node: RaftNode, number: u32) -> Tried {
    let plain = timeout(MOMENT, node.propose(mark(number))).await;
    let proof = node.prove(MOMENT).await.ok();
    let fenced = match proof {
        Some(proof) => timeout(MOMENT, node.propose_in(proof.term, mark(number + 1))).await.ok(),
        None => None,
    };
    let known = |it: Option<Result<_, ProposeError>>| it.map(|it| it.map(|_| ()));
    (name, number, proof.map(|it| it.term), [known(plain.ok()), known(fenced)])
}

async fn something_happens(world: &mut World, dice: &mut Dice) -> String {
    let name = SEATS[dice.roll(SEATS.len())];
    let other = SEATS[dice.roll(SEATS.len())];
    match dice.roll(10) {
        0..=2 => {
            world.net.isolate(&[name]);
            return format!("{name} is cut off");
        }
        3 | 4 => {
            world.net.cut_one_way(name, other);
            return format!("{other} does not hear {name}");
        }
        5 => world.net.heal(),
        6 if world.nodes.contains_key(name) => {
            world.kill(name).await;
            return format!("{name} is killed");
        }
        6 | 7 if !world.nodes.contains_key(name) => {
            world.start(name).await;
            return format!("{name} is started");
        }
        8 => {
            // Disks are lost one after the other; two of three at once would be the end.
            all_is_well(world).await;
            world.kill(name).await;
            world.wipe(name);
            world.start(name).await;
            world.all_members().await;
            return format!("{name} lost its disk");
        }
        _ => return "nothing".into(),
    }
    "the network heals".into()
}

async fn all_is_well(world: &mut World) {
    world.net.heal();
    for seat in SEATS {
        if !world.nodes.contains_key(seat) {
            world.start(seat).await;
        }
    }
    world.all_members().await;
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stdout, reason = "a seed that fails is told")]
async fn whatever_happens_what_was_acknowledged_stays() {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    let seed = number("SEED").unwrap_or(1);
    let steps = number("STEPS").map_or(STEPS, |steps| u32::try_from(steps).unwrap());
    println!("SEED={seed} STEPS={steps}");
    let mut dice = Dice(seed);
    let mut world = World::running(&SEATS).await;
    let mut past = Past::default();
    for step in 0..steps {
        let what = something_happens(&mut world, &mut dice).await;
        // Sometimes long enough for an election, sometimes not.
        for _ in 0..=dice.roll(4) {
            past.try_all(&world).await;
        }
        let (yes, no) = (past.acknowledged.len(), past.refused.len());
        println!("step {step}: {what}; {yes} acknowledged, {no} refused");
    }
    all_is_well(&mut world).await;
    within("a last command", async {
        let last = past.next;
        while !past.acknowledged.iter().any(|number| *number > last) {
            past.try_all(&world).await;
        }
    })
    .await;
    let last = *past.acknowledged.last().unwrap();
    for (name, node) in &world.nodes {
        let mut state = node.state();
        let state = within(name, state.wait_for(|state| has(state, last))).await.unwrap().clone();
        for number in &past.acknowledged {
            assert!(has(&state, *number), "{name} lost {number}");
        }
        for number in &past.refused {
            assert!(!has(&state, *number), "{name} did {number}, which was refused");
        }
    }
}
