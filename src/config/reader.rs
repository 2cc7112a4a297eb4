//! Typed access to merged values: defaults, synonyms, `${VARIABLE}`, patterns. Collects what is wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use baton_topology::pattern;
use regex::Regex;

use super::keys::{self, Status};
use super::values::{Origin, Secret, Setting};
use super::{ConfigError, Warning};

/// The passwords that are empty when the variable they are to come from is not set.
const EMPTY_WHEN_UNSET: [&str; 2] = ["MySQLTopologyPassword", "MySQLOrchestratorPassword"];

type Settings = BTreeMap<&'static str, (Setting, Origin)>;

pub(super) struct Reader<'a> {
    settings: Settings,
    pub(super) env: &'a BTreeMap<String, String>,
    warnings: Vec<Warning>,
    errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        given: Settings,
        env: &'a BTreeMap<String, String>,
        warnings: Vec<Warning>,
    ) -> Self {
        let mut reader = Self { settings: given, env, warnings, errors: Vec::new() };
        reader.resolve_synonyms();
        reader.expand_secrets();
        for key in keys::all().filter(|key| matches!(key.status, Status::Used(_))) {
            if let Some(default) = Setting::from_text(key.kind, key.default) {
                reader.settings.entry(key.name).or_insert((default, Origin::Default));
            }
        }
        reader
    }

    pub(super) fn finish(self) -> (Settings, Vec<Warning>, Vec<ConfigError>) {
        (self.settings, self.warnings, self.errors)
    }

    fn resolve_synonyms(&mut self) {
        for key in keys::all() {
            let Status::SynonymOf(name) = key.status else { continue };
            let Some((old, origin)) = self.settings.remove(key.name) else { continue };
            let merged = match (self.settings.get(name), old) {
                (None, old) => old,
                // As orchestrator has it: either name switches it on.
                (Some((Setting::Bool(new), _)), Setting::Bool(old)) => Setting::Bool(*new || old),
                (Some((new, _)), old) if *new == old => old,
                (Some(_), _) => {
                    let reason = format!("contradicts {name}, of which it is the old name");
                    self.errors.push(ConfigError::Invalid { from: origin, key: key.name, reason });
                    continue;
                }
            };
            self.settings.insert(name, (merged, origin));
        }
    }

    fn expand_secrets(&mut self) {
        for (key, (setting, origin)) in &mut self.settings {
            let Setting::Secret(secret) = setting else { continue };
            let text = secret.reveal();
            let Some(name) = text.strip_prefix("${").and_then(|t| t.strip_suffix('}')) else {
                continue;
            };
            match self.env.get(name) {
                Some(value) => *setting = Setting::Secret(Secret::new(value.clone())),
                // As orchestrator has it; who may use the API is never left to an empty text.
                None if EMPTY_WHEN_UNSET.contains(key) => {
                    self.warnings.push(Warning::Notice(format!(
                        "{origin}: {key}: the environment variable {name} is not set; it is empty"
                    )));
                    *setting = Setting::Secret(Secret::default());
                }
                None => self.errors.push(ConfigError::Invalid {
                    from: origin.clone(),
                    key,
                    reason: format!("the environment variable {name} is not set"),
                }),
            }
        }
    }

    pub(super) fn is_given(&self, key: &str) -> bool {
        self.settings.get(key).is_some_and(|(_, origin)| *origin != Origin::Default)
    }

    /// Whether a file says something of it. A variable that is empty says nothing.
    pub(super) fn is_in_file(&self, key: &str) -> bool {
        self.settings.get(key).is_some_and(|(_, origin)| matches!(origin, Origin::File(_)))
    }

    pub(super) fn invalid(&mut self, key: &'static str, reason: impl Into<String>) {
        let from = self.settings.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
        self.errors.push(ConfigError::Invalid { from, key, reason: reason.into() });
    }

    pub(super) fn notice(&mut self, text: impl Into<String>) {
        self.warnings.push(Warning::Notice(text.into()));
    }

    fn get(&self, key: &str) -> Option<&Setting> {
        let found = self.settings.get(key).map(|(setting, _)| setting);
        debug_assert!(found.is_some(), "{key} is not in the table of keys");
        found
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Setting::Bool(true)))
    }

    pub(super) fn uint(&self, key: &str) -> u64 {
        match self.get(key) {
            Some(Setting::Uint(number)) => *number,
            _ => 0,
        }
    }

    pub(super) fn float(&self, key: &str) -> f64 {
        match self.get(key) {
            Some(Setting::Float(number)) => *number,
            _ => 0.0,
        }
    }

    pub(super) fn port(&mut self, key: &'static str) -> u16 {
        match u16::try_from(self.uint(key)) {
            Ok(port) if port > 0 => port,
            _ => {
                self.invalid(key, "is not a port (1 to 65535)");
                0
            }
        }
    }

    pub(super) fn text(&self, key: &str) -> String {
        match self.get(key) {
            Some(Setting::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    pub(super) fn some_text(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.some_text(key).map(PathBuf::from)
    }

    pub(super) fn secret(&self, key: &str) -> Secret {
        match self.get(key) {
            Some(Setting::Secret(secret)) => secret.clone(),
            _ => Secret::default(),
        }
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            Some(Setting::List(items)) => items.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn map(&self, key: &str) -> BTreeMap<String, String> {
        match self.get(key) {
            Some(Setting::Map(map)) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    pub(super) fn seconds(&self, key: &str) -> Duration {
        Duration::from_secs(self.uint(key))
    }

    pub(super) fn minutes(&self, key: &str) -> Duration {
        Duration::from_secs(self.uint(key) * 60)
    }

    pub(super) fn hours(&self, key: &str) -> Duration {
        Duration::from_secs(self.uint(key) * 3600)
    }

    /// A deadline: zero meant "none" to orchestrator, and baton has none without end.
    pub(super) fn deadline(&mut self, key: &'static str, when_zero: Duration) -> Duration {
        let given = self.seconds(key);
        if given.is_zero() {
            let seconds = when_zero.as_secs();
            self.notice(format!("{key}: 0 would wait forever, {seconds} s is used"));
            return when_zero;
        }
        given
    }

    pub(super) fn pattern(&mut self, key: &'static str) -> Option<Regex> {
        let text = self.some_text(key)?;
        self.compile(key, &text)
    }

    pub(super) fn patterns(&mut self, key: &'static str) -> Vec<Regex> {
        let texts = self.list(key);
        texts.iter().filter_map(|text| self.compile(key, text)).collect()
    }

    /// A pattern in the syntax people wrote it in. What was none to orchestrator it left out, and so
    /// is it here.
    pub(super) fn compile(&mut self, key: &'static str, text: &str) -> Option<Regex> {
        match pattern::compile(text) {
            Ok(pattern) => {
                let read = pattern::translated(text);
                if read != text {
                    self.notice(format!("{key}: {text:?} is read as {:?}", &*read));
                }
                Some(pattern)
            }
            Err(_) => {
                self.notice(format!(
                    "{key}: {text:?} is not a regular expression (there are no look-arounds and no \
                     references to groups) and is ignored, as orchestrator did"
                ));
                None
            }
        }
    }

    /// One of `choices`, by name; any other word means `otherwise`, and somebody should know.
    pub(super) fn lenient_choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        (named, otherwise): (&str, T),
    ) -> T {
        let text = self.text(key);
        let word = text.trim().to_ascii_lowercase();
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word) {
            return *value;
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        let names = names.join(", ");
        self.notice(format!("{key}: {text:?} is none of {names}; {named} is used"));
        otherwise
    }

    /// One of `choices`, by name; the first when the value is none of them, which is an error.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> T {
        let text = self.text(key).to_ascii_lowercase();
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return *value;
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        self.invalid(key, format!("{text:?} is none of {}", names.join(", ")));
        choices[0].1
    }
}
