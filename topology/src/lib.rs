//! The pure domain of baton: instances, GTID sets, clusters, analysis and the ledger.
//!
//! Everything here is a function from data to data. There is deliberately no I/O, no clock, no
//! randomness and no async runtime in this crate (I14): `now` is always an argument.
