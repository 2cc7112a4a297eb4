//! The network itself does what the other tests ask of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Net, PATIENCE, Place, wait_until};

const PORT: u16 = 7000;

/// Says back whatever it hears.
fn echo(place: &Place) -> Child {
    let mut command = place.command(Path::new("/"));
    command.args(["socat", &format!("TCP-LISTEN:{PORT},fork,reuseaddr"), "EXEC:cat"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("start socat")
}

/// A new connection, if there is one before long.
fn connect(place: &Place) -> Option<TcpStream> {
    let address = format!("{}:{PORT}", place.address()).parse().expect("an address");
    let stream = TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("set a time-out");
    Some(stream)
}

/// How long a word takes there and back, if it comes back before long.
#[allow(clippy::disallowed_methods, reason = "packets travel in real time")]
fn ask(stream: &mut TcpStream) -> Option<Duration> {
    let began = Instant::now();
    stream.write_all(b"word").ok()?;
    stream.read_exact(&mut [0; 4]).ok()?;
    Some(began.elapsed())
}

#[test]
fn the_wire_can_be_cut_one_way_slowed_and_made_lossy_and_heals() {
    let mut net = Net::join();
    let (here, there) = (net.place("here"), net.place("there"));
    let mut echoes = [echo(&here), echo(&there)];
    let mut to_there = wait_until(PATIENCE, "it answers", || connect(&there));
    let mut to_here = wait_until(PATIENCE, "it answers", || connect(&here));
    assert!(ask(&mut to_there).is_some() && ask(&mut to_here).is_some());
    // From here to there, as they see each other.
    let from_here = |script: &str| here.run(script);
    let try_there = format!(
        "echo word | timeout 1 socat -t 0.5 - TCP:{}:{PORT},connect-timeout=0.3 2>&1 || true",
        there.address()
    );
    assert_eq!(from_here(&try_there), "word\n");
    net.cut(&[&there], &[&here]);
    assert_ne!(from_here(&try_there), "word\n", "answers are lost");
    assert!(ask(&mut to_there).is_some(), "others reach it");
    net.heal();
    assert_eq!(from_here(&try_there), "word\n");

    let test = net.test();
    net.slow(&[&test], &[&there], Duration::from_millis(50));
    let took = ask(&mut to_there).expect("late is not lost");
    assert!(took >= Duration::from_millis(100), "{took:?}");
    net.heal();
    net.lose(&[&test], &[&there], 100);
    assert!(ask(&mut to_there).is_none(), "all is lost");
    net.heal();

    net.call("somewhere", &here);
    assert!(from_here("getent hosts somewhere").starts_with(&here.address()));
    net.call("somewhere", &there);
    assert!(from_here("getent hosts somewhere").starts_with(&there.address()));

    let folder = Path::new("/mnt");
    here.small_disk(folder, 64);
    let full = "dd if=/dev/zero of=/mnt/filler bs=4k 2>/dev/null || true; stat -c %s /mnt/filler";
    assert_eq!(from_here(full).trim(), "65536");
    // Whoever answers each of us ends when we do.
    drop((to_there, to_here));
    wait_until(PATIENCE, "nobody answers any more", || {
        let busy = "ss -Htn state established | wc -l";
        (here.run(busy).trim() == "0" && there.run(busy).trim() == "0").then_some(())
    });
    for echo in &mut echoes {
        echo.kill().expect("end socat");
        echo.wait().expect("bury socat");
    }
}
