//! Leaders that some or all of the others do not hear, or who do not hear them.

use crate::support::{Flavor, PATIENCE, wait_until};
use crate::world::{NOTHING, PRIMARY, Plan, World};

#[test]
fn only_who_has_a_majority_leads_whatever_the_network_lets_through() {
    let mut world = World::start(&Plan::three(Flavor::MySql97));
    a_leader_who_loses_one_follower_stays(&world);
    for direction in [Direction::Out, Direction::In, Direction::Both] {
        a_leader_who_is_cut_off_is_replaced(&world, direction);
    }
    what_only_the_leader_has_lost_is_not_dead(&world);
    assert_eq!(world.begun(&world.all()), NOTHING, "servers had no part in it (I7)");
    assert_eq!(world.writable(), [PRIMARY]);
    the_majority_acts_while_the_old_leader_sees_the_same(&mut world);
}

/// A partial partition: the other follower hears both.
fn a_leader_who_loses_one_follower_stays(world: &World) {
    let leader = world.until_agreed(&world.all());
    let term = world.term(leader);
    let follower = world.but(&[leader])[0];
    world.net.part(&world.places(&[leader], &[]), &world.places(&[follower], &[]));
    wait_until(PATIENCE, "it hears nobody", || {
        let (status, _) = world.batons[follower].try_get("/api/raft-health")?;
        (status == 500).then_some(())
    });
    world.refuses(follower);
    world.until_changed_through(leader);
    world.net.heal();
    assert_eq!(world.until_agreed(&world.all()), leader);
    assert_eq!(world.term(leader), term, "it was never contested");
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    /// Nothing the leader says reaches the others.
    Out,
    /// Nothing reaches the leader.
    In,
    Both,
}

fn a_leader_who_is_cut_off_is_replaced(world: &World, direction: Direction) {
    let old = world.until_agreed(&world.all());
    let (alone, others) = (world.places(&[old], &[]), world.but(&[old]));
    let together = world.places(&others, &[]);
    match direction {
        Direction::Out => world.net.cut(&alone, &together),
        Direction::In => world.net.cut(&together, &alone),
        Direction::Both => world.net.part(&alone, &together),
    }
    let new = world.leader(&others);
    world.until_powerless(old);
    world.until_changed_through(new);
    world.net.heal();
    assert_eq!(world.until_agreed(&world.all()), new, "{direction:?}: its return changes nothing");
    world.until_changed_through(old);
}

/// First the primary, which its replicas and the other batons still see; then all servers.
fn what_only_the_leader_has_lost_is_not_dead(world: &World) {
    let leader = world.until_agreed(&world.all());
    for (lost, code) in
        [(vec![PRIMARY], "UnreachableMaster"), (vec![0, 1, 2], "DeadMasterAndReplicas")]
    {
        world.net.part(&world.places(&[leader], &[]), &world.places(&[], &lost));
        world.until_seen_by(leader, PRIMARY, code);
        world.until_changed_through(leader);
        let id = u32::try_from(lost.len()).expect("a few");
        world.write(PRIMARY, id, &[]);
        world.net.heal();
        world.batons[leader].until_all_valid(3);
        // Also the one that was made to connect anew when its leader was cut off from it (I9).
        world.write(PRIMARY, id + 10, &[0, 2]);
    }
}

fn the_majority_acts_while_the_old_leader_sees_the_same(world: &mut World) {
    let old = world.until_agreed(&world.all());
    let others = world.but(&[old]);
    // It still sees all servers, as the others do.
    world.net.part(&world.places(&[old], &[]), &world.places(&others, &[]));
    world.servers[PRIMARY].kill_9();
    let new = world.leader(&others);
    let recovery = world.until_recovered(new, PRIMARY);
    let successor = world.successor(&recovery);
    world.until_powerless(old);
    assert_eq!(world.writable(), [successor]);
    assert_eq!(world.begun(&[old]), NOTHING, "a majority did not confirm it (I2)");
    world.net.heal();
    world.servers[PRIMARY].restart();
    world.until_rejoined(PRIMARY, successor);
    assert_eq!(world.until_recovered(old, PRIMARY)["UID"], recovery["UID"]);
    assert_eq!(world.promotions(new), 1, "nothing is done twice (I11)");
}
