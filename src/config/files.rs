//! Which files are read, and where state is kept.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ConfigError;

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

/// No configuration is longer; nothing longer is read on anybody's word.
const BYTES_MAX: u64 = 1 << 20;

/// Reads a file that somebody names over the API. Whoever may call that must not be able to make
/// a configuration, which names commands to run, of whatever lies on this machine: only what the
/// administrator or baton's own account wrote, and nobody else may change, is one.
///
/// # Errors
/// When it is no such file, or cannot be read.
pub fn read_trusted(path: &Path) -> io::Result<String> {
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned()));
    // Opening what is no file may wait forever.
    if !std::fs::metadata(path)?.is_file() {
        return refuse("it is no file");
    }
    let file = std::fs::File::open(path)?;
    let opened = file.metadata()?;
    let is_ours = opened.uid() == 0 || opened.uid() == rustix::process::geteuid().as_raw();
    if !opened.is_file() || !is_ours {
        return refuse("it belongs neither to root nor to the account baton runs as");
    }
    if opened.mode() & 0o022 != 0 {
        return refuse("others may write it (chmod go-w)");
    }
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return refuse("it is too long to be a configuration");
    }
    Ok(text)
}

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

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_files_that_nobody_else_may_write_are_read_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("step.json");
        fs::write(&file, "{}").unwrap();
        for (mode, expected) in [
            (0o600, Ok("{}")),
            (0o644, Ok("{}")),
            (0o664, Err("others may write it (chmod go-w)")),
            (0o646, Err("others may write it (chmod go-w)")),
        ] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let read = read_trusted(&file).map_err(|error| error.to_string());
            assert_eq!(read.as_deref().map_err(String::as_str), expected, "{mode:o}");
        }
        let told = read_trusted(folder.path()).unwrap_err();
        assert_eq!(told.to_string(), "it is no file");
        let long = folder.path().join("long.json");
        fs::write(&long, " ".repeat((BYTES_MAX + 1) as usize)).unwrap();
        fs::set_permissions(&long, Permissions::from_mode(0o600)).unwrap();
        assert!(read_trusted(&long).unwrap_err().to_string().contains("too long"));
        assert!(read_trusted(Path::new("/nonexistent")).is_err());
    }
}
