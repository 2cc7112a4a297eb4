//! The dashboard as files: the page itself, what it is made of, and where old addresses lead.
//!
//! The files of `web/assets` are part of the program; a debug build reads them from the disk each
//! time. They lie below a name that changes with any of them, so that browsers may keep them for
//! ever. The page runs nothing but them: see [`POLICY`].

use std::borrow::Cow;
use std::fmt::Write as _;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

/// Where the dashboard lies, below the prefix of all URLs.
pub(crate) const HOME: &str = "/ui";
/// Files lie below this and their version.
const FILES: &str = "-";
const PAGE: &str = "index.html";

/// What the page may do: run and load what this server gives, and nothing else. No text that comes
/// from a database is ever taken for markup: the sinks that would do so take only what the
/// rendering library makes of its own templates.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types lit-html";

/// What a browser gets; types and notes are for those who work on it.
#[derive(RustEmbed)]
#[folder = "assets"]
#[exclude = "*.d.ts"]
#[exclude = "*README.txt"]
struct Assets;

/// What a path below the prefix is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// The page; it finds out which one by its own address.
    Page,
    /// A file.
    File { version: &'a str, name: &'a str },
    /// An address of the old dashboard, without `/web`.
    Old(&'a str),
}

/// What a path below the prefix is about, if it is about the dashboard.
pub(crate) fn place(path: &str) -> Option<Place<'_>> {
    if let Some(old) = below(path, "/web") {
        return Some(Place::Old(old));
    }
    let path = below(path, HOME)?;
    let Some(file) = path.strip_prefix('/').and_then(|it| it.strip_prefix(FILES)) else {
        return Some(Place::Page);
    };
    let (version, name) = file.strip_prefix('/')?.split_once('/')?;
    Some(Place::File { version, name })
}

/// The rest of a path that is, or is below, another.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers with what is there.
pub(crate) fn answer(place: &Place<'_>, request: &HttpRequest, prefix: &str) -> HttpResponse {
    match place {
        Place::Page => page(request, prefix),
        Place::File { version, name } => file(version, name, request),
        Place::Old(old) => {
            let location = format!("{prefix}{HOME}{}", new_address(old, request.query_string()));
            HttpResponse::Found().insert_header((header::LOCATION, location)).finish()
        }
    }
}

