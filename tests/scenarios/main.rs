//! The scenarios orchestrator's system tests describe, on real servers: the same cluster `ci`, the same configuration,
//! the same commands through `orchestrator-client`, the same answers. Where baton promises something else on purpose,
//! the test says so, and so does the table in the README.

#[path = "../support/mod.rs"]
mod support;

mod ci;
mod failovers;
mod gtid;
mod heartbeat;
mod moves;
mod statements;
mod takeovers;
