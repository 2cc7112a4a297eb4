//! The parked connection: it asks for nothing, and its end is news.

use std::sync::Arc;
use std::time::Duration;

use baton_topology::instance::FailureKind;
use baton_topology::key::InstanceKey;
use tokio::time::{Instant, timeout};

use super::Shared;
use super::connection::Connection;
use super::failure::{self, Phase};
use crate::ports::Parting;

/// How long a connection stays parked before it is renewed. Bounds what a half-open connection
/// (a silent firewall) can cost.
const PARKED_FOR: Duration = Duration::from_secs(3600);

/// The longest time servers know, so that the sleeping statement is never a slow one.
const NEVER_SLOW: &str = "SET SESSION long_query_time = 31536000";

/// Parks a connection and returns how that ended.
pub(super) async fn park(shared: Arc<Shared>, key: InstanceKey) -> Parting {
    let opening = async {
        let mut connection = Connection::open(&shared, &key).await.ok()?;
        connection.run(NEVER_SLOW).await.ok()?;
        Some(connection)
    };
    let opened = timeout(shared.options.connect_deadline, opening).await;
    let Ok(Some(mut connection)) = opened else { return Parting::Refused };
    let lain_down = Instant::now();
    match connection.run(&format!("DO SLEEP({})", PARKED_FOR.as_secs())).await {
        Ok(()) if lain_down.elapsed() >= PARKED_FOR / 2 => Parting::Expired,
        // Woken by somebody who kills long statements, and would do so again at once.
        Ok(()) => Parting::Refused,
        Err(error) => match failure::of(&error, Phase::Talking).kind {
            // It stands, but does not like us to sleep. Not to be tried again at once.
            FailureKind::Query | FailureKind::AccessDenied => Parting::Refused,
            _ => Parting::Broken,
        },
    }
}