/// The page, which loads the files of this version.
fn page(request: &HttpRequest, prefix: &str) -> HttpResponse {
    let version = version();
    let Some(page) = Assets::get(PAGE) else { return missing() };
    let page = String::from_utf8_lossy(&page.data);
    let files = format!("{}{HOME}/{FILES}/{version}", escaped(prefix));
    let api = format!("{}/api", escaped(prefix));
    let page = page.replace("{modules}", &modules()).replace("{files}", &files);
    let page = page.replace("{api}", &api);
    let tag = format!("\"{version}\"");
    let mut response =
        if is_known(request, &tag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"));
    harden(&mut response);
    response.content_type("text/html; charset=utf-8").body(page)
}

/// Has browsers load all modules at once, and not each when another one turns out to need it.
fn modules() -> String {
    let scripts = Assets::iter().filter(|name| name.ends_with(".js"));
    let links = scripts.map(|it| format!("<link rel=\"modulepreload\" href=\"{{files}}/{it}\">"));
    links.collect::<Vec<_>>().join("\n")
}

/// A file; one that is asked for by another version's name is not to be kept.
fn file(asked: &str, name: &str, request: &HttpRequest) -> HttpResponse {
    let found = content_type(name).and_then(|kind| Some((kind, Assets::get(name)?)));
    let Some((kind, found)) = found.filter(|_| name != PAGE) else { return missing() };
    let tag = format!("\"{}\"", hexadecimal(&found.metadata.sha256_hash()));
    let keep = if asked == version() { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response =
        if is_known(request, &tag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((header::ETAG, tag)).insert_header((header::CACHE_CONTROL, keep));
    harden(&mut response);
    match found.data {
        Cow::Borrowed(data) => response.content_type(kind).body(data),
        Cow::Owned(data) => response.content_type(kind).body(data),
    }
}

fn missing() -> HttpResponse {
    HttpResponse::build(StatusCode::NOT_FOUND)
        .content_type("text/plain; charset=utf-8")
        .body("404 page not found\n")
}

fn harden(response: &mut actix_web::HttpResponseBuilder) {
    response
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header(("Cross-Origin-Resource-Policy", "same-origin"));
}

fn is_known(request: &HttpRequest, tag: &str) -> bool {
    let known = request.headers().get_all(header::IF_NONE_MATCH);
    let mut known = known.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    known.any(|it| it.trim().trim_start_matches("W/") == tag)
}

/// Only what is a file of the page has a type.
fn content_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

/// A name that changes with any of the files.
fn version() -> String {
    let mut sum = [0_u8; 32];
    for name in Assets::iter() {
        let Some(file) = Assets::get(&name) else { continue };
        let hash = file.metadata.sha256_hash();
        // The place in the sum depends on the name, so that swapped files count as different.
        let turn = name.bytes().fold(0_usize, |turn, byte| turn.wrapping_mul(31) + byte as usize);
        for (at, byte) in hash.iter().enumerate() {
            let at = (at + turn) % sum.len();
            sum[at] = sum[at].rotate_left(1).wrapping_add(*byte);
        }
    }
    hexadecimal(&sum[..8])
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The prefix comes from the configuration, which is no reason to trust it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

/// Where an address of the old dashboard leads, below the new one. Segments stay encoded as they
/// came.
fn new_address(old: &str, query: &str) -> String {
    let segments: Vec<&str> = old.split('/').filter(|it| !it.is_empty()).collect();
    // The first page is number 0, and goes without saying.
    let page = |rest: &[&str]| match rest.first().and_then(|it| it.parse::<u32>().ok()) {
        Some(page @ 1..) => format!("page={page}"),
        _ => String::new(),
    };
    let with = |path: &str, pairs: &[&str]| {
        let pairs: Vec<&str> = pairs.iter().copied().filter(|it| !it.is_empty()).collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        format!("{path}{mark}{}", pairs.join("&"))
    };
    match segments.as_slice() {
        ["cluster", "alias", name] | ["cluster", name] => format!("/cluster/{name}"),
        ["cluster-pools", name] => format!("/cluster/{name}#pools-title"),
        ["cluster", "instance", host, port] => format!("/cluster/{host}:{port}"),
        ["search", text] => format!("/search?s={text}"),
        ["search"] if !query.is_empty() => format!("/search?{query}"),
        ["search"] => "/search".to_owned(),
        ["discover"] => "/discover".to_owned(),
        ["clusters-analysis"] => "/problems".to_owned(),
        ["audit", "instance", host, port, rest @ ..] => {
            with("/audit", &[&format!("instance={host}:{port}"), &page(rest)])
        }
        ["audit", rest @ ..] => with("/audit", &[&page(rest)]),
        ["audit-recovery", "uid" | "id", uid] => format!("/recovery/{uid}"),
        ["audit-recovery", "alias" | "cluster", name, rest @ ..] => {
            with("/recoveries", &[&format!("cluster={name}"), &page(rest)])
        }
        ["audit-recovery", rest @ ..] => with("/recoveries", &[&page(rest)]),
        ["audit-failure-detection", "id", id] => format!("/detections?id={id}"),
        ["audit-failure-detection", "alias", name, rest @ ..] => {
            with("/detections", &[&format!("cluster={name}"), &page(rest)])
        }
        ["audit-failure-detection", rest @ ..] => with("/detections", &[&page(rest)]),
        ["status"] => "/nodes".to_owned(),
        ["about" | "faq" | "keep-calm"] => "/about".to_owned(),
        ["agents" | "agent" | "seeds" | "seed-details" | "agent-seed-details", ..] => {
            "/about?of=agents".to_owned()
        }
        ["access-token", ..] => "/about?of=tokens".to_owned(),
        _ => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn old_addresses_lead_to_new_pages() {
        for (old, new) in [
            ("", "/"),
            ("/clusters", "/"),
            ("/clusters-analysis", "/problems"),
            ("/cluster/db1:3306", "/cluster/db1:3306"),
            ("/cluster/alias/shop%2Feu", "/cluster/shop%2Feu"),
            ("/cluster/instance/db1/3306", "/cluster/db1:3306"),
            ("/cluster-pools/shop", "/cluster/shop#pools-title"),
            ("/search", "/search?s=db"),
            ("/search/db1", "/search?s=db1"),
            ("/discover", "/discover"),
            ("/audit/3", "/audit?page=3"),
            ("/audit/0", "/audit"),
            ("/audit/instance/db1/3306", "/audit?instance=db1:3306"),
            ("/audit/instance/db1/3306/2", "/audit?instance=db1:3306&page=2"),
            ("/audit-recovery", "/recoveries"),
            ("/audit-recovery/uid/1:2", "/recovery/1:2"),
            ("/audit-recovery/id/7", "/recovery/7"),
            ("/audit-recovery/alias/shop/0", "/recoveries?cluster=shop"),
            ("/audit-recovery/cluster/db1:3306/4", "/recoveries?cluster=db1:3306&page=4"),
            ("/audit-recovery/1", "/recoveries?page=1"),
            ("/audit-failure-detection/id/7", "/detections?id=7"),
            ("/audit-failure-detection/alias/shop/1", "/detections?cluster=shop&page=1"),
            ("/status/", "/nodes"),
            ("/home", "/"),
            ("/keep-calm", "/about"),
            ("/faq", "/about"),
            ("/agents", "/about?of=agents"),
            ("/agent/db1", "/about?of=agents"),
            ("/seed-details/7", "/about?of=agents"),
            ("/access-token", "/about?of=tokens"),
        ] {
            assert_eq!(new_address(old, "s=db"), new, "{old}");
        }
    }

    #[test]
    fn paths_are_told_apart() {
        let file = |version, name| Some(Place::File { version, name });
        for (path, expected) in [
            ("/ui", Some(Place::Page)),
            ("/ui/", Some(Place::Page)),
            ("/ui/cluster/-", Some(Place::Page)),
            ("/ui/-/1a/app.js", file("1a", "app.js")),
            ("/ui/-/1a/vendor/lit-html/lit-html.js", file("1a", "vendor/lit-html/lit-html.js")),
            ("/ui/-", None),
            ("/uix", None),
            ("/web", Some(Place::Old(""))),
            ("/web/clusters", Some(Place::Old("/clusters"))),
            ("/website", None),
            ("/", None),
        ] {
            assert_eq!(place(path), expected, "{path}");
        }
    }

    fn get(path: &str, headers: &[(&str, &str)]) -> HttpResponse {
        let request = headers.iter().fold(TestRequest::with_uri(path), |request, header| {
            request.insert_header((header.0, header.1))
        });
        answer(&place(path).unwrap(), &request.to_http_request(), "/ops")
    }

    fn header<'a>(response: &'a HttpResponse, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[actix_web::test]
    async fn the_page_names_files_that_may_be_kept_for_ever() {
        let page = get("/ui/cluster/x", &[]);
        assert!(header(&page, "content-security-policy").contains("default-src 'none'"));
        assert_eq!(header(&page, "cache-control"), "no-cache");
        let tag = header(&page, "etag").to_owned();
        let body = actix_web::body::to_bytes(page.into_body()).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(!body.contains("{files}") && !body.contains("<style") && !body.contains("style="));
        let named = body.split('"').filter(|it| it.starts_with("/ops/ui/-/"));
        let named: Vec<&str> = named.collect();
        assert!(named.iter().any(|it| it.ends_with(".js")), "{body}");
        for name in named {
            let file = get(name.strip_prefix("/ops").unwrap(), &[]);
            assert_eq!(file.status(), StatusCode::OK, "{name}");
            assert!(header(&file, "cache-control").contains("immutable"), "{name}");
        }
        let again = get("/ui/", &[("if-none-match", &tag)]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn only_files_of_the_page_are_given_away() {
        for name in ["index.html", "../Cargo.toml", "..%2fCargo.toml", "nothing.js", "app.d.ts", ""]
        {
            let answer = get(&format!("/ui/-/x/{name}"), &[]);
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{name}");
        }
        let stale = get("/ui/-/x/app.js", &[]);
        assert_eq!((stale.status(), header(&stale, "cache-control")), (StatusCode::OK, "no-cache"));
        assert_eq!(header(&stale, "content-type"), "text/javascript; charset=utf-8");
        assert_eq!(header(&stale, "x-content-type-options"), "nosniff");
    }

    #[test]
    fn all_files_of_the_page_together_are_small() {
        let bytes: usize =
            Assets::iter().filter_map(|name| Assets::get(&name)).map(|it| it.data.len()).sum();
        assert!(bytes < 200 * 1024, "the dashboard has {bytes} bytes");
    }
}
