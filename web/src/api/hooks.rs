//! What user processes would be told if a primary died now. Nothing is run.

use std::collections::BTreeMap;
use std::fmt::Write;

use baton_actors::hooks::RunningHook;
use baton_topology::hooks::{HookCommand, HookList, HookPolicy, OnFailure, Waits, environment};
use baton_topology::recovery::gate::Runner;
use baton_topology::recovery::occasions::{Occasion, occasions};
use baton_topology::recovery::preview::{self, Readiness};
use baton_topology::time::Timestamp;
use serde::Serialize;

use crate::call::Call;
use crate::compat::{KeyJson, hook_context, timestamp};
use crate::reply::{Failure, Outcome, Reply};

/// Stands for the name that a recovery gets when it begins.
const NO_UID: &str = "(known when it begins)";

/// All that would be run.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HooksPreviewJson {
    failed_key: KeyJson,
    successor_key: Option<KeyJson>,
    obstacles: Vec<String>,
    held_back_by: Vec<String>,
    shell: String,
    timeout_seconds: u64,
    lists: Vec<ListJson>,
}

/// One list.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListJson {
    list: String,
    when: &'static str,
    /// Whether a hook that fails keeps what follows from happening.
    aborts: bool,
    hooks: Vec<HookJson>,
    environment: BTreeMap<String, String>,
    input: serde_json::Value,
}

/// One hook.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HookJson {
    shown: String,
    script: String,
    in_background: bool,
}

/// A hook that runs.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RunningJson {
    id: u64,
    list: String,
    number: usize,
    of: usize,
    in_background: bool,
    command: String,
    about: String,
    since: String,
    running_seconds: u64,
    timeout_seconds: u64,
}

fn shown(hook: RunningHook, now: Timestamp) -> RunningJson {
    RunningJson {
        id: hook.id,
        list: hook.label.list,
        number: hook.label.number,
        of: hook.label.of,
        in_background: hook.label.waits == Waits::Background,
        command: hook.command,
        about: hook.about,
        since: timestamp(now.minus(hook.elapsed)),
        running_seconds: hook.elapsed.as_secs(),
        timeout_seconds: hook.timeout.as_secs(),
    }
}

/// Which hooks this node runs, since when, and for what.
pub(super) async fn running(call: Call) -> Outcome {
    let hooks = call.services.hooks.running().into_iter();
    Reply::bare(&hooks.map(|hook| shown(hook, call.now)).collect::<Vec<_>>())
}

/// Ends one of them, as if it had failed.
pub(super) async fn end(call: Call) -> Outcome {
    let id = call.param("id");
    let number = id.parse().map_err(|_| Failure::new(format!("Invalid hook id: {id}")))?;
    let ended = call.services.hooks.end(number);
    let hook = ended.ok_or_else(|| Failure::new(format!("No hook with id {number} runs here")))?;
    let text = format!("{}: {}", hook.label, hook.command);
    call.audit("end-hook", None, text.clone());
    Reply::ok(&format!("Hook ended: {text}"), shown(hook, call.now))
}

pub(super) async fn preview(call: Call) -> Outcome {
    let cluster = call.hinted_cluster()?;
    let runner = Runner { uid: NO_UID.into(), ..call.runner() };
    let no_primary = || Failure::new("the cluster has no primary");
    let found = preview::readiness(cluster, &call.fleet, &runner, call.now);
    let readiness = found.ok_or_else(no_primary)?;
    let found = occasions(cluster, &call.fleet, &runner, call.now);
    let policy = &call.fleet.policy.hooks;
    let lists: Vec<ListJson> = found
        .ok_or_else(no_primary)?
        .iter()
        .map(|occasion| list(&call, policy, occasion))
        .collect();
    let text = text(&readiness, &lists);
    let Readiness { primary, successor, obstacles, held_back_by, .. } = readiness;
    let preview = HooksPreviewJson {
        failed_key: (&primary).into(),
        successor_key: successor.as_ref().map(KeyJson::from),
        obstacles,
        held_back_by,
        shell: policy.shell.clone(),
        timeout_seconds: policy.timeout.as_secs(),
        lists,
    };
    Reply::ok(&text, preview)
}

