//! Disks that fail.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use baton_actors::ports::Ledger;
use baton_actors::raft::{MembersError, NotLeading, RaftNode, RaftSetup, Role};

use crate::world::{PATIENCE, World, has, is_unavailable, tag, within};

/// Tells a test that it is the child of another one, and where its small disk is.
const CHILD: &str = "BATON_RAFT_NODE_TEST_CHILD";

/// This test, on a disk of four mebibytes.
fn on_a_small_disk(test: &str, folder: &Path) -> Command {
    let mount = format!("mount -t tmpfs -o size=4m small '{}' && exec \"$@\"", folder.display());
    let id = Command::new("id").arg("-u").output().unwrap();
    let mut process = Command::new("unshare");
    process.arg(if id.stdout == b"0\n" { "-m" } else { "-rm" }).args(["sh", "-c", &mount, "sh"]);
    process.arg(std::env::current_exe().unwrap());
    process.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, folder);
    process
}

#[test]
fn a_node_whose_disk_is_full_takes_no_part_until_it_is_started_again() {
    let test = "trouble::a_node_whose_disk_is_full_takes_no_part_until_it_is_started_again";
    if let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(fill_the_disk(&folder));
        writeln!(std::io::stdout(), "\nnothing was lost").unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = on_a_small_disk(test, folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nothing was lost"), "{said} {complained}");
}

async fn fill_the_disk(folder: &Path) {
    let filler = folder.join("filler");
    let mut world = World::in_folder(tempfile::tempdir_in(folder).unwrap(), &["a:1"]);
    let node = world.start("a:1").await;
    world.all_members().await;
    world.commit(1).await;
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    let mut acknowledged = 1;
    let mut failure = node.failure();
    while node.propose(tag(acknowledged + 1)).await.is_ok() {
        acknowledged += 1;
    }
    let known = within("it is known", failure.wait_for(Option::is_some)).await.unwrap().clone();
    assert!(known.unwrap().contains("no space left"), "{:?}", failure.borrow());
    let mut leadership = node.leadership();
    within("it ends", leadership.wait_for(|it| it.role == Role::Stopped)).await.unwrap();

    drop(file);
    fs::remove_file(&filler).unwrap();
    assert!(is_unavailable(&node.propose(tag(999)).await), "though there is room again");
    let error = node.prove(PATIENCE).await.unwrap_err();
    assert!(matches!(error, NotLeading::Stopped(_)), "{error}");
    world.kill("a:1").await;
    world.start("a:1").await;
    world.all_members().await;
    let (_, node) = world.leader().await;
    node.prove(PATIENCE).await.unwrap();
    assert!(has(&node.state().borrow(), acknowledged));
    assert!(!has(&node.state().borrow(), 999));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_memory_was_tampered_with_does_not_start() {
    let mut world = World::running(&["a:1"]).await;
    world.commit(1).await;
    world.kill("a:1").await;
    let file = world.folder("a:1").join("raft.db");
    let whole = fs::read(&file).unwrap();
    let witness = world.folder("a:1").join("raft.db-witness");
    let count = fs::read(&witness).unwrap();
    for (case, expected) in [
        ("cut", "raft.db is damaged"),
        ("older", "may have forgotten a vote"),
        ("without witness", "the witness of"),
    ] {
        fs::write(&file, &whole).unwrap();
        fs::write(&witness, &count).unwrap();
        match case {
            "cut" => fs::write(&file, &whole[..whole.len() / 2]).unwrap(),
            "older" => {
                let ahead = 1_000_u64.to_be_bytes();
                let sum = crc32fast::hash(&ahead).to_be_bytes();
                fs::write(&witness, [&ahead[..], &sum[..]].concat()).unwrap();
            }
            _ => fs::remove_file(&witness).unwrap(),
        }
        let Err(error) = RaftNode::start(world.setup("a:1")).await else {
            panic!("{case}: it started")
        };
        assert!(error.to_string().contains(expected), "{case}: {error}");
    }
    fs::write(&file, &whole).unwrap();
    fs::write(&witness, &count).unwrap();
    world.start("a:1").await;
    world.commit(2).await;
}

/// Whoever can store nothing has nothing to vote with: where it is the second of two, nothing would
/// be agreed upon any more.
#[test]
fn a_peer_that_can_store_nothing_gets_no_vote() {
    let test = "trouble::a_peer_that_can_store_nothing_gets_no_vote";
    if let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(add_without_room(&folder));
        writeln!(std::io::stdout(), "\nit goes on").unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = on_a_small_disk(test, folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it goes on"), "{said} {complained}");
}

async fn add_without_room(folder: &Path) {
    let mut world = World::running(&["a:1"]).await;
    world.commit(1).await;
    let (_, leader) = world.leader().await;
    let place = folder.join("b");
    fs::create_dir_all(&place).unwrap();
    let setup = RaftSetup { folder: place, ..world.setup("b:1") };
    world.start_with(setup).await;
    let mut file = fs::File::create(folder.join("filler")).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    while file.write_all(&[7]).is_ok() {}
    let error = leader.add_peer("b:1").await.unwrap_err();
    assert!(matches!(error, MembersError::Slow { .. }), "{error}");
    let voters = leader.members().into_iter().filter(|it| it.is_voter);
    assert_eq!(voters.map(|it| it.name).collect::<Vec<_>>(), ["a:1"]);
    leader.propose(tag(2)).await.unwrap();
}
