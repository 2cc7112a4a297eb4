use baton_actors::clock::TokioClock;
use baton_topology::fleet::{FleetInput, advance};
use baton_topology::snapshot::FleetSnapshot;
use baton_topology::testing::{answered, primary_facts};
use baton_topology::time::Timestamp;

use super::*;

/// So many streams there may be.
const STREAMS: usize = 4;

struct Scene {
    events: Events,
    fleet: watch::Sender<Arc<FleetSnapshot>>,
}

fn scene() -> Scene {
    let empty = FleetSnapshot::empty(Arc::default(), Arc::default(), Timestamp::EPOCH);
    let fleet = watch::Sender::new(Arc::new(empty));
    let clock = Arc::new(TokioClock::starting_at(Timestamp::from_secs(100)));
    let runner = Runner { uid: "".into(), node: "n".into(), token: "token".into() };
    let events = Events::start(runner, fleet.subscribe(), clock, 2 * STREAMS).unwrap();
    Scene { events, fleet }
}

impl Scene {
    fn find(&self, name: &str) {
        let probed = FleetInput::Probed(answered(name, 100, primary_facts()));
        let next = advance(&self.fleet.borrow(), vec![probed], Timestamp::from_secs(100));
        self.fleet.send_replace(Arc::new(next.snapshot));
    }

    async fn whole(&self) -> Arc<Whole> {
        let generation = self.fleet.borrow().generation;
        timeout(Duration::from_secs(20), self.events.whole(generation)).await.unwrap().unwrap()
    }

    fn stream_from(
        &self,
        last: u8,
        known: Option<&str>,
    ) -> Result<BoxStream<'static, Bytes>, Full> {
        let origin = Some(std::net::IpAddr::from([10, 0, 0, last]));
        self.events.stream(known.map(str::to_owned), Listener { origin, user: None })
    }

    fn listen(&self, known: Option<&str>) -> BoxStream<'static, Bytes> {
        self.stream_from(0, known).unwrap()
    }
}

async fn next(stream: &mut BoxStream<'static, Bytes>) -> String {
    let piece = timeout(Duration::from_secs(20), stream.next()).await.unwrap().unwrap();
    String::from_utf8(piece.to_vec()).unwrap()
}

fn name_of(event: &str) -> &str {
    event.lines().next().unwrap().strip_prefix("id: ").unwrap()
}

#[tokio::test]
async fn readers_are_told_what_changes_and_go_on_where_they_were() {
    let scene = scene();
    let mut reader = scene.listen(None);
    let hello = next(&mut reader).await;
    assert!(
        hello.contains("event: hello\ndata: {\"Token\":\"token\",\"Resumed\":false}\n\n"),
        "{hello}"
    );
    scene.find("p");
    let change = next(&mut reader).await;
    assert!(
        change.contains("event: change\n") && change.contains("\"Key\":\"p:3306\""),
        "{change}"
    );
    drop(reader);
    scene.find("q");
    let mut back = scene.listen(Some(name_of(&change)));
    let hello = next(&mut back).await;
    assert!(hello.contains("hello") && hello.contains("\"Resumed\":true"), "{hello}");
    let missed = next(&mut back).await;
    assert!(missed.contains("\"Key\":\"q:3306\"") && !missed.contains("p:3306"), "{missed}");
}

#[tokio::test]
async fn a_stream_goes_on_from_all_rows() {
    let scene = scene();
    scene.find("p");
    let whole = scene.whole().await;
    let rows: serde_json::Value = serde_json::from_slice(&whole.plain).unwrap();
    assert_eq!((&rows["Token"], &rows["Instances"][0]["Key"]), (&"token".into(), &"p:3306".into()));
    scene.find("q");
    let mut reader = scene.listen(rows["Event"].as_str());
    let hello = next(&mut reader).await;
    assert!(hello.contains("\"Resumed\":true"), "{hello}");
    let missed = next(&mut reader).await;
    assert!(missed.contains("\"Key\":\"q:3306\"") && !missed.contains("p:3306"), "{missed}");
}

#[tokio::test]
async fn all_rows_are_written_once_until_something_is_different() {
    let scene = scene();
    scene.find("p");
    let whole = scene.whole().await;
    assert!(Arc::ptr_eq(&whole, &scene.whole().await), "the snapshot is the same");
    scene.find("p");
    assert!(Arc::ptr_eq(&whole, &scene.whole().await), "another one, which looks the same");
    scene.find("q");
    let other = scene.whole().await;
    assert!(String::from_utf8_lossy(&other.plain).contains("q:3306"));
    let mut plain = String::new();
    let mut unpacked = flate2::read::GzDecoder::new(&other.gzip[..]);
    std::io::Read::read_to_string(&mut unpacked, &mut plain).unwrap();
    assert_eq!(plain.as_bytes(), &other.plain[..]);
    scene.events.close();
    let closed = scene.events.whole(u64::MAX).await;
    assert!(closed.is_none(), "nobody waits for what never comes");
}

#[tokio::test]
async fn all_rows_are_made_ready_before_somebody_asks() {
    let scene = scene();
    scene.find("p");
    let mut offers = scene.events.shared.whole.subscribe();
    scene.events.prepare();
    let ready = timeout(Duration::from_secs(20), offers.wait_for(Option::is_some)).await;
    assert!(ready.is_ok(), "nobody listens yet, and they are there");
}

#[tokio::test]
async fn readers_who_missed_something_begin_anew() {
    let scene = scene();
    for known in ["token-77", "other-1", "nonsense", "token-"] {
        let told = next(&mut scene.listen(Some(known))).await;
        assert!(told.contains("event: resync\n"), "{known}: {told}");
    }
}

#[tokio::test]
async fn streams_are_limited_and_end() {
    let scene = scene();
    let mut readers: Vec<_> = (0..4).map(|last| scene.stream_from(last, None).unwrap()).collect();
    assert_eq!(scene.stream_from(9, None).err(), Some(Full::All));
    readers.truncate(2);
    let mut reader = scene.listen(None);
    next(&mut reader).await;
    scene.events.dismiss();
    assert!(reader.next().await.is_none(), "it is sent away");
    drop(reader);
    let mut reader = scene.listen(None);
    next(&mut reader).await;
    scene.events.close();
    assert!(reader.next().await.is_none(), "it is over");
}
