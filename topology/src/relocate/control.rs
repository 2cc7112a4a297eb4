//! Plans that steer the replication of one server, or the server itself.

use super::choose::{View, running};
use super::plan::{Plan, Step, Unit};
use super::{Refused, Script, gtid_repair};
use crate::action::{Action, Place, Switch, Threads, Until};
use crate::cluster::Member;
use crate::gtid::Gtids;
use crate::instance::{Channel, SourceLink, ThreadState};
use crate::key::InstanceKey;
use crate::status::{is_replica, is_replicating};

/// Something to do on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Start both threads.
    Start,
    /// Stop both threads.
    Stop,
    /// Stop with everything applied that was received.
    StopNice,
    /// Stop and start both threads.
    Restart,
    /// Stop for good and forget the source.
    Reset,
    /// Replicate from nobody, reversibly.
    Detach,
    /// Undo that.
    Reattach,
    /// Find the place by GTID from now on.
    EnableGtid,
    /// Find the place by file and position from now on.
    DisableGtid,
    /// Take the account from the configured query again.
    RenewCredentials,
    /// Pass over what the applier failed on.
    SkipQuery,
    /// Drop errant transactions, and with them all binary logs.
    ErrantResetLogs,
    /// Execute errant transactions as empty ones on the primary.
    ErrantInjectEmpty,
    /// Stay so many seconds behind the source.
    Delay(u32),
    /// Refuse writes.
    ReadOnly,
    /// Accept writes.
    Writable,
    /// Acknowledging as a source.
    SemiSyncSource(Switch),
    /// Acknowledging as a replica.
    SemiSyncReplica(Switch),
    /// Begin a new binary log.
    FlushLogs,
    /// Drop binary logs before this one; `latest` is the newest.
    PurgeLogs {
        /// The first to stay.
        to: String,
        /// Whether replicas may still need what is dropped.
        safety: Safety,
    },
    /// End what a connection is doing.
    KillQuery(u64),
}

/// Whether replicas are thought of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// Nothing is dropped that a replica has not read.
    Checked,
    /// It is dropped whatever replicas have read (I8: said explicitly).
    Overridden,
}

impl Control {
    /// Whether what is done depends on the server's source or replicas.
    pub(super) fn minds_others(&self) -> bool {
        matches!(
            self,
            Self::EnableGtid
                | Self::ErrantResetLogs
                | Self::ErrantInjectEmpty
                | Self::PurgeLogs { .. }
        )
    }

    /// What to say when it is done.
    fn message(&self, key: &InstanceKey) -> String {
        match self {
            Self::Start => format!("Replica started: {key}"),
            Self::Stop | Self::StopNice => format!("Replica stopped: {key}"),
            Self::Restart => format!("Replica restarted: {key}"),
            Self::Reset => format!("Replica reset: {key}"),
            Self::Detach => format!("Replica detached: {key}"),
            Self::Reattach => format!("Replica reattached: {key}"),
            Self::EnableGtid => format!("Enabled GTID on {key}"),
            Self::DisableGtid => format!("Disabled GTID on {key}"),
            Self::RenewCredentials => format!("Credentials changed on {key}"),
            Self::SkipQuery => format!("Query skipped on {key}"),
            Self::ErrantResetLogs => format!("Errant transactions dropped from {key}"),
            Self::ErrantInjectEmpty => String::new(),
            Self::Delay(seconds) => format!("Replication delayed: {key} by {seconds} seconds"),
            Self::ReadOnly => format!("Server set as read-only: {key}"),
            Self::Writable => format!("Server set as writeable: {key}"),
            Self::SemiSyncSource(_) | Self::SemiSyncReplica(_) => {
                format!("{} on {key}", self.kind())
            }
            Self::FlushLogs => format!("Binary logs flushed on: {key}"),
            Self::PurgeLogs { to, .. } => format!("Binary logs purged on: {key}, up to {to}"),
            Self::KillQuery(id) => format!("Query {id} killed on: {key}"),
        }
    }

