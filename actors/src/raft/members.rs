//! Who takes part: how a raft begins, how nodes join and leave it.
//!
//! A raft begins once, when all configured seats are there, know of no raft, and were told of the
//! same seats; the one whose name comes first begins it. Whoever comes later is let in by the
//! leader: as a learner first, as a voter once it has everything. A node that lost its disk comes
//! under a new number and takes the seat of the old one, which nobody believes any more.

mod error;
mod hello;
mod naming;
mod settling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use baton_topology::ledger::{COMMAND_VERSION, LedgerState};
use baton_topology::names::is_same_seat;
use futures_util::future::join_all;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use self::error::MembersError;
pub use self::hello::Hello;
pub(super) use self::hello::{Caller, Newcomer};
pub(super) use self::naming::Asked;
use super::addresses::Addresses;
use super::client::{Call, CallError, Client};
use super::confirmed::Confirmed;
use super::leadership::Leadership;
use super::network::chain;
use super::recover::fresh_number;
use super::secret::Secret;
use super::server::{CARRY_OVER, HELLO};
use super::state_machine::NewestVersion;
use super::types::{FIRST_VERSION, Peer, Raft, RaftMetrics, StoredMembership};
use crate::clock::Clock;

/// How long a peer may take to introduce itself.
const HELLO_WITHIN: Duration = Duration::from_secs(2);
/// Another process of the same number counts as there for so long after it asked something.
const DOUBLE_FOR: Duration = Duration::from_secs(10);
/// How long a new member may take to get everything there is.
const JOIN_WITHIN: Duration = Duration::from_secs(60);
/// One that gets nothing more for so long gets nothing at all: its disk may be full.
const GETS_ON_WITHIN: Duration = Duration::from_secs(10);

/// One that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its seat.
    pub name: String,
    /// Its number.
    pub id: u64,
    /// Whether it votes.
    pub is_voter: bool,
}

/// Whether this node takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not yet, or no more; and what it waits for.
    Outside(String),
    /// It has a vote.
    Member,
}

/// The members, as one node sees and changes them.
pub(super) struct Members {
    raft: Raft,
    id: u64,
    process: u64,
    name: String,
    api: String,
    host: String,
    seats: BTreeSet<String>,
    /// Digests of what is to be configured alike.
    shared_keys: std::sync::Mutex<BTreeMap<String, String>>,
    kept_alone: u64,
    clock: Arc<dyn Clock>,
    client: Client,
    addresses: Addresses,
    confirmed: Confirmed,
    /// The machine of another process of this number, and when that asked something.
    double: std::sync::Mutex<Option<(String, Instant)>>,
    /// The newest version of commands in the ledger.
    newest: NewestVersion,
    /// The newest version members said they understand, by number.
    understood: std::sync::Mutex<BTreeMap<u64, u32>>,
    /// One change at a time: two may leave the raft between two sets of members.
    change: Mutex<()>,
}

/// What a node is called and told.
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) api: String,
    pub(super) host: String,
    pub(super) seats: BTreeSet<String>,
    /// What is to be configured alike on all nodes.
    pub(super) shared_keys: BTreeMap<String, String>,
    pub(super) clock: Arc<dyn Clock>,
    /// How many commands there are in the ledger this node kept alone.
    pub(super) kept_alone: u64,
}

impl Members {
    pub(super) fn new(
        raft: Raft,
        identity: Identity,
        client: Client,
        addresses: Addresses,
        confirmed: Confirmed,
        newest: NewestVersion,
    ) -> Self {
        let Identity { name, api, host, seats, shared_keys, clock, kept_alone } = identity;
        let shared_keys = std::sync::Mutex::new(digests(&shared_keys));
        let id = *raft.node_id();
        let understood = std::sync::Mutex::new(BTreeMap::from([(id, COMMAND_VERSION)]));
        let change = Mutex::new(());
        Self {
            raft,
            id,
            process: fresh_number(),
            name,
            api,
            host,
            seats,
            shared_keys,
            kept_alone,
            clock,
            client,
            addresses,
            confirmed,
            double: std::sync::Mutex::default(),
            newest,
            understood,
            change,
        }
    }

