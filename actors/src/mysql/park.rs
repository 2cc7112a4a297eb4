//! The parked connection: it asks for nothing, and its end is news. So is its silence: a server
//! that hangs keeps its connections open, but does not wake up any more.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::instance::FailureKind;
use baton_topology::key::InstanceKey;
use tokio::time::Instant;

use super::Shared;
use super::connection::Connection;
use super::failure::{self, Phase};
use crate::lateness::timeout;
use crate::ports::Parting;
use crate::probe::schedule::spread;

/// How long a connection stays parked before it is renewed, or half of that. Bounds what a half-open
/// connection (a silent firewall) can cost.
const PARKED_FOR: Duration = Duration::from_secs(3600);

/// How long the server sleeps at a time.
const NAP: Duration = Duration::from_millis(500);

/// A server that oversleeps by this much is looked at. Being busy is no crime: the look decides.
const OVERSLEPT: Duration = Duration::from_millis(300);

/// The longest time servers know, so that the sleeping statement is never a slow one.
const NEVER_SLOW: &str = "SET SESSION long_query_time = 31536000";

/// Parks a connection and returns how that ended.
pub(super) async fn park(shared: Arc<Shared>, key: InstanceKey) -> Parting {
    if !shared.slots.has_room(1) {
        return Parting::Refused;
    }
    let opening = async {
        let mut connection = Connection::open(&shared, &key).await.ok()?;
        connection.run(NEVER_SLOW).await.ok()?;
        Some(connection)
    };
    let opened = timeout(shared.options.connect_deadline, opening).await;
    let Ok(Some(mut connection)) = opened else { return Parting::Refused };
    let parked = Instant::now();
    let sleep = format!("DO SLEEP({})", NAP.as_secs_f64());
    let parked_for = spread(&key, PARKED_FOR);
    while parked.elapsed() < parked_for {
        let lain_down = Instant::now();
        match timeout(NAP + OVERSLEPT, connection.run(&sleep)).await {
            Ok(Ok(())) if lain_down.elapsed() >= NAP / 2 => {}
            // Woken by somebody who kills long statements, and would do so again at once.
            Ok(Ok(())) => return Parting::Refused,
            Ok(Err(error)) => {
                return match failure::of(&error, Phase::Talking).kind {
                    // It stands, but does not like us to sleep. Not to be tried again at once.
                    FailureKind::Query | FailureKind::AccessDenied => Parting::Refused,
                    _ => Parting::Broken,
                };
            }
            Err(_) => return Parting::Silent(OVERSLEPT),
        }
    }
    Parting::Expired
}
