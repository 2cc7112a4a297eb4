//! The whole system over real servers: how soon it knows that one was killed.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its server may panic")]

#[path = "../../tests/support/mod.rs"]
mod servers;
mod support;

use std::sync::Arc;
use std::time::Duration;

use baton_actors::mysql::{ConnectOptions, MySqlTarget, Password};
use baton_actors::system;
use baton_actors::testing::{FakeFleet, MemoryStore};
use baton_topology::analysis::Code;
use baton_topology::key::InstanceKey;
use baton_topology::reading::{NameMethod, ReadingPolicy, ReplicaListing};
use servers::{Flavor, Options, Server, star};

const PASSWORD: &str = "hunter2";
/// What a busy machine may add to the milliseconds it takes on an idle one.
const PATIENCE: Duration = Duration::from_secs(2);

fn key(server: &Server) -> InstanceKey {
    InstanceKey::new(server.host.as_str(), server.port)
}

fn target() -> MySqlTarget {
    MySqlTarget::new(ConnectOptions {
        user: "baton".to_owned(),
        password: Password::new(PASSWORD),
        reading: ReadingPolicy {
            name_method: NameMethod::AsGiven,
            replica_listing: ReplicaListing::Connections,
        },
        ..ConnectOptions::default()
    })
}

#[actix::test]
async fn a_killed_primary_is_known_dead_at_once() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let mut servers = star(&Options::new(flavor), 3);
        for server in &servers {
            server.create_monitor_user("baton", PASSWORD, &["GRANT ALL ON *.* TO {user}"]);
        }
        let primary = key(&servers[0]);
        let mut options = support::options(&FakeFleet::new(), &MemoryStore::default(), &[]);
        options.target = Arc::new(target());
        options.seeds = vec![primary.clone()];
        let handles = system::start(options).await.unwrap();
        let mut snapshot = handles.snapshot.clone();
        let is_watched = snapshot.wait_for(|fleet| {
            let valid = fleet.members().filter(|(_, member)| member.instance.is_valid()).count();
            valid == 4 && fleet.member(&primary).is_some_and(|(_, it)| it.replicas.len() == 3)
        });
        tokio::time::timeout(Duration::from_secs(20), is_watched).await.unwrap().unwrap();
        // Long enough for the connection to be parked, and far from a regular probe.
        tokio::time::sleep(Duration::from_millis(1_500)).await;

        let began = tokio::time::Instant::now();
        servers[0].kill_9();
        let is_dead = snapshot.wait_for(|fleet| {
            let findings = fleet.cluster_with(&primary).into_iter().flat_map(|it| &it.analyses);
            findings.into_iter().any(|it| it.code == Code::DeadPrimary)
        });
        tokio::time::timeout(PATIENCE, is_dead).await.unwrap().unwrap();
        report(&format!("{flavor:?}: known after {:?}", began.elapsed()));
        handles.shutdown().await;
    }
}

#[allow(clippy::print_stderr, reason = "how long it took is worth reading")]
fn report(text: &str) {
    eprintln!("{text}");
}
