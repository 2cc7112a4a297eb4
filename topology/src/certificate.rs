//! What servers show of themselves under TLS, where no authority verifies it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::InstanceKey;
use crate::time::Timestamp;

/// The SHA-256 of the public key of a certificate (its `SubjectPublicKeyInfo` in DER), in lower-case
/// hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(Arc<str>);

impl Fingerprint {
    /// Writes a digest down.
    pub fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one: it may have been written by another version.
    pub fn is_well_formed(&self) -> bool {
        self.0.len() == 64 && self.0.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key that an instance was seen with first, or that a person or an authority confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The key.
    pub fingerprint: Fingerprint,
    /// When it was pinned.
    pub since: Timestamp,
}

/// A key to pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPin {
    /// The instance, by the address that baton connects to.
    pub key: InstanceKey,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// An authority verified it: it replaces another one.
    pub verified: bool,
}
