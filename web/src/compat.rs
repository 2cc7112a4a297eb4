//! orchestrator's JSON: the only place in the web that knows its names.
//!
//! Field names (their typos included), order, types and nulls are an interface that programs have
//! relied on for ten years. Everything here renders domain values; nothing decides anything.

mod analysis;
mod channel;
mod cluster;
mod hooks;
mod instance;
mod json;
mod preview;
mod records;

pub(crate) use analysis::{AnalysisJson, NodeName, code_name, warning_name};
pub(crate) use channel::ChannelJson;
pub(crate) use cluster::{ClusterInfoJson, cluster_infos};
pub use hooks::hook_context;
pub(crate) use instance::InstanceJson;
pub(crate) use json::{KeyJson, keys, timestamp, to_go_json};
pub(crate) use preview::{PlaceJson, PreviewJson};
pub(crate) use records::*;

#[cfg(test)]
mod tests;
