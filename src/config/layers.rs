//! Files and environment into one value per key, each knowing where it came from.
//!
//! The `config` crate parses the files and lays one source over the other; names of keys are made
//! canonical before, because two files may spell the same key differently.

use std::collections::BTreeMap;

use config::{FileFormat, Map, Source, Value, ValueKind};

use super::json;
use super::keys::{self, Applies, Key, Kind, Status};
use super::values::{Origin, Setting};
use super::{ConfigError, Warning};

/// Variables that start with `BATON_` and are no keys.
const OTHER_VARIABLES: &[&str] = &["BATON_LOG", "BATON_CONFIG", "BATON_DISCOVER"];
const PREFIX: &str = "BATON_";
/// Marks the origin of a value as an environment variable; no path contains a NUL.
const ENVIRONMENT: &str = "\0environment:";

/// What all sources say together.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) values: BTreeMap<&'static str, (Setting, Origin)>,
    pub(super) warnings: Vec<Warning>,
    pub(super) errors: Vec<ConfigError>,
}

#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Merges `files` (path and text, each over the one before) and then the environment over them.
pub(super) fn merge(files: &[(String, String)], env: &BTreeMap<String, String>) -> Merged {
    let mut merged = Merged::default();
    let mut builder = config::Config::builder();
    for (path, text) in files {
        if let Some(raw) = parse(path, text, &mut merged) {
            let layer = file_layer(path, raw, &mut merged);
            builder = builder.add_source(layer);
        }
    }
    builder = builder.add_source(environment_layer(env, &mut merged));
    let table = builder.build().map(|all| all.cache.into_table());
    if let Ok(Ok(table)) = table {
        for (name, value) in table {
            if let Some(key) = keys::find(&name) {
                take(key, &value, &mut merged);
            }
        }
    }
    merged.errors.sort_by_key(ToString::to_string);
    merged
}

fn parse(path: &str, text: &str, merged: &mut Merged) -> Option<Vec<(String, Value)>> {
    if path.to_ascii_lowercase().ends_with(".toml") {
        return toml(path, text, merged);
    }
    match json::entries(text) {
        Ok(found) => {
            if found.has_more {
                merged.warnings.push(Warning::Notice(format!(
                    "{path}: what follows the last brace is left out"
                )));
            }
            Some(found.pairs)
        }
        Err(reason) => {
            merged.errors.push(ConfigError::Syntax { file: path.to_owned(), reason });
            None
        }
    }
}

fn toml(path: &str, text: &str, merged: &mut Merged) -> Option<Vec<(String, Value)>> {
    match config::File::from_str(text, FileFormat::Toml).collect() {
        Ok(table) => {
            // The parser forgets in which order keys stand.
            let place = |name: &str| {
                text.lines().position(|line| {
                    let line = line.trim_start().trim_start_matches(['[', '"', '\'']);
                    line.strip_prefix(name).is_some_and(|rest| {
                        !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric())
                    })
                })
            };
            let mut pairs: Vec<(String, Value)> = table.into_iter().collect();
            pairs.sort_by_cached_key(|(name, _)| (place(name), name.clone()));
            Some(pairs)
        }
        Err(error) => {
            // A TOML error quotes the line in between, which may hold a password.
            let all = error.to_string();
            let mut lines = all.lines().filter(|line| !line.trim().is_empty());
            let first = lines.next().unwrap_or_default().to_owned();
            let reason = lines.next_back().map_or(first.clone(), |last| format!("{first}: {last}"));
            merged.errors.push(ConfigError::Syntax { file: path.to_owned(), reason });
            None
        }
    }
}

fn file_layer(path: &str, raw: Vec<(String, Value)>, merged: &mut Merged) -> Layer {
    let mut layer = Layer::default();
    let mut spelt: BTreeMap<&'static str, String> = BTreeMap::new();
    let origin = path.to_owned();
    for (spelling, value) in raw {
        let from = Origin::File(origin.clone());
        let Some(key) = wanted(&spelling, from, merged) else { continue };
        // As in Go, null leaves what was there.
        if matches!(value.kind, ValueKind::Nil) {
            continue;
        }
        layer.0.insert(key.name.to_owned(), with_origin(value, &origin));
        if let Some(before) = spelt.insert(key.name, spelling.clone()) {
            let two = if before == spelling { before } else { format!("{before} and {spelling}") };
            merged.warnings.push(Warning::Notice(format!(
                "{path}: {} is given more than once ({two}); the later one counts",
                key.name
            )));
        }
    }
    layer
}

/// Tables lose their own origin when they are merged, so their entries carry it too.
fn with_origin(value: Value, origin: &String) -> Value {
    match value.kind {
        ValueKind::Table(table) => {
            let table: Map<String, Value> =
                table.into_iter().map(|(k, v)| (k, Value::new(Some(origin), v.kind))).collect();
            Value::new(Some(origin), ValueKind::Table(table))
        }
        kind => Value::new(Some(origin), kind),
    }
}

fn environment_layer(env: &BTreeMap<String, String>, merged: &mut Merged) -> Layer {
    let mut layer = Layer::default();
    for (variable, text) in env {
        let Some(spelling) = variable.strip_prefix(PREFIX) else { continue };
        if OTHER_VARIABLES.contains(&variable.as_str()) {
            continue;
        }
        let from = Origin::Environment(variable.clone());
        let Some(key) = wanted(spelling, from, merged) else { continue };
        let origin = format!("{ENVIRONMENT}{variable}");
        layer.0.insert(key.name.to_owned(), Value::new(Some(&origin), text.clone()));
    }
    layer
}

/// The key that is meant, unless it is unknown or ignored, which is a warning.
fn wanted(spelling: &str, from: Origin, merged: &mut Merged) -> Option<&'static Key> {
    let Some(key) = keys::find(spelling) else {
        let nearest = keys::nearest(spelling);
        merged.warnings.push(Warning::UnknownKey { key: spelling.to_owned(), nearest, from });
        return None;
    };
    if let Status::Ignored(reason) = key.status {
        merged.warnings.push(Warning::Ignored { key: key.name, reason, from });
        return None;
    }
    if key.status == Status::Used(Applies::Later) {
        merged.warnings.push(Warning::WithoutEffect { key: key.name, from });
    }
    Some(key)
}

fn take(key: &'static Key, value: &Value, merged: &mut Merged) {
    let origin = origin_of(value);
    let setting = match (&origin, &value.kind) {
        (Origin::Environment(_), ValueKind::String(text)) => Setting::from_text(key.kind, text),
        _ => Setting::from_file(key.kind, value),
    };
    match setting {
        Some(setting) => {
            merged.values.insert(key.name, (setting, origin));
        }
        None => merged.errors.push(ConfigError::WrongType {
            from: origin,
            key: key.name,
            value: if key.kind == Kind::Secret { "****".into() } else { shown(value) },
            expected: key.kind.as_str(),
        }),
    }
}

fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        ValueKind::Table(_) => "a table".into(),
        _ => value.to_string(),
    }
}

fn origin_of(value: &Value) -> Origin {
    let own = value.origin().or_else(|| match &value.kind {
        ValueKind::Table(table) => table.values().find_map(Value::origin),
        _ => None,
    });
    match own {
        None => Origin::Default,
        Some(text) => text.strip_prefix(ENVIRONMENT).map_or_else(
            || Origin::File(text.to_owned()),
            |variable| Origin::Environment(variable.to_owned()),
        ),
    }
}
