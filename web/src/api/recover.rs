//! Recoveries that somebody asks for, shown first (`dry_run=true`) or made.

use std::sync::Arc;
use std::time::Duration;

use baton_actors::ports::RecoverError;
use baton_topology::cluster::Member;
use baton_topology::key::InstanceKey;
use baton_topology::ledger::Command;
use baton_topology::recovery::breaker;
use baton_topology::recovery::gate::Request;
use baton_topology::recovery::groups::chooses_itself;
use baton_topology::recovery::preview::{self, Preview};
use baton_topology::recovery::recent::recovered_just_now;
use baton_topology::recovery::{Cause, Fencing, Hooks, Recovery};
use serde::Serialize;

use crate::call::Call;
use crate::compat::{KeyJson, RecoveryJson};
use crate::reply::{Failure, Outcome, Reply};

pub(super) async fn recover(call: Call) -> Outcome {
    let hooks = if call.query("skipProcesses") == Some("true") { Hooks::Skip } else { Hooks::Run };
    recover_from(&call, hooks).await
}

pub(super) async fn recover_lite(call: Call) -> Outcome {
    recover_from(&call, Hooks::Skip).await
}

async fn recover_from(call: &Call, hooks: Hooks) -> Outcome {
    let key = call.key()?;
    let wanted = second_key(call, "candidateHost", "candidatePort")?;
    let (cause, fencing) = (Cause::Asked, Fencing::Required);
    let request = Request { key: key.clone(), cause, wanted: wanted.clone(), hooks, fencing };
    if call.is_dry_run() {
        return show(call, &request);
    }
    let given = KeyJson::from(&key);
    match call.recover(request).await {
        Ok(recovery) => match &recovery.successor {
            Some(successor) => {
                audit(call, &recovery);
                Reply::ok(&format!("Recovery executed on {key}"), KeyJson::from(successor))
            }
            None => {
                let message = "Recovery attempted but no instance promoted";
                Err(Failure::new(explained(message, &recovery.errors)).with_details(&given))
            }
        },
        Err(RecoverError::Refused(reasons)) => {
            let (fleet, now) = (call.services.snapshot.borrow().clone(), call.services.clock.now());
            if let Some(before) = recovered_just_now(&key, &fleet, now) {
                return Reply::ok(
                    &told_again(&key, wanted.as_ref(), before),
                    before.successor.as_ref().map(KeyJson::from),
                );
            }
            Err(Failure::new(explained("Recovery not attempted", &reasons)).with_details(&given))
        }
        Err(error) => Err(error.into()),
    }
}

fn told_again(key: &InstanceKey, wanted: Option<&InstanceKey>, before: &Recovery) -> String {
    let successor = before.successor.as_ref();
    let message = format!("Recovery executed on {key} (recovery {}, before)", before.id);
    match (wanted, successor) {
        (Some(wanted), Some(successor)) if wanted != successor => {
            format!("{message}: {successor} succeeded, not {wanted}")
        }
        _ => message,
    }
}

pub(super) async fn takeover(call: Call) -> Outcome {
    take_over(&call, Cause::Takeover).await
}

pub(super) async fn takeover_auto(call: Call) -> Outcome {
    take_over(&call, Cause::TakeoverAuto).await
}

