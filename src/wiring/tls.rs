//! TLS towards callers and other nodes.
//!
//! A certificate and its key may be renewed on disk at any time: the next connection uses the new
//! ones. Authorities are read once, at the start.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, SupportedProtocolVersion};

use super::units::OfUnits;
use crate::config;

/// TLS of the HTTP server.
///
/// # Errors
/// When a file cannot be read, or holds no certificate or key.
pub fn server_tls(tls: &config::HttpTls) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    server_tls_of(tls, rustls::ALL_VERSIONS)
}

pub(super) fn server_tls_of(
    tls: &config::HttpTls,
    versions: &[&'static SupportedProtocolVersion],
) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let identity = Identity::read(tls)?;
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)?;
    let builder = match (tls.client_certificates, &tls.ca_file) {
        (config::ClientCertificates::NotAsked, _) => builder.with_no_client_auth(),
        (config::ClientCertificates::Required, ca_file) => {
            let ca_file = ca_file.as_ref().context("UseMutualTLS needs SSLCAFile")?;
            let roots = Arc::new(authorities(ca_file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
            builder.with_client_cert_verifier(match &tls.valid_organizational_units[..] {
                [] => verifier,
                units => Arc::new(OfUnits::new(verifier, units.to_vec())),
            })
        }
    };
    Ok(Arc::new(builder.with_cert_resolver(Arc::new(identity))))
}

/// How the API of other nodes is reached under TLS: they are trusted if their certificate is of
/// `SSLCAFile`, or else of the same chain as ours; ours is shown to those who ask for one.
///
/// # Errors
/// As [`server_tls`].
pub fn peer_tls(tls: &config::HttpTls) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    peer_tls_of(tls, rustls::ALL_VERSIONS)
}

pub(super) fn peer_tls_of(
    tls: &config::HttpTls,
    versions: &[&'static SupportedProtocolVersion],
) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let identity = Identity::read(tls)?;
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(authorities(tls.ca_file.as_ref().unwrap_or(&tls.certificate_file))?)
        .with_client_cert_resolver(Arc::new(identity));
    Ok(Arc::new(config))
}

fn authorities(path: &Path) -> anyhow::Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", path.display()))
}

/// A certificate and its private key, as their files have them.
#[derive(Debug)]
pub(super) struct Identity {
    certificate_file: PathBuf,
    private_key_file: PathBuf,
    newest: Mutex<(Stamps, Arc<CertifiedKey>)>,
}

/// What tells that a file is another one: when it was written, which it is, and how long.
type Stamp = Option<(SystemTime, u64, u64)>;
/// Of the certificate and of the key.
type Stamps = [Stamp; 2];

impl Identity {
    pub(super) fn read(tls: &config::HttpTls) -> anyhow::Result<Self> {
        let (certificate_file, private_key_file) =
            (tls.certificate_file.clone(), tls.private_key_file.clone());
        let stamps = stamps(&certificate_file, &private_key_file);
        let key = Arc::new(certified_key(&certificate_file, &private_key_file)?);
        Ok(Self { certificate_file, private_key_file, newest: Mutex::new((stamps, key)) })
    }

    /// The newest that is complete: files are renewed one after the other.
    fn newest(&self) -> Arc<CertifiedKey> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.certificate_file, &self.private_key_file);
        if stamps != newest.0 {
            match certified_key(&self.certificate_file, &self.private_key_file) {
                Ok(key) => {
                    tracing::info!(file = %self.certificate_file.display(), "certificate renewed");
                    newest.1 = Arc::new(key);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "the certificate before stays in use");
                }
            }
            newest.0 = stamps;
        }
        Arc::clone(&newest.1)
    }
}

fn stamps(certificate_file: &Path, private_key_file: &Path) -> Stamps {
    let stamp = |it: Metadata| Some((it.modified().ok()?, it.ino(), it.len()));
    [certificate_file, private_key_file].map(|path| std::fs::metadata(path).ok().and_then(stamp))
}

fn certified_key(certificate_file: &Path, private_key_file: &Path) -> anyhow::Result<CertifiedKey> {
    let chain = certificates(certificate_file)?;
    let key = PrivateKeyDer::from_pem_file(private_key_file).with_context(|| {
        format!("cannot read a private key from {}", private_key_file.display())
    })?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .context("the certificate and the private key do not belong together")
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.newest())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.newest())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
