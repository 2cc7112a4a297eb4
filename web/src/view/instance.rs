//! One instance in a list or a tree.

use std::collections::BTreeMap;

use baton_topology::cluster::{Cluster, Member};
use baton_topology::instance::{
    Channel, Facts, HealthStatus, Positioning, PromotionRule, SourceLink, ThreadState,
};
use baton_topology::ledger::LedgerState;
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::status::problems;
use baton_topology::time::Timestamp;
use serde::Serialize;

use super::{is_default, moment};

/// Texts of servers are no longer than this here; all of it is on the instance's own page.
const TEXT_CHARS_MAX: usize = 300;

/// One instance.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InstanceRow {
    /// Its name, `host:port`.
    pub(crate) key: String,
    /// The identity of its cluster.
    cluster: String,
    /// Who it replicates from.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// Its source is detached.
    #[serde(skip_serializing_if = "is_default")]
    detached: bool,
    depth: u32,
    /// `primary`, `co-primary`, `intermediate` or `replica`.
    role: &'static str,
    /// `ok`, `down`, or `unseen` before the first look.
    state: &'static str,
    /// When it was last seen; only where it is not now.
    #[serde(skip_serializing_if = "String::is_empty")]
    last_seen: String,
    /// Why the newest look at it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    failure: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<&'static str>,
    /// `running`, `connecting`, `stopped` or `failed`; empty where it follows nobody.
    #[serde(skip_serializing_if = "str::is_empty")]
    replication: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    replication_error: String,
    /// In seconds.
    lag: Lag,
    /// Configured delay, in seconds.
    #[serde(skip_serializing_if = "is_default")]
    delay: u32,
    read_only: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    alias: String,
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    data_center: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    region: String,
    server_id: u32,
    /// `gtid` or `file`: how it finds its place.
    #[serde(skip_serializing_if = "str::is_empty")]
    positioning: &'static str,
    /// How many transactions it has of its own.
    #[serde(skip_serializing_if = "is_default")]
    errant: u64,
    /// Why its binary log takes no more writes.
    #[serde(skip_serializing_if = "String::is_empty")]
    stuck_log: String,
    /// How many XA transactions are prepared, and hold locks.
    #[serde(skip_serializing_if = "is_default")]
    prepared_xa: u64,
    /// Others may replicate from it.
    feeds: bool,
    /// `waits`, `lapsed`, `acknowledges`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    semi_sync: Vec<&'static str>,
    /// Its part in a replication group.
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    /// How welcome it is as the next primary, where somebody said so.
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    downtime: Option<Reservation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance: Option<Reservation>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

/// Who works on an instance, or expects alarms of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Reservation {
    owner: String,
    reason: String,
    until: String,
}

/// Seconds of lag. Two are equal when they say the same about an instance: a second more or less
/// is no news.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(transparent)]
struct Lag(Option<u64>);

impl PartialEq for Lag {
    fn eq(&self, other: &Self) -> bool {
        self.0.map(magnitude) == other.0.map(magnitude)
    }
}

/// 0 and 1 are alike, then 2 and 3, 4 to 7, 8 to 15...
fn magnitude(seconds: u64) -> u32 {
    (seconds | 1).ilog2()
}

impl InstanceRow {
    /// A member of a cluster as of `now`.
    pub(crate) fn of(
        cluster: &Cluster,
        member: &Member,
        fleet: &FleetSnapshot,
        now: Timestamp,
    ) -> Self {
        let instance = &*member.instance;
        let facts = &*instance.facts;
        let key = member.key();
        let (state, failure) = match &instance.health.status {
            HealthStatus::Unprobed => ("unseen", String::new()),
            HealthStatus::Valid => ("ok", String::new()),
            HealthStatus::Invalid(failure) => ("down", shortened(&failure.message)),
        };
        let last_seen = instance.health.last_seen.filter(|_| state != "ok");
        let row = Self {
            key: key.to_string(),
            cluster: cluster.id.to_string(),
            source: member.source.as_ref().map(ToString::to_string),
            depth: member.depth,
            role: role(member),
            state,
            last_seen: last_seen.map(moment).unwrap_or_default(),
            failure,
            problems: problems(member, &fleet.policy, now).iter().map(|it| it.as_str()).collect(),
            lag: Lag(facts.lag_seconds()),
            read_only: facts.read_only,
            alias: shortened(&facts.alias),
            version: facts.version.as_str().to_owned(),
            data_center: facts.placement.data_center.clone(),
            region: facts.placement.region.clone(),
            server_id: facts.server_id,
            errant: member.errant.count(),
            stuck_log: facts.stuck_log.as_deref().map(shortened).unwrap_or_default(),
            prepared_xa: facts.prepared_xa.unwrap_or_default(),
            feeds: facts.binlog.enabled
                && (facts.main_channel().is_none() || facts.binlog.logs_replica_updates),
            semi_sync: semi_sync(facts),
            group: group(facts),
            ..Self::default()
        };
        let row = match facts.main_channel() {
            Some(channel) => row.with_channel(channel),
            None => row,
        };
        row.with_ledger(key, &fleet.ledger, now)
    }

