//! Which files are read, and where state is kept.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::values::Secret;

/// Read when no file is named; each that exists comes over the ones before it.
pub const SEARCH_PATH: &[&str] = &[
    "/etc/orchestrator.conf.json",
    "conf/orchestrator.conf.json",
    "orchestrator.conf.json",
    "/etc/baton.toml",
    "baton.toml",
];

/// How files are read; a test passes its own.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Path and text of the files that count.
pub(super) fn read_all(
    explicit: Option<&Path>,
    extra: Option<&Path>,
    read: ReadFile<'_>,
    errors: &mut Vec<ConfigError>,
) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut must_read = |path: &Path, files: &mut Vec<(String, String)>| match read(path) {
        Ok(text) => files.push((path.display().to_string(), text)),
        Err(source) => errors.push(ConfigError::Unreadable { path: path.to_owned(), source }),
    };
    match explicit {
        Some(path) => must_read(path, &mut files),
        None => {
            for path in SEARCH_PATH.iter().map(Path::new) {
                match read(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    _ => must_read(path, &mut files),
                }
            }
        }
    }
    if let Some(path) = extra {
        must_read(path, &mut files);
    }
    files
}

/// The folder baton keeps its state in: what systemd gave, else the user's state folder.
pub fn state_folder(env: &BTreeMap<String, String>) -> PathBuf {
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty());
    // systemd may list several, separated by colons.
    if let Some(first) = set("STATE_DIRECTORY").and_then(|list| list.split(':').next()) {
        return PathBuf::from(first);
    }
    if let Some(folder) = set("XDG_STATE_HOME") {
        return Path::new(folder).join("baton");
    }
    match set("HOME") {
        Some(home) => Path::new(home).join(".local/state/baton"),
        None => PathBuf::from("/var/lib/baton"),
    }
}

/// User and password from the `[client]` section of a my.cnf.
pub(super) fn client_credentials(text: &str) -> (Option<String>, Option<Secret>) {
    let mut in_client = false;
    let (mut user, mut password) = (None, None);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            in_client = section.trim_end_matches(']').trim() == "client";
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| in_client) else { continue };
        let value = value.trim();
        let value = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
            .unwrap_or(value);
        match name.trim() {
            "user" => user = Some(value.to_owned()),
            "password" => password = Some(Secret::new(value)),
            _ => {}
        }
    }
    (user, password)
}
