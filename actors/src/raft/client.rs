//! How nodes reach one another: HTTP/1.1 over connections that are opened by name.
//!
//! A name is looked up whenever a connection is opened, for peers keep their names and change
//! their addresses. Nothing is asked before both ends have proven a key on the connection
//! ([`super::proof`]); that takes several trips, so opening goes on if the call that wanted it is
//! over. Every call has a deadline; a connection that missed one is not used again.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
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

use super::keys::{KEYS_MAX, Keys};
use super::proof::{Answer, Asker, Channel};
use super::server::KEEP_ALIVE;

/// Where keys are proven.
pub(super) const KEY: &str = "/raft/key";
/// The header with which one begins to prove its keys.
pub(super) const OFFERS: &str = "baton-raft-offers";
/// The header with which it ends that.
pub(super) const PROOFS: &str = "baton-raft-proofs";
/// The header with the number of the node that is meant. Its name may be another node's by now.
pub(super) const TO: &str = "baton-raft-to";
/// How long opening a connection may take. A snapshot has a long deadline, and one that is sent to
/// a peer nobody can reach must not keep it waiting once it can be reached again.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long both ends may take to prove their keys.
const PROVE_WITHIN: Duration = Duration::from_secs(3);
/// A connection that was idle for longer is not used again: the other end may be closing it.
const IDLE_MAX: Duration = KEEP_ALIVE.checked_div(2).expect("not by zero");
/// How long a connection that is kept may take to be ready for another question.
const READY_WITHIN: Duration = Duration::from_millis(50);
/// So many connections to a peer are kept that nobody needs at the moment, and for so long after their
/// keys were proven.
const SPARES_MAX: usize = 4;
const SPARE_AGE_MAX: Duration = Duration::from_secs(15);
/// So many kept connections are given up for one call, because their keys are good no more.
const KEPT_MAX: usize = SPARES_MAX + 1;
/// After how long a peer counts as gone that confirms nothing of what it is sent.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(3);
/// Whoever answers more than this is not one of us.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A connection to a peer.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, and what its two ends have in common.
pub struct Connection {
    /// What is said.
    pub stream: Box<dyn Stream>,
    /// What proofs are bound to.
    pub channel: Channel,
}

impl Connection {
    /// One that is not encrypted.
    pub fn plain(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), channel: Channel::Plain }
    }
}

/// Opens connections to peers.
pub trait Connect: Send + Sync + 'static {
    /// Opens a connection to a seat, `host:port`. The caller sets the deadline.
    fn connect(&self, name: &str) -> BoxFuture<'static, io::Result<Connection>>;
}

/// Plain TCP. Whoever can read the network can read all that is said, and whoever can change what
/// goes over it can take part.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Connect for Plain {
    fn connect(&self, name: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let name = name.to_owned();
        async move {
            let stream = TcpStream::connect(name).await?;
            // Heartbeats are small and must not wait for company.
            stream.set_nodelay(true)?;
            let millis = u32::try_from(UNCONFIRMED_MAX.as_millis()).unwrap_or(u32::MAX);
            rustix::net::sockopt::set_tcp_user_timeout(&stream, millis)?;
            Ok(Connection::plain(stream))
        }
        .boxed()
    }
}

/// TLS over other connections.
pub struct Encrypted {
    inner: Arc<dyn Connect>,
    tls: TlsConnector,
    names: Names,
}

/// Which host a certificate has to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// That of the seat.
    Checked,
    /// Any: who it is, is proven by its key.
    Any,
}

/// What is asked for where any certificate is good.
const ANY_HOST: &str = "baton.invalid";

impl Encrypted {
    /// Encrypts what goes over the connections of `inner`. The certificate of a peer must be for the
    /// host of its seat.
    pub fn new(inner: Arc<dyn Connect>, config: Arc<rustls::ClientConfig>) -> Self {
        Self { inner, tls: TlsConnector::from(config), names: Names::Checked }
    }

    /// The same, with a configuration that takes any certificate: no host is asked for either.
    pub fn to_anybody(inner: Arc<dyn Connect>, config: Arc<rustls::ClientConfig>) -> Self {
        Self { inner, tls: TlsConnector::from(config), names: Names::Any }
    }
}

