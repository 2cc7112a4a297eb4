//! Counts what is known about one instance and its replicas into [`Evidence`].

use std::collections::BTreeSet;

use super::{Analysis, Code, Evidence};
use crate::cluster::{Cluster, Member};
use crate::gtid::Gtids;
use crate::instance::{BinlogFormat, Channel, Instance, Positioning, SourceLink, ThreadState};
use crate::ledger::LedgerState;
use crate::membership::Membership;
use crate::policy::Policy;
use crate::recovery::scouts::is_under_test;
use crate::remembered::{received_or_executed, written};
use crate::time::Timestamp;
use crate::version::Flavor;

/// The evidence about `member`. `before` is what was found about it last time.
pub(super) fn gather(
    cluster: &Cluster,
    member: &Member,
    before: Option<&Analysis>,
    ledger: &LedgerState,
    policy: &Policy,
    now: Timestamp,
) -> Evidence {
    let instance = &*member.instance;
    let facts = &*instance.facts;
    let semi_sync = &facts.semi_sync;
    let known = member.replicas.iter().filter_map(|key| cluster.member(key));
    let is_replica = |it: &&Member| {
        it.membership != Membership::Unlisted && !it.instance.facts.follows_its_group()
    };
    let replicas: Vec<&Member> = known.filter(is_replica).collect();
    let mut evidence = Evidence {
        is_primary: is_primary(instance),
        is_co_primary: member.is_co_primary || replicas.iter().any(|replica| replica.is_co_primary),
        is_group_member: facts.membership().is_some(),
        has_lost_majority: facts.membership().is_some_and(|group| group.has_lost_majority),
        is_log_stuck: instance.is_valid() && facts.stuck_log.is_some(),
        is_valid: instance.is_valid(),
        is_partially_valid: instance.is_partially_valid(),
        is_refusing: instance.refusal().is_some(),
        was_seen: instance.was_seen(),
        is_failing_to_connect: is_failing_to_connect(instance),
        is_binlog_server: facts.version.flavor() == Flavor::MaxScale,
        is_read_only: facts.read_only,
        depth: member.depth,
        semi_sync_enabled: semi_sync.source_enabled,
        semi_sync_active: semi_sync.source_active,
        semi_sync_wait_for: semi_sync.wait_for_replicas,
        semi_sync_clients: semi_sync.source_clients,
        is_binlog_stale: locked_at(instance, before, policy).is_some_and(|at| at <= now),
        gtid_mode: facts.gtid.mode.clone(),
        ..Evidence::default()
    };
    count_replicas(&mut evidence, &replicas, ledger, policy, now);
    evidence.receiving_replicas = count_witnesses(instance, &replicas, ledger, now);
    evidence.lost_transactions = count_lost(instance, &replicas);
    evidence
}

/// How many transactions a primary had before it was started anew, and lacks, though a replica that
/// answers still has some of them.
fn count_lost(primary: &Instance, replicas: &[&Member]) -> u64 {
    let Some(had) = primary.remembered.had.as_ref().filter(|_| is_primary(primary)) else {
        return 0;
    };
    let now = written(&primary.facts);
    let kept = replicas.iter().filter(|it| it.instance.is_valid());
    let kept = kept.map(|it| match (&had.gtids, &now, &received_or_executed(&it.instance.facts)) {
        (Gtids::MySql(had), Gtids::MySql(now), Gtids::MySql(theirs)) => {
            had.subtract(now).intersect(theirs).count()
        }
        (Gtids::MariaDb(had), Gtids::MariaDb(now), Gtids::MariaDb(theirs)) => {
            let is_ahead = |domain| theirs.last_of(domain) > now.last_of(domain);
            had.filtered(|it| is_ahead(it.domain)).count_ahead_of(now)
        }
        _ => 0,
    });
    kept.max().unwrap_or(0)
}

