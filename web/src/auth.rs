//! Who may read and who may write.

use actix_web::http::header::{self, HeaderMap};
use base64::Engine;
use subtle::ConstantTimeEq;

use crate::api::Access;
use crate::origin::{HostNames, is_cross_site, is_from_browser};

/// How callers prove who they are.
#[derive(Clone, Default)]
pub enum Authentication {
    /// Not at all.
    #[default]
    None,
    /// By user and password, for everything.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// As [`Authentication::Basic`] for writing; the user `readonly` reads with any password.
    Multi {
        /// The user who may write.
        user: String,
        /// His password.
        password: String,
    },
    /// By a header that a proxy in front of baton sets.
    Proxy {
        /// The header's name.
        header: String,
        /// Users who may write; `*` is everybody.
        powerful: Vec<String>,
    },
}

/// The rules in force.
#[derive(Clone, Default)]
pub struct AccessRules {
    /// How callers prove who they are.
    pub authentication: Authentication,
    /// Nobody may write.
    pub read_only: bool,
    /// What this node is called in browsers.
    pub host_names: HostNames,
}

/// The verdict on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Allowed,
    /// Who are you?
    Unauthenticated,
    /// Not you.
    Denied,
    /// Nobody.
    ReadOnly,
    /// Not from another site's page.
    CrossSite,
    /// Not from a browser that knows this node by a name which is not its own.
    ForeignName,
    /// Several users are named.
    ManyUsers,
}

const READONLY_USER: &str = "readonly";

impl AccessRules {
    /// Who sends a request, where the way of authentication tells.
    pub(crate) fn user(&self, headers: &HeaderMap) -> Option<String> {
        match &self.authentication {
            Authentication::None => None,
            Authentication::Basic { .. } | Authentication::Multi { .. } => {
                credentials(headers).map(|(user, _)| user)
            }
            Authentication::Proxy { header, .. } => {
                let user = headers.get(header).and_then(|value| value.to_str().ok());
                user.filter(|user| !user.is_empty()).map(str::to_owned)
            }
        }
    }

    /// Judges a request.
    pub(crate) fn judge(&self, access: Access, headers: &HeaderMap) -> Verdict {
        if access.changes() && is_cross_site(headers, &self.host_names) {
            return Verdict::CrossSite;
        }
        self.rights(access, headers)
    }

    /// The same of a request that comes from where it should.
    pub(crate) fn rights(&self, access: Access, headers: &HeaderMap) -> Verdict {
        if self.is_rebound(headers) {
            return Verdict::ForeignName;
        }
        let may_write = match &self.authentication {
            Authentication::None => true,
            Authentication::Basic { user, password } => match credentials(headers) {
                Some(given) if matches(&given, user, password) => true,
                _ => return Verdict::Unauthenticated,
            },
            Authentication::Multi { user, password } => match credentials(headers) {
                Some(given) if matches(&given, user, password) => true,
                Some((name, _)) if name == READONLY_USER => false,
                _ => return Verdict::Unauthenticated,
            },
            Authentication::Proxy { header, .. } if headers.get_all(header).count() > 1 => {
                return Verdict::ManyUsers;
            }
            Authentication::Proxy { header, powerful } => {
                let user = headers.get(header).and_then(|value| value.to_str().ok());
                let user = user.filter(|user| !user.is_empty());
                powerful.iter().any(|name| name == "*" || Some(name.as_str()) == user)
            }
        };
        match access {
            Access::Read => Verdict::Allowed,
            Access::PrivilegedRead | Access::Write | Access::Planned if self.read_only => {
                Verdict::ReadOnly
            }
            Access::PrivilegedRead | Access::Write | Access::Planned if may_write => {
                Verdict::Allowed
            }
            Access::PrivilegedRead | Access::Write | Access::Planned => Verdict::Denied,
        }
    }

