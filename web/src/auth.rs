//! Who may read and who may write.

use actix_web::http::header::{self, HeaderMap};
use base64::Engine;
use subtle::ConstantTimeEq;

use crate::api::Access;

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
        if access.changes() && is_cross_site(headers) {
            return Verdict::CrossSite;
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

/// Whether a browser sends this on behalf of a page of another site. Scripts and programs send
/// neither header and are believed.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match (text("origin"), text("host")) {
        (None, _) => false,
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_none_or(|(_, origin)| !origin.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => true,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect()
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
            let rules = AccessRules { authentication: rules.clone(), read_only: false };
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
        for (pairs, write) in [
            (&[][..], Verdict::Allowed),
            (&[("sec-fetch-site", "same-origin")], Verdict::Allowed),
            (&[("sec-fetch-site", "none")], Verdict::Allowed),
            (&[("sec-fetch-site", "same-site")], Verdict::CrossSite),
            (&[("sec-fetch-site", "cross-site")], Verdict::CrossSite),
            (&[("origin", "http://baton:3000"), ("host", "baton:3000")], Verdict::Allowed),
            (&[("origin", "http://evil"), ("host", "baton:3000")], Verdict::CrossSite),
            (&[("origin", "null"), ("host", "baton:3000")], Verdict::CrossSite),
            (&[("origin", "http://baton:3000")], Verdict::CrossSite),
        ] {
            assert_eq!(rules.judge(Access::Write, &headers(pairs)), write, "{pairs:?}");
            assert_eq!(rules.judge(Access::Read, &headers(pairs)), Verdict::Allowed, "{pairs:?}");
        }
    }
}
