//! Passes a request on to the leader, and its answer back, both as they come.
//!
//! Nothing is asked twice: whether a change that got no answer was made, only people can find out.
//! There is no short time-out, for takeovers take their time; instead, waiting ends when the node
//! that was asked leads no more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{StatusCode, Uri as AskedUri};
use actix_web::{HttpRequest, HttpResponse};
use baton_actors::raft::{Connect, Encrypted, Plain, Stream};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyDataStream, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::origin::OF_BROWSERS;
use crate::raft::chain;
use crate::reply::Failure;

/// The header that names the node which passed a request on.
pub(crate) const PASSED_ON_BY: &str = "baton-forwarded-by";
/// How long opening a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long the beginning of an answer may take: more than the leader gives itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(11 * 60);

/// Headers that concern one connection only, and those of a body: no route wants one, so none goes
/// on; `expect` was answered already.
const HOP_BY_HOP: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// Reaches the API of other nodes.
pub(crate) struct Proxy {
    plain: Arc<dyn Connect>,
    encrypted: Option<Arc<dyn Connect>>,
}

/// Where a request goes.
pub(crate) struct Target<'a> {
    /// The seat of the leader.
    pub(crate) leader: &'a str,
    /// Its API.
    pub(crate) api: &'a str,
    /// This node.
    pub(crate) me: &'a str,
    /// Whether something may be different afterwards.
    pub(crate) changes: bool,
    /// Ends when the leader leads no more.
    pub(crate) end: BoxFuture<'static, ()>,
}

