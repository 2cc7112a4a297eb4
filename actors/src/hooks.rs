//! Runs the user processes around recoveries.
//!
//! Whether a hook has to run, and what its failure means, is decided in [`baton_topology::hooks`].
//! Here each becomes a process group of its own with a deadline: nothing a hook does, such as
//! hanging, filling its output or not reading its input, costs more than that (I12). Nothing
//! panics and nothing is lost: what cannot even be started is an outcome like any other.

mod process;
mod running;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use baton_topology::hooks::{
    HookCommand, HookContext, HookList, HookPolicy, OnFailure, Waits, arguments, environment,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use process::Launch;
use running::Register;
pub use running::RunningHook;

/// Hooks that run at the same time; more wait for a place, at most until their deadline.
pub const HOOKS_MAX: usize = 64;
/// What Linux lets one variable of an environment hold, with its name.
const VARIABLE_BYTES_MAX: usize = 128 * 1024;
/// Variables that every process has, and that hold no secrets.
const COMMON: [&str; 8] = ["HOME", "HOSTNAME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "USER"];
/// The longest a hook waits for a place: those that hold one may do so for a day.
const PLACE_WITHIN: Duration = Duration::from_secs(60);

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookFailure {
    /// Its text or its input could not be written down.
    #[error("cannot write the files for it")]
    Files(#[source] io::Error),
    /// The shell did not start.
    #[error("cannot start {shell}")]
    Start {
        /// The program.
        shell: String,
        /// Why.
        source: io::Error,
    },
    /// How it ended cannot be told.
    #[error("cannot learn how it ended")]
    Unknown(#[source] io::Error),
    /// It says so.
    #[error("exit status {0}")]
    Exit(i32),
    /// Somebody killed it.
    #[error("killed by signal {0}")]
    Signal(i32),
    /// It and all it started were killed.
    #[error("still running after {0:?}, and killed for that")]
    Deadline(Duration),
    /// A person had it killed.
    #[error("ended by a person")]
    Ended,
    /// It never began.
    #[error("{HOOKS_MAX} others were running for all of {0:?}")]
    Crowded(Duration),
}

/// Names one hook in audits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookLabel {
    /// The list, as the configuration calls it.
    pub list: String,
    /// Which one, counted from one.
    pub number: usize,
    /// Of how many.
    pub of: usize,
    /// Whether anybody waits for it.
    pub waits: Waits,
}

impl fmt::Display for HookLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hook {} of {}", self.list, self.number, self.of)?;
        match self.waits {
            Waits::ForEnd => Ok(()),
            Waits::Background => write!(f, " (in the background)"),
        }
    }
}

/// What became of one hook. Displays without its command and what it wrote.
#[derive(Debug)]
pub struct HookOutcome {
    /// Which.
    pub label: HookLabel,
    /// Its command, as people read it.
    pub command: String,
    /// How long it took, waiting for a place included.
    pub elapsed: Duration,
    /// How it ended.
    pub result: Result<(), HookFailure>,
    /// The last it said, on standard output and standard error.
    pub output: String,
}

impl fmt::Display for HookOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(()) => write!(f, "Completed {} in {:.1?}", self.label, self.elapsed)?,
            Err(failure) => {
                write!(f, "{} failed after {:.1?}: {failure}", self.label, self.elapsed)?;
                if let Some(source) = std::error::Error::source(failure) {
                    write!(f, ": {source}")?;
                }
            }
        }
        Ok(())
    }
}

/// A line about a hook, in two parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HookLine {
    /// What everybody may read.
    pub text: String,
    /// How it goes on for those who may change something: what the hook is, and what it wrote, may hold
    /// secrets.
    pub for_writers: String,
}

/// What happens while a list runs. Displays as a line for the log of this node.
#[derive(Debug, Clone, Copy)]
pub enum HookEvent<'a> {
    /// A hook begins.
    Started {
        /// Which.
        label: &'a HookLabel,
        /// Its command, as people read it.
        command: &'a str,
    },
    /// A hook is over; one in the background perhaps long after its list.
    Ended(&'a HookOutcome),
    /// A hook failed, and the rest of its list does not run.
    Aborted {
        /// The list, as the configuration calls it.
        list: &'a str,
        /// How many do not run.
        left: usize,
    },
}

