//! Resolves host names before they are used, where the configuration says so.

use std::io;
use std::net::IpAddr;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Tells by which name a host is to be known.
pub trait HostResolver: Send + Sync + 'static {
    /// The name or address to use instead of `host`.
    fn resolve(&self, host: &str) -> BoxFuture<'_, io::Result<String>>;
}

/// Knows hosts by their address.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByAddress;

impl HostResolver for ByAddress {
    fn resolve(&self, host: &str) -> BoxFuture<'_, io::Result<String>> {
        let host = host.to_owned();
        async move {
            let found: Vec<IpAddr> = tokio::net::lookup_host((host.as_str(), 0))
                .await?
                .map(|found| found.ip())
                .collect();
            // IPv4 first, then the lowest: the same answer whatever the order of records.
            let best = found.iter().min_by_key(|address| (address.is_ipv6(), **address));
            best.map(ToString::to_string).ok_or_else(|| io::Error::other("no address"))
        }
        .boxed()
    }
}
