//! The keys of one node: the one that is configured, and those it had a while ago.
//!
//! Nodes are given another secret one by one, and the nodes of a raft must understand each other
//! meanwhile. So whoever gets a new key keeps the one before beside it, over a restart too, until all
//! members have been seen to have the new one, or a day has passed. Any key that two nodes have in
//! common is good for a connection.

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

/// The keys of a node. Clones are the same keys.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    ring: Mutex<Ring>,
    /// None where nothing is remembered.
    store: Option<Store>,
}

struct Store {
    file: PathBuf,
    clock: Arc<dyn Clock>,
}

struct Ring {
    current: Secret,
    /// The newest first.
    former: Vec<Former>,
    /// Whether peers proved the current key when they were asked last, by the name they were asked under.
    seen: BTreeMap<String, bool>,
}

#[derive(Clone)]
struct Former {
    secret: Secret,
    until: Timestamp,
}

/// What the file says.
#[derive(Serialize, Deserialize)]
struct Kept {
    current: String,
    former: Vec<KeptFormer>,
}

#[derive(Serialize, Deserialize)]
struct KeptFormer {
    key: String,
    until: i64,
}

impl Keys {
    /// This key, with nothing before and nothing remembered.
    pub fn new(current: Secret) -> Self {
        Self::of(Ring { current, former: Vec::new(), seen: BTreeMap::new() }, None)
    }

    /// This key, and those that the node whose folder this is had not long ago.
    pub fn kept_in(folder: &Path, current: Secret, clock: Arc<dyn Clock>) -> Self {
        let file = folder.join(FILE);
        let kept = read(&file).unwrap_or_else(|why| {
            tracing::warn!(file = %file.display(), why, "the keys that raft had before are not known");
            None
        });
        let (before, former) = kept.unwrap_or_else(|| (current.clone(), Vec::new()));
        let ring = Ring { current: before, former, seen: BTreeMap::new() };
        let keys = Self::of(ring, Some(Store { file, clock }));
        keys.replace(current);
        keys
    }

    fn of(ring: Ring, store: Option<Store>) -> Self {
        Self(Arc::new(Inner { ring: Mutex::new(ring), store }))
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
        let kept = Store::text(&ring);
        // Each request of a peer's asks for the keys: not while a disk is waited for.
        drop(ring);
        store.write(kept);
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

    /// Forgets former keys once all these peers have the current one.
    pub(super) fn settle<'a>(&self, mut peers: impl Iterator<Item = &'a str>) {
        let mut ring = self.ring();
        if ring.former.is_empty() || !peers.all(|it| ring.seen.get(it) == Some(&true)) {
            return;
        }
        ring.former.clear();
        tracing::info!("all members have the new key of raft; former ones are good no more");
        let kept = Store::text(&ring);
        drop(ring);
        if let Some(store) = &self.0.store {
            store.write(kept);
        }
    }
}

impl Ring {
    fn replace(&mut self, secret: Secret, now: Timestamp) {
        if self.current != secret {
            let until = now.plus(FORMER_FOR);
            let before = std::mem::replace(&mut self.current, secret);
            self.former.insert(0, Former { secret: before, until });
            self.seen.clear();
        }
        let current = self.current.clone();
        // Whoever changes their mind may come back to one.
        self.former.retain(|it| it.secret != current && now < it.until);
        self.former.truncate(KEYS_MAX - 1);
    }
}

impl Store {
    fn text(ring: &Ring) -> Result<Vec<u8>, std::io::Error> {
        let text = |secret: &Secret| BASE64.encode(secret.bytes());
        let former = ring.former.iter();
        let former =
            former.map(|it| KeptFormer { key: text(&it.secret), until: it.until.as_secs() });
        let kept = Kept { current: text(&ring.current), former: former.collect() };
        serde_json::to_vec(&kept).map_err(std::io::Error::from)
    }

    fn write(&self, content: Result<Vec<u8>, std::io::Error>) {
        if let Err(error) = content.and_then(|content| replace_file(&self.file, &content)) {
            let file = self.file.display();
            tracing::warn!(%file, %error, "the key of raft is not remembered for the next start");
        }
    }
}

/// The key a node had when it ran last, and those before; or why that is not known.
fn read(file: &Path) -> Result<Option<(Secret, Vec<Former>)>, String> {
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
        Ok(Former { secret: secret(&it.key)?, until: Timestamp::from_secs(it.until) })
    };
    let all: Result<Vec<Former>, String> = kept.former.iter().map(former).collect();
    Ok(Some((secret(&kept.current)?, all?)))
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
        assert_eq!(open(&four).all(), [four, three]);
    }
}
