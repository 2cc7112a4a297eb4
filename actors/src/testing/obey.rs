//! What servers in memory do when told.

use baton_topology::action::{Action, Place, Switch, Threads};
use baton_topology::binlog::BinlogCoordinates;
use baton_topology::gtid::{GtidSet, Gtids};
use baton_topology::instance::{Channel, Facts, Positioning, SourceLink, ThreadState};
use baton_topology::key::InstanceKey;

use super::State;
use crate::ports::ActionFailure;

type Outcome = Result<(), ActionFailure>;

impl State {
    /// Carries out an action on a server that is there. Waiting is not for here.
    pub(super) fn obey(&mut self, key: &InstanceKey, action: &Action) -> Outcome {
        let key = self.canonical(key);
        match action {
            Action::ChangeSource { to, place } => self.change_source(&key, to, place),
            Action::Detach => self.relink(&key, |link| match link {
                SourceLink::Attached(source) => SourceLink::Detached(source),
                other => other,
            }),
            Action::Reattach => self.relink(&key, |link| match link {
                SourceLink::Detached(source) => SourceLink::Attached(source),
                other => other,
            }),
            Action::ForgetSource => {
                self.disown(&key);
                self.with(&key, |facts| {
                    facts.forget_source();
                    Ok(())
                })
            }
            Action::SetWritable => {
                self.note_two_writable(&key);
                self.with(&key, |facts| open(facts, Switch::On))
            }
            Action::SetReadOnly => self.with(&key, |facts| open(facts, Switch::Off)),
            Action::StartUntil(at) => self.start_until(&key, at),
            Action::InjectEmpty(set) => self.inject(&key, set),
            Action::KillClients | Action::KillQuery { .. } | Action::WaitExecuted { .. } => Ok(()),
            other => self.with(&key, |facts| obey_alone(facts, other)),
        }
    }

    fn with(&mut self, key: &InstanceKey, change: impl FnOnce(&mut Facts) -> Outcome) -> Outcome {
        match self.server_mut(key) {
            Some(server) => change(&mut server.facts),
            None => Err(refused("there is no such server")),
        }
    }

    fn change_source(&mut self, key: &InstanceKey, to: &InstanceKey, place: &Place) -> Outcome {
        self.with(key, |facts| {
            if facts.main_channel().is_none() {
                let channel = Channel {
                    receiver: ThreadState::Stopped,
                    applier: ThreadState::Stopped,
                    positioning: Positioning::AutoPosition,
                    seconds_behind: Some(0),
                    ..Channel::default()
                };
                facts.channels.insert(0, channel);
            }
            // As on a real server: what was received and not applied is kept while it is applied, and
            // dropped otherwise.
            let applies = *place == Place::Same && applies_by_gtid(facts);
            let channel = if applies { stopped_receiver(facts)? } else { still(facts)? };
            channel.source = SourceLink::Attached(to.clone());
            channel.source_uuid = None;
            if !applies {
                channel.received = Gtids::MySql(GtidSet::default());
            }
            channel.receiver_error = Default::default();
            match place {
                Place::Same => channel.read = channel.executed.clone(),
                Place::Gtid => channel.positioning = Positioning::AutoPosition,
                Place::File(at) => {
                    channel.positioning = Positioning::File;
                    (channel.read, channel.executed) = (at.clone(), at.clone());
                }
            }
            Ok(())
        })?;
        self.disown(key);
        self.own(key);
        Ok(())
    }

    /// A server in memory does not know which transaction is where in a log: it applies all that
    /// it can receive, and stops.
    fn start_until(&mut self, key: &InstanceKey, at: &BinlogCoordinates) -> Outcome {
        self.with(key, |facts| {
            set_threads(facts, Threads::Both, ThreadState::Running);
            Ok(())
        })?;
        self.spread(key);
        self.with(key, |facts| {
            set_threads(facts, Threads::Applier, ThreadState::Stopped);
            if let Some(channel) = main_channel(facts) {
                channel.executed = at.clone();
            }
            Ok(())
        })
    }

    fn relink(&mut self, key: &InstanceKey, to: impl FnOnce(SourceLink) -> SourceLink) -> Outcome {
        self.with(key, |facts| {
            let channel = still(facts)?;
            channel.source = to(std::mem::take(&mut channel.source));
            Ok(())
        })?;
        self.disown(key);
        self.own(key);
        Ok(())
    }

    /// Nobody lists a server as a replica any more.
    fn disown(&mut self, key: &InstanceKey) {
        for server in self.servers.values_mut() {
            server.facts.replicas.remove(key);
        }
    }

    /// Its sources list a server as a replica.
    fn own(&mut self, key: &InstanceKey) {
        let Some((_, server)) = self.server(key) else { return };
        let sources: Vec<_> =
            server.facts.channels.iter().filter_map(|it| it.source.attached().cloned()).collect();
        for source in sources {
            if let Some(source) = self.server_mut(&source) {
                source.facts.replicas.insert(key.clone());
            }
        }
    }

