//! Three nodes behind one face: whichever is asked, the leader answers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod stub;
mod world;

use std::process::Command;
use std::sync::Arc;

use baton_actors::raft::Role;
use baton_web::auth::{AccessRules, Authentication};
use baton_web::origin::HostNames;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use stub::Stub;
use world::{Answer, Plan, by_role, request, stop, three, within};

const TAG: &str = "/api/tag/db/3306?tag=a%2Fb=c";
const TAGS: &str = "/api/tags/db/3306";

#[actix_web::test]
async fn every_node_tells_of_the_raft() {
    let nodes = three(&Plan::default()).await;
    let (leader, others) = by_role(&nodes).await;
    let follower = others[0];
    let mut seats: Vec<&str> = nodes.iter().map(|node| node.seat.as_str()).collect();
    seats.sort_unstable();
    for (path, of_leader, of_follower) in [
        ("leader-check", (200, json!("OK")), (404, json!("Not leader"))),
        ("leader-check/503", (200, json!("OK")), (503, json!("Not leader"))),
        ("leader-check/101", (200, json!("OK")), (404, json!("Not leader"))),
        ("routed-leader-check", (200, json!("OK")), (200, json!("OK"))),
        ("routed-leader-check/503", (200, json!("OK")), (200, json!("OK"))),
        ("lb-check", (200, json!("OK")), (200, json!("OK"))),
        ("_ping", (200, json!("OK")), (200, json!("OK"))),
        ("raft-state", (200, json!("Leader")), (200, json!("Follower"))),
        ("raft-leader", (200, json!(leader.seat)), (200, json!(leader.seat))),
        ("raft-health", (200, json!("healthy")), (200, json!("healthy"))),
        ("raft-peers", (200, json!(seats)), (200, json!(seats))),
    ] {
        for (node, expected) in [(leader, of_leader), (follower, of_follower)] {
            let answer = node.get(&format!("/api/{path}")).await;
            assert_eq!((answer.status, answer.json()), expected, "{path}");
        }
    }
    let uri = format!("http://{}", leader.address);
    let status = follower.get("/api/raft-status").await.json();
    let expected = json!({
        "RaftBind": follower.seat, "RaftAdvertise": follower.seat, "State": "Follower",
        "Healthy": true, "IsPartOfQuorum": true, "Leader": leader.seat, "LeaderURI": uri,
        "Peers": seats, "Findings": [],
    });
    assert_eq!(status, expected);
    for (node, leads, healthy) in [(leader, true, json!(seats)), (follower, false, json!(null))] {
        let health = node.get("/api/status").await.json()["Details"].clone();
        assert_eq!(health["RaftLeader"], leader.seat);
        assert_eq!(health["RaftLeaderURI"], uri);
        assert_eq!(health["RaftAdvertise"], node.seat);
        assert_eq!(health["IsRaftLeader"], leads);
        assert_eq!(health["IsActiveNode"], leads);
        assert_eq!(health["ActiveNode"]["Hostname"], leader.seat);
        assert_eq!(health["RaftHealthyMembers"], healthy);
    }
    let grabbed = leader.get("/api/grab-election").await.message();
    assert!(grabbed.contains("Cannot GrabElection on raft setup"), "{grabbed}");
    stop(nodes).await;
}

