//! Who stands where, and by which means a replica gets to its next place.

use super::plan::{Step, Unit};
use super::rules::{How, can_move, can_move_by_gtid, can_replicate_from, is_gtid_compatible};
use super::{Equivalences, Place, Refused, Script};
use crate::action::{self, Action, Threads};
use crate::applied::may_lose_relay_log;
use crate::binlog::BinlogCoordinates;
use crate::cluster::{Cluster, Member};
use crate::gtid::Gtids;
use crate::instance::{Instance, Positioning};
use crate::key::InstanceKey;
use crate::policy::Policy;
use crate::snapshot::FleetSnapshot;
use crate::status::{is_replica, is_replicating};
use crate::version::Flavor;

/// No chain of sources is followed further than this.
const ANCESTORS_MAX: usize = 1_000;

/// The fleet as plans ask it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) fleet: &'a FleetSnapshot,
    pub(super) known: &'a Equivalences,
}

impl<'a> View<'a> {
    pub(super) fn policy(self) -> &'a Policy {
        &self.fleet.policy
    }

    pub(super) fn member(self, key: &InstanceKey) -> Result<&'a Member, Refused> {
        let found = self.fleet.member(key).map(|(_, member)| member);
        found.ok_or_else(|| Refused(format!("Cannot read instance: {key}")))
    }

    pub(super) fn cluster(self, key: &InstanceKey) -> Option<&'a Cluster> {
        self.fleet.cluster_with(key).map(|cluster| &**cluster)
    }

    pub(super) fn instance(self, key: &InstanceKey) -> Result<&'a Instance, Refused> {
        self.member(key).map(|member| &*member.instance)
    }

    /// A replica and the name of its source.
    pub(super) fn replica(
        self,
        key: &InstanceKey,
    ) -> Result<(&'a Member, &'a InstanceKey), Refused> {
        let member = self.member(key)?;
        if !is_replica(&member.instance) {
            return Err(Refused(format!("instance is not a replica: {key}")));
        }
        let source = member.source.as_ref();
        let source = source.ok_or_else(|| Refused(format!("{key} is detached from its source")))?;
        Ok((member, source))
    }

    /// Where a replica stands in its source's log, and the same place in another server's log.
    pub(super) fn equivalent(
        self,
        replica: &Member,
        below: &InstanceKey,
    ) -> Option<(BinlogCoordinates, BinlogCoordinates)> {
        let at = replica.instance.facts.main_channel()?.executed.clone();
        let place = Place { key: replica.source.clone()?, at: at.clone() };
        let mut known = self.known.of(&place, self.fleet.at);
        Some((at, known.remove(below)?))
    }

    /// A cluster that is being recovered is left to the recovery.
    pub(super) fn nobody_recovers(self, key: &InstanceKey) -> Result<(), Refused> {
        let Some(cluster) = self.cluster(key) else { return Ok(()) };
        let mut recoveries = self.fleet.ledger.recoveries.values();
        match recoveries.find(|it| it.is_running() && it.cluster == cluster.id) {
            None => Ok(()),
            Some(recovery) => Err(Refused(format!(
                "{key} is in a cluster that is being recovered (recovery {} of {}); try again after \
                 it",
                recovery.id,
                recovery.failed()
            ))),
        }
    }

    /// Known replicas of a server, without members of its own group.
    pub(super) fn replicas(self, of: &Member) -> Vec<&'a Member> {
        let members = of.replicas.iter().filter_map(|key| self.member(key).ok());
        members.filter(|member| is_replica(&member.instance)).collect()
    }

    /// Whether `key` replicates from `ancestor`, directly or not.
    pub(super) fn is_descendant(self, key: &InstanceKey, ancestor: &InstanceKey) -> bool {
        let mut at = self.fleet.member(key).and_then(|(_, member)| member.source.as_ref());
        for _ in 0..ANCESTORS_MAX {
            match at {
                Some(source) if source == ancestor => return true,
                Some(source) if source != key => {
                    at = self.fleet.member(source).and_then(|(_, member)| member.source.as_ref());
                }
                _ => return false,
            }
        }
        false
    }
}

