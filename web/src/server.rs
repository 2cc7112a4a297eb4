//! The HTTP server: takes requests, finds the route, judges access, answers.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode, header};
use actix_web::middleware::{Compress, DefaultHeaders};
use actix_web::{App, HttpRequest, HttpResponse, web};

use baton_actors::connections::{Connection, origin};
use baton_actors::listening::{Place as Door, Terms, serve};
use baton_actors::raft::Role;
use baton_actors::unread::with_payload;

use crate::api::{self, Access, Place, Route};
use crate::asked::{self, Fate, Requests};
use crate::auth::{AccessRules, Verdict};
use crate::call::Call;
use crate::caller::{FailedLogins, caller};
use crate::dashboard;
use crate::events::{Events, Listener};
use crate::kept::Kept;
use crate::metrics::{self, HttpMetrics};
use crate::proxy::{self, Proxy};
use crate::raft::{Asked, Leader, Raft, Way, way};
use crate::reply::{Failure, Outcome, read_back, respond};
use crate::services::Services;

/// Threads that answer requests.
const WORKERS: usize = 2;
/// No handler takes longer; every port it waits for has a deadline of its own.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// The same for handlers that change servers: a replica may take long to catch up.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// A client that takes longer to send its request is hung up on.
const CLIENT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a handshake of TLS may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(3);
/// How long a connection is kept that has been answered.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long requests under way may take to end when the server does.
const SHUTDOWN_SECONDS: u64 = 2;

/// Where to listen and what to ask of callers.
#[derive(Clone)]
pub struct HttpOptions {
    /// Where to listen.
    pub listen: Listen,
    /// So many connections there are at a time. One address has half of them at most, and half of them
    /// may be streams of events.
    pub connections_max: usize,
    /// Empty, or one leading and no trailing slash.
    pub prefix: String,
    /// The route that tells the node's status, from the root of the server.
    pub status_path: String,
    /// Certificate and key for HTTPS; plain HTTP when `None`.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// How other nodes of the raft are reached whose API is HTTPS.
    pub peer_tls: Option<Arc<rustls::ClientConfig>>,
    /// Who may do what.
    pub rules: AccessRules,
    /// What the dashboard shows of its own.
    pub display: Display,
}

/// What the dashboard shows of its own.
#[derive(Debug, Clone, Default)]
pub struct Display {
    /// Stands on every page, unless it is empty.
    pub message: String,
    /// A text that is left out of the names of instances.
    pub left_out_of_names: String,
}

/// Where to listen.
#[derive(Debug, Clone)]
pub enum Listen {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A running server.
pub struct Server {
    handle: ServerHandle,
    rules: Arc<RwLock<AccessRules>>,
    display: Arc<RwLock<Arc<Display>>>,
    events: Arc<Events>,
    addresses: Vec<SocketAddr>,
}

struct State {
    services: Arc<Services>,
    raft: Option<Arc<Raft>>,
    proxy: Proxy,
    rules: Arc<RwLock<AccessRules>>,
    metrics: HttpMetrics,
    events: Arc<Events>,
    readiness: Arc<Kept>,
    requests: Arc<Requests>,
    failed_logins: FailedLogins,
    display: Arc<RwLock<Arc<Display>>>,
    prefix: String,
    status_path: String,
}

impl Server {
    /// Binds the address and begins to answer.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(services: Services, options: HttpOptions) -> std::io::Result<Self> {
        let rules = Arc::new(RwLock::new(options.rules));
        let display = Arc::new(RwLock::new(Arc::new(options.display)));
        let metrics = HttpMetrics::register(&services.registry);
        let failed_logins = FailedLogins::register(&services.registry);
        let events = follow(&services, options.connections_max)?;
        let state = web::Data::new(State {
            raft: services.raft.clone().map(|node| Arc::new(Raft::new(node))),
            proxy: Proxy::new(options.peer_tls),
            services: Arc::new(services),
            rules: Arc::clone(&rules),
            metrics,
            events: Arc::clone(&events),
            readiness: Arc::default(),
            requests: Arc::default(),
            failed_logins,
            display: Arc::clone(&display),
            prefix: options.prefix,
            status_path: options.status_path,
        });
        let terms = Terms {
            tls: options.tls,
            connections_max: options.connections_max,
            workers: WORKERS,
            keep_alive: KEEP_ALIVE,
            head_within: CLIENT_DEADLINE,
            handshake_within: HANDSHAKE_WITHIN,
            shutdown_seconds: SHUTDOWN_SECONDS,
            on_connect: |_, _| {},
        };
        let (door, addresses) = match options.listen {
            Listen::Unix(path) => (Door::Unix(path), Vec::new()),
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                let addresses = vec![listener.local_addr()?];
                (Door::Tcp(listener), addresses)
            }
        };
        let server = serve(door, terms, move || app(state.clone()))?;
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { handle, rules, display, events, addresses })
    }

    /// The addresses it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Puts other rules of access in force.
    pub fn set_rules(&self, rules: AccessRules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Has the dashboard show something else of its own.
    pub fn set_display(&self, display: Display) {
        let display = Arc::new(display);
        *self.display.write().unwrap_or_else(PoisonError::into_inner) = display;
    }

    /// Ends, letting requests under way come to their end.
    pub async fn stop(&self) {
        self.events.close();
        self.handle.stop(true).await;
    }
}

