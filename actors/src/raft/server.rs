//! Answers the questions of peers, and of nobody else.
//!
//! Each connection begins with a proof that both ends have a key in common ([`super::proof`]), in
//! headers; whoever asks anything else before is turned away and hung up on, and nothing of the
//! question is read. Runs on threads of its own: a busy web server or actor must not cost leadership.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::{ErrorBadRequest, ErrorServiceUnavailable};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{Bytes, Data, PayloadConfig, ServiceConfig, post};
use actix_web::{App, Error, HttpMessage, HttpResponse, dev, error};
use baton_topology::ledger::{COMMAND_VERSION, LedgerState};
use futures_util::future::BoxFuture;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest,
};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::client::{KEY, OFFERS, PROOFS, TO};
use super::disk::Failure;
use super::door::{Door, Refused};
use super::keys::Keys;
use super::leadership::Heard;
use super::members::{Caller, Newcomer};
use super::network::{APPEND, PRE_VOTE, Parcel, SNAPSHOT, TRANSFER, VOTE};
use super::peers::{Ears, PEER};
use super::proof::Answer;
use super::turns::{TooMany, Turns};
use super::types::{Raft, Snapshot, TooNew, Types};
use crate::connections::{Connection, origin};
use crate::listening::{self, Place, Terms};
use crate::unread::with_payload;

pub(super) const HELLO: &str = "/raft/hello";
pub(super) const JOIN: &str = "/raft/join";
pub(super) const CARRY_OVER: &str = "/raft/carry-over";

/// The largest question: a snapshot of everything, in one piece.
const BODY_BYTES_MAX: usize = 512 << 20;
/// Peers have a handful of connections each; the rest is room for strangers on their way out. They
/// never have more than a quarter of the files this process may have open: without any left, the node
/// reaches neither its peers nor its disk.
const CONNECTIONS_MAX: u64 = 8_192;
/// Threads. One may be reading a snapshot while heartbeats arrive.
const WORKERS: usize = 2;
/// How long an idle connection is kept, also that of one that does not go on with its proof. Peers use
/// none that was idle for half as long.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a peer may take to say who it is.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Peers are in no need of longer for a handshake: they wait a second for the whole connection.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(1);
/// Strangers are told of so often.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// What strangers are told.
const NOT_OURS: &str = "the secret is not ours (RaftSecret; where that is not given, \
                        MySQLTopologyUser and MySQLTopologyPassword)";

/// What those are told who are turned away unheard.
const BUSY: &str = "too many ask to be let in at the moment; ask again";

/// What is answered beside openraft's own questions.
pub(super) trait Reception: Send + Sync + 'static {
    /// Tells about this node to whoever asks; JSON.
    fn hello(&self, caller: Caller) -> BoxFuture<'static, serde_json::Value>;
    /// This node wants to be a member, or to be called otherwise; or why not.
    fn join(&self, newcomer: Newcomer) -> BoxFuture<'static, Result<(), String>>;
    /// Somebody kept this ledger while it ran alone; or why it is not carried over.
    fn carry_over(&self, ledger: LedgerState) -> BoxFuture<'static, Result<(), String>>;
}

struct Desk {
    raft: Raft,
    me: u64,
    keys: Keys,
    heard: Heard,
    failure: Failure,
    reception: Arc<dyn Reception>,
    ears: Ears,
    /// When a stranger was told of last.
    told: Mutex<Option<Instant>>,
    /// Whose offers are answered next.
    turns: Turns,
}

impl Desk {
    fn of(office: Office) -> Self {
        let Office { raft, keys, heard, failure, reception, ears } = office;
        let me = *raft.node_id();
        let (told, turns) = (Mutex::default(), Turns::default());
        Self { raft, me, keys, heard, failure, reception, ears, told, turns }
    }

    /// Tells of one that has no key of ours, now and then.
    fn tell_of_stranger(&self, request: &ServiceRequest) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            let from = request.peer_addr().map(|it| it.to_string()).unwrap_or_default();
            tracing::warn!(from, "somebody without a key of ours is refused at the port of raft");
        }
    }
}

