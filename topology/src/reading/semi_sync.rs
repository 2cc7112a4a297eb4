//! Semi-synchronous replication, by its old and new names.
//!
//! On MySQL the variables are there only while the plugin is loaded (8.0.26 and newer have a
//! plugin with the new names besides the old one, and both sides are separate plugins); in
//! MariaDB it is built in, with the old names.

use super::table::is_on;
use super::{Answers, Question, answer_text, status_number};
use crate::instance::SemiSync;

/// Reads what variables and status tell.
pub(super) fn read(answers: &Answers) -> SemiSync {
    let variable = |name: &str| {
        let table = answers.get(&Question::SemiSyncVariables)?;
        table.lookup(name).map(|value| value.trim().to_owned())
    };
    let is_variable_on = |name: &str| variable(name).is_some_and(|value| is_on(&value));
    let number = |name: &str| variable(name).and_then(|value| value.parse().ok());
    let is_status_on = |name: &str| {
        let table = answers.get(&Question::Status);
        table.and_then(|table| table.lookup(name)).is_some_and(|value| is_on(&value))
    };

    let source_side_is_new = variable("rpl_semi_sync_source_enabled").is_some();
    let replica_side_is_new = variable("rpl_semi_sync_replica_enabled").is_some();
    let has_source_side = source_side_is_new || variable("rpl_semi_sync_master_enabled").is_some();
    let has_replica_side = replica_side_is_new || variable("rpl_semi_sync_slave_enabled").is_some();
    let priority = answer_text(answers, Question::SemiSyncPriority).parse().unwrap_or(0);
    let mut state = SemiSync {
        available: has_source_side && has_replica_side,
        source_side_is_new,
        replica_side_is_new,
        priority,
        ..SemiSync::default()
    };
    if source_side_is_new {
        state.source_enabled = is_variable_on("rpl_semi_sync_source_enabled");
        state.source_timeout_ms = number("rpl_semi_sync_source_timeout").unwrap_or(0);
        let wait = number("rpl_semi_sync_source_wait_for_replica_count");
        state.wait_for_replicas = wait.and_then(|count| count.try_into().ok()).unwrap_or(0);
        state.source_active = is_status_on("Rpl_semi_sync_source_status");
        state.source_clients = status_number(answers, "Rpl_semi_sync_source_clients");
    } else if has_source_side {
        state.source_enabled = is_variable_on("rpl_semi_sync_master_enabled");
        state.source_timeout_ms = number("rpl_semi_sync_master_timeout").unwrap_or(0);
        // MariaDB always waits for exactly one.
        let wait = number("rpl_semi_sync_master_wait_for_slave_count").unwrap_or(1);
        state.wait_for_replicas = u32::try_from(wait).unwrap_or(0);
        state.source_active = is_status_on("Rpl_semi_sync_master_status");
        state.source_clients = status_number(answers, "Rpl_semi_sync_master_clients");
    }
    if replica_side_is_new {
        state.replica_enabled = is_variable_on("rpl_semi_sync_replica_enabled");
        state.replica_active = is_status_on("Rpl_semi_sync_replica_status");
    } else if has_replica_side {
        state.replica_enabled = is_variable_on("rpl_semi_sync_slave_enabled");
        state.replica_active = is_status_on("Rpl_semi_sync_slave_status");
    }
    state
}
