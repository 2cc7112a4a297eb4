//! The raft: who leads, who takes part, and changes of either.

use std::sync::Arc;

use actix_web::http::StatusCode;
use baton_actors::raft::{Hello, Leadership, Member, MembersError, Role};
use baton_topology::names::{is_same_seat, leads};
use serde::Serialize;

use crate::call::Call;
use crate::raft::{Raft, chain};
use crate::reply::{Failure, Outcome, Reply};

impl Call {
    /// The raft, or that there is none.
    fn raft(&self) -> Result<&Raft, Failure> {
        self.raft.as_deref().ok_or_else(|| {
            let name = self.route.split('/').next().unwrap_or_default();
            // The peer takes the one for the other here, and programs match on it.
            let name = if name == "raft-health" { "raft-state" } else { name };
            Failure::new(format!("{name}: not running with raft setup"))
        })
    }
}

/// A single node answers everything itself, and leads.
pub(super) async fn leader_check(call: Call) -> Outcome {
    let status = call.param("status");
    let code = status.parse::<u16>().ok().and_then(|it| StatusCode::from_u16(it).ok());
    if call.has("status") && code.is_none() {
        return Err(Failure::new(format!("Invalid status code: {status}")));
    }
    let leads = call.raft.as_deref().is_none_or(|raft| raft.node().leads_now());
    if leads {
        return Reply::bare(&"OK");
    }
    // What is below is no answer, but the announcement of one.
    let code = code.filter(|code| !code.is_informational());
    Reply::bare_with(code.unwrap_or(StatusCode::NOT_FOUND), &"Not leader")
}

fn state_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "Leader",
        Role::Follower => "Follower",
        Role::Candidate | Role::Learner => "Candidate",
        Role::Stopped => "Shutdown",
    }
}

fn is_healthy(role: Role) -> bool {
    matches!(role, Role::Leader | Role::Follower)
}

pub(super) async fn state(call: Call) -> Outcome {
    Reply::bare(&state_name(call.raft()?.leadership().role))
}

pub(super) async fn leader(call: Call) -> Outcome {
    Reply::bare(&call.raft()?.leadership().leader.unwrap_or_default())
}

pub(super) async fn health(call: Call) -> Outcome {
    let raft = call.raft()?;
    if is_healthy(raft.leadership().role) && !raft.is_unfit() {
        Reply::bare(&"healthy")
    } else {
        Err(Failure::new("unhealthy").with_details(&raft.troubles()))
    }
}

pub(super) async fn peers(call: Call) -> Outcome {
    Reply::bare(&seats(call.raft()?))
}

fn seats(raft: &Raft) -> Vec<String> {
    raft.node().members().into_iter().map(|member| member.name).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StatusJson {
    raft_bind: String,
    raft_advertise: String,
    state: &'static str,
    healthy: bool,
    is_part_of_quorum: bool,
    leader: String,
    #[serde(rename = "LeaderURI")]
    leader_uri: String,
    peers: Vec<String>,
    /// What is wrong with this node and between the nodes.
    findings: Vec<String>,
}

pub(super) async fn status(call: Call) -> Outcome {
    let raft = call.raft()?;
    let now = raft.leadership();
    let leader_uri = raft.shown_api(&now).await;
    let Leadership { role, leader, .. } = now;
    Reply::bare(&StatusJson {
        // Peers know a node by one name.
        raft_bind: raft.seat().to_owned(),
        raft_advertise: raft.seat().to_owned(),
        state: state_name(role),
        healthy: is_healthy(role) && !raft.is_unfit(),
        is_part_of_quorum: is_healthy(role) && leader.is_some(),
        leader: leader.unwrap_or_default(),
        leader_uri,
        peers: seats(raft),
        findings: raft.troubles(),
    })
}

/// A member, and what it says of itself.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MemberJson {
    /// Its seat.
    seat: String,
    /// What its machine calls itself; empty, as what follows, while it does not answer.
    host: String,
    version: String,
    api: String,
    votes: bool,
    answers: bool,
    leads: bool,
    is_this_node: bool,
    /// What is wrong with it, as this node sees it.
    findings: Vec<String>,
}

pub(super) async fn nodes(call: Call) -> Outcome {
    let raft = call.raft()?;
    let (leader, id) = (raft.leadership().leader_id, raft.node().id());
    let watched = Arc::clone(&raft.node().watched().borrow());
    let findings = |seat: &str| {
        let those = watched.findings.iter().filter(|it| it.seat == seat);
        those.map(|it| it.text.clone()).collect::<Vec<_>>()
    };
    let member = |(member, hello): (Member, Option<Hello>)| {
        let answers = hello.is_some();
        let (host, version, api) =
            hello.map(|it| (it.host, it.version, it.api)).unwrap_or_default();
        MemberJson {
            leads: leader == Some(member.id),
            is_this_node: member.id == id,
            votes: member.is_voter,
            findings: findings(&member.name),
            seat: member.name,
            host,
            version,
            api,
            answers,
        }
    };
    let members = raft.greetings().await.into_iter().map(member);
    Reply::bare(&members.collect::<Vec<_>>())
}

