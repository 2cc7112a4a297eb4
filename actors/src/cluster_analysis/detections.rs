//! Detected failures on their way to the ledger, and from there to the store and to user processes.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use baton_topology::analysis::Analysis;
use baton_topology::analysis::catalog::{self, Response};
use baton_topology::cluster::ClusterId;
use baton_topology::filter::any_matches;
use baton_topology::history::DetectionEntry;
use baton_topology::ledger::{Command, LedgerState};
use baton_topology::recovery::making::is_of_a_recovery;
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;

use super::ClusterAnalysisActor;
use crate::ports::{Applied, ProposeError};
use crate::recovery::Detected;
use crate::store::Record;

/// Detections that may wait for the ledger.
const DETECTIONS_MAX: usize = 20_000;
/// So many are recorded at once.
const DETECTIONS_AT_ONCE: usize = 128;
/// What the ledger could not take is offered again after this.
const RECORD_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl ClusterAnalysisActor {
    /// Keeps a record of what was detected, by whichever node. Giving the store the same again
    /// changes nothing.
    pub(super) fn record_detections(&mut self, ledger: &LedgerState) {
        if ledger.last_detection_id <= self.recorded {
            return;
        }
        let entries = ledger.detections.values().filter_map(|it| it.entry.as_ref());
        for entry in entries.filter(|it| it.id > self.recorded) {
            self.record(Record::Detection(Box::new((**entry).clone())));
        }
        self.recorded = ledger.last_detection_id;
    }

    /// Judges again what looked like a failure while a recovery made it.
    pub(super) fn detect_held_back(
        &mut self,
        snapshot: &Arc<FleetSnapshot>,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) {
        for key in std::mem::take(&mut self.held_back) {
            let Some((cluster, _)) = snapshot.member(&key) else { continue };
            for analysis in cluster.analyses.iter().filter(|it| it.key == key) {
                self.detect(snapshot, &cluster.id, analysis, now, ctx);
            }
        }
    }

    /// Has the ledger agree that this failure was detected.
    pub(super) fn detect(
        &mut self,
        snapshot: &Arc<FleetSnapshot>,
        cluster: &ClusterId,
        analysis: &Analysis,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) {
        if self.world.ledger.leading().borrow().is_none() {
            // Whoever leads finds it too.
            return;
        }
        let is_detectable = catalog::entry(analysis.code)
            .is_some_and(|problem| problem.response(&snapshot.policy) != Response::Show)
            && !analysis.skippable_due_to_downtime;
        if !is_detectable {
            return;
        }
        if is_of_a_recovery(analysis, &snapshot.ledger, now) {
            // Should it stay so afterwards, it is a failure then.
            self.held_back.insert(analysis.key.clone());
            return;
        }
        if self.detections.len() >= DETECTIONS_MAX {
            self.world.metrics.dropped("detection", 1);
            return;
        }
        let entry = detection_entry(snapshot, cluster, analysis, &self.world.token, now);
        self.detections.push_back(Arc::new(entry));
        self.record_next(ctx);
    }

    /// Proposes what was detected, one batch at a time: when much fails at once, a proposal for each
    /// would have the ledger answer none of them in time.
    fn record_next(&mut self, ctx: &mut Context<Self>) {
        if self.detections.is_empty() || std::mem::replace(&mut self.is_recording, true) {
            return;
        }
        let count = self.detections.len().min(DETECTIONS_AT_ONCE);
        let entries: Vec<_> = self.detections.drain(..count).collect();
        let fresh_for = self.world.policy.borrow().detection_block;
        let command = Command::RecordDetections { entries: entries.clone(), fresh_for };
        let ledger = Arc::clone(&self.world.ledger);
        let agreed = async move {
            let outcome = ledger.propose(command).await;
            if let Err(error) = &outcome
                && is_passing(error)
            {
                tokio::time::sleep(RECORD_AGAIN_AFTER).await;
            }
            outcome
        };
        ctx.spawn(agreed.into_actor(self).map(move |agreed, act, ctx| {
            act.is_recording = false;
            act.recorded_some(entries, agreed);
            act.record_next(ctx);
        }));
    }

    /// Tells user processes of those that were recorded: a proposal whose answer was lost may have
    /// been applied, so what counts is what the ledger says.
    fn recorded_some(
        &mut self,
        entries: Vec<Arc<DetectionEntry>>,
        agreed: Result<Applied, ProposeError>,
    ) {
        let state = match agreed {
            Ok(applied) => applied.state,
            Err(ProposeError::Refused(reason)) => {
                tracing::debug!(reason, "detections not recorded");
                self.world.ledger.state().borrow().clone()
            }
            Err(ProposeError::NotLeading(reason))
                if self.world.ledger.leading().borrow().is_none() =>
            {
                // Whoever leads finds them too.
                tracing::debug!(reason, "detections not recorded");
                self.detections.clear();
                return;
            }
            Err(error) => {
                tracing::error!(%error, count = entries.len(), "cannot record detections yet");
                for entry in entries.into_iter().rev() {
                    self.detections.push_front(entry);
                }
                return;
            }
        };
        for entry in entries {
            let subject = (entry.analysis.key.clone(), entry.analysis.code);
            let known = state.detections.get(&subject).and_then(|it| it.entry.as_ref());
            let is_ours = known.is_some_and(|it| it.at == entry.at && it.node == entry.node);
            let detected = || Detected(Box::new(entry.analysis.clone()));
            if is_ours && self.world.detections.try_send(detected()).is_err() {
                self.world.metrics.dropped("detection", 1);
            }
        }
    }
}

/// Whether the same proposal may be taken a moment later.
fn is_passing(error: &ProposeError) -> bool {
    !matches!(error, ProposeError::Refused(_))
}

fn detection_entry(
    snapshot: &FleetSnapshot,
    cluster: &ClusterId,
    analysis: &Analysis,
    token: &str,
    at: Timestamp,
) -> DetectionEntry {
    let found = snapshot.cluster(cluster);
    let member = found.and_then(|cluster| cluster.member(&analysis.key));
    DetectionEntry {
        id: 0,
        at,
        analysis: analysis.clone(),
        cluster_name: found.map(|cluster| cluster.name()).unwrap_or_default(),
        cluster_alias: found.map(|cluster| cluster.alias.clone()).unwrap_or_default(),
        replicas: member.map(|member| member.replicas.clone()).unwrap_or_default(),
        node: snapshot.policy.node_name.clone(),
        token: token.to_owned(),
        auto_recover_primary: found
            .is_some_and(|it| any_matches(&snapshot.policy.recover_primary, it)),
        auto_recover_intermediate: found
            .is_some_and(|it| any_matches(&snapshot.policy.recover_intermediate, it)),
    }
}
