//! What a probe tells discovery.

use actix::Message;
use baton_topology::crawl::{Identity, Standing};
use baton_topology::key::InstanceKey;

/// What an instance says about itself and others.
#[derive(Debug, Clone, PartialEq)]
pub enum Sighting {
    /// It answered.
    Answered {
        /// The name it was probed by.
        probed: InstanceKey,
        /// The name it goes by.
        canonical: InstanceKey,
        /// Who it says it is: its UUID, where it has one, and its server id.
        identity: Identity,
        /// Whom it leads to.
        follow: Vec<(InstanceKey, Standing)>,
    },
    /// It never answered, and nobody vouches for it.
    GivenUp(InstanceKey),
}

impl Message for Sighting {
    type Result = ();
}
