//! How callers get from a socket to an answer: what actix's own server does, over connections that have
//! deadlines and make room for others.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{Extensions, HttpServiceBuilder, Protocol, Request, Response};
use actix_rt::net::{ActixStream, TcpStream, UnixStream};
use actix_server::{GracefulShutdownSignal, Server, ServerBuilder};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_tls::accept::{TlsError, max_concurrent_tls_connect};
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;

use crate::connections::{Connection, Connections, Limits, Timed, Watched, origin};

/// So many connections wait in the kernel until they are taken: many may come at once, and whoever finds
/// no place there tries again a second later only.
const BACKLOG: i32 = 4_096;
/// So long is what a client still sends read after its answer, so that the answer is not lost.
const LINGER: Duration = Duration::from_secs(1);

/// Where callers come.
#[derive(Debug)]
pub enum Place {
    /// To a port that is listened on.
    Tcp(TcpListener),
    /// To a socket of this machine, which is made.
    Unix(PathBuf),
}

/// How callers are served.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Encrypts what they say, on a port.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// So many connections there are at most.
    pub connections_max: usize,
    /// Threads.
    pub workers: usize,
    /// How long a connection is kept that has been answered.
    pub keep_alive: Duration,
    /// How long the first request of a connection may take to come.
    pub head_within: Duration,
    /// How long a handshake of TLS may take.
    pub handshake_within: Duration,
    /// How long requests under way may take to end when the server does.
    pub shutdown_seconds: u64,
    /// Called with the stream of each connection: what it puts there is known to each request of it,
    /// beside the [`Connection`].
    pub on_connect: fn(&dyn Any, &mut Extensions),
}

/// Begins to serve callers with the application that this makes.
///
/// # Errors
/// When the place cannot be listened on.
pub fn serve<F, I, S, B>(place: Place, terms: Terms, app: F) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request> + 'static,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let of_worker = (terms.connections_max / terms.workers).max(1);
    // Callers that say nothing hold up no other: there are as many handshakes at once as connections.
    max_concurrent_tls_connect(of_worker);
    let connections = Connections::new(Limits::of(terms.connections_max));
    let builder = Server::build()
        .workers(terms.workers)
        .max_concurrent_connections(of_worker)
        .shutdown_timeout(terms.shutdown_seconds)
        .disable_signals();
    let ending = builder.graceful_shutdown_signal();
    let builder: ServerBuilder = match place {
        Place::Unix(path) => builder.bind_uds("baton", path, move || {
            unix(&connections).and_then(http(app(), &terms, ending.clone()))
        })?,
        Place::Tcp(listener) => {
            rustix::net::listen(&listener, BACKLOG)?;
            match terms.tls.as_ref().map(|tls| acceptor(tls, &terms)) {
                None => builder.listen("baton", listener, move || {
                    plain(&connections).and_then(http(app(), &terms, ending.clone()))
                })?,
                Some(tls) => builder.listen("baton", listener, move || {
                    let http = http(app(), &terms, ending.clone());
                    encrypted(&connections, tls.clone()).and_then(http.map_err(TlsError::Service))
                })?,
            }
        }
    };
    Ok(builder.run())
}

/// A connection as actix serves it.
type Accepted<T> = (T, Protocol, Option<SocketAddr>);

/// HTTP over any stream.
fn http<T, I, S, B>(
    app: I,
    terms: &Terms,
    ending: GracefulShutdownSignal,
) -> impl ServiceFactory<Accepted<T>, Config = (), Response = (), Error = DispatchError, InitError = ()>
+ use<T, I, S, B>
where
    T: ActixStream + Watched + 'static,
    I: IntoServiceFactory<S, Request> + 'static,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let app = app.into_factory().map_err(|error| error.into().error_response());
    let on_connect = terms.on_connect;
    HttpServiceBuilder::default()
        .graceful_shutdown_signal(move || {
            let ending = ending.clone();
            async move { ending.notified().await }
        })
        .keep_alive(terms.keep_alive)
        // A client that is still sending what nobody reads gets its answer all the same.
        .client_disconnect_timeout(LINGER)
        .client_request_timeout(terms.head_within)
        .on_connect_ext(move |stream: &T, data| {
            data.insert::<Arc<Connection>>(Arc::clone(stream.connection()));
            on_connect(stream, data);
        })
        .finish(map_config(app, |()| AppConfig::default()))
}

/// Connections of this machine.
fn unix(
    connections: &Arc<Connections>,
) -> impl ServiceFactory<
    UnixStream,
    Config = (),
    Response = Accepted<Timed<UnixStream>>,
    Error = DispatchError,
    InitError = (),
> + use<> {
    let connections = Arc::clone(connections);
    fn_service(move |stream: UnixStream| {
        let connection = connections.enter(origin(None));
        async move {
            let connection = connection.map_err(io::Error::other)?;
            Ok((Timed::new(stream, connection), Protocol::Http1, None))
        }
    })
}

/// Connections over TCP.
fn plain(
    connections: &Arc<Connections>,
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = Accepted<Timed<TcpStream>>,
    Error = DispatchError,
    InitError = (),
> + use<> {
    let connections = Arc::clone(connections);
    fn_service(move |stream: TcpStream| {
        let entered = enter(&connections, stream);
        async move {
            let (stream, peer) = entered?;
            Ok((stream, Protocol::Http1, peer))
        }
    })
}

/// The same, encrypted. Its deadline begins before the handshake.
fn encrypted(
    connections: &Arc<Connections>,
    tls: Acceptor,
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = Accepted<TlsStream<Timed<TcpStream>>>,
    Error = TlsError<io::Error, DispatchError>,
    InitError = (),
> + use<> {
    let connections = Arc::clone(connections);
    fn_service(move |stream: TcpStream| {
        let entered = enter(&connections, stream);
        async move { entered.map(|(stream, _)| stream).map_err(TlsError::Tls) }
    })
    .and_then(tls.map_err(TlsError::into_service_error))
    .and_then(|stream: TlsStream<Timed<TcpStream>>| async move {
        let peer = stream.get_ref().0.stream().peer_addr().ok();
        Ok((stream, Protocol::Http1, peer))
    })
}

fn enter(
    connections: &Arc<Connections>,
    stream: TcpStream,
) -> io::Result<(Timed<TcpStream>, Option<SocketAddr>)> {
    let peer = stream.peer_addr().ok();
    let connection = connections.enter(origin(peer.map(|it| it.ip()))).map_err(io::Error::other)?;
    Ok((Timed::new(stream, connection), peer))
}

fn acceptor(tls: &Arc<rustls::ServerConfig>, terms: &Terms) -> Acceptor {
    let mut tls = (**tls).clone();
    tls.alpn_protocols.insert(0, b"http/1.1".to_vec());
    let mut acceptor = Acceptor::new(tls);
    acceptor.set_handshake_timeout(terms.handshake_within);
    acceptor
}
