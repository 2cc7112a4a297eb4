//! The client's command line: the flags of `orchestrator-client`, short, long, with one dash or two.

use std::collections::BTreeMap;

/// What the command line and the environment say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientOptions {
    pub(super) command: String,
    /// Whether it is only to be shown what would be done.
    pub(super) dry_run: bool,
    /// Values by the long name of the flag.
    values: BTreeMap<&'static str, String>,
}

/// Why a command line is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OptionsError {
    /// No such flag.
    #[error("unknown option {0}")]
    Unknown(String),
    /// A flag at the end, without its value.
    #[error("option {0} wants a value")]
    NoValue(String),
    /// Nothing says what to do.
    #[error("no command: use -c COMMAND, or -c help")]
    NoCommand,
}

/// Short name, long names (the first counts), and the default.
const FLAGS: [(char, &[&str], Option<&str>); 20] = [
    ('c', &["command"], None),
    ('i', &["instance"], None),
    ('d', &["destination"], None),
    ('s', &["sibling"], None),
    ('a', &["alias"], None),
    ('D', &["default-port"], Some("3306")),
    ('U', &["api"], None),
    ('o', &["owner"], None),
    ('r', &["reason"], None),
    ('u', &["duration"], Some("10m")),
    ('R', &["promotion-rule"], None),
    ('t', &["tag"], None),
    ('l', &["pool"], None),
    ('H', &["hostname"], None),
    ('P', &["path"], None),
    ('q', &["query"], None),
    ('b', &["auth"], None),
    ('e', &["headers-auth"], None),
    ('n', &["binlog"], None),
    ('S', &["seconds"], None),
];

/// The flag that has no value.
const DRY_RUN: [&str; 2] = ["--dry-run", "-dry-run"];

/// What says where the service is. Newer names first.
pub(crate) const API_VARIABLES: [&str; 2] = ["BATON_API", "ORCHESTRATOR_API"];

/// Values the environment gives, by flag. Newer names first.
const VARIABLES: [(&str, &[&str]); 3] = [
    ("api", &API_VARIABLES),
    ("instance", &["ORCHESTRATOR_INSTANCE"]),
    ("headers-auth", &["ORCHESTRATOR_AUTH_USER_HEADER"]),
];

impl ClientOptions {
    /// Reads arguments (without the program's name). A bare word first is the command.
    ///
    /// # Errors
    /// When an option is unknown or lacks its value, or nothing says what to do.
    pub(super) fn parse(
        args: &[String],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, OptionsError> {
        let mut values: BTreeMap<&'static str, String> = BTreeMap::new();
        for (_, names, default) in FLAGS {
            if let Some(default) = default {
                values.insert(names[0], default.to_owned());
            }
        }
        for (flag, variables) in VARIABLES {
            let value = variables.iter().find_map(|name| env(name)).filter(|it| !it.is_empty());
            values.extend(value.map(|value| (flag, value)));
        }
        let secret = (env("ORCHESTRATOR_AUTH_USER"), env("ORCHESTRATOR_AUTH_PASSWORD"));
        if let (Some(user), password) = secret {
            values.insert("auth", format!("{user}:{}", password.unwrap_or_default()));
        }
        let (mut command, mut dry_run) = (None, false);
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if arg == "-h" || arg == "-help" || arg == "--help" {
                command = Some("help".to_owned());
                continue;
            }
            if DRY_RUN.contains(&arg.as_str()) {
                dry_run = true;
                continue;
            }
            if !arg.starts_with('-') {
                if command.is_some() {
                    return Err(OptionsError::Unknown(arg.clone()));
                }
                command = Some(arg.clone());
                continue;
            }
            let (flag, given) = recognise(arg)?;
            let value = match given {
                Some(value) => value.to_owned(),
                None => rest.next().cloned().ok_or_else(|| OptionsError::NoValue(arg.clone()))?,
            };
            if flag == "command" {
                command = Some(value);
            } else {
                // Siblings are destinations; both words were used.
                values.insert(if flag == "sibling" { "destination" } else { flag }, value);
            }
        }
        let command =
            command.filter(|command| !command.is_empty()).ok_or(OptionsError::NoCommand)?;
        Ok(Self { command, dry_run, values })
    }

    /// The value of a flag; empty when there is none.
    pub(super) fn get(&self, flag: &str) -> &str {
        self.values.get(flag).map_or("", String::as_str)
    }
}

/// The flag an argument names, and the value it carries after `=` or glued to a letter.
fn recognise(arg: &str) -> Result<(&'static str, Option<&str>), OptionsError> {
    let unknown = || OptionsError::Unknown(arg.to_owned());
    let name = arg.trim_start_matches('-');
    let (bare, given) = match name.split_once('=') {
        Some((bare, given)) => (bare, Some(given)),
        None => (name, None),
    };
    for (short, long, _) in FLAGS {
        if long.contains(&bare) || (bare.len() == 1 && bare.starts_with(short)) {
            return Ok((long[0], given));
        }
    }
    if arg.starts_with("--") {
        return Err(unknown());
    }
    let letter = name.chars().next().ok_or_else(unknown)?;
    let flag = FLAGS.iter().find(|(short, ..)| *short == letter).ok_or_else(unknown)?;
    Ok((flag.1[0], Some(&name[letter.len_utf8()..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, env: &[(&str, &str)]) -> Result<ClientOptions, OptionsError> {
        let args: Vec<String> =
            line.split(' ').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let env: BTreeMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ClientOptions::parse(&args, &|name| env.get(name).cloned())
    }

    #[test]
    fn flags_are_understood_in_all_their_spellings() {
        for line in [
            "-c topology -a shop",
            "-c topology -alias shop",
            "--command topology --alias shop",
            "--command=topology --alias=shop",
            "topology -alias=shop",
            "-ctopology -ashop",
        ] {
            let options = parse(line, &[]).unwrap();
            assert_eq!(
                (options.command.as_str(), options.get("alias")),
                ("topology", "shop"),
                "{line}"
            );
            assert_eq!(options.get("duration"), "10m");
        }
        assert_eq!(parse("-c relocate -i a -s b", &[]).unwrap().get("destination"), "b");
        assert_eq!(parse("-h", &[]).unwrap().command, "help");
        for line in ["-c recover --dry-run -i a", "-dry-run recover -i a", "recover -i a --dry-run"]
        {
            let options = parse(line, &[]).unwrap();
            assert!(options.dry_run && options.get("instance") == "a", "{line}");
            assert_eq!(options.get("destination"), "", "{line}");
        }
        assert!(!parse("recover -i a -dry", &[]).unwrap().dry_run);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parse("--nonsense x", &[]), Err(OptionsError::Unknown("--nonsense".into())));
        assert_eq!(parse("-c", &[]), Err(OptionsError::NoValue("-c".into())));
        assert_eq!(parse("", &[]), Err(OptionsError::NoCommand));
        assert_eq!(parse("topology shop", &[]), Err(OptionsError::Unknown("shop".into())));
    }

    #[test]
    fn the_command_line_goes_before_the_environment() {
        let env = [
            ("ORCHESTRATOR_API", "http://a"),
            ("BATON_API", "http://b"),
            ("ORCHESTRATOR_AUTH_USER", "me"),
        ];
        let options = parse("-c clusters", &env).unwrap();
        assert_eq!((options.get("api"), options.get("auth")), ("http://b", "me:"));
        assert_eq!(parse("-c clusters -U http://c", &env).unwrap().get("api"), "http://c");
    }
}
