//! The keys of one node: the one that is configured, and those it had a while ago.
//!
//! Nodes are given another secret one by one, and the nodes of a raft must understand each other
//! meanwhile. So whoever gets a new key keeps the one before beside it, over a restart too, until all
//! members have been seen to have the new one, or a day has passed. Any key that two nodes have in
//! common is good for a connection. Of those before, one that a peer has proven is kept rather than one
//! that none has: an operator may err, and more than once.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use baton_schema::private::replace_file;
use baton_topology::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::secret::Secret;
use crate::clock::Clock;

/// No node has more keys than this at once.
pub(super) const KEYS_MAX: usize = 3;
/// For so long a key is good that was replaced, unless all members have the new one before.
const FORMER_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// The file that remembers them, beside `raft.db`.
const FILE: &str = "raft.keys";
/// How the name of one ends that could not be read, and was put aside: it may hold the key that all
/// others have.
const UNREADABLE: &str = "keys-unreadable";

/// The keys of a node. Clones are the same keys.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    ring: Mutex<Ring>,
    /// Held while the file is written, so that the newest is what stays.
    writing: Mutex<bool>,
    /// None where nothing is remembered.
    store: Option<Store>,
}

struct Store {
    file: PathBuf,
    clock: Arc<dyn Clock>,
}

struct Ring {
    current: Secret,
    /// Whether a peer ever proved it.
    is_proven: bool,
    /// The newest first.
    former: Vec<Former>,
    /// What the file does not say yet.
    is_changed: bool,
    /// Whether peers proved the current key when they were asked last, by the name they were asked under.
    seen: BTreeMap<String, bool>,
}

#[derive(Clone)]
struct Former {
    secret: Secret,
    /// Whether a peer ever proved it.
    is_proven: bool,
    until: Timestamp,
}

/// What the file says.
#[derive(Serialize, Deserialize)]
struct Kept {
    current: String,
    #[serde(default)]
    proven: bool,
    former: Vec<KeptFormer>,
}

#[derive(Serialize, Deserialize)]
struct KeptFormer {
    key: String,
    #[serde(default)]
    proven: bool,
    until: i64,
}

impl Keys {
    /// This key, with nothing before and nothing remembered.
    pub fn new(current: Secret) -> Self {
        Self::of(Ring::of(current), None)
    }

    /// This key, and those that the node whose folder this is had not long ago.
    pub fn kept_in(folder: &Path, current: Secret, clock: Arc<dyn Clock>) -> Self {
        let file = folder.join(FILE);
        let kept = read(&file, clock.now()).unwrap_or_else(|why| {
            let aside = file.with_extension(UNREADABLE);
            let is_aside = std::fs::rename(&file, &aside).is_ok();
            let (file, aside) = (file.display(), is_aside.then(|| aside.display().to_string()));
            tracing::warn!(%file, why, aside, "the keys that raft had before are not known");
            None
        });
        let ring = kept.unwrap_or_else(|| Ring::of(current.clone()));
        let keys = Self::of(ring, Some(Store { file, clock }));
        keys.replace(current);
        keys
    }

    fn of(ring: Ring, store: Option<Store>) -> Self {
        Self(Arc::new(Inner { ring: Mutex::new(ring), writing: Mutex::new(false), store }))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this is the key; the one before is good for a while.
    pub fn replace(&self, secret: Secret) {
        let mut ring = self.ring();
        let Some(store) = &self.0.store else {
            ring.current = secret;
            return;
        };
        ring.replace(secret, store.clock.now());
        ring.is_changed = false;
        drop(ring);
        self.write(store);
    }

    /// All that are good now, the current one first.
    pub(super) fn all(&self) -> Vec<Secret> {
        let ring = self.ring();
        let now = self.0.store.as_ref().map(|store| store.clock.now());
        let former = ring.former.iter().filter(|it| now.is_some_and(|now| now < it.until));
        std::iter::once(&ring.current).chain(former.map(|it| &it.secret)).cloned().collect()
    }

    /// A peer that was asked under this name proved this key.
    pub(super) fn note(&self, peer: &str, proven: &Secret) {
        let mut ring = self.ring();
        ring.note_proven(proven);
        let is_current = *proven == ring.current;
        let before = ring.seen.insert(peer.to_owned(), is_current);
        if before != Some(is_current) && !ring.former.is_empty() {
            if is_current {
                tracing::info!(peer, "has the new key of raft");
            } else {
                tracing::warn!(peer, "has a former key of raft, which is good for a day at most");
            }
        }
    }

    /// Forgets former keys once all these peers have the current one, and writes down what was learnt.
    pub(super) fn settle<'a>(&self, mut peers: impl Iterator<Item = &'a str>) {
        let mut ring = self.ring();
        if !ring.former.is_empty() && peers.all(|it| ring.seen.get(it) == Some(&true)) {
            ring.former.clear();
            ring.is_changed = true;
            tracing::info!("all members have the new key of raft; former ones are good no more");
        }
        if !std::mem::take(&mut ring.is_changed) {
            return;
        }
        drop(ring);
        if let Some(store) = &self.0.store {
            self.write(store);
        }
    }

