//! Regular expressions as people wrote them for the peer, in the syntax of Go.
//!
//! Nearly all of them mean the same here. Where the two syntaxes differ on something that people
//! do write (`[\w-.]`, `a{`, `\Q...\E`, `[[]`, octal escapes), the text is rewritten; what Go does
//! not take either, such as a look-around, is no pattern.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// Compiles a text.
///
/// # Errors
/// When it is a regular expression in neither syntax.
pub fn compile(text: &str) -> Result<Regex, regex::Error> {
    Regex::new(&translated(text))
}

/// The text in the syntax of the library that compiles it; itself where that says the same.
pub fn translated(text: &str) -> Cow<'_, str> {
    let mut rest = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, &mut out),
            '[' => class(&mut rest, &mut out),
            '{' if !is_repetition(&rest) => out.push_str(r"\{"),
            c => out.push(c),
        }
    }
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

type Rest<'a> = Peekable<Chars<'a>>;

/// Whether what follows a brace makes it a repetition: `2}`, `2,}` or `2,3}`.
fn is_repetition(rest: &Rest<'_>) -> bool {
    let mut rest = rest.clone();
    let digits = |rest: &mut Rest<'_>| {
        let mut count = 0;
        while rest.next_if(char::is_ascii_digit).is_some() {
            count += 1;
        }
        count
    };
    if digits(&mut rest) == 0 {
        return false;
    }
    if rest.next_if_eq(&',').is_some() {
        digits(&mut rest);
    }
    rest.next() == Some('}')
}

/// What follows a backslash outside a class.
fn escape(rest: &mut Rest<'_>, out: &mut String) {
    match rest.peek().copied() {
        Some('Q') => {
            rest.next();
            quoted(rest, out);
        }
        // To the library these are edges of words.
        Some('<' | '>') => out.extend(rest.next()),
        Some('b') => {
            rest.next();
            out.push_str(r"\b");
        }
        _ => simple_escape(rest, out),
    }
}

/// What follows a backslash and is a character or a set of them.
fn simple_escape(rest: &mut Rest<'_>, out: &mut String) {
    let Some(&first) = rest.peek() else {
        out.push('\\');
        return;
    };
    if first.is_digit(8) {
        let mut ahead = rest.clone();
        let digits: String =
            std::iter::from_fn(|| ahead.next_if(|c| c.is_digit(8))).take(3).collect();
        // A single digit that is not zero would be a reference to a group, which neither takes.
        if first == '0' || digits.len() > 1 {
            *rest = ahead;
            let code = u32::from_str_radix(&digits, 8).unwrap_or_default();
            out.push_str(&format!(r"\x{{{code:X}}}"));
            return;
        }
    }
    out.push('\\');
    out.extend(rest.next());
    // The name of a property, or a code in braces, is not to be taken for anything else.
    if matches!(first, 'p' | 'P' | 'x') && rest.peek() == Some(&'{') {
        for c in rest.by_ref() {
            out.push(c);
            if c == '}' {
                break;
            }
        }
    }
}

/// What stands between `\Q` and `\E`, or the end.
fn quoted(rest: &mut Rest<'_>, out: &mut String) {
    let mut text = String::new();
    while let Some(c) = rest.next() {
        if c == '\\' && rest.next_if_eq(&'E').is_some() {
            break;
        }
        text.push(c);
    }
    out.push_str(&regex::escape(&text));
}

/// A class, after its opening bracket. Within it only `\`, `]` and `-` between two characters mean
/// anything to Go; the library also knows classes in classes and operations on them.
fn class(rest: &mut Rest<'_>, out: &mut String) {
    out.push('[');
    out.extend(rest.next_if_eq(&'^'));
    let mut is_first = true;
    loop {
        match rest.peek().copied() {
            None => return,
            Some(']') if !is_first => {
                rest.next();
                out.push(']');
                return;
            }
            Some('[') if posix(rest, out) => {}
            Some(_) => member(rest, is_first, out),
        }
        is_first = false;
    }
}

/// A named class such as `[:alpha:]`, if that is what follows.
fn posix(rest: &mut Rest<'_>, out: &mut String) -> bool {
    let mut ahead = rest.clone();
    let mut name = String::new();
    for c in ahead.by_ref() {
        name.push(c);
        if name.ends_with(":]") || name.len() > "[:^xdigit:]".len() {
            break;
        }
    }
    let is_name = name.starts_with("[:") && name.ends_with(":]") && name.len() > "[::]".len();
    if is_name {
        *rest = ahead;
        out.push_str(&name);
    }
    is_name
}

