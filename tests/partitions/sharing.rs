//! Batons that divide the servers among themselves: each server is asked by one of them, until that one dies.

use std::time::Duration;

use crate::support::{Flavor, PATIENCE, wait_until};
use crate::world::{PRIMARY, Plan, World};

/// Statements of more than a few looks at a server.
const SEVERAL_LOOKS: u64 = 40;
/// A share has moved by then. That nothing was heard of a server is noticed later.
const MOVES_WITHIN: Duration = Duration::from_millis(2_500);

impl World {
    /// How many statements each baton has run on a server so far.
    fn asked(&self, server: usize) -> Vec<u64> {
        let counts = self.servers[server].query(
            "SELECT host, SUM(count_star) FROM \
             performance_schema.events_statements_summary_by_host_by_event_name \
             WHERE host IS NOT NULL GROUP BY host",
        );
        let of = |address: String| {
            let row = counts.iter().find(|row| row[0].as_deref() == Some(&*address));
            row.and_then(|row| row[1].as_ref()?.parse().ok()).unwrap_or(0)
        };
        self.seats.iter().map(|seat| of(seat.address())).collect()
    }

    /// Which batons asked a server anything, while one of these did several times.
    fn askers(&self, server: usize, among: &[usize]) -> Vec<usize> {
        let before = self.asked(server);
        let more = |asked: &[u64], it: usize| asked[it].saturating_sub(before[it]);
        let after = wait_until(PATIENCE, "somebody looks at it", || {
            let asked = self.asked(server);
            among.iter().any(|it| more(&asked, *it) >= SEVERAL_LOOKS).then_some(asked)
        });
        self.all().into_iter().filter(|it| more(&after, *it) > 0).collect()
    }

    /// Waits until one of these alone asks a server, and says which.
    fn until_divided(&self, server: usize, among: &[usize]) -> usize {
        wait_until(PATIENCE, "one of them asks it", || match self.askers(server, among)[..] {
            [one] => Some(one),
            _ => None,
        })
    }
}

#[test]
fn a_server_is_asked_by_one_baton_and_by_another_as_soon_as_that_one_dies() {
    let settings = [("BATON_RAFTSHAREDPROBING", "true")];
    let mut world = World::start(&Plan { settings: &settings, ..Plan::three(Flavor::MySql97) });
    let probers = [0, 1, 2].map(|server| world.until_divided(server, &world.all()));
    let prober = probers[PRIMARY];
    for (server, its_prober) in probers.into_iter().enumerate() {
        assert_eq!(world.askers(server, &world.all()), [its_prober], "and it stays so");
    }
    for baton in &world.batons {
        baton.until("/api/all-instances?local=true", "all know of all", |all| {
            let is_fresh = |it: &serde_json::Value| {
                it["IsLastCheckValid"] == true
                    && it["SecondsSinceLastSeen"]["Int64"].as_i64() <= Some(3)
            };
            (all.as_array()?.iter().filter(|it| is_fresh(it)).count() == 3).then_some(())
        });
    }

    let before = world.asked(PRIMARY);
    world.batons[prober].kill_9();
    let others = world.but(&[prober]);
    wait_until(MOVES_WITHIN, "another one takes over", || {
        let asked = world.asked(PRIMARY);
        others.iter().any(|it| asked[*it] > before[*it]).then_some(())
    });
    let next = world.until_divided(PRIMARY, &others);
    assert!(others.contains(&next));

    // The one that looks is the one that hears of the end first.
    world.leader(&others);
    world.servers[PRIMARY].kill_9();
    let recovery = world.until_recovered(others[0], PRIMARY);
    assert_eq!(world.writable(), [world.successor(&recovery)]);
    world.batons[prober].launch();
    let leader = world.until_agreed(&world.all());
    assert_eq!(world.promotions(leader), 1, "one acts, once (I2)");
    let successor = world.successor(&recovery);
    world.until_divided(successor, &world.all());
}
