//! How an instance is doing, in the words people and programs know.

use crate::cluster::Member;
use crate::instance::{Channel, Facts, FailureKind, Instance, SourceLink};
use crate::policy::Policy;
use crate::time::Timestamp;

/// Checked within this many poll intervals counts as recently checked.
const RECENT_POLLS: u32 = 5;

/// Whether an instance answered the newest probe, which is so long ago that it should have been probed
/// again: whatever kept the probes from it, nobody knows whether it answers now. That is no sign of its
/// death.
pub fn is_outdated(instance: &Instance, policy: &Policy, now: Timestamp) -> bool {
    let limit = policy.answers_hold_for();
    instance.is_valid() && instance.health.last_check.is_some_and(|at| now.since(at) > limit)
}

/// Whether an instance answered the newest probe, and that still counts.
pub fn is_last_check_valid(instance: &Instance, policy: &Policy, now: Timestamp) -> bool {
    instance.is_valid() && !is_outdated(instance, policy, now)
}

/// Whether the newest finished probe is no older than a poll interval.
pub fn is_up_to_date(instance: &Instance, policy: &Policy, now: Timestamp) -> bool {
    checked_within(instance, policy, now, 1)
}

/// Whether the newest finished probe is no older than five poll intervals, and no answer that does not
/// count any more.
pub fn is_recently_checked(instance: &Instance, policy: &Policy, now: Timestamp) -> bool {
    checked_within(instance, policy, now, RECENT_POLLS)
}

fn checked_within(instance: &Instance, policy: &Policy, now: Timestamp, polls: u32) -> bool {
    let limit =
        policy.poll_interval.saturating_mul(polls).saturating_add(policy.reasonable_check_delay);
    let is_within = instance.health.last_check.is_some_and(|at| now.since(at) <= limit);
    is_within && !is_outdated(instance, policy, now)
}

/// Whether the main channel points at a source, detached or not.
pub fn is_replica(instance: &Instance) -> bool {
    instance.facts.main_channel().is_some_and(|channel| channel.source != SourceLink::None)
}

/// Whether both threads of the main channel run.
pub fn is_replicating(instance: &Instance) -> bool {
    instance.facts.main_channel().is_some_and(|channel| channel.is_running())
}

/// How far lag is from the configured delay, in seconds.
pub fn excess_lag_seconds(instance: &Instance) -> Option<u64> {
    let delay = instance.facts.main_channel().map_or(0, |channel| channel.delay_seconds);
    instance.facts.lag_seconds().map(|lag| lag.abs_diff(u64::from(delay)))
}

/// What is wrong with an instance taken by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceProblem {
    /// The newest probe failed.
    LastCheckInvalid,
    /// There was no probe for several intervals, or its newest answer does not count any more.
    NotRecentlyChecked,
    /// It is a replica and does not replicate.
    NotReplicating,
    /// It lags more than is reasonable.
    ReplicationLag,
    /// It has errant transactions.
    ErrantGtid,
    /// It is a group member and not online.
    GroupMemberNotOnline,
    /// It is writable, and its only channel has a name: it may be meant to be a replica, and counts
    /// as a primary.
    OnlyNamedChannel,
    /// Its binary log takes no more writes, such as on a full disk.
    StuckLog,
    /// Its receiver waits for room on the disk of the relay log: it neither receives nor acknowledges.
    RelayDiskFull,
    /// It is in `offline_mode`: only administrators get in.
    Offline,
    /// Its source never listed it as a replica, so it does not count as one.
    NotListed,
    /// It shows another certificate than the one it is known by, verified by no authority.
    ChangedCertificate,
    /// It offered TLS before and does not any more, so it is not logged in to, and cannot be fenced.
    TlsWithdrawn,
    /// It is a primary, and scheduled events do not run there, as they came by replication.
    DisabledEvents,
}

impl InstanceProblem {
    /// All problems, in declaration order.
    pub const ALL: [Self; 14] = [
        Self::LastCheckInvalid,
        Self::NotRecentlyChecked,
        Self::NotReplicating,
        Self::ReplicationLag,
        Self::ErrantGtid,
        Self::GroupMemberNotOnline,
        Self::OnlyNamedChannel,
        Self::StuckLog,
        Self::RelayDiskFull,
        Self::Offline,
        Self::NotListed,
        Self::ChangedCertificate,
        Self::TlsWithdrawn,
        Self::DisabledEvents,
    ];

    /// The name programs match on.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastCheckInvalid => "last_check_invalid",
            Self::NotRecentlyChecked => "not_recently_checked",
            Self::NotReplicating => "not_replicating",
            Self::ReplicationLag => "replication_lag",
            Self::ErrantGtid => "errant_gtid",
            Self::GroupMemberNotOnline => "group_replication_member_not_online",
            Self::OnlyNamedChannel => "writable_with_only_a_named_channel",
            Self::StuckLog => "binary_log_cannot_be_written",
            Self::RelayDiskFull => "relay_log_disk_full",
            Self::Offline => "offline_mode",
            Self::NotListed => "not_listed_by_its_source",
            Self::ChangedCertificate => "certificate_changed",
            Self::TlsWithdrawn => "tls_not_offered_any_more",
            Self::DisabledEvents => "events_disabled_by_replication",
        }
    }
}

