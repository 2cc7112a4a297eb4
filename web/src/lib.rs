//! The face of baton: HTTP API, metrics and the old JSON shapes.

mod api;
pub mod auth;
mod call;
mod compat;
mod metrics;
mod proxy;
mod raft;
mod reply;
pub mod server;
pub mod services;

pub use compat::hook_context;
