//! What a cluster does to pods, done to processes: each in a network namespace of its own, with the configuration of
//! `deploy/kubernetes`, under the names that a StatefulSet gives.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Baton, Net, PATIENCE, http, wait_until};
use tempfile::TempDir;

const BATON: &str = env!("CARGO_BIN_EXE_baton");
const CONFIG: &str = include_str!("../deploy/kubernetes/baton.toml");
const PAGE: &str = include_str!("../deploy/README.md");
/// `baton:http`, as it is written in a header.
const AUTHORIZED: &str = "Authorization: Basic YmF0b246aHR0cA==\r\n";
/// A change, harmless and as often as one likes.
const CHANGE: &str = "/api/enable-global-recoveries";
/// As long as a client may have to try again. That no election was waited for is seen in the log; this is for a machine
/// on which every request takes a second.
const PAUSE_MAX: Duration = Duration::from_secs(5);

fn name(index: usize) -> String {
    format!("baton-{index}.baton-nodes")
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(name).collect()
}

/// The pods, and what a cluster gives all of them.
struct Pods {
    net: Net,
    secrets: TempDir,
    pods: BTreeMap<usize, Baton>,
}

impl Pods {
    /// So many pods, all ready.
    fn start(count: usize) -> Self {
        let secrets = tempfile::tempdir().expect("a folder");
        fs::write(secrets.path().join("raft-secret"), "open sesame\n").expect("write it");
        certificates(secrets.path());
        let mut pods = Self { net: Net::join(), secrets, pods: BTreeMap::new() };
        (0..count).for_each(|index| pods.create(index, count));
        (0..count).for_each(|index| pods.until_ready(index));
        pods
    }

    /// A new pod that is told of `count` nodes.
    fn create(&mut self, index: usize, count: usize) {
        let name = name(index);
        let place = self.net.place(&name);
        self.net.call(&name, &place);
        let settings = [
            ("BATON_RAFTADVERTISE", name.as_str()),
            ("TOPOLOGY_PASSWORD", "unused"),
            ("HTTP_PASSWORD", "http"),
        ];
        let baton = Baton::prepare(BATON, Vec::new(), &settings).at(&place);
        self.pods.insert(index, baton);
        self.configure(index, count);
        self.pod_mut(index).launch();
    }

    /// Writes the configuration of a pod, told of `count` nodes.
    fn configure(&self, index: usize, count: usize) {
        let secrets = self.secrets.path().display();
        let listed =
            CONFIG.lines().find(|it| it.starts_with("RaftNodes = ")).expect("it lists them");
        let mut config = CONFIG.replace(listed, &format!("RaftNodes = {:?}", names(count)));
        for (before, after) in [
            ("\"/etc/baton/secret/", format!("\"{secrets}/")),
            ("\"/etc/baton/tls/", format!("\"{secrets}/")),
            ("\"/var/lib/baton/baton.sqlite3\"", "\"baton.sqlite3\"".to_owned()),
            ("\"/var/lib/baton\"", "\"raft\"".to_owned()),
            ("[\"db1.example.com:3306\"]", "[]".to_owned()),
        ] {
            assert!(config.contains(before), "{before}");
            config = config.replace(before, &after);
        }
        fs::write(self.pod(index).folder().join("baton.toml"), config).expect("write it");
    }

    /// Starts the process of a pod again, under its name at another address.
    fn come_back(&mut self, index: usize) {
        let name = name(index);
        let place = self.net.place(&name);
        self.net.call(&name, &place);
        let baton = self.pods.remove(&index).expect("a pod").at(&place);
        self.pods.insert(index, baton);
        self.pod_mut(index).launch();
    }

    fn pod(&self, index: usize) -> &Baton {
        &self.pods[&index]
    }

    fn pod_mut(&mut self, index: usize) -> &mut Baton {
        self.pods.get_mut(&index).expect("a pod")
    }

    /// Where the API of a pod is.
    fn address(&self, index: usize) -> String {
        let pod = self.pod(index);
        format!("{}:{}", pod.host(), pod.port)
    }

    /// Status and body; nothing if it does not answer.
    fn get(&self, index: usize, path: &str) -> Option<(u16, String)> {
        http::get(&self.address(index), path, AUTHORIZED)
    }