/// One character, set or range.
fn member(rest: &mut Rest<'_>, is_first: bool, out: &mut String) {
    let is_dash = rest.peek() == Some(&'-');
    let low = class_char(rest);
    let mut ahead = rest.clone();
    let is_range = ahead.next() == Some('-') && ahead.peek().is_some_and(|c| *c != ']');
    let is_set = low.starts_with(r"\d") || low.starts_with(r"\w") || low.starts_with(r"\s");
    let is_set = is_set || matches!(low.get(..2), Some(r"\D" | r"\W" | r"\S" | r"\p" | r"\P"));
    if is_range && !is_set {
        *rest = ahead;
        let high = class_char(rest);
        out.push_str(if is_dash { r"\-" } else { &low });
        out.push('-');
        out.push_str(if high == "-" { r"\-" } else { &high });
        return;
    }
    // A dash at either end means itself to both.
    let is_last = rest.peek() == Some(&']');
    if is_dash && !is_first && !is_last {
        out.push('\\');
    }
    out.push_str(&low);
}

fn class_char(rest: &mut Rest<'_>) -> String {
    let mut text = String::new();
    match rest.next() {
        Some('\\') => match rest.peek().copied() {
            Some('<' | '>') => text.extend(rest.next()),
            _ => simple_escape(rest, &mut text),
        },
        // These begin a class in a class, or an operation on classes.
        Some(c @ ('[' | '&' | '~')) => text.extend(['\\', c]),
        Some(']') => text.push_str(r"\]"),
        Some('^') => text.push_str(r"\^"),
        Some(c) => text.push(c),
        None => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes_matches_what_it_matched_there() {
        for (text, matches, other) in [
            (r"^db[\w-.]+$", "db-1.prod", "db 1"),
            (r"[a-z-9]$", "x-", "x8"),
            (r"a{", "a{", "aa"),
            (r"^a{,3}$", "a{,3}", "aaa"),
            (r"^a{2,}$", "aaa", "a"),
            (r"^a{2}$", "aa", "a{2}"),
            (r"^\Qdb.1\E[0-9]", "db.12", "dbx12"),
            (r"^\Qa[b", "a[b", "ab"),
            (r"^[[]x", "[x", "x"),
            (r"^[a[]+$", "a[", "b"),
            (r"^[]a]+$", "]a", "b"),
            (r"^[^]a]+$", "b", "]"),
            (r"^[a&&b]+$", "a&b", "c"),
            (r"^[--/]+$", "-./", "0"),
            (r"^[a-z&&x]+$", "m&", "0"),
            (r"^[~~]+$", "~", "a"),
            (r"^\<b\>$", "<b>", "b"),
            (r"^\141\055$", "a-", "b-"),
            (r"^[\141-\143]+$", "abc", "d"),
            (r"^[[:alpha:]_]+$", "a_", "1"),
            (r"^\x{41}\pL$", "Ab", "A1"),
            (r"^db\d+(?:-[ab])?[.](?P<dc>[^.]+)", "db1-a.east", "db.east"),
            (r"^db[0-9a-]+$", "db-0a", "db_"),
            (r"}]", "}]", "]"),
        ] {
            let pattern = compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(pattern.is_match(matches), "{text} is to match {matches}: {pattern}");
            assert!(!pattern.is_match(other), "{text} is not to match {other}: {pattern}");
        }
    }

    #[test]
    fn what_both_take_stays_as_it_is_written() {
        for text in [r"^db[0-9-]+[.](\w+)$", "[-a]", ".*", "(?i)x{2,3}", r"\.prod\.", "^[^.]+", ""]
        {
            assert!(matches!(translated(text), Cow::Borrowed(_)), "{text}: {}", translated(text));
        }
    }

    #[test]
    fn what_go_does_not_take_is_no_pattern() {
        for text in ["(?!test)", "(?<=a)b", "(", "[", "[a", r"\1", r"\", "*", "[z-a]"] {
            assert!(compile(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r"[\\\[\]{}^$a-z0-9,:&~<>QE-]{0,20}|.{0,12}") {
            let _ = compile(&text);
        }
    }
}
