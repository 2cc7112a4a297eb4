//! Small instances for tests, said in one line each.

use std::sync::Arc;

use crate::binlog::BinlogCoordinates;
use crate::instance::{
    BinlogFormat, Channel, Facts, FailureKind, Health, HealthStatus, Instance, Positioning,
    ProbeFailure, SourceLink, ThreadState,
};
use crate::key::InstanceKey;
use crate::probe::ProbeResult;
use crate::time::Timestamp;
use crate::version::Version;

/// The key `name:3306`.
pub fn key(name: &str) -> InstanceKey {
    InstanceKey::new(name, 3306)
}

/// Facts of a healthy, writable MySQL 8.4 server that logs rows and uses GTID.
pub fn primary_facts() -> Facts {
    let mut facts = Facts {
        server_id: 1,
        version: Version::parse("8.4.3", "MySQL Community Server"),
        ..Facts::default()
    };
    facts.binlog.enabled = true;
    facts.binlog.logs_replica_updates = true;
    facts.binlog.format = BinlogFormat::Row;
    facts.binlog.position = BinlogCoordinates::new("bin.000001", 4);
    facts.gtid.mode = "ON".into();
    facts
}

/// Facts of a healthy read-only replica of `source`.
pub fn replica_facts(source: &InstanceKey) -> Facts {
    let channel = Channel {
        source: SourceLink::Attached(source.clone()),
        receiver: ThreadState::Running,
        applier: ThreadState::Running,
        positioning: Positioning::AutoPosition,
        seconds_behind: Some(0),
        ..Channel::default()
    };
    Facts { read_only: true, channels: vec![channel], ..primary_facts() }
}

/// A successful probe of one second that ended at `at_secs`.
pub fn answered(name: &str, at_secs: i64, facts: Facts) -> ProbeResult {
    ProbeResult {
        key: key(name),
        started_at: Timestamp::from_secs(at_secs - 1),
        ended_at: Timestamp::from_secs(at_secs),
        outcome: Ok(Arc::new(facts)),
        silent_since: None,
    }
}

/// A probe that was refused at `at_secs`.
pub fn refused(name: &str, at_secs: i64) -> ProbeResult {
    let failure = ProbeFailure {
        kind: FailureKind::Connect,
        partial: false,
        message: "connection refused".into(),
    };
    ProbeResult {
        key: key(name),
        started_at: Timestamp::from_secs(at_secs),
        ended_at: Timestamp::from_secs(at_secs),
        outcome: Err(failure),
        silent_since: None,
    }
}

/// An instance that answered with `facts`.
pub fn valid_instance(name: &str, facts: Facts) -> Instance {
    Instance {
        key: key(name),
        facts: Arc::new(facts),
        health: Health {
            status: HealthStatus::Valid,
            last_seen: Some(Timestamp::EPOCH),
            ..Health::default()
        },
        binlog_unmoved_since: None,
        remembered: crate::remembered::Remembered::default(),
    }
}