/// What the server speaks for.
pub(super) struct Office {
    pub(super) raft: Raft,
    pub(super) keys: Keys,
    /// Told when a leader is heard of.
    pub(super) heard: Heard,
    /// Told when this node is too old for its peers.
    pub(super) failure: Failure,
    pub(super) reception: Arc<dyn Reception>,
    /// Who answers what is not about raft.
    pub(super) ears: Ears,
}

/// Serves until it is stopped. Must be called on raft's runtime.
pub(super) fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    office: Office,
) -> std::io::Result<dev::Server> {
    let desk = Data::new(Desk::of(office));
    let terms = Terms {
        tls,
        connections_max: connections_max(),
        workers: WORKERS,
        keep_alive: KEEP_ALIVE,
        head_within: HEAD_WITHIN,
        handshake_within: HANDSHAKE_WITHIN,
        shutdown_seconds: 0,
        on_connect: |connection, data| {
            data.insert(Arc::new(Door::of(connection)));
        },
    };
    listening::serve(Place::Tcp(listener), terms, move || {
        App::new()
            .app_data(Data::clone(&desk))
            .app_data(PayloadConfig::new(BODY_BYTES_MAX))
            .wrap(from_fn(admit))
            .configure(routes)
    })
}

fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((files / 4).min(CONNECTIONS_MAX)).unwrap_or(1)
}

fn routes(config: &mut ServiceConfig) {
    config
        .route(APPEND, post().to(append))
        .route(VOTE, post().to(vote))
        .route(PRE_VOTE, post().to(pre_vote))
        .route(SNAPSHOT, post().to(snapshot))
        .route(TRANSFER, post().to(transfer))
        .route(PEER, post().to(peer))
        .route(HELLO, post().to(hello))
        .route(JOIN, post().to(join))
        .route(CARRY_OVER, post().to(carry_over));
}

/// Answers one that begins to prove its key, or ends it. What that takes is computed beside the threads
/// that serve peers, and in turns: strangers may ask for it as well.
async fn prove(desk: &Desk, request: &ServiceRequest) -> Result<Answer, Unproven> {
    let said = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
    let door = Arc::clone(request.conn_data::<Arc<Door>>().ok_or(Refused)?);
    // It has no reason to send anything else, and nobody is to wait for that.
    let has_body = request.headers().contains_key(header::TRANSFER_ENCODING)
        || said("content-length").is_some_and(|it| it != "0");
    match (said(OFFERS), said(PROOFS)) {
        (Some(offers), None) if !has_body => {
            let (keys, offers) = (desk.keys.clone(), offers.to_owned());
            let turn = desk.turns.take(origin(request.peer_addr().map(|it| it.ip()))).await;
            let turn = turn.map_err(|TooMany| Unproven::Busy)?;
            let answer = move || {
                let _turn = turn;
                door.answer(&keys, &offers)
            };
            Ok(actix_web::web::block(answer).await.map_err(|_| Refused)??)
        }
        // Of what was computed before, this only compares digests.
        (None, Some(proofs)) if !has_body => {
            let answer = door.confirm(proofs)?;
            // It makes room for no stranger.
            if let Some(connection) = request.conn_data::<Arc<Connection>>() {
                connection.keep();
            }
            Ok(answer)
        }
        _ => Err(Refused.into()),
    }
}

/// Why somebody who begins to prove a key is turned away.
#[derive(Debug)]
enum Unproven {
    /// It is no proof of a key of ours.
    Stranger,
    /// It was not looked at: too many wait.
    Busy,
}

impl From<Refused> for Unproven {
    fn from(_: Refused) -> Self {
        Self::Stranger
    }
}

fn turn_away(request: &mut ServiceRequest) -> Error {
    let response = HttpResponse::ServiceUnavailable().force_close().body(BUSY);
    let response = with_payload(response, request.take_payload());
    error::InternalError::from_response("busy", response).into()
}

