//! placeholder
use serde::{Deserialize, Serialize};
/// set
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GtidSet;
/// any
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Gtids {
    /// none
    #[default]
    None,
}
