//! How one node comes to take part, and what it tells of that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::super::findings::machine;
use super::super::leadership::Leadership;
use super::super::network::chain;
use super::super::recover::fresh_number;
use super::super::types::Peer;
use super::naming::leader_of;
use super::{Hello, Members, Standing};

/// The pause before peers are asked again.
const PAUSE: Duration = Duration::from_millis(250);
/// A member that hears of no leader for so long asks the others whether it is one still: nobody
/// tells those who are removed.
const SILENT_AT_MOST: Duration = Duration::from_secs(5);

impl Members {
    /// Sees to it that this node takes part, and tells how that goes.
    pub(in super::super) async fn settle(
        self: Arc<Self>,
        leadership: watch::Receiver<Leadership>,
        standing: watch::Sender<Standing>,
    ) {
        // One receiver for all rounds: a new one takes for news what it has never seen.
        let mut metrics = self.raft.server_metrics();
        let mut heard_at = Instant::now();
        let mut named_otherwise = String::new();
        loop {
            metrics.borrow_and_update();
            self.addresses.agree(&self.list());
            if !self.list().iter().any(|it| it.id == self.id && it.is_voter) {
                if let Err(why) = self.try_to_settle().await {
                    tell(&standing, Standing::Outside(why));
                }
                sleep(PAUSE).await;
                continue;
            }
            let now = leadership.borrow().clone();
            if now.leader.is_some() {
                heard_at = Instant::now();
            }
            if self.is_called_otherwise()
                && let Err(why) = self.ask_for_own_name(&now).await
            {
                if why != named_otherwise {
                    tracing::warn!(why, "the members do not call this node by its name yet");
                    named_otherwise = why;
                }
                sleep(PAUSE).await;
            }
            if heard_at.elapsed() >= SILENT_AT_MOST
                && let Some(why) = self.removal().await
            {
                tell(&standing, Standing::Outside(why));
                sleep(SILENT_AT_MOST).await;
                continue;
            }
            tell(&standing, Standing::Member);
            if let Err(error) = self.finish_change().await {
                tracing::warn!(error = chain(&error), "a change of members is not finished");
                // Whoever was just elected is refused until a majority has answered it.
                sleep(PAUSE).await;
                continue;
            }
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                () = sleep(SILENT_AT_MOST) => {}
            }
        }
    }

    /// Why this node is no member, though it takes itself for one, if others who hear of a leader
    /// say so.
    async fn removal(&self) -> Option<String> {
        // Whoever is found under another name by that is reached there from now on.
        let answers = self.ask_everybody().await;
        let is_sure = |it: &&Hello| it.leader.is_some() && !it.members.is_empty();
        let mut sure = answers.iter().flat_map(|(_, it)| it).filter(is_sure);
        let witness = sure.find(|it| !it.members.contains(&self.id))?;
        Some(format!(
            "it was removed, says {}; it must be added again (raft-add-peer)",
            witness.name
        ))
    }

    /// Begins a raft, or asks to be let into the one there is; or why not.
    async fn try_to_settle(&self) -> Result<(), String> {
        let others: Vec<&String> = self.seats.iter().filter(|it| **it != self.name).collect();
        let answers = join_all(others.iter().map(|name| self.hello(name))).await;
        let known: Vec<&Hello> = answers.iter().flatten().collect();
        let named = others.iter().zip(&answers);
        let named: Vec<(&str, &Hello)> =
            named.filter_map(|(name, it)| Some((name.as_str(), it.as_ref().ok()?))).collect();
        if let Some(leader) = leader_of(&named) {
            return self.ask_to_join(&leader).await.map_err(|error| chain(&error));
        }
        self.check_names(&named).await?;
        if known.iter().any(|it| it.is_in_a_raft) {
            return Err("the others have no leader".into());
        }
        let in_a_raft = self.raft.is_initialized().await.map_err(|error| chain(&error))?;
        if in_a_raft {
            return Err("no leader is known".into());
        }
        if let Some(error) = answers.iter().find_map(|it| it.as_ref().err()) {
            return Err(chain(error));
        }
        if let Some(other) = known.iter().find(|it| it.seats != self.seats) {
            let list = |seats: &BTreeSet<String>| {
                seats.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            };
            return Err(format!(
                "{} was told of other seats: RaftNodes there (host {}) is {}, here {}",
                other.name,
                other.host,
                list(&other.seats),
                list(&self.seats)
            ));
        }
        let kept = known.iter().filter(|it| it.kept_alone > 0).map(|it| it.name.as_str());
        let mut kept: Vec<&str> =
            kept.chain((self.kept_alone > 0).then_some(self.name.as_str())).collect();
        kept.sort_unstable();
        if kept.len() > 1 {
            return Err(format!(
                "{} each have a ledger that they kept while they ran alone, and only one can be \
                 carried over: end all of these but one, and move their stores (SQLite3DataFile) \
                 aside",
                kept.join(" and ")
            ));
        }
        if self.seats.first() != Some(&self.name) {
            let first = self.seats.first().map_or("nobody", String::as_str);
            return Err(format!("{first} is to begin"));
        }
        let raft = fresh_number();
        let peer = |name: &String, kept: u64| Peer {
            name: name.clone(),
            kept_alone: kept > 0,
            raft,
            begun_anew: false,
        };
        let me = (self.id, peer(&self.name, self.kept_alone));
        let them = known.iter().map(|it| (it.id, peer(&it.name, it.kept_alone)));
        let all: BTreeMap<u64, Peer> = them.chain([me]).collect();
        if all.len() != self.seats.len() {
            return Err("two seats lead to one node".into());
        }
        tracing::info!(members = ?all, "a raft begins");
        self.raft.initialize(all).await.map_err(|error| chain(&error))
    }
}

impl Members {
    /// Refuses to begin where a name leads to a node that calls itself otherwise: a configuration
    /// was copied with its RaftAdvertise, and one of the two would be left out.
    async fn check_names(&self, named: &[(&str, &Hello)]) -> Result<(), String> {
        let Some((seat, it)) = named.iter().find(|(seat, it)| it.name != *seat) else {
            return Ok(());
        };
        let other = if it.process == self.process {
            self.hello(&self.name).await.ok().filter(|it| it.process != self.process)
        } else if it.name == self.name {
            Some(Hello { id: self.id, host: self.host.clone(), ..Hello::default() })
        } else {
            let has_name = |(seat, _): &&(&str, &Hello)| *seat == it.name;
            named.iter().find(has_name).map(|(_, other)| (*other).clone())
        };
        let as_another = other.map(|it| format!(", as {} does", machine(&it))).unwrap_or_default();
        Err(format!(
            "{seat} leads to {}, which calls itself {}{as_another}: give each node a RaftAdvertise of \
             its own",
            machine(it),
            it.name,
        ))
    }
}

/// Tells how it goes, if that is news.
fn tell(standing: &watch::Sender<Standing>, now: Standing) {
    standing.send_if_modified(|before| {
        let is_news = *before != now;
        if is_news {
            match &now {
                Standing::Member => tracing::info!("this node is a member of the raft"),
                Standing::Outside(why) => {
                    tracing::warn!(why, "this node takes no part in the raft");
                }
            }
            *before = now;
        }
        is_news
    });
}
