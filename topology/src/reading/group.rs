//! Membership in a replication group.

use uuid::Uuid;

use super::table::{RawTable, Row, is_on};
use super::{Answers, Question, host};
use crate::instance::{GroupKind, GroupMember};
use crate::key::InstanceKey;

/// What members tell everybody: versions before 8.1 the first, 8.1 and newer the second.
const TRACES: [&str; 2] = ["group_replication_primary_member", "Gr_last_consensus_end_timestamp"];

/// Reads what this server says of its group. `None` when it belongs to none.
pub(super) fn read(answers: &Answers, own: Option<Uuid>) -> Option<GroupMember> {
    let members = answers.get(&Question::GroupMembers)?;
    let own = own?;
    let me = members.rows().find(|row| member_id(row) == Some(own))?;
    let settings = answers.get(&Question::GroupSettings).and_then(RawTable::first);
    let is_single_primary =
        settings.and_then(|row| row.get("single_primary")).is_none_or(|value| is_on(&value));
    let keys: Vec<_> = members
        .rows()
        .filter_map(|row| Some((member_key(&row)?, row.text("member_role"))))
        .collect();
    let unreachable =
        members.rows().filter(|row| row.text("member_state") == "UNREACHABLE").count();
    let primary = keys.iter().find(|(_, role)| is_single_primary && role == "PRIMARY");
    Some(GroupMember {
        kind: GroupKind::GroupReplication,
        has_lost_majority: unreachable * 2 >= keys.len().max(1),
        has_own_gtids: false,
        name: settings.map(|row| row.text("group_name")).unwrap_or_default(),
        is_single_primary,
        state: me.text("member_state"),
        role: me.text("member_role"),
        primary: primary.map(|(key, _)| key.clone()),
        members: keys.into_iter().map(|(key, _)| key).collect(),
    })
}

/// Recognises a member where nobody may read who the others are: by who its group says is primary, or
/// that it took part in a group since it was started. That it has company is all that is known then.
pub(super) fn by_status(answers: &Answers, is_read_only: bool) -> Option<GroupMember> {
    if answers.contains_key(&Question::GroupMembers) {
        return None;
    }
    let status = answers.get(&Question::Status)?;
    let tells = |name: &&&str| status.lookup(name).is_some_and(|value| !value.trim().is_empty());
    TRACES.iter().find(tells).map(|_| GroupMember {
        is_single_primary: true,
        state: "ONLINE".to_owned(),
        role: if is_read_only { "SECONDARY" } else { "PRIMARY" }.to_owned(),
        ..GroupMember::default()
    })
}

fn member_id(row: &Row<'_>) -> Option<Uuid> {
    Uuid::parse_str(&row.get("member_id")?).ok()
}

fn member_key(row: &Row<'_>) -> Option<InstanceKey> {
    let host = row.get("member_host")?;
    let port = row.number::<u16>("member_port").filter(|port| *port > 0)?;
    Some(InstanceKey::new(host::told(&host)?, port))
}
