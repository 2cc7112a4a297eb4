//! The living system: supervised actors, the MySQL driver and the ports they work through.

pub mod clock;
pub mod metrics;
pub mod mysql;
pub mod ports;
pub mod supervisor;
