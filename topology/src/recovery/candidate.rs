//! Who may succeed a primary, and who should.
//!
//! First come objections: a replica with one is not promoted, whatever else speaks for it. The
//! others are ranked by what people want (promotion rules, data centre), not by how far they are:
//! whoever lacks something gets it from the one that has it.

use std::cmp::Reverse;
use std::fmt;

use crate::applied::{has_applied_all, loses_relay_log_when_started};
use crate::cluster::{Cluster, Member};
use crate::gtid::GtidSet;
use crate::instance::{BinlogFormat, Instance, PromotionRule, ThreadState};
use crate::ledger::LedgerState;
use crate::policy::Policy;
use crate::time::Timestamp;
use crate::version::Flavor;

use super::holding::Holding;
use super::loss::was_receiving;
use super::plan::{is_trusted, waits_in_vain};
use super::{Kind, Recovery};

/// What a decision about a recovery rests on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The cluster, as fresh as can be had.
    pub cluster: &'a Cluster,
    /// What failed, if it was seen again after it was fenced.
    pub returned: Option<&'a Instance>,
    /// What people and baton have set.
    pub ledger: &'a LedgerState,
    /// The rules in force.
    pub policy: &'a Policy,
    /// The time.
    pub now: Timestamp,
}

impl Situation<'_> {
    /// How welcome a member is as the next primary.
    pub(super) fn rule(&self, member: &Member) -> PromotionRule {
        let told = member.instance.facts.promotion_rule;
        self.ledger.promotion_rule(member.key(), told, self.now)
    }
}

/// Why a replica is not promoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// It does not answer.
    Silent,
    /// It failed when it was to be prepared.
    Tried,
    /// It heads nothing: it is no direct replica of what failed.
    NotDirect,
    /// What failed never listed it as a replica.
    NotListed,
    /// Somebody said that it must not.
    MustNot,
    /// The configuration leaves its host out.
    Ignored,
    /// It is being worked on.
    InMaintenance {
        /// By whom.
        owner: String,
    },
    /// It is in a group, which chooses its primary itself.
    GroupMember,
    /// It hands on binary logs and holds no data.
    NoData,
    /// It is in `offline_mode`.
    Offline,
    /// It writes no binary log.
    NoBinlog,
    /// It does not log what it replicates.
    NoReplicaUpdates,
    /// It has transactions that its source never had.
    Errant(GtidSet),
    /// Its version is newer than that of most others, which could not follow it.
    NewerVersion {
        /// Its version.
        own: String,
        /// What most have.
        most: String,
    },
    /// Others log in a format that cannot follow its own.
    Format {
        /// Its format.
        own: BinlogFormat,
        /// What most have.
        most: BinlogFormat,
    },
    /// It replicates only a part.
    Filtered,
    /// It stays behind on purpose.
    Delayed {
        /// By so many seconds.
        seconds: u32,
    },
    /// Its applier stopped over an error.
    Broken {
        /// The error's number.
        number: u32,
    },
    /// It stands in another data centre, and that is not to be.
    OtherDataCenter {
        /// Where.
        own: String,
    },
    /// It stands in another region, and that is not to be.
    OtherRegion {
        /// Where.
        own: String,
    },
    /// It lags too much to be promoted.
    Lagging {
        /// So many seconds.
        seconds: u64,
    },
    /// How much it lags is not known, and there is a limit to that.
    LagUnknown,
    /// It has not applied all it received, and that is not to be waited for.
    NotApplied,
    /// Both its threads stand still, and it would throw away what it has not applied.
    StandsStill,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("it does not answer"),
            Self::Tried => f.write_str("it failed when it was to be prepared"),
            Self::NotDirect => f.write_str("it does not replicate directly from what failed"),
            Self::NotListed => f.write_str("its source never listed it as a replica"),
            Self::MustNot => f.write_str("its promotion rule is must_not"),
            Self::Ignored => f.write_str("PromotionIgnoreHostnameFilters leaves it out"),
            Self::InMaintenance { owner } => write!(f, "it is in maintenance by {owner}"),
            Self::GroupMember => f.write_str("it is in a group, which chooses its primary itself"),
            Self::NoData => f.write_str("it holds no data"),
            Self::Offline => {
                f.write_str("it is in offline_mode and lets neither applications nor replicas in")
            }
            Self::NoBinlog => f.write_str("it writes no binary log"),
            Self::NoReplicaUpdates => f.write_str("it does not log what it replicates"),
            Self::Errant(set) => write!(f, "it has errant transactions: {set}"),
            Self::NewerVersion { own, most } => {
                write!(f, "its version {own} is newer than {most}, which most others have")
            }
            Self::Format { own, most } => {
                let (own, most) = (own.as_str(), most.as_str());
                write!(f, "it logs {own} and most others {most}")
            }
            Self::Filtered => f.write_str("it replicates only a part (replication filters)"),
            Self::Delayed { seconds } => write!(f, "it is delayed by {seconds} s on purpose"),
            Self::Broken { number } => write!(f, "its applier stopped over error {number}"),
            Self::OtherDataCenter { own } => write!(
                f,
                "it is in data center {own:?} and PreventCrossDataCenterMasterFailover is set"
            ),
            Self::OtherRegion { own } => {
                write!(f, "it is in region {own:?} and PreventCrossRegionMasterFailover is set")
            }
            Self::Lagging { seconds } => write!(
                f,
                "it lags by {seconds} s, which FailMasterPromotionOnLagMinutes does not allow"
            ),
            Self::LagUnknown => f.write_str(
                "how much it lags is not known and FailMasterPromotionOnLagMinutes is set",
            ),
            Self::NotApplied => f.write_str(
                "it has not applied all it received and FailMasterPromotionIfSQLThreadNotUpToDate is set",
            ),
            Self::StandsStill => f.write_str(
                "both its replication threads stand still, and MariaDB throws away what it has received and not applied when either is started",
            ),
        }
    }
}