#[actix_web::test]
async fn the_leader_answers_whichever_node_is_asked() {
    let rules = AccessRules { host_names: HostNames::new(["baton"], []), ..AccessRules::default() };
    let nodes = three(&Plan { rules, ..Plan::default() }).await;
    let (leader, others) = by_role(&nodes).await;
    let [one, other] = others[..] else { panic!("there are three") };
    let tagged = one.send("POST", TAG, "Content-Length: 4\r\n\r\nbody").await;
    assert_eq!((tagged.status, &tagged.json()["Code"]), (200, &json!("OK")), "{tagged:?}");
    for node in [leader, one, other] {
        assert_eq!(node.get(TAGS).await.json(), json!(["a/b=c"]));
    }
    let local = format!("{TAGS}?local=true");
    assert_eq!(leader.get(&local).await.json(), json!(["a/b=c"]));
    assert_eq!(one.get(&local).await.json(), json!([]), "it tells what it sees itself");
    let again = other.get("/api/tag/db/3306?tag=d&local=true").await;
    assert_eq!(again.status, 200, "changes are never local: {again:?}");
    assert_eq!(leader.get(TAGS).await.json(), json!(["a/b=c", "d="]));
    let head = one.send("HEAD", TAGS, "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let zipped = one.send("GET", TAGS, "Accept-Encoding: gzip\r\n").await;
    assert!(zipped.head.contains("content-encoding: gzip"), "once, by the leader: {zipped:?}");
    let unknown = one.get("/api/instance/x/1").await;
    assert_eq!((unknown.status, unknown.message()), (500, "Cannot read instance: x:1".into()));
    assert_eq!(one.get("/api/nosuchroute").await.status, 404);
    assert_eq!(one.send("DELETE", TAG, "").await.status, 405);

    let origin = "Origin: http://evil.example\r\n";
    assert_eq!(one.send("POST", TAG, origin).await.status, 403);
    let same = "Origin: http://baton\r\n";
    assert_eq!(one.send("POST", TAG, same).await.status, 200, "the leader knows what was asked");
    stop(nodes).await;
}

#[actix_web::test]
async fn whoever_may_not_ask_a_follower_may_not_ask_the_leader_through_it() {
    let secret = Authentication::Multi { user: "ann".into(), password: "s3cret".into() };
    let rules = AccessRules { authentication: secret, ..AccessRules::default() };
    let nodes = three(&Plan { rules, ..Plan::default() }).await;
    let (_, others) = by_role(&nodes).await;
    let ann = "Authorization: Basic YW5uOnMzY3JldA==\r\n";
    let reader = "Authorization: Basic cmVhZG9ubHk6eA==\r\n";
    let follower = others[0];
    assert_eq!(follower.get(TAGS).await.status, 401);
    assert_eq!(follower.send("GET", TAGS, reader).await.status, 200);
    assert_eq!(follower.send("POST", TAG, reader).await.message(), "Unauthorized");
    assert_eq!(follower.send("POST", TAG, ann).await.status, 200);
    assert_eq!(follower.send("POST", "/api/raft-snapshot", reader).await.message(), "Unauthorized");
    let made = follower.send("POST", "/api/raft-snapshot", ann).await;
    assert_eq!(made.json(), json!("snapshot created"));
    stop(nodes).await;
}

#[actix_web::test]
async fn leadership_is_given_away_by_the_leader_only() {
    let nodes = three(&Plan::default()).await;
    let (leader, others) = by_role(&nodes).await;
    let heir = others[0];
    for route in ["raft-yield", "raft-yield-hint"] {
        let refused = heir.get(&format!("/api/{route}/{}", heir.seat)).await.why();
        let expected = format!("this node does not lead; {} does", leader.seat);
        assert_eq!(refused, expected);
    }
    let stranger = leader.get("/api/raft-yield/nobody:1").await.message();
    assert_eq!(stranger, "no member of the raft is called nobody:1");
    let kept = leader.get(&format!("/api/raft-yield/{}", leader.seat)).await;
    assert_eq!((kept.status, leader.raft.leadership().borrow().role), (200, Role::Leader));
    let given = leader.get(&format!("/api/raft-yield/{}", heir.seat)).await.json();
    assert_eq!(given["Message"], "Asynchronously yielded");
    let port = leader.seat.rsplit_once(':').unwrap().1;
    heir.until("it leads", |now| now.role == Role::Leader).await;
    let given = heir.get(&format!("/api/raft-yield-hint/:{port}")).await.json();
    let hint = format!(":{port}");
    let expected = format!("Asynchronously yielded by hint {hint}");
    assert_eq!((&given["Message"], &given["Details"]), (&json!(expected), &json!(hint)));
    leader.until("it leads again", |now| now.role == Role::Leader).await;

    others[1].until("it knows", |now| now.leader.as_ref() == Some(&leader.seat)).await;
    let host = nodes.iter().position(|node| node.seat == heir.seat).unwrap();
    let hint = format!("host{host}.exa");
    let given = leader.get(&format!("/api/raft-yield-hint/{hint}")).await.json();
    assert_eq!(given["Details"], hint, "orchestrator compares with what machines call themselves");
    heir.until("it leads", |now| now.role == Role::Leader).await;
    let given = heir.get(&format!("/api/raft-yield/{}", leader.seat)).await;
    assert_eq!(given.status, 200, "{given:?}");
    leader.until("it leads again", |now| now.role == Role::Leader).await;

    others[1].until("it knows", |now| now.leader.as_ref() == Some(&leader.seat)).await;
    let elected = others[1].send("POST", "/api/reelect", "").await;
    assert_eq!((elected.status, &elected.json()["Message"]), (200, &json!("Set re-elections")));
    leader.until("another leads", |now| now.role != Role::Leader).await;
    stop(nodes).await;
}

#[actix_web::test]
async fn members_come_and_go_by_the_leader() {
    let nodes = three(&Plan::default()).await;
    let (_, others) = by_role(&nodes).await;
    let [one, other] = others[..] else { panic!("there are three") };
    let bad = one.get("/api/raft-add-peer/x").await.message();
    // Without a port it is that of the raft.
    assert!(bad.starts_with("Cannot add x:"), "{bad}");
    let removed = one.get(&format!("/api/raft-remove-peer/{}", other.seat)).await;
    assert_eq!((removed.status, removed.json()), (200, json!(other.seat)));
    assert_eq!(one.get("/api/raft-peers?").await.json().as_array().unwrap().len(), 2);
    let unknown = one.get("/api/raft-remove-peer/x:1").await.message();
    assert!(unknown.starts_with("Cannot remove x:1: "), "{unknown}");
    other.until("nobody leads it", |now| now.leader.is_none()).await;
    let lost = |answer: &Answer| answer.message().contains("it takes no part in the raft: ");
    let told = within("it tells why", async {
        loop {
            let answer = other.get(TAGS).await;
            if lost(&answer) {
                break answer;
            }
        }
    });
    let told = told.await;
    assert_eq!((told.status, told.has("retry-after")), (503, true), "{told:?}");
    assert!(told.message().contains("raft-add-peer"), "{told:?}");
    let status = other.get("/api/raft-status").await.json();
    let expected = (&json!(other.seat), &json!(false));
    assert_eq!((&status["RaftAdvertise"], &status["Healthy"]), expected);
    let added = one.get(&format!("/api/raft-add-peer/{}", other.seat)).await;
    assert_eq!((added.status, added.json()), (200, json!(other.seat)));
    stop(nodes).await;
}

#[actix_web::test]
async fn without_a_leader_it_is_said_at_once() {
    let nodes = three(&Plan::default()).await;
    let (leader, others) = by_role(&nodes).await;
    let [left, gone] = others[..] else { panic!("there are three") };
    leader.leave().await;
    gone.leave().await;
    left.until("nobody leads", |now| now.leader.is_none()).await;
    for (method, path, expected) in [
        ("GET", TAGS, "this node does not lead; no leader is known; local=true asks"),
        ("GET", "/api/routed-leader-check", "this node does not lead; no leader is known"),
        ("POST", TAG, "Unauthorized"),
        ("GET", TAG, "Unauthorized"),
    ] {
        let answer = left.send(method, path, "").await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.has("retry-after"), "{answer:?}");
        assert!(answer.message().starts_with(expected), "{answer:?}");
        if expected == "Unauthorized" {
            assert_eq!(answer.why(), "this node does not lead; no leader is known");
        }
    }
    assert_eq!(left.get(&format!("{TAGS}?local=true")).await.json(), json!([]));
    assert_eq!(left.get("/api/leader-check").await.status, 404);
    assert_eq!(left.get("/api/raft-state").await.json(), json!("Candidate"));
    assert_eq!(left.get("/api/raft-leader").await.json(), json!(""));
    let unhealthy = left.get("/api/raft-health").await;
    assert_eq!((unhealthy.status, unhealthy.message()), (500, "unhealthy".into()));
    assert_eq!(left.get("/api/status").await.status, 200, "the node itself is well");
    stop(nodes).await;
}

