//! Between the nodes of a raft: who relays what they say, reads along, says it again, or only knocks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::BATON;
use crate::support::{Baton, Certificates, PATIENCE, free_seats, wait_until};

/// Takes any certificate, as one does who is between two nodes.
#[derive(Debug)]
struct Anything;

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let provider = rustls::crypto::ring::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

fn connector() -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A connection to one that speaks TLS with anybody, if it is there.
async fn try_to_knock(address: &str) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.ok()?;
    let name = ServerName::try_from("anybody").expect("a name");
    connector().connect(name, stream).await.ok()
}

async fn knock(address: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
    try_to_knock(address).await.expect("it listens")
}

/// Somebody between the nodes.
struct Relay {
    /// Whether it has a conversation with either side, or passes on what it cannot read.
    pries: AtomicBool,
    /// What went through its hands, as far as it could read that.
    read: Mutex<Vec<u8>>,
    acceptor: TlsAcceptor,
}

impl Relay {
    fn new(certificates: &Certificates) -> Arc<Self> {
        let chain = CertificateDer::pem_file_iter(&certificates.server_cert).expect("its file");
        let key = PrivateKeyDer::from_pem_file(&certificates.server_key).expect("its key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_no_client_auth()
            .with_single_cert(chain.map(|it| it.expect("a certificate")).collect(), key)
            .expect("a certificate with its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Arc::new(Self { pries: AtomicBool::new(true), read: Mutex::default(), acceptor })
    }

    /// Stands before `to`.
    async fn stand(self: Arc<Self>, listener: TcpListener, to: SocketAddr) {
        loop {
            let (from, _) = listener.accept().await.expect("somebody");
            let relay = Arc::clone(&self);
            tokio::spawn(async move { relay.pass_on(from, to).await });
        }
    }

    async fn pass_on(&self, mut from: TcpStream, to: SocketAddr) -> Option<()> {
        if self.pries.load(Ordering::SeqCst) {
            let from = self.acceptor.accept(from).await.ok()?;
            let to = try_to_knock(&to.to_string()).await?;
            let ((mut one, mut to_one), (mut other, mut to_other)) = (split(from), split(to));
            let there = self.copy(&mut one, &mut to_other);
            let back = self.copy(&mut other, &mut to_one);
            // Either side may hang up, and then that is over.
            tokio::select! { _ = there => {}, _ = back => {} }
        } else {
            let mut to = TcpStream::connect(to).await.ok()?;
            copy_bidirectional(&mut from, &mut to).await.ok()?;
        }
        Some(())
    }

    async fn copy(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            self.read.lock().expect("no panic").extend(&buffer[..read]);
            to.write_all(&buffer[..read]).await?;
            to.flush().await?;
        }
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.read.lock().expect("no panic")).into_owned()
    }
}

/// Three nodes, each behind the relay as its peers have it.
fn nodes_behind(seats: &[String; 3], binds: &[String; 3]) -> Vec<Baton> {
    let all = seats.join(",");
    let start = |(seat, bind): (&String, &String)| {
        let settings = [
            ("BATON_RAFTENABLED", "true"),
            ("BATON_RAFTDATADIR", "raft"),
            ("BATON_RAFTBIND", bind.as_str()),
            ("BATON_RAFTADVERTISE", seat),
            ("BATON_RAFTNODES", &all),
        ];
        Baton::start(BATON, Vec::new(), &settings)
    };
    seats.iter().zip(binds).map(start).collect()
}

