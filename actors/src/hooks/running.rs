//! Which hooks run, since when, and how a person ends one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::HookLabel;

/// A hook that runs.
#[derive(Debug, Clone)]
pub struct RunningHook {
    /// Its number, by which it can be ended.
    pub id: u64,
    /// Which.
    pub label: HookLabel,
    /// Its command, as people read it.
    pub command: String,
    /// What it is told of.
    pub about: String,
    /// For how long it has been running.
    pub elapsed: Duration,
    /// How long it may.
    pub timeout: Duration,
}

/// All that run. Clones are one register.
#[derive(Debug, Clone, Default)]
pub(super) struct Register(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    running: BTreeMap<u64, (RunningHook, Instant, Arc<Notify>)>,
}

impl Register {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a hook, until the entry is dropped.
    pub(super) fn enter(
        &self,
        label: &HookLabel,
        command: &str,
        about: String,
        timeout: Duration,
    ) -> Entry {
        let mut entries = self.lock();
        // Numbers of other nodes are others: who ends one ends no other by mistake.
        let own = u64::from(std::process::id()) << 20;
        entries.last = entries.last.max(own) + 1;
        let id = entries.last;
        let (label, command) = (label.clone(), command.to_owned());
        let hook = RunningHook { id, label, command, about, elapsed: Duration::ZERO, timeout };
        let end = Arc::new(Notify::new());
        entries.running.insert(id, (hook, Instant::now(), Arc::clone(&end)));
        drop(entries);
        Entry { register: self.clone(), id, end }
    }

    pub(super) fn list(&self) -> Vec<RunningHook> {
        let entries = self.lock();
        let shown = entries.running.values().map(|(hook, since, _)| shown(hook, *since));
        shown.collect()
    }

    pub(super) fn end(&self, id: u64) -> Option<RunningHook> {
        let entries = self.lock();
        let (hook, since, end) = entries.running.get(&id)?;
        // Kept for one that is just about to wait for it.
        end.notify_one();
        Some(shown(hook, *since))
    }
}

fn shown(hook: &RunningHook, since: Instant) -> RunningHook {
    RunningHook { elapsed: since.elapsed(), ..hook.clone() }
}

/// One hook in the register.
#[derive(Debug)]
pub(super) struct Entry {
    register: Register,
    id: u64,
    end: Arc<Notify>,
}

impl Entry {
    /// Comes about when a person ends the hook.
    pub(super) fn ended(&self) -> Arc<Notify> {
        Arc::clone(&self.end)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.register.lock().running.remove(&self.id);
    }
}
