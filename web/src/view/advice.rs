//! What people read beside a failure: what baton does about it, or why it leaves it alone, and what
//! they can do themselves, the safest first.
//!
//! Nothing is decided here: what may be done is asked of the gate and the planner that would do it.

use baton_topology::analysis::catalog::Response;
use baton_topology::analysis::{Analysis, Code};
use baton_topology::key::InstanceKey;
use baton_topology::recovery::gate::{Request, Runner};
use baton_topology::recovery::preview::{Preview, preview};
use baton_topology::recovery::{Cause, Fencing, Hooks, Refused};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::time::Timestamp;

/// What there is to say about a failure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Advice {
    /// What baton does.
    pub(super) would: Vec<String>,
    /// Why it does nothing.
    pub(super) held_back_by: Vec<String>,
    /// A person may have it recovered all the same.
    pub(super) by_hand: bool,
    /// What people can do, in whole sentences.
    pub(super) next: Vec<String>,
}

/// Says what there is to say about a failure with this response.
pub(super) fn advice(
    analysis: &Analysis,
    response: Response,
    fleet: &FleetSnapshot,
    runner: &Runner,
    now: Timestamp,
) -> Advice {
    let ask = |cause| {
        let key = analysis.key.clone();
        let request =
            Request { key, cause, wanted: None, hooks: Hooks::Run, fencing: Fencing::Required };
        preview(&request, fleet, runner, now)
    };
    if response != Response::Recover {
        let forced = is_unreachable(analysis.code).then(|| ask(Cause::ForcedFailover));
        return waiting(analysis, forced.and_then(Result::ok));
    }
    let mut reasons = match ask(Cause::Found) {
        Ok(preview) => return Advice { would: preview.lines, ..Advice::default() },
        Err(Refused(reasons)) => reasons,
    };
    let (by_hand, next) = match ask(Cause::Asked) {
        Ok(preview) => (true, vec![by_hand(&preview)]),
        Err(Refused(obstacles)) => {
            let forced = analysis.evidence.is_primary.then(|| ask(Cause::ForcedFailover));
            let acts =
                if obstacles == reasons { "baton acts by itself" } else { "recover by hand" };
            let more: Vec<_> = obstacles.into_iter().filter(|it| !reasons.contains(it)).collect();
            reasons.extend(more);
            (false, in_the_way(analysis, acts, forced.and_then(Result::ok)))
        }
    };
    Advice { held_back_by: reasons, by_hand, next, would: Vec::new() }
}

fn by_hand(preview: &Preview) -> String {
    let what = preview.lines.first().map_or("", String::as_str);
    match preview.possible_loss {
        0 if !preview.possible_loss_gtids.is_empty() => {
            let which = &preview.possible_loss_gtids;
            format!("Recover by hand: {what}. Transactions could be lost: {which}.")
        }
        0 => format!("Recover by hand: {what}. Nothing that is known of would be lost."),
        1 => format!("Recover by hand: {what}. 1 transaction could be lost."),
        count => format!("Recover by hand: {what}. {count} transactions could be lost."),
    }
}

/// What helps where a recovery is refused to a person as well.
fn in_the_way(analysis: &Analysis, acts: &str, forced: Option<Preview>) -> Vec<String> {
    let key = &analysis.key;
    let mut next = Vec::new();
    if !analysis.evidence.is_valid {
        next.push(format!(
            "Start {key} again: its replicas go on by themselves, and nothing is lost."
        ));
    }
    next.push(format!("Or remove what stands in the way, and {acts}."));
    next.extend(forced.map(|preview| by_force(analysis, &preview)));
    next
}

fn by_force(analysis: &Analysis, preview: &Preview) -> String {
    let (key, successor) = (&analysis.key, &preview.successor);
    format!(
        "Only if {key} is gone for good: force a failover to {successor}. What only {key} has is lost."
    )
}

fn is_unreachable(code: Code) -> bool {
    use Code::{NeverSeenPrimary, UnreachablePrimary, UnreachablePrimaryWithLaggingReplicas};
    matches!(code, NeverSeenPrimary | UnreachablePrimary | UnreachablePrimaryWithLaggingReplicas)
}

