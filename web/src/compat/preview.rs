//! What would be done, in JSON.

use baton_topology::relocate::{Place, Preview, words};
use serde::Serialize;

use super::KeyJson;
use super::json::BinlogJson;

/// A place in the log of an instance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PlaceJson {
    key: KeyJson,
    coordinates: BinlogJson,
}

impl From<&Place> for PlaceJson {
    fn from(place: &Place) -> Self {
        Self { key: (&place.key).into(), coordinates: BinlogJson::binary(&place.at) }
    }
}

/// A plan that is only shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PreviewJson {
    dry_run: bool,
    operation: &'static str,
    steps: Vec<StepJson>,
    left_out: Vec<LeftOutJson>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StepJson {
    key: KeyJson,
    action: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LeftOutJson {
    key: KeyJson,
    reason: String,
}

impl From<&Preview> for PreviewJson {
    fn from(preview: &Preview) -> Self {
        let steps = preview.steps.iter();
        let left_out = preview.left_out.iter();
        Self {
            dry_run: true,
            operation: preview.kind,
            steps: steps
                .map(|it| StepJson { key: (&it.key).into(), action: words(&it.action) })
                .collect(),
            left_out: left_out
                .map(|(key, why)| LeftOutJson { key: key.into(), reason: why.clone() })
                .collect(),
            notes: preview.notes.clone(),
        }
    }
}