/// What most of the others are like: who differs from it could not be followed.
#[derive(Debug, Clone, Default)]
pub(super) struct Common {
    version: (u16, u16),
    format: BinlogFormat,
}

impl Common {
    /// What most of these have; the smaller where as many have another.
    pub(super) fn of(members: &[&Member]) -> Self {
        let facts = || members.iter().map(|member| &member.instance.facts);
        Self {
            version: most_common(facts().map(|it| it.version.major())),
            format: most_common(facts().map(|it| it.binlog.format)),
        }
    }
}

fn most_common<T: Ord + Clone + Default>(values: impl Iterator<Item = T>) -> T {
    let mut counts = std::collections::BTreeMap::<T, usize>::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(value, count)| (*count, Reverse(value.clone())));
    most.map(|(value, _)| value).unwrap_or_default()
}

/// Everything that speaks against promoting a member.
pub(super) fn objections(
    member: &Member,
    holding: Option<&Holding>,
    common: &Common,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Vec<Objection> {
    let mut found = Vec::new();
    let mut object = |holds: bool, objection: Objection| {
        if holds {
            found.push(objection);
        }
    };
    let Situation { policy, ledger, now, .. } = situation;
    let (instance, facts) = (&member.instance, &member.instance.facts);
    object(!instance.is_valid(), Objection::Silent);
    let has_failed = recovery.tried.contains(member.key()) && !waits_in_vain(member, recovery);
    object(has_failed, Objection::Tried);
    object(!recovery.replicas.contains(member.key()), Objection::NotDirect);
    let is_doubtful = recovery.kind == Kind::Takeover && !is_trusted(member, recovery);
    object(is_doubtful, Objection::NotListed);
    object(situation.rule(member) == PromotionRule::MustNot, Objection::MustNot);
    object(policy.recovery.promotion_ignore.matches_key(member.key()), Objection::Ignored);
    if let Some(maintenance) = ledger.maintenance_of(member.key(), *now) {
        object(true, Objection::InMaintenance { owner: maintenance.owner.to_string() });
    }
    object(facts.membership().is_some(), Objection::GroupMember);
    object(facts.version.flavor() == Flavor::MaxScale, Objection::NoData);
    object(facts.offline_mode, Objection::Offline);
    object(!facts.binlog.enabled, Objection::NoBinlog);
    object(facts.binlog.enabled && !facts.binlog.logs_replica_updates, Objection::NoReplicaUpdates);
    let errant = holding.map_or(&member.errant, |holding| &holding.errant);
    object(!errant.is_empty(), Objection::Errant(errant.clone()));
    found.extend(cannot_be_followed(instance, common, policy));
    found.extend(not_ready(member, recovery, situation));
    found.extend(in_the_wrong_place(instance, recovery, situation));
    found
}

fn cannot_be_followed(instance: &Instance, common: &Common, policy: &Policy) -> Vec<Objection> {
    let facts = &instance.facts;
    let mut found = Vec::new();
    let own = facts.version.major();
    if own > common.version && !policy.recovery.lower_replica_version_allowed {
        let text = |(major, minor): (u16, u16)| format!("{major}.{minor}");
        found.push(Objection::NewerVersion { own: text(own), most: text(common.version) });
    }
    if facts.binlog.format > common.format {
        found.push(Objection::Format { own: facts.binlog.format, most: common.format });
    }
    found
}

fn not_ready(member: &Member, recovery: &Recovery, situation: &Situation<'_>) -> Vec<Objection> {
    let mut found = Vec::new();
    let policy = situation.policy;
    let facts = &member.instance.facts;
    let Some(channel) = facts.main_channel() else { return found };
    if channel.has_filters {
        found.push(Objection::Filtered);
    }
    if channel.delay_seconds > 0 {
        found.push(Objection::Delayed { seconds: channel.delay_seconds });
    }
    if channel.applier_error.number != 0 {
        found.push(Objection::Broken { number: channel.applier_error.number });
    }
    let is_applied = has_applied_all(facts);
    if let Some(limit) = policy.recovery.fail_promotion_on_lag {
        // A server tells no lag while its receiver does not run, as none does once the source is gone.
        // Who received until then, and has applied it, is not late.
        let failed = situation.cluster.member(recovery.failed());
        let is_up_to_date = is_applied && was_receiving(member, failed);
        match facts.lag_seconds() {
            Some(seconds) if seconds >= limit.as_secs() => {
                found.push(Objection::Lagging { seconds });
            }
            None if !is_up_to_date => found.push(Objection::LagUnknown),
            Some(_) | None => {}
        }
    }
    if policy.recovery.fail_promotion_if_applier_behind && !is_applied {
        found.push(Objection::NotApplied);
    }
    if loses_relay_log_when_started(facts) {
        found.push(Objection::StandsStill);
    }
    found
}

fn in_the_wrong_place(
    instance: &Instance,
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> Vec<Objection> {
    let Some(failed) = situation.cluster.member(recovery.failed()) else { return Vec::new() };
    // The other of two co-primaries is where it is because somebody wanted it there.
    if recovery.kind == Kind::CoPrimary {
        return Vec::new();
    }
    let (own, lost) = (&instance.facts.placement, &failed.instance.facts.placement);
    let policy = &situation.policy.recovery;
    let mut found = Vec::new();
    if policy.prevent_cross_data_center && own.data_center != lost.data_center {
        found.push(Objection::OtherDataCenter { own: own.data_center.clone() });
    }
    if policy.prevent_cross_region && own.region != lost.region {
        found.push(Objection::OtherRegion { own: own.region.clone() });
    }
    found
}

/// Whether it would take long to apply what it received: longer than the lag that counts as usual, or
/// nobody knows how long.
fn is_far_behind(replica: &Instance, situation: &Situation<'_>) -> bool {
    let facts = &replica.facts;
    let applies = facts.main_channel().is_some_and(|it| it.applier == ThreadState::Running);
    let limit = situation.policy.reasonable_lag.as_secs();
    let is_near = applies && facts.lag_seconds().is_some_and(|lag| lag <= limit);
    !is_near && !has_applied_all(facts)
}

/// Who goes before whom; lower is better. Total, so that the order of input never matters.
pub(super) fn rank(
    member: &Member,
    holding: &Holding,
    all: &[Holding],
    recovery: &Recovery,
    situation: &Situation<'_>,
) -> impl Ord + use<> {
    let placement = &member.instance.facts.placement;
    let (is_near, is_alike) =
        situation.cluster.member(recovery.failed()).map_or((false, false), |failed| {
            let lost = &failed.instance.facts.placement;
            let is_alike = lost.environment == placement.environment;
            (is_alike && lost.data_center == placement.data_center, is_alike)
        });
    let lacks = all.iter().filter(|other| !holding.covers(other)).count();
    let downtimed = situation.ledger.downtime_of(member.key(), situation.now).is_some();
    (
        recovery.tried.contains(member.key()),
        // What it wrote itself everybody else would get with it.
        holding.own.is_some(),
        situation.rule(member),
        !is_near,
        !is_alike,
        downtimed,
        // The cluster has no primary while it applies what it received.
        (lacks, is_far_behind(&member.instance, situation)),
        // Whoever follows it needs all that it imports, too.
        member.instance.facts.other_channels().count(),
        member.instance.facts.version.numbers(),
        !has_applied_all(&member.instance.facts),
        Reverse(member.replicas.len()),
        member.key().clone(),
    )
}
