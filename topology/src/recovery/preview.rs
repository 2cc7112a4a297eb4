//! Recoveries shown before they are made, or when nothing is wrong.

use serde::Serialize;

use crate::action::{Action, Switch};
use crate::cluster::Cluster;
use crate::key::InstanceKey;
use crate::snapshot::FleetSnapshot;
use crate::time::Timestamp;

use super::candidate::Situation;
use super::check::check;
use super::gate::{self, Request, Runner};
use super::groups::objection;
use super::plan::{arrange, freeze, plan};
use super::scene::scene;
use super::{Chain, Kind, Lost, Need, Plan, Recovery, Refused, Stage};

/// What a recovery would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Preview {
    /// What kind of recovery it would be.
    pub kind: Kind,
    /// Who would succeed.
    pub successor: InstanceKey,
    /// One line for each thing that would be done, in order.
    pub lines: Vec<String>,
    /// How many transactions could be lost, as far as is known.
    pub possible_loss: u64,
    /// Which those are: with a number of 0 if it cannot be told.
    pub possible_loss_gtids: String,
    /// The stages themselves, in order.
    pub stages: Vec<Stage>,
}

/// Who would take the place of a primary now, and whether baton would let it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Readiness {
    /// Name of the cluster.
    pub cluster_name: String,
    /// Its alias.
    pub cluster_alias: String,
    /// Its primary.
    pub primary: InstanceKey,
    /// Who would succeed; nobody when there are objections to all.
    pub successor: Option<InstanceKey>,
    /// Why that one, and why not others.
    pub why: Vec<String>,
    /// Why nobody could.
    pub obstacles: Vec<String>,
    /// Why baton would not act by itself; empty when it would.
    pub held_back_by: Vec<String>,
    /// Who could not come along.
    pub lost: Vec<String>,
    /// How many transactions would be lost if the primary died now, as far as is known.
    pub possible_loss: u64,
    /// Which those are.
    pub possible_loss_gtids: String,
}

/// Shows what a request would do, as far as what probes saw still holds.
///
/// # Errors
/// With all reasons why it would do nothing.
pub fn preview(
    request: &Request,
    fleet: &FleetSnapshot,
    runner: &Runner,
    now: Timestamp,
) -> Result<Preview, Refused> {
    let mut recovery = gate::begin(request, fleet, runner, now)?;
    // A former primary is not in the cluster it comes back to.
    let cluster = &scene(&recovery, fleet);
    let situation =
        Situation { cluster, returned: None, ledger: &fleet.ledger, policy: &fleet.policy, now };
    let mut stages = Vec::new();
    if recovery.kind == Kind::Takeover {
        let (designated, stage) = arrange(&recovery, &situation)?;
        recovery.wanted = Some(designated);
        stages.push(stage);
    }
    stages.push(freeze(&recovery, &situation));
    let plan = plan(&recovery, &situation)?;
    check(&plan, &recovery, &situation)?;
    let lines = headline(&recovery, &plan);
    stages.extend(plan.prepare.iter().cloned());
    stages.extend([plan.open.clone(), plan.gather.clone()]);
    stages.retain(|stage| !stage.chains.is_empty());
    let steps = stages
        .iter()
        .enumerate()
        .flat_map(|(number, stage)| stage.chains.iter().map(move |chain| line(number + 1, chain)));
    let lines = lines.into_iter().chain(steps).chain(plan.lost.iter().map(lost_line)).collect();
    Ok(Preview {
        kind: recovery.kind,
        successor: plan.successor,
        lines,
        possible_loss: plan.loss.count,
        possible_loss_gtids: plan.loss.known,
        stages,
    })
}

fn headline(recovery: &Recovery, plan: &Plan) -> Vec<String> {
    let mut lines = vec![match recovery.kind.promotes() {
        true => format!("{} takes the place of {}", plan.successor, recovery.failed()),
        false if plan.successor == *recovery.failed() => {
            format!("{} stays the primary", plan.successor)
        }
        false => format!("{} stands in for {}", plan.successor, recovery.failed()),
    }];
    lines.extend(plan.why.iter().cloned());
    if !plan.loss.is_empty() {
        lines.push(format!("possible loss: {}: {}", plan.loss.amount(), plan.loss.known));
    }
    lines
}

fn line(number: usize, chain: &Chain) -> String {
    let actions: Vec<String> = chain.actions.iter().map(in_words).collect();
    let optional = if chain.need == Need::Should { " (if it can)" } else { "" };
    format!("{number}. {}: {}{optional}", chain.on, actions.join(", "))
}