    /// Writes down what is known now. Each request of a peer's asks for the keys: not while a disk is waited
    /// for.
    fn write(&self, store: &Store) {
        let mut has_failed = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Store::text(&self.ring());
        let written = kept.and_then(|kept| replace_file(&store.file, &kept));
        if let Err(error) = &written {
            if !*has_failed {
                let file = store.file.display();
                tracing::warn!(%file, %error, "the key of raft is not remembered for the next start");
            }
            self.ring().is_changed = true;
        }
        *has_failed = written.is_err();
    }
}

impl Ring {
    fn of(current: Secret) -> Self {
        let (former, seen) = (Vec::new(), BTreeMap::new());
        Self { current, is_proven: false, former, is_changed: false, seen }
    }

    fn note_proven(&mut self, secret: &Secret) {
        let former = self.former.iter_mut().map(|it| (&it.secret, &mut it.is_proven));
        let mut all = std::iter::once((&self.current, &mut self.is_proven)).chain(former);
        if let Some((_, is_proven)) = all.find(|(it, is_proven)| *it == secret && !**is_proven) {
            *is_proven = true;
            self.is_changed = true;
        }
    }

    fn replace(&mut self, secret: Secret, now: Timestamp) {
        if self.current != secret {
            // Whoever changes their mind may come back to one.
            let back = self.former.iter().position(|it| it.secret == secret);
            let back = back.map(|place| self.former.remove(place));
            let is_proven = back.is_some_and(|it| it.is_proven);
            let is_proven = std::mem::replace(&mut self.is_proven, is_proven);
            let before = std::mem::replace(&mut self.current, secret);
            let until = now.plus(FORMER_FOR);
            self.former.insert(0, Former { secret: before, is_proven, until });
            self.seen.clear();
        }
        self.former.retain(|it| now < it.until);
        while self.former.len() > KEYS_MAX - 1 {
            let unproven = self.former.iter().rposition(|it| !it.is_proven);
            self.former.remove(unproven.unwrap_or(self.former.len() - 1));
        }
    }
}

impl Store {
    fn text(ring: &Ring) -> Result<Vec<u8>, std::io::Error> {
        let text = |secret: &Secret| BASE64.encode(secret.bytes());
        let former = ring.former.iter();
        let former = former.map(|it| KeptFormer {
            key: text(&it.secret),
            proven: it.is_proven,
            until: it.until.as_secs(),
        });
        let (current, proven) = (text(&ring.current), ring.is_proven);
        let kept = Kept { current, proven, former: former.collect() };
        serde_json::to_vec(&kept).map_err(std::io::Error::from)
    }
}

