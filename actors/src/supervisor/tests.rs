use std::sync::atomic::AtomicU32;

use super::*;
use crate::metrics::Metrics;

/// Panics when told to, and counts what it was told otherwise.
struct Fragile {
    counted: Arc<AtomicU32>,
}

#[derive(Debug)]
enum Order {
    Count,
    Panic,
    Stop,
}

impl Message for Order {
    type Result = ();
}

impl Actor for Fragile {
    type Context = Context<Self>;
}

impl Handler<Queued<Order>> for Fragile {
    type Result = ();

    fn handle(&mut self, order: Queued<Order>, ctx: &mut Self::Context) {
        let (order, _handling) = order.open();
        match order {
            Order::Count => {
                self.counted.fetch_add(1, Ordering::Relaxed);
            }
            Order::Panic => panic!("on purpose"),
            Order::Stop => ctx.stop(),
        }
    }
}

fn fragile(capacity: usize) -> (Child<Fragile>, Arc<AtomicU32>) {
    silence_expected_panics();
    let metrics = Metrics::new();
    let child = Child::new(capacity, Restart::CORE, metrics.actor("fragile"));
    let counted = Arc::new(AtomicU32::new(0));
    let inner = Arc::clone(&counted);
    child.start(&Place::Here, move || Fragile { counted: Arc::clone(&inner) });
    (child, counted)
}

/// Thousands of backtraces help nobody.
fn silence_expected_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

async fn deliver(child: &Child<Fragile>, order: Order) {
    let mut order = order;
    // Waits for the child to be alive, in paused time.
    for _ in 0..100 {
        match child.try_send(order) {
            // It is handled, and a panic over, before the next one is sent.
            Ok(()) => return tokio::task::yield_now().await,
            Err(undelivered) => order = undelivered.into_inner(),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the child never came back");
}

#[actix::test]
async fn a_child_survives_thousands_of_panics() {
    tokio::time::pause();
    let (child, counted) = fragile(16);
    for _ in 0..5_000 {
        deliver(&child, Order::Panic).await;
    }
    deliver(&child, Order::Count).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(child.restarts(), 5_000);
    assert_eq!(counted.load(Ordering::Relaxed), 1);
    assert_eq!(child.depth(), 0);
}

#[actix::test]
async fn a_mailbox_full_of_poison_kills_the_actor_once_and_never_the_process() {
    tokio::time::pause();
    let (child, counted) = fragile(64);
    tokio::task::yield_now().await;
    for _ in 0..64 {
        child.try_send(Order::Panic).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(child.restarts(), 1, "what waited died with the first");
    assert_eq!(child.depth(), 0);
    deliver(&child, Order::Count).await;
    tokio::task::yield_now().await;
    assert_eq!(counted.load(Ordering::Relaxed), 1);
}

#[actix::test]
async fn a_child_that_stops_is_rebuilt_and_a_retired_one_is_not() {
    tokio::time::pause();
    let (child, _) = fragile(16);
    deliver(&child, Order::Stop).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(child.restarts(), 1);
    assert!(child.current().is_some());
    child.retire();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(child.current().is_none());
    assert!(matches!(child.try_send(Order::Count), Err(Undelivered::Down(Order::Count))));
}

#[actix::test]
async fn the_pause_grows_while_a_child_keeps_dying_and_is_capped() {
    tokio::time::pause();
    let began = Instant::now();
    let (child, _) = fragile(16);
    for _ in 0..12 {
        deliver(&child, Order::Panic).await;
    }
    // 5 ms doubled ten times is past the cap of five seconds.
    assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
    for _ in 0..2 {
        let before = Instant::now();
        deliver(&child, Order::Panic).await;
        assert!(before.elapsed() <= Duration::from_millis(5_200));
    }
}

#[actix::test]
async fn the_limit_of_a_mailbox_holds_for_everybody_together() {
    tokio::time::pause();
    let (child, counted) = fragile(10);
    tokio::task::yield_now().await;
    let outlet = child.outlet::<Order>();
    let accepted = (0..10_000)
        .filter(|n| {
            if n % 2 == 0 {
                child.clone().try_send(Order::Count)
            } else {
                outlet.clone().try_send(Order::Count)
            }
            .is_ok()
        })
        .count();
    assert_eq!(accepted, 10);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(counted.load(Ordering::Relaxed), 10);
    assert!(child.try_send(Order::Count).is_ok(), "there is room again");
}