/// By which means a replica gets below another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// It is there: its source is named again.
    Repoint,
    /// By GTID.
    Gtid,
    /// By places that are known to be the same.
    Equivalent,
    /// Below its sibling, by file and position.
    MoveBelow,
    /// One level up, by file and position.
    MoveUp,
}

/// Chooses the means, or says why there are none.
pub(super) fn means(view: View<'_>, replica: &Member, below: &Member) -> Result<Means, Refused> {
    let (key, below_key) = (replica.key(), below.key());
    may_relocate(view, replica, below)?;
    let (ours, theirs) = (&*replica.instance, &*below.instance);
    can_replicate_from(ours, theirs, view.policy(), How::Any).map_err(|why| {
        Refused(format!("{key} cannot replicate from {below_key}. Reason: {why}"))
    })?;
    if replica.source.as_ref() == Some(below_key) {
        return Ok(Means::Repoint);
    }
    for end in [ours, theirs] {
        if end.facts.version.flavor() == Flavor::MaxScale {
            return Err(Refused(format!("{} is a binlog server; these are not moved", end.key)));
        }
    }
    if is_gtid_compatible(&ours.facts, &theirs.facts) {
        by_gtid_is_possible(view, replica, below)?;
        return Ok(Means::Gtid);
    }
    if replica.source.is_some() && replica.source == below.source {
        let is_writable_co_primary = below.is_co_primary && !theirs.facts.read_only;
        if !is_writable_co_primary {
            can_move(ours, view.policy())?;
            can_move(theirs, view.policy())?;
            return Ok(Means::MoveBelow);
        }
    }
    let source = replica.source.as_ref().and_then(|source| view.member(source).ok());
    if source.is_some_and(|source| source.source.as_ref() == Some(below_key)) {
        can_move(ours, view.policy())?;
        return Ok(Means::MoveUp);
    }
    Err(Refused(format!(
        "Relocating {key} below {below_key} turns to be too complex; please do it manually"
    )))
}

/// Moving by GTID needs a replica that answers, and a source that still has what it lacks.
pub(super) fn by_gtid_is_possible(
    view: View<'_>,
    replica: &Member,
    below: &Member,
) -> Result<(), Refused> {
    can_move_by_gtid(&replica.instance)?;
    can_move_by_gtid(&below.instance)?;
    let (key, below_key) = (replica.key(), below.key());
    if throws_away_what_nobody_sends(view, replica, below) {
        return Err(Refused(format!(
            "{key} has received what it has not applied, {below_key} lacks it and its source does \
             not answer: MariaDB throws it away when the source is changed"
        )));
    }
    can_replicate_from(&replica.instance, &below.instance, view.policy(), How::Gtid)
        .map_err(|why| Refused(format!("{key} cannot replicate from {below_key}. Reason: {why}")))
}

/// Whether a move would lose what a replica has in its relay log only.
fn throws_away_what_nobody_sends(view: View<'_>, replica: &Member, below: &Member) -> bool {
    let facts = &replica.instance.facts;
    let source = replica.source.as_ref().and_then(|it| view.member(it).ok());
    let is_lost = source.is_none_or(|it| !it.instance.is_valid());
    let theirs = &below.instance.facts.gtid;
    let received = facts.main_channel().map(|channel| &channel.received);
    let has_it = matches!(received, Some(Gtids::MariaDb(it))
        if theirs.replicated.union(&theirs.logged).contains(it));
    is_lost && may_lose_relay_log(facts) && !has_it
}

