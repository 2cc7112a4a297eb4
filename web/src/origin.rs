//! Whether a page in a browser stands behind a request, and whose page that is.
//!
//! Two attacks need no access to baton, only a person whose browser has it: a page of another site
//! that has the browser send a request (cross-site request forgery), and a page whose own name is
//! pointed at baton's address once it is loaded (DNS rebinding). Both come with headers that
//! browsers add by themselves and no page can leave out. Programs send none of them and are believed.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use actix_web::http::header::HeaderMap;

use crate::asked;

/// Headers that browsers add to requests; curl and the HTTP clients of Go, Python and Java add none.
/// `Sec-Fetch-*` comes only where the connection is HTTPS or the address is a loopback one (Fetch
/// Metadata, W3C), `Origin` with every POST (Fetch standard), `Accept-Language` always.
pub(crate) const OF_BROWSERS: [&str; 8] = [
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-fetch-dest",
    "origin",
    "referer",
    "accept-language",
    "upgrade-insecure-requests",
    "sec-ch-ua",
];

/// Whether a browser sends this. The fetch of Node.js says how it fetches as a browser would, and not
/// for which site, which a browser always adds; a page can set neither.
pub(crate) fn is_from_browser(headers: &HeaderMap) -> bool {
    let is_of_node = headers.contains_key("sec-fetch-mode")
        && !headers.contains_key("sec-fetch-site")
        && !headers.contains_key("origin");
    !is_of_node && OF_BROWSERS.iter().any(|name| headers.contains_key(*name))
}

/// Headers that a page of another site can have sent only if baton allowed it beforehand, which it
/// never does (CORS). Who sends one is a program, or a page of baton's.
const OF_PROGRAMS: [&str; 2] = ["x-requested-with", asked::REQUEST_ID];

/// Whether a browser sends this without proof that it does so for a page of baton's. An address that
/// a person typed is none: a link in a letter looks the same, and may have led elsewhere first.
pub(crate) fn is_cross_site(headers: &HeaderMap, names: &HostNames) -> bool {
    if OF_PROGRAMS.iter().any(|name| headers.contains_key(*name)) {
        return false;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site != "same-origin";
    }
    match text("origin").or(text("referer")) {
        Some(page) => !is_of_host(page, text("host"), names),
        None => is_from_browser(headers),
    }
}

/// Whether a URL names this host and port, or a host that is listed: proxies may not keep `Host`.
fn is_of_host(url: &str, host: Option<&str>, names: &HostNames) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let without = |text: &str| text.strip_suffix(default_port).unwrap_or(text).to_ascii_lowercase();
    names.listed.know(&bare(authority))
        || host.is_some_and(|host| without(authority) == without(host))
}

/// The names under which people reach this node in a browser.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostNames {
    own: Names,
    listed: Names,
}

impl HostNames {
    /// What the node is called, and what people listed; of those `*.example.com` stands for every
    /// name below `example.com`. A port does not count.
    pub fn new<'a>(
        own: impl IntoIterator<Item = &'a str>,
        listed: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self { own: Names::new(own), listed: Names::new(listed) }
    }

    /// Whether the header `Host` names this node. An address is no name, so nobody can point it
    /// elsewhere, and loopback names are nobody else's.
    pub(crate) fn know(&self, host: &str) -> bool {
        let name = bare(host);
        let is_address = name.parse::<Ipv4Addr>().is_ok() || name.parse::<Ipv6Addr>().is_ok();
        let is_loopback = name == "localhost" || name.ends_with(".localhost");
        is_address || is_loopback || self.own.know(&name) || self.listed.know(&name)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    /// In lower case, without port and without a final dot.
    exact: BTreeSet<String>,
    /// The same, of names that everything below them counts as.
    below: BTreeSet<String>,
}