async fn take_over(call: &Call, cause: Cause) -> Outcome {
    let primary = only_primary(call)?;
    if let Some(why) = chooses_itself(primary) {
        return Err(Failure::new(format!("GracefulMasterTakeover: {why}")));
    }
    let wanted = second_key(call, "designatedHost", "designatedPort")?;
    if primary.replicas.is_empty() {
        let text = format!("Master {} doesn't seem to have replicas", primary.key());
        return Err(Failure::new(text));
    }
    let wanted = match wanted {
        Some(wanted) if !primary.replicas.contains(&wanted) => {
            return Err(Failure::new(format!(
                "GracefulMasterTakeover: indicated designated instance {wanted} must be directly \
                 replicating from the master {}",
                primary.key()
            )));
        }
        None if primary.replicas.len() > 1 && cause == Cause::Takeover => {
            return Err(Failure::new(format!(
                "GracefulMasterTakeover: target instance not indicated, auto=false, and master {} \
                 has {} replicas. orchestrator cannot choose where to failover to. Aborting",
                primary.key(),
                primary.replicas.len()
            )));
        }
        wanted => wanted,
    };
    let request = Request {
        key: primary.key().clone(),
        cause,
        wanted,
        hooks: Hooks::Run,
        fencing: Fencing::Required,
    };
    if call.is_dry_run() {
        return show(call, &request);
    }
    let ended = call
        .recover(request)
        .await
        .map_err(|error| Failure::new(format!("GracefulMasterTakeover: {error}")))?;
    let failed = "GracefulMasterTakeover: Recovery attempted yet no replica promoted";
    ended_well(call, &ended, "graceful-master-takeover: successor promoted", failed)
}

pub(super) async fn force_failover(call: Call) -> Outcome {
    let key = only_primary(&call)?.key().clone();
    let (cause, hooks, fencing) = (Cause::ForcedFailover, Hooks::Run, fencing(&call));
    let request = Request { key, cause, wanted: None, hooks, fencing };
    if call.is_dry_run() {
        return show(&call, &request);
    }
    let ended = call.recover(request).await?;
    let failed = "Recovery attempted yet no replica promoted";
    ended_well(&call, &ended, "Master failed over", failed)
}

pub(super) async fn force_takeover(call: Call) -> Outcome {
    let primary = only_primary(&call)?;
    let Some(designated) = second_key(&call, "designatedHost", "designatedPort")? else {
        return Err(Failure::new("designated instance must be provided"));
    };
    if call.fleet.member(&designated).is_none() {
        return Err(Failure::new("Instance not found"));
    }
    if !primary.replicas.contains(&designated) {
        return Err(Failure::new(format!(
            "You may only promote a direct child of the master {}. The master of {designated} is {}.{}",
            primary.key(),
            source_of(&call, &designated),
            chooses_itself(primary).map(|why| format!(" And {why}")).unwrap_or_default()
        )));
    }
    let key = primary.key().clone();
    let wanted = Some(designated);
    let (cause, hooks, fencing) = (Cause::ForcedTakeover, Hooks::Run, fencing(&call));
    let request = Request { key, cause, wanted, hooks, fencing };
    if call.is_dry_run() {
        return show(&call, &request);
    }
    let ended = call.recover(request).await?;
    let failed = "Recovery attempted yet no replica promoted";
    ended_well(&call, &ended, "Master failed over", failed)
}

/// Whoever names it accepts that the old primary may go on accepting writes.
fn fencing(call: &Call) -> Fencing {
    match call.query("unfenced") {
        Some("true") => Fencing::Waived,
        _ => Fencing::Required,
    }
}

/// For so long a released breaker stays released.
const RELEASED_FOR: Duration = Duration::from_secs(10 * 60);

/// Whether so many clusters failed at once that nothing is done by itself.
pub(super) async fn breaker(call: Call) -> Outcome {
    match breaker::breaker(&call.fleet, call.now) {
        Some(reason) => Reply::ok(&reason, "open"),
        None => Reply::ok("baton acts where it may", "closed"),
    }
}

/// Lets baton act though many clusters failed at once.
pub(super) async fn release_breaker(call: Call) -> Outcome {
    let command = Command::ReleaseBreaker { until: call.now.plus(RELEASED_FOR) };
    call.change("release-fleet-breaker", None, String::new(), command).await?;
    let minutes = RELEASED_FOR.as_secs() / 60;
    Reply::ok(&format!("baton acts for {minutes} minutes, however many clusters failed"), "closed")
}

