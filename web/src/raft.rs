//! What the web knows of the raft this node takes part in: who answers a request, and where the
//! API of the leader is.
//!
//! Where a request goes is decided by a hint. What permits a change is a proof, asked for right
//! before the change is made (I2).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_actors::raft::{
    Finding, FindingKind, Hello, Leadership, Member, RaftNode, Role, Standing,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;

use crate::api::Place;
use crate::reply::Failure;

/// How long a majority may take to confirm that this node leads.
const PROOF_WITHIN: Duration = Duration::from_secs(2);
/// How long whoever led may take to answer what it was asked while it did: leadership is also
/// given away by being asked to.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long peers are waited for by who only wants to know how they are.
const GREETING_WITHIN: Duration = Duration::from_millis(250);

/// The raft this node takes part in.
pub(crate) struct Raft {
    node: RaftNode,
    /// Where the API of the newest leader is, once it was asked.
    known: Mutex<Option<(Leader, Arc<str>)>>,
}

/// Who leads in a term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) term: u64,
    /// Its number.
    pub(crate) id: u64,
    /// Its seat.
    pub(crate) name: String,
}

/// A request, as far as it matters for who answers it.
pub(crate) struct Asked<'a> {
    pub(crate) place: Place,
    /// It reads, and wants to know what this node sees.
    pub(crate) is_local_read: bool,
    /// The node that passed it on to this one.
    pub(crate) passed_on_by: Option<&'a str>,
}

/// Who answers a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// This node.
    Here,
    /// The leader.
    To(Leader),
    /// Nobody at the moment, and why.
    Nowhere(String),
}

/// Who answers a request.
pub(crate) fn way(asked: &Asked<'_>, now: &Leadership) -> Way {
    if asked.place == Place::Here || asked.is_local_read || now.role == Role::Leader {
        return Way::Here;
    }
    let Some(leader) = leader(now) else {
        return Way::Nowhere("no leader is known".to_owned());
    };
    match asked.passed_on_by {
        // It would go round in circles.
        Some(by) => {
            Way::Nowhere(format!("{by} takes it for the leader, and it takes {}", leader.name))
        }
        None => Way::To(leader),
    }
}

/// Who leads, if that is known.
fn leader(now: &Leadership) -> Option<Leader> {
    let (id, name) = now.leader_id.zip(now.leader.clone())?;
    Some(Leader { term: now.term, id, name })
}

impl Raft {
    pub(crate) fn new(node: RaftNode) -> Self {
        Self { node, known: Mutex::new(None) }
    }

    pub(crate) fn node(&self) -> &RaftNode {
        &self.node
    }

    /// Who leads, as far as this node can tell at this moment.
    pub(crate) fn leadership(&self) -> Leadership {
        self.node.leadership_now()
    }

    /// The seat of this node, taken or not.
    pub(crate) fn seat(&self) -> &str {
        self.node.seat()
    }

    /// Why this node takes no part, if it takes none.
    pub(crate) fn outside(&self) -> Option<String> {
        match &*self.node.standing().borrow() {
            Standing::Member => None,
            Standing::Outside(why) => Some(format!("it takes no part in the raft: {why}")),
        }
    }