impl State {
    /// Whether this node answers for the fleet, as far as it knows.
    fn leads(&self) -> bool {
        self.raft.as_ref().is_none_or(|raft| raft.leadership().role == Role::Leader)
    }

    fn rules(&self) -> RwLockReadGuard<'_, AccessRules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What answers every request.
fn app(
    state: web::Data<State>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(state)
        .wrap(Compress::default())
        .wrap(DefaultHeaders::new().add((header::X_CONTENT_TYPE_OPTIONS, "nosniff")))
        .default_service(web::to(answer))
}

/// Begins to compare snapshots; readers of events leave a node that leads no more.
fn follow(services: &Services, connections_max: usize) -> std::io::Result<Arc<Events>> {
    let (snapshot, clock) = (services.snapshot.clone(), Arc::clone(&services.clock));
    let events = Events::start(services.runner(), snapshot, clock, connections_max)?;
    let events = Arc::new(events);
    if let Some(raft) = &services.raft {
        let (mut leadership, events) = (raft.leadership(), Arc::clone(&events));
        actix_web::rt::spawn(async move {
            let mut leads = false;
            while leadership.changed().await.is_ok() {
                let is_leader = leadership.borrow_and_update().role == Role::Leader;
                if leads && !is_leader {
                    events.dismiss();
                }
                leads = is_leader;
            }
        });
    }
    Ok(events)
}

async fn answer(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<State>,
) -> HttpResponse {
    let started = state.services.clock.now();
    // As long as its answer takes, the connection keeps its place.
    let under_way = request.conn_data::<Arc<Connection>>().map(Connection::begin);
    let (headers, peer) = (request.headers(), request.peer_addr().map(|it| it.ip()));
    let has_password = headers.contains_key(header::AUTHORIZATION);
    let (route, response) = match has_password && state.failed_logins.are_too_many(peer) {
        true => ("none", too_many_logins()),
        false => dispatch(&request, &state).await,
    };
    let took = state.services.clock.now().since(started);
    let method = request.method().as_str();
    state.metrics.answered(route, method, response.status().as_u16(), took);
    // One that another node refused is noted there.
    let is_refused = response.status() == StatusCode::UNAUTHORIZED
        && state.rules().rights(Access::Read, headers) == Verdict::Unauthenticated;
    if has_password && is_refused {
        let user = state.rules().user(headers);
        let caller = caller_of(&request, user.as_deref());
        state.failed_logins.note(&caller, peer, started).await;
    }
    match headers.contains_key(header::TRANSFER_ENCODING) {
        true => with_payload(response, (under_way, payload)),
        false => with_payload(response, under_way),
    }
}

fn too_many_logins() -> HttpResponse {
    let failure = Failure::new("too many failed logins from this address: wait a second");
    let mut response = respond(Err(failure.with_status(StatusCode::TOO_MANY_REQUESTS)));
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    response
}

fn caller_of(request: &HttpRequest, user: Option<&str>) -> String {
    caller(user, request.peer_addr().map(|it| it.ip()), request.headers())
}

/// The route's pattern, as metrics call it, and the answer.
async fn dispatch(request: &HttpRequest, state: &State) -> (&'static str, HttpResponse) {
    let path = request.path();
    if path == state.status_path {
        return api_answer("status", request, state).await;
    }
    // Whoever restarts things asks the process itself, not what stands in front of it.
    match path {
        "/health/live" => return ("/health/live", plain(StatusCode::OK, "live\n".to_owned())),
        "/health/ready" => return ("/health/ready", ready(state)),
        _ => {}
    }
    let Some(path) = path.strip_prefix(state.prefix.as_str()) else {
        return ("none", unknown(request, state));
    };
    if let Some(place) = dashboard::place(path) {
        let name = match place {
            dashboard::Place::Page => "/ui",
            dashboard::Place::File { .. } => "/ui/-",
            dashboard::Place::Old(_) => "/web",
        };
        let refusal = refuse(Access::Read, request, state);
        if refusal.is_none() && matches!(place, dashboard::Place::Page) && state.leads() {
            // The page asks for them as soon as it is there.
            state.events.prepare();
        }
        let show = || dashboard::answer(&place, request, &state.prefix);
        return (name, refusal.unwrap_or_else(show));
    }
    match path.trim_end_matches('/') {
        "" if wants_page(request) => {
            let refusal = refuse(Access::Read, request, state);
            let show = || dashboard::answer(&dashboard::Place::Old(""), request, &state.prefix);
            ("/", refusal.unwrap_or_else(show))
        }
        "" => guarded("/", Access::Read, request, state, greeting),
        "/metrics" => guarded("/metrics", Access::Read, request, state, figures),
        _ => match path.strip_prefix("/api/") {
            Some(path) => api_answer(path, request, state).await,
            None => ("none", unknown(request, state)),
        },
    }
}

fn guarded(
    name: &'static str,
    access: Access,
    request: &HttpRequest,
    state: &State,
    answer: fn(&State) -> HttpResponse,
) -> (&'static str, HttpResponse) {
    match refuse(access, request, state) {
        Some(refusal) => (name, refusal),
        None => (name, answer(state)),
    }
}

async fn api_answer(
    path: &str,
    request: &HttpRequest,
    state: &State,
) -> (&'static str, HttpResponse) {
    let Some((route, params)) = api::find(path) else {
        return ("none", unknown(request, state));
    };
    if let Some(refusal) = refuse(route.access, request, state) {
        return (route.path, refusal);
    }
    let may_use = match *request.method() {
        // Whoever posts to what only reads gets to read it.
        Method::GET | Method::POST => true,
        // What is asked without wanting the answer is asked to learn, not to change anything.
        Method::HEAD => !route.access.changes(),
        _ => false,
    };
    if !may_use {
        let failure = Failure::new(format!("{} is not for {path}", request.method()));
        return (route.path, respond(Err(failure.with_status(StatusCode::METHOD_NOT_ALLOWED))));
    }
    let query = api::query(request.query_string());
    if let Some(elsewhere) = elsewhere(route, &query, request, state).await {
        return (route.path, elsewhere);
    }
    let name = match asked::name_in(request.headers()) {
        Ok(name) => name.filter(|_| route.access.changes()),
        Err(why) => return (route.path, respond(Err(Failure::new(why)))),
    };
    let services = Arc::clone(&state.services);
    let fleet = services.snapshot.borrow().clone();
    let user = state.rules().user(request.headers());
    let call = Call {
        name: name.map(Arc::from),
        requests: Arc::clone(&state.requests),
        route: route.path,
        params,
        query,
        raft: state.raft.clone(),
        headers: headers_of(request),
        caller: caller_of(request, user.as_deref()),
        listener: Listener {
            origin: origin(request.peer_addr().map(|it| it.ip())),
            user: user.clone(),
        },
        user,
        may_write: state.rules().rights(Access::Write, request.headers()),
        events: Arc::clone(&state.events),
        readiness: Arc::clone(&state.readiness),
        display: state.display.read().unwrap_or_else(PoisonError::into_inner).clone(),
        fleet,
        now: services.clock.now(),
        services,
    };
    if call.is_dry_run() && route.access == Access::Write {
        // Whoever only wants to see does not get it done.
        let text = format!("{path} takes no dry_run, and was not done");
        return (route.path, respond(Err(Failure::new(text))));
    }
    if let Err(failure) = prove(route, &call).await {
        return (route.path, respond(Err(failure)));
    }
    let response = respond(if route.access.changes() && !call.is_dry_run() {
        to_its_end(route, call).await
    } else {
        answered(route, call, ANSWER_DEADLINE).await
    });
    if *request.method() == Method::HEAD {
        // There is nobody to read events.
        return (route.path, response.map_body(|_, _| BoxBody::new(())));
    }
    (route.path, response)
}

async fn answered(route: &Route, call: Call, deadline: Duration) -> Outcome {
    let outcome = actix_web::rt::time::timeout(deadline, (route.handler)(call)).await;
    outcome.unwrap_or_else(|_| Err(Failure::new("no answer in time")))
}

/// What changes something is done to its end, whoever hangs up, and once, whoever asks twice. Who
/// named the request can ask what became of it.
async fn to_its_end(route: &'static Route, call: Call) -> Outcome {
    let (requests, name) = (Arc::clone(&call.requests), call.name.clone());
    if let Some(name) = &name
        && let Err(fate) = requests.begin(name)
    {
        let so_far = match fate {
            Fate::Running => "is under way".to_owned(),
            Fate::Answered { status, .. } => format!("was answered with {status}"),
        };
        let text = format!("request {name} {so_far}, and is not made again: ask request-outcome");
        return Err(Failure::new(text).with_status(StatusCode::CONFLICT));
    }
    let done = actix_web::rt::spawn(answered(route, call, CHANGE_DEADLINE));
    let remembered = actix_web::rt::spawn(async move {
        let outcome = done.await.unwrap_or_else(|_| Err(Failure::new("it broke off")));
        if let Some(name) = &name {
            let (status, body) = read_back(&outcome);
            requests.end(name, status, body.as_deref());
        }
        outcome
    });
    remembered.await.unwrap_or_else(|_| Err(Failure::new("it broke off")))
}

/// The answer of the leader, or that there is none; nothing if this node is to answer.
async fn elsewhere(
    route: &Route,
    query: &[(String, String)],
    request: &HttpRequest,
    state: &State,
) -> Option<HttpResponse> {
    let raft = state.raft.as_ref()?;
    let changes = route.access.changes();
    let wants_local = query.iter().any(|(name, value)| name == "local" && value == "true");
    let passed_on_by = request.headers().get(proxy::PASSED_ON_BY);
    let asked = Asked {
        place: route.place,
        is_local_read: wants_local && !changes,
        passed_on_by: passed_on_by.map(|by| by.to_str().unwrap_or("somebody")),
    };
    let answer = match way(&asked, &raft.leadership()) {
        Way::Here => return None,
        Way::To(leader) => passed_on(raft, leader, changes, request, state).await,
        Way::Nowhere(why) => {
            let why = raft.outside().unwrap_or(why);
            let why = format!("this node does not lead; {why}");
            Err(if changes {
                Failure::unauthorized(&why)
            } else {
                Failure::later(format!("{why}; local=true asks for what this node sees"))
            })
        }
    };
    Some(answer.unwrap_or_else(|failure| respond(Err(failure))))
}

async fn passed_on(
    raft: &Raft,
    leader: Leader,
    changes: bool,
    request: &HttpRequest,
    state: &State,
) -> Result<HttpResponse, Failure> {
    let unknown = |why| {
        let why = format!("the leader {} does not answer: {why}", leader.name);
        match changes {
            true => Failure::unauthorized(&format!("this node does not lead; {why}")),
            false => Failure::later(why),
        }
    };
    let api = raft.api_of(&leader).await.map_err(unknown)?;
    let me = raft.seat();
    let (name, end) = (leader.name.clone(), raft.end_of(leader));
    let target = proxy::Target { leader: &name, api: &api, me, changes, end };
    state.proxy.pass_on(request, target).await
}

/// What changes something is done by who is proven to lead.
async fn prove(route: &Route, call: &Call) -> Result<(), Failure> {
    match &call.raft {
        Some(raft)
            if route.place == Place::Leader && route.access.changes() && !call.is_dry_run() =>
        {
            raft.prove().await
        }
        _ => Ok(()),
    }
}

/// The answer to somebody who may not do this.
fn refuse(access: Access, request: &HttpRequest, state: &State) -> Option<HttpResponse> {
    let verdict = state.rules().judge(access, request.headers());
    match verdict {
        Verdict::Allowed => None,
        Verdict::Denied | Verdict::ReadOnly => Some(respond(Err(Failure::new("Unauthorized")))),
        Verdict::CrossSite => {
            let failure = Failure::new(
                "this looks like a browser, and it does not prove that a page of baton's asked for \
                 it: use the dashboard, or a program such as curl; a proxy in front has to keep \
                 Host, or its name be in HTTPHostNames",
            );
            Some(respond(Err(failure.with_status(StatusCode::FORBIDDEN))))
        }
        Verdict::ForeignName => {
            let host = request.headers().get(header::HOST).and_then(|it| it.to_str().ok());
            let failure = Failure::new(format!(
                "this node is not called {}: if it is, add the name to HTTPHostNames",
                host.unwrap_or_default()
            ));
            Some(respond(Err(failure.with_status(StatusCode::MISDIRECTED_REQUEST))))
        }
        Verdict::ManyUsers => {
            let failure = Failure::new("the request names several users, in AuthUserHeader");
            Some(respond(Err(failure.with_status(StatusCode::BAD_REQUEST))))
        }
        Verdict::Unauthenticated => Some(
            HttpResponse::Unauthorized()
                .insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"baton\""))
                .content_type("text/plain; charset=utf-8")
                .body("Not Authorized\n"),
        ),
    }
}