fn refuse(desk: &Desk, request: &mut ServiceRequest) -> Error {
    // A peer may have proven a key that was replaced since: it proves the new one next.
    if !request.conn_data::<Arc<Door>>().is_some_and(|it| it.was_opened()) {
        desk.tell_of_stranger(request);
    }
    // Nor does a stranger keep a connection that a peer may need.
    let response = HttpResponse::Forbidden().force_close().body(NOT_OURS);
    let response = with_payload(response, request.take_payload());
    error::InternalError::from_response("a stranger", response).into()
}

/// Lets peers in who have proven a key on this connection and mean this node.
async fn admit<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let Some(desk) = request.app_data::<Data<Desk>>().cloned() else {
        return Err(ErrorServiceUnavailable("not started"));
    };
    // Until it is answered; the few bytes of the answer itself are no matter.
    let _under_way = request.conn_data::<Arc<Connection>>().map(Connection::begin);
    if request.path() == KEY {
        return match prove(&desk, &request).await {
            Ok(answer) => {
                Ok(request.into_response(HttpResponse::Ok().json(answer)).map_into_right_body())
            }
            Err(Unproven::Stranger) => Err(refuse(&desk, &mut request)),
            Err(Unproven::Busy) => Err(turn_away(&mut request)),
        };
    }
    if !request.conn_data::<Arc<Door>>().is_some_and(|it| it.is_open(&desk.keys)) {
        return Err(refuse(&desk, &mut request));
    }
    let meant = match request.headers().get(TO).map(|to| to.to_str().unwrap_or_default().parse()) {
        None => None,
        Some(Ok(meant)) => Some(meant),
        Some(Err(_)) => return Err(ErrorBadRequest("no number of a node")),
    };
    // A name may have passed to a node that knows nothing of what the other one promised.
    let may_be_anybodys = [HELLO, JOIN, CARRY_OVER].contains(&request.path());
    if meant.is_some_and(|meant: u64| meant != desk.me) || (meant.is_none() && !may_be_anybodys) {
        let text = format!("this is node {}", desk.me);
        return Err(error::InternalError::new(text, StatusCode::MISDIRECTED_REQUEST).into());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// The newest version of what the leader wants applied, if that is more than this node knows. It
/// was downgraded, or forgotten in an upgrade: it ends, for it could only fall behind.
fn too_new(body: &[u8]) -> Option<TooNew> {
    let asked: Value = serde_json::from_slice(body).ok()?;
    let entries = asked.get("entries").and_then(Value::as_array).into_iter().flatten();
    let versions = entries.filter_map(|it| it.pointer("/payload/Normal/version"));
    let versions = versions.chain(asked.pointer("/body/version")).filter_map(Value::as_u64);
    let newest = u32::try_from(versions.max()?).unwrap_or(u32::MAX);
    (newest > COMMAND_VERSION).then_some(TooNew(newest))
}

/// Reads what the leader wants applied.
fn read_commands<Q: DeserializeOwned>(body: &[u8], failure: &Failure) -> Result<Q, Error> {
    read(body).inspect_err(|_| {
        if let Some(error) = too_new(body) {
            failure.note(&TooOldForPeers { source: error });
        }
    })
}

/// This node cannot apply what its peers agree upon.
#[derive(Debug, thiserror::Error)]
#[error("the leader sends what this node cannot apply")]
struct TooOldForPeers {
    source: TooNew,
}

fn read<Q: DeserializeOwned>(body: &[u8]) -> Result<Q, Error> {
    // Told in full: it may be the other side that must be upgraded.
    serde_json::from_slice(body).map_err(|error| ErrorBadRequest(error.to_string()))
}

fn tell<A: Serialize, E: std::fmt::Display>(answer: Result<A, E>) -> Result<HttpResponse, Error> {
    match answer {
        Ok(answer) => Ok(HttpResponse::Ok().json(answer)),
        Err(error) => Err(ErrorServiceUnavailable(error.to_string())),
    }
}

/// Answers without a server, for simulated networks.
#[cfg(feature = "testing")]
#[derive(Clone)]
pub(super) struct Window(Data<Desk>);

#[cfg(feature = "testing")]
impl Window {
    pub(super) fn of(office: Office) -> Self {
        Self(Data::new(Desk::of(office)))
    }

    /// The answer, or a refusal in words.
    pub(super) async fn answer(
        &self,
        path: &str,
        to: Option<u64>,
        body: Bytes,
    ) -> Result<Bytes, (u16, String)> {
        if to.is_some_and(|to| to != self.0.me) {
            return Err((StatusCode::MISDIRECTED_REQUEST.as_u16(), "this is another node".into()));
        }
        let desk = Data::clone(&self.0);
        let answer = match path {
            APPEND => append(desk, body).await,
            VOTE => vote(desk, body).await,
            PRE_VOTE => pre_vote(desk, body).await,
            SNAPSHOT => match read_commands(&body, &desk.failure) {
                Ok(parcel) => install(&desk, parcel).await,
                Err(error) => Err(error),
            },
            TRANSFER => transfer(desk, body).await,
            HELLO => Ok(hello(desk, body).await),
            PEER => peer(desk, body).await,
            _ => join(desk, body).await,
        };
        let answer = answer.map_err(|error| {
            (error.as_response_error().status_code().as_u16(), error.to_string())
        })?;
        let body = answer.into_body().try_into_bytes();
        body.map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR.as_u16(), "a stream".into()))
    }
}

