//! The connections of callers: how long one may do nothing, and how many of them an address may have.
//!
//! actix-http gives a caller a deadline for the first request of a connection only (seen with 3.20); each
//! further one may take for ever, and so may reading an answer. Here every wait for a request has a
//! deadline, and so has every write. Where connections become scarce, those without a request under way
//! make room, the oldest of the address that has the most connections first: a caller that sends its
//! request is answered, however many others are silent.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::{ActixStream, Ready};
use actix_tls::accept::rustls_0_23::TlsStream;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection may be without a request under way: from its first byte, or the end of the
/// answer before, to the last byte of a head. actix answers 408 to the first one before that.
const WAIT_MAX: Duration = Duration::from_secs(12);
/// One that makes room for others ends after this, unless its request comes: a socket that was just
/// accepted tells of what has come only when it is asked again.
const GO_WITHIN: Duration = Duration::from_millis(100);
/// Those that were turned away are told of so often.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How long a caller may take none of an answer.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Where a caller is, as far as shares go: an IPv6 network of 64 bits has one, for whoever has one
/// address of it has them all. `None` is a socket of this machine.
pub type Origin = Option<IpAddr>;

/// The origin of an address.
pub fn origin(address: Option<IpAddr>) -> Origin {
    match address?.to_canonical() {
        IpAddr::V6(it) => Some(IpAddr::from((u128::from(it) >> 64 << 64).to_be_bytes())),
        v4 @ IpAddr::V4(_) => Some(v4),
    }
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From here on those that wait make room for new ones.
    crowded: usize,
    /// So many may come from one address: a proxy in front of baton is one.
    of_origin: usize,
}

impl Limits {
    /// Those of a server that has no more connections than this.
    pub fn of(connections_max: usize) -> Self {
        let part = |of_four: usize| (connections_max.saturating_mul(of_four) / 4).max(1);
        Self { crowded: part(3), of_origin: part(2) }
    }
}

/// The connections there are.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    count: usize,
    origins: BTreeMap<Origin, OfOrigin>,
    /// Orders connections by when they began to wait.
    next: u64,
    /// Those turned away since that was told last, and when that was.
    turned_away: u64,
    told: Option<Instant>,
}

#[derive(Debug, Default)]
struct OfOrigin {
    count: usize,
    /// Those without a request under way, the one that has waited longest first.
    waiting: BTreeMap<u64, Weak<Connection>>,
}

impl OfOrigin {
    /// Who has more of those that wait makes room first; among equals, who has waited longer.
    fn silence(&self) -> (usize, Reverse<u64>) {
        let oldest = self.waiting.first_key_value().map_or(u64::MAX, |(place, _)| *place);
        (self.waiting.len(), Reverse(oldest))
    }
}

/// There is no room for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many connections of one address")]
pub struct Full;

impl Connections {
    /// None yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new connection; one that waits may have to go for it.
    ///
    /// # Errors
    /// When its address has its share, and none of those waits. What this machine itself asks over a
    /// socket has no share.
    pub fn enter(self: &Arc<Self>, origin: Origin) -> Result<Arc<Connection>, Full> {
        let mut table = self.table();
        let of_origin = table.origins.get(&origin).map_or(0, |it| it.count);
        let goes = if origin.is_some() && of_origin >= self.limits.of_origin {
            let waits = table.longest_waiting(origin);
            if waits.is_none() {
                let count = table.turn_away();
                drop(table);
                if let Some(count) = count {
                    let from = origin.map(|it| it.to_string()).unwrap_or_default();
                    tracing::warn!(
                        from,
                        count,
                        "connections are refused: an address has its share of them, all busy"
                    );
                }
                return Err(Full);
            }
            waits
        } else if table.count >= self.limits.crowded {
            // Never one of an origin that has fewer than this: it would be who can help it least.
            let may_go = |it: &OfOrigin| !it.waiting.is_empty() && it.count >= of_origin;
            let others = table.origins.iter().filter(|(_, it)| may_go(it));
            let most = others.max_by_key(|(_, it)| it.silence()).map(|(origin, _)| *origin);
            most.and_then(|origin| table.longest_waiting(origin))
        } else {
            None
        };
        table.count += 1;
        table.origins.entry(origin).or_default().count += 1;
        let connection = Arc::new(Connection {
            connections: Arc::clone(self),
            origin,
            progress: Mutex::new(Progress { under_way: 0, place: 0, since: Instant::now() }),
            is_to_go: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        connection.progress().place = table.wait(&connection);
        drop(table);
        if let Some(connection) = goes {
            connection.is_to_go.store(true, Ordering::Release);
            connection.waker.wake();
        }
        Ok(connection)
    }
}

impl Table {
    /// One more is turned away; how many were, if that is to be told.
    fn turn_away(&mut self) -> Option<u64> {
        self.turned_away += 1;
        if self.told.is_some_and(|at| at.elapsed() < TOLD_EVERY) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.turned_away))
    }

    fn wait(&mut self, connection: &Arc<Connection>) -> u64 {
        self.next += 1;
        let waiting = &mut self.origins.entry(connection.origin).or_default().waiting;
        waiting.insert(self.next, Arc::downgrade(connection));
        self.next
    }