/// Whether it is a browser that wants to show something.
fn wants_page(request: &HttpRequest) -> bool {
    let wanted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    wanted.is_some_and(|wanted| wanted.contains("text/html"))
}

fn headers_of(request: &HttpRequest) -> Vec<(String, String)> {
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn plain(status: StatusCode, body: String) -> HttpResponse {
    HttpResponse::build(status).content_type("text/plain; charset=utf-8").body(body)
}

/// The answer to a path there is not. Whether a path exists is nobody's business who may not even
/// read: the old client asks for `/api` to learn whether it is let in.
fn unknown(request: &HttpRequest, state: &State) -> HttpResponse {
    refuse(Access::Read, request, state).unwrap_or_else(not_found)
}

fn not_found() -> HttpResponse {
    plain(StatusCode::NOT_FOUND, "404 page not found\n".to_owned())
}

fn greeting(state: &State) -> HttpResponse {
    let node = &state.services.node;
    let prefix = &state.prefix;
    let text = format!(
        "baton {} on {}\n\nThe dashboard is at {prefix}/ui/, the API at {prefix}/api/, figures are at {prefix}/metrics.\n\
         Begin with {prefix}/api/clusters-info and {prefix}/api/replication-analysis.\n",
        node.version, node.hostname
    );
    plain(StatusCode::OK, text)
}

fn figures(state: &State) -> HttpResponse {
    let services = &state.services;
    let fleet = services.snapshot.borrow().clone();
    let hooks = services.hooks.running();
    let text = metrics::render(&services.registry, &fleet, &hooks, services.clock.now());
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(text)
}

/// Ready is who can answer what was asked and keep what is set.
fn ready(state: &State) -> HttpResponse {
    use baton_actors::ports::StoreHealth;
    match &*state.services.store_health.borrow() {
        StoreHealth::Healthy => plain(StatusCode::OK, "ready\n".to_owned()),
        StoreHealth::Degraded { reason } => {
            plain(StatusCode::SERVICE_UNAVAILABLE, format!("the store is degraded: {reason}\n"))
        }
    }
}