    /// Whether a page that is not baton's may stand behind this name. A page that asks under a name
    /// of its own has no password of the person's, so passwords are proof enough; a header that a
    /// proxy would set, it can set as well.
    fn is_rebound(&self, headers: &HeaderMap) -> bool {
        let asks_for_password = matches!(
            self.authentication,
            Authentication::Basic { .. } | Authentication::Multi { .. }
        );
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        !asks_for_password
            && is_from_browser(headers)
            && host.is_some_and(|host| !self.host_names.know(host))
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Both are compared whatever the first comparison says, and neither comparison tells by its
/// duration how much was right.
fn matches(given: &(String, String), user: &str, password: &str) -> bool {
    let right_user = given.0.as_bytes().ct_eq(user.as_bytes());
    let right_password = given.1.as_bytes().ct_eq(password.as_bytes());
    (right_user & right_password).into()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    }

    #[test]
    fn who_may_do_what() {
        use Access::{PrivilegedRead, Read, Write};
        use Verdict::{Allowed, Denied, Unauthenticated};
        let secret = || ("admin".to_owned(), "s3cret".to_owned());
        let (user, password) = secret();
        let basic_rules = Authentication::Basic { user, password };
        let (user, password) = secret();
        let multi = Authentication::Multi { user, password };
        let proxy = Authentication::Proxy {
            header: "X-Forwarded-User".into(),
            powerful: vec!["ann".into()],
        };
        let anyone =
            Authentication::Proxy { header: "X-Forwarded-User".into(), powerful: vec!["*".into()] };
        let right = basic("admin:s3cret");
        let wrong = basic("admin:s3cre");
        let reader = basic("readonly:whatever");
        let by = |value: &str| headers(&[("authorization", value)]);
        let as_user = |value: &str| headers(&[("x-forwarded-user", value)]);
        for (case, rules, headers, expected) in [
            ("no authentication", &Authentication::None, headers(&[]), [Allowed, Allowed, Allowed]),
            ("basic, right", &basic_rules, by(&right), [Allowed, Allowed, Allowed]),
            ("basic, wrong", &basic_rules, by(&wrong), [Unauthenticated; 3]),
            ("basic, nothing", &basic_rules, headers(&[]), [Unauthenticated; 3]),
            ("basic, garbage", &basic_rules, by("Basic ?"), [Unauthenticated; 3]),
            ("basic, another scheme", &basic_rules, by("Bearer x"), [Unauthenticated; 3]),
            ("multi, right", &multi, by(&right), [Allowed, Allowed, Allowed]),
            ("multi, reader", &multi, by(&reader), [Allowed, Denied, Denied]),
            ("multi, wrong", &multi, by(&wrong), [Unauthenticated; 3]),
            ("proxy, powerful", &proxy, as_user("ann"), [Allowed, Allowed, Allowed]),
            ("proxy, somebody", &proxy, as_user("bob"), [Allowed, Denied, Denied]),
            ("proxy, nobody", &proxy, headers(&[]), [Allowed, Denied, Denied]),
            ("proxy, anyone", &anyone, headers(&[]), [Allowed, Allowed, Allowed]),
        ] {
            let rules = AccessRules { authentication: rules.clone(), ..AccessRules::default() };
            let found = [Read, PrivilegedRead, Write].map(|access| rules.judge(access, &headers));
            assert_eq!(found, expected, "case: {case}");
        }
        let read_only = AccessRules { read_only: true, ..AccessRules::default() };
        assert_eq!(read_only.judge(Write, &headers(&[])), Verdict::ReadOnly);
        assert_eq!(read_only.judge(Read, &headers(&[])), Allowed);
    }

    #[test]
    fn pages_of_other_sites_cannot_write() {
        let rules = AccessRules::default();
        let of = |site: &str| headers(&[("sec-fetch-site", site), ("host", "127.0.0.1:3000")]);
        assert_eq!(rules.judge(Access::Write, &of("cross-site")), Verdict::CrossSite);
        assert_eq!(rules.judge(Access::Planned, &of("cross-site")), Verdict::CrossSite);
        assert_eq!(rules.judge(Access::Read, &of("cross-site")), Verdict::Allowed);
        assert_eq!(rules.judge(Access::Write, &of("same-origin")), Verdict::Allowed);
    }

    #[test]
    fn a_browser_must_know_the_node_by_one_of_its_names() {
        let (user, password) = ("admin".to_owned(), "s3cret".to_owned());
        let none = Authentication::None;
        let proxy =
            Authentication::Proxy { header: "X-Forwarded-User".into(), powerful: vec!["*".into()] };
        let basic = Authentication::Basic { user, password };
        let page = |host: &str| headers(&[("host", host), ("accept-language", "en")]);
        let program = headers(&[("host", "evil"), ("x-forwarded-user", "ann")]);
        for (authentication, foreign) in [
            (none, Verdict::ForeignName),
            (proxy, Verdict::ForeignName),
            (basic, Verdict::Unauthenticated),
        ] {
            let host_names = HostNames::new(["baton-1"], []);
            let rules = AccessRules { authentication, host_names, ..AccessRules::default() };
            assert_eq!(rules.judge(Access::Read, &page("evil:3000")), foreign);
            assert_ne!(rules.judge(Access::Read, &page("baton-1:3000")), Verdict::ForeignName);
            assert_ne!(rules.judge(Access::Read, &program), Verdict::ForeignName);
        }
    }

    #[test]
    fn a_request_names_one_user() {
        let proxy =
            Authentication::Proxy { header: "X-Forwarded-User".into(), powerful: vec!["*".into()] };
        let rules = AccessRules { authentication: proxy, ..AccessRules::default() };
        let two = headers(&[("x-forwarded-user", "ann"), ("x-forwarded-user", "bob")]);
        assert_eq!(rules.judge(Access::Write, &two), Verdict::ManyUsers);
        assert_eq!(rules.judge(Access::Read, &two), Verdict::ManyUsers);
    }
}
