//! Keeps what is worth keeping, off the way to any decision.

use std::sync::Arc;

use actix::Message;
use baton_topology::cluster::ClusterId;
use baton_topology::history::{AnalysisChange, DetectionEntry, NewAuditEntry};
use baton_topology::instance::Instance;
use baton_topology::key::InstanceKey;

/// Something to keep.
#[derive(Debug)]
pub enum Record {
    /// Instances as they are now, with their clusters.
    Instances(Vec<(Arc<Instance>, ClusterId)>),
    /// Instances that are to be forgotten.
    Forget(Vec<InstanceKey>),
    /// A failure that was detected.
    Detection(Box<DetectionEntry>),
    /// Changes of verdicts.
    Changes(Vec<AnalysisChange>),
    /// A line of the audit log.
    Audit(NewAuditEntry),
}

impl Message for Record {
    type Result = ();
}