/// A connection that is driven until it is dropped.
struct Open(JoinHandle<()>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Proxy {
    /// Nodes with certificates are trusted as `tls` says.
    pub(crate) fn new(tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        let plain: Arc<dyn Connect> = Arc::new(Plain);
        let encrypted = tls
            .map(|tls| -> Arc<dyn Connect> { Arc::new(Encrypted::new(Arc::clone(&plain), tls)) });
        Self { plain, encrypted }
    }

    /// Has a request answered by the leader.
    pub(crate) async fn pass_on(
        &self,
        request: &HttpRequest,
        mut target: Target<'_>,
    ) -> Result<HttpResponse, Failure> {
        let api: Uri = target.api.parse().map_err(|_| unreached(&target, "that is no URL"))?;
        let stream = self.connect(&api).await.map_err(|why| unreached(&target, &why))?;
        let request =
            passed_on(request, &api, target.me).map_err(|why| unreached(&target, &why))?;
        let (mut sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreached(&target, &chain(&error)))?;
        let open = Open(actix_web::rt::spawn(async move {
            // The sender is told of any error.
            let _ = connection.await;
        }));
        let response = tokio::select! {
            biased;
            answered = ask(&mut sender, request) => answered,
            () = &mut target.end => Err("it leads no more".to_owned()),
        };
        match response {
            Ok(response) => Ok(passed_back(response, open, target.end)),
            Err(why) => Err(unanswered(&target, &why)),
        }
    }

    async fn connect(&self, api: &Uri) -> Result<Box<dyn Stream>, String> {
        let host = api.host().ok_or("it has no host")?;
        let (connect, port) = match (api.scheme_str(), &self.encrypted) {
            (Some("http"), _) => (&self.plain, 80),
            (Some("https"), Some(encrypted)) => (encrypted, 443),
            (Some("https"), None) => return Err("this node has no certificates to trust".into()),
            _ => return Err("that is neither http nor https".into()),
        };
        let name = format!("{host}:{}", api.port_u16().unwrap_or(port));
        match timeout(CONNECT_WITHIN, connect.connect(&name)).await {
            Ok(opened) => opened.map(|it| it.stream).map_err(|error| chain(&error)),
            Err(_) => Err(format!("no connection within {} ms", CONNECT_WITHIN.as_millis())),
        }
    }
}

async fn ask(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, String> {
    match timeout(ANSWER_WITHIN, sender.send_request(request)).await {
        Ok(answered) => answered.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

/// It was not asked.
fn unreached(target: &Target<'_>, why: &str) -> Failure {
    let Target { leader, api, changes, .. } = target;
    let why = format!("the leader {leader} is not reached at {api}: {why}");
    match changes {
        true => Failure::unauthorized(&format!("this node does not lead; {why}")),
        false => Failure::later(why),
    }
}

/// It was asked, and did not answer.
fn unanswered(target: &Target<'_>, why: &str) -> Failure {
    let leader = target.leader;
    let text = format!("the leader {leader} was asked, and gave no answer: {why}");
    if target.changes {
        let text = format!("{text}; it may or may not have been done, look before asking again");
        return Failure::new(text).with_status(StatusCode::BAD_GATEWAY);
    }
    Failure::later(text).with_status(StatusCode::BAD_GATEWAY)
}

/// The request as the leader gets it.
fn passed_on(asked: &HttpRequest, api: &Uri, me: &str) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::builder()
        .method(asked.method().as_str())
        .uri(path_at(api, asked.uri()))
        .header("connection", "close")
        .header(PASSED_ON_BY, me);
    let headers = asked.headers();
    let dropped = named_by(headers.get_all(header::CONNECTION).map(|it| it.as_bytes()));
    for (name, value) in headers {
        let name = name.as_str();
        let is_ours = name == "x-forwarded-for" || name == PASSED_ON_BY;
        // This node has judged what a browser says of its page; the leader may be called otherwise.
        let is_judged = OF_BROWSERS.contains(&name);
        if !is_ours && !is_judged && stays(name, &dropped) {
            request = request.header(name, value.as_bytes());
        }
    }
    if !headers.contains_key(header::HOST) {
        let host = asked.uri().authority().map(|it| it.as_str());
        request = request.header("host", host.or(api.host()).unwrap_or_default());
    }
    let from = asked.peer_addr().map(|it| it.ip().to_string());
    if let Some(chain) = forwarded_for(headers, from) {
        request = request.header("x-forwarded-for", chain);
    }
    request.body(Empty::new()).map_err(|error| chain(&error))
}

/// What is asked for, below the path of the API.
fn path_at(api: &Uri, asked: &AskedUri) -> String {
    let below = asked.path_and_query().map_or("/", |it| it.as_str());
    format!("{}{below}", api.path().trim_end_matches('/'))
}

/// Names that the header `Connection` declares to be of this connection only.
fn named_by<'a>(connection: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let names = connection.flat_map(|value| value.split(|byte| *byte == b','));
    names.map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase()).collect()
}

/// Whether a header goes beyond one connection.
fn stays(name: &str, dropped: &[String]) -> bool {
    !HOP_BY_HOP.contains(&name) && !dropped.iter().any(|it| it == name)
}

/// Whether a header of the answer does: its body goes back, and the server writes the length itself.
fn goes_back(name: &str, dropped: &[String]) -> bool {
    let of_body = matches!(name, "content-encoding" | "content-type");
    of_body || stays(name, dropped)
}

/// Everybody the request came through, the client first.
fn forwarded_for(headers: &HeaderMap, from: Option<String>) -> Option<String> {
    let before = headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let all: Vec<String> = before.map(str::to_owned).chain(from).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The answer as the client gets it. A broken one breaks off there too.
fn passed_back(
    response: Response<Incoming>,
    open: Open,
    end: BoxFuture<'static, ()>,
) -> HttpResponse {
    let status = StatusCode::from_u16(response.status().as_u16());
    let mut answer = HttpResponse::build(status.unwrap_or(StatusCode::BAD_GATEWAY));
    let headers = response.headers();
    let connection = headers.get_all(hyper::header::CONNECTION);
    let dropped = named_by(connection.iter().map(|it| it.as_bytes()));
    for (name, value) in headers {
        if goes_back(name.as_str(), &dropped) {
            answer.append_header((name.as_str(), value.as_bytes()));
        }
    }
    let length = headers.get(hyper::header::CONTENT_LENGTH).and_then(|it| it.to_str().ok());
    let length = length.and_then(|text| text.parse::<u64>().ok());
    let pieces = pieces(BodyDataStream::new(response.into_body()), open, end);
    match length {
        Some(length) => answer.body(SizedStream::new(length, pieces)),
        None => answer.streaming(pieces),
    }
}

fn pieces(
    body: BodyDataStream<Incoming>,
    open: Open,
    end: BoxFuture<'static, ()>,
) -> stream::LocalBoxStream<'static, Result<Bytes, io::Error>> {
    let next = |state: Option<(BodyDataStream<Incoming>, Open, BoxFuture<'static, ()>)>| async move {
        let (mut body, open, mut end) = state?;
        let piece = tokio::select! {
            biased;
            piece = body.next() => piece?.map_err(io::Error::other),
            () = &mut end => Err(io::Error::other("the leader leads no more")),
        };
        let rest = piece.is_ok().then_some((body, open, end));
        Some((piece, rest))
    };
    stream::unfold(Some((body, open, end)), next).boxed_local()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn headers_of_one_connection_end_with_it() {
        let dropped = named_by([&b"close, X-Private"[..], b"keep-alive"].into_iter());
        for (name, goes_on) in [
            ("authorization", true),
            ("cookie", true),
            ("x-forwarded-user", true),
            ("content-length", false),
            ("content-type", false),
            ("accept-encoding", true),
            ("connection", false),
            ("transfer-encoding", false),
            ("upgrade", false),
            ("proxy-authorization", false),
            ("x-private", false),
        ] {
            assert_eq!(stays(name, &dropped), goes_on, "{name}");
        }
    }

    #[test]
    fn everybody_it_came_through_is_named() {
        let from = || Some("10.0.0.9".to_owned());
        for (before, from, expected) in [
            (&[][..], None, None),
            (&[], from(), Some("10.0.0.9")),
            (&["10.0.0.1"], from(), Some("10.0.0.1, 10.0.0.9")),
            (
                &["10.0.0.1, 10.0.0.2", "10.0.0.3"],
                from(),
                Some("10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.9"),
            ),
            (&["10.0.0.1"], None, Some("10.0.0.1")),
        ] {
            let request = before.iter().fold(TestRequest::default(), |request, value| {
                request.append_header(("x-forwarded-for", *value))
            });
            let request = request.to_http_request();
            assert_eq!(forwarded_for(request.headers(), from).as_deref(), expected, "{before:?}");
        }
    }

    #[test]
    fn paths_go_on_as_they_were_written() {
        for (api, asked, expected) in [
            ("http://a:3000", "/api/tag/h/1/x%2Fy/1?q=a%20b", "/api/tag/h/1/x%2Fy/1?q=a%20b"),
            ("http://a:3000/", "/ops/api/clusters", "/ops/api/clusters"),
            ("https://a/baton", "/api/clusters", "/baton/api/clusters"),
        ] {
            let (api, asked) = (api.parse().unwrap(), asked.parse().unwrap());
            assert_eq!(path_at(&api, &asked), expected);
        }
    }
}