/// Brings a former primary back, as a replica of the one that replaced it.
pub(super) async fn rejoin(call: Call) -> Outcome {
    let key = call.key()?;
    let request = Request {
        key: key.clone(),
        cause: Cause::Rejoin,
        wanted: None,
        hooks: Hooks::Skip,
        fencing: Fencing::Required,
    };
    if call.is_dry_run() {
        return show(&call, &request);
    }
    let ended = call.recover(request).await?;
    match &ended.successor {
        Some(primary) if ended.is_successful() => {
            audit(&call, &ended);
            Reply::ok(&format!("{key} replicates from {primary}"), KeyJson::from(&key))
        }
        _ => Err(Failure::new(explained("Not rejoined", &ended.errors))),
    }
}

fn source_of(call: &Call, key: &InstanceKey) -> String {
    let source = call.fleet.member(key).and_then(|(_, member)| member.source.clone());
    source.map(|source| source.to_string()).unwrap_or_default()
}

fn explained(message: &str, reasons: &[String]) -> String {
    if reasons.is_empty() {
        message.to_owned()
    } else {
        format!("{message}: {}", reasons.join("; "))
    }
}

fn ended_well(call: &Call, recovery: &Arc<Recovery>, message: &str, failed: &str) -> Outcome {
    if recovery.successor.is_none() {
        return Err(Failure::new(format!("{failed}; err={}", recovery.errors.join("; "))));
    }
    audit(call, recovery);
    // Programs look for the message alone; whoever stays out is worth more words.
    let lost = recovery.plan.iter().flat_map(|plan| &plan.lost);
    let stays_out = lost.filter(|it| it.key == *recovery.failed()).map(|it| it.why.as_str());
    let words: Vec<&str> = std::iter::once(message).chain(stays_out).collect();
    let message = &words.join("; ");
    let active_since = call.now.minus(call.fleet.policy.recovery.block);
    Reply::ok(message, RecoveryJson::of(recovery, active_since, &call.fleet.ledger))
}

/// What is answered to whoever asked for this recovery and did not hear its end.
pub(super) fn told_later(call: &Call, recovery: &Arc<Recovery>) -> Outcome {
    let key = recovery.failed();
    let Some(successor) = &recovery.successor else {
        let message = "Recovery attempted but no instance promoted";
        let given = KeyJson::from(key);
        return Err(Failure::new(explained(message, &recovery.errors)).with_details(&given));
    };
    match recovery.cause {
        Cause::Asked => Reply::ok(&format!("Recovery executed on {key}"), KeyJson::from(successor)),
        Cause::Rejoin if recovery.is_successful() => {
            Reply::ok(&format!("{key} replicates from {successor}"), KeyJson::from(key))
        }
        Cause::Rejoin => Err(Failure::new(explained("Not rejoined", &recovery.errors))),
        _ => {
            let active_since = call.now.minus(call.fleet.policy.recovery.block);
            let shown = RecoveryJson::of(recovery, active_since, &call.fleet.ledger);
            Reply::ok(&format!("{successor} succeeded {key}"), shown)
        }
    }
}

fn audit(call: &Call, recovery: &Recovery) {
    let successor = recovery.successor.as_ref().map(ToString::to_string).unwrap_or_default();
    let message = format!("recovery {}: {successor} succeeds", recovery.id);
    call.audit("recovery", Some(recovery.failed()), message);
}

/// Shows what would be done, and does nothing.
fn show(call: &Call, request: &Request) -> Outcome {
    let fleet = &call.fleet;
    match preview::preview(request, fleet, &call.runner(), call.now) {
        Ok(preview) => Reply::ok(&preview.lines.join("\n"), PreviewJson::from(preview)),
        Err(refused) => Err(Failure::new(refused.to_string())),
    }
}

/// A preview with keys as the rest of the API writes them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PreviewJson {
    dry_run: bool,
    successor_key: KeyJson,
    lines: Vec<String>,
    stages: Vec<Vec<ChainJson>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ChainJson {
    key: KeyJson,
    actions: Vec<serde_json::Value>,
    required: bool,
}