    /// What it is called in the audit log.
    fn kind(&self) -> &'static str {
        match self {
            Self::Start => "start-replica",
            Self::Stop => "stop-replica",
            Self::StopNice => "stop-replica-nice",
            Self::Restart => "restart-replica",
            Self::Reset => "reset-replica",
            Self::Detach => "detach-replica",
            Self::Reattach => "reattach-replica",
            Self::EnableGtid => "enable-gtid",
            Self::DisableGtid => "disable-gtid",
            Self::RenewCredentials => "change-master-credentials",
            Self::SkipQuery => "skip-query",
            Self::ErrantResetLogs => "gtid-errant-reset-master",
            Self::ErrantInjectEmpty => "gtid-errant-inject-empty",
            Self::Delay(_) => "delay-replication",
            Self::ReadOnly => "set-read-only",
            Self::Writable => "set-writeable",
            Self::SemiSyncSource(Switch::On) => "enable-semi-sync-source",
            Self::SemiSyncSource(Switch::Off) => "disable-semi-sync-source",
            Self::SemiSyncReplica(Switch::On) => "enable-semi-sync-replica",
            Self::SemiSyncReplica(Switch::Off) => "disable-semi-sync-replica",
            Self::FlushLogs => "flush-binary-logs",
            Self::PurgeLogs { .. } => "purge-binary-logs",
            Self::KillQuery(_) => "kill-query",
        }
    }
}

pub(super) fn plan(view: View<'_>, key: &InstanceKey, control: &Control) -> Result<Plan, Refused> {
    let mut plan = worked_out(view, key, control)?;
    if plan.message.is_empty() {
        plan.message = control.message(key);
    }
    Ok(plan)
}

fn worked_out(view: View<'_>, key: &InstanceKey, control: &Control) -> Result<Plan, Refused> {
    let member = view.member(key)?;
    let kind = control.kind();
    match control {
        Control::Start => Ok(started(view.replica(key)?.0)),
        Control::Stop => simple(kind, view.replica(key)?.0, Action::Stop(Threads::Both)),
        Control::Restart => restarted(kind, view.replica(key)?.0),
        Control::StopNice => stop_nice(view, view.replica(key)?.0),
        Control::Reset | Control::Detach | Control::Reattach => leave(control, member),
        Control::EnableGtid => enable_gtid(view, key),
        Control::DisableGtid => disable_gtid(view, key),
        Control::RenewCredentials => renew_credentials(member),
        Control::SkipQuery => gtid_repair::skip_query(member),
        Control::ErrantResetLogs => gtid_repair::reset_logs(view, member),
        Control::ErrantInjectEmpty => gtid_repair::inject_empty(view, member),
        Control::Delay(seconds) => delay(view.replica(key)?.0, *seconds),
        Control::ReadOnly | Control::Writable => writes(view, control, member),
        Control::SemiSyncSource(switch) => {
            has_semi_sync(member)?;
            simple(kind, member, Action::SetSemiSyncSource(*switch))
        }
        Control::SemiSyncReplica(switch) => {
            has_semi_sync(member)?;
            Ok(semi_sync_replica(kind, member, *switch))
        }
        Control::FlushLogs => {
            has_log(member)?;
            simple(kind, member, Action::FlushBinaryLogs)
        }
        Control::PurgeLogs { to, safety } => purge(view, member, to, *safety),
        Control::KillQuery(id) => simple(kind, member, Action::KillQuery { id: *id }),
    }
}

/// One action on one server.
fn simple(kind: &'static str, member: &Member, action: Action) -> Result<Plan, Refused> {
    Ok(of_actions(kind, member, vec![action]))
}

/// Actions in order on one server.
pub(super) fn of_actions(kind: &'static str, member: &Member, actions: Vec<Action>) -> Plan {
    let key = member.key();
    let steps = actions.into_iter().map(|action| Step::new(key, action)).collect();
    let mut plan = Plan::about(kind, key);
    plan.units.push(Unit {
        subject: key.clone(),
        script: Script::Steps(steps),
        restarts: Vec::new(),
        is_source_dead: false,
        way_back: None,
    });
    plan
}

/// Actions while replication stands still; it is started again if it ran (I9).
fn while_stopped(kind: &'static str, member: &Member, action: Action) -> Plan {
    let mut plan = of_actions(kind, member, vec![Action::Stop(Threads::Both), action]);
    if is_replicating(&member.instance) {
        plan.units[0].restarts.push(member.key().clone());
    }
    plan
}

