//! The word by which nodes know each other.

use std::fmt;
use std::sync::Arc;

use hyper::header::HeaderValue;
use subtle::ConstantTimeEq;

/// A shared secret. Comparing takes the same time however much of it is right.
#[derive(Clone)]
pub struct Secret(Arc<HeaderValue>);

/// The secret cannot be sent in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shared secret of raft must be at least one visible character, and of ASCII alone")]
pub struct BadSecret;

impl Secret {
    /// A secret.
    ///
    /// # Errors
    /// When it is empty, or cannot be sent.
    pub fn new(text: &str) -> Result<Self, BadSecret> {
        if text.trim().is_empty() || !text.is_ascii() {
            return Err(BadSecret);
        }
        let mut value = HeaderValue::from_str(text).map_err(|_| BadSecret)?;
        value.set_sensitive(true);
        Ok(Self(Arc::new(value)))
    }

    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::clone(&self.0)
    }

    pub(super) fn is(&self, said: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(said).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_and_not_told() {
        let secret = Secret::new("open sesame").unwrap();
        assert!(secret.is(b"open sesame"));
        for wrong in [&b""[..], b"open", b"open sesame!", b"Open sesame"] {
            assert!(!secret.is(wrong), "{wrong:?}");
        }
        for text in [format!("{secret:?}"), format!("{:?}", secret.header())] {
            assert!(!text.contains("sesame"), "{text}");
        }
        for bad in ["", "  ", "two\nlines", "naïve"] {
            assert_eq!(Secret::new(bad).unwrap_err(), BadSecret, "{bad:?}");
        }
    }
}