impl From<Preview> for PreviewJson {
    fn from(preview: Preview) -> Self {
        let stages = preview.stages.iter().map(|stage| {
            let chains = stage.chains.iter().map(|chain| ChainJson {
                key: (&chain.on).into(),
                actions: chain
                    .actions
                    .iter()
                    .map(|action| serde_json::to_value(action).unwrap_or_default())
                    .collect(),
                required: chain.need == baton_topology::recovery::Need::Must,
            });
            chains.collect()
        });
        Self {
            dry_run: true,
            successor_key: (&preview.successor).into(),
            stages: stages.collect(),
            lines: preview.lines,
        }
    }
}

/// The one primary of the cluster that is meant: of co-primaries, the one that accepts writes, or did
/// when it was seen last.
fn only_primary(call: &Call) -> Result<&Member, Failure> {
    let cluster = call.hinted_cluster()?;
    let primaries = cluster.primaries();
    let is_open = |it: &&&Member| it.is_co_primary && !it.instance.facts.read_only;
    let mut open = primaries.iter().filter(is_open);
    match (primaries.as_slice(), open.next(), open.next()) {
        ([one], ..) => Ok(one),
        (_, Some(one), None) if primaries.iter().all(|it| it.is_co_primary) => Ok(one),
        (many, ..) => {
            let why = many.iter().find_map(|it| chooses_itself(it));
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            Err(Failure::new(format!("Cannot deduce cluster master for {}{why}", cluster.name())))
        }
    }
}

/// The second instance of a route, where it has one.
fn second_key(
    call: &Call,
    host: &'static str,
    port: &'static str,
) -> Result<Option<InstanceKey>, Failure> {
    if !call.has(host) {
        return Ok(None);
    }
    call.key_of(host, port).map(Some)
}

pub(super) async fn readiness(call: Call) -> Outcome {
    let cluster = call.hinted_cluster()?;
    let found = preview::readiness(cluster, &call.fleet, &call.runner(), call.now);
    let found = found.ok_or_else(|| Failure::new("the cluster has no primary"))?;
    let message = match &found.successor {
        Some(successor) => format!("{successor} would take the place of {}", found.primary),
        None => format!("nobody could take the place of {}", found.primary),
    };
    Reply::ok(&message, found)
}

/// What is believed about an instance, on which observations, and what follows from it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExplanationJson {
    key: KeyJson,
    lines: Vec<String>,
}

pub(super) async fn explain(call: Call) -> Outcome {
    let (cluster, member) = call.member()?;
    let instance = &member.instance;
    let mut lines = vec![format!(
        "{} is in cluster {} ({}), {} below its head, with {} replicas",
        member.key(),
        cluster.alias,
        cluster.name(),
        member.depth,
        member.replicas.len()
    )];
    let seen = instance.health.last_seen.map_or_else(
        || "it was never seen".to_owned(),
        |at| format!("it was last seen {} ms ago", call.now.since(at).as_millis()),
    );
    lines.push(seen);
    if let baton_topology::instance::HealthStatus::Invalid(failure) = &instance.health.status {
        let (failures, message) = (instance.health.failures, &failure.message);
        lines.push(format!("the last {failures} looks failed: {message}"));
    }
    if let Some(channel) = instance.facts.main_channel() {
        let lag = instance.facts.lag_seconds();
        let lag = lag.map_or_else(|| "lag unknown".to_owned(), |lag| format!("lag {lag} s"));
        let (receiver, applier) = (channel.receiver, channel.applier);
        lines.push(format!("receiver {receiver:?}, applier {applier:?}, {lag}").to_lowercase());
    }
    if member.is_errant() {
        lines.push(format!("errant transactions: {}", member.errant_text()));
    }
    for analysis in cluster.analyses.iter().filter(|it| it.key == *member.key()) {
        let evidence = &analysis.evidence;
        lines.push(format!(
            "{}: {} of {} replicas answer, {} replicate",
            crate::compat::code_name(analysis.code),
            evidence.valid_replicas,
            evidence.replicas,
            evidence.replicating_replicas
        ));
    }
    let verdict = preview::verdict(member.key(), &call.fleet, &call.runner(), call.now);
    lines.extend(verdict);
    let message = lines.join("\n");
    Reply::ok(&message, ExplanationJson { key: member.key().into(), lines })
}
