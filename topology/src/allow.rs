//! Where servers may be (`DiscoveryAllow`): hosts, domains and networks.

use std::net::IpAddr;

/// Where servers may be; anywhere, as long as nothing is named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiscoveryAllow {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// In lower case.
    Host(String),
    /// With its dot in front, in lower case.
    Domain(String),
    /// Its first address, and how many bits of it count.
    Network(IpAddr, u32),
}

/// Where a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Where servers may be.
    Inside,
    /// Elsewhere.
    Outside,
    /// Its name does not tell: what it resolves to has to be in a network.
    ByAddress,
}

/// What is neither a host nor a domain nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host, no domain (`.example.com`) and no network (`10.0.0.0/8`)")]
pub struct NoPlace(String);

impl DiscoveryAllow {
    /// Adds a place.
    ///
    /// # Errors
    /// When it is none.
    pub fn add(&mut self, text: &str) -> Result<(), NoPlace> {
        let entry = parse(text).ok_or_else(|| NoPlace(text.to_owned()))?;
        self.entries.push(entry);
        Ok(())
    }

    /// Whether servers may be anywhere.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where a host of that name or address is.
    pub fn judge(&self, host: &str) -> Reach {
        if self.is_empty() {
            return Reach::Inside;
        }
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return if self.has_address(address) { Reach::Inside } else { Reach::Outside };
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let is_named = |entry: &Entry| match entry {
            Entry::Host(host) => *host == name,
            Entry::Domain(domain) => name.ends_with(domain),
            Entry::Network(..) => false,
        };
        let has_networks = self.entries.iter().any(|it| matches!(it, Entry::Network(..)));
        match (self.entries.iter().any(is_named), has_networks) {
            (true, _) => Reach::Inside,
            (false, true) => Reach::ByAddress,
            (false, false) => Reach::Outside,
        }
    }

    /// Whether an address is in one of the networks.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Network(network, bits) => contains(*network, *bits, address.to_canonical()),
            Entry::Host(_) | Entry::Domain(_) => false,
        })
    }
}

fn parse(text: &str) -> Option<Entry> {
    let text = text.trim();
    if let Some((network, bits)) = text.split_once('/') {
        let (network, bits) = (network.parse().ok()?, bits.parse().ok()?);
        // What lies beyond the prefix is a slip in either.
        let is_network = bits <= width(network) && number(network) & !mask(network, bits) == 0;
        return is_network.then_some(Entry::Network(network, bits));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Entry::Network(address, width(address)));
    }
    let name = text.strip_prefix('.').unwrap_or(text);
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
    };
    if !name.split('.').all(is_part) {
        return None;
    }
    let text = text.to_ascii_lowercase();
    Some(if text.starts_with('.') { Entry::Domain(text) } else { Entry::Host(text) })
}

fn contains(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    width(network) == width(address) && number(address) & mask(network, bits) == number(network)
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The bits of an address that count.
fn mask(address: IpAddr, bits: u32) -> u128 {
    let width = width(address);
    let all = u128::MAX >> (128 - width);
    all & !all.checked_shr(bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(entries: &[&str]) -> DiscoveryAllow {
        let mut allow = DiscoveryAllow::default();
        entries.iter().for_each(|entry| allow.add(entry).unwrap());
        allow
    }

    #[test]
    fn hosts_are_inside_by_name_or_by_address() {
        use Reach::{ByAddress, Inside, Outside};
        for (entries, host, expected) in [
            (&[][..], "anything", Inside),
            (&["db1"], "DB1", Inside),
            (&["db1"], "db2", Outside),
            (&["db1"], "10.0.0.1", Outside),
            (&[".example.com"], "db1.Example.com", Inside),
            (&[".example.com"], "db1.example.com.", Inside),
            (&[".example.com"], "example.com", Outside),
            (&[".example.com"], "db1.badexample.com", Outside),
            (&[".example.com"], "db1.example.com.evil.org", Outside),
            (&["10.0.0.0/8"], "10.255.0.1", Inside),
            (&["10.0.0.0/8"], "11.0.0.1", Outside),
            (&["10.0.0.0/8"], "::ffff:10.0.0.1", Inside),
            (&["10.0.0.0/8"], "db1", ByAddress),
            (&["10.0.0.0/8", "db1"], "db1", Inside),
            (&["10.0.0.7"], "10.0.0.7", Inside),
            (&["10.0.0.7"], "10.0.0.8", Outside),
            (&["0.0.0.0/0"], "192.0.2.1", Inside),
            (&["0.0.0.0/0"], "2001:db8::1", Outside),
            (&["2001:db8::/32"], "[2001:db8:1::1]", Inside),
            (&["::/0"], "2001:db8::1", Inside),
        ] {
            assert_eq!(allow(entries).judge(host), expected, "{entries:?} {host}");
        }
        assert!(allow(&["10.0.0.0/8"]).has_address("10.1.2.3".parse().unwrap()));
    }

    #[test]
    fn what_is_no_place_is_refused_by_its_name() {
        for text in
            ["", ".", "a..b", "db 1", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "db1/8", "*"]
        {
            let refused = DiscoveryAllow::default().add(text).unwrap_err();
            assert!(refused.to_string().starts_with(&format!("{text:?} is no host")), "{refused}");
        }
    }
}
