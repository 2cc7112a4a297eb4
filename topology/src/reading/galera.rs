//! Membership in a Galera cluster (MariaDB, Percona XtraDB Cluster), from the server's status.

use super::{Answers, Question, host};
use crate::instance::{GroupKind, GroupMember};
use crate::key::InstanceKey;

/// Reads what a node says of its cluster. `None` where no provider is loaded.
pub(super) fn read(own: &InstanceKey, answers: &Answers) -> Option<GroupMember> {
    let status = answers.get(&Question::Status)?;
    let value = |name: &str| status.lookup(name).map(|it| it.trim().to_owned());
    let component = value("wsrep_cluster_status")?;
    let is_provided = value("wsrep_provider_name").is_some_and(|name| !name.is_empty());
    if !is_provided && !["Primary", "non-Primary"].contains(&component.as_str()) {
        return None;
    }
    let state = value("wsrep_local_state_comment").unwrap_or_default();
    let state = match (component.as_str(), state.as_str()) {
        ("Primary", "Synced" | "Donor/Desynced") => "ONLINE",
        ("Primary", _) => "RECOVERING",
        // It may be the others who are gone: whoever stands alone is still no primary.
        _ => "ERROR",
    };
    let mut members: std::collections::BTreeSet<InstanceKey> = value("wsrep_incoming_addresses")
        .unwrap_or_default()
        .split(',')
        .filter_map(|address| address.trim().parse().ok())
        .filter(|key: &InstanceKey| host::told(key.host()) == Some(key.host()))
        .collect();
    members.insert(own.clone());
    Some(GroupMember {
        kind: GroupKind::Galera,
        name: value("wsrep_cluster_state_uuid").unwrap_or_default(),
        is_single_primary: false,
        state: state.to_owned(),
        role: "PRIMARY".to_owned(),
        members,
        has_lost_majority: component == "non-Primary",
        has_own_gtids: !is_gtid_shared(answers),
        primary: None,
    })
}

/// Whether all nodes log a transaction under the same GTID: MySQL's carry the cluster's UUID, and
/// MariaDB's are each node's own unless it is told to share them.
fn is_gtid_shared(answers: &Answers) -> bool {
    let variables = answers.get(&Question::SemiSyncVariables);
    let mode = variables.and_then(|table| table.lookup("wsrep_gtid_mode"));
    mode.is_none_or(|mode| super::table::is_on(mode.trim()))
}
