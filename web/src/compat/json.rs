//! The small shapes everything else is made of, and JSON as Go writes it.

use std::fmt::Write as _;

use baton_topology::binlog::BinlogCoordinates;
use baton_topology::key::InstanceKey;
use baton_topology::time::Timestamp;
use serde::Serialize;

/// An instance's name. No instance has an empty host and port 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyJson {
    hostname: String,
    port: u16,
}

impl From<&InstanceKey> for KeyJson {
    fn from(key: &InstanceKey) -> Self {
        Self { hostname: key.host().to_owned(), port: key.port() }
    }
}

impl KeyJson {
    /// A key with a host that is no instance's, such as a detached one.
    pub(crate) fn of_parts(hostname: String, port: u16) -> Self {
        Self { hostname, port }
    }
}

/// A list of names.
pub(crate) fn keys<'a>(keys: impl IntoIterator<Item = &'a InstanceKey>) -> Vec<KeyJson> {
    keys.into_iter().map(KeyJson::from).collect()
}

/// A position in a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BinlogJson {
    log_file: String,
    log_pos: u64,
    r#type: u8,
}

impl BinlogJson {
    /// A position in a binary log.
    pub(crate) fn binary(position: &BinlogCoordinates) -> Self {
        Self { log_file: position.file.clone(), log_pos: position.position, r#type: 0 }
    }

    /// A position in a relay log.
    pub(crate) fn relay(position: &BinlogCoordinates) -> Self {
        Self { r#type: 1, ..Self::binary(position) }
    }
}

/// A number that may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct NullInt {
    #[serde(rename = "Int64")]
    value: i64,
    #[serde(rename = "Valid")]
    valid: bool,
}

impl From<Option<u64>> for NullInt {
    fn from(number: Option<u64>) -> Self {
        match number {
            Some(number) => Self { value: i64::try_from(number).unwrap_or(i64::MAX), valid: true },
            None => Self::default(),
        }
    }
}

/// A flag that may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NullBool {
    bool: bool,
    valid: bool,
}

impl From<Option<bool>> for NullBool {
    fn from(flag: Option<bool>) -> Self {
        Self { bool: flag.unwrap_or_default(), valid: flag.is_some() }
    }
}

/// A point in time in seconds, as the peer prints those it reads from SQLite.
pub(crate) fn timestamp(at: Timestamp) -> String {
    match chrono::DateTime::from_timestamp(at.as_secs(), 0) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        None => String::new(),
    }
}

/// The same, empty when there is none.
pub(crate) fn timestamp_or_empty(at: Option<Timestamp>) -> String {
    at.map(timestamp).unwrap_or_default()
}

/// A time as it comes out of a column of a database, in UTC.
pub(crate) fn sql_timestamp(at: Timestamp) -> String {
    match chrono::DateTime::from_timestamp(at.as_secs(), 0) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S").to_string(),
        None => String::new(),
    }
}

/// An error text as Go quotes it: in quotation marks, in ASCII. No error is an empty text.
pub(crate) fn quote_error(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(character),
            _ => push_escape(&mut quoted, character),
        }
    }
    quoted.push('"');
    quoted
}

fn push_escape(quoted: &mut String, character: char) {
    let code = u32::from(character);
    // Writing to a string never fails.
    let _ = match code {
        0..=0x7f => write!(quoted, "\\x{code:02x}"),
        0x80..=0xffff => write!(quoted, "\\u{code:04x}"),
        _ => write!(quoted, "\\U{code:08x}"),
    };
}

/// Compact JSON as Go's encoder writes it: safe to put into HTML.
///
/// # Errors
/// When the value cannot be written as JSON; none of ours is such.
pub(crate) fn to_go_json(value: &impl Serialize) -> serde_json::Result<String> {
    let plain = serde_json::to_string(value)?;
    let is_special = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
    if !plain.contains(is_special) {
        return Ok(plain);
    }
    // These characters only occur inside of strings, where an escape means the same.
    let mut escaped = String::with_capacity(plain.len() + 16);
    for character in plain.chars() {
        if is_special(character) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_go_writes_it() {
        let json = to_go_json(&["<a href=\"x\">&", "\u{2028}ü"]).unwrap();
        assert_eq!(json, r#"["\u003ca href=\"x\"\u003e\u0026","\u2028ü"]"#);
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap()[0], "<a href=\"x\">&");
    }

    #[test]
    fn errors_are_quoted_in_ascii() {
        for (text, quoted) in [
            ("", ""),
            ("plain", "\"plain\""),
            ("a \"b\" \\ c\n", r#""a \"b\" \\ c\n""#),
            ("ü\u{1}\u{1f600}", r#""\u00fc\x01\U0001f600""#),
        ] {
            assert_eq!(quote_error(text), quoted);
        }
    }

    #[test]
    fn times_are_in_utc_and_whole_seconds() {
        assert_eq!(
            timestamp(Timestamp::from_micros(1_795_228_428_900_000)),
            "2026-11-21T02:33:48Z"
        );
        assert_eq!(timestamp_or_empty(None), "");
        assert_eq!(timestamp(Timestamp::from_micros(i64::MAX)), "", "the calendar ends before");
    }
}