fn count_replicas(
    evidence: &mut Evidence,
    replicas: &[&Member],
    ledger: &LedgerState,
    policy: &Policy,
    now: Timestamp,
) {
    let count = |condition: &dyn Fn(&Instance) -> bool| {
        let matching = replicas.iter().filter(|replica| condition(&replica.instance)).count();
        u32::try_from(matching).unwrap_or(u32::MAX)
    };
    let is_downtimed = |instance: &Instance| ledger.downtime_of(&instance.key, now).is_some();
    let logs_as = |format: BinlogFormat| {
        count(&|instance| logs_updates(instance) && instance.facts.binlog.format == format)
    };
    evidence.replicas = count(&|_| true);
    evidence.valid_replicas = count(&Instance::is_valid);
    evidence.replicating_replicas = count(&is_replicating);
    evidence.failing_to_connect_replicas = count(&is_failing_to_connect);
    evidence.downtimed_replicas = count(&is_downtimed);
    evidence.delayed_replicas = count(&|instance| delay_seconds(instance) > 0);
    let reasonable_lag_seconds = policy.reasonable_lag.as_secs();
    evidence.lagging_replicas = count(&|instance| {
        instance.facts.lag_seconds().is_some_and(|lag| lag > reasonable_lag_seconds)
    });
    evidence.logging_replicas = count(&logs_updates);
    evidence.statement_logging_replicas = logs_as(BinlogFormat::Statement);
    evidence.mixed_logging_replicas = logs_as(BinlogFormat::Mixed);
    evidence.row_logging_replicas = logs_as(BinlogFormat::Row);
    let major_versions: BTreeSet<(u16, u16)> = replicas
        .iter()
        .filter(|replica| logs_updates(&replica.instance))
        .map(|replica| replica.instance.facts.version.major())
        .collect();
    evidence.logging_major_versions = u32::try_from(major_versions.len()).unwrap_or(u32::MAX);
    evidence.semi_sync_replicas = count(&|instance| instance.facts.semi_sync.replica_enabled);
    evidence.leaving_replicas = count(&|instance| instance.facts.leaves_its_source == Some(true));
    evidence.impatient_replicas = count(&|instance| {
        instance.facts.main_channel().is_some_and(|channel| channel.gives_up_soon())
    });
    let valid_using = |positioning| count(&|i: &Instance| i.is_valid() && uses(i, positioning));
    let any_valid = evidence.valid_replicas > 0;
    evidence.mysql_gtid_topology =
        any_valid && valid_using(Positioning::AutoPosition) == evidence.valid_replicas;
    evidence.mariadb_gtid_topology =
        any_valid && valid_using(Positioning::MariaDbGtid) == evidence.valid_replicas;
    let modes = || replicas.iter().map(|replica| replica.instance.facts.gtid.mode.as_str());
    evidence.min_replica_gtid_mode = modes().min().unwrap_or_default().to_owned();
    evidence.max_replica_gtid_mode = modes().max().unwrap_or_default().to_owned();
    evidence.replica_errant_gtid = replicas
        .iter()
        .filter(|replica| replica.is_errant() && !is_downtimed(&replica.instance))
        .map(|replica| replica.errant_text())
        .max()
        .unwrap_or_default();
}

/// Whether it replicates from nobody, and is no secondary of a running group.
fn is_primary(instance: &Instance) -> bool {
    let replicates = instance
        .facts
        .main_channel()
        .is_some_and(|channel| matches!(channel.source, SourceLink::Attached(_)));
    let is_secondary = instance.facts.membership().is_some_and(|group| !group.is_primary());
    !replicates && !is_secondary
}

/// Replicas that hear of their source. One whose receiver baton itself stopped to see whether it
/// gets through again counts as it did before, until that is known. Where no other one tells, those
/// count that their source turned down since it fell silent for baton.
fn count_witnesses(
    source: &Instance,
    replicas: &[&Member],
    ledger: &LedgerState,
    now: Timestamp,
) -> u32 {
    let count = |is_witness: &dyn Fn(&Instance, &Channel) -> bool| {
        let recognized = replicas.iter().filter(|it| it.is_recognized()).map(|it| &*it.instance);
        let witnesses = recognized.filter(|replica| {
            let channel = replica.facts.main_channel();
            replica.is_valid() && channel.is_some_and(|channel| is_witness(replica, channel))
        });
        u32::try_from(witnesses.count()).unwrap_or(u32::MAX)
    };
    let hear = count(&|replica, channel| {
        channel.hears_source() || is_under_test(replica, &source.key, ledger, now)
    });
    let is_lost =
        replicas.iter().any(|it| it.is_recognized() && is_failing_to_connect(&it.instance));
    if hear > 0 || is_lost {
        return hear;
    }
    let silent_since = source.health.silent_since;
    count(&|replica, channel| {
        channel.was_turned_down()
            && silent_since.is_some()
            && replica.remembered.idle_since >= silent_since
    })
}

fn is_replicating(instance: &Instance) -> bool {
    instance.is_valid() && instance.facts.main_channel().is_some_and(|channel| channel.is_running())
}

/// Whether the applier runs and the receiver does not because it cannot reach the source.
fn is_failing_to_connect(instance: &Instance) -> bool {
    instance.is_valid()
        && instance.facts.main_channel().is_some_and(|channel| {
            channel.receiver != ThreadState::Running
                && channel.applier == ThreadState::Running
                && tells_of_failed_connect(&channel.receiver_error.text)
        })
}

/// MySQL says "error connecting to master", "error reconnecting to source", and so on.
fn tells_of_failed_connect(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    let Some((_, rest)) = error.split_once("error ") else { return false };
    rest.contains("connecting to master") || rest.contains("connecting to source")
}

fn delay_seconds(instance: &Instance) -> u32 {
    instance.facts.main_channel().map_or(0, |channel| channel.delay_seconds)
}

fn logs_updates(instance: &Instance) -> bool {
    instance.facts.binlog.enabled && instance.facts.binlog.logs_replica_updates
}

fn uses(instance: &Instance, positioning: Positioning) -> bool {
    instance.facts.main_channel().is_some_and(|channel| channel.positioning == positioning)
}

/// When a primary that seems to wait for acknowledgements counts as locked: when neither the
/// suspicion nor its binary log has moved for as long as the policy says. `None` before there is a
/// suspicion, and when the log moved after the verdict.
pub(super) fn locked_at(
    instance: &Instance,
    before: Option<&Analysis>,
    policy: &Policy,
) -> Option<Timestamp> {
    let before = before?;
    let unmoved_since = instance.binlog_unmoved_since?;
    match before.code {
        Code::LockedSemiSyncPrimaryHypothesis => {
            Some(unmoved_since.max(before.since).plus(policy.reasonable_locked_semi_sync))
        }
        Code::LockedSemiSyncPrimary if unmoved_since <= before.since => Some(before.since),
        _ => None,
    }
}
