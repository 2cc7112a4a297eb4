//! What user processes around recoveries are told, and which of them run when.
//!
//! Placeholders (`{failedHost}`) and variables (`ORC_FAILED_HOST`) are an interface to scripts that
//! people wrote for orchestrator: the names in the table of facts never change. How a configured
//! text becomes one that a shell may run without trusting what servers say is decided in
//! `hooks/shell.rs`. Starting processes is left to the actors.

mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::binlog::BinlogCoordinates;
use crate::key::InstanceKey;

/// When hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookList {
    /// A failure was detected, whether or not it is recovered from.
    FailureDetection,
    /// Before a planned takeover, while the primary is still writable.
    PreGracefulTakeover,
    /// Before a recovery changes anything.
    PreFailover,
    /// A primary, or one of two co-primaries, was replaced.
    PostPrimaryFailover,
    /// An intermediate source, or a member of a group, was replaced.
    PostIntermediateFailover,
    /// Any recovery succeeded.
    PostFailover,
    /// A recovery was tried and has no successor.
    PostUnsuccessfulFailover,
    /// A planned takeover is over.
    PostGracefulTakeover,
    /// A replica took the place of its source by a person's command.
    PostTakePrimary,
}

/// What a hook that failed means to what it runs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The rest of the list does not run, and what was about to happen does not happen.
    Abort,
    /// It is reported, and everything goes on.
    Continue,
}

impl HookList {
    /// What a failed hook of this list means.
    pub fn on_failure(self) -> OnFailure {
        match self {
            Self::FailureDetection | Self::PreGracefulTakeover | Self::PreFailover => {
                OnFailure::Abort
            }
            Self::PostPrimaryFailover
            | Self::PostIntermediateFailover
            | Self::PostFailover
            | Self::PostUnsuccessfulFailover
            | Self::PostGracefulTakeover
            | Self::PostTakePrimary => OnFailure::Continue,
        }
    }
}

/// The commands a site has configured for one list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HookCommands {
    /// What the list is called in the configuration and in audits.
    pub name: String,
    /// The commands, in the order they run.
    pub commands: Vec<String>,
}

/// How values replace placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlaceholderStyle {
    /// So that a shell takes each value as text, whatever is in it.
    #[default]
    Quoted,
    /// As they are: what a server calls itself is run by the shell.
    Verbatim,
}

/// The hooks in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookPolicy {
    /// The program that runs a file of commands.
    pub shell: String,
    /// How long one hook may take.
    pub timeout: Duration,
    /// How long one may take that is told of a failure: it prepares nothing that is waited for.
    pub detection_timeout: Duration,
    /// How values replace placeholders.
    pub placeholders: PlaceholderStyle,
    /// What runs; a list that is missing is empty.
    pub lists: BTreeMap<HookList, HookCommands>,
}

impl Default for HookPolicy {
    fn default() -> Self {
        Self {
            shell: "bash".into(),
            timeout: Duration::from_secs(24 * 60 * 60),
            detection_timeout: Duration::from_secs(60),
            placeholders: PlaceholderStyle::default(),
            lists: BTreeMap::new(),
        }
    }
}

impl HookPolicy {
    /// How long one hook of a list may take.
    pub fn timeout_of(&self, list: HookList) -> Duration {
        match list {
            HookList::FailureDetection => self.timeout.min(self.detection_timeout),
            _ => self.timeout,
        }
    }

    /// Every hook of `list` as it would run, in order.
    pub fn prepare(&self, list: HookList, context: &HookContext) -> Vec<HookCommand> {
        let commands = self.lists.get(&list).map_or(&[][..], |list| &list.commands);
        commands.iter().map(|text| prepare(text, context, self.placeholders)).collect()
    }
}

/// What a hook is told. Serialises to what it finds on its standard input.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum HookContext {
    /// A failure, and what became of it so far.
    Recovery(Box<RecoveryFacts>),
    /// For [`HookList::PostTakePrimary`]: who took whose place.
    TakePrimary {
        /// Who is above now.
        successor: InstanceKey,
        /// Who was.
        demoted: InstanceKey,
    },
}

