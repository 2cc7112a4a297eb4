//! Files and folders for this account alone: what is stored names accounts, servers and hooks.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes a folder and those above it, where they do not exist (0700).
///
/// # Errors
/// When one of them cannot be made.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// How a file is opened for writing: one that does not exist yet is made (0600), one that does is
/// left as it is.
pub(crate) fn writing() -> OpenOptions {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).to_owned()
}

/// Makes an empty file, unless there is one. SQLite gives its other files the mode of the first.
pub(crate) fn create_file(path: &Path) -> io::Result<()> {
    match writing().create_new(true).open(path).map(drop::<File>) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Replaces a file (0600), as a whole or not at all.
///
/// # Errors
/// When it cannot be written; what was there before is still there then.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    // Left by a process that died here, with whatever mode it has.
    let _ = std::fs::remove_file(&beside);
    let mut file = writing().create_new(true).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}
