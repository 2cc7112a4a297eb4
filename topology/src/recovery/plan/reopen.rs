//! How a primary that refuses writes is opened.

use crate::action::Action;
use crate::cluster::Member;

use super::super::candidate::Situation;
use super::super::{Chain, Loss, Need, Plan, Recovery, Refused, Stage};
use super::{NAMED_MAX, members};

/// Opens a primary that refuses writes though nobody else takes them. People may be about to put
/// somebody else in its place: then it replicates itself by now, or nobody replicates from it.
pub(super) fn plan(recovery: &Recovery, situation: &Situation<'_>) -> Result<Plan, Refused> {
    let failed = recovery.failed();
    let Some(primary) = situation.cluster.member(failed) else {
        return Err(Refused::because(format!("{failed} is not known")));
    };
    if !primary.instance.is_valid() {
        return Err(Refused::because(format!("{failed} does not answer")));
    }
    if let Some(source) = primary.instance.facts.source().filter(|_| !primary.is_co_primary) {
        return Err(Refused::because(format!("{failed} replicates from {source} now")));
    }
    let follows =
        |it: &&Member| it.instance.is_valid() && it.instance.facts.source() == Some(failed);
    if !members(recovery, situation).iter().any(follows) {
        return Err(Refused::because(format!("nobody replicates from {failed} any more")));
    }
    let others = situation.cluster.members.values().filter(|member| member.key() != failed);
    let writable: Vec<String> = others
        .filter(|member| !member.instance.facts.read_only && member.instance.is_valid())
        .map(|member| member.key().to_string())
        .take(NAMED_MAX)
        .collect();
    if !writable.is_empty() {
        let text = format!("{} accepts writes already", writable.join(", "));
        return Err(Refused::because(text));
    }
    let actions = vec![Action::SetWritable];
    let chain = Chain { on: failed.clone(), actions, need: Need::Must };
    Ok(Plan {
        successor: failed.clone(),
        why: vec!["it heads its cluster and nobody else accepts writes".to_owned()],
        prepare: Vec::new(),
        open: Stage { chains: vec![chain] },
        gather: Stage::default(),
        lost: Vec::new(),
        loss: Loss::default(),
    })
}
