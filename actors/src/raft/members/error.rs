//! Why the members stay as they are.

use super::super::client::CallError;
use super::JOIN_WITHIN;

/// Why the members could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// The node did not introduce itself.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It did not work in time; it may still.
    #[error(
        "{name} did not get everything in time: it has {has} of {of} entries. It has no vote before \
         that, or nothing might be agreed upon any more; see its log, and ask again"
    )]
    Slow {
        /// Who.
        name: String,
        /// How far it is.
        has: u64,
        /// How far it has to be.
        of: u64,
    },
    /// Nobody of that name takes part.
    #[error("{name} is no member; it must be added first (raft-add-peer)")]
    NoMember {
        /// Who.
        name: String,
    },
    /// One raft must keep one voter.
    #[error("{name} is the last one, and a raft of nobody agrees on nothing")]
    LastOne {
        /// Who.
        name: String,
    },
    /// Nothing would be agreed upon any more.
    #[error(
        "of the {of} that would have a vote only {answer} answer; a majority has to. Start them, or \
         remove those first that are gone"
    )]
    NoMajority {
        /// How many would have a vote.
        of: usize,
        /// How many of these answer.
        answer: usize,
    },
    /// It was begun, and not agreed upon in time.
    #[error(
        "the change of members was not agreed upon within {} s; it may still be",
        JOIN_WITHIN.as_secs()
    )]
    InDoubt,
    /// Another node answers there.
    #[error("{name} calls itself {says}, which does not lead to the same node")]
    OtherName {
        /// The seat that was asked.
        name: String,
        /// What it said.
        says: String,
    },
    /// The name leads to another node than the one that wants to be called so.
    #[error(
        "{name} leads to another node (host {there}) than the one that calls itself so (host \
         {here}): give each node a RaftAdvertise of its own"
    )]
    OtherNode {
        /// The seat.
        name: String,
        /// The machine that answers there.
        there: String,
        /// The machine that wants the seat.
        here: String,
    },
    /// The name is that of another member.
    #[error(
        "{before} cannot be called {name}, which is another member: give it a RaftAdvertise of its \
         own, or remove the other one first (raft-remove-peer/{name})"
    )]
    NameTaken {
        /// What it is called so far.
        before: String,
        /// The name it wants.
        name: String,
    },
    /// One disk is used by two processes.
    #[error(
        "{name} and {before} are two processes with copies of one disk (RaftDataDir): end one of \
         them, empty its RaftDataDir, and give it a RaftAdvertise of its own"
    )]
    TwoProcesses {
        /// Where one of them is.
        name: String,
        /// Where the other one is.
        before: String,
    },
    /// Somebody does not understand what has to be agreed upon.
    #[error("all members must understand commands of version {version}: upgrade {}", those.join(", "))]
    TooOld {
        /// What has to be understood.
        version: u32,
        /// Who does not, as far as can be told, and what they do understand.
        those: Vec<String>,
    },
    /// Raft refused, such as because this node does not lead.
    #[error("the members cannot be changed: {0}")]
    Raft(String),
}
