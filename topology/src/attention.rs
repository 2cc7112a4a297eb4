//! Decides who needs a look before the next regular probe.
//!
//! A primary that stops answering is dead only when its replicas agree, and they notice some
//! milliseconds later than we do. Waiting for their next regular probe would cost seconds, so
//! replicas that still seem to replicate from a suspect are looked at again and again for a
//! moment: often at first, then less, then not at all. Also here: replicas that were seen
//! connecting, which are well a moment later; signs of life, which cut the back-off of a dead server
//! short. And where nodes share the looks: whoever loses sight of one server looks at the others
//! itself, for it may be its own eyes (I7). Nothing here decides what is wrong; see
//! [`crate::analysis`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{Cluster, ClusterId, Member};
use crate::instance::{Health, ThreadState};
use crate::key::InstanceKey;
use crate::membership::Membership;
use crate::policy::Policy;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

/// How often witnesses are looked at right after a server stopped answering.
pub const QUICK_PACE: Duration = Duration::from_millis(15);
/// How long that lasts.
pub const QUICK_FOR: Duration = Duration::from_secs(2);
/// How often they are looked at after that, and how often the suspect itself is.
pub const SLOW_PACE: Duration = Duration::from_millis(250);
/// How long that lasts. Then regular probes have to do.
pub const SLOW_FOR: Duration = Duration::from_secs(30);
/// When a replica that was seen connecting is looked at first. Each pause is twice the last one.
pub const CONNECTING_PACE: Duration = Duration::from_millis(50);
/// How long that lasts.
pub const CONNECTING_FOR: Duration = Duration::from_secs(10);
/// How many instances that others look at are looked at in one go, and how often that is.
const HEARSAY_AT_ONCE: usize = 500;
const HEARSAY_PACE: Duration = Duration::from_millis(250);
/// No more looks than this are asked for at once; the rest comes with the next round.
pub const LOOKS_MAX: usize = 1_000;

/// Who needs a look now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looks {
    /// The instances, ordered by name, each once.
    pub keys: Vec<InstanceKey>,
    /// When to ask again, if nothing else happens before.
    pub again_at: Option<Timestamp>,
}

/// Servers that stopped answering or are connecting, and how long ago that was.
#[derive(Debug, Clone, Default)]
pub struct Watchlist {
    suspects: BTreeMap<InstanceKey, Watched>,
    connecting: BTreeMap<InstanceKey, Watched>,
    /// When what others look at was last looked at for suspicion.
    looked_around_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    since: Timestamp,
    /// `None` once nothing more can be learned by looking.
    next_at: Option<Timestamp>,
}

impl Watchlist {
    /// Takes note of what changed in `touched` and says who needs a look now.
    pub fn review(
        &mut self,
        snapshot: &FleetSnapshot,
        touched: &[ClusterId],
        now: Timestamp,
    ) -> Looks {
        let mut alive = Vec::new();
        for cluster in touched.iter().filter_map(|id| snapshot.cluster(id)) {
            for member in cluster.members.values() {
                self.note(member, now);
                self.note_connecting(cluster, member, now);
            }
            alive.extend(signs_of_life(cluster, &snapshot.policy, now));
            alive.extend(lists_to_read(cluster));
        }
        let mut looks = self.due(snapshot, now);
        looks.keys.extend(alive);
        looks.keys.sort();
        looks.keys.dedup();
        looks.keys.truncate(LOOKS_MAX);
        looks
    }

    /// Says who needs a look now although nothing changed.
    pub fn due(&mut self, snapshot: &FleetSnapshot, now: Timestamp) -> Looks {
        let mut looks = Looks::default();
        for watched in [&mut self.suspects, &mut self.connecting] {
            if watched.len() > snapshot.instance_count() {
                watched.retain(|key, _| snapshot.cluster_of.contains_key(key));
            }
        }
        let hearsay = self.hearsay(snapshot, now);
        self.suspects.retain(|key, suspect| {
            if suspect.next_at.is_some_and(|at| at <= now) {
                let Some((cluster, member)) = snapshot.member(key) else { return false };
                let wanted = witnesses(cluster, member, suspect.since);
                let is_open = !wanted.is_empty() || !hearsay.is_empty();
                suspect.next_at = next_round(suspect.since, now).filter(|_| is_open);
                if !wanted.is_empty() && is_overdue(member, SLOW_PACE, now) {
                    looks.keys.push(key.clone());
                }
                looks.keys.extend(wanted);
            }
            true
        });
        if self.looked_around_at.is_none_or(|at| now.since(at) >= HEARSAY_PACE) {
            let step = hearsay.len() / HEARSAY_AT_ONCE + 1;
            looks.keys.extend(hearsay.into_iter().step_by(step));
            self.looked_around_at = Some(now);
        }
        for (key, connecting) in &mut self.connecting {
            if connecting.next_at.is_some_and(|at| at <= now) {
                looks.keys.push(key.clone());
                connecting.next_at = next_while_connecting(connecting.since, now);
            }
        }
        looks.keys.sort();
        looks.keys.dedup();
        looks.keys.truncate(LOOKS_MAX);
        let watched = self.suspects.values().chain(self.connecting.values());
        looks.again_at = watched.filter_map(|it| it.next_at).min();
        looks
    }

    /// What this node knows of from others alone, while it suspects something. What it saw as late
    /// as if nobody told it anything will do.
    fn hearsay(&self, snapshot: &FleetSnapshot, now: Timestamp) -> Vec<InstanceKey> {
        let due = self.suspects.values().filter(|it| it.next_at.is_some_and(|at| at <= now));
        let Some(since) = due.map(|it| it.since).max() else { return Vec::new() };
        let late = since.minus(snapshot.policy.poll_interval);
        let instances = snapshot.members().map(|(_, member)| &member.instance);
        let is_told = |it: &Health| it.is_hearsay() && it.own_attempt < Some(late);
        instances.filter(|it| is_told(&it.health)).map(|it| it.key.clone()).collect()
    }

