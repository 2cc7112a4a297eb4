//! Placeholder of the GTID module: sets as plain lists, until the real ones replace it.
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
/// set
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GtidSet(BTreeSet<String>);
/// any
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Gtids {
    /// none
    #[default]
    None,
    /// my
    MySql(GtidSet),
}
impl GtidSet {
    /// x
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// x
    pub fn without_uuids(&self, uuids: &[uuid::Uuid]) -> Self {
        Self(
            self.0
                .iter()
                .filter(|t| !uuids.iter().any(|u| t.starts_with(&u.to_string())))
                .cloned()
                .collect(),
        )
    }
    /// x
    pub fn subtract(&self, o: &Self) -> Self {
        Self(self.0.difference(&o.0).cloned().collect())
    }
    /// x
    pub fn intersect(&self, o: &Self) -> Self {
        Self(self.0.intersection(&o.0).cloned().collect())
    }
}
impl std::fmt::Display for GtidSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.iter().cloned().collect::<Vec<_>>().join(","))
    }
}
impl std::str::FromStr for GtidSet {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        Ok(Self(s.split(',').filter(|x| !x.is_empty()).map(|x| x.to_owned()).collect()))
    }
}
