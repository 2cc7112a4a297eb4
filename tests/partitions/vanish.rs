//! A primary that says nothing any more: it hangs, or its machine is gone.

use crate::support::{Flavor, PATIENCE, is_writable, wait_until};
use crate::world::{PRIMARY, Plan, World};

/// No connection breaks. Whoever gives up at first tries again after a minute only, which nobody waits for here.
#[test]
fn a_primary_that_says_nothing_any_more_is_replaced_at_the_first_attempt() {
    for (flavor, hangs) in
        [(Flavor::MySql97, false), (Flavor::MariaDb1011, false), (Flavor::MariaDb1011, true)]
    {
        let world = World::start(&Plan { batons: 1, ..Plan::three(flavor) });
        if hangs {
            world.servers[PRIMARY].stop_signal();
        } else {
            world.isolate(&[], &[PRIMARY]);
        }
        let replicas = [&world.servers[0], &world.servers[2]];
        wait_until(PATIENCE, "one of the others is open", || {
            replicas.iter().any(|it| is_writable(it)).then_some(())
        });
        world.batons[0].until("/api/audit-recovery", "it has ended", |all| {
            let all = all.as_array()?;
            assert_eq!(all.len(), 1, "{flavor:?}: {all:#?}");
            (all[0]["IsSuccessful"] == true).then_some(())
        });
        if flavor.is_mariadb() {
            for replica in replicas {
                let time = "SELECT @@GLOBAL.rpl_semi_sync_slave_kill_conn_timeout";
                assert_eq!(replica.value(time), "5", "as it was");
            }
        }
    }
}