#[actix_web::test]
async fn a_leader_that_lost_its_majority_begins_nothing() {
    let nodes = three(&Plan::default()).await;
    let (leader, others) = by_role(&nodes).await;
    futures_util::join!(others[0].leave(), others[1].leave());
    // It may still take itself for the leader.
    let refused = leader.send("POST", TAG, "").await;
    assert_eq!((refused.status, refused.has("retry-after")), (503, true), "{refused:?}");
    assert!(!refused.why().is_empty(), "{refused:?}");
    assert_eq!(leader.get(&format!("{TAGS}?local=true")).await.json(), json!([]));
    stop(nodes).await;
}

#[actix_web::test]
async fn a_request_goes_on_as_it_came() {
    let stub = Stub::start().await;
    let nodes = three(&Plan { api: Some(stub.url()), ..Plan::default() }).await;
    let (_, others) = by_role(&nodes).await;
    let more = "Authorization: Basic eA==\r\nX-Forwarded-For: 10.0.0.1\r\nCookie: a=b\r\n\
                Transfer-Encoding: chunked\r\nX-Private: 1\r\nConnection: x-private\r\n\
                Expect: 100-continue\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    let text = request("POST", TAG, more);
    let asks = others[0].talk(&text);
    let answers = async {
        let mut call = stub.next().await;
        let asked = call.until("\r\n\r\n").await;
        call.say("HTTP/1.1 418 X\r\nX-Answer: yes\r\nContent-Length: 2\r\n\r\nOK").await;
        asked
    };
    let (answer, asked) = futures_util::join!(asks, answers);
    let answer = answer.unwrap();
    let answer = Answer::of(answer.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n"));
    assert_eq!((answer.status, answer.body.as_str()), (418, "OK"));
    assert!(answer.head.contains("x-answer: yes") && answer.head.contains("content-length: 2"));
    assert!(asked.starts_with(&format!("POST {TAG} HTTP/1.1\r\n")), "{asked}");
    let asked = asked.to_ascii_lowercase();
    for line in [
        "authorization: basic ea==",
        "cookie: a=b",
        "x-forwarded-for: 10.0.0.1, 127.0.0.1",
        "host: baton",
        &format!("baton-forwarded-by: {}", others[0].seat),
    ] {
        assert!(asked.contains(&format!("{line}\r\n")), "{line}: {asked}");
    }
    assert_eq!(asked.matches("x-forwarded-for:").count(), 1, "{asked}");
    for gone in ["x-private", "expect", "content-length", "transfer-encoding", "body"] {
        assert!(!asked.contains(gone), "{gone}: {asked}");
    }
    stop(nodes).await;
}

#[actix_web::test]
async fn an_answer_comes_piece_by_piece_and_breaks_off_where_it_broke() {
    let stub = Stub::start().await;
    let nodes = three(&Plan { api: Some(stub.url()), ..Plan::default() }).await;
    let (_, others) = by_role(&nodes).await;
    for ends_well in [true, false] {
        let mut client = stub::Call::to(others[0].address).await;
        client.say(&request("GET", TAGS, "")).await;
        let mut call = stub.next().await;
        call.until("\r\n\r\n").await;
        call.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
        let first = client.until("one\r\n").await;
        assert!(first.starts_with("HTTP/1.1 200 OK"), "while the rest is not there: {first}");
        if ends_well {
            call.say("3\r\ntwo\r\n0\r\n\r\n").await;
        }
        drop(call);
        let rest = client.rest().await;
        assert_eq!(rest.ends_with("0\r\n\r\n"), ends_well, "{rest}");
    }
    stop(nodes).await;
}

#[actix_web::test]
async fn events_come_from_the_leader_and_end_with_its_leadership() {
    let nodes = three(&Plan::default()).await;
    let (leader, others) = by_role(&nodes).await;
    let mut streams = Vec::new();
    for node in [leader, others[0]] {
        let mut stream = stub::Call::to(node.address).await;
        stream.say(&request("GET", "/api/events", "Accept-Encoding: gzip\r\n")).await;
        let hello = stream.until("\"Resumed\":false}\n\n").await;
        assert!(hello.contains("text/event-stream") && hello.contains("event: hello"), "{hello}");
        streams.push(stream);
    }
    let tagged = others[1].send("POST", TAG, "").await;
    assert_eq!(tagged.status, 200, "{tagged:?}");
    for stream in &mut streams {
        stream.until("event: change\n").await;
    }
    let given = leader.get(&format!("/api/raft-yield/{}", others[0].seat)).await;
    assert_eq!(given.status, 200, "{given:?}");
    for stream in streams {
        // Whoever listens comes back, and hears the next leader.
        stream.rest().await;
    }
    stop(nodes).await;
}

#[actix_web::test]
async fn nothing_goes_in_circles() {
    let stub = Stub::start().await;
    let nodes = three(&Plan { api: Some(stub.url()), ..Plan::default() }).await;
    let (leader, others) = by_role(&nodes).await;
    let answer = others[0].send("POST", TAG, "Baton-Forwarded-By: n9:1\r\n").await;
    assert_eq!(answer.status, 503);
    let expected = format!(
        "this node does not lead; n9:1 takes it for the leader, and it takes {}",
        leader.seat
    );
    assert_eq!(answer.why(), expected);
    let taken = leader.send("POST", TAG, "Baton-Forwarded-By: n9:1\r\n").await;
    assert_eq!(taken.status, 200, "the leader is where it should arrive");
    stop(nodes).await;
}

#[actix_web::test]
async fn a_leader_that_does_not_answer_is_not_asked_twice() {
    let stub = Stub::start().await;
    let nodes = three(&Plan { api: Some(stub.url()), ..Plan::default() }).await;
    let (leader, others) = by_role(&nodes).await;
    let follower = others[0];
    for (method, path, doubt) in [("POST", TAG, true), ("GET", TAGS, false)] {
        let breaks = async {
            let mut call = stub.next().await;
            call.until("\r\n\r\n").await;
        };
        let (answer, ()) = futures_util::join!(follower.send(method, path, ""), breaks);
        let message = answer.message();
        assert_eq!(answer.status, 502, "{message}");
        assert!(message.starts_with(&format!("the leader {} was asked", leader.seat)), "{message}");
        assert_eq!(message.contains("may or may not have been done"), doubt, "{message}");
        assert_eq!(answer.has("retry-after"), !doubt, "{message}");
    }
    // It is asked, and leads no more before it answers.
    let asks = follower.send("POST", TAG, "");
    let silent = async {
        let mut call = stub.next().await;
        call.until("\r\n\r\n").await;
        leader.leave().await;
        call
    };
    let (answer, call) = futures_util::join!(asks, silent);
    assert_eq!(answer.status, 502);
    assert!(answer.message().contains("it leads no more; it may or may not"), "{answer:?}");
    drop(call);
    assert!(stub.is_idle(), "nobody asked again");
    stop(nodes).await;
}

#[actix_web::test]
async fn a_leader_that_is_not_reached_was_not_asked() {
    let api = "http://127.0.0.1:1".to_owned();
    for (api, why) in [
        (api, "is not reached at http://127.0.0.1:1: Connection refused"),
        ("https://127.0.0.1:1".into(), "this node has no certificates to trust"),
        ("ftp://127.0.0.1:1".into(), "that is neither http nor https"),
        (String::new(), "it does not tell where its API is"),
    ] {
        let nodes = three(&Plan { api: Some(api), ..Plan::default() }).await;
        let (_, others) = by_role(&nodes).await;
        let answer = others[0].send("POST", TAG, "").await;
        assert_eq!((answer.status, answer.has("retry-after")), (503, true));
        let message = answer.why();
        assert!(message.starts_with("this node does not lead; "), "{message}");
        assert!(message.contains(why), "{message}");
        stop(nodes).await;
    }
}

#[actix_web::test]
async fn nodes_reach_each_other_under_tls() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '),
        )
        .args("-subj /CN=baton -keyout key.pem -out cert.pem -addext".split(' '))
        .args(["subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = CertificateDer::from_pem_file(file("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Some((Arc::new(server), Arc::new(client)));
    let nodes = three(&Plan { tls, ..Plan::default() }).await;
    let (_, others) = by_role(&nodes).await;
    for (method, path, expected) in [
        ("POST", TAG, "\"OK\""),
        ("GET", TAGS, "[\"a/b=c\"]"),
        ("GET", "/api/routed-leader-check", "\"OK\""),
    ] {
        let url = format!("https://{}{path}", others[0].address);
        let ca = file("cert.pem");
        let asked = tokio::task::spawn_blocking(move || {
            let mut curl = Command::new("curl");
            curl.args(["-s", "--globoff", "-X", method, "--cacert"]).arg(ca).arg(url);
            curl.output().unwrap()
        });
        let asked = within("an answer", asked).await.unwrap();
        let body = String::from_utf8_lossy(&asked.stdout).into_owned();
        assert!(body.contains(expected), "{path}: {body:?}");
    }
    stop(nodes).await;
}
