//! The program: command line, configuration, wiring.

pub mod config;
pub mod telemetry;
pub mod wiring;