    /// What the readiness probe asks.
    fn is_ready(&self, index: usize) -> bool {
        self.get(index, "/api/raft-health").is_some_and(|(status, _)| status == 200)
    }

    fn until_ready(&self, index: usize) {
        wait_until(PATIENCE, "the pod is ready", || self.is_ready(index).then_some(()));
    }

    fn until_not_ready(&self, index: usize) {
        wait_until(PATIENCE, "the pod is not ready", || (!self.is_ready(index)).then_some(()));
    }

    /// Who of these leads, once one does.
    fn leader(&self, among: &[usize]) -> usize {
        wait_until(PATIENCE, "one of them leads", || {
            let leads =
                |it: &&usize| self.get(**it, "/api/leader-check").is_some_and(|it| it.0 == 200);
            among.iter().find(leads).copied()
        })
    }

    /// Waits until something that is changed at each of these is known at all of them.
    fn until_all_agree(&self, among: &[usize]) {
        for (index, (change, state)) in
            among.iter().zip([("disable", "disabled"), ("enable", "enabled")].into_iter().cycle())
        {
            let change = format!("/api/{change}-global-recoveries");
            self.until_done(*index, &change);
            for other in among {
                wait_until(PATIENCE, "it knows", || {
                    let (_, body) = self.get(*other, "/api/check-global-recoveries?local=true")?;
                    let answer: Value = serde_json::from_str(&body).ok()?;
                    (answer["Details"] == state).then_some(())
                });
            }
        }
    }

    fn until_done(&self, index: usize, path: &str) {
        wait_until(PATIENCE, &format!("{path} is done"), || {
            self.get(index, path).filter(|(status, _)| *status == 200)
        });
    }
}

/// Makes the certificates as the page on deployments says.
fn certificates(folder: &Path) {
    let blocks = PAGE.split("```\n").filter(|it| it.starts_with("openssl req -x509"));
    let script = blocks.last().expect("the page says how");
    let made = Command::new("bash").args(["-ec", script]).current_dir(folder).output();
    let made = made.expect("run bash");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn pods_that_come_back_at_other_addresses_take_their_seats_again() {
    let mut pods = Pods::start(3);
    let all = [0, 1, 2];
    pods.until_all_agree(&all);
    // In the end nobody is where anybody was when it began.
    for _ in all {
        let index = pods.leader(&all);
        pods.pod_mut(index).kill_9();
        let others: Vec<usize> = all.into_iter().filter(|it| *it != index).collect();
        pods.leader(&others);
        pods.come_back(index);
        pods.until_ready(index);
        pods.until_all_agree(&all);
    }
    // Whoever has lost its volume too is somebody else, under the same name.
    let index = pods.leader(&all);
    pods.pod_mut(index).kill_9();
    let folder = pods.pod(index).folder().to_owned();
    fs::remove_dir_all(folder.join("raft")).expect("it was there");
    pods.come_back(index);
    pods.until_ready(index);
    pods.until_all_agree(&all);
    let (_, peers) = pods.get(index, "/api/raft-peers").expect("it answers");
    let peers: Vec<String> = serde_json::from_str(&peers).expect("a list");
    assert_eq!(peers.len(), 3, "{peers:?}");
}

/// What a client saw of the service: the longest time without success, and every answer that was none.
#[derive(Debug, Default)]
struct Seen {
    longest: Duration,
    failures: BTreeMap<String, u32>,
}

/// Changes something again and again at the endpoints of a service, in turn.
#[allow(clippy::disallowed_methods, reason = "how long nobody can be reached is the question")]
fn ask_without_end(endpoints: &Mutex<Vec<String>>, done: &AtomicU32, is_over: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut last = Instant::now();
    for turn in 0_usize.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let endpoint = {
            let endpoints = endpoints.lock().expect("nobody panicked");
            endpoints[turn % endpoints.len()].clone()
        };
        match http::get(&endpoint, CHANGE, AUTHORIZED) {
            Some((200, _)) => {
                done.fetch_add(1, Ordering::Relaxed);
                seen.longest = seen.longest.max(last.elapsed());
                last = Instant::now();
            }
            Some((status, body)) => {
                *seen.failures.entry(format!("{status} {body}")).or_default() += 1
            }
            None => *seen.failures.entry("no answer".to_owned()).or_default() += 1,
        }
    }
    seen
}

