//! Machines that die, stop, wake up, lose their time or their disk space.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Flavor, PATIENCE, Writers, faketime, wait_until};
use crate::world::{NOTHING, PRIMARY, Plan, World};

#[test]
fn leader_and_primary_die_together_and_the_next_leader_oversleeps() {
    // Two primaries of one cluster die here within a minute: usually the second one would be left to people.
    let settings = [("BATON_RECOVERYPERIODBLOCKSECONDS", "5")];
    let mut world = World::start(&Plan { settings: &settings, ..Plan::three(Flavor::MySql97) });
    let old = world.until_agreed(&world.all());
    let writers = Writers::start(&world.servers);
    wait_until(PATIENCE, "they write", || (writers.acknowledged().len() > 20).then_some(()));
    world.batons[old].kill_9();
    world.servers[PRIMARY].kill_9();
    let others = world.but(&[old]);
    let new = world.leader(&others);
    let recovery = world.until_recovered(new, PRIMARY);
    let successor = world.successor(&recovery);
    wait_until(PATIENCE, "they write elsewhere", || {
        let all = writers.acknowledged();
        (all.iter().filter(|it| it.server == successor).count() > 20).then_some(())
    });
    world.holds(writers, successor);
    world.batons[old].launch();
    assert_eq!(world.until_agreed(&world.all()), new, "its return changes nothing");
    world.until_changed_through(old);
    assert_eq!(world.until_recovered(old, PRIMARY)["UID"], recovery["UID"]);
    assert_eq!(world.promotions(new), 1, "one acts, once (I2)");

    world.servers[PRIMARY].restart();
    world.until_rejoined(PRIMARY, successor);

    // The next one only sleeps, and misses how its primary dies.
    let (asleep, lost) = (world.until_agreed(&world.all()), successor);
    let before = world.begun(&[asleep]);
    world.batons[asleep].signal("-STOP");
    world.servers[lost].kill_9();
    let others = world.but(&[asleep]);
    let recovery = world.until_recovered(world.leader(&others), lost);
    let successor = world.successor(&recovery);
    world.batons[asleep].signal("-CONT");
    world.until_agreed(&world.all());
    assert_eq!(world.until_recovered(asleep, lost)["UID"], recovery["UID"]);
    assert_eq!(world.begun(&[asleep]), before, "it woke up and did nothing (I2)");
    world.servers[lost].restart();
    world.until_rejoined(lost, successor);
}

#[test]
fn time_may_jump_without_anybody_losing_leadership_or_a_primary() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = folder.path().join("clock");
    set(&clock, "+0");
    let library = faketime();
    let settings = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("a name")),
        ("FAKETIME_NO_CACHE", "1"),
        // Clocks that only count are not set by anybody.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let mut world = World::start(&Plan { settings: &settings, ..Plan::three(Flavor::MariaDb1011) });
    let leader = world.until_agreed(&world.all());
    let term = world.term(leader);
    let this_year = this_year();
    for (offset, decades) in [("+4000d", 1), ("-4000d", -1), ("+0", 0)] {
        set(&clock, offset);
        for baton in &world.batons {
            // Whatever makes it log something.
            baton.signal("-HUP");
            wait_until(PATIENCE, "it believes it", || {
                let line = baton.told("configuration reloaded").pop()?;
                let year: i32 = line["timestamp"].as_str()?.split('-').next()?.parse().ok()?;
                ((year - this_year) / 10 == decades).then_some(())
            });
        }
        world.write(PRIMARY, u32::try_from(decades + 1).expect("not negative"), &[0, 2]);
        world.until_changed_through(leader);
    }
    assert_eq!(world.until_agreed(&world.all()), leader);
    assert_eq!(world.term(leader), term, "leases are measured, not read off a calendar");
    assert_eq!(world.begun(&world.all()), NOTHING, "nobody was found dead");
    set(&clock, "+4000d");
    world.servers[PRIMARY].kill_9();
    let recovery = world.until_recovered(leader, PRIMARY);
    assert_eq!(world.writable(), [world.successor(&recovery)]);
}

fn this_year() -> i32 {
    let output = Command::new("date").args(["-u", "+%Y"]).output().expect("run date");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a year")
}

/// At once for whoever reads it: never half a file.
fn set(clock: &Path, offset: &str) {
    let draft = clock.with_extension("draft");
    fs::write(&draft, offset).expect("write the clock");
    fs::rename(&draft, clock).expect("set the clock");
}

#[test]
fn a_leader_without_room_on_its_disk_ends_and_another_one_acts() {
    let plan = Plan { raft_disk: Some(4096), ..Plan::three(Flavor::MariaDb1011) };
    let mut world = World::start(&plan);
    let old = world.until_agreed(&world.all());
    let folder = world.batons[old].folder().join("raft");
    let filler = folder.join("filler");
    world.seats[old].run(&format!("cat /dev/zero >{} 2>/dev/null || true", filler.display()));
    // Whatever is to be written next finds no room.
    world.batons[old].try_get("/api/enable-global-recoveries");
    let status = world.batons[old].wait_within(PATIENCE);
    assert!(!status.success(), "it says that it cannot go on");
    let others = world.but(&[old]);
    let new = world.leader(&others);
    world.servers[PRIMARY].kill_9();
    let recovery = world.until_recovered(new, PRIMARY);
    assert_eq!(world.writable(), [world.successor(&recovery)]);
    assert_eq!(world.begun(&[old]), NOTHING);

    world.seats[old].run(&format!("rm {}", filler.display()));
    world.batons[old].launch();
    assert_eq!(world.until_agreed(&world.all()), new, "it is back, with all it had voted for");
    world.until_changed_through(old);
}
