//! Actions in words, for people who read plans.

use crate::action::{Action, Place, Switch, Threads, Until};

use super::rules::shortened;

/// An action in words. They name no statement: how to say it depends on the server.
pub fn words(action: &Action) -> String {
    match action {
        Action::Stop(threads) => format!("stop {}", thread_words(*threads)),
        Action::Start(threads) => format!("start {}", thread_words(*threads)),
        Action::StartUntil(place) => format!("replicate until {place} of the source's log"),
        Action::ChangeSource { to, place } => match place {
            Place::Same => format!("replicate from {to}, from the same place on"),
            Place::Gtid => format!("replicate from {to}, by GTID"),
            Place::File(at) => format!("replicate from {to}, from {at} on"),
        },
        Action::RenewCredentials => "renew the credentials of replication".to_owned(),
        Action::Detach => "detach from the source, reversibly".to_owned(),
        Action::Reattach => "reattach to the source".to_owned(),
        Action::ForgetSource => "forget the source".to_owned(),
        Action::SetReadOnly => "refuse writes".to_owned(),
        Action::SetWritable => "accept writes".to_owned(),
        Action::KillClients => "end the connections of clients".to_owned(),
        Action::WaitExecuted { until, at_most } => {
            let what = match until {
                Until::Gtids(gtids) => shortened(&gtids.to_string()),
                Until::Source(place) => format!("{place} of the source's log"),
            };
            format!("wait until {what} is executed, at most {} s", at_most.as_secs())
        }
        Action::SetSemiSyncSource(switch) => format!("semi-sync as a source: {}", on_off(*switch)),
        Action::SetSemiSyncReplica(switch) => {
            format!("semi-sync as a replica: {}", on_off(*switch))
        }
        Action::SetDelay { seconds } => format!("stay {seconds} s behind the source"),
        Action::InjectEmpty(set) => {
            format!("execute nothing as {}", shortened(&set.to_string()))
        }
        Action::ResetBinaryLogs { purged } => {
            format!("reset binary logs, with {} as purged", shortened(&purged.to_string()))
        }
        Action::WriteNothing => "write something that changes nothing".to_owned(),
        Action::FlushBinaryLogs => "begin a new binary log".to_owned(),
        Action::PurgeBinaryLogs { to } => format!("drop binary logs before {to}"),
        Action::SkipEvent => "pass over one event".to_owned(),
        Action::KillQuery { id } => format!("end connection {id}"),
    }
}

fn thread_words(threads: Threads) -> &'static str {
    match threads {
        Threads::Both => "replication",
        Threads::Receiver => "the receiver",
        Threads::Applier => "the applier",
    }
}

fn on_off(switch: Switch) -> &'static str {
    match switch {
        Switch::On => "on",
        Switch::Off => "off",
    }
}