    fn inject(&mut self, key: &InstanceKey, set: &GtidSet) -> Outcome {
        match self.server_mut(key) {
            // Empty transactions are taken by closed servers, too.
            Some(server) => {
                let executed = server.executed();
                if !executed.contains(set) {
                    server.log(executed.union(set));
                }
                Ok(())
            }
            None => Err(refused("there is no such server")),
        }
    }

    fn note_two_writable(&mut self, key: &InstanceKey) {
        let Some(family) = self.server(key).map(|(_, server)| server.family) else { return };
        let open: Vec<_> = self
            .servers
            .iter()
            .filter(|(other, it)| *other != key && it.family == family && it.is_writable())
            .map(|(other, _)| (key.clone(), other.clone()))
            .collect();
        self.two_writable.extend(open);
    }
}

/// What concerns nobody but the server itself.
fn obey_alone(facts: &mut Facts, action: &Action) -> Outcome {
    match action {
        Action::Stop(threads) => {
            set_threads(facts, *threads, ThreadState::Stopped);
            Ok(())
        }
        Action::Start(threads) => {
            if facts.main_channel().is_none() {
                return Err(refused("error 1200: the server is not configured as replica"));
            }
            set_threads(facts, *threads, ThreadState::Running);
            Ok(())
        }
        Action::RenewCredentials => still(facts).map(drop),
        Action::SetSemiSyncSource(switch) => {
            facts.semi_sync.source_enabled = *switch == Switch::On;
            Ok(())
        }
        Action::SetSemiSyncReplica(switch) => {
            facts.semi_sync.replica_enabled = *switch == Switch::On;
            Ok(())
        }
        Action::SetDelay { seconds } => {
            still(facts)?.delay_seconds = *seconds;
            Ok(())
        }
        Action::ResetBinaryLogs { purged } => {
            facts.gtid.executed = Gtids::MySql(purged.clone());
            facts.gtid.purged = purged.clone();
            facts.binlog.position = BinlogCoordinates::new("bin.000001", 4);
            Ok(())
        }
        Action::FlushBinaryLogs => {
            let file = facts.binlog.position.file.as_str();
            let number = file.rsplit_once('.').and_then(|(_, digits)| digits.parse().ok());
            let next: u64 = number.unwrap_or(0) + 1;
            facts.binlog.position = BinlogCoordinates::new(format!("bin.{next:06}"), 4);
            Ok(())
        }
        Action::SkipEvent if facts.gtid.is_supported() => {
            Err(refused("error 1858: sql_replica_skip_counter can not be set with GTIDs"))
        }
        Action::SkipEvent => {
            still(facts)?.applier_error = Default::default();
            Ok(())
        }
        _ => Ok(()),
    }
}

fn open(facts: &mut Facts, switch: Switch) -> Outcome {
    facts.read_only = switch == Switch::Off;
    facts.super_read_only = facts.read_only;
    Ok(())
}

/// The main channel, which must not run.
fn still(facts: &mut Facts) -> Result<&mut Channel, ActionFailure> {
    let Some(channel) = main_channel(facts) else {
        return Err(refused("error 1200: the server is not configured as replica"));
    };
    let runs = |thread| matches!(thread, ThreadState::Running | ThreadState::Other);
    if runs(channel.receiver) || runs(channel.applier) {
        return Err(refused(
            "error 3021: this operation cannot be performed with a running replica",
        ));
    }
    Ok(channel)
}

fn applies_by_gtid(facts: &mut Facts) -> bool {
    main_channel(facts).is_some_and(|channel| {
        channel.positioning == Positioning::AutoPosition && channel.applier == ThreadState::Running
    })
}

/// The receiver alone has to stand still for what is said about the source alone.
fn stopped_receiver(facts: &mut Facts) -> Result<&mut Channel, ActionFailure> {
    main_channel(facts)
        .filter(|it| matches!(it.receiver, ThreadState::Stopped | ThreadState::Absent))
        .ok_or_else(|| refused("error 3021: the receiver has to be stopped"))
}

fn set_threads(facts: &mut Facts, threads: Threads, to: ThreadState) {
    if let Some(channel) = main_channel(facts) {
        if threads != Threads::Applier {
            channel.receiver = to;
            channel.receiver_error = Default::default();
        }
        if threads != Threads::Receiver {
            channel.applier = to;
        }
    }
}

fn main_channel(facts: &mut Facts) -> Option<&mut Channel> {
    let name = facts.main_channel()?.name.clone();
    facts.channels.iter_mut().find(|channel| channel.name == name)
}

fn refused(text: &str) -> ActionFailure {
    ActionFailure::Refused(text.into())
}