/// Starting is what every plan ends with; here it is all there is.
fn started(member: &Member) -> Plan {
    let mut plan = of_actions("start-replica", member, Vec::new());
    plan.units[0].restarts.push(member.key().clone());
    plan
}

fn restarted(kind: &'static str, member: &Member) -> Result<Plan, Refused> {
    let mut plan = of_actions(kind, member, vec![Action::Stop(Threads::Both)]);
    plan.units[0].restarts.push(member.key().clone());
    Ok(plan)
}

fn stop_nice(view: View<'_>, member: &Member) -> Result<Plan, Refused> {
    let channel = channel(member)?;
    let key = member.key();
    let mut plan = Plan::about("stop-replica-nice", key);
    // A delayed replica would take as long as its delay.
    let script = if channel.delay_seconds > 0 {
        Script::Steps(vec![Step::new(key, Action::Stop(Threads::Both))])
    } else {
        Script::StopApplied { replica: key.clone(), at_most: view.policy().moves.catch_up }
    };
    let restarts = Vec::new();
    plan.units.push(Unit {
        subject: key.clone(),
        script,
        restarts,
        is_source_dead: false,
        way_back: None,
    });
    Ok(plan)
}

fn leave(control: &Control, member: &Member) -> Result<Plan, Refused> {
    let key = member.key();
    let channel = channel(member)?;
    let action = match (control, &channel.source) {
        (Control::Detach, SourceLink::Detached(_)) => {
            return Err(Refused(format!("instance already detached: {key}")));
        }
        (Control::Reattach, SourceLink::Attached(_)) => {
            return Err(Refused(format!("instance does not seem to be detached: {key}")));
        }
        (Control::Detach, _) => Action::Detach,
        (Control::Reattach, _) => Action::Reattach,
        _ => Action::ForgetSource,
    };
    let stop = Action::Stop(Threads::Both);
    let mut plan = of_actions(control.kind(), member, vec![stop, action]);
    if *control == Control::Reattach {
        plan.units[0].restarts.push(key.clone());
    }
    plan.locked.insert(key.clone());
    Ok(plan)
}

fn enable_gtid(view: View<'_>, key: &InstanceKey) -> Result<Plan, Refused> {
    let (member, source) = view.replica(key)?;
    if super::rules::uses_gtid(&member.instance.facts) {
        return Err(Refused(format!("{key} already uses GTID")));
    }
    let target = view.member(source)?;
    if !super::single::could_use_gtid(member, target) {
        return Err(Refused(format!(
            "Cannot enable GTID on {key}: it and {source} must both have GTIDs switched on"
        )));
    }
    super::choose::by_gtid_is_possible(view, member, target)
        .map_err(|why| Refused(format!("Cannot enable GTID on {key}: {why}")))?;
    let change = Action::ChangeSource { to: source.clone(), place: Place::Gtid };
    let mut plan = while_stopped("enable-gtid", member, change);
    plan.locked.insert(key.clone());
    Ok(plan)
}

fn disable_gtid(view: View<'_>, key: &InstanceKey) -> Result<Plan, Refused> {
    let (member, source) = view.replica(key)?;
    if !super::rules::uses_gtid(&member.instance.facts) {
        return Err(Refused(format!("{key} is not using GTID")));
    }
    let mut plan = Plan::about("disable-gtid", key);
    let script = Script::LeaveGtid { replica: key.clone(), source: source.clone() };
    let restarts = running(view, key).into_iter().collect();
    plan.units.push(Unit {
        subject: key.clone(),
        script,
        restarts,
        is_source_dead: false,
        way_back: None,
    });
    plan.locked.insert(key.clone());
    Ok(plan)
}

fn renew_credentials(member: &Member) -> Result<Plan, Refused> {
    let channel = channel(member)?;
    let stands = [channel.receiver, channel.applier].iter().all(|it| *it == ThreadState::Stopped);
    if !stands {
        return Err(Refused(format!(
            "changeMasterToCredentials: cannot change credentials on {} because replication is running",
            member.key()
        )));
    }
    simple("change-master-credentials", member, Action::RenewCredentials)
}

