//! From a command and its options to the path that is asked for.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::options::ClientOptions;

/// What may stand in a segment or a value as it is.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

/// An option that a command cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is needed")]
pub(super) struct Missing(&'static str);

/// Fills in a command's path. A parameter with a question mark may be missing.
pub(super) fn path(
    template: &str,
    options: &ClientOptions,
    login: &str,
) -> Result<String, Missing> {
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        let (name, tail) = after.split_once('}').unwrap_or((after, ""));
        let optional = name.ends_with('?');
        match value(name.trim_end_matches('?'), options, login) {
            Ok(value) => path.push_str(&value),
            Err(_) if optional => {
                let shorter = path.trim_end_matches('/').len();
                path.truncate(shorter);
            }
            Err(missing) => return Err(missing),
        }
        rest = tail;
    }
    path.push_str(rest);
    Ok(path)
}

fn value(name: &str, options: &ClientOptions, login: &str) -> Result<String, Missing> {
    let text = |flag: &str, said: &'static str| {
        let value = options.get(flag);
        if value.is_empty() { Err(Missing(said)) } else { Ok(encode(value)) }
    };
    match name {
        "i" => host_port(options.get("instance"), options).ok_or(Missing("an instance (-i)")),
        "d" => host_port(options.get("destination"), options).ok_or(Missing("a destination (-d)")),
        "raw-i" => text("instance", "an instance (-i)"),
        "cluster" => {
            text("alias", "").or_else(|_| text("instance", "an alias (-a) or an instance (-i)"))
        }
        "alias" => text("alias", "an alias (-a)"),
        "owner" => Ok(text("owner", "").unwrap_or_else(|_| encode(login))),
        "reason" => text("reason", "a reason (-r)"),
        "duration" => text("duration", "a duration (-u)"),
        "rule" => text("promotion-rule", "a promotion rule (-R)"),
        "tag" => text("tag", "a tag (-t)"),
        "pool" => text("pool", "a pool (-l)"),
        "hostname" => text("hostname", "a host name (-H)"),
        "query" => text("query", "a query (-q)"),
        "binlog" => text("binlog", "a binary log (-n)"),
        "seconds" => text("seconds", "a number of seconds (-S)"),
        "path" => {
            let path = options.get("path").trim_start_matches('/');
            let path = path.strip_prefix("api/").unwrap_or(path);
            if path.is_empty() { Err(Missing("a path (-P)")) } else { Ok(path.to_owned()) }
        }
        _ => Err(Missing("something unknown")),
    }
}

/// `host/port`, the default port standing in for a missing one.
fn host_port(text: &str, options: &ClientOptions) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']')?;
            (host, tail.strip_prefix(':').unwrap_or(""))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, port),
            _ => (text, ""),
        },
    };
    let port = if port.is_empty() { options.get("default-port") } else { port };
    Some(format!("{}/{}", encode(host), encode(port)))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::commands;

    fn asked(line: &[&str]) -> Result<String, Missing> {
        let args: Vec<String> = line.iter().map(|&arg| arg.to_owned()).collect();
        let options = ClientOptions::parse(&args, &|_| None).unwrap();
        path(commands::find(&options.command).unwrap().path, &options, "me")
    }

    #[test]
    fn commands_ask_for_their_paths() {
        for (line, expected) in [
            (&["instance", "-i", "db1"][..], "instance/db1/3306"),
            (&["instance", "-i", "db1:3307"], "instance/db1/3307"),
            (&["instance", "-i", "[::1]:3307"], "instance/::1/3307"),
            (&["instance", "-i", "::1"], "instance/::1/3306"),
            (&["instance", "-i", "a/b"], "instance/a%2Fb/3306"),
            (&["topology", "-a", "my shop"], "topology/my%20shop"),
            (&["topology", "-i", "db1:3306"], "topology/db1:3306"),
            (&["downtimed"], "downtimed"),
            (&["downtimed", "-a", "shop"], "downtimed/shop"),
            (
                &["begin-downtime", "-i", "a", "-r", "why not", "-u", "1h"],
                "begin-downtime/a/3306/me/why%20not/1h",
            ),
            (&["tagged", "-t", "role=backup,~old"], "tagged?tag=role%3Dbackup%2C~old"),
            (&["recover", "-i", "a"], "recover/a/3306"),
            (&["recover", "-i", "a", "-d", "b"], "recover/a/3306/b/3306"),
            (
                &["submit-pool-instances", "-l", "p", "-i", "a:1,b:2"],
                "submit-pool-instances/p?instances=a:1%2Cb:2",
            ),
            (&["api", "-P", "/api/raft-state"], "raft-state"),
        ] {
            assert_eq!(asked(line).as_deref(), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(asked(&["instance"]).unwrap_err().to_string(), "an instance (-i) is needed");
        let error = asked(&["topology"]).unwrap_err().to_string();
        assert_eq!(error, "an alias (-a) or an instance (-i) is needed");
        assert!(asked(&["relocate", "-i", "a"]).unwrap_err().to_string().contains("-d"));
    }
}
