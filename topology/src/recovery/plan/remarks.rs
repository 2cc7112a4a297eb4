//! What a plan tells people of besides.

use crate::cluster::Member;
use crate::key::InstanceKey;

use super::NAMED_MAX;

/// What a primary brought in from elsewhere, and its successor will not: a person has to see to it.
pub(super) fn imports_left(old: &Member, successor: &InstanceKey) -> Vec<String> {
    let left = old.instance.facts.other_channels().filter_map(|channel| {
        let (key, name, source) = (old.key(), &channel.name, channel.source.attached()?);
        Some(format!("{key} imports from {source} by channel {name:?}, and {successor} does not"))
    });
    left.take(NAMED_MAX).collect()
}

/// XA transactions that were prepared on a primary are prepared on its successor: nobody ends them but
/// whoever coordinates them.
pub(super) fn prepared_xa(old: &Member, successor: &InstanceKey) -> Option<String> {
    let count = old.instance.facts.prepared_xa.filter(|count| *count > 0)?;
    let old = old.key();
    Some(format!(
        "{count} XA transactions are prepared on {old}: they keep their locks, on {successor} as \
         well, until they are committed there or rolled back. Ended on {old} afterwards, which \
         read_only does not prevent, they are errant there"
    ))
}

/// Scheduled events that a successor has by replication do not run there by themselves.
pub(super) fn disabled_events(successor: &Member) -> Option<String> {
    let count = successor.instance.facts.events?.replica_side_disabled;
    let key = successor.key();
    (count > 0).then(|| {
        format!(
            "{count} scheduled events came to {key} by replication and do not run there: enable those \
             that should (ALTER EVENT ... ENABLE), and see that they do not run on the old primary too"
        )
    })
}

/// MariaDB has no `super_read_only`: what privileged accounts schedule goes on writing to a server that
/// is closed.
pub(super) fn events_go_on(old: &Member) -> Option<String> {
    let facts = &old.instance.facts;
    let events = facts.events.filter(|it| it.is_scheduler_on && it.enabled > 0)?;
    let (key, count) = (old.key(), events.enabled);
    facts.version.is_mariadb().then(|| {
        format!(
            "{count} scheduled events run on {key}: those whose definer has SUPER or READ_ONLY ADMIN go \
             on writing there while it is closed, and what they write is lost. SET GLOBAL \
             event_scheduler = OFF there first"
        )
    })
}
