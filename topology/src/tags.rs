//! Tags on instances, and expressions that select instances by tag.

use crate::key::InstanceKey;
use crate::ledger::LedgerState;

/// One term of a tag expression, or one tag to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The tag's name.
    pub name: String,
    /// The value; `Some("")` when `name=` was written, `None` when only the name was.
    pub value: Option<String>,
    /// Whether the term was negated by `~` or `!`.
    pub negated: bool,
}

/// Why a text is no tag expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unable to parse tag: {0}")]
pub struct ParseTagError(String);

impl Tag {
    /// Reads `name`, `name=value`, `~name`, `!name` or `~name=value`.
    ///
    /// # Errors
    /// When there is no name.
    pub fn parse(text: &str) -> Result<Self, ParseTagError> {
        let (negated, rest) = match text.strip_prefix(['~', '!']) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (rest, None),
        };
        let name = name.trim();
        if name.is_empty() {
            return Err(ParseTagError(text.to_owned()));
        }
        Ok(Self { name: name.to_owned(), value, negated })
    }

    /// Whether an instance with these tags satisfies the term. An instance without any tag
    /// satisfies none, negated or not: a negation asks for "tagged, but otherwise".
    fn holds_for(&self, ledger: &LedgerState, key: &InstanceKey) -> bool {
        let Some(tags) = ledger.tags.get(key).filter(|tags| !tags.is_empty()) else {
            return false;
        };
        match (tags.get(self.name.as_str()), &self.value, self.negated) {
            (Some(_), None, negated) => !negated,
            (None, None, negated) => negated,
            (Some(has), Some(wanted), negated) => (**has == **wanted) != negated,
            (None, Some(_), _) => false,
        }
    }
}

/// Reads terms separated by commas, all of which must hold.
///
/// # Errors
/// When a term has no name.
pub fn parse_expression(text: &str) -> Result<Vec<Tag>, ParseTagError> {
    text.split(',').map(Tag::parse).collect()
}

/// The instances for which all terms hold, ordered by name.
pub fn tagged(ledger: &LedgerState, expression: &[Tag]) -> Vec<InstanceKey> {
    ledger
        .tags
        .keys()
        .filter(|key| expression.iter().all(|term| term.holds_for(ledger, key)))
        .cloned()
        .collect()
}

/// The tags of an instance as `name=value`, ordered by name.
pub fn tags_of(ledger: &LedgerState, key: &InstanceKey) -> Vec<String> {
    let tags = ledger.tags.get(key).into_iter().flat_map(|tags| tags.iter());
    tags.map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    fn ledger() -> LedgerState {
        let mut ledger = LedgerState::default();
        let tags = |tags: &[(&str, &str)]| {
            tags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        ledger.tags.insert_mut(key("a"), tags(&[("role", "backup"), ("old", "")]));
        ledger.tags.insert_mut(key("b"), tags(&[("role", "reports")]));
        ledger.tags.insert_mut(key("c"), tags(&[("old", "very")]));
        ledger
    }

    #[test]
    fn expressions_select_by_name_value_and_negation() {
        for (expression, expected) in [
            ("role", "a b"),
            ("role=backup", "a"),
            ("role=backup,old", "a"),
            ("role=", ""),
            ("old=", "a"),
            ("~role", "c"),
            ("!role", "c"),
            ("~role=backup", "b"),
            ("~old=", "c"),
            ("role,~old", "b"),
            ("nothing", ""),
            ("~nothing", "a b c"),
        ] {
            let found = tagged(&ledger(), &parse_expression(expression).unwrap());
            let names: Vec<&str> = found.iter().map(InstanceKey::host).collect();
            assert_eq!(names.join(" "), expected, "{expression}");
        }
        for text in ["", "=x", "~", "~=x", "a,,b"] {
            assert!(parse_expression(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn values_may_hold_equal_signs() {
        let tag = Tag::parse("a=b=c").unwrap();
        assert_eq!((tag.name.as_str(), tag.value.as_deref()), ("a", Some("b=c")));
        assert_eq!(tags_of(&ledger(), &key("a")), ["old=", "role=backup"]);
    }
}
