//! What recoveries of the in-memory fleet need.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{FakeFleet, FakeTarget};
use crate::recovery::Silence;
use crate::system::RecoverySetup;

/// Recoveries that change the servers of `fleet` and tell nobody.
pub fn recovery_setup(fleet: &Arc<FakeFleet>) -> RecoverySetup {
    let begun = AtomicU64::new(0);
    RecoverySetup {
        control: Arc::new(FakeTarget(Arc::clone(fleet))),
        announcer: Arc::new(Silence),
        uids: Arc::new(move || format!("uid{}", begun.fetch_add(1, Ordering::Relaxed)).into()),
        node: "node".into(),
        token: "token".into(),
    }
}
