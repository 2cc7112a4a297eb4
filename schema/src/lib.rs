//! What baton stores, and how: SQL schema, migrations and the typed store.
//!
//! Everything is synchronous: whoever uses a [`Store`] gives it a thread of its own. `README.md`
//! beside this folder tells what every table is for.

mod error;
pub mod migrate;
pub mod private;
mod raft_store;
mod store;

pub use error::{OpenError, StoreError};
pub use raft_store::{RaftOpenError, RaftSnapshot, RaftStore, RaftStoreError};
pub use store::{
    LEDGER_ENTRIES_MAX, PURGE_ROWS_MAX, Purgeable, Restored, Store, TopologyRow, Write,
};
