//! Server-sent events: what changed in the fleet, for pages and programs.
//!
//! One thread compares snapshots, as long as somebody listens, and puts what is different into a
//! ring of bounded size. A reader has a place in that ring and no queue: whoever reads too slowly,
//! or comes back too late, is told to load everything again (`resync`). An event is made once,
//! however many read it, and so are all rows together ([`Whole`]), from which a stream goes on.

mod ring;
mod seats;
mod seen;
mod whole;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::web::Bytes;
use baton_actors::clock::Clock;
use baton_actors::ports::SnapshotReader;
use baton_topology::recovery::gate::Runner;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::compat::to_go_json;
use crate::view::Rows;
use ring::Ring;
pub(crate) use seats::{Full, Listener};
use seats::{Seat, Seats};
use seen::{Look, Seen};
pub(crate) use whole::Whole;

/// Events are not closer to each other than this.
const PACE: Duration = Duration::from_millis(150);
/// How often everything is compared, for what changes by the passing of time alone.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// A stream is never silent for longer: readers know from that that it is alive.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
/// Snapshots are compared for so long after the last reader left: it may come back.
const LINGER: Duration = Duration::from_secs(60);
/// A larger event is not sent; readers load everything anew.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Where the readers' thread stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// The number of the newest event.
    newest: u64,
    /// What is in the ring follows what readers may load now.
    is_live: bool,
    /// Readers of another epoch are sent away.
    epoch: u64,
    /// It is over.
    is_closed: bool,
}

/// Gives streams of events.
pub(crate) struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    /// Begins the names of all events of this process.
    token: String,
    ring: Mutex<Ring>,
    mark: watch::Sender<Mark>,
    readers: watch::Sender<usize>,
    seats: Arc<Seats>,
    /// Somebody wants all rows.
    wanted: Notify,
    whole: watch::Sender<Option<Offer>>,
}

/// All rows, as long as nothing else was told.
#[derive(Clone)]
struct Offer {
    /// They are still true of the snapshot of this number.
    generation: u64,
    /// The newest event in them.
    number: u64,
    whole: Arc<Whole>,
}

/// Counts a reader for as long as he reads.
struct Listening(Arc<Shared>);

impl Listening {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.readers.send_modify(|readers| *readers += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.readers.send_modify(|readers| *readers = readers.saturating_sub(1));
    }
}

/// The place of one reader.
struct Reader {
    listening: Listening,
    _seat: Seat,
    mark: watch::Receiver<Mark>,
    at: u64,
    epoch: u64,
    begun: Begun,
}

/// What a reader has been told of how it begins.
enum Begun {
    /// Nothing; this is the event it knows.
    Not(Option<String>),
    /// All of it.
    Yes,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Hello<'a> {
    token: &'a str,
    resumed: bool,
}

