//! Real batons and real servers, each on a machine of its own, while the network between them, their clocks, their
//! disks and they themselves fail.

#[path = "../support/mod.rs"]
mod support;

mod data_centres;
mod eyes;
mod five;
mod leaders;
mod machines;
mod sharing;
mod vanish;
mod weather;
mod wire;
mod world;
