//! Small topologies of real servers that replicate.

use super::{Options, Server};

/// Servers of one topology, the primary first.
pub type Fleet = Vec<Server>;

/// A primary and `replicas` that replicate from it.
pub fn star(options: &Options, replicas: usize) -> Fleet {
    let servers = start(options, replicas + 1);
    servers[1..].iter().for_each(|replica| replica.replicate_from(&servers[0]));
    acknowledge(options, &servers[..1]);
    servers
}

/// A primary and, below it, `replicas` that each replicate from the one before.
pub fn chain(options: &Options, replicas: usize) -> Fleet {
    let servers = start(options, replicas + 1);
    servers.windows(2).for_each(|pair| pair[1].replicate_from(&pair[0]));
    acknowledge(options, &servers[..replicas]);
    servers
}

/// Two that replicate from each other.
pub fn co_primaries(options: &Options) -> Fleet {
    let servers = start(options, 2);
    servers[1].replicate_from(&servers[0]);
    servers[0].replicate_from(&servers[1]);
    acknowledge(options, &servers);
    servers
}

fn start(options: &Options, count: usize) -> Fleet {
    Server::start_all(std::iter::repeat_n(options.clone(), count))
}

fn acknowledge(options: &Options, sources: &[Server]) {
    if options.semi_sync {
        sources.iter().for_each(Server::wait_for_acknowledgements);
    }
}