/// What is wrong with a member taken by itself: at most one of the first four, then the others.
pub fn problems(member: &Member, policy: &Policy, now: Timestamp) -> Vec<InstanceProblem> {
    let instance = &*member.instance;
    let lags =
        || excess_lag_seconds(instance).is_some_and(|it| it > policy.reasonable_lag.as_secs());
    let first = if !instance.is_valid() {
        Some(InstanceProblem::LastCheckInvalid)
    } else if !is_recently_checked(instance, policy, now) {
        Some(InstanceProblem::NotRecentlyChecked)
    } else if is_replica(instance) && !is_replicating(instance) {
        Some(InstanceProblem::NotReplicating)
    } else if lags() {
        Some(InstanceProblem::ReplicationLag)
    } else {
        None
    };
    let errant = member.is_errant().then_some(InstanceProblem::ErrantGtid);
    let not_online = instance
        .facts
        .group
        .as_ref()
        .filter(|group| !group.name.is_empty() && group.state != "ONLINE")
        .map(|_| InstanceProblem::GroupMemberNotOnline);
    let only_named = has_only_a_named_channel(member).then_some(InstanceProblem::OnlyNamedChannel);
    let stuck_log = instance.facts.stuck_log.as_ref().filter(|_| instance.is_valid());
    let stuck_log = stuck_log.map(|_| InstanceProblem::StuckLog);
    let is_full = |it: &Channel| it.waits_for_disk || it.could_not_write_relay_log();
    let is_full = instance.is_valid() && instance.facts.main_channel().is_some_and(is_full);
    let relay_full = is_full.then_some(InstanceProblem::RelayDiskFull);
    let refuses = |kind: FailureKind| instance.refusal().is_some_and(|it| it.kind == kind);
    let has_changed = (instance.is_valid() && instance.facts.changed_certificate.is_some())
        || refuses(FailureKind::CertificateChanged);
    let changed = has_changed.then_some(InstanceProblem::ChangedCertificate);
    let withdrawn = refuses(FailureKind::TlsWithdrawn).then_some(InstanceProblem::TlsWithdrawn);
    let others = errant.into_iter().chain(not_online).chain(only_named);
    let is_offline = instance.is_valid() && instance.facts.offline_mode;
    let offline = is_offline.then_some(InstanceProblem::Offline);
    let not_listed = (!member.is_recognized()).then_some(InstanceProblem::NotListed);
    let events = has_disabled_events(instance).then_some(InstanceProblem::DisabledEvents);
    let others = others.chain(stuck_log).chain(relay_full).chain(offline).chain(not_listed);
    first.into_iter().chain(others).chain(changed).chain(withdrawn).chain(events).collect()
}

/// On a replica that is as it should be.
fn has_disabled_events(instance: &Instance) -> bool {
    let Facts { read_only, events, .. } = &*instance.facts;
    let are_disabled = events.is_some_and(|it| it.replica_side_disabled > 0);
    instance.is_valid() && !read_only && !is_replica(instance) && are_disabled
}

