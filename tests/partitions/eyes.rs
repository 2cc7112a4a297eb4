//! Whether a primary is dead is not for one baton to say: the others are asked, and look (I7).

use crate::support::{Flavor, PATIENCE, Server, is_writable, wait_until};
use crate::world::{NOTHING, PRIMARY, Plan, World};

impl World {
    /// What the leader says of the primary once it has asked the others in vain; why it does nothing.
    fn until_refused(&self, leader: usize) -> String {
        let (host, port) = (&self.servers[PRIMARY].host, self.servers[PRIMARY].port);
        let baton = &self.batons[leader];
        baton.until(&format!("/api/explain/{host}/{port}"), "it says why it does nothing", |it| {
            let message = it["Message"].as_str()?;
            message.contains("sees it alive").then(|| message.to_owned())
        })
    }

    /// The leader has looked for the primary in vain so often, and does not take it for dead.
    fn until_looked_for(&self, times: u32) {
        let (host, port) = (&self.servers[PRIMARY].host, self.servers[PRIMARY].port);
        self.batons[0].until(&format!("/api/explain/{host}/{port}"), "it is looked for", |it| {
            let text = it["Message"].as_str()?;
            let failures = text.split("the last ").nth(1)?.split(' ').next()?;
            let is_enough = failures.parse::<u32>().ok()? >= times;
            (is_enough && text.contains("UnreachableMaster")).then_some(())
        });
    }

    fn stays_as_it_was(&self) {
        assert_eq!(self.begun(&self.all()), NOTHING, "{}", self.batons[0].log());
        assert!(is_writable(&self.servers[PRIMARY]));
        assert!(!is_writable(&self.servers[0]) && !is_writable(&self.servers[2]));
    }

    /// Neither these batons nor the replicas reach the primary any more.
    fn lose_primary(&self, batons: &[usize], replicas: &[usize]) {
        self.net.part(&self.places(batons, replicas), &self.places(&[], &[PRIMARY]));
    }
}

#[test]
fn a_primary_that_the_leader_alone_has_lost_stays_the_primary_until_the_others_lose_it_too() {
    let world = World::start(&Plan::three(Flavor::MySql97));
    world.lead(0);
    world.write(PRIMARY, 1, &[0, 2]);
    world.lose_primary(&[0], &[0, 2]);
    let why = world.until_refused(0);
    assert!(why.contains("baton2:10008 sees it alive"), "{why}");
    assert!(why.contains("baton3:10008 sees it alive"), "{why}");
    assert_eq!(world.begun(&world.all()), NOTHING);
    assert!(is_writable(&world.servers[PRIMARY]));

    world.lose_primary(&[1, 2], &[]);
    let recovery = world.until_recovered(0, PRIMARY);
    let steps = world.batons[0]
        .get(&format!("/api/audit-recovery-steps/{}", recovery["UID"].as_str().unwrap_or("")));
    assert!(steps.to_string().contains("confirmed by"), "{steps:#}");
    assert_eq!(world.begun(&world.all()).len(), 1);
}

#[test]
fn a_baton_near_the_primary_that_sees_it_alive_has_a_veto_until_it_is_cut_off_itself() {
    // The third baton is where the primary is.
    let pattern = r"(?:baton|10[.]77[.]0[.])([0-9]+)$";
    let settings = [("BATON_DATACENTERPATTERN", pattern)];
    let world = World::start(&Plan { settings: &settings, ..Plan::three(Flavor::MariaDb1011) });
    world.lead(0);
    world.lose_primary(&[0, 1], &[0, 2]);
    let why = world.until_refused(0);
    assert!(why.contains("vetoed: baton3:10008 (3) sees it alive"), "{why}");
    assert_eq!(world.begun(&world.all()), NOTHING);

    world.net.part(&world.places(&[2], &[PRIMARY]), &world.places(&[0, 1], &[0, 2]));
    world.until_recovered(0, PRIMARY);
    assert_eq!(world.begun(&[2]), NOTHING);
}

/// D13: a receiver that runs is a witness, whatever its applier does.
#[test]
fn a_primary_that_all_batons_have_lost_stays_the_primary_while_receivers_run() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let mut world = World::start(&Plan::three(flavor));
        world.lead(0);
        world.write(PRIMARY, 1, &[0, 2]);
        for replica in [0, 2] {
            world.servers[replica].exec(match flavor {
                Flavor::MySql97 => "STOP REPLICA SQL_THREAD",
                Flavor::MariaDb1011 | Flavor::MariaDb118 => "STOP SLAVE SQL_THREAD",
            });
        }
        world.lose_primary(&[0, 1, 2], &[]);
        world.until_looked_for(4);
        world.stays_as_it_was();

        world.servers[PRIMARY].kill_9();
        world.until_recovered(0, PRIMARY);
    }
}

/// The account of a replica that could not log in again: without TLS its source forgot its password's
/// hash, and it may not ask for the public key. It still proves that its source answers.
#[test]
fn a_replica_that_cannot_log_in_again_is_a_witness_still() {
    let mut world = World::start(&Plan { semi_sync: false, ..Plan::three(Flavor::MySql97) });
    world.lead(0);
    let source = &world.servers[PRIMARY];
    source.exec("CREATE USER again IDENTIFIED WITH caching_sha2_password BY 'again'");
    source.exec("GRANT REPLICATION SLAVE ON *.* TO again");
    for replica in [0, 2].map(|it| &world.servers[it]) {
        let change = |tls: &str| {
            format!(
                "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_USER = 'again', \
                 SOURCE_PASSWORD = 'again', {tls}; START REPLICA"
            )
        };
        // The first login is over TLS: the source knows the hash from then on.
        for tls in ["SOURCE_SSL = 1, GET_SOURCE_PUBLIC_KEY = 0", "SOURCE_SSL = 0"] {
            replica.exec(&change(tls));
            wait_until(PATIENCE, "it receives", || replica.replication_runs("").then_some(()));
        }
    }
    world.batons[0].until_all_valid(3);
    world.servers[PRIMARY].exec("FLUSH PRIVILEGES");
    world.lose_primary(&[0, 1, 2], &[]);
    let refused = |it: &Server| {
        let text = it.replica_status("", "Last_IO_Error").unwrap_or_default();
        text.contains("requires secure connection")
    };
    wait_until(PATIENCE, "one of them tried to connect anew", || {
        [0, 2].iter().any(|it| refused(&world.servers[*it])).then_some(())
    });
    world.until_looked_for(8);
    world.stays_as_it_was();

    world.servers[PRIMARY].kill_9();
    world.until_recovered(0, PRIMARY);
}

/// Stopped, it would not start again: what it logs in with is stored nowhere.
#[test]
fn a_replica_that_was_started_with_a_password_is_not_stopped_to_see_whether_its_source_lives() {
    let world = World::start(&Plan { semi_sync: false, ..Plan::three(Flavor::MySql97) });
    world.lead(0);
    for replica in [0, 2].map(|it| &world.servers[it]) {
        replica.exec(
            "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_USER = '', SOURCE_SSL = 1; \
             START REPLICA USER = 'repl' PASSWORD = 'repl'",
        );
        wait_until(PATIENCE, "it receives", || replica.replication_runs("").then_some(()));
    }
    world.batons[0].until_all_valid(3);
    world.lose_primary(&[0, 1, 2], &[]);
    world.until_looked_for(8);
    world.stays_as_it_was();
    assert!([0, 2].iter().all(|it| world.servers[*it].replication_runs("")), "all go on");
}
