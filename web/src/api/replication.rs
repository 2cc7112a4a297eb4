//! Control of replication on one server.

use baton_topology::action::{self, Action, Switch, Threads, WordingOptions};
use baton_topology::relocate::{self, Control, How, Request, Safety};
use baton_topology::status::is_replicating;

use super::relocate::{Details, perform};
use crate::call::Call;
use crate::compat::KeyJson;
use crate::reply::{Failure, Outcome, Reply};

/// Has a server do something, and shows it afterwards.
async fn control(call: &Call, control: Control) -> Outcome {
    control_with(call, control, Details::Instance).await
}

async fn control_with(call: &Call, control: Control, details: Details) -> Outcome {
    perform(call, Request::Control { key: call.key()?, control }, details).await
}

pub(super) async fn enable_gtid(call: Call) -> Outcome {
    control(&call, Control::EnableGtid).await
}

pub(super) async fn disable_gtid(call: Call) -> Outcome {
    control(&call, Control::DisableGtid).await
}

pub(super) async fn locate_errant(call: Call) -> Outcome {
    let (_, member) = call.member()?;
    let logs = call.services.operations.locate_errant(member.key().clone()).await?;
    Reply::ok("located errant GTID", logs)
}

pub(super) async fn errant_reset(call: Call) -> Outcome {
    control(&call, Control::ErrantResetLogs).await
}

pub(super) async fn errant_inject(call: Call) -> Outcome {
    control(&call, Control::ErrantInjectEmpty).await
}

pub(super) async fn skip_query(call: Call) -> Outcome {
    control(&call, Control::SkipQuery).await
}

pub(super) async fn start(call: Call) -> Outcome {
    control(&call, Control::Start).await
}

pub(super) async fn restart(call: Call) -> Outcome {
    control(&call, Control::Restart).await
}

pub(super) async fn stop(call: Call) -> Outcome {
    control(&call, Control::Stop).await
}

pub(super) async fn stop_nice(call: Call) -> Outcome {
    control(&call, Control::StopNice).await
}

pub(super) async fn reset(call: Call) -> Outcome {
    control(&call, Control::Reset).await
}

pub(super) async fn renew_credentials(call: Call) -> Outcome {
    control(&call, Control::RenewCredentials).await
}

pub(super) async fn detach(call: Call) -> Outcome {
    control(&call, Control::Detach).await
}

pub(super) async fn reattach(call: Call) -> Outcome {
    control(&call, Control::Reattach).await
}

pub(super) async fn flush_logs(call: Call) -> Outcome {
    control(&call, Control::FlushLogs).await
}

pub(super) async fn purge_logs(call: Call) -> Outcome {
    let is_forced = call.query("force") == Some("true");
    let safety = if is_forced { Safety::Overridden } else { Safety::Checked };
    control(&call, Control::PurgeLogs { to: call.param("file").to_owned(), safety }).await
}

/// What somebody who wants to run a statement between stopping and starting would have to say.
pub(super) async fn restart_statements(call: Call) -> Outcome {
    let (_, member) = call.member()?;
    let facts = &member.instance.facts;
    let statement = call.query("q").unwrap_or_default();
    let words = |action: Action| -> Result<Vec<String>, Failure> {
        let said =
            action::statements(&action, facts, &WordingOptions::default()).map_err(Failure::new)?;
        Ok(said.iter().map(|it| it.shown().to_owned()).collect())
    };
    let mut all = Vec::new();
    if is_replicating(&member.instance) {
        all.extend(words(Action::Stop(Threads::Both))?);
        all.push(statement.to_owned());
        all.extend(words(Action::Start(Threads::Both))?);
    } else {
        all.push(statement.to_owned());
    }
    Reply::ok(&format!("restart replica statements for: {}", member.key()), all)
}

pub(super) async fn enable_semi_sync_source(call: Call) -> Outcome {
    control(&call, Control::SemiSyncSource(Switch::On)).await
}

pub(super) async fn disable_semi_sync_source(call: Call) -> Outcome {
    control(&call, Control::SemiSyncSource(Switch::Off)).await
}

pub(super) async fn enable_semi_sync_replica(call: Call) -> Outcome {
    control(&call, Control::SemiSyncReplica(Switch::On)).await
}

pub(super) async fn disable_semi_sync_replica(call: Call) -> Outcome {
    control(&call, Control::SemiSyncReplica(Switch::Off)).await
}

pub(super) async fn delay(call: Call) -> Outcome {
    let text = call.param("seconds");
    let invalid = |_| Failure::new(format!("Invalid number of seconds: {text}"));
    let seconds: u32 = text.parse().map_err(invalid)?;
    control_with(&call, Control::Delay(seconds), Details::Number(seconds)).await
}

pub(super) async fn can_replicate_from(call: Call) -> Outcome {
    can(&call, How::Any)
}

pub(super) async fn can_replicate_from_gtid(call: Call) -> Outcome {
    can(&call, How::Gtid)
}

fn can(call: &Call, how: How) -> Outcome {
    let (key, below) = (call.key()?, call.below()?);
    let known = |key| {
        let instance = call.fleet.instance(key);
        instance.ok_or_else(|| Failure::new(format!("Cannot read instance: {key}")))
    };
    let (replica, source) = (known(&key)?, known(&below)?);
    relocate::can_replicate_from(replica, source, &call.fleet.policy, how)
        .map_err(|why| Failure::new(why.to_string()).with_details(&KeyJson::from(&below)))?;
    Reply::ok("true", KeyJson::from(&below))
}

pub(super) async fn set_read_only(call: Call) -> Outcome {
    control(&call, Control::ReadOnly).await
}

pub(super) async fn set_writable(call: Call) -> Outcome {
    control(&call, Control::Writable).await
}

pub(super) async fn kill_query(call: Call) -> Outcome {
    let text = call.param("process");
    let invalid = |_| Failure::new(format!("Invalid process id: {text}"));
    let id = text.parse().map_err(invalid)?;
    control(&call, Control::KillQuery(id)).await
}
