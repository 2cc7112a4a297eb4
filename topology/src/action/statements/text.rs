//! Statements as texts, with and without their secrets.

use std::fmt;

use super::Expectation;
use crate::action::Secret;

/// What stands for a secret where people read.
const HIDDEN: &str = "'***'";

/// One thing to say to a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Statement {
    text: String,
    /// The same without secrets, where there are any.
    shown: Option<String>,
    expects: Expectation,
}

impl Statement {
    /// What is sent. It may hold secrets.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What people may read.
    pub fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.text)
    }

    /// What the answer means.
    pub fn expects(&self) -> Expectation {
        self.expects
    }

    pub(super) fn expecting(self, expects: Expectation) -> Self {
        Self { expects, ..self }
    }
}

impl<T: Into<String>> From<T> for Statement {
    fn from(text: T) -> Self {
        Self { text: text.into(), shown: None, expects: Expectation::Nothing }
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Statement").field(&self.shown()).finish()
    }
}

/// A string literal. Whether the server takes backslashes as escapes or not, it ends where it
/// should; in the rare second case a backslash is read as two.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A list of options, such as `SOURCE_HOST = 'db1', SOURCE_PORT = 3306`, in the making.
pub(super) struct Options {
    /// `SOURCE` or `MASTER`.
    prefix: &'static str,
    text: String,
    shown: String,
}

impl Options {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self { prefix, text: String::new(), shown: String::new() }
    }

    pub(super) fn number(&mut self, name: &str, value: impl Into<u64>) {
        let value = value.into().to_string();
        self.put(name, &value, &value);
    }

    pub(super) fn word(&mut self, name: &str, value: &str) {
        self.put(name, value, value);
    }

    pub(super) fn string(&mut self, name: &str, value: &str) {
        let value = quoted(value);
        self.put(name, &value, &value);
    }

    /// A string option, unless there is nothing to say.
    pub(super) fn string_if_any(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.string(name, value);
        }
    }

    pub(super) fn secret(&mut self, name: &str, value: &Secret) {
        self.put(name, &quoted(value.expose()), HIDDEN);
    }

    fn put(&mut self, name: &str, value: &str, shown: &str) {
        let comma = if self.text.is_empty() { "" } else { ", " };
        // Only one name has the prefix in its middle.
        let name = match name.strip_prefix("GET_") {
            Some(rest) => format!("GET_{}_{rest}", self.prefix),
            None => format!("{}_{name}", self.prefix),
        };
        self.text.push_str(&format!("{comma}{name} = {value}"));
        self.shown.push_str(&format!("{comma}{name} = {shown}"));
    }

    /// The whole statement.
    pub(super) fn between(self, before: &str, after: &str) -> Statement {
        Statement {
            text: format!("{before}{}{after}", self.text),
            shown: Some(format!("{before}{}{after}", self.shown)),
            expects: Expectation::Nothing,
        }
    }
}
