//! One hook as a group of processes: started, fed, listened to, and killed when its time is up.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit};
use tempfile::TempPath;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::HookFailure;

/// How much of its output is kept: the last of it, where errors are.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;
/// From asking to end to being killed.
const KILL_AFTER: Duration = Duration::from_secs(1);
/// How long output is awaited that somebody else holds open after the hook itself is over.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);

/// All there is to know to start a hook.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) shell: String,
    pub(super) text: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) input: Vec<u8>,
    /// The soft limit on its open files.
    pub(super) descriptors: Option<u64>,
    pub(super) timeout: Duration,
}

/// Runs a hook; returns how it ended, and the last of its output.
pub(super) async fn run(
    launch: Launch,
    deadline: Instant,
    ended: Arc<Notify>,
) -> (Result<(), HookFailure>, String) {
    let output = Output::default();
    let result = run_into(&output, launch, deadline, &ended).await;
    (result, output.text())
}

async fn run_into(
    output: &Output,
    launch: Launch,
    deadline: Instant,
    by_hand: &Notify,
) -> Result<(), HookFailure> {
    let Launch { shell, text, arguments, environment, input, descriptors, timeout: allowed } =
        launch;
    let files = timeout_at(deadline, spawn_blocking(move || files(&text, &input)))
        .await
        .map_err(|_| HookFailure::Deadline(allowed))?;
    let (script, input) =
        files.map_err(io::Error::other).and_then(|files| files).map_err(HookFailure::Files)?;

    let start = |source| HookFailure::Start { shell: shell.clone(), source };
    let (reader, writer) = io::pipe().map_err(start)?;
    let reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(start)?;
    let mut command = Command::new(&shell);
    command
        .arg(script.as_os_str())
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(writer.try_clone().map_err(start)?))
        .stderr(Stdio::from(writer))
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(start)?;
    let mut group = Group::led_by(&child);
    group.limit(descriptors);
    // Our own ends of the pipe, without which its end would never be seen.
    drop(command);

    // What the hook left running may go on writing until the deadline; then nobody listens.
    let mut listening =
        tokio::spawn(timeout_at(deadline + KILL_AFTER, output.clone().read(reader)));
    let waited = tokio::select! {
        status = child.wait() => Ok(status),
        () = sleep_until(deadline) => Err(HookFailure::Deadline(allowed)),
        () = by_hand.notified() => Err(HookFailure::Ended),
    };
    let ended = match waited {
        Ok(Ok(status)) => {
            group.leave();
            meaning(status)
        }
        Ok(Err(source)) => Err(HookFailure::Unknown(source)),
        Err(why) => {
            group.end().await;
            // A process that hangs in the kernel dies later; nobody waits for that.
            let _ = timeout(KILL_AFTER, child.wait()).await;
            Err(why)
        }
    };
    let _ = timeout(OUTPUT_GRACE, &mut listening).await;
    ended
}

/// Writes the script, which is gone when its path is dropped, and the input, which has no name.
fn files(text: &str, input: &[u8]) -> io::Result<(TempPath, File)> {
    let mut script = tempfile::Builder::new().prefix("baton-hook-").tempfile()?;
    script.write_all(text.as_bytes())?;
    // A file and not a pipe, so that a hook that does not read it holds up nobody.
    let mut file = tempfile::tempfile()?;
    file.write_all(input)?;
    file.rewind()?;
    Ok((script.into_temp_path(), file))
}

fn meaning(status: ExitStatus) -> Result<(), HookFailure> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(HookFailure::Exit(code)),
        (None, signal) => Err(HookFailure::Signal(signal.unwrap_or_default())),
    }
}

/// The hook and what it started; killed when dropped, unless the hook has ended by itself.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn led_by(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Some programs cannot take more open files than the usual limit, which baton raised for itself.
    fn limit(&self, descriptors: Option<u64>) {
        if let (Some(leader), Some(current)) = (self.0, descriptors) {
            let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
            let limit = Rlimit { current: Some(current), maximum };
            // One that is over already needs no limit.
            let _ = prlimit(Some(leader), Resource::Nofile, limit);
        }
    }

    /// The leader has ended and was waited for: its id may soon be somebody else's.
    fn leave(&mut self) {
        self.0 = None;
    }

    /// Asks all to end and then kills them. The leader must not be waited for in between: as long
    /// as it is not, its id stays its own, and those that outlive it are killed too.
    async fn end(&mut self) {
        self.signal(Signal::TERM);
        sleep(KILL_AFTER).await;
        self.signal(Signal::KILL);
        self.leave();
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // Nobody being left is what is wanted.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The end of what a hook wrote.
#[derive(Debug, Clone, Default)]
struct Output(Arc<Mutex<Tail>>);

#[derive(Debug, Default)]
struct Tail {
    kept: Vec<u8>,
    dropped: usize,
}

impl Tail {
    /// Forgets all but the last [`OUTPUT_BYTES_MAX`] bytes.
    fn trim(&mut self) {
        let excess = self.kept.len().saturating_sub(OUTPUT_BYTES_MAX);
        self.kept.drain(..excess);
        self.dropped += excess;
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Tail> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(self, mut reader: pipe::Receiver) {
        let mut buffer = vec![0; OUTPUT_BYTES_MAX];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            let mut tail = self.lock();
            tail.kept.extend_from_slice(buffer.get(..length).unwrap_or_default());
            tail.trim();
        }
    }

    fn text(&self) -> String {
        let tail = self.lock();
        let kept = String::from_utf8_lossy(&tail.kept);
        match tail.dropped {
            0 => kept.into_owned(),
            dropped => format!("({dropped} bytes before this) {kept}"),
        }
    }
}
