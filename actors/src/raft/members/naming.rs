//! A member whose configuration gives it another name.
//!
//! Its number stays, so it is the same member: the leader has the new name agreed upon once it has
//! found that member there. A name that is another member's is refused, and so is one that leads to
//! another process with a copy of the same disk.

use std::collections::{BTreeMap, BTreeSet};

use baton_topology::time::Timestamp;
use futures_util::future::{join_all, join3};
use hyper::StatusCode;
use openraft::ChangeMembers;

use super::super::client::{Call, CallError};
use super::super::leadership::Leadership;
use super::super::network::chain;
use super::super::server::JOIN;
use super::super::types::Peer;
use super::{Hello, JOIN_WITHIN, Member, Members, MembersError, Newcomer};

/// A question and its answer.
pub(in super::super) struct Asked {
    pub(in super::super) seat: String,
    /// The number of a member.
    pub(in super::super) id: Option<u64>,
    pub(in super::super) answer: Result<Hello, CallError>,
    /// When it was asked and when that had ended.
    pub(in super::super) at: (Timestamp, Timestamp),
}

impl Members {
    /// Has a member agreed upon under the name by which it answered.
    pub(super) async fn rename(&self, known: &Member, hello: &Hello) -> Result<(), MembersError> {
        let (before, name) = (known.name.clone(), hello.name.clone());
        if self.list().iter().any(|it| it.name == name && it.id != known.id) {
            return Err(MembersError::NameTaken { before, name });
        }
        if let Ok(there) = self.hello(&before).await
            && there.id == hello.id
            && there.process != hello.process
        {
            return Err(MembersError::TwoProcesses { name, before });
        }
        let Some(peer) = self.membership().membership().get_node(&known.id).cloned() else {
            return Err(MembersError::NoMember { name: before });
        };
        tracing::info!(before, name, id = known.id, "a member is called otherwise");
        let peer = Peer { name, ..peer };
        self.change_to(ChangeMembers::SetNodes(BTreeMap::from([(known.id, peer)]))).await?;
        self.addresses.agree(&self.list());
        Ok(())
    }

    /// Whether the members call this node by another name than it is configured with.
    pub(super) fn is_called_otherwise(&self) -> bool {
        self.agreed_name() != self.name
    }

    /// Has the leader call this node by the name it has now. Others may reach it by that one only.
    pub(super) async fn ask_for_own_name(&self, now: &Leadership) -> Result<(), String> {
        let cannot = |why: String| {
            let (before, name) = (self.agreed_name(), &self.name);
            format!("it is called {before} so far, and cannot be called {name}: {why}")
        };
        let leader = match (now.leader_id, &now.leader) {
            (Some(id), _) if id == self.id => {
                let named = self.join(&self.newcomer()).await;
                return named.map_err(|error| cannot(chain(&error)));
            }
            (Some(id), Some(name)) => Some(self.addresses.of(id, name)),
            _ => self.leader_elsewhere().await,
        };
        let leader = leader.ok_or_else(|| cannot("no leader is known".into()))?;
        self.ask_to_join(&leader).await.map_err(|error| cannot(chain(&error)))
    }

    fn newcomer(&self) -> Newcomer {
        Newcomer { id: self.id, name: self.name.clone(), host: self.host.clone() }
    }

    /// Asks the leader to let this node in under its name.
    pub(super) async fn ask_to_join(&self, leader: &str) -> Result<(), CallError> {
        let call = Call { path: JOIN, name: leader, to: None, within: JOIN_WITHIN };
        self.client.ask_once(call, &self.newcomer()).await
    }

    /// Where the leader is, as others say that can be reached.
    async fn leader_elsewhere(&self) -> Option<String> {
        let answers = self.ask_everybody().await;
        let known: Vec<(&str, &Hello)> = answers
            .iter()
            .filter_map(|(name, it)| Some((name.as_str(), it.as_ref().ok()?)))
            .collect();
        leader_of(&known)
    }

