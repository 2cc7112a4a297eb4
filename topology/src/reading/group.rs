//! Membership in a replication group.

use uuid::Uuid;

use super::table::{RawTable, Row, is_on};
use super::{Answers, Question};
use crate::instance::GroupMember;
use crate::key::InstanceKey;

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
    let primary = keys.iter().find(|(_, role)| is_single_primary && role == "PRIMARY");
    Some(GroupMember {
        name: settings.map(|row| row.text("group_name")).unwrap_or_default(),
        is_single_primary,
        state: me.text("member_state"),
        role: me.text("member_role"),
        primary: primary.map(|(key, _)| key.clone()),
        members: keys.into_iter().map(|(key, _)| key).collect(),
    })
}

fn member_id(row: &Row<'_>) -> Option<Uuid> {
    Uuid::parse_str(&row.get("member_id")?).ok()
}

fn member_key(row: &Row<'_>) -> Option<InstanceKey> {
    let host = row.get("member_host").filter(|host| !host.is_empty())?;
    let port = row.number::<u16>("member_port").filter(|port| *port > 0)?;
    Some(InstanceKey::new(host.into_owned(), port))
}