impl Names {
    fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut known = Self::default();
        for name in names {
            match name.strip_prefix("*.") {
                Some(parent) => known.below.insert(bare(parent)),
                None => known.exact.insert(bare(name)),
            };
        }
        known
    }

    fn know(&self, name: &str) -> bool {
        let mut parents = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        self.exact.contains(name) || parents.any(|parent| self.below.contains(parent))
    }
}

/// A host without its port, brackets and final dot, in lower case.
fn bare(host: &str) -> String {
    let host = host.trim();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or(host),
        None => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        pairs.collect()
    }

    #[test]
    fn a_browser_needs_proof_of_the_same_origin_and_a_program_does_not() {
        let host = ("host", "baton:3000");
        let names = HostNames::new(["baton"], ["ops.example.com"]);
        for (case, pairs, expected) in [
            ("curl", &[host, ("accept", "*/*"), ("user-agent", "curl/8.5.0")][..], false),
            ("Go", &[host, ("user-agent", "Go-http-client/1.1")], false),
            ("Python", &[host, ("accept", "*/*"), ("user-agent", "python-requests/2.32")], false),
            ("Java", &[host, ("user-agent", "Java-http-client/17.0.15")], false),
            ("Node.js", &[host, ("accept-language", "*"), ("sec-fetch-mode", "cors")], false),
            ("its own page", &[host, ("sec-fetch-site", "same-origin")], false),
            (
                "a program of pages",
                &[host, ("origin", "http://evil"), ("x-requested-with", "x")],
                false,
            ),
            ("typed, or a link in a letter", &[host, ("sec-fetch-site", "none")], true),
            ("a default port", &[("host", "baton"), ("origin", "http://baton:80")], false),
            ("not the default port", &[("host", "baton:443"), ("origin", "http://baton")], true),
            ("a proxy's name, listed", &[host, ("origin", "https://ops.example.com")], false),
            ("a neighbour", &[host, ("sec-fetch-site", "same-site")], true),
            ("another site", &[host, ("sec-fetch-site", "cross-site")], true),
            ("its own page, plain", &[host, ("origin", "http://baton:3000")], false),
            ("other capitals", &[host, ("origin", "http://Baton:3000")], false),
            ("another port", &[host, ("origin", "http://baton:3001")], true),
            ("another site, plain", &[host, ("origin", "http://evil")], true),
            ("a sandboxed frame", &[host, ("origin", "null")], true),
            ("without a host", &[("origin", "http://baton:3000")], true),
            ("a link on its own page", &[host, ("referer", "http://baton:3000/ui/x?y")], false),
            ("a link elsewhere", &[host, ("referer", "http://evil/?http://baton:3000/")], true),
            ("an image, no referrer", &[host, ("accept-language", "en")], true),
            ("a form, no referrer", &[host, ("upgrade-insecure-requests", "1")], true),
            ("emptied by a script", &[host, ("accept-language", "")], true),
        ] {
            assert_eq!(is_cross_site(&headers(pairs), &names), expected, "{case}");
        }
    }

    #[test]
    fn a_node_knows_its_names_and_every_address() {
        let names = HostNames::new(["Baton-1.example.com:10008"], ["batons", "*.ops.example.com"]);
        for (host, expected) in [
            ("baton-1.example.com", true),
            ("BATON-1.example.com:3000", true),
            ("baton-1.example.com.:3000", true),
            ("batons:3000", true),
            ("a.ops.example.com", true),
            ("a.b.ops.example.com:1", true),
            ("ops.example.com", false),
            ("localhost:3000", true),
            ("baton.localhost", true),
            ("127.0.0.1:3000", true),
            ("10.1.2.3", true),
            ("[::1]:3000", true),
            ("::1", true),
            ("evil.example.com", false),
            ("baton-1.example.com.evil", false),
            ("127.0.0.1.evil", false),
            ("localhost.evil", false),
            ("", false),
        ] {
            assert_eq!(names.know(host), expected, "{host:?}");
        }
    }
}
