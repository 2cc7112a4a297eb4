//! Asks all nodes now and then how they are, and tells what is wrong between them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::client::CallError;
use super::disk::Failure;
use super::findings::FindingKind::{CopiedDisk, LostEntries};
use super::findings::{Finding, PeerReport, copied_disk, find, log_changes, stands_back};
use super::leadership::Leadership;
use super::members::{Asked, Members};
use super::network::reason;
use crate::strand;

/// The pause between two rounds.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// What the newest round found.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// Whether all nodes were asked once.
    pub has_begun: bool,
    /// What each node said.
    pub reports: Vec<PeerReport>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Why nothing may be done in the name of this raft, if that is so.
    pub stands_back: Option<String>,
}

/// Asks all nodes now and then.
pub(super) struct Watcher {
    members: Arc<Members>,
    leadership: watch::Receiver<Leadership>,
    /// Told when this node can take part no more.
    failure: Failure,
}

/// The disk of this node is an older copy of itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OlderCopy(String);

impl Watcher {
    pub(super) fn new(
        members: Arc<Members>,
        leadership: watch::Receiver<Leadership>,
        failure: Failure,
    ) -> Self {
        Self { members, leadership, failure }
    }

    /// Begins. Must be called on raft's runtime.
    pub(super) fn begin(self) -> watch::Receiver<Arc<Watched>> {
        let (told, watched) = watch::channel(Arc::default());
        strand::spawn(self.watch(told));
        watched
    }

    async fn watch(self, told: watch::Sender<Arc<Watched>>) {
        let mut late = BTreeSet::new();
        while !told.is_closed() {
            let asked = self.members.ask_all().await;
            self.members.settle_keys();
            let reports = asked.into_iter().map(|it| report(it, &mut late)).collect::<Vec<_>>();
            let now = self.leadership.borrow().clone();
            let me = self.members.about(&now).await;
            let mut findings = find(&me, &reports);
            let double = self.members.double();
            if let Some(host) = double.filter(|_| findings.iter().all(|it| it.kind != CopiedDisk)) {
                findings.push(copied_disk(&me.name, me.id, &me.host, &host));
            }
            let is_own_loss = |it: &&Finding| it.kind == LostEntries && it.seat == me.name;
            if let Some(it) = findings.iter().find(is_own_loss) {
                self.failure.note(&OlderCopy(it.text.clone()));
            }
            let stands_back = stands_back(&me, &reports);
            log_changes(&told.borrow().findings, &findings);
            told.send_replace(Arc::new(Watched {
                has_begun: true,
                reports,
                findings,
                stands_back,
            }));
            sleep(ASK_EVERY).await;
        }
    }
}

/// What came of a question. One answer may be late: that is a busy machine.
fn report(it: Asked, late: &mut BTreeSet<String>) -> PeerReport {
    let Asked { seat, id, answer, at: asked } = it;
    let (hello, error) = match answer {
        Ok(hello) => (Some(hello), None),
        Err(CallError::Timeout { .. }) if late.insert(seat.clone()) => {
            return PeerReport { seat, id, hello: None, error: None, asked };
        }
        Err(error) => (None, Some(reason(&error))),
    };
    if hello.is_some() {
        late.remove(&seat);
    }
    PeerReport { seat, id, hello, error, asked }
}
