//! Keeps actors alive: rebuilds a dead one from its factory.
//!
//! actix's own `Supervisor` does not survive a panic, and keeps an actor's old state. This one
//! holds a factory. A child that panics or stops is built anew after a pause that grows while it
//! keeps dying. Whoever talks to a child holds a [`Child`] and never an `Addr`, because addresses
//! die with the actor behind them.
//!
//! Two properties of actix make this module more than a loop. A context that is dropped while its
//! actor panics is polled once more, and a second panic there would abort the process: so panics
//! are caught around every poll and the context is terminated before it is dropped. And each clone
//! of an address may always send once, whatever the mailbox limit says: so the limit is kept here,
//! by counting what is under way.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{self, Poll};
use std::time::Duration;

use actix::dev::{ContextFut, ToEnvelope};
use actix::{Actor, ActorContext, Addr, Context, Handler, Message};
use actix_rt::ArbiterHandle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::ActorMetrics;

/// When a dead child is built anew.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// The pause before the first rebuild. It doubles with each death.
    pub first: Duration,
    /// The pause never grows beyond this.
    pub cap: Duration,
    /// A child that lived this long begins anew with the first pause.
    pub calm_after: Duration,
}

impl Restart {
    /// For actors the whole system waits for.
    pub const CORE: Self = Self {
        first: Duration::from_millis(5),
        cap: Duration::from_secs(5),
        calm_after: Duration::from_secs(10),
    };
    /// For one probe of many.
    pub const PROBE: Self = Self {
        first: Duration::from_millis(500),
        cap: Duration::from_secs(60),
        calm_after: Duration::from_secs(120),
    };
}

/// Where a child runs.
#[derive(Debug, Clone)]
pub enum Place {
    /// On the arbiter that starts it.
    Here,
    /// On another arbiter.
    On(ArbiterHandle),
}

/// Why a message was not delivered. It carries the message, which the sender decides about.
#[derive(Debug)]
pub enum Undelivered<M> {
    /// Too much is waiting already.
    Full(M),
    /// The actor is dead right now.
    Down(M),
}

impl<M> Undelivered<M> {
    /// The message.
    pub fn into_inner(self) -> M {
        match self {
            Self::Full(message) | Self::Down(message) => message,
        }
    }
}

/// A supervised actor, as others know it. Cheap to clone.
pub struct Child<A: Actor> {
    shared: Arc<Shared<A>>,
}

struct Shared<A: Actor> {
    address: RwLock<Option<Addr<A>>>,
    retire: Notify,
    /// Ends the present life; only tests do that.
    kill: Notify,
    retired: AtomicBool,
    restarts: AtomicU64,
    depth: Arc<Depth>,
    capacity: usize,
    restart: Restart,
}

impl<A: Actor> Clone for Child<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<A: Actor> std::fmt::Debug for Child<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child").finish_non_exhaustive()
    }
}