fn lost_line(lost: &Lost) -> String {
    format!("lost: {}: {}", lost.key, lost.why)
}

/// An action in a few words.
fn in_words(action: &Action) -> String {
    match action {
        Action::ChangeSource { to, .. } => format!("replicate from {to}"),
        Action::Stop(threads) => format!("stop {threads:?}").to_lowercase(),
        Action::Start(threads) => format!("start {threads:?}").to_lowercase(),
        Action::WaitExecuted { .. } => "wait until everything is applied".to_owned(),
        Action::SetReadOnly => "refuse writes".to_owned(),
        Action::SetWritable => "accept writes".to_owned(),
        Action::KillClients => "end the connections of clients".to_owned(),
        Action::SetSemiSyncReplica(Switch::On) => "acknowledge".to_owned(),
        Action::SetSemiSyncReplica(Switch::Off) => "acknowledge no more".to_owned(),
        Action::SetSemiSyncSource(Switch::On) => "wait for acknowledgements".to_owned(),
        Action::SetSemiSyncSource(Switch::Off) => "wait for acknowledgements no more".to_owned(),
        Action::WriteNothing => "write something that changes nothing".to_owned(),
        Action::ForgetSource => "forget the source".to_owned(),
        Action::Detach => "detach".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Who would take the place of a cluster's primary if that died now.
pub fn readiness(
    cluster: &Cluster,
    fleet: &FleetSnapshot,
    runner: &Runner,
    now: Timestamp,
) -> Option<Readiness> {
    readiness_given(&gate::all_held_back(fleet, now), cluster, fleet, runner, now)
}

/// The same for one of many clusters: what holds all of them back is looked up once.
pub fn readiness_given(
    all_held_back: &[String],
    cluster: &Cluster,
    fleet: &FleetSnapshot,
    runner: &Runner,
    now: Timestamp,
) -> Option<Readiness> {
    let primary = cluster.primaries().first()?.key().clone();
    let mut readiness = Readiness {
        cluster_name: cluster.name(),
        cluster_alias: cluster.alias.clone(),
        primary: primary.clone(),
        successor: None,
        why: Vec::new(),
        obstacles: Vec::new(),
        held_back_by: Vec::new(),
        lost: Vec::new(),
        possible_loss: 0,
        possible_loss_gtids: String::new(),
    };
    let recovery = gate::supposed(&primary, fleet, runner, now)?;
    readiness.held_back_by = gate::held_back_alone(&recovery, cluster, fleet, now);
    readiness.held_back_by.extend_from_slice(all_held_back);
    let situation =
        Situation { cluster, returned: None, ledger: &fleet.ledger, policy: &fleet.policy, now };
    let objection = fleet.member(&primary).and_then(|(_, it)| objection(&recovery, it, fleet));
    let planned = match objection {
        Some(why) => Err(Refused::because(why)),
        None => plan(&recovery, &situation)
            .and_then(|plan| check(&plan, &recovery, &situation).map(|()| plan)),
    };
    match planned {
        Ok(plan) => {
            readiness.successor = Some(plan.successor);
            readiness.why = plan.why;
            readiness.lost = plan.lost.iter().map(lost_line).collect();
            readiness.possible_loss = plan.loss.count;
            readiness.possible_loss_gtids = plan.loss.known;
        }
        Err(Refused(reasons)) => readiness.obstacles = reasons,
    }
    Some(readiness)
}

/// Why nothing is done about an instance now, or that something would be.
pub fn verdict(
    key: &InstanceKey,
    fleet: &FleetSnapshot,
    runner: &Runner,
    now: Timestamp,
) -> Vec<String> {
    let request = Request {
        key: key.clone(),
        cause: super::Cause::Found,
        wanted: None,
        hooks: super::Hooks::Run,
        fencing: super::Fencing::Required,
    };
    match preview(&request, fleet, runner, now) {
        Ok(preview) => preview.lines,
        Err(Refused(mut reasons)) => {
            let told = doubts(key, fleet);
            reasons.extend(told.into_iter().filter(|it| !reasons.contains(it)).collect::<Vec<_>>());
            reasons
        }
    }
}

/// What the other nodes said of a server that seems to hang. That is no finding of its own, so
/// nothing else says why it is left alone (I13).
fn doubts(key: &InstanceKey, fleet: &FleetSnapshot) -> Vec<String> {
    let is_lost = fleet.instance(key).is_some_and(|it| !it.is_valid());
    let poll = fleet.polls.newest.get(key).filter(|it| is_lost && !it.verdict.is_confirmed());
    poll.map(|it| it.verdict.reasons()).unwrap_or_default()
}
