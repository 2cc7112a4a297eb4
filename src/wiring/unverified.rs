//! TLS between nodes that know each other by a key, not by their certificates.
//!
//! It keeps what they say from others, and gives them something to bind the proof of their key to
//! (`baton_actors::raft::Channel`): whoever is between two nodes has two connections, and the proof for
//! the one is none for the other. Until a key is proven, nobody knows who is there.

use std::sync::Arc;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// What the certificate is for: nothing asks.
const NAME: &str = "baton.invalid";

/// How a node answers its peers, and how it reaches them.
pub(super) type Both = (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>);

/// TLS with a certificate that is made here and now, which no file ever holds.
///
/// # Errors
/// When the machine has no random numbers.
pub(super) fn made() -> anyhow::Result<Both> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
    let made = made.context("cannot make a certificate")?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let chain = vec![made.cert.der().clone()];
    let provider = rustls::crypto::ring::default_provider();
    let key =
        CertifiedKey::from_der(chain, key, &provider).context("cannot use a made certificate")?;
    // It is shown to nobody who asks for a client's: they would want one of an authority of theirs.
    both(Arc::new(SingleCertAndKey::from(key)), None)
}

/// TLS with this certificate, which is shown to both sides.
///
/// # Errors
/// When TLS cannot be set up.
pub(super) fn with<I>(identity: Arc<I>) -> anyhow::Result<Both>
where
    I: ResolvesServerCert + ResolvesClientCert + 'static,
{
    both(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>, Some(identity))
}

fn both(
    server: Arc<dyn ResolvesServerCert>,
    client: Option<Arc<dyn ResolvesClientCert>>,
) -> anyhow::Result<Both> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut answering = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(server);
    answering.session_storage = Arc::new(NoServerSessionStorage {});
    answering.send_tls13_tickets = 0;
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let mut asking = match client {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    asking.resumption = Resumption::disabled();
    asking.enable_sni = false;
    Ok((Arc::new(answering), Arc::new(asking)))
}

/// Takes any certificate, as long as the other end has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