impl Connect for Encrypted {
    fn connect(&self, name: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let plain = self.inner.connect(name);
        let tls = self.tls.clone();
        let host = match self.names {
            Names::Checked => name.rsplit_once(':').map_or(name, |(host, _)| host),
            Names::Any => ANY_HOST,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        async move {
            let host = ServerName::try_from(host).map_err(io::Error::other)?;
            let stream = tls.connect(host, plain.await?.stream).await?;
            let channel = Channel::of_tls(stream.get_ref().1).map_err(io::Error::other)?;
            Ok(Connection { stream: Box::new(stream), channel })
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
    /// It wanted a proof, and did not prove to have a key of ours: nothing was asked.
    #[error("{name} has no key of ours")]
    Stranger {
        /// Who.
        name: String,
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
    keys: Keys,
    spares: Spares,
    /// Instead of connections.
    #[cfg(feature = "testing")]
    wire: Option<Arc<dyn super::simulated::Wire>>,
}

/// A connection that is kept for the next question, or is being opened for it.
#[derive(Default)]
pub(super) struct Line {
    open: Option<Open>,
    opening: Option<Opening>,
    /// Where it goes that nobody needs here any more.
    spares: Option<(Spares, String)>,
}

type Opening = Task<Result<Open, CallError>>;

struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// When it was opened, and its keys proven.
    proven: Instant,
    used: Instant,
    _task: Task<()>,
}

impl Open {
    /// Whether it can be used. One that stands is ready at once; a new one costs less than waiting.
    async fn is_ready(&mut self) -> bool {
        self.used.elapsed() < IDLE_MAX
            && matches!(timeout(READY_WITHIN, self.sender.ready()).await, Ok(Ok(())))
    }
}

/// Whether a connection was there before it was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some((spares, name)) = self.spares.take() {
            spares.keep(name, Spare { open: self.open.take(), opening: self.opening.take() });
        }
    }
}

/// Connections to peers that nobody needs at the moment, by name. Each election has lines of its own,
/// and on a busy machine a proof may take longer than one.
#[derive(Clone, Default)]
struct Spares(Arc<Mutex<BTreeMap<String, Vec<Spare>>>>);

struct Spare {
    open: Option<Open>,
    opening: Option<Opening>,
}

impl Spares {
    fn keep(&self, name: String, spare: Spare) {
        let is_of_use = |it: &Spare| match (&it.open, &it.opening) {
            // Of the keys that peers had long ago nothing follows for those they have.
            (Some(open), _) => {
                open.used.elapsed() < IDLE_MAX && open.proven.elapsed() < SPARE_AGE_MAX
            }
            (None, Some(opening)) => !opening.0.is_finished(),
            (None, None) => false,
        };
        // What is of no use is dropped without the lock.
        let mut dropped = Vec::new();
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.entry(name).or_default().push(spare);
        spares.retain(|_, of_peer| {
            let (useful, useless): (Vec<Spare>, Vec<Spare>) =
                std::mem::take(of_peer).into_iter().partition(is_of_use);
            *of_peer = useful;
            dropped.extend(useless);
            let too_many = of_peer.len().saturating_sub(SPARES_MAX);
            dropped.extend(of_peer.drain(..too_many));
            !of_peer.is_empty()
        });
        drop(spares);
    }

    fn take(&self, name: &str) -> Option<Spare> {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.get_mut(name)?.pop()
    }
}

/// A task that ends with whoever holds it: otherwise it would wait for ever for what nobody wants any
/// more.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    pub(super) fn new(connect: Arc<dyn Connect>, keys: Keys) -> Self {
        Self {
            connect,
            keys,
            spares: Spares::default(),
            #[cfg(feature = "testing")]
            wire: None,
        }
    }

    /// Asks over a simulated network.
    #[cfg(feature = "testing")]
    pub(super) fn over(wire: Arc<dyn super::simulated::Wire>, keys: Keys) -> Self {
        Self { connect: Arc::new(Plain), keys, spares: Spares::default(), wire: Some(wire) }
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
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
        let late_line = |error| match error {
            CallError::Timeout { .. } => CallError::Timeout { name: name(), within: call.within },
            other => other,
        };
        let mut tries = 0..KEPT_MAX;
        let (open, status, answer) = loop {
            let opened = timeout_at(deadline, self.line(line, call.name, deadline)).await;
            let (open, kept) = opened.map_err(late)?.map_err(late_line)?;
            let exchanged = exchange(open, call, body.clone());
            let (open, status, answer) = timeout_at(deadline, exchanged).await.map_err(late)??;
            // The key it was opened with is good no more, and nothing was done.
            if status == StatusCode::FORBIDDEN && kept == Kept::Yes && tries.next().is_some() {
                continue;
            }
            break (open, status, answer);
        };
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&answer).into_owned();
            line.open = Some(open).filter(|_| status != StatusCode::FORBIDDEN);
            return Err(CallError::Refused { name: name(), status, text });
        }
        line.open = Some(open);
        serde_json::from_slice(&answer).map_err(gibberish)
    }

    /// The connection that was kept, if it still stands, or a new one, which goes on being opened if
    /// that takes too long for this time.
    async fn line(
        &self,
        line: &mut Line,
        name: &str,
        deadline: Instant,
    ) -> Result<(Open, Kept), CallError> {
        line.spares = Some((self.spares.clone(), name.to_owned()));
        if let Some(mut open) = line.open.take()
            && open.is_ready().await
        {
            return Ok((open, Kept::Yes));
        }
        while line.opening.is_none()
            && let Some(spare) = self.spares.take(name)
        {
            if let Some(mut open) = spare.open
                && open.proven.elapsed() < SPARE_AGE_MAX
                && open.is_ready().await
            {
                return Ok((open, Kept::Yes));
            }
            line.opening = spare.opening.filter(|it| !it.0.is_finished());
        }
        let opening = line.opening.get_or_insert_with(|| {
            let (client, name) = (self.clone(), name.to_owned());
            Task(tokio::spawn(async move { client.open(&name).await }))
        });
        let late = |_| CallError::Timeout { name: name.to_owned(), within: CONNECT_WITHIN };
        let opened = timeout_at(deadline, &mut opening.0).await.map_err(late)?;
        line.opening = None;
        let opened = opened.unwrap_or_else(|error| {
            let (name, source) = (name.to_owned(), io::Error::other(error));
            Err(CallError::Unreachable { name, source })
        });
        opened.map(|open| (open, Kept::No))
    }

    /// Opens a connection on which both ends have proven a key.
    async fn open(&self, name: &str) -> Result<Open, CallError> {
        let unreachable = |source| CallError::Unreachable { name: name.to_owned(), source };
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let opened = timeout(CONNECT_WITHIN, self.connect.connect(name)).await;
        let Connection { stream, channel } = opened.map_err(late).flatten().map_err(unreachable)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| CallError::Broken { name: name.to_owned(), source })?;
        let task = Task(tokio::spawn(async move {
            // The sender is told of any error.
            let _ = connection.await;
        }));
        let now = Instant::now();
        let open = Open { sender, proven: now, used: now, _task: task };
        let proven = timeout(PROVE_WITHIN, self.prove(open, name, channel)).await;
        proven.map_err(late).map_err(unreachable)?
    }

    async fn prove(&self, mut open: Open, name: &str, channel: Channel) -> Result<Open, CallError> {
        let stranger = || CallError::Stranger { name: name.to_owned() };
        let mut columns = 1;
        // The second time for a peer that has more keys than usual.
        for _ in 0..2 {
            let asker = Asker::new(self.keys.all(), columns);
            let (answered, answer) = say(open, name, OFFERS, asker.offers()).await?;
            open = answered;
            let offers = match answer {
                Answer::Keys(many) if many <= KEYS_MAX => {
                    columns = many;
                    continue;
                }
                Answer::Offers(offers) => offers,
                Answer::Keys(_) | Answer::Proof(_) => return Err(stranger()),
            };
            let (proofs, proven) = asker.prove(channel, &offers).map_err(|_| stranger())?;
            let (answered, answer) = say(open, name, PROOFS, &proofs).await?;
            let Answer::Proof(proof) = answer else { return Err(stranger()) };
            let secret = proven.confirmed_by(&proof).map_err(|_| stranger())?;
            self.keys.note(name, &secret);
            return Ok(answered);
        }
        Err(stranger())
    }
}

