//! The login, packet by packet.

use std::io;
use std::sync::Arc;

use baton_topology::instance::{FailureKind, ProbeFailure};
use baton_topology::key::InstanceKey;
use tokio::net::{TcpStream, UnixStream};

use super::packet::{
    ERROR, Greeting, MORE_DATA, NONCE_BYTES, OK, Peer, SWITCH, TLS_BIT, nonsense, read_switch,
};
use super::tls::Transport;
use super::{public_key, unreachable};
use crate::certificates::{Fingerprint, Judgement, Shown, Verified};
use crate::mysql::{Shared, failure};

/// A login takes fewer packets of the server's.
const ROUNDS_MAX: usize = 8;
/// What comes before the account in a client's answer: capabilities and the like.
const ANSWER_HEAD_BYTES: usize = 32;

const CACHING_SHA2: &[u8] = b"caching_sha2_password";
/// Ways to log in that prove to know the password and do not tell it. `caching_sha2_password` does so
/// unless the server asks for more, which the gate sees.
const PLUGINS: [&[u8]; 3] = [CACHING_SHA2, b"mysql_native_password", b"client_ed25519"];

/// What servers ask with `caching_sha2_password`, after the byte for more data.
const KNOWS_SCRAMBLE: u8 = 0x03;
const WANTS_PASSWORD: u8 = 0x04;
/// What a client answers to get the server's public key.
const ASKS_FOR_KEY: u8 = 0x02;

/// A login under way.
pub(super) struct Login {
    pub(super) shared: Arc<Shared>,
    pub(super) key: InstanceKey,
    pub(super) driver: Peer<UnixStream>,
    pub(super) server: Peer<TcpStream>,
    pub(super) greeting: Greeting,
    pub(super) with_tls: bool,
}

/// What is left of one that succeeded.
pub(super) struct LoggedIn {
    pub(super) driver: UnixStream,
    pub(super) server: Box<dyn Transport>,
    pub(super) fingerprint: Option<Fingerprint>,
}

/// Why a login ended early.
pub(super) enum Stopped {
    /// Here.
    ByGate(ProbeFailure),
    /// The driver knows why.
    ByDriver,
}

impl From<ProbeFailure> for Stopped {
    fn from(failure: ProbeFailure) -> Self {
        Self::ByGate(failure)
    }
}

impl Login {
    pub(super) async fn run(mut self) -> Result<LoggedIn, Stopped> {
        self.driver.write(&self.greeting.payload).await.map_err(by_driver)?;
        let mut answer = self.driver.read().await.map_err(by_driver)?;
        if answer.len() < ANSWER_HEAD_BYTES {
            return Err(nonsense().into());
        }
        let Self { shared, key, driver, server, greeting, with_tls } = self;
        let (server, fingerprint): (Peer<Box<dyn Transport>>, _) = if with_tls {
            let (secured, fingerprint) = secure(&shared, &key, server, &mut answer).await?;
            (secured, Some(fingerprint))
        } else {
            (server.over(|it| Box::new(it) as Box<dyn Transport>), None)
        };
        let (plugin, nonce) = (greeting.plugin, greeting.nonce);
        let mut talk = Talk { shared, key, driver, server, fingerprint, plugin, nonce };
        talk.server.write(&answer).await.map_err(by_server)?;
        talk.finish().await?;
        let Talk { shared, key, driver, server, fingerprint, .. } = talk;
        if let Some(fingerprint) = &fingerprint {
            let verified = if shared.options.tls.is_unchecked() {
                Verified::No
            } else {
                Verified::ByAuthority
            };
            shared.certificates.logged_in(&key, fingerprint, verified);
        }
        Ok(LoggedIn { driver: driver.stream, server: server.stream, fingerprint })
    }
}

/// Switches to TLS. The request for that is the beginning of the driver's answer, which has to tell
/// the same.
async fn secure(
    shared: &Shared,
    key: &InstanceKey,
    mut server: Peer<TcpStream>,
    answer: &mut [u8],
) -> Result<(Peer<Box<dyn Transport>>, Fingerprint), Stopped> {
    if let Some(capabilities) = answer.get_mut(1) {
        *capabilities |= TLS_BIT;
    }
    let request = answer.get(..ANSWER_HEAD_BYTES).unwrap_or_default();
    server.write(request).await.map_err(by_server)?;
    let (stream, server) = server.apart();
    let (stream, fingerprint) = shared.connector.secure(key.host(), stream).await?;
    Ok((server.over(|()| Box::new(stream) as Box<dyn Transport>), fingerprint))
}