    fn waits_no_more(&mut self, origin: Origin, place: u64) {
        if let Some(of_origin) = self.origins.get_mut(&origin) {
            of_origin.waiting.remove(&place);
        }
    }

    /// Takes the one of an origin that has waited longest from those that wait.
    fn longest_waiting(&mut self, origin: Origin) -> Option<Arc<Connection>> {
        let waiting = &mut self.origins.get_mut(&origin)?.waiting;
        while let Some((_, connection)) = waiting.pop_first() {
            // One that just ends makes room by itself.
            if let Some(connection) = connection.upgrade() {
                return Some(connection);
            }
        }
        None
    }
}

/// What one connection does.
#[derive(Debug)]
pub struct Connection {
    connections: Arc<Connections>,
    origin: Origin,
    progress: Mutex<Progress>,
    is_to_go: AtomicBool,
    /// Whether it makes room for no other.
    is_kept: AtomicBool,
    /// The task that serves it.
    waker: AtomicWaker,
}

#[derive(Debug)]
struct Progress {
    /// Requests that are not answered to the end.
    under_way: usize,
    /// Among those that wait, if it is one of them.
    place: u64,
    /// When it began to wait.
    since: Instant,
}

impl Connection {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come; it is under way as long as the result lives.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        let mut progress = self.progress();
        progress.under_way += 1;
        if progress.under_way == 1 {
            self.connections.table().waits_no_more(self.origin, progress.place);
        }
        UnderWay(Arc::clone(self))
    }

    /// From now on it makes room for no other: who is at its end, is proven.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Release);
        self.is_to_go.store(false, Ordering::Release);
        let progress = self.progress();
        self.connections.table().waits_no_more(self.origin, progress.place);
    }

    /// When it is closed unless a request comes; none while one is under way.
    fn deadline(&self) -> Option<Instant> {
        let makes_room =
            self.is_to_go.load(Ordering::Acquire) && !self.is_kept.load(Ordering::Acquire);
        let progress = self.progress();
        let within = if makes_room { GO_WITHIN } else { WAIT_MAX };
        (progress.under_way == 0).then(|| progress.since + within)
    }

    /// A part of an answer was sent: the wait for the next request begins after the last one.
    fn wrote(&self) {
        let mut progress = self.progress();
        if progress.under_way == 0 {
            progress.since = Instant::now();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let place = self.progress().place;
        let mut table = self.connections.table();
        table.count = table.count.saturating_sub(1);
        table.waits_no_more(self.origin, place);
        if let Some(of_origin) = table.origins.get_mut(&self.origin) {
            of_origin.count = of_origin.count.saturating_sub(1);
            if of_origin.count == 0 {
                table.origins.remove(&self.origin);
            }
        }
    }
}

/// A request that is under way.
#[derive(Debug)]
pub struct UnderWay(Arc<Connection>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut progress = self.0.progress();
        progress.under_way = progress.under_way.saturating_sub(1);
        if progress.under_way == 0 {
            progress.since = Instant::now();
            if !self.0.is_kept.load(Ordering::Acquire) {
                progress.place = self.0.connections.table().wait(&self.0);
            }
        }
    }
}

/// The stream of a connection, which ends when its time is over.
#[derive(Debug)]
pub struct Timed<S> {
    stream: S,
    connection: Arc<Connection>,
    wait: Option<Pin<Box<Sleep>>>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    /// The stream of this connection.
    pub fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self { stream, connection, wait: None, stall: None }
    }

    /// The stream itself.
    pub fn stream(&self) -> &S {
        &self.stream
    }
}

/// Whatever belongs to a connection that is watched.
pub trait Watched {
    /// Which one that is.
    fn connection(&self) -> &Arc<Connection>;
}

impl<S> Watched for Timed<S> {
    fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl<S: Watched> Watched for TlsStream<S> {
    fn connection(&self) -> &Arc<Connection> {
        self.get_ref().0.connection()
    }
}

/// Whether a time has come; the task is woken when it does.
fn is_over(timer: &mut Option<Pin<Box<Sleep>>>, at: Instant, cx: &mut Context<'_>) -> bool {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
    if timer.deadline() != at {
        timer.as_mut().reset(at);
    }
    timer.as_mut().poll(cx).is_ready()
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    /// Tells the end where there is nothing to read and no time left: what is served ends in peace.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.connection.waker.register(cx.waker());
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        // What has come in counts, and an answer that is still being sent has a limit of its own.
        if read.is_ready() || this.stall.is_some() {
            return read;
        }
        let is_late = |deadline| is_over(&mut this.wait, deadline, cx);
        if this.connection.deadline().is_some_and(is_late) {
            return Poll::Ready(Ok(()));
        }
        read
    }
}

impl<S> Timed<S> {
    /// Fails a write that gets nowhere for too long.
    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            self.connection.wrote();
            return written;
        }
        let at = self.stall.as_ref().map_or_else(|| Instant::now() + STALL_MAX, |it| it.deadline());
        match is_over(&mut self.stall, at, cx) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.judge(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: ActixStream> ActixStream for Timed<S> {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.stream.poll_read_ready(cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.stream.poll_write_ready(cx)
    }
}

#[cfg(test)]
mod tests;