/// A failure, and what became of it so far.
///
/// Types of failures and instances are texts, because scripts know them by old names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecoveryFacts {
    /// What happened, as the old interface names it.
    pub failure_type: String,
    /// The role of the failed instance, as the old interface names it.
    pub instance_type: String,
    /// It was a primary.
    pub is_primary: bool,
    /// It was one of two primaries.
    pub is_co_primary: bool,
    /// What happened, in words.
    pub description: String,
    /// The person's command that started this, or nothing.
    pub command: String,
    /// The failed instance.
    pub failed: InstanceKey,
    /// Name of its cluster.
    pub cluster_name: String,
    /// Alias of its cluster.
    pub cluster_alias: String,
    /// Domain of its cluster.
    pub cluster_domain: String,
    /// How many replicas it had.
    pub replica_count: usize,
    /// It was in downtime.
    pub is_downtimed: bool,
    /// Dead primaries of this cluster are failed over automatically.
    pub auto_recover_primary: bool,
    /// Dead intermediate sources of this cluster are recovered automatically.
    pub auto_recover_intermediate: bool,
    /// The node of baton that says so.
    pub node_name: String,
    /// Identifier of the recovery.
    pub recovery_uid: String,
    /// Whether the recovery has succeeded.
    pub is_successful: bool,
    /// Replicas that could not be brought along.
    pub lost_replicas: Vec<InstanceKey>,
    /// How many transactions are known to be lost; 0 where the number cannot be told.
    pub lost_transaction_count: u64,
    /// Which those are; empty when none are known to be lost.
    pub lost_transactions: String,
    /// The failed instance answered when it was made read-only.
    pub is_fenced: bool,
    /// Replicas of the failed instance.
    pub replicas: Vec<InstanceKey>,
    /// Who stands in for the failed instance, once that is known.
    pub successor: Option<Successor>,
}

/// Who stands in for a failed instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Successor {
    /// The instance.
    pub key: InstanceKey,
    /// Where its own binary log stood when it was promoted.
    pub coordinates: BinlogCoordinates,
    /// Its alias.
    pub alias: String,
}

/// One fact under the names that scripts know it by.
struct Fact {
    placeholders: &'static [&'static str],
    variable: &'static str,
    /// `None` where there is no such fact, such as a successor that is not known yet.
    value: fn(&RecoveryFacts) -> Option<String>,
}

const fn fact(
    placeholders: &'static [&'static str],
    variable: &'static str,
    value: fn(&RecoveryFacts) -> Option<String>,
) -> Fact {
    Fact { placeholders, variable, value }
}

/// The interface to scripts.
const FACTS: [Fact; 28] = [
    fact(&["failureType"], "ORC_FAILURE_TYPE", |f| Some(f.failure_type.clone())),
    fact(&["instanceType"], "ORC_INSTANCE_TYPE", |f| Some(f.instance_type.clone())),
    fact(&["isMaster"], "ORC_IS_MASTER", |f| Some(f.is_primary.to_string())),
    fact(&["isCoMaster"], "ORC_IS_CO_MASTER", |f| Some(f.is_co_primary.to_string())),
    fact(&["failureDescription"], "ORC_FAILURE_DESCRIPTION", |f| Some(f.description.clone())),
    fact(&["command"], "ORC_COMMAND", |f| Some(f.command.clone())),
    fact(&["failedHost"], "ORC_FAILED_HOST", |f| Some(f.failed.host().to_owned())),
    fact(&["failedPort"], "ORC_FAILED_PORT", |f| Some(f.failed.port().to_string())),
    fact(&["failureCluster"], "ORC_FAILURE_CLUSTER", |f| Some(f.cluster_name.clone())),
    fact(&["failureClusterAlias"], "ORC_FAILURE_CLUSTER_ALIAS", |f| Some(f.cluster_alias.clone())),
    fact(&["failureClusterDomain"], "ORC_FAILURE_CLUSTER_DOMAIN", |f| {
        Some(f.cluster_domain.clone())
    }),
    fact(&["countReplicas", "countSlaves"], "ORC_COUNT_REPLICAS", |f| {
        Some(f.replica_count.to_string())
    }),
    fact(&["isDowntimed"], "ORC_IS_DOWNTIMED", |f| Some(f.is_downtimed.to_string())),
    fact(&["autoMasterRecovery"], "ORC_AUTO_MASTER_RECOVERY", |f| {
        Some(f.auto_recover_primary.to_string())
    }),
    fact(&["autoIntermediateMasterRecovery"], "ORC_AUTO_INTERMEDIATE_MASTER_RECOVERY", |f| {
        Some(f.auto_recover_intermediate.to_string())
    }),
    fact(&["orchestratorHost"], "ORC_ORCHESTRATOR_HOST", |f| Some(f.node_name.clone())),
    fact(&["recoveryUID"], "ORC_RECOVERY_UID", |f| Some(f.recovery_uid.clone())),
    fact(&["isSuccessful"], "ORC_IS_SUCCESSFUL", |f| Some(f.is_successful.to_string())),
    fact(&["lostReplicas", "lostSlaves"], "ORC_LOST_REPLICAS", |f| Some(joined(&f.lost_replicas))),
    fact(&["countLostReplicas"], "ORC_COUNT_LOST_REPLICAS", |f| {
        Some(f.lost_replicas.len().to_string())
    }),
    fact(&["lostTransactions"], "ORC_LOST_TRANSACTIONS", |f| Some(f.lost_transactions.clone())),
    fact(&["countLostTransactions"], "ORC_COUNT_LOST_TRANSACTIONS", |f| {
        Some(f.lost_transaction_count.to_string())
    }),
    fact(&["isFenced"], "ORC_IS_FENCED", |f| Some(f.is_fenced.to_string())),
    fact(&["replicaHosts", "slaveHosts"], "ORC_REPLICA_HOSTS", |f| Some(joined(&f.replicas))),
    fact(&["successorHost"], "ORC_SUCCESSOR_HOST", |f| {
        f.successor.as_ref().map(|s| s.key.host().to_owned())
    }),
    fact(&["successorPort"], "ORC_SUCCESSOR_PORT", |f| {
        f.successor.as_ref().map(|s| s.key.port().to_string())
    }),
    fact(&["successorBinlogCoordinates"], "ORC_SUCCESSOR_BINLOG_COORDINATES", |f| {
        f.successor.as_ref().map(|s| s.coordinates.to_string())
    }),
    fact(&["successorAlias"], "ORC_SUCCESSOR_ALIAS", |f| {
        f.successor.as_ref().map(|s| s.alias.clone())
    }),
];