/// Lets the client end, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_rolling_restart_hands_leadership_over_and_the_service_goes_on() {
    let mut pods = Pods::start(3);
    let endpoints = Mutex::new((0..3).map(|it| pods.address(it)).collect::<Vec<_>>());
    let (done, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let goes_on = |what: &str| {
        let before = done.load(Ordering::Relaxed);
        let is_more = || (done.load(Ordering::Relaxed) > before + 2).then_some(());
        wait_until(PATIENCE, what, is_more);
    };
    let (seen, handed_over) = std::thread::scope(|scope| {
        let client = scope.spawn(|| ask_without_end(&endpoints, &done, &is_over));
        let over = Over(&is_over);
        let mut handed_over = 0;
        for index in (0..3).rev() {
            let address = pods.address(index);
            endpoints.lock().expect("nobody panicked").retain(|it| *it != address);
            let did_lead = pods.leader(&[0, 1, 2]) == index;
            pods.pod(index).signal("-TERM");
            let status = pods.pod_mut(index).wait_within(PATIENCE);
            assert!(status.success(), "{status}");
            goes_on("changes are made while one is away");
            if did_lead {
                assert!(pods.pod(index).log().contains("another node leads now"));
                handed_over += 1;
            }
            pods.come_back(index);
            pods.until_ready(index);
            endpoints.lock().expect("nobody panicked").push(pods.address(index));
            goes_on("changes are made when it is back");
        }
        drop(over);
        (client.join().expect("the client does not panic"), handed_over)
    });
    assert!(handed_over > 0, "the one that led at first was restarted too");
    assert!(seen.longest < PAUSE_MAX, "{seen:#?}");
    // Only ever: nobody leads at this moment, ask again.
    assert!(seen.failures.keys().all(|it| it.starts_with("503 ")), "{seen:#?}");
    pods.until_all_agree(&[0, 1, 2]);
}

#[test]
fn three_become_five_and_five_become_three() {
    let mut pods = Pods::start(3);
    let add = |pods: &Pods, index: usize| {
        pods.until_done(0, &format!("/api/raft-add-peer/{}:10008", name(index)));
        pods.until_ready(index);
    };
    for index in [3, 4] {
        pods.create(index, 5);
    }
    for index in [3, 4] {
        assert!(!pods.is_ready(index), "it takes no part before it is let in");
        add(&pods, index);
    }
    // The others are told of the new ones in the order of a cluster, from the last.
    for index in [2, 1, 0] {
        pods.configure(index, 5);
        pods.pod(index).signal("-TERM");
        assert!(pods.pod_mut(index).wait_within(PATIENCE).success());
        pods.come_back(index);
        pods.until_ready(index);
    }
    let all = [0, 1, 2, 3, 4];
    pods.until_all_agree(&all);
    // Five do without two, the leader among them.
    let first = pods.leader(&all);
    pods.pod_mut(first).kill_9();
    let rest: Vec<usize> = all.into_iter().filter(|it| *it != first).collect();
    let second = pods.leader(&rest);
    pods.pod_mut(second).kill_9();
    let rest: Vec<usize> = rest.into_iter().filter(|it| *it != second).collect();
    pods.until_all_agree(&rest);
    for index in [first, second] {
        pods.come_back(index);
        pods.until_ready(index);
    }
    // The leader may be among those who go.
    pods.until_done(pods.leader(&all), &format!("/api/raft-yield/{}:10008", name(4)));
    wait_until(PATIENCE, "the last one leads", || (pods.leader(&all) == 4).then_some(()));
    for index in [4, 3] {
        pods.until_done(0, &format!("/api/raft-remove-peer/{}:10008", name(index)));
        pods.until_not_ready(index);
    }
    for index in [4, 3] {
        pods.pod_mut(index).kill_9();
    }
    pods.until_all_agree(&[0, 1, 2]);
    // Three do without one again: who left has no vote any more.
    pods.pod_mut(1).kill_9();
    pods.until_all_agree(&[0, 2]);
    pods.come_back(1);
    pods.until_ready(1);
    // Who left and comes back with its old volume takes no part until it is let in again.
    pods.come_back(3);
    pods.until_all_agree(&[0, 1, 2]);
    assert!(!pods.is_ready(3));
    add(&pods, 3);
    pods.until_all_agree(&[0, 1, 2, 3]);
}