impl Events {
    /// Begins to wait for readers, who have a share of so many connections.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub(crate) fn start(
        runner: Runner,
        snapshot: SnapshotReader,
        clock: Arc<dyn Clock>,
        connections_max: usize,
    ) -> std::io::Result<Self> {
        let mark = Mark { newest: 0, is_live: false, epoch: 0, is_closed: false };
        let shared = Arc::new(Shared {
            token: runner.token.clone(),
            ring: Mutex::default(),
            mark: watch::Sender::new(mark),
            readers: watch::Sender::new(0),
            seats: Seats::of(connections_max),
            wanted: Notify::new(),
            whole: watch::Sender::new(None),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let teller = Teller { shared: Arc::clone(&shared), snapshot, clock, runner };
        // Comparing thousands of instances takes milliseconds, which nobody else should wait for.
        std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || runtime.block_on(teller.run()))?;
        Ok(Self { shared })
    }

    /// A stream that goes on after an event the reader knows.
    ///
    /// # Errors
    /// When too many are open.
    pub(crate) fn stream(
        &self,
        known: Option<String>,
        listener: Listener,
    ) -> Result<BoxStream<'static, Bytes>, Full> {
        let shared = &self.shared;
        let seat = shared.seats.take(listener)?;
        let mark = shared.mark.subscribe();
        let epoch = mark.borrow().epoch;
        let listening = Listening::begin(shared);
        let reader =
            Reader { listening, _seat: seat, mark, at: 0, epoch, begun: Begun::Not(known) };
        Ok(stream::unfold(reader, Reader::next).boxed())
    }

    /// Somebody will want all rows soon: they are begun with.
    pub(crate) fn prepare(&self) {
        self.shared.wanted.notify_one();
    }

    /// All rows, from a snapshot of this number or a later one; nothing once it is over.
    pub(crate) async fn whole(&self, generation: u64) -> Option<Arc<Whole>> {
        let shared = &self.shared;
        let _listening = Listening::begin(shared);
        let (mut offers, mut mark) = (shared.whole.subscribe(), shared.mark.subscribe());
        let is_new = |it: &Option<Offer>| it.as_ref().is_some_and(|it| it.generation >= generation);
        if !is_new(&offers.borrow()) {
            shared.wanted.notify_one();
        }
        tokio::select! {
            _ = mark.wait_for(|mark| mark.is_closed) => None,
            offer = offers.wait_for(is_new) => Some(Arc::clone(&offer.ok()?.as_ref()?.whole)),
        }
    }

    /// Sends all readers away: they come back, maybe elsewhere.
    pub(crate) fn dismiss(&self) {
        self.shared.mark.send_modify(|mark| mark.epoch += 1);
    }

    /// Ends all streams, for good.
    pub(crate) fn close(&self) {
        self.shared.mark.send_modify(|mark| mark.is_closed = true);
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, number: u64) -> String {
        format!("{}-{number}", self.token)
    }

    /// The number of an event, if it is one of this process.
    fn number(&self, name: &str) -> Option<u64> {
        name.strip_prefix(self.token.as_str())?.strip_prefix('-')?.parse().ok()
    }

    /// An event as it is sent.
    fn event(&self, number: u64, kind: &str, data: &str) -> Bytes {
        Bytes::from(format!("id: {}\nevent: {kind}\ndata: {data}\n\n", self.name(number)))
    }
}

impl Reader {
    /// The next piece, when there is one.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            let mark = *self.mark.borrow_and_update();
            if mark.is_closed || mark.epoch != self.epoch {
                return None;
            }
            if mark.is_live
                && let Some(piece) = self.piece()
            {
                return Some((piece, self));
            }
            match timeout(HEARTBEAT_EVERY, self.mark.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some((Bytes::from_static(b": alive\n\n"), self)),
            }
        }
    }

    fn piece(&mut self) -> Option<Bytes> {
        let shared = &self.listening.0;
        let ring = shared.ring();
        if let Begun::Not(known) = &self.begun {
            let known = known.as_deref();
            let number = known.and_then(|name| shared.number(name));
            let is_known = number.is_some_and(|number| ring.after(number).is_ok());
            self.at = number.filter(|_| is_known).unwrap_or(ring.newest());
            // Whoever knew something, and cannot go on from there, has missed something.
            let kind = if known.is_some() && !is_known { "resync" } else { "hello" };
            self.begun = Begun::Yes;
            let hello = Hello { token: &shared.token, resumed: is_known };
            let hello = to_go_json(&hello).unwrap_or_default();
            return Some(shared.event(self.at, kind, &hello));
        }
        match ring.after(self.at) {
            Ok(None) => None,
            Ok(Some((number, event))) => {
                self.at = number;
                Some(event)
            }
            Err(ring::TooOld) => {
                self.at = ring.newest();
                let hello = Hello { token: &shared.token, resumed: false };
                Some(shared.event(self.at, "resync", &to_go_json(&hello).unwrap_or_default()))
            }
        }
    }
}

/// Compares snapshots and tells what is different.
struct Teller {
    shared: Arc<Shared>,
    snapshot: SnapshotReader,
    clock: Arc<dyn Clock>,
    runner: Runner,
}