fn list(call: &Call, policy: &HookPolicy, occasion: &Occasion) -> ListJson {
    let Occasion { list, recovery } = occasion;
    let context = hook_context(recovery, &call.fleet);
    let hook = |HookCommand { text, shown, waits }| HookJson {
        shown,
        script: text,
        in_background: waits == Waits::Background,
    };
    ListJson {
        list: policy.lists.get(list).map(|it| it.name.clone()).unwrap_or_default(),
        when: when(*list),
        aborts: list.on_failure() == OnFailure::Abort,
        hooks: policy.prepare(*list, &context).into_iter().map(hook).collect(),
        environment: environment(&context).into_iter().collect(),
        input: serde_json::to_value(&context).unwrap_or_default(),
    }
}

fn when(list: HookList) -> &'static str {
    match list {
        HookList::FailureDetection => "when the failure is detected",
        HookList::PreFailover => "before the recovery changes anything",
        HookList::PostPrimaryFailover => "once the successor accepts writes",
        HookList::PostIntermediateFailover => "after an intermediate source was replaced",
        HookList::PostFailover => "at the end, if there is a successor",
        HookList::PostUnsuccessfulFailover => "at the end, if there is none",
        HookList::PreGracefulTakeover => "only before a planned takeover",
        HookList::PostGracefulTakeover => "only at the end of a planned takeover",
        HookList::PostTakePrimary => "after take-master",
    }
}

/// The same for people.
fn text(readiness: &Readiness, lists: &[ListJson]) -> String {
    let Readiness { primary, successor, obstacles, held_back_by, .. } = readiness;
    let mut text = match successor {
        Some(successor) => format!("If {primary} died now, {successor} would take its place.\n"),
        None => format!("If {primary} died now, nobody could take its place.\n"),
    };
    let reasons = obstacles.iter().chain(held_back_by);
    reasons.for_each(|reason| push(&mut text, "  but: ", reason));
    for list in lists {
        let aborts = if list.aborts { "; stops there if one fails" } else { "" };
        push(&mut text, "\n", &format!("{} ({}{aborts})", list.list, list.when));
        if list.hooks.is_empty() {
            push(&mut text, "  ", "no hooks");
        }
        for (number, hook) in list.hooks.iter().enumerate() {
            let aside = if hook.in_background { " &" } else { "" };
            push(&mut text, &format!("  {}. ", number + 1), &format!("{}{aside}", hook.shown));
            if hook.script != hook.shown {
                hook.script.lines().for_each(|line| push(&mut text, "     | ", line));
            }
        }
    }
    let mut before: Option<&ListJson> = None;
    for list in lists.iter().filter(|list| !list.hooks.is_empty()) {
        let changed = |(name, value): &(&String, &String)| {
            before.is_none_or(|before| before.environment.get(*name) != Some(*value))
        };
        let heading = match before {
            None => format!("Variables of {}:", list.list),
            Some(before) => format!("Variables of {}, unlike {}:", list.list, before.list),
        };
        push(&mut text, "\n", &heading);
        let variables = list.environment.iter().filter(changed);
        variables.for_each(|(name, value)| push(&mut text, "  ", &format!("{name}={value}")));
        let gone = before.into_iter().flat_map(|before| before.environment.keys());
        let gone = gone.filter(|name| !list.environment.contains_key(*name));
        gone.for_each(|name| push(&mut text, "  ", &format!("{name} is not set")));
        before = Some(list);
    }
    text
}

/// Adds a line. What servers call themselves does not get to steer a terminal.
fn push(text: &mut String, indent: &str, line: &str) {
    text.push_str(indent);
    for shown in line.chars() {
        if shown.is_control() && shown != '\t' {
            // Writing to a text cannot fail.
            let _ = write!(text, "{}", shown.escape_default());
        } else {
            text.push(shown);
        }
    }
    text.push('\n');
}
