//! Values of keys: their types, where they came from, and how a text or a file's value becomes one.

use std::collections::BTreeMap;
use std::fmt;

use config::{Value, ValueKind};

use super::keys::Kind;

/// A text that no log, message or debug output shows.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A file, by path.
    File(String),
    /// An environment variable, by name.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(path),
            Self::Environment(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// The value of one key, of the key's kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Setting {
    Bool(bool),
    Uint(u64),
    Float(f64),
    Text(String),
    Secret(Secret),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

impl Setting {
    /// Reads `text`, as an environment variable or a default holds it.
    pub(super) fn from_text(kind: Kind, text: &str) -> Option<Self> {
        let text_trimmed = text.trim();
        Some(match kind {
            Kind::Bool => Self::Bool(match text_trimmed.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => true,
                "false" | "0" | "no" | "off" => false,
                _ => return None,
            }),
            Kind::Uint => Self::Uint(text_trimmed.parse().ok().filter(in_range)?),
            Kind::Float => Self::Float(text_trimmed.parse().ok().filter(|f: &f64| f.is_finite())?),
            Kind::Text => Self::Text(text.to_owned()),
            Kind::Secret => Self::Secret(Secret::new(text)),
            Kind::List => Self::List(parts(text).map(str::to_owned).collect()),
            Kind::Map => {
                let pair = |part: &str| {
                    let (name, value) = part.split_once('=')?;
                    Some((name.trim().to_owned(), value.trim().to_owned()))
                };
                Self::Map(parts(text).map(pair).collect::<Option<_>>()?)
            }
        })
    }

    /// Reads a file's value, which must be of the right type already.
    pub(super) fn from_file(kind: Kind, value: &Value) -> Option<Self> {
        Some(match (kind, &value.kind) {
            (Kind::Bool, ValueKind::Boolean(b)) => Self::Bool(*b),
            (Kind::Uint, ValueKind::I64(n)) => Self::Uint(u64::try_from(*n).ok().filter(in_range)?),
            (Kind::Uint, ValueKind::U64(n)) => Self::Uint(Some(*n).filter(in_range)?),
            (Kind::Float, ValueKind::Float(f)) if f.is_finite() => Self::Float(*f),
            (Kind::Float, ValueKind::I64(n)) => Self::Float(*n as f64),
            (Kind::Text, ValueKind::String(text)) => Self::Text(text.clone()),
            (Kind::Secret, ValueKind::String(text)) => Self::Secret(Secret::new(text.clone())),
            (Kind::List, ValueKind::Array(items)) => {
                Self::List(items.iter().map(as_text).collect::<Option<_>>()?)
            }
            (Kind::Map, ValueKind::Table(table)) => Self::Map(
                table
                    .iter()
                    .map(|(name, value)| Some((name.clone(), as_text(value)?)))
                    .collect::<Option<_>>()?,
            ),
            _ => return None,
        })
    }
}

/// Numbers are seconds, counts and ports; this bound keeps minutes and hours from overflowing.
fn in_range(number: &u64) -> bool {
    *number <= u64::from(u32::MAX)
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn as_text(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::String(text) => Some(text.clone()),
        _ => None,
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => write!(f, "{b}"),
            Self::Uint(n) => write!(f, "{n}"),
            Self::Float(n) => write!(f, "{n}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Secret(secret) => f.write_str(if secret.is_empty() { "\"\"" } else { "****" }),
            Self::List(items) => write!(f, "{items:?}"),
            Self::Map(map) => write!(f, "{map:?}"),
        }
    }
}