/// Whoever came back with less is not told from one that was emptied on purpose.
fn lost_transactions(key: &InstanceKey) -> (&'static str, Vec<String>) {
    let why = "the primary itself answers, and whether what it lost is to be had again from a replica \
               is a person's decision: nothing is moved or wiped";
    let next = vec![
        format!("Keep clients from writing to {key}, and see what its replicas say."),
        "Have a replica that has everything take over, by its name: baton client \
         force-master-takeover."
            .to_owned(),
        format!("Or restore {key}. Do not reset its replicas: they have what it lost."),
    ];
    (why, next)
}

/// Why baton does nothing about what it only detects, and what people can do.
fn waiting(analysis: &Analysis, forced: Option<Preview>) -> Advice {
    let key = &analysis.key;
    let (why, next) = match analysis.code {
        Code::InaccessiblePrimary
        | Code::InaccessibleCoPrimary
        | Code::InaccessibleIntermediateSource => (
            "it answers, so it is alive, and nobody takes the place of who is alive",
            vec![format!(
                "See what {key} says: its account for baton, its limit of connections, offline_mode."
            )],
        ),
        Code::NeverSeenPrimary => (
            "it never answered here, so nobody knows whether it is alive",
            vec![
                format!("See whether {key} is spelt right where it is named as the source."),
                "See whether this node has a way to it, and an account there.".to_owned(),
            ],
        ),
        Code::DeadPrimaryWithoutReplicas => (
            "nothing replicates from it, so nobody could take its place",
            vec![
                format!("Start {key} again."),
                "If it is gone for good, restore it from a backup, or forget it.".to_owned(),
            ],
        ),
        Code::DeadPrimaryAndReplicas => (
            "none of its replicas answers either, and nobody is promoted whom baton does not reach",
            vec![
                "See whether this node still reaches their network.".to_owned(),
                format!("Start {key} again, or one of its replicas: baton looks again at once."),
            ],
        ),
        Code::UnreachablePrimary | Code::UnreachablePrimaryWithLaggingReplicas => (
            "replicas still replicate from it, so it may well be alive: baton waits until none does",
            vec![format!(
                "See whether clients still reach {key}: a network between it and baton, or too many \
                 connections, look like this."
            )],
        ),
        Code::LockedSemiSyncPrimary => (
            "neither RecoverLockedSemiSyncMaster nor EnforceExactSemiSyncReplicas is set, so nobody \
             said who should acknowledge",
            vec![
                "Have more replicas acknowledge, or start those that did.".to_owned(),
                format!(
                    "Or have {key} wait no more: a failover may then lose what it commits from now on."
                ),
            ],
        ),
        Code::PrimaryCannotWriteBinlog => (
            "the primary itself answers, and goes on as soon as there is room",
            vec![format!("Make room where {key} writes its binary log: it looks every minute.")],
        ),
        Code::PrimaryLostTransactions => lost_transactions(key),
        Code::AllPrimaryReplicasNotReplicating | Code::AllPrimaryReplicasNotReplicatingOrDead => (
            "the primary itself answers, so there is nothing to fail over from",
            vec!["See what each replica says, and start replication.".to_owned()],
        ),
        Code::DeadIntermediateSourceAndReplicas => (
            "none of its replicas answers either, so there is nobody to move",
            vec![format!("Start {key} again, or one of its replicas: baton looks again at once.")],
        ),
        Code::UnreachableIntermediateSourceWithLaggingReplicas => (
            "its replicas still replicate, so it may well be alive: baton waits until none does",
            vec![format!("Move its replicas elsewhere if {key} stays out of reach.")],
        ),
        _ => return Advice::default(),
    };
    let forced = forced.map(|preview| by_force(analysis, &preview));
    let next = next.into_iter().chain(forced).collect();
    Advice { held_back_by: vec![why.to_owned()], next, ..Advice::default() }
}
