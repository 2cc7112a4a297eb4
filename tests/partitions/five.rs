//! Five batons: two may be lost, three may not.

use crate::support::Flavor;
use crate::world::{NOTHING, PRIMARY, Plan, World};

#[test]
fn of_five_any_three_act_and_two_never_do() {
    let mut world = World::start(&Plan { batons: 5, ..Plan::three(Flavor::MariaDb1011) });
    two_who_lose_the_primary_and_the_others_do_nothing(&world);
    three_that_are_stopped_leave_two_that_wait(&mut world);
}

/// The leader is one of them, and to these two the primary is dead.
fn two_who_lose_the_primary_and_the_others_do_nothing(world: &World) {
    let old = world.until_agreed(&world.all());
    let few = [old, world.but(&[old])[0]];
    let many = world.but(&few);
    world.net.part(&world.places(&few, &[]), &world.places(&many, &[PRIMARY]));
    let new = world.leader(&many);
    few.iter().for_each(|it| world.until_powerless(*it));
    world.until_seen_by(old, PRIMARY, "UnreachableMaster");
    world.until_changed_through(new);
    world.net.heal();
    world.until_agreed(&world.all());
    few.iter().for_each(|it| world.batons[*it].until_all_valid(3));
    assert_eq!(world.begun(&world.all()), NOTHING, "nobody has acted (I7)");
    assert_eq!(world.writable(), [PRIMARY]);
}

fn three_that_are_stopped_leave_two_that_wait(world: &mut World) {
    let leader = world.until_agreed(&world.all());
    let others = world.but(&[leader]);
    let (asleep, awake) = ([leader, others[0], others[1]], [others[2], others[3]]);
    asleep.iter().for_each(|it| world.batons[*it].signal("-STOP"));
    awake.iter().for_each(|it| world.until_powerless(*it));
    world.servers[PRIMARY].kill_9();
    for node in awake {
        world.until_seen_by(node, PRIMARY, "DeadMaster");
        world.refuses(node);
    }
    assert_eq!(world.writable(), [0; 0], "two of five do nothing (I2)");
    // Three again, and the two that saw it are among them.
    world.batons[asleep[2]].signal("-CONT");
    let three = [asleep[2], awake[0], awake[1]];
    let new = world.leader(&three);
    let successor = world.successor(&world.until_recovered(new, PRIMARY));
    assert_eq!(world.writable(), [successor]);
    asleep[..2].iter().for_each(|it| world.batons[*it].signal("-CONT"));
    world.until_agreed(&world.all());
    world.servers[PRIMARY].restart();
    world.until_rejoined(PRIMARY, successor);
    assert_eq!(world.promotions(new), 1, "one acts, once");
}
