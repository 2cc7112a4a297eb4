//! All rows as they were after an event, ready to be sent: made once, however many ask.

use std::io::Write;

use actix_web::web::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::compat::to_go_json;
use crate::view::{ClusterRow, InstanceRow, RecoveryRow, State};

/// All rows, in JSON.
#[derive(Debug)]
pub(crate) struct Whole {
    /// As they are.
    pub(crate) plain: Bytes,
    /// Compressed.
    pub(crate) gzip: Bytes,
}

/// What it says: rows are written as in an event, and where the stream goes on from them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WholeJson<'a> {
    /// The process whose events go on from here.
    pub(super) token: &'a str,
    pub(super) node: &'a str,
    /// The name of the newest event that is in the rows already.
    pub(super) event: String,
    pub(super) generation: u64,
    pub(super) at: String,
    pub(super) state: &'a State,
    pub(super) clusters: Vec<&'a ClusterRow>,
    pub(super) instances: Vec<&'a InstanceRow>,
    pub(super) recoveries: Vec<RecoveryRow>,
}

impl Whole {
    /// Writes and compresses them.
    pub(super) fn of(rows: &WholeJson<'_>) -> std::io::Result<Self> {
        let plain = Bytes::from(to_go_json(rows)?);
        // Whoever waits for it waits for this too: names repeat so much that more effort gives little.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain)?;
        Ok(Self { plain, gzip: Bytes::from(encoder.finish()?) })
    }
}
