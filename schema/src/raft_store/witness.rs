//! Remembers, beside the file, how many writes it acknowledged.
//!
//! SQLite drops the end of a write-ahead log that is torn, damaged or missing, and goes on with
//! what came before: right for a write nobody was told of, a forgotten vote for one that somebody
//! was. The two are told apart by a number that is written here after each commit. It never runs
//! ahead of the file, so a file that is behind it has lost something.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::private;

/// Eight bytes of number, four of checksum: one sector, written at once.
const BYTES: usize = 12;

/// What there is beside the file.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// So many writes were acknowledged.
    Count(u64),
    /// Something else.
    Damaged,
}

/// The open witness.
#[derive(Debug)]
pub(super) struct Witness(Option<File>);

/// Where the witness of a file is.
pub(super) fn path_of(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push("-witness");
    name.into()
}

fn encode(count: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let (number, checksum) = bytes.split_at_mut(8);
    number.copy_from_slice(&count.to_be_bytes());
    checksum.copy_from_slice(&crc32fast::hash(number).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Found {
    let number = bytes.first_chunk().map(|number| u64::from_be_bytes(*number));
    match number {
        Some(count) if encode(count) == bytes => Found::Count(count),
        _ => Found::Damaged,
    }
}

/// Reads the witness of a file.
pub(super) fn read(store: &Path) -> io::Result<Found> {
    match std::fs::read(path_of(store)) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

impl Witness {
    /// Opens the witness of a file, or makes it, and has it say `count`; durable on return.
    pub(super) fn start(store: &Path, count: u64) -> io::Result<Self> {
        let path = path_of(store);
        let witness = Self(Some(private::writing().open(&path)?));
        witness.note(count)?;
        witness.sync()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(witness)
    }

    /// Of a file in memory: that one has no second life in which something could be missing.
    #[cfg(feature = "testing")]
    pub(super) fn needless() -> Self {
        Self(None)
    }

    /// Notes a number. It may be lost by a power cut, until [`Witness::sync`].
    pub(super) fn note(&self, count: u64) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |file| file.write_all_at(&encode(count), 0))
    }

    /// Waits until what was noted is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), File::sync_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_and_nothing_else() {
        assert!(matches!(decode(&encode(7)), Found::Count(7)));
        for position in 0..BYTES {
            let mut bytes = encode(7);
            bytes[position] ^= 1;
            assert!(matches!(decode(&bytes), Found::Damaged), "byte {position}");
        }
        assert!(matches!(decode(&[]), Found::Damaged));
        assert!(matches!(decode(&encode(7)[..11]), Found::Damaged));
        assert!(matches!(decode(&[0; 12]), Found::Damaged), "zeros are no count");
    }
}
