//! Names of hosts, as far as a server may tell them.
//!
//! Whoever runs a server can have it tell anything. MySQL keeps host names of up to 255 characters
//! (`HOSTNAME_LENGTH`, since 8.0.17); what is longer, or holds what no host name holds, is none.

use std::borrow::Cow;

use crate::instance::SourceLink;

/// The longest host name, in characters.
const LENGTH_MAX: usize = 255;

/// A name a server told, without blanks around it; nothing if it is no host name.
pub(super) fn told(text: &str) -> Option<&str> {
    let name = text.trim();
    let is_one = !name.is_empty()
        && name.chars().take(LENGTH_MAX + 1).count() <= LENGTH_MAX
        && name.chars().all(is_of_name);
    is_one.then_some(name)
}

/// The name of a source, which must not go unnoticed: what no host name holds is shown as `?`, and
/// what is too long is cut. Such a name leads nowhere.
pub(super) fn of_source(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let detached = text.strip_prefix(SourceLink::DETACHED_PREFIX);
    let name = detached.unwrap_or(text);
    if name.is_empty() || told(name).is_some() {
        return Cow::Borrowed(text);
    }
    let prefix = detached.map_or("", |_| SourceLink::DETACHED_PREFIX);
    let shown = name.chars().take(LENGTH_MAX).map(|it| if is_of_name(it) { it } else { '?' });
    Cow::Owned(prefix.chars().chain(shown).collect())
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | ':' | '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_short_and_plain() {
        for good in ["db-1", "db_1.prod.example.com", "10.0.0.7", "fe80::1%eth0", "d\u{e9}j\u{e0}"]
        {
            assert_eq!(told(&format!(" {good} ")), Some(good));
            assert_eq!(of_source(good), good);
        }
        assert_eq!(told(&"x".repeat(255)).map(str::len), Some(255));
        let long = "x".repeat(14 << 20);
        for bad in ["", " ", "a b", "a;b", "<b>", "a\nb", "a/b", "'a", long.as_str()] {
            assert_eq!(told(bad), None, "{:?}", bad.chars().take(9).collect::<String>());
        }
    }

    #[test]
    fn a_source_is_never_overlooked() {
        assert_eq!(of_source("//db1"), "//db1", "detached");
        assert_eq!(of_source("_"), "_", "what a reset leaves");
        assert_eq!(of_source(""), "");
        assert_eq!(of_source("a b<script>"), "a?b?script?");
        assert_eq!(of_source("//a b"), "//a?b");
        assert_eq!(of_source(&"x".repeat(14 << 20)).len(), 255);
    }
}
