//! Puts values into text for a POSIX shell, so that no value is ever read as a command.
//!
//! A value does not stand where its placeholder stood. It is assigned to a variable in front of the
//! text, quoted in a place where quoting is certain, and the placeholder becomes a reference to that
//! variable, because a shell never parses again what a variable expands to. What the reference
//! looks like depends on the quotes around it. Should this module ever misread the quotes of an
//! odd text (a here-document is one), the value comes out with quotes around it, split into words
//! or not at all; it still cannot run.
//!
//! This does not help against a *second* shell: `ssh host "cmd {failedHost}"`, `eval` and
//! `bash -c` parse what the first one expanded.

use super::Value;

/// `template` with values as they are.
pub(super) fn verbatim(template: &str, values: &[Value]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(next) = rest.chars().next() {
        let length = match placeholder(rest, values) {
            Some((length, value)) => {
                out.push_str(&value.text);
                length
            }
            None => {
                out.push(next);
                next.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// `template` with references to values, and the assignment of the values it uses in front.
pub(super) fn quoted(template: &str, values: &[Value]) -> String {
    let mut body = String::with_capacity(template.len());
    let mut used: Vec<&Value> = Vec::new();
    let mut quotes = Quotes { frames: Vec::new(), previous: Some('\n') };
    let mut rest = template;
    while !rest.is_empty() {
        let found = placeholder(rest, values).filter(|_| !quotes.names_a_variable());
        let length = match found {
            Some((length, value)) => {
                body.push_str(&quotes.reference(value.variable));
                quotes.previous = None;
                if !used.iter().any(|other| other.variable == value.variable) {
                    used.push(value);
                }
                length
            }
            None => {
                let length = quotes.read(rest);
                body.push_str(rest.get(..length).unwrap_or_default());
                length
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    let assign = |value: &&Value| format!("{}='{}'\n", value.variable, escaped(&value.text));
    used.iter().map(assign).chain([body]).collect()
}

/// `text` for between two single quotes.
fn escaped(text: &str) -> String {
    text.replace('\'', r"'\''")
}

/// The placeholder that `text` starts with, if there is one with a value.
fn placeholder<'a>(text: &str, values: &'a [Value]) -> Option<(usize, &'a Value)> {
    let inner = text.strip_prefix('{')?;
    let name = inner.get(..inner.find('}')?)?;
    let value = values.iter().find(|value| value.placeholders.contains(&name))?;
    Some((name.len() + 2, value))
}

/// What a character stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// `'...'`
    Single,
    /// `$'...'`
    Escaping,
    /// `"..."`
    Double,
    /// `$(...)` inside of double quotes, or any parentheses outside.
    Parentheses,
    /// Between backticks.
    Backticks,
    /// From `#` to the end of the line.
    Comment,
}

/// Where in the quotes of a text one is, reading from its start.
struct Quotes {
    frames: Vec<Frame>,
    /// The character before, unless it was escaped or came from a value.
    previous: Option<char>,
}

impl Quotes {
    /// A reference to `variable` that stays one word here.
    fn reference(&self, variable: &str) -> String {
        match self.frames.last() {
            Some(Frame::Double | Frame::Comment) => format!("${{{variable}}}"),
            Some(Frame::Single) => format!("'\"${{{variable}}}\"'"),
            Some(Frame::Escaping) => format!("'\"${{{variable}}}\"$'"),
            None | Some(Frame::Parentheses | Frame::Backticks) => format!("\"${{{variable}}}\""),
        }
    }

    /// Whether braces here belong to a variable of the shell, as in `${command}`.
    fn names_a_variable(&self) -> bool {
        self.previous == Some('$')
            && !matches!(self.frames.last(), Some(Frame::Single | Frame::Escaping))
    }

    /// Takes in the start of `text`; returns how many bytes that was.
    fn read(&mut self, text: &str) -> usize {
        let mut chars = text.chars();
        let Some(first) = chars.next() else { return 0 };
        let begins_word = self.previous.is_some_and(|c| c.is_whitespace() || ";&|()".contains(c));
        let before = self.previous.replace(first);
        match (self.frames.last().copied(), first) {
            (Some(Frame::Single | Frame::Comment), '\\') => {}
            (_, '\\') => {
                self.previous = None;
                return 1 + chars.next().map_or(0, char::len_utf8);
            }
            (Some(Frame::Single | Frame::Escaping), '\'')
            | (Some(Frame::Double), '"')
            | (Some(Frame::Comment), '\n')
            | (Some(Frame::Parentheses), ')') => {
                self.frames.pop();
            }
            (Some(Frame::Single | Frame::Escaping | Frame::Comment), _) => {}
            (_, '`') => self.backtick(),
            (Some(Frame::Double), '(') if before == Some('$') => {
                self.frames.push(Frame::Parentheses);
            }
            (Some(Frame::Double), _) => {}
            (_, '\'') if before == Some('$') => self.frames.push(Frame::Escaping),
            (_, '\'') => self.frames.push(Frame::Single),
            (_, '"') => self.frames.push(Frame::Double),
            (_, '(') => self.frames.push(Frame::Parentheses),
            (_, '#') if begins_word => self.frames.push(Frame::Comment),
            _ => {}
        }
        first.len_utf8()
    }

    /// Backticks do not nest: the second one ends whatever began since the first.
    fn backtick(&mut self) {
        match self.frames.iter().position(|frame| *frame == Frame::Backticks) {
            Some(outer) => self.frames.truncate(outer),
            None => self.frames.push(Frame::Backticks),
        }
    }
}