    /// What is wrong with this node and between the nodes, for people.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let watched = Arc::clone(&self.node.watched().borrow());
        let found = watched.findings.iter().map(|it| it.text.clone());
        self.outside().into_iter().chain(found).collect()
    }

    /// Whether this node must not be counted on, whatever it hears of a leader.
    pub(crate) fn is_unfit(&self) -> bool {
        let watched = Arc::clone(&self.node.watched().borrow());
        let is_bad =
            |it: &Finding| matches!(it.kind, FindingKind::CopiedDisk | FindingKind::LostEntries);
        watched.findings.iter().any(|it| is_bad(it) && it.seat == self.seat())
            || watched.stands_back.is_some()
    }

    /// Proves that this node leads, for a change that is about to be made.
    pub(crate) async fn prove(&self) -> Result<(), Failure> {
        let proof = self.node.prove(PROOF_WITHIN).await;
        proof.map(|_| ()).map_err(|error| Failure::unauthorized(&error.to_string()))
    }

    /// Where the API of a leader is.
    pub(crate) async fn api_of(&self, leader: &Leader) -> Result<Arc<str>, String> {
        if let Some((known, api)) = &*self.known.lock().unwrap_or_else(PoisonError::into_inner)
            && known == leader
        {
            return Ok(Arc::clone(api));
        }
        // By its number: a name may have passed to another node, or not be agreed upon yet.
        let member = Member { name: leader.name.clone(), id: leader.id, is_voter: true };
        let hello = self.node.ask_member(&member).await.map_err(|error| chain(&error))?;
        if hello.api.is_empty() {
            return Err("it does not tell where its API is".to_owned());
        }
        let api: Arc<str> = hello.api.into();
        let found = Some((leader.clone(), Arc::clone(&api)));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(api)
    }

    /// Where the API of the leader is, for show: empty when that is not known at once.
    pub(crate) async fn shown_api(&self, now: &Leadership) -> String {
        let Some(leader) = leader(now) else { return String::new() };
        let api = timeout(GREETING_WITHIN, self.api_of(&leader)).await;
        api.ok().and_then(Result::ok).map(|api| api.to_string()).unwrap_or_default()
    }

    /// The members, by seat, and what those say of themselves that answer at once.
    pub(crate) async fn greetings(&self) -> Vec<(Member, Option<Hello>)> {
        let asked = self.node.members().into_iter().map(|member| async move {
            let hello = timeout(GREETING_WITHIN, self.node.ask_member(&member)).await;
            (member, hello.ok().and_then(Result::ok))
        });
        join_all(asked).await
    }

    /// The members that answer at once, by seat.
    pub(crate) async fn healthy_members(&self) -> Vec<String> {
        let greetings = self.greetings().await.into_iter();
        greetings.filter_map(|(member, hello)| hello.map(|_| member.name)).collect()
    }

    /// Ends some time after a leader lost its leadership, if it did not get it back.
    pub(crate) fn end_of(&self, leader: Leader) -> BoxFuture<'static, ()> {
        let mut leadership = self.node.leadership();
        async move {
            let leads =
                |now: &Leadership| now.term == leader.term && now.leader_id == Some(leader.id);
            loop {
                // Raft may have ended: then nobody leads here either.
                let is_over = leadership.wait_for(|now| !leads(now)).await.is_err();
                let back = timeout(LAST_WORDS, leadership.wait_for(leads)).await;
                if is_over || !matches!(back, Ok(Ok(_))) {
                    return;
                }
            }
        }
        .boxed()
    }
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers() {
        let here = |role, leader: Option<&str>| Leadership {
            role,
            term: 7,
            leader: leader.map(str::to_owned),
            leader_id: leader.map(|_| 9),
        };
        let asked =
            |place, is_local_read, passed_on_by| Asked { place, is_local_read, passed_on_by };
        let to = |name: &str| Way::To(Leader { term: 7, id: 9, name: name.into() });
        let nowhere = |text: &str| Way::Nowhere(text.into());
        let leads = here(Role::Leader, Some("a:1"));
        let follows = here(Role::Follower, Some("b:1"));
        let learns = here(Role::Learner, Some("b:1"));
        let lost = here(Role::Candidate, None);
        for (case, asked, now, expected) in [
            ("the leader answers", asked(Place::Leader, false, None), &leads, Way::Here),
            ("whoever passed it on", asked(Place::Leader, false, Some("b")), &leads, Way::Here),
            ("a follower asks the leader", asked(Place::Leader, false, None), &follows, to("b:1")),
            ("so does who has no vote", asked(Place::Leader, false, None), &learns, to("b:1")),
            ("a follower tells of itself", asked(Place::Here, false, None), &follows, Way::Here),
            ("or what it sees", asked(Place::Leader, true, None), &follows, Way::Here),
            (
                "never in circles",
                asked(Place::Leader, false, Some("c")),
                &follows,
                nowhere("c takes it for the leader, and it takes b:1"),
            ),
            (
                "an election",
                asked(Place::Leader, false, None),
                &lost,
                nowhere("no leader is known"),
            ),
            ("its own state meanwhile", asked(Place::Here, false, None), &lost, Way::Here),
            ("what it sees meanwhile", asked(Place::Leader, true, None), &lost, Way::Here),
        ] {
            assert_eq!(way(&asked, now), expected, "case: {case}");
        }
    }
}