/// Groups and rings are not broken up.
pub(super) fn may_relocate(
    view: View<'_>,
    replica: &Member,
    below: &Member,
) -> Result<(), Refused> {
    let (key, below_key) = (replica.key(), below.key());
    if view.is_descendant(below_key, key) {
        return Err(Refused(format!("relocate: {below_key} is a descendant of {key}")));
    }
    let Some(group) = replica.instance.facts.group.as_ref().filter(|it| it.is_member()) else {
        return Ok(());
    };
    if !group.is_primary() {
        return Err(Refused(format!(
            "relocate: {key} is a secondary replication group member, hence it cannot be relocated"
        )));
    }
    let theirs = below.instance.facts.group.as_ref();
    if theirs.is_some_and(|theirs| theirs.is_member() && theirs.name == group.name) {
        return Err(Refused(format!(
            "relocate: {key} is a replication group primary and cannot be relocated below \
             {below_key}, a member of its own group"
        )));
    }
    Ok(())
}

/// The unit that moves a replica.
pub(super) fn unit(view: View<'_>, replica: &Member, below: &Member, means: Means) -> Unit {
    let key = replica.key();
    match means {
        Means::Repoint => change(view, replica, below.key(), action::Place::Same),
        Means::Gtid => by_gtid(view, replica, below),
        Means::Equivalent => {
            let mut unit = change(view, replica, below.key(), action::Place::Same);
            if let Some((from, to)) = view.equivalent(replica, below.key()) {
                let (replica, below) = (key.clone(), below.key().clone());
                unit.script = Script::MoveEquivalent { replica, below, from, to };
            }
            unit
        }
        Means::MoveBelow => Unit {
            subject: key.clone(),
            script: Script::MoveBelow { replica: key.clone(), sibling: below.key().clone() },
            restarts: vec![key.clone(), below.key().clone()],
            is_source_dead: false,
            way_back: None,
        },
        Means::MoveUp => {
            let source = replica.source.clone().unwrap_or_else(|| key.clone());
            let mut restarts = vec![key.clone()];
            restarts.extend(running(view, &source));
            Unit {
                subject: key.clone(),
                script: Script::MoveUp { replica: key.clone(), source, above: below.key().clone() },
                restarts,
                is_source_dead: false,
                way_back: None,
            }
        }
    }
}

fn by_gtid(view: View<'_>, replica: &Member, below: &Member) -> Unit {
    let (key, below_key) = (replica.key(), below.key());
    let mut unit = change(view, replica, below_key, action::Place::Gtid);
    let facts = &replica.instance.facts;
    if facts.version.is_mariadb() {
        let at_most = view.policy().moves.catch_up;
        unit.script =
            Script::MoveBehind { replica: key.clone(), below: below_key.clone(), at_most };
    }
    // What replicated before, and by GTID, may go back should it not replicate there.
    let source = replica.source.as_ref().filter(|source| *source != below_key);
    if is_replicating(&replica.instance) && super::rules::uses_gtid(facts) {
        unit.way_back = source.cloned();
    }
    unit
}

/// The unit that names another source.
pub(super) fn change(
    view: View<'_>,
    replica: &Member,
    to: &InstanceKey,
    place: action::Place,
) -> Unit {
    let key = replica.key();
    let steps = vec![
        Step::new(key, Action::Stop(Threads::Both)),
        Step::new(key, Action::ChangeSource { to: to.clone(), place }),
    ];
    Unit {
        subject: key.clone(),
        script: Script::Steps(steps),
        restarts: vec![key.clone()],
        is_source_dead: view.instance(to).map_or(true, |source| !source.is_valid()),
        way_back: None,
    }
}

/// A server whose replication runs, and so has to run again afterwards. What somebody stopped
/// stays stopped.
pub(super) fn running(view: View<'_>, key: &InstanceKey) -> Option<InstanceKey> {
    view.instance(key).ok().filter(|it| is_replicating(it)).map(|it| it.key.clone())
}

/// What to know of a replica that brings transactions along which its next source does not have.
pub(super) fn errant_note(replica: &Member, below: &InstanceKey) -> Option<String> {
    let uses_gtid = replica.instance.facts.main_channel()?.positioning != Positioning::File;
    if replica.errant.is_empty() || !uses_gtid {
        return None;
    }
    let errant = super::rules::shortened(&replica.errant.to_string());
    Some(format!("{} has errant transactions that {below} may not have: {errant}", replica.key()))
}
