//! Who the primaries are, as pairs for key-value stores.

use baton_topology::cluster::{Cluster, Member};
use baton_topology::search::writable_primaries;
use serde::Serialize;

use crate::call::Call;
use crate::reply::{Outcome, Reply};

/// What keys begin with where nobody says otherwise.
const PREFIX: &str = "mysql/master/";

/// A pair.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PairJson {
    key: String,
    value: String,
}

/// Answers as the peer does, with what would be written. Nothing in this version writes it to a
/// store outside, which the warnings about the keys of these stores say.
pub(super) async fn submit(call: Call) -> Outcome {
    let of =
        if call.has("hint") { Some(call.cluster(call.param("hint"))?.id.clone()) } else { None };
    let primaries = writable_primaries(&call.fleet).into_iter();
    let wanted = primaries.filter(|(cluster, _)| of.as_ref().is_none_or(|id| cluster.id == *id));
    let pairs: Vec<PairJson> = wanted.flat_map(|(cluster, it)| pairs(cluster, it)).collect();
    Reply::ok(&format!("Submitted {} masters", pairs.len()), pairs)
}

fn pairs(cluster: &Cluster, primary: &Member) -> [PairJson; 3] {
    let key = primary.key();
    let pair = |part: &str, value: String| PairJson {
        key: format!("{PREFIX}{}{part}", cluster.alias),
        value,
    };
    [
        pair("", key.to_string()),
        pair("/hostname", key.host().to_owned()),
        pair("/port", key.port().to_string()),
    ]
}