    fn membership(&self) -> Arc<StoredMembership> {
        Arc::clone(&self.raft.server_metrics().borrow_watched().membership_config)
    }

    /// Everybody who takes part, by seat.
    pub(super) fn list(&self) -> Vec<Member> {
        let membership = self.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let member = |(id, node): (&u64, &Peer)| Member {
            name: node.name.clone(),
            id: *id,
            is_voter: voters.contains(id),
        };
        let mut members: Vec<Member> = membership.nodes().map(member).collect();
        members.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        members
    }

    /// The seat of this node, as it is configured.
    pub(super) fn seat(&self) -> &str {
        &self.name
    }

    /// What the members call this node.
    pub(super) fn agreed_name(&self) -> String {
        let me = self.list().into_iter().find(|it| it.id == self.id);
        me.map_or_else(|| self.name.clone(), |it| it.name)
    }

    /// What is common to all members of the raft.
    pub(super) fn raft_of(&self) -> Peer {
        let membership = self.membership();
        membership.nodes().next().map(|(_, peer)| peer.clone()).unwrap_or_default()
    }

    /// Somebody asks about this node.
    pub(super) fn is_asked_by(&self, caller: Caller) {
        if caller.id == self.id && caller.process != self.process {
            let mut double = self.double.lock().unwrap_or_else(PoisonError::into_inner);
            *double = Some((caller.host, Instant::now()));
        }
    }

    /// The machine of another process of this number, if it was heard of a moment ago.
    pub(super) fn double(&self) -> Option<String> {
        let double = self.double.lock().unwrap_or_else(PoisonError::into_inner);
        let (host, at) = double.as_ref()?;
        (at.elapsed() < DOUBLE_FOR).then(|| host.clone())
    }

