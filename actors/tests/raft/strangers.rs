//! Whoever does not know the secret learns nothing and changes nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use baton_actors::raft::{CallError, Encrypted, Keys, RaftNode, Secret, ask_as};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::world::{Wire, World, secret, within};

/// What a node answers to one that has the right key and asks this, or how it refuses.
pub(crate) async fn told(
    world: &World,
    whom: (&str, Option<u64>),
    path: &'static str,
    body: &str,
) -> Result<String, String> {
    let connect = Arc::new(Wire { net: Arc::clone(&world.net), from: "somebody".to_owned() });
    let asked = ask_as(secret(), connect, whom, path, body).await;
    asked.map_err(|error: CallError| error.to_string())
}

/// What a node answers to a question in plain HTTP, of somebody who has proven nothing.
async fn ask(world: &World, name: &str, path: &str, headers: &str, body: &str) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(world.net.address(name)).await.unwrap();
        let length = body.len();
        let text = format!(
            "POST {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\
             content-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    within(path, asked).await
}

/// A vote that would depose any leader.
const COUP: &str = r#"{"vote":{"leader_id":{"term":1000,"voted_for":1},"committed":true},
    "last_log_id":{"leader_id":1000,"index":1000000},"leadership_transfer":true}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_neither_deposes_a_leader_nor_reads_anything() {
    let world = World::running(&["a:1", "b:1", "c:1"]).await;
    let name = world.commit(1).await;
    let term = world.node(&name).leadership().borrow().term;
    let id = world.node(&name).id();
    let to = format!("baton-raft-to: {id}\r\n");
    for (case, headers) in [
        ("nothing said", to.clone()),
        ("no offers", format!("{to}baton-raft-offers: x\r\n")),
        ("a proof of nothing", format!("{to}baton-raft-proofs: AAAA\r\n")),
        ("the secret itself", format!("{to}baton-raft-secret: open sesame\r\n")),
    ] {
        for path in ["append", "vote", "pre-vote", "snapshot", "transfer", "hello", "join", "key"] {
            let answer = ask(&world, &name, &format!("/raft/{path}"), &headers, COUP).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{case}, {path}: {answer}");
            let said = answer.split("\r\n\r\n").nth(1).unwrap();
            assert!(!said.contains("a:1"), "{case}, {path}: {answer}");
        }
    }
    for (case, to, expected) in [
        ("meant for another node", Some(id ^ 1), "421"),
        ("meant for nobody", None, "421"),
        ("nonsense", Some(id), "400"),
    ] {
        let answer = told(&world, (&name, to), "/raft/vote", "{}").await.unwrap_err();
        assert!(answer.contains(expected), "{case}: {answer}");
    }
    world.commit(2).await;
    assert_eq!(world.node(&name).leadership().borrow().term, term, "nothing happened");
    let hello = told(&world, (&name, None), "/raft/hello", "{}").await.unwrap();
    assert!(hello.contains(&name), "{hello}");
}

/// A proper offer of a key, of which nothing is known: a point of the curve behind the letter of askers.
fn offer() -> String {
    let mut words = [0x66; 33];
    words[..2].copy_from_slice(&[b'A', 0x58]);
    URL_SAFE_NO_PAD.encode(words)
}

