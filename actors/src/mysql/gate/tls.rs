//! TLS towards servers: verified by an authority, or by nothing but what the server showed before.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_topology::instance::{FailureKind, ProbeFailure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SignatureVerificationAlgorithm,
    SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::{Fingerprint, fingerprint_of};
use crate::mysql::failure::{self, Phase};
use crate::mysql::{TlsIdentity, TlsOptions};

/// Certificate files are read again after this, so that renewed ones are taken on.
const FILES_HOLD: Duration = Duration::from_secs(10);

/// What bytes travel on.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Makes connections secure.
pub(in crate::mysql) struct Connector {
    options: TlsOptions,
    made: Mutex<Option<(Instant, TlsConnector)>>,
}

impl Connector {
    pub(in crate::mysql) fn new(options: TlsOptions) -> Self {
        Self { options, made: Mutex::default() }
    }

    /// The connection under TLS, and which key the server proved to hold.
    pub(super) async fn secure(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Fingerprint), ProbeFailure> {
        let connector = self.connector().await?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| failure::of_io(&error, Phase::Connecting))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let key = shown.and_then(|certificate| key_of(certificate).ok());
        let key = key.ok_or_else(|| failed(&"the server shows no certificate"))?;
        let fingerprint = fingerprint_of(key.as_ref());
        Ok((stream, fingerprint))
    }

    async fn connector(&self) -> Result<TlsConnector, ProbeFailure> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, connector)) = made
            && at.elapsed() < FILES_HOLD
        {
            return Ok(connector);
        }
        let options = self.options.clone();
        let config = tokio::task::spawn_blocking(move || config(&options)).await;
        let config = config.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        let connector = TlsConnector::from(Arc::new(config));
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), connector.clone()));
        Ok(connector)
    }
}

fn failed(error: &dyn std::fmt::Display) -> ProbeFailure {
    failure::new(FailureKind::Tls, format!("TLS failed: {error}"))
}

fn config(options: &TlsOptions) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let verifier: Arc<dyn ServerCertVerifier> = if options.is_unchecked() {
        Arc::new(AnyCertificate::new(&provider))
    } else {
        let roots = Arc::new(authorities(options)?);
        WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(io::Error::other)?
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = read_identity(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?
        }
    };
    // Each connection shows anew who is there.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn authorities(options: &TlsOptions) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &options.ca_file else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    for certificate in certificates(&std::fs::read(file)?)? {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    Ok(roots)
}

/// Certificates of a file, in PEM or a single one in DER.
fn certificates(bytes: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    if std::str::from_utf8(bytes).is_err() {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(io::Error::other)
}

fn read_identity(
    identity: &TlsIdentity,
) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = certificates(&std::fs::read(&identity.cert_file)?)?;
    let key = std::fs::read(&identity.key_file)?;
    let key = match std::str::from_utf8(&key) {
        Ok(_) => PrivateKeyDer::from_pem_slice(&key).map_err(io::Error::other)?,
        Err(_) => PrivateKeyDer::try_from(key).map_err(io::Error::other)?,
    };
    Ok((chain, key))
}

/// The public key of a certificate of any version of X.509.
fn key_of(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let (_, parsed) = parsed.map_err(|_| CertificateError::BadEncoding)?;
    Ok(SubjectPublicKeyInfoDer::from(parsed.tbs_certificate.subject_pki.raw.to_vec()))
}

/// Takes every certificate whose key the server holds; whether it is the one that it showed before
/// is judged afterwards. It goes by the key alone, as servers make themselves certificates that the
/// library does not read.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        key_of(end_entity).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = key_of(certificate)?;
        let entity = webpki::RawPublicKeyEntity::try_from(&key);
        let entity = entity.map_err(|_| CertificateError::BadEncoding)?;
        let mut known = self.algorithms.mapping.iter();
        let (_, possible) = known
            .find(|(scheme, _)| *scheme == signed.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let is_right = |it: &&dyn SignatureVerificationAlgorithm| {
            entity.verify_signature(*it, message, signed.signature()).is_ok()
        };
        if possible.iter().any(is_right) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = key_of(certificate)?;
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