fn joined(keys: &[InstanceKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Neither a variable nor a shell can hold a NUL.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "") } else { text }
}

/// A value that may replace placeholders.
struct Value {
    placeholders: &'static [&'static str],
    variable: &'static str,
    text: String,
}

fn values(context: &HookContext) -> Vec<Value> {
    let HookContext::Recovery(facts) = context else { return Vec::new() };
    let value = |fact: &Fact| {
        let text = without_nul((fact.value)(facts)?);
        Some(Value { placeholders: fact.placeholders, variable: fact.variable, text })
    };
    FACTS.iter().filter_map(value).collect()
}

/// The variables a hook finds in its environment, besides those of baton itself.
pub fn environment(context: &HookContext) -> Vec<(String, String)> {
    match context {
        HookContext::Recovery(_) => values(context)
            .into_iter()
            .map(|value| (value.variable.to_owned(), value.text))
            .collect(),
        HookContext::TakePrimary { successor, demoted } => {
            [("ORC_SUCCESSOR_HOST", successor), ("ORC_FAILED_HOST", demoted)]
                .map(|(name, key)| (name.to_owned(), without_nul(key.to_string())))
                .into()
        }
    }
}

/// What a hook finds as `$1` and so on.
pub fn arguments(context: &HookContext) -> Vec<String> {
    match context {
        HookContext::Recovery(_) => Vec::new(),
        HookContext::TakePrimary { successor, demoted } => {
            [successor, demoted].map(|key| without_nul(key.to_string())).into()
        }
    }
}

/// Whether the next hook waits for this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// It does, and so does what comes after the list.
    ForEnd,
    /// It does not: the command ended in `&`.
    Background,
}

/// One hook as it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCommand {
    /// What the shell gets to read.
    pub text: String,
    /// The configured text with values in place of placeholders, for people. Never run this.
    pub shown: String,
    /// Whether anybody waits for it.
    pub waits: Waits,
}

/// Makes a configured text into what a shell may run.
///
/// Placeholders that are not known, or whose fact is not known, stay as they are.
pub fn prepare(template: &str, context: &HookContext, style: PlaceholderStyle) -> HookCommand {
    let trimmed = template.trim();
    let (command, waits) = match trimmed.strip_suffix('&') {
        Some(command) => (command.trim_end_matches('&').trim_end(), Waits::Background),
        None => (trimmed, Waits::ForEnd),
    };
    let values = values(context);
    let shown = shell::verbatim(command, &values);
    let text = match style {
        PlaceholderStyle::Quoted => shell::quoted(command, &values),
        PlaceholderStyle::Verbatim => shown.clone(),
    };
    HookCommand { text, shown, waits }
}
