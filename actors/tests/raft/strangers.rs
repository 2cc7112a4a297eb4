//! Whoever does not know the secret learns nothing and changes nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use baton_actors::raft::{Encrypted, RaftNode, Secret};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{SECRET, Wire, World, within};

/// What a node answers to a question in plain HTTP.
pub(crate) async fn ask(
    world: &World,
    name: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> String {
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
    let right = format!("baton-raft-secret: {SECRET}\r\n");
    let to = format!("baton-raft-to: {id}\r\n");
    for (case, headers, status) in [
        ("no secret", to.clone(), "403"),
        ("a wrong secret", format!("{to}baton-raft-secret: sesame\r\n"), "403"),
        ("meant for another node", format!("{right}baton-raft-to: 1\r\n"), "421"),
        ("meant for nobody", right.clone(), "421"),
        ("meant for no number", format!("{right}baton-raft-to: x\r\n"), "400"),
    ] {
        for path in ["append", "vote", "pre-vote", "snapshot", "transfer", "hello", "join"] {
            if status == "421" && case.ends_with("nobody") && ["hello", "join"].contains(&path) {
                continue;
            }
            let answer = ask(&world, &name, &format!("/raft/{path}"), &headers, COUP).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{case}, {path}: {answer}");
            let said = answer.split("\r\n\r\n").nth(1).unwrap();
            assert!(!said.contains("a:1") && !said.contains(SECRET), "{case}, {path}: {answer}");
        }
    }
    let nonsense = ask(&world, &name, "/raft/vote", &format!("{right}{to}"), "{}").await;
    assert!(nonsense.starts_with("HTTP/1.1 400 "), "{nonsense}");
    world.commit(2).await;
    assert_eq!(world.node(&name).leadership().borrow().term, term, "nothing happened");
    let hello = ask(&world, &name, "/raft/hello", &right, "").await;
    assert!(hello.starts_with("HTTP/1.1 200 ") && hello.contains(&name), "{hello}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_secret_stays_outside() {
    let world = World::running(&["a:1", "b:1", "c:1"]).await;
    let mut setup = world.setup("d:1");
    setup.secret = Secret::new("open barley").unwrap();
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
