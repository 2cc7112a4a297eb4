//! What servers tell after an action, if all goes well: for plans that are only shown, and tests.

use std::sync::Arc;

use super::plan::Step;
use super::script::Seen;
use crate::action::{Action, Place, Switch, Threads, Until};
use crate::gtid::{GtidSet, Gtids};
use crate::instance::{Channel, Facts, Positioning, SourceLink, ThreadState};

/// Changes what is known of the server as the step would.
pub fn imagine(world: &mut Seen, step: &Step) {
    if let Some(instance) = world.get_mut(&step.key) {
        act(Arc::make_mut(&mut instance.facts), &step.action);
    }
}

fn act(facts: &mut Facts, action: &Action) {
    match action {
        Action::SetReadOnly => (facts.read_only, facts.super_read_only) = (true, true),
        Action::SetWritable => (facts.read_only, facts.super_read_only) = (false, false),
        Action::SetSemiSyncSource(switch) => facts.semi_sync.source_enabled = is_on(*switch),
        Action::SetSemiSyncReplica(switch) => facts.semi_sync.replica_enabled = is_on(*switch),
        Action::InjectEmpty(set) => execute(facts, set),
        Action::ResetBinaryLogs { purged } => {
            facts.gtid.executed = Gtids::MySql(purged.clone());
            facts.gtid.purged = purged.clone();
        }
        Action::ForgetSource => facts.forget_source(),
        Action::WaitExecuted { until: Until::Gtids(Gtids::MySql(set)), .. } => execute(facts, set),
        Action::WaitExecuted { until: Until::Gtids(Gtids::MariaDb(position)), .. } => {
            if let Gtids::MariaDb(executed) = &facts.gtid.executed {
                facts.gtid.executed = Gtids::MariaDb(executed.union(position));
            }
        }
        Action::ChangeSource { .. } if facts.main_channel().is_none() => {
            let channel = Channel {
                receiver: ThreadState::Stopped,
                applier: ThreadState::Stopped,
                ..Channel::default()
            };
            facts.channels.insert(0, channel);
            replicate(facts, action);
        }
        _ => replicate(facts, action),
    }
}

/// What an action does to the main channel.
fn replicate(facts: &mut Facts, action: &Action) {
    let is_mariadb = facts.version.is_mariadb();
    let Some(name) = facts.main_channel().map(|channel| channel.name.clone()) else { return };
    let Some(channel) = facts.channels.iter_mut().find(|it| it.name == name) else { return };
    match action {
        Action::Stop(threads) => set(channel, *threads, ThreadState::Stopped),
        Action::Start(threads) => set(channel, *threads, ThreadState::Running),
        Action::StartUntil(place) => {
            channel.executed = place.clone();
            channel.receiver = ThreadState::Running;
        }
        Action::WaitExecuted { until: Until::Source(place), .. } => {
            channel.executed = place.clone();
        }
        Action::ChangeSource { to, place } => {
            channel.source = SourceLink::Attached(to.clone());
            match place {
                Place::Same => {}
                Place::Gtid if is_mariadb => channel.positioning = Positioning::MariaDbGtid,
                Place::Gtid => channel.positioning = Positioning::AutoPosition,
                Place::File(at) => {
                    channel.positioning = Positioning::File;
                    channel.read = at.clone();
                    channel.executed = at.clone();
                }
            }
        }
        Action::Detach => {
            if let SourceLink::Attached(source) = &channel.source {
                channel.source = SourceLink::Detached(source.clone());
            }
        }
        Action::Reattach => {
            if let SourceLink::Detached(source) = &channel.source {
                channel.source = SourceLink::Attached(source.clone());
            }
        }
        Action::SetDelay { seconds } => channel.delay_seconds = *seconds,
        _ => {}
    }
}

fn set(channel: &mut Channel, threads: Threads, state: ThreadState) {
    if threads != Threads::Applier {
        channel.receiver = state;
    }
    if threads != Threads::Receiver {
        channel.applier = state;
    }
}

fn execute(facts: &mut Facts, set: &GtidSet) {
    if let Gtids::MySql(executed) = &facts.gtid.executed {
        facts.gtid.executed = Gtids::MySql(executed.union(set));
    }
}

fn is_on(switch: Switch) -> bool {
    switch == Switch::On
}
