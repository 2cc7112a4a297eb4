//! Real batons and real servers, each on a machine of its own, while the network between them misbehaves.

#[path = "../support/mod.rs"]
mod support;

mod wire;
