//! Passes bytes on in both directions, until either side ends.
//!
//! There is a gate for every connection, and most are idle: one holds no buffer while nothing waits.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::tls::Transport;

/// So much is read at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// Passes on until either side ends, or `cut` resolves: then what can be passed on at once still is.
pub(super) async fn relay(
    mut driver: UnixStream,
    mut server: Box<dyn Transport>,
    mut cut: oneshot::Receiver<()>,
) {
    let (mut up, mut down) = (Pipe::default(), Pipe::default());
    std::future::poll_fn(|cx| {
        let is_cut = cut.poll_unpin(cx).is_ready();
        // Errors end it like an end: the driver knows those of a connection that breaks.
        let is_up_over = up.poll(cx, Pin::new(&mut driver), Pin::new(&mut server)).is_ready();
        let is_down_over = down.poll(cx, Pin::new(&mut server), Pin::new(&mut driver)).is_ready();
        if is_cut || is_up_over || is_down_over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    // Says goodbye if that is possible at once.
    let _ = server.shutdown().now_or_never();
}

/// One direction.
#[derive(Default)]
struct Pipe {
    /// What was read and is not written yet.
    waiting: Vec<u8>,
    is_flushed: bool,
    is_over: bool,
}

impl Pipe {
    /// Ready once `from` has ended and everything is written, or on an error.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Pin<&mut R>,
        mut to: Pin<&mut W>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead,
        W: AsyncWrite,
    {
        loop {
            while !self.waiting.is_empty() {
                let written = ready!(to.as_mut().poll_write(cx, &self.waiting))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.waiting.drain(..written);
                self.is_flushed = false;
            }
            self.waiting = Vec::new();
            if !self.is_flushed {
                ready!(to.as_mut().poll_flush(cx))?;
                self.is_flushed = true;
            }
            if self.is_over {
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [MaybeUninit::uninit(); CHUNK_BYTES];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(from.as_mut().poll_read(cx, &mut chunk))?;
            self.is_over = chunk.filled().is_empty();
            let written = match to.as_mut().poll_write(cx, chunk.filled()) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.is_flushed = false;
            self.waiting.extend_from_slice(chunk.filled().get(written..).unwrap_or_default());
        }
    }
}
