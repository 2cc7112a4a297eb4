//! What the nodes of one raft know and nobody else.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use ring::pbkdf2;
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// How often a text is hashed before it is a key: half a million guesses take a day then, and not a
/// second. Nobody gets to try them who was not given a key (see [`super::proof`]) or a disk.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("it is not zero");
/// The length of a key, in bytes.
const LENGTH: usize = 32;
/// What sets apart keys that were made of different things.
const OF_TEXT: &[u8] = b"baton raft: a secret";
const OF_CREDENTIALS: &[u8] = b"baton raft: credentials of ";

/// A key that is shared by the nodes of one raft. Comparing takes the same time however much is alike.
#[derive(Clone)]
pub struct Secret(Arc<[u8; LENGTH]>);

/// There is nothing to make a key of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is empty")]
pub struct BadSecret;

impl Secret {
    /// The key that is made of a secret of the operator's. Takes a moment, on purpose.
    ///
    /// # Errors
    /// When it is empty.
    pub fn new(text: &str) -> Result<Self, BadSecret> {
        if text.trim().is_empty() { Err(BadSecret) } else { Ok(stretched(OF_TEXT, text)) }
    }

    /// The key that is made of an account all nodes have. Takes a moment, on purpose.
    ///
    /// # Errors
    /// When the password is empty.
    pub fn of_credentials(user: &str, password: &str) -> Result<Self, BadSecret> {
        if password.is_empty() {
            return Err(BadSecret);
        }
        Ok(stretched(&[OF_CREDENTIALS, user.as_bytes()].concat(), password))
    }

    /// One that no other node knows.
    pub fn of_nobody() -> Self {
        let mut key = [0; LENGTH];
        key[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        Self(Arc::new(key))
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Arc::new(bytes.try_into().ok()?)))
    }

    pub(super) fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

fn stretched(salt: &[u8], text: &str) -> Secret {
    let mut key = [0; LENGTH];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, text.as_bytes(), &mut key);
    Secret(Arc::new(key))
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_follows_from_what_it_is_made_of_and_is_not_told() {
        let secret = Secret::new("open sesame").unwrap();
        assert_eq!(secret, Secret::new("open sesame").unwrap());
        let account = Secret::of_credentials("baton", "open sesame").unwrap();
        assert_eq!(account, Secret::of_credentials("baton", "open sesame").unwrap());
        for (case, other) in [
            ("another text", Secret::new("Open sesame").unwrap()),
            ("a password", account.clone()),
            ("nobody's", Secret::of_nobody()),
        ] {
            assert_ne!(secret, other, "{case}");
        }
        assert_ne!(account, Secret::of_credentials("orc", "open sesame").unwrap());
        assert_ne!(account, Secret::of_credentials("baton", "open barley").unwrap());
        assert_ne!(Secret::of_nobody(), Secret::of_nobody());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(Secret::new(" \n").unwrap_err(), BadSecret);
        assert_eq!(Secret::of_credentials("baton", "").unwrap_err(), BadSecret);
    }
}
