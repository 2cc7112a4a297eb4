-- The log of one raft node. Bodies are opaque here; every row carries a checksum of itself, because
-- SQLite finds broken pages but not a flipped bit in a body.

PRAGMA application_id = 0x62747266;

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL
) STRICT;

CREATE TABLE log (
    entry INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

-- node, vote, committed, purged, sequence
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    body BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    meta BLOB NOT NULL,
    body BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
