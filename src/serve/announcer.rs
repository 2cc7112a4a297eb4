//! Tells user processes about recoveries.

use std::sync::{Arc, Mutex, PoisonError};

use baton_actors::hooks::{HookEvent, HookLine, HookListener, HookRunner};
use baton_actors::recovery::{Announced, Announcer};
use baton_topology::hooks::HookList;
use baton_topology::recovery::Recovery;
use baton_topology::snapshot::FleetSnapshot;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Runs the configured hooks.
pub(super) struct HookAnnouncer {
    runner: HookRunner,
}

impl HookAnnouncer {
    pub(super) fn new(runner: HookRunner) -> Self {
        Self { runner }
    }
}

impl Announcer for HookAnnouncer {
    fn announce<'a>(
        &'a self,
        list: HookList,
        recovery: &'a Recovery,
        fleet: &'a FleetSnapshot,
    ) -> BoxFuture<'a, Announced> {
        async move {
            let policy = &fleet.policy.hooks;
            if !policy.lists.contains_key(&list) {
                return Announced::default();
            }
            let lines = Arc::new(Mutex::new(Vec::new()));
            let listener = listener(Arc::clone(&lines), &recovery.uid);
            let context = baton_web::hook_context(recovery, fleet);
            let report = self.runner.run_list(list, &context, policy, &listener).await;
            let refusal = report.first_failure().filter(|_| report.aborted);
            let refusal = refusal.map(ToString::to_string);
            let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
            Announced { lines, refusal }
        }
        .boxed()
    }
}

/// Gathers lines, and logs them: what ends in the background comes after they were taken.
fn listener(lines: Arc<Mutex<Vec<HookLine>>>, uid: &Arc<str>) -> HookListener {
    let uid = Arc::clone(uid);
    Arc::new(move |event: HookEvent<'_>| {
        tracing::info!(uid = &*uid, line = event.to_string(), "hook");
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(event.line());
    })
}
