//! Plans that mend what went wrong with transactions: errant ones, and one the applier fails on.

use super::Refused;
use super::choose::{View, running};
use super::control::{channel, of_actions};
use super::plan::{Plan, Step, Unit};
use super::script::Script;
use crate::action::{Action, Threads};
use crate::cluster::Member;
use crate::gtid::{GtidSet, Gtids};
use crate::instance::{Channel, Positioning, ThreadState};
use crate::search::writable_primaries;

/// No more transactions than this are injected by one command.
const INJECTED_MAX: u64 = 10_000;

pub(super) fn skip_query(member: &Member) -> Result<Plan, Refused> {
    let key = member.key();
    let channel = channel(member)?;
    if channel.applier == ThreadState::Running {
        return Err(Refused(format!("Replication SQL thread is running on {key}")));
    }
    if channel.applier_error.text.is_empty() {
        return Err(Refused(format!("No SQL error on {key}")));
    }
    let skip = match channel.positioning {
        Positioning::MariaDbGtid => {
            return Err(Refused(format!("skip-query is not supported with MariaDB GTID: {key}")));
        }
        Positioning::AutoPosition => Action::InjectEmpty(failed_on(member, channel)?),
        Positioning::File => Action::SkipEvent,
    };
    let mut plan = of_actions("skip-query", member, vec![Action::Stop(Threads::Both), skip]);
    plan.units[0].restarts.push(key.clone());
    Ok(plan)
}

/// The transaction that the applier failed on: the one its error names, else the first of those
/// received and not executed, if they come from one origin. Guessing would lose a good one (I3).
fn failed_on(member: &Member, channel: &Channel) -> Result<GtidSet, Refused> {
    let key = member.key();
    let unknown = || Refused(format!("it is not known which transaction {key} failed on"));
    let (Gtids::MySql(received), Gtids::MySql(executed)) =
        (&channel.received, &member.instance.facts.gtid.executed)
    else {
        return Err(unknown());
    };
    let pending = received.subtract(executed);
    let quoted = channel.applier_error.text.split(['\'', '"', ' ', ',', ';']);
    let named = quoted.filter(|text| text.contains(':')).filter_map(|text| text.parse().ok());
    let mut named = named.filter(|it: &GtidSet| it.count() == 1 && pending.contains(it));
    if let Some(named) = named.next() {
        return Ok(named);
    }
    let first = pending.iter(1).next().ok_or_else(unknown)?;
    let other_origins = pending.without_uuids(&[first.uuid]);
    if !other_origins.is_empty() || !first.tag.is_empty() {
        return Err(unknown());
    }
    first.to_string().parse().map_err(|_| unknown())
}

/// The errant transactions of a server, or why nothing is done about them.
fn errant<'a>(what: &str, member: &'a Member) -> Result<&'a GtidSet, Refused> {
    let key = member.key();
    let facts = &member.instance.facts;
    // MariaDB has no such mode, and programs look for the text below there too.
    if facts.gtid.mode != "ON" && !facts.version.is_mariadb() {
        return Err(Refused(format!("{what} requested for {key} but it is not using oracle-gtid")));
    }
    if !member.errant_on_mariadb.is_empty() {
        return Err(Refused(format!(
            "{what} will not operate on {key} because MariaDB has no way to take single transactions \
             back: errant are {}",
            member.errant_text()
        )));
    }
    if member.errant.is_empty() {
        return Err(Refused(format!(
            "{what} will not operate on {key} because no errant GTID is found"
        )));
    }
    Ok(&member.errant)
}

pub(super) fn reset_logs(view: View<'_>, member: &Member) -> Result<Plan, Refused> {
    let what = "gtid-errant-reset-master";
    let key = member.key();
    let errant = errant(what, member)?;
    let replicas = view.replicas(member).len();
    if replicas > 0 {
        return Err(Refused(format!(
            "{what} will not operate on {key} because it has {replicas} replicas. Expecting no replicas"
        )));
    }
    view.replica(key)?;
    let mut plan = Plan::about(what, key);
    plan.locked.insert(key.clone());
    let script = Script::DropErrant { key: key.clone(), errant: errant.clone() };
    let restarts = running(view, key).into_iter().collect();
    plan.units.push(Unit {
        subject: key.clone(),
        script,
        restarts,
        is_source_dead: false,
        way_back: None,
    });
    Ok(plan)
}

pub(super) fn inject_empty(view: View<'_>, member: &Member) -> Result<Plan, Refused> {
    let what = "gtid-errant-inject-empty";
    let key = member.key();
    let errant = errant(what, member)?;
    let count = errant.count();
    if count > INJECTED_MAX {
        return Err(Refused(format!(
            "{what} will not operate on {key} because of {count} errant transactions; at most \
             {INJECTED_MAX} are injected"
        )));
    }
    let cluster = view.cluster(key);
    let primaries = writable_primaries(view.fleet);
    let primary = primaries.iter().find(|(of, _)| cluster.is_some_and(|ours| ours.id == of.id));
    let primary = primary.map(|(_, primary)| primary.key()).ok_or_else(|| {
        Refused(format!("{what}: no writable master is known for the cluster of {key}"))
    })?;
    let mut plan = Plan::about(what, key);
    let inject = Step::new(primary, Action::InjectEmpty(errant.clone()));
    plan.units.push(Unit {
        subject: key.clone(),
        script: Script::Steps(vec![inject]),
        restarts: Vec::new(),
        is_source_dead: false,
        way_back: None,
    });
    plan.message = format!("Have injected {count} transactions on cluster master {primary}");
    Ok(plan)
}