/// A login after its first packets.
struct Talk {
    shared: Arc<Shared>,
    key: InstanceKey,
    driver: Peer<UnixStream>,
    server: Peer<Box<dyn Transport>>,
    fingerprint: Option<Fingerprint>,
    plugin: Vec<u8>,
    nonce: Vec<u8>,
}

impl Talk {
    async fn finish(&mut self) -> Result<(), Stopped> {
        for _ in 0..ROUNDS_MAX {
            let packet = self.server.read().await.map_err(by_server)?;
            match packet[..] {
                [OK, ..] => return self.tell_driver(&packet).await,
                [ERROR, ..] => {
                    self.tell_driver(&packet).await?;
                    return Err(Stopped::ByDriver);
                }
                [SWITCH, ..] => self.switch(&packet).await?,
                [MORE_DATA, KNOWS_SCRAMBLE] if self.plugin == CACHING_SHA2 => {
                    self.tell_driver(&packet).await?;
                }
                [MORE_DATA, WANTS_PASSWORD] if self.plugin == CACHING_SHA2 => {
                    self.give_password().await?;
                    // To the driver it is as if the scramble had been enough.
                    self.tell_driver(&[MORE_DATA, KNOWS_SCRAMBLE]).await?;
                }
                _ => return Err(nonsense().into()),
            }
        }
        Err(nonsense().into())
    }

    async fn tell_driver(&mut self, packet: &[u8]) -> Result<(), Stopped> {
        self.driver.write(packet).await.map_err(by_driver)
    }

    /// The server asks for another way to log in.
    async fn switch(&mut self, packet: &[u8]) -> Result<(), Stopped> {
        let (plugin, nonce) = read_switch(packet).unwrap_or_default();
        if !PLUGINS.contains(&&plugin[..]) {
            let name = String::from_utf8_lossy(&plugin).into_owned();
            return Err(failure::of_plugin(&name).into());
        }
        (self.plugin, self.nonce) = (plugin, nonce);
        self.tell_driver(packet).await?;
        let answer = self.driver.read().await.map_err(by_driver)?;
        self.server.write(&answer).await.map_err(by_server)
    }

    /// The server wants the password itself.
    async fn give_password(&mut self) -> Result<(), Stopped> {
        let mut secret = self.shared.options.password.0.clone().into_bytes();
        secret.push(0);
        let Some(fingerprint) = &self.fingerprint else {
            if !self.shared.options.allow_public_key {
                return Err(wants_public_key().into());
            }
            return self.give_encrypted(secret).await;
        };
        if let Judgement::Changed { before } = self.shared.judge(&self.key, fingerprint) {
            self.shared.certificates.note(&self.key, Shown::Key(fingerprint.clone()));
            return Err(has_changed(&self.key, &before, fingerprint).into());
        }
        self.server.write(&secret).await.map_err(by_server)
    }

    async fn give_encrypted(&mut self, mut secret: Vec<u8>) -> Result<(), Stopped> {
        if self.nonce.len() != NONCE_BYTES {
            return Err(nonsense().into());
        }
        for (byte, mask) in secret.iter_mut().zip(self.nonce.iter().cycle()) {
            *byte ^= mask;
        }
        self.server.write(&[ASKS_FOR_KEY]).await.map_err(by_server)?;
        let packet = self.server.read().await.map_err(by_server)?;
        let Some(pem) = packet.strip_prefix(&[MORE_DATA]) else { return Err(nonsense().into()) };
        let encrypted = public_key::encrypt(secret, pem.to_vec()).await?;
        self.server.write(&encrypted).await.map_err(by_server)
    }
}

fn wants_public_key() -> ProbeFailure {
    let message = "the server asks for the password itself, which without TLS could only be encrypted \
                   with a key that comes from the server, or from whatever poses as it: it is not sent. \
                   Have the server offer TLS, or allow it with MySQLTopologyAllowServerPublicKey";
    failure::new(FailureKind::AccessDenied, message.to_owned())
}

fn has_changed(key: &InstanceKey, before: &Fingerprint, now: &Fingerprint) -> ProbeFailure {
    let message = format!(
        "the server asks for the password itself and shows another certificate than before, verified by no \
         authority: the password is not sent. Public key now: {now}, before: {before} (SHA-256). If its \
         certificate was renewed or the server made anew, say so with: baton client -c \
         confirm-certificate -i {key}"
    );
    failure::new(FailureKind::CertificateChanged, message)
}

fn by_server(error: io::Error) -> Stopped {
    Stopped::ByGate(unreachable(error))
}

fn by_driver(_error: io::Error) -> Stopped {
    Stopped::ByDriver
}
