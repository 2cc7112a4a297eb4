//! Servers that are none, or that stop being one: every failure has its kind, in time.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its server may panic")]

use std::future::Future;
use std::time::Duration;

use baton_actors::mysql::{ConnectOptions, MySqlTarget, Password, TlsMode, TlsOptions};
use baton_actors::ports::{Parting, ProbeSession, ProbeTarget};
use baton_topology::instance::{FailureKind, ProbeFailure};
use baton_topology::key::InstanceKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SECRET: &str = "hunter2";

fn session(key: &InstanceKey) -> Box<dyn ProbeSession> {
    let deadline = Duration::from_millis(200);
    let options = ConnectOptions {
        user: "baton".to_owned(),
        password: Password::new(SECRET),
        connect_deadline: deadline,
        probe_deadline: deadline,
        tls: TlsOptions { mode: TlsMode::Off, ..TlsOptions::default() },
        ..ConnectOptions::default()
    };
    MySqlTarget::new(options).session(key)
}

/// Serves every connection on a port of its own with `behave`.
async fn serve<F, B>(behave: F) -> InstanceKey
where
    F: Fn(TcpStream) -> B + Send + 'static,
    B: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    InstanceKey::new("127.0.0.1", port)
}

async fn probe(key: &InstanceKey) -> ProbeFailure {
    let failure = session(key).probe().await.unwrap_err();
    assert!(!failure.message.contains(SECRET), "{failure:?}");
    assert!(!failure.partial, "{failure:?}");
    failure
}

/// Waits until the other side is gone.
async fn drain(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// A packet of MySQL's protocol.
fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let mut bytes = vec![length[0], length[1], length[2], number];
    bytes.extend_from_slice(payload);
    bytes
}

/// The greeting of a server, up to date enough to be believed.
fn greeting() -> Vec<u8> {
    let mut payload = vec![10];
    payload.extend_from_slice(b"8.4.0\0");
    payload.extend_from_slice(&7_u32.to_le_bytes());
    payload.extend_from_slice(b"12345678\0");
    payload.extend_from_slice(&0xffff_u16.to_le_bytes());
    payload.push(45);
    payload.extend_from_slice(&2_u16.to_le_bytes());
    payload.extend_from_slice(&0x008f_u16.to_le_bytes());
    payload.push(21);
    payload.extend_from_slice(&[0; 10]);
    payload.extend_from_slice(b"123456789012\0");
    payload.extend_from_slice(b"mysql_native_password\0");
    packet(0, &payload)
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = InstanceKey::new("127.0.0.1", listener.local_addr().unwrap().port());
    drop(listener);
    assert_eq!(probe(&key).await.kind, FailureKind::Connect);
    assert_eq!(session(&key).park().await, Parting::Refused);
}

#[tokio::test]
async fn the_name_is_unknown() {
    // Reserved never to exist. A resolver that does not answer at all is a time-out.
    let kind = probe(&InstanceKey::new("nowhere.invalid", 3306)).await.kind;
    assert!(matches!(kind, FailureKind::Connect | FailureKind::Timeout), "{kind:?}");
}

#[tokio::test]
async fn the_server_says_nothing() {
    let key = serve(drain).await;
    assert_eq!(probe(&key).await.kind, FailureKind::Timeout);
    assert_eq!(session(&key).park().await, Parting::Refused);
}

#[tokio::test]
async fn the_server_hangs_up_at_once() {
    let key = serve(|stream| async move { drop(stream) }).await;
    assert_eq!(probe(&key).await.kind, FailureKind::ConnectionLost);
}

#[tokio::test]
async fn the_server_talks_nonsense() {
    for nonsense in [
        &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
        &packet(0, b"\x0a"),
        &packet(0, b""),
        &packet(0, &[0xfe; 40]),
        &packet(7, b"\x0a8.4.0\0"),
        &[0; 4096],
        &[0xff; 4096],
    ] {
        let bytes = nonsense.to_vec();
        let key = serve(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                let _ = stream.write_all(&bytes).await;
                drain(stream).await;
            }
        })
        .await;
        let kind = probe(&key).await.kind;
        assert!(
            matches!(kind, FailureKind::Protocol | FailureKind::Timeout),
            "{kind:?} of {:?}",
            String::from_utf8_lossy(&nonsense[..nonsense.len().min(24)])
        );
    }
}

#[tokio::test]
async fn the_server_is_full_before_it_even_greets() {
    let key = serve(|mut stream| async move {
        let mut refusal = vec![0xff];
        refusal.extend_from_slice(&1040_u16.to_le_bytes());
        refusal.extend_from_slice(b"Too many connections");
        let _ = stream.write_all(&packet(0, &refusal)).await;
        drain(stream).await;
    })
    .await;
    assert_eq!(probe(&key).await.kind, FailureKind::TooManyConnections);
}

#[tokio::test]
async fn the_server_hangs_after_the_login() {
    let key = serve(|mut stream| async move {
        let _ = stream.write_all(&greeting()).await;
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(&packet(2, &[0, 0, 0, 2, 0, 0, 0])).await;
        drain(stream).await;
    })
    .await;
    assert_eq!(probe(&key).await.kind, FailureKind::Timeout);
}

#[tokio::test]
async fn a_parked_connection_that_breaks_is_news_at_once() {
    let key = serve(|mut stream| async move {
        let _ = stream.write_all(&greeting()).await;
        let mut buffer = [0; 1024];
        // The login and the first statement are answered; on the second it dies.
        for number in [2, 1] {
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(&packet(number, &[0, 0, 0, 2, 0, 0, 0])).await;
        }
        let _ = stream.read(&mut buffer).await;
    })
    .await;
    let parting = tokio::time::timeout(Duration::from_secs(5), session(&key).park()).await;
    assert_eq!(parting.unwrap(), Parting::Broken);
}
