//! How nodes reach one another: HTTP/1.1 over connections that are opened by name.
//!
//! A name is looked up whenever a connection is opened, for peers keep their names and change
//! their addresses. Every call has a deadline; a connection that missed one is not used again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::secret::Secret;

/// The header with the shared secret.
pub(super) const SECRET: &str = "baton-raft-secret";
/// The header with the number of the node that is meant. Its name may be another node's by now.
pub(super) const TO: &str = "baton-raft-to";
/// How long opening a connection may take. A snapshot has a long deadline, and one that is sent to
/// a peer nobody can reach must not keep it waiting once it can be reached again.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// After how long a peer counts as gone that confirms nothing of what it is sent.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(3);
/// Whoever answers more than this is not one of us.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A connection to a peer.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections to peers.
pub trait Connect: Send + Sync + 'static {
    /// Opens a connection to a seat, `host:port`. The caller sets the deadline.
    fn connect(&self, name: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

/// Plain TCP. Whoever can read the network can read the secret.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Connect for Plain {
    fn connect(&self, name: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let name = name.to_owned();
        async move {
            let stream = TcpStream::connect(name).await?;
            // Heartbeats are small and must not wait for company.
            stream.set_nodelay(true)?;
            let millis = u32::try_from(UNCONFIRMED_MAX.as_millis()).unwrap_or(u32::MAX);
            rustix::net::sockopt::set_tcp_user_timeout(&stream, millis)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    }
}

/// TLS over other connections. The certificate of a peer must be for the host of its seat.
pub struct Encrypted {
    inner: Arc<dyn Connect>,
    tls: TlsConnector,
}

impl Encrypted {
    /// Encrypts what goes over the connections of `inner`.
    pub fn new(inner: Arc<dyn Connect>, config: Arc<rustls::ClientConfig>) -> Self {
        Self { inner, tls: TlsConnector::from(config) }
    }
}

impl Connect for Encrypted {
    fn connect(&self, name: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let plain = self.inner.connect(name);
        let tls = self.tls.clone();
        let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        async move {
            let host = ServerName::try_from(host).map_err(io::Error::other)?;
            let stream = tls.connect(host, plain.await?).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    }
}

/// Why a peer gave no answer that counts.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It cannot be reached.
    #[error("{name} cannot be reached")]
    Unreachable {
        /// Who.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke; it may or may not have been asked.
    #[error("the connection to {name} broke")]
    Broken {
        /// To whom.
        name: String,
        /// Why.
        source: hyper::Error,
    },
    /// No answer in time; it may or may not have been asked.
    #[error("{name} did not answer within {} ms", within.as_millis())]
    Timeout {
        /// Who.
        name: String,
        /// How long was waited.
        within: Duration,
    },
    /// It refused.
    #[error("{name} refuses: {status}: {text}")]
    Refused {
        /// Who.
        name: String,
        /// With which status.
        status: StatusCode,
        /// In which words.
        text: String,
    },
    /// The question or the answer cannot be put into words.
    #[error("what {name} is told or tells cannot be understood")]
    Gibberish {
        /// Who.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// One question to a peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) path: &'static str,
    /// The seat that is asked.
    pub(super) name: &'a str,
    /// Who is meant, if only that node may answer.
    pub(super) to: Option<u64>,
    pub(super) within: Duration,
}

/// Asks peers, over one connection to each kept by its owner.
#[derive(Clone)]
pub(super) struct Client {
    connect: Arc<dyn Connect>,
    secret: Secret,
    /// Instead of connections.
    #[cfg(feature = "testing")]
    wire: Option<Arc<dyn super::simulated::Wire>>,
}

/// A connection that is kept for the next question.
#[derive(Default)]
pub(super) struct Line(Option<Open>);

struct Open {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Otherwise it would wait for ever for an answer that nobody wants any more.
        self.task.abort();
    }
}

impl Client {
    pub(super) fn new(connect: Arc<dyn Connect>, secret: Secret) -> Self {
        Self {
            connect,
            secret,
            #[cfg(feature = "testing")]
            wire: None,
        }
    }

    /// Asks over a simulated network.
    #[cfg(feature = "testing")]
    pub(super) fn over(wire: Arc<dyn super::simulated::Wire>, secret: Secret) -> Self {
        Self { connect: Arc::new(Plain), secret, wire: Some(wire) }
    }

    /// Asks, over a connection of its own.
    pub(super) async fn ask_once<Q: Serialize, A: DeserializeOwned>(
        &self,
        call: Call<'_>,
        question: &Q,
    ) -> Result<A, CallError> {
        self.ask(&mut Line::default(), call, question).await
    }

    /// Asks. The line is only kept if the answer came.
    pub(super) async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        line: &mut Line,
        call: Call<'_>,
        question: &Q,
    ) -> Result<A, CallError> {
        let name = || call.name.to_owned();
        let gibberish = |source| CallError::Gibberish { name: name(), source };
        let body = Bytes::from(serde_json::to_vec(question).map_err(gibberish)?);
        let deadline = Instant::now() + call.within;
        #[cfg(feature = "testing")]
        if let Some(wire) = &self.wire {
            return super::simulated::ask(&**wire, call, body).await;
        }
        let late = |_| CallError::Timeout { name: name(), within: call.within };
        let kept = line.0.take();
        let (open, status, answer) =
            timeout_at(deadline, self.exchange(kept, call, body)).await.map_err(late)??;
        line.0 = Some(open);
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&answer).into_owned();
            return Err(CallError::Refused { name: name(), status, text });
        }
        serde_json::from_slice(&answer).map_err(gibberish)
    }

    async fn exchange(
        &self,
        kept: Option<Open>,
        call: Call<'_>,
        body: Bytes,
    ) -> Result<(Open, StatusCode, Bytes), CallError> {
        let broken = |source| CallError::Broken { name: call.name.to_owned(), source };
        let mut open = self.line(kept, call.name).await?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(call.path)
            .header(hyper::header::HOST, call.name)
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .header(SECRET, self.secret.header());
        if let Some(to) = call.to {
            request = request.header(TO, to);
        }
        let request = request.body(Full::new(body)).map_err(|error| CallError::Unreachable {
            name: call.name.to_owned(),
            source: io::Error::other(error),
        })?;
        let response = open.sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let answer = answer.map_err(|error| CallError::Unreachable {
            name: call.name.to_owned(),
            source: io::Error::other(error),
        })?;
        Ok((open, status, answer.to_bytes()))
    }

    /// The connection that was kept, if it still stands, or a new one.
    async fn line(&self, kept: Option<Open>, name: &str) -> Result<Open, CallError> {
        if let Some(mut open) = kept
            && open.sender.ready().await.is_ok()
        {
            return Ok(open);
        }
        let unreachable = |source| CallError::Unreachable { name: name.to_owned(), source };
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let opened = timeout(CONNECT_WITHIN, self.connect.connect(name)).await;
        let stream = opened.map_err(late).flatten().map_err(unreachable)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| CallError::Broken { name: name.to_owned(), source })?;
        let task = tokio::spawn(async move {
            // The sender is told of any error.
            let _ = connection.await;
        });
        Ok(Open { sender, task })
    }
}