impl HookEvent<'_> {
    /// It as a line that others read than those who read the log of this node.
    pub fn line(&self) -> HookLine {
        let (text, for_writers) = match self {
            Self::Started { label, command } => {
                (format!("Running {label}"), format!(": {command}"))
            }
            Self::Ended(outcome) => match outcome.output.trim_end() {
                "" => (outcome.to_string(), String::new()),
                output => (outcome.to_string(), format!("; output: {output}")),
            },
            Self::Aborted { list, left } => {
                (format!("Not running further {list} hooks ({left} left)"), String::new())
            }
        };
        HookLine { text, for_writers }
    }
}

impl fmt::Display for HookEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HookLine { text, for_writers } = self.line();
        write!(f, "{text}{for_writers}")
    }
}

/// Who is told what happens. It is called on the runtime's threads and must not block.
pub type HookListener = Arc<dyn Fn(HookEvent<'_>) + Send + Sync>;

/// What became of a list.
#[derive(Debug)]
pub struct HookReport {
    /// The hooks that were waited for, in order.
    pub outcomes: Vec<HookOutcome>,
    /// What was about to happen must not: a hook failed in a list where that counts.
    pub aborted: bool,
}

impl HookReport {
    /// The first hook that failed.
    pub fn first_failure(&self) -> Option<&HookOutcome> {
        self.outcomes.iter().find(|outcome| outcome.result.is_err())
    }
}

/// Runs hooks. Clones share the limit on hooks that run at the same time.
#[derive(Debug, Clone)]
pub struct HookRunner {
    inherited: Arc<[(OsString, OsString)]>,
    /// The soft limit on their open files; that of this process if it is not said.
    descriptors: Option<u64>,
    places: Arc<Semaphore>,
    /// Places of their own for those that something waits for before it is done.
    gates: Arc<Semaphore>,
    /// Places of their own for those that are told of a failure, which may be many at once.
    notices: Arc<Semaphore>,
    register: Register,
}

impl HookRunner {
    /// A runner whose hooks inherit the environment of this process.
    pub fn of_process() -> Self {
        Self::new(std::env::vars_os())
    }

    /// A runner whose hooks inherit `environment`, but not the secrets of baton in it.
    pub fn new(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let inherited = environment.into_iter().filter(|(name, _)| !is_secret(name)).collect();
        let [places, gates, notices] = [(); 3].map(|()| Arc::new(Semaphore::new(HOOKS_MAX)));
        let register = Register::default();
        Self { inherited, descriptors: None, places, gates, notices, register }
    }

    /// The same, but its hooks inherit no variable that holds one of these secrets, whatever the
    /// variable is called: as all of its value, or as the password in an address or a list of settings.
    /// A secret may also be a common word, so those every process has stay, and other values that
    /// contain it do.
    #[must_use]
    pub fn without(mut self, secrets: &[&str]) -> Self {
        let is_told = |(name, value): &&(OsString, OsString)| {
            let value = value.to_string_lossy();
            let is_common = COMMON.iter().any(|it| name == it);
            let is_told = is_common || !secrets.iter().any(|secret| holds(&value, secret));
            if !is_told {
                tracing::info!(
                    ?name,
                    "hooks do not get this variable: it holds a secret of baton's"
                );
            }
            is_told
        };
        self.inherited = self.inherited.iter().filter(is_told).cloned().collect();
        self
    }

    /// The same, but its hooks may have so many files open, and raise that themselves.
    #[must_use]
    pub fn with_descriptors(mut self, soft_limit: Option<u64>) -> Self {
        self.descriptors = soft_limit;
        self
    }

    /// What runs now, the oldest first.
    pub fn running(&self) -> Vec<RunningHook> {
        self.register.list()
    }

    /// Has a hook killed, with all it started; tells which, if it runs.
    pub fn end(&self, id: u64) -> Option<RunningHook> {
        self.register.end(id)
    }

    /// Runs `list`, one hook after the other; returns when those that are waited for are over.
    ///
    /// Dropping the future kills the hook that is running.
    pub async fn run_list(
        &self,
        list: HookList,
        context: &HookContext,
        policy: &HookPolicy,
        listener: &HookListener,
    ) -> HookReport {
        let mut report = HookReport { outcomes: Vec::new(), aborted: false };
        let Some(configured) = policy.lists.get(&list) else { return report };
        let commands = policy.prepare(list, context);
        let of = commands.len();
        for (index, command) in commands.into_iter().enumerate() {
            let number = index + 1;
            let HookCommand { text, shown, waits } = command;
            let label = HookLabel { list: configured.name.clone(), number, of, waits };
            let launch = self.launch(text, context, policy, list);
            let about = about(context);
            let run = run(label, shown, about, launch, self.for_list(list), Arc::clone(listener));
            if waits == Waits::Background {
                tokio::spawn(run);
                continue;
            }
            let outcome = run.await;
            let failed = outcome.result.is_err();
            report.outcomes.push(outcome);
            if failed && list.on_failure() == OnFailure::Abort {
                report.aborted = true;
                if number < of {
                    listener(HookEvent::Aborted { list: &configured.name, left: of - number });
                }
                break;
            }
        }
        report
    }

    fn launch(
        &self,
        text: String,
        context: &HookContext,
        policy: &HookPolicy,
        list: HookList,
    ) -> Launch {
        let told =
            environment(context).into_iter().map(|(name, value)| (name.into(), value.into()));
        let environment = self.inherited.iter().cloned().chain(told).filter(fits).collect();
        Launch {
            shell: policy.shell.clone(),
            text,
            arguments: arguments(context),
            environment,
            // Texts and numbers always serialise; if not, a hook without input is better than none.
            input: serde_json::to_vec(context).unwrap_or_default(),
            descriptors: self.descriptors,
            timeout: policy.timeout_of(list),
        }
    }

    /// The same, with the places that hooks of this list wait for.
    fn for_list(&self, list: HookList) -> Self {
        let places = match list {
            HookList::PreFailover | HookList::PreGracefulTakeover => &self.gates,
            HookList::FailureDetection => &self.notices,
            _ => &self.places,
        };
        Self { places: Arc::clone(places), ..self.clone() }
    }
}

/// Runs one hook from its announcement to its outcome.
async fn run(
    label: HookLabel,
    command: String,
    about: String,
    launch: Launch,
    runner: HookRunner,
    listener: HookListener,
) -> HookOutcome {
    listener(HookEvent::Started { label: &label, command: &command });
    let started = Instant::now();
    let deadline = started + launch.timeout;
    let patience = launch.timeout.min(PLACE_WITHIN);
    let (result, output) = match timeout_at(started + patience, runner.places.acquire()).await {
        Ok(_place) => {
            let entry = runner.register.enter(&label, &command, about, launch.timeout);
            process::run(launch, deadline, entry.ended()).await
        }
        Err(_) => (Err(HookFailure::Crowded(patience)), String::new()),
    };
    let outcome = HookOutcome { label, command, elapsed: started.elapsed(), result, output };
    listener(HookEvent::Ended(&outcome));
    outcome
}

/// What a hook is told of, for people.
fn about(context: &HookContext) -> String {
    match context {
        HookContext::Recovery(facts) => {
            format!("{} of {}, recovery {}", facts.failure_type, facts.failed, facts.recovery_uid)
        }
        HookContext::TakePrimary { successor, demoted } => {
            format!("{successor} took the place of {demoted}")
        }
    }
}

/// Whether a value is a secret, or has it as `user:secret@host` or `password=secret`.
fn holds(value: &str, secret: &str) -> bool {
    let is_setting = |part: &str| part.strip_suffix(secret).is_some_and(|it| it.ends_with('='));
    !secret.is_empty()
        && (value == secret
            || value.contains(&format!(":{secret}@"))
            || value.split([' ', '\n', ';', '&', ',']).any(is_setting))
}

/// Whether `name` is a variable that baton itself takes a secret from.
fn is_secret(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let Some(key) = name.strip_prefix("BATON_") else { return false };
    // Keys are found whatever their case and underscores.
    let key = key.replace('_', "").to_ascii_uppercase();
    ["PASSWORD", "TOKEN", "SECRET"].iter().any(|secret| key.contains(secret))
}

/// One variable that is too long would keep the hook from starting; its value is in the input too.
fn fits((name, value): &(OsString, OsString)) -> bool {
    name.len() + value.len() + "=\0".len() <= VARIABLE_BYTES_MAX
}