    fn note(&mut self, member: &Member, now: Timestamp) {
        if !member.instance.is_failed() {
            self.suspects.remove(member.key());
        } else if !self.suspects.contains_key(member.key()) {
            let suspect = Watched { since: now, next_at: Some(now) };
            self.suspects.insert(member.key().clone(), suspect);
        }
    }

    fn note_connecting(&mut self, cluster: &Cluster, member: &Member, now: Timestamp) {
        if !is_about_to_connect(cluster, member) {
            self.connecting.remove(member.key());
        } else if !self.connecting.contains_key(member.key()) {
            let connecting = Watched { since: now, next_at: Some(now.plus(CONNECTING_PACE)) };
            self.connecting.insert(member.key().clone(), connecting);
        }
    }
}

fn next_while_connecting(since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let age = now.since(since);
    (age < CONNECTING_FOR).then(|| now.plus(age.max(CONNECTING_PACE)))
}

/// Whether a replica was seen between its start and its first answer from a source that is there.
fn is_about_to_connect(cluster: &Cluster, replica: &Member) -> bool {
    let source = replica.source.as_ref().and_then(|key| cluster.member(key));
    let channel = replica.instance.facts.main_channel();
    replica.instance.is_valid()
        && source.is_none_or(|source| !source.instance.is_failed())
        && channel.is_some_and(|channel| {
            channel.receiver == ThreadState::Other && channel.receiver_error.number == 0
        })
}

fn next_round(since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let age = now.since(since);
    if age < QUICK_FOR {
        Some(now.plus(QUICK_PACE))
    } else if age < SLOW_FOR {
        Some(now.plus(SLOW_PACE))
    } else {
        None
    }
}

/// Who could tell more about a suspect: replicas that seem to receive from it, and, once, all
/// others around it that were not looked at since it became one.
fn witnesses(cluster: &Cluster, suspect: &Member, since: Timestamp) -> Vec<InstanceKey> {
    let is_stale =
        |member: &Member| member.instance.health.own_attempt.is_none_or(|attempt| attempt < since);
    let replicas = suspect
        .replicas
        .iter()
        .filter_map(|key| cluster.member(key))
        .filter(|replica| !replica.instance.is_failed())
        .filter(|replica| is_stale(replica) || is_undecided(replica));
    let source = suspect
        .source
        .as_ref()
        .and_then(|key| cluster.member(key))
        .filter(|source| !source.instance.is_failed() && is_stale(source));
    replicas.chain(source).map(|member| member.key().clone()).collect()
}

fn is_receiving(replica: &Member) -> bool {
    replica
        .instance
        .facts
        .main_channel()
        .is_some_and(|channel| channel.receiver == ThreadState::Running)
}

/// Whoever seems to receive may not have noticed yet; whoever tries to connect will know soon.
fn is_undecided(replica: &Member) -> bool {
    let channel = replica.instance.facts.main_channel();
    is_receiving(replica) || channel.is_some_and(|channel| channel.is_connecting())
}

/// Instances others contradict: failed ones that somebody is connected to, and answering ones
/// that a replica cannot connect to. Each is looked at once per poll interval at most.
fn signs_of_life<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    now: Timestamp,
) -> impl Iterator<Item = InstanceKey> + 'a {
    cluster
        .members
        .values()
        .filter(move |member| {
            let is_failed = member.instance.is_failed();
            let replicas = || member.replicas.iter().filter_map(|key| cluster.member(key));
            let attempt = member.instance.health.last_attempt;
            let is_news = |other: &Member| {
                other.instance.is_valid() && other.instance.health.facts_from > attempt
            };
            let contradicted = if is_failed {
                let listed_by_source =
                    member.source.as_ref().and_then(|key| cluster.member(key)).is_some_and(
                        |source| {
                            is_news(source) && source.instance.facts.replicas.contains(member.key())
                        },
                    );
                listed_by_source
                    || replicas().any(|replica| is_news(replica) && is_receiving(replica))
            } else {
                replicas().any(|replica| is_news(replica) && is_failing_to_connect(replica))
            };
            contradicted && (!is_failed || is_overdue(member, policy.poll_interval, now))
        })
        .map(|member| member.key().clone())
}

/// Sources whose replica was never seen in their list and says now that it is connected: before the
/// list is read, it does not count, and the source may be lost first. Once for each time it says so.
fn lists_to_read(cluster: &Cluster) -> impl Iterator<Item = InstanceKey> + '_ {
    let doubtful = cluster.members.values().filter(|replica| {
        replica.membership == Membership::NeverConnected
            && replica.instance.is_valid()
            && is_receiving(replica)
    });
    doubtful.filter_map(|replica| {
        let source = cluster.member(replica.source.as_ref()?)?;
        let is_unread = source.instance.health.facts_from < replica.instance.health.facts_from;
        (is_unread && source.instance.is_valid()).then(|| source.key().clone())
    })
}

pub(crate) fn is_failing_to_connect(replica: &Member) -> bool {
    replica.instance.facts.main_channel().is_some_and(|channel| {
        channel.receiver == ThreadState::Other
            && channel.receiver_error.number != 0
            && !channel.hears_source()
    })
}

fn is_overdue(member: &Member, pace: Duration, now: Timestamp) -> bool {
    member.instance.health.last_attempt.is_none_or(|attempt| now.since(attempt) >= pace)
}

#[cfg(test)]
mod tests;