impl Teller {
    async fn run(mut self) {
        let mut readers = self.shared.readers.subscribe();
        let mut mark = self.shared.mark.subscribe();
        loop {
            let is_wanted = tokio::select! {
                _ = mark.wait_for(|mark| mark.is_closed) => return,
                () = self.shared.wanted.notified() => true,
                waited = readers.wait_for(|readers| *readers > 0) => match waited {
                    Ok(_) => false,
                    Err(_) => return,
                },
            };
            tokio::select! {
                _ = mark.wait_for(|mark| mark.is_closed) => return,
                ended = self.tell(&mut readers, is_wanted) => if ended.is_none() { return },
            }
        }
    }

    /// Tells until nobody has listened for a while; nothing once there are no snapshots any more.
    async fn tell(
        &mut self,
        readers: &mut watch::Receiver<usize>,
        mut is_wanted: bool,
    ) -> Option<()> {
        let mut seen = Seen::new(self.runner.clone());
        let fleet = self.snapshot.borrow_and_update().clone();
        seen.advance(&fleet, Look::All, self.clock.now());
        self.go_live();
        let mut sweep_at = Instant::now() + SWEEP_EVERY;
        let mut look_at = Instant::now();
        let mut leave_at = None;
        loop {
            if is_wanted {
                self.offer(&seen);
            }
            let changed = async {
                sleep_until(look_at).await;
                self.snapshot.changed().await
            };
            is_wanted = tokio::select! {
                changed = changed => changed.map(|()| false).ok()?,
                () = sleep_until(sweep_at) => false,
                () = self.shared.wanted.notified() => true,
            };
            look_at = Instant::now() + PACE;
            let is_due = Instant::now() >= sweep_at;
            if is_due {
                sweep_at = Instant::now() + SWEEP_EVERY;
            }
            let fleet = self.snapshot.borrow_and_update().clone();
            let look = if is_due { Look::All } else { Look::Changed };
            self.publish(&seen.advance(&fleet, look, self.clock.now()));
            match (*readers.borrow_and_update(), leave_at) {
                (0, None) => leave_at = Some(Instant::now() + LINGER),
                (0, Some(at)) if Instant::now() >= at => {
                    self.shared.mark.send_modify(|mark| mark.is_live = false);
                    self.shared.whole.send_replace(None);
                    return Some(());
                }
                (0, Some(_)) => {}
                _ => leave_at = None,
            }
        }
    }

    /// Gives all rows to whoever wants them: the same again as long as nothing else was told.
    fn offer(&self, seen: &Seen) {
        let number = self.shared.ring().newest();
        let generation = seen.generation();
        let known = self.shared.whole.borrow().clone().filter(|it| it.number == number);
        let offer = match known {
            Some(known) => Offer { generation, ..known },
            None => {
                let Ok(whole) = Whole::of(&seen.whole(self.shared.name(number))) else { return };
                Offer { generation, number, whole: Arc::new(whole) }
            }
        };
        self.shared.whole.send_replace(Some(offer));
    }

    /// From now on, what is in the ring follows what readers may load.
    fn go_live(&self) {
        let newest = {
            let mut ring = self.shared.ring();
            ring.cut();
            ring.newest()
        };
        self.shared.mark.send_modify(|mark| {
            mark.newest = newest;
            mark.is_live = true;
        });
    }

    fn publish(&self, rows: &Rows) {
        if rows.is_empty() {
            return;
        }
        let Ok(data) = to_go_json(rows) else { return };
        let newest = {
            let mut ring = self.shared.ring();
            if data.len() > EVENT_BYTES_MAX {
                ring.cut();
            } else {
                let event = self.shared.event(ring.next(), "change", &data);
                ring.push(event);
            }
            ring.newest()
        };
        self.shared.mark.send_modify(|mark| mark.newest = newest);
    }
}

#[cfg(test)]
mod tests;
