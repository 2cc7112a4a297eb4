//! How many files and connections this process may have open, and who gets which share of them.
//!
//! Distributions start processes with a soft limit of 1,024, for programs that cannot take more, and
//! with a hard one that is far higher. baton has a connection or two to every server.

use baton_actors::mysql::DESCRIPTORS_EACH;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the limit is divided into: callers of the API get one part, peers of a raft another, and
/// the others are for servers and files.
const PARTS: u64 = 4;
/// No kind of caller needs more than this.
const SHARE_MAX: u64 = 20_000;
/// For the store, logs, certificates and hooks.
const FILES: u64 = 100;

/// The limit on descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// How many this process may have.
    pub(super) limit: u64,
    /// What it was started with: processes that it starts get that again.
    pub(super) inherited: Option<u64>,
}

impl Descriptors {
    /// Raises the soft limit to the hard one.
    pub(super) fn raise() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: maximum, maximum };
        let inherited = current;
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => Self { limit: maximum.unwrap_or(u64::MAX), inherited },
            Err(error) => {
                tracing::warn!(%error, "the limit on open files stays as it is");
                Self { limit: current.unwrap_or(u64::MAX), inherited }
            }
        }
    }

    /// How many connections one kind of caller may have at a time.
    pub(super) fn share(self) -> usize {
        usize::try_from((self.limit / PARTS).min(SHARE_MAX)).unwrap_or(usize::MAX)
    }

    /// How many connections to servers there may be at a time: what is left when all callers, and
    /// all peers of a raft, have their shares.
    pub(super) fn connections(self, is_raft: bool) -> usize {
        let share = (self.limit / PARTS).min(SHARE_MAX);
        let others = if is_raft { 2 * share } else { share };
        let left = self.limit.saturating_sub(others + FILES);
        usize::try_from(left / DESCRIPTORS_EACH).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_get_a_part_and_never_all() {
        let share = |limit| Descriptors { limit, inherited: None }.share();
        assert_eq!(share(1_024), 256);
        assert_eq!(share(1_048_576), 20_000);
        assert_eq!(share(u64::MAX), 20_000);
    }

    #[test]
    fn connections_to_servers_fit_beside_all_callers() {
        for (limit, is_raft, connections) in [
            (1_024, false, 222),
            (1_024, true, 137),
            (20_000, false, 4_966),
            (524_288, true, 161_396),
            (100, true, 0),
        ] {
            let descriptors = Descriptors { limit, inherited: None };
            assert_eq!(descriptors.connections(is_raft), connections, "{limit}");
        }
    }
}
