//! From files and environment to a validated [`Config`].
//!
//! This is the only place that knows orchestrator's configuration keys. It decides what a key means
//! and what is refused; it opens nothing but the configuration's own files, and never half-applies:
//! a reload is the same [`load`] again, whose error leaves the old configuration in place.

mod build;
mod cnf;
mod doc;
mod files;
mod json;
pub mod keys;
mod layers;
mod raft;
mod reader;
mod types;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use doc::reference;
pub use files::{ReadFile, SEARCH_PATH, read_trusted, state_folder};
pub use types::*;
pub use values::{Origin, Secret};

use keys::{Applies, Status};
use values::Setting;

/// Where the configuration is looked for.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Only this file, which must exist; `None` follows the search path.
    pub explicit_file: Option<PathBuf>,
    /// A file laid over all others, which must exist.
    pub extra_file: Option<PathBuf>,
    /// The environment.
    pub env: BTreeMap<String, String>,
}

impl Sources {
    /// The search path, or `explicit_file`, and the environment of this process.
    pub fn of_process(explicit_file: Option<PathBuf>) -> Self {
        // Variables that are not Unicode cannot be ours.
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { explicit_file, extra_file: None, env }
    }
}

/// What was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
    /// The files that were read, each over the ones before it.
    pub files: Vec<PathBuf>,
    settings: BTreeMap<&'static str, (Setting, Origin)>,
}

/// One key as it is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveKey {
    /// The key.
    pub key: &'static str,
    /// Its value; secrets are masked.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Loaded {
    /// Everything that no other process is to know.
    pub fn secrets(&self) -> Vec<&str> {
        let given = self.settings.values().filter_map(|(setting, _)| match setting {
            Setting::Secret(secret) => Some(secret.reveal()),
            _ => None,
        });
        // Files of credentials may have them from the environment.
        let of_files = &self.config.connections.credentials.password;
        given.chain([of_files.reveal()]).filter(|secret| !secret.is_empty()).collect()
    }

    /// Every key that has an effect, as configured or by default; secrets are masked.
    pub fn effective_config(&self) -> Vec<EffectiveKey> {
        keys::all()
            .filter(|key| matches!(key.status, Status::Used(_)))
            .filter_map(|key| {
                let (setting, origin) = self.settings.get(key.name)?;
                Some(EffectiveKey {
                    key: key.name,
                    value: setting.to_string(),
                    origin: origin.clone(),
                })
            })
            .collect()
    }
}

/// Something that works, but perhaps not as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// No such key.
    UnknownKey {
        /// As it was spelt.
        key: String,
        /// The known key that looks like it.
        nearest: Option<&'static str>,
        /// Where it stands.
        from: Origin,
    },
    /// A key of orchestrator's without effect here.
    Ignored {
        /// The key.
        key: &'static str,
        /// Why.
        reason: &'static str,
        /// Where it stands.
        from: Origin,
    },
    /// A key that is checked, and that nothing in this version acts on.
    WithoutEffect {
        /// The key.
        key: &'static str,
        /// Where it stands.
        from: Origin,
    },
    /// A value that was adjusted, or is risky.
    Notice(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, nearest: Some(nearest), from } => {
                write!(f, "{from}: unknown key {key}; did you mean {nearest}?")
            }
            Self::UnknownKey { key, nearest: None, from } => write!(f, "{from}: unknown key {key}"),
            Self::Ignored { key, reason, from } => write!(f, "{from}: {key} is ignored: {reason}"),
            Self::WithoutEffect { key, from } => {
                write!(f, "{from}: {key} is checked, but nothing in this version acts on it")
            }
            Self::Notice(text) => f.write_str(text),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that must be readable is not.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is neither JSON nor TOML.
    #[error("{file}: {reason}")]
    Syntax {
        /// The file.
        file: String,
        /// What the parser says, without the line itself.
        reason: String,
    },
    /// A value is of another type than its key.
    #[error("{from}: {key} must be {expected}, not {value}")]
    WrongType {
        /// Where it stands.
        from: Origin,
        /// The key.
        key: &'static str,
        /// The value; masked for secrets.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A value that means nothing, or contradicts another.
    #[error("{from}: {key}: {reason}")]
    Invalid {
        /// Where it stands.
        from: Origin,
        /// The key.
        key: &'static str,
        /// Why.
        reason: String,
    },
}

/// Everything that is wrong, at once.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration is not valid:")?;
        for error in &self.0 {
            write!(f, "\n  {error}")?;
            if let Some(cause) = std::error::Error::source(error) {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Loads the configuration `sources` name from the file system.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    load_with(sources, &|path: &Path| std::fs::read_to_string(path))
}

/// Loads the configuration with files as `read` gives them.
pub fn load_with(sources: &Sources, read: ReadFile<'_>) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let texts = files::read_all(
        sources.explicit_file.as_deref(),
        sources.extra_file.as_deref(),
        read,
        &mut errors,
    );
    let merged = layers::merge(&texts, &sources.env);
    errors.extend(merged.errors);
    let mut reader = reader::Reader::new(merged.values, &sources.env, merged.warnings);
    let config = build::config(&mut reader, read);
    let (settings, warnings, found) = reader.finish();
    errors.extend(found);
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    let files = texts.into_iter().map(|(path, _)| PathBuf::from(path)).collect();
    Ok(Loaded { config, warnings, files, settings })
}

/// Groups of keys by which nodes of one raft decide: each may lead.
const SHARED_GROUPS: [&str; 5] = ["Discovery", "Names", "Classification", "Recovery", "Hooks"];
/// Keys of other groups of which that is true too.
const SHARED_KEYS: [&str; 4] =
    ["RaftTiming", "RaftFailureConfirmation", "RaftSharedProbing", "DefaultInstancePort"];
/// What may differ all the same: whatever one node discovers, all watch.
const OWN_KEYS: [&str; 1] = ["DiscoverySeeds"];

impl Loaded {
    /// The values by which nodes of one raft decide, by key: where they differ, another node does
    /// something else once it leads.
    pub fn shared_keys(&self) -> BTreeMap<String, String> {
        let groups = keys::GROUPS.iter().flat_map(|part| part.iter());
        let of_group = groups.filter(|it| SHARED_GROUPS.contains(&it.title)).flat_map(|it| it.keys);
        let names = of_group.filter(|it| matches!(it.status, Status::Used(_))).map(|it| it.name);
        let names = names.filter(|it| !OWN_KEYS.contains(it)).chain(SHARED_KEYS);
        let value = |name: &str| Some((name.to_owned(), self.settings.get(name)?.0.to_string()));
        let mut values: BTreeMap<String, String> = names.filter_map(value).collect();
        let nodes: std::collections::BTreeSet<&String> = self.config.raft.nodes.iter().collect();
        values.insert("RaftNodes".to_owned(), format!("{nodes:?}"));
        values
    }
}

/// The keys that differ and take effect only when the process starts again.
pub fn diff_needing_restart(old: &Loaded, new: &Loaded) -> Vec<&'static str> {
    keys::all()
        .filter(|key| key.status == Status::Used(Applies::AtStart))
        .map(|key| key.name)
        .filter(|name| {
            let value = |loaded: &Loaded| loaded.settings.get(name).map(|(value, _)| value.clone());
            value(old) != value(new)
        })
        .collect()
}
