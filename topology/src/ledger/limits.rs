//! How much the ledger holds. Whatever can be set has a limit, for the ledger is kept in the memory
//! of every node and carried between them.

/// Instances (or clusters) with an entry of one kind: downtimes, tags, aliases...
pub const ENTRIES_MAX: usize = 100_000;
/// Bytes of a host name.
pub const HOST_BYTES_MAX: usize = 255;
/// Bytes of an owner's name.
pub const OWNER_BYTES_MAX: usize = 255;
/// Bytes of a reason.
pub const REASON_BYTES_MAX: usize = 4096;
/// Bytes of a cluster alias.
pub const ALIAS_BYTES_MAX: usize = 255;
/// Tags on one instance.
pub const TAGS_PER_INSTANCE_MAX: usize = 128;
/// Bytes of a tag's name.
pub const TAG_NAME_BYTES_MAX: usize = 128;
/// Bytes of a tag's value.
pub const TAG_VALUE_BYTES_MAX: usize = 1024;
/// Pools.
pub const POOLS_MAX: usize = 10_000;
/// Bytes of a pool's name.
pub const POOL_NAME_BYTES_MAX: usize = 255;
/// Members of one pool.
pub const POOL_MEMBERS_MAX: usize = 10_000;
/// Recoveries, ended ones that still block others included.
pub const RECOVERIES_MAX: usize = 1_000;