/// Strangers who have one offer after the other answered; they come from another address.
async fn offering(address: SocketAddr, answered: Arc<AtomicUsize>) {
    let text =
        format!("POST /raft/key HTTP/1.1\r\nhost: a\r\nbaton-raft-offers: {}\r\n\r\n", offer());
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        let Ok(mut stream) = socket.connect(address).await else { continue };
        let mut status = [0; 12];
        if stream.write_all(text.as_bytes()).await.is_ok()
            && stream.read_exact(&mut status).await.is_ok()
            && status.ends_with(b"200")
        {
            answered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_whose_offers_are_answered_keep_no_peer_out() {
    let world = World::running(&["a:1", "b:1", "c:1"]).await;
    let name = world.commit(1).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let strangers: Vec<_> = (0..8)
        .map(|_| tokio::spawn(offering(world.net.address(&name), Arc::clone(&answered))))
        .collect();
    let both = async {
        let mut hellos = 0;
        // On a busy machine a proof may take longer than it is waited for.
        while hellos < 20 || answered.load(Ordering::SeqCst) < 100 {
            hellos += usize::from(told(&world, (&name, None), "/raft/hello", "{}").await.is_ok());
        }
    };
    within("strangers and a peer are answered", both).await;
    strangers.iter().for_each(tokio::task::JoinHandle::abort);
    world.commit(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_to_be_added_is_told_nothing_of_the_secret() {
    let world = World::running(&["a:1", "b:1", "c:1"]).await;
    let (_, leader) = world.leader().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.net.is_at("evil:1", listener.local_addr().unwrap());
    // It plays along as far as it can: what it says is a proper offer of a key that is none.
    let heard = tokio::spawn(async move {
        let mut heard = String::new();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        for answer in [r#"{"Keys":1}"#, r#"{"Proof":"AAAA"}"#] {
            let read = stream.read(&mut buffer).await.unwrap();
            heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
            let length = answer.len();
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{answer}");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
        heard
    });
    let error = leader.add_peer("evil:1").await.unwrap_err().to_string();
    let heard = within("it has heard all", heard).await.unwrap();
    assert!(error.contains("evil:1 has no key of ours"), "{error}");
    assert!(heard.starts_with("POST /raft/key HTTP/1.1\r\nbaton-raft-offers: "), "{heard}");
    for secret in ["sesame", "raft/hello", "baton-raft-proofs", "host-of", "a:1"] {
        assert!(!heard.contains(secret), "{secret}: {heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_secret_stays_outside() {
    let world = World::running(&["a:1", "b:1", "c:1"]).await;
    let mut setup = world.setup("d:1");
    setup.keys = Keys::new(Secret::of_nobody());
    setup.connect = Arc::new(Wire { net: Arc::clone(&world.net), from: "d:1".to_owned() });
    let stranger = RaftNode::start(setup).await.unwrap();
    let (_, leader) = world.leader().await;
    let error = leader.add_peer("d:1").await.unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");
    assert_eq!(leader.members().len(), 3);
    assert!(stranger.members().is_empty());
    stranger.halt().await;
}

/// A certificate for `localhost` by an authority of its own, made by `openssl`.
fn certificate(folder: &Path) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let openssl = |arguments: &str| {
        let mut process = Command::new("openssl");
        let output = process.args(arguments.split(' ')).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -days 30 -subj /CN=ca -keyout ca-key.pem -out ca.pem"));
    openssl(&format!("req {key} -subj /CN=localhost -keyout key.pem -out node.csr"));
    fs::write(folder.join("extensions"), "subjectAltName=DNS:localhost").unwrap();
    openssl(
        "x509 -req -in node.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 \
         -extfile extensions -out node.pem",
    );
    let read = |name: &str| {
        CertificateDer::pem_file_iter(folder.join(name)).unwrap().map(Result::unwrap).collect()
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            read("node.pem"),
            PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap(),
        )
        .unwrap();
    let mut roots = RootCertStore::empty();
    let authorities: Vec<CertificateDer<'static>> = read("ca.pem");
    roots.add_parsable_certificates(authorities);
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_speak_tls_and_believe_nobody_without_the_right_certificate() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (server, client) = certificate(folders[0].path());
    let (_, elsewhere) = certificate(folders[1].path());
    let seats = ["localhost:1", "localhost:2", "localhost:3"];
    let mut world = World::of(&seats);
    for seat in seats {
        let mut setup = world.setup(seat);
        setup.tls = Some(Arc::clone(&server));
        setup.connect = Arc::new(Encrypted::new(setup.connect, Arc::clone(&client)));
        world.start_with(setup).await;
    }
    world.all_members().await;
    world.commit(1).await;
    world.all_have(&world.except(&[]), 1).await;
    let plain = world.setup("plain:1");
    let mut deceived = world.setup("localhost:4");
    deceived.connect = Arc::new(Encrypted::new(deceived.connect, elsewhere));
    for (setup, expected) in [(plain, "broke"), (deceived, "certificate")] {
        let node = RaftNode::start(setup).await.unwrap();
        let error = node.ask("localhost:1").await.unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let text = format!("{error}: {}", cause.unwrap_or_default());
        assert!(text.contains(expected), "{text}");
        node.halt().await;
    }
}