/// The keys of a node when it ran last; or why they are not known. The clock may have been ahead when
/// they were written: none is good for longer than those that are replaced now.
fn read(file: &Path, now: Timestamp) -> Result<Option<Ring>, String> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    // What serde says of a file like this might quote it.
    let broken = || "it is damaged".to_owned();
    let kept: Kept = serde_json::from_slice(&text).map_err(|_| broken())?;
    let secret = |text: &str| {
        let bytes = BASE64.decode(text).ok();
        bytes.and_then(|it| Secret::of_bytes(&it)).ok_or_else(broken)
    };
    let former = |it: &KeptFormer| {
        let until = Timestamp::from_secs(it.until).min(now.plus(FORMER_FOR));
        Ok(Former { secret: secret(&it.key)?, is_proven: it.proven, until })
    };
    let all: Result<Vec<Former>, String> = kept.former.iter().map(former).collect();
    let current = secret(&kept.current)?;
    Ok(Some(Ring { is_proven: kept.proven, former: all?, ..Ring::of(current) }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::slice::from_ref;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn a_replaced_key_is_good_until_all_have_the_new_one_or_a_day_has_passed() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand::default());
        let open =
            |it: &Secret| Keys::kept_in(folder.path(), it.clone(), Arc::clone(&clock) as Arc<_>);
        let [one, two, three, four] = std::array::from_fn(|_| Secret::of_nobody());
        assert_eq!(open(&one).all(), from_ref(&one));
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // Over a restart; and once more, with nothing new.
        assert_eq!(open(&two).all(), [two.clone(), one.clone()]);
        let keys = open(&two);
        assert_eq!(keys.all(), [two.clone(), one.clone()]);
        let settle = |keys: &Keys| keys.settle(["a", "b"].into_iter());
        keys.note("a", &two);
        keys.note("b", &one);
        settle(&keys);
        assert_eq!(keys.all().len(), 2, "b has the former one");
        keys.note("b", &two);
        settle(&keys);
        assert_eq!(keys.all(), from_ref(&two));
        assert_eq!(open(&two).all(), from_ref(&two), "it is forgotten for good");

        // While it runs, and back again.
        keys.replace(three.clone());
        settle(&keys);
        assert_eq!(keys.all(), [three.clone(), two.clone()], "who was seen had the one before");
        keys.replace(two.clone());
        assert_eq!(keys.all(), [two.clone(), three.clone()]);
        keys.replace(one.clone());
        keys.replace(four.clone());
        assert_eq!(keys.all(), [four.clone(), one, two], "and never more than three");
        clock.0.store(24 * 60 * 60, Ordering::SeqCst);
        assert_eq!(keys.all(), from_ref(&four));

        std::fs::write(folder.path().join(FILE), "no keys").unwrap();
        assert_eq!(
            open(&three).all(),
            from_ref(&three),
            "a damaged file keeps nobody from starting"
        );
        let aside = std::fs::read(folder.path().join("raft.keys-unreadable")).unwrap();
        assert_eq!(aside, b"no keys", "nor is it lost");
        assert_eq!(open(&four).all(), [four, three]);
    }

    #[test]
    fn the_key_that_peers_use_outlives_any_number_of_wrong_ones() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand::default());
        let open =
            |it: &Secret| Keys::kept_in(folder.path(), it.clone(), Arc::clone(&clock) as Arc<_>);
        let right = Secret::of_nobody();
        let keys = open(&right);
        keys.note("a", &right);
        keys.settle(std::iter::empty());
        for _ in 0..3 {
            let wrong = Secret::of_nobody();
            let all = open(&wrong).all();
            assert_eq!((&all[0], all.contains(&right)), (&wrong, true), "over a restart");
        }
        for _ in 0..3 {
            keys.replace(Secret::of_nobody());
        }
        assert!(keys.all().contains(&right), "and while it runs");
        keys.replace(right.clone());
        assert_eq!(keys.all()[0], right);
        keys.replace(Secret::of_nobody());
        keys.replace(Secret::of_nobody());
        keys.replace(Secret::of_nobody());
        assert!(keys.all().contains(&right), "it is still known to be the one they use");
    }

    #[test]
    fn a_clock_that_was_ahead_makes_no_key_good_for_longer() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand::default());
        let open =
            |it: &Secret| Keys::kept_in(folder.path(), it.clone(), Arc::clone(&clock) as Arc<_>);
        let [one, two] = std::array::from_fn(|_| Secret::of_nobody());
        let year = 365 * 24 * 60 * 60;
        clock.0.store(year, Ordering::SeqCst);
        open(&one);
        assert_eq!(open(&two).all(), [two.clone(), one.clone()]);
        clock.0.store(0, Ordering::SeqCst);
        let keys = open(&two);
        assert_eq!(keys.all(), [two.clone(), one]);
        clock.0.store(24 * 60 * 60, Ordering::SeqCst);
        assert_eq!(keys.all(), from_ref(&two));
    }
}