    fn with_channel(self, channel: &Channel) -> Self {
        let errors = [&channel.applier_error, &channel.receiver_error];
        let error = errors.into_iter().find(|error| !error.text.is_empty());
        let detached = match &channel.source {
            SourceLink::Detached(key) => Some(key.to_string()),
            SourceLink::None | SourceLink::Attached(_) => None,
        };
        Self {
            replication: replication(channel),
            replication_error: error.map(|it| shortened(&it.text)).unwrap_or_default(),
            delay: channel.delay_seconds,
            positioning: match channel.positioning {
                Positioning::File => "file",
                Positioning::AutoPosition | Positioning::MariaDbGtid => "gtid",
            },
            detached: detached.is_some(),
            source: self.source.or(detached),
            ..self
        }
    }

    fn with_ledger(
        self,
        key: &baton_topology::key::InstanceKey,
        ledger: &LedgerState,
        now: Timestamp,
    ) -> Self {
        let rule = ledger.candidates.get(key).filter(|it| now < it.expires_at);
        let rule = rule.map(|it| it.rule).filter(|rule| *rule != PromotionRule::Neutral);
        let downtime = ledger.downtime_of(key, now).map(|it| Reservation {
            owner: it.owner.to_string(),
            reason: it.reason.to_string(),
            until: moment(it.ends_at),
        });
        let maintenance = ledger.maintenance_of(key, now).map(|it| Reservation {
            owner: it.owner.to_string(),
            reason: it.reason.to_string(),
            until: moment(it.ends_at),
        });
        let tags = ledger.tags_of(key).map(|(name, value)| (name.to_string(), value.to_string()));
        Self {
            rule: rule.map(PromotionRule::as_str).unwrap_or_default(),
            downtime,
            maintenance,
            tags: tags.collect(),
            ..self
        }
    }
}

fn role(member: &Member) -> &'static str {
    if member.is_co_primary {
        "co-primary"
    } else if member.depth == 0 {
        "primary"
    } else if member.replicas.is_empty() {
        "replica"
    } else {
        "intermediate"
    }
}

fn replication(channel: &Channel) -> &'static str {
    let threads = [channel.receiver, channel.applier];
    if channel.source == SourceLink::None {
        ""
    } else if channel.is_running() {
        "running"
    } else if !channel.applier_error.text.is_empty() && channel.applier != ThreadState::Running {
        "failed"
    } else if threads.contains(&ThreadState::Other) {
        "connecting"
    } else {
        "stopped"
    }
}

fn semi_sync(facts: &Facts) -> Vec<&'static str> {
    let semi_sync = &facts.semi_sync;
    let waits = semi_sync.source_enabled.then_some(match semi_sync.source_active {
        true => "waits",
        false => "lapsed",
    });
    waits.into_iter().chain(semi_sync.replica_active.then_some("acknowledges")).collect()
}

fn group(facts: &Facts) -> String {
    match &facts.group {
        Some(group) if !group.name.is_empty() => {
            let role = if group.role.is_empty() { "MEMBER" } else { &group.role };
            format!("{role} {}", group.state)
        }
        _ => String::new(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_more_or_less_is_no_news() {
        for (one, other, alike) in [
            (Some(0), Some(1), true),
            (Some(2), Some(3), true),
            (Some(1), Some(2), false),
            (Some(8), Some(15), true),
            (Some(15), Some(16), false),
            (None, Some(0), false),
            (None, None, true),
        ] {
            assert_eq!(Lag(one) == Lag(other), alike, "{one:?} {other:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_characters() {
        assert_eq!(shortened("ü"), "ü");
        let long = shortened(&"ü".repeat(1_000));
        assert_eq!(long.chars().count(), TEXT_CHARS_MAX + 3);
    }
}
