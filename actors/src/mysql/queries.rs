//! The configured one-value queries: what they may be, and how they travel.
//!
//! They are written by people and ride along with our own statements. A text that could end up
//! as more or fewer results than one travels in a packet of its own, so that no answer is ever
//! taken for the answer to another question.

use std::fmt;

use baton_topology::reading::Question;

/// A configured query.
#[derive(Clone, PartialEq, Eq)]
pub struct DetectionQuery {
    question: Question,
    text: String,
    packing: Packing,
}

/// Whether a statement may share a packet with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Shared,
    Alone,
}

impl DetectionQuery {
    /// Takes the text as configured; `None` when it is empty, which means "not configured".
    pub fn new(question: Question, text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        if text.is_empty() {
            return None;
        }
        Some(Self { question, text: text.to_owned(), packing: packing(text) })
    }

    /// What it answers.
    pub fn question(&self) -> Question {
        self.question
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn packing(&self) -> Packing {
        self.packing
    }
}

/// The configured query for credentials of replication. One row: user, password, and where TLS is
/// used CA file, certificate file, key file.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialsQuery(String);

impl CredentialsQuery {
    /// Takes the text as configured.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CredentialsQuery {
    /// Without the text, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialsQuery")
    }
}

impl fmt::Debug for DetectionQuery {
    /// Without the text, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetectionQuery").field("question", &self.question).finish_non_exhaustive()
    }
}

/// A text shares a packet only if it is beyond doubt one statement with one result: a `SELECT`
/// without separators, comments, escapes or an open quote.
fn packing(text: &str) -> Packing {
    const DOUBTFUL: [&str; 6] = [";", "--", "#", "/*", "*/", "\\"];
    let is_select = text.get(..6).is_some_and(|word| {
        word.eq_ignore_ascii_case("select") || word.eq_ignore_ascii_case("(selec")
    });
    let has_doubt = DOUBTFUL.iter().any(|part| text.contains(part));
    let has_open_quote = ['\'', '"', '`'].iter().any(|quote| text.matches(*quote).count() % 2 == 1);
    if is_select && !has_doubt && !has_open_quote { Packing::Shared } else { Packing::Alone }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_select_shares_a_packet() {
        for (text, expected) in [
            ("select 'dc1'", Packing::Shared),
            ("SELECT lag FROM meta.heartbeat LIMIT 1;\n", Packing::Shared),
            ("select 1; select 2", Packing::Alone),
            ("select 1 -- the data centre", Packing::Alone),
            ("select 1 /* open", Packing::Alone),
            ("select 'it", Packing::Alone),
            ("select \"it's\"", Packing::Alone),
            ("call meta.lag()", Packing::Alone),
            ("do 1", Packing::Alone),
            ("ß", Packing::Alone),
        ] {
            let query = DetectionQuery::new(Question::Lag, text).unwrap();
            assert_eq!(query.packing(), expected, "{text}");
        }
    }

    #[test]
    fn an_empty_text_is_no_query_and_none_shows_its_text() {
        assert_eq!(DetectionQuery::new(Question::Lag, " ;; "), None);
        let query = DetectionQuery::new(Question::Lag, "select 'secret'").unwrap();
        assert!(!format!("{query:?}").contains("secret"));
    }
}