    /// Tells about this node.
    pub(super) async fn about(&self, now: &Leadership) -> Hello {
        let Peer { raft, begun_anew, .. } = self.raft_of();
        Hello {
            id: self.id,
            process: self.process,
            name: self.name.clone(),
            entries: COMMAND_VERSION,
            api: self.api.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.clone(),
            now: self.clock.now(),
            kept_alone: self.kept_alone,
            // One that cannot tell must not be taken for one that knows of none.
            is_in_a_raft: self.raft.is_initialized().await.unwrap_or(true),
            leader: now.leader.clone(),
            leader_id: now.leader_id,
            seats: self.seats.clone(),
            members: self.list().iter().map(|it| it.id).collect(),
            raft,
            begun_anew,
            lost: self.confirmed.lost(now.term),
            keys: self.shared_keys.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(super) fn set_shared_keys(&self, keys: &BTreeMap<String, String>) {
        *self.shared_keys.lock().unwrap_or_else(PoisonError::into_inner) = digests(keys);
    }

    pub(super) fn set_secret(&self, secret: Secret) {
        self.client.keys().replace(secret);
    }

    /// Former keys are forgotten once all other members have the new one.
    pub(super) fn settle_keys(&self) {
        let members = self.list();
        let others = members.iter().filter(|it| it.id != self.id).map(|it| it.name.as_str());
        if members.iter().any(|it| it.id == self.id) {
            self.client.keys().settle(others);
        }
    }

    pub(super) fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Whoever was there at the beginning with a ledger it had kept alone, by number.
    pub(super) fn heir(&self) -> Option<(u64, String)> {
        let membership = self.membership();
        let mut nodes = membership.nodes();
        nodes.find(|(_, peer)| peer.kept_alone).map(|(id, peer)| (*id, peer.name.clone()))
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Has the leader carry over the ledger this node kept alone.
    pub(super) async fn hand_in(
        &self,
        leader: &str,
        ledger: &LedgerState,
    ) -> Result<(), CallError> {
        let call = Call { path: CARRY_OVER, name: leader, to: None, within: JOIN_WITHIN };
        self.client.ask_once(call, ledger).await
    }

    /// Asks whoever has a seat who it is.
    pub(super) async fn hello(&self, name: &str) -> Result<Hello, CallError> {
        self.introduced(name, None).await
    }

    /// Where a member is reached that is known under this name.
    pub(super) fn address(&self, id: u64, name: &str) -> String {
        self.addresses.of(id, name)
    }

    /// Asks a member about itself, wherever it is by now.
    pub(super) async fn hello_of(&self, member: &Member) -> Result<Hello, CallError> {
        let name = self.addresses.of(member.id, &member.name);
        let hello = self.introduced(&name, Some(member.id)).await;
        hello.inspect_err(|_| self.addresses.lost(member.id, &name))
    }

    async fn introduced(&self, name: &str, to: Option<u64>) -> Result<Hello, CallError> {
        let call = Call { path: HELLO, name, to, within: HELLO_WITHIN };
        let host = self.host.clone();
        let caller = Caller { id: self.id, process: self.process, host };
        let hello: Hello = self.client.ask_once(call, &caller).await?;
        let mut understood = self.understood.lock().unwrap_or_else(PoisonError::into_inner);
        understood.insert(hello.id, hello.entries);
        Ok(hello)
    }

    /// Makes sure that all members understand commands of this version, so that what is agreed upon
    /// can be applied by the oldest of them.
    pub(super) async fn understand(&self, version: u32) -> Result<(), MembersError> {
        if version <= FIRST_VERSION {
            return Ok(());
        }
        let members = self.list();
        let said = |id: u64| {
            let understood = self.understood.lock().unwrap_or_else(PoisonError::into_inner);
            understood.get(&id).copied()
        };
        let unsure = members.iter().filter(|it| said(it.id).is_none_or(|it| it < version));
        join_all(unsure.filter(|it| it.id != self.id).map(|it| self.hello_of(it))).await;
        let too_old = |it: &Member| match said(it.id) {
            Some(understood) if understood >= version => None,
            Some(understood) => Some(format!("{} (version {understood})", it.name)),
            None => Some(format!("{} (it does not answer)", it.name)),
        };
        let those: Vec<String> = members.iter().filter_map(too_old).collect();
        if those.is_empty() { Ok(()) } else { Err(MembersError::TooOld { version, those }) }
    }

    /// Lets a node in that has a seat, or calls a member as it is called now.
    pub(super) async fn join(&self, newcomer: &Newcomer) -> Result<(), MembersError> {
        let Newcomer { id, name, host } = newcomer;
        // Somebody who was removed does not come back by asking.
        if !self.list().iter().any(|it| it.name == *name || it.id == *id) {
            return Err(MembersError::NoMember { name: name.clone() });
        }
        let _turn = self.change.lock().await;
        let hello = self.hello(name).await?;
        if hello.id != *id {
            let (name, there, here) = (name.clone(), hello.host, host.clone());
            return Err(MembersError::OtherNode { name, there, here });
        }
        self.let_in(name, hello).await
    }

    /// Gives whoever has a seat a vote, once it has everything; whoever had the seat before loses
    /// it. Doing it again changes nothing.
    pub(super) async fn add(&self, name: &str) -> Result<(), MembersError> {
        let _turn = self.change.lock().await;
        let hello = self.hello(name).await?;
        self.let_in(name, hello).await
    }

    async fn let_in(&self, name: &str, hello: Hello) -> Result<(), MembersError> {
        if hello.name != name {
            // Peers will know it by its own name, so that has to lead to the same process.
            let is_same = |it: Hello| (it.id, it.process) == (hello.id, hello.process);
            if !self.hello(&hello.name).await.is_ok_and(is_same) {
                let (name, says) = (name.to_owned(), hello.name);
                return Err(MembersError::OtherName { name, says });
            }
        }
        let name = hello.name.as_str();
        let version = self.newest.get();
        if hello.entries < version {
            let those = vec![format!("{name} (version {})", hello.entries)];
            return Err(MembersError::TooOld { version, those });
        }
        if let Some(known) = self.list().into_iter().find(|it| it.id == hello.id && it.name != name)
        {
            self.rename(&known, &hello).await?;
        }
        let members = self.list();
        let had_it: BTreeSet<u64> = members
            .iter()
            .filter(|it| it.name == name && it.id != hello.id)
            .map(|it| it.id)
            .collect();
        let is_voter = members.iter().any(|it| it.id == hello.id && it.is_voter);
        if !is_voter {
            let peer = Peer { name: name.to_owned(), kept_alone: false, ..self.raft_of() };
            let learn = self.raft.add_learner(hello.id, peer, false);
            let learned = tokio::time::timeout(JOIN_WITHIN, learn).await;
            learned
                .map_err(|_| MembersError::InDoubt)?
                .map_err(|error| MembersError::Raft(chain(&error)))?;
            self.catch_up(hello.id, name).await?;
        }
        let before = voters(&members);
        let after = before.iter().copied().filter(|id| !had_it.contains(id));
        let after: BTreeSet<u64> = after.chain([hello.id]).collect();
        if after != before {
            tracing::info!(name, id = hello.id, "a node becomes a voter");
            self.set_voters(after).await?;
        }
        self.drop_learners(&had_it).await
    }

    /// Waits until a learner has all that there is now. Raft itself calls one that has nothing at
    /// all caught up where the log is short, and whoever can store nothing must not have a vote.
    async fn catch_up(&self, id: u64, name: &str) -> Result<(), MembersError> {
        let has = |metrics: &RaftMetrics| {
            let told = metrics.replication.as_ref().and_then(|it| it.get(&id));
            told.and_then(Option::as_ref).map_or(0, |log| log.index())
        };
        let now = self.raft.metrics().borrow_watched().clone();
        let (of, until) = (now.last_log_index.unwrap_or(0), Instant::now() + JOIN_WITHIN);
        let mut before = has(&now);
        loop {
            let gets_on = |metrics: &RaftMetrics| {
                let has = has(metrics);
                has >= of || has > before || metrics.replication.is_none()
            };
            let wait = self.raft.wait(Some(GETS_ON_WITHIN));
            let waited = wait.metrics(gets_on, "a new member gets what there is").await;
            let metrics = self.raft.metrics().borrow_watched().clone();
            before = has(&metrics);
            if before >= of {
                return Ok(());
            }
            if metrics.replication.is_none() {
                return Err(MembersError::Raft("this node leads no more".into()));
            }
            if waited.is_err() || Instant::now() >= until {
                return Err(MembersError::Slow { name: name.into(), has: before, of });
            }
        }
    }

    /// Takes a seat away.
    pub(super) async fn remove(&self, name: &str) -> Result<(), MembersError> {
        let _turn = self.change.lock().await;
        let members = self.list();
        let name = &self.meant(&members, name).await;
        let gone: BTreeSet<u64> =
            members.iter().filter(|it| it.name == *name).map(|it| it.id).collect();
        if gone.is_empty() {
            return Err(MembersError::NoMember { name: name.clone() });
        }
        let before = voters(&members);
        let after: BTreeSet<u64> = before.difference(&gone).copied().collect();
        if after.is_empty() {
            return Err(MembersError::LastOne { name: name.clone() });
        }
        if after != before {
            self.check_majority(&members, &after).await?;
            tracing::info!(name, "a node loses its vote");
            self.set_voters(after).await?;
        }
        self.drop_learners(&gone).await
    }

    /// The member that is meant by a name: by its labels, or because it answers there.
    async fn meant(&self, members: &[Member], name: &str) -> String {
        let meant = meant(members, name);
        if members.iter().any(|it| it.name == meant) {
            return meant;
        }
        let id = self.hello(name).await.ok().map(|it| it.id);
        let found = members.iter().find(|it| Some(it.id) == id);
        found.map_or(meant, |it| it.name.clone())
    }

    /// Refuses to leave the decision to nodes that are gone: nobody could undo that.
    async fn check_majority(
        &self,
        members: &[Member],
        voters: &BTreeSet<u64>,
    ) -> Result<(), MembersError> {
        let those = members.iter().filter(|it| voters.contains(&it.id));
        let asked =
            those.map(|it| async move { it.id == self.id || self.hello_of(it).await.is_ok() });
        let answer = join_all(asked).await.into_iter().filter(|it| *it).count();
        let of = voters.len();
        if answer > of / 2 { Ok(()) } else { Err(MembersError::NoMajority { of, answer }) }
    }

    async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), MembersError> {
        self.change_to(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    async fn change_to(
        &self,
        change: impl Into<ChangeMembers<u64, Peer>>,
    ) -> Result<(), MembersError> {
        let changing = self.raft.change_membership(change, false);
        match tokio::time::timeout(JOIN_WITHIN, changing).await {
            Ok(changed) => changed.map(|_| ()).map_err(|error| MembersError::Raft(chain(&error))),
            Err(_) => Err(MembersError::InDoubt),
        }
    }

    async fn drop_learners(&self, gone: &BTreeSet<u64>) -> Result<(), MembersError> {
        let known: BTreeSet<u64> =
            self.list().iter().map(|it| it.id).filter(|id| gone.contains(id)).collect();
        if known.is_empty() {
            return Ok(());
        }
        self.change_to(ChangeMembers::RemoveNodes(known)).await
    }

    /// Keeps changes of members from beginning, and from being finished.
    #[cfg(test)]
    pub(super) async fn hold_changes(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.change.lock().await
    }

    /// Ends a change of members whose leader did not live to end it.
    async fn finish_change(&self) -> Result<(), MembersError> {
        let Ok(_turn) = self.change.try_lock() else { return Ok(()) };
        let membership = self.membership();
        match membership.get_joint_config().as_slice() {
            [_, wanted] if self.raft.is_leader() => self.set_voters(wanted.clone()).await,
            _ => Ok(()),
        }
    }
}

/// The seat that is meant by a name: itself, or the only one that has more labels, or fewer.
fn meant(members: &[Member], name: &str) -> String {
    let seats: BTreeSet<&str> = members.iter().map(|it| it.name.as_str()).collect();
    let mut same = seats.iter().filter(|it| is_same_seat(it, name));
    match (seats.contains(name), same.next(), same.next()) {
        (false, Some(only), None) => (*only).to_owned(),
        _ => name.to_owned(),
    }
}

/// Values as peers may see them.
fn digests(keys: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let digest = |value: &String| format!("{:08x}", crc32fast::hash(value.as_bytes()));
    keys.iter().map(|(key, value)| (key.clone(), digest(value))).collect()
}

fn voters(members: &[Member]) -> BTreeSet<u64> {
    members.iter().filter(|it| it.is_voter).map(|it| it.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_be_named_by_more_labels_or_fewer() {
        let member = |name: &str| Member { name: name.into(), id: 1, is_voter: true };
        let members =
            ["orc-0.ns.svc:10008", "orc-1.ns:10008", "orc-1.ns.svc:7"].map(member).to_vec();
        for (name, expected) in [
            ("orc-0.ns.svc:10008", "orc-0.ns.svc:10008"),
            ("orc-0.ns:10008", "orc-0.ns.svc:10008"),
            ("orc-0:10008", "orc-0.ns.svc:10008"),
            ("orc-1.ns.svc.cluster.local:10008", "orc-1.ns:10008"),
            ("orc:10008", "orc:10008"),
            ("orc-0.ns:7", "orc-0.ns:7"),
        ] {
            assert_eq!(meant(&members, name), expected, "{name}");
        }
    }
}
