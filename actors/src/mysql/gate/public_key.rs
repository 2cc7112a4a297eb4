//! The key that a server sends for a password, where the configuration lets it.

use baton_topology::instance::{FailureKind, ProbeFailure};
use mysql_common::crypto;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::mysql::failure;

/// Sizes of keys in bits that are computed with. A larger one would cost more than a login is worth,
/// and a smaller one protects nothing.
const KEY_BITS_MIN: usize = 2_048;
const KEY_BITS_MAX: usize = 8_192;
/// Bytes of an exponent.
const EXPONENT_BYTES_MAX: usize = 4;
/// What the padding takes of a block.
const PADDING_BYTES: usize = 42;

/// Encrypts `secret`, on a thread where that holds up no probe.
pub(super) async fn encrypt(secret: Vec<u8>, pem: Vec<u8>) -> Result<Vec<u8>, ProbeFailure> {
    let computed = tokio::task::spawn_blocking(move || {
        is_sensible(&pem, secret.len()).then(|| crypto::encrypt(&secret, &pem))
    });
    computed.await.ok().flatten().ok_or_else(|| {
        let message = "the server sends a public key for the password that makes no sense";
        failure::new(FailureKind::Protocol, message.to_owned())
    })
}

/// Whether it is an RSA key of a usual size that has room for so much.
fn is_sensible(pem: &[u8], secret_bytes: usize) -> bool {
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pem) else { return false };
    let Ok((_, info)) = SubjectPublicKeyInfo::from_der(&pem.contents) else { return false };
    let Ok(PublicKey::RSA(key)) = info.parsed() else { return false };
    let bits = key.key_size();
    (KEY_BITS_MIN..=KEY_BITS_MAX).contains(&bits)
        && key.exponent.len() <= EXPONENT_BYTES_MAX
        && secret_bytes + PADDING_BYTES <= bits / 8
        && pem.label == "PUBLIC KEY"
}
