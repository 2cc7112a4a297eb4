//! The program: command line, configuration, wiring.

pub mod cli;
pub mod client;
pub mod config;
pub mod recover;
pub mod serve;
pub mod telemetry;
pub mod wiring;