/// Says a word of a proof, and hears the answer.
async fn say(
    open: Open,
    name: &str,
    header: &'static str,
    word: &str,
) -> Result<(Open, Answer), CallError> {
    let request = Request::builder().method(Method::POST).uri(KEY).header(header, word);
    let (open, status, answer) = send(open, name, request, Bytes::new()).await?;
    if status != StatusCode::OK {
        let (name, text) = (name.to_owned(), String::from_utf8_lossy(&answer).into_owned());
        return Err(CallError::Refused { name, status, text });
    }
    let answer = serde_json::from_slice(&answer)
        .map_err(|source| CallError::Gibberish { name: name.to_owned(), source })?;
    Ok((open, answer))
}

async fn exchange(
    open: Open,
    call: Call<'_>,
    body: Bytes,
) -> Result<(Open, StatusCode, Bytes), CallError> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(call.path)
        .header(hyper::header::CONTENT_TYPE, "application/json");
    if let Some(to) = call.to {
        request = request.header(TO, to);
    }
    send(open, call.name, request, body).await
}

async fn send(
    mut open: Open,
    name: &str,
    request: hyper::http::request::Builder,
    body: Bytes,
) -> Result<(Open, StatusCode, Bytes), CallError> {
    let broken = |source| CallError::Broken { name: name.to_owned(), source };
    let unreachable = |source| CallError::Unreachable { name: name.to_owned(), source };
    let request = request.header(hyper::header::HOST, name).body(Full::new(body));
    let request = request.map_err(|error| unreachable(io::Error::other(error)))?;
    // The answer before has been read, but the connection may not know that yet.
    open.sender.ready().await.map_err(broken)?;
    let response = open.sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let answer = answer.map_err(|error| unreachable(io::Error::other(error)))?;
    open.used = Instant::now();
    Ok((open, status, answer.to_bytes()))
}

/// What a node is told that has this secret and says this; for tests of who is let in.
///
/// # Errors
/// As a node is refused.
#[cfg(feature = "testing")]
pub async fn ask_as(
    secret: super::Secret,
    connect: Arc<dyn Connect>,
    (name, to): (&str, Option<u64>),
    path: &'static str,
    question: &str,
) -> Result<String, CallError> {
    let client = Client::new(connect, Keys::new(secret));
    let call = Call { path, name, to, within: CONNECT_WITHIN };
    let body = Bytes::copy_from_slice(question.as_bytes());
    let (_, status, answer) = exchange(client.open(name).await?, call, body).await?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let name = name.to_owned();
    if status == StatusCode::OK { Ok(text) } else { Err(CallError::Refused { name, status, text }) }
}
