use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

fn at(last: u8) -> Origin {
    origin(Some(IpAddr::from([10, 0, 0, last])))
}

fn is_to_go(connection: &Connection) -> bool {
    connection.is_to_go.load(Ordering::SeqCst)
}

/// Eight at most: from six on there is little room, and four may come from one address.
fn eight() -> Arc<Connections> {
    Connections::new(Limits::of(8))
}

#[tokio::test]
async fn the_oldest_of_the_address_with_most_that_wait_makes_room() {
    let all = eight();
    let honest = all.enter(at(1)).unwrap();
    let silent: Vec<_> = (0..3).map(|_| all.enter(at(2)).unwrap()).collect();
    let others: Vec<_> = (3..5).map(|last| all.enter(at(last)).unwrap()).collect();
    assert!(!silent.iter().any(|it| is_to_go(it)), "there is room");
    let asked = silent[0].begin();
    let _seventh = all.enter(at(9)).unwrap();
    assert_eq!([0, 1, 2].map(|it| is_to_go(&silent[it])), [false, true, false]);
    assert!(!is_to_go(&honest) && !others.iter().any(|it| is_to_go(it)));
    // Who was answered waits again, behind the others.
    drop(asked);
    let _eighth = all.enter(at(9)).unwrap();
    assert_eq!([0, 1, 2].map(|it| is_to_go(&silent[it])), [false, true, true]);
}

#[tokio::test]
async fn an_address_has_its_share_and_others_have_room() {
    let all = eight();
    let held: Vec<_> = (0..4).map(|_| all.enter(at(1)).unwrap()).collect();
    let asked: Vec<_> = held.iter().map(Connection::begin).collect();
    assert_eq!(all.enter(at(1)).unwrap_err(), Full, "all of its own are busy");
    assert!(all.enter(at(2)).is_ok());
    drop(asked);
    let fifth = all.enter(at(1)).unwrap();
    assert!(is_to_go(&held[0]) && !is_to_go(&fifth), "one of its own makes room");
    drop((held, fifth));
    assert!(all.table().origins.is_empty() && all.table().count == 0, "{all:?}");
    let held: Vec<_> = (0..6).map(|_| all.enter(origin(None)).unwrap()).collect();
    let _asked: Vec<_> = held.iter().map(Connection::begin).collect();
    assert!(all.enter(origin(None)).is_ok(), "this machine itself has no share");
}

#[tokio::test]
async fn an_address_with_many_pushes_out_none_that_has_few() {
    let all = eight();
    let honest = all.enter(at(1)).unwrap();
    let busy: Vec<_> = (0..6).map(|number| all.enter(at(2 + number % 2)).unwrap()).collect();
    let _asked: Vec<_> = busy.iter().map(Connection::begin).collect();
    let _eighth = all.enter(at(2)).unwrap();
    assert!(!is_to_go(&honest));
}

#[tokio::test]
async fn who_is_busy_is_not_taken_for_silent() {
    let all = eight();
    let _silent: Vec<_> = (2..5).map(|last| all.enter(at(last)).unwrap()).collect();
    let peer: Vec<_> = (0..3).map(|_| all.enter(at(9)).unwrap()).collect();
    let _asked: Vec<_> = peer[..2].iter().map(Connection::begin).collect();
    let _seventh = all.enter(at(1)).unwrap();
    assert!(
        !is_to_go(&peer[2]) && is_to_go(&_silent[0]),
        "one of those that wait is as good as another"
    );
}

#[tokio::test]
async fn who_is_proven_makes_room_for_nobody() {
    let all = eight();
    let peer = all.enter(at(1)).unwrap();
    peer.keep();
    drop(peer.begin());
    let strangers: Vec<_> = (0..9).map(|_| all.enter(at(1)).unwrap()).collect();
    assert!(!is_to_go(&peer));
    assert_eq!(strangers.iter().filter(|it| is_to_go(it)).count(), 6, "they make room themselves");
}

#[test]
fn a_network_of_ipv6_is_one_caller() {
    let of = |text: &str| origin(Some(text.parse().unwrap()));
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:10.0.0.1"), at(1));
    assert_eq!(origin(None), None);
}

/// A connection, and the end of the caller.
fn timed(all: &Arc<Connections>) -> (Timed<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(16);
    (Timed::new(ours, all.enter(at(1)).unwrap()), theirs)
}

#[tokio::test(start_paused = true)]
async fn every_request_has_the_same_time_to_come() {
    let all = eight();
    let (mut stream, mut caller) = timed(&all);
    for _ in 0..2 {
        // Its answer may take as long as it likes.
        let asked = stream.connection().begin();
        let byte = tokio::time::timeout(WAIT_MAX * 10, stream.read_u8()).await;
        assert!(byte.is_err(), "it is not hung up on while it is answered");
        drop(asked);
        caller.write_u8(1).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 1, "it has time now");
    }
    let began = Instant::now();
    // A byte now and then is no request.
    let drip = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = caller.write_u8(1).await;
        }
    };
    let read = async { while stream.read_u8().await.is_ok() {} };
    tokio::select! {
        () = drip => {}
        () = read => {}
    }
    assert!(began.elapsed() <= WAIT_MAX + Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_that_makes_room_ends_at_once() {
    let all = eight();
    let (mut stream, _caller) = timed(&all);
    let mut read = Box::pin(stream.read_u8());
    assert!(futures_util::poll!(&mut read).is_pending());
    let _others: Vec<_> = (0..4).map(|_| all.enter(at(1)).unwrap()).collect();
    let ended = tokio::time::timeout(WAIT_MAX / 2, read).await.expect("long before its deadline");
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_is_given_up() {
    let all = eight();
    let (mut stream, mut caller) = timed(&all);
    let _asked = stream.connection().begin();
    for _ in 0..3 {
        stream.write_all(&[0; 16]).await.unwrap();
        tokio::time::sleep(STALL_MAX / 2).await;
        caller.read_exact(&mut [0; 16]).await.unwrap();
    }
    let error = stream.write_all(&[0; 17]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_slowly_is_sent_to_its_end() {
    let all = eight();
    let (stream, mut caller) = timed(&all);
    // The whole answer waits to be sent, so the request is no longer under way.
    drop(stream.connection().begin());
    let (mut read, mut write) = tokio::io::split(stream);
    let sent = async {
        tokio::select! {
            sent = write.write_all(&[7; 160]) => sent.is_ok(),
            _ = read.read_u8() => false,
        }
    };
    let slow = async {
        let mut part = [0; 16];
        for _ in 0..10 {
            tokio::time::sleep(WAIT_MAX / 2).await;
            caller.read_exact(&mut part).await.unwrap();
        }
    };
    let (sent, ()) = tokio::join!(sent, slow);
    assert!(sent, "half of the time it had nothing to read");
    let ended = tokio::time::timeout(WAIT_MAX * 2, read.read_u8()).await.expect("then it waits");
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
