//! What becomes of baton when its store is in trouble, through the whole program.

mod support;

use std::io::Write;
use std::time::Duration;

use support::{Baton, Flavor, Options, PATIENCE, admit, star, wait_until};

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn a_store_that_cannot_be_used_is_named_at_the_start() {
    for case in ["a damaged file", "a file where the folder should be"] {
        let mut baton = Baton::prepare(BATON, Vec::new(), &[]);
        let file = baton.folder().join("baton/baton.sqlite3");
        let folder = file.parent().expect("a folder");
        if case == "a damaged file" {
            std::fs::create_dir_all(folder).expect("create it");
            std::fs::write(&file, "this is no database, whatever its name may say").expect("write");
        } else {
            std::fs::write(folder, "").expect("write");
        }
        let before = std::fs::read(&file).ok();
        let command = baton.command();
        baton.spawn(command);
        let status = baton.wait_within(AT_ONCE);
        assert!(!status.success(), "case: {case}");
        let log = baton.log();
        assert!(log.contains("baton/baton") && !log.contains("panicked"), "{case}: {log}");
        assert_eq!(std::fs::read(&file).ok(), before, "{case}: it is left as it was");
    }
}

#[test]
fn a_full_disk_is_loud_and_watching_goes_on() {
    let mut servers = star(&Options::new(Flavor::MariaDb1011), 1);
    admit(&servers);
    let mut baton = Baton::prepare(BATON, vec![servers[0].address()], &[]);
    let command = baton.on_a_small_disk(4);
    baton.spawn(command);
    wait_until(PATIENCE, "baton answers", || baton.try_get("/health/live"));
    baton.until_all_valid(2);
    assert_eq!(ready(&baton), (200, "ready\n".to_owned()));

    let fill = baton.folder_inside().join("fill");
    let mut file = std::fs::File::create(&fill).expect("create a file on the small disk");
    while file.write_all(&[0; 4096]).is_ok() {}

    let at = format!("{}/{}", servers[1].host, servers[1].port);
    let tag = |number: usize| {
        let path = format!("/api/tag/{at}?tag=t{number}");
        baton.request("POST", &path, "").expect("an answer").0
    };
    let refused = wait_until(PATIENCE, "what cannot be kept is refused", || {
        (0..100).find(|number| tag(*number) == 500)
    });
    wait_until(PATIENCE, "it says that it is degraded", || (ready(&baton).0 == 503).then_some(()));
    assert!(ready(&baton).1.contains("full"), "{}", ready(&baton).1);
    let (_, figures) = baton.try_get("/metrics").expect("an answer");
    assert!(figures.contains("baton_store_degraded 1"), "{figures}");
    servers[0].kill_9();
    baton.until_found_within(AT_ONCE, &servers[0], "DeadMaster");

    drop(file);
    std::fs::remove_file(&fill).expect("make room");
    wait_until(PATIENCE, "it is well again", || (ready(&baton).0 == 200).then_some(()));
    assert_eq!(tag(refused), 200, "what was refused can be set now");
}

fn ready(baton: &Baton) -> (u16, String) {
    baton.try_get("/health/ready").expect("an answer")
}