pub(super) async fn snapshot(call: Call) -> Outcome {
    let made = call.raft()?.node().snapshot().await;
    made.map_err(|error| Failure::new(format!("Cannot create snapshot: {error}")))?;
    call.audit("raft-snapshot", None, String::new());
    Reply::bare(&"snapshot created")
}

pub(super) async fn add_peer(call: Call) -> Outcome {
    let raft = call.raft()?;
    let seat = &seat(&call, raft)?;
    let added = raft.node().add_peer(seat).await;
    added.map_err(|error| {
        let message = format!("Cannot add {seat}: {}", chain(&error));
        match error {
            MembersError::Slow { .. } | MembersError::InDoubt => Failure::later(message),
            _ => Failure::new(message),
        }
    })?;
    call.audit("raft-add-peer", None, seat.to_owned());
    Reply::bare(&seat)
}

pub(super) async fn remove_peer(call: Call) -> Outcome {
    let raft = call.raft()?;
    let seat = &seat(&call, raft)?;
    let removed = raft.node().remove_peer(seat).await;
    removed.map_err(|error| Failure::new(format!("Cannot remove {seat}: {}", chain(&error))))?;
    call.audit("raft-remove-peer", None, seat.to_owned());
    Reply::bare(&seat)
}

/// The seat a route names; without a port, with that of this node, as nodes usually have one port.
fn seat(call: &Call, raft: &Raft) -> Result<String, Failure> {
    let text = call.param("addr");
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => (text, raft.seat().rsplit_once(':').map_or("", |(_, port)| port)),
    };
    let wants = || Failure::new(format!("Invalid address: {text}: want host:port"));
    let is_seat = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
    is_seat.then(|| format!("{host}:{port}")).ok_or_else(wants)
}

pub(super) async fn yield_to(call: Call) -> Outcome {
    let node = call.param("node");
    let raft = leading(&call)?;
    let is_meant = |member: &Member| {
        let host = member.name.rsplit_once(':').map_or("", |(host, _)| host);
        is_same_seat(&member.name, node) || leads(node, host)
    };
    hand_over(raft, node, raft.node().members().into_iter().filter(is_meant).collect()).await?;
    call.audit("raft-yield", None, node.to_owned());
    Reply::ok("Asynchronously yielded", ())
}

pub(super) async fn yield_hint(call: Call) -> Outcome {
    let hint = call.param("hint");
    let raft = leading(&call)?;
    let greetings = raft.greetings().await.into_iter();
    let meant = greetings.filter(|(member, hello)| {
        let host = hello.as_ref().map_or("", |hello| &hello.host);
        member.name.contains(hint) || host.contains(hint)
    });
    hand_over(raft, hint, meant.map(|(member, _)| member).collect()).await?;
    call.audit("raft-yield-hint", None, hint.to_owned());
    Reply::ok(&format!("Asynchronously yielded by hint {hint}"), hint)
}

/// Has a member that is meant lead; nothing is to be done if this node is meant itself.
async fn hand_over(raft: &Raft, asked: &str, meant: Vec<Member>) -> Result<(), Failure> {
    let id = raft.node().id();
    if meant.iter().any(|member| member.id == id) {
        return Ok(());
    }
    let Some(heir) = meant.iter().find(|member| member.is_voter) else {
        return Err(Failure::new(format!("no member of the raft is called {asked}")));
    };
    let handed = raft.node().hand_over(Some(&heir.name)).await;
    handed.map_err(|error| Failure::new(format!("{} does not take over: {error}", heir.name)))
}

/// Only a leader can give leadership away, and the request stays here.
fn leading(call: &Call) -> Result<&Raft, Failure> {
    let raft = call.raft()?;
    let now = raft.leadership();
    if now.role == Role::Leader {
        return Ok(raft);
    }
    let leader = now.leader.unwrap_or_else(|| "nobody".to_owned());
    let why = format!("this node does not lead; {leader} does");
    Err(Failure::unauthorized(&why).with_status(StatusCode::INTERNAL_SERVER_ERROR))
}

pub(super) async fn grab_election(call: Call) -> Outcome {
    if call.raft.is_some() {
        return Err(Failure::new("Unable to grab election: Cannot GrabElection on raft setup"));
    }
    // The only node is elected already.
    Reply::ok("Node grabbed election", &call.services.node.hostname)
}

pub(super) async fn reelect(call: Call) -> Outcome {
    if let Some(raft) = &call.raft {
        let handed = raft.node().hand_over(None).await;
        handed.map_err(|error| Failure::new(format!("Unable to re-elect: {error}")))?;
        call.audit("reelect", None, String::new());
    }
    // There is nobody else to elect in a single node.
    Reply::ok("Set re-elections", &call.services.node.hostname)
}
