//! Everything goes wrong, over and over, while applications write: no acknowledged write is ever
//! lost, and never do two servers accept writes. `SEED` and `MINUTES` say what and for how long,
//! `FLAVOR=mariadb` (or `mariadb-11.8`) on which servers, `SHAPE=co-primaries` in which topology,
//! `MISHAP=BigTransaction` that only this happens.

#[path = "../support/mod.rs"]
mod support;

mod mishaps;
mod shapes;
mod world;

use std::time::{Duration, Instant};

use serde_json::Value;

use mishaps::{MISHAPS, Mishap};
use shapes::Shape;
use support::{Flavor, Server, Writers};
use world::{World, rows};

/// How long baton may take to put one thing right, on a busy machine, dead servers included.
const HEAL: Duration = Duration::from_secs(90);

/// Numbers that follow from a seed (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("it is small")
    }

    fn millis_below(&mut self, limit: usize) -> Duration {
        Duration::from_millis(self.below(limit) as u64)
    }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn number(name: &str, default: f64) -> f64 {
    setting(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn flavor() -> Flavor {
    match setting("FLAVOR").as_deref() {
        None | Some("mysql") => Flavor::MySql97,
        Some("mariadb") => Flavor::MariaDb1011,
        Some("mariadb-11.8") => Flavor::MariaDb118,
        Some(other) => panic!("FLAVOR={other}: mysql, mariadb or mariadb-11.8"),
    }
}

fn chosen_mishaps() -> Vec<Mishap> {
    let Some(wanted) = setting("MISHAP") else { return MISHAPS.to_vec() };
    let named: Vec<Mishap> =
        MISHAPS.into_iter().filter(|it| wanted.contains(&format!("{it:?}"))).collect();
    assert!(!named.is_empty(), "MISHAP={wanted}: {MISHAPS:?}");
    named
}

#[test]
#[allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "torture takes real time, and says what it did"
)]
fn nothing_acknowledged_is_lost_and_one_server_accepts_writes() {
    let (seed, minutes, flavor) = (number("SEED", 1.0) as u64, number("MINUTES", 0.7), flavor());
    let shape = Shape::chosen(seed, flavor, setting("SHAPE").as_deref());
    let mishaps = chosen_mishaps();
    eprintln!("SEED={seed} MINUTES={minutes} FLAVOR={flavor:?} SHAPE={shape:?}");
    let mut world = World::new(flavor, shape);
    let writers = Writers::start(&world.servers);
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15 ^ seed.wrapping_mul(0xD129_0D3F));
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut count = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200) + chance.millis_below(1_500));
        let mishap = mishaps[chance.below(mishaps.len())];
        world.reshape();
        let began = Instant::now();
        world.go_wrong(mishap, &mut chance);
        world.until_whole(mishap);
        count += 1;
        eprintln!("{count} {mishap:?}: whole again after {:.1?}", began.elapsed());
        if began.elapsed() > Duration::from_secs(20) {
            eprintln!("{}", world.story());
        }
    }
    world.until_whole(Mishap::HandOver);
    let acknowledged = writers.acknowledged();
    drop(writers);
    let primary = world.primary().expect("there is a primary");
    let kept = rows(&world.servers[primary]);
    let lost: Vec<_> =
        acknowledged.iter().filter(|it| kept.binary_search(&it.id).is_err()).collect();
    eprintln!(
        "{} writes acknowledged, {} lost, {count} mishaps, {} needed a person",
        acknowledged.len(),
        lost.len(),
        world.helped
    );
    assert!(lost.is_empty(), "SEED={seed}: {lost:?}\n{}", world.story());
    assert!(count > 0 && !acknowledged.is_empty());
    assert_replicas_are_whole(&world, primary, &kept);
    let recoveries = world.baton.get("/api/audit-recovery");
    let open = recoveries.as_array().into_iter().flatten();
    let open: Vec<&Value> = open.filter(|it| it["RecoveryEndTimestamp"] == "").collect();
    assert!(open.is_empty(), "no recovery is left unresolved: {open:?}");
}

/// All have the same rows, the large ones too, and what imports goes on importing.
#[allow(clippy::disallowed_methods, reason = "real servers take real time")]
fn assert_replicas_are_whole(world: &World, primary: usize, kept: &[u64]) {
    let large = |server: &Server| server.value("SELECT SUM(CRC32(filling) * id) FROM shop.large");
    let expected = large(&world.servers[primary]);
    let deadline = Instant::now() + HEAL;
    for replica in &world.servers {
        while rows(replica) != kept || large(replica) != expected {
            let late = Instant::now() > deadline;
            assert!(!late, "{} has not got everything: {}", replica.port, world.story());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    while let Some(why) = world.import_trouble() {
        world.start_import();
        assert!(Instant::now() < deadline, "{why}: {}", world.story());
        std::thread::sleep(Duration::from_millis(50));
    }
}
