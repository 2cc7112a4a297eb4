//! The account that a server needs to replicate, when it has none of its own: who may keep one.

use crate::cluster::Member;
use crate::instance::SourceLink;
use crate::key::InstanceKey;
use crate::snapshot::FleetSnapshot;

use super::super::{Kind, Recovery};

/// So many are asked for the account they replicate with.
const KEEPERS_MAX: usize = 5;

/// Who may keep the account that a former primary is to replicate with: whoever is to be its source,
/// and those that replicate from that. A primary has mostly forgotten its own.
pub fn keepers(recovery: &Recovery, fleet: &FleetSnapshot) -> Vec<InstanceKey> {
    let Some(primary) = recovery.wanted.as_ref().filter(|_| recovery.kind == Kind::Rejoin) else {
        return Vec::new();
    };
    let is_candidate = |it: &&Member| {
        it.instance.is_valid() && it.key() != recovery.failed() && it.key() != primary
    };
    // The former primary is not in the cluster it comes back to.
    let cluster = fleet.member(primary).map(|(cluster, _)| cluster);
    let members = cluster.into_iter().flat_map(|cluster| cluster.members.values());
    let mut others: Vec<&Member> = members.filter(is_candidate).collect();
    others.sort_by_key(|it| (it.source.as_ref() != Some(primary), it.depth, it.key().clone()));
    let others = others.into_iter().map(|it| it.key().clone());
    std::iter::once(primary.clone()).chain(others).take(KEEPERS_MAX).collect()
}

/// Why a server cannot become a replica: it has no account to replicate with, and nobody can tell
/// one. MariaDB keeps the password where nobody can read it, so there only the configured query
/// helps. Of MySQL that is not known before it is asked.
pub(super) fn no_account(member: &Member) -> Option<String> {
    let facts = &member.instance.facts;
    let channel = facts.main_channel();
    let has_own = channel.is_some_and(|it| !it.user.is_empty() || it.source != SourceLink::None);
    let is_hopeless =
        facts.version.is_mariadb() && !facts.replication_credentials_available && !has_own;
    is_hopeless.then(|| {
        format!(
            "{} has no account to replicate with, and MariaDB lets nobody read that of another \
             server: set ReplicationCredentialsQuery, or it stays out",
            member.key()
        )
    })
}
