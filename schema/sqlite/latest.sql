-- Times are microseconds since 1970 in UTC. Instances are written host:port.

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL
) STRICT;

CREATE TABLE instances (
    instance TEXT PRIMARY KEY,
    cluster TEXT NOT NULL,
    facts TEXT NOT NULL,
    first_seen INTEGER
) STRICT;

-- Apart from instances, because it changes with every probe and the facts are long.
CREATE TABLE instance_health (
    instance TEXT PRIMARY KEY REFERENCES instances (instance) ON DELETE CASCADE,
    last_attempt INTEGER,
    last_check INTEGER,
    facts_from INTEGER,
    last_seen INTEGER,
    failures INTEGER NOT NULL,
    latency_micros INTEGER NOT NULL,
    binlog_unmoved_since INTEGER,
    uptime_seconds INTEGER NOT NULL
, remembered TEXT) STRICT, WITHOUT ROWID;

CREATE TABLE ledger_entries (
    entry INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    command TEXT NOT NULL
) STRICT;

CREATE TABLE ledger_snapshot (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    entry INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;

CREATE TABLE detections (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    cluster_alias TEXT NOT NULL,
    detection TEXT NOT NULL
) STRICT;
CREATE INDEX detections_by_alias ON detections (cluster_alias, id);
CREATE INDEX detections_by_time ON detections (at);

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    instance TEXT,
    cluster TEXT,
    message TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_instance ON audit (instance, id);
CREATE INDEX audit_by_time ON audit (at);

CREATE TABLE analysis_changes (
    id INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    at INTEGER NOT NULL,
    code TEXT NOT NULL
) STRICT;
CREATE INDEX analysis_changes_by_instance ON analysis_changes (instance, at);
CREATE INDEX analysis_changes_by_time ON analysis_changes (at);

CREATE TABLE last_codes (
    instance TEXT PRIMARY KEY,
    code TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE resolutions (
    name TEXT PRIMARY KEY,
    canonical TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX resolutions_by_time ON resolutions (at);

CREATE TABLE topology_history (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    instance TEXT NOT NULL,
    source TEXT,
    cluster TEXT NOT NULL,
    version TEXT NOT NULL
) STRICT;
CREATE INDEX topology_history_by_time ON topology_history (at);
