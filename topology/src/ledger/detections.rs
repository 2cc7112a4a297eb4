//! Detections as text: a list, because a text map has only texts for keys.

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Detection;
use crate::analysis::Code;
use crate::key::InstanceKey;

type Detections = RedBlackTreeMapSync<(InstanceKey, Code), Detection>;

/// One detection with what it is about.
#[derive(Serialize, Deserialize)]
struct Row {
    key: InstanceKey,
    code: Code,
    #[serde(flatten)]
    detection: Detection,
}

pub(super) fn serialize<S: Serializer>(
    detections: &Detections,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(detections.iter().map(|((key, code), detection)| Row {
        key: key.clone(),
        code: *code,
        detection: detection.clone(),
    }))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Detections, D::Error> {
    let rows = Vec::<Row>::deserialize(deserializer)?;
    Ok(rows.into_iter().map(|row| ((row.key, row.code), row.detection)).collect())
}