#[test]
fn who_relays_between_nodes_learns_nothing_and_gets_nowhere() {
    let folder = tempfile::tempdir().expect("a folder for certificates");
    let relay = Relay::new(&Certificates::make(folder.path()));
    let (seats, binds): ([String; 3], [String; 3]) = (free_seats(), free_seats());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (seat, bind) in seats.iter().zip(&binds) {
        let listener = runtime.block_on(TcpListener::bind(seat)).expect("the seat is free");
        runtime.spawn(Arc::clone(&relay).stand(listener, bind.parse().expect("an address")));
    }
    let nodes = nodes_behind(&seats, &binds);
    for node in &nodes {
        wait_until(PATIENCE, "it does not believe the one between", || {
            node.log().contains("403 Forbidden: the secret is not ours").then_some(())
        });
        assert_eq!(node.get("/api/raft-peers"), serde_json::json!([]));
    }
    let heard = relay.heard();
    assert!(heard.contains("baton-raft-offers") && heard.contains("baton-raft-proofs"), "{heard}");
    for word in ["/raft/hello", "\"seats\"", "\"Proof\"", "s3cret"] {
        assert!(!heard.contains(word), "{word}: {heard}");
    }

    // What it heard opens nothing when it is said again.
    let offers = heard.split("\r\n").find(|it| it.starts_with("baton-raft-offers: "));
    let proofs = heard.split("\r\n").find(|it| it.starts_with("baton-raft-proofs: "));
    let said_again = [offers.expect("offers"), proofs.expect("proofs")];
    let answers = runtime.block_on(say(&binds[0], &said_again));
    assert!(answers[0].starts_with("HTTP/1.1 200 "), "offers alone say nothing: {answers:?}");
    assert!(answers[1].starts_with("HTTP/1.1 403 "), "{answers:?}");

    // Whoever passes on what is not for them is no more than a wire.
    relay.pries.store(false, Ordering::SeqCst);
    for node in &nodes {
        node.until("/api/raft-health", "it takes part", |it| (*it == "healthy").then_some(()));
    }
}

/// Says these headers to where keys are proven, one after the other on one connection.
async fn say(address: &str, headers: &[&str]) -> Vec<String> {
    let mut stream = knock(address).await;
    let mut answers = Vec::new();
    for header in headers {
        let request =
            format!("POST /raft/key HTTP/1.1\r\nhost: a\r\n{header}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("send");
        stream.flush().await.expect("send");
        let mut buffer = vec![0; 16 << 10];
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time");
        let read = read.unwrap_or_default();
        answers.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
    }
    answers
}

#[test]
fn a_stranger_does_not_keep_a_connection_to_the_raft_port() {
    let [seat] = free_seats();
    let settings = [
        ("BATON_RAFTENABLED", "true"),
        ("BATON_RAFTDATADIR", "raft"),
        ("BATON_RAFTBIND", seat.as_str()),
        ("BATON_RAFTSECRET", "open sesame"),
    ];
    let body = "POST /raft/hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let key = "POST /raft/key HTTP/1.1\r\nHost: x\r\nbaton-raft-offers: AAAA\r\n\
               Transfer-Encoding: chunked\r\n\r\n";
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for plain in ["false", "true"] {
        let plain_text = ("BATON_RAFTALLOWPLAINTEXT", plain);
        let _baton = Baton::start(BATON, Vec::new(), &[&settings[..], &[plain_text]].concat());
        for request in [body, key] {
            let answer = runtime.block_on(async {
                match plain {
                    "true" => {
                        hear(TcpStream::connect(&seat).await.expect("it listens"), request).await
                    }
                    _ => hear(knock(&seat).await, request).await,
                }
            });
            assert!(answer.starts_with("HTTP/1.1 403 "), "{plain}: {answer}");
        }
        // One that offers something sensible and then says nothing is not waited for either.
        let silent = "POST /raft/key HTTP/1.1\r\nHost: x\r\ncontent-length: 0\r\nbaton-raft-offers: ,\r\n\r\n";
        if plain == "true" {
            let answer = runtime.block_on(async {
                hear(TcpStream::connect(&seat).await.expect("it listens"), silent).await
            });
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
}

/// What is answered until the other end hangs up.
async fn hear(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("send");
    stream.flush().await.expect("send");
    let mut answer = Vec::new();
    let ended = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "it is hung up on");
    String::from_utf8_lossy(&answer).into_owned()
}
