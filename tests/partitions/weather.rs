//! Links that are slow and lose packets, as between data centres far from each other.

use std::time::Duration;

use crate::support::{Flavor, PATIENCE, Writers, wait_until};
use crate::world::{NOTHING, PRIMARY, Plan, World};

/// Of a hundred packets.
const LOST: u8 = 2;
/// There and back it is 100 ms.
const EACH_WAY: Duration = Duration::from_millis(50);

#[test]
fn far_and_lossy_links_cost_neither_leadership_nor_a_failover() {
    // A packet that is lost costs a connection attempt up to a second.
    let settings = [("BATON_RAFTTIMING", "far"), ("BATON_MYSQLCONNECTTIMEOUTSECONDS", "3")];
    let mut world = World::start(&Plan { settings: &settings, ..Plan::three(Flavor::MySql97) });
    let centres: Vec<Vec<_>> = (0..3).map(|it| world.places(&[it], &[it])).collect();
    for (some, others) in [(0, 1), (1, 2), (2, 0)] {
        world.net.slow(&centres[some], &centres[others], EACH_WAY);
        world.net.lose(&centres[some], &centres[others], LOST);
    }
    let leader = world.until_agreed(&world.all());
    let term = world.term(leader);
    for id in 0..10 {
        world.write(PRIMARY, id, &[0, 2]);
        world.until_changed_through(world.but(&[leader])[0]);
    }
    assert_eq!(world.until_agreed(&world.all()), leader);
    assert_eq!(world.term(leader), term, "it led all the time");
    assert_eq!(world.begun(&world.all()), NOTHING, "slow is not dead");

    let writers = Writers::start(&world.servers);
    wait_until(PATIENCE, "they write", || (writers.acknowledged().len() > 5).then_some(()));
    world.servers[PRIMARY].kill_9();
    let recovery = world.until_recovered(leader, PRIMARY);
    let successor = world.successor(&recovery);
    assert_eq!(world.writable(), [successor]);
    wait_until(PATIENCE, "they write elsewhere", || {
        writers.acknowledged().iter().any(|it| it.server == successor).then_some(())
    });
    world.holds(writers, successor);
    world.net.heal();
    world.servers[PRIMARY].restart();
    world.until_rejoined(PRIMARY, successor);
}
