//! What stands between the driver and a server, and decides what that server gets to know of the account.
//!
//! The driver takes the key that it encrypts the password with from any server, cannot tell one
//! self-made certificate from another, and gives the password in clear to whatever answers on a Unix
//! socket. So baton connects to servers itself; the driver speaks to the other end of a Unix socket
//! within this process. Until the login is over the gate reads every packet, then it only passes on.

mod login;
mod packet;
mod public_key;
mod relay;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener as StdUnixListener};
use std::sync::Arc;
use std::time::Duration;

use baton_topology::instance::{FailureKind, ProbeFailure};
use baton_topology::key::InstanceKey;
use mysql_async::Conn;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use self::login::{Login, Stopped};
use self::packet::{Greeting, Peer};
pub(super) use self::tls::Connector;
use super::failure::{self, Phase};
use super::{KEEPALIVE_AFTER, Shared, TlsMode};
use crate::certificates::{Fingerprint, Shown};
use crate::lateness::speaking_with;

/// How long after the driver gave up the gate is waited for, which knows why.
const OUTCOME_WITHIN: Duration = Duration::from_millis(200);

/// A login that succeeded.
pub(super) struct Opened {
    /// The driver's connection.
    pub(super) conn: Conn,
    /// The public key the server proved to hold; `None` without TLS.
    pub(super) fingerprint: Option<Fingerprint>,
    /// Ends the gate when dropped, whatever the server does.
    pub(super) lifeline: oneshot::Sender<()>,
}

/// Connects and logs in. The caller sets the deadline; dropping the future closes everything.
pub(super) async fn open(
    shared: &Arc<Shared>,
    key: &InstanceKey,
    addresses: &[IpAddr],
) -> Result<Opened, ProbeFailure> {
    let mut server = Peer::new(dial(key.port(), addresses).await.map_err(unreachable)?);
    let greeting = server.read().await.map_err(unreachable)?;
    let greeting = Greeting::parse(greeting)?;
    let with_tls = decides_for_tls(shared, key, greeting.offers_tls)?;

    let (listener, path) = listen().map_err(|error| no_gate(&error))?;
    let opts = shared.opts.clone().socket(Some(path));
    let (told, outcome) = oneshot::channel();
    let (lifeline, cut) = oneshot::channel();
    let (shared, key) = (Arc::clone(shared), key.clone());
    let server_key = key.clone();
    let mut gate = Gate::of(tokio::spawn(speaking_with(server_key, async move {
        let logged_in = match accept(listener).await {
            Ok(driver) => {
                let driver = Peer::new(driver);
                Login { shared, key, driver, server, greeting, with_tls }.run().await
            }
            Err(error) => Err(Stopped::ByGate(no_gate(&error))),
        };
        match logged_in {
            Ok(done) => {
                let _ = told.send(Ok(done.fingerprint));
                relay::relay(done.driver, done.server, cut).await;
            }
            Err(stopped) => {
                let _ = told.send(Err(stopped));
            }
        }
    })));
    let conn = Conn::new(opts).await;
    // A driver that never came to the gate is not waited for: it says why.
    let at_most = if conn.is_ok() { Duration::MAX } else { OUTCOME_WITHIN };
    // A gate that panicked says nothing; then the driver's connection broke.
    match (conn, timeout(at_most, outcome).await.ok().and_then(Result::ok)) {
        (Ok(conn), Some(Ok(fingerprint))) => {
            gate.is_needed = true;
            Ok(Opened { conn, fingerprint, lifeline })
        }
        (_, Some(Err(Stopped::ByGate(failure)))) => Err(failure),
        (Err(error), _) => Err(failure::of(&error, Phase::Connecting)),
        (Ok(_), _) => {
            Err(failure::new(FailureKind::Protocol, "the login broke off half-way".to_owned()))
        }
    }
}

/// The task of a gate. Until the login is over it ends with whoever waits for that.
struct Gate {
    task: JoinHandle<()>,
    is_needed: bool,
}

impl Gate {
    fn of(task: JoinHandle<()>) -> Self {
        Self { task, is_needed: false }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if !self.is_needed {
            self.task.abort();
        }
    }
}

/// Whether TLS is begun, or why this server is not spoken to.
fn decides_for_tls(
    shared: &Shared,
    key: &InstanceKey,
    is_offered: bool,
) -> Result<bool, ProbeFailure> {
    match (shared.options.tls.mode, is_offered) {
        (TlsMode::Off, _) => Ok(false),
        (TlsMode::Preferred | TlsMode::Required, true) => Ok(true),
        (TlsMode::Required, false) => {
            Err(failure::new(FailureKind::Tls, "the server does not offer TLS".to_owned()))
        }
        // What stands between could have taken the offer out.
        (TlsMode::Preferred, false) if shared.certificates.is_known(key) => {
            shared.certificates.note(key, Shown::NoTls);
            let message = format!(
                "the server offered TLS before and does not any more, so it is not logged in to. If that \
                 is meant, say so with: baton client -c confirm-certificate -i {key}"
            );
            Err(failure::new(FailureKind::TlsWithdrawn, message))
        }
        (TlsMode::Preferred, false) => Ok(false),
    }
}

async fn dial(port: u16, addresses: &[IpAddr]) -> io::Result<TcpStream> {
    let addresses: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
    let stream = TcpStream::connect(&*addresses).await?;
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&stream, KEEPALIVE_AFTER)?;
    Ok(stream)
}

/// A Unix socket for one connection of the driver's, under a name that is in no folder.
fn listen() -> io::Result<(UnixListener, String)> {
    let name = format!("baton-{}", Uuid::new_v4().simple());
    let listener = StdUnixListener::bind_addr(&UnixAddress::from_abstract_name(&name)?)?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, format!("\0{name}")))
}

/// The driver's connection: names of such sockets can be read by everybody on the machine.
async fn accept(listener: UnixListener) -> io::Result<UnixStream> {
    let us = i32::try_from(std::process::id()).ok();
    loop {
        let (stream, _) = listener.accept().await?;
        if us.is_some() && stream.peer_cred()?.pid() == us {
            return Ok(stream);
        }
    }
}

fn unreachable(error: io::Error) -> ProbeFailure {
    failure::of_io(&error, Phase::Connecting)
}

fn no_gate(error: &io::Error) -> ProbeFailure {
    let message = format!("cannot connect: no Unix socket within baton: {error}");
    let kind = if failure::is_ours(error) { FailureKind::Local } else { FailureKind::Connect };
    failure::new(kind, message)
}