/// A primary that imports has replicas; a replica that somebody opened has none.
fn has_only_a_named_channel(member: &Member) -> bool {
    let Facts { channels, read_only, .. } = &*member.instance.facts;
    let is_named = |it: &Channel| !it.name.is_empty() && it.source.attached().is_some();
    !read_only && member.replicas.is_empty() && matches!(&channels[..], [only] if is_named(only))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Fingerprint;
    use crate::fleet::{FleetInput, advance};
    use crate::instance::{Events, ThreadState};
    use crate::snapshot::FleetSnapshot;
    use crate::testing::{answered, key, primary_facts, refused, replica_facts};
    use std::sync::Arc;
    use std::time::Duration;

    fn problems_of(facts: Facts, alive: bool, now: i64) -> Vec<&'static str> {
        let fleet = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
        let mut inputs = vec![
            FleetInput::Probed(answered("p", 9, primary_facts())),
            FleetInput::Probed(answered("r", 10, facts)),
        ];
        if !alive {
            inputs.push(FleetInput::Probed(refused("r", 11)));
        }
        let fleet = advance(&fleet, inputs, Timestamp::from_secs(11)).snapshot;
        let (_, member) = fleet.member(&key("r")).unwrap();
        let found = problems(member, &fleet.policy, Timestamp::from_secs(now));
        found.into_iter().map(InstanceProblem::as_str).collect()
    }

    #[test]
    fn full_disks_are_told_though_threads_run() {
        let with = |change: fn(&mut Facts)| {
            let mut facts = replica_facts(&key("p"));
            change(&mut facts);
            problems_of(facts, true, 12)
        };
        assert_eq!(with(|_| {}), Vec::<&str>::new());
        assert_eq!(with(|it| it.channels[0].waits_for_disk = true), ["relay_log_disk_full"]);
        assert_eq!(with(|it| it.offline_mode = true), ["offline_mode"]);
        let stuck = with(|it| it.stuck_log = Some("Disk is full".into()));
        assert_eq!(stuck, ["binary_log_cannot_be_written"]);
        let changed = with(|it| it.changed_certificate = Some(Fingerprint::of_digest([1; 32])));
        assert_eq!(changed, ["certificate_changed"]);
    }

    #[test]
    fn who_is_not_logged_in_to_says_why() {
        let fleet = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
        for (kind, told) in [
            (FailureKind::CertificateChanged, "certificate_changed"),
            (FailureKind::TlsWithdrawn, "tls_not_offered_any_more"),
        ] {
            let mut result = refused("p", 10);
            if let Err(failure) = &mut result.outcome {
                failure.kind = kind;
            }
            let met = FleetInput::Probed(answered("p", 9, primary_facts()));
            let inputs = vec![met, FleetInput::Probed(result)];
            let fleet = advance(&fleet, inputs, Timestamp::from_secs(11)).snapshot;
            let (_, member) = fleet.member(&key("p")).unwrap();
            let found = problems(member, &fleet.policy, Timestamp::from_secs(12));
            let found: Vec<_> = found.into_iter().map(InstanceProblem::as_str).collect();
            assert_eq!(found, ["last_check_invalid", told]);
            assert!(member.instance.refusal().is_some(), "it lives, whoever it is");
        }
    }

    #[test]
    fn an_answer_does_not_count_for_ever_and_its_age_is_no_sign_of_death() {
        let fleet = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
        let inputs = vec![
            FleetInput::Probed(answered("p", 10, primary_facts())),
            FleetInput::Probed(refused("lost", 10)),
        ];
        let fleet = advance(&fleet, inputs, Timestamp::from_secs(10)).snapshot;
        let policy = &fleet.policy;
        let (_, member) = fleet.member(&key("p")).unwrap();
        let checked = member.instance.health.last_check.unwrap();
        let limit = policy.answers_hold_for();
        assert!(limit >= policy.poll_interval * 2 + policy.probe_deadline);
        let shown = |now| {
            let instance = &member.instance;
            let (valid, outdated) =
                (is_last_check_valid(instance, policy, now), is_outdated(instance, policy, now));
            (valid, outdated, is_recently_checked(instance, policy, now))
        };
        assert_eq!(shown(checked.plus(limit)), (true, false, true));
        let late = checked.plus(limit).plus(Duration::from_millis(1));
        assert_eq!(shown(late), (false, true, false));
        assert!(!is_up_to_date(&member.instance, policy, late));
        let found: Vec<_> = problems(member, policy, late);
        assert_eq!(found, [InstanceProblem::NotRecentlyChecked]);
        assert!(member.instance.is_valid() && !member.instance.is_failed());
        let lost = fleet.instance(&key("lost")).unwrap();
        assert!(!is_outdated(lost, policy, late), "what does not answer is told otherwise");
    }

    #[test]
    fn events_that_came_by_replication_are_told_on_a_primary_only() {
        let events = Events { replica_side_disabled: 2, ..Events::default() };
        let with = |facts: Facts, events| problems_of(Facts { events, ..facts }, true, 12);
        let found = ["events_disabled_by_replication"];
        assert_eq!(with(primary_facts(), Some(events)), found);
        assert_eq!(
            with(primary_facts(), Some(Events { enabled: 2, ..Events::default() })),
            [""; 0]
        );
        assert_eq!(with(primary_facts(), None), [""; 0]);
        assert_eq!(with(replica_facts(&key("p")), Some(events)), [""; 0]);
    }

    #[test]
    fn the_worst_of_four_comes_first_and_alone() {
        let replica = || replica_facts(&key("p"));
        let mut stopped = replica();
        stopped.channels[0].applier = ThreadState::Stopped;
        stopped.channels[0].seconds_behind = Some(1_000);
        let mut lagging = replica();
        lagging.channels[0].seconds_behind = Some(11);
        let mut delayed = lagging.clone();
        delayed.channels[0].delay_seconds = 10;
        let mut too_early = replica();
        too_early.channels[0].delay_seconds = 60;
        assert_eq!(problems_of(replica(), true, 12), [""; 0]);
        assert_eq!(problems_of(stopped.clone(), false, 12), ["last_check_invalid"]);
        assert_eq!(problems_of(stopped.clone(), true, 60), ["not_recently_checked"]);
        assert_eq!(problems_of(stopped, true, 12), ["not_replicating"]);
        assert_eq!(problems_of(lagging, true, 12), ["replication_lag"]);
        assert_eq!(problems_of(delayed, true, 12), [""; 0]);
        assert_eq!(problems_of(too_early, true, 12), ["replication_lag"]);
    }
}