fn delay(member: &Member, seconds: u32) -> Result<Plan, Refused> {
    let set = Action::SetDelay { seconds };
    if channel(member)?.delay_seconds == seconds {
        return Ok(of_actions("delay-replication", member, Vec::new()));
    }
    Ok(while_stopped("delay-replication", member, set))
}

fn writes(view: View<'_>, control: &Control, member: &Member) -> Result<Plan, Refused> {
    let is_semi_sync = member.instance.facts.semi_sync.priority > 0;
    let actions = match control {
        // Nobody writes unacknowledged, and no acknowledgement is waited for in vain.
        Control::ReadOnly if is_semi_sync => {
            vec![Action::SetReadOnly, Action::SetSemiSyncSource(Switch::Off)]
        }
        Control::ReadOnly => vec![Action::SetReadOnly],
        _ if is_semi_sync => vec![Action::SetSemiSyncSource(Switch::On), Action::SetWritable],
        _ => vec![Action::SetWritable],
    };
    let mut plan = of_actions(control.kind(), member, actions);
    let is_other = |it: &&Member| it.key() != member.key() && !it.instance.facts.read_only;
    let members = view.cluster(member.key()).into_iter().flat_map(|it| it.members.values());
    let others: Vec<String> = members.filter(is_other).map(|it| it.key().to_string()).collect();
    if *control == Control::Writable && !others.is_empty() {
        plan.notes.push(format!("also writable in its cluster: {}", others.join(", ")));
    }
    Ok(plan)
}

fn purge(view: View<'_>, member: &Member, to: &str, safety: Safety) -> Result<Plan, Refused> {
    has_log(member)?;
    let key = member.key();
    let newest = &member.instance.facts.binlog.position.file;
    let to = if to == "latest" { newest } else { to };
    let place = crate::binlog::BinlogCoordinates::new(to, 0);
    for replica in view.replicas(member) {
        let read = replica.instance.facts.main_channel().map(|channel| &channel.read);
        let is_behind = read.is_none_or(|read| read.is_before(&place));
        if is_behind && safety == Safety::Checked {
            let read = read.map(ToString::to_string).unwrap_or_default();
            return Err(Refused(format!(
                "Unsafe to purge binary logs on {key} up to {to} because replica {} has only \
                 reached {read}",
                replica.key()
            )));
        }
    }
    simple("purge-binary-logs", member, Action::PurgeBinaryLogs { to: to.to_owned() })
}

fn has_log(member: &Member) -> Result<(), Refused> {
    if member.instance.facts.binlog.enabled {
        return Ok(());
    }
    Err(Refused(format!("instance does not have binary logs enabled: {}", member.key())))
}

/// The receiver tells its source only once whether it acknowledges: when it connects.
fn semi_sync_replica(kind: &'static str, member: &Member, switch: Switch) -> Plan {
    let mut actions = vec![Action::SetSemiSyncReplica(switch)];
    let channel = member.instance.facts.main_channel();
    let both_run = is_replicating(&member.instance);
    if channel.is_some_and(|channel| channel.receiver != ThreadState::Stopped) {
        actions.push(Action::Stop(Threads::Receiver));
        if !both_run {
            actions.push(Action::Start(Threads::Receiver));
        }
    }
    let mut plan = of_actions(kind, member, actions);
    if both_run {
        plan.units[0].restarts.push(member.key().clone());
    }
    plan
}

fn has_semi_sync(member: &Member) -> Result<(), Refused> {
    if member.instance.facts.semi_sync.available {
        return Ok(());
    }
    Err(Refused(format!("semi-sync replication is not available on {}", member.key())))
}

/// The main channel of a server that points at a source, attached or not.
pub(super) fn channel(member: &Member) -> Result<&Channel, Refused> {
    let channel = member.instance.facts.main_channel().filter(|_| is_replica(&member.instance));
    channel.ok_or_else(|| Refused(format!("instance is not a replica: {}", member.key())))
}

/// What a replica that stops has to apply first: all that it received.
pub(super) fn received(channel: &Channel) -> Until {
    match &channel.received {
        Gtids::MySql(set) if !set.is_empty() => Until::Gtids(Gtids::MySql(set.clone())),
        _ => Until::Source(channel.read.clone()),
    }
}