async fn append(desk: Data<Desk>, body: Bytes) -> Result<HttpResponse, Error> {
    let question: AppendEntriesRequest<Types> = read_commands(&body, &desk.failure)?;
    let answer = desk.raft.append_entries(question).await;
    if let Ok(answer) = &answer
        && !matches!(answer, AppendEntriesResponse::HigherVote(_))
    {
        desk.heard.now();
    }
    tell(answer)
}

async fn vote(desk: Data<Desk>, body: Bytes) -> Result<HttpResponse, Error> {
    let question: VoteRequest<Types> = read(&body)?;
    tell(desk.raft.vote(question).await)
}

async fn pre_vote(desk: Data<Desk>, body: Bytes) -> Result<HttpResponse, Error> {
    let question: VoteRequest<Types> = read(&body)?;
    tell(desk.raft.pre_vote(question).await)
}

async fn snapshot(desk: Data<Desk>, body: Bytes) -> Result<HttpResponse, Error> {
    let failure = desk.failure.clone();
    let read = actix_web::web::block(move || {
        let parcel: Result<Parcel, Error> = read_commands(&body, &failure);
        parcel.map_err(|error| error.to_string())
    });
    let parcel = read.await?.map_err(ErrorBadRequest)?;
    install(&desk, parcel).await
}

async fn install(desk: &Desk, parcel: Parcel) -> Result<HttpResponse, Error> {
    let snapshot = Snapshot { meta: parcel.meta, snapshot: parcel.body };
    tell(desk.raft.install_full_snapshot(parcel.vote, snapshot).await)
}

async fn transfer(desk: Data<Desk>, body: Bytes) -> Result<HttpResponse, Error> {
    let question: TransferLeaderRequest<Types> = read(&body)?;
    tell(desk.raft.handle_transfer_leader(question).await)
}

async fn peer(desk: Data<Desk>, body: Bytes) -> Result<HttpResponse, Error> {
    let message = read(&body)?;
    let Some(answer) = desk.ears.hear(message) else {
        return Err(ErrorServiceUnavailable("not started"));
    };
    match answer.await {
        Some(answer) => Ok(HttpResponse::Ok().json(answer)),
        None => Err(ErrorServiceUnavailable("no answer")),
    }
}

async fn hello(desk: Data<Desk>, body: Bytes) -> HttpResponse {
    // Who it is does not matter for the answer.
    let caller = serde_json::from_slice(&body).unwrap_or_default();
    HttpResponse::Ok().json(desk.reception.hello(caller).await)
}

async fn join(desk: Data<Desk>, body: Bytes) -> Result<HttpResponse, Error> {
    let newcomer: Newcomer = read(&body)?;
    tell(desk.reception.join(newcomer).await)
}

async fn carry_over(desk: Data<Desk>, body: Bytes) -> Result<HttpResponse, Error> {
    let ledger: LedgerState = read(&body)?;
    tell(desk.reception.carry_over(ledger).await)
}
