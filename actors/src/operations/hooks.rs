//! Tells user processes that a replica took the place of its source.

use std::sync::Arc;

use baton_topology::hooks::{HookContext, HookList, Waits, arguments};
use baton_topology::relocate::Plan;

use super::Workshop;
use crate::hooks::{HookEvent, HookListener};

/// What their audit entries are called.
const AUDIT_KIND: &str = "hook";

impl Workshop {
    /// Runs the user processes that are told of what was done, each within its deadline. What
    /// becomes of them is on record, and changes nothing.
    pub(super) async fn tell(&self, plan: &Plan) {
        let Some(context) = context(plan) else { return };
        let fleet = self.fleet();
        let (workshop, about) = (self.clone(), plan.about.clone());
        let listener: HookListener = Arc::new(move |event| {
            let line = event.to_string();
            // Everybody reads the audit: what a hook wrote is in the log of this node only.
            match event {
                HookEvent::Ended(outcome) if outcome.result.is_err() => {
                    tracing::warn!(%about, line, "hook");
                    workshop.record(AUDIT_KIND, &about, outcome.to_string());
                }
                HookEvent::Ended(outcome) => {
                    tracing::info!(%about, line, "hook");
                    workshop.record(AUDIT_KIND, &about, outcome.to_string());
                }
                HookEvent::Started { .. } | HookEvent::Aborted { .. } => {
                    tracing::info!(%about, line, "hook");
                }
            }
        });
        let list = HookList::PostTakePrimary;
        self.hooks.run_list(list, &context, &fleet.policy.hooks, &listener).await;
    }

    /// The user processes that would be told, a line for each.
    pub(super) fn would_tell(&self, plan: &Plan) -> Vec<String> {
        let Some(context) = context(plan) else { return Vec::new() };
        let (list, fleet) = (HookList::PostTakePrimary, self.fleet());
        let policy = &fleet.policy.hooks;
        let name = policy.lists.get(&list).map(|it| it.name.clone()).unwrap_or_default();
        let told = arguments(&context).join(" ");
        let line = |command: baton_topology::hooks::HookCommand| {
            let aside = if command.waits == Waits::Background { " &" } else { "" };
            format!("{name} would run with {told}: {}{aside}", command.shown)
        };
        policy.prepare(list, &context).into_iter().map(line).collect()
    }
}

fn context(plan: &Plan) -> Option<HookContext> {
    let (successor, demoted) = plan.places()?;
    Some(HookContext::TakePrimary { successor: successor.clone(), demoted: demoted.clone() })
}
