//! Packets of MySQL's protocol during the login, and the first of them.

use std::io;

use baton_topology::instance::{FailureKind, ProbeFailure};
use mysql_async::ServerError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::mysql::failure;

/// The largest packet that is read before a login is over. Keys and messages are a fraction of that.
const PACKET_BYTES_MAX: usize = 64 << 10;

/// Scrambles are made for so many bytes of a server's choice.
pub(super) const NONCE_BYTES: usize = 20;

/// The first byte of packets.
pub(super) const OK: u8 = 0x00;
pub(super) const MORE_DATA: u8 = 0x01;
pub(super) const SWITCH: u8 = 0xfe;
pub(super) const ERROR: u8 = 0xff;

/// The bit of the capabilities that stands for TLS, within their second byte.
pub(super) const TLS_BIT: u8 = 0x08;

/// One side of a login, and the number its next packet has.
pub(super) struct Peer<S> {
    pub(super) stream: S,
    number: u8,
}

impl<S> Peer<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, number: 0 }
    }

    /// The stream, and the side without.
    pub(super) fn apart(self) -> (S, Peer<()>) {
        (self.stream, Peer { stream: (), number: self.number })
    }

    /// The same side over another stream.
    pub(super) fn over<T>(self, stream: impl FnOnce(S) -> T) -> Peer<T> {
        Peer { stream: stream(self.stream), number: self.number }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(super) async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await?;
        let [low, middle, high, number] = head;
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        if length > PACKET_BYTES_MAX || number != self.number {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        self.number = number.wrapping_add(1);
        Ok(payload)
    }

    pub(super) async fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let [low, middle, high, 0] = length.to_le_bytes() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut packet = vec![low, middle, high, self.number];
        packet.extend_from_slice(payload);
        self.stream.write_all(&packet).await?;
        self.stream.flush().await?;
        self.number = self.number.wrapping_add(1);
        Ok(())
    }
}

/// What a server says first.
pub(super) struct Greeting {
    pub(super) payload: Vec<u8>,
    pub(super) offers_tls: bool,
    /// What scrambles are made for.
    pub(super) nonce: Vec<u8>,
    /// How it would like to be logged in to.
    pub(super) plugin: Vec<u8>,
}

impl Greeting {
    /// Reads a greeting; the server's refusal, if it is one.
    pub(super) fn parse(payload: Vec<u8>) -> Result<Self, ProbeFailure> {
        if payload.first() == Some(&ERROR) {
            return Err(refusal(&payload).map_or_else(nonsense, |it| failure::of_server(&it)));
        }
        let read = read_greeting(&payload);
        let (offers_tls, nonce, plugin) = read.ok_or_else(nonsense)?;
        Ok(Self { payload, offers_tls, nonce, plugin })
    }
}

/// Whether TLS is offered, the nonce, and the name of the plugin.
fn read_greeting(payload: &[u8]) -> Option<(bool, Vec<u8>, Vec<u8>)> {
    const PROTOCOL: u8 = 10;
    let rest = payload.strip_prefix(&[PROTOCOL])?;
    let (_version, rest) = until_zero(rest)?;
    // The connection's number.
    let rest = rest.get(4..)?;
    let (first, rest) = rest.split_at_checked(8)?;
    // A zero, then: capabilities, character set, status, capabilities, length of the nonce, reserved.
    let capabilities = *rest.get(2)?;
    let rest = rest.get(1 + 2 + 1 + 2 + 2 + 1 + 10..)?;
    let (second, rest) = rest.split_at_checked(NONCE_BYTES - 8)?;
    let rest = rest.strip_prefix(&[0]).unwrap_or(rest);
    let plugin = until_zero(rest).map_or(rest, |(plugin, _)| plugin);
    Some((capabilities & TLS_BIT != 0, [first, second].concat(), plugin.to_vec()))
}

/// Another way to log in that a server asks for: its name, and the nonce for it.
pub(super) fn read_switch(payload: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (plugin, nonce) = until_zero(payload.strip_prefix(&[SWITCH])?)?;
    Some((plugin.to_vec(), nonce.strip_suffix(&[0]).unwrap_or(nonce).to_vec()))
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// The words in which a server refuses. Before it knows the client it tells no state.
fn refusal(payload: &[u8]) -> Option<ServerError> {
    let (code, text) = payload.get(1..)?.split_first_chunk::<2>()?;
    let text = match text.strip_prefix(b"#") {
        Some(text) => text.get(5..)?,
        None => text,
    };
    Some(ServerError {
        code: u16::from_le_bytes(*code),
        message: String::from_utf8_lossy(text).into_owned(),
        state: "HY000".to_owned(),
    })
}

pub(super) fn nonsense() -> ProbeFailure {
    failure::new(FailureKind::Protocol, "the server does not speak MySQL's protocol".to_owned())
}