impl<A: Actor<Context = Context<A>>> Child<A> {
    /// A child that is not started yet. Others may hold it already: that is how actors that know
    /// each other are wired.
    pub fn new(capacity: usize, restart: Restart, metrics: ActorMetrics) -> Self {
        let depth = Arc::new(Depth { waiting: AtomicUsize::new(0), metrics });
        let shared = Shared {
            address: RwLock::new(None),
            retire: Notify::new(),
            kill: Notify::new(),
            retired: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            depth,
            capacity,
            restart,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts the child, and starts it again from `factory` whenever it dies, until it retires.
    pub fn start<F>(&self, place: &Place, factory: F)
    where
        F: FnMut() -> A + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        match place {
            Place::Here => {
                actix_rt::spawn(keep_alive(shared, factory));
            }
            Place::On(arbiter) => {
                arbiter.spawn_fn(move || {
                    actix_rt::spawn(keep_alive(shared, factory));
                });
            }
        }
    }

    /// Ends the child for good.
    pub fn retire(&self) {
        self.shared.retired.store(true, Ordering::Relaxed);
        self.shared.retire.notify_one();
    }

    /// Ends its present life as a panic would.
    #[cfg(any(test, feature = "testing"))]
    pub fn kill(&self) {
        self.shared.kill.notify_one();
    }

    /// The address right now. Use it at once and let it go.
    pub fn current(&self) -> Option<Addr<A>> {
        self.shared.address.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it had to be built anew.
    pub fn restarts(&self) -> u64 {
        self.shared.restarts.load(Ordering::Relaxed)
    }

    /// How many messages wait for it.
    pub fn depth(&self) -> usize {
        self.shared.depth.waiting.load(Ordering::Relaxed)
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// When too much is waiting, or the actor is dead right now.
    pub fn try_send<M>(&self, message: M) -> Result<(), Undelivered<M>>
    where
        M: Message<Result = ()> + Send + 'static,
        A: Handler<Queued<M>>,
        Context<A>: ToEnvelope<A, Queued<M>>,
    {
        let address = self.shared.address.read().unwrap_or_else(PoisonError::into_inner);
        let Some(address) = address.as_ref() else { return Err(Undelivered::Down(message)) };
        let Some(ticket) = Ticket::draw(&self.shared.depth, self.shared.capacity) else {
            return Err(Undelivered::Full(message));
        };
        address.try_send(Queued { message, ticket }).map_err(|refused| match refused {
            actix::prelude::SendError::Full(queued) => Undelivered::Full(queued.message),
            actix::prelude::SendError::Closed(queued) => Undelivered::Down(queued.message),
        })
    }

    /// The way to send it messages of one type, for those who need not know what it is.
    pub fn outlet<M>(&self) -> Outlet<M>
    where
        M: Message<Result = ()> + Send + 'static,
        A: Handler<Queued<M>>,
        Context<A>: ToEnvelope<A, Queued<M>>,
    {
        let child = self.clone();
        Outlet::new(move |message| child.try_send(message))
    }
}

/// Sends messages of one type to whoever is behind it.
pub struct Outlet<M> {
    send: Arc<dyn Fn(M) -> Result<(), Undelivered<M>> + Send + Sync>,
}

impl<M> Clone for Outlet<M> {
    fn clone(&self) -> Self {
        Self { send: Arc::clone(&self.send) }
    }
}

impl<M> std::fmt::Debug for Outlet<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet").finish_non_exhaustive()
    }
}

impl<M> Outlet<M> {
    /// An outlet to a function.
    pub fn new(send: impl Fn(M) -> Result<(), Undelivered<M>> + Send + Sync + 'static) -> Self {
        Self { send: Arc::new(send) }
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// When too much is waiting, or the receiver is dead right now.
    pub fn try_send(&self, message: M) -> Result<(), Undelivered<M>> {
        (self.send)(message)
    }
}

/// A message on its way to a supervised actor.
#[derive(Debug)]
pub struct Queued<M> {
    message: M,
    ticket: Ticket,
}

impl<M: Message<Result = ()>> Message for Queued<M> {
    type Result = ();
}

impl<M> Queued<M> {
    /// Takes the message out. Handling lasts until the returned guard is dropped.
    pub fn open(self) -> (M, Handling) {
        let metrics = self.ticket.depth.metrics.clone();
        (self.message, Handling { began: Instant::now(), metrics })
    }
}

/// Measures how long one message is being handled.
#[derive(Debug)]
pub struct Handling {
    began: Instant,
    metrics: ActorMetrics,
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.metrics.handling_seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

#[derive(Debug)]
struct Depth {
    waiting: AtomicUsize,
    metrics: ActorMetrics,
}

/// A place in the queue, given back however the message ends.
#[derive(Debug)]
struct Ticket {
    depth: Arc<Depth>,
}

impl Ticket {
    fn draw(depth: &Arc<Depth>, capacity: usize) -> Option<Self> {
        let ticket = Self { depth: Arc::clone(depth) };
        let before = depth.waiting.fetch_add(1, Ordering::Relaxed);
        depth.metrics.mailbox.inc();
        // A refused ticket is dropped here, which gives the place back.
        (before < capacity).then(|| {
            depth.metrics.messages.inc();
            ticket
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.depth.waiting.fetch_sub(1, Ordering::Relaxed);
        self.depth.metrics.mailbox.dec();
    }
}

/// How one life of an actor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Stopped,
    Panicked,
    Retired,
}

async fn keep_alive<A, F>(shared: Arc<Shared<A>>, mut factory: F)
where
    A: Actor<Context = Context<A>>,
    F: FnMut() -> A,
{
    let actor = short_name::<A>();
    let mut pause = shared.restart.first;
    while !shared.retired.load(Ordering::Relaxed) {
        let began = Instant::now();
        let ending = live_once(&shared, &mut factory).await;
        if ending == Ending::Retired {
            return;
        }
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        shared.depth.metrics.restarts.inc();
        if began.elapsed() >= shared.restart.calm_after {
            pause = shared.restart.first;
        }
        tracing::error!(actor, ?ending, ?pause, "actor died and will be rebuilt");
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = shared.retire.notified() => return,
        }
        pause = pause.saturating_mul(2).min(shared.restart.cap);
    }
}

async fn live_once<A, F>(shared: &Shared<A>, factory: &mut F) -> Ending
where
    A: Actor<Context = Context<A>>,
    F: FnMut() -> A,
{
    let Ok(actor) = catch_unwind(AssertUnwindSafe(factory)) else { return Ending::Panicked };
    let mut context = Context::new();
    // The limit is kept by tickets; see the head of this module.
    context.set_mailbox_capacity(0);
    let future = context.into_future(actor);
    let address = future.address();
    *shared.address.write().unwrap_or_else(PoisonError::into_inner) = Some(address);
    shared.depth.metrics.alive.inc();
    let ending = tokio::select! {
        biased;
        ending = Guarded { future: Some(future) } => ending,
        () = shared.kill.notified() => Ending::Panicked,
        () = shared.retire.notified() => Ending::Retired,
    };
    *shared.address.write().unwrap_or_else(PoisonError::into_inner) = None;
    shared.depth.metrics.alive.dec();
    ending
}

/// An actor's context that neither lets a panic through nor is polled after one.
struct Guarded<A: Actor<Context = Context<A>>> {
    future: Option<ContextFut<A, Context<A>>>,
}

impl<A: Actor<Context = Context<A>>> Guarded<A> {
    fn bury(&mut self) {
        if let Some(mut future) = self.future.take() {
            future.ctx().terminate();
            // What the actor owns may panic when dropped; that is no reason to die with it.
            if catch_unwind(AssertUnwindSafe(move || drop(future))).is_err() {
                tracing::error!(actor = short_name::<A>(), "panic while burying an actor");
            }
        }
    }
}

impl<A: Actor<Context = Context<A>>> Future for Guarded<A> {
    type Output = Ending;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Ending> {
        let Some(future) = self.future.as_mut() else { return Poll::Ready(Ending::Stopped) };
        let ending = match catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => Ending::Stopped,
            Err(_) => Ending::Panicked,
        };
        self.bury();
        Poll::Ready(ending)
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Guarded<A> {
    fn drop(&mut self) {
        self.bury();
    }
}

fn short_name<A>() -> &'static str {
    let full = std::any::type_name::<A>();
    full.rsplit("::").next().unwrap_or(full)
}

#[cfg(test)]
mod tests;
