//! Turns the result of one probe into the next state of an instance.

use std::sync::Arc;
use std::time::Duration;

use crate::instance::{Facts, Health, HealthStatus, Instance, ProbeFailure};
use crate::key::InstanceKey;
use crate::remembered::remember;
use crate::time::Timestamp;

/// What one finished probe found.
#[derive(Debug, Clone)]
pub struct ProbeResult {
    /// The instance, by the name it is known under.
    pub key: InstanceKey,
    /// When the probe began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What it found.
    pub outcome: Result<Arc<Facts>, ProbeFailure>,
    /// When an answer was due before it began, and did not come.
    pub silent_since: Option<Timestamp>,
}

impl ProbeResult {
    /// How long the probe took.
    pub fn duration(&self) -> Duration {
        self.ended_at.since(self.started_at)
    }
}

/// Returns what `previous` becomes once `result` is known. Facts outlive failed probes.
pub fn fold(previous: Option<&Instance>, result: &ProbeResult) -> Instance {
    let before = previous.cloned().unwrap_or_else(|| Instance::unprobed(result.key.clone()));
    match &result.outcome {
        Ok(facts) => {
            let mut facts = Arc::clone(facts);
            if before.facts.imports != facts.imports {
                Arc::make_mut(&mut facts).note_imports(&before.facts.imports);
            }
            if facts.stuck_log.is_some() && facts.binlog.position.is_empty() {
                // It does not tell, but has not moved since.
                Arc::make_mut(&mut facts).binlog.position = before.facts.binlog.position.clone();
            }
            let unmoved =
                previous.is_some() && before.facts.binlog.position == facts.binlog.position;
            let binlog_unmoved_since =
                if unmoved { before.binlog_unmoved_since } else { None }.or(Some(result.ended_at));
            let remembered = remember(&before, &facts, result);
            // Equal facts keep their allocation, so that readers can compare by pointer.
            let facts = if before.facts == facts { before.facts } else { facts };
            let health = Health {
                status: HealthStatus::Valid,
                last_attempt: Some(result.started_at),
                last_check: Some(result.ended_at),
                facts_from: Some(result.started_at),
                last_seen: Some(result.ended_at),
                failures: 0,
                latency: result.duration(),
                own_attempt: Some(result.started_at),
                silent_since: None,
            };
            Instance { key: before.key, facts, health, binlog_unmoved_since, remembered }
        }
        Err(failure) => {
            let began = result.silent_since.unwrap_or(result.started_at).min(result.started_at);
            let silent_since = before.health.silent_since.map_or(began, |since| since.min(began));
            let health = Health {
                silent_since: (!failure.is_answer()).then_some(silent_since),
                status: HealthStatus::Invalid(failure.clone()),
                last_attempt: Some(result.started_at),
                last_check: Some(result.ended_at),
                failures: before.health.failures.saturating_add(1),
                own_attempt: Some(result.started_at),
                ..before.health
            };
            Instance { health, ..before }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::BinlogCoordinates;
    use crate::instance::FailureKind;

    fn facts_at(position: u64) -> Arc<Facts> {
        let mut facts = Facts { server_id: 7, ..Facts::default() };
        facts.binlog.position = BinlogCoordinates::new("bin.000001", position);
        Arc::new(facts)
    }

    fn probe(at_secs: i64, outcome: Result<Arc<Facts>, ProbeFailure>) -> ProbeResult {
        ProbeResult {
            key: InstanceKey::new("db1", 3306),
            started_at: Timestamp::from_secs(at_secs),
            ended_at: Timestamp::from_secs(at_secs + 1),
            outcome,
            silent_since: None,
        }
    }

    fn refused() -> ProbeFailure {
        ProbeFailure { kind: FailureKind::Connect, partial: false, message: "refused".into() }
    }

    #[test]
    fn facts_outlive_failures_and_failures_are_counted() {
        let seen = fold(None, &probe(10, Ok(facts_at(4))));
        assert!(seen.is_valid() && !seen.is_failed());
        let lost = fold(Some(&seen), &probe(20, Err(refused())));
        let lost = fold(Some(&lost), &probe(30, Err(refused())));
        assert_eq!(lost.facts.server_id, 7);
        assert_eq!(lost.health.failures, 2);
        assert_eq!(lost.health.last_seen, Some(Timestamp::from_secs(11)));
        assert_eq!(lost.health.last_check, Some(Timestamp::from_secs(31)));
        assert!(lost.is_failed() && !lost.is_partially_valid());
        assert_eq!(lost.health.silent_since, Some(Timestamp::from_secs(20)));
        let told = probe(40, Err(ProbeFailure { kind: FailureKind::AccessDenied, ..refused() }));
        assert_eq!(fold(Some(&lost), &told).health.silent_since, None, "it says no");
        let mut overslept = probe(40, Err(refused()));
        overslept.silent_since = Some(Timestamp::from_secs(39));
        let overslept = fold(Some(&seen), &overslept);
        assert_eq!(overslept.health.silent_since, Some(Timestamp::from_secs(39)));
        let back = fold(Some(&lost), &probe(40, Ok(facts_at(4))));
        assert_eq!((back.health.failures, back.health.silent_since), (0, None));
    }

    #[test]
    fn a_binlog_position_is_unmoved_since_it_was_first_seen() {
        let first = fold(None, &probe(10, Ok(facts_at(4))));
        let same = fold(Some(&first), &probe(20, Ok(facts_at(4))));
        assert_eq!(same.binlog_unmoved_since, Some(Timestamp::from_secs(11)));
        let moved = fold(Some(&same), &probe(30, Ok(facts_at(5))));
        assert_eq!(moved.binlog_unmoved_since, Some(Timestamp::from_secs(31)));
    }

    #[test]
    fn a_log_that_is_stuck_stays_where_it_was() {
        let first = fold(None, &probe(10, Ok(facts_at(4))));
        let stuck = Facts { stuck_log: Some("disk full".into()), server_id: 7, ..Facts::default() };
        let stuck = fold(Some(&first), &probe(20, Ok(Arc::new(stuck))));
        assert_eq!(stuck.facts.binlog.position, first.facts.binlog.position);
        assert_eq!(stuck.binlog_unmoved_since, Some(Timestamp::from_secs(11)));
        assert!(stuck.facts.stuck_log.is_some());
    }

    #[test]
    fn equal_facts_keep_their_allocation() {
        let first = fold(None, &probe(10, Ok(facts_at(4))));
        let same = fold(Some(&first), &probe(20, Ok(facts_at(4))));
        assert!(Arc::ptr_eq(&first.facts, &same.facts));
    }
}
