//! Tags.

use baton_topology::ledger::Command;
use baton_topology::tags::{self, Tag};

use crate::call::Call;
use crate::compat::{KeyJson, keys};
use crate::reply::{Failure, Outcome, Reply};

pub(super) async fn tagged(call: Call) -> Outcome {
    let expression = tags::parse_expression(call.query("tag").unwrap_or("")).map_err(refuse)?;
    Reply::bare(&keys(&tags::tagged(&call.fleet.ledger, &expression)))
}

pub(super) async fn tags(call: Call) -> Outcome {
    Reply::bare(&tags::tags_of(&call.fleet.ledger, &call.key()?))
}

pub(super) async fn value(call: Call) -> Outcome {
    let key = call.key()?;
    let tag = given(&call)?;
    let found = call.fleet.ledger.tags.get(&key).and_then(|tags| tags.get(tag.name.as_str()));
    let missing = || Failure::new(format!("tag {} not found for {key}", tag.name));
    Reply::bare(&found.map(|value| value.to_string()).ok_or_else(missing)?)
}

pub(super) async fn tag(call: Call) -> Outcome {
    let key = call.key()?;
    let tag = given(&call)?;
    let (name, value) = (tag.name, tag.value.unwrap_or_default());
    let message = format!("{key} tagged with {name}={value}");
    let command =
        Command::Tag { key: key.clone(), name: name.as_str().into(), value: value.as_str().into() };
    call.change("tag", Some(&key), message.clone(), command).await?;
    Reply::ok(&message, KeyJson::from(&key))
}

pub(super) async fn untag(call: Call) -> Outcome {
    let key = call.key()?;
    let tag = given(&call)?;
    remove(&call, "untag", Some(key), tag).await
}

pub(super) async fn untag_all(call: Call) -> Outcome {
    let tag = given(&call)?;
    if tag.value.is_none() {
        return Err(Failure::new(
            "Untag: either indicate an instance or a tag value. Will not delete on-valued tag across instances",
        ));
    }
    remove(&call, "untag-all", None, tag).await
}

async fn remove(
    call: &Call,
    kind: &str,
    key: Option<baton_topology::key::InstanceKey>,
    tag: Tag,
) -> Outcome {
    let command = Command::Untag {
        key: key.clone(),
        name: tag.name.as_str().into(),
        value: tag.value.map(Into::into),
    };
    let audited = format!("tag {} removed", tag.name);
    let applied = call.change(kind, key.as_ref(), audited, command).await?;
    let message = format!("{} removed from {} instances", tag.name, applied.keys.len());
    Reply::ok(&message, keys(&applied.keys))
}

/// The tag of the path, or of the query.
fn given(call: &Call) -> Result<Tag, Failure> {
    if call.has("name") {
        let value = call.has("value").then(|| call.param("value").to_owned());
        return Ok(Tag { name: call.param("name").to_owned(), value, negated: false });
    }
    let tag = Tag::parse(call.query("tag").unwrap_or("")).map_err(refuse)?;
    if tag.negated {
        return Err(Failure::new(format!("tag {} must not be negated here", tag.name)));
    }
    Ok(tag)
}

fn refuse(error: tags::ParseTagError) -> Failure {
    Failure::new(error.to_string())
}
