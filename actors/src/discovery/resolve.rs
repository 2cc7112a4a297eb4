//! Resolves host names before they are used, where the configuration says so.

use std::io;
use std::net::IpAddr;

use dns_lookup::{AddrInfoHints, getaddrinfo};
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

/// Knows hosts by their canonical name: where the chain of CNAMEs ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByCanonicalName;

/// POSIX's `AI_CANONNAME`, alike on all systems baton runs on.
const CANONICAL_NAME: i32 = 2;

impl HostResolver for ByCanonicalName {
    fn resolve(&self, host: &str) -> BoxFuture<'_, io::Result<String>> {
        let host = host.to_owned();
        async move {
            // An address has no canonical name; the library would answer with the address.
            if host.parse::<IpAddr>().is_ok() {
                return Ok(host);
            }
            let answer = tokio::task::spawn_blocking(move || canonical_name(&host));
            answer.await.unwrap_or_else(|_| Err(io::Error::other("the lookup died")))
        }
        .boxed()
    }
}

/// Blocks.
fn canonical_name(host: &str) -> io::Result<String> {
    let hints = AddrInfoHints { flags: CANONICAL_NAME, ..AddrInfoHints::default() };
    let mut found = getaddrinfo(Some(host), None, Some(hints)).map_err(io::Error::from)?;
    // Only the first answer bears the name.
    let first = found.next().ok_or_else(|| io::Error::other("no answer"))??;
    let name = first.canonname.ok_or_else(|| io::Error::other("no canonical name"))?;
    Ok(name.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn addresses_stand_for_themselves_and_unknown_names_are_errors() {
        for resolver in [&ByAddress as &dyn HostResolver, &ByCanonicalName] {
            assert_eq!(resolver.resolve("127.0.0.1").await.unwrap(), "127.0.0.1");
            assert!(resolver.resolve("no-such-host.invalid").await.is_err());
        }
        assert!(ByAddress.resolve("localhost").await.unwrap().parse::<IpAddr>().is_ok());
        assert_eq!(ByCanonicalName.resolve("localhost").await.unwrap(), "localhost");
    }
}
