//! The example everybody knows: three data centres, one of which is cut off with the primary in it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::{Flavor, PATIENCE, Server, Writers, is_writable, until_fenced, wait_until};
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

/// How long a data centre is cut off.
const CUT: Duration = Duration::from_secs(18);

fn rows(server: &Server) -> BTreeSet<String> {
    let rows = server.query("SELECT id FROM shop.writes");
    rows.into_iter().filter_map(|row| row.into_iter().next()?).collect()
}

/// Without semi-synchronous replication, a primary that is cut off goes on serving the clients beside it: their writes
/// are on no other server.
#[test]
#[allow(clippy::disallowed_methods, reason = "the cut lasts for real time")]
fn what_a_data_centre_wrote_while_it_was_cut_off_is_told_until_a_person_handled_it() {
    let world = World::start(&Plan { semi_sync: false, ..Plan::three(Flavor::MySql97) });
    world.lead(PRIMARY);
    let writers = Writers::start(&world.servers);
    let written = |server: usize| {
        let all = writers.acknowledged();
        all.iter().filter(|it| it.server == server).count()
    };
    wait_until(PATIENCE, "clients write", || (written(PRIMARY) > 20).then_some(()));
    world.isolate(&[PRIMARY], &[PRIMARY]);
    let healed_at = Instant::now() + CUT;
    let others = world.but(&[PRIMARY]);
    let leader = world.leader(&others);
    let recovery = world.until_recovered(leader, PRIMARY);
    let successor = world.successor(&recovery);
    let before = written(PRIMARY);
    others.iter().for_each(|node| world.until_told(*node, &["FormerMasterNotFenced"], true));
    let is_missing = |node: usize| {
        let nodes = world.batons[node].get("/api/raft-nodes?local=true");
        nodes.as_array().is_some_and(|all| all.iter().any(|it| it["Answers"] == false))
    };
    wait_until(PATIENCE, "a baton is missing", || is_missing(leader).then_some(()));
    while Instant::now() < healed_at {
        others.iter().for_each(|node| assert_eq!(world.all_is_well_on(*node), None));
        std::thread::sleep(Duration::from_millis(250));
    }
    assert!(written(PRIMARY) > before + 20, "it served the clients beside it");
    assert!(written(successor) > 20, "and the new one all others");

    world.net.heal();
    until_fenced(&world.servers[PRIMARY]);
    assert_eq!(world.writable(), [successor]);
    drop(writers);
    let extra = rows(&world.servers[PRIMARY]).difference(&rows(&world.servers[successor])).count();
    assert!(extra > 20, "{extra} rows are on the former primary only");
    let number = format!("has {extra} transactions that");
    for node in world.all() {
        world.until_told(node, &["FormerMasterHasExtraTransactions", &number], true);
        assert_eq!(world.all_is_well_on(node), None);
    }
    let leader = world.leader(&world.all());
    let figures = world.batons[leader].try_get("/metrics").expect("figures").1;
    assert!(figures.contains("FormerMasterHasExtraTransactions\"} 1"), "{figures}");
    assert!(world.batons[leader].log().contains("a person has to see to"));

    let handled = world.batons[leader].get("/api/ack-recovery/cluster/shop?comment=merged");
    assert_eq!(handled["Code"], "OK", "{handled}");
    world.all().into_iter().for_each(|node| world.until_told(node, &["FormerMaster"], false));
}