    /// What is said under all names that this node knows, of members and of seats.
    pub(super) async fn ask_everybody(&self) -> Vec<(String, Result<Hello, CallError>)> {
        let mut members = self.list();
        members.retain(|it| it.id != self.id);
        let names = members.iter().map(|it| &it.name).chain(self.seats.iter());
        let names: BTreeSet<&String> = names.filter(|it| **it != self.name).collect();
        let asked = names.into_iter().map(|name| async move {
            let hello = self.hello(name).await;
            (name.clone(), hello)
        });
        let answers: Vec<(String, Result<Hello, CallError>)> =
            join_all(asked).await.into_iter().filter(|(_, it)| !self.is_self(it)).collect();
        let heard = answers.iter().filter_map(|(name, it)| Some((&**name, it.as_ref().ok()?.id)));
        self.note_found(&heard.collect::<Vec<_>>());
        answers
    }

    /// What all members say, and all who answer under other names that this node knows.
    pub(in super::super) async fn ask_all(&self) -> Vec<Asked> {
        let members = self.list();
        let is_member = |name: &String| members.iter().any(|it| it.name == *name);
        let others = members.iter().filter(|it| it.id != self.id).map(|it| async move {
            let before = self.clock.now();
            let answer = match self.introduced(&it.name, Some(it.id)).await {
                Ok(hello) => {
                    self.addresses.is_as_agreed(it.id);
                    Ok(hello)
                }
                // Another node is there: which one?
                Err(CallError::Refused { status: StatusCode::MISDIRECTED_REQUEST, .. }) => {
                    self.hello(&it.name).await
                }
                Err(_) => self.hello_of(it).await,
            };
            let at = (before, self.clock.now());
            Asked { seat: it.name.clone(), id: Some(it.id), answer, at }
        });
        let seats = self.seats.iter().filter(|it| **it != self.name && !is_member(it));
        let seats = seats.map(|name| async move {
            let before = self.clock.now();
            let answer = self.hello(name).await;
            let at = (before, self.clock.now());
            Asked { seat: name.clone(), id: None, answer, at }
        });
        // Another process with a copy of this disk may be where this one is looked for.
        let own = BTreeSet::from([self.name.clone(), self.agreed_name()]);
        let own = own.into_iter().map(|name| async move {
            let before = self.clock.now();
            let answer = self.hello(&name).await;
            let at = (before, self.clock.now());
            Asked { seat: name, id: None, answer, at }
        });
        let (members, seats, own) = join3(join_all(others), join_all(seats), join_all(own)).await;
        let heard = members.iter().chain(&seats);
        let heard = heard.filter_map(|it| Some((&*it.seat, it.answer.as_ref().ok()?.id)));
        self.note_found(&heard.collect::<Vec<_>>());
        let own = own.into_iter().filter(|it| it.answer.is_ok() && !self.is_self(&it.answer));
        members.into_iter().chain(seats).chain(own).collect()
    }

    /// Members that answer, and not under the name that was agreed upon, are reached by another one.
    fn note_found(&self, heard: &[(&str, u64)]) {
        for member in self.list() {
            let is_there = heard.contains(&(&*member.name, member.id));
            let elsewhere = heard.iter().find(|(_, id)| *id == member.id);
            if let Some((name, id)) = elsewhere.filter(|_| !is_there) {
                self.addresses.found(*id, name);
            }
        }
    }

    /// Whether this very node answered: a name may lead back to it.
    fn is_self(&self, hello: &Result<Hello, CallError>) -> bool {
        hello.as_ref().is_ok_and(|it| it.process == self.process)
    }
}

/// Where the leader is, of those that answered under these names: where it answered itself, or
/// where somebody says that it is.
pub(super) fn leader_of(known: &[(&str, &Hello)]) -> Option<String> {
    let itself = known.iter().find(|(_, it)| it.leader_id == Some(it.id));
    let itself = itself.map(|(name, _)| (*name).to_owned());
    itself.or_else(|| known.iter().find_map(|(_, it)| it.leader.clone()))
}
