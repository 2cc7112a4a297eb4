//! The face of baton: HTTP API, metrics and the old JSON shapes.

mod api;
mod asked;
pub mod auth;
mod call;
mod caller;
mod compat;
mod dashboard;
mod events;
mod kept;
mod metrics;
pub mod origin;
mod proxy;
mod raft;
mod reply;
pub mod server;
pub mod services;
mod view;

pub use api::changes;
pub use compat::hook_context;
