//! User and password from the `[client]` section of a my.cnf, read as the peer's reader of such
//! files does: that is what people's files were written for.

use std::collections::BTreeMap;

use super::values::Secret;

/// What such a file says, and what somebody should know of how it was read.
#[derive(Debug, Default)]
pub(super) struct ClientSection {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) notices: Vec<String>,
}

/// Reads the text of a file. Names of sections and keys are the same in any case; what is not
/// quoted ends where a comment begins; `${NAME}` stands for a variable of `env`.
pub(super) fn client_section(text: &str, env: &BTreeMap<String, String>) -> ClientSection {
    let mut found = ClientSection::default();
    let mut in_client = false;
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let name = section.split_once(']').map_or(section, |(name, _)| name);
            in_client = name.trim().eq_ignore_ascii_case("client");
            continue;
        }
        if line.starts_with(['#', ';']) || !in_client {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.trim().to_ascii_lowercase();
        if !matches!(name.as_str(), "user" | "password") {
            continue;
        }
        let value = expanded(
            &value_of(value.trim(), &name, &mut found.notices),
            &name,
            env,
            &mut found.notices,
        );
        match name.as_str() {
            "user" => found.user = Some(value),
            _ => found.password = Some(Secret::new(value)),
        }
    }
    found
}

/// A value without its quotes, and without the comment that follows it.
fn value_of(text: &str, name: &str, notices: &mut Vec<String>) -> String {
    if let Some(quoted) = text.strip_prefix('\'') {
        return quoted.split_once('\'').map_or(quoted, |(inside, _)| inside).to_owned();
    }
    let mut value = String::new();
    // What stands at the end unquoted and is a space is none of the value.
    let mut end = 0;
    let mut is_quoted = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => is_quoted = !is_quoted,
            '\\' => value.push_str(&escaped(chars.next())),
            '#' | ';' if !is_quoted => {
                notices.push(format!(
                    "what follows {c} in the value of {name} is taken for a comment; a value that \
                     has # or ; in it has to be in double quotes"
                ));
                break;
            }
            c => value.push(c),
        }
        if is_quoted || !c.is_whitespace() {
            end = value.len();
        }
    }
    value.truncate(end);
    value
}

/// What a backslash and what follows it stand for.
fn escaped(c: Option<char>) -> String {
    match c {
        Some('n') => "\n".to_owned(),
        Some('t') => "\t".to_owned(),
        Some('r') => "\r".to_owned(),
        Some('b') => "\u{8}".to_owned(),
        Some('s') => " ".to_owned(),
        Some(c @ ('"' | '\\' | '\'')) => c.to_string(),
        // Nothing is lost that nobody meant as an escape.
        Some(c) => format!("\\{c}"),
        None => "\\".to_owned(),
    }
}

/// A whole value of the form `${NAME}` is that variable; one that is not set is empty, as it was to
/// the peer, and somebody should know.
fn expanded(
    value: &str,
    name: &str,
    env: &BTreeMap<String, String>,
    notices: &mut Vec<String>,
) -> String {
    let Some(variable) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return value.to_owned();
    };
    env.get(variable).cloned().unwrap_or_else(|| {
        notices
            .push(format!("{name}: the environment variable {variable} is not set; it is empty"));
        String::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_the_peer_made_of_them() {
        let env = BTreeMap::from([("PASSWORD".to_owned(), "from#env".to_owned())]);
        for (text, user, password, told) in [
            ("[client]\nuser=me\npassword=secret", "me", "secret", 0),
            ("[CLIENT]\nUser = me\nPassWord = secret\n", "me", "secret", 0),
            ("\u{feff}[ client ]\r\nuser = me\r\npassword = secret\r\n", "me", "secret", 0),
            ("[client]\nuser=me # who\npassword=\"se#cr;et\" ; what\n", "me", "se#cr;et", 2),
            ("[client]\nuser=me\npassword=se#cret", "me", "se", 1),
            ("[client]\nuser=me\npassword=\"a\\\"b\\\\c\"", "me", "a\"b\\c", 0),
            ("[client]\nuser='me'\npassword='se#\\cret'", "me", "se#\\cret", 0),
            ("[client]\nuser=me\npassword=\" secret \"", "me", " secret ", 0),
            ("[client]\nuser=me\npassword=a=b\\d", "me", "a=b\\d", 0),
            ("[client]\nuser=me\npassword=${PASSWORD}", "me", "from#env", 0),
            ("[client]\nuser=me\npassword=\"${PASSWORD}\"", "me", "from#env", 0),
            ("[client]\nuser=me\npassword=${NOPE}", "me", "", 1),
            (
                "[mysqld]\nuser=no\n# [x]\n[client] # here\nuser=me\n#user=no\npassword=x",
                "me",
                "x",
                0,
            ),
        ] {
            let found = client_section(text, &env);
            assert_eq!(found.user.as_deref(), Some(user), "{text}");
            assert_eq!(found.password.as_ref().map(Secret::reveal), Some(password), "{text}");
            assert_eq!(found.notices.len(), told, "{text}: {:?}", found.notices);
            assert!(!format!("{found:?}").contains("secret"), "{text}");
        }
        let nothing = client_section("user=me\npassword=x", &env);
        assert!(nothing.user.is_none() && nothing.password.is_none());
    }
}
