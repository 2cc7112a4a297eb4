//! The example everybody knows: three data centres, one of which is cut off with the primary in it.

use crate::support::{Flavor, PATIENCE, Writers, is_writable, until_fenced, wait_until};
use crate::world::{NOTHING, PRIMARY, Plan, World};

#[test]
fn a_primary_whose_data_centre_is_cut_off_is_replaced_outside_and_rejoins() {
    let world = World::start(&Plan::three(Flavor::MySql97));
    // The worst case: whoever leads is cut off with it.
    world.lead(PRIMARY);
    world.write(PRIMARY, 1, &[0, 2]);
    world.isolate(&[PRIMARY], &[PRIMARY]);

    let others = world.but(&[PRIMARY]);
    let leader = world.leader(&others);
    world.until_powerless(PRIMARY);
    let recovery = world.until_recovered(leader, PRIMARY);
    let successor = world.successor(&recovery);
    assert_ne!(successor, PRIMARY, "the new one is outside");
    assert!(is_writable(&world.servers[PRIMARY]), "nobody reaches the old one");
    world.write(successor, 2, &[2 - successor]);
    assert_eq!(world.begun(&[PRIMARY]), NOTHING, "who is cut off does nothing (I2, I7)");
    world.refuses(PRIMARY);

    world.net.heal();
    world.until_rejoined(PRIMARY, successor);
    world.write(successor, 3, &[PRIMARY]);
    assert_eq!(world.until_recovered(PRIMARY, PRIMARY)["UID"], recovery["UID"], "all know of it");
    world.until_agreed(&world.all());
    world.until_changed_through(PRIMARY);
    assert_eq!(world.promotions(leader), 1, "nothing is done twice (I11)");
}

#[test]
fn applications_in_a_data_centre_that_hears_nobody_are_promised_nothing() {
    let world = World::start(&Plan::three(Flavor::MySql97));
    world.lead(PRIMARY);
    let writers = Writers::start(&world.servers);
    wait_until(PATIENCE, "they write", || (writers.acknowledged().len() > 20).then_some(()));
    // One way only: replicas may have what the primary never learns that they have.
    let inside = world.places(&[PRIMARY], &[PRIMARY]);
    world.net.cut(&world.places(&[0, 2], &[0, 2]), &inside);
    let leader = world.leader(&world.but(&[PRIMARY]));
    let successor = world.successor(&world.until_recovered(leader, PRIMARY));
    wait_until(PATIENCE, "they write elsewhere", || {
        let all = writers.acknowledged();
        (all.iter().filter(|it| it.server == successor).count() > 20).then_some(())
    });
    world.net.heal();
    // What it took from its neighbours and never acknowledged may keep it from following.
    until_fenced(&world.servers[PRIMARY]);
    assert_eq!(world.writable(), [successor]);
    world.holds(writers, successor);
    assert_eq!(world.begun(&[PRIMARY]), NOTHING, "who was cut off did nothing");
}
