//! The table of every configuration key: what it is called, what it holds, what becomes of it.
//!
//! The reference in `docs/configuration.md`, the checks of types and the warnings about unknown or
//! ignored keys all come from here. Key names are orchestrator's, so that its files work as they are.

mod recovery;
mod server;
mod topology;

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number, not negative.
    Uint,
    /// A number.
    Float,
    /// A text.
    Text,
    /// A text that is never shown.
    Secret,
    /// A list of texts.
    List,
    /// A table from text to text.
    Map,
}

impl Kind {
    /// How messages and the reference name this kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Uint => "a whole number",
            Self::Float => "a number",
            Self::Text | Self::Secret => "a text",
            Self::List => "a list of texts",
            Self::Map => "a table of texts",
        }
    }
}

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// After a reload.
    OnReload,
    /// Only when the process starts.
    AtStart,
    /// It is checked already; nothing in this version acts on it.
    Later,
}

/// What baton does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is read.
    Used(Applies),
    /// It is accepted and has no effect, for the reason given.
    Ignored(&'static str),
    /// An old name of another key.
    SynonymOf(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The name as orchestrator spells it.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// The default, written as it would be in an environment variable.
    pub default: &'static str,
    /// What becomes of it.
    pub status: Status,
    /// What it means; for the reference.
    pub doc: &'static str,
}

/// A titled part of the table.
#[derive(Debug)]
pub struct Group {
    /// The heading in the reference.
    pub title: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// Every group of keys, in the order of the reference.
pub const GROUPS: &[&[Group]] = &[server::GROUPS, topology::GROUPS, recovery::GROUPS];

/// Every key.
pub fn all() -> impl Iterator<Item = &'static Key> {
    GROUPS.iter().flat_map(|part| part.iter()).flat_map(|group| group.keys)
}

/// The key that `spelling` names: neither case nor underscores matter.
pub fn find(spelling: &str) -> Option<&'static Key> {
    let wanted = folded(spelling);
    all().find(|key| folded(key.name) == wanted)
}

/// The known key that looks most like `spelling`, if any is close enough to be meant.
pub fn nearest(spelling: &str) -> Option<&'static str> {
    const CLOSE_ENOUGH: f64 = 0.75;
    let wanted = folded(spelling);
    all()
        .map(|key| (strsim::normalized_damerau_levenshtein(&wanted, &folded(key.name)), key.name))
        .filter(|(likeness, _)| *likeness >= CLOSE_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn folded(spelling: &str) -> String {
    spelling.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

const fn live(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, status: Status::Used(Applies::OnReload), doc }
}

const fn fixed(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, status: Status::Used(Applies::AtStart), doc }
}

const fn later(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, status: Status::Used(Applies::Later), doc }
}

const fn ignored(name: &'static str, reason: &'static str) -> Key {
    Key { name, kind: Kind::Text, default: "", status: Status::Ignored(reason), doc: "" }
}

const fn synonym(name: &'static str, kind: Kind, of: &'static str) -> Key {
    Key { name, kind, default: "", status: Status::SynonymOf(of), doc: "" }
}
